"""Every rule of every op: by tables worked by hand, and by sweeps against the torch module that the op builds."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import StochasticDepth

from rv_check.archs.axes import PIXEL, over, span
from rv_check.errors import Document, Place
from rv_check.language.expressions import Scope, parse_call
from rv_check.language.yaml_nodes import Text
from rv_check.modules.build import LAYERS
from rv_check.ops import op as ops
from rv_check.ops.activations import Activation
from rv_check.ops.arguments import OpError
from rv_check.ops.op import OPS, POINT, Op, Shape, Slide


def read(text: str) -> Op:
    """The op that a step of a spec would make."""
    call = parse_call(Text(text, Place(Document(Path("test"), (text,)), 1, 1)))
    cls = OPS[call.name]
    names = [a.keyword or cls.argument_names[i] for i, a in enumerate(call.arguments)]
    return ops.make(cls, {n: a.value.evaluate(Scope({}, OPS.get)) for n, a in zip(names, call.arguments, strict=True)})


def op_name(row: Any) -> str:
    """The op that a row is about."""
    return str(row[0]).partition("(")[0]


def ids(row: Any) -> str:
    """`conv(...) 3x7x7`."""
    return f"{row[0]} on {'x'.join(map(str, row[1]))}"


# Shapes. A kernel that slides: out = floor((in + 2*padding - (dilation*(kernel-1) + 1)) / stride) + 1

SHAPES: list[tuple[str, Shape, Shape]] = [
    ("conv(8, kernel=3, bias=False)", (4, 7, 7), (8, 5, 5)),  # 7 - 3 + 1
    ("conv(8, kernel=3, padding=1, bias=False)", (4, 7, 7), (8, 7, 7)),  # 7 + 2 - 3 + 1
    ("conv(8, kernel=3, stride=2, padding=1, bias=False)", (4, 7, 7), (8, 4, 4)),  # (9 - 3)/2 + 1
    (
        "conv(8, kernel=3, stride=2, padding=1, bias=False)",
        (4, 8, 8),
        (8, 4, 4),
    ),  # floor(7/2) + 1: the last row is lost
    ("conv(64, kernel=7, stride=2, padding=3, bias=False)", (3, 224, 224), (64, 112, 112)),  # floor(223/2) + 1
    ("conv(8, kernel=1, stride=2, bias=True)", (4, 7, 6), (8, 4, 3)),  # 6//2 + 1, 5//2 + 1
    ("conv(8, kernel=3, dilation=2, bias=False)", (4, 7, 7), (8, 3, 3)),  # it spans 2*2 + 1 = 5; 7 - 5 + 1
    ("conv(8, kernel=3, dilation=[1, 3], bias=False)", (4, 7, 7), (8, 5, 1)),  # it spans 3 and 7
    ("conv(8, kernel=[1, 7], padding=[0, 3], bias=False)", (4, 9, 9), (8, 9, 9)),  # 9 - 1 + 1, 9 + 6 - 7 + 1
    ("conv(8, kernel=[3, 1], bias=False)", (4, 9, 9), (8, 7, 9)),  # 9 - 3 + 1, 9
    ("conv(8, kernel=3, stride=[2, 1], bias=False)", (4, 9, 9), (8, 4, 7)),  # 6/2 + 1, 6 + 1
    ("conv(6, kernel=3, groups=3, bias=False)", (9, 5, 5), (6, 3, 3)),  # groups do not change the shape
    (
        "conv(2, kernel=3, padding=4, bias=False)",
        (1, 1, 1),
        (2, 7, 7),
    ),  # a convolution may see padding alone: 9 - 3 + 1
    ("conv(8, kernel=3, bias=False)", (4, 3, 3), (8, 1, 1)),  # the whole input
    # (in - 1)*stride - 2*padding + dilation*(kernel - 1) + output_padding + 1
    ("conv_transpose(8, kernel=2, stride=2, bias=False)", (4, 7, 7), (8, 14, 14)),  # 6*2 + 1 + 1
    ("conv_transpose(8, kernel=4, stride=2, padding=1, bias=False)", (4, 7, 7), (8, 14, 14)),  # 12 - 2 + 3 + 1
    (
        "conv_transpose(8, kernel=3, stride=2, padding=1, output_padding=1, bias=True)",
        (4, 7, 7),
        (8, 14, 14),
    ),  # 12 - 2 + 2 + 1 + 1
    ("conv_transpose(8, kernel=3, bias=False)", (4, 1, 1), (8, 3, 3)),  # 0 + 2 + 1
    ("conv_transpose(8, kernel=3, dilation=[1, 3], bias=False)", (4, 5, 5), (8, 7, 11)),  # 4 + 2 + 1, 4 + 6 + 1
    ("conv_transpose(8, kernel=1, stride=[3, 1], output_padding=[2, 0], bias=False)", (4, 5, 5), (8, 15, 5)),
    ("conv_transpose(6, kernel=2, groups=3, bias=False)", (9, 5, 5), (6, 6, 6)),
    ("linear(10, bias=True)", (512,), (10,)),
    ("linear(10, bias=False)", (4, 5, 6), (4, 5, 10)),  # the last axis
    ("batchnorm", (4, 7, 7), (4, 7, 7)),
    ("batchnorm(eps=0.001, momentum=0.01)", (4,), (4,)),
    ("relu", (4, 7, 7), (4, 7, 7)),
    ("silu", (4, 7, 7), (4, 7, 7)),
    ("relu6", (4, 7, 7), (4, 7, 7)),
    ("hardswish", (4, 7, 7), (4, 7, 7)),
    ("hardsigmoid", (4, 7, 7), (4, 7, 7)),
    ("sigmoid", (4,), (4,)),
    ("maxpool(2)", (4, 7, 7), (4, 3, 3)),  # stride 2 unless given: 5//2 + 1
    ("maxpool([2, 3])", (4, 7, 7), (4, 3, 2)),  # stride [2, 3]: 5//2 + 1, 4//3 + 1
    ("maxpool(2, stride=1)", (4, 7, 7), (4, 6, 6)),  # 5 + 1
    ("maxpool(3, stride=2, padding=1)", (64, 112, 112), (64, 56, 56)),  # 111//2 + 1
    ("maxpool(2, dilation=3)", (4, 7, 7), (4, 2, 2)),  # it spans 4: 3//2 + 1
    ("maxpool(2, ceil_mode=True)", (4, 7, 7), (4, 4, 4)),  # ceil(5/2) + 1
    ("maxpool(2, ceil_mode=True)", (4, 8, 8), (4, 4, 4)),  # 6/2 + 1, nothing hangs over
    ("maxpool(3, stride=2, ceil_mode=True)", (4, 2, 2), (4, 1, 1)),  # ceil(-1/2) + 1: larger than its input, and legal
    (
        "maxpool(2, stride=3, padding=1, ceil_mode=True)",
        (4, 5, 5),
        (4, 2, 2),
    ),  # ceil(5/3) + 1 = 3; the third starts at 6 >= 5 + 1
    ("avgpool(2)", (4, 7, 7), (4, 3, 3)),
    ("avgpool(1, stride=2)", (4, 7, 8), (4, 4, 4)),  # 6//2 + 1, 7//2 + 1
    ("avgpool(3, stride=2, padding=1)", (4, 8, 8), (4, 4, 4)),  # 7//2 + 1
    ("avgpool(3, stride=2, ceil_mode=True)", (4, 8, 8), (4, 4, 4)),  # ceil(5/2) + 1
    ("avgpool([2, 1], count_include_pad=False)", (4, 8, 8), (4, 4, 8)),
    ("adaptive_avgpool(1)", (512, 7, 7), (512, 1, 1)),
    ("adaptive_avgpool([2, 3])", (4, 1, 9), (4, 2, 3)),  # it may also enlarge
    ("flatten", (512, 7, 7), (25088,)),  # 512*49
    ("flatten", (5,), (5,)),
    ("dropout", (4096,), (4096,)),
    ("dropout(0.2)", (4, 7, 7), (4, 7, 7)),
    ("groupnorm(2)", (4, 7, 7), (4, 7, 7)),
    ("groupnorm(2, eps=0.001)", (4,), (4,)),
    ("drop_path(0.2)", (4, 7, 7), (4, 7, 7)),
    ("drop_path(0.2)", (4,), (4,)),
    ("pad_channels(9)", (4, 7, 5), (9, 7, 5)),
    ("pad_channels(9, before=5)", (4, 7, 5), (9, 7, 5)),  # 5 + 4, none after
    ("pad_channels(4)", (4, 7, 5), (4, 7, 5)),
]


@pytest.mark.parametrize(("text", "x", "y"), SHAPES, ids=map(ids, SHAPES))
def test_shape(text: str, x: Shape, y: Shape) -> None:
    """The output shape is the one worked by hand."""
    assert y == read(text).shape(x)


# Parameters and buffers, as names and shapes.

STATE: list[tuple[str, Shape, dict[str, Shape]]] = [
    ("conv(8, kernel=3, bias=False)", (4, 7, 7), {"weight": (8, 4, 3, 3)}),
    ("conv(8, kernel=3, bias=True)", (4, 7, 7), {"weight": (8, 4, 3, 3), "bias": (8,)}),
    ("conv(8, kernel=[1, 7], bias=False)", (4, 7, 7), {"weight": (8, 4, 1, 7)}),  # rows first
    ("conv(6, kernel=3, groups=3, bias=True)", (9, 5, 5), {"weight": (6, 3, 3, 3), "bias": (6,)}),  # 9/3 channels each
    ("conv(9, kernel=3, groups=9, bias=False)", (9, 5, 5), {"weight": (9, 1, 3, 3)}),  # depthwise
    ("conv_transpose(8, kernel=[2, 3], bias=True)", (4, 7, 7), {"weight": (4, 8, 2, 3), "bias": (8,)}),  # inputs first
    ("conv_transpose(6, kernel=3, groups=3, bias=False)", (9, 5, 5), {"weight": (9, 2, 3, 3)}),  # 6/3 channels each
    ("linear(10, bias=True)", (512,), {"weight": (10, 512), "bias": (10,)}),
    ("linear(10, bias=False)", (4, 5, 6), {"weight": (10, 6)}),
    (
        "batchnorm",
        (4, 7, 7),
        {"weight": (4,), "bias": (4,), "running_mean": (4,), "running_var": (4,), "num_batches_tracked": ()},
    ),
    (
        "batchnorm",
        (5,),
        {"weight": (5,), "bias": (5,), "running_mean": (5,), "running_var": (5,), "num_batches_tracked": ()},
    ),
    ("relu", (4, 7, 7), {}),
    ("silu", (4, 7, 7), {}),
    ("relu6", (4, 7, 7), {}),
    ("hardswish", (4, 7, 7), {}),
    ("hardsigmoid", (4, 7, 7), {}),
    ("sigmoid", (4, 7, 7), {}),
    ("maxpool(2)", (4, 7, 7), {}),
    ("avgpool(2)", (4, 7, 7), {}),
    ("adaptive_avgpool(1)", (4, 7, 7), {}),
    ("flatten", (4, 7, 7), {}),
    ("dropout", (4, 7, 7), {}),
    ("groupnorm(2)", (4, 7, 7), {"weight": (4,), "bias": (4,)}),  # for each channel, not for each group
    ("drop_path(0.2)", (4, 7, 7), {}),
    ("pad_channels(9)", (4, 7, 7), {}),
]


@pytest.mark.parametrize(("text", "x", "state"), STATE, ids=map(ids, STATE))
def test_state(text: str, x: Shape, state: dict[str, Shape]) -> None:
    """Parameters and buffers have torch's names, in torch's order, parameters first."""
    op = read(text)
    assert list(state.items()) == [*op.params(x).items(), *op.buffers(x).items()]
    assert {"running_mean", "running_var", "num_batches_tracked"} & state.keys() == op.buffers(x).keys()


# Multiply-adds of one image: for each output element, the input elements it reads. The bias is not counted.

MACS: list[tuple[str, Shape, int]] = [
    ("conv(8, kernel=3, bias=False)", (4, 4, 4), 1152),  # 9 positions * 4 in * 8 out * 2*2 outputs
    ("conv(8, kernel=3, bias=True)", (4, 4, 4), 1152),  # the same
    ("conv(8, kernel=3, padding=1, bias=False)", (4, 4, 4), 4608),  # 9*4*8 * 4*4 outputs: padded positions count
    ("conv(8, kernel=3, stride=2, padding=1, bias=False)", (4, 4, 4), 1152),  # 9*4*8 * 2*2 outputs
    ("conv(6, kernel=3, groups=3, bias=False)", (9, 5, 5), 1458),  # 9*3*6 * 3*3 outputs
    ("conv(9, kernel=3, groups=9, bias=False)", (9, 5, 5), 729),  # 9*1*9 * 3*3 outputs
    ("conv(8, kernel=[1, 7], dilation=2, bias=False)", (4, 3, 13), 672),  # 7*4*8 * 3*1 outputs: dilation is free
    ("conv(64, kernel=7, stride=2, padding=3, bias=False)", (3, 224, 224), 118_013_952),  # 49*3*64 * 112*112
    ("conv_transpose(8, kernel=2, stride=2, bias=True)", (4, 4, 4), 2048),  # 4 positions * 4 in * 8 out * 4*4 inputs
    ("conv_transpose(8, kernel=3, padding=2, bias=False)", (4, 4, 4), 4608),  # 9*4*8 * 4*4: what is cut off counts
    ("conv_transpose(6, kernel=3, groups=3, bias=False)", (9, 5, 5), 4050),  # 9*9*2 * 5*5 inputs
    ("linear(1000, bias=True)", (2048,), 2_048_000),  # 2048*1000
    ("linear(10, bias=False)", (4, 5, 6), 1200),  # 6*10 for each of 4*5 rows
    ("batchnorm", (4, 7, 7), 0),
    ("relu", (4, 7, 7), 0),
    ("silu", (4, 7, 7), 0),
    ("relu6", (4, 7, 7), 0),
    ("hardswish", (4, 7, 7), 0),
    ("hardsigmoid", (4, 7, 7), 0),
    ("sigmoid", (4, 7, 7), 0),
    ("maxpool(2)", (4, 7, 7), 0),
    ("avgpool(2)", (4, 7, 7), 0),
    ("adaptive_avgpool(1)", (4, 7, 7), 0),
    ("flatten", (4, 7, 7), 0),
    ("dropout", (4, 7, 7), 0),
    ("groupnorm(2)", (4, 7, 7), 0),
    ("drop_path(0.2)", (4, 7, 7), 0),
    ("pad_channels(9)", (4, 7, 7), 0),
]


@pytest.mark.parametrize(("text", "x", "macs"), MACS, ids=map(ids, MACS))
def test_macs(text: str, x: Shape, macs: int) -> None:
    """Multiply-adds are those worked by hand."""
    op = read(text)
    assert macs == op.macs(x, op.shape(x))


# Windows: kernel, stride, padding, dilation, transposed; rows and columns.

EVERYTHING = None
WINDOWS: list[tuple[str, Shape, Any]] = [
    ("conv(8, kernel=3, bias=False)", (4, 9, 9), (Slide(3, 1, 0), Slide(3, 1, 0))),
    ("conv(8, kernel=7, stride=2, padding=3, bias=False)", (4, 9, 9), (Slide(7, 2, 3), Slide(7, 2, 3))),
    ("conv(8, kernel=3, dilation=2, padding=2, bias=False)", (4, 9, 9), (Slide(3, 1, 2, 2), Slide(3, 1, 2, 2))),
    ("conv(8, kernel=[1, 7], padding=[0, 3], bias=False)", (4, 9, 9), (Slide(1, 1, 0), Slide(7, 1, 3))),
    ("conv(8, kernel=3, stride=[2, 1], dilation=[1, 3], bias=False)", (4, 9, 9), (Slide(3, 2, 0), Slide(3, 1, 0, 3))),
    (
        "conv_transpose(8, kernel=[2, 3], stride=2, padding=1, output_padding=1, dilation=[1, 2], bias=False)",
        (4, 9, 9),
        (Slide(2, 2, 1, 1, True), Slide(3, 2, 1, 2, True)),
    ),
    ("linear(10, bias=True)", (9,), EVERYTHING),
    ("batchnorm", (4, 9, 9), (POINT, POINT)),
    ("relu", (4, 9, 9), (POINT, POINT)),
    ("silu", (4, 9, 9), (POINT, POINT)),
    ("relu6", (4, 9, 9), (POINT, POINT)),
    ("hardswish", (4, 9, 9), (POINT, POINT)),
    ("hardsigmoid", (4, 9, 9), (POINT, POINT)),
    ("sigmoid", (4, 9, 9), (POINT, POINT)),
    ("maxpool(2)", (4, 9, 9), (Slide(2, 2, 0), Slide(2, 2, 0))),
    ("maxpool(3, stride=2, padding=1)", (4, 9, 9), (Slide(3, 2, 1), Slide(3, 2, 1))),
    ("maxpool([2, 3], stride=1, dilation=[3, 1])", (4, 9, 9), (Slide(2, 1, 0, 3), Slide(3, 1, 0))),
    ("avgpool([3, 2], stride=[2, 1], padding=[1, 0])", (4, 9, 9), (Slide(3, 2, 1), Slide(2, 1, 0))),
    ("adaptive_avgpool(1)", (4, 9, 9), EVERYTHING),
    ("flatten", (4, 9, 9), EVERYTHING),
    ("dropout", (4, 9, 9), (POINT, POINT)),
    ("groupnorm(2)", (4, 9, 9), (POINT, POINT)),  # its statistics aside, see below
    ("drop_path(0.2)", (4, 9, 9), (POINT, POINT)),
    ("pad_channels(9)", (4, 9, 9), (POINT, POINT)),
]


@pytest.mark.parametrize(("text", "x", "window"), WINDOWS, ids=map(ids, WINDOWS))
def test_window(text: str, x: Shape, window: Any) -> None:
    """The receptive field of one op is that of its kernel."""
    assert window == read(text).window(x)


# Modules: what a spec's op is in torch. Every argument reaches it.

MODULES: list[tuple[str, Shape, nn.Module]] = [
    ("conv(8, kernel=3, bias=False)", (4, 9, 9), nn.Conv2d(4, 8, 3, bias=False)),
    (
        "conv(8, kernel=[1, 7], stride=[2, 3], padding=[0, 5], dilation=[4, 1], groups=2, bias=True)",
        (4, 9, 9),
        nn.Conv2d(4, 8, (1, 7), (2, 3), (0, 5), (4, 1), 2),
    ),
    ("conv_transpose(8, kernel=3, bias=False)", (4, 9, 9), nn.ConvTranspose2d(4, 8, 3, bias=False)),
    (
        "conv_transpose(8, kernel=[2, 3], stride=[2, 3], padding=[0, 1], output_padding=[1, 2], dilation=[4, 1], "
        "groups=2, bias=True)",
        (4, 9, 9),
        nn.ConvTranspose2d(4, 8, (2, 3), (2, 3), (0, 1), (1, 2), 2, dilation=(4, 1)),
    ),
    ("linear(10, bias=True)", (512,), nn.Linear(512, 10)),
    ("linear(10, bias=False)", (4, 5, 6), nn.Linear(6, 10, bias=False)),
    ("batchnorm", (4, 9, 9), nn.BatchNorm2d(4)),
    ("batchnorm(eps=0.001, momentum=0.01)", (4,), nn.BatchNorm1d(4, eps=0.001, momentum=0.01)),
    ("relu", (4, 9, 9), nn.ReLU()),
    ("silu", (4, 9, 9), nn.SiLU()),
    ("relu6", (4, 9, 9), nn.ReLU6()),
    ("hardswish", (4, 9, 9), nn.Hardswish()),
    ("hardsigmoid", (4, 9, 9), nn.Hardsigmoid()),
    ("sigmoid", (4, 9, 9), nn.Sigmoid()),
    ("maxpool(2)", (4, 9, 9), nn.MaxPool2d((2, 2), (2, 2), (0, 0), (1, 1))),
    (
        "maxpool([2, 3], stride=[3, 1], padding=[1, 0], dilation=[1, 2], ceil_mode=True)",
        (4, 9, 9),
        nn.MaxPool2d((2, 3), (3, 1), (1, 0), (1, 2), ceil_mode=True),
    ),
    ("avgpool(2)", (4, 9, 9), nn.AvgPool2d((2, 2), (2, 2), (0, 0))),
    (
        "avgpool([2, 3], stride=[3, 1], padding=[1, 0], ceil_mode=True, count_include_pad=False)",
        (4, 9, 9),
        nn.AvgPool2d((2, 3), (3, 1), (1, 0), True, False),
    ),
    ("adaptive_avgpool([2, 3])", (4, 9, 9), nn.AdaptiveAvgPool2d((2, 3))),
    ("flatten", (4, 9, 9), nn.Flatten()),
    ("dropout", (4, 9, 9), nn.Dropout()),
    ("dropout(0.2)", (4, 9, 9), nn.Dropout(0.2)),
    ("groupnorm(2)", (4, 9, 9), nn.GroupNorm(2, 4)),
    ("groupnorm(4, eps=0.001)", (4, 9, 9), nn.GroupNorm(4, 4, eps=0.001)),
    ("drop_path(0.2)", (4, 9, 9), StochasticDepth(0.2, "row")),
    ("pad_channels(9)", (4, 9, 9), nn.ZeroPad3d((0, 0, 0, 0, 0, 5))),
    ("pad_channels(9, before=2)", (4, 9, 9), nn.ZeroPad3d((0, 0, 0, 0, 2, 3))),
]


def settings(module: nn.Module) -> dict[str, Any]:
    """Everything that a torch module was told, tensors not counted."""
    return {k: v for k, v in vars(module).items() if not k.startswith("_")} | {
        "class": type(module),
        "state": [(name, list(t.shape)) for name, t in module.state_dict().items()],
    }


@pytest.mark.parametrize(("text", "x", "module"), MODULES, ids=map(ids, MODULES))
def test_module(text: str, x: Shape, module: nn.Module) -> None:
    """The torch module is the one written by hand, with torch's own defaults where none is given."""
    assert settings(module) == settings(read(text).build(LAYERS, x, inplace=False))


