"""The command `rv-check macs`: what a network costs, and why every counter prints another total."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rv_check.archs.load import archs, load, parse_size
from rv_check.cli.common import positive
from rv_check.costs import conventions as counters
from rv_check.costs import memory, roofline
from rv_check.costs import operations as counts
from rv_check.costs.conventions import Convention, held
from rv_check.costs.operations import Operation, operations_of
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph
from rv_check.graphs.network import At
from rv_check.graphs.of_arch import ArchNetwork
from rv_check.modules.named import is_module, load_module, parse_arguments
from rv_check.ops.op import Shape
from rv_check.report import tables
from rv_check.text import shown_shape

SCHEMA = "rv-check/macs/1"
ALL_SCHEMA = "rv-check/macs-of-all/1"
BY = ("stage", "module", "op")
GraphOf = Callable[[bool, int], Graph]  # of a network in train mode or not, at a batch; raw


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "subject", nargs="?", metavar="ARCH|MODULE", help="an arch, or file.py:Name or pkg.mod:Name; none: all archs"
    )
    parser.add_argument("--input", metavar="'C H W'", help="another input size; of a module 3 224 224 unless given")
    parser.add_argument("--kwargs", metavar="JSON", help='arguments of a class or factory, as {"num_classes": 10}')
    parser.add_argument("--by", choices=BY, default="stage", help="what a line of the table is")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--convention", metavar="NAME", help="count as this tool does")
    instead.add_argument("--compare", action="store_true", help="the total of every tool, and why it is that")
    instead.add_argument("--memory", action="store_true", help="bytes of parameters, gradients and activations")
    instead.add_argument(
        "--roofline",
        nargs=2,
        type=float,
        metavar=("FLOP/S", "BYTES/S"),
        help="the least time of each operation on a device of that speed",
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="images, for --memory and --roofline")
    parser.add_argument("--dtype", default="float32", help="of the numbers, for --memory and --roofline")
    parser.add_argument("--optimiser", default="momentum", help="sgd, momentum or adam, for --memory")
    parser.add_argument("--json", action="store_true", help=f"one object, schema {SCHEMA}")


def run(options: argparse.Namespace) -> int:
    """Print what was asked for."""
    convention = counters.convention(options.convention) if options.convention else None
    memory.size_of(options.dtype)
    if options.roofline and min(options.roofline) <= 0:
        raise RvCheckError("--roofline takes two numbers above 0: FLOP/s and bytes/s of a device")
    if options.subject is None:
        return _all_archs(options)
    name, graph_of, params = _subject(options)
    done = counts.operations(graph_of(False, 1))
    if options.json:
        print(json.dumps(as_json(name, done, options, graph_of, params), indent=2))
        return 0
    if options.compare:
        print(compared(name, done))
    elif options.memory:
        print(memory_text(name, _memory(options, graph_of, params), options))
    elif options.roofline:
        print(roofline_text(name, graph_of(False, options.batch), options))
    elif convention:
        print(by_convention(name, done, convention, options.by))
    else:
        print(by_part(name, done, options.by))
    return 0


def _all_archs(options: argparse.Namespace) -> int:
    """Every shipped arch as every counter counts it."""
    if not options.compare or options.input or options.kwargs:
        expected_ = "one of these, or --compare alone for all archs"
        raise RvCheckError("rv-check macs takes an arch or a module", expected=expected_)
    every = [(arch, operations_of(arch)) for arch in archs()]
    rules = counters.conventions().values()
    if options.json:
        totals = {arch.name: {rule.name: rule.total(done) for rule in rules} for arch, done in every}
        print(json.dumps({"schema": ALL_SCHEMA, "totals": totals}, indent=2))
        return 0
    rows = [(arch.name, *(f"{rule.total(done):,}" for rule in rules)) for arch, done in every]
    print(tables.table(("arch", *(rule.name for rule in rules)), rows, "l" + "r" * len(rules)))
    return 0


def _subject(options: argparse.Namespace) -> tuple[str, GraphOf, int]:
    """What it is called, its graphs, and how many parameters it has. Raises: RvCheckError."""
    if not is_module(options.subject, options.kwargs):
        arch = load(options.subject, options.input)
        return (
            arch.name,
            lambda training, batch: ArchNetwork(arch).graph(At(arch.input, batch, training), Form.AS_RUN),
            arch.params,
        )
    x: Shape = parse_size(options.input) if options.input else (3, 224, 224)
    arguments = parse_arguments(options.kwargs)
    with contextlib.redirect_stdout(sys.stderr):  # what the module prints is not ours to pass on
        module = load_module(options.subject, arguments).module
        from rv_check.modules.guard import run_theirs
        from rv_check.modules.observe import Subject

        subject = Subject(module)
        what = f"the module does not run at {shown_shape(x)}"

        def graph_of(training: bool, batch: int) -> Graph:
            return run_theirs(what, lambda: subject.observe(At(x, batch=batch, training=training), Form.AS_RUN))

        graph_of(False, 1)
    return options.subject, graph_of, sum(parameter.numel() for parameter in module.parameters())


# Tables


def by_part(name: str, done: Sequence[Operation], by: str) -> str:
    """Multiply-adds of the forward and of the backward pass, by stage, module or kind of operation."""
    rows = [(key, sum(o.macs for o in some), sum(o.backward for o in some)) for key, some in _grouped(done, by)]
    total, back = sum(o.macs for o in done), sum(o.backward for o in done)
    lines = [
        (key, f"{macs:,}", f"{macs / total:.1%}" if total else "", f"{backward:,}")
        for key, macs, backward in rows
        if macs
    ]
    lines.append(("total", f"{total:,}", "", f"{back:,}"))
    headers = (by, "MACs", "share", "MACs of backward")
    text = tables.table(headers, lines, "lrrr")
    weights, inputs = (sum(getattr(o, which) for o in done) for which in ("weight_gradient", "input_gradient"))
    return (
        f"{name}: {total:,} multiply-adds for one image\n\n{text}\n\n"
        f"backward: {weights:,} for the gradients of weights, {inputs:,} for those of inputs; "
        f"a training step: {total + back:,}"
    )


def _grouped(done: Sequence[Operation], by: str) -> list[tuple[str, list[Operation]]]:
    """The operations by stage (the outermost module), by module, or by kind; in the order of the network."""
    groups: dict[str, list[Operation]] = {}
    for operation in done:
        key = operation.kind if by == "op" else operation.name if by == "module" else operation.name.partition(".")[0]
        groups.setdefault(key or "(the module itself)", []).append(operation)
    return list(groups.items())


def by_convention(name: str, done: Sequence[Operation], convention: Convention, by: str) -> str:
    """What one counter makes of each part."""
    total = convention.total(done)
    rows = [(key, f"{convention.total(some):,}") for key, some in _grouped(done, by) if convention.total(some)]
    rows.append(("total", f"{total:,}"))
    text = tables.table((by, convention.unit), rows, "lr")
    return (
        f"{name} as {convention.name} {convention.version} counts: {total:,}\n\n{text}\n\nsource: {convention.source}"
    )


def compared(name: str, done: Sequence[Operation]) -> str:
    """Every counter's total, and what it is the sum of."""
    macs = sum(operation.macs for operation in done)
    rows = [
        (one.name, one.version, f"{one.total(done):,}", spelled(one, done, macs))
        for one in counters.conventions().values()
    ]
    headers = ("counter", "version", "total", "which is")
    text = tables.table(headers, rows, "llrl")
    others = sorted({operation.kind for operation in done} - held())
    note = f"\n\nnot held to the counters themselves: what they make of {', '.join(others)}" if others else ""
    return f"{name}: {macs:,} multiply-adds (MACs) for one image\n\n{text}{note}"


