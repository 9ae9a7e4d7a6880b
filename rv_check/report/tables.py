"""Tables as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from rv_check.text import quote_plain

FORMATS = ("text", "markdown", "csv", "json", "latex")
TABULATE = {"text": "simple", "markdown": "pipe", "latex": "latex_booktabs"}


def csv_text(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows(rows)
    return out.getvalue().rstrip("\n")


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], align: str, form: str = "text") -> str:
    """A table; `align` has a letter for each column, l or r."""
    from tabulate import tabulate

    pipe = "\\|" if form == "markdown" else "|"
    cells = [[quote_plain(cell).replace("|", pipe) for cell in row] for row in rows]
    sides = tuple({"l": "left", "r": "right"}[letter] for letter in align)
    return tabulate(cells, headers, tablefmt=TABULATE[form], colalign=sides, disable_numparse=True)