INPLACE = {
    "relu": nn.ReLU(inplace=True),
    "silu": nn.SiLU(inplace=True),
    "relu6": nn.ReLU6(inplace=True),
    "hardswish": nn.Hardswish(inplace=True),
    "hardsigmoid": nn.Hardsigmoid(inplace=True),
}


@pytest.mark.parametrize(("text", "x"), [row[:2] for row in MODULES], ids=map(ids, MODULES))
def test_only_some_activations_write_in_place(text: str, x: Shape) -> None:
    """Where the input may be overwritten, most activations do so; nothing else changes."""
    op = read(text)
    expected = INPLACE.get(text, op.build(LAYERS, x, inplace=False))
    assert settings(expected) == settings(op.build(LAYERS, x, inplace=True))


# Errors: what is refused, the argument blamed, the words. Then what torch does: a call that raises too, or, where the
# language is stricter than torch, the reason.

MANY = torch.zeros(2, 4, 5, 5)
FLAT = torch.zeros(2, 5)
ERRORS: list[tuple[str, Shape, str | None, str, Callable[[], Any] | str]] = [
    (
        "conv(8, kernel=6, bias=False)",
        (4, 5, 5),
        "kernel",
        "the kernel spans 6, larger than its input of 5",
        lambda: nn.Conv2d(4, 8, 6)(MANY),
    ),
    (
        "conv(8, kernel=4, dilation=3, padding=2, bias=False)",  # 3*3 + 1
        (4, 5, 5),
        "kernel",
        "the kernel spans 10, larger than its input of 5 + 2*2",
        lambda: nn.Conv2d(4, 8, 4, dilation=3, padding=2)(MANY),
    ),
    (
        "conv(9, kernel=3, groups=3, bias=False)",
        (4, 5, 5),
        "groups",
        "4 input channels are not divisible by 3 groups",
        lambda: nn.Conv2d(4, 9, 3, groups=3),
    ),
    (
        "conv(9, kernel=3, groups=2, bias=False)",
        (4, 5, 5),
        "groups",
        "9 output channels are not divisible by 2 groups",
        lambda: nn.Conv2d(4, 9, 3, groups=2),
    ),
    (
        "conv_transpose(8, kernel=3, stride=2, output_padding=2, bias=False)",
        (4, 5, 5),
        "output_padding",
        "output_padding 2 is not smaller than the stride 2 or the dilation 1",
        lambda: nn.ConvTranspose2d(4, 8, 3, 2, output_padding=2)(MANY),
    ),
    (
        "conv_transpose(8, kernel=3, padding=4, bias=False)",  # 4 - 8 + 2 + 1
        (4, 5, 5),
        "padding",
        "padding 4 cuts off everything that 5 elements make",
        lambda: nn.ConvTranspose2d(4, 8, 3, padding=4)(MANY),
    ),
    (
        "conv_transpose(9, kernel=3, groups=3, bias=False)",
        (4, 5, 5),
        "groups",
        "4 input channels are not divisible by 3 groups",
        lambda: nn.ConvTranspose2d(4, 9, 3, groups=3),
    ),
    (
        "conv_transpose(8, kernel=3, bias=False)",
        (5,),
        None,
        "conv_transpose needs an input C H W, found 5",
        lambda: nn.ConvTranspose2d(4, 8, 3)(FLAT),
    ),
    (
        "conv(8, kernel=3, bias=False)",
        (5,),
        None,
        "conv needs an input C H W, found 5",
        lambda: nn.Conv2d(4, 8, 3)(FLAT),
    ),
    ("conv(0, kernel=3, bias=False)", (4, 5, 5), "out", "out is 0", "torch builds a layer without outputs"),
    ("conv(-8, kernel=3, bias=False)", (4, 5, 5), "out", "out is -8", lambda: nn.Conv2d(4, -8, 3)),
    ("conv(True, kernel=3, bias=False)", (4, 5, 5), "out", "out is True", "torch takes True for 1"),
    ("conv(7/2, kernel=3, bias=False)", (4, 5, 5), "out", "out is 3.5", lambda: nn.Conv2d(4, 3.5, 3)),
    ("conv([8, 8], kernel=3, bias=False)", (4, 5, 5), "out", "out is the list [8, 8]", lambda: nn.Conv2d(4, (8, 8), 3)),
    (
        "conv(8, kernel=0, bias=False)",
        (4, 5, 5),
        "kernel",
        "kernel is 0",
        lambda: functional.conv2d(MANY, torch.zeros(8, 4, 0, 0)),
    ),
    ("conv(8, kernel=1.5, bias=False)", (4, 5, 5), "kernel", "kernel is 1.5", lambda: nn.Conv2d(4, 8, 1.5)(MANY)),
    (
        "conv(8, kernel=[3], bias=False)",
        (4, 5, 5),
        "kernel",
        "kernel is the list [3]",
        "torch takes one number in a list for both axes",
    ),
    (
        "conv(8, kernel=[3, 3, 3], bias=False)",
        (4, 5, 5),
        "kernel",
        "kernel is the list [3, 3, 3]",
        lambda: nn.Conv2d(4, 8, (3, 3, 3))(MANY),
    ),
    (
        "conv(8, kernel=relu, bias=False)",
        (4, 5, 5),
        "kernel",
        "kernel is the op relu",
        lambda: nn.Conv2d(4, 8, nn.ReLU),
    ),
    ("conv(8, kernel=[3, True], bias=False)", (4, 5, 5), "kernel", "kernel is True", "torch takes True for 1"),
    (
        "conv(8, kernel=3, stride=0, bias=False)",
        (4, 5, 5),
        "stride",
        "stride is 0",
        lambda: nn.Conv2d(4, 8, 3, 0)(MANY),
    ),
    (
        "conv(8, kernel=3, padding=-1, bias=False)",
        (4, 5, 5),
        "padding",
        "padding is -1",
        lambda: nn.Conv2d(4, 8, 3, padding=-1)(MANY),
    ),
    (
        "conv(8, kernel=3, dilation=0, bias=False)",
        (4, 5, 5),
        "dilation",
        "dilation is 0",
        lambda: nn.Conv2d(4, 8, 3, dilation=0)(MANY),
    ),
    (
        "conv(8, kernel=3, groups=0, bias=False)",
        (4, 5, 5),
        "groups",
        "groups is 0",
        lambda: nn.Conv2d(4, 8, 3, groups=0),
    ),
    ("conv(8, kernel=3, bias=1)", (4, 5, 5), "bias", "bias is 1", "torch takes any number for a flag"),
    ("linear(0, bias=False)", (5,), "out", "out is 0", "torch builds a layer without outputs"),
    ("linear(8, bias=0)", (5,), "bias", "bias is 0", "torch takes any number for a flag"),
    ("batchnorm(eps=0)", (4, 5, 5), "eps", "eps is 0", "torch divides by the root of the variance alone"),
    ("batchnorm(eps=-1)", (4, 5, 5), "eps", "eps is -1", "torch gives NaN"),
    ("batchnorm(eps=True)", (4, 5, 5), "eps", "eps is True", "torch takes True for 1"),
    ("batchnorm(momentum=1.1)", (4, 5, 5), "momentum", "momentum is 1.1", "torch lets running statistics overshoot"),
    ("batchnorm(momentum=-0.1)", (4, 5, 5), "momentum", "momentum is -0.1", "torch lets running statistics diverge"),
    (
        "batchnorm",
        (4, 5),
        None,
        "batchnorm needs an input C H W or C, found 4 5",
        "torch takes sequences, which no op of the language makes",
    ),
    (
        "maxpool(6)",
        (4, 5, 5),
        "kernel",
        "the kernel spans 6, larger than its input of 5",
        lambda: nn.MaxPool2d(6)(MANY),
    ),
    (
        "maxpool(7, stride=2, ceil_mode=True)",  # ceil(-2/2) + 1 = 0
        (4, 5, 5),
        "kernel",
        "the kernel spans 7, larger than its input of 5",
        lambda: nn.MaxPool2d(7, 2, ceil_mode=True)(MANY),
    ),
    (
        "maxpool(3, padding=2)",
        (4, 5, 5),
        "padding",
        "padding 2 is more than half of the kernel 3",
        lambda: nn.MaxPool2d(3, padding=2)(MANY),
    ),
    (
        "maxpool(3, padding=2, dilation=2)",  # torch's rule speaks of the kernel, not of what it spans
        (4, 5, 5),
        "padding",
        "padding 2 is more than half of the kernel 3",
        lambda: nn.MaxPool2d(3, padding=2, dilation=2)(MANY),
    ),
    ("maxpool(2)", (5,), None, "maxpool needs an input C H W, found 5", lambda: nn.MaxPool2d(2)(FLAT)),
    ("maxpool(2, stride=0)", (4, 5, 5), "stride", "stride is 0", lambda: nn.MaxPool2d(2, 0)(MANY)),
    ("maxpool(2, ceil_mode=1)", (4, 5, 5), "ceil_mode", "ceil_mode is 1", "torch takes any number for a flag"),
    (
        "avgpool([1, 6])",
        (4, 5, 5),
        "kernel",
        "the kernel spans 6, larger than its input of 5",
        lambda: nn.AvgPool2d((1, 6))(MANY),
    ),
    (
        "avgpool(1, padding=1)",
        (4, 5, 5),
        "padding",
        "padding 1 is more than half of the kernel 1",
        lambda: nn.AvgPool2d(1, padding=1)(MANY),
    ),
    ("avgpool(2)", (5,), None, "avgpool needs an input C H W, found 5", lambda: nn.AvgPool2d(2)(FLAT)),
    ("adaptive_avgpool(0)", (4, 5, 5), "out", "out is 0", "torch gives a map without elements"),
    (
        "adaptive_avgpool(1)",
        (5,),
        None,
        "adaptive_avgpool needs an input C H W, found 5",
        "torch takes features for an image without channels",
    ),
    ("dropout(1.5)", (4, 5, 5), "p", "p is 1.5", lambda: nn.Dropout(1.5)),
    ("dropout(-0.1)", (4, 5, 5), "p", "p is -0.1", lambda: nn.Dropout(-0.1)),
    ("dropout(False)", (4, 5, 5), "p", "p is False", "torch takes False for 0"),
    ("dropout([1])", (4, 5, 5), "p", "p is the list [1]", lambda: nn.Dropout([1])),
    (
        "groupnorm(3)",
        (4, 5, 5),
        "groups",
        "4 channels are not divisible by 3 groups",
        lambda: nn.GroupNorm(3, 4),
    ),
    ("groupnorm(0)", (4, 5, 5), "groups", "groups is 0", "torch divides by zero"),
    (
        "groupnorm(5)",
        (5,),
        "groups",
        "every group is one value, whose deviation is 0",
        lambda: nn.GroupNorm(5, 5)(FLAT[:1]),
    ),
    ("groupnorm(2, eps=0)", (4, 5, 5), "eps", "eps is 0", "torch divides by the root of the variance alone"),
    (
        "groupnorm(2)",
        (4, 5),
        None,
        "groupnorm needs an input C H W or C, found 4 5",
        "torch takes sequences, which no op of the language makes",
    ),
    ("drop_path(1.5)", (4, 5, 5), "p", "p is 1.5", lambda: StochasticDepth(1.5, "row")(MANY)),
    ("drop_path(-0.1)", (4, 5, 5), "p", "p is -0.1", lambda: StochasticDepth(-0.1, "row")(MANY)),
    ("pad_channels(3)", (4, 5, 5), "out", "4 channels do not fit into 3", "torch cuts channels off"),
    (
        "pad_channels(9, before=6)",
        (4, 5, 5),
        "out",
        "4 channels after 6 of zeros do not fit into 9",
        "torch cuts channels off",
    ),
    ("pad_channels(9, before=-1)", (4, 5, 5), "before", "before is -1", "torch cuts channels off"),
    ("pad_channels(9)", (5,), None, "pad_channels needs an input C H W, found 5", lambda: nn.ZeroPad3d(1)(FLAT)),
]


