"""README.md and docs/: nothing that they name is missing, nothing that there is goes unnamed. conftest.py runs them."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import generated
import pytest
import tables
import yaml

from rv_check.archs.load import archs
from rv_check.blocks.contract import find_contract
from rv_check.checks.deviations import load_deviations
from rv_check.checks.findings import Report
from rv_check.checks.registry import CHECKS
from rv_check.cli.main import parse
from rv_check.language.vocabulary import PROPERTIES
from rv_check.pytest_plugin.pyproject import load_blocks, load_candidates
from rv_check.report.comparison import HEADERS, ComparisonRow, table_rows

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, ROOT / "specs" / "README.md", *sorted(DOCS.glob("*.md")), *sorted(DOCS.glob("commands/*.md"))]
FENCE = re.compile(r"^(```+)([^\n]*)\n(.*?)^\1$", re.M | re.S)


def text_of(path: Path) -> str:
    """A page."""
    return path.read_text(encoding="utf-8")


def page_id(path: Path) -> str:
    """`docs/levels.md`."""
    return path.relative_to(ROOT).as_posix()


def test_the_readme_is_one_page() -> None:
    """It has at most 150 lines."""
    assert len(text_of(README).splitlines()) <= 150


def test_the_test_command_is_what_ci_runs() -> None:
    """`.ci/run` runs the README's second command, word for word."""
    commands = re.findall(r"^    (python3 .*)$", text_of(README), re.MULTILINE)
    assert len(commands) == 3
    assert commands[1] in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link of a page is to a file that there is."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(FENCE, "", text_of(path)))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_files_that_are_named_exist(path: Path) -> None:
    """A file or folder of the repository that a page names is there; a word in capitals stands for a name."""
    named = re.findall(r"`((?:rv_check|specs|tests|docs)/[\w./-]*)`", FENCE.sub("", text_of(path)))
    missing = [name for name in named if not re.search("[A-Z]{2}|_build", name) and not (ROOT / name).exists()]
    assert missing == []


# Commands


def commands(text: str) -> Iterator[str]:
    """What a page shows of rv-check: inline, behind a prompt, in a workflow or a script."""
    prose = FENCE.sub("", text)
    yield from (" ".join(found.split()) for found in re.findall(r"`rv-check ([^`]+)`", prose))
    for _, language, block in FENCE.findall(text):
        if language in ("console", "sh", "yaml"):
            block = block.replace("\\\n", " ")
            yield from re.findall(r"^(?:\$ |[ -]*run: |)(?:[^\n]*-m )?rv[-_]check ([^\n|>#]+)", block, re.M)


NAMES = {  # names that stand for what a reader puts there
    **{"ARCH": "resnet18", "MODULE": "net.py:Net", "CLASS": "net.py:Block", "BLOCK": "basic", "N": "1", "BATCH": "1"},
    **{"LEVEL": "spec", "FLOP/S": "1", "BYTES/S": "1"},
}
OF_EXAMPLES = ("widest", "theirs")  # what the page about adding things adds


def complaint(command: str) -> str:
    """What argparse has against a command; that its subject is left out is nothing, where a page speaks of options."""
    plain = re.sub(r"\$\{\{ ?matrix\.shard ?\}\}|\$SLURM_ARRAY_TASK_ID", "1", command)
    out = io.StringIO()
    with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        parse([NAMES.get(word, word) for word in shlex.split(plain)])
    found = out.getvalue()
    return "" if "the following arguments are required" in found else found.partition("error: ")[2]


@pytest.mark.parametrize("path", PAGES, ids=page_id)
def test_commands_parse(path: Path) -> None:
    """Every `rv-check ...` of a page is a command with the options it is shown with."""
    shown = [one for one in commands(text_of(path)) if one[:3] != "..." and not set(OF_EXAMPLES) & set(one.split())]
    assert {one: complaint(one) for one in shown if complaint(one)} == {}


