"""Which part of a module is running: its path, who calls torch, and the line of the user's code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import CodeType
from typing import Any

import torch
from torch import nn

from rv_check.errors import Document, Place
from rv_check.graphs.graph import Caller
from rv_check.modules.branches import is_of_users
from rv_check.modules.inputs import Batch

LAYERS = tuple(  # where torch has its layers; what holds other modules is none
    f"torch.nn.modules.{name}"
    for name in (
        *(
            "activation",
            "batchnorm",
            "conv",
            "dropout",
            "flatten",
            "instancenorm",
            "linear",
            "normalization",
            "padding",
        ),
        *("pooling", "upsampling", "pixelshuffle", "channelshuffle", "rnn", "sparse"),
    )
)


def run_module(module: nn.Module, data: Batch) -> Any:
    """The call that the search for the user's own line of code ends at."""
    return data.call(module)


class RunningPart:
    """Where an operator is called: in which part of the module, by whom, at which line of the user's code."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.callers: list[Caller] = []
        self.lines: dict[tuple[str, int], Place] = {}
        self.is_users: dict[CodeType, bool] = {}

    @property
    def name(self) -> str:
        """The path of the part that is running."""
        return self.path[-1] if self.path else ""

    @property
    def caller(self) -> Caller:
        """Who calls."""
        return self.callers[-1] if self.callers else "function"

    def following(self, module: nn.Module) -> AbstractContextManager[None]:
        """Within, it is known which part of the module is running. The hooks go when it ends."""
        stack = ExitStack()
        for name, part in module.named_modules():
            if isinstance(part, torch.jit.ScriptModule):
                continue  # it runs without Python, and takes no hooks of this kind
            stack.enter_context(Handle(part.register_forward_pre_hook(self.entering(name), prepend=True)))
            stack.enter_context(Handle(part.register_forward_hook(self.leaving, always_call=True)))
        return stack  # type: ignore[return-value]

    def entering(self, name: str) -> Callable[..., None]:
        """A hook that says which part begins."""

        def enter(module: nn.Module, args: Any) -> None:
            self.path.append(name)
            self.callers.append(caller_of(module))

        return enter

    def leaving(self, module: nn.Module, args: Any, output: Any) -> None:
        """A hook that says that a part has ended."""
        self.path.pop()
        self.callers.pop()

    def line(self) -> Place | None:
        """The innermost line that is neither torch's nor ours, since `run_module` called the module."""
        frame = sys._getframe(2)
        while frame is not None and frame.f_code is not run_module.__code__:
            code = frame.f_code
            if code not in self.is_users:
                self.is_users[code] = is_of_users(code)
            if self.is_users[code]:
                at = (code.co_filename, frame.f_lineno)
                if at not in self.lines:
                    self.lines[at] = Place(Document(Path(at[0]), ()), at[1], 0)
                return self.lines[at]
            frame = frame.f_back  # type: ignore[assignment]
        return None


def caller_of(module: nn.Module) -> Caller:
    """Whether a module is a layer of torch's, as counters know them that hook into modules."""
    if type(module).__module__.startswith(LAYERS):
        return "layer"
    return "subclass" if any(base.__module__.startswith(LAYERS) for base in type(module).__mro__) else "function"


class Handle:
    """A hook that goes when its context ends."""

    def __init__(self, handle: Any):
        self.handle = handle

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        self.handle.remove()
