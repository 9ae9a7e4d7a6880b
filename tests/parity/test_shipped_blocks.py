"""Every block that ships is built and run, whether or not an arch uses it."""

from __future__ import annotations

import re

import pytest
import torch

from rv_check.archs.load import load
from rv_check.blocks.contract import UNITS, Contract, block_arch, find_contract, probes
from rv_check.errors import RvCheckError
from rv_check.graphs.match import match
from rv_check.graphs.network import At
from rv_check.graphs.of_arch import graph_of
from rv_check.modules.build import build
from rv_check.modules.observe import Subject
from tests import ROOT

NAMES = [path.stem for path in sorted((ROOT / "specs" / "blocks").rglob("*.yaml"))]
OF_ARCHS = {  # they take a block, or are inline: an arch that uses each
    "stage": "resnet18",
    "vgg_stage": "vgg11",
    "mb_stage": "efficientnet_b0",
    "inverted_stage": "mobilenet_v2",
}
WITHOUT_BODY = ("residual_block", "downsampling_residual_block")  # what a block has to do, and no block


def mistakes(contract: Contract, module_of: Contract) -> list[str]:
    """Where the module of a block, as it runs, is not what a block's text says, in the cases that matter."""
    found = []
    for values, x in probes(contract, UNITS[1]):
        arch = block_arch(contract.block, values, x)
        module = build(block_arch(module_of.block, values, x))
        for training in (False, True):
            seen = Subject(module).observe(At(x, training=training))
            found += [str(one) for one in match(graph_of(arch, training=training), seen).differences]
        with torch.no_grad():
            y = module.eval()(torch.zeros(2, *x))
        if y.shape[1:] != contract.out(values, x):
            found.append(f"{tuple(y.shape[1:])}, expected {contract.out(values, x)}")
        if sum(parameter.numel() for parameter in module.parameters()) != arch.params:
            found.append(f"parameters, expected {arch.params}")
    return found


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {*OF_ARCHS, *WITHOUT_BODY}])
def test_a_block_is_what_its_text_says(name: str) -> None:
    """Operation by operation, in eval and train mode, at a stride and where the channels change."""
    contract = find_contract(name)
    assert contract.has_body
    assert mistakes(contract, contract) == []


@pytest.mark.parametrize(
    ("name", "other", "words"),
    [
        ("bottleneck", "bottleneck_v1", "stride"),  # in another convolution
        ("basic", "basic_a", "parameters, expected"),  # a shortcut without weights
        ("bottleneck", "basic", "), expected ("),  # a quarter of the channels
    ],
)
def test_another_block_is_seen(name: str, other: str, words: str) -> None:
    """The test above can fail: where the module is that of another block, each of what is compared says so."""
    assert words in "\n".join(mistakes(find_contract(name), find_contract(other)))


@pytest.mark.parametrize(("name", "arch"), OF_ARCHS.items())
def test_what_no_class_can_be_is_in_an_arch(name: str, arch: str) -> None:
    """What cannot be built alone is built, and checked, within the arch that is made of it."""
    with pytest.raises(RvCheckError, match=r"takes a block|is inline"):
        find_contract(name)
    assert re.search(rf"\b{name}\(", load(arch).family.path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", WITHOUT_BODY)
def test_what_has_no_body_is_a_contract(name: str) -> None:
    """There is nothing to build: blocks are held to it (tests/unit/blocks)."""
    assert not find_contract(name).has_body
