"""The commands as a registry of files: what is imported, what each has, and that `main` alone shows answers."""

from __future__ import annotations

import argparse
import ast
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rv_check.cli import commands, console
from rv_check.cli.commands import SUMMARIES, study
from rv_check.cli.console import Answer, Console
from rv_check.cli.main import build_parser, main

ROOT = Path(__file__).parents[2]
CLI = ROOT / "rv_check" / "cli"
Captured = pytest.CaptureFixture[str]

IMPORTED = """
import contextlib, io, json, sys
from rv_check.cli.main import main

found = {}
for arguments in json.loads(sys.argv[1]):
    for name in [name for name in sys.modules if name.startswith("rv_check.cli.commands.")]:
        del sys.modules[name]
    exec(sys.argv[2])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main(arguments)
    found[" ".join(arguments)] = sorted(name for name in sys.modules if name.startswith("rv_check.cli.commands."))
    if not arguments[1:]:
        found["others"] = sorted({name.split(".")[1] for name in sys.modules if name.startswith("rv_check.")})
print(json.dumps(found))
"""


def imported(*command_lines: list[str], first: str = "") -> dict[str, list[str]]:
    """The files of commands that each command line imports, in a process that has run `first` before it."""
    command = [sys.executable, "-c", IMPORTED, json.dumps(command_lines), first]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_the_help_imports_no_command() -> None:
    """It imports nothing that commands are made of either: no spec is read and no check is known."""
    found = imported(["--help"])
    assert found["--help"] == []
    assert not {"archs", "graphs", "language", "modules", "report"} & set(found["others"])


def test_a_command_imports_no_other() -> None:
    """Each has its own file, studies those of the two, and nothing else of that folder."""
    found = imported(*([name, "--help"] for name in SUMMARIES))
    for name in SUMMARIES:
        own = f"rv_check.cli.commands.{name.replace('-', '_')}"
        parts = [f"{own}.{part}" for part in sorted(study.SUMMARIES)] if name == "study" else []
        assert found[f"{name} --help"] == [own, *parts]


def test_a_command_that_imports_another_is_seen() -> None:
    """The two tests above can fail."""
    (found,) = imported(["list", "--help"], first="import rv_check.cli.commands.show").values()
    assert found == ["rv_check.cli.commands.list", "rv_check.cli.commands.show"]


def test_every_file_is_a_command() -> None:
    """The registry names the files of its folder, and so do the studies."""
    for package in (commands, study):
        files = {module.name.replace("_", "-") for module in pkgutil.iter_modules(package.__path__)}
        assert files == set(package.SUMMARIES)


NEW = """
from rv_check.cli.console import Answer
from rv_check.cli.options import json_of

def add_options(parser):
    parser.add_argument("number", type=int)
    json_of(parser, "rv-check/new-one/1")

def run(options, console):
    console.say("first")
    print("a module prints")
    console.note("beside")
    twice = 2 * options.number

    def text():
        print("and again")
        return f"twice: {twice}"

    return Answer(lambda: {"twice": twice}, text, twice % 3)
"""


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command is added: a file in the folder, and a line in the registry."""
    (tmp_path / "new_one.py").write_text(NEW)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    monkeypatch.setitem(SUMMARIES, "new-one", "what was missing")
    monkeypatch.delitem(sys.modules, "rv_check.cli.commands.new_one", raising=False)
    return tmp_path


def test_a_command_is_one_file_and_one_line(new: Path, capsys: Captured) -> None:
    """It is in the help; its results as they come and its answer are on stdout, all else on stderr."""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert re.search(r"new-one +what was missing", capsys.readouterr().out)
    assert main(["new-one", "5"]) == 1
    assert capsys.readouterr() == ("first\ntwice: 10\n", "a module prints\nbeside\nand again\n")


def test_an_object_is_alone_on_stdout(new: Path, capsys: Captured) -> None:
    """With --json results are not said as they come: the object has them."""
    assert main(["new-one", "3", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"twice": 6}
    assert err == "a module prints\nbeside\n"


def test_only_the_form_that_is_shown_is_made() -> None:
    """The object of a deep network is not made for who reads the text, nor the other way round."""

    def never() -> str:
        raise AssertionError

    assert Console("json").shown(Answer(lambda: {"a": 1}, never)) == '{\n  "a": 1\n}'
    assert Console("text").shown(Answer(lambda: {"a": never()}, lambda: "b")) == "b"
    with pytest.raises(AssertionError):
        Console("text").shown(Answer(dict, never))


# --json everywhere


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The parser of each command, and of each study."""
    for name in SUMMARIES:
        of_command = _choices(build_parser(name))[name]
        studies = _choices(of_command)
        yield from (
            {f"{name} {part}": parser for part, parser in studies.items()}.items() if studies else [(name, of_command)]
        )


def _choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(nested[0].choices) if nested else {}


