"""The study of degradation: what it trains on, that a killed run ends as one that was not, and its verdict."""

from __future__ import annotations

import csv
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import datasets as torchvision_datasets

from rv_check import RvCheckError
from rv_check.archs.load import load
from rv_check.cli.main import main
from rv_check.language.files import shipped_folder
from rv_check.studies import datasets, training
from rv_check.studies.datasets import Data
from rv_check.studies.degradation import DegradationResult, Trained, arch_of, tasks
from rv_check.studies.recipes import RECIPES, Recipe
from rv_check.studies.training import Epoch, Task, augmented, train
from rv_check.text import duration

TINY = replace(RECIPES["quick"], epochs=3, batch=8, width=2)


@pytest.fixture
def data() -> Data:
    """Sixty images of 6x6 in three classes, which differ in brightness."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    images = (torch.rand((60, 1, 6, 6), generator=generator) * 80 + 80 * labels[:, None, None, None]).byte()
    return Data("made", ("a", "b", "c"), images[:48], labels[:48], images[48:], labels[48:])


def task(data: Data, folder: Path, recipe: Recipe = TINY, kind: str = "residual", seed: int = 0) -> Task:
    """One network of eight layers."""
    arch = arch_of(kind, 8, recipe.width, data)
    return Task("net", arch, data, recipe, seed, 8, folder / "net")


# Networks


@pytest.mark.parametrize("layers", [20, 32, 44, 56, 110, 1202])
def test_plain_networks_have_the_layers_of_residual_ones(layers: int) -> None:
    """Option A has no parameters: as many as the residual one, and the same depth, without its 3n sums."""
    plain, residual = (load(f"{shipped_folder()}/variants/cifar.yaml::{kind}{layers}") for kind in ("plain", "resnet"))
    assert (plain.params, plain.depth) == (residual.params, layers)
    assert (plain.skip_connections, residual.skip_connections) == (0, (layers - 2) // 2)
    assert plain.state == residual.state


def test_error_of_a_depth_that_the_family_does_not_have(data: Data) -> None:
    """6n + 2 layers, and at least two depths."""
    with pytest.raises(RvCheckError, match=r"no network of 34 layers\n  expected: 6n \+ 2 of them, as 32"):
        arch_of("plain", 34, 8, data)
    with pytest.raises(RvCheckError, match="degradation shows between two depths"):
        tasks(data, TINY, [20, 20], [0], Path())


# Recipes


def test_the_schedule_of_the_paper() -> None:
    """50,000 images in batches of 128 are 390 iterations; 0.1, 0.01 from 32k and 0.001 from 48k on, 64k in all."""
    plan = RECIPES["paper"].of(50_000, 56)
    assert (plan.steps, plan.total, plan.epochs) == (390, 64_000, 165)  # 164.1 epochs
    rates = [round(plan.rate(at), 6) for at in (0, 31_999, 32_000, 47_999, 48_000, 63_999)]
    assert rates == [0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    deep = RECIPES["paper"].of(50_000, 110)
    assert [deep.rate(at) for at in (0, 399, 400)] == [0.01, 0.01, 0.1]
    with pytest.raises(RvCheckError, match="100 images are less than a batch of 128"):
        RECIPES["paper"].of(100, 20)


def test_augmentation_is_a_crop_of_the_padded_image_flipped_or_not() -> None:
    """Every image is one of the 81 crops of its padded self, or such a crop mirrored; both come up, and many crops."""
    x = torch.rand((64, 2, 5, 7))
    found = augmented(x, torch.Generator().manual_seed(0))
    padded = nn.functional.pad(x, (4, 4, 4, 4))
    seen = set()
    for one, image in zip(found, padded, strict=True):
        crops = {(i, j, f): image[:, i : i + 5, j : j + 7] for i in range(9) for j in range(9) for f in (0, 1)}
        which = [key for key, crop in crops.items() if torch.equal(one, crop.flip(2) if key[2] else crop)]
        assert which
        seen.add(which[0])
    assert {f for _, _, f in seen} == {0, 1}
    assert len({i for i, _, _ in seen}) == len({j for _, j, _ in seen}) == 9


# Training


def test_training_learns_and_is_logged(data: Data, tmp_path: Path) -> None:
    """The errors fall, and the log on disk says so."""
    log = train(task(data, tmp_path, replace(TINY, epochs=12, rate=0.1)))
    assert [epoch.epoch for epoch in log] == list(range(1, 13))
    assert log[-1].train_error < log[0].train_error
    rows = list(csv.DictReader((tmp_path / "net.csv").read_text().splitlines()))
    assert [float(row["train_error"]) for row in rows] == [epoch.train_error for epoch in log]
    assert [round(epoch.rate, 6) for epoch in log] == [0.1] * 6 + [0.01] * 3 + [0.001] * 3


def checkpoint(folder: Path) -> Any:
    """What was left there."""
    return torch.load(folder / "net.pt", weights_only=True)


def same(a: Any, b: Any) -> bool:
    """Equal, tensors bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b)


