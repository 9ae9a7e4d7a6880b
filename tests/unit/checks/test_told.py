"""What is told of a mistake: true at the size at hand and in either mode, once, and in words that users know."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from rv_check import Arch, check, load
from rv_check.checks.findings import Finding
from rv_check.report.findings import module_text

# A map of 16x16 becomes 1x1: 8, 4, 2, 1, by a convolution and three pools.
SPEC = """\
family: small(classes=10)
source: a test
input: 3 16 16

body:
  - features:
      - conv(8, kernel=3, stride=2, padding=1, bias=True)
      - maxpool(2, stride=2)
      - maxpool(2, stride=2)
      - maxpool(2, stride=2)
  - norm: batchnorm
  - relu
  - adaptive_avgpool(1)
  - flatten
  - drop: dropout(0.5)
  - fc: linear(classes, bias=True)

archs:
  net:
    build: small()
"""


def written(folder: Path, text: str) -> Arch:
    """The network of a spec."""
    (folder / "small.yaml").write_text(text, encoding="utf-8")
    return load(f"{folder / 'small.yaml'}::net")


@pytest.fixture
def arch(tmp_path: Path) -> Arch:
    """The network of that spec."""
    return written(tmp_path, SPEC)


def net(*head: nn.Module, stride: int = 2) -> nn.Module:
    """Its features, and what comes behind them."""
    features = nn.Sequential(nn.Conv2d(3, 8, 3, stride, 1), *(nn.MaxPool2d(2) for _ in range(3)))
    return nn.Sequential(features, *head)


def pooled(*more: nn.Module) -> tuple[nn.Module, ...]:
    """A head as it should be, with more before its last layer."""
    return nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), *more, nn.Linear(8, 10)


def failures(module: nn.Module, arch: Arch) -> list[Finding]:
    """What fails of it."""
    return [one for one in check(module, arch, level="structure").findings if one.status == "failed"]


def titles(module: nn.Module, arch: Arch) -> list[str]:
    """What is told first of each mistake."""
    return [one.message.partition("\n")[0] for one in failures(module, arch)]


def test_a_pool_of_a_single_element_is_known_as_one(arch: Arch) -> None:
    """It does nothing on the arch's map of 1x1, and is no part of what stands for a norm that is missing."""
    head = nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(8, 10)
    told = titles(net(*head, stride=1), arch)
    assert told == ["conv with stride 1, expected stride 2", "missing batchnorm -> relu"]


def test_a_pool_that_does_nothing_may_be_left_out(arch: Arch) -> None:
    """At the one size at which there is nothing to pool: that is said."""
    head = nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(8, 10)
    (told,) = titles(net(*head), arch)
    assert told.startswith("it is net at 3 16 16")
    assert "only" in told
    assert check(net(*pooled(nn.Dropout())), arch, level="structure").passed


def test_what_train_mode_shows_besides_is_besides(tmp_path: Path) -> None:
    """What eval mode has told to be missing is not told anew as that in whose place something stands."""
    arch = written(tmp_path, SPEC.replace("adaptive_avgpool(1)", "adaptive_avgpool(2)"))
    head = nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Dropout(), nn.Linear(8, 10)
    assert titles(net(*head), arch) == ["missing adaptive_avgpool", "extra dropout (in train mode)"]


def test_a_step_without_a_name_is_told_by_its_neighbours(arch: Arch) -> None:
    """In words on the terminal; the report for machines has its number."""
    module = net(nn.BatchNorm2d(8), nn.GELU(), *pooled(nn.Dropout())[2:])
    (one,) = failures(module, arch)
    assert (one.step, one.where) == ("2", "the relu after norm")
    text = module_text(check(module, arch, level="structure"))
    (line,) = [line for line in text.splitlines() if line.startswith("  gelu ")]
    assert line.endswith("  the relu after norm")
    (named,) = failures(net(nn.BatchNorm2d(8, eps=0.1), *pooled(nn.Dropout())[1:]), arch)
    assert (named.step, named.where) == ("norm", "")
