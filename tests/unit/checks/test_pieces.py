"""Networks whose parameters are pieces of the other's: one projection for three, gates of one layer, experts in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rv_check.checks.of_two import compare_modules
from rv_check.graphs.graph import Piece

TOKENS, WIDTH, HEADS = 8, 16, 4
Function = Callable[[Any, Tensor], Tensor]


class Net(nn.Module):
    """A function of its layers and of tokens."""

    def __init__(self, function: Function, **layers: nn.Module):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def net(function: Function, **sizes: int) -> Callable[[], nn.Module]:
    """A network of linear layers of that many outputs."""
    return lambda: Net(function, **{name: nn.Linear(WIDTH, size) for name, size in sizes.items()})


def heads(x: Tensor) -> Tensor:
    """(N, tokens, width) as (N, heads, tokens, width of a head)."""
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Of several heads, put together again."""
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def apart(s: Any, x: Tensor) -> Tensor:
    """A projection each."""
    return s.o(attention(heads(s.q(x)), heads(s.k(x)), heads(s.v(x))))


def chunks(s: Any, x: Tensor) -> Tensor:
    """One projection, cut in three."""
    q, k, v = s.qkv(x).chunk(3, -1)
    return s.o(attention(heads(q), heads(k), heads(v)))


def unbound(s: Any, x: Tensor) -> Tensor:
    """One projection, its axes moved before it is cut."""
    n, tokens, _ = x.shape
    q, k, v = s.qkv(x).reshape(n, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4).unbind(0)
    return s.o(attention(q, k, v))


def of_each_head(s: Any, x: Tensor) -> Tensor:
    """One projection, query, key and value of each head side by side."""
    n, tokens, _ = x.shape
    q, k, v = s.qkv(x).reshape(n, tokens, HEADS, 3, -1).transpose(1, 2).chunk(3, -2)
    return s.o(attention(q.squeeze(-2), k.squeeze(-2), v.squeeze(-2)))


def packed(s: Any, x: Tensor) -> Tensor:
    """The weight cut, as nn.MultiheadAttention does it for cross attention."""
    w, b = s.qkv.weight.chunk(3), s.qkv.bias.chunk(3)
    q, k, v = (heads(F.linear(x, w[at], b[at])) for at in range(3))
    return s.o(attention(q, k, v))


def kept_apart(s: Any, x: Tensor) -> Tensor:
    """Keys and values of one projection."""
    k, v = s.kv(x).chunk(2, -1)
    return s.o(attention(heads(s.q(x)), heads(k), heads(v)))


def swapped(s: Any, x: Tensor) -> Tensor:
    """Keys for queries."""
    k, q, v = s.qkv(x).chunk(3, -1)
    return s.o(attention(heads(q), heads(k), heads(v)))


def twice(s: Any, x: Tensor) -> Tensor:
    """Keys that are the queries."""
    q, _, v = s.qkv(x).chunk(3, -1)
    return s.o(attention(heads(q), heads(q), heads(v)))


def overlapping(s: Any, x: Tensor) -> Tensor:
    """Keys that are half of the queries."""
    y = s.qkv(x)
    return s.o(attention(heads(y[..., :16]), heads(y[..., 8:24]), heads(y[..., 32:])))


def gated(s: Any, x: Tensor) -> Tensor:
    """A gate and a value."""
    return s.o(F.silu(s.gate(x)) * s.up(x))


def gated_at_once(s: Any, x: Tensor) -> Tensor:
    """Both of one layer."""
    gate, up = s.both(x).chunk(2, -1)
    return s.o(F.silu(gate) * up)


def recurrent(s: Any, x: Tensor) -> Tensor:
    """An LSTM, a layer for each gate."""
    h = c = x.new_zeros(x.shape[0], WIDTH)
    for step in x.unbind(1):
        i, f, o = (torch.sigmoid(s.get_submodule(f"x{g}")(step) + s.get_submodule(f"h{g}")(h)) for g in "ifo")
        c = f * c + i * torch.tanh(s.xg(step) + s.hg(h))
        h = o * torch.tanh(c)
    return h


def recurrent_at_once(s: Any, x: Tensor) -> Tensor:
    """An LSTM, all gates of one layer."""
    h = c = x.new_zeros(x.shape[0], WIDTH)
    for step in x.unbind(1):
        i, f, g, o = (s.x(step) + s.h(h)).chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    return h


def of_a_larger(s: Any, x: Tensor) -> Tensor:
    """Half of what a layer gives, the other half thrown away."""
    return s.larger(x)[..., :16]


APART = net(apart, q=16, k=16, v=16, o=16)
GATES = net(recurrent, **{f"{side}{gate}": 16 for side in "xh" for gate in "ifgo"})


