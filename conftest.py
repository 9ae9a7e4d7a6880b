"""The plugin where rv_check runs from source without being installed, and the one runner of all that documents show.

README.md, specs/README.md and every page of docs/ are run by Sybil. A page has a temporary folder; its blocks run
there in the order of the page, each once, whichever of them is asked for:

    ```python         runs, with the tests that it defines; its names go on to the next block
    ```python, yaml, toml or markdown whose first line is `# FILE`: the file is written into the folder; Python is
                      imported, too, and a spec has to pass its own checks
    ```console        each line that begins with `$ ` is run, and prints exactly what stands below it
    ```json           below `<!-- example: COMMAND -->` it is what the command prints, layout apart, and both fit the
                      schema in docs/schemas; below `<!-- measured example: COMMAND -->` values may differ
    <!-- table: COMMAND --> ... <!-- end of table --> holds what the command prints

`<!-- long -->` before a block, or `<!-- long table: COMMAND -->`, leaves it to `tox -e sweep`.
`<!-- not run: REASON -->` says why a block is not run; one of any other kind fails.
`<!-- folder: with specs -->` copies that folder of the repository into it. `<!-- folder: a copy of the repository -->`
copies all, and commands run the copy. Blocks that name a file of it are added to the file's end, or where their first
line says: `# FILE, below: LINE` or `# FILE, above: LINE`, LINE being how a line begins.

`pytest README.md docs --update-snapshots` rewrites what commands print, and with `-m sweep` the long ones.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from difflib import unified_diff
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sybil import Document, Example, Region, Sybil

if not any(entry.value == "rv_check.pytest_plugin.hooks" for entry in entry_points(group="pytest11")):
    pytest_plugins = ["rv_check.pytest_plugin.hooks"]

# Workers of xdist share the cores. Torch and the processes that tests start read this; torch is not imported yet.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).parent
SCHEMAS = ROOT / "docs" / "schemas"
DOCUMENTS = re.compile(r"(specs/)?README\.md|docs/(?!_build/).*\.md")
COPIED = ("rv_check", "specs", "tests", "conftest.py", "pyproject.toml")  # of a copy of the repository
BLOCK = re.compile(
    r"^(?:<!-- (?P<note>long|(?:not run|example|measured example): [^\n]*?) -->\n+)?"
    r"(?P<fence>```+)(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=fence)$",
    re.M | re.S,
)
TABLE = re.compile(
    r"^<!-- (?P<long>long )?table: (?P<command>[^\n]*) -->\n(?P<text>.*?)^<!-- end of table -->$", re.M | re.S
)
FOLDER = re.compile(r"^<!-- folder: (?:(?P<all>a copy of the repository)|with (?P<name>[\w/]+)) -->$", re.M)
FILE = re.compile(r"# ([\w./-]+\.\w+)(?:, (below|above): (.+))?\n")
COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.M)
# The last line of pytest holds how long it took, and so many `=` that it fills the terminal's width.
TIMES = re.compile(r"(?:^=+ )?(?P<told>\b.*) in \d+\.\d+s(?: \(.*\))?(?: =+)?$", re.M)
# What a command says each half minute on stderr, on a machine that is slow enough.
PROGRESS = re.compile(r"^.*; \d+%, .* to go\n", re.M)
# These change what commands print: in CI pytest cuts no line short, and rv-check marks what failed.
NOT_PASSED_ON = ("PYTEST_", "COV_", "CI", "BUILD_NUMBER", "GITHUB_ACTIONS")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--update-snapshots", action="store_true", help="rewrite snapshots, and what documents show")


# Of each family so many archs are run at a level, those with the fewest multiply-adds; of these two as said here.
FEWEST = {"structure": 2, "numbers": 1}
OF_THE_FIRST = {
    "resnet": ("resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"),
    "vgg": ("vgg11", "vgg11_bn", "vgg16_bn"),
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave to `tox -e sweep` what takes minutes: most archs of most families where networks are built and run.

    Level spec is held of every arch each time, and structure of every ResNet and VGG. Archs that are asked for by
    `--rv-arch` are checked at all levels.
    """
    if config.getoption("--rv-arch"):
        return
    for item in items:
        check = item.get_closest_marker("rv_check")
        if check is None or check.kwargs["level"] not in FEWEST or not is_shipped(item.path):
            continue
        level, family = check.kwargs["level"], item.path.stem
        if family not in OF_THE_FIRST:
            run = smallest(item.path)[: FEWEST[level]]
        elif level == "numbers":
            run = list(OF_THE_FIRST[family])
        else:
            continue
        if check.kwargs["arch"] not in run:
            item.add_marker("sweep")


