"""What a walk computes in torch: an image of one channel on which every window is a mean.

So the gradient of a unit is not zero exactly where the unit can see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rv_check.receptive_fields.walk import Window, Windows

if TYPE_CHECKING:
    from torch import Tensor

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}  # what torch calls it, by the axes of a map


class GradientMaps:
    """Maps (1, 1, ...) of one to three axes in float64, along `axes`; along the others, windows are those of one pixel.

    Every window is a mean. A gradient counts as 1 wherever it is not 0, since 50 layers of 3x3 divide by 1e47.
    """

    def __init__(self, axes: tuple[int, ...] = (0, 1)):
        self.axes = axes

    def window(self, x: Tensor, windows: Windows) -> Tensor:
        """The mean of each window; of a kernel of ones, so one axis goes after the other."""
        for axis in self.axes:
            x = self._along(x, axis, windows[axis])
        return self._marked(x)

    def _along(self, x: Tensor, axis: int, window: Window) -> Tensor:
        import torch
        from torch.nn import functional as F

        kernel, stride, before, after, dilation = window[:5]
        n = x.dim() - 2

        def only(value: int, other: int = 1) -> list[int]:
            """What is given along that axis, beside the other ones."""
            return [value if at == axis else other for at in range(n)]

        ones = torch.full((1, 1, *only(kernel)), 1 / kernel, dtype=x.dtype)
        if window.transposed:
            spread = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n - 1]
            cut, more = only(before, 0), only(after, 0)
            return spread(x, ones, None, only(stride), cut, more, dilation=only(dilation))
        if window.ceil_mode:  # as many windows as torch's own pool has
            line = torch.empty((1, 1, x.shape[2 + axis]), device="meta")
            count = F.max_pool1d(line, kernel, stride, before, dilation, ceil_mode=True).shape[-1]
            after = (count - 1) * stride + dilation * (kernel - 1) + 1 - before - x.shape[2 + axis]
        x = F.pad(x, [end for at in reversed(range(n)) for end in ((before, after) if at == axis else (0, 0))])
        if kernel == 1:
            return x[(slice(None), slice(None), *(slice(None, None, step) for step in only(stride)))]
        return (F.conv1d, F.conv2d, F.conv3d)[n - 1](x, ones, stride=only(stride), dilation=only(dilation))

    def enlarged(self, x: Tensor, factors: Sequence[int], *, linear: bool) -> Tensor:
        """The maps as torch interpolates them."""
        from torch.nn.functional import interpolate

        scale = [float(factor) if axis in self.axes else 1.0 for axis, factor in enumerate(factors)]
        if linear:
            return self._marked(interpolate(x, scale_factor=scale, mode=MODES[len(scale)], align_corners=False))
        return self._marked(interpolate(x, scale_factor=scale, mode="nearest"))

    def union(self, maps: Sequence[Tensor]) -> Tensor:
        """Their sum."""
        return self._marked(sum(maps[1:], maps[0]))

    def _marked(self, x: Tensor) -> Tensor:
        if x.grad_fn is not None:
            x.register_hook(lambda gradient: (gradient > 0).to(gradient.dtype))  # type: ignore[no-untyped-call]
        return x
