"""The command `rv-check macs`: what a network costs, and why every counter prints another total.

--json is one object of schema rv-check/macs/1.
With --compare and no network it is one of schema rv-check/macs-of-all/1.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rv_check.archs.arch import Arch
from rv_check.archs.load import archs, load, parse_size
from rv_check.cli import options as shared
from rv_check.cli.console import Answer, Console
from rv_check.cli.options import StepOptions
from rv_check.costs import conventions as counters
from rv_check.costs import memory, roofline
from rv_check.costs import operations as counts
from rv_check.costs.conventions import Convention, held
from rv_check.costs.operations import Operation, operations_of
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph
from rv_check.graphs.network import At, Network
from rv_check.graphs.of_arch import ArchNetwork
from rv_check.modules.named import is_module, load_module, parse_arguments
from rv_check.ops.op import Shape
from rv_check.report import tables

SCHEMA = "rv-check/macs/1"
ALL_SCHEMA = "rv-check/macs-of-all/1"
BY = ("stage", "module", "op")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "subject", nargs="?", metavar="ARCH|MODULE", help=f"{shared.ARCH_OR_MODULE}; none: all archs, with --compare"
    )
    shared.input_size(parser)
    shared.keywords(parser)
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
    shared.step(parser, 1)
    shared.json_of(parser, f"{SCHEMA}; of all archs {ALL_SCHEMA}")


@dataclass(frozen=True)
class Counted:
    """What is counted, as it was named: a network at its input, and how many parameters it has."""

    name: str
    network: Network
    image: Shape
    params: int

    def graph(self, *, training: bool = False, batch: int = 1) -> Graph:
        """What it does, operation by operation. Raises: RvCheckError."""
        return self.network.graph(At(self.image, batch, training), Form.AS_RUN)


def run(options: argparse.Namespace, console: Console) -> Answer:
    """The table that was asked for, of one network or of all archs. Raises: RvCheckError."""
    step = shared.step_of(options)
    convention = counters.convention(options.convention) if options.convention else None
    memory.size_of(step.dtype)
    if options.roofline and min(options.roofline) <= 0:
        raise RvCheckError("--roofline takes two numbers above 0: FLOP/s and bytes/s of a device")
    if options.subject is None:
        if not options.compare or options.input or options.kwargs:
            expected_ = "one of these, or --compare alone for all archs"
            raise RvCheckError("rv-check macs takes an arch or a module", expected=expected_)
        every = [(arch, operations_of(arch)) for arch in archs()]
        return Answer(partial(as_json_of_all, every), partial(compared_of_all, every))
    if is_module(options.subject, options.kwargs):
        network = _of_module(options.subject, options.input, options.kwargs)
    else:
        network = _of_arch(load(options.subject, options.input))
    done = counts.operations(network.graph())
    kept = _kept(network, step) if options.memory else None
    if kept is not None:
        text = partial(memory_text, network.name, step, kept)
    elif options.compare:
        text = partial(compared, network.name, done)
    elif options.roofline:
        text = partial(roofline_text, network, step, *options.roofline)
    elif convention:
        text = partial(by_convention, network.name, done, convention, options.by)
    else:
        text = partial(by_part, network.name, done, options.by)
    return Answer(partial(as_json, network, done, step, kept), text)


def _of_arch(arch: Arch) -> Counted:
    return Counted(arch.name, ArchNetwork(arch), arch.input, arch.params)


def _of_module(name: str, size: str | None, kwargs: str | None) -> Counted:
    """A module as it runs. Raises: RvCheckError where it is none."""
    module = load_module(name, parse_arguments(kwargs)).module
    from rv_check.modules.network import ModuleNetwork
    from rv_check.modules.observe import Subject

    x: Shape = parse_size(size, of_module=True) if size is not None else (3, 224, 224)
    params = sum(parameter.numel() for parameter in module.parameters())
    return Counted(name, ModuleNetwork(Subject(module)), x, params)


def _kept(network: Counted, step: StepOptions) -> memory.Memory:
    graphs = network.graph(training=True, batch=step.batch), network.graph(batch=step.batch)
    return memory.memory(*graphs, network.params, step.dtype, step.optimiser)


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


def compared_of_all(every: Sequence[tuple[Arch, Sequence[Operation]]]) -> str:
    """Every shipped arch as every counter counts it."""
    rules = counters.conventions().values()
    rows = [(arch.name, *(f"{rule.total(done):,}" for rule in rules)) for arch, done in every]
    return tables.table(("arch", *(rule.name for rule in rules)), rows, "l" + "r" * len(rules))


def memory_text(name: str, step: StepOptions, found: memory.Memory) -> str:
    """Bytes, a line each."""
    rows = [
        ("parameters", f"{found.parameters:,}"),
        ("gradients", f"{found.gradients:,}"),
        (f"optimiser ({step.optimiser})", f"{found.optimiser:,}"),
        ("activations kept for backward", f"{found.activations:,}"),
        ("a training step, at least", f"{found.training:,}"),
        ("values at once in a forward pass without gradients", f"{found.peak:,}"),
    ]
    text = tables.table(("", "bytes"), rows, "lr")
    return f"{name} in {step.dtype}, batch {step.batch}\n\n{text}"


def roofline_text(network: Counted, step: StepOptions, rate: float, bandwidth: float) -> str:
    """The least time of each operation on a device, and which of its two limits decides."""
    rows, total = [], 0.0
    for cost in roofline.costs(network.graph(batch=step.batch), memory.size_of(step.dtype)):
        seconds = cost.seconds(rate, bandwidth)
        total += seconds
        bound = "arithmetic" if cost.intensity > rate / bandwidth else "memory"
        where = (cost.node.name, cost.node.kind)
        rows.append(
            (*where, f"{cost.macs:,}", f"{cost.moved:,}", f"{cost.intensity:.1f}", f"{1e6 * seconds:.1f}", bound)
        )
    headers = ("module", "op", "MACs", "bytes", "FLOP/byte", "us", "bound by")
    text = tables.table(headers, rows, "llrrrrl")
    device = f"in {step.dtype}, batch {step.batch}, on a device of {rate:g} FLOP/s and {bandwidth:g} bytes/s"
    return f"{network.name} {device}: no less than {1e3 * total:.3f} ms\n\n{text}"


# JSON


def as_json_of_all(every: Sequence[tuple[Arch, Sequence[Operation]]]) -> dict[str, Any]:
    """The object of schema rv-check/macs-of-all/1: the total of every counter, by arch and counter."""
    rules = counters.conventions().values()
    return {
        "schema": ALL_SCHEMA,
        "totals": {arch.name: {rule.name: rule.total(done) for rule in rules} for arch, done in every},
    }


def as_json(
    network: Counted, done: Sequence[Operation], step: StepOptions, kept: memory.Memory | None
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
        "subject": network.name,
        "macs": sum(one.macs for one in done),
        "backward_macs": sum(one.backward for one in done),
        "params": network.params,
        "conventions": conventions,
        "operations": operations,
    }
    if kept is not None:
        how = {"dtype": step.dtype, "batch": step.batch, "optimiser_name": step.optimiser}
        found["memory"] = {**how, **memory.as_json(kept)}
    return found
