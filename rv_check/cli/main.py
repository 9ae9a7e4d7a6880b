"""The command line. Exit status: 0 all held, 1 something did not hold, 2 the question was wrong."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from rv_check.cli.commands.check import check_command
from rv_check.cli.commands.diff import diff_command
from rv_check.cli.commands.list import list_command
from rv_check.cli.commands.report import report_command
from rv_check.cli.commands.show import show_command
from rv_check.cli.common import (
    INTERRUPTED,
    NO_READER,
    WRONG_QUESTION,
    complain,
    drop_output,
    evidence,
    module_options,
    positive,
)
from rv_check.errors import RvCheckError
from rv_check.modules.named import is_module_name
from rv_check.report import findings, layers, tables

OF_THEIR_OWN = {  # imported where they are asked for, each with `add_options` and `run`
    "macs": ("macs", "multiply-adds, what every counter makes of them, and memory"),
    "receptive-field": ("receptive_field", "what the units of a network see, in input pixels"),
    "bench": ("bench", "how long forward, backward and training step take, on the CPU and on CUDA"),
    "study": ("study", "runs that show why residual learning works"),
    "block": ("block", "a residual block of your own, against a contract, property by property"),
    "swap": ("swap", "a network with other residual blocks in its stages, beside the network as it is"),
    "transfer": ("transfer", "what a new head and frozen parts leave to be trained"),
    "accuracy": ("accuracy", "top-1 and top-5 of weights on a folder of images, against what is published"),
    "claims": ("claims", "printed statements about networks, and the verdict on each"),
}


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
        return complain(str(error), WRONG_QUESTION)
    except KeyboardInterrupt:
        return complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # the reader has gone, as in `rv-check show resnet152 | head`
        drop_output()
        return NO_READER
    except OSError as error:  # a full disk behind stdout
        drop_output()
        return complain(str(error), WRONG_QUESTION)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line. `rv-check mynet.py:Net` stands for `rv-check check mynet.py:Net`."""
    given = list(arguments)
    if given and is_module_name(given[0]) and not given[0].startswith("-"):
        given.insert(0, "check")
    return build_parser(given[0] if given else "").parse_args(given)


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
    show.add_argument("--json", action="store_true", help=f"one object, schema {layers.SHOW_SCHEMA}")

    check = command("check", check_command, "a spec against its reference, or a module against a spec")
    check.add_argument("subject", metavar="ARCH|MODULE", help="an arch, or a module: file.py:Name or pkg.mod:Name")
    check.add_argument(
        "--as", dest="arch", metavar="ARCH", help="the arch that the module should be; found out if not given"
    )
    module_options(check)
    check.add_argument("--until", metavar="STEP", help="the module ends at this step of the arch, as in layer4")
    check.add_argument("--only", metavar="STEP", help="only the differences in structure at this step and below it")
    check.add_argument("--map", action="store_true", help="print the module's name of each parameter and buffer")
    check.add_argument("--save-map", metavar="FILE", help=f"write that as JSON, schema {findings.MAP_SCHEMA}")
    check.add_argument("--json", action="store_true", help=f"one object, schema {findings.CHECK_SCHEMA}")
    evidence(check)

    diff = command("diff", diff_command, "the differences of two archs, two modules, or one of each")
    diff.add_argument("a", metavar="A", help="the one expected: an arch or a module")
    diff.add_argument("b", metavar="B", help="the other one")
    diff.add_argument("--input", metavar="'C H W'", help="the input of two modules, 3 224 224 unless given")
    diff.add_argument("--json", action="store_true", help=f"one object, schema {findings.CHECK_SCHEMA}")
    module_options(diff)
    evidence(diff)

    for name, (module, text) in OF_THEIR_OWN.items():
        if name != asked:
            command(name, list_command, text)  # it is in the help, and not imported
            continue
        own = import_module(f"rv_check.cli.commands.{module}")
        own.add_options(command(name, own.run, text))

    table = command("report", report_command, "the comparison table of the shipped archs")
    table.add_argument("arch", nargs="*", metavar="ARCH", help="only these")
    table.add_argument("--format", choices=tables.FORMATS, default="text")
    table.add_argument("-o", "--output", metavar="FILE", help="write there instead of to stdout")
    table.add_argument("--sources", action="store_true", help="every printed number with its source and verdict")
    table.add_argument("--results", nargs="+", metavar="FILE", help="measured times of `rv-check bench`, as columns")
    evidence(table)
    return parser


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rv-check")
    except PackageNotFoundError:
        return "from source"


if __name__ == "__main__":
    sys.exit(main())
