"""Labelled images as tensors in memory: scikit-learn's digits, CIFAR from a folder, or folders of images by class."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rv_check.errors import RvCheckError
from rv_check.optional import need
from rv_check.text import first_line, listed, quote

TEST_SHARE = 5  # one in so many of the digits is for testing
FOLDER_SIZE = 32  # pixels a side of images of a folder, unless said otherwise
TRAIN, TEST = "train", "test"


@dataclass(frozen=True, eq=False)
class Data:
    """Images (N, C, H, W) as bytes, their labels (N,), and the names of the classes."""

    name: str
    classes: tuple[str, ...]
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor

    @property
    def input(self) -> tuple[int, int, int]:
        """C, H, W."""
        channels, rows, columns = self.train.shape[1:]
        return channels, rows, columns

    @property
    def fingerprint(self) -> str:
        """Other images, labels or classes have another one."""
        found = hashlib.sha256(repr((self.classes, self.train.shape, self.test.shape)).encode())
        for tensor in (self.train, self.train_labels, self.test, self.test_labels):
            found.update(tensor.contiguous().numpy().tobytes())
        return found.hexdigest()[:16]

    def normalised(self, device: str | torch.device = "cpu") -> tuple[Tensor, Tensor]:
        """Both as float32, the mean training image subtracted, over the standard deviation of the training images."""
        train, test = (images.to(device, torch.float32) / 255 for images in (self.train, self.test))
        mean, deviation = train.mean(0), train.std()
        return (train - mean) / deviation, (test - mean) / deviation


def digits(size: int | None = None) -> Data:
    """scikit-learn's 1,797 grey images of handwritten digits, 8x8 unless resized; one in five, by chance, for testing.

    Raises: CannotRun where scikit-learn is missing.
    """
    bunch = need("sklearn.datasets", "studies").load_digits()
    images = torch.from_numpy(bunch.images).float()[:, None] * 255 / 16  # they are printed from 0 to 16
    labels = torch.from_numpy(bunch.target).long()
    if size is not None and size != images.shape[-1]:
        images = nn.functional.interpolate(images, (size, size), mode="bilinear", align_corners=False)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    test, train = order[: len(labels) // TEST_SHARE], order[len(labels) // TEST_SHARE :]
    images = images.round().byte()
    names = tuple(map(str, bunch.target_names))
    return Data("digits", names, images[train], labels[train], images[test], labels[test])


def cifar(classes: int, folder: Path, download: bool = False) -> Data:
    """CIFAR-10 or CIFAR-100 as torchvision reads it. Downloads nothing unless told to.

    Raises: RvCheckError where it is not there, or not whole; CannotRun without torchvision.
    """
    datasets = need("torchvision.datasets")
    name = f"CIFAR{classes}"
    if not download and not folder.is_dir():
        raise RvCheckError(f"there is no folder {folder}", expected=f"{name} in it, or --download to put it there")
    parts = []
    for train in (True, False):
        try:
            parts.append(getattr(datasets, name)(str(folder), train=train, download=download))
        except (RuntimeError, OSError, KeyError, EOFError, ValueError) as error:
            hint = f"{datasets.__dict__[name].base_folder} in it as torchvision has it, or --download"
            raise RvCheckError(f"no {name} can be read from {folder}: {first_line(error)}", expected=hint) from None
    images = [torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous() for part in parts]
    labels = [torch.tensor(part.targets) for part in parts]
    return Data(f"cifar{classes}", tuple(parts[0].classes), images[0], labels[0], images[1], labels[1])


def image_folder(folder: Path, size: int | None = None) -> Data:
    """`train/CLASS/*` and `test/CLASS/*` (or `val/`), in colour, resized to size x size pixels, all in memory.

    Raises: RvCheckError for a folder that is missing or empty, classes that differ, an image that cannot be read.
    """
    datasets = need("torchvision.datasets")
    if not folder.is_dir():
        raise RvCheckError(f"there is no folder {folder}", expected=f"{TRAIN}/CLASS/IMAGE and {TEST}/CLASS/IMAGE in it")
    test = folder / TEST if (folder / TEST).is_dir() or not (folder / "val").is_dir() else folder / "val"
    read: dict[Path, Any] = {}
    for part in (folder / TRAIN, test):
        try:
            read[part] = datasets.ImageFolder(str(part), loader=lambda path: path)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RvCheckError(f"{part} has no images: {first_line(error)}", expected=f"{part}/CLASS/IMAGE") from None
    of_train, of_test = (read[part].classes for part in read)
    if of_train != of_test:
        only = [f"{quote(name)} only in {p.name}" for p, a, b in _sides(read) for name in a if name not in b]
        raise RvCheckError(f"the classes of {folder} do not match: {listed(only)}", expected="the same folders in both")
    side = size or FOLDER_SIZE
    images = [torch.stack([_image(Path(path), side) for path, _ in read[part].samples]) for part in read]
    labels = [torch.tensor(read[part].targets) for part in read]
    return Data(folder.resolve().name, tuple(of_train), images[0], labels[0], images[1], labels[1])


def _sides(read: dict[Path, Any]) -> list[tuple[Path, Sequence[str], Sequence[str]]]:
    (a, first), (b, second) = read.items()
    return [(a, first.classes, second.classes), (b, second.classes, first.classes)]


def _image(path: Path, side: int) -> Tensor:
    """(3, side, side) as bytes."""
    pillow, functional = need("PIL.Image"), need("torchvision.transforms.functional")
    try:
        with pillow.open(path) as opened:
            image = opened.convert("RGB").resize((side, side), pillow.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError) as error:
        raise RvCheckError(f"{path} cannot be read as an image: {error}", expected="it mended, or taken away") from None
    tensor: Tensor = functional.pil_to_tensor(image)
    return tensor
