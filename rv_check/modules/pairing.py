"""Which parameter of one module is which of another, by numbers, where no name and no structure tells.

All tensors of one size are given the same values on both sides. Then it does not matter to what a module computes which
of them is which, so that the outputs are equal if the two are one network under any pairing; and each parameter has
the gradient that its counterpart has.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from rv_check.graphs.differences import Slot
from rv_check.modules import trace
from rv_check.modules.generic_point import generic_point, make_alike, to_type
from rv_check.modules.inputs import Batch

SAME = 1e-6  # how far gradients of one parameter may be apart, relative to the largest; others differ by far more


def pair_by_gradients(
    expected: nn.Module,
    found: nn.Module,
    data: Batch,
    guess: Mapping[str, Slot],
    *,
    outputs: tuple[str, str] = ("", ""),
    constants: tuple[Collection[str], Collection[str]] = (frozenset(), frozenset()),
) -> dict[str, Slot] | None:
    """Where the parameters of one module are in another, in eval mode; buffers go with the parameters beside them.

    None where outputs or gradients show no such pairing. Both modules are left with other values.

    Args: `data` what goes in, in float64; `guess` what is believed, kept where gradients do not
    decide; `outputs` where in what each returns the output stands; `constants` what stays as it is.
    """
    runs = []
    for module, where, kept in zip((expected, found), outputs, constants, strict=True):
        generic_point(module, constants=kept)
        make_alike(module, kept)
        to_type(module, torch.float64)
        runs.append(trace.run(module, data, train=False, modules=(), where=where))
    if not trace.compare("output", runs[0].output, runs[1].output).within(trace.TOLERANCE[torch.float64]):
        return None
    gradients = [{name: g for name, g in run.gradients.items() if g is not None} for run in runs]
    floor = trace.SMALLEST_GRADIENT * max(map(trace.largest_value, gradients[0].values()), default=0.0)
    slots = dict(guess)
    free = {name: g.flatten() for name, g in gradients[1].items() if name not in constants[1]}
    for name, gradient in gradients[0].items():
        if name in constants[0]:
            continue
        own = gradient.flatten()
        fits = {other: _apart(own, g, floor) for other, g in free.items() if g.shape == own.shape}
        fits = {other: apart for other, apart in fits.items() if apart <= SAME}
        if not fits:
            return None
        believed = guess[name].name if name in guess else ""
        other = believed if believed in fits else min(fits, key=lambda one: fits[one])
        del free[other]
        same_shape = gradient.shape == gradients[1][other].shape
        slots[name] = Slot(other, () if same_shape else (("reshape", tuple(gradient.shape)),))
    _with_their_buffers(slots, expected, found)
    return slots


def _apart(one: Tensor, other: Tensor, floor: float) -> float:
    largest = max(float(one.abs().max()), floor) if one.numel() else 0.0
    return float((one - other).abs().max()) / largest if largest else 0.0 if torch.equal(one, other) else float("inf")


def _with_their_buffers(slots: dict[str, Slot], expected: nn.Module, found: nn.Module) -> None:
    """Give each buffer of a part that has parameters the one that is called the same in the part of its counterpart."""
    names = dict(found.named_buffers())
    for name, buffer in expected.named_buffers():
        part, _, last = name.rpartition(".")
        beside = next((own for own, _ in expected.named_parameters() if own.rpartition(".")[0] == part), None)
        if beside in slots:
            other = f"{slots[beside].name.rpartition('.')[0]}.{last}".lstrip(".")
            if other in names and names[other].numel() == buffer.numel():
                slots[name] = Slot(other)
