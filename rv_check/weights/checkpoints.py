"""Weights that somebody has: checkpoints and torchvision's, and what of them fits a network. Nothing is half loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rv_check.archs.arch import Arch
from rv_check.checks.of_module import check
from rv_check.errors import CannotRun, RvCheckError
from rv_check.modules.named import PRETRAINED, is_module_name, load_module
from rv_check.optional import need
from rv_check.text import first_line, listed, nearest, quote

WRAPPERS = ("module.", "_orig_mod.")  # what DataParallel and torch.compile put before every name
SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".tar")  # the end of what is meant to be a file, where there is none
WITHIN = ("state_dict", "model_state_dict", "model")  # where training scripts keep the weights


def load_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that `torch.save` wrote, by name, on the cpu; no other object is ever unpickled.

    Raises: RvCheckError where there is none, it is cut off, or it holds something else than tensors by name.
    """
    if not path.is_file():
        raise RvCheckError(
            f"{path}: there is no such file", expected="a checkpoint, or the name of torchvision's weights"
        )
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its readers do: RuntimeError, EOFError, UnpicklingError, OSError
        words = str(error)
        if "Unsupported global" in words or "Unsupported class" in words:
            wanted = "torch.save(model.state_dict(), path); objects are not loaded, since they can run anything"
            raise RvCheckError(f"{path} holds Python objects", expected=wanted) from None
        short = first_line(error) or type(error).__name__
        raise RvCheckError(f"{path} cannot be read, it may be cut off: {short}", expected="all of the file") from None
    for key in WITHIN:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found:
        raise RvCheckError(f"{path} holds a {type(found).__name__}", expected="a state_dict, tensors by name")
    other = [str(name) for name, value in found.items() if not isinstance(value, Tensor)]
    if other:
        raise RvCheckError(f"{path}: {listed(other[:5])} is no tensor", expected="a state_dict, tensors by name")
    return {str(name): value for name, value in found.items()}


def torchvision_weights(arch: str, name: str) -> Any:
    """The member of torchvision's weights of that name, as `IMAGENET1K_V1` or `DEFAULT`. Raises: RvCheckError."""
    models = need("torchvision.models")
    if name.lower() in ("pretrained", "pretrained=true", "true"):
        raise RvCheckError(PRETRAINED.message, expected=PRETRAINED.expected)
    try:
        weights = models.get_model_weights(arch)
    except ValueError:
        raise RvCheckError(f"torchvision has no weights of {quote(arch)}", expected="a file") from None
    name = name.rpartition(".")[2]
    if name not in weights.__members__:
        near = nearest(name, weights.__members__)
        expected = f"{listed(weights.__members__)}, or a file"
        raise RvCheckError(f"{arch} has no weights {quote(name)}", expected=expected, near=near)
    return weights[name]


def cached(weights: Any) -> Path:
    """The file of torchvision's weights in its cache. Raises: CannotRun where it has not been downloaded."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / str(weights.url).rpartition("/")[2]
    if not path.is_file():
        raise CannotRun(f"{weights} is not in torch's cache; download {weights.url} to {path}, or name a file of it")
    return path


def weights_of(arch: str, asked: str) -> dict[str, Tensor]:
    """The tensors of a file or of torchvision's weights in its cache. Raises: RvCheckError, CannotRun."""
    path = Path(asked)
    is_file = path.is_file() or len(path.parts) > 1 or path.suffix in SUFFIXES
    return load_checkpoint(path if is_file else cached(torchvision_weights(arch, asked)))


