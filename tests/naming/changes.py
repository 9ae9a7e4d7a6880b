"""What people change of a network: one thing everywhere, or one thing in one place.

A change works on modules and knows nothing of archs; it raises Unchanged where there is nothing for it to change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torchvision.ops import FrozenBatchNorm2d

NORMS = (nn.BatchNorm2d, nn.GroupNorm)
Make = Callable[[Any], nn.Module]


class Unchanged(Exception):
    """There is nothing of the kind in the network."""


@dataclass(frozen=True)
class Change:
    """A change by its name."""

    name: str
    make: Callable[[nn.Module], nn.Module]


# Where: every place of a kind, or the one in the middle


def places(net: nn.Module, kinds: Any, fits: Callable[[Any], bool]) -> list[tuple[nn.Module, str, Any]]:
    """Every place where a module of these kinds stands that fits, with its parent and its name there."""
    return [
        (parent, name, child)
        for parent in net.modules()
        for name, child in parent.named_children()
        if isinstance(child, kinds) and fits(child)
    ]


def everywhere(kinds: Any, make: Make, fits: Callable[[Any], bool] = lambda child: True) -> Callable[[Any], nn.Module]:
    """Put another module in the place of each of these."""

    def change(net: nn.Module) -> nn.Module:
        found = places(net, kinds, fits)
        if not found:
            raise Unchanged
        for parent, name, child in found:
            setattr(parent, name, make(child))
        return net

    return change


def once(
    kinds: Any, make: Make, fits: Callable[[Any], bool] = lambda child: True, at: float = 0.5
) -> Callable[[Any], nn.Module]:
    """Put another module in the place of one of these: of the one in the middle, or at this part of all."""

    def change(net: nn.Module) -> nn.Module:
        found = places(net, kinds, fits)
        if not found:
            raise Unchanged
        parent, name, child = found[min(int(at * len(found)), len(found) - 1)]
        setattr(parent, name, make(child))
        return net

    return change


def both(*changes: Callable[[Any], nn.Module]) -> Callable[[Any], nn.Module]:
    """One after the other."""

    def change(net: nn.Module) -> nn.Module:
        for one in changes:
            net = one(net)
        return net

    return change


# What: convolutions


def conv(old: nn.Conv2d, **other: Any) -> nn.Conv2d:
    """The convolution with other arguments."""
    known: dict[str, Any] = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding}
    known |= {"dilation": old.dilation, "groups": old.groups, "bias": old.bias is not None}
    known |= {"in_channels": old.in_channels, "out_channels": old.out_channels}
    return nn.Conv2d(**(known | other))


def is_3x3(old: nn.Conv2d) -> bool:
    """A convolution that keeps the size where its stride is 1."""
    return old.kernel_size == (3, 3) and old.padding == old.dilation == (1, 1)


def larger(old: nn.Conv2d) -> nn.Module:
    """A 5x5 for a 3x3."""
    return conv(old, kernel_size=5, padding=2)


def padded(old: nn.Conv2d) -> nn.Module:
    """With the zeros put around the map by a layer of their own, as other frameworks put them."""
    rows, columns = old.padding
    return nn.Sequential(nn.ZeroPad2d((columns, columns, rows, rows)), conv(old, padding=0))


def reflected(old: nn.Conv2d) -> nn.Module:
    """With the map continued by reflection."""
    return nn.Sequential(nn.ReflectionPad2d(old.padding[0]), conv(old, padding=0))


# What: norms


def channels(norm: Any) -> int:
    """How many it takes."""
    return norm.num_features if isinstance(norm, nn.BatchNorm2d) else norm.num_channels


class HandNorm(nn.Module):
    """What nn.BatchNorm2d computes in eval mode, written out."""

    def __init__(self, count: int):
        super().__init__()
        self.scale, self.offset = nn.Parameter(torch.ones(1, count, 1, 1)), nn.Parameter(torch.zeros(1, count, 1, 1))
        self.register_buffer("mean", torch.zeros(1, count, 1, 1))
        self.register_buffer("variance", torch.ones(1, count, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return (x - self.mean) / torch.sqrt(self.variance + 1e-5) * self.scale + self.offset


class LayerNorm2d(nn.LayerNorm):
    """Over the channels of every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def group_norm(norm: Any) -> nn.Module:
    """Of as many groups as go, at most 16: no shipped arch has that."""
    return nn.GroupNorm(gcd(channels(norm), 16), channels(norm))


