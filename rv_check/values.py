"""The values of the spec language: exact numbers, lists, and ops or blocks with some of their arguments filled."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

Number = int | Fraction
Value = Any  # int | Fraction | bool | tuple[Value, ...] | Partial


@dataclass(frozen=True)
class Partial:
    """An op or a block as a value, with the keyword arguments filled so far."""

    target: Any  # an op class or a Block: whatever `Scope.find` gave
    filled: tuple[tuple[str, Value], ...] = ()

    @cached_property
    def parts(self) -> int:
        """How many values are in it, each counted as often as it is written out."""
        return 1 + sum(parts(value) for _, value in self.filled)

    def __str__(self) -> str:
        name = self.target.name
        return f"{name}({', '.join(f'{k}={show(v)}' for k, v in self.filled)})" if self.filled else str(name)


def parts(value: Value) -> int:
    """How many values a value is made of."""
    if isinstance(value, tuple):
        return sum(map(parts, value))
    return value.parts if isinstance(value, Partial) else 1


def show(value: Value) -> str:
    """A value as the language writes it."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(show, value)) + "]"
    if isinstance(value, Fraction):
        as_decimal = repr(float(value))
        return as_decimal if Fraction(as_decimal) == value else f"{value.numerator}/{value.denominator}"
    return str(value)


def kind(value: Value) -> str:
    """What a value is, in the words of a message."""
    if isinstance(value, bool | int | Fraction):
        return show(value)
    if isinstance(value, tuple):
        return f"the list {show(value)}"
    return f"the {'op' if isinstance(value.target, type) else 'block'} {value}"


def key(value: Value) -> Any:
    """A dictionary key that tells True from 1."""
    if isinstance(value, tuple):
        return tuple(map(key, value))
    if isinstance(value, Partial):
        return (value.target, tuple((k, key(v)) for k, v in value.filled))
    return (type(value), value)
