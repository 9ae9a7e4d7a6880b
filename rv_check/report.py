"""Results as text and as JSON: the layer table of an arch, the comparison table of many, findings, and sources.

JSON objects name their schema, and docs/schemas has one for each. Within a schema keys are neither renamed nor taken
away, and each is always there; a change that breaks a reader is a new number.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rv_check.analyses import ReceptiveField, Row
from rv_check.arch import Arch
from rv_check.checks import QUOTED, hold, value_of
from rv_check.findings import LEVELS, Finding, Report
from rv_check.problems import quote_plain
from rv_check.spec import Published

SHOW_SCHEMA = "rv-check/show/1"
REPORT_SCHEMA = "rv-check/report/1"
CHECK_SCHEMA = "rv-check/check/1"
MAP_SCHEMA = "rv-check/map/1"
FORMATS = ("text", "markdown", "csv", "json", "latex")
TABULATE = {"text": "simple", "markdown": "pipe", "latex": "latex_booktabs"}


def shape(x: Iterable[int]) -> str:
    """`256x56x56`."""
    return "x".join(map(str, x))


def field_json(field: ReceptiveField) -> dict[str, Any]:
    """A receptive field as an object."""
    phases = {"rows": [*map(list, field.rows.phases)], "columns": [*map(list, field.columns.phases)]}
    return {
        "size": field.size,
        "stride": field.stride,
        "padding": field.padding,
        "aligned": field.aligned,
        "global": field.is_global,
        **({"phases": phases} if field.kinds > 1 else {}),
    }


def static_json(arch: Arch) -> dict[str, Any]:
    """What both the listing and the comparison say of an arch."""
    return {
        "arch": arch.name,
        "input": list(arch.input),
        "params": arch.params,
        "macs": arch.macs,
        "activations": arch.activations,
        "depth": arch.depth,
        "skip_connections": arch.skip_connections,
        "receptive_field": field_json(replace(arch.receptive_field, collapsed=False)),
    }


def show_json(arch: Arch, fold_at: int | None = None) -> dict[str, Any]:
    """Everything static about an arch. Schema rv-check/show/1."""
    layers = [
        {
            "name": row.name,
            "op": row.op,
            "in": list(row.x),
            "out": list(row.y),
            "params": row.params,
            "macs": row.macs,
            "receptive_field": field_json(row.receptive_field),
        }
        for row in arch.rows(fold_at)
    ]
    return {"schema": SHOW_SCHEMA, **static_json(arch), "unchecked_shape_lines": arch.tree.unchecked, "layers": layers}


def show_text(arch: Arch, fold_at: int | None = None) -> str:
    """The layer table, one line a layer."""
    layers = [
        (r.name, r.op, shape(r.x), shape(r.y), f"{r.params:,}", f"{r.macs:,}", _field(r)) for r in arch.rows(fold_at)
    ]
    headers = ("name", "op", "in", "out", "params", "MACs", "receptive field")
    lines = [
        f"{arch.name}  input {' '.join(map(str, arch.input))}",
        table(headers, layers, "llllrrl"),
        "",
        f"params            {arch.params:,}",
        f"MACs              {arch.macs:,}",
        f"activations       {arch.activations:,}",
        f"depth             {arch.depth}",
        f"skip connections  {arch.skip_connections}",
        f"receptive field   {arch.receptive_field}  (size/stride/padding{_notes(arch.receptive_field)})",
    ]
    if arch.tree.unchecked:
        declared = " ".join(map(str, arch.declared_input))
        lines.append(f"{arch.tree.unchecked} shape: lines hold at input {declared} and were not checked")
    return "\n".join(lines)


def _field(row: Row) -> str:
    field = row.receptive_field
    words = f"global, {field}" if field.is_global else str(field)
    return f"{words}, the largest of {field.kinds}" if field.kinds > 1 else words


def _notes(field: ReceptiveField) -> str:
    aligned = "" if field.aligned else "; paths are not aligned"
    aligned += f"; the largest of {field.kinds} neighbouring units" if field.kinds > 1 else ""
    return aligned + ("; global through a gate" if field.through_gate else "")


@dataclass(frozen=True)
class Line:
    """One arch in the comparison table, with what its checks found."""

    arch: Arch
    report: Report

    @property
    def published(self) -> tuple[Published, ...]:
        """What is published of the arch; nothing where it is not the arch as declared."""
        return self.arch.entry.published if self.arch.is_declared else ()

    @property
    def top1(self) -> Published | None:
        """The quoted top-1 accuracy: torchvision's weights where the arch has them."""
        return next((p for p in self.published if p.metric == "top1"), None)

    @property
    def top1_error(self) -> Published | None:
        """The quoted top-1 error of a paper, for an arch without published weights."""
        return next((p for p in self.published if p.metric == "top1_error"), None)

    @property
    def parity(self) -> str:
        """The level of evidence reached, and what stands against more."""
        findings = self.report.findings
        failed = next((f for f in findings if f.status in ("failed", "blocked")), None)
        if failed is not None:
            return f"{failed.check} {failed.status}"
        known = sum(f.deviation is not None for f in findings)
        skipped = sum(f.status == "skipped" for f in findings) - known
        parts: list[str] = [self.report.level or ("part of spec" if findings else "nothing shown")]
        if self.report.against is None and self.report.passed and any(f.level == "numbers" for f in findings):
            parts.append("counters")  # there is nothing to compare numbers with
        parts += [f"{skipped} skipped"] if skipped else []
        parts += [f"{known} known to fail"] if known else []
        return ", ".join(parts)


