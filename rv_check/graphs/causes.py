"""Differences with one cause: what one line of code makes in every block is one mistake, two mistakes stay two."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from rv_check.errors import Place
from rv_check.graphs.differences import Difference
from rv_check.graphs.graph import Node
from rv_check.graphs.match import Match

BLOCKS = re.compile(r"\b\w+\.|\b\d+ ")  # the modules that an operation is in, and a block's mere number
OF_NO_WIDTH = ("kernel", "stride", "dilation", "output_padding")  # arguments that are no numbers of channels
MANY = 3  # operations of a kind, more of which are said to be all there are


def causes(match: Match, differences: Sequence[Difference]) -> list[list[Difference]]:
    """The differences by what they have as their cause, in the order of their first.

    Arguments count one by one: those that are wrong in the same operations are one cause in the end.
    """
    back = {found: expected for expected, found in match.pairs.items()}
    groups: list[list[Difference]] = []
    known: dict[Hashable, list[Difference]] = {}
    for difference in _by_argument(differences):
        keys = list(_keys(difference, back))
        group = next((known[key] for key in keys if key in known), None)
        if group is None:
            group = []
            groups.append(group)
        group.append(difference)
        for key in keys:
            known.setdefault(key, group)
    return _everywhere(_of_the_same_operations(groups), match.expected.nodes)


def _by_argument(differences: Sequence[Difference]) -> Iterator[Difference]:
    for one in differences:
        if one.kind == "arguments":
            yield from (replace(one, details={name: values}) for name, values in one.details.items())
        else:
            yield one


def _of_the_same_operations(groups: Sequence[list[Difference]]) -> list[list[Difference]]:
    """Arguments that are wrong in exactly the same operations, told together."""
    found: list[list[Difference]] = []
    known: dict[Hashable, int] = {}
    for group in groups:
        operations = tuple(one.expected[0] for one in group) if group[0].kind == "arguments" else id(group)
        at = known.setdefault(operations, len(found))
        if at == len(found):
            found.append(group)
        else:
            pairs = zip(found[at], group, strict=True)
            found[at] = [replace(one, details={**one.details, **other.details}) for one, other in pairs]
    return found


def _everywhere(groups: Sequence[list[Difference]], nodes: Sequence[Node]) -> list[list[Difference]]:
    """What happened to every operation of a kind, from whatever line it comes, as one."""
    alike: dict[Hashable, list[Difference]] = {}
    for group in groups:
        if group[0].kind in ("missing", "replaced") and len(group[0].expected) == 1:
            alike.setdefault(_kinds(group[0]), []).extend(group)
    of_kind = Counter(node.kind for node in nodes)
    whole = {kinds for kinds, one in alike.items() if MANY < len(one) == of_kind[one[0].expected[0].kind]}
    found: list[list[Difference]] = []
    for group in groups:
        if _kinds(group[0]) not in whole or len(group[0].expected) != 1:
            found.append(group)
        elif group[0] is alike[_kinds(group[0])][0]:
            found.append(sorted(alike[_kinds(group[0])], key=lambda one: one.at))
    return found


def _kinds(d: Difference) -> Hashable:
    """What is done: two branches of one line may stand in either order."""
    return d.kind, *(tuple(sorted(node.kind for node in nodes)) for nodes in (d.expected, d.found))


def _keys(d: Difference, back: Mapping[Node, Node]) -> Iterator[Hashable]:
    """What differences with one cause have in common: any one of these is enough."""
    base = _kinds(d)
    expected, found = _lines(d.expected), _lines(d.found)
    lines = [(side, one) for side, one in (("expected", expected), ("found", found)) if any(one)]
    match d.kind:
        case "state":
            yield base, tuple(sorted(d.details)), expected
        case "unregistered" | "constant":
            yield base, tuple(sorted(d.details.items()))
        case "arguments":
            ((name, values),) = d.details.items()
            yield base, name, values
            for numbers in _by_width(name, values, d.expected[0]):
                yield from ((base, name, numbers, line) for line in lines)
                if isinstance(numbers[0], str) and not numbers[0].isdecimal():  # a word is the same one anywhere
                    yield base, name, numbers
        case "missing":
            yield base, expected
        case "extra" | "replaced":
            if d.details:
                yield base, tuple(d.details.items())
            yield from ((base, line) for line in lines)
        case "moved":
            behind = BLOCKS.sub("", d.details["place"][0]) if "place" in d.details else ""
            yield from ((base, behind, line) for line in lines)
        case "wiring":
            takes = [back.get(feed, feed) for feed in d.found[0].feeds]
            yield from ((base, "expected", one) for one in _of_a_block(d.expected[0], takes))
            yield from ((base, "found", one) for one in _of_a_block(d.found[0], d.found[0].feeds))
            # One line takes the wrong thing, which is another one in a block with a projection.
            line = d.found[0].place
            own = _of_a_block(d.expected[0], d.expected[0].feeds) if line is not None else ()
            yield from ((base, line, one) for one in own)
        case "shared":
            yield d.kind, tuple(parent(node) for node in d.expected)
            yield from ((d.kind, line) for line in found[:1] if line is not None)  # where the parts are called
    yield id(d)


def _lines(nodes: Sequence[Node]) -> tuple[Place | None, ...]:
    return tuple(sorted((node.place for node in nodes), key=str))


def parent(node: Node) -> str:
    """The module, or the part of a spec, that an operation stands in."""
    return node.name.rpartition(".")[0]


def _by_width(name: str, values: tuple[str, str], node: Node) -> Iterator[tuple[Hashable, Hashable]]:
    """The values of an argument by what blocks differ in: as shares of the channels, a padding by the kernel."""
    if name in OF_NO_WIDTH:
        return
    width = node.shape[-1 if node.kind == "linear" else 1] if len(node.shape) > 1 else 1
    kernel = node.attributes.get("kernel", ())
    half = {str(size // 2): "half the kernel" for size in kernel} if len(set(kernel)) == 1 and kernel[0] % 2 else {}

    def share(text: str) -> Hashable:
        if name == "padding":
            return half.get(text, "SAME" if text.startswith("SAME") else text)
        words = ["", *text.split()]
        return tuple(
            Fraction(int(word), width) if word.isdecimal() and before not in OF_NO_WIDTH else word
            for before, word in itertools.pairwise(words)
        )

    found, expected = values
    yield share(found), expected
    yield found, share(expected)
    yield share(found), share(expected)


def _of_a_block(node: Node, takes: Sequence[Node]) -> Iterator[Hashable]:
    """An operation and what it takes, by their lines and by their names within what they have in common."""
    nodes = [node, *takes]
    if node.place is None:
        return
    paths = [_path(one) for one in nodes]
    common = 0
    while len({tuple(path[: common + 1]) for path in paths}) == 1 and all(len(path) > common for path in paths):
        common += 1
    roles = [
        (one.kind, one.place, _role(path[common:], at_top=not common, by_number=bool(one.tensors)))
        for one, path in zip(nodes, paths, strict=True)
    ]
    yield roles[0], tuple(sorted(roles[1:], key=repr))


def _path(node: Node) -> list[str]:
    """The names of the modules that an operation is in, and its own where it has one."""
    names = node.name.split(".") if node.name else []
    return [*names, ""] if node.caller == "function" else names


def _role(path: Sequence[str], *, at_top: bool, by_number: bool) -> str:
    """A name that blocks of one kind share: their numbers, and those of the stages that they are in, left out.

    Args: `by_number` whether a number at the end is a name; that of a step without parameters depends on those before.
    """
    kept = len(path) - by_number
    names = ["#" if name.isdecimal() and at < kept else name for at, name in enumerate(path)]
    if at_top and len(names) > 1:
        names[0] = names[0].rstrip("0123456789")
    return ".".join(names)
