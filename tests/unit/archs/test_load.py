"""Archs are expanded once: the same ones are given again, until a file changes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rv_check.archs import arch as arch_module
from rv_check.archs.load import all_archs, archs, load, load_archs
from rv_check.errors import RvCheckError, SpecError
from rv_check.language import files


def test_shipped_archs_are_the_same_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family, or a block that it uses: nothing of before is kept."""
    folder = tmp_path / "specs"
    shutil.copytree(files.shipped_folder(), folder)
    monkeypatch.setattr(files, "shipped_folder", lambda: folder)
    before = archs()
    assert [arch.name for arch in before] == [arch.name for arch in archs()]
    assert all(one is other for one, other in zip(before, archs(), strict=True))
    before.clear()  # the list is the caller's own
    assert len(archs()) > 0

    def params(name: str) -> int:
        return next(arch for arch in archs() if arch.name == name).params

    assert params("vgg11") == 132_863_336  # torchvision.models.vgg11's documentation
    changes = {"vgg.yaml": ("linear(64*width", "linear(32*width"), "blocks/vgg_stage.yaml": ("bias=True", "bias=False")}
    for name, (old, new) in changes.items():
        known, params_before = archs(), params("vgg11")
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")
        os.utime(folder / name, ns=(1, 1))  # whatever the clock's steps are
        assert archs()[0] is not known[0]
        assert params("vgg11") < params_before


def test_variants_have_short_names() -> None:
    """Behind the standard archs, and the same as by their path."""
    names = [arch.name for arch in all_archs()]
    assert names[: len(archs())] == [arch.name for arch in archs()]
    assert len(set(names)) == len(names)
    assert load("resnet56").params == load(f"{files.shipped_folder()}/variants/cifar.yaml::resnet56").params == 853_018
    with pytest.raises(RvCheckError, match="unknown arch 'preact19'"):
        load("preact19")


def test_at_another_size_it_is_the_same_arch_again() -> None:
    """Of the last few sizes, and the trees are those of the sizes."""
    arch = load("resnet18")
    assert arch.at((3, 64, 64)) is arch.at((3, 64, 64))
    assert arch.at(arch.input) is arch
    assert arch.at((3, 64, 64)).macs < arch.at((3, 96, 96)).macs < arch.macs
    for side in range(64, 64 + 2 * arch_module.SIZES_KEPT):
        assert arch.at((3, side, side)).input == (3, side, side)
        assert len(arch._elsewhere) <= arch_module.SIZES_KEPT


def test_a_size_that_does_not_fit_is_refused_alike_each_time(tmp_path: Path) -> None:
    """However often it is tried: an attempt takes nothing from the next of what expanding may take."""
    steps = "".join(f"  - conv({channels}, kernel=3, bias=True)\n" for channels in range(4, 1000))
    text = f"family: net\ninput: 3 3000 3000\nbody:\n{steps}archs:\n  net:\n    build: net\n"
    (tmp_path / "net.yaml").write_text(text, encoding="utf-8")
    (arch,) = load_archs(tmp_path / "net.yaml")
    messages = set()
    for _ in range(40):  # 996 steps each, of 30,000 that may be expanded
        with pytest.raises(SpecError) as caught:
            _ = arch.at((3, 1990, 1990)).tree
        messages.add(str(caught.value))
    assert len(messages) == 1
    assert "kernel" in messages.pop()
