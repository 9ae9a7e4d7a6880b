"""The command `rv-check swap`: a network with other residual blocks in its stages, beside the network as it is."""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rv_check.archs.arch import Arch, small_inputs
from rv_check.archs.load import load
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.bench import samples
from rv_check.bench import tables as bench_tables
from rv_check.bench.cases import Point
from rv_check.bench.samples import Rounds
from rv_check.bench.timing import Plan
from rv_check.blocks import swap
from rv_check.blocks.swap import BATCH, Gradient, Variant
from rv_check.cli.common import positive
from rv_check.costs import memory
from rv_check.errors import RvCheckError
from rv_check.modules.guard import run_theirs
from rv_check.modules.named import is_module, named_value, parse_arguments
from rv_check.ops.op import Shape
from rv_check.optional import need
from rv_check.report import tables
from rv_check.text import listed, quote_plain, shown_shape

SCHEMA = "rv-check/swap/1"
SEEDS = 5
PASSES = ("forward", "backward")
PLAN = Plan(seconds=2)  # of --time, for each variant and pass


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("subject", metavar="ARCH", help="an arch whose stages are given a block, as resnet50")
    parser.add_argument(
        "--block",
        action="append",
        required=True,
        metavar="BLOCK|CLASS",
        help="the other block: se_bottleneck, path/to/file.yaml::block(groups=32), file.py:Name (may be repeated)",
    )
    parser.add_argument("--stages", default="", metavar="LIST", help="only in these, by number from 1 or name: 3,4")
    parser.add_argument("--call", metavar="ARGUMENTS", help='of a class, as "in_channels=C, out_channels=4*width"')
    parser.add_argument("--kwargs", metavar="JSON", help='what a class is always given, as {"norm": "group"}')
    parser.add_argument("--input", metavar="'C H W'", help="another input size than the arch's")
    parser.add_argument(
        "--seeds", type=_from_zero, default=SEEDS, metavar="N", help="of the gradient's norm; 0: none, and no torch"
    )
    parser.add_argument("--memory", type=positive, metavar="BATCH", help="bytes that are kept for backward, at a batch")
    parser.add_argument("--time", type=positive, metavar="BATCH", help="milliseconds of both passes, at a batch")
    parser.add_argument("--device", default="cpu", help="for --time, as torch names it; cpu unless given")
    parser.add_argument("--markdown", action="store_true", help="the table for a page")
    parser.add_argument("--json", action="store_true", help=f"one object, schema {SCHEMA}")


