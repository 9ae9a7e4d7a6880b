"""Where something is wrong in a spec, what was found, what was expected, and what to do."""

from __future__ import annotations

import difflib
import itertools
import os
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SHOWN_WIDTH = 160  # characters of a source line that a message shows
SHOWN_NAMES = 30  # names that a message lists
LONGEST_NAME = 160  # characters of a name that is looked for among others, and of these
SEARCHED_NAMES = 1_000  # names that are searched for the one that was meant
SHOWN_LINKS = 10  # links of a chain: the first three and the last ones
MAX_PROBLEMS = 100  # of one file; whoever has more mends these first


@dataclass(frozen=True)
class Document:
    """What was read: a file with its lines, or an argument that somebody typed."""

    path: Path
    lines: tuple[str, ...] = field(compare=False, repr=False)
    is_file: bool = True

    @property
    def shown(self) -> str:
        """The path as a reader at the current folder would type it; nothing for an argument."""
        return shown_path(self.path) if self.is_file else ""


def shown_path(path: Path) -> str:
    """`path` relative to the current folder where it lies below it, else as it is."""
    absolute = os.path.abspath(path)
    here = os.getcwd()
    below = absolute.startswith(here.rstrip(os.sep) + os.sep)
    return quote_plain(os.path.relpath(absolute, here) if below else absolute)


@dataclass(frozen=True)
class Place:
    """A point in a document. Lines and columns count from 1; column 0 stands for the whole line or file."""

    document: Document
    line: int
    column: int

    def __str__(self) -> str:
        """`file:line:column`, as editors and terminals link it; nothing within an argument."""
        if not self.document.is_file:
            return ""
        column = f":{self.column}" if self.column else ""
        line = f":{self.line}" if self.line else ""
        return f"{self.document.shown}{line}{column}"

    @property
    def short(self) -> str:
        """`file:line`."""
        return f"{self.document.shown}:{self.line}"

    def excerpt(self) -> list[str]:
        """The source line, cut where it is long, and a caret under the column; nothing where there is no such line."""
        if not (self.column and 0 < self.line <= len(self.document.lines)):
            return []
        text = self.document.lines[self.line - 1].replace("\t", " ")
        if not text.strip():
            return []
        start = max(0, self.column - SHOWN_WIDTH // 2) if len(text) > SHOWN_WIDTH else 0
        end = start + SHOWN_WIDTH
        left, right = "..." if start else "", "..." if end < len(text) else ""
        before = left + quote_plain(text[start : self.column - 1])
        return [f"{left}{quote_plain(text[start:end]).rstrip()}{right}", " " * columns(before) + "^"]


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
        where = str(self.place) if self.place else ""
        lines = [f"{where}: {self.message}" if where else self.message]
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
            links = [str(frame) for frame in self.chain]
            if len(links) > SHOWN_LINKS:
                links[3 : 3 - SHOWN_LINKS] = ["..."]
            lines.append("  in " + " > ".join(links))
        return "\n".join(map(quote_plain, lines))


class RvCheckError(Exception):
    """The question was wrong: an unusable argument, an unknown name, a bad spec. The command line exits with 2."""


class SpecError(RvCheckError):
    """Everything that is wrong with a spec, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]):
        """Keep each problem once, whatever the chains that led there."""
        self.problems: list[Problem] = list(dict.fromkeys(problems))
        super().__init__(self.problems)

    def __str__(self) -> str:
        shown = [str(problem) for problem in self.problems[:MAX_PROBLEMS]]
        if len(self.problems) >= MAX_PROBLEMS:
            shown.append(f"These are the first {MAX_PROBLEMS} problems; there may be more.")
        return "\n\n".join(shown)


class Enough(Exception):
    """There are so many problems that no more are looked for."""


class Collector:
    """Gathers the problems of one file, so that its reader hears of all of them at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def add(self, message: str, place: Place, expected: str | None = None, near: str | None = None) -> None:
        """Keep a problem. Raises: Enough."""
        self.keep([Problem(message, place, expected, near)])

    def keep(self, problems: Iterable[Problem]) -> None:
        """Keep problems that were found elsewhere. Raises: Enough."""
        self.problems += problems
        if len(self.problems) >= MAX_PROBLEMS:
            raise Enough

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep the problems that are raised within, and go on after it. Raises: Enough."""
        try:
            yield
        except SpecError as error:
            self.keep(error.problems)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """The problems of one file in the order of its lines."""
    return sorted(problems, key=lambda p: (p.place.line, p.place.column) if p.place else (0, 0))


def once_per_place(problems: Iterable[Problem]) -> list[Problem]:
    """The first problem of each place: a line that is wrong in every block of a network is one mistake."""
    first: dict[object, Problem] = {}
    for problem in problems:
        first.setdefault(problem.place or problem, problem)
    return list(first.values())


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, if one does.

    Comparing two texts takes the product of their lengths, and up to a hundred names of a file are looked for: only
    what can be a name is compared, with the first of many.
    """
    if len(name) > LONGEST_NAME:
        return None
    some = [other for other in itertools.islice(known, SEARCHED_NAMES) if len(other) <= LONGEST_NAME]
    found = difflib.get_close_matches(name, some, n=1)
    return found[0] if found else None


def listed(names: Iterable[str], none: str = "") -> str:
    """Names as a message lists them, the first of many; `none` where there are none."""
    every = list(names)
    more = f", and {len(every) - SHOWN_NAMES} more" if len(every) > SHOWN_NAMES else ""
    return ", ".join(every[:SHOWN_NAMES]) + more or none


def columns(text: str) -> int:
    """How many columns a terminal gives to `text`."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def quote_plain(text: str) -> str:
    """`text` with everything a terminal might obey made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quote(text: str, limit: int = 60) -> str:
    """`text` between quotes, shortened and made printable, as messages show what they found."""
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return "'" + quote_plain(cut) + "'"
