"""Modules that take something else than an image of three channels: held against archs and against one another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rv_check import RvCheckError, build, check, load
from rv_check.checks.findings import Finding, Report
from rv_check.checks.of_two import assert_same, compare_modules
from tests.unit.tiny import Net, World


def first(net: nn.Module, channels: int, name: str = "features.0") -> nn.Module:
    """The network with another first convolution."""
    path, _, last = name.rpartition(".")
    old = net.get_submodule(name)
    assert isinstance(old, nn.Conv2d)
    new = nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None)
    setattr(net.get_submodule(path), last, new)
    return net


def stem(net: nn.Module) -> str:
    """The name of the first convolution."""
    return next(name for name, part in net.named_modules() if isinstance(part, nn.Conv2d))


def of(channels: int) -> nn.Module:
    """The tiny network with so many input channels."""
    net = Net()
    return first(net, channels, stem(net))


def structural(report: Report) -> list[Finding]:
    """What differs in structure."""
    return [one for one in report.findings if one.check == "structure" and one.status == "failed"]


# Other channels


class Spectrogram(nn.Module):
    """The tiny network with one channel, which its own code drops and adds again."""

    def __init__(self) -> None:
        super().__init__()
        self.net = of(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.squeeze(1).unsqueeze(1))


@pytest.mark.parametrize("arch", ["named", "found"])
def test_a_channel_that_is_dropped_on_the_way(arch: str, world: World) -> None:
    """It takes one channel and no three: what is behind is compared all the same."""
    if arch == "named":
        (finding,) = structural(check(Spectrogram(), world.arch(), input=(1, 32, 32)))
        assert finding.message == "its first convolution takes 1 channel, expected 3"
        return

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = build(load("resnet20"))
            self.net.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.net(x.squeeze(1).unsqueeze(1))
            return y

    report = check(Net(), input="1 40 60", level="structure")
    assert report.against == "resnet20"
    (finding,) = structural(report)
    assert finding.message == "its first convolution takes 1 channel, expected 3"


def test_a_size_that_nobody_said_is_said() -> None:
    """With the arch, and without."""

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = build(load("resnet20"))
            self.net.avgpool = nn.AvgPool2d(8)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.net(x)
            return y

    told = "inferred: input 3 32 32, since of the usual sizes it runs at this one"
    report = check(Small(), level="structure")
    assert report.against == "resnet20"
    assert told in report.notes
    assert told not in check(build(load("resnet20")), level="structure").notes


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_other_channels_are_one_finding(channels: int, world: World) -> None:
    """Everything behind is compared at its own channels: the same graph and the same numbers."""
    report = check(of(channels), world.arch())
    (finding,) = structural(report)
    number = f"{channels} channel{'s' if channels > 1 else ''}"
    assert finding.message == f"its first convolution takes {number}, expected 3"
    assert finding.kind == "channels"
    assert not report.passed
    assert {one.status for one in report.findings if one.level == "numbers"} == {"passed"}
    assert any("behind it the same graph of" in one.message for one in report.findings)
    assert any(note.startswith(f"inferred: input {channels} 32 32, since") for note in report.notes)
    assert report.totals["params"][1] - report.totals["params"][0] == (3 - channels) * kernels()


def kernels() -> int:
    """How many numbers of the first convolution are of one channel."""
    net = Net()
    weight = net.get_submodule(stem(net)).weight
    assert isinstance(weight, Tensor)
    return weight.numel() // weight.shape[1]


def test_what_is_wrong_behind_is_told_besides(world: World) -> None:
    """A mistake behind other channels is found all the same."""
    net = of(1)
    norm = next(part for part in net.modules() if isinstance(part, nn.BatchNorm2d))
    norm.eps = 1e-2
    kinds = [one.kind for one in structural(check(net, world.arch()))]
    assert kinds == ["channels", "arguments"]


@pytest.mark.parametrize(("new", "old"), [(1, 3), (3, 1), (4, 2)])
@pytest.mark.parametrize("given", [None, "new", "old"])
def test_two_of_other_channels(new: int, old: int, given: str | None) -> None:
    """The one finding, whichever of the two has other channels, and whosever input is given."""
    size = None if given is None else ({"new": new, "old": old}[given], 32, 32)
    report = compare_modules(of(new), of(old), size)
    (finding,) = structural(report)
    assert finding.message.endswith(f"takes {new} channel{'s' if new > 1 else ''}, expected {old}")
    assert all(one.status == "passed" for one in report.findings if one.level == "numbers")


def test_two_of_other_channels_with_a_mistake_behind() -> None:
    """It is found."""
    net = of(1)
    norm = next(part for part in net.modules() if isinstance(part, nn.BatchNorm2d))
    norm.momentum = 0.5
    assert [one.kind for one in structural(compare_modules(net, Net()))] == ["channels", "arguments"]


def test_two_of_the_same_other_channels() -> None:
    """They are one network, and what was inferred is said."""
    report = compare_modules(of(1), of(1))
    assert report.passed
    assert report.notes[0].startswith("inferred of the old one: input 1 224 224, since")


def test_error_an_input_that_neither_takes() -> None:
    """What was said is a wrong question."""
    with pytest.raises(RvCheckError, match="neither runs at 5 32 32\n  expected: an input of 1 32 32"):
        compare_modules(of(1), of(1), (5, 32, 32))


def test_error_own_weights_of_other_channels() -> None:
    """There is no output of both."""
    with pytest.raises(RvCheckError, match="expected: two of one input"):
        compare_modules(of(1), Net(), own_weights=1e-5)


def test_nothing_is_touched(world: World) -> None:
    """The old module is compared as a copy with other kernels."""
    net = Net()
    before = copy.deepcopy(net.state_dict())
    compare_modules(of(1), net)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert net.get_submodule(stem(net)).in_channels == 3


@pytest.mark.parametrize("channels", [1, 4])
def test_the_arch_is_found_out(channels: int) -> None:
    """As if it took three channels."""
    net = build(load("resnet18(classes=10)"))
    report = check(first(net, channels, stem(net)), level="structure")
    assert report.against == "resnet18(classes=10)"
    assert [one.kind for one in structural(report)] == ["channels"]


# Several inputs


class Pair(nn.Module):
    """Two images, told apart by their scales."""

    def __init__(self, way: str = "") -> None:
        super().__init__()
        self.conv, self.head, self.way = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), way

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        if self.way == "swapped":
            left, right = right, left
        if self.way == "twice":
            right = left
        if self.way == "written otherwise":
            both = self.conv(torch.cat((left, right)))
            left, right = both.chunk(2)
            return self.head((left + left - right).clamp(min=0).mean((2, 3)))
        return self.head((2 * self.conv(left) - self.conv(right)).relu().mean((2, 3)))


class Text(nn.Module):
    """Places in a table, with a mask."""

    def __init__(self, way: str = "") -> None:
        super().__init__()
        self.table, self.head, self.way = nn.Embedding(30, 8), nn.Linear(8, 2), way

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        shown = mask if self.way != "turned" else ~mask
        x = self.table(ids)
        if self.way == "written otherwise":
            x = x.masked_fill(~mask[:, :, None], 0.0)
        elif self.way == "unmasked":
            x = x + 0 * mask[..., None]
        else:
            x = x * shown[..., None]
        return self.head(x.sum(1))


class Batched(nn.Module):
    """A dict of tensors and a list of them."""

    def __init__(self, way: str = "") -> None:
        super().__init__()
        self.conv, self.way = nn.Conv2d(3, 4, 3), way

    def forward(self, batch: dict[str, Any], more: list[Tensor], scale: bool = False) -> Tensor:
        first, second = more if self.way != "swapped" else more[::-1]
        y = self.conv(batch["image"]) + 2 * self.conv(first) - self.conv(second)
        return y.mean((2, 3)) * batch["weight"] if scale else y


IMAGES, TEXT = "3 16 16, 3 16 16", "ids: int64 12 < 30, mask: bool 12"
BATCH = "{image: 3 16 16, weight: 1}, [3 16 16, 3 16 16], scale: True"
CASES: list[tuple[str, Callable[..., nn.Module], str, list[str], list[str]]] = [
    ("two images", Pair, IMAGES, ["written otherwise"], ["swapped", "twice"]),
    ("a text", Text, TEXT, ["written otherwise"], ["turned", "unmasked"]),
    ("a dict and a list", Batched, BATCH, [], ["swapped"]),
]


@pytest.mark.parametrize(("make", "given", "true", "false"), [one[1:] for one in CASES], ids=[one[0] for one in CASES])
def test_several_inputs(make: Callable[..., nn.Module], given: str, true: list[str], false: list[str]) -> None:
    """A module is itself, and a true refactor of it is; one that takes another input in its place is not."""
    assert_same(make(), make(), given)
    for way in true:
        report = compare_modules(make(way), make(), given)
        assert report.passed, (way, str(report))
    for way in false:
        report = compare_modules(make(way), make(), given)
        assert report.failed, (way, str(report))


def test_an_arch_in_a_dict(world: World) -> None:
    """What an arch takes is the main tensor; the rest goes in besides."""

    class Wrapped(Net):
        def forward(self, batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
            return super().forward(batch["image"])

    assert check(Wrapped(), world.arch(), input="{image: 3 32 32, label: int64 < 5}").passed


def test_tensors_in_python(world: World) -> None:
    """As shapes, or as tensors with their batch."""
    assert check(Net(), world.arch(), input=torch.zeros(4, 3, 32, 32)).passed
    assert_same(Pair(), Pair(), (torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)))
    ids, mask = torch.randint(30, (2, 9)), torch.ones(2, 9, dtype=torch.bool)
    assert_same(Text(), Text(), {"ids": ids, "mask": mask})


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (
            lambda: nn.Sequential(
                nn.Conv1d(2, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2)
            ),
            None,
        ),
        (lambda: nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU()), "1 8 8 8"),
        (lambda: nn.Sequential(nn.Embedding(20, 4), nn.Linear(4, 2)), None),
        (lambda: nn.Sequential(nn.Embedding(20, 4), nn.Linear(4, 2)), "int32 7 < 20"),
    ],
)
def test_other_data(make: Callable[[], nn.Module], given: str | None) -> None:
    """Sequences, volumes and texts are as good as images."""
    assert_same(make(), make(), given)


def test_error_what_an_arch_does_not_take(world: World) -> None:
    """An arch takes an image."""
    with pytest.raises(RvCheckError, match="the module takes ids: int64 12 < 30, mask: bool 12, and net an image of"):
        check(Text(), world.arch(), input=TEXT)


def test_what_takes_no_image_is_none_of_the_archs() -> None:
    """Named or not, with what it takes; it is not looked at with an image that nobody gave."""
    with pytest.raises(RvCheckError, match="the module takes 200 80, and an arch an image, as 3 224 224: it is none"):
        check(nn.Linear(80, 3), input=(200, 80))
