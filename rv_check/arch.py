"""An arch by name: `resnet50`, `resnet50(classes=10)`, `path/to/file.yaml::arch`. The static side."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from rv_check import analyses, library
from rv_check.analyses import ReceptiveField, Row
from rv_check.errors import Document, Place, Problem, RvCheckError, SpecError, once_per_place, unknown
from rv_check.expr import Call, Value, check_keyword, parse_call, show
from rv_check.ops import Shape
from rv_check.source import Text
from rv_check.spec import ArchEntry, Block, Contract, Family, parse_input
from rv_check.text import listed, nearest, quote, quote_plain, shown_path, shown_shape
from rv_check.tree import (
    Budget,
    Layer,
    Module,
    Node,
    Tree,
    bind,
    child,
    children,
    definition_scope,
    expand,
    with_defaults,
)


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
    budget: Budget = field(default_factory=Budget, repr=False)  # of expanding it, shared with its family in load_archs

    @property
    def name(self) -> str:
        """As it is written: `resnet50(classes=10)`."""
        if not self.overrides:
            return self.entry.name
        return f"{self.entry.name}({', '.join(f'{k}={show(v)}' for k, v in self.overrides.items())})"

    @property
    def declared_input(self) -> Shape:
        """C, H, W as the spec declares it."""
        return self.entry.input or self.family.input

    @property
    def is_declared(self) -> bool:
        """Whether this is the arch as its spec declares it, so that published numbers and contracts speak of it."""
        return not self.overrides and self.input == self.declared_input

    def at(self, input: Shape) -> Arch:
        """The arch at another input size, with a budget of its own."""
        return self if input == self.input else replace(self, input=input, budget=Budget())

    @cached_property
    def tree(self) -> Tree:
        """The expanded arch. Raises: SpecError."""
        values = {**self.values, **self.overrides}
        at_declared_input = self.input == self.declared_input
        tree = expand(self.family, self.entry, values, self.input, at_declared_input, self.budget)
        unknown = [_unknown_step(self.name, tree.root, contract) for contract in self.entry.contract]
        problems = [problem for problem in unknown if problem]
        if problems and self.is_declared:
            raise SpecError(problems)
        return tree

    @property
    def params(self) -> int:
        """Number of parameters."""
        return analyses.params(self.tree.root)

    @property
    def macs(self) -> int:
        """Multiply-adds of one image of size `input`."""
        return analyses.macs(self.tree.root)

    @property
    def activations(self) -> int:
        """Output elements of convolutions and linear layers, for one image."""
        return analyses.activations(self.tree.root)

    @property
    def depth(self) -> int:
        """Weighted layers on the main path."""
        return analyses.depth(self.tree.root)

    @property
    def skip_connections(self) -> int:
        """Sums with a branch that is the identity or a projection."""
        return analyses.skip_connections(self.tree.root)

    @property
    def receptive_field(self) -> ReceptiveField:
        """Of a unit of the last feature map before the pool to a fixed size, in input pixels."""
        return analyses.receptive_field(self.tree.root)

    def rows(self, fold_at: int | None = None) -> Iterator[Row]:
        """The flat listing; modules `fold_at` names deep stand as one row."""
        return analyses.rows(self.tree.root, fold_at)

    def step(self, path: str) -> Row | None:
        """The layer or module of that dotted name."""
        return analyses.step(self.tree.root, path)

    @cached_property
    def state(self) -> dict[str, Shape]:
        """Every parameter and buffer by its `state_dict` name, in order, with its shape."""
        return dict(_state(self.tree.root, ""))

    def __repr__(self) -> str:
        return f"Arch({self.name!r}, input={shown_shape(self.input)!r})"


def _unknown_step(arch: str, root: Module, contract: Contract) -> Problem | None:
    """What is wrong with the step that a contract names, if it is not there."""
    node: Node = root
    before = ""
    for part in contract.step.split("."):
        item = child(node.seq, part) if isinstance(node, Module) else None
        if item is None:
            inside = itertools.islice(children(node.seq), 100) if isinstance(node, Module) else ()
            known = [before + name for name, _ in inside]
            expected = listed(known, none=f"no step in {before[:-1]}")
            near = nearest(before + part, known)
            return Problem(f"{arch} has no step {quote(contract.step)}", contract.place, expected, near)
        before, node = f"{before}{part}.", item.node
    return None


def _state(module: Module, prefix: str) -> Iterator[tuple[str, Shape]]:
    for name, item in children(module.seq):
        node = item.node
        if isinstance(node, Layer):
            for part, shape in (node.op.params(node.x) | node.op.buffers(node.x)).items():
                yield f"{prefix}{name}.{part}", shape
        elif isinstance(node, Module):
            yield from _state(node, f"{prefix}{name}.")


def load(name: str, input: str | None = None) -> Arch:
    """The arch of that name: `resnet50`, `resnet50(classes=10)`, or `path/to/file.yaml::arch`.

    Args: `input` an input size other than the declared one, as `3 320 320`.
    Raises: RvCheckError for an unknown name, SpecError for a bad spec or an argument that does not fit.
    """
    path, _, asked = name.rpartition("::")
    if not path and asked.endswith(library.SUFFIXES):
        known = listed(_family(Path(asked)).archs)
        raise RvCheckError(f"{quote(asked)} is a file", expected=f"{quote_plain(asked)}::ARCH, one of {known}")
    call = parse_call(_typed(asked), "an arch", "the name of an arch, as in resnet50 or resnet50(classes=10)")
    if path:
        family = _family(Path(path))
        if call.name not in family.archs:
            message, near = f"{shown_path(Path(path))} has no arch {quote(call.name)}", nearest(call.name, family.archs)
            raise RvCheckError(message, expected=listed(family.archs), near=near)
    else:
        family = _shipped_family(call.name)
    entry = family.archs[call.name]
    size = parse_size(input) if input is not None else entry.input or family.input
    return Arch(family, entry, _build_arguments(family, entry), _overrides(family, call), size)


def parse_size(text: str) -> Shape:
    """An input size as somebody typed it, `3 320 320`. Raises: SpecError."""
    return parse_input(_typed(text))


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


def _typed(text: str) -> Text:
    """What somebody typed, and no file."""
    return Text(text, Place(Document(Path("argument"), (text,), is_file=False), 1, 1))


def archs() -> list[Arch]:
    """Every shipped arch, in the order of the files."""
    found = []
    for family in families():
        found += archs_of(family)
    return found


def archs_of(family: Family) -> list[Arch]:
    """The archs of one family, as declared. Raises: SpecError."""
    return [
        Arch(family, entry, _build_arguments(family, entry), {}, entry.input or family.input)
        for entry in family.archs.values()
    ]


def families() -> list[Family]:
    """The shipped families."""
    found = [library.load(path) for path in library.family_files(library.shipped_folder())]
    return [definition for definition in found if isinstance(definition, Family)]


def load_archs(path: Path) -> list[Arch]:
    """The archs of a family file, each expanded. Raises: SpecError with the errors of all of them."""
    family = _family(path)
    found: list[Arch] = []
    problems: list[Problem] = []
    budget = Budget()
    for entry in family.archs.values():
        try:
            values = _build_arguments(family, entry)
            arch = Arch(family, entry, values, {}, entry.input or family.input, budget)
            _ = arch.tree
            found.append(arch)
        except SpecError as error:
            problems += error.problems
        if budget.steps < 0:
            break
    if problems:
        raise SpecError(once_per_place(problems))
    return found


def _family(path: Path) -> Family:
    definition = library.load(path)
    if isinstance(definition, Block):
        raise SpecError([Problem("this is a block, not a family", definition.place, "a family: file with archs:")])
    return definition


def _shipped_family(arch: str) -> Family:
    shipped = families()
    found = [family for family in shipped if arch in family.archs]
    if not found:
        raise unknown("arch", arch, [name for family in shipped for name in family.archs])
    if len(found) > 1:
        files = " and ".join(shown_path(family.path) for family in found)
        raise RvCheckError(f"there are two archs {quote(arch)}: in {files}", expected=f"path/to/file.yaml::{arch}")
    return found[0]


def _build_arguments(family: Family, entry: ArchEntry) -> dict[str, Value]:
    """The values of an arch's `build:`, which `library` has checked."""
    return bind(family, {}, entry.build, definition_scope(family, {}))


def _overrides(family: Family, call: Call) -> dict[str, Value]:
    """The values of `resnet50(classes=10)`, by keyword only. Raises: SpecError."""
    scope = definition_scope(family, {})
    values = {}
    problems: list[Problem] = []
    for argument in call.arguments:
        try:
            if argument.keyword is None:
                found = f"{call.name} is given {argument.value.text} without a name"
                expected = listed(f"{name}={argument.value.text}" for name in family.argument_names)
                raise SpecError([Problem(found, argument.place, expected)])
            check_keyword(family, argument.keyword, argument.place)
            values[argument.keyword] = argument.value.evaluate(scope)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return values


__all__ = ["Arch", "archs", "load", "load_archs", "parse_size", "small_inputs", "with_defaults"]