def spelled(convention: Convention, done: Sequence[Operation], macs: int) -> str:
    """`MACs + 2 x batchnorm out (11,113,984)`: a total in operations."""
    terms = []
    for by, kind, quantity, amount in convention.spelled(done):
        if quantity != "macs":
            terms.append(f"{by} x {kind} {quantity} ({amount:,})" if by != 1 else f"{kind} {quantity} ({amount:,})")
        elif amount == macs:
            terms.insert(0, "MACs" if by == 1 else f"{by} x MACs")
        else:
            terms.insert(0, f"{by} x {amount:,} of the MACs" if by != 1 else f"{amount:,} of the MACs")
    return " + ".join(terms) or "nothing: it sees none of these operations"


def memory_text(name: str, found: memory.Memory, options: argparse.Namespace) -> str:
    """Bytes, a line each."""
    rows = [
        ("parameters", f"{found.parameters:,}"),
        ("gradients", f"{found.gradients:,}"),
        (f"optimiser ({options.optimiser})", f"{found.optimiser:,}"),
        ("activations kept for backward", f"{found.activations:,}"),
        ("a training step, at least", f"{found.training:,}"),
        ("values at once in a forward pass without gradients", f"{found.peak:,}"),
    ]
    text = tables.table(("", "bytes"), rows, "lr")
    return f"{name} in {options.dtype}, batch {options.batch}\n\n{text}"


