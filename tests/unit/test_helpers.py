"""What the tests rest on: seeds that a failure tells, and steps that are counted."""

from __future__ import annotations

import inspect

import pytest

from tests.unit.seeds import seeds
from tests.unit.work import lines_of


@pytest.mark.parametrize("n", [1, 10, 23])
def test_every_seed_is_run_once(n: int) -> None:
    """Seeds run from 0 to n - 1, ten to an item, with the fixtures that the test takes."""
    ran: list[tuple[int, str]] = []

    @seeds(n)
    def test(folder: str, seed: int) -> None:
        ran.append((seed, folder))

    (mark,) = test.pytestmark  # type: ignore[attr-defined]
    assert list(inspect.signature(test).parameters) == ["folder", mark.args[0]]
    for ten in mark.args[1]:
        assert len(ten) <= 10
        test(folder="here", seeds=ten)
    assert ran == [(seed, "here") for seed in range(n)]


def test_a_failure_tells_its_seed() -> None:
    """The seed is added to the error, which stays the error that it is."""

    @seeds(20)
    def test(seed: int) -> None:
        assert seed != 7, "not this one"

    with pytest.raises(AssertionError, match="not this one") as error:
        test(seeds=range(10))
    assert error.exconly().endswith("\nwith seed 7")
    test(seeds=range(10, 20))


def test_rounds_of_a_loop_are_counted() -> None:
    """Four times the rounds are four times the lines, and of a loop within a loop sixteen times."""

    def once(n: int) -> None:
        for _ in range(n):
            pass

    def squared(n: int) -> None:
        for _ in range(n):
            once(n)

    assert 3.9 < lines_of(lambda: once(400)) / lines_of(lambda: once(100)) < 4.1
    assert 15 < lines_of(lambda: squared(400)) / lines_of(lambda: squared(100)) < 16.5
