"""The command `rv-check list`: the shipped archs, variants of them, blocks and families.

--json is one object of schema rv-check/list/1.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

from rv_check.archs.load import families, variants
from rv_check.cli.console import Answer, Console
from rv_check.cli.options import json_of
from rv_check.language import files, library
from rv_check.language.definitions import Definition, Family

SCHEMA = "rv-check/list/1"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    json_of(parser, SCHEMA)


def run(options: argparse.Namespace, console: Console) -> Answer:
    """Families with their archs, the standard ones first, then blocks."""
    found = [*families(), *variants()]
    blocks = [library.load(path) for path in files.block_files(files.shipped_folder())]
    return Answer(partial(as_json, found, blocks), partial(text, found, blocks))


def text(families: Sequence[Family], blocks: Sequence[Definition]) -> str:
    """A line each, with arguments and source; the names of archs below their family."""
    lines = []
    for family in families:
        lines += [_line(family), *(f"  {name}" for name in family.archs)]
    return "\n".join([*lines, "blocks", *(f"  {_line(block)}" for block in blocks)])


def _line(definition: Definition) -> str:
    return f"{definition.name}({', '.join(definition.argument_names)})  {definition.source}"


def as_json(families: Sequence[Family], blocks: Sequence[Definition]) -> dict[str, Any]:
    """The object of schema rv-check/list/1."""

    def said(kind: str, of: Definition) -> dict[str, Any]:
        return {kind: of.name, "arguments": list(of.argument_names), "source": of.source}

    return {
        "schema": SCHEMA,
        "families": [{**said("family", family), "archs": list(family.archs)} for family in families],
        "blocks": [said("block", block) for block in blocks],
    }
