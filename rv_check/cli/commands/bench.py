"""The command `rv-check bench`: how long networks take, on the CPU and on CUDA, side by side and against a baseline."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rv_check.bench import results as bench_results
from rv_check.bench import tables
from rv_check.bench.cases import Group, Selection, parse_batches, parse_input, parse_shard, parse_words, select, shard
from rv_check.bench.results import SCHEMA, Results
from rv_check.cli.common import positive
from rv_check.costs.memory import OPTIMISERS
from rv_check.errors import RvCheckError
from rv_check.language.vocabulary import BENCH_AXES
from rv_check.modules.named import load_module, parse_arguments
from rv_check.optional import need
from rv_check.text import listed, shown_path
from rv_check.writing import writable

if TYPE_CHECKING:
    from rv_check.bench.run import Session
    from rv_check.modules.processes import Ranks

HELD, DID_NOT_HOLD, WRONG_QUESTION = 0, 1, 2
AXES = ("dtype", "format", "mode", "pass")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "subject",
        nargs="*",
        metavar="ARCH|MODULE|FILE",
        help="archs and modules, timed side by side; a spec file's own cases; none: the standard cases",
    )
    parser.add_argument("--kwargs", metavar="JSON", help='arguments of the modules, as {"num_classes": 10}')
    parser.add_argument("--reference", action="store_true", help="each arch beside the reference that its spec names")
    what = parser.add_argument_group("what is timed (an axis that is not given is the spec's own)")
    what.add_argument("--device", help="cpu, cuda, cuda:1; CUDA where there is one unless given")
    for axis in AXES:
        what.add_argument(f"--{axis}", metavar="A,B", help=", ".join(BENCH_AXES[axis]))
    what.add_argument("--batch", metavar="N,M", help="images at once")
    what.add_argument("--input", metavar="'C H W'", help="another input size")
    what.add_argument("--optimiser", choices=OPTIMISERS, default="momentum", help="of a training step")
    what.add_argument("--largest-batch", action="store_true", help="every power of two up to the largest that fits")
    what.add_argument("--data-parallel", action="store_true", help="the training step of all processes of torchrun")
    how = parser.add_argument_group("how")
    how.add_argument("--seconds", type=float, default=4.0, metavar="S", help="of samples of each case, about")
    how.add_argument("--rounds", type=positive, default=10, metavar="N", help="in which all subjects have their turn")
    how.add_argument("--threads", type=positive, metavar="N", help="on the CPU; torch's choice unless given")
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
    files.add_argument("--json", action="store_true", help=f"one object, schema {SCHEMA}")


def run(options: argparse.Namespace) -> int:
    """Time what was asked for, or merge what was."""
    if options.merge:
        return _merge(options)
    arguments = parse_arguments(options.kwargs)
    which = parse_shard(options.shard) if options.shard else (1, 1)
    axes = {axis: parse_words(getattr(options, axis), axis) for axis in AXES if getattr(options, axis)}
    batches = parse_batches(options.batch) if options.batch else ()
    size = parse_input(options.input)
    output = _output(options)
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
        for group in groups_on(options.device or "cpu"):
            print("\n".join(case.id for case in group.cases))
        return HELD
    need("torch")
    baseline = bench_results.read(Path(options.baseline)) if options.baseline else None
    from rv_check.bench import devices
    from rv_check.bench import run as bench_run
    from rv_check.bench.timing import Plan

    with _ranks(options) as ranks:
        device = devices.device_of(
            ranks.device if options.data_parallel else options.device or devices.best(), options.threads
        )
        groups = groups_on(device.name, ranks.size)
        if options.largest_batch and device.name == "cpu":
            raise RvCheckError("--largest-batch is for CUDA: the CPU's memory has no end that can be run into safely")
        for subject in dict.fromkeys(subject for group in groups for subject in group.subjects):
            if subject.arch is None:
                load_module(subject.name, arguments)  # a wrong name is told before anything is timed
        session = bench_run.Session(
            device,
            *_started(device, options, output),
            plan=Plan(options.seconds, options.rounds),
            stages=options.stages,
            ranks=ranks,
            say=(lambda text: print(text, file=sys.stderr, flush=True)) if ranks.first else lambda text: None,
        )
        if baseline is not None:
            _see_baseline(options, session, groups, baseline)
        if output is not None and ranks.first:
            session.save = lambda: bench_results.write(session.results, output)
        ranks.wait()  # all have read the file before the first one writes it
        with contextlib.redirect_stdout(sys.stderr):  # what modules print is not ours to pass on
            bench_run.run(session, _scaled(session, groups) if options.largest_batch else groups)
        if not ranks.first:
            return HELD
    return _tell(options, session, groups, baseline)


def _only_the_step(axes: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    if axes.get("pass", ("step",)) != ("step",) or axes.get("mode", ("eager",)) != ("eager",):
        raise RvCheckError("--data-parallel times the training step, eager", expected="--pass step, or none")
    return ("step",)


def _output(options: argparse.Namespace) -> Path | None:
    """Where results go, looked at before anything is timed."""
    if options.output is None:
        if options.resume:
            raise RvCheckError("--resume goes on with a file", expected="-o FILE --resume")
        return None
    path = writable(options.output)
    if path.exists() and not options.resume:
        raise RvCheckError(f"{path} is there already", expected="another name, or --resume to go on with it")
    return path


@contextlib.contextmanager
def _ranks(options: argparse.Namespace) -> Iterator[Ranks]:
    from rv_check.bench.devices import best
    from rv_check.modules import processes as torchrun

    if not options.data_parallel:
        yield torchrun.Ranks()
        return
    if "WORLD_SIZE" not in os.environ:
        raise RvCheckError(
            "--data-parallel needs torchrun, which did not start this process",
            expected="torchrun --nproc-per-node 2 -m rv_check bench ARCH --data-parallel",
        )
    with torchrun.joined(options.device or best()) as found:
        yield found


def _started(device: Any, options: argparse.Namespace, output: Path | None) -> tuple[str, Results]:
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


def _see_baseline(options: argparse.Namespace, session: Session, groups: Sequence[Group], baseline: Results) -> None:
    """That it is of this device, and has what is to be timed, is known before anything is. Raises: RvCheckError."""
    where = shown_path(Path(options.baseline))
    same = bench_results.same_device(session.results.machines[session.machine], baseline, where)
    if not options.largest_batch:  # then the cases are found by timing
        bench_results.see_any([case.id for group in groups for case in group.cases], baseline.of(same), where)


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


def _tell(options: argparse.Namespace, session: Session, groups: Sequence[Group], baseline: Results | None) -> int:
    """The table or the JSON, the verdicts, and the status."""
    results, machine = session.results, session.machine
    verdicts = []
    if baseline is not None:
        verdicts = bench_results.against(results, machine, baseline, shown_path(Path(options.baseline)))
    if options.json:
        print(json.dumps(bench_results.as_json(results), indent=1))
    else:
        print(tables.of_one_machine(results, machine))
    if verdicts:
        print("\n" + tables.of_verdicts(verdicts), file=sys.stderr if options.json else sys.stdout)
    asked = {case.id for group in groups for case in group.cases}
    mine = [one for id_, one in results.of(machine).items() if id_ in asked]
    failed = [one for one in mine if one["status"] == "failed"]
    too_large = [one for one in mine if one["status"] == "does not fit" and options.batch]
    for one in failed:
        print(f"rv-check: failed: {one['id']}\n  {one['reason']}", file=sys.stderr)
    if any(verdict.regressed for verdict in verdicts) or failed:
        return DID_NOT_HOLD
    if too_large:
        names = listed(one["id"] for one in too_large)
        raise RvCheckError(f"a batch that was asked for does not fit: {names}", expected="a smaller --batch")
    return HELD


def _merge(options: argparse.Namespace) -> int:
    """Several files as one table, or as one file."""
    if options.subject or options.baseline:
        raise RvCheckError("--merge times nothing", expected="--merge FILE FILE, with -o FILE or --json")
    results = bench_results.merge([Path(name) for name in options.merge])
    path = _output(options)
    if path is not None:
        bench_results.write(results, path)
    print(json.dumps(bench_results.as_json(results), indent=1) if options.json else tables.side_by_side(results))
    return HELD
