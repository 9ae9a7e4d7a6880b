"""The recorder: whatever way a module is written, the graph says what it computes."""

from __future__ import annotations

import copy
import inspect
import random
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint, checkpoint_sequential
from torchvision.ops import StochasticDepth

from rv_check.graphs.builder import Builder, Form
from rv_check.graphs.graph import Graph, Node, State, TensorShape
from rv_check.graphs.match import match
from rv_check.graphs.network import At
from rv_check.modules import aten
from rv_check.modules.observe import Subject
from rv_check.modules.record import record, tensors_of
from rv_check.ops import kinds
from rv_check.ops.op import Shape

F = functional
Function = Callable[[Any, Tensor], Any]
IMAGE = (3, 8, 8)
ops = torch.ops.aten
pytestmark = pytest.mark.filterwarnings("ignore")


class Net(nn.Module):
    """A function of its parts, that is, layers, parameters and whatever else, and of the input."""

    def __init__(self, function: Function, **parts: Any):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def conv(channels: int = 3, **arguments: Any) -> nn.Conv2d:
    """A small convolution from as many channels to as many."""
    return nn.Conv2d(channels, channels, 3, padding=1, **arguments)


def seen(module: nn.Module, x: Shape = IMAGE, training: bool = False, real: bool = False, here: bool = False) -> Graph:
    """Its graph, run on meta unless `real`."""
    subject = Subject(module)
    graph = subject.observe(At(x, training=training), Form.OF_ONE if here else Form.AT_ANY_SIZE)
    assert bool(subject.why_real) == real, subject.why_real
    return graph


def of(function: Function, **parts: Any) -> Net:
    """A function; run on meta, as everything with a parameter is."""
    return Net(function, own=nn.Parameter(torch.ones(1)), **parts)


def say(node: Node) -> str:
    """`relu(conv[c](x))`: operations, with the module that owns their weight."""
    if node.kind == "input":
        return "x"
    if node.kind in ("state", "unregistered"):
        return f"{node.kind}[{node.name}]"
    if node.kind == "constant":
        return str(node.attributes["value"])
    inputs = [say(feed) for feed in node.inputs]
    if node.kind in ("sum", "product"):
        inputs.sort()
    weight = node.tensors.get("weight")
    owner = f"[{weight.name.rpartition('.')[0]}]" if isinstance(weight, State) else ""
    owner = f"[{say(weight)}]" if isinstance(weight, Node) else owner
    return f"{node.kind}{owner}({', '.join(inputs)})"


def said(module: nn.Module, x: Shape = IMAGE, training: bool = False, real: bool = False) -> str:
    """Its output, in words."""
    return say(seen(module, x, training, real).outputs[""])


# How it is written does not matter. Each: what the output is, by hand.


class Residual(nn.Module):
    """A block in a few ways to go wrong in place."""

    def __init__(self, forward: Function):
        super().__init__()
        self.conv = conv()
        self.act = nn.ReLU(inplace=True)
        self.run = forward

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


class OwnConv(nn.Conv2d):
    """A subclass that pads by itself."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias)


class Standardised(nn.Conv2d):
    """Weight standardisation."""

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / w.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, w, self.bias)


class Identity(nn.Module):
    """A parametrization that changes nothing."""

    def forward(self, w: Tensor) -> Tensor:
        return w


def parametrized(kind: Callable[[], nn.Module]) -> nn.Module:
    """A convolution with a parametrization."""
    layer = conv()
    parametrize.register_parametrization(layer, "weight", kind())
    return nn.Sequential(layer)


def swapped(s: Any, x: Tensor) -> Tensor:
    """The two halves of the channels, written in the other order in place."""
    y = s.c(x).clone()
    y[:, :1] = x[:, 2:]
    return y  # type: ignore[no-any-return]


def rows(s: Any, x: Tensor) -> Tensor:
    """A relu in place through a view of all elements."""
    y = s.c(x)
    y.view(-1).relu_()
    return y  # type: ignore[no-any-return]


def chunked(s: Any, x: Tensor) -> Tensor:
    """A relu in place of one half, the other is read."""
    a, b = s.c(x).chunk(2, 1)
    a.relu_()
    return b


def accumulated(s: Any, x: Tensor) -> Tensor:
    """A sum in place."""
    y = s.c(x)
    y += x
    return y  # type: ignore[no-any-return]


class Loop(nn.Module):
    """Dense connections in a Python list."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 * n, 3, 1) for n in (1, 2))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


WRITTEN: list[tuple[str, Callable[[], nn.Module], str]] = [
    ("layers", lambda: nn.Sequential(conv(), nn.ReLU()), "relu(conv[0](x))"),
    ("functions", lambda: of(lambda s, x: F.relu(F.conv2d(x, s.c.weight, s.c.bias)), c=conv()), "relu(conv[c](x))"),
    ("methods", lambda: of(lambda s, x: s.c(x).relu(), c=conv()), "relu(conv[c](x))"),
    ("clamp", lambda: of(lambda s, x: s.c(x).clamp(min=0), c=conv()), "relu(conv[c](x))"),
    ("clamp_min", lambda: of(lambda s, x: s.c(x).clamp_min_(0), c=conv()), "relu(conv[c](x))"),
    ("maximum", lambda: of(lambda s, x: torch.maximum(x, torch.zeros_like(x))), "relu(x)"),
    ("threshold", lambda: of(lambda s, x: F.threshold(x, 0, 0)), "relu(x)"),
    ("leaky relu of 0", lambda: of(lambda s, x: F.leaky_relu(x, 0.0)), "relu(x)"),
    ("a layer used twice", lambda: of(lambda s, x: s.c(s.c(x)), c=conv()), "conv[c](conv[c](x))"),
    (
        "one activation for all",
        lambda: of(lambda s, x: s.r(s.c(s.r(x))), c=conv(), r=nn.ReLU(inplace=True)),
        "relu(conv[c](relu(x)))",
    ),
    ("a residual", lambda: of(lambda s, x: s.c(x) + x, c=conv()), "sum(conv[c](x), x)"),
    ("a residual in place", lambda: of(accumulated, c=conv()), "sum(conv[c](x), x)"),
    (
        "a residual that is overwritten",  # relu_ writes into what the sum reads
        lambda: Residual(lambda s, x: s.conv(s.act(x)) + x),
        "sum(conv[conv](relu(x)), relu(x))",
    ),
    (
        "a residual kept by another name",
        lambda: Residual(lambda s, x: (lambda kept, y: s.conv(s.act(y)) + kept)(x, x)),
        "sum(conv[conv](relu(x)), relu(x))",
    ),
    (
        "a residual kept by detach, which copies nothing",
        lambda: Residual(lambda s, x: (lambda kept: s.conv(s.act(x)) + kept)(x.detach())),
        "sum(conv[conv](relu(x)), relu(x))",
    ),
    (
        "a residual kept by a view",
        lambda: Residual(lambda s, x: (lambda kept: s.conv(s.act(x)) + kept.view(x.shape))(x.view(-1))),
        "sum(conv[conv](relu(x)), relu(x))",
    ),
    (
        "a residual kept by a copy",
        lambda: Residual(lambda s, x: (lambda kept: s.conv(s.act(x)) + kept)(x.clone())),
        "sum(conv[conv](relu(x)), x)",
    ),
    (
        "a residual kept in place after it was read",
        lambda: Residual(lambda s, x: s.act(s.conv(x)) + x),
        "sum(relu(conv[conv](x)), x)",
    ),
    ("in place through a view of all", lambda: of(rows, c=conv()), "relu(conv[c](x))"),
    (
        "in place, the other half read",
        lambda: of(chunked, c=conv()),
        "conv[c](x)",
    ),
    ("a slice assigned", lambda: of(swapped, c=conv()), "concat(slice(x), conv[c](x))"),
    ("all assigned", lambda: of(lambda s, x: (lambda y: (y.__setitem__(slice(None), x), y)[1])(s.c(x)), c=conv()), "x"),
    ("out=", lambda: of(lambda s, x: torch.add(x, s.c(x), out=torch.empty_like(x)), c=conv()), "sum(conv[c](x), x)"),
    ("a subclass", lambda: nn.Sequential(OwnConv(3, 3, 3)), "conv[0](x)"),
    ("a list of features", Loop, "concat(x, conv[layers.0](x), conv[layers.1](concat(x, conv[layers.0](x))))"),
    ("the module itself a layer", conv, "conv[](x)"),
    ("nothing but the input", lambda: of(lambda s, x: x), "x"),
    ("checkpoint", lambda: of(lambda s, x: checkpoint(s.c, x, use_reentrant=False), c=conv()), "conv[c](x)"),
    ("reentrant checkpoint", lambda: of(lambda s, x: checkpoint(s.c, x, use_reentrant=True), c=conv()), "conv[c](x)"),
    (
        "checkpoint_sequential",
        lambda: of(
            lambda s, x: checkpoint_sequential(s.c, 2, x, use_reentrant=False), c=nn.Sequential(conv(), nn.ReLU())
        ),
        "relu(conv[c.0](x))",
    ),
    ("DataParallel", lambda: nn.DataParallel(nn.Sequential(conv())), "conv[module.0](x)"),
    ("a parametrization that does nothing", lambda: parametrized(Identity), "conv[0.parametrizations.weight](x)"),
    ("forward called directly", lambda: of(lambda s, x: s.c.forward(x), c=conv()), "conv[c](x)"),
    ("no_grad", lambda: of(torch.no_grad()(lambda s, x: s.c(x)), c=conv()), "conv[c](x)"),
    ("enable_grad", lambda: of(torch.enable_grad()(lambda s, x: s.c(x)), c=conv()), "conv[c](x)"),
    ("inference_mode", lambda: of(torch.inference_mode()(lambda s, x: s.c(x)), c=conv()), "conv[c](x)"),
    ("channels last", lambda: of(lambda s, x: s.c(x.to(memory_format=torch.channels_last)), c=conv()), "conv[c](x)"),
    (
        "functional_call",
        lambda: of(lambda s, x: torch.func.functional_call(s.c, dict(s.c.named_parameters()), x), c=conv()),
        "conv[c](x)",
    ),
    ("vmap over the batch", lambda: of(lambda s, x: torch.vmap(torch.relu)(x)), "relu(x)"),
    ("a stack summed", lambda: of(lambda s, x: torch.stack([s.c(x), x]).sum(0), c=conv()), "sum(conv[c](x), x)"),
    ("the sum of a list", lambda: of(lambda s, x: sum([s.c(x), x]), c=conv()), "sum(conv[c](x), x)"),
    ("numbers", lambda: of(lambda s, x: 2 * (1 - x) / 3 - 1), "shift(scale(shift(scale(x))))"),
    ("a constant of no axis", lambda: of(lambda s, x: x * s.k, k=torch.tensor(2.0)), "scale(x)"),
    ("a constant made in forward", lambda: of(lambda s, x: x * torch.tensor(2.0)), "scale(x)"),
    ("a buffer of one number", lambda: of(lambda s, x: x * s.b, b=nn.Buffer(torch.ones(1))), "product(state[b], x)"),
    ("a constant of several", lambda: of(lambda s, x: x * s.k, k=torch.ones(3, 1, 1)), "product(unregistered[], x)"),
    ("zeros", lambda: of(lambda s, x: torch.cat([x, torch.zeros_like(x)], 1)), "pad(x)"),
    ("zeros of the cpu", lambda: of(lambda s, x: torch.cat([x, x.new_zeros(2, 1, 8, 8)], 1)), "pad(x)"),
    ("zeros in place", lambda: of(lambda s, x: x.clone().zero_() + s.c(x), c=conv()), "sum(0, conv[c](x))"),
    ("a computed fill", lambda: of(lambda s, x: torch.zeros_like(x).fill_(x.mean())), "expand(mean(x))"),
    ("a view as numbers", lambda: of(lambda s, x: (x.view(torch.int32), x + 1)[1]), "shift(x)"),
    (
        "a mean in float64",
        lambda: of(lambda s, x: x.mean((2, 3), dtype=torch.float64)),
        "reshape(global_avgpool(cast(x)))",
    ),
    ("a total in float64", lambda: of(lambda s, x: x.sum((2, 3), dtype=torch.float64) / 2), "scale(total(cast(x)))"),
]


