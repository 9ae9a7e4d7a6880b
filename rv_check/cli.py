"""The command line. Exit status: 0 all held, 1 something did not hold, 2 the question was wrong."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rv_check import arch as archs
from rv_check import library, report
from rv_check.arch import Arch
from rv_check.checks import Judge, check_arch
from rv_check.deviations import load_deviations
from rv_check.findings import LEVELS, Finding, Report, up_to
from rv_check.problems import RvCheckError, SpecError, quote
from rv_check.reference import need_device

HELD, DID_NOT_HOLD, WRONG_QUESTION = 0, 1, 2
INTERRUPTED, NO_READER = 130, 141  # as a shell says it: 128 and the signal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = build_parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # whatever a spec is called, it can be printed
    try:
        status: int = options.run(options)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except RvCheckError as error:
        return _complain(str(error), WRONG_QUESTION)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader has gone, as in `rv-check show resnet152 | head`
        _drop_output()
        return NO_READER
    except OSError as error:  # a full disk behind stdout
        _drop_output()
        return _complain(str(error), WRONG_QUESTION)


def _complain(message: str, status: int) -> int:
    _progress("")
    print(f"rv-check: {message}", file=sys.stderr)
    return status


def _drop_output() -> None:
    """Let the interpreter's last flush of stdout go nowhere."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    where, colon, _ = options.subject.rpartition(":")
    is_module = bool(colon) and not where.endswith(":")  # file.py:Name, and not file.yaml::arch
    if is_module and where.endswith(library.SUFFIXES):
        raise RvCheckError(f"{quote(options.subject)} is no arch\n  expected: {where}::ARCH, with two colons")
    if is_module and options.arch is None:
        raise RvCheckError(
            f"{options.subject} is a module: say which arch it should be, as in --as resnet50\n"
            "  (finding that out is work of the structure level, which this version does not have)"
        )
    if not is_module and options.arch is not None:
        raise RvCheckError(f"{quote(options.subject)} is no module\n  expected: file.py:Name or package.module:Name")
    result = _check_module(options) if is_module else _check_archs([archs.load(options.subject)], options)[0]
    if options.json:
        print(json.dumps(report.check_json(result), indent=2))
    else:
        print(result.verdict)
    excused = all(finding.status == "passed" or finding.deviation for finding in result.findings)
    return HELD if excused or not (is_module or result.failed) else DID_NOT_HOLD


def _check_module(options: argparse.Namespace) -> Report:
    """A module is the arch only where every check ran and held."""
    if options.level == "spec":
        raise RvCheckError("--level spec says nothing of a module\n  expected: --level numbers, or none")
    arch = archs.load(options.arch)
    judge = _judge(options, [arch], not options.json)
    with contextlib.redirect_stdout(sys.stderr):  # what the module prints is not ours to pass on
        from rv_check.candidates import load_module
        from rv_check.conformance import check

        _progress(f"importing {options.subject}")
        module = load_module(options.subject)
        return check(module, arch, options.device, judge=judge, name=options.subject)


def _check_archs(chosen: Sequence[Arch], options: argparse.Namespace, tell: bool = True) -> list[Report]:
    judge = _judge(options, chosen, tell and not options.json)
    return [check_arch(arch, up_to(options.level), options.device, judge) for arch in chosen]


def _judge(options: argparse.Namespace, chosen: Sequence[Arch], tell: bool) -> Judge:
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
        _progress("")
        if tell:
            print("\n".join(finding.lines()), file=out, flush=True)

    return Judge(options.require, deviations, _progress, seen)


def _progress(text: str) -> None:
    """One line on a terminal, rewritten; nothing elsewhere."""
    if sys.stderr is not None and sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def report_command(options: argparse.Namespace) -> int:
    """The comparison table; every number in it has been held against its source by the checks."""
    if options.sources and options.format in ("json", "latex"):
        raise RvCheckError("--sources comes as text, markdown or csv; the json report holds the sources anyway")
    if options.sources:
        options.level = options.level or "spec"  # verdicts on printed numbers are static
    path = _writable(options.output) if options.output else None
    chosen = [archs.load(name) for name in options.arch] or archs.archs()
    reports = _check_archs(chosen, options, tell=False)
    lines = [report.Line(arch, found) for arch, found in zip(chosen, reports, strict=True)]
    text = report.sources(lines, options.format) if options.sources else report.comparison(lines, options.format)
    failed = [f for found in reports for f in found.findings if f.status in ("failed", "blocked")]
    for finding in failed:
        print("\n".join(finding.lines()), file=sys.stderr)
    _write(text, path)
    return DID_NOT_HOLD if failed else HELD


def _writable(name: str) -> Path:
    """Where a report goes, tried before the work. Raises: RvCheckError."""
    path = Path(name)
    folder = path.parent
    reason = None
    if path.is_dir():
        reason = "it is a folder"
    elif not folder.is_dir():
        reason = f"there is no folder {folder}"
    elif not os.access(path if path.exists() else folder, os.W_OK):
        reason = "no permission"
    if reason is not None:
        raise RvCheckError(f"{path} cannot be written: {reason}")
    return path


def _write(text: str, path: Path | None) -> None:
    """To the file, or to stdout, also where the file turns out not to take it: the work is not lost."""
    if path is None:
        print(text)
        return
    try:
        path.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        print(text)
        raise RvCheckError(f"{path} cannot be written, so the report is on stdout: {error.strerror or error}") from None


if __name__ == "__main__":
    sys.exit(main())
