"""The tree: an arch with its blocks expanded and every shape known. One tree, read by many small functions.

A block called twice with equal arguments on an equal input is expanded once and stands twice as the same object, and
rounds of a repeat that are equal stand as one `Repeat`; so the tree of a network of 10,000 blocks is as small as that
of three, and what is computed from it can be computed once for each node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rv_check import ops
from rv_check.expr import Call, Expr, Partial, Scope, Value, key, kind, show
from rv_check.library import check_call, find
from rv_check.ops import Op, OpError, Shape
from rv_check.problems import Frame, Place, Problem, SpecError, quote
from rv_check.spec import (
    ArchEntry,
    Block,
    CallStep,
    Family,
    GroupStep,
    IfStep,
    JoinStep,
    Name,
    NoneStep,
    RepeatStep,
    ShapeStep,
    Steps,
)

MAX_LAYERS = 1_000_000
MAX_EXPANSIONS = 30_000  # steps that are not equal to an earlier one; about a second of work
MAX_BLOCKS_DEEP = 40


@dataclass(frozen=True, eq=False)
class Layer:
    """One op on an input of shape `x`, giving `y`."""

    op: Op
    x: Shape
    y: Shape

    slots = 1
    layers = 1


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


@dataclass(frozen=True, eq=False)
class Join:
    """A sum, concat or product of branches, each fed with the same input."""

    kind: str
    branches: tuple[tuple[str, Seq], ...]
    x: Shape
    y: Shape
    slots: int
    layers: int


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


@dataclass(frozen=True, eq=False)
class Seq:
    """Items in the order of the flow. `slots`: how many positions they take in the nearest module."""

    items: tuple[Item, ...]
    x: Shape
    y: Shape
    slots: int
    layers: int
    named: bool  # an item here, or in what is transparent here, has a name of its own


@dataclass(frozen=True, eq=False)
class LateName:
    """A name that depends on the index of a repeat."""

    name: Name
    scope: Scope

    def text(self, indices: Mapping[str, int]) -> str:
        """The name in the round that `indices` tell."""
        scope = Scope({**indices, **self.scope.values}, self.scope.find)
        return "".join(p if isinstance(p, str) else str(p.integer(scope)) for p in self.name.parts)


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


def children(seq: Seq, position: int = 0, indices: Mapping[str, int] | None = None) -> Iterator[tuple[str, Item]]:
    """The modules and layers of a sequence by name, looking through everything transparent.

    Yields in the order of the flow, which is the order of definition and of a `state_dict`.
    """
    indices = indices or {}
    for item in seq.items:
        node = item.node
        match node:
            case Layer() | Module():
                name = item.name
                if name is None:
                    yield str(position), item
                else:
                    yield (name if isinstance(name, str) else name.text(indices)), item
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


def expand(family: Family, arch: ArchEntry, values: Mapping[str, Value], x: Shape, at_declared_input: bool) -> Tree:
    """The tree of an arch.

    Args: `values` the family's arguments; `x` the input shape C H W; `at_declared_input` whether `shape:` lines hold.
    Raises: SpecError, with the chain of calls that led to each problem.
    """
    return _Expander(arch.name, at_declared_input).family(family, values, x)


def bind(target: Any, filled: Mapping[str, Value], call: Call, scope: Scope) -> tuple[dict[str, Value], dict[str, Place]]:
    """The values of a call's arguments by name, and where each was written. Raises: SpecError."""
    check_call(target, call, filled)
    free = [name for name in target.argument_names if name not in filled]
    values, places = dict(filled), {}
    for position, argument in enumerate(call.arguments):
        name = argument.keyword if argument.keyword is not None else free[position]
        values[name] = argument.value.evaluate(scope)
        places[name] = argument.value.place
    return values, places


def with_defaults(target: Family | Block, values: Mapping[str, Value]) -> dict[str, Value]:
    """All arguments in the order of the definition, defaults filled in."""
    scope = definition_scope(target, {})
    full: dict[str, Value] = {}
    for name, default in target.arguments.items():
        if name in values:
            full[name] = values[name]
        elif default is not None:
            full[name] = default.evaluate(scope)
    return full


def definition_scope(target: Family | Block, values: Mapping[str, Value]) -> Scope:
    """The scope of a file: these values, and the ops and blocks seen from its folder."""
    folder = target.path.parent
    return Scope(values, lambda name: find(name, folder))


class _Stop(Exception):
    """A problem was recorded; the shape behind it is unknown."""


