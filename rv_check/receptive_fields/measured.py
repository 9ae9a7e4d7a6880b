"""Receptive fields as gradients show them, of a spec and of any module, beside those by formula."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rv_check.archs.arch import Arch
from rv_check.archs.axes import Along, of_spans
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph, Node
from rv_check.graphs.network import At
from rv_check.ops.op import Shape
from rv_check.receptive_fields.formula import FieldLine, arch_lines, ends, node_of
from rv_check.receptive_fields.gradient import GradientMaps
from rv_check.receptive_fields.walk import Formula, Walk, rhythm

if TYPE_CHECKING:
    from torch import Tensor

    from rv_check.modules.observe import Subject

MAX_SQUARE = 2600  # pixels a side of an image; beyond, rows and columns are measured apart, which takes no memory
MAX_LINE = 4_000_000  # pixels


@dataclass(frozen=True)
class MeasuredField:
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


def measured_field(subject: Graph | Subject, step: str, input: Shape = (3, 224, 224)) -> MeasuredField:
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
    from rv_check.modules.network import ModuleNetwork

    return ModuleNetwork(subject, does_not="does not run on an input of").graph(At(input), Form.AS_RUN)


def compare_fields(arch: Arch, depth: int | None = None) -> list[tuple[str, ReceptiveField, MeasuredField]]:
    """(step, by formula from the spec, as measured on the built model), of its stages or of all `depth` names deep.

    Steps that see everything, and those that do nothing in eval mode, are left out. Raises: RvCheckError.
    """
    return compare_lines(arch, arch_lines(arch, depth))


def compare_lines(arch: Arch, lines: Iterable[FieldLine]) -> list[tuple[str, ReceptiveField, MeasuredField]]:
    """The same of these lines of its table, joins left out."""
    graph = built_graph(arch)
    known = ends(graph)
    wanted = [line for line in lines if line.name in known and not line.field.collapsed]
    return [(line.name, line.field, _measured(graph, line.name, known[line.name])) for line in wanted]


def built_graph(arch: Arch) -> Graph:
    """What the model of an arch was observed to do at its input."""
    from rv_check.modules.build import build
    from rv_check.modules.observe import Subject

    return observed(Subject(build(arch, device="meta")), arch.input)


def measured_lines(graph: Graph, lines: Iterable[FieldLine]) -> list[MeasuredField | None]:
    """The measured field of each line of a module's table, None where it sees everything."""
    nodes = [(line, line.node or node_of(graph, line.name)) for line in lines]
    return [None if line.field.collapsed else _measured(graph, line.name, node) for line, node in nodes]


def _measured(graph: Graph, step: str, node: Node) -> MeasuredField:
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
            return MeasuredField(step, rows, columns, image, seen_pixels)
    apart = [_along(graph, node, (axis,), [wanted[0], 1] if axis == 0 else [1, wanted[1]]) for axis in (0, 1)]
    if apart[0] is None or apart[1] is None:
        raise RvCheckError(f"the field of {step} is larger than {MAX_LINE:,} pixels, or has no end")
    return MeasuredField(step, apart[0][0][0], apart[1][0][0], (apart[0][2][0], apart[1][2][1]), None)


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
        seen = Walk(graph, GradientMaps(axes), image).at(node)
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
