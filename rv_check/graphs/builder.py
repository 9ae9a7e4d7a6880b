"""Makes the operations of a graph in normal form, by the rules that are registered here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rv_check.errors import Place
from rv_check.graphs.graph import Caller, Node, Shape, State

Rule = Callable[["Builder", Node], "Node | None"]


class Registered(NamedTuple):
    """A rule: its words in a report, "" where it is mere notation, and whether it needs the sizes at hand."""

    words: str
    here: bool
    function: Rule


RULES: dict[str, list[Registered]] = {}


def rule(words: str, *kinds: str, here: bool = False) -> Callable[[Rule], Rule]:
    """Make a function a rule for these kinds of operations. `here`: it is true at the sizes at hand, not at all."""

    def register(function: Rule) -> Rule:
        for kind in kinds:
            RULES.setdefault(kind, []).append(Registered(words, here, function))
        return function

    return register


class Builder:
    """Makes operations in normal form; `here`: also by the rules that hold at these sizes only.

    With `raw` it makes them as they are asked for, by no rule: what is counted is what is done, not what it comes to.
    """

    def __init__(self, here: bool = False, raw: bool = False) -> None:
        self.here, self.raw = here, raw
        self.made: list[Node] = []  # where it is raw: every operation, in the order of time
        self.caller: Caller = "layer"
        self.used: set[str] = set()  # the words of the rules that were used
        self.masks: set[Node] = set()  # of chance, that something was multiplied with
        self.name = ""
        self.place: Place | None = None

    def make(
        self,
        kind: str,
        *inputs: Node,
        shape: Shape,
        tensors: Mapping[str, State | Node] | None = None,
        like: Node | None = None,
        **attributes: Any,
    ) -> Node:
        """The operation in normal form. `like`: the one whose name, place and history it takes over."""
        name, place = (like.name, like.place) if like else (self.name, self.place)
        node = Node(kind, inputs, shape, attributes, tensors, name, place, like.rules if like else ())
        if self.raw:
            node.caller = self.caller
            self.made.append(node)
            return node
        for words, here, function in RULES.get(kind, ()):
            other = function(self, node) if self.here or not here else None
            if other is not None:
                if words:
                    self.used.add(words)
                    if words not in other.rules and other not in inputs:
                        other.rules += (words,)
                return other
        return node

    def reshape(self, value: Node, shape: Shape, like: Node | None = None) -> Node:
        """The value in another shape, its elements in the same order."""
        return self.make("reshape", value, shape=shape, like=like, to=shape)


def state_of(value: Node) -> State | Node:
    """The parameter or buffer that a value is, moved or not; the value itself where it is computed from more."""
    steps: list[tuple[str, tuple[int, ...]]] = []
    node = value
    while node.kind in ("reshape", "permute"):
        steps.append((node.kind, node.attributes["to" if node.kind == "reshape" else "axes"]))
        (node,) = node.inputs
    if node.kind != "state":
        return value
    return State(node.name, value.shape, tuple(reversed(steps)))


def reshaped(state: State, shape: Shape) -> State:
    """A parameter or buffer in another shape."""
    return state if state.shape == shape else State(state.name, shape, (*state.steps, ("reshape", shape)))
