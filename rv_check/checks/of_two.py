"""A module against another module, and an arch against another arch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rv_check.archs.arch import Arch
from rv_check.checks.arbitration import measured
from rv_check.checks.check import Check, Outcome
from rv_check.checks.compared import blocked, copy_to_run, must_train, observe, report_of, with_what_never_ran
from rv_check.checks.findings import Level, Report
from rv_check.checks.judge import Judge
from rv_check.checks.of_arch import ArchRun
from rv_check.checks.pair import Pair
from rv_check.checks.registry import CHECKS, checks_asked
from rv_check.checks.shared import Memo, shared
from rv_check.checks.structure import Structure, channels_in_words, compare, larger, runs, sizes_of, totals_of
from rv_check.checks.structure_level import of_mistake
from rv_check.errors import RvCheckError
from rv_check.graphs.differences import Slot
from rv_check.graphs.network import At
from rv_check.language.inputs import IMAGE, Inputs, one_image
from rv_check.modules.guard import run_theirs
from rv_check.ops.op import Shape
from rv_check.optional import need, need_device
from rv_check.text import first_line, shown_shape

if TYPE_CHECKING:
    from torch import nn

    from rv_check.modules.inferred import Free
    from rv_check.modules.network import ModuleNetwork
    from rv_check.modules.observe import Subject


# Of what is compared with the weights that it has, relative to the largest value of an output: float32 noise of another
# order of operations stays below 1e-6, as for `trace.TOLERANCE`; a norm that is folded into a convolution adds to it.
OWN_WEIGHTS = 1e-5


@dataclass(frozen=True, eq=False)
class SameRun:
    """What the checks of two modules share that should be one network: the new one is found, the old one expected."""

    new: nn.Module
    old: nn.Module
    input: Shape
    device: str
    names: tuple[str, str]
    tolerance: float = OWN_WEIGHTS  # of what is compared as it is
    takes: Inputs | None = None  # what goes in, where that is said
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

        return Subject(self.new, alike=True, takes=self.takes)

    @shared("the old module as it is")
    def expected_as_it_is(self) -> Subject:
        """The old module to observe, likewise."""
        from rv_check.modules.observe import Subject

        return Subject(self.old, alike=True, takes=self.takes)

    @shared("the old module")
    def expected(self) -> Subject:
        """The old module to observe, with as many input channels as the new one has, where it can be made so."""
        from rv_check.modules.channels import with_channels
        from rv_check.modules.observe import Subject

        old = self.expected_as_it_is
        shape, own = (one.inputs(At(self.input)).shape for one in (self.found, old))
        is_image = self.takes is None or self.takes.is_one_image
        if own == shape or own[1:] != shape[1:] or len(own) < 2 or not is_image:
            return old
        changed = with_channels(old, self.input, shape[0])
        return Subject(changed, alike=True, takes=one_image(shape)) if changed is not None else old

    def settled(self) -> Self:
        """The same at a size at which the old module runs, where nobody said another one.

        Raises: RvCheckError where neither takes what was said.
        """
        free: Free = "all" if self.takes is None else "channels"
        size = self.expected_as_it_is.settle(self.input, free)
        self.found.settle(size if self.takes is None else self.input, free)
        told = self.found.inferred, self.expected_as_it_is.inferred
        if self.takes is not None and all(told):
            raise RvCheckError(f"neither runs at {self.takes}", expected=f"an input of {self.found.takes}")
        return replace(self, input=size)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was inferred of their inputs."""
        subjects = (self.expected_as_it_is, self.names[1]), (self.found, self.names[0])
        told = {str(subject.inferred): name for subject, name in subjects if subject.inferred}
        return tuple(f"inferred of {name}: {words}" for words, name in told.items())

    def must_take_the_same(self) -> None:
        """Raises: RvCheckError where the two take other inputs, so that they have no outputs of one."""
        old, new = (one.inputs(At(self.input)) for one in (self.expected_as_it_is, self.found))
        if old.shape != new.shape:
            raise RvCheckError(f"{self.names[0]} takes {new}, and {self.name} {old}", expected="two of one input")

    @shared("the old network")
    def network(self) -> ModuleNetwork:
        """What the old module does. Raises: RvCheckError where it does not run."""
        from rv_check.modules.network import ModuleNetwork

        old = ModuleNetwork(self.expected, self.name)
        old.graph(At(self.input))
        return old

    @shared("the structure")
    def structure(self) -> Structure:
        """How the new module compares with the old one, numbers having the last word. Raises: RvCheckError."""
        sizes = [*self._known_sizes, *self._larger_sizes()]
        found = compare(self.found, self.network, self.input, sizes, self.names)
        found = measured(found, self.pair_by, lambda: self._sizes_of_both_modes, self._larger_sizes, self.device)
        found = with_what_never_ran(found, self.found, self.expected)
        if self.expected is self.expected_as_it_is:
            return found
        own = self.expected_as_it_is.observe(At(self.input))
        shape = tuple(own.input.shape[1:])
        return replace(found, taken=channels_in_words(found.found, shape), totals=totals_of(found.found, own))

    @shared("the sizes")
    def _known_sizes(self) -> list[Shape]:
        return sizes_of(self.expected, self.input) or [self.input]

    @shared("the sizes of both modes")
    def _sizes_of_both_modes(self) -> list[Shape]:
        """Those of them at which the old one trains, as an auxiliary head may need a larger image than the network."""
        if not runs(self.expected, self.input, training=True):
            return self._known_sizes  # it trains nowhere, and nothing is compared in train mode
        return [x for x in self._known_sizes if runs(self.expected, x, training=True)] or [self.input]

    def _larger_sizes(self) -> list[Shape]:
        return [x for x in larger(self.input) if runs(self.expected, x)]

    @shared("the models")
    def pair(self) -> Pair:
        """Copies of the two. Raises: RvCheckError, Blocked."""
        return self.pair_by(self.structure, self.structure.map)

    @shared("the models as they are")
    def as_they_are(self) -> Pair:
        """Copies of the two with the weights that they have. Raises: RvCheckError."""
        return Pair(*self._copies(), (self.names[1], self.names[0]), takes=self.found.takes)

    @property
    def sizes_of_both(self) -> list[Shape]:
        """The input, and those of the other sizes at which both run."""
        return [self.input, *(x for x in self._known_sizes if x != self.input and runs(self.found, x))]

    def structure_in_words(self) -> str:
        """How the structures compare, which decides nothing here."""
        try:
            found = compare(self.found, self.network, self.input, [], self.names)
        except RvCheckError as error:
            return f"the structures were not compared: {first_line(error)}"
        n = len(found.mistakes)
        return f"the structure differs, in {n} place{'s' if n > 1 else ''}" if n else "the structure is the same"

    def matched(self, training: bool = False) -> Pair:
        if self.structure.differs(training=training):
            raise blocked(self)
        must_train(self, training)
        return self.pair  # a network of other names is the same network

    def sizes(self, *, training: bool = False) -> list[Shape]:
        known = self._sizes_of_both_modes if training else self._known_sizes
        return [x for x in known if x in self.structure.sizes] or [self.input]

    def sizes_without(self) -> list[Shape]:
        return []  # at which sizes it runs is a matter of its structure

    def frozen(self) -> tuple[list[str], int]:
        slots = self.structure.map
        expected = {piece.name for name in self.expected.frozen if name in slots for piece in slots[name].pieces}
        frozen = [name for name in self.found.frozen if name not in expected]
        return frozen, sum(1 for _ in self.new.parameters())

    def initial(self, check: Check) -> Outcome:
        raise NotImplementedError("two modules are compared with the same weights")

    def pair_by(self, structure: Structure, slots: Mapping[str, Slot]) -> Pair:
        """The two, with parameters and buffers that correspond as `slots` says."""
        names = self.names[1], self.names[0]
        return Pair.of_structure(*self._copies(), names, structure, slots, self.found.takes)

    def _copies(self) -> tuple[nn.Module, nn.Module]:
        """The old one and the new one."""
        new_name, old_name = self.names

        def copied(subject: Subject) -> nn.Module:
            return copy_to_run(subject, self.input, self.device, self.lent)

        expected = run_theirs(f"{old_name} cannot be copied", lambda: copied(self.expected))
        return expected, run_theirs(f"{new_name} cannot be copied", lambda: copied(self.found))


