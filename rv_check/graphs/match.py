"""Two op graphs side by side: what corresponds to what, and every difference.

The two are lined up by a guess, the best alignment of their operations along the data flow; then every pair is held
against each other exactly: kind, arguments, inputs, and one parameter for one parameter. No difference is left exactly
where the graphs are isomorphic, so the guess decides how well a difference is told, never whether there is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

from rv_check.graphs.align import align, details_of, flow
from rv_check.graphs.constants import other_constants
from rv_check.graphs.graph import Graph, Node, Piece, State, Steps, show
from rv_check.graphs.sources import Sources, pair_leaves
from rv_check.ops.kinds import LEAVES

DifferenceKind = Literal[
    "missing",
    "extra",
    "moved",
    "replaced",
    "arguments",
    "wiring",
    "shared",
    "unused",
    "unregistered",
    "output",
    "state",
    "constant",
]
NEAR = 12  # operations between the two ends of a move, at most


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same. Operations are in the order of the flow; `at` is where along the expected one.

    `details`: what differs, found and expected. `after` and `before`: what the operations stand between, on both sides.
    """

    kind: DifferenceKind
    at: int
    expected: list[Node] = field(default_factory=list)
    found: list[Node] = field(default_factory=list)
    details: dict[str, tuple[str, str]] = field(default_factory=dict)
    after: tuple[Node | None, Node | None] = (None, None)
    before: tuple[Node | None, Node | None] = (None, None)
    names: list[str] = field(default_factory=list)  # the names of parameters and buffers


@dataclass(frozen=True)
class Slot:
    """Where a parameter or buffer of the expected network is in the found one.

    `steps` turn the found tensor, and `own` the expected one, into what the operation uses on both sides: both whole,
    or a piece of them; `others` says where the other pieces are.
    """

    name: str
    steps: Steps = ()
    own: Steps = ()
    others: tuple[Slot, ...] = ()

    @property
    def pieces(self) -> tuple[Slot, ...]:
        """Each piece, the first among them."""
        return (replace(self, others=()), *self.others) if self.others else (self,)

    def __str__(self) -> str:
        """The names of what it is in the found network, and the parts of these."""
        return " and ".join(str(piece_of(one.name, one.steps)) for one in self.pieces)


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
    """Hold a graph against the one expected. Both have one output, called ""."""
    return _Matching(expected, found).result()


