"""How large a class may be, and that a name means one thing: both are read from the source of the package."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import rv_check

PACKAGE = Path(rv_check.__file__).parent
MAX_LINES = 250  # of one class
OWN = ("text", "values", "errors", "ops", "language", "archs")  # what all other folders build on
# A type that is defined twice, with the files of both.
KNOWN = {"Shape": ["graphs/graph.py", "ops/op.py"]}  # of a batch, and of one image


def sources(package: Path) -> Iterator[tuple[str, ast.Module]]:
    """The files of a package, each parsed, by their paths in it."""
    for path in sorted(package.rglob("*.py")):
        yield path.relative_to(package).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def too_long(package: Path) -> list[str]:
    """The classes of a package that have more lines than one may have."""
    return [
        f"{file}: {node.name} has {length} lines"
        for file, tree in sources(package)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_LINES
    ]


def types_of(tree: ast.Module) -> Iterator[str]:
    """The names of classes that a file defines, and of types that it gives a name: `Shape = tuple[int, ...]`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(name)]) if name[0].isupper() and not name.isupper():
                yield name


def defined_twice(package: Path) -> dict[str, list[str]]:
    """Types of the folders that all build on whose names are defined elsewhere, too, each with its files."""
    files: dict[str, list[str]] = {}
    for file, tree in sources(package):
        for name in types_of(tree):
            files.setdefault(name, []).append(file)
    return {
        name: found
        for name, found in files.items()
        if len(found) > 1 and any(file.partition("/")[0].removesuffix(".py") in OWN for file in found)
    }


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the package, to be changed."""
    return Path(shutil.copytree(PACKAGE, tmp_path / "rv_check", ignore=shutil.ignore_patterns("__pycache__")))


def test_no_class_is_too_long() -> None:
    """A class that has more to say says it in parts."""
    assert too_long(PACKAGE) == []


def test_a_class_that_is_too_long_is_seen(copied: Path) -> None:
    """The test above can fail: at one line more than may be, also within a function, and not before."""
    lines = "".join(f"    line{i} = {i}\n" for i in range(MAX_LINES - 1))
    (copied / "archs" / "long.py").write_text(f"class Long:\n{lines}", encoding="utf-8")
    assert too_long(copied) == []
    (copied / "archs" / "long.py").write_text(f"class Long:\n{lines}    more = 0\n", encoding="utf-8")
    assert too_long(copied) == ["archs/long.py: Long has 251 lines"]
    inner = "".join(f"    {line}\n" for line in f"class Inner:\n{lines}    more = 0".splitlines())
    (copied / "archs" / "long.py").write_text(f"def make():\n{inner}", encoding="utf-8")
    assert too_long(copied) == ["archs/long.py: Inner has 251 lines"]


def test_a_name_of_a_type_means_one_thing() -> None:
    """What the folders define that all others build on has a name of its own, but for those that are known."""
    assert defined_twice(PACKAGE) == KNOWN


@pytest.mark.parametrize("text", ["class Repeat:\n    pass\n", "Repeat = list[int]\n"])
def test_a_name_that_means_two_things_is_seen(copied: Path, text: str) -> None:
    """The test above can fail: on a class and on a type of a higher folder."""
    (copied / "costs" / "new.py").write_text(text, encoding="utf-8")
    assert defined_twice(copied) == KNOWN | {"Repeat": ["archs/tree.py", "costs/new.py"]}