def is_shipped(path: Path) -> bool:
    """Whether it is a file of the shipped specs. What that takes is imported where there are specs at all."""
    from rv_check.language.files import shipped_folder

    return path.parent == shipped_folder()


@functools.cache
def smallest(path: Path) -> list[str]:
    """The archs of a family by their multiply-adds, the fewest first."""
    from rv_check.archs.load import load_archs

    return [arch.name for arch in sorted(load_archs(path), key=lambda arch: arch.macs)]


class Page:
    """A document that is run: its folder, the names that its Python has made, and what became of its blocks."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.folder = Path(tempfile.mkdtemp(prefix="page-")).resolve()
        self.names: dict[str, Any] = {"__name__": "page"}
        self.status, self.errors = 0, ""  # of the last command: its exit status, and its stderr where that was apart
        self.copied = False
        self.outcomes: dict[int, BaseException | None] = {}  # by where a block begins
        self.updates: dict[tuple[int, int], str] = {}  # what is to stand from here to there

    def close(self) -> None:
        """Write what has changed, and remove the folder."""
        if self.path is not None:
            text = self.path.read_text(encoding="utf-8")
            for (start, end), new in sorted(self.updates.items(), reverse=True):
                text = text[:start] + new + text[end:]
            self.path.write_text(text, encoding="utf-8")
        shutil.rmtree(self.folder)

    def run(self, command: str, with_errors: bool = True) -> str:
        """What a command prints on stdout, and on stderr, in the folder; rv-check itself in this process."""
        if command == "echo $?":
            return f"{self.status}\n"
        words = shlex.split(command.replace("\\\n", " "))
        if words[0] == "rv-check" and not self.copied and not set("|<>;&$") & set(command):
            self.status, out, errors = _in_process(words[1:], with_errors)
        else:
            self.status, out, errors = self._in_shell(command, with_errors)
        self.errors = _of_anywhere(errors, self.folder)
        return _of_anywhere(out, self.folder)

    def _in_shell(self, command: str, with_errors: bool) -> tuple[int, str, str]:
        script = f'rv-check() {{ python -m rv_check "$@"; }}; pytest() {{ python -m pytest "$@"; }}\n{command}'
        source = self.folder if self.copied else ROOT
        environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED_ON)}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        environment |= {"PYTHONPATH": str(source), "NO_COLOR": "1", "COLUMNS": "80"}
        errors = subprocess.STDOUT if with_errors else subprocess.PIPE
        done = subprocess.run(
            ["bash", "-c", script], env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=600
        )
        return done.returncode, done.stdout, done.stderr or ""


def _in_process(arguments: list[str], with_errors: bool) -> tuple[int, str, str]:
    from rv_check.cli.main import main

    out = io.StringIO()
    errors = out if with_errors else io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors), pytest.MonkeyPatch.context() as patch:
        patch.delenv("GITHUB_ACTIONS", raising=False)
        try:
            status = main(arguments)
        except SystemExit as end:  # argparse's
            status = int(end.code or 0)
    return status, out.getvalue(), "" if with_errors else errors.getvalue()


def _of_anywhere(text: str, folder: Path) -> str:
    """The text without the folders of this machine: specs as in a clone, files of the page by their names."""
    from rv_check.language.files import shipped_folder

    return text.replace(f"{shipped_folder()}/", "specs/").replace(f"{folder}/", "").replace(f"{ROOT}/", "")


# Parsing


class Differs(AssertionError):
    """What is shown is not what is so. The message is all that a reader needs."""


class Block(NamedTuple):
    """Something on a page that is run: how, on what, and whether it takes minutes."""

    run: Callable[[Page, Example], None]
    match: re.Match[str]
    is_long: bool = False


def parse(document: Document) -> Iterator[Region]:
    """The blocks and tables of a document."""
    found = [Block(hold_table, match, bool(match["long"])) for match in TABLE.finditer(document.text)]
    found += [Block(fill_folder, match) for match in FOLDER.finditer(document.text)]
    for match in BLOCK.finditer(document.text):
        language, note = match["language"], match["note"] or ""
        if not language.startswith("{") and not note.startswith("not run: "):
            found.append(Block(RUN.get(language, refuse), match, note == "long"))
    return (Region(block.match.start(), block.match.end(), block, in_order) for block in found)


def in_order(asked: Example) -> str | None:
    """A block needs what stands before it on its page. Of these each is run once, and long ones only if asked for.

    Returns: what differs, if that is all that is wrong. Raises: what a block raised.
    """
    page: Page = asked.namespace["page"]
    for example in asked.document.examples():
        is_asked = example.start == asked.start
        if example.start not in page.outcomes and (is_asked or not example.parsed.is_long):
            page.outcomes[example.start] = None
            try:
                with contextlib.chdir(page.folder):
                    example.parsed.run(page, example)
            except Exception as error:
                page.outcomes[example.start] = error
        if is_asked:
            break
    outcome = page.outcomes[asked.start]
    if outcome is None or isinstance(outcome, Differs):
        return None if outcome is None else str(outcome)
    raise outcome


# Running


def refuse(page: Page, example: Example) -> None:
    """A block of a kind that nothing runs."""
    raise Differs(f"a block of {example.parsed.match['language'] or 'no language'}, which nothing runs")


def run_python(page: Page, example: Example) -> None:
    """Run it, and the tests that it defines; a file is written and imported, and its tests are pytest's."""
    text: str = example.parsed.match["text"]
    path = write_file(page, text)
    if path is not None and page.copied:
        return
    code = compile("\n" * example.line + text, example.path, "exec")
    names: dict[str, Any] = page.names if path is None else {"__name__": path.stem}
    before = dict(names)
    exec(code, names)  # noqa: S102
    for name in names if path is None else ():
        if name.startswith("test_") and names[name] is not before.get(name):
            names[name]()


