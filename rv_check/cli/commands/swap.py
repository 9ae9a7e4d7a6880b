"""The command `rv-check swap`: a network with other residual blocks in its stages, beside the network as it is."""

from __future__ import annotations

import argparse
import statistics
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
from rv_check.bench.timing import TimingPlan
from rv_check.blocks import swap
from rv_check.blocks.swap import BATCH, StartGradient, Variant
from rv_check.cli import options as shared
from rv_check.cli.console import Answer, Console
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
PLAN = TimingPlan(seconds=2)  # how long --time takes for each variant and pass


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("subject", metavar="ARCH", help=f"an arch whose stages are given a block: {shared.ARCH}")
    parser.add_argument(
        "--block",
        action="append",
        required=True,
        metavar="BLOCK|CLASS",
        help="the other block: se_bottleneck, path/to/file.yaml::block(groups=32), file.py:Name (may be repeated)",
    )
    parser.add_argument("--stages", default="", metavar="LIST", help="only in these, by number from 1 or name: 3,4")
    shared.call(parser)
    shared.keywords(parser)
    shared.input_size(parser)
    words = "of the gradient's norm; 0: none, and no torch"
    parser.add_argument("--seeds", type=shared.from_zero, default=SEEDS, metavar="N", help=words)
    words = "bytes that are kept for backward, at a batch"
    parser.add_argument("--memory", type=shared.positive, metavar="BATCH", help=words)
    words = "milliseconds of both passes, at a batch"
    parser.add_argument("--time", type=shared.positive, metavar="BATCH", help=words)
    shared.device(parser)
    parser.add_argument("--markdown", action="store_true", help="the table for a page")
    shared.json_of(parser, SCHEMA)


@dataclass(frozen=True)
class Column:
    """All that is known of one variant."""

    variant: Variant
    gradient: StartGradient | None
    kept: int | None  # bytes
    times: Mapping[str, Rounds] | None = None  # the times by pass
    on_front: bool = False

    @property
    def costs(self) -> tuple[float, ...]:
        """What should be low: costs, and the field of the last stage with its sign turned."""
        totals = self.variant.totals
        last = totals.fields[self.variant.stages[-1]]
        times = [samples.summary(rounds).median for rounds in self.times.values()] if self.times else []
        return totals.params, totals.macs, totals.activations, -last.rows.size, -last.columns.size, *times


@dataclass(frozen=True)
class Swap:
    """An arch and its variants, itself first. `input`: of the gradients; `timed`: batch and device of the times."""

    arch: Arch
    columns: Sequence[Column]
    input: Shape
    timed: tuple[int, str] | None = None


def run(options: argparse.Namespace, console: Console) -> Answer:
    """Build the variants, and show them beside the arch. Raises: RvCheckError."""
    if is_module(options.subject):
        raise RvCheckError(f"{options.subject} is a module", expected="an arch, whose stages can be given a block")
    arch = load(options.subject, options.input)
    stages = [part.strip() for part in options.stages.split(",")] if options.stages else []
    variants = [swap.standard(arch, stages)]
    variants += [_variant(arch, block, stages, options.call, options.kwargs) for block in options.block]
    input = _gradient_input(arch)
    columns = [_column(variant, options.seeds, options.memory, input) for variant in variants]
    timed = (options.time, options.device) if options.time else None
    if timed is not None:
        taken = _times(variants, *timed)
        columns = [replace(column, times=times) for column, times in zip(columns, taken, strict=True)]
    front = swap.pareto([column.costs for column in columns])
    columns = [replace(column, on_front=on) for column, on in zip(columns, front, strict=True)]
    found = Swap(arch, columns, input, timed)
    return Answer(partial(as_json, found), partial(text, found, "markdown" if options.markdown else "text"))


def _variant(arch: Arch, block: str, stages: Sequence[str], call: str | None, kwargs: str | None) -> Variant:
    if "::" in block or not is_module(block):
        return swap.with_block(arch, block, stages)
    need_class = named_value(block, "class")
    if not callable(need_class):
        raise RvCheckError(f"{block} is a {type(need_class).__name__}", expected="a class of modules, or a factory")
    return swap.with_class(arch, block, need_class, call, stages, parse_arguments(kwargs))


def _column(variant: Variant, seeds: int, batch: int | None, input: Shape) -> Column:
    """All but the times. `batch`: of the memory, if that is asked for."""
    gradient = swap.first_gradient(variant, seeds, input) if seeds else None
    kept = None
    if batch is not None:
        kept = sum(bytes_ for _, bytes_ in memory.kept_for_backward(variant.graph(training=True, batch=batch)))
    return Column(variant, gradient, kept)


