"""Bytes: by hand, and against what autograd keeps and what is alive, on meta and on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from rv_check import build, load
from rv_check.archs.load import archs
from rv_check.costs import memory
from rv_check.costs.memory import kept_for_backward, least_peak
from rv_check.costs.roofline import costs
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.network import At
from rv_check.graphs.of_arch import graph_of
from rv_check.modules.observe import Subject
from rv_check.ops.kinds import KINDS
from tests.unit.measured_memory import measured_for_backward, measured_peak


def kept(name: str, batch: int = 2, side: int = 224, size: int = 4) -> int:
    """The bytes that are kept, by the formula."""
    graph = graph_of(load(name).at((3, side, side)), training=True, batch=batch, form=Form.AS_RUN)
    return sum(bytes_ for _, bytes_ in kept_for_backward(graph, size))


def test_by_hand() -> None:
    """An image of 3x8x8, a convolution to 4 maps, norm, relu, a pool to 4x4, a linear layer; 2 images in float32."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 5))
    )
    graph = Subject(net).observe(At((3, 8, 8), batch=2, training=True), Form.AS_RUN)
    image, maps, pooled = 2 * 3 * 64, 2 * 4 * 64, 2 * 4 * 16
    expected_bytes = 4 * (image + maps + maps + pooled) + 4 * 2 * 4 + 8 * pooled  # statistics; where the maxima are
    assert sum(bytes_ for _, bytes_ in kept_for_backward(graph)) == expected_bytes
    assert measured_for_backward(net.train(), torch.zeros(2, 3, 8, 8)) == expected_bytes
    assert least_peak(Subject(net).observe(At((3, 8, 8), batch=2), Form.AS_RUN)) == 4 * (maps + maps)


@pytest.mark.parametrize("name", [arch.name for arch in archs()])
def test_what_autograd_keeps_of_every_arch(name: str) -> None:
    """The formula is exact, at a batch of 2; a forward pass needs no less than it says, but for what is in place."""
    arch = load(name)
    model = build(arch, "meta").train()
    assert kept(name, side=arch.input[1]) == measured_for_backward(model, torch.empty((2, *arch.input), device="meta"))
    least = least_peak(graph_of(arch, batch=1, form=Form.AS_RUN))
    image = torch.empty((1, *arch.input), device="meta")
    found = measured_peak(model.eval(), image)
    assert 0.85 * least < found
    # Nobody frees the image, and what one branch of a wide join gives waits for the other.
    assert found - image.nbytes < (1.25 if arch.family.name in ("resnet", "vgg") else 1.5) * least


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn(width=16)"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_autograd_keeps_on_the_cpu(name: str, dtype: torch.dtype) -> None:
    """Autograd keeps that on real tensors, too."""
    model = build(load(name)).to(dtype).train()
    x = torch.zeros((3, 3, 64, 64), dtype=dtype)
    assert kept(name, 3, 64, dtype.itemsize) == measured_for_backward(model, x)


class Function(nn.Module):
    """A function of layers and the input."""

    def __init__(self, function: Callable[[Any, Tensor], Any], a: nn.Module | None = None) -> None:
        super().__init__()
        self.function, self.a, self.b = function, a or nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def with_a_state(net: Any, x: Tensor) -> Tensor:
    """A recurrence begins with zeros."""
    return net.a(x) + net.b(torch.zeros_like(x)).tanh()


ODD: dict[str, Callable[[], nn.Module]] = {
    "a computed weight": lambda: Function(lambda n, x: F.linear(n.a(x), 2 * n.b.weight)),
    "a computed weight of what needs no gradient": lambda: Function(lambda n, x: F.linear(x, 2 * n.b.weight)),
    "a computed filter": lambda: Function(lambda n, x: F.conv1d(x[:, None], 2 * n.b.weight[:, None])),
    "a weight by its norm": lambda: Function(lambda n, x: n.a(x), parametrizations.weight_norm(nn.Linear(8, 8))),
    "a result that is thrown away": lambda: Function(lambda n, x: (n.a(x), n.b(x).tanh().exp())[0]),
    "an output of places": lambda: Function(lambda n, x: n.b(n.a(x).tanh()).argmax(1)),
    "another type": lambda: Function(lambda n, x: n.b(n.a(x).double().softmax(1).to(x.dtype))),
    "another type by a sum": lambda: Function(lambda n, x: (n.a(x) + n.b(x).double()).tanh()),
    "half the type": lambda: Function(lambda n, x: n.a(x).bfloat16().exp()),
    "places that are computed": lambda: Function(lambda n, x: n.a(x) + n.b.weight[x.abs().long().clamp(max=7)[:, 0]]),
    "numbers of places": lambda: Function(lambda n, x: n.a(x) * (0.1 * torch.arange(8, device=x.device)).exp()),
    "a state of zeros": lambda: Function(with_a_state),
}


