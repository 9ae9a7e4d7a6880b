"""The command `rv-check report`: the comparison table of the shipped archs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rv_check.archs.arch import Arch
from rv_check.archs.load import archs, archs_of, families, load, variants
from rv_check.cli.common import check_archs
from rv_check.cli.console import DID_NOT_HOLD, HELD, Answer, Console
from rv_check.cli.following import Following
from rv_check.cli.options import ARCH, evidence, evidence_of, form, form_of, jobs
from rv_check.cli.progress import Above
from rv_check.errors import RvCheckError, unknown
from rv_check.report import comparison, tables
from rv_check.writing import writable


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("arch", nargs="*", metavar="ARCH", help=f"only these: {ARCH}")
    parser.add_argument(
        "--family", action="append", default=[], metavar="NAME", help="all of a family; may be repeated"
    )
    form(parser, tables.FORMATS, comparison.REPORT_SCHEMA)
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of to stdout")
    parser.add_argument("--sources", action="store_true", help="every printed number with its source and verdict")
    parser.add_argument("--results", nargs="+", metavar="FILE", help="measured times of `rv-check bench`, as columns")
    evidence(parser)
    jobs(parser)


def run(options: argparse.Namespace, console: Console) -> Answer:
    """The comparison table; every number in it has been held against its source by the checks. Raises: RvCheckError."""
    asked, how = evidence_of(options), form_of(options)
    if options.sources and how in ("json", "latex"):
        raise RvCheckError("--sources comes as text, markdown or csv; the json report holds the sources anyway")
    if options.sources and asked.level is None:
        asked = replace(asked, level="spec")  # verdicts on printed numbers are static
    if options.results and (options.sources or how == "json"):
        raise RvCheckError("--results are columns of the table", expected="--format text, markdown, csv or latex")
    more = _timed(options.results) if options.results else {}
    path = writable(options.output) if options.output else None
    chosen = [*map(load, options.arch), *(arch for name in options.family for arch in _of_family(name))] or archs()
    reports = check_archs(chosen, asked, console, options.jobs, above=as_it_comes)
    lines = [comparison.ComparisonRow(arch, found) for arch, found in zip(chosen, reports, strict=True)]
    failed = [f for found in reports for f in found.findings if f.status in ("failed", "blocked")]
    for finding in failed:
        console.note("\n".join(finding.lines()))
    table = comparison.sources if options.sources else partial(comparison.comparison, more=more)
    status = DID_NOT_HOLD if failed else HELD
    return Answer(partial(comparison.comparison_json, lines), partial(table, lines, how), status, path, reports)


def _of_family(name: str) -> list[Arch]:
    """The archs of a family, standard or a variant. Raises: RvCheckError for an unknown one, SpecError."""
    known = {family.name: family for family in (*families(), *variants())}
    if name not in known:
        raise unknown("family", name, known)
    return archs_of(known[name])


def as_it_comes(following: Following) -> Above:
    """The table while it is made: the last column is filled as levels are reached."""
    known = comparison.table_rows([comparison.ComparisonRow(one.arch, one.so_far) for one in following.archs])

    def lines(columns: int, rows: int) -> list[str]:
        cells = []
        for one, row in zip(following.archs, known, strict=True):
            parity = comparison.ComparisonRow(one.arch, one.so_far).parity if one.so_far.findings else ""
            cells.append((*row[:-1], parity))
        for wide in (True, False):
            shown = cells if wide else [(*row[:3], row[-1]) for row in cells]
            headers = comparison.HEADERS if wide else (*comparison.HEADERS[:3], comparison.HEADERS[-1])
            text = tables.table(headers, shown, comparison.ALIGN if wide else "lrrl")
            head, below, *body = text.splitlines()
            if len(below) <= columns:  # the line of dashes is as wide as the widest row
                break
        return [head, below, *_around(body, following.at_work, rows - 2)]

    return lines


def _around(body: Sequence[str], at_work: Sequence[int], most: int) -> list[str]:
    """Of more lines than there is room for, those that are being worked on and the ones next to them."""
    near = at_work or [0]
    by_distance = sorted(range(len(body)), key=lambda row: (min(abs(row - one) for one in near), row))
    return [body[row] for row in sorted(by_distance[: max(most, 0)])]


def _timed(names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """A column of each way of timing, and machine."""
    from rv_check.bench import results, tables

    return tables.columns(results.merge([Path(name) for name in names]))
