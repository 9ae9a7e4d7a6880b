"""`rv-check study`: runs that show why residual learning works, and tables of what came out.

Everything goes to a folder, `study` unless given: the table's data as JSON, and pictures as PNG and SVG. Each study is
a file of this folder with `add_options` and `run`, as those of commands are. To add one, write its file and add its
line here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from rv_check.cli.console import Answer, Console
from rv_check.errors import CannotRun, RvCheckError
from rv_check.optional import need

SUMMARIES = {
    "gradients": "the first layer's gradient, with shortcuts and without",
    "degradation": "training error by depth, with shortcuts and without",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The studies, each with options of its own."""
    studies = parser.add_subparsers(metavar="STUDY", required=True)
    for name, summary in SUMMARIES.items():
        study = import_module(f"{__name__}.{name}")
        of_study = studies.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        of_study.set_defaults(study=study.run)
        words = "where files go, study unless given"
        of_study.add_argument("-o", "--output", metavar="FOLDER", default="study", help=words)
        of_study.add_argument("--no-picture", action="store_true", help="draw nothing")
        study.add_options(of_study)


def run(options: argparse.Namespace, console: Console) -> Answer | None:
    """What the study that was asked for found. Raises: RvCheckError."""
    need("torch")
    answer: Answer | None = options.study(options, console)
    return answer


def folder_of(name: str) -> Path:
    """Where the files of a study go, made if it is not there. Raises: RvCheckError before any work."""
    path = Path(name)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RvCheckError(f"{path} cannot be written to: {error.strerror or error}") from None
    return path


def draw(pictures: Callable[[], list[Path]], console: Console) -> None:
    """The pictures, or on stderr why there are none: the work is not lost."""
    try:
        written = pictures()
    except CannotRun as error:
        console.note(f"rv-check: no picture: {error}")
    else:
        console.note(f"rv-check: the pictures are {' and '.join(map(str, written))}")