def run_file(page: Page, example: Example) -> None:
    """Write the file that the first line names; a family has to hold."""
    text: str = example.parsed.match["text"]
    path = write_file(page, text)
    if path is None:
        raise Differs("its first line names no file, as `# FILE`")
    if page.copied or not re.search(r"^family:", text, re.M):
        return
    from rv_check.archs.load import load_archs
    from rv_check.checks.registry import check_arch

    for arch in load_archs(path):
        report = check_arch(arch, ["spec"])
        if not report.passed:
            raise Differs(str(report))


def write_file(page: Page, text: str) -> Path | None:
    """Where the first line names a file: that file, written, or grown where it is one of the repository's."""
    name = FILE.match(text)
    if name is None:
        return None
    path = page.folder / name[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    if page.copied and path.exists():
        lines, new = path.read_text(encoding="utf-8").splitlines(), text[name.end() :].splitlines()
        places = [at for at, line in enumerate(lines) if line.strip().startswith(name[3] or " ")] or [len(lines)]
        if name[3] and places == [len(lines)]:
            raise Differs(f"{name[1]} has no line that begins with: {name[3]}")
        at = places[0] + (name[2] == "below")
        text = "\n".join([*lines[:at], *new, *lines[at:], ""])
    path.write_text(text, encoding="utf-8")
    return path


def run_console(page: Page, example: Example) -> None:
    """Each command prints what stands below it."""
    text: str = example.parsed.match["text"]
    found = COMMAND.findall(text)
    if "".join(f"$ {command}\n{output}" for command, output in found) != text:
        raise Differs("its first line is no command, as `$ COMMAND`")
    printed = "".join(f"$ {command}\n{PROGRESS.sub('', page.run(command))}" for command, _ in found)
    if TIMES.sub(r"\g<told>", printed) != TIMES.sub(r"\g<told>", text):
        differs(page, example, printed)


def hold_table(page: Page, example: Example) -> None:
    """The command prints what stands there. Its folder is the repository's."""
    with contextlib.chdir(ROOT):
        printed = page.run(example.parsed.match["command"])
    if page.status != 0:
        raise Differs(printed)
    expected = f"\n{printed.strip()}\n\n"
    if example.parsed.match["text"] != expected:
        differs(page, example, expected)


def run_json(page: Page, example: Example) -> None:
    """What a command prints as JSON, or printed on another machine; both fit their schema."""
    kind, _, command = (example.parsed.match["note"] or "").partition(": ")
    if kind not in ("example", "measured example"):
        raise Differs("there is no `<!-- example: COMMAND -->` before it")
    text: str = example.parsed.match["text"]
    printed = page.run(command, with_errors=False)
    try:
        found = json.loads(printed)
    except ValueError:
        raise Differs(f"no JSON, but: {printed}{page.errors}") from None
    hold_schema(found)
    new = compact(found) + "\n"
    if kind == "example" and text != new:
        differs(page, example, new)
        return
    try:
        hold_schema(json.loads(text))
    except Exception as error:
        differs(page, example, new, str(error))


def hold_schema(found: Any) -> None:
    """Raises: jsonschema.ValidationError where it is not what its schema says, key by key."""
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    contents = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in SCHEMAS.glob("*.json")}
    registry = Registry().with_resources((name, Resource.from_contents(one)) for name, one in contents.items())
    name = found["schema"].removeprefix("rv-check/").replace("/", "-")
    Draft202012Validator(contents[f"{name}.json"], registry=registry).validate(found)


