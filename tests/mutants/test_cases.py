"""The right networks of `nets.py` are right, and every wrong one is wrong, measured without rv_check's own checks.

The weights and buffers of the spec's model go into the other network in the order in which both register them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rv_check import build, load
from tests.mutants import foreign, real_mistakes
from tests.mutants.nets import RIGHT, Build, Case, Order

CASES = [*real_mistakes.CASES, *foreign.CASES]
DECLARED = (2, 3, 224, 224)
SMALL = [(2, 3, 64, 64), (3, 3, 75, 91), (1, 3, 96, 64)]
LARGER = (1, 3, 256, 288)
TOLERANCE = 1e-9


@cache
def right(arch: str) -> nn.Module:
    """The model of the spec, in float64, at a point where no norm is the identity."""
    torch.manual_seed(1)
    net = build(arch).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
        elif isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.normal_(module.bias, 0, 0.3)
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    return net


def tensors(net: nn.Module, order: Order | None = None) -> tuple[list[Tensor], list[Tensor]]:
    """Its parameters and its buffers, without the counters of norms."""
    params = dict(net.named_parameters())
    buffers = {name: b for name, b in net.named_buffers() if b.is_floating_point()}
    order = order or list
    return [params[n] for n in order(list(params))], [buffers[n] for n in order(list(buffers))]


def fill(net: nn.Module, arch: str, order: Order | None) -> str:
    """Give it the state of the right one. Returns: why that does not go, or nothing."""
    for what, ours, theirs in zip(("parameters", "buffers"), tensors(right(arch)), tensors(net, order), strict=True):
        if [t.numel() for t in ours] != [t.numel() for t in theirs]:
            return f"{what} of other shapes"
        for one, other in zip(ours, theirs, strict=True):
            other.data.copy_(one.data.reshape(other.shape))
    return ""


def gap(one: Tensor, other: Any) -> float:
    """The largest difference, relative to the largest element; infinite where there is none to take."""
    if not isinstance(other, Tensor) or one.numel() != other.numel():
        return float("inf")
    difference = (one - other.reshape(one.shape)).abs().max() / one.abs().max().clamp(min=1e-30)
    return difference.item() if difference.isfinite() else float("inf")


def forward(net: nn.Module, shape: tuple[int, ...], seed: int = 7) -> Any:
    """What it gives in eval mode, for an input of that shape."""
    torch.manual_seed(seed)
    x = torch.randn(shape, dtype=torch.float64)
    with torch.no_grad():
        return net.eval()(x)


def train_step(net: nn.Module, order: Order | None) -> tuple[list[Tensor | None], list[Tensor | None], list[Tensor]]:
    """A step in train mode. Returns: the output, then the gradients, then the buffers."""
    net = copy.deepcopy(net).train()
    torch.manual_seed(8)
    x = torch.randn((4, 3, 64, 64), dtype=torch.float64, requires_grad=True)
    out = net(x)
    if not isinstance(out, Tensor):
        return [None], [], []
    if out.requires_grad:
        (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)).sum().backward()
    params, buffers = tensors(net, order)
    return [out.detach()], [x.grad, *(p.grad for p in params)], buffers


@cache
def right_forward(arch: str, shape: tuple[int, ...], seed: int = 7) -> Tensor:
    """The outputs of the right network."""
    return forward(right(arch), shape, seed)


@cache
def right_step(arch: str) -> tuple[list[Tensor | None], list[Tensor | None], list[Tensor]]:
    """The outputs, gradients and buffers of the right network in a step."""
    return train_step(right(arch), None)


def _counters(net: nn.Module) -> list[str]:
    return [name for name in net.state_dict() if name.endswith("num_batches_tracked")]


def differences(net: nn.Module, arch: str, order: Order | None) -> Iterator[str]:
    """What differs but for the start values, as it is found."""
    if why := fill(net.double(), arch, order):
        yield why
        return
    if len(right(arch).state_dict()) > len(net.state_dict()) + len(_counters(right(arch))):
        yield "state_dict"
    try:
        for shape in SMALL:
            found = forward(net, shape)
            if gap(right_forward(arch, shape), found) > TOLERANCE:
                yield f"eval at {shape}"
            elif found.shape != right_forward(arch, shape).shape:
                yield f"shape at {shape}"
        if gap(right_forward(arch, SMALL[0], 9), forward(net, SMALL[0], 9)) > TOLERANCE:
            yield "eval at another input"
        for what, ours, theirs in zip(
            ("train output", "gradients", "running statistics"), right_step(arch), train_step(net, order), strict=True
        ):
            if any(gap(one, other) > TOLERANCE for one, other in zip(ours, theirs, strict=False)):
                yield what
    except (RuntimeError, TypeError, ValueError) as error:
        yield f"raises {error}"


def start(net: nn.Module, order: Order | None) -> list[tuple[float, float, int]]:
    """The mean and the deviation of each parameter at the start, and how many others start the same."""
    params = [p.detach().double() for p in tensors(net, order)[0]]
    same = [sum(p.shape == q.shape and p.dim() > 1 and torch.equal(p, q) for q in params) for p in params]
    return [(p.mean().item(), p.std().item(), n) for p, n in zip(params, same, strict=True)]


def starts_otherwise(net: nn.Module, arch: str, order: Order | None) -> bool:
    """Whether some parameter starts from another distribution: a tenth of its deviation, where it is large enough."""
    torch.manual_seed(2)
    ours, theirs = start(build(arch), None), start(net, order)
    sizes = [p.numel() for p in tensors(net, order)[0]]
    for (mean, std, same), (found, deviation, repeated), size in zip(ours, theirs, sizes, strict=True):
        error = max(0.1, 6 / size**0.5) * std
        if abs(mean - found) > error + 1e-9 or abs(std - deviation) > error + 1e-9 or same != repeated:
            return True
    return False


def made(make: Build) -> nn.Module:
    """The network, with its own seed."""
    torch.manual_seed(3)
    return make()


@pytest.mark.parametrize(
    ("arch", "make", "order"),
    [pytest.param(*one, id=one[1].__name__, marks=pytest.mark.sweep if at % 3 else ()) for at, one in enumerate(RIGHT)],
)
def test_right_networks_are_right(arch: str, make: Build, order: Order | None) -> None:
    """What the wrong ones are derived from computes the same, and starts alike."""
    net = made(make)
    assert not starts_otherwise(net, arch, order)
    assert list(differences(net, arch, order)) == []


SOME = [
    pytest.param(case, id=case.name, marks=pytest.mark.sweep if at % 8 else ()) for at, case in enumerate(CASES)
]  # the default run makes one of eight, the sweep the others


@pytest.mark.parametrize("case", SOME)
def test_cases_are_what_they_claim(case: Case) -> None:
    """A wrong network differs in the way that it says, and in no other; an equal one differs in nothing."""
    net = made(case.build)
    if case.kind == "init only" or case.equal:
        assert starts_otherwise(net, case.arch, case.order) is not case.equal
    found = differences(net, case.arch, case.order)
    if case.equal or case.kind == "init only":
        assert list(found) == []
    elif case.kind == "different":
        first = next(found, "")
        assert first
        assert not first.startswith("raises")
    elif case.kind == "raises":
        assert any(one.startswith("raises") for one in found)
    else:
        assert case.kind == "only at the declared input"
        assert fill(net.double(), case.arch, case.order) == ""
        assert gap(right_forward(case.arch, DECLARED), forward(net, DECLARED)) < TOLERANCE
        shapes = [*SMALL, LARGER]
        assert any(_differs(net, case.arch, shape) for shape in shapes)


def _differs(net: nn.Module, arch: str, shape: tuple[int, ...]) -> bool:
    try:
        return gap(right_forward(arch, shape), forward(net, shape)) > TOLERANCE
    except RuntimeError:
        return True


@cache
def steps_of(arch: str) -> frozenset[str]:
    """The rows of `rv-check show`."""
    return frozenset(row.name for row in load(arch).rows())


def test_cases_name_steps_of_their_specs() -> None:
    """Each step is a row of `rv-check show`, and no name stands twice."""
    assert len({case.name for case in CASES}) == len(CASES)
    for case in CASES:
        assert case.steps or case.equal, case.name
        assert case.steps <= steps_of(case.arch), f"{case.name}: {case.steps - steps_of(case.arch)}"
