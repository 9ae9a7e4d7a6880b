"""Two op graphs lined up: which operation of the one is which of the other, as a guess.

The operations of each are put in an order along the flow, and the two orders are aligned as sequences: by kind,
arguments, shapes, and the names of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

from rv_check.graphs.graph import Graph, Node, State, describe, show
from rv_check.ops.kinds import LEAVES

AROUND = 3  # operations before and after a difference that the alignment looks at again
NARROWEST = 12  # operations that such a band has on either side, at least
MOST_CELLS = 4_000_000  # cells of the alignment: larger graphs are aligned within a band


def flow(graph: Graph) -> list[Node]:
    """The operations in the order of the flow, the longest branch of a sum first, leaves left out.

    What is computed and not used stands behind what it is computed from.
    """
    context = _contexts(graph)

    def feeds_of(node: Node) -> Sequence[Node]:
        if node.row.commutes:
            return sorted(node.feeds, key=lambda feed: (-feed.height, feed.key, context[feed]))
        return node.feeds

    order: list[Node] = []
    done: set[Node] = set()
    _visit(graph.outputs.values(), feeds_of, order, done)
    for sink in graph.unread:
        chain: list[Node] = []
        _visit([sink], feeds_of, chain, done)
        feeds = {feed for node in chain for feed in node.feeds}
        last = max((at for at, node in enumerate(order) if node in feeds), default=-1)
        order[last + 1 : last + 1] = chain
    return [node for node in order if node.kind not in LEAVES]


def _visit(
    ends: Iterable[Node], feeds_of: Callable[[Node], Sequence[Node]], order: list[Node], done: set[Node]
) -> None:
    for end in ends:
        stack: list[tuple[Node, Iterator[Node]]] = [(end, iter(feeds_of(end)))]
        while stack:
            node, feeds = stack[-1]
            following = next((feed for feed in feeds if feed not in done), None)
            if following is not None and node not in done:
                stack.append((following, iter(feeds_of(following))))
                continue
            stack.pop()
            if node not in done:
                done.add(node)
                order.append(node)


def _contexts(graph: Graph) -> dict[Node, bytes]:
    """What becomes of each value: equal for values that are used equally, so that equal branches are told apart."""
    ends = {node: where for where, node in graph.outputs.items()}
    uses: dict[Node, list[tuple[bytes, bytes, int]]] = {node: [] for node in graph.nodes}
    context: dict[Node, bytes] = {}
    for node in reversed(graph.nodes):
        words = repr((ends.get(node), sorted(uses[node])))
        context[node] = blake2b(words.encode(), digest_size=16).digest()
        for at, feed in enumerate(node.feeds):
            place = -1 if node.row.commutes else at
            uses[feed].append((node.key, context[node], place))
    return context


# The alignment


def align(expected: Sequence[Node], found: Sequence[Node]) -> dict[Node, Node]:
    """The pairs of the best alignment of two sequences, that is, the one of the greatest worth."""
    pairs: dict[Node, Node] = {}
    start, e_end, o_end = 0, len(expected), len(found)
    while start < min(e_end, o_end) and expected[start].key == found[start].key:
        pairs[expected[start]] = found[start]
        start += 1
    while e_end > start and o_end > start and _signature(expected[e_end - 1]) == _signature(found[o_end - 1]):
        e_end, o_end = e_end - 1, o_end - 1
        pairs[expected[e_end]] = found[o_end]
    if start < max(e_end, o_end):  # something differs: names have a say about where, which keys do not know
        start = max(0, start - AROUND)
        e_end, o_end = min(len(expected), e_end + AROUND), min(len(found), o_end + AROUND)
        pairs = {e: o for e, o in pairs.items() if e in {*expected[:start], *expected[e_end:]}}
    for i, j in _best(expected[start:e_end], found[start:o_end]):
        pairs[expected[start + i]] = found[start + j]
    pairs = _slid(expected, found, pairs)
    return {e: o for o, e in _slid(found, expected, {o: e for e, o in pairs.items()}).items()}


def _slid(mine: Sequence[Node], theirs: Sequence[Node], pairs: dict[Node, Node]) -> dict[Node, Node]:
    """The alignment with what `theirs` has besides moved along to where it is a thing of its own.

    Where A B A B stands for A B, what is besides may be either A B, or the B A between: all are worth the same.
    Best is where most parameters keep their names, then where it begins and ends with a module, then where it is.
    """
    at = {node: index for index, node in enumerate(mine)}
    back = {o: e for e, o in pairs.items()}
    stop = 0
    for begin in range(len(theirs)):
        if begin < stop or theirs[begin] in back:
            continue
        stop = next((j for j in range(begin, len(theirs)) if theirs[j] in back), len(theirs))
        before = back.get(theirs[begin - 1]) if begin else None
        after = back[theirs[stop]] if stop < len(theirs) else None
        if before and after and at[after] != at[before] + 1:
            continue  # one thing in place of another
        best = max(_shifts(theirs, back, begin, stop), key=lambda shift: shift[:3])[3]
        for shift in range(abs(best)):
            old, new = (begin - 1 - shift, stop - 1 - shift) if best < 0 else (stop + shift, begin + shift)
            back[theirs[new]] = back.pop(theirs[old])
        stop = max(stop, stop + best)
    return {e: o for o, e in back.items()}


def _shifts(
    theirs: Sequence[Node], back: dict[Node, Node], begin: int, stop: int
) -> Iterator[tuple[int, int, int, int]]:
    """Where a run may lie as well: names that more parameters keep, how apart it is, how near, and by how much."""
    yield 0, _is_between(theirs, begin, stop), 0, 0
    for step in (-1, 1):
        names, i, j = 0, begin, stop
        while True:
            old, new = (i - 1, j - 1) if step < 0 else (j, i)  # what is given up, and what takes its pair
            mine = back.get(theirs[old]) if 0 <= old < len(theirs) else None
            if mine is None or _signature(theirs[old])[:3] != _signature(theirs[new])[:3]:
                break  # whatever the sizes are, which may follow from what is besides
            names += len(_names(mine) & _names(theirs[new])) - len(_names(mine) & _names(theirs[old]))
            i, j = i + step, j + step
            yield names, _is_between(theirs, i, j), -abs(i - begin), i - begin


def _is_between(nodes: Sequence[Node], begin: int, end: int) -> int:
    """How far apart in the tree of modules the ends of a run of operations are from what they stand between.

    The deeper of its two cuts decides: the first block of a stage is no more a thing of its own than the last.
    """
    if end - begin == 1:
        return 0
    return -max((_in_common(nodes[at - 1], nodes[at]) for at in (begin, end) if 0 < at < len(nodes)), default=0)


def _in_common(a: Node, b: Node) -> int:
    """How many modules two operations are in together."""
    pairs = enumerate(zip(a.name.split("."), b.name.split("."), strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(a.name.count("."), b.name.count(".")) + 1)


def _signature(node: Node) -> Any:
    roles = tuple((role, getattr(tensor, "shape", ())) for role, tensor in sorted(node.tensors.items()))
    return node.kind, tuple(sorted(node.attributes.items())), roles, node.shape  # the shape last: see _slid


def _best(a: Sequence[Node], b: Sequence[Node]) -> Iterator[tuple[int, int]]:
    """The steps of the alignment of greatest worth (Needleman & Wunsch 1970): gaps cost nothing, pairs are worth."""
    n, m = len(a), len(b)
    if not n or not m:
        return
    band = max(NARROWEST, MOST_CELLS // n, abs(n - m) + NARROWEST) if n * m > MOST_CELLS else m
    ids: dict[Any, int] = {}
    a_ids = [ids.setdefault(_signature(node), len(ids)) for node in a]
    b_ids = [ids.setdefault(_signature(node), len(ids)) for node in b]
    worth: dict[tuple[int, int], float] = {}
    above = [0.0] * (m + 1)
    steps: list[bytearray] = []
    for i in range(n):
        row, step = [0.0] * (m + 1), bytearray(m + 1)
        middle = i * m // n
        low, high = max(0, middle - band), min(m, middle + band + 1)
        row[low] = above[low]
        mine, own, key, names = a_ids[i], a[i], a[i].key, _names(a[i])
        for j in range(low, high):
            cell = (mine, b_ids[j])
            value = worth.get(cell)
            if value is None:
                value = worth[cell] = _worth(own, b[j])
            best, how = above[j + 1], 1
            if row[j] > best:
                best, how = row[j], 2
            if value:
                value *= (1.2 if key == b[j].key else 1.0) * (1.25 if names & _names(b[j]) else 1.0)
                if above[j] + value >= best:
                    best, how = above[j] + value, 3
            row[j + 1], step[j + 1] = best, how
        for j in range(high, m):
            row[j + 1], step[j + 1] = row[high], 2
        above = row
        steps.append(step)
    i, j = n, m
    while i and j:
        how = steps[i - 1][j]
        if how == 3:
            i, j = i - 1, j - 1
            yield i, j
        elif how == 2:
            j -= 1
        else:
            i -= 1


def _names(node: Node) -> frozenset[str]:
    return frozenset(state.name for _, state in node.states)


def _worth(e: Node, o: Node) -> float:
    """What it is worth to pair two operations; 0 where they cannot be one another."""
    worth = e.row.worth
    if e.kind != o.kind:
        related = bool(e.row.family) and e.row.family == o.row.family
        return worth * (0.3 if e.shape == o.shape else 0.15) if related else 0.0
    names = {**e.attributes, **o.attributes, **e.tensors, **o.tensors}
    unlike = len(details_of(e, o))
    agreement = 1 - unlike / max(1, len(names))
    return worth * (0.5 + 0.35 * agreement + (0.15 if e.shape == o.shape else 0))


def details_of(e: Node, o: Node) -> dict[str, tuple[str, str]]:
    """What differs between two operations themselves: found and expected, by name."""
    if e.kind != o.kind:
        return {"op": (describe(o), describe(e))}
    details = {}
    for name in {**e.attributes, **o.attributes}:
        mine, theirs = e.attributes.get(name), o.attributes.get(name)
        if mine != theirs:
            details[name] = tuple("none" if v is None else show(v) for v in (theirs, mine))
    for role in {**e.tensors, **o.tensors}:
        own, other = e.tensors.get(role), o.tensors.get(role)
        if own is None or other is None:
            details[role] = ("none", "one") if other is None else ("one", "none")
        elif isinstance(other, Node) and isinstance(own, State):
            if other.kind == "unregistered":
                details["registered"] = (f"its {role} is no parameter of the module", "a registered parameter")
            else:
                details[role] = (f"computed: {_recipe(other)}", "a parameter")
        elif isinstance(own, Node) and isinstance(other, State):
            details[role] = ("a parameter", f"computed: {_recipe(own)}")
        elif isinstance(own, Node) and isinstance(other, Node) and own.key != other.key:
            details[role] = (f"computed: {_recipe(other)}", f"computed: {_recipe(own)}")
        elif own.shape != other.shape and not details and [x.shape for x in e.inputs] == [x.shape for x in o.inputs]:
            details[role] = (show(other.shape), show(own.shape))  # with other inputs it would follow from these
    return details  # type: ignore[return-value]


def _recipe(node: Node) -> str:
    names = [feed.name for feed in node.feeds if feed.kind == "state"]
    names += [state.name for _, state in node.states]
    return f"{node.kind}({', '.join(names) or '...'})"
