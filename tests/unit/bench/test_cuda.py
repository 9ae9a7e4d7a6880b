"""What only a CUDA device can show: events, graphs, TF32, memory, other harnesses. Skipped where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rv_check.bench import devices, run, samples, workloads
from rv_check.bench.cases import BenchSubject, Group, Point
from rv_check.bench.results import Results
from rv_check.bench.timing import TimingPlan, in_turn, times, warm_up
from rv_check.cli.main import main
from tests import ROOT

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch sees no CUDA device here; run on a machine that has one"
)
NETS = """\
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a network in it."""
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def point(**more: Any) -> Point:
    """A point on the first device."""
    found = {"dtype": "float32", "format": "contiguous", "mode": "eager", "pass_": "inference", "batch": 8, **more}
    return Point(device="cuda:0", input=(3, 64, 64), **found)


def net() -> torch.nn.Module:
    """The network of the file."""
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 64, 3),
        torch.nn.BatchNorm2d(64),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 10),
    )


@pytest.mark.parametrize("pass_", ["inference", "forward", "backward", "step"])
@pytest.mark.parametrize("dtype", ["float32", "tf32", "float16", "bfloat16", "autocast"])
def test_every_case_runs(dtype: str, pass_: str) -> None:
    """Cases run in both formats, eager and as a graph; times are above 0."""
    device = devices.Cuda(0)
    for format_ in ("contiguous", "channels_last"):
        for mode in ("eager", "graph"):
            with devices.settings(device, dtype):
                where = point(dtype=dtype, format=format_, mode=mode, pass_=pass_)
                made = workloads.make(net(), where)
                assert min(times(made.workload, device.stopwatch(), 3)) > 0


@pytest.mark.parametrize("pass_", ["backward", "step"])
def test_a_graph_computes_what_eager_code_does(pass_: str) -> None:
    """Gradients after a replay are those of the eager pass, and do not add up."""
    device, found = devices.Cuda(0), []
    module = net()
    for mode in ("eager", "graph"):
        with devices.settings(device, "float32"):
            made = workloads.make(module, point(mode=mode, pass_=pass_))
            for _ in range(3):
                made.workload.prepare()
                made.workload.run()
            torch.cuda.synchronize()
            found.append([parameter.grad.clone() for parameter in made.module.parameters()])
    for eager, graphed in zip(*found, strict=True):
        assert torch.allclose(eager, graphed, rtol=1e-4, atol=1e-5)


def test_a_graph_runs_at_the_inference_of_the_module() -> None:
    """The outputs of a replay are those of the module."""
    device = devices.Cuda(0)
    with devices.settings(device, "float32"):
        made = workloads.make(net(), point(mode="graph"))
        made.workload.run()
        torch.cuda.synchronize()
        with torch.inference_mode():
            assert torch.allclose(made.workload.inner.y, made.x.call(made.module), rtol=1e-4, atol=1e-5)


def test_tf32_is_used_only_where_it_is_asked_for() -> None:
    """A product of large matrices is off by 1e-3 with it, and exact to 1e-5 without, in one process."""
    a = torch.randn(512, 512, device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    exact = (a.double() @ a.double()).float()
    errors = {}
    for dtype in ("tf32", "float32", "tf32"):
        with devices.settings(devices.Cuda(0), dtype):
            errors[dtype] = float((a @ a - exact).abs().max() / exact.abs().max())
    assert errors["float32"] < 1e-5
    if torch.cuda.get_device_capability()[0] >= 8:
        assert errors["tf32"] > 1e-5


def test_events_agree_with_a_clock_that_waits() -> None:
    """A sum of events of long work is what a synchronised wall clock says, to 5 %."""
    device = devices.Cuda(0)
    x = torch.randn(4096, 4096, device="cuda")

    class Long:
        """A hundred products."""

        def prepare(self) -> None:
            """Nothing."""

        def run(self) -> None:
            for _ in range(100):
                torch.mm(x, x)

    times(Long(), device.stopwatch(), 2)
    clock = devices.synchronised_clock("cuda")
    began = clock()
    Long().run()
    wall = clock() - began
    (by_events,) = times(Long(), device.stopwatch(), 1)
    assert by_events == pytest.approx(wall, rel=0.05)


def test_the_flush_is_of_the_caches_size() -> None:
    """The flush is left out for a warm cache."""
    device = devices.Cuda(0)
    flush = device.stopwatch().flush
    assert flush.numel() == torch.cuda.get_device_properties(0).L2_cache_size
    assert device.stopwatch(warm_cache=True).flush is None


def test_agreement_with_triton_and_torch() -> None:
    """The medians of triton's do_bench and of torch.utils.benchmark are within 2 % of ours, on one case in one run."""
    testing = pytest.importorskip("triton.testing")
    from torch.utils.benchmark import Timer

    torchvision = pytest.importorskip("torchvision")
    device = devices.Cuda(0)
    with devices.settings(device, "float32"):
        model = torchvision.models.resnet18()
        made = workloads.make(model, Point("cuda:0", "float32", "contiguous", "eager", "inference", 64, (3, 224, 224)))
        clock = device.stopwatch()
        warm = warm_up(made.workload, clock, TimingPlan(), device.reserved)
        (rounds,) = in_turn([made.workload], clock, TimingPlan(), [warm.last])
        ours = samples.summary(rounds).median
        theirs = testing.do_bench(made.workload.run, return_mode="median") * 1e-3
        torchs = Timer("run()", globals={"run": made.workload.run}).blocked_autorange(min_run_time=2).median
    assert ours == pytest.approx(theirs, rel=0.02)
    assert ours == pytest.approx(torchs, rel=0.02)


