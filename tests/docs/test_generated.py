"""What pages take from the code: it is all there, and what is missing stops the site."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import generated
import pytest

import rv_check

CONTRACT = """
[[tool.importlinter.contracts]]
name = "torch is elsewhere"
type = "forbidden"
layers = ["nothing"]

[[tool.importlinter.contracts]]
name = "layers"
type = "layers"
containers = ["rv_check"]
layers = ["cli", "bench | (plugin)", "rv_check.ops : values"]
"""


@pytest.mark.parametrize("command", generated.all_commands())
def test_options(command: str) -> None:
    """Every argument of a command is there, with words of what it does."""
    parser, text = generated.parser_of(command), "\n".join(generated.options(command))
    shown = dict(re.findall(r"^`([^`]+)`\n: (.*)$", text, re.MULTILINE))
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        names = action.option_strings or [str(action.metavar)]
        (words,) = [words for called, words in shown.items() if names[0] in re.split(r"[ ,\[\]]+", called)]
        assert words, names
        assert action.choices is None or action.metavar or all(f"`{choice}`" in words for choice in action.choices)
    assert text.startswith(f"```text\nrv-check {command} ")


def test_an_unknown_command() -> None:
    """A page of a command that there is not stops the site."""
    with pytest.raises(KeyError):
        list(generated.options("nothing"))


def test_public_names() -> None:
    """Each has a section with its signature and docstring."""
    text = "\n".join(generated.public())
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == rv_check.__all__
    assert "def assert_same(\n    new: nn.Module,\n    old: nn.Module,\n    input: Any = None," in text
    assert "`depth`\n: The number of weighted layers on the main path." in text


def package(folder: Path, files: dict[str, str], contract: str = CONTRACT) -> Path:
    """A small package, and its contract."""
    (folder / "pyproject.toml").write_text(contract)
    for name, text in files.items():
        path = folder / "rv_check" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


FILES = {
    "__init__.py": '"""All."""',
    "values.py": '"""Values of the language."""',
    "ops/__init__.py": '"""What an operation is."""',
    "ops/pools.py": '"""Pools.\n\nMore of them."""',
    "ops/norms.py": '"""Norms."""',
    "ops/inner/__init__.py": '"""More of them."""',
    "bench/__init__.py": '"""How long it takes."""',
    "plugin/__init__.py": '"""Tests."""',
    "cli/__init__.py": '"""The command line."""',
}


def test_folders(tmp_path: Path) -> None:
    """The folders are listed from the ground up, with their docstrings, and the modules in them."""
    lines = list(generated.packages(root=package(tmp_path, FILES)))
    assert lines[1] == "ops | values < bench | plugin < cli"
    assert [line for line in lines[4:] if line] == [
        "### ops/", "What an operation is.", "`norms`", ": Norms.", "`pools`", ": Pools.",
        "`inner/`", ": More of them.",
        "### values.py", "Values of the language.",
        "### bench/", "How long it takes.", "### plugin/", "Tests.", "### cli/", "The command line.",
    ]  # fmt: skip


def test_folders_that_are_in_no_layer(tmp_path: Path) -> None:
    """A new folder has its place in the contract, or the site is not built."""
    root = package(tmp_path, {**FILES, "more/__init__.py": '"""More."""'})
    with pytest.raises(ValueError, match=r"^rv_check/more is in no layer of import-linter's contract$"):
        list(generated.packages(root=root))


@pytest.mark.parametrize("name", ["ops/__init__.py", "ops/norms.py", "values.py"])
def test_what_has_no_docstring(name: str, tmp_path: Path) -> None:
    """Nothing is listed without words."""
    with pytest.raises(ValueError, match="has no docstring"):
        list(generated.packages(root=package(tmp_path, {**FILES, name: "x = 1"})))


def test_the_package_itself() -> None:
    """Every module of it is listed."""
    text = "\n".join(generated.packages())
    for path in (generated.ROOT / "rv_check").glob("*.py"):
        assert path.stem.startswith("__") or f"`{path.stem}`" in text or f"### {path.name}" in text


@pytest.mark.parametrize("path", sorted(generated.SCHEMAS.glob("*.json")), ids=lambda path: path.stem)
def test_keys(path: Path) -> None:
    """Every key of a schema is a row with a type and a meaning."""
    rows = [line.split(" | ") for line in generated.schema(path.stem) if line.startswith("| `")]
    assert all(len(row) == 3 and row[1] and row[2].strip(" |") for row in rows), rows
    keys = {row[0].strip("| `") for row in rows}
    assert set(json.loads(path.read_text(encoding="utf-8"))["properties"]) <= keys


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("```{options} show\n```\n\n```{schema} show-1\n```\n\n```{public}\n```\n\n### field\n", ""),
        ("```{options} nothing\n```", "options: 'nothing'"),
        ("```{schema} nothing\n```", "nothing.json"),
        ("[gone](gone.md)", "gone.md"),
    ],
)
def test_the_site_stops_at_what_is_missing(page: str, words: str, tmp_path: Path) -> None:
    """Directives write what is there; a command, schema or page that is not is an error."""
    settings = f"import sys\nsys.path.insert(0, {str(generated.ROOT / 'docs' / '_ext')!r})\n"
    settings += (
        "extensions = ['myst_parser', 'generated']\nmyst_enable_extensions = ['deflist']\nmyst_heading_anchors = 3\n"
    )
    (tmp_path / "conf.py").write_text(settings)
    (tmp_path / "index.md").write_text(f"# A page\n\n## A part\n\n{page}\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-n", "-W", "-b", "dummy", str(tmp_path), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (not words), done.stderr
    assert words in done.stderr
