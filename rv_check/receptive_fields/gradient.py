"""What a walk computes in torch: an image of one channel on which every window is a mean.

So the gradient of a unit is not zero exactly where the unit can see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rv_check.ops.arguments import IntPair
from rv_check.receptive_fields.walk import Window

if TYPE_CHECKING:
    from torch import Tensor


class GradientMaps:
    """Images (1, 1, H, W) in float64, along `axes`; along the other one, windows are those of one pixel.

    Every window is a mean. A gradient counts as 1 wherever it is not 0, since 50 layers of 3x3 divide by 1e47.
    """

    def __init__(self, axes: tuple[int, ...] = (0, 1)):
        self.axes = axes

    def window(self, x: Tensor, window: Window) -> Tensor:
        """The mean of each window; of a kernel of ones, so rows and columns go one after the other."""
        for axis in self.axes:
            x = self._along(x, axis, window)
        return self._marked(x)

    def _along(self, x: Tensor, axis: int, window: Window) -> Tensor:
        import torch
        from torch.nn.functional import conv2d, conv_transpose2d, max_pool1d, pad

        kernel, stride, before, after, dilation = (pair[axis] for pair in window[:5])
        shape, steps, dilations = ((n, 1) if axis == 0 else (1, n) for n in (kernel, stride, dilation))
        ones = torch.full((1, 1, *shape), 1 / kernel, dtype=x.dtype)
        if window.transposed:
            cut, more = ((n, 0) if axis == 0 else (0, n) for n in (before, after))
            return conv_transpose2d(x, ones, None, steps, cut, more, dilation=dilations)
        if window.ceil_mode:  # as many windows as torch's own pool has
            line = torch.empty((1, 1, x.shape[2 + axis]), device="meta")
            n = max_pool1d(line, kernel, stride, before, dilation, ceil_mode=True).shape[-1]
            after = (n - 1) * stride + dilation * (kernel - 1) + 1 - before - x.shape[2 + axis]
        x = pad(x, (0, 0, before, after) if axis == 0 else (before, after, 0, 0))
        if kernel == 1:
            return x[:, :, ::stride] if axis == 0 else x[:, :, :, ::stride]
        return conv2d(x, ones, stride=steps, dilation=dilations)

    def enlarged(self, x: Tensor, factors: IntPair, *, bilinear: bool) -> Tensor:
        """The maps as torch interpolates them."""
        from torch.nn.functional import interpolate

        scale = [float(factor) if axis in self.axes else 1.0 for axis, factor in enumerate(factors)]
        if bilinear:
            return self._marked(interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False))
        return self._marked(interpolate(x, scale_factor=scale, mode="nearest"))

    def union(self, maps: Sequence[Tensor]) -> Tensor:
        """Their sum."""
        return self._marked(sum(maps[1:], maps[0]))

    def _marked(self, x: Tensor) -> Tensor:
        if x.grad_fn is not None:
            x.register_hook(lambda gradient: (gradient > 0).to(gradient.dtype))  # type: ignore[no-untyped-call]
        return x
