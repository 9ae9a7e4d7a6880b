"""The command line. Exit status: 0 all held, 1 something did not hold, 2 the question was wrong."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from rv_check import arch as archs
from rv_check import library, report
from rv_check.arch import Arch, parse_size
from rv_check.candidates import FORMS, is_module_name, load_module, parse_arguments
from rv_check.checks import Judge, check_arch
from rv_check.deviations import load_deviations
from rv_check.errors import RvCheckError, SpecError, cannot_write
from rv_check.findings import LEVELS, Finding, Level, Report, up_to
from rv_check.options import is_module, positive
from rv_check.reference import need_device
from rv_check.text import quote
from rv_check.writing import put, writable

HELD, DID_NOT_HOLD, WRONG_QUESTION = 0, 1, 2
OF_THEIR_OWN = {  # commands that stand in modules of their own, each with `add_options` and `run`
    "macs": ("cli_macs", "multiply-adds, what every counter makes of them, and memory"),
    "receptive-field": ("cli_fields", "what the units of a network see, in input pixels"),
    "bench": ("cli_bench", "how long forward, backward and training step take, on the CPU and on CUDA"),
    "study": ("cli_study", "runs that show why residual learning works"),
    "block": ("cli_block", "a residual block of your own, against a contract, property by property"),
    "swap": ("cli_swap", "a network with other residual blocks in its stages, beside the network as it is"),
    "transfer": ("cli_transfer", "what a new head and frozen parts leave to be trained"),
    "accuracy": ("cli_accuracy", "top-1 and top-5 of weights on a folder of images, against what is published"),
    "claims": ("cli_claims", "printed statements about networks, and the verdict on each"),
}
INTERRUPTED, NO_READER = 130, 141  # as a shell says it: 128 and the signal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
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


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line. `rv-check mynet.py:Net` stands for `rv-check check mynet.py:Net`."""
    given = list(arguments)
    if given and is_module_name(given[0]) and not given[0].startswith("-"):
        given.insert(0, "check")
    return build_parser(given[0] if given else "").parse_args(given)


def _complain(message: str, status: int) -> int:
    _progress("")
    print(f"rv-check: {message}", file=sys.stderr)
    return status


def _drop_output() -> None:
    """Let the interpreter's last flush of stdout go nowhere."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser(asked: str = "") -> argparse.ArgumentParser:
    """The commands and their options. One that has a module of its own has them only where it is `asked` for."""
    parser = argparse.ArgumentParser(
        prog="rv-check",
        description="Is this network the network it claims to be?",
        epilog="rv-check MODULE, as in rv-check mynet.py:Net, says which arch a module is",
        allow_abbrev=False,
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
    show.add_argument("--depth", type=positive, metavar="N", help="fold modules N names deep into one line")
    show.add_argument("--json", action="store_true", help=f"one object, schema {report.SHOW_SCHEMA}")

    check = command("check", check_command, "a spec against its reference, or a module against a spec")
    check.add_argument("subject", metavar="ARCH|MODULE", help="an arch, or a module: file.py:Name or pkg.mod:Name")
    check.add_argument(
        "--as", dest="arch", metavar="ARCH", help="the arch that the module should be; found out if not given"
    )
    _module_options(check)
    check.add_argument("--until", metavar="STEP", help="the module ends at this step of the arch, as in layer4")
    check.add_argument("--only", metavar="STEP", help="only the differences in structure at this step and below it")
    check.add_argument("--map", action="store_true", help="print the module's name of each parameter and buffer")
    check.add_argument("--save-map", metavar="FILE", help=f"write that as JSON, schema {report.MAP_SCHEMA}")
    check.add_argument("--json", action="store_true", help=f"one object, schema {report.CHECK_SCHEMA}")
    _evidence(check)

    diff = command("diff", diff_command, "the differences of two archs, two modules, or one of each")
    diff.add_argument("a", metavar="A", help="the one expected: an arch or a module")
    diff.add_argument("b", metavar="B", help="the other one")
    diff.add_argument("--input", metavar="'C H W'", help="the input of two modules, 3 224 224 unless given")
    diff.add_argument("--json", action="store_true", help=f"one object, schema {report.CHECK_SCHEMA}")
    _module_options(diff)
    _evidence(diff)

    for name, (module, text) in OF_THEIR_OWN.items():
        if name != asked:
            command(name, list_command, text)  # it is in the help, and not imported
            continue
        own = import_module(f"rv_check.{module}")
        own.add_options(command(name, own.run, text))

    table = command("report", report_command, "the comparison table of the shipped archs")
    table.add_argument("arch", nargs="*", metavar="ARCH", help="only these")
    table.add_argument("--format", choices=report.FORMATS, default="text")
    table.add_argument("-o", "--output", metavar="FILE", help="write there instead of to stdout")
    table.add_argument("--sources", action="store_true", help="every printed number with its source and verdict")
    table.add_argument("--results", nargs="+", metavar="FILE", help="measured times of `rv-check bench`, as columns")
    _evidence(table)
    return parser


def _module_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kwargs", metavar="JSON", help='arguments of a class or factory, as {"num_classes": 10}')


def _evidence(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--level", choices=LEVELS, help="check up to this level of evidence; all unless given")
    parser.add_argument("--require", choices=LEVELS, help="a skip at this level or a lower one is a failure")
    parser.add_argument("--device", default="cpu", help="where models run, as torch names it")
    parser.add_argument("--deviations", metavar="FILE", help="a file of known deviations")


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
    _show_module(result, options)
    return _status(result)


OF_MODULES = ("kwargs", "until", "only", "map", "save_map")


def _check_arch(options: argparse.Namespace) -> int:
    (result,) = _check_archs([archs.load(options.subject)], options)
    print(json.dumps(report.check_json(result), indent=2) if options.json else result.verdict)
    _annotate([result], options.json)
    return DID_NOT_HOLD if result.failed else HELD


def _status(result: Report) -> int:
    """A module is what it should be only where every check ran and held, or is known not to."""
    excused = all(finding.status == "passed" or finding.deviation for finding in result.findings)
    return HELD if excused else DID_NOT_HOLD


def _check_module(options: argparse.Namespace) -> Report:
    if options.level == "spec":
        raise RvCheckError("--level spec says nothing of a module", expected="--level structure or numbers, or none")
    arch = archs.load(options.arch) if options.arch is not None else None
    if options.save_map:
        writable(options.save_map)
    if options.only and arch is not None:
        _see_step(arch, options.only)
    judge = _judge(options, [arch] if arch else [], tell=False)
    arguments = parse_arguments(options.kwargs)
    with contextlib.redirect_stdout(sys.stderr):  # what the module prints is not ours to pass on
        from rv_check.conformance import check

        _progress(f"importing {options.subject}")
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
    _progress("")
    if options.only and arch is None:
        _see_step(archs.load(str(found.against)), options.only)
    return found.only(options.only) if options.only else found


def _see_step(arch: Arch, step: str) -> None:
    """Raises: RvCheckError where the arch has no such step."""
    from rv_check.expected import expected

    expected(arch, False, step)


def _show_module(result: Report, options: argparse.Namespace, command: str = "check") -> None:
    if options.json:
        print(json.dumps(report.check_json(result), indent=2))
    else:
        print(report.module_text(result, _again(options)))
        if getattr(options, "map", False):
            print("\n" + report.map_text(result))
    _annotate([result], options.json)


def _again(options: argparse.Namespace) -> str:
    """The command that was given, to be given again for one step alone."""
    if getattr(options, "subject", None) is None or options.arch is None:
        return ""
    parts = ["rv-check", "check", options.subject, "--as", options.arch]
    parts += ["--kwargs", options.kwargs] if options.kwargs else []
    parts += ["--until", options.until] if options.until else []
    return shlex.join(parts)


def _save_map(result: Report, options: argparse.Namespace) -> None:
    if not result.map:
        print("rv-check: there is no map to save, since the structure differs", file=sys.stderr)
        return
    _write(json.dumps(report.map_json(result), indent=2), writable(options.save_map))


def _annotate(reports: Sequence[Report], quiet: bool) -> None:
    """What failed, as annotations of a run of GitHub Actions."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for result in reports:
            for line in report.workflow_commands(result):
                print(line, file=sys.stderr if quiet else sys.stdout)


