"""A user's module against a spec: the same network passes, another fails at a place, and nothing of it changes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from tiny import Net, World, broken, broken_block
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

import rv_check
from rv_check import RvCheckError, SpecError, assert_conforms, build, check
from rv_check.conformance import OTHER_NAMES
from rv_check.findings import Finding, Report


def of(report: Report) -> dict[str, set[str]]:
    """What became of each check."""
    found: dict[str, set[str]] = {}
    for finding in report.findings:
        found.setdefault(finding.check, set()).add(finding.status)
    return found


def first_failure(report: Report) -> Finding:
    """The first finding that failed."""
    return next(f for f in report.findings if f.status == "failed")


# What is the network passes.


def test_torchvisions_resnet18_is_resnet18() -> None:
    """Freshly built or not, it passes every check, and the report says against what and to which level."""
    report = check(torchvision.models.resnet18(), "resnet18")
    assert report.passed, str(report)
    assert (report.subject, report.against, report.level) == ("ResNet", "resnet18", "numbers")
    assert set(of(report)) == {"state_dict", "logits", "eval", "train"}
    assert all(f.difference == 0 for f in report.findings if f.check != "state_dict")


def test_a_model_of_its_own_spec_passes(world: World) -> None:
    """What `build` makes is what the spec says, at overridden arguments too."""
    assert_conforms(build("resnet18(width=8)"), "resnet18(width=8)")
    assert_conforms(build(world.arch(call="net(classes=3)")), world.arch(call="net(classes=3)"))
    assert_conforms(Net(3), f"{world.folder}/tiny.yaml::net(classes=3)")


class Rearranged(Net):
    """The same network in other words: functional, in place, other parts, commuted, defined in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = self._modules.pop("fc")  # last, after what has no parameters
        self.avgpool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self._modules = dict(reversed(self._modules.items()))

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu_(), 3, 2, 1)
        one = self.layer1
        z = one.bn2(one.conv2(nn.functional.relu(one.bn1(one.conv1(y)), inplace=True)))
        return self.fc(nn.functional.dropout(self.avgpool(one.downsample(y).add_(z).relu_()), 0.5, self.training))


class Hidden(Net):
    """With what makes no difference: a buffer that is not saved, a module that is never called, a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scratch", torch.zeros(3), persistent=False)
        self.unused = nn.ReLU()
        self.register_forward_hook(lambda module, args, output: output)


SAME: list[tuple[str, Callable[[], nn.Module]]] = [
    ("as it is", Net),
    ("rearranged", Rearranged),
    ("with what does not count", Hidden),
    ("in evaluation", lambda: Net().eval()),
    ("in float64", lambda: Net().double()),
    ("in half precision", lambda: Net().half()),
    ("in bfloat16", lambda: Net().bfloat16()),
    ("channels last", lambda: Net().to(memory_format=torch.channels_last)),
    ("frozen", lambda: Net().requires_grad_(False)),
    ("partly frozen", lambda: partly_frozen(Net())),
    ("with NaN weights", lambda: filled(Net(), float("nan"))),  # weights are the user's, the network is the same
    ("in one sequence", lambda: sequence(Net())),
]


def partly_frozen(net: Net) -> Net:
    """As for fine-tuning."""
    net.conv1.weight.requires_grad_(False)
    net.layer1.requires_grad_(False)
    return net


def filled(net: Net, value: float) -> Net:
    """All parameters at one value."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)
    return net


def sequence(net: Net) -> nn.Module:
    """The same children, without a class."""
    from collections import OrderedDict

    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "avgpool")
    parts = [(name, getattr(net, name)) for name in names]
    return nn.Sequential(OrderedDict([*parts, ("flatten", nn.Flatten()), ("drop", net.drop), ("fc", net.fc)]))


@pytest.mark.parametrize("make", [s[1] for s in SAME], ids=[s[0] for s in SAME])
def test_the_same_network_passes(make: Callable[[], nn.Module], world: World) -> None:
    """However it is written, typed, laid out or frozen."""
    report = check(make(), world.arch())
    assert report.passed, str(report)


NORMED = """\
family: normed()
source: a test
input: 3 32 32

body:
  - conv: conv(16, kernel=3, bias=True)
  - norm: batchnorm
  - relu
  - last: conv(8, kernel=3, bias=True)
  - adaptive_avgpool(1)
  - flatten

archs:
  normed:
    build: normed()
"""


