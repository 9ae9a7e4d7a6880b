"""Tensors that a network has and only reads, masks, tables, means: constants, which are compared by their values.

A buffer is one unless a run writes it, as a norm writes its running statistics; so is a tensor that is an attribute of
a module and no parameter or buffer, and a frozen parameter in a part of which the rest is trained.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rv_check.modules.generic_point import there

# A table may be computed in another order: its elements are rounded a few times, in their own size, or in that of the
# numbers from -1 to 1 where it is what a sine has left of a larger one.
ROUNDINGS = 32
SHOWN = 6  # elements of a small constant, all of which are said
OF_NORMS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class Constant:
    """The values of a tensor, in the shape that an operation uses. Two are equal but for rounding."""

    def __init__(self, tensor: Tensor, steps: Sequence[tuple[str, tuple[int, ...]]] = ()):
        self.tensor, self.steps = tensor, steps

    def after(self, steps: Sequence[tuple[str, tuple[int, ...]]]) -> Constant:
        """It as an operation uses it."""
        return Constant(self.tensor, steps)

    @property
    def values(self) -> Tensor:
        """The values, on the CPU."""
        return there(self.tensor.detach(), self.steps).cpu()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and not self._where(other).numel()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return _shown(self.values)

    def against(self, expected: Constant) -> tuple[str, str]:
        """Both in words, where they differ: all values of a small one, else the first that differs and how many do."""
        found = self.values
        if found.shape.numel() != expected.values.numel():
            return f"{list(found.shape)}", f"{list(expected.values.shape)}"
        where = self._where(expected)
        wanted = expected.values.reshape(found.shape)
        if found.numel() <= SHOWN:
            return _shown(found), _shown(wanted)
        at = tuple(int(index) for index in torch.unravel_index(where[0], found.shape)) if found.dim() else ()
        more = f", and {len(where) - 1} more of {found.numel()}" if len(where) > 1 else ""
        return f"{_number(found[at])} at {list(at)}{more}", _number(wanted[at])

    def _where(self, other: Constant) -> Tensor:
        """The places of the elements that differ, of all where there are others."""
        a, b = self.values.flatten(), other.values.flatten()
        if a.numel() != b.numel():
            return torch.arange(max(a.numel(), 1))
        floats = [one.dtype for one in (a, b) if one.is_floating_point() or one.is_complex()]
        eps = max((torch.finfo(dtype).eps for dtype in floats), default=0.0)
        wide = torch.complex128 if a.is_complex() or b.is_complex() else torch.float64
        if not floats:
            return (a != b).nonzero().flatten()
        a, b = a.to(wide), b.to(wide)
        size = torch.maximum(a.abs(), b.abs())
        finite = size[size.isfinite()]
        floor = min(1.0, float(finite.max()) if finite.numel() else 0.0)
        near = (a - b).abs().isfinite() & ((a - b).abs() <= ROUNDINGS * eps * size.clamp(min=floor))
        return (~(near | (a == b) | (a.isnan() & b.isnan()))).nonzero().flatten()


def _shown(values: Tensor) -> str:
    flat = values.flatten()
    words = " ".join(_number(value) for value in flat[:SHOWN])
    return f"[{words}]" if flat.numel() <= SHOWN else f"[{words} ...], {list(values.shape)}"


def _number(value: Tensor) -> str:
    number: Any = value.item()
    return f"{number:g}" if isinstance(number, float) else str(number)


def constants_of(module: nn.Module, moved: Set[str]) -> dict[str, Constant]:
    """The constants of a module, by name. `moved`: what a run has written.

    What a norm has, also one that is written by hand and keeps its weights in buffers, is a weight or a statistic.
    """
    found: dict[str, Tensor] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        buffers = dict(part.named_buffers(recurse=False))
        is_norm = buffers.keys() >= {"running_mean", "running_var"}
        is_trained = any(parameter.requires_grad for parameter in part.parameters())
        own = {name: tensor for name, tensor in buffers.items() if not (is_norm and name in OF_NORMS)}
        if is_trained:
            own |= {name: p for name, p in part.named_parameters(recurse=False) if not p.requires_grad}
        found |= {f"{path}.{name}".lstrip("."): tensor for name, tensor in own.items()}
    return {
        name: Constant(tensor)
        for name, tensor in found.items()
        if name not in moved and not tensor.is_meta and not is_lazy(tensor)
    }
