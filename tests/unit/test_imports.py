"""What comes with an import: nothing from higher layers, and torch only where a module is built or run.

`lint-imports` holds the contracts of `pyproject.toml` on the package; here they are broken in a copy of it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.text import Text

import rv_check
from tests import ROOT

LINT = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command(['--no-cache']))"
LIGHT = (
    *("text", "values", "errors", "optional", "ops", "language", "archs", "graphs", "costs"),
    *("report", "claims", "pytest_plugin", "cli"),
)
IMPORT_ALL = """
import pkgutil, sys
from importlib import import_module

for name in sys.argv[1:]:
    whole = import_module(f"rv_check.{name}")
    for one in [name, *(part.name for part in pkgutil.walk_packages(getattr(whole, "__path__", ()), f"{name}."))]:
        import_module(f"rv_check.{one}")
        if found := {"torch", "torchvision", "fvcore", "numpy"} & set(sys.modules):
            sys.exit(f"rv_check.{one} imports {', '.join(sorted(found))}")
"""
ONE_WAY, STATIC = "Imports point one way", "What is static imports no torch"
FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
BROKEN = [  # the file that an import is added to, the import, and the contract that it breaks
    ("ops/op.py", "from rv_check.language import parser", ONE_WAY),
    ("ops/op.py", "def late() -> None:\n    from rv_check.graphs.graph import Graph", ONE_WAY),
    ("archs/tree.py", f"{FOR_TYPES}from rv_check.graphs.graph import Graph", ONE_WAY),
    ("claims/claim.py", "from rv_check.weights import checkpoints", ONE_WAY),
    ("new/__init__.py", "from rv_check import text", ONE_WAY),
    ("costs/memory.py", "def late() -> None:\n    import torch", STATIC),
    ("ops/dropouts.py", "def late() -> None:\n    from torchvision.ops import StochasticDepth", STATIC),
    ("report/tables.py", "import argparse", "Only the command line knows argparse"),
    ("checks/check.py", "import pytest", "Only the plugin knows pytest"),
]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A folder with a copy of the package and of what it is held to."""
    shutil.copytree(ROOT / "rv_check", tmp_path / "rv_check", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder: Path) -> tuple[int, list[str]]:
    """How import-linter ends on the package in a folder, and the contracts that it finds broken."""
    command = [sys.executable, "-c", LINT]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    plain = Text.from_ansi(done.stdout).plain  # older ones paint what they print, wherever it goes
    lines = [line.strip() for line in plain.splitlines()]
    return done.returncode, [line.removesuffix(" BROKEN") for line in lines if line.endswith(" BROKEN")]


def imported(*names: str) -> str:
    """What is wrong with importing all modules of these folders, in a process of their own; "" if nothing is."""
    command = [sys.executable, "-c", IMPORT_ALL, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1)
    return done.stderr.strip()


def test_the_package_keeps_its_contracts(copied: Path) -> None:
    """The copy that the next test adds imports to breaks none before that."""
    assert lint(copied) == (0, [])


@pytest.mark.parametrize(("file", "text", "contract"), BROKEN)
def test_an_import_that_breaks_a_contract_is_seen(copied: Path, file: str, text: str, contract: str) -> None:
    """At the top, within a function, for types, between neighbours, and in a folder that has no layer."""
    path = copied / "rv_check" / file
    path.parent.mkdir(exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(f"{before}\n{text}\n", encoding="utf-8")
    assert lint(copied) == (1, [contract])


def test_torch_is_imported_late() -> None:
    """What reads specs, reports and answers commands imports torch within functions, if at all."""
    assert imported(*LIGHT) == ""


def test_an_early_import_of_torch_is_seen() -> None:
    """The test above can fail: what builds modules imports it at the top."""
    assert imported("text", "modules").startswith("rv_check.modules.")


def test_the_public_names_are_where_the_package_says() -> None:
    """Each name of the package is at home in the module that it is imported from."""
    for name, module in rv_check._HOME.items():
        assert getattr(rv_check, name).__module__ == f"rv_check.{module}"
    assert set(rv_check.__all__) == set(rv_check._HOME)
    assert set(rv_check.__all__) <= set(dir(rv_check))
