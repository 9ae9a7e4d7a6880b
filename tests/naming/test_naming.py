"""The grid of names: what was written of it is true, and all of it is right."""

from __future__ import annotations

import pytest

from rv_check import load
from rv_check.archs.load import all_archs
from tests.naming.changes import EVERYWHERE, ONCE, Change
from tests.naming.score import NOTHING, RIGHT, changes_of, judged, table, written

CHANGES = {change.name: change for change in (*EVERYWHERE, *ONCE)}


def test_the_grid_is_whole() -> None:
    """Every arch that has a short name, at least 15 changes everywhere and 10 in one place that change it."""
    assert len(CHANGES) == len(EVERYWHERE) + len(ONCE)
    cells = written()
    assert list(cells) == [arch.name for arch in all_archs()]
    for arch, row in cells.items():
        assert list(row) == [change.name for change in changes_of(load(arch))]
        assert sum(row.get(change.name, NOTHING) != NOTHING for change in EVERYWHERE) >= 15, arch
        assert sum(row.get(change.name, NOTHING) != NOTHING for change in ONCE) >= 10, arch


def test_all_are_named_right() -> None:
    """No network that was changed has the name of another."""
    assert {said for row in written().values() for said in row.values()} == {RIGHT, NOTHING}


def test_the_table_counts() -> None:
    """A change that leaves an arch as it is counts neither way; a wrong name is told."""
    said = {change: "vgg11 at 60%" if change == EVERYWHERE[0].name else NOTHING for change in CHANGES}
    row = next(line for line in table({"resnet18": said}).splitlines() if EVERYWHERE[0].name in line)
    assert [cell.strip() for cell in row.strip("|").split("|")] == [
        EVERYWHERE[0].name,
        "0 of 1",
        "resnet18: vgg11 at 60%",
    ]


def cells() -> list[object]:
    """Every arch and change; tests/unit/checks/test_identify.py has a sample that is small enough for each run."""
    asked = [(arch.name, change) for arch in all_archs() for change in changes_of(arch)]
    return [pytest.param(arch, change, id=f"{arch}, {change.name}") for arch, change in asked]


@pytest.mark.sweep
@pytest.mark.parametrize(("arch", "change"), cells())
def test_what_was_written_is_so(arch: str, change: Change) -> None:
    """Cell by cell."""
    assert judged(load(arch), change) == written()[arch][change.name]
