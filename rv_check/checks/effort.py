"""What it takes to check an arch: seconds of each check, and the most memory, so that a long run can be planned.

Measured by `python tests/bench/effort.py` with one thread of torch 2.14 on x86-64. A check of numbers runs at small
inputs, forwards and backwards in float64, and reads all parameters and their gradients: of the shipped archs both time
and memory grow with the parameters, and little with anything else.
"""

from __future__ import annotations

from collections.abc import Collection

from rv_check.archs.arch import Arch
from rv_check.checks.check import Check

SECONDS = {  # of a check whatever is checked, and more for each million parameters
    "structure": (0.5, 0.025),
    "state_dict": (0.0, 0.007),
    "init": (0.0, 0.005),
    "logits": (0.1, 0.022),
    "eval": (0.5, 0.1),
    "train": (0.3, 0.06),
    "counters": (1.0, 0.0),
    "field": (1.0, 0.0),
}
BASE_BYTES = 1_000_000_000  # of a process with torch in it, and the activations of a check
BUILT_BYTES, RUN_BYTES = 10, 40  # of a parameter: of models that are built, and run backwards in float64 as well


def seconds(check: Check, params: int) -> float:
    """About how long a check of a network of so many parameters takes, on one core; 0 where it takes no time."""
    fixed, per_million = SECONDS.get(check.name, (0.0, 0.0))
    return fixed + per_million * params / 1e6


def peak_bytes(arch: Arch, checks: Collection[Check]) -> int:
    """The most memory that a process takes which makes these checks of an arch. Raises: SpecError.

    Two models are compared, with the gradients of both; of an arch without a reference one is built.
    """
    are_run = any(check.name == "eval" for check in checks)
    return BASE_BYTES + (RUN_BYTES if are_run else BUILT_BYTES) * arch.params
