"""The command line. Exit status: 0 all held, 1 something did not hold, 2 the question was wrong."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence

from rv_check.cli.commands import SUMMARIES, command
from rv_check.cli.console import HELD, INTERRUPTED, NO_READER, WRONG_QUESTION, Console
from rv_check.cli.options import form_of
from rv_check.errors import RvCheckError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = parse(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # whatever a spec is called, it can be printed
    console = Console(form_of(options))
    try:
        status = answer(options, console)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except RvCheckError as error:
        console.note(f"rv-check: {error}")
        return WRONG_QUESTION
    except KeyboardInterrupt:
        console.note("rv-check: interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader has gone, as in `rv-check show resnet152 | head`
        _drop_output()
        return NO_READER
    except OSError as error:  # a full disk behind stdout
        _drop_output()
        console.note(f"rv-check: {error}")
        return WRONG_QUESTION


def answer(options: argparse.Namespace, console: Console | None = None) -> int:
    """Run the command that these are the options of, show its answer, and return the exit status.

    Raises: RvCheckError where the question is wrong; what else `main` says in a line.
    """
    console = console or Console(form_of(options))
    with contextlib.redirect_stdout(sys.stderr):  # what a module prints is not ours to pass on
        found = options.run(options, console)
        text = console.shown(found) if found is not None else ""
    if found is None:
        return HELD
    console.write(text, found.output)
    console.annotate(found)
    status: int = found.status
    return status


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of a command line. `rv-check mynet.py:Net` stands for `rv-check check mynet.py:Net`."""
    given = list(arguments)
    if given and given[0] not in SUMMARIES and not given[0].startswith("-"):
        from rv_check.modules.named import is_module_name

        if is_module_name(given[0]):
            given.insert(0, "check")
    return build_parser(given[0] if given else "").parse_args(given)


def build_parser(asked: str = "") -> argparse.ArgumentParser:
    """The commands. The one that is `asked` for is imported and has its options; the others are in the help alone."""
    parser = argparse.ArgumentParser(
        prog="rv-check",
        description="Is this network the network it claims to be?",
        epilog="rv-check MODULE, as in rv-check mynet.py:Net, says which arch a module is",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"rv-check {_version()}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in SUMMARIES.items():
        of_command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name == asked:
            imported = command(name)
            imported.add_options(of_command)
            of_command.set_defaults(run=imported.run)
    return parser


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rv-check")
    except PackageNotFoundError:
        return "from source"


def _drop_output() -> None:
    """Let the interpreter's last flush of stdout go nowhere."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
