"""Runs checks and settles what they find: what is required, and what is known to deviate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rv_check.checks.check import Check, Run, run_check
from rv_check.checks.deviations import Deviation, first_match, settle
from rv_check.checks.findings import Finding, Level, up_to


@dataclass(frozen=True)
class Judge:
    """What a user makes of findings, and who hears of them as they come."""

    require: Level | None = None  # a skip at this level or a cheaper one is a failure
    deviations: Sequence[Deviation] = ()
    starting: Callable[[str, Sequence[Check], int], None] = lambda subject, checks, index: None
    seen: Callable[[Finding], None] = lambda finding: None

    def findings(self, run: Run, checks: Sequence[Check], others: Sequence[Check] = ()) -> tuple[Finding, ...]:
        """Run the checks, cheapest first, and settle what they find. A known deviation may speak of `others`, too."""
        ids = [id_ for check in (*others, *checks) for id_ in run.ids(check)]
        found = [d.unmatched for d in self.deviations if d.speaks_of(run.name) and not d.matches(ids)]
        for finding in found:
            self.seen(finding)
        required = up_to(self.require) if self.require else ()
        for index, check in enumerate(checks):
            self.starting(run.name, checks, index)
            deviation = first_match(self.deviations, run.ids(check))
            for finding in settle(run_check(check, run), required, deviation):
                found.append(finding)
                self.seen(finding)
        return tuple(found)
