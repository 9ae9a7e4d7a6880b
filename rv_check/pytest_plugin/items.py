"""The items: one check of an arch, a module or a block, one claim; and how findings are pytest's outcomes."""

from __future__ import annotations

import importlib.metadata
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rv_check.pytest_plugin.shown import findings_repr, location, plain_repr

if TYPE_CHECKING:
    from rv_check.blocks.check import BlockCheck
    from rv_check.checks.check import Check
    from rv_check.checks.deviations import Deviation
    from rv_check.checks.findings import Finding, Level, Status
    from rv_check.claims.claim import Claim
    from rv_check.claims.quantities import Quantities
    from rv_check.errors import Place, RvCheckError

REQUIRED: pytest.StashKey[Level | None] = pytest.StashKey()
DEVIATIONS: pytest.StashKey[list[Deviation]] = pytest.StashKey()


class CheckCollector(pytest.Collector):
    """What is checked, item by item: an arch, a module, a block."""

    fresh = True  # whether it was built for this, so that how it starts can be said

    @property
    def place(self) -> Place:
        """The line that asks for it."""
        raise NotImplementedError

    def run(self, check: str) -> Any:
        """What its checks share, of which `check` needs it now. Raises: RvCheckError; Blocked where that was said."""
        raise NotImplementedError

    def ids(self, check: Check | None, name: str) -> list[str]:
        """What a known deviation may call a check, beside the item's own id."""
        return [f"{self.name}::{name}"]

    def again(self, check: str) -> str:
        """The command that makes one check alone, outside pytest."""
        raise NotImplementedError

    def own_place(self, findings: list[Finding]) -> Place | None:
        """The line of the user's that is to blame, where it is not the one that the findings name."""
        return None


class ClaimItem(pytest.Item):
    """One statement: its verdict is the one that it should get."""

    def __init__(self, *, claim: Claim, quantities: Quantities, **kwargs: Any):
        super().__init__(**kwargs)
        self.claim, self.quantities = claim, quantities
        self.add_marker(pytest.mark.rv_check(arch=self.path.stem, check="claim", level="spec"))

    def runtest(self) -> None:
        from rv_check.checks.deviations import settle
        from rv_check.checks.findings import up_to
        from rv_check.claims.claim import judge

        level = self.config.stash[REQUIRED]
        finding = judge(self.claim, self.quantities).finding(self.path.stem)
        conclude(settle([finding], up_to(level) if level else (), None))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.claim.place.line - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from rv_check.errors import SpecError

        if isinstance(excinfo.value, DoesNotHold):
            return findings_repr(excinfo.value.findings, None, f"again: rv-check claims {shlex.quote(str(self.path))}")
        if isinstance(excinfo.value, SpecError):
            first = excinfo.value.problems[0]
            return plain_repr(str(excinfo.value), first.place, first.message)
        return super().repr_failure(excinfo, style)


# Running