def compact(value: Any, indent: int = 0, width: int = 110) -> str:
    """JSON in few lines: a list or object in one if it fits, else its short parts side by side."""
    line = json.dumps(value)
    if len(line) + indent <= width or not isinstance(value, dict | list) or not value:
        return line
    within = indent + 2
    if isinstance(value, list):
        parts, brackets = [compact(one, within, width) for one in value], "[]"
        alone = [isinstance(one, dict | list) for one in value]
    else:
        parts = [f"{json.dumps(key)}: {compact(one, within, width)}" for key, one in value.items()]
        alone, brackets = ["\n" in part for part in parts], "{}"
    lines = [""]
    for part, is_alone in zip(parts, alone, strict=True):
        if lines[-1] and (is_alone or "\n" in lines[-1] or len(lines[-1]) + len(part) + within + 2 > width):
            lines.append("")
        lines[-1] += f"{' ' * bool(lines[-1])}{part},"
    body = "\n".join(" " * within + line for line in lines).removesuffix(",")
    return f"{brackets[0]}\n{body}\n{' ' * indent}{brackets[1]}"


def fill_folder(page: Page, example: Example) -> None:
    """The folder has a part of the repository from here on, or is a copy of it, whose code commands then run."""
    match = example.parsed.match
    page.copied = bool(match["all"])
    for name in COPIED if page.copied else (match["name"],):
        source, target = ROOT / name, page.folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)


def differs(page: Page, example: Example, printed: str, why: str = "") -> None:
    """Rewrite what is shown, where that is asked for. Raises: Differs where it is not."""
    match = example.parsed.match
    if example.namespace["update_snapshots"]:
        page.path, page.updates[match.span("text")] = Path(example.path), printed
        return
    lines = unified_diff(match["text"].splitlines(), printed.splitlines(), "shown", "printed", lineterm="")
    raise Differs("\n".join([why, *lines]).strip())


RUN: dict[str, Callable[[Page, Example], None]] = {
    "python": run_python,
    "yaml": run_file,
    "toml": run_file,
    "markdown": run_file,
    "console": run_console,
    "json": run_json,
}


# pytest


@pytest.fixture(scope="session")
def update_snapshots(pytestconfig: pytest.Config) -> bool:
    """Whether what is generated is written instead of compared."""
    return bool(pytestconfig.getoption("--update-snapshots"))


@pytest.fixture(scope="session", name="hold_schema")
def give_hold_schema() -> Callable[[Any], None]:
    """The function that holds an object to its schema in docs/schemas."""
    return hold_schema


def _open(namespace: dict[str, Any]) -> None:
    namespace["page"] = Page()


def _close(namespace: dict[str, Any]) -> None:
    namespace["page"].close()


_collect = Sybil([parse], pattern="*.md", setup=_open, teardown=_close, fixtures=["update_snapshots"]).pytest()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.File | None:
    """The documents that are run."""
    name = file_path.relative_to(ROOT).as_posix() if file_path.is_relative_to(ROOT) else ""
    return _collect(file_path, parent) if DOCUMENTS.fullmatch(name) else None


def pytest_itemcollected(item: pytest.Item) -> None:
    """Long blocks are for the sweep."""
    example = getattr(item, "example", None)
    if isinstance(example, Example) and example.parsed.is_long:
        item.add_marker("sweep")


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A page is run by one worker, since its blocks need one another."""
    scheduler = yield
    if hasattr(scheduler, "_split_scope"):
        split = scheduler._split_scope
        scheduler._split_scope = lambda id_: file if (file := id_.partition("::")[0]).endswith(".md") else split(id_)
    return scheduler
