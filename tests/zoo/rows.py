"""A kind of module: the module, a true refactor of it, a small change of it, and what is known of it from outside."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

Make = Callable[[], nn.Module]
Forward = Callable[[Any, Any], Any]
Shape = tuple[int, ...]


class Net(nn.Module):
    """A function of its parts and of the input. Parts: modules, parameters, numbers; a plain tensor is a buffer."""

    def __init__(self, function: Forward, **parts: Any):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def by_position(old: nn.Module, new: nn.Module) -> None:
    """Give the tensors of one module to another that has them in the same order, by whatever names."""
    for (_, one), (_, other) in zip(tensors(old), tensors(new), strict=True):
        other.copy_(one.reshape(other.shape))


def parameters_by_position(old: nn.Module, new: nn.Module) -> None:
    """The same of parameters alone: buffers are what they were made as."""
    for one, other in zip(old.parameters(), new.parameters(), strict=True):
        other.copy_(one.reshape(other.shape))


def by_name(*pairs: tuple[str, str]) -> Callable[[nn.Module, nn.Module], None]:
    """Give the tensors by name; of these pairs one name begins as the other does."""

    def give(old: nn.Module, new: nn.Module) -> None:
        there = dict(tensors(new))
        for name, value in tensors(old):
            for before, after in pairs:
                if name.startswith(before):
                    name = after + name.removeprefix(before)
                    break
            there[name].copy_(value.reshape(there[name].shape))

    return give


def tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers, each once, in order."""
    return [*module.named_parameters(), *module.named_buffers()]


@dataclass(frozen=True)
class Row:
    """One kind of module.

    `macs`: multiply-adds of one input in eval mode, worked out by hand; None: half of what torch's FlopCounterMode
    counts. `field`: how many rows of the input a unit of the output sees, "everything", or "refused" where a field has
    no meaning or is not followed. `give` and `like`: how the refactored and the changed module get the weights of the
    old one, to show that they are the same and another; `exact`: whether that is shown in float64.
    """

    name: str
    old: Make
    refactored: Make
    changed: Make
    input: Shape
    macs: int | None
    field: str = "refused"
    give: Callable[[nn.Module, nn.Module], None] = by_position
    like: Callable[[nn.Module, nn.Module], None] = by_position
    exact: bool = True


@dataclass
class Rows:
    """The rows of a file, in order."""

    of: str
    rows: list[Row] = field(default_factory=list)

    def add(
        self,
        name: str,
        old: Make,
        refactored: Make,
        changed: Make,
        input: Shape,
        macs: int | None,
        *a: Any,
        **more: Any,
    ) -> None:
        """One more."""
        self.rows.append(Row(name, old, refactored, changed, input, macs, *a, **more))


def flat(output: Any) -> list[Tensor]:
    """The tensors of an output, whatever holds them."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, dict):
        return [one for value in output.values() for one in flat(value)]
    if isinstance(output, Iterable):
        return [one for value in output for one in flat(value)]
    return flat(list(vars(output).values())) if hasattr(output, "__dict__") else []


def data(module: nn.Module, input: Shape, batch: int = 2, seed: int = 0) -> Tensor:
    """Random numbers of the module's type."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, *input), generator=generator).to(module_type(module))


def module_type(module: nn.Module) -> torch.dtype:
    """The type of numbers that it computes in."""
    return next((one.dtype for one in module.parameters() if one.is_floating_point()), torch.float32)


def in_mode(module: nn.Module, *, training: bool) -> nn.Module:
    """The module in that mode; an exported graph has none."""
    with suppress(NotImplementedError):
        module.train(training)
    return module


def ready(make: Make, input: Shape) -> nn.Module:
    """A module with its parameters made, none of its statistics 0 or 1."""
    module = made(make, input)
    with torch.no_grad():
        for name, tensor in tensors(module):
            if (tensor.requires_grad and tensor.dim() == 1) or name.endswith(("running_mean", "running_var")):
                tensor.uniform_(0.2, 0.8)
    return module


def made(make: Make, input: Shape) -> nn.Module:
    """A module with its parameters made."""
    module = in_mode(make(), training=False)
    if any(map(is_lazy, module.parameters())):
        module(torch.randn(2, *input))
    return module


