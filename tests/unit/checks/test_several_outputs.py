"""Modules that return several tensors: which is which is told by what it computes, and all of them are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from rv_check import check
from rv_check.checks.findings import Finding, Report
from rv_check.checks.of_two import compare_modules
from tests.unit.tiny import Net, World

IMAGE = (3, 16, 16)
Make = Callable[[], nn.Module]


@dataclass
class Answer:
    """What a detector of somebody's own returns."""

    logits: Tensor
    features: list[Tensor]


class Named(NamedTuple):
    """What torchvision's networks return in train mode."""

    logits: Tensor
    features: Tensor


def failures(report: Report) -> list[Finding]:
    """The findings that failed."""
    return [f for f in report.findings if f.status == "failed"]


def kinds(report: Report) -> list[str | None]:
    """What kinds of finding failed."""
    return [f.kind for f in failures(report)]


# Against an arch: the output that should be its end is found by what it is


class Giving(Net):
    """The network with what it returns made of its stem and its last feature map."""

    def __init__(self, give: Callable[[Any, Tensor, Tensor], Any], **mistakes: Any):
        super().__init__()
        self.give = give
        self.auxiliary, self.second = nn.Linear(4, 10), nn.Linear(8, 10)
        for name, value in mistakes.items():
            setattr(self.maxpool if name == "ceil_mode" else self.bn1, name, value)

    def forward(self, x: Tensor) -> Any:
        stem = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.give(self, stem, self.layer1(stem))


def pyramid(give: Callable[[Tensor, Tensor], Any], **mistakes: Any) -> nn.Module:
    """Feature maps alone; the head is there and not used."""
    module = Giving(lambda net, stem, features: give(stem, features), **mistakes)
    del module.auxiliary, module.second
    return module


PYRAMIDS: dict[str, tuple[Callable[[Tensor, Tensor], Any], tuple[str, str]]] = {
    "deepest last": (lambda stem, features: [stem, features], ("[0]", "[1]")),
    "deepest first": (lambda stem, features: (features, stem), ("[1]", "[0]")),
    "a dict": (lambda stem, features: {"c3": features, "c2": stem}, ("['c2']", "['c3']")),
    "a dataclass": (lambda stem, features: Answer(features, [stem]), (".features[0]", ".logits")),
    "nested": (lambda stem, features: {"maps": [(features, stem)]}, ("['maps'][0][1]", "['maps'][0][0]")),
}


@pytest.mark.parametrize("words", PYRAMIDS)
def test_one_mistake_wherever_the_feature_maps_stand(words: str, world: World) -> None:
    """It is one finding; which output is which step is printed, and where the module ends."""
    give, (stem, last) = PYRAMIDS[words]
    module = pyramid(give, ceil_mode=True)
    for report in (check(module, world.arch()), check(module, world.arch(), until="layer1")):
        (failure,) = failures(report)
        assert (failure.kind, failure.step, failure.found) == ("arguments", "maxpool", "ceil_mode True")
        (steps,) = (note for note in report.notes if note.startswith("its outputs, as steps of net: "))
        assert f"{stem} is maxpool" in steps
        assert f"{last} is layer1" in steps
        assert "nothing is computed from fc.weight, fc.bias" in report.notes
        assert "never used" not in str(report)
    assert "it ends at layer1: check it with --until layer1, until='layer1'" in check(module, world.arch()).notes


@pytest.mark.parametrize("words", PYRAMIDS)
def test_feature_maps_without_a_mistake(words: str, world: World) -> None:
    """They are the arch up to a step, wherever each stands, and the numbers of that step are compared."""
    module = pyramid(PYRAMIDS[words][0])
    (failure,) = failures(check(module, world.arch()))
    assert (failure.kind, failure.step) == ("until", "layer1")
    report = check(module, world.arch(), until="layer1")
    assert report.passed, str(report)


def test_a_trunk_that_holds_other_parameters(world: World) -> None:
    """What is not used and is no head of the arch is told."""
    module = pyramid(lambda stem, features: (stem, features))
    module.spare = nn.Linear(3, 3)
    (failure,) = failures(check(module, world.arch(), until="layer1"))
    assert failure.message.startswith("2 parameters are never used: spare.weight, spare.bias")


