"""Whatever is asked of a module, and whatever comes of it, the module is as it was."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from rv_check import check
from rv_check.checks.identify import identify
from rv_check.checks.of_two import compare_modules
from rv_check.costs.operations import operations
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.network import At
from rv_check.modules.network import ModuleNetwork
from rv_check.modules.observe import Subject

IMAGE = (3, 64, 64)
pytestmark = pytest.mark.filterwarnings("ignore")


class Net(nn.Module):
    """A small network with a norm and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.Linear(4, 5)
        self.register_buffer("scale", torch.full((4, 1, 1), 2.0))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.conv(x))) * self.scale
        return self.fc(y.mean((2, 3)))


class Remembers(Net):
    """It appends to a list, and cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []
        self.stream = io.TextIOWrapper(io.BytesIO())

    def forward(self, x: Tensor) -> Tensor:
        self.shapes.append(tuple(x.shape))
        return super().forward(x)


class Raises(Net):
    """It ends with an error in train mode."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise ValueError("no labels")
        return super().forward(x)


def hooked() -> nn.Module:
    """Hooks that close over the module, and collect."""
    net = Net()
    seen: list[Tensor] = []
    net.conv.register_forward_hook(lambda part, args, output: seen.append(output.detach()))
    net.fc.register_forward_pre_hook(lambda part, args: (args[0] + net.fc.bias.sum() * 0,))
    return net


def loaded() -> nn.Module:
    """A scripted network from a file."""
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Net()), file)
    file.seek(0)
    return torch.jit.load(file)


class InPart(nn.Module):
    """A network with a scripted part, which can be copied or cannot."""

    def __init__(self, copied: bool = True):
        super().__init__()
        self.net, self.head = torch.jit.script(Net()), nn.Linear(5, 2)
        self.stream = None if copied else io.TextIOWrapper(io.BytesIO())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.net(x))


def pruned() -> nn.Module:
    """Half of a convolution's weights are masked."""
    net = Net()
    prune.l1_unstructured(net.conv, "weight", 0.5)
    return net


def parametrised() -> nn.Module:
    """Weights are computed from others."""
    net = Net()
    parametrizations.weight_norm(net.conv)
    parametrizations.spectral_norm(net.fc)
    return net


def tied() -> nn.Module:
    """Two layers have one weight."""
    net = nn.Sequential(Net(), nn.Linear(5, 5), nn.Linear(5, 5))
    net[2].weight = net[1].weight
    return net


def lazy() -> nn.Module:
    """Parameters are made in the first run."""
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(5))


def half_trained() -> nn.Module:
    """In several modes at once, with gradients."""
    net = Net()
    net.norm.eval()
    net.conv.weight.requires_grad_(False)
    net(torch.zeros(2, *IMAGE)).sum().backward()
    return net


KINDS: dict[str, Callable[[], nn.Module]] = {
    "plain": Net,
    "scripted": lambda: torch.jit.script(Net()),
    "scripted, in eval mode": lambda: torch.jit.script(Net().eval()),
    "traced": lambda: torch.jit.trace(Net().eval(), torch.zeros(2, *IMAGE)),
    "frozen by jit": lambda: torch.jit.freeze(torch.jit.script(Net().eval())),
    "loaded": loaded,
    "a scripted part": InPart,
    "a scripted part of what cannot be copied": lambda: InPart(copied=False),
    "cannot be copied": Remembers,
    "hooks": hooked,
    "raises in train mode": Raises,
    "pruned": pruned,
    "parametrised": parametrised,
    "tied": tied,
    "lazy": lazy,
    "half trained": half_trained,
    "float64": lambda: Net().double(),
    "inference": lambda: made_in(torch.inference_mode),
}


def made_in(context: Callable[[], Any]) -> nn.Module:
    """The network, made within."""
    with context():
        return Net()


QUESTIONS: dict[str, Callable[[nn.Module, nn.Module], object]] = {
    "check": lambda net, other: check(net, "resnet18"),
    "check until": lambda net, other: check(net, "resnet18", until="maxpool"),
    "identify": lambda net, other: identify(net),
    "compare": lambda net, other: compare_modules(net, net, IMAGE),
    "compare with another": lambda net, other: compare_modules(net, other, IMAGE),
    "the other with it": lambda net, other: compare_modules(other, net, IMAGE),
    "macs": lambda net, other: operations(ModuleNetwork(Subject(net)).graph(At(IMAGE, batch=1), Form.AS_RUN)),
}


def told(net: nn.Module) -> Iterator[tuple[Any, ...]]:
    """All that can be seen of a module."""
    for name, part in net.named_modules():
        hooks = [] if isinstance(part, torch.jit.ScriptModule) else [part._forward_hooks, part._forward_pre_hooks]
        yield name, getattr(part, "training", None), type(part), [list(some.values()) for some in hooks]
        if not isinstance(part, torch.jit.ScriptModule):
            yield name, {key: len(value) for key, value in vars(part).items() if isinstance(value, list | dict)}
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        is_lazy = nn.parameter.is_lazy(tensor)
        address = 0 if is_lazy else tensor.data_ptr()
        values = None if is_lazy else tensor.detach().clone()
        gradient = tensor.grad.clone() if tensor.is_leaf and tensor.grad is not None else None
        yield name, tensor.device, tensor.dtype, tensor.requires_grad, address, values, gradient


def equal(one: Any, other: Any) -> bool:
    """Whether two of these are equal, tensors by their values."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    if isinstance(one, tuple | list) and type(one) is type(other):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@pytest.mark.parametrize("ask", QUESTIONS.values(), ids=QUESTIONS)
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_a_module_is_as_it_was(make: Callable[[], nn.Module], ask: Callable[[nn.Module, nn.Module], object]) -> None:
    """Tensors, devices, flags, hooks, containers and torch's generator, also where the question has no answer."""
    net, other = make(), Net()
    before, state = list(told(net)), torch.get_rng_state()
    with suppress(RvCheckError):
        ask(net, other)
    after = list(told(net))
    assert len(after) == len(before)
    for one, now in zip(before, after, strict=True):
        assert equal(one, now), (one, now)
    assert torch.equal(state, torch.get_rng_state())


NOT_COMPARED = {  # and why
    "a scripted part of what cannot be copied": "it cannot be lent either",
    "raises in train mode": "it does not run",
    "frozen by jit": "its weights are numbers in its code, in float32",
}
ITSELF = [kind for kind in KINDS if kind not in NOT_COMPARED]


@pytest.mark.parametrize("kind", ITSELF)
def test_it_is_the_same_as_itself(kind: str) -> None:
    """In whatever way it is made."""
    net = KINDS[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = compare_modules(net, net, IMAGE)
    assert report.passed, str(report)


@pytest.mark.parametrize("kind", NOT_COMPARED)
def test_what_cannot_be_compared_does_not_pass(kind: str) -> None:
    """It is an error, or a finding that has failed."""
    net = KINDS[kind]()
    with suppress(RvCheckError):
        assert not compare_modules(net, net, IMAGE).passed


def test_error_a_scripted_part_of_what_cannot_be_copied() -> None:
    """It is not lent, since it could not be given back; why is said."""
    with pytest.raises(RvCheckError) as raised:
        check(InPart(copied=False), "resnet18")
    assert "whose tensors cannot be lent and given back" in str(raised.value)
