"""What a claim may say of an arch: exact numbers of its tree, and accuracies that its spec quotes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from rv_check.archs import analyses, listing
from rv_check.archs.arch import Arch
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.archs.tree import Layer, TreeNode
from rv_check.claims.vocabulary import ACCURACIES, OF_FIELD, OF_LAYER, NotKnown, of_field, of_shapes
from rv_check.modules.reference import metadata_source
from rv_check.values import Number

OF_TREE: dict[str, Callable[[TreeNode], Number]] = {
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
}


@dataclass(frozen=True)
class ArchQuantities:
    """What can be said of an arch."""

    arch: Arch

    @property
    def name(self) -> str:
        """As it is written, `resnet50(classes=10)`."""
        return self.arch.name

    def names(self) -> list[str]:
        """The names right under the root."""
        return listing.names(self.arch.tree.root)

    def part(self, path: str) -> TreePart | None:
        """The part of that path, or all of it; None where there is no such part."""
        if not path:
            return TreePart(self.arch.tree.root, self.arch.receptive_field, self.arch)
        row = self.arch.step(path)
        return TreePart(row.node, row.receptive_field) if row else None


@dataclass(frozen=True)
class TreePart:
    """A part of an arch, or all of it, where `whole` is the arch."""

    node: TreeNode
    field: ReceptiveField
    whole: Arch | None = None

    def value(self, name: str) -> Number | None:
        """The quantity of that name; None where there is no one number. Raises: NotKnown, CannotRun."""
        if name in OF_TREE:
            return OF_TREE[name](self.node)
        if name in OF_FIELD:
            return of_field(self.field, name)
        if name in ACCURACIES:
            return accuracy(self.whole, name) if self.whole else None
        if name in OF_LAYER:
            value = getattr(self.node.op, name, None) if isinstance(self.node, Layer) else None
            value = value[0] if isinstance(value, tuple) and value[0] == value[1] else value
            return value if isinstance(value, int) else None
        return of_shapes(name, self.node.x, self.node.y)


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
