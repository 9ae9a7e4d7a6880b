"""A residual block that exists as a class, against a contract: a block file with a body, or one without.

With a body, the class is held to its structure and its numbers, in the cases that the body tells apart. With and
without, it is held to properties, over cases that hypothesis draws and shrinks to the smallest one that fails.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rv_check import analyses, library
from rv_check.arch import Arch, parse_size
from rv_check.checks import Judge
from rv_check.conformance import ModuleRun, checks_of_module, observe
from rv_check.errors import CannotRun, Document, Place, RvCheckError, SpecError, unknown
from rv_check.expr import Argument, Call, Scope, Value, parse_call, show
from rv_check.findings import Finding, Report, failures
from rv_check.foreign import guarded
from rv_check.library import check_call
from rv_check.ops import Shape
from rv_check.reference import need
from rv_check.source import Text
from rv_check.spec import ArchEntry, Block, Family
from rv_check.text import first_line, listed, quote, shown_shape
from rv_check.tree import Tree, arguments_of, definition_scope, expand_block, with_defaults

if TYPE_CHECKING:
    from torch import nn

    from rv_check.properties import Case, Limit, Property, Trial

EXAMPLES = 12  # cases of each property, unless it says less
STANDARD = ("bottleneck", "basic")  # the blocks that a class without a contract is held against
ANY = "residual_block"  # and the contract where it is none of them
UNITS = (4, 32, 64)  # the smallest width; a block of many groups takes no fewer
SIDES = (6, 7, 8, 9, 12, 13)  # rows and columns, even and odd
BATCHES = (1, 2, 3)
CASES_OF_A_BODY = 3


@dataclass(frozen=True, eq=False)
class BlockArch(Arch):
    """A block by itself as a network."""

    block: Block = field(kw_only=True)

    @cached_property
    def tree(self) -> Tree:
        """The expanded block. Raises: SpecError."""
        return expand_block(self.block, self.values, self.input, self.budget)


def block_arch(block: Block, values: Mapping[str, Value], x: Shape) -> BlockArch:
    """A block with a body, at an input, as a network that the levels can check."""
    shown = ", ".join(f"{name}={show(value)}" for name, value in values.items())
    name = f"{block.name}({shown})"
    call = parse_call(Text(block.name, block.place))
    entry = ArchEntry(name, call, None, None, (), (), block.source, block.place)
    family = Family(
        name=block.name, arguments=block.arguments, let=(), body=(), source=block.source, path=block.path,
        place=block.place, declared=block.declared, input=x, init=(), archs={name: entry},
    )  # fmt: skip
    return BlockArch(family, entry, dict(values), {}, x, block=block)


# Contracts


@dataclass(frozen=True)
class Contract:
    """A block file, with the arguments that somebody fixed."""

    block: Block
    fixed: Mapping[str, Value] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`bottleneck(width=64)`."""
        shown = ", ".join(f"{name}={show(value)}" for name, value in self.fixed.items())
        return f"{self.block.name}({shown})" if shown else self.block.name

    @property
    def has_body(self) -> bool:
        """Whether it says what a block is, and not only what it does."""
        return bool(self.block.body)

    def scope(self, values: Mapping[str, Value], x: Shape) -> Scope:
        """The names that its expressions and a call see. Raises: SpecError."""
        scope = definition_scope(self.block, with_defaults(self.block, values))
        letters = {term.letter: size for term, size in zip(self.block.inputs, x, strict=True) if term.letter}
        scope = scope.with_values(letters)
        for name, expr in self.block.let:
            scope = scope.with_values({name: expr.evaluate(scope)})
        return scope

    def out(self, values: Mapping[str, Value], x: Shape) -> tuple[int | None, ...]:
        """The shape that the output has. Raises: SpecError."""
        if self.has_body:
            return expand_block(self.block, values, x).root.y
        scope = self.scope(values, x)
        return tuple(None if term.expr is None else term.expr.integer(scope) for term in self.block.outputs)

    def limits(self, values: Mapping[str, Value], x: Shape) -> tuple[Limit, ...]:
        """The budgets in numbers. A block with a body costs what it costs."""
        from rv_check.properties import Limit

        if self.has_body:
            return _exactly(block_arch(self.block, values, x))
        scope, found = self.scope(values, x), []
        for budget in self.block.budgets:
            value, name = budget.number, ""
            if budget.block is not None:
                target = self._called(budget.block, scope)
                value, name = _cost(target, budget.metric, x), f" ({target})"
            assert value is not None
            low, high = budget.bounds(value)
            found.append(Limit(budget.metric, budget.words, low, high, f": {value:,}" if name else ""))
        return tuple(found)

    def _called(self, call: Call, scope: Scope) -> tuple[Block, dict[str, Value]]:
        """The block that a budget names; what it is not given, and has by the same name, is passed on."""
        target = library.find(call.name, self.block.path.parent)
        assert isinstance(target, Block)
        given = {name: argument.value.evaluate(scope) for name, argument in arguments_of(target, call)}
        passed = {name: scope.values[name] for name in target.arguments if name in scope.values}
        return target, {**passed, **given}

    @property
    def properties(self) -> list[str]:
        """The names of what it asks for. A block with a body that adds nothing has no shortcut."""
        from rv_check.properties import PROPERTIES

        if self.block.properties:
            return list(self.block.properties)
        adds = not self.has_body or self._adds()
        return [one.name for one in PROPERTIES if not one.asked and (adds or not one.residual)]

    def _adds(self) -> bool:
        for values, x in probes(self, UNITS[0]):
            return bool(analyses.skip_connections(expand_block(self.block, values, x).root))
        return False

    @property
    def out_channels(self) -> str:
        """The expression of the output's channels: `4*width`."""
        term = self.block.outputs[0].expr if self.block.outputs else None
        return term.text if term is not None else "C"


