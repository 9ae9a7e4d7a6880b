"""How far a long run is, and the time to go, on stderr."""

from __future__ import annotations

import sys
from time import monotonic

from rv_check.text import duration

EVERY = 30.0  # seconds between two lines where there is no terminal to rewrite one on


class Progress:
    """Counts the parts of a long run. `parts`: how many there are; parts that cost more may count for more."""

    def __init__(self, parts: float):
        self.parts, self.done = parts, 0.0
        self.skipped = 0.0  # of those that were there already, and took no time
        self.began = self.told = monotonic()

    def step(self, text: str, parts: float = 1.0, took_time: bool = True) -> None:
        """So many parts more are done; `text` says of what."""
        self.done += parts
        self.skipped += 0 if took_time else parts
        now = monotonic()
        on_terminal = sys.stderr is not None and sys.stderr.isatty()
        if sys.stderr is None or not (on_terminal or now - self.told >= EVERY):
            return
        self.told = now
        line = f"{text}; {self.done / self.parts:.0%}, {duration(self.left(now))} to go"
        _write(f"\r\x1b[K{line}" if on_terminal else f"{line}\n")

    def left(self, now: float) -> float | None:
        """Seconds to go at the pace so far; None while there is none."""
        paced = self.done - self.skipped
        return (now - self.began) * (self.parts - self.done) / paced if paced else None

    def close(self) -> None:
        """Take the line away."""
        if sys.stderr is not None and sys.stderr.isatty():
            _write("\r\x1b[K")


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
