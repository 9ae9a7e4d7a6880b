"""What a network is recognised by: its landmarks, in the order of the flow.

Landmarks are the weighted layers, by the shapes of their weights, and the joins of what several of them gave, by kind
and width. A gate or an activation that is written out, as x * sigmoid(x), joins what one layer gave, and is none. Nor
are the layers that a gate of a map is computed by, as a squeeze and an excitation: however many it has, a network is
that of its trunk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import prod

from rv_check.archs.analyses import fold
from rv_check.archs.arch import Arch
from rv_check.archs.tree import Join, Layer
from rv_check.graphs.align import flow
from rv_check.graphs.graph import Graph, Node, State, TensorShape
from rv_check.ops.kinds import kind_of

Way = tuple[Node, ...]  # operations from one landmark to the next
LOOSE = 0.75  # what a layer is worth that has another kernel
LONGEST_WAY = 24  # operations of a way that are looked at, the last ones
MOST_CLASSES = 4  # numbers of classes that a network may have, of several outputs


def share(number: float, of: int) -> float:
    """From 0 to 1, rounded so that equal shares are equal however they were added up."""
    return round(max(0.0, number / of), 9) if of else 0.0


@dataclass(frozen=True)
class Key:
    """What a landmark is known by.

    `exact`: equal for weights of one shape, a 1x1 convolution being a linear layer, and for joins of one kind and
    width. `loose`: equal also for kernels of another size.
    """

    exact: Hashable
    loose: Hashable

    @classmethod
    def of_layer(cls, weight: TensorShape) -> Key:
        kernel = weight[2:]
        return cls((weight[:2], kernel if any(size != 1 for size in kernel) else ()), weight[:2])


@dataclass(frozen=True)
class Keys:
    """How often there are landmarks of each key, in whatever order."""

    exact: Counter[Hashable]
    loose: Counter[Hashable]

    @classmethod
    def of(cls, keys: Sequence[Key]) -> Keys:
        return cls(Counter(key.exact for key in keys), Counter(key.loose for key in keys))

    def bound(self, other: Keys) -> float:
        """What the likeness of two networks is at most, as far as landmarks tell without their order."""
        most = max(self.exact.total(), other.exact.total())
        exact, loose = (self.exact & other.exact).total(), (self.loose & other.loose).total()
        return share(LOOSE * loose + (1 - LOOSE) * exact, most)


def keys_of(arch: Arch) -> Keys:
    """Those of an arch, from its tree: in no more time than its distinct blocks take. Raises: SpecError."""

    def of_layer(layer: Layer) -> Keys:
        weighted = layer.op.kind.weighted
        return Keys.of([Key.of_layer(layer.op.params(layer.x)["weight"])] if weighted else [])

    def of_join(join: Join, branches: Sequence[Keys]) -> Keys:
        size = prod(join.y) if join.kind == "product" else 0  # of two factors the smaller one is a gate
        trunk = [keys for keys, (_, seq) in zip(branches, join.branches, strict=True) if prod(seq.y) >= size]
        return added([Keys.of(_of_join(join.kind, join.y[0], len(branches))), *trunk])

    def added(parts: Sequence[Keys]) -> Keys:
        return Keys(_total(one.exact for one in parts), _total(one.loose for one in parts))

    def times(keys: Keys, n: int) -> Keys:
        return Keys(*(Counter({key: n * number for key, number in one.items()}) for one in (keys.exact, keys.loose)))

    return fold(arch.tree.root, of_layer, added, of_join, times)


def _total(counters: Iterable[Counter[Hashable]]) -> Counter[Hashable]:
    total: Counter[Hashable] = Counter()
    for counter in counters:
        total.update(counter)
    return total


@dataclass(frozen=True)
class Landmark:
    """A landmark, and what is done to each of the values that it takes, from the landmark before it on.

    What only moves elements is left out. `ways`: in the order of the landmarks that they come from.
    """

    key: Key
    node: Node
    ways: tuple[Way, ...] = ()


class Landmarks:
    """The landmarks of a graph. What no output uses is none.

    `layers`: those that are weighted layers; `products`: how many of two matrices, none of them a weight; `ends`: the
    ways to the outputs; `classes`: how many values for an image the outputs give that are no maps; `params`: numbers in
    the parameters.
    """

    def __init__(self, graph: Graph):
        self.all: list[Landmark] = []
        self.layers: list[Node] = []
        self._source = {graph.input: graph.input}  # of each operation, the landmark that it comes from
        self._way: dict[Node, Way] = {graph.input: ()}  # and how
        self._at = {graph.input: 0}  # the place of a landmark in the order
        live, self._trunk = set(graph.live), trunk_of(graph)
        passed = [node for node in flow(graph) if node in live and not node.fixed]
        for node in passed:
            self._pass(node)
        last = max((at for at, one in enumerate(self.all) if is_layer(one.node)), default=-1)
        del self.all[last + 2 :]  # an addition may end the last block; what comes then is made of the answer
        self.keys = Keys.of([landmark.key for landmark in self.all])
        self.products = sum(node.row.multiplies == "matrices" and not is_layer(node) for node in passed)
        self.params = graph.params
        outputs = graph.outputs.values()
        self.ends = tuple(self._way.get(node, ()) for node in outputs)
        self.classes = sorted({node.shape[1] for node in outputs if len(node.shape) == 2}, reverse=True)[:MOST_CLASSES]

    def _pass(self, node: Node) -> None:
        feeds = [feed for feed in dict.fromkeys(node.feeds) if feed in self._source]
        feeds.sort(key=lambda feed: (self._at[self._source[feed]], feed not in self._trunk))
        sources = dict.fromkeys(self._source[feed] for feed in feeds)
        keys = self._keys(node, len(sources))
        if keys:
            if node in self._trunk:
                ways = tuple(self._way[feed] for feed in feeds)
                self.all.extend([Landmark(keys[0], node, ways), *(Landmark(key, node) for key in keys[1:])])
            self._source[node], self._way[node] = node, ()
        else:
            way = tuple(dict.fromkeys(one for feed in feeds for one in self._way[feed]))
            only_moves = node.row.moves and node.row.sees != "window"  # a pad or a cut changes what is seen
            self._source[node] = next(iter(sources), node)
            self._way[node] = way if only_moves else (*way, node)[-LONGEST_WAY:]
        self._at.setdefault(self._source[node], len(self.all))

    @property
    def head(self) -> int | None:
        """How many values the last layer gives, where that is a linear layer and an output is as wide."""
        weight = weight_of(self.layers[-1]) if self.layers else ()
        return weight[0] if len(weight) == 2 and weight[0] in self.classes else None

    @property
    def stem(self) -> int | None:
        """The channels that the first layer gives."""
        return weight_of(self.layers[0])[0] if self.layers else None

    def _keys(self, node: Node, sources: int) -> list[Key]:
        if is_layer(node):
            self.layers.append(node)
            return [Key.of_layer(weight_of(node))]
        return _of_join(node.kind, node.shape[1] if len(node.shape) > 1 else 0, sources)


def _of_join(kind: str, channels: int, sources: int) -> list[Key]:
    """The keys of what joins so many values; a sum of three is two sums of two, as it may have been written."""
    key = (kind, channels)
    return [Key(key, key)] * (sources - 1 if kind_of(kind).commutes else min(1, sources - 1))


def trunk_of(graph: Graph) -> set[Node]:
    """The operations that an output depends on otherwise than through the smaller one of two factors: a gate."""
    trunk: set[Node] = set()
    left = list(graph.outputs.values())
    while left:
        node = left.pop()
        if node in trunk:
            continue
        trunk.add(node)
        size = prod(node.shape) if node.kind == "product" else 0
        left += [feed for feed in node.feeds if prod(feed.shape) >= size]
    return trunk


def is_layer(node: Node) -> bool:
    """Whether it is a weighted layer."""
    return node.row.weighted and "weight" in node.tensors


def weight_of(layer: Node) -> TensorShape:
    """The shape of the weight of a layer."""
    return layer.tensors["weight"].shape


def weights(landmarks: Landmarks) -> int:
    """How many registered weights the layers have: one that queries, keys and values share is one."""
    return len(_distinct(landmarks))


def _distinct(landmarks: Landmarks) -> list[Node]:
    """The layers, one of those that have the same weight."""
    used: dict[Hashable, Node] = {}
    for layer in landmarks.layers:
        weight = layer.tensors["weight"]
        used.setdefault(weight.name if isinstance(weight, State) else weight, layer)
    return list(used.values())


def looks_like(landmarks: Landmarks) -> str:
    """What sort of network it is, in words."""
    layers = {node: weight_of(node) for node in _distinct(landmarks)}
    convs = [node for node, weight in layers.items() if len(weight) > 2]
    depthwise = sum(weight[1] == 1 and node.attributes.get("groups", 1) > 1 for node, weight in layers.items())
    joins = dict.fromkeys(one.node for one in landmarks.all if not is_layer(one.node))
    kinds = Counter(node.kind for node in joins)
    if landmarks.products > 1:  # of queries with keys, and of what comes of it with values
        return f"looks like a transformer: attention {_times(landmarks.products // 2)}"
    if not layers:
        return "without a layer that rv-check knows"
    if not convs:
        return "looks like a perceptron"
    words = _counted(len(convs), "convolution")
    words += f", {depthwise} of them depthwise" if depthwise else ""
    if kinds["concat"] > kinds["sum"]:
        return f"looks like a network whose branches are concatenated {_times(kinds['concat'])}: {words}"
    if kinds["sum"]:
        return f"looks like a residual network: {words}, {_counted(kinds['sum'], 'sum')}"
    return f"looks like a stack of layers: {words}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
