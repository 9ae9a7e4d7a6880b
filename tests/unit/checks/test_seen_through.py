"""What is said of a whole: wrappers are seen through, multiply-adds are those that are run, nothing hides another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from rv_check.archs.arch import Arch
from rv_check.archs.load import load
from rv_check.checks.findings import Report
from rv_check.checks.identify import identify
from rv_check.checks.of_module import check
from rv_check.checks.of_two import compare_modules
from rv_check.modules.copies import unwrapped, wrappers_of
from rv_check.report.findings import heading, module_text

pytestmark = pytest.mark.filterwarnings("ignore")
AveragedModel = torch.optim.swa_utils.AveragedModel
SPEC = """\
family: tiny(classes=4)
source: a test
input: 3 12 12

body:
  - conv: conv(8, kernel=3, padding=1, bias=False)
  - norm: batchnorm
  - relu
  - short: conv(8, kernel=1, stride=2, bias=False)
  - avgpool: adaptive_avgpool(1)
  - flatten
  - fc: linear(classes, bias=True)

init:
  conv: default
  batchnorm: constant(weight=1, bias=0)
  linear: default

archs:
  tiny:
    build: tiny
"""


class Tiny(nn.Module):
    """The network of the spec. `step`: every so many outputs of the second convolution are kept."""

    def __init__(self, step: int = 1, eps: float = 1e-5):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8, eps=eps)
        self.short, self.fc = nn.Conv2d(8, 8, 1, stride=2 // step, bias=False), nn.Linear(8, 4)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        y = self.short(self.norm(self.conv(x)).relu())[:, :, :: self.step, :: self.step]
        return self.fc(y.mean((2, 3)))


@pytest.fixture
def arch(tmp_path: Path) -> Arch:
    """The arch of the spec."""
    (tmp_path / "tiny.yaml").write_text(SPEC)
    return load(f"{tmp_path / 'tiny.yaml'}::tiny")


@contextmanager
def alone() -> Iterator[None]:
    """A group of one process, which `DistributedDataParallel` asks for."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def distributed(net: nn.Module) -> nn.Module:
    """The network for one process alone."""
    with alone():
        return nn.parallel.DistributedDataParallel(net)


WRAPPED: dict[str, tuple[Callable[[nn.Module], nn.Module], list[str]]] = {
    "averaged": (AveragedModel, ["AveragedModel, with n_averaged besides"]),
    "parallel": (nn.DataParallel, ["DataParallel"]),
    "distributed": (distributed, ["DistributedDataParallel"]),
    "compiled": (lambda net: torch.compile(net), ["torch.compile"]),  # type: ignore[return-value]
    "averaged in parallel": (
        lambda net: AveragedModel(nn.DataParallel(net)),
        ["AveragedModel, with n_averaged besides", "DataParallel"],
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapper_is_seen_through(name: str, arch: Arch) -> None:
    """In check, diff and identification, and it is said; places are those of the network within."""
    wrap, words = WRAPPED[name]
    notes = [f"seen through: {one}" for one in words]
    report = check(wrap(Tiny()), arch, level="structure")
    assert (report.passed, list(report.notes)) == (True, notes)
    report = compare_modules(wrap(Tiny()), Tiny(), (3, 12, 12), level="structure")
    assert (report.passed, list(report.notes)) == (True, notes)
    report = compare_modules(Tiny(), wrap(Tiny()), (3, 12, 12), level="structure")
    assert (report.passed, list(report.notes)) == (True, notes)
    assert identify(wrap(Tiny()), [arch]).likeness == 1
    report = check(wrap(Tiny(eps=1e-3)), arch, level="structure")
    assert [finding.module for finding in report.findings if finding.status == "failed"] == ["norm"]


def test_what_does_more_than_hold_a_network_is_none() -> None:
    """A subclass with a forward of its own computes what it says itself."""

    class Doubled(AveragedModel):  # type: ignore[misc,valid-type]
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    net = Doubled(Tiny())
    assert unwrapped(net) is net
    assert wrappers_of(net) == []
    assert not compare_modules(net, Tiny(), (3, 12, 12), level="structure").passed


def test_multiply_adds_are_those_that_are_run(arch: Arch) -> None:
    """What computes every output and keeps one in four is the network, at its own cost, which is said."""
    report = check(Tiny(step=2), arch, level="structure")
    assert report.passed
    # 12 * 12 * 8 * 27 + 4 * 8 of both; every pixel of the 1x1: 12 * 12 * 8 * 8, or one in four of them.
    found, expected = 31_104 + 32 + 9_216, 31_104 + 32 + 2_304
    assert report.totals["macs"] == (found, expected)
    (structure,) = (finding for finding in report.findings if finding.check == "structure")
    assert f"it takes {found:,} MACs, where {arch.name} takes {expected:,}" in structure.message
    assert "params, MACs  differ   332 / 40,352 MACs, expected 332 / 33,440 MACs" in module_text(report)
    assert "MACs" not in str(check(Tiny(), arch, level="structure").findings)


def frozen(net: Tiny) -> Tiny:
    """The network with a layer that is not trained."""
    net.conv.requires_grad_(False)
    return net


HEADS: dict[str, tuple[Callable[[], Tiny], str, str]] = {
    "frozen": (lambda: frozen(Tiny()), "is the spec's, with frozen parameters", "trainable"),
    "wrong and frozen": (lambda: frozen(Tiny(eps=1e-3)), "is not the spec's: 2 differences", "1 difference, trainable"),
    "wrong": (lambda: Tiny(eps=1e-3), "is not the spec's: 1 difference", "1 difference"),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_head_hides_nothing(name: str, arch: Arch) -> None:
    """Frozen parameters alone make no other network, and what differs besides is counted all the same."""
    make, head, row = HEADS[name]
    report = check(make(), arch, level="structure")
    assert heading(report) == f"Tiny {head}".replace("the spec's", arch.name)
    assert f"  structure     failed   {row}\n" in module_text(report)


def test_what_train_mode_shows_besides_is_told_with_the_rest(arch: Arch) -> None:
    """A momentum is of use in train mode only: it is named with the eps of the same norm."""
    net = Tiny(eps=1e-3)
    net.norm.momentum = 0.01
    assert titles(check(net, arch, level="structure")) == [
        "batchnorm with eps 0.001, momentum 0.01, expected eps 1e-05, momentum 0.1"
    ]


def titles(report: Report) -> list[str]:
    """The first lines of what failed."""
    return [finding.message.partition("\n")[0] for finding in report.findings if finding.status == "failed"]
