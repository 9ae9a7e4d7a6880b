"""The receptive field of a unit: size, stride (jump) and padding along rows and columns, in input pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from rv_check.archs import axes
from rv_check.archs.axes import PIXEL, Along
from rv_check.ops.op import Slide

T = TypeVar("T")
SHOWN_PHASES = 4  # as many as fit a line


@dataclass(frozen=True)
class ReceptiveField:
    """The receptive field of one unit of a feature map, along rows and columns, in input pixels.

    `aligned`: all paths to the unit are centred on one pixel (Araujo et al. 2019, doi:10.23915/distill.00021).
    `through_gate`: a gate or branch that sees everything makes the true field global; the axes are those of the
    convolutional path. `collapsed`: a pool to a fixed size, a flatten or a linear layer has been passed; the axes are
    those of the last feature map before it. Behind an upsampling units differ; `size`, `stride`, `padding` and `centre`
    are then those of `Phases`.
    """

    rows: Along = PIXEL
    columns: Along = PIXEL
    aligned: bool = True
    through_gate: bool = False
    collapsed: bool = False

    @property
    def size(self) -> int | tuple[int, int]:
        """The pixels that a unit sees; one number where rows and columns agree."""
        return _one(self.rows.size, self.columns.size)

    @property
    def stride(self) -> float | tuple[float, float]:
        """The input pixels between the fields of neighbouring units (the jump); a fraction where a map is upsampled."""
        return _one(self.rows.stride, self.columns.stride)

    @property
    def padding(self) -> int | tuple[int, int]:
        """How far the first unit's field begins before the input."""
        return _one(self.rows.padding, self.columns.padding)

    @property
    def centre(self) -> float | tuple[float, float]:
        """Where the first unit's field is centred, in pixel indices: pixel 0 is centred at 0. Exact up to 2**53."""
        return _one((self.rows.size - 1) / 2 - self.rows.padding, (self.columns.size - 1) / 2 - self.columns.padding)

    @property
    def is_global(self) -> bool:
        """Whether a unit here sees the whole input."""
        return self.through_gate or self.collapsed

    @property
    def kinds(self) -> int:
        """How many neighbouring units have fields that differ by more than where they are."""
        return len(self.rows.phases) * len(self.columns.phases)

    @property
    def in_order(self) -> bool:
        """Whether the first and the last of several units tell what they all see."""
        return axes.in_order(self.rows) and axes.in_order(self.columns)

    def __str__(self) -> str:
        rows, columns = (
            f"{axis.size}/{axis.stride if isinstance(axis.stride, int) else f'{axis.stride:.4g}'}/{axis.padding}"
            for axis in (self.rows, self.columns)
        )
        return rows if rows == columns else f"{rows} {columns}"

    @property
    def by_phase(self) -> str:
        """The fields of the units that differ, as in `the largest of 11/2/6, 11/2/4`; "" where all are alike."""
        if self.kinds == 1:
            return ""
        rows, columns = (
            ", ".join("/".join(map(str, phase)) if phase.size else "nothing" for phase in axis.phases)
            if len(axis.phases) <= SHOWN_PHASES
            else f"{len(axis.phases)}, of {min(phase.size for phase in axis.phases)} to {axis.size} pixels"
            for axis in (self.rows, self.columns)
        )
        return f"the largest of {rows if rows == columns else f'{rows} by {columns}'}"

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
            axes.compose(self.rows, inner.rows),
            axes.compose(self.columns, inner.columns),
            self.aligned and inner.aligned,
            self.through_gate or inner.through_gate,
            inner.collapsed,
        )

    def through(self, rows: Slide, columns: Slide) -> ReceptiveField:
        """The field behind what slides over this one's feature map. Raises: RvCheckError, as `then`."""
        if self.collapsed:
            return self
        return replace(self, rows=axes.over(self.rows, rows), columns=axes.over(self.columns, columns))

    def times(self, n: int) -> ReceptiveField:
        """This field composed with itself n times, in log n steps. Raises: RvCheckError, as `then`."""
        result, power = ReceptiveField(), self
        while n:
            if n & 1:
                result = result.then(power)
            n >>= 1
            if n:
                power = power.then(power)
        return result


def _one(a: T, b: T) -> T | tuple[T, T]:
    return a if a == b else (a, b)


def union(branches: Sequence[ReceptiveField]) -> ReceptiveField:
    """The union of the paths that keep a feature map; one that collapsed beside them makes the whole global.

    Where all collapsed, it is the union of the last maps before. Raises: RvCheckError, as `ReceptiveField.then`.
    """
    maps = [field for field in branches if not field.collapsed] or branches
    rows, columns = [f.rows for f in maps], [f.columns for f in maps]
    aligned = all(f.aligned for f in maps) and axes.centred(rows) and axes.centred(columns)
    gate = len(maps) < len(branches) or any(f.through_gate for f in branches)
    return ReceptiveField(axes.union(rows), axes.union(columns), aligned, gate, collapsed=maps[0].collapsed)