@pytest.mark.parametrize(("text", "x", "argument", "message", "in_torch"), ERRORS, ids=map(ids, ERRORS))
def test_error(text: str, x: Shape, argument: str | None, message: str, in_torch: Callable[[], Any] | str) -> None:
    """A wrong argument is refused in these words; torch raises too, or the row says why the language is stricter."""
    with pytest.raises(OpError) as error:
        read(text).shape(x)
    assert (message, argument) == (error.value.message, error.value.argument)
    if not isinstance(in_torch, str):
        with pytest.raises((RuntimeError, ValueError, TypeError, IndexError)):
            in_torch()


# Every op is in every table.

TABLES = {"SHAPES": SHAPES, "STATE": STATE, "MACS": MACS, "WINDOWS": WINDOWS, "MODULES": MODULES}


def without_a_row() -> set[str]:
    """Ops that a table does not speak of."""
    return {f"{name} in {table}" for table, rows in TABLES.items() for name in OPS.keys() - set(map(op_name, rows))}


def test_every_op_has_a_row_in_every_table() -> None:
    """No op is without a case worked by hand for each of its rules."""
    assert set() == without_a_row()


def test_an_op_without_rows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the test above: a new op fails it in each table."""
    monkeypatch.setitem(OPS, "tanh", Activation)
    assert {f"tanh in {table}" for table in TABLES} == without_a_row()


# Sweeps: random arguments, legal or not, held against torch.


SLIDING = ("conv", "conv_transpose", "maxpool", "avgpool")


def random_arguments(rng: random.Random, name: str) -> dict[str, Any]:
    """Arguments of the right kinds. The sizes are small, so that many do not fit."""

    def pair(low: int, high: int) -> Any:
        number = rng.randint(low, high)
        return number if rng.random() < 0.5 else (number, rng.randint(low, high))

    def some(**choices: Any) -> dict[str, Any]:
        return {k: v for k, v in choices.items() if rng.random() < 0.5}

    flag = rng.random() < 0.5
    match name:
        case "conv":
            optional = some(stride=pair(1, 4), padding=pair(0, 4), dilation=pair(1, 3), groups=rng.choice([1, 2, 3, 6]))
            return {"out": rng.choice([1, 2, 6, 12]), "kernel": pair(1, 5), "bias": flag, **optional}
        case "conv_transpose":
            optional = some(stride=pair(1, 4), padding=pair(0, 3), dilation=pair(1, 3), groups=rng.choice([1, 2, 3, 6]))
            optional |= some(output_padding=pair(0, 3))
            return {"out": rng.choice([1, 2, 6, 12]), "kernel": pair(1, 5), "bias": flag, **optional}
        case "linear":
            return {"out": rng.randint(1, 9), "bias": flag}
        case "maxpool":
            optional = some(stride=pair(1, 4), padding=pair(0, 2), dilation=pair(1, 3), ceil_mode=flag)
            return {"kernel": pair(1, 5), **optional}
        case "avgpool":
            optional = some(stride=pair(1, 4), padding=pair(0, 2), ceil_mode=flag, count_include_pad=flag)
            return {"kernel": pair(1, 5), **optional}
        case "adaptive_avgpool":
            return {"out": pair(1, 9)}
        case "batchnorm":
            return some(eps=Fraction(1, 1000), momentum=Fraction(1, 100))
        case "groupnorm":
            return {"groups": rng.choice([1, 2, 3, 6]), **some(eps=Fraction(1, 1000))}
        case "dropout":
            return some(p=Fraction(1, 4))
        case "drop_path":
            return {"p": Fraction(1, 4)}
        case "pad_channels":
            return {"out": rng.randint(9, 12), **some(before=rng.randint(0, 3))}
    return {}


@pytest.mark.parametrize("name", OPS)
def test_every_argument_is_drawn(name: str) -> None:
    """An op with an argument that is never drawn would be tried with its default alone."""
    rng = random.Random(0)
    drawn = {argument for _ in range(100) for argument in random_arguments(rng, name)}
    assert drawn == {field.name for field in fields(OPS[name])}


def random_input(rng: random.Random, name: str) -> Shape:
    """An image, or now and then features."""
    if rng.random() < 0.1 and name not in ("adaptive_avgpool", "pad_channels"):  # see ERRORS
        return (rng.randint(1, 9),)
    return rng.choice([1, 2, 6]), rng.randint(1, 12), rng.randint(1, 12)


def in_torch(op: Op, x: Shape) -> tuple[nn.Module, Shape, int] | None:
    """The module, its output shape for one image and its multiply-adds; None where torch refuses."""
    counter = FlopCounterMode(display=False)
    try:
        # a transposed convolution on meta takes an output_padding that those on real tensors refuse
        with torch.device("cpu" if op.name == "conv_transpose" else "meta"):
            module = op.build(LAYERS, x, inplace=False).eval()
            with counter:
                y = module(torch.zeros(1, *x))
    except (RuntimeError, ValueError, IndexError):
        return None
    if 0 in y.shape:  # a transposed convolution whose padding cuts off exactly all; torch takes it
        return None
    assert counter.get_total_flops() % 2 == 0
    return module, tuple(y.shape[1:]), counter.get_total_flops() // 2


@pytest.mark.parametrize("name", OPS)
def test_an_op_agrees_with_torch(name: str) -> None:
    """On random arguments and inputs, an op is refused where torch refuses it, else its shapes and MACs are torch's."""
    rng = random.Random(name)
    legal = 0
    for _ in range(600 if name in SLIDING else 80):
        op, x = ops.make(OPS[name], random_arguments(rng, name)), random_input(rng, name)
        try:
            y = op.shape(x)
        except OpError:
            assert in_torch(op, x) is None, f"{op} on {x}: torch takes it"
            continue
        found = in_torch(op, x)
        assert found is not None, f"{op} on {x}: torch refuses it"
        module, torch_y, torch_macs = found
        legal += 1
        assert torch_y == y, f"{op} on {x}"
        assert torch_macs == op.macs(x, y), f"{op} on {x}"
        assert [(n, tuple(p.shape)) for n, p in module.named_parameters()] == list(op.params(x).items()), f"{op} on {x}"
        assert [(n, tuple(b.shape)) for n, b in module.named_buffers()] == list(op.buffers(x).items()), f"{op} on {x}"
    assert legal >= 30  # the sweep is not made of errors


