"""Receptive fields of networks of sequences (N, C, L) and of volumes (N, C, D, H, W): by hand, published, measured."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rv_check.cli.main import answer, parse
from rv_check.errors import RvCheckError
from rv_check.modules.observe import Subject
from rv_check.receptive_fields import measured as measured_fields
from rv_check.receptive_fields import walk
from rv_check.receptive_fields.formula import graph_field, graph_lines, node_of, stages
from rv_check.receptive_fields.measured import MeasuredField, measured_field, measured_lines, observed
from tests.unit.networks import TCN, R2Plus1D, ResNet1d, VNet
from tests.unit.seeds import seeds

Numbers = tuple[tuple[int, int, int], ...]


class Step(nn.Module):
    """Layers, and a function of the input and them, as the part `step`."""

    def __init__(self, *layers: nn.Module, forward: Callable[..., Tensor] | None = None):
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), forward

    def forward(self, x: Tensor) -> Tensor:
        if self.function is not None:
            return self.function(x, *self.layers)
        for layer in self.layers:
            x = layer(x)
        return x


def net(*layers: nn.Module, forward: Callable[..., Tensor] | None = None) -> Subject:
    """A module whose output is that of the part `step`."""
    return Subject(Outer(Step(*layers, forward=forward)))


class Outer(nn.Module):
    """A module with one part, `step`."""

    def __init__(self, step: nn.Module):
        super().__init__()
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.step(x)
        return y


def conv1(kernel: int, channels: int = 1, **arguments: Any) -> nn.Conv1d:
    """A convolution of a sequence that keeps its channels."""
    return nn.Conv1d(channels, channels, kernel, **arguments)


def conv3(kernel: Any, channels: int = 1, **arguments: Any) -> nn.Conv3d:
    """A convolution of a volume that keeps its channels."""
    return nn.Conv3d(channels, channels, kernel, **arguments)


LINE, CUBE = (1, 40), (1, 12, 14, 16)

# Worked by hand: each axis as size, stride, padding, and how many pixels the field holds.
CASES: dict[str, tuple[Subject, tuple[int, ...], Numbers, int]] = {
    "a kernel of 3": (net(conv1(3, padding=1)), LINE, ((3, 1, 1),), 3),
    "a dilated kernel has holes": (net(conv1(3, padding=4, dilation=4)), LINE, ((9, 1, 4),), 3),
    # 3 + (3-1)*2 = 7; 1 + 1*2 = 3 before
    "a stride": (net(conv1(3, stride=2, padding=1), conv1(3, padding=1)), LINE, ((7, 2, 3),), 7),
    "a pool": (net(nn.MaxPool1d(3, 2, 1), nn.AvgPool1d(2)), LINE, ((5, 4, 1),), 5),
    "a pool with ceil_mode": (net(nn.MaxPool1d(4, 3, ceil_mode=True)), LINE, ((4, 3, 0),), 4),
    # both sides padded, the end cut off: unit i sees i - 4, i - 2, i
    "causal by a chomp": (net(conv1(3, padding=4, dilation=2), forward=lambda x, a: a(x)[:, :, :-4].contiguous()),
                          LINE, ((5, 1, 4),), 3),
    "causal by a pad": (net(conv1(3, dilation=2), forward=lambda x, a: a(F.pad(x, (4, 0)))), LINE, ((5, 1, 4),), 3),
    # a chomp of more than half of what there is
    "a long chomp": (net(conv1(3, padding=48, dilation=24), forward=lambda x, a: a(x)[:, :, :-48]),
                     LINE, ((49, 1, 48),), 3),
    # 41 = 1 + 2 * 20 units; the last one, of 40, begins at 39 - 40 = -1, where none of the padding is left
    "the last unit": (net(conv1(3, padding=40, dilation=20), forward=lambda x, a: a(x)[:, :, :-40][:, :, -1]),
                      LINE, ((41, 1, 40 - 39),), 3),
    # two causal kernels of 2 with strides of 1 and 2 behind it: 2, then 3
    "causal and strided": (
        net(conv1(2, stride=2), conv1(2), forward=lambda x, a, b: b(F.pad(a(F.pad(x, (1, 0))), (1, 0)))),
        LINE, ((4, 2, 3),), 4,
    ),
    "reflected": (net(conv1(5, padding=2, padding_mode="reflect")), LINE, ((5, 1, 2),), 5),
    "replicated": (net(conv1(5, padding=2, padding_mode="replicate")), LINE, ((5, 1, 2),), 5),
    "an even kernel of the same size": (net(conv1(4, padding="same")), LINE, ((4, 1, 1),), 4),
    "weights that are computed": (
        net(nn.utils.parametrizations.weight_norm(conv1(3, padding=1))), LINE, ((3, 1, 1),), 3,
    ),
    "channels at the end and back": (
        net(conv1(3, 4, padding=1), nn.LayerNorm(4), nn.Linear(4, 4),
            forward=lambda x, a, n, f: f(n(a(x.expand(-1, 4, -1)).transpose(1, 2))).transpose(1, 2)),
        LINE, ((3, 1, 1),), 3,
    ),
    "a sequence as an image of one row": (
        net(nn.Conv2d(1, 1, (1, 5), padding=(0, 2)), forward=lambda x, a: a(x.unsqueeze(2)).squeeze(2)),
        LINE, ((5, 1, 2),), 5,
    ),
    "a sequence as an image of one column": (
        net(nn.Conv2d(1, 1, (5, 3), padding=(2, 1)), forward=lambda x, a: a(x.unsqueeze(3)).squeeze(3)),
        LINE, ((5, 1, 2),), 5,
    ),
    "branches of two sizes": (net(conv1(3, padding=1), conv1(5, padding=2), forward=lambda x, a, b: a(x) + b(x)),
                              LINE, ((5, 1, 2),), 5),
    "3x3x3": (net(conv3(3, padding=1)), CUBE, ((3, 1, 1),) * 3, 27),
    "axes of their own": (net(conv3((1, 3, 5), stride=(1, 2, 1), dilation=(1, 1, 2))), CUBE,
                          ((1, 1, 0), (3, 2, 0), (9, 1, 0)), 15),
    # R(2+1)D: rows and columns first, then the frames
    "a (2+1)d convolution": (net(conv3((1, 3, 3), padding=(0, 1, 1)), conv3((3, 1, 1), padding=(1, 0, 0))), CUBE,
                             ((3, 1, 1),) * 3, 27),
    # 2 + (3-1)*2 = 6, padding 1*2
    "behind a pool": (net(nn.MaxPool3d(2), conv3(3, padding=1)), CUBE, ((6, 2, 2),) * 3, 216),
    "a pool of rows and columns": (
        net(nn.AvgPool3d((1, 2, 2)), conv3(3)), CUBE, ((3, 1, 0), (6, 2, 0), (6, 2, 0)), 108,
    ),
    "frames as images": (
        net(nn.Conv2d(1, 1, 3, padding=1), conv1(3, padding=1), forward=lambda x, a, b: frames_and_pixels(x, a, b)),
        CUBE, ((3, 1, 1),) * 3, 27,
    ),
    "causal frames": (net(conv3(3), forward=lambda x, a: a(F.pad(x, (1, 1, 1, 1, 2, 0)))), CUBE,
                      ((3, 1, 2), (3, 1, 1), (3, 1, 1)), 27),
    "replicated volumes": (net(conv3(3, padding=1, padding_mode="replicate")), CUBE, ((3, 1, 1),) * 3, 27),
    "an image as a volume of one slice": (
        net(conv3((1, 3, 5)), forward=lambda x, a: a(x.unsqueeze(2)).squeeze(2)),
        (1, 14, 16), ((3, 1, 0), (5, 1, 0)), 15,
    ),
    "channels as a depth": (
        net(nn.Conv3d(1, 2, 3), forward=lambda x, a: a(x.unsqueeze(1)).flatten(1, 2)), (4, 14, 16), ((3, 1, 0),) * 2, 9,
    ),
}  # fmt: skip


def frames_and_pixels(x: Tensor, of_frames: nn.Module, of_pixels: nn.Module) -> Tensor:
    """A layer on every frame, then one on every pixel's sequence."""
    n, c, d, h, w = x.shape
    x = of_frames(x.transpose(1, 2).reshape(n * d, c, h, w)).reshape(n, d, c, h, w)
    x = of_pixels(x.permute(0, 3, 4, 2, 1).reshape(n * h * w, c, d))
    return x.reshape(n, h, w, c, d).permute(0, 3, 4, 1, 2)


