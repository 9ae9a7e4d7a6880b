"""Two graphs side by side: no difference is missed, none is invented, and each is told once, at its place."""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rv_check.errors import Document, Place
from rv_check.graphs.align import align, flow
from rv_check.graphs.builder import Builder
from rv_check.graphs.differences import DifferenceKind, Slot
from rv_check.graphs.explain import Mistake, explain
from rv_check.graphs.graph import Graph, Node, State
from rv_check.graphs.match import Match, match
from rv_check.graphs.network import At
from rv_check.modules.observe import Subject
from rv_check.ops.kinds import KINDS
from tests.unit.seeds import seeds
from tests.unit.work import lines_of

Function = Callable[[Any, Tensor], Any]
SHAPE = (2, 4, 8, 8)
DOCUMENT = Document(Path("net.yaml"), ())
pytestmark = pytest.mark.filterwarnings("ignore")

# Networks put together by chance


@dataclass(frozen=True)
class Step:
    """One operation of a network: its arguments, the steps whose values it takes (-1: the input) and its layer."""

    kind: str
    inputs: tuple[int, ...]
    arguments: tuple[tuple[str, Any], ...] = ()
    layer: str = ""


ROLES = {"conv": {"weight": (4, 4, 3, 3)}, "batchnorm": {"weight": (4,), "bias": (4,), "running_mean": (4,)}}
ARGUMENTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "conv": {"dilation": ((1, 1), (2, 2)), "groups": (1, 2)},
    "batchnorm": {"eps": (1e-5, 1e-3), "statistics": ("running", "of the batch")},
    "dropout": {"p": (0.1, 0.5), "of": ("elements", "channels")},
    "maxpool": {"kernel": ((3, 3), (5, 5)), "ceil_mode": (False, True)},
    "concat": {"axis": (1, 2)},
}
PLAIN = ("relu", "silu", "sigmoid")
SLIDING = {"out": 4, "kernel": (3, 3)}
Network = list[Step]


def by_chance(chance: random.Random, length: int) -> Network:
    """A network whose every value is used, or put together at its end."""
    steps: Network = []
    for at in range(length):
        kind = chance.choice(("conv", "conv", "batchnorm", "relu", "silu", "dropout", "maxpool", "sum", "product"))
        recent = [max(-1, at - 1 - int(chance.expovariate(0.7))) for _ in range(2)]
        inputs: tuple[int, ...] = (recent[0],)
        if KINDS[kind].commutes:
            inputs = tuple(recent) if recent[0] != recent[1] else (recent[0], -1)
        arguments = tuple((name, chance.choice(values)) for name, values in ARGUMENTS.get(kind, {}).items())
        steps.append(Step(kind, inputs, arguments, f"layer{at}" if kind in ROLES else ""))
    used = {i for step in steps for i in step.inputs}
    ends = tuple(at for at in range(length) if at not in used)
    return [*steps, Step("concat", ends, (("axis", 1),))]


def graph_of(network: Network, rename: Callable[[str], str] = str, chance: random.Random | None = None) -> Graph:
    """The graph of a network; with `chance` the terms of its sums are in another order."""
    x = Node("input", shape=SHAPE, name="input")
    nodes: list[Node] = []
    state: dict[str, tuple[int, ...]] = {}
    for at, step in enumerate(network):
        feeds = [nodes[i] if i >= 0 else x for i in step.inputs]
        if chance is not None and KINDS[step.kind].commutes:
            chance.shuffle(feeds)
        name = rename(step.layer)
        tensors = {role: State(f"{name}.{role}", shape) for role, shape in ROLES.get(step.kind, {}).items()}
        state.update({one.name: one.shape for one in tensors.values()})
        path = name or rename(f"step{at}")
        arguments = {**SLIDING, **dict(step.arguments)} if step.kind == "conv" else dict(step.arguments)
        nodes.append(Node(step.kind, tuple(feeds), SHAPE, arguments, tensors, path))
    return Builder().finish(Graph(x, {"": nodes[-1]}, state, frozenset(state)))


def renamed(name: str) -> str:
    """Another name for a layer."""
    return f"other.{name[::-1]}" if name else ""


@seeds(60)
def test_same_by_another_name(seed: int) -> None:
    """A network is itself, whatever its layers are called; the map gives each parameter's name."""
    network = by_chance(random.Random(seed), 4 + seed % 20)
    found = match(graph_of(network), graph_of(network, renamed))
    assert found.same, found.differences
    expected = {
        f"{step.layer}.{role}": Slot(f"{renamed(step.layer)}.{role}")
        for step in network
        if step.layer
        for role in ROLES[step.kind]
    }
    assert found.map == expected


@seeds(60)
def test_same_in_another_order(seed: int) -> None:
    """The order of the terms of a sum does not matter."""
    chance = random.Random(seed)
    network = by_chance(chance, 4 + seed % 20)
    found = match(graph_of(network), graph_of(network, renamed, chance))
    assert found.same, [(d.kind, d.details) for d in found.differences]


