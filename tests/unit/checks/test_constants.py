"""Constants are compared by value: masks, tables, means, indices; what is learned or counted is none."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from rv_check.checks.findings import Report
from rv_check.checks.of_two import compare_modules
from rv_check.modules.constants import Constant, constants_of

IMAGE, TOKENS = (3, 12, 12), (8, 16)
Make = Callable[[], nn.Module]


class Attends(nn.Module):
    """Attention with a mask."""

    def __init__(self, mask: Tensor, persistent: bool = True):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.register_buffer("mask", mask, persistent=persistent)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.q(x) @ self.k(x).transpose(1, 2) / 4
        return weights.masked_fill(self.mask == 0, float("-inf")).softmax(-1) @ self.v(x)


class Biased(Attends):
    """The mask is added."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.q(x) @ self.k(x).transpose(1, 2) + self.mask).softmax(-1) @ self.v(x)


class Normalised(nn.Module):
    """Channels are normalised by buffers, in which shape they may be."""

    def __init__(self, mean: Any, deviation: Any, shape: tuple[int, ...] = (3, 1, 1), dtype: Any = torch.float32):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=dtype).reshape(shape))
        self.register_buffer("deviation", torch.tensor(deviation, dtype=dtype).reshape(shape))
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv((x - self.mean.to(x)) / self.deviation.to(x))


class Reordered(nn.Module):
    """The channels in the order of a buffer."""

    def __init__(self, *order: int):
        super().__init__()
        self.register_buffer("order", torch.tensor(order))
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x[:, self.order])


class Blurred(nn.Module):
    """A fixed kernel as the weight of a convolution, a buffer or a parameter, of that name."""

    def __init__(self, taps: tuple[float, ...] = (1, 2, 1), name: str = "kernel"):
        super().__init__()
        row = torch.tensor(taps) / sum(taps)
        self.register_buffer(name, (row[:, None] * row).expand(3, 1, -1, -1).clone())
        self.name, self.conv = name, nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.conv2d(x, getattr(self, self.name), groups=3, padding=1))


def positions(base: float = 10000.0, other: bool = False) -> Tensor:
    """Sines and cosines of 8 positions, computed in one way or in another."""
    steps = torch.arange(8, dtype=torch.float32)
    rates = torch.exp(-steps / 8 * math.log(base)) if other else 1 / base ** (steps / 8)
    angles = steps[:, None] * rates
    return torch.cat((angles.sin(), angles.cos()), 1)


class Placed(nn.Module):
    """A table of positions: a buffer, a frozen parameter, a plain attribute, or made in each forward."""

    def __init__(self, table: Tensor, how: str = "buffer"):
        super().__init__()
        self.linear, self.how, self.numbers = nn.Linear(16, 16), how, table.tolist()
        if how == "buffer":
            self.register_buffer("table", table)
        elif how == "frozen":
            self.table = nn.Parameter(table, requires_grad=False)
        elif how == "attribute":
            self.table = table

    def forward(self, x: Tensor) -> Tensor:
        table = torch.tensor(self.numbers, device="cpu") if self.how == "forward" else self.table
        return self.linear(x + table.to(x))