def test_a_gradient_of_zero_is_no_difference(world: World) -> None:
    """A bias in front of a norm has a gradient of rounding noise in training, which differs by the memory format."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.last = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = x.contiguous(memory_format=torch.channels_last)
            return self.last(self.norm(self.conv(x)).relu()).sum((2, 3)) / 28**2 * (28 / (x.shape[2] - 4)) ** 2

    path = world.write(name="normed.yaml", text=NORMED)
    report = check(Normed().to(memory_format=torch.channels_last), f"{path}::normed")
    assert report.passed, str(report)
    assert any(f.difference for f in report.findings)  # not bit for bit: the order of additions does differ


# What is another network fails, at the place.


def narrow(block: type[nn.Module], **arguments: Any) -> nn.Module:
    """A torchvision ResNet of one block a stage."""
    return ResNet(block, [1, 1, 1, 1], **arguments)


def v1() -> nn.Module:
    """The original bottleneck, with its stride in the first 1x1."""
    net = narrow(Bottleneck)
    for layer in (net.layer2, net.layer3, net.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    return net


SMALL = "(depths=[1, 1, 1, 1])"


def test_v1_is_not_v1_5() -> None:
    """Both have the same names, shapes and parameters; the failure points at the strided layer of the block."""
    assert_conforms(v1(), f"resnet50_v1{SMALL}")
    report = check(v1(), f"resnet50{SMALL}")
    assert of(report) == {"state_dict": {"passed"}, "logits": {"failed"}, "eval": {"failed"}, "train": {"failed"}}
    in_eval = next(f for f in report.findings if f.check == "eval")
    assert "output of layer2.0.conv1 differs" in in_eval.message
    assert in_eval.found == "shape [2, 128, 8, 8]"
    assert in_eval.expected == "[2, 128, 16, 16]"
    assert in_eval.place is not None
    assert in_eval.place.short.endswith("specs/blocks/bottleneck.yaml:12")


class ShallowShortcut(Net):
    """Whose block forgets its shortcut."""

    def features(self, x: Tensor) -> Tensor:
        y = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        one = self.layer1
        return torch.relu(one.bn2(one.conv2(torch.relu(one.bn1(one.conv1(y))))))


class SharedNorm(Net):
    """With one norm in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1.bn2 = self.layer1.bn1


class NanOutput(Net):
    """Which divides by zero."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) * torch.tensor(0.0) / torch.tensor(0.0)


class Dict(Net):
    """Which returns more than a tensor."""

    def forward(self, x: Tensor) -> Any:
        return {"logits": super().forward(x)}


class Pair(Net):
    """Which returns two."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


class Raising(Net):
    """Which raises in its forward."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class NoGrad(Net):
    """Whose forward turns gradients off."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


class Overwriting(Net):
    """Which normalises its input in place."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.5))


class TwoArguments(Net):
    """Which takes more than an image."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x * mask)


class Endless(Net):
    """Which never ends."""

    def features(self, x: Tensor) -> Tensor:
        return self.features(x)


class Squeezing(Net):
    """Which adds an axis."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, None]


class Downcast(Net):
    """Which computes in float32 whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()) if x.dtype == torch.float32 else super().forward(x).float()


OTHER: list[tuple[str, Callable[[], nn.Module], str]] = [
    ("another eps", broken_block(eps=1e-3), "output of layer1.bn1 differs by"),
    ("another momentum", broken(momentum=0.01), "bn1.running_mean after a step differs by"),
    ("another dropout", broken(dropout=0.0), "output of drop differs by"),
    ("no shortcut", ShallowShortcut, "output of avgpool differs by"),
    ("one norm twice", SharedNorm, "differs"),
    ("NaN", NanOutput, "output of avgpool differs"),
    ("a dict", Dict, "the module does not run: it returns a dict, expected a tensor"),
    ("a tuple", Pair, "the module does not run: it returns a tuple, expected a tensor"),
    ("an exception", Raising, "the module does not run: RuntimeError: "),
    ("no gradients", NoGrad, "the module does not run: RuntimeError: element 0 of tensors does not require grad"),
    ("another argument", TwoArguments, "forward() missing 1 required positional argument: 'mask'"),
    ("no end", Endless, "the module does not run: RecursionError: "),
    ("its input", Overwriting, "the module does not run: it changes its input in place"),
    ("one axis more", Squeezing, "output differs"),
    ("another type", Downcast, "output differs"),
]


