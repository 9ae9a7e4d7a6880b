"""What can be said of a tree without running anything: exact integers, each a small function over the tree.

The words are DESIGN.md's: MACs are the multiply-adds of one image; depth counts weighted layers on the main path; a
receptive field is size / stride (jump) / padding in input pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import prod
from typing import TypeVar

from rv_check import axes, ops
from rv_check.axes import PIXEL, Along
from rv_check.errors import Place
from rv_check.ops import Shape, Slide
from rv_check.tree import Item, Join, Layer, Module, Node, Repeat, Seq, children

T = TypeVar("T")
FEW = 4  # phases that fit a line


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
        """Pixels; a number where rows and columns agree."""
        return _one(self.rows.size, self.columns.size)

    @property
    def stride(self) -> float | tuple[float, float]:
        """Input pixels between the fields of neighbouring units (the jump); a fraction where a map is upsampled."""
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
        """Whether what several units see is told by the first and the last of them."""
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
            if len(axis.phases) <= FEW
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

        Exact where this one's units are in order; behind others, go through the layers of `inner` one by one.
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
        """The field behind what slides over this one's feature map."""
        if self.collapsed:
            return self
        return replace(self, rows=axes.over(self.rows, rows), columns=axes.over(self.columns, columns))

    def times(self, n: int) -> ReceptiveField:
        """This field composed with itself n times, in log n steps."""
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


def fold(
    node: Node,
    layer: Callable[[Layer], T],
    seq: Callable[[list[T]], T],
    join: Callable[[Join, list[T]], T],
    times: Callable[[T, int], T],
) -> T:
    """One value for a node from those of its parts. A node that stands in many places is computed once."""
    known: dict[int, T] = {}

    def value(node: Node) -> T:
        if id(node) not in known:
            known[id(node)] = compute(node)
        return known[id(node)]

    def compute(node: Node) -> T:
        match node:
            case Layer():
                return layer(node)
            case Module():
                return value(node.seq)
            case Seq():
                return seq([value(item.node) for item in node.items])
            case Join():
                return join(node, [value(branch) for _, branch in node.branches])
            case Repeat():
                return times(value(node.seq), node.times)

    return value(node)


def _total(node: Node, of_layer: Callable[[Layer], int]) -> int:
    return fold(node, of_layer, _sum, lambda _, branches: sum(branches), lambda value, n: value * n)


def _sum(parts: list[int]) -> int:
    return sum(parts)


def params(node: Node) -> int:
    """Number of parameters, buffers not counted."""
    return _total(node, lambda layer: sum(map(prod, layer.op.params(layer.x).values())))


def macs(node: Node) -> int:
    """Multiply-adds of one image, of convolutions and linear layers."""
    return _total(node, lambda layer: layer.op.macs(layer.x, layer.y))


def activations(node: Node) -> int:
    """Output elements of convolutions and linear layers, for one image (Radosavovic et al. 2020, arXiv:2003.13678)."""
    return _total(node, lambda layer: prod(layer.y) if layer.op.kind.weighted else 0)


def weights(node: Node) -> int:
    """Parameters of convolutions and linear layers without their biases: what the papers call weights."""
    return _total(node, lambda layer: prod(layer.op.params(layer.x)["weight"]) if layer.op.kind.weighted else 0)


def layers(node: Node, op: str) -> int:
    """How many layers of an op there are, in every branch."""
    return _total(node, lambda layer: int(layer.op.name == op))


def depth(node: Node) -> int:
    """Weighted layers on the main path: of a sum or concat the deepest branch, of a product the first."""
    return fold(
        node,
        lambda layer: int(layer.op.kind.weighted),
        _sum,
        lambda join, branches: branches[0] if join.kind == "product" else max(branches),
        lambda value, n: value * n,
    )


def skip_connections(node: Node) -> int:
    """The `sum`s that have a branch which is the identity or only a projection."""
    return fold(node, lambda _: 0, _sum, _join_skips, lambda value, n: value * n)


def _join_skips(join: Join, branches: list[int]) -> int:
    here = join.kind == "sum" and len(branches) > 1 and any(is_shortcut(branch) for _, branch in join.branches)
    return sum(branches) + here


def is_shortcut(branch: Seq) -> bool:
    """The identity, or one linear map of its input: at most one weighted layer, and only ops that project."""
    projects: bool = fold(
        branch,
        lambda layer: layer.op.kind.projects,
        lambda parts: all(parts),
        lambda _join, _branches: False,
        lambda value, _times: value,
    )
    return projects and depth(branch) <= 1


def receptive_field(node: Node) -> ReceptiveField:
    """The field of a unit of the node's output in its input; of a whole arch, of the last map before the fixed pool."""
    return _Fields().of(node)


