"""The command `rv-check check`: a spec against its reference, or a module against a spec."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys

from rv_check.archs.arch import Arch
from rv_check.archs.load import load
from rv_check.checks.findings import Level, Report
from rv_check.cli.common import (
    DID_NOT_HOLD,
    HELD,
    annotate,
    check_archs,
    judge_of,
    progress,
    show_module,
    status,
    write,
)
from rv_check.errors import RvCheckError
from rv_check.modules.named import FORMS, is_module, load_module, parse_arguments
from rv_check.report import findings
from rv_check.text import quote
from rv_check.writing import writable


def check_command(options: argparse.Namespace) -> int:
    """One arch with findings as they come, or one module."""
    if not is_module(options.subject):
        given = [f"--{name.replace('_', '-')}" for name in OF_MODULES if getattr(options, name)]
        if options.arch is not None:
            raise RvCheckError(f"{quote(options.subject)} is no module", expected=FORMS)
        if given:
            raise RvCheckError(f"{given[0]} is for a module, and {options.subject} is none", expected=FORMS)
        return _check_arch(options)
    result = _check_module(options)
    if options.save_map:
        _save_map(result, options)
    show_module(result, options)
    return status(result)


OF_MODULES = ("kwargs", "until", "only", "map", "save_map")


def _check_arch(options: argparse.Namespace) -> int:
    (result,) = check_archs([load(options.subject)], options)
    print(json.dumps(findings.check_json(result), indent=2) if options.json else result.verdict)
    annotate([result], options.json)
    return DID_NOT_HOLD if result.failed else HELD


def _check_module(options: argparse.Namespace) -> Report:
    if options.level == "spec":
        raise RvCheckError("--level spec says nothing of a module", expected="--level structure or numbers, or none")
    arch = load(options.arch) if options.arch is not None else None
    if options.save_map:
        writable(options.save_map)
    if options.only and arch is not None:
        _see_step(arch, options.only)
    judge = judge_of(options, [arch] if arch else [], tell=False)
    arguments = parse_arguments(options.kwargs)
    with contextlib.redirect_stdout(sys.stderr):  # what the module prints is not ours to pass on
        from rv_check.checks.of_module import check

        progress(f"importing {options.subject}")
        module, fresh = load_module(options.subject, arguments)
        level: Level | None = "structure" if options.only else options.level
        found = check(
            module,
            arch,
            options.device,
            until=options.until,
            level=level,
            fresh=fresh,
            judge=judge,
            name=options.subject,
        )
    progress("")
    if options.only and arch is None:
        _see_step(load(str(found.against)), options.only)
    return found.only(options.only) if options.only else found


def _see_step(arch: Arch, step: str) -> None:
    """Raises: RvCheckError where the arch has no such step."""
    from rv_check.graphs.of_arch import graph_of

    graph_of(arch, until=step)


def _save_map(result: Report, options: argparse.Namespace) -> None:
    if not result.map:
        print("rv-check: there is no map to save, since the structure differs", file=sys.stderr)
        return
    write(json.dumps(findings.map_json(result), indent=2), writable(options.save_map))
