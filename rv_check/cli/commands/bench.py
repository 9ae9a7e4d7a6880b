"""The command `rv-check bench`: how long networks take, on the CPU and on CUDA, side by side and against a baseline.

--json is one object of schema rv-check/bench/1, which `rv_check.bench.results` describes; with --list it is one of
schema rv-check/bench-list/1: schema; cases: a list of their names.
"""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rv_check.bench import results as bench_results
from rv_check.bench import tables
from rv_check.bench.cases import Group, Selection, parse_batches, parse_input, parse_shard, parse_words, select, shard
from rv_check.bench.results import SCHEMA, BaselineVerdict, Results
from rv_check.cli import options as shared
from rv_check.cli.console import DID_NOT_HOLD, HELD, WRONG_QUESTION, Answer, Console
from rv_check.costs.memory import OPTIMISERS
from rv_check.errors import RvCheckError
from rv_check.language.inputs import Inputs
from rv_check.language.vocabulary import BENCH_AXES
from rv_check.modules.named import load_module, parse_arguments
from rv_check.optional import need
from rv_check.text import listed, shown_path
from rv_check.writing import writable

if TYPE_CHECKING:
    from rv_check.bench.devices import Device
    from rv_check.bench.run import Session
    from rv_check.modules.processes import Ranks

LIST_SCHEMA = "rv-check/bench-list/1"
AXES = ("dtype", "format", "mode", "pass")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "subject",
        nargs="*",
        metavar="ARCH|MODULE|FILE",
        help="archs and modules, timed side by side; a spec file's own cases; none: the standard cases",
    )
    shared.keywords(parser)
    parser.add_argument("--reference", action="store_true", help="each arch beside the reference that its spec names")
    what = parser.add_argument_group("what is timed (an axis that is not given is the spec's own)")
    shared.device(what, None)
    for axis in AXES:
        what.add_argument(f"--{axis}", metavar="A,B", help=", ".join(BENCH_AXES[axis]))
    what.add_argument("--batch", metavar="N,M", help="images at once")
    shared.input_size(what)
    what.add_argument("--optimiser", choices=OPTIMISERS, default="momentum", help="of a training step")
    what.add_argument("--largest-batch", action="store_true", help="every power of two up to the largest that fits")
    what.add_argument("--data-parallel", action="store_true", help="the training step of all processes of torchrun")
    how = parser.add_argument_group("how")
    how.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of samples of each case, about")
    words = "in which all subjects have their turn"
    how.add_argument("--rounds", type=shared.positive, default=10, metavar="N", help=words)
    words = "on the CPU; torch's choice unless given"
    how.add_argument("--threads", type=shared.positive, metavar="N", help=words)
    how.add_argument("--warm-cache", action="store_true", help="CUDA's L2 cache is not flushed before each sample")
    how.add_argument("--stages", action="store_true", help="the forward pass by the parts of the module, too")
    files = parser.add_argument_group("results")
    files.add_argument("-o", "--output", metavar="FILE", help=f"JSON, schema {SCHEMA}, written after each point")
    files.add_argument("--resume", action="store_true", help="go on with that file, if it is there")
    files.add_argument("--shard", metavar="K/N", help="only the K-th of N parts, as 2/8")
    files.add_argument(
        "--baseline", metavar="FILE", help="an earlier result of the same device to hold this one against"
    )
    files.add_argument("--tolerance", type=float, metavar="PERCENT", help="how much slower than it a case may be")
    files.add_argument("--merge", nargs="+", metavar="FILE", help="one table of these results; nothing is timed")
    files.add_argument("--list", action="store_true", help="the cases; nothing is timed")
    shared.json_of(files, f"{SCHEMA}; of --list {LIST_SCHEMA}")


@dataclass(frozen=True)
class Baseline:
    """An earlier result, and the file that it is in, as messages show it."""

    results: Results
    where: str

    def see(self, session: Session, ids: Sequence[str] | None) -> None:
        """See that it is of this device, and has what is to be timed, before anything is. Raises: RvCheckError.

        Args: `ids` of the cases; None where these are found by timing.
        """
        same = bench_results.same_device(session.results.machines[session.machine], self.results, self.where)
        if ids is not None:
            bench_results.see_any(ids, self.results.of(same), self.where)


