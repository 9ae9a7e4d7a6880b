"""`rv-check study degradation`: training error by depth, with shortcuts and without.

degradation.json, and --json, schema rv-check/study-degradation/1.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from rv_check.cli import options as shared
from rv_check.cli.commands.study import draw, folder_of
from rv_check.cli.console import DID_NOT_HOLD, HELD, Answer, Console
from rv_check.errors import RvCheckError
from rv_check.optional import need_device
from rv_check.report import tables
from rv_check.studies.recipes import RECIPES, Recipe
from rv_check.writing import write_text

if TYPE_CHECKING:
    from rv_check.studies.datasets import Data
    from rv_check.studies.degradation import DegradationResult
    from rv_check.studies.training import Epoch, Task

SCHEMA = "rv-check/study-degradation/1"
DATA = ("digits", "cifar10", "cifar100", "images")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the study."""
    parser.add_argument("--data", choices=DATA, default="digits", help="digits (of scikit-learn) unless given")
    parser.add_argument("--folder", metavar="FOLDER", help="of cifar10 and cifar100, or of train/ and test/ images")
    parser.add_argument("--download", action="store_true", help="CIFAR into the folder, if it is not there")
    words = "pixels a side that images are resized to"
    parser.add_argument("--size", type=shared.positive, metavar="N", help=words)
    parser.add_argument("--recipe", choices=RECIPES, default="quick", help="quick unless given; paper for a GPU")
    words = "layers, 6n + 2; twice or more"
    parser.add_argument("--depth", action="append", type=shared.positive, metavar="N", help=words)
    parser.add_argument("--seeds", type=shared.positive, metavar="N", help="networks of each depth and kind")
    parser.add_argument("--epochs", type=shared.positive, metavar="N", help="instead of the recipe's")
    parser.add_argument("--batch", type=shared.positive, metavar="N", help="images, likewise")
    parser.add_argument("--rate", type=shared.above_zero, metavar="X", help="learning rate, likewise")
    words = "channels of the first stage, likewise"
    parser.add_argument("--width", type=shared.positive, metavar="N", help=words)
    shared.device(parser)
    parser.add_argument("--amp", action="store_true", help="bfloat16 where it is safe")
    parser.add_argument("--fresh", action="store_true", help="begin anew, whatever checkpoints there are")
    parser.add_argument("--by-epoch", action="store_true", help="also the errors after each epoch")
    shared.json_of(parser, SCHEMA)


def run(options: argparse.Namespace, console: Console) -> Answer | None:
    """Both kinds of networks, trained at growing depths. The status is 1 where the effect is not there.

    None in other processes than the first of torchrun's. Raises: RvCheckError.
    """
    from rv_check.modules.processes import joined
    from rv_check.studies import degradation
    from rv_check.studies.curves import draw_degradation

    need_device(options.device)
    folder = folder_of(options.output)
    changes = {name: getattr(options, name) for name in ("batch", "rate", "width", "epochs") if getattr(options, name)}
    recipe = _recipe(options.recipe, changes)
    data = _data(options.data, options.folder, options.size, options.download)
    depths, seeds = options.depth or recipe.depths, range(options.seeds or recipe.seeds)
    tasks = degradation.tasks(data, recipe, depths, seeds, folder, options.amp)
    parts = sum(task.layers * task.plan.epochs for task in tasks)
    with joined(options.device) as ranks:
        if not ranks.first:
            list(degradation.study(tasks, ranks, options.fresh))
            return None
        with console.progress(parts) as progress:

            def tell(task: Task, epoch: Epoch, was_there: bool) -> None:
                errors = f"training error {epoch.train_error:.1f} %, test error {epoch.test_error:.1f} %"
                where = f"{task.name}, epoch {epoch.epoch} of {task.plan.epochs}"
                progress.step(task.layers, f"{where}: {errors}", not was_there)

            runs = tuple(degradation.study(tasks, ranks, options.fresh, tell))
    result = degradation.DegradationResult(data.name, recipe, runs)
    found = degradation.as_json(result)
    write_text(folder / "degradation.json", json.dumps(found, indent=2) + "\n")
    if not options.no_picture:
        draw(lambda: draw_degradation(result, folder / "degradation"), console)
    status = HELD if result.holds else DID_NOT_HOLD
    return Answer(lambda: found, partial(text, result, options.by_epoch), status)


def _recipe(name: str, changes: dict[str, Any]) -> Recipe:
    """The recipe by name, with these changes; where they are of epochs, these count and not the iterations."""
    if "epochs" in changes:
        changes = {**changes, "iterations": 0}
    return replace(RECIPES[name], **changes)


def _data(name: str, folder: str | None, size: int | None, download: bool) -> Data:
    """The images. Raises: RvCheckError for options that do not go together."""
    from rv_check.studies import datasets

    if name == "digits":
        if folder is not None or download:
            raise RvCheckError("digits come with scikit-learn, and take no --folder and no --download")
        return datasets.digits(size)
    if folder is None:
        raise RvCheckError(f"where are the images of {name}?", expected="--folder FOLDER")
    if name == "images":
        if download:
            raise RvCheckError("--download is for cifar10 and cifar100")
        return datasets.image_folder(Path(folder), size)
    if size is not None:
        raise RvCheckError("--size is for digits and images: those of CIFAR have 32 x 32 pixels")
    return datasets.cifar(int(name.removeprefix("cifar")), Path(folder), download)


def text(result: DegradationResult, by_epoch: bool = False) -> str:
    """A line for each network: training and test error after the last epoch, median and range over the seeds."""
    recipe = result.recipe
    rows = []
    for kind, depth in result.by_network():
        errors = [result.errors(kind, depth, what) for what in ("train_error", "test_error")]
        cells = [cell for some in errors for cell in (f"{median(some):.1f}", f"{some[0]:.1f} to {some[-1]:.1f}")]
        rows.append((f"{kind} {depth}", *cells, str(len(errors[0]))))
    headers = ("network", "training error %", "range", "test error %", "range", "seeds")
    length = f"{recipe.iterations:,} iterations" if recipe.iterations else f"{recipe.epochs} epochs"
    how = f"recipe {recipe.name}: {length}, batch {recipe.batch}, rate {recipe.rate:g}, width {recipe.width}"
    parts = [f"{result.data}, {how}", tables.table(headers, rows, "lrrrrr"), result.verdict]
    if by_epoch:
        parts.insert(2, _by_epoch(result))
    return "\n\n".join(parts)


def _by_epoch(result: DegradationResult) -> str:
    """Training and test error of each network by epoch, medians over the seeds."""
    networks = result.by_network()
    headers = ["epoch", *(f"{kind} {depth}" for kind, depth in networks)]
    rows = []
    for at in range(len(result.runs[0].log)):
        cells = []
        for runs in networks.values():
            train, test = (median(getattr(run.log[at], what) for run in runs) for what in ("train_error", "test_error"))
            cells.append(f"{train:.1f} / {test:.1f}")
        rows.append((str(at + 1), *cells))
    return "training / test error %, medians over the seeds\n\n" + tables.table(headers, rows, "r" * len(headers))
