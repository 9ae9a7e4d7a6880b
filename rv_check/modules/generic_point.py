"""A generic point: every parameter and statistic random and well scaled, none at 0 or 1; and random images.

A fresh batch norm (mean 0, variance 1, weight 1, bias 0) or a zero head would hide whole branches. A constant stays
what it is: a mask of random numbers masks nothing, and an index of them is none.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from rv_check.graphs.differences import Slot

Moves = Sequence[tuple[str, tuple[int, ...]]]


WEIGHTS, CHANCE, INPUT = 1, 2, 3  # seeds: of the generic point; of dropout and the loss; of the images


def generic_point(model: nn.Module, seed: int = WEIGHTS, constants: Collection[str] = ()) -> None:
    """Set parameters and buffers to random, well-scaled values, none of them 0 or 1; integers, which count, to 3.

    Args: `constants` the names of those that stay as they are.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        values = torch.empty(tensor.shape, dtype=torch.float32, device="cpu").uniform_(low, high, generator=generator)
        tensor.copy_(values)

    with torch.no_grad():
        for name, tensor in tensors_in(model):
            last = name.rpartition(".")[2]
            if name in constants:
                continue
            if tensor.is_complex():
                for part in (tensor.real, tensor.imag):
                    uniform(part, -0.7, 0.7)
            elif not tensor.is_floating_point():
                tensor.fill_(3)
            elif tensor.dim() > 1 and (isinstance(tensor, nn.Parameter) or _has_several_axes(tensor)):
                bound = math.sqrt(6 / math.prod(tensor.shape[1:]))  # keeps the variance through a relu
                uniform(tensor, -bound, bound)
            elif last in ("bias", "running_mean"):
                uniform(tensor, -0.3, 0.3)
            else:  # scales and variances; below 1, so that sums of many branches stay in range
                uniform(tensor, 0.3, 0.9)


def make_alike(model: nn.Module, constants: Collection[str] | None = None) -> None:
    """Give all tensors of a size that are no constants the same values, in whatever module they are.

    Weights are around 0, what has one axis above it, as variances must be. Args: `constants` what stays as it is; where
    it is not known, all but what is trained, and what a norm keeps.
    """
    with torch.no_grad():
        for name, tensor in tensors_in(model):
            of_norm = name.rpartition(".")[2] in ("running_mean", "running_var")
            is_kept = not (tensor.requires_grad or of_norm) if constants is None else name in constants
            if is_kept or not tensor.is_floating_point():
                continue
            size = tensor.numel()
            values = torch.empty(size).uniform_(-1, 1, generator=torch.Generator().manual_seed(WEIGHTS + size))
            values = values * math.sqrt(3 / math.sqrt(size)) if _has_several_axes(tensor) else 0.6 + 0.3 * values
            tensor.copy_(values.reshape(tensor.shape))


def _has_several_axes(tensor: Tensor) -> bool:
    """Whether it is no lot of numbers for channels: a variance may be kept as 1 C 1 1."""
    return sum(side > 1 for side in tensor.shape) > 1


def tensors_in(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The parameters and buffers that are saved. A quantised layer saves other things as well, its packed weights."""
    named = model.state_dict(keep_vars=True).items()
    return ((name, tensor) for name, tensor in named if isinstance(tensor, Tensor))


def packed_weights(model: nn.Module) -> list[str]:
    """What a module saves that is no tensor, as quantised layers save their weights: it takes no other values."""
    named = model.state_dict(keep_vars=True).items()
    return [name for name, value in named if not isinstance(value, Tensor) and name.endswith("packed_params")]


def to_type(model: nn.Module, dtype: torch.dtype) -> None:
    """Make parameters and buffers of that type, complex ones of numbers of it; `Module.to` makes these real."""

    def cast(tensor: Tensor) -> Tensor:
        if tensor.is_complex():
            return tensor.to(dtype.to_complex())
        return tensor.to(dtype) if tensor.is_floating_point() else tensor

    model._apply(cast)  # type: ignore[no-untyped-call]


def transfer(expected: nn.Module, found: nn.Module, slots: Mapping[str, Slot], constants: Collection[str] = ()) -> None:
    """Give the parameters and buffers of one module to another, which has them by other names or in other shapes.

    Args: `constants` those, by their names in the first, that the other has as it should.
    """
    tensors: dict[str, Tensor] = dict(found.named_parameters(remove_duplicate=False))
    tensors |= dict(found.named_buffers(remove_duplicate=False))
    with torch.no_grad():
        for name, value in (dict(expected.named_buffers()) | expected.state_dict()).items():
            if name in slots and name not in constants:
                for piece in slots[name].pieces:
                    put(tensors[piece.name], piece.steps, there(value, piece.own))


def there(tensor: Tensor, steps: Moves) -> Tensor:
    """A module's tensor, or the part of it, as an operation has it."""
    for kind, argument in steps:
        tensor = _step(tensor, kind, argument)
    return tensor


def _step(tensor: Tensor, kind: str, argument: tuple[int, ...]) -> Tensor:
    match kind:
        case "reshape":
            return tensor.reshape(argument)
        case "permute":
            return tensor.permute(argument)
        case "slice":
            axis, start, stop = argument
            return tensor.narrow(axis, start, stop - start)
    raise AssertionError(kind)


def put(tensor: Tensor, steps: Moves, value: Tensor) -> None:
    """The reverse: write a value where an operation has it after these steps."""
    if not steps:
        tensor.copy_(value.reshape(tensor.shape))
        return
    (kind, argument), *others = steps
    inner = _step(tensor, kind, argument)
    put(inner, others, value)
    if inner.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr():
        tensor.copy_(inner.reshape(tensor.shape))  # a reshape of a transposed one is a copy, in the same order


def image(
    shape: tuple[int, ...], batch: int, dtype: torch.dtype, device: torch.device | str, seed: int = INPUT
) -> Tensor:
    """A batch of random images (batch, *shape), the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, *shape), generator=generator, dtype=torch.float32).to(device, dtype)
