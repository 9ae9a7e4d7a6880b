"""Claims: printed statements about networks, each an expression over what the specs say, held to the digits printed.

    claims: what a page prints
    source: where the page is
    archs:                                   # names for archs that are not shipped, or have arguments
      wide: ../mynets/wide.yaml::wide
    statements:
      - is: vgg19.params / resnet50.params
        printed: 5.7
        source: the second paragraph
        verdict: wrong
        note: the ratio of two truncations

An expression is one of the spec language's with dotted names in it: `resnet50.params`, `resnet18(width=32).gmacs`,
`resnet50.fc.in_features`, `vgg16.classifier[0].weights`. A comparison has nothing printed. A statement of which no spec
can speak has no `is:` and says in `needs:` what would decide it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from rv_check import analyses, library
from rv_check import arch as archs
from rv_check.analyses import ReceptiveField
from rv_check.arch import Arch
from rv_check.expr import Expr, Number, Scope, parse, show
from rv_check.findings import CannotRun, Finding
from rv_check.printed import FORMS, HOLDS, TRUNCATED, WRONG, Printed, parse_printed
from rv_check.problems import (
    Collector,
    Enough,
    Place,
    Problem,
    RvCheckError,
    SpecError,
    in_order,
    listed,
    nearest,
    quote,
)
from rv_check.reference import metadata_source
from rv_check.source import Fields, Items, Node, Text, kind, read_all
from rv_check.tree import Layer
from rv_check.tree import Node as Part

CANNOT_BE_SAID = "cannot be said"
DECLARED = {"holds": HOLDS, "truncated": TRUNCATED, "wrong": WRONG, CANNOT_BE_SAID: CANNOT_BE_SAID}
ACCURACIES = ("top1", "top5", "top1_error", "top5_error")  # measured by somebody, and quoted by the specs; in percent
KEYS = ("is", "printed", "source", "verdict", "within", "says", "note", "needs")
TOP_KEYS = ("claims", "source", "archs", "statements")
EXPRESSION = "numbers, + - * / //, comparisons, and facts: resnet50.params, vgg16.classifier[0].weights"


class NotKnown(Exception):
    """The specs do not say what a statement is about. `near`: the name that was probably meant."""

    def __init__(self, message: str, near: str | None = None):
        super().__init__(message)
        self.near = near


@dataclass(frozen=True)
class Claim:
    """One statement. `expr`: what it is about; None where no spec can speak of it, and `needs` says what would."""

    expr: Expr | None
    printed: str  # as printed; nothing for a comparison
    number: Printed | None
    source: str
    declared: str  # the verdict that it should get
    within: Decimal | None  # percent
    says: str  # in the words of the source
    note: str
    needs: str
    place: Place

    @property
    def title(self) -> str:
        """`vgg19.params = 143M`; by which it is found."""
        if self.expr is None:
            return self.says
        return f"{self.expr.text} = {self.printed}" if self.printed else self.expr.text


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a claim: a verdict, the exact value, and the right one to the digits printed."""

    claim: Claim
    words: str
    value: str = ""
    right: str = ""
    reason: str = ""  # why it cannot be said
    could_not_run: bool = False  # something is not installed

    @property
    def as_declared(self) -> bool:
        """Whether it is what the file says that it is."""
        return not self.could_not_run and self.words == self.claim.declared

    def finding(self, subject: str) -> Finding:
        """As a finding of that file."""
        claim = self.claim
        message = f"{claim.title} {self.words}"
        if self.could_not_run:
            return Finding(
                subject, claim.title, "spec", "skipped", "could not run", reason=self.reason, place=claim.place
            )
        if self.reason:
            message += f": {self.reason}"
        return Finding(
            subject,
            claim.title,
            "spec",
            "passed" if self.as_declared else "failed",
            message,
            found=f"{self.words}{f', it is {self.right or self.value}' if self.value else ''}",
            expected=claim.declared,
            source=claim.source,
            place=claim.place,
        )


@dataclass(frozen=True)
class Claims:
    """A file of claims. `aliases`: archs by the names that the file gives them."""

    title: str
    source: str  # of the claims that have none of their own
    path: Path
    claims: tuple[Claim, ...]
    aliases: Mapping[str, str]

    @property
    def facts(self) -> Facts:
        """What its dotted names stand for."""
        return Facts(self.path.parent, self.aliases)


# Facts: what a dotted name ends with. Exact numbers, each a small function of a part of a network.


def _axis(field: ReceptiveField, what: str) -> int:
    value = getattr(field, what)
    if isinstance(value, tuple):
        raise NotKnown(f"rows and columns have different fields, {field}")
    return int(value)


