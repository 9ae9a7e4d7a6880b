"""Receptive fields: by formula and by gradients, of a spec and of any module; and what an input must be for them.

Fields are those of all channels together: groups, and channels that are cut off or shuffled, make none smaller.
Stages, as words here: the last step of each stride (jump) that everything goes through, as VGG's blocks before a pool.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rv_check.analyses import ReceptiveField
from rv_check.arch import Arch, load
from rv_check.axes import Along, of_spans
from rv_check.errors import RvCheckError, SpecError
from rv_check.expected import expected
from rv_check.graph import Graph, Node, Shape, describe
from rv_check.library import shipped_folder
from rv_check.text import listed, nearest, quote, shown_shape
from rv_check.tree import Join
from rv_check.walk import Formula, Gradient, Seen, Walk, rhythm
from rv_check.writing import writable

if TYPE_CHECKING:
    from torch import Tensor

    from rv_check.observe import Subject

MAX_SQUARE = 2600  # pixels a side of an image; beyond, rows and columns are measured apart, which takes no memory
MAX_LINE = 4_000_000  # pixels


# Fields of a graph


def graph_field(graph: Graph, node: Node) -> ReceptiveField:
    """The field of a unit of a node, by formula, from the graph alone. Raises: RvCheckError."""
    return _field(Walk(graph, Formula(), ReceptiveField()).at(node))


def _field(seen: Seen[ReceptiveField] | None) -> ReceptiveField:
    if seen is None:
        raise RvCheckError("it does not depend on the input, and has no receptive field")
    field = seen.map
    gate = field.through_gate or seen.gate
    return replace(field, through_gate=gate, collapsed=field.collapsed or seen.everything)


def node_of(graph: Graph, step: str) -> Node:
    """The output of a step of a spec, or of a part of a module by its path. Raises: RvCheckError, with a suggestion."""
    known = graph.steps or ends(graph)
    if step not in known:
        near = nearest(step, known)
        expected_ = None if near else listed(known, none="a module with named parts")
        raise RvCheckError(f"there is no step {quote(step)}", expected=expected_, near=near)
    return known[step]


def ends(graph: Graph) -> dict[str, Node]:
    """The last operation of each part of a module, by its path, in the order of the flow."""
    found: dict[str, Node] = {}
    for node in graph.live:
        parts = node.name.split(".") if node.name and node is not graph.input else []
        for n in range(1, len(parts) + 1):
            found[".".join(parts[:n])] = node  # whatever ends a part depends on all the rest of it
    return found


def stages(graph: Graph) -> list[tuple[str, Node, ReceptiveField]]:
    """The last step of each stride that everything goes through, by its outermost name, to the last map."""
    walk = Walk(graph, Formula(), ReceptiveField())
    names = _outermost(graph)
    found: list[tuple[str, Node, ReceptiveField]] = []
    for node in _passed_by_all(graph):
        seen = walk.at(node)
        if seen is None or seen.everything:
            break
        field = _field(seen)
        if node in names or not graph.steps:
            name = names.get(node) or _place(node)
            if found and found[-1][2].stride == field.stride:
                found.pop()
            found.append((name, node, field))
    return found


def _passed_by_all(graph: Graph) -> Iterator[Node]:
    """The operations that every path from the input to the outputs goes through, in order."""
    live = graph.live
    outputs = set(graph.outputs.values())
    readers = dict.fromkeys(live, 0)
    for node in live:
        for feed in node.feeds:
            readers[feed] += 1
    open_: dict[Node, int] = {}
    for node in live:
        for feed in node.feeds:
            if feed in open_:
                open_[feed] -= 1
                if not open_[feed] and feed not in outputs:
                    del open_[feed]
        sees = node is graph.input or any(not feed.fixed for feed in node.feeds)
        if sees and not node.fixed and node.kind != "random":
            open_[node] = readers[node]
            if len(open_) == 1 and node is not graph.input:
                yield node


def _outermost(graph: Graph) -> dict[Node, str]:
    """The name of each operation that ends a step or part: that of the outermost one."""
    joins = {f"{name.rpartition('.')[0]}.{node.kind}".lstrip(".") for name, node in graph.steps.items()}
    named = {name: node for name, node in graph.steps.items() if name not in joins} if graph.steps else ends(graph)
    found: dict[Node, str] = {}
    for name, node in named.items():
        if node not in found or name.count(".") < found[node].count("."):
            found[node] = name
    return found


def _place(node: Node) -> str:
    """What an operation is called that is in no part of its own: by the line of the module's code."""
    return node.name or (str(node.place) if node.place else node.kind)


