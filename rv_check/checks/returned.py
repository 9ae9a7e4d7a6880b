"""What a module returns, held against what it should: which output is which step, and what is no such thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rv_check.graphs.graph import Graph
from rv_check.graphs.match import Match, match
from rv_check.graphs.outputs import Returned, steps_of
from rv_check.text import listed, shown_shape


class Surprises(NamedTuple):
    """What a module returns otherwise than expected: tensors `extra`, `lost`, and `moved`, at another place each."""

    extra: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()

    def besides(self, known: Surprises, words: str) -> Surprises:
        """Those that are not known yet, with words to each."""
        return Surprises(
            *(
                tuple(f"{one} {words}" for one in own if one not in others)
                for own, others in zip(self, known, strict=True)
            )
        )

    def __add__(self, other: tuple[Any, ...]) -> Surprises:
        """All of both."""
        return Surprises(*(one + another for one, another in zip(self, other, strict=True)))


def steps_in(best: Match, returned: Returned) -> dict[str, str]:
    """The step of the expected network that each output of the module is the value after, "" for none."""
    own = {returned.pairs[place]: node for place, node in best.found.outputs.items()}
    back = {found: expected for expected, found in best.pairs.items()}
    steps = steps_of(best.expected, {**own, **best.found.besides}, back)
    return {place: steps[place] for place in returned.found}


def of_steps(steps: Mapping[str, str], name: str) -> str:
    """Which output is which step, in words. `name`: what to call the expected network."""
    if not any(steps.values()):
        return f"none of its {len(steps)} outputs is a step of {name}"
    words = [f"{place} is {step}" for place, step in steps.items() if step]
    others = [place for place, step in steps.items() if not step]
    more = f"; {listed(others)} {'is' if len(others) == 1 else 'are'} no step of it" if others else ""
    return f"its outputs, as steps of {name}: {listed(words)}{more}"


def step_it_ends_at(expected: Graph, found: Graph) -> str:
    """The step of the expected network that a module ends at: it returns values after steps, and none is the end.

    A single one has to be that step exactly: where a mistake is in it, what is behind it may be missing by mistake.
    """
    end = expected.outputs[""]
    if end.key in {node.key for node in found.outputs.values()}:
        return ""
    known = {node.key for node in expected.steps.values()}
    if all(node.key in known for node in found.outputs.values()):
        steps = steps_of(expected, found.outputs, {})
    elif len(found.outputs) > 1:
        returned = Returned.of(expected, found)
        best = match(*returned.lined_up(expected, found))
        steps = steps_in(best, returned) if end not in best.pairs else {}
    else:
        return ""
    ends = [name for name in expected.steps if name in steps.values()]
    return ends[-1] if ends and all(steps.values()) else ""


def surprises_of(returned: Returned, expected: Graph, found: Graph, steps: Mapping[str, str]) -> Surprises:
    """What a module returns otherwise. The feature maps of a network up to a step are no surprise."""
    known = {place for place, step in steps.items() if step} if expected.is_cut else set()
    extra = [place for place in returned.extra if place not in known]
    return Surprises(
        tuple(f"{place} {shown_shape(found.outputs[place].shape[1:])}" for place in extra),
        tuple(f"nothing at {place}" for place in returned.lost),
        tuple(f"{place or 'all of it'} is what {other} should be" for place, other in returned.moved.items()),
    )
