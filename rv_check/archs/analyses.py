"""What can be said of a tree without running anything: exact integers, each a small function over the tree.

The words are DESIGN.md's: MACs are the multiply-adds of one image; depth counts weighted layers on the main path; a
receptive field is size / stride (jump) / padding in input pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from math import prod
from typing import TypeVar

from rv_check.archs.receptive_field import ReceptiveField, union
from rv_check.archs.tree import Join, Layer, Module, Repeat, Seq, TreeNode

T = TypeVar("T")


def fold(
    node: TreeNode,
    layer: Callable[[Layer], T],
    seq: Callable[[list[T]], T],
    join: Callable[[Join, list[T]], T],
    times: Callable[[T, int], T],
) -> T:
    """One value for a node from those of its parts. A node that stands in many places is computed once."""
    known: dict[int, T] = {}

    def value(node: TreeNode) -> T:
        if id(node) not in known:
            known[id(node)] = compute(node)
        return known[id(node)]

    def compute(node: TreeNode) -> T:
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


def _total(node: TreeNode, of_layer: Callable[[Layer], int]) -> int:
    return fold(node, of_layer, _sum, lambda _, branches: sum(branches), lambda value, n: value * n)


def _sum(parts: list[int]) -> int:
    return sum(parts)


def params(node: TreeNode) -> int:
    """The number of parameters, buffers not counted."""
    return _total(node, lambda layer: sum(map(prod, layer.op.params(layer.x).values())))


def macs(node: TreeNode) -> int:
    """Multiply-adds of one image, of convolutions and linear layers."""
    return _total(node, lambda layer: layer.op.macs(layer.x, layer.y))


def activations(node: TreeNode) -> int:
    """Output elements of convolutions and linear layers, for one image (Radosavovic et al. 2020, arXiv:2003.13678)."""
    return _total(node, lambda layer: prod(layer.y) if layer.op.kind.weighted else 0)


def weights(node: TreeNode) -> int:
    """Parameters of convolutions and linear layers without their biases: what the papers call weights."""
    return _total(node, lambda layer: prod(layer.op.params(layer.x)["weight"]) if layer.op.kind.weighted else 0)


def layers(node: TreeNode, op: str) -> int:
    """How many layers of an op there are, in every branch."""
    return _total(node, lambda layer: int(layer.op.name == op))


def depth(node: TreeNode) -> int:
    """The weighted layers on the main path: the deepest branch of a sum or concat, the first of a product."""
    return fold(
        node,
        lambda layer: int(layer.op.kind.weighted),
        _sum,
        lambda join, branches: branches[0] if join.kind == "product" else max(branches),
        lambda value, n: value * n,
    )


def skip_connections(node: TreeNode) -> int:
    """The `sum`s that have a branch which is the identity or only a projection."""
    return fold(node, lambda _: 0, _sum, _join_skips, lambda value, n: value * n)


def _join_skips(join: Join, branches: list[int]) -> int:
    is_skip = join.kind == "sum" and len(branches) > 1 and any(is_shortcut(branch) for _, branch in join.branches)
    return sum(branches) + is_skip


def is_shortcut(branch: Seq) -> bool:
    """Whether a branch is the identity, or one linear map: at most one weighted layer, and only ops that project."""
    projects: bool = fold(
        branch,
        lambda layer: layer.op.kind.projects,
        lambda parts: all(parts),
        lambda _join, _branches: False,
        lambda value, _times: value,
    )
    return projects and depth(branch) <= 1


def receptive_field(node: TreeNode) -> ReceptiveField:
    """The field of a unit of the node's output in its input.

    Where a pool to a fixed size is passed, as in a whole arch, it is that of a unit of the last map before it.
    """
    return ReceptiveFields().of(node)


class ReceptiveFields:
    """The fields of nodes in their own inputs, so that those of equal nodes are computed once."""

    def __init__(self) -> None:
        self.known: dict[int, ReceptiveField] = {}

    def of(self, node: TreeNode) -> ReceptiveField:
        if id(node) not in self.known:
            self.known[id(node)] = self._within(node, ReceptiveField())
        return self.known[id(node)]

    def after(self, node: TreeNode, field: ReceptiveField) -> ReceptiveField:
        """The field of a unit of the node's output, given that of a unit of its input."""
        whole = field.collapsed or field.in_order
        return field.then(self.of(node)) if whole else self._within(node, field)

    def _within(self, node: TreeNode, field: ReceptiveField) -> ReceptiveField:
        match node:
            case Layer():
                window = node.op.window(node.x)
                if window is None:
                    return field.then(ReceptiveField(collapsed=True))
                return replace(field.through(*window), through_gate=field.through_gate or node.op.sees_the_map)
            case Module():
                return self.after(node.seq, field)
            case Seq():
                return reduce(lambda before, item: self.after(item.node, before), node.items, field)
            case Join():
                return union([self.after(branch, field) for _, branch in node.branches])
            case Repeat():
                once = self.of(node.seq)
                if field.in_order and once.in_order:
                    return field.then(once.times(node.times))
                return reduce(lambda before, _: self.after(node.seq, before), range(node.times), field)
