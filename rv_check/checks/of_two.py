"""A module against another module, and an arch against another arch."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from rv_check.archs.arch import Arch
from rv_check.checks.check import Check, Pair, Run
from rv_check.checks.compared import ComparedRun, observe, report_of
from rv_check.checks.findings import Level, Report, up_to
from rv_check.checks.judge import Judge
from rv_check.checks.registry import CHECKS
from rv_check.checks.structure import Structure, compare, larger, of_module, runs, sizes_of
from rv_check.checks.structure_level import of_told
from rv_check.errors import RvCheckError
from rv_check.modules.guard import guarded
from rv_check.ops.op import Shape
from rv_check.optional import need, need_device
from rv_check.text import shown_shape

if TYPE_CHECKING:
    from torch import nn


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
    from rv_check.modules.copies import unwrapped

    for module in (new, old):
        if not isinstance(module, torch.nn.Module):
            raise RvCheckError(f"a {type(module).__name__} is not a module, expected an instance of torch.nn.Module")
    need_device(device)
    run = SameRun(unwrapped(new), unwrapped(old), tuple(input), device, names)
    wanted = ("structure", "trainable", "logits", "eval", "train")
    checks = [one for one in CHECKS if one.name in wanted and one.level in up_to(level)]
    with run.lent:
        observe(run)
        return report_of(run, names[0], names[1], checks, judge)


def assert_same(new: nn.Module, old: nn.Module, input: Shape = (3, 224, 224), device: str = "cpu") -> None:
    """`compare_modules`, for the test of a refactoring. Raises: AssertionError, with the findings, unless all held."""
    __tracebackhide__ = True
    report = compare_modules(new, old, input, device)
    if not report.passed:
        raise AssertionError(str(report))


def compare_archs(a: Arch, b: Arch) -> Report:
    """The differences of two archs, without torch: `a` is the one expected. Raises: SpecError."""
    from rv_check.checks import structure as structures

    told, totals = structures.compare_archs(a, b)
    run = Run(a)
    (check_,) = (one for one in CHECKS if one.name == "structure")
    findings = [of_told(run, check_, one) for one in told]
    words = f"the same graph at {shown_shape(a.input)}, in eval and train mode"
    return Report(b.name, a.name, tuple(findings or [check_.finding(run, True, words)]), totals=totals)
