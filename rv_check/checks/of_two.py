"""A module against another module, and an arch against another arch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

from rv_check.archs.arch import Arch
from rv_check.checks.check import Check, Outcome
from rv_check.checks.compared import blocked, copy_to_run, measured, observe, report_of
from rv_check.checks.findings import Level, Report
from rv_check.checks.judge import Judge
from rv_check.checks.of_arch import ArchRun
from rv_check.checks.pair import Pair
from rv_check.checks.registry import CHECKS, checks_asked
from rv_check.checks.shared import Memo, shared
from rv_check.checks.structure import Structure, compare, larger, runs, sizes_of
from rv_check.checks.structure_level import of_mistake
from rv_check.errors import RvCheckError
from rv_check.graphs.match import Slot
from rv_check.graphs.network import At
from rv_check.modules.guard import run_theirs
from rv_check.ops.op import Shape
from rv_check.optional import need, need_device
from rv_check.text import shown_shape

if TYPE_CHECKING:
    from torch import nn

    from rv_check.modules.observe import Subject


@dataclass(frozen=True, eq=False)
class SameRun:
    """What the checks of two modules share that should be one network: the new one is found, the old one expected."""

    new: nn.Module
    old: nn.Module
    input: Shape
    device: str
    names: tuple[str, str]
    lent: ExitStack = field(default_factory=ExitStack, repr=False)  # gives back what is borrowed when it is closed
    check: str = ""  # the one that asks
    memory: Memo = field(default_factory=Memo, repr=False)
    place: ClassVar[None] = None
    parts_decide: ClassVar[bool] = False  # it may be cut into other parts; where they differ only says where to look

    @property
    def name(self) -> str:
        return self.names[1]

    def asked_by(self, check: str) -> Self:
        return replace(self, check=check)

    def ids(self, check: Check) -> list[str]:
        return [f"{self.name}::{check.name}"]

    def place_of(self, step: str) -> None:
        return None

    @shared("the new module")
    def found(self) -> Subject:
        """The new module to observe; one for all, since it remembers what it takes to run it."""
        from rv_check.modules.observe import Subject

        return Subject(self.new)

    @shared("the old module")
    def expected(self) -> Subject:
        """The old module to observe, likewise."""
        from rv_check.modules.observe import Subject

        return Subject(self.old)

    @shared("the output")
    def output(self) -> str:
        """Where in what the old module returns its one tensor stands. Raises: RvCheckError where it does not run."""
        from rv_check.modules.network import ModuleNetwork

        old = ModuleNetwork(self.expected, self.name)
        outputs = old.graph(At(self.input)).outputs
        if len(outputs) != 1:
            raise RvCheckError(f"{self.name} returns {len(outputs)} tensors, expected one")
        ModuleNetwork(self.expected, self.name, does_not="does not run in train mode at").graph(
            At(self.input, training=True)
        )
        return next(iter(outputs))

    @shared("the structure")
    def structure(self) -> Structure:
        """How the new module compares with the old one, numbers having the last word. Raises: RvCheckError."""
        from rv_check.modules.network import ModuleNetwork

        old = ModuleNetwork(self.expected, self.name, self.output)
        sizes = [*self._known_sizes, *self._larger_sizes()]
        found = compare(self.found, old, self.input, sizes, by_step=False, sides=self.names)
        return measured(found, self.pair_by, lambda: self._known_sizes, self._larger_sizes, self.device)

    @shared("the sizes")
    def _known_sizes(self) -> list[Shape]:
        return sizes_of(self.expected, self.input) or [self.input]

    def _larger_sizes(self) -> list[Shape]:
        return [x for x in larger(self.input) if runs(self.expected, x)]

    @shared("the models")
    def pair(self) -> Pair:
        """Copies of the two. Raises: RvCheckError, Blocked."""
        return self.pair_by(self.structure, self.structure.map)

    def matched(self, training: bool = False) -> Pair:
        if self.structure.differs(training=training):
            raise blocked(self)
        return self.pair  # a network of other names is the same network

    def sizes(self) -> list[Shape]:
        return [x for x in self._known_sizes if x in self.structure.sizes] or [self.input]

    def sizes_without(self) -> list[Shape]:
        return []  # at which sizes it runs is a matter of its structure

    def frozen(self) -> tuple[list[str], int]:
        old = {name for name, parameter in self.old.named_parameters() if not parameter.requires_grad}
        slots = self.structure.map
        expected = {piece.name for name in old if name in slots for piece in slots[name].pieces}
        named = dict(self.new.named_parameters())
        return [name for name, p in named.items() if not p.requires_grad and name not in expected], len(named)

    def initial(self, check: Check) -> Outcome:
        raise NotImplementedError("two modules are compared with the same weights")

    def pair_by(self, structure: Structure, slots: Mapping[str, Slot]) -> Pair:
        """The two, with parameters and buffers that correspond as `slots` says."""
        new_name, old_name = self.names

        def copied(subject: Subject) -> nn.Module:
            return copy_to_run(subject, self.input, self.device, self.lent)

        expected = run_theirs(f"{old_name} cannot be copied", lambda: copied(self.expected))
        found = run_theirs(f"{new_name} cannot be copied", lambda: copied(self.found))
        return Pair(expected, found, (old_name, new_name), slots, structure.output, self.output, structure.constants)


def compare_modules(
    new: nn.Module,
    old: nn.Module,
    input: Shape = (3, 224, 224),
    device: str = "cpu",
    *,
    level: Level | None = None,
    judge: Judge | None = None,
    names: tuple[str, str] = ("the new one", "the old one"),
) -> Report:
    """Whether two modules are one network: the same structure, then the same numbers with the same weights.

    Args: `input` the shape of one input, without the batch axis; the others as for `check`.
    Raises: RvCheckError where one of them is no module or does not run.
    """
    torch = need("torch")
    from rv_check.modules.copies import unwrapped

    for module in (new, old):
        if not isinstance(module, torch.nn.Module):
            raise RvCheckError(f"a {type(module).__name__} is not a module, expected an instance of torch.nn.Module")
    need_device(device)
    run = SameRun(unwrapped(new), unwrapped(old), tuple(input), device, names)
    with run.lent:
        observe(run)
        return report_of(run, names[0], names[1], checks_asked("two", level), judge)


def assert_same(new: nn.Module, old: nn.Module, input: Shape = (3, 224, 224), device: str = "cpu") -> None:
    """`compare_modules`, for the test of a refactoring. Raises: AssertionError, with the findings, unless all held."""
    __tracebackhide__ = True
    report = compare_modules(new, old, input, device)
    if not report.passed:
        raise AssertionError(str(report))


def compare_archs(a: Arch, b: Arch) -> Report:
    """The differences of two archs, without torch: `a` is the one expected. Raises: SpecError."""
    from rv_check.checks import structure

    mistakes, totals = structure.compare_archs(a, b)
    run = ArchRun(a)
    (check,) = (one for one in CHECKS if one.name == "structure")
    findings = [of_mistake(run, check, one) for one in mistakes]
    words = f"the same graph at {shown_shape(a.input)}, in eval and train mode"
    return Report(b.name, a.name, tuple(findings or [check.passed(run, words)]), totals=totals)
