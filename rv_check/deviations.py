"""Known deviations: checks that a project knows to fail, kept in a file of the project's own, outside every spec.

    deviations:
      - check: resnet50::macs
        reason: our stem has no padding, on purpose
        link: https://example.org/issues/12

`check` is a pattern (`*`, `?`, `[...]`) for `arch::check`, or for `file::arch::check`. A deviation has a reason; one
that no longer occurs, or matches no check, fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from rv_check.findings import Finding
from rv_check.problems import Place, Problem, SpecError, nearest, quote
from rv_check.source import Fields, Items, Text, kind, read

KEYS = ("check", "reason", "link")


@dataclass(frozen=True)
class Deviation:
    """A check that is known to fail, and why."""

    pattern: str
    reason: str
    link: str
    place: Place

    def matches(self, ids: Iterable[str]) -> bool:
        """Whether the pattern fits one of a check's ids."""
        return any(fnmatchcase(id_, self.pattern) for id_ in ids)

    @property
    def why(self) -> str:
        """The reason with its link, for a reader."""
        return f"known deviation: {self.reason}" + (f" ({self.link})" if self.link else "")


def load_deviations(path: Path) -> list[Deviation]:
    """The entries of a deviations file. Raises: SpecError."""
    top = read(path)
    entries = top.get("deviations")
    if not isinstance(entries, Items) or len(top.entries) != 1:
        problem = Problem("this is not a list of known deviations", top.place, "deviations: and a list of entries")
        raise SpecError([problem])
    problems: list[Problem] = []
    found = []
    for node in entries.items:
        if not isinstance(node, Fields):
            problems.append(Problem(f"a deviation is {kind(node)}", node.place, "check:, reason: and link:"))
            continue
        texts = {}
        for key, (key_node, value) in node.entries.items():
            if key not in KEYS:
                message = f"a deviation has no key {quote(key)}"
                problems.append(Problem(message, key_node.place, ", ".join(KEYS), nearest(key, KEYS)))
            elif isinstance(value, Text) and value.text.strip():
                texts[key] = " ".join(value.text.split())
        for key in ("check", "reason"):
            if key not in texts:
                problems.append(Problem(f"a deviation without a {key}", node.place, f"{key}: and text"))
        if "check" in texts:
            place = node.get("check")
            assert place is not None
            found.append(Deviation(texts["check"], texts.get("reason", ""), texts.get("link", ""), place.place))
    if problems:
        raise SpecError(problems)
    return found


def known(finding: Finding, deviations: Sequence[Deviation]) -> Deviation | None:
    """The deviation that speaks of a finding's check, if one does."""
    return next((d for d in deviations if d.matches([finding.id])), None)


def apply(findings: Sequence[Finding], deviations: Sequence[Deviation]) -> list[Finding]:
    """The findings of one check with its known deviation taken into account.

    A known failure is skipped, for the reason given; where every finding passed, the deviation itself has failed.
    """
    if not findings or not deviations:
        return list(findings)
    deviation = known(findings[0], deviations)
    if deviation is None:
        return list(findings)
    if all(f.status == "passed" for f in findings):
        gone = f"the known deviation {quote(deviation.pattern)} no longer occurs: take it out"
        return [*findings, replace(findings[0], status="failed", message=gone, place=deviation.place, found=None)]
    return [
        replace(f, status="skipped", reason=deviation.why) if f.status in ("failed", "blocked") else f for f in findings
    ]


def unmatched(deviations: Iterable[Deviation], ids: Iterable[str]) -> list[Deviation]:
    """The deviations that match none of these check ids."""
    all_ids = list(ids)
    return [d for d in deviations if not d.matches(all_ids)]
