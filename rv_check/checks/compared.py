"""What is the same of a module held against a spec and against another module: copies of them, and numbers, where no
rule decides.

Nothing that is compared is touched: modules are copied, or borrowed where they cannot be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from rv_check.checks.check import Check, Run
from rv_check.checks.findings import Report
from rv_check.checks.judge import Judge
from rv_check.checks.pair import Pair
from rv_check.checks.shared import Blocked
from rv_check.checks.structure import MeasuredEqual, Structure, guess
from rv_check.graphs.match import Slot
from rv_check.ops.op import Shape

if TYPE_CHECKING:
    from torch import nn

    from rv_check.modules.observe import Subject

LARGER = 30  # times the parameters: what a norm gives goes past limits that no image takes it to
LOUD_INPUT = 1e8  # times an image: it takes every activation past whatever it may be cut off at, as relu6 is at 6
ARBITRABLE = ("missing", "extra", "moved", "replaced", "arguments", "wiring", "output", "shared")


def copy_to_run(subject: Subject, x: Shape, device: str, lent: ExitStack) -> nn.Module:
    """A copy of a module, all of its parameters made and none frozen; itself, borrowed, where that fails.

    Args: `subject` the module, which has been observed before; `lent` gives back what is borrowed when it is closed.
    """
    import torch

    from rv_check.modules.copies import Borrowed, copy_of
    from rv_check.modules.observe import materialise

    module = subject.module
    found = lent.enter_context(Borrowed(module, "cpu")) if subject.is_borrowed else copy_of(module, "cpu")
    materialise(found, torch.zeros((2, *x)))
    for parameter in found.parameters():
        parameter.requires_grad_(parameter.is_floating_point() or parameter.is_complex())
    return found.to(device)


def measured(
    found: Structure,
    pair_by: Callable[[Structure, Mapping[str, Slot]], Pair],
    known_sizes: Callable[[], list[Shape]],
    larger_sizes: Callable[[], list[Shape]],
    device: str,
) -> Structure:
    """Let numbers decide where no rule does: in float64, at several sizes, outputs, gradients and statistics agree.

    What they show to be equal is no difference any more; it is written in a way that no rule knows. A limit that no
    number went past, also of larger parameters, is not shown to be equal: then both must have the same ones.

    Args: `pair_by` gives the two modules by where the parameters are in the found one; the sizes are those at which the
    expected network runs.
    """
    import torch

    from rv_check.modules import generic_point, trace
    from rv_check.modules.limits import Limits

    if not found.mistakes or found.until:
        return found
    if found.found.asked or found.expected.asked:
        return found  # what differs may be in a branch that these numbers do not take
    slots = guess(found)
    if slots is None or len({str(slot) for slot in slots.values()}) < len(slots):
        return found  # it has not a parameter for each
    if any(one.kind not in ARBITRABLE for one in found.mistakes) or all(one.training for one in found.mistakes):
        return found  # numbers have nothing to say of it; chance, in train mode, is not compared
    tolerance = trace.TOLERANCE[torch.float64]

    def agree(pair: Pair, x: Shape, *, train: bool, batch: int = 2) -> bool:
        data = generic_point.image(x, batch, torch.float64, device)
        expected = trace.limited(trace.run(pair.expected, data, train, (), pair.expected_output), slots)
        other = trace.renamed(trace.run(pair.found, data, train, (), pair.output), slots, expected)
        return all(d.within(tolerance) for d in trace.differences(expected, other, train) if d.decides)

    limits = Limits(), Limits()

    def close(pair: Pair, x: Shape, scale: float) -> bool:
        data = scale * generic_point.image(x, 2, torch.float64, device)
        with limits[0].begin():
            expected = trace.output(pair.expected, data, pair.expected_output)
        with limits[1].begin():
            other = trace.output(pair.found, data, pair.output)
        return trace.compare("output", expected, other).within(tolerance)

    def have_the_same_limits(pair: Pair, x: Shape) -> bool:
        if limits[0].never_reached == limits[1].never_reached:
            return True
        pair.enlarge(LARGER)
        return close(pair, x, 1.0) and limits[0].never_reached == limits[1].never_reached

    try:
        sizes = known_sizes()
        whole = [x for x in (found.input, *larger_sizes()) if x not in sizes]  # where an eval output must do
        pair = pair_by(found, slots).at_generic_point(torch.float64)
        equal = (
            all(close(pair, sizes[0], scale) for scale in (1.0, LOUD_INPUT))
            and all(agree(pair, x, train=train) for x in sizes for train in (False, True))
            and agree(pair, sizes[0], train=False, batch=1)
            and all(close(pair, x, 1.0) for x in whole)
            and have_the_same_limits(pair, sizes[0])
        )
    except Exception:  # whatever the module raises, or its state: then nothing is shown, and the differences stand
        equal = False
    if not equal:
        return found
    others = tuple(x for x in (*sizes, *whole) if x != found.input)
    return replace(found, measured=MeasuredEqual((found.input, *others), slots))


def blocked(run: Run) -> Blocked:
    """The error that the structure differs, so that there is nothing to compare."""
    return Blocked(f"the structure: see {run.name}::structure")


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
    return Report(name, against, findings, run.structure.names, (), run.structure.totals)
