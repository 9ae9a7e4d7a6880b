"""The arch that a module is, among all that are known, with the class count and the width of the module at hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from rv_check.archs.arch import Arch
from rv_check.archs.arguments import definition_scope, with_defaults
from rv_check.archs.load import archs
from rv_check.errors import SpecError
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph, Node, State
from rv_check.graphs.match import match
from rv_check.graphs.network import At
from rv_check.graphs.of_arch import graph_of
from rv_check.modules.copies import unwrapped
from rv_check.modules.guard import run_theirs
from rv_check.modules.observe import Subject
from rv_check.ops.op import Shape
from rv_check.text import shown_shape
from rv_check.values import Value

if TYPE_CHECKING:
    from torch import nn

CANDIDATES = 4  # archs that are looked at closely


@dataclass(frozen=True)
class Identity:
    """The arch that a module is, or the nearest one. `differences` in structure, in eval mode at the arch's input."""

    arch: Arch
    differences: int
    words: str

    @property
    def same(self) -> bool:
        """Whether the module has the structure of the arch."""
        return self.differences == 0


def identify(module: nn.Module, known: Iterable[Arch] | None = None) -> Identity:
    """The arch that a module is, or is nearest to. Raises: RvCheckError where it does not run."""
    subject = Subject(unwrapped(module))
    known = list(known if known is not None else archs())
    seen: dict[Shape, Graph] = {}
    scored: list[tuple[float, Arch]] = []
    for arch in known:
        x = arch.input
        if x not in seen:
            words = f"the module does not run at {shown_shape(x)}"
            seen[x] = run_theirs(words, lambda x=x: subject.observe(At(x)))  # type: ignore[misc]
        for fitted in _fitted(arch, seen[x]):
            scored.append((_likeness(fitted, _layers(seen[x])), fitted))
    scored.sort(key=lambda pair: -pair[0])
    best: tuple[int, Arch] | None = None
    for _, arch in scored[:CANDIDATES]:
        number = _differences(arch, subject, seen[arch.input])
        if best is None or number < best[0]:
            best = (number, arch)
        if number == 0:
            break
    assert best is not None
    number, arch = best
    own = f", {', '.join(arch.overrides)} as in the module" if arch.overrides else ""
    words = f"{arch.name}{own}" if number == 0 else f"none of {len(known)} archs; the nearest is {arch.name}{own}"
    return Identity(arch, number, words)


@dataclass(frozen=True)
class _Look:
    """What is looked at first of an arch: the operations that have parameters, and the width of the first conv."""

    layers: Counter[object]
    stem: int | None


@lru_cache(maxsize=1024)
def _look(arch: Arch) -> _Look:
    graph = graph_of(arch)
    return _Look(_layers(graph), _stem(graph))


@lru_cache(maxsize=1024)
def _with(arch: Arch, overrides: tuple[tuple[str, Value], ...]) -> Arch | None:
    """The arch with other arguments, once for the same ones; None where there is no such network."""
    other = replace(arch, overrides=dict(overrides), budget=None)
    try:
        _ = other.tree
    except SpecError:
        return None
    return other


def _fitted(arch: Arch, graph: Graph) -> list[Arch]:
    """The arch as it is, and with the class count and the width that the module seems to have."""
    overrides: dict[str, Value] = {}
    ends = [node.shape for node in graph.outputs.values() if len(node.shape) == 2]
    if "classes" in arch.family.argument_names and ends:
        overrides["classes"] = ends[0][1]
    stem, own = _stem(graph), _look(arch).stem
    if "width" in arch.family.argument_names and stem is not None and own is not None:
        default = arch.family.arguments["width"]
        width = default.evaluate(definition_scope(arch.family, {})) if default is not None else None
        if isinstance(width, int) and width * stem % own == 0:
            overrides["width"] = width * stem // own
    given = with_defaults(arch.family, arch.values)
    changed = tuple((name, value) for name, value in overrides.items() if given.get(name) != value)
    other = _with(arch, changed) if changed else None
    return [arch] if other is None else [arch, other]


def _stem(graph: Graph) -> int | None:
    """The channels that the first convolution gives."""
    return next((node.attributes["out"] for node in graph.live if node.kind == "conv"), None)


def _likeness(arch: Arch, layers: Counter[object]) -> float:
    """How many of the operations with parameters two networks have in common, from 0 to 1."""
    expected = _look(arch).layers
    return (expected & layers).total() / max(1, (expected | layers).total())


def _layers(graph: Graph) -> Counter[object]:
    return Counter(_weights(node) for node in graph.nodes if node.tensors)


def _weights(node: Node) -> object:
    weight = node.tensors.get("weight")
    shape = weight.shape if isinstance(weight, State | Node) else ()
    return node.kind, shape, node.attributes.get("stride"), "bias" in node.tensors


def _differences(arch: Arch, subject: Subject, seen: Graph) -> int:
    """How many differences there are: the fewest of any output of the module."""
    x = arch.input
    expected = graph_of(arch)
    fewest = min(len(match(expected, seen.only(where)).differences) for where in seen.outputs)
    if fewest:
        here = subject.observe(At(x), Form.AT_THIS_SIZE)
        expected = graph_of(arch, form=Form.AT_THIS_SIZE)
        fewest = min(fewest, *(len(match(expected, here.only(where)).differences) for where in here.outputs))
    return fewest
