"""The standard cases of the shipped specs through pytest-benchmark: `pytest tests/bench --benchmark-only`.

Storage, comparison and histograms are pytest-benchmark's (`--benchmark-autosave`, `--benchmark-compare`,
`--benchmark-histogram`). With `--rv-baseline FILE` a case fails that is slower than there by more than its own
tolerance, and significantly. Under xdist, and so in the default run, pytest-benchmark runs each once without timing it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rv_check.bench import devices, results, workloads
from rv_check.bench.cases import BenchCase, Group, Selection, select

ROUNDS = 10


def standard() -> Iterator[Any]:
    """A parameter for each standard case, skipped with a reason where its device is not there."""
    for device in ("cpu", "cuda"):
        absent = device == "cuda" and not torch.cuda.is_available()
        marks = pytest.mark.skipif(absent, reason="torch sees no CUDA device here; run on a machine that has one")
        for group in select([], Selection(device)):
            (case,) = group.cases
            timer = pytest.mark.benchmark(timer=devices.synchronised_clock(device), group=str(group.point))
            yield pytest.param(group, id=case.id.replace(" ", "-"), marks=[marks, timer])


@pytest.mark.parametrize("group", list(standard()))
def test_case(group: Group, benchmark: Any, pytestconfig: pytest.Config) -> None:
    """The case runs; with a baseline it has not become slower."""
    (case,) = group.cases
    device = devices.device_of(group.point.device)
    benchmark.extra_info |= {"case": case.id, "tolerance": group.tolerance, "device": device.describe()}
    with devices.settings(device, group.point.dtype):
        made = workloads.make(workloads.module_of(case), group.point)
        benchmark.pedantic(made.workload.run, setup=made.workload.prepare, rounds=ROUNDS, warmup_rounds=3)
    hold(case, group.tolerance, device, benchmark, pytestconfig)


def hold(case: BenchCase, tolerance: float, device: devices.Device, benchmark: Any, config: pytest.Config) -> None:
    """Against the baseline, where one is given and times were taken: what it does not have is a skip."""
    file = config.getoption("--rv-baseline", default=None)
    if file is None or benchmark.stats is None:
        return
    found = case_result(case, tolerance, [[seconds] for seconds in benchmark.stats.stats.data])
    now = results.Results({"here": {"device": device.describe(), "software": {}, "rooflines": {}}}, [found])
    baseline = results.read(Path(file))
    same = results.same_device(now.machines["here"], baseline, file)
    if case.id not in baseline.of(same):
        pytest.skip(f"{file} does not have this case")
    (verdict,) = results.against(now, "here", baseline, file)
    assert not verdict.regressed, f"{verdict.words}: {verdict.comparison}, tolerance {tolerance:.1%}"


def case_result(case: BenchCase, tolerance: float, rounds: list[list[float]]) -> results.BenchResult:
    """What a baseline is compared with."""
    given = {"id": case.id, "machine": "here", "status": "measured", "samples": rounds, "tolerance": tolerance}
    return results.empty(given)
