"""What adds elements that are no input's."""

from __future__ import annotations

from typing import Any

from rv_check.ops.arguments import OpError, count, count_from_zero
from rv_check.ops.kinds import Kind
from rv_check.ops.op import Op, Shape, arg, image, op


@op(Kind("pad_channels", "itself", "nothing", "nothing", projects=True))
class PadChannels(Op):
    """Channels of zeros, `before` of them first, the rest last, (C, H, W) -> (out, H, W). Source: torch.nn.ZeroPad3d.

    It is the shortcut of option A (He et al. 2015, arXiv:1512.03385), where the side of the zeros is not told.
    """

    writes_fresh = True

    out: int = arg(count)
    before: int = arg(count_from_zero, default=0)

    def shape(self, x: Shape) -> Shape:
        channels, rows, columns = image(self.name, x)
        if channels + self.before > self.out:
            first = f" after {self.before} of zeros" if self.before else ""
            raise OpError(f"{channels} channels{first} do not fit into {self.out}", "out")
        return self.out, rows, columns

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.ZeroPad3d((0, 0, 0, 0, self.before, self.out - x[0] - self.before))