def _times(variants: Sequence[Variant], batch: int, device_name: str) -> list[dict[str, Rounds]]:
    """Forward in train mode and backward, in rounds in which each variant has its turn."""
    need("torch")
    from rv_check.bench.devices import device_of, settings
    from rv_check.bench.run import side_by_side
    from rv_check.bench.workloads import make
    from rv_check.modules.torch_state import seeded

    def taken(pass_: str) -> list[Rounds]:
        input = variants[0].arch.input
        point = Point(device.name, "float32", "contiguous", "eager", pass_, batch, input)
        with settings(device, point.dtype), seeded(0):
            made = [make(variant.build(), point).workload for variant in variants]
            return list(side_by_side(device, made, PLAN))

    device = device_of(device_name)
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


def text(found: Swap, form: str) -> str:
    """Two networks side by side, a line for each number; of more, a line for each network."""
    arch, columns = found.arch, found.columns
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
    if any(field.is_global for column in columns for field in column.variant.totals.fields.values()):
        notes.append("global: a gate or a norm sees the whole map; the numbers are those of the convolutional path")
    gradient = columns[0].gradient
    if gradient is not None:
        notes.append(
            f"gradient: norm of that of {gradient.name} at initialisation, median (least to most) of "
            f"{len(gradient.norms)} seeds,\nbatch {BATCH} at {shown_shape(found.input)}, random labels, the arch's "
            "init for all; no verdict on how well it learns"
        )
    if found.timed is not None:
        batch, device = found.timed
        notes.append(
            f"ms: medians, {PLAN.rounds} rounds in which each has its turn, batch {batch} on {device}, "
            "x the ratio with\nits 99 % interval, = where the rank test tells no difference; noisy: IQR above "
            f"{samples.NOISY:.0%} of the median"
        )
    costs = "params, MACs, activations and time" if found.timed else "params, MACs and activations"
    notes.append(f"pareto: no other has as few {costs} and as large a receptive field")
    return "\n".join(quote_plain(line) for note in notes for line in note.split("\n"))


def _cells(column: Column, own: Column) -> dict[str, str]:
    """What is printed of a variant, by name, with differences from the arch's own block."""
    totals, other = column.variant.totals, own.variant.totals
    cells = {
        "params": _with_change(totals.params, other.params),
        "MACs": _with_change(totals.macs, other.macs),
        "activations": _with_change(totals.activations, other.activations),
        "depth": str(totals.depth),
        "skips": str(totals.skips),
        "field by stage": _fields(list(totals.fields.values())),
    }
    if column.gradient is not None:
        norms = column.gradient.norms
        cells["gradient"] = f"{statistics.median(norms):.3g} ({min(norms):.2g} to {max(norms):.2g})"
    if column.kept is not None and own.kept is not None:
        cells["kept for backward, bytes"] = _with_change(column.kept, own.kept)
    if column.times is not None and own.times is not None:
        for name in PASSES:
            summary = samples.summary(column.times[name])
            words = [bench_tables.milliseconds(summary.median)]
            words += (
                []
                if column is own
                else [f"x {bench_tables.ratio(samples.paired(own.times[name], column.times[name]))}"]
            )
            cells[f"{name}, ms"] = " ".join([*words, *["noisy"] * summary.noisy])
    cells["pareto"] = "*" if column.on_front else ""
    return cells


def _with_change(value: int, own: int) -> str:
    return f"{value:,}" if value == own else f"{value:,} ({value / own - 1:+.1%})"


def _fields(fields: Sequence[ReceptiveField]) -> str:
    sizes = [str(f.size) if isinstance(f.size, int) else f"{f.size[0]}x{f.size[1]}" for f in fields]
    return ", ".join(sizes) + (", global" if any(f.is_global for f in fields) else "")


def as_json(found: Swap) -> dict[str, Any]:
    """The object of schema rv-check/swap/1."""
    arch, gradient = found.arch, found.columns[0].gradient
    said: dict[str, Any] = {"schema": SCHEMA, "subject": arch.name, "input": list(arch.input)}
    if gradient is not None:
        said["gradients"] = {
            "input": list(found.input), "batch": BATCH, "seeds": len(gradient.norms), "of": gradient.name
        }  # fmt: skip
    return {**said, "variants": [_variant_json(column) for column in found.columns]}


def _variant_json(column: Column) -> dict[str, Any]:
    totals = column.variant.totals
    fields = {
        step: {"size": f.size, "stride": f.stride, "padding": f.padding, "global": f.is_global}
        for step, f in totals.fields.items()
    }
    return {
        "block": column.variant.block,
        "call": column.variant.call or None,
        **{name: getattr(totals, name) for name in ("params", "macs", "activations", "depth", "skips")},
        "fields": fields,
        "gradient_norms": column.gradient and list(column.gradient.norms),
        "kept_for_backward": column.kept,
        "times": column.times,
        "pareto": column.on_front,
    }
