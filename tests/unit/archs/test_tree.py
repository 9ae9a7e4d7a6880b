"""The walk over a tree: what comes by in which order, under which name. Expected values are worked by hand."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

import pytest

from rv_check.archs import tree
from rv_check.archs.load import load_archs
from rv_check.archs.tree import Join, Layer, Module, Repeat, Seq, Visit, child, children, named, walk

STAGE = "block: cell\nin: C H W\ninline: true\nbody:\n  - batchnorm\n  - relu\n"


def root(folder: Path, body: str) -> Seq:
    """The steps of a network with this body, on an input 4 8 8. Its folder has the inline block `cell`."""
    (folder / "blocks").mkdir(parents=True, exist_ok=True)
    (folder / "blocks" / "cell.yaml").write_text(STAGE, encoding="utf-8")
    text = f"family: net\ninput: 4 8 8\nbody:\n{textwrap.indent(body, '  ')}\narchs:\n  net:\n    build: net\n"
    (folder / "net.yaml").write_text(text, encoding="utf-8")
    (arch,) = load_archs(folder / "net.yaml")
    return arch.tree.root.seq


def shown(visits: Iterable[Visit], prefix: str = "") -> list[str]:
    """The visits, those within modules and branches after the line of their own: `name: what`."""
    lines = []
    for visit in visits:
        match visit.node:
            case Layer():
                lines.append(f"{prefix}{visit.name}: {visit.node.op.name}")
            case Module():
                lines.append(f"{prefix}{visit.name}: module")
                lines += shown(walk(visit.node.seq), f"{prefix}{visit.name}.")
            case Join():
                lines.append(f"{prefix}{visit.name}: join")
                for label, branch in visit.branches:
                    lines += shown(branch, f"{prefix}<{label}>")
    return lines


WALKS: dict[str, tuple[str, list[str]]] = {
    "names and positions": ("- relu\n- a: sigmoid\n- relu", ["0: relu", "a: sigmoid", "2: relu"]),
    "a module counts afresh": ("- relu\n- g:\n    - relu\n- relu", ["0: relu", "g: module", "g.0: relu", "2: relu"]),
    "rounds": ("- repeat: 2\n  steps:\n    - relu\n    - sigmoid", ["0: relu", "1: sigmoid", "2: relu", "3: sigmoid"]),
    "an index": ("- repeat: 2\n  index: i\n  steps:\n    - a{i+1}: relu", ["a1: relu", "a2: relu"]),
    "an index within an index": (
        "- repeat: 2\n  index: i\n  steps:\n    - repeat: 2\n      index: j\n      steps:\n        - a{i}{j}: relu",
        ["a00: relu", "a01: relu", "a10: relu", "a11: relu"],
    ),
    "a first round that differs": (  # 4 -> 8 channels, then twice 8 -> 8: two repeats, the second begins at 1
        "- repeat: 3\n  index: i\n  steps:\n    - a{i}: conv(8, kernel=1, bias=False)\n    - relu",
        ["a0: conv", "1: relu", "a1: conv", "3: relu", "a2: conv", "5: relu"],
    ),
    "branches count on": (
        "- sum:\n    x:\n      - relu\n      - relu\n    y: identity\n    z:\n      - relu\n- relu",
        ["sum: join", "<x>0: relu", "<x>1: relu", "<z>2: relu", "3: relu"],
    ),
    "a join in a round": (
        "- repeat: 2\n  index: i\n  steps:\n    - sum:\n        x:\n          - a{i}: relu\n          - relu\n"
        "        y: identity",
        ["sum: join", "<x>a0: relu", "<x>1: relu", "sum: join", "<x>a1: relu", "<x>3: relu"],
    ),
    "an inline block leaves no trace": ("- cell\n- cell", ["0: batchnorm", "1: relu", "2: batchnorm", "3: relu"]),
    "an arm leaves no trace": (
        "- if: 1 < 2\n  then:\n    - relu\n    - relu\n- relu",
        ["0: relu", "1: relu", "2: relu"],
    ),
}


@pytest.mark.parametrize(("body", "expected"), WALKS.values(), ids=WALKS)
def test_walk(body: str, expected: list[str], tmp_path: Path) -> None:
    """Layers, modules and joins come by in the order of the flow, repeats written out, what is transparent unseen."""
    assert shown(walk(root(tmp_path, body))) == expected


def test_a_repeat_is_walked_as_its_rounds_written_out(tmp_path: Path) -> None:
    """The walk of a repeat and that of its rounds, one by one, cannot be told apart."""
    steps = "- relu\n- sum:\n    a:\n      - g{i}:\n          - relu\n    b:\n      - cell\n"
    repeated = root(tmp_path / "a", f"- repeat: 3\n  index: i\n  steps:\n{textwrap.indent(steps, '    ')}")
    written = root(tmp_path / "b", "".join(steps.replace("{i}", str(i)) for i in range(3)))
    assert (len(repeated.items), len(written.items)) == (1, 6)
    assert shown(walk(repeated)) == shown(walk(written))


def test_children_are_the_names_of_a_module(tmp_path: Path) -> None:
    """Joins are looked through: their branches' steps are steps of the module. Modules are not looked into."""
    seq = root(tmp_path, "- relu\n- sum:\n    a:\n      - g:\n          - relu\n    b:\n      - relu")
    assert [name for name, _ in children(seq)] == ["0", "g", "2"]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Visit]:
    """Every visit that a walk makes from now on."""
    visits: list[Visit] = []

    def make(*parts: object) -> Visit:
        visits.append(Visit(*parts))  # type: ignore[arg-type]
        return visits[-1]

    monkeypatch.setattr(tree, "Visit", make)
    return visits


def test_a_child_is_found_without_writing_out_the_rounds(tmp_path: Path, made: list[Visit]) -> None:
    """In a repeat whose steps have no names a position says its round; where they have names, each round is tried."""
    body = "- repeat: 1000\n  steps:\n    - relu\n    - sigmoid\n- repeat: 10\n  index: i\n  steps:\n    - a{i}: relu"
    seq = root(tmp_path, body)
    made.clear()
    item = child(seq, "1999")
    assert item is not None
    assert item.node.op.name == "sigmoid"  # type: ignore[union-attr]
    assert [visit.name for visit in made] == ["1998", "1999"]
    made.clear()
    assert child(seq, "a9") is not None
    assert [visit.name for visit in made] == [f"a{i}" for i in range(10)]
    made.clear()
    assert len(list(children(seq))) == len(made) == 2010


def test_the_rounds_are_the_callers(tmp_path: Path) -> None:
    """Whoever walks says which rounds of a repeat are gone through, also of those within branches."""
    seq = root(tmp_path, "- sum:\n    a:\n      - repeat: 5\n        steps:\n          - relu\n    b: identity\n- relu")

    def last(repeat: Repeat, position: int) -> Iterable[int]:
        assert position == 0
        return (repeat.times - 1,)

    assert [visit.name for visit in named(walk(seq, rounds=last))] == ["4", "5"]
    assert [visit.name for visit in named(walk(seq))] == ["0", "1", "2", "3", "4", "5"]
