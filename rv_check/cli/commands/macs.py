"""The command `rv-check macs`: what a network costs, and why every counter prints another total.

--json is one object of schema rv-check/macs/1.
With --compare and no network it is one of schema rv-check/macs-of-all/1.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

from rv_check.archs.arch import Arch
from rv_check.archs.load import archs, load
from rv_check.cli import options as shared
from rv_check.cli.console import DID_NOT_HOLD, HELD, Answer, Console
from rv_check.cli.options import StepOptions
from rv_check.costs import conventions as counters
from rv_check.costs import memory, roofline
from rv_check.costs.conventions import Convention, held
from rv_check.costs.counted import Counted, with_numbers
from rv_check.costs.operations import Operation, operations_of
from rv_check.costs.own_rules import NONE, own_rules
from rv_check.costs.roofline import OperationCost
from rv_check.errors import RvCheckError
from rv_check.modules.named import is_module, load_module, parse_arguments
from rv_check.report import tables
from rv_check.report.costs import (
    CostedNetwork,
    Line,
    NetworkMacs,
    NetworkMemory,
    grouped,
    least_of,
    network_of,
    note_of_image,
)
from rv_check.text import quote

SCHEMA = "rv-check/macs/1"
ALL_SCHEMA = "rv-check/macs-of-all/1"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "subject", nargs="?", metavar="ARCH|MODULE", help=f"{shared.ARCH_OR_MODULE}; none: all archs, with --compare"
    )
    shared.input_size(parser)
    shared.keywords(parser)
    parser.add_argument("--by", choices=get_args(Line), default="stage", help="what a line of the table is")
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
    words = "this operation, which no rule counts, costs nothing (may be repeated)"
    parser.add_argument("--ignore", action="append", default=[], metavar="OP", help=words)
    words = "what such an operation multiplies, by its shapes, as 'mylib::op = y[1] * x[1]' (may be repeated)"
    parser.add_argument("--rule", action="append", default=[], metavar="'OP = EXPRESSION'", help=words)
    shared.step(parser, 1)
    shared.json_of(parser, f"{SCHEMA}; of all archs {ALL_SCHEMA}")


def run(options: argparse.Namespace, console: Console) -> Answer:
    """The table that was asked for, of one network or of all archs; 1 where some operations of it are not counted.

    Raises: RvCheckError.
    """
    step = shared.step_of(options)
    convention = counters.convention(options.convention) if options.convention else None
    size = memory.size_of(step.dtype)
    own = own_rules(_rules(options.rule), options.ignore)
    if options.roofline and min(options.roofline) <= 0:
        raise RvCheckError("--roofline takes two numbers above 0: FLOP/s and bytes/s of a device")
    if options.subject is None:
        if not options.compare or options.input or options.kwargs or own != NONE:
            expected_ = "one of these, or --compare alone for all archs"
            raise RvCheckError("rv-check macs takes an arch or a module", expected=expected_)
        every = [(arch, operations_of(arch)) for arch in archs()]
        return Answer(partial(as_json_of_all, every), partial(compared_of_all, every))
    network = _network(options.subject, options.input, options.kwargs)
    graphs = [network.graph()]
    if options.memory:
        graphs += [network.graph(training=True, batch=step.batch), network.graph(batch=step.batch)]
    own.see_that_they_occur(*graphs)
    found = network.macs(graphs[0], own)
    kept = None
    if options.memory:
        kept = network.memory(graphs[1], graphs[2], own, step.batch, step.dtype, step.optimiser)
        text = partial(str, kept)
    elif options.compare:
        text = partial(compared, found)
    elif options.roofline:
        costs = roofline.costs(network.graph(batch=step.batch), size, own)
        text = partial(roofline_text, found, costs, step, *options.roofline)
    elif convention:
        text = partial(by_convention, found, convention, options.by)
    else:
        text = partial(found.table, options.by)
    is_whole = kept.is_whole if kept is not None else found.is_whole
    return Answer(partial(as_json, found, kept), text, HELD if is_whole else DID_NOT_HOLD)


def _network(name: str, size: str | None, kwargs: str | None) -> CostedNetwork:
    """An arch, or a module as it runs. Raises: RvCheckError where it is neither."""
    if not is_module(name, kwargs):
        return network_of(load(name, size))
    candidate = load_module(name, parse_arguments(kwargs))
    return network_of(candidate.module, candidate.input(size), name)


def _rules(given: Sequence[str]) -> dict[str, str]:
    """The expressions of --rule by kind of operation. Raises: RvCheckError."""
    found: dict[str, str] = {}
    for text in given:
        kind, equals, rule = (part.strip() for part in text.partition("="))
        if not kind or not equals:
            raise RvCheckError(f"--rule is {quote(text)}", expected="OP = EXPRESSION, as in 'mylib::op = y[1] * y[2]'")
        if kind in found:
            raise RvCheckError(f"--rule is given twice for {quote(kind)}", expected="one of them")
        found[kind] = rule
    return found


# Tables


def by_convention(found: NetworkMacs, convention: Convention, by: Line) -> str:
    """What one counter makes of each part."""
    done = found.counted.at_least
    total = convention.total(done)
    rows = [(key, f"{convention.total(some):,}") for key, some in grouped(done, by) if convention.total(some)]
    rows.append(("total", f"{total:,}"))
    lines = [
        f"{found.name} as {convention.name} {convention.version} counts: {total:,}",
        "",
        tables.table((by, convention.unit), rows, "lr"),
        "",
        f"source: {convention.source}",
        *note_of_image(found.by_image),
        *_left_out(found),
    ]
    return "\n".join(lines)


def compared(found: NetworkMacs) -> str:
    """Every counter's total, and what it is the sum of."""
    done = found.counted.at_least
    rows = [
        (one.name, one.version, f"{one.total(done):,}", spelled(one, done, found.at_least))
        for one in counters.conventions().values()
    ]
    lines = [
        f"{found.name}: {least_of(found.counted)}{found.at_least:,} multiply-adds (MACs) for one image",
        "",
        tables.table(("counter", "version", "total", "which is"), rows, "llrl"),
        *note_of_image(found.by_image),
    ]
    others = sorted({operation.kind for operation in done} - held() - set(_without(found)))
    lines += ["", f"not held to the counters themselves: what they make of {', '.join(others)}"] if others else []
    return "\n".join([*lines, *_left_out(found)])


