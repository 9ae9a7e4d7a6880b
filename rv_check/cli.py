"""The command line. Exit status: 0 all held, 1 something did not hold, 2 the question was wrong."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rv_check import arch as archs
from rv_check import library, report
from rv_check.arch import Arch
from rv_check.findings import LEVELS, Finding, Report
from rv_check.problems import RvCheckError, quote

HELD, DID_NOT_HOLD, WRONG_QUESTION = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except RvCheckError as error:
        print(f"rv-check: {error}", file=sys.stderr)
        return WRONG_QUESTION
    except KeyboardInterrupt:
        print("rv-check: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has gone, as in `rv-check show resnet152 | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return HELD


def build_parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(
        prog="rv-check", description="Is this network the network it claims to be?", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"rv-check {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(run=run)
        return sub

    command("list", list_command, "the shipped archs, blocks and families")

    show = command("show", show_command, "the layer table of an arch, without torch")
    show.add_argument("arch", metavar="ARCH", help="resnet50, 'resnet50(classes=10)' or path/to/file.yaml::arch")
    show.add_argument("--input", metavar="'C H W'", help="another input size than the declared one")
    show.add_argument("--depth", type=_positive, metavar="N", help="fold modules N names deep into one line")
    show.add_argument("--json", action="store_true", help=f"one object, schema {report.SHOW_SCHEMA}")

    check = command("check", check_command, "a spec against its reference, or a module against a spec")
    check.add_argument("subject", metavar="ARCH|MODULE", help="an arch, or file.py:Name or pkg.mod:Name with --as")
    check.add_argument("--as", dest="arch", metavar="ARCH", help="the arch that the module should be")
    check.add_argument("--json", action="store_true", help=f"one object, schema {report.CHECK_SCHEMA}")
    _evidence(check)

    table = command("report", report_command, "the comparison table of the shipped archs")
    table.add_argument("arch", nargs="*", metavar="ARCH", help="only these")
    table.add_argument("--format", choices=report.FORMATS, default="text")
    table.add_argument("-o", "--output", metavar="FILE", help="write there instead of to stdout")
    table.add_argument("--sources", action="store_true", help="every printed number with its source and verdict")
    _evidence(table)
    return parser


def _evidence(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--level", choices=LEVELS, help="check up to this level of evidence; all unless given")
    parser.add_argument("--require", choices=LEVELS, help="a skip at this level or a lower one is a failure")
    parser.add_argument("--device", default="cpu", help="where models run, as torch names it")
    parser.add_argument("--deviations", metavar="FILE", help="a file of known deviations")


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rv-check")
    except PackageNotFoundError:
        return "from source"


def list_command(options: argparse.Namespace) -> int:
    """Families with their archs, then blocks."""
    for family in archs.families():
        print(f"{family.name}({', '.join(family.argument_names)})  {family.source}")
        for name in family.archs:
            print(f"  {name}")
    print("blocks")
    for path in library.block_files(library.shipped_folder()):
        block = library.load(path)
        print(f"  {block.name}({', '.join(block.argument_names)})  {block.source}")
    return HELD


def show_command(options: argparse.Namespace) -> int:
    """The layer table."""
    arch = archs.load(options.arch, options.input)
    if options.json:
        print(json.dumps(report.show_json(arch, options.depth), indent=2))
    else:
        print(report.show_text(arch, options.depth))
    return HELD


def check_command(options: argparse.Namespace) -> int:
    """One arch, or one module, with findings as they come."""
    _usable(options)
    if options.arch is None and _is_module(options.subject):
        raise RvCheckError(
            f"{options.subject} is a module: say which arch it should be, as in --as resnet50\n"
            "  (finding that out is work of the structure level, which this version does not have)"
        )
    if options.arch is not None:
        from rv_check.candidates import load_module
        from rv_check.conformance import check

        arch = archs.load(options.arch)
        result = check(load_module(options.subject), arch, options.device)
        result = replace(result, subject=options.subject)
        for finding in result.findings:
            if not options.json:
                _print_finding(finding)
        return _finish(options, result, held=result.passed)
    arch = archs.load(options.subject)
    result = _checked(arch, options, None if options.json else _print_finding)
    return _finish(options, result, held=not result.failed)


def _finish(options: argparse.Namespace, result: Report, held: bool) -> int:
    if options.json:
        print(json.dumps(report.check_json(result), indent=2))
    else:
        counts = {s: sum(f.status == s for f in result.findings) for s in ("passed", "failed", "skipped", "blocked")}
        counted = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
        verdict = "holds" if result.passed else "does not hold" if result.failed else "is not shown in full"
        print(f"{result.subject} against {result.against}: {verdict} ({counted})")
    return HELD if held else DID_NOT_HOLD


def _is_module(subject: str) -> bool:
    """`file.py:Name` or `pkg.mod:Name`, and not `file.yaml::arch`."""
    return ":" in subject and "::" not in subject


def _print_finding(finding: Finding) -> None:
    print("\n".join(finding.lines()), flush=True)


def _checked(arch: Arch, options: argparse.Namespace, seen: Callable[[Finding], None] | None) -> Report:
    from rv_check.checks import Run, checks_of, run_check, up_to
    from rv_check.deviations import apply, load_deviations, unmatched
    from rv_check.findings import required
    from rv_check.problems import SpecError

    deviations = load_deviations(Path(options.deviations)) if options.deviations else []
    run = Run(arch, options.device)
    checks = checks_of(arch, up_to(options.level))
    try:
        _ = arch.tree
    except SpecError:
        if seen is not None or len(checks) == 1:
            raise  # a bad spec is a wrong question
    ours = [d for d in deviations if d.matches([f"{arch.name}::{d.pattern.rpartition('::')[2]}"])]
    lost = unmatched(ours, [f"{arch.name}::{check.name}" for check in checks_of(arch)])
    if lost:
        raise RvCheckError(f"{lost[0].place}: the known deviation {quote(lost[0].pattern)} matches no check")
    found: list[Finding] = []
    for index, check in enumerate(checks):
        _progress(f"{arch.name}: {check.name} ({index + 1} of {len(checks)})")
        findings = run_check(check, run)
        if options.require:
            findings = [required(f, up_to(options.require)) for f in findings]
        findings = apply(findings, deviations)
        _progress("")
        for finding in findings:
            found.append(finding)
            if seen is not None:
                seen(finding)
    reference = arch.entry.reference
    return Report(arch.name, reference.name if reference else "what is published", tuple(found))


def _progress(text: str) -> None:
    """One line on a terminal, rewritten; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def report_command(options: argparse.Namespace) -> int:
    """The comparison table; every number in it has been held against its source by the checks."""
    _usable(options)
    if options.sources and options.format in ("json", "latex"):
        raise RvCheckError("--sources comes as text, markdown or csv; the json report holds the sources anyway")
    chosen = [archs.load(name) for name in options.arch] or archs.archs()
    output = _Output(options.output)
    lines = [report.Line(arch, _checked(arch, options, None)) for arch in chosen]
    output.write(report.sources(lines, options.format) if options.sources else report.comparison(lines, options.format))
    failed = [f for line in lines for f in line.report.findings if f.status in ("failed", "blocked")]
    for finding in failed:
        print("\n".join(finding.lines()), file=sys.stderr)
    return DID_NOT_HOLD if failed else HELD


class _Output:
    """Where a report goes. A file is tried before the work and replaced whole after it."""

    def __init__(self, name: str | None):
        self.path = Path(name) if name else None
        if self.path is not None and (self.path.is_dir() or not self.path.parent.is_dir()):
            raise RvCheckError(f"{self.path} cannot be written: {'a folder' if self.path.is_dir() else 'no such folder'}")

    def write(self, text: str) -> None:
        if self.path is None:
            print(text)
            return
        partial = self.path.with_name(self.path.name + ".partial")
        try:
            partial.write_text(text + "\n", encoding="utf-8")
            partial.replace(self.path)
        except OSError as error:
            raise RvCheckError(f"{self.path} cannot be written: {error.strerror}") from None


def _usable(options: argparse.Namespace) -> None:
    """Whether the device exists, before any work; nothing to ask where torch is not installed."""
    if options.device == "cpu":
        return
    from rv_check.reference import need

    torch: Any = need("torch")
    try:
        torch.empty(1, device=options.device)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise RvCheckError(f"device {quote(options.device)} cannot be used: {reason}") from None


if __name__ == "__main__":
    sys.exit(main())
