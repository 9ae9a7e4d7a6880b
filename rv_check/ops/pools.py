"""Pools: over windows, and to a given size."""

from __future__ import annotations

from typing import Any

from rv_check.ops.arguments import IntPair, OpError, flag, pair, pair_from_zero
from rv_check.ops.kinds import Kind
from rv_check.ops.op import Op, Shape, Slides, arg, image, op, slide, slides


def _pool_padding(op: Any) -> None:
    for kernel, padding in zip(op.kernel, op.padding, strict=True):
        if 2 * padding > kernel:
            raise OpError(f"padding {padding} is more than half of the kernel {kernel}", "padding")


@op(Kind("maxpool", "window", "input", "nothing", family="pool", sign="kept"))
class MaxPool(Op):
    """2-d max pooling, (C, H, W) -> (C, H', W'); stride is kernel unless given. Source: torch.nn.MaxPool2d."""

    kernel: IntPair = arg(pair)
    stride: IntPair | None = arg(pair, default=None)
    padding: IntPair = arg(pair_from_zero, default=(0, 0))
    dilation: IntPair = arg(pair, default=(1, 1))
    ceil_mode: bool = arg(flag, default=False)

    def __post_init__(self) -> None:
        if self.stride is None:
            object.__setattr__(self, "stride", self.kernel)

    def shape(self, x: Shape) -> Shape:
        _pool_padding(self)
        return (x[0], *slide(self, x, self.dilation, self.ceil_mode))

    def window(self, x: Shape) -> Slides:
        return slides(self, self.dilation)

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.MaxPool2d(self.kernel, self.stride, self.padding, self.dilation, ceil_mode=self.ceil_mode)


@op(Kind("avgpool", "window", "input", "nothing", family="pool", projects=True, sign="kept"))
class AvgPool(Op):
    """2-d average pooling, (C, H, W) -> (C, H', W'); stride is kernel unless given. Source: torch.nn.AvgPool2d."""

    kernel: IntPair = arg(pair)
    stride: IntPair | None = arg(pair, default=None)
    padding: IntPair = arg(pair_from_zero, default=(0, 0))
    ceil_mode: bool = arg(flag, default=False)
    count_include_pad: bool = arg(flag, default=True)

    def __post_init__(self) -> None:
        if self.stride is None:
            object.__setattr__(self, "stride", self.kernel)

    def shape(self, x: Shape) -> Shape:
        _pool_padding(self)
        return (x[0], *slide(self, x, (1, 1), self.ceil_mode))

    def window(self, x: Shape) -> Slides:
        return slides(self)

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.AvgPool2d(self.kernel, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


@op(Kind("adaptive_avgpool", "map", "input", "nothing", family="pool", sign="kept"))
class AdaptiveAvgPool(Op):
    """Average pooling to a given size, (C, H, W) -> (C, *out). Source: torch.nn.AdaptiveAvgPool2d."""

    out: IntPair = arg(pair)

    def shape(self, x: Shape) -> Shape:
        channels, _, _ = image(self.name, x)
        return (channels, *self.out)

    def window(self, x: Shape) -> Slides:
        return None  # its windows depend on the input size

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.AdaptiveAvgPool2d(self.out)
