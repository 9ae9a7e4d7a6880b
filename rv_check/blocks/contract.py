"""What a class is held to: a block file with arguments that somebody fixed, and the cases that matter to it.

A block with a body is a network of its own, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rv_check.archs import analyses
from rv_check.archs.arch import Arch
from rv_check.archs.arguments import arguments_of, definition_scope, with_defaults
from rv_check.archs.expand import expand_block
from rv_check.archs.tree import Tree
from rv_check.errors import Document, Place, RvCheckError, unknown
from rv_check.language import files, library
from rv_check.language.definitions import ArchEntry, Block, Family
from rv_check.language.expressions import Call, Scope, parse_call
from rv_check.language.names import check_call
from rv_check.language.yaml_nodes import Text
from rv_check.ops.op import Shape
from rv_check.text import listed, quote
from rv_check.values import Value, show

if TYPE_CHECKING:
    from rv_check.blocks.trial import Limit

UNITS = (4, 32, 64)  # the smallest width; a block of many groups takes no fewer
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
        from rv_check.blocks.trial import Limit

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
        from rv_check.blocks.properties import PROPERTIES

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
    from rv_check.blocks.trial import Limit

    return tuple(
        Limit(name, f"as {arch.block.name}", value, value, f": {value:,}")
        for name, value in (("params", arch.params), ("macs", arch.macs))
    )


def find_contract(text: str) -> Contract:
    """`bottleneck`, `bottleneck(64, stride=2)`, `path/to/file.yaml` or `path/to/file.yaml::block(64)`.

    Raises: RvCheckError for an unknown one, SpecError for a bad file or arguments that do not fit.
    """
    path, _, asked = text.rpartition("::")
    if not path and asked.endswith(files.SUFFIXES):
        path, asked = asked, Path(asked).stem
    call = parse_call(typed(asked), "a block", "the name of a block, as in bottleneck or bottleneck(64, stride=2)")
    if path:
        block = library.load(Path(path))
        if not isinstance(block, Block) or block.name != call.name:
            raise RvCheckError(f"{path} has no block {quote(call.name)}", expected=quote(block.name))
    else:
        folder = files.shipped_folder()
        known = files.known_blocks(folder)
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
    """Whether all arguments that must be given can be drawn: one that is called is a block."""
    from rv_check.language.definitions import CallStep, walk

    called = {step.call.name for step in walk(block.body) if isinstance(step, CallStep)}
    return not called & set(block.required)


def typed(text: str) -> Text:
    """What somebody typed, and no file."""
    return Text(text, Place(Document(Path("argument"), (text,), is_file=False), 1, 1))


def probes(contract: Contract, unit: int) -> list[tuple[dict[str, Value], Shape]]:
    """The cases that matter: the input's channels kept, changed, and a stride."""
    found = []
    for stride, by in ((1, 1), (1, 2), (2, 2), (2, 1)):
        values = filled(contract, unit, stride)
        if values.get("stride", 1) != stride:
            continue
        y = contract.out(values, input_of(contract, values, unit, (12, 12)))[0] or unit
        x = input_of(contract, values, max(1, y // by), (12, 12))
        if (values, x) not in found:
            found.append((values, x))
    return found[:CASES_OF_A_BODY]


def filled(contract: Contract, unit: int, stride: int) -> dict[str, Value]:
    """Arguments of a contract, each that is a number at `unit`, the stride at `stride`."""
    names = [*contract.block.required, *(["stride"] if "stride" in contract.block.arguments else [])]
    drawn = {name: stride if name == "stride" else unit for name in names}
    return {**drawn, **contract.fixed}


def input_of(contract: Contract, values: Mapping[str, Value], channels: int, sides: tuple[int, ...]) -> Shape:
    """An input that `in:` allows."""
    scope = definition_scope(contract.block, with_defaults(contract.block, values))
    sizes = (channels, *sides)
    return tuple(
        term.expr.integer(scope) if term.expr is not None else size
        for term, size in zip(contract.block.inputs, sizes, strict=True)
    )
