"""The measuring loop, with clocks and workloads that a test makes: what is called when, and when a warm-up ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rv_check.bench.timing import PATIENCE, TimingPlan, in_turn, times, warm_up
from rv_check.errors import RvCheckError


class Fake:
    """A clock and a workload at once: each run takes what `takes` says of its number, and all calls are kept."""

    def __init__(
        self, takes: Callable[[int], float] = lambda run: 0.01, calls: list[str] | None = None, name: str = ""
    ):
        self.takes, self.name = takes, name
        self.calls: list[str] = [] if calls is None else calls
        self.runs, self.samples = 0, list[float]()

    def prepare(self) -> None:
        self.calls.append(f"prepare{self.name}")

    def run(self) -> None:
        self.calls.append(f"run{self.name}")
        self.runs += 1

    def between(self) -> None:
        self.calls.append("flush")

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")
        self.samples.append(self.takes(self.runs))

    def read(self) -> list[float]:
        self.calls.append("synchronise")
        found, self.samples = self.samples, []
        return found


def test_nothing_is_timed_but_the_run() -> None:
    """Preparation and flushing come before each start; nothing waits for the device until all are done."""
    fake = Fake()
    assert times(fake, fake, 2) == [0.01, 0.01]
    assert fake.calls == [*["prepare", "flush", "start", "run", "stop"] * 2, "synchronise"]


def test_a_warm_up_lasts_its_time_and_its_count() -> None:
    """0.5 s of 10 ms are 50 iterations at least; a fast device needs the same time, a slow one the same count."""
    fake = Fake()
    found = warm_up(fake, fake, TimingPlan(), lambda: 0)
    assert found.settled
    assert found.seconds >= 0.5
    assert found.count == fake.runs >= 50
    slow = Fake(lambda run: 2.0)
    assert warm_up(slow, slow, TimingPlan(), lambda: 0).count == 6  # two batches, since one alone says nothing


def test_a_warm_up_waits_for_the_choice_of_an_algorithm() -> None:
    """Slow iterations at the start, as cudnn's measuring or a compiler makes them, do not settle it."""
    fake = Fake(lambda run: 2.0 if run <= 3 else 0.05)
    found = warm_up(fake, fake, TimingPlan(), lambda: 0)
    assert found.settled
    assert found.last == 0.05
    assert found.count >= 9  # the batch that held them, and two alike after it


def test_a_warm_up_waits_for_the_allocator() -> None:
    """While more and more memory is taken, it goes on; and is given up in the end, which is said."""
    taken = iter(range(10**6))
    fake = Fake()
    found = warm_up(fake, fake, TimingPlan(), lambda: next(taken))
    assert not found.settled
    assert found.seconds >= PATIENCE * 0.5
    growing = Fake(lambda run: 0.01 * 1.2**run)
    assert not warm_up(growing, growing, TimingPlan(), lambda: 0).settled


def test_processes_that_agree_about_samples_stop_together() -> None:
    """The slowest one's samples decide: one that is faster by itself goes on as long as it."""
    slow, fast = Fake(lambda run: 0.04), Fake(lambda run: 0.01)
    a = warm_up(slow, slow, TimingPlan(), lambda: 0)
    b = warm_up(fast, fast, TimingPlan(), lambda: 0, agree=lambda samples: [0.04 for _ in samples])
    assert (a.count, a.seconds) == (b.count, b.seconds)


def test_rounds_are_interleaved() -> None:
    """A B B A, each turn begun by two iterations that are not kept; samples stand by workload and round."""
    calls: list[str] = []
    clock = Fake()
    a, b = Fake(calls=calls, name="A"), Fake(calls=calls, name="B")
    rounds = in_turn([a, b], clock, TimingPlan(seconds=0.06, rounds=3), [0.01, 0.01])
    assert [call for call in calls if call.startswith("run")] == [
        *["runA"] * 4, *["runB"] * 8, *["runA"] * 8, *["runB"] * 4
    ]  # fmt: skip
    assert [[len(some) for some in one] for one in rounds] == [[2, 2, 2], [2, 2, 2]]


def test_each_round_has_its_own_place_in_memory() -> None:
    """What moves the workloads is done before each round, the first of them first in every other one."""
    calls: list[str] = []
    a, b = Fake(calls=calls, name="A"), Fake(calls=calls, name="B")
    anew = [lambda: calls.append("moveA"), lambda: calls.append("moveB")]
    in_turn([a, b], Fake(), TimingPlan(seconds=0.001, rounds=2), [1.0, 1.0], anew=anew)
    assert [call for call in calls if not call.startswith("prepare")] == [
        *["moveA", "moveB", *["runA"] * 3, *["runB"] * 3],
        *["moveB", "moveA", *["runB"] * 3, *["runA"] * 3],
    ]


def test_one_workload_keeps_every_iteration() -> None:
    """Nothing else has been at the caches; a slow one has one iteration a round, a fast one no more than the most."""
    fake = Fake()
    (rounds,) = in_turn([fake], fake, TimingPlan(seconds=0.06, rounds=3), [0.01])
    assert (sum(map(len, rounds)), fake.runs) == (6, 6)
    (rounds,) = in_turn([fake], fake, TimingPlan(rounds=3), [100.0])
    assert [len(some) for some in rounds] == [1, 1, 1]
    (rounds,) = in_turn([fake], fake, TimingPlan(rounds=2, most=7), [1e-9])
    assert [len(some) for some in rounds] == [7, 7]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_no_time_is_a_bad_question(seconds: float) -> None:
    """It is said which option is wrong."""
    with pytest.raises(RvCheckError, match="--seconds takes a number above 0"):
        TimingPlan(seconds=seconds)
