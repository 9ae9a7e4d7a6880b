"""What moves elements and computes nothing."""

from __future__ import annotations

from math import prod
from typing import Any

from rv_check.ops.kinds import Kind
from rv_check.ops.op import Op, Shape, Slides, op


@op(Kind("flatten", "moved", "view", "nothing", moves=True))
class Flatten(Op):
    """(C, H, W) -> (C*H*W,). Source: torch.nn.Flatten."""

    def shape(self, x: Shape) -> Shape:
        return (prod(x),)

    def window(self, x: Shape) -> Slides:
        return None

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.Flatten()
