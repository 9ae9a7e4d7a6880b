"""Words for people: names in quotes, lists of names, the name that was probably meant, shapes, durations."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

SHOWN_NAMES = 30  # names that a message lists


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like `name`, if one does."""
    found = difflib.get_close_matches(name, list(known), n=1)
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


def shown_path(path: Path) -> str:
    """`path` relative to the current folder where it lies below it, else as it is."""
    absolute = os.path.abspath(path)
    here = os.getcwd()
    below = absolute.startswith(here.rstrip(os.sep) + os.sep)
    return quote_plain(os.path.relpath(absolute, here) if below else absolute)


def shown_shape(x: Iterable[int | None]) -> str:
    """A shape as the language writes it: `3 224 224`, `_` for a size that is not known."""
    return " ".join("_" if size is None else str(size) for size in x)


def first_line(error: BaseException) -> str:
    """The first line of what somebody else's exception says: the others are for whoever wrote that code."""
    return str(error).partition("\n")[0]


def duration(seconds: float | None) -> str:
    """`1 h 02 min`, `3 min 05 s`, `12 s`."""
    if seconds is None:
        return "some time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