@pytest.mark.parametrize(("make", "words"), [o[1:] for o in OTHER], ids=[o[0] for o in OTHER])
def test_another_network_fails(make: Callable[[], nn.Module], words: str, world: World) -> None:
    """With names and shapes of the spec and another behaviour, the report says what is different and where."""
    report = check(make(), world.arch())
    assert of(report)["state_dict"] == {"passed"}
    assert not report.passed
    assert report.level is None
    assert any(words in f.message for f in report.findings if f.status == "failed"), str(report)


def test_an_exception_shows_the_lines_of_the_module(world: World) -> None:
    """The message has the user's own frames and none of torch's."""
    message = first_failure(check(Raising(), world.arch())).message
    assert message.startswith("eval mode at 3 32 32, float32: the module does not run: RuntimeError: ")
    assert "tests/unit/test_conformance.py" in message
    assert "in forward: return self.fc(x)" in message
    assert "site-packages" not in message


NAMES: list[tuple[str, Callable[[], nn.Module], str, str, str]] = [
    ("no parameters", nn.Identity, "26 missing", "none", "conv1.weight, bn1.weight, bn1.bias, bn1.running_mean, ..."),
    ("a bias more", lambda: with_bias(Net()), "1 not expected", "conv1.bias", "none"),
    ("other classes", lambda: Net(11), "shape of fc.weight", "11 8", "10 8"),
    ("a typo", lambda: typo(Net()), "2 missing, 2 not expected", "fd.weight, fd.bias", "fc.weight, fc.bias"),
]


def with_bias(net: Net) -> Net:
    """A convolution that keeps its bias in front of the norm."""
    net.conv1.bias = nn.Parameter(torch.zeros(4))
    return net


def typo(net: Net) -> Net:
    """Other names, and another shape besides."""
    del net.fc
    net.fd = nn.Linear(8, 12)
    return net


@pytest.mark.parametrize(("make", "words", "found", "expected"), [n[1:] for n in NAMES], ids=[n[0] for n in NAMES])
def test_another_state_is_one_failure(
    make: Callable[[], nn.Module], words: str, found: str, expected: str, world: World
) -> None:
    """Names or shapes that differ fail once, with both sides, and block what would compare values."""
    report = check(make(), world.arch())
    failure = first_failure(report)
    assert of(report) == {"state_dict": {"failed"}, "logits": {"blocked"}, "eval": {"blocked"}, "train": {"blocked"}}
    assert words in failure.message
    assert (failure.found, failure.expected) == (found, expected)


def test_other_names_are_not_decided(world: World) -> None:
    """The same shapes under other names need the structure level: skipped, with that reason, and never passed."""
    net = Net()
    net.head = net.fc
    del net.fc
    net.forward = lambda x: x  # type: ignore[method-assign]  # it is not run
    report = check(net, world.arch())
    assert all(f.status == "skipped" and f.reason == OTHER_NAMES for f in report.findings)
    assert not report.passed
    assert not report.failed
    with pytest.raises(AssertionError, match="is not shown in full"):
        assert_conforms(net, world.arch())


# What is no question.


def test_wrong_questions(world: World) -> None:
    """What is no module, no arch, no device, or a spec that does not stand, is an error and no finding."""
    arch = world.arch()
    with pytest.raises(RvCheckError, match=r"the class Net is not a module, expected an instance of torch\.nn\.Module"):
        check(Net, arch)  # type: ignore[arg-type]
    with pytest.raises(RvCheckError, match="a str is not a module"):
        check("net", arch)  # type: ignore[arg-type]
    with pytest.raises(RvCheckError, match=r"unknown arch 'resnet8'(.|\n)*did you mean: resnet18"):
        check(Net(), "resnet8")
    with pytest.raises(RvCheckError, match="device 'cuda:99' cannot be used here"):
        check(Net(), arch, device="cuda:99")
    with pytest.raises(SpecError, match="the shape here is 4 16 16"):
        check(Net(), world.arch(("_ 16 16", "_ 17 17")))


def test_a_long_traceback_is_cut(world: World) -> None:
    """A thousand frames of a recursion are shown as the last ten."""
    message = first_failure(check(Endless(), world.arch())).message
    assert message.count("in features: return self.features(x)") == 10


