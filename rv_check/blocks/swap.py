"""An arch with another residual block in its stages, and the two side by side.

A block of the language is expanded in the place of the arch's own. A block that exists only as a class stands in the
tree as an op, whose shape is what the class was seen to give; what the network costs is then observed on its model.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

from rv_check.archs.arch import Arch
from rv_check.archs.arguments import with_defaults
from rv_check.blocks.call import parse_how
from rv_check.blocks.cases import CheckedBlock
from rv_check.blocks.contract import Contract, find_contract
from rv_check.blocks.infer import STANDARD, best_calls
from rv_check.blocks.totals import Totals, totals
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph
from rv_check.graphs.network import At
from rv_check.graphs.of_arch import graph_of
from rv_check.language.definitions import Block, CallStep, GroupStep, Step, Steps
from rv_check.language.expressions import Argument, parse
from rv_check.language.yaml_nodes import Text
from rv_check.modules.guard import run_theirs
from rv_check.ops.arguments import OpError
from rv_check.ops.op import Op, Shape
from rv_check.optional import need
from rv_check.text import listed, quote, shown_shape
from rv_check.values import Partial, Value

if TYPE_CHECKING:
    from torch import nn

SWAPPED = "swapped"  # the argument that holds the other block, where only some stages have it


@dataclass(frozen=True, eq=False)
class Variant:
    """A network with one block or another. `block`: as it is printed; `call`: how a class is called, else ""."""

    block: str
    arch: Arch
    stages: tuple[str, ...]  # steps, in order
    observed: bool  # the block is a class: the tree knows its shapes and nothing else
    call: str = ""

    def build(self) -> nn.Module:
        """The network, initialised as the arch's `init:` says, the modules of a class included."""
        from rv_check.modules.build import build

        return build(self.arch)

    def graph(self, training: bool = False, batch: int = 1) -> Graph:
        """What it does, made without rules. Raises: RvCheckError."""
        if not self.observed:
            return graph_of(self.arch, training=training, batch=batch, form=Form.AS_RUN)
        from rv_check.modules.network import ModuleNetwork
        from rv_check.modules.observe import Subject

        at = At(self.arch.input, batch, training)
        return ModuleNetwork(Subject(self.build()), self.arch.name).graph(at, Form.AS_RUN)

    @cached_property
    def totals(self) -> Totals:
        """Its exact numbers. Raises: RvCheckError."""
        return totals(self.graph(), self.stages)


# The arch, with its own block or another


def own_block(arch: Arch) -> tuple[str, Partial]:
    """The argument of the arch's family that holds its block, and the block. Raises: RvCheckError."""
    values = {**arch.values, **arch.overrides}
    for name, value in values.items():
        if isinstance(value, Partial) and isinstance(value.target, Block) and list(_stages(arch.family.body, name)):
            return name, value
    raise RvCheckError(f"{arch.name} has no stages that are given a block", expected="an arch such as resnet50")


def standard(arch: Arch, stages: Sequence[str] = ()) -> Variant:
    """The arch as it is; `stages` as for `with_block`. Raises: RvCheckError."""
    name, block = own_block(arch)
    _chosen(arch, name, stages)
    return Variant(str(block), arch, _steps(arch, name), observed=False)


def with_block(arch: Arch, text: str, stages: Sequence[str] = ()) -> Variant:
    """The arch with a block of the language, `se_bottleneck` or `path/to/file.yaml::block(groups=32)`.

    Args: `stages` these alone, by step (`layer3`) or by number from 1; all unless given.
    Raises: RvCheckError, SpecError where block and arch do not fit one another.
    """
    contract = find_contract(text)
    if not contract.has_body:
        raise RvCheckError(f"block {quote(contract.name)} has no body: it says what a block does, and is none")
    return _variant(arch, Partial(contract.block, tuple(contract.fixed.items())), stages, contract.name)


