"""The receptive fields of the shipped archs and of torchvision's models: as printed elsewhere, and by gradients."""

from __future__ import annotations

import pytest
import torch
from torchvision import models

from rv_check.archs.arch import Arch
from rv_check.archs.load import archs, load, load_archs
from rv_check.language.files import shipped_folder
from rv_check.modules.observe import Subject
from rv_check.receptive_fields.formula import graph_lines
from rv_check.receptive_fields.measured import MeasuredField, compare_fields, measured_field, measured_lines, observed

LARGE = (
    *("resnet101", "resnet152", "resnext101", "wide_resnet101", "resnet_v1_101", "resnet_v1_152", "resnet_v1_200"),
    *("densenet169", "densenet201", "densenet161", "efficientnet_v2"),
    *(f"efficientnet_b{number}" for number in range(1, 8)),
    *(f"regnet_{kind}_{size}" for kind in "xy" for size in ("800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf", "128gf")),
)
SLIM = load_archs(shipped_folder() / "studies" / "tf_slim.yaml")


def each(chosen: list[Arch]) -> list[object]:
    """Archs as parameters, the large ones for the sweep."""
    return [pytest.param(a, id=a.name, marks=[pytest.mark.sweep] if a.name.startswith(LARGE) else []) for a in chosen]


@pytest.mark.parametrize("arch", each([*archs(), *SLIM]))
def test_measured_is_what_the_spec_says(arch: Arch) -> None:
    """Every stage, and every step with a contract: the built model's field has the formula's size, stride and start."""
    steps = {step: (field, measured) for step, field, measured in compare_fields(arch)}
    depth = 2 if any("." in contract.step for contract in arch.entry.contract) else 1  # where the stages are
    steps |= {step: (field, measured) for step, field, measured in compare_fields(arch, depth)}
    stated = {c.step: c.receptive_field for c in arch.entry.contract if c.receptive_field}
    assert set(stated) - {"features"} <= set(steps)
    assert len(steps) >= 5
    assert {step: str(measured) for step, (_, measured) in steps.items()} == {
        step: str(field) for step, (field, _) in steps.items()
    }
    for step in set(stated) & set(steps):
        measured = steps[step][1].field
        assert (measured.rows, measured.columns) == (stated[step].rows, stated[step].columns), step


def of_torchvision(name: str, step: str, size: int = 224, **arguments: object) -> MeasuredField:
    """A part of a torchvision model, measured."""
    with torch.device("meta"):
        model = models.get_model(name, weights=None, **arguments)
    return measured_field(observed(Subject(model), (3, size, size)), step)


# Araujo et al.'s table (google-research/receptive_field, README.md) and gradients through torchvision's own classes,
# made positive and linear by other code: extent, stride and first row of unit 0, and pixels that are not 0.
PRINTED = {
    ("vgg16", "features"): ("212/32/90", 44_944),
    ("vgg19", "features"): ("268/32/118", 71_824),
    ("resnet18", "layer4"): ("435/32/217", 189_225),
    ("resnet34", "layer4"): ("899/32/449", 808_201),
    ("resnet50", "layer4"): ("427/32/213", 182_329),
}


@pytest.mark.parametrize(("name", "step"), PRINTED)
def test_torchvision_models(name: str, step: str) -> None:
    """What was measured by other code, pixel for pixel."""
    found = of_torchvision(name, step)
    assert (str(found), found.pixels) == PRINTED[name, step]


def test_inception_v3_as_printed() -> None:
    """Branches of 1x7, 7x1 and 3x3 in a network of no spec of ours: 1311/32/618 in google-research's table."""
    found = of_torchvision("inception_v3", "Mixed_7c", 299, init_weights=False)
    assert str(found) == "1311/32/618"


@pytest.mark.parametrize(
    ("name", "size", "of"), [("mobilenet_v3_small", 224, 11), ("shufflenet_v2_x0_5", 224, 5), ("densenet121", 224, 7)]
)
def test_other_networks(name: str, size: int, of: int) -> None:
    """Gates, shuffles and depthwise convolutions: what is measured at every stage is what the graph's formula says."""
    with torch.device("meta"):
        model = models.get_model(name, weights=None)
    graph = observed(Subject(model), (3, size, size))
    lines = graph_lines(graph, None)
    assert len(lines) >= 4
    for line, found in zip(lines, measured_lines(graph, lines), strict=True):
        assert found is not None
        assert found.agrees(line.field), line.name
    assert any(line.field.through_gate for line in lines) == (name == "mobilenet_v3_small")
    assert lines[0].field.size <= of


# The stride in the first 1x1 (the paper), in the 3x3 (torchvision), in the last unit of a stage (TF-slim at 224, 321).
LAST = {
    "resnet50_v1": "483/32/241",
    "resnet101_v1": "1027/32/513",
    "resnet152_v1": "1507/32/753",
    "resnet18": "435/32/217",
    "resnet34": "899/32/449",
    "resnet50": "427/32/213",
    "resnet101": "971/32/485",
    "resnet152": "1451/32/725",
    "resnet152(depths=[3, 24, 36, 3])": "1707/32/853",
    "vgg11": "150/32/59",
    "vgg13": "156/32/62",
    "vgg16": "212/32/90",
    "vgg19": "268/32/118",
}


@pytest.mark.parametrize("name", LAST)
def test_last_maps(name: str) -> None:
    """The last maps are as recomputed by other code from the networks' definitions."""
    assert str(load(name).receptive_field) == LAST[name]
