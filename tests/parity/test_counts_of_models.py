"""Multiply-adds of other packages' models: rv_check against a counter that is written apart from it, and torch's.

A dozen of torchvision's by default; all that it lists are `sweep`, those of timm and of transformers `implementations`.
docs/results/counts.json, which the page of counters is made from, is held to the same runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from rv_check.ops.kinds import KINDS
from tests.parity.counted_models import SOURCES, Model, counts_of, of_torchvision, row_of
from tests.parity.independent_counts import NO_PRODUCTS, PRODUCTS, Products, UnknownOperator

pytestmark = pytest.mark.filterwarnings("ignore")  # the packages' own
RESULTS = Path(__file__).parents[2] / "docs" / "results" / "counts.json"
RECORDED: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8"))["result"]
SAMPLE = (
    *(
        "alexnet",
        "convnext_tiny",
        "deeplabv3_mobilenet_v3_large",
        "mnasnet0_5",
        "mobilenet_v3_small",
        "quantized_resnet18",
    ),
    *("r3d_18", "regnet_x_400mf", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "vit_b_16"),
)
REFUSED = {  # what has no number of multiply-adds that all agree on: a transform of Fourier's has many algorithms
    "FNetModel": ("_fft_c2c", "view_as_real"),
}


def hold(source: str, name: str) -> None:
    """Ours is the independent count, and torch's where it knows all operators; it is what is recorded.

    What is refused is refused by both.
    """
    if find_spec(source) is None:
        pytest.skip(f"{source} is not installed: `tox -e implementations` installs it and runs this")
    model = SOURCES[source][0](name)
    found = counts_of(model)
    assert found.refused == REFUSED.get(name, ())
    assert found.macs == found.independent
    if name in REFUSED:
        assert found.macs is None
    else:
        assert found.macs
        assert found.torch == found.macs - sum(found.unseen_by_torch.values())
    assert json.loads(json.dumps(row_of(model, found))) == RECORDED[source]["models"][name]


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample(name: str) -> None:
    """Of torchvision's: dense, grouped, dilated and three-dimensional convolutions, attention."""
    hold("torchvision", name)


@pytest.mark.sweep
@pytest.mark.parametrize("name", SOURCES["torchvision"][1]())
def test_every_model_of_torchvision(name: str) -> None:
    """Classification, quantization, segmentation, detection, video and optical flow."""
    hold("torchvision", name)


@pytest.mark.implementations
@pytest.mark.parametrize(
    ("source", "name"), [(source, name) for source in ("timm", "transformers") for name in SOURCES[source][1]()]
)
def test_models_of_other_packages(source: str, name: str) -> None:
    """One of each file of timm's, and small ones of each architecture of transformers."""
    hold(source, name)


@pytest.mark.sweep
def test_all_of_torchvision_is_recorded() -> None:
    """None is left out of the table."""
    assert list(RECORDED["torchvision"]["models"]) == torchvision.models.list_models()


def test_all_that_is_held_is_recorded() -> None:
    """Nor of the others."""
    assert {source: list(found["models"]) for source, found in RECORDED.items() if source != "torchvision"} == {
        source: names() for source, (_, names) in SOURCES.items() if source != "torchvision"
    }
    assert len(RECORDED["timm"]["models"]) == 150


def test_the_record_says_so() -> None:
    """In the table's numbers, too, ours is the independent count, and torch's lacks what it is said to lack."""
    for found in RECORDED.values():
        for name, one in found["models"].items():
            assert one["macs"] == one["independent"], name
            assert one.get("refused", []) == list(REFUSED.get(name, ())), name
            if name not in REFUSED:
                assert one["macs"] == one["torch"] + sum(one.get("unseen_by_torch", {}).values()), name


