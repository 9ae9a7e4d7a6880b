"""The measuring loop: warm up until nothing changes any more, then rounds, in which everything is measured in turn.

It knows neither torch nor devices: what is timed is a `Workload`, the clock a `Stopwatch`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

from rv_check.errors import RvCheckError

SETTLED = 0.10  # by how much the medians of two batches in a row may differ at the end of the warm-up
UNKEPT = 2  # iterations at the start of a turn
PATIENCE = 5  # how often the time of the warm-up may pass before it is given up


class Clock(Protocol):
    """What `devices.Stopwatch` promises."""

    def between(self) -> None:
        """What belongs to no time."""

    def start(self) -> None:
        """The work begins."""

    def stop(self) -> None:
        """The work has been asked for."""

    def read(self) -> list[float]:
        """Seconds of each time since the last reading."""


class Workload(Protocol):
    """Something to be timed again and again."""

    def prepare(self) -> None:
        """What comes before each time and belongs to none: gradients cleared, the forward pass of a backward one."""

    def run(self) -> None:
        """What is timed."""


@dataclass(frozen=True)
class TimingPlan:
    """How much is measured.

    `seconds`: of all samples of one workload together, about; `rounds`: in how many; `most`: samples in a round;
    `warm_seconds` and `warm_count`: the least warm-up, in time and in iterations.
    """

    seconds: float = 4.0
    rounds: int = 10
    most: int = 100
    warm_seconds: float = 0.5
    warm_count: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.seconds < inf:
            raise RvCheckError("--seconds takes a number above 0")


@dataclass(frozen=True)
class WarmUp:
    """What came before the samples. `settled`: times and memory no longer changed at its end."""

    count: int
    seconds: float
    settled: bool
    last: float  # seconds of an iteration, at its end


def times(workload: Workload, clock: Clock, count: int) -> list[float]:
    """The seconds of so many iterations."""
    for _ in range(count):
        workload.prepare()
        clock.between()
        clock.start()
        workload.run()
        clock.stop()
    return clock.read()


Agree = Callable[[list[float]], list[float]]


def alone(samples: list[float]) -> list[float]:
    """Samples as they are: nobody else measures."""
    return samples


def warm_up(
    workload: Workload, clock: Clock, plan: TimingPlan, memory: Callable[[], int | None], agree: Agree = alone
) -> WarmUp:
    """Run until the least count and time have passed, two batches take the same time, and no more memory is taken.

    The choices of cudnn, the allocator, a compiler fall into its first iterations, whose time does not count. What
    never settles is given up after PATIENCE times the least time, and said not to be settled. Time is that of the
    samples, so that processes that agree about them also stop together.
    """
    first = agree(times(workload, clock, plan.warm_count))
    count, seconds, before, held, batch = len(first), 0.0, statistics.median(first), memory(), plan.warm_count
    while True:
        samples = agree(times(workload, clock, batch))
        count, seconds, last = count + len(samples), seconds + sum(samples), statistics.median(samples)
        if seconds >= plan.warm_seconds:
            settled = abs(last - before) <= SETTLED * before and memory() == held
            if settled or seconds >= PATIENCE * plan.warm_seconds:
                return WarmUp(count, sum(first) + seconds, settled, last)
        before, held = last, memory()
        if sum(samples) < plan.warm_seconds / 4:
            batch *= 2


def in_turn(
    workloads: Sequence[Workload],
    clock: Clock,
    plan: TimingPlan,
    guesses: Sequence[float],
    agree: Agree = alone,
    anew: Sequence[Callable[[], None]] = (),
) -> list[list[list[float]]]:
    """The samples of each workload by round; all workloads have their turn in each round, A B B A.

    Args: `guesses` the seconds that an iteration of each takes, about; `anew` for each workload what gives it another
    place in memory, done before each round. Every other round goes backwards. Two modules that are equal in all
    but where their weights lie have been seen to differ by 1 to 3 % as long as these stay there: so that the place is
    another one in each round is what makes rounds independent.
    Each turn begins with two iterations that are not kept, where another workload has had the caches before.
    """
    counts = [max(1, min(plan.most, round(plan.seconds / plan.rounds / max(guess, 1e-9)))) for guess in guesses]
    rounds: list[list[list[float]]] = [[] for _ in workloads]
    for turn in range(plan.rounds):
        way = 1 if turn % 2 == 0 else -1
        for move in anew[::way]:
            move()
        for workload, count, kept in list(zip(workloads, counts, rounds, strict=True))[::way]:
            if len(workloads) > 1:
                times(workload, clock, UNKEPT)
            kept.append(agree(times(workload, clock, count)))
    return rounds
