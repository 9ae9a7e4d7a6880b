"""Options that several commands have, each with one help text. What belongs together is read here, too."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from rv_check.checks.findings import LEVELS, Level, up_to

ARCH = "resnet50, 'resnet50(classes=10)' or path/to/file.yaml::arch"
ARCH_OR_MODULE = "an arch, or a module: file.py:Name or pkg.mod:Name"


# Numbers


def positive(text: str) -> int:
    """A number of 1 or more, for argparse. Raises: argparse.ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def from_zero(text: str) -> int:
    """A number of 0 or more, for argparse. Raises: argparse.ArgumentTypeError."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return int(text)


def above_zero(text: str) -> float:
    """A finite number above 0, for argparse. Raises: argparse.ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


# The answer


def json_of(parser: argparse._ActionsContainer, schema: str) -> None:
    """--json: the answer as one object of that schema."""
    parser.add_argument("--json", action="store_true", help=f"one object, schema {schema}")


def form(parser: argparse.ArgumentParser, forms: Sequence[str], schema: str) -> None:
    """--format, one of `forms`, of which text is the first; --json is its json."""
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--format", dest="form", choices=forms, default="text", help="how it is printed")
    json_of(either, schema)


def form_of(options: argparse.Namespace) -> str:
    """How the answer is to be printed: json, text, or another --format."""
    return "json" if options.json else getattr(options, "form", "text")


# The subject


def input_size(parser: argparse._ActionsContainer) -> None:
    """--input, as `parse_size` reads it, and of a module `parse_inputs`."""
    words = (
        "what goes in: an image, or whatever a module takes, as '3 64 64, mask: bool 64 64'; unless given that of the "
        "arch, what the module's file says by example_inputs(), 3 224 224, or what the module tells"
    )
    parser.add_argument("--input", metavar="'C H W'", help=words)


def keywords(parser: argparse.ArgumentParser) -> None:
    """--kwargs, as `parse_arguments` reads it."""
    words = 'arguments of a class or factory, as {"num_classes": 10}'
    parser.add_argument("--kwargs", metavar="JSON", help=words)


def call(parser: argparse.ArgumentParser) -> None:
    """--call: how the class of a block is called."""
    words = 'of the class, as "in_channels=C, out_channels=4*width, stride=stride"'
    parser.add_argument("--call", metavar="ARGUMENTS", help=words)


def weights(parser: argparse.ArgumentParser, required: bool) -> None:
    """--weights, and --map for the names in them."""
    parser.add_argument("--weights", required=required, metavar="FILE|NAME", help="a checkpoint, or torchvision's name")
    words = "its names: the module that it was saved of, file.py:Name, or what check --save-map wrote of it"
    parser.add_argument("--map", metavar="MODULE|FILE", help=words)


# How it is run


def device(parser: argparse._ActionsContainer, unless_given: str | None = "cpu") -> None:
    """--device. `unless_given`: None where CUDA is taken if it is there."""
    words = f"{unless_given or 'CUDA where there is one'} unless given"
    parser.add_argument("--device", default=unless_given, help=f"where models run, as torch names it; {words}")


def batch(parser: argparse.ArgumentParser, unless_given: int) -> None:
    """--batch: one number of images."""
    words = f"images at a time, {unless_given} unless given"
    parser.add_argument("--batch", type=positive, default=unless_given, metavar="N", help=words)


def jobs(parser: argparse._ActionsContainer) -> None:
    """--jobs: archs that are checked at once."""
    words = "archs checked at once; unless given as many as there are cores, and as fit into memory; on CUDA 1"
    parser.add_argument("--jobs", type=positive, metavar="N", help=words)


@dataclass(frozen=True)
class StepOptions:
    """A training step, as far as its memory depends on it: images at a time, type of numbers, optimiser."""

    batch: int
    dtype: str
    optimiser: str


def step(parser: argparse.ArgumentParser, images: int) -> None:
    """--batch, `images` unless given, --dtype and --optimiser."""
    batch(parser, images)
    parser.add_argument("--dtype", default="float32", help="of the numbers, float32 unless given")
    parser.add_argument("--optimiser", default="momentum", help="sgd, momentum or adam, of the memory")


def step_of(options: argparse.Namespace) -> StepOptions:
    """What these options say."""
    return StepOptions(options.batch, options.dtype, options.optimiser)


# Evidence


@dataclass(frozen=True)
class Evidence:
    """How much is checked, where, and what must hold. `deviations`: a file of known ones."""

    level: Level | None
    require: Level | None
    device: str
    deviations: str | None

    @property
    def levels(self) -> tuple[Level, ...]:
        """The level asked for and the cheaper ones; all where none is."""
        return up_to(self.level)


def require(parser: argparse.ArgumentParser) -> None:
    """--require, of commands that may have to skip something."""
    parser.add_argument("--require", choices=LEVELS, help="a skip at this level or a lower one is a failure")


def evidence(parser: argparse.ArgumentParser) -> None:
    """The options that say how much is checked, where, and what must hold."""
    parser.add_argument("--level", choices=LEVELS, help="check up to this level of evidence; all unless given")
    require(parser)
    device(parser)
    parser.add_argument("--deviations", metavar="FILE", help="a file of known deviations")


def evidence_of(options: argparse.Namespace) -> Evidence:
    """What these options say."""
    return Evidence(options.level, options.require, options.device, options.deviations)
