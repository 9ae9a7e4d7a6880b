"""The tensors that go into a module: on meta, or random values at a seed, arranged as its `forward` takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rv_check.errors import RvCheckError
from rv_check.language.inputs import InputGroup, Inputs, InputValue, PlainArgument, TensorInput, one_image, parse_inputs
from rv_check.modules.generic_point import INPUT
from rv_check.modules.guard import run_theirs

EXAMPLES = ("example_inputs", "example_input_array", "dummy_inputs")  # where modules say what goes in
UNBOUNDED = 10  # whole numbers of which nobody says how large they may be lie below it
Draw = Callable[[tuple[int, ...], torch.Generator], Tensor]


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Fractions of a normal distribution."""
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Fractions from -1 to 1."""
    return torch.empty(shape).uniform_(-1, 1, generator=generator)


@dataclass(frozen=True)
class Batch:
    """What goes into a module in one call: its tensors, by what `inputs` calls them."""

    inputs: Inputs
    tensors: Mapping[str, Tensor]

    @property
    def main(self) -> Tensor:
        """The main tensor: the images."""
        return self.tensors[self.inputs.main]

    @property
    def others(self) -> list[Tensor]:
        """The other tensors."""
        return [self.tensors[where] for where in self.inputs.others]

    def call(self, module: Callable[..., Any]) -> Any:
        """What the module returns."""
        args, kwargs = self.inputs.arguments(self.tensors)
        return module(*args, **kwargs)

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same of other tensors."""
        return replace(self, tensors={where: change(one) for where, one in self.tensors.items()})

    def each_fraction(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same, with other tensors in place of those of fractions."""
        return self.each(lambda one: change(one) if is_fraction(one) else one)

    def clone(self) -> Batch:
        """The same values in a memory of their own."""
        return self.each(Tensor.clone)

    def equals(self, other: Batch) -> bool:
        """Whether it holds the same values; what is no number is none on either side."""
        return all(torch.equal(one, other.tensors[where]) for where, one in self.tensors.items())

    def to_other(self, other: Batch, share: float) -> Batch:
        """What lies between this batch and another one: fractions alone, the rest being the same."""
        pairs = {where: (one, other.tensors[where]) for where, one in self.tensors.items()}
        mixed = {where: one + share * (end - one) if is_fraction(one) else one for where, (one, end) in pairs.items()}
        return replace(self, tensors=mixed)


def is_fraction(tensor: Tensor) -> bool:
    """Whether a tensor holds fractions, or complex numbers."""
    return tensor.is_floating_point() or tensor.is_complex()


def takes_main_alone(module: nn.Module, inputs: Inputs) -> nn.Module:
    """A module of one image that is called with all that goes into another one, and takes the main tensor of it."""
    first, *parts = inputs.main.split(".")

    def chosen(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        value = kwargs[first] if first in kwargs else args[int(first)]
        for part in parts:
            value = value[part] if isinstance(value, Mapping) else value[int(part)]
        return (value,), {}

    module.register_forward_pre_hook(chosen, with_kwargs=True)
    return module


def batch_of(x: Tensor | Batch) -> Batch:
    """One tensor as all that goes in."""
    if isinstance(x, Batch):
        return x
    inputs = one_image(tuple(x.shape[1:]))
    return Batch(inputs, {inputs.main: x})


def empty_batch(inputs: Inputs, batch: int, dtype: torch.dtype, device: torch.device | str) -> Batch:
    """Tensors of zeros; on meta nothing is in them. Args: `dtype` that of fractions."""
    tensors = {
        where: torch.zeros(_shape(one, batch), dtype=_type(one, dtype), device=device)
        for where, one in inputs.tensors.items()
    }
    return Batch(inputs, tensors)


def random_batch(
    inputs: Inputs,
    batch: int,
    dtype: torch.dtype,
    device: torch.device | str,
    seed: int = INPUT,
    draw: Draw = normal,
) -> Batch:
    """Random tensors, the same on every device: the main one is what one image alone would be.

    Of whole numbers and truth values that were given the given ones are taken, again from the first on where the batch
    is larger. Args: `dtype` that of fractions.
    """
    generator = torch.Generator().manual_seed(seed)
    order = sorted(inputs.tensors, key=lambda where: where != inputs.main)
    made = {where: _drawn(inputs.tensors[where], batch, generator, draw) for where in order}
    tensors = {where: made[where].to(device, _type(one, dtype)) for where, one in inputs.tensors.items()}
    return Batch(inputs, tensors)


def _shape(one: TensorInput, batch: int) -> tuple[int, ...]:
    return (batch, *one.shape) if one.batched else one.shape


def _type(one: TensorInput, dtype: torch.dtype) -> torch.dtype:
    """The type of a tensor, where fractions are of `dtype`."""
    if one.dtype.startswith("complex"):
        return dtype.to_complex()
    found: torch.dtype = getattr(torch, one.dtype) if one.dtype and not one.is_fraction else dtype
    return found


def _drawn(one: TensorInput, batch: int, generator: torch.Generator, draw: Draw) -> Tensor:
    shape = _shape(one, batch)
    if one.values is not None and not one.is_fraction:
        given: Tensor = one.values.detach().cpu()
        return given[torch.arange(batch) % len(given)] if one.batched else given
    if one.dtype.startswith("complex"):
        return torch.complex(draw(shape, generator), draw(shape, generator))
    if one.is_fraction:
        return draw(shape, generator)
    below = 2 if one.dtype == "bool" else one.below or UNBOUNDED
    values = torch.randint(below, shape, generator=generator)
    if below == 2 and shape and shape[-1] > 1:  # a mask: of none that hides all, or nothing
        values[..., 0], values[..., -1] = 1, 0
    return values


# From Python


def inputs_of(input: Any) -> Inputs:
    """What `input=` says: a shape, a text, a tensor with its batch axis, or several of these.

    A tuple holds the arguments by place, a dict those by name; within them a list, a tuple or a dict is one argument,
    as is a list alone. Raises: RvCheckError where it is none of them, SpecError for a text that cannot be read.
    """
    if isinstance(input, Inputs):
        return input
    if isinstance(input, str):
        return parse_inputs(input)
    if _is_shape(input):
        return one_image(tuple(input))
    if isinstance(input, Mapping) and input and all(isinstance(name, str) for name in input):
        return _call(input, dict(zip(input, map(_value, input.values()), strict=True)))
    if isinstance(input, tuple) and input and not all(isinstance(one, int | float) for one in input):
        return _call(input, {str(at): _value(one) for at, one in enumerate(input)})
    if isinstance(input, Tensor) or (isinstance(input, list) and any(isinstance(one, Tensor) for one in input)):
        return _call(input, {"0": _value(input)})
    raise _no_input(input)


def _no_input(input: Any) -> RvCheckError:
    expected = (
        "the shape of one image without the batch axis, as (3, 224, 224), a text, as '1 28 28, mask: bool 128', "
        "a tensor, or a tuple or dict of these"
    )
    return RvCheckError(f"input is {input!r}", expected=expected)


def _call(input: Any, values: Mapping[str, InputValue]) -> Inputs:
    """Raises: RvCheckError where there is no tensor."""
    names = tuple("" if name.isdecimal() else name for name in values)
    found = Inputs(InputGroup("call", names, tuple(values.values())))
    if not found.tensors:
        raise _no_input(input)
    return found


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple | list) and bool(value) and all(type(one) is int and one > 0 for one in value)


def _value(value: Any) -> InputValue:
    """An argument, of what somebody gave for it."""
    if isinstance(value, Tensor):
        return _like(value)
    if isinstance(value, str):
        (item,) = parse_inputs(value).takes.items
        return item
    if _is_shape(value):
        return TensorInput(tuple(value))
    if isinstance(value, Mapping):
        return InputGroup("dict", tuple(map(str, value)), tuple(map(_value, value.values())))
    if isinstance(value, list | tuple):
        items = tuple(map(_value, value))
        return InputGroup("list" if isinstance(value, list) else "tuple", ("",) * len(items), items)
    return PlainArgument(value)


def _like(tensor: Tensor) -> TensorInput:
    """A tensor as one that goes in. It has a batch axis, unless it has none at all."""
    dtype = "" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    below = None
    if not is_fraction(tensor) and tensor.dtype != torch.bool and tensor.numel() and not tensor.is_meta:
        below = int(tensor.max()) + 1
    batched = tensor.dim() > 0
    return TensorInput(tuple(tensor.shape[1:]), dtype, below, batched, tensor)


# What a module tells


def bounded(inputs: Inputs, module: nn.Module) -> Inputs:
    """The same, whole numbers of which nobody says how large they are being places in the smallest embedding table."""
    tables = [part.num_embeddings for part in module.modules() if isinstance(part, nn.Embedding)]
    below = min(tables, default=UNBOUNDED)

    def bound(one: TensorInput, where: str) -> TensorInput:
        is_open = not one.is_fraction and one.dtype != "bool" and one.below is None and one.values is None
        return replace(one, below=below) if is_open else one

    return inputs.each(bound)


def inputs_taken(module: nn.Module, input: Any = None) -> Inputs | None:
    """What goes into a module, as somebody says it or the module does; None where nobody does.

    A module says it by a method `example_inputs`, by Lightning's `example_input_array`, or by the `dummy_inputs` of
    transformers, which are those of a text for every model, and so count only where `forward` has such arguments.
    Raises: RvCheckError where that is no input.
    """
    if input is not None:
        return inputs_of(input)
    for name in EXAMPLES:
        example = getattr(module, name, None)
        if callable(example):
            example = run_theirs(f"{type(module).__name__}.{name}() gives no input", example)
        if example is not None and (name != "dummy_inputs" or _has_arguments(module, example)):
            return inputs_of(example)
    return None


def _has_arguments(module: nn.Module, given: Any) -> bool:
    """Whether `forward` has arguments of the names that are given."""
    try:
        names = inspect.signature(module.forward).parameters.keys()
    except (TypeError, ValueError):  # a scripted or built-in one does not say
        return True
    return not isinstance(given, Mapping) or given.keys() <= names
