"""What a spec file defines, read: steps, blocks, archs and families, each part with its place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from rv_check.errors import Place
from rv_check.language.expressions import Argument, Call, Expr
from rv_check.language.sized import Sized
from rv_check.values import Value


@dataclass(frozen=True)
class Name:
    """A step's name: text and `{expression}` parts, in turn."""

    parts: tuple[str | Expr, ...]
    text: str
    place: Place


@dataclass(frozen=True)
class CallStep:
    """A call as a step: `relu`, or `name: relu`."""

    name: Name | None
    call: Call
    place: Place


@dataclass(frozen=True)
class GroupStep:
    """A group: `name:` with a list of steps."""

    name: Name
    steps: Steps
    place: Place


@dataclass(frozen=True)
class ShapeStep:
    """A shape that must hold here: `shape: 64 _ _`."""

    terms: tuple[Expr | None, ...]  # None where any size will do
    place: Place


@dataclass(frozen=True)
class JoinStep:
    """A join: `sum:`, `concat:` or `product:` with labelled branches."""

    kind: str
    branches: tuple[tuple[str, Steps], ...]
    place: Place


@dataclass(frozen=True)
class RepeatStep:
    """Rounds: `repeat:` with `steps:`."""

    times: Expr
    index: str | None
    index_is_used: bool  # elsewhere than in the names of its own steps: then no two rounds need be equal
    steps: Steps
    place: Place


@dataclass(frozen=True)
class IfStep:
    """A choice: `if:` with `then:` and `else:`."""

    condition: Expr
    then: Steps
    otherwise: Steps
    place: Place


@dataclass(frozen=True)
class NoneStep:
    """A branch that is not there."""

    place: Place


Step = CallStep | GroupStep | ShapeStep | JoinStep | RepeatStep | IfStep | NoneStep
Steps = tuple[Step, ...]


@dataclass(frozen=True)
class Term:
    """One term of `in:` or `out:`: a letter to bind, an expression to hold, or None for any."""

    letter: str | None
    expr: Expr | None
    place: Place


@dataclass(frozen=True, eq=False)
class Definition:
    """What a block file and a family file have in common."""

    name: str
    arguments: dict[str, Expr | None]  # each name with its default, if it has one
    let: tuple[tuple[str, Expr], ...]
    body: Steps
    source: str
    path: Path
    place: Place
    declared: dict[str, Place]  # where each argument, letter, let and index is

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The arguments in the order in which a call by position fills them."""
        return tuple(self.arguments)

    @property
    def required(self) -> tuple[str, ...]:
        """The arguments without a default."""
        return tuple(name for name, default in self.arguments.items() if default is None)


@dataclass(frozen=True)
class Allowed:
    """What a contract allows of one cost: `at most 75_008`, `within 5% of bottleneck(width=out/4)`."""

    metric: str
    relation: str  # one of: at most, at least, exactly, within
    percent: Decimal | None
    number: int | None
    block: Call | None  # the block that the cost is compared with, where there is no number
    words: str
    place: Place

    def bounds(self, value: int) -> tuple[int | None, int | None]:
        """The least and the most that is allowed, `value` being what it is compared with."""
        if self.relation == "within":
            part = (self.percent or 0) * value / 100
            return math.ceil(value - part), math.floor(value + part)
        return (None if self.relation == "at most" else value), (None if self.relation == "at least" else value)


@dataclass(frozen=True, eq=False)
class Block(Definition):
    """A block file: its arguments, its contract and its body; without a body, a contract and nothing else."""

    inputs: tuple[Term, ...]
    outputs: tuple[Term, ...]
    inline: bool
    budgets: tuple[Allowed, ...] = ()
    properties: tuple[str, ...] = ()

    @property
    def is_contract(self) -> bool:
        """Whether it says what a block does, and not what it is."""
        return bool(self.budgets or self.properties)


@dataclass(frozen=True)
class Published:
    """A printed number: the text as printed, its source, and how it is to be held."""

    metric: str
    printed: str
    source: str
    within: Decimal | None  # the percent by which a computed number may be off
    verdict: str | None
    note: str
    place: Place
    input: tuple[int, ...] | None = None  # the size that it is printed of; the arch's own unless given


@dataclass(frozen=True)
class Field:
    """A receptive field as a contract states it, rows and columns: (size, stride, padding)."""

    rows: tuple[int, int, int]
    columns: tuple[int, int, int]


@dataclass(frozen=True)
class StepContract:
    """What must hold of one named step, at the arch's declared input. Of what is None nothing is said."""

    step: str
    shape: tuple[int | None, ...] | None
    params: int | None
    macs: int | None
    receptive_field: Field | None
    place: Place
    places: dict[str, Place] = field(compare=False)