HEADS: dict[str, tuple[Callable[[Any, Tensor, Tensor], Any], str, str]] = {
    "auxiliary last": (lambda net, stem, features: (logits(net, features), aside(net, stem)), "[0]", "[1]"),
    "auxiliary first": (lambda net, stem, features: (aside(net, stem), logits(net, features)), "[1]", "[0]"),
    "a dict": (
        lambda net, stem, features: {"aux": aside(net, stem), "out": logits(net, features)},
        "['out']",
        "['aux']",
    ),
    "a second head first": (lambda net, stem, features: [second(net, features), logits(net, features)], "[1]", "[0]"),
    "a second head last": (lambda net, stem, features: [logits(net, features), second(net, features)], "[0]", "[1]"),
}


def logits(net: Any, features: Tensor) -> Tensor:
    """Those of the arch."""
    found: Tensor = net.fc(net.drop(net.avgpool(features).flatten(1)))
    return found


def aside(net: Any, stem: Tensor) -> Tensor:
    """Those of an auxiliary head."""
    found: Tensor = net.auxiliary(stem.mean((2, 3)))
    return found


def second(net: Any, features: Tensor) -> Tensor:
    """Those of a head that differs from the arch's by its name alone."""
    found: Tensor = net.second(net.drop(net.avgpool(features).flatten(1)))
    return found


@pytest.mark.parametrize("words", HEADS)
def test_a_head_besides(words: str, world: World) -> None:
    """One mistake is one finding whichever head stands first; the parameters of the other one are not unused."""
    give, end, other = HEADS[words]
    module = Giving(give, eps=1e-3)
    delattr(module, "auxiliary" if "second" in words else "second")
    report = check(module, world.arch())
    (mistake,) = failures(report)
    assert (mistake.step, mistake.found, mistake.count) == ("bn1", "eps 0.001", 1)
    assert f"{end} is fc; {other} is no step of it" in report.notes[0]
    assert "never used" not in str(report)
    module.bn1.eps = 1e-5
    (besides,) = failures(check(module, world.arch(), level="structure"))  # two heads draw two masks in train mode
    assert besides.message == f"it returns more than the output {end}\nbesides: {other} 10"
    assert besides.found == f"{other} 10"


def test_the_numbers_of_the_right_head_are_compared(world: World) -> None:
    """Only what is returned besides is no part of the network; its parameters have no counterpart, and need none."""
    module = Giving(HEADS["auxiliary first"][0])
    del module.second
    report = check(module, world.arch())
    assert kinds(report) == ["outputs"]
    assert {f.check for f in report.findings if f.status == "passed"} >= {"state_dict", "logits", "eval", "train"}


@pytest.mark.parametrize("words", HEADS)
def test_a_head_that_no_output_uses_is_told(words: str, world: World) -> None:
    """The one that is computed and thrown away, or not computed at all, is never used."""
    report = check(Giving(HEADS[words][0]), world.arch())
    unused = [f for f in failures(report) if f.kind == "unused"]
    spare = "auxiliary" if "second" in words else "second"
    assert [f.title.partition(", found")[0] for f in unused] == [
        f"2 parameters are never used: {spare}.weight, {spare}.bias: found {spare}.weight, {spare}.bias, "
        "expected none that is not used"
    ]


class AuxiliaryInTraining(Net):
    """Logits of an auxiliary head besides, in train mode, before or behind the network's own."""

    def __init__(self, *, first: bool):
        super().__init__()
        self.auxiliary, self.first = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 10)), first

    def forward(self, x: Tensor) -> Any:
        stem = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        logits = self.fc(self.drop(self.avgpool(self.layer1(stem)).flatten(1)))
        if not self.training:
            return logits
        other = self.auxiliary(stem.mean((2, 3)))
        return (other, logits) if self.first else (logits, other)


@pytest.mark.parametrize("first", [True, False])
def test_a_head_in_train_mode_alone(first: bool, world: World) -> None:
    """It is used, and the network's own logits are compared in train mode, wherever they stand there."""
    report = check(AuxiliaryInTraining(first=first), world.arch())
    (failure,) = failures(report)
    assert (failure.kind, failure.found) == ("outputs", f"[{1 - first}] 10 (in train mode)")
    assert {f.check for f in report.findings if f.status == "passed"} >= {"logits", "eval", "train"}


def test_features_beside_a_head_of_ones_own(world: World) -> None:
    """Logits are held against logits, though the features have more of the arch in them."""

    def give(net: Any, stem: Tensor, features: Tensor) -> Any:
        return features, net.head(features.mean((2, 3)))

    module = Giving(give)
    del module.auxiliary, module.second, module.fc
    module.head = nn.Sequential(nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 5))
    report = check(module, world.arch(), level="structure")
    assert "its outputs, as steps of net: [0] is layer1, [1] is fc" in report.notes


