"""A bar on a terminal, drawn by rich, below lines that change while it runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from time import monotonic
from types import TracebackType
from typing import Self

from rich import progress as rich
from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.styled import Styled
from rich.table import Column
from rich.text import Text

from rv_check.cli.progress import Above, Progress
from rv_check.text import duration

BELOW = 3  # rows of the terminal that are not for what stands above: an empty one, the bar, and the cursor's


class Bar(Progress):
    """The share that is done, the time to go and what it is at: one line, gone at the end.

    It leaves room for the `^C` that a terminal writes, which would go to the next line, and that would stay.
    """

    def __init__(self, parts: float, above: Above | None = None):
        super().__init__(parts)
        self.above = above
        self._console = Console(file=sys.stderr, force_terminal=True)
        self._bar = rich.Progress(
            rich.BarColumn(bar_width=24, complete_style="green"),
            rich.TaskProgressColumn(),
            rich.TextColumn("{task.fields[left]} to go", markup=False),
            rich.TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=self._console,
            auto_refresh=False,
        )
        self._task = self._bar.add_task("", total=parts, left=duration(None))
        self._live = self._drawn()

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self) -> None:
        """Nothing: it is drawn four times a second."""

    def aside(self) -> AbstractContextManager[None]:
        return self._away()

    @contextmanager
    def _away(self) -> Iterator[None]:
        self._live.stop()
        try:
            yield
        finally:
            self._live = self._drawn()  # a new one: the old one would go up by as many lines as it had drawn
            self._live.start(refresh=True)

    def _drawn(self) -> Live:
        """The display. What a module prints meanwhile goes above it, to stderr."""
        return Live(console=self._console, transient=True, get_renderable=self._frame, vertical_overflow="crop")

    def _frame(self) -> RenderableType:
        """What is shown now. The colour is named, or tox would show it red, as it does whatever goes to stderr."""
        left = duration(self.left(monotonic()))
        self._bar.update(self._task, completed=self.done, description=self.text, left=left)
        lines = self.above(self._console.width, self._console.height - BELOW) if self.above else ()
        parts: list[RenderableType] = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
        if parts:
            parts.append(Text())
        parts.append(Constrain(self._bar.get_renderable(), self._console.width - len("^C") - 1))
        return Styled(Group(*parts), "default")