class Killed(BaseException):
    """Like a signal: nothing of ours catches it."""


@pytest.mark.parametrize("augment", [False, True])
def test_a_killed_run_ends_as_one_that_was_not(data: Data, tmp_path: Path, augment: bool) -> None:
    """Killed in the midst of the second epoch, and gone on with: weights, momentum and log are equal bit for bit."""
    recipe = replace(TINY, augment=augment)
    whole = train(task(data, tmp_path, recipe))
    uninterrupted = checkpoint(tmp_path)
    folder = tmp_path / "killed"
    folder.mkdir()
    calls = []

    def forward(module: nn.Module, args: Any) -> None:
        calls.append(1)
        if len(calls) == 9 * len(uninterrupted["model"]):  # somewhere in the second epoch of 6 steps
            raise Killed

    handle = nn.modules.module.register_module_forward_pre_hook(forward)
    try:
        with pytest.raises(Killed):
            train(task(data, folder, recipe))
    finally:
        handle.remove()
    left = checkpoint(folder)["log"]
    assert 0 < len(left) < len(whole)
    torch.manual_seed(99)  # whatever another process has drawn
    heard = []
    assert train(task(data, folder, recipe), tell=lambda epoch, was_there: heard.append(was_there)) == whole
    assert heard == [True] * len(left) + [False] * (3 - len(left))
    assert same(checkpoint(folder), uninterrupted)


def test_seeds_give_other_networks(data: Data, tmp_path: Path) -> None:
    """The comparison above can fail: another seed, or another recipe, ends elsewhere."""
    train(task(data, tmp_path))
    first = checkpoint(tmp_path)["model"]
    train(task(data, tmp_path, seed=1), fresh=True)
    assert not same(checkpoint(tmp_path)["model"], first)
    train(task(data, tmp_path, replace(TINY, augment=True)), fresh=True)
    assert not same(checkpoint(tmp_path)["model"], first)


def test_amp_trains(data: Data, tmp_path: Path) -> None:
    """In bfloat16 the result is near, and another."""
    exact = train(task(data, tmp_path))
    rough = train(replace(task(data, tmp_path), amp=True), fresh=True)
    assert rough[-1].loss != exact[-1].loss
    assert abs(rough[-1].loss - exact[-1].loss) < 0.2


# What goes wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "plain"}, r"is of arch resnet20\(.*\), and this is arch plain20\("),
        ({"seed": 1}, "is of seed 0, and this is seed 1"),
        ({"recipe": replace(TINY, rate=0.5)}, "is of rate 0.02, and this is rate 0.5"),
    ],
    ids=["arch", "seed", "rate"],
)
def test_error_of_a_checkpoint_of_something_else(data: Data, tmp_path: Path, change: Any, message: str) -> None:
    """The first setting that differs is told, and nothing is loaded or overwritten."""
    train(task(data, tmp_path))
    before = (tmp_path / "net.pt").read_bytes()
    with pytest.raises(RvCheckError, match=message):
        train(task(data, tmp_path, **change))
    assert (tmp_path / "net.pt").read_bytes() == before


