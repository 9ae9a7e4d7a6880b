"""What several commands do: check archs as the options of evidence ask, and answer with what was found of a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rv_check.archs.arch import Arch
from rv_check.checks.check import Check
from rv_check.checks.deviations import load_deviations
from rv_check.checks.effort import seconds
from rv_check.checks.findings import Finding, Report, up_to
from rv_check.checks.judge import Judge
from rv_check.cli import machine
from rv_check.cli.console import DID_NOT_HOLD, HELD, Answer, Console
from rv_check.cli.following import Following
from rv_check.cli.jobs import Question, check_at_once
from rv_check.cli.options import Evidence
from rv_check.cli.progress import Above, Progress
from rv_check.errors import SpecError
from rv_check.optional import need_device
from rv_check.report import findings

STATIC = up_to("spec")
TYPICAL_PARAMS = 25_000_000  # of a module, which is not counted before it is checked; as many as ResNet-50 has


def check_archs(
    chosen: Sequence[Arch],
    evidence: Evidence,
    console: Console,
    jobs: int | None = 1,
    seen: Callable[[Finding], None] = lambda finding: None,
    above: Callable[[Following], Above] | None = None,
) -> list[Report]:
    """The reports of these archs.

    Args: `jobs` how many at once, None for as many as the machine can do; `seen` hears of each finding as it comes, in
    the order of the archs; `above` makes of what is heard the lines that stand above a bar.
    Raises: as `question_of`, and RvCheckError where a process ends early.
    """
    question = question_of(evidence, chosen)
    following = Following(chosen, evidence.levels, seen)
    with following.shown(console, above):
        if jobs is None and (evidence.device != "cpu" or machine.cores() == 1):
            jobs = 1  # a GPU has one memory
        if jobs == 1 or len(chosen) == 1 or evidence.levels == STATIC:
            return [question.answer(index, arch, following) for index, arch in enumerate(chosen)]
        check_at_once(chosen, question, following, jobs)
        return following.reports


def question_of(evidence: Evidence, chosen: Sequence[Arch]) -> Question:
    """What is asked of each arch.

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
    return Question(evidence.levels, evidence.device, evidence.require, deviations)


@contextmanager
def judging(question: Question, console: Console) -> Iterator[tuple[Judge, Progress]]:
    """What makes of the findings on a module what was asked for; how far its checks are is shown until the end."""
    with console.progress(1.0) as progress:

        def starting(subject: str, checks: Sequence[Check], index: int) -> None:
            took = [seconds(check, TYPICAL_PARAMS) for check in checks]
            progress.at(f"{subject}::{checks[index].name}")
            progress.step(sum(took[:index]) / (sum(took) or 1.0) - progress.done)

        yield Judge(question.require, question.deviations, starting), progress


def of_module(found: Report, again: str = "", with_map: bool = False) -> Answer:
    """What was found of a module, or of two archs, which is as it should be where every check ran and held.

    Or is known not to. Args: `again` the command for one step alone; `with_map` prints the names of its tensors, too.
    """

    def text() -> str:
        return findings.module_text(found, again) + (f"\n\n{findings.map_text(found)}" if with_map else "")

    excused = all(finding.status == "passed" or finding.deviation for finding in found.findings)
    return Answer(partial(findings.check_json, found), text, HELD if excused else DID_NOT_HOLD, reports=[found])