def counted(module: nn.Module, input: Shape) -> int:
    """Half of what torch's counter counts of one input."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        in_mode(module, training=False)(data(module, input, 1))
    return counter.get_total_flops() // 2


def left(module: nn.Module, x: Tensor, *, training: bool) -> list[Tensor]:
    """What a run leaves, chance being the same each time: outputs, the input's gradient, buffers."""
    in_mode(module, training=training)
    torch.manual_seed(1)
    x = x.clone().requires_grad_()
    before = [buffer.clone() for buffer in module.buffers()]
    outputs = flat(module(x))
    real = [one for one in outputs if one.requires_grad]
    if real:
        sum((one.abs() * (1 + one.abs())).sum() for one in real).backward()  # type: ignore[union-attr]
    buffers = [one.clone() for one in module.buffers()]
    with torch.no_grad():
        for buffer, value in zip(module.buffers(), before, strict=True):
            buffer.copy_(value)
    moved = [one for one, old in zip(buffers, before, strict=True) if not torch.equal(one, old)]
    return [*(one.detach() for one in outputs), *([x.grad] if x.grad is not None else []), *moved]


def apart(one: list[Tensor], other: list[Tensor]) -> float:
    """How far two of these are apart, relative to the largest; infinite where they are not alike."""
    if [(a.shape, a.dtype) for a in one] != [(a.shape, a.dtype) for a in other]:
        return math.inf
    return max((distance(a, b) for a, b in zip(one, other, strict=True) if a.numel()), default=0.0)


def distance(one: Tensor, other: Tensor) -> float:
    """The largest difference, relative to the largest of the first; what is no number is like itself alone."""
    one, other = one.detach().to(torch.complex128), other.detach().to(torch.complex128)
    alike = (one == other) | (one.isnan() & other.isnan())
    most = (one - other).abs().masked_fill(alike, 0.0).nan_to_num(math.inf).max()
    return float(most) / max(float(one.abs().nan_to_num(0.0, 0.0).max()), 1e-6)


def farthest(old: nn.Module, new: nn.Module, input: Shape, scales: Iterable[float] = (1.0, 30.0)) -> float:
    """How far the two are apart, in both modes, for inputs of several sizes."""
    found = []
    for scale, training in itertools.product(scales, (False, True)):
        x = scale * data(old, input, 32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(apart(left(old, x, training=training), left(new, x, training=training)))
    return max(found)


def other_state(old: nn.Module, new: nn.Module) -> None:
    """Weights cannot be given: there are others. Raises: AssertionError where there are the same."""
    shapes = [sorted(str(tuple(one.shape)) for _, one in tensors(net)) for net in (old, new)]
    assert shapes[0] != shapes[1]
    raise OtherState


class OtherState(Exception):
    """Two networks have other parameters, and so are two."""


def difference(row: Row, *, changed: bool) -> float:
    """How far the refactored module, or the changed one, is from the old one with its weights."""
    torch.manual_seed(0)
    old, new = ready(row.old, row.input), ready(row.changed if changed else row.refactored, row.input)
    if row.exact:
        old, new = old.double(), new.double()
    try:
        with torch.no_grad():
            (row.like if changed else row.give)(old, new)
    except OtherState:
        return math.inf
    return farthest(old, new, row.input)


def rows_seen(row: Row) -> str:
    """How many rows of the image a unit sees at most, by gradients; "everything" if all.

    Of a map, four neighbours in its middle are asked, of an image that is larger than the field; else every unit.
    """
    module = ready(row.old, row.input).double()
    side = 16 * math.ceil(4 * int(row.field) / 16) if row.field.isdecimal() else row.input[1]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, row.input[0], side, side, dtype=torch.float64, generator=generator).requires_grad_()
    output = flat(module(x))[0]
    if output.dim() == 4:
        _, _, rows, columns = output.shape
        units = [output[0, :, rows // 2 + at, columns // 2] for at in range(-2, 2)]
    else:
        units = list(output[0]) if output.dim() == 3 else [output[0]]
    most = 0
    for unit in units:
        (gradient,) = torch.autograd.grad(unit.square().sum() + unit.sum(), x, retain_graph=True)
        places = (gradient[0] != 0).any(0).any(1).nonzero()
        most = max(most, int(places[-1] - places[0]) + 1)
    return "everything" if most == side else str(most)


def extent_seen(row: Row) -> int:
    """How many places of the last axis of the input any number of the output sees at most, by gradients."""
    module = ready(row.old, row.input).double()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, *row.input, dtype=torch.float64, generator=generator).requires_grad_()
    most = 0
    for unit in flat(module(x))[0][0].flatten()[:256]:
        (gradient,) = torch.autograd.grad(unit.abs() if unit.is_complex() else unit, x, retain_graph=True)
        places = gradient[0].flatten(0, -2).ne(0).any(0).nonzero() if x.dim() > 2 else gradient[0].nonzero()
        most = max(most, int(places[-1] - places[0]) + 1 if len(places) else 0)
    return most
