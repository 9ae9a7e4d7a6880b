"""Numbers as they are printed, `138M`, `5.7`, `76.0%`, `1.8e9`, and whether they hold of an exact value.

Every printed digit counts, zeros before the point among them: 120M stands for 119.5 to 120.5 million.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

UNITS = {"k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "B": 10**9, "million": 10**6, "billion": 10**9, "x": 1, "": 1}
HOLDS, TRUNCATED, WRONG = "holds", "holds only under truncation", "is wrong"
FORMS = "a number as printed: 5.7, 138M, 1.8e9, 25_557_032, 76.0%"
_FORM = re.compile(r"(-?)(\d[\d_,]{0,15}(?:\.\d{1,9})?)(e\d{1,2})?( ?)(k|K|M|G|B|million|billion|x|%|)")


@dataclass(frozen=True)
class Printed:
    """A printed number: its digits, and what one of them stands for."""

    digits: Decimal
    exponent: str = ""  # e9, or nothing
    unit: str = ""  # it begins with the space before it, if there is one

    @property
    def is_percent(self) -> bool:
        """Whether it is a number of hundredths."""
        return self.unit.strip() == "%"

    @property
    def scale(self) -> int:
        """What 1 stands for; of a percentage 1, since only its reader knows what it is a percentage of."""
        power: int = 10 ** int(self.exponent[1:] or 0)
        return UNITS.get(self.unit.strip(), 1) * power

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
        return TRUNCATED if self._to_digits(exact, 0) == self.digits else WRONG

    def right(self, exact: Fraction) -> str:
        """The value as it should be printed, to the same digits."""
        return f"{self._to_digits(exact, Fraction(1, 2)):,f}{self.exponent}{self.unit}"

    def _to_digits(self, exact: Fraction, add: Fraction | int) -> Decimal:
        """The value cut off behind the last digit, after `add` of it: 0 truncates, a half rounds."""
        places = int(abs(exact) / self.last_digit + add)
        return Decimal(-places if exact < 0 else places).scaleb(int(self.digits.as_tuple().exponent))


def parse_printed(text: str) -> Printed | None:
    """The printed number, or None where it is none."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        return None
    sign, digits, exponent, space, unit = match.groups()
    return Printed(Decimal(sign + digits.replace("_", "").replace(",", "")), exponent or "", space + unit)
