"""Where an expander stands, what it has found to be wrong, and how much it may still do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rv_check.errors import Frame, Place, Problem, SpecError, once_per_place
from rv_check.language.definitions import Block
from rv_check.text import quote

MAX_STEPS = 30_000  # steps that are expanded, since they are not equal to earlier ones: about a second of work
MAX_DEPTH = 50  # blocks, groups, branches and arms within one another


@dataclass
class Budget:
    """Steps that may still be expanded. The archs of a file that are expanded together share one."""

    steps: int = MAX_STEPS


class Stop(Exception):
    """A problem was noted, and the shape behind it is unknown."""


class _Noting:
    """Notes the problems of what is read within, and stops. It is a plain class, since every step enters it."""

    __slots__ = ("trail",)

    def __init__(self, trail: Trail):
        self.trail = trail

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, SpecError):
            self.trail.note(error.problems)
            raise Stop from None


class Trail:
    """The chain of calls that led here, and the problems that were met on the way.

    A problem that leaves the shape unknown ends its sequence; other branches go on, and so does what comes after a
    contract that does not hold. Expressions and calls are read `with trail.noting`.
    """

    def __init__(self, name: str, budget: Budget):
        self.budget = budget
        self.depth = 0  # blocks, groups, branches and arms that are open
        self.chain: list[Frame] = [Frame(name)]
        self.active: list[Block] = []  # the blocks that are open
        self.problems: list[Problem] = []
        self.noting = _Noting(self)

    def note(self, problems: Iterable[Problem]) -> None:
        """Keep problems, with the chain that led there."""
        chain = tuple(self.chain)
        self.problems += [replace(problem, chain=problem.chain or chain) for problem in problems]

    def fail(self, message: str, place: Place, expected: str | None = None, details: tuple[str, ...] = ()) -> Stop:
        """Keep a problem behind which the shape is unknown, and give what is to be raised."""
        self.note([Problem(message, place, expected, details=details)])
        return Stop()

    def settle(self) -> None:
        """End well, or not. Raises: SpecError, where something was wrong, with each problem once."""
        if self.problems:
            raise SpecError(once_per_place(self.problems))

    @contextmanager
    def within(self, frame: Frame) -> Iterator[None]:
        """Add a link to the chain while something is done. On an error it stays, until `back_to` takes it away."""
        self.chain.append(frame)
        yield
        self.chain.pop()

    @contextmanager
    def opened(self, block: Block, place: Place) -> Iterator[None]:
        """Open a block while its steps are expanded; an error leaves it open, as `within` does.

        Raises: Stop where it is open already.
        """
        if block in self.active:
            names = " > ".join(b.name for b in [*self.active[self.active.index(block) :], block])
            raise self.fail(f"block {quote(block.name)} contains itself: {names}", place, "blocks without recursion")
        self.active.append(block)
        yield
        self.active.pop()

    def mark(self) -> tuple[int, int, int]:
        """The point where the expander stands, for `back_to`."""
        return self.depth, len(self.chain), len(self.active)

    def back_to(self, mark: tuple[int, int, int]) -> None:
        """Return to an earlier point, after a Stop further on."""
        self.depth, links, blocks = mark
        del self.chain[links:], self.active[blocks:]

    def spend(self, place: Place) -> None:
        """Count a step, or a name. Raises: Stop where the budget is spent."""
        self.budget.steps -= 1
        if self.budget.steps < 0:
            raise self.fail(f"more than {MAX_STEPS:,} steps and names, none like another", place, "a smaller network")

    def deep(self, depth: int, place: Place) -> None:
        """Whether a depth is within the bounds. Raises: Stop where it is not."""
        if depth > MAX_DEPTH:
            found = "too many blocks, groups and branches within one another"
            raise self.fail(found, place, f"at most {MAX_DEPTH}")
