"""What the dotted names in a claim stand for.

An expression is one of the spec language's with dotted names in it: `resnet50.params`, `resnet18(width=32).gmacs`,
`resnet50.fc.in_features`, `vgg16.classifier[0].weights`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

from rv_check.archs import analyses, listing
from rv_check.archs.arch import Arch
from rv_check.archs.load import families, load
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.archs.tree import Layer, TreeNode
from rv_check.errors import RvCheckError, SpecError
from rv_check.language.expressions import Expr
from rv_check.modules.reference import metadata_source
from rv_check.text import listed, nearest, quote
from rv_check.values import Number

ACCURACIES = ("top1", "top5", "top1_error", "top5_error")  # measured by somebody, and quoted by the specs; in percent
EXPRESSION = "numbers, + - * / //, comparisons, and facts: resnet50.params, vgg16.classifier[0].weights"


class NotKnown(Exception):
    """The specs do not say what a statement is about. `near`: the name that was probably meant."""

    def __init__(self, message: str, near: str | None = None):
        super().__init__(message)
        self.near = near


# Quantities: what a dotted name ends with. Exact numbers, each a small function of a part of a network.


def _axis(field: ReceptiveField, what: str) -> int:
    value = getattr(field, what)
    if isinstance(value, tuple):
        raise NotKnown(f"rows and columns have different fields, {field}")
    return int(value)


OF_ANY: dict[str, Callable[[TreeNode], Number]] = {
    "params": analyses.params,
    "mparams": lambda part: Fraction(analyses.params(part), 10**6),
    "macs": analyses.macs,
    "gmacs": lambda part: Fraction(analyses.macs(part), 10**9),
    "activations": analyses.activations,
    "depth": analyses.depth,
    "skip_connections": analyses.skip_connections,
    "weights": analyses.weights,
    "convs": lambda part: analyses.layers(part, "conv"),
    "linears": lambda part: analyses.layers(part, "linear"),
    "in_features": lambda part: part.x[0],
    "out_features": lambda part: part.y[0],
    "in_channels": lambda part: part.x[0],
    "out_channels": lambda part: part.y[0],
    "rows": lambda part: part.y[1],
    "columns": lambda part: part.y[2],
}
FLAT, MAPPED = ("in_features", "out_features"), ("in_channels", "out_channels", "rows", "columns")
OF_FIELD: dict[str, Callable[[ReceptiveField], Number]] = {
    "receptive_field": lambda field: _axis(field, "size"),
    "receptive_field_stride": lambda field: _axis(field, "stride"),
    "receptive_field_padding": lambda field: _axis(field, "padding"),
}
OF_LAYER = ("kernel", "stride", "padding", "groups")
QUANTITIES = (*OF_ANY, *OF_FIELD, *ACCURACIES, *OF_LAYER)


class Quantities:
    """What the dotted names of a file of claims stand for: archs are loaded once."""

    def __init__(self, folder: Path, aliases: Mapping[str, str]):
        """`folder`: where the paths of `aliases` begin."""
        self.folder, self.aliases = folder, aliases
        self._loaded: dict[str, Arch] = {}

    def __call__(self, expr: Expr, node: ast.Attribute) -> Number:
        """The value of a dotted name. Raises: SpecError for an unknown one, NotKnown, CannotRun."""
        root, path = _path(expr, node.value)
        arch = self.arch(expr, root)
        if node.attr not in QUANTITIES:
            where = ".".join((expr.text_of(root), *path))
            if arch.step(".".join((*path, node.attr))):
                raise expr.problem(node, f"{expr.text_of(node)} is a part, not a number", f".{', .'.join(QUANTITIES)}")
            near = nearest(node.attr, QUANTITIES)
            raise expr.problem(node, f"{where} has no fact {quote(node.attr)}", listed(QUANTITIES), near)
        if not path:
            return self.of_arch(expr, node, arch)
        row = arch.step(".".join(path))
        if row is None:
            known = listing.names(arch.tree.root)
            raise expr.problem(node, f"{arch.name} has no part {quote('.'.join(path))}", listed(known))
        return _of_part(expr, node, row.node, row.receptive_field)

    def of_arch(self, expr: Expr, node: ast.Attribute, arch: Arch) -> Number:
        """A quantity of a whole network."""
        if node.attr in ACCURACIES:
            return accuracy(arch, node.attr)
        return _of_part(expr, node, arch.tree.root, arch.receptive_field)

    def arch(self, expr: Expr, root: ast.expr) -> Arch:
        """The arch that a dotted name begins with. Raises: SpecError, NotKnown where there is no such spec."""
        text = expr.text_of(root)
        if text not in self._loaded:
            name = text.partition("(")[0]
            known = [*self.aliases, *(arch for family in families() for arch in family.archs)]
            if name not in known:
                raise NotKnown(f"there is no spec of {quote(name)}", nearest(name, known))
            try:
                self._loaded[text] = load(self._full(name) + text[len(name) :])
                _ = self._loaded[text].tree
            except RvCheckError as error:
                raise SpecError(problem.told_at(expr.place_of(root)) for problem in error.problems) from None
        return self._loaded[text]

    def _full(self, name: str) -> str:
        path, colons, arch = self.aliases.get(name, name).rpartition("::")
        return f"{self.folder / path}::{arch}" if colons else arch


def _path(expr: Expr, node: ast.expr) -> tuple[ast.expr, tuple[str, ...]]:
    """The arch and the names of the parts: `resnet50.layer1[0].conv1`. Raises: SpecError."""
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
                return node, tuple(reversed(parts))
            case _:
                raise expr.problem(node, f"{quote(expr.text_of(node))} is no part of a network", EXPRESSION)


def _of_part(expr: Expr, node: ast.Attribute, part: TreeNode, field: ReceptiveField) -> Number:
    name = node.attr
    if name in OF_FIELD:
        return OF_FIELD[name](field)
    ends = [part.y if name in ("out_features", "out_channels", "rows", "columns") else part.x]
    if name in OF_ANY and not (name in FLAT and len(ends[0]) != 1) and not (name in MAPPED and len(ends[0]) != 3):
        return OF_ANY[name](part)
    value = getattr(part.op, name, None) if isinstance(part, Layer) and name in OF_LAYER else None
    if isinstance(value, tuple) and value[0] == value[1]:
        value = value[0]
    if not isinstance(value, int):
        raise expr.problem(node, f"{expr.text_of(node.value)} has no one {quote(name)}", "another fact")
    return value


def accuracy(arch: Arch, metric: str) -> Number:
    """A published accuracy or error in percent, the first that the spec quotes; torchvision's as installed here.

    Raises: NotKnown where the spec quotes none, CannotRun where it is torchvision's, which is not installed.
    """
    if not arch.is_declared:
        raise NotKnown(f"nobody has published {metric} of {arch.name}")
    for entry in arch.entry.published:
        if entry.metric == metric:
            source = metadata_source(entry.source)
            return Fraction(str(source.look_up())) if source else Fraction(entry.printed.replace("_", ""))
    raise NotKnown(f"the spec of {arch.name} quotes no {metric}")
