"""What autograd keeps of modules that write in place, cast, detach, freeze, or have their own gradients: measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, rnn
from torch.utils.checkpoint import checkpoint

import rv_check
from rv_check.costs.memory import kept_for_backward, memory, size_of
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph
from rv_check.graphs.network import At
from rv_check.modules.observe import Subject
from rv_check.modules.record import data_at, dtype_of
from rv_check.ops.kinds import KINDS
from tests.unit.measured_memory import measured_for_backward
from tests.zoo.rows import Net

IMAGE, NUMBERS, STEPS, TOKENS = (3, 8, 8), (8,), (3, 6), (5, 8)


@dataclass(frozen=True)
class Case:
    """A function of a network and its input, with the parts of the network."""

    does: Callable[[Any, Tensor], Any]
    parts: dict[str, Callable[[], Any]]
    input: tuple[int, ...] = NUMBERS

    def net(self) -> nn.Module:
        """The network, the same each time."""
        torch.manual_seed(0)
        return Net(self.does, **{name: make() for name, make in self.parts.items()})

    def at(self) -> At:
        """Where it is asked: a batch of 2 in train mode."""
        return At(self.input, 2, training=True)


def graph_of(case: Case) -> Graph:
    """What it is seen to do."""
    return Subject(case.net()).observe(case.at(), Form.AS_RUN)


def counted(case: Case) -> int:
    """The bytes by the graph."""
    size = size_of(str(dtype_of(case.net())).removeprefix("torch."))
    return sum(bytes_ for _, bytes_ in kept_for_backward(graph_of(case), size))


def measured(case: Case) -> int:
    """The bytes that autograd keeps, of the image that is counted."""
    net = case.net().train()
    return measured_for_backward(net, data_at(case.at(), None, dtype_of(net)).main)


def written(target: Tensor, place: Any, value: Any) -> Tensor:
    """What was written into."""
    target[place] = value
    return target


def frozen(module: nn.Module, *parts: str) -> nn.Module:
    """A module whose parameters, or those of these names, take no gradient."""
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(bool(parts) and name not in parts)
    return module


linear = partial(nn.Linear, 8, 8)
two: dict[str, Callable[[], Any]] = {"a": linear, "b": linear}
convs: dict[str, Callable[[], Any]] = {"a": lambda: nn.Conv2d(3, 4, 3), "c": lambda: nn.Conv2d(4, 2, 1)}


def halves(net: Any, x: Tensor) -> Tensor:
    """Two halves of one memory, each made in place."""
    y = net.a(x)
    y[:, :4].tanh_()
    y[:, 4:].sigmoid_()
    return y * y


def scaled_in_place(net: Any, x: Tensor) -> Tensor:
    """Every other number times a function of its neighbour."""
    y = net.a(x)
    y[:, ::2].mul_(y[:, 1::2].exp())
    return net.b(y)


def copied_into(net: Any, x: Tensor) -> Tensor:
    """Two results in one memory."""
    y = x.new_zeros(len(x), 16)
    y[:, :8].copy_(net.a(x))
    y[:, 8:].copy_(net.b(x).tanh())
    return y.sin()


IN_PLACE = {
    "halves": Case(halves, two),
    "a slice": Case(scaled_in_place, two),
    "copies": Case(copied_into, two),
    "into zeros": Case(lambda n, x: n.b(written(torch.zeros_like(x), (..., slice(4)), n.a(x)[:, :4].exp())), two),
    "at places": Case(lambda n, x: written(n.a(x), (slice(None), [0, 2]), n.b(x)[:, :2].exp()).sin(), two),
    "into a number": Case(lambda n, x: x.new_zeros(()).add_(n.a(x).square().sum()).exp_(), two),
    "where a mask is": Case(lambda n, x: n.b(n.a(x).masked_fill_(x > 0, 0.0)), two),
    "a view of a view": Case(lambda n, x: n.b(F.silu(n.a(x).view(-1, 4, 2).mT, inplace=True).reshape(-1, 8)), two),
    "one after the other": Case(lambda n, x: n.b(n.a(x).add_(1).mul_(2).add_(n.b(x))).sin_(), two),
    "dropout": Case(lambda n, x: n.b(F.dropout(n.a(x), 0.3, training=True, inplace=True)), two),
    "RNNCell": Case(lambda n, x: n.a(x[:, 1], n.a(x[:, 0])), {"a": lambda: nn.RNNCell(6, 5)}, STEPS),
}
OVERWRITING: dict[str, Callable[[Tensor], Tensor]] = {  # its input, or a copy of it, is kept, or what it gives
    "silu": lambda y: F.silu(y, inplace=True),
    "leaky_relu": lambda y: F.leaky_relu(y, 0.1, inplace=True),
    "elu": lambda y: F.elu(y, inplace=True),
    "celu": lambda y: F.celu(y, inplace=True),
    "relu6": lambda y: F.relu6(y, inplace=True),
    "clamp": lambda y: y.clamp_(-1, 1),
    "hardswish": lambda y: F.hardswish(y, inplace=True),
    "mish": lambda y: F.mish(y, inplace=True),
    "threshold": lambda y: F.threshold(y, 0.1, 0.2, inplace=True),
    "a square": lambda y: y.square_(),
    "a product": lambda y: y.mul_(y.exp()),
    "a quotient": lambda y: y.div_(y.exp()),
    "cumprod": lambda y: y.cumprod_(1),
    "atan2": lambda y: y.atan2_(y.exp()),
    "relu": lambda y: y.relu_(),
    "sqrt": lambda y: y.sqrt_(),
}
IN_PLACE |= {
    name: Case(lambda n, x, does=does: does(x.abs() + n.a).sin(), {"a": lambda: nn.Parameter(torch.ones(8))})
    for name, does in OVERWRITING.items()
}


def without_gradient(net: Any, x: Tensor) -> Tensor:
    """A first layer as it is, a second one that learns from it."""
    with torch.no_grad():
        y = net.a(x).exp()
    return net.b(y * 2).tanh()


def partly_without(net: Any, x: Tensor) -> Tensor:
    """A weight that is computed aside."""
    y = net.a(x).exp()
    with torch.no_grad():
        z = (y * 3).sigmoid()
    return y * z


def moves(net: Any, x: Tensor) -> Tensor:
    """A buffer that is a mean, and is used."""
    net.m.mul_(0.9).add_(0.1 * net.a(x).detach().mean(0))
    return net.a(x) * net.m


ENDS = {
    "detach": Case(lambda n, x: n.b(n.a(x).exp().detach()).tanh(), two),
    "data": Case(lambda n, x: n.b(n.a(x).exp().data).tanh(), two),
    "a view that is detached, and one that is not": Case(
        lambda n, x: (y := n.a(x).exp())[:, :4].detach() * n.b(x)[:, :4].exp() + (y[:, :4] * n.b(x)[:, 4:]).sin(), two
    ),
    "two of one": Case(lambda n, x: (n.b(n.a(x)).exp() * n.a(x).detach().exp()).sum(1), two),
    "straight through": Case(lambda n, x: n.b((y := n.a(x)) + (y.round() - y).detach()), two),
    "no_grad": Case(without_gradient, two),
    "no_grad in between": Case(partly_without, two),
    "a buffer that moves": Case(moves, {"a": linear, "m": lambda: torch.zeros(8)}),
    "spectral norm of a convolution": Case(
        lambda n, x: n.b(n.a(x).relu()),
        {"a": lambda: parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)), "b": lambda: nn.Conv2d(4, 2, 3)},
        IMAGE,
    ),
    "spectral norm in three steps": Case(
        lambda n, x: n.b(n.a(x).relu()),
        {"a": lambda: parametrizations.spectral_norm(linear(), n_power_iterations=3), "b": linear},
    ),
    "spectral norm by hooks": Case(
        lambda n, x: n.b(n.a(x).relu()), {"a": lambda: nn.utils.spectral_norm(linear()), "b": linear}
    ),
    "spectral norm that is frozen": Case(
        lambda n, x: n.b(n.a(x).relu()), {"a": lambda: frozen(parametrizations.spectral_norm(linear())), "b": linear}
    ),
    "frozen at first": Case(lambda n, x: n.b(n.a(x).tanh()), {"a": lambda: frozen(linear()), "b": linear}),
    "frozen at last": Case(lambda n, x: n.b(n.a(x).tanh()), {"a": linear, "b": lambda: frozen(linear())}),
    "frozen in between": Case(lambda n, x: n.c(n.b(n.a(x))), {**two, "b": lambda: frozen(linear()), "c": linear}),
    "all frozen": Case(lambda n, x: n.b(n.a(x).tanh()), dict.fromkeys("ab", lambda: frozen(linear()))),
    "biases alone": Case(lambda n, x: n.b(n.a(x).tanh()), dict.fromkeys("ab", lambda: frozen(linear(), "weight"))),
    "a frozen convolution": Case(
        lambda n, x: n.c(n.b(n.a(x))), {**convs, "b": lambda: frozen(nn.Conv2d(4, 4, 3))}, IMAGE
    ),
    "a frozen norm": Case(
        lambda n, x: n.c(n.b(n.a(x)).relu_()), {**convs, "b": lambda: frozen(nn.BatchNorm2d(4))}, IMAGE
    ),
    "a norm in eval mode": Case(
        lambda n, x: n.c(n.b.eval()(n.a(x)).tanh()), {**convs, "b": lambda: nn.BatchNorm2d(4)}, IMAGE
    ),
    "frozen attention": Case(
        lambda n, x: n.b(n.a(n.b(x), x, x, need_weights=False)[0]),
        {"a": lambda: frozen(nn.MultiheadAttention(8, 2, batch_first=True)), "b": linear},
        TOKENS,
    ),
    "attention to what is detached": Case(
        lambda n, x: F.scaled_dot_product_attention(n.a(x)[:, None].detach(), n.b(x)[:, None], x[:, None]), two, TOKENS
    ),
    "a frozen table": Case(
        lambda n, x: n.b(n.e((3 * x.abs()).long()).mean(1)), {"e": lambda: frozen(nn.Embedding(10, 8)), "b": linear}
    ),
}


class Squares(torch.autograd.Function):
    """What it keeps is another thing than what its operations would."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """exp(x) x, where it is above 0."""
        y = x.exp()
        ctx.save_for_backward(y)
        return (y * x).relu()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """As it likes."""
        return gradient * ctx.saved_tensors[0]


class Compares(torch.autograd.Function):
    """A gradient is passed where torch's own operators would pass none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Whether one is larger, in numbers."""
        ctx.save_for_backward(x, y)
        return x > 0, (x > y).float()

    @staticmethod
    def backward(ctx: Any, _: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """As it likes."""
        return gradient, gradient


OWN = {
    "one": Case(lambda n, x: n.b(Squares.apply(n.a(x))), two),
    "of what is frozen": Case(lambda n, x: n.b(Squares.apply(n.a(x))), {"a": lambda: frozen(linear()), "b": linear}),
    "of two, giving two": Case(lambda n, x: n.b(Compares.apply(n.a(x).exp(), n.b(x))[1]), two),
    "without gradients": Case(lambda n, x: n.b(torch.no_grad()(Squares.apply)(n.a(x))), two),
    "in what is run again": Case(
        lambda n, x: n.b(checkpoint(lambda y: Squares.apply(n.a(y)), x, use_reentrant=False)), two
    ),
    "in what is run again by another way": Case(
        lambda n, x: n.b(checkpoint(lambda y: Squares.apply(n.a(y)), n.b(x), use_reentrant=True)), two
    ),
}


def in_half(does: Callable[[Any, Tensor], Any], dtype: torch.dtype = torch.bfloat16) -> Callable[[Any, Tensor], Any]:
    """The same under autocast."""

    def cast(net: Any, x: Tensor) -> Any:
        with torch.autocast("cpu", dtype):
            return does(net, x)

    return cast


def nested(net: Any, x: Tensor) -> Tensor:
    """One part that is not cast."""
    with torch.autocast("cpu", torch.bfloat16):
        y = net.a(x)
        with torch.autocast("cpu", enabled=False):
            y = net.b(y.float())
        return net.a(y)


TYPES = {
    "autocast": Case(in_half(lambda n, x: n.b(n.a(x).relu())), two),
    "autocast to float16": Case(in_half(lambda n, x: n.b(n.a(x).tanh()), torch.float16), two),
    "one weight twice": Case(in_half(lambda n, x: n.b(n.a(n.a(x)).softmax(1))), two),
    "nested": Case(nested, two),
    "attention": Case(in_half(lambda n, x: F.scaled_dot_product_attention(*[n.a(x)[:, None]] * 3)), two, TOKENS),
    "what is run again": Case(in_half(lambda n, x: n.b(checkpoint(n.a, x, use_reentrant=False))), two),
    "by hand": Case(lambda n, x: F.linear(n.a(x).bfloat16(), n.b.weight.bfloat16()).float(), two),
    "half within": Case(lambda n, x: n.b(n.a(x).bfloat16().tanh().float()), two),
    "float32 in float64": Case(
        lambda n, x: n.b(n.a(x).float().tanh().double()), dict.fromkeys("ab", lambda: linear().double())
    ),
    "a number in a tensor": Case(lambda n, x: n.a(x).exp() * torch.tensor(3.0), two),
    "channels last": Case(lambda n, x: n.c(n.a(x.to(memory_format=torch.channels_last)).tanh()), convs, IMAGE),
}
NORMS: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm2d": lambda: nn.BatchNorm2d(4),
    "BatchNorm2d, none of its own": lambda: nn.BatchNorm2d(4, affine=False),
    "BatchNorm2d, without running ones": lambda: nn.BatchNorm2d(4, track_running_stats=False),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(4),
    "InstanceNorm2d with weights": lambda: nn.InstanceNorm2d(4, affine=True),
    "InstanceNorm2d with running ones": lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True),
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "GroupNorm, none of its own": lambda: nn.GroupNorm(1, 4, affine=False),
    "LayerNorm": lambda: nn.LayerNorm((4, 6, 6)),
    "LayerNorm, none of its own": lambda: nn.LayerNorm((4, 6, 6), elementwise_affine=False),
    "RMSNorm": lambda: nn.RMSNorm((4, 6, 6)),
}


