"""The operators: one class holds every rule of one op. To add an op, add one class here and one row of test cases.

Shapes are those of one image, without the batch axis: `(C, H, W)`, or `(features,)` after a flatten. The names of
arguments, parameters and buffers are torch's, and so is every default; `bias` has none, since it changes the
parameter count and is the classic silent difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any, ClassVar, NamedTuple

from rv_check.expr import Value, kind
from rv_check.kinds import Kind, enter

Shape = tuple[int, ...]
Pair = tuple[int, int]


class OpError(Exception):
    """An op that cannot be what it is asked to be. It blames an argument, or its message begins with the op's name."""

    def __init__(
        self, message: str, argument: str | None = None, expected: str | None = None, details: tuple[str, ...] = ()
    ):
        super().__init__(message)
        self.message, self.argument, self.expected, self.details = message, argument, expected, details


class Slide(NamedTuple):
    """What slides over a map along one axis: `kernel` elements, `dilation` apart; `transposed` as its gradient does."""

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    transposed: bool = False


POINT = Slide(1)  # a unit sees its own pixel
Window = tuple[Slide, Slide] | None  # rows and columns; None: every unit sees the whole input


# What an argument takes. Each turns a value of the language into the one the op keeps, or raises OpError.


def count(value: Value, name: str) -> int:
    """An integer of at least 1."""
    return _integer(value, name, 1)


def count_from_zero(value: Value, name: str) -> int:
    """An integer of at least 0."""
    return _integer(value, name, 0)


def pair(value: Value, name: str, least: int = 1) -> Pair:
    """A number for both axes, or `[rows, columns]`."""
    if isinstance(value, tuple):
        if len(value) != 2:
            raise OpError(f"{name} is {kind(value)}", name, "an integer, or [rows, columns]")
        return _integer(value[0], name, least), _integer(value[1], name, least)
    number = _integer(value, name, least)
    return number, number


def pair_from_zero(value: Value, name: str) -> Pair:
    """A pair that may be 0: a padding."""
    return pair(value, name, 0)


def flag(value: Value, name: str) -> bool:
    """True or False."""
    if not isinstance(value, bool):
        raise OpError(f"{name} is {kind(value)}", name, "True or False")
    return value


def rate(value: Value, name: str) -> float:
    """A number from 0 to 1."""
    number = _number(value, name)
    if not 0 <= number <= 1:
        raise OpError(f"{name} is {kind(value)}", name, "a number from 0 to 1")
    return float(number)


def positive(value: Value, name: str) -> float:
    """A number above 0."""
    number = _number(value, name)
    if number <= 0:
        raise OpError(f"{name} is {kind(value)}", name, "a number above 0")
    return float(number)


def _number(value: Value, name: str) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | Fraction):
        raise OpError(f"{name} is {kind(value)}", name, "a number")
    return Fraction(value)


