"""The README is run: its Python, its spec, its deviations file, its commands, its table."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from rv_check import load
from rv_check.archs.load import archs
from rv_check.blocks.contract import find_contract
from rv_check.checks.deviations import load_deviations
from rv_check.checks.findings import Report
from rv_check.checks.registry import check_arch
from rv_check.cli.main import main, parse
from rv_check.language.files import shipped_folder
from rv_check.pytest_plugin.pyproject import load_blocks, load_candidates
from rv_check.report.comparison import HEADERS, Line, table_rows
from tests import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"(<!-- table: rv-check report --format markdown -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [text for name, text in BLOCKS if name == language]


def yaml_file(name: str) -> str:
    """The YAML block whose first line is its file name."""
    (found,) = [text for text in blocks("yaml") if text.startswith(f"# {name}\n")]
    return found


def test_every_block_has_its_test() -> None:
    """No block is of a kind that nothing here runs."""
    assert {language for language, _ in BLOCKS} == {"python", "yaml", "text", "toml"}
    assert (len(blocks("yaml")), len(blocks("text")), len(blocks("toml"))) == (3, 6, 2)


@pytest.mark.parametrize("code", blocks("python"), ids=range(len(blocks("python"))))
def test_python(code: str) -> None:
    """Each Python block runs, and so does the test it defines."""
    namespace: dict = {}
    exec(compile(code, "README.md", "exec"), namespace)  # noqa: S102
    for name, value in namespace.items():
        if name.startswith("test_"):
            value()


def test_spec(tmp_path: Path) -> None:
    """The spec of the README passes its own checks, and a wrong number in it fails them."""
    text = yaml_file("mynets/tiny.yaml")
    path = tmp_path / "tiny.yaml"
    path.write_text(text)
    assert check_arch(load(f"{path}::tiny10"), ["spec"]).passed
    path = tmp_path / "wrong.yaml"
    path.write_text(text.replace("25/2/12", "27/2/12"))
    assert not check_arch(load(f"{path}::tiny10"), ["spec"]).passed


def test_deviations(tmp_path: Path) -> None:
    """The deviations file of the README is one."""
    path = tmp_path / "deviations.yaml"
    path.write_text(yaml_file("deviations.yaml"))
    (deviation,) = load_deviations(path)
    assert deviation.matches(["tiny10::contract"])


def test_workflow() -> None:
    """The workflow is YAML whose last step runs pytest with options that the plugin has."""
    workflow = yaml.safe_load(yaml_file(".github/workflows/networks.yml"))
    *_, last = workflow["jobs"]["networks"]["steps"]
    assert last["run"].startswith("pytest --rv-require numbers")


def test_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The network of the README fails with the very words that stand below it."""
    (code,) = [text for text in blocks("python") if text.startswith("# mynet.py\n")]
    (tmp_path / "mynet.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    shown = blocks("text")[0]
    command, _, expected = shown.partition("\n")
    assert main(shlex.split(command.removeprefix("$ rv-check "))) == 1
    assert capsys.readouterr().out.replace(f"{shipped_folder()}/", "specs/") == expected


@pytest.mark.parametrize("shown", blocks("text")[1:], ids=lambda text: text.partition("\n")[0])
def test_commands_print_what_is_shown(shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command of the README prints the words that stand below it."""
    command, _, expected = shown.partition("\n")
    assert main(shlex.split(command.removeprefix("$ rv-check "))) == 0
    assert capsys.readouterr().out == expected


def test_candidates(tmp_path: Path) -> None:
    """The table of the README names two modules and what they should be."""
    path = tmp_path / "pyproject.toml"
    path.write_text(blocks("toml")[1])
    first, second = load_candidates(path)
    assert (first.module, first.arch, first.place.line) == ("mynet.py:net", "resnet18", 3)
    assert (second.name, second.kwargs, second.until) == ("small", {"num_classes": 10}, "layer4")


def test_blocks_of_a_project(tmp_path: Path) -> None:
    """The table of the README names two blocks, and contracts that are there."""
    path = tmp_path / "pyproject.toml"
    path.write_text(blocks("toml")[0])
    first, second = load_blocks(path)
    assert (first.cls, first.contract, first.place.line) == ("blocks.py:MyBlock", "residual_block", 2)
    assert (second.name, second.input) == ("wide", "256 56 56")
    assert find_contract(first.contract).name == "residual_block"
    assert find_contract(second.contract).has_body


def test_commands_parse(capsys: pytest.CaptureFixture[str]) -> None:
    """Every `rv-check ...` of the README is a command with the options it is shown with."""
    known = {
        "ARCH": "resnet18",
        "MODULE": "net.py:Net",
        "CLASS": "net.py:Block",
        "BLOCK": "basic",
        "NAME": "IMAGENET1K_V1",
        "FOLDER": "val",
        "FILE": "out",
        "N": "1",
        "LEVEL": "spec",
    }
    commands = [c for c in re.findall(r"`rv-check ([^`\n]+)`", README) if "..." not in c]
    assert len(commands) >= 6
    for command in commands:
        parse([known.get(word, word) for word in shlex.split(command)])


def test_list_names_what_the_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    """`rv-check list` runs."""
    assert main(["list"]) == 0
    assert "resnet50" in capsys.readouterr().out


def static_table() -> list[tuple[str, ...]]:
    """The table's rows but for the last column, which a full run fills."""
    return [row[:-1] for row in table_rows([Line(arch, Report(arch.name, "", ())) for arch in archs()])]


def test_table_is_generated(request: pytest.FixtureRequest) -> None:
    """The README's table is what `rv-check report --format markdown` prints."""
    if request.config.getoption("--update-snapshots"):
        import contextlib
        import io

        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            assert main(["report", "--format", "markdown"]) == 0
        new = TABLE.sub(lambda match: f"{match[1]}\n{out.getvalue()}\n{match[3]}", README)
        (ROOT / "README.md").write_text(new, encoding="utf-8")
    match = TABLE.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert match is not None
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in match[2].strip().splitlines()]
    header, _, *body = rows
    assert header == list(HEADERS)
    assert [tuple(row[:-1]) for row in body] == static_table()


def test_table_shows_the_level_that_each_arch_can_reach() -> None:
    """18 archs with a reference reach `numbers`, the five without one `spec` and the counters."""
    match = TABLE.search(README)
    assert match is not None
    levels = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in match[2].strip().splitlines()[2:]}
    reached = {arch.name: "numbers" if arch.entry.reference else "spec, counters" for arch in archs()}
    assert levels == reached
    assert sum(level == "numbers" for level in levels.values()) == 18


def test_the_test_command_is_what_ci_runs() -> None:
    """`.ci/run` runs the README's second command, word for word."""
    commands = re.findall(r"^    (python3 .*)$", README, re.MULTILINE)
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()
