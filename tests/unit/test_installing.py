"""What whoever runs `tox` is told: what is installed and why it takes long, and what to do where it fails."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import ROOT

INSTALL = runpy.run_path(str(ROOT / ".ci" / "install.py"))
TORCH = ["--quiet", "torch>=2.11", "torchvision>=0.26"]


# Before pip


@pytest.mark.parametrize(
    ("version", "gigabytes", "packages", "words"),
    [
        ((3, 11), 9.0, TORCH, ""),
        ((3, 13), 9.0, TORCH, ""),
        ((3, 10), 9.0, TORCH, "this is Python 3.10; make .venv anew with Python 3.11, 3.12 or 3.13"),
        ((3, 14), 9.0, [], "this is Python 3.14; make .venv anew"),
        ((3, 11), 7.9, TORCH, "7.9 GB are free, and torch with its libraries takes up to 8 GB: free some"),
        ((3, 11), 0.1, ["pytest>=8.4", "torchinfo>=1.8"], ""),  # which are small
    ],
)
def test_what_is_unfit(version: tuple[int, int], gigabytes: float, packages: list[str], words: str) -> None:
    """Another Python than those that are supported, and a disk that torch does not fit on."""
    found = INSTALL["unfit"](version, round(gigabytes * 1e9), packages)
    assert found.startswith(words) if words else found == ""


def test_the_pythons_are_those_of_pyproject() -> None:
    """`requires-python` and the classifiers say the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [text.rpartition(" :: ")[2] for text in project["classifiers"] if "Python :: 3" in text]
    assert project["requires-python"] == ">=" + ".".join(map(str, INSTALL["OLDEST"])) == f">={named[0]}"
    last = INSTALL["TOO_NEW"][1] - 1
    assert named[-1] == f"3.{last}"


def test_nothing_is_tried_where_it_cannot_succeed(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, and one line."""
    names = INSTALL["main"].__globals__

    def full(path: str) -> SimpleNamespace:
        return SimpleNamespace(free=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(names, "shutil", SimpleNamespace(disk_usage=full))
        patch.setitem(names, "subprocess", None)
        assert INSTALL["main"](TORCH) == 2
    assert capsys.readouterr().err.startswith("rv_check cannot be tested here: 0.0 GB are free")


# After it


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        (
            "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError('Failed to establish a "
            "new connection: [Errno 111] Connection refused')'\nERROR: No matching distribution found for torch>=2.11",
            "the package index was not reached",
        ),
        ("ERROR: No matching distribution found for torchvision>=0.26", "there is no torch for this machine"),
        ("ERROR: No matching distribution found for torchinfo>=9", "pip has failed, as told above"),
    ],
)
def test_what_is_told_after_pip_has_failed(printed: str, words: str) -> None:
    """What to do, where what pip prints says what the cause is."""
    assert INSTALL["cause"](printed).startswith(words)


def test_without_a_network() -> None:
    """Pip, asked for a package at an address where nothing listens: its own words first, then what to do."""
    script = str(ROOT / ".ci" / "install.py")
    options = ["--isolated", "--no-cache-dir", "--retries", "1", "--index-url", "http://127.0.0.1:9/simple"]
    command = [sys.executable, script, *options, "no-such-package-as-this"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "No matching distribution found for no-such-package-as-this" in done.stdout
    assert done.stderr.startswith("rv_check could not be installed: the package index was not reached: ")


def test_nothing_is_said_where_it_succeeds() -> None:
    """Asked for what there is, pip succeeds, and says what it says."""
    command = [sys.executable, str(ROOT / ".ci" / "install.py"), "pytest"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "already satisfied" in done.stdout


# Meanwhile

# What tox tells the commands that it runs; another tox would take the environments of the first for its own.
NOT_PASSED_ON = ("TOX_", "COV_", "PYTEST_", "VIRTUAL_ENV")
TOX = """\
[tox]
env_list = tests, small
[testenv]
package = skip
deps = pytest
install_command = python -c "" {packages}
[testenv:tests]
package = editable
extras = torch, plot
[testenv:report]
deps =
commands = python -c "print('the table')" report {posargs:--family vgg}
"""
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "packed"
version = "1"
optional-dependencies = { torch = ["torch"], plot = [] }
"""
BACKEND = """\
from zipfile import ZipFile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    with ZipFile(f"{wheel_directory}/packed-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("packed-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: packed\\nVersion: 1\\n")
        wheel.writestr("packed-1.dist-info/WHEEL", "Wheel-Version: 1.0\\n")
    return "packed-1-py3-none-any.whl"
"""


@pytest.fixture
def told(tmp_path: Path) -> Any:
    """What tox prints on stderr of an environment, with this project's toxfile and packages that are not installed.

    The environment `tests` has a package of its own, which another environment builds.
    """
    for name, text in (("tox.ini", TOX), ("pyproject.toml", PYPROJECT), ("backend.py", BACKEND)):
        (tmp_path / name).write_text(text)
    shutil.copy(ROOT / "toxfile.py", tmp_path)

    def run(environment: str) -> str:
        done = run_tox(tmp_path, environment, "--notest")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stderr

    return run


def run_tox(folder: Path, environment: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run tox in a folder, as whoever stands there does."""
    passed_on = {name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED_ON)}
    command = [
        sys.executable,
        "-m",
        "tox",
        "run",
        "-qq",
        "-e",
        environment,
        "--workdir",
        str(folder / ".tox"),
        *options,
    ]
    passed_on["PYTHONPATH"] = str(folder)
    return subprocess.run(command, cwd=folder, env=passed_on, capture_output=True, text=True, check=False)


def test_another_tox_is_left_alone(told: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run by a tox, which says in variables where its environments are, the tests touch none of these."""
    other = tmp_path / "other"
    for name in ("TOX_WORK_DIR", "TOX_ENV_DIR"):
        monkeypatch.setenv(name, str(other))
    told("small")
    assert not other.exists()
    assert (tmp_path / ".tox" / "small").is_dir()


def test_what_takes_long_is_said(told: Any, tmp_path: Path) -> None:
    """Where torch is to be installed; neither of an environment without it, nor where it is there."""
    folder = tmp_path / ".tox" / "tests"
    assert told("small") == ""
    assert told("tests").startswith(f"Installing torch and torchvision into {folder}, once for all environments:")
    (next(folder.rglob("site-packages")) / "torch").mkdir()
    assert told("tests") == ""


def test_what_is_known_is_shown_first(tmp_path: Path) -> None:
    """Before the command of `report`, and on stderr: stdout is for the table that it makes. Of others nothing is.

    It is of the same archs; where the command has other options it is left out.
    """
    package = tmp_path / "rv_check"
    package.mkdir()
    (package / "__main__.py").write_text("import sys\nprint('rv_check', *sys.argv[1:], flush=True)\n")
    for name, text in (("tox.ini", TOX), ("toxfile.py", (ROOT / "toxfile.py").read_text())):
        (tmp_path / name).write_text(text)
    for name, asked, first in (
        ("report", (), "rv_check report --family vgg --level spec\n"),
        ("report", ("resnet18",), "rv_check report resnet18 --level spec\n"),
        ("report", ("--format", "json"), ""),
        ("small", (), ""),
    ):
        done = run_tox(tmp_path, name, *(("--", *asked) if asked else ()))
        assert (done.returncode, done.stderr) == (0, first), done.stdout
        assert done.stdout == ("the table\n" if name == "report" else "")
