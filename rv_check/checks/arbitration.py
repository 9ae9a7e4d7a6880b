"""Numbers, where no rule decides: two networks that are written otherwise, and compute the same.

They are compared in float64, at several sizes, in both modes, with the same values in the parameters that correspond.
That is shown of what was tried alone, so that limits and steps are tried, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING

from rv_check.checks.pair import Pair
from rv_check.checks.structure import MeasuredEqual, Structure, guess
from rv_check.graphs.differences import Slot
from rv_check.graphs.explain import Mistake
from rv_check.graphs.parameters import CALLED_OTHERWISE
from rv_check.ops.op import Shape

if TYPE_CHECKING:
    from torch import nn

    from rv_check.modules.inputs import Batch
    from rv_check.modules.limits import Limits, Where

LARGER = 30  # times the parameters: what a norm gives goes past limits that no image takes it to
LOUD = (1e8, 1e4, 1e2, 10)  # times an image, past whatever it may be cut off at; what is louder may drown another limit
MANY = 16  # images, so that numbers meet that seldom do, as two that are large
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
    sizes = known_sizes()
    whole = [x for x in (found.input, *larger_sizes()) if x not in sizes]
    waves = any(node.row.periodic for graph in (found.expected, found.found) for node in graph.nodes)
    loud = tuple(times for times in LOUD if times <= LOUD_WAVES or not waves)
    for pairing in (_guessed, _by_gradients):
        try:
            slots = pairing(found, pair_by, sizes[0], device)
            if slots is None:
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
    outputs = pair.expected_output, pair.output
    data = pair.batch(x, torch.float64, device)
    return pair_by_gradients(pair.expected, pair.found, data, known, outputs=outputs, constants=pair.constants)


def _is_arbitrable(one: Mistake) -> bool:
    """Whether numbers may say that it is none: not of a state that loads and means something else."""
    told = one.kind == "state" and CALLED_OTHERWISE in one.expected
    return one.kind in ARBITRABLE and not told


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
        expected = trace.limited(trace.run(pair.expected, data, train, (), pair.expected_output), pair.weights)
        other = trace.renamed(trace.run(pair.found, data, train, (), pair.output), pair.weights, expected)
        tolerance = trace.TOLERANCE[torch.float64]
        return all(d.within(tolerance) for d in trace.differences(expected, other, train) if d.decides)

    @property
    def modules(self) -> tuple[tuple[nn.Module, str], tuple[nn.Module, str]]:
        """Both, with where the output stands in what each returns."""
        return (self.pair.expected, self.pair.expected_output), (self.pair.found, self.pair.output)

    def are_close(self, x: Shape, scale: float = 1.0, tolerance: float | None = None) -> bool:
        """Whether the outputs are the same; what limits that reaches is noted."""
        data = self.image(x).each_fraction(lambda one: scale * one)
        return self._have_one_output(data, noted=True, tolerance=tolerance)

    def are_close_where_all_is_loud(self, x: Shape) -> bool:
        """Whether the outputs are the same of all loud images at which both are finite, as exp(x) soon is no more."""
        import torch

        from rv_check.modules import trace

        images = [self.image(x, MANY).each_fraction(partial(torch.mul, times)) for times in self.loud]

        def are_finite(data: Batch) -> bool:
            outputs = (trace.output(module, data, where) for module, where in self.modules)
            return all(isfinite(trace.largest_value(one)) for one in outputs)

        finite = list(filter(are_finite, images))
        return bool(finite) and all(self._have_one_output(data, noted=True) for data in finite)

    def agree_where_all_is_small(self, x: Shape, times: int) -> bool:
        """Whether the outputs are the same of small parameters and images, which get smaller each time."""
        self.pair.enlarge(SMALLER)
        return self.are_close(x, SMALLER**times)

    def _have_one_output(self, data: Batch, *, noted: bool = False, tolerance: float | None = None) -> bool:
        import torch

        from rv_check.modules import trace

        outputs: list[torch.Tensor] = []
        for (module, where), limits in zip(self.modules, self.limits, strict=True):
            if noted:
                with limits.begin():
                    outputs.append(trace.output(module, data, where))
            else:
                outputs.append(trace.output(module, data, where))
        return trace.compare("output", outputs[0], outputs[1]).within(tolerance or trace.TOLERANCE[torch.float64])

    def agree_beside_steps(self, x: Shape) -> bool:
        """Whether all steps have the same numbers on both sides, or what has others agrees right before and behind."""
        import torch

        from rv_check.modules import trace
        from rv_check.modules.limits import near

        first, last = self.image(x), self.image(x, more=1)

        def between(share: float) -> Batch:
            return first.to_other(last, share)

        def far(side: int, at: Where, share: float) -> torch.Tensor:
            module, where = self.modules[side]
            with self.limits[side].begin():
                trace.output(module, between(share), where)
            return self.limits[side].now[at]

        besides = [(side, at) for side in (0, 1) for at in self.limits[side].steps_besides(self.limits[1 - side])]
        if len(besides) > MOST_STEPS:
            return False
        for side, at in besides:
            places = near(partial(far, side, at), NEAR_A_STEP)
            if places is None or not all(self._have_one_output(between(share)) for share in places):
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
