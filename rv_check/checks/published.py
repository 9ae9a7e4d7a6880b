"""Level spec: do the printed numbers hold, to the digits printed?"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from rv_check.archs.arch import Arch
from rv_check.checks.check import Check, Outcome
from rv_check.checks.of_arch import ArchRun
from rv_check.checks.printed import HOLDS, TRUNCATED, WRONG, Printed
from rv_check.language.definitions import Published

UNITS = {
    "params": 1, "mparams": 10**6, "macs": 1, "mmacs": 10**6, "gmacs": 10**9, "mactivations": 10**6,
    "depth": 1, "receptive_field": 1,
}  # fmt: skip
QUOTED = ("top1", "top5", "top1_error", "top5_error")  # measured by somebody on a data set: quoted, not derived


def published(metrics: tuple[str, ...]) -> Callable[[ArchRun, Check], Outcome]:
    """The check that the printed numbers of these metrics hold, to the digits printed."""

    def check_published(run: ArchRun, check: Check) -> Outcome:
        arch = run.expanded
        for entry in arch.entry.published:
            if entry.metric in metrics:
                ok, verdict, found = hold(entry, value_of(arch, entry))
                yield check.finding(
                    run,
                    f"{entry.metric} {entry.printed} {verdict}",
                    holds=ok,
                    found=found,
                    expected=_expected(entry),
                    source=entry.source,
                    place=entry.place,
                )

    return check_published


def _expected(entry: Published) -> str:
    how = f" within {entry.within}%" if entry.within is not None else f" ({entry.verdict})" if entry.verdict else ""
    return entry.printed + how


def value_of(arch: Arch, entry: Published) -> int | str:
    """What the spec gives for a published metric: an exact integer, or a receptive field in the form printed."""
    arch = arch.at(entry.input) if entry.input is not None else arch
    match entry.metric:
        case "params" | "mparams":
            return arch.params
        case "macs" | "mmacs" | "gmacs":
            return arch.macs
        case "mactivations":
            return arch.activations
        case "depth":
            return arch.depth
    field = arch.receptive_field
    if "/" in entry.printed or field.rows.size != field.columns.size:
        return str(field)
    return field.rows.size


def hold(entry: Published, value: int | str) -> tuple[bool, str, str]:
    """Whether a printed number holds of a value: (as declared?, verdict in words, the value in the unit printed).

    It holds when it is the value rounded to the digits printed; a printed 3.8 stands for 3.75 to 3.85. A declared
    verdict must be the true one: `truncated` when only cutting off the digits gives it, `wrong` when neither does.
    """
    declared = {"truncated": TRUNCATED, "wrong": WRONG, None: HOLDS}[entry.verdict]
    printed = printed_number(entry)
    if isinstance(value, str) or printed is None:
        verdict = HOLDS if " ".join(entry.printed.split()) == str(value) else WRONG
        return verdict == declared, verdict, str(value)
    exact = Decimal(value) / UNITS[entry.metric]
    verdict = Printed(printed).verdict(Fraction(exact))
    shown = f"{exact:,}"
    if entry.within is not None:
        off = f"is {100 * (exact - printed) / printed:+.2f}% off" if printed else verdict
        return 100 * abs(exact - printed) <= entry.within * printed, off, shown
    return verdict == declared, verdict, shown


def printed_number(entry: Published) -> Decimal | None:
    """What is printed as a number, or None where it is a receptive field with its stride and padding."""
    text = entry.printed.replace("_", "").replace(",", "")
    return None if "/" in text else Decimal(text)
