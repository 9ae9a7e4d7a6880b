"""Results as text: the layer table of an arch, the comparison table of many, and where each number comes from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rv_check.analyses import ReceptiveField, Row
from rv_check.arch import Arch
from rv_check.checks import QUOTED, hold, value_of
from rv_check.findings import Report
from rv_check.spec import Published

SHOW_SCHEMA = "rv-check/show/1"
REPORT_SCHEMA = "rv-check/report/1"
CHECK_SCHEMA = "rv-check/check/1"
FORMATS = ("text", "markdown", "csv", "json", "latex")
TABULATE = {"text": "simple", "markdown": "pipe", "latex": "latex_booktabs"}


def shape(x: Iterable[int]) -> str:
    """`256x56x56`."""
    return "x".join(map(str, x))


def field_json(field: ReceptiveField) -> dict[str, Any]:
    """A receptive field as an object; rows and columns as a pair where they differ."""
    return {
        "size": field.size,
        "stride": field.stride,
        "padding": field.padding,
        "aligned": field.aligned,
        "global": field.is_global,
    }


def show_json(arch: Arch, fold_at: int | None = None) -> dict[str, Any]:
    """Everything static about an arch. Schema rv-check/show/1; `macs` are multiply-adds of one image."""
    return {
        "schema": SHOW_SCHEMA,
        "arch": arch.name,
        "input": list(arch.input),
        "params": arch.params,
        "macs": arch.macs,
        "activations": arch.activations,
        "depth": arch.depth,
        "skip_connections": arch.skip_connections,
        "receptive_field": field_json(arch.receptive_field),
        "unchecked_shape_lines": arch.tree.unchecked,
        "layers": [
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
        ],
    }


def show_text(arch: Arch, fold_at: int | None = None) -> str:
    """The layer table, one line a layer."""
    from tabulate import tabulate

    table = [
        (r.name, r.op, shape(r.x), shape(r.y), f"{r.params:,}", f"{r.macs:,}", _field(r)) for r in arch.rows(fold_at)
    ]
    headers = ("name", "op", "in", "out", "params", "MACs", "receptive field")
    align = ("left", "left", "left", "left", "right", "right", "left")
    lines = [
        f"{arch.name}  input {' '.join(map(str, arch.input))}",
        tabulate(table, headers, tablefmt="simple", colalign=align, disable_numparse=True),
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
    return f"global, {row.receptive_field}" if row.receptive_field.is_global else str(row.receptive_field)


def _notes(field: ReceptiveField) -> str:
    aligned = "" if field.aligned else "; paths are not aligned"
    return aligned + ("; global through a gate" if field.through_gate else "")


@dataclass(frozen=True)
class Line:
    """One arch in the comparison table, with what its checks found."""

    arch: Arch
    report: Report

    @property
    def top1(self) -> Published | None:
        """The quoted top-1 accuracy: torchvision's weights where the arch has them."""
        return next((p for p in self.arch.entry.published if p.metric == "top1"), None)

    @property
    def top1_error(self) -> Published | None:
        """The quoted top-1 error of a paper, for an arch without published weights."""
        return next((p for p in self.arch.entry.published if p.metric == "top1_error"), None)

    @property
    def parity(self) -> str:
        """The level of evidence reached, and what stands against more."""
        failed = [f for f in self.report.findings if f.status in ("failed", "blocked")]
        if failed:
            return f"{failed[0].check} {failed[0].status}"
        skipped = [f for f in self.report.findings if f.status == "skipped"]
        level = self.report.level or "-"
        if level == "numbers" and self.arch.entry.reference is None:
            return "spec, counters"  # there is nothing to compare numbers with
        return f"{level}, {len(skipped)} skipped" if skipped else level


HEADERS = ("arch", "params", "MACs", "receptive field", "depth", "skips", "top-1 % (quoted)", "parity")


def table_rows(lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """The comparison table as text cells, in the order of HEADERS."""
    rows = []
    for line in lines:
        arch = line.arch
        rows.append(
            (
                arch.name,
                f"{arch.params:,}",
                f"{arch.macs:,}",
                str(arch.receptive_field),
                str(arch.depth),
                str(arch.skip_connections),
                _quoted(line),
                line.parity,
            )
        )
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
    "MACs: multiply-adds of one 3x224x224 image. Receptive field: size/stride/padding in input pixels, at the last\n"
    "feature map. Top-1: quoted from the weights or paper named, not measured here; V1 is torchvision's IMAGENET1K_V1.\n"
    "Parity: the level of evidence reached, as the README explains."
)


def comparison(lines: Sequence[Line], form: str) -> str:
    """The comparison table in one of FORMATS."""
    if form == "json":
        return json.dumps(comparison_json(lines), indent=2)
    rows = table_rows(lines)
    if form == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("arch", "params", "macs", "receptive_field", "depth", "skip_connections", "top1", "parity"))
        writer.writerows([(c.replace(",", "") if i in (1, 2) else c) for i, c in enumerate(row)] for row in rows)
        return out.getvalue().rstrip("\n")
    from tabulate import tabulate

    align = ("left", "right", "right", "left", "right", "right", "left", "left")
    table = tabulate(rows, HEADERS, tablefmt=TABULATE[form], colalign=align, disable_numparse=True)
    return f"{table}\n\n{LEGEND}" if form == "text" else table


def comparison_json(lines: Sequence[Line]) -> dict[str, Any]:
    """Schema rv-check/report/1."""
    return {
        "schema": REPORT_SCHEMA,
        "archs": [
            {
                "arch": line.arch.name,
                "input": list(line.arch.input),
                "params": line.arch.params,
                "macs": line.arch.macs,
                "activations": line.arch.activations,
                "receptive_field": field_json(line.arch.receptive_field),
                "depth": line.arch.depth,
                "skip_connections": line.arch.skip_connections,
                "parity": line.parity,
                "level": line.report.level,
                "published": [published_json(line.arch, p) for p in line.arch.entry.published],
                "findings": [finding.as_json() for finding in line.report.findings],
            }
            for line in lines
        ],
    }


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


def sources(lines: Sequence[Line], form: str) -> str:
    """Every printed number of these archs with its source and verdict."""
    rows = []
    for line in lines:
        for entry in line.arch.entry.published:
            verdict, value = verdict_of(line.arch, entry)
            rows.append((line.arch.name, entry.metric, entry.printed, value or "", verdict, entry.source))
    headers = ("arch", "metric", "printed", "spec gives", "verdict", "source")
    if form == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(headers)
        writer.writerows(rows)
        return out.getvalue().rstrip("\n")
    from tabulate import tabulate

    return tabulate(rows, headers, tablefmt=TABULATE[form], disable_numparse=True)


def check_json(report: Report) -> dict[str, Any]:
    """Schema rv-check/check/1."""
    return {
        "schema": CHECK_SCHEMA,
        "subject": report.subject,
        "against": report.against,
        "passed": report.passed,
        "level": report.level,
        "findings": [finding.as_json() for finding in report.findings],
    }
