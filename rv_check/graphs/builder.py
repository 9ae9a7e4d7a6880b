"""Makes the operations of a graph in normal form, by the rules that are registered here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from hashlib import blake2b
from math import prod
from typing import Any, NamedTuple

from rv_check.errors import Place
from rv_check.graphs.graph import Caller, Fused, Graph, Node, Rerun, State, TensorShape
from rv_check.ops.kinds import LEAVES

Rule = Callable[["Builder", Node], "Node | None"]


class Form(Enum):
    """The form that a graph is made in."""

    AS_RUN = "as run"  # every operation in the order of time, by no rule: what is counted is what is done
    AT_ANY_SIZE = "at any size"  # the normal form, by the rules that hold at every size
    AT_THIS_SIZE = "at this size"  # the normal form, also by the rules that hold at the sizes at hand
    OF_ONE = "of one"  # the same, also where a map has become a single element: a pool of it does nothing

    def has(self, rules: Form) -> bool:
        """Whether it is made by these rules, too."""
        return FORMS.index(self) >= FORMS.index(rules)


FORMS = tuple(Form)  # each with the rules of those before it


class Registered(NamedTuple):
    """A rule: its words in a report, "" where it is mere notation, and the strictest form that it is used in."""

    words: str
    form: Form
    function: Rule


RULES: dict[str, list[Registered]] = {}


def rule(words: str, *kinds: str, form: Form = Form.AT_ANY_SIZE) -> Callable[[Rule], Rule]:
    """Make a function a rule for these kinds of operations. `form`: the strictest that it is used in."""

    def register(function: Rule) -> Rule:
        for kind in kinds:
            RULES.setdefault(kind, []).append(Registered(words, form, function))
        return function

    return register


@dataclass(frozen=True)
class Site:
    """Where an operation is asked for: a step of a spec or a module's path, a line, who asks, and as a part of what."""

    name: str = ""
    place: Place | None = None
    caller: Caller = "layer"
    rerun: Rerun | None = None
    fused: Fused | None = None


class Part(NamedTuple):
    """The whole of which a layer is a part, from where to where along which axis of what it gives."""

    whole: Node
    axis: int
    start: int
    stop: int


@dataclass
class Work:
    """What builders of one graph have done so far."""

    made: list[Node] = field(default_factory=list)  # every operation in the order of time, in the form AS_RUN
    used: set[str] = field(default_factory=set)  # the words of the rules that were used
    masks: set[Node] = field(default_factory=set)  # masks of chance that something was multiplied with
    parts: dict[Node, Part] = field(default_factory=dict)  # layers that are a part of another one
    moved: dict[tuple[Any, ...], Node] = field(default_factory=dict)  # values that were moved, by what and how


@dataclass(frozen=True)
class Builder:
    """Makes the operations of a graph in one form, at one site."""

    form: Form = Form.AT_ANY_SIZE
    site: Site = Site()
    work: Work = field(default_factory=Work)

    def at(self, site: Site) -> Builder:
        """The builder of the same graph at another site."""
        return replace(self, site=site)

    def make(
        self,
        kind: str,
        *inputs: Node,
        shape: TensorShape,
        tensors: Mapping[str, State | Node] | None = None,
        like: Node | None = None,
        arguments: Mapping[str, Any] | None = None,
        **attributes: Any,
    ) -> Node:
        """The operation in normal form.

        Args: `like` the one whose name, place and history it takes over; `arguments` further attributes, which somebody
        else has named, and so may be called as one of these is.
        """
        name, place = (like.name, like.place) if like else (self.site.name, self.site.place)
        rules, site = like.rules if like else (), self.site
        given = {name: _rounded(value) for name, value in {**attributes, **(arguments or {})}.items()}
        node = Node(kind, inputs, shape, given, tensors, name, place, rules, site.caller, site.rerun, site.fused)
        if self.form is Form.AS_RUN:
            self.work.made.append(node)
            return node
        for words, form, function in RULES.get(kind, ()):
            if not self.form.has(form):
                continue
            other = function(self, node)
            if other is not None:
                if words:
                    self.work.used.add(words)
                    if words not in other.rules and other not in inputs:
                        other.rules += (words,)
                return other
        if node.row.keeps == "view":  # the same value, moved in the same way by several who use it, is one
            return self.work.moved.setdefault((kind, inputs, shape, tuple(sorted(node.attributes.items()))), node)
        return node

    def reshape(self, value: Node, shape: TensorShape, like: Node | None = None) -> Node:
        """The value in another shape, its elements in the same order."""
        return self.make("reshape", value, shape=shape, like=like, to=shape)

    def finish(self, graph: Graph) -> Graph:
        """A graph whose operations have been made: in the order of time, or with sums of sums made one, and keys."""
        if self.form is Form.AS_RUN:
            known = set(graph.nodes)
            leaves = (node for node in graph.nodes if node.kind in LEAVES)
            nodes = (*leaves, *(node for node in self.work.made if node in known))
            # A view of which no output knows is a reader's own, as the transposed weight of a linear layer is.
            done = (node for node in self.work.made if node.kind != "clone")
            ran = tuple(node for node in done if node in known or node.row.keeps != "view")
            return replace(graph, nodes=nodes, ran=ran)
        _cut_wholes(graph, self.work.parts)
        graph = replace(graph, nodes=())
        _flatten_sums(graph)
        graph = replace(graph, nodes=())
        for node in graph.nodes:
            node.key, node.height = _key(node), 1 + max((feed.height for feed in node.feeds), default=-1)
        return graph


