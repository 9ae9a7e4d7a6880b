"""What the names in a claim stand for.

An expression is one of the spec language's with dotted names in it: `resnet50.params`, `resnet18(width=32).gmacs`,
`resnet50.fc.in_features`, `vgg16.classifier[0].weights`. In a table, where the row names the network, the quantity or
the part is enough: `params`, `fc.in_features`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

from rv_check.archs.load import families, load, variants
from rv_check.claims.of_arch import ArchQuantities
from rv_check.claims.of_module import module_quantities
from rv_check.claims.reading import NamedNetwork, network_named
from rv_check.claims.vocabulary import QUANTITIES, NotKnown
from rv_check.errors import CannotRun, Place, RvCheckError, SpecError
from rv_check.language.expressions import FUNCTIONS, Expr, Scope
from rv_check.language.inputs import Inputs
from rv_check.language.yaml_nodes import Text
from rv_check.text import listed, nearest, quote, shown_shape
from rv_check.values import Number

EXPRESSION = "numbers, + - * / //, comparisons, and facts: resnet50.params, vgg16.classifier[0].weights"


class OfPart(Protocol):
    """What can be said of a network or a part of one."""

    def value(self, name: str) -> Number | None:
        """The quantity of that name; None where there is no one number. Raises: RvCheckError, NotKnown."""


class OfNetwork(Protocol):
    """What can be said of a network."""

    @property
    def name(self) -> str:
        """What it is called, with its arguments."""

    def part(self, path: str) -> OfPart | None:
        """The part of that path, or all of it where that is empty; None where there is no such part."""

    def names(self) -> list[str]:
        """The names of its parts."""


class Quantities:
    """What the names in the claims of a file stand for: networks are loaded once."""

    def __init__(self, folder: Path, aliases: Mapping[str, NamedNetwork], input: Inputs | None = None):
        """`folder`: where the paths of `aliases` begin; `input`: that of networks without one of their own."""
        self.folder, self.aliases, self.input = folder, aliases, input
        self._loaded: dict[tuple[str, str, Inputs | None], OfNetwork | RvCheckError] = {}

    def __call__(self, expr: Expr, node: ast.Attribute) -> Number:
        """The value of a dotted name. Raises: SpecError for an unknown one, NotKnown, CannotRun."""
        root, path = _path(expr, node.value)
        text = Text(expr.text_of(root), expr.place_of(root))
        named = self.named(text)
        if named is None:
            name = text.text.partition("(")[0]
            raise NotKnown(f"there is no spec of {quote(name)}", nearest(name, self.known))
        return self.value(expr, node, self.network(named, expr.place_of(root)), expr.text_of(node.value), path)

    def value(self, expr: Expr, node: ast.Attribute | ast.Name, of: OfNetwork, where: str, path: str) -> Number:
        """The quantity that a name ends with. Args: `where` what stands before it, in words; `path` of the part.

        Raises: SpecError, NotKnown, CannotRun.
        """
        name = node.attr if isinstance(node, ast.Attribute) else node.id
        if name not in QUANTITIES:
            if of.part(f"{path}.{name}".lstrip(".")) is not None:
                raise expr.problem(node, f"{expr.text_of(node)} is a part, not a number", f".{', .'.join(QUANTITIES)}")
            near = nearest(name, QUANTITIES)
            raise expr.problem(node, f"{where} has no fact {quote(name)}", listed(QUANTITIES), near)
        part = of.part(path)
        if part is None:
            raise expr.problem(
                node, f"{of.name} has no part {quote(path)}", listed(of.names()), nearest(path, of.names())
            )
        try:
            value = part.value(name)
        except CannotRun:
            raise
        except RvCheckError as error:
            raise SpecError(problem.told_at(expr.place_of(node)) for problem in error.problems) from None
        if value is None:
            raise expr.problem(node, f"{where} has no one {quote(name)}", "another fact")
        return value

    def scope(self, expr: Expr, of: OfNetwork | None) -> Scope:
        """What an expression sees: dotted names, and in the row of a network `of` its quantities and its parts.

        Raises: as `value`.
        """
        if of is None:
            return Scope({}, quantity=self)
        return Scope(
            {node.id: self.value(expr, node, of, of.name, "") for node in bare(expr.node)}, quantity=self._of(of)
        )

    def _of(self, of: OfNetwork) -> Callable[[Expr, ast.Attribute], Number]:
        """Dotted names in the row of a network: one of its parts, or else another network."""

        def quantity(expr: Expr, node: ast.Attribute) -> Number:
            root, rest = _path(expr, node.value)
            text = Text(expr.text_of(root), expr.place_of(root))
            if of.part(text.text) is None and self.named(text) is not None:
                return self(expr, node)
            return self.value(expr, node, of, of.name, f"{text.text}.{rest}".rstrip("."))

        return quantity

    @cached_property
    def known(self) -> list[str]:
        """The names of networks: those that the file gives, and those of the shipped archs."""
        return [*self.aliases, *(arch for family in (*families(), *variants()) for arch in family.archs)]

    def named(self, text: Text) -> NamedNetwork | None:
        """The network of a name, with arguments if it has any, as `resnet50(classes=10)`; None where none is known.

        Raises: SpecError for arguments that are not written as they should be.
        """
        if text.text in self.aliases:
            return self.aliases[text.text]
        name, bracket, arguments = text.text.partition("(")
        if name in self.aliases:
            alias = self.aliases[name]
            return network_named(Text(f"{alias.name}{bracket}{arguments}", text.place, exact=False), alias.input)
        found = network_named(text)
        return found if found.is_module or "::" in name or name in self.known else None

    def network(self, named: NamedNetwork, place: Place) -> OfNetwork:
        """The network, loaded. Raises: SpecError at the place where it is asked for, CannotRun."""
        if named.key not in self._loaded:
            try:
                self._loaded[named.key] = self._load(named)
            except RvCheckError as error:
                self._loaded[named.key] = error
        found = self._loaded[named.key]
        if isinstance(found, CannotRun):
            raise found
        if isinstance(found, RvCheckError):
            raise SpecError(problem.told_at(place) for problem in found.problems)
        return found

    def _load(self, named: NamedNetwork) -> OfNetwork:
        input = named.input or self.input
        if named.call is not None:
            return module_quantities(named.seen_from(self.folder), named.call, input)
        if input is not None and not input.is_one_image:
            raise RvCheckError(f"{named.name} is given {input}", expected="one image, as an arch takes")
        arch = load(named.seen_from(self.folder), None if input is None else shown_shape(input.shape))
        _ = arch.tree
        return ArchQuantities(arch)


def bare(node: ast.AST) -> Iterator[ast.Name]:
    """The names in an expression that are no part of a dotted one, and no function."""
    if isinstance(node, ast.Name) and node.id not in FUNCTIONS:
        yield node
    if not isinstance(node, ast.Attribute):
        for child in ast.iter_child_nodes(node):
            yield from bare(child)


def _path(expr: Expr, node: ast.expr) -> tuple[ast.expr, str]:
    """The network and the part: `resnet50` and `layer1.0.conv1` of `resnet50.layer1[0].conv1`. Raises: SpecError."""
    parts: list[str] = []
    while True:
        match node:
            case ast.Attribute():
                parts.append(node.attr)
                node = node.value
            case ast.Subscript(slice=ast.Constant(value=int(index))) if not isinstance(index, bool):
                parts.append(str(index))
                node = node.value
            case ast.Name() | ast.Call():
                return node, ".".join(reversed(parts))
            case _:
                raise expr.problem(node, f"{quote(expr.text_of(node))} is no part of a network", EXPRESSION)
