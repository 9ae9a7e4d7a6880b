"""Where the values of two graphs come from, once it is known which of their operations are pairs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence, Set

from rv_check.graphs.align import names_of, signature
from rv_check.graphs.graph import Node
from rv_check.ops.kinds import LEAVES, OWN_LEAVES


def pair_leaves(
    order: Sequence[Node], pairs: dict[Node, Node], back: dict[Node, Node], parameters: tuple[Set[str], Set[str]]
) -> None:
    """Pair parameters, and numbers of chance, that are values themselves, where they feed the same pair alike.

    Args: `order` the operations of the expected graph; `pairs` expected to found, and `back` found to expected, to
    which the new pairs are added; `parameters` the names of those that are no buffers, expected and found.
    """
    for expected in order:
        found = pairs.get(expected)
        if found is None:
            continue
        free = [feed for feed in found.feeds if feed.kind in LEAVES and feed not in back]
        for at, feed in enumerate(expected.feeds):
            if feed.kind not in OWN_LEAVES or feed in pairs:
                continue
            fits = [leaf for leaf in free if leaf.kind == feed.kind and leaf.shape == feed.shape]
            if feed.kind == "random":
                fits = [leaf for leaf in fits if leaf.key == feed.key]
            if not expected.row.commutes:
                fits = [leaf for leaf in fits if found.feeds.index(leaf) == at]
            same = [leaf for leaf in fits if leaf.name == feed.name]
            alike = [leaf for leaf in fits if (leaf.name in parameters[1]) == (feed.name in parameters[0])]
            for leaf in (same or alike or fits)[:1]:
                free.remove(leaf)
                pairs[feed], back[leaf] = leaf, feed


def pair_fed_alike(
    expected: Sequence[Node], found: Sequence[Node], pairs: dict[Node, Node], back: dict[Node, Node]
) -> None:
    """Pair what the alignment left over though it is the same operation on the same values, in another order.

    Args: `expected` and `found` the operations in the order of the flow; `pairs` expected to found, and `back` found to
    expected, to which the new pairs are added.
    """
    left: dict[Hashable, list[Node]] = {}
    for node in found:
        if node not in back:
            left.setdefault(signature(node), []).append(node)
    for node in expected if left else ():
        fits = [] if node in pairs else [other for other in left.get(signature(node), ()) if other not in back]
        if fits:
            sources = Sources(pairs, back)
            fits = [other for other in fits if _are_fed_alike(node, other, sources)]
        if fits:
            other = max(fits, key=lambda other: len(names_of(node) & names_of(other)))
            pairs[node], back[other] = other, node


def _are_fed_alike(expected: Node, found: Node, sources: Sources) -> bool:
    """Whether two operations take the same values; of two with parameters, whether they come from the same."""
    both = [[sources.of(feed) for feed in node.inputs] for node in (expected, found)]
    if expected.tensors:
        return all(one & other for one, other in zip(*both, strict=False))
    return bool(expected.inputs) and both[0] == both[1] and sources.are_paired(*expected.inputs, *found.inputs)


class Sources:
    """The paired operations that values come from, past whatever has no counterpart.

    A value of either graph has its sources in the found one, so that those of two values can be compared.
    """

    def __init__(self, pairs: Mapping[Node, Node], back: Mapping[Node, Node]):
        self.pairs, self.back = pairs, back
        self.known: dict[Node, frozenset[Node]] = {}
        self.constants: dict[bytes, Node] = {}

    def of(self, node: Node) -> frozenset[Node]:
        """The sources of a value."""
        if node not in self.known:
            # A stack, since a network without any counterpart is one chain, too long for recursion.
            stack = [node]
            while stack:
                top = stack[-1]
                ends = self._ends(top)
                waiting = [] if ends is not None else [feed for feed in top.inputs if feed not in self.known]
                if waiting:
                    stack += waiting
                    continue
                stack.pop()
                every = (self.known[feed] for feed in top.inputs)
                self.known[top] = ends if ends is not None else frozenset[Node]().union(*every)
        return self.known[node]

    def _ends(self, node: Node) -> frozenset[Node] | None:
        """The sources of a value that is one itself; None where its inputs tell them."""
        if node in self.pairs:
            return frozenset((self.pairs[node],))
        if node.kind == "constant":  # equal numbers are one
            return frozenset((self.constants.setdefault(node.key, node),))
        return frozenset((node,)) if node in self.back or node.kind in LEAVES else None

    def are_paired(self, *nodes: Node) -> bool:
        """Whether each of these has a counterpart, or needs none."""
        return all(node in self.pairs or node in self.back or node.kind in LEAVES for node in nodes)
