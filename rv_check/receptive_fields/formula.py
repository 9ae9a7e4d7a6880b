"""Receptive fields by formula, of a spec and of any module, as tables of steps.

Fields are those of all channels together: groups, and channels that are cut off or shuffled, make none smaller.
Stages, as words here: the last step of each stride (jump) that everything goes through, as VGG's blocks before a pool.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

from rv_check.archs.arch import Arch
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.archs.tree import Join
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph, Node, describe
from rv_check.graphs.of_arch import graph_of
from rv_check.ops.op import Shape
from rv_check.receptive_fields.walk import Seen, fields_of
from rv_check.text import listed, nearest, quote


def graph_field(graph: Graph, node: Node) -> ReceptiveField:
    """The field of a unit of a node, by formula, from the graph alone. Raises: RvCheckError."""
    return _field(fields_of(graph).at(node))


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
    walk = fields_of(graph)
    names = _outermost(graph)
    found: list[tuple[str, Node, ReceptiveField]] = []
    for node in _passed_by_all(graph):
        seen = walk.at(node)
        if seen is None or not seen.is_map:
            break
        field = _field(seen)
        if node not in names and _adds_or_drops_ones(node):
            continue  # as a pool of a sequence begins, which torch takes for an image of one row
        if node in names or not graph.steps:
            name = names.get(node) or _place(node)
            becomes_one = found and prod(node.shape[2:]) == 1 < prod(found[-1][1].shape[2:])  # as by a pool of it all
            if found and found[-1][2].stride == field.stride and not becomes_one:
                found.pop()
            found.append((name, node, field))
    return found


def _adds_or_drops_ones(node: Node) -> bool:
    """Whether an operation gives a value other axes of one element, and nothing else."""
    if node.kind != "reshape":
        return False
    before, after = ([n for n in shape if n > 1] for shape in (node.inputs[0].shape, node.shape))
    return before == after


def _passed_by_all(graph: Graph) -> Iterator[Node]:
    """The operations that every path from the input to the outputs goes through, in order."""
    live = graph.live
    outputs = set(graph.outputs.values())
    readers = dict.fromkeys(live, 0)
    for node in live:
        for feed in node.feeds:
            readers[feed] += 1
    open_: dict[Node, int] = {}
    seeing = {graph.input}  # what depends on the main input, which alone is followed
    for node in live:
        for feed in node.feeds:
            if feed in open_:
                open_[feed] -= 1
                if not open_[feed] and feed not in outputs:
                    del open_[feed]
        if node is graph.input or not seeing.isdisjoint(node.feeds):
            seeing.add(node)
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
class FieldLine:
    """One line of a table: a step with its field, and the fields of the branches where they differ.

    `node` of a module's graph, which tells apart what has no name of its own.
    """

    name: str
    op: str
    out: Shape  # without the batch axis
    field: ReceptiveField
    branches: tuple[tuple[str, ReceptiveField], ...] = ()
    node: Node | None = dataclasses.field(default=None, repr=False, compare=False)


def arch_lines(arch: Arch, depth: int | None) -> list[FieldLine]:
    """The listing of an arch, modules `depth` names deep as one line; its stages where `depth` is None."""
    if depth is None:
        found = [(name, arch.step(name)) for name, _, _ in stages(graph_of(arch, form=Form.AS_RUN))]
        return [FieldLine(name, row.op, row.y, row.receptive_field) for name, row in found if row is not None]
    return [
        FieldLine(row.name, row.op, row.y, row.receptive_field, _different(row.branches))
        for row in arch.rows(depth)
        if not isinstance(row.node, Join) or len(row.branches) > 1
    ]


def _different(branches: tuple[tuple[str, ReceptiveField], ...]) -> tuple[tuple[str, ReceptiveField], ...]:
    return branches if len({field for _, field in branches}) > 1 else ()


def graph_lines(graph: Graph, depth: int | None) -> list[FieldLine]:
    """The operations of a module's graph, parts `depth` names deep as one line; its stages where `depth` is None."""
    if depth is None:
        return [FieldLine(name, describe(node), node.shape[1:], seen, node=node) for name, node, seen in stages(graph)]
    walk = fields_of(graph)
    folded = {node: name for name, node in ends(graph).items() if name.count(".") + 1 == depth}
    lines = []
    for node in graph.live:
        seen = walk.at(node) if not node.fixed else None
        if (
            seen is None
            or node is graph.input
            or node.kind == "clone"
            or (node not in folded and node.name.count(".") + 1 >= depth)
        ):
            continue
        fields = [(_place(feed), _field(walk.values[feed])) for feed in node.inputs if walk.values[feed]]
        joined = node.row.family == "join" and node not in folded
        branches = _different(tuple(fields)) if joined else ()
        op = "part" if node in folded and folded[node] != node.name else describe(node)
        lines.append(FieldLine(folded.get(node) or _place(node), op, node.shape[1:], _field(seen), branches, node))
    return lines


def arch_line(arch: Arch, step: str) -> FieldLine:
    """One step of an arch. Raises: RvCheckError where there is none of that name."""
    row = arch.step(step)
    if row is None:
        near = nearest(step, graph_of(arch, form=Form.AS_RUN).steps)
        raise RvCheckError(f"{arch.name} has no step {quote(step)}", near=near)
    return FieldLine(step, row.op, row.y, row.receptive_field)