def read_map(path: Path) -> dict[str, str]:
    """The names of a module's tensors by those of a spec, as `check --save-map` wrote. Raises: RvCheckError."""
    try:
        names = json.loads(path.read_text(encoding="utf-8"))["map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RvCheckError(f"{path} is no map of names: {error}", expected="what check --save-map writes") from None
    return {str(expected): str(found) for expected, found in names.items()}


def names_of(told: str, arch: Arch) -> dict[str, str]:
    """What a checkpoint calls the tensors of an arch: by a map's file, or by the module that it is of, `file.py:Name`.

    Raises: RvCheckError where that module is not built as the arch is.
    """
    if not is_module_name(told):
        return read_map(Path(told))
    module = load_module(told).module
    found = check(module, arch, level="structure")
    if not found.map:
        raise RvCheckError(f"{told} is not {arch.name}, so it tells no names", details=[found.verdict])
    own = module.state_dict()
    pieces = [f"{name} is {other}" for name, other in found.map.items() if other not in own]
    if pieces:
        why = f"{told} has other parameters than {arch.name}, pieces of them or several in one"
        raise RvCheckError(why, expected="parameters that only have other names", details=pieces[:5])
    return dict(found.map)


@dataclass(frozen=True)
class Account:
    """What of a checkpoint fits a network. Names are the network's, but for those of `unknown`."""

    fits: Mapping[str, Tensor]
    missing: tuple[str, ...]  # names of the network that are not in the checkpoint
    unknown: tuple[str, ...]  # names of the checkpoint that are not in the network
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]  # found and expected
    notes: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether all of it fits."""
        return not (self.missing or self.unknown or self.shapes)

    def without(self, head: str) -> Account:
        """What is left to be said where the head is new: its own tensors are nobody's."""

        def is_head(name: str) -> bool:
            return name == head or name.startswith(f"{head}.")

        return Account(
            {name: value for name, value in self.fits.items() if not is_head(name)},
            tuple(name for name in self.missing if not is_head(name)),
            tuple(name for name in self.unknown if not is_head(name)),
            {name: shapes for name, shapes in self.shapes.items() if not is_head(name)},
            self.notes,
        )

    @property
    def lines(self) -> list[str]:
        """What it says, in words."""
        lines = [f"{len(self.fits)} tensors fit", *self.notes]
        if self.missing:
            lines.append(f"{len(self.missing)} are missing: {listed(self.missing[:5])}{_more(self.missing)}")
        if self.unknown:
            lines.append(f"{len(self.unknown)} belong nowhere: {listed(self.unknown[:5])}{_more(self.unknown)}")
        for name, (found, expected) in list(self.shapes.items())[:5]:
            lines.append(f"{name} is {list(found)}, expected {list(expected)}")
        return lines


def _more(names: Sequence[str]) -> str:
    return ", ..." if len(names) > 5 else ""


def account(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, Tensor], names: Mapping[str, str] | None = None
) -> Account:
    """What of a checkpoint fits a network of these names and shapes.

    Args: `names` what the checkpoint calls the network's tensors, where that is not the same. Counts of batches may be
    missing: torch before 0.4.1 had none.
    """
    notes = []
    for wrapper in WRAPPERS:
        if found and all(name.startswith(wrapper) for name in found):
            found = {name.removeprefix(wrapper): value for name, value in found.items()}
            notes.append(f"every name begins with {quote(wrapper)}, which is left out")
    called = {name: (names or {}).get(name, name) for name in expected}
    fits, missing, shapes = {}, [], {}
    for name, shape in expected.items():
        value = found.get(called[name])
        if value is None:
            missing += [name] * (not name.endswith("num_batches_tracked"))
        elif tuple(value.shape) != tuple(shape):
            shapes[name] = (tuple(value.shape), tuple(shape))
        else:
            fits[name] = value
    unknown = tuple(name for name in found if name not in called.values())
    if missing and unknown and names is None:
        here = [tuple(expected[name]) for name in missing]
        there = [tuple(found[name].shape) for name in unknown if not name.endswith("num_batches_tracked")]
        if sorted(here) == sorted(there):
            notes.append("the same shapes by other names: --map MODULE tells them, of the module that it was saved of")
    return Account(fits, tuple(missing), unknown, shapes, tuple(notes))


def load_into(module: nn.Module, found: Account) -> None:
    """Give a module what fits, if all of it does; else it stays as it is. Raises: RvCheckError, with the account."""
    if not found.is_whole:
        raise RvCheckError("these are not this network's weights, and none are loaded", details=found.lines)
    own = module.state_dict(keep_vars=True)
    with torch.no_grad():
        for name, value in found.fits.items():
            own[name].copy_(value)
