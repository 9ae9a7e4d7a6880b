"""Networks that other packages build: does rv_check say of each what was measured without it?

Torchvision's own run by default, and of the packages that are installed those that people use most. All of them:
`tox -e implementations`, which installs the packages.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec

import pytest
from torch import nn

from rv_check import RvCheckError, check, load
from rv_check.checks.findings import Finding, Report
from rv_check.checks.identify import has_structure, identify
from tests.parity.real_implementations import (
    ANOTHER,
    DECLARED,
    DIFFERENT,
    IMPLEMENTATIONS,
    SAME,
    Implementation,
    Verdict,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # the packages' own

BY_NAME = {one.name: one for one in IMPLEMENTATIONS}

# Measured by others, apart from the table.
KNOWN: dict[str, Verdict] = {
    "timm resnet18": SAME,
    "timm resnet34": SAME,
    "timm resnet50": SAME,
    "timm resnext50_32x4d": SAME,
    "timm wide_resnet50_2": SAME,
    "timm vgg11": DECLARED,
    "timm vgg16": DECLARED,
    "timm vgg16_bn": DECLARED,
    "timm seresnet50": DIFFERENT,
    "timm resnet50d": DIFFERENT,
    "timm resnetv2_50": DIFFERENT,
    "transformers resnet18": SAME,
    "transformers resnet50": SAME,
    "transformers resnet50 v1": ANOTHER,
    "pytorchcv resnet18": DECLARED,
    "pytorchcv resnet50b": DECLARED,
    "pytorchcv resnet50": ANOTHER,
    "pytorchcv vgg16": DECLARED,
    "pytorchcv bn_vgg16b": DECLARED,
    "pytorchcv bn_vgg16": DIFFERENT,
    "resnest resnet50": SAME,
    "resnest resnet50 radix=1": DIFFERENT,
    "resnest resnest50": DIFFERENT,
}
BIG = ("101", "152", "200", "vgg16", "vgg19", "fasterrcnn")  # in the name or arch of what takes many seconds
SAMPLE = [one for one in IMPLEMENTATIONS if one.name in KNOWN]
SAMPLE += [
    one
    for one in IMPLEMENTATIONS
    if one.package == "torchvision" and not any(big in one.arch or big in one.name for big in BIG)
]

NUMBERS = (
    "timm resnet18",
    "timm resnet50",
    "timm resnet18 num_classes=10",
    "timm resnet50 drop_rate=0.2",
    "timm vgg11",
    "transformers resnet18",
    "transformers resnet50 v1",
    "pytorchcv resnet18",
    "pytorchcv resnet50b",
    "resnest resnet50",
    "resnest resnet50 final_drop",
    "torchvision quantization.resnet18 quantize=False",
    "torchvision resnet50 feature_extractor",
)


def cases(names: Iterable[Implementation]) -> list[object]:
    """Each as a case of its own, by its name."""
    return [pytest.param(one, id=one.name.replace(" ", "-")) for one in names]


def built(one: Implementation) -> nn.Module:
    """The module, where its package is installed."""
    if find_spec(one.package) is None:
        pytest.skip(f"{one.package} is not installed: `tox -e implementations` installs it and runs this")
    return one.build()


def differences(report: Report) -> list[Finding]:
    """What differs in eval mode, at every size."""
    return [f for f in failed(report) if f.kind != "this input only" and not in_training(f)]


def failed(report: Report) -> list[Finding]:
    """What the check of the structure says against it."""
    return [f for f in report.findings if f.check == "structure" and f.status == "failed"]


def in_training(finding: Finding) -> bool:
    """Whether it shows in train mode only."""
    return finding.message.partition("\n")[0].endswith("(in train mode)")


def drops(one: Implementation) -> bool:
    """Whether it differs in train mode, in what it drops."""
    return "dropout" in one.but or "stochastic depth" in one.but


def hold_network(report: Report, one: Implementation, everywhere: bool) -> None:
    """It is the network: at every size or at the declared input only, and but for what it drops in training."""
    assert differences(report) == [], report
    assert any(map(in_training, failed(report))) == drops(one), report
    assert ["this input only"] * (not everywhere) == [f.kind for f in failed(report) if not in_training(f)], report
    assert report.passed == (everywhere and not drops(one)), report


def hold(one: Implementation) -> None:
    """rv_check's answer is what was measured."""
    module = built(one)
    if one.verdict == DIFFERENT:
        with suppress(RvCheckError):  # it may take other inputs, and then there is no report
            report = check(module, one.arch, level="structure")
            assert failed(report), report
        return
    report = check(module, one.arch, level="structure")
    if one.verdict == ANOTHER:
        assert differences(report), report
        hold_network(check(module, one.is_arch, level="structure"), one, "declared input only" not in one.but)
    else:
        hold_network(report, one, everywhere=one.verdict == SAME)
    identity, is_arch = identify(module), load(one.is_arch or one.arch)
    if "depths" not in is_arch.overrides:  # no shipped arch has these
        assert has_structure(module, identity.arch)
        assert (identity.arch.entry.name, dict(identity.arch.overrides)) == (is_arch.entry.name, is_arch.overrides)


@pytest.mark.parametrize("one", cases(SAMPLE))
def test_a_sample_is_what_it_was_measured_to_be(one: Implementation) -> None:
    """The same network, the same at one size only, another known one, or none of them."""
    hold(one)


@pytest.mark.implementations
@pytest.mark.parametrize("one", cases(IMPLEMENTATIONS))
def test_each_is_what_it_was_measured_to_be(one: Implementation) -> None:
    """The same, for every builder."""
    hold(one)


@pytest.mark.implementations
@pytest.mark.parametrize("one", cases(BY_NAME[name] for name in NUMBERS))
def test_numbers_say_the_same(one: Implementation) -> None:
    """Mapped by the structure, the numbers agree wherever the structure does."""
    report = check(built(one), one.is_arch or one.arch)
    everywhere = one.verdict != DECLARED and "declared input only" not in one.but
    hold_network(report_of_structure(report), one, everywhere)
    for finding in report.findings:
        if finding.level == "numbers":
            awaited = "blocked" if finding.check == "train" and drops(one) else "passed"
            assert finding.status == awaited, report
    assert report.reached("numbers") == (not drops(one))


def report_of_structure(report: Report) -> Report:
    """The part of a report that `level="structure"` gives."""
    return Report(report.subject, report.against, tuple(f for f in report.findings if f.level == "structure"))


def test_known_ones_are_among_them() -> None:
    """Two measurements, made apart, agree."""
    assert {name: BY_NAME[name].verdict for name in KNOWN} == KNOWN


def test_names_are_unique_and_archs_load() -> None:
    """Every row has a name of its own, and names archs that exist; only another arch is one."""
    assert len(BY_NAME) == len(IMPLEMENTATIONS)
    for one in IMPLEMENTATIONS:
        assert load(one.arch).params
        assert bool(one.is_arch) == (one.verdict == ANOTHER)
        assert not one.is_arch or load(one.is_arch).params
