"""Every published number, held against something that is not the spec.

What a paper or a release prints is transcribed a second time in printed_figures.json, with the table it stands in; what
torch counts is counted again, on torchvision's model; what torchvision states must be stated of that network.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

from rv_check.archs import load
from rv_check.archs.arch import Arch
from rv_check.archs.load import archs_of
from rv_check.checks.published import QUOTED, hold, value_of
from rv_check.language import files, library
from rv_check.language.definitions import Family, Published
from rv_check.modules.reference import metadata_source

PRINTED = Path(__file__).with_name("printed_figures.json")
COUNTED = re.compile(r"counted by torch\.utils\.flop_counter on torchvision (\w+), halved")
KEYS = {
    "params": ("num_params",),
    "gmacs": ("_ops",),
    "top1": ("_metrics", "ImageNet-1K", "acc@1"),
    "top5": ("_metrics", "ImageNet-1K", "acc@5"),
}  # where torchvision's metadata keeps a metric


def figure_differences(folder: Path) -> list[str]:
    """What is wrong with the published numbers of the families in a folder; nothing where all hold."""
    families = [library.load(path) for path in files.family_files(folder)]
    archs = [arch for f in families if isinstance(f, Family) for arch in archs_of(f)]
    return differences(archs, transcription())


def differences(archs: Iterable[Arch], rows: Iterable[dict[str, str]]) -> list[str]:
    """What is wrong with the published numbers of these archs, given the transcribed rows."""
    found: list[str] = []
    printed: Counter[tuple[str, str, str]] = Counter()
    for arch in archs:
        for entry in arch.entry.published:
            if metadata_source(entry.source) is not None:
                found += stated_elsewhere(arch, entry)
            elif COUNTED.fullmatch(entry.source):
                found += counted_otherwise(arch, entry)
            else:
                printed[arch.name, entry.metric, entry.printed] += 1
            found += held_otherwise(arch, entry)
    transcribed = Counter((row["arch"], row["metric"], row["printed"]) for row in rows)
    found += [f"{' '.join(key)} is published and not in {PRINTED.name}" for key in (printed - transcribed)]
    found += [f"{' '.join(key)} is in {PRINTED.name} and not published" for key in (transcribed - printed)]
    return found


def stated_elsewhere(arch: Arch, entry: Published) -> Iterator[str]:
    """A number of torchvision's metadata stands where that metric stands, among the weights of that network."""
    source = metadata_source(entry.source)
    assert source is not None
    if KEYS.get(entry.metric) != source.keys:
        yield f"{arch.name} {entry.metric} is taken from {'/'.join(source.keys)}"
    if arch.name not in torchvision.models.list_models():
        yield f"{arch.name} {entry.metric} is taken from torchvision, which has no {arch.name}"
    elif torchvision.models.get_model_weights(arch.name).__name__ != source.weights:
        yield f"{arch.name} {entry.metric} is taken from {source.weights}"


def counted_otherwise(arch: Arch, entry: Published) -> Iterator[str]:
    """A number that is said to be counted is what torch counts on torchvision's model of that network."""
    match = COUNTED.fullmatch(entry.source)
    assert match is not None
    if entry.metric != "macs" or match[1] != arch.name:
        yield f"{arch.name} {entry.metric} is said to be {entry.source}"
    elif int(entry.printed.replace("_", "")) != counted_macs(arch.name):
        yield f"{arch.name} macs {entry.printed}, torch counts {counted_macs(arch.name):_}"


def held_otherwise(arch: Arch, entry: Published) -> Iterator[str]:
    """Nothing is said of how a quoted number holds; a verdict is needed; `within:` is the smallest whole percentage.

    What is looser would hide a change; what is said of a number that nothing is compared with is an empty claim.
    """
    if entry.metric in QUOTED:
        if entry.within is not None or entry.verdict is not None:
            yield f"{arch.name} {entry.metric} {entry.printed} is quoted, and something is said of how it holds"
    elif entry.verdict is not None and hold(replace(entry, verdict=None), value_of(arch, entry))[0]:
        yield f"{arch.name} {entry.metric} {entry.printed} holds, and is said to be {entry.verdict}"
    elif entry.within is not None:
        tighter = replace(entry, within=entry.within - 1)
        if entry.within != entry.within.to_integral_value() or hold(tighter, value_of(arch, entry))[0]:
            yield f"{arch.name} {entry.metric} {entry.printed} within {entry.within}% would hold within less"