@pytest.mark.parametrize(("make", "expected"), [case[1:] for case in WRITTEN], ids=[case[0] for case in WRITTEN])
def test_written(make: Callable[[], nn.Module], expected: str) -> None:
    """The output is what the module computes, by whatever means it does."""
    assert said(make()) == expected


@pytest.mark.parametrize(("make", "expected"), [case[1:] for case in WRITTEN], ids=[case[0] for case in WRITTEN])
def test_real_tensors_say_the_same(make: Callable[[], nn.Module], expected: str) -> None:
    """Run on the cpu, a module has the graph that it has on meta."""
    graph = record(make(), At(IMAGE), Builder())
    assert say(graph.outputs[""]) == expected


# Weights that are computed


def depends(weight: State | Node) -> set[str]:
    """The parameters and buffers that a weight is computed from."""
    assert isinstance(weight, Node)
    names, stack = set(), [weight]
    while stack:
        node = stack.pop()
        names |= {node.name} if node.kind == "state" else {state.name for _, state in node.states}
        stack += node.feeds
    return names


def old_weight_norm() -> nn.Module:
    """The norm that torch had first."""
    return nn.Sequential(torch.nn.utils.weight_norm(conv()))


PARAMETRIZED: list[tuple[str, Callable[[], nn.Module], set[str]]] = [
    (
        "weight_norm",
        lambda: nn.Sequential(parametrizations.weight_norm(conv())),
        {"0.parametrizations.weight.original0", "0.parametrizations.weight.original1"},
    ),
    ("old weight_norm", old_weight_norm, {"0.weight_g", "0.weight_v"}),
    (
        "spectral_norm",
        lambda: nn.Sequential(parametrizations.spectral_norm(conv())),
        {"0.parametrizations.weight.original", "0.parametrizations.weight.0._u", "0.parametrizations.weight.0._v"},
    ),
    (
        "old spectral_norm",
        lambda: nn.Sequential(torch.nn.utils.spectral_norm(conv())),
        {"0.weight_orig", "0.weight_u", "0.weight_v"},
    ),
    ("weight standardisation", lambda: nn.Sequential(Standardised(3, 3, 3)), {"0.weight"}),
]


@pytest.mark.parametrize(("make", "names"), [case[1:] for case in PARAMETRIZED], ids=[case[0] for case in PARAMETRIZED])
@pytest.mark.parametrize("training", [False, True])
def test_computed_weight(make: Callable[[], nn.Module], names: set[str], training: bool) -> None:
    """A weight that is computed is computed from the parameters that it is computed from, and not from the input."""
    end = seen(make(), training=training).outputs[""]
    assert end.kind == "conv"
    assert [feed.kind for feed in end.inputs] == ["input"]
    assert depends(end.tensors["weight"]) <= names
    assert any("orig" in name or "weight" in name for name in depends(end.tensors["weight"]))


def test_weight_in_another_shape() -> None:
    """A parameter that is only moved is a parameter, and its steps are known."""
    end = seen(of(lambda s, x: F.conv2d(x, s.w.t().reshape(6, 3, 1, 1)), w=nn.Parameter(torch.ones(3, 6)))).outputs[""]
    steps = (("permute", (1, 0)), ("reshape", (6, 3, 1, 1)))
    assert end.tensors == {"weight": State("w", (6, 3, 1, 1), steps)}


def test_product_with_a_parameter_from_the_other_side() -> None:
    """x @ W is a linear layer of W transposed."""
    end = seen(of(lambda s, x: x @ s.w, w=nn.Parameter(torch.ones(4, 6))), (4,)).outputs[""]
    assert end.kind == "linear"
    assert end.attributes == {"out": 6}
    assert end.tensors == {"weight": State("w", (6, 4), (("permute", (1, 0)),))}


def test_product_of_two_values_is_no_layer() -> None:
    """x @ (x * w).T has no weight: what is multiplied depends on the input, and on a parameter besides."""
    end = seen(of(lambda s, x: x @ (x * s.w).t(), w=nn.Parameter(torch.ones(4))), (4,)).outputs[""]
    assert end.kind == "matmul"
    assert not end.tensors