def test_branches_that_look_alike() -> None:
    """Of two branches that look alike the one that is used again is found, in whichever order they are added."""
    base = [
        Step("conv", (-1,), (), "a"),
        Step("conv", (-1,), (), "b"),
        Step("sum", (0, 1)),
        Step("silu", (2,)),
        Step("concat", (3, 0), (("axis", 1),)),
    ]
    other = [*base[:2], Step("sum", (1, 0)), *base[3:]]
    found = match(graph_of(base), graph_of(other))
    assert found.same, [(d.kind, d.details) for d in found.differences]
    assert found.map == {"a.weight": Slot("a.weight"), "b.weight": Slot("b.weight")}


def mutated(network: Network, chance: random.Random) -> tuple[str, Network]:
    """The network with one thing changed, so that it is another one for certain."""
    while True:
        at = chance.randrange(len(network))
        step = network[at]
        what = chance.choice(("argument", "kind", "edge", "sharing", "out", "in"))
        other = list(network)
        if what == "argument" and step.arguments:
            i = chance.randrange(len(step.arguments))
            name, value = step.arguments[i]
            new = next(v for v in ARGUMENTS[step.kind][name] if v != value)
            other[at] = replace(step, arguments=(*step.arguments[:i], (name, new), *step.arguments[i + 1 :]))
        elif what == "kind" and step.kind in PLAIN:
            other[at] = replace(step, kind=chance.choice([kind for kind in PLAIN if kind != step.kind]))
        elif what == "edge":
            i = chance.randrange(len(step.inputs))
            inputs = (*step.inputs[:i], chance.randrange(-1, at), *step.inputs[i + 1 :])
            if len(set(inputs)) == len(inputs):
                other[at] = replace(step, inputs=inputs)
        elif what == "sharing" and step.layer:
            layers = [one.layer for one in network if one.kind == step.kind and one.layer != step.layer]
            if layers:
                other[at] = replace(step, layer=chance.choice(layers))
                return what, other  # it has fewer parameters than the other
        elif what == "out" and KINDS[step.kind].family != "join":
            (before,) = step.inputs
            other = [replace(s, inputs=tuple(before if i == at else i for i in s.inputs)) for s in network]
            other[at] = replace(step, kind="nothing", inputs=(before,), layer="", arguments=())
            other = without(other, at)
        elif what == "in":
            i = chance.randrange(-1, at)
            other.append(Step("relu", (i,)))
            added = len(other) - 1
            other[at] = replace(step, inputs=tuple(added if one == i else one for one in step.inputs))
            if other[at] == step:
                continue
            order = [*range(at), added, *range(at, added)]
            moved = {old: new for new, old in enumerate(order)} | {-1: -1}
            other = [replace(other[old], inputs=tuple(moved[i] for i in other[old].inputs)) for old in order]
        if graph_of(other).outputs[""].key != graph_of(network).outputs[""].key:
            return what, other


def without(network: Network, at: int) -> Network:
    """The network without a step that nobody uses."""
    left = network[:at] + network[at + 1 :]
    return [replace(step, inputs=tuple(i - (i > at) for i in step.inputs)) for step in left]


@seeds(150)
def test_no_change_is_missed(seed: int) -> None:
    """One change at random, and the networks are not the same, in either direction; something is told."""
    chance = random.Random(seed)
    network = by_chance(chance, 4 + seed % 20)
    what, other = mutated(network, chance)
    for one, two in ((network, other), (other, network)):
        found = match(graph_of(one), graph_of(two, renamed))
        assert not found.same, what
        assert explain(found)


@seeds(40)
def test_different_networks(seed: int) -> None:
    """Two networks that have nothing to do with each other are not the same, and comparing them is no error."""
    a, b = (graph_of(by_chance(random.Random(1000 * seed + i), 3 + seed % 9)) for i in (1, 2))
    found = match(a, b)
    assert found.same == (a.outputs[""].key == b.outputs[""].key)
    assert bool(explain(found)) != found.same


# Observed networks


def observed(module: nn.Module, x: tuple[int, ...] = SHAPE[1:], training: bool = False) -> Graph:
    """Its graph."""
    return Subject(module).observe(At(x, training=training))


def conv(out: int = 4, given: int = 4, **arguments: Any) -> nn.Conv2d:
    """A 3x3 convolution."""
    return nn.Conv2d(given, out, 3, padding=arguments.pop("padding", 1), **arguments)


def layers() -> dict[str, nn.Module]:
    """The parts of a small residual network."""
    return {
        "c1": conv(bias=False),
        "n1": nn.BatchNorm2d(4),
        "c2": conv(bias=False),
        "n2": nn.BatchNorm2d(4),
        "fc": nn.Linear(4, 3),
    }


def body(s: Any, x: Tensor) -> Tensor:
    """A residual block and a head."""
    y = s.n2(s.c2(s.n1(s.c1(x)).relu()))
    return s.fc(F.adaptive_avg_pool2d((x + y).relu(), 1).flatten(1))  # type: ignore[no-any-return]


def base() -> nn.Module:
    """The network that is expected."""
    return Plain(body, layers())


class Plain(nn.Module):
    """A function of parts, and nothing else."""

    def __init__(self, function: Function, parts: dict[str, Any]):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def like_base(function: Function = body, **parts: Any) -> nn.Module:
    """The network with another function or other parts."""
    return Plain(function, {**layers(), **parts})


