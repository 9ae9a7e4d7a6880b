"""One thing that is not the same in two graphs, and where a parameter of the one is in the other."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from rv_check.graphs.graph import Node, Piece, State, ViewSteps

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

    @property
    def is_alone(self) -> bool:
        """Whether the operations have no counterpart."""
        return self.kind in ("missing", "extra", "replaced")


@dataclass(frozen=True)
class Slot:
    """Where a parameter or buffer of the expected network is in the found one.

    `steps` turn the found tensor, and `own` the expected one, into what the operation uses on both sides: both whole,
    or a piece of them; `others` says where the other pieces are.
    """

    name: str
    steps: ViewSteps = ()
    own: ViewSteps = ()
    others: tuple[Slot, ...] = ()

    @property
    def pieces(self) -> tuple[Slot, ...]:
        """Each piece, the first among them."""
        return (replace(self, others=()), *self.others) if self.others else (self,)

    def __str__(self) -> str:
        """The names of what it is in the found network, and the parts of these."""
        return " and ".join(str(piece_of(one.name, one.steps)) for one in self.pieces)


def piece_of(name: str, steps: ViewSteps) -> Piece:
    """The piece of a parameter or buffer that is left after these steps."""
    return State(name, (), steps).piece


def whole(slot: Slot) -> Slot:
    """A slot whose pieces are the same ones of one tensor, as one of that tensor."""
    same = all(one.name == slot.name and one.steps == one.own for one in slot.pieces)
    return Slot(slot.name) if same and (slot.others or piece_of("", slot.own).steps) else slot
