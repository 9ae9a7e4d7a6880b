"""The command `rv-check report`: the comparison table of the shipped archs."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rv_check.archs.load import archs, load
from rv_check.cli.common import check_archs
from rv_check.cli.console import DID_NOT_HOLD, HELD, Answer, Console
from rv_check.cli.options import ARCH, evidence, evidence_of, form, form_of
from rv_check.errors import RvCheckError
from rv_check.report import comparison, tables
from rv_check.writing import writable


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("arch", nargs="*", metavar="ARCH", help=f"only these: {ARCH}")
    form(parser, tables.FORMATS, comparison.REPORT_SCHEMA)
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of to stdout")
    parser.add_argument("--sources", action="store_true", help="every printed number with its source and verdict")
    parser.add_argument("--results", nargs="+", metavar="FILE", help="measured times of `rv-check bench`, as columns")
    evidence(parser)


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
    chosen = [load(name) for name in options.arch] or archs()
    reports = check_archs(chosen, asked, console)
    lines = [comparison.ComparisonRow(arch, found) for arch, found in zip(chosen, reports, strict=True)]
    failed = [f for found in reports for f in found.findings if f.status in ("failed", "blocked")]
    for finding in failed:
        console.note("\n".join(finding.lines()))
    table = comparison.sources if options.sources else partial(comparison.comparison, more=more)
    status = DID_NOT_HOLD if failed else HELD
    return Answer(partial(comparison.comparison_json, lines), partial(table, lines, how), status, path, reports)


def _timed(names: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """A column of each way of timing, and machine."""
    from rv_check.bench import results, tables

    return tables.columns(results.merge([Path(name) for name in names]))
