"""The variants of ResNet, held against the packages that have them, and broken to see that it is noticed.

Where torchvision has an argument for a variant, or its ResNet becomes one by a change of a few lines, that is the
reference; else timm's network is, in the tests marked `implementations`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.ops import StochasticDepth

from rv_check import build, check, load
from rv_check.archs.arch import Arch
from rv_check.archs.load import archs, load_archs
from rv_check.checks.registry import check_arch
from rv_check.checks.structure import compare
from rv_check.graphs.of_arch import ArchNetwork
from rv_check.language import files
from rv_check.modules.observe import Subject

FOLDER = files.shipped_folder() / "variants"
FILES = files.family_files(FOLDER)
SMALL = "3 64 64"


def variant(name: str, input: str | None = None) -> Arch:
    """`preact.yaml::preact18` of the folder of variants, or an arch that needs no file."""
    return load(f"{FOLDER}/{name}" if "::" in name else name, input=input)


# What the files say of themselves


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_contracts_and_printed_numbers_hold(file: Any) -> None:
    """Every variant is true to its contract, and to what is published of it."""
    for arch in load_archs(file):
        report = check_arch(arch, ("spec",))
        assert report.passed, report
        assert arch.entry.contract, f"{arch.name} has no contract"


CIFAR = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962, 1202: 19_421_274}


@pytest.mark.parametrize(("layers", "params"), CIFAR.items())
def test_cifar_resnets_have_the_parameters_counted_by_hand(layers: int, params: int) -> None:
    """432 of conv1, 640 + 10 of fc, the convolutions of n blocks a stage, and two for each channel of their norms."""
    n = (layers - 2) // 6
    convs = 9 * (2 * n * 16 * 16 + (2 * n - 1) * 32 * 32 + 16 * 32 + (2 * n - 1) * 64 * 64 + 32 * 64)
    norms = 2 * (16 + 2 * n * (16 + 32 + 64))
    assert params == 432 + 650 + convs + norms
    arch = variant(f"cifar.yaml::resnet{layers}")
    assert (params, layers) == (arch.params, arch.depth)


# Every block in the shipped family, and every other skeleton, in small.

BLOCKS = {
    "option A, basic": "resnet18(block=basic_a, width=8, depths=[1, 2, 1, 1])",
    "option A, zeros on both sides": "resnet18(block=basic_a(centred=True), width=8, depths=[1, 2, 1, 1])",
    "option C, basic": "resnet18(block=basic_c, width=8, depths=[1, 2, 1, 1])",
    "option C, bottleneck": "resnet50(block=bottleneck_c, width=8, depths=[1, 2, 1, 1])",
    "a pool before the projection, basic": "resnet18(block=basic_d, width=8, depths=[1, 2, 1, 1])",
    "a pool before the projection, bottleneck": "resnet50(block=bottleneck_d, width=8, depths=[1, 2, 1, 1])",
    "squeeze and excitation": "resnet50(block=se_bottleneck, width=8, depths=[1, 2, 1, 1])",
    "squeeze and excitation, less": "resnet50(block=se_bottleneck(reduction=4), width=8, depths=[1, 2, 1, 1])",
    "one rate, basic": "resnet18(block=basic_drop(drop=0.3), width=8, depths=[1, 2, 1, 1])",
    "one rate, bottleneck": "resnet50(block=bottleneck_drop(drop=1/3), width=8, depths=[1, 2, 1, 1])",
    "groups, the stem's norm of the batch": "resnet50(block=bottleneck_gn(groups=4), width=8, depths=[1, 2, 1, 1])",
    "holes": "resnet50(block=bottleneck_dilated(dilation=2), width=8, depths=[1, 2, 1, 1])",
    "CIFAR, option A": "cifar.yaml::resnet20(depth=2)",
    "CIFAR, plain": "cifar.yaml::plain20(depth=1)",
    "CIFAR, preact": "cifar_preact.yaml::preact164(depth=1)",
    "preact, basic": "preact.yaml::preact18(width=8, depths=[1, 2, 1, 1])",
    "preact, bottleneck": "preact.yaml::preact50(width=8, depths=[1, 2, 1, 1])",
    "ResNet-D, basic": "resnet_d.yaml::resnet18d(width=8, depths=[1, 2, 1, 1])",
    "ResNet-C": "resnet_d.yaml::resnet50c(width=8, depths=[1, 2, 1, 1])",
    "ResNet-D": "resnet_d.yaml::resnet50d(width=8, depths=[1, 2, 1, 1])",
    "GroupNorm": "groupnorm.yaml::resnet50_gn(width=8, groups=4, depths=[1, 2, 1, 1])",
    "output stride 16": "dilated.yaml::resnet50_os16(width=8, depths=[1, 1, 2, 2])",
    "output stride 8": "dilated.yaml::resnet50_os8(width=8, depths=[1, 1, 2, 2])",
    "stochastic depth, basic": "stochastic_depth.yaml::resnet18_drop(width=8, depths=[1, 2, 1, 1])",
    "stochastic depth": "stochastic_depth.yaml::resnet50_drop(width=8, depths=[1, 2, 1, 1], rate=0.7)",
}


@pytest.mark.parametrize("name", BLOCKS.values(), ids=BLOCKS)
def test_a_variant_is_what_its_spec_says(name: str) -> None:
    """The module that is built from a spec does the operations of its spec, in both modes and at several sizes."""
    arch = variant(name, None if "cifar" in name else SMALL)
    with torch.device("meta"):
        module = build(arch)
    report = check(module, arch, level="structure")
    assert report.passed, report


@pytest.mark.parametrize("name", BLOCKS.values(), ids=BLOCKS)
def test_a_variant_holds_at_odd_and_oblong_inputs(name: str) -> None:
    """`in:` and `out:` hold where a stride leaves a rest and rows are not columns, and torch gives those shapes."""
    arch = variant(name, "3 97 65")
    with torch.device("meta"):
        assert (2, 10 if "cifar" in name else 1000) == tuple(build(arch)(torch.empty(2, 3, 97, 65)).shape)
    assert arch.tree.root.y == arch.at((3, 97, 65)).tree.root.y


# torchvision, as it is or with the documented difference made by hand


def group_norm(groups: int = 32) -> Callable[[int], nn.Module]:
    """torchvision's norm_layer for a norm of groups."""
    return partial(nn.GroupNorm, groups)


