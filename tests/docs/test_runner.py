"""The runner of documents in the root conftest.py: what is right passes, what is wrong fails, and can be rewritten."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPEC = """family: tiny(width)
input: 3 8 8
body:
  - conv(width, kernel=1, bias=True)
archs:
  tiny4:
    build: tiny(4)
    published:
      - params: 16
        source: 3*4 + 4
"""
SETTINGS = '[tool.pytest.ini_options]\nmarkers = ["sweep: long"]\naddopts = "-m \'not sweep\'"\n'


def block(language: str, text: str, note: str = "") -> str:
    """A fenced block, below a comment."""
    return (f"<!-- {note} -->\n" if note else "") + f"```{language}\n{text}\n```\n\n"


def run(folder: Path, page: str, *arguments: str, name: str = "README.md") -> str:
    """What pytest prints of a page, run by a copy of the runner."""
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "pyproject.toml").write_text(SETTINGS)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(page)
    environment = {one: value for one, value in os.environ.items() if not one.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "no:cacheprovider", name, *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def outcomes(printed: str) -> list[str]:
    """PASSED or FAILED of each block, in the order of the page."""
    found = re.findall(r"^(PASSED|FAILED|ERROR) \S+::line:(\d+)", printed, re.MULTILINE)
    return [status for status, _ in sorted(found, key=lambda one: int(one[1]))]


RIGHT = {
    "python": block("python", "x = 1"),
    "names go on": block("python", "assert x == 1"),
    "a test in it": block("python", "def test_it():\n    assert x == 1"),
    "a python file": block("python", "# net.py\nfrom rv_check import load\n\nname = 'x'"),
    "a spec": block("yaml", f"# mine/tiny.yaml\n{SPEC}"),
    "another file": block("toml", "# some.toml\n[a]\nb = 1"),
    "a command": block("console", "$ rv-check show mine/tiny.yaml::tiny4 | grep ^params\nparams            16"),
    "two of them": block("console", "$ cat net.py | wc -l\n4\n$ rv-check nothing > out 2>&1; echo $?\n2"),
    "how long it took": block("console", "$ echo '=== 2 passed in 0.35s ==='\n== 2 passed in 62.30s (0:01:02) =="),
    "how far it is": block("console", "$ echo 'resnet18::train; 68%, 14 s to go'; echo 1\n1"),
    "not in CI": block("console", "$ echo $CI$GITHUB_ACTIONS-\n-"),
    "a table": "<!-- table: cat pyproject.toml | head -1 -->\n\n[tool.pytest.ini_options]\n\n<!-- end of table -->\n\n",
}  # fmt: skip
WRONG = {
    "python": block("python", "assert 1 == 2"),
    "a test in it": block("python", "def test_it():\n    assert 1 == 2"),
    "a file that does not import": block("python", "# wrong.py\nimport nothing_of_the_kind"),
    "a spec whose number is wrong": block("yaml", f"# tiny.yaml\n{SPEC.replace('16', '17')}"),
    "a spec that is none": block("yaml", f"# tiny.yaml\n{SPEC.replace('conv', 'konv')}"),
    "a file without a name": block("yaml", "a: 1"),
    "another output": block("console", "$ echo 1\n2"),
    "no output": block("console", "$ echo 1"),
    "no command": block("console", "1\n$ echo 1\n1"),
    "another number of tests": block("console", "$ echo '2 passed in 0.35s'\n3 passed in 0.35s"),
    "another status": block("console", "$ rv-check show nothing > out 2>&1\n$ echo $?\n0"),
    "another table": "<!-- table: echo 1 -->\n\n2\n\n<!-- end of table -->\n\n",
    "a table that cannot be made": "<!-- table: cat nothing -->\n\n<!-- end of table -->\n\n",
    "an unknown language": block("ruby", "1"),
    "no language": block("", "1"),
    "json of no command": block("json", "{}"),
}


def test_what_is_right_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of every kind, which build on one another."""
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert outcomes(run(tmp_path, "".join(RIGHT.values()))) == ["PASSED"] * len(RIGHT)


def test_what_is_wrong_fails(tmp_path: Path) -> None:
    """Each of them, on one page, and those that are right between them pass."""
    printed = run(tmp_path, "".join(text + block("python", "x = 1") for text in WRONG.values()))
    found = outcomes(printed)
    assert dict(zip(WRONG, found[::2], strict=True)) == dict.fromkeys(WRONG, "FAILED")
    assert set(found[1::2]) == {"PASSED"}
    for words in ("-2\n+1", "params 17 is wrong", "names no file", "a block of ruby, which nothing runs", "konv"):
        assert words in printed, words


def test_a_block_may_say_why_it_is_not_run(tmp_path: Path) -> None:
    """Then it is no item; a directive of the site is none either."""
    page = block("ruby", "1", "not run: it is ruby") + block("{toctree}", "x") + block("python", "x = 1")
    assert outcomes(run(tmp_path, page)) == ["PASSED"]


