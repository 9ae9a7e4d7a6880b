"""The checks: each a small function from one arch to findings. To add one, write it here and add a row to CHECKS.

A check names its level and says for which archs it makes a claim at all. What several checks need, such as the built
models, is made once for an arch; where that fails, the first check to need it fails and the others are blocked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from math import prod
from typing import TYPE_CHECKING, Any

from rv_check import analyses
from rv_check.arch import Arch
from rv_check.findings import LEVELS, Finding, Level, Report, required
from rv_check.ops import Shape
from rv_check.problems import Place, RvCheckError, SpecError
from rv_check.reference import MissingDependency, applies, build_reference, metadata_source, need
from rv_check.spec import Published
from rv_check.tree import Layer, Node

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rv_check.numbers import Difference


class Blocked(Exception):
    """What a check builds on has failed, and another check has said so."""


class Run:
    """What the checks of one arch share: models are built once, in the first check that needs them."""

    def __init__(self, arch: Arch, device: str = "cpu"):
        self.arch = arch
        self.device = device
        self._made: dict[str, Any] = {}
        self._failed: dict[str, str] = {}
        self._pair: Pair | None = None
        self.check = ""  # the one that is running

    def shared(self, what: str, make: Callable[[], Any]) -> Any:
        """`make()`, once. Raises: what it raises, and Blocked ever after."""
        if what in self._failed:
            raise Blocked(f"{what}: see {self.arch.name}::{self._failed[what]}")
        if what not in self._made:
            try:
                self._made[what] = make()
            except MissingDependency:
                raise
            except Exception:
                self._failed[what] = self.check
                raise
        return self._made[what]

    def expanded(self) -> Arch:
        """The arch, whose tree stands."""
        self.shared("the spec", lambda: self.arch.tree)
        return self.arch

    def pair(self) -> Pair:
        """The reference and the model built from the spec."""
        self.expanded()
        return self.shared("the models", lambda: Pair.of_reference(self.arch, self.device))  # type: ignore[no-any-return]

    def release(self) -> None:
        """Forget the models."""
        self._made.pop("the models", None)


@dataclass
class Pair:
    """Two modules that should be one network, brought to the same point before each comparison."""

    expected: nn.Module
    found: nn.Module
    device: str
    state: str = "fresh"  # fresh, point (every tensor generic), or used (a training step has moved the buffers)

    @classmethod
    def of_reference(cls, arch: Arch, device: str) -> Pair:
        """The reference and the model of the spec, each built from the same seed."""
        from rv_check.model import build
        from rv_check.numbers import seeded

        with seeded(0):
            expected = guarded("the reference does not build", lambda: build_reference(arch))
        with seeded(0):
            found = guarded("the model does not build from its spec", lambda: build(arch))
        return cls(expected.to(device), found.to(device), device)

    def at_generic_point(self, dtype: torch.dtype) -> Pair:
        """Both with the same random parameters and buffers, in `dtype`. Raises: RvCheckError if names differ."""
        from rv_check.numbers import generic_point

        if self.state != "point":
            self.expected.float()
            self.found.float()
            generic_point(self.expected)
            guarded("the state does not load", lambda: self.found.load_state_dict(self.expected.state_dict()))
            self.state = "point"
        self.expected.to(dtype)
        self.found.to(dtype)
        return self


def guarded(what: str, action: Callable[[], Any]) -> Any:
    """`action()`; an exception of code that is not ours becomes an RvCheckError that says what was tried."""
    try:
        return action()
    except RvCheckError:
        raise
    except Exception as error:
        raise RvCheckError(f"{what}: {type(error).__name__}: {error}") from error


Outcome = Iterator[Finding]


@dataclass(frozen=True)
class Check:
    """A check: its name, its level, for which archs it makes a claim, and what it does."""

    name: str
    level: Level
    applies: Callable[[Arch], bool]
    function: Callable[[Run, Check], Outcome]

    def finding(self, run: Run, ok: bool, message: str, **details: Any) -> Finding:
        """Passed or failed."""
        return Finding(run.arch.name, self.name, self.level, "passed" if ok else "failed", message, **details)

    def skip(self, run: Run, message: str, reason: str) -> Finding:
        """Could not run."""
        return Finding(run.arch.name, self.name, self.level, "skipped", message, reason=reason)


def run_check(check: Check, run: Run) -> list[Finding]:
    """The findings of one check, at least one. Raises nothing but what is a bug of rv_check."""
    run.check = check.name
    place = run.arch.entry.place

    def one(status: Any, message: str, **details: Any) -> list[Finding]:
        return [Finding(run.arch.name, check.name, check.level, status, message, **details)]

    try:
        found = list(check.function(run, check))
    except Blocked as blocked:
        return one("blocked", f"blocked by {blocked}")
    except MissingDependency as error:
        return one("skipped", "could not run", reason=str(error))
    except SpecError as error:
        return one("failed", f"the spec does not hold\n{error}", place=error.problems[0].place or place)
    except RvCheckError as error:
        return one("failed", str(error), place=place)
    assert found, f"{check.name} made no finding"
    return found


# Level spec: is the spec true to itself and to what is published? Static, but for torchvision's metadata.


def shapes(run: Run, check: Check) -> Outcome:
    """The spec expands: every shape fits, every `shape:` line and every `in:` and `out:` holds."""
    arch = run.expanded()
    layers = arch.tree.root.layers
    if arch.tree.unchecked:
        reason = f"they hold at {_shape(arch.declared_input)}, and the input is {_shape(arch.input)}"
        yield check.skip(run, f"{arch.tree.unchecked} shape: lines were not checked", reason)
    yield check.finding(run, True, f"{layers:,} layers fit at {_shape(arch.input)}")


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
            yield _stated(run, check, f"shape of {stated.step}", ok, _shape(row.y), wanted, stated.places["shape"])
        for name, value in (("params", row.params), ("macs", row.macs)):
            wanted_number = getattr(stated, name)
            if wanted_number is not None:
                what = f"{name} of {stated.step}"
                ok = wanted_number == value
                yield _stated(run, check, what, ok, f"{value:,}", f"{wanted_number:,}", stated.places[name])
        field = stated.receptive_field
        if field is not None:
            ok = (field.rows, field.columns) == (row.receptive_field.rows, row.receptive_field.columns)
            wanted = str(analyses.ReceptiveField(analyses.Axis(*field.rows), analyses.Axis(*field.columns)))
            place = stated.places["receptive_field"]
            what = f"receptive field of {stated.step}"
            yield _stated(run, check, what, ok, str(row.receptive_field), wanted, place)


def _shape(x: Iterable[int]) -> str:
    return " ".join(map(str, x))


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
    if isinstance(value, str):
        holds = " ".join(entry.printed.split()) == value
        wanted = entry.verdict == "wrong"
        return holds != wanted, "holds" if holds else "is wrong", value
    printed = Decimal(entry.printed.replace("_", "").replace(",", ""))
    exact = Decimal(value) / UNITS[entry.metric]
    last_digit = Decimal(1).scaleb(int(printed.as_tuple().exponent))
    rounds = 2 * abs(printed - exact) <= last_digit
    truncates = printed <= exact < printed + last_digit
    verdict = "holds" if rounds else "holds only under truncation" if truncates else "is wrong"
    shown = f"{exact:,}"
    if entry.within is not None:
        off = 100 * (exact - printed) / printed
        return abs(off) <= entry.within, f"is {off:+.2f}% off", shown
    declared = {"truncated": "holds only under truncation", "wrong": "is wrong", None: "holds"}[entry.verdict]
    return verdict == declared, verdict, shown


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
        printed = Decimal(entry.printed.replace("_", "").replace(",", ""))
        yield check.finding(
            run,
            printed == value,
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
        ok = arch.declared_input[1:] == (side, side)
        found, expected = _shape(arch.declared_input[1:]), f"{side} {side}"
        yield check.finding(
            run,
            ok,
            f"input is {found}",
            found=found,
            expected=expected,
            source=f"torchvision {name}.transforms().crop_size",
            place=arch.entry.place,
        )


# Level numbers: does the model of the spec compute what the reference computes?


def state_dict(run: Run, check: Check) -> Outcome:
    """Names, order and shapes of parameters and buffers are the reference's, and each loads the other's strictly."""
    pair = run.pair()
    yield same_state(run, check, pair, "the reference")


def same_state(run: Run, check: Check, pair: Pair, whose: str) -> Finding:
    """Whether the states of a pair agree, with the first name or shape that differs."""
    expected = {name: tuple(t.shape) for name, t in pair.expected.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in pair.found.state_dict().items()}
    if list(expected.items()) != list(found.items()):
        return check.finding(run, False, **_state_difference(expected, found))
    _load(pair.found, pair.expected)
    _load(pair.expected, pair.found)
    pair.state = "loaded"
    return check.finding(
        run, True, f"{len(expected)} parameters and buffers: names, order, shapes of {whose}; strict loading both ways"
    )


def _load(into: nn.Module, from_: nn.Module) -> None:
    guarded("strict loading fails", lambda: into.load_state_dict(from_.state_dict(), strict=True))


def _state_difference(expected: dict[str, Shape], found: dict[str, Shape]) -> dict[str, Any]:
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if missing or extra:
        parts = [f"no {missing[0]} ({len(missing)} missing)"] if missing else []
        parts += [f"{extra[0]} ({len(extra)} more than expected)"] if extra else []
        return {"message": "names differ: " + "; ".join(parts), "found": _few(extra), "expected": _few(missing)}
    for name, shape in expected.items():
        if found[name] != shape:
            return {"message": f"shape of {name}", "found": str(list(found[name])), "expected": str(list(shape))}
    first = next((a, b) for a, b in zip(expected, found, strict=True) if a != b)
    return {"message": "the order differs", "found": first[1], "expected": first[0]}


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") or "none"


def init(run: Run, check: Check) -> Outcome:
    """From one seed, the spec's model and the reference start with equal tensors, bit for bit."""
    import torch

    pair = run.pair()
    if pair.state != "fresh":
        pair = Pair.of_reference(run.arch, run.device)
    expected, found = pair.expected.state_dict(), pair.found.state_dict()
    if expected.keys() != found.keys():
        yield check.finding(run, False, **_state_difference(_shapes(expected), _shapes(found)))
        return
    different = [name for name in expected if not torch.equal(expected[name], found[name])]
    if different:
        name = different[0]
        yield check.finding(
            run,
            False,
            f"{name} starts otherwise ({len(different)} of {len(expected)} tensors differ)",
            found=_statistics(found[name]),
            expected=_statistics(expected[name]),
            place=run.arch.family.init[0].place if run.arch.family.init else run.arch.family.place,
        )
    else:
        yield check.finding(run, True, f"{len(expected)} tensors start bit for bit as the reference's, seed 0")


