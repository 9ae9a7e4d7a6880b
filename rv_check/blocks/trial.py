"""A case with a way to make its module, and what a property may find of it.

A property raises `Fails` where it does not hold, `Unfit` where the case has nothing to say of it, `NoSum` where there
is no residual to speak of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from rv_check.graphs.graph import Graph, Node, describe
from rv_check.graphs.network import At
from rv_check.modules import generic_point, trace
from rv_check.modules.observe import Subject
from rv_check.modules.torch_state import seeded
from rv_check.ops.op import Shape
from rv_check.text import shown_shape


class Fails(Exception):
    """A property does not hold."""

    def __init__(self, message: str, found: str | None = None, expected: str | None = None):
        super().__init__(message)
        self.found, self.expected = found, expected


class Unfit(Exception):
    """The case has nothing to say of a property."""


class NoSum(Exception):
    """Nothing is added to the input, which the property `residual` says."""


@dataclass(frozen=True)
class Limit:
    """What a contract says of a cost: `found` must lie between the two."""

    metric: str  # params, macs, activations, receptive_field
    words: str  # "at most bottleneck(64)"
    least: int | None
    most: int | None
    value: str = ""  # the value that it is compared with, as printed


@dataclass(frozen=True)
class BlockCase:
    """Arguments of a contract, an input, and what the contract says of it. None in `out`: any size."""

    values: Mapping[str, Any]
    x: Shape
    batch: int
    out: tuple[int | None, ...]
    limits: tuple[Limit, ...] = ()

    def __str__(self) -> str:
        words = [f"{name}={value}" for name, value in self.values.items()]
        return ", ".join([*words, f"in {shown_shape(self.x)}", f"batch {self.batch}"])


@dataclass
class Trial:
    """A case with a way to make its module, freshly each time, with the same weights."""

    case: BlockCase
    build: Callable[[], nn.Module]
    stack: Callable[[], list[nn.Module]] = field(default=list)  # modules to stand one after the other
    still: Callable[[], nn.Module] | None = None  # makes it with a stride of 0, where a stride is an argument

    @property
    def x(self) -> Shape:
        return self.case.x

    def fresh(self) -> nn.Module:
        """The module as its author initialises it, from seed 0."""
        with seeded(0):
            return self.build()

    def point(self, dtype: torch.dtype | None = None, seed: int = generic_point.WEIGHTS) -> nn.Module:
        """The module at a generic point, in eval mode."""
        module = self.fresh().float()
        generic_point.generic_point(module, seed)
        return module.to(dtype or self.dtype).eval()

    def image(
        self, batch: int | None = None, dtype: torch.dtype | None = None, seed: int = generic_point.INPUT
    ) -> Tensor:
        """A batch of random images."""
        return generic_point.image(self.x, batch or self.case.batch, dtype or self.dtype, "cpu", seed)

    @cached_property
    def dtype(self) -> torch.dtype:
        """Float64, where the block runs in it."""
        try:
            with torch.no_grad():
                returned = self.point(torch.float64)(self.image(1, torch.float64))
        except Exception:  # whatever it raises: `dtype` says so
            return torch.float32
        return torch.float64 if isinstance(returned, Tensor) and returned.dtype == torch.float64 else torch.float32

    @property
    def tolerance(self) -> float:
        return trace.TOLERANCE[self.dtype]

    @cached_property
    def runs(self) -> bool:
        """Whether it gives a tensor of the shape that it should."""
        try:
            shape(self)
        except Exception:  # whatever it raises: `shape` says so
            return False
        return True

    def graph(self, training: bool = False) -> Graph:
        """What it does, operation by operation."""
        if training not in self._graphs:
            self._graphs[training] = Subject(self.point(torch.float32)).observe(
                At(self.x, batch=self.case.batch, training=training)
            )
        return self._graphs[training]

    @cached_property
    def _graphs(self) -> dict[bool, Graph]:
        return {}

    @cached_property
    def split(self) -> Split:
        """The last sum and what it adds. Raises: Fails."""
        return _split(self.graph())


def output(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """What a module gives, without gradients."""
    with torch.no_grad():
        return module(x)


def shape(trial: Trial) -> None:
    """A tensor of the shape that the contract says.

    Raises: Fails.
    """
    returned = output(trial.point(torch.float32), trial.image(dtype=torch.float32))
    if not isinstance(returned, Tensor):
        raise Fails("it does not return a tensor", type(returned).__name__, "a tensor")
    expected = (trial.case.batch, *trial.case.out)
    same = len(returned.shape) == len(expected) and all(
        side is None or side == size for side, size in zip(expected, returned.shape, strict=False)
    )
    if not same:
        raise Fails(f"the output is {shown_shape(returned.shape)}", shown_shape(returned.shape), shown_shape(expected))


# The residual


@dataclass(frozen=True)
class Split:
    """`after(sum(shortcut, *branches))`."""

    graph: Graph
    shortcut: Node
    branches: tuple[Node, ...]
    after: tuple[Node, ...]  # the operations from the sum to the output


def _split(graph: Graph) -> Split:
    node = next(iter(graph.outputs.values()))
    after: list[Node] = []
    while node.kind != "sum":
        live = [feed for feed in node.inputs if not feed.fixed]
        if len(live) != 1:
            met = f": its last operation of several values is {describe(node)}" if live else ""
            raise Fails(f"nothing is added to its input{met}", node.kind, "a sum of a shortcut and a branch")
        after.append(node)
        (node,) = live
    operands = [feed for feed in node.inputs if not feed.fixed]
    if len(operands) < 2:
        raise Fails("nothing is added to its input", describe(node), "a sum of a shortcut and a branch")
    shortcut = min(operands, key=lambda operand: rank(operand))
    branches = tuple(operand for operand in operands if operand is not shortcut)
    weighted = [one for one in after if one.tensors or _multiplies(one)]
    if weighted:
        raise Fails(f"the sum is followed by {describe(weighted[-1])}", describe(weighted[-1]), "an activation at most")
    if operands.count(shortcut) > 1:
        raise Fails("the shortcut is added more than once", str(operands.count(shortcut)), "once")
    if len(set(branches)) < len(branches):
        raise Fails("the branch is added more than once", str(len(branches)), "once")
    return Split(graph, shortcut, branches, tuple(reversed(after)))


def before(node: Node) -> set[Node]:
    """A node and all that it depends on, constants apart."""
    found, stack = set(), [node]
    while stack:
        one = stack.pop()
        if one not in found and not one.fixed:
            found.add(one)
            stack += one.feeds
    return found


def _multiplies(node: Node) -> bool:
    return node.row.multiplies not in ("nothing", "unknown")


def rank(node: Node) -> tuple[int, int]:
    """How much of a network leads to a node: operations with weights first, then all."""
    nodes = before(node)
    return sum(map(_multiplies, nodes)), len(nodes)
