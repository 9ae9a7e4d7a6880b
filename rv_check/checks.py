"""The checks: each a small function from one arch to findings. To add one, write it here and add a row to CHECKS.

A check names its level and says for which archs it makes a claim at all. What several checks need, such as the built
models, is made once for an arch; where that fails, the first check to need it fails and the others are blocked.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

from rv_check import analyses, axes
from rv_check.arch import Arch, small_inputs
from rv_check.deviations import Deviation, first_match, settle
from rv_check.errors import CannotRun, Place, RvCheckError, SpecError
from rv_check.findings import LEVELS, Finding, Level, Report, Status, failures, up_to
from rv_check.foreign import guarded
from rv_check.ops import Shape
from rv_check.printed import HOLDS, TRUNCATED, WRONG, Printed
from rv_check.reference import applies, build_reference, metadata_source, need, need_device
from rv_check.spec import Published
from rv_check.text import shown_shape

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rv_check.counts import Operation
    from rv_check.explain import Told
    from rv_check.match import Slot
    from rv_check.numbers import Difference
    from rv_check.structure import Structure

T = TypeVar("T")


Outcome = Iterator[Finding]


class Blocked(Exception):
    """What a check builds on has failed, and another check has said so."""


class Mismatch(RvCheckError):
    """A check does not hold, with what was found and what was expected."""

    def __init__(self, message: str, found: str, expected: str):
        super().__init__(message, expected=expected)
        self.found = found


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
        from rv_check.observe import Subject
        from rv_check.structure import compare, of_arch

        arch = self.expanded()
        return compare(Subject(self.pair().expected), arch.input, input_sizes(arch), of_arch(arch))

    def initial(self, check: Check) -> Outcome:
        """From one seed, the spec's model and the reference start with equal tensors, bit for bit."""
        import torch

        from rv_check.initial import statistics

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
        from rv_check.model import build
        from rv_check.numbers import seeded

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
        from rv_check.numbers import generic_point, transfer

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
    from rv_check.numbers import steady

    return steady()


# Level spec: is the spec true to itself and to what is published? Static, but for torchvision's metadata.


def shapes(run: Run, check: Check) -> Outcome:
    """The spec expands: every shape fits, every `shape:` line and every `in:` and `out:` holds."""
    arch = run.expanded()
    layers = arch.tree.root.layers
    if arch.tree.unchecked:
        reason = f"they hold at {shown_shape(arch.declared_input)}, and the input is {shown_shape(arch.input)}"
        yield check.one(run, "skipped", f"{arch.tree.unchecked} shape: lines were not checked", reason=reason)
    yield check.finding(run, True, f"{layers:,} layers fit at {shown_shape(arch.input)}")


def contract(run: Run, check: Check) -> Outcome:
    """What `contract:` says of the named steps."""
    arch = run.expanded()
    for stated in arch.entry.contract:
        row = arch.step(stated.step)
        assert row is not None, "expanding the arch has seen to it"
        if stated.shape is not None:
            ok = len(stated.shape) == len(row.y) and all(
                w is None or w == n for w, n in zip(stated.shape, row.y, strict=True)
            )
            wanted = " ".join("_" if n is None else str(n) for n in stated.shape)
            yield _stated(run, check, f"shape of {stated.step}", ok, shown_shape(row.y), wanted, stated.places["shape"])
        for name, value in (("params", row.params), ("macs", row.macs)):
            wanted_number = getattr(stated, name)
            if wanted_number is not None:
                what = f"{name} of {stated.step}"
                ok = wanted_number == value
                yield _stated(run, check, what, ok, f"{value:,}", f"{wanted_number:,}", stated.places[name])
        field = stated.receptive_field
        if field is not None:
            along = (row.receptive_field.rows, row.receptive_field.columns)
            ok = (field.rows, field.columns) == tuple((axis.size, axis.stride, axis.padding) for axis in along)
            wanted = str(analyses.ReceptiveField(axes.Axis(*field.rows), axes.Axis(*field.columns)))
            place = stated.places["receptive_field"]
            what = f"receptive field of {stated.step}"
            yield _stated(run, check, what, ok, str(row.receptive_field), wanted, place)


def _stated(run: Run, check: Check, what: str, ok: bool, found: str, wanted: str, place: Place) -> Finding:
    return check.finding(run, ok, f"{what} is {found}", found=found, expected=wanted, place=place)


