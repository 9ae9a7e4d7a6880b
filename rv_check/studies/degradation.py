"""Do plain networks degrade with depth where residual ones do not? Trains both by one recipe, at growing depths.

The networks are the CIFAR family of He et al. 2015 (Section 4.2): 6n + 2 layers, option A shortcuts or none.
Degradation is a higher *training* error of the deeper network, which no lack of generalisation explains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rv_check.archs.arch import Arch
from rv_check.archs.load import load
from rv_check.errors import RvCheckError
from rv_check.language.files import shipped_folder
from rv_check.modules.processes import Ranks
from rv_check.studies.datasets import Data
from rv_check.studies.recipes import Recipe
from rv_check.studies.training import Epoch, Task, train
from rv_check.text import shown_shape

SCHEMA = "rv-check/study-degradation/1"
KINDS = {"plain": "plain20", "residual": "resnet20"}
MARGIN = 1.0  # percent: a smaller difference of training errors is no degradation


@dataclass(frozen=True)
class Trained:
    """One network of one seed, with what each epoch gave."""

    kind: str
    depth: int
    seed: int
    log: tuple[Epoch, ...]


@dataclass(frozen=True)
class DegradationResult:
    """Everything that was trained, and what it says."""

    data: str
    recipe: Recipe
    runs: tuple[Trained, ...]

    def by_network(self) -> dict[tuple[str, int], list[Trained]]:
        """The seeds of each kind and depth."""
        found: dict[tuple[str, int], list[Trained]] = {}
        for run in self.runs:
            found.setdefault((run.kind, run.depth), []).append(run)
        return found

    def errors(self, kind: str, depth: int, what: str = "train_error") -> list[float]:
        """After the last epoch, of all seeds, smallest first; percent."""
        return sorted(getattr(run.log[-1], what) for run in self.by_network()[kind, depth])

    def gap(self, kind: str) -> float:
        """Percent by which every seed of the deepest has a higher training error than any of the shallowest."""
        depths = sorted({run.depth for run in self.runs})
        return self.errors(kind, depths[-1])[0] - self.errors(kind, depths[0])[-1]

    @property
    def advantage(self) -> float:
        """Percent by which every plain seed of the deepest has a higher training error than any residual one."""
        deepest = max(run.depth for run in self.runs)
        return self.errors("plain", deepest)[0] - self.errors("residual", deepest)[-1]

    @property
    def holds(self) -> bool:
        """Whether plain networks degrade, residual ones do not and are better, on every seed, each by the margin."""
        return self.gap("plain") > MARGIN and not self.gap("residual") > MARGIN and self.advantage > MARGIN

    @property
    def verdict(self) -> str:
        """The same in words."""
        depths = sorted({run.depth for run in self.runs})
        parts = []
        for kind in KINDS:
            shallow, deep = (median(self.errors(kind, depth)) for depth in (depths[0], depths[-1]))
            how = "degrade" if self.gap(kind) > MARGIN else "do not degrade"
            parts.append(f"{kind} nets {how} ({shallow:.1f} % at {depths[0]} layers, {deep:.1f} % at {depths[-1]})")
        if not self.advantage > MARGIN:
            parts.append(f"at {depths[-1]} layers residual nets are no better")
        there = "the effect is there" if self.holds else "the effect is NOT there"
        seeds = len({run.seed for run in self.runs})
        spread = "on every seed" if seeds > 1 else "of one seed, so without a spread"
        return f"{there}: {'; '.join(parts)}; training error, {spread}, by more than {MARGIN:g} %"


def arch_of(kind: str, depth: int, width: int, data: Data) -> Arch:
    """The network for these images. Raises: RvCheckError where there is none of that depth."""
    if depth < 8 or (depth - 2) % 6:
        near = max(1, round((depth - 2) / 6))
        raise RvCheckError(f"there is no network of {depth} layers", expected=f"6n + 2 of them, as {6 * near + 2}")
    blocks, classes = (depth - 2) // 6, len(data.classes)
    path = f"{shipped_folder()}/variants/cifar.yaml"
    arguments = f"depth={blocks}, classes={classes}, width={width}"
    return load(f"{path}::{KINDS[kind]}({arguments})", input=shown_shape(data.input))


def tasks(
    data: Data, recipe: Recipe, depths: Sequence[int], seeds: Sequence[int], folder: Path, amp: bool = False
) -> list[Task]:
    """What is to be trained, the shallow ones first. Raises: RvCheckError for a depth or size that does not fit."""
    if len(set(depths)) < 2:
        raise RvCheckError("degradation shows between two depths", expected="--depth N --depth M")
    return [
        Task(f"{kind}{depth}-seed{seed}", arch, data, recipe, seed, depth, folder / f"{kind}{depth}-seed{seed}", amp)
        for depth in sorted(set(depths))
        for kind in KINDS
        for arch in [arch_of(kind, depth, recipe.width, data)]
        for seed in seeds
    ]


def study(
    tasks: Sequence[Task],
    ranks: Ranks,
    fresh: bool = False,
    tell: Callable[[Task, Epoch, bool], None] | None = None,
) -> Iterator[Trained]:
    """Each task, trained. Args and raises as of `training.train`; `tell` hears of each task's epochs."""
    for task in tasks:
        kind = next(kind for kind in KINDS if task.name.startswith(kind))

        def tell_of(epoch: Epoch, was_there: bool, task: Task = task) -> None:
            if tell is not None:
                tell(task, epoch, was_there)

        yield Trained(kind, task.layers, task.seed, train(task, ranks, fresh, tell_of))


def as_json(result: DegradationResult) -> dict[str, Any]:
    """Schema rv-check/study-degradation/1."""
    recipe = result.recipe
    return {
        "schema": SCHEMA,
        "data": result.data,
        "recipe": {
            "name": recipe.name,
            "source": recipe.source,
            "batch": recipe.batch,
            "rate": recipe.rate,
            "width": recipe.width,
            "epochs": recipe.epochs or None,
            "iterations": recipe.iterations or None,
        },
        "holds": result.holds,
        "verdict": result.verdict,
        "gaps": {kind: result.gap(kind) for kind in KINDS},
        "advantage": result.advantage,
        "runs": [
            {"kind": run.kind, "depth": run.depth, "seed": run.seed, "log": [vars(epoch) for epoch in run.log]}
            for run in result.runs
        ],
    }
