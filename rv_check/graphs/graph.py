"""The op graph: what a network computes, as a spec states it or as a module was observed to do it.

A node is one operation in the words of `rv_check.ops`, or in torch's where there is no op for it. Shapes are with the
batch axis. Both sides are made by `graphs.builder.Builder`, which brings equal computations into one form; from then on
a node does not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any, Literal, Protocol

from rv_check.errors import Place, RvCheckError
from rv_check.ops.kinds import FIXED, Kind, kind_of

TensorShape = tuple[int, ...]  # every axis that a tensor has: of a feature map also that of the batch
Caller = Literal["layer", "subclass", "function"]  # torch's own layer, a subclass of one, or any other code


# ("reshape", shape), ("permute", axes) and ("slice", (axis, start, stop)), one after the other.
ViewSteps = tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class State:
    """A parameter or buffer as an operation uses it: the registered tensor after `steps`, in the shape it has then."""

    name: str
    shape: TensorShape
    steps: ViewSteps = ()

    @property
    def piece(self) -> Piece:
        """Which elements of the registered tensor it uses."""
        last = max((at for at, (kind, _) in enumerate(self.steps) if kind == "slice"), default=-1)
        return Piece(self.name, self.steps[: last + 1])


def shape_after(shape: TensorShape, steps: ViewSteps) -> TensorShape:
    """The shape that a tensor of this one has after these steps."""
    for kind, argument in steps:
        if kind == "reshape":
            shape = argument
        elif kind == "permute":
            shape = tuple(shape[axis] for axis in argument)
        else:
            axis, start, stop = argument
            shape = (*shape[:axis], stop - start, *shape[axis + 1 :])
    return shape


@dataclass(frozen=True)
class Piece:
    """The elements of a parameter or buffer that `steps`, the last of them a slice, leave; all of them without any."""

    name: str
    steps: ViewSteps = ()

    def overlaps(self, other: Piece) -> bool:
        """Whether both have elements in common, unless they are seen to be apart: slices of one axis of one shape."""
        if self.name != other.name:
            return False
        for (kind, a), (kind_of_other, b) in zip(self.steps, other.steps, strict=False):
            if (kind, a) != (kind_of_other, b):
                apart = kind == kind_of_other == "slice" and a[0] == b[0] and (a[2] <= b[1] or b[2] <= a[1])
                return not apart
        return True

    def __str__(self) -> str:
        """As Python says it: `qkv.weight[0:16]`."""
        words = self.name
        for kind, argument in self.steps:
            if kind == "slice":
                axis, start, stop = argument
                words += f"[{':, ' * axis}{start}:{stop}]"
            else:
                words += f".{kind}({', '.join(map(str, argument))})"
        return words


class Values(Protocol):
    """What stands in a tensor that is a constant: equal to another's but for rounding."""

    def after(self, steps: Sequence[tuple[str, tuple[int, ...]]]) -> Values:
        """It as an operation uses it, after the `steps` of a `State`."""

    def against(self, expected: Any) -> tuple[str, str]:
        """Both in words, where they differ: what is found, and what is expected."""


@dataclass(frozen=True, eq=False)
class Rerun:
    """A part of a network that is run again in the backward pass, as `torch.utils.checkpoint` runs it.

    `inputs` is what it is given, which is kept instead of what is in it; `outer` the part that it stands in.
    `reentrant`: no gradient is passed where none of its inputs has one. `stops`: it is run only as far as anything is
    needed. `selective`: it keeps what a policy of its own says.
    """

    inputs: tuple[Node, ...]
    outer: Rerun | None = None
    reentrant: bool = False
    stops: bool = False
    selective: bool = False

    def passes_gradients(self, trained: Set[Node]) -> bool:
        """Whether it does, given what a gradient is passed through before it."""
        return not self.reentrant or not trained.isdisjoint(self.inputs)


