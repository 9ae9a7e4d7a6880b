"""Level spec: is the spec true to itself? Static, but for torchvision's metadata.

What is published of an arch is `checks.published`'s.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rv_check.archs import axes, receptive_field
from rv_check.checks.check import Check, Outcome
from rv_check.checks.findings import Finding
from rv_check.checks.of_arch import ArchRun
from rv_check.checks.published import printed_number
from rv_check.errors import Place
from rv_check.language.definitions import Published
from rv_check.modules.reference import metadata_source
from rv_check.ops.op import Shape
from rv_check.text import shown_shape


def shapes(run: ArchRun, check: Check) -> Outcome:
    """The spec expands: every shape fits, every `shape:` line and every `in:` and `out:` holds."""
    arch = run.expanded
    layers = arch.tree.root.layers
    if arch.tree.unchecked:
        reason = f"they hold at {shown_shape(arch.declared_input)}, and the input is {shown_shape(arch.input)}"
        yield check.one(run, "skipped", f"{arch.tree.unchecked} shape: lines were not checked", reason=reason)
    yield check.passed(run, f"{layers:,} layers fit at {shown_shape(arch.input)}")


def contract(run: ArchRun, check: Check) -> Outcome:
    """What `contract:` says of the named steps."""
    arch = run.expanded
    for stated in arch.entry.contract:
        row = arch.step(stated.step)
        assert row is not None, "expanding the arch has seen to it"
        if stated.shape is not None:
            ok = len(stated.shape) == len(row.y) and all(
                w is None or w == n for w, n in zip(stated.shape, row.y, strict=True)
            )
            expected = " ".join("_" if n is None else str(n) for n in stated.shape)
            what = f"shape of {stated.step}"
            yield _stated(run, check, what, ok, shown_shape(row.y), expected, stated.places["shape"])
        for name, value in (("params", row.params), ("macs", row.macs)):
            number = getattr(stated, name)
            if number is not None:
                what = f"{name} of {stated.step}"
                ok = number == value
                yield _stated(run, check, what, ok, f"{value:,}", f"{number:,}", stated.places[name])
        field = stated.receptive_field
        if field is not None:
            along = (row.receptive_field.rows, row.receptive_field.columns)
            ok = (field.rows, field.columns) == tuple((axis.size, axis.stride, axis.padding) for axis in along)
            expected = str(receptive_field.ReceptiveField((axes.Axis(*field.rows), axes.Axis(*field.columns))))
            place = stated.places["receptive_field"]
            what = f"receptive field of {stated.step}"
            yield _stated(run, check, what, ok, str(row.receptive_field), expected, place)


def _stated(run: ArchRun, check: Check, what: str, ok: bool, found: str, expected: str, place: Place) -> Finding:
    return check.finding(run, f"{what} is {found}", holds=ok, found=found, expected=expected, place=place)


def metadata(run: ArchRun, check: Check) -> Outcome:
    """Published numbers whose source is torchvision's metadata are what the installed metadata says.

    So is the input, the arch's own unless a number has one: the size to which the weights' own preprocessing crops.
    """
    arch = run.arch
    crops: dict[tuple[str, Shape | None], tuple[Any, Published]] = {}
    for entry in arch.entry.published:
        source = metadata_source(entry.source)
        if source is None:
            continue
        value = Decimal(str(source.look_up()))
        yield check.finding(
            run,
            f"{entry.metric} {entry.printed}",
            holds=printed_number(entry) == value,
            found=entry.printed,
            expected=str(value),
            source=entry.source,
            place=entry.place,
        )
        crops[f"{source.weights}.{source.member}", entry.input] = source.entry(), entry
    for (name, _), (weights, entry) in crops.items():
        crop = weights.transforms().crop_size
        side = crop[0] if isinstance(crop, list | tuple) else crop
        found, expected = shown_shape((entry.input or arch.declared_input)[1:]), f"{side} {side}"
        where = f"torchvision {name}.transforms().crop_size"
        words, holds = f"input is {found}", found == expected
        place = entry.place if entry.input else run.place
        yield check.finding(run, words, holds=holds, found=found, expected=expected, source=where, place=place)
