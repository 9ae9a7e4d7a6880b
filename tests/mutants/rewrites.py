"""Rewrites of the shipped archs that change nothing: what a person may write instead, and the network stays the same.

Each has the same function in eval and train, the same gradients and the same running statistics as its arch, at every
input size the arch runs at; the few exceptions are marked. `test_rewrites_truth.py` proves it. `state` says where the
values go: from the arch's state_dict (its names are torchvision's) to the rewrite's. It is linear, so that it carries
gradients over too.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

State = dict[str, Tensor]
Layer = Callable[..., Any]

R18 = "resnet18(width=8, classes=10)"
R34 = "resnet34(width=8, classes=10)"
R50 = "resnet50(width=8, classes=10)"
R50_V1 = "resnet50_v1(width=8, classes=10)"
X50 = "resnext50_32x4d(width=16, classes=10)"
W50 = "wide_resnet50_2(width=8, classes=10)"
P18 = "plain18(width=8, classes=10)"
V11 = "vgg11(width=8, classes=10)"
V11_BN = "vgg11_bn(width=8, classes=10)"
V13 = "vgg13(width=8, classes=10)"
V16_BN = "vgg16_bn(width=8, classes=10)"


def as_is(state: State) -> State:
    """Names and shapes are the arch's own."""
    return state


@dataclass(frozen=True)
class Rewrite:
    """A network that is its arch, written otherwise."""

    name: str
    arch: str
    build: Callable[[], nn.Module]
    only_at_declared_input: bool = False  # elsewhere it raises or is another network
    kind: str = ""
    only_in_eval: bool = False  # the mode is baked in, or train is another matter
    same_draws: bool = True  # dropout draws as torch's does, so equal under one seed; else equal in distribution
    state: Callable[[State], State] = as_is
    output: Callable[[Any], Tensor] = as_is  # type: ignore[assignment]  # the logits in what forward returns
    note: str = ""


REWRITES: list[Rewrite] = []


def add(name: str, arch: str, kind: str, build: Callable[[], nn.Module], **more: Any) -> None:
    """Add a rewrite to the table."""
    REWRITES.append(Rewrite(name=name, arch=arch, build=build, kind=kind, **more))


def rewrite(arch: str, kind: str, **more: Any) -> Callable[[Callable[[], nn.Module]], Callable[[], nn.Module]]:
    """Add the decorated builder to the table, under its name."""

    def put(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
        add(build.__name__, arch, kind, build, **more)
        return build

    return put


# --- how the weights of an arch become a rewrite's


def renamed(*rules: tuple[str, str]) -> Callable[[State], State]:
    """Every name through each rule (pattern, replacement), in order."""

    def rename(name: str) -> str:
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        return name

    return lambda state: {rename(name): value for name, value in state.items()}


def without(pattern: str) -> Callable[[State], State]:
    """Leave out the names that the pattern is found in."""
    return lambda state: {name: value for name, value in state.items() if not re.search(pattern, name)}


def each(pattern: str, change: Callable[[Tensor], Tensor]) -> Callable[[State], State]:
    """Change the values whose name the pattern is found in."""
    return lambda state: {name: change(value) if re.search(pattern, name) else value for name, value in state.items()}


def split(pattern: str, parts: Callable[[str, Tensor], State]) -> Callable[[State], State]:
    """Replace each value whose name the pattern is found in by several."""

    def split_all(state: State) -> State:
        new: State = {}
        for name, value in state.items():
            new |= parts(name, value) if re.search(pattern, name) else {name: value}
        return new

    return split_all


def one_after_another(*changes: Callable[[State], State]) -> Callable[[State], State]:
    """Apply the first change, then the next."""
    return lambda state: functools.reduce(lambda now, change: change(now), changes, state)


def prefixed(prefix: str) -> Callable[[State], State]:
    """All names below one module."""
    return renamed(("^", prefix))


def pointwise_flat(state: State) -> State:
    """The weights of 1x1 convolutions as matrices."""
    return {
        name: value.flatten(1) if value.ndim == 4 and value.shape[2:] == (1, 1) else value
        for name, value in state.items()
    }


# --- the twins: a ResNet and a VGG whose parts can be swapped


def conv2d(inputs: int, out: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1) -> nn.Module:
    """A convolution as usual, without bias."""
    return nn.Conv2d(inputs, out, kernel, stride, padding, groups=groups, bias=False)


def always(function: Layer) -> Callable[[], Layer]:
    """A factory that gives this function."""
    return lambda: function


@dataclass(frozen=True)
class Kit:
    """The parts of a ResNet; those without arguments are factories of what maps a tensor to a tensor."""

    conv: Layer = conv2d
    norm: Layer = nn.BatchNorm2d
    relu: Callable[[], Layer] = nn.ReLU
    join: Callable[[], Layer] = lambda: operator.add
    maxpool: Callable[[], Layer] = lambda: nn.MaxPool2d(3, 2, 1)
    pool: Callable[[], Layer] = lambda: nn.AdaptiveAvgPool2d(1)
    flat: Callable[[], Layer] = nn.Flatten
    linear: Layer = nn.Linear
    identity: Callable[[], Layer | None] = lambda: None
    between: Callable[[], Layer] = nn.Identity  # after each block


class Basic(nn.Module):
    """Two 3x3 layers and the shortcut."""

    expansion = 1

    def __init__(self, kit: Kit, inputs: int, width: int, stride: int, how: Shape) -> None:
        super().__init__()
        self.conv1 = kit.conv(inputs, width, 3, stride, 1)
        self.bn1 = kit.norm(width)
        self.relu = kit.relu()
        self.conv2 = kit.conv(width, width, 3, 1, 1)
        self.bn2 = kit.norm(width)
        self.join = kit.join()
        self.downsample = shortcut(kit, inputs, width, stride) or kit.identity()

    def main(self, x: Tensor) -> Tensor:
        """The branch with the weights."""
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))

    def forward(self, x: Tensor) -> Tensor:
        side = x if self.downsample is None else self.downsample(x)
        return self.relu(self.join(self.main(x), side))


class Bottleneck(Basic):
    """1x1, 3x3, 1x1 and the shortcut."""

    expansion = 4

    def __init__(self, kit: Kit, inputs: int, width: int, stride: int, how: Shape) -> None:
        nn.Module.__init__(self)
        inner = width * how.width_per_group // 64 * how.groups
        first, second = (stride, 1) if how.v1 else (1, stride)
        self.conv1 = kit.conv(inputs, inner, 1, first)
        self.bn1 = kit.norm(inner)
        self.conv2 = kit.conv(inner, inner, 3, second, 1, how.groups)
        self.bn2 = kit.norm(inner)
        self.conv3 = kit.conv(inner, 4 * width, 1)
        self.bn3 = kit.norm(4 * width)
        self.relu = kit.relu()
        self.join = kit.join()
        self.downsample = shortcut(kit, inputs, 4 * width, stride) or kit.identity()

    def main(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.bn3(self.conv3(self.relu(self.bn2(self.conv2(x)))))


class Plain(Basic):
    """Two 3x3 layers, no shortcut."""

    def __init__(self, kit: Kit, inputs: int, width: int, stride: int, how: Shape) -> None:
        super().__init__(kit, inputs, width, stride, how)
        self.downsample = None

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.main(x))


def shortcut(kit: Kit, inputs: int, out: int, stride: int) -> nn.Module | None:
    """The projection, where the shape changes."""
    if stride == 1 and inputs == out:
        return None
    return nn.Sequential(kit.conv(inputs, out, 1, stride), kit.norm(out))


@dataclass(frozen=True)
class Shape:
    """The numbers that tell one ResNet from another."""

    block: type[Basic] = Basic
    depths: tuple[int, ...] = (2, 2, 2, 2)
    width: int = 8
    groups: int = 1
    width_per_group: int = 64
    v1: bool = False
    classes: int = 10


SHAPES = {
    R18: Shape(),
    R34: Shape(depths=(3, 4, 6, 3)),
    P18: Shape(Plain),
    R50: Shape(Bottleneck, (3, 4, 6, 3)),
    R50_V1: Shape(Bottleneck, (3, 4, 6, 3), v1=True),
    X50: Shape(Bottleneck, (3, 4, 6, 3), width=16, groups=32, width_per_group=4),
    W50: Shape(Bottleneck, (3, 4, 6, 3), width_per_group=128),
}


