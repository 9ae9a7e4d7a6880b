"""Where something is wrong in a spec, what was found, what was expected, and what to do."""

from __future__ import annotations

import copyreg
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rv_check.text import columns, listed, nearest, quote, quote_plain, shown_path

SHOWN_WIDTH = 160  # characters of a source line that a message shows
SHOWN_LINKS = 10  # links of a chain: the first three and the last ones
MAX_PROBLEMS = 100  # problems of one file; whoever has more mends these first


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


@dataclass(frozen=True)
class Place:
    """A point in a document. Lines and columns count from 1; column 0 stands for the whole line or file."""

    document: Document
    line: int
    column: int

    def __str__(self) -> str:
        """The place as `file:line:column`, which editors and terminals link; nothing within an argument."""
        if not self.document.is_file:
            return ""
        column = f":{self.column}" if self.column else ""
        line = f":{self.line}" if self.line else ""
        return f"{self.document.shown}{line}{column}"

    @property
    def short(self) -> str:
        """The place as `file:line`."""
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
    """One thing that is wrong: the one place where what messages say is laid out.

    `expected` says what would be right, `near` the name that was probably meant, `details` what else is known, each on
    a line: what was tried, the frames of somebody's code. A detail that is an error's text has its further lines.
    """

    message: str
    place: Place | None = None
    expected: str | None = None
    near: str | None = None
    chain: tuple[Frame, ...] = field(default=(), compare=False)
    details: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = str(self.place) if self.place else ""
        lines = [f"{place}: {self.message}" if place else self.message]
        if self.place:
            lines += [f"  {line}" for line in self.place.excerpt()]
        lines += [line for text in self.details for line in f"  {text}".split("\n")]
        hints = [f"expected: {self.expected}"] if self.expected else []
        hints += [meant(self.near)] if self.near else []
        if hints:
            lines.append("  " + "    ".join(hints))
        lines += [f"  {line}" for line in self.links()]
        return "\n".join(map(quote_plain, lines))

    @property
    def words(self) -> str:
        """What a finding says of the problem; the place and what was expected are columns of their own there."""
        hints = [meant(self.near)] if self.near else []
        return "\n".join([self.message, *(f"  {text}" for text in self.details), *hints, *self.links()])

    def links(self) -> list[str]:
        """The line with the chain of calls, of a long one both ends; nothing where there is none."""
        links = [str(frame) for frame in self.chain]
        if len(links) > SHOWN_LINKS:
            links[3 : 3 - SHOWN_LINKS] = ["..."]
        return [f"in {' > '.join(links)}"] if links else []

    def said_of(self, what: str) -> Problem:
        """The same problem as one of something, `what: message`."""
        return replace(self, message=f"{what}: {self.message}")

    def told_at(self, place: Place | None) -> Problem:
        """The same problem at a place of a file, unless it is in a file itself.

        The line of an argument that it stands in is a detail then.
        """
        if self.place and self.place.document.is_file:
            return self
        typed = self.place.excerpt() if self.place else []
        return replace(self, place=place, details=(*typed, *self.details))


def meant(near: str) -> str:
    """The name that was probably meant, in words."""
    return f"did you mean: {near}"


class RvCheckError(Exception):
    """The question was wrong: an unusable argument, an unknown name, a bad spec. The command line exits with 2.

    Its text is that of its problems, one but for a SpecError. Whoever needs a part takes the attribute.
    """

    problems: list[Problem]  # one at least

    def __init__(
        self,
        message: str,
        *,
        details: Iterable[str] = (),
        expected: str | None = None,
        near: str | None = None,
        place: Place | None = None,
    ):
        """Args: those of a Problem. Lines of a message after the first, as torch has them, are details."""
        first, *more = message.split("\n")
        below = (text.expandtabs(2) for text in (*more, *details) if text.strip())
        self.problems = [Problem(first, place, expected, near, details=tuple(below))]
        super().__init__(message)

    def __str__(self) -> str:
        shown = [str(problem) for problem in self.problems[:MAX_PROBLEMS]]
        if len(self.problems) >= MAX_PROBLEMS:
            shown.append(f"These are the first {MAX_PROBLEMS} problems; there may be more.")
        return "\n\n".join(shown)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        """What a process sends to another: the attributes, whatever the class takes to be made."""
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]

    def said_of(self, what: str) -> RvCheckError:
        """The same error as one of something, `what: message`."""
        error = RvCheckError("")
        error.problems = [problem.said_of(what) for problem in self.problems]
        return error

    @property
    def message(self) -> str:
        """The message of the first problem."""
        return self.problems[0].message

    @property
    def details(self) -> tuple[str, ...]:
        """The details of the first problem."""
        return self.problems[0].details

    @property
    def expected(self) -> str | None:
        """What would be right in place of the first problem."""
        return self.problems[0].expected

    @property
    def near(self) -> str | None:
        """The name that was probably meant at the first problem."""
        return self.problems[0].near

    @property
    def place(self) -> Place | None:
        """The place of the first problem."""
        return self.problems[0].place


class CannotRun(RvCheckError):
    """Something that a check needs is not here. The message says what, and what would bring it."""


class SpecError(RvCheckError):
    """Everything that is wrong with a spec, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]):
        """Keep each problem once, whatever the chains that led there."""
        self.problems = list(dict.fromkeys(problems))
        assert self.problems, "an error says what is wrong"
        Exception.__init__(self, self.problems)


def spec_error(message: str, place: Place | None, expected: str | None = None, near: str | None = None) -> SpecError:
    """The error that one thing is wrong with a spec."""
    return SpecError([Problem(message, place, expected, near)])


def unknown(what: str, name: str, known: Iterable[str], expected: str | None = None) -> RvCheckError:
    """The error that nothing is known by a name: `unknown arch 'resnet8'`. `expected`: the known names unless given."""
    known = list(known)
    return RvCheckError(f"unknown {what} {quote(name)}", expected=expected or listed(known), near=nearest(name, known))


def cannot_write(path: Path, why: OSError | str, so: str = "") -> RvCheckError:
    """The error that a file cannot be written, and why. `so`: what was done instead."""
    reason = why if isinstance(why, str) else why.strerror or str(why)
    return RvCheckError(f"{path} cannot be written{so and f', so {so}'}: {reason}")


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