def _memory(options: argparse.Namespace, graph_of: GraphOf, params: int) -> memory.Memory:
    graphs = graph_of(True, options.batch), graph_of(False, options.batch)
    return memory.memory(*graphs, params, options.dtype, options.optimiser)


def roofline_text(name: str, graph: Graph, options: argparse.Namespace) -> str:
    """The least time of each operation on a device, and which of its two limits decides."""
    rate, bandwidth = options.roofline
    rows, total = [], 0.0
    for cost in roofline.costs(graph, memory.size_of(options.dtype)):
        seconds = cost.seconds(rate, bandwidth)
        total += seconds
        bound = "arithmetic" if cost.intensity > rate / bandwidth else "memory"
        where = (cost.node.name, cost.node.kind)
        rows.append(
            (*where, f"{cost.macs:,}", f"{cost.moved:,}", f"{cost.intensity:.1f}", f"{1e6 * seconds:.1f}", bound)
        )
    headers = ("module", "op", "MACs", "bytes", "FLOP/byte", "us", "bound by")
    text = tables.table(headers, rows, "llrrrrl")
    device = f"in {options.dtype}, batch {options.batch}, on a device of {rate:g} FLOP/s and {bandwidth:g} bytes/s"
    return f"{name} {device}: no less than {1e3 * total:.3f} ms\n\n{text}"


# JSON


def as_json(
    name: str, done: Sequence[Operation], options: argparse.Namespace, graph_of: GraphOf, params: int
) -> dict[str, Any]:
    """For machines: operations and conventions, and bytes where these are asked for."""
    operations = [
        {
            "name": one.name,
            "op": one.kind,
            "asked_by": one.caller,
            "in": one.x,
            "out": one.y,
            **{quantity: one.quantities.get(quantity, 0) for quantity in ("macs", "bias", "params")},
            "weight_gradient_macs": one.weight_gradient,
            "input_gradient_macs": one.input_gradient,
        }
        for one in done
    ]
    conventions = [
        {
            "name": one.name,
            "version": one.version,
            "unit": one.unit,
            "source": one.source,
            "total": one.total(done),
            "terms": [
                {"coefficient": by, "op": kind, "quantity": quantity, "amount": amount}
                for by, kind, quantity, amount in one.spelled(done)
            ],
        }
        for one in counters.conventions().values()
    ]
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "subject": name,
        "macs": sum(one.macs for one in done),
        "backward_macs": sum(one.backward for one in done),
        "params": params,
        "conventions": conventions,
        "operations": operations,
    }
    if options.memory:
        how = {"dtype": options.dtype, "batch": options.batch, "optimiser_name": options.optimiser}
        found["memory"] = {**how, **memory.as_json(_memory(options, graph_of, params))}
    return found
