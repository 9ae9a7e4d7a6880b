"""The states of two modules: names, order and shapes of parameters and buffers, and whether they load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rv_check.errors import RvCheckError
from rv_check.modules.guard import run_theirs
from rv_check.ops.op import Shape
from rv_check.text import shown_shape

if TYPE_CHECKING:
    from torch import Tensor, nn


class Mismatch(RvCheckError):
    """A check does not hold, with what was found and what was expected."""

    def __init__(self, message: str, found: str, expected: str):
        super().__init__(message, expected=expected)
        self.found = found


def hold_states(expected: nn.Module, found: nn.Module, in_order: bool = True) -> None:
    """See that two modules have the same state. Raises: Mismatch, with the first name or shape that differs."""
    expected_shapes, found_shapes = shapes_of(expected), shapes_of(found)
    missing = [name for name in expected_shapes if name not in found_shapes]
    extra = [name for name in found_shapes if name not in expected_shapes]
    if missing or extra:
        counts = [f"{len(names)} {what}" for names, what in ((missing, "missing"), (extra, "not expected")) if names]
        raise Mismatch(f"names of parameters and buffers: {', '.join(counts)}", few(extra), few(missing))
    for name, shape in expected_shapes.items():
        if found_shapes[name] != shape:
            raise Mismatch(f"shape of {name}", shown_shape(found_shapes[name]), shown_shape(shape))
    if in_order and list(expected_shapes) != list(found_shapes):
        first, instead = next((a, b) for a, b in zip(expected_shapes, found_shapes, strict=True) if a != b)
        raise Mismatch("order of parameters and buffers", instead, first)


def shapes_of(module: nn.Module) -> dict[str, Shape]:
    """The state of a module: names, in order, with shapes; none for what is no tensor."""
    state = run_theirs("the state cannot be read", module.state_dict)
    return {name: tuple(getattr(value, "shape", ())) for name, value in state.items()}


def few(names: list[str]) -> str:
    """The first of some names, `none` where there are none."""
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") or "none"


def loads(module: nn.Module, other: nn.Module) -> None:
    """Load the state of another, strictly, and go back."""
    own = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    run_theirs("strict loading fails", lambda: load_state(module, other.state_dict()))
    load_state(module, own)


def load_state(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state strictly, as one that a module of this class has written today.

    Versions of modules travel beside a state. To other modules they say nothing, and torchvision's MNASNet rebuilds
    its own layers where they are not what it would have written. Raises: whatever the module raises.
    """
    carried = module.state_dict()
    carried.clear()  # what it carries beside the tensors stays
    carried.update(state)
    module.load_state_dict(carried, strict=True)
