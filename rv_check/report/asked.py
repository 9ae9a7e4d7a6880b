"""What the public functions are asked about: a module, an arch, or the name of one, and its input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rv_check.archs.arch import Arch
from rv_check.archs.load import load
from rv_check.errors import RvCheckError
from rv_check.ops.op import Shape
from rv_check.optional import need

if TYPE_CHECKING:
    from torch import nn

IMAGE = (3, 224, 224)  # the input of a module, unless given


def arch_of(subject: Any, input: Shape | None) -> Arch | None:
    """The arch, or that of this name, at the input; None where it is something else.

    Raises: RvCheckError for an unknown name, and where the input is no shape; SpecError for a bad spec.
    """
    arch = load(subject) if isinstance(subject, str) else subject
    if not isinstance(arch, Arch):
        return None
    return arch if input is None else arch.at(input_of(input))


def module_of(subject: Any) -> nn.Module:
    """The network in a module: without what torch wraps around it. Raises: RvCheckError where it is no module."""
    torch = need("torch")
    from rv_check.modules.copies import unwrapped

    if not isinstance(subject, torch.nn.Module):
        what = f"the class {subject.__name__}" if isinstance(subject, type) else f"a {type(subject).__name__}"
        expected = "a torch.nn.Module, an Arch, or the name of one"
        raise RvCheckError(f"{what} is no network", expected=expected)
    return unwrapped(subject)


def input_of(input: Any) -> Shape:
    """The shape of an image, that of most unless given. Raises: RvCheckError where it is none."""
    shape = IMAGE if input is None else input
    is_shape = isinstance(shape, tuple | list) and shape and all(type(size) is int and size > 0 for size in shape)
    if not is_shape:
        expected = "the shape of one image without the batch axis, as (3, 224, 224)"
        raise RvCheckError(f"input is {input!r}", expected=expected)
    return tuple(shape)
