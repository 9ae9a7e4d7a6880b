"""A network, however it is given: whatever gives its graph at an input, in a mode, in a form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph
from rv_check.ops.op import Shape

BATCH = 2  # images: a batch of one hides what mixes images, and a larger one shows nothing more


@dataclass(frozen=True)
class At:
    """Where a network is looked at: the shape of an image, how many there are, the mode, and which image it is.

    `image` is for what decides by values: 0, and one for each of the others in `modules.branches`.
    """

    input: Shape
    batch: int = BATCH
    training: bool = False
    image: int = 0


class Network(Protocol):
    """What can be asked for its graph: an arch, or a module."""

    @property
    def name(self) -> str:
        """What a report calls it."""

    @property
    def has_steps(self) -> bool:
        """Whether it may be cut at one, as a whole arch may be."""

    def graph(self, at: At, form: Form = Form.AT_ANY_SIZE) -> Graph:
        """Its graph there. Raises: RvCheckError where it does not run there."""

    def cut(self, step: str) -> Self:
        """The network up to that step. Raises: RvCheckError where it has no steps."""
