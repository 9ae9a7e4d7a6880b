"""A total that knows whether it is whole: what is known of a network, beside the operations of which it is not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rv_check.errors import Place, RvCheckError
from rv_check.graphs.graph import Node, TensorShape

T = TypeVar("T")
SHOWN = 5  # operations that an error lists


@dataclass(frozen=True)
class Uncounted:
    """An operation that no rule counts. `x`, `y`: the shapes of what comes in and of what comes out, with every axis.

    `name`: the part of the module that asks for it; `place`: the line of its code.
    """

    kind: str
    name: str
    place: Place | None
    x: tuple[TensorShape, ...]
    y: TensorShape

    def __str__(self) -> str:
        where = f" at {self.place}" if self.place else ""
        return f"{self.kind!r} of {self.name or 'the module'} ({', '.join(map(shown, self.x))}){where}"


def shown(shape: TensorShape) -> str:
    """`1x64x56x56`."""
    return "x".join(map(str, shape))


def uncounted_of(nodes: Sequence[Node]) -> tuple[Uncounted, ...]:
    """These operations, as what is not counted."""
    return tuple(
        Uncounted(node.kind, node.name, node.place, tuple(x.shape for x in node.inputs), node.shape) for node in nodes
    )


def with_numbers(uncounted: Sequence[Uncounted]) -> list[tuple[Uncounted, int]]:
    """Each operation once, with how often it is done, in the order in which they are first done."""
    return list(Counter(uncounted).items())


def not_counted(uncounted: Sequence[Uncounted], problem: str) -> RvCheckError:
    """The error that these are not counted. `problem`: what it says of each, with {} for the operation."""
    first, *more = (problem.format(one) for one in uncounted[:SHOWN])
    return RvCheckError(first, details=more)


@dataclass(frozen=True)
class Counted(Generic[T]):
    """What is known of a network. It is taken by `whole`, unless the reader is told that it may be too little.

    `at_least`: of all but the operations in `uncounted`; `ignored`: the kinds that were said to cost nothing, with how
    many there are of each; `problem`: what an error says of an operation that is not counted.
    """

    at_least: T
    uncounted: tuple[Uncounted, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    problem: str = "no rule counts the operation {}"

    @property
    def is_whole(self) -> bool:
        """Whether every operation is counted."""
        return not self.uncounted

    @property
    def whole(self) -> T:
        """What is known, of every operation. Raises: RvCheckError where some are not counted, which it lists."""
        if self.uncounted:
            raise not_counted(self.uncounted, self.problem)
        return self.at_least
