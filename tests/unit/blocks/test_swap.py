"""A network with other blocks: the networks that it then is are known by other names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from rv_check import load
from rv_check.archs.arch import Arch
from rv_check.bench import run
from rv_check.bench.timing import TimingPlan
from rv_check.blocks.swap import BATCH, Variant, first_gradient, own_block, pareto, standard, with_block, with_class
from rv_check.cli.commands import swap
from rv_check.cli.main import main
from rv_check.errors import RvCheckError
from tests.unit import wrong_blocks

FILE = Path(wrong_blocks.__file__)


def same(variant: Variant, arch: Arch) -> None:
    """The facts are those of another network."""
    found = variant.totals
    numbers = (found.params, found.macs, found.activations, found.depth, found.skips)
    assert numbers == (arch.params, arch.macs, arch.activations, arch.depth, arch.skip_connections)
    rows = {name: arch.step(name) for name in found.fields}
    assert {name: str(field) for name, field in found.fields.items()} == {
        name: str(row.receptive_field) for name, row in rows.items() if row
    }


@pytest.mark.parametrize(
    ("block", "other"),
    [
        ("bottleneck(groups=32, width_per_group=4)", "resnext50_32x4d"),
        ("bottleneck(width_per_group=128)", "wide_resnet50_2"),
        ("bottleneck_v1", "resnet50_v1"),
        ("basic", "resnet34"),
    ],
)
def test_a_block_of_the_language(block: str, other: str) -> None:
    """ResNet-50 with the block of another network is that network, whose figures are held to published ones."""
    same(with_block(load("resnet50"), block), load(other))


@pytest.mark.parametrize(
    ("cls", "other"),
    [
        (torchvision.models.resnet.Bottleneck, "resnet50"),
        (torchvision.models.resnet.BasicBlock, "resnet34"),
        (wrong_blocks.BottleneckBlock, "resnet50"),
    ],
    ids=["torchvision-bottleneck", "torchvision-basic", "article"],
)
def test_a_class(cls: type[nn.Module], other: str) -> None:
    """A class that is the block makes the network, seen as it runs."""
    variant = with_class(load("resnet50"), "a:Block", cls)
    assert "(inferred" in variant.call
    same(variant, load(other))


def test_the_arguments_of_the_arch_are_kept() -> None:
    """ResNeXt's groups reach the class."""
    same(
        with_class(
            load("resnext50_32x4d"),
            "a:Block",
            torchvision.models.resnet.Bottleneck,
            "inplanes=C, planes=width, stride=stride, downsample=projection, groups=groups, base_width=width_per_group",
        ),
        load("resnext50_32x4d"),
    )


def test_some_stages() -> None:
    """By hand: with the stride in the first 1x1 of layer4 alone, that works on 7x7 and not on 14x14 places."""
    arch = load("resnet50")
    variant = with_block(arch, "bottleneck_v1", ["4"])
    saved = (14 * 14 - 7 * 7) * 1024 * 512
    assert variant.totals.macs == arch.macs - saved == 4_012_113_920
    assert variant.totals.params == arch.params
    assert with_block(arch, "bottleneck_v1", ["layer4"]).totals == variant.totals
    assert variant.block == "bottleneck_v1 in layer4"
    same(with_block(arch, "bottleneck_v1", ["1", "2", "3", "4"]), load("resnet50_v1"))


def test_some_stages_of_a_group() -> None:
    """Where the stages stand in a group, and have numbers for names."""
    arch = load("specs/variants/preact.yaml::preact18")
    assert standard(arch).stages == ("stages.0", "stages.1", "stages.2", "stages.3")
    variant = with_block(arch, "preact_bottleneck", ["stages.3"])
    assert [row.y for name in variant.stages if (row := variant.arch.step(name))] == [
        (64, 56, 56), (128, 28, 28), (256, 14, 14), (2048, 7, 7)
    ]  # fmt: skip
    assert own_block(arch)[0] == "block"


def test_the_gradient_is_that_of_torchvision() -> None:
    """Built and measured by hand, from the same seeds."""
    found = first_gradient(standard(load("resnet18")), 2, (3, 64, 64))
    norms = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = torchvision.models.resnet18().train()
        x = torch.randn((BATCH, 3, 64, 64), generator=torch.Generator().manual_seed(seed))
        loss = nn.functional.cross_entropy(model(x), torch.randint(1000, (BATCH,)))
        loss.backward()
        norms.append(float(model.conv1.weight.grad.norm()))
    assert found.name == "conv1.weight"
    assert found.norms == pytest.approx(norms, rel=1e-4)
    assert norms[0] != pytest.approx(norms[1], rel=1e-3)


def test_pareto_by_hand() -> None:
    """The front of four points; two that are equal are both on it."""
    assert pareto([(1, 3), (2, 2), (2, 3), (3, 1)]) == [True, True, False, True]
    assert pareto([(1, 1), (1, 1)]) == [True, True]
    assert pareto([(1, 1), (1, 2)]) == [True, False]


