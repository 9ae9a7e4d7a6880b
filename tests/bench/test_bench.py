"""Timings through pytest-benchmark: `pytest tests/bench --benchmark-only`. They measure; none of them judges a time.

Under xdist, and so in the default run, pytest-benchmark runs each once without timing it.
"""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rv_check import build, load
from rv_check.modules.reference import build_reference

RATIOS = Path(__file__).with_name("ratios.py")
EFFORT = Path(__file__).with_name("effort.py")
JOBS = Path(__file__).with_name("jobs.py")
STRUCTURE = Path(__file__).with_name("structure.py")


@pytest.mark.benchmark(group="static analysis from the parsed spec")
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet152", "vgg16"])
def test_static_analysis(benchmark, name: str) -> None:
    """Parameters, MACs and receptive field, with no tree kept."""
    arch = load(name)

    def analyse() -> tuple[object, ...]:
        fresh = replace(arch)
        return fresh.params, fresh.macs, fresh.receptive_field

    assert benchmark(analyse) == (arch.params, arch.macs, arch.receptive_field)


@pytest.mark.benchmark(group="resnet18 forward in eval mode, 1x3x64x64")
@pytest.mark.parametrize("whose", ["spec", "torchvision"])
def test_forward(benchmark, whose: str) -> None:
    """The model built from the spec beside torchvision's."""
    arch = load("resnet18")
    model = (build(arch) if whose == "spec" else build_reference(arch)).eval()
    image = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        assert benchmark(model, image).shape == (1, 1000)


@pytest.mark.parametrize(("claims", "least"), [("depths", 3), pytest.param("counting", 8, marks=pytest.mark.sweep)])
def test_the_ratio_script_runs(claims: str, least: int, tmp_path: Path) -> None:
    """The script behind the speed claims of docs/benchmarks.md prints a ratio for each claim, and keeps it."""
    path = tmp_path / f"{claims}.json"
    command = [sys.executable, str(RATIOS), "--rounds", "1", "--only", claims, "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": ratio ") == least
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert [f"{one['ours']} / {one['theirs']}: ratio {one['ratio']:.4g}" for one in kept] == [
        line.partition(" (")[0] for line in done.stdout.splitlines() if ": ratio " in line
    ]


def test_the_structure_script_runs(tmp_path: Path) -> None:
    """The script that times the structure level runs, each of ours held against a bare forward, in one process."""
    path = tmp_path / "structure.json"
    tools = ["observe and match at one size", "the whole level structure", "a bare forward on meta"]
    command = [sys.executable, str(STRUCTURE), "--rounds", "1", "--archs", "resnet18", "--only", "warm"]
    done = subprocess.run([*command, "-o", str(path), "--tools", *tools], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": ratio ") == 2
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert [(one["of"], one["ours"], one["theirs"]) for one in kept] == [
        ("resnet18, warm", ours, "a bare forward on meta") for ours in tools[:2]
    ]


def test_a_cold_run_of_the_structure_script_gives_an_answer() -> None:
    """The process that a cold time is taken of exports two modules, and finds them equal."""
    command = [sys.executable, str(STRUCTURE), "--archs", "resnet18", "--answer", "torch.export of both and difflib"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


SMALL = ["resnet18(width=4)", "plain18(width=4)"]


def test_the_script_of_archs_at_once_runs(tmp_path: Path) -> None:
    """It times both ways in turn, and sees that they print the same."""
    path = tmp_path / "jobs.json"
    command = [sys.executable, str(JOBS), "--jobs", "2", "--archs", *SMALL, "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the same output" in done.stdout
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert f"--jobs 2 / --jobs 1: ratio {kept['ratio']:.3f}, 1 rounds" in done.stdout
    assert len(kept["seconds"]) == 1


def test_the_script_of_what_a_check_takes_runs(tmp_path: Path) -> None:
    """It measures each check of an arch, in a process that has torch in it."""
    path = tmp_path / "effort.json"
    command = [sys.executable, str(EFFORT), "--archs", SMALL[0], "-o", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (kept,) = json.loads(path.read_text(encoding="utf-8"))
    assert list(kept["seconds"]) == ["shapes", "counters", "field"]
    assert kept["peak_bytes"] > 100_000_000
