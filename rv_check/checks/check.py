"""What a check is, what it may ask of the network that is checked, and how it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from rv_check.archs.arch import Arch
from rv_check.checks.findings import Finding, Level, Status, failures
from rv_check.checks.shared import Blocked
from rv_check.checks.states import Mismatch
from rv_check.errors import CannotRun, Place, RvCheckError
from rv_check.ops.op import Shape
from rv_check.optional import need

if TYPE_CHECKING:
    from rv_check.checks.pair import Pair
    from rv_check.checks.structure import Structure

Outcome = Iterator[Finding]

# What is checked: a spec against its reference, a module against a spec (which may have been built just now, so that
# its initial values can be held against the spec's, too), or a module against another one, also with the weights that
# the two have.
Asked = Literal["arch", "module", "fresh module", "two", "two as they are"]


class Run(Protocol):
    """What a check may ask of an arch, a module or two modules: of the network found, and of the one it should be."""

    parts_decide: ClassVar[bool]  # the outputs of modules of one name must agree too, not only what the whole computes

    @property
    def device(self) -> str:
        """Where numbers are computed, as torch names it."""

    @property
    def name(self) -> str:
        """What a report calls it."""

    @property
    def place(self) -> Place | None:
        """The line that it is declared on."""

    def asked_by(self, check: str) -> Self:
        """The same, asked by a check of that name."""

    def ids(self, check: Check) -> list[str]:
        """What a known deviation may call a check."""

    def place_of(self, step: str) -> Place | None:
        """The line that a step of the expected network stands on; that of `place` where it is not known."""

    @property
    def input(self) -> Shape:
        """The network's own input."""

    @property
    def structure(self) -> Structure:
        """How its structure compares with what is expected. Raises: RvCheckError, CannotRun, Blocked."""

    @property
    def pair(self) -> Pair:
        """The two modules that should be one network. Raises: RvCheckError, CannotRun, Blocked."""

    def matched(self, training: bool = False) -> Pair:
        """The pair, whose parameters and buffers correspond. `training`: what is to be compared is train mode.

        Raises: RvCheckError, CannotRun, Blocked.
        """

    def frozen(self) -> tuple[list[str], int]:
        """The parameters that training leaves as they are, and how many there are in all."""

    def initial(self, check: Check) -> Outcome:
        """Whether what is freshly built starts as the spec says."""

    def sizes(self, *, training: bool = False) -> list[Shape]:
        """The inputs at which numbers are compared."""

    def sizes_without(self) -> list[Shape]:
        """Inputs at which the spec does not fit, and so no reference should."""


@dataclass(frozen=True)
class Check:
    """A check: its name, its level, for which archs it makes a claim, what it does, and of what it may be asked."""

    name: str
    level: Level
    applies: Callable[[Arch], bool]
    function: Callable[[Any, Check], Outcome]  # takes a Run; where it is asked of archs alone, an ArchRun
    of: tuple[Asked, ...] = ("arch",)

    def passed(self, run: Run, message: str, **details: Any) -> Finding:
        """What it found to hold; at the network's own line unless `place` says better."""
        return self.one(run, "passed", message, **details)

    def failed(self, run: Run, message: str, **details: Any) -> Finding:
        """What it found not to hold; at the network's own line unless `place` says better."""
        return self.one(run, "failed", message, **details)

    def finding(self, run: Run, message: str, *, holds: bool, **details: Any) -> Finding:
        """Passed or failed, as it holds."""
        return self.one(run, "passed" if holds else "failed", message, **details)

    def one(self, run: Run, status: Status, message: str, **details: Any) -> Finding:
        """A finding of this check."""
        details.setdefault("place", run.place)
        return Finding(run.name, self.name, self.level, status, message, **details)


def run_check(check: Check, run: Run) -> list[Finding]:
    """The findings of one check, at least one: what it found, and how it ended. Raises: what is a bug of rv_check."""
    found: list[Finding] = []
    try:
        with _surroundings(check):
            for finding in check.function(run.asked_by(check.name), check):
                found.append(finding)
    except Blocked as blocked:
        found.append(check.one(run, "blocked", f"blocked by {blocked}"))
    except CannotRun as error:
        found.append(check.one(run, "skipped", "could not run", reason=str(error)))
    except RvCheckError as error:
        seen = error.found if isinstance(error, Mismatch) else None
        found += failures(error, check.failed(run, "", found=seen))
    assert found, f"{check.name} made no finding"
    return found


def _surroundings(check: Check) -> AbstractContextManager[None]:
    """Torch as it is out of the box, for the checks that need it. Raises: CannotRun where it is not there."""
    if check.level == "spec":
        return nullcontext()
    need("torch")
    from rv_check.modules.torch_state import steady

    return steady()
