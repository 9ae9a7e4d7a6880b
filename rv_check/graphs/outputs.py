"""Which output of a network is which of the one expected: told by what it computes, by its place where that is open.

A place is where a tensor stands in what a module returns: `[0]`, `['out']`, `.logits`, or "" where it is all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from rv_check.graphs.graph import Graph, Node, Piece, TensorShape, in_order
from rv_check.ops.kinds import LEAVES

SAME_SHAPE = 0.3  # what the same number of axes is worth, and the same shape, beside all operations at 2
CLEARLY = 0.05  # by how much more alike outputs have to be in another order, on average, to be taken for swapped


@dataclass(frozen=True)
class Returned:
    """The places of what two networks return. `pairs`: which of the expected ones is which of those found."""

    expected: tuple[str, ...]
    found: tuple[str, ...]
    pairs: Mapping[str, str]

    @classmethod
    def of(cls, expected: Graph, found: Graph) -> Returned:
        """What is told by the graphs of the two."""
        return cls(tuple(expected.outputs), tuple(found.outputs), pair_outputs(expected, found))

    def at(self, expected: Graph, found: Graph) -> Returned:
        """The same of other graphs of the two, where these return as much; anew where they do not."""
        same = self.expected == tuple(expected.outputs) and self.found == tuple(found.outputs)
        return self if same else Returned.of(expected, found)

    def lined_up(self, expected: Graph, found: Graph) -> tuple[Graph, Graph]:
        """Both graphs with the outputs that are pairs, called by their expected places."""
        return expected.returning({place: place for place in self.pairs}), found.returning(self.pairs)

    def used(self, expected: Graph, found: Graph) -> frozenset[str]:
        """The parameters and buffers of the found one that the outputs are computed from that are pairs."""
        return replace(self.lined_up(expected, found)[1], besides={}).used

    @property
    def lost(self) -> tuple[str, ...]:
        """The expected outputs that are not there."""
        return tuple(place for place in self.expected if place not in self.pairs)

    @property
    def extra(self) -> tuple[str, ...]:
        """The outputs that nothing expected stands for."""
        return tuple(place for place in self.found if place not in self.pairs.values())

    @property
    def moved(self) -> dict[str, str]:
        """The outputs that stand at another place, found and expected. A single one may stand where it likes."""
        moved = {found: expected for expected, found in self.pairs.items() if found != expected}
        return {place: moved[place] for place in self.found if place in moved} if len(self.expected) > 1 else {}


def pair_outputs(expected: Graph, found: Graph) -> dict[str, str]:
    """The found output for each of the expected ones, as far as there are enough.

    The same computation comes first. Equal ones are told apart by names where both networks have the same, by which
    pieces of parameters of one shape they use, then by their places. Of what is left the most alike are pairs, in the
    order of the places unless another one is clearly better.
    """
    if len(expected.outputs) == 1 == len(found.outputs):
        return dict(zip(expected.outputs, found.outputs, strict=True))
    by_name = expected.state == found.state
    looks = {place: _ancestry(node, expected) for place, node in expected.outputs.items()}
    others = {place: _ancestry(node, found) for place, node in found.outputs.items()}

    def same(e: str, f: str) -> tuple[Any, ...]:
        one, other = looks[e], others[f]
        return by_name and one.names != other.names, one.pieces != other.pieces, e != f, -_share(one.names, other.names)

    def unlike(e: str, f: str) -> tuple[Any, ...]:
        return -_likeness(looks[e], others[f]), e != f, -_share(looks[e].names, others[f].names), others[f].key

    equal = [(e, f) for e in looks for f in others if looks[e].key == others[f].key]
    pairs = _taken(sorted(equal, key=lambda pair: same(*pair)))
    left = [(e, f) for e in looks for f in others if e not in pairs and f not in pairs.values()]
    best = _taken(sorted(left, key=lambda pair: unlike(*pair)))
    in_place = _taken(sorted(left, key=lambda pair: (pair[0] != pair[1], *unlike(*pair))))
    worth, worth_in_place = (sum(_likeness(looks[e], others[f]) for e, f in one.items()) for one in (best, in_place))
    pairs |= best if len(looks) == 1 or worth > worth_in_place + CLEARLY * len(best) else in_place
    return {place: pairs[place] for place in looks if place in pairs}


def steps_of(expected: Graph, outputs: Mapping[str, Node], back: Mapping[Node, Node]) -> dict[str, str]:
    """The step of the expected network that each output of another one is the value after, "" for none.

    Args: `back` the pairs of operations, found to expected.
    """
    outermost = sorted(expected.steps.items(), key=lambda step: step[0].count("."))
    names: dict[Node, str] = {}
    keys: dict[bytes, str] = {}
    for name, node in outermost:
        if node.kind != "input" and node.key:
            names.setdefault(node, name)
            keys.setdefault(node.key, name)

    def step(node: Node) -> str:
        pair = back.get(node)
        alike = pair is not None and pair.kind == node.kind  # a convolution may be paired with a linear layer
        return keys.get(node.key) or (names.get(pair, "") if pair is not None and alike else "")

    return {place: step(node) for place, node in outputs.items()}


class _Ancestry(NamedTuple):
    """What an output is computed by, from which parameters and buffers; of which only a piece, of what shape."""

    key: bytes
    shape: TensorShape
    layers: Counter[Any]
    operations: Counter[Any]
    names: frozenset[str]
    pieces: frozenset[Any]


def _ancestry(end: Node, graph: Graph) -> _Ancestry:
    nodes = list(in_order([end]))
    inner = [node for node in nodes if node.kind not in LEAVES]
    named = {state.name for node in nodes for _, state in node.states}
    return _Ancestry(
        end.key,
        end.shape,
        Counter((node.kind, _shapes(node)) for node in inner),
        Counter((node.kind, _shapes(node), tuple(sorted(node.attributes.items()))) for node in inner),
        frozenset(named | {node.name for node in nodes if node.kind == "state"}),
        frozenset((graph.state.get(p.name), p.steps) for node in nodes for p in _pieces(node)),
    )


def _pieces(node: Node) -> list[Piece]:
    return [piece for _, state in node.states if (piece := state.piece).steps]


def _shapes(node: Node) -> tuple[Any, ...]:
    return tuple((role, tensor.shape) for role, tensor in sorted(node.tensors.items()))


def _likeness(one: _Ancestry, other: _Ancestry) -> float:
    """How many operations two have in common, with all arguments and with none, and whether they end at one shape.

    A feature map has nearly all operations of the logits, and is none.
    """
    shapes = (len(one.shape) == len(other.shape)) + (one.shape == other.shape)
    alike = _overlap(one.layers, other.layers) + _overlap(one.operations, other.operations)
    return alike + SAME_SHAPE * shapes


def _overlap(one: Counter[Any], other: Counter[Any]) -> float:
    return (one & other).total() / max(1, (one | other).total())


def _share(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(1, len(one | other))


def _taken(candidates: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The pairs that are left where each is taken in turn, unless one of it is gone."""
    pairs: dict[str, str] = {}
    gone: set[str] = set()
    for e, f in candidates:
        if e not in pairs and f not in gone:
            pairs[e] = f
            gone.add(f)
    return pairs
