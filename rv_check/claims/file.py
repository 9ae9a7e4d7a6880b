"""Reads files of claims.

    claims: what a page prints
    source: where the page is
    archs:                                   # names for archs that are not shipped, or have arguments
      wide: ../mynets/wide.yaml::wide
    modules:                                 # names for modules of torch
      mine: mynet.py:Net
    input: 3 224 224                         # of networks without one of their own; a module runs at this
    statements:
      - is: vgg19.params / resnet50.params
        printed: 5.7
        source: the second paragraph
        verdict: wrong
        note: the ratio of two truncations

A comparison has nothing printed. A statement of which no spec can speak has no `is:` and says in `needs:` what would
decide it.
"""

from __future__ import annotations

import ast
from decimal import Decimal
from pathlib import Path

from rv_check.checks.printed import FORMS, Printed, parse_printed
from rv_check.claims.claim import DECLARED, Claim, Claims
from rv_check.claims.markdown import is_markdown
from rv_check.claims.quantities import EXPRESSION
from rv_check.claims.reading import ClaimsReader
from rv_check.claims.table import read_tables
from rv_check.errors import Enough, Problem, SpecError, in_order
from rv_check.language import files
from rv_check.language.expressions import Expr, parse
from rv_check.language.notations import parse_percentage
from rv_check.language.yaml_nodes import Fields, Items, Text, YamlNode, kind, read_all
from rv_check.text import listed, nearest, quote

KEYS = ("is", "printed", "source", "verdict", "within", "says", "note", "needs")
TOP_KEYS = ("claims", "source", "archs", "modules", "input", "statements")


def shipped() -> list[Path]:
    """The files of claims that come with rv_check."""
    folder = files.shipped_folder() / "claims"
    return files.family_files(folder) if folder.is_dir() else []


def read_claims(path: Path) -> list[Claims]:
    """The claims of a file: of each table of a Markdown page that has a comment for it, or all of a file of claims.

    Raises: SpecError, with everything that is wrong with it.
    """
    return read_tables(path) if is_markdown(path) else [load_claims(path)]


def load_claims(path: Path) -> Claims:
    """The statements of a file. Raises: SpecError, with everything that is wrong with it."""
    top, problems = read_all(path, "claims: and what is claimed")
    file = _File(path)
    try:
        claims = file.read(top)
    except Enough:
        claims = Claims("", "", path, (), {})
    if problems or file.problems:
        raise SpecError(in_order([*problems, *file.problems]))
    return claims


class _File(ClaimsReader):
    """Reads one file, collecting problems."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = Path(path)
        self.source = ""

    def read(self, top: Fields) -> Claims:
        self.keys(top, "a file of claims", TOP_KEYS)
        for key in ("claims", "statements"):
            if key not in top:
                self.add(f"a file of claims without {key}:", top.place, f"{key}:")
        title, self.source = self.words(top, "claims"), self.words(top, "source")
        aliases, input = self.networks(top), self.input(top)
        nodes = top.get("statements")
        if nodes is not None and not isinstance(nodes, Items):
            self.add(f"statements is {kind(nodes)}", nodes.place, "a list of statements, each with is: and printed:")
        found: list[Claim] = []
        first: dict[tuple[str, str], Claim] = {}
        for node in nodes.items if isinstance(nodes, Items) else ():
            with self.collect():
                claim = self.claim(node)
                twice = first.setdefault((claim.title, claim.source), claim)
                if twice is not claim:
                    self.add(f"{quote(claim.title)} stands twice, first in line {twice.place.line}", claim.place)
                found.append(claim)
        return Claims(title, self.source, self.path, tuple(found), aliases, input)

    def claim(self, node: YamlNode) -> Claim:
        if not isinstance(node, Fields):
            raise SpecError([Problem(f"a statement is {kind(node)}", node.place, "is: and printed:")])
        self.keys(node, "a statement", KEYS)
        source = self.words(node, "source") or self.source
        if not source:
            self.add("a statement without a source", node.place, "source: and where it is printed")
        declared = self.words(node, "verdict") or "holds"
        if declared not in DECLARED:
            verdict = node.get("verdict") or node
            near = nearest(declared, DECLARED)
            raise SpecError([Problem(f"unknown verdict {quote(declared)}", verdict.place, listed(DECLARED), near)])
        expr, place = None, node.place
        formula = node.get("is")
        if isinstance(formula, Text):
            expr, place = parse(formula, expected=EXPRESSION, quantities=True), formula.place
        elif formula is not None:
            raise SpecError([Problem(f"is: is {kind(formula)}", formula.place, EXPRESSION)])
        elif not (self.words(node, "needs") and self.words(node, "says")):
            raise SpecError([Problem("a statement without is:", node.place, "is:, or says: and needs:")])
        number = self.printed(node, expr)
        return Claim(
            expr,
            self.words(node, "printed"),
            number,
            source,
            DECLARED[declared],
            self.within(node),
            self.words(node, "says"),
            self.words(node, "note"),
            self.words(node, "needs"),
            place,
        )

    def printed(self, node: Fields, expr: Expr | None) -> Printed | None:
        value = node.get("printed")
        compares = expr is not None and isinstance(expr.node, ast.Compare | ast.BoolOp)
        if value is None:
            if expr is not None and not compares:
                raise SpecError([Problem(f"nothing printed for {quote(expr.text)}", expr.place, FORMS)])
            return None
        if expr is None or compares:
            raise SpecError(
                [Problem("printed: beside what is no number", value.place, "is: and a number, or no printed:")]
            )
        number = parse_printed(value.text) if isinstance(value, Text) else None
        if number is None:
            raise SpecError([Problem(f"printed is {kind(value)}", value.place, FORMS)])
        return number

    def within(self, node: Fields) -> Decimal | None:
        value, words = node.get("within"), self.words(node, "within")
        return parse_percentage(Text(words, value.place), "within") if value and words else None