def test_product_of_deep_values_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a factor is a weight is found out in as many steps as there are operations, not in 2^16."""
    calls = 0
    real = Node.feeds.fget
    assert real is not None

    def counting(node: Node) -> tuple[Node, ...]:
        nonlocal calls
        calls += 1
        return real(node)  # type: ignore[no-any-return]

    def deep(s: Any, x: Tensor) -> Tensor:
        for _ in range(16):
            x = x + F.silu(x)
        return x @ x.t()

    monkeypatch.setattr(Node, "feeds", property(counting))
    assert seen(of(deep), (4,)).outputs[""].kind == "matmul"
    assert 16 < calls < 1000


def test_product_after_a_long_chain() -> None:
    """It does not matter how long the chain is that a factor comes from."""

    def deep(s: Any, x: Tensor) -> Tensor:
        for _ in range(1500):
            x = x.tanh()
        return x @ x.t()

    assert seen(of(deep), (4,)).outputs[""].kind == "matmul"


# Who runs it


def test_compiled_runs_as_written() -> None:
    """What torch.compile returns is never compiled."""

    def refuse(*arguments: Any) -> Any:
        raise AssertionError("compiled")

    net = nn.Sequential(torch.compile(nn.Sequential(conv(), nn.ReLU()), backend=refuse), nn.Flatten())
    assert said(net) == "reshape(relu(conv[0._orig_mod.0](x)))"
    assert said(torch.compile(nn.Sequential(conv()), backend=refuse)) == "conv[_orig_mod.0](x)"


def test_compiled_function_runs_as_written() -> None:
    """A function, or a method, that a forward calls is not compiled either."""

    def refuse(*arguments: Any) -> Any:
        raise AssertionError("compiled")

    compiled = torch.compile(lambda x: x.relu() + 1, backend=refuse)
    assert said(of(lambda s, x: compiled(s.c(x)), c=conv())) == "shift(relu(conv[c](x)))"


PLAIN = "relu(conv[0](x))"


def plain() -> nn.Module:
    """A small network, ready to be exported."""
    torch.manual_seed(0)
    return nn.Sequential(conv(), nn.ReLU()).eval()


TRACED: list[tuple[str, Callable[[], nn.Module]]] = [
    ("jit.script", lambda: torch.jit.script(plain())),
    ("jit.trace", lambda: torch.jit.trace(plain(), torch.zeros(2, *IMAGE))),
    ("jit.freeze", lambda: torch.jit.freeze(torch.jit.script(plain()))),
    ("fx", lambda: torch.fx.symbolic_trace(plain())),
    ("torch.export", lambda: torch.export.export(plain(), (torch.zeros(2, *IMAGE),)).module()),
    ("a part that is scripted", lambda: nn.Sequential(*torch.jit.script(plain()).children())),
]


@pytest.mark.parametrize("make", [case[1] for case in TRACED], ids=[case[0] for case in TRACED])
def test_traced(make: Callable[[], nn.Module]) -> None:
    """A network that was traced or exported computes what the original does."""
    graph = Subject(make()).observe(At(IMAGE))
    end = graph.outputs[""]
    assert end.kind == "relu"
    assert end.inputs[0].kind == "conv"
    assert end.inputs[0].attributes["padding"] == (1, 1)
    assert end.inputs[0].inputs == (graph.input,)


@pytest.mark.parametrize("make", [case[1] for case in TRACED if "freeze" not in case[0]])
def test_traced_parameters_keep_their_names(make: Callable[[], nn.Module]) -> None:
    """A traced module has its parameters by their names."""
    graph = Subject(make()).observe(At(IMAGE))
    assert set(graph.state) == {"0.weight", "0.bias"}
    assert say(graph.outputs[""]) == PLAIN


# What it returns

Two = namedtuple("Two", "logits features")


@dataclass
class Data:
    """A dataclass, as segmentation models return."""

    out: Tensor
    other: Any = None


class ModelOutput(OrderedDict):  # type: ignore[type-arg]
    """A dict whose entries are attributes, as Hugging Face's models return."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


RETURNED: list[tuple[str, Function, list[str]]] = [
    ("a tensor", lambda s, x: s.c(x), [""]),
    ("a tuple", lambda s, x: (s.c(x), x), ["[0]", "[1]"]),
    ("a list", lambda s, x: [x, [s.c(x)]], ["[0]", "[1][0]"]),
    ("a dict", lambda s, x: {"out": s.c(x), "aux": None, "n": 3}, ["['out']"]),
    ("a dict with numbers", lambda s, x: {0: s.c(x), 1: x}, ["[0]", "[1]"]),
    ("a namedtuple", lambda s, x: Two(s.c(x), x), [".logits", ".features"]),
    ("a dataclass", lambda s, x: Data(s.c(x)), [".out"]),
    ("a model output", lambda s, x: ModelOutput(logits=s.c(x), hidden=(x, x)), [".logits", ".hidden[0]", ".hidden[1]"]),
    ("a model output with a dict's word", lambda s, x: ModelOutput(values=s.c(x)), ["['values']"]),
    ("a dataclass in a dict", lambda s, x: {"a": Data(x, {"b": s.c(x)})}, ["['a'].out", "['a'].other['b']"]),
    ("nothing", lambda s, x: None, []),
    ("a number", lambda s, x: 3, []),
]


@pytest.mark.parametrize(("function", "where"), [case[1:] for case in RETURNED], ids=[case[0] for case in RETURNED])
def test_returned(function: Function, where: list[str]) -> None:
    """Every tensor that is returned has its place in the graph's outputs, and can be picked from a real result."""
    net = of(function, c=conv())
    assert list(seen(net).outputs) == where
    output = net(torch.zeros(2, *IMAGE))
    assert [at for at, _ in tensors_of(output)] == where
    for at in where:
        assert at in dict(tensors_of(output))
    assert ".nowhere" not in dict(tensors_of(output))


# Values decide


def deciding(s: Any, x: Tensor) -> Tensor:
    """A forward in which Python decides by a value."""
    return s.c(x) if float((x * 0).sum()) == 0 else x  # type: ignore[no-any-return]


def test_data_dependent() -> None:
    """What a value decides is decided on real tensors, and it is said why."""
    subject = Subject(of(deciding, c=conv()))
    assert subject.why_real == ""
    assert say(subject.observe(At(IMAGE)).outputs[""]) == "conv[c](x)"
    assert "meta" in subject.why_real
    assert "\n" not in subject.why_real
    assert say(subject.observe(At(IMAGE, training=True)).outputs[""]) == "conv[c](x)"


def test_number_in_a_tensor_decides() -> None:
    """A number that a module keeps in a tensor is what it is, on meta, too."""
    assert said(of(lambda s, x: s.c(x) if s.on else x, c=conv(), on=torch.tensor(True))) == "conv[c](x)"


@pytest.mark.parametrize("function", [deciding, lambda s, x: F.dropout(s.c(x), training=True)], ids=["real", "meta"])
def test_random_state_is_kept(function: Function) -> None:
    """Observing draws no numbers from the user's generator, on real tensors either."""
    net = of(function, c=conv())
    before = torch.get_rng_state()
    Subject(net).observe(At(IMAGE, training=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_norm_without_parameters_runs_on_meta() -> None:
    """A module that has buffers and no parameter is as well run on meta."""
    assert said(nn.Sequential(nn.BatchNorm2d(3, affine=False))) == "batchnorm(x)"


def test_half_precision() -> None:
    """A module in half precision is given its own precision: there is no cast."""
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        net = nn.Sequential(conv(), nn.BatchNorm2d(3), nn.ReLU()).to(dtype)
        assert [node.kind for node in seen(net).nodes] == ["input", "conv", "batchnorm", "relu"]


def test_casts_are_seen() -> None:
    """A value that is rounded is not the value; a cast to the precision that is there does nothing."""
    assert said(of(lambda s, x: s.c(x.half().float()), c=conv())) == "conv[c](cast(cast(x)))"
    assert said(of(lambda s, x: s.c(x.float().to(torch.float32)), c=conv())) == "conv[c](x)"
    assert said(of(lambda s, x: s.c(x.to(device=x.device, dtype=x.dtype, copy=True)), c=conv())) == "conv[c](x)"


def test_module_on_meta() -> None:
    """A module that is on meta itself needs no values."""
    with torch.device("meta"):
        net = nn.Sequential(conv(), nn.ReLU())
    assert said(net) == PLAIN


def test_lazy_module() -> None:
    """Parameters that are made by the first run have their names and shapes."""
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(5))
    graph = seen(net)
    assert say(graph.outputs[""]) == "linear[3](reshape(batchnorm[1](conv[0](x))))"
    assert graph.state["0.weight"] == (4, 3, 3, 3)
    assert graph.state["3.weight"] == (5, 144)  # 4*6*6
    assert isinstance(net[0].weight, nn.UninitializedParameter)


def test_layers_in_a_list() -> None:
    """Layers that are not registered are seen, and are not the module's."""
    graph = seen(of(lambda s, x: s.parts[1](s.parts[0](x)), parts=[conv(), nn.BatchNorm2d(3)]))
    first = graph.outputs[""].inputs[0]
    assert [graph.outputs[""].kind, first.kind] == ["batchnorm", "conv"]
    assert isinstance(first.tensors["weight"], Node)
    assert first.tensors["weight"].kind == "unregistered"
    assert graph.parameters == {"own"}


def test_tensor_of_a_graph_kept_on_the_module() -> None:
    """A tensor that was computed, as a module may keep from an earlier run, is no obstacle to its copy."""
    net = of(lambda s, x: (setattr(s, "last", s.c(x)), s.last)[1], c=conv())
    net(torch.zeros(2, *IMAGE))
    assert net.last.grad_fn is not None
    kept = net.last
    assert said(net) == "conv[c](x)"
    assert net.last is kept


def counting(s: Any, x: Tensor) -> Tensor:
    """A module which counts its runs, and keeps a mean."""
    s.steps += 1
    s.seen.mul_(0.9).add_(x.mean((0, 2, 3)), alpha=0.1)
    return s.c(x)  # type: ignore[no-any-return]


def test_buffers_written() -> None:
    """Buffers that the run writes are `moved`; what is written into them is used, not left unread."""
    graph = seen(of(counting, c=conv(), steps=nn.Buffer(torch.tensor(0)), seen=nn.Buffer(torch.zeros(3))))
    assert graph.moved == {"steps", "seen"}
    assert graph.unread == []
    assert say(graph.outputs[""]) == "conv[c](x)"


def test_module_stays_as_it_is() -> None:
    """Its values, mode, gradients and hooks are what they were."""
    net = nn.Sequential(conv(), nn.BatchNorm2d(3), nn.Dropout()).eval()
    net[2].train()
    before = copy.deepcopy(net.state_dict())
    subject = Subject(net)
    for training in (True, False):
        subject.observe(At(IMAGE, training=training))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [part.training for part in net.modules()] == [False, False, False, True]
    assert all(p.grad is None for p in net.parameters())
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in net.modules())