@dataclass(eq=False)
class Fused:
    """Operations of the graph that are one to autograd: a kernel of torch's on a CPU, or a function of somebody's own.

    `kernel` is "attention", "function", or the name of a kernel that keeps memory for itself of which nobody knows how
    much. A gradient of `outputs` is passed to `inputs`, and `kept` is what it keeps for it, `mask` how many numbers it
    makes of a mask of truth values.
    """

    kernel: str
    inputs: tuple[Node, ...] = ()
    outputs: tuple[Node, ...] = ()
    kept: tuple[Node, ...] = ()
    mask: int = 0

    @property
    def is_known(self) -> bool:
        """Whether it keeps no more than what is known of it."""
        return self.kernel in ("attention", "function")


class Node:
    """One operation on values, `tensors` being the parameters and buffers that it uses by their role.

    `name` is a step of a spec or a module's path, `place` a line of the spec or of the model's source; `caller`: who
    asked for it. `fixed`: it depends on no input and no chance; `nonnegative`: no element of it can be below 0;
    `rerun`: the innermost part it is in that is run again in the backward pass; `fused`: the kernel that it is part of.
    As run and observed, `dtype` is the type of its numbers, `stored` how many its memory has, where it is a part of one
    that is not in the graph, and `within` the value in whose memory it was written.
    """

    __slots__ = (
        *("attributes", "caller", "dtype", "fixed", "fused", "height", "inputs", "key", "kind", "name", "nonnegative"),
        *("place", "rerun", "rules", "shape", "stored", "tensors", "within"),
    )

    def __init__(
        self,
        kind: str,
        inputs: tuple[Node, ...] = (),
        shape: TensorShape = (),
        attributes: Mapping[str, Any] | None = None,
        tensors: Mapping[str, State | Node] | None = None,
        name: str = "",
        place: Place | None = None,
        rules: tuple[str, ...] = (),
        caller: Caller = "layer",
        rerun: Rerun | None = None,
        fused: Fused | None = None,
    ):
        self.kind, self.inputs, self.shape = kind, inputs, shape
        self.attributes, self.tensors = dict(attributes or {}), dict(tensors or {})
        self.name, self.place, self.rules = name, place, rules
        self.caller, self.rerun, self.fused = caller, rerun, fused
        self.fixed: bool = kind in FIXED or (bool(inputs or tensors) and all(feed.fixed for feed in self.feeds))
        self.nonnegative = _is_nonnegative(self)
        self.key = b""  # equal for equal computations, whatever the tensors are called; set by Graph
        self.height = 0  # operations on the longest way from a leaf; set by Graph
        self.dtype = ""  # set by the recorder, as are the next two
        self.stored: int | None = None
        self.within: Node | None = None

    def __repr__(self) -> str:
        return f"{self.name or self.kind}: {describe(self)}"

    @property
    def row(self) -> Kind:
        """What is true of every operation of its kind."""
        return kind_of(self.kind)

    @property
    def parts(self) -> tuple[Rerun, ...]:
        """The parts that it stands in which are run again, from the outermost on."""
        found: tuple[Rerun, ...] = ()
        part = self.rerun
        while part is not None:
            found, part = (part, *found), part.outer
        return found

    @property
    def feeds(self) -> tuple[Node, ...]:
        """Every value that it depends on: its inputs, and what a computed weight is computed from."""
        computed = [tensor for tensor in self.tensors.values() if isinstance(tensor, Node)]
        return (*self.inputs, *computed) if computed else self.inputs

    @property
    def states(self) -> Iterator[tuple[str, State]]:
        """The parameters and buffers it uses itself, by role."""
        return ((role, tensor) for role, tensor in self.tensors.items() if isinstance(tensor, State))


def _is_nonnegative(node: Node) -> bool:
    a = node.attributes
    if node.kind == "constant":
        return a["value"] is not None and a["value"] >= 0
    if node.row.sign == "kept":  # a pool's divisor and a dropout's scale, where they are given, may be of any sign
        return a.get("divisor", 1) > 0 and a.get("scale", 1) >= 0 and all(x.nonnegative for x in node.inputs)
    return node.row.sign == "nonnegative"


def called(node: Node) -> str:
    """What people call an operation of that kind."""
    return node.row.called or node.kind