class Zeros(nn.Module):
    """Every second pixel, and zeros around the channels, as akamaster/pytorch_resnet_cifar10 writes it."""

    def __init__(self, before: int, after: int, stride: int):
        super().__init__()
        self.before, self.after, self.stride = before, after, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, self.before, self.after), "constant", 0)


class Joined(nn.Module):
    """A pool of single pixels, and zeros joined to the channels, as in facebook/fb.resnet.torch."""

    def __init__(self, stride: int):
        super().__init__()
        self.pool = nn.AvgPool2d(1, stride)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        return torch.cat([x, x.mul(0)], 1)


def without_projections(shortcut: Callable[[int, int], nn.Module]) -> ResNet:
    """torchvision's ResNet-18 with `shortcut(channels, stride)` where it has a projection."""
    net = torchvision.models.resnet18()
    for block in net.modules():
        if isinstance(block, BasicBlock) and block.downsample is not None:
            block.downsample = shortcut(block.conv1.in_channels, block.stride)
    return net


def with_every_projection(net: ResNet) -> ResNet:
    """The same network with a projection in every block (option C)."""
    for block in net.modules():
        if isinstance(block, BasicBlock | Bottleneck) and block.downsample is None:
            channels = block.conv1.in_channels
            block.downsample = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
    return net


class Dropped(nn.Sequential):
    """A norm, and stochastic depth behind it."""


def with_stochastic_depth(net: ResNet, rate: float, mode: str = "row") -> ResNet:
    """The same network with torchvision's StochasticDepth at the end of each residual branch, linearly more of it."""
    blocks = [block for block in net.modules() if isinstance(block, BasicBlock | Bottleneck)]
    for at, block in enumerate(blocks):
        last = "bn3" if isinstance(block, Bottleneck) else "bn2"
        drop = StochasticDepth(rate * at / (len(blocks) - 1), mode)
        setattr(block, last, Dropped(getattr(block, last), drop))
    return net


def dilated(*replace: bool, layers: tuple[int, ...] = (3, 4, 6, 3)) -> ResNet:
    """torchvision's ResNet-50 with dilation in place of the strides of the last stages."""
    return ResNet(Bottleneck, list(layers), replace_stride_with_dilation=list(replace))