def test_own_hooks_run() -> None:
    """What a module's own hooks compute is part of what it computes."""
    net = nn.Sequential(conv(), nn.ReLU())
    net[0].register_forward_pre_hook(lambda part, args: (args[0] * 2,))
    net[0].register_forward_hook(lambda part, args, y: y + args[0])
    assert said(net) == "relu(sum(conv[0](scale(x)), scale(x)))"
    assert len(net[0]._forward_hooks) == len(net[0]._forward_pre_hooks) == 1


class Failing(nn.Module):
    """A module whose part raises."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Sequential(conv(), nn.Linear(5, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x)  # type: ignore[no-any-return]


def test_exception() -> None:
    """What a forward raises is raised, on real tensors; nothing is left behind on the module that ran."""
    subject = Subject(Failing())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            subject.observe(At(IMAGE))
    assert subject.why_real == ""
    for ran in (subject.module, subject.copy("meta"), subject.copy("cpu")):
        assert all(not part._forward_hooks and not part._forward_pre_hooks for part in ran.modules())
    assert torch.is_grad_enabled()
    assert not torch.utils._python_dispatch._get_current_dispatch_mode_stack()


def test_caught_exception_keeps_the_path() -> None:
    """A part that raises, and is caught, is left all the same."""

    def trying(s: Any, x: Tensor) -> Tensor:
        try:
            s.bad(x)
        except RuntimeError:
            return s.c(x).relu()  # type: ignore[no-any-return]
        return x

    graph = seen(of(trying, c=conv(), bad=nn.Sequential(nn.Linear(5, 5))))
    assert [node.name for node in graph.nodes] == ["input", "c", ""]


def test_tied_parameters() -> None:
    """A tensor with two names has one: the other is an alias."""
    a, b = conv(), conv()
    b.weight = a.weight
    graph = seen(nn.Sequential(a, b))
    assert graph.aliases == {"1.weight": "0.weight"}
    assert graph.outputs[""].tensors["weight"] == State("0.weight", (3, 3, 3, 3))
    assert set(graph.state) == {"0.weight", "0.bias", "1.weight", "1.bias"}


def test_one_layer_with_two_names() -> None:
    """A layer registered twice is one layer."""
    one = conv()
    graph = seen(nn.Sequential(one, nn.ReLU(), one))
    assert graph.aliases == {"2.weight": "0.weight", "2.bias": "0.bias"}
    assert say(graph.outputs[""]) == "conv[0](relu(conv[0](x)))"


def test_state() -> None:
    """Parameters, and the buffers that are saved, with their shapes; counters by their norm."""
    net = of(lambda s, x: s.n(x) * s.t, n=nn.BatchNorm2d(3), t=nn.Buffer(torch.ones(1), persistent=False))
    graph = seen(net)
    names = {"own", "n.weight", "n.bias", "n.running_mean", "n.running_var", "n.num_batches_tracked"}
    assert set(graph.state) == names
    assert graph.parameters == {"own", "n.weight", "n.bias"}
    assert graph.counters == {"n.running_mean": "n.num_batches_tracked"}
    assert seen(nn.BatchNorm2d(3)).counters == {"running_mean": "num_batches_tracked"}


UNREAD: list[tuple[str, Function, list[str]]] = [
    ("a relu", lambda s, x: (x.relu(), s.c(x))[1], ["relu"]),
    ("a convolution", lambda s, x: (s.c(x), x + 1)[1], ["conv"]),
    ("two in a row", lambda s, x: (s.c(x).sigmoid(), x + 1)[1], ["sigmoid"]),
    ("none", lambda s, x: s.c(x), []),
    ("a shape", lambda s, x: s.c(x).reshape(x.size(0), -1), []),
    ("what does not see the input", lambda s, x: (torch.ones(3) * 2, x)[1], []),
    ("a relu in place of a copy", lambda s, x: (x.clone().relu_(), x)[1], ["relu"]),
    ("a relu in place of itself", lambda s, x: (x.relu_(), x)[1], []),
    ("what is written over", lambda s, x: (lambda y: y.copy_(x))(s.c(x)), ["conv"]),
    ("a matrix times pixels", lambda s, x: torch.matmul(s.m, x.flatten(2)), []),
]


@pytest.mark.parametrize(("function", "kinds"), [case[1:] for case in UNREAD], ids=[case[0] for case in UNREAD])
def test_unread(function: Function, kinds: list[str]) -> None:
    """What is computed from the input and neither used nor returned is known."""
    graph = seen(of(function, c=conv(), m=nn.Parameter(torch.ones(4, 3))))
    assert [node.kind for node in graph.unread] == kinds
    assert all(node not in graph.live for node in graph.unread)


# Where


class Block(nn.Module):
    """Two operations in two lines."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y.relu()  # the line of the relu


def line_of(function: Any, text: str) -> int:
    """The line of a function with that text."""
    lines, first = inspect.getsourcelines(function)
    return first + next(at for at, line in enumerate(lines) if text in line)


def test_call_sites_and_paths() -> None:
    """An operation has the path of the module that did it, and the user's own line, not one of torch's."""
    graph = seen(nn.Sequential(OrderedDict(stem=Block(), layers=nn.ModuleDict({"a": Block()})["a"])))
    nodes = [node for node in graph.nodes if node.kind != "input"]
    assert [node.name for node in nodes] == ["stem.conv", "stem", "layers.conv", "layers"]
    places = [node.place for node in nodes]
    assert all(place is not None and str(place.document.path) == __file__ for place in places)
    lines = [line_of(Block.forward, "self.conv(x)"), line_of(Block.forward, "the line of the relu")]
    assert [place.line for place in places if place] == lines * 2


def test_call_site_of_a_plain_sequential() -> None:
    """Where no line of the user's runs, there is none: the caller of the observation is not part of the module."""
    graph = seen(nn.Sequential(conv(), nn.ReLU()))
    assert [node.place for node in graph.nodes] == [None, None, None]
    assert [node.name for node in graph.nodes] == ["input", "0", "1"]


def test_call_site_in_a_helper() -> None:
    """A function that forward calls has the line."""

    def helper(x: Tensor) -> Tensor:
        return F.relu(x)  # the helper's line

    node = seen(of(lambda s, x: helper(x))).outputs[""]
    assert node.place is not None
    assert node.place.line == line_of(helper, "the helper's line")


def test_input_size_and_batch() -> None:
    """The graph is that of the size that was asked for."""
    subject = Subject(nn.Sequential(conv(), nn.AdaptiveAvgPool2d(1)))
    for batch, x in ((1, (3, 5, 7)), (4, (3, 9, 9))):
        graph = subject.observe(At(x, batch=batch))
        assert graph.input.shape == (batch, *x)
        assert graph.outputs[""].shape == (batch, 3, 1, 1)


# Dropout, in every way that is in use. p, of what, and what else there is.


def own_mask(s: Any, x: Tensor) -> Tensor:
    """An inverted mask of torch.bernoulli."""
    return x * torch.bernoulli(torch.full_like(x, 0.8)) / 0.8


def drop_path(s: Any, x: Tensor) -> Tensor:
    """Drop path as timm writes it."""
    shape = (x.shape[0],) + (1,) * (x.ndim - 1)
    keep = x.new_empty(shape).bernoulli_(0.8)
    keep.div_(0.8)
    return x * keep


def drop_connect(s: Any, x: Tensor) -> Tensor:
    """Drop connect as the EfficientNets write it."""
    keep = 0.8 + torch.rand((x.shape[0], 1, 1, 1), dtype=x.dtype, device=x.device)
    return x / 0.8 * keep.floor()


