"""How far a long run is, and the time to go, on stderr: a bar on a terminal, elsewhere a line each half minute."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from types import TracebackType
from typing import Self

from rv_check.text import duration

EVERY = 30.0  # seconds between two lines where there is no terminal to draw on
LEAST = 0.05  # of all parts, done before the pace says anything: what comes first is slow, as torch is imported there
Above = Callable[[int, int], Sequence[str]]  # lines that stand above a bar, for so many columns and rows at most


class Progress:
    """Counts the parts of a long run, and says each half minute on stderr how far it is.

    `parts`: how many there are; parts that cost more may count for more.
    """

    def __init__(self, parts: float):
        self.parts, self.done = parts, 0.0
        self.skipped = 0.0  # of those that were there already, and took no time
        self.text = ""  # what it is at, or what was done last
        self.began = self.stepped = self.told = monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing on a terminal."""

    def at(self, text: str) -> None:
        """It is at this now."""
        self.text = text

    def step(self, parts: float = 1.0, text: str = "", took_time: bool = True) -> None:
        """So many parts more are done; `text` says of what, where it was not said before."""
        self.done += parts
        self.skipped += 0 if took_time else parts
        self.text = text or self.text
        self.stepped = monotonic()
        self.show()

    def show(self) -> None:
        """Print a line where half a minute has gone since the last one."""
        if sys.stderr is None or self.stepped - self.told < EVERY:
            return
        self.told = self.stepped
        line = f"{self.text}; {self.done / self.parts:.0%}, {duration(self.left(self.stepped))} to go"
        print(line, file=sys.stderr, flush=True)

    def left(self, now: float) -> float | None:
        """Seconds to go at the pace of the steps so far; None while too few were done to know it."""
        paced = self.done - self.skipped
        if not paced or paced < LEAST * self.parts:
            return None
        at_the_step = (self.stepped - self.began) * (self.parts - self.done) / paced
        return max(0.0, at_the_step - (now - self.stepped))

    def aside(self) -> AbstractContextManager[None]:
        """Take what is drawn away while something else is printed."""
        return nullcontext()


def progress(parts: float, note: Callable[[str], None], above: Above | None = None) -> Progress:
    """What tells how far a run of so many parts is, as stderr allows.

    Args: `note` is told once what to install where a bar could be drawn; `above` gives lines that stand above the bar.
    """
    if not _is_terminal():
        return Progress(parts)
    try:
        from rv_check.cli.bar import Bar
    except ImportError as error:
        note(f"rv-check: no bar ({error}); pip install 'rv-check[torch]' brings it")
        return Progress(parts)
    return Bar(parts, above)


def _is_terminal() -> bool:
    """Whether stderr is a terminal on which lines can be drawn anew."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
