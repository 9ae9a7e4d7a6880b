"""Batch norms that people write themselves: numbers decide, whatever their parts are called and in whatever order."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from rv_check import check
from rv_check.checks.of_two import compare_modules

IMAGE = (3, 12, 12)
NAMES = {"scale": "s", "offset": "o", "mean": "m", "variance": "v"}
ORDERS = [
    ("scale", "offset", "mean", "variance"),
    ("variance", "mean", "offset", "scale"),
    ("mean", "offset", "variance", "scale"),
]


class HandNorm(nn.Module):
    """What nn.BatchNorm2d computes, in eval mode, in train mode, and in its statistics; `more` is a mistake."""

    def __init__(self, channels: int, order: tuple[str, ...] = ORDERS[0], **more: Any):
        super().__init__()
        self.more = {"eps": 1e-5, "momentum": 0.1, "unbiased": True, "detached": False, **more}
        for name in order:
            start = torch.ones if name in ("scale", "variance") else torch.zeros
            value = start(1, channels, 1, 1)
            if name in ("scale", "offset"):
                setattr(self, NAMES[name], nn.Parameter(value))
            else:
                self.register_buffer(NAMES[name], value)

    def forward(self, x: Tensor) -> Tensor:
        mean, variance = self.m, self.v
        if self.training:
            mean = x.mean((0, 2, 3), keepdim=True)
            variance = x.var((0, 2, 3), unbiased=False, keepdim=True)
            count = x.numel() / x.shape[1]
            with torch.no_grad():
                self.m.lerp_(mean, self.more["momentum"])
                factor = count / (count - 1) if self.more["unbiased"] else 1
                self.v.lerp_(variance * factor, self.more["momentum"])
        if self.more["detached"]:
            mean, variance = mean.detach(), variance.detach()
        return (x - mean) / torch.sqrt(variance + self.more["eps"]) * self.s + self.o


def net(*norms: nn.Module) -> nn.Module:
    """A few convolutions, with a norm behind each, all as wide."""
    layers = [layer for norm in norms for layer in (nn.Conv2d(6, 6, 3, padding=1, bias=False), norm, nn.ReLU())]
    return nn.Sequential(nn.Conv2d(3, 6, 1), *layers)


def plain() -> nn.Module:
    """With torch's own."""
    return net(nn.BatchNorm2d(6), nn.BatchNorm2d(6), nn.BatchNorm2d(6))


@pytest.mark.parametrize("order", ORDERS)
def test_everywhere(order: tuple[str, ...]) -> None:
    """The order of definition does not tell which is which."""
    by_hand = net(*(HandNorm(6, order) for _ in range(3)))
    assert compare_modules(by_hand, plain(), IMAGE).passed
    assert compare_modules(plain(), by_hand, IMAGE).passed


@pytest.mark.parametrize("at", range(3))
def test_in_one_place(at: int) -> None:
    """Also beside torch's own, which are as wide."""
    norms = [HandNorm(6, ORDERS[1]) if n == at else nn.BatchNorm2d(6) for n in range(3)]
    report = compare_modules(net(*norms), plain(), IMAGE)
    assert report.passed, str(report)
    assert report.map[f"{3 * at + 2}.running_var"] == f"{3 * at + 2}.v"
    assert report.map[f"{3 * at + 2}.weight"] == f"{3 * at + 2}.s"


@pytest.mark.parametrize("more", [{"eps": 1e-4}, {"momentum": 0.2}, {"unbiased": False}, {"detached": True}])
def test_a_mistake_is_none_that_numbers_excuse(more: dict[str, Any]) -> None:
    """Everywhere, and in one place alone."""
    assert not compare_modules(net(*(HandNorm(6, **more) for _ in range(3))), plain(), IMAGE).passed
    one = net(nn.BatchNorm2d(6), HandNorm(6, **more), nn.BatchNorm2d(6))
    assert not compare_modules(one, plain(), IMAGE).passed


def test_norms_that_are_swapped_are_two_networks() -> None:
    """By the names that a state has, the second norm is the third."""

    class Swapped(nn.Module):
        def __init__(self, order: tuple[int, ...]):
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(6, 6, 1) for _ in range(3))
            self.norms = nn.ModuleList(HandNorm(6) for _ in range(3))
            self.order = order

        def forward(self, x: Tensor) -> Tensor:
            for at, conv in zip(self.order, self.convs, strict=True):
                x = self.norms[at](conv(x)).relu()
            return x

    for order in permutations(range(3)):
        passed = compare_modules(Swapped(order), Swapped((0, 1, 2)), (6, 8, 8)).passed
        assert passed == (order == (0, 1, 2)), order


def test_of_an_arch() -> None:
    """torchvision's network with a norm by hand in one place is the network."""
    by_hand = torchvision.models.resnet18()
    by_hand.bn1 = HandNorm(64, ORDERS[1])
    report = check(by_hand, "resnet18", level="structure")
    assert report.passed, str(report)
    by_hand.bn1 = HandNorm(64, ORDERS[1], momentum=0.01)
    assert not check(by_hand, "resnet18", level="structure").passed


def test_frozen_norms_are_one_finding() -> None:
    """torchvision's own: norms that use their running statistics in train mode, too, twenty times.

    That their weights are no parameters, and so have no gradients, is no finding besides.
    """
    frozen = torchvision.models.resnet18(norm_layer=torchvision.ops.FrozenBatchNorm2d)
    report = check(frozen, "resnet18")
    (finding,) = [one for one in report.findings if one.status == "failed"]
    assert (finding.kind, finding.count) == ("arguments", 20)
    assert finding.message.startswith("frozen batchnorm with statistics running, expected statistics of the batch")
    assert "(in train mode)" in finding.message


def test_weights_that_are_no_parameters_are_told() -> None:
    """A norm as it should be but for its weights, which no optimiser sees, is one without their gradients."""

    class Kept(nn.BatchNorm2d):
        def __init__(self, width: int):
            super().__init__(width)
            weight, bias = self.weight.detach(), self.bias.detach()
            del self.weight, self.bias
            self.register_buffer("weight", weight)
            self.register_buffer("bias", bias)

    report = compare_modules(net(*(Kept(6) for _ in range(3))), plain(), (3, 12, 12))
    assert not report.passed


def test_weights_by_hand_that_are_no_parameters_are_told() -> None:
    """Numbers excuse how it is written, and not that nothing learns its weights."""
    module = net(*(HandNorm(6) for _ in range(3)))
    assert compare_modules(module, plain(), (3, 12, 12)).passed
    for norm in module.modules():
        for name, parameter in list(norm.named_parameters(recurse=False)) if isinstance(norm, HandNorm) else ():
            delattr(norm, name)
            norm.register_buffer(name, parameter.detach())
    assert not compare_modules(module, plain(), (3, 12, 12)).passed
