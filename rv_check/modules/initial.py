"""Initial values by distribution: is a freshly built module initialised as the spec says?

Each tensor is held against what its rule in `init:` gives: a constant exactly, random values by mean, standard
deviation and kurtosis, which tells a normal from a uniform distribution. The bounds are six standard errors of these
statistics, so that one tensor in about 10^8 is blamed without cause. Sources of the rules: torch.nn.init, and
reset_parameters of torch's layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import init

from rv_check.language.definitions import InitRule
from rv_check.ops.op import Shape

SIGMAS = 6
FEW = 30  # values that say little of a distribution
MANY = 500  # values that tell a normal from a uniform one


@dataclass(frozen=True)
class Start:
    """A distribution of initial values. `std` 0: a constant."""

    mean: float
    std: float
    uniform: bool = False

    def __str__(self) -> str:
        if not self.std:
            return f"constant {self.mean:g}"
        shape = "uniform" if self.uniform else "normal"
        return f"{shape}, mean {self.mean:g}, standard deviation {self.std:.4g}"

    def fits(self, values: Tensor) -> bool:
        """Whether values may well have been drawn from it."""
        v = values.detach().double().flatten()
        n = v.numel()
        if not self.std:
            return bool((v == float(torch.tensor(self.mean, dtype=values.dtype))).all())
        if n > 1 and bool((v == v[0]).all()):
            return False  # however few they are, chance does not give one number twice
        mean, centred = float(v.mean()), v - self.mean
        if not abs(mean - self.mean) <= SIGMAS * self.std / math.sqrt(n):
            return False
        kurtosis = 1.8 if self.uniform else 3.0
        spread = math.sqrt(float((centred**2).mean()))
        if n >= FEW and not abs(spread / self.std - 1) <= SIGMAS * math.sqrt((kurtosis - 1) / (4 * n)):
            return False
        if n < MANY:
            return bool((v.abs() <= self.mean + 2 * self.std).all()) if self.uniform else True
        fourth = float((centred**4).mean()) / spread**4
        return abs(fourth - kurtosis) <= SIGMAS * math.sqrt(24 / n)


def statistics(values: Tensor) -> str:
    """What values look like, in the words of a start."""
    v = values.detach().double().flatten()
    if v.numel() == 1 or bool((v == v[0]).all()):
        return f"constant {float(v[0]):g}"
    centred = v - v.mean()
    spread = float(v.std())
    kurtosis = float((centred**4).mean()) / max(spread, 1e-300) ** 4
    shape = "uniform" if kurtosis < 2.2 else "normal" if 2.6 < kurtosis < 3.6 else f"kurtosis {kurtosis:.1f}"
    return f"{shape}, mean {float(v.mean()):.2g}, standard deviation {spread:.4g}"


def start_of(role: str, shapes: Mapping[str, Shape], rule: InitRule | None) -> Start:
    """How a parameter or buffer starts, of an op of these `shapes`; `rule` is the spec's for that layer, if it has one.

    Raises: SpecError where a number of the rule has no value for a weight of this size.
    """
    if role in ("running_mean", "num_batches_tracked"):
        return Start(0, 0)
    if role == "running_var":
        return Start(1, 0)
    weight = shapes["weight"]
    fans = fans_of(weight)
    arguments = rule.numbers(fans) if rule else {}
    method = rule.method if rule else "default"
    if role == "bias" and "bias" in arguments:
        return Start(arguments["bias"], 0)
    if method == "constant":
        return Start(arguments[role], 0)
    if len(weight) == 1:  # a norm that nothing is said of
        return Start(1 if role == "weight" else 0, 0)
    if role == "bias" or method == "default":
        return Start(0, 1 / math.sqrt(3 * fans["fan_in"]), uniform=True)  # U(-1/sqrt(fan_in), 1/sqrt(fan_in))
    if method == "normal":
        return Start(arguments["mean"], arguments["std"])
    if method == "uniform":
        return Start(0, arguments["bound"] / math.sqrt(3), uniform=True)
    assert method in ("kaiming_normal", "kaiming_uniform"), "the language has no other"
    std = init.calculate_gain(arguments["nonlinearity"]) / math.sqrt(fans[arguments["mode"]])
    return Start(0, std, uniform=method == "kaiming_uniform")


def fans_of(weight: Sequence[int]) -> dict[str, int]:
    """The fans of a weight of this shape, by their names; none of a vector. Source: torch.nn.init."""
    if len(weight) < 2:
        return {}
    return {"fan_in": math.prod(weight[1:]), "fan_out": weight[0] * math.prod(weight[2:])}
