"""Pairs that are one network, or two: limits, branches by value, chance in eval mode, other outputs in train mode."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from rv_check.checks.findings import Report
from rv_check.checks.of_two import compare_modules
from rv_check.modules.limits import Limits

TOKENS, IMAGE = (8, 16), (3, 32, 32)
Make = Callable[[], nn.Module]


class Net(nn.Module):
    """A function of two layers, a number and the input."""

    def __init__(self, function: Callable[[Any, Tensor], Any], number: float = 1.0):
        super().__init__()
        self.a, self.b, self.number, self.function = nn.Linear(16, 16), nn.Linear(16, 16), number, function
        self.scale, self.gain = nn.Parameter(torch.full((1,), 2.3)), nn.Parameter(torch.ones(16))

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def made(function: Callable[[Any, Tensor], Any], number: float = 1.0) -> Make:
    """A network of that function."""
    return lambda: Net(function, number)


def branches(net: Any, x: Tensor) -> Tensor:
    """One layer or the other, by the values."""
    return net.a(x) if x.sum() > 0 else net.number * net.b(x)


def noisy(net: Any, x: Tensor) -> Tensor:
    """Noise in eval mode, too."""
    return net.a(x + net.number * torch.randn_like(x))


def dropping(net: Any, x: Tensor) -> Tensor:
    """Dropout in eval mode, too."""
    return net.a(F.dropout(x, net.number / 2, training=True))


def limited(net: Any, x: Tensor) -> Tensor:
    """A parameter that is limited, where it never is."""
    return net.a(x) * net.scale.clamp(max=math.log(100) * net.number).exp()


def unlimited(net: Any, x: Tensor) -> Tensor:
    """A parameter that is not."""
    return net.a(x) * net.scale.exp()


def behind_a_norm(net: Any, x: Tensor) -> Tensor:
    """A limit that a normalised value never reaches."""
    return net.b(F.layer_norm(net.a(x), (16,)).clamp(-50 * net.number, 50 * net.number))


def of_length_one(net: Any, x: Tensor) -> Tensor:
    """A division by no less than a tiny number."""
    return net.a(x) / net.a(x).norm(dim=-1, keepdim=True).clamp_min(1e-12 * net.number)


def of_length_one_by_torch(net: Any, x: Tensor) -> Tensor:
    """The same in torch's words."""
    return F.normalize(net.a(x), dim=-1, eps=1e-12 * net.number)


def without_nan(net: Any, x: Tensor) -> Tensor:
    """What is no number is replaced, and there is none."""
    return torch.nan_to_num(net.a(x), nan=net.number)


def hard(net: Any, x: Tensor) -> Tensor:
    """An activation with limits, behind a norm."""
    return net.b(F.hardswish(F.layer_norm(net.a(x), (16,), net.gain)))


def hard_by_hand(net: Any, x: Tensor) -> Tensor:
    """The same, in other words."""
    y = F.layer_norm(net.a(x), (16,), net.gain)
    return net.b(y * F.relu6(y + 3 * net.number) / 6)


def where_small(net: Any, x: Tensor) -> Tensor:
    """A condition that always has one answer."""
    y = net.a(x).sigmoid()
    return net.b(torch.where(y > 2 * net.number, -y, y))


def in_float(net: Any, x: Tensor) -> Tensor:
    """A softmax in float32, whatever the input is."""
    return net.a(x).float().softmax(-1).to(x.dtype)


def all_alike(net: Any, x: Tensor) -> Tensor:
    """A softmax in the type of the input."""
    return net.a(x).softmax(-1)


def auxiliary(net: Any, x: Tensor) -> Any:
    """A pair in train mode."""
    return (net.a(x), net.b(x).tanh()) if net.training else net.a(x)


def auxiliary_by_name(net: Any, x: Tensor) -> Any:
    """A dict in train mode."""
    return {"out": net.a(x), "aux": net.b(x).tanh()} if net.training else net.a(x)


