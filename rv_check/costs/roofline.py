"""How fast a device could run a network at best: what each operation computes and what it moves."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from rv_check.costs.counted import Counted, uncounted_of
from rv_check.costs.operations import macs_of
from rv_check.costs.own_rules import NONE, OwnRules
from rv_check.graphs.graph import Graph, Node
from rv_check.ops.kinds import LEAVES


@dataclass(frozen=True)
class OperationCost:
    """What an operation asks of a device: multiply-adds and bytes that are read or written, each once."""

    node: Node
    macs: int
    moved: int

    @property
    def intensity(self) -> float:
        """FLOPs per byte, two for a multiply-add."""
        return 2 * self.macs / self.moved

    def seconds(self, rate: float, bandwidth: float) -> float:
        """The least time on a device of `rate` FLOP/s and `bandwidth` bytes/s (Williams et al. 2009)."""
        return max(2 * self.macs / rate, self.moved / bandwidth)


def costs(graph: Graph, size: int = 4, own: OwnRules = NONE) -> list[OperationCost]:
    """Every operation that computes something, in order; a view moves nothing, nor does what is ignored.

    Raises: RvCheckError for an operation that no rule counts, neither one here nor the user's `own`.
    """
    found, uncounted = [], []
    for node in graph.nodes:
        if node.kind in LEAVES or node.fixed or node.row.keeps == "view" or own.ignores(node.kind):
            continue
        macs = macs_of(node, own)
        if macs is None:
            uncounted.append(node)
            continue
        weights = sum(prod(tensor.shape) for tensor in node.tensors.values())
        moved = prod(node.shape) + sum(prod(value.shape) for value in node.inputs) + weights
        found.append(OperationCost(node, macs, moved * size))
    return Counted(found, uncounted_of(uncounted)).whole
