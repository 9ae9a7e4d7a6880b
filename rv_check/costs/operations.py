"""What a network costs, operation by operation.

Every operation of a graph has exact quantities: multiply-adds, elements, parameters. What a counter makes of them is a
rule of its own, in `costs.conventions`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from rv_check.archs.arch import Arch
from rv_check.costs.counted import Counted, uncounted_of
from rv_check.costs.gradients import own_parameters, trained
from rv_check.costs.memory import run_again
from rv_check.costs.own_rules import NONE, OwnRules
from rv_check.errors import Place
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Caller, Graph, Node
from rv_check.graphs.of_arch import graph_of
from rv_check.ops.kinds import LEAVES


@dataclass(frozen=True)
class Operation:
    """One operation on one image. `quantities`, by name, are exact integers; those that are 0 are left out.

    macs: multiply-adds; in, out: elements of the (first) input and of the output; bias: additions of a bias; affine:
    elements that a norm scales; window: elements that the windows of all output elements have in all; params:
    parameters.
    """

    name: str
    kind: str
    caller: Caller
    x: tuple[int, ...]
    y: tuple[int, ...]
    quantities: Mapping[str, int]
    weight_gradient: int = 0  # multiply-adds of the gradient with respect to its weights
    input_gradient: int = 0  # multiply-adds of the gradient with respect to its inputs
    again: int = 0  # multiply-adds of running it again in the backward pass, as a checkpoint does
    place: Place | None = None

    @property
    def macs(self) -> int:
        """Multiply-adds of the forward pass."""
        return self.quantities.get("macs", 0)

    @property
    def backward(self) -> int:
        """Multiply-adds of the backward pass."""
        return self.weight_gradient + self.input_gradient + self.again


def operations_of(arch: Arch) -> list[Operation]:
    """The operations of an arch in eval mode, in the order in which they are done."""
    return operations(graph_of(arch, batch=1, form=Form.AS_RUN))


def operations(graph: Graph) -> list[Operation]:
    """The operations of a graph of one image, made without rules: all that ran, whatever it depends on.

    Raises: RvCheckError for an operation that nothing is known about, and where no output depends on the input.
    """
    return list(counted(graph).whole)


def counted(graph: Graph, own: OwnRules = NONE) -> Counted[tuple[Operation, ...]]:
    """The same, as far as there are rules for it. Args: `own` the user's.

    Raises: RvCheckError where no output depends on the input, and where a rule of the user's gives no number.
    """
    graph.must_see_input()
    with_gradient = trained(graph)
    again = run_again(graph)
    known: list[Operation] = []
    uncounted: list[Node] = []
    for node in graph.ran:
        if node.kind not in LEAVES:
            macs = macs_of(node, own)
            if macs is None:
                uncounted.append(node)
            else:
                known.append(_operation(node, macs, graph, with_gradient, again.get(node, 0)))
    ignored = Counter(one.kind for one in known if own.ignores(one.kind))
    return Counted(tuple(known), uncounted_of(uncounted), dict(ignored))


def macs_of(node: Node, own: OwnRules = NONE) -> int | None:
    """Multiply-adds of an operation: every product of a weight and an input, those with padding too; 0 if it has none.

    An output element of a convolution takes as many as its filter has weights, an input element of a transposed one.
    None where no rule counts it, neither one here nor the user's `own`.
    Raises: RvCheckError where a rule of the user's gives no number.
    """
    match node.row.multiplies:
        case "filter":
            return prod(node.shape) * prod(node.tensors["weight"].shape[1:])
        case "spread":
            return prod(node.inputs[0].shape) * prod(node.tensors["weight"].shape[1:])
        case "matrices":
            return prod(node.shape) * node.inputs[0].shape[-1]
        case "attention":  # every query with every key, and what comes of it with every value
            query, key, value = (x.shape for x in node.inputs[:3])
            return prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
        case "unknown":
            return own.macs(node)
    return 0


def _operation(node: Node, macs: int, graph: Graph, with_gradient: set[Node], again: int) -> Operation:
    x = node.inputs[0].shape if node.inputs else ()
    out = prod(node.shape)
    own = own_parameters(node, graph)
    quantities = {
        "macs": macs,
        "in": prod(x),
        "out": out,
        "bias": out if macs and "bias" in node.tensors else 0,
        "affine": out if not macs and "weight" in node.tensors else 0,
        "window": _windows(node),
        "params": sum(prod(state.shape) for state in own),
    }
    learned = [state for state in own if state.name in graph.learned]
    weights = node in with_gradient and any(state is node.tensors.get("weight") for state in learned)
    if node.row.multiplies == "unknown":  # what the user's operator calls its weights is not known
        weights = bool(learned)
    if node.row.multiplies == "matrices":
        weight_gradient, passed = 0, macs * sum(value in with_gradient for value in node.inputs[:2])
    elif node.row.multiplies == "attention":  # the first product anew, and two for each of the two
        weight_gradient, passed = 0, macs * 5 // 2 * (node in with_gradient)
    else:
        weight_gradient, passed = macs * weights, macs * any(value in with_gradient for value in node.inputs)
    return Operation(
        node.name,
        node.kind,
        node.caller,
        x[1:],
        node.shape[1:],
        {name: value for name, value in quantities.items() if value},
        weight_gradient,
        passed,
        again * macs,
        node.place,
    )


def _windows(node: Node) -> int:
    """Elements that the windows of a pool have, one after the other; those of an adaptive pool may overlap."""
    if node.kind != "adaptive_avgpool":
        kernel: tuple[int, ...] = node.attributes.get("kernel", (0,))
        return prod(node.shape) * prod(kernel)
    elements = prod(node.shape[:-2])
    for whole, parts in zip(node.inputs[0].shape[-2:], node.shape[-2:], strict=True):
        elements *= sum(-(-(at + 1) * whole // parts) - at * whole // parts for at in range(parts))
    return elements
