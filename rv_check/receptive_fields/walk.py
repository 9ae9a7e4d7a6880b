"""A walk that follows a map through an op graph, and the formula's receptive field, which it can compute on the way.

What else can be computed so is a class that answers `Maps`. An operation that a walk does not know is an error, never
the identity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import gcd, lcm, prod
from typing import Generic, NamedTuple, Protocol, TypeVar

from rv_check.archs.axes import PIXEL
from rv_check.archs.receptive_field import AXIS_NAMES, ReceptiveField, union
from rv_check.errors import RvCheckError
from rv_check.graphs.graph import Graph, Node, TensorShape, describe
from rv_check.ops.op import Slide

T = TypeVar("T")
V = TypeVar("V")
Atom = tuple[str, int]  # a factor of an axis: n, c, one of `LETTERS`, or a place such as l7, and how many
Layout = tuple[tuple[Atom, ...], ...]  # what each axis of a value is made of
LETTERS = {1: "l", 2: "hw", 3: "dhw"}  # the axes of a map, by how many it has
SPATIAL = frozenset("ldhw")
FOLLOWED = (
    "convolutions, pools, norms, upsampling by a whole factor, functions of single elements, and sums, products and "
    "concats of maps"
)


class Window(NamedTuple):
    """What slides over a map along one axis. Negative padding cuts off.

    `transposed`: as the gradient of a convolution does; `before` then cuts off at both ends, `after` adds units.
    """

    kernel: int = 1
    stride: int = 1
    before: int = 0
    after: int = 0
    dilation: int = 1
    ceil_mode: bool = False
    transposed: bool = False


Windows = tuple[Window, ...]  # along each axis of the map


class Maps(Protocol[V]):
    """What a walk computes with."""

    def window(self, x: V, windows: Windows) -> V:
        """A map from a map."""

    def enlarged(self, x: V, factors: Sequence[int], *, linear: bool) -> V:
        """A map with each unit in the place of several, or with what lies between neighbouring units."""

    def union(self, maps: Sequence[V]) -> V:
        """One map for several that meet."""


class Formula:
    """Receptive fields by the formula of `rv_check.archs.axes`."""

    def window(self, x: ReceptiveField, windows: Windows) -> ReceptiveField:
        """The field of a unit of the window's output."""
        return x.through(*(Slide(w.kernel, w.stride, w.before, w.dilation, w.transposed) for w in windows))

    def enlarged(self, x: ReceptiveField, factors: Sequence[int], *, linear: bool) -> ReceptiveField:
        """The field by a transposed convolution: of a kernel that fills, or of the bilinear one of Long et al. 2015."""
        slides = (Slide(2 * n - n % 2 if linear else n, n, n // 2 if linear else 0, transposed=True) for n in factors)
        return x.through(*slides)

    def union(self, maps: Sequence[ReceptiveField]) -> ReceptiveField:
        """The field of a unit that all of them meet in."""
        return union(maps)


def fields_of(graph: Graph) -> Walk[ReceptiveField]:
    """The walk that computes the receptive fields of a graph by formula. Raises: RvCheckError, as `Walk`."""
    return Walk(graph, Formula(), ReceptiveField((PIXEL,) * axes_of(graph)))


def axes_of(graph: Graph) -> int:
    """How many axes a map of a graph has. Raises: RvCheckError where its input is no map."""
    axes = len(graph.input.shape) - 2
    if axes not in LETTERS:
        expected = "images, (N, C, H, W), sequences, (N, C, L), or volumes, (N, C, D, H, W)"
        raise RvCheckError(f"the input has shape {graph.input.shape}", expected=expected)
    return axes


Strides = tuple[Fraction, ...]


class Pace:
    """How many input pixels lie between two units along each axis: strides alone, kernels and paddings aside."""

    def window(self, x: Strides, windows: Windows) -> Strides:
        """Longer by a stride, shorter by that of a transposed convolution."""
        return tuple(pace / w.stride if w.transposed else pace * w.stride for pace, w in zip(x, windows, strict=True))

    def enlarged(self, x: Strides, factors: Sequence[int], *, linear: bool) -> Strides:
        """Shorter by the factor."""
        return tuple(pace / factor for pace, factor in zip(x, factors, strict=True))

    def union(self, maps: Sequence[Strides]) -> Strides:
        """The strides that all of them have."""
        return maps[0]


def rhythm(graph: Graph, node: Node) -> tuple[list[int], list[int]]:
    """Input pixels after which everything before a node repeats, and how many of its units these are, along each axis.

    An image moved by as many pixels moves every map that leads to the node by whole units, so that units as far apart
    see the same.
    """
    walk = Walk(graph, Pace(), (Fraction(1),) * axes_of(graph))
    seen = walk.at(node)
    assert seen is not None
    pixels, units = [], []
    for axis in range(axes_of(graph)):
        steps = {one.map[axis] for one in walk.values.values() if one is not None}
        whole = lcm(*(step.numerator for step in steps)) // gcd(*(step.denominator for step in steps))
        pixels.append(whole)
        units.append(int(whole / seen.map[axis]))
    return pixels, units


@dataclass(frozen=True)
class Seen(Generic[V]):
    """A value of the graph: its map, or the last map before something that sees everything."""

    map: V
    layout: Layout = ()
    everything: bool = False
    gate: bool = False

    @property
    def is_map(self) -> bool:
        """Whether it has units along any axis: neither does it see everything, nor was one unit taken of each."""
        return not self.everything and any(letter in SPATIAL for atoms in self.layout for letter, _ in atoms)


class Walk(Generic[V]):
    """The maps of a graph, computed as far as they are asked for. Constants have none, and count for nothing."""

    def __init__(self, graph: Graph, maps: Maps[V], image: V):
        self.letters = LETTERS[axes_of(graph)]
        layout: Layout = tuple(
            ((letter, n),) for letter, n in zip(("n", "c", *self.letters), graph.input.shape, strict=True)
        )
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
            if len(set(map(_places, maps))) > 1:
                raise _lost(node, "it puts units of a map side by side")
            return replace(met, layout=_common(node, maps, a["axis"]))
        if len(node.inputs) > 1 or x.everything:
            raise _lost(node)
        match sees:
            case "window":
                return self._windowed(node, x)
            case "larger":
                larger = self.maps.enlarged(x.map, self._factors(node, x.layout), linear="linear" in node.kind)
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
        a, layout, after = node.attributes, x.layout, _resized(node, x.layout)
        if node.kind == "slice":
            size = node.inputs[0].shape[a["axis"]]
            if a["stop"] - a["start"] == 1 < size and _spatial(layout, a["axis"]):  # one unit is a map no more
                place = layout[a["axis"]][0][0] + str(a["start"])
                after = (*after[: a["axis"]], ((place, 1),), *after[a["axis"] + 1 :])
            cut = {a["axis"]: Window(stride=a["step"], before=-a["start"], after=a["stop"] - size)}
        elif "kernel" not in a:  # padding, with a number or with what is there
            sides = a["sides"] if "sides" in a else _sides(a["padding"], len(layout))
            cut = {axis: Window(before=ends[0], after=ends[1]) for axis, ends in enumerate(sides)}
        else:
            cut = _kernels(node)
            self._outside_of_channels(node, layout)
        windows = self._along(node, layout, lambda axis: cut.get(axis, Window()), Window())
        return replace(x, map=self.maps.window(x.map, windows), layout=after)

    def _along(self, node: Node, layout: Layout, of: Callable[[int], T], nothing: T) -> tuple[T, ...]:
        """What is done along each axis of the map, given what is done along each axis of a value."""
        found = []
        for letter in self.letters:
            axis = next((at for at, atoms in enumerate(layout) if letter in dict(atoms)), None)
            done = nothing if axis is None else of(axis)
            if axis is not None and done != nothing and not _is_alone(letter, layout[axis]):
                raise _lost(node, f"{self._words('or')} are not an axis of their own")
            found.append(done)
        return tuple(found)

    def _words(self, last: str) -> str:
        """What the axes of the map are called: `depth, rows and columns`."""
        *names, name = AXIS_NAMES[len(self.letters)]
        return f"{', '.join(names)} {last} {name}" if names else name

    def _outside_of_channels(self, node: Node, layout: Layout) -> None:
        """Raises: RvCheckError where an axis of the map stands where the operation has its channels."""
        if _spatial(layout, 1):
            are = "are" if len(self.letters) > 1 else "is"
            own = " and ".join(map(str, range(2, len(layout))))
            raise _lost(node, f"{self._words('and')} {are} not its {'axes' if len(layout) > 3 else 'axis'} {own}")

    def _factors(self, node: Node, layout: Layout) -> tuple[int, ...]:
        """How many times more units there are, where that is a whole number and corners do not stay in place."""
        self._outside_of_channels(node, layout)
        a, before, after = node.attributes, node.inputs[0].shape[2:], node.shape[2:]
        factors = tuple(large // small for small, large in zip(before, after, strict=True))
        told = a.get("scale") or tuple(a.get(name) for name in SCALES[len(factors)])
        whole = after == tuple(factor * small for factor, small in zip(factors, before, strict=True))
        if not whole or any(scale not in (None, factor) for scale, factor in zip(told, factors, strict=True)):
            raise _lost(node, "not by a whole factor")
        if a.get("align_corners"):
            raise _lost(node, "corners are aligned, so that every unit has another field")
        return self._along(node, layout, lambda axis: factors[axis - 2] if axis >= 2 else 1, 1)


SCALES = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}  # torch's arguments


def _kernels(node: Node) -> dict[int, Window]:
    """What slides, by the axis that it slides along: all but batch and channels."""
    a = node.attributes
    kernel = a["kernel"]
    return {
        axis: Window(*one, a.get("ceil_mode", False), transposed=node.row.multiplies == "spread")
        for axis, one in enumerate(
            zip(
                kernel,
                a["stride"],
                a["padding"],
                a.get("output_padding", a["padding"]),
                a.get("dilation", (1,) * len(kernel)),
                strict=True,
            ),
            2,
        )
    }


def _sides(padding: Sequence[int], axes: int) -> list[tuple[int, int]]:
    """What is added at either end of each axis, which torch lists from the last axis on."""
    sides = [(0, 0)] * axes
    for at in range(len(padding) // 2):
        sides[-1 - at] = (padding[2 * at], padding[2 * at + 1])
    return sides


def _lost(node: Node, why: str = "") -> RvCheckError:
    """A walk ends here."""
    where = " at ".join(str(part) for part in (node.name, node.place) if part) or "the network"
    reason = f" ({why})" if why else ""
    what = describe(node) if len(describe(node)) < 60 else node.kind
    message = f"a receptive field cannot be followed through {what}{reason}, in {where}"
    return RvCheckError(message, expected=FOLLOWED)


def _spatial(layout: Layout, axis: int) -> bool:
    return any(letter in SPATIAL for letter, _ in layout[axis]) if layout else False


def _resized(node: Node, layout: Layout) -> Layout:
    """The layout with the sizes that the node gives."""
    return tuple(
        atoms if prod(n for _, n in atoms) == size else _of_size(atoms, size)
        for atoms, size in zip(layout, node.shape, strict=True)
    )


def _of_size(atoms: Sequence[Atom], size: int) -> tuple[Atom, ...]:
    places = [atom for atom in atoms if _is_place(atom[0])]
    others = [letter for letter, _ in atoms if not _is_place(letter)]
    return *places, (others[0] if len(others) == 1 else "c", size)


def _is_place(letter: str) -> bool:
    """Whether it is no axis, but the place of the one unit of it that was taken."""
    return letter not in SPATIAL and letter not in ("n", "c")


def _is_alone(letter: str, atoms: Sequence[Atom]) -> bool:
    """Whether an axis of the map is merged with no other one."""
    return all(name == letter or _is_place(name) for name, _ in atoms)


def _common(node: Node, layouts: Sequence[Layout], axis: int | None = None) -> Layout:
    """The layout of maps that meet element by element; `axis` is the one that they are joined along."""
    wide = [((),) * (len(node.shape) - len(layout)) + tuple(layout) for layout in layouts]
    places = {tuple(tuple(name for name, _ in atoms if name in SPATIAL) for atoms in layout) for layout in wide}
    if len(places) != 1:
        raise _lost(node, "its inputs have their rows and columns at different axes")
    sizes = node.shape
    return tuple(
        tuple(atoms) if prod(n for _, n in atoms) == size and at != axis else (_one_atom(node, atoms, size),)
        for at, (atoms, size) in enumerate(zip(wide[0], sizes, strict=True))
    )


def _one_atom(node: Node, atoms: Sequence[Atom], size: int) -> Atom:
    if any(name in SPATIAL for name, _ in atoms):
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
    if node.kind != "expand" and _is_ambiguous(layout, node.shape):
        raise _lost(node, "an axis of one unit cannot be told from a new one, at an input as small as this")
    moved = _common(node, [layout]) if node.kind == "expand" else regrouped(layout, node.shape)
    if moved is None:
        raise _lost(node, "it moves pixels")
    return moved


def _is_ambiguous(layout: Layout, shape: TensorShape) -> bool:
    """Whether a reshape adds axes of size 1 to a value that has an axis of the map of that size."""
    has_one = any(letter in SPATIAL and n == 1 for atoms in layout for letter, n in atoms)
    return has_one and shape.count(1) > sum(prod(n for _, n in atoms) == 1 for atoms in layout)


def _places(layout: Layout) -> frozenset[str]:
    """The units that were taken out of axes of a map."""
    return frozenset(letter for atoms in layout for letter, _ in atoms if _is_place(letter))


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
            elif letter in SPATIAL or n % left:
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
