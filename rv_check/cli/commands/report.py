"""The command `rv-check report`: the comparison table of the shipped archs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rv_check.archs.load import archs, load
from rv_check.cli.common import DID_NOT_HOLD, HELD, annotate, check_archs, write
from rv_check.errors import RvCheckError
from rv_check.report import comparison
from rv_check.writing import writable


def report_command(options: argparse.Namespace) -> int:
    """The comparison table; every number in it has been held against its source by the checks."""
    if options.sources and options.format in ("json", "latex"):
        raise RvCheckError("--sources comes as text, markdown or csv; the json report holds the sources anyway")
    if options.sources:
        options.level = options.level or "spec"  # verdicts on printed numbers are static
    if options.results and (options.sources or options.format == "json"):
        raise RvCheckError("--results are columns of the table", expected="--format text, markdown, csv or latex")
    more = _timed(options.results) if options.results else {}
    path = writable(options.output) if options.output else None
    chosen = [load(name) for name in options.arch] or archs()
    reports = check_archs(chosen, options, tell=False)
    lines = [comparison.Line(arch, found) for arch, found in zip(chosen, reports, strict=True)]
    text = (
        comparison.sources(lines, options.format)
        if options.sources
        else comparison.comparison(lines, options.format, more)
    )
    annotate(reports, options.format != "text" or bool(options.output))
    failed = [f for found in reports for f in found.findings if f.status in ("failed", "blocked")]
    for finding in failed:
        print("\n".join(finding.lines()), file=sys.stderr)
    write(text, path)
    return DID_NOT_HOLD if failed else HELD


def _timed(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """A column of each way of timing, and machine."""
    from rv_check.bench import results, tables

    return tables.columns(results.merge([Path(name) for name in names]))
