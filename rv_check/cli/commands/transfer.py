"""The command `rv-check transfer`: what a new head and frozen parts leave to be trained."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from rv_check.checks.findings import Report
from rv_check.cli.common import positive
from rv_check.costs import memory
from rv_check.errors import CannotRun
from rv_check.report import tables
from rv_check.weights.transfer import Plan, plan

SCHEMA = "rv-check/transfer/1"
MAP = "its names: the module that it was saved of, file.py:Name, or what check --save-map wrote of it"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("arch", metavar="ARCH", help="resnet50, or path/to/file.yaml::arch")
    parser.add_argument("--classes", type=positive, metavar="N", help="of the new head")
    parser.add_argument(
        "--freeze", default="", metavar="PARTS", help="as layer1,layer2; patterns as *.bn1 are parts, too"
    )
    parser.add_argument("--head", metavar="OPS", help='instead of one linear layer, as "dropout(0.5), linear(2)"')
    parser.add_argument("--input", metavar="'C H W'", help="another input size than the declared one")
    parser.add_argument(
        "--weights", metavar="FILE|NAME", help="a checkpoint, or torchvision's name: is it the backbone?"
    )
    parser.add_argument("--map", metavar="MODULE|FILE", help=MAP)
    parser.add_argument(
        "--batch", type=positive, default=32, metavar="N", help="images, of the memory; 32 unless given"
    )
    parser.add_argument("--dtype", default="float32", help="of the numbers, of the memory")
    parser.add_argument("--optimiser", default="momentum", help="sgd, momentum or adam, of the memory")
    parser.add_argument("--static", action="store_true", help="do not build the module and train a step, without torch")
    parser.add_argument("--json", action="store_true", help=f"one object, schema {SCHEMA}")


def run(options: argparse.Namespace) -> int:
    """Print the plan and what became of it on the module. Raises: RvCheckError."""
    freeze = [part.strip() for part in options.freeze.split(",") if part.strip()]
    made = plan(options.arch, options.classes, freeze, options.head, options.input)
    bytes_ = made.memory(options.batch, options.dtype, options.optimiser)
    checked, reason = None, ""
    if not options.static:
        try:
            checked = _on_the_module(made, options)
        except CannotRun as error:
            if options.weights:
                raise
            reason = str(error)
    if options.json:
        print(json.dumps(as_json(made, bytes_, checked, options), indent=2))
    else:
        print(text(made, bytes_, checked, reason, options))
    return 1 if checked is not None and checked.failed else 0


def _on_the_module(made: Plan, options: argparse.Namespace) -> Report:
    from rv_check.weights.finetune import check_plan

    return check_plan(made, options.weights, options.map)


def text(made: Plan, bytes_: memory.Memory, checked: Report | None, reason: str, options: argparse.Namespace) -> str:
    """The parts, what they cost, what is easily missed, and whether the module does as planned."""
    rows = [
        (part.name, f"{part.trainable + part.frozen:,}", f"{part.trainable:,}", f"{part.frozen:,}")
        for part in made.parts()
    ]
    rows.append(("total", f"{made.total:,}", f"{made.trainable:,}", f"{made.total - made.trainable:,}"))
    macs, backward = made.macs()
    costs = [
        ("MACs forward, of one image", f"{macs:,}"),
        ("MACs backward", f"{backward:,}"),
        ("parameters, bytes", f"{bytes_.parameters:,}"),
        ("gradients", f"{bytes_.gradients:,}"),
        (f"optimiser ({options.optimiser})", f"{bytes_.optimiser:,}"),
        (f"activations kept, batch {options.batch}", f"{bytes_.activations:,}"),
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
        *_checked_lines(checked, reason, options.static),
    ]
    return "\n".join(lines).rstrip()


def _checked_lines(checked: Report | None, reason: str, static: bool) -> Sequence[str]:
    if checked is None:
        return [] if static else [f"skipped on the module: {reason}"]
    return [
        line
        for one in checked.findings
        for line in (one.lines() if one.status == "failed" else [f"{one.check} {one.status}: {one.title}"])
    ]


def as_json(made: Plan, bytes_: memory.Memory, checked: Report | None, options: argparse.Namespace) -> dict[str, Any]:
    """The object of schema rv-check/transfer/1."""
    macs, backward = made.macs()
    how = {"batch": options.batch, "dtype": options.dtype, "optimiser_name": options.optimiser}
    return {
        "schema": SCHEMA,
        "subject": made.before.name,
        "head": made.head,
        "freeze": list(made.freeze),
        "params": {"total": made.total, "trainable": made.trainable, "frozen": made.total - made.trainable},
        "parts": [vars(part) for part in made.parts()],
        "macs": macs,
        "backward_macs": backward,
        "memory": {**memory.as_json(bytes_), **how},
        "warnings": made.warnings(),
        "checked": [one.as_json() for one in checked.findings] if checked is not None else None,
    }
