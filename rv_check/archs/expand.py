"""A definition becomes a tree: calls are bound, repeats unrolled or kept, and every shape is worked out.

What cannot be is told with its place in the spec and the calls that led to it, all problems at once. Limits keep a spec
from growing without end.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

from rv_check.archs.tree import Item, Join, LateName, Layer, Module, Repeat, Seq, Tree
from rv_check.errors import Frame, Place, Problem, SpecError, once_per_place
from rv_check.language.definitions import (
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
    Step,
    Steps,
)
from rv_check.language.expressions import Argument, Call, Expr, Scope
from rv_check.language.library import find
from rv_check.language.names import check_call
from rv_check.ops import op as ops
from rv_check.ops.arguments import OpError
from rv_check.ops.op import Op, Shape
from rv_check.text import quote, shown_shape
from rv_check.values import Partial, Value, key, kind, show

MAX_SIZE = 1_000_000  # layers, blocks and joins, every round of a repeat counted
MAX_STEPS = 30_000  # steps that are expanded, since they are not equal to earlier ones: about a second of work
MAX_DEPTH = 50  # blocks, groups, branches and arms within one another
MAX_AXIS = 10**15  # channels, rows or columns


@dataclass
class Budget:
    """Steps that may still be expanded. The archs of a file that are expanded together share one."""

    steps: int = MAX_STEPS


def expand(
    family: Family,
    arch: ArchEntry,
    values: Mapping[str, Value],
    x: Shape,
    at_declared_input: bool,
    budget: Budget | None = None,
) -> Tree:
    """The tree of an arch.

    Args: `values` the family's arguments; `x` the input shape C H W; `at_declared_input` whether `shape:` lines hold;
    `budget` of this and other archs.
    Raises: SpecError, with the chain of calls that led to each problem.
    """
    return _Expander(arch.name, at_declared_input, budget or Budget()).family(family, values, x)


def expand_block(block: Block, values: Mapping[str, Value], x: Shape, budget: Budget | None = None) -> Tree:
    """The tree of one block by itself, its steps at the top.

    Args: `values` its arguments, defaults apart; `x` its input.
    Raises: SpecError, as `expand`.
    """
    return _Expander(block.name, True, budget or Budget()).alone(block, values, x)


def bind(target: Any, filled: Mapping[str, Value], call: Call, scope: Scope) -> dict[str, Value]:
    """The values of a call's arguments by name. Raises: SpecError."""
    check_call(target, call, filled)
    given = {name: argument.value.evaluate(scope) for name, argument in arguments_of(target, call)}
    return {**filled, **given}


def arguments_of(target: Any, call: Call) -> Iterator[tuple[str, Argument]]:
    """The arguments of a call with the names they fill."""
    for position, argument in enumerate(call.arguments):
        yield argument.keyword if argument.keyword is not None else target.argument_names[position], argument


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


class _Reading:
    """Notes the problems of what is read within, and stops. A plain class, since every step enters it."""

    __slots__ = ("expander",)

    def __init__(self, expander: _Expander):
        self.expander = expander

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, SpecError):
            self.expander.note(error.problems)
            raise _Stop from None