def _integer(value: Value, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OpError(f"{name} is {kind(value)}", name, f"an integer of at least {least}")
    return value


def arg(convert: Callable[[Value, str], Any], **default: Any) -> Any:
    """A field of an op: what its argument takes, and its default if it has one."""
    return dataclasses.field(metadata={"convert": convert}, **default)


@dataclass(frozen=True)
class Op:
    """What every op answers. Shapes: `x` in, `y` out, without the batch axis."""

    name: ClassVar[str]
    sort: ClassVar[str] = "op"  # what a message calls it, where a block is a block
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

    def window(self, x: Shape) -> Window:
        """What one output unit sees of the op's input."""
        return POINT, POINT

    def arguments(self, training: bool) -> dict[str, Any] | None:
        """What it is held to in an op graph, eval or train mode; None where it does nothing. A bias shows by itself."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "bias"}

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        """The torch module. `nn` is torch.nn with a StochasticDepth; `inplace`: the input may be overwritten."""
        raise NotImplementedError


OPS: dict[str, type[Op]] = {}


def op(kind: Kind) -> Callable[[type[Op]], type[Op]]:
    """Make a class an op of the language, whose name is that of its kind of operation."""

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
    """The op with these arguments. Raises: OpError for one of a wrong kind."""
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


def _image(name: str, x: Shape) -> tuple[int, int, int]:
    if len(x) != 3:
        raise OpError(f"{name} needs an input C H W, found {' '.join(map(str, x))}")
    return x[0], x[1], x[2]


def _grouped(channels: int, out: int, groups: int) -> None:
    for number, which in ((channels, "input"), (out, "output")):
        if number % groups:
            raise OpError(f"{number} {which} channels are not divisible by {groups} groups", "groups")


def _slide(op: Any, x: Shape, dilation: Pair, ceil_mode: bool = False) -> Pair:
    """Rows and columns of what slides a kernel over `x`: the formula in torch's Conv2d and MaxPool2d."""
    _, *sides = _image(op.name, x)
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


def _slides(op: Any, dilation: Pair = (1, 1), transposed: bool = False) -> tuple[Slide, Slide]:
    rows, columns = (Slide(*one, transposed) for one in zip(op.kernel, op.stride, op.padding, dilation, strict=True))
    return rows, columns


@op(Kind("conv", "window", "input", "filter", family="layer", weighted=True, projects=True, worth=8.0))
class Conv(Op):
    """2-d convolution, (C, H, W) -> (out, H', W'). Source: torch.nn.Conv2d."""

    writes_fresh = True

    out: int = arg(count)
    kernel: Pair = arg(pair)
    bias: bool = arg(flag)
    stride: Pair = arg(pair, default=(1, 1))
    padding: Pair = arg(pair_from_zero, default=(0, 0))
    dilation: Pair = arg(pair, default=(1, 1))
    groups: int = arg(count, default=1)

    def shape(self, x: Shape) -> Shape:
        channels, _, _ = _image(self.name, x)
        _grouped(channels, self.out, self.groups)
        return (self.out, *_slide(self, x, self.dilation))

    def params(self, x: Shape) -> dict[str, Shape]:
        weight = (self.out, x[0] // self.groups, *self.kernel)
        return {"weight": weight} | ({"bias": (self.out,)} if self.bias else {})

    def macs(self, x: Shape, y: Shape) -> int:
        return prod(y) * (x[0] // self.groups) * prod(self.kernel)

    def window(self, x: Shape) -> Window:
        return _slides(self, self.dilation)

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
    kernel: Pair = arg(pair)
    bias: bool = arg(flag)
    stride: Pair = arg(pair, default=(1, 1))
    padding: Pair = arg(pair_from_zero, default=(0, 0))
    output_padding: Pair = arg(pair_from_zero, default=(0, 0))
    dilation: Pair = arg(pair, default=(1, 1))
    groups: int = arg(count, default=1)

    def shape(self, x: Shape) -> Shape:
        channels, *sides = _image(self.name, x)
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

    def window(self, x: Shape) -> Window:
        return _slides(self, self.dilation, transposed=True)

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

    def window(self, x: Shape) -> Window:
        return None

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.Linear(x[-1], self.out, bias=self.bias)


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

    Wu & He 2018 (arXiv:1803.08494): of one image alone, in train mode as in eval mode.
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


@op(Kind("sigmoid", "itself", "output", "nothing", family="activation", sign="nonnegative"))
class Sigmoid(Activation):
    """1 / (1 + exp(-x)). Source: torch.nn.Sigmoid."""

    module = "Sigmoid"

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.Sigmoid()  # has no in-place form


def _pool_padding(op: Any) -> None:
    for kernel, padding in zip(op.kernel, op.padding, strict=True):
        if 2 * padding > kernel:
            raise OpError(f"padding {padding} is more than half of the kernel {kernel}", "padding")


@op(Kind("maxpool", "window", "input", "nothing", family="pool", sign="kept"))
class MaxPool(Op):
    """2-d max pooling, (C, H, W) -> (C, H', W'); stride is kernel unless given. Source: torch.nn.MaxPool2d."""

    kernel: Pair = arg(pair)
    stride: Pair | None = arg(pair, default=None)
    padding: Pair = arg(pair_from_zero, default=(0, 0))
    dilation: Pair = arg(pair, default=(1, 1))
    ceil_mode: bool = arg(flag, default=False)

    def __post_init__(self) -> None:
        if self.stride is None:
            object.__setattr__(self, "stride", self.kernel)

    def shape(self, x: Shape) -> Shape:
        _pool_padding(self)
        return (x[0], *_slide(self, x, self.dilation, self.ceil_mode))

    def window(self, x: Shape) -> Window:
        return _slides(self, self.dilation)

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.MaxPool2d(self.kernel, self.stride, self.padding, self.dilation, ceil_mode=self.ceil_mode)


@op(Kind("avgpool", "window", "input", "nothing", family="pool", projects=True, sign="kept"))
class AvgPool(Op):
    """2-d average pooling, (C, H, W) -> (C, H', W'); stride is kernel unless given. Source: torch.nn.AvgPool2d."""

    kernel: Pair = arg(pair)
    stride: Pair | None = arg(pair, default=None)
    padding: Pair = arg(pair_from_zero, default=(0, 0))
    ceil_mode: bool = arg(flag, default=False)
    count_include_pad: bool = arg(flag, default=True)

    def __post_init__(self) -> None:
        if self.stride is None:
            object.__setattr__(self, "stride", self.kernel)

    def shape(self, x: Shape) -> Shape:
        _pool_padding(self)
        return (x[0], *_slide(self, x, (1, 1), self.ceil_mode))

    def window(self, x: Shape) -> Window:
        return _slides(self)

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.AvgPool2d(self.kernel, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


@op(Kind("adaptive_avgpool", "map", "input", "nothing", family="pool", sign="kept"))
class AdaptiveAvgPool(Op):
    """Average pooling to a given size, (C, H, W) -> (C, *out). Source: torch.nn.AdaptiveAvgPool2d."""

    out: Pair = arg(pair)

    def shape(self, x: Shape) -> Shape:
        channels, _, _ = _image(self.name, x)
        return (channels, *self.out)

    def window(self, x: Shape) -> Window:
        return None  # its windows depend on the input size

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.AdaptiveAvgPool2d(self.out)


@op(Kind("flatten", "moved", "view", "nothing", moves=True))
class Flatten(Op):
    """(C, H, W) -> (C*H*W,). Source: torch.nn.Flatten."""

    def shape(self, x: Shape) -> Shape:
        return (prod(x),)

    def window(self, x: Shape) -> Window:
        return None

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.Flatten()


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
        # 12 digits, as it is observed: the mask is made with 1 - p
        return {"p": round(self.p, 12), "of": "images"} if training else None

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.StochasticDepth(self.p, "row")


@op(Kind("pad_channels", "itself", "nothing", "nothing", projects=True))
class PadChannels(Op):
    """Channels of zeros, `before` of them first, the rest last, (C, H, W) -> (out, H, W). Source: torch.nn.ZeroPad3d.

    The shortcut of option A (He et al. 2015, arXiv:1512.03385), which does not say on which side.
    """

    writes_fresh = True

    out: int = arg(count)
    before: int = arg(count_from_zero, default=0)

    def shape(self, x: Shape) -> Shape:
        channels, rows, columns = _image(self.name, x)
        if channels + self.before > self.out:
            first = f" after {self.before} of zeros" if self.before else ""
            raise OpError(f"{channels} channels{first} do not fit into {self.out}", "out")
        return self.out, rows, columns

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return nn.ZeroPad3d((0, 0, 0, 0, self.before, self.out - x[0] - self.before))
