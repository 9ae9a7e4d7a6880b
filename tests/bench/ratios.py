"""The speed claims of docs/benchmarks.md, each a ratio of two things measured in turn, A B A B, in one run.

    tox -e bench              or   python tests/bench/ratios.py [--rounds N] [--only depths] [--clock cpu] [-o FILE]

Prints one line a claim: the median ratio, its smallest and largest value over the rounds, and both medians; `-o` keeps
the same as JSON. Nothing here passes or fails; times depend on the machine, ratios much less. `--clock cpu` takes
processor time, which others on the machine disturb less.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from structure import CLOCKS
from torch import nn

from rv_check import load
from rv_check.archs.arch import Arch
from rv_check.checks.check import run_check
from rv_check.checks.of_arch import ArchRun
from rv_check.checks.pair import Pair
from rv_check.checks.registry import CHECKS
from rv_check.checks.sizes import input_sizes
from rv_check.graphs.builder import Form
from rv_check.graphs.network import At
from rv_check.modules import torch_state
from rv_check.modules.build import build
from rv_check.modules.reference import build_reference

Action = Callable[[], object]
FOUND: list[dict[str, object]] = []  # what was printed
CLOCK = "wall"


def seconds(action: Action) -> float:
    """The time of one call, by the clock that was asked for."""
    clock = CLOCKS[CLOCK]
    start = clock()
    action()
    return clock() - start


def compare(claim: str, ours: Action, theirs: Action, rounds: int, calls: int = 1) -> None:
    """Print the ratio of two actions, measured in turn after one warm-up of each. The claim is `OURS / THEIRS`."""
    ours(), theirs()
    a, b = [], []
    for _ in range(rounds):
        a.append(statistics.median(seconds(ours) for _ in range(calls)))
        b.append(seconds(theirs))
    ratios = sorted(x / y for x, y in zip(a, b, strict=True))
    ratio, times = statistics.median(ratios), [statistics.median(some) * 1e3 for some in (a, b)]
    words = f"ratio {ratio:.4g} ({ratios[0]:.4g} to {ratios[-1]:.4g})"
    print(f"{claim}: {words}, {times[0]:.4g} ms against {times[1]:.4g} ms, {rounds} rounds", flush=True)
    names = dict(zip(("ours", "theirs"), claim.split(" / ", 1), strict=True))
    FOUND.append({**names, "ratio": ratio, "low": ratios[0], "high": ratios[-1], "ms": times, "rounds": rounds})


def process(*arguments: str) -> Action:
    """A whole Python process."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)


def fresh(arch: Arch) -> Arch:
    """The arch with its parsed spec, and no tree or result."""
    return replace(arch)


def analyse(arch: Arch) -> tuple[object, ...]:
    """Everything static, from the parsed spec."""
    arch = fresh(arch)
    return arch.params, arch.macs, arch.activations, arch.depth, arch.receptive_field


def counters(name: str) -> dict[str, Action]:
    """The multiply-add counters that are installed, on torchvision's model, each as its users call it."""
    import torchvision

    model = torchvision.models.get_model(name).eval()
    meta = torchvision.models.get_model(name).eval().to("meta")
    image = torch.zeros(1, 3, 224, 224)

    def by_torch() -> int:
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter, torch.no_grad():
            meta(torch.empty(1, 3, 224, 224, device="meta"))
        return counter.get_total_flops()

    found: dict[str, Action] = {"torch's FlopCounterMode on meta": by_torch}
    with suppress(ImportError):
        from fvcore.nn import FlopCountAnalysis

        found["fvcore"] = lambda: FlopCountAnalysis(model, image).unsupported_ops_warnings(False).total()
    with suppress(ImportError):
        import torchinfo

        found["torchinfo"] = lambda: torchinfo.summary(model, (1, 3, 224, 224), verbose=0).total_mult_adds
    with suppress(ImportError):
        import ptflops

        found["ptflops"] = lambda: ptflops.get_model_complexity_info(
            model, (3, 224, 224), print_per_layer_stat=False, as_strings=False
        )
    return found


def static(rounds: int) -> None:
    """rv-check's static side against importing torch, and against the fastest counter."""
    show = process("-m", "rv_check", "show", "resnet152")
    compare("`rv-check show resnet152` / `import torch`, whole processes", show, process("-c", "import torch"), rounds)
    for name in ("resnet50", "vgg16"):
        arch = load(name)
        found = counters(name)
        for action in found.values():
            action()
        times = {tool: statistics.median(seconds(action) for _ in range(3)) for tool, action in found.items()}
        fastest = min(times, key=times.__getitem__)
        missing = {"fvcore", "torchinfo", "ptflops"} - times.keys()
        note = f"; not installed: {', '.join(sorted(missing))}" if missing else ""
        claim = f"static analysis of {name} / {fastest}, the fastest of {len(found)} counters{note}"
        compare(claim, lambda a=arch: analyse(a), found[fastest], rounds, calls=5)  # type: ignore[misc]


def depths(rounds: int) -> None:
    """A stage of 30, 300, 3000 blocks against one of 3."""
    few = load("resnet50(depths=[3, 3, 3, 3])")
    for depth in (30, 300, 3000):
        many = load(f"resnet50(depths=[{depth}, {depth}, {depth}, {depth}])")
        claim = f"static analysis of a resnet with {depth} blocks a stage / with 3"
        compare(claim, lambda a=many: analyse(a), lambda: analyse(few), rounds, calls=5)  # type: ignore[misc]