def _rounded(value: Any) -> Any:
    """A number as it is meant: 1 - 0.9 is 0.1."""
    return float(f"{value:.12g}") if isinstance(value, float) else value


def _cut_wholes(graph: Graph, parts: Mapping[Node, Part]) -> None:
    """A part of a layer that is used as a whole, too, is a slice of what that gives: nothing is computed twice."""
    used = set(graph.nodes)
    for node in graph.nodes:
        if node in parts and parts[node].whole in used:
            whole, axis, start, stop = parts[node]
            node.kind, node.inputs, node.tensors = "slice", (whole,), {}
            node.attributes = {"axis": axis, "start": start, "stop": stop, "step": 1}


def _flatten_sums(graph: Graph) -> None:
    """(a + b) + c is a + b + c, where nobody else uses a + b. Rounding aside, addition is associative."""
    uses = graph.uses()
    outputs = set(graph.outputs.values())
    for node in graph.nodes:
        if not node.row.commutes:
            continue
        flat: list[Node] = []
        for feed in node.inputs:
            inner = feed.kind == node.kind and len(uses[feed]) == 1 and feed not in outputs
            flat += feed.inputs if inner and feed.shape == node.shape else [feed]
        node.inputs = tuple(flat)


def _key(node: Node) -> bytes:
    feeds = [feed.key for feed in node.inputs]
    if node.row.commutes:
        feeds.sort()
    tensors = [
        (role, tensor.key if isinstance(tensor, Node) else tensor.shape)
        for role, tensor in sorted(node.tensors.items())
    ]
    name = node.name if node.kind == "unregistered" else ""
    shape = node.shape if node.kind in LEAVES else ()
    words = repr((node.kind, name, shape, sorted(node.attributes.items()), feeds, tensors))
    return blake2b(words.encode(), digest_size=16).digest()


def state_of(value: Node) -> State | Node:
    """The parameter or buffer that a value is, or a part of it, moved or not; else the value itself."""
    moves: list[Node] = []
    node = value
    while _moves_elements(node):
        moves.append(node)
        (node,) = node.inputs
    if node.kind != "state":
        return value
    state = State(node.name, node.shape)
    for move in reversed(moves):
        a = move.attributes
        match move.kind:
            case "reshape":
                state = State(state.name, move.shape, (*state.steps, ("reshape", a["to"])))
            case "permute":
                state = State(state.name, move.shape, (*state.steps, ("permute", a["axes"])))
            case "slice":
                state = sliced(state, a["axis"], a["start"], a["stop"], move.inputs[0])
    return state


def _moves_elements(node: Node) -> bool:
    """Whether it gives elements of its input in another place, as the steps of a `State` can say."""
    match node.kind:
        case "reshape" | "permute":
            return True
        case "slice":
            return bool(node.attributes["step"] == 1)
    return False


def reshaped(state: State, shape: TensorShape) -> State:
    """A parameter or buffer in another shape."""
    return state if state.shape == shape else State(state.name, shape, (*state.steps, ("reshape", shape)))


def sliced(state: State, axis: int, start: int, stop: int, value: Node | None = None) -> State:
    """A part of a parameter or buffer along one of its axes, cut before it is moved where that can be told.

    Args: `value` the operation that gives what is cut, where there is one.
    """
    shape = (*state.shape[:axis], stop - start, *state.shape[axis + 1 :])
    if shape == state.shape or not state.steps:
        cut = () if shape == state.shape else (("slice", (axis, start, stop)),)
        return State(state.name, shape, (*state.steps, *cut))
    *before, (kind, argument) = state.steps
    if kind == "slice" and argument[0] == axis:  # a part of a part
        return State(state.name, shape, (*before, ("slice", (axis, start + argument[1], stop + argument[1]))))
    if kind == "permute":
        inner = State(state.name, tuple(state.shape[argument.index(at)] for at in range(len(argument))), tuple(before))
        cut_before = sliced(inner, argument[axis], start, stop, value and value.inputs[0])
        return State(state.name, shape, (*cut_before.steps, ("permute", argument)))
    if kind == "reshape" and value is not None and value.kind == "reshape":
        split = split_of(value.inputs[0].shape, value.shape, axis)
        if split is not None and split.before == 1:
            inner = State(state.name, value.inputs[0].shape, tuple(before))
            ends = start * split.behind, stop * split.behind
            return reshaped(sliced(inner, split.axis, *ends, value.inputs[0]), shape)
    return State(state.name, shape, (*state.steps, ("slice", (axis, start, stop))))


class AxisPart(NamedTuple):
    """An axis as a part of one before a reshape: which that is, and how many elements of it stand before and behind."""

    axis: int
    before: int
    behind: int


def split_of(shape: TensorShape, after: TensorShape, axis: int) -> AxisPart | None:
    """Which axis of a shape an axis after a reshape is a part of; None where it is of several."""
    left, size = prod(after[:axis]), after[axis]
    whole = 1
    for at, n in enumerate(shape):
        if n > 1 and left % whole == 0 and (left // whole) * size <= n and n % ((left // whole) * size) == 0:
            before = left // whole
            return AxisPart(at, before, n // (before * size))
        if left % (whole * n):
            return None
        whole *= n
    return None
