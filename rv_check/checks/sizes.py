"""The inputs at which an arch is compared: small ones, at which it has the parameters of its own."""

from __future__ import annotations

from rv_check.archs.arch import Arch, small_inputs
from rv_check.errors import SpecError
from rv_check.ops.op import Shape


def input_sizes(arch: Arch) -> list[Shape]:
    """Small inputs at which the network, with the same parameters, works; none larger than declared."""
    found: list[Shape] = []
    for sizes in small_inputs(arch.declared_input):
        found += [x for x in sizes if x not in found and works(arch, x)][:1]
    return found or [arch.declared_input]


def works(arch: Arch, x: Shape) -> bool:
    """Whether an arch runs at an input with the parameters that it has at its own."""
    try:
        return arch.at(x).state == arch.at(arch.declared_input).state
    except SpecError:
        return False