def _cost(target: tuple[Block, dict[str, Value]], metric: str, x: Shape) -> int:
    arch = block_arch(*target, x)
    if metric == "receptive_field":
        return max(arch.receptive_field.rows.size, arch.receptive_field.columns.size)
    return int(getattr(arch, metric))


def _exactly(arch: BlockArch) -> tuple[Limit, ...]:
    from rv_check.properties import Limit

    return tuple(
        Limit(name, f"as {arch.block.name}", value, value, f": {value:,}")
        for name, value in (("params", arch.params), ("macs", arch.macs))
    )


def find_contract(text: str) -> Contract:
    """`bottleneck`, `bottleneck(64, stride=2)`, `path/to/file.yaml` or `path/to/file.yaml::block(64)`.

    Raises: RvCheckError for an unknown one, SpecError for a bad file or arguments that do not fit.
    """
    path, _, asked = text.rpartition("::")
    if not path and asked.endswith(library.SUFFIXES):
        path, asked = asked, Path(asked).stem
    call = parse_call(_typed(asked), "a block", "the name of a block, as in bottleneck or bottleneck(64, stride=2)")
    if path:
        block = library.load(Path(path))
        if not isinstance(block, Block) or block.name != call.name:
            raise RvCheckError(f"{path} has no block {quote(call.name)}", expected=quote(block.name))
    else:
        folder = library.shipped_folder()
        known = library.known_blocks(folder)
        found = library.find(call.name, folder) if call.name in known else None
        if not isinstance(found, Block):
            raise unknown("block", call.name, known, f"{listed(known)}, or path/to/file.yaml")
        block = found
    if block.inline:
        raise RvCheckError(f"block {quote(block.name)} is inline: its steps are steps of what is around it")
    by_position = sum(argument.keyword is None for argument in call.arguments)
    names = {argument.keyword for argument in call.arguments} | set(block.argument_names[:by_position])
    check_call(block, call, [name for name in block.required if name not in names])
    scope = definition_scope(block, {})
    fixed = {name: argument.value.evaluate(scope) for name, argument in arguments_of(block, call)}
    contract = Contract(block, fixed)
    if any(not isinstance(value, int | Fraction | bool) for value in fixed.values()) or not _is_of_numbers(block):
        raise RvCheckError(f"block {quote(block.name)} takes a block, which no class can be held to")
    return contract


def _is_of_numbers(block: Block) -> bool:
    """Whether all arguments can be drawn: one that is called is a block."""
    from rv_check.spec import CallStep, walk

    called = {step.call.name for step in walk(block.body) if isinstance(step, CallStep)}
    return not called & set(block.arguments)


def _typed(text: str) -> Text:
    return Text(text, Place(Document(Path("argument"), (text,), is_file=False), 1, 1))


# How a class is called