OF_ANY: dict[str, Callable[[Part], Number]] = {
    "params": analyses.params,
    "mparams": lambda part: Fraction(analyses.params(part), 10**6),
    "macs": analyses.macs,
    "gmacs": lambda part: Fraction(analyses.macs(part), 10**9),
    "activations": analyses.activations,
    "depth": analyses.depth,
    "skip_connections": analyses.skip_connections,
    "weights": analyses.weights,
    "convs": lambda part: analyses.layers(part, "conv"),
    "linears": lambda part: analyses.layers(part, "linear"),
    "in_features": lambda part: part.x[0],
    "out_features": lambda part: part.y[0],
    "in_channels": lambda part: part.x[0],
    "out_channels": lambda part: part.y[0],
    "rows": lambda part: part.y[1],
    "columns": lambda part: part.y[2],
}
FLAT, MAPPED = ("in_features", "out_features"), ("in_channels", "out_channels", "rows", "columns")
OF_FIELD: dict[str, Callable[[ReceptiveField], Number]] = {
    "receptive_field": lambda field: _axis(field, "size"),
    "receptive_field_stride": lambda field: _axis(field, "stride"),
    "receptive_field_padding": lambda field: _axis(field, "padding"),
}
OF_LAYER = ("kernel", "stride", "padding", "groups")
FACTS = (*OF_ANY, *OF_FIELD, *ACCURACIES, *OF_LAYER)


class Facts:
    """What the dotted names of a file of claims stand for: archs are loaded once."""

    def __init__(self, folder: Path, aliases: Mapping[str, str]):
        """`folder`: where the paths of `aliases` begin."""
        self.folder, self.aliases = folder, aliases
        self._loaded: dict[str, Arch] = {}

    def __call__(self, expr: Expr, node: ast.Attribute) -> Number:
        """The value of a dotted name. Raises: SpecError for an unknown one, NotKnown, CannotRun."""
        root, path = _path(expr, node.value)
        arch = self.arch(expr, root)
        if node.attr not in FACTS:
            where = ".".join((expr.text_of(root), *path))
            if arch.step(".".join((*path, node.attr))):
                raise expr.problem(node, f"{expr.text_of(node)} is a part, not a number", f".{', .'.join(FACTS)}")
            near = nearest(node.attr, FACTS)
            raise expr.problem(node, f"{where} has no fact {quote(node.attr)}", listed(FACTS), near)
        if not path:
            return self.of_arch(expr, node, arch)
        row = arch.step(".".join(path))
        if row is None:
            known = analyses.names(arch.tree.root)
            raise expr.problem(node, f"{arch.name} has no part {quote('.'.join(path))}", listed(known))
        return _of_part(expr, node, row.node, row.receptive_field)

    def of_arch(self, expr: Expr, node: ast.Attribute, arch: Arch) -> Number:
        """A fact of a whole network."""
        if node.attr in ACCURACIES:
            return accuracy(arch, node.attr)
        return _of_part(expr, node, arch.tree.root, arch.receptive_field)

    def arch(self, expr: Expr, root: ast.expr) -> Arch:
        """The arch that a dotted name begins with. Raises: SpecError, NotKnown where there is no such spec."""
        text = expr.text_of(root)
        if text not in self._loaded:
            name = text.partition("(")[0]
            known = [*self.aliases, *(arch for family in archs.families() for arch in family.archs)]
            if name not in known:
                raise NotKnown(f"there is no spec of {quote(name)}", nearest(name, known))
            try:
                self._loaded[text] = archs.load(self._full(name) + text[len(name) :])
                _ = self._loaded[text].tree
            except RvCheckError as error:
                raise expr.problem(root, str(error)) from None
        return self._loaded[text]

    def _full(self, name: str) -> str:
        path, colons, arch = self.aliases.get(name, name).rpartition("::")
        return f"{self.folder / path}::{arch}" if colons else arch


def _path(expr: Expr, node: ast.expr) -> tuple[ast.expr, tuple[str, ...]]:
    """The arch and the names of the parts: `resnet50.layer1[0].conv1`. Raises: SpecError."""
    parts: list[str] = []
    while True:
        match node:
            case ast.Attribute():
                parts.append(node.attr)
                node = node.value
            case ast.Subscript(slice=ast.Constant(value=int(index))) if not isinstance(index, bool):
                parts.append(str(index))
                node = node.value
            case ast.Name() | ast.Call():
                return node, tuple(reversed(parts))
            case _:
                raise expr.problem(node, f"{quote(expr.text_of(node))} is no part of a network", EXPRESSION)


def _of_part(expr: Expr, node: ast.Attribute, part: Part, field: ReceptiveField) -> Number:
    name = node.attr
    if name in OF_FIELD:
        return OF_FIELD[name](field)
    ends = [part.y if name in ("out_features", "out_channels", "rows", "columns") else part.x]
    if name in OF_ANY and not (name in FLAT and len(ends[0]) != 1) and not (name in MAPPED and len(ends[0]) != 3):
        return OF_ANY[name](part)
    value = getattr(part.op, name, None) if isinstance(part, Layer) and name in OF_LAYER else None
    if isinstance(value, tuple) and value[0] == value[1]:
        value = value[0]
    if not isinstance(value, int):
        raise expr.problem(node, f"{expr.text_of(node.value)} has no one {quote(name)}", "another fact")
    return value


