"""How a network is trained: batches, learning rate by iteration, augmentation. Plain data, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from rv_check.errors import RvCheckError

DROP = 10.0  # what the learning rate is divided by


@dataclass(frozen=True)
class Recipe:
    """Stochastic gradient descent with momentum, for so many epochs or iterations.

    `rate` is divided by ten at each of `drops`, shares of all iterations. Networks of `warm_from` layers and more begin
    with `warm_rate` for `warm_iterations`. `augment`: images are padded by 4 pixels, cropped at random, and flipped
    every other time. `width`, `depths` and `seeds` are those that the degradation study has with it.
    """

    name: str
    source: str
    batch: int
    rate: float
    width: int
    depths: tuple[int, ...]
    seeds: int
    epochs: int = 0
    iterations: int = 0
    drops: tuple[float, ...] = (0.5, 0.75)
    momentum: float = 0.9
    decay: float = 1e-4
    augment: bool = False
    warm_from: int = 0
    warm_rate: float = 0.0
    warm_iterations: int = 0

    def of(self, images: int, layers: int) -> TrainingPlan:
        """What it comes to for a training set and a network. Raises: RvCheckError for fewer images than a batch."""
        if images < self.batch:
            raise RvCheckError(f"{images} images are less than a batch of {self.batch}", expected="a smaller --batch")
        steps = images // self.batch  # the rest has its turn in another epoch
        total = self.iterations or self.epochs * steps
        warm = self.warm_iterations if self.warm_from and layers >= self.warm_from else 0
        return TrainingPlan(self, steps, total, warm)


@dataclass(frozen=True)
class TrainingPlan:
    """A recipe for one network: iterations an epoch, in all, and those of its warm-up."""

    recipe: Recipe
    steps: int
    total: int
    warm: int

    @property
    def epochs(self) -> int:
        """The last one may be cut short."""
        return -(-self.total // self.steps)

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0."""
        if iteration < self.warm:
            return self.recipe.warm_rate
        passed = sum(iteration >= drop * self.total for drop in self.recipe.drops)
        return self.recipe.rate / DROP**passed


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="quick",
            source="chosen for scikit-learn's digits on two cores",
            batch=64,
            rate=0.02,
            width=8,
            depths=(20, 32, 56),
            seeds=3,
            epochs=20,
        ),
        Recipe(
            name="paper",
            source="He et al. 2015 (arXiv:1512.03385) Section 4.2, on all training images",
            batch=128,
            rate=0.1,
            width=16,
            depths=(20, 32, 44, 56, 110),
            seeds=1,
            iterations=64_000,
            augment=True,
            warm_from=110,
            warm_rate=0.01,
            warm_iterations=400,  # "until the training error is below 80% (about 400 iterations)"
        ),
    )
}
