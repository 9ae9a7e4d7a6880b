"""Statistics of durations, against scipy, against tables, and by simulation with seeds."""

from __future__ import annotations

import random
from math import exp, log

import pytest

from rv_check.bench.samples import RATE, paired, rank_sum, signed_rank, summary, unpaired

STATED_RATE = 0.05  # how often we say that it may happen, since rounds of a shared machine are not wholly independent


def rounds_of(chance: random.Random, center: float, noise: float, rounds: int = 10, each: int = 5) -> list[list[float]]:
    """Samples by round: each round has a level of its own, as on a machine that others use."""
    levels = [center * exp(chance.gauss(0, noise)) for _ in range(rounds)]
    return [[level * exp(chance.gauss(0, noise / 2)) for _ in range(each)] for level in levels]


def pairs_of(chance: random.Random, ratio: float, noise: float, rounds: int = 10) -> tuple[list, list]:
    """Two things measured in turn: what disturbs a round disturbs both, and each has noise of its own."""
    levels = [exp(chance.gauss(0, 0.2)) for _ in range(rounds)]
    a, b = ([[level * by * exp(chance.gauss(0, noise)) for _ in range(3)] for level in levels] for by in (1.0, ratio))
    return a, b


def test_summary_by_hand() -> None:
    """1 to 5: the median is 3, the quartiles 2 and 4."""
    found = summary([[5.0, 1.0], [3.0], [2.0, 4.0]])
    assert (found.median, found.iqr, found.minimum, found.n) == (3.0, 2.0, 1.0, 5)
    assert found.noisy  # 2 is more than a tenth of 3
    assert not summary([[1.0, 1.01, 1.02, 1.03]]).noisy
    assert summary([[1.0, 1.0, 1.2, 1.2]]).noisy


def test_one_sample_is_not_known_to_be_quiet() -> None:
    """It has no quartiles, and its interval is itself."""
    found = summary([[2.0]])
    assert (found.median, found.iqr, found.low, found.high, found.noisy) == (2.0, None, 2.0, 2.0, True)


def test_the_bootstrap_interval_covers_the_median() -> None:
    """In 200 simulated runs the 95 % interval holds the true median about as often as it says; ten rounds cost some."""
    chance = random.Random(1)
    runs = [summary(rounds_of(chance, 1.0, 0.05)) for _ in range(200)]
    covered = sum(found.low <= 1.0 <= found.high for found in runs)
    assert 170 <= covered <= 198


def test_resampling_samples_in_place_of_rounds_would_cover_too_little() -> None:
    """The twin of the test above: with the samples of a round taken for independent, the interval is too narrow."""
    chance = random.Random(1)
    runs = [summary([[sample for some in rounds_of(chance, 1.0, 0.05) for sample in some]]) for _ in range(200)]
    assert sum(found.low <= 1.0 <= found.high for found in runs) < 150


def test_signed_ranks_by_the_table() -> None:
    """Hollander & Wolfe, table A.4: P(T+ <= 3) = 0.0049 of ten pairs, and of eight P(T+ <= 0) = 0.0039."""
    assert signed_rank([-1, -2, 3, -4, -5, -6, -7, -8, -9, -10]) == pytest.approx(2 * 5 / 1024)
    assert signed_rank([1, 2, 3, 4, 5, 6, 7, 8]) == pytest.approx(2 / 256)
    assert signed_rank([1, 2, 3, 4, 5, 6, 7]) == pytest.approx(2 / 128)  # above RATE: seven rounds tell nothing
    assert signed_rank([0, 0]) == 1.0
    assert signed_rank([1, -1]) == 1.0


def test_tests_agree_with_scipy() -> None:
    """p of both tests, on random numbers with and without ties."""
    stats = pytest.importorskip("scipy.stats")
    chance = random.Random(2)
    for _ in range(50):
        x = [chance.gauss(0.3, 1) for _ in range(chance.randint(5, 20))]
        assert signed_rank(x) == pytest.approx(stats.wilcoxon(x, method="exact").pvalue)
        y = [chance.gauss(0, 1) for _ in range(chance.randint(5, 20))]
        theirs = stats.mannwhitneyu(y, x, method="asymptotic", use_continuity=True).pvalue
        assert rank_sum(x, y) == pytest.approx(theirs)
        coarse = [round(value) for value in x], [round(value) for value in y]
        if len({*coarse[0], *coarse[1]}) > 1:
            theirs = stats.mannwhitneyu(coarse[1], coarse[0], method="asymptotic", use_continuity=True).pvalue
            assert rank_sum(*coarse) == pytest.approx(theirs)