def other_auxiliary(net: Any, x: Tensor) -> Any:
    """Another auxiliary head."""
    return (net.a(x), net.b(x).relu()) if net.training else net.a(x)


def no_auxiliary(net: Any, x: Tensor) -> Any:
    """None."""
    return net.a(x)


class Spectral(nn.Module):
    """Complex weights on a few frequencies, as a Fourier operator has them; a number says how."""

    def __init__(self, number: float = 1.0):
        super().__init__()
        self.weight, self.number = nn.Parameter(torch.randn(5, dtype=torch.complex64)), number

    def forward(self, x: Tensor) -> Tensor:
        y = torch.fft.rfft(x)
        weight = self.weight if self.number == 1 else self.weight.conj()
        return torch.fft.irfft(torch.cat((y[..., :5] * weight, y[..., 5:]), -1), 16)


class OfWaves(Spectral):
    """A complex output."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.fft.rfft(x)[..., :5] * self.weight
        return y if self.number == 1 else y.conj()


def places(net: Any, x: Tensor) -> Tensor:
    """An output of whole numbers."""
    return net.a(x).argmax(-1)


def truths(net: Any, x: Tensor) -> Tensor:
    """An output of truth values."""
    return net.a(x) > net.number / 2


@pytest.mark.parametrize("cls", [Spectral, OfWaves])
def test_complex_weights_and_outputs(cls: type[Spectral]) -> None:
    """They are the same as themselves; the conjugate is another network."""
    report = compare_modules(cls(), cls(), TOKENS)
    assert report.passed, str(report)
    for new, old in ((cls(2), cls()), (cls(), cls(2))):
        assert not compare_modules(new, old, TOKENS).passed


ITSELF = {
    "whole numbers": places,
    "truth values": truths,
    "branches": branches,
    "noise": noisy,
    "dropout": dropping,
    "a limit": limited,
    "a limit behind a norm": behind_a_norm,
    "a length": of_length_one,
    "no numbers": without_nan,
    "a condition": where_small,
    "in float32": in_float,
    "an auxiliary head": auxiliary,
    "an auxiliary head by name": auxiliary_by_name,
}


@pytest.mark.parametrize("function", ITSELF.values(), ids=ITSELF)
def test_the_same_as_itself(function: Callable[[Any, Tensor], Any]) -> None:
    """Built twice."""
    report = compare_modules(Net(function), Net(function), TOKENS)
    assert report.passed, str(report)


REFACTORED = {
    "a softmax in float32": (in_float, all_alike),
    "a norm by torch": (of_length_one, of_length_one_by_torch),
    "an activation behind a norm": (hard, hard_by_hand),
}


@pytest.mark.parametrize(("one", "other"), REFACTORED.values(), ids=REFACTORED)
def test_written_otherwise(one: Callable[[Any, Tensor], Any], other: Callable[[Any, Tensor], Any]) -> None:
    """It is the same, whichever is named first."""
    for new, old in ((one, other), (other, one)):
        report = compare_modules(Net(new), Net(old), TOKENS)
        assert report.passed, str(report)


OTHER: dict[str, tuple[Make, Make]] = {
    "the other branch": (made(branches, 2.0), made(branches)),
    "more noise": (made(noisy, 2.0), made(noisy)),
    "more dropout": (made(dropping, 0.5), made(dropping)),
    "other places": (made(lambda net, x: net.a(x).argmin(-1)), made(places)),
    "other truths": (made(truths, 2.0), made(truths)),
    "another limit": (made(limited, 0.5), made(limited)),
    "a limit less": (made(unlimited), made(limited)),
    "a limit more": (made(limited), made(unlimited)),
    "another limit behind a norm": (made(behind_a_norm, 0.5), made(behind_a_norm)),
    "another length": (made(of_length_one, 1e6), made(of_length_one)),
    "another length by torch": (made(of_length_one_by_torch, 1e6), made(of_length_one)),
    "another number for none": (made(without_nan, 0.0), made(without_nan)),
    "none for none": (made(no_auxiliary), made(without_nan)),
    "another limit of an activation": (made(hard_by_hand, 0.5), made(hard)),
    "another condition": (made(where_small, 0.75), made(where_small)),
    "another auxiliary head": (made(other_auxiliary), made(auxiliary)),
    "no auxiliary head": (made(no_auxiliary), made(auxiliary)),
    "an auxiliary head more": (made(auxiliary), made(no_auxiliary)),
}


@pytest.mark.parametrize(("new", "old"), OTHER.values(), ids=OTHER)
def test_another_network(new: Make, old: Make) -> None:
    """It does not pass, though no number that is tried shows it."""
    report = compare_modules(new(), old(), TOKENS)
    assert not report.passed, str(report)


def message(report: Report) -> str:
    """What is said of the structure."""
    return next(finding.message for finding in report.findings if finding.check == "structure")


def test_branches_are_said() -> None:
    """That another input may take another branch, and the line that asks."""
    told = message(compare_modules(Net(branches), Net(branches), TOKENS))
    assert "it asks for values at " in told
    assert "test_same_or_not.py:" in told
    assert "what it does for others was not seen" in told
    assert "asks for values" not in message(compare_modules(Net(noisy), Net(noisy), TOKENS))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["googlenet", pytest.param("inception_v3", marks=pytest.mark.sweep)])
def test_networks_with_auxiliary_heads(name: str) -> None:
    """torchvision's own, which return one tensor in eval mode and several in train mode."""

    def net() -> nn.Module:
        with torch.device("meta"):
            return torchvision.models.get_model(name, weights=None, init_weights=False)

    report = compare_modules(net(), net(), (3, 299, 299), level="structure")
    assert report.passed, str(report)
    other, head = net(), {"googlenet": "aux2", "inception_v3": "AuxLogits"}[name]
    setattr(other, head, nn.Sequential(getattr(other, head), nn.ReLU()))
    assert not compare_modules(other, net(), (3, 299, 299), level="structure").passed