DROPPED: list[tuple[str, Function, dict[str, Any]]] = [
    ("F.dropout", lambda s, x: F.dropout(x, 0.2, True), {"p": 0.2, "of": "elements"}),
    ("F.dropout in place", lambda s, x: F.dropout(x.clone(), 0.2, True, True), {"p": 0.2, "of": "elements"}),
    ("F.dropout2d", lambda s, x: F.dropout2d(x, 0.2, True), {"p": 0.2, "of": "channels"}),
    ("feature_dropout", lambda s, x: torch.feature_dropout(x, 0.2, True), {"p": 0.2, "of": "channels"}),
    ("nn.Dropout", lambda s, x: nn.Dropout(0.2)(x), {"p": 0.2, "of": "elements"}),
    ("nn.Dropout2d", lambda s, x: nn.Dropout2d(0.2)(x), {"p": 0.2, "of": "channels"}),
    ("native_dropout", lambda s, x: torch.native_dropout(x, 0.2, True)[0], {"p": 0.2, "of": "elements"}),
    ("a mask of bernoulli", own_mask, {"p": 0.2, "of": "elements"}),
    (
        "a mask that does not scale",
        lambda s, x: torch.empty_like(x).bernoulli_(0.8) * x,
        {"p": 0.2, "of": "elements", "scale": 1.0},
    ),
    ("drop path", drop_path, {"p": 0.2, "of": "images"}),
    ("drop connect", drop_connect, {"p": 0.2, "of": "images"}),
    ("torchvision's stochastic depth", lambda s, x: StochasticDepth(0.2, "row")(x), {"p": 0.2, "of": "images"}),
    ("rand < keep", lambda s, x: x * (torch.rand_like(x) < 0.8) / 0.8, {"p": 0.2, "of": "elements"}),
    ("rand > p", lambda s, x: x * (torch.rand_like(x) > 0.2).float() / 0.8, {"p": 0.2, "of": "elements"}),
    ("rand >= p", lambda s, x: x.mul((torch.rand_like(x) >= 0.2).to(x.dtype)).mul(1.25), {"p": 0.2, "of": "elements"}),
    ("a uniform tensor", lambda s, x: x * torch.empty_like(x).uniform_().ge(0.2) / 0.8, {"p": 0.2, "of": "elements"}),
    (
        "channels by hand",
        lambda s, x: x * torch.rand(2, 3, 1, 1, device=x.device).lt(0.8) / 0.8,
        {"p": 0.2, "of": "channels"},
    ),
    (
        "the whole batch",
        lambda s, x: StochasticDepth(0.2, "batch")(x),
        {"p": 0.2, "of": "places of (1, 1, 1, 1)"},
    ),
    (
        "columns",
        lambda s, x: x * torch.rand(1, 1, 1, 8, device=x.device).lt(0.8) / 0.8,
        {"p": 0.2, "of": "places of (1, 1, 1, 8)"},
    ),
]


@pytest.mark.parametrize(("function", "attributes"), [case[1:] for case in DROPPED], ids=[case[0] for case in DROPPED])
def test_dropout(function: Function, attributes: dict[str, Any]) -> None:
    """A product with a mask of chance is dropout, with its rate and what it drops."""
    end = seen(of(function), training=True).outputs[""]
    assert end.kind == "dropout"
    assert end.attributes == pytest.approx(attributes) if "scale" in attributes else end.attributes == attributes
    assert [feed.kind for feed in end.inputs] == ["input"]


@pytest.mark.parametrize("layer", [nn.Dropout(0.2), nn.Dropout2d(0.2), StochasticDepth(0.2, "row")])
def test_no_dropout_in_eval(layer: nn.Module) -> None:
    """In eval mode they do nothing."""
    assert said(of(lambda s, x: s.d(x), d=layer)) == "x"


def test_timm_drop_path() -> None:
    """timm's own layer."""
    layers = pytest.importorskip("timm.layers")
    end = seen(of(lambda s, x: s.d(x), d=layers.DropPath(0.2)), training=True).outputs[""]
    assert end.kind == "dropout"
    assert end.attributes == {"p": 0.2, "of": "images"}


NOISE: list[tuple[str, Function, str]] = [
    ("noise that is added", lambda s, x: x + torch.rand_like(x), "sum(random(), x)"),
    ("normal noise", lambda s, x: x * torch.randn_like(x), "product(random(), x)"),
    ("uniform noise as a factor", lambda s, x: x * torch.rand_like(x), "product(random(), x)"),
    ("rounding of what is not random", lambda s, x: x.floor(), "floor(x)"),
    ("comparing what is not random", lambda s, x: x * (x > 0.2), "product(gt(x), x)"),
    ("a mask of probabilities", lambda s, x: x * torch.bernoulli(x.sigmoid()), "product(bernoulli(sigmoid(x)), x)"),
]


@pytest.mark.parametrize(("function", "expected"), [case[1:] for case in NOISE], ids=[case[0] for case in NOISE])
def test_noise_is_no_dropout(function: Function, expected: str) -> None:
    """Other chance is not dropout."""
    assert said(of(function), training=True) == expected


# Batch normalisation


BATCH_NORMS: list[tuple[str, Callable[[], nn.Module], bool, dict[str, Any], set[str]]] = [
    (
        "eval",
        lambda: nn.BatchNorm2d(3, eps=1e-3),
        False,
        {"eps": 1e-3, "statistics": "running"},
        {"weight", "bias", "running_mean", "running_var"},
    ),
    (
        "train",
        lambda: nn.BatchNorm2d(3, momentum=0.3),
        True,
        {"eps": 1e-5, "statistics": "of the batch", "momentum": 0.3},
        {"weight", "bias", "running_mean", "running_var"},
    ),
    (
        "affine=False",
        lambda: nn.BatchNorm2d(3, affine=False),
        False,
        {"eps": 1e-5, "statistics": "running"},
        {"running_mean", "running_var"},
    ),
    (
        "no running statistics",
        lambda: nn.BatchNorm2d(3, track_running_stats=False),
        False,
        {"eps": 1e-5, "statistics": "of the batch"},
        {"weight", "bias"},
    ),
    (
        "no running statistics, train",
        lambda: nn.BatchNorm2d(3, track_running_stats=False),
        True,
        {"eps": 1e-5, "statistics": "of the batch"},
        {"weight", "bias"},
    ),
]


@pytest.mark.parametrize("case", BATCH_NORMS, ids=[case[0] for case in BATCH_NORMS])
def test_batch_norm(case: tuple[str, Callable[[], nn.Module], bool, dict[str, Any], set[str]]) -> None:
    """A norm has its eps, the statistics that it uses, and the momentum where it moves them."""
    _, make, training, attributes, roles = case
    end = seen(of(lambda s, x: s.n(x), n=make()), training=training).outputs[""]
    assert end.kind == "batchnorm"
    assert end.attributes == attributes
    assert set(end.tensors) == roles
    assert all(isinstance(tensor, State) and tensor.name == f"n.{role}" for role, tensor in end.tensors.items())


