"""Where something is wrong in a spec, what was found, what was expected, and what to do."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SHOWN_WIDTH = 160  # characters of a source line that a message shows


@dataclass(frozen=True)
class Document:
    """A file that was read: its path as given, and its lines."""

    path: Path
    lines: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The path as a reader at the current folder would type it."""
        return shown_path(self.path)


def shown_path(path: Path) -> str:
    """`path` relative to the current folder where it lies below it, else as it is."""
    absolute = os.path.abspath(path)
    here = os.getcwd()
    if absolute.startswith(here + os.sep):
        return os.path.relpath(absolute, here)
    return absolute


@dataclass(frozen=True)
class Place:
    """A point in a document. Lines and columns count from 1; column 0 stands for the whole line or file."""

    document: Document
    line: int
    column: int

    def __str__(self) -> str:
        """`file:line:column`, as editors and terminals link it."""
        column = f":{self.column}" if self.column else ""
        line = f":{self.line}" if self.line else ""
        return f"{self.document.shown}{line}{column}"

    @property
    def short(self) -> str:
        """`file:line`."""
        return f"{self.document.shown}:{self.line}"

    def excerpt(self) -> list[str]:
        """The source line and a caret under the column; nothing where there is no such line."""
        if not (self.column and 0 < self.line <= len(self.document.lines)):
            return []
        text = self.document.lines[self.line - 1].replace("\t", " ")
        start = max(0, self.column - SHOWN_WIDTH // 2) if len(text) > SHOWN_WIDTH else 0
        return [quote_plain(text[start : start + SHOWN_WIDTH]).rstrip(), " " * (self.column - 1 - start) + "^"]


@dataclass(frozen=True)
class Frame:
    """One link of the chain of calls that led to a place: `layer1: stage(...)`, and where it is written."""

    text: str
    place: Place | None = None

    def __str__(self) -> str:
        return f"{self.text} {self.place.short}" if self.place else self.text


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. `expected` says what would be right, `near` the name that was probably meant."""

    message: str
    place: Place | None = None
    expected: str | None = None
    near: str | None = None
    chain: tuple[Frame, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        head = f"{self.place}: {self.message}" if self.place else self.message
        lines = [head]
        if self.place:
            lines += [f"  {line}" for line in self.place.excerpt()]
        hints = []
        if self.expected:
            hints.append(f"expected: {self.expected}")
        if self.near:
            hints.append(f"did you mean: {self.near}")
        if hints:
            lines.append("  " + "    ".join(hints))
        if self.chain:
            lines.append("  in " + " > ".join(map(str, self.chain)))
        return "\n".join(lines)


class RvCheckError(Exception):
    """The question was wrong: an unusable argument, an unknown name, a bad spec. The command line exits with 2."""


class SpecError(RvCheckError):
    """Everything that is wrong with a spec, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]):
        """Keep each problem once; the same place reached along several chains is one problem."""
        self.problems: list[Problem] = list(dict.fromkeys(problems))
        super().__init__(str(self))

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.problems))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, if one does."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return found[0] if found else None


def quote_plain(text: str) -> str:
    """`text` with everything a terminal might obey made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quote(text: str, limit: int = 60) -> str:
    """`text` between quotes, shortened and made printable, as messages show what they found."""
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return "'" + quote_plain(cut) + "'"