def run(options: argparse.Namespace, console: Console) -> Answer | None:
    """Time what was asked for, or merge what was; None in other processes than the first of torchrun's.

    Raises: RvCheckError, CannotRun.
    """
    if options.merge:
        if options.subject or options.baseline:
            raise RvCheckError("--merge times nothing", expected="--merge FILE FILE, with -o FILE or --json")
        return _merged([Path(name) for name in options.merge], options.output, options.resume)
    arguments = parse_arguments(options.kwargs)
    which = parse_shard(options.shard) if options.shard else (1, 1)
    axes = {axis: parse_words(getattr(options, axis), axis) for axis in AXES if getattr(options, axis)}
    batches = parse_batches(options.batch) if options.batch else ()
    size = parse_input(options.input)
    output = _output(options.output, options.resume)
    if options.tolerance is not None and not 0 <= options.tolerance < inf:
        raise RvCheckError("--tolerance takes a percentage of 0 or more, as in 5")
    tolerance = None if options.tolerance is None else options.tolerance / 100
    if options.data_parallel:
        axes["pass"] = _only_the_step(axes)

    def groups_on(device: str, processes: int = 1) -> list[Group]:
        how = (options.optimiser, options.warm_cache, processes)
        selection = Selection(device, axes, batches, size, tolerance, *how)
        return shard(select(options.subject, selection, arguments, options.reference), which)

    if options.list:
        ids = [case.id for group in groups_on(options.device or "cpu") for case in group.cases]
        return Answer(lambda: {"schema": LIST_SCHEMA, "cases": ids}, lambda: "\n".join(ids))
    need("torch")
    baseline = None
    if options.baseline:
        path = Path(options.baseline)
        baseline = Baseline(bench_results.read(path), shown_path(path))
    from rv_check.bench import devices
    from rv_check.bench import run as bench_run
    from rv_check.bench.timing import TimingPlan

    with _ranks(options.data_parallel, options.device) as ranks:
        device = devices.device_of(
            ranks.device if options.data_parallel else options.device or devices.best(), options.threads
        )
        groups = groups_on(device.name, ranks.size)
        if options.largest_batch and device.name == "cpu":
            raise RvCheckError("--largest-batch is for CUDA: the CPU's memory has no end that can be run into safely")
        groups = _with_modules(groups, arguments, size, console)
        session = bench_run.Session(
            device,
            *_started(device, output),
            plan=TimingPlan(options.seconds, options.rounds),
            stages=options.stages,
            ranks=ranks,
            say=console.note if ranks.first else lambda text: None,
        )
        ids = [case.id for group in groups for case in group.cases]
        if baseline is not None:
            baseline.see(session, None if options.largest_batch else ids)
        if output is not None and ranks.first:
            session.save = lambda: bench_results.write(session.results, output)
        ranks.wait()  # all have read the file before the first one writes it
        bench_run.run(session, _scaled(session, groups) if options.largest_batch else groups)
        if not ranks.first:
            return None
    return _measured(session, ids, baseline, bool(batches), console)