def _shapes(state: dict[str, torch.Tensor]) -> dict[str, Shape]:
    return {name: tuple(t.shape) for name, t in state.items()}


def _statistics(tensor: torch.Tensor) -> str:
    t = tensor.double()
    spread = float(t.std()) if t.numel() > 1 else 0.0
    return f"mean {float(t.mean()):.4g}, standard deviation {spread:.4g}"


def logits(run: Run, check: Check) -> Outcome:
    """The outputs at the declared input, in float32 with TF32 off, batch of 2."""
    import torch

    from rv_check.numbers import TOLERANCE, compare, exact_float32, image

    pair = run.pair().at_generic_point(torch.float32)
    pair.expected.eval()
    pair.found.eval()
    x = image(run.arch.input, 2, torch.float32, torch.device(run.device))
    with torch.no_grad(), exact_float32():
        expected = guarded("the reference does not run", lambda: pair.expected(x))
        found = guarded("the model does not run", lambda: pair.found(x))
    difference = compare("logits", expected, found)
    what = f"logits at {_shape(run.arch.input)}, float32"
    yield measured(run, check, what, [difference], TOLERANCE[torch.float32])


def evaluation(run: Run, check: Check) -> Outcome:
    """Eval mode in float64: every module's output, the logits, and the gradients of all parameters and of the input."""
    for x in test_sizes(run.arch):
        yield compare_runs(run, check, run.pair(), x, train=False)