HEADERS = ("arch", "params", "MACs", "receptive field", "depth", "skips", "top-1 % (quoted)", "parity")


def table_rows(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """The comparison table as text cells, in the order of HEADERS."""
    rows: list[tuple[str, ...]] = []
    for line in lines:
        arch = line.arch
        counts = (f"{arch.params:,}", f"{arch.macs:,}", str(arch.receptive_field), arch.depth, arch.skip_connections)
        rows.append((arch.name, *map(str, counts), _quoted(line), line.parity))
    return rows


def _quoted(line: Line) -> str:
    if line.top1 is not None:
        return f"{line.top1.printed} {_weights(line.top1.source)}".strip()
    if line.top1_error is not None:
        return f"error {line.top1_error.printed}, paper"
    return ""


def _weights(source: str) -> str:
    """`V1`, of a source in torchvision's metadata."""
    _, found, rest = source.partition(".IMAGENET1K_")
    return rest.partition(".")[0] if found else ""


LEGEND = (
    "MACs: multiply-adds of one image, 3x224x224 unless an arch says otherwise. Receptive field: size/stride/padding\n"
    "in input pixels, at the last feature map. Top-1: quoted from the weights or paper named, not measured here;\n"
    "V1 is torchvision's IMAGENET1K_V1. Parity: the level of evidence reached, as the README explains."
)
CSV_HEADERS = ("arch", "params", "macs", "receptive_field", "depth", "skip_connections", "top1", "top1_error", "parity")


def comparison(lines: Sequence[Line], form: str, more: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """The comparison table in one of FORMATS. `more`: columns besides, each with cells by the names of archs."""
    if form == "json":
        return json.dumps(comparison_json(lines), indent=2)
    added = {name: cells for name, cells in (more or {}).items() if any(line.arch.name in cells for line in lines)}
    cells_of = [tuple(cells.get(line.arch.name, "") for cells in added.values()) for line in lines]
    if form == "csv":
        rows = [(*_csv_row(line), *cells) for line, cells in zip(lines, cells_of, strict=True)]
        return _csv((*CSV_HEADERS, *added), rows)
    rows = [(*row, *cells) for row, cells in zip(table_rows(lines), cells_of, strict=True)]
    text = table((*HEADERS, *added), rows, "lrrlrrll" + "r" * len(added), form)
    return f"{text}\n\n{LEGEND}" if form == "text" else text


def _csv_row(line: Line) -> tuple[str, ...]:
    arch = line.arch
    quoted = (entry.printed if entry else "" for entry in (line.top1, line.top1_error))
    counts = (arch.params, arch.macs, arch.receptive_field, arch.depth, arch.skip_connections)
    return (arch.name, *map(str, counts), *quoted, line.parity)


def _csv(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows(rows)
    return out.getvalue().rstrip("\n")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], align: str, form: str = "text") -> str:
    """A table; `align` has a letter for each column, l or r."""
    from tabulate import tabulate

    pipe = "\\|" if form == "markdown" else "|"
    cells = [[quote_plain(cell).replace("|", pipe) for cell in row] for row in rows]
    sides = tuple({"l": "left", "r": "right"}[letter] for letter in align)
    return tabulate(cells, headers, tablefmt=TABULATE[form], colalign=sides, disable_numparse=True)


def comparison_json(lines: Sequence[Line]) -> dict[str, Any]:
    """Schema rv-check/report/1."""
    archs = [
        {
            **static_json(line.arch),
            "parity": line.parity,
            "level": line.report.level,
            "published": [published_json(line.arch, entry) for entry in line.published],
            "findings": [finding.as_json() for finding in line.report.findings],
        }
        for line in lines
    ]
    return {"schema": REPORT_SCHEMA, "archs": archs}


def published_json(arch: Arch, entry: Published) -> dict[str, Any]:
    """A printed number, its source, and its verdict."""
    verdict, value = verdict_of(arch, entry)
    return {
        "metric": entry.metric,
        "printed": entry.printed,
        "value": value,
        "verdict": verdict,
        "source": entry.source,
        "note": entry.note or None,
        "file": entry.place.document.shown,
        "line": entry.place.line,
    }


def verdict_of(arch: Arch, entry: Published) -> tuple[str, str | None]:
    """The verdict on a printed number, and what the spec gives for it; an accuracy is only quoted."""
    if entry.metric in QUOTED:
        return "quoted", None
    _, verdict, value = hold(entry, value_of(arch, entry))
    return verdict, value


SOURCE_HEADERS = ("arch", "metric", "printed", "spec gives", "verdict", "source")


def sources(lines: Sequence[Line], form: str) -> str:
    """Every printed number of these archs with its source and verdict, as text, markdown or csv."""
    rows = []
    for line in lines:
        for entry in line.published:
            verdict, value = verdict_of(line.arch, entry)
            rows.append((line.arch.name, entry.metric, entry.printed, value or "", verdict, entry.source))
    if form == "csv":
        return _csv(SOURCE_HEADERS, rows)
    return table(SOURCE_HEADERS, rows, "llrrll", form)


def check_json(report: Report) -> dict[str, Any]:
    """Schema rv-check/check/1."""
    return {
        "schema": CHECK_SCHEMA,
        "subject": report.subject,
        "against": report.against,
        "passed": report.passed,
        "level": report.level,
        "findings": [finding.as_json() for finding in report.findings],
        "map": dict(report.map),
        "totals": {name: {"found": found, "expected": wanted} for name, (found, wanted) in report.totals.items()},
        "notes": list(report.notes),
    }


def map_json(report: Report) -> dict[str, Any]:
    """Schema rv-check/map/1."""
    return {"schema": MAP_SCHEMA, "subject": report.subject, "against": report.against, "map": dict(report.map)}


def map_text(report: Report) -> str:
    """The module's name of each parameter and buffer, by the expected names."""
    if not report.map:
        return "there is no map, since the structure differs"
    width = max(map(len, report.map))
    return "\n".join(f"{ours:<{width}}  {theirs}" for ours, theirs in report.map.items())


def module_text(report: Report, again: str = "") -> str:
    """What a module is or is not: the answer first, then what the levels saw, then every difference."""
    lines = [heading(report), ""]
    lines += [f"  {note}" for note in report.notes] + ([""] if report.notes else [])
    rows = [("params, MACs", *_totals(report))] if report.totals else []
    for level in LEVELS:
        found = [f for f in report.findings if f.level == level]
        if found:
            rows.append((level, *_level_row(found)))
    width = max((len(name) for name, *_ in rows), default=0)
    lines += [f"  {name:<{width}}  {status:<7}  {words}".rstrip() for name, status, words in rows]
    for finding in report.findings:
        if finding.status in ("failed", "skipped"):
            lines += ["", *_difference_lines(finding)]
    steps = [f.step for f in report.findings if f.status == "failed" and f.step and f.kind != "until"]
    if again and steps:
        lines += ["", f"  again: {again} --only {steps[0]}"]
    return "\n".join(map(quote_plain, lines))


def heading(report: Report) -> str:
    """The answer in one line."""
    subject, against = report.subject, report.against
    failed = [f for f in report.findings if f.status == "failed"]
    blocked = any(f.status == "blocked" for f in report.findings)
    excused = any(f.deviation for f in report.findings)
    if not failed and not blocked:
        if all(f.status == "passed" or f.deviation for f in report.findings) and report.findings:
            return f"{subject} is {against}" + (", known deviations apart" if excused else "")
        return f"{subject} is not shown in full to be {against}"
    kinds = {f.kind for f in failed}
    if kinds == {"this input only"}:
        return f"{subject} is {against} at this input only"
    if {f.check for f in failed} == {"init"}:
        return f"{subject} is {against}, with another initialisation"
    if kinds == {"until"}:
        return f"{subject} is {against} up to {failed[0].step}"
    if not failed:
        return f"{subject} is not shown in full to be {against}"
    number = len(failed)
    return f"{subject} is not {against}: {number} difference{'s' if number != 1 else ''}"


def _totals(report: Report) -> tuple[str, str]:
    params, macs = report.totals["params"], report.totals["macs"]
    same = params[0] == params[1] and macs[0] == macs[1]
    words = [f"{params[0]:,}", f"{macs[0] / 10**9:.3f} GMACs"]
    if not same:
        words.append(f"expected {params[1]:,} / {macs[1] / 10**9:.3f} GMACs")
        return "differ", " / ".join(words[:2]) + f", {words[2]}"
    return "same", " / ".join(words) + ("" if not report.failed else "  (these cannot see it)")


def _level_row(findings: Sequence[Finding]) -> tuple[str, str]:
    statuses = {f.status for f in findings}
    if "failed" in statuses:
        failed = [f for f in findings if f.status == "failed"]
        counts = {f.check: sum(other.check == f.check for other in failed) for f in failed}
        return "failed", ", ".join(
            f"{name} ({n})" if n > 1 else name for name, n in counts.items() if name != "structure"
        ) or (f"{len(failed)} difference{'s' if len(failed) != 1 else ''}")
    if "blocked" in statuses:
        return "blocked", next(f.message for f in findings if f.status == "blocked").partition("blocked ")[2]
    if "skipped" in statuses:
        return "skipped", next(f.reason or "" for f in findings if f.status == "skipped")
    measured = [f.difference for f in findings if f.difference is not None]
    if measured:
        largest = max(measured)
        words = "bit for bit" if largest == 0 else f"largest relative difference {largest:.2g}"
        checks = dict.fromkeys(f.check for f in findings if f.difference is not None)
        return "passed", f"{', '.join(checks)}: {words}"
    return "passed", findings[0].message


def _difference_lines(finding: Finding) -> list[str]:
    first, *more = finding.message.splitlines()
    where = finding.step or ""
    lines = [f"  {first:<60}  {where}".rstrip()]
    lines += [f"    {line}" for line in more]
    if finding.kind is None or finding.status == "skipped":
        shown = {"found": finding.found, "expected": finding.expected, "reason": finding.reason}
        lines[0] = f"  {finding.check}: {lines[0].strip()}"
        lines += [f"    {name + ':':<9} {text}" for name, text in shown.items() if text is not None]
    return lines


def workflow_commands(report: Report) -> list[str]:
    """What failed, as workflow commands of GitHub Actions: the user's own line where it is known, else the spec's."""
    lines = []
    for finding in report.findings:
        if finding.status != "failed":
            continue
        place = finding.call or finding.place
        title = f"{report.subject} is not {report.against}"
        path, line = (place.document.shown, place.line) if place is not None else ("", 0)
        lines.append(workflow_command(path, line, title, finding.title))
    return lines


def workflow_command(path: str, line: int, title: str, text: str) -> str:
    """A workflow command of GitHub Actions that marks a line of a file as wrong."""
    at = f"file={_property(path)},line={max(line, 1)}," if path else ""
    return f"::error {at}title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