def numbers(rounds: int) -> None:
    """The numbers checks of resnet50 against building both models and running their forward and backward.

    And those of vgg11, whose tensors are large, against the same where memory that is freed goes back to the system.
    """
    arch = load("resnet50")
    asked = [c for c in CHECKS if c.name in ("init", "state_dict", "logits", "eval", "train")]

    def checks(arch: Arch = arch) -> None:
        run = ArchRun(arch)
        for check in asked:
            assert all(f.status == "passed" for f in run_check(check, run))

    def bare() -> None:
        with torch_state.steady():
            run_bare()

    def run_bare() -> None:
        pair = Pair.of_reference(arch, "cpu")
        models = (pair.expected, pair.found)
        with torch.no_grad():
            for model in models:
                model.eval()(torch.randn(2, *arch.input))
        for train in (False, True):
            for size in input_sizes(arch):
                for model in models:
                    model.double().train(train).zero_grad(set_to_none=True)
                    model(torch.randn(2, *size, dtype=torch.float64, requires_grad=True)).sum().backward()

    compare("`numbers` checks of resnet50 / building and running both models", checks, bare, rounds)
    vgg = load("vgg11")

    def given_back() -> None:
        with mock.patch.object(torch_state, "freed_memory_kept", nullcontext):
            checks(vgg)

    claim = "`numbers` checks of vgg11, freed memory kept / given back to the system"
    compare(claim, lambda: checks(vgg), given_back, min(rounds, 3))  # half a minute each


def models(rounds: int) -> None:
    """Spec-built models against torchvision's, in eager mode."""
    for name in ("resnet18", "resnet50", "vgg11"):
        arch = load(name)
        ours, theirs = build(arch), build_reference(arch)
        image = torch.randn(4, 3, 160, 160)

        def step(model: nn.Module, image: torch.Tensor = image) -> None:
            model.zero_grad(set_to_none=True)
            model(image).sum().backward()

        claim = f"training step of the {name} built from its spec / torchvision's"
        compare(claim, lambda m=ours: step(m), lambda m=theirs: step(m), rounds)  # type: ignore[misc]


def counting(rounds: int) -> None:
    """`macs` with the totals of every counter, from a spec and from a module as it runs, against single counters."""
    import torchvision

    from rv_check.costs.conventions import conventions
    from rv_check.costs.operations import operations, operations_of
    from rv_check.modules.observe import Subject

    rules = conventions().values()
    for name in ("resnet50", "vgg16"):
        arch = load(name)
        module = torchvision.models.get_model(name).eval().to("meta")

        def of_spec(arch: Arch = arch) -> list[int]:
            done = operations_of(fresh(arch))
            return [rule.total(done) for rule in rules]

        def of_run(arch: Arch = arch, module: nn.Module = module) -> list[int]:
            done = operations(Subject(module).observe(At(arch.input, batch=1), Form.AS_RUN))
            return [rule.total(done) for rule in rules]

        assert of_spec() == of_run()
        claim = f"all {len(rules)} totals of {name}"
        for tool, action in counters(name).items():
            if tool.startswith(("torch's", "fvcore")):
                compare(f"{claim}, from its spec / {tool}", of_spec, action, rounds)
                compare(f"{claim}, from a module as it runs on meta / {tool}", of_run, action, rounds)


def fields(rounds: int) -> None:
    """Receptive fields of all stages, by formula and by gradients, against torchlens's formula of one layer."""
    import torchvision

    from rv_check.receptive_fields.formula import arch_lines
    from rv_check.receptive_fields.measured import compare_fields

    try:
        import torchlens
        from torchlens.options import CaptureOptions
    except ImportError:
        print("receptive fields / torchlens: torchlens is not installed")
        return
    options = CaptureOptions(structure_only=True, unwrap_when_done=True)
    for name in ("resnet50", "vgg16"):
        arch, step = load(name), {"resnet50": "layer4", "vgg16": "features"}[name]
        with torch.device("meta"):
            module, image = torchvision.models.get_model(name).eval(), torch.zeros(1, 3, 224, 224)

        def theirs(module: nn.Module = module, image: torch.Tensor = image, step: str = step) -> object:
            return torchlens.trace(module, image, capture=options).modules[step].receptive_field.size

        claim = f"receptive fields of {name}"
        compare(
            f"{claim} by formula, from its spec / torchlens", lambda a=arch: arch_lines(fresh(a), None), theirs, rounds
        )  # type: ignore[misc]
        compare(
            f"{claim} by gradients on the built model / torchlens", lambda a=arch: compare_fields(a), theirs, rounds
        )  # type: ignore[misc]


CLAIMS = {
    "static": static,
    "depths": depths,
    "counting": counting,
    "fields": fields,
    "numbers": numbers,
    "models": models,
}


def main() -> None:
    """Every claim in turn."""
    global CLOCK
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=CLAIMS, help="one kind of claim")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("-o", "--output", type=Path, help="a file for the ratios, as JSON")
    options = parser.parse_args()
    CLOCK = options.clock
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    python = sys.version.split()[0]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, Python {python}, {options.clock} time")
    for name, claims in CLAIMS.items():
        if options.only in (None, name):
            claims(options.rounds)
    if options.output:
        options.output.write_text(json.dumps(FOUND, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
