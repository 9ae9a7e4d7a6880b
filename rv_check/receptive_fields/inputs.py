"""What an input must be: the smallest that an arch takes, and which fields fit into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rv_check.archs.arch import Arch
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.errors import RvCheckError, SpecError
from rv_check.ops.op import Shape
from rv_check.receptive_fields.formula import FieldLine
from rv_check.text import shown_shape


@dataclass(frozen=True)
class Smallest:
    """The smallest square input that an arch takes, and what is in the way of one less, "" where nothing is."""

    size: int
    below: str


def smallest_input(arch: Arch) -> Smallest:
    """It is found by trying: an arch takes an input at which it can be expanded, with the parameters of its own input.

    Raises: SpecError where the arch cannot be expanded at its own input.
    """
    channels, *sides = arch.input
    below = ""
    for size in range(1, max(sides) + 1):
        reason = _why_not(arch, (channels, size, size))
        if not reason:
            return Smallest(size, below)
        below = reason
    raise RvCheckError(f"{arch.name} takes no square input of up to {max(sides)} pixels; at {max(sides)}: {below}")


def _why_not(arch: Arch, input: Shape) -> str:
    """What is wrong with an input, "" where nothing is."""
    other = arch.at(input)
    try:
        state = other.state
    except SpecError as error:
        problem = error.problems[0]
        return f"{problem.place}: {problem.message}"
    for name, shape in arch.state.items():
        if state.get(name) != shape:
            step = name.rpartition(".")[0]
            now, then = (" x ".join(map(str, s)) if s else "missing" for s in (state.get(name), shape))
            return f"{step}: {name} would be {now}; it is {then} at {shown_shape(arch.input)}"
    return ""


def fits(lines: Sequence[FieldLine], size: int) -> tuple[FieldLine | None, FieldLine | None]:
    """The last stage whose field fits an input of that size, and the first that does not."""
    within = [line for line in lines if _longest(line.field) <= size]
    beyond = [line for line in lines if _longest(line.field) > size]
    return max(within, key=lambda line: _longest(line.field), default=None), next(iter(beyond), None)


def _longest(field: ReceptiveField) -> int:
    return max(axis.size for axis in field.axes)
