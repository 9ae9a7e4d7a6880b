"""The command `rv-check bench`: small networks timed on the CPU, interrupted, resumed, compared, out of memory."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rv_check.bench import devices, roofline, run, workloads
from rv_check.bench import results as bench_results
from rv_check.bench.cases import BenchCase, BenchSubject, Group, Point
from rv_check.bench.devices import Cpu
from rv_check.bench.results import Results
from rv_check.bench.timing import TimingPlan
from rv_check.cli.main import main
from tests import ROOT

NETS = """\
import time
import torch
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        time.sleep(0.002)
        return self.net(x)

class Hungry(nn.Linear):
    def __init__(self):
        super().__init__(32, 2)

    def forward(self, x):
        if len(x) > 2:
            torch.empty(2**60)
        return super().forward(x)

class Pair(nn.Linear):
    def __init__(self):
        super().__init__(32, 2)

    def forward(self, x):
        return super().forward(x), x

class Strange(nn.Linear):
    def __init__(self):
        super().__init__(32, 2)

    def forward(self, x):
        return torch.linalg.svdvals(super().forward(x))
"""
BRIEF = ("--device", "cpu", "--threads", "1", "--input", "3 32 32", "--seconds", "0.05")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the networks in it; a roofline that takes no time to measure."""
    (tmp_path / "nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(roofline.SIZES, "cpu", (2**16, 64))
    monkeypatch.setattr(TimingPlan, "__init__", brief(TimingPlan.__init__))
    return tmp_path


def brief(init: Any) -> Any:
    """A plan whose warm-up is short."""

    def made(self: TimingPlan, *arguments: Any, **more: Any) -> None:
        init(self, *arguments, **{"warm_seconds": 0.01, **more})

    return made


def ask(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    try:
        status = main(["bench", *arguments])
    except SystemExit as stopped:  # argparse
        status = int(stopped.code or 0)
    out, err = capsys.readouterr()
    return status, out, err


def timed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    """The results, by subject and pass."""
    status, out, err = ask(capsys, *arguments, *BRIEF, "--json")
    assert status == 0, err
    return {f"{one['subject']} {one['pass']}": one for one in json.loads(out)["cases"]}


def test_all_passes_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with samples by round, what it costs, and what was set; a step does more than its parts need at least."""
    found = timed(capsys, "nets.py:net", "--pass", "inference,forward,backward,step", "--batch", "2")
    assert list(found) == [f"nets.py:net {name}" for name in ("inference", "forward", "backward", "step")]
    macs = 4 * 27 * 30 * 30 + 4 * 2  # those of an image: 3x3 over 3 channels to 30x30 of 4, and 4 x 2
    backward = 4 * 27 * 30 * 30 + 2 * 4 * 2  # gradients of both weights, and of the linear layer's input
    for name, expected in {"inference": macs, "forward": macs, "backward": backward, "step": macs + backward}.items():
        one = found[f"nets.py:net {name}"]
        assert one["macs"] == 2 * expected
        assert one["status"] == "measured"
        assert len(one["samples"]) == 10
        assert one["n"] == sum(map(len, one["samples"]))
        assert one["min"] <= one["low"] <= one["median"] <= one["high"]
        assert one["images_per_second"] == pytest.approx(2 / one["median"])
        assert one["flop_per_second"] == pytest.approx(2 * one["macs"] / one["median"])
        assert one["flags"]["threads"] == 1
        assert (one["byte_per_second"] is None) == (name in ("backward", "step"))
        assert (one["memory"], one["l2"], one["compared"], one["stages"]) == (None, None, None, None)


def test_bytes_of_a_forward_pass_by_hand() -> None:
    """Of one linear layer: input, weight, bias and output, each once, in the type that it is computed in."""
    module = torch.nn.Linear(32, 2)
    for dtype, size in (("float32", 4), ("bfloat16", 2)):
        point = Point("cpu", dtype, "contiguous", "eager", "inference", 5, (32,))
        found = workloads.cost(BenchCase(BenchSubject("m.py:L"), point), module)
        assert (found.macs, found.moved, found.params) == (5 * 64, size * (5 * 32 + 64 + 2 + 5 * 2), 66)
        assert found.least(2.0, 1e12) == pytest.approx(2 * 5 * 64 / 2)  # bound by arithmetic
        assert found.least(1e12, 2.0) == pytest.approx((found.moved or 0) / 2)  # bound by memory


@pytest.mark.parametrize("how", ["bfloat16", "autocast", "channels_last", "adam", "stages"])
def test_ways_of_running(how: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The module really runs as the case says."""
    seen: list[tuple[Any, ...]] = []
    forward = torch.nn.Conv2d.forward

    def watched(self: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        if x.device.type != "meta":
            y = forward(self, x)
            seen.append((x.dtype, y.dtype, x.is_contiguous(memory_format=torch.channels_last)))
            return y
        return forward(self, x)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    options = {
        "bfloat16": ("--dtype", "bfloat16"),
        "autocast": ("--dtype", "autocast"),
        "channels_last": ("--format", "channels_last"),
        "adam": ("--optimiser", "adam", "--pass", "step"),
        "stages": ("--stages",),
    }[how]
    (one,) = timed(capsys, "nets.py:net", *options).values()
    assert one["status"] == "measured"
    low = torch.bfloat16
    types = {"bfloat16": (low, low), "autocast": (torch.float32, low)}.get(how, (torch.float32, torch.float32))
    assert seen
    assert {(x, y) for x, y, _ in seen} == {types}
    if how == "channels_last":
        assert all(last for *_, last in seen)
    if how == "stages":
        assert [part["name"] for part in one["stages"]] == ["0", "1", "2", "3", "4"]
        assert sum(part["share"] for part in one["stages"]) == pytest.approx(1)


def test_a_training_step_changes_no_later_one() -> None:
    """Weights are as before, gradients are there, and were not when it began."""
    module = torch.nn.Linear(32, 2)
    before = module.weight.clone()
    point = Point("cpu", "float32", "contiguous", "eager", "step", 2, (32,))
    made = workloads.make(module, point)
    for _ in range(3):
        made.workload.prepare()
        assert module.weight.grad is None
        made.workload.run()
        assert module.weight.grad is not None
    assert torch.equal(module.weight, before)


@pytest.mark.parametrize("pass_", ["inference", "step"])
def test_a_module_that_moves_computes_the_same(pass_: str) -> None:
    """Every tensor has another place in memory, the optimiser's too, and the same values and names."""
    module = torch.nn.Sequential(torch.nn.Linear(32, 4), torch.nn.BatchNorm1d(4))
    made = workloads.make(module, Point("cpu", "float32", "contiguous", "eager", pass_, 2, (32,)))
    assert isinstance(made.workload, workloads.Pass)
    made.workload.prepare()
    made.workload.run()

    def tensors() -> list[torch.Tensor]:
        optimiser = getattr(made.workload, "optimiser", None)
        held = [state["momentum_buffer"] for state in optimiser.state.values()] if optimiser else []
        return [*module.state_dict().values(), *held]

    before = tensors()
    assert len(before) == (11 if pass_ == "step" else 7)
    made.workload.move()
    for old, new in zip(before, tensors(), strict=True):
        assert old.data_ptr() != new.data_ptr()
        assert torch.equal(old, new)
    made.workload.prepare()
    made.workload.run()
    assert pass_ == "inference" or module[0].weight.grad is not None


def test_the_backward_pass_alone() -> None:
    """The forward pass belongs to its preparation, and gradients do not add up."""
    calls: list[str] = []
    module = torch.nn.Linear(32, 2)
    module.register_forward_hook(lambda *_: calls.append("forward"))
    made = workloads.make(module, Point("cpu", "float32", "contiguous", "eager", "backward", 3, (32,)))
    made.workload.prepare()
    assert calls == ["forward"]
    made.workload.run()
    first = module.bias.grad
    assert first is not None
    assert torch.equal(first, torch.full((2,), 3.0))  # the sum of an all-ones gradient over three images
    made.workload.prepare()
    assert module.bias.grad is None
    made.workload.run()
    assert calls == ["forward"] * 2
    assert torch.equal(module.bias.grad, first)


def test_two_subjects_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    """A network that sleeps 2 ms is told from the one that does not, with an interval; by its own id."""
    found = timed(capsys, "nets.py:net", "nets.py:Slow")
    slow = found["nets.py:Slow inference"]["compared"]
    assert slow["with"] == found["nets.py:net inference"]["id"]
    assert slow["different"] is True
    assert 1 < slow["low"] <= slow["ratio"] <= slow["high"]
    assert slow["rounds"] == 10
    status, out, _ = ask(capsys, "nets.py:net", "nets.py:Slow", *BRIEF)
    assert status == 0
    assert " to " in next(line for line in out.splitlines() if line.startswith("nets.py:Slow"))


def test_an_arch_beside_its_reference(capsys: pytest.CaptureFixture[str]) -> None:
    """Spec-built and torchvision's, by the same counts."""
    found = timed(capsys, "resnet18", "--reference", "--pass", "inference", "--rounds", "2")
    ours, theirs = found.values()
    assert theirs["subject"] == "resnet18 by torchvision.models.resnet18"
    assert theirs["compared"]["with"] == ours["id"]
    assert ours["macs"] == theirs["macs"] == 37_523_456  # torch's counter, below
    assert ours["params"] == theirs["params"] == 11_689_512


def test_those_multiply_adds_are_torchs() -> None:
    """torch's own counter says the same of torchvision's resnet18 at 32x32."""
    models = pytest.importorskip("torchvision.models")
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        models.resnet18().eval()(torch.zeros(1, 3, 32, 32))
    assert counter.get_total_flops() == 2 * 37_523_456


def test_what_cannot_be_counted_is_timed_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """It is timed with the reason in place of numbers."""
    one = timed(capsys, "nets.py:Strange")["nets.py:Strange inference"]
    assert one["status"] == "measured"
    assert one["macs"] is one["flop_per_second"] is None
    assert "no rule counts the operation" in one["uncounted"]


def test_results_are_kept_and_resumed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the third of four cases: two are in the file, and only two are measured when it goes on."""
    measure, left = run.measure, [3]

    def interrupted(session: Any, group: Group) -> Any:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        return measure(session, group)

    command = ("nets.py:net", "--pass", "inference,forward,backward,step", *BRIEF, "-o", "out.json")
    monkeypatch.setattr(run, "measure", interrupted)
    status, _, err = ask(capsys, *command)
    assert (status, err.splitlines()[-1]) == (130, "rv-check: interrupted")
    assert {*os.listdir(folder)} - {"__pycache__"} == {"nets.py", "out.json"}
    before = bench_results.read(folder / "out.json").cases
    assert [one["pass"] for one in before] == ["inference", "forward"]
    monkeypatch.setattr(run, "measure", measure)
    status, _, err = ask(capsys, *command)
    assert (status, "out.json is there already" in err) == (2, True)
    status, _, err = ask(capsys, *command, "--resume")
    assert status == 0
    assert "2 of 4 are there already" in err
    assert "[1/2] nets.py:net: backward" in err
    assert "[2/2] nets.py:net: step" in err
    after = bench_results.read(folder / "out.json").cases
    assert after[:2] == before
    assert [one["pass"] for one in after] == ["inference", "forward", "backward", "step"]


def test_another_optimiser_is_another_case(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that goes on with another one measures it anew, and a baseline does not have it."""
    command = ("nets.py:net", "--pass", "step", *BRIEF)
    assert ask(capsys, *command, "-o", "out.json")[0] == 0
    status, _, err = ask(capsys, *command, "-o", "out.json", "--resume", "--optimiser", "adam")
    assert (status, "are there already" in err) == (0, False)
    assert [one["optimiser"] for one in bench_results.read(folder / "out.json").cases] == ["momentum", "adam"]
    status, _, err = ask(capsys, *command, "--optimiser", "sgd", "--baseline", "out.json")
    assert (status, "out.json has none of these cases" in err) == (2, True)
    assert "[1/1]" not in err  # it is known before anything is timed


def test_a_file_of_another_machine_is_not_gone_on_with(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other threads are another device."""
    command = ("nets.py:net", *BRIEF, "-o", "out.json")
    assert ask(capsys, *command)[0] == 0
    status, _, err = ask(capsys, *command, "--resume", "--threads", "2")
    assert status == 2
    assert "out.json is of another machine" in err


def test_a_baseline(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that became slower by far is a regression and exits with 1; the same one is none."""
    base = ("nets.py:net", *BRIEF)
    assert ask(capsys, *base, "-o", "base.json")[0] == 0
    slower = NETS.replace("def net()", "def fast()").replace("self.net = net()", "self.net = fast()")
    (folder / "nets.py").write_text(slower + "\nnet = Slow\n")
    status, out, _ = ask(capsys, *base, "--baseline", "base.json")
    assert status == 1
    assert out.rstrip().endswith("regression")
    (folder / "nets.py").write_text(NETS)
    status, out, _ = ask(capsys, *base, "--baseline", "base.json", "--tolerance", "300")
    assert status == 0, out
    status, _, err = ask(capsys, *base, "--baseline", "base.json", "--threads", "2")
    assert status == 2
    assert "base.json is of another device" in err


def test_a_batch_that_does_not_fit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a result; those that fit are measured, before and after it; one that was asked for exits with 2."""
    command = ("nets.py:Hungry", *BRIEF, "--batch", "1,4,2", "-o", "out.json")
    status, out, err = ask(capsys, *command)
    assert status == 2
    assert "a batch that was asked for does not fit: nets.py:Hungry inference" in err
    assert "does not fit: " in out
    found = {one["batch"]: one["status"] for one in bench_results.read(folder / "out.json").cases}
    assert found == {1: "measured", 4: "does not fit", 2: "measured"}


def test_the_largest_batch_is_searched_for() -> None:
    """With a module that runs out of memory above two images: 1 and 2 are left to be measured, 3 did not fit."""
    point = Point("cpu", "float32", "contiguous", "eager", "inference", 1, (3, 32, 32))
    results = Results({"here": {"device": {}, "software": {}, "rooflines": {}}}, [])
    session = run.Session(Cpu(1), "here", results, TimingPlan())
    groups, refused = run.scaled(session, Group((BenchSubject("nets.py:Hungry"),), point))
    assert [group.point.batch for group in groups] == [1, 2]
    assert [(one["batch"], one["status"]) for one in refused] == [(3, "does not fit")]


def test_a_module_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1 with its own words and line; the other subject is measured."""
    status, out, err = ask(capsys, "nets.py:net", "nets.py:Pair", *BRIEF)
    assert status == 1
    assert "the module gives a tuple\n  expected: one tensor" in err
    assert "failed: " in out
    status, _, err = ask(capsys, "nets.py:Pair", "--input", "3 31 31", *BRIEF[:4], "--seconds", "0.05")
    assert status == 1
    assert "nets.py:" in err


def test_shards_and_merging(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two shards measure all cases, each its own; merged they are one file that `report` shows beside the archs."""
    command = ("resnet18", "--pass", "inference,forward", "--batch", "2", *BRIEF, "--rounds", "1")
    for k in (1, 2):
        assert ask(capsys, *command, "--shard", f"{k}/2", "-o", f"{k}.json")[0] == 0
    status, out, _ = ask(capsys, "--merge", "1.json", "2.json", "-o", "all.json")
    assert status == 0
    assert len(out.splitlines()) == 4
    cases = bench_results.read(folder / "all.json").cases
    assert [one["pass"] for one in cases] == ["inference", "forward"]
    status, _, err = ask(capsys, "--merge", "1.json", "1.json")
    assert (status, "is in both" in err) == (2, True)
    assert main(["report", "resnet18", "resnet34", "--level", "spec", "--format", "csv", "--results", "all.json"]) == 0
    header, first, second = csv.reader(capsys.readouterr().out.splitlines())
    assert header[-2].startswith("ms: inference float32 contiguous eager batch 2 3x32x32 cpu, ")
    assert float(first[-2].removesuffix(" noisy")) > 0
    assert second[-2:] == ["", ""]
    assert main(["report", "--format", "json", "--results", "all.json"]) == 2


def test_the_table_says_what_is_noisy(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopwatch whose times vary by half makes a noisy case; steady times make a quiet one."""

    class Watch(devices.WallClock):
        """Takes no notice of the time."""

        def __init__(self, times: tuple[float, float]):
            self.given, self.at, self.times = times, 0, []

        def start(self) -> None:
            pass

        def stop(self) -> None:
            self.at += 1
            self.times.append(self.given[self.at % 2])

    for times, word in (((0.01, 0.015), "noisy"), ((0.01, 0.0101), "")):
        monkeypatch.setattr(Cpu, "stopwatch", lambda self, warm_cache=False, times=times: Watch(times))
        _, out, _ = ask(capsys, "nets.py:net", *BRIEF, "--seconds", "1")
        row = next(line for line in out.splitlines() if line.startswith("nets.py:net"))
        assert ("noisy" in row) == (word == "noisy")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("resnet18", "--device", "cuda:99"), "there is no "),
        (("resnet18", "--device", "abacus"), "unknown device 'abacus'"),
        (("resnet18", "--dtype", "float8"), "unknown dtype 'float8'"),
        (("resnet18", "--device", "cpu", "--mode", "graph"), "graph is of CUDA devices only"),
        (("resnet18", "--device", "cpu", "--warm-cache"), "--warm-cache is of CUDA devices only"),
        (("resnet18", "--seconds", "0"), "--seconds takes a number above 0"),
        (("resnet18", "--device", "cpu", "--largest-batch"), "--largest-batch is for CUDA"),
        (("resnet18", "--baseline", "nets.py"), "nets.py is no file of results"),
        (("resnet18", "--baseline", "none.json"), "none.json cannot be read: No such file"),
        (("resnet18", "--tolerance", "-1"), "--tolerance takes a percentage of 0 or more"),
        (("resnet18", "--tolerance", "nan"), "--tolerance takes a percentage of 0 or more"),
        (("resnet18", "--resume"), "--resume goes on with a file\n  expected: -o FILE --resume"),
        (("resnet18", "-o", "nowhere/a.json"), "nowhere/a.json cannot be written: there is no folder nowhere"),
        (("resnet18", "-o", "."), ". cannot be written: it is a folder"),
        (("resnet18", "--data-parallel"), "--data-parallel needs torchrun, which did not start this process"),
        (("resnet18", "--data-parallel", "--pass", "forward"), "--data-parallel times the training step"),
        (("nets.py:nothing",), "nets.py has no 'nothing'"),
        (("vgg11", "--device", "cpu", "--input", "3 8 8"), "in vgg11"),
        (("resnet18", "--merge", "a.json"), "--merge times nothing"),
        (("--merge", "nets.py"), "nets.py is no file of results"),
        (("resnet18", "--shard", "9/8"), "--shard is '9/8'"),
    ],
)
def test_bad_questions(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 2 and a clear message, before anything is timed."""
    monkeypatch.setattr(run, "run", None)
    status, out, err = ask(capsys, *arguments)
    assert (status, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_cases_are_listed_without_torch(folder: Path) -> None:
    """What would be measured is said by the specs alone."""
    code = (
        "import sys; from rv_check.cli.main import main; status = main(['bench', '--list', '--device', 'cuda']); "
        "assert 'torch' not in sys.modules; sys.exit(status)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "vgg16 step momentum autocast channels_last eager batch 32 3x224x224 cuda" in done.stdout.splitlines()


def test_two_processes_share_a_training_step(folder: Path) -> None:
    """Under torchrun with gloo: one file, of two processes and twice the images; the others say nothing."""
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--standalone"),
        *("-m", "rv_check", "bench", "nets.py:net", "--data-parallel", *BRIEF, "--rounds", "3", "-o", "out.json"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nets.py:net step") == 1
    (one,) = bench_results.read(folder / "out.json").cases
    assert (one["status"], one["world_size"], one["pass"]) == ("measured", 2, "step")
    assert one["id"] == "nets.py:net step momentum float32 contiguous eager batch 1 3x32x32 cpu 2 processes"
    assert one["images_per_second"] == pytest.approx(2 / one["median"])


@pytest.mark.sweep
def test_a_compiled_module(capsys: pytest.CaptureFixture[str]) -> None:
    """torch.compile on the CPU, which needs a C++ compiler; no borders of parts are met in it."""
    if not any(os.access(os.path.join(place, "g++"), os.X_OK) for place in os.environ["PATH"].split(os.pathsep)):
        pytest.skip("torch.compile needs a C++ compiler on the CPU, and there is no g++ on the path")
    one = timed(capsys, "nets.py:net", "--mode", "compile")["nets.py:net inference"]
    assert one["status"] == "measured"