def test_an_unknown_option_is_noticed() -> None:
    """Wherever it stands, the test above can fail."""
    page = (
        "`rv-check show ARCH --deep`\n```console\n$ rv-check list --all\n```\n```yaml\n- run: rv-check nothing\n```\n"
    )
    shown = list(commands(page))
    assert shown == ["show ARCH --deep", "list --all", "nothing"]
    words = [complaint(one).partition(":")[0].strip() for one in shown]
    assert words == ["unrecognized arguments", "unrecognized arguments", "argument COMMAND"]
    assert complaint("macs --memory") == ""


def test_errors_are_shown_where_they_are_meant_to_be() -> None:
    """What `--update-snapshots` writes need not be right: a command that fails is noticed, wherever it stands."""
    pages = {
        page_id(path) for path in PAGES if re.search(r"^(rv-check: |Traceback |\S+: error: )", text_of(path), re.M)
    }
    # The message of a misspelt argument, and that of a module that takes two.
    assert pages == {"docs/specs.md", "docs/checking.md"}


def test_every_command_has_a_page() -> None:
    """Its page bears its name and its options, and no page is of a command that there is not."""
    pages = {path.stem: text_of(path) for path in (DOCS / "commands").glob("*.md") if path.stem != "index"}
    shown = {name for text in pages.values() for name in re.findall(r"^```{options} (.+)$", text, re.M)}
    named = generated.all_commands()
    assert pages.keys() == {name for name in named if " " not in name}
    assert shown == named.keys() - {"study"}  # its studies have options of their own
    for name, text in pages.items():
        assert text.startswith(f"# {name}\n")
        assert re.search(r"^```console\n\$ ", text, re.M), f"{name} has no run"


def test_the_readme_names_every_command() -> None:
    """Every command is in its table, which the parser makes."""
    assert re.findall(r"^\| \[`rv-check ([\w-]+)`\]", text_of(README), re.M) == [
        name for name in generated.all_commands() if " " not in name
    ]


# Names


def test_every_check_is_on_the_page_of_levels() -> None:
    """Every check is in the row of its level."""
    rows = dict(re.findall(r"^\| (\w+) \|.*\| (.*) \|$", text_of(DOCS / "levels.md"), re.M))
    for level in ("spec", "structure", "numbers"):
        named = set(re.findall(r"`(\w+)`", rows[level]))
        assert named == {check.name for check in CHECKS if check.level == level}


def test_every_option_of_the_plugin_is_on_its_page(pytestconfig: pytest.Config) -> None:
    """Every option is there on the command line, and as a setting."""
    text = text_of(DOCS / "pytest.md")
    plugin = (ROOT / "rv_check" / "pytest_plugin" / "hooks.py").read_text(encoding="utf-8")
    options = set(re.findall(r'addoption\(\s*"(--[\w-]+)"', plugin))
    settings = set(re.findall(r'addini\(\s*"(\w+)"', plugin))
    assert options == set(re.findall(r"^\| `(--rv[\w-]+)", text, re.M))
    assert settings == set(re.findall(r"^\| `(rv_check_\w+)`", text, re.M))


def test_every_property_has_a_word_in_a_contract_or_is_asked_for() -> None:
    """The page of block shows them as choices of its option."""
    assert all(name in "\n".join(generated.options("block")) for name in PROPERTIES)