def test_error_of_a_checkpoint_of_other_images_or_classes(data: Data, tmp_path: Path) -> None:
    """Other images by their fingerprint; other classes by the network that they need."""
    train(task(data, tmp_path))
    other = replace(data, train=data.train.flip(0))
    with pytest.raises(RvCheckError, match="is of images "):
        train(task(other, tmp_path))
    more = replace(data, classes=("a", "b", "c", "d"))
    with pytest.raises(RvCheckError, match=r"classes=3.*classes=4"):
        train(task(more, tmp_path))


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None], ids=["empty", "text", "cut"])
def test_error_of_a_checkpoint_that_cannot_be_read(data: Data, tmp_path: Path, content: bytes | None) -> None:
    """A file that was cut off, or is none; --fresh begins anew."""
    train(task(data, tmp_path))
    path = tmp_path / "net.pt"
    path.write_bytes(path.read_bytes()[:1000] if content is None else content)
    with pytest.raises(RvCheckError, match=r"the checkpoint .*net.pt cannot be read \(--fresh begins anew\)"):
        train(task(data, tmp_path))
    assert len(train(task(data, tmp_path), fresh=True)) == 3


def test_error_of_another_file_in_its_place(data: Data, tmp_path: Path) -> None:
    """Weights are no checkpoint of a study."""
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "net.pt")
    with pytest.raises(RvCheckError, match=r"net\.pt is no checkpoint of a study"):
        train(task(data, tmp_path))


def test_error_of_a_loss_that_is_not_finite(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops in that epoch; the last good checkpoint is the one before, and is as it was."""
    turn = training._epoch

    def diverging(task: Task, *args: Any) -> tuple[float, float, float]:
        rate, loss, error = turn(task, *args)
        return rate, float("nan") if args[3] == 3 else loss, error

    monkeypatch.setattr(training, "_epoch", diverging)
    with pytest.raises(RvCheckError) as raised:
        train(task(data, tmp_path))
    expected = f"the loss of net is nan in epoch 3\n  the last good checkpoint: {tmp_path}/net.pt, of epoch 2"
    assert str(raised.value) == f"{expected}\n  expected: a smaller --rate"
    assert len(checkpoint(tmp_path)["log"]) == 2


def test_error_of_a_rate_that_diverges(data: Data, tmp_path: Path) -> None:
    """A loss that is really not finite is seen, and no checkpoint is left."""
    with pytest.raises(RvCheckError, match=r"is (nan|inf) in epoch 1\n  there is no good one yet"):
        train(task(data, tmp_path, replace(TINY, rate=1e30)))
    assert not (tmp_path / "net.pt").exists()


# Images


def test_digits_are_the_whole_set() -> None:
    """1,797 of ten classes, split once and for all; resized if asked."""
    found = datasets.digits()
    assert (len(found.train), len(found.test), found.input, len(found.classes)) == (1438, 359, (1, 8, 8), 10)
    assert found.fingerprint == datasets.digits().fingerprint != datasets.digits(16).fingerprint
    assert datasets.digits(16).input == (1, 16, 16)
    assert int(found.train.max()) == 255
    train_images, _ = found.normalised()
    assert float(train_images.mean(0).abs().max()) < 1e-5


def test_error_without_scikit_learn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would bring it is said."""
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert main(["study", "degradation", "-o", str(tmp_path)]) == 2
    assert "pip install 'rv-check[studies]' brings it" in capsys.readouterr().err


def images(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), parts: tuple[str, ...] = ("train", "test")) -> Path:
    """A folder of four images a class and part, of several sizes."""
    for part in parts:
        for brightness, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            for at in range(4):
                colour = (60 * brightness, 30 * at, 10)
                Image.new("RGB", (9 + at, 11), colour).save(folder / part / name / f"{at}.png")
    return folder


