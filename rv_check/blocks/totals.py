"""What can be said of a network's graph of operations: the words of `archs.analyses`, of any network to be observed.

An arch has a tree, and `archs.analyses` reads it; a module has none. On the graph that a spec expects both give the
same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from rv_check.archs.receptive_field import ReceptiveField
from rv_check.costs.operations import operations
from rv_check.graphs.graph import Graph, Node
from rv_check.receptive_fields.formula import graph_field, node_of


@dataclass(frozen=True)
class Totals:
    """Exact numbers of one image. `fields`: by step, in input pixels."""

    params: int
    macs: int
    activations: int  # output elements of convolutions and linear layers
    depth: int  # weighted layers on the main path
    skips: int  # sums with a branch that is the identity or a projection
    fields: dict[str, ReceptiveField]


def totals(graph: Graph, steps: Iterable[str]) -> Totals:
    """The totals of a graph at batch 1, made without rules, with the fields of these steps.

    Raises: RvCheckError for an operation that nothing is known about, and for a step that is not there.
    """
    return Totals(
        sum(prod(graph.state[name]) for name in graph.parameters),
        sum(operation.macs for operation in operations(graph)),
        activations(graph),
        depth(graph),
        sum(is_skip(node) for node in graph.live if node.kind == "sum"),
        {step: graph_field(graph, node_of(graph, step)) for step in steps},
    )


def activations(graph: Graph) -> int:
    """Output elements of convolutions and linear layers (Radosavovic et al. 2020, arXiv:2003.13678)."""
    return sum(prod(node.shape) for node in graph.nodes if node.row.weighted)


def depth(graph: Graph) -> int:
    """Weighted layers on the longest path; gates, which a product spreads over a larger map, are beside it."""
    found: dict[Node, int] = {}
    for node in graph.live:
        feeds = [feed for feed in node.inputs if not feed.fixed]
        if node.kind == "product":
            feeds = [feed for feed in feeds if feed.shape == node.shape] or feeds
        found[node] = max((found.get(feed, 0) for feed in feeds), default=0) + node.row.weighted
    return max((found[node] for node in graph.outputs.values()), default=0)


def is_skip(node: Node) -> bool:
    """Whether one of what a sum adds is the identity, or one linear map, of what the others are made from."""
    operands = [feed for feed in node.inputs if not feed.fixed]
    for at, shortcut in enumerate(operands):
        others = operands[:at] + operands[at + 1 :]
        if others and any(all(end in _before(other) for other in others) for end in _projected(shortcut)):
            return True
    return False


def _projected(node: Node) -> list[Node]:
    """A value, and what it is a projection of."""
    ends, weighted = [node], 0
    while node.row.projects:
        weighted += node.row.weighted
        if weighted > 1:
            break
        node = node.inputs[0]
        ends.append(node)
    return ends


def _before(node: Node) -> set[Node]:
    """What a value is made from, itself among it."""
    found: set[Node] = set()
    queue = [node]
    while queue:
        one = queue.pop()
        if one not in found:
            found.add(one)
            queue += one.inputs
    return found
