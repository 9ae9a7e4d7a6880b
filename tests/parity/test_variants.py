"""What no check of a spec alone can see, held against torchvision's own classes.

- The archs that torchvision does not build, against its networks with the documented difference made by hand: the
  stride of a bottleneck on its first 1x1 (v1), every shortcut cut (plain).
- The arguments that a reference is told, at another value than the declared one, and the names of all modules.
- The families and stages at arguments that all differ: no shipped arch has five depths that do, or a stage that strides
  and keeps its channels.
- Every `in:` and `out:` at an input whose sides are odd and differ.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from torchvision.models.vgg import VGG, make_layers

from rv_check.archs.arch import Arch
from rv_check.archs.load import archs_of, load_archs
from rv_check.errors import RvCheckError, SpecError
from rv_check.language import files, library
from rv_check.language.definitions import Family
from rv_check.modules import generic_point, trace
from rv_check.modules.build import build
from rv_check.modules.reference import applies, build_reference
from rv_check.modules.torch_state import seeded

ODD = (3, 97, 65)  # sides that are odd and differ: what holds only where a stride divides, or rows are columns, fails


class WithoutShortcut(BasicBlock):
    """torchvision's block without the addition: two 3x3 layers (He et al. 2015, Fig. 3 middle)."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)))


def strided_first(net: ResNet) -> ResNet:
    """The same network with the stride of each bottleneck on its first 1x1 instead of its 3x3."""
    for block in net.modules():
        if isinstance(block, Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    return net


def without_shortcuts(net: ResNet) -> ResNet:
    """The same network with every shortcut cut, projections included."""
    for block in list(net.modules()):
        if isinstance(block, BasicBlock):
            block.__class__ = WithoutShortcut
            block.downsample = None
    return net


VARIANTS: dict[str, tuple[str, Callable[[ResNet], ResNet]]] = {
    "resnet50_v1": ("resnet50", strided_first),
    "resnet101_v1": ("resnet101", strided_first),
    "resnet152_v1": ("resnet152", strided_first),
    "plain18": ("resnet18", without_shortcuts),
    "plain34": ("resnet34", without_shortcuts),
}
COMPUTED = ("resnet50_v1", "plain18", "plain34")  # the others are these blocks, more often: on meta


def torchvision_variant(name: str) -> ResNet:
    """torchvision's network with the documented difference made by hand."""
    base, change = VARIANTS[name]
    return change(torchvision.models.get_model(base, weights=None))


def archs_in(folder: Path) -> dict[str, Arch]:
    """The archs of the families in a folder, by name."""
    families = [library.load(path) for path in files.family_files(folder)]
    return {arch.name: arch for f in families if isinstance(f, Family) for arch in archs_of(f)}


def variant_differences(folder: Path, names: Collection[str] = tuple(VARIANTS)) -> list[str]:
    """Where the archs of a folder that torchvision does not build are not the variants that they should be."""
    archs = archs_in(folder)
    without = {name for name, arch in archs.items() if arch.entry.reference is None}
    found = [f"{name} has neither a reference nor a variant here" for name in sorted(without - VARIANTS.keys())]
    for name in [name for name in VARIANTS if name in names]:
        if name not in archs:
            found.append(f"there is no {name}")
            continue
        try:
            with torch.device("meta"):
                found += layer_differences(archs[name], torchvision_variant(name), build(archs[name]))
            if not found and name in COMPUTED:
                found += number_differences(archs[name])
        except (RvCheckError, RuntimeError) as error:  # it does not build, or does not run
            found.append(f"{name}: {error}")
    return found


# What torchvision has and a spec has not: an object that is used in many places, which are steps here; and what is made
# in every block, and called where there is a shortcut.
UNCALLED = ("relu", "stochastic_depth")


def layer_differences(arch: Arch, expected: nn.Module, found: nn.Module) -> Iterator[str]:
    """Names, order and shapes of the state; names of modules; every layer that has the same name in both."""
    if shapes(expected) != shapes(found):
        yield f"{arch.name}: its state differs from torchvision's"
    theirs, ours = dict(expected.named_modules()), dict(found.named_modules())
    for name in theirs:
        if name not in ours and name.rpartition(".")[2] not in UNCALLED:
            yield f"{arch.name}: it has no module {name}"
    for name, module in ours.items():
        if name not in theirs:
            if not name.rpartition(".")[2].isdigit():  # a position is no name
                yield f"{arch.name}: torchvision has no module {name}"
        elif not list(theirs[name].children()) and in_words(module) != in_words(theirs[name]):
            yield f"{arch.name}: {name} is {module}, expected {theirs[name]}"


def in_words(module: nn.Module) -> str:
    """A layer with its arguments, but for what is the same to a reader: `(3, 3)` and `3`, in place, the 13th digit."""
    text = re.sub(r"(, )?inplace=(True|False)", "", re.sub(r"\((\d+), \1\)", r"\1", repr(module)))
    return re.sub(r"\d+\.\d+(e-?\d+)?", lambda number: f"{float(number[0]):.12g}", text)


def shapes(model: nn.Module) -> list[tuple[str, tuple[int, ...]]]:
    """The state of a model: names and shapes, in order."""
    return [(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]


def number_differences(arch: Arch) -> Iterator[str]:
    """At a generic point, in float64, eval and train mode: outputs, gradients, and the statistics left by a step."""
    with seeded(0):
        expected = torchvision_variant(arch.name)
    with seeded(0):
        found = build(arch)
    if VARIANTS[arch.name][1] is strided_first:  # cutting shortcuts leaves gaps in torchvision's random numbers
        other = [n for n, t in expected.state_dict().items() if not torch.equal(t, found.state_dict()[n])]
        yield from (f"{arch.name}: {name} starts otherwise" for name in other[:1])
    generic_point.generic_point(expected)
    found.load_state_dict(expected.state_dict(), strict=True)
    expected.double()
    found.double()
    x = generic_point.image(ODD, 2, torch.float64, torch.device("cpu"))
    names = trace.shared_modules(expected, found)
    for train in (False, True):
        runs = [trace.run(model, x, train, names) for model in (expected, found)]
        for difference in trace.differences(*runs, train):
            if not difference.within(trace.TOLERANCE[torch.float64]):
                mode = "train" if train else "eval"
                yield f"{arch.name} in {mode} mode: {difference.what} differs by {difference.relative:.3g}"
                return


def reference_differences(folder: Path, names: Collection[str] | None = None) -> list[str]:
    """Where an arch that torchvision builds is not told to be that, with another argument than the declared one."""
    found: list[str] = []
    for name, arch in archs_in(folder).items():
        if (names is not None and name not in names) or name not in torchvision.models.list_models():
            continue
        arch = Arch(arch.family, arch.entry, arch.values, {"classes": 10}, arch.input)
        if applies(arch) is not None:
            found.append(f"{arch.name}: {applies(arch)}")
            continue
        try:
            with without_values(name):
                theirs = torchvision.models.get_model(name, weights=None, num_classes=10)
                told = build_reference(arch)
            with torch.device("meta"):
                ours = build(arch)
        except (RvCheckError, RuntimeError) as error:
            found.append(f"{arch.name}: {error}")
            continue
        if shapes(theirs) != shapes(told):
            found.append(f"{arch.name}: its reference is not torchvision's {name}")
        found += layer_differences(arch, theirs, ours)
    return found


@contextmanager
def without_values(name: str) -> Iterator[None]:
    """Models of torchvision are built as structures here: on meta, or where that fails without starting values.

    RegNets compute their widths with tensors, which have no values on meta.
    """
    if not name.startswith("regnet"):
        with torch.device("meta"):
            yield
        return
    starts = ("kaiming_uniform_", "uniform_", "normal_", "ones_", "zeros_")
    with patch.multiple(nn.init, **{start: lambda tensor, *args, **kwargs: tensor for start in starts}):
        yield


def vgg(depths: tuple[int, ...], batch_norm: bool) -> VGG:
    """torchvision's VGG with these depths (Simonyan & Zisserman 2014, Table 1: 64, 128, 256, 512, 512 channels)."""
    layers: list[str | int] = []
    for width, depth in zip((64, 128, 256, 512, 512), depths, strict=True):
        layers += [*[width] * depth, "M"]
    return VGG(make_layers(layers, batch_norm))


FOUR, FIVE = (1, 2, 3, 4), (1, 2, 3, 4, 5)
AT_OTHER_DEPTHS: dict[str, tuple[tuple[int, ...], Callable[[], nn.Module]]] = {
    "vgg11": (FIVE, lambda: vgg(FIVE, False)),
    "vgg11_bn": (FIVE, lambda: vgg(FIVE, True)),
    "resnet18": (FOUR, lambda: ResNet(BasicBlock, list(FOUR))),
    "resnet50": (FOUR, lambda: ResNet(Bottleneck, list(FOUR))),
    "resnext50_32x4d": (FOUR, lambda: ResNet(Bottleneck, list(FOUR), groups=32, width_per_group=4)),
    "resnet50_v1": (FOUR, lambda: strided_first(ResNet(Bottleneck, list(FOUR)))),
    "plain18": (FOUR, lambda: without_shortcuts(ResNet(BasicBlock, list(FOUR)))),
}
BLOCKS: dict[str, tuple[type[BasicBlock | Bottleneck], Callable[[ResNet], ResNet]]] = {
    "basic": (BasicBlock, lambda net: net),
    "plain": (BasicBlock, without_shortcuts),
    "bottleneck": (Bottleneck, lambda net: net),
    "bottleneck_v1": (Bottleneck, strided_first),
}
STAGES = [(channels, stride) for channels in (32, 64, 256) for stride in (1, 2)]
STAGE_FAMILY = """
family: stages(block, stride)
input: {channels} 17 13
body:
  - layer1: stage(block, 64, 2, stride)
archs:
  {block}_of_{channels}_stride_{stride}:
    build: stages({block}, {stride})
"""


def family_differences(folder: Path) -> list[str]:
    """Where a family or a stage is not torchvision's at arguments that no shipped arch has, layer by layer, on meta."""
    archs = archs_in(folder)
    found: list[str] = []
    with tempfile.TemporaryDirectory() as temporary, torch.device("meta"):
        shutil.copytree(folder / "blocks", Path(temporary) / "blocks")
        for name, (depths, build_theirs) in AT_OTHER_DEPTHS.items():
            arch = Arch(archs[name].family, archs[name].entry, archs[name].values, {"depths": depths}, ODD)
            found += differences_of(arch, build_theirs())
        for block, (cls, change_theirs) in BLOCKS.items():
            for channels, stride in STAGES:
                path = Path(temporary) / f"{block}_{channels}_{stride}.yaml"
                path.write_text(STAGE_FAMILY.format(block=block, channels=channels, stride=stride))
                theirs = ResNet(cls, [1, 1, 1, 1])
                theirs.inplanes = channels
                theirs.layer1 = theirs._make_layer(cls, 64, 2, stride)
                kept = nn.Module()
                kept.layer1 = change_theirs(theirs).layer1
                try:
                    found += differences_of(load_archs(path)[0], kept)
                except SpecError as error:
                    found.append(f"stage of {block} from {channels} channels, stride {stride}: {error}")
    return found


def differences_of(arch: Arch, theirs: nn.Module) -> list[str]:
    """Where the model of an arch is not that of torchvision, or why there is none."""
    try:
        return list(layer_differences(arch, theirs, build(arch)))
    except RvCheckError as error:
        return [f"{arch.name}: {error}"]


def shape_differences(folder: Path) -> list[str]:
    """The archs of a folder that do not hold at an input whose sides are odd and differ."""
    found = []
    for arch in archs_in(folder).values():
        try:
            _ = Arch(arch.family, arch.entry, arch.values, {}, ODD).tree
        except SpecError as error:
            found.append(f"{arch.name} at {ODD}: {error.problems[0].message}")
    return found


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_torchvision_with_the_documented_difference(name: str) -> None:
    """v1 is torchvision's ResNet with the stride moved to the first 1x1; plain is it without its shortcuts."""
    assert variant_differences(files.shipped_folder(), [name]) == []


def test_references_are_told_what_the_archs_are_told() -> None:
    """Every arch that torchvision builds has it as its reference, also with `classes=10`, and names its modules so."""
    assert reference_differences(files.shipped_folder()) == []


def test_families_and_stages_are_torchvision_at_other_arguments() -> None:
    """Every depth stands where torchvision has it; a projection is where torchvision has one."""
    assert family_differences(files.shipped_folder()) == []


def test_blocks_hold_at_odd_and_oblong_inputs() -> None:
    """`in:` and `out:` are right beyond the declared input, where no stride leaves a rest and rows are columns."""
    assert shape_differences(files.shipped_folder()) == []


def change(folder: Path, file: str, old: str, new: str) -> Path:
    """A copy of the shipped specs in `folder`, with one text changed."""
    shutil.copytree(files.shipped_folder(), folder)
    path = folder / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return folder


@pytest.mark.parametrize(
    ("name", "file", "old", "new"),
    [
        ("resnet50_v1", "blocks/bottleneck_v1.yaml", "        - relu\n", "        - silu\n"),
        ("resnet50_v1", "blocks/bottleneck_v1.yaml", "else: identity", "else: none"),
        ("plain18", "blocks/plain.yaml", "  - bn1: batchnorm\n  - relu\n", "  - relu\n  - bn1: batchnorm\n"),
        (
            "resnet101_v1",
            "resnet.yaml",
            "resnet(bottleneck_v1, depths=[3, 4, 23, 3])",
            "resnet(bottleneck, [3, 4, 23, 3])",
        ),
    ],
)
def test_a_changed_variant_is_found(tmp_path: Path, name: str, file: str, old: str, new: str) -> None:
    """Differences that leave every parameter, shape, count and field as it was, and one that moves a stride."""
    assert variant_differences(change(tmp_path / "specs", file, old, new), [name])


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("resnet18", "resnet18(num_classes=classes)", "resnet18"),
        ("resnet18", "resnet18(num_classes=classes)", "resnet34(num_classes=classes)"),
        ("resnet18", "- avgpool: adaptive", "- pool: adaptive"),
        ("vgg11", "      - relu\n      - dropout(0.5)\n", "      - dropout(0.5)\n      - relu\n"),
    ],
)
def test_a_changed_reference_is_found(tmp_path: Path, name: str, old: str, new: str) -> None:
    """A reference that is told less, another one, a module under another name, and two that commute."""
    file = f"{name.rstrip('18')}.yaml"
    assert reference_differences(change(tmp_path / "specs", file, old, new), [name])


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("blocks/basic.yaml", "ceil(H/stride)", "H/stride"),
        ("blocks/basic.yaml", "ceil(H/stride)", "ceil(W/stride)"),
        ("blocks/vgg_stage.yaml", "H//2", "H/2"),
    ],
)
def test_a_shape_that_holds_at_even_squares_only_is_found(tmp_path: Path, file: str, old: str, new: str) -> None:
    """Each is true at 224 224."""
    folder = change(tmp_path / "specs", file, old, new)
    assert all(arch.tree for arch in archs_in(folder).values())
    assert shape_differences(folder)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("vgg.yaml", "vgg_stage(width, depths[0], norm)", "vgg_stage(width, depths[1], norm)"),
        ("blocks/basic.yaml", "stride != 1 or C != width", "C != width"),
        ("blocks/basic.yaml", "stride != 1 or C != width", "stride != 1"),
        ("blocks/bottleneck.yaml", "stride != 1 or C != 4*width", "C != 4*width"),
        ("blocks/bottleneck_v1.yaml", "stride != 1 or C != 4*width", "C != 4*width"),
    ],
)
def test_what_no_shipped_arch_needs_is_found(tmp_path: Path, file: str, old: str, new: str) -> None:
    """Each leaves every shipped arch as it is."""
    folder = change(tmp_path / "specs", file, old, new)
    before, after = archs_in(files.shipped_folder()), archs_in(folder)
    assert all(before[name].state == arch.state for name, arch in after.items())
    assert family_differences(folder)