UNITS = {"params": 1, "mparams": 10**6, "macs": 1, "gmacs": 10**9, "depth": 1, "receptive_field": 1}
QUOTED = ("top1", "top5", "top1_error", "top5_error")  # measured by somebody on a data set: quoted, not derived


def published(metrics: tuple[str, ...]) -> Callable[[Run, Check], Outcome]:
    """The check that the printed numbers of these metrics hold, to the digits printed."""

    def check_published(run: Run, check: Check) -> Outcome:
        arch = run.expanded()
        for entry in arch.entry.published:
            if entry.metric in metrics:
                ok, verdict, found = hold(entry, value_of(arch, entry))
                yield check.finding(
                    run,
                    ok,
                    f"{entry.metric} {entry.printed} {verdict}",
                    found=found,
                    expected=_expected(entry),
                    source=entry.source,
                    place=entry.place,
                )

    return check_published


def _expected(entry: Published) -> str:
    how = f" within {entry.within}%" if entry.within is not None else f" ({entry.verdict})" if entry.verdict else ""
    return entry.printed + how


def value_of(arch: Arch, entry: Published) -> int | str:
    """What the spec gives for a published metric: an exact integer, or a receptive field in the form printed."""
    match entry.metric:
        case "params" | "mparams":
            return arch.params
        case "macs" | "gmacs":
            return arch.macs
        case "depth":
            return arch.depth
    field = arch.receptive_field
    if "/" in entry.printed or field.rows.size != field.columns.size:
        return str(field)
    return field.rows.size


def hold(entry: Published, value: int | str) -> tuple[bool, str, str]:
    """Whether a printed number holds of a value: (as declared?, verdict in words, the value in the unit printed).

    It holds when it is the value rounded to the digits printed; a printed 3.8 stands for 3.75 to 3.85. A declared
    verdict must be the true one: `truncated` when only cutting off the digits gives it, `wrong` when neither does.
    """
    declared = {"truncated": TRUNCATED, "wrong": WRONG, None: HOLDS}[entry.verdict]
    printed = printed_number(entry)
    if isinstance(value, str) or printed is None:
        verdict = HOLDS if " ".join(entry.printed.split()) == str(value) else WRONG
        return verdict == declared, verdict, str(value)
    exact = Decimal(value) / UNITS[entry.metric]
    verdict = Printed(printed).verdict(Fraction(exact))
    shown = f"{exact:,}"
    if entry.within is not None:
        off = f"is {100 * (exact - printed) / printed:+.2f}% off" if printed else verdict
        return 100 * abs(exact - printed) <= entry.within * printed, off, shown
    return verdict == declared, verdict, shown


def printed_number(entry: Published) -> Decimal | None:
    """What is printed as a number, or None where it is a receptive field with its stride and padding."""
    text = entry.printed.replace("_", "").replace(",", "")
    return None if "/" in text else Decimal(text)


def metadata(run: Run, check: Check) -> Outcome:
    """Published numbers whose source is torchvision's metadata are what the installed metadata says.

    So is the declared input: the size to which the weights' own preprocessing crops.
    """
    arch = run.arch
    sizes: dict[str, Any] = {}
    for entry in arch.entry.published:
        source = metadata_source(entry.source)
        if source is None:
            continue
        value = Decimal(str(source.look_up()))
        yield check.finding(
            run,
            printed_number(entry) == value,
            f"{entry.metric} {entry.printed}",
            found=entry.printed,
            expected=str(value),
            source=entry.source,
            place=entry.place,
        )
        sizes[f"{source.weights}.{source.member}"] = source.entry()
    for name, weights in sizes.items():
        crop = weights.transforms().crop_size
        side = crop[0] if isinstance(crop, list | tuple) else crop
        found, expected = shown_shape(arch.declared_input[1:]), f"{side} {side}"
        where = f"torchvision {name}.transforms().crop_size"
        yield check.finding(run, found == expected, f"input is {found}", found=found, expected=expected, source=where)


# Level structure: does it do, operation by operation, what the spec says?


