"""What several commands do: check archs as the options of evidence ask, and answer with what was found of a module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rv_check.archs.arch import Arch
from rv_check.checks.deviations import load_deviations
from rv_check.checks.findings import Finding, Report
from rv_check.checks.judge import Judge
from rv_check.checks.registry import check_arch
from rv_check.cli.console import DID_NOT_HOLD, HELD, Answer, Console
from rv_check.cli.options import Evidence
from rv_check.errors import SpecError
from rv_check.optional import need_device
from rv_check.report import findings


def check_archs(
    chosen: Sequence[Arch], evidence: Evidence, console: Console, seen: Callable[[Finding], None] = lambda finding: None
) -> list[Report]:
    """The reports of these archs; `seen` hears of each finding as it comes. Raises: as `judge_of`."""
    judge = judge_of(evidence, chosen, console, seen)
    return [check_arch(arch, evidence.levels, evidence.device, judge) for arch in chosen]


def judge_of(
    evidence: Evidence,
    chosen: Sequence[Arch],
    console: Console,
    seen: Callable[[Finding], None] = lambda finding: None,
) -> Judge:
    """What makes of findings what was asked for, and says what it is at.

    Raises: RvCheckError before any work, for whatever is wrong with the question.
    """
    problems = []
    for arch in chosen:
        try:
            _ = arch.tree
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    deviations = load_deviations(Path(evidence.deviations)) if evidence.deviations else []
    if evidence.device != "cpu":
        need_device(evidence.device)
    return Judge(evidence.require, deviations, console.doing, seen)


def of_module(found: Report, again: str = "", with_map: bool = False) -> Answer:
    """What was found of a module, or of two archs, which is as it should be where every check ran and held.

    Or is known not to. Args: `again` the command for one step alone; `with_map` prints the names of its tensors, too.
    """

    def text() -> str:
        return findings.module_text(found, again) + (f"\n\n{findings.map_text(found)}" if with_map else "")

    excused = all(finding.status == "passed" or finding.deviation for finding in found.findings)
    return Answer(partial(findings.check_json, found), text, HELD if excused else DID_NOT_HOLD, reports=[found])
