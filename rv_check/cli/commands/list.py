"""The command `rv-check list`: the shipped archs, blocks and families."""

from __future__ import annotations

import argparse

from rv_check.archs.load import families
from rv_check.cli.common import HELD
from rv_check.language import files, library


def list_command(options: argparse.Namespace) -> int:
    """Families with their archs, then blocks."""
    for family in families():
        print(f"{family.name}({', '.join(family.argument_names)})  {family.source}")
        for name in family.archs:
            print(f"  {name}")
    print("blocks")
    for path in files.block_files(files.shipped_folder()):
        block = library.load(path)
        print(f"  {block.name}({', '.join(block.argument_names)})  {block.source}")
    return HELD
