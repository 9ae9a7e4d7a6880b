"""How like two networks are: what they are recognised by, and what changes weigh."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rv_check import build, load
from rv_check.archs.arch import Arch
from rv_check.archs.load import all_archs
from rv_check.graphs.landmarks import Landmarks, keys_of, looks_like, weights
from rv_check.graphs.likeness import common, likeness
from rv_check.graphs.network import At
from rv_check.graphs.of_arch import graph_of
from rv_check.modules.observe import Subject

SMALL = [arch for arch in all_archs() if "1202" not in arch.name and "1001" not in arch.name]


def seen(module: nn.Module, x: tuple[int, ...] = (3, 32, 32)) -> Landmarks:
    """The landmarks of a module in eval mode."""
    return Landmarks(Subject(module.eval()).observe(At(x)))


def of(name: str) -> Landmarks:
    """Those of an arch."""
    return Landmarks(graph_of(load(name)))


# The order


def by_the_table(a: list[int], b: list[int]) -> int:
    """How long a longest common subsequence is, by the table of all prefixes."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def test_pairs_are_a_longest_common_subsequence() -> None:
    """Of sequences of up to 30 of four things each: equal ones, in the order of both, and as many as can be."""
    for seed in range(200):
        chance = random.Random(seed)
        a, b = ([chance.randrange(4) for _ in range(chance.randrange(30))] for _ in range(2))
        pairs = common(a, b)
        assert len(pairs) == by_the_table(a, b), seed
        assert all(a[i] == b[j] for i, j in pairs), seed
        assert all(i < k and j < n for (i, j), (k, n) in pairwise(pairs)), seed


# Landmarks


@pytest.mark.parametrize("arch", SMALL, ids=lambda arch: arch.name)
def test_a_tree_tells_the_landmarks_of_its_graph(arch: Arch) -> None:
    """What is chosen by, from the tree alone, is what is compared, from the graph."""
    assert keys_of(arch) == Landmarks(graph_of(arch)).keys


class Net(nn.Module):
    """Three layers, and what is done between them."""

    def __init__(self, between: Callable[[Tensor, Tensor], Any]):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.between = between

    def forward(self, x: Tensor) -> Any:
        """Shape kept."""
        y = self.a(x)
        return self.c(self.between(y, self.b(y)))


JOINS = {
    "a sum": (lambda y, z: y + z, 1),
    "a product": (lambda y, z: y * z, 1),
    "a sum of three": (lambda y, z: y + z + z.relu() * y, 3),
    "a gate by the other, whose layer is none": (lambda y, z: y * z.mean((2, 3), keepdim=True).sigmoid(), 0),
    "an activation that is written out": (lambda y, z: z * torch.sigmoid(z), 0),
    "a mean that is taken away": (lambda y, z: (z - z.mean((2, 3), keepdim=True)) * 2, 0),
    "nothing": (lambda y, z: z, 0),
}


@pytest.mark.parametrize(("between", "joins"), JOINS.values(), ids=JOINS)
def test_a_join_is_of_what_several_layers_gave(between: Callable[[Tensor, Tensor], Any], joins: int) -> None:
    """And not of what one gave twice."""
    assert len(seen(Net(between)).all) == 3 + joins


def test_a_gate_stands_behind_what_it_is_a_factor_of() -> None:
    """In whatever order the two are multiplied, and with a layer of its own or without."""

    def gated(y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return y.tanh(), z.mean((2, 3), keepdim=True).sigmoid()

    one, other = (
        seen(Net(f)) for f in (lambda y, z: torch.mul(*gated(y, z)), lambda y, z: torch.mul(*gated(y, z)[::-1]))
    )
    assert likeness(one, other) == 1


def test_what_no_output_uses_is_no_landmark() -> None:
    """A layer that is run and thrown away says nothing of what the network is."""
    assert len(seen(Net(lambda y, z: y)).all) == 2


def test_what_is_made_of_the_answer_is_no_landmark() -> None:
    """Behind the last layer there is one join at most."""

    class Boxes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.a(x.mean((2, 3))), self.b(x.mean((2, 3)))
            for _ in range(5):
                a = a * b + b
            return a

    assert len(seen(Boxes()).all) == 3


def stack(*more: nn.Module) -> nn.Module:
    """A network of two convolutions."""
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), *more, nn.Conv2d(8, 8, 3, groups=8))


