"""Which operations a gradient is passed through in training, and which are run again for it."""

from __future__ import annotations

from rv_check.graphs.graph import Graph, Node, State


def trained(graph: Graph) -> set[Node]:
    """What depends on a parameter, so that a gradient is passed through it; not through a truth value or a place.

    What a reentrant checkpoint runs gets none where nothing that it is given has one, whatever parameters are in it.
    """
    found: set[Node] = set()
    for node in (*graph.nodes, *graph.ran):
        if ends_gradients(node) or not all(part.passes_gradients(found) for part in node.parts):
            continue
        own = node.kind == "state" and node.name in graph.learned
        if own or any(state.name in graph.learned for _, state in node.states) or not found.isdisjoint(passed_to(node)):
            found.add(node)
    return found


def ends_gradients(node: Node) -> bool:
    """Whether none is passed through it: a truth value, a place, or what is detached."""
    return node.kind == "detach" or (node.row.element_bytes is not None and not _is_output(node))


def passed_to(node: Node) -> tuple[Node, ...]:
    """What its gradient is passed to: what it is made of; of what a function gives, all that it was given."""
    return (*node.feeds, *node.fused.inputs) if node.fused is not None and _is_output(node) else node.feeds


def _is_output(node: Node) -> bool:
    return node.fused is not None and node in node.fused.outputs


def own_parameters(node: Node, graph: Graph) -> list[State]:
    """The parameters that an operation uses itself."""
    return [state for _, state in node.states if state.name in graph.parameters]
