"""Numbers, where no rule decides: two networks that are written otherwise, and compute the same.

They are compared in float64, at several sizes, in both modes, with the same values in the parameters that correspond.
That is shown of what was tried alone, so that limits and steps are tried, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING

from rv_check.checks.pair import Pair
from rv_check.checks.structure import MeasuredEqual, Structure, guess
from rv_check.graphs.differences import Slot
from rv_check.graphs.explain import Mistake
from rv_check.graphs.parameters import CALLED_OTHERWISE, SAME_PIECE
from rv_check.ops.op import Shape

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rv_check.modules.inputs import Batch
    from rv_check.modules.limits import Limits, Where
    from rv_check.modules.trace import Places

LARGER = 30  # times the parameters: what a norm gives goes past limits that no image takes it to
LOUD = (1e8, 1e4, 1e2, 10)  # times an image, past whatever it may be cut off at; what is louder may drown another limit
MANY = 8  # images, so that numbers meet that seldom do, as two that are large
LOUD_WAVES = 1e4  # at most: of what is periodic rounding leaves nothing where its input is larger
SMALLER = 1e-6  # times the parameters and an image: every eps is as large as what it is added to
NUMBER = re.compile(r"(?<![\w.])-?(\d+(\.\d+)?(e[+-]?\d+)?|inf|nan)(?![\w.])")  # that is no part of a name
EXACT = 1e-11  # of the outputs in float64, where nothing is out of the ordinary: ten times what rounding was seen to do
NEAR_A_STEP = 1e-10  # how close two images lie beside a step, as a part of the way from one image to another
MOST_STEPS = 16  # that are tried, each with some forty runs
ARBITRABLE = ("missing", "extra", "moved", "replaced", "arguments", "wiring", "output", "shared", "state")


def measured(
    found: Structure,
    pair_by: Callable[[Structure, Mapping[str, Slot]], Pair],
    known_sizes: Callable[[], list[Shape]],
    larger_sizes: Callable[[], list[Shape]],
    device: str,
) -> Structure:
    """Let numbers decide where no rule does: outputs, gradients and statistics agree at several sizes.

    What they show to be equal is no difference any more; it is written in a way that no rule knows.

    Args: `pair_by` gives the two modules by where the parameters are in the found one; the sizes are those at which the
    expected network runs.
    """
    if not found.mistakes or found.until:
        return found
    if found.found.asked or found.expected.asked:
        return found  # what differs may be in a branch that these numbers do not take
    if not all(map(_is_arbitrable, found.mistakes)) or all(one.training for one in found.mistakes):
        return found  # numbers have nothing to say of it; chance, in train mode, is not compared
    if all(one.kind in ("arguments", "wiring") and _has_another_number(one) for one in found.mistakes):
        return found  # the same operation with another eps or limit: it is another one, wherever that shows
    # A tensor with its parts in another order loads as a whole, and then means something else.
    in_another_order = any(one.kind == "state" and SAME_PIECE in one.expected for one in found.mistakes)
    sizes = known_sizes()
    whole = [x for x in (found.input, *larger_sizes()) if x not in sizes]
    waves = any(node.row.periodic for graph in (found.expected, found.found) for node in graph.nodes)
    loud = tuple(times for times in LOUD if times <= LOUD_WAVES or not waves)
    for pairing in (_guessed, _by_gradients):
        try:
            slots = pairing(found, pair_by, sizes[0], device)
            if slots is None or (in_another_order and any(map(_is_in_parts, slots.values()))):
                continue
            modes = (False,) if found.eval_only else (False, True)
            is_equal = _Arbitration(pair_by(found, slots), device, loud, modes).find_equal(sizes, whole)
        except Exception:  # whatever the module raises, or its state: then nothing is shown, and the differences stand
            continue
        if is_equal:
            others = tuple(x for x in (*sizes, *whole) if x != found.input)
            return replace(found, measured=MeasuredEqual((found.input, *others), slots))
    return found


PairBy = Callable[[Structure, Mapping[str, Slot]], Pair]


def _guessed(found: Structure, pair_by: PairBy, x: Shape, device: str) -> dict[str, Slot] | None:
    """Where the parameters are by their names, by what the structure tells, and by their order."""
    guessed = guess(found)
    distinct = guessed is not None and len({str(slot) for slot in guessed.values()}) == len(guessed)
    return guessed if distinct else None


def _by_gradients(found: Structure, pair_by: PairBy, x: Shape, device: str) -> dict[str, Slot] | None:
    """Where they are by gradients, which know alike ones apart.

    The structure tells as much as its differences let it, so that it may have paired them the wrong way round.
    """
    if _have_the_same_names(found):
        return None  # a state of one loads into the other, so that each must be where it is called
    import torch

    from rv_check.modules.pairing import pair_by_gradients

    known = guess(found) or {}
    pair = pair_by(found, known)
    data = pair.batch(x, torch.float64, device)
    return pair_by_gradients(pair.expected, pair.found, data, known, places=pair.places(), constants=pair.constants)


def _is_arbitrable(one: Mistake) -> bool:
    """Whether numbers may say that it is none: not of a state that loads and means something else."""
    told = one.kind == "state" and CALLED_OTHERWISE in one.expected
    return one.kind in ARBITRABLE and not told


def _is_in_parts(slot: Slot) -> bool:
    """Whether it is not the whole of one tensor that is the whole of another."""
    return bool(slot.others) or any(kind == "slice" for kind, _ in (*slot.steps, *slot.own))


def _has_another_number(one: Mistake) -> bool:
    """Whether all that differs is a number, of one operation and the other."""
    found, expected = (NUMBER.sub("#", words) for words in (one.found, one.expected))
    return found == expected


def _have_the_same_names(found: Structure) -> bool:
    return found.expected.state == found.found.state


@dataclass(frozen=True)
class _Arbitration:
    """Two modules, their parameters being paired.

    `loud`: times an image, what makes loud ones of it; `modes`: whether train mode, each that is compared; `limits`:
    what their runs showed of each one's limits.
    """

    pair: Pair
    device: str
    loud: tuple[float, ...]
    modes: tuple[bool, ...]
    limits: list[Limits] = field(default_factory=list)

    def find_equal(self, sizes: list[Shape], whole: list[Shape]) -> bool:
        """Whether nothing tells the two apart. `whole`: sizes at which an output in eval mode must do."""
        import torch

        from rv_check.modules.limits import Limits

        self.limits[:] = Limits(), Limits()
        self.pair.at_generic_point(torch.float64)
        return (
            self.are_close(sizes[0], tolerance=EXACT)
            and self.are_close_where_all_is_loud(sizes[0])
            and all(self.agree(x, train=train) for x in sizes for train in self.modes)
            and self.agree(sizes[0], train=False, batch=1)
            and all(self.are_close(x) for x in whole)
            and self.agree_beside_steps(sizes[0])
            and all(self.agree_where_all_is_small(sizes[0], times) for times in (1, 2))
            and self.have_the_same_limits(sizes[0])
        )

    def image(self, x: Shape, batch: int = 2, more: int = 0) -> Batch:
        import torch

        return self.pair.batch(x, torch.float64, self.device, images=batch, more=more)

    def agree(self, x: Shape, *, train: bool, batch: int = 2) -> bool:
        """Whether output, gradients and statistics are the same there."""
        import torch

        from rv_check.modules import trace

        pair, data = self.pair, self.image(x, batch)
        own, others = pair.places(training=train)
        expected = trace.limited(trace.run(pair.expected, data, train, (), own), pair.weights)
        other = trace.renamed(trace.run(pair.found, data, train, (), others), pair.weights, expected)
        tolerance = trace.TOLERANCE[torch.float64]
        return all(d.within(tolerance) for d in trace.differences(expected, other, train) if d.decides)

    @property
    def modules(self) -> tuple[tuple[nn.Module, Places], tuple[nn.Module, Places]]:
        """Both, with where the outputs stand in what each returns."""
        expected, found = self.pair.places()
        return (self.pair.expected, expected), (self.pair.found, found)

    def are_close(self, x: Shape, scale: float = 1.0, tolerance: float | None = None) -> bool:
        """Whether the outputs are the same; what limits that reaches is noted."""
        data = self.image(x).each_fraction(lambda one: scale * one)
        return self._have_the_same_outputs(data, noted=True, tolerance=tolerance)

    def are_close_where_all_is_loud(self, x: Shape) -> bool:
        """Whether the outputs are the same of all loud images at which both are finite, as exp(x) soon is no more."""
        import torch

        from rv_check.modules import trace

        of_finite = []
        for times in self.loud:
            expected, found = self._outputs(self.image(x, MANY).each_fraction(partial(torch.mul, times)), noted=True)
            if all(isfinite(trace.largest_value(one)) for one in (*expected.values(), *found.values())):
                of_finite.append(_are_the_same(expected, found))
        return bool(of_finite) and all(of_finite)

    def agree_where_all_is_small(self, x: Shape, times: int) -> bool:
        """Whether the outputs are the same of small parameters and images, which get smaller each time."""
        self.pair.enlarge(SMALLER)
        return self.are_close(x, SMALLER**times)

    def _have_the_same_outputs(self, data: Batch, *, noted: bool = False, tolerance: float | None = None) -> bool:
        return _are_the_same(*self._outputs(data, noted=noted), tolerance=tolerance)

    def _outputs(self, data: Batch, *, noted: bool = False) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What both give. `noted`: whether the limits that this reaches count as reached."""
        from rv_check.modules import trace

        outputs: list[dict[str, Tensor]] = []
        for (module, places), limits in zip(self.modules, self.limits, strict=True):
            with limits.begin() if noted else nullcontext():
                outputs.append(trace.output(module, data, places))
        expected, found = outputs
        return expected, found

    def agree_beside_steps(self, x: Shape) -> bool:
        """Whether all steps have the same numbers on both sides, or what has others agrees right before and behind."""

        from rv_check.modules import trace
        from rv_check.modules.limits import near

        first, last = self.image(x), self.image(x, more=1)

        def between(share: float) -> Batch:
            return first.to_other(last, share)

        def far(side: int, at: Where, share: float) -> Tensor:
            module, own = self.modules[side]
            with self.limits[side].begin():
                trace.output(module, between(share), own)
            return self.limits[side].now[at]

        besides = [(side, at) for side in (0, 1) for at in self.limits[side].steps_besides(self.limits[1 - side])]
        if len(besides) > MOST_STEPS:
            return False
        for side, at in besides:
            places = near(partial(far, side, at), NEAR_A_STEP)
            if places is None or not all(self._have_the_same_outputs(between(share)) for share in places):
                return False
        return True

    def have_the_same_limits(self, x: Shape) -> bool:
        """Whether the limits that no number went past, also of larger parameters, are the same ones on both sides."""
        one, other = self.limits
        self.pair.enlarge(SMALLER**-2)  # as they were
        if one.never_reached != other.never_reached or not (one.all_varied and other.all_varied):
            self.pair.enlarge(LARGER)
            return self.are_close(x) and one.never_reached == other.never_reached
        return True


def _are_the_same(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], tolerance: float | None = None) -> bool:
    import torch

    from rv_check.modules import trace

    tolerance = tolerance or trace.TOLERANCE[torch.float64]
    return all(one.within(tolerance) for one in trace.compare_outputs(expected, found))