def test_what_a_module_keeps_beside_its_tensors_is_not_expected(world: World) -> None:
    """Extra state of any kind is a name more."""

    class Extra(Net):
        def get_extra_state(self) -> Any:
            return {"epoch": 3}

        def set_extra_state(self, state: Any) -> None:
            pass

    assert first_failure(check(Extra(), world.arch())).found == "_extra_state"


@pytest.mark.parametrize("make", [lambda: Net().to("meta"), lambda: lazy(Net())], ids=["meta", "lazy"])
def test_a_module_without_values(make: Callable[[], nn.Module], world: World) -> None:
    """Nothing can be compared before there are values."""
    failure = first_failure(check(make(), world.arch()))
    assert failure.message == "conv1.weight of the module has no values: it is lazy or on the meta device"


def lazy(net: Net) -> Net:
    """With a layer that has not seen its input yet."""
    net.conv1 = nn.LazyConv2d(4, 3, padding=1, bias=False)
    return net


def test_a_module_that_cannot_be_copied(world: World) -> None:
    """It fails, and says why."""

    class Stubborn(Net):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("one of a kind")

    assert first_failure(check(Stubborn(), world.arch())).message.startswith(
        "the module cannot be copied: TypeError: one of a kind"
    )


# Nothing of the user's changes.


def snapshot(net: nn.Module) -> list[Any]:
    """Everything that a check might change in a module."""
    parts: list[Any] = [torch.get_rng_state().tolist()]
    for name, module in net.named_modules():
        hooks = [dict(h) for h in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)]
        parts.append((name, id(module), module.training, hooks, sorted(vars(module))))
    for name, tensor in net.state_dict(keep_vars=True).items():
        grad = None if tensor.grad is None else tensor.grad.tolist()
        parts.append((name, id(tensor), tensor.tolist(), tensor.dtype, tensor.requires_grad, grad, tensor._version))
    return parts


STATES: list[tuple[str, Callable[[], nn.Module]]] = [
    ("what passes", Net),
    ("what fails", broken_block(eps=1e-3)),
    ("what raises", Raising),
    ("what has another state", lambda: Net(3)),
    ("what overwrites its input", Overwriting),
]


@pytest.mark.parametrize("make", [s[1] for s in STATES], ids=[s[0] for s in STATES])
def test_the_module_is_as_before(make: Callable[[], nn.Module], world: World) -> None:
    """Flags, hooks, parameters, buffers, gradients, what is frozen, and the random state: whatever the outcome."""
    net = make()
    net.train()
    net.bn1.eval()
    net.fc.bias.requires_grad_(False)
    net.conv1.weight.grad = torch.ones_like(net.conv1.weight)
    net.conv1.register_forward_hook(lambda *_: None)
    before = snapshot(net)
    check(net, world.arch())
    assert snapshot(net) == before


def test_a_snapshot_sees_a_change() -> None:
    """The test above can fail: running a module in training changes what it compares."""
    net = Net()
    before = snapshot(net)
    net(torch.randn(2, 3, 32, 32))
    assert snapshot(net) != before
    same = copy.deepcopy(net)
    assert snapshot(same.eval()) != snapshot(net)


def test_a_copy_of_a_shared_module_stays_shared() -> None:
    """A module listed twice is one module: it lacks parameters that the arch has, though its names are all there."""
    net = narrow(BasicBlock, width_per_group=64)
    net.layer1 = nn.Sequential(*[net.layer1[0]] * 2)
    net.layer2 = nn.Sequential(net.layer2[0], BasicBlock(128, 128))
    report = check(net, "resnet18(depths=[2, 2, 1, 1])")
    assert of(report)["state_dict"] == {"passed"}
    assert of(report)["eval"] == {"failed"}


def test_public_names() -> None:
    """What the package promises is there, and nothing else is promised."""
    assert set(rv_check.__all__) == {
        "Arch",
        "Finding",
        "ReceptiveField",
        "Report",
        "RvCheckError",
        "SpecError",
        "assert_conforms",
        "build",
        "check",
        "load",
    }
    assert all(getattr(rv_check, name) for name in rv_check.__all__)
    with pytest.raises(AttributeError, match="module 'rv_check' has no attribute 'chekc'"):
        _ = rv_check.chekc
