"""Claims: printed statements about networks, held to the digits printed, and the verdict on each.

Each is an expression over what can be said of archs and modules. How files of them read is `claims.file`'s, how tables
do `claims.table`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from rv_check.checks.findings import Finding
from rv_check.checks.printed import HOLDS, TRUNCATED, WRONG, Printed, PrintedRange
from rv_check.claims.hints import hint_of, names_in
from rv_check.claims.quantities import Quantities
from rv_check.claims.reading import NamedNetwork
from rv_check.claims.vocabulary import ACCURACIES, NotKnown
from rv_check.errors import CannotRun, Place, Problem, SpecError
from rv_check.language.expressions import Expr
from rv_check.language.inputs import Inputs
from rv_check.text import shown_path
from rv_check.values import Number, show

CANNOT_BE_SAID = "cannot be said"
DECLARED = {"holds": HOLDS, "truncated": TRUNCATED, "wrong": WRONG, CANNOT_BE_SAID: CANNOT_BE_SAID}


@dataclass(frozen=True)
class TableRow:
    """The row of a table that a claim stands in: the network that it is about, and where that is named."""

    name: str  # as it is printed
    network: NamedNetwork
    place: Place


@dataclass(frozen=True)
class Claim:
    """One statement. `expr`: what it is about; None where no spec can speak of it, and `needs` says what would."""

    expr: Expr | None
    printed: str  # the number as printed; nothing for a comparison
    number: Printed | PrintedRange | None
    source: str
    declared: str  # the verdict that it should get
    within: Decimal | None  # percent
    says: str  # the statement in the words of the source
    note: str
    needs: str
    place: Place
    row: TableRow | None = None  # of a cell of a table
    is_truncated: bool = False  # said to be cut off behind its digits, not rounded

    @property
    def about(self) -> str:
        """What it is about: `vgg19.params`, or `vgg19, Params (M)` in a table."""
        return self.expr.text if self.expr and not self.row else self.says

    @property
    def title(self) -> str:
        """`vgg19.params = 143M`; by which it is found."""
        return f"{self.about} = {self.printed}" if self.printed else self.about


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a claim: a verdict, the exact value, and the right one to the digits printed."""

    claim: Claim
    words: str
    value: str = ""
    right: str = ""
    reason: str = ""  # why it cannot be said
    could_not_run: bool = False  # something is not installed, or nobody has said it
    hint: str = ""  # what a wrong number is right of

    @property
    def as_declared(self) -> bool:
        """Whether it is what the file says that it is."""
        return not self.could_not_run and self.words == self.claim.declared

    def finding(self, subject: str) -> Finding:
        """The verdict as a finding of that file."""
        claim = self.claim
        message = f"{claim.title} {self.words}"
        if self.could_not_run:
            return Finding(
                subject, claim.title, "spec", "skipped", "could not run", reason=self.reason, place=claim.place
            )
        if self.reason:
            message += f": {self.reason}"
        if self.hint:
            message += f"\n{self.hint}"
        return Finding(
            subject,
            claim.title,
            "spec",
            "passed" if self.as_declared else "failed",
            message,
            found=f"{self.words}{f', it is {self.right or self.value}' if self.value else ''}",
            expected=claim.declared,
            source=claim.source or None,
            place=claim.place,
        )


@dataclass(frozen=True)
class Claims:
    """A file of claims, or a table of a page. `aliases`: networks by the names that it gives them.

    `line`: where a table begins; 0 for a whole file.
    """

    title: str
    source: str  # the source of the claims that have none of their own
    path: Path
    claims: tuple[Claim, ...]
    aliases: Mapping[str, NamedNetwork]
    input: Inputs | None = None  # of networks that have none of their own
    line: int = 0

    @property
    def shown(self) -> str:
        """Where they stand, as a reader at the current folder would type it."""
        return shown_path(self.path) + (f":{self.line}" if self.line else "")

    @property
    def quantities(self) -> Quantities:
        """What its dotted names stand for."""
        return Quantities(self.path.parent, self.aliases, self.input)


# Verdicts


def judge(claim: Claim, quantities: Quantities) -> Verdict:
    """What is to be said of a claim. Raises: SpecError for an expression that does not work out."""
    if claim.expr is None:
        return Verdict(claim, CANNOT_BE_SAID, reason=f"it needs {claim.needs}")
    row = claim.row
    try:
        network = quantities.network(row.network, row.place) if row else None
        value = claim.expr.evaluate(quantities.scope(claim.expr, network))
    except NotKnown as unknown:
        if row is None and claim.declared != CANNOT_BE_SAID:
            expected = f"another name, or verdict: {CANNOT_BE_SAID}"
            raise SpecError([Problem(str(unknown), claim.expr.place, expected, unknown.near)]) from None
        return Verdict(claim, CANNOT_BE_SAID, reason=str(unknown), could_not_run=row is not None)
    except CannotRun as error:
        return Verdict(claim, CANNOT_BE_SAID, reason=str(error), could_not_run=True)
    if claim.number is None:
        if not isinstance(value, bool):
            raise claim.expr.problem(claim.expr.node, f"{claim.title} is {show(value)}", "printed: and a number")
        return Verdict(claim, HOLDS if value else WRONG, str(value))
    if isinstance(value, bool) or not isinstance(value, int | Fraction):
        found = f"{claim.expr.text} is {show(value)}"
        raise claim.expr.problem(claim.expr.node, found, "a number, or nothing printed")
    exact = _as_printed(claim, claim.number, value)
    words = _verdict(claim, claim.number, exact)
    hint = hint_of(claim.expr, claim.number, value) if words == WRONG and claim.declared == HOLDS else ""
    return Verdict(claim, words, _shown(value), claim.number.right(exact, truncated=claim.is_truncated), hint=hint)


def _as_printed(claim: Claim, number: Printed | PrintedRange, value: Number) -> Fraction:
    """The value in what 1 of the printed number stands for."""
    exact = Fraction(value) / number.scale
    # Accuracies are in percent already.
    return exact * 100 if number.is_percent and claim.expr and not names_in(claim.expr) & {*ACCURACIES} else exact


def _verdict(claim: Claim, number: Printed | PrintedRange, exact: Fraction) -> str:
    if claim.within is not None and isinstance(number, Printed):
        printed = Fraction(number.digits)
        return HOLDS if 100 * abs(exact - printed) <= Fraction(claim.within) * abs(printed) else WRONG
    if claim.is_truncated:
        return HOLDS if number.is_truncated(exact) else WRONG
    return number.verdict(exact)


def _shown(value: Number) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{float(value):,.6g}"


def judge_all(claims: Claims) -> list[Verdict]:
    """The verdicts of a file. Raises: SpecError, with what is wrong in all of its expressions."""
    problems: list[Problem] = []
    found: list[Verdict] = []
    quantities = claims.quantities
    for claim in claims.claims:
        try:
            found.append(judge(claim, quantities))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return found