TORCHVISION: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "GroupNorm": ("groupnorm.yaml::resnet50_gn", lambda: torchvision.models.resnet50(norm_layer=group_norm())),
    "GroupNorm of 16": (
        "groupnorm.yaml::resnet50_gn(groups=16, depths=[1, 1, 1, 1])",
        lambda: ResNet(Bottleneck, [1, 1, 1, 1], norm_layer=group_norm(16)),
    ),
    "output stride 16": ("dilated.yaml::resnet50_os16", lambda: dilated(False, False, True)),
    "output stride 8": ("dilated.yaml::resnet50_os8", lambda: dilated(False, True, True)),
    "option A, zeros after": (
        "resnet18(block=basic_a)",
        lambda: without_projections(lambda channels, stride: Zeros(0, channels, stride)),
    ),
    "option A, zeros joined": (
        "resnet18(block=basic_a)",
        lambda: without_projections(lambda channels, stride: Joined(stride)),
    ),
    "option A, zeros on both sides": (
        "resnet18(block=basic_a(centred=True))",
        lambda: without_projections(lambda channels, stride: Zeros(channels // 2, channels // 2, stride)),
    ),
    "option C, basic": ("resnet18(block=basic_c)", lambda: with_every_projection(torchvision.models.resnet18())),
    "option C": ("resnet50(block=bottleneck_c)", lambda: with_every_projection(torchvision.models.resnet50())),
    "stochastic depth, basic": (
        "stochastic_depth.yaml::resnet18_drop",
        lambda: with_stochastic_depth(torchvision.models.resnet18(), 0.2),
    ),
    "stochastic depth": (
        "stochastic_depth.yaml::resnet50_drop(rate=0.5)",
        lambda: with_stochastic_depth(torchvision.models.resnet50(), 0.5),
    ),
}


@pytest.mark.parametrize(("name", "reference"), TORCHVISION.values(), ids=TORCHVISION)
def test_torchvision_is_the_variant(name: str, reference: Callable[[], nn.Module]) -> None:
    """Both have as many parameters and the same operations, in both modes and at several sizes."""
    arch = variant(name)
    with torch.device("meta"):
        module = reference()
    assert arch.params == sum(parameter.numel() for parameter in module.parameters())
    report = check(module, arch, level="structure")
    assert report.passed, report


NUMBERS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "GroupNorm": (
        "groupnorm.yaml::resnet50_gn(depths=[1, 1, 1, 1])",
        lambda: ResNet(Bottleneck, [1, 1, 1, 1], norm_layer=group_norm()),
    ),
    "output stride 16": (
        "dilated.yaml::resnet50_os16(depths=[1, 1, 1, 2])",
        lambda: dilated(False, False, True, layers=(1, 1, 1, 2)),
    ),
    "option A": TORCHVISION["option A, zeros on both sides"],
    "option C": (
        "resnet18(block=basic_c, depths=[2, 1, 1, 1])",
        lambda: with_every_projection(ResNet(BasicBlock, [2, 1, 1, 1])),
    ),
    "stochastic depth": (
        "stochastic_depth.yaml::resnet18_drop(depths=[1, 1, 1, 1])",
        lambda: with_stochastic_depth(ResNet(BasicBlock, [1, 1, 1, 1]), 0.2),
    ),
}


@pytest.mark.parametrize(("name", "reference"), NUMBERS.values(), ids=NUMBERS)
def test_torchvision_computes_the_same(name: str, reference: Callable[[], nn.Module]) -> None:
    """Mapped by the structure: outputs, gradients and statistics, in eval and in train mode."""
    report = check(reference(), variant(name, SMALL))
    assert report.passed, report


# timm

TIMM: dict[str, tuple[str, dict[str, Any]]] = {
    "resnetv2_18": ("preact.yaml::preact18", {}),
    "resnetv2_34": ("preact.yaml::preact34", {}),
    "resnetv2_50": ("preact.yaml::preact50", {}),
    "resnetv2_101": ("preact.yaml::preact101", {}),
    "resnet18d": ("resnet_d.yaml::resnet18d", {}),
    "resnet34d": ("resnet_d.yaml::resnet34d", {}),
    "resnet50c": ("resnet_d.yaml::resnet50c", {}),
    "resnet50d": ("resnet_d.yaml::resnet50d", {}),
    "resnet101d": ("resnet_d.yaml::resnet101d", {}),
    "resnet152d": ("resnet_d.yaml::resnet152d", {}),
    "seresnet50": ("resnet50(block=se_bottleneck)", {}),
    "seresnet152": ("resnet152(block=se_bottleneck)", {}),
    "resnet50_gn": ("groupnorm.yaml::resnet50_gn", {}),
    "resnet18": ("stochastic_depth.yaml::resnet18_drop(rate=0.1)", {"drop_path_rate": 0.1}),
    "resnet50": ("stochastic_depth.yaml::resnet50_drop(rate=0.3)", {"drop_path_rate": 0.3}),
}
SHALLOW = ("resnetv2_18", "resnetv2_50", "resnet18d", "resnet50d", "seresnet50", "resnet50_gn", "resnet50")