class _Expander:
    def __init__(self, arch: str, check_shapes: bool):
        self.check_shapes = check_shapes
        self.unchecked = 0
        self.expansions = 0
        self.chain: list[Frame] = [Frame(arch)]
        self.active: list[Block] = []
        self.memo: dict[Any, Seq] = {}
        self.problems: list[Problem] = []

    # Problems. The first of a sequence ends it, since the shape is unknown from there on; other branches go on.

    def stop(self, error: SpecError) -> _Stop:
        for p in error.problems:
            self.problems.append(Problem(p.message, p.place, p.expected, p.near, p.chain or tuple(self.chain)))
        return _Stop()

    def fail(self, message: str, place: Place, expected: str | None = None) -> _Stop:
        return self.stop(SpecError([Problem(message, place, expected)]))

    @contextmanager
    def read(self) -> Iterator[None]:
        """Expressions and calls are read in here."""
        try:
            yield
        except SpecError as error:
            raise self.stop(error) from None

    @contextmanager
    def within(self, frame: Frame) -> Iterator[None]:
        self.chain.append(frame)
        yield
        self.chain.pop()  # on an error the chain is not needed again, but for branches, which restore it

    def spend(self, place: Place) -> None:
        self.expansions += 1
        if self.expansions > MAX_EXPANSIONS:
            raise self.fail(f"more than {MAX_EXPANSIONS:,} steps that all differ", place, "a smaller network")

    # Definitions

    def family(self, family: Family, values: Mapping[str, Value], x: Shape) -> Tree:
        try:
            with self.read():
                scope = self.let(definition_scope(family, with_defaults(family, values)), family.let)
            seq = self.steps(family.body, scope, x, 0)
            self.names(seq)
        except _Stop:
            pass
        if self.problems:
            raise SpecError(self.problems)
        return Tree(Module("", seq), self.unchecked)

    def let(self, scope: Scope, let: Iterable[tuple[str, Expr]]) -> Scope:
        for name, expr in let:
            scope = scope.with_values({name: expr.evaluate(scope)})
        return scope

    def block(self, block: Block, values: Mapping[str, Value], x: Shape, place: Place) -> Seq:
        memo = (id(block), tuple((name, key(value)) for name, value in sorted(values.items())), x)
        if memo in self.memo:
            return self.memo[memo]
        if block in self.active:
            names = " > ".join(b.name for b in [*self.active, block])
            raise self.fail(f"block {quote(block.name)} contains itself: {names}", place, "blocks without recursion")
        if len(self.active) >= MAX_BLOCKS_DEEP:
            raise self.fail(f"blocks nested deeper than {MAX_BLOCKS_DEEP}", place)
        self.active.append(block)
        with self.read():
            scope = definition_scope(block, with_defaults(block, values))
        scope = self.inputs(block, scope, x)
        with self.read():
            scope = self.let(scope, block.let)
        seq = self.steps(block.body, scope, x, 0)
        self.outputs(block, scope, seq.y)
        if not block.inline:
            self.names(seq)
        self.active.pop()
        self.memo[memo] = seq
        return seq

    def inputs(self, block: Block, scope: Scope, x: Shape) -> Scope:
        wanted = " ".join(t.letter or (t.expr.text if t.expr else "_") for t in block.inputs)
        if len(block.inputs) != len(x):
            place = block.inputs[0].place if block.inputs else block.place
            raise self.fail(f"the input of {block.name} is {' '.join(map(str, x))}", place, wanted)
        letters: dict[str, Value] = {}
        for term, size in zip(block.inputs, x, strict=True):
            if term.letter is not None:
                if letters.setdefault(term.letter, size) != size:
                    found = f"{term.letter} is {letters[term.letter]} and {size}"
                    raise self.fail(f"the input of {block.name} is {' '.join(map(str, x))}: {found}", term.place, wanted)
            elif term.expr is not None:
                with self.read():
                    expected = term.expr.integer(scope)
                if expected != size:
                    shown = " ".join(map(str, x))
                    raise self.fail(f"the input of {block.name} is {shown}", term.place, f"{term.expr.text} = {expected}")
        return scope.with_values(letters)

    def outputs(self, block: Block, scope: Scope, y: Shape) -> None:
        if not block.outputs:
            return
        found = " ".join(map(str, y))
        if len(block.outputs) != len(y):
            wanted = " ".join(t.expr.text if t.expr else "_" for t in block.outputs)
            raise self.fail(f"the output of {block.name} is {found}", block.outputs[0].place, wanted)
        for term, size in zip(block.outputs, y, strict=True):
            if term.expr is None:
                continue
            with self.read():
                expected = term.expr.integer(scope)
            if expected != size:
                raise self.fail(f"the output of {block.name} is {found}", term.place, f"{term.expr.text} = {expected}")

    def names(self, seq: Seq) -> None:
        """No name twice in a module."""
        if not seq.named:
            return
        seen: dict[str, Place] = {}
        with self.read():
            for name, place in self.explicit(seq, {}):
                self.spend(place)
                if name in seen:
                    first = seen[name]
                    where = "in a repeat without an index in the name" if first == place else f"first at {first.short}"
                    expected = f"names that differ, as in {name}{{i+1}}" if first == place else "names that differ"
                    raise self.fail(f"{quote(name)} names two steps of one module, {where}", place, expected)
                seen[name] = place

    def explicit(self, seq: Seq, indices: Mapping[str, int]) -> Iterator[tuple[str, Place]]:
        for item in seq.items:
            node = item.node
            match node:
                case Layer() | Module():
                    if item.name is not None:
                        yield (item.name if isinstance(item.name, str) else item.name.text(indices)), item.place
                case Join():
                    for _, branch in node.branches:
                        yield from self.explicit(branch, indices)
                case Repeat():
                    if node.seq.named:
                        for turn in range(node.times):
                            within = {**indices, node.index: node.first + turn} if node.index else indices
                            yield from self.explicit(node.seq, within)
                case Seq():
                    yield from self.explicit(node, indices)

    # Steps

    def steps(self, steps: Steps, scope: Scope, x: Shape, position: int) -> Seq:
        items: list[Item] = []
        begin = x
        for step in steps:
            self.spend(step.place)
            added: list[Item] = []
            match step:
                case CallStep():
                    added = [self.call(step, scope, x, position)]
                case GroupStep():
                    name = self.name(step.name, scope)
                    with self.within(Frame(step.name.text, step.place)):
                        seq = self.steps(step.steps, scope, x, 0)
                        self.names(seq)
                    added = [Item(name, Module("", seq), step.place)]
                case ShapeStep():
                    self.shape(step, scope, x)
                case JoinStep():
                    added = [Item(None, self.join(step, scope, x, position), step.place)]
                case RepeatStep():
                    added = self.repeat(step, scope, x, position)
                case IfStep():
                    with self.read():
                        arm = step.then if step.condition.truth(scope) else step.otherwise
                    if arm:
                        added = [Item(None, self.steps(arm, scope, x, position), step.place)]
                case NoneStep():
                    raise AssertionError("join() reads a branch that is none")
            for item in added:
                items.append(item)
                x = item.node.y
                position += item.node.slots
        return self.seq(items, begin, x, steps)

    def seq(self, items: list[Item], x: Shape, y: Shape, steps: Steps) -> Seq:
        layers = sum(item.node.layers for item in items)
        if layers > MAX_LAYERS:
            raise self.fail(f"{layers:,} layers", steps[0].place, f"at most {MAX_LAYERS:,} layers")
        return Seq(tuple(items), x, y, sum(i.node.slots for i in items), layers, any(map(_named, items)))

    def name(self, name: Name | None, scope: Scope) -> str | LateName | None:
        if name is None:
            return None
        with self.read():
            for part in name.parts:
                if isinstance(part, Expr) and any(n.id not in scope.values for n in part.names()):
                    return LateName(name, scope)
            return LateName(name, scope).text({})

    def call(self, step: CallStep, scope: Scope, x: Shape, position: int) -> Item:
        name = self.name(step.name, scope)
        shown = step.name.text if step.name else str(position)
        call = step.call
        with self.read():
            target: Any = scope.values.get(call.name)
            if call.name not in scope.values:
                target = Partial(scope.find(call.name))
            if not isinstance(target, Partial) or target.target is None:
                found = f"{quote(call.name)} is {kind(target)}"
                raise SpecError([Problem(found, call.place, "an op or a block")])
            values, places = bind(target.target, dict(target.filled), call, scope)
        if isinstance(target.target, Block):
            block = target.target
            if block.inline and step.name is not None:
                expected = "no name: its steps are steps of the module around it"
                raise self.fail(f"block {block.name} is inline and cannot be named", step.name.place, expected)
            with self.within(Frame(f"{shown}: {call.text}", call.place)):
                seq = self.block(block, values, x, call.place)
            if block.inline:
                return Item(None, seq, step.place)
            arguments = ", ".join(f"{n}={show(v)}" for n, v in with_defaults(block, values).items())
            return Item(name, Module(f"{block.name}({arguments})", seq), step.place)
        return Item(name, self.layer(target.target, values, places, call, x), step.place)

    def layer(self, cls: type[Op], values: dict[str, Value], places: dict[str, Place], call: Call, x: Shape) -> Layer:
        try:
            op = ops.make(cls, values)
            y = op.shape(x)
        except OpError as error:
            place = places.get(error.argument or "", call.place)
            message = error.message if error.message.startswith(cls.name) else f"{cls.name}: {error.message}"
            raise self.fail(message, place, error.expected) from None
        return Layer(op, x, y)

    def shape(self, step: ShapeStep, scope: Scope, x: Shape) -> None:
        if not self.check_shapes:
            self.unchecked += 1
            return
        with self.read():
            wanted = [None if term is None else term.integer(scope) for term in step.terms]
        if len(wanted) != len(x) or any(w is not None and w != size for w, size in zip(wanted, x, strict=True)):
            expected = " ".join("_" if w is None else str(w) for w in wanted)
            raise self.fail(f"the shape here is {' '.join(map(str, x))}", step.place, expected)

    def repeat(self, step: RepeatStep, scope: Scope, x: Shape, position: int) -> list[Item]:
        with self.read():
            times = step.times.integer(scope)
        if times < 0:
            raise self.fail(f"repeat {step.times.text} is {times}", step.times.place, "0 or more")
        rounds: list[Item] = []
        turn = 0
        while turn < times:
            inner = scope
            if step.index is not None and step.index_is_used:
                inner = scope.with_values({step.index: turn})
            seq = self.steps(step.steps, inner, x, position)
            # From a round that keeps the shape on, all rounds are equal, unless they use the index.
            rest = 1 if step.index_is_used or seq.y != x else times - turn
            if rest * seq.layers > MAX_LAYERS:
                raise self.fail(
                    f"{rest:,} rounds of {seq.layers:,} layers", step.times.place, f"at most {MAX_LAYERS:,} layers"
                )
            rounds.append(Item(None, Repeat(rest, turn, step.index, seq), step.place))
            x = seq.y
            position += rest * seq.slots
            turn += rest
        return rounds

    def join(self, step: JoinStep, scope: Scope, x: Shape, position: int) -> Join:
        branches: list[tuple[str, Seq]] = []
        stopped = False
        depth, blocks = len(self.chain), len(self.active)
        for label, steps in step.branches:
            try:
                branch = self.branch(steps, scope, x, position)
            except _Stop:
                stopped = True
                del self.chain[depth:], self.active[blocks:]
                continue
            if branch is not None:
                branches.append((label, branch))
                position += branch.slots
        if stopped:
            raise _Stop
        if not branches:
            raise self.fail(f"every branch of {step.kind} is none", step.place, "a branch that is there")
        y = self.joined(step, branches)
        slots = sum(b.slots for _, b in branches)
        return Join(step.kind, tuple(branches), x, y, slots, sum(b.layers for _, b in branches))

    def branch(self, steps: Steps, scope: Scope, x: Shape, position: int) -> Seq | None:
        """The branch, or None where it is `none`."""
        while len(steps) == 1 and isinstance(steps[0], IfStep):
            with self.read():
                steps = steps[0].then if steps[0].condition.truth(scope) else steps[0].otherwise
        if len(steps) == 1 and isinstance(steps[0], NoneStep):
            return None
        return self.steps(steps, scope, x, position)

    def joined(self, step: JoinStep, branches: list[tuple[str, Seq]]) -> Shape:
        shapes = [branch.y for _, branch in branches]
        first = shapes[0]
        if step.kind == "concat" and all(len(s) == len(first) and s[1:] == first[1:] for s in shapes):
            return (sum(s[0] for s in shapes), *first[1:])
        if step.kind == "product" and all(len(s) == len(first) for s in shapes):
            sides = [set(axis) - {1} for axis in zip(*shapes, strict=True)]
            if all(len(side) <= 1 for side in sides):
                return tuple(max(axis) for axis in zip(*shapes, strict=True))
        if step.kind == "sum" and all(s == first for s in shapes):
            return first
        shown = ", ".join(f"{label} {' '.join(map(str, b.y))}" for label, b in branches)
        expected = {
            "sum": "equal shapes",
            "concat": "shapes that differ in channels only",
            "product": "equal shapes, or axes of size 1",
        }[step.kind]
        raise self.fail(f"the branches of {step.kind} differ: {shown}", step.place, expected)


def _named(item: Item) -> bool:
    match item.node:
        case Layer() | Module():
            return item.name is not None
        case Join():
            return any(branch.named for _, branch in item.node.branches)
        case Repeat():
            return item.node.seq.named
        case Seq():
            return item.node.named