def with_norm(old: nn.Conv2d) -> nn.Module:
    """A convolution and a norm."""
    return nn.Sequential(old, nn.GroupNorm(1, old.out_channels))


# What: activations and the rest


class Swish(nn.Module):
    """Written out."""

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return x * torch.sigmoid(x)


class Around(nn.Module):
    """A network with something done to what it gives."""

    def __init__(self, net: nn.Module, then: Callable[[Tensor], Any]):
        super().__init__()
        self.net, self.then = net, then

    def forward(self, x: Tensor) -> Any:
        """(N, C, H, W) to what `then` makes."""
        return self.then(self.net(x))


def last_linear(old: nn.Linear) -> bool:
    """The one that gives the classes: in the shipped archs 1000 or 10 of them."""
    return old.out_features in (1000, 10)


def identity(old: nn.Module) -> nn.Module:
    """Nothing."""
    return nn.Identity()


def is_stem(old: nn.Conv2d) -> bool:
    """It takes an image."""
    return old.in_channels == 3


def of_one_channel(old: nn.Conv2d) -> nn.Module:
    """It takes a grey image."""
    return conv(old, in_channels=1)


def fewer_classes(old: nn.Module) -> nn.Module:
    """Seven of them, of a linear layer or a 1x1 convolution."""
    if isinstance(old, nn.Linear):
        return nn.Linear(old.in_features, 7, bias=old.bias is not None)
    return conv(old, out_channels=7)


def gives_classes(old: nn.Module) -> bool:
    """A linear layer or a 1x1 convolution that gives the classes."""
    if isinstance(old, nn.Linear):
        return last_linear(old)
    return old.out_channels == 1000 and old.kernel_size == (1, 1)


def _biased(old: nn.Conv2d) -> nn.Module:
    return conv(old, bias=old.bias is None)


def _frozen(norm: Any) -> nn.Module:
    return FrozenBatchNorm2d(channels(norm))


def _other_eps(norm: Any) -> nn.Module:
    if isinstance(norm, nn.GroupNorm):
        return nn.GroupNorm(norm.num_groups, norm.num_channels, eps=1e-3)
    return nn.BatchNorm2d(norm.num_features, eps=1e-3)


def _without_affine(norm: Any) -> nn.Module:
    if isinstance(norm, nn.GroupNorm):
        return nn.GroupNorm(norm.num_groups, norm.num_channels, affine=False)
    return nn.BatchNorm2d(norm.num_features, affine=False)


def _average(pool: nn.MaxPool2d) -> nn.Module:
    return nn.AvgPool2d(pool.kernel_size, pool.stride, pool.padding)


def _half(net: nn.Module) -> nn.Module:
    return net.half()