# Tables


@dataclass(frozen=True)
class Line:
    """One line of a table: a step with its field, and the fields of the branches where they differ.

    `node` of a module's graph, which tells apart what has no name of its own.
    """

    name: str
    op: str
    out: Shape  # without the batch axis
    field: ReceptiveField
    branches: tuple[tuple[str, ReceptiveField], ...] = ()
    node: Node | None = dataclasses.field(default=None, repr=False, compare=False)


def arch_lines(arch: Arch, depth: int | None) -> list[Line]:
    """The listing of an arch, modules `depth` names deep as one line; its stages where `depth` is None."""
    if depth is None:
        found = [(name, arch.step(name)) for name, _, _ in stages(expected(arch, False, raw=True))]
        return [Line(name, row.op, row.y, row.receptive_field) for name, row in found if row is not None]
    return [
        Line(row.name, row.op, row.y, row.receptive_field, _different(row.branches))
        for row in arch.rows(depth)
        if not isinstance(row.node, Join) or len(row.branches) > 1
    ]


def _different(branches: tuple[tuple[str, ReceptiveField], ...]) -> tuple[tuple[str, ReceptiveField], ...]:
    return branches if len({field for _, field in branches}) > 1 else ()


def graph_lines(graph: Graph, depth: int | None) -> list[Line]:
    """The operations of a module's graph, parts `depth` names deep as one line; its stages where `depth` is None."""
    if depth is None:
        return [Line(name, describe(node), node.shape[1:], seen, node=node) for name, node, seen in stages(graph)]
    walk = Walk(graph, Formula(), ReceptiveField())
    folded = {node: name for name, node in ends(graph).items() if name.count(".") + 1 == depth}
    lines = []
    for node in graph.live:
        seen = walk.at(node) if not node.fixed else None
        if seen is None or node is graph.input or (node not in folded and node.name.count(".") + 1 >= depth):
            continue
        fields = [(_place(feed), _field(walk.values[feed])) for feed in node.inputs if walk.values[feed]]
        joined = node.row.family == "join" and node not in folded
        branches = _different(tuple(fields)) if joined else ()
        op = "part" if node in folded and folded[node] != node.name else describe(node)
        lines.append(Line(folded.get(node) or _place(node), op, node.shape[1:], _field(seen), branches, node))
    return lines


def arch_line(arch: Arch, step: str) -> Line:
    """One step of an arch. Raises: RvCheckError where there is none of that name."""
    row = arch.step(step)
    if row is None:
        near = nearest(step, expected(arch, False, raw=True).steps)
        raise RvCheckError(f"{arch.name} has no step {quote(step)}", near=near)
    return Line(step, row.op, row.y, row.receptive_field)


# Measured


@dataclass(frozen=True)
class Measured:
    """The field of a step as gradients show it. `pixels`: how many it holds, which are fewer where it has holes.

    Where units differ, those of the largest. None where rows and columns were measured apart, the field being too large
    for an image.
    """

    step: str
    rows: Along
    columns: Along
    image: tuple[int, int]
    pixels: int | None

    def __str__(self) -> str:
        return str(self.field)

    @property
    def field(self) -> ReceptiveField:
        """The field, nothing said of gates and alignment."""
        return ReceptiveField(self.rows, self.columns)

    def agrees(self, field: ReceptiveField) -> bool:
        """Whether size, stride and padding are those of a formula, of each phase."""
        return (self.rows, self.columns) == (field.rows, field.columns)


def measured_field(subject: Graph | Subject, step: str, input: Shape = (3, 224, 224)) -> Measured:
    """The field of one step, from the gradients of neighbouring units of it.

    Args: `subject` a graph, as `expected` gives, or a `Subject`, which is observed at `input`, in eval mode; `step` a
    step of the spec, or the path of a part of the module.
    Raises: RvCheckError for an unknown step, one that sees everything, and what cannot be followed.
    """
    graph = subject if isinstance(subject, Graph) else observed(subject, input)
    return _measured(graph, step, node_of(graph, step))


