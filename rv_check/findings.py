"""Results are values: what a check found, and a report of findings. Nothing here prints or decides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from rv_check.problems import Place

Status = Literal["passed", "failed", "skipped", "blocked"]
Level = Literal["spec", "numbers"]
LEVELS: tuple[Level, ...] = ("spec", "numbers")  # cheapest first


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    passed: it holds. failed: it does not. skipped: it could not run; `reason` says why and what would run it.
    blocked: what it builds on failed. Only passed ever counts as passed.
    """

    subject: str  # the arch
    check: str
    level: Level
    status: Status
    message: str
    found: str | None = None
    expected: str | None = None
    reason: str | None = None
    source: str | None = None
    difference: float | None = None  # measured, relative to the largest expected value
    tolerance: float | None = None
    place: Place | None = None

    @property
    def id(self) -> str:
        """`resnet50::macs`."""
        return f"{self.subject}::{self.check}"

    def lines(self) -> list[str]:
        """The finding in words, for a terminal."""
        at = f"{self.place.short}: " if self.place else ""
        lines = [f"{self.id} {self.status}: {self.message}"]
        if self.status in ("failed", "blocked") and self.place:
            lines[0] = f"{at}{lines[0]}"
            lines += [f"    {line}" for line in self.place.excerpt()]
        if self.found is not None:
            lines.append(f"    found:    {self.found}")
        if self.expected is not None:
            lines.append(f"    expected: {self.expected}")
        if self.reason is not None:
            lines.append(f"    reason:   {self.reason}")
        if self.source and self.status != "passed":
            lines.append(f"    source:   {self.source}")
        return lines

    def as_json(self) -> dict[str, Any]:
        """The documented object: every key is always there."""
        place = self.place
        return {
            "id": self.id,
            "subject": self.subject,
            "check": self.check,
            "level": self.level,
            "status": self.status,
            "message": self.message,
            "found": self.found,
            "expected": self.expected,
            "reason": self.reason,
            "source": self.source,
            "difference": self.difference,
            "tolerance": self.tolerance,
            "file": place.document.shown if place else None,
            "line": place.line if place else None,
        }


@dataclass(frozen=True)
class Report:
    """The findings on one subject.

    `passed` is true when there is at least one finding and every one passed: a skip is no pass.
    """

    subject: str
    against: str
    findings: tuple[Finding, ...] = field(default=())

    @property
    def passed(self) -> bool:
        return bool(self.findings) and all(f.status == "passed" for f in self.findings)

    @property
    def failed(self) -> bool:
        """Whether something does not hold."""
        return any(f.status in ("failed", "blocked") for f in self.findings)

    def reached(self, level: Level) -> bool:
        """Whether there were checks of that level and all of them passed."""
        of_level = [f for f in self.findings if f.level == level]
        return bool(of_level) and all(f.status == "passed" for f in of_level)

    @property
    def level(self) -> Level | None:
        """The highest level reached, every lower one included."""
        reached: Level | None = None
        for level in LEVELS:
            if not self.reached(level):
                break
            reached = level
        return reached

    def require(self, level: Level | None) -> Report:
        """This report with every skip at that level or below turned into a failure."""
        if level is None:
            return self
        wanted = LEVELS[: LEVELS.index(level) + 1]
        return replace(self, findings=tuple(map(lambda f: required(f, wanted), self.findings)))

    def __str__(self) -> str:
        verdict = "holds" if self.passed else "does not hold" if self.failed else "is not shown"
        lines = [f"{self.subject} against {self.against}: {verdict}"]
        for finding in self.findings:
            if finding.status != "passed":
                lines += [f"  {line}" for line in finding.lines()]
        return "\n".join(lines)


def required(finding: Finding, levels: Iterable[Level]) -> Finding:
    """A skip at a required level is a failure."""
    if finding.status == "skipped" and finding.level in levels:
        return replace(finding, status="failed", message=f"skipped, and level {finding.level} is required")
    return finding
