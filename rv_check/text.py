"""Words for people: names in quotes, lists of names, the name that was probably meant, shapes, durations."""

from __future__ import annotations

import difflib
import itertools
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

SHOWN_NAMES = 30  # names that a message lists
LONGEST_NAME = 160  # characters of a name that is looked for among others, and of these
SEARCHED_NAMES = 1_000  # names that are searched for the one that was meant


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
    """The text, with everything that a terminal might obey made visible."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quote(text: str, limit: int = 60) -> str:
    """The text between quotes, shortened and made printable, as messages show what they found."""
    cut = text if len(text) <= limit else text[: limit - 3] + "..."
    return "'" + quote_plain(cut) + "'"


def shown_path(path: Path) -> str:
    """The path, relative to the current folder where it lies below it."""
    absolute = os.path.abspath(path)
    folder = os.getcwd()
    below = absolute.startswith(folder.rstrip(os.sep) + os.sep)
    return quote_plain(os.path.relpath(absolute, folder) if below else absolute)


def shown_shape(x: Iterable[int | None]) -> str:
    """A shape as the language writes it: `3 224 224`, `_` for a size that is not known."""
    return " ".join("_" if size is None else str(size) for size in x)


def first_line(error: BaseException) -> str:
    """The first line of what somebody else's exception says: the others are for whoever wrote that code."""
    return str(error).partition("\n")[0]


def duration(seconds: float | None) -> str:
    """A duration in words: `1 h 02 min`, `3 min 05 s`, `12 s`; `some time` where it is not known."""
    if seconds is None:
        return "some time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