def numbers(found: MeasuredField) -> tuple[tuple[int, ...], ...]:
    """Size, stride and padding of each axis."""
    return tuple(map(tuple, found.field.axes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CASES)
def test_measured_by_hand(name: str) -> None:
    """Gradients show the field that was worked by hand, and the formula on the graph gives it too."""
    subject, size, axes, pixels = CASES[name]
    found = measured_field(subject, "step", size)
    assert (numbers(found), found.pixels) == (axes, pixels)
    graph = observed(subject, size)
    assert found.agrees(graph_field(graph, node_of(graph, "step")))


@pytest.mark.parametrize("name", ["causal by a pad", "a pool", "a (2+1)d convolution", "frames as images"])
def test_a_wrong_formula_is_seen_and_does_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured is not what the formula says: one that loses a padding of the first axis is found out."""
    subject, size, axes, _ = CASES[name]
    right = walk.Formula.window

    def off_by_one(self: walk.Formula, x: Any, windows: walk.Windows) -> Any:
        return right(self, x, (windows[0]._replace(before=windows[0].before - 1), *windows[1:]))

    monkeypatch.setattr(walk.Formula, "window", off_by_one)
    found = measured_field(subject, "step", size)
    assert numbers(found) == axes
    graph = observed(subject, size)
    assert not found.agrees(graph_field(graph, node_of(graph, "step")))


# Behind an upsampling

PHASED: dict[str, tuple[Subject, tuple[int, ...], tuple[Numbers, ...], int]] = {
    # as of an image's rows: see test_fields
    "an encoder and a decoder": (
        net(conv1(3, stride=2, padding=1), nn.ConvTranspose1d(1, 1, 2, 2), conv1(3, padding=1)),
        LINE, (((5, 2, 3), (5, 2, 1)),), 5,
    ),
    "nearest": (net(conv1(3, stride=2, padding=1), nn.Upsample(scale_factor=2), conv1(3, padding=1)),
                LINE, (((5, 2, 3), (5, 2, 1)),), 5),
    "linear": (net(nn.Upsample(scale_factor=2, mode="linear")), LINE, (((2, 1, 1), (2, 1, 0)),), 2),
    "a volume": (
        net(conv3(3, stride=2, padding=1), nn.ConvTranspose3d(1, 1, 2, 2), conv3(3, padding=1)),
        CUBE, (((5, 2, 3), (5, 2, 1)),) * 3, 125,
    ),
    "nearest, of a volume": (net(nn.Upsample(scale_factor=(1, 2, 2)), conv3(3, padding=1)), CUBE,
                             (((3, 1, 1),), *((((2, 1, 1), (2, 1, 0)),) * 2)), 12),
    "trilinear": (net(nn.Upsample(scale_factor=2, mode="trilinear")), CUBE, (((2, 1, 1), (2, 1, 0)),) * 3, 8),
}  # fmt: skip


@pytest.mark.parametrize("name", PHASED)
def test_phases_by_hand(name: str) -> None:
    """Behind an upsampling gradients show each phase as it was worked by hand, and the formula gives it too."""
    subject, size, phases, pixels = PHASED[name]
    found = measured_field(subject, "step", size)
    assert tuple(tuple(map(tuple, axis.phases)) for axis in found.field.axes) == phases
    assert found.pixels == pixels
    graph = observed(subject, size)
    assert found.agrees(graph_field(graph, node_of(graph, "step")))


# Published networks


@pytest.mark.parametrize("causal", ["chomp", "pad"])
def test_a_tcn(causal: str) -> None:
    """Bai et al. 2018 (arXiv:1803.01271), kernel 3, dilations 1, 2, 4, 8, two convolutions a block.

    1 + 2*(3-1)*(1+2+4+8) = 61, all of it before the unit or at it.
    """
    graph = observed(Subject(TCN(causal=causal)), (1, 100))
    field = graph_field(graph, node_of(graph, "blocks"))
    assert str(field) == "61/1/60"
    assert field.aligned is False  # the residual path sees the last of them alone
    found = measured_field(graph, "blocks")
    assert found.agrees(field)
    assert (found.image, found.pixels) == ((found.image[0],), 61)
    # of the last of 100 units, by a linear layer: the pixels 39 to 99
    last = graph_field(graph, node_of(graph, "head"))
    assert (str(last), last.is_global) == ("61/1/-39", False)


def test_a_v_net() -> None:
    """Milletari et al. 2016 (arXiv:1606.04797), Table 1: the theoretical receptive fields of the left side.

    On the right side the table counts a transposed convolution of 2 as a convolution of 2 units, (2-1)*jump more each
    time, though each of its units sees one: 372 + 8 + 3*4*8 = 476 for R-Stage 4. A field there is of 372 + 3*4*8 = 468.
    """
    graph = observed(Subject(VNet()), (1, 64, 64, 64))
    sizes = [graph_field(graph, node_of(graph, f"left.{at}")).size for at in range(5)]
    assert sizes == [5, 22, 72, 172, 372]
    assert graph_field(graph, node_of(graph, "right.0")).size == 468
    found = measured_field(graph, "left.1")
    assert (str(found), found.pixels) == ("22/2/10", 22**3)
    apart = measured_field(graph, "right.0")  # too large for a volume: each axis apart
    assert apart.pixels is None
    assert apart.agrees(graph_field(graph, node_of(graph, "right.0")))


def test_an_r2plus1d() -> None:
    """Tran et al. 2018 (arXiv:1711.11248): a stem of 1x7x7 stride 1x2x2 and 3x1x1, then a block of two (2+1)d.

    Frames: 3 + 2 + 2 = 7. Rows: 7, then 7 + 2*2 + 2*2 = 15, padding 3 + 2 + 2 = 7.
    """
    graph = observed(Subject(R2Plus1D()), (3, 8, 32, 32))
    field = graph_field(graph, node_of(graph, "block"))
    assert str(field) == "7/1/3 15/2/7 15/2/7"
    assert measured_field(graph, "block").agrees(field)


def test_a_resnet_of_sequences() -> None:
    """7 stride 2, a pool of 3 stride 2: 7 + 2*2 = 11; two blocks of two kernels of 3, the second of stride 2."""
    graph = observed(Subject(ResNet1d()), (2, 128))
    found = [(name, str(field)) for name, _, field in stages(graph)]
    # 11 + 2*(2*4) = 27; + 2*4 and 2*8: 51; paddings 3 + 2, + 8, + 4 + 8
    assert found == [("stem", "7/2/3"), ("layers.0", "27/4/13"), ("layers", "51/8/25")]


# Random networks


class Random(nn.Module):
    """Layers by chance, of kernels, strides, dilations and pads of their own along each axis."""

    def __init__(self, rng: random.Random, axes: int):
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        spread = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
        pool = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[axes - 1]
        self.layers = nn.ModuleList()
        self.pads: list[list[int]] = []
        for _ in range(rng.randint(2, 4)):
            kernel, stride, dilation = ([rng.randint(1, most) for _ in range(axes)] for most in (3, 2, 2))
            spans = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
            what = rng.random()
            if what < 0.2:
                self.layers.append(
                    spread(2, 2, tuple(max(k, s) for k, s in zip(kernel, stride, strict=True)), tuple(stride))
                )
                spans = [0] * axes
            elif what < 0.4:
                self.layers.append(pool(tuple(kernel), tuple(stride)))
            else:
                self.layers.append(conv(2, 2, tuple(kernel), tuple(stride), dilation=tuple(dilation)))
            ends = [[before := rng.randint(0, span), span - before] for span in reversed(spans)]
            self.pads.append([end for pair in ends for end in pair])

    def forward(self, x: Tensor) -> Tensor:
        for layer, pad in zip(self.layers, self.pads, strict=True):
            x = layer(F.pad(x, pad)).relu()
        return x


@pytest.mark.parametrize("axes", [1, 3])
@seeds(20)
def test_random_networks(seed: int, axes: int) -> None:
    """Every part: measured is what the formula says, in every phase, on axes with numbers of their own."""
    rng = random.Random(seed)
    graph = observed(Subject(Random(rng, axes)), (2, *((60,) if axes == 1 else (14, 16, 12))))
    lines = [line for line in graph_lines(graph, 9) if all(axis.size for axis in line.field.axes)]
    assert lines
    for line, found in zip(lines, measured_lines(graph, lines), strict=True):
        assert found is not None
        assert found.agrees(line.field), f"{line.name}: {found.field.in_full} is not {line.field.in_full}"


# What cannot be followed

UNKNOWN: dict[str, tuple[Subject, tuple[int, ...], str]] = {
    "a sequence folded to an image": (
        net(nn.Conv2d(1, 1, 3), forward=lambda x, a: a(x.unflatten(2, (8, 5)))), LINE, "(it moves pixels)",
    ),
    "pixels as a sequence": (
        net(conv1(3), forward=lambda x, a: a(x.flatten(2))), (1, 8, 8),
        "(rows or columns are not an axis of their own)",
    ),
    "a convolution of what was the length": (
        net(nn.Conv1d(40, 4, 1), forward=lambda x, a: a(x.transpose(1, 2))), LINE, "(length is not its axis 2)",
    ),
    "frames as channels": (
        net(nn.Conv2d(12, 4, 1), forward=lambda x, a: a(x.flatten(1, 2))), CUBE,
        "(depth, rows and columns are not its axes 2 and 3)",
    ),
    "upsampling by parts": (net(nn.Upsample(scale_factor=1.5, mode="linear")), LINE, "(not by a whole factor)"),
    "aligned corners": (
        net(nn.Upsample(scale_factor=2, mode="trilinear", align_corners=True)), CUBE, "(corners are aligned, so that",
    ),
    "an axis of one unit": (
        net(conv1(2, stride=40), nn.MaxPool1d(3, 1, 1)), LINE, "(an axis of one unit cannot be told from a new one",
    ),
    "frames put side by side": (
        net(nn.Conv2d(1, 1, 3), forward=lambda x, a: torch.stack([a(x[:, :, at]) for at in range(12)], 2)), CUBE,
        "(it puts units of a map side by side)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_error_what_cannot_be_followed(name: str) -> None:
    """It is named, with the part; never taken for the identity."""
    subject, size, found = UNKNOWN[name]
    for ask in (lambda: measured_field(subject, "step", size), lambda: graph_lines(observed(subject, size), 3)):
        with pytest.raises(RvCheckError, match="a receptive field cannot be followed through") as caught:
            ask()
        assert found in str(caught.value)


def test_error_an_input_that_is_no_map() -> None:
    """Features alone, and four axes."""
    for layer, size in ((nn.Linear(4, 4), (4,)), (nn.ReLU(), (1, 2, 2, 2, 2))):
        with pytest.raises(RvCheckError, match=r"the input has shape .*\n  expected: images, .* sequences, .* volumes"):
            measured_field(net(layer), "step", size)


def test_gates() -> None:
    """What reaches every unit of a sequence or a volume makes its field global."""
    for layers, size in (
        ((conv1(3, padding=1), nn.GroupNorm(1, 1)), LINE),
        ((conv3(3, padding=1), nn.InstanceNorm3d(1)), CUBE),
        ((conv3(3, padding=1), nn.BatchNorm3d(1, track_running_stats=False)), CUBE),
    ):
        graph = observed(net(*layers), size)
        field = graph_field(graph, node_of(graph, "step"))
        assert (str(field), field.through_gate, field.collapsed) == ("3/1/1", True, False)
    for layers, size in (((conv1(3), nn.AdaptiveAvgPool1d(4)), LINE), ((conv3(3), nn.AdaptiveMaxPool3d(1)), CUBE)):
        graph = observed(net(*layers), size)
        assert graph_field(graph, node_of(graph, "step")).collapsed


def test_too_large_for_a_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each axis is then measured apart."""
    monkeypatch.setattr(measured_fields, "MAX_CUBE", 10)
    found = measured_field(net(conv3((1, 3, 5), padding=(0, 1, 2))), "step", CUBE)
    assert (str(found), found.pixels) == ("1/1/0 3/1/1 5/1/2", None)


# The command


def ask(*arguments: str) -> int:
    """`rv-check receptive-field` with these arguments."""
    return answer(parse(["receptive-field", *arguments]))


NETS = """\
from torch import nn


def line():
    return nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.Conv1d(4, 4, 3, 2, 1), nn.ConvTranspose1d(4, 4, 2, 2))


def video():
    rows_and_columns = nn.Conv3d(3, 4, (1, 7, 7), (1, 2, 2), (0, 3, 3))
    return nn.Sequential(rows_and_columns, nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0)))
"""


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables and JSON of a sequence and of a video, measured."""
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    assert ask(f"{path}:line", "--input", "2 32", "--depth", "1", "--measure") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line[:1].isdigit()]
    assert [row[-6:] for row in rows[:2]] == [
        ["32", "3", "1", "1", "0", "same"], ["16", "5", "2", "2", "0", "same"],
    ]  # fmt: skip
    assert ask(f"{path}:line", "--input", "2 32", "--step", "2", "--measure", "--json") == 0
    (step,) = json.loads(capsys.readouterr().out)["steps"]
    assert step["phases"] == {"length": [[5, 2, 2], [5, 2, 2]]}
    assert step["measured"]["agrees"] is True
    assert len(step["measured"]["image"]) == 1
    assert ask(f"{path}:video", "--input", "3 8 32 32", "--depth", "1", "--measure") == 0
    assert "conv3d 1x7x7 3 -> 4 stride 1 2 2 padding 0 3 3  4 8 16 16  1 x 7 x 7  1 x 2 x 2" in capsys.readouterr().out
    assert ask(f"{path}:video", "--input", "3 8 32 32", "--json", "--fits", "8") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["steps"][-1]["size"] == [3, 7, 7]
    assert found["fits"]["step"] is not None


def test_error_command(tmp_path: Path) -> None:
    """The effective field is one of images; an arch's input is that of an image."""
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    with pytest.raises(RvCheckError, match="drawn over rows and columns, not over an input 2 32\n  expected: images"):
        ask(f"{path}:line", "--input", "2 32", "--effective", "--depth", "1")
    with pytest.raises(RvCheckError, match="input is '3 32'"):
        ask("resnet18", "--input", "3 32")
