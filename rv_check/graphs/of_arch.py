"""The op graph that a spec expects: the tree, read once more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from rv_check.archs.arch import Arch
from rv_check.archs.tree import Join, Layer, Module, Visit, walk
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Builder, Form, Site
from rv_check.graphs.graph import Graph, Node, State
from rv_check.graphs.network import BATCH, At
from rv_check.text import nearest, quote


@dataclass(frozen=True)
class ArchNetwork:
    """The network that a spec states, up to the step `until` where one is given."""

    arch: Arch
    until: str | None = None

    @property
    def name(self) -> str:
        """The name as the arch is written."""
        return self.arch.name

    @property
    def has_steps(self) -> bool:
        """Whether it is whole."""
        return self.until is None

    def graph(self, at: At, form: Form = Form.AT_ANY_SIZE) -> Graph:
        """Its graph there.

        Raises: SpecError where the arch cannot be expanded there, RvCheckError where it has no step `until`.
        """
        return _Reading(self.arch.at(at.input), at, self.until, Builder(form)).graph()

    def cut(self, step: str) -> ArchNetwork:
        """The network up to that step."""
        return replace(self, until=step)


def graph_of(
    arch: Arch, *, training: bool = False, batch: int = BATCH, form: Form = Form.AT_ANY_SIZE, until: str | None = None
) -> Graph:
    """The graph of an arch at its own input. Raises: as `ArchNetwork.graph`."""
    return ArchNetwork(arch, until).graph(At(arch.input, batch, training), form)


class _Reading:
    def __init__(self, arch: Arch, at: At, until: str | None, builder: Builder):
        self.arch, self.until, self.batch, self.training = arch, until, at.batch, at.training
        self.builder = builder
        self.steps: dict[str, Node] = {}
        self.state: dict[str, tuple[int, ...]] = {}
        self.parameters: set[str] = set()
        self.counters: dict[str, str] = {}
        self.end: Node | None = None

    def graph(self) -> Graph:
        x = Node("input", shape=(self.batch, *self.arch.input), name="input")
        y = self.flow(walk(self.arch.tree.root.seq), x, "")
        if self.until is not None:
            if self.end is None:
                near = nearest(self.until, self.steps)
                raise RvCheckError(f"{self.arch.name} has no step {quote(self.until)}", near=near)
            y = self.end
        parameters = frozenset(self.parameters)
        rules = frozenset(self.builder.work.used)
        graph = Graph(x, {"": y}, self.state, parameters, self.counters, rules, steps=self.steps)
        graph = self.builder.finish(graph)
        return graph if self.until is None else _cut(graph)

    def flow(self, visits: Iterable[Visit], x: Node, prefix: str) -> Node:
        for visit in visits:
            node, name = visit.node, prefix + visit.name
            match node:
                case Layer():
                    x = self.layer(node, x, Site(name, visit.item.place))
                case Module():
                    x = self.flow(walk(node.seq), x, name + ".")
                case Join():
                    branches = [self.flow(branch, x, prefix) for _, branch in visit.branches]
                    if len(branches) == 1:
                        x = branches[0]
                    else:
                        axis: dict[str, Any] = {"axis": 1} if node.kind == "concat" else {}
                        site = Site(name, visit.item.place, "function")
                        x = self.builder.at(site).make(node.kind, *branches, shape=(self.batch, *node.y), **axis)
            self.passed(name, x)
        return x

    def passed(self, name: str, x: Node) -> None:
        self.steps.setdefault(name, x)
        if name == self.until:
            self.end = x

    def layer(self, layer: Layer, x: Node, site: Site) -> Node:
        op, name = layer.op, site.name
        shapes = op.params(layer.x) | op.buffers(layer.x)
        self.parameters.update(f"{name}.{part}" for part in op.params(layer.x))
        self.state.update({f"{name}.{part}": shape for part, shape in shapes.items()})
        tensors = {part: State(f"{name}.{part}", shape) for part, shape in shapes.items()}
        if "num_batches_tracked" in tensors:  # it counts, and nothing is computed from it
            self.counters[f"{name}.running_mean"] = tensors.pop("num_batches_tracked").name
        arguments = op.arguments(self.training)
        if arguments is None:
            return x
        return self.builder.at(site).make(op.name, x, shape=(self.batch, *layer.y), tensors=tensors, **arguments)


def _cut(graph: Graph) -> Graph:
    """The graph without what its output does not need."""
    used = {state.name for node in graph.nodes for _, state in node.states}
    counters = {name: counter for name, counter in graph.counters.items() if name in used}
    kept = used | set(counters.values())
    state = {name: shape for name, shape in graph.state.items() if name in kept}
    return Graph(
        graph.input,
        graph.outputs,
        state,
        graph.parameters & kept,
        counters,
        graph.rules,
        steps=graph.steps,
        is_cut=True,
        behind={name: shape for name, shape in graph.state.items() if name not in kept},
    )
