"""Attention by the kernel that torch takes on a CPU: bytes as measured there, and multiply-adds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from rv_check.costs.memory import kept_for_backward, least_peak
from rv_check.costs.operations import operations
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph, Node, State
from rv_check.graphs.network import At
from rv_check.modules.observe import Subject
from tests.unit.measured_memory import measured_for_backward

LENGTH, WIDTH = 6, 8
Mask = Callable[["Attention", Tensor], Tensor]


class Attention(nn.Module):
    """Self-attention of (N, L, 8), queries of 4 heads or 2, and what else the function is given."""

    def __init__(self, mask: Mask | None = None, heads: int = 2, shared: int = 1, function: Any = None, **given: Any):
        super().__init__()
        self.heads, self.shared, self.mask, self.given, self.function = heads, shared, mask, given, function
        self.qkv = nn.Linear(WIDTH, WIDTH + 2 * WIDTH // shared)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.bias = nn.Parameter(torch.zeros(LENGTH, LENGTH))
        self.register_buffer("ones", torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril())

    def forward(self, x: Tensor) -> Tensor:
        few = WIDTH // self.shared
        q, k, v = (
            part.unflatten(-1, (heads, -1)).transpose(1, 2)
            for part, heads in zip(
                self.qkv(x).split([WIDTH, few, few], -1), (self.heads, *[self.heads // self.shared] * 2), strict=True
            )
        )
        attend = self.function or F.scaled_dot_product_attention
        given = {**self.given, **({"attn_mask": self.mask(self, x)} if self.mask else {})}
        y: Tensor = self.out(attend(q, k, v, **given).transpose(1, 2).flatten(2))
        return y


class Layer(nn.Module):
    """Torch's layer of attention."""

    def __init__(self, weights: bool = False, **given: Any):
        super().__init__()
        self.attention, self.weights = nn.MultiheadAttention(WIDTH, 2, batch_first=True, **given), weights

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attention(x, x, x, need_weights=self.weights)[0]
        return y


def encoder(**given: Any) -> nn.Module:
    """Torch's layer of a transformer."""
    return nn.TransformerEncoderLayer(WIDTH, 2, 16, batch_first=True, **given)


def zeros(net: Attention, x: Tensor) -> Tensor:
    """A mask that is made anew."""
    return x.new_zeros(len(x), 1, LENGTH, LENGTH)


