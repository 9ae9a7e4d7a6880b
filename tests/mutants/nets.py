"""Right networks as people write them, and what a case is.

The wrong networks of `real_mistakes.py` and `foreign.py` are small overrides of these. `test_cases.py` holds every
one of these right ones against the model that the spec builds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet as tv

R18 = "resnet18(width=8, classes=10)"
R34 = "resnet34(width=8, classes=10)"
R50 = "resnet50(width=8, classes=10)"
R101 = "resnet101(width=8, classes=10)"
R50V1 = "resnet50_v1(width=8, classes=10)"
X50 = "resnext50_32x4d(width=16, classes=10)"
W50 = "wide_resnet50_2(width=8, classes=10)"
P18 = "plain18(width=8, classes=10)"
V11 = "vgg11(width=4, classes=10)"
V11BN = "vgg11_bn(width=4, classes=10)"
V16 = "vgg16(width=4, classes=10)"

Build = Callable[[], nn.Module]
Order = Callable[[list[str]], list[str]]
Made = TypeVar("Made", bound=Callable[..., Any])


@dataclass(frozen=True)
class Case:
    """A network that is `arch` but for one thing."""

    name: str
    arch: str
    build: Build
    steps: frozenset[str]  # steps of the spec, as `rv-check show` prints them: what an honest report may name first
    seen_in: str = ""  # the repo#issue of the row in mistakes.md
    changes: str = ""  # its letters, as in mistakes.md
    kind: str = "different"  # or "only at the declared input", "init only", "raises"
    equal: bool = False  # the same function in every respect
    why: str = ""  # it is equal, or what the kind means here
    order: Order | None = None  # its parameter names in the order of the spec, where it registers them otherwise


class Cases(list[Case]):
    """A list that decorators fill: `@cases(arch, "steps")` on a class or function that makes the network."""

    def __call__(self, arch: str, steps: str, changes: str = "E", **fields: Any) -> Callable[[Made], Made]:
        def take(made: Made) -> Made:
            self.append(Case(made.__name__, arch, made, frozenset(steps.split()), changes=changes, **fields))
            return made

        return take

    def block(self, arch: str, steps: str, changes: str = "E", **fields: Any) -> Callable[[Made], Made]:
        """The same for a block class: the network of that arch with it in every place."""

        def take(made: Made) -> Made:
            build = lambda: NETS[arch](block=made)  # noqa: E731
            self.append(Case(made.__name__, arch, build, frozenset(steps.split()), changes=changes, **fields))
            return made

        return take

    def table(
        self, arch: str, steps: str, changes: str, make: Callable[[Any], nn.Module], rows: dict[str, Any]
    ) -> None:
        """The same for many: `make` of each row is a network."""
        for name, row in rows.items():
            self.append(Case(name, arch, partial(make, row), frozenset(steps.split()), changes=changes))

    def patch(self, arch: str, steps: str, changes: str = "E", **fields: Any) -> Callable[[Made], Made]:
        """The same for a function that takes the right network and spoils it."""

        def take(made: Made) -> Made:
            def build() -> nn.Module:
                net = NETS[arch]()
                return made(net) or net

            self.append(Case(made.__name__, arch, build, frozenset(steps.split()), changes=changes, **fields))
            return made

        return take


def he_init(module: nn.Module) -> None:
    """The start that torchvision gives a ResNet."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def vgg_init(module: nn.Module) -> None:
    """The start that torchvision gives a VGG."""
    he_init(module)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


class ConvNorm(nn.Sequential):
    """A convolution that keeps the size but for its stride, and its norm."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1):
        conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(cout))


class BasicBlock(nn.Module):
    """Two 3x3 layers and a shortcut, in the manner of kuangliu/pytorch-cifar."""

    expansion = 1
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, planes, 3, stride, padding=1, bias=False)
        self.bn1 = self.norm(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = self.norm(planes)
        self.shortcut = self.make_shortcut(cin, planes, stride)

    def make_shortcut(self, cin: int, cout: int, stride: int) -> nn.Module:
        """Nothing, or a projection."""
        if stride == 1 and cin == cout:
            return nn.Sequential()
        return nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), self.norm(cout))

    def act(self, x: Tensor) -> Tensor:
        """The nonlinearity."""
        return F.relu(x)

    def main(self, x: Tensor) -> Tensor:
        """The two layers, without the last relu."""
        return self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.main(x) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 and a projection or None, with one relu module for all."""

    expansion = 4
    groups = 1
    base_width = 64

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__()
        inner = planes * self.base_width // 64 * self.groups
        self.reduce = ConvNorm(cin, inner, 1)
        self.spatial = ConvNorm(inner, inner, 3, stride, self.groups)
        self.expand = ConvNorm(inner, 4 * planes, 1)
        self.project = ConvNorm(cin, 4 * planes, 1, stride) if stride > 1 or cin != 4 * planes else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.project is None else self.project(x)
        out = self.relu(self.reduce(x))
        out = self.relu(self.spatial(out))
        out = self.expand(out)
        out += identity
        return self.relu(out)