# A module against another: all outputs, by names and places


class Two(nn.Module):
    """Features and logits, each in the old words and names or in new ones, returned in some form."""

    def __init__(
        self, give: Callable[[Tensor, Tensor], Any], names: tuple[str, ...] = ("conv", "norm", "fc"), eps: float = 1e-5
    ):
        super().__init__()
        self.give, self.names = give, names
        parts = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8, eps=eps), nn.Linear(8, 5)
        for name, part in zip(names, parts, strict=True):
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Any:
        conv, norm, fc = (self.get_submodule(name) for name in self.names)
        features = norm(conv(x)).relu()
        return self.give(features, fc(features.mean((2, 3))))


OTHERWISE = ("first", "second", "third")
FORMS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "a tuple": lambda f, y: (f, y),
    "a list": lambda f, y: [f, y],
    "a dict": lambda f, y: {"features": f, "logits": y},
    "a named tuple": lambda f, y: Named(y, f),
    "a dataclass": lambda f, y: Answer(y, [f, 2 * f]),
    "nested": lambda f, y: {"all": [f, {"y": (y,)}], "none": None},
    "one twice": lambda f, y: (y, y),
}


@pytest.mark.parametrize("form", FORMS)
def test_one_network_of_several_outputs(form: str) -> None:
    """Under other names it passes, with a small change in any of its outputs it does not."""
    give = FORMS[form]
    report = compare_modules(Two(give, OTHERWISE), Two(give), IMAGE)
    assert report.passed, str(report)
    (failure,) = failures(compare_modules(Two(give, OTHERWISE, eps=1e-3), Two(give), IMAGE))
    assert (failure.kind, failure.found) == ("arguments", "eps 0.001")


class Case(NamedTuple):
    """A pair that is not one network: what is found, and the words for it."""

    new: Callable[[Tensor, Tensor], Any]
    old: Callable[[Tensor, Tensor], Any]
    kinds: list[str]
    words: str


NOT_ONE = {
    "swapped": Case(lambda f, y: (y, f), FORMS["a tuple"], ["outputs"], "[0] is what [1] should be"),
    "crossed keys": Case(
        lambda f, y: {"features": y, "logits": f}, FORMS["a dict"], ["outputs"], "['features'] is what ['logits']"
    ),
    "a dict for a tuple": Case(FORMS["a dict"], FORMS["a tuple"], ["outputs"], "['features'] is what [0] should be"),
    "one lost": Case(lambda f, y: (f,), FORMS["a tuple"], ["outputs"], "nothing at [1]"),
    "alone": Case(lambda f, y: y, FORMS["a tuple"], ["outputs"], "nothing at [0], all of it is what [1] should be"),
    "one more": Case(
        lambda f, y: (f, y, y + 1), FORMS["a tuple"], ["outputs"], "more than the outputs\nbesides: [2] 5"
    ),
    "one more ahead": Case(
        lambda f, y: (y + 1, f, y), FORMS["a tuple"], ["outputs"], "besides: [0] 5, [1] is what [0]"
    ),
    "more than one": Case(lambda f, y: (f, y), lambda f, y: y, ["outputs"], "output [1]\nbesides: [0] 8 16 16"),
    "the second scaled": Case(lambda f, y: (f, 1.01 * y), FORMS["a tuple"], ["extra"], "extra scale"),
    "the first scaled": Case(lambda f, y: (1.01 * f, y), FORMS["a tuple"], ["extra"], "extra scale"),
    "a part of one": Case(lambda f, y: (f[:, :4], y), FORMS["a tuple"], ["extra"], "extra slice"),
    "another value": Case(lambda f, y: (f, y.tanh()), lambda f, y: (f, y.sigmoid()), ["arguments"], "tanh instead of"),
    "the other one twice": Case(
        lambda f, y: (f, f), FORMS["a tuple"], ["output"], "the output [1] is relu (relu), expected fc (linear)"
    ),
}


@pytest.mark.parametrize("words", NOT_ONE)
def test_other_outputs(words: str) -> None:
    """What is returned otherwise is told once, with its place; in what is left the numbers are the same."""
    case = NOT_ONE[words]
    report = compare_modules(Two(case.new, OTHERWISE), Two(case.old), IMAGE)
    found = [f for f in failures(report) if f.kind != "unused"]
    assert [f.kind for f in found] == case.kinds, str(report)
    assert case.words in found[0].message
    if case.kinds == ["outputs"]:
        assert {f.status for f in report.findings if f.level == "numbers"} == {"passed"}


