"""Two op graphs lined up: which operation of the one is which of the other, as a guess.

The operations of each are put in an order along the flow, and the two orders are aligned as sequences: by kind,
arguments, shapes, and the names of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

from rv_check.graphs.graph import Graph, Node, State, called, describe, show
from rv_check.ops.kinds import LEAVES

AROUND = 3  # operations before and after a difference that the alignment looks at again
NARROWEST = 12  # operations that such a band has on either side, at least
MOST_CELLS = 4_000_000  # cells of the alignment: larger graphs are aligned within a band


def flow(graph: Graph, *, late: bool = False) -> list[Node]:
    """The operations in the order of the flow, the longest branch of a sum first, leaves left out.

    What is computed and not used stands behind what it is computed from; `late`: before the next join behind that.
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
        joins = (at for at in range(last + 1, len(order)) if order[at].row.family == "join")
        begin = next(joins, last + 1) if late else last + 1
        order[begin:begin] = chain
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
    start, expected_end, found_end = 0, len(expected), len(found)
    while start < min(expected_end, found_end) and expected[start].key == found[start].key:
        pairs[expected[start]] = found[start]
        start += 1
    while min(expected_end, found_end) > start:
        if signature(expected[expected_end - 1]) != signature(found[found_end - 1]):
            break
        expected_end, found_end = expected_end - 1, found_end - 1
        pairs[expected[expected_end]] = found[found_end]
    if start < max(expected_end, found_end):  # something differs: names have a say about where, which keys do not know
        start = max(0, start - AROUND)
        expected_end, found_end = min(len(expected), expected_end + AROUND), min(len(found), found_end + AROUND)
        pairs = {e: o for e, o in pairs.items() if e in {*expected[:start], *expected[expected_end:]}}
    for i, j in _best(expected[start:expected_end], found[start:found_end]):
        pairs[expected[start + i]] = found[start + j]
    pairs = _slid(expected, found, pairs)
    return _uncrossed({e: o for o, e in _slid(found, expected, {o: e for e, o in pairs.items()}).items()})


def _uncrossed(pairs: dict[Node, Node]) -> dict[Node, Node]:
    """The pairs, with two branches that come in another order than expected each beside the one of its names.

    Two layers of equal arguments that only use the parameters of each other stay as they are.
    """
    back = {o: e for e, o in pairs.items()}
    owners = {(o.kind, names_of(o)): o for o in back if names_of(o)}

    def fits(e: Node, o: Node) -> bool:
        takes = all(pairs.get(feed) in o.feeds for feed in e.feeds if feed in pairs)
        return takes and signature(e)[:3] == signature(o)[:3]

    for e in sorted(pairs, key=lambda node: node.height):
        own, its = owners.get((e.kind, names_of(e))), pairs[e]
        if own is not None and own is not its and fits(e, own) and not fits(e, its):
            other = back[own]
            if names_of(other) == names_of(its):
                pairs[e], pairs[other], back[own], back[its] = own, its, e, other
    return pairs


def _slid(one: Sequence[Node], other: Sequence[Node], pairs: dict[Node, Node]) -> dict[Node, Node]:
    """The alignment with what `other` has besides moved along to where it is a thing of its own.

    Where A B A B stands for A B, what is besides may be either A B, or the B A between: all are worth the same.
    Best is where most parameters keep their names, then where it and the next are one, then where it begins and ends
    with a module, then where it is.
    """
    at = {node: index for index, node in enumerate(one)}
    back = {o: e for e, o in pairs.items()}
    stop = 0
    for begin in range(len(other)):
        if begin < stop or other[begin] in back:
            continue
        stop = next((j for j in range(begin, len(other)) if other[j] in back), len(other))
        before = back.get(other[begin - 1]) if begin else None
        after = back[other[stop]] if stop < len(other) else None
        if before and after and at[after] != at[before] + 1:
            continue  # one thing in place of another
        best = max(_shifts(other, back, begin, stop), key=lambda shift: shift[:4])[4]
        for shift in range(abs(best)):
            old, new = (begin - 1 - shift, stop - 1 - shift) if best < 0 else (stop + shift, begin + shift)
            back[other[new]] = back.pop(other[old])
        stop = max(stop, stop + best)
        while stop < len(other) and other[stop] not in back:
            stop += 1  # what it is one with now
    return {e: o for o, e in back.items()}


def _shifts(
    other: Sequence[Node], back: dict[Node, Node], begin: int, stop: int
) -> Iterator[tuple[int, bool, int, int, int]]:
    """Where a run may lie as well: names that more parameters keep, whether it is one with what is besides there, how
    apart it is, how near, and by how much."""
    yield 0, False, _is_between(other, begin, stop), 0, 0
    for step in (-1, 1):
        names, i, j = 0, begin, stop
        while True:
            old, new = (i - 1, j - 1) if step < 0 else (j, i)  # what is given up, and what takes its pair
            pair = back.get(other[old]) if 0 <= old < len(other) else None
            if pair is None or signature(other[old])[:3] != signature(other[new])[:3]:
                break  # whatever the sizes are, which may follow from what is besides
            names += len(names_of(pair) & names_of(other[new])) - len(names_of(pair) & names_of(other[old]))
            i, j = i + step, j + step
            beside = i - 1 if step < 0 else j
            joins = 0 <= beside < len(other) and other[beside] not in back
            yield names, joins, _is_between(other, i, j), -abs(i - begin), i - begin


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


