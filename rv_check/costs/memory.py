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

from rv_check.costs.counted import Counted, Uncounted, not_counted, uncounted_of
from rv_check.costs.gradients import passed_to, trained
from rv_check.errors import RvCheckError, unknown
from rv_check.graphs.graph import Fused, Graph, Node, Rerun, State
from rv_check.ops.kinds import INDEX_BYTES, LEAVES

BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
WHOLE = {"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8}
COMPLEX = {"complex32": 4, "complex64": 8, "complex128": 16}
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


def memory(training: Graph, evaluation: Graph, dtype: str = "float32", optimiser: str = "sgd") -> Memory:
    """The bytes of a network, from its graphs at one batch in both modes, made without rules.

    Raises: RvCheckError for an unknown type or optimiser, or an operation of which it is not known what it keeps.
    """
    return counted_memory(training, evaluation, dtype, optimiser).whole


def counted_memory(
    training: Graph,
    evaluation: Graph,
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
    own, learned = _of_parameters(training, training.parameters, size), _of_parameters(training, training.learned, size)
    without = _unknown(training)
    told = {node.kind for node in without}
    without += [node for node in _unknown(evaluation) if node.kind not in told]
    lost = [node for node in without if node.kind not in ignored]
    kinds = {node.kind for node in lost}
    backward = _KeptValues(training, size)
    kernels = backward.kernels(ignored)
    kept = sum(bytes_ for _, bytes_ in backward.kept(ignored, kinds | {one.kind for one in kernels}))
    least = Memory(own, learned, OPTIMISERS[optimiser] * learned, kept, least_peak(evaluation, size, kinds))
    silent = Counter(node.kind for node in without if node.kind in ignored)
    return Counted(least, (*uncounted_of(lost), *kernels), dict(silent), PROBLEM)


def _unknown(graph: Graph) -> list[Node]:
    """The operations of which it is not known what they keep."""
    return [node for node in graph.nodes if node.kind not in LEAVES and node.row.keeps == "unknown"]


def _of_parameters(graph: Graph, names: Set[str], size: int) -> int:
    """The bytes of parameters, each counted once, whatever names it has."""
    own = graph.dtype
    return sum(
        prod(graph.state[name]) * _type_of(graph.dtypes.get(name, own), own, size)[1]
        for name in names
        if name not in graph.aliases
    )


def kept_for_backward(
    graph: Graph, size: int = 4, ignored: Collection[str] = (), lost: Collection[str] = ()
) -> Iterator[tuple[Node, int]]:
    """The values that autograd keeps, each once, with their bytes. Source: torch's derivatives.yaml.

    Of a part that is run again in the backward pass these are what it is given, and nothing that is in it.

    Args: `ignored` the unknown kinds that keep nothing; `lost` those of which neither this is counted nor their output.
    Raises: RvCheckError for another kind of which it is not known what it keeps.
    """
    return _KeptValues(graph, size).kept(ignored, lost)


class _KeptValues:
    """What a gradient is passed through in a graph, and what autograd keeps for it."""

    def __init__(self, graph: Graph, size: int):
        self.graph, self.size = graph, size
        self.types = _types(graph, size)
        self.with_gradient = trained(graph)
        self.differentiated = _differentiated(graph, self.with_gradient)

    def kernels(self, ignored: Collection[str]) -> tuple[Uncounted, ...]:
        """The kernels that keep memory of their own, of which nobody knows how much."""
        found = {node.fused: node for node in reversed(self.graph.nodes) if self.hides(node.fused, ignored)}
        return tuple(_kernel(node) for node in reversed(found.values()))

    def hides(self, fused: Fused | None, ignored: Collection[str]) -> bool:
        """Whether more is kept than the values that are known."""
        return fused is not None and not fused.is_known and fused.kernel not in ignored and self.passes(fused)

    def passes(self, fused: Fused) -> bool:
        """Whether a gradient is passed through it."""
        return not self.differentiated.isdisjoint(fused.outputs)

    def kept(self, ignored: Collection[str], lost: Collection[str]) -> Iterator[tuple[Node, int]]:
        """The values that are kept, each once, with their bytes. Args, Raises: as `kept_for_backward`."""
        again = {part for node in self.with_gradient for part in node.parts[:1]}
        seen: set[Node] = set()
        for node in self.graph.nodes:
            part = next(iter(node.parts), None)
            if part in again and part is not None:
                _refuse_a_policy(part, node)
                kept = (*part.inputs, *(value for value in node.inputs if part not in value.parts))
            else:
                kept = self.kept_by(node, ignored, lost)
            for value in kept:
                if value is node.within:  # it is overwritten, and a copy is kept
                    yield value, prod(value.shape) * self.element(value)
                    continue
                root = _root(value)
                # A recurrence begins with zeros that are made, and kept; a number of Python's is not.
                is_number = root.kind == "constant" and root.shape == () and value.within is None
                if root not in seen and root.kind not in ("state", *lost) and not is_number:
                    seen.add(root)
                    yield root, _stored(root) * self.element(root)
            besides = self.made_by(node) if part not in again and node in self.differentiated else 0
            if besides and _is_made(node):
                yield node, besides

    def element(self, value: Node) -> int:
        """The bytes of an element."""
        return self.types[value][1] if value in self.types else self.size

    def kept_by(self, node: Node, ignored: Collection[str], lost: Collection[str]) -> tuple[Node, ...]:
        """The values that it keeps, among its inputs and its output or those of the kernel that it is part of."""
        if node.fused is not None:
            if self.hides(node.fused, (*ignored, *lost)):
                raise not_counted((_kernel(node),), PROBLEM)
            return node.fused.kept if self.passes(node.fused) else ()
        if node.kind in LEAVES or node not in self.differentiated:
            return ()
        if node.row.keeps == "unknown" and node.kind not in ignored and node.kind not in lost:
            raise not_counted(uncounted_of([node]), PROBLEM)
        return self.kept_of_kind(node)

    def kept_of_kind(self, node: Node) -> tuple[Node, ...]:
        """The same, by its kind."""
        x = node.inputs[:1]
        match node.row.keeps:
            case "input" if node.kind == "linear":
                return x * self.has_gradient(node.tensors["weight"]) + _computed(node) * (x[0] in self.with_gradient)
            case "input" if node.kind == "adaptive_avgpool" and node.shape[2:] == (1, 1):
                return ()  # torch computes it as a mean
            case "input" if node.row.in_place_by_output and node.within is not None:
                return (node,)
            case "input":
                return (*x, *_computed(node, "weight", "running_mean", "running_var"))
            case "inputs":
                return (*node.inputs, *_computed(node, "weight", "bias"))
            case "factors":
                return self.kept_of_factors(node)
            case "output":
                return (node,)
            case "input and output":
                return (*x, node)
            case "inputs and output":
                return (*node.inputs, node)
            case "index" if node.kind == "index_add":  # what is added is kept, too, for its shape
                return node.inputs[1:] * (node.inputs[-1] in self.with_gradient)
            case "index":
                return tuple(one for one in node.inputs if not self.types[one][0]) or node.inputs[-1:]
        return ()

    def kept_of_factors(self, node: Node) -> tuple[Node, ...]:
        """Each that another one's gradient is multiplied with; that of a divisor is divided by it again."""
        x, y = node.inputs if len(node.inputs) == 2 else (node.inputs[0], node.inputs[0])
        divisor = node.kind == "div" and x not in self.with_gradient
        return (x,) * (y in self.with_gradient) + (y,) * (x in self.with_gradient or divisor)

    def has_gradient(self, tensor: State | Node) -> bool:
        """Whether a gradient is passed to a parameter, a buffer, or a value that stands for one."""
        return tensor in self.with_gradient if isinstance(tensor, Node) else tensor.name in self.graph.learned

    def made_by(self, node: Node) -> int:
        """Bytes that an operation makes for its backward pass, beside its output."""
        return _made_for_backward(node, self.element(node), self.of_statistics(node))

    def of_statistics(self, node: Node) -> int:
        """The bytes of a number of a norm's statistics: of the wider type where its input has another than its own."""
        return max(self.element(node), *map(self.element_of, node.tensors.values()), 0)

    def element_of(self, tensor: State | Node) -> int:
        """The bytes of an element of a parameter, a buffer, or a value that stands for one."""
        own = self.graph.dtype
        if isinstance(tensor, Node):
            return self.element(tensor)
        return _type_of(self.graph.dtypes.get(tensor.name, own), own, self.size)[1]


def _kernel(node: Node) -> Uncounted:
    """The kernel that an operation is part of, where its size is not known."""
    fused = node.fused
    assert fused is not None
    return Uncounted(fused.kernel, node.name, node.place, tuple(x.shape for x in fused.inputs), fused.outputs[0].shape)


def run_again(graph: Graph) -> dict[Node, int]:
    """How often each operation is run in the backward pass again: once for each part that it stands in and is reached.

    A part that stops is run as far as autograd kept anything: what an operation is given is kept before it is done. A
    fused kernel of attention does the first of its products anew.
    Raises: RvCheckError where a part keeps what a policy of its own says.
    """
    backward = _KeptValues(graph, 1)
    with_gradient = backward.with_gradient
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
                made = "output" in node.row.keeps or backward.made_by(node)
                if made or backward.kept_of_kind(node):
                    reach[part] = at if made else at - 1
            begun.add(part)
    times = {
        node: sum(part in again and at <= reach.get(part, -1) for part in node.parts) for at, node in enumerate(order)
    }
    kernels: set[Fused] = set()
    for node in graph.ran:
        fused = node.fused if node.kind == "matmul" and node in with_gradient else None
        if fused is not None and fused.kernel == "attention" and fused not in kernels:
            kernels.add(fused)
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
            left += [feed for feed in passed_to(node) if feed in with_gradient]
    return found


def _types(graph: Graph, size: int) -> dict[Node, tuple[bool, int]]:
    """Whether the elements of each value are fractions, and their bytes: those of the network, but where it casts.

    Where it was not observed, what comes of two types has the wider one, and a fraction is wider than a whole number.
    """
    types: dict[Node, tuple[bool, int]] = {}
    for node in (*graph.nodes, *graph.ran):
        if node in types:
            continue
        found = [types[feed] for feed in node.feeds if feed in types and (feed.shape or feed.kind != "constant")]
        if node.dtype:
            types[node] = _type_of(node.dtype, graph.dtype, size)
        elif node.row.element_bytes is not None:
            types[node] = (False, node.row.element_bytes)
        elif node.kind == "cast" or (node.kind == "input" and "dtype" in node.attributes):
            types[node] = _type_of(str(node.attributes["dtype"]), graph.dtype, size)
        elif not found or any(role == "weight" for role, _ in node.states):
            types[node] = max([*found, (True, size)])
        else:
            types[node] = max(found) if max(found)[0] or _stays_whole(node) else (True, size)
    return types


def _stays_whole(node: Node) -> bool:
    """Whether what comes of whole numbers is whole: where they are moved, chosen, or counted with whole ones."""
    if "by" in node.attributes:
        return isinstance(node.attributes["by"], int)
    return node.row.moves or node.row.keeps == "view" or node.row.whole


def _type_of(dtype: str, own: str, size: int) -> tuple[bool, int]:
    """Whether a type is one of fractions, and its bytes: `size` where it is the network's `own`, or none of these."""
    name = dtype.removeprefix("torch.")
    if dtype == own or not name:
        return True, size
    return (False, WHOLE[name]) if name in WHOLE else (True, (BYTES | COMPLEX).get(name, size))


def _computed(node: Node, *roles: str) -> tuple[Node, ...]:
    """What stands in the place of a layer's parameters and is computed, so that it is kept as a value is."""
    tensors = [node.tensors.get(role) for role in roles or ("weight",)]
    return tuple(tensor for tensor in tensors if isinstance(tensor, Node))


def _made_for_backward(node: Node, size: int, of_statistics: int) -> int:
    """Bytes that an operation makes for its backward pass, beside its output. Args: `size` those of an element."""
    a = node.attributes
    if node.fused is not None:
        is_attention = node.fused.kernel == "attention"
        return is_attention * (prod(node.fused.inputs[0].shape[:-1]) * max(size, 4) + node.fused.mask * size)
    match node.kind:
        case (
            "maxpool" | "max_pool3d_with_indices" | "adaptive_max_pool2d" | "adaptive_max_pool3d" | "max" | "min"
        ):  # where each extreme is
            return prod(node.shape) * INDEX_BYTES
        case "sort" | "topk":  # where each was
            return prod(node.shape) * INDEX_BYTES
        case "batchnorm" if a["statistics"] == "of the batch":
            return 2 * node.shape[1] * of_statistics  # mean and deviation
        case "groupnorm":
            groups: int = a["groups"]
            return 2 * node.shape[0] * groups * of_statistics  # likewise, of each image
        case "native_layer_norm":
            return 2 * prod(node.shape[: len(node.shape) - len(a["normalized_shape"])]) * of_statistics
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
    while True:
        if node.within is not None:
            node = node.within
        elif node.row.keeps == "view" and node.inputs:
            node = node.inputs[0]
        else:
            return node


def _stored(value: Node) -> int:
    """How many numbers there are in the memory that a value has."""
    return prod(value.shape) if value.stored is None else value.stored


def _is_made(node: Node) -> bool:
    """Whether there ever is a value of it: within a kernel it is of what that gives alone."""
    fused = node.fused
    return fused is None or fused.kernel == "function" or node in map(_root, fused.outputs)


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
    types = _types(graph, size)
    live, peak = {node: prod(node.shape) * types.get(node, (True, size))[1] for node in graph.inputs}, 0
    for at, node in enumerate(order):
        if _root(node) is node and node.kind not in lost:
            live[node] = _stored(node) * types[node][1]
        peak = max(peak, sum(live.values()))
        live = {value: bytes_ for value, bytes_ in live.items() if last.get(value, -1) > at}
    return peak


def as_json(found: Memory) -> Mapping[str, Any]:
    """Bytes by name."""
    return {**vars(found), "training": found.training}
