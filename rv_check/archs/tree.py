"""The tree: an arch with its blocks expanded and every shape known. One tree, read by many small functions.

A block called twice with equal arguments on an equal input is expanded once and stands twice as the same object, and
rounds of a repeat that are equal stand as one `Repeat`; so the tree of a network of 10,000 blocks is as small as that
of three, and what is computed from it can be computed once for each node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from rv_check.errors import Place
from rv_check.language.definitions import Name
from rv_check.language.expressions import Expr, Scope
from rv_check.ops.op import Op, Shape


@dataclass(frozen=True, eq=False)
class Layer:
    """One op on an input of shape `x`, giving `y`."""

    op: Op
    x: Shape
    y: Shape

    slots = 1
    layers = 1
    size = 1
    height = 0


@dataclass(frozen=True, eq=False)
class Module:
    """A block or a named group: it has a name of its own and names what is in it."""

    label: str  # `bottleneck(width=64, stride=1)`, or "" for a group
    seq: Seq

    slots = 1

    @property
    def x(self) -> Shape:
        return self.seq.x

    @property
    def y(self) -> Shape:
        return self.seq.y

    @property
    def layers(self) -> int:
        return self.seq.layers

    @property
    def size(self) -> int:
        return 1 + self.seq.size

    @property
    def height(self) -> int:
        return self.seq.height


@dataclass(frozen=True, eq=False)
class Join:
    """A sum, concat or product of branches, each fed with the same input."""

    kind: str
    branches: tuple[tuple[str, Seq], ...]
    x: Shape
    y: Shape

    @property
    def slots(self) -> int:
        return sum(branch.slots for _, branch in self.branches)

    @property
    def layers(self) -> int:
        return sum(branch.layers for _, branch in self.branches)

    @property
    def size(self) -> int:
        return 1 + sum(branch.size for _, branch in self.branches)

    @property
    def height(self) -> int:
        return max(branch.height for _, branch in self.branches)


@dataclass(frozen=True, eq=False)
class Repeat:
    """`times` equal rounds of a sequence; `index` counts from `first`."""

    times: int
    first: int
    index: str | None
    seq: Seq

    @property
    def x(self) -> Shape:
        return self.seq.x

    @property
    def y(self) -> Shape:
        return self.seq.y

    @property
    def slots(self) -> int:
        return self.times * self.seq.slots

    @property
    def layers(self) -> int:
        return self.times * self.seq.layers

    @property
    def size(self) -> int:
        return self.times * self.seq.size

    @property
    def height(self) -> int:
        return self.seq.height


@dataclass(frozen=True, eq=False)
class Seq:
    """Items in the order of the flow."""

    items: tuple[Item, ...]
    x: Shape
    y: Shape
    slots: int  # positions that they take in the nearest module
    layers: int  # when every round of a repeat is written out, as is
    size: int  # the number of layers, modules and joins, which bounds the work of whoever goes through them
    height: int  # how deep sequences stand within one another, which bounds the recursion
    named: bool  # an item here, or in what is transparent here, has a name of its own


@dataclass(frozen=True, eq=False)
class LateName:
    """A name that depends on the index of a repeat."""

    name: Name
    scope: Scope

    def text(self, indices: Mapping[str, int]) -> str:
        """The name in the round that `indices` tell."""
        scope = Scope({**indices, **self.scope.values}, self.scope.find)
        return "".join(part if isinstance(part, str) else _digits(part, scope) for part in self.name.parts)


def _digits(part: Expr, scope: Scope) -> str:
    number = part.integer(scope)
    if number < 0:
        raise part.problem(part.node, f"{part.text} is {number}", "an integer of at least 0")
    return str(number)


@dataclass(frozen=True, eq=False)
class Item:
    """A node with its name, or None where its position is its name. Transparent nodes have none."""

    name: str | LateName | None
    node: Node
    place: Place


Node = Layer | Module | Join | Repeat | Seq


@dataclass(frozen=True, eq=False)
class Tree:
    """An expanded arch: its root, and the lines `shape:` that were not checked, the input being another."""

    root: Module
    unchecked: int


def step_name(item: Item, position: int, indices: Mapping[str, int]) -> str:
    """The name of a module or layer at that position of the nearest module."""
    if item.name is None:
        return str(position)
    return item.name if isinstance(item.name, str) else item.name.text(indices)


def children(seq: Seq, position: int = 0, indices: Mapping[str, int] | None = None) -> Iterator[tuple[str, Item]]:
    """The modules and layers of a sequence by name, looking through everything transparent.

    Yields in the order of the flow, which is the order of definition and of a `state_dict`.
    """
    indices = indices or {}
    for item in seq.items:
        node = item.node
        match node:
            case Layer() | Module():
                yield step_name(item, position, indices), item
            case Join():
                at = position
                for _, branch in node.branches:
                    yield from children(branch, at, indices)
                    at += branch.slots
            case Repeat():
                for turn in range(node.times):
                    within = {**indices, node.index: node.first + turn} if node.index else indices
                    yield from children(node.seq, position + turn * node.seq.slots, within)
            case Seq():
                yield from children(node, position, indices)
        position += node.slots


def child(seq: Seq, name: str, position: int = 0, indices: Mapping[str, int] | None = None) -> Item | None:
    """The module or layer of that name in a sequence, as `children` gives it, but without writing out the rounds of a
    repeat whose names are positions."""
    indices = indices or {}
    number = int(name) if name.isdecimal() and len(name) < 10 else -1
    for item in seq.items:
        node = item.node
        found: Item | None = None
        match node:
            case Layer() | Module():
                found = item if name == step_name(item, position, indices) else None
            case Join():
                at = position
                for _, branch in node.branches:
                    found = found or child(branch, name, at, indices)
                    at += branch.slots
            case Repeat() if node.seq.named:
                for turn in range(node.times):
                    within = {**indices, node.index: node.first + turn} if node.index else indices
                    found = found or child(node.seq, name, position + turn * node.seq.slots, within)
            case Repeat() if position <= number < position + node.slots:
                turn = (number - position) // node.seq.slots
                found = child(node.seq, name, position + turn * node.seq.slots, indices)
            case Seq():
                found = child(node, name, position, indices)
        if found is not None:
            return found
        position += node.slots
    return None
