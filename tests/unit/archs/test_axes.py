"""What units see along an axis, held against sets of pixels that are followed one by one."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from rv_check.archs import axes
from rv_check.archs.axes import (
    MAX_PHASES,
    PIXEL,
    Along,
    Axis,
    Phases,
    centred,
    compose,
    in_order,
    of_spans,
    over,
    span,
    union,
)
from rv_check.errors import RvCheckError
from rv_check.ops.op import Slide
from tests.unit.seeds import seeds

Reach = Callable[[int], set[int]]  # the pixels that a unit sees, of a line without ends


def slid(below: Reach, slide: Slide) -> Reach:
    """What the units of a layer see: a loop over its kernel, as the layer's definition has it."""

    def reach(unit: int) -> set[int]:
        seen: set[int] = set()
        for at in range(slide.kernel):
            if slide.transposed:  # input i adds to the outputs i*stride - padding + at*dilation
                place, between = divmod(unit + slide.padding - at * slide.dilation, slide.stride)
                seen |= set() if between else below(place)
            else:
                seen |= below(unit * slide.stride - slide.padding + at * slide.dilation)
        return seen

    return reach


def pixel(unit: int) -> set[int]:
    """A unit of the input."""
    return {unit}


def ends(seen: set[int]) -> tuple[int, int]:
    """The first pixel, and how many to the last."""
    return (min(seen), max(seen) - min(seen) + 1) if seen else (0, 0)


def agree(along: Along, reach: Reach) -> bool:
    """Whether the units from -7 to 24 see what they are said to."""
    return all(span(along, unit) == ends(reach(unit)) for unit in range(-7, 25))


def random_slide(rng: random.Random) -> Slide:
    """A layer, also one that skips inputs, or leaves outputs that see nothing."""
    up = rng.random() < 0.45
    stride = rng.choice([2, 2, 3]) if up else rng.choice([1, 1, 2, 3])
    return Slide(rng.randint(1, 4), stride, rng.randint(-1, 3), rng.choice([1, 1, 2, 3]), up)


