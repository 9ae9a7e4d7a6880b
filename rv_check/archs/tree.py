"""The tree: an arch with its blocks expanded and every shape known. One tree, read by many small functions.

A block called twice with equal arguments on an equal input is expanded once and stands twice as the same object, and
rounds of a repeat that are equal stand as one `Repeat`; so the tree of a network of 10,000 blocks is as small as that
of three, and what is computed from it can be computed once for each node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rv_check.errors import Place
from rv_check.language.definitions import Name
from rv_check.language.expressions import Expr, Scope
from rv_check.ops.op import Op, Shape

NO_INDICES: Mapping[str, int] = MappingProxyType({})  # outside every repeat that counts


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
    """A sequence in `times` equal rounds; `index` counts them from `first`."""

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
    slots: int  # the positions that they take in the nearest module
    layers: int  # the number of layers, every round of a repeat counted
    size: int  # the number of layers, modules and joins, every round counted: it bounds the work of a walk
    height: int  # how deep sequences stand within one another: it bounds the recursion
    named: bool  # whether an item here, or in what is transparent here, has a name of its own


@dataclass(frozen=True, eq=False)
class LateName:
    """A name that depends on the index of a repeat."""

    name: Name
    scope: Scope

    def text(self, indices: Mapping[str, int]) -> str:
        """The name in the round that `indices` tell. Raises: SpecError where it cannot be a name."""
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
    node: TreeNode
    place: Place


TreeNode = Layer | Module | Join | Repeat | Seq


@dataclass(frozen=True, eq=False)
class Tree:
    """An expanded arch: its root, and the lines `shape:` that were not checked, the input being another."""

    root: Module
    unchecked: int


# The walk is for whoever goes through a tree in the order of the flow, place by place. What is the same of a node
# wherever it stands is computed by `analyses.fold` instead, once for each node.

WhichRounds = Callable[[Repeat, int], Iterable[int]]  # the rounds of a repeat that are gone through, given its position


def every_round(repeat: Repeat, position: int) -> Iterable[int]:
    """All rounds of a repeat."""
    return range(repeat.times)


@dataclass(slots=True, eq=False)  # not frozen, which takes twice the time: every step of a walk makes one
class Visit:
    """A layer, a module or a join where the flow comes by it, in one round of the repeats around it."""

    item: Item
    node: Layer | Module | Join
    position: int  # how many positions of the nearest module are taken before it
    indices: Mapping[str, int]  # what the repeats around it in the nearest module count, by name
    rounds: WhichRounds

    @property
    def name(self) -> str:
        """Its name in the nearest module, which is its position where it has none; of a join, its kind.

        Raises: SpecError where an expression in the name has no value that a name can have.
        """
        name = self.item.name
        if name is None:
            return self.node.kind if isinstance(self.node, Join) else str(self.position)
        return name if isinstance(name, str) else name.text(self.indices)

    @property
    def branches(self) -> Iterator[tuple[str, Iterator[Visit]]]:
        """The branches of a join by label, each with its visits; none of anything else."""
        position = self.position
        for label, branch in self.node.branches if isinstance(self.node, Join) else ():
            yield label, walk(branch, position, self.indices, self.rounds)
            position += branch.slots


def walk(
    seq: Seq, position: int = 0, indices: Mapping[str, int] = NO_INDICES, rounds: WhichRounds = every_round
) -> Iterator[Visit]:
    """The layers, modules and joins of a sequence in the order of the flow, repeats written out.

    What is in a module or a branch is a walk of its own: `walk(visit.node.seq)`, `visit.branches`.
    """
    for item in seq.items:
        node = item.node
        match node:
            case Layer() | Module() | Join():
                yield Visit(item, node, position, indices, rounds)
            case Repeat():
                for turn in rounds(node, position):
                    within = {**indices, node.index: node.first + turn} if node.index else indices
                    yield from walk(node.seq, position + turn * node.seq.slots, within, rounds)
            case Seq():
                yield from walk(node, position, indices, rounds)
        position += node.slots


def named(visits: Iterable[Visit]) -> Iterator[Visit]:
    """The modules and layers among these visits and in their joins: what has a name in the nearest module.

    They come in the order of the flow, which is the order of definition and of a `state_dict`.
    """
    for visit in visits:
        if isinstance(visit.node, Join):
            for _, branch in visit.branches:
                yield from named(branch)
        else:
            yield visit


def children(seq: Seq) -> Iterator[tuple[str, Item]]:
    """The modules and layers of a sequence by name. Raises: SpecError, as `Visit.name`."""
    return ((visit.name, visit.item) for visit in named(walk(seq)))


def child(seq: Seq, name: str) -> Item | None:
    """The module or layer of that name in a sequence, as `children` gives it, or None. Raises: SpecError.

    WhichRounds of a repeat whose names are positions are not written out: at most one of them can hold the name.
    """
    number = int(name) if name.isdecimal() and len(name) < 10 else -1

    def rounds(repeat: Repeat, position: int) -> Iterable[int]:
        if repeat.seq.named:
            return range(repeat.times)
        return ((number - position) // repeat.seq.slots,) if position <= number < position + repeat.slots else ()

    return next((visit.item for visit in named(walk(seq, rounds=rounds)) if visit.name == name), None)