class OldBottleneck(Bottleneck):
    """A bottleneck with the stride on the first 1x1, as published."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        self.reduce[0].stride, self.spatial[0].stride = self.spatial[0].stride, self.reduce[0].stride


class NextBottleneck(Bottleneck):
    """The bottleneck of ResNeXt 32x4d."""

    groups = 32
    base_width = 4


class WideBottleneck(Bottleneck):
    """The bottleneck of WRN-50-2."""

    base_width = 128


class PlainBlock(BasicBlock):
    """Without a shortcut."""

    def make_shortcut(self, cin: int, cout: int, stride: int) -> nn.Module:
        return nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.main(x))


class ResNet(nn.Module):
    """Any of them; a subclass fills in the class attributes, or overrides a method."""

    block: type[nn.Module] = BasicBlock
    depths: Sequence[int] = (2, 2, 2, 2)
    strides: Sequence[int] = (1, 2, 2, 2)
    width = 8
    classes = 10

    def __init__(self, block: type[nn.Module] | None = None):
        super().__init__()
        self.block = block or self.block
        self.channels = self.width
        self.make_stem()
        self.stages = nn.ModuleList(self.make_stage(k) for k in range(len(self.depths)))
        self.fc = nn.Linear(self.channels, self.classes)
        self.apply(he_init)

    def make_stem(self) -> None:
        """7x7 and its norm."""
        self.conv1 = nn.Conv2d(3, self.width, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(self.width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)

    def make_stage(self, k: int) -> nn.Module:
        """The blocks of one resolution."""
        return nn.Sequential(*[self.make_block(k, i) for i in range(self.depths[k])])

    def make_block(self, k: int, i: int, stride: int | None = None) -> nn.Module:
        """Block `i` of stage `k`; only the first one of a stage strides."""
        planes = self.width * 2**k
        made = self.block(self.channels, planes, stride or (self.strides[k] if i == 0 else 1))
        self.channels = planes * made.expansion
        return made

    def stem(self, x: Tensor) -> Tensor:
        """Up to the first stage."""
        return self.maxpool(F.relu(self.bn1(self.conv1(x))))

    def body(self, x: Tensor) -> Tensor:
        """The stages."""
        for stage in self.stages:
            x = stage(x)
        return x

    def gather(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C)."""
        return F.adaptive_avg_pool2d(x, 1).flatten(1)

    def head(self, x: Tensor) -> Tensor:
        """After the last stage."""
        return self.fc(self.gather(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


class ResNet18(ResNet):
    """Basic blocks."""


class ResNet34(ResNet):
    """More of them."""

    depths = (3, 4, 6, 3)


class ResNet50(ResNet):
    """Bottlenecks."""

    block = Bottleneck
    depths = (3, 4, 6, 3)


class ResNet101(ResNet50):
    """More of them."""

    depths = (3, 4, 23, 3)


class OldResNet50(ResNet50):
    """The paper's own."""

    block = OldBottleneck


class ResNeXt50(ResNet50):
    """32x4d; 16 is the least width that its groups allow."""

    block = NextBottleneck
    width = 16


class WideResNet50(ResNet50):
    """Twice as wide inside."""

    block = WideBottleneck


class Plain18(ResNet18):
    """No shortcuts."""

    block = PlainBlock


class Residual(nn.Module):
    """Main and shortcut, as they come: the shortcut is registered first."""

    def __init__(self, main: nn.Module, skip: nn.Module | None = None):
        super().__init__()
        self.skip = skip or nn.Identity()
        self.main = main

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.main(x))


def shortcut_last(names: list[str]) -> list[str]:
    """The names of `sequential_resnet18` in the order of the spec."""
    return sorted(names, key=lambda name: (int(name.split(".")[0]), ".skip." in name))


def identity_block(planes: int) -> nn.Module:
    """A block whose shortcut is its input, as in Keras."""
    return Residual(nn.Sequential(ConvNorm(planes, planes, 3), nn.ReLU(), ConvNorm(planes, planes, 3)))


def conv_block(cin: int, planes: int, stride: int = 2) -> nn.Module:
    """A block with a projection, as in Keras."""
    main = nn.Sequential(ConvNorm(cin, planes, 3, stride), nn.ReLU(), ConvNorm(planes, planes, 3))
    return Residual(main, ConvNorm(cin, planes, 1, stride))


def sequential_resnet18(identity: Callable[[int], nn.Module] = identity_block) -> nn.Sequential:
    """One nn.Sequential, no class for the network."""
    layers: list[nn.Module] = [ConvNorm(3, 8, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), identity(8), identity(8)]
    for planes in (16, 32, 64):
        layers += [conv_block(planes // 2, planes), identity(planes)]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    return net.apply(he_init)


class FunctionalResNet18(nn.Module):
    """Parameters by name in one dict, and functions that use them, in the manner of szagoruyko/functional-zoo."""

    plan = [("layer1", 8, 1), ("layer2", 16, 2), ("layer3", 32, 2), ("layer4", 64, 2)]

    def __init__(self):
        super().__init__()
        self.params = nn.ParameterDict()
        self.add("conv1", 8, 3, 7)
        cin = 8
        for stage, planes, _ in self.plan:
            for i in range(2):
                self.add(f"{stage}_{i}_conv1", planes, cin, 3)
                self.add(f"{stage}_{i}_conv2", planes, planes, 3)
                if cin != planes:
                    self.add(f"{stage}_{i}_proj", planes, cin, 1)
                cin = planes
        bound = 1 / math.sqrt(cin)
        self.params["fc_weight"] = nn.Parameter(torch.empty(10, cin).uniform_(-bound, bound))
        self.params["fc_bias"] = nn.Parameter(torch.empty(10).uniform_(-bound, bound))

    def add(self, name: str, cout: int, cin: int, k: int) -> None:
        """A convolution and its norm."""
        self.params[name] = nn.Parameter(torch.randn(cout, cin, k, k) * math.sqrt(2 / (cout * k * k)))
        self.params[f"{name}_gamma"] = nn.Parameter(torch.ones(cout))
        self.params[f"{name}_beta"] = nn.Parameter(torch.zeros(cout))
        self.register_buffer(f"{name}_mean", torch.zeros(cout))
        self.register_buffer(f"{name}_var", torch.ones(cout))

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        """The convolution of that name."""
        weight = self.params[name]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(self, x: Tensor, name: str) -> Tensor:
        """The norm after it."""
        gamma, beta = self.params[f"{name}_gamma"], self.params[f"{name}_beta"]
        mean, var = getattr(self, f"{name}_mean"), getattr(self, f"{name}_var")
        return F.batch_norm(x, mean, var, gamma, beta, self.training)

    def unit(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        """Both."""
        return self.norm(self.conv(x, name, stride), name)

    def block(self, x: Tensor, name: str, stride: int) -> Tensor:
        """A residual block."""
        out = self.unit(F.relu(self.unit(x, f"{name}_conv1", stride)), f"{name}_conv2")
        skip = self.unit(x, f"{name}_proj", stride) if f"{name}_proj" in self.params else x
        return F.relu(out + skip)

    def classify(self, x: Tensor) -> Tensor:
        """The head."""
        return F.linear(x.mean((2, 3)), self.params["fc_weight"], self.params["fc_bias"])

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.unit(x, "conv1", 2)), 3, 2, 1)
        for stage, _, stride in self.plan:
            x = self.block(x, f"{stage}_0", stride)
            x = self.block(x, f"{stage}_1", 1)
        return self.classify(x)


class SlimTorchvision(tv.ResNet):
    """torchvision's own class with stages an eighth (ResNeXt: a quarter) as wide."""

    slim = 8

    def __init__(self, block: type[nn.Module] = tv.BasicBlock, layers: Sequence[int] = (2, 2, 2, 2), **options: Any):
        super().__init__(block, list(layers), **options)
        self.fc = nn.Linear(self.inplanes, 10)

    def _make_layer(self, block: Any, planes: int, *rest: Any, **more: Any) -> nn.Sequential:
        if planes == 64:
            self.inplanes = planes // self.slim
            self.conv1 = nn.Conv2d(3, self.inplanes, 7, 2, 3, bias=False)
            self.bn1 = self._norm_layer(self.inplanes)
        return super()._make_layer(block, planes // self.slim, *rest, **more)


class VGG(nn.Module):
    """A VGG from a list of widths, with "M" where it pools."""

    plan: Sequence[int | str] = (4, "M", 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M")
    normed = False
    places = 7

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(*self.layers())
        self.avgpool: nn.Module = nn.AdaptiveAvgPool2d(self.places)
        self.classifier = self.make_classifier()
        self.apply(vgg_init)

    def layers(self) -> list[nn.Module]:
        """What `plan` says, as modules."""
        layers: list[nn.Module] = []
        channels = 3
        for entry in self.plan:
            if entry == "M":
                layers.append(nn.MaxPool2d(2))
                continue
            layers.append(nn.Conv2d(channels, entry, 3, padding=1))
            layers += [nn.BatchNorm2d(entry)] if self.normed else []
            layers.append(nn.ReLU(inplace=True))
            channels = entry
        return layers

    def make_classifier(self) -> nn.Module:
        """Three linear layers, the first two with a relu and dropout after them."""
        hidden = [nn.Linear(32 * self.places**2, 256), nn.ReLU(), nn.Dropout()]
        return nn.Sequential(*hidden, nn.Linear(256, 256), nn.ReLU(), nn.Dropout(), nn.Linear(256, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class VGG11(VGG):
    """Network A."""


class VGG11BN(VGG):
    """Network A with norms."""

    normed = True


class VGG16(VGG):
    """Network D."""

    plan = (4, 4, "M", 8, 8, "M", 16, 16, 16, "M", 32, 32, 32, "M", 32, 32, 32, "M")


class CaffeVGG16(nn.Module):
    """Network D with Caffe's names, a line for each layer."""

    widths = {1: 4, 2: 8, 3: 16, 4: 32, 5: 32}

    def __init__(self):
        super().__init__()
        channels = 3
        for stage, width in self.widths.items():
            for i in range(1, (2 if stage < 3 else 3) + 1):
                self.add_module(f"conv{stage}_{i}", nn.Conv2d(channels, width, 3, padding=1))
                channels = width
        self.fc6 = nn.Linear(channels * 7 * 7, 256)
        self.fc7 = nn.Linear(256, 256)
        self.fc8 = nn.Linear(256, 10)
        self.apply(vgg_init)

    def pool(self, x: Tensor) -> Tensor:
        """2x2."""
        return F.max_pool2d(x, 2)

    def third_stage(self, x: Tensor) -> Tensor:
        """conv3_1 to conv3_3."""
        x = F.relu(self.conv3_1(x))
        x = F.relu(self.conv3_2(x))
        return F.relu(self.conv3_3(x))

    def convolve(self, x: Tensor) -> Tensor:
        """All but the head."""
        x = F.relu(self.conv1_2(F.relu(self.conv1_1(x))))
        x = F.relu(self.conv2_2(F.relu(self.conv2_1(self.pool(x)))))
        x = self.third_stage(self.pool(x))
        x = F.relu(self.conv4_3(F.relu(self.conv4_2(F.relu(self.conv4_1(self.pool(x)))))))
        x = F.relu(self.conv5_3(F.relu(self.conv5_2(F.relu(self.conv5_1(self.pool(x)))))))
        return F.adaptive_avg_pool2d(self.pool(x), 7)

    def flat(self, x: Tensor) -> Tensor:
        """(N, C, 7, 7) to (N, C*49)."""
        return x.view(x.size(0), -1)

    def drop(self, x: Tensor) -> Tensor:
        """Dropout of one half."""
        return F.dropout(x, 0.5, self.training)

    def forward(self, x: Tensor) -> Tensor:
        x = self.flat(self.convolve(x))
        x = self.drop(F.relu(self.fc6(x)))
        x = self.drop(F.relu(self.fc7(x)))
        return self.fc8(x)


class ListPlain18(nn.Module):
    """No blocks: seventeen convolutions and their norms in two lists."""

    widths = [8] * 5 + [16] * 4 + [32] * 4 + [64] * 4
    strided = (5, 9, 13)

    def __init__(self):
        super().__init__()
        self.units = nn.ModuleList()
        cin = 3
        for i, cout in enumerate(self.widths):
            self.units.append(ConvNorm(cin, cout, 7 if i == 0 else 3, 2 if i == 0 or i in self.strided else 1))
            cin = cout
        self.out = nn.Linear(cin, 10)
        self.apply(he_init)

    def step(self, i: int, x: Tensor) -> Tensor:
        """The layer of that number."""
        conv, norm = self.units[i]
        x = F.relu(norm(conv(x)))
        return F.max_pool2d(x, 3, 2, 1) if i == 0 else x

    def forward(self, x: Tensor) -> Tensor:
        for i in range(len(self.units)):
            x = self.step(i, x)
        return self.out(x.mean([2, 3]))


NETS: dict[str, Callable[..., nn.Module]] = {
    R18: ResNet18,
    R34: ResNet34,
    R50: ResNet50,
    R101: ResNet101,
    R50V1: OldResNet50,
    X50: ResNeXt50,
    W50: WideResNet50,
    P18: Plain18,
    V11: VGG11,
    V11BN: VGG11BN,
    V16: VGG16,
}


def slim_torchvision50() -> nn.Module:
    """torchvision's ResNet-50, slim."""
    return SlimTorchvision(tv.Bottleneck, (3, 4, 6, 3))


RIGHT: list[tuple[str, Build, Order | None]] = [
    *((arch, build, None) for arch, build in NETS.items()),
    (R18, sequential_resnet18, shortcut_last),
    (R18, FunctionalResNet18, None),
    (R18, SlimTorchvision, None),
    (R50, slim_torchvision50, None),
    (V16, CaffeVGG16, None),
    (P18, ListPlain18, None),
]