class Narrows(nn.Conv2d):
    """Half the channels, whatever it is asked."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, in_channels // 2, 3, stride, 1)


@pytest.mark.parametrize(
    ("arch", "block", "stages", "words"),
    [
        ("vgg16", "basic", [], "vgg16 has no stages that are given a block"),
        ("resnet50", "residual_block", [], "block 'residual_block' has no body"),
        ("resnet50", "bottlenec", [], "did you mean: bottleneck"),
        ("resnet50", "basic", ["5"], "resnet50 has no stage '5'\n  expected: 1 to 4, or layer1, layer2"),
        ("resnet50", "basic", ["layer0"], "resnet50 has no stage 'layer0'"),
        ("resnet50", "bottleneck(width_per_group=0)", [], "an integer of at least 1"),
    ],
)
def test_what_does_not_fit(arch: str, block: str, stages: list[str], words: str) -> None:
    """What does not fit is refused, with what would."""
    with pytest.raises(RvCheckError) as error:
        with_block(load(arch), block, stages)
    assert words in str(error.value)


class KeepsItsSize(wrong_blocks.BasicBlock):
    """Right where there is no stride, which it takes and does not heed."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, 1)


def test_a_class_that_fits_some_places_alone() -> None:
    """One right shape is not enough: it is not put into the others."""
    with pytest.raises(RvCheckError, match="no call of a:KeepsItsSize gives the shapes of basic"):
        with_class(load("resnet18"), "a:KeepsItsSize", KeepsItsSize)


def test_a_class_that_does_not_fit() -> None:
    """No call gives the shapes of one; another is called so that it breaks on the way, and the line is said."""
    with pytest.raises(RvCheckError, match=r"no call of a:Narrows gives the shapes of bottleneck, basic"):
        with_class(load("resnet50"), "a:Narrows", Narrows)
    with pytest.raises(RvCheckError, match=r"(?s)Narrows .* does not run at .*layer1"):
        with_class(load("resnet50"), "a:Narrows", Narrows, "in_channels=2*C, out_channels=width")


# The command


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Two side by side; a class beside a block; JSON; and that no torch is needed where nothing runs."""
    assert main(["swap", "resnet50", "--block", "bottleneck_v1", "--stages", "4", "--seeds", "0"]) == 0
    out = capsys.readouterr().out
    assert "4,012,113,920 (-1.9%)" in out
    assert "gradient" not in out
    arguments = ["swap", "resnet18", "--block", f"{FILE}:BasicBlock", "--block", "se_bottleneck", "--seeds", "1"]
    assert main([*arguments, "--json", "--memory", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    own, mine, gated = found["variants"]
    assert {**mine, "block": "basic", "call": None} == {**own, "gradient_norms": mine["gradient_norms"]}
    assert mine["gradient_norms"] == pytest.approx(own["gradient_norms"])
    assert gated["fields"]["layer4"]["global"]
    assert own["kept_for_backward"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnet50", "--block", "nets.py:Block"], "there is no such file"),
        (["resnet50", "--block", f"{FILE}:BasicBloc"], "did you mean: BasicBlock"),
        (["resnet50", "--block", f"{FILE}:F"], "is a module\n  expected: a class of modules"),
        ([f"{FILE}:BasicBlock", "--block", "basic"], "expected: an arch"),
        (["resnet5", "--block", "basic"], "unknown arch 'resnet5'"),
        (["resnet50", "--block", f"{FILE}:BasicBlock", "--call", "in_channels=C +"], "is not a call"),
    ],
)
def test_bad_input(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A message and no table, for status 2."""
    assert main(["swap", *arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert not captured.out


TIMED = [
    *("swap", "resnet18(width=8)", "--block", "bottleneck", "--block", "basic", "--input", "3 32 32"),
    *("--seeds", "0", "--time", "2"),
]


def test_times(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Asked for, they are of every round; of another device they are a wrong question."""
    monkeypatch.setattr(swap, "PLAN", TimingPlan(seconds=0.05, rounds=8, warm_seconds=0.01))
    assert main([*TIMED, "--json"]) == 0
    own, other, _ = json.loads(capsys.readouterr().out)["variants"]
    assert len(own["times"]["forward"]) == len(other["times"]["backward"]) == 8
    assert min(min(samples) for samples in own["times"]["forward"]) > 0
    assert main([*TIMED, "--device", "no_such"]) == 2
    assert "no_such" in capsys.readouterr().err


def test_times_side_by_side(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One that takes twice as long is told from the arch's own block, one that takes as long is not; noise is seen."""
    taken = [[[0.010]] * 8, [[0.020]] * 8, [[0.008, 0.012]] * 8]
    monkeypatch.setattr(run, "side_by_side", lambda device, workloads, plan: taken)
    assert main(TIMED) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line for line in out.splitlines() if line.startswith(("basic", "bottleneck"))}
    assert out.count("10.00 x 1.000 (1.000 to 1.000) = noisy") == 2
    assert rows["bottleneck"].count("20.00 x 2.000 (2.000 to 2.000)") == 2
    assert "(2.000 to 2.000) =" not in rows["bottleneck"]
    assert "noisy" not in rows["bottleneck"]


def test_nothing_to_time(capsys: pytest.CaptureFixture[str]) -> None:
    """A size at which batch norm has one value a channel cannot train: said, not a traceback."""
    assert (
        main(
            ["swap", "resnet18(width=8)", "--block", "bottleneck", "--input", "3 32 32", "--seeds", "0", "--time", "1"]
        )
        == 2
    )
    assert "cannot be timed" in capsys.readouterr().err
