"""Receptive fields, static and measured, effective ones, and the command: worked by hand, and broken on purpose."""

from __future__ import annotations

import json
import random
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rv_check import check
from rv_check.archs.arch import Arch
from rv_check.archs.axes import Axis, Phases
from rv_check.archs.load import load, load_archs
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.checks.findings import up_to
from rv_check.checks.registry import check_arch
from rv_check.cli.commands import receptive_field
from rv_check.cli.main import answer, parse
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.of_arch import graph_of
from rv_check.language.files import shipped_folder
from rv_check.modules.build import build
from rv_check.modules.observe import Subject
from rv_check.ops import op as ops
from rv_check.ops.convolutions import Conv, ConvTranspose
from rv_check.ops.pools import MaxPool
from rv_check.receptive_fields import formula, gradient, inputs, pictures, walk
from rv_check.receptive_fields import measured as measured_fields
from rv_check.receptive_fields.effective import Effective, effective_fields
from rv_check.receptive_fields.formula import graph_field, graph_lines, node_of, stages
from rv_check.receptive_fields.inputs import smallest_input
from rv_check.receptive_fields.measured import compare_fields, measured_field, measured_lines, observed
from rv_check.receptive_fields.pictures import draw
from rv_check.receptive_fields.published import compare_published
from rv_check.report.fields import receptive_field as fields_of
from tests.unit.seeds import seeds

STUDIES = shipped_folder() / "studies"


class Step(nn.Module):
    """A function of a map, with layers, as the part `step`."""

    def __init__(self, forward: Callable[..., Tensor], *layers: nn.Module):
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), forward

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, H, W) to a map."""
        return self.function(x, *self.layers)


class Outer(nn.Module):
    """A module with one part, `step`."""

    def __init__(self, step: nn.Module):
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        """What the part gives."""
        return self.step(x)


def net(*layers: nn.Module, forward: Callable[..., Tensor] | None = None) -> Subject:
    """A module whose output is that of the part `step`: layers one after the other, or what `forward` makes of them."""
    step = Step(forward, *layers) if forward else nn.Sequential(*layers)
    return Subject(Outer(step))


def conv(kernel: Any, channels: int = 1, **arguments: Any) -> nn.Conv2d:
    """A convolution that keeps its channels."""
    return nn.Conv2d(channels, channels, kernel, **arguments)


SIZE = (1, 24, 24)

# Worked by hand: (rows, columns) as size, stride, padding, and how many pixels the field holds.
CASES: dict[str, tuple[Subject, tuple[int, int, int], tuple[int, int, int], int]] = {
    "3x3": (net(conv(3, padding=1)), (3, 1, 1), (3, 1, 1), 9),
    "a dilated kernel has holes": (net(conv(3, padding=2, dilation=2)), (5, 1, 2), (5, 1, 2), 9),
    # 3 + (3-1)*1 pixels apart by 2 and 1: 5 + 2*1 = 7 a side, all of them seen
    "3x3 behind a dilated one": (net(conv(3, dilation=2), conv(3)), (7, 1, 0), (7, 1, 0), 49),
    "an even kernel": (net(conv(4, padding=1)), (4, 1, 1), (4, 1, 1), 16),
    # 2 + (3-1)*2 = 6; padding 0 + 1*2 = 2
    "3x3 behind an even pool": (net(nn.MaxPool2d(2), conv(3, padding=1)), (6, 2, 2), (6, 2, 2), 36),
    "one row of a kernel": (net(conv((1, 7), padding=(0, 3))), (1, 1, 0), (7, 1, 3), 7),
    "strides and paddings of an axis": (
        net(conv((5, 3), stride=(2, 1), padding=(0, 1))),
        (5, 2, 0),
        (3, 1, 1),
        15,
    ),
    # a cross: 7 + 7 pixels, the centre is in both
    "a cross": (
        net(
            conv((1, 7), padding=(0, 3)),
            conv((7, 1), padding=(3, 0)),
            forward=lambda x, a, b: a(x) + b(x),
        ),
        (7, 1, 3),
        (7, 1, 3),
        13,
    ),
    "ceil_mode adds windows and moves none": (net(nn.MaxPool2d(3, 2, ceil_mode=True)), (3, 2, 0), (3, 2, 0), 9),
    # the window of a padded pool that hangs over is dropped; conv: 3 + 2*2 = 7, padding 1 + 1*2
    "ceil_mode with padding": (
        net(nn.MaxPool2d(3, 2, 1, ceil_mode=True), conv(3, padding=1)),
        (7, 2, 3),
        (7, 2, 3),
        49,
    ),
    "a dilated pool": (net(nn.MaxPool2d(2, 1, 0, dilation=3)), (4, 1, 0), (4, 1, 0), 4),
    "branches of two sizes": (
        net(conv(3, padding=1), conv(5, padding=2), forward=lambda x, a, b: torch.cat([a(x), b(x)], 1)),
        (5, 1, 2),
        (5, 1, 2),
        25,
    ),
    # one begins at -1 and has 3 pixels, the other at 0 and has 2: together -1 to 1
    "branches that are not aligned": (
        net(
            conv(3, stride=2, padding=1), nn.MaxPool2d(2), forward=lambda x, a, b: a(x) + b(x)
        ),
        (3, 2, 1),
        (3, 2, 1),
        9,
    ),
    "padding after the map alone, as TensorFlow pads": (
        net(conv(3, stride=2), forward=lambda x, a: a(F.pad(x, (0, 1, 0, 1)))),
        (3, 2, 0),
        (3, 2, 0),
        9,
    ),
    "reflected padding": (net(conv(3, padding=1, padding_mode="reflect")), (3, 1, 1), (3, 1, 1), 9),
    "every second pixel from the second on": (
        net(conv(3, padding=1), forward=lambda x, a: a(x[:, :, 1::2, ::2])),
        # 1 + 2*2 = 5 pixels apart by 2, the first at 1 - 2 = -1
        (5, 2, 1),
        (5, 2, 2),
        9,
    ),
    "a crop": (net(conv(3), forward=lambda x, a: a(x[:, :, 2:-2])), (3, 1, -2), (3, 1, 0), 9),
    # counted from the first unit, at this input: the 18th of 22 rows sees the pixels 18 to 20
    "the last rows": (net(conv(3), forward=lambda x, a: a(x)[:, :, -4:]), (3, 1, -18), (3, 1, 0), 9),
    # 5 rows of a kernel that slides over a map whose rows are columns
    "rows as columns": (net(conv((5, 3)), forward=lambda x, a: a(x.transpose(2, 3))), (3, 1, 0), (5, 1, 0), 15),
    "elementwise functions": (net(conv(3), nn.GELU(), nn.Hardswish(), nn.ReLU6()), (3, 1, 0), (3, 1, 0), 9),
    "rows and columns at the end and back": (
        net(
            conv(3, 4, padding=1), nn.LayerNorm(4), nn.Linear(4, 4),
            forward=lambda x, a, n, f: f(n(a(x.expand(-1, 4, -1, -1)).permute(0, 2, 3, 1))).permute(0, 3, 1, 2),
        ),
        (3, 1, 1),
        (3, 1, 1),
        9,
    ),
    "shuffled channels": (
        net(
            conv(3, 4), conv(3, 4, groups=2),
            forward=lambda x, a, b: b(
                a(x.expand(-1, 4, -1, -1)).unflatten(1, (2, 2)).transpose(1, 2).flatten(1, 2)
            ),
        ),
        (5, 1, 0),
        (5, 1, 0),
        25,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_measured_by_hand(name: str) -> None:
    """Gradients show the field that was worked by hand, and the formula on the graph gives it too."""
    subject, rows, columns, pixels = CASES[name]
    found = measured_field(subject, "step", SIZE)
    assert (found.field.rows, found.field.columns, found.pixels) == (rows, columns, pixels)
    graph = observed(subject, SIZE)
    assert found.agrees(graph_field(graph, node_of(graph, "step")))


@pytest.mark.parametrize("name", ["3x3", "an even kernel", "ceil_mode with padding", "a cross"])
def test_a_wrong_formula_is_seen_and_does_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The formula only says how large an image to begin with: a wrong one changes nothing that is measured."""
    subject, rows, columns, _ = CASES[name]
    monkeypatch.setattr(walk.Formula, "window", lambda self, x, windows: ReceptiveField())
    found = measured_field(subject, "step", (1, 8, 8))
    assert (found.field.rows, found.field.columns) == (rows, columns)
    graph = observed(subject, (1, 8, 8))
    assert not found.agrees(graph_field(graph, node_of(graph, "step")))


