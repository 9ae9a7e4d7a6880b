"""What can be said of a network's graph of operations: the words of `archs.analyses`, of any network to be observed.

An arch has a tree, and `archs.analyses` reads it; a module has none. On the graph that a spec expects both give the
same. A graph is one of one image, made without rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from rv_check.graphs.graph import Graph, Node


def params(graph: Graph) -> int:
    """The number of parameters, each registered tensor once, used or not; buffers not counted."""
    return sum(prod(graph.state[name]) for name in graph.parameters)


def weights(nodes: Iterable[Node]) -> int:
    """Parameters of convolutions and linear layers without their biases, each tensor once, however often it is used."""
    weighted = (node for node in nodes if node.row.weighted)
    used = {state for node in weighted for role, state in node.states if role == "weight"}
    return sum(prod(state.shape) for state in used)


def layers(nodes: Iterable[Node], kind: str) -> int:
    """How many operations of a kind there are: one for each time that a layer is run."""
    return sum(node.kind == kind for node in nodes)


def activations(nodes: Iterable[Node]) -> int:
    """Output elements of convolutions and linear layers (Radosavovic et al. 2020, arXiv:2003.13678)."""
    return sum(prod(node.shape) for node in nodes if node.row.weighted)


def depth(graph: Graph) -> int:
    """Weighted layers on the longest path; gates, which a product spreads over a larger map, are beside it."""
    found: dict[Node, int] = {}
    for node in graph.live:
        feeds = [feed for feed in node.inputs if not feed.fixed]
        if node.kind == "product":
            feeds = [feed for feed in feeds if feed.shape == node.shape] or feeds
        found[node] = max((found.get(feed, 0) for feed in feeds), default=0) + node.row.weighted
    return max((found[node] for node in graph.outputs.values()), default=0)


def skip_connections(nodes: Iterable[Node]) -> int:
    """The sums with a branch that is the identity or a projection."""
    return sum(is_skip(node) for node in nodes if node.kind == "sum")


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