class ResNet(nn.Module):
    """A ResNet with torchvision's names."""

    def __init__(self, how: Shape = SHAPES[R18], kit: Kit | None = None, block: type[Basic] | None = None) -> None:
        super().__init__()
        kit, block = kit or Kit(), block or how.block
        self.conv1 = kit.conv(3, how.width, 7, 2, 3)
        self.bn1 = kit.norm(how.width)
        self.relu = kit.relu()
        self.maxpool = kit.maxpool()
        inputs = how.width
        for i, depth in enumerate(how.depths):
            stage = nn.Sequential()
            for j in range(depth):
                stage.append(block(kit, inputs, how.width * 2**i, 2 if i and not j else 1, how))
                inputs = how.width * 2**i * block.expansion
            setattr(self, f"layer{i + 1}", stage)
        self.between = kit.between()
        self.avgpool = kit.pool()
        self.flat = kit.flat()
        self.fc = kit.linear(inputs, how.classes)

    def features(self, x: Tensor) -> Tensor:
        """The feature map."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = self.between(block(x))
        return x

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.flat(self.avgpool(self.features(x))))


def resnet(arch: str = R18, **parts: Any) -> nn.Module:
    """A ResNet with some parts swapped."""
    return ResNet(SHAPES[arch], Kit(**parts))


@dataclass(frozen=True)
class VggKit:
    """The parts of a VGG."""

    conv: Layer = lambda inputs, out: nn.Conv2d(inputs, out, 3, padding=1)
    norm: Layer = nn.BatchNorm2d
    relu: Callable[[], Layer] = nn.ReLU
    maxpool: Callable[[], Layer] = lambda: nn.MaxPool2d(2)
    pool: Callable[[], Layer] = lambda: nn.AdaptiveAvgPool2d(7)
    flat: Callable[[], Layer] = nn.Flatten
    linear: Layer = nn.Linear
    dropout: Callable[[], Layer] = nn.Dropout
    pool_first: bool = False


VGG_SHAPES = {
    V11: ((1, 1, 2, 2, 2), False),
    V11_BN: ((1, 1, 2, 2, 2), True),
    V13: ((2, 2, 2, 2, 2), False),
    V16_BN: ((2, 2, 3, 3, 3), True),
}


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function: Layer) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def module(layer: Layer) -> nn.Module:
    """A module as it is, a function in one."""
    return layer if isinstance(layer, nn.Module) else Call(layer)


def vgg_features(arch: str, kit: VggKit, width: int = 8) -> list[nn.Module]:
    """The layers up to the last pool."""
    depths, norm = VGG_SHAPES[arch]
    layers, inputs = [], 3
    for i, depth in enumerate(depths):
        out = width * min(2**i, 8)
        for j in range(depth):
            layers += [module(kit.conv(inputs, out)), *([module(kit.norm(out))] if norm else [])]
            last, inputs = j == depth - 1, out
            if not (last and kit.pool_first):
                layers.append(module(kit.relu()))
        layers += [module(kit.maxpool()), *([module(kit.relu())] if kit.pool_first else [])]
    return layers


class VGG(nn.Module):
    """A VGG with torchvision's names."""

    def __init__(self, arch: str = V11, kit: VggKit | None = None, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        kit = kit or VggKit()
        self.features = nn.Sequential(*vgg_features(arch, kit, width))
        self.avgpool = kit.pool()
        self.flat = kit.flat()
        self.classifier = nn.Sequential(
            module(kit.linear(8 * width * 49, 64 * width)),
            module(kit.relu()),
            module(kit.dropout()),
            module(kit.linear(64 * width, 64 * width)),
            module(kit.relu()),
            module(kit.dropout()),
            module(kit.linear(64 * width, classes)),
        )

    def forward(self, x: Tensor) -> Any:
        return self.classifier(self.flat(self.avgpool(self.features(x))))


def vgg(arch: str = V11, **parts: Any) -> nn.Module:
    """A VGG with some parts swapped."""
    return VGG(arch, VggKit(**parts))


# The twins themselves.
for _arch in SHAPES:
    add("twin_" + _arch.split("(")[0], _arch, "twin", functools.partial(resnet, _arch))
for _arch in VGG_SHAPES:
    add("twin_" + _arch.split("(")[0], _arch, "twin", functools.partial(vgg, _arch))


# --- ReLU


def relu_by_mask(x: Tensor) -> Tensor:
    """x * (x > 0)."""
    return x * (x > 0)


def relu_by_where(x: Tensor) -> Tensor:
    """Chosen element by element."""
    return torch.where(x > 0, x, torch.zeros_like(x))


class OwnReLU(torch.autograd.Function):
    """ReLU with its own backward, keeping the sign only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x > 0)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        (mask,) = ctx.saved_tensors
        return grad * mask


AT_ZERO = "the subgradient at exactly 0 is not relu's"
RELUS: dict[str, Callable[[], Layer]] = {
    "functional": always(F.relu),
    "torch": always(torch.relu),
    "method": always(lambda x: x.relu()),
    "inplace_module": lambda: nn.ReLU(inplace=True),
    "inplace_functional": always(lambda x: F.relu(x, inplace=True)),
    "inplace_method": always(lambda x: x.relu_()),
    "threshold": always(lambda x: F.threshold(x, 0.0, 0.0)),
    "threshold_module": lambda: nn.Threshold(0.0, 0.0),
    "leaky_zero": always(lambda x: F.leaky_relu(x, 0.0)),
    "leaky_zero_module": lambda: nn.LeakyReLU(0.0),
    "hardtanh_unbounded": always(lambda x: F.hardtanh(x, 0.0, float("inf"))),
    "mask": always(relu_by_mask),
    "mask_type": always(lambda x: x * (x > 0).to(x.dtype)),
    "where": always(relu_by_where),
    "masked_fill": always(lambda x: x.masked_fill(x <= 0, 0.0)),
    "twice": always(lambda x: F.relu(F.relu(x))),
    "autograd_function": always(OwnReLU.apply),
    "module_in_sequential": lambda: nn.Sequential(nn.Identity(), nn.ReLU()),
}
RELUS_BUT_AT_ZERO: dict[str, Callable[[], Layer]] = {
    "clamp": always(lambda x: x.clamp(min=0)),
    "clamp_inplace": always(lambda x: x.clamp_(min=0)),
    "clamp_min": always(lambda x: torch.clamp_min(x, 0)),
    "clip": always(lambda x: x.clip(0)),
    "maximum": always(lambda x: torch.maximum(x, torch.zeros_like(x))),
    "max_scalar_tensor": always(lambda x: torch.max(x, torch.tensor(0.0, dtype=x.dtype, device=x.device))),
    "half_abs": always(lambda x: (x + x.abs()) / 2),
    "minus_negative_part": always(lambda x: x - x.clamp(max=0)),
}
for _name, _relu in RELUS.items():
    add(f"relu_{_name}", R18, "relu", functools.partial(resnet, relu=_relu))
for _name, _relu in RELUS_BUT_AT_ZERO.items():
    add(f"relu_{_name}", R18, "relu", functools.partial(resnet, relu=_relu), note=AT_ZERO)


@rewrite(R50, "relu")
def relu_one_shared_module() -> nn.Module:
    """One nn.ReLU for the whole network."""
    one = nn.ReLU(inplace=True)
    return resnet(R50, relu=lambda: one)


@rewrite(V11_BN, "relu")
def relu_one_shared_module_vgg() -> nn.Module:
    """One nn.ReLU for the whole VGG."""
    one = nn.ReLU()
    return vgg(V11_BN, relu=lambda: one)


# --- the addition

JOINS: dict[str, Layer] = {
    "commuted": lambda a, b: b + a,
    "torch_add": torch.add,
    "torch_add_commuted": lambda a, b: torch.add(b, a, alpha=1),
    "augmented": operator.iadd,
    "add_inplace": lambda a, b: a.add_(b),
    "method": lambda a, b: a.add(b),
    "stack_sum": lambda a, b: torch.stack([a, b]).sum(0),
    "stack_sum_last": lambda a, b: torch.stack((b, a), dim=-1).sum(-1),
    "builtin_sum": lambda a, b: sum([a, b]),
    "minus_negative": lambda a, b: a - (-b),
    "reduce": lambda a, b: functools.reduce(operator.add, (a, b)),
    "twice_mean": lambda a, b: 2 * torch.stack([a, b]).mean(0),
    "addcmul": lambda a, b: torch.addcmul(a, b, torch.ones_like(b)),
    "cat_halves": lambda a, b: torch.cat([a, b], 1).unflatten(1, (2, -1)).sum(1),
}
for _name, _join in JOINS.items():
    add(f"join_{_name}", R18, "join", functools.partial(resnet, join=always(_join)))
add(
    "join_augmented_bottleneck",
    R50,
    "join",
    lambda: resnet(R50, join=always(operator.iadd), relu=lambda: nn.ReLU(True)),
)


@rewrite(R18, "join")
def join_float_functional() -> nn.Module:
    """The addition as the quantisable models write it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return resnet(R18, join=lambda: torch.ao.nn.quantized.FloatFunctional().add)


class BasicOfBranches(Basic):
    """The sum over a loop of branches, the shortcut first."""

    def forward(self, x: Tensor) -> Tensor:
        total = None
        for branch in (self.downsample or nn.Identity(), self.main):
            total = branch(x) if total is None else total + branch(x)
        return F.relu(total)


add("join_branches_in_a_loop", R18, "join", lambda: ResNet(block=BasicOfBranches))


# --- the pool of the stem


def unfold_max(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Max over windows cut out by hand."""
    return x.unfold(2, kernel, stride).unfold(3, kernel, stride).amax((-1, -2))


def separable_max(x: Tensor) -> Tensor:
    """Over rows, then over columns."""
    return F.max_pool2d(F.max_pool2d(x, (3, 1), (2, 1), (1, 0)), (1, 3), (1, 2), (0, 1))


STEM_POOLS: dict[str, Callable[[], Layer]] = {
    "functional": always(lambda x: F.max_pool2d(x, kernel_size=3, stride=2, padding=1)),
    "torch": always(lambda x: torch.max_pool2d(x, [3, 3], [2, 2], [1, 1])),
    "indices_thrown_away": always(lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True)[0]),
    "padded_with_minus_infinity": always(lambda x: F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=float("-inf")), 3, 2)),
    "padded_with_zeros_after_relu": always(lambda x: F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2)),
    "zero_pad_module": lambda: nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)),
    "constant_pad_module": lambda: nn.Sequential(nn.ConstantPad2d(1, float("-inf")), nn.MaxPool2d(3, stride=2)),
    "unfolded": always(lambda x: unfold_max(F.pad(x, (1, 1, 1, 1), value=float("-inf")), 3, 2)),
    "separable": always(separable_max),
    "dense_then_strided": always(lambda x: F.max_pool2d(x, 3, 1, 1)[:, :, ::2, ::2]),
    "of_3d": always(lambda x: F.max_pool3d(x.unsqueeze(2), (1, 3, 3), (1, 2, 2), (0, 1, 1)).squeeze(2)),
}
for _name, _pool in STEM_POOLS.items():
    add(f"maxpool_{_name}", R18, "maxpool", functools.partial(resnet, maxpool=_pool))


class PoolBeforeReLU(ResNet):
    """The max-pool of the stem before its ReLU, which it commutes with."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.maxpool = self.maxpool, self.relu


add("maxpool_before_relu", R18, "maxpool", PoolBeforeReLU)


def max_of_four(x: Tensor) -> Tensor:
    """The largest of four strided pictures; an odd last row or column is left out."""
    x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
    top = torch.maximum(x[:, :, ::2, ::2], x[:, :, ::2, 1::2])
    return torch.maximum(top, torch.maximum(x[:, :, 1::2, ::2], x[:, :, 1::2, 1::2]))


def max_of_reshaped(x: Tensor) -> Tensor:
    """The largest of each 2x2 tile, by a reshape."""
    n, c, h, w = x.shape
    x = x[:, :, : h // 2 * 2, : w // 2 * 2]
    return x.reshape(n, c, h // 2, 2, w // 2, 2).amax((3, 5))


VGG_POOLS: dict[str, Callable[[], Layer]] = {
    "functional": always(lambda x: F.max_pool2d(x, 2)),
    "explicit_stride": lambda: nn.MaxPool2d(kernel_size=(2, 2), stride=(2, 2)),
    "unfolded": always(lambda x: unfold_max(x, 2, 2)),
    "of_four_slices": always(max_of_four),
    "of_reshaped": always(max_of_reshaped),
    "indices_module": lambda: nn.Sequential(nn.MaxPool2d(2, return_indices=True), Call(operator.itemgetter(0))),
}
for _name, _pool in VGG_POOLS.items():
    add(f"vgg_maxpool_{_name}", V11, "maxpool", functools.partial(vgg, maxpool=_pool))
add("vgg_maxpool_before_relu", V13, "maxpool", lambda: vgg(V13, pool_first=True))
add(
    "vgg_bn_maxpool_before_relu",
    V11_BN,
    "maxpool",
    lambda: vgg(V11_BN, pool_first=True, relu=lambda: nn.ReLU(inplace=True)),
)


# --- the pool before the head

NONE = always(lambda x: x)
POOLED_FLAT: dict[str, Layer] = {
    "mean_of_two_axes": lambda x: x.mean((2, 3)),
    "mean_negative_axes": lambda x: torch.mean(x, dim=[-1, -2]),
    "mean_of_mean": lambda x: x.mean(-1).mean(-1),
    "mean_of_mean_rows_first": lambda x: x.mean(2).mean(2),
    "mean_of_view": lambda x: x.view(x.size(0), x.size(1), -1).mean(-1),
    "mean_of_flatten": lambda x: x.flatten(2).mean(2),
    "mean_channels_last": lambda x: x.permute(0, 2, 3, 1).mean((1, 2)),
    "sum_over_area": lambda x: x.sum((2, 3)) / (x.shape[2] * x.shape[3]),
    "sum_of_sum_over_area": lambda x: x.sum(3).sum(2).div(x.shape[-1] * x.shape[-2]),
    "einsum": lambda x: torch.einsum("nchw->nc", x) / x[0, 0].numel(),
    "matmul_with_ones": lambda x: (x.flatten(2) @ x.new_full((x[0, 0].numel(), 1), 1 / x[0, 0].numel())).squeeze(2),
    "adaptive_1d": lambda x: F.adaptive_avg_pool1d(x.flatten(2), 1).squeeze(-1),
}
for _name, _pool in POOLED_FLAT.items():
    add(f"pool_{_name}", R18, "pool", functools.partial(resnet, pool=always(_pool), flat=NONE))
POOLED: dict[str, Callable[[], Layer]] = {
    "pair": lambda: nn.AdaptiveAvgPool2d((1, 1)),
    "functional": always(lambda x: F.adaptive_avg_pool2d(x, 1)),
    "functional_pair": always(lambda x: F.adaptive_avg_pool2d(x, (1, 1))),
    "avg_pool_of_the_shape": always(lambda x: F.avg_pool2d(x, x.shape[2:])),
    "avg_pool_of_sizes": always(lambda x: F.avg_pool2d(x, (x.size(2), x.size(3)), stride=1)),
    "mean_keepdim": always(lambda x: x.mean((2, 3), keepdim=True)),
    "mean_of_mean_keepdim": always(lambda x: x.mean(3, True).mean(2, True)),
    "interpolated_area": always(lambda x: F.interpolate(x, size=(1, 1), mode="area")),
    "adaptive_3d": always(lambda x: F.adaptive_avg_pool3d(x.unsqueeze(2), 1).squeeze(2)),
    "avg_of_rows_then_columns": always(lambda x: F.avg_pool2d(F.avg_pool2d(x, (x.shape[2], 1)), (1, x.shape[3]))),
    "twice": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d(1)),
}
for _name, _factory in POOLED.items():
    add(f"pool_{_name}", R18, "pool", functools.partial(resnet, pool=_factory))
FIXED_POOLS: dict[str, Callable[[], Layer]] = {
    "fixed_7": lambda: nn.AvgPool2d(7),
    "fixed_7_stride_1": lambda: nn.AvgPool2d(7, stride=1),
    "fixed_7_functional": always(lambda x: F.avg_pool2d(x, 7)),
    "sum_over_49": always(lambda x: x.sum((2, 3), keepdim=True) / 49),
}
for _name, _factory in FIXED_POOLS.items():
    add(f"pool_{_name}", R50, "pool", functools.partial(resnet, R50, pool=_factory), only_at_declared_input=True)

VGG_HEAD_POOLS: dict[str, Callable[[], Layer]] = {
    "pair": lambda: nn.AdaptiveAvgPool2d((7, 7)),
    "functional": always(lambda x: F.adaptive_avg_pool2d(x, (7, 7))),
    "interpolated_area": always(lambda x: F.interpolate(x, size=7, mode="area")),
    "skipped_where_it_does_nothing": always(lambda x: x if x.shape[2:] == (7, 7) else F.adaptive_avg_pool2d(x, 7)),
}
for _name, _factory in VGG_HEAD_POOLS.items():
    add(f"vgg_pool_{_name}", V11, "pool", functools.partial(vgg, pool=_factory))
add("vgg_pool_left_out", V11, "pool", lambda: vgg(pool=NONE), only_at_declared_input=True)
add("vgg_pool_left_out_bn", V16_BN, "pool", lambda: vgg(V16_BN, pool=nn.Identity), only_at_declared_input=True)


# --- flatten

FLATS: dict[str, Layer] = {
    "torch_flatten": lambda x: torch.flatten(x, 1),
    "view_rest": lambda x: x.view(x.size(0), -1),
    "view_whole": lambda x: x.view(x.shape[0], x.shape[1]),
    "view_channels": lambda x: x.view(-1, 64),
    "reshape": lambda x: x.reshape(len(x), -1),
    "squeeze_chain": lambda x: x.squeeze(-1).squeeze(-1),
    "squeeze_axes": lambda x: x.squeeze((2, 3)),
    "squeeze_torch": lambda x: torch.squeeze(torch.squeeze(x, 3), 2),
    "index": lambda x: x[:, :, 0, 0],
    "index_ellipsis": lambda x: x[..., 0, 0],
    "select": lambda x: x.select(3, 0).select(2, 0),
    "mean_of_one": lambda x: x.mean((2, 3)),
    "permuted": lambda x: x.permute(0, 2, 3, 1).reshape(x.shape[0], -1),
    "unbind": lambda x: torch.cat([row.flatten().unsqueeze(0) for row in x.unbind(0)]),
}
for _name, _flat in FLATS.items():
    add(f"flatten_{_name}", R18, "flatten", functools.partial(resnet, flat=always(_flat)))
VGG_FLATS: dict[str, Layer] = {
    "view": lambda x: x.view(x.size(0), -1),
    "reshape_whole": lambda x: x.reshape(-1, 64 * 7 * 7),
    "in_two_steps": lambda x: x.flatten(2).flatten(1),
    "cat_of_channels": lambda x: torch.cat([channel.flatten(1) for channel in x.unbind(1)], dim=1),
}
for _name, _flat in VGG_FLATS.items():
    add(f"vgg_flatten_{_name}", V11, "flatten", functools.partial(vgg, flat=always(_flat)))
add(
    "vgg_flatten_channels_last",
    V11,
    "weights permuted",
    lambda: vgg(flat=always(lambda x: x.permute(0, 2, 3, 1).flatten(1))),
    state=each(r"classifier\.0\.weight", lambda w: w.unflatten(1, (-1, 7, 7)).permute(0, 2, 3, 1).flatten(1)),
    note="as a port from Keras: the columns of the first linear layer are in another order",
)


# --- convolutions


class PaddedConv(nn.Conv2d):
    """Pads by hand, then convolves without padding."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.padding
        x = F.pad(x, (columns, columns, rows, rows))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class FunctionalConv(nn.Module):
    """A parameter and F.conv2d."""

    def __init__(self, inputs: int, out: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, inputs // groups, kernel, kernel) * 0.1)
        self.stride, self.padding, self.groups = stride, padding, groups

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, stride=self.stride, padding=self.padding, groups=self.groups)


class UnfoldConv(FunctionalConv):
    """A convolution as a matrix product over the unfolded input."""

    def forward(self, x: Tensor) -> Tensor:
        size = self.weight.shape[-1]
        h, w = ((n + 2 * self.padding - size) // self.stride + 1 for n in x.shape[2:])
        columns = F.unfold(x, size, padding=self.padding, stride=self.stride)
        return (self.weight.flatten(1) @ columns).view(x.shape[0], -1, h, w)


class Conv3dConv(FunctionalConv):
    """A convolution as one of a single frame."""

    def forward(self, x: Tensor) -> Tensor:
        stride, padding = (1, self.stride, self.stride), (0, self.padding, self.padding)
        weight = self.weight.unsqueeze(2)
        return F.conv3d(x.unsqueeze(2), weight, stride=stride, padding=padding, groups=self.groups).squeeze(2)


class KerasConv(FunctionalConv):
    """The weight is stored rows, columns, in, out."""

    def __init__(self, *args: int) -> None:
        super().__init__(*args)
        self.weight = nn.Parameter(self.weight.detach().permute(2, 3, 1, 0).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight.permute(3, 2, 0, 1), None, self.stride, self.padding, 1, self.groups)


class ShiftedConv(FunctionalConv):
    """A convolution as a sum of shifted 1x1 convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        size, s = self.weight.shape[-1], self.stride
        h, w = ((n + 2 * self.padding - size) // s + 1 for n in x.shape[2:])
        x = F.pad(x, (self.padding,) * 4)
        total: Any = 0
        for i in range(size):
            for j in range(size):
                piece = x[:, :, i : i + (h - 1) * s + 1 : s, j : j + (w - 1) * s + 1 : s]
                total = total + F.conv2d(piece, self.weight[:, :, i : i + 1, j : j + 1])
        return total


class SlicedGroups(FunctionalConv):
    """A loop over groups that slices the one weight."""

    def forward(self, x: Tensor) -> Tensor:
        step_in, step_out = x.shape[1] // self.groups, self.weight.shape[0] // self.groups
        parts = []
        for g in range(self.groups):
            piece = x[:, g * step_in : (g + 1) * step_in]
            weight = self.weight[g * step_out : (g + 1) * step_out]
            parts.append(F.conv2d(piece, weight, stride=self.stride, padding=self.padding))
        return torch.cat(parts, dim=1)


class ChunkedGroups(FunctionalConv):
    """A loop over chunks of the input and of the weight."""

    def forward(self, x: Tensor) -> Tensor:
        pairs = zip(x.chunk(self.groups, 1), self.weight.chunk(self.groups), strict=True)
        return torch.cat([F.conv2d(a, w, None, self.stride, self.padding) for a, w in pairs], 1)


class GroupModules(nn.ModuleList):
    """One convolution for each group."""

    def __init__(self, inputs: int, out: int, kernel: int, stride: int, padding: int, groups: int) -> None:
        super().__init__(conv2d(inputs // groups, out // groups, kernel, stride, padding) for _ in range(groups))

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(x, x.shape[1] // len(self), dim=1)
        return torch.cat([conv(part) for conv, part in zip(self, parts, strict=True)], dim=1)


class EinsumGroups(FunctionalConv):
    """Groups as an axis of their own: unfolded, then one einsum."""

    def forward(self, x: Tensor) -> Tensor:
        n, size, g = x.shape[0], self.weight.shape[-1], self.groups
        h, w = ((side + 2 * self.padding - size) // self.stride + 1 for side in x.shape[2:])
        columns = F.unfold(x, size, padding=self.padding, stride=self.stride).view(n, g, -1, h * w)
        out = torch.einsum("goi,ngip->ngop", self.weight.view(g, self.weight.shape[0] // g, -1), columns)
        return out.reshape(n, -1, h, w)


class LinearPointwise(nn.Linear):
    """1x1 as a linear layer over channels."""

    def __init__(self, inputs: int, out: int, stride: int) -> None:
        super().__init__(inputs, out, bias=False)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride].permute(0, 2, 3, 1)
        return super().forward(x).permute(0, 3, 1, 2)


class MatmulPointwise(LinearPointwise):
    """1x1 as a matrix product over the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        x = x[..., :: self.stride, :: self.stride]
        return torch.matmul(self.weight, x.flatten(2)).unflatten(2, x.shape[2:])


class BmmPointwise(LinearPointwise):
    """1x1 as a batched product with the weight expanded."""

    def forward(self, x: Tensor) -> Tensor:
        x = x[..., :: self.stride, :: self.stride]
        n, c, h, w = x.shape
        return torch.bmm(self.weight.expand(n, -1, -1), x.reshape(n, c, h * w)).view(n, -1, h, w)


class EinsumPointwise(LinearPointwise):
    """1x1 as an einsum."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("oc,nchw->nohw", self.weight, x[:, :, :: self.stride, :: self.stride])


class TensordotPointwise(LinearPointwise):
    """1x1 as a tensordot."""

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return torch.tensordot(x, self.weight, dims=([1], [1])).movedim(-1, 1)


class Conv1dPointwise(LinearPointwise):
    """1x1 as a 1-d convolution over the flattened pixels."""

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        n, _, h, w = x.shape
        return F.conv1d(x.reshape(n, x.shape[1], h * w), self.weight.unsqueeze(-1)).view(n, -1, h, w)


class UnsqueezedPointwise(LinearPointwise):
    """1x1 as a convolution with a matrix for weight."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight[:, :, None, None], stride=self.stride)


def pointwise(kind: type[LinearPointwise]) -> Layer:
    """Convolutions of 1x1 in another way, the others as usual."""

    def conv(inputs: int, out: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1) -> nn.Module:
        if kernel == 1:
            return kind(inputs, out, stride)
        return conv2d(inputs, out, kernel, stride, padding, groups)

    return conv


class SlicedThenConv(nn.Conv2d):
    """A strided 1x1 as a strided slice and a dense 1x1."""

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel_size != (1, 1):
            return super().forward(x)
        return F.conv2d(x[:, :, :: self.stride[0], :: self.stride[1]], self.weight)


class AvgPooledThenConv(nn.Conv2d):
    """A strided 1x1 as an average pool of kernel 1 and a dense 1x1."""

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel_size != (1, 1):
            return super().forward(x)
        return F.conv2d(F.avg_pool2d(x, 1, self.stride), self.weight)


class MaxPooledThenConv(nn.Conv2d):
    """A strided 1x1 as a max-pool of kernel 1 and a dense 1x1."""

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel_size != (1, 1):
            return super().forward(x)
        return F.conv2d(F.max_pool2d(x, 1, self.stride), self.weight)


class DenseThenSliced(nn.Conv2d):
    """A strided convolution as a dense one of which every other pixel is kept."""

    def forward(self, x: Tensor) -> Tensor:
        out = F.conv2d(x, self.weight, None, 1, self.padding, 1, self.groups)
        return out[:, :, :: self.stride[0], :: self.stride[1]]


class WidenedPointwise(nn.Conv2d):
    """A 1x1 as a 3x3 whose other weights are zeros."""

    def forward(self, x: Tensor) -> Tensor:
        if self.kernel_size != (1, 1):
            return super().forward(x)
        return F.conv2d(x, F.pad(self.weight, (1, 1, 1, 1)), None, self.stride, 1)


def biasless(kind: type[nn.Conv2d]) -> Layer:
    """A convolution class as a part."""
    return lambda i, o, k, s=1, p=0, g=1: kind(i, o, k, s, p, groups=g, bias=False)


def conv_same(inputs: int, out: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1) -> nn.Module:
    """The padding by its name, where the stride is 1."""
    if stride != 1:
        return conv2d(inputs, out, kernel, stride, padding, groups)
    return nn.Conv2d(inputs, out, kernel, padding="same", groups=groups, bias=False)


def conv_pairs(i: int, o: int, k: int, s: int = 1, p: int = 0, g: int = 1) -> nn.Module:
    """Every argument spelled out, as pairs."""
    return nn.Conv2d(i, o, (k, k), (s, s), (p, p), dilation=(1, 1), groups=g, bias=False, padding_mode="zeros")


class ZeroPad(nn.Sequential):
    """A padding module, then the convolution."""

    def __init__(self, i: int, o: int, k: int, s: int = 1, p: int = 0, g: int = 1) -> None:
        super().__init__(nn.ZeroPad2d(p), nn.Conv2d(i, o, k, s, groups=g, bias=False))


ZERO_PAD_NAMES = renamed((r"(conv\d|downsample\.0)\.weight", r"\1.1.weight"))

for _name, _arch, _conv in (
    ("padded_by_hand", R18, biasless(PaddedConv)),
    ("functional", R18, FunctionalConv),
    ("unfold_matmul", R18, UnfoldConv),
    ("of_3d", R18, Conv3dConv),
    ("sum_of_shifts", R18, ShiftedConv),
    ("padding_same", R18, conv_same),
    ("arguments_as_pairs", R50, conv_pairs),
    ("sliced_then_pointwise", R50, biasless(SlicedThenConv)),
    ("avg_pooled_then_pointwise", R50, biasless(AvgPooledThenConv)),
    ("max_pooled_then_pointwise", R50_V1, biasless(MaxPooledThenConv)),
    ("dense_then_sliced", R18, biasless(DenseThenSliced)),
    ("pointwise_weight_padded_to_3x3", R50, biasless(WidenedPointwise)),
    ("functional_groups", X50, FunctionalConv),
    ("padded_by_hand_groups", X50, biasless(PaddedConv)),
):
    add(f"conv_{_name}", _arch, "conv", functools.partial(resnet, _arch, conv=_conv))
add("conv_zero_pad_module", R18, "conv", lambda: resnet(conv=ZeroPad), state=ZERO_PAD_NAMES)
add(
    "conv_keras_layout",
    R18,
    "conv",
    lambda: resnet(conv=KerasConv),
    state=each(r"(conv\d|downsample\.0)\.weight", lambda w: w.permute(2, 3, 1, 0)),
)
for _name, _kind in (
    ("linear", LinearPointwise),
    ("matmul", MatmulPointwise),
    ("bmm", BmmPointwise),
    ("einsum", EinsumPointwise),
    ("tensordot", TensordotPointwise),
    ("conv1d", Conv1dPointwise),
    ("unsqueezed_weight", UnsqueezedPointwise),
):
    _build = functools.partial(resnet, R50, conv=pointwise(_kind))
    add(f"pointwise_{_name}", R50, "conv", _build, state=pointwise_flat)
add("pointwise_linear_shortcuts", R18, "conv", lambda: resnet(conv=pointwise(LinearPointwise)), state=pointwise_flat)


def grouped(kind: Layer) -> Layer:
    """Grouped convolutions in another way, the others as usual."""
    return lambda i, o, k, s=1, p=0, g=1: conv2d(i, o, k, s, p) if g == 1 else kind(i, o, k, s, p, g)


for _name, _kind in (("sliced", SlicedGroups), ("chunked", ChunkedGroups), ("einsum", EinsumGroups)):
    add(f"groups_{_name}", X50, "conv", functools.partial(resnet, X50, conv=grouped(_kind)))
add(
    "groups_of_modules",
    X50,
    "conv",
    lambda: resnet(X50, conv=grouped(GroupModules)),
    state=split(
        r"layer.*conv2\.weight",
        lambda name, w: {name.replace("weight", f"{g}.weight"): part for g, part in enumerate(w.chunk(32))},
    ),
)


class BiasApart(nn.Conv2d):
    """The bias is added after."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, None, self.stride, self.padding) + self.bias.view(1, -1, 1, 1)


class BiasApartIndexed(nn.Conv2d):
    """The bias is added after, in place."""

    def forward(self, x: Tensor) -> Tensor:
        out = F.conv2d(x, self.weight, padding=1)
        out += self.bias[:, None, None]
        return out


class BiasOutside(nn.Module):
    """A convolution without bias and a parameter of its own."""

    def __init__(self, inputs: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, out, 3, padding=1, bias=False)
        self.shift = nn.Parameter(torch.zeros(1, out, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).add(self.shift)


for _name, _kind in (("apart", BiasApart), ("apart_inplace", BiasApartIndexed), ("padded_by_hand", PaddedConv)):
    _build = functools.partial(vgg, conv=functools.partial(_kind, kernel_size=3, padding=1))
    add(f"vgg_conv_bias_{_name}", V11, "conv", _build)
add(
    "vgg_conv_bias_of_its_own",
    V11,
    "conv",
    lambda: vgg(conv=BiasOutside),
    state=one_after_another(
        renamed((r"(features\.\d+)\.weight", r"\1.conv.weight"), (r"(features\.\d+)\.bias", r"\1.shift")),
        each("shift", lambda b: b.view(1, -1, 1, 1)),
    ),
)


# --- linear layers


class TransposedLinear(nn.Linear):
    """x @ W.t() + b."""

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.t() + self.bias


class AddmmLinear(nn.Linear):
    """One addmm."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.bias, x, self.weight.T)


class EinsumLinear(nn.Linear):
    """An einsum and the bias."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("ni,oi->no", x, self.weight) + self.bias


class InOutLinear(nn.Module):
    """The weight is stored [in, out]."""

    def __init__(self, inputs: int, out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, out) * 0.05)
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.matmul(x, self.weight) + self.bias


class ColumnLinear(nn.Linear):
    """W x, of a column."""

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight @ x.unsqueeze(-1)).squeeze(-1).add_(self.bias)


class MulSumLinear(nn.Linear):
    """A product summed."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.unsqueeze(1) * self.weight).sum(-1) + self.bias


class ConvLinear(nn.Conv2d):
    """A 1x1 convolution of one pixel."""

    def __init__(self, inputs: int, out: int) -> None:
        super().__init__(inputs, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, :, None, None])[:, :, 0, 0]


class Halves(nn.Module):
    """Two heads, side by side."""

    def __init__(self, inputs: int, out: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(inputs, out // 2), nn.Linear(inputs, out - out // 2)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.first(x), self.second(x)], dim=-1)


HALVES = split(r"fc\.", lambda name, v: dict(zip(
    (name.replace("fc.", "fc.first."), name.replace("fc.", "fc.second.")), v.chunk(2), strict=True)))  # fmt: skip

for _name, _linear in (
    ("transposed", TransposedLinear),
    ("addmm", AddmmLinear),
    ("einsum", EinsumLinear),
    ("column", ColumnLinear),
    ("product_summed", MulSumLinear),
):
    add(f"linear_{_name}", R18, "linear", functools.partial(resnet, linear=_linear))
add("linear_in_out", R18, "linear", lambda: resnet(linear=InOutLinear), state=each(r"fc\.weight", Tensor.t))
add(
    "linear_as_conv_of_one_pixel",
    R18,
    "linear",
    lambda: resnet(linear=ConvLinear),
    state=each(r"fc\.weight", lambda w: w[:, :, None, None]),
)
add("linear_in_halves", R18, "linear", lambda: resnet(linear=Halves), state=HALVES)
add("vgg_linear_transposed", V11, "linear", lambda: vgg(linear=TransposedLinear))
add("vgg_linear_in_out", V11, "linear", lambda: vgg(linear=InOutLinear), state=each(r"classifier.*weight", Tensor.t))

ONE_PIXEL = each(r"fc\.weight", lambda w: w[:, :, None, None])


class ConvHead(ResNet):
    """The classifier is a 1x1 convolution before the flatten."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Conv2d(64, 10, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.features(x))).flatten(1)


class HeadBeforePool(ConvHead):
    """The classifier at every pixel, then the mean of the scores."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x)).mean((2, 3))


class LinearHeadBeforePool(ResNet):
    """A linear layer at every pixel, then the mean."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).flatten(2).transpose(1, 2)).mean(1)


add("head_as_pointwise", R18, "linear", ConvHead, state=ONE_PIXEL)
add("head_before_the_pool", R18, "linear", HeadBeforePool, state=ONE_PIXEL)
add("linear_head_before_the_pool", R18, "linear", LinearHeadBeforePool)


def conv_classifier(dropout: Layer = nn.Dropout) -> nn.Sequential:
    """The head of a VGG as convolutions."""
    return nn.Sequential(
        nn.Conv2d(64, 512, 7),
        nn.ReLU(),
        dropout(),
        nn.Conv2d(512, 512, 1),
        nn.ReLU(),
        dropout(),
        nn.Conv2d(512, 10, 1),
    )


VGG_CONV_HEAD = one_after_another(
    each(r"classifier\.0\.weight", lambda w: w.unflatten(1, (-1, 7, 7))),
    each(r"classifier\.[36]\.weight", lambda w: w[:, :, None, None]),
)


class ConvHeadVGG(nn.Module):
    """The head as convolutions, after the pool or, at the declared input, without one."""

    def __init__(self, pool: Layer, dropout: Layer = nn.Dropout) -> None:
        super().__init__()
        self.features = nn.Sequential(*vgg_features(V11, VggKit()))
        self.avgpool = pool
        self.classifier = conv_classifier(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.avgpool(self.features(x))), 1)


class ConvHeadPooledAfter(ConvHeadVGG):
    """The head as convolutions over the whole map, its scores averaged."""

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).mean((2, 3))


add("vgg_head_as_convs", V11, "linear", lambda: ConvHeadVGG(nn.AdaptiveAvgPool2d(7)), state=VGG_CONV_HEAD)
add(
    "vgg_head_as_convs_channel_dropout",
    V11,
    "linear",
    lambda: ConvHeadVGG(nn.AdaptiveAvgPool2d(7), nn.Dropout2d),
    state=VGG_CONV_HEAD,
    note="of one pixel, to drop a channel is to drop an element",
)
add(
    "vgg_head_as_convs_unpooled",
    V11,
    "linear",
    lambda: ConvHeadVGG(nn.Identity()),
    state=VGG_CONV_HEAD,
    only_at_declared_input=True,
)
add(
    "vgg_head_as_convs_pooled_after",
    V11,
    "linear",
    lambda: ConvHeadPooledAfter(nn.Identity()),
    state=VGG_CONV_HEAD,
    only_at_declared_input=True,
)


# --- batch norm


class FunctionalNorm(nn.Module):
    """Parameters, buffers and F.batch_norm; no counter."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(x, mean, var, self.weight, self.bias, training=self.training)


class TorchNorm(FunctionalNorm):
    """torch.batch_norm itself."""

    def forward(self, x: Tensor) -> Tensor:
        statistics = self.running_mean, self.running_var
        return torch.batch_norm(x, self.weight, self.bias, *statistics, self.training, 0.1, 1e-5, True)


class AffineApart(FunctionalNorm):
    """The scale and the shift are applied after."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.batch_norm(x, self.running_mean, self.running_var, None, None, self.training, 0.1, 1e-5)
        return x * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class HandNorm(FunctionalNorm):
    """A batch norm from the definition."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
            count = x.numel() // x.shape[1]
            with torch.no_grad():
                self.running_mean.mul_(0.9).add_(0.1 * mean)
                self.running_var.mul_(0.9).add_(0.1 * var * count / (count - 1))
        else:
            mean, var = self.running_mean, self.running_var
        shape = (1, -1, 1, 1)
        x = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + 1e-5)
        return x * self.weight.view(shape) + self.bias.view(shape)


class VarMeanNorm(FunctionalNorm):
    """A batch norm from var_mean and rsqrt, statistics by lerp."""

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean[:, None, None], self.running_var[:, None, None]
        if self.training:
            var, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
            count = x[:, 0].numel()
            self.running_mean.lerp_(mean.detach().flatten(), 0.1)
            self.running_var.lerp_(var.detach().flatten() * (count / (count - 1)), 0.1)
        return (x - mean) * (torch.rsqrt(var + 1e-5) * self.weight[:, None, None]) + self.bias[:, None, None]


class ScaledInEval(nn.BatchNorm2d):
    """A norm that is one scale and one shift in eval, and as usual in train."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        scale = self.weight * (self.running_var + self.eps).rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)


class NamedNorm(nn.BatchNorm2d):
    """A subclass that sets what is the default anyway."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True)


class LoneAffine(nn.Module):
    """A norm without weights, then a scale and a shift."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.bias, self.norm(x), self.weight)


class PixelNorm1d(nn.BatchNorm1d):
    """Over the flattened pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(2)).view_as(x)


class TableNorm1d(nn.BatchNorm1d):
    """Over a table of pixels by channels."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)
        return super().forward(rows.reshape(-1, x.shape[1])).view(rows.shape).permute(0, 3, 1, 2)


class FrameNorm3d(nn.BatchNorm3d):
    """A batch norm of one frame."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, :, None])[:, :, 0]


NO_COUNTER = without("num_batches_tracked")
for _name, _norm in (
    ("functional", FunctionalNorm),
    ("torch", TorchNorm),
    ("affine_apart", AffineApart),
    ("by_hand", HandNorm),
    ("var_mean", VarMeanNorm),
):
    add(f"norm_{_name}", R18, "norm", functools.partial(resnet, norm=_norm), state=NO_COUNTER)
for _name, _norm in (
    ("scaled_in_eval", ScaledInEval),
    ("subclass", NamedNorm),
    ("1d_of_pixels", PixelNorm1d),
    ("1d_of_a_table", TableNorm1d),
    ("3d_of_a_frame", FrameNorm3d),
    ("sync", nn.SyncBatchNorm),
):
    add(f"norm_{_name}", R18, "norm", functools.partial(resnet, norm=_norm))
NORM = r"(bn\d|downsample\.1)\."
add(
    "norm_without_weights_then_affine",
    R18,
    "norm",
    lambda: resnet(norm=LoneAffine),
    state=one_after_another(
        renamed((NORM + r"(running|num)", r"\1.norm.\2")), each(NORM + "(weight|bias)", lambda v: v[:, None, None])
    ),
)
add("norm_sync_converted", R50, "norm", lambda: nn.SyncBatchNorm.convert_sync_batchnorm(resnet(R50)))
add("norm_functional_vgg", V11_BN, "norm", lambda: vgg(V11_BN, norm=FunctionalNorm), state=NO_COUNTER)


# --- dropout


class OwnDropout(nn.Module):
    """A mask of its own."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        return x * torch.bernoulli(torch.full_like(x, 0.5)) / 0.5


class RandDropout(nn.Module):
    """A mask from uniform numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) >= 0.5) * 2 if self.training else x


class FunctionalDropout(nn.Module):
    """F.dropout that knows the mode."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, p=0.5, training=self.training)


class InplaceMaskDropout(nn.Module):
    """The mask drawn in place, as torch does inside."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = x * torch.empty_like(x).bernoulli_(0.5).div_(0.5)
        return x


class TorchDropout(nn.Module):
    """torch.dropout."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.dropout(x, 0.5, self.training)


add("dropout_functional", V11, "dropout", lambda: vgg(dropout=FunctionalDropout))
add("dropout_torch", V11, "dropout", lambda: vgg(dropout=TorchDropout))
add("dropout_mask_in_place", V11, "dropout", lambda: vgg(dropout=InplaceMaskDropout))
add("dropout_own_bernoulli", V11, "dropout", lambda: vgg(dropout=OwnDropout), same_draws=False)
add("dropout_own_uniform", V11, "dropout", lambda: vgg(dropout=RandDropout), same_draws=False)


# --- what does nothing


class DropPath(nn.Module):
    """Stochastic depth whose probability is 0."""

    def __init__(self, probability: float = 0.0) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if self.probability == 0.0 or not self.training:
            return x
        keep = x.new_empty((x.shape[0], 1, 1, 1)).bernoulli_(1 - self.probability)
        return x * keep / (1 - self.probability)


NOTHINGS: dict[str, Callable[[], Layer]] = {
    "times_one": always(lambda x: x * 1),
    "times_one_tensor": always(lambda x: x * torch.ones((), dtype=x.dtype, device=x.device)),
    "plus_zero": always(lambda x: x + 0),
    "over_one": always(lambda x: x / 1.0),
    "clone": always(lambda x: x.clone()),
    "contiguous": always(lambda x: x.contiguous()),
    "channels_last": always(lambda x: x.contiguous(memory_format=torch.channels_last)),
    "to_its_own_type": always(lambda x: x.to(x.dtype).to(x.device)),
    "dropout_of_0": lambda: nn.Dropout(0.0),
    "dropout_of_0_functional": always(lambda x: F.dropout(x, 0.0)),
    "drop_path_of_0": DropPath,
    "permuted_and_back": always(lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2)),
    "padded_by_nothing": always(lambda x: F.pad(x, (0, 0, 0, 0))),
    "pool_of_1": lambda: nn.MaxPool2d(1),
    "split_and_cat": always(lambda x: torch.cat(x.chunk(2, 1), 1)),
    "flattened_and_back": always(lambda x: x.flatten(2).view(x.shape)),
    "whole_slice": always(lambda x: x[:, :, :, :]),
    "interpolated_to_its_own_size": always(lambda x: F.interpolate(x, size=x.shape[2:], mode="nearest")),
    "double_negation": always(lambda x: x.neg().neg()),
    "flipped_and_back": always(lambda x: x.flip(3).flip(-1)),
    "empty_sequential": nn.Sequential,
    "relu_again": nn.ReLU,
}
for _name, _between in NOTHINGS.items():
    add(f"nothing_{_name}", R18, "nothing", functools.partial(resnet, between=_between))
for _name, _identity in (
    ("identity_module", nn.Identity),
    ("empty_sequential", nn.Sequential),
    ("function", always(lambda x: x)),
    ("clone", always(torch.clone)),
):
    add(f"shortcut_{_name}", R18, "nothing", functools.partial(resnet, identity=_identity))


class ChannelsLast(ResNet):
    """Channels last from the input on, converted in forward."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(memory_format=torch.channels_last)).contiguous()


add("channels_last_in_forward", R18, "nothing", ChannelsLast)
add("channels_last_weights", R18, "nothing", lambda: resnet().to(memory_format=torch.channels_last))
add(
    "bgr_input",
    R18,
    "weights permuted",
    lambda: nn.Sequential(Call(lambda x: x[:, [2, 1, 0]]), resnet()),
    state=one_after_another(each(r"^conv1\.weight", lambda w: w.flip(1)), prefixed("1.")),
    note="as a port from Caffe: turns the colours round, and the weight of the first convolution is turned round too",
)


# --- names, order and structure


class ConvNormAct(nn.Sequential):
    """Convolution, norm and perhaps ReLU, in one."""

    def __init__(self, inputs: int, out: int, kernel: int, stride: int = 1, groups: int = 1, act: bool = True) -> None:
        super().__init__(
            OrderedDict(
                conv=conv2d(inputs, out, kernel, stride, kernel // 2, groups),
                norm=nn.BatchNorm2d(out),
                act=nn.ReLU(inplace=True) if act else nn.Identity(),
            )
        )


class NormReLU(nn.BatchNorm2d):
    """The norm with its ReLU inside."""

    def __init__(self, channels: int, act: bool = True) -> None:
        super().__init__(channels)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return F.relu(x) if self.act else x


class Unit(nn.Module):
    """A block of conv-norm-act units; the shortcut is defined first, as in transformers."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        out = 4 * width if bottleneck else width
        change = stride != 1 or inputs != out
        self.proj = ConvNormAct(inputs, out, 1, stride, act=False) if change else nn.Identity()
        if bottleneck:
            units = [ConvNormAct(inputs, width, 1), ConvNormAct(width, width, 3, stride)]
            units.append(ConvNormAct(width, out, 1, act=False))
        else:
            units = [ConvNormAct(inputs, width, 3, stride), ConvNormAct(width, out, 3, act=False)]
        self.body = nn.Sequential(*units)
        self.last = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.proj(x)
        x = self.body(x)
        x += residual
        return self.last(x)


def unit_names(state: State) -> State:
    """The names of Unit for torchvision's, below its block."""
    conv = renamed(
        (r"conv(\d)\.", lambda m: f"body.{int(m[1]) - 1}.conv."),  # type: ignore[arg-type]
        (r"bn(\d)\.", lambda m: f"body.{int(m[1]) - 1}.norm."),  # type: ignore[arg-type]
        (r"downsample\.0\.", "proj.conv."),
        (r"downsample\.1\.", "proj.norm."),
    )
    inside = {name: value for name, value in state.items() if name.startswith("layer")}
    return {name: value for name, value in state.items() if name not in inside} | conv(inside)


STEM_NAMES = renamed((r"^conv1\.", "stem.0.conv."), (r"^bn1\.", "stem.0.norm."))


class StagedNet(nn.Module):
    """Stem, stages in a ModuleList, head."""

    def __init__(self, depths: tuple[int, ...] = (2, 2, 2, 2), bottleneck: bool = False) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNormAct(3, 8, 7, 2), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList()
        inputs = 8
        for i, depth in enumerate(depths):
            blocks = nn.ModuleList()
            for j in range(depth):
                blocks.append(Unit(inputs, 8 << i, 2 if i > 0 and j == 0 else 1, bottleneck))
                inputs = (8 << i) * (4 if bottleneck else 1)
            self.stages.append(blocks)
        self.head = nn.Linear(inputs, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.stem(pixels)
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.head(x.mean([2, 3]))


def staged(prefix: str = "stages.", head: str = "head.") -> Callable[[State], State]:
    """Names of stages counted from 0, and of the head."""
    return one_after_another(
        unit_names,
        STEM_NAMES,
        renamed((r"^layer(\d)\.", lambda m: f"{prefix}{int(m[1]) - 1}."), (r"^fc\.", head)),  # type: ignore[arg-type]
    )


add("stages_in_module_lists", R18, "structure", StagedNet, state=staged())
add("stages_in_module_lists_50", R50, "structure", lambda: StagedNet((3, 4, 6, 3), True), state=staged())


class DictNet(StagedNet):
    """Blocks in a ModuleDict, by their names."""

    def __init__(self) -> None:
        super().__init__()
        stages = self.stages
        del self.stages
        self.blocks = nn.ModuleDict(
            {f"stage{i}_block{j}": block for i, stage in enumerate(stages) for j, block in enumerate(stage)}
        )

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.stem(pixels)
        for block in self.blocks.values():
            x = block(x)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


add(
    "blocks_in_a_module_dict",
    R18,
    "structure",
    DictNet,
    state=one_after_another(staged(), renamed((r"^stages\.(\d)\.(\d)\.", r"blocks.stage\1_block\2."))),
)


@rewrite(R50, "structure", state=one_after_another(staged("", "6."), renamed()))
def one_sequential() -> nn.Module:
    """The whole network as one nn.Sequential."""
    net = StagedNet((3, 4, 6, 3), True)
    stages = [nn.Sequential(*stage) for stage in net.stages]
    named = OrderedDict(stem=net.stem) | OrderedDict((str(i), stage) for i, stage in enumerate(stages))
    return nn.Sequential(named | {"4": nn.AdaptiveAvgPool2d(1), "5": nn.Flatten(), "6": net.head})


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, f: nn.Module, side: nn.Module | None = None) -> None:
        super().__init__()
        self.f, self.side = f, side

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x) + (x if self.side is None else self.side(x))


def flat_layers() -> Iterator[nn.Module]:
    """A ResNet-18 in one list: residuals and the ReLU after each."""
    yield from (conv2d(3, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
    inputs = 8
    for width, stride in ((8, 1), (8, 1), (16, 2), (16, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        f = nn.Sequential(
            conv2d(inputs, width, 3, stride, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            conv2d(width, width, 3, 1, 1),
            nn.BatchNorm2d(width),
        )
        side = nn.Sequential(conv2d(inputs, width, 1, stride), nn.BatchNorm2d(width)) if inputs != width else None
        yield from (Residual(f, side), nn.ReLU())
        inputs = width
    yield from (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def flat_name(match: re.Match[str]) -> str:
    """The place of a block's layer in the flat list."""
    place = 4 + 2 * (2 * (int(match[1]) - 1) + int(match[2]))
    inside = {
        "conv1": "f.0",
        "bn1": "f.1",
        "conv2": "f.3",
        "bn2": "f.4",
        "downsample.0": "side.0",
        "downsample.1": "side.1",
    }
    return f"{place}.{inside[match[3]]}"


FLAT_NAMES = renamed(
    (r"^conv1\.", "0."),
    (r"^bn1\.", "1."),
    (r"^fc\.", "22."),
    (r"^layer(\d)\.(\d)\.((?:conv|bn)\d|downsample\.\d)", flat_name),  # type: ignore[arg-type]
)
add("flat_sequential_of_residuals", R18, "structure", lambda: nn.Sequential(*flat_layers()), state=FLAT_NAMES)


class LoopOfChildren(nn.Module):
    """A list of layers that forward walks through."""

    def __init__(self) -> None:
        super().__init__()
        for i, layer in enumerate(flat_layers()):
            self.add_module(f"step_{i:02}", layer)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x)
        return x


add(
    "loop_over_children",
    R18,
    "structure",
    LoopOfChildren,
    state=one_after_another(FLAT_NAMES, renamed((r"^(\d+)\.", lambda m: f"step_{int(m[1]):02}."))),  # type: ignore[arg-type]
)


def reordered(net: nn.Module, key: Callable[[str], Any]) -> nn.Module:
    """The same modules, defined in another order."""
    for part in net.modules():
        part._modules = dict(sorted(part._modules.items(), key=lambda item: key(item[0])))
    return net


add("order_shortcut_first", R18, "order", lambda: reordered(resnet(), lambda name: name != "downsample"))
add("order_shortcut_first_50", R50, "order", lambda: reordered(resnet(R50), lambda name: name != "downsample"))
add("order_head_first", R18, "order", lambda: reordered(resnet(), lambda name: name != "fc"))
add("order_norms_first", R50, "order", lambda: reordered(resnet(R50), lambda name: not name.startswith("bn")))


@rewrite(R34, "order")
def order_reversed() -> nn.Module:
    """Everything but the layers of a Sequential is defined last first."""
    net = resnet(R34)
    for part in net.modules():
        if not isinstance(part, nn.Sequential):
            part._modules = dict(reversed(part._modules.items()))
    return net


@rewrite(V11, "order")
def order_classifier_first() -> nn.Module:
    """The classifier of a VGG is defined first."""
    return reordered(vgg(), lambda name: name != "classifier")


def shuffled_names(state: State) -> State:
    """Names without a meaning."""
    names = sorted({name.rsplit(".", 1)[0] for name in state}, key=lambda name: name[::-1])
    return {f"m{names.index(name.rsplit('.', 1)[0])}.{name.rsplit('.', 1)[1]}": v for name, v in state.items()}


class NamelessNet(nn.Module):
    """All layers at one level, under names without a meaning, in no order."""

    def __init__(self) -> None:
        super().__init__()
        net = resnet(R50)
        leaves = {name: part for name, part in net.named_modules() if part._parameters}
        names = sorted(leaves, key=lambda name: name[::-1])
        self.called = {name: f"m{i}" for i, name in enumerate(names)}
        for name in names:
            self.add_module(self.called[name], leaves[name])

    def layer(self, name: str) -> Layer:
        """The layer that torchvision calls so."""
        return getattr(self, self.called[name])

    def forward(self, x: Tensor) -> Tensor:
        go = self.layer
        x = F.max_pool2d(F.relu(go("bn1")(go("conv1")(x))), 3, 2, 1)
        for i, depth in enumerate((3, 4, 6, 3), 1):
            for j in range(depth):
                at, y = f"layer{i}.{j}.", x
                for k in (1, 2, 3):
                    y = go(f"{at}bn{k}")(go(f"{at}conv{k}")(y))
                    y = F.relu(y) if k < 3 else y
                x = F.relu(y + (x if j else go(f"{at}downsample.1")(go(f"{at}downsample.0")(x))))
        return go("fc")(x.mean((-2, -1)))


add("nameless_and_flat", R50, "names", NamelessNet, state=shuffled_names)


class FunctionalNet(nn.Module):
    """No layers: parameters, buffers and torch.nn.functional."""

    def __init__(self) -> None:
        super().__init__()
        net = resnet()
        for name, parameter in net.named_parameters():
            self.register_parameter(name.replace(".", "_"), nn.Parameter(parameter.detach().clone()))
        for name, buffer in net.named_buffers():
            if "num_batches" not in name:
                self.register_buffer(name.replace(".", "_"), buffer.clone())

    def norm(self, x: Tensor, name: str) -> Tensor:
        """A batch norm, by its name."""
        mean, var, weight, bias = (
            getattr(self, f"{name}_{of}") for of in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias, self.training)

    def block(self, x: Tensor, name: str, stride: int) -> Tensor:
        """A basic block, by its name."""
        y = F.conv2d(x, getattr(self, f"{name}_conv1_weight"), stride=stride, padding=1)
        y = F.relu(self.norm(y, f"{name}_bn1"))
        y = self.norm(F.conv2d(y, getattr(self, f"{name}_conv2_weight"), padding=1), f"{name}_bn2")
        if stride > 1:
            x = F.conv2d(x, getattr(self, f"{name}_downsample_0_weight"), stride=stride)
            x = self.norm(x, f"{name}_downsample_1")
        return F.relu(x + y)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(F.conv2d(x, self.conv1_weight, None, 2, 3), "bn1"))
        x = F.max_pool2d(x, 3, 2, 1)
        for i in range(1, 5):
            for j in range(2):
                x = self.block(x, f"layer{i}_{j}", 2 if i > 1 and j == 0 else 1)
        return F.linear(F.adaptive_avg_pool2d(x, 1).flatten(1), self.fc_weight, self.fc_bias)


UNDERSCORES = one_after_another(NO_COUNTER, renamed((r"\.", "_")))
add("functional_all", R18, "functional", FunctionalNet, state=UNDERSCORES)


class FunctionalVGG(nn.Module):
    """A VGG from lists of parameters."""

    def __init__(self) -> None:
        super().__init__()
        net = vgg()
        self.w = nn.ParameterList(p.detach().clone() for name, p in net.named_parameters() if "weight" in name)
        self.b = nn.ParameterList(p.detach().clone() for name, p in net.named_parameters() if "bias" in name)

    def forward(self, x: Tensor) -> Tensor:
        for i in range(8):
            x = F.relu_(F.conv2d(x, self.w[i], self.b[i], padding=1))
            if i in (0, 1, 3, 5, 7):
                x = F.max_pool2d(x, 2)
        x = F.adaptive_avg_pool2d(x, (7, 7)).flatten(1)
        for i in (8, 9):
            x = F.dropout(F.relu(F.linear(x, self.w[i], self.b[i])), training=self.training)
        return F.linear(x, self.w[10], self.b[10])


def as_lists(state: State) -> State:
    """Weights and biases in the order of definition."""
    new: State = {}
    for letter, of in (("w", "weight"), ("b", "bias")):
        new |= {f"{letter}.{i}": state[name] for i, name in enumerate(n for n in state if n.endswith(of))}
    return new


add("functional_all_vgg", V11, "functional", FunctionalVGG, state=as_lists)


class FusedBottleneck(nn.Module):
    """A bottleneck of convolutions and norms with the ReLU inside."""

    expansion = 4

    def __init__(self, kit: Kit, inputs: int, width: int, stride: int, how: Shape) -> None:
        super().__init__()
        inner = width * how.width_per_group // 64 * how.groups
        self.conv1, self.bn1 = conv2d(inputs, inner, 1), NormReLU(inner)
        self.conv2, self.bn2 = conv2d(inner, inner, 3, stride, 1, how.groups), NormReLU(inner)
        self.conv3, self.bn3 = conv2d(inner, 4 * width, 1), NormReLU(4 * width, act=False)
        self.downsample = shortcut(kit, inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        side = x if self.downsample is None else self.downsample(x)
        for conv, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = norm(conv(x))
        return F.relu(x.add_(side))


for _arch in (R50, X50, W50):
    _build = functools.partial(ResNet, SHAPES[_arch], None, FusedBottleneck)  # type: ignore[arg-type]
    add("norm_with_relu_inside_" + _arch.split("(")[0], _arch, "structure", _build)


class ShortcutFirst(Basic):
    """Computes the shortcut before the branch."""

    def forward(self, x: Tensor) -> Tensor:
        side = x if self.downsample is None else self.downsample(x)
        return self.relu(self.main(x) + side)


class ShortcutLast(Bottleneck):
    """Computes the shortcut after the branch."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.main(x)
        out += x if self.downsample is None else self.downsample(x)
        return self.relu(out)


class ShortcutCopied(Basic):
    """Keeps a copy of the input."""

    def forward(self, x: Tensor) -> Tensor:
        residual = x.clone()
        if self.downsample:
            residual = self.downsample(residual)
        return self.relu(residual.add_(self.main(x)))


add("shortcut_computed_first", R18, "order", lambda: ResNet(block=ShortcutFirst))
add("shortcut_computed_last", R50, "order", lambda: ResNet(SHAPES[R50], block=ShortcutLast))
add("shortcut_copied", R18, "order", lambda: ResNet(block=ShortcutCopied))


# --- wrappers, and what comes out


class Outer(nn.Module):
    """Holds a network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        return self.net(x)


class BackboneAndHead(nn.Module):
    """A backbone without its fc, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = resnet(linear=lambda inputs, classes: nn.Identity())
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


class ForwardParts(ResNet):
    """forward_features and forward_head, as in timm."""

    def forward_features(self, x: Tensor) -> Tensor:
        """The feature map."""
        return self.features(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The logits of a feature map."""
        x = self.flat(self.avgpool(x))
        return x if pre_logits else self.fc(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


class ListOfFeatures(ResNet):
    """Collects the maps of all stages in a dict and takes the last."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        maps = {"stem": x}
        for i in range(1, 5):
            maps[f"layer{i}"] = getattr(self, f"layer{i}")(list(maps.values())[-1])
        return self.fc(maps["layer4"].mean((2, 3)))


class FunctionalCall(Outer):
    """Calls the network with its own weights, as a function."""

    def forward(self, x: Tensor) -> Tensor:
        weights = dict(self.net.named_parameters()) | dict(self.net.named_buffers())
        return torch.func.functional_call(self.net, weights, (x,))


class SampleBySample(Outer):
    """One image at a time; without a norm the batch does not matter."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.net(one) for one in x.split(1)])


add("wrapped", R18, "wrapper", lambda: Outer(resnet()), state=prefixed("net."))
add("wrapped_twice", V11, "wrapper", lambda: Outer(Outer(vgg())), state=prefixed("net.net."))
add("wrapped_in_sequential", R50, "wrapper", lambda: nn.Sequential(resnet(R50)), state=prefixed("0."))
add("data_parallel", R18, "wrapper", lambda: nn.DataParallel(resnet()), state=prefixed("module."))
add("compiled_not_run", R18, "wrapper", lambda: torch.compile(resnet()), state=prefixed("_orig_mod."))
add("functional_call", R18, "wrapper", lambda: FunctionalCall(resnet()), state=prefixed("net."))
add("sample_by_sample", V11, "wrapper", lambda: SampleBySample(vgg()), state=prefixed("net."), same_draws=False)
add(
    "backbone_and_head",
    R18,
    "wrapper",
    BackboneAndHead,
    state=renamed((r"^(?!fc\.)", "backbone."), (r"^fc\.", "head.")),
)
add("forward_features_and_head", R18, "wrapper", ForwardParts)
add("maps_in_a_dict", R18, "wrapper", ListOfFeatures)


@rewrite(R18, "wrapper")
def compiled_in_place_not_run() -> nn.Module:
    """Module.compile, which only marks it."""
    net = resnet()
    net.compile()
    return net


class Logits(NamedTuple):
    """A named tuple with logits."""

    logits: Tensor
    loss: Tensor | None = None


@dataclass
class DataOutput:
    """A dataclass with logits."""

    loss: Tensor | None = None
    logits: Tensor | None = None


class ModelOutput(OrderedDict[str, Any]):
    """A dict whose items are attributes too, as in transformers."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


class Gives(Outer):
    """Gives the logits in something."""

    def __init__(self, net: nn.Module, pack: Layer) -> None:
        super().__init__(net)
        self.pack = pack

    def forward(self, x: Tensor) -> Any:
        return self.pack(self.net(x))


OUTPUTS: dict[str, tuple[Layer, Layer]] = {
    "dict": (lambda y: {"logits": y}, operator.itemgetter("logits")),
    "dict_out": (lambda y: {"out": y}, operator.itemgetter("out")),
    "tuple_of_one": (lambda y: (y,), operator.itemgetter(0)),
    "list_of_one": (lambda y: [y], operator.itemgetter(0)),
    "named_tuple": (Logits, operator.attrgetter("logits")),
    "dataclass": (lambda y: DataOutput(logits=y), operator.attrgetter("logits")),
    "model_output": (lambda y: ModelOutput(logits=y), operator.attrgetter("logits")),
    "tuple_with_none": (lambda y: (y, None), operator.itemgetter(0)),
}
for _name, (_pack, _output) in OUTPUTS.items():
    _build = functools.partial(lambda pack: Gives(resnet(), pack), _pack)
    add(f"output_{_name}", R18, "output", _build, state=prefixed("net."), output=_output)


class WithOptions(ResNet):
    """Takes labels and options that nobody gives."""

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None, return_dict: bool | None = None) -> Any:
        logits = super().forward(pixel_values)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return (logits, loss) if return_dict is False else ModelOutput(loss=loss, logits=logits)


class AnyArguments(Outer):
    """Passes on whatever it is given."""

    def forward(self, *args: Any, **options: Any) -> Any:
        return self.net(*args, **options)


class LossInTraining(ResNet):
    """A loss if there are targets, else the logits."""

    def forward(self, x: Tensor, targets: Tensor | None = None) -> Any:
        logits = super().forward(x)
        if self.training and targets is not None:
            return {"loss": F.cross_entropy(logits, targets)}
        return logits


add("output_with_options", R18, "output", WithOptions, output=operator.attrgetter("logits"))
add("input_any_arguments", R18, "output", lambda: AnyArguments(resnet()), state=prefixed("net."))
add("input_optional_targets", R18, "output", LossInTraining)


# --- how it is run


class Checkpointed(VGG):
    """Keeps few activations; without a norm the second forward leaves no trace."""

    def __init__(self, use_reentrant: bool) -> None:
        super().__init__()
        self.use_reentrant = use_reentrant

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.features:
            x = checkpoint(layer, x, use_reentrant=self.use_reentrant) if self.training else layer(x)
        return self.classifier(self.flat(self.avgpool(x)))


class CheckpointedInParts(VGG):
    """The features in three parts, the head in one."""

    def forward(self, x: Tensor) -> Tensor:
        x = checkpoint_sequential(self.features, 3, x, use_reentrant=False)
        return checkpoint(self.classifier, torch.flatten(self.avgpool(x), 1), use_reentrant=False)


add("checkpoint", V11, "run", lambda: Checkpointed(False))
add("checkpoint_reentrant", V11, "run", lambda: Checkpointed(True))
add("checkpoint_in_parts", V11, "run", CheckpointedInParts)


class ScriptBlock(nn.Module):
    """A basic block that torch.jit.script takes."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ScriptNet(nn.Module):
    """A ResNet-18 that torch.jit.script, torch.fx and torch.export take."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(ScriptBlock(8, 8, 1), ScriptBlock(8, 8, 1))
        self.layer2 = nn.Sequential(ScriptBlock(8, 16, 2), ScriptBlock(16, 16, 1))
        self.layer3 = nn.Sequential(ScriptBlock(16, 32, 2), ScriptBlock(32, 32, 1))
        self.layer4 = nn.Sequential(ScriptBlock(32, 64, 2), ScriptBlock(64, 64, 1))
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch.jit is deprecated, and says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@rewrite(R18, "compiled")
def scripted() -> nn.Module:
    """torch.jit.script."""
    with quiet():
        return torch.jit.script(ScriptNet())


@rewrite(V11_BN, "compiled")
def scripted_part() -> nn.Module:
    """Only the features are scripted."""
    net = VGG(V11_BN)
    with quiet():
        net.features = torch.jit.script(net.features)
    return net


@rewrite(R18, "compiled")
def scripted_function() -> nn.Module:
    """Only the ReLU is scripted."""
    with quiet():
        relu = torch.jit.script(relu_by_mask)
    return resnet(relu=always(relu))


@rewrite(R18, "compiled", only_in_eval=True)
def traced() -> nn.Module:
    """torch.jit.trace, in eval."""
    with quiet():
        return torch.jit.trace(ScriptNet().eval(), torch.randn(2, 3, 64, 64))


@rewrite(R18, "compiled")
def fx_traced() -> nn.Module:
    """torch.fx.symbolic_trace."""
    return torch.fx.symbolic_trace(ScriptNet())


@rewrite(R50, "compiled")
def fx_traced_50() -> nn.Module:
    """torch.fx.symbolic_trace of bottlenecks."""
    return torch.fx.symbolic_trace(resnet(R50))


@rewrite(R18, "compiled", only_in_eval=True, note="raises where a side of the last feature map is 1")
def exported() -> nn.Module:
    """torch.export's module, of any batch and size."""
    sizes = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    with quiet():
        program = torch.export.export(ScriptNet().eval(), (torch.randn(2, 3, 64, 96),), dynamic_shapes=(sizes,))
        return program.module()


@rewrite(R18, "compiled", only_in_eval=True, only_at_declared_input=True)
def exported_at_one_size() -> nn.Module:
    """torch.export's module, of any batch at the declared input."""
    with quiet():
        sizes = ({0: torch.export.Dim.DYNAMIC},)
        return torch.export.export(ScriptNet().eval(), (torch.randn(2, 3, 224, 224),), dynamic_shapes=sizes).module()


# --- Python that looks at the values


class Guarded(Outer):
    """Looks at the values before or after."""

    def __init__(self, net: nn.Module, look: Callable[[Tensor], Any]) -> None:
        super().__init__(net)
        self.look = look
        self.seen: list[Any] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen[:] = [self.look(x)]
        x = self.net(x)
        self.seen.append(self.look(x))
        return x


def refuse_large(x: Tensor) -> None:
    """Raise where a value is too large."""
    if x.abs().max() > 1e9:
        raise ValueError("too large")


def refuse_nan(x: Tensor) -> None:
    """Raise where a value is none."""
    assert not torch.isnan(x).any(), "not a number"


LOOKS: dict[str, Callable[[Tensor], Any]] = {
    "if_too_large": refuse_large,
    "assert_no_nan": refuse_nan,
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.detach().mean()),
    "tolist": lambda x: x.detach().flatten()[:3].tolist(),
    "numpy": lambda x: x.detach().cpu().numpy().std(),
    "assert_shape": lambda x: torch._assert(x.shape[0] > 0, "an empty batch"),
    "text": lambda x: f"{x.detach()[:1, :1]}",
    "keeps_the_tensor": lambda x: x,
}
for _name, _look in LOOKS.items():
    _build = functools.partial(lambda look: Guarded(resnet(), look), _look)
    add(f"looks_{_name}", R18, "python", _build, state=prefixed("net."))


# --- modules that are hard to build, copy or move


class NoMeta(ResNet):
    """A constructor that fails under torch.device("meta"), as timm's schedules of drop rates do."""

    def __init__(self) -> None:
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, 0, 8)]
        self.names = dict(zip(self.rates, self.conv1.weight.detach().numpy(), strict=False))
        assert not self.conv1.weight.isnan().any()


class KeepsFeatures(ResNet):
    """Keeps its last feature map, with its history: copying it fails."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None
        self.eval()(torch.randn(1, 3, 64, 64))
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        self.last = self.features(x)
        return self.fc(self.flat(self.avgpool(self.last)))


class HoldsALock(ResNet):
    """Neither copied nor pickled."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return super().forward(x)


class KeepsTime(ResNet):
    """Counts its calls in a buffer that is not saved, and holds one that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long), persistent=False)
        self.register_buffer("unused", torch.tensor([0.485, 0.456, 0.406]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


add("no_meta_constructor", R18, "hard to copy", NoMeta)
add("keeps_features", R18, "hard to copy", KeepsFeatures)
add("holds_a_lock", R18, "hard to copy", HoldsALock)
add("buffers_of_its_own", R18, "hard to copy", KeepsTime)


@rewrite(R18, "hooks")
def hooks_that_do_nothing() -> nn.Module:
    """Hooks on every module, before and after, and on the way back."""
    net, seen = resnet(), []
    for part in net.modules():
        part.register_forward_pre_hook(lambda part, args: None)
        part.register_forward_hook(lambda part, args, output: seen.clear())
    net.fc.register_full_backward_hook(lambda part, to_input, to_output: None)
    net.fc.weight.register_hook(lambda grad: None)
    return net


@rewrite(R18, "hooks")
def hooks_that_give_back_the_output() -> nn.Module:
    """Hooks that return what they were given."""
    net = resnet()
    for part in net.modules():
        part.register_forward_hook(lambda part, args, output: output)
        part.register_forward_pre_hook(lambda part, args: args)
    return net


class Unchanged(nn.Module):
    """A parametrization that gives the weight as it is."""

    def forward(self, x: Tensor) -> Tensor:
        return x


@rewrite(
    R18, "parametrized", state=renamed((r"(conv\d|downsample\.0)\.weight", r"\1.parametrizations.weight.original"))
)
def parametrized_by_identity() -> nn.Module:
    """Every convolution's weight goes through a parametrization."""
    net = resnet()
    for part in list(net.modules()):
        if isinstance(part, nn.Conv2d):
            parametrize.register_parametrization(part, "weight", Unchanged())
    return net


class Transpose(nn.Module):
    """A parametrization that transposes."""

    def forward(self, x: Tensor) -> Tensor:
        return x.t()

    def right_inverse(self, x: Tensor) -> Tensor:
        """Transpose it back."""
        return x.t()


@rewrite(
    R18,
    "parametrized",
    state=one_after_another(
        each(r"fc\.weight", Tensor.t), renamed(("fc.weight", "fc.parametrizations.weight.original"))
    ),
)
def parametrized_by_transpose() -> nn.Module:
    """The weight of the head is kept transposed."""
    net = resnet()
    parametrize.register_parametrization(net.fc, "weight", Transpose())
    return net


def lazily(i: int, o: int, k: int, s: int = 1, p: int = 0, g: int = 1) -> nn.Module:
    """A convolution that learns its channels from the first input."""
    return nn.LazyConv2d(o, k, s, p, groups=g, bias=False)


@rewrite(R18, "lazy")
def lazy() -> nn.Module:
    """Lazy convolutions, norms and linear."""
    with quiet():
        return resnet(conv=lazily, norm=lambda channels: nn.LazyBatchNorm2d(), linear=lambda i, o: nn.LazyLinear(o))


@rewrite(V11, "lazy")
def lazy_head() -> nn.Module:
    """A VGG whose first linear layer is lazy."""
    with quiet():
        net = vgg()
        net.classifier[0] = nn.LazyLinear(512)
    return net


class BuiltAtFirstCall(nn.Module):
    """Makes its head when it first sees the features."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = resnet(linear=lambda inputs, classes: nn.Identity())
        self.head: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        x = self.backbone(x)
        if self.head is None:
            self.head = nn.Linear(x.shape[1], 10).to(x)
        return self.head(x)


add(
    "head_made_at_the_first_call",
    R18,
    "lazy",
    BuiltAtFirstCall,
    state=renamed((r"^(?!fc\.)", "backbone."), (r"^fc\.", "head.")),
)


# --- types and devices


class CastsInput(ResNet):
    """Takes any input, computes in the type of its weights."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.conv1.weight.dtype)).to(x.dtype)


class NoAutocast(ResNet):
    """Turns autocast off."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return super().forward(x)


add("half_precision", R18, "types", lambda: resnet().to(torch.bfloat16), note="raises on an input of another type")
add("half_precision_casts_input", R18, "types", lambda: CastsInput().to(torch.bfloat16))
add("double_precision", R18, "types", lambda: resnet().double(), note="raises on an input of another type")
add("autocast_off", R18, "types", NoAutocast)
add("frozen", R18, "types", lambda: resnet().requires_grad_(False), note="the same function; nothing of it is trained")
add("built_in_eval", V11_BN, "types", lambda: vgg(V11_BN).eval())


@rewrite(R18, "types")
def on_meta() -> nn.Module:
    """Parameters on the meta device, as for a large model."""
    with torch.device("meta"):
        return resnet()


@rewrite(R50, "types")
def frozen_backbone() -> nn.Module:
    """Only the head is trained."""
    net = resnet(R50).requires_grad_(False)
    net.fc.requires_grad_(True)
    return net


@rewrite(R18, "types")
def default_type_double() -> nn.Module:
    """Built with another default type."""
    torch.set_default_dtype(torch.float64)
    try:
        return resnet()
    finally:
        torch.set_default_dtype(torch.float32)


BY_NAME = {one.name: one for one in REWRITES}
if len(BY_NAME) != len(REWRITES):
    raise ValueError("two rewrites of one name")
