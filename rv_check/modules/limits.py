"""Limits that numbers never reached, and steps that they may have missed: where equal numbers show nothing.

A clamp that clamped nothing may be another one, or none. What compares gives the same truth values for every limit
between two numbers that were seen, so that not its answers count, but how far its numbers are from the limit. What
neither the input nor a parameter has any part in is a constant, whatever it is compared with.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

CHANGES = (  # operators that leave what is within their limits as it is
    *("clamp", "clamp_min", "clamp_max", "hardtanh", "threshold", "nan_to_num", "hardshrink", "softshrink"),
    *("relu6", "maximum", "minimum", "clip"),
)
CLAMPS = ("clamp", "clip", "clamp_min", "clamp_max", "hardtanh")  # which are one with limits below and above
ASKS = ("where", "masked_fill")  # operators that have a condition
COMPARES = ("gt", "ge", "lt", "le", "eq", "ne", "greater", "less")  # operators that give one
STEPS = (  # functions that jump
    *("floor", "ceil", "round", "trunc", "sign", "heaviside", "hardshrink", "threshold", "bucketize", "_to_copy"),
)
TOLERANCE = 1e-9  # of how far numbers are from a limit, relative to the largest of them
Where = tuple[Any, ...]


class Limits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes, of each limit in the order of a run, whether any run went past it. All runs are of one module."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reached: dict[Where, bool] = {}
        self.operands: dict[Where, tuple[Tensor, ...]] = {}  # in the first run
        self.varied: set[Where] = set()  # those of which the operands were not the same in all runs
        self.far: dict[Where, Tensor] = {}  # how far from the limit the numbers of a step were, in the first run
        self.now: dict[Where, Tensor] = {}  # and in the last one
        self.turn: Counter[str] = Counter()

    def begin(self) -> Limits:
        """The next run."""
        self.turn.clear()
        return self

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2].rstrip("_")
        if name not in (*CHANGES, *ASKS, *COMPARES, *STEPS):
            return func(*args, **kwargs)
        before = [one.clone() if isinstance(one, Tensor) else one for one in args[:2]]
        result = func(*args, **kwargs)
        numbers = [one for one in (*args, *kwargs.values()) if not isinstance(one, Tensor)]
        limit = _clamp(func, args, kwargs) if name in CLAMPS else (name, *map(repr, numbers))
        at = (*limit, self.turn[name])
        self.turn[name] += 1
        if name not in STEPS or name in CHANGES:
            self.reached[at] = self.reached.get(at, False) or _reaches(name, before, result)
        operands = tuple(one for one in before if isinstance(one, Tensor))
        known = self.operands.setdefault(at, operands)
        if not all(map(torch.equal, known, operands)):
            self.varied.add(at)
        if name in (*COMPARES, *STEPS) and (name != "_to_copy" or _makes_whole(operands[0], result)):
            self.now[at] = _far(name, before)
            self.far.setdefault(at, self.now[at])
        return result

    @property
    def never_reached(self) -> Counter[Where]:
        """The limits that no run went past: operators with their numbers, and how many of each there are."""
        return Counter(at[:-1] for at, reached in self.reached.items() if not reached and at in self.varied)

    @property
    def all_varied(self) -> bool:
        """Whether each limit was tried with more than one lot of numbers, so that it is known which are constants."""
        return self.operands.keys() == self.varied

    def steps_besides(self, other: Limits) -> list[Where]:
        """The steps, constants apart, of which the other has none whose numbers are as far from the limit."""
        left = [one.flatten() for at, one in other.far.items() if at in other.varied]
        besides = []
        for at in (at for at in self.far if at in self.varied):
            own = self.far[at].flatten()
            same = next((one for one in left if _are_the_same(one, own)), None)
            if same is None:
                besides.append(at)
            else:
                left = [one for one in left if one is not same]
        return besides


def _clamp(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Where:
    """A clamp by its limits, whichever operator does it."""
    schema = func._schema.arguments
    given = {one.name: args[at] if at < len(args) else kwargs.get(one.name) for at, one in enumerate(schema)}
    given |= {one.name: one.default_value for one in schema if given[one.name] is None}
    return ("clamp", *(repr(given.get(name, given.get(f"{name}_val"))) for name in ("min", "max")))


def _reaches(name: str, before: Sequence[Any], result: Tensor) -> bool:
    if name in (*ASKS, *COMPARES):
        condition = result if name in COMPARES else before[0] if name == "where" else before[1]
        return bool(condition.any()) and not bool(condition.all())
    x = before[0]
    if name in ("maximum", "minimum"):
        return bool((result != x).any()) and bool((result == x).any())
    return bool((result != x).any())


def _makes_whole(x: Tensor, result: Tensor) -> bool:
    """Whether fractions become whole numbers."""
    return x.is_floating_point() and not result.is_floating_point() and not result.is_complex()


def _far(name: str, before: Sequence[Any]) -> Tensor:
    """How far numbers are from where the result jumps; of a comparison, what is larger less what is smaller."""
    x, *others = before
    if name in WHOLE:  # from one jump to the next the sign changes
        jumps: Tensor = WHOLE[name](x.to(torch.float64))
        return jumps
    if name == "bucketize":
        edges: Tensor = others[0]
        between: Tensor = (x.flatten()[:, None] - edges.flatten()).to(torch.float64)
        return between
    limit = others[0] if others and name in (*COMPARES, "hardshrink", "threshold") else 0
    x = x.abs() if name == "hardshrink" else x
    far = torch.as_tensor(limit) - x if name in ("lt", "le", "less") else x - torch.as_tensor(limit)
    far = far.abs() if name in ("eq", "ne") else far
    wide: Tensor = far.to(torch.float64)
    return wide


WHOLE: dict[str, Callable[[Tensor], Tensor]] = {  # functions that jump at whole numbers, or between them
    "floor": lambda x: (math.pi * x).sin(),
    "ceil": lambda x: (math.pi * x).sin(),
    "trunc": lambda x: (math.pi * x.abs()).sin(),  # but at 0
    "_to_copy": lambda x: (math.pi * x.abs()).sin(),
    "round": lambda x: (math.pi * x).cos(),
}


def _are_the_same(a: Tensor, b: Tensor) -> bool:
    """Whether these are the same numbers, but for rounding."""
    if a.shape != b.shape:
        return False
    return not a.numel() or bool((a - b).abs().max() <= TOLERANCE * a.abs().max())


def near(far: Callable[[float], Tensor], close_to: float) -> tuple[float, float] | None:
    """Two places from 0 to 1, as close to each other, between which one of the numbers goes past its limit.

    Args: `far` how far they are from it, at a place. None where none goes past it.
    """
    low, high = 0.0, 1.0
    first, last = far(low), far(high)
    if first.shape != last.shape:
        return None
    passes = ((first > 0) != (last > 0)).flatten().nonzero()
    if not len(passes):
        return None
    at = int(passes[0])
    begins = bool(first.flatten()[at] > 0)
    while high - low > close_to:
        middle = (low + high) / 2
        if bool(far(middle).flatten()[at] > 0) == begins:
            low = middle
        else:
            high = middle
    return low, high