class _Matching:
    def __init__(self, expected: Graph, found: Graph):
        self.expected, self.found = expected, found
        self.expected_flow, self.found_flow = flow(expected), flow(found)
        self.pairs: dict[Node, Node] = {expected.input: found.input}
        self.pairs.update(align(self.expected_flow, self.found_flow))
        self.back = {o: e for e, o in self.pairs.items()}
        self.expected_at = {node: at for at, node in enumerate(self.expected_flow)}
        self.found_at = {node: at for at, node in enumerate(self.found_flow)}
        self.expected_uses, self.found_uses = expected.uses(), found.uses()
        self.map: dict[str, Slot] = {}
        self.again: dict[Node, dict[str, tuple[str, str]]] = {}  # parameters that are used in another form elsewhere
        pair_leaves(self.expected_flow, self.pairs, self.back, (expected.parameters, found.parameters))
        self.sources = Sources(self.pairs, self.back)

    def result(self) -> Match:
        gaps, shared = [*self.arguments(), *self.gaps()], self.sharing()
        names = {name for difference in shared for name in difference.names}
        roles = [d for d in self.roles() if not {found for found, _ in d.details.values()} <= names]
        differences = [*gaps, *self.wiring(), *self.output(), *shared, *self.unused(gaps), *roles]
        differences += [
            Difference("constant", self.expected_at[node], [node], [self.pairs[node]], {"values": values}, names=names)
            for node, names, values in other_constants(self.expected, self.found, self.pairs, self.parameters())
        ]
        differences.sort(key=lambda difference: difference.at)
        slots = {name: whole(slot) for name, slot in self.map.items()}
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
        for node, _, expected_state, found_state in self.parameters():
            self.claim(node, expected_state, found_state)
        return _moved_arguments(differences)

    def claim(self, node: Node, expected: State, found: State) -> None:
        """Note where a parameter of the expected network is; or that it is used otherwise than before."""
        slot = Slot(found.name, found.steps, expected.steps)
        first = self.map.setdefault(expected.name, slot)
        known = next((one for one in first.pieces if piece_of(expected.name, one.own).overlaps(expected.piece)), None)
        if known is None:
            self.map[expected.name] = replace(first, others=(*first.others, slot))
        elif known != slot and (found.steps != expected.steps or known.steps != known.own):
            is_same_piece = piece_of(expected.name, known.own) == expected.piece
            if known.name == slot.name or not is_same_piece:  # else it is another's, which is said of sharing
                forms = f"{found.name} in another form", "the form it has elsewhere"
                self.again.setdefault(node, {})[expected.name] = forms
        counter = self.expected.counters.get(expected.name)
        if counter is not None and found.name in self.found.counters:
            self.map.setdefault(counter, Slot(self.found.counters[found.name]))

    # Operations without a counterpart

    def gaps(self) -> list[Difference]:
        runs = [_runs(self.expected_flow, self.pairs), _runs(self.found_flow, self.back)]
        live = [set(self.expected.live), set(self.found.live)]
        missing = [self.missing(nodes) for nodes in runs[0] if self.matters(nodes, live[0], in_found=False)]
        extra = [self.extra(nodes) for nodes in runs[1] if self.matters(nodes, live[1], in_found=True)]
        return _moved_and_replaced(missing, extra)

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
        after, before = _between(nodes, self.expected_uses)
        pairs = (self.pairs.get(after) if after else None, self.pairs.get(before) if before else None)
        return Difference("missing", at, nodes, [], {}, (after, pairs[0]), (before, pairs[1]))

    def extra(self, nodes: list[Node]) -> Difference:
        after, before = _between(nodes, self.found_uses)
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
                details = {"input": (self.told(found.feeds), self.told(expected.feeds))}
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

    def told(self, inputs: Sequence[Node]) -> str:
        return " and ".join(sorted(self.source(node) for node in inputs))

    def source(self, node: Node) -> str:
        shown = self.back.get(node, node)
        if shown.kind == "constant":
            return show(shown.attributes["value"])
        return f"{shown.name or shown.kind} ({shown.kind})" if shown.kind != "input" else "the input"

    def output(self) -> list[Difference]:
        expected, found = self.expected.outputs[""], self.found.outputs[""]
        ends, found_ends = self.sources.of(expected), self.sources.of(found)
        if ends == found_ends or (not self.sources.are_paired(expected, found) and ends & found_ends):
            return []
        details = {"output": (self.source(found), self.source(expected))}
        return [Difference("output", len(self.expected_flow), [expected], [found], details)]

    # Parameters

    def sharing(self) -> list[Difference]:
        users_of: dict[Piece, list[Node]] = {}
        known: dict[Piece, dict[Piece, None]] = {}
        for node, _, expected, found in self.parameters():
            users_of.setdefault(found.piece, []).append(node)
            known.setdefault(found.piece, {})[expected.piece] = None
        pieces_of: dict[str, list[Piece]] = {}
        for piece in known:
            pieces_of.setdefault(piece.name, []).append(piece)
        groups: dict[tuple[Node, ...], list[str]] = {}
        for piece, own in known.items():
            others = pieces_of[piece.name] if len(pieces_of[piece.name]) > 1 else []
            others = [other for other in others if other != piece and other.overlaps(piece)]
            apart = [other for other in others if not any(a.overlaps(b) for a in own for b in known[other])]
            if len(own) > 1 or apart:
                users = (*users_of[piece], *(user for other in apart for user in users_of[other]))
                groups.setdefault(tuple(sorted(dict.fromkeys(users), key=self.expected_at.__getitem__)), []).append(
                    str(piece)
                )
        differences = []
        for users, shared in groups.items():
            users_found = [self.pairs[node] for node in users]
            details = {"parameters": (f"one {show(shared[0])} for {len(users)}", "one for each")}
            at = self.expected_at[users[min(1, len(users) - 1)]]
            differences.append(Difference("shared", at, list(users), users_found, details, names=shared))
        separate: dict[Piece, set[Piece]] = {}
        for node, _, expected, found in self.parameters():
            separate.setdefault(expected.piece, set()).add(found.piece)
            if len(separate[expected.piece]) == 2:
                details = {"parameters": ("one for each", f"one {expected.piece} for all")}
                at, pair = self.expected_at[node], ([node], [self.pairs[node]])
                differences.append(Difference("shared", at, *pair, details, names=[str(found.piece)]))
        return differences

    def roles(self) -> list[Difference]:
        """Parameters and buffers that are used as something else than they are called, or by another's norm.

        Where the names are the expected ones, a state loads without a complaint, so each must be where it should be.
        """
        by_name = self.expected.state == self.found.state
        layouts = {  # those that the module keeps its weights in: seen where the shape shows that they are another
            (node.kind, found.steps)
            for node, role, expected, found in self.parameters()
            if found.steps and self.found.state.get(found.name) != expected.shape
        }
        wrong: dict[Node, dict[str, tuple[str, str]]] = {node: dict(details) for node, details in self.again.items()}
        for node, role, expected, found in self.parameters():
            own = found.name.rpartition(".")[2].lower()
            turned = found.steps != expected.steps and any(kind == "permute" for kind, _ in found.steps)
            same = self.found.state.get(found.name) == expected.shape
            cut = bool(found.piece.steps and expected.piece.steps)
            alike = cut and self.found.state.get(found.name) == self.expected.state.get(expected.name)
            if by_name and found.piece != expected.piece:
                wrong.setdefault(node, {})[role] = (str(found.piece), str(expected.piece))
            elif alike and found.piece.steps != expected.piece.steps:
                wrong.setdefault(node, {})[role] = (str(found.piece), f"{expected.piece}, {SAME_PIECE}")
            elif turned and same and (node.kind, found.steps) not in layouts:
                wrong.setdefault(node, {})[role] = (f"{found.name} with its axes permuted", "it as it is")
            elif role in CALLED and not own.endswith(CALLED[role]) and own.endswith(sum(CALLED.values(), ())):
                wrong.setdefault(node, {})[role] = (found.name, f"{CALLED_OTHERWISE} {role}")
        return [
            Difference("state", self.expected_at[node], [node], [self.pairs[node]], details)
            for node, details in wrong.items()
        ]

    def parameters(self) -> Iterator[tuple[Node, str, State, State]]:
        """Every parameter and buffer of the pairs, by the expected operation and its role there, on both sides."""
        for node in self.expected_flow:
            yield from ((node, *both) for both in self.roles_of(node))

    def roles_of(self, node: Node) -> Iterator[tuple[str, State, State]]:
        """The parameters and buffers of a pair by role, on both sides."""
        counterpart = self.pairs.get(node)
        for role, expected in node.states:
            found = counterpart.tensors.get(role) if counterpart is not None else None
            if isinstance(found, State):
                yield role, expected, found
        for feed in node.feeds if counterpart is not None else ():
            leaf = self.pairs.get(feed)
            if feed.kind == "state" and leaf is not None:
                yield "value", State(feed.name, feed.shape), State(leaf.name, leaf.shape)

    def unused(self, gaps: list[Difference]) -> list[Difference]:
        """Parameters of no use, but for those of an operation that is missing: that has been said.

        A buffer of no use changes nothing: a loss may keep its weights in one.
        """
        idle = self.without_use(self.found) - self.found.moved - self.found.aliases.keys()
        idle_there = self.without_use(self.expected) - self.expected.aliases.keys()
        left = Counter(self.expected.state[name] for name in idle_there - idle)
        idle -= idle_there
        for name in [name for name in self.found.state if name in idle]:  # as idle there by another name
            if left[self.found.state[name]]:
                left[self.found.state[name]] -= 1
                idle.discard(name)
        in_part = {piece.name for name in used_in_part(self.expected) for piece in self.slots_of(name)}
        idle |= (
            used_in_part(self.found) & self.found.parameters
        ) - in_part  # of a table no more is used than is needed
        missing = [
            sorted(state.shape for _, state in node.states) for d in gaps if d.kind == "missing" for node in d.expected
        ]
        names_of: list[str] = []
        parents: dict[str, list[str]] = {}
        for name in self.found.state:
            if name in idle:
                parents.setdefault(name.rpartition(".")[0], []).append(name)
        for names in parents.values():
            shapes = sorted(self.found.state[name] for name in names if self.found.state[name])
            if shapes in missing:
                missing.remove(shapes)
                continue
            names_of += [name for name in names if name in self.found.parameters]
        return [self.idle("parameter", names_of)] if names_of else []

    def slots_of(self, name: str) -> tuple[Slot, ...]:
        """Where the pieces of an expected parameter are, as far as is known."""
        return self.map[name].pieces if name in self.map else ()

    def without_use(self, graph: Graph) -> set[str]:
        """The parameters and buffers that nothing is computed from, and that count nothing that is."""
        used = {state.name for node in graph.nodes for _, state in node.states}
        used |= {node.name for node in graph.nodes if node.kind == "state"}
        used |= {counter for name, counter in graph.counters.items() if name in used or name in graph.moved}
        return {name for name in graph.state if name not in used}

    def idle(self, what: str, names: list[str]) -> Difference:
        """Parameters or buffers that are not used, beside the one in use that is called most like the first of them."""
        users = {theirs.name: e for e, _, _, theirs in self.parameters()}
        near = max(users, key=lambda name: _alike_so_far(name, names[0]), default=None)
        in_part = used_in_part(self.found)
        told = [f"a part of {name}" if name in in_part else name for name in names[:4]]
        details = {what: (", ".join(told), "none that is not used")}
        after = (users[near], self.pairs[users[near]]) if near is not None else (None, None)
        return Difference("unused", len(self.expected_flow), details=details, after=after, names=names)


