"""Level structure: is the reference, operation by operation, what the spec says, and does all of it train?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rv_check.checks.check import Check, Outcome, Run
from rv_check.checks.findings import Finding
from rv_check.checks.states import few
from rv_check.text import shown_shape

if TYPE_CHECKING:
    from rv_check.checks.structure import Branches, Structure
    from rv_check.errors import Place
    from rv_check.graphs.explain import Mistake


def structure(run: Run, check: Check) -> Outcome:
    """The op graph, observed at several sizes, in eval and train mode, is the spec's; else every mistake once."""
    found = run.structure
    at = ", ".join(map(shown_shape, found.sizes)) or shown_shape(found.input)
    if found.taken:
        first = next((node.name for node in found.expected.nodes if node.row.weighted), "")
        yield check.failed(run, found.taken, kind="channels", step=first or None, place=run.place_of(first))
    if found.verdict_behind in ("same", "equivalent"):
        modes = "eval and train mode" if not found.eval_only else "eval mode"
        how = f", written otherwise: {'; '.join(found.rules)}" if found.rules else ""
        if found.measured:
            titles = "; ".join(one.title for one in found.differences[:3])
            how += f"; by no rule, but measured to be equal in {modes}: {titles}"
        real = f" (on real tensors, since on meta it raises {found.why_real})" if found.why_real else ""
        if found.branches is not None:
            how += _seen(found.found.asked or found.expected.asked, found.branches)
        if found.never_ran:
            how += f"; what it does was not seen where nothing led to: {few(list(map(str, found.never_ran)))}"
        macs, own_macs = found.totals["macs"]
        if macs != own_macs:
            how += f"; it takes {macs:,} MACs, where {run.name} takes {own_macs:,}"
        if found.idle_buffers:
            how += f"; nothing uses its buffer{'s'[: len(found.idle_buffers) - 1]} {few(found.idle_buffers)}"
        if found.idle:
            how += f"; on neither side is anything computed from {few(found.idle)}"
        alone = f" alone, since {found.eval_only}" if found.eval_only else ""
        behind = "behind it " if found.taken else ""
        message = f"{behind}the same graph of {found.operations} operations at {at}, in {modes}{alone}{real}{how}"
        yield check.passed(run, message)
        return
    if found.until and not found.mistakes:
        message = f"it is {run.name} up to {found.until}: check it with --until {found.until}, until={found.until!r}"
        place = run.place_of(found.until)
        yield check.failed(run, message, kind="until", step=found.until, place=place)
    for mistake in found.mistakes:
        yield of_mistake(run, check, mistake)
    yield from of_outputs(run, check, found)
    if found.one_image:
        yield check.failed(run, found.one_image, kind="batch", step=found.last_step)
    if found.elsewhere:
        message = f"it is {run.name} at {at} only: {found.elsewhere}"
        step = found.elsewhere_step or None
        yield check.failed(run, message, kind="this input only", step=step, place=run.place_of(step or ""))


def of_outputs(run: Run, check: Check, found: Structure) -> Outcome:
    """What is returned besides, not at all, and at other places: which follows from the former, where there is any.

    What a module returns beside the end of an arch, as an auxiliary head, is in a note; that it is more than the arch
    returns is a finding where nothing else is one.
    """
    extra, lost, moved = found.all_surprises
    if found.mistakes and found.expected.steps:
        extra = tuple(one for one in extra if one not in found.surprises.extra)
    expected = ", ".join(f"{place} {shown_shape(node.shape[1:])}" for place, node in found.expected.outputs.items())
    if extra:
        one, *more = found.returned.pairs.values()
        what = "outputs" if more else f"output {one}".strip()
        told = ", ".join((*extra, *moved))
        message = f"it returns more than the {what}\nbesides: {told}"
        expected = "nothing else" if not more else expected
        yield check.failed(run, message, found=told, expected=expected, kind="outputs")
    if lost:
        told = ", ".join((*lost, *moved))
        message = f"it does not return all that {run.name} does\nfound: {told}"
        yield check.failed(run, message, found=told, expected=expected, kind="outputs")
    if moved and not (extra or lost):
        told = ", ".join(moved)
        message = f"it returns the same at other places\nfound: {told}"
        yield check.failed(run, message, found=told, expected=expected, kind="outputs")


def _seen(asked: Sequence[Place], branches: Branches) -> str:
    """What was seen of a module that decides by values at these places, and what was not."""
    places = few([place.short for place in asked])
    ways = "one way only" if branches.seen == 1 else f"{branches.seen} ways"
    return f"; it asks for values at {places}, and ran in {ways}: what it does for others was not seen"


def of_mistake(run: Run, check: Check, mistake: Mistake) -> Finding:
    """A structural difference as a finding."""
    return check.failed(
        run,
        "\n".join([mistake.title, *mistake.lines]),
        found=mistake.found,
        expected=mistake.expected,
        place=mistake.place or run.place,
        kind=mistake.kind,
        count=mistake.count,
        step=mistake.step,
        where=mistake.where,
        module=mistake.path,
        call=mistake.call,
    )


def trainable(run: Run, check: Check) -> Outcome:
    """Every parameter takes part in training."""
    frozen, count = run.frozen()
    ok = not frozen
    message = f"all {count} parameters are trainable" if ok else f"{len(frozen)} of {count} parameters are frozen"
    details = {} if ok else {"found": f"requires_grad=False of {few(frozen)}", "expected": "True of all"}
    yield check.finding(run, message, holds=ok, **details)