class ByHand(nn.Module):
    """A norm that moves its own statistics."""

    def __init__(self, mean: float = 0.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.register_buffer("average", torch.full((8,), mean))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.training:
            self.average.mul_(0.9).add_(0.1 * y.detach().mean((0, 2, 3)))
        return y - self.average[:, None, None]


def frozen(seed: int) -> nn.Module:
    """A frozen backbone behind its own weights, with a trained head."""
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), FrozenBatchNorm2d(4), nn.ReLU())
    for tensor in (*backbone.parameters(), *backbone.buffers()):
        tensor.requires_grad_(False).uniform_(0.1, 1)
    return nn.Sequential(backbone, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


ONES = torch.ones(8, 8)
LATER = torch.full((8, 8), float("-inf")).triu(1)
MEANS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

SAME: dict[str, tuple[Make, Make, tuple[int, ...]]] = {
    "a mask": (lambda: Attends(ONES.tril()), lambda: Attends(ONES.tril()), TOKENS),
    "a mask that is added": (lambda: Biased(LATER), lambda: Biased(LATER), TOKENS),
    "a mask of truth values": (lambda: Attends(ONES.tril() > 0), lambda: Attends(ONES.tril() > 0), TOKENS),
    "a mask that is not saved": (lambda: Attends(ONES.tril(), False), lambda: Attends(ONES.tril(), False), TOKENS),
    "means": (lambda: Normalised(*MEANS), lambda: Normalised(*MEANS), IMAGE),
    "means of another type": (lambda: Normalised(*MEANS, dtype=torch.float64), lambda: Normalised(*MEANS), IMAGE),
    "an order": (lambda: Reordered(2, 1, 0), lambda: Reordered(2, 1, 0), IMAGE),
    "a kernel": (Blurred, Blurred, IMAGE),
    "a table computed otherwise": (lambda: Placed(positions(other=True)), lambda: Placed(positions()), TOKENS),
    "a frozen table": (lambda: Placed(positions(), "frozen"), lambda: Placed(positions(), "frozen"), TOKENS),
    "an attribute": (lambda: Placed(positions(), "attribute"), lambda: Placed(positions(), "attribute"), TOKENS),
    "a table made anew": (lambda: Placed(positions(), "forward"), lambda: Placed(positions(), "forward"), TOKENS),
    "statistics that were moved": (lambda: ByHand(0.3), ByHand, IMAGE),
    "a backbone that is frozen": (lambda: frozen(1), lambda: frozen(2), IMAGE),
}


@pytest.mark.parametrize(("new", "old", "size"), SAME.values(), ids=SAME)
def test_the_same_constants(new: Make, old: Make, size: tuple[int, ...]) -> None:
    """Structure and numbers hold, with the constants that the network was built with."""
    report = compare_modules(new(), old(), size)
    assert report.passed, str(report)


def with_element(table: Tensor, value: float) -> Tensor:
    """The table with another number in one place."""
    table = table.clone()
    table.view(-1)[21] = value
    return table


OTHER: dict[str, tuple[Make, Make, tuple[int, ...], str]] = {
    "a mask upside down": (
        lambda: Attends(ONES.triu()),
        lambda: Attends(ONES.tril()),
        TOKENS,
        "mask is 1 at [0, 1], and 55 more of 64, expected 0",
    ),
    "a mask of ones": (
        lambda: Attends(ONES),
        lambda: Attends(ONES.tril()),
        TOKENS,
        "mask is 1 at [0, 1], and 27 more of 64, expected 0",
    ),
    "a mask that is not saved": (
        lambda: Attends(ONES, False),
        lambda: Attends(ONES.tril(), False),
        TOKENS,
        "mask is 1 at [0, 1]",
    ),
    "a mask that is added": (lambda: Biased(LATER.T), lambda: Biased(LATER), TOKENS, "at [0, 1], and 55 more of 64"),
    "a mask that is nearly infinite": (
        lambda: Biased(LATER.clamp(min=-1e4)),
        lambda: Biased(LATER),
        TOKENS,
        "mask is -10000 at [0, 1], and 27 more of 64, expected -inf",
    ),
    "other means": (
        lambda: Normalised((0.5,) * 3, MEANS[1]),
        lambda: Normalised(*MEANS),
        IMAGE,
        "mean is [0.5 0.5 0.5], expected [0.485 0.456 0.406]",
    ),
    "means of 255": (
        lambda: Normalised([255 * one for one in MEANS[0]], MEANS[1]),
        lambda: Normalised(*MEANS),
        IMAGE,
        "mean is [123.675 116.28 103.53]",
    ),
    "another order": (
        lambda: Reordered(0, 1, 2),
        lambda: Reordered(2, 1, 0),
        IMAGE,
        "order is [0 1 2], expected [2 1 0]",
    ),
    "another kernel": (lambda: Blurred((1, 1, 1)), Blurred, IMAGE, "kernel is 0.111111 at [0, 0, 0, 0]"),
    "another kernel, called a weight": (
        lambda: Blurred((1, 1, 1), "weight"),
        lambda: Blurred(name="weight"),
        IMAGE,
        "weight is 0.111111 at [0, 0, 0, 0]",
    ),
    "another table": (lambda: Placed(positions(1000.0)), lambda: Placed(positions()), TOKENS, "table is "),
    "one element": (
        lambda: Placed(with_element(positions(), 0.25)),
        lambda: Placed(positions()),
        TOKENS,
        "table is 0.25 at [1, 5], expected ",
    ),
    "no number": (
        lambda: Placed(with_element(positions(), math.nan)),
        lambda: Placed(positions()),
        TOKENS,
        "table is nan at [1, 5], expected ",
    ),
    "another frozen table": (
        lambda: Placed(positions(1000.0), "frozen"),
        lambda: Placed(positions(), "frozen"),
        TOKENS,
        "table is ",
    ),
    "another attribute": (
        lambda: Placed(positions(1000.0), "attribute"),
        lambda: Placed(positions(), "attribute"),
        TOKENS,
        "a tensor that is not registered is ",
    ),
    "another table made anew": (
        lambda: Placed(positions(1000.0), "forward"),
        lambda: Placed(positions(), "forward"),
        TOKENS,
        "a tensor that is not registered is ",
    ),
}


def told(report: Report) -> list[str]:
    """What is said of constants."""
    return [finding.message for finding in report.findings if finding.kind == "constant"]


@pytest.mark.parametrize(("new", "old", "size", "words"), OTHER.values(), ids=OTHER)
def test_other_constants(new: Make, old: Make, size: tuple[int, ...], words: str) -> None:
    """It is another network, whichever is named first; the constant is named, with both values."""
    report = compare_modules(new(), old(), size)
    assert not report.passed
    (message,) = told(report)
    assert words in message
    back = compare_modules(old(), new(), size)
    assert not back.passed
    assert len(told(back)) == 1


def test_one_constant_in_every_block_is_one_finding() -> None:
    """As any other mistake that is made in several places."""

    def stacked(mask: Tensor) -> nn.Module:
        return nn.Sequential(*(Attends(mask.clone()) for _ in range(3)))

    (message,) = told(compare_modules(stacked(ONES), stacked(ONES.tril()), TOKENS))
    assert "x3" in message
    assert "at 0, 1, 2" in message


def test_the_modules_are_as_before() -> None:
    """No constant is written while the two are compared."""
    new, old = Attends(ONES.tril()), Attends(ONES.tril())
    before = {name: value.clone() for name, value in new.state_dict().items()}
    assert compare_modules(new, old, TOKENS).passed
    assert all(torch.equal(value, before[name]) for name, value in new.state_dict().items())


def test_equality_but_for_rounding() -> None:
    """Elements are held against their own size; beside an enormous one, a small one still counts."""
    large = torch.tensor([-1e9, 0.0, 1.0])
    assert Constant(large) == Constant(large.clone())
    assert Constant(large) != Constant(torch.tensor([-1e9, 1.0, 1.0]))
    assert Constant(large) == Constant(torch.tensor([-1e9 * (1 + 2e-7), 0.0, 1.0 + 2e-7]))
    assert Constant(large) != Constant(torch.tensor([-1e9, 0.0, 1.0001]))
    assert Constant(torch.tensor([1, 2])) != Constant(torch.tensor([1, 2, 3]))
    assert Constant(torch.tensor([2**53, 1])) != Constant(torch.tensor([2**53 + 1, 1]))
    assert Constant(torch.tensor([math.nan, math.inf])) == Constant(torch.tensor([math.nan, math.inf]))
    assert Constant(torch.tensor([math.inf])) != Constant(torch.tensor([-math.inf]))
    assert Constant(torch.tensor([1 + 2j])) != Constant(torch.tensor([1 - 2j]))
    assert Constant(torch.empty(0)) == Constant(torch.empty(0))


def test_what_is_no_constant() -> None:
    """What a norm has, what a run has written, and what has no values."""
    module = nn.Sequential(nn.BatchNorm2d(3), FrozenBatchNorm2d(3), Attends(ONES), nn.Linear(1, 1, device="meta"))
    module[3].register_buffer("table", torch.empty(2, device="meta"))
    assert set(constants_of(module, set())) == {"2.mask"}
    assert constants_of(module, {"2.mask"}) == {}
