"""Any module against a spec, or against another module."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rv_check.arch import Arch, load
from rv_check.checks import CHECKS, Blocked, Check, Judge, Pair, Run, hold_states, input_sizes, of_told, shapes_of
from rv_check.findings import Level, Report, up_to
from rv_check.foreign import guarded
from rv_check.ops import Shape
from rv_check.problems import RvCheckError
from rv_check.reference import need, need_device

if TYPE_CHECKING:
    from torch import nn

    from rv_check.observe import Subject
    from rv_check.structure import Structure

OF_A_MODULE = ("structure", "trainable", "state_dict", "logits", "eval", "train")


class ModuleRun(Run):
    """What the checks of a module share: a copy of it, and the model of the spec that it should be."""

    parts_decide = False  # a network may be cut into other parts; where they differ only says where to look

    def __init__(self, module: nn.Module, arch: Arch, device: str, until: str | None = None):
        super().__init__(arch, device)
        self.module = module
        self.until = until

    def subject(self) -> Subject:
        """The module as it is observed."""
        from rv_check.observe import Subject

        return self.shared("the copy", lambda: guarded("the module cannot be copied", lambda: Subject(self.module)))

    def compare_structure(self) -> Structure:
        from rv_check.structure import compare, of_arch

        arch = self.expanded()
        return compare(self.subject(), arch.input, input_sizes(arch), of_arch(arch, self.until), self.until is None)

    def frozen(self) -> tuple[list[str], int]:
        named = dict(self.module.named_parameters())
        return [name for name, parameter in named.items() if not parameter.requires_grad], len(named)

    def sizes(self) -> list[Shape]:
        """Those at which the module is the network, the small ones if there are any."""
        sizes = self.structure().sizes
        return sizes[1:] or sizes

    def sizes_without(self) -> list[Shape]:
        return []  # at which sizes it runs is a matter of its structure

    def make_pair(self) -> Pair:
        """The spec's model and a copy of the module, which is not touched. What is frozen in it is free in the copy."""
        from rv_check.copies import copy_of
        from rv_check.model import build, cut

        structure = self.structure()
        if structure.told or structure.until:
            raise Blocked(f"the structure: see {self.arch.name}::structure")
        for name, tensor in [*self.module.named_parameters(), *self.module.named_buffers()]:
            if tensor.is_meta:
                raise RvCheckError(f"{name} of the module has no values: it is on the meta device")

        def copied() -> nn.Module:
            found = copy_of(self.module, "cpu")
            _materialise(found, structure.input)
            for parameter in found.parameters():
                parameter.requires_grad_(parameter.is_floating_point())
            return found.to(self.device)

        def built() -> nn.Module:
            model = build(self.arch)
            return (cut(model, self.until) if self.until else model).to(self.device)

        found = guarded("the module cannot be copied", copied)
        expected = guarded("the model does not build from its spec", built)
        names = ("the model of the spec", "the module")
        return Pair(expected, found, names, map=structure.map, where=structure.where)

    def hold_states(self, pair: Pair) -> None:
        expected, found = shapes_of(pair.expected), shapes_of(pair.found)
        if Counter(expected) == Counter(found):
            hold_states(pair.expected, pair.found, in_order=False)


def _materialise(module: nn.Module, x: Shape) -> None:
    """Run a module once where it makes its parameters when it first runs."""
    import torch
    from torch.nn.parameter import is_lazy

    if any(map(is_lazy, (*module.parameters(), *module.buffers()))):
        with torch.no_grad():
            module.eval()(torch.zeros((2, *x)))


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
    observe(run)
    wanted = (*OF_A_MODULE, "init") if fresh else OF_A_MODULE
    checks = [one for one in CHECKS if one.name in wanted and one.level in up_to(level)]
    report = _report(run, name, arch.name, checks, judge)
    report = replace(report, notes=tuple(notes))
    if run.structure().told and not notes:
        report = replace(report, notes=tuple(_rather(module, arch)))
    return report


def observe(run: Run) -> None:
    """Observe what a run checks, ahead of its checks. Raises: RvCheckError where it does not run at all."""
    from rv_check.numbers import steady

    run.check = "structure"
    with steady():
        run.structure()


def _report(run: Run, name: str, against: str, checks: Sequence[Check], judge: Judge | None) -> Report:
    findings = (judge or Judge()).findings(run, checks)
    structure = run.structure()
    slots = {} if structure.told or structure.until else structure.map
    names = {ours: slot.name for ours, slot in slots.items()}
    return Report(name, against, findings, names, (), structure.totals)


def _rather(module: nn.Module, arch: Arch) -> list[str]:
    """What the module is, where it is another arch than asked."""
    from rv_check.identify import identify
    from rv_check.numbers import steady

    with steady():
        identity = identify(module)
    if identity.same and identity.arch.name != arch.name:
        return [f"this is {identity.arch.name}: rv-check check ... --as {shlex.quote(identity.arch.name)}"]
    return []


def assert_conforms(module: nn.Module, arch: Arch | str, device: str = "cpu", *, until: str | None = None) -> None:
    """`check`, for a test. Raises: AssertionError, with the findings, unless every check ran and held."""
    __tracebackhide__ = True  # pytest then shows the line of the test
    report = check(module, arch, device, until=until)
    if not report.passed:
        raise AssertionError(str(report))


class SameRun(Run):
    """What the checks of two modules share that should be one network, neither of which is touched."""

    parts_decide = False

    def __init__(self, new: nn.Module, old: nn.Module, x: Shape, device: str, names: tuple[str, str]):
        self.new, self.old, self.x = new, old, x
        self.name, self.place, self.device, self.check = names[1], None, device, ""
        self.names = names
        self._made, self._failed = {}, {}

    def ground(self) -> None:
        pass

    def compare_structure(self) -> Structure:
        from rv_check.observe import Subject
        from rv_check.structure import compare, of_module, sizes_of

        copies = [Subject(module) for module in (self.new, self.old)]
        what = f"{self.names[1]} does not run at {' '.join(map(str, self.x))}"
        seen = guarded(what, lambda: copies[1].observe(self.x, False))
        if len(seen.outputs) != 1:
            raise RvCheckError(f"{self.names[1]} returns {len(seen.outputs)} tensors, expected one")
        (where,) = seen.outputs
        self.where = where
        sizes = sizes_of(copies[1], self.x)
        return compare(copies[0], self.x, sizes, of_module(copies[1], where), steps=False, sides=self.names)

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

    def sizes(self) -> list[Shape]:
        sizes = self.structure().sizes
        return sizes[1:] or sizes

    def sizes_without(self) -> list[Shape]:
        return []

    def ids(self, check: Check) -> list[str]:
        return [f"{self.name}::{check.name}"]

    def claims(self) -> list[Check]:
        return []

    def make_pair(self) -> Pair:
        from rv_check.copies import copy_of

        structure = self.structure()
        if structure.told:
            raise Blocked(f"the structure: see {self.name}::structure")

        def copied(module: nn.Module) -> nn.Module:
            found = copy_of(module, "cpu")
            _materialise(found, self.x)
            return found.to(self.device)

        expected, found = (
            guarded(f"{name} cannot be copied", lambda module=module: copied(module))  # type: ignore[misc]
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
    observe(run)
    wanted = ("structure", "trainable", "logits", "eval", "train")
    checks = [one for one in CHECKS if one.name in wanted and one.level in up_to(level)]
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
    words = f"the same graph at {' '.join(map(str, a.input))}, in eval and train mode"
    return Report(b.name, a.name, tuple(findings or [check_.finding(run, True, words)]), totals=totals)
