"""Transfer: the figures of facts/README.md, what is warned of, and each check of a set-up broken once."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rv_check import build, check_transfer, load
from rv_check.cli.main import main
from rv_check.errors import CannotRun, RvCheckError
from rv_check.weights.checkpoints import account, load_checkpoint, load_into, torchvision_weights, weights_of
from rv_check.weights.transfer import is_under, parse_head, plan
from tests.unit.measured_memory import measured_for_backward
from tests.unit.tiny import SPEC

FREEZE = ["layer1", "layer2"]


def out(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What the command prints."""
    assert main(["transfer", *arguments]) == status
    found = capsys.readouterr()
    assert "Traceback" not in found.err
    return found.err if status == 2 else found.out


# The plan: facts/README.md gives the totals; 2048*2 + 2 = 4,098 of the head, 9,408 + 128 = 9,536 of the stem.


def test_the_figures() -> None:
    """ResNet-50 with two classes, layer1 and layer2 frozen, then the stem too."""
    found = plan("resnet50", 2, FREEZE)
    assert (found.total, found.trainable, found.head) == (23_512_130, 22_076_738, "fc")
    assert plan("resnet50", 2, [*FREEZE, "conv1", "bn1"]).trainable == 22_067_202
    parts = {part.name: (part.trainable, part.frozen) for part in found.parts()}
    assert (parts["conv1"], parts["bn1"], parts["fc"]) == ((9_408, 0), (128, 0), (4_098, 0))
    assert parts["layer1"] == (0, 215_808)


def test_the_module_agrees() -> None:
    """The counts are those of the built module, with its names; torchvision's with the same head has as many."""
    import torchvision

    found = plan("resnet18", 3, ["layer1", "*.bn2"], "dropout(0.5), linear(3)")
    model = build(found.arch, "meta")
    assert {name: p.numel() for name, p in model.named_parameters()} == found.parameters
    assert "fc.1.weight" in found.parameters
    with torch.device("meta"):
        theirs = torchvision.models.resnet18(num_classes=3)
    assert sum(p.numel() for p in theirs.parameters()) == found.total


def test_a_head_within_a_group() -> None:
    """VGG's head is the last of its classifier: 4096*2 + 2 instead of 4096*1000 + 1000."""
    found = plan("vgg16", 2, ["features"])
    assert found.head == "classifier.6"
    assert found.total == 138_357_544 - 4_097_000 + 8_194
    assert [(p.name, p.frozen) for p in found.parts()] == [("features", 14_714_688), ("classifier", 0)]


def test_backward_and_memory() -> None:
    """With all but the head frozen its weights' gradient is all of the backward pass: 512*2 multiply-adds an image.

    Gradients and momentum are 4 bytes for each of 512*2 + 2 parameters; what is kept is the head's input, 512 numbers.
    """
    everything = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]
    found = plan("resnet18", 2, everything)
    assert found.macs()[1] == 512 * 2
    bytes_ = found.memory(2, "float32", "momentum")
    assert (bytes_.gradients, bytes_.optimiser) == (4 * 1026, 4 * 1026)
    assert bytes_.activations == 2 * 512 * 4
    assert bytes_.parameters == 4 * found.total


@pytest.mark.parametrize("freeze", [[], FREEZE, ["conv1", "bn1", *FREEZE], ["layer4", "*.bn1"]], ids=",".join)
def test_memory_is_measured(freeze: list[str]) -> None:
    """What autograd keeps of the built module is what the plan says, whatever is frozen."""
    found = plan("resnet18", 2, freeze, input="3 64 64")
    model = build(found.arch).train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in found.frozen)
    kept = measured_for_backward(model, torch.randn(2, 3, 64, 64))
    assert kept == found.memory(2, "float32", "sgd").activations


