"""Do shortcuts keep gradients alive? The gradient of every layer of a network, with shortcuts and without.

Both networks are built from one spec, the one without shortcuts with the other's weights, and get the same images and
labels. What is measured is the norm of the loss's gradient with respect to each weight on the main path, in float64:
in float32 the gradients of deep plain networks are too small to be squared, and at last to be there at all, which is
told too. The set-up: a batch of 32 normally distributed inputs, random labels, binary cross-entropy with logits for a
network with one output and cross-entropy for others, weights as the spec starts them (torch's own start of linear
layers, He's normal one of convolutions), batch norms in train mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from rv_check.archs.load import load
from rv_check.errors import RvCheckError
from rv_check.language.files import shipped_folder
from rv_check.modules.build import build
from rv_check.modules.torch_state import seeded, steady

SCHEMA = "rv-check/study-gradients/1"
BATCH = 32


@dataclass(frozen=True)
class Stack:
    """A kind of network, with shortcuts and without, at several depths. `arch` has `{depth}` and `{shortcut}` in it."""

    name: str
    block: str  # what one is, and what follows the addition
    arch: str
    depths: tuple[int, ...]
    unit: str  # the unit of the depths
    seeds: int

    def arch_at(self, depth: int, *, shortcut: bool) -> str:
        """The arch's name for `load`."""
        return f"{shipped_folder()}/studies/{self.arch.format(depth=depth, shortcut=shortcut)}"


_LINEAR = "perceptrons.yaml::perceptrons10(blocks={depth}, shortcut={shortcut}"
_CONV = "depth.yaml::depth{depth}(width=16, shortcut={shortcut}"
STACKS = {
    stack.name: stack
    for stack in (
        Stack("mlp", "linear, ReLU, linear", f"{_LINEAR})", (1, 2, 5, 10, 20, 40, 80), "blocks", 50),
        Stack("mlp-bn", "each linear with batch norm", f"{_LINEAR}, norm=True)", (10, 20), "blocks", 50),
        Stack(
            "mlp-bn-relu",
            "each linear with batch norm; ReLU after the addition",
            f"{_LINEAR}, norm=True, after=True)",
            (10, 20),
            "blocks",
            50,
        ),
        Stack("conv", "of ResNet, without batch norm", f"{_CONV}, norm=False)", (18, 34, 50), "layers", 5),
        Stack("conv-bn", "of ResNet, with batch norm", f"{_CONV})", (18, 34, 50), "layers", 5),
    )
}


@dataclass(frozen=True)
class GradientRun:
    """One seed: the gradient's norm at each weight of the main path, by name, in the order of the flow."""

    seed: int
    residual: Mapping[str, float]
    plain: Mapping[str, float]
    plain_norm_in_float32: float  # that of the plain network's first layer, computed as `weight.grad.norm()`
    plain_zeros_in_float32: float  # the share of its elements that are 0

    @property
    def ratio(self) -> float:
        """The ratio of the first layer: with shortcuts over without; not finite where a loss has diverged."""
        first = next(iter(self.plain))
        return self.residual[first] / self.plain[first] if self.plain[first] else float("inf")


@dataclass(frozen=True)
class MeasuredStack:
    """All seeds of one stack at one depth, after so many steps."""

    stack: Stack
    depth: int
    steps: int
    runs: tuple[GradientRun, ...]

    @property
    def ratios(self) -> list[float]:
        """The ratios of the first layer, smallest first, of the runs that have not diverged."""
        return sorted(run.ratio for run in self.finite)

    @property
    def finite(self) -> tuple[GradientRun, ...]:
        """The runs whose gradients are finite."""
        return tuple(run for run in self.runs if 0 < run.ratio < float("inf"))

    @property
    def verdict(self) -> str:
        """What shortcuts do to the first layer's gradient, on every seed alike or not."""
        if len(self.finite) < len(self.runs):
            return f"not finite in {len(self.runs) - len(self.finite)} of {len(self.runs)}"
        if self.ratios[0] > 1:
            return "larger"
        return "smaller" if self.ratios[-1] < 1 else "depends on the seed"

    def along(self, kind: str) -> dict[str, float]:
        """The median over seeds of each layer's norm; `kind` is residual or plain."""
        runs = self.finite or self.runs
        return {name: median(getattr(run, kind)[name] for run in runs) for name in runs[0].plain}

    @property
    def lost_in_float32(self) -> str:
        """What float32 makes of the plain network's first gradient."""
        norms = sum(run.plain_norm_in_float32 == 0 for run in self.runs)
        gone = sum(run.plain_zeros_in_float32 == 1 for run in self.runs)
        if gone:
            return f"gradient 0 in {gone} of {len(self.runs)}"
        return f"norm 0 in {norms} of {len(self.runs)}" if norms else ""


