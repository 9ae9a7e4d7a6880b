"""Tables of a Markdown page, and the comments that say what their numbers are.

A comment stands above the table that it is about, with blank lines and other comments between at most:

    <!-- rv-check claims: params; MACs = macs -->

    <!-- rv-check claims
    columns:
      params: params
      MACs: macs
    -->

Both say the same. What stands in a fence is shown, and is no comment.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

from rv_check.errors import Collector, Document, Place, Problem, SpecError, spec_error
from rv_check.language.yaml_nodes import Text
from rv_check.text import quote

SUFFIXES = (".md", ".markdown")
BEGIN = "<!-- rv-check claims"
COMMENT_FORM = f"{BEGIN}, then its keys, one a line, then -->; or {BEGIN}: COLUMN = quantity; COLUMN = quantity -->"
TABLE_FORM = "a Markdown table: | arch | params |, | --- | --- |, and its rows"

_BEGIN = re.compile(r"\s*<!--\s*rv-check\s+claims\b:?(?:\s+(?P<rest>\S.*?)(?P<end>-->)?)?\s*")
_LIKE_BEGIN = re.compile(r"<!--\s*rv[-_ ]?check:?\s+claims?\b", re.I)
_FENCE = re.compile(r"[\s>]*(?P<fence>`{3,}(?=[^`]*$)|~{3,})(?P<rest>.*)")
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_DASHES = re.compile(r":?-+:?")
_OTHER_BLOCK = re.compile(r"\s{0,3}(?:<|#{1,6}\s|>|`{3}|~{3})")


@dataclass(frozen=True)
class TableCell:
    """A cell of a table: what is printed in it, without Markdown's marks, and where."""

    text: str
    place: Place


@dataclass(frozen=True)
class MarkdownTable:
    """A table: its head, and rows with as many cells."""

    head: tuple[TableCell, ...]
    rows: tuple[tuple[TableCell, ...], ...]

    def turn(self) -> MarkdownTable:
        """The same table with rows for columns."""
        head, *rows = zip(self.head, *self.rows, strict=True)
        return MarkdownTable(head, tuple(rows))


@dataclass(frozen=True)
class TableComment:
    """A comment that says what the numbers of a table are.

    `columns`: what stands in a comment of one line; `text`: the page, with all but the keys of a longer one blank.
    """

    columns: Text | None
    text: str
    place: Place
    table: MarkdownTable