def test_limits_are_noted_over_several_runs() -> None:
    """One that any of the runs reaches is reached; the numbers of one that none does are kept."""
    limits = Limits()
    for x in (torch.zeros(3), torch.tensor([0.0, 5.0, 0.0])):
        with limits.begin():
            x.clamp(max=1).clamp(-9, 9)
            torch.where(x > 7, x, -x)
    clamp, comparison, where = sorted(limits.never_reached)
    assert (clamp[0], comparison[0], where[0]) == ("clamp", "gt", "where")
    assert "9" in " ".join(clamp)
    assert "7" in " ".join(comparison)


class Decides(nn.Module):
    """Branches on lines of their own, one of which no image leads to."""

    def __init__(self, a: float = 1.0, b: float = 1.0, c: float = 1.0):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.factors = a, b, c

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            y = self.factors[0] * self.a(x)
        if x.sum() <= 0:
            y = self.factors[1] * self.b(x)
        if x.abs().max() > 1000:
            y = self.factors[2] * self.c(y)
        return y


def structure_of(report: Report) -> str:
    """What the check of the structure says."""
    return next(finding.message for finding in report.findings if finding.check == "structure")


def test_both_branches_are_seen() -> None:
    """Other images lead to the other branch; what none leads to is said, with its line."""
    report = compare_modules(Decides(), Decides(), TOKENS)
    assert report.passed, str(report)
    line = Decides.forward.__code__.co_firstlineno + 6
    assert "ran in 2 ways" in structure_of(report)
    assert f"nothing led to: tests/unit/checks/test_same_or_not.py:{line}:17;" in structure_of(report)
    assert "on neither side is anything computed from c.weight, c.bias" in structure_of(report)
    for other in (Decides(a=2.0), Decides(b=2.0)):
        assert not compare_modules(other, Decides(), TOKENS).passed
        assert not compare_modules(Decides(), other, TOKENS).passed
    report = compare_modules(Decides(c=2.0), Decides(), TOKENS)
    assert f"nothing led to: tests/unit/checks/test_same_or_not.py:{line}:17;" in structure_of(report)


