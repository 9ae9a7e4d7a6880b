"""Every kind of module, and every mutant: they are what they say, and rv-check says of them what the page shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.zoo.judge import COLUMNS, QUESTIONS, WRONG, judged, outcome, untouched
from tests.zoo.known import KNOWN, PASSES
from tests.zoo.mutants import MUTANTS, Mutant
from tests.zoo.registry import ROWS
from tests.zoo.rows import Row, difference, rows_seen
from tests.zoo.score import mutants, table, totals, written

pytestmark = pytest.mark.filterwarnings("ignore")
NAMES = [row.name for row in ROWS]
HIDDEN = {"masked convolutions": "3"}  # a window is what is counted, and its mask hides a part of it


def sampled(things: tuple[Row, ...] | list[Mutant], every: int = 8) -> list[object]:
    """One of so many; the others are for the sweep."""
    return [
        pytest.param(one, id=one.name, marks=[] if at % every == 0 else [pytest.mark.sweep])
        for at, one in enumerate(things)
    ]


def test_there_are_enough() -> None:
    """At least sixty kinds and fifty mutants, each under a name of its own, and each was asked."""
    assert len(set(NAMES)) == len(NAMES) >= 60
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 50
    assert list(written()["kinds"]) == NAMES
    assert list(written()["mutants"]) == [mutant.name for mutant in MUTANTS]


@pytest.mark.parametrize("row", sampled(ROWS, 3))
def test_a_refactor_is_the_same_and_a_change_is_none(row: Row) -> None:
    """Shown by running both with the same weights, without rv-check."""
    assert difference(row, changed=False) < (1e-6 if row.exact else 1e-4)
    assert difference(row, changed=True) > 1e-5


@pytest.mark.parametrize("row", [row for row in ROWS if row.field != "refused"], ids=lambda row: row.name)
def test_what_a_unit_sees(row: Row) -> None:
    """The field that is expected is what gradients of the module itself show."""
    assert rows_seen(row) == HIDDEN.get(row.name, row.field)


@pytest.mark.parametrize("row", sampled(ROWS))
def test_what_is_said_of_a_kind(row: Row) -> None:
    """Cell by cell what the page says."""
    assert judged(row) == written()["kinds"][row.name]


@pytest.mark.parametrize("mutant", sampled(MUTANTS, 3))
def test_a_mutant_is_another_network(mutant: Mutant) -> None:
    """Shown by an input, without rv-check; or what would show it is said, where this machine has none."""
    torch.manual_seed(0)
    if mutant.tell is None:
        assert mutant.why
    else:
        assert mutant.tell(mutant.old(), mutant.new()) > 1e-9


@pytest.mark.parametrize("mutant", sampled(MUTANTS))
def test_what_came_of_a_mutant(mutant: Mutant) -> None:
    """It is what the page says."""
    assert outcome(mutant) == written()["mutants"][mutant.name]


def test_nothing_else_is_wrong() -> None:
    """A cell that is wrong is known to be, and what is known to be wrong is; so with mutants that pass."""
    cells = written()["kinds"]
    assert {(name, column) for name in NAMES for column in COLUMNS if cells[name][column].startswith(WRONG)} == KNOWN
    assert {name for name, came in written()["mutants"].items() if came.startswith(WRONG)} == PASSES


def test_what_is_wrong_is_seen() -> None:
    """A refactor that is none, a change that is none, numbers that are others, and a mutant that is none."""
    row = ROWS[NAMES.index("residual network")]
    other = judged(replace(row, refactored=row.changed, changed=row.old, macs=25, field="7"))
    assert other["same as itself"] == "yes"
    assert other["true refactor"].startswith(f"{WRONG}false alarm, structure failed: ")
    assert other["small change"] == f"{WRONG}false pass"
    assert other["macs"] == f"{WRONG}50,728, expected 25"
    assert other["field"] == f"{WRONG}everything, expected 7"
    assert outcome(replace(MUTANTS[0], new=MUTANTS[0].old)) == f"{WRONG}passes"


HARM: dict[str, Callable[[nn.Module], object]] = {
    "its mode": lambda net: net.eval(),
    "a value": lambda net: nn.init.zeros_(net.a.bias),
    "a flag": lambda net: net.a.weight.requires_grad_(False),
    "a hook": lambda net: net.a.register_forward_hook(lambda *given: None),
    "an attribute": lambda net: setattr(net, "more", {}),
    "chance": lambda net: torch.rand(1),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_harm_is_seen(harm: Callable[[nn.Module], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """A question after which the module, or what is around it, is not as it was is told of."""
    monkeypatch.setitem(QUESTIONS, "checked", lambda net, other, row: harm(net))
    assert untouched(ROWS[NAMES.index("a dict")]).startswith(f"{WRONG}checked: ")


def test_the_tables() -> None:
    """Every kind and every mutant has a line, and what is refused is told once."""
    cells = {name: dict.fromkeys(COLUMNS, "yes") for name in NAMES}
    cells[NAMES[0]]["macs"] = "refused: the input has shape (2, 3)"
    cells[NAMES[1]]["macs"] = "refused: the input has shape (2, 5)"
    cells[NAMES[2]]["field"] = "WRONG: 3, expected 5"
    text = table(cells)
    assert all(f"| {name} " in text for name in NAMES)
    assert text.endswith("1. the input has shape (...)\n2. 3, expected 5")
    assert totals(cells).splitlines()[-4:-2] == [
        f"| macs           | {len(NAMES) - 2:>5} |         2 |       0 |",
        f"| memory         | {len(NAMES):>5} |         0 |       0 |",
    ]
    assert mutants(dict.fromkeys((one.name for one in MUTANTS), "said")).count("| said") == len(MUTANTS)
