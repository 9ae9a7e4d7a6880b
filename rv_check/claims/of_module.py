"""What a claim may say of a module: exact numbers of its parameters and of its graph, as it is observed to run."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rv_check.archs.receptive_field import ReceptiveField
from rv_check.claims.vocabulary import ACCURACIES, OF_FIELD, OF_LAYER, NotKnown, of_field, of_shapes
from rv_check.costs.counted import Counted
from rv_check.costs.operations import Operation, counted
from rv_check.errors import RvCheckError
from rv_check.graphs import analyses
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph, Node
from rv_check.graphs.network import BATCH, At
from rv_check.language.expressions import Call, Scope
from rv_check.language.inputs import Inputs
from rv_check.modules.guard import run_theirs
from rv_check.modules.named import load_module
from rv_check.ops.op import Shape
from rv_check.receptive_fields.formula import ends, graph_field, node_of
from rv_check.values import Number

if TYPE_CHECKING:
    from torch import nn

    from rv_check.modules.network import ModuleNetwork
    from rv_check.modules.observe import Subject

LARGE = {"mparams": ("params", 10**6), "gmacs": ("macs", 10**9)}  # quantities in a unit of their own


def module_quantities(name: str, call: Call, input: Inputs | None) -> ModuleQuantities:
    """What can be said of a module of the user's, built with the arguments of a call.

    Raises: RvCheckError where it cannot be built, CannotRun without torch.
    """
    arguments = {argument.keyword or "": _for_python(argument.value.evaluate(Scope({}))) for argument in call.arguments}
    module = load_module(name, arguments).module
    from rv_check.modules.copies import unwrapped

    shown = f"{name}({', '.join(f'{key}={value}' for key, value in arguments.items())})" if arguments else name
    return ModuleQuantities(shown, unwrapped(module), input)


def _for_python(value: Any) -> Any:
    """A value of the language as a module takes it: lists of numbers, and decimals."""
    if isinstance(value, tuple):
        return [_for_python(one) for one in value]
    return float(value) if isinstance(value, Fraction) else value


class ModuleQuantities:
    """What can be said of a module. It is observed once, when something is asked that its parameters do not tell."""

    def __init__(self, name: str, module: nn.Module, input: Inputs | None):
        self.name, self.module, self.given = name, module, input

    def names(self) -> list[str]:
        """The names of its parts, those right under it."""
        return [name for name, _ in self.module.named_children()]

    def part(self, path: str) -> ModulePart | None:
        """The part of that path, or all of it; None where there is no such part."""
        module = dict(self.module.named_modules()).get(path)
        return ModulePart(self, path, module) if module is not None else None

    @cached_property
    def _subject(self) -> tuple[Subject, Shape]:
        from rv_check.modules.observe import Subject

        return Subject.asked(self.module, self.given)

    @property
    def input(self) -> Shape:
        """The shape of its main tensor. Raises: RvCheckError where nobody tells what goes in."""
        return self._subject[1]

    @cached_property
    def _network(self) -> ModuleNetwork:
        from rv_check.modules.network import ModuleNetwork

        return ModuleNetwork(self._subject[0], self.name)

    @cached_property
    def graph(self) -> Graph:
        """What it does with one image. Raises: RvCheckError where it does not run."""
        return self._network.graph(At(self.input, 1), Form.AS_RUN)

    @cached_property
    def counted(self) -> Counted[tuple[Operation, ...]]:
        """What that costs. Raises: RvCheckError."""
        return counted(self.graph)

    @cached_property
    def graph_of_batch(self) -> Graph:
        """What it does with a batch, by which what a unit sees is told. Raises: RvCheckError."""
        return self._network.graph(At(self.input, BATCH), Form.AS_RUN)


@dataclass(frozen=True)
class ModulePart:
    """A part of a module, or all of it, where `path` is empty."""

    of: ModuleQuantities
    path: str
    module: nn.Module

    def value(self, name: str) -> Number | None:
        """The quantity of that name; None where there is no one number.

        Raises: RvCheckError where the module does not run, NotKnown where what it does is not known well enough.
        """
        if name in LARGE:
            total, scale = LARGE[name]
            value = self.value(total)
            return None if value is None else Fraction(value) / scale
        if name in ACCURACIES:
            raise NotKnown(f"nobody has published {name} of {self.of.name}")
        if name in OF_FIELD:
            return of_field(self._field(), name)
        match name:
            case "params":
                what = f"the parameters of {self.of.name} cannot be counted"
                return run_theirs(what, lambda: sum(parameter.numel() for parameter in self.module.parameters()))
            case "macs":
                return self._macs()
            case "activations":
                return analyses.activations(self._nodes)
            case "weights":
                return analyses.weights(self._nodes)
            case "convs":
                return analyses.layers(self._nodes, "conv")
            case "linears":
                return analyses.layers(self._nodes, "linear")
            case "skip_connections":
                return analyses.skip_connections(self._nodes)
            case "depth":
                return None if self.path else analyses.depth(self.of.graph)
        return self._of_layer(name) if name in OF_LAYER else of_shapes(name, *self._ends())

    def _is_in(self, name: str) -> bool:
        return not self.path or name == self.path or name.startswith(f"{self.path}.")

    @property
    def _nodes(self) -> list[Node]:
        return [node for node in self.of.graph.live if self._is_in(node.name)]

    def _macs(self) -> int:
        found = self.of.counted
        uncounted = [one for one in found.uncounted if self._is_in(one.name)]
        if uncounted:
            raise NotKnown(f"no rule counts the operation {uncounted[0]}")
        return sum(one.macs for one in found.at_least if self._is_in(one.name))

    def _field(self) -> ReceptiveField:
        graph = self.of.graph_of_batch
        if not self.path and len(graph.outputs) > 1:
            raise NotKnown(f"{self.of.name} gives {len(graph.outputs)} outputs, each with a field of its own")
        try:
            return graph_field(graph, node_of(graph, self.path) if self.path else next(iter(graph.outputs.values())))
        except RvCheckError as error:
            raise NotKnown(
                f"{self.path or self.of.name} has no receptive field that is known: {error.message}"
            ) from None

    def _ends(self) -> tuple[Shape, Shape]:
        """The shapes of one image that go in and come out; nothing where there are several, or none is told."""
        graph = self.of.graph
        if not self.path:
            outputs = list(graph.outputs.values())
            return self.of.input, outputs[0].shape[1:] if len(outputs) == 1 else ()
        nodes, end = self._nodes, ends(graph).get(self.path)
        x = nodes[0].inputs[0].shape[1:] if len(nodes) == 1 and nodes[0].inputs else ()
        return x, end.shape[1:] if end else ()

    def _of_layer(self, name: str) -> int | None:
        nodes = self._nodes
        value = nodes[0].attributes.get(name) if len(nodes) == 1 else None
        value = value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value
        return value if isinstance(value, int) else None
