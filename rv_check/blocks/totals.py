"""The exact numbers of a network's graph that a table of networks shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rv_check.archs.receptive_field import ReceptiveField
from rv_check.costs.operations import operations
from rv_check.graphs import analyses
from rv_check.graphs.graph import Graph
from rv_check.receptive_fields.formula import graph_field, node_of


@dataclass(frozen=True)
class Totals:
    """Exact numbers of one image. `fields`: by step, in input pixels."""

    params: int
    macs: int
    activations: int  # output elements of convolutions and linear layers
    depth: int  # weighted layers on the main path
    skips: int  # sums with a branch that is the identity or a projection
    fields: dict[str, ReceptiveField]


def totals(graph: Graph, steps: Iterable[str]) -> Totals:
    """The totals of a graph at batch 1, made without rules, with the fields of these steps.

    Raises: RvCheckError for an operation that nothing is known about, and for a step that is not there.
    """
    return Totals(
        analyses.params(graph),
        sum(operation.macs for operation in operations(graph)),
        analyses.activations(graph.nodes),
        analyses.depth(graph),
        analyses.skip_connections(graph.live),
        {step: graph_field(graph, node_of(graph, step)) for step in steps},
    )