def _from_zero(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return int(text)


@dataclass(frozen=True)
class Column:
    """All that is known of one variant."""

    variant: Variant
    gradient: Gradient | None
    kept: int | None  # bytes
    times: Mapping[str, Rounds] | None = None  # by pass
    on_front: bool = False

    @property
    def costs(self) -> tuple[float, ...]:
        """What should be low: costs, and the field of the last stage with its sign turned."""
        facts = self.variant.facts
        last = facts.fields[self.variant.stages[-1]]
        times = [samples.summary(rounds).median for rounds in self.times.values()] if self.times else []
        return facts.params, facts.macs, facts.activations, -last.rows.size, -last.columns.size, *times


def run(options: argparse.Namespace) -> int:
    """Build the variants, and print them beside the arch."""
    if is_module(options.subject):
        raise RvCheckError(f"{options.subject} is a module", expected="an arch, whose stages can be given a block")
    arch = load(options.subject, options.input)
    stages = [part.strip() for part in options.stages.split(",")] if options.stages else []
    with contextlib.redirect_stdout(sys.stderr):  # what a class prints is not ours to pass on
        variants = [swap.standard(arch, stages), *(_variant(arch, block, stages, options) for block in options.block)]
        input = _gradient_input(arch)
        columns = [_column(variant, options, input) for variant in variants]
        if options.time:
            taken = _times(variants, options)
            columns = [replace(column, times=times) for column, times in zip(columns, taken, strict=True)]
    front = swap.pareto([column.costs for column in columns])
    columns = [replace(column, on_front=on) for column, on in zip(columns, front, strict=True)]
    if options.json:
        print(json.dumps(as_json(arch, columns, input), indent=2))
    else:
        print(text(arch, columns, input, options))
    return 0


def _variant(arch: Arch, block: str, stages: Sequence[str], options: argparse.Namespace) -> Variant:
    if "::" in block or not is_module(block):
        return swap.with_block(arch, block, stages)
    need_class = named_value(block, "class")
    if not callable(need_class):
        raise RvCheckError(f"{block} is a {type(need_class).__name__}", expected="a class of modules, or a factory")
    return swap.with_class(arch, block, need_class, options.call, stages, parse_arguments(options.kwargs))


def _column(variant: Variant, options: argparse.Namespace, input: Shape) -> Column:
    gradient = swap.first_gradient(variant, options.seeds, input) if options.seeds else None
    kept = None
    if options.memory:
        graph = variant.graph(training=True, batch=options.memory)
        kept = sum(bytes_ for _, bytes_ in memory.kept_for_backward(graph))
    return Column(variant, gradient, kept)


def _times(variants: Sequence[Variant], options: argparse.Namespace) -> list[dict[str, Rounds]]:
    """Forward in train mode and backward, in rounds in which each variant has its turn."""
    need("torch")
    from rv_check.bench.devices import device_of, settings
    from rv_check.bench.run import side_by_side
    from rv_check.bench.workloads import make
    from rv_check.modules.torch_state import seeded

    def taken(pass_: str) -> list[Rounds]:
        input = variants[0].arch.input
        point = Point(device.name, "float32", "contiguous", "eager", pass_, options.time, input)
        with settings(device, point.dtype), seeded(0):
            made = [make(variant.build(), point).workload for variant in variants]
            return list(side_by_side(device, made, PLAN))

    device = device_of(options.device)
    what = f"{listed(one.arch.name for one in variants)} cannot be timed"
    by_pass = {pass_: run_theirs(what, partial(taken, pass_)) for pass_ in PASSES}
    return [dict(zip(by_pass, rounds, strict=True)) for rounds in zip(*by_pass.values(), strict=True)]


def _gradient_input(arch: Arch) -> Shape:
    """A small input, where the arch takes one."""
    for x in next(iter(small_inputs(arch.input)), []):
        try:
            if arch.at(x).state == arch.state:
                return x
        except RvCheckError:
            continue
    return arch.input


# Printed


def text(arch: Arch, columns: Sequence[Column], input: Shape, options: argparse.Namespace) -> str:
    """Two networks side by side, a line for each number; of more, a line for each network."""
    form = "markdown" if options.markdown else "text"
    lines = [_cells(column, columns[0]) for column in columns]
    names = [one.variant.block for one in columns]
    if len(columns) == 2:
        rows = [(key, *(line[key] for line in lines)) for key in lines[0]]
        table = tables.table(("", *names), rows, "lrr", form)
    else:
        rows = [(name, *line.values()) for name, line in zip(names, lines, strict=True)]
        table = tables.table(("block", *lines[0]), rows, "l" + "r" * len(lines[0]), form)
    shown = shown_shape(arch.input)
    notes = [f"{arch.name}  input {shown}, one image; differences from its own block, {names[0]}", "", table, ""]
    notes += [f"{c.variant.block} is called with {c.variant.call}" for c in columns if c.variant.call]
    if any(field.is_global for column in columns for field in column.variant.facts.fields.values()):
        notes.append("global: a gate or a norm sees the whole map; the numbers are those of the convolutional path")
    gradient = columns[0].gradient
    if gradient is not None:
        notes.append(
            f"gradient: norm of that of {gradient.name} at initialisation, median (least to most) of {options.seeds} "
            f"seeds,\nbatch {BATCH} at {shown_shape(input)}, random labels, the arch's init for all; "
            "no verdict on how well it learns"
        )
    if options.time:
        notes.append(
            f"ms: medians, {PLAN.rounds} rounds in which each has its turn, batch {options.time} on {options.device}, "
            "x the ratio with\nits 99 % interval, = where the rank test tells no difference; noisy: IQR above "
            f"{samples.NOISY:.0%} of the median"
        )
    costs = "params, MACs, activations and time" if options.time else "params, MACs and activations"
    notes.append(f"pareto: no other has as few {costs} and as large a receptive field")
    return "\n".join(quote_plain(line) for note in notes for line in note.split("\n"))


def _cells(column: Column, own: Column) -> dict[str, str]:
    """What is printed of a variant, by name, with differences from the arch's own block."""
    facts, other = column.variant.facts, own.variant.facts
    cells = {
        "params": _with_change(facts.params, other.params),
        "MACs": _with_change(facts.macs, other.macs),
        "activations": _with_change(facts.activations, other.activations),
        "depth": str(facts.depth),
        "skips": str(facts.skips),
        "field by stage": _fields(list(facts.fields.values())),
    }
    if column.gradient is not None:
        norms = column.gradient.norms
        cells["gradient"] = f"{statistics.median(norms):.3g} ({min(norms):.2g} to {max(norms):.2g})"
    if column.kept is not None and own.kept is not None:
        cells["kept for backward, bytes"] = _with_change(column.kept, own.kept)
    if column.times is not None and own.times is not None:
        for name in PASSES:
            mine = samples.summary(column.times[name])
            words = [bench_tables.milliseconds(mine.median)]
            words += (
                []
                if column is own
                else [f"x {bench_tables.ratio(samples.paired(own.times[name], column.times[name]))}"]
            )
            cells[f"{name}, ms"] = " ".join([*words, *["noisy"] * mine.noisy])
    cells["pareto"] = "*" if column.on_front else ""
    return cells


def _with_change(value: int, own: int) -> str:
    return f"{value:,}" if value == own else f"{value:,} ({value / own - 1:+.1%})"


def _fields(fields: Sequence[ReceptiveField]) -> str:
    sizes = [str(f.size) if isinstance(f.size, int) else f"{f.size[0]}x{f.size[1]}" for f in fields]
    return ", ".join(sizes) + (", global" if any(f.is_global for f in fields) else "")


def as_json(arch: Arch, columns: Sequence[Column], input: Shape) -> dict[str, Any]:
    """The object of schema rv-check/swap/1."""
    found: dict[str, Any] = {"schema": SCHEMA, "subject": arch.name, "input": list(arch.input)}
    gradient = columns[0].gradient
    if gradient is not None:
        found["gradients"] = {
            "input": list(input), "batch": BATCH, "seeds": len(gradient.norms), "of": gradient.name
        }  # fmt: skip
    found["variants"] = [_variant_json(column) for column in columns]
    return found


def _variant_json(column: Column) -> dict[str, Any]:
    facts = column.variant.facts
    fields = {
        step: {"size": f.size, "stride": f.stride, "padding": f.padding, "global": f.is_global}
        for step, f in facts.fields.items()
    }
    return {
        "block": column.variant.block,
        "call": column.variant.call or None,
        **{name: getattr(facts, name) for name in ("params", "macs", "activations", "depth", "skips")},
        "fields": fields,
        "gradient_norms": column.gradient and list(column.gradient.norms),
        "kept_for_backward": column.kept,
        "times": column.times,
        "pareto": column.on_front,
    }
