"""How long networks take beside one another: in rounds in which each has its turn, so that a drift is shared by all.

Seconds of wall time on the device named. Rounds of one run have been seen at 0.90 and 0.96 of one another, so the first
ones are thrown away, ratios are taken within a round, and what scatters is said to be noisy.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

WARM = 2  # rounds that are thrown away
ROUNDS = 9  # and those that count
NOISY = 0.1  # of the interquartile range over the median


@dataclass(frozen=True)
class Times:
    """Seconds of one network, one of each round."""

    forward: tuple[float, ...]
    backward: tuple[float, ...]


def median_of_ratios(times: Sequence[float], of: Sequence[float]) -> float:
    """Of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(times, of, strict=True))


def is_noisy(times: Sequence[float]) -> bool:
    """Whether the middle half of the rounds is spread over more than a tenth of their median."""
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return (high - low) / middle > NOISY


def in_rounds(
    networks: Sequence[Callable[[], tuple[float, float]]], rounds: int = ROUNDS, warm: int = WARM
) -> list[Times]:
    """Each measured once a round, every other round in the opposite order.

    Args: `networks` give the seconds of one forward and one backward pass.
    """
    found: list[list[tuple[float, float]]] = [[] for _ in networks]
    for turn in range(warm + rounds):
        order = list(range(len(networks)))
        for at in order if turn % 2 == 0 else reversed(order):
            taken = networks[at]()
            if turn >= warm:
                found[at].append(taken)
    return [Times(tuple(f for f, _ in taken), tuple(b for _, b in taken)) for taken in found]


def step(model: nn.Module, x: Tensor) -> tuple[float, float]:
    """Seconds of a forward pass in the mode of the model, and of the backward pass of its sum."""
    import torch

    def now() -> float:
        if x.device.type == "cuda":
            torch.cuda.synchronize(x.device)
        return time.perf_counter()

    model.zero_grad(set_to_none=True)
    start = now()
    y = model(x)
    middle = now()
    y.sum().backward()
    return middle - start, now() - middle