def structure(run: Run, check: Check) -> Outcome:
    """The op graph, observed at several sizes, in eval and train mode, is the spec's; else every mistake once."""
    found = run.structure()
    at = ", ".join(map(shown_shape, found.sizes)) or shown_shape(found.input)
    if found.verdict in ("same", "equivalent"):
        how = f", written otherwise: {'; '.join(found.rules)}" if found.rules else ""
        if found.measured:
            titles = "; ".join(told.title for told in found.measured[:3])
            how += f"; by no rule, but measured to be equal in eval and train mode: {titles}"
        real = f" (on real tensors, since on meta it raises {found.real})" if found.real else ""
        message = f"the same graph of {found.operations} operations at {at}, in eval and train mode{real}{how}"
        yield check.finding(run, True, message)
        return
    if found.until:
        message = f"it is {run.name} up to {found.until}: check it with --until {found.until}, until={found.until!r}"
        place = run.place_of(found.until)
        yield check.finding(run, False, message, kind="until", step=found.until, place=place)
    for told in found.told:
        yield of_told(run, check, told)
    if found.extra_outputs:
        message = f"it returns more than the output{' ' + found.where if found.where else ''}"
        outputs = ", ".join(found.extra_outputs)
        yield check.finding(run, False, message, found=outputs, expected="nothing else", kind="outputs")
    if found.alone:
        yield check.finding(run, False, found.alone, kind="batch", step=found.last)
    if found.elsewhere:
        message = f"it is {run.name} at {at} only: {found.elsewhere}"
        step = found.elsewhere_step or None
        yield check.finding(run, False, message, kind="this input only", step=step, place=run.place_of(step or ""))


def of_told(run: Run, check: Check, told: Told) -> Finding:
    """A structural difference as a finding."""
    return check.finding(
        run,
        False,
        "\n".join([told.title, *told.lines]),
        found=told.found,
        expected=told.expected,
        place=told.place or run.place,
        kind=told.kind,
        count=told.count,
        step=told.step,
        module=told.path,
        call=told.call,
    )


# Level numbers: does the model of the spec compute what the reference computes?


def trainable(run: Run, check: Check) -> Outcome:
    """Every parameter takes part in training."""
    frozen, count = run.frozen()
    ok = not frozen
    message = f"all {count} parameters are trainable" if ok else f"{len(frozen)} of {count} parameters are frozen"
    details = {} if ok else {"found": f"requires_grad=False of {_few(frozen)}", "expected": "True of all"}
    yield check.finding(run, ok, message, **details)


def state_dict(run: Run, check: Check) -> Outcome:
    """Names, order and shapes of parameters and buffers are the expected ones, and each loads the other's strictly.

    A module may have other names than the spec: then each parameter that is mapped to one of these is there.
    """
    pair = run.matched()
    if pair.map is not None and shapes_of(pair.expected).keys() != shapes_of(pair.found).keys():
        yield from mapped(run, check, pair, pair.map)
        return
    _loads(pair.expected, pair.found)
    _loads(pair.found, pair.expected)
    n = len(pair.expected.state_dict())
    yield check.finding(run, True, f"{n} parameters and buffers: names and shapes; strict loading both ways")


def mapped(run: Run, check: Check, pair: Pair, slots: Mapping[str, Slot]) -> Outcome:
    """Every parameter and buffer of the spec has its own in the module, and the module has no others."""
    wanted, given = shapes_of(pair.expected), shapes_of(pair.found)
    lost = [name for name in wanted if name not in slots]
    counters = [name for name in lost if name.endswith("num_batches_tracked")]
    more = [name for name in given if name not in {slot.name for slot in slots.values()}]
    if len(lost) > len(counters) or more:
        raise Mismatch("parameters and buffers without a counterpart", _few(more), _few(lost))
    without = f"; {len(counters)} counts of batches are not kept" if counters else ""
    yield check.finding(run, True, f"{len(wanted) - len(lost)} parameters and buffers, by other names{without}")


def hold_states(expected: nn.Module, found: nn.Module, in_order: bool = True) -> None:
    """See that two modules have the same state. Raises: Mismatch, with the first name or shape that differs."""
    wanted, given = shapes_of(expected), shapes_of(found)
    missing = [name for name in wanted if name not in given]
    extra = [name for name in given if name not in wanted]
    if missing or extra:
        counts = [f"{len(names)} {what}" for names, what in ((missing, "missing"), (extra, "not expected")) if names]
        raise Mismatch(f"names of parameters and buffers: {', '.join(counts)}", _few(extra), _few(missing))
    for name, shape in wanted.items():
        if given[name] != shape:
            raise Mismatch(f"shape of {name}", shown_shape(given[name]), shown_shape(shape))
    if in_order and list(wanted) != list(given):
        first, instead = next((a, b) for a, b in zip(wanted, given, strict=True) if a != b)
        raise Mismatch("order of parameters and buffers", instead, first)


