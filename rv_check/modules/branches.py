"""Lines of a module's code that did not run: branches that the values of an image did not lead to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor

from rv_check.errors import Document, Place

# What is made of an image, so that conditions on its values have one answer and the other.
VARIANTS: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    ("as it is", lambda x: x),
    ("with its sign turned", lambda x: -x),
    ("without a sign", torch.abs),
    ("30 times as large", lambda x: 30 * x),
    ("of zeros", torch.zeros_like),
)


@dataclass
class Lines:
    """Notes which lines run, within, of the functions that are somebody's. `is_users` says of which code that is so."""

    is_users: Callable[[CodeType], bool]
    ran: dict[CodeType, set[int]] = field(default_factory=dict)
    before: Any = None  # a debugger, or a measurement of coverage

    def __enter__(self) -> Lines:
        self.before = sys.gettrace()
        sys.settrace(self._call)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self.before)

    def _call(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self.is_users(frame.f_code):
            return None
        self.ran.setdefault(frame.f_code, set())
        return self._line

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.ran[frame.f_code].add(frame.f_lineno)
        return self._line

    def unseen(self, asked: Set[tuple[str, int]]) -> Iterator[Place]:
        """The lines that did not run, of the functions in which values were asked for at these places."""
        for code, ran in self.ran.items():
            own = {line for _, _, line in code.co_lines() if line is not None}
            if any((code.co_filename, line) in asked for line in own):
                document = Document(Path(code.co_filename), ())
                yield from (Place(document, line, 0) for line in sorted(own - ran - {code.co_firstlineno}))
