"""Of what a wrong number is right: of the same quantity in another unit, or counted in another way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fractions import Fraction

from rv_check.checks.printed import HOLDS, PERCENT, UNITS, Printed, PrintedRange
from rv_check.language.expressions import Expr
from rv_check.values import Number

ASSUMED = ("M", "G", "k")  # units that tables leave to the head of a column


def hint_of(expr: Expr, number: Printed | PrintedRange, value: Number) -> str:
    """The words for it; "" where there is nothing of the kind. Args: `value` of the expression, exactly."""
    if isinstance(number, PrintedRange) or not number.digits:
        return ""
    exact = Fraction(value) / number.scale
    others = [*_in_other_units(number, exact), *_counted_otherwise(expr, exact)]
    return next((words for words, other in others if number.verdict(other) == HOLDS), "")


def _in_other_units(number: Printed, exact: Fraction) -> Iterator[tuple[str, Fraction]]:
    """Where no unit is printed: what it may be in, and the value then."""
    if number.unit.strip():
        return
    if number.understood:
        yield "it holds as it is, without a unit", exact * number.scale
    else:
        yield from ((f"it holds in {unit}", exact / UNITS[unit]) for unit in ASSUMED)
    yield f"it holds in {PERCENT}", exact * 100


def _counted_otherwise(expr: Expr, exact: Fraction) -> Iterator[tuple[str, Fraction]]:
    """A multiply-add is one operation to some, and two to others."""
    if not names_in(expr) & {"macs", "gmacs"}:
        return
    if any(isinstance(node, ast.Constant) and node.value == 2 for node in ast.walk(expr.node)):
        yield "it holds where a multiply-add counts as one operation: macs, not 2*macs", exact / 2
    else:
        yield "it holds where a multiply-add counts as two operations: 2*macs", exact * 2


def names_in(expr: Expr) -> set[str]:
    """The names of quantities in an expression, with or without a network or a part before them."""
    nodes = list(ast.walk(expr.node))
    dotted = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return dotted | {node.id for node in nodes if isinstance(node, ast.Name)}