def test_the_stage_before_a_pool_of_the_map_is_a_stage() -> None:
    """Whether its window has the size of the map and a stride of 1, or one that ends in a map of its own."""

    class Net(nn.Module):
        def __init__(self, pool: nn.Module):
            super().__init__()
            self.stem, self.last, self.pool = conv(3, stride=2, padding=1), conv(3, stride=2, padding=1), pool

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.pool(self.last(self.stem(x)))
            return y

    for pool in (nn.AvgPool2d(4, stride=1), nn.AvgPool2d(4)):
        found = fields_of(Net(pool), (1, 16, 16))
        assert [(line.name, line.field.size) for line in found.lines] == [("stem", 3), ("last", 7), ("pool", 19)]


def test_centres() -> None:
    """The first unit's centre: -padding + (size-1)/2, half a pixel off where a kernel is even."""
    field = ReceptiveField((Axis(4, 1, 1), Axis(3, 2, 1)))
    assert field.centre == (0.5, 0.0)
    assert ReceptiveField((Axis(212, 32, 90), Axis(212, 32, 90))).centre == 15.5


def test_branches_that_are_not_aligned_are_told() -> None:
    """A sum whose branches are centred on different pixels is not aligned, in a graph as in a spec."""
    graph = observed(CASES["branches that are not aligned"][0], SIZE)
    assert not graph_field(graph, node_of(graph, "step")).aligned
    graph = observed(CASES["branches of two sizes"][0], SIZE)
    assert graph_field(graph, node_of(graph, "step")).aligned


def test_a_join_in_a_table_has_its_branches() -> None:
    """The row of a sum names each branch with its field where these differ."""
    lines = {line.name: line for line in formula.arch_lines(load("resnet18"), 9)}
    branches = {label: str(field) for label, field in lines["layer2.0.sum"].branches}
    # 43/4/21 comes in: 43 + 2*4 + 2*8 = 67, and a projection with stride 2 of single pixels
    assert branches == {"main": "67/8/33", "skip": "43/8/21"}
    assert lines["layer2.0.conv1"].branches == ()


def test_a_step_is_where_it_runs(tmp_path: Path) -> None:
    """An activation behind a pool has the pool's field, though the two commute; one that does nothing is a step too."""
    path = tmp_path / "late.yaml"
    path.write_text(
        textwrap.dedent("""\
            family: late()
            input: 1 16 16
            body:
              - conv: conv(2, kernel=3, bias=False)
              - pool: maxpool(2)
              - relu: relu
              - again: relu
            archs:
              late:
                build: late()
            """)
    )
    found = {step: (str(field), str(measured)) for step, field, measured in compare_fields(load(f"{path}::late"), 1)}
    assert found == {"conv": ("3/1/0",) * 2, "pool": ("4/2/0",) * 2, "relu": ("4/2/0",) * 2, "again": ("4/2/0",) * 2}
    normal = graph_of(load(f"{path}::late"))  # relu first, in normal form
    assert [str(measured_field(normal, step)) for step in ("pool", "relu")] == ["4/2/0", "4/2/0"]


# Gates and what sees everything


