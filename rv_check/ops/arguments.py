"""What an argument of an op takes.

Each function turns a value of the language into the one that the op keeps, or raises OpError.
"""

from __future__ import annotations

from fractions import Fraction

from rv_check.values import Value, kind

IntPair = tuple[int, int]


class OpError(Exception):
    """An op cannot be what it is asked to be. It blames an argument, or its message begins with the op's name."""

    def __init__(
        self, message: str, argument: str | None = None, expected: str | None = None, details: tuple[str, ...] = ()
    ):
        super().__init__(message)
        self.message, self.argument, self.expected, self.details = message, argument, expected, details


def count(value: Value, name: str) -> int:
    """An integer of at least 1. Raises: OpError for anything else."""
    return _integer(value, name, 1)


def count_from_zero(value: Value, name: str) -> int:
    """An integer of at least 0. Raises: OpError for anything else."""
    return _integer(value, name, 0)


def pair(value: Value, name: str, least: int = 1) -> IntPair:
    """The pair of a number for both axes, or of `[rows, columns]`. Raises: OpError where one is less than `least`."""
    if isinstance(value, tuple):
        if len(value) != 2:
            raise OpError(f"{name} is {kind(value)}", name, "an integer, or [rows, columns]")
        return _integer(value[0], name, least), _integer(value[1], name, least)
    number = _integer(value, name, least)
    return number, number


def pair_from_zero(value: Value, name: str) -> IntPair:
    """A pair that may be 0, as a padding may. Raises: OpError for anything else."""
    return pair(value, name, 0)


def flag(value: Value, name: str) -> bool:
    """A value that is True or False. Raises: OpError for anything else."""
    if not isinstance(value, bool):
        raise OpError(f"{name} is {kind(value)}", name, "True or False")
    return value


def rate(value: Value, name: str) -> float:
    """A number from 0 to 1, as a float. Raises: OpError for anything else."""
    number = _number(value, name)
    if not 0 <= number <= 1:
        raise OpError(f"{name} is {kind(value)}", name, "a number from 0 to 1")
    return float(number)


def positive(value: Value, name: str) -> float:
    """A number above 0, as a float. Raises: OpError for anything else."""
    number = _number(value, name)
    if number <= 0:
        raise OpError(f"{name} is {kind(value)}", name, "a number above 0")
    return float(number)


def _number(value: Value, name: str) -> Fraction:
    if isinstance(value, bool) or not isinstance(value, int | Fraction):
        raise OpError(f"{name} is {kind(value)}", name, "a number")
    return Fraction(value)


def _integer(value: Value, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OpError(f"{name} is {kind(value)}", name, f"an integer of at least {least}")
    return value