class Attention(nn.Module):
    """One attention, with one projection for queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(3, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, H*W, 8)."""
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, -1)
        return self.out((q @ k.transpose(1, 2)).softmax(-1) @ v)


class Concat(nn.Module):
    """Two layers, one beside the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Eight channels."""
        return torch.cat((self.a(x), self.b(x)), 1)


LOOKS = {
    "looks like a stack of layers: 2 convolutions, 1 of them depthwise": stack,
    "looks like a residual network: 3 convolutions, 1 sum": lambda: Net(lambda y, z: y + z),
    "looks like a network whose branches are concatenated once: 2 convolutions": Concat,
    "looks like a transformer: attention once": Attention,
    "looks like a perceptron": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 4)),
    "without a layer that rv-check knows": nn.ReLU,
}


@pytest.mark.parametrize("words", LOOKS)
def test_what_a_network_looks_like(words: str) -> None:
    """In words, from its layers and what joins them."""
    assert looks_like(seen(LOOKS[words]())) == words


def test_one_projection_is_one_weight() -> None:
    """However many parts of it are used apart."""
    assert weights(seen(Attention())) == 2


# Likeness


@pytest.mark.parametrize("arch", SMALL[::6], ids=lambda arch: arch.name)
def test_a_network_is_all_like_itself(arch: Arch) -> None:
    """And the bound is that."""
    marks = Landmarks(graph_of(arch))
    assert likeness(marks, marks) == marks.keys.bound(marks.keys) == 1


def test_the_bound_is_one() -> None:
    """No two archs are more like than their landmarks in any order tell."""
    marks = [Landmarks(graph_of(arch)) for arch in SMALL[::5]]
    assert all(likeness(a, b) <= a.keys.bound(b.keys) + 1e-9 for a in marks for b in marks)


def changed(kind: type[nn.Module], make: Callable[[Any], nn.Module]) -> Landmarks:
    """A VGG-11 without norms, 11 layers, with other modules of a kind."""
    with torch.device("meta"):
        net = build("vgg11")
        for parent in list(net.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, kind):
                    setattr(parent, name, make(child))
    return seen(net, (3, 224, 224))


# What stands at a layer's input is what differs of it: 10 of 11 have a relu there, 5 a pool.
WEIGHED = {
    "another activation": (nn.ReLU, lambda old: nn.GELU(), 0.5, 10),
    "no activation": (nn.ReLU, lambda old: nn.Identity(), 1.0, 10),
    "more than there was": (nn.ReLU, lambda old: nn.Sequential(old, nn.Dropout(), nn.Softplus()), 1.0, 10),
    "another pool": (nn.MaxPool2d, lambda old: nn.AvgPool2d(2, 2), 0.5, 5),
    "no bias": (nn.Linear, lambda old: nn.Linear(old.in_features, old.out_features, bias=False), 0.5, 3),
}


@pytest.mark.parametrize("change", WEIGHED)
def test_what_a_change_weighs(change: str) -> None:
    """Half of it once, and all of it everywhere, of eleven landmarks."""
    kind, make, weight, times = WEIGHED[change]
    expected = 1 - weight * (0.5 + 0.5 * times / 11) / 11
    assert likeness(of("vgg11"), changed(kind, make)) == pytest.approx(expected, abs=1e-8)


def test_another_kernel_leaves_three_quarters_of_a_layer() -> None:
    """Of the eight convolutions of a VGG-11; that their padding follows is not told again."""
    larger = changed(nn.Conv2d, lambda old: nn.Conv2d(old.in_channels, old.out_channels, 5, padding=2))
    assert likeness(of("vgg11"), larger) == pytest.approx((3 + 8 * 0.75) / 11, abs=1e-8)


def test_other_layers_are_no_other_way_to_write_it() -> None:
    """One more counts one, one less counts one, wherever it stands."""
    assert likeness(of("vgg13"), of("vgg11")) < 11 / 13 + 1e-9
    assert likeness(of("vgg11"), of("vgg13")) == likeness(of("vgg13"), of("vgg11"))