@pytest.mark.parametrize("make", ODD.values(), ids=ODD)
def test_what_autograd_keeps_of_odd_modules(make: Callable[[], nn.Module]) -> None:
    """No more and no less than what is measured."""
    graph = Subject(make()).observe(At((8,), batch=2, training=True), Form.AS_RUN)
    assert sum(bytes_ for _, bytes_ in kept_for_backward(graph)) == measured_for_backward(make(), torch.randn(2, 8))


def test_the_measurement_sees_what_is_kept_besides(monkeypatch: pytest.MonkeyPatch) -> None:
    """A formula that forgets what a norm keeps is not what is measured; nor is a module that keeps more."""
    arch = load("resnet18").at((3, 64, 64))
    x = torch.empty((2, *arch.input), device="meta")
    model = build(arch, "meta").train()
    real = measured_for_backward(model, x)
    monkeypatch.setitem(KINDS, "batchnorm", replace(KINDS["batchnorm"], keeps="nothing"))
    assert kept("resnet18", 2, 64) < real
    model.register_forward_pre_hook(lambda module, args: (args[0].sigmoid(),))
    assert measured_for_backward(model, x) >= real


def test_peak_of_a_chain_and_of_a_branch() -> None:
    """What a skip holds on to is alive until the sum."""

    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x)) + x  # type: ignore[no-any-return]

    graph = Subject(Skip()).observe(At((4, 8, 8), batch=1), Form.AS_RUN)
    one = 4 * 4 * 64
    assert least_peak(graph) == 3 * one
    assert measured_peak(Skip().eval(), torch.zeros(1, 4, 8, 8)) == 3 * one


def test_totals() -> None:
    """Parameters, gradients and what the optimiser keeps are of the type of the numbers."""
    arch = load("resnet18")
    graphs = [graph_of(arch, training=training, batch=4, form=Form.AS_RUN) for training in (True, False)]
    found = memory.memory(graphs[0], graphs[1], "bfloat16", "adam")
    assert (found.parameters, found.gradients, found.optimiser) == (2 * arch.params, 2 * arch.params, 4 * arch.params)
    assert found.training == found.parameters + found.gradients + found.optimiser + found.activations
    assert memory.memory(graphs[0], graphs[1], "float32", "sgd").optimiser == 0
    with pytest.raises(RvCheckError, match="unknown optimiser 'lion'"):
        memory.memory(graphs[0], graphs[1], "float32", "lion")
    with pytest.raises(RvCheckError, match="unknown type of numbers 'int8'"):
        memory.memory(graphs[0], graphs[1], "int8")


def test_what_is_not_known_is_not_nothing() -> None:
    """An operation of which it is not known what it keeps is an error, not 0 bytes."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return torch.logcumsumexp(self.a(x), 1)

    with pytest.raises(RvCheckError, match="it is not known what 'logcumsumexp'"):
        list(kept_for_backward(Subject(Odd()).observe(At((3, 4, 4), batch=1, training=True), Form.AS_RUN)))


def test_roofline_by_hand() -> None:
    """A convolution of 1x1 moves its input, output and weights once; the slower of the two limits decides."""
    graph = Subject(nn.Conv2d(16, 32, 1, bias=False)).observe(At((16, 8, 8), batch=1), Form.AS_RUN)
    (cost,) = costs(graph)
    assert cost.macs == 32 * 64 * 16
    assert cost.moved == 4 * (16 * 64 + 32 * 64 + 16 * 32)
    assert cost.intensity == 2 * cost.macs / cost.moved
    assert cost.seconds(rate=1e9, bandwidth=1e18) == 2 * cost.macs / 1e9
    assert cost.seconds(rate=1e18, bandwidth=1e9) == cost.moved / 1e9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here: run it where there is one")
@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn"])
def test_what_the_allocator_of_cuda_says(name: str) -> None:
    """What a forward pass leaves allocated is what is kept, each tensor rounded up to a block of 512 bytes, but for
    masks of dropout, which are bytes there, and what cuDNN reserves for itself."""
    arch = load(name)
    model = build(arch).cuda().train()
    x = torch.zeros((8, *arch.input), device="cuda")
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    output = model(x)
    torch.cuda.synchronize()
    found = torch.cuda.memory_allocated() - before
    assert output.shape == (8, 1000)
    assert found == pytest.approx(kept(name, 8) - x.nbytes, rel=0.05)