def signature(node: Node) -> Any:
    """What an operation is, whatever it is computed from."""
    roles = tuple((role, getattr(tensor, "shape", ())) for role, tensor in sorted(node.tensors.items()))
    return node.kind, tuple(sorted(node.attributes.items())), roles, node.shape  # the shape last: see _slid


def _best(a: Sequence[Node], b: Sequence[Node]) -> Iterator[tuple[int, int]]:
    """The steps of the alignment of greatest worth (Needleman & Wunsch 1970): gaps cost nothing, pairs are worth."""
    n, m = len(a), len(b)
    if not n or not m:
        return
    band = max(NARROWEST, MOST_CELLS // n, abs(n - m) + NARROWEST) if n * m > MOST_CELLS else m
    kinds: dict[Any, int] = {}
    a_kinds = [kinds.setdefault(signature(node), len(kinds)) for node in a]
    b_kinds = [kinds.setdefault(signature(node), len(kinds)) for node in b]
    keys, names = [node.key for node in b], [names_of(node) for node in b]
    worth: dict[int, list[float]] = {}  # of a pair with each of b, by the kind of a
    above = [0.0] * (m + 1)
    steps: list[bytearray] = []
    for i, node in enumerate(a):
        row, step = [0.0] * (m + 1), bytearray(m + 1)
        middle = i * m // n
        low, high = max(0, middle - band), min(m, middle + band + 1)
        best = row[low] = above[low]
        key, own = node.key, names_of(node)
        if a_kinds[i] not in worth:
            firsts = dict(zip(reversed(b_kinds), reversed(b), strict=True))
            of_kind = {kind: _worth(node, other) for kind, other in firsts.items()}
            worth[a_kinds[i]] = [of_kind[kind] for kind in b_kinds]
        values = worth[a_kinds[i]]
        for j in range(low, high):
            before, best, how = best, above[j + 1], 1
            if before > best:
                best, how = before, 2
            value = values[j]
            if value:
                value *= (1.2 if key == keys[j] else 1.0) * (1.0 if own.isdisjoint(names[j]) else 1.25)
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


def names_of(node: Node) -> frozenset[str]:
    """The parameters and buffers that an operation uses itself."""
    return frozenset(state.name for _, state in node.states)


def _worth(expected: Node, found: Node) -> float:
    """What it is worth to pair two operations; 0 where they cannot be one another."""
    worth = expected.row.worth
    if expected.kind != found.kind:
        related = bool(expected.row.family) and expected.row.family == found.row.family
        return worth * (0.3 if expected.shape == found.shape else 0.15) if related else 0.0
    names = {**expected.attributes, **found.attributes, **expected.tensors, **found.tensors}
    unlike = len(details_of(expected, found))
    agreement = 1 - unlike / max(1, len(names))
    return worth * (0.5 + 0.35 * agreement + (0.15 if expected.shape == found.shape else 0))


def details_of(expected: Node, found: Node) -> dict[str, tuple[str, str]]:
    """What differs between two operations themselves: found and expected, by name."""
    if expected.kind != found.kind:
        return {"op": (describe(found), describe(expected))}
    details = {}
    for name in {**expected.attributes, **found.attributes}:
        values = found.attributes.get(name), expected.attributes.get(name)
        if values[0] != values[1]:
            details[name] = tuple("none" if v is None else show(v, name) for v in values)
    if "statistics" in details:
        details.pop("momentum", None)  # running statistics that are used as they are have none
    for role in {**expected.tensors, **found.tensors}:
        stated, given = expected.tensors.get(role), found.tensors.get(role)
        if stated is None or given is None:
            details[role] = ("none", "one") if given is None else ("one", "none")
        elif isinstance(given, Node) and isinstance(stated, State):
            if given.kind == "unregistered":
                details["registered"] = (f"its {role} is no parameter of the module", "a registered parameter")
            else:
                details[role] = (_recipe(given), "a parameter")
        elif isinstance(stated, Node) and isinstance(given, State):
            details[role] = ("a parameter", _recipe(stated))
        elif isinstance(stated, Node) and isinstance(given, Node) and stated.key != given.key:
            details[role] = (_recipe(given), _recipe(stated))
        elif (
            given.shape != stated.shape
            and not details
            and [x.shape for x in expected.inputs] == [x.shape for x in found.inputs]
        ):
            details[role] = (show(given.shape), show(stated.shape))  # with other inputs it would follow from these
    return details  # type: ignore[return-value]


def _recipe(node: Node) -> str:
    """What a weight is computed from, as people say it: a mask times a parameter is a masked one."""
    names = [feed.name for feed in node.feeds if feed.kind == "state"]
    names += [state.name for _, state in node.states]
    names = [name.rpartition(".")[2] for name in names]
    masks = [name for name in names if name.endswith("mask")]
    if node.kind == "product" and len(names) == len(node.feeds) == 2 and len(masks) == 1:
        return f"masked: {next(name for name in names if name not in masks)} times {masks[0]}"
    return f"computed: {called(node)}({', '.join(names) or '...'})"