def fused(function: Function) -> Callable[[], nn.Module]:
    """A network with one projection for queries, keys and values."""
    return net(function, qkv=48, o=16)


SAME = {
    "three chunks": (APART, fused(chunks)),
    "moved before it is cut": (APART, fused(unbound)),
    "of each head": (APART, fused(of_each_head)),
    "the weight cut": (APART, fused(packed)),
    "keys and values": (APART, net(kept_apart, q=16, kv=32, o=16)),
    "cut otherwise": (fused(chunks), fused(unbound)),
    "two of three": (fused(chunks), net(kept_apart, q=16, kv=32, o=16)),
    "a gate and a value": (net(gated, gate=16, up=16, o=16), net(gated_at_once, both=32, o=16)),
    "gates": (GATES, net(recurrent_at_once, x=64, h=64)),
}
OTHERS = {
    "keys for queries": (fused(chunks), fused(swapped)),
    "of each head, not of all": (fused(chunks), fused(of_each_head)),
    "keys that are the queries": (APART, fused(twice)),
    "keys that are the queries, at once": (fused(chunks), fused(twice)),
    "keys that are half of the queries": (APART, fused(overlapping)),
    "half of them, at once": (fused(chunks), fused(overlapping)),
}


def input_of(old: nn.Module) -> tuple[int, int]:
    """Tokens; few for a network that goes through them one by one."""
    return (3, WIDTH) if "xi" in dict(old.named_modules()) else (TOKENS, WIDTH)


@pytest.mark.parametrize("turned", [False, True], ids=["", "the other way round"])
@pytest.mark.parametrize("pair", SAME.values(), ids=SAME)
def test_pieces_are_the_same_network(
    pair: tuple[Callable[[], nn.Module], Callable[[], nn.Module]], turned: bool
) -> None:
    """Each is the other under a map of slices, and the numbers are compared by it, gradients too."""
    old, new = pair[::-1] if turned else pair
    report = compare_modules(new(), old(), input_of(pair[0]()))
    assert report.passed, str(report)
    assert {f.check for f in report.findings if f.status == "passed"} >= {"structure", "logits", "eval", "train"}


@pytest.mark.parametrize("turned", [False, True], ids=["", "the other way round"])
@pytest.mark.parametrize("pair", OTHERS.values(), ids=OTHERS)
def test_other_pieces_are_another_network(
    pair: tuple[Callable[[], nn.Module], Callable[[], nn.Module]], turned: bool
) -> None:
    """The wrong piece, one piece for two, and pieces that overlap."""
    old, new = pair[::-1] if turned else pair
    assert not compare_modules(new(), old(), input_of(pair[0]())).passed


def test_pieces_are_named() -> None:
    """The map says which part of which tensor it is."""
    report = compare_modules(fused(chunks)(), APART(), (TOKENS, WIDTH))
    assert (report.map["q.weight"], report.map["v.bias"]) == ("qkv.weight[0:16]", "qkv.bias[32:48]")
    report = compare_modules(APART(), fused(chunks)(), (TOKENS, WIDTH))
    assert report.map["qkv.weight"] == "q.weight and k.weight and v.weight"


def test_a_part_that_is_never_used() -> None:
    """It is said, unless the other network does not use it either."""
    larger = net(of_a_larger, larger=32)
    report = compare_modules(larger(), net(lambda s, x: s.fc(x), fc=16)(), (TOKENS, WIDTH))
    (finding,) = (f for f in report.findings if f.status == "failed")
    assert "2 parameters are never used: a part of larger.weight, a part of larger.bias" in finding.message
    assert compare_modules(larger(), net(of_a_larger, larger=32)(), (TOKENS, WIDTH)).passed
    assert compare_modules(larger(), net(lambda s, x: s.l(x)[..., :16], l=32)(), (TOKENS, WIDTH)).passed


@pytest.mark.parametrize(
    ("a", "b", "answer"),
    [
        (((0, 0, 4),), ((0, 4, 8),), False),
        (((0, 0, 5),), ((0, 4, 8),), True),
        (((0, 0, 4),), ((1, 4, 8),), True),
        (((0, 0, 4), (1, 0, 2)), ((0, 0, 4), (1, 2, 4)), False),
        ((), ((0, 0, 4),), True),
    ],
)
def test_overlap(a: Any, b: Any, answer: bool) -> None:
    """Slices of one axis are apart where they end before the other begins; all else may overlap."""
    one, other = (Piece("w", tuple(("slice", cut) for cut in cuts)) for cuts in (a, b))
    assert one.overlaps(other) is other.overlaps(one) is answer
    assert not one.overlaps(Piece("v", other.steps))
