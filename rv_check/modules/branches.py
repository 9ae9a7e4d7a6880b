"""What of a module's code did not run: branches that neither its inputs nor their values led to."""

from __future__ import annotations

import dis
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor, nn

from rv_check.errors import Document, Place

OURS = (os.path.dirname(torch.__file__) + os.sep, str(Path(__file__).parents[1]) + os.sep)

# What is made of an image, so that conditions on its values have one answer and the other.
VARIANTS: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    ("as it is", lambda x: x),
    ("with its sign turned", lambda x: -x),
    ("without a sign", torch.abs),
    ("30 times as large", lambda x: 30 * x),
    ("of zeros", torch.zeros_like),
)


def is_of_users(code: CodeType) -> bool:
    """Whether code is neither torch's nor ours."""
    return not code.co_filename.startswith((*OURS, "<"))


def folders_of(module: nn.Module) -> tuple[str, ...]:
    """The folders of the files that a module's own classes stand in, torch's apart."""
    files = {getattr(sys.modules.get(type(part).__module__), "__file__", None) for part in module.modules()}
    return tuple(os.path.dirname(file) + os.sep for file in files if file and not file.startswith(OURS))


@dataclass
class Reached:
    """Notes which instructions run, within, of the functions in these folders that are called.

    `left`: of each function those that have not run.
    """

    folders: tuple[str, ...]
    left: dict[CodeType, set[int]] = field(default_factory=dict)
    followed: dict[CodeType, bool] = field(default_factory=dict)
    before: Any = None  # a debugger, or a measurement of coverage

    def __enter__(self) -> Reached:
        self.before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self.before)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if not self._is_followed(code):
            return None
        if code not in self.left:
            self.left[code] = {one.offset for one in _told_of(code)}
        if not self.left[code]:
            return None  # there is nothing more to learn
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._instruction

    def _is_followed(self, code: CodeType) -> bool:
        """Whether code stands in the folders; packages that are installed within these are not somebody's own."""
        if code not in self.followed:
            name = code.co_filename
            inner = next((name.removeprefix(folder) for folder in self.folders if name.startswith(folder)), None)
            self.followed[code] = inner is not None and is_of_users(code) and "site-packages" not in inner
        return self.followed[code]

    def _instruction(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode":
            self.left[frame.f_code].discard(frame.f_lasti)
        return self._instruction

    def never_ran(self) -> Iterator[Place]:
        """Where what did not run begins, of the functions that were called; what ends with an error is left out."""
        for code, left in self.left.items():
            for is_left, group in groupby(_told_of(code), key=lambda one: one.offset in left) if left else ():
                idle = list(group)
                if not is_left or any(one.opname in OF_ERRORS for one in idle):
                    continue
                does = next((one for one in idle if one.opname not in ENDS and one.positions), None)
                if does is not None and does.positions is not None and does.positions.lineno is not None:
                    line, column = does.positions.lineno, (does.positions.col_offset or 0) + 1
                    yield Place(Document(Path(code.co_filename), ()), line, column)


def _told_of(code: CodeType) -> list[dis.Instruction]:
    """The instructions of a function of which Python tells when they run."""
    return [one for one in dis.get_instructions(code) if one.opname not in UNSEEN]


# Instructions that stand in no source, those of raising and catching, and those that a function or branch ends with.
UNSEEN = ("CACHE", "NOP", "RESUME", "EXTENDED_ARG", "COPY_FREE_VARS", "MAKE_CELL", "RETURN_GENERATOR", "NOT_TAKEN")
OF_ERRORS = ("RAISE_VARARGS", "RERAISE", "LOAD_ASSERTION_ERROR", "PUSH_EXC_INFO", "CHECK_EXC_MATCH")
ENDS = ("LOAD_CONST", "RETURN_VALUE", "RETURN_CONST", "POP_TOP", "JUMP_FORWARD", "JUMP_BACKWARD", "SWAP", "COPY")
