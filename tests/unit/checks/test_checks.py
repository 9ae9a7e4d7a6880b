"""The checks: what is right passes each of them, and for each, what it guards is broken and it fails, at the place."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rv_check import load
from rv_check.archs.arch import Arch
from rv_check.checks.check import Check, run_check
from rv_check.checks.findings import Finding, Report
from rv_check.checks.judge import Judge
from rv_check.checks.of_arch import ArchRun
from rv_check.checks.published import hold
from rv_check.checks.registry import CHECKS, check_arch, checks_of
from rv_check.checks.sizes import input_sizes
from rv_check.errors import Document, Place, RvCheckError
from rv_check.language.definitions import Published
from rv_check.language.files import shipped_folder
from rv_check.modules.reference import PROVIDERS
from rv_check.ops import op as ops
from rv_check.ops.convolutions import Conv, Linear
from rv_check.ops.dropouts import Dropout
from rv_check.ops.pools import AdaptiveAvgPool, MaxPool
from rv_check.ops.shapes import Flatten
from tests.unit.tiny import Block, Net, World, broken, broken_block

CHECK = {check.name: check for check in CHECKS if "arch" in check.of}  # of two modules: test_arbitration


def run(check: str, arch: Arch) -> list[Finding]:
    """What one check finds."""
    return run_check(CHECK[check], ArchRun(arch))


def test_what_is_right_passes_every_check(world: World) -> None:
    """The small network is its reference, and everything its spec states holds; the reference is built once."""
    report = check_arch(world.arch())
    assert report.passed, str(report)
    assert report.level == "numbers"
    assert report.against == "torchvision.models.net"
    assert {f.check for f in report.findings} == set(CHECK) - {"metadata", "activations"}  # nothing is stated of these
    assert world.asked == ["net"]


# What is broken: a line of the spec, or of its block, or the reference, or a rule of an op.

Change = Callable[[World, pytest.MonkeyPatch], Arch]


def spec(old: str, new: str) -> Change:
    """Change a line of the spec."""
    return lambda world, patch: world.arch((old, new))


def block(old: str, new: str) -> Change:
    """Change a line of the block, of which the spec then has a copy."""

    def change(world: World, patch: pytest.MonkeyPatch) -> Arch:
        world.write_block((old, new))
        return world.arch()

    return change


def reference(net: type[Net]) -> Change:
    """Compare with another reference."""

    def change(world: World, patch: pytest.MonkeyPatch) -> Arch:
        world.reference = net
        return world.arch()

    return change


def rule(op: type[ops.Op], name: str, value: Callable[..., Any]) -> Change:
    """Change a rule of an op; `value` takes what the rule gives now."""

    def change(world: World, patch: pytest.MonkeyPatch) -> Arch:
        now = getattr(op, name)
        patch.setattr(op, name, lambda *arguments: value(now(*arguments)))
        return world.arch()

    return change


def shipped(old: str, new: str) -> Change:
    """Change a line of a copy of the shipped ResNets."""

    def change(world: World, patch: pytest.MonkeyPatch) -> Arch:
        shutil.copytree(shipped_folder() / "blocks", world.folder / "blocks")
        path = world.write((old, new), name="resnet.yaml", text=(shipped_folder() / "resnet.yaml").read_text())
        return load(f"{path}::resnet18")

    return change


def weights(stated: str) -> Change:
    """Let the shipped resnet18 state something of its weights, on a line."""
    build = "build: resnet(basic, depths=[2, 2, 2, 2])"
    return shipped(build, f"{build}\n    weights:\n      ResNet18_Weights.IMAGENET1K_V1: {stated}")


class LastRelu(Block):
    """Without the relu after the addition."""

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(y)) + self.downsample(x)


class Renamed(Net):
    """A module with a head of another name."""

    def __init__(self, classes: int = 10):
        super().__init__(classes)
        self.head = self.fc
        del self.fc

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(torch.flatten(self.avgpool(self.features(x)), 1)))


class Reordered(Net):
    """A module with its head defined first."""

    def __init__(self, classes: int = 10):
        super().__init__(classes)
        self._modules = {"fc": self.fc, **self._modules}


class Detached(Net):
    """A module whose layers before the last block learn nothing."""

    def features(self, x: Tensor) -> Tensor:
        return self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))).detach())


class Unloadable(Net):
    """A module which takes no state but its own."""

    def load_state_dict(self, state: Any, *arguments: Any, **options: Any) -> Any:
        if not torch.equal(state["conv1.weight"], self.conv1.weight):
            raise RuntimeError("not mine")
        return super().load_state_dict(state, *arguments, **options)


class OtherParts(Net):
    """The same network, with its flatten in the pool."""

    def __init__(self, classes: int = 10):
        super().__init__(classes)
        self.avgpool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())  # type: ignore[assignment]


class FrozenHead(Net):
    """A module whose head does not learn."""

    def __init__(self, classes: int = 10):
        super().__init__(classes)
        self.fc.requires_grad_(False)


class ExtraOutput(Net):
    """A module which gives its features besides."""

    def forward(self, x: Tensor) -> Any:
        return {"out": super().forward(x), "features": self.features(x)}


class FrozenNorm(Net):
    """A module whose first norm keeps its statistics."""

    def train(self, mode: bool = True) -> FrozenNorm:
        super().train(mode)
        self.bn1.eval()
        return self


def fan_in(self: Net) -> None:
    """Kaiming's other mode."""
    for module in self.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")


