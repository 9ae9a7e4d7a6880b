"""Trains a network by a recipe: deterministic, resumable after a kill, on one device or, by torchrun, on several.

An epoch draws its order and its augmentation from its own seed, so that a checkpoint at the end of an epoch is all that
the rest depends on. On several devices each takes its share of every batch and norms it by itself, as in the paper;
one of them writes and tells.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from rv_check.archs.arch import Arch
from rv_check.errors import RvCheckError
from rv_check.modules.build import build
from rv_check.modules.guard import run_theirs
from rv_check.modules.processes import ALONE, Ranks
from rv_check.modules.torch_state import seeded, steady
from rv_check.studies.datasets import Data
from rv_check.studies.recipes import Recipe, TrainingPlan
from rv_check.writing import write_bytes, write_text

CHECKPOINT = "rv-check/checkpoint/1"
PADDING = 4  # pixels on each side, before a crop
EVALUATED = 1000  # images at a time
SEEDS = 1_000_003  # apart: no epoch of one run has the seed of another's


@dataclass(frozen=True)
class Epoch:
    """What an epoch gave. Errors in percent: of the training images while it trained, of the test images after."""

    epoch: int  # counted from 1
    rate: float  # learning rate of its last iteration
    loss: float
    train_error: float
    test_error: float


@dataclass(frozen=True, eq=False)
class Task:
    """One network to be trained: `layers` as a recipe counts them, `path` of its checkpoint and log, without ending."""

    name: str
    arch: Arch
    data: Data
    recipe: Recipe
    seed: int
    layers: int
    path: Path
    amp: bool = False

    @property
    def plan(self) -> TrainingPlan:
        """Its iterations."""
        return self.recipe.of(len(self.data.train), self.layers)

    def settings(self, size: int) -> dict[str, Any]:
        """Everything that its result depends on, but for the device; `size` of the ranks."""
        recipe = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self.recipe).items()}
        for key in ("name", "source", "width", "depths", "seeds"):  # these are of the study, or words
            del recipe[key]
        data = {"data": self.data.name, "images": self.data.fingerprint, "classes": len(self.data.classes)}
        network = {"arch": self.arch.name, "input": list(self.arch.input), "seed": self.seed}
        return network | data | recipe | {"amp": self.amp, "processes": size}


def train(
    task: Task, ranks: Ranks = ALONE, fresh: bool = False, tell: Callable[[Epoch, bool], None] | None = None
) -> tuple[Epoch, ...]:  # fmt: skip
    """Train it, from its checkpoint if it has one, and leave a checkpoint and a log (.pt, .csv) after each epoch.

    Args: `fresh` begins anew. `tell` hears of each epoch, and whether it was there already.
    Raises: RvCheckError for a checkpoint of something else or one that cannot be read, or a loss that is not finite.
    """
    if task.recipe.batch % ranks.size:
        raise RvCheckError(f"a batch of {task.recipe.batch} cannot be shared by {ranks.size} processes equally")
    with steady(), seeded(task.seed), _deterministic():
        model = build(task.arch).to(ranks.device)
        optimiser = torch.optim.SGD(
            model.parameters(), lr=task.recipe.rate, momentum=task.recipe.momentum, weight_decay=task.recipe.decay
        )
        log = [] if fresh else _resume(task, ranks, model, optimiser)
        for epoch in log:
            _tell(tell, epoch, was_there=True)
        if len(log) < task.plan.epochs:
            _go_on(task, ranks, model, optimiser, log, tell)
        return tuple(log)


@contextmanager
def _deterministic() -> Iterator[None]:
    """cuDNN's convolutions the same each time inside, as they were after."""
    cudnn: Any = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before


def _go_on(
    task: Task,
    ranks: Ranks,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    log: list[Epoch],
    tell: Callable[[Epoch, bool], None] | None,
) -> None:
    images, tests = task.data.normalised(ranks.device)
    labels, test_labels = task.data.train_labels.to(ranks.device), task.data.test_labels.to(ranks.device)
    shared = ranks.wrap(model)
    for number in range(len(log) + 1, task.plan.epochs + 1):
        with seeded(task.seed * SEEDS + number):
            rate, loss, error = _epoch(task, ranks, shared, optimiser, number, images, labels)
        if not math.isfinite(loss):
            good = (
                f"the last good checkpoint: {task.path}.pt, of epoch {number - 1}"
                if log
                else "there is no good one yet"
            )
            what = f"the loss of {task.name} is {loss} in epoch {number}"
            raise RvCheckError(what, details=[good], expected="a smaller --rate")
        if not ranks.first:
            log.append(Epoch(number, rate, loss, error, math.nan))
            continue
        log.append(Epoch(number, rate, loss, error, _error(model, tests, test_labels, task.amp)))
        _save(task, ranks, model, optimiser, log)
        _tell(tell, log[-1], was_there=False)


