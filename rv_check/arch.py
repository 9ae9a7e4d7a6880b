"""An arch by name: `resnet50`, `resnet50(classes=10)`, `path/to/file.yaml::arch`. The static side of the public face."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rv_check import analyses, library
from rv_check.analyses import ReceptiveField, Row
from rv_check.expr import Call, Value, parse_call, show
from rv_check.ops import Shape
from rv_check.problems import Document, Place, Problem, RvCheckError, SpecError, nearest, quote
from rv_check.source import Text
from rv_check.spec import ArchEntry, Block, Family, parse_input
from rv_check.tree import Layer, Module, Tree, children, definition_scope, expand, with_defaults


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

    @cached_property
    def tree(self) -> Tree:
        """The expanded arch. Raises: SpecError."""
        values = {**self.values, **self.overrides}
        tree = expand(self.family, self.entry, values, self.input, self.input == self.declared_input)
        if self.is_declared:
            self._contract_steps(tree)
        return tree

    def _contract_steps(self, tree: Tree) -> None:
        problems = []
        for contract in self.entry.contract:
            if analyses.step(tree.root, contract.step) is None:
                known = analyses.names(tree.root)
                message = f"{self.name} has no step {quote(contract.step)}"
                near = nearest(contract.step, known)
                problems.append(Problem(message, contract.place, ", ".join(known[:12]), near))
        if problems:
            raise SpecError(problems)

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
        return f"Arch({self.name!r}, input={' '.join(map(str, self.input))!r})"


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
    path, _, call_text = name.rpartition("::")
    asked = Text(call_text.strip(), Place(Document(Path("argument"), (call_text.strip(),)), 1, 1))
    call = parse_call(asked)
    if path:
        family = _family(Path(path))
        if call.name not in family.archs:
            known = list(family.archs)
            raise _unknown(f"{path} has no arch {quote(call.name)}", call.name, known)
    else:
        family = _shipped_family(call.name)
    entry = family.archs[call.name]
    size = entry.input or family.input
    if input is not None:
        size = parse_input(Text(input, Place(Document(Path("--input"), (input,)), 1, 1)))
    return Arch(family, entry, _arguments(family, entry.build, {}), _arguments(family, call, None), size)


def archs() -> list[Arch]:
    """Every shipped arch, in the order of the files."""
    found = []
    for family in families():
        found += archs_of(family)
    return found


def archs_of(family: Family) -> list[Arch]:
    """The archs of one family, as declared."""
    return [
        Arch(family, entry, _arguments(family, entry.build, {}), {}, entry.input or family.input)
        for entry in family.archs.values()
    ]


def families() -> list[Family]:
    """The shipped families."""
    found = [library.load(path) for path in library.family_files(library.shipped_folder())]
    return [definition for definition in found if isinstance(definition, Family)]


def load_archs(path: Path) -> list[Arch]:
    """The archs of a family file, each expanded. Raises: SpecError with the errors of all of them."""
    found = archs_of(_family(path))
    problems: list[Problem] = []
    for arch in found:
        try:
            _ = arch.tree
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return found


def _family(path: Path) -> Family:
    definition = library.load(path)
    if isinstance(definition, Block):
        raise SpecError([Problem("this is a block, not a family", definition.place, "a family: file with archs:")])
    return definition


def _shipped_family(arch: str) -> Family:
    known: list[str] = []
    for family in families():
        if arch in family.archs:
            return family
        known += family.archs
    raise _unknown(f"unknown arch {quote(arch)}", arch, known)


def _unknown(message: str, name: str, known: list[str]) -> RvCheckError:
    near = nearest(name, known)
    hint = f"    did you mean: {near}" if near else ""
    return RvCheckError(f"{message}\n  expected: {', '.join(known)}{hint}")


def _arguments(family: Family, call: Call, declared: dict[str, Value] | None) -> dict[str, Value]:
    """The values of a call of a family. `declared` None: an override of an arch, by keyword only, nothing required."""
    scope = definition_scope(family, {})
    if declared is not None:
        library.check_call(family, call, ())
        names = family.argument_names
        return {
            (a.keyword if a.keyword is not None else names[i]): a.value.evaluate(scope)
            for i, a in enumerate(call.arguments)
        }
    values = {}
    for argument in call.arguments:
        if argument.keyword is None:
            expected = ", ".join(f"{name}=..." for name in family.argument_names)
            raise SpecError([Problem(f"{argument.value.text} is given by position", argument.place, expected)])
        if argument.keyword not in family.argument_names:
            known = family.argument_names
            message = f"{call.name} has no argument {quote(argument.keyword)}"
            near = nearest(argument.keyword, known)
            raise SpecError([Problem(message, argument.place, ", ".join(known), near)])
        values[argument.keyword] = argument.value.evaluate(scope)
    return values


__all__ = ["Arch", "archs", "load", "load_archs", "with_defaults"]