def zero_last_norm(self: Net) -> None:
    """torchvision's zero_init_residual."""
    Net.start(self)
    nn.init.zeros_(self.layer1.bn2.weight)


FIELD = "receptive_field: 17/4/8\n    published"
LONG = "layer1:\n        shape: 8 8 8\n        params: 944\n        macs: 57_344\n        receptive_field: 17/4/8"
ROW = "- numbers: mactivations 0.0057, params 1_150"
AT_64 = "- input: 3 64 64\n        macs: 671_828"
OTHER_EPS, LEAKY, LATE = broken_block(eps=1e-3), broken_block(slope=0.01), broken_block(stride=1)
NO_PADDING, NO_RELU = broken(padding=0), broken(block=LastRelu)
SLOW, DROPPING = broken(momentum=0.01), broken(dropout=0.4)

# The check, what is broken, how, what the first failure says, and the line it points at.
BREAKS: list[tuple[str, str, Change, str, str]] = [
    ("shapes", "a shape: line", spec("_ 16 16", "_ 17 17"), "the shape here is 4 16 16", "- shape: _ 17 17"),
    ("shapes", "an out: line", block("out: width", "out: 2*width"), "the output of basic is 8 8 8", "out: 2*width"),
    ("shapes", "branches", block("kernel=1", "kernel=3"), "the branches of sum differ", "- sum:"),
    ("contract", "a shape", spec("8 8 8", "8 8 9"), "shape of layer1 is 8 8 8: found 8 8 8, expected 8 8 9", "8 8 9"),
    ("contract", "params", spec("s: 944", "s: 945"), "params of layer1 is 944: found 944, expected 945", "s: 945"),
    ("contract", "macs", spec("s: 57_344", "s: 57_345"), "macs of layer1 is 57,344: found 57,344, exp", "57_345"),
    ("contract", "a line", spec(LONG, "layer1: 8 8 9, 17/4/8"), "found 8 8 8, expected 8 8 9", "layer1: 8 8 9"),
    ("contract", "its field", spec(LONG, "layer1: 8 8 8, 19/4/8"), "found 17/4/8, expected 19/4/8", "layer1: 8 8 8"),
    ("contract", "a field", spec(FIELD, FIELD.replace("17", "19")), "receptive field of layer1 is 17/4/8", "19/4/8"),
    ("params", "the figure", spec("1_150", "1_151"), "params 1_151 is wrong: found 1,150, expected 1_151", "1_151"),
    ("params", "the network", block("3, padding=1, bias=False)", "3, padding=1, bias=True)"), "found 1,158", "1_150"),
    ("macs", "the figure", spec("168_016", "168_017"), "macs 168_017 is wrong: found 168,016, exp", "168_017"),
    ("macs", "the network", spec("maxpool(3, stride=2", "maxpool(3, stride=1"), "the shape here", "- shape: _ 16 16"),
    ("macs", "of another size", spec("- depth: 4", AT_64), "found 671,824, expected 671_828", "671_828"),
    ("macs", "in millions", spec("- depth: 4", "- mmacs: 0.169"), "mmacs 0.169 is wrong: found 0.168016, exp", "0.169"),
    ("activations", "the figure", spec("- depth: 4", ROW), "mactivations 0.0057 is wrong: found 0.005642", "0.0057"),
    ("depth", "the figure", spec("depth: 4", "depth: 5"), "depth 5 is wrong: found 4, expected 5", "depth: 5"),
    ("receptive_field", "the figure", spec("- receptive_field: 17", "- receptive_field: 19"), "19/4/8 is wr", "19/4/8"),
    ("metadata", "a figure", shipped("69.758", "69.759"), "top1 69.759: found 69.759, expected 69.758", "top1: 69.759"),
    ("metadata", "params", shipped("11_689_512", "11_689_513"), "expected 11689512", "params: 11_689_513"),
    ("metadata", "the crop", shipped("3 224 224", "3 232 232"), "found 232 232, expected 224 224", "  resnet18:"),
    ("metadata", "no weights", shipped("ResNet18_Weights", "ResNet17_Weights"), "no ResNet17_Weights", "  resnet18:"),
    ("metadata", "a line", weights("top1 69.759"), "top1 69.759: found 69.759, expected 69.758", "top1 69.759"),
    ("metadata", "its crop", weights("top1 69.758, input 3 232 232"), "found 232 232, expected 224 224", "input 3 232"),
    ("structure", "eps", reference(OTHER_EPS), "with eps 0.001, expected eps 1e-05", "- bn1: batchnorm"),
    ("structure", "a leaky relu", reference(LEAKY), "leaky_relu negative_slope 0.01 instead of relu", "- relu"),
    ("structure", "the stride", reference(LATE), "stride 2 on layer1.conv2, expected on", "- conv1: conv("),
    ("structure", "the pool's padding", reference(NO_PADDING), "padding 0, expected padding 1", "- maxpool:"),
    ("structure", "the last relu", reference(NO_RELU), "missing relu", "- relu"),
    ("structure", "momentum", reference(SLOW), "momentum 0.01, expected momentum", "- bn1: batchn"),
    ("structure", "dropout", reference(DROPPING), "p 0.4, expected p 0.5 (in train", "- drop: dropout"),
    ("structure", "a frozen norm", reference(FrozenNorm), "statistics running, expected", "- bn1: batchnorm"),
    ("structure", "another output", reference(ExtraOutput), "than the output ['out']: found ['features']", "  net:"),
    ("structure", "the spec", spec("dropout(0.5)", "dropout(0.25)"), "with p 0.5, expected p 0.25", "- drop: drop"),
    ("trainable", "a frozen head", reference(FrozenHead), "2 of 14 parameters are frozen: found requires", "  net:"),
    ("state_dict", "a name", reference(Renamed), "2 missing, 2 not expected: found fc.weight, fc.bias, ex", "  net:"),
    ("state_dict", "the order", reference(Reordered), "order of parameters and buffers: found conv1.weight", "  net:"),
    ("state_dict", "a shape", spec("(classes=classes)", "(classes=11)"), "shape of fc.weight: found 10 8", "  net:"),
    ("state_dict", "loading", reference(broken(Unloadable, start=fan_in)), "strict loading fails: RuntimeE", "  net:"),
    ("init", "the mode", reference(broken(start=fan_in)), "conv1.weight is the first of 3 tensors, of 26", "conv: kai"),
    ("init", "a zero norm", reference(broken(start=zero_last_norm)), "layer1.bn2.weight is the first of 1", "conv: k"),
    ("logits", "eps", reference(OTHER_EPS), "output differs by", "  net:"),
    ("logits", "a leaky relu", reference(LEAKY), "output differs by", "  net:"),
    ("logits", "the stride", reference(LATE), "output differs by", "  net:"),
    ("logits", "the pool's padding", reference(NO_PADDING), "output differs by", "  net:"),
    ("logits", "the last relu", reference(NO_RELU), "output differs by", "  net:"),
    ("eval", "eps", reference(OTHER_EPS), "output of layer1.bn1 differs by", "- bn1: batchnorm"),
    ("eval", "a leaky relu", reference(LEAKY), "output of layer1.conv2 differs by", "- conv2:"),
    ("eval", "the stride", reference(LATE), "output of layer1.conv1 differs;", "- conv1: conv(width, kernel=3, stride"),
    ("eval", "the pool's padding", reference(NO_PADDING), "output of maxpool differs;", "- maxpool:"),
    ("eval", "the last relu", reference(NO_RELU), "output of layer1 differs by", "- layer1:"),
    ("eval", "no gradient", reference(Detached), "gradient of bn1.bias differs", "- bn1: batchnorm"),
    ("eval", "a part", reference(OtherParts), "output of avgpool differs;", "- avgpool:"),
    ("train", "eps", reference(OTHER_EPS), "output of layer1.bn1 differs by", "- bn1: batchnorm"),
    ("train", "momentum", reference(SLOW), "bn1.running_mean after a step differs by", "- bn1: batchnorm"),
    ("train", "dropout", reference(DROPPING), "output of drop differs by", "- drop: dropout"),
    ("train", "a frozen norm", reference(FrozenNorm), "output of bn1 differs by", "- bn1: batchnorm"),
    ("counters", "MACs of a conv", rule(Conv, "macs", lambda n: n + 1), "FLOPs by torch's counter", "  net:"),
    ("counters", "params of a head", rule(Linear, "params", lambda p: {"weight": p["weight"]}), "1,150", "  net:"),
    ("counters", "the model", rule(Dropout, "build", lambda m: nn.Linear(8, 8)), "parameters of the", "  net:"),
    ("counters", "what does not run", rule(Flatten, "build", lambda m: nn.Flatten(2)), "does not run", "  net:"),
    ("field", "a formula", rule(MaxPool, "window", lambda w: (ops.POINT, w[1])), "17/4/8", "  - layer1"),
    ("counters", "the pool", rule(AdaptiveAvgPool, "build", lambda m: nn.AvgPool2d(8)), "pool2d by fv", "  net:"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "change", "title", "line"), [(b[0], *b[2:]) for b in BREAKS], ids=[f"{b[0]}-{b[1]}" for b in BREAKS]
)
def test_a_check_fails(
    check: str, change: Change, title: str, line: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the check guards is broken, alone: it fails, says what was found and expected, and points at the line."""
    found = run(check, change(world, monkeypatch))
    first = next((f for f in found if f.status == "failed"), None)
    assert first is not None, [f.title for f in found]
    assert title in first.title
    assert first.place is not None
    text = first.place.document.lines[first.place.line - 1]
    assert line in text


def test_every_check_has_been_seen_to_fail() -> None:
    """Each row of CHECKS has a row above that breaks what it guards."""
    assert {row[0] for row in BREAKS} == set(CHECK)


# The network, the checks that see it, and the level that is reached all the same.
ONLY_IN: list[tuple[str, type[Net], set[str], str]] = [
    ("momentum", SLOW, {"structure", "train"}, "spec"),
    ("dropout", DROPPING, {"structure", "train"}, "spec"),
    ("a frozen norm", FrozenNorm, {"structure", "train"}, "spec"),
    ("a detached layer", Detached, {"eval", "train"}, "structure"),
    ("the start", broken(start=fan_in), {"init"}, "structure"),
    ("eps", OTHER_EPS, {"structure", "logits", "eval", "train"}, "spec"),
    ("a name", Renamed, {"state_dict", "init", "logits", "eval", "train"}, "structure"),
    ("other parts", OtherParts, {"eval", "train"}, "structure"),
    ("a frozen head", FrozenHead, {"trainable", "eval", "train"}, "spec"),
]


@pytest.mark.parametrize(("net", "checks", "level"), [row[1:] for row in ONLY_IN], ids=[row[0] for row in ONLY_IN])
def test_what_sees_a_difference(net: type[Net], checks: set[str], level: str, world: World) -> None:
    """Some mistakes are seen by one level only, and none of these by shapes and counts."""
    world.reference = net
    report = check_arch(world.arch())
    assert {f.check for f in report.findings if f.status != "passed"} == checks
    assert report.level == level


def test_a_structural_difference_of_the_reference_is_at_both_lines(world: World) -> None:
    """The finding has the step and line of the spec, and the line of the reference that calls the operation."""
    world.reference = OTHER_EPS
    (failed,) = [f for f in run("structure", world.arch()) if f.status == "failed"]
    assert (failed.kind, failed.step, failed.module, failed.count) == ("arguments", "layer1.bn1", "layer1.bn1", 1)
    made = failed.as_json()
    assert made["file"].endswith("specs/blocks/basic.yaml")
    assert made["module_file"].endswith("tests/unit/tiny.py")
    line = Path(made["module_file"]).read_text().splitlines()[made["module_line"] - 1]
    assert "self.bn1(self.conv1(x))" in line


def test_what_the_structure_says_where_it_holds(world: World) -> None:
    """How many operations, at which inputs, in which modes; and by which rules, where it is written otherwise."""
    (found,) = run("structure", world.arch())
    assert found.message.startswith(
        "the same graph of 17 operations at 3 32 32, 3 31 31, 3 25 25, in eval and train mode"
    )
    assert "written otherwise" not in found.message

    class Otherwise(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.drop(self.features(x).mean((2, 3))))

    world.reference = Otherwise
    (found,) = run("structure", world.arch())
    assert "written otherwise: " in found.message


def test_up_to_a_level(world: World) -> None:
    """Checks of dearer levels are left out; the structure is held against the reference, and the report says so."""
    report = check_arch(world.arch(), ["spec", "structure"])
    assert [f.check for f in report.findings if f.level != "spec"] == ["structure", "trainable"]
    assert (report.passed, report.level) == (True, "structure")
    assert report.against == "torchvision.models.net"
    report = check_arch(world.arch(), ["spec"])
    assert (report.against, report.level) == (None, "spec")


# One cause is one failure.


def statuses(report: Report) -> dict[str, set[str]]:
    """What became of each check."""
    found: dict[str, set[str]] = {}
    for finding in report.findings:
        found.setdefault(finding.check, set()).add(finding.status)
    return found


def failing(classes: int) -> nn.Module:
    """A builder that raises."""
    raise ValueError("no such thing")


def test_a_reference_that_does_not_run_is_no_structure(world: World) -> None:
    """It builds and raises: the structure fails with the reference's own lines; what needs no run passes."""

    class Raising(Net):
        def features(self, x: Tensor) -> Tensor:
            raise ValueError("here")

    world.reference = Raising
    found = {f.check: f for f in check_arch(world.arch()).findings}
    assert found["structure"].status == "failed"
    assert "ValueError: here\n" in found["structure"].message
    assert "test_checks.py" in found["structure"].message.splitlines()[-1]
    assert found["trainable"].status == found["state_dict"].status == found["init"].status == "passed"
    assert found["eval"].status == "failed"


def test_a_reference_that_does_not_build_is_one_failure(world: World) -> None:
    """The first check to need it fails with what was raised, the others are blocked; what needs none of it passes."""
    world.reference = failing
    report = check_arch(world.arch())
    found = statuses(report)
    assert found["structure"] == {"failed"}
    blocked = ("trainable", "state_dict", "init", "logits", "eval", "train")
    assert all(found[name] == {"blocked"} for name in blocked)
    assert all(found[name] == {"passed"} for name in ("shapes", "contract", "params", "counters"))
    (failed,) = [f for f in report.findings if f.status == "failed"]
    assert failed.message.startswith("the reference does not build: ValueError: no such thing\n")
    assert "test_checks.py" in failed.message.splitlines()[-1]
    assert "blocked by the models: see net::structure" in str(report)
    assert not report.passed
    assert report.failed


def test_a_check_sees_nothing_of_those_before(world: World) -> None:
    """Whatever ran before has moved weights and statistics; each check begins where it would have alone."""
    world.reference = SLOW
    run = ArchRun(world.arch())
    order = ("train", "eval", "logits", "init", "state_dict", "train", "init")
    became = [{f.status for f in run_check(CHECK[name], run)} for name in order]
    passed, failed = {"passed"}, {"failed"}
    assert became == [failed, passed, passed, passed, passed, failed, passed]
    world.reference = broken(start=fan_in)
    run = ArchRun(world.arch())
    assert [f.status for name in ("logits", "init") for f in run_check(CHECK[name], run)] == ["passed", "failed"]


def test_names_that_differ_are_one_failure(world: World) -> None:
    """With other names there is nothing to compare: what follows is blocked, whichever check comes first.

    The structure has no names, and holds.
    """
    world.reference = Renamed
    found = statuses(check_arch(world.arch()))
    assert found["structure"] == found["trainable"] == {"passed"}
    assert found["state_dict"] == {"failed"}
    assert found["init"] == found["logits"] == found["eval"] == found["train"] == {"blocked"}
    run = ArchRun(world.arch())
    assert [f.status for name in ("train", "state_dict") for f in run_check(CHECK[name], run)] == ["failed", "blocked"]


def test_a_spec_that_does_not_stand_is_one_failure(world: World) -> None:
    """Each of its errors is a finding of the first check, with its own place; every other check is blocked."""
    path = world.write_block(("stride=stride, padding=1", "stride=stride, groups=3"), ("kernel=1", "kernel=40"))
    report = check_arch(world.arch())
    first, second = [f for f in report.findings if f.status == "failed"]
    assert {first.check, second.check} == {"shapes"}
    assert (first.as_json()["file"], first.as_json()["line"]) == (str(path), 9)
    assert second.as_json()["line"] == 18
    assert "4 input channels are not divisible by 3 groups" in first.message
    assert "in net > layer1: basic(" in first.message
    assert all(f.status == "blocked" for f in report.findings if f.check != "shapes")
    assert "blocked by the spec: see net::shapes" in str(report)


def test_an_unknown_builder_suggests_one() -> None:
    """A reference that torchvision does not have is named, with the nearest one."""
    path = shipped_folder() / "resnet.yaml"
    with pytest.raises(RvCheckError, match=r"no builder 'resnet8', did you mean: resnet18"):
        PROVIDERS["torchvision.models"].build("resnet8", {})
    assert path.is_file()


def test_a_reference_sees_the_arguments_of_its_family(world: World) -> None:
    """Overrides reach the builder; one that it is not told of leaves nothing to compare with, and no level numbers."""
    seen: list[dict[str, Any]] = []

    def build(**arguments: Any) -> nn.Module:
        seen.append(arguments)
        return Net(int(arguments["classes"]))

    world.reference = build
    arch = world.arch(("(classes=classes)", "(classes=classes, rate=1/2)"), call="net(classes=3)")
    assert [f.status for f in run("state_dict", arch)] == ["passed"]
    assert seen == [{"classes": 3, "rate": 0.5}]
    assert isinstance(seen[0]["rate"], float)
    wider = world.arch(call="net(width=8)")
    assert ["state_dict" in {c.name for c in checks_of(one)} for one in (arch, wider)] == [True, False]
    assert check_arch(wider).against is None
    assert check_arch(wider).level == "spec"


# What cannot run is skipped, with the reason, and never passed.


def test_without_fvcore_its_counts_are_skipped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch counts is still held; the rest is a skip that says what would bring it."""
    monkeypatch.setitem(sys.modules, "fvcore.nn", None)
    *counted, last = run("counters", world.arch())
    assert [f.status for f in counted] == ["passed", "passed", "passed"]
    assert last.status == "skipped"
    assert "fvcore.nn cannot be imported" in (last.reason or "")
    assert "pip install 'rv-check[torch]'" in (last.reason or "")


def test_without_torchvision_the_comparison_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each check that needs it says so; none passes, none is blocked by another, and none fails."""
    monkeypatch.setitem(sys.modules, "torchvision.models", None)
    found = statuses(check_arch(load("resnet18")))
    skipped = {"metadata", "structure", "trainable", "state_dict", "init", "logits", "eval", "train"}
    assert {name for name, of in found.items() if of == {"skipped"}} == skipped
    assert all(of == {"passed"} for name, of in found.items() if name not in skipped)


@pytest.mark.parametrize("device", ["cuda:99", "meta", "no-such-device"])
def test_without_the_device_the_comparison_is_skipped(device: str, world: World) -> None:
    """A device that is not here, or cannot hold numbers, is named in the reason."""
    findings = run_check(CHECK["logits"], ArchRun(world.arch(), device))
    assert findings
    for finding in findings:
        assert finding.status == "skipped"
        assert f"device '{device}' cannot be used here: " in (finding.reason or "")


def test_a_required_level_turns_its_skips_into_failures(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A skip at the level or below is a failure that keeps its reason; a skip above it stays one."""
    monkeypatch.setitem(sys.modules, "fvcore.nn", None)
    arch = world.arch()
    for require, status in (("numbers", "failed"), ("spec", "skipped"), (None, "skipped")):
        (finding,) = [f for f in check_arch(arch, judge=Judge(require)).findings if f.status != "passed"]
        assert (finding.check, finding.status) == ("counters", status)
        assert "fvcore" in (finding.reason or "")
        assert ("and numbers is required" in finding.message) == (status == "failed")


def test_shape_lines_that_do_not_speak_are_a_skip(world: World) -> None:
    """At another input than the declared one a shape: line says nothing, and the report says that."""
    skipped, passed = run("shapes", replace(world.arch(), input=(3, 64, 64)))
    assert (skipped.status, passed.status) == ("skipped", "passed")
    assert skipped.message == "1 shape: lines were not checked"
    assert skipped.reason == "they hold at 3 32 32, and the input is 3 64 64"


# Results do not depend on what the caller has set, and the caller's settings stay.


def settings(exact: Sequence[Any] | None = None) -> list[Any]:
    """Torch's global state: the precision of float32 of these backends, or as torch's older settings tell it."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return [
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        (torch.get_float32_matmul_precision(), matmul.allow_tf32, cudnn.allow_tf32)
        if exact is None
        else [backend.fp32_precision for backend in exact],
        torch.get_rng_state().tolist(),
    ]


@contextmanager
def setting(set_: Callable[[Any], None], value: Any, back: Any) -> Iterator[None]:
    """A global setting inside."""
    set_(value)
    try:
        yield
    finally:
        set_(back)


def warn_only(on: bool) -> None:
    """Deterministic algorithms, with a warning instead of an error."""
    torch.use_deterministic_algorithms(on, warn_only=on)


CALLERS: list[tuple[str, Callable[[], Any]]] = [
    ("nothing set", nullcontext),
    ("no gradients", torch.no_grad),
    ("inference mode", torch.inference_mode),
    ("autocast", lambda: torch.autocast("cpu", torch.bfloat16)),
    ("float64 by default", lambda: setting(torch.set_default_dtype, torch.float64, torch.float32)),
    ("meta by default", lambda: torch.device("meta")),
    ("rough products", lambda: setting(torch.set_float32_matmul_precision, "medium", "highest")),
    ("deterministic", lambda: setting(torch.use_deterministic_algorithms, True, False)),
    ("nearly deterministic", lambda: setting(warn_only, True, False)),
]


@pytest.mark.parametrize("caller", [c[1] for c in CALLERS], ids=[c[0] for c in CALLERS])
def test_settings_of_the_caller(caller: Callable[[], Any], world: World) -> None:
    """Every check passes whatever the caller has set; models see torch's defaults; what was set is as before."""
    seen: list[list[Any]] = []

    class Looking(Net):
        def forward(self, x: Tensor) -> Tensor:
            seen.append([x.dtype, torch.empty(1).dtype, *settings(exact)[1:-1]])
            return super().forward(x)

    exact = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.matmul)
    world.reference = Looking
    arch = world.arch()
    with caller():
        before = settings()
        report = check_arch(arch)
        assert settings() == before
    assert report.passed, str(report)
    cpu, off = torch.device("cpu"), [False, False, False, False, ["ieee", "ieee", "ieee"]]
    quiet = [torch.float32, torch.float32, cpu, False, *off]  # the structure, several times, and logits
    learning = [torch.float64, torch.float32, cpu, True, *off]  # eval and train, at two sizes at least
    again = [torch.float64, torch.float32, cpu, False, *off]  # eval mode, for another image
    assert seen[: seen.count(quiet)] == [quiet] * seen.count(quiet)
    assert seen.count(quiet) + seen.count(learning) + seen.count(again) == len(seen)
    assert min(seen.count(quiet), seen.count(learning)) >= 4
    assert seen.count(again) >= 2


