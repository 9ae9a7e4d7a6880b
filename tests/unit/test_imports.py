"""The modules in reading order: imports point one way along it, and torch comes where a module is built or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import rv_check

FOLDER = Path(rv_check.__file__).parent
BENCH = ("samples", "timing", "cases", "results", "devices", "workloads", "roofline", "run", "tables")
ORDER = (
    *("text", "errors", "writing", "source", "expr", "kinds", "ops", "axes", "spec", "library", "tree", "analyses"),
    "arch",
    *("graph", "normal", "expected", "counts", "memory", "align", "match", "explain"),
    *("model", "findings", "foreign", "reference", "copies", "aten", "observe", "walk", "fields", "facts", "effective"),
    *("structure", "identify", "initial", "numbers", "deviations", "printed", "checks", "conformance", "candidates"),
    *("properties", "blocks", "swap", "claims", "transfer", "weights", "accuracy", "finetune", "gradients"),
    *("datasets", "recipes", "ranks", "training", "degradation", "curves", "progress", "report", "pytest_plugin"),
    *(
        "options",
        *(f"bench.{name}" for name in BENCH),
        "cli_bench",
        "cli_block",
        "cli_swap",
        "cli_macs",
        "cli_fields",
        "cli_claims",
        "cli_transfer",
        "cli_accuracy",
        "cli_study",
        "cli",
    ),
)
PACKAGES = ("rv_check", "rv_check.bench")
DOORS = ("__init__", "__main__", "bench.__init__")  # they lead to the others and are imported by none
WITH_TORCH = {
    "model",
    "copies",
    "observe",
    "effective",
    "properties",
    "identify",
    "initial",
    "numbers",
    *(f"bench.{name}" for name in ("devices", "workloads", "roofline", "run")),
    "ranks",
    "weights",
    "accuracy",
    "finetune",
    "gradients",
    "datasets",
    "training",
    "degradation",
}  # at the top: whoever imports them, within a function, needs torch anyway
HEAVY = {"torch", "torchvision", "fvcore", "numpy"}


def imports(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """Each imported module of rv_check or package, its line, and whether it is imported with the module itself."""
    within = {id(node) for scope in ast.walk(tree) if isinstance(scope, ast.FunctionDef) for node in ast.walk(scope)}
    within |= {id(node) for node in ast.walk(tree) if _is_for_types(node) for node in ast.walk(node)}
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            whole = node.module in PACKAGES
            names = [f"{node.module}.{alias.name}" for alias in node.names] if whole else [str(node.module)]
        for name in names:
            yield name, node.lineno, id(node) not in within


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def upward(name: str, text: str) -> list[str]:
    """The imports of a module that point up the order."""
    found = []
    for imported, line, _ in imports(ast.parse(text)):
        package, _, module = imported.partition(".")
        if package == "rv_check" and module and ORDER.index(module) >= ORDER.index(name):
            found.append(f"{name}.py:{line} imports {module}, which comes later")
    return found


def heavy(text: str) -> set[str]:
    """The packages of torch's world that come with a module as soon as it is imported, by way of ours too."""
    found = set()
    for imported, _, at_once in imports(ast.parse(text)):
        package, _, module = imported.partition(".")
        if at_once and (package in HEAVY or (package == "rv_check" and module in WITH_TORCH)):
            found.add(imported)
    return found


def source(name: str) -> str:
    """A module's text."""
    return FOLDER.joinpath(*name.split(".")).with_suffix(".py").read_text(encoding="utf-8")


def test_every_module_has_its_place() -> None:
    """The order names the modules that there are."""
    paths = (path.relative_to(FOLDER).with_suffix("") for path in FOLDER.rglob("*.py"))
    assert sorted([*ORDER, *DOORS]) == sorted(".".join(path.parts) for path in paths)


@pytest.mark.parametrize("name", ORDER)
def test_imports_point_one_way(name: str) -> None:
    """A module imports what comes before it, wherever in its text the import stands."""
    assert upward(name, source(name)) == []


@pytest.mark.parametrize("name", [*ORDER, *DOORS])
def test_torch_is_imported_late(name: str) -> None:
    """Only what builds or runs modules imports torch at the top."""
    assert bool(heavy(source(name))) == (name in WITH_TORCH)


def test_an_import_that_points_up_is_seen() -> None:
    """The tests above can fail: at the top, in a function, for types, and by either way of writing."""
    assert upward("ops", "import rv_check.tree") == ["ops.py:1 imports tree, which comes later"]
    assert upward("ops", "def f():\n    from rv_check import cli") == ["ops.py:2 imports cli, which comes later"]
    assert upward("ops", "if TYPE_CHECKING:\n    from rv_check.spec import Block") != []
    assert upward("ops", "from rv_check.ops import Op") != []
    assert upward("ops", "from rv_check.expr import Value\nimport dataclasses") == []
    assert heavy("import torch.nn") == {"torch.nn"}
    assert heavy("from rv_check.numbers import compare") == {"rv_check.numbers"}
    assert heavy("if TYPE_CHECKING:\n    import torch\ndef f():\n    from torchvision import models") == set()


def test_the_public_names_are_where_the_package_says() -> None:
    """Each name of the package is at home in the module that it is imported from."""
    for name, module in rv_check._HOME.items():
        assert getattr(rv_check, name).__module__ == f"rv_check.{module}"
    assert set(rv_check.__all__) == set(rv_check._HOME)
    assert set(rv_check.__all__) <= set(dir(rv_check))
