"""Numbers as they are printed, `138M`, `5.7`, `76.0%`, `1.8e9`, `4.09 GMACs`, and whether they hold of an exact value.

Every printed digit counts, zeros before the point among them: 120M stands for 119.5 to 120.5 million.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

UNITS = {"k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "million": 10**6, "billion": 10**9, "x": 1, "": 1}
PERCENT = "%"
HOLDS, TRUNCATED, WRONG = "holds", "holds only under truncation", "is wrong"
FORMS = "a number as printed: 5.7, 138M, 1.8e9, 25_557_032, 76.0%"
ABOUT = "~\u2248\u223c"  # they say that a number is rounded, as every printed one is
_COUNTED = "MACs?|Macs?|FLOPs?|FLOPS|params?|parameters|weights|layers|pixels|px"  # said of a number, and no part of it
_FORM = re.compile(
    r"(-?)((?:\d{1,3}(?:,\d{3}){1,5}|\d[\d_]{0,15})(?:\.\d{1,9})?)(e\d{1,2}| ?[x\u00d7\u00b7] ?10\^\d{1,2})?"
    rf"( ?(?:k|K|M|G|B|million|billion|x|%)|)( ?(?:{_COUNTED})|)"
)
_RANGE = re.compile(r"(?P<low>.+?) ?(?:-|\u2013|\u2014|\bto\b|\.\.\.?|\u2026) ?(?P<high>\d.*)")


@dataclass(frozen=True)
class Printed:
    """A printed number: its digits, and what one of them stands for.

    `understood`: the unit that it is said elsewhere to be in, as the head of a column does, where none is printed.
    """

    digits: Decimal
    exponent: str = ""  # e9 or x10^9, or nothing
    unit: str = ""  # it begins with the space before it, if there is one
    counted: str = ""  # a word for what it is a number of, likewise
    understood: str = ""

    @property
    def _unit(self) -> str:
        return self.unit.strip() or self.understood

    @property
    def is_percent(self) -> bool:
        """Whether it is a number of hundredths."""
        return self._unit == PERCENT

    @property
    def scale(self) -> int:
        """What 1 stands for; of a percentage 1, since only its reader knows what it is a percentage of."""
        power: int = 10 ** int(re.split(r"e|\^", self.exponent)[-1] or 0)
        return UNITS.get(self._unit, 1) * power

    @property
    def last_digit(self) -> Fraction:
        """What a 1 in the last place stands for, in units of `scale`."""
        return Fraction(Decimal(1).scaleb(int(self.digits.as_tuple().exponent)))

    def verdict(self, exact: Fraction) -> str:
        """HOLDS where it is the value rounded to the digits printed, TRUNCATED where it is cut off there, or WRONG.

        Args: `exact` the value in units of `scale`.
        """
        if 2 * abs(Fraction(self.digits) - exact) <= self.last_digit:
            return HOLDS
        return TRUNCATED if self.is_truncated(exact) else WRONG

    def is_truncated(self, exact: Fraction) -> bool:
        """Whether it is the value cut off behind the digits printed."""
        return self._to_digits(exact, 0) == self.digits

    def right(self, exact: Fraction, *, truncated: bool = False) -> str:
        """The value as it should be printed, to the same digits: rounded, or cut off behind them."""
        digits = self._to_digits(exact, 0 if truncated else Fraction(1, 2))
        return f"{digits:,f}{self.exponent}{self.unit}{self.counted}"

    def _to_digits(self, exact: Fraction, add: Fraction | int) -> Decimal:
        """The value cut off behind the last digit, after `add` of it: 0 truncates, a half rounds."""
        places = int(abs(exact) / self.last_digit + add)
        return Decimal(-places if exact < 0 else places).scaleb(int(self.digits.as_tuple().exponent))


@dataclass(frozen=True)
class PrintedRange:
    """A printed range, `3.8-4.1 G`: it holds of a value between its ends, or one that is rounded to one of them."""

    low: Printed
    high: Printed

    @property
    def is_percent(self) -> bool:
        """Whether it is one of hundredths."""
        return self.high.is_percent

    @property
    def scale(self) -> int:
        """What 1 stands for, at its upper end."""
        return self.high.scale

    def verdict(self, exact: Fraction) -> str:
        """HOLDS or WRONG. Args: `exact` the value in units of `scale`."""
        low = exact * self.high.scale / self.low.scale
        above = 2 * (Fraction(self.low.digits) - low) <= self.low.last_digit
        below = 2 * (exact - Fraction(self.high.digits)) <= self.high.last_digit
        return HOLDS if above and below else WRONG

    def is_truncated(self, exact: Fraction) -> bool:
        """Whether it holds: a range says nothing of how its value is printed."""
        return self.verdict(exact) == HOLDS

    def right(self, exact: Fraction, *, truncated: bool = False) -> str:
        """The value, printed as the upper end is."""
        return self.high.right(exact, truncated=truncated)


def parse_printed(text: str, understood: str = "") -> Printed | None:
    """The printed number, or None where it is none. Args: `understood` the unit that it is in where none is printed."""
    match = _FORM.fullmatch(text.strip().lstrip(ABOUT).lstrip())
    if match is None:
        return None
    sign, digits, exponent, unit, counted = match.groups()
    number = Decimal(sign + digits.replace("_", "").replace(",", ""))
    return Printed(number, exponent or "", unit, counted, understood)


def parse_range(text: str, understood: str = "") -> PrintedRange | None:
    """The printed range, or None where it is none. A lower end without a unit has that of the upper one."""
    match = _RANGE.fullmatch(text.strip())
    low, high = (parse_printed(match[end], understood) for end in ("low", "high")) if match else (None, None)
    if low is None or high is None:
        return None
    return PrintedRange(replace(low, understood=high.unit.strip() or understood), high)
