"""The receptive field of a unit: size, stride (jump) and padding along each axis of the map, in input pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TypeVar

from rv_check.archs import axes
from rv_check.archs.axes import PIXEL, Along
from rv_check.ops.op import Slide

T = TypeVar("T")
SHOWN_PHASES = 4  # as many as fit a line
AXIS_NAMES = {1: ("length",), 2: ("rows", "columns"), 3: ("depth", "rows", "columns")}  # by how many there are


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of one unit of a feature map along each of its `axes`, in input pixels.

    A map of an image has two, rows and columns; one of a sequence one, its length; one of a volume or a video three.
    `aligned`: all paths to the unit are centred on one pixel (Araujo et al. 2019, doi:10.23915/distill.00021).
    `through_gate`: a gate or branch that sees everything makes the true field global; the axes are those of the
    convolutional path. `collapsed`: a pool to a fixed size, a flatten or a linear layer has been passed; the axes are
    those of the last feature map before it. Behind an upsampling units differ; `size`, `stride`, `padding` and `centre`
    are then those of `Phases`.
    """

    axes: tuple[Along, ...] = (PIXEL, PIXEL)
    aligned: bool = True
    through_gate: bool = False
    collapsed: bool = False

    @property
    def rows(self) -> Along:
        """The last axis but one, of a map that has two or three."""
        return self.axes[-2]

    @property
    def columns(self) -> Along:
        """The last axis."""
        return self.axes[-1]

    @property
    def names(self) -> tuple[str, ...]:
        """What the axes are called."""
        return AXIS_NAMES[len(self.axes)]

    @property
    def size(self) -> int | tuple[int, ...]:
        """The pixels that a unit sees; one number where the axes agree."""
        return _one([axis.size for axis in self.axes])

    @property
    def stride(self) -> float | tuple[float, ...]:
        """The input pixels between the fields of neighbouring units (the jump); a fraction where a map is upsampled."""
        return _one([axis.stride for axis in self.axes])

    @property
    def padding(self) -> int | tuple[int, ...]:
        """How far the first unit's field begins before the input."""
        return _one([axis.padding for axis in self.axes])

    @property
    def centre(self) -> float | tuple[float, ...]:
        """Where the first unit's field is centred, in pixel indices: pixel 0 is centred at 0. Exact up to 2**53."""
        return _one([(axis.size - 1) / 2 - axis.padding for axis in self.axes])

    @property
    def is_global(self) -> bool:
        """Whether a unit here sees the whole input."""
        return self.through_gate or self.collapsed

    @property
    def kinds(self) -> int:
        """How many neighbouring units have fields that differ by more than where they are."""
        return prod(len(axis.phases) for axis in self.axes)

    @property
    def in_order(self) -> bool:
        """Whether the first and the last of several units tell what they all see."""
        return all(map(axes.in_order, self.axes))

    def __str__(self) -> str:
        return _joined(
            " ",
            [
                f"{axis.size}/{axis.stride if isinstance(axis.stride, int) else f'{axis.stride:.4g}'}/{axis.padding}"
                for axis in self.axes
            ],
        )

    @property
    def by_phase(self) -> str:
        """The fields of the units that differ, as in `the largest of 11/2/6, 11/2/4`; "" where all are alike."""
        if self.kinds == 1:
            return ""
        along = [
            ", ".join("/".join(map(str, phase)) if phase.size else "nothing" for phase in axis.phases)
            if len(axis.phases) <= SHOWN_PHASES
            else f"{len(axis.phases)}, of {min(phase.size for phase in axis.phases)} to {axis.size} pixels"
            for axis in self.axes
        ]
        return f"the largest of {_joined(' by ', along)}"

    @property
    def in_full(self) -> str:
        """The field, and those of the units that differ."""
        return f"{self}, {self.by_phase}" if self.by_phase else str(self)

    def then(self, inner: ReceptiveField) -> ReceptiveField:
        """The field of `inner`, which is relative to this one's feature map, in pixels of this one's input.

        It is exact where this one's units are in order; behind others, go through the layers of `inner` one by one.
        Raises: RvCheckError where a number is too large, or too many units differ.
        """
        if self.collapsed:
            return self
        return ReceptiveField(
            tuple(map(axes.compose, self.axes, inner.axes)),
            self.aligned and inner.aligned,
            self.through_gate or inner.through_gate,
            inner.collapsed,
        )

    def through(self, *slides: Slide) -> ReceptiveField:
        """The field behind what slides over this one's map along each axis. Raises: RvCheckError, as `then`."""
        if self.collapsed:
            return self
        return replace(self, axes=tuple(map(axes.over, self.axes, slides)))

    def times(self, n: int) -> ReceptiveField:
        """This field composed with itself n times, in log n steps. Raises: RvCheckError, as `then`."""
        result, power = ReceptiveField((PIXEL,) * len(self.axes)), self
        while n:
            if n & 1:
                result = result.then(power)
            n >>= 1
            if n:
                power = power.then(power)
        return result


def _one(values: Sequence[T]) -> T | tuple[T, ...]:
    return values[0] if values.count(values[0]) == len(values) else tuple(values)


def _joined(between: str, words: Sequence[str]) -> str:
    """What is said of each axis, once where it is the same."""
    return words[0] if words.count(words[0]) == len(words) else between.join(words)


def union(branches: Sequence[ReceptiveField]) -> ReceptiveField:
    """The union of the paths that keep a feature map; one that collapsed beside them makes the whole global.

    Where all collapsed, it is the union of the last maps before. Raises: RvCheckError, as `ReceptiveField.then`.
    """
    maps = [field for field in branches if not field.collapsed] or branches
    along = list(zip(*(f.axes for f in maps), strict=True))
    aligned = all(f.aligned for f in maps) and all(map(axes.centred, along))
    gate = len(maps) < len(branches) or any(f.through_gate for f in branches)
    return ReceptiveField(tuple(map(axes.union, along)), aligned, gate, collapsed=maps[0].collapsed)