def test_ties_of_signed_ranks_are_counted_exactly() -> None:
    """Of 1, 1, 2 the ranks are 1.5, 1.5, 3; all three positive has probability 1/8, both ways 2/8."""
    assert signed_rank([1, 1, 2]) == pytest.approx(2 / 8)
    assert signed_rank([-1, 1, 2]) == pytest.approx(2 * 3 / 8)  # sums of at most 1.5: none, either 1.5


def test_equal_things_are_told_different_no_more_often_than_stated() -> None:
    """1,000 comparisons of a thing with itself: about RATE of them, and never STATED_RATE; also if noise has tails."""
    chance = random.Random(3)
    told = sum(paired(*pairs_of(chance, 1.0, 0.05)).different for _ in range(1000))
    assert told <= 1000 * RATE + 3 * (1000 * RATE) ** 0.5 < 1000 * STATED_RATE
    told = 0
    for _ in range(1000):
        a, b = pairs_of(chance, 1.0, 0.01)
        for some in (*a, *b):
            if chance.random() < 0.2:
                some[:] = [10 * sample for sample in some]  # somebody else took the machine
        told += paired(a, b).different
    assert told <= 1000 * RATE + 3 * (1000 * RATE) ** 0.5
    told = sum(unpaired(rounds_of(chance, 1, 0.05), rounds_of(chance, 1, 0.05)).different for _ in range(1000))
    assert told <= 1000 * RATE + 3 * (1000 * RATE) ** 0.5


def test_three_percent_is_told() -> None:
    """With noise of 1 % between rounds, 1.03 is told from 1.00, and the interval holds it; the other way, too."""
    chance = random.Random(4)
    found = [paired(*pairs_of(chance, 1.03, 0.01)) for _ in range(200)]
    assert sum(one.different for one in found) >= 198
    assert sum((one.low or 0) <= 1.03 <= (one.high or 0) for one in found) >= 194
    assert paired(*reversed(pairs_of(chance, 1.03, 0.01))).ratio == pytest.approx(1 / 1.03, abs=0.02)


def test_the_interval_and_the_test_agree() -> None:
    """1 lies outside the interval where, and only where, the paired test tells a difference."""
    chance = random.Random(5)
    seen = set()
    for _ in range(200):
        one = paired(*pairs_of(chance, chance.choice([1.0, 1.01, 1.02]), 0.01))
        assert one.different == (not (one.low or 0) <= 1.0 <= (one.high or 0))
        seen.add(one.different)
    assert seen == {True, False}


def test_an_interval_by_hand() -> None:
    """Eight rounds, critical value 0: the interval is from the least to the largest ratio of a round."""
    factors = [1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08]
    one = paired([[1.0]] * 8, [[factor] for factor in factors])
    assert (one.low, one.high) == (pytest.approx(1.01), pytest.approx(1.08))
    assert one.different
    assert one.p == pytest.approx(2 / 256)


def test_too_few_rounds_tell_nothing() -> None:
    """However large the difference."""
    one = paired([[1.0]] * 7, [[9.0]] * 7)
    assert (one.different, one.low, one.high) == (False, None, None)
    assert one.ratio == pytest.approx(9)
    one = unpaired([[1.0]] * 3, [[9.0], [9.1], [9.2]])
    assert (one.different, one.low) == (False, None)


def test_unpaired_shift() -> None:
    """Ten rounds beside ten that take a tenth more: the ratio is 1.1, and told."""
    a = [[1 + i / 1000] for i in range(10)]
    one = unpaired(a, [[1.1 * some[0]] for some in a])
    assert log(one.ratio) == pytest.approx(log(1.1), abs=1e-3)
    assert one.different
    assert 1.09 < (one.low or 0) < 1.1 < (one.high or 0) < 1.11