# Worked by hand: a line of units, as phases. i: input, o: output.
BY_HAND: dict[str, tuple[list[Slide], tuple[Axis, ...]]] = {
    # o = 2i, 2i + 1: both see i
    "kernel 2, stride 2": ([Slide(2, 2, 0, 1, True)], (Axis(1, 1, 0), Axis(1, 1, 0))),
    # o = 2i - 1 ... 2i + 2: 0 sees -1 and 0, 1 sees 0 and 1
    "kernel 4, stride 2, padding 1": ([Slide(4, 2, 1, 1, True)], (Axis(2, 1, 1), Axis(2, 1, 0))),
    # o = 2i - 1 ... 2i + 1: 0 sees 0, 1 sees 0 and 1
    "kernel 3, stride 2, padding 1": ([Slide(3, 2, 1, 1, True)], (Axis(1, 1, 0), Axis(2, 1, 0))),
    # o = 2i: 1 sees nothing
    "kernel 1, stride 2": ([Slide(1, 2, 0, 1, True)], (Axis(1, 1, 0), Axis(0, 1, 0))),
    # o = 2i, 2i + 2: 0 sees -1 and 0, 1 nothing
    "kernel 2, stride 2, dilation 2": ([Slide(2, 2, 0, 2, True)], (Axis(2, 1, 1), Axis(0, 1, 0))),
    # stride 1 is a convolution: o = i ... i + 2
    "kernel 3, stride 1": ([Slide(3, 1, 0, 1, True)], (Axis(3, 1, 2),)),
    # a 3x3 of stride 2 sees 2i - 1 ... 2i + 1; both of its units 2q, 2q + 1 see what its unit q does
    "down and up": ([Slide(3, 2, 1), Slide(2, 2, 0, 1, True)], (Axis(3, 2, 1), Axis(3, 2, 1))),
    # 2q sees the units q - 1 and q, -3 ... 1; 2q + 1 q and q + 1, -1 ... 3
    "down, up and 3x3": ([Slide(3, 2, 1), Slide(2, 2, 0, 1, True), Slide(3, 1, 1)], (Axis(5, 2, 3), Axis(5, 2, 1))),
    # up to halves and down again: every second unit of the above
    "up and down": ([Slide(4, 2, 1, 1, True), Slide(1, 2)], (Axis(2, 1, 1),)),
    # zeros between units, and a kernel that steps over these, or onto these alone
    "a dilated kernel on what sees nothing": (
        [Slide(1, 2, 0, 1, True), Slide(3, 1, 2, 2)],
        (Axis(3, 1, 1), Axis(0, 1, 0)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name: str) -> None:
    """Phase by phase."""
    slides, phases = BY_HAND[name]
    along: Along = PIXEL
    for slide in slides:
        along = over(along, slide)
    assert along.phases == phases
    assert isinstance(along, Axis) == (len(phases) == 1)


@seeds(400)
def test_random_layers(seed: int) -> None:
    """Up to five layers, and the sum of two paths: every unit sees exactly from its first pixel to its last."""
    rng = random.Random(seed)
    along: Along = PIXEL
    reach: Reach = pixel
    for _ in range(rng.randint(1, 4)):
        slide = random_slide(rng)
        along, reach = over(along, slide), slid(reach, slide)
        assert agree(along, reach), slide
    one, other = random_slide(rng), random_slide(rng)._replace(stride=3)
    one = one._replace(stride=3, transposed=other.transposed)
    both = slid(reach, one), slid(reach, other)
    met = union([over(along, one), over(along, other)])
    assert agree(met, lambda unit: both[0](unit) | both[1](unit))
    last = random_slide(rng)
    whole = over(met, last)
    assert agree(whole, slid(lambda unit: both[0](unit) | both[1](unit), last))
    assert in_order(whole) == ordered(slid(lambda unit: both[0](unit) | both[1](unit), last))


def ordered(reach: Reach) -> bool:
    """Whether units one after the other begin and end one after the other, and all see something."""
    found = [ends(reach(unit)) for unit in range(40)]
    steps = pairwise(found)
    return all(size for _, size in found) and all(a <= c and a + n <= c + m for (a, n), (c, m) in steps)


@pytest.mark.parametrize("wrong", ["padding", "kernel", "dilation", "order"])
def test_a_wrong_rule_is_seen(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the tests above: off by one, without holes, or as if all units were in order, it does not agree."""
    right = axes.over

    def other(outer: Along, slide: Slide) -> Along:
        if wrong == "padding" and slide.transposed:
            slide = slide._replace(padding=slide.padding + 1)
        if wrong == "kernel" and slide.transposed:
            slide = slide._replace(kernel=slide.kernel + 1)
        if wrong == "dilation":
            slide = slide._replace(kernel=slide.dilation * (slide.kernel - 1) + 1, dilation=1)
        return right(outer, slide)

    if wrong == "order":
        monkeypatch.setattr(axes, "in_order", lambda along: True)
    failed = 0
    for seed in range(60):
        rng = random.Random(seed)
        along: Along = PIXEL
        reach: Reach = pixel
        for _ in range(3):
            slide = random_slide(rng)
            along, reach = other(along, slide), slid(reach, slide)
        failed += not agree(along, reach)
    assert failed >= 10


@seeds(100)
def test_composition(seed: int) -> None:
    """Behind units in order, layers may be taken together first: what blocks that are analysed once rest on."""
    rng = random.Random(seed)

    def some() -> Along:
        found: Along = PIXEL
        for _ in range(rng.randint(1, 3)):
            found = over(found, random_slide(rng))
        return found

    outer = some()
    while not in_order(outer):
        outer = some()
    slides = [random_slide(rng) for _ in range(3)]
    inner, whole = PIXEL, outer
    for slide in slides:
        inner, whole = over(inner, slide), over(whole, slide)  # type: ignore[assignment]
    assert compose(outer, inner) == whole


def test_one_number_each() -> None:
    """Size and padding of the largest phase, the first of several; the stride from unit to unit is a mean."""
    field = Phases((Axis(3, 2, 1), Axis(5, 2, 4), Axis(5, 2, 3)))
    assert (field.size, field.stride, field.padding) == (5, 2 / 3, 4)
    assert isinstance(Phases((Axis(3, 4, 1), Axis(5, 4, 4))).stride, int)
    assert [span(field, unit) for unit in (0, 1, 2, 3, 4, -1)] == [(-1, 3), (-4, 5), (-3, 5), (1, 3), (-2, 5), (-5, 5)]


def test_the_smallest_period() -> None:
    """Phases that repeat are told once; units that are alike are no phases."""
    assert of_spans([(0, 3), (1, 3), (2, 3), (3, 3)], 4) == Axis(3, 1, 0)
    assert of_spans([(0, 3), (0, 3), (1, 3), (1, 3)], 2) == Phases((Axis(3, 1, 0), Axis(3, 1, 0)))
    assert of_spans([(0, 3), (0, 0), (1, 3), (0, 0)], 2) == Phases((Axis(3, 1, 0), Axis(0, 1, 0)))
    assert of_spans([(0, 3), (1, 3), (2, 3), (3, 4)], 4) == Phases(
        tuple(Axis(n, 4, -k) for k, n in enumerate([3] * 3 + [4]))
    )


def test_centres() -> None:
    """Paths are aligned where each unit's fields have one centre; what sees nothing has none."""
    up = over(PIXEL, Slide(3, 2, 1, 1, True))  # 0: pixel 0; 1: pixels 0 and 1
    fine = Phases((Axis(3, 1, 1), Axis(2, 1, 0)))
    assert centred([up, fine])
    assert not centred([up, Phases((Axis(3, 1, 1), Axis(1, 1, 0)))])
    assert centred([up, Phases((Axis(3, 1, 1), Axis(0, 1, 0)))])
    assert not centred([PIXEL, Axis(1, 2, 0)])


def test_error_too_many_phases() -> None:
    """A stride of a trillion is an error, and takes no time; as many as there may be are exact."""
    assert len(over(PIXEL, Slide(1, MAX_PHASES, transposed=True)).phases) == MAX_PHASES
    with pytest.raises(RvCheckError, match="the receptive fields of 1,000,000,000,000 neighbouring units may differ"):
        over(PIXEL, Slide(1, 10**12, transposed=True))
    field: Along = PIXEL
    for _ in range(10):
        field = over(field, Slide(2, 2, transposed=True))
    with pytest.raises(RvCheckError, match="of 2,048 neighbouring units may differ\n  expected: at most 1,024"):
        over(field, Slide(2, 2, transposed=True))


def test_error_too_large() -> None:
    """Pixels have an end."""
    with pytest.raises(RvCheckError, match="is larger than"):
        over(PIXEL, Slide(10**15, 2, 0, 3))
