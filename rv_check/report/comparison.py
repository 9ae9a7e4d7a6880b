"""The comparison table of many archs, and every printed number with its source and verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rv_check.archs.arch import Arch
from rv_check.checks.findings import Report
from rv_check.checks.published import QUOTED, hold, value_of
from rv_check.language.definitions import Published
from rv_check.report.layers import static_json
from rv_check.report.tables import csv_text, table

REPORT_SCHEMA = "rv-check/report/1"


@dataclass(frozen=True)
class ComparisonRow:
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
ALIGN = "lrrlrrll"


def table_rows(lines: Sequence[ComparisonRow]) -> list[tuple[str, ...]]:
    """The comparison table as text cells, in the order of HEADERS."""
    rows: list[tuple[str, ...]] = []
    for line in lines:
        arch = line.arch
        counts = (f"{arch.params:,}", f"{arch.macs:,}", str(arch.receptive_field), arch.depth, arch.skip_connections)
        rows.append((arch.name, *map(str, counts), _quoted(line), line.parity))
    return rows


def _quoted(line: ComparisonRow) -> str:
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


def comparison(lines: Sequence[ComparisonRow], form: str, more: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """The comparison table in one of FORMATS. `more`: columns besides, each with cells by the names of archs."""
    if form == "json":
        return json.dumps(comparison_json(lines), indent=2)
    added = {name: cells for name, cells in (more or {}).items() if any(line.arch.name in cells for line in lines)}
    cells_of = [tuple(cells.get(line.arch.name, "") for cells in added.values()) for line in lines]
    if form == "csv":
        rows = [(*_csv_row(line), *cells) for line, cells in zip(lines, cells_of, strict=True)]
        return csv_text((*CSV_HEADERS, *added), rows)
    rows = [(*row, *cells) for row, cells in zip(table_rows(lines), cells_of, strict=True)]
    text = table((*HEADERS, *added), rows, ALIGN + "r" * len(added), form)
    return f"{text}\n\n{LEGEND}" if form == "text" else text


def _csv_row(line: ComparisonRow) -> tuple[str, ...]:
    arch = line.arch
    quoted = (entry.printed if entry else "" for entry in (line.top1, line.top1_error))
    counts = (arch.params, arch.macs, arch.receptive_field, arch.depth, arch.skip_connections)
    return (arch.name, *map(str, counts), *quoted, line.parity)


def comparison_json(lines: Sequence[ComparisonRow]) -> dict[str, Any]:
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


def sources(lines: Sequence[ComparisonRow], form: str) -> str:
    """Every printed number of these archs with its source and verdict, as text, markdown or csv."""
    rows = []
    for line in lines:
        for entry in line.published:
            verdict, value = verdict_of(line.arch, entry)
            rows.append((line.arch.name, entry.metric, entry.printed, value or "", verdict, entry.source))
    if form == "csv":
        return csv_text(SOURCE_HEADERS, rows)
    return table(SOURCE_HEADERS, rows, "llrrll", form)
