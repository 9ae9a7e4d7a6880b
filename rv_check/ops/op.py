"""What every op answers, and the registry of ops. One class holds every rule of one op.

To add an op, add one class to the module of its family; docs/contributing.md says which tests it comes with. Shapes
are those of one image, without the batch axis: `(C, H, W)`, or `(features,)` after a flatten. The names of arguments,
parameters and buffers are torch's, and so is every default; `bias` has none, since it changes the parameter count and
is the classic silent difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from rv_check.ops.arguments import IntPair, OpError
from rv_check.ops.kinds import Kind, enter
from rv_check.values import Value

Shape = tuple[int, ...]


class Slide(NamedTuple):
    """What slides over a map along one axis: `kernel` elements, `dilation` apart.

    Where it is `transposed`, it slides as the gradient of such a window does.
    """

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    transposed: bool = False


POINT = Slide(1)  # a unit sees its own pixel
Slides = tuple[Slide, Slide] | None  # over rows and over columns; None: every unit sees the whole input


def arg(convert: Callable[[Value, str], Any], **default: Any) -> Any:
    """A field of an op: what its argument takes, and its default if it has one."""
    return dataclasses.field(metadata={"convert": convert}, **default)


@dataclass(frozen=True)
class Op:
    """What every op answers. Shapes: `x` in, `y` out, without the batch axis."""

    name: ClassVar[str]
    sort: ClassVar[str] = "op"  # what a message calls it; a block is called a block
    kind: ClassVar[Kind]  # what is true of it whatever its arguments are
    writes_fresh: ClassVar[bool] = False  # its output is its own, no gradient needs it: it may be overwritten
    sees_the_map: ClassVar[bool] = False  # statistics of the whole map reach every unit, beside its window
    argument_names: ClassVar[tuple[str, ...]] = ()
    required: ClassVar[tuple[str, ...]] = ()

    def shape(self, x: Shape) -> Shape:
        """The output shape. Raises: OpError where the op does not fit."""
        raise NotImplementedError

    def params(self, x: Shape) -> dict[str, Shape]:
        """Parameter shapes by torch's names, in torch's order."""
        return {}

    def buffers(self, x: Shape) -> dict[str, Shape]:
        """Buffer shapes by torch's names, in torch's order."""
        return {}

    def macs(self, x: Shape, y: Shape) -> int:
        """Multiply-adds for one image; padded positions count, biases do not."""
        return 0

    def window(self, x: Shape) -> Slides:
        """What one output unit sees of the op's input."""
        return POINT, POINT

    def arguments(self, training: bool) -> dict[str, Any] | None:
        """The arguments that it is held to in an op graph, in train or eval mode; None where it does nothing there.

        A bias is not among them: its parameter shows.
        """
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "bias"}

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        """The torch module.

        Args: `nn` torch.nn with a StochasticDepth; `x` the input shape; `inplace` whether the input may be overwritten.
        """
        raise NotImplementedError


OPS: dict[str, type[Op]] = {}


def op(kind: Kind) -> Callable[[type[Op]], type[Op]]:
    """Make a class an op of the language, by the name of its kind. Raises: ValueError where the kind has a row."""

    def register(cls: type[Op]) -> type[Op]:
        cls = dataclass(frozen=True)(cls)
        cls.name, cls.kind = kind.name, kind
        cls.argument_names = tuple(f.name for f in dataclasses.fields(cls))
        cls.required = tuple(f.name for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING)
        enter(kind)
        OPS[kind.name] = cls
        return cls

    return register


def make(cls: type[Op], values: dict[str, Value]) -> Op:
    """The op with these arguments. Raises: OpError for an argument of a wrong kind."""
    converted = {}
    for f in dataclasses.fields(cls):
        if f.name in values:
            converted[f.name] = f.metadata["convert"](values[f.name], f.name)
    return cls(**converted)


def describe(op: Op) -> str:
    """The op with the arguments that are not defaults, as a listing shows it."""
    parts = []
    for f in dataclasses.fields(op):
        value = getattr(op, f.name)
        if f.default is dataclasses.MISSING or value != f.default:
            shown = value if not isinstance(value, tuple) else value[0] if value[0] == value[1] else list(value)
            parts.append(f"{f.name}={shown}")
    return f"{op.name}({', '.join(parts)})" if parts else op.name


def image(name: str, x: Shape) -> tuple[int, int, int]:
    """Channels, rows and columns of an input. Raises: OpError where the input is no map."""
    if len(x) != 3:
        raise OpError(f"{name} needs an input C H W, found {' '.join(map(str, x))}")
    return x[0], x[1], x[2]


def slide(op: Any, x: Shape, dilation: IntPair, ceil_mode: bool = False) -> IntPair:
    """Rows and columns of what an op gives that slides a kernel over `x`: the formula in torch's Conv2d and MaxPool2d.

    Raises: OpError where `x` is no map, or smaller than the kernel.
    """
    _, *sides = image(op.name, x)
    out = []
    for side, kernel, stride, padding, step in zip(sides, op.kernel, op.stride, op.padding, dilation, strict=True):
        extent = step * (kernel - 1) + 1
        free = side + 2 * padding - extent
        n = (-(-free // stride) if ceil_mode else free // stride) + 1
        if n < 1:  # with ceil_mode a kernel may hang over by less than its stride
            padded = f"{side}" if not padding else f"{side} + 2*{padding}"
            raise OpError(f"the kernel spans {extent}, larger than its input of {padded}", "kernel")
        if ceil_mode and (n - 1) * stride >= side + padding:
            n -= 1  # torch drops a last window that starts in the right padding
        out.append(n)
    return out[0], out[1]


def slides(op: Any, dilation: IntPair = (1, 1), transposed: bool = False) -> tuple[Slide, Slide]:
    """The windows that an op slides over rows and over columns."""
    rows, columns = (Slide(*one, transposed) for one in zip(op.kernel, op.stride, op.padding, dilation, strict=True))
    return rows, columns
