"""Findings as pytest shows a failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback

if TYPE_CHECKING:
    from rv_check.checks.findings import Finding
    from rv_check.errors import Place


def location(place: Place | None) -> tuple[str, int]:
    """File and line; the first where the whole file is meant."""
    return (place.document.shown, max(place.line, 1)) if place else ("", 1)


def findings_repr(findings: list[Finding], place: Place | None = None, *more: str) -> ReprExceptionInfo:
    """Failed findings, as the command line shows them, at a place of the user's own where there is one."""
    lines = [*(line for finding in findings for line in finding.lines()), *more]
    return plain_repr("\n".join(lines), place or findings[0].place, findings[0].title)


def plain_repr(text: str, place: Place | None, message: str) -> ReprExceptionInfo:
    """Words instead of a traceback, and the place and message of pytest's summary; it survives the way to xdist."""
    traceback = ReprTraceback([ReprEntryNative([f"{text}\n"])], None, style="native")
    return ReprExceptionInfo(traceback, ReprFileLocation(*location(place), message))
