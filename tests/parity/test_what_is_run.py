"""What of the shipped specs is run every time, and what is left to the sweep."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rv_check.archs.load import archs, families
from tests import ROOT

BY_NAME = {arch.name: arch for arch in archs()}


@pytest.fixture(scope="module")
def collected() -> list[tuple[str, str]]:
    """The arch and the check of each test of the shipped specs that the default run has."""
    command = [sys.executable, "-m", "pytest", "specs", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = (line.split("::") for line in done.stdout.splitlines())
    return [(parts[1], parts[2]) for parts in lines if len(parts) == 3 and parts[1] in BY_NAME]


def test_every_arch_is_held_to_its_text(collected: list[tuple[str, str]]) -> None:
    """Level spec takes a second, whatever the arch."""
    assert {arch for arch, check in collected if check == "shapes"} == BY_NAME.keys()


def test_every_family_is_built_and_run(collected: list[tuple[str, str]]) -> None:
    """Of each with a reference at least one arch has its numbers compared, and the structure of one is; of ResNet and
    VGG that of all is."""
    for check in ("structure", "eval", "train"):
        run = {arch for arch, name in collected if name == check}
        for family in families():
            built = {name for name in family.archs if BY_NAME[name].entry.reference}
            assert built & run or not built, (family.name, check)
            assert check != "structure" or family.name not in ("resnet", "vgg") or built <= run, family.name


def test_the_largest_are_left_to_the_sweep(collected: list[tuple[str, str]]) -> None:
    """Those that take minutes, and gigabytes."""
    run = {arch for arch, name in collected if name == "eval"}
    assert run.isdisjoint(("regnet_y_128gf", "efficientnet_b7", "resnext101_64x4d", "vgg19_bn"))