IN = ("in_channels", "inplanes", "in_planes", "in_chs", "in_ch", "in_channel", "inp", "c_in", "cin", "in_c", "in_dim")
OUT = ("out_channels", "out_chs", "out_planes", "out_ch", "out_channel", "oup", "c_out", "cout", "out_c", "out_dim")
PLANES = ("planes", "width", "mid_channels", "bottleneck_channels", "channels", "filters", "dim")
STRIDE = ("stride", "strides")
GROUPS = ("groups", "cardinality")
PROJECTION = ("downsample", "shortcut", "projection", "skip")
MADE = "projection"  # in a call: conv 1x1 and norm where the shapes need them, else None


@dataclass(frozen=True)
class How:
    """How a class is called for a case: expressions over the contract's arguments and the letters of its input."""

    text: str
    call: Call
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """The names that the call depends on."""
        return {name.id for argument in self.call.arguments for name in argument.value.names()}

    def arguments(self, contract: Contract, values: Mapping[str, Value], x: Shape) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of one case. Raises: SpecError."""
        marker = object()
        scope = contract.scope(values, x).with_values({MADE: marker})
        by_position, by_name = [], dict(self.kwargs)
        for argument in self.call.arguments:
            value = self._value(argument, scope)
            if value is marker:
                value = _projection(contract, values, x)
            if argument.keyword is None:
                by_position.append(value)
            else:
                by_name[argument.keyword] = value
        return by_position, by_name

    @staticmethod
    def _value(argument: Argument, scope: Scope) -> Any:
        value = argument.value.evaluate(scope)
        return float(value) if isinstance(value, Fraction) else list(value) if isinstance(value, tuple) else value


def parse_how(cls_name: str, text: str, kwargs: Mapping[str, Any] | None = None) -> How:
    """What `--call` gives. Raises: SpecError."""
    expected = "arguments of the class, as in in_channels=C, out_channels=4*width, stride=stride"
    call = parse_call(_typed(f"{cls_name}({text})"), "a call", expected)
    return How(text, call, kwargs or {})


def _projection(contract: Contract, values: Mapping[str, Value], x: Shape) -> nn.Module | None:
    """What torchvision's caller makes: a 1x1 convolution and a norm, where the shapes need them."""
    from torch import nn

    y = contract.out(values, x)
    if tuple(y) == tuple(x):
        return None
    stride = with_defaults(contract.block, values).get("stride", 1)
    out = y[0] or x[0]
    return nn.Sequential(nn.Conv2d(x[0], out, 1, stride, bias=False), nn.BatchNorm2d(out))


def guesses(cls: Any, contract: Contract, kwargs: Mapping[str, Any]) -> Iterator[How]:
    """The calls that the names in a signature suggest, the likeliest first."""
    named = [p for p in _parameters(cls) if p.name not in kwargs]
    out, has_width = contract.out_channels, "width" in contract.block.arguments
    expansion = getattr(cls, "expansion", None)  # torchvision's word for the output's channels over `planes`
    divided = [f"{out}//{expansion}"] if isinstance(expansion, int) and expansion > 1 and out.isidentifier() else []
    width = ["width"] if has_width and out != "width" else []
    wide, narrow = [out, *width, *divided], [*width, *divided] if expansion is not None else [*width, out]
    narrow = narrow or [out]

    def options(p: inspect.Parameter) -> list[str]:
        if p.name in IN:
            return ["C"]
        if p.name in OUT:
            return wide
        if p.name in PLANES:
            return list(dict.fromkeys(narrow))
        if p.name in STRIDE:
            return ["stride"] if "stride" in contract.block.arguments else []
        if p.name in GROUPS and "groups" in contract.block.arguments:
            return ["groups"]
        if p.name in PROJECTION and (p.default is None or p.default is p.empty):
            return [MADE]
        if p.name in PROJECTION and isinstance(p.default, bool):
            needed = f"C != {out}" + (" or stride != 1" if "stride" in contract.block.arguments else "")
            return [needed]
        return []

    known = {p.name: options(p) for p in named}
    unknown = [p for p in named if not known[p.name] and p.default is p.empty]
    if unknown and not any(known.values()):  # by position
        for parameter, some in zip(unknown, (["C"], wide, ["stride"]), strict=False):
            known[parameter.name] = some
    elif unknown:
        return
    several = next((name for name, some in known.items() if len(some) > 1), None)
    for option in known[several] if several else [""]:
        chosen = [f"{name}={option if name == several else some[0]}" for name, some in known.items() if some]
        yield parse_how("block", ", ".join(chosen), kwargs)