def test_every_part_of_an_installation_is_named() -> None:
    """Each extra of the package is a row of the page that says how to install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    named = set(re.findall(r"rv-check\[(\w+)\]", text_of(DOCS / "getting-started.md")))
    assert named == set(project["project"]["optional-dependencies"])


# Files that pages show


def shown_file(page: str, name: str) -> str:
    """The file of that name on a page."""
    (text,) = [text for _, _, text in FENCE.findall(text_of(DOCS / page)) if text.startswith(f"# {name}\n")]
    return text


def test_candidates_and_blocks(tmp_path: Path) -> None:
    """The tables of the page name two modules, two classes, and what they should be."""
    path = tmp_path / "pyproject.toml"
    path.write_text(shown_file("pytest.md", "pyproject.toml"))
    first, second, third = load_candidates(path)
    assert (third.name, third.input) == ("grey", "1 224 224")
    assert (first.module, first.arch, first.place.line) == ("mynet.py:net", "resnet18", 3)
    assert (second.name, second.kwargs, second.until) == ("small", {"num_classes": 10}, "layer4")
    one, two = load_blocks(path)
    assert (one.cls, one.contract, one.place.line) == ("blocks.py:MyBlock", "residual_block", 8)
    assert (two.name, two.input) == ("wide", "256 56 56")
    assert find_contract(one.contract).name == "residual_block"
    assert find_contract(two.contract).has_body


def test_deviations(tmp_path: Path) -> None:
    """The file of deviations is one, and speaks of the arch of the page about specs."""
    path = tmp_path / "deviations.yaml"
    path.write_text(shown_file("levels.md", "deviations.yaml"))
    (deviation,) = load_deviations(path)
    assert deviation.matches(["tiny10::contract"])
    assert "tiny10:" in shown_file("specs.md", "mynets/tiny.yaml")


def test_workflows() -> None:
    """Each is YAML; one runs pytest with options that the plugin has, the other as many shards as its matrix has."""
    workflow = yaml.safe_load(shown_file("getting-started.md", ".github/workflows/networks.yml"))
    *_, last = workflow["jobs"]["networks"]["steps"]
    assert last["run"].startswith("pytest --rv-require numbers")
    bench = yaml.safe_load(shown_file("benchmarks.md", ".github/workflows/bench.yml"))["jobs"]["bench"]
    shards = bench["strategy"]["matrix"]["shard"]
    (timed,) = [step["run"] for step in bench["steps"] if "--shard" in step.get("run", "")]
    assert f"}}}}/{len(shards)} " in timed
    assert shards == list(range(1, len(shards) + 1))


# Tables


def networks_table() -> list[list[str]]:
    """The comparison table of all networks, cell by cell."""
    page = text_of(DOCS / "networks.md")
    (table,) = re.findall(r"<!-- long table: rv-check report --format markdown -->\n\n(.*?)\n\n<!--", page, re.S)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_the_comparison_table_is_what_the_specs_say() -> None:
    """All columns but the last, which takes minutes and is for the sweep."""
    header, _, *body = networks_table()
    static = table_rows([ComparisonRow(arch, Report(arch.name, "", ())) for arch in archs()])
    assert header == list(HEADERS)
    assert [row[:-1] for row in body] == [list(row[:-1]) for row in static]


def test_the_comparison_table_shows_the_level_that_each_arch_can_reach() -> None:
    """Archs with a reference reach `numbers`, those without one `spec` and the counters."""
    levels = {row[0]: row[-1] for row in networks_table()[2:]}
    reached = {arch.name: "numbers" if arch.entry.reference else "spec, counters" for arch in archs()}
    assert levels == reached
    assert sum(level == "numbers" for level in levels.values()) == 58


def test_every_table_of_measured_numbers_has_a_source() -> None:
    """A file of results says what made it; none is unused, and each is made by what `--measure` would run."""
    kept = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in (DOCS / "results").glob("*.json")}
    del kept["bench"]  # rv-check bench has written it as it is
    assert kept.keys() == tables.MEASURED.keys()
    for name, found in kept.items():
        assert found["made_by"] == tables.MEASURED[name][0]
        assert found["device"]
        assert found["software"]["torch"]
    used = {
        name for path in PAGES for name in re.findall(r"^<!-- table: python docs/tables.py (\w+)", text_of(path), re.M)
    }
    assert used == tables.TABLES.keys()


def test_two_digits() -> None:
    """Numbers are written as a reader wants them."""
    numbers = (0, 0.0567, 0.1, 0.94, 1.0, 4.4412, 92.3, 389.0, 8321.0, 783_210.0, 2.5e12)
    assert [tables.two_digits(one) for one in numbers] == [
        "0", "0.057", "0.10", "0.94", "1.0", "4.4", "92", "390", "8,300", "7.8e5", "2.5e12",
    ]  # fmt: skip


@pytest.mark.parametrize(("command", "words"), [("exit 2", "ended with 2"), ("true", "left nothing")])
def test_a_measurement_that_fails_is_not_kept(command: str, words: str, tmp_path: Path) -> None:
    """What ends badly, or gives nothing, leaves no file that a later run would take for its result."""
    with pytest.raises(SystemExit, match=words):
        tables._run(f"bash -c '{command}'", tmp_path, "found.json")
    assert list(tmp_path.iterdir()) == []