EVERYWHERE = (
    Change("a bias of every convolution, or none", everywhere(nn.Conv2d, _biased)),
    Change("padding by reflection", everywhere(nn.Conv2d, reflected, is_3x3)),
    Change("zeros by a layer of its own", everywhere(nn.Conv2d, padded, is_3x3)),
    Change("5x5 for 3x3", everywhere(nn.Conv2d, larger, is_3x3)),
    Change("weight norm", everywhere(nn.Conv2d, weight_norm)),
    Change("dilated 3x3", everywhere(nn.Conv2d, lambda old: conv(old, padding=2, dilation=2), is_3x3)),
    Change("norms of groups", everywhere(NORMS, group_norm)),
    Change("norms of layers", everywhere(NORMS, lambda norm: LayerNorm2d(channels(norm)))),
    Change("norms of instances", everywhere(NORMS, lambda norm: nn.InstanceNorm2d(channels(norm), affine=True))),
    Change("no norms", everywhere(NORMS, identity)),
    Change("frozen norms", everywhere(NORMS, _frozen)),
    Change("norms by hand", everywhere(NORMS, lambda norm: HandNorm(channels(norm)))),
    Change("folded norms", both(everywhere(NORMS, identity), everywhere(nn.Conv2d, lambda old: conv(old, bias=True)))),
    Change("another eps", everywhere(NORMS, _other_eps)),
    Change("norms without weights", everywhere(NORMS, _without_affine)),
    Change(
        "norms of the batch in eval mode, too",
        everywhere(nn.BatchNorm2d, lambda norm: nn.BatchNorm2d(norm.num_features, track_running_stats=False)),
    ),
    Change(
        "a norm of layers behind every convolution", everywhere(nn.Conv2d, with_norm, lambda old: old.in_channels > 3)
    ),
    Change("leaky relus", everywhere(nn.ReLU, lambda old: nn.LeakyReLU(0.1))),
    Change("gelus", everywhere(nn.ReLU, lambda old: nn.GELU())),
    Change("silus", everywhere(nn.ReLU, lambda old: nn.SiLU())),
    Change("relu6", everywhere(nn.ReLU, lambda old: nn.ReLU6())),
    Change("elus", everywhere(nn.ReLU, lambda old: nn.ELU())),
    Change("hard swishes", everywhere(nn.ReLU, lambda old: nn.Hardswish())),
    Change("prelus", everywhere(nn.ReLU, lambda old: nn.PReLU())),
    Change("swishes by hand", everywhere(nn.ReLU, lambda old: Swish())),
    Change("no activations", everywhere(nn.ReLU, identity)),
    Change("dropout behind activations", everywhere(nn.ReLU, lambda old: nn.Sequential(nn.ReLU(), nn.Dropout(0.1)))),
    Change("half precision", _half),
    Change(
        "norms of groups and leaky relus",
        both(everywhere(NORMS, group_norm), everywhere(nn.ReLU, lambda old: nn.LeakyReLU(0.1))),
    ),
)

ONCE = (
    Change("a bias of one convolution, or none", once(nn.Conv2d, _biased)),
    Change("one 5x5 for a 3x3", once(nn.Conv2d, larger, is_3x3)),
    Change("one dilated 3x3", once(nn.Conv2d, lambda old: conv(old, padding=2, dilation=2), is_3x3)),
    Change(
        "one 3x3 more", once(nn.Conv2d, lambda old: nn.Sequential(old, nn.Conv2d(*[old.out_channels] * 2, 3, 1, 1)))
    ),
    Change("one convolution by reflection", once(nn.Conv2d, reflected, is_3x3)),
    Change("another norm in one place", once(NORMS, group_norm)),
    Change("one norm less", once(NORMS, identity)),
    Change("another eps in one place", once(NORMS, _other_eps)),
    Change("one norm by hand", once(NORMS, lambda norm: HandNorm(channels(norm)))),
    Change("another activation in one place", once(nn.ReLU, lambda old: nn.GELU())),
    Change("one activation less", once(nn.ReLU, identity)),
    Change("the average for a maximum", once(nn.MaxPool2d, _average, at=0)),
    Change("seven classes", once((nn.Linear, nn.Conv2d), fewer_classes, gives_classes, at=1)),
    Change("no head", once((nn.Linear, nn.Conv2d), identity, gives_classes, at=1)),
    Change("grey images", once(nn.Conv2d, of_one_channel, is_stem, at=0)),
    Change("a stem without a stride", once(nn.Conv2d, lambda old: conv(old, stride=1), is_stem, at=0)),
    Change("softmax at the end", lambda net: Around(net, lambda y: y.softmax(1))),
    Change("two outputs", lambda net: Around(net, lambda y: (y.square(), y))),
)
