"""Any module against a spec."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rv_check.archs.arch import Arch
from rv_check.archs.load import all_archs, load
from rv_check.archs.tree import Layer
from rv_check.checks.arbitration import measured
from rv_check.checks.check import Check, Outcome
from rv_check.checks.compared import blocked, copy_to_run, must_train, observe, report_of, with_what_never_ran
from rv_check.checks.findings import IDENTITY, Finding, Level, Report
from rv_check.checks.judge import Judge
from rv_check.checks.of_arch import ids_of, place_of
from rv_check.checks.pair import Pair
from rv_check.checks.registry import checks_asked, checks_of
from rv_check.checks.shared import Memo, shared
from rv_check.checks.sizes import input_sizes, works
from rv_check.checks.states import hold_states, shapes_of
from rv_check.checks.structure import Structure, channels_in_words, compare, larger
from rv_check.errors import Place, RvCheckError, SpecError
from rv_check.graphs.differences import Slot
from rv_check.graphs.network import At
from rv_check.graphs.of_arch import ArchNetwork
from rv_check.language.definitions import init_rule
from rv_check.language.inputs import IMAGE, Inputs
from rv_check.modules.guard import run_theirs
from rv_check.ops.op import Shape
from rv_check.optional import need, need_device
from rv_check.text import shown_shape

if TYPE_CHECKING:
    from torch import nn

    from rv_check.checks.identify import Identity
    from rv_check.modules.inferred import InferredInput
    from rv_check.modules.observe import Subject


@dataclass(frozen=True, eq=False)
class ModuleRun:
    """What the checks of a module share: the module, found, and the model of the spec that it should be, expected."""

    module: nn.Module
    arch: Arch
    device: str = "cpu"
    until: str | None = None  # the step of the arch that the module ends at
    takes: Inputs | None = None  # what goes into the module, where that is said
    lent: ExitStack = field(default_factory=ExitStack, repr=False)  # gives back what is borrowed when it is closed
    check: str = ""  # the one that asks
    memory: Memo = field(default_factory=Memo, repr=False)
    parts_decide: ClassVar[bool] = False  # it may be cut into other parts; where they differ only says where to look

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

    @shared("the module")
    def subject(self) -> Subject:
        """The module to observe; one for all, since it remembers what it takes to run it."""
        from rv_check.modules.observe import Subject

        return Subject(self.module, alike=True, takes=self.takes)

    @classmethod
    def of(
        cls, module: nn.Module, arch: Arch, device: str = "cpu", until: str | None = None, takes: Inputs | None = None
    ) -> Self:
        """A module at a size at which it runs: the one that is said, the arch's own, or one that the module tells.

        Raises: RvCheckError where it takes no image.
        """
        if takes is not None and len(takes.shape) == len(arch.input):
            arch = arch.at((arch.input[0], *takes.shape[1:]))
        return cls(module, arch, device, until, takes)._settled()

    def _settled(self) -> Self:
        size = self.subject.settle(self.arch.input, "image" if self.takes is None else "channels")
        if len(size) != len(self.arch.input):
            raise RvCheckError(
                f"the module takes {self.subject.takes}, and {self.name} an image of {shown_shape(self.arch.input)}"
            )
        return replace(self, arch=self.arch.at((self.arch.input[0], *size[1:])))

    @property
    def arch_as_taken(self) -> Arch:
        """The arch at the channels that the module takes."""
        return self.arch.at(self.subject.inputs(At(self.arch.input)).shape)

    @shared("the structure")
    def structure(self) -> Structure:
        """How the module compares with what the spec expects, numbers having the last word. Raises: RvCheckError."""
        from rv_check.modules.network import AsTaken

        network = AsTaken(ArchNetwork(self.arch, self.until), self.subject)
        sizes = [*input_sizes(self.arch), *self._larger_sizes()]
        found = compare(self.subject, network, self.arch.input, sizes)
        found = measured(found, self.pair_by, lambda: input_sizes(self.arch), self._larger_sizes, self.device)
        found = with_what_never_ran(found, self.subject)
        if self.arch_as_taken is self.arch:
            return found
        own = {"params": self.arch.params, "macs": self.arch.macs}
        totals = {name: (value, own[name]) for name, (value, _) in found.totals.items()}
        return replace(found, taken=channels_in_words(found.found, self.arch.input), totals=totals)

    def _larger_sizes(self) -> list[Shape]:
        return [x for x in larger(self.arch.input) if works(self.arch, x)]

    @shared("the models")
    def pair(self) -> Pair:
        """The module and the model of the spec. Raises: RvCheckError, Blocked."""
        return self.pair_by(self.structure, self.structure.map)

    @shared("the state")
    def _state(self) -> None:
        expected, found = shapes_of(self.pair.expected), shapes_of(self.pair.found)
        if Counter(expected) == Counter(found):
            hold_states(self.pair.expected, self.pair.found, in_order=False)

    def matched(self, training: bool = False) -> Pair:
        if self.structure.differs(training=training):
            raise blocked(self)
        must_train(self, training)
        pair = self.pair
        self._state  # noqa: B018 - it raises where the states of the two differ
        return pair

    def sizes(self, *, training: bool = False) -> list[Shape]:
        return [x for x in input_sizes(self.arch) if x in self.structure.sizes] or [self.input]

    def sizes_without(self) -> list[Shape]:
        return []  # at which sizes it runs is a matter of its structure

    def frozen(self) -> tuple[list[str], int]:
        return self.subject.frozen, sum(1 for _ in self.module.parameters())

    def pair_by(self, structure: Structure, slots: Mapping[str, Slot]) -> Pair:
        """The two, with parameters and buffers that correspond as `slots` says.

        Raises: RvCheckError where the module has no values, or one of the two cannot be made.
        """
        from rv_check.modules.build import build, cut
        from rv_check.modules.inputs import takes_main_alone

        for name, tensor in [*self.module.named_parameters(), *self.module.named_buffers()]:
            if tensor.is_meta:
                raise RvCheckError(f"{name} of the module has no values: it is on the meta device")

        takes = self.subject.takes

        def built() -> nn.Module:
            whole = build(self.arch_as_taken)
            model: nn.Module = cut(whole, self.until) if self.until else whole
            model = model if takes is None or takes.is_one_image else takes_main_alone(model, takes)
            return model.to(self.device)

        def copied() -> nn.Module:
            return copy_to_run(self.subject, self.input, self.device, self.lent)

        found = run_theirs("the module cannot be copied", copied)
        expected = run_theirs("the model does not build from its spec", built)
        names = "the model of the spec", "the module"
        return Pair.of_structure(expected, found, names, structure, slots, takes)

    def initial(self, check: Check) -> Outcome:
        """The parameters and buffers of the module start as `init:` says, by distribution.

        Raises: RvCheckError, CannotRun, Blocked.
        """
        import torch

        from rv_check.modules.generic_point import there
        from rv_check.modules.initial import Start, start_of, statistics

        if self.structure.differs(training=False):
            raise blocked(self)
        slots = self.structure.map
        values: dict[str, torch.Tensor] = dict(self.module.named_parameters(remove_duplicate=False))
        values |= dict(self.module.named_buffers(remove_duplicate=False))
        rules = self.arch.family.init
        wrong: dict[tuple[str, str], list[tuple[str, Start, torch.Tensor]]] = {}
        for row in self.arch_as_taken.rows():
            if not isinstance(row.node, Layer):
                continue
            op, x = row.node.op, row.node.x
            shapes = op.params(x) | op.buffers(x)
            for role in shapes:
                slot = slots.get(f"{row.name}.{role}")
                if slot is None:
                    continue
                start = start_of(role, shapes, init_rule(rules, row.name, op.name))
                tensor = there(values[slot.name], slot.steps)
                if not start.fits(tensor):
                    wrong.setdefault((op.name, role), []).append((row.name, start, tensor))
        if not wrong:
            yield check.passed(self, f"{len(slots)} tensors start as the spec's `init:` says, by distribution")
        for (op_name, role), cases in wrong.items():
            step, start, tensor = cases[0]
            rule = init_rule(rules, step, op_name)
            yield check.failed(
                self,
                f"{role} of {op_name} starts otherwise, x{len(cases)}: first {step}",
                found=statistics(tensor),
                expected=str(start),
                place=rule.place if rule else self.place_of(step),
                step=step,
                count=len(cases),
            )


def check(
    module: nn.Module,
    arch: Arch | str | None = None,
    device: str = "cpu",
    *,
    input: Any = None,
    until: str | None = None,
    level: Level | None = None,
    fresh: bool = False,
    judge: Judge | None = None,
    name: str = "",
) -> Report:
    """Whether a module is the network of a spec: its structure, then its numbers in eval and train mode.

    The module itself is not touched: it is observed and compared as a copy. Without an arch it is identified first;
    one that is near to none is held against none, and the one finding, `identity`, says what it is.

    Args: `module` any nn.Module; `arch` an Arch or a name that `load` takes; `device` where both run, as torch names
    it; `input` what goes in, as `inputs_of` takes it: unless given what its `example_inputs` gives, else one image of
    the arch's size, and where it does not run there what the module tells; `until` the step of the arch that the module
    ends at; `level` the highest to check; `fresh` whether it was just built, so that its initial values are held
    against the spec's; `name` what the report calls the module, its class unless given.
    Returns: a Report; `passed` only if every check ran and held, `map` its parameters by the spec's names.
    Raises: RvCheckError where the arch or the device is none, `module` is no module, or it does not run.
    """
    torch = need("torch")
    from rv_check.modules.copies import unwrapped, wrappers_of
    from rv_check.modules.inputs import inputs_taken

    if not isinstance(module, torch.nn.Module):
        what = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
        raise RvCheckError(f"{what} is not a module, expected an instance of torch.nn.Module")
    name = name or type(module).__name__
    notes = [f"seen through: {one}" for one in wrappers_of(module)]
    module = unwrapped(module)
    takes, identity, inferred = inputs_taken(module, input), None, None
    if arch is None:
        identity, inferred = _identified(module, takes)
        if not identity.near:
            return _unknown(name, identity, notes)
        found = identity.arch  # at the module's channels, where it takes no others: another number of them is a finding
        arch = found.at((found.family.input[0], *found.input[1:]))
    elif isinstance(arch, str):
        arch = load(arch)
    _ = arch.tree  # a bad spec is a wrong question
    if until is not None:
        from rv_check.graphs.of_arch import graph_of

        graph_of(arch, until=until)  # so is a step that is not there
    need_device(device)
    run = ModuleRun.of(module, arch, device, until, takes)
    with run.lent:
        observe(run)
        report = report_of(run, name, arch.name, checks_of_module(level, fresh), judge, checks_of(arch))
    differs = bool(run.structure.mistakes)
    if identity is not None:
        notes.append(f"inferred: {identity.words(same=not differs)}")
    elif differs:
        notes[:0] = _rather(module, arch, takes)
    inferred = inferred or run.subject.inferred
    return replace(report, notes=(*notes, *([f"inferred: {inferred}"] if inferred else []), *report.notes))


def checks_of_module(level: Level | None = None, fresh: bool = False) -> list[Check]:
    """The checks that are made of a module, cheapest first; of one that was just built, how it starts, too."""
    return checks_asked("fresh module" if fresh else "module", level)


def _identified(module: nn.Module, takes: Inputs | None) -> tuple[Identity, InferredInput | None]:
    """The arch that a module is, or is nearest to, whatever channels it takes, and what told of its input.

    Raises: RvCheckError where it runs nowhere.
    """
    from rv_check.checks.identify import identify
    from rv_check.modules.torch_state import steady

    with steady():
        module, known, inferred = _with_archs(module, takes)
        return identify(module, known), inferred


def _with_archs(module: nn.Module, takes: Inputs | None) -> tuple[nn.Module, list[Arch], InferredInput | None]:
    """A module as one that takes one image, the archs at a size at which it runs, and what told that size.

    Raises: RvCheckError where it takes none.
    """
    from rv_check.modules.channels import takes_one_image

    module, size, inferred = takes_one_image(module, takes)
    if takes is not None and len(size) != len(IMAGE):
        found = (
            f"the module takes {shown_shape(size)}, and an arch an image, as {shown_shape(IMAGE)}: it is none of them"
        )
        raise RvCheckError(found, expected="diff, macs or receptive-field, which take any module")
    if size == IMAGE or len(size) != len(IMAGE):
        return module, all_archs(), inferred
    return module, [arch.at(size) for arch in all_archs() if _has(arch, size)], inferred


def _has(arch: Arch, size: Shape) -> bool:
    """Whether an arch can be of that size."""
    try:
        _ = arch.at(size).tree
    except SpecError:
        return False
    return True


def _unknown(name: str, identity: Identity, notes: Sequence[str]) -> Report:
    """The report on a module that is near to no arch: it is held against none."""
    finding = Finding(name, IDENTITY, "structure", "failed", identity.words(same=False))
    return Report(name, None, (finding,), notes=(*notes, "--as ARCH holds it against one all the same"))


def _rather(module: nn.Module, arch: Arch, takes: Inputs | None) -> list[str]:
    """What the module is, where it is another arch than asked."""
    from rv_check.checks.identify import has_structure, identify
    from rv_check.modules.torch_state import steady

    with steady():
        try:
            module, known, _ = _with_archs(module, takes)
            other = identify(module, known).arch
            is_other = other.name != arch.name and has_structure(module, other)
        except RvCheckError:  # it does not run at their inputs, so it is none of them
            return []
    return [f"this is {other.name}: rv-check check ... --as {shlex.quote(other.name)}"] if is_other else []


def assert_conforms(
    module: nn.Module, arch: Arch | str, device: str = "cpu", *, input: Any = None, until: str | None = None
) -> None:
    """`check`, for a test. Raises: AssertionError, with the findings, unless every check ran and held."""
    __tracebackhide__ = True  # pytest then shows the line of the test
    report = check(module, arch, device, input=input, until=until)
    if not report.passed:
        raise AssertionError(str(report))
