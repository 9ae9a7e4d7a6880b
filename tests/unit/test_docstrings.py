"""What a docstring has to say: what a function raises. It is read from the source of the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rv_check

PACKAGE = Path(rv_check.__file__).parent
Function = ast.FunctionDef | ast.AsyncFunctionDef


def public(parent: ast.Module | ast.ClassDef) -> Iterator[tuple[str, Function]]:
    """The public functions of a module and the public methods of its public classes, by their names."""
    for node in parent.body:
        match node:
            case ast.ClassDef(name=name) if not name.startswith("_"):
                yield from ((f"{name}.{inner}", function) for inner, function in public(node))
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if not name.startswith("_"):
                yield name, node


def raises(parent: ast.AST) -> bool:
    """Whether a function raises by a statement of its own.

    It does not where it hands on what it caught, has no body yet, or where a collector takes the error.
    """
    for node in ast.iter_child_nodes(parent):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() | ast.ClassDef():
                continue
            case ast.With(items=[ast.withitem(ast.Call(ast.Attribute(attr="collect")))]):
                continue
            case ast.Raise(exc=None) | ast.Raise(exc=ast.Name("NotImplementedError")):
                continue
            case ast.Raise():
                return True
        if raises(node):
            return True
    return False


def silent(package: Path) -> list[str]:
    """Public functions of a package that raise, and whose docstring does not say so.

    A method without a docstring overrides one that has it, and what that one says is true of it.
    """
    paths = [path for path in sorted(package.rglob("*.py")) if not path.name.startswith("_") or path.stem == "__init__"]
    functions = [
        (path.relative_to(package).as_posix(), name, function, ast.get_docstring(function))
        for path in paths
        for name, function in public(ast.parse(path.read_text(encoding="utf-8")))
    ]
    said = {function.name for _, name, function, words in functions if "." in name and words and "Raises:" in words}
    return [
        f"{file}:{function.lineno} {name}"
        for file, name, function, words in functions
        if raises(function)
        and ("Raises:" not in words if words is not None else "." not in name or function.name not in said)
    ]


def test_what_a_public_function_raises_is_said() -> None:
    """Its docstring has `Raises:`, or that of the method which it overrides."""
    assert silent(PACKAGE) == []


def function(*lines: str, words: str = "It does it.") -> str:
    """A function of these lines."""
    return "\n".join((f'def run(x):\n    """{words}"""', *(f"    {line}" for line in lines))) + "\n"


def method(text: str) -> str:
    """The same as a method."""
    return "class Base:\n" + "".join(f"    {line}\n" for line in text.splitlines())


RAISE = "raise ValueError(x)"
SAID = "It does it. Raises: ValueError."
OVERRIDE = f"class Other(Base):\n    def run(self, x):\n        {RAISE}\n"
SILENT = {
    "a function": function(RAISE),
    "a method": method(function(RAISE)),
    "in a branch": function("if x:", "    for y in x:", f"        {RAISE}"),
    "in an except": function("try:", "    x()", "except OSError as error:", "    raise ValueError(x) from error"),
    "by a class": function("raise ValueError"),
    "what it was given": function("raise x"),
    "within another context": function("with x.open():", f"    {RAISE}"),
    "an override of what does not raise": method(function("return x")) + OVERRIDE,
}
NOT_SILENT = {
    "said": function(RAISE, words=SAID),
    "said below": function(RAISE, words="It does it.\n\n    Raises: ValueError.\n    "),
    "an override": method(function("return x", words=SAID)) + OVERRIDE,
    "what it caught": function("try:", "    x()", "except OSError:", "    raise"),
    "no body": function("raise NotImplementedError"),
    "collected": function("with x.collect():", f"    {RAISE}"),
    "an inner function": function("def inner():", f"    {RAISE}", "return inner"),
    "its own": function(RAISE).replace("run", "_run"),
    "a method of a class of its own": method(function(RAISE)).replace("Base", "_Base"),
}


@pytest.mark.parametrize("text", SILENT.values(), ids=SILENT.keys())
def test_a_function_that_does_not_say_what_it_raises_is_seen(text: str, tmp_path: Path) -> None:
    """The test above can fail, on each way to raise, and also in a folder's own file."""
    for name in ("new.py", "__init__.py"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert len(silent(tmp_path)) == 1
        (tmp_path / name).unlink()


@pytest.mark.parametrize("text", NOT_SILENT.values(), ids=NOT_SILENT.keys())
def test_what_says_it_or_does_not_raise_is_not_taken_for_it(text: str, tmp_path: Path) -> None:
    """What is said, handed on, collected, or nobody else's is left alone."""
    (tmp_path / "new.py").write_text(text, encoding="utf-8")
    assert silent(tmp_path) == []