class AlwaysTraining(nn.BatchNorm2d):
    """A module which uses the batch's statistics in eval mode, too, and moves its own."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, True, self.momentum)


class Frozen(nn.BatchNorm2d):
    """A module which never leaves eval mode."""

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(False)


def test_batch_norm_that_never_leaves_its_mode() -> None:
    """It is the statistics used that count, not the mode."""
    for training in (False, True):
        always = seen(of(lambda s, x: s.n(x), n=AlwaysTraining(3)), training=training).outputs[""]
        assert always.attributes == {"eps": 1e-5, "statistics": "of the batch", "momentum": 0.1}
        frozen = seen(of(lambda s, x: s.n(x), n=Frozen(3)), training=training).outputs[""]
        assert frozen.attributes == {"eps": 1e-5, "statistics": "running"}


# Operators by their kinds and arguments


def square(kernel: int, stride: int, padding: int, **others: Any) -> dict[str, Any]:
    """The arguments of something that slides, equal on both axes."""
    return {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "padding": (padding,) * 2, **others}


KINDS: list[tuple[str, Function, str, dict[str, Any]]] = [
    (
        "conv",
        lambda s, x: F.conv2d(x, s.w, None, (2, 1), 1, 2, 3),
        "conv",
        {
            "out": 6,
            "kernel": (3, 3),
            "stride": (2, 1),
            "padding": (1, 1),
            "dilation": (2, 2),
            "groups": 3,
        },
    ),
    (
        "conv, same",
        lambda s, x: F.conv2d(x, s.w, padding="same", groups=3),
        "conv",
        {**square(3, 1, 1), "out": 6, "dilation": (1, 1), "groups": 3},
    ),
    ("maxpool", lambda s, x: F.max_pool2d(x, 3, 2, 1), "maxpool", square(3, 2, 1, dilation=(1, 1), ceil_mode=False)),
    (
        "maxpool of no stride",
        lambda s, x: F.max_pool2d(x, 2),
        "maxpool",
        square(2, 2, 0, dilation=(1, 1), ceil_mode=False),
    ),
    (
        "maxpool with indices",
        lambda s, x: F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)[0],
        "maxpool",
        square(2, 2, 0, dilation=(1, 1), ceil_mode=True),
    ),
    (
        "avgpool",
        lambda s, x: F.avg_pool2d(x, 3, 2, 1, True, False),
        "avgpool",
        square(3, 2, 1, ceil_mode=True, count_include_pad=False),
    ),
    (
        "avgpool with a divisor",
        lambda s, x: F.avg_pool2d(x, 3, divisor_override=2),
        "avgpool",
        square(3, 3, 0, ceil_mode=False, count_include_pad=True, divisor=2),
    ),
    (
        "maxpool of a volume",
        lambda s, x: F.max_pool3d(x[:, None], 2, 1),
        "max_pool3d_with_indices",
        {"kernel": (2, 2, 2), "stride": (1, 1, 1), "padding": (0, 0, 0), "dilation": (1, 1, 1), "ceil_mode": False},
    ),
    (
        "avgpool of a volume",
        lambda s, x: F.avg_pool3d(x[:, None], (1, 2, 2)),
        "avg_pool3d",
        {"kernel": (1, 2, 2), "stride": (1, 2, 2), "padding": (0, 0, 0), "ceil_mode": False, "count_include_pad": True},
    ),
    (
        "each of a sequence twice",
        lambda s, x: F.interpolate(x[:, 0], scale_factor=2),
        "upsample_nearest1d",
        {"scale": (2.0,)},
    ),
    ("adaptive pool", lambda s, x: F.adaptive_avg_pool2d(x, (3, 5)), "adaptive_avgpool", {"out": (3, 5)}),
    (
        "adaptive pool of one axis",
        lambda s, x: F.adaptive_avg_pool2d(x, (None, 3)),
        "adaptive_avgpool",
        {"out": (8, 3)},
    ),
    ("mean", lambda s, x: x.mean((-1, 1)), "mean", {"axes": (1, 3)}),
    ("mean of all", lambda s, x: x.mean(), "mean", {"axes": (0, 1, 2, 3)}),
    ("total", lambda s, x: x.sum(-1), "total", {"axes": (3,)}),
    ("relu6", lambda s, x: F.relu6(x), "relu6", {}),
    ("relu6 as a clamp", lambda s, x: x.clamp(0, 6), "relu6", {}),
    ("hardtanh", lambda s, x: F.hardtanh(x, 0, 5), "clamp", {"low": 0, "high": 5}),
    ("clamp", lambda s, x: x.clamp(-1, 1), "clamp", {"low": -1, "high": 1}),
    ("clamp_max", lambda s, x: x.clamp_max(1), "clamp", {"high": 1}),
    ("leaky relu", lambda s, x: F.leaky_relu(x, 0.2), "leaky_relu", {"negative_slope": 0.2}),
    ("threshold", lambda s, x: F.threshold(x, 1, 0), "threshold", {"threshold": 1, "value": 0}),
    ("x + 3", lambda s, x: x + 3, "shift", {"by": 3}),
    ("x - 3", lambda s, x: x - 3, "shift", {"by": -3}),
    ("3 + x", lambda s, x: 3 + x, "shift", {"by": 3}),
    ("add of alpha", lambda s, x: torch.add(x, 3, alpha=2), "shift", {"by": 6}),
    ("-x", lambda s, x: -x, "scale", {"by": -1}),
    ("x / 4", lambda s, x: x / 4, "scale", {"by": 0.25}),
    ("x // 4", lambda s, x: x // 4, "floor_divide", {"other": 4}),
    (
        "div that rounds",
        lambda s, x: torch.div(x, 4, rounding_mode="trunc"),
        "div",
        {"other": 4, "rounding_mode": "trunc"},
    ),
    ("cat", lambda s, x: torch.cat([x, x], -1), "concat", {"axis": 3}),
    ("stack", lambda s, x: torch.stack([x, x], -1), "concat", {"axis": 4}),
    ("slice", lambda s, x: x[:, 1:], "slice", {"axis": 1, "start": 1, "stop": 3, "step": 1}),
    ("slice from the end", lambda s, x: x[..., -3:-1], "slice", {"axis": 3, "start": 5, "stop": 7, "step": 1}),
    ("narrow", lambda s, x: x.narrow(-1, 2, 3), "slice", {"axis": 3, "start": 2, "stop": 5, "step": 1}),
    ("split", lambda s, x: x.split([1, 2], 1)[1], "slice", {"axis": 1, "start": 1, "stop": 3, "step": 1}),
    ("chunk", lambda s, x: x.chunk(3, -1)[2], "slice", {"axis": 3, "start": 6, "stop": 8, "step": 1}),
    ("transpose", lambda s, x: x.transpose(-1, 1), "permute", {"axes": (0, 3, 2, 1)}),
    ("permute", lambda s, x: x.permute(0, -1, 1, 2), "permute", {"axes": (0, 3, 1, 2)}),
    ("movedim", lambda s, x: x.movedim(1, -1), "permute", {"axes": (0, 2, 3, 1)}),
    (
        "pad",
        lambda s, x: F.pad(x, (1, 2, 3, 4), value=5.0),
        "pad",
        {"sides": ((0, 0), (0, 0), (3, 4), (1, 2)), "value": 5},
    ),
    (
        "pad of channels",
        lambda s, x: F.pad(x, (0, 0, 0, 0, 1, 2)),
        "pad",
        {"sides": ((0, 0), (1, 2), (0, 0), (0, 0)), "value": 0},
    ),
    ("expand", lambda s, x: x[:, :1].expand(-1, 5, -1, -1), "expand", {"to": (2, 5, 8, 8)}),
    ("view", lambda s, x: x.view(2, -1), "reshape", {"to": (2, 192)}),
    ("unflatten", lambda s, x: x.unflatten(2, (4, 2)), "reshape", {"to": (2, 3, 4, 2, 8)}),
    ("an operator without a reader", lambda s, x: F.elu(x, 0.5), "elu", {"alpha": 0.5, "scale": 1, "input_scale": 1}),
]


@pytest.mark.parametrize(
    ("function", "kind", "attributes"), [case[1:] for case in KINDS], ids=[case[0] for case in KINDS]
)
def test_kinds(function: Function, kind: str, attributes: dict[str, Any]) -> None:
    """An operator has the kind and the arguments that it was called with, worked by hand."""
    end = seen(of(function, w=nn.Parameter(torch.ones(6, 1, 3, 3)))).outputs[""]
    assert end.kind == kind
    assert end.attributes == attributes
    assert {feed.kind for feed in end.inputs} <= {"input", "slice", "reshape"}


def test_select() -> None:
    """x[:, -1] is a slice of one that loses its axis."""
    end = seen(of(lambda s, x: x[:, -1])).outputs[""]
    assert say(end) == "reshape(slice(x))"
    assert end.shape == (2, 8, 8)
    assert end.inputs[0].attributes == {"axis": 1, "start": 2, "stop": 3, "step": 1}


def test_unbind() -> None:
    """A part of unbind is known as well."""
    end = seen(of(lambda s, x: x.unbind(1)[1])).outputs[""]
    assert say(end) == "reshape(slice(x))"
    assert end.inputs[0].attributes == {"axis": 1, "start": 1, "stop": 2, "step": 1}


def test_parts_of_a_result() -> None:
    """A result besides the first one is a part of the operation."""
    end = seen(of(lambda s, x: x.topk(3, 1)[1])).outputs[""]
    assert end.kind == "part"
    assert end.attributes == {"index": 1}
    assert end.inputs[0].kind == "topk"


def test_conv_transpose() -> None:
    """A transposed convolution is no convolution."""
    net = of(lambda s, x: s.c(x), c=nn.ConvTranspose2d(3, 4, 2, 2, output_padding=1))
    end = seen(net).outputs[""]
    assert end.kind == "conv_transpose"
    assert end.attributes["output_padding"] == (1, 1)
    assert end.attributes["stride"] == (2, 2)


def test_conv_of_other_ranks() -> None:
    """Convolutions over one axis and over three have kinds of their own."""
    assert seen(nn.Sequential(nn.Conv1d(3, 4, 3)), (3, 8)).outputs[""].kind in ("conv1d", "reshape")
    end = seen(nn.Sequential(nn.Conv3d(3, 4, 3, stride=(1, 2, 1))), (3, 8, 8, 8)).outputs[""]
    assert end.kind == "conv3d"
    assert end.attributes["stride"] == (1, 2, 1)


def test_linear_on_tokens() -> None:
    """A linear layer on tokens is one graph, in inference mode as well."""
    net = nn.Linear(8, 5)
    one = seen(of(lambda s, x: s.l(x), l=net), (6, 8))
    other = seen(of(torch.inference_mode()(lambda s, x: s.l(x)), l=net), (6, 8))
    assert match(one, other).same


SCALED: list[tuple[Function, Function]] = [
    (
        lambda s, x: torch.addmm(s.l.bias, x[0], s.l.weight.t(), beta=0.5, alpha=2),
        lambda s, x: 0.5 * s.l.bias + 2 * F.linear(x[0], s.l.weight),
    ),
    (lambda s, x: torch.addmm(s.l.bias, x[0], s.l.weight.t(), beta=0), lambda s, x: F.linear(x[0], s.l.weight)),
    (lambda s, x: torch.addmm(x[0], x[0], x[1], alpha=3), lambda s, x: x[0] + 3 * (x[0] @ x[1])),
    (lambda s, x: torch.baddbmm(x, x, x, beta=2), lambda s, x: 2 * x + x @ x),
    (lambda s, x: torch.addbmm(x[0], x, x), lambda s, x: x[0] + (x @ x).sum(0)),
    (lambda s, x: torch.addmv(x[0, 0], x[0], x[1, 0]), lambda s, x: x[0, 0] + x[0] @ x[1, 0]),
]


@pytest.mark.parametrize(("one", "other"), SCALED)
def test_a_product_and_a_sum(one: Function, other: Function) -> None:
    """An operator that multiplies and adds is what both are apart, and another factor is another graph."""
    layer = nn.Linear(8, 8)
    graphs = [seen(of(function, l=layer), (8, 8)) for function in (one, other, lambda s, x: 2 * other(s, x))]
    assert [match(graph, graphs[0]).same for graph in graphs] == [True, True, False]


INFERENCE: list[tuple[str, Function]] = [
    ("conv", lambda s, x: s.c(x)),
    ("norm", lambda s, x: s.n(x)),
    ("max-pool", lambda s, x: F.max_pool2d(x, 3, 2, 1)),
    ("adaptive pool", lambda s, x: F.adaptive_avg_pool2d(x, 4)),
    ("adaptive pool to one", lambda s, x: F.adaptive_avg_pool2d(x, 1)),
    ("flatten", lambda s, x: x.flatten(1)),
    ("linear", lambda s, x: s.l(x.flatten(1))),
    ("dropout", lambda s, x: F.dropout(x, 0.2, True)),
    ("stack", lambda s, x: torch.stack([x, x.relu()], 1)),
    ("chunk", lambda s, x: x.chunk(2, 2)[1]),
    ("group norm", lambda s, x: F.group_norm(x, 3)),
    ("layer norm", lambda s, x: F.layer_norm(x, x.shape[1:])),
    ("upsample", lambda s, x: F.interpolate(x, scale_factor=2)),
    ("softmax", lambda s, x: x.softmax(1)),
    ("division", lambda s, x: torch.true_divide(x, 2)),
]


@pytest.mark.parametrize("function", [case[1] for case in INFERENCE], ids=[case[0] for case in INFERENCE])
def test_inference_mode(function: Function) -> None:
    """In inference mode torch dispatches other operators; the graph is the same."""
    parts = {"c": conv(), "n": nn.BatchNorm2d(3), "l": nn.Linear(192, 4)}
    one, other = (seen(of(f, **parts)) for f in (function, torch.inference_mode()(function)))
    assert one.outputs[""].key == other.outputs[""].key


# Every reader of an operator


def normed(operator: Any, *between: Any) -> Function:
    """A call of one of the batch normalisations that torch has."""
    return lambda s, x: operator(x, s.n.weight, s.n.bias, s.n.running_mean, s.n.running_var, *between)[0]


def in_groups(x: Tensor) -> Tensor:
    """The rows of two images, each by another matrix."""
    ends = torch.tensor([24, 48], dtype=torch.int32, device=x.device)
    return F.grouped_mm(x.flatten(0, 2), x[:, 0], offs=ends)


inference = torch.inference_mode()
CALLS: list[tuple[str, Function]] = [
    ("convolution", lambda s, x: s.c(x)),
    (
        "_convolution",
        lambda s, x: ops._convolution(
            x, s.c.weight, None, [1, 1], [0, 0], [1, 1], False, [0, 0], 1, False, False, False, False
        ),
    ),
    ("native_batch_norm", lambda s, x: s.n(x)),
    ("_native_batch_norm_legit", normed(ops._native_batch_norm_legit.default, True, 0.1, 1e-5)),
    ("_native_batch_norm_legit_no_training", normed(ops._native_batch_norm_legit_no_training.default, 0.1, 1e-5)),
    ("_batch_norm_with_update", normed(ops._batch_norm_with_update.default, 0.1, 1e-5)),
    ("cudnn_batch_norm", normed(ops.cudnn_batch_norm.default, True, 0.1, 1e-5)),
    ("miopen_batch_norm", normed(ops.miopen_batch_norm.default, True, 0.1, 1e-5)),
    ("addmm", lambda s, x: s.l(x.flatten(1))),
    ("mm", lambda s, x: x.flatten(1) @ s.l.weight.t()),
    ("linear", inference(lambda s, x: s.l(x.flatten(1)))),
    ("bmm", lambda s, x: x.flatten(2) @ x.flatten(2).transpose(1, 2)),
    ("mv", lambda s, x: x.flatten(1) @ x[0].flatten()),
    ("dot", lambda s, x: x[0].flatten() @ x[1].flatten()),
    ("vdot", lambda s, x: torch.vdot(x[0].flatten(), x[1].flatten())),
    ("addmv", lambda s, x: torch.addmv(x[0, 0, 0], x[0, 0], x[0, 0, 1])),
    ("baddbmm", lambda s, x: torch.baddbmm(x[0], x[0], x[1])),
    ("addbmm", lambda s, x: torch.addbmm(x[0, 0], x[0], x[1])),
    ("_grouped_mm", lambda s, x: in_groups(x.bfloat16())),
    (
        "torchvision::deform_conv2d",
        lambda s, x: torchvision.ops.deform_conv2d(x, x.repeat(1, 6, 1, 1), s.c.weight, padding=1),
    ),
    ("relu", lambda s, x: x.relu()),
    ("threshold", lambda s, x: F.threshold(x, 0, 0)),
    ("clamp", lambda s, x: x.clamp(0, 6)),
    ("clamp_min", lambda s, x: x.clamp_min(0)),
    ("clamp_max", lambda s, x: x.clamp_max(0)),
    ("hardtanh", lambda s, x: F.relu6(x)),
    ("leaky_relu", lambda s, x: F.leaky_relu(x)),
    ("maximum", lambda s, x: torch.maximum(x, x.relu())),
    ("max", lambda s, x: x.max()),
    ("min", lambda s, x: x.min(1)[0]),
    ("silu", lambda s, x: F.silu(x)),
    ("sigmoid", lambda s, x: x.sigmoid()),
    ("max_pool2d_with_indices", lambda s, x: F.max_pool2d(x, 2)),
    ("max_pool2d", inference(lambda s, x: F.max_pool2d(x, 2))),
    ("max_pool3d_with_indices", lambda s, x: F.max_pool3d(x[:, None], 2)),
    ("max_pool3d", inference(lambda s, x: F.max_pool3d(x[:, None], 2))),
    ("avg_pool2d", lambda s, x: F.avg_pool2d(x, 2)),
    ("avg_pool3d", lambda s, x: F.avg_pool3d(x[:, None], 2)),
    ("upsample_nearest1d", lambda s, x: F.interpolate(x.flatten(2), scale_factor=2)),
    ("upsample_nearest2d", lambda s, x: F.interpolate(x, scale_factor=2)),
    ("upsample_nearest3d", lambda s, x: F.interpolate(x[:, None], scale_factor=2)),
    ("_adaptive_avg_pool2d", lambda s, x: F.adaptive_avg_pool2d(x, 2)),
    ("native_group_norm", lambda s, x: F.group_norm(x, 3)),
    ("adaptive_avg_pool2d", inference(lambda s, x: F.adaptive_avg_pool2d(x, 2))),
    ("mean", lambda s, x: x.mean(1)),
    ("sum", lambda s, x: x.sum(1)),
    ("add", lambda s, x: x + x),
    ("sub", lambda s, x: x - 1),
    ("rsub", lambda s, x: 1 - x),
    ("neg", lambda s, x: -x),
    ("mul", lambda s, x: x * 2),
    ("div", lambda s, x: x / 2),
    ("true_divide", inference(lambda s, x: torch.true_divide(x, 2))),
    ("addcmul", lambda s, x: torch.addcmul(x, x, x.relu(), value=2)),
    ("native_dropout", lambda s, x: torch.native_dropout(x, 0.5, True)[0]),
    ("bernoulli", lambda s, x: x * torch.bernoulli(torch.full_like(x, 0.5))),
    ("rand", lambda s, x: x * torch.rand(8, device=x.device)),
    ("rand_like", lambda s, x: x * torch.rand_like(x)),
    ("uniform", lambda s, x: x * torch.empty_like(x).uniform_()),
    ("randn", lambda s, x: x * torch.randn(8, device=x.device)),
    ("randn_like", lambda s, x: x * torch.randn_like(x)),
    ("normal", lambda s, x: x * torch.empty_like(x).normal_()),
    ("normal_functional", lambda s, x: ops.normal_functional(x, 0.0, 1.0)),
    ("floor", lambda s, x: x.floor()),
    ("gt", lambda s, x: x * (x > 0)),
    ("ge", lambda s, x: x * (x >= 0)),
    ("lt", lambda s, x: x * (x < 0)),
    ("le", lambda s, x: x * (x <= 0)),
    ("zeros", lambda s, x: x + torch.zeros(8, device=x.device)),
    ("zeros_like", lambda s, x: x + torch.zeros_like(x)),
    ("new_zeros", lambda s, x: x + x.new_zeros(8)),
    ("zero", lambda s, x: x.clone().zero_()),
    ("ones", lambda s, x: x + torch.ones(8, device=x.device)),
    ("ones_like", lambda s, x: x + torch.ones_like(x)),
    ("new_ones", lambda s, x: x + x.new_ones(8)),
    ("full", lambda s, x: x + torch.full((8,), 2.0, device=x.device)),
    ("full_like", lambda s, x: x + torch.full_like(x, 2.0)),
    ("new_full", lambda s, x: x + x.new_full((8,), 2.0)),
    ("fill", lambda s, x: x.clone().fill_(2)),
    ("scalar_tensor", lambda s, x: x + torch.scalar_tensor(2.0, device=x.device)),
    ("empty", lambda s, x: x + torch.empty(8, device=x.device)),
    ("empty_like", lambda s, x: x + torch.empty_like(x)),
    ("new_empty", lambda s, x: x + x.new_empty(8)),
    ("empty_strided", lambda s, x: x + torch.empty_strided((8,), (1,), device=x.device)),
    ("new_empty_strided", lambda s, x: x + x.new_empty_strided((8,), (1,))),
    ("view", lambda s, x: x.view(2, -1)),
    ("_unsafe_view", lambda s, x: ops._unsafe_view(x, [2, 192])),
    ("reshape", inference(lambda s, x: x.reshape(2, 192))),
    ("_reshape_alias", lambda s, x: ops._reshape_alias(x, [2, 192], [192, 1])),
    ("_reshape_copy", lambda s, x: ops._reshape_copy(x, [2, 192])),
    ("unsqueeze", lambda s, x: x[:, None]),
    ("squeeze", lambda s, x: x[:, :1].squeeze(1)),
    ("flatten", inference(lambda s, x: x.flatten(1))),
    ("unflatten", inference(lambda s, x: x.unflatten(2, (2, 4)))),
    ("t", lambda s, x: x.flatten(1).t()),
    ("transpose", lambda s, x: x.transpose(1, 2)),
    ("permute", lambda s, x: x.permute(0, 2, 3, 1)),
    ("numpy_T", inference(lambda s, x: x.flatten(1).T)),
    ("expand", lambda s, x: x[:, :1].expand(2, 3, 8, 8)),
    ("broadcast_to", inference(lambda s, x: x.broadcast_to(4, 2, 3, 8, 8))),
    ("expand_as", inference(lambda s, x: x[:, :1].expand_as(x))),
    ("slice", lambda s, x: x[:, 1:]),
    ("select", lambda s, x: x[:, 1]),
    ("cat", lambda s, x: torch.cat([x, x])),
    ("stack", lambda s, x: torch.stack([x, x])),
    ("repeat", lambda s, x: x.repeat(1, 2, 1, 1)),
    ("constant_pad_nd", lambda s, x: F.pad(x, (1, 1))),
    ("clone", lambda s, x: x.clone()),
    ("contiguous", inference(lambda s, x: x.transpose(1, 2).contiguous())),
    ("alias", lambda s, x: ops.alias(x)),
    ("detach", lambda s, x: x.detach()),
    ("lift", lambda s, x: ops.lift(x)),
    ("lift_fresh", lambda s, x: ops.lift_fresh(x)),
    ("lift_fresh_copy", lambda s, x: ops.lift_fresh_copy(x)),
    ("positive", inference(lambda s, x: +x)),
    ("view_as", inference(lambda s, x: x.view_as(x))),
    ("_to_copy", lambda s, x: x.double()),
    ("to", inference(lambda s, x: x.to(torch.float64))),
    ("lerp", lambda s, x: x.lerp(s.c(x), 0.25)),
    ("as_strided", lambda s, x: x.as_strided((2, 3), (192, 64))),
    ("copy", lambda s, x: torch.empty_like(x).copy_(x)),
]


def test_every_reader_is_called() -> None:
    """No reader is without a call."""
    assert {name for name, _ in CALLS} == set(aten.READERS)


@pytest.mark.parametrize(("name", "function"), CALLS, ids=[name for name, _ in CALLS])
def test_reader_is_reached(name: str, function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real call of torch's, in train mode, reaches the reader, and the shape is torch's."""
    names: list[str] = []
    read = aten.read

    def spy(b: Builder, name: str, arguments: Any, shape: TensorShape) -> Node:
        names.append(name)
        return read(b, name, arguments, shape)

    monkeypatch.setattr(aten, "read", spy)
    net = of(function, c=conv(), n=nn.BatchNorm2d(3), l=nn.Linear(192, 4))
    end = seen(net, training=True).outputs[""]
    assert name in names
    with torch.device("meta"):
        shape = copy.deepcopy(net).to("meta")(torch.empty(2, *IMAGE)).shape
    assert end.shape == tuple(shape)
    assert rowless(Subject(net).observe(At(IMAGE, training=True), Form.AS_RUN)) <= UNREAD