def test_a_check_that_fails_leaves_the_settings_alone(world: World) -> None:
    """The settings are left alone also where a module raises in the middle."""

    class Raising(Net):
        def features(self, x: Tensor) -> Tensor:
            raise ValueError("here")

    world.reference = Raising
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = settings()
        found = run("train", world.arch())
        assert settings() == before
    assert [f.status for f in found] == ["failed"]
    assert found[0].message.startswith("train mode at 3 32 32, float64: the reference does not run: ValueError: here\n")


# Inputs at which modules are compared.

LENET = """\
family: lenet()
source: a test
input: 1 28 28

body:
  - conv(2, kernel=5, bias=True)
  - maxpool(2)
  - flatten
  - linear(10, bias=True)

archs:
  lenet:
    build: lenet()
"""


def test_input_sizes(world: World) -> None:
    """Even and odd ones, none larger than declared; only the declared one where the parameters depend on it."""
    assert input_sizes(load("resnet18")) == [(3, 64, 64), (3, 63, 63), (3, 65, 65)]
    assert input_sizes(world.arch()) == [(3, 32, 32), (3, 31, 31), (3, 25, 25)]
    assert input_sizes(world.arch(("input: 3 32 32", "input: 3 33 33"), ("- shape: _ 16 16", ""))) == [
        (3, 33, 33),
        (3, 31, 31),
        (3, 25, 25),
    ]
    lenet = world.write(name="lenet.yaml", text=LENET)
    assert input_sizes(load(f"{lenet}::lenet")) == [(1, 28, 28)]
    flat = world.write(("input: 1 28 28", "input: 784"), name="flat.yaml", text=LENET)
    assert input_sizes(load(f"{flat}::lenet")) == [(784,)]