def said(node: Node) -> str:
    """Where an operation is, and what: `conv1 (conv)`.

    A step of a spec that has but a number, where its neighbours have names, stands after one of them.
    """
    if node.kind == "input":
        return "the input"
    before, is_unnamed = next(iter(node.inputs), None), node.caller == "layer" and not node.tensors
    if before is not None and is_unnamed and _is_number(node.name):
        if before.row.commutes:
            return f"the {called(node)} after {named(before)}"
        if before.name and not _is_number(before.name):
            return f"the {called(node)} after {before.name}"
    return f"{node.name or called(node)} ({called(node)})"


def named(node: Node) -> str:
    """The name of an operation where it says enough: of a layer, or one that says the kind; else as `said`."""
    last = node.name.rpartition(".")[2]
    says_enough = called(node) in last or (node.tensors and node.caller == "layer" and not last.isdecimal())
    return node.name if says_enough else said(node)


def _is_number(name: str) -> bool:
    return name.rpartition(".")[2].isdecimal()


def describe(node: Node) -> str:
    """`conv 3x3 stride 2, 64 -> 128`, as a reader of networks would say it."""
    a = node.attributes if called(node) != "relu6" else {}
    words = [called(node)]
    if "kernel" in a:
        words.append("x".join(map(str, a["kernel"])))
    if node.row.weighted and node.inputs:
        words.append(f"{node.inputs[0].shape[-1 if node.kind == 'linear' else 1]} -> {a['out']}")
    shown = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1, "ceil_mode": False}
    of_all = {name: _of_all_axes(a[name]) for name in shown if name in a}
    words += [f"{name} {show(value)}" for name, value in of_all.items() if value != shown[name]]
    named = ("kernel", "out", "count_include_pad", *shown)
    words += [f"{name} {show(value, name)}" for name, value in a.items() if name not in named]
    return " ".join(words)


def _of_all_axes(value: Any) -> Any:
    """A number that is that of each of up to three axes, where it is."""
    return value[0] if isinstance(value, tuple) and len(value) <= 3 and len(set(value)) == 1 else value


AXES = ("images", "channels", "rows", "columns")


def show(value: Any, name: str = "") -> str:
    """An argument as a message shows it: a pair of equal numbers as one; what a pad adds, by the axes."""
    if name == "sides":
        axes = AXES if len(value) == len(AXES) else [f"axis {axis}" for axis in range(len(value))]
        return " ".join(f"{axis} {one[0]} {one[1]}" for axis, one in zip(axes, value, strict=True) if any(one))
    if isinstance(value, tuple):
        return show(value[0]) if len(value) == 2 and value[0] == value[1] else " ".join(map(show, value))
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


