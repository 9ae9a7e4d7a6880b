"""The quantities that a claim may speak of."""

from __future__ import annotations

from fractions import Fraction

from rv_check.archs.receptive_field import ReceptiveField
from rv_check.values import Number

ACCURACIES = ("top1", "top5", "top1_error", "top5_error")  # measured by somebody, and quoted by the specs; in percent
TOTALS = (
    "params",
    "mparams",
    "macs",
    "gmacs",
    "activations",
    "depth",
    "skip_connections",
    "weights",
    "convs",
    "linears",
)
FLAT, MAPPED = ("in_features", "out_features"), ("in_channels", "out_channels", "rows", "columns")
OF_LAYER = ("kernel", "stride", "padding", "groups")
OF_FIELD = {  # what a quantity of the receptive field is there
    "receptive_field": "size",
    "receptive_field_stride": "stride",
    "receptive_field_padding": "padding",
}
QUANTITIES = (*TOTALS, *FLAT, *MAPPED, *OF_FIELD, *ACCURACIES, *OF_LAYER)


class NotKnown(Exception):
    """Nothing says what a statement is about. `near`: the name that was probably meant."""

    def __init__(self, message: str, near: str | None = None):
        super().__init__(message)
        self.near = near


def of_field(field: ReceptiveField, name: str) -> Number:
    """A quantity of a receptive field, along each of its axes. Raises: NotKnown where they differ."""
    value = getattr(field, OF_FIELD[name])
    if isinstance(value, tuple):
        raise NotKnown(f"rows and columns have different fields, {field}")
    return int(value) if value == int(value) else Fraction(value).limit_denominator(10**6)


def of_shapes(name: str, x: tuple[int, ...], y: tuple[int, ...]) -> Number | None:
    """A quantity of the shapes of one image that go in and come out; None where these have no such axis."""
    shape = y if name in ("out_features", "out_channels", "rows", "columns") else x
    axis = {"rows": 1, "columns": 2}.get(name, 0)
    return shape[axis] if len(shape) == (1 if name in FLAT else 3) else None