def shared_norm() -> nn.Module:
    """One norm in two places."""
    norm = nn.BatchNorm2d(4)
    return like_base(n1=norm, n2=norm)


class Hidden:
    """Not a module: what it holds is not registered."""

    def __init__(self, part: nn.Module):
        self.part = part

    def __call__(self, x: Tensor) -> Any:
        return self.part(x)


def head(s: Any, x: Tensor) -> Tensor:
    """The pool and the linear layer."""
    return s.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def mistake(function: Callable[[Any, Tensor], Tensor]) -> Callable[[], nn.Module]:
    """The network with another residual block."""
    return lambda: like_base(lambda s, x: head(s, function(s, x)))


MISTAKES: list[tuple[str, Callable[[], nn.Module], str, str, str]] = [
    # name, network, kind, words of the title, the module's path or the expected one's step
    (
        "no relu",
        mistake(lambda s, x: (x + s.n2(s.c2(s.n1(s.c1(x))))).relu()),
        "missing",
        "missing relu",
        "",
    ),
    ("no norm", lambda: like_base(n2=nn.Identity()), "missing", "missing batchnorm", ""),
    (
        "a norm that is not called",
        mistake(lambda s, x: (x + s.c2(s.n1(s.c1(x)).relu())).relu()),
        "missing",
        "missing batchnorm",
        "n2",
    ),
    ("no residual", mistake(lambda s, x: s.n2(s.c2(s.n1(s.c1(x)).relu())).relu()), "missing", "missing sum", ""),
    (
        "another relu",
        mistake(lambda s, x: (x + s.n2(s.c2(s.n1(s.c1(x)).relu())).relu()).relu()),
        "extra",
        "extra relu",
        "",
    ),
    (
        "dropout",
        mistake(lambda s, x: (x + F.dropout(s.n2(s.c2(s.n1(s.c1(x)).relu())), 0.5, True)).relu()),
        "extra",
        "extra dropout",
        "",
    ),
    (
        "relu before the sum",
        mistake(lambda s, x: x + s.n2(s.c2(s.n1(s.c1(x)).relu())).relu()),
        "moved",
        "relu",
        "",
    ),
    (
        "norm after relu",
        mistake(lambda s, x: (x + s.n2(s.c2(s.n1(s.c1(x).relu())))).relu()),
        "moved",
        "",
        "",
    ),
    ("another eps", lambda: like_base(n1=nn.BatchNorm2d(4, eps=1e-3)), "arguments", "batchnorm with eps 0.001", "n1"),
    ("a bias", lambda: like_base(c2=conv()), "arguments", "conv with bias one, expected bias none", "c2"),
    ("groups", lambda: like_base(c1=conv(bias=False, groups=2)), "arguments", "groups 2", "c1"),
    (
        "silu",
        mistake(lambda s, x: (x + s.n2(s.c2(F.silu(s.n1(s.c1(x)))))).relu()),
        "arguments",
        "silu instead of relu",
        "",
    ),
    (
        "max-pool for the mean",
        lambda: like_base(
            lambda s, x: s.fc(F.adaptive_max_pool2d((x + s.n2(s.c2(s.n1(s.c1(x)).relu()))).relu(), 1).flatten(1))
        ),
        "arguments",
        "adaptive_max_pool2d",
        "",
    ),
    (
        "a group norm",
        lambda: like_base(n2=nn.GroupNorm(2, 4)),
        "arguments",
        "groupnorm",
        "n2",
    ),
    ("fewer classes", lambda: like_base(fc=nn.Linear(4, 2)), "arguments", "out 2, expected out 3", "fc"),
    (
        "the skip begins elsewhere",
        mistake(lambda s, x: (lambda y: (y + s.n2(s.c2(y.relu()))).relu())(s.n1(s.c1(x)))),
        "wiring",
        "sum takes",
        "",
    ),
    (
        "the first result passed on",
        mistake(lambda s, x: (x + s.n2(s.c2((lambda y: (y, y.relu())[0])(s.n1(s.c1(x)))))).relu()),
        "wiring",
        "conv takes n1 (batchnorm), expected relu",
        "c2",
    ),
    ("one norm twice", shared_norm, "shared", "share 4", "n"),
    (
        "an unused layer",
        lambda: like_base(spare=nn.Linear(3, 3)),
        "unused",
        "2 parameters are never used: spare.weight, spare.bias",
        "",
    ),
    (
        "a layer in a list",
        lambda: like_base(c2=Hidden(conv(bias=False))),
        "unregistered",
        "no parameter of the module",
        "",
    ),
    (
        "sigmoid for the residual's relu",
        mistake(lambda s, x: (x + s.n2(s.c2(s.n1(s.c1(x)).relu()))).sigmoid()),
        "arguments",
        "sigmoid instead of relu",
        "",
    ),
    (
        "softmax",
        lambda: like_base(lambda s, x: body(s, x).softmax(1)),
        "extra",
        "extra softmax",
        "",
    ),
]