@pytest.mark.parametrize("pool", ["  - avgpool: adaptive_avgpool(20)\n", ""], ids=["with", "without"])
def test_a_network_at_one_size_only(world: World, pool: str) -> None:
    """Without its adaptive pool to 20x20 a network is the same at 80x80, and has other parameters at 64x64."""

    def pooled(classes: int) -> nn.Module:
        net = Net(classes)
        net.avgpool, net.fc = nn.AdaptiveAvgPool2d(20), nn.Linear(8 * 20 * 20, classes)
        return net

    world.reference = pooled
    changes = (
        ("input: 3 32 32", "input: 3 80 80"),
        ("- shape: _ 16 16", ""),
        ("  - avgpool: adaptive_avgpool(1)\n", pool),
    )
    run = ArchRun(world.arch(*changes))
    assert [f.status for f in run_check(CHECK["logits"], run)] == ["passed"]
    found = run_check(CHECK["eval"], run)
    unfit = [f.message for f in found if f.status == "failed"]
    assert unfit == ([] if pool else [f"the spec does not fit at 3 {side} {side}" for side in (64, 63, 65)])


# Published numbers hold to the digits printed.

HOLDS: list[tuple[str, str, int, str | None, str | None, bool, str]] = [
    ("params", "1_150", 1150, None, None, True, "holds"),
    ("params", "1,150", 1150, None, None, True, "holds"),
    ("params", "1_151", 1150, None, None, False, "is wrong"),
    ("mparams", "25.6", 25_557_032, None, None, True, "holds"),
    ("mparams", "25.5", 25_557_032, None, None, False, "holds only under truncation"),
    ("mparams", "25.5", 25_557_032, None, "truncated", True, "holds only under truncation"),
    ("mparams", "25.6", 25_557_032, None, "truncated", False, "holds"),
    ("mparams", "25", 25_557_032, None, "wrong", False, "holds only under truncation"),
    ("mparams", "27", 25_557_032, None, "wrong", True, "is wrong"),
    ("mparams", "25.60", 25_557_032, None, None, False, "is wrong"),  # trailing zeros are digits
    ("gmacs", "3.8", 3_750_000_000, None, None, True, "holds"),  # both ends of what rounds to it
    ("gmacs", "3.8", 3_850_000_000, None, None, True, "holds"),
    ("gmacs", "3.8", 3_850_000_001, None, None, False, "holds only under truncation"),
    ("gmacs", "3.8", 3_749_999_999, None, None, False, "is wrong"),
    ("gmacs", "3.6", 3_663_761_408, "2", None, True, "is +1.77% off"),
    ("gmacs", "3.6", 3_672_000_000, "2", None, True, "is +2.00% off"),
    ("gmacs", "3.6", 3_672_000_001, "2", None, False, "is +2.00% off"),
    ("gmacs", "3.6", 3_528_000_000, "2", None, True, "is -2.00% off"),
    ("gmacs", "0", 1, "2", None, False, "holds"),  # nothing is within 2% of 0
    ("depth", "50", 50, None, None, True, "holds"),
    ("receptive_field", "427", 427, None, None, True, "holds"),
    ("receptive_field", "483", 427, None, "wrong", True, "is wrong"),
]


