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
from rv_check.receptive_fields.walk import Walk, fields_of, rhythm

if TYPE_CHECKING:
    from torch import Tensor

    from rv_check.modules.observe import Subject

MAX_LINE = 4_000_000  # pixels of a sequence, or of a map of one axis
MAX_SQUARE = 2600  # pixels a side of an image; beyond, the axes are measured apart, which takes no memory
MAX_CUBE = 128  # and of a volume


@dataclass(frozen=True)
class MeasuredField:
    """The field of a step as gradients show it. `pixels`: how many it holds, which are fewer where it has holes.

    Where units differ, those of the largest. None where the axes were measured apart, the field being too large for an
    image. `field`: nothing is said of gates and alignment. `image`: the pixels along each axis of what was measured on.
    """

    step: str
    field: ReceptiveField
    image: tuple[int, ...]
    pixels: int | None

    def __str__(self) -> str:
        return str(self.field)

    def agrees(self, field: ReceptiveField) -> bool:
        """Whether size, stride and padding are those of a formula, of each phase."""
        return self.field.axes == field.axes


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
    seen = fields_of(graph).at(node)
    if seen is None or seen.everything:
        why = "does not depend on the input" if seen is None else "sees the whole input"
        raise RvCheckError(f"{step} {why}", expected="a step before the pool to a fixed size, outside of gates")
    field = seen.map
    if not all(axis.size for axis in field.axes):
        raise RvCheckError(f"{step} sees nothing of the input: it is made of the zeros between upsampled units")
    pixels, units = rhythm(graph, node)
    wanted = [
        _side(along, side, step, 4 if n == 1 else 8)
        for along, side, step, n in zip(field.axes, graph.input.shape[2:], pixels, units, strict=True)
    ]
    every = range(len(wanted))
    if max(wanted) <= _limit(len(wanted)):
        found = _along(graph, node, tuple(every), wanted)
        if found is not None:
            axes, seen_pixels, image = found
            return MeasuredField(step, ReceptiveField(tuple(axes)), image, seen_pixels)
    along, sides = [], []
    for axis in every:
        found = _along(graph, node, (axis,), [wanted[axis] if at == axis else 1 for at in every])
        if found is None:
            raise RvCheckError(f"the field of {step} is larger than {MAX_LINE:,} pixels, or has no end")
        along += found[0]
        sides.append(found[2][axis])
    return MeasuredField(step, ReceptiveField(tuple(along)), tuple(sides), None)


def _limit(axes: int) -> int:
    """Pixels a side of an image on which as many axes are measured together."""
    return (MAX_LINE, MAX_SQUARE, MAX_CUBE)[axes - 1]


def _side(along: Along, side: int, step: int, steps: int) -> int:
    """Pixels that hold the fields of some neighbours in the middle, which a causal kernel's are all to one side of.

    They are as many more than the input as keeps all maps in step.
    """
    size = along.size
    if abs(2 * along.padding - size) > 2 * step:
        size = 2 * max(along.padding, size - along.padding)
    return side + max(0, -(-(size + steps * step - side) // step)) * step


Found = tuple[list[Along], int, tuple[int, ...]]
Ends = tuple[int, int] | None
Support = tuple[list[Ends], int]


def _along(graph: Graph, node: Node, axes: tuple[int, ...], sides: Sequence[int]) -> Found | None:
    """Axes as measured, pixels and the image; on a larger one as long as a field reaches its border or is cut.

    The formula says only where to begin: where it is too small, larger images show it. None: no image is large enough.
    """
    import torch

    size = list(sides)
    limit = _limit(len(axes))
    pixels, units = rhythm(graph, node)
    while max(size) <= limit:
        image = torch.zeros((1, 1, *size), dtype=torch.float64, requires_grad=True)
        seen = Walk(graph, GradientMaps(axes), image).at(node)
        assert seen is not None
        found = _inside(image, seen.map, axes, units)
        if found is not None:
            return (*found, tuple(size))
        for axis in axes:
            size[axis] += -(-size[axis] // pixels[axis]) * pixels[axis]
    return None


def _inside(image: Tensor, map: Tensor, axes: tuple[int, ...], units: Sequence[int]) -> tuple[list[Along], int] | None:
    """What neighbours in the middle of a map show, if all their fields lie within the image and repeat.

    Args: `units` after how many they repeat, along each axis. Rows are those that all phases of the columns see
    together, and columns likewise: where some see nothing, one of them alone may see less.
    """
    every = range(map.dim() - 2)
    first, many = [0 for _ in every], [1 for _ in every]
    for axis in axes:
        many[axis] = units[axis]
        first[axis] = map.shape[2 + axis] // 2 // many[axis] * many[axis]
        if first[axis] + 2 * many[axis] > map.shape[2 + axis]:
            return None
    known: dict[tuple[int, ...], Support] = {}

    def support(start: Sequence[int], block: Sequence[int]) -> Support:
        where = (*start, *block)
        if where not in known:
            cut = tuple(slice(at, at + n) for at, n in zip(start, block, strict=True))
            known[where] = _support(image, map[0, 0][cut].sum())
        return known[where]

    measured: list[Along] = []
    largest = list(first)
    for axis in axes:
        block = [1 if other == axis else many[other] for other in every]
        ends = []
        for at in range(2 * many[axis]):
            start = [
                one + min(at, n) if other in axes else one
                for other, (one, n) in enumerate(zip(first, many, strict=True))
            ]
            start[axis] = first[axis] + at
            ends.append(support(start, block)[0][axis])
        found = _repeated(ends, many[axis], image.shape[2 + axis])
        if found is None:
            return None
        shift, spans = found
        turned = first[axis] // many[axis] * shift
        measured.append(of_spans([(begin - turned, size) if size else (0, 0) for begin, size in spans], shift))
        sizes = [size for _, size in spans]
        largest[axis] += sizes.index(max(sizes))
    return measured, support(largest, [1 for _ in every])[1]


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
    """The first and the last pixel that a unit sees along each axis, None if it sees nothing, and how many in all."""
    import torch

    (gradient,) = torch.autograd.grad(unit, image, retain_graph=True)
    seen = gradient[0, 0] > 0
    ends: list[Ends] = []
    for axis in range(seen.dim()):
        places = seen.movedim(axis, 0).flatten(1).any(1).nonzero() if seen.dim() > 1 else seen.nonzero()
        ends.append((int(places[0]), int(places[-1])) if len(places) else None)
    return ends, int(seen.sum())
