"""An arch: an entry of a family with its arguments and its input, its tree, and exact numbers of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from rv_check.archs import analyses, listing
from rv_check.archs.expand import expand
from rv_check.archs.listing import Row
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.archs.trail import Budget
from rv_check.archs.tree import Layer, Module, Tree, TreeNode, child, children, named, walk
from rv_check.errors import Place, Problem, SpecError
from rv_check.language.definitions import ArchEntry, Family, InitRule
from rv_check.language.initialisation import matrix_problem
from rv_check.language.vocabulary import INIT_OPS
from rv_check.ops.op import OPS, Shape
from rv_check.text import listed, nearest, quote, shown_shape
from rv_check.values import Value, show

SIZES_KEPT = 16  # of an arch: a check of it looks at some five


@dataclass(frozen=True, eq=False)
class Arch:
    """One network: a family's body with its arguments filled, at one input size.

    Everything numeric is exact and computed from the spec alone, without torch.
    """

    family: Family
    entry: ArchEntry
    values: dict[str, Value] = field(default_factory=dict)
    overrides: dict[str, Value] = field(default_factory=dict)  # arguments that differ from the arch as declared
    input: Shape = ()  # C, H, W
    budget: Budget | None = field(default=None, repr=False)  # what expanding may take, where archs share it
    _elsewhere: dict[Shape, Arch] = field(default_factory=dict, init=False, repr=False)

    @property
    def name(self) -> str:
        """The name as it is written: `resnet50(classes=10)`."""
        if not self.overrides:
            return self.entry.name
        return f"{self.entry.name}({', '.join(f'{k}={show(v)}' for k, v in self.overrides.items())})"

    @property
    def declared_input(self) -> Shape:
        """The input size C, H, W that the spec declares."""
        return self.entry.input or self.family.input

    @property
    def is_declared(self) -> bool:
        """Whether this is the arch as its spec declares it, so that published numbers and contracts speak of it."""
        return not self.overrides and self.input == self.declared_input

    def at(self, input: Shape) -> Arch:
        """The arch at another input size; the same one again, so that it is expanded once, of the last few."""
        if input == self.input:
            return self
        if input not in self._elsewhere:
            if len(self._elsewhere) >= SIZES_KEPT:
                self._elsewhere.clear()
            self._elsewhere[input] = replace(self, input=input, budget=None)
        return self._elsewhere[input]

    @cached_property
    def tree(self) -> Tree:
        """The expanded arch.

        Raises: SpecError where it cannot be expanded, or lacks a step that a contract or a rule of `init:` names.
        """
        values = {**self.values, **self.overrides}
        at_declared_input = self.input == self.declared_input
        tree = expand(self.family, self.entry, values, self.input, at_declared_input, self.budget)
        unknown = [
            _unknown_step(self.name, tree.root, contract.step, contract.place) for contract in self.entry.contract
        ]
        unknown += [_not_started(self.name, tree.root, rule) for rule in self.family.init]
        problems = [problem for problem in unknown if problem]
        if problems and self.is_declared:
            raise SpecError(problems)
        return tree

    @property
    def params(self) -> int:
        """The number of parameters. Raises: SpecError."""
        return analyses.params(self.tree.root)

    @property
    def macs(self) -> int:
        """The multiply-adds of one image of size `input`. Raises: SpecError."""
        return analyses.macs(self.tree.root)

    @property
    def activations(self) -> int:
        """The output elements of convolutions and linear layers, for one image. Raises: SpecError."""
        return analyses.activations(self.tree.root)

    @property
    def depth(self) -> int:
        """The number of weighted layers on the main path. Raises: SpecError."""
        return analyses.depth(self.tree.root)

    @property
    def skip_connections(self) -> int:
        """The number of sums with a branch that is the identity or a projection. Raises: SpecError."""
        return analyses.skip_connections(self.tree.root)

    @property
    def receptive_field(self) -> ReceptiveField:
        """The field of a unit of the last map before the pool to a fixed size, in input pixels. Raises: SpecError."""
        return analyses.receptive_field(self.tree.root)

    def rows(self, fold_at: int | None = None) -> Iterator[Row]:
        """The flat listing; modules `fold_at` names deep stand as one row. Raises: SpecError."""
        return listing.rows(self.tree.root, fold_at)

    def step(self, path: str) -> Row | None:
        """The layer or module of that dotted name, or None. Raises: SpecError."""
        return listing.step(self.tree.root, path)

    @cached_property
    def state(self) -> dict[str, Shape]:
        """Every parameter and buffer by its `state_dict` name, in order, with its shape. Raises: SpecError."""
        return dict(_state(self.tree.root, ""))

    def __repr__(self) -> str:
        return f"Arch({self.name!r}, input={shown_shape(self.input)!r})"


def _unknown_step(arch: str, root: Module, path: str, place: Place, ops: Iterable[str] = ()) -> Problem | None:
    """What is wrong with a dotted name, if no step has it. `ops`: names that might have stood there as well."""
    node: TreeNode = root
    before = ""
    for part in path.split("."):
        item = child(node.seq, part) if isinstance(node, Module) else None
        if item is None:
            inside = itertools.islice(children(node.seq), 100) if isinstance(node, Module) else ()
            known = [*ops, *(before + name for name, _ in inside)]
            expected = listed(known, none=f"no step in {before[:-1]}")
            what = "op or step" if ops else "step"
            return Problem(f"{arch} has no {what} {quote(path)}", place, expected, nearest(before + part, known))
        before, node = f"{before}{part}.", item.node
    return None


def _not_started(arch: str, root: Module, rule: InitRule) -> Problem | None:
    """What is wrong with the step that a rule of `init:` names, if it is not there, or is no layer that starts so."""
    if rule.of in OPS:
        return None
    unknown = _unknown_step(arch, root, rule.of, rule.place, () if "." in rule.of else INIT_OPS)
    if unknown is not None:
        return unknown
    row = listing.step(root, rule.of)
    assert row is not None, "it is there"
    if not isinstance(row.node, Layer):
        return Problem(f"{quote(rule.of)} is no layer", rule.place, "an op, or the name of a layer")
    op = row.node.op.name
    if op not in INIT_OPS:
        found = f"{quote(rule.of)} is a {op}, which has nothing to initialise"
        return Problem(found, rule.place, f"a layer that has: {', '.join(INIT_OPS)}")
    return matrix_problem(rule.method, rule.arguments, op, rule.place)


def _state(module: Module, prefix: str) -> Iterator[tuple[str, Shape]]:
    for visit in named(walk(module.seq)):
        node, name = visit.node, visit.name
        if isinstance(node, Layer):
            for part, shape in (node.op.params(node.x) | node.op.buffers(node.x)).items():
                yield f"{prefix}{name}.{part}", shape
        elif isinstance(node, Module):
            yield from _state(node, f"{prefix}{name}.")


def small_inputs(x: Shape) -> list[list[Shape]]:
    """Square inputs not larger than `x`, the smallest first: one of each list is to be tried.

    Where a network halves its maps they stay even all the way down in the first list; in the second all are odd where
    halves are rounded down (a pool of 2x2), in the third where they are rounded up (a convolution with padding). A
    window that does not fit, or is moved, shows at an odd size, or at an even one.
    """
    if len(x) != 3:
        return []
    most = min(x[1:])
    sides = (
        *((64, 96, 128, 160, most), (63, 95, 127, 159, most // 8 * 8 - 1)),
        (65, 97, 129, 161, (most - 2) // 8 * 8 + 1),
    )
    squares: list[list[Shape]] = [[(x[0], side, side) for side in some if 1 < side <= most] for some in sides]
    return [some for some in squares if some]
