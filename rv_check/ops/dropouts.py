"""What chance zeroes in training: single elements, or whole images."""

from __future__ import annotations

from typing import Any

from rv_check.ops.arguments import rate
from rv_check.ops.kinds import Kind
from rv_check.ops.op import Op, Shape, arg, op


@op(Kind("dropout", "itself", "nothing", "nothing", projects=True, worth=2.0, sign="kept"))
class Dropout(Op):
    """Zeroes elements with probability p in training, shape kept. Source: torch.nn.Dropout."""

    p: float = arg(rate, default=0.5)

    def shape(self, x: Shape) -> Shape:
        return x

    def arguments(self, training: bool) -> dict[str, Any] | None:
        return {"p": self.p, "of": "elements"} if training else None

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.Dropout(self.p)


@op(Kind("drop_path", "itself", "nothing", "nothing", projects=True))
class DropPath(Op):
    """Zeroes whole images with probability p in training, the others divided by 1 - p. Source: torchvision.ops.

    StochasticDepth(p, "row") there, DropPath in timm. Huang et al. 2016 (arXiv:1603.09382) drop a whole batch at once,
    and scale in eval mode instead.
    """

    p: float = arg(rate)

    def shape(self, x: Shape) -> Shape:
        return x

    def arguments(self, training: bool) -> dict[str, Any] | None:
        # it is observed to 12 digits, since the mask is made with 1 - p
        return {"p": round(self.p, 12), "of": "images"} if training else None

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.StochasticDepth(self.p, "row")
