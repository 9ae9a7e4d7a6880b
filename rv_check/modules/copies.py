"""A copy of somebody's module, so that theirs stays as it is."""

from __future__ import annotations

import copy
import io
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from torch.overrides import TorchFunctionMode


def unwrapped(module: nn.Module) -> nn.Module:
    """The network within wrappers that only hold one: those of data parallelism, averages, and compiled modules."""
    while (inner := _held_by(module)) is not None:
        module = inner
    return module


def wrappers_of(module: nn.Module) -> list[str]:
    """The wrappers that `unwrapped` takes off, in words, the outermost first."""
    found = []
    while (inner := _held_by(module)) is not None:
        counters = [name for name in module._buffers if name not in inner._buffers]
        besides = f", with {', '.join(counters)} besides" if counters else ""
        found.append(f"{'torch.compile' if _is_compiled(module) else type(module).__name__}{besides}")
        module = inner
    return found


def _held_by(module: nn.Module) -> nn.Module | None:
    """What a wrapper holds, and calls with all that it is given; None of what is no wrapper."""
    inner: Any = None
    if _is_compiled(module):
        inner = getattr(module, "_orig_mod", None)
    elif any(isinstance(module, kind) and type(module).forward is kind.forward for kind in WRAPPERS):
        inner = module.module
    return inner if isinstance(inner, nn.Module) else None


def _is_compiled(module: nn.Module) -> bool:
    return type(module).__name__ == "OptimizedModule"  # by its name, since torch's compiler takes long to import


WRAPPERS: tuple[Any, ...] = (nn.DataParallel, nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)