GATES: dict[str, Subject] = {
    "squeeze and excite": net(
        conv(3, padding=1), nn.AdaptiveAvgPool2d(1), conv(1), nn.Sigmoid(),
        forward=lambda x, a, pool, b, s: a(x) * s(b(pool(a(x)))),
    ),
    "a mean that keeps its axes": net(
        conv(3, padding=1), forward=lambda x, a: a(x) * a(x).mean((2, 3), keepdim=True)
    ),
    "statistics of groups": net(conv(3, padding=1), nn.GroupNorm(1, 1)),
    "statistics of the batch": net(conv(3, padding=1), nn.BatchNorm2d(1, track_running_stats=False)),
    "attention beside a map": net(
        conv(3, padding=1),
        forward=lambda x, a: (
            a(x) + (a(x).flatten(2).transpose(1, 2) @ a(x).flatten(2)).sum((1, 2))[:, None, None, None]
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GATES)
def test_gates_are_global(name: str) -> None:
    """What reaches every unit makes the field global; the convolutional path's is beside it, measured or not."""
    graph = observed(GATES[name], SIZE)
    field = graph_field(graph, node_of(graph, "step"))
    assert (str(field), field.is_global, field.collapsed) == ("3/1/1", True, False)
    assert measured_field(graph, "step").agrees(field)


def test_running_statistics_are_no_gate() -> None:
    """The twin of the above: a norm with running statistics, and one of each pixel's channels, are not global."""
    graph = observed(net(conv(3, padding=1), nn.BatchNorm2d(1)), SIZE)
    assert not graph_field(graph, node_of(graph, "step")).is_global
    graph = observed(CASES["rows and columns at the end and back"][0], SIZE)
    assert not graph_field(graph, node_of(graph, "step")).is_global


@pytest.mark.parametrize("name", ["avgpool", "fc"])
def test_error_what_sees_everything(name: str) -> None:
    """A pool to one pixel and what follows have the last map's field, and nothing to measure."""
    graph = graph_of(load("resnet18"), form=Form.AS_RUN)
    field = graph_field(graph, node_of(graph, name))
    assert (str(field), field.collapsed) == ("435/32/217", True)
    with pytest.raises(RvCheckError, match=f"{name} sees the whole input\n  expected: a step before the pool"):
        measured_field(graph, name)


UNKNOWN: dict[str, tuple[Subject, str]] = {
    "upsampling by parts": (net(conv(3), nn.Upsample(scale_factor=1.5)), "(not by a whole factor)"),
    "upsampling to a size": (net(conv(3), nn.Upsample(size=(44, 50))), "(not by a whole factor)"),
    "a scale of its own": (
        net(conv(3), forward=lambda x, a: F.interpolate(a(x), scale_factor=2.02, mode="bilinear")),
        "(not by a whole factor)",
    ),
    "aligned corners": (
        net(conv(3), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)),
        "(corners are aligned, so that every unit has another field)",
    ),
    "cubic upsampling": (net(conv(3), nn.Upsample(scale_factor=2, mode="bicubic")), "upsample_bicubic2d"),
    "a transposed convolution along the channels": (
        net(nn.ConvTranspose2d(24, 1, 2, 2), forward=lambda x, a: a(x.transpose(1, 2))),
        "(rows and columns are not its axes 2 and 3)",
    ),
    "pixels moved to channels": (net(nn.PixelUnshuffle(2)), "pixel_unshuffle"),
    "pixels moved by hand": (
        net(conv(3), forward=lambda x, a: a(x).unflatten(2, (2, 11)).flatten(1, 2)),
        "(it moves pixels)",
    ),
    "rows joined to rows": (net(conv(3), forward=lambda x, a: torch.cat([a(x), a(x)], 2)), "concat"),
    "a roll": (net(conv(3), forward=lambda x, a: a(x).roll(1, 2)), "in step at "),
    "rows put side by side": (
        net(conv(3), forward=lambda x, a: torch.stack([a(x)[:, :, at] for at in range(22)], 2)),
        "(it puts units of a map side by side)",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_error_what_cannot_be_followed(name: str) -> None:
    """It is named, with the part and line of the module; never taken for the identity."""
    subject, found = UNKNOWN[name]
    for ask in (lambda: measured_field(subject, "step", SIZE), lambda: graph_lines(observed(subject, SIZE), 3)):
        with pytest.raises(RvCheckError, match="a receptive field cannot be followed through") as caught:
            ask()
        assert found in str(caught.value)
        assert "in step" in str(caught.value)
        assert "expected: convolutions, pools, norms" in str(caught.value)


# Upsampling


def up(kernel: Any, stride: Any, channels: int = 1, **arguments: Any) -> nn.ConvTranspose2d:
    """A transposed convolution that keeps its channels."""
    return nn.ConvTranspose2d(channels, channels, kernel, stride, **arguments)


def hourglass(deep: nn.Module, skip: bool = False) -> Subject:
    """A 3x3 of stride 2, what leads back to the size of the input, and a 3x3; with a skip connection or not."""
    layers = (conv(3, stride=2, padding=1), deep, nn.Conv2d(1 + skip, 1, 3, padding=1))
    if not skip:
        return net(*layers)
    return net(*layers, forward=lambda x, a, b, c: c(torch.cat([x, b(a(x))], 1)))


# Worked by hand: of rows and columns each phase as size, stride, padding; and the pixels of the largest unit.
ROWS = ((1, 1, 0), (2, 1, 0))
PHASED: dict[str, tuple[Subject, tuple[tuple[int, int, int], ...], tuple[tuple[int, int, int], ...], int]] = {
    "each twice": (net(up(2, 2)), ((1, 1, 0),) * 2, ((1, 1, 0),) * 2, 1),
    # a row sees itself, or two; columns are not upsampled, 1 + 2 = 3 of them
    "rows alone": (net(up((3, 3), (2, 1), padding=(1, 1), output_padding=(1, 0))), ROWS, ((3, 1, 1),), 6),
    # see test_axes: 2q sees -3 ... 1 and 2q + 1 sees -1 ... 3
    "an encoder and a decoder": (hourglass(up(2, 2)), ((5, 2, 3), (5, 2, 1)), ((5, 2, 3), (5, 2, 1)), 25),
    # the skip adds 2q - 1 ... 2q + 1, and 2q ... 2q + 2, which lie within
    "a U-Net": (hourglass(up(2, 2), skip=True), ((5, 2, 3), (5, 2, 1)), ((5, 2, 3), (5, 2, 1)), 25),
    # 2q sees the units q - 1, q; 2q + 1 sees q, q + 1; so both the units q - 1 ... q + 1: -3 ... 3
    "a decoder with a kernel of 4": (hourglass(up(4, 2, padding=1)), ((7, 2, 3),) * 2, ((7, 2, 3),) * 2, 49),
    # 2q sees q alone, 2q + 1 both; so 2q the units q - 1 ... q + 1, 2q + 1 the units q, q + 1
    "a decoder with a kernel of 3": (
        hourglass(up(3, 2, padding=1, output_padding=1)),
        ((7, 2, 3), (5, 2, 1)),
        ((7, 2, 3), (5, 2, 1)),
        49,
    ),
    # 2q + 1 sees nothing but what the 3x3 behind adds: 2q the unit q, -1 ... 1, 2q + 1 the units q and q + 1
    "units that see nothing": (
        hourglass(up(1, 2, output_padding=1)),
        ((3, 2, 1), (5, 2, 1)),
        ((3, 2, 1), (5, 2, 1)),
        25,
    ),
    # beside a skip connection a unit sees the other path where both its row and its column do: 3 rows as of the skip
    "units that see nothing but a skip": (
        net(
            conv(3, stride=2, padding=1), up(1, 2, output_padding=1), conv(5, padding=2),
            forward=lambda x, a, b, c: b(a(x)) + x,
        ),
        ((3, 2, 1), (1, 2, -1)),
        ((3, 2, 1), (1, 2, -1)),
        9,
    ),
    # (o + 0.5)/2 - 0.5: 2q lies between q - 1 and q, 2q + 1 between q and q + 1
    "bilinear": (
        net(nn.Upsample(scale_factor=2, mode="bilinear")), ((2, 1, 1), (2, 1, 0)), ((2, 1, 1), (2, 1, 0)), 4,
    ),
    # by 3 the middle one of three lies on its pixel
    "bilinear by 3": (
        net(nn.Upsample(scale_factor=(3, 1), mode="bilinear")), ((2, 1, 1), (1, 1, 0), (2, 1, 0)), ((1, 1, 0),), 2,
    ),
    "nearest": (hourglass(nn.Upsample(scale_factor=2)), ((5, 2, 3), (5, 2, 1)), ((5, 2, 3), (5, 2, 1)), 25),
    "nearest, to twice the size": (net(nn.Upsample(size=(48, 24))), ((1, 1, 0),) * 2, ((1, 1, 0),), 1),
    "channels moved to pixels": (
        net(nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2)), ((3, 1, 1),) * 2, ((3, 1, 1),) * 2, 9,
    ),
    # the halves 2q - 2 ... 2q + 3 are of the pixels q - 1 ... q + 1
    "up and down again": (net(up(2, 2), conv(6, stride=2, padding=2)), ((3, 1, 1),), ((3, 1, 1),), 9),
    # a 3x3 without padding: 24, 12, 10, 20 rows; the skip loses 2 at either end
    "a crop of the skip": (
        net(
            conv(3, stride=2, padding=1), conv(3), up(2, 2),
            forward=lambda x, a, b, c: torch.cat([c(b(a(x))), x[:, :, 2:-2, 2:-2]], 1),
        ),
        # units q ... q + 2 of stride 2: 2q - 1 ... 2q + 5, and the skip within
        ((7, 2, 1), (7, 2, 1)),
        ((7, 2, 1), (7, 2, 1)),
        49,
    ),
}  # fmt: skip


def phases_of(field: ReceptiveField) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """The phases of rows and columns, as plain numbers."""
    return tuple(tuple(map(tuple, axis.phases)) for axis in (field.rows, field.columns))  # type: ignore[misc]


@pytest.mark.parametrize("name", PHASED)
def test_phases_by_hand(name: str) -> None:
    """Behind an upsampling gradients show each phase as it was worked by hand, and the formula gives it too."""
    subject, rows, columns, pixels = PHASED[name]
    found = measured_field(subject, "step", SIZE)
    assert (*phases_of(found.field), found.pixels) == (rows, columns, pixels)
    graph = observed(subject, SIZE)
    assert phases_of(graph_field(graph, node_of(graph, "step"))) == (rows, columns)
    assert found.agrees(graph_field(graph, node_of(graph, "step")))


@pytest.mark.parametrize("name", PHASED)
def test_a_wrong_formula_of_phases_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A padding that is off by one in what goes up changes nothing that is measured, and does not agree with it."""
    right = walk.Formula.enlarged, walk.Formula.window

    def window(self: walk.Formula, x: ReceptiveField, windows: walk.Windows) -> ReceptiveField:
        moved = (one._replace(before=one.before + 1) if one.transposed else one for one in windows)
        return right[1](self, x, tuple(moved))

    def enlarged(self: walk.Formula, x: ReceptiveField, factors: Sequence[int], *, linear: bool) -> ReceptiveField:
        shifted = ops.Slide(1, 1, 1)
        return right[0](self, x, factors, linear=linear).through(shifted, shifted)

    monkeypatch.setattr(walk.Formula, "window", window)
    monkeypatch.setattr(walk.Formula, "enlarged", enlarged)
    subject, rows, columns, _ = PHASED[name]
    found = measured_field(subject, "step", SIZE)
    assert phases_of(found.field) == (rows, columns)
    graph = observed(subject, SIZE)
    assert not found.agrees(graph_field(graph, node_of(graph, "step")))


def random_layer(rng: random.Random, channels: int) -> nn.Module:
    """What keeps the channels and the number of rows and columns: a kernel of its own along each."""
    kernel, step = [[rng.choice([1, 3]) for _ in range(2)] for _ in range(2)]
    sides = [step * (size // 2) for size, step in zip(kernel, step, strict=True)]
    return conv(tuple(kernel), channels, padding=tuple(sides), dilation=tuple(step))


def random_up(rng: random.Random, stride: tuple[int, int], channels: int) -> nn.Module:
    """What makes rows and columns more by a stride: transposed convolutions with gaps, overlaps and holes."""
    if rng.random() < 0.25:
        return nn.Upsample(scale_factor=stride, mode=rng.choice(["nearest", "bilinear"]))
    found: list[tuple[int, int, int, int]] = []
    for one in stride:
        kernel, step = rng.randint(1, 4), rng.randint(1, 3)
        spans = step * (kernel - 1) + 1
        more = (one - spans) % 2 if spans >= one else one - spans  # (n-1)*s - 2p + spans + more = n*s
        found.append((kernel, step, (spans + more - one) // 2, more))
    kernels, steps, paddings, mores = zip(*found, strict=True)
    if any(more >= max(s, d) for more, s, d in zip(mores, stride, steps, strict=True)):
        return up(stride, stride, channels)
    return up(kernels, stride, channels, padding=paddings, output_padding=mores, dilation=steps)


class Hourglass(nn.Module):
    """An encoder and a decoder of one or two levels, with or without a skip connection at each."""

    def __init__(self, rng: random.Random, levels: int):
        super().__init__()
        stride = (rng.choice([1, 2, 3]), 2)
        kernel = rng.choice([2, 3])
        self.before, self.after = random_layer(rng, 2), random_layer(rng, 2)
        kernels = tuple(kernel if one > 1 else 1 for one in stride)
        paddings = tuple(kernel // 2 if one > 1 else 0 for one in stride)
        self.down = conv(kernels, 2, stride=stride, padding=paddings)
        self.deep = Hourglass(rng, levels - 1) if levels > 1 else random_layer(rng, 2)
        self.up, self.skip = random_up(rng, stride, 2), rng.random() < 0.6

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2, H, W) to the same."""
        x = self.before(x)
        y = self.up(self.deep(self.down(x)))[:, :, : x.shape[2], : x.shape[3]]
        return self.after(x + y if self.skip else y)  # type: ignore[no-any-return]


@seeds(40)
def test_random_encoders_and_decoders(seed: int) -> None:
    """Every part of it: measured is what the formula says, in every phase, on axes with strides of their own."""
    rng = random.Random(seed)
    graph = observed(Subject(Hourglass(rng, rng.choice([1, 1, 2]))), (2, 36, 36))
    lines = [line for line in graph_lines(graph, 9) if line.field.rows.size and line.field.columns.size]
    assert len(lines) >= 5
    assert any(line.field.kinds > 1 for line in lines)
    for line, found in zip(lines, measured_lines(graph, lines), strict=True):
        assert found is not None
        assert found.agrees(line.field), f"{line.name}: {found.field.in_full} is not {line.field.in_full}"


def test_error_a_step_that_sees_nothing() -> None:
    """Every second of the rows that are made, where a kernel of one makes the others."""
    subject = net(up(1, 2), forward=lambda x, a: a(x)[:, :, 1::2])
    graph = observed(subject, SIZE)
    assert graph_field(graph, node_of(graph, "step")).rows == Axis(0, 1, 0)
    with pytest.raises(RvCheckError, match="step sees nothing of the input"):
        measured_field(subject, "step", SIZE)


def test_stages_of_an_encoder_and_decoder() -> None:
    """The last part of each stride, in the order of the flow: going up they come again."""
    layers = (conv(3, padding=1), conv(3, stride=2, padding=1), conv(3, stride=2, padding=1), up(2, 2), up(2, 2))
    graph = observed(Subject(nn.Sequential(*layers)), SIZE)
    assert [(name, field.stride) for name, _, field in stages(graph)] == [
        ("0", 1),
        ("1", 2),
        ("2", 4),
        ("3", 2),
        ("4", 1),
    ]


SPEC = """\
family: unet(width)
input: 1 32 32
body:
  - a: conv(width, kernel=3, padding=1, bias=True)
  - concat:
      skip: identity
      deep:
        - d: conv(2*width, kernel=3, stride=2, padding=1, bias=True)
        - b: conv(2*width, kernel=3, padding=1, bias=True)
        - u: conv_transpose(width, kernel=KERNEL, bias=True)
  - c: conv(width, kernel=3, padding=1, bias=True)
archs:
  unet:
    build: unet(2)
    contract:
      c:
        receptive_field: 11/1/6
"""


def unet(folder: Path, kernel: str = "2, stride=2", channels: int = 1) -> str:
    """A spec with a transposed convolution. a: 3/1/1, d: 5/2/2, b: 9/2/4; c 9 + 2: see PHASED."""
    path = folder / "unet.yaml"
    path.write_text(SPEC.replace("KERNEL", kernel).replace("input: 1", f"input: {channels}"))
    return f"{path}::unet"


def test_a_spec_with_a_decoder(tmp_path: Path) -> None:
    """Its formula is measured on the built model, its contract and its counts hold; a wrong rule is seen."""
    arch = load(unet(tmp_path))
    fields_ = {step: (field.in_full, measured.agrees(field)) for step, field, measured in compare_fields(arch, 9)}
    assert fields_ == {
        "a": ("3/1/1", True),
        "d": ("5/2/2", True),
        "b": ("9/2/4", True),
        "u": ("9/1/4, the largest of 9/2/4, 9/2/4", True),
        "c": ("11/1/6, the largest of 11/2/6, 11/2/4", True),
    }
    report = check_arch(arch, up_to("numbers"))
    assert {finding.status for finding in report.findings} == {"passed"}
    assert {"contract", "counters", "field"} <= {finding.check for finding in report.findings}


class Unet(nn.Module):
    """The same network by hand, its layers by other names; `overlap`: with a decoder whose windows overlap."""

    def __init__(self, overlap: bool = False):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(4, 2, 3, padding=1)
        self.deep = nn.Sequential(nn.Conv2d(2, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, padding=1))
        self.up = nn.ConvTranspose2d(4, 2, 4, 2, 1) if overlap else nn.ConvTranspose2d(4, 2, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 2, H, W)."""
        x = self.first(x)
        return self.last(torch.cat([x, self.up(self.deep(x))], 1))  # type: ignore[no-any-return]


def test_a_module_with_a_decoder_is_held_to_its_spec(tmp_path: Path) -> None:
    """A network by hand is that of the spec, in structure and numbers; with another kernel it is not."""
    arch = load(unet(tmp_path, channels=3))
    same = check(Unet(), arch)
    assert [finding.lines() for finding in same.findings if finding.status == "failed"] == []
    assert {"structure", "numbers"} <= {finding.level for finding in same.findings if finding.status == "passed"}
    other = check(Unet(overlap=True), arch)
    told = [line for finding in other.findings if finding.status == "failed" for line in finding.lines()]
    assert any("conv_transpose" in line or "up" in line for line in told)


def test_a_wrong_padding_of_a_decoder_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule of the op is off by one, or the module that it builds: the check of fields fails, with all phases."""
    arch = load(unet(tmp_path, "4, stride=2, padding=1"))
    right = ConvTranspose.window

    def off_by_one(self: ConvTranspose, x: ops.Shape) -> ops.Window:
        window = right(self, x)
        assert window is not None
        return window[0]._replace(padding=window[0].padding - 1), window[1]

    monkeypatch.setattr(ConvTranspose, "window", off_by_one)
    (failed,) = [f for f in check_arch(arch, up_to("numbers")).findings if f.check == "field"]
    assert failed.status == "failed"
    assert failed.found == "13/1/6, the largest of 13/2/6, 13/2/6"
    assert failed.expected != failed.found


def test_blocks_behind_an_upsampling(tmp_path: Path) -> None:
    """Dilated kernels step over what sees nothing: a block there is not what it is elsewhere, repeated or not."""
    body = """\
        family: gaps(times)
        input: 1 24 24
        body:
          - up: conv_transpose(1, kernel=1, stride=2, output_padding=1, bias=False)
          - group:
              - repeat: times
                steps:
                  - conv(1, kernel=3, padding=2, dilation=2, bias=False)
          - last: conv(1, kernel=3, padding=1, bias=False)
        archs:
          gaps:
            build: gaps(3)
        """
    path = tmp_path / "gaps.yaml"
    path.write_text(textwrap.dedent(body))
    arch = load(f"{path}::gaps")
    found = {step: (field.in_full, measured.agrees(field)) for step, field, measured in compare_fields(arch, 1)}
    # each unit 2q sees 3 more units to either side, that is pixels; 2q + 1 nothing, as before
    assert found["group"] == ("7/0.5/3, the largest of 7/1/3, nothing", True)
    assert found["last"] == ("8/0.5/3, the largest of 7/1/3, 8/1/3", True)
    rows = {row.name: row.receptive_field.in_full for row in arch.rows()}
    assert rows["group.2"] == "7/0.5/3, the largest of 7/1/3, nothing"
    assert arch.receptive_field.in_full == found["last"][0]


def test_the_command_of_a_decoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has the largest unit, the notes each phase, --json both; what sees nothing is told."""
    assert ask(unet(tmp_path), "--depth", "1", "--measure") == 0
    out = capsys.readouterr().out
    assert "the largest of 11/2/6, 11/2/4" in out
    assert "behind an upsampling neighbouring units differ" in out
    assert ask(unet(tmp_path), "--step", "c", "--measure", "--json") == 0
    (step,) = json.loads(capsys.readouterr().out)["steps"]
    phases = {"rows": [[11, 2, 6], [11, 2, 4]], "columns": [[11, 2, 6], [11, 2, 4]]}
    assert (step["size"], step["stride"], step["padding"], step["centre"], step["phases"]) == (11, 1, 6, -1, phases)
    assert (step["measured"]["phases"], step["measured"]["agrees"]) == (phases, True)
    assert ask(unet(tmp_path, "1, stride=2, output_padding=1"), "--depth", "1") == 0
    assert "the largest of 9/2/4, nothing" in capsys.readouterr().out
    assert ask("resnet18", "--json") == 0
    assert not any("phases" in step for step in json.loads(capsys.readouterr().out)["steps"])


def test_a_measured_phase_that_differs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A formula that is right in the largest unit and wrong in another one does not hold."""
    right = formula.arch_lines

    def one_wrong(arch: Arch, depth: int | None) -> list[formula.FieldLine]:
        wrong = Phases((Axis(11, 2, 6), Axis(11, 2, 5)))
        return [
            replace(line, field=replace(line.field, axes=(wrong, line.field.columns))) for line in right(arch, depth)
        ]

    monkeypatch.setattr(formula, "arch_lines", one_wrong)
    assert ask(unet(tmp_path), "--measure") == 1
    assert "11/1/6, the largest of 11/2/6, 11/2/4, DIFFERENT" in capsys.readouterr().out


def test_an_effective_field_of_a_phase() -> None:
    """The square is that of the unit in the middle, here of the second phase: 9 = 2*4 + 1 begins at 4*2."""
    field = ReceptiveField((Phases((Axis(1, 2, 0), Axis(3, 2, 0))), Phases((Axis(1, 2, 0), Axis(3, 2, 0)))))
    found = Effective("x", field, (9, 8), torch.ones(20, 20), torch.ones(20, 20))
    assert found.square == (8, 8, 3, 1)
    assert found.share == pytest.approx(20 / 3**0.5)


def test_regrouped_axes() -> None:
    """Axes merge, batch and channels split, rows and columns do not; one row or column of a map stays where it is."""
    n, c, h, w = ("n", 2), ("c", 6), ("h", 4), ("w", 5)
    plain = ((n,), (c,), (h,), (w,))
    assert walk.regrouped(plain, (2, 120)) == ((n,), (c, h, w))
    assert walk.regrouped(plain, (2, 2, 3, 4, 5)) == ((n,), (("c", 2),), (("c", 3),), (h,), (w,))
    assert walk.regrouped(walk.regrouped(plain, (2, 6, 20)) or (), (2, 6, 4, 5)) == plain
    assert walk.regrouped(plain, (2, 6, 2, 10)) is None
    assert walk.regrouped(plain, (2, 24, 5)) == ((n,), (c, h), (w,))
    assert walk.regrouped(((n,), (c,), (("h", 1),), (("w", 1),)), (2, 6)) == ((n,), (c, ("h", 1), ("w", 1)))


# Deep and large fields


def tower(folder: Path, layers: int) -> Arch:
    """3x3 convolutions one after the other."""
    path = folder / "tower.yaml"
    path.write_text(
        textwrap.dedent("""\
            family: tower(layers)
            input: 1 8 8
            body:
              - tower:
                  - repeat: layers
                    steps:
                      - conv(1, kernel=3, padding=1, bias=False)
            archs:
              tower:
                build: tower(LAYERS)
            """).replace("LAYERS", str(layers))
    )
    return load(f"{path}::tower")


def test_a_field_too_large_for_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and columns are then measured apart; 400 layers of 3x3 reach 801 pixels."""
    monkeypatch.setattr(measured_fields, "MAX_SQUARE", 100)
    found = measured_field(graph_of(tower(tmp_path, 400)), "tower")
    assert (str(found), found.pixels) == ("801/1/400", None)


def test_the_smallest_gradient_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corner pixel's share of 700 layers, 3**-700 along an axis, is no float64; without marks it would be lost."""
    monkeypatch.setattr(measured_fields, "MAX_SQUARE", 100)
    graph = graph_of(tower(tmp_path, 700))
    assert str(measured_field(graph, "tower")) == "1401/1/700"
    monkeypatch.setattr(gradient.GradientMaps, "_marked", lambda self, x: x)
    assert str(measured_field(graph, "tower")) != "1401/1/700"


def test_error_a_field_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images do not grow for ever."""
    monkeypatch.setattr(measured_fields, "MAX_SQUARE", 100)
    monkeypatch.setattr(measured_fields, "MAX_LINE", 200)
    with pytest.raises(RvCheckError, match="the field of tower is larger than 200 pixels"):
        measured_field(graph_of(tower(tmp_path, 400)), "tower")


def test_error_unknown_step() -> None:
    """A step that is not there is named, with the nearest one."""
    with pytest.raises(RvCheckError, match="there is no step 'layer9'\n  did you mean: layer4"):
        measured_field(graph_of(load("resnet18"), form=Form.AS_RUN), "layer9")
    with pytest.raises(RvCheckError, match="resnet18 has no step 'layer9'\n  did you mean: layer4"):
        formula.arch_line(load("resnet18"), "layer9")


def test_error_an_input_that_is_too_small() -> None:
    """What the module raised, and at which input."""
    with pytest.raises(RvCheckError, match="the module does not run on an input of 1 2 2: RuntimeError: Calculated"):
        measured_field(net(conv(3)), "step", (1, 2, 2))


# Archs


def test_stages_by_name() -> None:
    """The last step of each stride that everything goes through, by its outermost name."""
    found = {name: str(field) for name, _, field in stages(graph_of(load("resnet50"), form=Form.AS_RUN))}
    assert found == {
        "2": "7/2/3", "layer1": "35/4/17", "layer2": "91/8/45", "layer3": "267/16/133", "layer4": "427/32/213",
    }  # fmt: skip
    assert [name for name, _, _ in stages(graph_of(load("vgg16"), form=Form.AS_RUN))] == [
        "features.3", "features.8", "features.15", "features.22", "features.29", "features",
    ]  # fmt: skip


def test_a_wrong_padding_in_an_op_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: with a rule that forgets the padding of convolutions, no stage agrees."""
    right = compare_fields(load("resnet18"))
    assert all(measured.agrees(field) for _, field, measured in right)
    monkeypatch.setattr(
        Conv,
        "window",
        lambda self, x: tuple(ops.Slide(k, s) for k, s in zip(self.kernel, self.stride, strict=True)),
    )
    wrong = compare_fields(load("resnet18"))
    assert [step for step, _, _ in wrong] == [step for step, _, _ in right]
    assert not any(measured.agrees(field) for _, field, measured in wrong)
    assert [m for _, _, m in wrong] == [m for _, _, m in right]


def test_the_built_model_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stride that the model has in another place than the spec says is seen."""
    make = MaxPool.build
    monkeypatch.setattr(
        MaxPool, "build", lambda self, nn, x, inplace: nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2))
    )
    same = compare_fields(load("resnet18"))
    assert all(measured.agrees(field) for _, field, measured in same)  # the same by other means
    monkeypatch.setattr(MaxPool, "build", lambda self, nn, x, inplace: nn.MaxPool2d(4, 2, 1))
    other = {step: measured.agrees(field) for step, field, measured in compare_fields(load("resnet18"))}
    assert other == {"2": True, "layer1": False, "layer2": False, "layer3": False, "layer4": False}
    assert MaxPool.build is not make


def family(folder: Path, head: str) -> Arch:
    """Three halvings of 32 pixels and a head."""
    path = folder / "headed.yaml"
    path.write_text(
        textwrap.dedent("""\
            family: headed()
            input: 1 32 32
            body:
              - repeat: 3
                steps:
                  - conv(2, kernel=3, stride=2, bias=False)
            HEAD
            archs:
              headed:
                build: headed()
            """).replace("HEAD\n", textwrap.indent(textwrap.dedent(head), "  "))
    )
    return load(f"{path}::headed")


def runs(arch: Arch, size: int) -> bool:
    """Whether torch runs the model of an arch, built at its own input, on another one."""
    model = build(arch).eval()
    try:
        model(torch.zeros(1, arch.input[0], size, size))
    except RuntimeError:
        return False
    return True


FC = "- flatten\n- fc: linear(3, bias=True)\n"
HEADS = {
    # (s-1)//2 three times is 1 at 15, and 0 at 14
    "any size": (f"- adaptive_avgpool(1)\n{FC}", 15, "conv: the kernel spans 3"),
    # 32 gives 3x3, as 31 does; 30 gives 2x2
    "a linear head": (FC, 31, "fc: fc.weight would be 3 x 8; it is 3 x 18 at 1 32 32"),
    "a pool of 3x3": (f"- head: avgpool(3)\n{FC}", 31, "avgpool: the kernel spans 3, larger than its input of 2"),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_smallest_input(name: str, tmp_path: Path) -> None:
    """The smallest input is one at which torch runs the model, and at one less it does not; the step is named."""
    head, size, why = HEADS[name]
    arch = family(tmp_path, head)
    found = smallest_input(arch)
    assert found.size == size
    assert why in found.below
    assert runs(arch, size)
    assert not runs(arch, size - 1)


def test_the_smallest_input_of_shipped_archs() -> None:
    """Five poolings need 32 pixels; a ResNet is padded everywhere and takes one pixel."""
    vgg = smallest_input(load("vgg16"))
    assert vgg.size == 32
    assert "maxpool: the kernel spans 2, larger than its input of 1" in vgg.below
    assert smallest_input(load("resnet18")) == inputs.Smallest(1, "")
    assert runs(load("resnet18"), 1)


def test_which_stage_fits() -> None:
    """At 224 pixels the field of ResNet-50's third stage is the first that is larger."""
    lines = formula.arch_lines(load("resnet50"), None)
    within, beyond = inputs.fits(lines, 224)
    assert within is not None
    assert beyond is not None
    assert (within.name, beyond.name) == ("layer2", "layer3")
    assert inputs.fits(lines, 6)[0] is None
    assert inputs.fits(lines, 427)[1] is None


# Studies


@pytest.mark.parametrize("name", ["stacks", "tf_slim"])
def test_studies_hold(name: str) -> None:
    """Contracts and published numbers of the study specs."""
    for arch in load_archs(STUDIES / f"{name}.yaml"):
        report = check_arch(arch, up_to("spec"))
        assert report.findings
        assert [finding.lines() for finding in report.findings if finding.status != "passed"] == []


def study(folder: Path, name: str, old: str, new: str) -> Path:
    """A study with one change."""
    text = (STUDIES / f"{name}.yaml").read_text()
    assert old in text
    path = folder / f"{name}.yaml"
    path.write_text(text.replace(old, new))
    (folder / "blocks").mkdir()
    for block in (STUDIES / "blocks").iterdir():
        (folder / "blocks" / block.name).write_text(block.read_text())
    return path


@pytest.mark.parametrize(
    ("name", "arch", "old", "new"),
    [
        ("stacks", "two_3x3", "layers=2", "layers=3"),
        ("stacks", "one_5x5", "kernel=5", "kernel=7"),
        ("tf_slim", "resnet_v1_50", "pool_padding=0", "pool_padding=1"),
        ("tf_slim", "resnet_v1_50", "depths[3], stride=1", "depths[3], stride=2"),
    ],
)
def test_studies_can_fail(tmp_path: Path, name: str, arch: str, old: str, new: str) -> None:
    """A study with another network in it does not hold."""
    path = study(tmp_path, name, old, new)
    report = check_arch(load(f"{path}::{arch}"), up_to("spec"))
    assert any(finding.status == "failed" for finding in report.findings)


def test_stacks_of_small_kernels() -> None:
    """Two 3x3 see what one 5x5 sees with 18 weights for 25, three what one 7x7 sees with 27 for 49, less linearly."""
    archs = {arch.name: arch for arch in load_archs(STUDIES / "stacks.yaml")}
    relus = {name: sum(row.op == "relu" for row in arch.rows()) for name, arch in archs.items()}
    assert relus == {"two_3x3": 2, "one_5x5": 1, "three_3x3": 3, "one_7x7": 1}
    assert {name: arch.params for name, arch in archs.items()} == {
        "two_3x3": 18, "one_5x5": 25, "three_3x3": 27, "one_7x7": 49,
    }  # fmt: skip
    for small, large in (("two_3x3", "one_5x5"), ("three_3x3", "one_7x7")):
        assert archs[small].receptive_field == archs[large].receptive_field
        ((_, field, measured),) = compare_fields(archs[small])
        assert measured.agrees(field)
        assert measured.agrees(archs[large].receptive_field)
    # C in and out: as many for each of C*C pairs. 18 * 64 * 64 = 73,728
    wide = load(f"{STUDIES / 'stacks.yaml'}::two_3x3(width=64)").at((64, 32, 32))
    assert wide.params == 73_728


def test_published_fields() -> None:
    """TF-slim's and VGG's are equal; the paper's differs in padding, torchvision's in size, by 56 pixels."""
    found = compare_published()
    same = [one.network for one in found if one.is_same]
    assert same == ["resnet_v1_50", "resnet_v1_101", "resnet_v1_152", "resnet_v1_200", "vgg_16"]
    sizes = {one.arch: (one.published.partition("/")[0], one.field.size) for one in found}
    assert sizes["resnet50_v1"] == ("483", 483)
    assert sizes["resnet50"] == ("483", 483 - 56)
    assert sizes["resnet152(depths=[3, 24, 36, 3])"] == ("1763", 1763 - 56)


def test_a_wrong_study_is_not_what_is_published(tmp_path: Path) -> None:
    """With a padded pool TF-slim's networks are not those of the table."""
    path = study(tmp_path, "tf_slim", "pool_padding=0", "pool_padding=1")
    assert [one.network for one in compare_published(str(path)) if one.is_same] == ["vgg_16"]


# Effective fields


def ones(*layers: nn.Module) -> nn.Sequential:
    """Layers whose weights are 1 and biases 0."""
    for layer in layers:
        for name, parameter in layer.named_parameters():
            nn.init.constant_(parameter, 0 if name == "bias" else 1)
    return nn.Sequential(*layers)


def test_an_effective_field_by_hand() -> None:
    """Two 3x3 of ones: 1 2 3 2 1 along an axis, of which the smallest product, 1 of 9, is above 4.55 %."""
    field = ReceptiveField((Axis(5, 1, 2), Axis(5, 1, 2)))
    (found,) = effective_fields(lambda: ones(conv(3, padding=1), conv(3, padding=1)), {"1": field}, (1, 9, 9), runs=2)
    line = torch.tensor([0, 0, 1, 2, 3, 2, 1, 0, 0.0])
    assert torch.allclose(found.absolute, torch.outer(line, line))
    assert torch.allclose(found.squared, torch.outer(line, line) ** 2)
    assert found.unit == (4, 4)
    assert found.square == (2, 2, 5, 5)
    assert found.width == 5
    assert found.share == 1
    # variance of 1 2 3 2 1 over 9: (4+2+0+2+4)/9 = 4/3; of their squares 1 4 9 4 1 over 19: (4+4+0+4+4)/19
    assert found.deviation == pytest.approx((4 / 3) ** 0.5)
    assert found.deviation_of_squares == pytest.approx((16 / 19) ** 0.5)
    # of the squares, 1 of 81 is below 4.55 %, and 4 of 81 above: all but the four corners
    assert found.width_of_squares == pytest.approx(21**0.5)
    assert not found.is_cut


class Normed(nn.Sequential):
    """A convolution with a norm and an activation that overwrites its input."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))


FIELD = ReceptiveField((Axis(3, 1, 1), Axis(3, 1, 1)))


def outside(found: Effective) -> float:
    """The largest gradient outside of the theoretical field."""
    top, left, rows, columns = found.square
    map = found.absolute.clone()
    map[top : top + rows, left : left + columns] = 0
    return float(map.max())


def test_a_network_sees_as_far_as_the_formula_says() -> None:
    """The real ResNet-18, with its nonlinearities: gradients fill the theoretical field and nothing beside it."""
    arch = load("resnet18").at((3, 160, 160))
    row = arch.step("layer2")
    assert row is not None
    (found,) = effective_fields(lambda: build(arch), {"layer2": row.receptive_field}, arch.input, runs=2)
    top, left, rows, columns = found.square
    assert (top, left, rows, columns) == (10 * 8 - 49, 10 * 8 - 49, 99, 99)
    assert outside(found) == 0
    inside = found.absolute[top : top + rows, left : left + columns]
    assert bool((inside[[0, -1]].amax(1) > 0).all())
    assert bool((inside[:, [0, -1]].amax(0) > 0).all())
    assert 0.4 < found.share < 0.9


def test_statistics_of_the_batch_leak() -> None:
    """Frozen statistics keep a gradient within the theoretical field; those of the batch do not."""
    (frozen,) = effective_fields(Normed, {"1": FIELD}, (2, 12, 12))
    (batch,) = effective_fields(Normed, {"1": FIELD}, (2, 12, 12), statistics="batch")
    assert outside(frozen) == 0
    assert outside(batch) > 0


def test_frozen_statistics_are_those_of_the_images() -> None:
    """Fresh running statistics, 0 and 1, would leave a norm without effect."""
    seen: list[nn.BatchNorm2d] = []

    def make() -> nn.Module:
        model = Normed()
        seen.append(model[1])
        return model

    effective_fields(make, {"2": FIELD}, (2, 12, 12), runs=1)
    assert float(seen[0].running_var.max()) < 0.9
    assert seen[0].momentum == 0.1


def test_a_part_is_seen_before_it_is_overwritten() -> None:
    """The gradient of a convolution is not that of the in-place relu behind it, which is 0 here."""

    def make() -> nn.Module:
        model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(inplace=True))
        nn.init.constant_(model[0].bias, -1000)
        return model

    (found,) = effective_fields(make, {"0": FIELD}, (1, 8, 8), runs=1)
    assert found.absolute.max() > 0
    with pytest.raises(RvCheckError, match="no gradient of 1 reaches the image"):
        effective_fields(make, {"1": FIELD}, (1, 8, 8), runs=1)


def test_seeds_repeat_and_leave_the_generator_alone() -> None:
    """The same seed gives the same field, another one another; torch's own numbers go on as they would have."""
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    (first,), (again,), (other,) = (
        effective_fields(Normed, {"2": FIELD}, (2, 12, 12), runs=2, seed=seed) for seed in (3, 3, 5)
    )
    assert torch.equal(first.absolute, again.absolute)
    assert not torch.equal(first.absolute, other.absolute)
    assert torch.equal(before, torch.random.get_rng_state())


def test_error_effective() -> None:
    """Unknown parts, parts that give no map, networks that do not run, and no runs."""
    pooled = nn.Sequential(conv(3), nn.Flatten())
    for steps, size, message in (
        ({"7": FIELD}, (1, 8, 8), "has no part '7'"),
        ({"1": FIELD}, (1, 8, 8), r"1 gives a tensor of shape \(2, 36\)\n  expected: a map"),
        ({"0": FIELD}, (1, 2, 2), "the network does not run on an input of 1 2 2: RuntimeError"),
    ):
        with pytest.raises(RvCheckError, match=message):
            effective_fields(lambda: pooled, steps, size, runs=1)
    with pytest.raises(RvCheckError, match="0 runs of 2 images"):
        effective_fields(lambda: pooled, {"0": FIELD}, (1, 8, 8), runs=0)


def test_pictures(tmp_path: Path) -> None:
    """PNG and SVG are drawn, one panel a step, and the same numbers give the same file."""
    pytest.importorskip("matplotlib")
    found = effective_fields(Normed, {"0": FIELD, "2": FIELD}, (2, 12, 12), runs=1)
    for name, begins in (("field.png", b"\x89PNG"), ("field.svg", b"<?xml")):
        draw(found, tmp_path / name, "a title")
        first = (tmp_path / name).read_bytes()
        assert first.startswith(begins)
        draw(found, tmp_path / name, "a title")
        assert (tmp_path / name).read_bytes() == first
    text = (tmp_path / "field.svg").read_text()
    assert text.count("theory 3 px") == 2
    assert "a title" in text


def test_error_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another ending, no such folder, a folder, and no matplotlib: said before any work."""
    monkeypatch.setattr(pictures, "find_spec", lambda name: object())
    (tmp_path / "dir.png").mkdir()
    for name, message in (
        ("field.jpg", "'field.jpg' is no name of a picture\n  expected: FILE.png or FILE.svg"),
        (f"{tmp_path}/none/field.png", "cannot be written: there is no folder"),
        (f"{tmp_path}/dir.png", "cannot be written: it is a folder"),
    ):
        with pytest.raises(RvCheckError) as caught:
            pictures.check_picture(name)
        assert message in str(caught.value)
    assert pictures.check_picture(f"{tmp_path}/field.SVG") == tmp_path / "field.SVG"
    monkeypatch.setattr(pictures, "find_spec", lambda name: None)
    with pytest.raises(RvCheckError, match="a picture needs matplotlib\n  expected: it installed"):
        pictures.check_picture(f"{tmp_path}/field.png")


# The command


def ask(*arguments: str) -> int:
    """`rv-check receptive-field` with these arguments."""
    return answer(parse(["receptive-field", *arguments]))


def test_the_command_of_an_arch(capsys: pytest.CaptureFixture[str]) -> None:
    """Stages with size, stride, padding and centre, measured, and what fits."""
    assert ask("vgg11", "--measure", "--fits", "100") == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("features "))
    assert row.split() == ["features", "group", "512", "7", "7", "150", "32", "59", "15.5", "same"]
    assert "the largest stage that fits an input of 100: features.14, 62; features.19 has 134" in lines
    assert any(line.startswith("the smallest input that it takes: 32 x 32; at 31: ") for line in lines)


def test_the_command_says_what_differs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 1 where a measured field is not that of the formula."""
    monkeypatch.setattr(MaxPool, "build", lambda self, nn, x, inplace: nn.MaxPool2d(4, 2, 1))
    assert ask("resnet18", "--measure", "--step", "layer1") == 1  # 43 and one pixel more of jump 2
    assert "45/4/21, DIFFERENT" in capsys.readouterr().out


def test_the_command_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object with a schema; a gate or pool is global, a join has its branches."""
    assert ask("resnet50", "--depth", "3", "--json", "--fits", "224", "--compare-published") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == receptive_field.SCHEMA
    steps = {step["name"]: step for step in found["steps"]}
    assert steps["fc"]["global"] is True
    assert steps["layer1.0.sum"]["branches"]["skip"]["size"] == 11
    assert found["fits"] == {"size": 224, "step": "layer2", "next": "layer3"}
    assert found["smallest_input"] == {"size": 1, "below": ""}
    assert {one["arch"]: one["same"] for one in found["published"]} == {
        "resnet_v1_50": True, "resnet_v1_50_at_321": False, "resnet50_v1": False, "resnet50": False,
    }  # fmt: skip


MODULE = """\
from torch import nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self, up=False):
        super().__init__()
        print("building")
        self.conv, self.tall, self.up = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, (5, 1), padding=(2, 0)), up

    def forward(self, x):
        x = self.tall(self.conv(x)).relu()
        return F.interpolate(x, scale_factor=2, mode="bicubic") if self.up else x.mean((2, 3))