class MarkdownPage(Collector):
    """Finds the comments of a page with their tables, collecting problems."""

    def __init__(self, document: Document):
        super().__init__()
        self.document = document
        self.lines = document.lines

    def comments(self) -> list[TableComment]:
        """The comments, in the order of the page. Raises: Enough."""
        found = []
        fence = ""
        for at, line in enumerate(self.lines):
            match = _FENCE.match(line)
            if fence:
                closes = match and match["fence"].startswith(fence) and not match["rest"].strip()
                fence = "" if closes else fence
            elif match:
                fence = match["fence"]
            elif _BEGIN.fullmatch(line):
                with self.collect():
                    found.append(self.comment(at))
            elif like := _LIKE_BEGIN.search(_CODE.sub(lambda code: " " * len(code[0]), line)):
                place = Place(self.document, at + 1, like.start() + 1)
                self.add("a comment of claims begins otherwise", place, f"a line that begins with {BEGIN}")
        return found

    def comment(self, at: int) -> TableComment:
        """The comment that begins in a line, counted from 0, with the table below it. Raises: SpecError."""
        begin = _BEGIN.fullmatch(self.lines[at])
        assert begin is not None
        place = Place(self.document, at + 1, len(self.lines[at]) - len(self.lines[at].lstrip()) + 1)
        if begin["end"]:
            columns = Text(begin["rest"].strip(), Place(self.document, at + 1, begin.start("rest") + 1))
            return TableComment(columns, "", place, self.table(at + 1, place))
        if begin["rest"]:
            stray = Place(self.document, at + 1, begin.start("rest") + 1)
            raise spec_error("there is more in the line in which the comment begins", stray, COMMENT_FORM)
        end = next((n for n in range(at + 1, len(self.lines)) if "-->" in self.lines[n]), None)
        if end is None:
            raise spec_error("the comment is never closed", place, COMMENT_FORM)
        keys = [*self.lines[at + 1 : end], self.lines[end].partition("-->")[0]]
        return TableComment(None, "\n" * (at + 1) + "\n".join(keys), place, self.table(end + 1, place))

    def table(self, at: int, comment: Place) -> MarkdownTable:
        """The table that begins in this line, or below what is blank and other comments. Raises: SpecError."""
        at = self._behind_comments(at)
        if at >= len(self.lines) or "|" not in self.lines[at]:
            below = f", but {quote(self.lines[at].strip())}" if at < len(self.lines) else ""
            raise spec_error(f"no table stands below this comment{below}", comment, TABLE_FORM)
        head = self.cells(at)
        dashes = self.cells(at + 1) if at + 1 < len(self.lines) and "-" in self.lines[at + 1] else ()
        if not dashes or not all(_DASHES.fullmatch(cell.text) for cell in dashes):
            raise spec_error("this table has no line of dashes below its head", head[0].place, TABLE_FORM)
        problems = self._other_length(dashes, head)
        rows = []
        for line in range(at + 2, len(self.lines)):
            if not self.lines[line].strip() or _OTHER_BLOCK.match(self.lines[line]):
                break
            rows.append(self.cells(line))
            problems += self._other_length(rows[-1], head)
        if problems:
            raise SpecError(problems)
        if not rows:
            raise spec_error("this table has no rows", head[0].place, TABLE_FORM)
        return MarkdownTable(head, tuple(rows))

    def _behind_comments(self, at: int) -> int:
        """The first line from here on that is not blank, and in no comment of another kind."""
        while at < len(self.lines):
            line = self.lines[at].strip()
            if line.startswith("<!--") and not _BEGIN.fullmatch(line):
                while at < len(self.lines) and "-->" not in self.lines[at]:
                    at += 1
            elif line:
                break
            at += 1
        return at

    def _other_length(self, row: tuple[TableCell, ...], head: tuple[TableCell, ...]) -> list[Problem]:
        if len(row) == len(head):
            return []
        found = f"this row has {len(row)} cell{'s' * (len(row) != 1)}, the head of its table {len(head)}"
        expected = "as many cells as the head has, `-` for what is absent, and a blank line below the table"
        return [Problem(found, row[0].place, expected)]

    def cells(self, at: int) -> tuple[TableCell, ...]:
        """The cells of a line of a table."""
        line = self.lines[at]
        bars = [match.start() for match in re.finditer(r"(?<!\\)\|", line)]
        starts = [0, *(bar + 1 for bar in bars)]
        parts = [(start, line[start:end]) for start, end in zip(starts, [*bars, len(line)], strict=True)]
        if bars and not parts[0][1].strip():
            parts = parts[1:]
        if len(parts) > 1 and not parts[-1][1].strip():
            parts = parts[:-1]
        return tuple(
            TableCell(plain(text), Place(self.document, at + 1, start + len(text) - len(text.lstrip()) + 1))
            for start, text in parts
        )


# What Markdown shows of a cell

_MARKS = re.compile(r"(\*\*\*|\*\*|\*|___|__|_|~~|`+)(?P<inner>(?:(?!\1).)+)\1", re.S)
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
LONGEST_CELL = 2_000  # characters of a cell that are read; a longer one holds prose
_SUPERSCRIPTS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "0123456789")


def plain(text: str) -> str:
    """The text of a cell as a reader sees it: without marks of Markdown, links, tags and notes.

    A mark that is never closed is looked for to the end from each place: what is too long for a number is left alone.
    """
    if len(text) > LONGEST_CELL:
        return text.strip()
    text = re.sub(r"10(?:<sup>(\d+)</sup>|([\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+))", _power, text)
    text = re.sub(r"<br\s*/?>", " ", text)
    text = re.sub(r"<su[pb]>.*?</su[pb]>|\[\^[^\]]*\]|!\[[^\]]*\]\([^)]*\)", "", text)  # notes, and pictures
    text = re.sub(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", text)
    text = " ".join(html.unescape(re.sub(r"</?[a-zA-Z][^>]*>", "", text)).split())
    while match := _MARKS.fullmatch(text):
        text = match["inner"].strip()
    return _ESCAPED.sub(r"\1", text)


def _power(match: re.Match[str]) -> str:
    return f"10^{match[1] or match[2].translate(_SUPERSCRIPTS)}"


def is_markdown(path: Path) -> bool:
    """Whether the page is one of Markdown, by its name."""
    return path.suffix.lower() in SUFFIXES
