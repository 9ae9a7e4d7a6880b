"""What the checks share that compare a module with a network that it should be; and numbers, where no rule decides.

Nothing that is compared is touched: modules are copied, or borrowed where they cannot be.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rv_check.checks.check import Blocked, Check, Pair, Run
from rv_check.checks.findings import Report
from rv_check.checks.judge import Judge
from rv_check.checks.structure import Structure, guess
from rv_check.ops.op import Shape

if TYPE_CHECKING:
    from torch import nn

    from rv_check.modules.observe import Subject


class ComparedRun(Run):
    """What the checks share that compare a module with a network that it should be, neither of which is touched."""

    parts_decide = False  # a network may be cut into other parts; where they differ only says where to look
    lent: ExitStack  # modules that cannot be copied are borrowed until it is closed

    def matched(self, training: bool = False) -> Pair:
        if self.structure().differs(training):
            raise blocked(self)
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
        from rv_check.modules.observe import Subject

        return self.shared(f"the subject {id(module)}", lambda: Subject(module))

    def sizes(self) -> list[Shape]:
        found = self.structure()
        return [x for x in self.known_sizes() if x in found.sizes] or [found.input]

    def sizes_without(self) -> list[Shape]:
        return []  # at which sizes it runs is a matter of its structure

    def copied(self, module: nn.Module, x: Shape) -> nn.Module:
        """A copy of a module, all of its parameters made and none frozen; itself, borrowed, where that fails."""
        import torch

        from rv_check.modules.copies import Borrowed, copy_of
        from rv_check.modules.observe import materialise

        borrowed = self.subject(module).is_borrowed  # it has been observed before
        found = self.lent.enter_context(Borrowed(module, "cpu")) if borrowed else copy_of(module, "cpu")
        materialise(found, torch.zeros((2, *x)))
        for parameter in found.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        return found.to(self.device)


LOUD = 1e8  # an input that takes every activation past whatever it may be cut off at, as relu6 is at 6
ARBITRABLE = ("missing", "extra", "moved", "replaced", "arguments", "wiring", "output", "shared")


def measure(run: ComparedRun, found: Structure) -> None:
    """Let numbers decide where no rule does: in float64, at several sizes, outputs, gradients and statistics agree.

    What they show to be equal is no difference any more; it is written in a way that no rule knows.
    """
    import torch

    from rv_check.modules import generic_point, trace

    slots = guess(found)
    if slots is None or len({slot.name for slot in slots.values()}) < len(slots):
        return  # it has not a parameter for each
    if any(one.kind not in ARBITRABLE for one in found.told) or all(one.training for one in found.told):
        return  # numbers have nothing to say of it; chance, in train mode, is not compared
    before, found.map = found.map, slots
    tolerance = trace.TOLERANCE[torch.float64]

    def agree(pair: Pair, x: Shape, train: bool, batch: int = 2) -> bool:
        data = generic_point.image(x, batch, torch.float64, run.device)
        expected = trace.limited(trace.run(pair.expected, data, train, (), pair.own), slots)
        theirs = trace.renamed(trace.run(pair.found, data, train, (), pair.where), slots, expected)
        return all(d.within(tolerance) for d in trace.differences(expected, theirs, train) if d.decides)

    def close(pair: Pair, x: Shape, scale: float) -> bool:
        data = scale * generic_point.image(x, 2, torch.float64, run.device)
        with torch.no_grad():
            expected = trace.forward(pair.expected.eval(), data, pair.own)
            theirs = trace.forward(pair.found.eval(), data, pair.where)
        return trace.compare("output", expected, theirs).within(tolerance)

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


def blocked(run: Run) -> Blocked:
    """What a check raises that has nothing to say where the structure differs."""
    return Blocked(f"the structure: see {run.name}::structure")


def observe(run: Run) -> None:
    """Observe what a run checks, ahead of its checks. Raises: RvCheckError where it does not run at all."""
    from rv_check.modules.torch_state import steady

    run.check = "structure"
    with steady():
        run.structure()


def report_of(
    run: Run, name: str, against: str, checks: Sequence[Check], judge: Judge | None, others: Sequence[Check] = ()
) -> Report:
    """The report of a run that was observed, `others` being what a known deviation may speak of, too."""
    findings = (judge or Judge()).findings(run, checks, others)
    structure = run.structure()
    slots = {} if structure.differs(training=False) else structure.map
    names = {ours: slot.name for ours, slot in slots.items()}
    return Report(name, against, findings, names, (), structure.totals)
