"""The arch that a module is, or is nearest to, among all that are known, with the class count and the width at hand.

All archs are looked at by their trees, which takes no graph; then, as long as one may be nearer than the nearest so
far, by their graphs. Nothing is aligned here that is not near, so that the time does not grow with what is asked about.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from rv_check.archs.arch import Arch
from rv_check.archs.arguments import definition_scope, with_defaults
from rv_check.archs.load import all_archs
from rv_check.archs.tree import Layer
from rv_check.errors import RvCheckError, SpecError
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph
from rv_check.graphs.landmarks import Keys, Landmarks, keys_of, looks_like, weights
from rv_check.graphs.likeness import likeness
from rv_check.graphs.match import match
from rv_check.graphs.network import At
from rv_check.graphs.of_arch import graph_of
from rv_check.language.definitions import Block
from rv_check.modules.copies import unwrapped
from rv_check.modules.guard import run_theirs
from rv_check.modules.observe import Subject
from rv_check.ops.op import Shape
from rv_check.text import shown_shape
from rv_check.values import Partial, Value

if TYPE_CHECKING:
    from torch import nn

NEAR = 0.5  # the least likeness of what is called near: half of the network is there
MOST_LOOKS = 24  # archs whose graphs are looked at; more than are alike but for norms, strides and activations


@dataclass(frozen=True)
class Identity:
    """The arch that a module is nearest to, and how like it is, from 0 to 1; in eval mode at the arch's input.

    `known`: how many archs were tried; `description`: what the module is in short, whatever it is near to.
    """

    arch: Arch
    likeness: float
    known: int
    description: str

    @property
    def near(self) -> bool:
        """Whether the module is near to the arch at all."""
        return self.likeness >= NEAR

    def words(self, *, same: bool) -> str:
        """What was inferred. `same`: whether the module was shown to have the structure of the arch."""
        own = f", {', '.join(self.arch.overrides)} as in the module" if self.arch.overrides else ""
        if same:
            return f"{self.arch.name}{own}"
        percent = min(99, int(100 * self.likeness))  # what is not the same never reads as all of it
        if self.near:
            return f"none of {self.known} archs; the nearest is {self.arch.name}{own}, at {percent} %"
        nearest = f"; nearest {self.arch.entry.name} at {percent} %" if percent else ""
        return f"none of the archs I know: {self.description}{nearest}"


def identify(module: nn.Module, known: Iterable[Arch] | None = None) -> Identity:
    """The arch that a module is, or is nearest to.

    Args: `known` the archs to choose from; all that have short names unless given.
    Raises: RvCheckError where it runs at the declared input of none of them.
    """
    known = list(known if known is not None else all_archs())
    looks = _Looks(module)
    seen = looks.first(dict.fromkeys(arch.input for arch in known))
    bounds = [(seen.keys.bound(_keys(arch)), arch) for one in known for arch in _fitted(one, seen)]
    bounds.sort(key=lambda pair: -pair[0])
    scored: list[tuple[float, Arch]] = []
    for most, arch in bounds[:MOST_LOOKS]:
        if scored and most < max(score for score, _ in scored):
            break
        there = looks.at(At(arch.input), seen) if most >= NEAR else seen
        scored.append((likeness(_landmarks(arch), there), arch))
    highest = max(score for score, _ in scored)
    best = [arch for score, arch in scored if score == highest]
    arch = best[0]
    if len(best) > 1 and highest >= NEAR:

        def in_training(arch: Arch) -> float:
            at = At(arch.input, training=True)
            return likeness(Landmarks(graph_of(arch, training=True)), looks.at(at, seen))

        arch = max(best, key=in_training)
    layers = weights(seen)
    description = f"{seen.params:,} parameters in {layers} layer{'s' * (layers != 1)}, {looks_like(seen)}"
    return Identity(arch, highest, len(known), description)


def has_structure(module: nn.Module, arch: Arch) -> bool:
    """Whether one output of a module is computed as an arch computes its own, in eval mode at the arch's input.

    Raises: RvCheckError where it does not run there.
    """
    subject, x = Subject(unwrapped(module)), At(arch.input)
    for form in (Form.AT_ANY_SIZE, Form.OF_ONE):
        expected, found = graph_of(arch, form=form), run_theirs("the module", partial(subject.observe, x, form))
        if any(match(expected, found.only(where)).same for where in found.outputs):
            return True
    return False


class _Looks:
    """The landmarks of a module at the inputs of archs, each looked for once."""

    def __init__(self, module: nn.Module):
        self.subject = Subject(unwrapped(module))
        self.seen: dict[At, Landmarks | RvCheckError] = {}

    def first(self, inputs: Iterable[Shape]) -> Landmarks:
        """Those at the first of these inputs at which it runs. Raises: RvCheckError, that of the first input."""
        looks = []
        for x in inputs:
            looks.append(self._look(At(x)))
            if isinstance(looks[-1], Landmarks):
                return looks[-1]
        assert isinstance(looks[0], RvCheckError)
        raise looks[0]

    def at(self, at: At, otherwise: Landmarks) -> Landmarks:
        """Those there; others, where it does not run there."""
        found = self._look(at)
        return found if isinstance(found, Landmarks) else otherwise

    def _look(self, at: At) -> Landmarks | RvCheckError:
        if at not in self.seen:
            words = f"the module does not run at {shown_shape(at.input)}"
            try:
                self.seen[at] = Landmarks(run_theirs(words, lambda: self._observe(at)))
            except RvCheckError as error:
                self.seen[at] = error
        return self.seen[at]

    def _observe(self, at: At) -> Graph:
        """The graph there; where it raises, that at an image with as many channels as the first convolution takes."""
        try:
            return self.subject.observe(at)
        except Exception:  # whatever the module raises
            channels = _channels(self.subject.module)
            if channels in (None, at.input[0]):
                raise
            return self.subject.observe(replace(at, input=(channels, *at.input[1:])))


def _channels(module: nn.Module) -> int | None:
    """The channels that the convolution takes which is defined first."""
    from torch.nn.modules.conv import _ConvNd

    return next((one.in_channels for one in module.modules() if isinstance(one, _ConvNd)), None)


@lru_cache(maxsize=1024)
def _keys(arch: Arch) -> Keys:
    return keys_of(arch)


@lru_cache(maxsize=64)
def _landmarks(arch: Arch) -> Landmarks:
    return Landmarks(graph_of(arch))


@lru_cache(maxsize=1024)
def _with(arch: Arch, overrides: tuple[tuple[str, Value], ...]) -> Arch | None:
    """The arch with other arguments, once for the same ones; None where there is no such network."""
    other = replace(arch, overrides=dict(overrides), budget=None)
    try:
        _ = other.tree
    except SpecError:
        return None
    return other


def _fitted(arch: Arch, seen: Landmarks) -> Iterator[Arch]:
    """The arch as it is, and with what the module seems to have: its class count, its width, its blocks' flags."""
    given = with_defaults(arch.family, arch.values)
    choices = {name: [value] for name, value in given.items()}
    choices |= {name: [value, *_flags(value)] for name, value in given.items() if isinstance(value, Partial)}
    if "classes" in given:
        # Of archs that are equally like the module, those that end as it does come first.
        own = choices["classes"]
        choices["classes"] = [*seen.classes, *own] if seen.head is not None else [*own, *seen.classes]
    if "width" in given:
        choices["width"] += _width(arch, given["width"], seen)
    for values in itertools.product(*map(dict.fromkeys, choices.values())):
        changed = tuple((name, one) for name, one in zip(choices, values, strict=True) if one != given[name])
        other = _with(arch, changed) if changed else arch
        if other is not None:
            yield other


def _flags(block: Partial) -> list[Partial]:
    """The block with each of its flags the other way."""
    if not isinstance(block.target, Block):
        return []
    scope = definition_scope(block.target, {})
    filled = dict(block.filled)
    given = {name: default.evaluate(scope) for name, default in block.target.arguments.items() if default} | filled
    flags = {name: not value for name, value in given.items() if isinstance(value, bool)}
    return [Partial(block.target, tuple((filled | {name: value}).items())) for name, value in flags.items()]


def _width(arch: Arch, width: Value, seen: Landmarks) -> list[Value]:
    """The width that makes the first layer of the arch as wide as that of the module, where there is one."""
    layers = (row.node for row in arch.rows() if isinstance(row.node, Layer))
    own = next((layer.op.params(layer.x)["weight"][0] for layer in layers if layer.op.kind.weighted), None)
    if not isinstance(width, int) or own is None or seen.stem is None or width * seen.stem % own:
        return []
    return [width * seen.stem // own]
