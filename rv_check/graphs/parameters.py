"""The parameters and buffers of two graphs: which is which, who shares one, what is called otherwise, what is idle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

from rv_check.graphs.differences import Difference, Slot, piece_of
from rv_check.graphs.graph import Graph, Node, Piece, State, show


class Parameters:
    """Those of two graphs whose operations have been paired. `map`: where the expected ones are in the found graph."""

    def __init__(self, expected: Graph, found: Graph, order: Sequence[Node], pairs: Mapping[Node, Node]):
        """Args: `order` the operations of the expected graph along the flow; `pairs` expected to found."""
        self.expected, self.found = expected, found
        self.expected_flow, self.pairs = order, pairs
        self.expected_at = {node: at for at, node in enumerate(order)}
        self.map: dict[str, Slot] = {}
        self.again: dict[Node, dict[str, tuple[str, str]]] = {}  # parameters that are used in another form elsewhere

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

    def sharing(self) -> list[Difference]:
        users_of: dict[Piece, list[Node]] = {}
        known: dict[Piece, dict[Piece, None]] = {}
        for node, _, expected, found in self.each():
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
        for node, _, expected, found in self.each():
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
            for node, role, expected, found in self.each()
            if found.steps and self.found.state.get(found.name) != expected.shape
        }
        wrong: dict[Node, dict[str, tuple[str, str]]] = {node: dict(details) for node, details in self.again.items()}
        for node, role, expected, found in self.each():
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

    def each(self) -> Iterator[tuple[Node, str, State, State]]:
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
        left += Counter(self.expected.behind.values())  # a trunk may hold the head that it does not use
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
        used = {*graph.used}
        used |= {counter for name, counter in graph.counters.items() if name in used or name in graph.moved}
        return {name for name in graph.state if name not in used}

    def idle(self, what: str, names: list[str]) -> Difference:
        """Parameters or buffers that are not used, beside the one in use that is called most like the first of them."""
        users = {theirs.name: e for e, _, _, theirs in self.each()}
        near = max(users, key=lambda name: _alike_so_far(name, names[0]), default=None)
        in_part = used_in_part(self.found)
        told = [f"a part of {name}" if name in in_part else name for name in names]
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
