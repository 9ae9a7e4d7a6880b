"""The layers of a tree in the order of the flow, one line each, modules folded where that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rv_check.archs.analyses import ReceptiveFields, macs, params
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.archs.tree import Item, Join, Layer, Module, TreeNode, Visit, children, walk
from rv_check.errors import Place
from rv_check.ops import op as ops
from rv_check.ops.op import Shape


@dataclass(frozen=True)
class Row:
    """One line of a listing: a layer, a join, or a module that is folded.

    Receptive fields are in pixels of the network's input. `branches`: those of a join, each by its label, with its
    field; an identity has that of the join's input.
    """

    name: str
    op: str
    x: Shape
    y: Shape
    params: int
    macs: int
    receptive_field: ReceptiveField
    place: Place
    node: TreeNode
    branches: tuple[tuple[str, ReceptiveField], ...] = ()


def rows(root: Module, fold_at: int | None = None) -> Iterator[Row]:
    """The flat listing, in the order of the flow. Modules below `fold_at` levels of names stand as one row each."""
    counts = _NodeNumbers()
    yield from _rows(walk(root.seq), "", ReceptiveField(), fold_at, counts)


class _NodeNumbers:
    """The params, MACs and fields of nodes, so that equal nodes are counted once in a listing."""

    def __init__(self) -> None:
        self.known: dict[int, tuple[int, int]] = {}
        self.fields = ReceptiveFields()

    def of(self, node: TreeNode) -> tuple[int, int]:
        if id(node) not in self.known:
            self.known[id(node)] = (params(node), macs(node))
        return self.known[id(node)]


def _rows(
    visits: Iterable[Visit], prefix: str, field: ReceptiveField, fold_at: int | None, counts: _NodeNumbers
) -> Iterator[Row]:
    for visit in visits:
        item, node, full = visit.item, visit.node, prefix + visit.name
        after = counts.fields.after(node, field)
        match node:
            case Layer():
                yield _row(full, ops.describe(node.op), item, after, counts)
            case Module() if fold_at is not None and full.count(".") + 1 >= fold_at:
                yield _row(full, node.label or "group", item, after, counts)
            case Module():
                yield from _rows(walk(node.seq), f"{full}.", field, fold_at, counts)
            case Join():
                for _, branch in visit.branches:
                    yield from _rows(branch, prefix, field, fold_at, counts)
                op = f"{node.kind}({', '.join(label for label, _ in node.branches)})"
                fields = tuple((label, counts.fields.after(branch, field)) for label, branch in node.branches)
                yield Row(full, op, node.x, node.y, 0, 0, after, item.place, node, fields)
        field = after


def _row(name: str, op: str, item: Item, field: ReceptiveField, counts: _NodeNumbers) -> Row:
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
