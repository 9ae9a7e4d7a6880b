"""The run: each group of cases measured in turn, its results kept as soon as it is done."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rv_check.bench import roofline
from rv_check.bench.cases import BenchCase, Group
from rv_check.bench.devices import Device, DoesNotFit, Stopwatch, attempt, largest, settings
from rv_check.bench.results import DONE, BenchResult, Results, empty
from rv_check.bench.samples import paired, summary
from rv_check.bench.timing import TimingPlan, WarmUp, Workload, in_turn, times, warm_up
from rv_check.bench.workloads import Made, Pass, PassCost, cost, make, module_of
from rv_check.errors import RvCheckError
from rv_check.modules.guard import run_theirs
from rv_check.modules.processes import Ranks
from rv_check.text import duration

STAGE_RUNS = 20
MOST = 2**16  # images in a batch that is searched for


@dataclass
class Session:
    """One run of the command on one device."""

    device: Device
    machine: str
    results: Results
    plan: TimingPlan = field(default_factory=TimingPlan)
    stages: bool = False
    ranks: Ranks = field(default_factory=Ranks)
    save: Callable[[], None] = lambda: None
    say: Callable[[str], None] = lambda text: None

    @property
    def rooflines(self) -> dict[str, dict[str, float]]:
        """The rooflines of this machine, by type of numbers."""
        found: dict[str, dict[str, float]] = self.results.machines[self.machine]["rooflines"]
        return found


@dataclass
class Ready:
    """A case that runs."""

    case: BenchCase
    made: Made
    cost: PassCost | None
    uncounted: str | None
    warm: WarmUp
    peak: int | None


def run(session: Session, groups: Sequence[Group]) -> None:
    """Measure what the results do not have yet; save after each group, and say what is done, left, and how long.

    Raises: RvCheckError where a step that is shared by several processes does not fit in one of them.
    """
    done = {id_ for id_, one in session.results.of(session.machine).items() if one["status"] in DONE}
    left = [group for group in groups if not {case.id for case in group.cases} <= done]
    if len(left) < len(groups):
        session.say(f"{len(groups) - len(left)} of {len(groups)} are there already")
    began = time.monotonic()
    for at, group in enumerate(left):
        gone = time.monotonic() - began
        to_go = f", about {duration(gone / at * (len(left) - at))} to go" if at else ""
        names = " | ".join(subject.name for subject in group.subjects)
        session.say(f"[{at + 1}/{len(left)}] {names}: {group.point}; {duration(gone)} gone{to_go}")
        for result in measure(session, group):
            session.results.add(result)
        session.save()


def measure(session: Session, group: Group) -> list[BenchResult]:
    """The results of a group, whose subjects are all made, warmed up, and then measured in turn."""
    device = session.device
    with settings(device, group.point.dtype) as flags:
        if group.point.dtype not in session.rooflines:
            found = roofline.measure(device, group.point.dtype)
            session.rooflines[group.point.dtype] = {
                "flop_per_second": found.rate,
                "byte_per_second": found.bandwidth,
            }
            device.recover()  # its tensors are none of a network's
        before = device.state()
        clock = device.stopwatch(group.point.warm_cache)
        ready: list[Ready] = []
        results: dict[BenchCase, BenchResult] = {}
        for case in group.cases:
            outcome = _tried(session, case, lambda case=case: _make_ready(session, case, clock))  # type: ignore[misc]
            if isinstance(outcome, Ready):
                ready.append(outcome)
            else:
                results[case] = outcome
        if ready:
            outcome = _tried(session, ready[0].case, lambda: _samples(session, ready, clock))
            if isinstance(outcome, dict):
                results |= {one.case: _without(one.case, outcome["status"], outcome["reason"]) for one in ready}
                ready = []
            else:
                for one, rounds in zip(ready, outcome, strict=True):
                    results[one.case] = _measured(session, one, rounds)
                    if session.stages:
                        results[one.case]["stages"] = stages(one.made, device.stopwatch(warm_cache=True))
                _compare(results[group.cases[0]], [results[case] for case in group.cases[1:]])
        ready.clear()
        device.recover()
        state = {"before": before, "after": device.state()}
    common = {
        "machine": session.machine,
        "flags": flags,
        "state": state,
        "l2": None if group.point.device == "cpu" else "warm" if group.point.warm_cache else "flushed",
        "tolerance": group.tolerance,
    }
    return [empty({**results[case], **common}) for case in group.cases]


def _tried(session: Session, case: BenchCase, action: Callable[[], Any]) -> Any:
    """What `action` gives, or the result that says why there is none."""
    try:
        outcome = run_theirs(f"{case.subject.name} cannot be run", lambda: attempt(action, session.device.recover))
    except RvCheckError as error:
        if session.ranks.size > 1:
            raise  # the others would wait for this one for ever
        session.device.recover()
        return _without(case, "failed", str(error))
    if not isinstance(outcome, DoesNotFit):
        return outcome
    if session.ranks.size > 1:
        raise RvCheckError(f"{case.id} does not fit in process {session.ranks.rank}: {outcome.reason}")
    return _without(case, "does not fit", outcome.reason)


def _make_ready(session: Session, case: BenchCase, clock: Stopwatch) -> Ready:
    device, ranks = session.device, session.ranks
    held = device.allocated()
    module = module_of(case)
    counted, uncounted = None, None
    try:
        counted = cost(case, module)
    except RvCheckError as error:  # it can be timed all the same
        uncounted = str(error)
    made = make(module, case.point, ranks, case.subject.takes)
    warm = warm_up(made.workload, clock, session.plan, device.reserved, ranks.agree)
    most = device.peak(lambda: times(made.workload, clock, 1))
    return Ready(case, made, counted, uncounted, warm, None if most is None else most - (held or 0))


def _samples(session: Session, ready: Sequence[Ready], clock: Stopwatch) -> list[list[list[float]]]:
    workloads = [one.made.workload for one in ready]
    guesses = [one.warm.last for one in ready]
    anew = _moves(workloads) if ready[0].case.point.mode == "eager" else []
    return in_turn(workloads, clock, session.plan, guesses, session.ranks.agree, anew)


def _moves(workloads: Sequence[Workload]) -> list[Callable[[], None]]:
    """What gives each another place in memory, where they are compared.

    Only eager code finds its tensors by itself: a graph has their addresses, a compiled module may have.
    """
    moved = [one.move for one in workloads if isinstance(one, Pass)]
    return moved if len(moved) > 1 else []


def side_by_side(device: Device, workloads: Sequence[Workload], plan: TimingPlan) -> list[list[list[float]]]:
    """Seconds of each eager workload by round, in turn, all of them warmed up before. For what is no case."""
    clock = device.stopwatch()
    guesses = [warm_up(one, clock, plan, device.reserved).last for one in workloads]
    return in_turn(workloads, clock, plan, guesses, anew=_moves(workloads))


def stages(made: Made, clock: Stopwatch, runs: int = STAGE_RUNS) -> list[dict[str, Any]] | None:
    """Where the time of the forward pass goes: the median seconds of each part of the module, in the order of calls.

    Taken at the borders of its children, in runs of their own. None where no border is met, as in a compiled module.
    """
    names: list[str] = []

    def entered(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            names.append(name)
            clock.start()

        return hook

    def left(*_: Any) -> None:
        clock.stop()

    handles = []
    for name, child in made.module.named_children():
        handles += [child.register_forward_pre_hook(entered(name)), child.register_forward_hook(left)]
    try:
        for _ in range(runs):
            made.workload.prepare()
            made.workload.run()
    finally:
        for handle in handles:
            handle.remove()
    if not names:
        return None
    seconds: dict[str, list[float]] = {}
    for name, taken in zip(names, clock.read(), strict=True):
        seconds.setdefault(name, []).append(taken)
    medians = {name: statistics.median(some) * len(some) / runs for name, some in seconds.items()}
    whole = sum(medians.values())
    return [{"name": name, "median": median, "share": median / whole} for name, median in medians.items()]


def _identity(case: BenchCase) -> BenchResult:
    point = case.point
    return {
        "id": case.id,
        "subject": case.subject.name,
        "device": point.device,
        "dtype": point.dtype,
        "format": point.format,
        "mode": point.mode,
        "pass": point.pass_,
        "optimiser": point.optimiser if point.pass_ == "step" else None,
        "batch": point.batch,
        "input": list(point.input),
        "world_size": point.processes,
    }


def _without(case: BenchCase, status: str, reason: str) -> BenchResult:
    return {**_identity(case), "status": status, "reason": reason}


def _measured(session: Session, ready: Ready, rounds: list[list[float]]) -> BenchResult:
    found, point = summary(rounds), ready.case.point
    result = {
        **_identity(ready.case),
        "status": "measured",
        "samples": rounds,
        **{name: getattr(found, name) for name in ("median", "iqr", "n", "low", "high", "noisy")},
        "min": found.minimum,
        "warm_up": {name: getattr(ready.warm, name) for name in ("count", "seconds", "settled")},
        "images_per_second": point.batch * point.processes / found.median,
        "uncounted": ready.uncounted,
        "memory": None if ready.peak is None else {"peak": ready.peak, "reserved": session.device.reserved()},
    }
    if ready.cost is not None:
        result |= meaning(ready.cost, found.median, session.rooflines[point.dtype])
    return result


def meaning(cost: PassCost, median: float, best: dict[str, float]) -> BenchResult:
    """What a time means beside the work that it did, and beside what the device can do."""
    rate, bandwidth = best["flop_per_second"], best["byte_per_second"]
    least = cost.least(rate, bandwidth)
    return {
        "macs": cost.macs,
        "params": cost.params,
        "flop_per_second": 2 * cost.macs / median,
        "byte_per_second": None if cost.moved is None else cost.moved / median,
        "share_of_rate": 2 * cost.macs / median / rate,
        "share_of_roofline": None if least is None else least / median,
        "seconds_per_gmac": median / cost.macs * 1e9 if cost.macs else None,
    }


def _compare(base: BenchResult, others: Iterable[BenchResult]) -> None:
    """Each of the others in units of the base, where both were measured."""
    for other in others:
        if base["status"] == other["status"] == "measured":
            one = paired(base["samples"], other["samples"])
            other["compared"] = {"with": base["id"], "different": one.different, **vars(one)}


def scaled(session: Session, group: Group, most: int = MOST) -> tuple[list[Group], list[BenchResult]]:
    """The group at every power of two up to the largest batch at which all its subjects fit, and at that one.

    Also what the smallest batch that was tried and did not fit came to. Out-of-memory is what is searched for: no run
    is lost by it.
    """
    refused: dict[int, list[BenchResult]] = {}

    def fits(batch: int) -> bool:
        tried = replace(group, point=replace(group.point, batch=batch))
        session.say(f"does a batch of {batch:,} fit? {group.point}")
        with settings(session.device, group.point.dtype):
            outcome = _tried(session, tried.cases[0], lambda: _run_twice(session, tried))
            session.device.recover()
        if outcome is None:
            return True
        if outcome["status"] == "failed":
            raise RvCheckError(outcome["reason"])
        shared = {"machine": session.machine, "tolerance": group.tolerance}
        refused[batch] = [
            empty({**_without(case, "does not fit", outcome["reason"]), **shared}) for case in tried.cases
        ]
        return False

    best = largest(fits, most)
    batches = [2**power for power in range(best.bit_length()) if 2**power < best] + ([best] if best else [])
    groups = [replace(group, point=replace(group.point, batch=batch)) for batch in batches]
    return groups, refused[min(refused)] if refused else []


def _run_twice(session: Session, group: Group) -> None:
    """All of them side by side, twice, since a training step has all its state after the first one only."""
    made = [make(module_of(case), case.point, takes=case.subject.takes) for case in group.cases]
    for one in made:
        times(one.workload, session.device.stopwatch(group.point.warm_cache), 2)
