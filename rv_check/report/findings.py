"""Findings as text and as JSON: of an arch, of a module, of two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rv_check.checks.findings import LEVELS, Finding, Report
from rv_check.text import quote_plain

CHECK_SCHEMA = "rv-check/check/1"
CHECKS_SCHEMA = "rv-check/checks/1"
MAP_SCHEMA = "rv-check/map/1"


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
        "totals": {name: {"found": found, "expected": expected} for name, (found, expected) in report.totals.items()},
        "notes": list(report.notes),
    }


def checks_json(reports: Sequence[Report]) -> dict[str, Any]:
    """Schema rv-check/checks/1: several of rv-check/check/1, in the order that was asked for."""
    passed = all(report.passed for report in reports)
    return {"schema": CHECKS_SCHEMA, "passed": passed, "reports": [check_json(report) for report in reports]}


def map_json(report: Report) -> dict[str, Any]:
    """Schema rv-check/map/1."""
    return {"schema": MAP_SCHEMA, "subject": report.subject, "against": report.against, "map": dict(report.map)}


def map_text(report: Report) -> str:
    """The module's name of each parameter and buffer, by the expected names."""
    if not report.map:
        return "there is no map, since the structure differs"
    width = max(map(len, report.map))
    return "\n".join(f"{expected:<{width}}  {found}" for expected, found in report.map.items())


def module_text(report: Report, again: str = "") -> str:
    """What a module is or is not: the answer first, then what the levels saw, then every difference."""
    lines = [heading(report), ""]
    lines += [f"  {note}" for note in report.notes] + ([""] if report.notes else [])
    if report.unknown:
        return "\n".join(map(quote_plain, lines[:-1]))
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


APART = {"init": "another initialisation", "trainable": "frozen parameters"}  # checks of what no network is told by


def heading(report: Report) -> str:
    """The answer in one line."""
    if report.unknown:
        return report.verdict
    subject, against = report.subject, report.against
    failed = [f for f in report.findings if f.status == "failed"]
    blocked = any(f.status == "blocked" for f in report.findings)
    excused = any(f.deviation for f in report.findings)
    if {f.check for f in report.findings} == {"own_weights"}:
        words = "computes what" if not failed else "does not compute what"
        return f"{subject} {words} {against} computes, with the weights that they have"
    if not failed and not blocked:
        if all(f.status == "passed" or f.deviation for f in report.findings) and report.findings:
            return f"{subject} is {against}" + (", known deviations apart" if excused else "")
        return f"{subject} is not shown in full to be {against}"
    kinds = {f.kind for f in failed}
    if kinds == {"this input only"}:
        return f"{subject} is {against} at this input only"
    if failed and {f.check for f in failed} <= APART.keys():
        return f"{subject} is {against}, with {' and '.join(dict.fromkeys(APART[f.check] for f in failed))}"
    if kinds == {"until"}:
        return f"{subject} is {against} up to {failed[0].step}"
    if not failed:
        return f"{subject} is not shown in full to be {against}"
    number = len(failed)
    return f"{subject} is not {against}: {number} difference{'s' if number != 1 else ''}"


def _totals(report: Report) -> tuple[str, str]:
    params, macs = report.totals["params"], report.totals["macs"]
    same = params[0] == params[1] and macs[0] == macs[1]
    shown = [f"{n / 10**9:.3f} GMACs" for n in macs]
    if macs[0] != macs[1] and shown[0] == shown[1]:
        shown = [f"{n:,} MACs" for n in macs]
    found, expected = (f"{n:,} / {words}" for n, words in zip(params, shown, strict=True))
    if not same:
        return "differ", f"{found}, expected {expected}"
    return "same", found + ("" if not report.failed else "  (these cannot see it)")


def _level_row(findings: Sequence[Finding]) -> tuple[str, str]:
    statuses = {f.status for f in findings}
    if "failed" in statuses:
        failed = [f for f in findings if f.status == "failed"]
        counts = {f.check: sum(other.check == f.check for other in failed) for f in failed}
        differences = counts.pop("structure", 0)
        told = [f"{differences} difference{'s' if differences != 1 else ''}"] if differences else []
        return "failed", ", ".join([*told, *(f"{name} ({n})" if n > 1 else name for name, n in counts.items())])
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
    where = finding.where or finding.step or ""
    lines = [f"  {first:<60}  {where}".rstrip()]
    lines += [f"    {line}" for line in more]
    if finding.kind is None or finding.status == "skipped":
        shown = {"found": finding.found, "expected": finding.expected, "reason": finding.reason}
        lines[0] = f"  {finding.check}: {lines[0].strip()}"
        lines += [f"    {name + ':':<9} {text}" for name, text in shown.items() if text is not None]
    return lines