class _Expander:
    def __init__(self, arch: str, check_shapes: bool, budget: Budget):
        self.check_shapes = check_shapes
        self.unchecked = 0
        self.budget = budget
        self.depth = 0
        self.chain: list[Frame] = [Frame(arch)]
        self.active: list[Block] = []
        self.memo: dict[Any, Seq] = {}
        self.find = functools.cache(find)  # the files do not change while they are read
        self.problems: list[Problem] = []

    # Problems. One that leaves the shape unknown ends its sequence; other branches go on, and so does what comes after
    # a contract that does not hold.

    def note(self, problems: Iterable[Problem]) -> None:
        """Keep problems, with the chain that led there."""
        chain = tuple(self.chain)
        self.problems += [replace(problem, chain=problem.chain or chain) for problem in problems]

    def fail(self, message: str, place: Place, expected: str | None = None, details: tuple[str, ...] = ()) -> _Stop:
        self.note([Problem(message, place, expected, details=details)])
        return _Stop()

    def read(self) -> _Reading:
        """Expressions and calls are read in here."""
        return _Reading(self)

    @contextmanager
    def within(self, frame: Frame) -> Iterator[None]:
        """A link of the chain. On an error it stays, until who goes on restores the chain."""
        self.chain.append(frame)
        yield
        self.chain.pop()

    def spend(self, place: Place) -> None:
        self.budget.steps -= 1
        if self.budget.steps < 0:
            raise self.fail(f"more than {MAX_STEPS:,} steps and names, none like another", place, "a smaller network")

    def deep(self, depth: int, place: Place) -> None:
        if depth > MAX_DEPTH:
            found = "too many blocks, groups and branches within one another"
            raise self.fail(found, place, f"at most {MAX_DEPTH}")

    # Definitions

    def family(self, family: Family, values: Mapping[str, Value], x: Shape) -> Tree:
        try:
            with self.read():
                scope = self.let(self.scope(family, values), family.let)
            seq = self.steps(family.body, scope, x, 0)
            self.names(seq)
        except _Stop:
            pass
        if self.problems:
            raise SpecError(once_per_place(self.problems))
        return Tree(Module("", seq), self.unchecked)

    def alone(self, block: Block, values: Mapping[str, Value], x: Shape) -> Tree:
        with suppress(_Stop):
            seq = self.block(block, with_defaults(block, values), x, block.place)
        if self.problems:
            raise SpecError(once_per_place(self.problems))
        return Tree(Module("", seq), self.unchecked)

    def scope(self, target: Family | Block, values: Mapping[str, Value]) -> Scope:
        """The scope of a file: all its arguments, and the ops and blocks seen from its folder."""
        folder = target.path.parent
        return Scope(with_defaults(target, values), lambda name: self.find(name, folder))

    def let(self, scope: Scope, let: Iterable[tuple[str, Expr]]) -> Scope:
        for name, expr in let:
            scope = scope.with_values({name: expr.evaluate(scope)})
        return scope

    def block(self, block: Block, values: Mapping[str, Value], x: Shape, place: Place) -> Seq:
        memo = (block, tuple((name, key(value)) for name, value in sorted(values.items())), x)
        if memo in self.memo:
            self.deep(self.depth + self.memo[memo].height, place)
            return self.memo[memo]
        if block.is_contract:
            raise self.fail(f"block {quote(block.name)} is a contract: it has no body", place, "a block with a body")
        if block in self.active:
            names = " > ".join(b.name for b in [*self.active[self.active.index(block) :], block])
            raise self.fail(f"block {quote(block.name)} contains itself: {names}", place, "blocks without recursion")
        self.active.append(block)
        with self.read():
            scope = self.scope(block, values)
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
        """The scope with the letters of `in:`. What else stands there must hold."""
        found = f"the input of {block.name} is {shown_shape(x)}"
        if len(block.inputs) != len(x):
            wanted = " ".join(term.letter or (term.expr.text if term.expr else "_") for term in block.inputs)
            raise self.fail(found, block.inputs[0].place, wanted)
        letters: dict[str, Value] = {}
        for term, size in zip(block.inputs, x, strict=True):
            if term.letter is not None and letters.setdefault(term.letter, size) != size:
                raise self.fail(found, term.place, f"{term.letter} = {letters[term.letter]}")
            if term.expr is not None:
                self.holds(term.expr, scope, size, found)
        return scope.with_values(letters)

    def outputs(self, block: Block, scope: Scope, y: Shape) -> None:
        """What `out:` says must hold; what comes after goes on with the shape that is there."""
        if not block.outputs:
            return
        found = f"the output of {block.name} is {shown_shape(y)}"
        if len(block.outputs) != len(y):
            wanted = " ".join(term.expr.text if term.expr else "_" for term in block.outputs)
            self.note([Problem(found, block.outputs[0].place, wanted)])
            return
        for term, size in zip(block.outputs, y, strict=True):
            if term.expr is not None:
                self.holds(term.expr, scope, size, found)

    def holds(self, expr: Expr, scope: Scope, size: int, found: str) -> None:
        with self.read():
            wanted = expr.integer(scope)
        if wanted != size:
            expected = expr.text if expr.text == str(wanted) else f"{expr.text} = {wanted}"
            self.note([Problem(found, expr.place, expected)])

    def names(self, seq: Seq) -> None:
        """No name twice in a module."""
        if not seq.named:
            return
        seen: dict[str, Place] = {}
        with self.read():
            for name, place in self.explicit(seq, {}):
                self.spend(place)
                if name in seen:
                    first, expected = f", the first at {seen[name].short}", "another name (weights cannot be shared)"
                    if seen[name] == place:  # in a repeat, or in an inline block that is used twice
                        first, expected = "", "no name, or one that differs each time, as in NAME{i+1}"
                    self.note([Problem(f"{quote(name)} names two steps of one module{first}", place, expected)])
                    return
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
        self.depth += 1
        if steps:
            self.deep(self.depth, steps[0].place)
        items: list[Item] = []
        begin = x
        for step in steps:
            self.spend(step.place)
            for item in self.step(step, scope, x, position):
                items.append(item)
                x = item.node.y
                position += item.node.slots
            if max(x) > MAX_AXIS:
                raise self.fail(
                    f"the shape after this is {shown_shape(x)}", step.place, f"at most {MAX_AXIS:,} of each"
                )
        self.depth -= 1
        return self.seq(items, begin, x, steps)

    def step(self, step: Step, scope: Scope, x: Shape, position: int) -> list[Item]:
        match step:
            case CallStep():
                return [self.call(step, scope, x, position)]
            case GroupStep():
                return [self.group(step, scope, x)]
            case ShapeStep():
                self.shape(step, scope, x)
            case JoinStep():
                return [Item(None, self.join(step, scope, x, position), step.place)]
            case RepeatStep():
                return self.repeat(step, scope, x, position)
            case IfStep():
                with self.read():
                    arm = step.then if step.condition.truth(scope) else step.otherwise
                return [Item(None, self.steps(arm, scope, x, position), step.place)] if arm else []
            case NoneStep():
                raise AssertionError("join() reads a branch that is none")
        return []

    def seq(self, items: list[Item], x: Shape, y: Shape, steps: Steps) -> Seq:
        layers, size = sum(item.node.layers for item in items), sum(item.node.size for item in items)
        if size > MAX_SIZE:
            raise self.fail(f"{size:,} layers and blocks", steps[0].place, f"at most {MAX_SIZE:,}")
        slots, height = sum(item.node.slots for item in items), 1 + max((item.node.height for item in items), default=0)
        return Seq(tuple(items), x, y, slots, layers, size, height, any(map(_named, items)))

    def group(self, step: GroupStep, scope: Scope, x: Shape) -> Item:
        name = self.name(step.name, scope)
        with self.within(Frame(step.name.text, step.place)):
            seq = self.steps(step.steps, scope, x, 0)
            self.names(seq)
        return Item(name, Module("", seq), step.place)

    def name(self, name: Name | None, scope: Scope) -> str | LateName | None:
        if name is None or len(name.parts) == 1:  # a name begins with text, so one part is all text
            return name.text if name else None
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
            target = call.target.evaluate(scope)
            if not isinstance(target, Partial):
                raise SpecError([Problem(f"{call.name} is {kind(target)}", call.place, "an op or a block")])
            values = bind(target.target, dict(target.filled), call, scope)
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
        return Item(name, self.layer(target.target, values, call, x), step.place)

    def layer(self, cls: type[Op], values: dict[str, Value], call: Call, x: Shape) -> Layer:
        try:
            op = ops.make(cls, values)
            y = op.shape(x)
        except OpError as error:
            places = {name: argument.value.place for name, argument in arguments_of(cls, call)}
            place = places.get(error.argument or "", call.place)
            message = f"{cls.name}: {error.message}" if error.argument else error.message
            raise self.fail(message, place, error.expected, error.details) from None
        return Layer(op, x, y)

    def shape(self, step: ShapeStep, scope: Scope, x: Shape) -> None:
        """A line that must hold; what comes after goes on with the shape that is there."""
        if not self.check_shapes:
            self.unchecked += 1
            return
        with self.read():
            wanted = [None if term is None else term.integer(scope) for term in step.terms]
        expected = " ".join("_" if size is None else str(size) for size in wanted)
        problem = Problem(f"the shape here is {shown_shape(x)}", step.place, expected)
        if len(wanted) != len(x):
            self.note([problem])
            return
        for term, size, found in zip(step.terms, wanted, x, strict=True):
            if term is not None and size != found:
                self.note([replace(problem, place=term.place)])
                return

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
            if rest * seq.size > MAX_SIZE:
                found = f"{rest:,} rounds make {rest * seq.size:,} layers and blocks"
                raise self.fail(found, step.times.place, f"at most {MAX_SIZE:,}")
            if seq.size:  # a round of nothing leaves nothing, however often
                rounds.append(Item(None, Repeat(rest, turn, step.index, seq), step.place))
            x = seq.y
            position += rest * seq.slots
            turn += rest
        return rounds

    def join(self, step: JoinStep, scope: Scope, x: Shape, position: int) -> Join:
        branches: list[tuple[str, Seq]] = []
        stopped = False
        depth, links, blocks = self.depth, len(self.chain), len(self.active)
        for label, steps in step.branches:
            try:
                branch = self.branch(steps, scope, x, position)
            except _Stop:
                stopped = True
                self.depth = depth
                del self.chain[links:], self.active[blocks:]
                continue
            if branch is not None:
                branches.append((label, branch))
                position += branch.slots
        if stopped:
            raise _Stop
        if not branches:
            raise self.fail(f"every branch of {step.kind} is none", step.place, "a branch that is there")
        return Join(step.kind, tuple(branches), x, self.joined(step, branches))

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
        shown = ", ".join(f"{label} {shown_shape(branch.y)}" for label, branch in branches)
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