def shallow(name: str) -> str:
    """The same variant with one block a stage, and two in the second."""
    return f"{name[:-1]}, depths=[1, 2, 1, 1])" if name.endswith(")") else f"{name}(depths=[1, 2, 1, 1])"


@pytest.mark.implementations
@pytest.mark.parametrize("name", TIMM)
def test_timm_is_the_variant(name: str) -> None:
    """Parameters are as many, operations the same at several sizes in both modes, and names, too, in any order."""
    timm = pytest.importorskip("timm")
    text, arguments = TIMM[name]
    arch = variant(text)
    with torch.device("meta"):
        module = timm.create_model(name, **arguments)
    assert arch.params == sum(parameter.numel() for parameter in module.parameters())
    assert dict(arch.state) == {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    report = check(module, arch, level="structure")
    assert report.passed, report


@pytest.mark.implementations
@pytest.mark.parametrize("name", SHALLOW)
def test_timm_computes_the_same(name: str) -> None:
    """Outputs, gradients and statistics, in eval and in train mode."""
    timm = pytest.importorskip("timm")
    text, arguments = TIMM[name]
    module = timm.create_model(name, layers=[1, 2, 1, 1], **arguments)
    report = check(module, variant(shallow(text), SMALL))
    assert report.passed, report


# Broken


def part(model: nn.Module, path: str) -> Any:
    """A part of a network."""
    return model.get_submodule(path)


def put(model: nn.Module, path: str, module: nn.Module) -> None:
    """Another part in its place."""
    parent, _, name = path.rpartition(".")
    part(model, parent)._modules[name] = module


def exchange(model: nn.Module, one: str, other: str) -> None:
    """Two parts change places."""
    a, b = part(model, one), part(model, other)
    put(model, one, b)
    put(model, other, a)


@dataclass(frozen=True)
class Break:
    """A variant, what is done to a module that is it, and words of what is found."""

    name: str
    variant: str
    change: Callable[[nn.Module], None]
    words: str


def without_pool(model: nn.Module) -> None:
    """The pool of a projection gone, its stride in the 1x1 (ResNet-B)."""
    put(model, "layer2.0.downsample.0", nn.Identity())
    part(model, "layer2.0.downsample.1").stride = (2, 2)


def other_side(model: nn.Module) -> None:
    """The zeros of one shortcut before the channels."""
    put(model, "layer3.0.shortcut.1", nn.ZeroPad3d((0, 0, 0, 0, 16, 0)))


def last_rate_everywhere(model: nn.Module) -> None:
    """No linear decay."""
    for module in model.modules():
        if isinstance(module, StochasticDepth):
            module.p = 0.2


def holes_from_the_first(model: nn.Module) -> None:
    """The first block of the dilated stage has holes, too, as some ports have it."""
    part(model, "layer4.0.conv2").dilation = part(model, "layer4.0.conv2").padding = (2, 2)


PREACT = "preact.yaml::preact18(width=8, depths=[1, 2, 1, 1])"
DROP = "stochastic_depth.yaml::resnet18_drop(width=8, depths=[1, 1, 1, 2])"
GN = "groupnorm.yaml::resnet50_gn(width=8, groups=4, depths=[1, 2, 1, 1])"
SE = "resnet50(block=se_bottleneck, width=8, depths=[1, 2, 1, 1])"
D = "resnet_d.yaml::resnet50d(width=8, depths=[1, 2, 1, 1])"
OS16 = "dilated.yaml::resnet50_os16(width=8, depths=[1, 1, 2, 2])"
BASIC_A = "resnet18(block=basic_a, width=8, depths=[1, 1, 1, 1])"
BREAKS = [
    Break(
        "relu before norm",
        PREACT,
        lambda model: exchange(model, "stages.1.blocks.1.norm1", "stages.1.blocks.1.1"),
        "relu",
    ),
    Break("no last norm", PREACT, lambda model: put(model, "norm", nn.Identity()), "norm"),
    Break("no last relu", PREACT, lambda model: put(model, "3", nn.Identity()), "relu"),
    Break(
        "no relu before a projection",
        PREACT,
        lambda model: put(model, "stages.1.blocks.0.1", nn.Identity()),
        "relu",
    ),
    Break("no pool before the projection", D, without_pool, "avgpool"),
    Break(
        "a pool of 3",
        D,
        lambda model: put(model, "layer2.0.downsample.0", nn.AvgPool2d(3, 2, 1)),
        "kernel",
    ),
    Break(
        "what hangs over left out",
        D,
        lambda model: setattr(part(model, "layer2.0.downsample.0"), "ceil_mode", False),
        "ceil_mode",
    ),
    Break("no relu in the stem", D, lambda model: put(model, "conv1.2", nn.Identity()), "relu"),
    Break("no relu in the gate", SE, lambda model: put(model, "layer2.1.se.2", nn.Identity()), "relu"),
    Break("a hard gate", SE, lambda model: put(model, "layer2.1.se.4", nn.Hardsigmoid()), "sigmoid"),
    Break("the largest squeezed", SE, lambda model: put(model, "layer2.1.se.0", nn.AdaptiveMaxPool2d(1)), "pool"),
    Break("zeros on the other side", BASIC_A, other_side, "pad"),
    Break(
        "the mean of pixels",
        BASIC_A,
        lambda model: put(model, "layer3.0.shortcut.0", nn.AvgPool2d(2, 2)),
        "avgpool",
    ),
    Break(
        "an identity in a block of option C",
        "resnet18(block=basic_c, width=8, depths=[1, 2, 1, 1])",
        lambda model: put(model, "layer2.1.downsample", nn.Identity()),
        "conv",
    ),
    Break("half as many groups", GN, lambda model: setattr(part(model, "layer2.1.bn2"), "num_groups", 2), "groups"),
    Break("a norm of the batch", GN, lambda model: put(model, "layer2.1.bn2", nn.BatchNorm2d(16)), "norm"),
    Break("another eps", GN, lambda model: setattr(part(model, "layer2.1.bn2"), "eps", 1e-3), "eps"),
    Break("one rate for all", DROP, last_rate_everywhere, "dropout"),
    Break("whole batches", DROP, lambda model: setattr(part(model, "layer4.1.drop_path"), "mode", "batch"), "images"),
    Break("elements", DROP, lambda model: put(model, "layer4.1.drop_path", nn.Dropout(0.2)), "images"),
    Break("never dropped", DROP, lambda model: put(model, "layer4.1.drop_path", nn.Identity()), "dropout"),
    Break("holes from the first block on", OS16, holes_from_the_first, "dilation"),
    Break(
        "no holes in the last",
        OS16,
        lambda model: part(model, "layer4.1.conv2").__dict__.update(dilation=(1, 1), padding=(1, 1)),
        "dilation",
    ),
]


@pytest.mark.parametrize("one", BREAKS, ids=lambda one: one.name)
def test_a_broken_variant_is_found(one: Break) -> None:
    """With one thing changed, the module that a spec describes is not that network, and what was changed is said."""
    arch = variant(one.variant, SMALL)
    with torch.device("meta"):
        model = build(arch)
        one.change(model)
    told = compare(Subject(model), ArchNetwork(arch), arch.input, []).mistakes
    assert told
    assert one.words in " ".join(mistake.title for mistake in told)


def test_a_batch_norm_for_each_is_no_group_norm() -> None:
    """It has as many parameters, and is another network: torchvision's own is not the one with norms of groups."""
    arch = variant("groupnorm.yaml::resnet50_gn(depths=[1, 1, 1, 1])", SMALL)
    with torch.device("meta"):
        module = ResNet(Bottleneck, [1, 1, 1, 1])
    assert arch.params == sum(parameter.numel() for parameter in module.parameters())
    assert not check(module, arch, level="structure").passed


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_only_variants_of_this_folder_are_called_so(file: Any) -> None:
    """An arch of the folder has no name of a shipped one, so that a name says which network is meant."""
    shipped = {arch.name for arch in archs()}
    assert not shipped & {arch.name for arch in load_archs(file)}
