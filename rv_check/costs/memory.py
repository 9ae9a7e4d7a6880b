"""How many bytes a network needs.

Computed from the graph of its operations. Words: activations for backward are the values that autograd keeps from the
forward pass, parameters and buffers apart; the peak of a forward pass without gradients is that of one which drops each
value after its last use, and does nothing in place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Set
from dataclasses import dataclass
from math import prod
from typing import Any

from rv_check.costs.counted import Counted, not_counted, uncounted_of
from rv_check.costs.gradients import trained
from rv_check.errors import RvCheckError, unknown
from rv_check.graphs.graph import Fused, Graph, Node, Rerun
from rv_check.ops.kinds import INDEX_BYTES, LEAVES

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
PROBLEM = "it is not known what {} keeps for its backward pass"
OPTIMISERS = {"sgd": 0, "momentum": 1, "adam": 2}  # numbers that are kept for each parameter, in its own type


@dataclass(frozen=True)
class Memory:
    """Bytes of a batch. `activations`: kept for backward in train mode; `peak`: alive at once in a forward pass."""

    parameters: int
    gradients: int
    optimiser: int
    activations: int
    peak: int

    @property
    def training(self) -> int:
        """What a training step holds at the end of its forward pass, at least.

        In its backward pass it holds, of parts that are run again, one at a time in full.
        """
        return self.parameters + self.gradients + self.optimiser + self.activations


def size_of(dtype: str) -> int:
    """Bytes of a number. Raises: RvCheckError for a type that is none of these."""
    if dtype not in BYTES:
        raise unknown("type of numbers", dtype, BYTES)
    return BYTES[dtype]


def memory(training: Graph, evaluation: Graph, params: int, dtype: str = "float32", optimiser: str = "sgd") -> Memory:
    """The bytes of a network, from its graphs at one batch in both modes, made without rules.

    Raises: RvCheckError for an unknown type or optimiser, or an operation of which it is not known what it keeps.
    """
    return counted_memory(training, evaluation, params, dtype, optimiser).whole


def counted_memory(
    training: Graph,
    evaluation: Graph,
    params: int,
    dtype: str = "float32",
    optimiser: str = "sgd",
    ignored: Collection[str] = (),
) -> Counted[Memory]:
    """The same, as far as it is known what operations keep. Args: `ignored` the unknown kinds that keep nothing.

    Nothing is counted for the output of an operation that is not known: it may be a view of what comes in.
    Raises: RvCheckError for an unknown type or optimiser.
    """
    size = size_of(dtype)
    if optimiser not in OPTIMISERS:
        raise unknown("optimiser", optimiser, OPTIMISERS)
    own = params * size
    without = _unknown(training)
    told = {node.kind for node in without}
    without += [node for node in _unknown(evaluation) if node.kind not in told]
    lost = [node for node in without if node.kind not in ignored]
    kinds = {node.kind for node in lost}
    kept = sum(bytes_ for _, bytes_ in kept_for_backward(training, size, ignored, kinds))
    least = Memory(own, own, OPTIMISERS[optimiser] * own, kept, least_peak(evaluation, size, kinds))
    silent = Counter(node.kind for node in without if node.kind in ignored)
    return Counted(least, uncounted_of(lost), dict(silent), PROBLEM)


def _unknown(graph: Graph) -> list[Node]:
    """The operations of which it is not known what they keep."""
    return [node for node in graph.nodes if node.kind not in LEAVES and node.row.keeps == "unknown"]


def kept_for_backward(
    graph: Graph, size: int = 4, ignored: Collection[str] = (), lost: Collection[str] = ()
) -> Iterator[tuple[Node, int]]:
    """The values that autograd keeps, each once, with their bytes. Source: torch's derivatives.yaml.

    Of a part that is run again in the backward pass these are what it is given, and nothing that is in it.

    Args: `ignored` the unknown kinds that keep nothing; `lost` those of which neither this is counted nor their output.
    Raises: RvCheckError for another kind of which it is not known what it keeps.
    """
    with_gradient = trained(graph)
    differentiated = _differentiated(graph, with_gradient)
    elements = _elements(graph, size)
    again = {part for node in with_gradient for part in node.parts[:1]}
    seen: set[Node] = set()
    for node in graph.nodes:
        part = next(iter(node.parts), None)
        kept: tuple[Node, ...] = ()
        if part in again and part is not None:
            _refuse_a_policy(part, node)
            kept = (*part.inputs, *(value for value in node.inputs if part not in value.parts))
        elif node.fused is not None and node.fused.output in differentiated:
            kept = (*node.fused.inputs, node.fused.output)
        elif node.kind not in LEAVES and node in differentiated:
            if node.row.keeps == "unknown":
                if node.kind not in ignored and node.kind not in lost:
                    raise not_counted(uncounted_of([node]), PROBLEM)
                continue
            kept = _kept_by(node, with_gradient)
        for value in kept:
            root = _root(value)
            # A recurrence begins with zeros that are made, and kept; a number is not.
            is_number = root.kind == "constant" and prod(root.shape) == 1
            if root not in seen and root.kind not in ("state", *lost) and not is_number:
                seen.add(root)
                yield root, prod(root.shape) * elements.get(root, size)
        besides = _made_for_backward(node, size) if part not in again and node in differentiated else 0
        if besides and _is_made(node):
            yield node, besides


def run_again(graph: Graph, with_gradient: Set[Node]) -> dict[Node, int]:
    """How often each operation is run in the backward pass again: once for each part that it stands in and is reached.

    A part that stops is run as far as autograd kept anything: what an operation is given is kept before it is done. A
    fused kernel of attention does the first of its products anew.
    Raises: RvCheckError where a part keeps what a policy of its own says.
    """
    order = [node for node in graph.ran if node.rerun is not None]
    again = {part for node in with_gradient for part in node.parts}
    reach: dict[Rerun, int] = {}  # the last operation of each part that is run again
    begun: set[Rerun] = set()
    for at, node in enumerate(order):
        for part, inner in zip(node.parts, (*node.parts[1:], None), strict=True):
            _refuse_a_policy(part, node)
            if not part.stops or (inner is not None and inner.reentrant):
                reach[part] = at
            elif inner is not None and inner not in begun:  # what that one is given is kept
                reach[part] = at - 1
            elif inner is None and node in with_gradient and node.fused is not None:  # its output is kept
                reach[part] = at
            elif inner is None and node in with_gradient:
                made = "output" in node.row.keeps or _made_for_backward(node, 1)
                if made or _kept_by(node, with_gradient):
                    reach[part] = at if made else at - 1
            begun.add(part)
    times = {
        node: sum(part in again and at <= reach.get(part, -1) for part in node.parts) for at, node in enumerate(order)
    }
    kernels: set[Fused] = set()
    for node in graph.ran:
        if node.fused is not None and node.fused not in kernels and node.kind == "matmul" and node in with_gradient:
            kernels.add(node.fused)
            times[node] = times.get(node, 0) + 1
    return times


def _refuse_a_policy(part: Rerun, node: Node) -> None:
    if part.selective:
        what = f"what a checkpoint with a context_fn keeps, at {node.name or 'the module'}, is not known"
        raise RvCheckError(what, expected="one without a context_fn")


def _differentiated(graph: Graph, with_gradient: Set[Node]) -> set[Node]:
    """What a gradient of an output passes through: of what is thrown away, or only tells places, nothing is kept."""
    found: set[Node] = set()
    left = [node for node in graph.outputs.values() if node in with_gradient]
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += [feed for feed in node.feeds if feed in with_gradient]
    return found


def _elements(graph: Graph, size: int) -> dict[Node, int]:
    """The bytes of an element of each value: numbers have those of the network, but for places, masks and casts.

    What comes of two types has the wider one, and a fraction is wider than a whole number.
    """
    types: dict[Node, tuple[bool, int]] = {}  # whether it is a fraction, and its bytes
    for node in (*graph.nodes, *graph.ran):
        if node in types:
            continue
        found = [types[feed] for feed in node.feeds if feed in types and (feed.shape or feed.kind != "constant")]
        if node.row.element_bytes is not None:
            types[node] = (False, node.row.element_bytes)
        elif node.kind == "cast" or (node.kind == "input" and "dtype" in node.attributes):
            types[node] = _type_of(str(node.attributes["dtype"]).removeprefix("torch."), size)
        elif not found or any(role == "weight" for role, _ in node.states):
            types[node] = max([*found, (True, size)])
        else:
            types[node] = max(found) if max(found)[0] or _stays_whole(node) else (True, size)
    return {node: bytes_ for node, (_, bytes_) in types.items()}


def _stays_whole(node: Node) -> bool:
    """Whether what comes of whole numbers is whole: where they are moved, chosen, or counted with whole ones."""
    if "by" in node.attributes:
        return isinstance(node.attributes["by"], int)
    return node.row.moves or node.row.keeps == "view" or node.row.whole


def _type_of(dtype: str, size: int) -> tuple[bool, int]:
    """Whether a type is one of fractions, and its bytes: `size` where it is none of these."""
    whole = {"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8}
    return (False, whole[dtype]) if dtype in whole else (True, BYTES.get(dtype, size))


def _kept_by(node: Node, with_gradient: Set[Node]) -> tuple[Node, ...]:
    """The values among its inputs and its output, of a kind of which that is known."""
    match node.row.keeps:
        case "input":
            if node.kind == "adaptive_avgpool" and node.shape[2:] == (1, 1):
                return ()  # torch computes it as a mean
            return (*node.inputs[:1], *_computed_weight(node, with_gradient))
        case "inputs":
            return node.inputs
        case "factors":
            x, y = node.inputs if len(node.inputs) == 2 else (node.inputs[0], node.inputs[0])
            divisor = node.kind == "div" and x not in with_gradient  # its own gradient is divided by it again
            return (x,) * (y in with_gradient) + (y,) * (x in with_gradient or divisor)
        case "output":
            return (node,)
        case "input and output":
            return (*node.inputs[:1], node)
        case "inputs and output":
            return (*node.inputs, node)
        case "index":
            return tuple(x for x in node.inputs if x.row.element_bytes is not None) or node.inputs[-1:]
    return ()


def _computed_weight(node: Node, with_gradient: Set[Node]) -> tuple[Node, ...]:
    """The weight of a layer where it is computed: it is no parameter, and the gradient of what comes in needs it."""
    weight = node.tensors.get("weight")
    if not isinstance(weight, Node) or node.row.multiplies == "nothing":
        return ()
    return (weight,) if node.kind != "linear" or node.inputs[0] in with_gradient else ()


def _made_for_backward(node: Node, size: int) -> int:
    """Bytes that an operation makes for its backward pass, beside its output."""
    a = node.attributes
    if node.fused is not None:
        return prod(node.fused.inputs[0].shape[:-1]) * max(size, 4) + node.fused.mask * size
    match node.kind:
        case (
            "maxpool" | "max_pool3d_with_indices" | "adaptive_max_pool2d" | "adaptive_max_pool3d" | "max" | "min"
        ):  # where each extreme is
            return prod(node.shape) * INDEX_BYTES
        case "sort" | "topk":  # where each was
            return prod(node.shape) * INDEX_BYTES
        case "batchnorm" if a["statistics"] == "of the batch":
            return 2 * node.shape[1] * max(size, 4)  # mean and deviation, never in half precision
        case "groupnorm":
            groups: int = a["groups"]
            return 2 * node.shape[0] * groups * max(size, 4)  # likewise, of each image
        case "native_layer_norm":
            return 2 * prod(node.shape[: len(node.shape) - len(a["normalized_shape"])]) * max(size, 4)
        case "_scaled_dot_product_flash_attention_for_cpu":
            return prod(node.inputs[0].shape[:-1]) * max(size, 4)  # the logarithm of each softmax's denominator
        case "log_sigmoid_forward":
            return prod(node.shape) * size  # the exponential
        case "_weight_norm_interface":  # the norms
            axis: int = a["dim"]
            return node.shape[axis] * size
        case "drop_path" if a["p"]:
            return node.shape[0] * size  # the mask
        case "dropout" if a["of"] == "channels":
            return prod(node.shape[:2]) * size  # the mask
        case "dropout":
            return prod(node.shape) * size  # the mask
    return 0


def _root(node: Node) -> Node:
    """The value whose memory it is."""
    while node.row.keeps == "view" and node.inputs:
        node = node.inputs[0]
    return node


def _is_made(node: Node) -> bool:
    """Whether there ever is a value of it: within a fused kernel it is of its output alone."""
    return node.fused is None or node.fused.output is None or node is _root(node.fused.output)


def least_peak(graph: Graph, size: int = 4, lost: Collection[str] = ()) -> int:
    """The most bytes that are alive at once if each value goes with its last use; nothing is done in place.

    Args: `lost` the kinds whose output is not counted.
    """
    order = [node for node in graph.nodes if node.kind not in LEAVES and not node.fixed and _is_made(node)]
    last: dict[Node, int] = {_root(node): len(order) for node in graph.outputs.values()}
    for at, node in enumerate(order):
        for value in node.inputs if node.fused is None else node.fused.inputs:
            root = _root(value)
            last[root] = max(last.get(root, 0), at)
    elements = _elements(graph, size)
    live, peak = {node: prod(node.shape) * elements.get(node, size) for node in graph.inputs}, 0
    for at, node in enumerate(order):
        if _root(node) is node and node.kind not in lost:
            live[node] = prod(node.shape) * elements[node]
        peak = max(peak, sum(live.values()))
        live = {value: bytes_ for value, bytes_ in live.items() if last.get(value, -1) > at}
    return peak


def as_json(found: Memory) -> Mapping[str, Any]:
    """Bytes by name."""
    return {**vars(found), "training": found.training}