class _Fields:
    """Fields of nodes in their own inputs, so that equal nodes are computed once."""

    def __init__(self) -> None:
        self.known: dict[int, ReceptiveField] = {}

    def of(self, node: Node) -> ReceptiveField:
        if id(node) not in self.known:
            self.known[id(node)] = self._within(node, ReceptiveField())
        return self.known[id(node)]

    def after(self, node: Node, field: ReceptiveField) -> ReceptiveField:
        """The field of a unit of the node's output, given that of a unit of its input."""
        whole = field.collapsed or field.in_order
        return field.then(self.of(node)) if whole else self._within(node, field)

    def _within(self, node: Node, field: ReceptiveField) -> ReceptiveField:
        match node:
            case Layer():
                window = node.op.window(node.x)
                if window is None:
                    return field.then(ReceptiveField(collapsed=True))
                return replace(field.through(*window), through_gate=field.through_gate or node.op.sees_the_map)
            case Module():
                return self.after(node.seq, field)
            case Seq():
                return reduce(lambda seen, item: self.after(item.node, seen), node.items, field)
            case Join():
                return union([self.after(branch, field) for _, branch in node.branches])
            case Repeat():
                once = self.of(node.seq)
                if field.in_order and once.in_order:
                    return field.then(once.times(node.times))
                return reduce(lambda seen, _: self.after(node.seq, seen), range(node.times), field)


def union(branches: Sequence[ReceptiveField]) -> ReceptiveField:
    """Of the paths that keep a feature map; one that collapsed beside them makes the whole global.

    Where all collapsed, the union of the last maps before.
    """
    maps = [field for field in branches if not field.collapsed] or branches
    rows, columns = [f.rows for f in maps], [f.columns for f in maps]
    aligned = all(f.aligned for f in maps) and axes.centred(rows) and axes.centred(columns)
    gate = len(maps) < len(branches) or any(f.through_gate for f in branches)
    return ReceptiveField(axes.union(rows), axes.union(columns), aligned, gate, collapsed=maps[0].collapsed)


@dataclass(frozen=True)
class Row:
    """One line of a listing: a layer, a join, or a module that is folded. Fields are those of the network's input.

    `branches` of a join: each by its label, with its field; an identity has that of the join's input.
    """

    name: str
    op: str
    x: Shape
    y: Shape
    params: int
    macs: int
    receptive_field: ReceptiveField
    place: Place
    node: Node
    branches: tuple[tuple[str, ReceptiveField], ...] = ()


def rows(root: Module, fold_at: int | None = None) -> Iterator[Row]:
    """The flat listing, in the order of the flow. Modules below `fold_at` levels of names stand as one row each."""
    counts = _Counts()
    yield from _rows(root.seq, "", 0, {}, ReceptiveField(), fold_at, counts)


class _Counts:
    """params, macs and fields by node, so that equal nodes are counted once in a listing."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[int, int]] = {}
        self.fields = _Fields()

    def of(self, node: Node) -> tuple[int, int]:
        if id(node) not in self.known:
            self.known[id(node)] = (params(node), macs(node))
        return self.known[id(node)]


def _rows(
    seq: Seq,
    prefix: str,
    position: int,
    indices: Mapping[str, int],
    field: ReceptiveField,
    fold_at: int | None,
    counts: _Counts,
) -> Iterator[Row]:
    for item in seq.items:
        node = item.node
        after = counts.fields.after(node, field)
        match node:
            case Layer() | Module():
                name = item.name if isinstance(item.name, str | None) else item.name.text(indices)
                full = prefix + (str(position) if name is None else name)
                if isinstance(node, Layer):
                    yield _row(full, ops.describe(node.op), item, after, counts)
                elif fold_at is not None and full.count(".") + 1 >= fold_at:
                    yield _row(full, node.label or "group", item, after, counts)
                else:
                    yield from _rows(node.seq, f"{full}.", 0, {}, field, fold_at, counts)
            case Join():
                at = position
                for _, branch in node.branches:
                    yield from _rows(branch, prefix, at, indices, field, fold_at, counts)
                    at += branch.slots
                op = f"{node.kind}({', '.join(label for label, _ in node.branches)})"
                branches = tuple((label, counts.fields.after(branch, field)) for label, branch in node.branches)
                yield Row(prefix + node.kind, op, node.x, node.y, 0, 0, after, item.place, node, branches)
            case Repeat():
                inner_field = field
                for turn in range(node.times):
                    within = {**indices, node.index: node.first + turn} if node.index else indices
                    at = position + turn * node.seq.slots
                    yield from _rows(node.seq, prefix, at, within, inner_field, fold_at, counts)
                    inner_field = counts.fields.after(node.seq, inner_field)
            case Seq():
                yield from _rows(node, prefix, position, indices, field, fold_at, counts)
        field = after
        position += node.slots


def _row(name: str, op: str, item: Item, field: ReceptiveField, counts: _Counts) -> Row:
    own_params, own_macs = counts.of(item.node)
    return Row(name, op, item.node.x, item.node.y, own_params, own_macs, field, item.place, item.node)


def step(root: Module, path: str) -> Row | None:
    """The layer or module of that dotted name, or None."""
    for row in rows(root, fold_at=path.count(".") + 1):
        if row.name == path and not isinstance(row.node, Join):
            return row
    return None


def names(root: Module) -> list[str]:
    """The names right under the root, for suggestions."""
    return [name for name, _ in children(root.seq)]
