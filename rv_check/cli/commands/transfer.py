"""The command `rv-check transfer`: what a new head and frozen parts leave to be trained."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from rv_check.checks.findings import Report
from rv_check.cli import options as shared
from rv_check.cli.console import DID_NOT_HOLD, HELD, Answer, Console
from rv_check.cli.options import StepOptions
from rv_check.costs import memory
from rv_check.errors import CannotRun
from rv_check.report import tables
from rv_check.weights.transfer import TransferPlan, plan

SCHEMA = "rv-check/transfer/1"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("arch", metavar="ARCH", help=shared.ARCH)
    parser.add_argument("--classes", type=shared.positive, metavar="N", help="of the new head")
    parser.add_argument(
        "--freeze", default="", metavar="PARTS", help="as layer1,layer2; patterns as *.bn1 are parts, too"
    )
    parser.add_argument("--head", metavar="OPS", help='instead of one linear layer, as "dropout(0.5), linear(2)"')
    shared.input_size(parser)
    shared.weights(parser, required=False)
    shared.step(parser, 32)
    parser.add_argument("--static", action="store_true", help="do not build the module and train a step, without torch")
    shared.json_of(parser, SCHEMA)


def run(options: argparse.Namespace, console: Console) -> Answer:
    """The plan, and what became of it on the module. Raises: RvCheckError."""
    freeze = [part.strip() for part in options.freeze.split(",") if part.strip()]
    made = plan(options.arch, options.classes, freeze, options.head, options.input)
    step = shared.step_of(options)
    kept = made.memory(step.batch, step.dtype, step.optimiser)
    checked, reason = None, ""
    if not options.static:
        try:
            checked = _on_the_module(made, options.weights, options.map)
        except CannotRun as error:
            if options.weights:
                raise
            reason = f"skipped on the module: {error}"
    failed = checked is not None and checked.failed
    shown = partial(text, made, step, kept, checked, reason)
    return Answer(partial(as_json, made, step, kept, checked), shown, DID_NOT_HOLD if failed else HELD)


def _on_the_module(made: TransferPlan, weights: str | None, names: str | None) -> Report:
    from rv_check.weights.finetune import check_plan

    return check_plan(made, weights, names)


def text(made: TransferPlan, step: StepOptions, kept: memory.Memory, checked: Report | None, reason: str) -> str:
    """The parts, what they cost, what is easily missed, and whether the module does as planned, or why not told."""
    rows = [
        (part.name, f"{part.trainable + part.frozen:,}", f"{part.trainable:,}", f"{part.frozen:,}")
        for part in made.parts()
    ]
    rows.append(("total", f"{made.total:,}", f"{made.trainable:,}", f"{made.total - made.trainable:,}"))
    macs, backward = made.macs()
    costs = [
        ("MACs forward, of one image", f"{macs:,}"),
        ("MACs backward", f"{backward:,}"),
        ("parameters, bytes", f"{kept.parameters:,}"),
        ("gradients", f"{kept.gradients:,}"),
        (f"optimiser ({step.optimiser})", f"{kept.optimiser:,}"),
        (f"activations kept, batch {step.batch}", f"{kept.activations:,}"),
    ]
    frozen = ", ".join(made.freeze) or "nothing"
    lines = [
        f"{made.before.name}: a new head at {made.head}, {frozen} frozen",
        "",
        tables.table(("part", "parameters", "train", "frozen"), rows, "lrrr"),
        "",
        tables.table(("", "of a step"), costs, "lr"),
        "",
        *(f"warning: {one}" for one in made.warnings()),
        *(_checked_lines(checked) if checked is not None else [reason]),
    ]
    return "\n".join(lines).rstrip()


def _checked_lines(checked: Report) -> Sequence[str]:
    return [
        line
        for one in checked.findings
        for line in (one.lines() if one.status == "failed" else [f"{one.check} {one.status}: {one.title}"])
    ]


def as_json(made: TransferPlan, step: StepOptions, kept: memory.Memory, checked: Report | None) -> dict[str, Any]:
    """The object of schema rv-check/transfer/1."""
    macs, backward = made.macs()
    how = {"batch": step.batch, "dtype": step.dtype, "optimiser_name": step.optimiser}
    return {
        "schema": SCHEMA,
        "subject": made.before.name,
        "head": made.head,
        "freeze": list(made.freeze),
        "params": {"total": made.total, "trainable": made.trainable, "frozen": made.total - made.trainable},
        "parts": [vars(part) for part in made.parts()],
        "macs": macs,
        "backward_macs": backward,
        "memory": {**memory.as_json(kept), **how},
        "warnings": made.warnings(),
        "checked": [one.as_json() for one in checked.findings] if checked is not None else None,
    }
