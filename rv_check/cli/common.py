"""What commands have in common: options, statuses, how findings are shown, and where output goes."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rv_check.archs.arch import Arch
from rv_check.checks.deviations import load_deviations
from rv_check.checks.findings import LEVELS, Finding, Report, up_to
from rv_check.checks.judge import Judge
from rv_check.checks.registry import check_arch
from rv_check.errors import SpecError, cannot_write
from rv_check.optional import need_device
from rv_check.report import findings, github
from rv_check.writing import put


def positive(text: str) -> int:
    """A number of 1 or more, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


HELD, DID_NOT_HOLD, WRONG_QUESTION = 0, 1, 2
INTERRUPTED, NO_READER = 130, 141  # as a shell says it: 128 and the signal


def complain(message: str, status: int) -> int:
    """Tell what is wrong, and return the status."""
    progress("")
    print(f"rv-check: {message}", file=sys.stderr)
    return status


def drop_output() -> None:
    """Let the interpreter's last flush of stdout go nowhere."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def module_options(parser: argparse.ArgumentParser) -> None:
    """The options of commands that take a module."""
    parser.add_argument("--kwargs", metavar="JSON", help='arguments of a class or factory, as {"num_classes": 10}')


def evidence(parser: argparse.ArgumentParser) -> None:
    """The options that say how much is checked, where, and what must hold."""
    parser.add_argument("--level", choices=LEVELS, help="check up to this level of evidence; all unless given")
    parser.add_argument("--require", choices=LEVELS, help="a skip at this level or a lower one is a failure")
    parser.add_argument("--device", default="cpu", help="where models run, as torch names it")
    parser.add_argument("--deviations", metavar="FILE", help="a file of known deviations")


def status(result: Report) -> int:
    """A module is what it should be only where every check ran and held, or is known not to."""
    excused = all(finding.status == "passed" or finding.deviation for finding in result.findings)
    return HELD if excused else DID_NOT_HOLD


def show_module(result: Report, options: argparse.Namespace, command: str = "check") -> None:
    """Print what was found of a module, as text or JSON."""
    if options.json:
        print(json.dumps(findings.check_json(result), indent=2))
    else:
        print(findings.module_text(result, _again(options)))
        if getattr(options, "map", False):
            print("\n" + findings.map_text(result))
    annotate([result], options.json)


def _again(options: argparse.Namespace) -> str:
    """The command that was given, to be given again for one step alone."""
    if getattr(options, "subject", None) is None or options.arch is None:
        return ""
    parts = ["rv-check", "check", options.subject, "--as", options.arch]
    parts += ["--kwargs", options.kwargs] if options.kwargs else []
    parts += ["--until", options.until] if options.until else []
    return shlex.join(parts)


def annotate(reports: Sequence[Report], quiet: bool) -> None:
    """What failed, as annotations of a run of GitHub Actions."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for result in reports:
            for line in github.workflow_commands(result):
                print(line, file=sys.stderr if quiet else sys.stdout)


def check_archs(chosen: Sequence[Arch], options: argparse.Namespace, tell: bool = True) -> list[Report]:
    """The reports of these archs, as the options ask; findings are told as they come if `tell` says so."""
    judge = judge_of(options, chosen, tell and not options.json)
    return [check_arch(arch, up_to(options.level), options.device, judge) for arch in chosen]


def judge_of(options: argparse.Namespace, chosen: Sequence[Arch], tell: bool) -> Judge:
    """What the options ask for. Raises: RvCheckError before any work, for whatever is wrong with the question."""
    problems = []
    for arch in chosen:
        try:
            _ = arch.tree
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    deviations = load_deviations(Path(options.deviations)) if options.deviations else []
    if options.device != "cpu":
        need_device(options.device)
    out = sys.stdout

    def seen(finding: Finding) -> None:
        progress("")
        if tell:
            print("\n".join(finding.lines()), file=out, flush=True)

    return Judge(options.require, deviations, progress, seen)


def progress(text: str) -> None:
    """One line on a terminal, rewritten; nothing elsewhere."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def write(text: str, path: Path | None) -> None:
    """To the file, or to stdout, also where the file turns out not to take it: the work is not lost."""
    if path is None:
        print(text)
        return
    try:
        put(path, f"{text}\n".encode())
    except OSError as error:
        print(text)
        raise cannot_write(path, error, "the report is on stdout") from None
