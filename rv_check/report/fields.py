"""What the units of a network see, as a value that prints as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rv_check.archs.arch import Arch
from rv_check.errors import RvCheckError
from rv_check.graphs.graph import Graph
from rv_check.ops.op import Shape
from rv_check.receptive_fields import formula
from rv_check.receptive_fields.formula import FieldLine
from rv_check.receptive_fields.measured import observed
from rv_check.report.asked import arch_of, asked_module, module_of
from rv_check.report.tables import table
from rv_check.text import shown_shape

if TYPE_CHECKING:
    from torch import nn

PHASES = (
    "the largest of: behind an upsampling neighbouring units differ. These are size/stride/padding of every p-th unit\n"
    "from unit 0 on, from unit 1 on, and so forth; the columns are those of the largest one, with the mean stride"
)
GLOBAL = "global: a unit sees the whole input, by a gate or a pool; the numbers are those of the convolutional path"


@dataclass(frozen=True)
class FieldColumn:
    """A further column of the table, with a cell for each line."""

    header: str
    cells: Sequence[str]


@dataclass(frozen=True)
class NetworkFields:
    """The receptive fields of steps of a network. Its text is the table that `rv-check receptive-field` prints.

    `input`: the shape of one image; `lines`: the steps in order, each with its `name`, what it does (`op`), the shape
    that it gives (`out`) and its `field`, a ReceptiveField; `inferred`: what a module told of its input, where nobody
    said it. Raises: RvCheckError where there are none.
    """

    name: str
    input: Shape
    lines: tuple[FieldLine, ...]
    inferred: str = ""

    def __post_init__(self) -> None:
        if not self.lines:
            raise RvCheckError(f"{self.name} has no step at which everything meets", expected="--depth N")

    def __str__(self) -> str:
        return self.table()

    def table(self, columns: Sequence[FieldColumn] = (), notes: Sequence[str] | None = None) -> str:
        """A line a step. Args: `columns` further ones; `notes` of each line, besides those that it has by itself."""
        headers = [
            "name",
            "op",
            "out",
            "size",
            "stride",
            "padding",
            "centre",
            *(one.header for one in columns),
            "notes",
        ]
        rows = []
        for at, line in enumerate(self.lines):
            f = line.field
            row = [line.name, line.op, shown_shape(line.out)]
            row += [number(value) for value in (f.size, f.stride, f.padding, f.centre)]
            more = [notes[at]] if notes and notes[at] else []
            rows.append([*row, *(one.cells[at] for one in columns), "; ".join([*_notes(line), *more])])
        align = "lll" + "r" * (len(headers) - 4) + "l"
        told = [f"{self.name}  input {shown_shape(self.input)}  (pixels; pixel 0 is at 0)"]
        told += map(str.rstrip, table(headers, rows, align).splitlines())
        told += [f"\n{self.inferred}"] if self.inferred else []
        told += [f"\n{GLOBAL}"] if any(line.field.is_global for line in self.lines) else []
        told += [f"\n{PHASES}"] if any(line.field.kinds > 1 for line in self.lines) else []
        return "\n".join(told)


def number(value: float | tuple[float, ...]) -> str:
    """A number of pixels, or one for each axis where they differ."""
    return " x ".join(f"{one:g}" for one in value) if isinstance(value, tuple) else f"{value:g}"


def _notes(line: FieldLine) -> list[str]:
    notes = ["global"] if line.field.is_global else []
    notes += [] if line.field.aligned else ["paths not aligned"]
    notes += [line.field.by_phase] if line.field.by_phase else []
    return notes + ([", ".join(f"{label} {field}" for label, field in line.branches)] if line.branches else [])


def receptive_field(
    subject: nn.Module | Arch | str,
    input: Any = None,
    *,
    depth: int | None = None,
    step: str | None = None,
    name: str = "",
) -> NetworkFields:
    """What the units of a network see, in pixels of the input, by formula, as `rv-check receptive-field` says it.

    Args: `subject` a module, which is observed as it runs and is not touched, an Arch, or a name that `load` takes;
    `input` what goes in, as for `macs`: the field is in the main one of several tensors; `depth` all parts so many
    names deep, unless given the stages; `step` that step or part alone; `name` what a module is called, its class
    unless given.
    Raises: RvCheckError where the module does not run there, an operation cannot be followed, or there is no such step;
    SpecError for a bad spec.
    """
    arch = arch_of(subject, input)
    if arch is not None:
        return NetworkFields(arch.name, arch.input, tuple(lines_of_arch(arch, depth, step)))
    module = module_of(subject)
    asked = asked_module(module, input)
    lines = tuple(lines_of_graph(observed(asked.subject, asked.size), depth, step))
    return NetworkFields(name or type(module).__name__, asked.size, lines, asked.inferred)


def lines_of_arch(arch: Arch, depth: int | None = None, step: str | None = None) -> list[FieldLine]:
    """The steps of an arch. Args: as for `receptive_field`. Raises: RvCheckError where there is no such step."""
    return [formula.arch_line(arch, step)] if step else formula.arch_lines(arch, depth)


def lines_of_graph(graph: Graph, depth: int | None = None, step: str | None = None) -> list[FieldLine]:
    """The steps of a module, by its graph. Args, Raises: as for `lines_of_arch`."""
    if not step:
        return formula.graph_lines(graph, depth)
    node = formula.node_of(graph, step)
    return [FieldLine(step, "part", node.shape[1:], formula.graph_field(graph, node), node=node)]
