"""Any module against a spec, or against another module."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from rv_check.arch import Arch, load
from rv_check.checks import (
    CHECKS,
    Blocked,
    Check,
    Judge,
    Outcome,
    Pair,
    Run,
    checks_of,
    hold_states,
    input_sizes,
    of_told,
    shapes_of,
    works,
)
from rv_check.errors import RvCheckError
from rv_check.findings import Level, Report, up_to
from rv_check.foreign import guarded
from rv_check.ops import Shape
from rv_check.reference import need, need_device
from rv_check.structure import Structure, compare, guess, larger, of_arch, of_module, runs, sizes_of
from rv_check.text import shown_shape
from rv_check.tree import Layer

if TYPE_CHECKING:
    from torch import nn

    from rv_check.observe import Subject

OF_A_MODULE = ("structure", "trainable", "state_dict", "logits", "eval", "train")


class ComparedRun(Run):
    """What the checks share that compare a module with a network that it should be, neither of which is touched."""

    parts_decide = False  # a network may be cut into other parts; where they differ only says where to look
    lent: ExitStack  # modules that cannot be copied are borrowed until it is closed

    def matched(self, training: bool = False) -> Pair:
        if self.structure().differs(training):
            raise _blocked(self)
        return super().matched(training)

    def make_pair(self) -> Pair:
        return self.pair_by(self.structure())

    def pair_by(self, structure: Structure) -> Pair:
        """The two, with parameters and buffers that correspond as `structure.map` says."""
        raise NotImplementedError

    def compare_structure(self) -> Structure:
        found = self.match_structure()
        if found.told and not found.until:
            measure(self, found)
        return found

    def match_structure(self) -> Structure:
        """Observe the module. Raises: RvCheckError where it does not run."""
        raise NotImplementedError

    def known_sizes(self) -> list[Shape]:
        """The inputs at which the expected network runs, small ones."""
        raise NotImplementedError

    def larger_sizes(self) -> list[Shape]:
        """Inputs larger than its own at which the expected network runs, too."""
        raise NotImplementedError

    def subject(self, module: nn.Module) -> Subject:
        """A module to observe; one for all, since it remembers what it takes to run it."""
        from rv_check.observe import Subject

        return self.shared(f"the subject {id(module)}", lambda: Subject(module))

    def sizes(self) -> list[Shape]:
        found = self.structure()
        return [x for x in self.known_sizes() if x in found.sizes] or [found.input]

    def sizes_without(self) -> list[Shape]:
        return []  # at which sizes it runs is a matter of its structure

    def copied(self, module: nn.Module, x: Shape) -> nn.Module:
        """A copy of a module, all of its parameters made and none frozen; itself, borrowed, where that fails."""
        import torch

        from rv_check.copies import Borrowed, copy_of
        from rv_check.observe import materialise

        borrowed = self.subject(module).is_borrowed  # it has been observed before
        found = self.lent.enter_context(Borrowed(module, "cpu")) if borrowed else copy_of(module, "cpu")
        materialise(found, torch.zeros((2, *x)))
        for parameter in found.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        return found.to(self.device)


class ModuleRun(ComparedRun):
    """What the checks of a module share: a copy of it, and the model of the spec that it should be."""

    def __init__(self, module: nn.Module, arch: Arch, device: str, until: str | None = None):
        super().__init__(arch, device)
        self.module = module
        self.until = until
        self.lent = ExitStack()

    def match_structure(self) -> Structure:
        arch, sizes = self.expanded(), [*self.known_sizes(), *self.larger_sizes()]
        return compare(self.subject(self.module), arch.input, sizes, of_arch(arch, self.until), self.until is None)

    def known_sizes(self) -> list[Shape]:
        return input_sizes(self.arch)

    def larger_sizes(self) -> list[Shape]:
        return [x for x in larger(self.arch.input) if works(self.arch, x)]

    def frozen(self) -> tuple[list[str], int]:
        named = dict(self.module.named_parameters())
        return [name for name, parameter in named.items() if not parameter.requires_grad], len(named)

    def pair_by(self, structure: Structure) -> Pair:
        from rv_check.model import build, cut

        for name, tensor in [*self.module.named_parameters(), *self.module.named_buffers()]:
            if tensor.is_meta:
                raise RvCheckError(f"{name} of the module has no values: it is on the meta device")

        def built() -> nn.Module:
            model = build(self.arch)
            return (cut(model, self.until) if self.until else model).to(self.device)

        found = guarded("the module cannot be copied", lambda: self.copied(self.module, structure.input))
        expected = guarded("the model does not build from its spec", built)
        names = ("the model of the spec", "the module")
        return Pair(expected, found, names, map=structure.map, where=structure.where)

    def hold_states(self, pair: Pair) -> None:
        expected, found = shapes_of(pair.expected), shapes_of(pair.found)
        if Counter(expected) == Counter(found):
            hold_states(pair.expected, pair.found, in_order=False)

    def initial(self, check: Check) -> Outcome:
        """The parameters and buffers of the module start as `init:` says, by distribution."""
        import torch

        from rv_check.initial import Start, start_of, statistics
        from rv_check.numbers import there

        found = self.structure()
        if found.differs(training=False):
            raise _blocked(self)
        values: dict[str, torch.Tensor] = dict(self.module.named_parameters(remove_duplicate=False))
        values |= dict(self.module.named_buffers(remove_duplicate=False))
        rules = {rule.op: rule for rule in self.arch.family.init}
        wrong: dict[tuple[str, str], list[tuple[str, Start, torch.Tensor]]] = {}
        for row in self.arch.rows():
            if not isinstance(row.node, Layer):
                continue
            op, x = row.node.op, row.node.x
            shapes = op.params(x) | op.buffers(x)
            for role in shapes:
                slot = found.map.get(f"{row.name}.{role}")
                if slot is None:
                    continue
                start, tensor = start_of(role, shapes, rules.get(op.name)), there(values[slot.name], slot.steps)
                if not start.fits(tensor):
                    wrong.setdefault((op.name, role), []).append((row.name, start, tensor))
        if not wrong:
            yield check.finding(
                self, True, f"{len(found.map)} tensors start as the spec's `init:` says, by distribution"
            )
        for (op_name, role), cases in wrong.items():
            step, start, tensor = cases[0]
            rule = rules.get(op_name)
            yield check.finding(
                self,
                False,
                f"{role} of {op_name} starts otherwise, x{len(cases)}: first {step}",
                found=statistics(tensor),
                expected=str(start),
                place=rule.place if rule else self.place_of(step),
                step=step,
                count=len(cases),
            )


LOUD = 1e8  # an input that takes every activation past whatever it may be cut off at, as relu6 is at 6
ARBITRABLE = ("missing", "extra", "moved", "replaced", "arguments", "wiring", "output", "shared")


def measure(run: ComparedRun, found: Structure) -> None:
    """Let numbers decide where no rule does: in float64, at several sizes, outputs, gradients and statistics agree.

    What they show to be equal is no difference any more; it is written in a way that no rule knows.
    """
    import torch

    from rv_check import numbers

    slots = guess(found)
    if slots is None or len({slot.name for slot in slots.values()}) < len(slots):
        return  # it has not a parameter for each
    if any(one.kind not in ARBITRABLE for one in found.told) or all(one.training for one in found.told):
        return  # numbers have nothing to say of it; chance, in train mode, is not compared
    before, found.map = found.map, slots
    tolerance = numbers.TOLERANCE[torch.float64]

    def agree(pair: Pair, x: Shape, train: bool, batch: int = 2) -> bool:
        data = numbers.image(x, batch, torch.float64, run.device)
        expected = numbers.limited(numbers.run(pair.expected, data, train, (), pair.own), slots)
        theirs = numbers.renamed(numbers.run(pair.found, data, train, (), pair.where), slots, expected)
        return all(d.within(tolerance) for d in numbers.differences(expected, theirs, train) if d.decides)

    def close(pair: Pair, x: Shape, scale: float) -> bool:
        data = scale * numbers.image(x, 2, torch.float64, run.device)
        with torch.no_grad():
            expected = numbers.forward(pair.expected.eval(), data, pair.own)
            theirs = numbers.forward(pair.found.eval(), data, pair.where)
        return numbers.compare("output", expected, theirs).within(tolerance)

    try:
        sizes = run.known_sizes()
        whole = [x for x in (found.input, *run.larger_sizes()) if x not in sizes]  # where an eval output must do
        pair = run.pair_by(found).at_generic_point(torch.float64)
        equal = (
            all(close(pair, sizes[0], scale) for scale in (1.0, LOUD))
            and all(agree(pair, x, train) for x in sizes for train in (False, True))
            and agree(pair, sizes[0], False, 1)
            and all(close(pair, x, 1.0) for x in whole)
        )
    except Exception:  # whatever the module raises, or its state: then nothing is shown, and the differences stand
        equal = False
    if equal:
        found.measured, found.told = found.told, []
        found.sizes = [found.input, *(x for x in (*sizes, *whole) if x != found.input)]
    else:
        found.map = before


def _blocked(run: Run) -> Blocked:
    return Blocked(f"the structure: see {run.name}::structure")


def check(
    module: nn.Module,
    arch: Arch | str | None = None,
    device: str = "cpu",
    *,
    until: str | None = None,
    level: Level | None = None,
    fresh: bool = False,
    judge: Judge | None = None,
    name: str = "",
) -> Report:
    """Whether a module is the network of a spec: its structure, then its numbers in eval and train mode.

    The module itself is not touched: it is observed and compared as a copy. Without an arch it is identified first.

    Args: `module` any nn.Module that takes (N, C, H, W); `arch` an Arch or a name that `load` takes; `device` where
    both run, as torch names it; `until` the step of the arch that the module ends at; `level` the highest to check;
    `fresh` whether it was just built, so that its initial values are held against the spec's; `name` what the report
    calls the module, its class unless given.
    Returns: a Report; `passed` only if every check ran and held, `map` its parameters by the spec's names.
    Raises: RvCheckError where the arch or the device is none, `module` is no module, or it does not run.
    """
    torch = need("torch")
    from rv_check.copies import unwrapped

    if not isinstance(module, torch.nn.Module):
        what = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
        raise RvCheckError(f"{what} is not a module, expected an instance of torch.nn.Module")
    name = name or type(module).__name__
    module = unwrapped(module)
    notes: list[str] = []
    if arch is None:
        from rv_check.identify import identify
        from rv_check.numbers import steady

        with steady():
            identity = identify(module)
        arch, notes = identity.arch, [f"inferred: {identity.words}"]
    elif isinstance(arch, str):
        arch = load(arch)
    _ = arch.tree  # a bad spec is a wrong question
    if until is not None:
        from rv_check.expected import expected

        expected(arch, False, until)  # so is a step that is not there
    need_device(device)
    run = ModuleRun(module, arch, device, until)
    with run.lent:
        observe(run)
        report = _report(run, name, arch.name, checks_of_module(level, fresh), judge, checks_of(arch))
    report = replace(report, notes=tuple(notes))
    if run.structure().told and not notes:
        report = replace(report, notes=tuple(_rather(module, arch)))
    return report


def checks_of_module(level: Level | None = None, fresh: bool = False) -> list[Check]:
    """The checks that are made of a module, cheapest first; of one that was just built, how it starts, too."""
    wanted = (*OF_A_MODULE, "init") if fresh else OF_A_MODULE
    return [one for one in CHECKS if one.name in wanted and one.level in up_to(level)]


def observe(run: Run) -> None:
    """Observe what a run checks, ahead of its checks. Raises: RvCheckError where it does not run at all."""
    from rv_check.numbers import steady

    run.check = "structure"
    with steady():
        run.structure()


def _report(
    run: Run, name: str, against: str, checks: Sequence[Check], judge: Judge | None, others: Sequence[Check] = ()
) -> Report:
    findings = (judge or Judge()).findings(run, checks, others)
    structure = run.structure()
    slots = {} if structure.differs(training=False) else structure.map
    names = {ours: slot.name for ours, slot in slots.items()}
    return Report(name, against, findings, names, (), structure.totals)


def _rather(module: nn.Module, arch: Arch) -> list[str]:
    """What the module is, where it is another arch than asked."""
    from rv_check.identify import identify
    from rv_check.numbers import steady

    with steady():
        try:
            identity = identify(module)
        except RvCheckError:  # it does not run at their inputs, so it is none of them
            return []
    if identity.same and identity.arch.name != arch.name:
        return [f"this is {identity.arch.name}: rv-check check ... --as {shlex.quote(identity.arch.name)}"]
    return []


def assert_conforms(module: nn.Module, arch: Arch | str, device: str = "cpu", *, until: str | None = None) -> None:
    """`check`, for a test. Raises: AssertionError, with the findings, unless every check ran and held."""
    __tracebackhide__ = True  # pytest then shows the line of the test
    report = check(module, arch, device, until=until)
    if not report.passed:
        raise AssertionError(str(report))


class SameRun(ComparedRun):
    """What the checks of two modules share that should be one network."""

    def __init__(self, new: nn.Module, old: nn.Module, x: Shape, device: str, names: tuple[str, str]):
        self.new, self.old, self.x = new, old, x
        self.name, self.place, self.device, self.check = names[1], None, device, ""
        self.names = names
        self.lent = ExitStack()
        self._made, self._failed = {}, {}

    def ground(self) -> None:
        pass

    def match_structure(self) -> Structure:
        new, old = self.subject(self.new), self.subject(self.old)
        what = f"{self.names[1]} does not run at {shown_shape(self.x)}"
        seen = guarded(what, lambda: old.observe(self.x, False))
        if len(seen.outputs) != 1:
            raise RvCheckError(f"{self.names[1]} returns {len(seen.outputs)} tensors, expected one")
        (self.where,) = seen.outputs
        what = f"{self.names[1]} does not run in train mode at {shown_shape(self.x)}"
        guarded(what, lambda: old.observe(self.x, True))
        sizes = [*self.known_sizes(), *self.larger_sizes()]
        return compare(new, self.x, sizes, of_module(old, self.where), steps=False, sides=self.names)

    def known_sizes(self) -> list[Shape]:
        return self.shared("the sizes", lambda: sizes_of(self.subject(self.old), self.x) or [self.x])

    def larger_sizes(self) -> list[Shape]:
        return [x for x in larger(self.x) if runs(self.subject(self.old), x)]

    def input(self) -> Shape:
        return self.x

    def place_of(self, step: str) -> None:
        return None

    def frozen(self) -> tuple[list[str], int]:
        old = {name for name, parameter in self.old.named_parameters() if not parameter.requires_grad}
        slots = self.structure().map
        expected = {slots[name].name for name in old if name in slots}
        named = dict(self.new.named_parameters())
        return [name for name, p in named.items() if not p.requires_grad and name not in expected], len(named)

    def ids(self, check: Check) -> list[str]:
        return [f"{self.name}::{check.name}"]

    def pair_by(self, structure: Structure) -> Pair:
        expected, found = (
            guarded(f"{name} cannot be copied", lambda module=module: self.copied(module, self.x))  # type: ignore[misc]
            for name, module in ((self.names[1], self.old), (self.names[0], self.new))
        )
        where = structure.where
        return Pair(expected, found, (self.names[1], self.names[0]), map=structure.map, where=where, own=self.where)

    def hold_states(self, pair: Pair) -> None:
        """A network of other names is the same network."""


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
    from rv_check.copies import unwrapped

    for module in (new, old):
        if not isinstance(module, torch.nn.Module):
            raise RvCheckError(f"a {type(module).__name__} is not a module, expected an instance of torch.nn.Module")
    need_device(device)
    run = SameRun(unwrapped(new), unwrapped(old), tuple(input), device, names)
    wanted = ("structure", "trainable", "logits", "eval", "train")
    checks = [one for one in CHECKS if one.name in wanted and one.level in up_to(level)]
    with run.lent:
        observe(run)
        return _report(run, names[0], names[1], checks, judge)


def assert_same(new: nn.Module, old: nn.Module, input: Shape = (3, 224, 224), device: str = "cpu") -> None:
    """`compare_modules`, for the test of a refactoring. Raises: AssertionError, with the findings, unless all held."""
    __tracebackhide__ = True
    report = compare_modules(new, old, input, device)
    if not report.passed:
        raise AssertionError(str(report))


def compare_archs(a: Arch, b: Arch) -> Report:
    """The differences of two archs, without torch: `a` is the one expected. Raises: SpecError."""
    from rv_check import structure

    told, totals = structure.compare_archs(a, b)
    run = Run(a)
    (check_,) = (one for one in CHECKS if one.name == "structure")
    findings = [of_told(run, check_, one) for one in told]
    words = f"the same graph at {shown_shape(a.input)}, in eval and train mode"
    return Report(b.name, a.name, tuple(findings or [check_.finding(run, True, words)]), totals=totals)