def compare_modules(
    new: nn.Module,
    old: nn.Module,
    input: Any = None,
    device: str = "cpu",
    *,
    level: Level | None = None,
    judge: Judge | None = None,
    names: tuple[str, str] = ("the new one", "the old one"),
    own_weights: float | None = None,
) -> Report:
    """Whether two modules are one network: the same structure, then the same numbers with the same weights.

    Args: `input` what goes into both, as `inputs_of` takes it, as a shape without the batch axis: unless given what the
    `example_inputs` of one of them gives, else an image of 3 224 224, and what they tell where they do not run there;
    a module of other channels is compared at its own. `own_weights`, where it is given, the tolerance within
    which the outputs must be the same with the weights that the two have, relative to the largest value of each,
    whatever their structures are; the others as for `check`.
    Raises: RvCheckError where one of them is no module or does not run.
    """
    torch = need("torch")
    from rv_check.modules.copies import unwrapped, wrappers_of
    from rv_check.modules.generic_point import packed_weights
    from rv_check.modules.inputs import inputs_taken

    for module in (new, old):
        if not isinstance(module, torch.nn.Module):
            raise RvCheckError(f"a {type(module).__name__} is not a module, expected an instance of torch.nn.Module")
    need_device(device)
    seen_through = [f"seen through: {one}" for module in (new, old) for one in wrappers_of(module)]
    new, old = unwrapped(new), unwrapped(old)
    takes = inputs_taken(old, input) or inputs_taken(new)
    size = takes.shape if takes is not None else IMAGE
    run = SameRun(new, old, size, device, names, own_weights or OWN_WEIGHTS, takes)
    with run.lent:
        run = run.settled()
        if own_weights is not None:
            run.must_take_the_same()
            checks = checks_asked("two as they are")
            findings = (judge or Judge()).findings(run, checks, ())
            return Report(names[0], names[1], findings, notes=(*seen_through, *run.notes, run.structure_in_words()))
        observe(run)
        checks = checks_asked("two", level)
        packed = packed_weights(run.old) + packed_weights(run.new)
        if not packed:
            found = report_of(run, names[0], names[1], checks, judge)
            return replace(found, notes=(*seen_through, *run.notes, *found.notes))
        others = checks_asked("two as they are", level)
        checks = [check for check in checks if check.level != "numbers"] + others
        found = report_of(run, names[0], names[1], checks, judge)
        why = (
            f"packed weights as {packed[0]} take no others, so that the numbers are compared with the weights they have"
        )
        return replace(found, notes=(*seen_through, *run.notes, *found.notes, why))


def assert_same(
    new: nn.Module,
    old: nn.Module,
    input: Any = None,
    device: str = "cpu",
    *,
    own_weights: float | None = None,
) -> None:
    """`compare_modules`, for the test of a refactoring. Raises: AssertionError, with the findings, unless all held."""
    __tracebackhide__ = True
    report = compare_modules(new, old, input, device, own_weights=own_weights)
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
