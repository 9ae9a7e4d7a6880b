"""Two op graphs side by side: what corresponds to what, and every difference.

The two are lined up by a guess, the best alignment of their operations along the data flow; then every pair is held
against each other exactly: kind, arguments, inputs, and one parameter for one parameter. No difference is left exactly
where the graphs are isomorphic, so the guess decides how well a difference is told, never whether there is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rv_check.errors import Place
from rv_check.graphs.align import align, details_of, flow
from rv_check.graphs.constants import other_constants
from rv_check.graphs.differences import Difference, DifferenceKind, Slot, whole
from rv_check.graphs.graph import Graph, Node, said, show
from rv_check.graphs.joining import folded_norms, moved_and_replaced, moved_arguments, padded_apart
from rv_check.graphs.parameters import Parameters
from rv_check.graphs.sources import Sources, pair_fed_alike, pair_leaves
from rv_check.ops.kinds import LEAVES


@dataclass(frozen=True)
class Match:
    """How two graphs correspond. `map` gives parameters and buffers by the expected names."""

    expected: Graph
    found: Graph
    pairs: dict[Node, Node]
    differences: list[Difference]
    map: dict[str, Slot]

    @property
    def same(self) -> bool:
        """Whether the graphs are isomorphic."""
        return not self.differences

    @property
    def rules(self) -> list[str]:
        """The rules by which the found graph is the expected one, where it is written otherwise."""
        return sorted(self.found.rules - self.expected.rules)


def match(expected: Graph, found: Graph) -> Match:
    """Hold a graph against the one expected. Both have outputs of the same names.

    What is computed and not used may stand where it begins, or where its branch would end: as fewer differences say.
    """
    best = _Matching(expected, found).result()
    if best.same or not any(node.tensors for graph in (expected, found) for node in graph.unread):
        return best
    return min(best, _Matching(expected, found, late=True).result(), key=lambda one: len(one.differences))


class _Matching:
    def __init__(self, expected: Graph, found: Graph, *, late: bool = False):
        self.expected, self.found = expected, found
        self.expected_flow, self.found_flow = flow(expected, late=late), flow(found, late=late)
        self.pairs: dict[Node, Node] = {expected.input: found.input}
        named = {node.name: node for node in found.more_inputs}
        self.pairs.update((node, named[node.name]) for node in expected.more_inputs if node.name in named)
        self.pairs.update(align(self.expected_flow, self.found_flow))
        self.back = {o: e for e, o in self.pairs.items()}
        pair_fed_alike(self.expected_flow, self.found_flow, self.pairs, self.back)
        self.expected_at = {node: at for at, node in enumerate(self.expected_flow)}
        self.found_at = {node: at for at, node in enumerate(self.found_flow)}
        self.expected_uses, self.found_uses = expected.uses(), found.uses()
        pair_leaves(self.expected_flow, self.pairs, self.back, (expected.parameters, found.parameters))
        self.sources = Sources(self.pairs, self.back)
        self.parameters = Parameters(expected, found, self.expected_flow, self.pairs)

    def result(self) -> Match:
        gaps, shared = [*self.arguments(), *self.gaps()], self.parameters.sharing()
        names = {name for difference in shared for name in difference.names}
        roles = [d for d in self.parameters.roles() if not {found for found, _ in d.details.values()} <= names]
        differences = [
            *folded_norms(padded_apart(gaps)),
            *self.wiring(),
            *self.ends(),
            *shared,
            *self.parameters.unused(gaps),
            *roles,
        ]
        differences += [
            Difference("constant", self.expected_at[node], [node], [self.pairs[node]], {"values": values}, names=names)
            for node, names, values in other_constants(self.expected, self.found, self.pairs, self.parameters.each())
        ]
        differences.sort(key=lambda difference: difference.at)
        slots = {name: whole(slot) for name, slot in self.parameters.map.items()}
        return Match(self.expected, self.found, self.pairs, differences, slots)

    # Pairs: kind, arguments, parameters

    def arguments(self) -> list[Difference]:
        differences = []
        for expected in self.expected_flow:
            found = self.pairs.get(expected)
            if found is None:
                continue
            details = details_of(expected, found)
            inputs = zip(expected.inputs, found.inputs, strict=False)
            if expected.row.moves and any(a.shape != b.shape for a, b in inputs):
                details = {}  # its input has another shape, which is some other difference's doing
            if details:
                kind: DifferenceKind = "unregistered" if "registered" in details else "arguments"
                differences.append(Difference(kind, self.expected_at[expected], [expected], [found], details))
        for node, _, expected_state, found_state in self.parameters.each():
            self.parameters.claim(node, expected_state, found_state)
        return moved_arguments(differences)

    # Operations without a counterpart

    def gaps(self) -> list[Difference]:
        runs = [_runs(self.expected_flow, self.pairs), _runs(self.found_flow, self.back)]
        live = [set(self.expected.live), set(self.found.live)]
        missing = [self.missing(nodes) for nodes in runs[0] if self.matters(nodes, live[0], in_found=False)]
        extra = [self.extra(nodes) for nodes in runs[1] if self.matters(nodes, live[1], in_found=True)]
        return moved_and_replaced(missing, extra)

    def matters(self, nodes: list[Node], live: set[Node], *, in_found: bool) -> bool:
        """Whether it changes anything that these are computed: what nobody uses matters if it has parameters.

        What computes nothing but the weight of a pair is told of the pair.
        """
        uses = self.found_uses if in_found else self.expected_uses
        paired = self.back if in_found else self.pairs
        inside = set(nodes)
        users = [(node, user) for node in nodes for user in uses.get(node, ()) if user not in inside]
        if users and all(user in paired and node in user.tensors.values() for node, user in users):
            return False
        return any(node in live or node.tensors for node in nodes)

    def missing(self, nodes: list[Node]) -> Difference:
        at = self.expected_at[nodes[0]]
        after, before = _between(nodes, self.expected_uses, self.pairs)
        pairs = (self.pairs.get(after) if after else None, self.pairs.get(before) if before else None)
        return Difference("missing", at, nodes, [], {}, (after, pairs[0]), (before, pairs[1]))

    def extra(self, nodes: list[Node]) -> Difference:
        after, before = _between(nodes, self.found_uses, self.back)
        pairs = (self.back.get(after) if after else None, self.back.get(before) if before else None)
        if pairs[0] is not None and pairs[0] in self.expected_at:
            at = self.expected_at[pairs[0]]
        elif pairs[1] is not None and pairs[1] in self.expected_at:
            at = self.expected_at[pairs[1]] - 1
        else:
            begin = self.found_at[nodes[0]]
            at = max((self.expected_at[self.back[o]] for o in self.found_flow[:begin] if o in self.back), default=-1)
        return Difference("extra", at, [], nodes, {}, (pairs[0], after), (pairs[1], before))

    # Inputs

    def wiring(self) -> list[Difference]:
        differences = []
        for expected in self.expected_flow:
            found = self.pairs.get(expected)
            if found is not None and not self.fed_alike(expected, found):
                words = self.told(found.feeds), self.told(expected.feeds)
                if words[0] == words[1]:  # one module that is called several times
                    words = self.told(found.feeds, behind=True), self.told(expected.feeds, behind=True)
                details = {"input": words}
                after = (next(iter(expected.inputs), None), next(iter(found.inputs), None))
                at = self.expected_at[expected]
                differences.append(Difference("wiring", at, [expected], [found], details, after))
        return differences

    def fed_alike(self, expected: Node, found: Node) -> bool:
        """Whether the inputs of a pair are pairs, in order where it matters; or differ as a missing or an extra
        operation before them explains."""
        expected_sources = [self.sources.of(feed) for feed in self.values(expected, found)]
        found_sources = [self.sources.of(feed) for feed in self.values(found, expected)]
        if expected.row.commutes and found.row.commutes:
            if Counter(expected_sources) == Counter(found_sources):
                return True
        elif expected_sources == found_sources:
            return True
        if self.sources.are_paired(*self.values(expected, found), *self.values(found, expected)):
            return False
        here, there = frozenset().union(*expected_sources), frozenset().union(*found_sources)
        return bool(here & there) or not here or not there

    def values(self, node: Node, other: Node) -> list[Node]:
        """The inputs of one of a pair, and its weights that are computed on both sides."""
        both = [role for role in sorted(node.tensors) if isinstance(other.tensors.get(role), Node)]
        return [*node.inputs, *(weight for role in both if isinstance(weight := node.tensors[role], Node))]

    def told(self, inputs: Sequence[Node], *, behind: bool = False) -> str:
        return " and ".join(sorted(self.source(node, behind=behind) for node in inputs))

    def source(self, node: Node, *, behind: bool = False) -> str:
        shown = self.back.get(node, node)
        if behind and shown.inputs:
            return f"{said(shown)} after {said(shown.inputs[0])}"
        if shown.kind == "input" and "of" in shown.attributes:
            return f"the input {shown.name}"
        return show(shown.attributes["value"]) if shown.kind == "constant" else said(shown)

    def ends(self) -> list[Difference]:
        differences = []
        for place, expected in self.expected.outputs.items():
            found = self.found.outputs[place]
            ends, found_ends = self.sources.of(expected), self.sources.of(found)
            if ends == found_ends or (not self.sources.are_paired(expected, found) and ends & found_ends):
                continue
            details = {f"output {place}".strip(): (self.source(found), self.source(expected))}
            differences.append(Difference("output", len(self.expected_flow), [expected], [found], details))
        return differences


def _runs(nodes: Sequence[Node], paired: Mapping[Node, Node]) -> list[list[Node]]:
    """What has no counterpart; operations that feed one another together, in the order of the flow.

    Where a line of code comes again with something else between, as in the next block, another run begins.
    """
    of: dict[Node, list[Node]] = {}
    at: dict[Node, int] = {}
    known = 0  # how many that have a counterpart came so far
    before: dict[Node, int] = {}
    for index, node in enumerate(nodes):
        at[node] = index
        if node in paired:
            known += 1
            continue
        before[node] = known
        run = of[node] = [node]
        for other in {id(of[feed]): of[feed] for feed in node.feeds if feed in of}.values():
            if before[other[-1]] == known or _lines(other).isdisjoint(_lines(run)):
                run = [*other, *run]
                of.update(dict.fromkeys(run, run))
    runs = {id(run): sorted(run, key=at.__getitem__) for run in of.values()}
    return sorted(runs.values(), key=lambda run: at[run[0]])


def _lines(nodes: Sequence[Node]) -> set[tuple[str, Place]]:
    return {(node.kind, node.place) for node in nodes if node.place is not None}


def _between(
    nodes: list[Node], uses: Mapping[Node, list[Node]], paired: Mapping[Node, Node]
) -> tuple[Node | None, Node | None]:
    """What a run of operations follows and what follows it, something that has a counterpart where there is any."""
    inside = set(nodes)
    outside = [feed for node in nodes for feed in node.inputs if feed not in inside]
    outside = [feed for feed in outside if feed.kind == "input" or feed.kind not in LEAVES]
    users = [user for node in reversed(nodes) for user in uses.get(node, ()) if user not in inside]
    after, before = (next((one for one in ones if one in paired), next(iter(ones), None)) for ones in (outside, users))
    return after, before