@pytest.mark.parametrize(("metric", "printed", "value", "within", "verdict", "ok", "words"), HOLDS)
def test_a_printed_number_holds(
    metric: str, printed: str, value: int, within: str | None, verdict: str | None, ok: bool, words: str
) -> None:
    """It is the exact value rounded to the digits printed; a declared verdict must be the true one."""
    place = Place(Document(Path("x"), ()), 1, 1)
    entry = Published(metric, printed, "a test", Decimal(within) if within else None, verdict, "", place)
    assert hold(entry, value)[:2] == (ok, words)


def test_a_printed_field_holds_as_text() -> None:
    """Size, stride and padding are compared as printed."""
    place = Place(Document(Path("x"), ()), 1, 1)

    def entry(printed: str, verdict: str | None = None) -> Published:
        return Published("receptive_field", printed, "a test", None, verdict, "", place)

    assert hold(entry("427/32/213"), "427/32/213") == (True, "holds", "427/32/213")
    assert hold(entry("427/32/214"), "427/32/213") == (False, "is wrong", "427/32/213")
    assert hold(entry("427/32/214", "wrong"), "427/32/213")[0]
    assert not hold(entry("427/32/213", "wrong"), "427/32/213")[0]


def test_who_listens_hears_of_each_check_and_finding(world: World) -> None:
    """`starting` is told each check before it runs, `seen` each finding as it comes."""
    heard: list[str] = []

    def starting(subject: str, checks: Sequence[Check], index: int) -> None:
        heard.append(f"{subject}::{checks[index].name}, {index} of {len(checks)}")

    judge = Judge(starting=starting, seen=lambda finding: heard.append(finding.check))
    arch = world.arch()
    check_arch(arch, ["spec"], judge=judge)
    of_spec = [check.name for check in checks_of(arch) if check.level == "spec"]
    told = [words for words in heard if "::" in words]
    assert told == [f"net::{name}, {at} of {len(of_spec)}" for at, name in enumerate(of_spec)]
    assert heard[heard.index(told[1]) - 1 :][:3] == ["shapes", told[1], "contract"]