@cache
def counted_macs(name: str) -> int:
    """Multiply-adds that torch counts on torchvision's model, on meta, at the size that its weights are for."""
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None)
        crop = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].transforms().crop_size[0]
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model.eval()(torch.empty(1, 3, crop, crop))
    return counter.get_total_flops() // 2


def transcription() -> list[dict[str, str]]:
    """The transcribed figures."""
    return json.loads(PRINTED.read_text())


def test_every_published_number_is_where_it_is_said_to_be() -> None:
    """Transcribed once more in printed_figures.json, counted by torch, or stated by torchvision of that network."""
    assert figure_differences(files.shipped_folder()) == []


def test_every_row_names_its_source_and_table() -> None:
    """A transcribed figure can be looked up."""
    assert [row for row in transcription() if not (row["source"] and row["table"])] == []


def shipped(name: str) -> Arch:
    """A shipped arch."""
    return next(arch for arch in load.archs() if arch.name == name)


def changed(name: str, position: int, **fields: object) -> list[Arch]:
    """The shipped archs, with the fields of one published entry of `name` changed."""
    found = []
    for arch in load.archs():
        if arch.name == name:
            entries = list(arch.entry.published)
            entries[position] = replace(entries[position], **fields)
            arch = replace(arch, entry=replace(arch.entry, published=tuple(entries)))
        found.append(arch)
    return found


def test_a_changed_figure_is_found_on_both_sides() -> None:
    """A figure that is changed is published without a row, and its row is not published."""
    at = [entry.printed for entry in shipped("resnet34").entry.published].index("24.52")
    assert differences(changed("resnet34", at, printed="24.53"), transcription()) == [
        "resnet34 top1_error 24.53 is published and not in printed_figures.json",
        "resnet34 top1_error 24.52 is in printed_figures.json and not published",
    ]


def test_a_changed_row_and_a_second_row_are_found() -> None:
    """One row an entry: a row that is changed or stands twice is found."""
    assert len(differences(load.archs(), [*transcription()[1:], {**transcription()[0], "printed": "134"}])) == 2
    assert len(differences(load.archs(), [transcription()[0], *transcription()])) == 1


def test_a_changed_count_is_found() -> None:
    """What is said to be counted by torch is counted again."""
    at = [entry.metric for entry in shipped("resnet18").entry.published].index("macs")
    found = differences(changed("resnet18", at, printed="1_814_073_345"), transcription())
    assert found == ["resnet18 macs 1_814_073_345, torch counts 1_814_073_344"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "top5"}, "resnet18 top5 is taken from _metrics/ImageNet-1K/acc@1"),
        (
            {"source": 'torchvision ResNet34_Weights.IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]["acc@1"]'},
            "resnet18 top1 is taken from ResNet34_Weights",
        ),
    ],
)
def test_a_number_taken_from_elsewhere_is_found(fields: dict[str, object], message: str) -> None:
    """Another metric's number, or another network's."""
    at = [entry.metric for entry in shipped("resnet18").entry.published].index("top1")
    assert differences(changed("resnet18", at, **fields), transcription()) == [message]


def test_a_looser_tolerance_is_found() -> None:
    """`within: 3%` where 2% holds."""
    at = [entry.printed for entry in shipped("resnet34").entry.published].index("3.6")
    found = differences(changed("resnet34", at, within=Decimal(3)), transcription())
    assert found == ["resnet34 gmacs 3.6 within 3% would hold within less"]


def test_a_verdict_on_a_figure_that_holds_is_found() -> None:
    """It is found also where it cannot be true: the three numbers of a receptive field are not cut off."""
    at = [entry.metric for entry in shipped("vgg16").entry.published].index("receptive_field")
    found = differences(changed("vgg16", at, verdict="truncated"), transcription())
    assert found == ["vgg16 receptive_field 212/32/90 holds, and is said to be truncated"]


@pytest.mark.parametrize("fields", [{"verdict": "wrong"}, {"within": Decimal(1)}])
def test_a_verdict_on_a_quoted_number_is_found(fields: dict[str, object]) -> None:
    """Nothing is compared with a quoted accuracy, so that nothing can be said of how it holds."""
    at = [entry.metric for entry in shipped("resnet34").entry.published].index("top1_error")
    found = differences(changed("resnet34", at, **fields), transcription())
    assert found == ["resnet34 top1_error 24.52 is quoted, and something is said of how it holds"]