UNREAD = {  # kinds without a row that readers pass on because they do not know what they come to
    "bernoulli",  # one of chances that are computed
}


def rowless(graph: Graph) -> set[str]:
    """The kinds of operation in a graph of which nothing is known."""
    return {node.kind for node in graph.nodes if node.kind not in kinds.LEAVES and node.kind not in kinds.KINDS}


def test_a_kind_without_a_row_is_seen() -> None:
    """The test of the readers would fail."""
    assert rowless(Subject(of(lambda s, x: x.logcumsumexp(1))).observe(At(IMAGE), Form.AS_RUN)) == {"logcumsumexp"}


def test_tables_have_no_row_twice() -> None:
    """Each case has its own name."""
    for table in (
        WRITTEN,
        PARAMETRIZED,
        TRACED,
        RETURNED,
        UNREAD,
        DROPPED,
        NOISE,
        BATCH_NORMS,
        KINDS,
        INFERENCE,
        CALLS,
    ):
        names = [row[0] for row in table]  # type: ignore[index]
        assert len(names) == len(set(names))


# By chance: what is in place, and what is not


def test_in_place_is_out_of_place() -> None:
    """60 random programs in place and on views have the graphs of the same programs without any memory shared."""
    for seed in range(60):
        chance = random.Random(seed)
        steps = [(chance.choice(STEPS), chance.randrange(3), chance.randrange(3)) for _ in range(6)]
        assert said(of(lambda s, x, run=steps: program(run, x, True))) == said(
            of(lambda s, x, run=steps: program(run, x, False))
        ), steps