"""


def test_the_command_of_a_module(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A module's stages, by the line where they have no name; what cannot be followed is an error with its line."""
    path = tmp_path / "mynet.py"
    path.write_text(MODULE)
    assert ask(f"{path}:Net", "--measure", "--input", "3 32 32") == 0
    out = capsys.readouterr().out
    # 3 + 4*2 = 11 rows, padding 1 + 2*2
    assert f"{path}:12" in out
    assert "11 x 3" in out
    assert "same" in out
    assert "building" not in out
    assert ask(f"{path}:Net", "--effective", "--step", "tall", "--runs", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["steps"][0]["effective"]["unit"] == [56, 56]
    with pytest.raises(RvCheckError, match=r"cannot be followed through upsample_bicubic2d, in .*mynet\.py:13"):
        ask(f"{path}:Net", "--kwargs", '{"up": true}')


def test_the_command_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """-o asks for the effective field, too."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "field.svg"
    arguments = ("--input", "3 64 64", "--runs", "1", "-o", str(path))
    assert ask("resnet18", *arguments) == 0
    out = capsys.readouterr().out
    assert "beyond the image" in out
    assert "1 run of 2 images, seed 0, frozen batch statistics" in out
    assert path.is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "of which network?\n  expected: ARCH or MODULE"),
        (("resnet18", "--step", "layer9"), "did you mean: layer4"),
        (("resnet18", "-o", "x.jpg"), "expected: FILE.png or FILE.svg"),
        (("resnet18", "--effective", "--step", "fc"), "none of these steps gives a map"),
        (("resnet18", "--kwargs", "{}"), "--kwargs is for a module"),
        (("vgg16", "--input", "3 16 16"), "maxpool: the kernel spans 2, larger than its input of 1"),
        (("vgg19", "--compare-published"), "nothing is published of 'vgg19' there"),
        (("x.yaml:net",), "with two colons"),
    ],
)
def test_error_command(arguments: tuple[str, ...], message: str) -> None:
    """Wrong questions, which the command line ends with status 2."""
    with pytest.raises(RvCheckError) as caught:
        ask(*arguments)
    assert message in str(caught.value)