def influence(module: nn.Module, x: Shape, axis: int) -> torch.Tensor:
    """The output rows (or columns) that change with each input row: (inputs, outputs) of booleans."""
    images = torch.zeros(x[axis] + 1, *x)  # the last one is left at 0
    for i in range(x[axis]):
        images[i].select(axis, i).fill_(1)
    with torch.no_grad():
        y = module.eval()(images)
    changed = y[:-1] != y[-1]
    return changed.movedim(axis + 1, -1).flatten(1, -2).any(1)


SEE_EVERYTHING = ("linear", "flatten", "adaptive_avgpool", "groupnorm")


@pytest.mark.parametrize("name", [n for n in OPS if n not in SEE_EVERYTHING])
def test_a_window_is_what_an_output_reacts_to(name: str) -> None:
    """A unit of an axis reacts to the inputs from the first on that it sees to the last, these included; or to none."""
    rng = random.Random(name)
    units = 0
    x = (6, 16, 17)
    for _ in range(150 if name in SLIDING else 3):
        op = ops.make(OPS[name], random_arguments(rng, name))
        try:
            op.shape(x)
        except OpError:
            continue
        window = op.window(x)
        assert window is not None
        module = op.build(LAYERS, x, inplace=False)
        for parameter in module.parameters():
            nn.init.constant_(parameter, 0.5)  # positive: nothing cancels
        for axis, slide in enumerate(window, start=1):
            reacts, along = influence(module, x, axis), over(PIXEL, slide)
            for k in range(reacts.shape[1]):
                first, size = span(along, k)
                if first < 0 or first + size > x[axis]:
                    continue  # partly in the padding
                seen = reacts[:, k].nonzero().flatten().tolist()
                found = (seen[0], seen[-1] - seen[0] + 1) if seen else (0, 0)
                assert found == (first, size), f"{op} on {x}, unit {k} of axis {axis}"
                units += 1
    assert units >= 90