def test_peak_memory_holds_weights_and_activations() -> None:
    """At least parameters, images and gradients of a training step; a larger batch takes more."""
    device = devices.Cuda(0)
    peaks = []
    for batch in (8, 64):
        before = device.allocated()
        with devices.settings(device, "float32"):
            made = workloads.make(net(), point(pass_="step", batch=batch))
            clock = device.stopwatch(warm_cache=True)
            times(made.workload, clock, 2)
            peaks.append(device.peak(lambda made=made, clock=clock: times(made.workload, clock, 1)) - before)
        least = 2 * sum(parameter.numel() * 4 for parameter in made.module.parameters()) + made.x.main.numel() * 4
        assert peaks[-1] >= least
        del made
        device.recover()
    assert peaks[1] > peaks[0]


def test_the_largest_batch_and_its_end() -> None:
    """Within a tenth of the device's memory: the search ends, memory is back, and what it found runs."""
    device = devices.Cuda(0)
    torch.cuda.set_per_process_memory_fraction(0.1)
    try:
        results = Results({"here": {"device": {}, "software": {}, "rooflines": {}}}, [])
        session = run.Session(device, "here", results, TimingPlan(seconds=0.2, rounds=2))
        where = Point("cuda:0", "float32", "contiguous", "eager", "step", 1, (3, 224, 224))
        held = device.allocated()
        groups, refused = run.scaled(session, Group((BenchSubject("nets.py:net"),), where))
        assert device.allocated() == held
        assert refused[0]["status"] == "does not fit"
        assert groups[-1].point.batch < refused[0]["batch"]
        assert run.measure(session, groups[-1])[0]["status"] == "measured"
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """CUDA is what is measured where it is; state, flags, memory and stages are in the result."""
    command = ["nets.py:net", "--input", "3 64 64", "--batch", "8", "--seconds", "0.2", "--stages", "--json"]
    assert main(["bench", *command]) == 0
    top = json.loads(capsys.readouterr().out)
    (one,) = top["cases"]
    assert (one["device"], one["status"], one["l2"]) == ("cuda:0", "measured", "flushed")
    assert one["memory"]["peak"] > 0
    assert one["memory"]["reserved"] >= one["memory"]["peak"]
    assert one["state"]["before"]
    assert [part["name"] for part in one["stages"]] == ["0", "1", "2", "3", "4"]
    (machine,) = top["machines"].values()
    assert machine["device"]["name"] == torch.cuda.get_device_name(0)


def test_two_devices_share_a_step(folder: Path) -> None:
    """Two devices share a step by nccl, under torchrun."""
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device here; a shared step needs two")
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "rv_check"),
        *("bench", "nets.py:net", "--data-parallel", "--seconds", "0.2", "--json"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cases"][0]["world_size"] == 2
