"""What a number of a table is: a quantity, the unit of what has none printed, and how it is rounded.

`params`, `macs in G`, `2*macs`, `fc.params`, `params in M, within 2%`, `params in M, truncated`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal

from rv_check.checks.printed import PERCENT, UNITS, Printed, PrintedRange, parse_printed, parse_range
from rv_check.claims.quantities import bare
from rv_check.claims.vocabulary import OF_FIELD, QUANTITIES
from rv_check.errors import spec_error
from rv_check.language.expressions import Expr, parse
from rv_check.language.notations import parse_percentage
from rv_check.language.yaml_nodes import Items, Text, YamlNode, kind
from rv_check.text import listed, nearest, quote

QUANTITY_FORM = "a quantity, as params, macs in G, 2*macs, fc.params, or params in M, within 2%"
CELL_FORM = "a number as 25.6M, 4.1 G, 11,689,512, 69.8 %, 4.09 GMACs or 3.8-4.1 G, or - for none"
UNITS_OF_COLUMNS = (*(unit for unit in UNITS if unit not in ("", "x")), PERCENT)
ABSENT = ("", "-", "--", "---", "\u2013", "\u2014", "n/a", "N/A", "none", "?")
NOTES = "*\u2020\u2021\u00a7 "  # marks of a note behind a number
MEANS_MANY = ("flops", "gflops", "mflops", "madds", "gmadds")
_FORM = re.compile(r"(?P<quantity>.*?)(?:\s+in\s+(?P<unit>[^\s,]+))?(?:\s*,\s*(?P<how>truncated|within\b.*))?\s*", re.S)


@dataclass(frozen=True)
class Quantity:
    """What a number of a column is: an expression, its unit, and how it is printed."""

    expr: Expr
    unit: str = ""
    within: Decimal | None = None  # percent
    is_truncated: bool = False


def read_quantities(node: YamlNode) -> tuple[Quantity, ...]:
    """What the numbers of a cell are: one, or several in a list. Raises: SpecError."""
    if isinstance(node, Items):
        return tuple(map(read_quantity, node.items))
    if isinstance(node, Text) and node.text.startswith("["):
        parts = re.finditer(r"[^,\s][^,]*", node.text[:-1].replace("[", " ", 1))
        return tuple(read_quantity(Text(part[0].strip(), node.at(part.start()), node.exact)) for part in parts)
    return (read_quantity(node),)


def read_quantity(node: YamlNode) -> Quantity:
    """What a number is. Raises: SpecError."""
    if not isinstance(node, Text) or not node.text.strip():
        raise spec_error(f"a quantity is {kind(node)}", node.place, QUANTITY_FORM)
    match = _FORM.fullmatch(node.text)
    assert match is not None
    unit, how = match["unit"] or "", match["how"] or ""
    if unit and unit not in UNITS_OF_COLUMNS:
        near = nearest(unit, UNITS_OF_COLUMNS)
        raise spec_error(f"unknown unit {quote(unit)}", node.at(match.start("unit")), listed(UNITS_OF_COLUMNS), near)
    percent = None
    if how.startswith("within"):
        percent = parse_percentage(Text(how[6:].strip(), node.at(match.start("how")), exact=False), "within")
    expr = parse(Text(match["quantity"], node.place, node.exact), "a quantity", QUANTITY_FORM, quantities=True)
    for name in bare(expr.node):
        if name.id not in QUANTITIES:
            more = "macs, or 2*macs where a multiply-add counts as two: " if name.id.lower() in MEANS_MANY else ""
            near = nearest(name.id, QUANTITIES) if not more else None
            raise expr.problem(name, f"unknown quantity {quote(name.id)}", more + listed(QUANTITIES), near)
    return Quantity(expr, unit, percent, how == "truncated")


def of_cell(quantities: tuple[Quantity, ...], text: str) -> tuple[Quantity, ...]:
    """The quantities of the numbers in a cell: a receptive field as 427/32/213 is size, stride and padding."""
    if len(quantities) > 1 or quantities[0].expr.text != "receptive_field" or text.count("/") != 2:
        return quantities
    (size,) = quantities
    return tuple(replace(size, expr=parse(Text(name, size.expr.place), quantities=True)) for name in OF_FIELD)


def read_number(text: str, unit: str) -> Printed | PrintedRange | None:
    """The number that a cell prints; None where it cannot be read. Args: `unit` of one without a unit of its own."""
    text = text.rstrip(NOTES)
    return parse_printed(text, unit) or parse_range(text, unit)
