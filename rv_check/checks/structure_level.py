"""Level structure: is the reference, operation by operation, what the spec says, and does all of it train?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rv_check.checks.check import Check, Outcome, Run
from rv_check.checks.findings import Finding
from rv_check.checks.states import few
from rv_check.text import shown_shape

if TYPE_CHECKING:
    from rv_check.graphs.explain import Told


def structure(run: Run, check: Check) -> Outcome:
    """The op graph, observed at several sizes, in eval and train mode, is the spec's; else every mistake once."""
    found = run.structure()
    at = ", ".join(map(shown_shape, found.sizes)) or shown_shape(found.input)
    if found.verdict in ("same", "equivalent"):
        how = f", written otherwise: {'; '.join(found.rules)}" if found.rules else ""
        if found.measured:
            titles = "; ".join(told.title for told in found.measured[:3])
            how += f"; by no rule, but measured to be equal in eval and train mode: {titles}"
        real = f" (on real tensors, since on meta it raises {found.real})" if found.real else ""
        message = f"the same graph of {found.operations} operations at {at}, in eval and train mode{real}{how}"
        yield check.finding(run, True, message)
        return
    if found.until:
        message = f"it is {run.name} up to {found.until}: check it with --until {found.until}, until={found.until!r}"
        place = run.place_of(found.until)
        yield check.finding(run, False, message, kind="until", step=found.until, place=place)
    for told in found.told:
        yield of_told(run, check, told)
    if found.extra_outputs:
        message = f"it returns more than the output{' ' + found.where if found.where else ''}"
        outputs = ", ".join(found.extra_outputs)
        yield check.finding(run, False, message, found=outputs, expected="nothing else", kind="outputs")
    if found.alone:
        yield check.finding(run, False, found.alone, kind="batch", step=found.last)
    if found.elsewhere:
        message = f"it is {run.name} at {at} only: {found.elsewhere}"
        step = found.elsewhere_step or None
        yield check.finding(run, False, message, kind="this input only", step=step, place=run.place_of(step or ""))


def of_told(run: Run, check: Check, told: Told) -> Finding:
    """A structural difference as a finding."""
    return check.finding(
        run,
        False,
        "\n".join([told.title, *told.lines]),
        found=told.found,
        expected=told.expected,
        place=told.place or run.place,
        kind=told.kind,
        count=told.count,
        step=told.step,
        module=told.path,
        call=told.call,
    )


def trainable(run: Run, check: Check) -> Outcome:
    """Every parameter takes part in training."""
    frozen, count = run.frozen()
    ok = not frozen
    message = f"all {count} parameters are trainable" if ok else f"{len(frozen)} of {count} parameters are frozen"
    details = {} if ok else {"found": f"requires_grad=False of {few(frozen)}", "expected": "True of all"}
    yield check.finding(run, ok, message, **details)
