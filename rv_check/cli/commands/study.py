"""`rv-check study`: runs that show why residual learning works, and tables of what came out.

Everything goes to a folder, `study` unless given: the table's data as JSON, pictures as PNG and SVG, and of what is
trained KINDDEPTH-seedN.csv with its log and .pt, the checkpoint from which a run that was killed goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rv_check.cli.common import positive
from rv_check.cli.progress import Progress
from rv_check.errors import CannotRun, RvCheckError, unknown
from rv_check.optional import need, need_device
from rv_check.report import tables
from rv_check.studies.recipes import RECIPES, Recipe
from rv_check.writing import write_text

if TYPE_CHECKING:
    from rv_check.studies.datasets import Data
    from rv_check.studies.degradation import Result
    from rv_check.studies.gradients import Measured, Stack
    from rv_check.studies.training import Epoch, Task

GRADIENTS_SCHEMA = "rv-check/study-gradients/1"
DEGRADATION_SCHEMA = "rv-check/study-degradation/1"
DATA = ("digits", "cifar10", "cifar100", "images")
HELD, DID_NOT_HOLD = 0, 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """The studies, each with options of its own."""
    studies = parser.add_subparsers(metavar="STUDY", required=True)

    def study(name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub: argparse.ArgumentParser = studies.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(study=function)
        sub.add_argument("-o", "--output", metavar="FOLDER", default="study", help="where files go, study unless given")
        sub.add_argument("--no-picture", action="store_true", help="draw nothing")
        return sub

    gradients = study("gradients", gradients_study, "the first layer's gradient, with shortcuts and without")
    gradients.add_argument("--stack", action="append", metavar="NAME", help="mlp, mlp-bn, mlp-bn-relu, conv or conv-bn")
    gradients.add_argument("--depth", action="append", type=positive, metavar="N", help="blocks, or layers of conv")
    gradients.add_argument("--seeds", type=positive, metavar="N", help="50 of each mlp and 5 of each conv unless given")
    gradients.add_argument("--steps", type=positive, metavar="N", help="also after so many steps of training")
    gradients.add_argument("--rate", type=_rate, default=0.01, metavar="X", help="of these steps, 0.01 unless given")
    gradients.add_argument("--along", action="store_true", help="also every layer of the deepest networks")
    gradients.add_argument("--json", action="store_true", help=f"one object, schema {GRADIENTS_SCHEMA}")

    degradation = study("degradation", degradation_study, "training error by depth, with shortcuts and without")
    degradation.add_argument("--data", choices=DATA, default="digits", help="digits (of scikit-learn) unless given")
    degradation.add_argument(
        "--folder", metavar="FOLDER", help="of cifar10 and cifar100, or of train/ and test/ images"
    )
    degradation.add_argument("--download", action="store_true", help="CIFAR into the folder, if it is not there")
    degradation.add_argument("--size", type=positive, metavar="N", help="pixels a side that images are resized to")
    degradation.add_argument("--recipe", choices=RECIPES, default="quick", help="quick unless given; paper for a GPU")
    degradation.add_argument(
        "--depth", action="append", type=positive, metavar="N", help="layers, 6n + 2; twice or more"
    )
    degradation.add_argument("--seeds", type=positive, metavar="N", help="networks of each depth and kind")
    degradation.add_argument("--epochs", type=positive, metavar="N", help="instead of the recipe's")
    degradation.add_argument("--batch", type=positive, metavar="N", help="images, likewise")
    degradation.add_argument("--rate", type=_rate, metavar="X", help="learning rate, likewise")
    degradation.add_argument("--width", type=positive, metavar="N", help="channels of the first stage, likewise")
    degradation.add_argument("--device", default="cpu", help="cpu or cuda; of each process that torchrun starts")
    degradation.add_argument("--amp", action="store_true", help="bfloat16 where it is safe")
    degradation.add_argument("--fresh", action="store_true", help="begin anew, whatever checkpoints there are")
    degradation.add_argument("--by-epoch", action="store_true", help="also the errors after each epoch")
    degradation.add_argument("--json", action="store_true", help=f"one object, schema {DEGRADATION_SCHEMA}")


def run(options: argparse.Namespace) -> int:
    """Run the study that was asked for."""
    need("torch")
    status: int = options.study(options)
    return status


def _rate(text: str) -> float:
    """A learning rate, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _folder(name: str) -> Path:
    """Where the files of a study go, made if it is not there. Raises: RvCheckError before any work."""
    path = Path(name)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RvCheckError(f"{path} cannot be written to: {error.strerror or error}") from None
    return path


def _draw(options: argparse.Namespace, draw: Callable[[], list[Path]]) -> None:
    """The pictures, or on stderr why there are none: the work is not lost."""
    if options.no_picture:
        return
    try:
        written = draw()
    except CannotRun as error:
        print(f"rv-check: no picture: {error}", file=sys.stderr)
    else:
        print(f"rv-check: the pictures are {' and '.join(map(str, written))}", file=sys.stderr)


# Gradients


def gradients_study(options: argparse.Namespace) -> int:
    """The table, its data and its picture. It measures and has no expectation: the status is 0."""
    from rv_check.studies import gradients as gradient_runs
    from rv_check.studies.curves import draw_gradients

    for name in options.stack or ():
        if name not in gradient_runs.STACKS:
            raise unknown("stack", name, gradient_runs.STACKS)
    folder = _folder(options.output)
    stacks = [stack for name, stack in gradient_runs.STACKS.items() if name in (options.stack or gradient_runs.STACKS)]
    found = _measure(stacks, options)
    data = gradient_runs.as_json(found, options.rate)
    write_text(folder / "gradients.json", json.dumps(data, indent=2) + "\n")
    print(json.dumps(data, indent=2) if options.json else gradients_text(found, options.along))
    _draw(options, lambda: draw_gradients(found, folder / "gradients"))
    return HELD


