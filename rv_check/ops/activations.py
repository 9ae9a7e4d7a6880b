"""Functions of single elements."""

from __future__ import annotations

from typing import Any, ClassVar

from rv_check.ops.kinds import Kind
from rv_check.ops.op import Op, Shape, op


class Activation(Op):
    """An elementwise function, shape kept."""

    module: ClassVar[str]

    def shape(self, x: Shape) -> Shape:
        return x

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        cls = getattr(nn, self.module)
        return cls(inplace=True) if inplace else cls()


@op(Kind("relu", "itself", "output", "nothing", family="activation", worth=2.0, sign="nonnegative"))
class Relu(Activation):
    """max(x, 0). Source: torch.nn.ReLU."""

    module = "ReLU"


@op(Kind("silu", "itself", "input", "nothing", family="activation"))
class Silu(Activation):
    """x * sigmoid(x). Source: torch.nn.SiLU."""

    module = "SiLU"


@op(Kind("relu6", "itself", "input", "nothing", family="activation", sign="nonnegative"))
class Relu6(Activation):
    """min(max(x, 0), 6). Source: torch.nn.ReLU6."""

    module = "ReLU6"


@op(Kind("hardswish", "itself", "input", "nothing", family="activation"))
class Hardswish(Activation):
    """x * min(max(x + 3, 0), 6) / 6. Source: torch.nn.Hardswish."""

    module = "Hardswish"


@op(Kind("hardsigmoid", "itself", "input", "nothing", family="activation", sign="nonnegative"))
class Hardsigmoid(Activation):
    """min(max(x + 3, 0), 6) / 6. Source: torch.nn.Hardsigmoid."""

    module = "Hardsigmoid"


@op(Kind("sigmoid", "itself", "output", "nothing", family="activation", sign="nonnegative"))
class Sigmoid(Activation):
    """1 / (1 + exp(-x)). Source: torch.nn.Sigmoid."""

    module = "Sigmoid"

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.Sigmoid()  # has no in-place form