def shapes_of(module: nn.Module) -> dict[str, Shape]:
    """The state of a module: names, in order, with shapes; none for what is no tensor."""
    state = guarded("the state cannot be read", module.state_dict)
    return {name: tuple(getattr(value, "shape", ())) for name, value in state.items()}


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") or "none"


def _loads(module: nn.Module, other: nn.Module) -> None:
    """Load the state of another, strictly, and go back."""
    own = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    guarded("strict loading fails", lambda: module.load_state_dict(other.state_dict(), strict=True))
    module.load_state_dict(own, strict=True)


def init(run: Run, check: Check) -> Outcome:
    """What is freshly built starts as the spec says: a reference's model bit for bit, a module's by distribution."""
    yield from run.initial(check)


def logits(run: Run, check: Check) -> Outcome:
    """The outputs at the declared input, in float32 with TF32 off, batch of 2."""
    import torch

    from rv_check import numbers

    pair = run.matched().at_generic_point(torch.float32)
    x = numbers.image(run.input(), 2, torch.float32, run.device)
    what = f"eval mode at {shown_shape(run.input())}, float32"
    with torch.no_grad():
        expected, found = pair.each(what, lambda module, where: numbers.forward(module.eval(), x, where))
    yield measured(run, check, what, [numbers.compare("output", expected, found)], torch.float32)


def evaluation(run: Run, check: Check) -> Outcome:
    """Eval mode in float64: the output and the gradients of all parameters and of the input."""
    run.matched()
    for x in run.sizes():
        yield compare_runs(run, check, x, train=False)
    yield from runs_nowhere_else(run, check)


def runs_nowhere_else(run: Run, check: Check) -> Outcome:
    """A size at which only the expected module runs: VGG without its adaptive pool is VGG at 224 and nowhere else."""
    import torch

    from rv_check import numbers

    pair = run.matched().at_generic_point(torch.float64)
    pair.expected.eval()
    for x in run.sizes_without():
        try:
            with torch.no_grad():
                pair.expected(numbers.image(x, 2, torch.float64, run.device))
        except Exception:  # whatever it raises: it does not run there either, and nothing is claimed
            continue
        found, expected = "a network of other parameters, or none", f"one that runs, as {pair.names[0]} does"
        yield check.finding(run, False, f"the spec does not fit at {shown_shape(x)}", found=found, expected=expected)


def training(run: Run, check: Check) -> Outcome:
    """A train-mode step in float64: the output, gradients, and the running statistics it leaves."""
    run.matched(training=True)
    for x in run.sizes():
        yield compare_runs(run, check, x, train=True)


def input_sizes(arch: Arch) -> list[Shape]:
    """Small inputs at which the network, with the same parameters, works; none larger than declared."""
    found: list[Shape] = []
    for sizes in small_inputs(arch.declared_input):
        found += [x for x in sizes if x not in found and works(arch, x)][:1]
    return found or [arch.declared_input]


def works(arch: Arch, x: Shape) -> bool:
    """Whether an arch runs at an input with the parameters that it has at its own."""
    try:
        return arch.at(x).state == arch.at(arch.declared_input).state
    except SpecError:
        return False


def compare_runs(run: Run, check: Check, x: Shape, train: bool) -> Finding:
    """Forward and backward of the pair on one batch of 2, in float64, and the first place that differs."""
    import torch

    from rv_check import numbers

    pair = run.matched().at_generic_point(torch.float64)
    data = numbers.image(x, 2, torch.float64, run.device)
    names = numbers.shared_modules(pair.expected, pair.found)
    mode = "train" if train else "eval"
    what = f"{mode} mode at {shown_shape(x)}, float64"
    expected, found = pair.each(what, lambda module, where: numbers.run(module, data, train, names, where))
    if pair.map is not None:
        expected = numbers.limited(expected, pair.map)
        found = numbers.renamed(found, pair.map, expected)
    if not train:
        other = numbers.image(x, 2, torch.float64, run.device, seed=numbers.INPUT + 1)
        outputs = pair.each(what, lambda module, where: numbers.forward(module.eval(), other, where).detach())
        again = numbers.compare("output for another image", *outputs)
    differences = [
        replace(d, decides=d.decides or run.parts_decide) for d in numbers.differences(expected, found, train)
    ]
    if not train:
        differences.append(again)
    pair.expected.zero_grad(set_to_none=True)
    pair.found.zero_grad(set_to_none=True)
    return measured(run, check, what, differences, torch.float64)


