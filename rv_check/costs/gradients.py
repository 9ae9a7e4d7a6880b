"""Which operations a gradient is passed through in training, and which are run again for it."""

from __future__ import annotations

from rv_check.graphs.graph import Graph, Node, State


def trained(graph: Graph) -> set[Node]:
    """What depends on a parameter, so that a gradient is passed through it; not through a truth value or a place.

    What a reentrant checkpoint runs gets none where nothing that it is given has one, whatever parameters are in it.
    """
    found: set[Node] = set()
    for node in (*graph.nodes, *graph.ran):
        own = node.kind == "state" and node.name in graph.parameters
        if node.row.element_bytes is not None or not all(part.passes_gradients(found) for part in node.parts):
            continue
        if own or own_parameters(node, graph) or any(feed in found for feed in node.feeds):
            found.add(node)
    return found


def own_parameters(node: Node, graph: Graph) -> list[State]:
    """The parameters that an operation uses itself."""
    return [state for _, state in node.states if state.name in graph.parameters]
