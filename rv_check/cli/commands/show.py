"""The command `rv-check show`: the layer table of an arch, without torch."""

from __future__ import annotations

import argparse
from functools import partial

from rv_check.archs.load import load
from rv_check.cli.console import Answer, Console
from rv_check.cli.options import ARCH, input_size, json_of, positive
from rv_check.report import layers


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("arch", metavar="ARCH", help=ARCH)
    input_size(parser)
    parser.add_argument("--depth", type=positive, metavar="N", help="fold modules N names deep into one line")
    json_of(parser, layers.SHOW_SCHEMA)


def run(options: argparse.Namespace, console: Console) -> Answer:
    """The layer table. Raises: RvCheckError for an arch that there is not, or that does not fit the input."""
    arch = load(options.arch, options.input)
    return Answer(partial(layers.show_json, arch, options.depth), partial(layers.show_text, arch, options.depth))
