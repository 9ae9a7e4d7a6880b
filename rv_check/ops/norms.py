"""Normalisations: over a batch, and over groups of channels."""

from __future__ import annotations

from math import prod
from typing import Any

from rv_check.ops.arguments import OpError, count, positive, rate
from rv_check.ops.kinds import Kind
from rv_check.ops.op import Op, Shape, arg, op


@op(Kind("batchnorm", "norm", "input", "nothing", family="norm", projects=True, worth=4.0))
class BatchNorm(Op):
    """Batch normalisation over the channels, shape kept. Source: torch.nn.BatchNorm2d, BatchNorm1d after a flatten."""

    writes_fresh = True

    eps: float = arg(positive, default=1e-5)
    momentum: float = arg(rate, default=0.1)

    def shape(self, x: Shape) -> Shape:
        if len(x) not in (1, 3):
            raise OpError(f"batchnorm needs an input C H W or C, found {' '.join(map(str, x))}")
        return x

    def params(self, x: Shape) -> dict[str, Shape]:
        return {"weight": (x[0],), "bias": (x[0],)}

    def buffers(self, x: Shape) -> dict[str, Shape]:
        return {"running_mean": (x[0],), "running_var": (x[0],), "num_batches_tracked": ()}

    def arguments(self, training: bool) -> dict[str, Any]:
        if not training:
            return {"eps": self.eps, "statistics": "running"}
        return {"eps": self.eps, "momentum": self.momentum, "statistics": "of the batch"}

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        cls = nn.BatchNorm2d if len(x) == 3 else nn.BatchNorm1d
        return cls(x[0], eps=self.eps, momentum=self.momentum)


@op(Kind("groupnorm", "norm", "input", "nothing", family="norm", projects=True, worth=4.0))
class GroupNorm(Op):
    """Normalisation of each of `groups` groups of channels over the map, shape kept. Source: torch.nn.GroupNorm.

    Wu & He 2018 (arXiv:1803.08494). Its statistics are those of one image alone, in train mode as in eval mode.
    """

    writes_fresh = True
    sees_the_map = True

    groups: int = arg(count)
    eps: float = arg(positive, default=1e-5)

    def shape(self, x: Shape) -> Shape:
        if len(x) not in (1, 3):
            raise OpError(f"groupnorm needs an input C H W or C, found {' '.join(map(str, x))}")
        if x[0] % self.groups:
            raise OpError(f"{x[0]} channels are not divisible by {self.groups} groups", "groups")
        if prod(x) == self.groups:  # torch refuses it of one image, and of several gives the bias
            raise OpError("every group is one value, whose deviation is 0", "groups")
        return x

    def params(self, x: Shape) -> dict[str, Shape]:
        return {"weight": (x[0],), "bias": (x[0],)}

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.GroupNorm(self.groups, x[0], eps=self.eps)