@pytest.mark.parametrize("test", ["test", "val"])
def test_a_folder_of_images(tmp_path: Path, test: str) -> None:
    """Images are read by class, in colour, resized."""
    found = datasets.image_folder(images(tmp_path / "pets", parts=("train", test)), 8)
    assert (found.name, found.classes, found.input) == ("pets", ("cat", "dog"), (3, 8, 8))
    assert found.train_labels.tolist() == [0] * 4 + [1] * 4
    assert found.train[5, :, 0, 0].tolist() == [60, 30, 10]


def test_error_of_a_folder_that_is_missing_or_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says so, with status 2."""
    study = ["study", "degradation", "-o", str(tmp_path / "out"), "--data"]
    assert main([*study, "images", "--folder", str(tmp_path / "nowhere")]) == 2
    assert f"there is no folder {tmp_path}/nowhere\n  expected: train/CLASS/IMAGE" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([*study, "images", "--folder", str(tmp_path / "empty")]) == 2
    assert f"{tmp_path}/empty/train has no images" in capsys.readouterr().err
    (tmp_path / "empty" / "train" / "cat").mkdir(parents=True)
    assert main([*study, "images", "--folder", str(tmp_path / "empty")]) == 2
    assert f"{tmp_path}/empty/train has no images: Found no valid file for the classes cat" in capsys.readouterr().err
    assert main([*study, "cifar10", "--folder", str(tmp_path / "nowhere")]) == 2
    assert "expected: CIFAR10 in it, or --download to put it there" in capsys.readouterr().err
    assert main([*study, "cifar100", "--folder", str(tmp_path / "empty")]) == 2
    assert "no CIFAR100 can be read" in capsys.readouterr().err
    assert main([*study, "cifar10"]) == 2
    assert "where are the images of cifar10?\n  expected: --folder FOLDER" in capsys.readouterr().err


def test_error_of_options_that_do_not_go_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """None is ignored in silence."""
    study = ["study", "degradation", "-o", str(tmp_path / "out")]
    for options in (["--folder", "x"], ["--download"], ["--data", "images", "--folder", "x", "--download"]):
        assert main([*study, *options]) == 2
    assert main([*study, "--data", "cifar10", "--folder", "x", "--size", "8"]) == 2
    assert "--size is for digits and images" in capsys.readouterr().err
    assert main([*study, "--device", "tpu9"]) == 2
    assert "device 'tpu9' cannot be used here" in capsys.readouterr().err


def test_error_of_a_broken_image(tmp_path: Path) -> None:
    """The file is named: cut off, or no image at all."""
    folder = images(tmp_path)
    path = folder / "train" / "dog" / "2.png"
    for content in (path.read_bytes()[:45], b"text"):
        path.write_bytes(content)
        with pytest.raises(RvCheckError, match=f"{path} cannot be read as an image"):
            datasets.image_folder(folder)


def test_error_of_classes_that_do_not_match(tmp_path: Path) -> None:
    """The classes that are on one side only are named."""
    folder = images(tmp_path)
    (folder / "test" / "dog").rename(folder / "test" / "fox")
    with pytest.raises(RvCheckError, match="do not match: 'dog' only in train, 'fox' only in test"):
        datasets.image_folder(folder)


def test_cifar_as_torchvision_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels first, in the order of the file. Of made images, so that torchvision's checksums are left out."""
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    row = bytes(range(256)) * 12  # 3 x 32 x 32
    numbers = torch.frombuffer(bytearray(row * 2), dtype=torch.uint8).reshape(2, 3072).numpy()
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        (base / name).write_bytes(pickle.dumps({"data": numbers, "labels": [3, 7]}))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class{n}" for n in range(10)]}))
    cls = torchvision_datasets.CIFAR10
    monkeypatch.setattr(cls, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *args: True)
    found = datasets.cifar(10, tmp_path)
    assert (len(found.train), len(found.test), found.input, len(found.classes)) == (10, 2, (3, 32, 32), 10)
    assert found.train_labels[:2].tolist() == [3, 7]
    assert found.train[0].flatten().tolist() == list(row)


# Verdicts


