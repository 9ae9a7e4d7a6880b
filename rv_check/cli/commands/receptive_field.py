"""`rv-check receptive-field`: what units see, by formula, measured, and effectively."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rv_check.archs.arch import Arch
from rv_check.archs.load import load, parse_size
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.cli.common import positive
from rv_check.errors import RvCheckError
from rv_check.graphs.graph import Graph
from rv_check.modules.named import is_module, load_module, parse_arguments
from rv_check.ops.op import Shape
from rv_check.receptive_fields import formula, inputs, pictures
from rv_check.receptive_fields import measured as measured_fields
from rv_check.receptive_fields import published as published_fields
from rv_check.receptive_fields.formula import Line
from rv_check.receptive_fields.measured import Measured
from rv_check.report import layers, tables
from rv_check.text import quote, shown_shape

if TYPE_CHECKING:
    from torch import nn

    from rv_check.receptive_fields.effective import Effective

SCHEMA = "rv-check/receptive-field/1"
HELD, DID_NOT_HOLD = 0, 1
PHASES = (
    "the largest of: behind an upsampling neighbouring units differ. These are size/stride/padding of every p-th unit\n"
    "from unit 0 on, from unit 1 on, and so forth; the columns are those of the largest one, with the mean stride"
)
GLOBAL = "global: a unit sees the whole input, by a gate or a pool; the numbers are those of the convolutional path"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("subject", nargs="?", metavar="ARCH|MODULE", help="an arch, or a module: file.py:Name")
    parser.add_argument("--input", metavar="'C H W'", help="the input; that of the arch, or 3 224 224, unless given")
    parser.add_argument("--step", metavar="STEP", help="only this step, or part of the module")
    parser.add_argument("--depth", type=positive, metavar="N", help="all parts N names deep; one line a stage if not")
    parser.add_argument("--measure", action="store_true", help="also by gradients, of the built model or the module")
    parser.add_argument("--effective", action="store_true", help="also the effective receptive field")
    parser.add_argument("--runs", type=positive, default=8, metavar="N", help="networks for that, 8 unless given")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first of them, 0 unless given")
    parser.add_argument(
        "--statistics",
        choices=("frozen", "batch"),
        default="frozen",
        help="of its batch norms: those of the images as constants, or as in training",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="a picture of the effective field: .png or .svg")
    parser.add_argument("--fits", type=positive, metavar="SIZE", help="which stage fits an input of that size")
    parser.add_argument(
        "--compare-published", action="store_true", help=f"against the table of {published_fields.PUBLISHER}"
    )
    parser.add_argument("--kwargs", metavar="JSON", help="arguments of a class or factory")
    parser.add_argument("--json", action="store_true", help=f"one object, schema {SCHEMA}")


def run(options: argparse.Namespace) -> int:
    """The table, and what else was asked for."""
    if options.subject is None and not options.compare_published:
        raise RvCheckError("of which network?", expected="ARCH or MODULE, or --compare-published alone")
    picture = pictures.check_picture(options.output) if options.output else None
    answer = _Answer(options, picture)
    published = _published(options.subject) if options.compare_published else []
    if options.subject is not None:
        answer.of_subject()
    if published:
        answer.published(published)
    answer.show()
    return HELD if answer.holds else DID_NOT_HOLD


class _Answer:
    """What is asked of one network, gathered before it is printed."""

    def __init__(self, options: argparse.Namespace, picture: Path | None):
        self.options, self.picture = options, picture
        self.json: dict[str, Any] = {"schema": SCHEMA}
        self.text: list[str] = []
        self.holds = True

    def of_subject(self) -> None:
        """The table of an arch or a module."""
        options = self.options
        network: _Network = _OfModule(options) if is_module(options.subject, options.kwargs) else _OfArch(options)
        lines = network.step(options.step) if options.step else network.lines(options.depth)
        if not lines:
            raise RvCheckError(f"{options.subject} has no step at which everything meets", expected="--depth N")
        measured = network.measured(lines) if options.measure else [None] * len(lines)
        effective = {e.step: e for e in self._effective(network, lines)} if options.effective or self.picture else {}
        self.holds = all(m.agrees(line.field) for line, m in zip(lines, measured, strict=True) if m)
        self.json |= {"subject": options.subject, "input": list(network.input)}
        self.json["steps"] = [
            _line_json(line, m, effective.get(line.name)) for line, m in zip(lines, measured, strict=True)
        ]
        self.text.append(f"{options.subject}  input {shown_shape(network.input)}  (pixels; pixel 0 is at 0)")
        self.text.append(_table(lines, measured, effective))
        if any(line.field.is_global for line in lines):
            self.text.append(f"\n{GLOBAL}")
        if any(line.field.kinds > 1 for line in lines):
            self.text.append(f"\n{PHASES}")
        if effective:
            self.text.append("\n" + _effective_words(options))
        if self.picture:
            self.text.append(f"the picture is in {self.picture}")
        if options.fits:
            self._fits(network)

    def _effective(self, network: _Network, lines: Sequence[Line]) -> list[Effective]:
        from rv_check.receptive_fields.effective import effective_fields
        from rv_check.receptive_fields.pictures import draw

        options = self.options
        chosen = network.parts([line for line in lines if not line.field.collapsed])
        if not chosen:
            raise RvCheckError("none of these steps gives a map", expected="a step before the pool to a fixed size")
        with contextlib.redirect_stdout(sys.stderr):
            found = effective_fields(
                network.make, chosen, network.input, options.runs, 2, options.seed, options.statistics
            )
        if self.picture:
            draw(found, self.picture, f"{options.subject}: effective receptive field, {_runs(options)}")
        return found

    def _fits(self, network: _Network) -> None:
        size = self.options.fits
        within, beyond = inputs.fits(network.lines(None), size)
        self.json["fits"] = {"size": size, "step": within and within.name, "next": beyond and beyond.name}
        words = f"no stage fits an input of {size}"
        if within is not None:
            words = f"the largest stage that fits an input of {size}: {within.name}, {_number(within.field.size)}"
        self.text.append(f"\n{words}" + (f"; {beyond.name} has {_number(beyond.field.size)}" if beyond else ""))
        smallest = network.smallest()
        if smallest is not None:
            self.json["smallest_input"] = {"size": smallest.size, "below": smallest.below}
            why = f"; at {smallest.size - 1}: {smallest.below}" if smallest.below else ""
            self.text.append(f"the smallest input that it takes: {smallest.size} x {smallest.size}{why}")

    def published(self, found: Sequence[published_fields.Against]) -> None:
        """The published table."""
        self.json["published"] = [
            {"network": f.network, "published": f.published, "source": f.source, "arch": f.arch, "what": f.what}
            | {"size": f.field.size, "stride": f.field.stride, "padding": f.field.padding, "same": f.is_same}
            for f in found
        ]
        rows = [
            (f.network, f.published, f.arch, f.what, str(f.field), "same" if f.is_same else _differs(f)) for f in found
        ]
        headers = ("network", "published", "ours", "", "size/stride/padding", "")
        self.text += (
            ["", f"published by {published_fields.PUBLISHER}"]
            if self.text
            else [f"published by {published_fields.PUBLISHER}"]
        )
        self.text.append(tables.table(headers, rows, "llllll"))
        if any(f.network.startswith("resnet") for f in found):
            self.text += ["", published_fields.WHY]

    def show(self) -> None:
        """Print it."""
        print(json.dumps(self.json, indent=2) if self.options.json else "\n".join(self.text))


def _published(subject: str | None) -> list[published_fields.Against]:
    """What is published of that network, or of all. Raises: RvCheckError where nothing is."""
    found = published_fields.compare_published()
    networks = {one.network for one in found if subject in (None, one.arch, one.network)}
    if not networks:
        known = ", ".join(dict.fromkeys(one.arch for one in found))
        raise RvCheckError(f"nothing is published of {quote(str(subject))} there", expected=f"one of {known}")
    return [one for one in found if one.network in networks]


class _OfArch:
    """An arch: its table is static, torch comes with the rest."""

    def __init__(self, options: argparse.Namespace):
        self.arch: Arch = load(options.subject, options.input)
        self.input: Shape = self.arch.input

    def lines(self, depth: int | None) -> list[Line]:
        return formula.arch_lines(self.arch, depth)

    def step(self, name: str) -> list[Line]:
        return [formula.arch_line(self.arch, name)]

    def measured(self, lines: Sequence[Line]) -> list[Measured | None]:
        found = {step: measured for step, _, measured in measured_fields.compare_lines(self.arch, lines)}
        return [found.get(line.name) for line in lines]

    def parts(self, lines: Sequence[Line]) -> dict[str, ReceptiveField]:
        return {line.name: line.field for line in lines if self.arch.step(line.name) is not None}

    def make(self) -> nn.Module:
        from rv_check.modules.build import build

        return build(self.arch)

    def smallest(self) -> inputs.Smallest | None:
        return inputs.smallest_input(self.arch)


class _OfModule:
    """A module: all of it comes from its op graph."""

    def __init__(self, options: argparse.Namespace):
        self.name, self.input = options.subject, parse_size(options.input) if options.input else (3, 224, 224)
        self.arguments = parse_arguments(options.kwargs)
        with contextlib.redirect_stdout(sys.stderr):  # what the module prints is not ours to pass on
            from rv_check.modules.observe import Subject

            candidate = load_module(self.name, self.arguments)
            self.module, self.fresh = candidate.module, candidate.fresh
            self.graph: Graph = measured_fields.observed(Subject(self.module), self.input)

    def lines(self, depth: int | None) -> list[Line]:
        return formula.graph_lines(self.graph, depth)

    def step(self, name: str) -> list[Line]:
        node = formula.node_of(self.graph, name)
        return [Line(name, "part", node.shape[1:], formula.graph_field(self.graph, node), node=node)]

    def measured(self, lines: Sequence[Line]) -> list[Measured | None]:
        return measured_fields.measured_lines(self.graph, lines)

    def parts(self, lines: Sequence[Line]) -> dict[str, ReceptiveField]:
        known, parts = formula.ends(self.graph), dict(self.module.named_modules())
        return {ln.name: ln.field for ln in lines if ln.name in parts and known.get(ln.name) is ln.node}

    def make(self) -> nn.Module:
        from rv_check.modules.copies import copy_of

        if self.fresh:
            return load_module(self.name, self.arguments).module
        return copy_of(self.module)

    def smallest(self) -> None:
        return None  # a module would have to be run at every size


_Network = _OfArch | _OfModule


# Words


def _number(value: float | tuple[float, float]) -> str:
    return f"{value[0]:g} x {value[1]:g}" if isinstance(value, tuple) else f"{value:g}"


def _table(lines: Sequence[Line], measured: Sequence[Measured | None], effective: dict[str, Effective]) -> str:
    headers = ["name", "op", "out", "size", "stride", "padding", "centre"]
    headers += ["measured"] if any(measured) else []
    headers += ["effective", "share", "deviation"] if effective else []
    rows = []
    for line, found in zip(lines, measured, strict=True):
        f = line.field
        row = [line.name, line.op, shown_shape(line.out)]
        row += [_number(value) for value in (f.size, f.stride, f.padding, f.centre)]
        if any(measured):
            row.append(_measured_words(line, found))
        if effective:
            one = effective.get(line.name)
            row += [f"{one.width:.1f}", f"{one.share:.0%}", f"{one.deviation:.1f}"] if one else ["", "", ""]
        rows.append([*row, _notes(line, effective.get(line.name))])
    align = "lll" + "r" * (len(headers) - 3) + "l"
    return "\n".join(map(str.rstrip, tables.table([*headers, "notes"], rows, align).splitlines()))


def _measured_words(line: Line, measured: Measured | None) -> str:
    if measured is None:
        return ""
    if measured.agrees(line.field):
        return "same"
    return f"{measured.field.in_full}, DIFFERENT"


def _notes(line: Line, effective: Effective | None = None) -> str:
    notes = ["global"] if line.field.is_global else []
    notes += [] if line.field.aligned else ["paths not aligned"]
    notes += [line.field.by_phase] if line.field.by_phase else []
    notes += [", ".join(f"{label} {field}" for label, field in line.branches)] if line.branches else []
    notes += ["beyond the image, which cuts the effective one off"] if effective and effective.is_cut else []
    return "; ".join(notes)


def _differs(one: published_fields.Against) -> str:
    printed = one.published.split("/")
    ours = str(one.field).split("/")
    names = ("size", "stride", "padding")
    return "another " + " and ".join(name for name, a, b in zip(names, printed, ours, strict=True) if a != b)


def _runs(options: argparse.Namespace) -> str:
    statistics = "frozen batch statistics" if options.statistics == "frozen" else "batch statistics as in training"
    runs = "1 run" if options.runs == 1 else f"{options.runs} runs"
    return f"{runs} of 2 images, seed {options.seed}, {statistics}"


def _effective_words(options: argparse.Namespace) -> str:
    what = "effective (Luo et al. 2016): pixels a side with more than 4.55 % of the largest mean |gradient|"
    return f"{what}; {_runs(options)}"


def _field_json(field: ReceptiveField) -> dict[str, Any]:
    return {**layers.field_json(field), "centre": field.centre}


def _line_json(line: Line, m: Measured | None, e: Effective | None) -> dict[str, Any]:
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
