"""Constants of two graphs that correspond, and have other values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from rv_check.graphs.graph import Graph, Node, State


def other_constants(
    expected: Graph, found: Graph, pairs: Mapping[Node, Node], parameters: Iterable[tuple[Node, str, State, State]]
) -> Iterator[tuple[Node, list[str], tuple[str, str]]]:
    """Each such constant once: the operation that first uses it, its names, and what is found and expected.

    Args: `pairs` expected to found; `parameters` those of the pairs, by operation and role, on both sides.
    """
    told: set[tuple[str, str]] = set()
    for node, _, stated, given in parameters:
        names = stated.name, given.name
        if names in told or stated.name not in expected.read_only or given.name not in found.read_only:
            continue
        told.add(names)
        wanted = expected.constants[stated.name].after(stated.steps)
        seen = found.constants[given.name].after(given.steps)
        if seen != wanted:
            yield node, list(names), seen.against(wanted)
    for node in pairs:
        for leaf in node.feeds:
            if leaf.kind == "unregistered" and leaf in pairs:
                both = leaf.attributes.get("values"), pairs[leaf].attributes.get("values")
                if both[0] is not None and both[1] is not None and both[0] != both[1]:
                    yield node, [], both[1].against(both[0])