class CheckItem(pytest.Item):
    """One check of one arch, or of a module that should be one."""

    parent: CheckCollector

    def __init__(self, *, level: Level, check: Check | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.check, self.level = check, level
        self.add_marker(pytest.mark.rv_check(arch=self.parent.name, check=self.name, level=level))

    @property
    def ids(self) -> list[str]:
        """What a known deviation may call it."""
        return [*self.parent.ids(self.check, self.name), self.nodeid]

    def runtest(self) -> None:
        from rv_check.checks.deviations import first_match, settle
        from rv_check.checks.findings import failures, up_to
        from rv_check.checks.shared import Blocked
        from rv_check.errors import CannotRun, RvCheckError

        if self.level != "spec":
            share_cores(self.config)
        level, deviations = self.config.stash[REQUIRED], self.config.stash[DEVIATIONS]
        deviation = first_match(deviations, self.ids)
        try:
            run = self.parent.run(self.name)
        except Blocked as blocked:
            found = [self.finding("blocked", f"blocked by {blocked}")]
        except CannotRun as error:
            found = [self.finding("skipped", "could not run", reason=str(error))]
        except RvCheckError as error:
            found = failures(error, self.finding("failed", ""))
        else:
            found = self.unknown_start() or self.found(run)
        findings = settle(found, up_to(level) if level else (), deviation)
        self.record(findings)
        conclude(findings)

    def found(self, run: Any) -> list[Finding]:
        """What the check finds, `run` being what its collector shares."""
        from rv_check.checks.check import run_check

        assert self.check is not None
        return run_check(self.check, run)

    def unknown_start(self) -> list[Finding]:
        """How a module started that was built before is not known."""
        if self.name != "init" or self.parent.fresh:
            return []
        reason = "the module was built before; name a class or a factory instead"
        return [self.finding("skipped", "could not run", reason=reason)]

    def finding(self, status: Status, message: str, reason: str | None = None) -> Finding:
        """What became of a check that could not begin."""
        from rv_check.checks.findings import Finding

        return Finding(self.parent.name, self.name, self.level, status, message, reason=reason, place=self.place)

    @property
    def place(self) -> Place:
        """The line that asks for it."""
        return self.parent.place

    def record(self, findings: list[Finding]) -> None:
        """Keep for JUnit XML the place of the contract, and the largest difference measured."""
        place = next((f.place for f in sorted(findings, key=lambda f: f.status != "failed") if f.place), None)
        if place is not None:
            path, line = location(place)
            self.user_properties += [("file", path), ("line", str(line))]
        measured = [f.difference for f in findings if f.difference is not None]
        if measured:
            self.user_properties.append(("difference", f"{max(measured):.3g}"))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.place.line - 1, f"{self.parent.name} {self.name}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, DoesNotHold):
            findings = excinfo.value.findings
            return findings_repr(findings, self.parent.own_place(findings), f"again: {self.parent.again(self.name)}")
        return super().repr_failure(excinfo, style)


class BlockItem(CheckItem):
    """One check of a block of the user's."""

    def found(self, run: BlockCheck) -> list[Finding]:
        return run.findings(self.name)


class DoesNotHold(Exception):
    """Findings that failed, to be shown as findings and not as a traceback."""

    def __init__(self, findings: list[Finding]):
        super().__init__("; ".join(finding.title for finding in findings))
        self.findings = findings


def conclude(findings: list[Finding]) -> None:
    """Findings as pytest's outcome: one failure for all that failed, an expected failure for a known deviation.

    Raises: DoesNotHold; pytest's own exceptions of a skip and of an expected failure.
    """
    failed = [f for f in findings if f.status == "failed"]
    if failed:
        raise DoesNotHold(failed)
    for finding in findings:
        if finding.deviation is not None:
            pytest.xfail(str(finding.reason))
    for finding in findings:
        if finding.status != "passed":
            raise pytest.skip.Exception(finding.title, _use_item_location=True)


def share_cores(config: pytest.Config) -> None:
    """No more torch threads in a worker of xdist than its share of the cores: else workers wait for one another."""
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1 and importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(min(torch.get_num_threads(), max(1, (os.cpu_count() or 1) // workers)))


class UnreadableItem(pytest.Item):
    """A spec file that cannot be read, or a line that names one: one failure, with every error in it."""

    def __init__(self, *, error: RvCheckError, line: Place | None = None, **kwargs: Any):
        from rv_check.errors import SpecError

        super().__init__(**kwargs)
        self.error = SpecError(problem.told_at(line) for problem in error.problems)
        self.line = line or self.error.place

    def runtest(self) -> None:
        """It always fails. Raises: SpecError."""
        raise self.error

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, location(self.line)[1] - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        first, *others = self.error.problems
        message = first.message + (f" (and {len(others)} more)" if others else "")
        return plain_repr(str(self.error), first.place, message)


class DeviationItem(pytest.Item):
    """A known deviation that matches no check."""

    def __init__(self, *, deviation: Deviation, **kwargs: Any):
        super().__init__(**kwargs)
        self.deviation = deviation

    def runtest(self) -> None:
        """It always fails. Raises: DoesNotHold."""
        raise DoesNotHold([self.deviation.unmatched])

    def reportinfo(self) -> tuple[Path, int, str]:
        place = self.deviation.place
        return Path(place.document.shown), place.line - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return findings_repr([self.deviation.unmatched])
