"""A spec, held against its reference and what is published."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

from rv_check.archs.arch import Arch, small_inputs
from rv_check.checks.check import Check, Outcome
from rv_check.checks.pair import Pair
from rv_check.checks.shared import Memo, shared
from rv_check.checks.sizes import input_sizes, works
from rv_check.checks.states import hold_states
from rv_check.errors import Place
from rv_check.graphs.of_arch import ArchNetwork
from rv_check.ops.op import Shape

if TYPE_CHECKING:
    from rv_check.checks.structure import Structure


@dataclass(frozen=True, eq=False)
class ArchRun:
    """What the checks of one arch share: its reference, expected, and the model that its spec builds, found."""

    arch: Arch
    device: str = "cpu"
    check: str = ""  # the one that asks
    memory: Memo = field(default_factory=Memo, repr=False)
    parts_decide: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return self.arch.name

    @property
    def place(self) -> Place | None:
        return self.arch.entry.place

    def asked_by(self, check: str) -> Self:
        return replace(self, check=check)

    def ids(self, check: Check) -> list[str]:
        return ids_of(self.arch, check)

    def place_of(self, step: str) -> Place | None:
        return place_of(self.arch, step)

    @property
    def input(self) -> Shape:
        return self.arch.input

    @shared("the spec")
    def expanded(self) -> Arch:
        """The arch, whose tree stands. Raises: SpecError."""
        _ = self.arch.tree
        return self.arch

    @shared("the models")
    def _pair(self) -> Pair:
        return Pair.of_reference(self.arch, self.device)

    @property
    def pair(self) -> Pair:
        _ = self.expanded
        return self._pair

    @shared("the state")
    def _state(self) -> None:
        hold_states(self.pair.expected, self.pair.found)

    def matched(self, training: bool = False) -> Pair:
        pair = self.pair
        self._state  # noqa: B018 - it raises where the states of the two differ
        return pair

    @shared("the structure")
    def structure(self) -> Structure:
        """How the reference compares with what the spec expects. Raises: RvCheckError, CannotRun."""
        from rv_check.checks.structure import compare
        from rv_check.modules.observe import Subject

        arch = self.expanded
        return compare(Subject(self.pair.expected), ArchNetwork(arch), arch.input, input_sizes(arch))

    def frozen(self) -> tuple[list[str], int]:
        named = dict(self.pair.expected.named_parameters())
        return [name for name, parameter in named.items() if not parameter.requires_grad], len(named)

    def sizes(self, *, training: bool = False) -> list[Shape]:
        return input_sizes(self.arch)

    def sizes_without(self) -> list[Shape]:
        return [sizes[0] for sizes in small_inputs(self.arch.declared_input) if not works(self.arch, sizes[0])]

    def initial(self, check: Check) -> Outcome:
        """From one seed, the spec's model and the reference start with equal tensors, bit for bit."""
        import torch

        from rv_check.modules.initial import statistics

        pair = self.matched()
        if not pair.is_fresh:
            pair = Pair.of_reference(self.arch, self.device)
        expected, found = pair.expected.state_dict(), pair.found.state_dict()
        different = [name for name in expected if not torch.equal(expected[name], found[name])]
        if not different:
            yield check.passed(self, f"{len(expected)} tensors start bit for bit as the reference's, seed 0")
            return
        name = different[0]
        rules = self.arch.family.init
        yield check.failed(
            self,
            f"{name} is the first of {len(different)} tensors, of {len(expected)}, that start otherwise",
            found=statistics(found[name]),
            expected=statistics(expected[name]),
            place=rules[0].place if rules else self.arch.family.place,
        )


def ids_of(arch: Arch, check: Check) -> list[str]:
    """What a known deviation may call a check: `arch::check`, or with its file in front."""
    id_ = f"{arch.name}::{check.name}"
    return [id_, f"{arch.entry.place.document.shown}::{id_}"]


def place_of(arch: Arch, step: str) -> Place | None:
    """The line of the spec that a step stands on; of the arch where there is none."""
    row = arch.step(step) if step else None
    return row.place if row else arch.entry.place
