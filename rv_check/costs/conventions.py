"""What each counter makes of the operations of a network.

A counter's total is a linear rule over exact quantities, kept as data in conventions.yaml; so two totals differ by what
can be spelled out in operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rv_check.costs.operations import Operation
from rv_check.errors import unknown

FILE = Path(__file__).parent / "conventions.yaml"


@dataclass(frozen=True)
class Convention:
    """What a counter counts: coefficients of quantities by the kind of operation.

    `counts` holds whoever asks for an operation; `layers`, `subclasses`, `functions` instead of it where a layer of
    torch's does, a subclass of one, or other code. `unit`: what the counter calls its total; `calls`: what it calls
    kinds of operation that have another name with it.
    """

    name: str
    version: str
    unit: str
    source: str
    counts: Mapping[str, Mapping[str, int]]
    layers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    subclasses: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    functions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    note: str = ""
    calls: Mapping[str, str] = field(default_factory=dict)

    def terms(self, operation: Operation) -> dict[str, int]:
        """What it counts of an operation: coefficients by quantity."""
        by_caller = {"layer": self.layers, "subclass": self.subclasses, "function": self.functions}[operation.caller]
        own = by_caller.get(operation.kind)
        return dict(self.counts.get(operation.kind, {}) if own is None else own)

    def of(self, operation: Operation) -> int:
        """What it counts of an operation."""
        return sum(by * operation.quantities.get(name, 0) for name, by in self.terms(operation).items())

    def total(self, done: Iterable[Operation]) -> int:
        """Its total of a network."""
        return sum(map(self.of, done))

    def spelled(self, done: Sequence[Operation]) -> list[tuple[int, str, str, int]]:
        """Its total as a sum of (coefficient, kind, quantity, amount), multiply-adds first, then the largest first."""
        amounts: dict[tuple[str, str], dict[int, int]] = {}
        for operation in done:
            for name, by in self.terms(operation).items():
                if operation.quantities.get(name) and by:
                    key = ("multiply-adds" if name == "macs" else operation.kind, name)
                    by_coefficient = amounts.setdefault(key, {})
                    by_coefficient[by] = by_coefficient.get(by, 0) + operation.quantities[name]
        terms: dict[tuple[str, int], tuple[int, str]] = {}
        for (kind, name), found in amounts.items():
            for by, amount in found.items():  # two quantities of a kind that are equal are one: 2 x batchnorm out
                known = terms.get((kind, amount))
                terms[kind, amount] = (by + known[0], known[1]) if known else (by, name)
        spelled = [(by, kind, name, amount) for (kind, amount), (by, name) in terms.items()]
        return sorted(spelled, key=lambda term: (term[2] != "macs", -abs(term[0] * term[3])))


@cache
def _file() -> dict[str, Any]:
    import yaml

    read: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return read


@cache
def conventions() -> dict[str, Convention]:
    """Every known convention by name."""
    return {name: Convention(name=name, **entry) for name, entry in _file()["counters"].items()}


@cache
def held() -> frozenset[str]:
    """The kinds of operation for which every rule is held to what its counter prints."""
    return frozenset(_file()["held"])


def convention(name: str) -> Convention:
    """The convention of that name. Raises: RvCheckError."""
    known = conventions()
    if name not in known:
        raise unknown("convention", name, known)
    return known[name]
