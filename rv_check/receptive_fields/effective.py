"""The effective receptive field: how much each pixel that a unit sees changes it (Luo et al. 2016, arXiv:1701.04128).

The gradient of the centre unit of a map, all its channels summed, with respect to random images, of freshly initialised
networks with their own nonlinearities, in float32; its absolute value and its square, over channels, images and runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rv_check.archs.axes import span
from rv_check.archs.receptive_field import ReceptiveField
from rv_check.errors import RvCheckError
from rv_check.modules.guard import run_theirs
from rv_check.modules.record import materialise, tensors_of
from rv_check.ops.op import Shape
from rv_check.text import listed, nearest, quote, shown_shape

WITHIN = 1 - 0.9545  # a share of the largest gradient: the paper's bound, two standard deviations of a Gaussian
Statistics = Literal["frozen", "batch"]


@dataclass(frozen=True, eq=False)
class Effective:
    """The gradient of the centre unit of a step, averaged over runs and images. `unit`: its row and column.

    `absolute`, `squared`: (H, W), means of |gradient| and of its square, summed over the image's channels.
    """

    step: str
    field: ReceptiveField
    unit: tuple[int, int]
    absolute: Tensor
    squared: Tensor

    @property
    def width(self) -> float:
        """Pixels a side: the square root of how many have more than 4.55 % of the largest mean |gradient|."""
        return _width(self.absolute)

    @property
    def width_of_squares(self) -> float:
        """The same of the mean squared gradient."""
        return _width(self.squared)

    @property
    def deviation(self) -> float:
        """Pixels: the standard deviation of mean |gradient| about its centre along an axis, of both axes' variance."""
        return _deviation(self.absolute)

    @property
    def deviation_of_squares(self) -> float:
        """The same of the mean squared gradient."""
        return _deviation(self.squared)

    @property
    def share(self) -> float:
        """Width over the theoretical size of that unit; where that has two, over their geometric mean."""
        _, _, rows, columns = self.square
        return self.width / sqrt(rows * columns)

    @property
    def square(self) -> tuple[int, int, int, int]:
        """First row, first column, rows and columns of the theoretical field, which may reach beyond the image."""
        (top, rows), (left, columns) = span(self.field.rows, self.unit[0]), span(self.field.columns, self.unit[1])
        return top, left, rows, columns

    @property
    def is_cut(self) -> bool:
        """Whether the theoretical field reaches beyond the image, so that the effective one may be cut off too."""
        top, left, rows, columns = self.square
        height, width = self.absolute.shape
        return top < 0 or left < 0 or top + rows > height or left + columns > width


def _width(map: Tensor) -> float:
    return sqrt(int((map > WITHIN * map.max()).sum()))


def _deviation(map: Tensor) -> float:
    weight = map.double() / map.double().sum()
    variances = []
    for axis in (0, 1):
        along = weight.sum(1 - axis)
        at = torch.arange(len(along), dtype=torch.float64)
        mean = (along * at).sum()
        variances.append(float((along * (at - mean) ** 2).sum()))
    return sqrt(sum(variances) / 2)


def effective_fields(
    make: Callable[[], nn.Module],
    fields: Mapping[str, ReceptiveField],
    input: Shape,
    runs: int = 8,
    images: int = 2,
    seed: int = 0,
    statistics: Statistics = "frozen",
) -> list[Effective]:
    """The effective fields of the steps of `fields`, by the paths of a module's parts, with their theoretical ones.

    Args: `make` builds the network, freshly initialised; called once a run, with torch seeded by `seed` plus the run.
    `input` (C, H, W) of normally distributed images, `images` a run. `statistics` of batch norms: "frozen", those of
    the run's images, held constant, so that no unit sees beyond its theoretical field; "batch", as in training, where
    every pixel of every image reaches every unit through them.
    Raises: RvCheckError for an unknown step, a network that does not run, or another input than images. Torch's global
    generator is untouched.
    """
    if len(input) != 3:
        found = f"an effective field is drawn over rows and columns, not over an input {shown_shape(input)}"
        raise RvCheckError(found, expected="images, C H W")
    if runs < 1 or images < 1:
        raise RvCheckError(f"{runs} runs of {images} images", expected="1 or more of each")
    totals: dict[str, tuple[Tensor, Tensor]] = {}
    units: dict[str, tuple[int, int]] = {}
    with torch.random.fork_rng(devices=[]):
        for run in range(runs):
            torch.manual_seed(seed + run)
            model = make()
            x = torch.randn((images, *input))
            what = f"the network does not run on an input of {shown_shape(input)}"
            maps = run_theirs(what, lambda model=model, x=x: _maps(model, x, fields, statistics))  # type: ignore[misc]
            for step, (gradient, unit) in maps.items():
                absolute, squared = gradient.abs().sum(1).mean(0), gradient.square().sum(1).mean(0)
                before = totals.get(step, (0, 0))
                totals[step] = (before[0] + absolute / runs, before[1] + squared / runs)
                units[step] = unit
    empty = [step for step, (absolute, _) in totals.items() if not absolute.max() > 0]
    if empty:
        raise RvCheckError(f"no gradient of {empty[0]} reaches the image", expected="a part that depends on its input")
    return [Effective(step, field, units[step], *totals[step]) for step, field in fields.items()]


Gradients = dict[str, tuple[Tensor, tuple[int, int]]]


def _maps(model: nn.Module, x: Tensor, steps: Mapping[str, Any], statistics: Statistics) -> Gradients:
    """The gradient of the centre unit of each step's output, (N, C, H, W), and which unit that is."""
    parts = dict(model.named_modules())
    for step in steps:
        if step not in parts:
            near = nearest(step, parts)
            expected = None if near else listed(filter(None, parts))
            raise RvCheckError(f"the network has no part {quote(step)}", expected=expected, near=near)
    materialise(model, x)
    model.requires_grad_(requires_grad=False)
    if statistics == "frozen":
        _freeze(model, x)
    else:
        model.train()
    kept: dict[str, Tensor] = {}

    def keep(step: str) -> Callable[..., Any]:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            if not isinstance(output, Tensor):
                return None
            kept[step] = output
            return output.clone()  # what follows may overwrite what it is given

        return hook

    x = x.clone().requires_grad_()
    with ExitStack() as stack, torch.enable_grad():
        for step in steps:
            handle = parts[step].register_forward_hook(keep(step))
            stack.callback(handle.remove)
        for _ in tensors_of(model(x)):
            pass
        return {step: _gradient(step, kept.get(step), x) for step in steps}


def _freeze(model: nn.Module, x: Tensor) -> None:
    """Eval mode, with the statistics of these images in the batch norms."""
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # all of the new, nothing of the old
    model.train()
    with torch.no_grad():
        model(x)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    model.eval()


def _gradient(step: str, map: Tensor | None, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    if map is None or map.dim() != 4:
        found = "no tensor" if map is None else f"a tensor of shape {tuple(map.shape)}"
        raise RvCheckError(f"{step} gives {found}", expected="a map (N, C, H, W)")
    row, column = map.shape[2] // 2, map.shape[3] // 2
    (gradient,) = torch.autograd.grad(map[:, :, row, column].sum(), x, retain_graph=True)
    return gradient, (row, column)
