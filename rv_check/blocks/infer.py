"""The contract that a class fits, and the call by which it does, where nobody says."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rv_check.blocks.call import guesses, parse_how
from rv_check.blocks.cases import CheckedBlock
from rv_check.blocks.contract import UNITS, Contract, block_arch, find_contract
from rv_check.checks.compared import observe
from rv_check.checks.findings import Finding
from rv_check.checks.judge import Judge
from rv_check.checks.of_module import ModuleRun, checks_of_module
from rv_check.errors import RvCheckError
from rv_check.ops.op import Shape
from rv_check.text import first_line

if TYPE_CHECKING:
    from rv_check.blocks.trial import BlockCase

STANDARD = ("bottleneck", "basic")  # the blocks that a class without a contract is held against
ANY = "residual_block"  # the contract of a class that is none of them


@dataclass(frozen=True)
class Guess:
    """A contract and a call, and how many of the cases that matter they get right."""

    checked: CheckedBlock
    right: int
    runs: int
    made: int
    error: str


def _try(checked: CheckedBlock) -> Guess:
    right = runs = made = 0
    error = ""
    for case in checked.probes():
        trial = checked.trial(case)
        try:
            trial.fresh()
            made += 1
            returned = trial.point()(trial.image())
            runs += 1
            if trial.runs:
                right += 1
            elif not error:
                error = f"gives {' '.join(map(str, getattr(returned, 'shape', ())))}, {case}"
        except RvCheckError as raised:
            error = error or str(raised)
        except Exception as raised:  # whatever the class raises
            error = error or f"does not run: {type(raised).__name__}: {first_line(raised)}"
    return Guess(checked, right, runs, made, error)


def best_calls(
    name: str, cls: Any, contracts: Sequence[Contract], call: str | None, kwargs: Mapping[str, Any], x: Shape | None
) -> list[Guess]:
    """The best call for each contract. Raises: RvCheckError where no case can be made or run."""
    best, tried = [], []
    for contract in contracts:
        found: list[Guess] = []
        for unit in UNITS if x is None else UNITS[:1]:
            hows = [parse_how(name.rpartition(":")[2], call, kwargs)] if call else list(guesses(cls, contract, kwargs))
            found += [_try(CheckedBlock(name, cls, contract, how, x, unit)) for how in hows]
            if any(guess.right for guess in found):
                break
        tried += found
        if found:
            best.append(max(found, key=lambda guess: (guess.right, guess.runs, guess.made)))
    if not any(guess.runs for guess in best):
        raise _uncallable(name, cls, tried)
    return best


def _uncallable(name: str, cls: Any, tried: Sequence[Guess]) -> RvCheckError:
    try:
        signature = str(inspect.signature(cls))
    except (TypeError, ValueError):
        signature = "(...)"
    what = "cannot be called" if any(guess.made for guess in tried) else "cannot be constructed"
    errors = {guess.checked.how.text: guess.error for guess in reversed(tried)}
    told = [f"tried: {how}: {error}" for how, error in reversed(errors.items())]
    told += [] if tried else ["tried: nothing, since its arguments have no names that are known"]
    expected = '--call "in_channels=C, out_channels=4*width, stride=stride", and --kwargs for what is always the same'
    return RvCheckError(f"{name}{signature} {what}", details=told, expected=expected)


def settle(
    name: str, guesses_: Sequence[Guess], kwargs: Mapping[str, Any], x: Shape | None
) -> tuple[CheckedBlock, str]:
    """The block that a class is, or else the contract of any, with words on which it is nearest to."""
    ranked = []
    for guess in guesses_:
        if guess.runs:
            told = _differences(guess.checked)
            ranked.append((not guess.right, len(told), -guess.right, guess.checked.contract.name, guess, told))
    *_, guess, told = min(ranked, key=lambda one: one[:4])
    nearest_ = guess.checked
    if not told and guess.right == max(one.right for one in guesses_):
        return nearest_, f"contract: {nearest_.contract.name}, which it is (inferred; --as NAME)"
    contract = find_contract(ANY)
    general = next(iter(best_calls(name, nearest_.cls, [contract], None, kwargs, x)))
    checked = general.checked
    first = f": {told[0]}" if told else ""
    words = (
        f"contract: {checked.contract.name} (inferred; --as NAME)\n"
        f"nearest: {nearest_.contract.name}, {len(told)} difference{'s' * (len(told) != 1)}{first}"
    )
    return checked, words


def _differences(checked: CheckedBlock) -> list[str]:
    """The differences from a block with a body, of the first case that has some."""
    for case in checked.probes():
        try:
            findings, _, _ = of_body(checked, case, "structure")
        except RvCheckError as error:
            return [error.message]
        failed = [f for f in findings if f.status != "passed" and f.check == "structure"]
        if failed:
            return [f"{f.message.partition(chr(10))[0]}{f' at {f.step}' if f.step else ''} ({case})" for f in failed]
    return []


def of_body(
    checked: CheckedBlock, case: BlockCase, level: Any
) -> tuple[tuple[Finding, ...], dict[str, str], Mapping[str, tuple[int, int]]]:
    """One case by the levels of a module. Raises: RvCheckError where it does not run."""
    from rv_check.modules.torch_state import seeded

    arch = block_arch(checked.contract.block, case.values, case.x)
    with seeded(0):
        module = checked.make(case.values, case.x)
    run = ModuleRun(module, arch)
    with run.lent:
        observe(run)
        findings = Judge().findings(run, checks_of_module(level))
        return findings, run.structure.names, run.structure.totals