@pytest.mark.parametrize("case", MISTAKES, ids=[case[0] for case in MISTAKES])
def test_one_cause_is_one_difference(case: tuple[str, Callable[[], nn.Module], str, str, str]) -> None:
    """One mistake is told once, as what it is, at its place."""
    _, make, kind, words, path = case
    found = match(observed(base()), observed(make()))
    told = explain(found)
    assert [one.kind for one in told] == [kind], [one.title for one in told]
    assert words in told[0].title
    assert told[0].count == 1
    if path:
        if kind != "missing":  # the module has no path of it: it is that of what stands there
            assert told[0].path.startswith(path)
        assert path in told[0].step or told[0].step.startswith(path)


def test_every_kind_of_difference_has_a_mistake() -> None:
    """Each kind is among them, or in tests of its own: `replaced`, `output`, `state`, `constant`."""
    kinds = {case[2] for case in MISTAKES} | {"replaced", "output", "state", "constant"}
    assert set(get_args(DifferenceKind)) <= kinds


def test_base_is_itself() -> None:
    """The network of the mistakes is the same as itself, and all is mapped."""
    found = match(observed(base()), observed(base()))
    assert found.same
    assert explain(found) == []
    assert {name: slot.name for name, slot in found.map.items()} == {name: name for name in base().state_dict()}


REWRITTEN: list[tuple[str, Function]] = [
    ("functions", lambda s, x: head(s, F.relu(s.n2(s.c2(F.relu(s.n1(F.conv2d(x, s.c1.weight, padding=1))))) + x))),
    ("in place", lambda s, x: head(s, s.n2(s.c2(s.n1(s.c1(x)).relu_())).add_(x).relu_())),
    ("a mean", lambda s, x: s.fc((s.n2(s.c2(s.n1(s.c1(x)).relu())) + x).relu().mean((2, 3)))),
    ("relu twice", lambda s, x: head(s, (x + s.n2(s.c2(s.n1(s.c1(x)).relu().relu()))).relu())),
    (
        "padding apart",
        lambda s, x: head(s, (x + s.n2(s.c2(s.n1(F.conv2d(F.pad(x, (1,) * 4), s.c1.weight)).relu()))).relu()),
    ),
    (
        "addmm",
        lambda s, x: torch.addmm(
            s.fc.bias, (x + s.n2(s.c2(s.n1(s.c1(x)).relu()))).relu().mean((2, 3)), s.fc.weight.t()
        ),
    ),
    ("dead code", lambda s, x: (x.sigmoid(), body(s, x))[1]),
]


@pytest.mark.parametrize("function", [case[1] for case in REWRITTEN], ids=[case[0] for case in REWRITTEN])
def test_rewritten_is_the_same(function: Function) -> None:
    """Other words for the same network, in either role, with the right map."""
    for one, two in ((base(), like_base(function)), (like_base(function), base())):
        found = match(observed(one), observed(two))
        assert found.same, [(d.kind, d.details) for d in found.differences]
        assert {name: slot.name for name, slot in found.map.items()} == {name: name for name in base().state_dict()}


def test_output_elsewhere() -> None:
    """What is returned is not the last operation, though all of them are there."""
    one = like_base(lambda s, x: s.c1(x).relu().sigmoid())
    other = like_base(lambda s, x: (lambda y: (y.sigmoid(), y)[1])(s.c1(x).relu()))
    (told,) = explain(match(observed(one), observed(other)))
    assert told.kind == "output"
    assert told.title == "the output is relu (relu), expected sigmoid (sigmoid)"


def test_replaced() -> None:
    """One operation in the place of another of no kin."""
    one = graph_of([Step("conv", (-1,), (), "a"), Step("relu", (0,)), Step("conv", (1,), (), "b")])
    two = graph_of([Step("conv", (-1,), (), "a"), Step("cumsum", (0,)), Step("conv", (1,), (), "b")])
    (told,) = explain(match(one, two))
    assert (told.kind, told.title) == ("replaced", "cumsum instead of relu")


def stack(count: int, change: Callable[[int], dict[str, Any]], places: bool = True, eps: float = 1e-5) -> Graph:
    """Convolutions and norms in turn, all norms from one line of the spec; `change`: other arguments of one."""
    x = Node("input", shape=SHAPE, name="input")
    y, state = x, {}
    lines = [Place(DOCUMENT, line, 1) if places else None for line in (3, 4)]
    for at in range(count):
        names = {"conv": f"layers.{at}.conv", "batchnorm": f"layers.{at}.bn"}
        tensors = {
            kind: {role: State(f"{names[kind]}.{role}", shape) for role, shape in roles.items()}
            for kind, roles in ROLES.items()
        }
        state.update({one.name: one.shape for roles in tensors.values() for one in roles.values()})
        y = Node("conv", (y,), SHAPE, {**SLIDING, "groups": 1}, tensors["conv"], names["conv"], lines[0])
        y = Node(
            "batchnorm", (y,), SHAPE, {"eps": eps, **change(at)}, tensors["batchnorm"], names["batchnorm"], lines[1]
        )
    return Builder().finish(Graph(x, {"": y}, state, frozenset(state)))


