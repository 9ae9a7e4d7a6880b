"""Claims: printed statements about networks, held to the digits printed, and the verdict on each.

Each is an expression over what the specs say. How a file of them reads is `claims.file`'s.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

from rv_check.checks.findings import Finding
from rv_check.checks.printed import HOLDS, TRUNCATED, WRONG, Printed
from rv_check.claims.quantities import ACCURACIES, NotKnown, Quantities
from rv_check.errors import CannotRun, Place, Problem, SpecError
from rv_check.language.expressions import Expr, Scope
from rv_check.values import Number, show

CANNOT_BE_SAID = "cannot be said"
DECLARED = {"holds": HOLDS, "truncated": TRUNCATED, "wrong": WRONG, CANNOT_BE_SAID: CANNOT_BE_SAID}


@dataclass(frozen=True)
class Claim:
    """One statement. `expr`: what it is about; None where no spec can speak of it, and `needs` says what would."""

    expr: Expr | None
    printed: str  # the number as printed; nothing for a comparison
    number: Printed | None
    source: str
    declared: str  # the verdict that it should get
    within: Decimal | None  # percent
    says: str  # the statement in the words of the source
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
        """The verdict as a finding of that file."""
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
    source: str  # the source of the claims that have none of their own
    path: Path
    claims: tuple[Claim, ...]
    aliases: Mapping[str, str]

    @property
    def quantities(self) -> Quantities:
        """What its dotted names stand for."""
        return Quantities(self.path.parent, self.aliases)


# Verdicts


def judge(claim: Claim, quantities: Quantities) -> Verdict:
    """What is to be said of a claim. Raises: SpecError for an expression that does not work out."""
    if claim.expr is None:
        return Verdict(claim, CANNOT_BE_SAID, reason=f"it needs {claim.needs}")
    try:
        value = claim.expr.evaluate(Scope({}, quantity=quantities))
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
    quantities = claims.quantities
    for claim in claims.claims:
        try:
            found.append(judge(claim, quantities))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return found