def measured(run: Run, check: Check, what: str, differences: Sequence[Difference], dtype: torch.dtype) -> Finding:
    """Passed when every difference that decides is within the tolerance; else the first in the order of the flow."""
    from rv_check.numbers import CHANCE, INPUT, TOLERANCE, WEIGHTS

    tolerance = TOLERANCE[dtype]
    wrong = [d for d in differences if not d.within(tolerance)]
    if not any(d.decides for d in wrong):
        largest = max(d.relative for d in differences if d.decides)
        how = "bit for bit" if largest == 0 else f"largest relative difference {largest:.2g}, tolerance {tolerance:g}"
        tensors = "the output" if len(differences) == 1 else f"{len(differences)} tensors"
        return check.finding(run, True, f"{what}: {tensors}, {how}", difference=largest, tolerance=tolerance)
    first = wrong[0]
    by = f" by {first.relative:.3g}, tolerance {tolerance:g}" if isfinite(first.relative) else ""
    others = "" if len(differences) == 1 else f"; {len(wrong)} of {len(differences)} tensors differ"
    return check.finding(
        run,
        False,
        f"{what}: {first.what} differs{by}{others}\nseeds: weights {WEIGHTS}, dropout and loss {CHANCE}, input {INPUT}",
        found=first.found,
        expected=first.expected,
        difference=first.relative,
        tolerance=tolerance,
        place=run.place_of(first.module),
        step=first.module or None,
    )


def counters(run: Run, check: Check) -> Outcome:
    """Parameters and multiply-adds as fvcore and torch count them on the built model, against the spec's formulas.

    What they count besides is a convention, and is stated as one: torch counts two FLOPs a multiply-add; fvcore adds
    two per element of a batch norm and one per input element of an adaptive pool. Nothing is left to a tolerance.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from rv_check import counts
    from rv_check.model import build
    from rv_check.observe import Subject

    arch = run.expanded()
    model = guarded("the model does not build from its spec", lambda: build(arch, "meta").eval())
    parameters = sum(p.numel() for p in model.parameters())
    yield _count(run, check, "parameters of the built model", parameters, arch.params)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        guarded("the model does not run", lambda: model(torch.empty((1, *arch.input), device="meta")))
    flops = counter.get_total_flops()
    yield _count(run, check, "FLOPs by torch's counter, two per multiply-add", flops, 2 * arch.macs)
    seen = guarded("the model does not run", lambda: Subject(model).observe(arch.input, False, 1, raw=True))
    total = sum(operation.macs for operation in counts.operations(seen))
    yield _count(run, check, "multiply-adds of the operations that the built model runs", total, arch.macs)

    by_op = guarded("fvcore does not count", lambda: fvcore_counts(model, arch.input))
    expected = fvcore_convention(counts.of_arch(arch))
    for name in sorted(by_op.keys() | expected.keys()):
        yield _count(run, check, f"{name} by fvcore", by_op.get(name, 0), expected.get(name, 0))


def field(run: Run, check: Check) -> Outcome:
    """The receptive field of every stage, as gradients on the built model show it: the spec's formula."""
    from rv_check.fields import compare_fields

    arch = run.expanded()
    found = guarded("no field can be measured", lambda: compare_fields(arch))
    for step, formula, measured in found:
        message = f"receptive field of {step} by gradients: {measured}"
        ok = measured.agrees(formula)
        details = {} if ok else {"found": measured.field.in_full, "expected": formula.in_full}
        yield check.finding(run, ok, message, step=step, place=run.place_of(step), **details)


def _count(run: Run, check: Check, what: str, found: int, expected: int) -> Finding:
    ok = found == expected
    return check.finding(run, ok, f"{what}: {found:,}", found=f"{found:,}", expected=f"{expected:,}")


def fvcore_counts(model: nn.Module, x: Shape) -> dict[str, int]:
    """fvcore's count for each operator, on one image. It traces on real tensors, which the model gets here."""
    import copy
    import logging

    import torch

    logger = logging.getLogger("fvcore.nn.jit_analysis")
    before = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is built on torch.jit, which torch deprecates
        counter = need("fvcore.nn")
        real = copy.deepcopy(model).to_empty(device="cpu")
        for tensor in real.state_dict().values():
            tensor.fill_(1)
        analysis = counter.FlopCountAnalysis(real, torch.zeros((1, *x)))
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        logger.setLevel(logging.ERROR)
        try:
            return {name: int(number) for name, number in analysis.by_operator().items() if number}
        finally:
            logger.setLevel(before)


