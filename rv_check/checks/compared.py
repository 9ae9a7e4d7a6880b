"""What is the same of a module held against a spec and against another module: copies, and what is told in the end.

Nothing that is compared is touched: modules are copied, or borrowed where they cannot be.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from rv_check.checks.check import Check, Run
from rv_check.checks.findings import Report
from rv_check.checks.judge import Judge
from rv_check.checks.shared import Blocked
from rv_check.errors import CannotRun
from rv_check.graphs.network import At
from rv_check.ops.op import Shape
from rv_check.text import listed

if TYPE_CHECKING:
    from torch import nn

    from rv_check.checks.structure import Structure
    from rv_check.modules.observe import Subject


def copy_to_run(subject: Subject, x: Shape, device: str, lent: ExitStack) -> nn.Module:
    """A copy of a module, all of its parameters made and none frozen; itself, borrowed, where that fails.

    Args: `subject` the module, which has been observed before; `lent` gives back what is borrowed when it is closed.
    """
    import torch

    from rv_check.modules.copies import Borrowed, copy_of
    from rv_check.modules.inputs import empty_batch
    from rv_check.modules.record import materialise

    module = subject.module
    found = lent.enter_context(Borrowed(module, "cpu")) if subject.is_borrowed else copy_of(module, "cpu")
    materialise(found, empty_batch(subject.inputs(At(x)), 2, torch.float32, "cpu"))
    for parameter in found.parameters():
        parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
    return found.to(device)


def with_what_never_ran(found: Structure, *subjects: Subject) -> Structure:
    """Where the structures are the same: with the places in the modules' code that nothing led to."""
    if found.verdict_behind not in ("same", "equivalent"):
        return found
    places = [place for one in subjects for place in one.never_ran(found.sizes)]
    return replace(found, never_ran=tuple(dict.fromkeys(places)))


def blocked(run: Run) -> Blocked:
    """The error that the structure differs, so that there is nothing to compare."""
    return Blocked(f"the structure: see {run.name}::structure")


def must_train(run: Run, training: bool) -> None:
    """Raises: CannotRun where train mode is asked for and one of the two does not run there."""
    if training and run.structure.eval_only:
        raise CannotRun(f"it is compared in eval mode alone, since {run.structure.eval_only}")


def observe(run: Run) -> None:
    """Observe what a run checks, ahead of its checks. Raises: RvCheckError where it does not run at all."""
    from rv_check.modules.torch_state import steady

    with steady():
        _ = run.asked_by("structure").structure


def report_of(
    run: Run, name: str, against: str, checks: Sequence[Check], judge: Judge | None, others: Sequence[Check] = ()
) -> Report:
    """The report of a run that was observed. `others`: checks of which a known deviation may speak, too."""
    findings = (judge or Judge()).findings(run, checks, others)
    structure = run.structure
    kinds = listed(structure.uncounted)
    notes = (f"the MACs are at least these: no rule counts {kinds}",) if kinds else ()
    return Report(name, against, findings, structure.names, (*structure.notes(run.name), *notes), structure.totals)
