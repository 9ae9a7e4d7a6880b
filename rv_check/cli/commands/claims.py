"""The command `rv-check claims`: printed statements, and the verdict on each.

--json is one object of schema rv-check/claims/1.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rv_check.checks.deviations import settle
from rv_check.checks.findings import Finding, up_to
from rv_check.checks.printed import HOLDS
from rv_check.claims.claim import DECLARED, Claims, Verdict, judge_all
from rv_check.claims.file import read_claims, shipped
from rv_check.claims.markdown import BEGIN
from rv_check.cli.console import DID_NOT_HOLD, HELD, Answer, Console
from rv_check.cli.options import form, form_of, require
from rv_check.errors import Problem, RvCheckError, SpecError
from rv_check.report import tables
from rv_check.text import shown_path

SCHEMA = "rv-check/claims/1"
FORMATS = ("text", "markdown", "json")
HEADERS = ("claim", "printed", "verdict", "the value", "rightly printed", "source")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "file", nargs="*", metavar="FILE", help="files of claims, or Markdown pages; none: what comes with rv-check"
    )
    form(parser, FORMATS, SCHEMA)
    require(parser)


def run(options: argparse.Namespace, console: Console) -> Answer:
    """The verdicts. Raises: RvCheckError, with what is wrong in all of the files."""
    paths = [Path(name) for name in options.file] or shipped()
    if not paths:
        raise RvCheckError("no claims come with this rv-check", expected="files of claims")
    problems = []
    found: list[tuple[Claims, list[Verdict]]] = []
    for path in paths:
        try:
            tables = read_claims(path)
            if not tables:
                expected = f"{BEGIN}, a comment above a table; rv-check's page on claims says how it reads"
                raise SpecError([Problem(f"no table of {shown_path(path)} has a comment of claims", expected=expected)])
            found += [(claims, judge_all(claims)) for claims in tables]
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    required = up_to(options.require) if options.require else ()
    findings = [
        finding
        for claims, verdicts in found
        for finding in settle([verdict.finding(claims.path.stem) for verdict in verdicts], required, None)
    ]
    failed = [finding for finding in findings if finding.status == "failed"]
    for finding in failed:
        console.note("\n".join(finding.lines()))
    status = DID_NOT_HOLD if failed else HELD
    return Answer(partial(as_json, found, findings), partial(text, found, findings, form_of(options)), status)


def text(found: Sequence[tuple[Claims, list[Verdict]]], findings: Sequence[Finding], form: str) -> str:
    """A table for each file, and, where people read it, how many claims are as declared."""
    parts = [table(claims, verdicts, form) for claims, verdicts in found]
    return "\n\n".join([*parts, *([summary(findings)] if form == "text" else [])])


def summary(findings: Sequence[Finding]) -> str:
    """`41 claims: 40 as declared, 1 not, 0 skipped`."""
    counts = [sum(finding.status == status for finding in findings) for status in ("passed", "failed", "skipped")]
    return f"{len(findings)} claims: {counts[0]} as declared, {counts[1]} not, {counts[2]} skipped"


def table(claims: Claims, verdicts: Sequence[Verdict], format: str) -> str:
    """A line a claim, below the title of the file; of a table, which is there to be read, what does not hold."""
    title = f"{claims.shown}: {claims.title}" + (f"\nsource: {claims.source}" if claims.source else "")
    headers: tuple[str, ...] = HEADERS
    rows = [(*_cells(verdict), _source(claims, verdict)) for verdict in verdicts]
    if claims.line:
        headers = ("line", *headers)
        wrong = [at for at, verdict in enumerate(verdicts) if verdict.words != HOLDS]
        rows = [(str(verdicts[at].claim.place.line), *rows[at]) for at in wrong]
        title += f", {len(verdicts) - len(rows) if rows else 'all'} hold"
    if not rows:
        return title
    shown = len(headers) - (not any(row[-1] for row in rows))  # without sources where the file has one for all
    text = tables.table(headers[:shown], [row[:shown] for row in rows], "l" * shown, format)
    return f"{title}\n\n{text}"


def _source(claims: Claims, verdict: Verdict) -> str:
    return "" if verdict.claim.source == claims.source else verdict.claim.source


def _cells(verdict: Verdict) -> tuple[str, ...]:
    claim = verdict.claim
    words = verdict.words.removeprefix("is ")
    if verdict.could_not_run:
        words = "skipped"
    if claim.within is not None:
        words += f" (within {claim.within}%)"
    if verdict.reason:
        words += f": {verdict.reason}"
    if not verdict.as_declared and not verdict.could_not_run and claim.row is None:
        words += f", declared: {claim.declared}"
    return claim.about, claim.printed, words, verdict.value, verdict.right if verdict.words != HOLDS else ""


def as_json(found: Sequence[tuple[Claims, list[Verdict]]], findings: Sequence[Finding]) -> dict[str, Any]:
    """The object of schema rv-check/claims/1: every key is always there."""
    short = {words: key for key, words in DECLARED.items()}
    claims = [
        {
            "file": shown_path(one.path),
            "line": verdict.claim.place.line,
            "claim": verdict.claim.title,
            "network": verdict.claim.row.network.name if verdict.claim.row else "",
            "says": verdict.claim.says,
            "printed": verdict.claim.printed,
            "verdict": short[verdict.words],
            "declared": short[verdict.claim.declared],
            "value": verdict.value,
            "right": verdict.right,
            "reason": verdict.reason,
            "hint": verdict.hint,
            "note": verdict.claim.note,
            "source": verdict.claim.source,
        }
        for one, verdicts in found
        for verdict in verdicts
    ]
    statuses = [finding.status for finding in findings]
    return {
        "schema": SCHEMA,
        "claims": [{**claim, "status": status} for claim, status in zip(claims, statuses, strict=True)],
    }
