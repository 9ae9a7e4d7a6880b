"""The command `rv-check show`: the layer table of an arch, without torch."""

from __future__ import annotations

import argparse
import json

from rv_check.archs.load import load
from rv_check.cli.common import HELD
from rv_check.report import layers


def show_command(options: argparse.Namespace) -> int:
    """The layer table."""
    arch = load(options.arch, options.input)
    if options.json:
        print(json.dumps(layers.show_json(arch, options.depth), indent=2))
    else:
        print(layers.show_text(arch, options.depth))
    return HELD