def test_swapped_and_changed() -> None:
    """Two causes are two findings, and the change is placed as if nothing were swapped."""
    report = compare_modules(Two(lambda f, y: (y, f), OTHERWISE, eps=1e-3), Two(FORMS["a tuple"]), IMAGE)
    assert kinds(report) == ["arguments", "outputs"]
    assert failures(report)[0].step == "norm"


def test_a_single_output_may_stand_elsewhere() -> None:
    """As one of a dict it is the one; it is said where it stands."""
    report = compare_modules(Two(lambda f, y: {"out": y}), Two(lambda f, y: y), IMAGE)
    assert report.passed, str(report)
    assert report.notes == ("its output stands at ['out'], that of the old one alone",)


class Heads(nn.Module):
    """Two heads that are alike, in this order or the other."""

    def __init__(self, order: int = 1, names: tuple[str, str] = ("one", "other")):
        super().__init__()
        self.body, self.order, self.names = nn.Linear(6, 6), order, names
        for name in names:
            self.add_module(name, nn.Linear(6, 4))

    def forward(self, x: Tensor) -> Any:
        y = self.body(x).relu()
        return tuple(self.get_submodule(name)(y) for name in self.names)[:: self.order]


def test_heads_that_are_alike() -> None:
    """By other names they are what their places say; by the same names a state says which is which."""
    assert compare_modules(Heads(names=("a", "b")), Heads(), (6,)).passed
    (failure,) = failures(compare_modules(Heads(-1), Heads(), (6,)))
    assert failure.kind == "outputs"
    assert "[0] is what [1] should be, [1] is what [0] should be" in failure.message


class Parts(nn.Module):
    """What one layer gives in parts, or the parts of several layers, in this order or the other."""

    def __init__(self, sizes: tuple[int, ...], names: tuple[str, ...] = ("all",), order: int = 1):
        super().__init__()
        self.sizes, self.names, self.order = sizes, names, order
        for at, name in enumerate(names):
            self.add_module(name, nn.Linear(6, sum(sizes) if len(names) == 1 else sizes[at]))

    def forward(self, x: Tensor) -> Any:
        given = torch.cat([self.get_submodule(name)(x) for name in self.names], 1)
        return tuple(given.split(2, 1))[:: self.order]


def test_parts_of_one_layer() -> None:
    """They are told apart by which part each is, where both layers are of one shape; else by their places."""
    old = Parts((2, 2, 2))
    assert compare_modules(Parts((2, 2, 2), ("other",)), old, (6,)).passed
    assert compare_modules(Parts((2, 4), ("first", "others")), old, (6,)).passed
    for names in (("all",), ("other",)):
        (failure,) = failures(compare_modules(Parts((2, 2, 2), names, order=-1), old, (6,)))
        assert failure.found == "[0] is what [2] should be, [2] is what [0] should be"


class Layer(nn.Module):
    """A function of one layer and the input, whatever the layer is called."""

    def __init__(self, give: Callable[[Any, Tensor], Any], name: str = "layer"):
        super().__init__()
        self.give, self.name = give, name
        self.add_module(name, nn.Linear(6, 6))

    def forward(self, x: Tensor) -> Any:
        return self.give(self.get_submodule(self.name), x)


# What is returned, in other words, and what is another thing.
THINGS: dict[str, tuple[Callable[[Any, Tensor], Any], Callable[[Any, Tensor], Any], Callable[[Any, Tensor], Any]]] = {
    "a mask": (lambda f, x: (f(x), x > 0.5), lambda f, x: (f(x), x.gt(0.5)), lambda f, x: (f(x), x > 0.6)),
    "places": (
        lambda f, x: {"y": f(x), "class": f(x).argmax(1)},
        lambda f, x: {"class": f(x).max(1).indices, "y": f(x)},
        lambda f, x: {"y": f(x), "class": f(x).argmin(1)},
    ),
    "a constant": (
        lambda f, x: (f(x), torch.ones(3)),
        lambda f, x: [f(x), torch.full((3,), 1.0)],
        lambda f, x: (f(x), torch.zeros(3)),
    ),
    "a parameter": (lambda f, x: (f(x), f.weight), lambda f, x: [f(x), f.weight], lambda f, x: (f(x), f.weight.T)),
    "the input": (lambda f, x: (f(x), x), lambda f, x: (f(x), x.clone()), lambda f, x: (x, f(x))),
    "in place": (
        lambda f, x: (lambda y: (y, y.relu_()))(f(x)),
        lambda f, x: (f(x).relu(), f(x).relu()),
        lambda f, x: (lambda y: (y, y.relu()))(f(x)),
    ),
    "one type and another": (
        lambda f, x: (f(x), x.argmax(1)),
        lambda f, x: (f(x), x.argmax(1).long()),
        lambda f, x: (f(x), x.argmax(1).int()),
    ),
    "no tensors besides": (
        lambda f, x: {"y": f(x), "name": "a", "none": None, "more": []},
        lambda f, x: {"y": f(x)},
        lambda f, x: {"y": f(x), "more": [x]},
    ),
    "a hair": (lambda f, x: (f(x), f(x)), lambda f, x: [f(x)] * 2, lambda f, x: (f(x), 1.0001 * f(x))),
}