def test_warnings() -> None:
    """The stem that still trains, statistics that still move, and a head that never will."""
    stem, statistics = plan("resnet50", 2, FREEZE).warnings()
    assert "conv1, bn1 (9,536 parameters) still train" in stem
    assert "--freeze conv1,bn1,layer1,layer2" in stem
    assert "23 frozen batch norms" in statistics  # layer1: 3*3 + 1; layer2: 4*3 + 1
    assert plan("resnet50", 2, []).warnings() == []
    assert len(plan("resnet50", 2, ["conv1", "bn1", *FREEZE]).warnings()) == 1
    assert plan("vgg16", 2, ["features"]).warnings() == []
    assert (
        plan("vgg16", 2, ["classifier"]).warnings()[-1] == "the new head classifier.6 is frozen, and stays as it starts"
    )


def test_parts_are_names() -> None:
    """A part is a module or a parameter, and no piece of a name."""
    assert is_under("layer1.0.conv1.weight", ["layer1"])
    assert is_under("layer1.0.bn1.weight", ["*.bn1"])
    assert is_under("fc.bias", ["fc.bias"])
    assert not is_under("layer10.0.weight", ["layer1"])
    assert not is_under("layer1.0.conv1.weight", ["ayer1"])


WRONG = [
    (["resnet50"], "a transfer needs a head"),
    (["resnet51", "--classes", "2"], "unknown arch 'resnet51'"),
    (["resnet50", "--classes", "2", "--freeze", "layr1"], "did you mean: layer1"),
    (["resnet50", "--classes", "2", "--head", "linear(3)"], "the head gives 3, and there are 2 classes"),
    (["resnet50", "--head", "linear(2, in_features=512)"], "takes 512 features, and 2,048 come in"),
    (["resnet50", "--head", "conv(2, kernel=1, bias=True)"], "the head does not fit"),
    (["resnet50", "--head", "lineer(2)"], "did you mean: linear"),
    (["resnet50", "--head", "linear(2"], "never closed|is not"),
    (["preact18", "--classes", "2"], "the last layer, head.2, is flatten"),
    (["resnet50", "--classes", "2", "--optimiser", "lion"], "unknown optimiser 'lion'"),
    (["resnet50", "--classes", "2", "--weights", "gone.pth"], "there is no such file"),
    (["resnet50", "--classes", "2", "--weights", "IMAGENET1K_V9"], "has no weights 'IMAGENET1K_V9'"),
    (["resnet50", "--classes", "2", "--weights", "pretrained=True"], 'weights="IMAGENET1K_V1"'),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_error(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong question is said to be one."""
    found = out(capsys, *arguments, status=2)
    assert any(part in found for part in message.split("|"))


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Parts, costs, warnings, and a step on the module that the spec builds; the same as JSON."""
    arguments = ["resnet18", "--classes", "2", "--freeze", "layer1,layer2"]
    text = out(capsys, *arguments)
    assert "warning: conv1, bn1 (9,536 parameters) still train" in text
    assert "frozen passed" in text
    assert "trains passed" in text
    assert "head passed: 2 classes come out" in text
    found = json.loads(out(capsys, *arguments, "--json", "--static"))
    assert found["schema"] == "rv-check/transfer/1"
    assert found["params"]["total"] == 11_689_512 - 513_000 + 1_026
    assert found["checked"] is None


# A set-up of a user's. `Net` is built by hand: a stem, a frozen part with a norm, a head.


class Net(nn.Module):
    """A small network."""

    def __init__(self, classes: int = 3):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.fc = nn.Linear(4, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, classes)."""
        x = torch.relu(self.norm(self.stem(x)))
        return self.fc(torch.relu(self.body(x)).mean((2, 3)))


PARTS = ("stem", "norm", "body")


@pytest.fixture
def old() -> Net:
    """The network whose weights are given."""
    torch.manual_seed(0)
    return Net(5)


@pytest.fixture
def tuned(old: Net) -> Net:
    """The set-up that is declared: the backbone of `old`, all but the body and the head frozen."""
    net = Net(3)
    own = {name: value for name, value in old.state_dict().items() if not name.startswith("fc")}
    net.load_state_dict(own, strict=False)
    for part in (net.stem, net.norm):
        part.requires_grad_(False)
    return net


def tried(net: nn.Module, old: Net | None = None, **more: object) -> dict[str, str]:
    """The statuses of the checks, the worst of each."""
    declared: dict = {
        "freeze": ["stem", "norm"],
        "head": "fc",
        "classes": 3,
        "weights": old,
        "input": (3, 8, 8),
        **more,
    }
    found: dict[str, str] = {}
    for finding in check_transfer(net, **declared).findings:
        if found.get(finding.check) != "failed":
            found[finding.check] = finding.status
    return found


def quiet(net: nn.Module) -> None:
    """Train mode, but for the norm that is frozen."""
    net.train()
    net.norm.eval()


def test_a_set_up_that_holds(tuned: Net, old: Net) -> None:
    """Every check runs and passes."""
    held = {"frozen": "passed", "trains": "passed", "statistics": "passed", "head": "passed", "backbone": "passed"}
    assert tried(tuned, old, statistics_frozen=True, train=quiet) == held
    assert tried(tuned, old.state_dict(), statistics_frozen=True, train=quiet) == held


def test_left_on(tuned: Net, old: Net) -> None:
    """requires_grad left on in a frozen part: it changes in a step."""
    tuned.stem.weight.requires_grad_(True)
    report = check_transfer(tuned, ["stem", "norm"], "fc", 3, weights=old, input=(3, 8, 8))
    messages = [f.message for f in report.findings if f.status == "failed"]
    assert messages == ["requires_grad is left on: stem.weight", "stem.weight changed in a step"]


def test_off(tuned: Net, old: Net) -> None:
    """A parameter that should train and does not require a gradient."""
    tuned.body[0].weight.requires_grad_(False)
    assert tried(tuned, old)["trains"] == "failed"


def test_an_optimiser_without_it(tuned: Net, old: Net) -> None:
    """The optimiser has the head alone: the body requires gradients, and does not change."""
    found = check_transfer(
        tuned, ["stem", "norm"], input=(3, 8, 8), optimiser=lambda net: torch.optim.SGD(net.fc.parameters(), lr=0.1)
    )
    (failed,) = [f for f in found.findings if f.status == "failed"]
    assert failed.check == "trains"
    assert "the optimiser does not have body.0.weight" in failed.message


def test_an_optimiser_with_too_much(tuned: Net) -> None:
    """One that moves what has no gradient is seen by the values, whatever the flags say."""

    class Decaying(torch.optim.SGD):
        def step(self, closure: Callable | None = None) -> None:
            with torch.no_grad():
                for group in self.param_groups:
                    for parameter in group["params"]:
                        parameter.mul_(0.9)

    assert tried(tuned, optimiser=lambda net: Decaying(net.parameters(), lr=0.1))["frozen"] == "failed"


def test_statistics_that_move(tuned: Net, old: Net) -> None:
    """Declared to stay, they move in train mode; not declared, that is said."""
    assert tried(tuned, old, statistics_frozen=True)["statistics"] == "failed"
    assert tried(tuned, old)["statistics"] == "passed"


def test_an_old_head(old: Net) -> None:
    """The head of the weights is not a new one; nor has it the declared classes."""
    net = copy.deepcopy(old)
    for part in (net.stem, net.norm):
        part.requires_grad_(False)
    assert tried(net, old, classes=5)["head"] == "failed"
    assert tried(net, None, classes=3)["head"] == "failed"
    nn.init.zeros_(net.fc.weight)
    nn.init.zeros_(net.fc.bias)
    assert tried(net, old, classes=5) == {
        "frozen": "passed",
        "trains": "passed",
        "statistics": "passed",
        "head": "passed",
        "backbone": "passed",
    }


def test_another_backbone(tuned: Net, old: Net) -> None:
    """One value that is not the weights', in a parameter or a statistic; or weights of another network."""
    with torch.no_grad():
        tuned.body[1].running_mean[2] += 1e-3
    assert tried(tuned, old)["backbone"] == "failed"
    assert tried(tuned, nn.Linear(3, 4))["backbone"] == "failed"


def test_weights_by_other_names(tuned: Net, old: Net) -> None:
    """A map of names tells them."""
    theirs = {name.replace("body", "trunk"): value for name, value in old.state_dict().items()}
    names = {name: name.replace("body", "trunk") for name in old.state_dict()}
    assert tried(tuned, theirs)["backbone"] == "failed"
    assert tried(tuned, theirs, names=names)["backbone"] == "passed"


def test_the_module_is_as_before(tuned: Net, old: Net) -> None:
    """Values, flags, gradients, modes, buffers, and torch's generator."""
    tuned.eval()
    tuned.body.train()
    before = {name: value.clone() for name, value in tuned.state_dict().items()}
    own = {name: id(value) for name, value in tuned.state_dict(keep_vars=True).items()}
    flags = [p.requires_grad for p in tuned.parameters()]
    modes = [m.training for m in tuned.modules()]
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    tried(tuned, old)
    assert torch.equal(torch.rand(1), expected)
    after = tuned.state_dict(keep_vars=True)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {name: id(value) for name, value in after.items()} == own
    assert [p.requires_grad for p in tuned.parameters()] == flags
    assert [m.training for m in tuned.modules()] == modes
    assert all(p.grad is None for p in tuned.parameters())


class Uncopied(Net):
    """A module that refuses to be copied."""

    def __deepcopy__(self, memo: dict) -> None:
        raise TypeError("no copies")


def test_a_module_that_cannot_be_copied() -> None:
    """It is lent, and as before."""
    net = Uncopied()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    report = check_transfer(net, ["stem"], input=(3, 8, 8))
    assert [f.status for f in report.findings if f.check == "frozen"] == ["failed", "failed"]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_error_of_a_set_up(tuned: Net) -> None:
    """Parts that are not there, a module that is none, one that does not run, one in which nothing trains."""
    cases: list[tuple[dict, str]] = [
        ({"freeze": ["stm"]}, "did you mean: stem"),
        ({"head": "top"}, "there is no head 'top'"),
        ({"input": (1, 8, 8)}, "cannot be trained for a step"),
    ]
    for arguments, message in cases:
        with pytest.raises(RvCheckError, match=message):
            check_transfer(tuned, **{"input": (3, 8, 8), **arguments})
    with pytest.raises(RvCheckError, match="a dict is not a module"):
        check_transfer({})
    with pytest.raises(RvCheckError, match="no parameter requires a gradient"):
        check_transfer(tuned.requires_grad_(False), input=(3, 8, 8))


# Checkpoints


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """An arch, in a file."""
    (tmp_path / "tiny.yaml").write_text(SPEC)
    return f"{tmp_path}/tiny.yaml::net"


@pytest.fixture
def saved(tmp_path: Path, tiny: str) -> Callable[..., Path]:
    """Write the state of the arch, changed."""

    def save(change: Callable[[dict], object] = lambda state: state) -> Path:
        path = tmp_path / "weights.pth"
        torch.save(change(dict(build(tiny).state_dict())), path)
        return path

    return save


def same(state: dict) -> dict:
    """The state as it is."""
    return state


def prefixed(state: dict) -> dict:
    """The state as DataParallel saves it, in a training script's checkpoint."""
    return {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}


def old_torch(state: dict) -> dict:
    """Without counts of batches."""
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("change", [same, prefixed, old_torch])
def test_checkpoints_that_fit(change: Callable, saved: Callable, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The head apart, all of it is loaded, and the module has it."""
    path = saved(change)
    text = out(capsys, tiny, "--classes", "2", "--freeze", "conv1,bn1", "--weights", str(path))
    assert "backbone passed" in text
    assert "head passed: fc is not that of the weights" in text


def another_name(state: dict) -> dict:
    """One tensor by another name."""
    return {("stem.weight" if name == "conv1.weight" else name): value for name, value in state.items()}


def another_shape(state: dict) -> dict:
    """One tensor of another shape."""
    return {**state, "conv1.weight": torch.zeros(4, 1, 3, 3)}


def missing(state: dict) -> dict:
    """Without one."""
    return {name: value for name, value in state.items() if name != "bn1.bias"}


MISFITS = [
    (another_name, ["1 are missing: conv1.weight", "1 belong nowhere: stem.weight", "--map MODULE"]),
    (another_shape, ["conv1.weight is [4, 1, 3, 3], expected [4, 3, 3, 3]"]),
    (missing, ["1 are missing: bn1.bias"]),
]


@pytest.mark.parametrize(("change", "words"), MISFITS)
def test_error_checkpoints_that_do_not_fit(
    change: Callable, words: list[str], saved: Callable, tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What fits and what does not is told, and nothing is loaded."""
    path = saved(change)
    error = out(capsys, tiny, "--classes", "2", "--weights", str(path), status=2)
    assert "none are loaded" in error
    assert all(word in error for word in words)
    model = build(tiny)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in before.items()}
    with pytest.raises(RvCheckError, match="none are loaded"):
        load_into(model, account(shapes, load_checkpoint(path)))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_map(saved: Callable, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The names of a module, as `check --save-map` writes them."""
    path, names = saved(another_name), tmp_path / "map.json"
    names.write_text(json.dumps({"schema": "rv-check/map/1", "map": {"conv1.weight": "stem.weight"}}))
    assert "backbone passed" in out(capsys, tiny, "--classes", "2", "--weights", str(path), "--map", str(names))
    names.write_text("[]")
    assert "is no map of names" in out(
        capsys, tiny, "--classes", "2", "--weights", str(path), "--map", str(names), status=2
    )


def test_error_of_another_arch(tmp_path: Path, tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint of another network."""
    path = tmp_path / "other.pth"
    torch.save(nn.Linear(3, 4).state_dict(), path)
    assert "0 tensors fit" in out(capsys, tiny, "--classes", "2", "--weights", str(path), status=2)


def test_error_truncated(saved: Callable, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that was cut off, at any place, one that is empty, one that is text, or no state_dict."""
    path = saved()
    data = path.read_bytes()
    for part in (data[: len(data) // 2], data[:-10], data[:3], b"", b"hello, this is text"):
        path.write_bytes(part)
        assert "cannot be read" in out(capsys, tiny, "--classes", "2", "--weights", str(path), status=2)
    for held in (torch.zeros(3), {"epoch": 3}, {}):
        torch.save(held, path)
        assert "state_dict" in out(capsys, tiny, "--classes", "2", "--weights", str(path), status=2)


class Bomb:
    """What unpickling would run."""

    def __reduce__(self) -> tuple:
        return (open, ("exploded", "w"))


def test_error_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in a file is run."""
    monkeypatch.chdir(tmp_path)
    for write in (torch.save, lambda held, path: path.write_bytes(pickle.dumps(held))):
        write({"w": Bomb()}, tmp_path / "bomb.pth")
        with pytest.raises(RvCheckError):
            load_checkpoint(tmp_path / "bomb.pth")
    assert not (tmp_path / "exploded").exists()
    torch.save(nn.Linear(1, 1), tmp_path / "module.pth")
    with pytest.raises(RvCheckError, match="holds Python objects"):
        load_checkpoint(tmp_path / "module.pth")


def test_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torchvision's weights come from its cache, and are never downloaded."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    weights = torchvision_weights("resnet18", "DEFAULT")
    assert weights.name == "IMAGENET1K_V1"
    assert torchvision_weights("resnet50", "ResNet50_Weights.IMAGENET1K_V2").name == "IMAGENET1K_V2"
    with pytest.raises(CannotRun, match=r"resnet18-f37072fd.pth"):
        weights_of("resnet18", "DEFAULT")
    (tmp_path / "checkpoints").mkdir()
    torch.save({"w": torch.zeros(2)}, tmp_path / "checkpoints/resnet18-f37072fd.pth")
    assert list(weights_of("resnet18", "IMAGENET1K_V1")) == ["w"]
    with pytest.raises(RvCheckError, match="torchvision has no weights of 'net'"):
        torchvision_weights("net", "DEFAULT")


def test_heads() -> None:
    """A head is a list of ops, with torch's default of a bias."""
    items = parse_head("dropout(0.5), linear(8, bias=False), relu, linear(2)", (16,))
    assert [item.node.y for item in items] == [(16,), (8,), (8,), (2,)]
    assert [len(item.node.op.params(item.node.x)) for item in items] == [0, 1, 0, 2]
    assert load("resnet18").params == 11_689_512