IN_PLACE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda a, b: a.relu_(),
    "tanh": lambda a, b: a.tanh_(),
    "add": lambda a, b: a.add_(b),
    "mul": lambda a, b: a.mul_(b),
    "double": lambda a, b: a.view(-1).mul_(2),
}
OUT_OF_PLACE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda a, b: a.relu(),
    "tanh": lambda a, b: a.tanh(),
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "double": lambda a, b: a * 2,
}
STEPS = (*IN_PLACE, "view", "clone")


def program(steps: list[tuple[str, int, int]], x: Tensor, in_place: bool) -> Tensor:
    """Three values, changed in turn; where not in place, by assigning to every name of the same memory."""
    values = [x * 2, x * 3, x * 5]
    owner = [0, 1, 2]
    for step, i, j in steps:
        if step == "view":
            values[i] = values[j].view(-1).view(x.shape) if in_place else values[j]
            owner[i] = owner[j]
        elif step == "clone":
            values[i] = values[j].clone()
            owner[i] = max(owner) + 1
        elif in_place:
            IN_PLACE[step](values[i], values[j])
        else:
            new = OUT_OF_PLACE[step](values[i], values[j])
            values = [new if owner[at] == owner[i] else value for at, value in enumerate(values)]
    return torch.cat(values, 1)
