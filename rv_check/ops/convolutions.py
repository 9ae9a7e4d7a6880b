"""Convolutions, transposed ones, and the linear layer."""

from __future__ import annotations

from math import prod
from typing import Any

from rv_check.ops.arguments import IntPair, OpError, count, flag, pair, pair_from_zero
from rv_check.ops.kinds import Kind
from rv_check.ops.op import Op, Shape, Slides, arg, image, op, slide, slides


def _grouped(channels: int, out: int, groups: int) -> None:
    for number, which in ((channels, "input"), (out, "output")):
        if number % groups:
            raise OpError(f"{number} {which} channels are not divisible by {groups} groups", "groups")


@op(Kind("conv", "window", "input", "filter", family="layer", weighted=True, projects=True, worth=8.0))
class Conv(Op):
    """2-d convolution, (C, H, W) -> (out, H', W'). Source: torch.nn.Conv2d."""

    writes_fresh = True

    out: int = arg(count)
    kernel: IntPair = arg(pair)
    bias: bool = arg(flag)
    stride: IntPair = arg(pair, default=(1, 1))
    padding: IntPair = arg(pair_from_zero, default=(0, 0))
    dilation: IntPair = arg(pair, default=(1, 1))
    groups: int = arg(count, default=1)

    def shape(self, x: Shape) -> Shape:
        channels, _, _ = image(self.name, x)
        _grouped(channels, self.out, self.groups)
        return (self.out, *slide(self, x, self.dilation))

    def params(self, x: Shape) -> dict[str, Shape]:
        weight = (self.out, x[0] // self.groups, *self.kernel)
        return {"weight": weight} | ({"bias": (self.out,)} if self.bias else {})

    def macs(self, x: Shape, y: Shape) -> int:
        return prod(y) * (x[0] // self.groups) * prod(self.kernel)

    def window(self, x: Shape) -> Slides:
        return slides(self, self.dilation)

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.Conv2d(
            x[0], self.out, self.kernel, self.stride, self.padding, self.dilation, self.groups, bias=self.bias
        )


@op(Kind("conv_transpose", "window", "input", "spread", family="layer", weighted=True, projects=True, worth=8.0))
class ConvTranspose(Op):
    """2-d transposed convolution, (C, H, W) -> (out, H', W'). Source: torch.nn.ConvTranspose2d.

    Every input element is multiplied by the whole kernel, also where `padding` cuts the products off.
    """

    writes_fresh = True

    out: int = arg(count)
    kernel: IntPair = arg(pair)
    bias: bool = arg(flag)
    stride: IntPair = arg(pair, default=(1, 1))
    padding: IntPair = arg(pair_from_zero, default=(0, 0))
    output_padding: IntPair = arg(pair_from_zero, default=(0, 0))
    dilation: IntPair = arg(pair, default=(1, 1))
    groups: int = arg(count, default=1)

    def shape(self, x: Shape) -> Shape:
        channels, *sides = image(self.name, x)
        _grouped(channels, self.out, self.groups)
        out = []
        for at, side in enumerate(sides):
            stride, step, more = self.stride[at], self.dilation[at], self.output_padding[at]
            if more >= max(stride, step):
                what = f"output_padding {more} is not smaller than the stride {stride} or the dilation {step}"
                raise OpError(what, "output_padding")
            n = (side - 1) * stride - 2 * self.padding[at] + step * (self.kernel[at] - 1) + more + 1
            if n < 1:
                raise OpError(f"padding {self.padding[at]} cuts off everything that {side} elements make", "padding")
            out.append(n)
        return self.out, out[0], out[1]

    def params(self, x: Shape) -> dict[str, Shape]:
        weight = (x[0], self.out // self.groups, *self.kernel)
        return {"weight": weight} | ({"bias": (self.out,)} if self.bias else {})

    def macs(self, x: Shape, y: Shape) -> int:
        return prod(x) * (self.out // self.groups) * prod(self.kernel)

    def window(self, x: Shape) -> Slides:
        return slides(self, self.dilation, transposed=True)

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.ConvTranspose2d(
            *(x[0], self.out, self.kernel, self.stride, self.padding, self.output_padding, self.groups),
            bias=self.bias,
            dilation=self.dilation,
        )


@op(Kind("linear", "features", "input", "filter", family="layer", weighted=True, projects=True, worth=8.0))
class Linear(Op):
    """y = x W^T + b on the last axis, (..., in) -> (..., out). Source: torch.nn.Linear."""

    writes_fresh = True

    out: int = arg(count)
    bias: bool = arg(flag)

    def shape(self, x: Shape) -> Shape:
        return (*x[:-1], self.out)

    def params(self, x: Shape) -> dict[str, Shape]:
        return {"weight": (self.out, x[-1])} | ({"bias": (self.out,)} if self.bias else {})

    def macs(self, x: Shape, y: Shape) -> int:
        return prod(y) * x[-1]

    def window(self, x: Shape) -> Slides:
        return None

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.Linear(x[-1], self.out, bias=self.bias)
