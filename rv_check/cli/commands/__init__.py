"""The commands: each a file of this folder, imported only where it is asked for.

A file has `add_options(parser)`, and `run(options, console)`, which gives an Answer: what it found as the object of
--json, as text, and as an exit status. `run` alone reads the options; what it calls takes values. To add a command,
write its file and add its line here: its name, from which that of the file follows, and what --help says of it.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Protocol, cast

from rv_check.cli.console import Answer, Console

SUMMARIES = {
    "list": "the shipped archs, blocks and families",
    "show": "the layer table of an arch, without torch",
    "check": "a spec against its reference, or a module against a spec",
    "diff": "the differences of two archs, two modules, or one of each",
    "macs": "multiply-adds, what every counter makes of them, and memory",
    "receptive-field": "what the units of a network see, in input pixels",
    "bench": "how long forward, backward and training step take, on the CPU and on CUDA",
    "study": "runs that show why residual learning works",
    "block": "a residual block of your own, against a contract, property by property",
    "swap": "a network with other residual blocks in its stages, beside the network as it is",
    "transfer": "what a new head and frozen parts leave to be trained",
    "accuracy": "top-1 and top-5 of weights on a folder of images, against what is published",
    "claims": "printed statements about networks, and the verdict on each",
    "report": "the comparison table of the shipped archs",
}


class Command(Protocol):
    """What the file of a command has."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Add the options of the command."""

    def run(self, options: argparse.Namespace, console: Console) -> Answer | None:
        """What it found; None in a process whose answer another one gives. Raises: RvCheckError."""


def command(name: str) -> Command:
    """The command of that name, imported."""
    return cast(Command, import_module(f"{__name__}.{name.replace('-', '_')}"))