def of_errors(plain: list[list[float]], residual: list[list[float]]) -> DegradationResult:
    """What is said of these training errors, by depth and seed."""
    runs = [
        Trained(kind, depth, seed, (Epoch(1, 0.1, 1.0, error, error),))
        for kind, by_depth in (("plain", plain), ("residual", residual))
        for depth, errors in zip((20, 56), by_depth, strict=True)
        for seed, error in enumerate(errors)
    ]
    return DegradationResult("made", TINY, tuple(runs))


@pytest.mark.parametrize(
    ("plain", "residual", "holds"),
    [
        ([[1, 2], [40, 60]], [[0, 1], [0, 1]], True),
        ([[1, 2], [40, 60]], [[0, 1], [30, 40]], False),  # both degrade
        ([[1, 2], [1, 60]], [[0, 1], [0, 1]], False),  # not on every seed
        ([[1, 2], [2.5, 2.9]], [[0, 1], [0, 1]], False),  # by too little
        ([[1, 2], [0, 0]], [[0, 1], [0, 1]], False),
        ([[85, 86], [89, 90]], [[88, 89], [88, 89]], False),  # nothing has learnt
    ],
    ids=["there", "both degrade", "one seed does not", "too little", "none degrades", "residual nets are no better"],
)
def test_the_verdict_comes_from_the_errors(
    plain: list[list[float]], residual: list[list[float]], holds: bool
) -> None:  # fmt: skip
    """Plain networks degrade and residual ones do not, on every seed, or the effect is not there."""
    result = of_errors(plain, residual)
    assert result.holds == holds
    assert result.verdict.startswith("the effect is there" if holds else "the effect is NOT there")


# The command


SMALL = ["--depth", "8", "--depth", "14", "--seeds", "1", "--epochs", "1", "--width", "2"]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Table, verdict, data, logs and pictures; again it trains nothing; the status says whether the effect is there."""
    arguments = ["study", "degradation", "-o", str(tmp_path), *SMALL, "--by-epoch"]
    status = main(arguments)
    first = capsys.readouterr().out
    found = json.loads((tmp_path / "degradation.json").read_text())
    assert found["schema"] == "rv-check/study-degradation/1"
    assert status == (0 if found["holds"] else 1)
    assert found["verdict"] in first
    assert [(run["kind"], run["depth"]) for run in found["runs"]] == [
        ("plain", 8), ("residual", 8), ("plain", 14), ("residual", 14),
    ]  # fmt: skip
    names = {
        f"{kind}{depth}-seed0{end}" for kind in ("plain", "residual") for depth in (8, 14) for end in (".pt", ".csv")
    }
    assert {path.name for path in tmp_path.iterdir()} == names | {f"degradation.{e}" for e in ("json", "png", "svg")}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")}
    assert main([*arguments, "--no-picture"]) == status
    assert capsys.readouterr().out == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")} == before
    assert main([*arguments, "--rate", "0.5"]) == 2
    assert "and this is rate 0.5" in capsys.readouterr().err


@pytest.mark.sweep
def test_two_processes(tmp_path: Path) -> None:
    """torchrun with gloo: one writes and prints, the log is whole, and both have learnt the same."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "rv_check"]
    arguments = ["study", "degradation", "-o", str(tmp_path), *SMALL, "--no-picture"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300)
    assert done.stdout.count("digits, recipe quick") == 1, done.stderr
    state = torch.load(tmp_path / "plain8-seed0.pt", weights_only=True)
    assert state["settings"]["processes"] == 2
    assert len(state["log"]) == 1


def test_the_default_is_a_study_of_three_seeds() -> None:
    """What the README says of it."""
    quick = RECIPES["quick"]
    assert (quick.depths, quick.seeds, quick.epochs, quick.width) == ((20, 32, 56), 3, 20, 8)


def test_durations() -> None:
    """Seconds, minutes, hours, each less exact than the one before."""
    assert [duration(s) for s in (None, 12.4, 59.9, 185, 3_725)] == [
        "some time", "12 s", "1 min 00 s", "3 min 05 s", "1 h 02 min",
    ]  # fmt: skip
