"""A residual block that exists as a class, against a contract: a block file with a body, or one without.

With a body, the class is held to its structure and its numbers, in the cases that the body tells apart. With and
without, it is held to properties, over cases that hypothesis draws and shrinks to the smallest one that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rv_check.archs.load import parse_size
from rv_check.blocks.cases import CheckedBlock
from rv_check.blocks.contract import UNITS, Contract, block_arch, find_contract
from rv_check.blocks.infer import STANDARD, best_calls, of_body, settle
from rv_check.checks.findings import Finding, Report, failures
from rv_check.errors import CannotRun, RvCheckError, SpecError, unknown
from rv_check.modules.guard import run_theirs
from rv_check.optional import need
from rv_check.text import first_line

if TYPE_CHECKING:
    from rv_check.blocks.properties import Property
    from rv_check.blocks.trial import BlockCase, Trial

EXAMPLES = 12  # cases of each property, unless it says less
EVERY_TIME = "the same cases every time"  # the seed where none is given: no number, so that each number draws others


def check_block(
    cls: Any,
    as_: str | None = None,
    call: str | None = None,
    in_: str | None = None,
    *,
    kwargs: Mapping[str, Any] | None = None,
    seed: int | None = None,
    properties: Sequence[str] | None = None,
    examples: int = EXAMPLES,
    name: str | None = None,
    seen: Callable[[Finding], None] = lambda finding: None,
) -> Report:
    """A residual block against a contract, one finding for each check and property.

    Args: `cls` a class, or what makes a module; `as_` a block, as `bottleneck(64, stride=2)`; `call` how it is called,
    as `in_channels=C, out_channels=4*width, stride=stride`; `in_` an input, as `256 56 56`; `kwargs` what it is always
    given; `seed` of the cases, which are the same every time unless given; `properties` these alone, by name.
    Raises: RvCheckError where the contract is unknown, or the class cannot be made or run in any case.
    """
    from rv_check.blocks.properties import by_name

    need("torch")
    known = [STRUCTURE, "numbers", *by_name()]
    for one in properties or ():
        if one not in known:
            raise unknown("property", one, known)
    block = BlockCheck(cls, as_, call, in_, kwargs=kwargs, seed=seed, examples=examples, name=name)
    wanted = [STRUCTURE if one == "numbers" else one for one in properties or block.checks]
    for one in dict.fromkeys(one for one in wanted if one in by_name() or one in block.checks):
        for finding in block.findings(one):
            seen(finding)
    return block.report


STRUCTURE = "structure"  # the check that a class is a block with a body: structure, and what follows from its map


class BlockCheck:
    """A class made ready to be held to its contract, check by check. Arguments and errors: see `check_block`."""

    def __init__(
        self,
        cls: Any,
        as_: str | None = None,
        call: str | None = None,
        in_: str | None = None,
        *,
        kwargs: Mapping[str, Any] | None = None,
        seed: int | None = None,
        examples: int = EXAMPLES,
        name: str | None = None,
    ):
        need("torch")
        from rv_check.modules.torch_state import steady

        if not callable(cls) or not _makes_modules(cls):
            what = f"the class {cls.__name__}" if isinstance(cls, type) else f"a {type(cls).__name__}"
            raise RvCheckError(
                f"{name or what} is no class of modules: {what}", expected="a torch.nn.Module, or a factory"
            )
        self.name = name or str(getattr(cls, "__name__", type(cls).__name__))
        self.seed, self.examples = seed, examples
        kwargs, x = dict(kwargs or {}), parse_size(in_) if in_ is not None else None
        with steady():
            contracts = [find_contract(as_)] if as_ is not None else [find_contract(one) for one in STANDARD]
            best = best_calls(self.name, cls, contracts, call, kwargs, x)
            if as_ is None and call is None:
                self.checked, words = settle(self.name, best, kwargs, x)
            else:
                guess = max(best, key=lambda one: (one.right, one.runs, one.made))
                self.checked, words = guess.checked, f"contract: {guess.checked.contract.name}"
        how = self.checked.how.text + ("" if call else " (inferred; --call ARGUMENTS)")
        self.notes = [*words.splitlines(), f"call: {how}"]
        if self.checked.unit != UNITS[0] and x is None:
            self.notes.append(f"widths: from {self.checked.unit} on, since with fewer it cannot be made")
        self.notes.append(f"cases: {self.checked.drawn}" + (f"; seed {seed}" if seed is not None else ""))
        self._found: list[Finding] = []
        self._names: dict[str, str] = {}
        self._totals: Mapping[str, tuple[int, int]] = {}

    @property
    def checks(self) -> list[str]:
        """What the contract asks for: the structure of a block with a body, then properties."""
        return checks_of_block(self.checked.contract)

    def findings(self, check: str) -> list[Finding]:
        """What one check finds."""
        from rv_check.blocks.properties import by_name
        from rv_check.modules.torch_state import steady

        with steady():
            if check == STRUCTURE:
                found, self._names, self._totals = _check_body(self.checked)
            else:
                found = [_check_property(self.checked, by_name()[check], self.seed, self.examples, self._found)]
        self._found += found
        return found

    @property
    def report(self) -> Report:
        """All that was found so far."""
        contract = self.checked.contract.name
        return Report(self.name, contract, tuple(self._found), self._names, tuple(self.notes), self._totals)


def checks_of_block(contract: Contract) -> list[str]:
    """The names of the checks of a contract."""
    return [*([STRUCTURE] if contract.has_body else []), *contract.properties]


def _makes_modules(cls: Any) -> bool:
    import torch

    return not isinstance(cls, torch.nn.Module) and (not isinstance(cls, type) or issubclass(cls, torch.nn.Module))


def _check_body(checked: CheckedBlock) -> tuple[list[Finding], dict[str, str], Mapping[str, tuple[int, int]]]:
    """Structure and numbers in the cases that matter; of the first that fails, every difference."""
    found: dict[str, Finding] = {}
    names: dict[str, str] = {}
    totals: Mapping[str, tuple[int, int]] = {}
    cases = checked.probes()
    for case in cases:
        arch = block_arch(checked.contract.block, case.values, case.x)
        try:
            of_case, names, totals = of_body(checked, case, "numbers")
        except CannotRun:
            raise
        except RvCheckError as error:
            like = Finding(checked.name, "structure", "structure", "failed", "", place=arch.entry.place)
            return [replace(f, message=f"{f.message}\ncase: {case}") for f in failures(error, like)], {}, {}
        failed = [finding for finding in of_case if finding.status not in ("passed", "blocked")]
        blocked = [finding for finding in of_case if finding.status == "blocked"]
        if failed:
            told = [replace(f, subject=checked.name, message=f"{f.message}\ncase: {case}") for f in failed]
            return [*told, *_once(checked.name, blocked, "numbers")], names, totals
        for finding in of_case:
            largest = max(finding.difference or 0.0, found[finding.check].difference or 0.0) if (
                finding.check in found and finding.difference is not None) else finding.difference  # fmt: skip
            found[finding.check] = replace(finding, subject=checked.name, difference=largest)
    where = "; ".join(map(str, cases))
    one = f"{len(cases)} case{'s' * (len(cases) != 1)}: {where}"
    told = [replace(f, message=f"{f.message.partition(' at ')[0]}{_largest(f)}, {one}") for f in found.values()]
    return told, names, totals


def _largest(finding: Finding) -> str:
    if finding.difference is None:
        return ""
    return f", largest relative difference {finding.difference:.2g}, tolerance {finding.tolerance:g}"


def _once(name: str, findings: Sequence[Finding], check: str) -> list[Finding]:
    """Many that are blocked by one cause, as one."""
    return [replace(findings[0], subject=name, check=check, message="blocked by structure")] if findings else []


def _check_property(
    checked: CheckedBlock, one: Property, seed: int | None, examples: int, before: Sequence[Finding]
) -> Finding:
    """A property over drawn cases. The smallest that fails is told."""
    from rv_check.blocks.trial import Fails, NoSum, Unfit

    def finding(status: Any, message: str, **details: Any) -> Finding:
        place = checked.contract.block.place
        return Finding(checked.name, one.name, one.level, status, message, place=place, **details)

    def failed(one: _Failed, again: str) -> Finding:
        message = f"{one.fails}\ncase: {one.case} (the smallest found; {again})"
        return finding("failed", message, found=one.fails.found, expected=one.fails.expected)

    said: dict[str, str] = {}  # words by case, of those that held
    unfit: dict[str, str] = {}
    all_failed: list[_Failed] = []

    def holds(case: BlockCase) -> None:
        key, trial = str(case), checked.trial(case)
        if key in said:
            return
        if one.name != "shape" and not trial.runs:
            unfit[key] = "shape"
            return
        try:
            said[key] = guarded_property(one, trial) or ""
        except Unfit:
            unfit.setdefault(key, "")
        except NoSum:
            unfit[key] = "residual"
        except Fails as fails:
            all_failed.append(_Failed(case, fails))
            raise all_failed[-1] from fails

    try:
        _over_cases(checked, holds, seed, min(examples, one.examples or examples))
    except CannotRun as error:
        return finding("skipped", "could not run", reason=str(error))
    except _NotAgain as error:
        if not all_failed:
            return finding("skipped", "could not run", reason=f"not each time: {first_line(error)}")
        return failed(min(all_failed, key=lambda one: one.values), "it does not fail each time")
    except _Failed as error:
        return failed(error, "the same cases every time" if seed is None else f"seed {seed}")
    if not said:
        why = next((why for why in unfit.values() if why), "")
        if why and any(other.check == why and other.status == "failed" for other in before):
            return finding("blocked", f"blocked by {why}")
        if why:
            return finding("failed", f"it cannot be asked of a block without {why}: see the property {why}")
        return finding("skipped", "says nothing here", reason="no case that was drawn can tell")
    last = ([str(case) for case in checked.probes() if str(case) in said] or list(said))[-1]
    cases = f"{len(said)} case{'s' * (len(said) != 1)}"
    return finding("passed", f"{said[last]} ({last}; {cases})" if said[last] else f"{one.words}: {cases}")


class _Failed(Exception):
    """A property failed in this case."""

    def __init__(self, case: BlockCase, fails: Any):
        super().__init__(str(fails))
        self.case, self.fails = case, fails
        self.values = case.batch * prod(case.x)


class _NotAgain(Exception):
    """What was raised in a case was not raised when that case was run again."""


def guarded_property(one: Property, trial: Trial) -> str | None:
    """What the property says. Raises: Fails, also for whatever the block raises; Unfit, NoSum, CannotRun."""
    import warnings

    from rv_check.blocks.trial import Fails, NoSum, Unfit

    kept: list[BaseException] = []

    def run() -> str | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return one.function(trial)
        except (Fails, Unfit, NoSum) as error:
            kept.append(error)
            return None

    try:
        words = run_theirs("it raises", run)
    except (CannotRun, SpecError):
        raise
    except RvCheckError as error:
        raise Fails(error.problems[0].words, expected=error.expected) from error
    if kept:
        raise kept[0]
    return words


def _over_cases(checked: CheckedBlock, holds: Callable[[BlockCase], None], seed: int | None, examples: int) -> None:
    """`holds` on the cases that matter, then on drawn ones; what it raises is of the smallest case found."""
    hypothesis = need("hypothesis", "blocks")
    known = checked.probes()
    settings = hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=hypothesis.Verbosity.quiet,
    )
    given: Any = hypothesis.given
    drawn: Any = hypothesis.seed(EVERY_TIME if seed is None else seed)(settings(given(checked.strategy())(holds)))
    with _elsewhere():
        try:
            drawn()
        except hypothesis.errors.Flaky as error:
            raise _NotAgain(str(error)) from error
    for case in known:
        holds(case)


@contextmanager
def _elsewhere() -> Iterator[None]:
    """Within, what hypothesis writes (constants that it finds in modules) is not left in the current folder."""
    from hypothesis import configuration

    before = getattr(configuration, "__hypothesis_home_directory", None)
    with TemporaryDirectory() as folder:
        configuration.set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            configuration.set_hypothesis_home_dir(before)
