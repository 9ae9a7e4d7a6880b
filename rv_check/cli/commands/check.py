"""The command `rv-check check`: a spec against its reference, or a module against a spec."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from rv_check.archs.arch import Arch
from rv_check.archs.load import load
from rv_check.checks.findings import Finding, Report
from rv_check.cli.common import check_archs, judge_of, of_module
from rv_check.cli.console import DID_NOT_HOLD, HELD, Answer, Console
from rv_check.cli.options import ARCH_OR_MODULE, Evidence, evidence, evidence_of, json_of, keywords
from rv_check.errors import RvCheckError
from rv_check.modules.named import FORMS, is_module, load_module, parse_arguments
from rv_check.report import findings
from rv_check.text import quote
from rv_check.writing import writable

OF_MODULES = ("kwargs", "until", "only", "map", "save_map")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("subject", metavar="ARCH|MODULE", help=ARCH_OR_MODULE)
    parser.add_argument(
        "--as", dest="arch", metavar="ARCH", help="the arch that the module should be; found out if not given"
    )
    keywords(parser)
    parser.add_argument("--until", metavar="STEP", help="the module ends at this step of the arch, as in layer4")
    parser.add_argument("--only", metavar="STEP", help="only the differences in structure at this step and below it")
    parser.add_argument("--map", action="store_true", help="print the module's name of each parameter and buffer")
    parser.add_argument("--save-map", metavar="FILE", help=f"write that as JSON, schema {findings.MAP_SCHEMA}")
    json_of(parser, findings.CHECK_SCHEMA)
    evidence(parser)


def run(options: argparse.Namespace, console: Console) -> Answer:
    """One arch with findings as they come, or one module. Raises: RvCheckError."""
    asked = evidence_of(options)
    if not is_module(options.subject):
        given = [f"--{name.replace('_', '-')}" for name in OF_MODULES if getattr(options, name)]
        if options.arch is not None:
            raise RvCheckError(f"{quote(options.subject)} is no module", expected=FORMS)
        if given:
            raise RvCheckError(f"{given[0]} is for a module, and {options.subject} is none", expected=FORMS)
        return _of_arch(load(options.subject), asked, console)
    if asked.level == "spec":
        raise RvCheckError("--level spec says nothing of a module", expected="--level structure or numbers, or none")
    arch = load(options.arch) if options.arch is not None else None
    path = writable(options.save_map) if options.save_map else None
    if options.only and arch is not None:
        _see_step(arch, options.only)
    judge = judge_of(asked, [arch] if arch else [], console)
    arguments = parse_arguments(options.kwargs)
    from rv_check.checks.of_module import check

    console.doing(f"importing {options.subject}")
    module, fresh = load_module(options.subject, arguments)
    found = check(
        module,
        arch,
        asked.device,
        until=options.until,
        level="structure" if options.only else asked.level,
        fresh=fresh,
        judge=judge,
        name=options.subject,
    )
    if options.only and arch is None:
        _see_step(load(str(found.against)), options.only)
    if options.only:
        found = found.only(options.only)
    if path is not None:
        _save_map(found, path, console)
    again = _again(options.subject, options.arch, {"kwargs": options.kwargs, "until": options.until})
    return of_module(found, again, options.map)


def _of_arch(arch: Arch, asked: Evidence, console: Console) -> Answer:
    def seen(finding: Finding) -> None:
        console.say("\n".join(finding.lines()))

    (found,) = check_archs([arch], asked, console, seen)
    status = DID_NOT_HOLD if found.failed else HELD
    return Answer(partial(findings.check_json, found), lambda: found.verdict, status, reports=[found])


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