@dataclass(frozen=True)
class Reference:
    """A builder of a registered provider, with arguments that may use the family's."""

    name: str
    arguments: tuple[Argument, ...]
    place: Place


@dataclass(frozen=True)
class InitRule:
    """How the parameters of one op start, or those of one step: `kaiming_normal(mode=fan_out, nonlinearity=relu)`.

    `of`: an op, or the dotted name of a step, which goes before its op. Arguments that are words, as fan_out is, stay
    texts.
    """

    of: str
    method: str
    arguments: dict[str, Value | Sized | str]
    place: Place

    def numbers(self, fans: Mapping[str, int]) -> dict[str, Any]:
        """The arguments as torch takes them, of a weight with these fans. Raises: SpecError where one has no value."""
        return {name: _number(value, fans) for name, value in self.arguments.items()}


def _number(value: Value | Sized | str, fans: Mapping[str, int]) -> float | str:
    if isinstance(value, Sized):
        return value.at(fans)
    return value if isinstance(value, str) else float(value)


def init_rule(rules: Iterable[InitRule], step: str, op: str) -> InitRule | None:
    """The rule for a step that is a layer of this op: its own, or else the op's."""
    found = {rule.of: rule for rule in rules}
    return found.get(step) or found.get(op)


@dataclass(frozen=True)
class ArchEntry:
    """One arch of a family file."""

    name: str
    build: Call
    input: tuple[int, ...] | None
    reference: Reference | None
    contract: tuple[StepContract, ...]
    published: tuple[Published, ...]
    source: str
    place: Place


@dataclass(frozen=True)
class BenchEntry:
    """Cases that are timed: every combination of these archs, words by axis, and batch sizes."""

    archs: tuple[str, ...]
    axes: dict[str, tuple[str, ...]]  # the words of each axis of BENCH_AXES that is given
    batches: tuple[int, ...]  # numbers of images; empty where none is given
    input: tuple[int, ...] | None
    tolerance: Decimal | None  # the percent by which a case may be slower than its baseline
    place: Place


@dataclass(frozen=True, eq=False)
class Family(Definition):
    """A family file: the paper's table. A body, its archs, and which of them are timed how."""

    input: tuple[int, ...]
    init: tuple[InitRule, ...]
    archs: dict[str, ArchEntry]
    bench: tuple[BenchEntry, ...] = ()


def walk(steps: Steps) -> Iterator[Step]:
    """Every step, those within others included, in the order of the file."""
    for step in steps:
        yield step
        match step:
            case GroupStep() | RepeatStep():
                yield from walk(step.steps)
            case JoinStep():
                for _, branch in step.branches:
                    yield from walk(branch)
            case IfStep():
                yield from walk(step.then)
                yield from walk(step.otherwise)


def per_round(steps: Steps) -> Iterator[Expr]:
    """The expressions that make the rounds of a repeat differ if they use its index: all but the names in the module
    around it, which a tree can tell later."""
    for step in walk(steps):
        match step:
            case CallStep():
                yield from (argument.value for argument in step.call.arguments)
            case ShapeStep():
                yield from (term for term in step.terms if term is not None)
            case RepeatStep():
                yield step.times
            case IfStep():
                yield step.condition
            case GroupStep():
                for inner in walk(step.steps):
                    if isinstance(inner, CallStep | GroupStep) and inner.name is not None:
                        yield from (part for part in inner.name.parts if isinstance(part, Expr))
