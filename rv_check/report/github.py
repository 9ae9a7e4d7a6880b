"""Findings that failed, as annotations of a run of GitHub Actions."""

from __future__ import annotations

from rv_check.checks.findings import Report


def workflow_commands(report: Report) -> list[str]:
    """What failed, as workflow commands of GitHub Actions: the user's own line where it is known, else the spec's."""
    lines = []
    for finding in report.findings:
        if finding.status != "failed":
            continue
        place = finding.call or finding.place
        title = f"{report.subject} is not {report.against or 'an arch that is known'}"
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
