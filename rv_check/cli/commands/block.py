"""The command `rv-check block`: a residual block that exists as a class, against a contract.

--json is one object of schema rv-check/block/1: the keys of rv-check/check/1, with a finding for each property.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from functools import partial
from typing import Any

from rv_check.blocks.check import EXAMPLES, check_block
from rv_check.checks.findings import Report
from rv_check.cli.console import DID_NOT_HOLD, HELD, Answer, Console
from rv_check.cli.options import call, json_of, keywords, positive
from rv_check.language.vocabulary import PROPERTIES
from rv_check.modules.named import named_value, parse_arguments
from rv_check.report import findings
from rv_check.text import quote_plain

SCHEMA = "rv-check/block/1"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("subject", metavar="CLASS", help="file.py:Name or pkg.mod:Name")
    parser.add_argument("--as", dest="contract", metavar="BLOCK", help='the contract, as "bottleneck(64, stride=2)"')
    parser.add_argument("--in", dest="input", metavar="'C H W'", help="one input, instead of many that are drawn")
    call(parser)
    keywords(parser)
    parser.add_argument("--seed", type=int, metavar="N", help="draw other cases; without it they are always the same")
    parser.add_argument("--examples", type=positive, default=EXAMPLES, metavar="N", help="cases of each property")
    parser.add_argument(
        "--property", action="append", metavar="NAME", help=f"this one alone: structure, {', '.join(PROPERTIES)}"
    )
    json_of(parser, SCHEMA)


def run(options: argparse.Namespace, console: Console) -> Answer:
    """Check one class. Raises: RvCheckError where the question was wrong."""
    kwargs = parse_arguments(options.kwargs)
    found = check_block(
        named_value(options.subject, "class"),
        options.contract,
        options.call,
        options.input,
        kwargs=kwargs,
        seed=options.seed,
        properties=options.property,
        examples=options.examples,
        name=options.subject,
    )
    given = {"as": options.contract, "in": options.input, "call": options.call}
    again = _again(options.subject, {**given, "kwargs": options.kwargs, "seed": options.seed})
    held = found.findings and all(finding.status == "passed" for finding in found.findings)
    return Answer(partial(as_json, found), partial(text, found, again), HELD if held else DID_NOT_HOLD)


def _again(subject: str, given: Mapping[str, object]) -> str:
    """The command that was given, to be given again for one property."""
    parts = ["rv-check", "block", subject]
    for name, value in given.items():
        parts += [f"--{name}", str(value)] if value is not None else []
    return shlex.join(parts)


def as_json(found: Report) -> dict[str, Any]:
    """The object of schema rv-check/block/1: that of a check, by another name."""
    return {**findings.check_json(found), "schema": SCHEMA}


def text(found: Report, again: str = "") -> str:
    """The answer first, then what was inferred, then a line for each check, then what failed in full."""
    failed = [finding for finding in found.findings if finding.status == "failed"]
    checks = list(dict.fromkeys(finding.check for finding in failed))
    skipped = [finding for finding in found.findings if finding.status == "skipped"]
    if checks:
        answer = f"{found.subject} does not hold as {found.against}: {', '.join(checks)}"
    elif skipped:
        answer = f"{found.subject} is not known to hold as {found.against}: {len(skipped)} skipped"
    else:
        answer = f"{found.subject} holds as {found.against}"
    lines = [answer, "", *(f"  {note}" for note in found.notes), ""]
    width = max((len(finding.check) for finding in found.findings), default=0)
    shown: set[str] = set()
    for finding in found.findings:
        if finding.check in shown:
            continue  # one line a check; all of what failed follows
        shown.add(finding.check)
        first = finding.message.partition("\n")[0]
        words = finding.reason or (first if finding.status != "blocked" else first.removeprefix("blocked "))
        lines.append(f"  {finding.check:<{width}}  {finding.status:<7}  {words}")
    for finding in failed:
        first, *more = finding.message.splitlines()
        lines += ["", f"  {finding.check}: {first}", *(f"    {line}" for line in more)]
        values = {"found": finding.found, "expected": finding.expected}
        lines += [f"    {name + ':':<9} {value}" for name, value in values.items() if value is not None]
    properties = [check for check in checks if check in PROPERTIES]
    if again and properties:
        lines += ["", f"  again: {again} --property {properties[0]}"]
    return "\n".join(map(quote_plain, lines))
