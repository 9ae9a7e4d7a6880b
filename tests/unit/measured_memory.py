"""What a module keeps for backward and has alive at once, measured as it runs: what the formulas are held to."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode


class _Kept:
    """A tensor that autograd has been given to keep; it goes when autograd lets it go."""

    def __init__(self, tensor: torch.Tensor):
        self.tensor = tensor.detach()  # an output would hold on to the graph that holds on to it


def measured_for_backward(module: nn.Module, x: torch.Tensor) -> int:
    """The bytes that autograd really keeps of a forward pass in the module's mode, parameters and buffers apart.

    What it has kept for a result that the module throws away is gone by the end, and is not counted.
    """
    own = {tensor.untyped_storage()._cdata for tensor in (*module.parameters(), *module.buffers())}
    kept: weakref.WeakSet[_Kept] = weakref.WeakSet()

    def pack(tensor: torch.Tensor) -> _Kept:
        one = _Kept(tensor)
        kept.add(one)
        return one

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda one: one.tensor):
        output = module(x)
    storages = [one.tensor.untyped_storage() for one in kept]
    found = {storage._cdata: storage.nbytes() for storage in storages if storage._cdata not in own}
    del output
    return sum(found.values())


def measured_peak(module: nn.Module, x: torch.Tensor) -> int:
    """The most bytes of values that are alive at once in a forward pass without gradients, as the module runs it."""
    own = {tensor.untyped_storage()._cdata for tensor in (*module.parameters(), *module.buffers())}

    class Alive(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.known: list[tuple[weakref.ref[torch.Tensor], int, int]] = []
            self.peak: int = 0
            self.note(x)

        def note(self, tensor: torch.Tensor) -> None:
            storage = tensor.untyped_storage()
            if storage._cdata not in own:
                self.known.append((weakref.ref(tensor), storage._cdata, storage.nbytes()))
            self.known = [one for one in self.known if one[0]() is not None]
            self.peak = max(self.peak, sum({place: bytes_ for _, place, bytes_ in self.known}.values()))

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for one in result if isinstance(result, tuple | list) else (result,):
                if isinstance(one, torch.Tensor):
                    self.note(one)
            return result

    with torch.no_grad(), Alive() as alive:
        output = module(x)
    del output
    peak: int = alive.peak
    return peak
