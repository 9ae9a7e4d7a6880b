"""What autograd would keep track of in what a module does: where a gradient ends, and which functions have their own.

A tensor says itself whether it needs a gradient, as autograd runs beside the recording in train mode. What is cut off,
by `detach`, `no_grad` or a parameter that is frozen, is cut off in the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx

from rv_check.graphs.builder import Builder, Form, Site
from rv_check.graphs.graph import Fused, Node

TORCHS = ("torch.utils.checkpoint", "torch._library.autograd")  # what is done in their functions is seen as it is


class Autograd:
    """Which values of a graph a gradient may be passed to.

    Args: `trained` the names of the parameters that have one.
    """

    def __init__(self, form: Form, trained: Iterable[str]):
        self.are_followed = form is Form.AS_RUN and torch.is_grad_enabled()
        self.trained = frozenset(trained)
        self.fused: Fused | None = None  # what is one to autograd, under way
        self.functions = 0  # those under way that are no operations to autograd: nothing in them needs a gradient
        self.learned: dict[Node, bool] = {}
        self.foreign: dict[Node, bool] = {}
        self.cut: dict[Node, Node] = {}

    def of(self, tensor: Tensor, value: Node, builder: Builder) -> Node:
        """What an operation reads in a tensor: its value, through which no gradient is passed where it needs none.

        Whether one is passed through somebody else's operator is not known, whatever its result says.
        """
        if not self.are_followed or self.functions or tensor.requires_grad:
            return value
        if not self.is_learned(value) or _depends(value, _is_foreign, self.foreign):
            return value
        if value not in self.cut:
            site = Site(value.name, value.place, "function", value.rerun)
            self.cut[value] = builder.at(site).make("detach", value, shape=value.shape)
            self.cut[value].dtype = value.dtype
        return self.cut[value]

    def is_learned(self, value: Node) -> bool:
        """Whether it depends on a parameter that has a gradient."""
        return _depends(value, self._is_trained, self.learned)

    def _is_trained(self, node: Node) -> bool:
        """Whether it is, or itself uses, such a parameter."""
        is_own = node.kind == "state" and node.name in self.trained
        return is_own or any(state.name in self.trained for _, state in node.states)

    @contextmanager
    def as_one(self, fused: Fused) -> Iterator[Fused]:
        """Within, what is done is one to autograd, unless it is a part of something that is."""
        outer, self.fused = self.fused, self.fused or fused
        try:
            yield fused
        finally:
            self.fused = outer

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Within, autograd sees nothing of what is done."""
        self.functions += 1
        try:
            yield
        finally:
            self.functions -= 1


def _is_foreign(node: Node) -> bool:
    """Whether it is somebody else's operator, of which nothing is known."""
    return "::" in node.kind and node.row.keeps == "unknown"


def _depends(value: Node, on: Callable[[Node], bool], known: dict[Node, bool]) -> bool:
    """Whether what is so is among what a value is made of, as far as nothing is detached. `known`: of which it is."""
    stack = [value]
    while stack:
        node = stack[-1]
        feeds = () if node.kind == "detach" else node.feeds
        waiting = [feed for feed in feeds if feed not in known]
        if node in known or not waiting:
            stack.pop()
            known[node] = on(node) or any(known[feed] for feed in feeds)
        else:
            stack += waiting
    return known[value]


class Recording(Protocol):
    """What is told of functions."""

    autograd: Autograd
    builder: Builder

    def read(self, tensor: Tensor) -> Node:
        """The value that a tensor holds."""


@contextmanager
def functions_told(recording: Recording) -> Iterator[None]:
    """Within, of every `autograd.Function` it is told what it is given, gives, and keeps for its backward pass."""
    torchs, save, autograd = Function.__dict__["apply"], FunctionCtx.save_for_backward, recording.autograd

    def read(values: Iterable[Any]) -> tuple[Node, ...]:
        return tuple(recording.read(one) for one in values if isinstance(one, Tensor))

    def saved(ctx: Any, *tensors: Any) -> None:
        save(ctx, *tensors)
        fused = autograd.fused
        if fused is not None and fused.kernel == "function" and autograd.functions == 1:
            fused.kept += read(tensors)

    def applied(function: type[Function], *args: Any, **kwargs: Any) -> Any:
        apply = torchs.__get__(None, function)
        if function.__module__ in TORCHS:
            with autograd.unseen():
                return apply(*args, **kwargs)
        given = (autograd.of(one, recording.read(one), recording.builder) for one in args if isinstance(one, Tensor))
        with autograd.as_one(Fused("function", tuple(given))) as fused, autograd.unseen():
            result = apply(*args, **kwargs)
        results = result if isinstance(result, tuple | list) else (result,)
        fused.outputs = read(one for one in results if isinstance(one, Tensor) and one.requires_grad)
        return result

    Function.apply, FunctionCtx.save_for_backward = classmethod(applied), saved  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Function.apply, FunctionCtx.save_for_backward = torchs, save  # type: ignore[method-assign]


def by_one_kernel(x: Tensor, hidden: Any) -> bool:
    """Whether torch does an LSTM by one kernel of oneDNN's on a CPU. Source: use_mkldnn in torch's RNN.cpp."""
    is_whole = isinstance(hidden, tuple | list) and hidden[0].shape[-1] == hidden[1].shape[-1]  # it projects nothing
    is_there = torch._C._has_mkldnn and torch.backends.mkldnn.enabled
    if not is_whole or x.device.type not in ("meta", "cpu") or not is_there:
        return False
    return x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