def accuracy(arch: Arch, metric: str) -> Number:
    """A published accuracy or error in percent, the first that the spec quotes; torchvision's as installed here.

    Raises: NotKnown where the spec quotes none, CannotRun where it is torchvision's, which is not installed.
    """
    if not arch.is_declared:
        raise NotKnown(f"nobody has published {metric} of {arch.name}")
    for entry in arch.entry.published:
        if entry.metric == metric:
            source = metadata_source(entry.source)
            return Fraction(str(source.look_up())) if source else Fraction(entry.printed.replace("_", ""))
    raise NotKnown(f"the spec of {arch.name} quotes no {metric}")


# Verdicts


def judge(claim: Claim, facts: Facts) -> Verdict:
    """What is to be said of a claim. Raises: SpecError for an expression that does not work out."""
    if claim.expr is None:
        return Verdict(claim, CANNOT_BE_SAID, reason=f"it needs {claim.needs}")
    try:
        value = claim.expr.evaluate(Scope({}, fact=facts))
    except NotKnown as unknown:
        if claim.declared != CANNOT_BE_SAID:
            expected = f"another name, or verdict: {CANNOT_BE_SAID}"
            raise SpecError([Problem(str(unknown), claim.expr.place, expected, unknown.near)]) from None
        return Verdict(claim, CANNOT_BE_SAID, reason=str(unknown))
    except CannotRun as error:
        return Verdict(claim, CANNOT_BE_SAID, reason=str(error), could_not_run=True)
    if claim.number is None:
        if not isinstance(value, bool):
            raise claim.expr.problem(claim.expr.node, f"{claim.title} is {show(value)}", "printed: and a number")
        return Verdict(claim, HOLDS if value else WRONG, str(value))
    if isinstance(value, bool) or not isinstance(value, int | Fraction):
        found = f"{claim.expr.text} is {show(value)}"
        raise claim.expr.problem(claim.expr.node, found, "a number, or nothing printed")
    number = claim.number
    exact = Fraction(value) / number.scale
    if number.is_percent and not _is_in_percent(claim.expr):
        exact *= 100
    words = number.verdict(exact)
    if claim.within is not None:
        printed = Fraction(number.digits)
        words = HOLDS if 100 * abs(exact - printed) <= Fraction(claim.within) * abs(printed) else WRONG
    return Verdict(claim, words, _shown(value), number.right(exact))


def _is_in_percent(expr: Expr) -> bool:
    """Whether it is about accuracies: these are in percent already."""
    return any(isinstance(node, ast.Attribute) and node.attr in ACCURACIES for node in ast.walk(expr.node))


def _shown(value: Number) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{float(value):,.6g}"


def judge_all(claims: Claims) -> list[Verdict]:
    """The verdicts of a file. Raises: SpecError, with what is wrong in all of its expressions."""
    problems: list[Problem] = []
    found: list[Verdict] = []
    facts = claims.facts
    for claim in claims.claims:
        try:
            found.append(judge(claim, facts))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return found


# Files


def shipped() -> list[Path]:
    """The files of claims that come with rv_check."""
    folder = library.shipped_folder() / "claims"
    return library.family_files(folder) if folder.is_dir() else []


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


class _File(Collector):
    """Reads one file, collecting problems."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = Path(path)
        self.source = ""
        self.aliases: dict[str, str] = {}

    def read(self, top: Fields) -> Claims:
        self.keys(top, "a file of claims", TOP_KEYS)
        for key in ("claims", "statements"):
            if key not in top:
                self.add(f"a file of claims without {key}:", top.place, f"{key}:")
        title, self.source = self.words(top, "claims"), self.words(top, "source")
        names = top.get("archs")
        if isinstance(names, Fields):
            self.aliases = {name: self.words(names, name) for name in names.entries}
        elif names is not None:
            self.add(f"archs is {kind(names)}", names.place, "names, each with an arch")
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
        return Claims(title, self.source, self.path, tuple(found), self.aliases)

    def keys(self, node: Fields, what: str, known: tuple[str, ...]) -> None:
        for name, (key, _) in node.entries.items():
            if name not in known:
                self.add(f"{what} has no key {quote(name)}", key.place, ", ".join(known), nearest(name, known))

    def words(self, node: Fields, key: str) -> str:
        """Text, on one line; nothing where the key is missing."""
        value = node.get(key)
        if value is None:
            return ""
        if not isinstance(value, Text) or not value.text.strip():
            self.add(f"{key} is {kind(value)}", value.place, "text")
            return ""
        return " ".join(value.text.split())

    def claim(self, node: Node) -> Claim:
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
            expr, place = parse(formula, expected=EXPRESSION, facts=True), formula.place
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
        words = self.words(node, "within")
        match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)\s*%", words)
        if words and not match:
            value = node.get("within") or node
            raise SpecError([Problem(f"within is {quote(words)}", value.place, "a percentage, as in 2%")])
        return Decimal(match[1]) if match else None
