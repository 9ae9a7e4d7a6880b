"""The items of tests/bench, run by pytest in a process of their own: storage, comparison, and verdicts."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rv_check.cli.main import parse
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
    """By pytest-benchmark's own options; a case that was a hundred times faster is a regression."""
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


def test_the_page_of_benchmarks() -> None:
    """Its commands have the options shown, its shards are those of the matrix, its figures the script's."""
    page = (ROOT / "tests" / "bench" / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"(?:^|`|run: |-m )(?:rv-check|rv_check) (bench [^`\n#]+)", page, re.MULTILINE)
    assert len(commands) >= 10
    for command in commands:
        plain = re.sub(r"\$\{\{ ?matrix\.shard ?\}\}|\$SLURM_ARRAY_TASK_ID", "1", command)
        parse(shlex.split(re.sub(r"[\[\]]", "", plain)))  # exits where an option is unknown
    (workflow,) = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    shards = workflow["jobs"]["bench"]["strategy"]["matrix"]["shard"]
    (timed,) = [step["run"] for step in workflow["jobs"]["bench"]["steps"] if "--shard" in step.get("run", "")]
    assert f"}}}}/{len(shards)} " in timed
    assert shards == list(range(1, len(shards) + 1))
    printed = (ROOT / "tests" / "bench" / "trust_cpu.txt").read_text(encoding="utf-8").splitlines()
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert set(shown.splitlines()) == {line for line in printed if not re.match(r"specs: [a-z]|at the ", line)}