@pytest.mark.parametrize("count", [2, 5, 50])
def test_one_mistake_in_all_norms(count: int) -> None:
    """A wrong eps in every norm is one mistake, made that many times."""
    (told,) = explain(match(stack(count, lambda at: {}), stack(count, lambda at: {"eps": 1e-3}, False)))
    assert told.count == count
    assert told.title == f"batchnorm with eps 0.001, expected eps 1e-05, x{count}"
    assert told.step == told.path == "layers.0.bn"
    more = f", and {count - 3} more" if count > 3 else ""
    shown = ", ".join(f"layers.{at}.bn" for at in range(min(3, count)))
    assert f"at {shown}{more}" in told.lines
    assert not any("are right" in line for line in told.lines)
    assert any("Keras" in line for line in told.lines)


def test_the_others_are_right() -> None:
    """A wrong eps in one norm of five: the others, from the same line of the spec, are right."""
    (told,) = explain(match(stack(5, lambda at: {}), stack(5, lambda at: {"eps": 1e-3} if at == 2 else {}, False)))
    assert (told.count, told.step, told.path) == (1, "layers.2.bn", "layers.2.bn")
    assert "the other 4 are right" in told.lines
    (told,) = explain(match(stack(2, lambda at: {}), stack(2, lambda at: {"eps": 1e-3} if at else {}, False)))
    assert "the other one is right" in told.lines


def test_two_mistakes_are_two() -> None:
    """Different mistakes in the same place are not one, and stand in the order of the flow."""
    changes = {1: {"eps": 1e-3}, 3: {"eps": 1e-4}}
    told = explain(match(stack(5, lambda at: {}), stack(5, lambda at: changes.get(at, {}), False)))
    assert [(one.step, one.found) for one in told] == [("layers.1.bn", "eps 0.001"), ("layers.3.bn", "eps 0.0001")]
    assert told[0].at < told[1].at


def test_stride_in_another_place() -> None:
    """Two convolutions with each other's stride: the stride has moved."""

    def net(first: int, second: int) -> Graph:
        return graph_of(
            [
                Step("conv", (-1,), (("kernel", (1, 1)), ("stride", (first, first))), "a"),
                Step("relu", (0,)),
                Step("conv", (1,), (("kernel", (3, 3)), ("stride", (second, second))), "b"),
            ]
        )

    (told,) = explain(match(net(1, 2), net(2, 1)))
    assert told.kind == "moved"
    assert told.title.startswith("stride 2 on a (conv), expected on b (conv)")
    assert any("v1.5" in line for line in told.lines)


def test_mistakes_of_both_sides_have_places() -> None:
    """A mistake has the line of the spec, and the module's path."""
    (told,) = explain(match(stack(3, lambda at: {}), stack(3, lambda at: {"eps": 1e-3} if at == 1 else {}, False)))
    assert told.place == Place(DOCUMENT, 4, 1)
    assert told.call is None
    assert [line.split()[0] for line in told.lines[:2]] == ["yours", "spec"]
    (told,) = explain(match(stack(3, lambda at: {}), stack(3, lambda at: {"eps": 1e-3})), ("b", "a"))
    assert [line.split()[0] for line in told.lines[:2]] == ["b", "a"]


# Soundness where the operations are not all there is: leaves, weights and their sharing


def scaled(p: str, q: str) -> nn.Module:
    """Two convolutions, each with a scale."""
    parts = {"a": conv(), "b": conv(), **{name: nn.Parameter(torch.ones(1, 4, 1, 1)) for name in sorted((p, q))}}
    return Plain(lambda s, x: s.b((s.a(x) * getattr(s, p)).relu()) * getattr(s, q), parts)


def two(function: Function, **parts: Any) -> Callable[[], nn.Module]:
    """A network of two square linear layers, or other parts."""
    own = {"a": nn.Linear(8, 8, False), "b": nn.Linear(8, 8, False)}
    return lambda: Plain(function, {**own, **parts})


def of_image(function: Function, **parts: Any) -> Callable[[], nn.Module]:
    """A network with a convolution, or other parts."""
    return lambda: Plain(function, {"c": conv(), "p": nn.Parameter(torch.ones(4, 4, 8, 8)), **parts})


def mask(x: Tensor) -> Tensor:
    """A mask of chance."""
    return torch.empty_like(x).bernoulli_(0.5)


def two_masks(s: Any, x: Tensor) -> Tensor:
    """A mask for each value."""
    return s.c(x) * mask(x) + x.tanh() * mask(x)  # type: ignore[no-any-return]


def one_mask(s: Any, x: Tensor) -> Tensor:
    """One for both."""
    shared = mask(x)
    return s.c(x) * shared + x.tanh() * shared  # type: ignore[no-any-return]