@pytest.mark.parametrize("words", THINGS)
def test_what_may_be_returned(words: str) -> None:
    """Whatever it is, it is compared: in other words it passes, and another thing does not."""
    old, new, other = THINGS[words]
    report = compare_modules(Layer(new, "renamed"), Layer(old), (6,))
    assert report.passed, str(report)
    assert compare_modules(Layer(other, "renamed"), Layer(old), (6,)).failed


@pytest.mark.parametrize("place", [0, 1])
def test_numbers_are_of_all_outputs(place: int) -> None:
    """A gradient that is cut off at one of them is no matter of the graph, and is seen by its numbers."""

    def give(f: Tensor, y: Tensor) -> Any:
        return tuple(one.detach() if at == place else one for at, one in enumerate((f, y)))

    report = compare_modules(Two(give), Two(FORMS["a tuple"]), IMAGE)
    assert {f.check for f in failures(report)} == {"eval", "train"}
    assert "gradient of " in failures(report)[0].message


class Recurrence(nn.Module):
    """A recurrence beside what feeds it, as it is printed or by torch's function, which no rule knows."""

    def __init__(self, step: Callable[[Tensor, Tensor, Tensor], Tensor], names: tuple[str, str] = ("gate", "value")):
        super().__init__()
        self.names, self.step = names, step
        for name in names:
            self.add_module(name, nn.Linear(6, 5))

    def forward(self, x: Tensor) -> Any:
        z, v = (self.get_submodule(name)(x) for name in self.names)
        z, h = z.sigmoid(), v.new_zeros(x.shape[0], 5)
        for t in range(3):
            h = self.step(h, z[:, t], v[:, t])
        return v, {"last": h}


def printed(h: Tensor, z: Tensor, v: Tensor) -> Tensor:
    """As papers write it."""
    return (1 - z) * h + z * v


@pytest.mark.parametrize("names", [("gate", "value"), ("a", "b")])
def test_numbers_arbitrate_over_all_outputs(names: tuple[str, str]) -> None:
    """What no rule knows is measured to be equal at every output; where one of them is not, it is none."""
    equal = compare_modules(Recurrence(lambda h, z, v: torch.lerp(h, v, z), names), Recurrence(printed), (3, 6))
    assert equal.passed, str(equal)
    assert "measured to be equal" in equal.findings[0].message
    other = compare_modules(Recurrence(lambda h, z, v: torch.lerp(v, h, z), names), Recurrence(printed), (3, 6))
    assert other.failed


class Auxiliary(nn.Module):
    """Logits alone in eval mode, with those of two auxiliary heads in train mode."""

    def __init__(self, order: tuple[int, ...] = (0, 1, 2), width: int = 6, p: float = 0.1):
        super().__init__()
        self.order = order
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.heads = nn.ModuleList([nn.Linear(6, 4), nn.Linear(6, 4, bias=False), nn.Linear(6, 4)])
        self.drop = nn.Dropout(p)

    def forward(self, x: Tensor) -> Any:
        given = []
        for layer, head in zip(self.layers, self.heads, strict=True):
            x = layer(x).relu()
            given.append(head(self.drop(x) if head is self.heads[1] else x))
        given.reverse()
        return tuple(given[at] for at in self.order) if self.training else given[0]