def fvcore_convention(done: Iterable[Operation]) -> dict[str, int]:
    """What fvcore's rule counts, by its own names."""
    from rv_check.counts import convention

    rule = convention("fvcore")
    total: dict[str, int] = {}
    for operation in done:
        name = rule.calls.get(operation.kind, operation.kind)
        total[name] = total.get(name, 0) + rule.of(operation)
    return {name: number for name, number in total.items() if number}


def _has(*metrics: str) -> Callable[[Arch], bool]:
    return lambda arch: arch.is_declared and any(entry.metric in metrics for entry in arch.entry.published)


def _has_metadata(arch: Arch) -> bool:
    return arch.is_declared and any(metadata_source(entry.source) for entry in arch.entry.published)


def _has_reference(arch: Arch) -> bool:
    return arch.entry.reference is not None and applies(arch) is None


CHECKS: tuple[Check, ...] = (
    Check("shapes", "spec", lambda arch: True, shapes),
    Check("contract", "spec", lambda arch: arch.is_declared and bool(arch.entry.contract), contract),
    Check("params", "spec", _has("params", "mparams"), published(("params", "mparams"))),
    Check("macs", "spec", _has("macs", "gmacs"), published(("macs", "gmacs"))),
    Check("depth", "spec", _has("depth"), published(("depth",))),
    Check("receptive_field", "spec", _has("receptive_field"), published(("receptive_field",))),
    Check("metadata", "spec", _has_metadata, metadata),
    Check("structure", "structure", _has_reference, structure),
    Check("trainable", "structure", _has_reference, trainable),
    Check("state_dict", "numbers", _has_reference, state_dict),
    Check("init", "numbers", _has_reference, init),
    Check("logits", "numbers", _has_reference, logits),
    Check("eval", "numbers", _has_reference, evaluation),
    Check("train", "numbers", _has_reference, training),
    Check("counters", "numbers", lambda arch: True, counters),
    Check("field", "numbers", lambda arch: len(arch.input) == 3, field),
)


def checks_of(arch: Arch, levels: Iterable[Level] = LEVELS) -> list[Check]:
    """The checks that make a claim about an arch, cheapest first."""
    wanted = set(levels)
    return [check for check in CHECKS if check.level in wanted and check.applies(arch)]


@dataclass(frozen=True)
class Judge:
    """What a user makes of findings, and who hears of them as they come."""

    require: Level | None = None  # a skip at this level or a cheaper one is a failure
    deviations: Sequence[Deviation] = ()
    starting: Callable[[str], None] = lambda what: None  # "resnet50::eval, 4 of 12"
    seen: Callable[[Finding], None] = lambda finding: None

    def findings(self, run: Run, checks: Sequence[Check], others: Sequence[Check] = ()) -> tuple[Finding, ...]:
        """Run the checks, cheapest first, and settle what they find. A known deviation may speak of `others`, too."""
        ids = [id_ for check in (*others, *checks) for id_ in run.ids(check)]
        found = [d.unmatched for d in self.deviations if d.speaks_of(run.name) and not d.matches(ids)]
        for finding in found:
            self.seen(finding)
        required = up_to(self.require) if self.require else ()
        for index, check in enumerate(checks, 1):
            self.starting(f"{run.name}::{check.name}, {index} of {len(checks)}")
            deviation = first_match(self.deviations, run.ids(check))
            for finding in settle(run_check(check, run), required, deviation):
                found.append(finding)
                self.seen(finding)
        return tuple(found)


def ids_of(arch: Arch, check: Check) -> list[str]:
    """What a known deviation may call a check: `arch::check`, or with its file in front."""
    id_ = f"{arch.name}::{check.name}"
    return [id_, f"{arch.entry.place.document.shown}::{id_}"]


def check_arch(arch: Arch, levels: Iterable[Level] = LEVELS, device: str = "cpu", judge: Judge | None = None) -> Report:
    """A spec against its reference and what is published."""
    levels = tuple(levels)
    findings = (judge or Judge()).findings(Run(arch, device), checks_of(arch, levels), checks_of(arch))
    compared = _has_reference(arch) and {"structure", "numbers"} & set(levels)
    reference = arch.entry.reference if compared else None
    return Report(arch.name, reference.name if reference else None, findings)
