"""Which parameter of one module is which of another, by numbers, where no name and no structure tells.

All tensors of one size are given the same values on both sides. Then it does not matter to what a module computes which
of them is which, so that the outputs are equal if the two are one network under any pairing; and each parameter has
the gradient that its counterpart has, and each statistic becomes in train mode what its counterpart becomes.
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
    places: tuple[trace.Places, trace.Places] = (trace.WHOLE, trace.WHOLE),
    constants: tuple[Collection[str], Collection[str]] = (frozenset(), frozenset()),
) -> dict[str, Slot] | None:
    """Where the parameters of one module are in another, in eval mode, and the buffers, by what a training step leaves.

    None where outputs or gradients show no such pairing. Both modules are left with other values.

    Args: `data` what goes in, in float64; `guess` what is believed, kept where gradients do not decide; `places` where
    in what each returns the outputs stand; `constants` what stays as it is.
    """
    modules = tuple(zip((expected, found), places, strict=True))
    for module, kept in zip((expected, found), constants, strict=True):
        generic_point(module, constants=kept)
        make_alike(module, kept)
        to_type(module, torch.float64)
    runs = [trace.run(module, data, train=False, modules=(), places=own) for module, own in modules]
    outputs = trace.compare_outputs(runs[0].outputs, runs[1].outputs)
    if not all(one.within(trace.TOLERANCE[torch.float64]) for one in outputs):
        return None
    gradients = [{name: g for name, g in run.gradients.items() if g is not None} for run in runs]
    floor = trace.SMALLEST_GRADIENT * max(map(trace.largest_value, gradients[0].values()), default=0.0)
    slots = _paired(gradients[0], gradients[1], guess, constants, floor)
    if slots is None:
        return None
    steps = [trace.run(module, data, train=True, modules=(), places=(), backward=False) for module, _ in modules]
    moved = [
        {name: one for name, one in step.buffers.items() if one.is_floating_point() and name not in kept}
        for step, kept in zip(steps, constants, strict=True)
    ]
    statistics = _paired(moved[0], moved[1], guess, constants)
    if statistics is None:
        statistics = _beside(slots, expected, found)
    return {**guess, **slots, **statistics}


def _paired(
    expected: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    guess: Mapping[str, Slot],
    constants: tuple[Collection[str], Collection[str]],
    floor: float = 0.0,
) -> dict[str, Slot] | None:
    """Which of these values is which of those, constants apart, what is believed where it fits. None: one has none."""
    free = {name: value.flatten() for name, value in found.items() if name not in constants[1]}
    slots: dict[str, Slot] = {}
    for name, value in expected.items():
        if name in constants[0]:
            continue
        own = value.flatten()
        fits = {other: _apart(own, one, floor) for other, one in free.items() if one.shape == own.shape}
        fits = {other: apart for other, apart in fits.items() if apart <= SAME}
        if not fits:
            return None
        believed = guess[name].name if name in guess else ""
        other = believed if believed in fits else min(fits, key=lambda one: fits[one])
        del free[other]
        same_shape = value.shape == found[other].shape
        slots[name] = Slot(other, () if same_shape else (("reshape", tuple(value.shape)),))
    return slots


def _apart(one: Tensor, other: Tensor, floor: float) -> float:
    largest = max(float(one.abs().max()), floor) if one.numel() else 0.0
    return float((one - other).abs().max()) / largest if largest else 0.0 if torch.equal(one, other) else float("inf")


def _beside(slots: Mapping[str, Slot], expected: nn.Module, found: nn.Module) -> dict[str, Slot]:
    """Each buffer of a part that has parameters, by its name in the part of their counterparts."""
    names, beside = dict(found.named_buffers()), {}
    for name, buffer in expected.named_buffers():
        part, _, last = name.rpartition(".")
        own = next((own for own, _ in expected.named_parameters() if own.rpartition(".")[0] == part), "")
        if own in slots:
            other = f"{slots[own].name.rpartition('.')[0]}.{last}".lstrip(".")
            if other in names and names[other].numel() == buffer.numel():
                beside[name] = Slot(other)
    return beside