def observed(subject: Subject, input: Shape) -> Graph:
    """The graph of a module in eval mode, as it runs: nothing is moved and nothing left out.

    Raises: RvCheckError with what the module raised, at which input.
    """
    from rv_check.foreign import guarded

    what = f"the module does not run on an input of {shown_shape(input)}"
    graph: Graph = guarded(what, lambda: subject.observe(input, False, raw=True))
    return graph


def compare_fields(arch: Arch, depth: int | None = None) -> list[tuple[str, ReceptiveField, Measured]]:
    """(step, by formula from the spec, as measured on the built model), of its stages or of all `depth` names deep.

    Steps that see everything, and those that do nothing in eval mode, are left out. Raises: RvCheckError.
    """
    return compare_lines(arch, arch_lines(arch, depth))


def compare_lines(arch: Arch, lines: Iterable[Line]) -> list[tuple[str, ReceptiveField, Measured]]:
    """The same of these lines of its table, joins left out."""
    graph = built_graph(arch)
    known = ends(graph)
    wanted = [line for line in lines if line.name in known and not line.field.collapsed]
    return [(line.name, line.field, _measured(graph, line.name, known[line.name])) for line in wanted]


def built_graph(arch: Arch) -> Graph:
    """What the model of an arch was observed to do at its input."""
    from rv_check.model import build
    from rv_check.observe import Subject

    return observed(Subject(build(arch, device="meta")), arch.input)


def measured_lines(graph: Graph, lines: Iterable[Line]) -> list[Measured | None]:
    """Of each line of a module's table the measured field, None where it sees everything."""
    nodes = [(line, line.node or node_of(graph, line.name)) for line in lines]
    return [None if line.field.collapsed else _measured(graph, line.name, node) for line, node in nodes]


def _measured(graph: Graph, step: str, node: Node) -> Measured:
    seen = Walk(graph, Formula(), ReceptiveField()).at(node)
    if seen is None or seen.everything:
        why = "does not depend on the input" if seen is None else "sees the whole input"
        raise RvCheckError(f"{step} {why}", expected="a step before the pool to a fixed size, outside of gates")
    field = seen.map
    if not field.rows.size or not field.columns.size:
        raise RvCheckError(f"{step} sees nothing of the input: it is made of the zeros between upsampled units")
    pixels, units = rhythm(graph, node)
    wanted = [
        _side(along.size, side, step, 4 if n == 1 else 8)
        for along, side, step, n in zip((field.rows, field.columns), graph.input.shape[2:], pixels, units, strict=True)
    ]
    if max(wanted) <= MAX_SQUARE:
        found = _along(graph, node, (0, 1), wanted)
        if found is not None:
            (rows, columns), seen_pixels, image = found
            return Measured(step, rows, columns, image, seen_pixels)
    apart = [_along(graph, node, (axis,), [wanted[0], 1] if axis == 0 else [1, wanted[1]]) for axis in (0, 1)]
    if apart[0] is None or apart[1] is None:
        raise RvCheckError(f"the field of {step} is larger than {MAX_LINE:,} pixels, or has no end")
    return Measured(step, apart[0][0][0], apart[1][0][0], (apart[0][2][0], apart[1][2][1]), None)