def _parameters(cls: Any) -> list[inspect.Parameter]:
    """The parameters that have names; of a class that passes all of them on, those of the class that it extends."""
    found: list[inspect.Parameter] = []
    for one in cls.__mro__ if isinstance(cls, type) else (cls,):
        try:
            parameters = inspect.signature(one).parameters.values()
        except (TypeError, ValueError):
            continue
        found = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if found or not any(p.kind == p.VAR_POSITIONAL for p in parameters):
            break
    return found


def probes(contract: Contract, unit: int) -> list[tuple[dict[str, Value], Shape]]:
    """The cases that matter: the input's channels kept, changed, and a stride."""
    found = []
    for stride, by in ((1, 1), (1, 2), (2, 2), (2, 1)):
        values = _filled(contract, unit, stride)
        if values.get("stride", 1) != stride:
            continue
        y = contract.out(values, _input(contract, values, unit, (12, 12)))[0] or unit
        x = _input(contract, values, max(1, y // by), (12, 12))
        if (values, x) not in found:
            found.append((values, x))
    return found[:CASES_OF_A_BODY]


def _filled(contract: Contract, unit: int, stride: int) -> dict[str, Value]:
    names = [*contract.block.required, *(["stride"] if "stride" in contract.block.arguments else [])]
    drawn = {name: stride if name == "stride" else unit for name in names}
    return {**drawn, **contract.fixed}


def _input(contract: Contract, values: Mapping[str, Value], channels: int, sides: tuple[int, ...]) -> Shape:
    """An input that `in:` allows."""
    scope = definition_scope(contract.block, with_defaults(contract.block, values))
    sizes = (channels, *sides)
    return tuple(
        term.expr.integer(scope) if term.expr is not None else size
        for term, size in zip(contract.block.inputs, sizes, strict=True)
    )


# A class that is checked


class Checked:
    """A class with its contract and the way to call it."""

    def __init__(self, name: str, cls: Any, contract: Contract, how: How, input: Shape | None, unit: int):
        self.name, self.cls, self.contract, self.how, self.input, self.unit = name, cls, contract, how, input, unit
        self.seen: dict[str, Trial] = {}
        self._widths: dict[int, int] = {}

    def make(self, values: Mapping[str, Value], x: Shape) -> nn.Module:
        """The module of one case. Raises: RvCheckError."""
        import torch

        by_position, by_name = self.how.arguments(self.contract, values, x)
        shown = [repr(value) for value in by_position]
        shown += [
            f"{k}={v if isinstance(v, int | float | str | None) else type(v).__name__}" for k, v in by_name.items()
        ]
        made = guarded(f"{self.name}({', '.join(shown)}) cannot be made", lambda: self.cls(*by_position, **by_name))
        if not isinstance(made, torch.nn.Module):
            raise RvCheckError(f"{self.name} makes a {type(made).__name__}", expected="a torch.nn.Module")
        return made

    def trial(self, case: Case) -> Trial:
        """A case with a way to make its module."""
        from rv_check.properties import STACK, Trial

        key = str(case)
        if key not in self.seen:
            stacks = tuple(case.out) == tuple(case.x)
            self.seen[key] = Trial(
                case,
                lambda: self.make(case.values, case.x),
                lambda: [self.make(case.values, case.x) for _ in range(STACK)] if stacks else [],
                (lambda: self.make({**case.values, "stride": 0}, case.x)) if self._strides_alone else None,
            )
        return self.seen[key]

    def case(self, values: Mapping[str, Value], x: Shape, batch: int = 2) -> Case:
        """A case, with what the contract says of it. Raises: SpecError."""
        from rv_check.properties import Case

        limits = self.contract.limits(values, x) if not self.contract.has_body or self.contract.block.outputs else ()
        return Case(dict(values), x, batch, self.contract.out(values, x), limits)

    def probes(self) -> list[Case]:
        """The cases that matter, at the input that was asked for."""
        if self.input is not None:
            strides = (1, 2) if self._free("stride") else (1,)
            return [self.case(_filled(self.contract, self._width(s), s), self.input) for s in strides]
        return [
            self.case(values, x)
            for values, x in probes(self.contract, self.unit)
            if self.fits(values, x, self.contract.out(values, x))
        ]

    @property
    def _strides_alone(self) -> bool:
        """Whether the class is given the stride, and no projection that we make, which would refuse a stride of 0."""
        return "stride" in self.how.names and MADE not in self.how.names

    def _free(self, name: str) -> bool:
        """Whether an argument is to be drawn."""
        return name in self.contract.block.arguments and name not in self.contract.fixed and name in self.how.names

    def _width(self, stride: int) -> int:
        """The width at which the input that was asked for keeps its channels; at a stride, has twice as many."""
        assert self.input is not None
        if stride not in self._widths:
            fits = (
                width
                for width in range(1, self.input[0] * stride + 1)
                if self.contract.out(_filled(self.contract, width, stride), self.input)[0] == self.input[0] * stride
            )
            self._widths[stride] = next(fits, self.input[0])
        return self._widths[stride]

    @property
    def drawn(self) -> str:
        """What cases are drawn of, in words."""
        words = [f"{name} {show(value)}" for name, value in self.contract.fixed.items()]
        required = [name for name in self.contract.block.required if name not in self.contract.fixed]
        if self.input is None:
            words += [f"{name} {self.unit} to {3 * self.unit}" for name in required if name != "stride"]
        words += ["stride 1 and 2"] if self._free("stride") else []
        words += ["groups 1 and 2"] if self._free("groups") else []
        if self.input is None:
            words += ["channels in as out, half and twice"] if "C" in self.how.names else []
            words.append(f"{SIDES[0]} to {SIDES[-1]} rows and columns")
        else:
            words.append(f"in {shown_shape(self.input)}")
        return ", ".join([*words, f"batch {BATCHES[0]} to {BATCHES[-1]}"])

    def fits(self, values: Mapping[str, Value], x: Shape, y: tuple[int | None, ...]) -> bool:
        """Whether the call can tell this case from others: one without C keeps the channels, one without a stride has
        none."""
        names = self.how.names
        same_channels = "C" in names or y[0] == x[0] or self.input is not None
        return same_channels and (
            "stride" in names or values.get("stride", 1) in (1, self.contract.fixed.get("stride"))
        )

    def strategy(self) -> Any:
        """Hypothesis' strategy of cases, small ones first."""
        from hypothesis import strategies as st

        contract, fixed = self.contract, self.contract.fixed

        @st.composite
        def cases(draw: Any) -> Case:
            values = dict(fixed)
            stride = draw(st.sampled_from((1, 2))) if self._free("stride") else fixed.get("stride", 1)
            unit = self.unit if self.input is None else self._width(stride)
            for name in (n for n in contract.block.required if n not in values and n != "stride"):
                values[name] = draw(st.sampled_from((unit, 2 * unit, 3 * unit) if self.input is None else (unit,)))
            if "stride" in contract.block.arguments:
                values["stride"] = stride
            if self._free("groups"):
                values["groups"] = draw(st.sampled_from((1, 2)))
            if self.input is not None:
                return self.case(values, self.input, draw(st.sampled_from(BATCHES)))
            y = contract.out(values, _input(contract, values, unit, (12, 12)))[0] or unit
            channels = draw(st.sampled_from((y, max(1, y // 2), 2 * y))) if "C" in self.how.names else y
            sides = draw(st.sampled_from(SIDES)), draw(st.sampled_from(SIDES))
            return self.case(values, _input(contract, values, channels, sides), draw(st.sampled_from(BATCHES)))

        return cases()


# How it is called, and against what, where nobody says


@dataclass(frozen=True)
class Guess:
    """A contract and a call, and how many of the cases that matter they get right."""

    checked: Checked
    right: int
    runs: int
    made: int
    error: str


def _try(checked: Checked) -> Guess:
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
            found += [_try(Checked(name, cls, contract, how, x, unit)) for how in hows]
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


def _settle(name: str, guesses_: Sequence[Guess], kwargs: Mapping[str, Any], x: Shape | None) -> tuple[Checked, str]:
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


def _differences(checked: Checked) -> list[str]:
    """The differences from a block with a body, of the first case that has some."""
    for case in checked.probes():
        try:
            findings, _, _ = _of_body(checked, case, "structure")
        except RvCheckError as error:
            return [error.message]
        failed = [f for f in findings if f.status != "passed" and f.check == "structure"]
        if failed:
            return [f"{f.message.partition(chr(10))[0]}{f' at {f.step}' if f.step else ''} ({case})" for f in failed]
    return []


def _of_body(
    checked: Checked, case: Case, level: Any
) -> tuple[tuple[Finding, ...], dict[str, str], Mapping[str, tuple[int, int]]]:
    """One case by the levels of a module. Raises: RvCheckError where it does not run."""
    from rv_check.numbers import seeded

    arch = block_arch(checked.contract.block, case.values, case.x)
    with seeded(0):
        module = checked.make(case.values, case.x)
    run = ModuleRun(module, arch, "cpu")
    with run.lent:
        observe(run)
        findings = Judge().findings(run, checks_of_module(level))
        structure = run.structure()
        names = {} if structure.differs(False) else {ours: slot.name for ours, slot in structure.map.items()}
        return findings, names, structure.totals


# The check


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
    from rv_check.properties import by_name

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
        from rv_check.numbers import steady

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
                self.checked, words = _settle(self.name, best, kwargs, x)
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
        from rv_check.numbers import steady
        from rv_check.properties import by_name

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


def _check_body(checked: Checked) -> tuple[list[Finding], dict[str, str], Mapping[str, tuple[int, int]]]:
    """Structure and numbers in the cases that matter; of the first that fails, every difference."""
    found: dict[str, Finding] = {}
    names: dict[str, str] = {}
    totals: Mapping[str, tuple[int, int]] = {}
    cases = checked.probes()
    for case in cases:
        arch = block_arch(checked.contract.block, case.values, case.x)
        try:
            of_case, names, totals = _of_body(checked, case, "numbers")
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
    checked: Checked, one: Property, seed: int | None, examples: int, before: Sequence[Finding]
) -> Finding:
    """A property over drawn cases. The smallest that fails is told."""
    from rv_check.properties import Fails, NoSum, Unfit

    def finding(status: Any, message: str, **details: Any) -> Finding:
        place = checked.contract.block.place
        return Finding(checked.name, one.name, one.level, status, message, place=place, **details)

    said: dict[str, str] = {}  # words by case, of those that held
    unfit: dict[str, str] = {}

    def holds(case: Case) -> None:
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
            raise _Failed(case, fails) from fails

    try:
        _over_cases(checked, holds, seed, min(examples, one.examples or examples))
    except CannotRun as error:
        return finding("skipped", "could not run", reason=str(error))
    except _Failed as failed:
        again = "the same cases every time" if seed is None else f"seed {seed}"
        message = f"{failed.fails}\ncase: {failed.case} (the smallest found; {again})"
        return finding("failed", message, found=failed.fails.found, expected=failed.fails.expected)
    if not said:
        why = next((why for why in unfit.values() if why), "")
        if why and any(other.check == why and other.status == "failed" for other in before):
            return finding("blocked", f"blocked by {why}")
        if why:
            return finding("failed", f"it cannot be asked of a block without {why}: see the property {why}")
        return finding("skipped", "says nothing here", reason="no case that was drawn can tell")
    last = list(said)[-1]  # one of those that matter
    cases = f"{len(said)} case{'s' * (len(said) != 1)}"
    return finding("passed", f"{said[last]} ({last}; {cases})" if said[last] else f"{one.words}: {cases}")


class _Failed(Exception):
    """A property failed in this case."""

    def __init__(self, case: Case, fails: Any):
        super().__init__(str(fails))
        self.case, self.fails = case, fails


def guarded_property(one: Property, trial: Trial) -> str | None:
    """What the property says. Raises: Fails, also for whatever the block raises; Unfit, NoSum, CannotRun."""
    import warnings

    from rv_check.properties import Fails, NoSum, Unfit

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
        words = guarded("it raises", run)
    except (CannotRun, SpecError):
        raise
    except RvCheckError as error:
        raise Fails(error.problems[0].words, expected=error.expected) from error
    if kept:
        raise kept[0]
    return words


def _over_cases(checked: Checked, holds: Callable[[Case], None], seed: int | None, examples: int) -> None:
    """`holds` on the cases that matter, then on drawn ones; what it raises is of the smallest case found."""
    hypothesis = need("hypothesis", "blocks")
    known = checked.probes()
    settings = hypothesis.settings(
        max_examples=examples,
        derandomize=seed is None,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=hypothesis.Verbosity.quiet,
    )
    given: Any = hypothesis.given
    drawn: Any = settings(given(checked.strategy())(holds))
    if seed is not None:
        drawn = hypothesis.seed(seed)(drawn)
    with _elsewhere():
        drawn()
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
