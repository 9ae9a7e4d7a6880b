"""Times in rounds: their order and what is made of them, by hand."""

from __future__ import annotations

import time

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


class Product(nn.Module):
    """One product, during which a clock that is not there goes on: 3 seconds forward, 5 backward."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.now = nn.Parameter(torch.eye(4)), 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.now += 3
        y = x @ self.weight
        if y.requires_grad:
            y.register_hook(self.later)
        return y

    def later(self, gradient: Tensor) -> None:
        """Backward comes by."""
        self.now += 5


def test_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass is timed by itself, and gradients of earlier steps do not add up."""
    x, model = torch.randn(2, 4), Product()
    monkeypatch.setattr(time, "perf_counter", lambda: model.now)
    assert [step(model, x), step(model, x)] == [(3, 5), (3, 5)]
    gradient = model.weight.grad
    assert gradient is not None
    assert torch.equal(gradient, x.T @ torch.ones(2, 4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_on_cuda() -> None:
    """The clock waits for the device."""
    x = torch.randn(256, 256, device="cuda")
    model = nn.Linear(256, 256).cuda()
    (times,) = in_rounds([lambda: step(model, x)], rounds=3, warm=1)
    assert min(times.forward) > 0
