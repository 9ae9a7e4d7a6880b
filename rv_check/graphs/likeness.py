"""How like two networks are, as a share: a look at what they are recognised by, ahead of all that is exact.

What stands between the landmarks of a network (norms, activations, pools) and the arguments of its layers are changed
by one line of code in all places at once. So each kind of change counts once, and a little more where it was made
often: a network with another norm everywhere stays the one that it was, and one with other layers does not.

    likeness = 1 - (landmarks without a counterpart + what the changes weigh) / landmarks of the larger of the two
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence

from rv_check.graphs.graph import Node, State
from rv_check.graphs.landmarks import LOOSE, Landmarks, share

Change = tuple[float, Hashable]  # what a kind of change weighs, and what it is

# What a kind of change weighs where it is made everywhere, in landmarks; where it is made once, half of that.
OTHER_NUMBER = 0.25  # an eps, a slope, a rate, a kernel of a pool
OTHER_KIND = 0.5  # a norm in place of a norm, an activation of an activation, a pool of a pool; a bias, or none
OTHER_CODE = 0.75  # operations in place of others
MORE_OR_LESS = 1.0  # operations that are not there, are there besides, or stand in another order
OTHER_WINDOW = 1.5  # a stride, a dilation, groups of a layer


def likeness(expected: Landmarks, found: Landmarks) -> float:
    """How like two networks are, from 0 to 1; at most the bound of their keys."""
    most = max(len(expected.all), len(found.all))
    if not most:
        return 0.0  # there is nothing that either is recognised by
    pairs = common([one.key.loose for one in expected.all], [one.key.loose for one in found.all])
    alike = len(common([one.key.exact for one in expected.all], [one.key.exact for one in found.all]))
    changes: Counter[Change] = Counter()
    for i, j in pairs:
        a, b = expected.all[i], found.all[j]
        changes.update(_of_layers(a.node, b.node))
        for ways in zip(a.ways, b.ways, strict=False):
            changes.update(_between(*ways))
    changes.update(min((list(_between(expected.ends[0], end)) for end in found.ends), key=_weigh))
    weighs = sum(weight * (0.5 + 0.5 * min(1.0, times / most)) for (weight, _), times in changes.items())
    return share(LOOSE * len(pairs) + (1 - LOOSE) * alike - weighs, most)


def _weigh(changes: Iterable[Change]) -> float:
    return sum(weight for weight, _ in changes)


def _of_layers(expected: Node, found: Node) -> Iterator[Change]:
    """What differs between two layers whose weights have the same width."""
    follows = "padding" if expected.attributes.get("kernel") != found.attributes.get("kernel") else ""
    for name in sorted({*expected.attributes, *found.attributes} - {"out", "kernel", follows}):
        values = expected.attributes.get(name), found.attributes.get(name)
        if values[0] != values[1] and expected.kind == found.kind:
            yield OTHER_WINDOW, (name, values)
    for role in sorted({*expected.tensors, *found.tensors}):
        forms = _form(expected, role), _form(found, role)
        if forms[0] != forms[1]:
            yield OTHER_KIND, (role, forms)


def _form(node: Node, role: str) -> str:
    tensor = node.tensors.get(role)
    return "none" if tensor is None else "registered" if isinstance(tensor, State) else "computed"


def _between(expected: Sequence[Node], found: Sequence[Node]) -> Iterator[Change]:
    """What differs between the operations from one landmark to the next."""
    kinds = [node.kind for node in expected], [node.kind for node in found]
    for i, j in common(*kinds):
        yield from _numbers(expected[i], found[j])
    if kinds[0] == kinds[1]:
        return
    less, more = Counter(kinds[0]) - Counter(kinds[1]), Counter(kinds[1]) - Counter(kinds[0])
    if not less and not more:
        yield MORE_OR_LESS, ("order", tuple(kinds[0]), tuple(kinds[1]))
        return
    missing, extra = [_left(nodes, over) for nodes, over in ((expected, less), (found, more))]
    for node in list(missing):
        family = node.row.family
        other = next((one for one in extra if family and one.row.family == family), None)
        if other is not None:
            missing.remove(node)
            extra.remove(other)
            yield OTHER_KIND, (node.kind, other.kind)
    if missing or extra:
        rest = tuple(node.kind for node in missing), tuple(node.kind for node in extra)
        yield OTHER_CODE if missing and extra else MORE_OR_LESS, rest


def _numbers(expected: Node, found: Node) -> Iterator[Change]:
    """What differs between two operations of one kind."""
    for name in sorted({*expected.attributes, *found.attributes}):
        values = expected.attributes.get(name), found.attributes.get(name)
        if values[0] != values[1]:
            yield OTHER_NUMBER, (expected.kind, name, str(values[0]), str(values[1]))
    if expected.tensors.keys() != found.tensors.keys():
        yield OTHER_NUMBER, (expected.kind, *sorted(expected.tensors.keys() ^ found.tensors.keys()))


def _left(nodes: Sequence[Node], over: Counter[str]) -> list[Node]:
    """The first of these operations, as many of each kind as are over."""
    left, wanted = [], Counter(over)
    for node in nodes:
        if wanted[node.kind] > 0:
            wanted[node.kind] -= 1
            left.append(node)
    return left


def common(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The pairs of a longest common subsequence, by rows of bits (Hyyrö 2004): of 1,800 and 1,800 some milliseconds.

    Bit j of row i says whether b[:i] has one element more in common with a[:j + 1] than with a[:j].
    """
    places: dict[Hashable, int] = {}
    for j, item in enumerate(a):
        places[item] = places.get(item, 0) | 1 << j
    every = (1 << len(a)) - 1
    row, rows = every, [0]
    for item in b:
        here = row & places.get(item, 0)
        row = ((row + here) | (row - here)) & every
        rows.append(row ^ every)
    pairs = []
    i, j = len(b), len(a)
    while i and j:
        if not rows[i] >> (j - 1) & 1:
            j -= 1
        elif (rows[i] & ((1 << j) - 1)).bit_count() == (rows[i - 1] & ((1 << j) - 1)).bit_count():
            i -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((j, i))
    return pairs[::-1]