def training(run: Run, check: Check) -> Outcome:
    """A train-mode step in float64: outputs, gradients, and the running statistics it leaves."""
    for x in test_sizes(run.arch):
        yield compare_runs(run, check, run.pair(), x, train=True)


def test_sizes(arch: Arch) -> list[Shape]:
    """A small and an odd input at which the network works, no larger than the declared one."""
    channels, *declared = arch.declared_input
    found = []
    for candidates in ((64, 96, 128, 160), (75, 97, 129, 161)):
        for side in candidates:
            if side <= min(declared) and _works(replace(arch, input=(channels, side, side))):
                found.append((channels, side, side))
                break
    return found or [arch.declared_input]


def _works(arch: Arch) -> bool:
    try:
        return bool(arch.tree)
    except SpecError:
        return False


def compare_runs(run: Run, check: Check, pair: Pair, x: Shape, train: bool) -> Finding:
    """Forward and backward of a pair on one batch of 2, in float64, and the first tensor that differs."""
    import torch

    from rv_check import numbers

    pair.at_generic_point(torch.float64)
    data = numbers.image(x, 2, torch.float64, torch.device(run.device))
    names = numbers.shared_modules(pair.expected, pair.found)
    if train:
        pair.state = "used"
    expected = guarded("the expected module does not run", lambda: numbers.run(pair.expected, data, train, names))
    found = guarded("the module does not run", lambda: numbers.run(pair.found, data, train, names))
    differences = list(numbers.differences(expected, found, train))
    pair.expected.zero_grad(set_to_none=True)
    pair.found.zero_grad(set_to_none=True)
    mode = "train" if train else "eval"
    what = f"{mode} mode at {_shape(x)}, float64, {len(differences)} tensors"
    return measured(run, check, what, differences, numbers.TOLERANCE[torch.float64])