def study(
    stacks: Iterable[Stack],
    depths: Sequence[int] | None = None,
    seeds: int | None = None,
    steps: int = 0,
    rate: float = 0.01,
) -> Iterator[MeasuredStack]:
    """Each stack at each depth, of its own depths and number of seeds unless given, as they are measured.

    Args: `steps` of stochastic gradient descent on the one batch, of each network on its own, before it is measured,
    at the learning rate `rate`. Raises: RvCheckError for a depth that the stack does not have.
    """
    for stack in stacks:
        for depth in depths or stack.depths:
            if stack.unit == "layers" and depth not in stack.depths:
                expected = ", ".join(map(str, stack.depths))
                raise RvCheckError(f"{stack.name} has no network of {depth} layers", expected=f"one of {expected}")
            runs = tuple(measure(stack, depth, seed, steps, rate) for seed in range(seeds or stack.seeds))
            yield MeasuredStack(stack, depth, steps, runs)


def measure(stack: Stack, depth: int, seed: int, steps: int = 0, rate: float = 0.01) -> GradientRun:
    """One pair of networks with the weights and data of a seed. Torch's global generator is untouched."""
    with steady():
        residual, plain, x, y = twins(stack, depth, seed)
        in_float32 = _gradients(plain, x, y)
        first = next(iter(in_float32.values()))
        norms = []
        for model in (residual, plain):
            model.double()
            _descend(model, x.double(), y, steps, rate)
            norms.append({name: float(g.norm()) for name, g in _gradients(model, x.double(), y).items()})
        of_residual = {name: norms[0][name] for name in norms[1]}  # projections have no counterpart
        zeros = float((first == 0).double().mean())
        return GradientRun(seed, of_residual, norms[1], float(first.norm()), zeros)


def twins(stack: Stack, depth: int, seed: int) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """The network with shortcuts, the one without and the same weights, inputs (32, *input) and labels; float32."""
    arch = load(stack.arch_at(depth, shortcut=True))
    with seeded(seed):
        residual = build(arch)
        x = torch.randn(BATCH, *arch.input)
        (outputs,) = arch.tree.root.y
        y = torch.randint(0, max(2, outputs), (BATCH,))
        plain = build(stack.arch_at(depth, shortcut=False))
    weights = residual.state_dict()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    return residual, plain, x, y


def _loss(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    z = model(x)
    if z.shape[1] > 1:
        return nn.functional.cross_entropy(z, y)
    return nn.functional.binary_cross_entropy_with_logits(z[:, 0], y.to(z))


def _gradients(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The gradients by name, of each weight of a convolution or linear layer."""
    weights = {name: p for name, p in model.named_parameters() if p.dim() > 1}
    found = torch.autograd.grad(_loss(model, x, y), list(weights.values()))
    return dict(zip(weights, found, strict=True))


def _descend(model: nn.Module, x: Tensor, y: Tensor, steps: int, rate: float) -> None:
    optimiser = torch.optim.SGD(model.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        _loss(model, x, y).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


# For machines


def as_json(found: Sequence[MeasuredStack], rate: float) -> dict[str, Any]:
    """Schema rv-check/study-gradients/1."""
    return {
        "schema": SCHEMA,
        "batch": BATCH,
        "rate": rate,
        "measured": [
            {
                "stack": one.stack.name,
                "block": one.stack.block,
                "depth": one.depth,
                "unit": one.stack.unit,
                "steps": one.steps,
                "archs": [one.stack.arch.format(depth=one.depth, shortcut=shortcut) for shortcut in (True, False)],
                "verdict": one.verdict,
                "median_ratio": median(one.ratios) if one.ratios else None,
                "runs": [_run_json(run) for run in one.runs],
            }
            for one in found
        ],
    }


def _run_json(run: GradientRun) -> dict[str, Any]:
    """JSON has no numbers that are not finite: null stands for them."""

    def finite(value: float) -> float | None:
        return value if abs(value) < float("inf") else None

    return {
        "seed": run.seed,
        "ratio": finite(run.ratio),
        "residual": {name: finite(norm) for name, norm in run.residual.items()},
        "plain": {name: finite(norm) for name, norm in run.plain.items()},
        "plain_norm_in_float32": finite(run.plain_norm_in_float32),
        "plain_zeros_in_float32": run.plain_zeros_in_float32,
    }
