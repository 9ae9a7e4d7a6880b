"""Times in rounds: their order and what is made of them, by hand; and that a slower network is seen to be slower."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rv_check.latency import ROUNDS, WARM, Times, in_rounds, is_noisy, median_of_ratios, step


def test_rounds_take_turns() -> None:
    """Every other round is in the opposite order, and the first ones do not count."""
    order: list[str] = []

    def network(name: str) -> tuple[float, float]:
        order.append(name)
        return float(len(order)), 0.5

    a, b = in_rounds([lambda: network("a"), lambda: network("b")], rounds=2, warm=1)
    assert "".join(order) == "abbaab"
    assert a == Times((4.0, 5.0), (0.5, 0.5))
    assert b == Times((3.0, 6.0), (0.5, 0.5))


def test_the_default_rounds() -> None:
    """As many as are said."""
    (times,) = in_rounds([lambda: (1.0, 1.0)])
    assert len(times.forward) == ROUNDS >= 5
    assert WARM > 0


def test_ratios_within_rounds() -> None:
    """A drift that all share does not show: 1.5 in each round, though the medians of both are 2 and 4.5."""
    assert median_of_ratios([1.5, 4.5, 15.0], [1.0, 3.0, 10.0]) == 1.5
    assert median_of_ratios([2.0, 3.0, 1.0], [1.0, 1.0, 1.0]) == 2.0


def test_noise_by_hand() -> None:
    """Quartiles of 1, 2, 3, 4, 5 are 2 and 4: 2/3 of the median. Of one that is 4 % off: 0.01 to 0.04."""
    assert is_noisy([1.0, 2.0, 3.0, 4.0, 5.0])
    assert not is_noisy([1.0, 1.01, 1.0, 1.04, 1.0])
    assert not is_noisy([1.0, 1.0, 1.0, 1.0, 99.0])


class Repeated(nn.Module):
    """One product, a number of times."""

    def __init__(self, times: int):
        super().__init__()
        self.weight, self.times = nn.Parameter(torch.eye(256)), times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = x @ self.weight
        return x


def test_what_does_more_takes_longer() -> None:
    """Forty times the work takes longer in both passes, in every round; gradients do not add up."""
    x = torch.randn(256, 256)
    little, much = Repeated(1), Repeated(40)
    a, b = in_rounds([lambda: step(little, x), lambda: step(much, x)], rounds=3, warm=1)
    assert median_of_ratios(b.forward, a.forward) > 2
    assert median_of_ratios(b.backward, a.backward) > 2
    gradient = little.weight.grad
    assert gradient is not None
    assert torch.equal(gradient, x.T @ torch.ones(256, 256))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_on_cuda() -> None:
    """The clock waits for the device."""
    x = torch.randn(256, 256, device="cuda")
    (times,) = in_rounds([lambda: step(Repeated(40).cuda(), x)], rounds=3, warm=1)
    assert min(times.forward) > 0