def used_in_part(graph: Graph) -> set[str]:
    """The parameters and buffers of which only a part is used."""
    pieces: dict[str, dict[Piece, int]] = {}
    for node in graph.nodes:
        for _, state in node.states:
            cut = [argument for kind, argument in state.steps if kind == "slice"]
            pieces.setdefault(state.name, {})[state.piece] = prod(state.shape) if cut else 0
        if node.kind == "state":
            pieces.setdefault(node.name, {})[Piece(node.name)] = 0
    return {
        name
        for name, used in pieces.items()
        if all(used.values()) and name in graph.state and sum(used.values()) < prod(graph.state[name])
    }


def piece_of(name: str, steps: Steps) -> Piece:
    """The piece of a parameter or buffer that is left after these steps."""
    return State(name, (), steps).piece


def whole(slot: Slot) -> Slot:
    """A slot whose pieces are the same ones of one tensor, as one of that tensor."""
    same = all(one.name == slot.name and one.steps == one.own for one in slot.pieces)
    return Slot(slot.name) if same and (slot.others or piece_of("", slot.own).steps) else slot


CALLED_OTHERWISE, SAME_PIECE = "what is called", "the same piece"
CALLED: dict[str, tuple[str, ...]] = {  # the last part of a parameter's name, by the role that it says
    "weight": ("weight", "gamma", "scale"),
    "bias": ("bias", "beta", "shift"),
    "running_mean": ("mean",),
    "running_var": ("var", "variance"),
}


