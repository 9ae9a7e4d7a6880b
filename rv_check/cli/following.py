"""What is heard of the checks of several archs, in whatever order it comes: how far they are, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rv_check.archs.arch import Arch
from rv_check.checks.check import Check
from rv_check.checks.effort import seconds
from rv_check.checks.findings import Finding, Level, Report
from rv_check.checks.registry import checks_of
from rv_check.cli.console import Console
from rv_check.cli.progress import Above, Progress


@dataclass
class Followed:
    """An arch, the check that it is at, and what was found so far."""

    arch: Arch
    checks: Sequence[Check]
    at: int | None = None  # None before the first and after the last
    findings: list[Finding] = field(default_factory=list)
    said: int = 0  # how many of these were passed on
    report: Report | None = None

    def seconds(self, index: int) -> float:
        """About how long one of its checks takes."""
        return seconds(self.checks[index], self.arch.params)

    @property
    def so_far(self) -> Report:
        """The findings of the levels that were reached, and those that failed at another one."""
        if self.report is not None:
            return self.report
        now = self.checks[self.at].level if self.at is not None else None
        known = [f for f in self.findings if f.level != now or f.status in ("failed", "blocked")]
        return Report(self.arch.name, None, tuple(known))


class Following:
    """Hears of the archs, which are known by their index. `seen` hears of findings in the order of the archs."""

    def __init__(self, chosen: Sequence[Arch], levels: Sequence[Level], seen: Callable[[Finding], None]):
        self.archs = [Followed(arch, checks_of(arch, levels)) for arch in chosen]
        self.seen_in_order = seen
        self.progress = Progress(1.0)

    @contextmanager
    def shown(self, console: Console, above: Callable[[Following], Above] | None = None) -> Iterator[None]:
        """Show inside how far they are, unless it is over at once."""
        took = sum(arch.seconds(index) for arch in self.archs for index in range(len(arch.checks)))
        if not took:
            yield
            return
        with console.progress(took, above(self) if above else None) as self.progress:
            yield

    @property
    def reports(self) -> list[Report]:
        """The reports of archs that are done."""
        return [arch.report for arch in self.archs if arch.report is not None]

    @property
    def at_work(self) -> list[int]:
        """The archs that are being checked."""
        return [index for index, arch in enumerate(self.archs) if arch.at is not None]

    def starting(self, index: int, check: int) -> None:
        """A check of an arch begins, and the one before it has ended."""
        arch = self.archs[index]
        before, arch.at = arch.at, check
        self._tell(arch, before)

    def seen(self, index: int, finding: Finding) -> None:
        """A check found something."""
        self.archs[index].findings.append(finding)
        self._pass_on()

    def ended(self, index: int, report: Report) -> None:
        """All checks of an arch were made."""
        arch = self.archs[index]
        before, arch.at, arch.report = arch.at, None, report
        self._tell(arch, before)
        self._pass_on()

    def _tell(self, arch: Followed, before: int | None) -> None:
        busy = [self.archs[index] for index in self.at_work]
        self.progress.at(", ".join(f"{one.arch.name}::{one.checks[one.at].name}" for one in busy if one.at is not None))
        if before is not None:
            self.progress.step(arch.seconds(before))

    def _pass_on(self) -> None:
        """Say what was found of each arch up to the first that is not done."""
        for arch in self.archs:
            new, arch.said = arch.findings[arch.said :], len(arch.findings)
            for finding in new:
                self.seen_in_order(finding)
            if arch.report is None:
                return
