"""What the units of a map see along one axis, and how that composes: exact integers, also behind an upsampling.

Where a map is upsampled, its units are not alike. Then every p-th unit is: the units r, p + r, 2p + r, ... are a map
like any other, with a size, a stride and a padding of their own, and the p of them (phases) say everything. A
transposed convolution is zeros between the units and then a convolution (Dumoulin & Visin 2016, arXiv:1603.07285, 4).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd, lcm
from typing import NamedTuple

from rv_check.errors import RvCheckError
from rv_check.ops.op import Slide

MAX_PIXELS = 10**15  # the size of a field; a million strides of 2 would make a number of 300,000 digits
MAX_PHASES = 1024  # neighbouring units whose fields may differ
Span = tuple[int, int]  # the first pixel, and how many pixels; (0, 0) where there are none


class Axis(NamedTuple):
    """A receptive field along one axis, in input pixels, as google-research/receptive_field defines it.

    `stride` (jump) lies between the fields of neighbouring units; the first unit's field begins at `-padding`. Where
    `size` is 0, the units see nothing.
    """

    size: int
    stride: int
    padding: int

    @property
    def phases(self) -> tuple[Axis, ...]:
        """The one phase that there is, since all units are alike."""
        return (self,)


@dataclass(frozen=True)
class Phases:
    """Fields of units that are not alike: unit p*q + r of a map sees what unit q of the r-th of its p phases sees.

    Where one number must do, it is that of the largest phase, or of the first such one. google-research's tool refuses
    a transposed convolution, and so has no other words for them.
    """

    phases: tuple[Axis, ...]

    @property
    def largest(self) -> Axis:
        """The phase that sees the most."""
        return max(self.phases, key=lambda phase: phase.size)

    @property
    def size(self) -> int:
        """The pixels of the largest phase."""
        return self.largest.size

    @property
    def stride(self) -> float:
        """The input pixels from one unit to the next, on average: an integer, or a fraction as a float."""
        pixels, units = self.phases[0].stride, len(self.phases)
        return pixels / units if pixels % units else pixels // units

    @property
    def padding(self) -> int:
        """How far the first unit of the largest phase begins before the input."""
        return self.largest.padding


Along = Axis | Phases
PIXEL = Axis(1, 1, 0)  # the axis of the input: a unit sees its own pixel


def span(axis: Along, unit: int) -> Span:
    """The pixels that a unit sees."""
    turn, at = divmod(unit, len(axis.phases))
    phase = axis.phases[at]
    return (turn * phase.stride - phase.padding, phase.size) if phase.size else (0, 0)


def in_order(axis: Along) -> bool:
    """Whether the next unit's field never begins or ends before a unit's, and none is empty.

    Then the first and the last of several units tell what they all see.
    """
    if isinstance(axis, Axis):
        return axis.size > 0
    spans = [span(axis, unit) for unit in range(len(axis.phases) + 1)]
    ends = [(first, first + size) for first, size in spans]
    later = all(a <= c and b <= d for (a, b), (c, d) in pairwise(ends))
    return later and all(size for _, size in spans)


def of_spans(spans: list[Span], stride: int) -> Along:
    """The axis whose first units see these spans, and as many later ones the same, `stride` pixels on.

    Raises: RvCheckError where a number is too large.
    """
    units = len(spans)
    for period in range(1, units + 1):
        shift, odd = divmod(stride * period, units)
        again = [(first + shift, size) if size else (0, 0) for first, size in spans[: units - period]]
        if units % period == 0 and not odd and spans[period:] == again:
            break
    phases = tuple(Axis(size, shift, -first) for first, size in spans[:period])
    return _limited(phases)


def compose(outer: Along, inner: Along) -> Along:
    """The axis `inner`, which is relative to the map of `outer`, in pixels of the input of `outer`.

    It is exact where the units of `outer` are in order, and where a field of `inner` has no holes in it.
    Raises: RvCheckError where a number is too large, or too many units differ.
    """
    if isinstance(outer, Axis) and isinstance(inner, Axis) and outer.size and inner.size:  # as nearly all are
        size = outer.size + (inner.size - 1) * outer.stride
        return _limited((Axis(size, outer.stride * inner.stride, outer.padding + inner.padding * outer.stride),))
    period, jump = len(outer.phases), inner.phases[0].stride
    turns = period // gcd(period, jump)
    reach = 1 if in_order(outer) else period  # a unit one period on begins and ends later
    spans = []
    for unit in range(_few(turns * len(inner.phases))):
        first, size = span(inner, unit)
        units = range(first, first + size)
        spans.append(_hull(span(outer, unit) for end in (units[:reach], units[-reach:]) for unit in end))
    return of_spans(spans, outer.phases[0].stride * (jump * turns // period))


def over(outer: Along, slide: Slide) -> Along:
    """The axis of what slides over the map of `outer`. Raises: RvCheckError, as `compose`."""
    kernel, stride, padding, step, transposed = slide
    if transposed:
        outer = compose(outer, of_spans([(0, 1), *[(0, 0)] * (_few(stride) - 1)], 1))
        stride, padding = 1, step * (kernel - 1) - padding
    if step == 1 or in_order(outer):
        return compose(outer, Axis(step * (kernel - 1) + 1, stride, padding))
    elements, period = range(kernel), len(outer.phases)
    ends = sorted({*elements[:period], *elements[-period:]})  # an element one period on sees the same, later
    return union([compose(outer, Axis(1, stride, padding - step * at)) for at in ends])


def union(axes: Sequence[Along]) -> Along:
    """What a unit sees on all these paths, from the first pixel to the last. Raises: RvCheckError, as `compose`."""
    period = _few(lcm(*(len(axis.phases) for axis in axes)))
    spans = [_hull(span(axis, unit) for axis in axes) for unit in range(period)]
    return of_spans(spans, axes[0].phases[0].stride * (period // len(axes[0].phases)))


def centred(axes: Sequence[Along]) -> bool:
    """Whether every unit's fields on all these paths are centred on one pixel (Araujo et al. 2019), and stay so.

    Raises: RvCheckError where too many units differ.
    """
    period = _few(lcm(*(len(axis.phases) for axis in axes)))
    for unit in range(period):
        spans = [span(axis, unit) for axis in axes]
        if len({2 * first + size for first, size in spans if size}) > 1:
            return False
    return len({axis.phases[0].stride * (period // len(axis.phases)) for axis in axes}) == 1


def _hull(spans: Iterable[Span]) -> Span:
    """The span from the first pixel of these to the last."""
    ends = [(first, first + size) for first, size in spans if size]
    if not ends:
        return 0, 0
    begin = min(first for first, _ in ends)
    return begin, max(last for _, last in ends) - begin


def _limited(phases: tuple[Axis, ...]) -> Along:
    if max(max(phase) for phase in phases) > MAX_PIXELS:
        raise RvCheckError(f"the receptive field or its stride is larger than {MAX_PIXELS:,} pixels")
    return phases[0] if len(phases) == 1 else Phases(phases)


def _few(phases: int) -> int:
    if phases > MAX_PHASES:
        raise RvCheckError(
            f"the receptive fields of {phases:,} neighbouring units may differ", expected=f"at most {MAX_PHASES:,}"
        )
    return phases
