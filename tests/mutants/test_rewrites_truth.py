"""Every rewrite is its arch: outputs, gradients and running statistics at a generic point, in float64."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rv_check import build
from tests.mutants.rewrites import REWRITES, SHAPES, VGG_SHAPES, Rewrite, State

SIZES = ((64, 64), (97, 65))
DECLARED = ((224, 224),)
SOME = [
    pytest.param(one, id=one.name, marks=pytest.mark.sweep if at % 12 else ()) for at, one in enumerate(REWRITES)
]  # the default run makes one of twelve, the sweep the others


@pytest.fixture(autouse=True)
def uncompiled() -> Iterator[None]:
    """What is compiled runs as it was written."""
    with torch.compiler.set_stance("force_eager"):
        yield


def generic(net: nn.Module, seed: int = 0) -> State:
    """A random state, no value of it 0 or 1, whose activations stay near 1."""
    made = torch.Generator().manual_seed(seed)
    state = {}
    for name, value in net.state_dict().items():
        shape = value.shape
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(5)
        elif name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            state[name] = torch.rand(shape, generator=made, dtype=torch.float64) + 0.5
        elif value.ndim == 1:
            state[name] = torch.randn(shape, generator=made, dtype=torch.float64) * 0.3
        else:
            spread = (2 / value[0].numel()) ** 0.5
            state[name] = torch.randn(shape, generator=made, dtype=torch.float64) * spread
    return state


@functools.cache
def ground(arch: str) -> tuple[nn.Module, State]:
    """The arch's own network and the state that everything is compared at."""
    net = build(arch).double()
    return net, generic(net)


def images(size: tuple[int, int], batch: int = 2) -> Tensor:
    """Random images that gradients flow to."""
    made = torch.Generator().manual_seed(size[0])
    return torch.randn((batch, 3, *size), generator=made, dtype=torch.float64).requires_grad_()


def copy_of(state: State) -> State:
    """A state that shares nothing with this one."""
    return {name: value.clone() for name, value in state.items()}


@functools.cache
def expected(arch: str, size: tuple[int, int], train: bool) -> tuple[Tensor, Tensor, State, State]:
    """The arch's output, gradient of the input, gradients of the parameters and state afterwards."""
    net, state = ground(arch)
    net.load_state_dict(copy_of(state))
    return measure(net, lambda y: y, size, train)


def measure(
    net: nn.Module, output: Callable[[Any], Tensor], size: tuple[int, int], train: bool
) -> tuple[Tensor, Tensor, State, State]:
    """One pass forward and backward."""
    if train != net.training:
        net.train(train)
    net.zero_grad()
    x = images(size)
    torch.manual_seed(1)
    y = output(net(x))
    assert y.requires_grad
    (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    assert x.grad is not None
    gradients = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    return y.detach(), x.grad, gradients, copy_of(net.state_dict())


def with_state(rewrite: Rewrite, state: State) -> nn.Module:
    """The rewrite with the arch's values."""
    torch.manual_seed(0)
    net = rewrite.build()
    if any(is_lazy(p) for p in net.parameters()) or rewrite.name == "head_made_at_the_first_call":
        net.eval()(torch.zeros(1, 3, 64, 64))
    if any(p.is_meta for p in net.parameters()):
        net.to_empty(device="cpu")
    net.double()
    net.load_state_dict(copy_of(rewrite.state(state)))
    return net


def close(ours: Tensor, theirs: Tensor, what: str) -> None:
    """Equal but for rounding."""
    assert ours.shape == theirs.shape, what
    scale = max(float(theirs.abs().max()), 1e-30)
    assert float((ours - theirs).abs().max()) <= 1e-9 * scale, what


@pytest.mark.parametrize("rewrite", SOME)
def test_same(rewrite: Rewrite) -> None:
    """Output, all gradients and state are the same, in eval at two sizes and in train at one."""
    _, state = ground(rewrite.arch)
    net = with_state(rewrite, state)
    sizes = DECLARED if rewrite.only_at_declared_input else SIZES
    runs = [(size, False) for size in sizes]
    if not rewrite.only_in_eval and rewrite.same_draws:
        runs.append((sizes[-1], True))
    for size, train in runs:
        mode = net.training if rewrite.only_in_eval else train  # what is baked in cannot be told
        y, to_input, gradients, after = measure(net, rewrite.output, size, mode)
        y0, to_input0, gradients0, after0 = expected(rewrite.arch, size, train)
        close(y, y0, f"output at {size}, {train=}")
        close(to_input, to_input0, f"gradient of the input at {size}, {train=}")
        blank = {name: torch.zeros_like(value) for name, value in after0.items()}
        mapped = rewrite.state(blank | gradients0)
        trained = {name for name, p in net.named_parameters() if p.requires_grad}
        assert trained == gradients.keys()
        for name in trained:
            close(gradients[name], mapped[name], f"gradient of {name} at {size}, {train=}")
        mapped = rewrite.state(after0)
        assert after.keys() == mapped.keys()
        for name, value in after.items():
            close(value.double(), mapped[name].double(), f"{name} afterwards at {size}, {train=}")
        assert train or all(torch.equal(value, mapped[name]) for name, value in after.items())


@pytest.mark.parametrize("rewrite", [one for one in REWRITES if not one.same_draws], ids=lambda one: one.name)
def test_same_in_distribution(rewrite: Rewrite) -> None:
    """Where dropout draws otherwise: the mean and the spread over many draws, each within what chance allows."""
    net, state = ground(rewrite.arch)
    net.load_state_dict(copy_of(state))
    x = images((32, 32), 1).detach().expand(600, -1, -1, -1)
    torch.manual_seed(2)
    with torch.no_grad():
        theirs = net.train()(x)
        ours = with_state(rewrite, state).train()(x)
    spread = theirs.std(0)
    assert (spread > 0.01).all()
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 5 * spread * (2 / 600) ** 0.5).all()
    assert ((ours.std(0) / spread).log().abs() < 0.25).all()


def test_some_of_each() -> None:
    """Enough of them, of many kinds, each named once."""
    assert len(REWRITES) >= 200
    assert len({one.name for one in REWRITES}) == len(REWRITES)
    assert len({one.kind for one in REWRITES}) >= 20
    assert {one.arch for one in REWRITES} == {*SHAPES, *VGG_SHAPES}
