"""Any module against a spec, for a module whose parameters have the reference's names."""

from __future__ import annotations

import copy
from collections import Counter
from typing import TYPE_CHECKING

from rv_check.arch import Arch, load
from rv_check.checks import Check, Outcome, Pair, Run, compare_runs, guarded, same_state, test_sizes
from rv_check.findings import Finding, Report
from rv_check.problems import RvCheckError

if TYPE_CHECKING:
    from torch import nn

OTHER_NAMES = (
    "its parameters have other names than the reference's; matching them needs the structure level, "
    "which this version does not have"
)


def check(module: nn.Module, arch: Arch | str, device: str = "cpu") -> Report:
    """Whether a module is the network of a spec: its state, then its numbers in eval and train mode, in float64.

    The module itself is not touched: the comparison runs on copies.

    Args: `module` any nn.Module that takes (N, C, H, W); `arch` an Arch or a name that `load` takes.
    Returns: a Report; `passed` only if every check ran and held.
    Raises: RvCheckError where the arch is unknown or the module is none, or cannot be copied.
    """
    from torch import nn

    if isinstance(arch, str):
        arch = load(arch)
    if not isinstance(module, nn.Module):
        raise RvCheckError(f"{type(module).__name__} is not a torch.nn.Module")
    subject = type(module).__name__
    run = Run(arch, device)
    pair = _pair(module, run)
    state = _state(run, pair)
    findings = [state]
    for name, train in (("eval", False), ("train", True)):
        one = Check(name, "numbers", lambda _: True, _no_function)
        if state.status == "passed":
            findings += [_numbers(run, one, pair, x, train) for x in test_sizes(arch)]
        elif state.status == "skipped":
            findings.append(one.skip(run, f"{name} mode was not compared", OTHER_NAMES))
        else:
            findings.append(Finding(arch.name, name, "numbers", "blocked", "blocked by the state: see state_dict"))
    return Report(subject, arch.name, tuple(findings))


def assert_conforms(module: nn.Module, arch: Arch | str, device: str = "cpu") -> None:
    """`check`, for a test. Raises: AssertionError, with the findings, unless every check ran and held."""
    report = check(module, arch, device)
    if not report.passed:
        raise AssertionError(str(report))


def _pair(module: nn.Module, run: Run) -> Pair:
    from rv_check.model import build
    from rv_check.numbers import seeded

    arch = run.expanded()
    copied = guarded("the module cannot be copied", lambda: copy.deepcopy(module))
    if any(p.is_meta for p in copied.parameters()):
        raise RvCheckError("the module's parameters are on the meta device; give one with values")
    with seeded(0):
        expected = build(arch)
    return Pair(expected.to(run.device), copied.to(run.device), run.device)


def _state(run: Run, pair: Pair) -> Finding:
    """The state of the module against the spec's; other names for the same shapes are not decided here."""
    one = Check("state_dict", "numbers", lambda _: True, _no_function)
    expected, found = pair.expected.state_dict(), pair.found.state_dict()
    same_shapes = Counter(tuple(t.shape) for t in expected.values()) == Counter(tuple(t.shape) for t in found.values())
    if expected.keys() != found.keys() and same_shapes:
        return one.skip(run, "parameters were counted, not matched: the shapes are the spec's", OTHER_NAMES)
    if {n: t.shape for n, t in expected.items()} == {n: t.shape for n, t in found.items()}:
        return one.finding(run, True, f"{len(expected)} parameters and buffers: names and shapes of {run.arch.name}")
    return same_state(run, one, pair, run.arch.name)


def _numbers(run: Run, one: Check, pair: Pair, x: tuple[int, ...], train: bool) -> Finding:
    try:
        return compare_runs(run, one, pair, x, train)
    except RvCheckError as error:
        return one.finding(run, False, str(error))


def _no_function(run: Run, check: Check) -> Outcome:
    raise AssertionError("the checks of a module are run by check()")