def _alike_so_far(a: str, b: str) -> int:
    """How many characters two names begin with in common."""
    return next((at for at, (one, other) in enumerate(zip(a, b, strict=False)) if one != other), min(len(a), len(b)))


def _moved_arguments(differences: list[Difference]) -> list[Difference]:
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


def _runs(nodes: Sequence[Node], paired: Mapping[Node, Node]) -> list[list[Node]]:
    """What has no counterpart; operations that feed one another together, in the order of the flow."""
    of: dict[Node, list[Node]] = {}
    for node in nodes:
        if node in paired:
            continue
        run: list[Node] = []
        for feed in node.feeds:
            other = of.get(feed, run)
            if other is not run:
                run = [*run, *other]
                of.update(dict.fromkeys(other, run))
        run.append(node)
        of.update(dict.fromkeys(run, run))
    at = {node: index for index, node in enumerate(nodes)}
    runs = {id(run): sorted(run, key=at.__getitem__) for run in of.values()}
    return sorted(runs.values(), key=lambda run: at[run[0]])


def _between(nodes: list[Node], uses: Mapping[Node, list[Node]]) -> tuple[Node | None, Node | None]:
    """What a run of operations follows and what follows it."""
    inside = set(nodes)
    outside = (feed for node in nodes for feed in node.inputs if feed not in inside)
    after = next((feed for feed in outside if feed.kind == "input" or feed.kind not in LEAVES), None)
    before = next((user for node in reversed(nodes) for user in uses.get(node, ()) if user not in inside), None)
    return after, before


def _moved_and_replaced(missing: list[Difference], extra: list[Difference]) -> list[Difference]:
    """A missing and an extra operation that are one: it has moved, or the one stands for the other."""
    left = list(extra)
    found = []
    for difference in missing:
        near = [other for other in left if abs(other.at - difference.at) <= NEAR]
        moved = next((o for o in near if _alike(o.found, difference.expected)), None)
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


def _stands(after: Node | None) -> str:
    return f"after {after.name or after.kind}" if after is not None else "at the beginning"
