"""What rv-check says of every kind of module, and of every mutant: a table, and where it is kept.

`python -m tests.zoo.score` asks all of them anew, in some minutes, and writes `cells.json`; `--table` prints the table
of what was written, which stands in docs/any-module.md, `--mutants` that of the mutants, and `--totals` how often each
answer was given. `--only NAME ...` asks of some alone.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from tests.zoo.judge import COLUMNS, WRONG, judged, outcome
from tests.zoo.mutants import MUTANTS
from tests.zoo.registry import FILES, ROWS

CELLS = Path(__file__).with_name("cells.json")
SHAPE = re.compile(r"\(\d[\d, x]*\)|\b\d+x[\dx]*\d")
KINDS = ("yes", "refused", "WRONG")


def written() -> dict[str, Any]:
    """The cells that were written, by row and column; of mutants what came of them."""
    found: dict[str, Any] = json.loads(CELLS.read_text(encoding="utf-8"))
    return found


def table(rows: dict[str, dict[str, str]]) -> str:
    """A line for each kind of module; why something was refused is told below, once."""
    reasons: dict[str, int] = {}

    def shown(cell: str) -> str:
        if cell == "yes":
            return cell
        kind, _, why = cell.partition(": ")
        return f"{kind} {reasons.setdefault(SHAPE.sub('(...)', why), len(reasons) + 1)}"

    lines = []
    for file in FILES:
        lines.append([f"**{file.of}**", *("" for _ in COLUMNS)])
        lines += [[row.name, *(shown(rows[row.name][column]) for column in COLUMNS)] for row in file.rows]
    told = "\n".join(f"{number}. {why}" for why, number in reasons.items())
    return f"{tabulate(lines, ['kind of module', *COLUMNS], tablefmt='pipe')}\n\n{told}"


def totals(rows: dict[str, dict[str, str]]) -> str:
    """How often each answer was given, column by column."""
    lines = []
    for column in COLUMNS:
        counts = Counter(cell[column].partition(":")[0] for cell in rows.values())
        lines.append([column, *(counts[kind] for kind in KINDS)])
    return tabulate(lines, [f"of {len(rows)} kinds", *KINDS], tablefmt="pipe")


def mutants(outcomes: dict[str, str]) -> str:
    """A line for each mutant: what found it."""
    lines = [[mutant.name, mutant.kind, outcomes[mutant.name]] for mutant in MUTANTS]
    return tabulate(lines, ["mutant", "of one", "what came of it"], tablefmt="pipe")


def told(text: str) -> None:
    """A line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def measure(only: Collection[str]) -> None:
    """Ask of all kinds and mutants, or of those of one file or name, and keep what is said."""
    torch.set_num_threads(1)
    found = {"kinds": {}, "mutants": {}} | (written() if CELLS.exists() else {})
    for row in (row for file in FILES for row in file.rows if not only or {file.of, row.name} & {*only}):
        found["kinds"][row.name] = judged(row)
        wrong = [cell for cell in found["kinds"][row.name].values() if cell.startswith(WRONG)]
        told(f"{row.name}: {'; '.join(wrong) or 'nothing wrong'}")
    for mutant in (one for one in MUTANTS if not only or {"mutants", one.name} & {*only}):
        found["mutants"][mutant.name] = outcome(mutant)
        told(f"{mutant.name}: {found['mutants'][mutant.name]}")
    names = {"kinds": [row.name for row in ROWS], "mutants": [one.name for one in MUTANTS]}
    ordered = {what: {name: found[what][name] for name in names[what] if name in found[what]} for what in names}
    CELLS.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Ask, and write or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the table of kinds")
    parser.add_argument("--totals", action="store_true", help="print how often each answer was given")
    parser.add_argument("--mutants", action="store_true", help="print the table of mutants")
    words = "ask of these kinds and mutants alone, of those of a file, or of all mutants"
    parser.add_argument("--only", metavar="NAME", nargs="+", default=(), help=words)
    options = parser.parse_args()
    if options.table:
        told(table(written()["kinds"]))
    elif options.totals:
        told(totals(written()["kinds"]))
    elif options.mutants:
        told(mutants(written()["mutants"]))
    else:
        measure(options.only)


if __name__ == "__main__":
    main()