def test_a_norm_of_groups_sees_the_map() -> None:
    """Beside its window, which is a point, the statistics of the map reach every unit; no other op says so."""
    op = read("groupnorm(2)")
    module = op.build(LAYERS, (4, 5, 6), inplace=False)
    nn.init.uniform_(module.weight, 0.5, 1)
    assert all(influence(module, (4, 5, 6), axis).all() for axis in (1, 2))
    assert [name for name, cls in OPS.items() if cls.sees_the_map] == ["groupnorm"]


def test_drop_path_drops_images() -> None:
    """In train mode an image is 0 everywhere, or divided by 1 - p; in eval mode nothing happens."""
    module = read("drop_path(0.25)").build(LAYERS, (4, 5, 6), inplace=False)
    x = torch.ones(400, 4, 5, 6)
    torch.manual_seed(0)
    values = module.train()(x).flatten(1)
    assert torch.equal(values.amin(1), values.amax(1))
    assert set(values[:, 0].tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert 70 <= (values[:, 0] == 0).sum() <= 130  # 100 of 400 are expected
    assert torch.equal(x, module.eval()(x))


def test_channels_are_padded_where_it_is_said() -> None:
    """2 of zeros, the 3 that were there, 1 of zeros."""
    x = torch.randn(2, 3, 4, 5)
    y = read("pad_channels(6, before=2)").build(LAYERS, (3, 4, 5), inplace=False)(x)
    zeros = torch.zeros(2, 1, 4, 5)
    assert torch.equal(torch.cat([zeros, zeros, x, zeros], 1), y)


def reached(op: Op, x: Shape, overwrite: bool, training: bool) -> list[torch.Tensor]:
    """Gradients of the input and the parameters under a loss of twice the output, doubled in place or not."""
    torch.manual_seed(0)
    module = op.build(LAYERS, x, inplace=False).double().train(training)
    image = torch.randn(3, *x, dtype=torch.float64, requires_grad=True)
    before = image.detach().clone()
    y = module(image)
    y = y.mul_(2) if overwrite else y * 2
    (y * y).sum().backward()
    assert torch.equal(before, image)
    return [image.grad, *(p.grad for p in module.parameters())]


def may_be_overwritten(op: Op, x: Shape, training: bool) -> bool:
    """Whether writing over the op's output changes neither its input nor any gradient."""
    try:
        found = reached(op, x, overwrite=True, training=training)
    except (RuntimeError, AssertionError):
        return False
    return all(torch.equal(a, b) for a, b in zip(reached(op, x, False, training), found, strict=True))


class Copy(nn.Module):
    """What gives a copy of its input, which nobody needs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.clone()


FRESH = [row for row in SHAPES if read(row[0]).writes_fresh and row[1] != (3, 224, 224)]


@pytest.mark.parametrize(("text", "x", "_"), FRESH, ids=map(ids, FRESH))
def test_a_fresh_output_may_be_overwritten(text: str, x: Shape, _: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an op that `writes_fresh` gives belongs to nobody else, and no gradient needs it; a bare input would."""
    op = read(text)
    assert may_be_overwritten(op, x, training=True)
    assert may_be_overwritten(op, x, training=False)
    monkeypatch.setattr(type(op), "build", lambda *_, inplace: nn.Identity())
    assert not may_be_overwritten(op, x, training=True)


NEEDED = [  # each with the mode in which the output is the input itself, or needed for the gradient
    ("relu", True),
    ("sigmoid", True),
    ("flatten", True),
    ("dropout", False),
    ("drop_path(0.5)", False),
]


@pytest.mark.parametrize(("text", "training"), NEEDED, ids=[text for text, _ in NEEDED])
def test_an_output_that_is_needed_may_not_be_overwritten(
    text: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These give their input itself, or need their output for the gradient; over a copy one might write."""
    op = read(text)
    assert not op.writes_fresh
    assert not may_be_overwritten(op, (4, 3, 3), training)
    monkeypatch.setattr(type(op), "build", lambda *_, inplace: Copy())
    assert may_be_overwritten(op, (4, 3, 3), training)


@pytest.mark.parametrize("training", [True, False])
def test_silu_claims_less_than_it_might(training: bool) -> None:
    """Its gradient needs its input alone, so that its output might be written over; it does not say so."""
    assert may_be_overwritten(read("silu"), (4, 3, 3), training)
    assert not read("silu").writes_fresh


# Sizes that no network has. Everything is exact, and nothing takes long.

BIG = 10**12


def test_a_huge_convolution_is_counted_exactly() -> None:
    """A trillion outputs and a kernel of a trillion rows are numbers like others."""
    conv = read(f"conv({BIG}, kernel={BIG}, padding={BIG}, stride={BIG}, dilation={BIG}, bias=True)")
    assert OpError is raised_by(lambda: conv.shape((4, 5, 5)))  # it spans 10^24, the padded input 2*10^12 + 5
    conv = read(f"conv({BIG}, kernel={BIG}, padding={BIG}, stride={BIG}, bias=True)")
    y = conv.shape((4, 5, 5))
    assert y == (BIG, 2, 2)  # (2*10^12 + 5 - 10^12) // 10^12 + 1
    assert conv.params((4, 5, 5)) == {"weight": (BIG, 4, BIG, BIG), "bias": (BIG,)}
    assert conv.macs((4, 5, 5), y) == 16 * BIG**3  # 10^12 * 2*2 outputs, each reading 4 * 10^12 * 10^12
    assert (Slide(BIG, BIG, BIG), Slide(BIG, BIG, BIG)) == conv.window((4, 5, 5))


def raised_by(call: Callable[[], object]) -> type[Exception] | None:
    """The class of the error that a call raises."""
    try:
        call()
    except Exception as error:
        return type(error)
    return None


@pytest.mark.parametrize(
    ("text", "x", "y"),
    [
        (f"conv_transpose({BIG}, kernel={BIG}, stride={BIG}, bias=False)", (4, 5, 5), (BIG, 5 * BIG, 5 * BIG)),
        (f"linear({BIG}, bias=False)", (BIG,), (BIG,)),
        (f"maxpool({BIG}, ceil_mode=True)", (4, 5, 5), (4, 1, 1)),
        (f"avgpool(1, stride={BIG})", (4, 5, 5), (4, 1, 1)),
        (f"adaptive_avgpool({BIG})", (4, 5, 5), (4, BIG, BIG)),
        ("flatten", (BIG, BIG, BIG), (BIG**3,)),
        (f"conv({BIG}, kernel=1, groups={BIG}, bias=False)", (BIG, 1, 1), (BIG, 1, 1)),
    ],
)
def test_a_huge_op_has_a_shape(text: str, x: Shape, y: Shape) -> None:
    """The other ops take a trillion too."""
    assert y == read(text).shape(x)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("relu", "relu"),
        ("flatten()", "flatten"),
        ("conv(8, kernel=3, bias=False)", "conv(out=8, kernel=3, bias=False)"),
        ("conv(8, kernel=3, bias=False, stride=1, groups=1)", "conv(out=8, kernel=3, bias=False)"),
        ("conv(8, kernel=[1, 7], bias=True, padding=[0, 3])", "conv(out=8, kernel=[1, 7], bias=True, padding=[0, 3])"),
        ("batchnorm(eps=0.001)", "batchnorm(eps=0.001)"),
        ("batchnorm(eps=1e-5)", "batchnorm"),
        ("maxpool(3, stride=2, padding=1)", "maxpool(kernel=3, stride=2, padding=1)"),
    ],
)
def test_describe(text: str, shown: str) -> None:
    """A listing shows what was given and is not the default."""
    assert shown == ops.describe(read(text))
