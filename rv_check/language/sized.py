"""Numbers that depend on the size of a weight, as `sqrt(2/fan_out)`: how large a layer's initial values are."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rv_check.errors import SpecError, spec_error
from rv_check.language.expressions import Expr
from rv_check.text import nearest, quote

FANS = ("fan_in", "fan_out")  # inputs of an output of the layer, and outputs of an input, as torch.nn.init counts them
SIZED_FORM = "numbers, fan_in, fan_out, + - * /, sqrt"

_BINARY: dict[type, Callable[[float, float], float]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: a / b,
}


@dataclass(frozen=True)
class Sized:
    """An expression over `fan_in` and `fan_out`. It is computed in floating point, as constructors do."""

    expr: Expr

    def __str__(self) -> str:
        return self.expr.text

    def at(self, fans: Mapping[str, int]) -> float:
        """Its value for a weight with these fans, by their names. Raises: SpecError where it has none."""
        try:
            return _value(self.expr.node, fans)
        except (ValueError, ZeroDivisionError, OverflowError):
            sizes = " and ".join(f"{name} {fans[name]}" for name in FANS)
            raise spec_error(f"{self} has no value where a layer has {sizes}", self.expr.place) from None


def read_sized(expr: Expr) -> Sized | None:
    """The expression as one that depends on a weight's size; None where it neither names a fan nor takes a root.

    Raises: SpecError where there is anything else in it.
    """
    if not any(name.id in (*FANS, "sqrt") for name in expr.names()):
        return None
    for node in ast.walk(expr.node):
        if isinstance(node, ast.expr) and not _fits(node):
            raise _stray(expr, node)
    return Sized(expr)


def _fits(node: ast.expr) -> bool:
    match node:
        case ast.Constant():
            return not isinstance(node.value, bool)
        case ast.Name():
            return node.id in (*FANS, "sqrt")
        case ast.BinOp():
            return type(node.op) in _BINARY
        case ast.UnaryOp():
            return isinstance(node.op, ast.USub)
        case ast.Call(func=ast.Name(id="sqrt"), args=[_], keywords=[]):
            return True
    return False


def _stray(expr: Expr, node: ast.expr) -> SpecError:
    text = expr.text_of(node)
    near = nearest(text, (*FANS, "sqrt")) if isinstance(node, ast.Name) else None
    return expr.problem(node, f"{quote(text)} says nothing of a layer's size", SIZED_FORM, near)


def _value(node: ast.expr, fans: Mapping[str, int]) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.Name(id=name):
            return fans[name]
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_value(left, fans), _value(right, fans))
        case ast.UnaryOp(operand=operand):
            return -_value(operand, fans)
        case ast.Call(args=[argument]):
            return math.sqrt(_value(argument, fans))
    raise AssertionError(f"{type(node).__name__} is let through")