def test_outputs_in_train_mode_alone() -> None:
    """They are compared there: another order is told, and what differs in one of them alone."""
    assert compare_modules(Auxiliary(), Auxiliary(), (6,)).passed
    swapped = compare_modules(Auxiliary((0, 2, 1)), Auxiliary(), (6,))
    (failure,) = failures(swapped)
    assert failure.found == "[1] is what [2] should be (in train mode), [2] is what [1] should be (in train mode)"
    ahead = compare_modules(Auxiliary((2, 1, 0)), Auxiliary(), (6,))
    assert kinds(ahead) == ["outputs"]
    (failure,) = failures(compare_modules(Auxiliary(p=0.4), Auxiliary(), (6,)))
    assert (failure.kind, failure.title.partition(":")[0]) == (
        "arguments",
        "dropout with p 0.4, expected p 0.1 (in train mode)",
    )


def test_more_outputs_at_another_size() -> None:
    """A pyramid with a level more where the image is larger has to have it, and what stands there is compared."""

    def levels(f: Tensor, *, least: int, scale: float = 1.0) -> list[Tensor]:
        maps = [f]
        while maps[-1].shape[-1] > least:
            maps.append(F.max_pool2d(maps[-1], 2))
        return maps if len(maps) < 3 else [*maps[:-1], scale * maps[-1]]

    def old(f: Tensor, y: Tensor) -> Any:
        return levels(f, least=8)

    assert compare_modules(Two(old, OTHERWISE), Two(old), IMAGE).passed
    fewer = compare_modules(Two(lambda f, y: levels(f, least=8)[:2], OTHERWISE), Two(old), IMAGE)
    assert "this input only" in kinds(fewer)
    other = compare_modules(Two(lambda f, y: levels(f, least=8, scale=2.0), OTHERWISE), Two(old), IMAGE)
    assert "this input only" in kinds(other)


# What people have


class Other(nn.Module):
    """A network under other names."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.inner = net

    def forward(self, x: Tensor) -> Any:
        return self.inner(x)


class Pyramid(Net):
    """torchvision's feature pyramid on the small network."""

    def __init__(self) -> None:
        super().__init__()
        del self.fc
        self.fpn = torchvision.ops.FeaturePyramidNetwork([4, 8], 6)

    def forward(self, x: Tensor) -> Any:
        stem = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fpn({"0": stem, "1": self.layer1(stem)})


def test_a_feature_pyramid() -> None:
    """All of its maps are compared."""
    report = compare_modules(Other(Pyramid()), Pyramid(), IMAGE, level="structure")
    assert report.passed, str(report)
    changed = Pyramid()
    changed.fpn.layer_blocks[1][0].dilation = changed.fpn.layer_blocks[1][0].padding = (2, 2)
    (failure,) = failures(compare_modules(changed, Pyramid(), IMAGE, level="structure"))
    assert (failure.kind, failure.step) == ("arguments", "fpn.layer_blocks.1.0")


def test_a_feature_pyramid_against_an_arch(world: World) -> None:
    """None of its parameters is said to be unused, and none of its maps to be a step."""
    against = check(Pyramid(), world.arch(), level="structure")
    assert "none of its 2 outputs is a step of net" in against.notes
    assert "unused" not in kinds(against)


def fpn() -> nn.Module:
    """torchvision's feature pyramid on its ResNet-18."""
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    return resnet_fpn_backbone(backbone_name="resnet18", weights=None, trainable_layers=5, norm_layer=nn.BatchNorm2d)


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("make", "size", "change"),
    [
        (fpn, 64, "body.layer3.1.bn2"),
        (lambda: torchvision.models.googlenet(weights=None, init_weights=False), 96, "aux2.conv.bn"),
        (lambda: torchvision.models.inception_v3(weights=None, init_weights=False), 299, "AuxLogits.conv0.bn"),
        (
            lambda: torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True),
            64,
            "aux_classifier.1",
        ),
        (
            lambda: torchvision.models.segmentation.deeplabv3_resnet50(
                weights=None, weights_backbone=None, aux_loss=True
            ),
            64,
            "aux_classifier.1",
        ),
    ],
    ids=["FPN", "GoogLeNet", "Inception", "FCN", "DeepLab"],
)
def test_networks_of_torchvision(make: Make, size: int, change: str) -> None:
    """Under other names each is itself; another eps, in an auxiliary head where there is one, is found there."""
    report = compare_modules(Other(make()), make(), (3, size, size))
    assert report.passed, str(report)
    changed = make()
    changed.get_submodule(change).eps = 0.2
    (failure,) = failures(compare_modules(changed, make(), (3, size, size)))
    assert (failure.kind, failure.step) == ("arguments", change)
