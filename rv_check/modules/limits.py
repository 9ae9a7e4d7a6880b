"""Limits that numbers never reached: a clamp that clamped nothing, a condition that always had one answer.

Two networks that compute the same numbers may differ in such a limit, so that it is not shown to be equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

CHANGES = (  # operators that leave what is within their limits as it is
    *("clamp", "clamp_min", "clamp_max", "hardtanh", "threshold", "nan_to_num", "hardshrink", "softshrink"),
    *("relu6", "maximum", "minimum", "clip"),
)
ASKS = ("where", "masked_fill")  # operators that have a condition
COMPARES = ("gt", "ge", "lt", "le", "eq", "ne", "greater", "less")  # operators that give one


class Limits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes, of each limit in the order of a run, whether any run went past it. All runs are of one module."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reached: dict[tuple[Any, ...], bool] = {}
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
        if name not in (*CHANGES, *ASKS, *COMPARES):
            return func(*args, **kwargs)
        before = [one.clone() if isinstance(one, Tensor) else one for one in args[:2]]
        result = func(*args, **kwargs)
        numbers = [one for one in (*args, *kwargs.values()) if not isinstance(one, Tensor)]
        at = (name, *map(repr, numbers), self.turn[name])
        self.turn[name] += 1
        self.reached[at] = self.reached.get(at, False) or _reaches(name, before, result)
        return result

    @property
    def never_reached(self) -> Counter[tuple[Any, ...]]:
        """The limits that no run went past: operators with their numbers, and how many of each there are."""
        return Counter(at[:-1] for at, reached in self.reached.items() if not reached)


def _reaches(name: str, before: Sequence[Any], result: Tensor) -> bool:
    if name in (*ASKS, *COMPARES):
        condition = result if name in COMPARES else before[0] if name == "where" else before[1]
        return bool(condition.any()) and not bool(condition.all())
    x = before[0]
    if name in ("maximum", "minimum"):
        return bool((result != x).any()) and bool((result == x).any())
    return bool((result != x).any())
