"""Top-1 and top-5 of weights on a folder of images, against what is published of them. A killed run goes on."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rv_check.archs.arch import Arch
from rv_check.errors import RvCheckError
from rv_check.language.definitions import Published
from rv_check.modules.build import build
from rv_check.optional import need
from rv_check.text import first_line
from rv_check.weights.checkpoints import SUFFIXES, account, load_into, names_of, torchvision_weights, weights_of
from rv_check.writing import writable, write_text

STATE = "rv-check/accuracy-state/1"
Z = 1.959963984540054  # the normal distribution has 95 % within so many deviations
RESIZE = 256 / 224  # the shorter side over the crop (Krizhevsky et al. 2012), where weights do not say


@dataclass(frozen=True)
class Counts:
    """Images seen, and how many of their labels were the first, or among the first five, of the outputs."""

    images: int = 0
    top1: int = 0
    top5: int = 0


@dataclass(frozen=True)
class Share:
    """A share in percent, with its interval of 95 % for the number of images (Wilson 1927)."""

    percent: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, images: int) -> Share:
        """The share of so many hits."""
        p, zz = hits / images, Z * Z / images
        middle = (p + zz / 2) / (1 + zz)
        half = Z * math.sqrt(p * (1 - p) / images + zz / images / 4) / (1 + zz)
        return cls(100 * p, 100 * (middle - half), 100 * (middle + half))

    def holds(self, published: float) -> bool:
        """Whether a published value lies within."""
        return self.low <= published <= self.high


def measure(
    arch: Arch,
    weights: str,
    folder: Path,
    batch: int = 64,
    device: str = "cpu",
    state: Path | None = None,
    seen: Callable[[int, int], None] = lambda done, images: None,
    names: str | None = None,
) -> Counts:
    """The counts of all images of a folder, `CLASS/IMAGE`, classes in the order of their names.

    Args: `weights` a file, or a name of torchvision's in its cache, with their own transforms, or those of torchvision
    at the arch's input; `state` a file that keeps what was counted, so that a run that was stopped goes on; `seen` is
    told how many images are done, of how many; `names` what the weights call the arch's tensors, as for `names_of`.
    Raises: RvCheckError for weights of another network, a folder without images or with other classes, an image that
    cannot be read, a state of another run; CannotRun without torchvision or the weights.
    """
    datasets = need("torchvision.datasets")
    model = build(arch)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    called = names_of(names, arch) if names else None
    found = account(shapes, weights_of(arch.entry.name, weights), called)
    load_into(model, found)
    images = _images(datasets, folder)
    outputs = arch.tree.root.y[-1]
    if len(images.classes) != outputs:
        raise RvCheckError(
            f"{folder} has {len(images.classes)} classes, and {arch.name} {outputs}",
            expected=f"a folder for each class, in the order of the outputs, or {arch.entry.name}(classes=N)",
        )
    run = _identity(arch, found.fits, images.samples, folder) if state else ""
    counts = _resumed(state, run) if state else Counts()
    transform = _transform(arch, weights)
    model = model.to(device).eval()
    samples = images.samples
    while counts.images < len(samples):
        some = samples[counts.images : counts.images + batch]
        x = torch.stack([_read(Path(path), transform) for path, _ in some]).to(device)
        with torch.inference_mode():
            best = model(x).flatten(1).topk(min(5, outputs)).indices.cpu()
        hits = best == torch.tensor([label for _, label in some])[:, None]
        counts = Counts(
            counts.images + len(some), counts.top1 + int(hits[:, 0].sum()), counts.top5 + int(hits.any(1).sum())
        )
        if state:
            write_text(state, json.dumps({"schema": STATE, "run": run, **vars(counts)}))
        seen(counts.images, len(samples))
    return counts


def published(arch: Arch, weights: str) -> dict[str, Published]:
    """What is published of these weights, by metric: of torchvision's, by their name in the source."""
    if not arch.is_declared or _is_file(weights):
        return {}
    name = torchvision_weights(arch.entry.name, weights).name
    found = {e.metric: e for e in arch.entry.published if e.metric in ("top1", "top5") and f".{name}." in e.source}
    return found


def _is_file(weights: str) -> bool:
    path = Path(weights)
    return path.is_file() or len(path.parts) > 1 or path.suffix in SUFFIXES


def _images(datasets: Any, folder: Path) -> Any:
    if not folder.is_dir():
        raise RvCheckError(f"there is no folder {folder}", expected="CLASS/IMAGE in it")
    try:
        return datasets.ImageFolder(str(folder), loader=lambda path: path)
    except FileNotFoundError as error:
        raise RvCheckError(f"{folder} has no images: {first_line(error)}", expected="CLASS/IMAGE in it") from None


def _transform(arch: Arch, weights: str) -> Any:
    if not _is_file(weights):
        return torchvision_weights(arch.entry.name, weights).transforms()
    side = min(arch.input[1:])
    presets = need("torchvision.transforms._presets")
    return presets.ImageClassification(crop_size=side, resize_size=round(side * RESIZE))


def _read(path: Path, transform: Any) -> torch.Tensor:
    pillow = need("PIL.Image")
    try:
        with pillow.open(path) as opened:
            image = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise RvCheckError(f"{path} cannot be read as an image: {error}", expected="it mended, or taken away") from None
    found: torch.Tensor = transform(image)
    return found


# What was counted before


def _identity(arch: Arch, tensors: Any, samples: list[tuple[str, int]], folder: Path) -> str:
    """Another network, other weights or other images have another one."""
    found = hashlib.sha256(repr((arch.name, arch.input)).encode())
    for name, value in sorted(tensors.items()):
        found.update(name.encode() + value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    for path, label in samples:
        found.update(repr((Path(path).relative_to(folder).as_posix(), label, os.path.getsize(path))).encode())
    return found.hexdigest()


def _resumed(path: Path, run: str) -> Counts:
    if not path.exists():
        writable(str(path))
        return Counts()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        schema, of, counts = kept["schema"], kept["run"], Counts(kept["images"], kept["top1"], kept["top5"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RvCheckError(
            f"{path} is no state of a run: {error}", expected="what --state wrote, or no such file"
        ) from None
    if schema != STATE or of != run:
        raise RvCheckError(
            f"{path} is of another run: of other weights or images", expected="the state of this one, or no such file"
        )
    return counts
