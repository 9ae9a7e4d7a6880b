"""`rv-check study gradients`: the first layer's gradient, with shortcuts and without.

gradients.json, and --json, schema rv-check/study-gradients/1.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from rv_check.cli import options as shared
from rv_check.cli.commands.study import draw, folder_of
from rv_check.cli.console import Answer, Console
from rv_check.errors import unknown
from rv_check.report import tables
from rv_check.writing import write_text

if TYPE_CHECKING:
    from rv_check.studies.gradients import MeasuredStack, Stack

SCHEMA = "rv-check/study-gradients/1"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the study."""
    parser.add_argument("--stack", action="append", metavar="NAME", help="mlp, mlp-bn, mlp-bn-relu, conv or conv-bn")
    words = "blocks, or layers of conv"
    parser.add_argument("--depth", action="append", type=shared.positive, metavar="N", help=words)
    words = "50 of each mlp and 5 of each conv unless given"
    parser.add_argument("--seeds", type=shared.positive, metavar="N", help=words)
    parser.add_argument("--steps", type=shared.positive, metavar="N", help="also after so many steps of training")
    words = "of these steps, 0.01 unless given"
    parser.add_argument("--rate", type=shared.above_zero, default=0.01, metavar="X", help=words)
    parser.add_argument("--along", action="store_true", help="also every layer of the deepest networks")
    shared.json_of(parser, SCHEMA)


def run(options: argparse.Namespace, console: Console) -> Answer:
    """The table, its data and its picture. It measures and has no expectation: the status is 0.

    Raises: RvCheckError.
    """
    from rv_check.studies.curves import draw_gradients
    from rv_check.studies.gradients import STACKS, as_json

    for name in options.stack or ():
        if name not in STACKS:
            raise unknown("stack", name, STACKS)
    folder = folder_of(options.output)
    stacks = [stack for name, stack in STACKS.items() if name in (options.stack or STACKS)]
    after = (0, options.steps) if options.steps else (0,)
    found = _measure(stacks, options.depth, options.seeds, after, options.rate, console)
    data = as_json(found, options.rate)
    write_text(folder / "gradients.json", json.dumps(data, indent=2) + "\n")
    if not options.no_picture:
        draw(lambda: draw_gradients(found, folder / "gradients"), console)
    return Answer(lambda: data, partial(text, found, options.along))


def _measure(
    stacks: Sequence[Stack],
    depths: Sequence[int] | None,
    seeds: int | None,
    after: Sequence[int],
    rate: float,
    console: Console,
) -> list[MeasuredStack]:
    """After each number of steps. `depths` and `seeds`: the stack's own where none are given."""
    from rv_check.studies.gradients import study

    every = [depth for stack in stacks for depth in depths or stack.depths]
    found = []
    with console.progress(len(after) * sum(every)) as progress:
        for steps in after:
            for one in study(stacks, depths, seeds, steps, rate):
                found.append(one)
                progress.step(one.depth, f"{one.stack.name}, {one.depth} {one.stack.unit}")
    return found


def text(found: Sequence[MeasuredStack], along: bool = False) -> str:
    """A line for each stack and depth: medians over the seeds, and the smallest and largest ratio."""
    rows = [_row(one) for one in found]
    headers = (
        "stack",
        "depth",
        "steps",
        "residual",
        "plain",
        "ratio",
        "smallest",
        "largest",
        "seeds",
        "with shortcuts",
    )
    table = tables.table((*headers, "plain in float32"), rows, "lrrrrrrrrll")
    blocks = dict.fromkeys(f"{one.stack.name}: {one.stack.block}" for one in found)
    parts = ["|gradient| of the first weight, with shortcuts and without; the same weights and data", table]
    parts.append("\n".join(blocks))
    if along:
        parts += [_along(one) for one in {(one.stack.name, one.steps): one for one in found}.values()]
    return "\n\n".join(parts)


def _row(one: MeasuredStack) -> tuple[str, ...]:
    first = next(iter(one.runs[0].plain))
    norms = [f"{one.along(kind)[first]:.2g}" for kind in ("residual", "plain")]
    ratios = (
        [f"{value:.2g}" for value in (median(one.ratios), one.ratios[0], one.ratios[-1])] if one.ratios else [""] * 3
    )
    depth = f"{one.depth} {one.stack.unit}"
    counts = (str(len(one.runs)), one.verdict, one.lost_in_float32)
    return (one.stack.name, depth, str(one.steps), *norms, *ratios, *counts)


def _along(one: MeasuredStack) -> str:
    """Every weight of the main path."""
    residual, plain = one.along("residual"), one.along("plain")
    rows = [(name, f"{residual[name]:.2g}", f"{plain[name]:.2g}") for name in plain]
    title = f"{one.stack.name}, {one.depth} {one.stack.unit}, after {one.steps} steps: |gradient|, median over seeds"
    return f"{title}\n\n{tables.table(('weight', 'residual', 'plain'), rows, 'lrr')}"
