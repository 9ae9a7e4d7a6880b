"""The name of a network: whatever was changed of it everywhere, and none for what is near to no arch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from rv_check import RvCheckError, build, check, load
from rv_check.archs.load import all_archs, variants
from rv_check.checks import identify as identifying
from rv_check.checks.identify import MOST_LOOKS, NEAR, has_structure, identify
from rv_check.modules.observe import Subject
from tests.naming.changes import EVERYWHERE, ONCE, HandNorm
from tests.naming.score import RIGHT, judged


def named(make: Callable[[], nn.Module]) -> str:
    """The name of what is made on meta, where it is near to any."""
    with torch.device("meta"):
        module = make()
    found = identify(module.eval())
    return found.arch.name if found.near else "none"


# One change everywhere, or in one place: a sample of the grid, whose cells tests/naming keeps


ALL = {change.name: change for change in (*EVERYWHERE, *ONCE)}
SAMPLE = [
    ("resnet18", "a bias of every convolution, or none"),
    ("resnet34", "norms of groups"),
    ("resnet18", "no norms"),
    ("preact18", "no norms"),
    ("vgg11_bn", "norms of layers"),
    ("vgg11", "leaky relus"),
    ("plain18", "5x5 for 3x3"),
    ("resnet20", "folded norms"),
    ("resnet18d", "frozen norms"),
    ("resnet50_v1", "norms of groups"),
    ("resnet18", "one 3x3 more"),
    ("plain20", "grey images"),
]


@pytest.mark.parametrize(("arch", "change"), SAMPLE, ids=lambda value: value)
def test_a_change_keeps_the_name(arch: str, change: str) -> None:
    """A network is named after what it was made from."""
    assert judged(load(arch), ALL[change]) == RIGHT


# Networks as people write them


def resnet18(**other: nn.Module) -> nn.Module:
    """torchvision's, of ten classes, with other modules."""
    net = torchvision.models.resnet18(num_classes=10)
    for name, module in other.items():
        setattr(net, name, module)
    return net


class TwoHeads(nn.Module):
    """Logits, and another head, in either order."""

    def __init__(self, first: bool):
        super().__init__()
        self.net, self.first = resnet18(), first
        self.head, self.net.fc, self.aux = self.net.fc, nn.Identity(), nn.Linear(512, 3)

    def forward(self, x: Tensor) -> Any:
        """Two outputs."""
        x = self.net(x)
        both = self.head(x), self.aux(x)
        return both if self.first else both[::-1]


class SmallHead(nn.Module):
    """A VGG for small images: no pool to 7x7, and a head that is narrow."""

    def __init__(self) -> None:
        super().__init__()
        layers = (nn.Dropout(), nn.Linear(512, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512), nn.ReLU())
        self.features = torchvision.models.vgg11_bn().features
        self.classifier = nn.Sequential(*layers, nn.Linear(512, 10))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 32, 32) to (N, 10)."""
        return self.classifier(self.features(x).amax((2, 3)))


class Gate(nn.Module):
    """Over channels, by two pools, and then over pixels."""

    def __init__(self, width: int):
        super().__init__()
        self.squeeze, self.excite = nn.Linear(width, width // 16), nn.Linear(width // 16, width)
        self.where = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        both = [self.excite(self.squeeze(pooled).relu()) for pooled in (x.mean((2, 3)), x.amax((2, 3)))]
        x = x * sum(both).sigmoid()[:, :, None, None]
        return x * self.where(torch.cat((x.amax(1, keepdim=True), x.mean(1, keepdim=True)), 1)).sigmoid()


class Attended(torchvision.models.resnet.BasicBlock):
    """With gates behind its last norm."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.bn2 = nn.Sequential(self.bn2, Gate(self.conv2.out_channels))


class AttendedBottleneck(torchvision.models.resnet.Bottleneck):
    """With gates behind its last norm."""

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.bn3 = nn.Sequential(self.bn3, Gate(self.conv3.out_channels))


