"""Transfer learning, planned: what a new head and frozen parts leave to be trained, from the spec alone, without torch.

Frozen are the parameters of the parts that are named, `layer1` or `layer1.0.bn1`; patterns such as `*.bn1` are names,
too. Everything else trains, the head among it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from math import prod
from pathlib import Path

from rv_check.archs.arch import Arch
from rv_check.archs.arguments import bind
from rv_check.archs.load import load
from rv_check.archs.tree import Item, Layer, Module, Seq, Tree, child, children
from rv_check.costs import memory
from rv_check.costs.memory import Memory
from rv_check.costs.operations import operations
from rv_check.errors import Document, Place, RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph
from rv_check.graphs.of_arch import graph_of
from rv_check.language.expressions import Scope, parse_call
from rv_check.language.yaml_nodes import Text
from rv_check.ops import op as ops
from rv_check.ops.arguments import OpError
from rv_check.ops.op import OPS, Shape
from rv_check.text import listed, nearest, quote, shown_shape

HEADS = "a list of ops, as in dropout(0.5), linear(2)"


@dataclass(frozen=True, eq=False)
class Fitted(Arch):
    """An arch whose last linear layer is replaced by other layers."""

    head: tuple[Item, ...] = ()

    @cached_property
    def tree(self) -> Tree:
        """The expanded arch with its new head. Raises: SpecError, RvCheckError."""
        base = super().tree
        return replace(base, root=_grafted(base.root, head_of(base.root).split("."), self.head))


def head_of(root: Module) -> str:
    """The name of the last layer, which must be a linear one. Raises: RvCheckError."""
    path, module = "", root
    while True:
        *_, (name, item) = children(module.seq)
        path += name
        if isinstance(item.node, Layer):
            if item.node.op.name != "linear":
                raise RvCheckError(f"the last layer, {path}, is {item.node.op.name}", expected="linear, as its head")
            return path
        assert isinstance(item.node, Module)
        path, module = f"{path}.", item.node


def _grafted(module: Module, path: Sequence[str], head: tuple[Item, ...]) -> Module:
    """The module with the layer at the end of `path`, its last, replaced."""
    item = child(module.seq, path[0])
    assert item is not None
    if len(path) > 1:
        assert isinstance(item.node, Module)
        new: Layer | Module = _grafted(item.node, path[1:], head)
    elif len(head) == 1:
        (only,) = head
        assert isinstance(only.node, Layer)
        new = only.node
    else:
        new = Module("", _sequence(head))
    if item not in module.seq.items:
        raise RvCheckError(f"the head {'.'.join(path)} stands in a join or a repeat", expected="a step of its own")
    items = tuple(replace(one, node=new) if one is item else one for one in module.seq.items)
    changed = replace(module.seq, items=items, y=new.y, layers=module.seq.layers - item.node.layers + new.layers)
    return replace(module, seq=changed)


def _sequence(items: tuple[Item, ...]) -> Seq:
    return Seq(items, items[0].node.x, items[-1].node.y, len(items), len(items), len(items), 1, named=False)


def parse_head(text: str, x: Shape) -> tuple[Item, ...]:
    """The layers of a head on an input of shape `x`. A linear layer has a bias unless it says otherwise.

    Raises: RvCheckError for what is no op, or does not fit: `in_features=512`, where it is given, is what comes in.
    """
    place = Place(Document(Path("head"), (text,), is_file=False), 1, 1)
    found: list[Item] = []
    for part in re.split(r",\s*(?![^(]*\))", text):
        call = parse_call(Text(part.strip(), place), "a layer of a head", HEADS)
        if call.name not in OPS:
            message, near = f"the head has no op {quote(call.name)}", nearest(call.name, OPS)
            raise RvCheckError(message, expected=listed(OPS), near=near)
        told = {one.keyword: one for one in call.arguments}
        width = told.pop("in_features", None)
        if width is not None and width.value.integer(Scope({})) != x[-1]:
            raise RvCheckError(
                f"the head does not fit: {part.strip()} takes {width.value.text} features, and {x[-1]:,} come in",
                expected=f"in_features={x[-1]}, or none, since it is known",
            )
        call = replace(call, arguments=tuple(one for one in call.arguments if one is not width))
        default = {"bias": True} if call.name == "linear" and "bias" not in told else {}
        values = bind(OPS[call.name], default, call, Scope({}))
        try:
            op = ops.make(OPS[call.name], values)
            y = op.shape(x)
        except OpError as error:
            raise RvCheckError(f"the head does not fit: {part.strip()}: {error.message}") from None
        found.append(Item(None, Layer(op, x, y), place))
        x = y
    return tuple(found)


@dataclass(frozen=True)
class TransferPart:
    """A part of a network, with how many of its parameters train and how many do not."""

    name: str
    trainable: int
    frozen: int


@dataclass(frozen=True, eq=False)
class TransferPlan:
    """A network with a new head, `head` by name, and parts of it frozen. `before`: with its old one."""

    before: Arch
    arch: Arch
    head: str
    freeze: tuple[str, ...]

    @cached_property
    def parameters(self) -> dict[str, int]:
        """Every parameter by name, in the order of the flow, with its size."""
        return {name: prod(shape) for name, shape in self.arch.state.items() if name in self._names}

    @cached_property
    def _names(self) -> frozenset[str]:
        return self._graph(training=True, batch=2).parameters

    @cached_property
    def frozen(self) -> frozenset[str]:
        """The names of the parameters that do not train."""
        return frozenset(name for name in self.parameters if is_under(name, self.freeze))

    @property
    def total(self) -> int:
        """Parameters."""
        return sum(self.parameters.values())

    @property
    def trainable(self) -> int:
        """Parameters that train."""
        return sum(size for name, size in self.parameters.items() if name not in self.frozen)

    def parts(self) -> list[TransferPart]:
        """The outermost parts that have parameters, in order."""
        sizes: dict[str, list[int]] = {}
        for name, size in self.parameters.items():
            sizes.setdefault(name.partition(".")[0], [0, 0])[name in self.frozen] += size
        return [TransferPart(name, trainable, frozen) for name, (trainable, frozen) in sizes.items()]

    def _graph(self, *, training: bool, batch: int) -> Graph:
        return graph_of(self.arch, training=training, batch=batch, form=Form.AS_RUN)

    def graph(self, *, training: bool = True, batch: int = 1) -> Graph:
        """Its operations, those of frozen parameters without gradients of their own."""
        graph = self._graph(training=training, batch=batch)
        return replace(graph, frozen=frozenset(self.frozen))

    def macs(self) -> tuple[int, int]:
        """Multiply-adds of one image, forward and backward."""
        done = operations(self.graph(training=False))
        return sum(one.macs for one in done), sum(one.backward for one in done)

    def memory(self, batch: int, dtype: str, optimiser: str) -> Memory:
        """Bytes of a training step: gradients and the optimiser's state of what trains alone. Raises: RvCheckError."""
        graphs = self.graph(batch=batch), self.graph(training=False, batch=batch)
        return memory.memory(*graphs, dtype, optimiser)

    def norms(self) -> list[str]:
        """Batch norms with running statistics, all of whose parameters are frozen."""
        names = [name.removesuffix(".running_mean") for name in self.arch.state if name.endswith(".running_mean")]
        return [name for name in names if f"{name}.weight" in self.frozen]

    def warnings(self) -> list[str]:
        """What people miss."""
        return [*self._before_frozen(), *self._statistics(), *self._head()]

    def _before_frozen(self) -> Iterator[str]:
        names = list(self.parameters)
        last = max((i for i, name in enumerate(names) if name in self.frozen), default=-1)
        early = [name for name in names[: max(last, 0)] if name not in self.frozen and not is_under(name, (self.head,))]
        if early:
            parts = dict.fromkeys(name.partition(".")[0] for name in early)
            size = sum(self.parameters[name] for name in early)
            after = ",".join(dict.fromkeys((*parts, *self.freeze)))
            yield (
                f"{listed(parts)} ({size:,} parameters) still train, before a frozen part, and gradients go back "
                f"through all of it: --freeze {after}"
            )

    def _statistics(self) -> Iterator[str]:
        norms = self.norms()
        if norms:
            yield (
                f"the running statistics of {len(norms)} frozen batch norms still move in train mode: put them in "
                "eval mode after every model.train()"
            )

    def _head(self) -> Iterator[str]:
        if any(is_under(name, (self.head,)) for name in self.frozen):
            yield f"the new head {self.head} is frozen, and stays as it starts"


