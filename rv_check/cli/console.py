"""What a command says: results on stdout and all else on stderr, while it works, and its answer at the end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rv_check.cli.progress import Above, Progress, progress
from rv_check.errors import cannot_write
from rv_check.writing import put

if TYPE_CHECKING:
    from rv_check.checks.findings import Report

HELD, DID_NOT_HOLD, WRONG_QUESTION = 0, 1, 2
INTERRUPTED, NO_READER = 130, 141  # as a shell says it: 128 and the signal


@dataclass(frozen=True)
class Answer:
    """What a command found: for programs, for people, and as an exit status. Only what is printed is made."""

    data: Callable[[], Mapping[str, Any]]  # the object of --json
    text: Callable[[], str]
    status: int = HELD
    output: Path | None = None  # a file that takes what stdout would show
    reports: Sequence[Report] = ()  # those whose failures are annotated in a run of CI


class Console:
    """The two streams of a command. `form`: json, where its answer is one object and nothing else is on stdout, text,
    or another that programs read.

    stdout is what it was when this was made: modules print, too, and `sys.stdout` is lent to them meanwhile.
    """

    def __init__(self, form: str = "text"):
        self.form = form
        self._out = sys.stdout
        self._progress: Progress | None = None

    @contextmanager
    def progress(self, parts: float, above: Above | None = None) -> Iterator[Progress]:
        """Tell on stderr how far a long run is, until the end of the block. Args: as for `progress.progress`."""
        with progress(parts, self.note, above) as self._progress:
            try:
                yield self._progress
            finally:
                self._progress = None

    def _aside(self) -> AbstractContextManager[None]:
        """What is drawn on the terminal is away inside."""
        return self._progress.aside() if self._progress else nullcontext()

    def say(self, text: str) -> None:
        """Print a result as it comes, unless the answer is an object, in which it is as well."""
        if self.form != "json" and self._out is not None:
            with self._aside():
                print(text, file=self._out, flush=True)

    def note(self, text: str) -> None:
        """Print on stderr what is no result."""
        with self._aside():
            print(text, file=sys.stderr, flush=True)

    def shown(self, answer: Answer) -> str:
        """The answer in the form that was asked for."""
        return json.dumps(answer.data(), indent=2) if self.form == "json" else answer.text()

    def write(self, text: str, output: Path | None) -> None:
        """Write to the file, or to stdout, also where the file turns out not to take it: the work is not lost.

        Raises: RvCheckError.
        """
        if output is None:
            self._print(text)
            return
        try:
            put(output, f"{text}\n".encode())
        except OSError as error:
            self._print(text)
            raise cannot_write(output, error, "the report is on stdout") from None

    def annotate(self, answer: Answer) -> None:
        """Mark what failed in a run of GitHub Actions: on stdout, where no program reads it."""
        if os.environ.get("GITHUB_ACTIONS") != "true" or not answer.reports:
            return
        from rv_check.report.github import workflow_commands

        is_read = self.form != "text" or answer.output is not None
        for report in answer.reports:
            for line in workflow_commands(report):
                print(line, file=sys.stderr) if is_read else self._print(line)

    def _print(self, text: str) -> None:
        if self._out is not None:
            print(text, file=self._out)
