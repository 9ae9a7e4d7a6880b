"""The items of tests/bench, run by pytest in a process of their own: storage, comparison, and verdicts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

pytest.importorskip("pytest_benchmark")
ITEM = "resnet18-inference-float32-contiguous-eager-batch-1-3x224x224-cpu"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Pytest over one case of the CPU, and all of CUDA."""
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command += ["--benchmark-only", f"--benchmark-storage=file://{folder}/stored", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)


def test_items_are_timed_stored_compared_and_held_against_a_baseline(tmp_path: Path) -> None:
    """They are so by pytest-benchmark's own options; a case that was a hundred times faster is a regression."""
    one = f"tests/bench/test_standard.py::test_case[{ITEM}]"
    done = run(tmp_path, one, "--benchmark-autosave", f"--benchmark-json={tmp_path}/now.json")
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads((tmp_path / "now.json").read_text())["benchmarks"]
    assert found["extra_info"]["case"] == ITEM.replace("-", " ")
    assert found["extra_info"]["tolerance"] == 0.05
    assert len(found["stats"]["data"]) == 10
    baseline(tmp_path / "faster.json", found, 0.01)
    done = run(tmp_path, one, "--benchmark-compare", f"--rv-baseline={tmp_path}/faster.json")
    assert done.returncode == 1
    assert "regression" in done.stdout
    assert "0001" in done.stdout  # pytest-benchmark's own comparison with the stored run
    slower = tmp_path / "slower.json"
    baseline(slower, found, 100.0)
    assert run(tmp_path, one, f"--rv-baseline={slower}").returncode == 0


def baseline(path: Path, found: dict, by: float) -> None:
    """A file of results with these times, multiplied."""
    from rv_check.bench.results import Results, empty, write

    samples = [[by * seconds] for seconds in found["stats"]["data"]]
    id_ = found["extra_info"]["case"]
    case = {"id": id_, "subject": id_.split()[0], "machine": "m", "status": "measured", "tolerance": 0.05}
    case |= dict.fromkeys(("median", "min", "n", "low", "high", "images_per_second", "world_size"), 1)  # not looked at
    case |= {"noisy": False, "warm_up": {"count": 1, "seconds": 1.0, "settled": True}}
    machine = {"device": found["extra_info"]["device"], "software": {}, "rooflines": {}}
    write(Results({"m": machine}, [empty({**case, "samples": samples})]), path)


def test_cases_of_cuda_are_skipped_with_a_reason(tmp_path: Path) -> None:
    """Where there is none; they are collected all the same."""
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here, where they run")
    done = run(tmp_path, "tests/bench/test_standard.py", "-k", "cuda")
    assert "torch sees no CUDA device here; run on a machine that has one" in done.stdout
    assert "passed" not in done.stdout
