"""`rv-check receptive-field`: what units see, by formula, measured, and effectively."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from rv_check.archs.arch import Arch
from rv_check.archs.load import load
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.cli import options as shared
from rv_check.cli.console import DID_NOT_HOLD, HELD, Answer, Console
from rv_check.errors import RvCheckError
from rv_check.graphs.graph import Graph
from rv_check.modules.named import is_module, load_module, parse_arguments
from rv_check.receptive_fields import formula, inputs, pictures
from rv_check.receptive_fields import measured as measured_fields
from rv_check.receptive_fields import published as published_fields
from rv_check.receptive_fields.formula import FieldLine
from rv_check.receptive_fields.measured import MeasuredField
from rv_check.report import layers, tables
from rv_check.report.asked import asked_module
from rv_check.report.fields import FieldColumn, NetworkFields, lines_of_arch, lines_of_graph, number
from rv_check.text import quote

if TYPE_CHECKING:
    from torch import nn

    from rv_check.receptive_fields.effective import Effective

SCHEMA = "rv-check/receptive-field/1"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("subject", nargs="?", metavar="ARCH|MODULE", help=shared.ARCH_OR_MODULE)
    shared.input_size(parser)
    parser.add_argument("--step", metavar="STEP", help="only this step, or part of the module")
    words = "all parts N names deep; one line a stage if not"
    parser.add_argument("--depth", type=shared.positive, metavar="N", help=words)
    parser.add_argument("--measure", action="store_true", help="also by gradients, of the built model or the module")
    parser.add_argument("--effective", action="store_true", help="also the effective receptive field")
    words = "networks for that, 8 unless given"
    parser.add_argument("--runs", type=shared.positive, default=8, metavar="N", help=words)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first of them, 0 unless given")
    parser.add_argument(
        "--statistics",
        choices=("frozen", "batch"),
        default="frozen",
        help="of its batch norms: those of the images as constants, or as in training",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="a picture of the effective field: .png or .svg")
    parser.add_argument("--fits", type=shared.positive, metavar="SIZE", help="which stage fits an input of that size")
    parser.add_argument(
        "--compare-published", action="store_true", help=f"against the table of {published_fields.PUBLISHER}"
    )
    shared.keywords(parser)
    shared.json_of(parser, SCHEMA)


@dataclass(frozen=True)
class Runs:
    """The networks of which an effective field is the mean."""

    number: int
    seed: int
    statistics: Literal["frozen", "batch"]  # the statistics of batch norms

    def __str__(self) -> str:
        how = "frozen batch statistics" if self.statistics == "frozen" else "batch statistics as in training"
        runs = "1 run" if self.number == 1 else f"{self.number} runs"
        return f"{runs} of 2 images, seed {self.seed}, {how}"


@dataclass(frozen=True)
class AnswerPart:
    """What is told of one thing that was asked: keys of the object, and lines of the text."""

    data: Mapping[str, Any] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    holds: bool = True


def run(options: argparse.Namespace, console: Console) -> Answer:
    """The table, and what else was asked for. The status is 1 where a measured field is another.

    Raises: RvCheckError.
    """
    name = options.subject
    if name is None and not options.compare_published:
        raise RvCheckError("of which network?", expected="ARCH or MODULE, or --compare-published alone")
    picture = pictures.check_picture(options.output) if options.output else None
    published = _published(name) if options.compare_published else []
    parts = []
    if name is not None:
        network = _network(name, options.input, options.kwargs)
        lines = tuple(network.lines(options.depth, options.step))
        found = NetworkFields(name, network.input, lines, network.inferred)
        measured = network.measured(lines) if options.measure else [None] * len(lines)
        runs = Runs(options.runs, options.seed, options.statistics) if options.effective or picture else None
        effective = _effective(network, lines, runs) if runs is not None else []
        if picture is not None:
            pictures.draw(effective, picture, f"{name}: effective receptive field, {runs}")
        parts.append(_table(found, measured, effective, runs))
        if picture is not None:
            parts.append(AnswerPart(lines=(f"the picture is in {picture}",)))
        if options.fits:
            parts.append(_fits(network, options.fits))
    if published:
        parts.append(_compared(published, first=not parts))
    status = HELD if all(part.holds for part in parts) else DID_NOT_HOLD
    return Answer(partial(as_json, parts), partial(text, parts), status)


def as_json(parts: Sequence[AnswerPart]) -> dict[str, Any]:
    """The object of schema rv-check/receptive-field/1."""
    return {"schema": SCHEMA, **{key: value for part in parts for key, value in part.data.items()}}


def text(parts: Sequence[AnswerPart]) -> str:
    """One part below the other."""
    return "\n".join(line for part in parts for line in part.lines)


# What is asked of one network


def _table(
    found: NetworkFields, measured: Sequence[MeasuredField | None], effective: Sequence[Effective], runs: Runs | None
) -> AnswerPart:
    """A line a step, by formula and by all else that was asked for."""
    by_step = {one.step: one for one in effective}
    of_lines = [by_step.get(line.name) for line in found.lines]
    columns = []
    if any(measured):
        words = [_measured_words(line, one) for line, one in zip(found.lines, measured, strict=True)]
        columns.append(FieldColumn("measured", words))
    if by_step:
        columns.append(FieldColumn("effective", [f"{one.width:.1f}" if one else "" for one in of_lines]))
        columns.append(FieldColumn("share", [f"{one.share:.0%}" if one else "" for one in of_lines]))
        columns.append(FieldColumn("deviation", [f"{one.deviation:.1f}" if one else "" for one in of_lines]))
    cut = "beyond the image, which cuts the effective one off"
    told = [found.table(columns, [cut if one and one.is_cut else "" for one in of_lines])]
    if by_step:
        what = "effective (Luo et al. 2016): pixels a side with more than 4.55 % of the largest mean |gradient|"
        told.append(f"\n{what}; {runs}")
    steps = [_line_json(line, m, e) for line, m, e in zip(found.lines, measured, of_lines, strict=True)]
    holds = all(m.agrees(line.field) for line, m in zip(found.lines, measured, strict=True) if m)
    return AnswerPart({"subject": found.name, "input": list(found.input), "steps": steps}, tuple(told), holds)


def _effective(network: _FieldNetwork, lines: Sequence[FieldLine], runs: Runs) -> list[Effective]:
    """The effective fields of the steps that give a map. Raises: RvCheckError where none does."""
    from rv_check.receptive_fields.effective import effective_fields

    chosen = network.parts([line for line in lines if not line.field.collapsed])
    if not chosen:
        raise RvCheckError("none of these steps gives a map", expected="a step before the pool to a fixed size")
    return effective_fields(network.make, chosen, network.input, runs.number, 2, runs.seed, runs.statistics)


def _fits(network: _FieldNetwork, size: int) -> AnswerPart:
    """The stage that fits an input of that size, and the smallest input that the network takes."""
    within, beyond = inputs.fits(network.lines(None), size)
    data: dict[str, Any] = {"fits": {"size": size, "step": within and within.name, "next": beyond and beyond.name}}
    words = f"no stage fits an input of {size}"
    if within is not None:
        words = f"the largest stage that fits an input of {size}: {within.name}, {number(within.field.size)}"
    lines = [f"\n{words}" + (f"; {beyond.name} has {number(beyond.field.size)}" if beyond else "")]
    smallest = network.smallest()
    if smallest is not None:
        data["smallest_input"] = {"size": smallest.size, "below": smallest.below}
        why = f"; at {smallest.size - 1}: {smallest.below}" if smallest.below else ""
        lines.append(f"the smallest input that it takes: {smallest.size} x {smallest.size}{why}")
    return AnswerPart(data, tuple(lines))


# What is published


def _published(subject: str | None) -> list[published_fields.Against]:
    """What is published of that network, or of all. Raises: RvCheckError where nothing is."""
    found = published_fields.compare_published()
    networks = {one.network for one in found if subject in (None, one.arch, one.network)}
    if not networks:
        known = ", ".join(dict.fromkeys(one.arch for one in found))
        raise RvCheckError(f"nothing is published of {quote(str(subject))} there", expected=f"one of {known}")
    return [one for one in found if one.network in networks]


def _compared(found: Sequence[published_fields.Against], first: bool) -> AnswerPart:
    """The published table beside ours. `first`: nothing stands above it."""
    data = [
        {"network": f.network, "published": f.published, "source": f.source, "arch": f.arch, "what": f.what}
        | {"size": f.field.size, "stride": f.field.stride, "padding": f.field.padding, "same": f.is_same}
        for f in found
    ]
    rows = [(f.network, f.published, f.arch, f.what, str(f.field), "same" if f.is_same else _differs(f)) for f in found]
    headers = ("network", "published", "ours", "", "size/stride/padding", "")
    lines = [*([] if first else [""]), f"published by {published_fields.PUBLISHER}"]
    lines.append(tables.table(headers, rows, "llllll"))
    if any(f.network.startswith("resnet") for f in found):
        lines += ["", published_fields.WHY]
    return AnswerPart({"published": data}, tuple(lines))


# Networks


def _network(name: str, size: str | None, kwargs: str | None) -> _FieldNetwork:
    """An arch, or a module that is run once. Raises: RvCheckError."""
    if not is_module(name, kwargs):
        return _OfArch(load(name, size))
    return _OfModule(name, size, parse_arguments(kwargs))


class _OfArch:
    """An arch: its table is static, torch comes with the rest."""

    def __init__(self, arch: Arch):
        self.arch, self.input, self.inferred = arch, arch.input, ""

    def lines(self, depth: int | None, step: str | None = None) -> list[FieldLine]:
        return lines_of_arch(self.arch, depth, step)

    def measured(self, lines: Sequence[FieldLine]) -> list[MeasuredField | None]:
        found = {step: measured for step, _, measured in measured_fields.compare_lines(self.arch, lines)}
        return [found.get(line.name) for line in lines]

    def parts(self, lines: Sequence[FieldLine]) -> dict[str, ReceptiveField]:
        return {line.name: line.field for line in lines if self.arch.step(line.name) is not None}

    def make(self) -> nn.Module:
        from rv_check.modules.build import build

        return build(self.arch)

    def smallest(self) -> inputs.Smallest | None:
        return inputs.smallest_input(self.arch)


class _OfModule:
    """A module: all of it comes from its op graph."""

    def __init__(self, name: str, input: str | None, arguments: Mapping[str, Any]):
        self.name, self.arguments = name, arguments
        candidate = load_module(name, arguments)
        self.module, self.fresh = candidate.module, candidate.fresh
        asked = asked_module(self.module, candidate.input(input))
        self.input, self.inferred = asked.size, asked.inferred
        self.graph: Graph = measured_fields.observed(asked.subject, asked.size)

    def lines(self, depth: int | None, step: str | None = None) -> list[FieldLine]:
        return lines_of_graph(self.graph, depth, step)

    def measured(self, lines: Sequence[FieldLine]) -> list[MeasuredField | None]:
        return measured_fields.measured_lines(self.graph, lines)

    def parts(self, lines: Sequence[FieldLine]) -> dict[str, ReceptiveField]:
        known, parts = formula.ends(self.graph), dict(self.module.named_modules())
        return {ln.name: ln.field for ln in lines if ln.name in parts and known.get(ln.name) is ln.node}

    def make(self) -> nn.Module:
        from rv_check.modules.copies import copy_of

        if self.fresh:
            return load_module(self.name, self.arguments).module
        return copy_of(self.module)

    def smallest(self) -> None:
        return None  # a module would have to be run at every size


_FieldNetwork = _OfArch | _OfModule


# Words


def _measured_words(line: FieldLine, measured: MeasuredField | None) -> str:
    if measured is None:
        return ""
    if measured.agrees(line.field):
        return "same"
    return f"{measured.field.in_full}, DIFFERENT"


def _differs(one: published_fields.Against) -> str:
    printed = one.published.split("/")
    ours = str(one.field).split("/")
    names = ("size", "stride", "padding")
    return "another " + " and ".join(name for name, a, b in zip(names, printed, ours, strict=True) if a != b)


def _field_json(field: ReceptiveField) -> dict[str, Any]:
    return {**layers.field_json(field), "centre": field.centre}


def _line_json(line: FieldLine, m: MeasuredField | None, e: Effective | None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": line.name, "op": line.op, "out": list(line.out), **_field_json(line.field)}
    found["branches"] = {label: _field_json(field) for label, field in line.branches}
    if m is not None:
        shown = layers.field_json(m.field)
        found["measured"] = {name: shown[name] for name in ("size", "stride", "padding", "phases") if name in shown}
        found["measured"] |= {"image": list(m.image), "pixels": m.pixels, "agrees": m.agrees(line.field)}
    if e is not None:
        found["effective"] = {"width": e.width, "deviation": e.deviation, "share": e.share, "cut": e.is_cut}
        found["effective"] |= {
            "width_of_squares": e.width_of_squares,
            "deviation_of_squares": e.deviation_of_squares,
            "unit": list(e.unit),
        }
    return found
