"""How large a class may be, that a name means one thing, and what may change an object: read from the source."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import rv_check

PACKAGE = Path(rv_check.__file__).parent
MAX_LINES = 250  # of one class
FROZEN = ("checks", "graphs")  # folders where an object is complete once it is made
# Classes and functions of these folders that may change an object all the same, with the attributes.
CHANGES = {
    "graphs/builder.py: Builder.make": {"other.rules"},  # it writes what has led to the operation that it records
    "graphs/builder.py: Builder.finish": {"node.key", "node.height"},  # both need the whole graph, and are set once
    "graphs/builder.py: _flatten_sums": {"node.inputs"},  # a part of `Builder.finish`: nobody has the graph yet
    "graphs/builder.py: _cut_wholes": {"node.kind", "node.inputs", "node.tensors", "node.attributes"},  # likewise
    "graphs/of_arch.py: _Reading.passed": {"self.end"},  # a recorder, which reads a tree and is dropped
}


parsed = cache(ast.parse)  # a copy of the package has the same text


def sources(package: Path) -> Iterator[tuple[str, ast.Module]]:
    """The files of a package, each parsed, by their paths in it."""
    for path in sorted(package.rglob("*.py")):
        yield path.relative_to(package).as_posix(), parsed(path.read_text(encoding="utf-8"))


def too_long(package: Path) -> list[str]:
    """The classes of a package that have more lines than one may have."""
    return [
        f"{file}: {node.name} has {length} lines"
        for file, tree in sources(package)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_LINES
    ]


def types_of(tree: ast.Module) -> Iterator[str]:
    """The names of classes that a file defines, and of types that it gives a name: `Shape = tuple[int, ...]`.

    Those of its own among them, without their underscore: `_Step` beside `Step` reads as the same thing.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.name.lstrip("_")
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
                word = name.lstrip("_")
                if word[:1].isupper() and not word.isupper():
                    yield word


def defined_twice(package: Path) -> dict[str, list[str]]:
    """The names of types that a package defines more than once, each with its files."""
    files: dict[str, list[str]] = {}
    for file, tree in sources(package):
        for name in types_of(tree):
            files.setdefault(name, []).append(file)
    return {name: found for name, found in files.items() if len(found) > 1}


def changes(package: Path) -> dict[str, set[str]]:
    """Attributes that are assigned or deleted where no object is made, by the function that does it."""
    found: dict[str, set[str]] = {}

    def visit(parent: ast.AST, names: tuple[str, ...]) -> None:
        for node in ast.iter_child_nodes(parent):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                visit(node, (*names, node.name))
                continue
            assigned = isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            sets = called in ("setattr", "delattr") or called.endswith((".__setattr__", ".__delattr__"))
            if (assigned or sets) and not {"__init__", "__post_init__"} & set(names[-1:]):
                found.setdefault(f"{file}: {'.'.join(names)}", set()).add(ast.unparse(node))
            visit(node, names)

    for file, tree in sources(package):
        if file.startswith(tuple(f"{folder}/" for folder in FROZEN)):
            visit(tree, ())
    return found


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
    """Every class and every type of the package has a name of its own."""
    assert defined_twice(PACKAGE) == {}


@pytest.mark.parametrize(
    ("text", "twice"),
    [
        ("class Repeat:\n    pass\n", {"Repeat": ["archs/tree.py", "costs/new.py"]}),
        ("Repeat = list[int]\n", {"Repeat": ["archs/tree.py", "costs/new.py"]}),
        ("class _Repeat:\n    pass\n", {"Repeat": ["archs/tree.py", "costs/new.py"]}),
        ("def make():\n    class Repeat:\n        pass\n", {"Repeat": ["archs/tree.py", "costs/new.py"]}),
        ("Shape: TypeAlias = list[int]\n", {"Shape": ["costs/new.py", "ops/op.py"]}),
        ("class TimingPlan:\n    pass\n", {"TimingPlan": ["bench/timing.py", "costs/new.py"]}),
        ("REPEAT = 1\n_ = 2\nrepeat = 3\n", {}),
    ],
)
def test_a_name_that_means_two_things_is_seen(copied: Path, text: str, twice: dict[str, list[str]]) -> None:
    """The test above can fail: on a class and on a type, of any folder, and not on names of other things."""
    (copied / "costs" / "new.py").write_text(text, encoding="utf-8")
    assert defined_twice(copied) == twice


def test_an_object_does_not_change_once_it_is_made() -> None:
    """In these folders attributes are assigned in `__init__` and `__post_init__`, but for those that are known."""
    assert changes(PACKAGE) == CHANGES


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ("self.sizes = ()", "self.sizes"),
        ("other.sizes += (1,)", "other.sizes"),
        ("a, (self.b, c) = found", "self.b"),
        ("for self.at in found: pass", "self.at"),
        ("with found as self.file: pass", "self.file"),
        ("self.kept.size: int = 1", "self.kept.size"),
        ("del self.sizes", "self.sizes"),
        ("setattr(self, 'sizes', ())", "setattr(self, 'sizes', ())"),
        ("object.__setattr__(self, 'sizes', ())", "object.__setattr__(self, 'sizes', ())"),
    ],
)
def test_an_object_that_changes_is_seen(copied: Path, line: str, change: str) -> None:
    """The test above can fail: on every way to assign an attribute, in a method, and not where the object is made."""
    path = copied / "checks" / "new.py"
    for name in ("__init__", "__post_init__"):
        path.write_text(f"class New:\n    def {name}(self, found, other):\n        {line}\n", encoding="utf-8")
        assert changes(copied) == CHANGES
    path.write_text(f"class New:\n    def told(self, found, other):\n        {line}\n", encoding="utf-8")
    assert changes(copied) == CHANGES | {"checks/new.py: New.told": {change}}


@pytest.mark.parametrize("line", ["found = self.sizes", "self.sizes.append(1)", "sizes = replace(self, sizes=())"])
def test_what_assigns_no_attribute_is_not_taken_for_it(copied: Path, line: str) -> None:
    """What an object holds may be read, and a container that it fills is its own affair."""
    text = f"class New:\n    def told(self):\n        {line}\n"
    (copied / "checks" / "new.py").write_text(text, encoding="utf-8")
    (copied / "costs" / "new.py").write_text("def change(x):\n    x.y = 1\n", encoding="utf-8")
    assert changes(copied) == CHANGES