UNLIKE: list[tuple[str, Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, ...]]] = [
    (
        "another number everywhere",
        of_image(lambda s, x: s.c(x) + torch.full_like(x, 5)),
        of_image(lambda s, x: s.c(x) + torch.full_like(x, 7)),
        SHAPE[1:],
    ),
    (
        "zeros and ones",
        of_image(lambda s, x: torch.cat([s.c(x), torch.zeros_like(x)], 1)),
        of_image(lambda s, x: torch.cat([s.c(x), torch.ones_like(x)], 1)),
        SHAPE[1:],
    ),
    (
        "noise of another kind",
        of_image(lambda s, x: s.c(x) + torch.rand_like(x)),
        of_image(lambda s, x: s.c(x) + torch.randn_like(x)),
        SHAPE[1:],
    ),
    (
        "a number for noise",
        of_image(lambda s, x: s.c(x) + torch.full_like(x, 5)),
        of_image(lambda s, x: s.c(x) + torch.rand_like(x)),
        SHAPE[1:],
    ),
    ("one mask for two", of_image(two_masks), of_image(one_mask), SHAPE[1:]),
    (
        "a parameter and a constant",
        of_image(lambda s, x: s.c(x) + s.p[0]),
        of_image(lambda s, x: s.c(x) + torch.ones_like(x)[0]),
        SHAPE[1:],
    ),
    (
        "another part of a parameter",
        of_image(lambda s, x: s.c(x) + s.p[0]),
        of_image(lambda s, x: s.c(x) + s.p[1]),
        SHAPE[1:],
    ),
    ("one scale for two", lambda: scaled("p", "q"), lambda: scaled("p", "p"), SHAPE[1:]),
    ("two scales for one", lambda: scaled("p", "p"), lambda: scaled("p", "q"), SHAPE[1:]),
    (
        "a tied weight, and the same transposed",
        two(lambda s, x: F.linear(s.a(x), s.a.weight)),
        two(lambda s, x: F.linear(s.a(x), s.a.weight.t())),
        (8,),
    ),
    (
        "a weight that is scaled otherwise",
        two(lambda s, x: F.linear(x, s.a.weight * -1)),
        two(lambda s, x: F.linear(x, s.a.weight * -2)),
        (8,),
    ),
    (
        "a weight computed from one parameter or from two",
        two(lambda s, x: F.linear(x, s.a.weight.tanh() * s.b.weight.sigmoid())),
        two(lambda s, x: F.linear(x, s.a.weight.tanh() * s.a.weight.sigmoid())),
        (8,),
    ),
    (
        "parts in another order, with a parameter",
        of_image(lambda s, x: torch.cat([s.c(x), x, s.p[:2]], 1)),
        of_image(lambda s, x: torch.cat([x, s.c(x), s.p[:2]], 1)),
        SHAPE[1:],
    ),
    (
        "another term of a sum, with a parameter",
        of_image(lambda s, x: (lambda y: torch.cat([s.p[:2] + y + x, y.tanh()], 1))(s.c(x))),
        of_image(lambda s, x: (lambda y: torch.cat([s.p[:2] + y + y.tanh(), y.tanh()], 1))(s.c(x))),
        SHAPE[1:],
    ),
    (
        "the input twice",
        of_image(lambda s, x: s.c(x) + x),
        of_image(lambda s, x: s.c(x) + x + x),
        SHAPE[1:],
    ),
    (
        "a difference the other way round",
        of_image(lambda s, x: s.c(x) - x),
        of_image(lambda s, x: x - s.c(x)),
        SHAPE[1:],
    ),
    (
        "a quotient the other way round",
        of_image(lambda s, x: s.c(x) / x),
        of_image(lambda s, x: x / s.c(x)),
        SHAPE[1:],
    ),
    (
        "rounding",
        of_image(lambda s, x: s.c(x)),
        of_image(lambda s, x: s.c(x).half().float()),
        SHAPE[1:],
    ),
]


@pytest.mark.parametrize("case", UNLIKE, ids=[case[0] for case in UNLIKE])
def test_unlike(
    case: tuple[str, Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, ...]],
) -> None:
    """Networks that are not isomorphic are not the same, whatever it is that is not, in either direction."""
    _, one, other, x = case
    a, b = (observed(make(), x, training=True) for make in (one, other))
    assert not match(a, b).same
    assert not match(b, a).same


def test_parameters_that_are_values_are_mapped() -> None:
    """A parameter that is no layer's weight, as a scale, has a place in the map, too."""
    found = match(observed(scaled("p", "q")), observed(scaled("s", "r")))
    assert found.same
    assert {name: slot.name for name, slot in found.map.items() if name in "pq"} == {"p": "s", "q": "r"}


def test_parameters_that_are_values_stand_for_each_other() -> None:
    """Two such parameters of the expected names, each in the other's place: a state loads, and means something else."""
    found = match(observed(scaled("p", "q")), observed(scaled("q", "p")))
    assert [(one.kind, one.details) for one in found.differences] == [
        ("state", {"value": ("q", "p")}),
        ("state", {"value": ("p", "q")}),
    ]


def test_map_of_a_weight_in_another_shape() -> None:
    """The map says how a parameter of another shape becomes the one that is expected."""
    one = Plain(lambda s, x: s.fc(x), {"fc": nn.Linear(4, 6, bias=False)})
    other = Plain(lambda s, x: x @ s.w, {"w": nn.Parameter(torch.ones(4, 6))})
    found = match(observed(one, (4,)), observed(other, (4,)))
    assert found.same
    assert found.map == {"fc.weight": Slot("w", (("permute", (1, 0)),))}


def test_tied_parameters_are_told_both_ways() -> None:
    """One for two, and two for one."""
    tied = [Step("conv", (-1,), (), "a"), Step("relu", (0,)), Step("conv", (1,), (), "a")]
    apart = [*tied[:2], replace(tied[2], layer="b")]
    (told,) = explain(match(graph_of(apart), graph_of(tied)))
    assert told.kind == "shared"
    assert "a.weight" in told.title
    (told,) = explain(match(graph_of(tied), graph_of(apart)))
    assert told.kind == "shared"
    assert match(graph_of(tied), graph_of(tied, renamed)).same


