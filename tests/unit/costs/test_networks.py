"""Networks of sequences, volumes and videos through all that is counted: multiply-adds, bytes, receptive fields."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.flop_counter import FlopCounterMode

from rv_check.costs.memory import kept_for_backward
from rv_check.costs.operations import operations
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph
from rv_check.graphs.network import At
from rv_check.modules.observe import Subject
from rv_check.receptive_fields.formula import graph_lines
from rv_check.receptive_fields.measured import measured_lines, observed
from tests.unit.measured_memory import measured_for_backward
from tests.unit.networks import TCN, R2Plus1D, ResNet1d, VNet


def upsampler() -> nn.Module:
    """A decoder of sequences that goes up by what is nearest, and by lines."""
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, 2, 1), nn.AvgPool1d(2), nn.Upsample(scale_factor=2), nn.Conv1d(4, 4, 3, padding=1),
        nn.Upsample(scale_factor=2, mode="linear"), nn.ReflectionPad1d(1), nn.Conv1d(4, 2, 3),
    )  # fmt: skip


def of_volumes() -> nn.Module:
    """Likewise of volumes, with pools."""
    return nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1, padding_mode="replicate"), nn.InstanceNorm3d(4), nn.MaxPool3d(2), nn.ELU(),
        nn.AvgPool3d(3, 1, 1), nn.Upsample(scale_factor=2), nn.Conv3d(4, 4, 1),
        nn.Upsample(scale_factor=(1, 2, 2), mode="trilinear"), nn.Dropout3d(0.2), nn.Conv3d(4, 2, 3, groups=2),
    )  # fmt: skip


def normed_weights() -> nn.Module:
    """Layers whose weights are computed, the first one's input having no gradient."""
    return nn.Sequential(
        weight_norm(nn.Linear(5, 6)), nn.Dropout1d(0.3), weight_norm(nn.Conv1d(2, 4, 3)), nn.Tanh(),
        weight_norm(nn.Linear(4, 3)),
    )  # fmt: skip


def pooled() -> nn.Module:
    """To fixed sizes."""
    return nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.AdaptiveMaxPool3d((2, 4, 4)), nn.AdaptiveAvgPool3d((1, 2, 2)), nn.Flatten(),
        nn.Linear(16, 3),
    )  # fmt: skip


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "a TCN": (TCN, (1, 100)),
    "a TCN that pads one end": (lambda: TCN(causal="pad"), (1, 100)),
    "a ResNet of sequences": (ResNet1d, (2, 128)),
    "a V-Net": (VNet, (1, 32, 32, 32)),
    "R(2+1)D": (R2Plus1D, (3, 8, 32, 32)),
    "up a sequence": (upsampler, (2, 64)),
    "up a volume": (of_volumes, (1, 8, 8, 8)),
    "weights that are computed": (normed_weights, (2, 5)),
    "pools to a size": (pooled, (1, 8, 12, 12)),
}
networks = pytest.mark.parametrize("name", NETWORKS)


def graph_of(name: str, training: bool, batch: int) -> Graph:
    """What it does, operation by operation."""
    make, size = NETWORKS[name]
    return Subject(make()).observe(At(size, batch=batch, training=training), Form.AS_RUN)


@networks
def test_multiply_adds(name: str) -> None:
    """They are half of what torch's counter says."""
    make, size = NETWORKS[name]
    with FlopCounterMode(display=False) as counter:
        make().eval()(torch.zeros(1, *size))
    assert 2 * sum(one.macs for one in operations(graph_of(name, training=False, batch=1))) == counter.get_total_flops()


@networks
def test_bytes_that_are_kept(name: str) -> None:
    """Those that are measured on the CPU, to the byte."""
    make, size = NETWORKS[name]
    found = sum(bytes_ for _, bytes_ in kept_for_backward(graph_of(name, training=True, batch=2)))
    assert found == measured_for_backward(make().train(), torch.zeros(2, *size))


@networks
def test_fields(name: str) -> None:
    """Each part's, by formula, is the one that gradients show."""
    make, size = NETWORKS[name]
    graph = observed(Subject(make()), size)
    lines = graph_lines(graph, 2)
    assert len(lines) >= 4
    for line, found in zip(lines, measured_lines(graph, lines), strict=True):
        assert found is None or found.agrees(line.field), f"{line.name}: {found.field.in_full}, {line.field.in_full}"