def _side(size: int, side: int, step: int, steps: int) -> int:
    """Pixels that hold the fields of some neighbours: as many more than the input as keeps all maps in step."""
    return side + max(0, -(-(size + steps * step - side) // step)) * step


Found = tuple[list[Along], int, tuple[int, int]]
Ends = tuple[int, int] | None
Support = tuple[Ends, Ends, int]


def _along(graph: Graph, node: Node, axes: tuple[int, ...], sides: Sequence[int]) -> Found | None:
    """Axes as measured, pixels and the image; on a larger one as long as a field reaches its border or is cut.

    The formula says only where to begin: where it is too small, larger images show it. None: no image is large enough.
    """
    import torch

    size = list(sides)
    limit = MAX_SQUARE if len(axes) == 2 else MAX_LINE
    pixels, units = rhythm(graph, node)
    while max(size) <= limit:
        image = torch.zeros((1, 1, *size), dtype=torch.float64, requires_grad=True)
        seen = Walk(graph, Gradient(axes), image).at(node)
        assert seen is not None
        found = _inside(image, seen.map, axes, units)
        if found is not None:
            return (*found, (size[0], size[1]))
        for axis in axes:
            size[axis] += -(-size[axis] // pixels[axis]) * pixels[axis]
    return None


def _inside(image: Tensor, map: Tensor, axes: tuple[int, ...], units: Sequence[int]) -> tuple[list[Along], int] | None:
    """What neighbours in the middle of a map show, if all their fields lie within the image and repeat.

    Args: `units` after how many they repeat, along rows and columns. Rows are those that all phases of the columns see
    together, and columns likewise: where some see nothing, one of them alone may see less.
    """
    first, many = [0, 0], [1, 1]
    for axis in axes:
        many[axis] = units[axis]
        first[axis] = map.shape[2 + axis] // 2 // many[axis] * many[axis]
        if first[axis] + 2 * many[axis] > map.shape[2 + axis]:
            return None
    known: dict[tuple[int, ...], Support] = {}

    def support(row: int, column: int, rows: int = 1, columns: int = 1) -> Support:
        where = (row, column, rows, columns)
        if where not in known:
            known[where] = _support(image, map[0, 0, row : row + rows, column : column + columns].sum())
        return known[where]

    measured: list[Along] = []
    largest = list(first)
    for axis in axes:
        block = [1 if other == axis else many[other] for other in (0, 1)]
        ends = []
        for at in range(2 * many[axis]):
            start = [row + min(at, n) for row, n in zip(first, many, strict=True)] if len(axes) == 2 else list(first)
            start[axis] = first[axis] + at
            rows, columns, _ = support(*start, *block)
            ends.append(columns if axis else rows)
        found = _repeated(ends, many[axis], image.shape[2 + axis])
        if found is None:
            return None
        shift, spans = found
        turned = first[axis] // many[axis] * shift
        measured.append(of_spans([(begin - turned, size) if size else (0, 0) for begin, size in spans], shift))
        sizes = [size for _, size in spans]
        largest[axis] += sizes.index(max(sizes))
    return measured, support(largest[0], largest[1])[2]


def _repeated(ends: Sequence[Ends], n: int, side: int) -> tuple[int, list[tuple[int, int]]] | None:
    """How far the fields of units lie apart that are `n` units apart, and those of the first `n`: (first, size)."""
    shifts = set()
    for one, other in zip(ends[:n], ends[n:], strict=True):
        if one is None or other is None:
            if one != other:
                return None
            continue
        if one[0] <= 0 or other[1] >= side - 1 or one[1] - one[0] != other[1] - other[0]:
            return None
        shifts.add(other[0] - one[0])
    if len(shifts) != 1:
        return None
    return shifts.pop(), [(one[0], one[1] - one[0] + 1) if one else (0, 0) for one in ends[:n]]


def _support(image: Tensor, unit: Tensor) -> Support:
    """First and last row, and column, that a unit sees, None if it sees nothing, and the number of pixels."""
    import torch

    (gradient,) = torch.autograd.grad(unit, image, retain_graph=True)
    seen = gradient[0, 0] > 0
    ends: list[Ends] = []
    for axis in (0, 1):
        places = seen.any(1 - axis).nonzero()
        ends.append((int(places[0]), int(places[-1])) if len(places) else None)
    return ends[0], ends[1], int(seen.sum())


# Inputs


@dataclass(frozen=True)
class Smallest:
    """The smallest square input that an arch takes, and what is in the way of one less, "" where nothing is."""

    size: int
    below: str


def smallest_input(arch: Arch) -> Smallest:
    """By trying: an arch takes an input at which it can be expanded, with the parameters of its own input.

    Raises: SpecError where the arch cannot be expanded at its own input.
    """
    channels, *sides = arch.input
    below = ""
    for size in range(1, max(sides) + 1):
        reason = _why_not(arch, (channels, size, size))
        if not reason:
            return Smallest(size, below)
        below = reason
    raise RvCheckError(f"{arch.name} takes no square input of up to {max(sides)} pixels; at {max(sides)}: {below}")


def _why_not(arch: Arch, input: Shape) -> str:
    """What is wrong with an input, "" where nothing is."""
    other = arch.at(input)
    try:
        state = other.state
    except SpecError as error:
        problem = error.problems[0]
        return f"{problem.place}: {problem.message}"
    for name, shape in arch.state.items():
        if state.get(name) != shape:
            step = name.rpartition(".")[0]
            now, then = (" x ".join(map(str, s)) if s else "missing" for s in (state.get(name), shape))
            return f"{step}: {name} would be {now}; it is {then} at {shown_shape(arch.input)}"
    return ""


def fits(lines: Sequence[Line], size: int) -> tuple[Line | None, Line | None]:
    """The last stage whose field fits an input of that size, and the first that does not."""
    within = [line for line in lines if _longest(line.field) <= size]
    beyond = [line for line in lines if _longest(line.field) > size]
    return max(within, key=lambda line: _longest(line.field), default=None), next(iter(beyond), None)


def _longest(field: ReceptiveField) -> int:
    return max(field.rows.size, field.columns.size)


# Pictures


PICTURES = (".png", ".svg")


def check_picture(name: str) -> Path:
    """Where a picture goes, before any work. Raises: RvCheckError, also where matplotlib is missing."""
    if Path(name).suffix.lower() not in PICTURES:
        raise RvCheckError(f"{quote(name)} is no name of a picture", expected=f"FILE{' or FILE'.join(PICTURES)}")
    if find_spec("matplotlib") is None:
        raise RvCheckError("a picture needs matplotlib", expected="it installed, as by pip install 'rv-check[plot]'")
    return writable(name)


# Published


PUBLISHER = "google-research/receptive_field"
STUDY = "studies/tf_slim.yaml"
WHY = (
    "In TF-slim and in the paper's ResNet every 3x3 of a stage slides over the map that the stage gives, the stride\n"
    "lying before it: in the last unit of the stage before, or in a 1x1. In torchvision's v1.5 the first 3x3 of a\n"
    "stage has the stride itself and slides over the map before: each reaches 2*jump less, 2*(4+8+16) = 56 pixels in\n"
    "all. TF-slim's pool pads 0 where 'SAME' needs one pixel (224), 1 where it needs two (321): 2 pixels of padding."
)


@dataclass(frozen=True)
class Against:
    """A published field and that of an arch of ours."""

    network: str
    published: str
    source: str
    arch: str
    what: str
    field: ReceptiveField

    @property
    def is_same(self) -> bool:
        """In size, stride and padding."""
        return str(self.field) == self.published


def compare_published(study: str | None = None) -> list[Against]:
    """What google-research/receptive_field prints, against TF-slim's networks, the paper's and torchvision's.

    The printed fields are those of the specs. Raises: SpecError.
    """
    path = study or str(shipped_folder() / STUDY)
    found = []
    for network, depth, slim in (
        ("resnet_v1_50", "50", True),
        ("resnet_v1_101", "101", True),
        ("resnet_v1_152", "152", True),
        ("resnet_v1_200", "200", True),
        ("vgg_16", "", False),
    ):
        first = f"{path}::{network}" if slim else "vgg16"
        printed, source = _printed(load(first))
        others = [(first, "TF-slim, stride in the last unit of a stage" if slim else "torchvision")]
        if slim:
            others += [(f"{path}::{network}_at_321", "the same at 321 pixels")]
            others += [(f"resnet{depth}_v1", "the paper, stride in the first 1x1")] if depth != "200" else []
            own = "resnet152(depths=[3, 24, 36, 3])" if depth == "200" else f"resnet{depth}"
            others += [(own, "torchvision v1.5, stride in the 3x3")]
        for name, what in others:
            arch = load(name)
            found.append(Against(network, printed, source, arch.name, what, arch.receptive_field))
    return found


def _printed(arch: Arch) -> tuple[str, str]:
    for entry in arch.entry.published:
        if entry.metric == "receptive_field" and entry.source.startswith(PUBLISHER):
            return entry.printed, entry.source
    raise RvCheckError(f"{arch.name} has no published receptive field of {PUBLISHER}")


__all__ = [
    "Against",
    "Line",
    "Measured",
    "Smallest",
    "compare_fields",
    "compare_published",
    "fits",
    "measured_field",
    "smallest_input",
    "stages",
]