def _without(found: NetworkMacs) -> list[str]:
    """The kinds of operation of which no convention says anything, since no row here does."""
    return list(dict.fromkeys([*found.rules, *found.counted.ignored, *(one.kind for one in found.uncounted)]))


def _left_out(found: NetworkMacs) -> list[str]:
    """What the totals of counters leave out, and why."""
    kinds = _without(found)
    if not kinds:
        return found.notes()
    return ["", f"left out of what counters count: {', '.join(kinds)}", *found.notes()]


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


def roofline_text(
    found: NetworkMacs, costs: Sequence[OperationCost], step: StepOptions, rate: float, bandwidth: float
) -> str:
    """The least time of each operation on a device, and which of its two limits decides."""
    rows, total = [], 0.0
    for cost in costs:
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
    told = [*(["", found.inferred] if found.inferred else []), *note_of_image(found.by_image)]
    notes = "".join(f"\n{line}" for line in told)
    return f"{found.name} {device}: no less than {1e3 * total:.3f} ms\n\n{text}{notes}"


# JSON


def as_json_of_all(every: Sequence[tuple[Arch, Sequence[Operation]]]) -> dict[str, Any]:
    """The object of schema rv-check/macs-of-all/1: the total of every counter, by arch and counter."""
    rules = counters.conventions().values()
    return {
        "schema": ALL_SCHEMA,
        "totals": {arch.name: {rule.name: rule.total(done) for rule in rules} for arch, done in every},
    }


def as_json(found: NetworkMacs, kept: NetworkMemory | None) -> dict[str, Any]:
    """For machines: operations and conventions, and bytes where these are asked for."""
    done, trained = found.counted.at_least, found.training.at_least
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
            "again_macs": one.again,
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
    said: dict[str, Any] = {
        "schema": SCHEMA,
        "subject": found.name,
        "macs": found.at_least,
        "backward_macs": sum(one.backward for one in trained),
        "training_macs": sum(one.macs for one in trained),
        **_wholeness(found.counted),
        "by_image": [str(place) for place in found.by_image],
        "rules": dict(found.rules),
        "params": found.params,
        "conventions": conventions,
        "operations": operations,
    }
    if kept is not None:
        how = {"dtype": kept.dtype, "batch": kept.batch, "optimiser_name": kept.optimiser}
        said["memory"] = {**how, **memory.as_json(kept.at_least), **_wholeness(kept.counted)}
        said["memory"]["by_image"] = [str(place) for place in kept.by_image]
    return said


def _wholeness(counted: Counted[Any]) -> dict[str, Any]:
    """Whether that is all, and what is not counted."""
    uncounted = [
        {
            "op": one.kind,
            "name": one.name,
            "place": str(one.place) if one.place else None,
            "in": [list(x) for x in one.x],
            "out": list(one.y),
            "count": number,
        }
        for one, number in with_numbers(counted.uncounted)
    ]
    return {"whole": counted.is_whole, "uncounted": uncounted, "ignored": dict(counted.ignored)}
