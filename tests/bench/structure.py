"""How long the structure of a module takes to check, against what one would use instead: ratios of one run.

    tox -e bench      or   python tests/bench/structure.py [--rounds N] [--archs resnet50 ...] [--only warm] [-o FILE]

Everything is measured in turn, A B C A B C: warm, in this process after one run of each; cold, a new process from its
start to the answer. Modules are torchvision's, built on meta in eval mode, in no measured time but a cold one.
`--clock cpu` takes processor time, which others on the machine disturb less.

They do not answer the same question. A bare forward answers none. torch.export with difflib lists what differs at one
size in eval mode, without the wiring. torchlens records one module's graph and compares nothing. pytest-torch names the
first layer whose output differs, of two modules with the same names, with their values, on real tensors. A package that
is missing is said to be missing.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a cold run pays for what it needs only
    import torch
    from torch import nn

Action = Callable[[], object]
Clock = Callable[[], float]
SIDE = 224


def built(name: str, device: str = "meta") -> tuple[nn.Module, torch.Tensor]:
    """torchvision's module in eval mode, and an image."""
    import torch
    import torchvision

    with torch.device(device):
        return torchvision.models.get_model(name).eval(), torch.zeros(1, 3, SIDE, SIDE)


def forward(name: str) -> Action:
    """A bare forward on meta."""
    import torch

    module, image = built(name)

    def run() -> object:
        with torch.no_grad():
            return module(image)

    return run


def one_size(name: str) -> Action:
    """Observing the module and matching it with its spec, at one size in eval mode, from the parsed spec."""
    from dataclasses import replace

    from rv_check import load
    from rv_check.graphs.match import match
    from rv_check.graphs.network import At
    from rv_check.graphs.of_arch import graph_of
    from rv_check.modules.observe import Subject

    module, arch = built(name)[0], load(name)

    def run() -> object:
        found = match(graph_of(replace(arch)), Subject(module).observe(At((3, SIDE, SIDE))))
        assert found.same
        return found

    return run


def whole(name: str) -> Action:
    """The level structure: several sizes, eval and train mode, a batch of one image; from the name of the spec."""
    from rv_check import check

    module = built(name)[0]

    def run() -> object:
        report = check(module, name, level="structure")
        assert report.passed
        return report

    return run


def export_and_difflib(name: str) -> Action:
    """Two modules exported on meta, their operators in the order that the output asks for them, and their text diff."""
    import difflib

    import torch

    mine, image = built(name)
    theirs, _ = built(name)

    def ordered(graph: torch.fx.Graph) -> list[torch.fx.Node]:
        seen: dict[torch.fx.Node, None] = {}
        stack = [next(node for node in graph.nodes if node.op == "output")]
        while stack:
            node = stack[-1]
            waiting = [one for one in node.all_input_nodes if one not in seen]
            if waiting:
                stack.append(waiting[0])
            else:
                seen[stack.pop()] = None
        return [node for node in seen if node.op == "call_function"]

    def described(value: Any) -> str:
        if isinstance(value, torch.fx.Node):
            return "x".join(map(str, value.meta["val"].shape))
        return str(list(map(described, value))) if isinstance(value, list | tuple) else str(value)

    def lines(module: nn.Module) -> list[str]:
        graph = torch.export.export(module, (image,), strict=False).graph
        return [f"{node.target} {described(node.args)} {dict(node.kwargs)}" for node in ordered(graph)]

    def run() -> object:
        difference = list(difflib.unified_diff(lines(mine), lines(theirs), lineterm=""))
        assert not difference
        return difference

    return run


def by_torchlens(name: str) -> Action:
    """One module's graph, without values; torch is left as it was, or everything else would run slower after it."""
    import torchlens
    from torchlens.options import CaptureOptions

    module, image = built(name)
    options = CaptureOptions(structure_only=True, unwrap_when_done=True)
    return lambda: torchlens.trace(module, image, capture=options)


def by_pytest_torch(name: str) -> Action:
    """The first layer that differs, of two modules with the same weights: on real tensors, which it compares."""
    import torch
    from pytest_torch import localize_divergence

    mine, image = built(name, "cpu")
    theirs, _ = built(name, "cpu")
    theirs.load_state_dict(mine.state_dict())
    image = torch.randn_like(image)

    def run() -> object:
        report = localize_divergence(mine, theirs, image)
        assert report.first is None
        return report

    return run


