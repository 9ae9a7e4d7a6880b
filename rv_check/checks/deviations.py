"""Known deviations: checks that a project knows to fail, kept in a file of the project's own, outside every spec.

    deviations:
      - check: resnet50::macs
        reason: our stem has no padding, on purpose
        link: https://example.org/issues/12

`check` is a pattern (`*`, `?`, `[...]`) for `arch::check`, or for `path/to/file.yaml::arch::check`. A deviation has a
reason; one that no longer occurs, or matches no check, fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from rv_check.checks.findings import Finding, Level
from rv_check.errors import Place, Problem, SpecError
from rv_check.language.yaml_nodes import Fields, Items, Text, YamlNode, kind, read
from rv_check.text import nearest, quote

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
        return any(id_ == self.pattern or fnmatchcase(id_, self.pattern) for id_ in ids)

    @property
    def arch(self) -> str:
        """The part of the pattern that names archs."""
        return self.pattern.split("::")[-2]

    def speaks_of(self, arch: str) -> bool:
        """Whether the pattern names the arch, whatever the check."""
        return arch == self.arch or fnmatchcase(arch, self.arch)

    @property
    def why(self) -> str:
        """The reason with its link, for a reader."""
        return f"known deviation: {self.reason}" + (f" ({self.link})" if self.link else "")

    @property
    def unmatched(self) -> Finding:
        """The failure of a deviation that matches no check."""
        message = f"the known deviation {quote(self.pattern)} matches no check"
        return Finding(self.arch, "deviations", "spec", "failed", message, place=self.place)


def load_deviations(path: Path) -> list[Deviation]:
    """The entries of a deviations file. Raises: SpecError."""
    top = read(path)
    entries = top.get("deviations")
    if not isinstance(entries, Items) or len(top.entries) != 1:
        expected = "deviations: and a list of entries, and nothing else"
        raise SpecError([Problem("this is not a list of known deviations", top.place, expected)])
    problems: list[Problem] = []
    found = [_entry(node, problems) for node in entries.items]
    if problems:
        raise SpecError(problems)
    return [deviation for deviation in found if deviation is not None]


def _entry(node: YamlNode, problems: list[Problem]) -> Deviation | None:
    if not isinstance(node, Fields):
        problems.append(
            Problem(f"a deviation is {kind(node)}", node.place, "check: and reason:, and link: if there is")
        )
        return None
    texts: dict[str, str] = {}
    for key, (key_node, value) in node.entries.items():
        if key not in KEYS:
            message = f"a deviation has no key {quote(key)}"
            problems.append(Problem(message, key_node.place, ", ".join(KEYS), nearest(key, KEYS)))
        elif isinstance(value, Text) and value.text.strip():
            texts[key] = " ".join(value.text.split())
        else:
            problems.append(Problem(f"{key} is {kind(value)}", value.place, "text"))
    for key in ("check", "reason"):
        if key not in node:
            problems.append(Problem(f"a deviation without a {key}", node.place, f"{key}: and text"))
    pattern = node.get("check")
    if pattern is None or "check" not in texts:
        return None
    if "::" not in texts["check"]:
        problems.append(
            Problem(f"check is {quote(texts['check'])}", pattern.place, "arch::check, as in resnet50::macs")
        )
    return Deviation(texts["check"], texts.get("reason", ""), texts.get("link", ""), pattern.place)


def first_match(deviations: Iterable[Deviation], ids: Sequence[str]) -> Deviation | None:
    """The deviation that speaks of a check, if one does."""
    return next((d for d in deviations if d.matches(ids)), None)


def settle(findings: Sequence[Finding], required: Sequence[Level], deviation: Deviation | None) -> list[Finding]:
    """The findings of one check as its user judges them.

    A skip at a required level has failed. A failure that is a known deviation is skipped, with the reason given; where
    everything passed, it is the deviation that fails.
    """
    settled = []
    for finding in findings:
        if finding.status == "skipped" and finding.level in required:
            finding = replace(finding, status="failed", message=f"{finding.message}, and {finding.level} is required")
        elif finding.status in ("failed", "blocked") and deviation is not None:
            finding = replace(finding, status="skipped", reason=deviation.why, deviation=deviation.reason)
        settled.append(finding)
    if deviation is not None and all(finding.status == "passed" for finding in findings):
        first = findings[0]
        message = f"the known deviation {quote(deviation.pattern)} does not occur any more: take it out"
        settled.append(Finding(first.subject, first.check, first.level, "failed", message, place=deviation.place))
    return settled
