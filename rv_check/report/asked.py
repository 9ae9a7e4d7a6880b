"""What the public functions are asked about: a module, an arch, or the name of one, and its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rv_check.archs.arch import Arch
from rv_check.archs.load import load, parse_size
from rv_check.errors import RvCheckError
from rv_check.ops.op import Shape
from rv_check.optional import need

if TYPE_CHECKING:
    from torch import nn

    from rv_check.modules.observe import Subject


def arch_of(subject: Any, input: Any) -> Arch | None:
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
    """The shape of an image, as an arch takes it. Raises: RvCheckError where it is none, SpecError for a bad text."""
    if isinstance(input, str):
        return parse_size(input)
    if not (isinstance(input, tuple | list) and input and all(type(size) is int and size > 0 for size in input)):
        expected = "the shape of one image without the batch axis, as (3, 224, 224)"
        raise RvCheckError(f"input is {input!r}", expected=expected)
    return tuple(input)


@dataclass(frozen=True)
class AskedModule:
    """A module that something is asked about: as it is observed, at its own input.

    `size`: the shape of its main tensor; `inferred`: in words, what it told of its input where nobody said it.
    """

    subject: Subject
    size: Shape

    @property
    def inferred(self) -> str:
        """What it told of its input, in words; "" where somebody said it, or the usual one does."""
        return f"inferred: {self.subject.inferred}" if self.subject.inferred else ""


def asked_module(module: nn.Module, input: Any = None) -> AskedModule:
    """A module at what goes in, as `inputs_of` takes it: where nobody says it an image, or what the module tells.

    Raises: RvCheckError where that is no input.
    """
    from rv_check.modules.observe import Subject

    return AskedModule(*Subject.asked(module, input))
