"""The layer table of an arch, as text and as JSON.

JSON objects name their schema, and docs/schemas has one for each. Within a schema keys are neither renamed nor taken
away, and each is always there; a change that breaks a reader is a new number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from rv_check.archs.arch import Arch
from rv_check.archs.listing import Row
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.report.tables import table
from rv_check.text import shown_shape

SHOW_SCHEMA = "rv-check/show/1"


def shape(x: Iterable[int]) -> str:
    """`256x56x56`."""
    return "x".join(map(str, x))


def field_json(field: ReceptiveField) -> dict[str, Any]:
    """A receptive field as an object."""
    phases = {name: [*map(list, axis.phases)] for name, axis in zip(field.names, field.axes, strict=True)}
    return {
        "size": field.size,
        "stride": field.stride,
        "padding": field.padding,
        "aligned": field.aligned,
        "global": field.is_global,
        **({"phases": phases} if field.kinds > 1 else {}),
    }


def static_json(arch: Arch) -> dict[str, Any]:
    """What both the listing and the comparison say of an arch."""
    return {
        "arch": arch.name,
        "input": list(arch.input),
        "params": arch.params,
        "macs": arch.macs,
        "activations": arch.activations,
        "depth": arch.depth,
        "skip_connections": arch.skip_connections,
        "receptive_field": field_json(replace(arch.receptive_field, collapsed=False)),
    }


def show_json(arch: Arch, fold_at: int | None = None) -> dict[str, Any]:
    """Everything static about an arch. Schema rv-check/show/1."""
    layers = [
        {
            "name": row.name,
            "op": row.op,
            "in": list(row.x),
            "out": list(row.y),
            "params": row.params,
            "macs": row.macs,
            "receptive_field": field_json(row.receptive_field),
        }
        for row in arch.rows(fold_at)
    ]
    return {"schema": SHOW_SCHEMA, **static_json(arch), "unchecked_shape_lines": arch.tree.unchecked, "layers": layers}


def show_text(arch: Arch, fold_at: int | None = None) -> str:
    """The layer table, one line a layer."""
    layers = [
        (r.name, r.op, shape(r.x), shape(r.y), f"{r.params:,}", f"{r.macs:,}", _field(r)) for r in arch.rows(fold_at)
    ]
    headers = ("name", "op", "in", "out", "params", "MACs", "receptive field")
    lines = [
        f"{arch.name}  input {shown_shape(arch.input)}",
        table(headers, layers, "llllrrl"),
        "",
        f"params            {arch.params:,}",
        f"MACs              {arch.macs:,}",
        f"activations       {arch.activations:,}",
        f"depth             {arch.depth}",
        f"skip connections  {arch.skip_connections}",
        f"receptive field   {arch.receptive_field}  (size/stride/padding{_notes(arch.receptive_field)})",
    ]
    if arch.tree.unchecked:
        declared = shown_shape(arch.declared_input)
        lines.append(f"{arch.tree.unchecked} shape: lines hold at input {declared} and were not checked")
    return "\n".join(lines)


def _field(row: Row) -> str:
    field = row.receptive_field
    words = f"global, {field}" if field.is_global else str(field)
    return f"{words}, the largest of {field.kinds}" if field.kinds > 1 else words


def _notes(field: ReceptiveField) -> str:
    aligned = "" if field.aligned else "; paths are not aligned"
    aligned += f"; the largest of {field.kinds} neighbouring units" if field.kinds > 1 else ""
    return aligned + ("; global through a gate" if field.through_gate else "")
