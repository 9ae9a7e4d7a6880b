"""Results are values: what a check found, and a report of findings. Nothing here prints or decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any, Literal

from rv_check.errors import Place, RvCheckError
from rv_check.text import quote_plain

Status = Literal["passed", "failed", "skipped", "blocked"]
STATUSES: tuple[Status, ...] = ("passed", "failed", "skipped", "blocked")
Level = Literal["spec", "structure", "numbers"]
LEVELS: tuple[Level, ...] = ("spec", "structure", "numbers")  # cheapest first

IDENTITY = "identity"  # the check that says which arch a module is, where it is near to none


def up_to(level: Level | None) -> tuple[Level, ...]:
    """The level and the cheaper ones; all of them where none is given."""
    return LEVELS if level is None else LEVELS[: LEVELS.index(level) + 1]


@dataclass(frozen=True)
class Finding:
    """One thing that a check found.

    passed: it holds. failed: it does not. skipped: it could not run, or is known not to hold; `reason` says why and
    what would run it. blocked: what it builds on failed. Only passed ever counts as passed.
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
    deviation: str | None = None  # the known deviation that excuses it
    kind: str | None = None  # what a structural difference is: missing, extra, moved, replaced, arguments, wiring, ...
    count: int = 1  # how often the mistake was made
    step: str | None = None  # the step of the spec, where it is
    where: str = ""  # that step in words, where it has but a number
    module: str | None = None  # the path within the module, where it is
    call: Place | None = None  # the line that called it

    @property
    def id(self) -> str:
        """`resnet50::macs`."""
        return f"{self.subject}::{self.check}"

    @property
    def title(self) -> str:
        """The first line of the message, with the reason or the values that differ: what a one-line summary shows."""
        title = self.message.partition("\n")[0]
        if self.reason is not None:
            title += f": {self.reason}"
        elif self.status == "failed" and self.found is not None and self.expected is not None:
            title += f": found {self.found}, expected {self.expected}"
        return quote_plain(title)

    def lines(self) -> list[str]:
        """The finding in words, for a terminal."""
        first, *more = self.message.splitlines()
        lines = [f"{self.id} {self.status}: {first}", *more]
        if self.status == "passed":
            return [quote_plain(lines[0])]
        if self.status == "failed" and self.place is not None:
            where = str(self.place)
            lines[0] = f"{where}: {lines[0]}" if where else lines[0]
            lines[1:1] = self.place.excerpt()
        shown = {"found": self.found, "expected": self.expected, "reason": self.reason, "source": self.source}
        lines += [f"{name + ':':<9} {text}" for name, text in shown.items() if text is not None]
        first, *more = map(quote_plain, lines)
        return [first, *(f"    {line}" for line in more)]

    def as_json(self) -> dict[str, Any]:
        """The object of docs/schemas/finding.json: every key is always there."""
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
            "difference": self.difference if self.difference is not None and isfinite(self.difference) else None,
            "tolerance": self.tolerance,
            "file": self.place.document.shown if self.place else None,
            "line": self.place.line if self.place else None,
            "deviation": self.deviation,
            "kind": self.kind,
            "count": self.count,
            "step": self.step,
            "module": self.module,
            "module_file": self.call.document.shown if self.call else None,
            "module_line": self.call.line if self.call else None,
        }


def failures(error: RvCheckError, like: Finding) -> list[Finding]:
    """A failed finding for each problem of an error, as `like` is; at its own place where it has one in a file."""
    problems = [problem.told_at(like.place) for problem in error.problems]
    return [
        replace(like, status="failed", message=problem.words, expected=problem.expected, place=problem.place)
        for problem in problems
    ]


@dataclass(frozen=True)
class Report:
    """The findings on one subject. `against`: a reference, or the arch that a module should be; None without one."""

    subject: str
    against: str | None
    findings: tuple[Finding, ...] = ()
    map: Mapping[str, str] = field(default_factory=dict)  # the spec's parameters and buffers: the module's names
    notes: tuple[str, ...] = ()  # what was inferred, and what to do next
    totals: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # params and MACs, found and expected

    @property
    def passed(self) -> bool:
        """Whether there is a finding and every one passed: a skip is no pass."""
        return bool(self.findings) and all(f.status == "passed" for f in self.findings)

    def only(self, step: str) -> Report:
        """The report on the structure at one step: differences elsewhere are left out."""

        def is_there(finding: Finding) -> bool:
            at = finding.step or ""
            return at == step or at.startswith(f"{step}.")

        kept = tuple(f for f in self.findings if f.status != "failed" or f.check != "structure" or is_there(f))
        if kept and len(kept) < len(self.findings) and not any(f.check == "structure" for f in kept):
            gone = next(f for f in self.findings if f.check == "structure")
            words = f"no difference at {step}; there are others elsewhere"
            kept = (Finding(gone.subject, gone.check, gone.level, "passed", words, place=gone.place), *kept)
        return replace(self, findings=kept, against=f"{self.against} at {step}")

    @property
    def failed(self) -> bool:
        """Whether something does not hold."""
        return any(f.status in ("failed", "blocked") for f in self.findings)

    def reached(self, level: Level) -> bool:
        """Whether there were checks of that level, all of them passed, and `numbers` had something to compare with."""
        of_level = [f for f in self.findings if f.level == level]
        comparable = level != "numbers" or self.against is not None
        return comparable and bool(of_level) and all(f.status == "passed" for f in of_level)

    @property
    def level(self) -> Level | None:
        """The highest level reached, every lower one that has checks included."""
        reached: Level | None = None
        for level in LEVELS:
            if self.reached(level):
                reached = level
            elif any(f.level == level for f in self.findings):
                break
        return reached

    @property
    def unknown(self) -> str:
        """What a module is that is near to no arch, in words; "" of every other subject."""
        return next((f.message for f in self.findings if f.check == IDENTITY), "")

    @property
    def verdict(self) -> str:
        """`resnet18 against torchvision.models.resnet18: holds (5 passed)`."""
        if self.unknown:
            return f"{self.subject} is {self.unknown}"
        words = "holds" if self.passed else "does not hold" if self.failed else "is not shown in full"
        counts = {status: sum(f.status == status for f in self.findings) for status in STATUSES}
        counted = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        return f"{self.subject} against {self.against or 'its own spec'}: {words} ({counted or 'no checks'})"

    def __str__(self) -> str:
        lines = [self.verdict]
        for finding in () if self.unknown else self.findings:
            if finding.status != "passed":
                lines += [f"  {line}" for line in finding.lines()]
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)