def measured(run: Run, check: Check, what: str, differences: list[Difference], tolerance: float) -> Finding:
    """Passed when every difference is within the tolerance; else the first that is not, in the order of the flow."""
    wrong = [d for d in differences if not d.within(tolerance)]
    if wrong:
        first = wrong[0]
        return check.finding(
            run,
            False,
            f"{what}: {first.what} is the first of {len(wrong)} that differ",
            found=first.detail,
            expected=f"a relative difference of at most {tolerance:g}, found {first.relative:.3g}",
            difference=first.relative,
            tolerance=tolerance,
            place=run.arch.entry.place,
        )
    largest = max(d.relative for d in differences)
    how = "bit for bit" if largest == 0 else f"largest relative difference {largest:.2g}"
    message = f"{what}: {how} (tolerance {tolerance:g})"
    return check.finding(run, True, message, difference=largest, tolerance=tolerance)


def counters(run: Run, check: Check) -> Outcome:
    """Parameters and multiply-adds as fvcore and torch count them on the built model, against the spec's formulas.

    What they count besides is a convention, and is stated as one: torch counts two FLOPs a multiply-add; fvcore adds
    two per element of a batch norm and one per input element of an adaptive pool. Nothing is left to a tolerance.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from rv_check.model import build

    arch = run.expanded()
    model = run.shared("the model on meta", lambda: guarded("the model does not build", lambda: build(arch, "meta")))
    model.eval()
    counted = sum(p.numel() for p in model.parameters())
    yield _count(run, check, "parameters of the built model", counted, arch.params)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty((1, *arch.input), device="meta"))
    flops = counter.get_total_flops()
    yield _count(run, check, "FLOPs by torch's counter, two per multiply-add", flops, 2 * arch.macs)

    by_op = fvcore_counts(model, arch.input)
    expected = fvcore_convention(arch.tree.root)
    for name in sorted(by_op.keys() | expected.keys()):
        yield _count(run, check, f"{name} by fvcore", by_op.get(name, 0), expected.get(name, 0))


def _count(run: Run, check: Check, what: str, found: int, expected: int) -> Finding:
    ok = found == expected
    return check.finding(
        run, ok, f"{what}: {found:,}", found=f"{found:,}", expected=f"{expected:,}", place=run.arch.entry.place
    )


def fvcore_counts(model: nn.Module, x: Shape) -> dict[str, int]:
    """fvcore's count for each operator of a model on one image. It traces on real tensors, which the model gets here."""
    import copy
    import logging

    import torch

    nn_module = need("fvcore.nn")
    real = copy.deepcopy(model).to_empty(device="cpu")
    for tensor in real.state_dict().values():
        tensor.fill_(1)
    analysis = nn_module.FlopCountAnalysis(real, torch.zeros((1, *x)))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    logger = logging.getLogger("fvcore.nn.jit_analysis")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return {name: int(number) for name, number in analysis.by_operator().items() if number}
    finally:
        logger.setLevel(before)