def test_long_blocks_are_for_the_sweep(tmp_path: Path) -> None:
    """Without `-m sweep` they are not run, not even for what stands behind them."""
    page = block("python", "long = True", "long") + block("python", "assert 'long' not in globals()")
    page += "<!-- long table: echo 1 -->\n\n2\n\n<!-- end of table -->\n"
    assert outcomes(run(tmp_path, page)) == ["PASSED"]
    assert outcomes(run(tmp_path, page, "-m", "sweep")) == ["PASSED", "FAILED"]


def test_a_block_alone_runs_what_stands_before_it(tmp_path: Path) -> None:
    """The order in which items are asked for does not matter."""
    page = block("python", "x = 1") + block("python", "x += 1") + block("python", "assert x == 2")
    assert outcomes(run(tmp_path, page, "README.md::line:9,column:1", "--deselect", "nothing"))[-1] == "PASSED"
    reverse = "def pytest_collection_modifyitems(items):\n    items.reverse()\n"
    (tmp_path / "reverse.py").write_text(reverse)
    assert outcomes(run(tmp_path, page, "-p", "reverse")) == ["PASSED"] * 3


def test_a_page_is_run_by_one_worker(tmp_path: Path) -> None:
    """With xdist each block is run once."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "tiny.yaml").write_text(SPEC)
    count = tmp_path / "count"
    page = block("python", f"with open({str(count)!r}, 'a') as file:\n    _ = file.write('x')")
    printed = run(tmp_path, page + block("python", "x = 1") * 9, "-n", "2")
    assert outcomes(printed) == ["PASSED"] * 10
    assert count.read_text() == "x"


def test_what_is_shown_is_rewritten(tmp_path: Path) -> None:
    """Outputs and tables, nothing else, and then everything holds."""
    page = "A page.\n\n" + block("console", "$ echo 1\n2\n$ echo 3") + WRONG["another table"]
    page += block("console", "$ echo 5\n5") + block("json", "{}", "example: cat map.json") + "The end.\n"
    found = {"schema": "rv-check/map/1", "subject": "x", "against": None, "map": {}}
    page = block("python", f"# map.json\n{json.dumps(found)}").replace("python", "toml") + page
    page = page.replace("cat map.json", "tail -1 map.json")
    shutil.copytree(ROOT / "docs" / "schemas", tmp_path / "docs" / "schemas")
    assert outcomes(run(tmp_path, page)) == ["PASSED", "FAILED", "FAILED", "PASSED", "FAILED"]
    run(tmp_path, page, "--update-snapshots")
    new = (tmp_path / "README.md").read_text()
    shown = page.replace("2\n$ echo 3", "1\n$ echo 3\n3").replace("-->\n\n2\n", "-->\n\n1\n")
    assert new == shown.replace("{}\n```\n\nThe", f"{json.dumps(found)}\n```\n\nThe")
    assert outcomes(run(tmp_path, new)) == ["PASSED"] * 5


@pytest.mark.parametrize(
    ("note", "shown", "holds"),
    [
        ("example", {"against": None}, True),
        ("example", {"against": "x"}, False),  # another value
        ("measured example", {"against": "x"}, True),  # values may differ
        ("measured example", {"against": 1}, False),  # but not their types
        ("measured example", {"more": 1}, False),  # nor the keys
    ],
)
def test_json_is_held_to_its_schema(tmp_path: Path, note: str, shown: dict, holds: bool) -> None:
    """An example is what the command prints; of a measured one the shape is."""
    found = {"schema": "rv-check/map/1", "subject": "x", "against": None, "map": {}}
    shutil.copytree(ROOT / "docs" / "schemas", tmp_path / "docs" / "schemas")
    page = block("toml", f"# map.json\n{json.dumps(found)}")
    page += block("json", json.dumps({**found, **shown}), f"{note}: tail -1 map.json")
    assert outcomes(run(tmp_path, page)) == ["PASSED", "PASSED" if holds else "FAILED"]


def test_a_page_may_add_to_a_copy_of_the_repository(tmp_path: Path) -> None:
    """At the end of a file, above or below a line; commands run the copy, and the repository stays as it is."""
    for name in ("rv_check", "specs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "tests").mkdir()
    page = "<!-- folder: a copy of the repository -->\n\n"
    page += block("yaml", "# specs/vgg.yaml, below: archs:\n  vgg5:\n    build: vgg([1, 1])")
    page += block("python", "# rv_check/text.py\n\n\nADDED = 1")
    page += block("python", "# rv_check/text.py, above: ADDED = 1\nFIRST = 0")
    page += block("python", "# rv_check/text.py, below: NOTHING\nx = 1")
    page += block("console", "$ rv-check list | grep vgg5\n  vgg5\n$ tail -2 rv_check/text.py\nFIRST = 0\nADDED = 1")
    before = (ROOT / "rv_check" / "text.py").read_text()
    printed = run(tmp_path, page)
    assert outcomes(printed) == ["PASSED"] * 4 + ["FAILED", "PASSED"]
    assert "rv_check/text.py has no line that begins with: NOTHING" in printed
    assert (ROOT / "rv_check" / "text.py").read_text() == before
