"""Differences that are two halves of one: what is missing here and too much there, or told of two operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rv_check.graphs.differences import Difference, DifferenceKind
from rv_check.graphs.graph import Node, called, named, show

NEAR = 12  # operations between the two ends of a move, at most, unless it stays within a block


def moved_arguments(differences: Sequence[Difference]) -> list[Difference]:
    """Two operations nearby, each with the other's stride: the stride has moved."""
    kept: list[Difference] = []
    for difference in differences:
        for at, other in enumerate(kept):
            near = difference.at - other.at <= NEAR and len(other.expected) == 1
            if near and other.kind == difference.kind == "arguments" and _swapped(other.details, difference.details):
                both = [*other.expected, *difference.expected], [*other.found, *difference.found]
                kept[at] = replace(other, kind="moved", expected=both[0], found=both[1])
                break
        else:
            kept.append(difference)
    return kept


def _swapped(a: Mapping[str, tuple[str, str]], b: Mapping[str, tuple[str, str]]) -> bool:
    return a.keys() == b.keys() == {"stride"} and a["stride"] == b["stride"][::-1]


def moved_and_replaced(missing: Sequence[Difference], extra: Sequence[Difference]) -> list[Difference]:
    """A missing and an extra operation that are one: it has moved, or the one stands for the other."""
    left = list(extra)
    found = []
    for difference in missing:
        alike = [other for other in left if _alike(other.found, difference.expected)]
        moved = min(
            (other for other in alike if _is_near(other, difference) or _ends_apart(other, difference) < 3),
            key=lambda other: (_ends_apart(other, difference), abs(other.at - difference.at)),
            default=None,
        )
        near = (other for other in left if _is_near(other, difference))
        instead = next(
            (o for o in near if o.after[0] is difference.after[0] and o.before[0] is difference.before[0]), None
        )
        other = moved or instead
        if other is None:
            found.append(difference)
            continue
        left.remove(other)
        kind: DifferenceKind = "moved" if moved else "replaced"
        at = min(difference.at, other.at + 1)
        details = {"place": (_stands(other.after[0]), _stands(difference.after[0]))} if moved else {}
        sides = difference.expected, other.found
        found.append(Difference(kind, at, *sides, details, difference.after, difference.before))
    return found + left


def _alike(a: list[Node], b: list[Node]) -> bool:
    return [(node.kind, node.attributes) for node in a] == [(node.kind, node.attributes) for node in b]


def _is_near(one: Difference, other: Difference) -> bool:
    return abs(one.at - other.at) <= NEAR


def _ends_apart(extra: Difference, missing: Difference) -> int:
    """How far what is too much is from the block that what is missing belongs to.

    0 within it, 1 right behind it, 2 right before it, 3 elsewhere.
    """
    first = missing.expected[0]
    block = first.name if first.caller == "function" else first.name.rpartition(".")[0]
    if not block:
        return 3
    inside = [
        node is not None and f"{node.name}.".startswith(f"{block}.") for node in (extra.after[0], extra.before[0])
    ]
    return {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}[inside[0], inside[1]]


def _stands(after: Node | None) -> str:
    return f"after {named(after)}" if after is not None else "at the beginning"


def padded_apart(differences: Sequence[Difference]) -> list[Difference]:
    """A pad that is written before an operation with other padding: one padding in place of another."""
    found = list(differences)
    for pad in [one for one in differences if one.kind == "extra" and len(one.found) == 1]:
        words = _padding(pad.found[0], pad.before[1])
        for at, other in enumerate(found):
            if (
                words
                and other.kind == "arguments"
                and "padding" in other.details
                and other.expected[0] is pad.before[0]
            ):
                own, expected = other.details["padding"]
                told = words if own == "0" else f"{words}, besides its own {own}"
                found[at] = replace(other, details={**other.details, "padding": (told, expected)})
                found.remove(pad)
                break
    return found


def _padding(node: Node, user: Node | None) -> str:
    """What an operation puts around rows and columns for its user, in words; "" where it is none that does."""
    if node.kind != "pad":
        return f"by {called(node)}" if "pad" in node.kind else ""
    *others, rows, columns = node.attributes["sides"]
    if any(map(any, others)):
        return ""
    sides = [
        show(before) if before == behind else f"{before} before and {behind} behind"
        for before, behind in (rows, columns)
    ]
    shown = sides[0] if sides[0] == sides[1] else f"{sides[0]} by {sides[1]}"
    same = "SAME: " if user is not None and _same_padding(user) == (rows, columns) and rows[0] != rows[1] else ""
    value = node.attributes["value"]
    return f"{same}{shown}, of {'zeros' if value == 0 else show(value)}"


def _same_padding(node: Node) -> tuple[tuple[int, int], ...] | None:
    """What TensorFlow calls SAME, where the stride divides the map: what is odd of it stands behind."""
    a = node.attributes
    if "kernel" not in a or "stride" not in a:
        return None
    dilation = a.get("dilation", (1,) * len(a["kernel"]))
    whole = [max(d * (k - 1) + 1 - s, 0) for k, s, d in zip(a["kernel"], a["stride"], dilation, strict=True)]
    return tuple((n // 2, n - n // 2) for n in whole)


def folded_norms(differences: Sequence[Difference]) -> list[Difference]:
    """A norm that is missing where the layer before it has a bias that it should not have, or the other way round."""
    found = list(differences)
    for gap in [one for one in differences if one.kind in ("missing", "extra")]:
        side = 0 if gap.kind == "missing" else 1  # the side that has the norm
        nodes = gap.expected or gap.found
        layer = gap.after[side]
        if len(nodes) > 1 or nodes[0].row.family != "norm" or layer is None or nodes[0].inputs[:1] != (layer,):
            continue
        for at, other in enumerate(found):
            pair = (other.expected, other.found)
            if other.kind != "arguments" or pair[side] != [layer] or other.details.get("bias") != BIAS[side]:
                continue
            left = {name: values for name, values in other.details.items() if name != "bias"}
            words = f"{called(layer)} -> {called(nodes[0])}", f"{called(layer)} with bias"
            details = {"op": (words[1], words[0]) if side == 0 else words}
            both = [layer, nodes[0]]
            sides = (both, other.found) if side == 0 else (other.expected, both)
            joined = replace(other, kind="replaced", expected=sides[0], found=sides[1], details=details)
            found[at : at + 1] = [joined, replace(other, details=left)] if left else [joined]
            found.remove(gap)
            break
    return found


BIAS = (
    ("one", "none"),
    ("none", "one"),
)  # of the layer, found and expected: where the found norm is missing, or is extra