@pytest.mark.parametrize(("kind", "name"), [("conv", "alexnet"), ("linear", "alexnet"), ("matmul", "swin_t")])
def test_a_missing_count_is_seen(kind: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a kind is taken to multiply nothing, ours is less than the independent count."""
    monkeypatch.setitem(KINDS, kind, replace(KINDS[kind], multiplies="nothing"))
    found = counts_of(of_torchvision(name))
    assert found.macs is not None
    assert found.independent is not None
    assert found.macs < found.independent


# The independent counter itself. By hand: outputs x channels x filter, and rows x columns x what is summed.

X = torch.ones(2, 4, 9, 9)
SEQUENCE = torch.ones(3, 2, 6)  # 3 steps of 2
LSTM, BOTH_WAYS = nn.LSTM(6, 5), nn.LSTM(6, 5, bidirectional=True)


def in_groups(x: Tensor) -> Tensor:
    """18 rows of 4 with the first matrix of 4x8, 18 with the second."""
    ends = torch.tensor([18, 36], dtype=torch.int32)
    return F.grouped_mm(x.reshape(-1, 4)[:36], torch.ones(2, 4, 8), offs=ends)


BY_HAND: dict[str, tuple[Callable[[], object], int]] = {
    "a convolution": (lambda: F.conv2d(X, torch.ones(6, 4, 3, 3), padding=1), 2 * 81 * 6 * 4 * 9),
    "strides": (lambda: F.conv2d(X, torch.ones(6, 4, 3, 3), stride=(2, 4)), 2 * 4 * 2 * 6 * 4 * 9),
    "a dilation": (lambda: F.conv2d(X, torch.ones(6, 4, 3, 3), dilation=4), 2 * 1 * 6 * 4 * 9),
    "groups": (lambda: F.conv2d(X, torch.ones(8, 1, 3, 3), groups=4), 2 * 49 * 8 * 9),
    "transposed, in groups": (
        lambda: F.conv_transpose2d(X, torch.ones(4, 3, 2, 2), stride=2, output_padding=1, groups=2),
        2 * 81 * 4 * 3 * 4,
    ),
    "one axis": (lambda: F.conv1d(X.flatten(2), torch.ones(5, 4, 2)), 2 * 80 * 5 * 4 * 2),
    "three axes": (lambda: F.conv3d(X[:, None], torch.ones(5, 1, 2, 2, 2)), 2 * 3 * 64 * 5 * 8),
    "a bent one": (
        lambda: torchvision.ops.deform_conv2d(X, torch.zeros(2, 18, 7, 7), torch.ones(6, 4, 3, 3)),
        2 * 49 * 6 * 4 * 9,
    ),
    "matrices": (lambda: torch.ones(5, 7) @ torch.ones(7, 3), 5 * 7 * 3),
    "of a batch": (lambda: torch.ones(2, 4, 5, 7) @ torch.ones(7, 3), 8 * 5 * 7 * 3),
    "each of a batch": (lambda: torch.ones(2, 5, 7) @ torch.ones(2, 7, 3), 2 * 5 * 7 * 3),
    "added": (lambda: torch.addmm(torch.ones(3), torch.ones(5, 7), torch.ones(7, 3)), 5 * 7 * 3),
    "added, of a batch": (
        lambda: torch.baddbmm(torch.ones(3), torch.ones(2, 5, 7), torch.ones(2, 7, 3)),
        2 * 5 * 7 * 3,
    ),
    "added up": (lambda: torch.addbmm(torch.ones(3), torch.ones(2, 5, 7), torch.ones(2, 7, 3)), 2 * 5 * 7 * 3),
    "a vector": (lambda: torch.ones(5, 7) @ torch.ones(7), 5 * 7),
    "a vector, added": (lambda: torch.addmv(torch.ones(5), torch.ones(5, 7), torch.ones(7)), 5 * 7),
    "two vectors": (lambda: torch.ones(7) @ torch.ones(7), 7),
    "vdot": (lambda: torch.vdot(torch.ones(7), torch.ones(7)), 7),
    "experts": (lambda: in_groups(X), 36 * 4 * 8),
    # 4 heads of 5 queries with 9 keys of 8: scores, and what comes of them.
    "attention": (
        lambda: F.scaled_dot_product_attention(torch.ones(1, 4, 5, 8), *[torch.ones(1, 4, 9, 8)] * 2),
        4 * 5 * 9 * (8 + 8),
    ),
    "keys that are shared": (
        lambda: F.scaled_dot_product_attention(
            torch.ones(1, 4, 5, 8), *[torch.ones(1, 2, 5, 8)] * 2, is_causal=True, enable_gqa=True
        ),
        4 * 5 * 5 * (8 + 8),
    ),
    # 4 gates of 5 from 6 inputs and 5 of the state, at 3 steps of 2.
    "an LSTM": (lambda: LSTM(SEQUENCE), 3 * 2 * 4 * 5 * (6 + 5)),
    "an LSTM both ways": (lambda: BOTH_WAYS(SEQUENCE), 2 * 3 * 2 * 4 * 5 * (6 + 5)),
    "nothing": (lambda: F.max_pool2d(X, 2).relu().sum().add(1), 0),
}


@pytest.mark.parametrize(("run", "macs"), BY_HAND.values(), ids=BY_HAND)
def test_the_independent_counter(run: Callable[[], object], macs: int) -> None:
    """What it is held to is right itself."""
    with torch.no_grad(), Products() as products:
        run()
    assert products.total == macs


def test_every_product_is_tried() -> None:
    """By hand each of the counter's formulas is used; an operator is not in both of its lists."""
    with torch.no_grad(), Products() as products:
        for run, _ in BY_HAND.values():
            run()
    assert set(products.of) == set(PRODUCTS)
    assert not set(PRODUCTS) & NO_PRODUCTS


def test_the_independent_counter_leaves_nothing_out() -> None:
    """An operator that it does not know is an error."""
    with pytest.raises(UnknownOperator, match="_fft_r2c"), Products():
        torch.fft.rfft(X)


def test_what_chooses_by_values_is_counted_on_real_tensors() -> None:
    """Where meta does not do, both look at the same image: the number of boxes is that of this one."""

    class Chooses(nn.Module):
        """A linear layer, of the places above 0 only."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 5)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.linear(x[x[..., 0] > 0])
            return y

    found = counts_of(Model("chooses", Chooses, (40, 3), on_meta=False))
    assert found.macs == found.independent == found.torch
    assert found.macs % (3 * 5) == 0
    assert 0 < found.macs < 40 * 3 * 5