@dataclass(frozen=True, eq=False)
class Graph:
    """What a network computes from one input. `outputs` by where they stand in what it returns: "" is all of it."""

    input: Node
    outputs: dict[str, Node]
    state: dict[str, TensorShape] = field(default_factory=dict)  # every parameter, and every buffer that is saved
    parameters: frozenset[str] = frozenset()  # which of them are parameters
    counters: Mapping[str, str] = field(default_factory=dict)  # a norm's running mean: its num_batches_tracked
    rules: frozenset[str] = frozenset()  # the words of the rules that were used to write it
    aliases: Mapping[str, str] = field(default_factory=dict)  # a second name of a tensor: the first
    unread: list[Node] = field(default_factory=list)  # results that are neither used nor returned
    steps: Mapping[str, Node] = field(default_factory=dict)  # the value after each step and module of a spec
    is_cut: bool = False  # whether it ends before the expected network does
    elsewhere: frozenset[str] = frozenset()  # parameters and buffers that are known to be used in another mode
    behind: Mapping[str, TensorShape] = field(default_factory=dict)  # the state of what it was cut off from
    moved: frozenset[str] = frozenset()  # parameters and buffers that the run itself wrote, running statistics apart
    besides: Mapping[str, Node] = field(default_factory=dict)  # other outputs, of a graph that was cut to some of them
    asked: tuple[Place, ...] = ()  # where Python asked for a value, so that another input may take another branch
    by_image: tuple[Place, ...] = ()  # where what is done, or how large it is, depends on the values of the input
    frozen: frozenset[str] = frozenset()  # parameters that no gradient is passed to
    dtypes: Mapping[str, str] = field(default_factory=dict)  # the types of parameters and buffers, where observed
    constants: Mapping[str, Values] = field(default_factory=dict)  # those that are only read, and are no weights
    nodes: Sequence[Node] = ()  # the operations of `outputs` and `unread`, each after what it uses, unless given
    more_inputs: tuple[Node, ...] = ()  # the other tensors that go in, each with its name
    ran: Sequence[Node] = ()  # as run: all that was done but copies, also for what Python reads, in the order of time

    def __post_init__(self) -> None:
        if not self.nodes:
            object.__setattr__(self, "nodes", tuple(in_order((*self.outputs.values(), *self.unread))))

    @property
    def sees_input(self) -> bool:
        """Whether any output depends on an input."""
        return not {*self.inputs}.isdisjoint(self.live)

    @property
    def inputs(self) -> tuple[Node, ...]:
        """All tensors that go in."""
        return (self.input, *self.more_inputs)

    @property
    def params(self) -> int:
        """Numbers in its parameters, one that has two names counted once."""
        return sum(prod(self.state[name]) for name in self.parameters - self.aliases.keys())

    @property
    def dtype(self) -> str:
        """The type that the network computes in, where it was observed: that of its weights, else that of its input."""
        return next((dtype for dtype in self.dtypes.values() if "float" in dtype), self.input.dtype)

    def must_see_input(self) -> None:
        """Raises: RvCheckError where the output is the same whatever the input is, with where the input was lost."""
        if self.sees_input:
            return
        sees, last = {*self.inputs}, None
        for node in self.ran or self.nodes:
            if not sees.isdisjoint(node.feeds):
                sees.add(node)
                last = node
        where = f"; what sees it ends with {last.kind}{f' at {last.place}' if last.place else ''}" if last else ""
        expected = "one that is computed in torch: what numpy or Python computes is not seen"
        raise RvCheckError(f"the output does not depend on the input{where}", expected=expected)

    @cached_property
    def learned(self) -> frozenset[str]:
        """The parameters that a gradient is passed to."""
        return self.parameters - self.frozen

    @cached_property
    def live(self) -> Sequence[Node]:
        """What the outputs depend on, each after what it uses."""
        return tuple(in_order(self.outputs.values()))

    @cached_property
    def read_only(self) -> frozenset[str]:
        """The constants: what a norm uses is none, nor is a parameter of a layer that is not trained at present."""
        of_norms = {state.name for node in self.nodes if node.row.family == "norm" for _, state in node.states}
        of_layers = {state.name for node in self.nodes for _, state in node.states if state.name in self.parameters}
        return frozenset(self.constants) - of_norms - of_layers

    def uses(self) -> dict[Node, list[Node]]:
        """The users of each node, among all nodes."""
        used: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for feed in node.feeds:
                used.setdefault(feed, []).append(node)
        return used

    @cached_property
    def used(self) -> frozenset[str]:
        """The parameters and buffers that anything is computed from, be it one of `besides` or in another mode."""
        nodes = {*self.nodes, *in_order(self.besides.values())}
        states = {state.name for node in nodes for _, state in node.states}
        return self.elsewhere | states | {node.name for node in nodes if node.kind == "state"}

    def only(self, output: str) -> Graph:
        """The graph with that output alone, called ""; the others are `besides`."""
        return self.returning({"": output})

    def returning(self, places: Mapping[str, str]) -> Graph:
        """The graph with these outputs alone, each by the name that it has here; the others are `besides`."""
        besides = {place: node for place, node in self.outputs.items() if place not in places.values()}
        return replace(
            self, outputs={name: self.outputs[place] for name, place in places.items()}, besides=besides, nodes=()
        )


def in_order(nodes: Iterable[Node]) -> Iterator[Node]:
    """Nodes and all that they depend on, each after what it uses."""
    done: set[Node] = set()
    for last in nodes:
        stack = [last]
        while stack:
            node = stack[-1]
            waiting = [feed for feed in node.feeds if feed not in done]
            if node in done or not waiting:
                stack.pop()
                if node not in done:
                    done.add(node)
                    yield node
            else:
                stack += waiting
