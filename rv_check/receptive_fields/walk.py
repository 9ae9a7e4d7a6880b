"""A walk that follows a map through an op graph, and the formula's receptive field, which it can compute on the way.

What else can be computed so is a class that answers `Maps`. An operation that a walk does not know is an error, never
the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, lcm, prod
from typing import Generic, NamedTuple, Protocol, TypeVar

from rv_check.archs.receptive_field import ReceptiveField, union
from rv_check.errors import RvCheckError
from rv_check.graphs.graph import Graph, Node, TensorShape, describe
from rv_check.ops.arguments import IntPair
from rv_check.ops.op import Slide

V = TypeVar("V")
Atom = tuple[str, int]  # a factor of an axis: n, c, h or w, and how many
Layout = tuple[tuple[Atom, ...], ...]  # what each axis of a value is made of
FOLLOWED = (
    "convolutions, pools, norms, upsampling by a whole factor, functions of single elements, and sums, products and "
    "concats of maps"
)


class Window(NamedTuple):
    """What slides over a map: (rows, columns) of each. Negative padding cuts off.

    `transposed`: as the gradient of a convolution does; `before` then cuts off at both ends, `after` adds rows.
    """

    kernel: IntPair = (1, 1)
    stride: IntPair = (1, 1)
    before: IntPair = (0, 0)
    after: IntPair = (0, 0)
    dilation: IntPair = (1, 1)
    ceil_mode: bool = False
    transposed: bool = False


class Maps(Protocol[V]):
    """What a walk computes with."""

    def window(self, x: V, window: Window) -> V:
        """A map from a map."""

    def enlarged(self, x: V, factors: IntPair, *, bilinear: bool) -> V:
        """A map with each unit in the place of several, or with what lies between neighbouring units."""

    def union(self, maps: Sequence[V]) -> V:
        """One map for several that meet."""


class Formula:
    """Receptive fields by the formula of `rv_check.archs.axes`."""

    def window(self, x: ReceptiveField, window: Window) -> ReceptiveField:
        """The field of a unit of the window's output."""
        rows, columns = (
            Slide(*one, window.transposed)
            for one in zip(window.kernel, window.stride, window.before, window.dilation, strict=True)
        )
        return x.through(rows, columns)

    def enlarged(self, x: ReceptiveField, factors: IntPair, *, bilinear: bool) -> ReceptiveField:
        """The field by a transposed convolution: of a kernel that fills, or of the bilinear one of Long et al. 2015."""
        rows, columns = (
            Slide(2 * n - n % 2 if bilinear else n, n, n // 2 if bilinear else 0, transposed=True) for n in factors
        )
        return x.through(rows, columns)

    def union(self, maps: Sequence[ReceptiveField]) -> ReceptiveField:
        """The field of a unit that all of them meet in."""
        return union(maps)


Strides = tuple[Fraction, Fraction]


class Pace:
    """How many input pixels lie between two units, of rows and columns: strides alone, kernels and paddings aside."""

    def window(self, x: Strides, window: Window) -> Strides:
        """Longer by a stride, shorter by that of a transposed convolution."""
        if window.transposed:
            return self.enlarged(x, window.stride, bilinear=False)
        return x[0] * window.stride[0], x[1] * window.stride[1]

    def enlarged(self, x: Strides, factors: IntPair, *, bilinear: bool) -> Strides:
        """Shorter by the factor."""
        return x[0] / factors[0], x[1] / factors[1]

    def union(self, maps: Sequence[Strides]) -> Strides:
        """The strides that all of them have."""
        return maps[0]


def rhythm(graph: Graph, node: Node) -> tuple[IntPair, IntPair]:
    """Input pixels after which everything before a node repeats, and how many of its units these are.

    An image moved by as many pixels moves every map that leads to the node by whole units, so that units as far apart
    see the same.
    """
    walk = Walk(graph, Pace(), (Fraction(1), Fraction(1)))
    seen = walk.at(node)
    assert seen is not None
    pixels, units = [], []
    for axis in (0, 1):
        steps = {one.map[axis] for one in walk.values.values() if one is not None}
        whole = lcm(*(step.numerator for step in steps)) // gcd(*(step.denominator for step in steps))
        pixels.append(whole)
        units.append(int(whole / seen.map[axis]))
    return (pixels[0], pixels[1]), (units[0], units[1])


@dataclass(frozen=True)
class Seen(Generic[V]):
    """A value of the graph: its map, or the last map before something that sees everything."""

    map: V
    layout: Layout = ()
    everything: bool = False
    gate: bool = False


class Walk(Generic[V]):
    """The maps of a graph, computed as far as they are asked for. Constants have none, and count for nothing."""

    def __init__(self, graph: Graph, maps: Maps[V], image: V):
        n, c, *sides = graph.input.shape
        if len(sides) != 2:
            raise RvCheckError(f"the input has shape {graph.input.shape}", expected="images, (N, C, H, W)")
        layout: Layout = ((("n", n),), (("c", c),), (("h", sides[0]),), (("w", sides[1]),))
        self.maps = maps
        self.values: dict[Node, Seen[V] | None] = {graph.input: Seen(image, layout)}

    def at(self, node: Node) -> Seen[V] | None:
        """The value of a node. Raises: RvCheckError for an operation that cannot be followed, and where it is."""
        stack = [node]
        while stack:
            waiting = [feed for feed in stack[-1].feeds if feed not in self.values]
            stack += waiting
            if not waiting:
                one = stack.pop()
                if one not in self.values:
                    self.values[one] = self._value(one)
        return self.values[node]

    def _value(self, node: Node) -> Seen[V] | None:
        feeds = [seen for feed in node.feeds if (seen := self.values[feed]) is not None]
        if not feeds:
            return None
        if all(seen.everything for seen in feeds):
            return replace(feeds[0], map=self._union(feeds))
        try:
            seen = self._of(node, feeds)
        except RuntimeError as error:  # torch cannot make this window or sum at this size
            raise _lost(node, str(error)) from None
        if seen.everything:
            return seen
        gate = seen.gate or any(feed.gate or feed.everything for feed in feeds)
        return replace(seen, gate=gate)

    def _union(self, feeds: Sequence[Seen[V]]) -> V:
        """One map for all that keep one, or else for the last ones before."""
        chosen = [seen for seen in feeds if not seen.everything] or feeds
        different = list({id(seen.map): seen.map for seen in chosen}.values())
        return different[0] if len(different) == 1 else self.maps.union(different)

    def _of(self, node: Node, feeds: Sequence[Seen[V]]) -> Seen[V]:
        """The value where at least one feed is a map."""
        met = Seen(self._union(feeds))
        maps = [seen.layout for seen in feeds if not seen.everything]
        x = self.values[node.inputs[0]] or feeds[0]
        a, sees = node.attributes, node.row.sees
        if sees == "itself":
            return replace(met, layout=_common(node, maps))
        if sees == "map":
            return replace(met, everything=True)
        if sees == "joined" and not _spatial(x.layout, a["axis"]):
            return replace(met, layout=_common(node, maps, a["axis"]))
        if len(node.inputs) > 1 or x.everything:
            raise _lost(node)
        match sees:
            case "window":
                return self._windowed(node, x)
            case "larger":
                factors = _factors(node, x.layout)
                larger = self.maps.enlarged(x.map, factors, bilinear="linear" in node.kind)
                return replace(x, map=larger, layout=_resized(node, x.layout))
            case "norm":
                return replace(x, gate=x.gate or _of_the_map(node, x.layout))
            case "axes":
                axes = _reduced_axes(node, x.layout)
                if any(_spatial(x.layout, axis) for axis in axes):
                    return Seen(x.map, everything=True, gate=x.gate)
                return replace(x, layout=_reduced(node, x.layout, axes))
            case "features":
                if _spatial(x.layout, len(x.layout) - 1):
                    return Seen(x.map, everything=True, gate=x.gate)
                return replace(x, layout=(*x.layout[:-1], (("c", node.shape[-1]),)))
            case "moved":
                return replace(x, layout=_moved(node, x.layout))
        raise _lost(node)

    def _windowed(self, node: Node, x: Seen[V]) -> Seen[V]:
        a, layout = node.attributes, x.layout
        if node.kind == "slice":
            if not _spatial(layout, a["axis"]):
                return replace(x, layout=_resized(node, layout))
            return replace(x, map=self.maps.window(x.map, _cut(node, layout)), layout=_resized(node, layout))
        rows, columns = (_axis_of(node, layout, letter) for letter in "hw")
        if "kernel" not in a:  # padding, with a number or with what is there
            sides = [(0, 0)] * len(layout)
            if "sides" in a:
                sides = list(a["sides"])
            else:
                left, right, top, bottom = a["padding"]
                sides[-2:] = [(top, bottom), (left, right)]
            before, after = ((sides[rows][end], sides[columns][end]) for end in (0, 1))
            window = Window(before=before, after=after)
        elif (rows, columns) != (2, 3):
            raise _lost(node, "rows and columns are not its axes 2 and 3")
        else:
            window = Window(
                a["kernel"],
                a["stride"],
                a["padding"],
                a.get("output_padding", a["padding"]),
                a.get("dilation", (1, 1)),
                a.get("ceil_mode", False),
                transposed=node.row.multiplies == "spread",
            )
        return replace(x, map=self.maps.window(x.map, window), layout=_resized(node, layout))


def _lost(node: Node, why: str = "") -> RvCheckError:
    """A walk ends here."""
    where = " at ".join(str(part) for part in (node.name, node.place) if part) or "the network"
    reason = f" ({why})" if why else ""
    what = describe(node) if len(describe(node)) < 60 else node.kind
    message = f"a receptive field cannot be followed through {what}{reason}, in {where}"
    return RvCheckError(message, expected=FOLLOWED)


def _spatial(layout: Layout, axis: int) -> bool:
    return any(letter in "hw" for letter, _ in layout[axis]) if layout else False


def _axis_of(node: Node, layout: Layout, letter: str) -> int:
    """The axis that is the rows, or the columns, and nothing else."""
    for at, atoms in enumerate(layout):
        if [name for name, _ in atoms] == [letter]:
            return at
    raise _lost(node, "rows or columns are not an axis of their own")


def _resized(node: Node, layout: Layout) -> Layout:
    """The layout with the sizes that the node gives."""
    return tuple(
        atoms if prod(n for _, n in atoms) == size else ((atoms[0][0] if len(atoms) == 1 else "c", size),)
        for atoms, size in zip(layout, node.shape, strict=True)
    )


def _common(node: Node, layouts: Sequence[Layout], axis: int | None = None) -> Layout:
    """The layout of maps that meet element by element; `axis` is the one that they are joined along."""
    wide = [((),) * (len(node.shape) - len(layout)) + tuple(layout) for layout in layouts]
    places = {tuple(tuple(name for name, _ in atoms if name in "hw") for atoms in layout) for layout in wide}
    if len(places) != 1:
        raise _lost(node, "its inputs have their rows and columns at different axes")
    sizes = node.shape
    return tuple(
        tuple(atoms) if prod(n for _, n in atoms) == size and at != axis else (_one_atom(node, atoms, size),)
        for at, (atoms, size) in enumerate(zip(wide[0], sizes, strict=True))
    )


def _one_atom(node: Node, atoms: Sequence[Atom], size: int) -> Atom:
    if any(name in "hw" for name, _ in atoms):
        raise _lost(node, "rows or columns are repeated")
    return "c", size


def _reduced_axes(node: Node, layout: Layout) -> tuple[int, ...]:
    """The axes that a reduction or a softmax goes along: all where none is named."""
    given = node.attributes.get("axes", node.attributes.get("dim"))
    if given is None or given == ():
        return tuple(range(len(layout)))
    return tuple(axis % len(layout) for axis in (given if isinstance(given, tuple) else (given,)))


def _moved(node: Node, layout: Layout) -> Layout:
    """The layout after its axes have moved, merged, split or been repeated."""
    if node.kind == "permute":
        return tuple(layout[axis] for axis in node.attributes["axes"])
    moved = _common(node, [layout]) if node.kind == "expand" else regrouped(layout, node.shape)
    if moved is None:
        raise _lost(node, "it moves pixels")
    return moved


def _reduced(node: Node, layout: Layout, axes: Sequence[int]) -> Layout:
    """What is left of the axes, kept with size 1 or not; a softmax keeps them all."""
    if len(node.shape) == len(layout):
        return _resized(node, layout)
    return tuple(atoms for axis, atoms in enumerate(layout) if axis not in axes)


def _of_the_map(node: Node, layout: Layout) -> bool:
    """Whether a norm takes its statistics from the whole map, which then reaches every unit."""
    if node.kind == "batchnorm":
        return bool(node.attributes["statistics"] != "running")
    if node.kind == "groupnorm":
        return True
    axes = len(node.attributes["normalized_shape"])
    return any(_spatial(layout, axis) for axis in range(len(layout) - axes, len(layout)))


def _factors(node: Node, layout: Layout) -> IntPair:
    """How many times more rows and columns there are, where that is a whole number and corners do not stay in place."""
    if (_axis_of(node, layout, "h"), _axis_of(node, layout, "w")) != (2, 3):
        raise _lost(node, "rows and columns are not its axes 2 and 3")
    a, before, after = node.attributes, node.inputs[0].shape[2:], node.shape[2:]
    rows, columns = (large // small for small, large in zip(before, after, strict=True))
    told = a.get("scale") or (a.get("scales_h"), a.get("scales_w"))
    whole = after == (rows * before[0], columns * before[1])
    if not whole or any(scale not in (None, factor) for scale, factor in zip(told, (rows, columns), strict=True)):
        raise _lost(node, "not by a whole factor")
    if a.get("align_corners"):
        raise _lost(node, "corners are aligned, so that every unit has another field")
    return rows, columns


def _cut(node: Node, layout: Layout) -> Window:
    """A slice of rows or columns that keeps the middle of the map; what it cuts off is counted from either end."""
    a = node.attributes
    rows = a["axis"] == _axis_of(node, layout, "h")
    if not rows and a["axis"] != _axis_of(node, layout, "w"):
        raise _lost(node)
    size = node.inputs[0].shape[a["axis"]]
    if not a["start"] <= size // 2 < a["stop"]:
        raise _lost(node, f"it keeps {a['start']} to {a['stop']} of {size}")
    stride, start, stop = (a["step"], -a["start"], a["stop"] - size)
    if rows:
        return Window(stride=(stride, 1), before=(start, 0), after=(stop, 0))
    return Window(stride=(1, stride), before=(0, start), after=(0, stop))


def regrouped(layout: Layout, shape: TensorShape) -> Layout | None:
    """The layout after a reshape: axes may merge, and batch and channels split, but rows and columns may not."""
    atoms = [atom for axis in layout for atom in axis]
    axes: list[list[Atom]] = []
    for size in shape:
        axis: list[Atom] = []
        left = size
        while atoms and left > 1:
            letter, n = atoms[0]
            if left % n == 0:
                axis.append(atoms.pop(0))
                left //= n
            elif letter in "hw" or n % left:
                return None
            else:
                axis.append((letter, left))
                atoms[0], left = (letter, n // left), 1
        if size == 1 and atoms and atoms[0][1] == 1:
            axis.append(atoms.pop(0))
        if left > 1:
            return None
        axes.append(axis)
    if not axes or any(n > 1 for _, n in atoms):
        return None
    axes[-1] += atoms  # a map of one row or column that is flattened
    return tuple(map(tuple, axes))
