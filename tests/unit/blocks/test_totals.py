"""Totals of a graph: of every arch those that its tree has, and of graphs that no tree can make."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rv_check.archs.arch import Arch
from rv_check.archs.load import archs, load_archs
from rv_check.blocks.totals import totals
from rv_check.graphs.builder import Form
from rv_check.graphs.network import At
from rv_check.graphs.of_arch import graph_of
from rv_check.language.files import family_files, shipped_folder
from rv_check.modules.observe import Subject

EVERY = [*archs(), *(arch for path in family_files(shipped_folder() / "variants") for arch in load_archs(path))]


@pytest.mark.parametrize("arch", [arch for arch in EVERY if "1202" not in arch.name], ids=lambda arch: arch.name)
def test_of_every_arch(arch: Arch) -> None:
    """Read off the graph they are what the tree says, which is written independently."""
    found = totals(graph_of(arch, batch=1, form=Form.AS_RUN), [])
    numbers = (found.params, found.macs, found.activations, found.depth, found.skips)
    assert numbers == (arch.params, arch.macs, arch.activations, arch.depth, arch.skip_connections)


class Net(nn.Module):
    """Two convolutions and what `forward` makes of them."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.b = nn.Conv2d(4, 4, 3, padding=1, bias=False)


class Parallel(Net):
    """Both of an activation."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        return torch.relu(self.a(x)) + torch.sigmoid(self.b(x))


class Residual(Net):
    """One after the other, beside nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x))) + x


class Projected(Net):
    """An activation and one convolution, beside another."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.a(x)) + self.b(x)


class Gated(Net):
    """The second convolution works on the mean alone."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return y * torch.sigmoid(self.b(y.mean((2, 3), keepdim=True)))


@pytest.mark.parametrize(
    ("net", "depth", "skips"),
    [(Parallel(), 1, 0), (Residual(), 2, 1), (Projected(), 1, 1), (Gated(), 1, 0)],
    ids=lambda one: type(one).__name__,
)
def test_depth_and_skips_by_hand(net: nn.Module, depth: int, skips: int) -> None:
    """A skip is the identity or a projection; a gate makes a network no deeper."""
    found = totals(Subject(net).observe(At((4, 6, 6), batch=1), Form.AS_RUN), [])
    assert (found.params, found.depth, found.skips) == (2 * 4 * 4 * 9, depth, skips)
