"""Reads the claims of a Markdown table: one for each number, by the comment that says what its rows and columns are.

    <!-- rv-check claims
    columns:
      Params (M): params in M                # a quantity of the row's network, and the unit of numbers without one
      FLOPs: macs                            # 4.1 G holds as well as 4,089,184,256
      Size: 4*params in M, within 2%         # or `, truncated` where numbers are not rounded
      Top-1 / Top-5:                         # a cell with several numbers
        - top1
        - top5
    archs:                                   # rows that are not called as their arch is
      ResNet-50: resnet50
    modules:
      ours: mynet.py:Net
    without: ViT-B, Swin-T                   # rows that are left out
    -->

A table that has its networks side by side has `rows:` in place of `columns:`. Where only columns are to be said, one
line does: `<!-- rv-check claims: Params (M) = params in M; FLOPs = macs -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rv_check.checks.printed import HOLDS
from rv_check.claims.claim import Claim, Claims, TableRow
from rv_check.claims.columns import ABSENT, CELL_FORM, QUANTITY_FORM, Quantity, of_cell, read_number, read_quantities
from rv_check.claims.markdown import MarkdownPage, TableCell, TableComment
from rv_check.claims.quantities import Quantities
from rv_check.claims.reading import ARCH_FORM, MODULE_FORM, NETWORKS, ClaimsReader, NamedNetwork
from rv_check.errors import Enough, Problem, SpecError, in_order, spec_error
from rv_check.language.yaml_nodes import Fields, Items, Text, YamlNode, kind, read_part, read_text
from rv_check.text import listed, nearest, quote

KEYS = ("columns", "rows", "names", "archs", "modules", "input", "without", "source")


@dataclass(frozen=True)
class TableColumn:
    """A column of a table: where it stands, and what each of the numbers in a cell of it is."""

    name: str
    at: int
    quantities: tuple[Quantity, ...]


def read_tables(path: Path) -> list[Claims]:
    """The claims of each table of a page that has a comment. Raises: SpecError, with everything that is wrong."""
    document, _ = read_text(path)
    page = MarkdownPage(document)
    found: list[Claims] = []
    with suppress(Enough):
        for comment in page.comments():
            with page.collect():
                found.append(_claims_of(path, comment))
    if page.problems:
        raise SpecError(in_order(page.problems))
    return found


def _claims_of(path: Path, comment: TableComment) -> Claims:
    """The claims of a table. Raises: SpecError."""
    top, problems = _keys_of(comment)
    reader = _CommentReader(path, comment)
    claims = Claims("", "", path, (), {})
    with suppress(Enough):
        claims = reader.read(top)
    if problems or reader.problems:
        raise SpecError([*problems, *reader.problems])
    return claims


def _keys_of(comment: TableComment) -> tuple[Fields, list[Problem]]:
    """The keys of a comment, of one in one line its columns. Raises: SpecError where it has none."""
    if comment.columns is not None:
        return Fields({"columns": (comment.columns, _columns_in(comment.columns))}, comment.place), []
    expected = "columns: and below it `PRINTED NAME: quantity`, one a line"
    for at, line in enumerate(comment.text.split("\n"), 1):
        if line.lstrip().startswith("#"):  # YAML would pass over `#Params: params`, and nobody would check it
            place = replace(comment.place, line=at, column=len(line) - len(line.lstrip()) + 1)
            message = "a line that begins with # says nothing here"
            raise spec_error(message, place, 'quotes around a name, "#Params": params')
    try:
        return read_part(comment.place.document, comment.text, "the comment", expected)
    except SpecError as error:
        at_all = (problem.place is not None and not problem.place.line for problem in error.problems)
        raise SpecError(
            replace(problem, place=comment.place) if whole else problem
            for problem, whole in zip(error.problems, at_all, strict=True)
        ) from None


def _columns_in(line: Text) -> Fields:
    """`params; MACs = macs`: columns, each with its quantity unless it is called as that. Raises: SpecError."""
    entries: dict[str, tuple[Text, YamlNode]] = {}
    for match in re.finditer(r"\s*(?P<name>[^;=]*[^;=\s])\s*(?:=\s*(?P<what>[^;]*[^;\s]))?\s*(?:;|$)|.+", line.text):
        if match["name"] is None:
            expected = "COLUMN = quantity, and ; before the next"
            raise spec_error(f"{quote(match[0].strip())} is no column", line.at(match.start()), expected)
        name, what = (Text(match[at], line.at(match.start(at))) if match[at] else None for at in ("name", "what"))
        assert name is not None
        if name.text in entries:
            raise spec_error(f"{quote(name.text)} stands twice", name.place, "each column once")
        entries[name.text] = (name, what or name)
    return Fields(entries, line.place)


class _CommentReader(ClaimsReader):
    """Reads the keys of one comment and the table that they are about, collecting problems."""

    def __init__(self, path: Path, comment: TableComment):
        super().__init__()
        self.path, self.comment, self.table = path, comment, comment.table
        self.line, self.rank = "column", "row"  # what a quantity is of, and what a network is

    def read(self, top: Fields) -> Claims:
        """The claims of the table. Raises: Enough."""
        self.keys(top, "a comment of claims", KEYS)
        if ("columns" in top) == ("rows" in top):
            self.add("a comment of claims has either columns: or rows:", top.place, QUANTITY_FORM)
            return Claims("", "", self.path, (), {})
        if "rows" in top:
            self.table, self.line, self.rank = self.table.turn(), "row", "column"
        aliases, input, source = self.networks(top), self.input(top), self.words(top, "source")
        columns = self.columns(top)
        names_at = self.names_at(top)
        quantities = Quantities(self.path.parent, aliases, input)
        without = self.without(top, names_at)
        claims = list(self.cells(columns, names_at, quantities, without, source))
        self.see_that_all_are_used(top, columns, names_at)
        if not claims and not self.problems:
            self.add("no number of this table is checked", self.comment.place, f"a {self.line} with numbers")
        number = len(claims)
        networks = len({claim.row.network.key for claim in claims if claim.row})
        title = f"{number} number{'s' * (number != 1)} of {networks} network{'s' * (networks != 1)}"
        head = self.comment.table.head[0].place.line
        return Claims(title, source, self.path, tuple(claims), aliases, input, head)

    # Columns

    def columns(self, top: Fields) -> list[TableColumn]:
        """The columns that are checked. Raises: Enough."""
        key = f"{self.line}s"
        node = top.get(key)
        if not isinstance(node, Fields) or not node.entries:
            problem = f"{key} is {kind(node) if node else 'missing'}"
            self.add(problem, (node or top).place, f"a {self.line}, and {QUANTITY_FORM}")
            return []
        found = []
        for name, (label, what) in node.entries.items():
            with self.collect():
                at = self.position(label)
                found.append(TableColumn(name, at, read_quantities(what)))
        return found

    @cached_property
    def heads(self) -> dict[str, list[int]]:
        """Where the columns of each head stand."""
        found: dict[str, list[int]] = {}
        for at, cell in enumerate(self.table.head):
            found.setdefault(cell.text, []).append(at)
        return found

    def position(self, label: Text) -> int:
        """The column of that head. Raises: SpecError where there is none, or two."""
        name = " ".join(label.text.split())
        places = self.heads.get(name, [])
        if not places:
            found, near = f"the table has no {self.line} {quote(name)}", nearest(name, self.heads)
            raise spec_error(found, label.place, listed(map(quote, self.heads)), near)
        if len(places) > 1:
            found = f"the table has {len(places)} {self.line}s {quote(name)}"
            raise spec_error(found, label.place, "names by which they can be told apart")
        return places[0]

    # Rows

    def names_at(self, top: Fields) -> int:
        """The column with the names of networks: the first, unless `names:` says another. Raises: Enough."""
        node = top.get("names")
        at = 0
        if node is not None:
            with self.collect():
                if not isinstance(node, Text):
                    expected = f"the {self.line} with the names of networks"
                    raise spec_error(f"names is {kind(node)}", node.place, expected)
                at = self.position(node)
        return at

    def without(self, top: Fields, names_at: int) -> frozenset[str]:
        """The rows that are left out. Raises: Enough."""
        node = top.get("without")
        if node is None:
            return frozenset()
        if isinstance(node, Text):
            texts = [Text(m[0].strip(), node.at(m.start())) for m in re.finditer(r"[^,\s][^,]*", node.text)]
        else:
            texts = [item for item in node.items if isinstance(item, Text)] if isinstance(node, Items) else []
        if not texts:
            self.add(f"without is {kind(node)}", node.place, f"names of {self.rank}s, with commas between")
        known = self.row_names(names_at)
        for text in texts:
            self.see_row(text, known)
        return frozenset(text.text for text in texts)

    def row_names(self, names_at: int) -> dict[str, None]:
        """What the rows are called, in their order."""
        return dict.fromkeys(row[names_at].text for row in self.table.rows)

    def see_row(self, name: Text, known: Mapping[str, None]) -> None:
        """See that a row is called so."""
        if name.text not in known:
            found = f"no {self.rank} of the table is called {quote(name.text)}"
            self.add(found, name.place, listed(map(quote, known)), nearest(name.text, known))

    def see_that_all_are_used(self, top: Fields, columns: list[TableColumn], names_at: int) -> None:
        """See that each name of a network is that of a row, or stands in an expression: rows are renamed."""
        known = self.row_names(names_at)
        used = {name.id for column in columns for one in column.quantities for name in one.expr.names()}
        for names in (top.get(key) for key in NETWORKS):
            for name, (label, _) in names.entries.items() if isinstance(names, Fields) else ():
                if name not in used:
                    self.see_row(label, known)

    def cells(
        self, columns: list[TableColumn], names_at: int, quantities: Quantities, without: frozenset[str], source: str
    ) -> Iterator[Claim]:
        """The claims of each row: one a number. Raises: Enough."""
        for cells in self.table.rows:
            name = cells[names_at]
            checked = [column for column in columns if cells[column.at].text not in ABSENT]
            if not checked or name.text in without:
                continue
            with self.collect():
                row = TableRow(name.text, self.network_of(name, quantities), name.place)
                for column in checked:
                    with self.collect():
                        yield from self.numbers(row, column, cells[column.at], source)

    def network_of(self, name: TableCell, quantities: Quantities) -> NamedNetwork:
        """The network that a row is of. Raises: SpecError."""
        if not name.text:
            expected = "a name, or names: and where it is"
            raise spec_error(f"a {self.rank} with numbers, and without a name", name.place, expected)
        found = quantities.named(Text(name.text, name.place, exact=False))
        if found is None:
            expected = f"its name below archs:, with {ARCH_FORM}, or below modules:, with {MODULE_FORM}; or without:"
            message = f"there is no spec of {quote(name.text)}"
            raise spec_error(message, name.place, expected, nearest(name.text, quantities.known))
        return found

    def numbers(self, row: TableRow, column: TableColumn, cell: TableCell, source: str) -> Iterator[Claim]:
        """The claims of a cell. Raises: SpecError where a number cannot be read, or there are more or fewer."""
        quantities = of_cell(column.quantities, cell.text)
        printed = [cell.text] if len(quantities) == 1 else [part.strip() for part in cell.text.split("/")]
        if len(printed) != len(quantities):
            found = f"{quote(cell.text)} of {quote(column.name)} has {len(printed)} of {len(quantities)} numbers"
            raise spec_error(found, cell.place, "as many as its quantities, with / between")
        for text, quantity in zip(printed, quantities, strict=True):
            if text in ABSENT:
                continue
            number = read_number(text, quantity.unit)
            if number is None:
                several = "; for several with / between, a list of quantities" if "/" in text else ""
                message = f"{quote(text)} of {quote(column.name)} cannot be read"
                raise spec_error(message, cell.place, CELL_FORM + several)
            what = f" ({quantity.expr.text})" if len(printed) > 1 else ""
            yield Claim(
                quantity.expr,
                text,
                number,
                source,
                HOLDS,
                quantity.within,
                f"{row.name}, {column.name}{what}",
                "",
                "",
                cell.place,
                row,
                quantity.is_truncated,
            )