def is_under(name: str, parts: Sequence[str]) -> bool:
    """Whether a parameter or buffer is one of these parts, or in one; a part may be a pattern."""
    above = [name[:at] for at, character in enumerate(name) if character == "."]
    return any(fnmatchcase(one, part) for part in parts for one in (*above, name))


def see_parts(freeze: Sequence[str], names: Sequence[str]) -> None:
    """Raises: RvCheckError for a part that has no parameter."""
    for part in freeze:
        if not any(is_under(name, (part,)) for name in names):
            known = list(dict.fromkeys(name.partition(".")[0] for name in names))
            message, near = f"there is no parameter in {quote(part)} to freeze", nearest(part, known)
            raise RvCheckError(message, expected=listed(known), near=near)


def plan(
    name: str, classes: int | None = None, freeze: Sequence[str] = (), head: str | None = None, input: str | None = None
) -> TransferPlan:
    """What becomes of an arch. Without torch.

    Args: `name` as for `arch.load`; `classes` of the new head; `freeze` parts, by name or pattern; `head` the ops that
    replace the last linear layer, as `dropout(0.5), linear(2)`, and linear(classes) unless given.
    Raises: RvCheckError for an unknown arch or part, or a head that does not fit or has other classes.
    """
    before = load(name, input)
    path = head_of(before.tree.root)
    row = before.step(path)
    assert row is not None
    if classes is None and head is None:
        raise RvCheckError("a transfer needs a head", expected="--classes N, or --head")
    items = parse_head(head or f"linear({classes})", row.x)
    y = items[-1].node.y
    if classes is not None and y != (classes,):
        found = shown_shape(y)
        raise RvCheckError(
            f"the head gives {found}, and there are {classes} classes", expected=f"linear({classes}) last"
        )
    fitted = Fitted(before.family, before.entry, before.values, before.overrides, before.input, before.budget, items)
    made = TransferPlan(before, fitted, path, tuple(freeze))
    see_parts(freeze, list(made.parameters))
    return made