class OptionA(nn.Module):
    """A CIFAR network whose shortcuts take zeros on both sides of the channels, of every second pixel or a pool."""

    def __init__(self, *, pooled: bool = False) -> None:
        super().__init__()
        self.pooled = pooled
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.parts, self.head = nn.ModuleList(), nn.Linear(64, 10)
        widths = [16, *(width for width in (16, 32, 64) for _ in range(3))]
        for before, width in pairwise(widths):
            first = nn.Conv2d(before, width, 3, width // before, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
            self.parts.append(
                nn.Sequential(*first, nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 10)."""
        x = self.stem(x)
        for part in self.parts:
            y = part(x)
            if y.shape != x.shape:
                side = (y.shape[1] - x.shape[1]) // 2
                x = functional.avg_pool2d(x, 2) if self.pooled else x[:, :, ::2, ::2]
                x = functional.pad(x, (0, 0, 0, 0, side, side))
            x = (x + y).relu()
        return self.head(x.mean((2, 3)))


WRITTEN = {
    "grey": (lambda: resnet18(conv1=nn.Conv2d(1, 64, 7, 2, 3, bias=False)), "resnet18(classes=10)"),
    "with depth": (lambda: resnet18(conv1=nn.Conv2d(4, 64, 7, 2, 3, bias=False)), "resnet18(classes=10)"),
    "small images": (
        lambda: resnet18(conv1=nn.Conv2d(3, 64, 3, 1, 1, bias=False), maxpool=nn.Identity()),
        "resnet18(classes=10)",
    ),
    "features": (lambda: resnet18(fc=nn.Identity()), "resnet18"),
    "a head of two": (
        lambda: resnet18(fc=nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 5))),
        "resnet18(classes=5)",
    ),
    "two heads": (lambda: TwoHeads(True), "resnet18(classes=10)"),
    "two heads, the other first": (lambda: TwoHeads(False), "resnet18(classes=10)"),
    "a smaller head of a VGG": (SmallHead, "vgg11_bn(classes=10)"),
    "gates of two kinds": (lambda: torchvision.models.resnet.ResNet(Attended, [2, 2, 2, 2]), "resnet18"),
    "gates of two kinds in a network of gates": (
        lambda: torchvision.models.resnet.ResNet(AttendedBottleneck, [3, 4, 6, 3]),
        "seresnet50",
    ),
    "zeros on both sides behind a pool": (lambda: OptionA(pooled=True), "resnet20(block=basic_a(centred=True))"),
    "option A": (OptionA, "resnet20(block=basic_a(centred=True))"),
    "norms by hand": (lambda: torchvision.models.resnet18(norm_layer=HandNorm), "resnet18"),
    "frozen": (lambda: torchvision.models.resnet18(norm_layer=torchvision.ops.FrozenBatchNorm2d), "resnet18"),
    "dilated": (
        lambda: torchvision.models.resnet50(replace_stride_with_dilation=[False, True, True]),
        "resnet50_os8",
    ),
    "for segmentation": (
        lambda: torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None),
        "resnet50_os8",
    ),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_what_people_write(case: str) -> None:
    """Grey and small images, other heads and several, other norms: the network that it is."""
    make, name = WRITTEN[case]
    assert named(make) == name


def test_what_shows_in_train_mode_only() -> None:
    """Stochastic depth is nothing in eval mode: of two archs that are alike there, train mode tells which it is."""
    assert [named(lambda name=name: build(name)) for name in ("resnet18", "resnet18_drop")] == [
        "resnet18",
        "resnet18_drop",
    ]


FAMILIES = {family.name: next(iter(family.archs)) for family in variants()}


@pytest.mark.parametrize("name", FAMILIES.values(), ids=FAMILIES)
def test_variants_are_named_by_short_names(name: str) -> None:
    """Each family of them: what its spec builds is found again, and the name is one that `load` takes."""
    assert named(lambda: build(name)) == name == load(name).name


# What is near to none


OTHERS = ("convnext_tiny", "googlenet", "shufflenet_v2_x1_0", "swin_t", "vit_b_16")


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_none(name: str) -> None:
    """Networks of torchvision of families that have no spec are said to be near to none."""
    more = {"init_weights": False} if name == "googlenet" else {}
    assert named(lambda: torchvision.models.get_model(name, **more)) == "none"


@pytest.mark.sweep
@pytest.mark.parametrize("name", torchvision.models.list_models(torchvision.models))
def test_every_classifier_of_torchvision(name: str) -> None:
    """Is itself, or near to none."""
    more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    module = torchvision.models.get_model(name, **more).to("meta").eval()
    found = identify(module)
    assert (found.arch.name if found.near else "none") == (name if name in {a.name for a in all_archs()} else "none")


def test_error_that_of_the_first_input() -> None:
    """What runs at the input of no arch cannot be named."""
    with pytest.raises(RvCheckError, match="the module does not run at 3 224 224"):
        identify(nn.Sequential(nn.Flatten(), nn.Linear(7, 7)))


def test_what_runs_at_small_images_only() -> None:
    """Is looked at there."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(7200, 10))
    assert identify(net).words(same=False).startswith("none of the archs I know: 72,234 parameters in 2 layers")


# How much work it is, counted


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet152", "squeezenet1_0", pytest.param("densenet121", marks=pytest.mark.sweep)]
)
def test_the_work_is_bounded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module is run a few times, and few archs are looked at closely, be it known or not."""
    looks: list[float] = []
    runs: list[Any] = []

    def look(*given: Any) -> float:
        looks.append(likeness(*given))
        return looks[-1]

    def observe(self: Subject, *given: Any) -> Any:
        runs.append(given)
        return observe_(self, *given)

    likeness, observe_ = identifying.likeness, Subject.observe
    monkeypatch.setattr(identifying, "likeness", look)
    monkeypatch.setattr(Subject, "observe", observe)
    with torch.device("meta"):
        module = torchvision.models.get_model(name).eval()
    identify(module)
    assert len(looks) <= MOST_LOOKS + 4
    assert len(runs) <= 3


def test_near_is_half() -> None:
    """As the pages say; and what is the structure of an arch, is it in every form."""
    assert NEAR == 0.5
    assert has_structure(build("resnet20").eval(), load("resnet20"))
    assert not has_structure(build("plain20").eval(), load("resnet20"))


def test_the_report_says_how_near() -> None:
    """Not as far as 100 % where anything differs."""
    with torch.device("meta"):
        net = build("resnet20")
    net.bn1.momentum = 0.5  # it shows in train mode only
    (note,) = check(net, level="structure").notes
    assert note == f"inferred: none of {len(all_archs())} archs; the nearest is resnet20, at 99 %"