def with_class(
    arch: Arch,
    name: str,
    cls: Any,
    call: str | None = None,
    stages: Sequence[str] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> Variant:
    """The arch with a class in the place of its block.

    Args: `name` as it is printed; `call` as `in_channels=C, out_channels=4*width, stride=stride`, over the arguments of
    the arch's block and the letters of its input; inferred from the signature unless given; `stages` as above.
    Raises: RvCheckError where it cannot be made, or gives no shapes that the rest of the network takes.
    """
    _, block = own_block(arch)
    own = Contract(block.target, dict(block.filled))
    contracts = [own, *(find_contract(one) for one in STANDARD if one != own.block.name)]
    if call is not None:
        how = parse_how(name.rpartition(":")[2], call, kwargs)
        checked, certain = CheckedBlock(name, cls, own, how, None, 1), True
    else:
        guesses = best_calls(name, cls, contracts, None, dict(kwargs or {}), None)
        guess = max(guesses, key=lambda one: one.right)  # among equal ones it is the arch's own
        checked, certain = guess.checked, guess.right == len(guess.checked.probes())
    if not certain:
        tried = ", ".join(contract.name for contract in contracts)
        expected_ = '--call "in_channels=C, out_channels=4*width, stride=stride"'
        raise RvCheckError(
            f"no call of {name} gives the shapes of {tried}",
            details=[f"tried: {checked.how.text}"],
            expected=expected_,
        )
    variant = _variant(arch, Partial(op_of(checked)), stages, name)
    words = checked.how.text + ("" if call else f" (inferred, as of {checked.contract.name}; --call ARGUMENTS)")
    return replace(variant, observed=True, call=words)


def _variant(arch: Arch, block: Partial, stages: Sequence[str], shown: str) -> Variant:
    name, _ = own_block(arch)
    chosen = _chosen(arch, name, stages)
    every = _steps(arch, name)
    values: dict[str, Value] = {**arch.values, **arch.overrides}
    if chosen == every:
        family, values = arch.family, {**values, name: block}
    else:
        body = _rewritten(arch.family.body, name, chosen)
        family = replace(arch.family, body=body, arguments={**arch.family.arguments, SWAPPED: None})
        values = {**values, SWAPPED: block}
    where = "" if chosen == every else f" in {', '.join(chosen)}"
    entry = replace(arch.entry, name=f"{arch.name} with {shown}{where}", contract=(), published=())
    other = Arch(family, entry, values, {}, arch.input)
    _ = other.tree
    return Variant(shown + where, other, every, observed=False)


def _stages(steps: Steps, argument: str, prefix: str = "") -> list[tuple[str, CallStep]]:
    """The steps that are given the block, by their names, in order."""
    found: list[tuple[str, CallStep]] = []
    position = 0
    for step in steps:
        if isinstance(step, CallStep | GroupStep):
            name = prefix + (step.name.text if step.name else str(position))
            position += 1
            if isinstance(step, GroupStep):
                found += _stages(step.steps, argument, f"{name}.")
            elif any(_is_name(one, argument) for one in step.call.arguments):
                found.append((name, step))
    return found


def _is_name(argument: Argument, name: str) -> bool:
    return isinstance(argument.value.node, ast.Name) and argument.value.node.id == name


def _steps(arch: Arch, argument: str) -> tuple[str, ...]:
    return tuple(name for name, _ in _stages(arch.family.body, argument))


def _chosen(arch: Arch, argument: str, stages: Sequence[str]) -> tuple[str, ...]:
    """The steps that are meant, in the order of the arch. Raises: RvCheckError."""
    every = _steps(arch, argument)
    wanted = set()
    for stage in stages:
        name = every[int(stage) - 1] if stage.isdecimal() and 1 <= int(stage) <= len(every) else stage
        if name not in every:
            raise RvCheckError(
                f"{arch.name} has no stage {quote(stage)}", expected=f"1 to {len(every)}, or {listed(every)}"
            )
        wanted.add(name)
    return tuple(name for name in every if name in wanted or not stages)


def _rewritten(steps: Steps, argument: str, chosen: Sequence[str], prefix: str = "") -> Steps:
    """The steps, those that are chosen given another block."""
    named = {id(step): name for name, step in _stages(steps, argument, prefix)}
    found: list[Step] = []
    for step in steps:
        if isinstance(step, GroupStep):
            within = f"{prefix}{step.name.text}."
            step = replace(step, steps=_rewritten(step.steps, argument, chosen, within))
        elif isinstance(step, CallStep) and named.get(id(step)) in chosen:
            given = tuple(
                replace(one, value=parse(Text(SWAPPED, one.place))) if _is_name(one, argument) else one
                for one in step.call.arguments
            )
            step = replace(step, call=replace(step.call, arguments=given))
        found.append(step)
    return tuple(found)


# A class as an op


class _Observed(Op):
    """A residual block that exists as a class: its rules are what it is seen to do."""

    checked: ClassVar[CheckedBlock]
    seen: ClassVar[dict[Any, Any]]

    def shape(self, x: Shape) -> Shape:
        from rv_check.modules.network import ModuleNetwork
        from rv_check.modules.observe import Subject

        key = (*self._values.items(), x)
        if key not in self.seen:
            name = f"{self.checked.name} ({self.checked.how.text})"
            try:
                module = self.checked.make(self._values, x)
                graph = ModuleNetwork(Subject(module), name).graph(At(x), Form.AS_RUN)
            except RvCheckError as error:
                raise OpError(error.message, expected=error.expected, details=error.details) from None
            outputs = list(graph.outputs.values())
            if len(outputs) != 1:
                raise OpError(f"{self.checked.name} gives {len(outputs)} tensors", expected="one")
            self.seen[key] = outputs[0].shape[1:]
        found: Shape = self.seen[key]
        return found

    @property
    def _values(self) -> dict[str, Value]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def build(self, nn: Any, x: Shape, inplace: bool) -> Any:
        return self.checked.make(self._values, x)


def op_of(checked: CheckedBlock) -> type[Op]:
    """The class as an op that takes the arguments of its contract."""
    block = checked.contract.block
    defaults = {**with_defaults(block, checked.contract.fixed)}
    any_value = {"convert": lambda value, name: value}
    fields_ = [
        (name, Any, field(metadata=any_value, **({"default": defaults[name]} if name in defaults else {})))
        for name in sorted(block.arguments, key=lambda name: name in defaults)
    ]
    made: Any = dataclasses.make_dataclass("Observed", fields_, bases=(_Observed,), frozen=True)
    made.name, made.checked, made.seen = checked.name.rpartition(":")[2], checked, {}
    made.argument_names = tuple(name for name, *_ in fields_)
    made.required = tuple(name for name, *_ in fields_ if name not in defaults)
    op: type[Op] = made
    return op


# At the start of training


@dataclass(frozen=True)
class StartGradient:
    """The norm of the gradient of the first weights, once for each seed."""

    name: str  # the name of the weights
    norms: tuple[float, ...]


BATCH = 8


def first_gradient(variant: Variant, seeds: int, input: Shape) -> StartGradient:
    """Cross-entropy against random labels on a batch of 8 random images, in train mode, freshly initialised.

    Args: `input` C H W, smaller than the arch's own where that is enough.
    Raises: RvCheckError where it does not run.
    """
    torch = need("torch")
    from rv_check.modules.generic_point import image
    from rv_check.modules.torch_state import seeded

    def once(seed: int) -> tuple[str, float]:
        with seeded(seed):
            model = variant.build().train()
            x = image(input, BATCH, torch.float32, "cpu", seed)
            logits = model(x).flatten(1)
            loss = torch.nn.functional.cross_entropy(logits, torch.randint(logits.shape[1], (BATCH,)))
        name, weight = next((name, p) for name, p in model.named_parameters() if p.dim() > 1)
        (gradient,) = torch.autograd.grad(loss, weight)
        return name, float(gradient.norm())

    what = f"{variant.arch.name} does not train at {shown_shape(input)}"
    found: list[tuple[str, float]] = [run_theirs(what, partial(once, seed)) for seed in range(seeds)]
    return StartGradient(found[0][0], tuple(norm for _, norm in found))


# The best of several


def pareto(rows: Sequence[tuple[float, ...]]) -> list[bool]:
    """Whether each is on the front: no other is at least as low in everything and lower in something."""
    return [
        not any(all(b <= a for a, b in zip(row, other, strict=True)) and other != row for other in rows) for row in rows
    ]