def _measure(stacks: Sequence[Stack], options: argparse.Namespace) -> list[Measured]:
    from rv_check.studies.gradients import study

    after = (0, options.steps) if options.steps else (0,)
    depths = {stack.name: options.depth or stack.depths for stack in stacks}
    progress = Progress(len(after) * sum(depth for of_stack in depths.values() for depth in of_stack))
    found = []
    for steps in after:
        for one in study(stacks, options.depth, options.seeds, steps, options.rate):
            found.append(one)
            progress.step(f"{one.stack.name}, {one.depth} {one.stack.unit}", one.depth)
    progress.close()
    return found


def gradients_text(found: Sequence[Measured], along: bool = False) -> str:
    """A line for each stack and depth: medians over the seeds, and the smallest and largest ratio."""
    rows = [_row(one) for one in found]
    headers = (
        "stack",
        "depth",
        "steps",
        "residual",
        "plain",
        "ratio",
        "smallest",
        "largest",
        "seeds",
        "with shortcuts",
    )
    text = tables.table((*headers, "plain in float32"), rows, "lrrrrrrrrll")
    blocks = dict.fromkeys(f"{one.stack.name}: {one.stack.block}" for one in found)
    parts = ["|gradient| of the first weight, with shortcuts and without; the same weights and data", text]
    parts.append("\n".join(blocks))
    if along:
        parts += [_along(one) for one in {(one.stack.name, one.steps): one for one in found}.values()]
    return "\n\n".join(parts)


def _row(one: Measured) -> tuple[str, ...]:
    first = next(iter(one.runs[0].plain))
    norms = [f"{one.along(kind)[first]:.2g}" for kind in ("residual", "plain")]
    ratios = (
        [f"{value:.2g}" for value in (median(one.ratios), one.ratios[0], one.ratios[-1])] if one.ratios else [""] * 3
    )
    depth = f"{one.depth} {one.stack.unit}"
    counts = (str(len(one.runs)), one.verdict, one.lost_in_float32)
    return (one.stack.name, depth, str(one.steps), *norms, *ratios, *counts)


def _along(one: Measured) -> str:
    """Every weight of the main path."""
    residual, plain = one.along("residual"), one.along("plain")
    rows = [(name, f"{residual[name]:.2g}", f"{plain[name]:.2g}") for name in plain]
    title = f"{one.stack.name}, {one.depth} {one.stack.unit}, after {one.steps} steps: |gradient|, median over seeds"
    return f"{title}\n\n{tables.table(('weight', 'residual', 'plain'), rows, 'lrr')}"


# Degradation


def degradation_study(options: argparse.Namespace) -> int:
    """Both kinds of networks, trained at growing depths. The status is 1 where the effect is not there."""
    from rv_check.modules.processes import joined
    from rv_check.studies import degradation as degradation_runs
    from rv_check.studies.curves import draw_degradation

    need_device(options.device)
    folder = _folder(options.output)
    recipe = _recipe(options)
    data = _data(options)
    depths, seeds = options.depth or recipe.depths, range(options.seeds or recipe.seeds)
    tasks = degradation_runs.tasks(data, recipe, depths, seeds, folder, options.amp)
    progress = Progress(sum(task.layers * task.plan.epochs for task in tasks))

    def tell(task: Task, epoch: Epoch, was_there: bool) -> None:
        errors = f"training error {epoch.train_error:.1f} %, test error {epoch.test_error:.1f} %"
        where = f"{task.name}, epoch {epoch.epoch} of {task.plan.epochs}"
        progress.step(f"{where}: {errors}", task.layers, not was_there)

    with joined(options.device) as ranks:
        runs = tuple(degradation_runs.study(tasks, ranks, options.fresh, tell))
        if not ranks.first:
            return HELD
    progress.close()
    result = degradation_runs.Result(data.name, recipe, runs)
    found = degradation_runs.as_json(result)
    write_text(folder / "degradation.json", json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2) if options.json else degradation_text(result, options.by_epoch))
    _draw(options, lambda: draw_degradation(result, folder / "degradation"))
    return HELD if result.holds else DID_NOT_HOLD


def _recipe(options: argparse.Namespace) -> Recipe:
    """The recipe by name, with what the options change in it."""
    recipe = RECIPES[options.recipe]
    changes = {name: getattr(options, name) for name in ("batch", "rate", "width") if getattr(options, name)}
    if options.epochs:
        changes |= {"epochs": options.epochs, "iterations": 0}
    return replace(recipe, **changes)


def _data(options: argparse.Namespace) -> Data:
    """The images. Raises: RvCheckError for options that do not go together."""
    from rv_check.studies import datasets

    if options.data == "digits":
        if options.folder is not None or options.download:
            raise RvCheckError("digits come with scikit-learn, and take no --folder and no --download")
        return datasets.digits(options.size)
    if options.folder is None:
        raise RvCheckError(f"where are the images of {options.data}?", expected="--folder FOLDER")
    if options.data == "images":
        if options.download:
            raise RvCheckError("--download is for cifar10 and cifar100")
        return datasets.image_folder(Path(options.folder), options.size)
    if options.size is not None:
        raise RvCheckError("--size is for digits and images: those of CIFAR have 32 x 32 pixels")
    return datasets.cifar(int(options.data.removeprefix("cifar")), Path(options.folder), options.download)


def degradation_text(result: Result, by_epoch: bool = False) -> str:
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


def _by_epoch(result: Result) -> str:
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
