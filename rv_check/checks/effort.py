"""What it takes to check an arch: seconds of each check, and the most memory, so that a long run can be planned.

Measured by `python tests/bench/effort.py` with one thread of torch 2.14 on x86-64. A check of numbers runs at small
inputs, where reading and writing parameters takes most of the time, so that both grow with the parameters and hardly
with anything else.
"""

from __future__ import annotations

from collections.abc import Collection

from rv_check.archs.arch import Arch
from rv_check.checks.check import Check
from rv_check.checks.findings import Level

SECONDS = {  # of a check whatever is checked, and more for each million parameters
    "structure": (1.5, 0.03),
    "state_dict": (0.0, 0.01),
    "init": (0.0, 0.005),
    "logits": (0.0, 0.03),
    "eval": (0.0, 0.23),
    "train": (0.0, 0.16),
    "counters": (1.5, 0.0),
    "field": (1.5, 0.0),
}
BASE_BYTES = 1_000_000_000  # of a process with torch in it, and the activations of a check
BYTES_PER_PARAMETER: dict[Level, int] = {"spec": 0, "structure": 10, "numbers": 44}


def seconds(check: Check, params: int) -> float:
    """About how long a check of a network of so many parameters takes, on one core; 0 where it takes no time."""
    fixed, per_million = SECONDS.get(check.name, (0.0, 0.0))
    return fixed + per_million * params / 1e6


def peak_bytes(arch: Arch, checks: Collection[Check]) -> int:
    """The most memory that a process takes which makes these checks of an arch. Raises: SpecError.

    Two models are compared, with the gradients of both; of an arch without a reference one is built.
    """
    compared: Level = "numbers" if any(check.name == "eval" for check in checks) else "structure"
    return BASE_BYTES + BYTES_PER_PARAMETER[compared] * arch.params