def _only_the_step(axes: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    if axes.get("pass", ("step",)) != ("step",) or axes.get("mode", ("eager",)) != ("eager",):
        raise RvCheckError("--data-parallel times the training step, eager", expected="--pass step, or none")
    return ("step",)


def _output(name: str | None, resume: bool) -> Path | None:
    """Where results go, looked at before anything is timed."""
    if name is None:
        if resume:
            raise RvCheckError("--resume goes on with a file", expected="-o FILE --resume")
        return None
    path = writable(name)
    if path.exists() and not resume:
        raise RvCheckError(f"{path} is there already", expected="another name, or --resume to go on with it")
    return path


def _with_modules(
    groups: Sequence[Group], arguments: Mapping[str, Any], size: Inputs | None, console: Console
) -> list[Group]:
    """The groups with what goes into their modules, where nobody said it. A wrong name is told before anything is
    timed.

    Raises: RvCheckError.
    """
    from rv_check.report.asked import asked_module

    takes: dict[str, Inputs | None] = {}
    for subject in dict.fromkeys(subject for group in groups for subject in group.subjects):
        if subject.arch is None:
            candidate = load_module(subject.name, arguments)
            if size is None:
                asked = asked_module(candidate.module, candidate.input(None))
                takes[subject.name] = asked.subject.takes
                if asked.inferred:
                    console.note(f"{subject.name}: {asked.inferred}")
    return [_taken(group, takes) for group in groups]


def _taken(group: Group, takes: Mapping[str, Inputs | None]) -> Group:
    """A group with what goes into its modules, at the size of the first where there is no arch that has one."""
    subjects = tuple(replace(one, takes=takes.get(one.name) or one.takes) for one in group.subjects)
    first = next((one.takes for one in subjects if one.takes is not None), None)
    if first is None or any(one.arch is not None for one in subjects):
        return replace(group, subjects=subjects)
    return replace(group, subjects=subjects, point=replace(group.point, input=first.shape))


@contextlib.contextmanager
def _ranks(data_parallel: bool, device: str | None) -> Iterator[Ranks]:
    from rv_check.bench.devices import best
    from rv_check.modules import processes as torchrun

    if not data_parallel:
        yield torchrun.Ranks()
        return
    if "WORLD_SIZE" not in os.environ:
        raise RvCheckError(
            "--data-parallel needs torchrun, which did not start this process",
            expected="torchrun --nproc-per-node 2 -m rv_check bench ARCH --data-parallel",
        )
    with torchrun.joined(device or best()) as found:
        yield found


def _started(device: Device, output: Path | None) -> tuple[str, Results]:
    """The name of this machine, and the results so far. Raises: RvCheckError where the file is of another one."""
    from rv_check.bench.devices import software

    described = {"device": device.describe(), "software": software(), "rooflines": {}}
    key = bench_results.machine_key(described["device"], described["software"])
    if output is None or not output.exists():
        return key, Results({key: described}, [])
    results = bench_results.read(output)
    if results.machines.get(key, {}).get("device") != described["device"]:
        raise RvCheckError(
            f"{shown_path(output)} is of another machine: {listed(results.machines, none='none')}",
            expected=f"{key}, or another file",
        )
    return key, results


def _scaled(session: Session, groups: Sequence[Group]) -> list[Group]:
    """Each point at every batch up to the largest one that fits."""
    from rv_check.bench.run import scaled

    found: dict[object, Group] = {}
    for group in groups:
        scales, refused = scaled(session, group)
        for result in refused:
            session.results.add(result)
        found.update({(one.subjects, one.point): one for one in scales})
    return list(found.values())


def _measured(
    session: Session, ids: Sequence[str], baseline: Baseline | None, batch_was_asked_for: bool, console: Console
) -> Answer:
    """The table or the object, the verdicts, and the status."""
    results, machine = session.results, session.machine
    verdicts: Sequence[BaselineVerdict] = []
    if baseline is not None:
        verdicts = bench_results.against(results, machine, baseline.results, baseline.where)
    if verdicts and console.form == "json":
        console.note("\n" + tables.of_verdicts(verdicts))
    timed = [one for id_, one in results.of(machine).items() if id_ in ids]
    failed = [one for one in timed if one["status"] == "failed"]
    for one in failed:
        console.note(f"rv-check: failed: {one['id']}\n  {one['reason']}")
    status = DID_NOT_HOLD if failed or any(verdict.regressed for verdict in verdicts) else HELD
    too_large = [one["id"] for one in timed if one["status"] == "does not fit"]
    if status == HELD and too_large and batch_was_asked_for:
        message = f"a batch that was asked for does not fit: {listed(too_large)}"
        console.note(f"rv-check: {RvCheckError(message, expected='a smaller --batch')}")
        status = WRONG_QUESTION

    def text() -> str:
        parts = [tables.of_one_machine(results, machine), *([tables.of_verdicts(verdicts)] if verdicts else [])]
        return "\n\n".join(parts)

    return Answer(partial(bench_results.as_json, results), text, status)


def _merged(paths: Sequence[Path], output: str | None, resume: bool) -> Answer:
    """Several files as one table, or as one file."""
    results = bench_results.merge(paths)
    path = _output(output, resume)
    if path is not None:
        bench_results.write(results, path)
    return Answer(partial(bench_results.as_json, results), partial(tables.side_by_side, results))