OURS = {
    "observe and match at one size": one_size,
    "the whole level structure": whole,
}
OTHERS = {
    "a bare forward on meta": forward,
    "torch.export of both and difflib": export_and_difflib,
    "torchlens's trace": by_torchlens,
    "pytest-torch's localize_divergence": by_pytest_torch,
}
PACKAGES = {"torchlens's trace": "torchlens", "pytest-torch's localize_divergence": "pytest_torch"}
TOOLS = OURS | OTHERS


def processor_time() -> float:
    """Seconds of processor time that this process and those it started have taken."""
    import resource  # there is none on Windows

    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


CLOCKS = {"wall": time.perf_counter, "cpu": processor_time}


def in_turn(actions: dict[str, Action], rounds: int, clock: Clock) -> dict[str, list[float]]:
    """The seconds that each took in each round."""
    times: dict[str, list[float]] = {what: [] for what in actions}
    for _ in range(rounds):
        for what, action in actions.items():
            start = clock()
            action()
            times[what].append(clock() - start)
    return times


def tell(claim: str, times: dict[str, list[float]]) -> Iterator[dict[str, Any]]:
    """Each of ours against each of the others: the median of the rounds' ratios, the extremes and both medians."""
    for ours in (what for what in times if what in OURS):
        for theirs in (what for what in times if what in OTHERS):
            ratios = sorted(x / y for x, y in zip(times[ours], times[theirs], strict=True))
            medians = [statistics.median(times[what]) * 1e3 for what in (ours, theirs)]
            found = {"of": claim, "ours": ours, "theirs": theirs, "ratio": statistics.median(ratios)}
            yield found | {"low": ratios[0], "high": ratios[-1], "ms": medians, "rounds": len(ratios)}


def line(one: dict[str, Any]) -> str:
    """It in words."""
    ratio, ms = f"ratio {one['ratio']:.4g} ({one['low']:.4g} to {one['high']:.4g})", one["ms"]
    what = f"{one['of']}: {one['ours']} / {one['theirs']}"
    return f"{what}: {ratio}, {ms[0]:.4g} ms against {ms[1]:.4g} ms, {one['rounds']} rounds"


def warm(name: str, tools: Sequence[str], rounds: int, clock: Clock) -> dict[str, list[float]]:
    """Times in this process, after one run of each."""
    actions = {what: TOOLS[what](name) for what in tools}
    for action in actions.values():
        action()
    return in_turn(actions, rounds, clock)


def cold(name: str, tools: Sequence[str], rounds: int, clock: Clock) -> dict[str, list[float]]:
    """Whole processes, after one of each that brings the files into memory."""

    def process(what: str) -> Action:
        command = [sys.executable, __file__, "--answer", what, "--archs", name]
        return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    actions = {what: process(what) for what in tools}
    for action in actions.values():
        action()
    return in_turn(actions, rounds, clock)


def main() -> None:
    """Every arch, warm and cold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--archs", nargs="+", default=["resnet50", "vgg16", "resnet152"])
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--only", choices=["warm", "cold"])
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS), metavar="TOOL", help="by their names")
    parser.add_argument("-o", "--output", type=Path, help="a file for the ratios, as JSON")
    parser.add_argument("--answer", choices=TOOLS, metavar="TOOL", help="run one once, as a cold process does")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if options.answer:
        for name in options.archs:
            TOOLS[options.answer](name)()
        return
    import torch

    python = sys.version.split()[0]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, Python {python}, {options.clock} time")
    missing = {what for what, package in PACKAGES.items() if what in options.tools and find_spec(package) is None}
    for what in sorted(missing):
        print(f"{what}: not measured, {PACKAGES[what]} is not installed")
    tools = [what for what in options.tools if what not in missing]
    found = []
    for name in options.archs:
        for how in (warm, cold):
            if options.only in (None, how.__name__):
                for one in tell(f"{name}, {how.__name__}", how(name, tools, options.rounds, CLOCKS[options.clock])):
                    print(line(one), flush=True)
                    found.append(one)
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
