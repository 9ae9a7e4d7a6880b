"""Level numbers: the receptive fields of the built model, by gradients, against the spec's formula."""

from __future__ import annotations

from rv_check.checks.check import Check, Outcome
from rv_check.checks.of_arch import ArchRun
from rv_check.modules.guard import run_theirs


def field(run: ArchRun, check: Check) -> Outcome:
    """The receptive field of every stage, as gradients on the built model show it: the spec's formula."""
    from rv_check.receptive_fields.measured import compare_fields

    arch = run.expanded
    found = run_theirs("no field can be measured", lambda: compare_fields(arch))
    for step, formula, measured in found:
        message = f"receptive field of {step} by gradients: {measured}"
        ok = measured.agrees(formula)
        details = {} if ok else {"found": measured.field.in_full, "expected": formula.in_full}
        yield check.finding(run, message, holds=ok, step=step, place=run.place_of(step), **details)