def normed(norm: Callable[[], nn.Module], dtype: torch.dtype, of_norm: torch.dtype, *, cast: bool = False) -> Case:
    """Between convolutions of one type, a norm of another."""

    def does(net: Any, x: Tensor) -> Any:
        return net.c(net.b(net.a(x)).tanh())

    parts = {name: lambda make=make: make().to(dtype) for name, make in convs.items()}  # type: ignore[misc]
    return Case(in_half(does) if cast else does, {**parts, "b": lambda: norm().to(of_norm)}, IMAGE)


HALF, FULL = torch.bfloat16, torch.float32
for _name, _norm in NORMS.items():
    TYPES |= {
        _name: normed(_norm, FULL, FULL),
        f"{_name} in half": normed(_norm, HALF, HALF),
        f"{_name} in full, others in half": normed(_norm, HALF, FULL),
        f"{_name} under autocast": normed(_norm, FULL, FULL, cast=True),
    }
BENT = {"a": lambda: nn.Conv2d(3, 4, 3), "o": lambda: nn.Conv2d(3, 18, 3, padding=1), "m": lambda: nn.Conv2d(3, 9, 3)}
bent = partial(torchvision.ops.deform_conv2d, padding=1)
COMPUTED = {
    "the weight of a norm": Case(lambda n, x: F.layer_norm(n.a(x), (8,), 2 * n.b.weight[0], n.b.bias), two),
    "both of a norm": Case(lambda n, x: F.layer_norm(n.a(x), (8,), n.b.weight[0].exp(), n.b.bias.exp()), two),
    "the weight of groups": Case(lambda n, x: F.group_norm(n.a(x), 2, 2 * n.b.weight[0], n.b.bias.exp()), two),
    "a bias": Case(lambda n, x: F.linear(n.a(x), n.b.weight, 2 * n.b.bias), two),
    "deformed": Case(lambda n, x: bent(x, n.o(x), n.a.weight, n.a.bias), BENT, IMAGE),
    "deformed by a mask": Case(
        lambda n, x: bent(x, n.o(x), n.a.weight, None, mask=n.m(F.pad(x, (1, 1, 1, 1)))), BENT, IMAGE
    ),
    "deformed to one channel": Case(
        lambda n, x: bent(x, n.o(x), n.a.weight, None), {**BENT, "a": lambda: nn.Conv2d(3, 1, 3)}, IMAGE
    ),
}
SEQUENCES = {
    "LSTM in float64": Case(lambda n, x: n.a(x)[0], {"a": lambda: nn.LSTM(6, 5, batch_first=True).double()}, STEPS),
    "LSTM that projects": Case(lambda n, x: n.a(x)[0], {"a": lambda: nn.LSTM(6, 5, 1, proj_size=2)}, STEPS),
    "LSTM that is frozen": Case(
        lambda n, x: n.b(n.a(x)[0]), {"a": lambda: frozen(nn.LSTM(6, 5)), "b": lambda: nn.Linear(5, 3)}, STEPS
    ),
    "LSTM of no use": Case(
        lambda n, x: (n.a(x)[0].sum(), n.b(x))[1], {"a": lambda: nn.LSTM(6, 5), "b": lambda: nn.Linear(6, 3)}, STEPS
    ),
    "LSTM of sequences of other lengths": Case(
        lambda n, x: n.a(rnn.pack_padded_sequence(x, torch.tensor([3, 2]), batch_first=True))[0].data,
        {"a": lambda: nn.LSTM(6, 5)},
        STEPS,
    ),
    "GRU, two layers both ways": Case(
        lambda n, x: n.a(x)[0], {"a": lambda: nn.GRU(6, 5, 2, bidirectional=True, dropout=0.3)}, STEPS
    ),
    "GRU without biases": Case(lambda n, x: n.a(x)[1], {"a": lambda: nn.GRU(6, 5, 1, False, True)}, STEPS),
    "RNN": Case(lambda n, x: n.a(x)[0].transpose(0, 1), {"a": lambda: nn.RNN(6, 5)}, STEPS),
}
VALUES = {  # how large they are depends on the image that is counted
    "where a mask is": Case(lambda n, x: (y := n.a(x).exp())[y[:, 0] > 1].sin().sum(0), two),
    "a mask of constants": Case(lambda n, x: n.a(x)[:, torch.tensor([True, False] * 4)].exp(), two),
    "boxes that are kept": Case(
        lambda n, x: n.a(x)[torchvision.ops.nms(x[:, :4].abs().cumsum(1), x[:, 4], 0.5)].exp(), two
    ),
}
ALL = {
    f"{of}: {name}": case
    for of, cases in {
        **{"in place": IN_PLACE, "where a gradient ends": ENDS, "own functions": OWN, "types": TYPES},
        **{"computed": COMPUTED, "sequences": SEQUENCES, "by values": VALUES},
    }.items()
    for name, case in cases.items()
}


