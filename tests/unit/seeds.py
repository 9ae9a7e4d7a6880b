"""Tests of things made by chance: ten seeds to an item, and a failure says which one it was."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest


def seeds(n: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test that takes a `seed` with each of 0 to n - 1, in items of ten that share its fixtures."""
    tens = [range(at, min(at + 10, n)) for at in range(0, n, 10)]

    def in_tens(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def each(seeds: range, **fixtures: Any) -> None:
            for seed in seeds:
                try:
                    test(seed=seed, **fixtures)
                except BaseException as error:
                    error.add_note(f"with seed {seed}")
                    raise

        # pytest hands a test what its signature names
        own = inspect.signature(test)
        taken = [one.replace(name="seeds") if one.name == "seed" else one for one in own.parameters.values()]
        each.__signature__ = own.replace(parameters=taken)  # type: ignore[attr-defined]
        return pytest.mark.parametrize("seeds", tens, ids=[f"seeds {ten[0]} to {ten[-1]}" for ten in tens])(each)

    return in_tens