def test_same_says_by_which_rules() -> None:
    """A network that is written otherwise is the same by rules, which are said."""
    other = like_base(lambda s, x: s.fc((x + s.n2(s.c2(s.n1(s.c1(x)).relu()))).relu().mean((2, 3))))
    assert match(observed(base()), observed(other)).rules == ["a mean over rows and columns is a global pool"]
    assert match(observed(base()), observed(base())).rules == []


# The order of the flow


def test_flow_is_an_order() -> None:
    """Each operation stands after what it uses, once, and no leaf is among them."""
    for seed in range(30):
        graph = graph_of(by_chance(random.Random(seed), 20))
        order = flow(graph)
        at = {node: i for i, node in enumerate(order)}
        assert len(at) == len(order)
        assert set(order) == {node for node in graph.nodes if node.kind != "input"}
        assert all(at[feed] < at[node] for node in order for feed in node.feeds if feed in at)


def test_flow_goes_along_the_longest_branch_first() -> None:
    """The main path of a residual block comes before its shortcut, in whichever order they are added."""
    for order in ((2, 3), (3, 2)):
        network = [
            Step("conv", (-1,), (), "a"),
            Step("relu", (0,)),
            Step("conv", (1,), (), "b"),
            Step("conv", (-1,), (), "short"),
            Step("sum", order),
        ]
        assert [node.name for node in flow(graph_of(network))] == ["a", "step1", "b", "short", "step4"]


def test_flow_has_what_is_not_used() -> None:
    """What is computed and not used stands behind what it is computed from."""

    def function(s: Any, x: Tensor) -> Tensor:
        y = s.c1(x)
        y.relu()
        return s.c2(y)  # type: ignore[no-any-return]

    order = [node.kind for node in flow(observed(like_base(function)))]
    assert order == ["conv", "relu", "conv"]


# The alignment


def chain(kinds: Sequence[str], changed: int = -1) -> Graph:
    """Operations one after the other."""
    steps = [
        Step(kind, (at - 1,), (("dilation", (2, 2)),) if at == changed else (), f"layer{at}" if kind in ROLES else "")
        for at, kind in enumerate(kinds)
    ]
    return graph_of(steps)


def crossing(pairs: dict[Node, Node], a: list[Node], b: list[Node]) -> bool:
    """Whether a pair crosses another."""
    at = {node: i for i, node in enumerate(b)}
    places = [at[pairs[node]] for node in a if node in pairs]
    return places != sorted(places)


def test_alignment_is_one_to_one() -> None:
    """Pairs are of the same or a related kind, each operation is in one at most, and no two cross."""
    for seed in range(40):
        a, b = (flow(graph_of(by_chance(random.Random(seed * 100 + i), 15))) for i in (1, 2))
        pairs = align(a, b)
        assert set(pairs) <= set(a)
        assert set(pairs.values()) <= set(b)
        assert max(Counter(pairs.values()).values()) == 1
        assert not crossing(pairs, a, b)


def test_alignment_with_itself() -> None:
    """Every operation is its own counterpart."""
    for seed in range(20):
        network = by_chance(random.Random(seed), 25)
        a, b = flow(graph_of(network)), flow(graph_of(network, renamed))
        assert [align(a, b)[node] for node in a] == b


def test_alignment_of_nothing() -> None:
    """Nothing has no counterpart."""
    a = flow(chain(["conv", "relu"]))
    assert align(a, []) == align([], a) == align([], []) == {}


def test_what_is_besides_is_a_thing_of_its_own() -> None:
    """Of a block that stands there twice it is all of the second one that is besides, not parts of both.

    By the names that its parameters keep; where they have others, by where blocks begin.
    """
    kinds = ("conv", "batchnorm", "silu", "conv", "batchnorm", "silu")

    def net(*blocks: str) -> Network:
        layers = [(kind, f"{block}.{at}") for block in blocks for at, kind in enumerate(kinds)]
        return [Step(kind, (at - 1,), (), layer) for at, (kind, layer) in enumerate(layers)]

    def told(expected: Network, found: Network, rename: Callable[[str], str] = str) -> list[str]:
        (difference,) = match(graph_of(expected), graph_of(found, rename)).differences
        return [node.name for node in (*difference.expected, *difference.found)]

    three, four = net("a", "b", "c"), net("a", "b", "again", "c")
    again, b = ([f"{block}.{at}" for at in range(6)] for block in ("again", "b"))
    assert told(three, four) == again
    assert told(four, three) == again
    assert told(three, net("a", "c")) == b
    # other names: which of the equal blocks it is cannot be known, but it is one of them
    for expected, found in ((three, four), (four, three)):
        names = told(expected, found, lambda name: f"trunk.x{name}" if name else "")
        assert len({name.rpartition(".")[0] for name in names}) == 1, names
        assert len(names) == 6