# fvcore 0.1.5's handlers (fvcore/nn/jit_handles.py) by op: the name it reports, and what it counts of a layer.
FVCORE: dict[str, tuple[str, Callable[[Layer], int]]] = {
    "conv": ("conv", lambda layer: layer.op.macs(layer.x, layer.y)),
    "linear": ("linear", lambda layer: layer.op.macs(layer.x, layer.y)),
    "batchnorm": ("batch_norm", lambda layer: 2 * prod(layer.x)),
    "adaptive_avgpool": ("adaptive_avg_pool2d", lambda layer: prod(layer.x)),
}


def fvcore_convention(node: Node) -> dict[str, int]:
    """What fvcore counts, from the tree."""

    def add(parts: Iterable[dict[str, int]]) -> dict[str, int]:
        total: dict[str, int] = {}
        for part in parts:
            for name, number in part.items():
                total[name] = total.get(name, 0) + number
        return total

    def layer_count(layer: Layer) -> dict[str, int]:
        if layer.op.name not in FVCORE:
            return {}
        name, number = FVCORE[layer.op.name]
        return {name: number(layer)}

    def times(part: dict[str, int], n: int) -> dict[str, int]:
        return {name: number * n for name, number in part.items()}

    return analyses.fold(node, layer_count, add, lambda _, branches: add(branches), times)


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
    Check("init", "numbers", _has_reference, init),
    Check("state_dict", "numbers", _has_reference, state_dict),
    Check("logits", "numbers", _has_reference, logits),
    Check("eval", "numbers", _has_reference, evaluation),
    Check("train", "numbers", _has_reference, training),
    Check("counters", "numbers", lambda arch: True, counters),
)


def checks_of(arch: Arch, levels: Iterable[Level] = LEVELS) -> list[Check]:
    """The checks that make a claim about an arch, cheapest first."""
    wanted = set(levels)
    return [check for check in CHECKS if check.level in wanted and check.applies(arch)]


def up_to(level: Level | None) -> tuple[Level, ...]:
    """That level and the cheaper ones; all without one."""
    return LEVELS if level is None else LEVELS[: LEVELS.index(level) + 1]


def check_arch(
    arch: Arch,
    levels: Iterable[Level] = LEVELS,
    device: str = "cpu",
    require: Level | None = None,
    seen: Callable[[Finding], None] = lambda finding: None,
) -> Report:
    """A spec against its reference and what is published.

    Args: `require` makes a skip at that level or below a failure; `seen` is called with each finding as it comes.
    """
    run = Run(arch, device)
    found: list[Finding] = []
    for check in checks_of(arch, levels):
        for finding in run_check(check, run):
            finding = required(finding, up_to(require)) if require else finding
            found.append(finding)
            seen(finding)
    against = arch.entry.reference.name if _has_reference(arch) and arch.entry.reference else "what is published"
    return Report(arch.name, against, tuple(found))
