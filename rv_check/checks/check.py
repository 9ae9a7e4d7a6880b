"""What a check is, how it is run, and what the checks of one arch share.

What several checks need, such as the built models, is made once for an arch; where that fails, the first check to need
it fails and the others are blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rv_check.archs.arch import Arch, small_inputs
from rv_check.checks.findings import Finding, Level, Status, failures
from rv_check.checks.sizes import input_sizes, works
from rv_check.checks.states import Mismatch, hold_states
from rv_check.errors import CannotRun, Place, RvCheckError
from rv_check.modules.guard import guarded
from rv_check.modules.reference import build_reference
from rv_check.ops.op import Shape
from rv_check.optional import need, need_device

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rv_check.checks.structure import Structure
    from rv_check.graphs.match import Slot

T = TypeVar("T")


Outcome = Iterator[Finding]


class Blocked(Exception):
    """What a check builds on has failed, and another check has said so."""


class Run:
    """What the checks of one arch share: models are built once, in the first check that needs them."""

    parts_decide = True  # the outputs of modules of one name must agree too, not only what the whole computes

    def __init__(self, arch: Arch, device: str = "cpu"):
        self.arch = arch
        self.name = arch.name
        self.place: Place | None = arch.entry.place
        self.device = device
        self.check = ""  # the one that is running
        self._made: dict[str, Any] = {}
        self._failed: dict[str, str] = {}

    def shared(self, what: str, make: Callable[[], T]) -> T:
        """`make()`, once. Raises: what it raises, and Blocked ever after; CannotRun each time anew."""
        if what in self._failed:
            raise Blocked(f"{what}: see {self.name}::{self._failed[what]}")
        if what not in self._made:
            try:
                self._made[what] = make()
            except (Blocked, CannotRun):
                raise
            except Exception:
                self._failed[what] = self.check
                raise
        made: T = self._made[what]
        return made

    def expanded(self) -> Arch:
        """The arch, whose tree stands."""
        self.shared("the spec", lambda: self.arch.tree)
        return self.arch

    def ground(self) -> None:
        """See that there is something to compare with. Raises: SpecError."""
        self.expanded()

    def pair(self) -> Pair:
        """The two modules that should be one network, freshly made."""
        self.ground()
        return self.shared("the models", self.make_pair)

    def matched(self, training: bool = False) -> Pair:
        """The pair, whose parameters and buffers correspond. `training`: what is to be compared is train mode."""
        pair = self.pair()
        self.shared("the state", lambda: self.hold_states(pair))
        return pair

    def input(self) -> Shape:
        """The network's own input."""
        return self.arch.input

    def place_of(self, step: str) -> Place | None:
        """The line of the spec that a step stands on; of the arch where there is none."""
        row = self.arch.step(step) if step else None
        return row.place if row else self.place

    def frozen(self) -> tuple[list[str], int]:
        """The parameters that training leaves as they are, and how many there are in all."""
        named = dict(self.pair().expected.named_parameters())
        return [name for name, parameter in named.items() if not parameter.requires_grad], len(named)

    def sizes(self) -> list[Shape]:
        """The inputs at which numbers are compared."""
        return input_sizes(self.arch)

    def sizes_without(self) -> list[Shape]:
        """Inputs at which the spec does not fit, and so no reference should."""
        return [sizes[0] for sizes in small_inputs(self.arch.declared_input) if not works(self.arch, sizes[0])]

    def ids(self, check: Check) -> list[str]:
        """What a known deviation may call a check."""
        return ids_of(self.arch, check)

    def structure(self) -> Structure:
        """How the structure of what is checked compares with what the spec expects."""
        return self.shared("the structure", self.compare_structure)

    def compare_structure(self) -> Structure:
        """Observe the reference. Raises: RvCheckError, CannotRun."""
        from rv_check.checks.structure import compare, of_arch
        from rv_check.modules.observe import Subject

        arch = self.expanded()
        return compare(Subject(self.pair().expected), arch.input, input_sizes(arch), of_arch(arch))

    def initial(self, check: Check) -> Outcome:
        """From one seed, the spec's model and the reference start with equal tensors, bit for bit."""
        import torch

        from rv_check.modules.initial import statistics

        pair = self.matched()
        if pair.state != "fresh":
            pair = self.make_pair()
        expected, found = pair.expected.state_dict(), pair.found.state_dict()
        different = [name for name in expected if not torch.equal(expected[name], found[name])]
        if not different:
            yield check.finding(self, True, f"{len(expected)} tensors start bit for bit as the reference's, seed 0")
            return
        name = different[0]
        rules = self.arch.family.init
        yield check.finding(
            self,
            False,
            f"{name} is the first of {len(different)} tensors, of {len(expected)}, that start otherwise",
            found=statistics(found[name]),
            expected=statistics(expected[name]),
            place=rules[0].place if rules else self.arch.family.place,
        )

    def make_pair(self) -> Pair:
        """The reference and the model of the spec. Raises: RvCheckError, CannotRun."""
        return Pair.of_reference(self.arch, self.device)

    def hold_states(self, pair: Pair) -> None:
        """See that the states of the pair agree, in order too. Raises: Mismatch, CannotRun."""
        hold_states(pair.expected, pair.found)


