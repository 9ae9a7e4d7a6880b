"""Can `rv-check bench` be believed? What it claims of itself, measured on this machine.

    python tests/bench/trust.py [--device cuda] [--threads 1] [--only NAME] [--archs resnet18 ...] [--slower 1.03]

overhead     what the harness adds to a module that does nothing
others       the same case in one run by torch.utils.benchmark and, on CUDA, by triton's do_bench
equal        a part of a network compared with itself: how many of 100 comparisons tell a difference
twins        an arch beside itself, each with weights of its own: how many of 20 comparisons do
slower       a model with 3 % more to do: how often it is told from the one without, and the ratio found
specs        models built from specs beside torchvision's, forward and backward: is 1.00 within the interval?

Prints and judges nothing. On a machine that others use as well, ratios hold better than times.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from rv_check.archs.load import archs
from rv_check.bench import devices, workloads
from rv_check.bench import run as bench_run
from rv_check.bench.cases import Group, Point, Selection, select
from rv_check.bench.devices import Device
from rv_check.bench.results import Results
from rv_check.bench.run import side_by_side
from rv_check.bench.samples import Comparison, paired, summary
from rv_check.bench.timing import TimingPlan, times, warm_up


class Calls:
    """A number of calls as a workload."""

    def __init__(self, action: Callable[[], object], calls: int = 1):
        self.action, self.calls = action, calls

    def prepare(self) -> None:
        """Nothing."""

    def run(self) -> None:
        for _ in range(self.calls):
            self.action()


def told(found: Comparison) -> str:
    """A ratio with its interval and verdict."""
    interval = f"{found.low:.4f} to {found.high:.4f}" if found.low is not None else "too few rounds"
    return f"ratio {found.ratio:.4f} ({interval}), {'different' if found.different else 'no difference told'}"


def overhead(device: Device, options: argparse.Namespace) -> Iterator[str]:
    """An identity in each pass that a module without parameters has, and the bare call."""
    point = Point(device.name, "float32", "contiguous", "eager", "inference", 1, (1,))
    made = workloads.make(nn.Identity(), point)
    x = made.x.main
    module, bare = made.module, Calls(lambda: None)
    ours, nothing = side_by_side(device, [made.workload, bare], TimingPlan(seconds=1))
    yield f"overhead: an empty call between two readings of the clock: {1e6 * summary(nothing).median:.2f} us"
    yield f"overhead: nn.Identity as a case, in inference mode: {1e6 * summary(ours).median:.2f} us"
    many = Calls(lambda: module(x), 1000)
    (called,) = side_by_side(device, [many], TimingPlan(seconds=1))
    yield f"overhead: nn.Identity called, of a loop of 1000: {1e3 * summary(called).median:.2f} us"


def others(device: Device, options: argparse.Namespace) -> Iterator[str]:
    """Rounds of ours and of theirs in turn: each round's median against each round's median."""
    from torch.utils.benchmark import Timer

    (group,) = select(["resnet18"], Selection(device.name, {"pass": ("inference",), "dtype": ("float32",)}, (1,)))[:1]
    made = workloads.make(workloads.module_of(group.cases[0]), group.point)
    run, clock = made.workload.run, device.stopwatch()
    plan = TimingPlan()
    count = max(1, round(plan.seconds / plan.rounds / warm_up(made.workload, clock, plan, device.reserved).last))
    timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())

    def torchs() -> list[float]:
        """Their samples: a call each, by its own loop."""
        return [timer.timeit(1).median for _ in range(count)]

    harnesses: dict[str, Callable[[], list[float]]] = {"torch.utils.benchmark": torchs}
    if device.name != "cpu":
        from triton.testing import do_bench

        harnesses["triton's do_bench"] = lambda: [1e-3 * do_bench(run, return_mode="median")]
    for name, theirs in harnesses.items():
        rounds: tuple[list[list[float]], list[list[float]]] = ([], [])
        for _ in range(plan.rounds):
            rounds[0].append(theirs())
            rounds[1].append(times(made.workload, clock, count))
        a, b = (1e3 * summary(some).median for some in rounds)
        yield f"others: {group.cases[0].id}: ours / {name}: {told(paired(*rounds))}; {b:.2f} ms against {a:.2f} ms"


def small(device: Device) -> Any:
    """Part of a network that takes a millisecond or so, to be called again and again."""
    torch.manual_seed(0)
    module = nn.Conv2d(32, 32, 3, padding=1).to(device.name).eval()
    x = torch.randn(1, 32, 28, 28, device=device.name)

    def action() -> object:
        with torch.inference_mode():
            return module(x)

    return action


def equal(device: Device, options: argparse.Namespace) -> Iterator[str]:
    """One workload beside itself, a hundred times."""
    action = small(device)
    plan = TimingPlan(seconds=0.2, warm_seconds=0.02)
    found = [
        paired(*side_by_side(device, [Calls(action, 10), Calls(action, 10)], plan)) for _ in range(options.comparisons)
    ]
    different = sum(one.different for one in found)
    away = [abs(one.ratio - 1) for one in found]
    yield (
        f"equal: {different} of {len(found)} comparisons of a model with itself tell a difference "
        f"(the test's rate is 1 in 100, stated are 5); |ratio - 1|: median {statistics.median(away):.4f}, "
        f"most {max(away):.4f}"
    )


def slower(device: Device, options: argparse.Namespace) -> Iterator[str]:
    """100 calls beside 100 and some more."""
    action = small(device)
    plan = TimingPlan(seconds=options.seconds, rounds=20, warm_seconds=0.05)
    more = round(100 * options.slower)
    both = [Calls(action, 100), Calls(action, more)]
    found = [paired(*side_by_side(device, both, plan)) for _ in range(20)]
    right = sum(one.different and one.ratio > 1 for one in found)
    holds = sum(one.low is not None and one.low <= more / 100 <= (one.high or 0) for one in found)
    ratio = statistics.median(one.ratio for one in found)
    yield (
        f"slower: {more / 100:.2f} times the work: told from 1.00 in {right} of {len(found)} comparisons of 20 rounds, "
        f"{more / 100:.2f} within the interval in {holds}; median ratio {ratio:.4f}"
    )


def session_on(device: Device, options: argparse.Namespace) -> bench_run.Session:
    """A session as the command makes one, without a file."""
    machine = {"device": device.describe(), "software": devices.software(), "rooflines": {}}
    plan = TimingPlan(seconds=options.seconds, rounds=12, warm_seconds=0.2)
    return bench_run.Session(device, "here", Results({"here": machine}, []), plan)


def compared(session: bench_run.Session, group: Group) -> Comparison:
    """The second subject of a group in units of the first."""
    _, other = bench_run.measure(session, group)
    found = {name: other["compared"][name] for name in ("ratio", "low", "high", "p", "rounds")}
    return Comparison(**found)


def twins(device: Device, options: argparse.Namespace) -> Iterator[str]:
    """The whole way of the command: what is compared is made anew for each comparison."""
    session = session_on(device, options)
    for name in ("resnet18", "vgg11"):
        selection = Selection(device.name, {"pass": ("inference",), "dtype": ("float32",)}, (2,), (3, 64, 64))
        (group,) = select([name], selection)[:1]
        (subject,) = group.subjects
        group = replace(group, subjects=(subject, replace(subject, name=f"{name} again")))
        found = [compared(session, group) for _ in range(20)]
        different = sum(one.different for one in found)
        away = [abs(one.ratio - 1) for one in found]
        yield (
            f"twins: {name} beside another {name}: {different} of {len(found)} comparisons tell a difference; "
            f"|ratio - 1|: median {statistics.median(away):.4f}, most {max(away):.4f}"
        )


def specs(device: Device, options: argparse.Namespace) -> Iterator[str]:
    """Each arch that has a reference beside it; small images, so that what is not arithmetic shows."""
    session = session_on(device, options)
    known = [arch for arch in archs() if arch.entry.reference is not None]
    chosen = [arch for arch in known if not options.archs or arch.name in options.archs]
    away = []
    for arch in chosen:
        for pass_ in ("inference", "backward"):
            selection = Selection(device.name, {"pass": (pass_,), "dtype": ("float32",)}, (2,), (3, 64, 64))
            found = compared(session, select([arch.name], selection, None, with_reference=True)[0])
            within = found.low is not None and found.low <= 1 <= (found.high or 0)
            away += [] if within else [f"{arch.name} {pass_}"]
            yield f"specs: {arch.name} {pass_}, torchvision / spec: {told(found)}"
    yield f"specs: 1.00 is within the interval in {2 * len(chosen) - len(away)} of {2 * len(chosen)}; not: {away}"


CLAIMS = {"overhead": overhead, "others": others, "equal": equal, "slower": slower, "twins": twins, "specs": specs}


def main() -> None:
    """Every claim in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=CLAIMS)
    parser.add_argument("--archs", nargs="+", default=[])
    parser.add_argument("--slower", type=float, default=1.03)
    parser.add_argument("--comparisons", type=int, default=100)
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of samples of each workload in `slower` and `specs`"
    )
    options = parser.parse_args()
    device = devices.device_of(options.device, options.threads)
    described = ", ".join(f"{key} {value}" for key, value in device.describe().items() if key != "kind")
    print(f"{described}; torch {torch.__version__}, Python {sys.version.split()[0]}")
    print(f"at the start: {device.state()}", flush=True)
    for name, claim in CLAIMS.items():
        if options.only in (None, name):
            with nullcontext() if claim in (twins, specs) else devices.settings(device, "float32"):
                for line in claim(device, options):
                    print(line, flush=True)
    print(f"at the end: {device.state()}")


if __name__ == "__main__":
    main()
