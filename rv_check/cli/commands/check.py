"""The command `rv-check check`: a spec against its reference, or a module against a spec."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rv_check.archs.arch import Arch
from rv_check.archs.load import load
from rv_check.checks.findings import Finding, Report
from rv_check.cli.common import check_archs, judging, of_module, question_of
from rv_check.cli.console import DID_NOT_HOLD, HELD, Answer, Console
from rv_check.cli.options import ARCH_OR_MODULE, Evidence, evidence, evidence_of, input_size, jobs, json_of, keywords
from rv_check.errors import RvCheckError
from rv_check.modules.named import FORMS, is_module, load_module, parse_arguments
from rv_check.report import findings
from rv_check.text import quote
from rv_check.writing import writable

OF_MODULES = ("kwargs", "input", "until", "only", "map", "save_map")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("subject", nargs="+", metavar="ARCH|MODULE", help=f"{ARCH_OR_MODULE}; archs may be several")
    parser.add_argument(
        "--as", dest="arch", metavar="ARCH", help="the arch that the module should be; found out if not given"
    )
    keywords(parser)
    input_size(parser)
    parser.add_argument("--until", metavar="STEP", help="the module ends at this step of the arch, as in layer4")
    parser.add_argument("--only", metavar="STEP", help="only the differences in structure at this step and below it")
    parser.add_argument("--map", action="store_true", help="print the module's name of each parameter and buffer")
    parser.add_argument("--save-map", metavar="FILE", help=f"write that as JSON, schema {findings.MAP_SCHEMA}")
    json_of(parser, f"{findings.CHECK_SCHEMA}; of several archs {findings.CHECKS_SCHEMA}")
    evidence(parser)
    jobs(parser)


def run(options: argparse.Namespace, console: Console) -> Answer:
    """Archs with findings as they come, or one module. Raises: RvCheckError."""
    asked = evidence_of(options)
    modules = [name for name in options.subject if is_module(name)]
    if not modules:
        given = [f"--{name.replace('_', '-')}" for name in OF_MODULES if getattr(options, name)]
        if options.arch is not None:
            raise RvCheckError(f"{quote(options.subject[0])} is no module", expected=FORMS)
        if given:
            raise RvCheckError(f"{given[0]} is for a module, and {options.subject[0]} is none", expected=FORMS)
        return _of_archs([load(name) for name in options.subject], asked, options.jobs, console)
    if len(options.subject) > 1:
        raise RvCheckError(f"{modules[0]} is a module, which is checked alone", expected="archs, or one module")
    (subject,) = modules
    if options.jobs:
        raise RvCheckError(f"--jobs is for archs, and {subject} is a module", expected="archs, or no --jobs")
    if asked.level == "spec":
        raise RvCheckError("--level spec says nothing of a module", expected="--level structure or numbers, or none")
    arch = load(options.arch) if options.arch is not None else None
    path = writable(options.save_map) if options.save_map else None
    if options.only and arch is not None:
        _see_step(arch, options.only)
    question = question_of(asked, [arch] if arch else [])
    arguments = parse_arguments(options.kwargs)
    from rv_check.checks.of_module import check

    with judging(question, console) as (judge, progress):
        progress.at(f"importing {subject}")
        candidate = load_module(subject, arguments)
        found = check(
            candidate.module,
            arch,
            asked.device,
            input=candidate.input(options.input),
            until=options.until,
            level="structure" if options.only else asked.level,
            fresh=candidate.fresh,
            judge=judge,
            name=subject,
        )
    if options.only and arch is None and found.against is not None:
        _see_step(load(str(found.against)), options.only)
    if options.only and found.against is not None:
        found = found.only(options.only)
    if path is not None:
        _save_map(found, path, console)
    again = _again(subject, options.arch, {"kwargs": options.kwargs, "input": options.input, "until": options.until})
    return of_module(found, again, options.map)


def _of_archs(chosen: Sequence[Arch], asked: Evidence, jobs: int | None, console: Console) -> Answer:
    def seen(finding: Finding) -> None:
        console.say("\n".join(finding.lines()))

    found = check_archs(chosen, asked, console, jobs, seen)
    status = DID_NOT_HOLD if any(report.failed for report in found) else HELD
    data = partial(findings.check_json, found[0]) if len(found) == 1 else partial(findings.checks_json, found)
    return Answer(data, lambda: "\n".join(report.verdict for report in found), status, reports=found)


def _see_step(arch: Arch, step: str) -> None:
    """Raises: RvCheckError where the arch has no such step."""
    from rv_check.graphs.of_arch import graph_of

    graph_of(arch, until=step)


def _again(subject: str, arch: str | None, given: Mapping[str, str | None]) -> str:
    """The command that was given, to be given again for one step alone; nothing where it named no arch."""
    if arch is None:
        return ""
    parts = ["rv-check", "check", subject, "--as", arch]
    for name, value in given.items():
        parts += [f"--{name}", value] if value else []
    return shlex.join(parts)


def _save_map(found: Report, path: Path, console: Console) -> None:
    if not found.map:
        console.note("rv-check: there is no map to save, since the structure differs")
        return
    console.write(json.dumps(findings.map_json(found), indent=2), path)
