"""A definition becomes a tree: calls are bound, repeats unrolled or kept, and every shape is worked out.

What cannot be is told with its place in the spec and the calls that led to it, all problems at once. Limits keep a spec
from growing without end.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from rv_check.archs.arguments import arguments_of, bind, definition_scope, with_defaults, with_let
from rv_check.archs.names import check_names, is_named, name_in
from rv_check.archs.shapes import JOINED, check_output, check_shape, joined, with_letters
from rv_check.archs.trail import Budget, Stop, Trail
from rv_check.archs.tree import Item, Join, Layer, Module, Repeat, Seq, Tree
from rv_check.errors import Frame, Place, spec_error
from rv_check.language.definitions import (
    ArchEntry,
    Block,
    CallStep,
    Family,
    GroupStep,
    IfStep,
    JoinStep,
    NoneStep,
    RepeatStep,
    ShapeStep,
    Step,
    Steps,
)
from rv_check.language.expressions import Call, Scope
from rv_check.language.library import find
from rv_check.ops import op as ops
from rv_check.ops.arguments import OpError
from rv_check.ops.op import Op, Shape
from rv_check.text import quote, shown_shape
from rv_check.values import Partial, Value, key, kind, show

MAX_SIZE = 1_000_000  # layers, blocks and joins, every round of a repeat counted
MAX_AXIS = 10**15  # channels, rows or columns


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
    return _Expander(arch.name, budget, at_declared_input).family(family, values, x)


def expand_block(block: Block, values: Mapping[str, Value], x: Shape, budget: Budget | None = None) -> Tree:
    """The tree of one block by itself, its steps at the top.

    Args: `values` its arguments, defaults apart; `x` its input.
    Raises: SpecError, as `expand`.
    """
    return _Expander(block.name, budget).alone(block, values, x)


class _Expander:
    """Expands definitions, one within another. A block that is called as it was before is the same sequence again."""

    def __init__(self, name: str, budget: Budget | None, check_shapes: bool = True):
        self.trail = Trail(name, budget or Budget())
        self.check_shapes = check_shapes
        self.unchecked = 0
        self.memo: dict[Any, Module] = {}
        self.find = functools.cache(find)  # the files do not change while they are read

    def family(self, family: Family, values: Mapping[str, Value], x: Shape) -> Tree:
        with suppress(Stop):
            with self.trail.noting:
                scope = with_let(definition_scope(family, with_defaults(family, values), self.find), family.let)
            seq = self.steps(family.body, scope, x, 0)
            check_names(self.trail, seq)
        self.trail.settle()
        return Tree(Module("", seq), self.unchecked)

    def alone(self, block: Block, values: Mapping[str, Value], x: Shape) -> Tree:
        with suppress(Stop):
            seq = self.block(block, with_defaults(block, values), x, block.place).seq
        self.trail.settle()
        return Tree(Module("", seq), self.unchecked)

    def block(self, block: Block, values: Mapping[str, Value], x: Shape, place: Place) -> Module:
        memo = (block, tuple((name, key(value)) for name, value in sorted(values.items())), x)
        if memo in self.memo:
            self.trail.deep(self.trail.depth + self.memo[memo].height, place)
            return self.memo[memo]
        if block.is_contract:
            found = f"block {quote(block.name)} is a contract: it has no body"
            raise self.trail.fail(found, place, "a block with a body")
        with self.trail.opened(block, place):
            with self.trail.noting:
                full = with_defaults(block, values)
            scope = with_letters(self.trail, block, definition_scope(block, full, self.find), x)
            with self.trail.noting:
                scope = with_let(scope, block.let)
            seq = self.steps(block.body, scope, x, 0)
            check_output(self.trail, block, scope, seq.y)
            if not block.inline:
                check_names(self.trail, seq)
        label = f"{block.name}({', '.join(f'{name}={show(value)}' for name, value in full.items())})"
        self.memo[memo] = Module(label, seq)
        return self.memo[memo]

    def steps(self, steps: Steps, scope: Scope, x: Shape, position: int) -> Seq:
        self.trail.depth += 1
        if steps:
            self.trail.deep(self.trail.depth, steps[0].place)
        items: list[Item] = []
        begin = x
        for step in steps:
            self.trail.spend(step.place)
            for item in self.step(step, scope, x, position):
                items.append(item)
                x = item.node.y
                position += item.node.slots
            if max(x) > MAX_AXIS:
                raise self.trail.fail(
                    f"the shape after this is {shown_shape(x)}", step.place, f"at most {MAX_AXIS:,} of each"
                )
        self.trail.depth -= 1
        return self.seq(items, begin, x, steps)

    def step(self, step: Step, scope: Scope, x: Shape, position: int) -> list[Item]:
        match step:
            case CallStep():
                return [self.call(step, scope, x, position)]
            case GroupStep():
                return [self.group(step, scope, x)]
            case ShapeStep():
                if self.check_shapes:
                    check_shape(self.trail, step, scope, x)
                else:
                    self.unchecked += 1
            case JoinStep():
                return [Item(None, self.join(step, scope, x, position), step.place)]
            case RepeatStep():
                return self.repeat(step, scope, x, position)
            case IfStep():
                with self.trail.noting:
                    arm = step.then if step.condition.truth(scope) else step.otherwise
                return [Item(None, self.steps(arm, scope, x, position), step.place)] if arm else []
            case NoneStep():
                raise AssertionError("join() reads a branch that is none")
        return []

    def seq(self, items: list[Item], x: Shape, y: Shape, steps: Steps) -> Seq:
        layers, size = sum(item.node.layers for item in items), sum(item.node.size for item in items)
        if size > MAX_SIZE:
            raise self.trail.fail(f"{size:,} layers and blocks", steps[0].place, f"at most {MAX_SIZE:,}")
        slots, height = sum(item.node.slots for item in items), 1 + max((item.node.height for item in items), default=0)
        return Seq(tuple(items), x, y, slots, layers, size, height, any(map(is_named, items)))

    def group(self, step: GroupStep, scope: Scope, x: Shape) -> Item:
        name = name_in(self.trail, step.name, scope)
        with self.trail.within(Frame(step.name.text, step.place)):
            seq = self.steps(step.steps, scope, x, 0)
            check_names(self.trail, seq)
        return Item(name, Module("", seq), step.place)

    def call(self, step: CallStep, scope: Scope, x: Shape, position: int) -> Item:
        name = name_in(self.trail, step.name, scope)
        shown = step.name.text if step.name else str(position)
        call = step.call
        with self.trail.noting:
            target = call.target.evaluate(scope)
            if not isinstance(target, Partial):
                raise spec_error(f"{call.name} is {kind(target)}", call.place, "an op or a block")
            values = bind(target.target, dict(target.filled), call, scope)
        if isinstance(target.target, Block):
            block = target.target
            if block.inline and step.name is not None:
                expected = "no name: its steps are steps of the module around it"
                raise self.trail.fail(f"block {block.name} is inline and cannot be named", step.name.place, expected)
            with self.trail.within(Frame(f"{shown}: {call.text}", call.place)):
                module = self.block(block, values, x, call.place)
            return Item(None, module.seq, step.place) if block.inline else Item(name, module, step.place)
        return Item(name, self.layer(target.target, values, call, x), step.place)

    def layer(self, cls: type[Op], values: dict[str, Value], call: Call, x: Shape) -> Layer:
        try:
            op = ops.make(cls, values)
            y = op.shape(x)
        except OpError as error:
            places = {name: argument.value.place for name, argument in arguments_of(cls, call)}
            place = places.get(error.argument or "", call.place)
            message = f"{cls.name}: {error.message}" if error.argument else error.message
            raise self.trail.fail(message, place, error.expected, error.details) from None
        return Layer(op, x, y)

    def repeat(self, step: RepeatStep, scope: Scope, x: Shape, position: int) -> list[Item]:
        with self.trail.noting:
            times = step.times.integer(scope)
        if times < 0:
            raise self.trail.fail(f"repeat {step.times.text} is {times}", step.times.place, "0 or more")
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
                raise self.trail.fail(found, step.times.place, f"at most {MAX_SIZE:,}")
            if seq.size:  # a round of nothing leaves nothing, however often
                rounds.append(Item(None, Repeat(rest, turn, step.index, seq), step.place))
            x = seq.y
            position += rest * seq.slots
            turn += rest
        return rounds

    def join(self, step: JoinStep, scope: Scope, x: Shape, position: int) -> Join:
        branches: list[tuple[str, Seq]] = []
        stopped = False
        mark = self.trail.mark()
        for label, steps in step.branches:
            try:
                branch = self.branch(steps, scope, x, position)
            except Stop:
                stopped = True
                self.trail.back_to(mark)
                continue
            if branch is not None:
                branches.append((label, branch))
                position += branch.slots
        if stopped:
            raise Stop
        if not branches:
            raise self.trail.fail(f"every branch of {step.kind} is none", step.place, "a branch that is there")
        y = joined(step.kind, [branch.y for _, branch in branches])
        if y is None:
            shown = ", ".join(f"{label} {shown_shape(branch.y)}" for label, branch in branches)
            raise self.trail.fail(f"the branches of {step.kind} differ: {shown}", step.place, JOINED[step.kind])
        return Join(step.kind, tuple(branches), x, y)

    def branch(self, steps: Steps, scope: Scope, x: Shape, position: int) -> Seq | None:
        """The branch, or None where it is `none`."""
        while len(steps) == 1 and isinstance(steps[0], IfStep):
            with self.trail.noting:
                steps = steps[0].then if steps[0].condition.truth(scope) else steps[0].otherwise
        if len(steps) == 1 and isinstance(steps[0], NoneStep):
            return None
        return self.steps(steps, scope, x, position)