@pytest.mark.parametrize("case", ALL.values(), ids=ALL)
def test_what_is_kept(case: Case) -> None:
    """No more and no less than what autograd is measured to keep."""
    assert counted(case) == measured(case)


BROKEN: dict[str, tuple[Case, str, dict[str, Any]]] = {
    "what is written lies elsewhere": (IN_PLACE["halves"], "write", {"keeps": "nothing"}),
    "a copy for every one": (IN_PLACE["leaky_relu"], "leaky_relu", {"in_place_by_output": False}),
    "no copy": (IN_PLACE["clamp"], "clamp", {"in_place_by_output": True}),
    "no computed weight": (COMPUTED["the weight of a norm"], "native_layer_norm", {"keeps": "input"}),
}


@pytest.mark.parametrize(("case", "kind", "otherwise"), BROKEN.values(), ids=BROKEN)
def test_another_rule_is_wrong(
    case: Case, kind: str, otherwise: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of these rules is needed: by another one the number is another."""
    real = measured(case)
    assert counted(case) == real
    monkeypatch.setitem(KINDS, kind, replace(KINDS[kind], **otherwise))
    assert counted(case) != real


def test_a_gradient_that_does_not_end_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what autograd says of tensors is not asked, more is counted than is kept."""
    case = ENDS["spectral norm in three steps"]
    monkeypatch.setattr("rv_check.modules.autograd.Autograd.of", lambda self, tensor, value, builder: value)
    assert counted(case) > measured(case)


def test_a_kernel_with_memory_of_its_own_is_refused() -> None:
    """An LSTM is one kernel of oneDNN's, whose own memory nobody knows: the rest is the least, and it is named."""
    net = nn.LSTM(6, 5, 2, batch_first=True)
    found = rv_check.memory(net, STEPS, batch=2)
    assert [(one.kind, one.x[0]) for one in found.uncounted] == [("mkldnn_rnn_layer", (2, 3, 6))]
    # at least the input, the two states of two layers, what comes of these and of all steps: in numbers of 4 bytes
    assert found.at_least.activations == 4 * (2 * 3 * 6 + 2 * 2 * (2 * 2 * 5) + 2 * 3 * 5)
    assert found.at_least.activations < measured_for_backward(net, torch.zeros(2, *STEPS))
    assert "activations kept for backward                       at least 584" in str(found)
    graphs = [Subject(net).observe(At(STEPS, 2, training), Form.AS_RUN) for training in (True, False)]
    with pytest.raises(RvCheckError, match="it is not known what 'mkldnn_rnn_layer' of the module"):
        memory(graphs[0], graphs[1])
    with pytest.raises(RvCheckError, match="it is not known what 'mkldnn_rnn_layer' of the module"):
        list(kept_for_backward(graphs[0]))


def test_what_is_frozen_has_no_gradient() -> None:
    """Neither a gradient nor a state of the optimiser, nor multiply-adds for its weights."""
    net = nn.Sequential(frozen(nn.Linear(8, 6)), nn.ReLU(), nn.Linear(6, 3))
    found = rv_check.memory(net, NUMBERS, optimiser="adam").bytes
    own, last = 4 * (8 * 6 + 6 + 6 * 3 + 3), 4 * (6 * 3 + 3)
    assert (found.parameters, found.gradients, found.optimiser) == (own, last, 2 * last)
    assert rv_check.macs(net, NUMBERS).backward == 6 * 3
    assert rv_check.macs(net.requires_grad_(), NUMBERS).backward == 8 * 6 + 2 * 6 * 3


def test_parameters_of_several_types() -> None:
    """Each has the size of its own type, and is counted once, whatever names it has."""
    norm = nn.BatchNorm2d(4)
    net = nn.Sequential(nn.Conv2d(3, 4, 1).bfloat16(), norm, norm)
    assert rv_check.memory(net, IMAGE, dtype="bfloat16").bytes.parameters == 2 * (3 * 4 + 4) + 4 * (4 + 4)


@pytest.mark.parametrize("raises", [False, True])
def test_functions_are_torchs_again(raises: bool) -> None:
    """Whatever the module does, torch's own methods are in their place when it has run."""

    def does(net: Any, x: Tensor) -> Tensor:
        if raises:
            raise ZeroDivisionError
        return Squares.apply(net.a(x))  # type: ignore[no-any-return]

    before = torch.autograd.Function.__dict__["apply"], torch.autograd.function.FunctionCtx.save_for_backward
    try:
        graph_of(Case(does, two))
    except ZeroDivisionError:
        assert raises
    assert torch.autograd.Function.__dict__["apply"] is before[0]
    assert torch.autograd.function.FunctionCtx.save_for_backward is before[1]
    assert torch.is_grad_enabled()