def _tell(tell: Callable[[Epoch, bool], None] | None, epoch: Epoch, *, was_there: bool) -> None:
    if tell is not None:
        tell(epoch, was_there)


def _epoch(
    task: Task,
    ranks: Ranks,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    number: int,
    images: Tensor,
    labels: Tensor,
) -> tuple[float, float, float]:
    """One turn through the training images. Returns: the last rate, the mean loss, and the error in percent."""
    plan, batch = task.plan, task.recipe.batch
    generator = torch.Generator().manual_seed(task.seed * SEEDS + number)
    order = torch.randperm(len(labels), generator=generator)
    totals = torch.zeros(3, dtype=torch.float64, device=ranks.device)  # loss, mistakes, images
    first = (number - 1) * plan.steps
    rate = 0.0
    model.train()
    for step in range(min(plan.steps, plan.total - first)):
        rate = plan.rate(first + step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        chosen = order[step * batch : (step + 1) * batch].to(ranks.device)
        x, y = images[chosen], labels[chosen]
        if task.recipe.augment:
            x = augmented(x, generator)
        x, y = x[ranks.rank :: ranks.size], y[ranks.rank :: ranks.size]
        with _precision(task.amp, x):
            z = model(x)
        loss = nn.functional.cross_entropy(z.float(), y)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        totals += torch.stack([loss.detach() * len(y), (z.argmax(1) != y).sum(), y.new_tensor(len(y))]).double()
    if ranks.size > 1:
        dist.all_reduce(totals)
    loss_sum, mistakes, seen = totals.tolist()
    return rate, loss_sum / seen, 100 * mistakes / seen


def augmented(x: Tensor, generator: torch.Generator) -> Tensor:
    """Images (N, C, H, W) padded by 4 zeros a side and cropped at random to (H, W), every other one flipped."""
    n, _, rows, columns = x.shape
    top, left = torch.randint(0, 2 * PADDING + 1, (2, n, 1), generator=generator).to(x.device)
    flip = torch.rand((n, 1), generator=generator).to(x.device) < 0.5
    padded = nn.functional.pad(x, (PADDING,) * 4)
    down = top + torch.arange(rows, device=x.device)
    along = torch.arange(columns, device=x.device).expand(n, columns)
    across = left + torch.where(flip, columns - 1 - along, along)
    which = torch.arange(n, device=x.device)[:, None, None]
    return padded[which, :, down[:, :, None], across[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _precision(amp: bool, x: Tensor) -> Any:
    """bfloat16 where it is safe, which needs no scaling of the loss."""
    return torch.autocast(x.device.type, dtype=torch.bfloat16) if amp else nullcontext()


def _error(model: nn.Module, images: Tensor, labels: Tensor, amp: bool) -> float:
    """The error in percent, in eval mode."""
    model.eval()
    mistakes = 0
    with torch.no_grad(), _precision(amp, images):
        for x, y in zip(torch.split(images, EVALUATED), torch.split(labels, EVALUATED), strict=True):
            mistakes += int((model(x).argmax(1) != y).sum())
    return 100 * mistakes / len(labels)


# Checkpoints and logs


def _save(
    task: Task, ranks: Ranks, model: nn.Module, optimiser: torch.optim.Optimizer, log: list[Epoch]
) -> None:  # fmt: skip
    """The checkpoint, whole or not at all, and the log."""
    state = {
        "schema": CHECKPOINT,
        "settings": task.settings(ranks.size),
        "log": [list(astuple(epoch)) for epoch in log],
    }
    state |= {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([field.name for field in fields(Epoch)])
    rows.writerows(map(astuple, log))
    write_bytes(task.path.with_name(f"{task.path.name}.pt"), buffer.getvalue())
    write_text(task.path.with_name(f"{task.path.name}.csv"), text.getvalue())


def _resume(task: Task, ranks: Ranks, model: nn.Module, optimiser: torch.optim.Optimizer) -> list[Epoch]:
    """The epochs of its checkpoint, loaded; none if there is no checkpoint."""
    path = task.path.with_name(f"{task.path.name}.pt")
    if not path.exists():
        return []
    load: Callable[[], Any] = lambda: torch.load(path, map_location=ranks.device, weights_only=True)  # noqa: E731
    state = run_theirs(f"the checkpoint {path} cannot be read (--fresh begins anew)", load)
    if not isinstance(state, dict) or state.get("schema") != CHECKPOINT:
        raise RvCheckError(f"{path} is no checkpoint of a study", expected=f"schema {CHECKPOINT}; --fresh begins anew")
    _see_that_it_fits(path, state["settings"], task.settings(ranks.size))
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    return [Epoch(*values) for values in state["log"]]


def _see_that_it_fits(path: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    differ = [name for name in expected if found.get(name) != expected[name]]
    if differ:
        name = differ[0]
        what = f"the checkpoint {path} is of {name} {found.get(name)}, and this is {name} {expected[name]}"
        raise RvCheckError(what, expected="another --output, or --fresh, which begins anew")