@dataclass
class Pair:
    """Two modules that should be one network, brought to the same point before each comparison."""

    expected: nn.Module
    found: nn.Module
    names: tuple[str, str] = ("the reference", "the model of the spec")
    state: str = "fresh"  # or "point": every tensor generic
    map: Mapping[str, Slot] | None = None  # where the expected parameters and buffers are; None: by the same names
    where: str = ""  # the output within what `found` returns
    own: str = ""  # and within what `expected` does

    @classmethod
    def of_reference(cls, arch: Arch, device: str) -> Pair:
        """The reference and the model of the spec, each built from the same seed."""
        from rv_check.modules.build import build
        from rv_check.modules.torch_state import seeded

        need_device(device)
        with seeded(0):
            expected = guarded("the reference does not build", lambda: build_reference(arch).to(device))
        with seeded(0):
            found = guarded("the model does not build from its spec", lambda: build(arch).to(device))
        return cls(expected, found)

    def at_generic_point(self, dtype: torch.dtype) -> Pair:
        """Both with the same random parameters and buffers, in `dtype`. Raises: RvCheckError."""
        guarded("the state does not load", lambda: self._to_generic_point(dtype))
        return self

    def each(self, what: str, action: Callable[[nn.Module, str], T]) -> tuple[T, T]:
        """What running the one and the other gives, the output being at the place that `action` is told.

        Raises: RvCheckError, which says which does not run.
        """
        first = guarded(f"{what}: {self.names[0]} does not run", lambda: action(self.expected, self.own))
        return first, guarded(f"{what}: {self.names[1]} does not run", lambda: action(self.found, self.where))

    def _to_generic_point(self, dtype: torch.dtype) -> None:
        from rv_check.modules.generic_point import generic_point, transfer

        if self.state != "point":
            self.expected.float()
            self.found.float()
            generic_point(self.expected)
            if self.map is None:
                self.found.load_state_dict(self.expected.state_dict())
            else:
                transfer(self.expected, self.found, self.map)
            self.state = "point"
        self.expected.to(dtype)
        self.found.to(dtype)


@dataclass(frozen=True)
class Check:
    """A check: its name, its level, for which archs it makes a claim, and what it does."""

    name: str
    level: Level
    applies: Callable[[Arch], bool]
    function: Callable[[Run, Check], Outcome]

    def finding(self, run: Run, ok: bool, message: str, **details: Any) -> Finding:
        """Passed or failed; at the arch's own line unless `place` says better."""
        return self.one(run, "passed" if ok else "failed", message, **details)

    def one(self, run: Run, status: Status, message: str, **details: Any) -> Finding:
        """A finding of this check."""
        details.setdefault("place", run.place)
        return Finding(run.name, self.name, self.level, status, message, **details)


def run_check(check: Check, run: Run) -> list[Finding]:
    """The findings of one check, at least one: what it found, and how it ended. Raises: what is a bug of rv_check."""
    run.check = check.name
    found: list[Finding] = []
    try:
        with _surroundings(check):
            for finding in check.function(run, check):
                found.append(finding)
    except Blocked as blocked:
        found.append(check.one(run, "blocked", f"blocked by {blocked}"))
    except CannotRun as error:
        found.append(check.one(run, "skipped", "could not run", reason=str(error)))
    except RvCheckError as error:
        seen = error.found if isinstance(error, Mismatch) else None
        found += failures(error, check.finding(run, False, "", found=seen))
    assert found, f"{check.name} made no finding"
    return found


def _surroundings(check: Check) -> AbstractContextManager[None]:
    """Torch as it is out of the box, for the checks that need it. Raises: CannotRun where it is not there."""
    if check.level == "spec":
        return nullcontext()
    need("torch")
    from rv_check.modules.torch_state import steady

    return steady()


def ids_of(arch: Arch, check: Check) -> list[str]:
    """What a known deviation may call a check: `arch::check`, or with its file in front."""
    id_ = f"{arch.name}::{check.name}"
    return [id_, f"{arch.entry.place.document.shown}::{id_}"]
