"""Rules of values that are written into parts of a tensor, and read from it: as if each were a value of its own.

A `write` has the whole before it, and what is written; a `view` reads a part. Where a part lies is told as torch does:
sides, strides and the first element, in elements of the memory.
"""

from __future__ import annotations

from typing import NamedTuple

from rv_check.graphs.builder import Builder, rule
from rv_check.graphs.graph import Node, TensorShape

Region = tuple[tuple[int, ...], tuple[int, ...], int]
WORDS = "what is written into a part of a tensor is what is read from there"


class Range(NamedTuple):
    """What a part has of an axis; `kept`: whether it has the axis itself, as x[:, 1:2] has and x[:, 1] has not."""

    start: int
    stop: int
    kept: bool

    @property
    def length(self) -> int:
        return self.stop - self.start


def ranges_of(whole: Region, part: Region) -> tuple[Range, ...] | None:
    """What a part has of each axis of a whole; None where that is no box, as of every second element.

    The axes of the whole must not overlap, so that an offset tells where in each axis a part begins.
    """
    (sides, strides, first), (own_sides, own_strides, offset) = whole, part
    left = offset - first
    starts = dict.fromkeys(range(len(sides)), 0)
    for axis in sorted(starts, key=lambda axis: -strides[axis]):
        if sides[axis] > 1:
            if strides[axis] <= 0:
                return None
            starts[axis], left = divmod(left, strides[axis])
    if left:
        return None
    own = list(zip(own_sides, own_strides, strict=True))
    found = []
    for axis, (side, stride) in enumerate(zip(sides, strides, strict=True)):
        kept = bool(own) and (own[0][1] == stride or own[0][0] == side == 1)
        length = own.pop(0)[0] if kept else 1
        if starts[axis] + length > side:
            return None
        found.append(Range(starts[axis], starts[axis] + length, kept))
    return None if own else tuple(found)


def _reads_all_of(x: Node, view: Node) -> bool:
    """Whether that is what the view says it reads from, as numbers of the type that they have."""
    of = view.attributes.get("of")
    return isinstance(of, tuple) and of[0] == x.shape


def _are_apart(one: tuple[Range, ...], other: tuple[Range, ...]) -> bool:
    return any(a.stop <= b.start or b.stop <= a.start for a, b in zip(one, other, strict=True))


@rule(WORDS, "view")
def read_of_what_is_written(b: Builder, node: Node) -> Node | None:
    """A part has the value that was written into it last, as long as what was written elsewhere does not meet it."""
    (x,) = node.inputs
    if not _reads_all_of(x, node) or x.kind != "write":
        return None
    whole, part = node.attributes["of"], node.attributes["at"]
    before, value = x.inputs
    if x.attributes["at"] == part:
        return value
    wanted, there = (ranges_of(whole, region) for region in (part, x.attributes["at"]))
    if wanted is None or there is None or not _are_apart(wanted, there):
        return None
    return b.make("view", before, shape=node.shape, like=node, of=whole, at=part)


@rule("", "view")
def view_of_a_box(b: Builder, node: Node) -> Node | None:
    """A view that has a part of some axes is a slice of each. An axis that it has not kept, as x[:, 1], is left out."""
    (x,) = node.inputs
    if not _reads_all_of(x, node) or x.kind == "write":
        return None
    ranges = ranges_of(node.attributes["of"], node.attributes["at"])
    if ranges is None:
        return None
    axis = 0
    for one in ranges:
        if one.length < x.shape[axis]:
            x = _slice(b, x, axis, one.start, one.stop, node)
        if not one.kept:
            x = b.reshape(x, (*x.shape[:axis], *x.shape[axis + 1 :]), node)
        axis += one.kept
    return x


@rule("a tensor with a part that is written anew is its parts joined", "write")
def parts_joined(b: Builder, node: Node) -> Node | None:
    """What is before it along the one axis that is cut, what is written, and what is behind it."""
    before, value = node.inputs
    ranges = ranges_of(node.attributes["of"], node.attributes["at"])
    if ranges is None or before.shape != node.shape:
        return None
    cut = [axis for axis, one in enumerate(ranges) if one.length < node.shape[axis]]
    if len(cut) != 1:
        return None
    (axis,) = cut
    start, stop, side = ranges[axis].start, ranges[axis].stop, node.shape[axis]
    parts = [b.reshape(value, _with_side(node.shape, axis, stop - start), node)]
    if start:
        parts.insert(0, _slice(b, before, axis, 0, start, node))
    if stop < side:
        parts.append(_slice(b, before, axis, stop, side, node))
    return b.make("concat", *parts, shape=node.shape, like=node, axis=axis)


@rule("", "slice")
def slice_of_concat(b: Builder, node: Node) -> Node | None:
    """A part of what was joined is the parts of what it was joined of, along that axis."""
    (x,) = node.inputs
    axis, start, stop = node.attributes["axis"], node.attributes["start"], node.attributes["stop"]
    if x.kind != "concat" or x.attributes["axis"] != axis or node.attributes["step"] != 1 or start >= stop:
        return None
    parts, at = [], 0
    for one in x.inputs:
        side = one.shape[axis]
        low, high = max(start - at, 0), min(stop - at, side)
        if low < high:
            parts.append(_slice(b, one, axis, low, high, node))
        at += side
    return b.make("concat", *parts, shape=node.shape, like=node, axis=axis)


def _slice(b: Builder, x: Node, axis: int, start: int, stop: int, node: Node) -> Node:
    shape = _with_side(x.shape, axis, stop - start)
    return b.make("slice", x, shape=shape, like=node, axis=axis, start=start, stop=stop, step=1)


def _with_side(shape: TensorShape, axis: int, side: int) -> TensorShape:
    return (*shape[:axis], side, *shape[axis + 1 :])