CYCLE = ("conv", "batchnorm", "relu", "conv", "batchnorm", "silu")
CHAINS: dict[str, tuple[Callable[[list[str]], Graph], int, float]] = {
    # what a chain is held against, how many differences there are, and how the work grows with four times the length
    "itself": (chain, 0, 4.1),
    "another argument": (lambda kinds: chain(kinds, len(kinds) // 2), 1, 4.1),
    "one more at the beginning": (lambda kinds: chain(["silu", *kinds]), 1, 4.1),
    "one missing": (lambda kinds: chain(kinds[: len(kinds) // 2] + kinds[len(kinds) // 2 + 1 :]), 1, 4.1),
    # all that lies between the two is aligned
    "one more at two places": (
        lambda kinds: chain(["relu", *kinds[: len(kinds) * 3 // 4], "sigmoid", *kinds[len(kinds) * 3 // 4 :]]),
        2,
        16.1,
    ),
}


def cycles(n: int) -> list[str]:
    """The kinds of a chain of n operations."""
    return [CYCLE[at % 6] for at in range(n)]


@pytest.mark.parametrize(("other", "differences", "growth"), CHAINS.values(), ids=CHAINS)
def test_long_chains(other: Callable[[list[str]], Graph], differences: int, growth: float) -> None:
    """More operations than Python may call one within another, and the work grows as the alignment says it does."""
    kinds = cycles(sys.getrecursionlimit() + 200)
    assert len(match(chain(kinds), other(kinds)).differences) == differences
    short, long = ((chain(cycles(n)), other(cycles(n))) for n in (60, 240))
    assert lines_of(lambda: match(*long)) < growth * lines_of(lambda: match(*short))


def test_long_chains_that_have_nothing_in_common() -> None:
    """No recursion limit is met where everything differs, and four times the length is sixteen times the work."""

    def held(n: int) -> Match:
        found = match(chain(["relu"] * n), chain(["maxpool"] * n))
        assert {d.kind for d in found.differences} <= {"missing", "extra", "replaced", "output", "moved"}
        assert not found.same
        assert explain(found)
        return found

    held(sys.getrecursionlimit() + 200)
    assert lines_of(lambda: held(240)) < 16.1 * lines_of(lambda: held(60))


def test_work_that_grows_faster_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: an alignment that looks at every pair of two equal chains."""

    def every_pair(expected: Sequence[Node], found: Sequence[Node]) -> dict[Node, Node]:
        return {e: o for e in expected for o in found if align([e], [o]) and e.key == o.key}

    monkeypatch.setattr("rv_check.graphs.match.align", every_pair)
    short, long = (chain(cycles(n)) for n in (15, 60))
    assert lines_of(lambda: match(long, long)) > 10 * lines_of(lambda: match(short, short))


def test_longer_chains_are_aligned_within_a_band(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the alignment would have too many cells it looks at those near the diagonal, and finds the same."""
    other, differences, _ = CHAINS["one more at two places"]
    kinds = cycles(480)
    whole = lines_of(lambda: match(chain(kinds), other(kinds)))
    monkeypatch.setattr("rv_check.graphs.align.MOST_CELLS", 480 * 10)
    assert len(match(chain(kinds), other(kinds)).differences) == differences
    assert lines_of(lambda: match(chain(kinds), other(kinds))) < whole / 2


def test_deep_residual_networks() -> None:
    """Sums of sums, 1,500 deep: the paths through them are not counted, but four times the depth is as much work."""

    def sums(n: int, changed: int = -1) -> Network:
        steps: Network = []
        for at in range(n):
            last = 2 * at - 1
            groups = 2 if at == changed else 1
            steps += [Step("conv", (last,), (("groups", groups),), f"layer{at}"), Step("sum", (2 * at, last))]
        return steps

    assert match(graph_of(sums(1500)), graph_of(sums(1500), renamed)).same
    (told,) = explain(match(graph_of(sums(1500)), graph_of(sums(1500, 500))))
    assert (told.kind, told.step) == ("arguments", "layer500")
    short, long = ((graph_of(sums(n)), graph_of(sums(n, n // 3), renamed)) for n in (60, 240))
    assert lines_of(lambda: explain(match(*long))) < 4.2 * lines_of(lambda: explain(match(*short)))


def test_deep_observed_network() -> None:
    """A module of 1,500 operations in a row is observed and matched."""

    def deep(s: Any, x: Tensor) -> Tensor:
        for _ in range(1500):
            x = x.tanh()
        return s.c(x)  # type: ignore[no-any-return]

    assert match(observed(Plain(deep, {"c": conv()})), observed(Plain(deep, {"c": conv()}))).same


def test_match_changes_nothing() -> None:
    """Matching twice gives the same twice: the graphs stay as they are."""
    a, b = observed(base()), observed(shared_norm())
    first, second = (explain(match(a, b)) for _ in range(2))
    assert first == second
    keys = [node.key for node in a.nodes]
    a.only("")
    assert [node.key for node in a.nodes] == keys


def test_told_says_nothing_of_what_is_the_same() -> None:
    """Two equal graphs have no differences to tell."""
    found = match(chain(["conv", "relu"]), chain(["conv", "relu"]))
    assert isinstance(found, Match)
    assert explain(found) == []
    assert all(isinstance(one, Mistake) for one in explain(match(chain(["conv"]), chain(["relu"]))))