def test_weights_do_not_lead_the_same_network_another_way() -> None:
    """What decides by what it computes has its own weights, which are made alike before it is looked at."""

    class Exits(nn.Module):
        def __init__(self, at: float = 0.0):
            super().__init__()
            self.a, self.b, self.at = nn.Linear(16, 16), nn.Linear(16, 16), at

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            return y if y.mean() > self.at else self.b(y.relu())

    for seed in range(6):
        torch.manual_seed(seed)
        report = compare_modules(Exits(), Exits(), TOKENS)
        assert report.passed, str(report)


class Half(nn.Module):
    """A product in half precision: by autocast, or by casts."""

    def __init__(self, *, by_hand: bool, slope: float = 0.0, dtype: torch.dtype = torch.bfloat16):
        super().__init__()
        self.a, self.b = nn.Linear(8, 6), nn.Linear(6, 3)
        self.by_hand, self.slope, self.dtype = by_hand, slope, dtype

    def forward(self, x: Tensor) -> Tensor:
        if self.by_hand:
            y = F.linear(x.to(self.dtype), self.a.weight.to(self.dtype), self.a.bias.to(self.dtype))
        else:
            with torch.autocast("cpu", self.dtype):
                y = self.a(x)
        return self.b(F.leaky_relu(y.float(), self.slope))


def test_half_precision_inside_is_compared_in_float32() -> None:
    """Autocast casts no float64, so that in float64 it would be another network than its casts by hand."""
    for new, old in ((True, False), (False, True), (False, False)):
        report = compare_modules(Half(by_hand=new), Half(by_hand=old), (8,))
        assert report.passed, str(report)
        assert "eval mode at 8, float32" in str([one.message for one in report.findings])
    assert not compare_modules(Half(by_hand=True, slope=0.01), Half(by_hand=False), (8,)).passed
    assert not compare_modules(Half(by_hand=True, dtype=torch.float16), Half(by_hand=False), (8,)).passed
    assert not compare_modules(
        nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), Half(by_hand=True), (8,)
    ).passed


class AsksOrNot(nn.Module):
    """A limit that Python looks at, and the same without it."""

    def __init__(self, *, asks: bool):
        super().__init__()
        self.a, self.asks = nn.Linear(8, 3), asks

    def forward(self, x: Tensor) -> Tensor:
        if self.asks and int(torch.tensor([2])) > 3:
            return x
        return self.a(x)


def test_the_line_that_asks_is_told_whichever_side_asks() -> None:
    """Of the old one as of the new one."""
    for new, old in ((True, False), (False, True)):
        told = message(compare_modules(AsksOrNot(asks=new), AsksOrNot(asks=old), (8,)))
        assert "asks for values at none" not in told


class LateHead(nn.Module):
    """A head for train mode, which needs a larger image than the network."""

    def __init__(self, rate: float = 0.1):
        super().__init__()
        self.a, self.b, self.norm = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 2, 30), nn.BatchNorm2d(4, momentum=rate)

    def forward(self, x: Tensor) -> Any:
        y = self.norm(self.a(x))
        return (y.mean((2, 3)), self.b(y).mean((2, 3))) if self.training else y.mean((2, 3))


def test_train_mode_is_compared_where_it_runs() -> None:
    """The small inputs at which only eval mode runs are no difference; what differs in training is found elsewhere."""
    report = compare_modules(LateHead(), LateHead(), (3, 64, 64))
    assert report.passed, str(report)
    assert not compare_modules(LateHead(0.2), LateHead(), (3, 64, 64)).passed
    assert not compare_modules(LateHead(), LateHead(0.2), (3, 64, 64)).passed