def test_every_command_answers_with_an_object() -> None:
    """--json is there, and its help names the schema, which a file of the documentation describes."""
    for name, parser in parsers():
        (option,) = [action for action in parser._actions if "--json" in action.option_strings]
        schemas = re.findall(r"rv-check/[a-z-]+/\d+", option.help or "")
        assert schemas, name
        for schema in schemas:
            assert (ROOT / "docs" / "schemas" / f"{schema[9:].replace('/', '-')}.json").is_file(), schema


OBJECTS = [
    (["list"], "rv-check/list/1", ["families", "blocks"]),
    (["report", "resnet18", "--level", "spec"], "rv-check/report/1", ["archs"]),
    (["claims", "specs/claims/article.yaml"], "rv-check/claims/1", ["claims"]),
    (["bench", "resnet18", "--list", "--device", "cpu"], "rv-check/bench-list/1", ["cases"]),
]


@pytest.mark.parametrize(("arguments", "schema", "keys"), OBJECTS, ids=[o[0][0] for o in OBJECTS])
def test_objects(
    arguments: list[str], schema: str, keys: list[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that had no object, or had it by --format alone, which means the same, have one."""
    monkeypatch.chdir(ROOT)
    assert main([*arguments, "--json"]) == 0
    out = capsys.readouterr().out
    found = json.loads(out)
    assert list(found) == ["schema", *keys]
    assert found["schema"] == schema
    assert all(found[key] for key in keys)
    if arguments[0] in ("report", "claims"):
        assert main([*arguments, "--format", "json"]) == 0
        assert capsys.readouterr().out == out


def test_the_list_as_an_object(capsys: Captured) -> None:
    """Names, arguments and sources as the lines have them."""
    main(["list"])
    lines = capsys.readouterr().out.splitlines()
    main(["list", "--json"])
    found = json.loads(capsys.readouterr().out)
    made = []
    for family in found["families"]:
        made.append(f"{family['family']}({', '.join(family['arguments'])})  {family['source']}")
        made += [f"  {name}" for name in family["archs"]]
    made.append("blocks")
    made += [f"  {one['block']}({', '.join(one['arguments'])})  {one['source']}" for one in found["blocks"]]
    assert made == lines


def test_error_two_forms(capsys: Captured) -> None:
    """--json beside another --format is a wrong question."""
    with pytest.raises(SystemExit) as left:
        main(["report", "--format", "csv", "--json"])
    assert left.value.code == 2
    assert "argument --json: not allowed with argument --format" in capsys.readouterr().err


# What the code of commands keeps to


def takes_options(text: str) -> list[str]:
    """The functions that take a Namespace."""
    return [
        one.name
        for one in ast.walk(ast.parse(text))
        if isinstance(one, ast.FunctionDef)
        and any(argument.annotation and "Namespace" in ast.unparse(argument.annotation) for argument in one.args.args)
    ]


def test_run_alone_reads_the_options() -> None:
    """What it calls takes values; but for functions that read options which belong together, beside these."""
    for path in (CLI / "commands").rglob("*.py"):
        assert set(takes_options(path.read_text(encoding="utf-8"))) <= {"run"}, path
    assert takes_options((CLI / "options.py").read_text(encoding="utf-8")) == ["form_of", "step_of", "evidence_of"]
    assert takes_options("class A:\n    def of(self, o: argparse.Namespace | None): ...") == ["of"]


def names_of_options(path: Path) -> set[str]:
    """The options that a file adds."""
    calls = [one for one in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(one, ast.Call)]
    added = [one for one in calls if isinstance(one.func, ast.Attribute) and one.func.attr == "add_argument"]
    words = [word.value for one in added for word in one.args if isinstance(word, ast.Constant)]
    return {word for word in words if word.startswith("--")}


DIFFERENT = {
    "--as": "an arch of a module, a block of a class",
    "--batch": "one number, a list of them, that of a recipe",
    "--data": "a folder of images, the name of a data set",
    "--depth": "names that a line has, layers of networks",
    "--map": "prints it, names one",
    "--memory": "whether, at which batch",
    "--output": "a file of text, of results, a picture, a folder",
    "--rate": "of steps, of a recipe",
    "--seed": "of drawn cases, of networks",
    "--seeds": "of gradients, of networks",
    "--stages": "whether they are timed, which are given a block",
    "--optimiser": "of what is timed, of what is kept in memory",
    "--dtype": "a list of them, one of them",
    "--format": "of the answer, of tensors",
}


def test_an_option_of_several_commands_is_written_once() -> None:
    """Only those are written twice that mean something else in each."""
    found: dict[str, set[str]] = {}
    for path in CLI.rglob("*.py"):
        for name in names_of_options(path):
            found.setdefault(name, set()).add(path.name)
    twice = {name for name, files in found.items() if len(files) > 1}
    assert twice <= set(DIFFERENT), twice - set(DIFFERENT)
    assert "--require" in found


def test_the_console_alone_prints() -> None:
    """No file of a command does, nor writes to a stream."""
    for path in CLI.rglob("*.py"):
        calls = [ast.unparse(one.func) for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, ast.Call)]
        prints = [call for call in calls if call in ("print", "sys.stdout.write", "sys.stderr.write")]
        assert not prints or path == Path(console.__file__) or path.name == "progress.py", path
