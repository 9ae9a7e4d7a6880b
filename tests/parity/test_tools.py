"""Every rule of conventions.yaml against what the counter itself prints: as recorded, and as it runs here.

`tox -e counters` installs all of them; in the default run those that are missing are skipped, with what would run them.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from rv_check import build, load
from rv_check.archs.load import archs
from rv_check.costs.conventions import conventions
from rv_check.costs.operations import Operation, operations, operations_of
from rv_check.graphs.builder import Form
from rv_check.graphs.network import At
from rv_check.modules.observe import Subject
from tests.parity.tools import TOOLS, TOTALS

RECORDED: dict[str, Any] = json.loads(TOTALS.read_text(encoding="utf-8"))
OF_TORCHVISION = ("densenet121", "mobilenet_v2", "efficientnet_b0", "googlenet")
FROM_PAPER = {"torchvision", "he2015"}  # rules of printed numbers: tests/parity/test_printed_figures.py holds these


def seen(module: nn.Module, *x: int) -> list[Operation]:
    """The operations of one image."""
    return operations(Subject(module).observe(At(x, batch=1), Form.AS_RUN))


def test_every_rule_has_its_counter() -> None:
    """Every counter has its rule, too; the versions are those that were run."""
    assert set(TOOLS) == set(RECORDED["totals"]) == set(conventions()) - FROM_PAPER
    for name, tool in TOOLS.items():
        assert RECORDED["versions"][tool.package].startswith(conventions()[name].version)


@pytest.mark.parametrize("name", TOOLS)
def test_recorded_totals_of_every_arch(name: str) -> None:
    """The rule over the operations of each spec is, to the last digit, what the counter printed."""
    rule = conventions()[name]
    found = {arch.name: rule.total(operations_of(arch)) for arch in archs()}
    assert found == {arch: RECORDED["totals"][name].get(arch) for arch in found}


@pytest.mark.parametrize("network", OF_TORCHVISION)
def test_recorded_totals_of_other_networks(network: str) -> None:
    """Observed as they run: functional calls, depthwise convolutions, gates, ReLU6."""
    more = {"init_weights": False, "aux_logits": False} if network == "googlenet" else {}
    done = seen(torchvision.models.get_model(network, **more).to("meta"), 3, 224, 224)
    found = {name: conventions()[name].total(done) for name in TOOLS}
    assert found == {name: RECORDED["totals"][name][f"torchvision {network}"] for name in TOOLS}


class Conv(nn.Conv2d):
    """A convolution of one's own."""


class Block(nn.Module):
    """A user's: layers of torch's, a subclass of one, functions, a norm that is not affine, groups, a dilation."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 8, 3, padding=1, groups=2)
        self.norm = nn.BatchNorm2d(8)
        self.plain = nn.BatchNorm2d(8, affine=False)
        self.second = Conv(8, 6, (1, 3), dilation=2, bias=False)
        self.kernel = nn.Parameter(torch.ones(6, 6, 1, 1))
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        self.fc = nn.Linear(6, 7)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 4, 20, 24) -> (N, 7)."""
        x = self.pool(self.relu(self.norm(self.first(x))))
        x = F.silu(F.relu(self.plain(x))) + x
        x = F.max_pool2d(F.relu(F.conv2d(self.second(x), self.kernel)), 2)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", TOOLS)
@pytest.mark.parametrize("network", ["resnext50_32x4d(width=16)", "vgg16_bn(width=8)", "block"])
def test_the_counter_itself(name: str, network: str) -> None:
    """Run here, now, on grouped convolutions, on a VGG with norms, and on a user's block with functional calls."""
    arch = load(network, "3 64 64") if network != "block" else None
    module, x = (build(arch), arch.input) if arch else (Block(), (4, 20, 24))
    try:
        total = TOOLS[name].total(module, x)
    except ModuleNotFoundError as error:
        if "RV_CHECK_TOOLS" in os.environ:  # `tox -e counters`: all of them have to run
            raise
        pytest.skip(f"{error.name or error} is not installed: `tox -e counters` runs it")
    assert conventions()[name].total(seen(module, *x)) == total
    if arch:
        assert conventions()[name].total(operations_of(arch)) == total


@pytest.mark.parametrize("name", TOOLS)
def test_a_wrong_rule_is_seen(name: str) -> None:
    """Each coefficient, one more than it is, gives another total for some recorded network, or for the block."""
    rule = conventions()[name]
    networks = [operations_of(load("resnet50")), operations_of(load("vgg11_bn")), seen(Block(), 4, 20, 24)]
    right = [rule.total(done) for done in networks]
    kinds = {operation.kind for done in networks for operation in done}
    for part in ("counts", "layers", "functions"):
        for kind, terms in getattr(rule, part).items():
            for quantity in terms if kind in kinds else ():
                wrong = {**getattr(rule, part), kind: {**terms, quantity: terms[quantity] + 1}}
                changed = replace(rule, **{part: wrong})
                overruled = part == "counts" and kind in rule.layers
                assert overruled or [changed.total(done) for done in networks] != right, (part, kind, quantity)


def test_a_counter_changes_nothing() -> None:
    """Each is run on a copy: the module keeps its mode, its buffers, its hooks and its gradients."""
    module = Block().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    for tool in TOOLS.values():
        try:
            tool.total(module, (4, 20, 24))
        except ModuleNotFoundError:
            continue
    assert module.training
    assert module.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert all(parameter.grad is None for parameter in module.parameters())
