"""Accuracy of made weights on made images: known by construction."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from rv_check import build, load
from rv_check.cli.main import main
from rv_check.errors import RvCheckError
from rv_check.weights import accuracy
from rv_check.weights.accuracy import Counts, Share, measure, published

ARCH = "resnet18(width=8, classes=6)"
MANY = (5, 3, 2, 1, 2, 3)  # images of each class
NAMES = "abcdef"


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """Weights whose outputs always are 6, 5, 4, 3, 2, 1, and 16 images."""
    model = build(ARCH)
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.copy_(torch.arange(6, 0, -1))
    torch.save(model.state_dict(), tmp_path / "made.pth")
    data = tmp_path / "data"
    for name, many in zip(NAMES, MANY, strict=True):
        (data / name).mkdir(parents=True)
        for at in range(many):
            Image.new("RGB", (40, 30), (at * 20, 100, 0)).save(data / name / f"{at}.png")
    return tmp_path / "made.pth", data


def test_counts_by_construction(made: tuple[Path, Path]) -> None:
    """16 images: class a is always first, f never among five."""
    weights, data = made
    arch = load(ARCH, "3 32 32")
    assert measure(arch, str(weights), data, batch=5) == Counts(16, 5, 13)
    model = build(ARCH)
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.copy_(torch.arange(6))
    torch.save(model.state_dict(), weights)
    assert measure(arch, str(weights), data) == Counts(16, 3, 11)  # f always first, a never among five


def test_weights_of_a_module_with_other_names(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Its structure tells which is which; a module of another arch tells nothing."""
    weights, data = made
    arch = load(ARCH, "3 32 32")
    torch.save({f"body.{name}": x for name, x in torch.load(weights).items()}, weights)
    with pytest.raises(RvCheckError, match="--map MODULE tells them"):
        measure(arch, str(weights), data)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nfrom rv_check import build\n\n\nclass Net(nn.Module):\n    def __init__(self, arch):\n"
        "        super().__init__()\n        self.body = build(arch)\n\n    def forward(self, x):\n"
        f"        return self.body(x)\n\n\ndef net():\n    return Net({ARCH!r})\n\n\n"
        f"def other():\n    return Net({ARCH.replace('resnet18', 'resnet34')!r})\n"
    )
    assert measure(arch, str(weights), data, names=f"{tmp_path}/mine.py:net") == Counts(16, 5, 13)
    with pytest.raises(RvCheckError, match="tells no names"):
        measure(arch, str(weights), data, names=f"{tmp_path}/mine.py:other")
    (tmp_path / "pieces.py").write_text(
        "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\nfrom rv_check import build\n\n\n"
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        f"        self.body = build({ARCH!r})\n        self.body.fc = nn.Identity()\n"
        "        self.flat = nn.Parameter(torch.zeros(6 * 64 + 6))\n\n"
        "    def forward(self, x):\n"
        "        return F.linear(self.body(x), self.flat[:384].view(6, 64), self.flat[384:])\n"
    )
    with pytest.raises(RvCheckError, match=r"pieces of them or several in one\n +fc.weight is flat\[0:384\]"):
        measure(arch, str(weights), data, names=f"{tmp_path}/pieces.py:Net")


def test_images_and_their_labels_belong_together(tmp_path: Path) -> None:
    """Weights that tell red from blue get all of them right, and with the folders' names swapped none."""
    model = build("resnet18(width=8, classes=2)").eval()
    crop = torchvision.transforms._presets.ImageClassification(crop_size=32, resize_size=37)
    images = {"a": Image.new("RGB", (40, 40), (255, 0, 0)), "b": Image.new("RGB", (40, 40), (0, 0, 255))}
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.zero_()
        features: dict[str, torch.Tensor] = {}
        model.fc.register_forward_pre_hook(lambda module, x: features.update(last=x[0]))
        for name, image in images.items():
            model(crop(image)[None])
            features[name] = features["last"][0]
        towards = features["a"] - features["b"]
        model.fc.weight.copy_(torch.stack([towards, -towards]))
        middle = (features["a"] + features["b"]) @ towards / 2
        model.fc.bias.copy_(torch.stack([-middle, middle]))
    torch.save(model.state_dict(), tmp_path / "w.pth")
    for order, hits in (("ab", 2), ("ba", 0)):
        data = tmp_path / order
        for name, folder in zip("ab", order, strict=True):
            (data / folder).mkdir(parents=True)
            images[name].save(data / folder / "1.png")
        arch = load("resnet18(width=8, classes=2)", "3 32 32")
        assert measure(arch, str(tmp_path / "w.pth"), data) == Counts(2, hits, 2)


