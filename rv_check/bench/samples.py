"""What samples of a duration say: their median and how sure it is, and whether two things differ.

Samples come in rounds. Those of one round share the state that the machine was in, so rounds are what is independent:
intervals resample rounds, and tests compare the medians of rounds. Source of the tests and intervals: Hollander, Wolfe,
Chicken, Nonparametric Statistical Methods, 3rd edition, sections 3.1 to 3.3 (signed ranks) and 4.1 to 4.3 (rank sums).
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations_with_replacement, product
from math import exp, floor, log, sqrt

NOISY = 0.10  # IQR / median above which a result is marked
RATE = 0.01  # how often the tests may tell two equal things different, if rounds are independent
RESAMPLES = 1000

Rounds = Sequence[Sequence[float]]  # seconds, by round


@dataclass(frozen=True)
class Summary:
    """All samples of a case, in seconds. `iqr`: None of one sample. low, high: of the median, 95 % of resamples."""

    median: float
    iqr: float | None
    minimum: float
    n: int
    low: float
    high: float

    @property
    def noisy(self) -> bool:
        """Whether the quartiles lie too far apart, or it cannot be known."""
        return self.iqr is None or self.iqr > NOISY * self.median


def summary(rounds: Rounds) -> Summary:
    """The summary of samples by round; there is one at least."""
    samples = [sample for some in rounds for sample in some]
    iqr = None
    if len(samples) > 1:
        first, _, third = statistics.quantiles(samples, n=4, method="inclusive")
        iqr = third - first
    low, high = bootstrap(rounds)
    return Summary(statistics.median(samples), iqr, min(samples), len(samples), low, high)


def bootstrap(rounds: Rounds, seed: int = 0) -> tuple[float, float]:
    """The middle 95 % of the medians of resampled rounds; of the samples themselves where there is one round."""
    units = list(rounds) if len(rounds) > 1 else [[sample] for sample in rounds[0]]
    chance = random.Random(seed)
    medians = sorted(
        statistics.median([sample for some in chance.choices(units, k=len(units)) for sample in some])
        for _ in range(RESAMPLES)
    )
    return medians[round(0.025 * RESAMPLES)], medians[round(0.975 * RESAMPLES) - 1]


@dataclass(frozen=True)
class Comparison:
    """How long one takes in units of the other. low, high: 99 %, of None where there are too few rounds for one.

    `p`: how probable a rank sum at least as extreme is if neither is slower.
    """

    ratio: float
    low: float | None
    high: float | None
    p: float
    rounds: int

    @property
    def different(self) -> bool:
        """Whether the test tells them different, at RATE."""
        return self.p <= RATE


def paired(base: Rounds, other: Rounds) -> Comparison:
    """`other` in units of `base`, of rounds that were measured in turn, A B B A: Wilcoxon's signed-rank test, exact.

    The ratio is Hodges and Lehmann's: the median of the means of all pairs of the rounds' log ratios.
    """
    logs = [log(b / a) for a, b in zip(_medians(base), _medians(other), strict=True)]
    averages = sorted((x + y) / 2 for x, y in combinations_with_replacement(logs, 2))
    return _comparison(averages, signed_rank(logs), _signed_rank_critical(len(logs)), len(logs))


def unpaired(base: Rounds, other: Rounds) -> Comparison:
    """`other` in units of `base`, of two runs: the Mann-Whitney test, by its normal approximation.

    The ratio is the median of the ratios of all pairs of rounds.
    """
    a, b = ([log(median) for median in _medians(rounds)] for rounds in (base, other))
    shifts = sorted(y - x for x, y in product(a, b))
    least = statistics.NormalDist().inv_cdf(1 - RATE / 2) * _rank_sum_deviation(a, b, ties=False)
    return _comparison(shifts, rank_sum(a, b), floor(len(shifts) / 2 - least - 0.5), min(len(a), len(b)))


def _comparison(shifts: Sequence[float], p: float, critical: int, rounds: int) -> Comparison:
    """The median of all estimates of the shift, in order; as many are left out at both ends as the test allows."""
    low, high = (None, None) if critical < 0 else (exp(shifts[critical]), exp(shifts[-1 - critical]))
    return Comparison(exp(statistics.median(shifts)), low, high, p, rounds)


def _medians(rounds: Rounds) -> list[float]:
    return [statistics.median(some) for some in rounds]


def signed_rank(differences: Sequence[float]) -> float:
    """The exact two-sided p of Wilcoxon's signed-rank test. Differences of 0 are left out; equal ones share a rank."""
    kept = [x for x in differences if x]
    if not kept:
        return 1.0
    ranks = _twice_ranks([abs(x) for x in kept])
    positive = sum(rank for rank, x in zip(ranks, kept, strict=True) if x > 0)
    least = min(positive, sum(ranks) - positive)
    return min(1.0, 2 * sum(_sums(ranks)[: least + 1]) / 2.0 ** len(kept))


def _signed_rank_critical(n: int) -> int:
    """The largest rank sum whose two-sided p is at most RATE; -1 where none is."""
    below = list(accumulate(_sums(range(1, n + 1))))
    return sum(2 * count <= RATE * 2.0**n for count in below) - 1


def _sums(ranks: Sequence[int]) -> list[int]:
    """The number of choices of some of the ranks that add up to 0, 1, 2, ..."""
    ways = [1] + [0] * sum(ranks)
    for rank in ranks:
        ways = [with_ + without for without, with_ in zip(ways, [0] * rank + ways, strict=False)]
    return ways


def rank_sum(a: Sequence[float], b: Sequence[float]) -> float:
    """The two-sided p of the Mann-Whitney test: normal approximation, corrected for continuity and ties."""
    above = sum((y > x) + (y == x) / 2 for x, y in product(a, b))
    deviation = _rank_sum_deviation(a, b, ties=True)
    away = max(0.0, abs(above - len(a) * len(b) / 2) - 0.5)
    return 2 * (1 - statistics.NormalDist().cdf(away / deviation)) if deviation else 1.0


def _rank_sum_deviation(a: Sequence[float], b: Sequence[float], ties: bool) -> float:
    n = len(a) + len(b)
    both = [*a, *b]
    tied = sum(count**3 - count for count in map(both.count, set(both))) if ties else 0
    return sqrt(len(a) * len(b) / 12 * (n + 1 - tied / (n * (n - 1))))


def _twice_ranks(values: Sequence[float]) -> list[int]:
    """Twice the rank of each, so that those of equal values, which share the mean of theirs, are whole numbers."""
    below: Callable[[float], int] = lambda x: sum(y < x for y in values)  # noqa: E731
    return [2 * below(x) + values.count(x) + 1 for x in values]