def one_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Without an axis of images."""
    return torch.stack([F.scaled_dot_product_attention(*one) for one in zip(q, k, v, strict=True)])


# By the spelling: what makes the module, and whether the fused kernel is taken in train and in eval mode.
SPELLINGS: dict[str, tuple[Callable[[], nn.Module], bool, bool]] = {
    "plain": (Attention, True, True),
    "of three axes": (lambda: Attention(function=one_head), True, True),
    "causal": (lambda: Attention(is_causal=True), True, True),
    "a scale": (lambda: Attention(scale=0.3), True, True),
    "an imported name": (lambda: Attention(function=scaled_dot_product_attention), True, True),
    "a mask of truth values": (lambda: Attention(lambda net, x: net.ones), True, True),  # type: ignore[arg-type, return-value]
    "a mask of numbers": (lambda: Attention(zeros), True, True),
    "a mask of the input": (lambda: Attention(lambda net, x: (x @ x.transpose(1, 2))[:, None]), True, True),
    "a learned mask": (lambda: Attention(lambda net, x: net.bias), False, False),
    "a mask made of what is learned": (lambda: Attention(lambda net, x: net.bias.sin() * 2), False, False),
    "dropout": (lambda: Attention(dropout_p=0.1), False, False),
    "causal, with dropout": (lambda: Attention(dropout_p=0.1, is_causal=True), False, False),
    "shared keys": (lambda: Attention(heads=4, shared=2, enable_gqa=True), True, True),
    "shared keys, causal": (lambda: Attention(heads=4, shared=2, enable_gqa=True, is_causal=True), True, True),
    "torch's layer": (Layer, True, True),
    "torch's layer with dropout": (lambda: Layer(dropout=0.1), False, True),
    "torch's layer with weights": (lambda: Layer(weights=True), False, False),
    "torch's layer with weights and dropout": (lambda: Layer(weights=True, dropout=0.1), False, False),
    "torch's encoder": (encoder, False, True),
    "torch's encoder without dropout": (lambda: encoder(dropout=0.0), True, True),
    "torch's encoder, norm first": (lambda: encoder(dropout=0.0, activation="gelu", norm_first=True), True, True),
}
spellings = pytest.mark.parametrize("name", SPELLINGS)
both = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def observed(module: nn.Module, training: bool, batch: int = 2) -> Graph:
    """What it does, operation by operation."""
    return Subject(module).observe(At((LENGTH, WIDTH), batch=batch, training=training), Form.AS_RUN)


@spellings
@both
def test_bytes_that_are_kept(name: str, training: bool) -> None:
    """Observed on meta, they are those that are measured on the CPU."""
    make, *fused = SPELLINGS[name]
    graph = observed(make(), training)
    assert any(node.fused for node in graph.nodes) == fused[not training]
    module = make().train(training)
    assert sum(bytes_ for _, bytes_ in kept_for_backward(graph)) == measured_for_backward(
        module, torch.zeros(2, LENGTH, WIDTH)
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_bytes_of_other_numbers(dtype: torch.dtype) -> None:
    """The logarithms of the denominators are of 4 bytes at least."""
    found = sum(bytes_ for _, bytes_ in kept_for_backward(observed(Attention(), training=True), dtype.itemsize))
    assert found == measured_for_backward(Attention().to(dtype), torch.zeros(2, LENGTH, WIDTH, dtype=dtype))


def test_by_hand() -> None:
    """2 images of 6 vectors of 8 numbers, 2 heads: no matrix of 6x6 is kept, but for each of 2*2*6 queries a number."""
    vectors, queries = 4 * 2 * 6 * 8, 4 * 2 * 2 * 6
    # the input, queries, keys and values, what comes of them, which is the last layer's input
    assert sum(bytes_ for _, bytes_ in kept_for_backward(observed(Attention(), training=True))) == 5 * vectors + queries
    with sdpa_kernel(SDPBackend.MATH):
        graph = observed(Attention(), training=True)
    assert not any(node.fused for node in graph.nodes)
    # by matrices: copies of queries, keys and values, 2*2*6*6 probabilities, what the last layer is given
    assert sum(bytes_ for _, bytes_ in kept_for_backward(graph)) == 5 * vectors + 4 * 2 * 2 * 6 * 6


def test_alive_at_once() -> None:
    """Queries, keys and values, and the input or what comes of them; by matrices there are those besides."""
    vectors = 4 * 2 * 6 * 8
    assert least_peak(observed(Attention(), training=False)) == 4 * vectors
    with sdpa_kernel(SDPBackend.MATH):
        assert least_peak(observed(Attention(), training=False)) > 5 * vectors


def test_multiply_adds() -> None:
    """Forward and backward of the kernel are what torch's counter has for it, which counts two for each."""
    shapes = [(2, 2, LENGTH, WIDTH // 2)] * 3
    found = [one for one in operations(observed(Attention(), training=True)) if one.kind == "matmul"]
    assert 2 * sum(one.macs for one in found) == sdpa_flop_count(*shapes)
    assert 2 * sum(one.backward for one in found) == sdpa_backward_flop_count(shapes[0], *shapes)
    values = tuple(Node("input", shape=shape) for shape in shapes)
    weighted = Node("sum", values[:1], shapes[0], tensors={"w": State("w", (4,))})
    kernel = Node("_scaled_dot_product_flash_attention_for_cpu", (weighted, *values[1:]), shapes[0])
    graph = Graph(values[0], {"": kernel}, {"w": (4,)}, frozenset({"w"}), ran=(weighted, kernel))
    assert [2 * one.backward for one in operations(graph)] == [0, sdpa_backward_flop_count(shapes[0], *shapes)]


@spellings
def test_multiply_adds_are_those_of_matrices(name: str) -> None:
    """Whatever the kernel, forward they are those of the products of matrices that torch counts."""
    make = SPELLINGS[name][0]
    done = operations(observed(make(), training=True, batch=1))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        make().train()(torch.zeros(1, LENGTH, WIDTH))
    assert 2 * sum(one.macs for one in done) == counter.get_total_flops()


def test_on_real_tensors() -> None:
    """A module that does not run on meta is seen to do the same."""

    class Branches(Attention):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum().item() < 1e9 else x.neg())

    subject = Subject(Branches())
    graph = subject.observe(At((LENGTH, WIDTH), batch=2, training=True), Form.AS_RUN)
    assert subject.why_real
    on_meta = observed(Attention(), training=True)
    kept = [sum(bytes_ for _, bytes_ in kept_for_backward(one)) for one in (graph, on_meta)]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("raises", [False, True])
def test_the_function_is_torchs_again(raises: bool) -> None:
    """Whatever the module does, torch's function is in its place when it has run."""

    class Odd(Attention):
        def forward(self, x: Tensor) -> Tensor:
            if raises:
                raise ZeroDivisionError
            return super().forward(x)

    with pytest.raises(ZeroDivisionError) if raises else nullcontext():
        observed(Odd(), training=True)
    assert F.scaled_dot_product_attention is scaled_dot_product_attention