def copy_of(
    module: nn.Module, device: str | None = None, copied: list[tuple[Tensor, Tensor]] | None = None
) -> nn.Module:
    """A deep copy, its tensors on `device`; on "meta" without their values.

    Args: `copied` takes each tensor that is no parameter or buffer, with its copy.

    Tensors that belong to a graph of autograd, as a module may have kept from an earlier run, are copied detached.
    Raises: whatever the module's own parts raise when they are copied.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return _scripted(module, device)
    memo: dict[int, Any] = {}
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            if id(part) not in memo:
                memo |= dict.fromkeys(map(id, part.modules()))  # they come with it
                memo[id(part)] = _scripted(part, device)
            continue
        for tensor in (*part._parameters.values(), *part._buffers.values()):
            if tensor is not None and id(tensor) not in memo:
                memo[id(tensor)] = _tensor(tensor, device)
    with _Copying(device, copied if copied is not None else []):
        return copy.deepcopy(module, memo)


def _scripted(module: torch.jit.ScriptModule, device: str | None) -> nn.Module:
    """A scripted module, saved and loaded: a deep copy of one has no parameters that `to` could move."""
    file = io.BytesIO()
    with torch.device("cpu"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are deprecated, and so is the module
        torch.jit.save(module, file)
        file.seek(0)
        loaded: nn.Module = torch.jit.load(file, map_location=device)  # type: ignore[no-untyped-call]
    return loaded


def _tensor(tensor: Tensor, device: str | None) -> Tensor:
    if is_lazy(tensor):
        cls: Any = UninitializedParameter if isinstance(tensor, UninitializedParameter) else UninitializedBuffer
        lazy: Tensor = cls(device=device or tensor.device, dtype=tensor.dtype, requires_grad=tensor.requires_grad)
        return lazy
    if device == "meta" and tensor.device.type != "meta":
        values = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    else:
        values = tensor.detach().clone().to(device) if device else tensor.detach().clone()
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(values, tensor.requires_grad)
    return values.requires_grad_(tensor.requires_grad and tensor.is_leaf)


class _Copying(TorchFunctionMode):
    """Copies the tensors that `copy.deepcopy` meets, which refuses those that belong to a graph of autograd."""

    def __init__(self, device: str | None, copied: list[tuple[Tensor, Tensor]]):
        super().__init__()
        self.device, self.copied = device, copied

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is Tensor.__deepcopy__:
            tensor, memo = args
            if id(tensor) not in memo:
                # A number that a module keeps in a tensor stays what it is, on the cpu, where meta tensors take it.
                number = self.device == "meta" and tensor.dim() == 0
                memo[id(tensor)] = tensor.detach().clone() if number else _tensor(tensor, self.device)
                self.copied.append((tensor, memo[id(tensor)]))
            return memo[id(tensor)]
        if func is Tensor.clone and self.device is not None:  # the parameter is not registered
            return _tensor(args[0].detach(), self.device)
        return func(*args, **(kwargs or {}))


def can_be_lent(module: nn.Module) -> bool:
    """Whether the tensors of a module can be replaced for a time: those of a scripted part stay replaced."""
    return not any(isinstance(part, torch.jit.ScriptModule) for part in module.modules())


def _containers(values: Iterable[Any]) -> list[Any]:
    """The lists, dicts and sets among values, and those within them, each once."""
    found: dict[int, Any] = {}
    left = list(values)
    while left:
        value = left.pop()
        if isinstance(value, list | dict | set | deque) and id(value) not in found:
            found[id(value)] = value
            left += value.values() if isinstance(value, dict) else value
        elif isinstance(value, tuple):
            left += value
    return list(found.values())


class Held:
    """What the parts of a module have, attributes, hooks and flags, and what lists and dicts hold, to be put back."""

    def __init__(self, module: nn.Module):
        self.parts: list[tuple[nn.Module, dict[str, Any]]] = []
        self.containers: list[tuple[Any, Any]] = []  # lists, dicts and sets, each with a copy
        for part in module.modules():
            kept = dict(part.__dict__)
            kept.update({name: value.copy() for name, value in kept.items() if _is_own(name, value)})
            self.parts.append((part, kept))
            own = (value for name, value in part.__dict__.items() if name not in OWN)
            self.containers += [(container, container.copy()) for container in _containers(own)]

    @property
    def has_changed(self) -> bool:
        """Whether anything is another object than it was."""
        now = [(container, before) for container, before in self.containers]
        now += [
            (part.__dict__[name], value) if _is_own(name, value) else ([part.__dict__[name]], [value])
            for part, kept in self.parts
            for name, value in kept.items()
            if name in part.__dict__
        ]
        names = any(part.__dict__.keys() != kept.keys() for part, kept in self.parts)
        return names or not all(_hold_the_same(one, before) for one, before in now)

    def put_back(self) -> None:
        """Everything as it was."""
        for container, before in self.containers:
            container.clear()
            container.extend(before) if isinstance(before, list | deque) else container.update(before)
        for part, kept in self.parts:
            for name, value in kept.items():
                now = part.__dict__.get(name)
                if _is_own(name, value) and isinstance(now, dict):
                    now.clear()
                    now.update(value)
                else:
                    part.__dict__[name] = value
            for name in [name for name in part.__dict__ if name not in kept]:
                del part.__dict__[name]


OWN = ("_parameters", "_buffers", "_modules")


def _is_own(name: str, value: Any) -> bool:
    """Whether an attribute is one of the dicts that torch keeps a module's parts, tensors and hooks in."""
    return name.startswith("_") and isinstance(value, dict)


def _hold_the_same(one: Any, before: Any) -> bool:
    """Whether a list, dict or set holds the very objects that its copy does."""
    if isinstance(before, dict):
        return one.keys() == before.keys() and all(one[name] is value for name, value in before.items())
    if isinstance(before, set):
        return bool(one == before)
    return len(one) == len(before) and all(a is b for a, b in zip(one, before, strict=True))


class Borrowed:
    """A module that cannot be copied, lent for a time: with tensors of its own, and as it was before at the end.

    Within, its parameters and buffers are replaced by copies on `device`. At the end it has its own again, and every
    part has the attributes, hooks and flags that it had, and its lists and dicts what they held. Raises: TypeError for
    what could not be given back.
    """

    def __init__(self, module: nn.Module, device: str | None = None):
        self.module, self.device = module, device
        self.held: Held | None = None

    def __enter__(self) -> nn.Module:
        if not can_be_lent(self.module):
            raise TypeError("it cannot be copied, and has a scripted part, whose tensors cannot be lent and given back")
        self.held = Held(self.module)
        copies: dict[int, Tensor] = {}
        tensors: Any
        for part in self.module.modules():
            for tensors in (part._parameters, part._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None:
                        tensors[name] = copies.setdefault(id(tensor), _tensor(tensor, self.device))
        return self.module

    def __exit__(self, *error: object) -> None:
        assert self.held is not None
        self.held.put_back()
        self.held = None
