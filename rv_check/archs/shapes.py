"""What a definition says of shapes, held against the shapes that are there: `in:`, `out:`, `shape:`, and joins.

Where a contract does not hold the problem is noted, and what comes after goes on with the shape that is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rv_check.archs.trail import Trail
from rv_check.errors import Problem
from rv_check.language.definitions import Block, ShapeStep
from rv_check.language.expressions import Expr, Scope
from rv_check.ops.op import Shape
from rv_check.text import shown_shape
from rv_check.values import Value

JOINED = {  # what the shapes of branches must be, by the kind of their join
    "sum": "equal shapes",
    "concat": "shapes that differ in channels only",
    "product": "equal shapes, or axes of size 1",
}


def with_letters(trail: Trail, block: Block, scope: Scope, x: Shape) -> Scope:
    """The scope with the letters of `in:`, bound by the input x. What else stands there must hold.

    Raises: Stop where a letter would be two sizes, or the input has another number of axes.
    """
    found = f"the input of {block.name} is {shown_shape(x)}"
    if len(block.inputs) != len(x):
        expected = " ".join(term.letter or (term.expr.text if term.expr else "_") for term in block.inputs)
        raise trail.fail(found, block.inputs[0].place, expected)
    letters: dict[str, Value] = {}
    for term, size in zip(block.inputs, x, strict=True):
        if term.letter is not None and letters.setdefault(term.letter, size) != size:
            raise trail.fail(found, term.place, f"{term.letter} = {letters[term.letter]}")
        if term.expr is not None:
            _check_size(trail, term.expr, scope, size, found)
    return scope.with_values(letters)


def check_output(trail: Trail, block: Block, scope: Scope, y: Shape) -> None:
    """Note where `out:` does not hold of the output y. Raises: Stop where a term of it has no value."""
    if not block.outputs:
        return
    found = f"the output of {block.name} is {shown_shape(y)}"
    if len(block.outputs) != len(y):
        expected = " ".join(term.expr.text if term.expr else "_" for term in block.outputs)
        trail.note([Problem(found, block.outputs[0].place, expected)])
        return
    for term, size in zip(block.outputs, y, strict=True):
        if term.expr is not None:
            _check_size(trail, term.expr, scope, size, found)


def _check_size(trail: Trail, expr: Expr, scope: Scope, size: int, found: str) -> None:
    with trail.noting:
        expected = expr.integer(scope)
    if expected != size:
        shown = expr.text if expr.text == str(expected) else f"{expr.text} = {expected}"
        trail.note([Problem(found, expr.place, shown)])


def check_shape(trail: Trail, step: ShapeStep, scope: Scope, x: Shape) -> None:
    """Note where a line `shape:` does not hold of the shape x. Raises: Stop where a term of it has no value."""
    with trail.noting:
        expected = [None if term is None else term.integer(scope) for term in step.terms]
    shown = " ".join("_" if size is None else str(size) for size in expected)
    problem = Problem(f"the shape here is {shown_shape(x)}", step.place, shown)
    if len(expected) != len(x):
        trail.note([problem])
        return
    for term, size, found in zip(step.terms, expected, x, strict=True):
        if term is not None and size != found:
            trail.note([replace(problem, place=term.place)])
            return


def joined(kind: str, shapes: Sequence[Shape]) -> Shape | None:
    """The shape of a join of branches of these shapes, or None where they do not fit one another as JOINED says."""
    first = shapes[0]
    if kind == "concat" and all(len(s) == len(first) and s[1:] == first[1:] for s in shapes):
        return (sum(s[0] for s in shapes), *first[1:])
    if kind == "product" and all(len(s) == len(first) for s in shapes):
        sides = [set(axis) - {1} for axis in zip(*shapes, strict=True)]
        if all(len(side) <= 1 for side in sides):
            return tuple(max(axis) for axis in zip(*shapes, strict=True))
    if kind == "sum" and all(s == first for s in shapes):
        return first
    return None