def test_a_stopped_run_goes_on(made: tuple[Path, Path], tmp_path: Path) -> None:
    """It goes on from where it was to the same counts; not with other images, nor from a state that is broken."""
    weights, data = made
    arch, state = load(ARCH, "3 32 32"), tmp_path / "state.json"

    class Stop(Exception):
        pass

    def stop(done: int, images: int) -> None:
        if done >= 8:
            raise Stop

    with pytest.raises(Stop):
        measure(arch, str(weights), data, 4, state=state, seen=stop)
    assert json.loads(state.read_text())["images"] == 8
    batches: list[int] = []
    found = measure(arch, str(weights), data, 4, state=state, seen=lambda done, images: batches.append(done))
    assert found == Counts(16, 5, 13)
    assert batches == [12, 16]
    Image.new("RGB", (50, 50)).save(data / "a" / "9.png")
    with pytest.raises(RvCheckError, match="is of another run"):
        measure(arch, str(weights), data, 4, state=state)
    state.write_text("{")
    with pytest.raises(RvCheckError, match="is no state of a run"):
        measure(arch, str(weights), data, 4, state=state)


@pytest.mark.parametrize(("hits", "images"), [(10, 20), (0, 10), (10, 10), (38065, 50000), (1, 29)])
def test_wilson(hits: int, images: int) -> None:
    """The interval is scipy's, an independent implementation."""
    stats = pytest.importorskip("scipy.stats")
    found = Share.of(hits, images)
    interval = stats.binomtest(hits, images).proportion_ci(0.95, method="wilson")
    expected = (100 * hits / images, 100 * interval.low, 100 * interval.high)
    assert (found.percent, found.low, found.high) == pytest.approx(expected, abs=1e-9)


def test_what_lies_within() -> None:
    """10 of 20 is between 29.93 and 70.07 %."""
    half = Share.of(10, 20)
    assert half.holds(30)
    assert not half.holds(29.9)


def test_what_is_published_of_weights() -> None:
    """Numbers are published by the name of weights; of a file, and of other arguments, nothing is."""
    found = published(load("resnet50"), "IMAGENET1K_V1")
    assert {name: entry.printed for name, entry in found.items()} == {"top1": "76.130", "top5": "92.862"}
    assert published(load("resnet50"), "some.pth") == {}
    assert published(load("resnet50(classes=10)"), "IMAGENET1K_V1") == {}


def test_a_verdict(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A published value outside of the interval is status 1; 5 of 16 is 31.25 %."""
    weights, data = made
    (entry,) = [e for e in load("resnet18").entry.published if e.metric == "top1"]
    arguments = ["accuracy", ARCH, "--weights", str(weights), "--data", str(data), "--json"]
    for printed, status in (("31.3", 0), ("69.8", 1)):
        one = replace(entry, printed=printed)
        monkeypatch.setattr(accuracy, "published", lambda arch, weights, one=one: {"top1": one})
        assert main(arguments) == status
        found = json.loads(capsys.readouterr().out)
        assert (found["top1"]["percent"], found["top1"]["holds"]) == (31.25, not status)
    monkeypatch.undo()
    assert main(arguments[:-1]) == 0
    assert "nothing is published" in capsys.readouterr().out


def test_bad_input(made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is told with what would do, for status 2."""
    weights, data = made
    (tmp_path / "empty").mkdir()
    broken = tmp_path / "broken"
    for name in NAMES:
        (broken / name).mkdir(parents=True)
        (broken / name / "1.png").write_bytes(b"no image")
    cases = [
        (ARCH, weights, tmp_path / "none", "there is no folder"),
        (ARCH, weights, tmp_path / "empty", "has no images"),
        (ARCH, weights, broken, "1.png cannot be read as an image"),
        ("resnet18(width=8, classes=5)", weights, data, "none are loaded"),
        ("resnet34(width=8, classes=6)", weights, data, "none are loaded"),
        (ARCH, tmp_path / "none.pth", data, "there is no such file"),
        ("resnet18", "IMAGENET1K_V9", data, "did you mean"),
        ("resnet18", "pretrained=True", data, "deprecated in torchvision"),
    ]
    for arch, given, folder, words in cases:
        assert main(["accuracy", arch, "--weights", str(given), "--data", str(folder)]) == 2, words
        assert words in capsys.readouterr().err
    model = build("resnet18(width=8, classes=7)")
    torch.save(model.state_dict(), weights)
    arguments = ["accuracy", "resnet18(width=8, classes=7)", "--weights", str(weights), "--data", str(data)]
    assert main(arguments) == 2
    assert "has 6 classes, and resnet18(width=8, classes=7) 7" in capsys.readouterr().err
    assert main([*arguments[:2], "--weights", str(weights), "--data", str(data), "--device", "no_such"]) == 2