def diff_command(options: argparse.Namespace) -> int:
    """Two archs without torch; two modules, or one of each, with it."""
    modules = [is_module_name(name) for name in (options.a, options.b)]
    if options.level == "spec":
        raise RvCheckError("--level spec compares nothing", expected="--level structure or numbers, or none")
    if options.input is not None and not all(modules):
        raise RvCheckError("--input is for two modules: an arch has an input of its own")
    if not any(modules):
        from rv_check.conformance import compare_archs

        result = compare_archs(archs.load(options.a), archs.load(options.b))
        _show_module(result, options)
        return _status(result)
    arguments = parse_arguments(options.kwargs)
    chosen = [
        archs.load(name) for name, is_module in zip((options.a, options.b), modules, strict=True) if not is_module
    ]
    size = parse_size(options.input) if options.input else (3, 224, 224)
    judge = _judge(options, chosen, tell=False)
    with contextlib.redirect_stdout(sys.stderr):
        from rv_check.conformance import check, compare_modules

        loaded = [load_module(name, arguments).module for name in (options.a, options.b) if is_module_name(name)]
        if chosen:
            name = options.b if modules[1] else options.a
            result = check(loaded[0], chosen[0], options.device, level=options.level, judge=judge, name=name)
        else:
            names = (options.b, options.a)
            result = compare_modules(
                loaded[1], loaded[0], size, options.device, level=options.level, judge=judge, names=names
            )
    _progress("")
    _show_module(result, options)
    return _status(result)


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
    if options.results and (options.sources or options.format == "json"):
        raise RvCheckError("--results are columns of the table", expected="--format text, markdown, csv or latex")
    more = _timed(options.results) if options.results else {}
    path = writable(options.output) if options.output else None
    chosen = [archs.load(name) for name in options.arch] or archs.archs()
    reports = _check_archs(chosen, options, tell=False)
    lines = [report.Line(arch, found) for arch, found in zip(chosen, reports, strict=True)]
    text = report.sources(lines, options.format) if options.sources else report.comparison(lines, options.format, more)
    _annotate(reports, options.format != "text" or bool(options.output))
    failed = [f for found in reports for f in found.findings if f.status in ("failed", "blocked")]
    for finding in failed:
        print("\n".join(finding.lines()), file=sys.stderr)
    _write(text, path)
    return DID_NOT_HOLD if failed else HELD


def _timed(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """A column of each way of timing, and machine."""
    from rv_check.bench import results as bench_results
    from rv_check.bench import tables

    return tables.columns(bench_results.merge([Path(name) for name in names]))


def _write(text: str, path: Path | None) -> None:
    """To the file, or to stdout, also where the file turns out not to take it: the work is not lost."""
    if path is None:
        print(text)
        return
    try:
        put(path, f"{text}\n".encode())
    except OSError as error:
        print(text)
        raise cannot_write(path, error, "the report is on stdout") from None


if __name__ == "__main__":
    sys.exit(main())
