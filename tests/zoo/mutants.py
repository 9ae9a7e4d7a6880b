"""Networks that differ in one constant, one limit or one branch that hardly any number shows.

Each is a pair whose difference is shown here, without rv-check: by an input that tells the two apart, or by
construction, where the reason says what would.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.rows import Make, Net, Shape

NUMBERS, IMAGE, TOKENS = (8,), (3, 16, 16), (6, 16)
Tell = Callable[[nn.Module, nn.Module], float]  # how far the outputs are apart for an input that tells


@dataclass(frozen=True)
class Mutant:
    """A network and another that is nearly it.

    `tell`: how far apart their outputs are for an input that shows it, with the same weights; None where `why` says
    what would show it, as another device.
    """

    name: str
    kind: str  # constant, limit or branch
    old: Make
    new: Make
    input: Shape
    tell: Tell | None
    why: str = ""


MUTANTS: list[Mutant] = []


Run = Callable[[nn.Module, Tensor], Tensor]


def plainly(net: nn.Module, x: Tensor) -> Tensor:
    """Run it."""
    return net(x)


def at(x: Tensor, *, run: Run = plainly, training: bool = False, tuned: bool = False) -> Tell:
    """The outputs for an input, with the same weights, and the same chance.

    `run`: how it is run; `tuned`: whether weights keep the size of what comes in, through all layers.
    """

    def tell(old: nn.Module, new: nn.Module) -> float:
        give(old, new, tuned=tuned)
        found = []
        for net in (old, new):
            torch.manual_seed(0)
            found.append(run(net.double().train(training), x.double()).detach().double())
        one, other = found
        return float((one - other).abs().max() / one.abs().max()) if one.shape == other.shape else math.inf

    return tell


def give(old: nn.Module, new: nn.Module, *, tuned: bool) -> None:
    """The weights of one to the other; random ones of a fitting size first, if tuned."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for one, other in zip(old.parameters(), new.parameters(), strict=True):
            if tuned:
                spread = math.sqrt(2 / math.prod(one.shape[1:])) if one.dim() > 1 else 1.0
                one.copy_(spread * torch.randn(one.shape, generator=generator))
            other.copy_(one)


def in_half(net: nn.Module, x: Tensor) -> Tensor:
    """In another type of numbers."""
    return net.half()(x.half())


def without_gradients(net: nn.Module, x: Tensor) -> Tensor:
    """Without autograd."""
    with torch.no_grad():
        return net(x)


def traced(net: nn.Module, x: Tensor) -> Tensor:
    """As a trace of it does."""
    return torch.jit.trace(net, x, check_trace=False)(x)


def often(net: nn.Module, x: Tensor) -> Tensor:
    """The last of very many runs."""
    for _ in range(1000):
        net(x)
    return net(x)


def statistics(net: nn.Module, x: Tensor) -> Tensor:
    """The means that its norms have after a run in train mode."""
    net.train()(x)
    return torch.cat([part.running_mean for part in net.modules() if isinstance(part, nn.BatchNorm2d)])


def full(value: float, *shape: int) -> Tensor:
    """An input of one value, a batch of two."""
    return torch.full((2, *shape), value)


def ramp(least: float, most: float, *shape: int) -> Tensor:
    """An input that goes through all values from one to another."""
    return torch.linspace(least, most, 2 * math.prod(shape)).reshape(2, *shape)


def simple(
    name: str,
    kind: str,
    old: Any,
    new: Any,
    x: Tensor | None = None,
    why: str = "",
    input: Shape = NUMBERS,
    run: Run = plainly,
) -> None:
    """A mutant of a function of the input, with a layer behind it; an input that tells."""

    def made(function: Any) -> Make:
        return lambda: Net(lambda n, x: n.a(function(x)), a=nn.Linear(input[-1], input[-1]))

    MUTANTS.append(Mutant(name, kind, made(old), made(new), input, at(x, run=run) if x is not None else None, why))


def banded(x: Tensor, size: int) -> Tensor:
    """A mask of what is further off."""
    at = torch.arange(x.shape[1], device=x.device)
    return torch.zeros_like(x @ x.mT).masked_fill((at[:, None] - at[None]).abs() > size, -math.inf)


# ---- one constant

simple(
    "a threshold of truth values", "constant", lambda x: (x > 0.5).to(x), lambda x: (x > 0.5001).to(x), full(0.50005, 8)
)
simple(
    "a threshold of where",
    "constant",
    lambda x: torch.where(x > 0.5, x, 2 * x),
    lambda x: torch.where(x > 0.5001, x, 2 * x),
    full(0.50005, 8),
)
simple("hardshrink", "constant", lambda x: F.hardshrink(x, 0.5), lambda x: F.hardshrink(x, 0.5001), full(0.50005, 8))
simple("threshold for relu", "constant", F.relu, lambda x: F.threshold(x, 1e-3, 0.0), full(5e-4, 8))
simple(
    "softplus, where it becomes the identity",
    "constant",
    lambda x: F.softplus(x, threshold=20),
    lambda x: F.softplus(x, threshold=8),
    full(9.0, 8),
)
simple(
    "eps of a norm of layers",
    "constant",
    lambda x: F.layer_norm(x, (8,), eps=1e-12),
    lambda x: F.layer_norm(x, (8,), eps=1e-10),
    ramp(0, 1e-5, 8),
)
simple(
    "eps of a norm, another by hand",
    "constant",
    lambda x: F.layer_norm(x, (8,), eps=1e-12),
    lambda x: (x - x.mean(-1, keepdim=True)) * (x.var(-1, keepdim=True, unbiased=False) + 1e-10).rsqrt(),
    ramp(0, 1e-5, 8),
)
simple(
    "eps of a length",
    "constant",
    lambda x: F.normalize(x, dim=1, eps=1e-12),
    lambda x: F.normalize(x, dim=1, eps=1e-6),
    full(1e-8, 8),
)
simple(
    "eps of a length, by hand",
    "constant",
    lambda x: F.normalize(x, dim=1, eps=1e-12),
    lambda x: x / (x.norm(dim=1, keepdim=True) + 1e-12),
    full(1e-12, 8),
)
simple(
    "eps of a logarithm",
    "constant",
    lambda x: (x.sigmoid() + 1e-12).log(),
    lambda x: (x.sigmoid() + 1e-10).log(),
    full(-30.0, 8),
)
simple(
    "eps of a division",
    "constant",
    lambda x: x / (x.abs().sum(1, keepdim=True) + 1e-12),
    lambda x: x / (x.abs().sum(1, keepdim=True) + 1e-11),
    full(1e-12, 8),
)
simple(
    "eps of a likeness",
    "constant",
    lambda x: x + F.cosine_similarity(x, x.flip(1), dim=1, eps=1e-8)[:, None],
    lambda x: x + F.cosine_similarity(x, x.flip(1), dim=1, eps=1e-6)[:, None],
    ramp(0, 1e-7, 8),
)
simple(
    "a mask of a large number",
    "constant",
    lambda x: x.masked_fill(torch.arange(8, device=x.device) > 5, -1e9).softmax(1),
    lambda x: x.masked_fill(torch.arange(8, device=x.device) > 5, -1e4).softmax(1),
    full(-3e4, 8).masked_fill(torch.arange(8) > 5, 0.0),
)
simple("a slope that is nearly 0", "constant", lambda x: F.leaky_relu(x, 1e-10), F.relu, full(-1e8, 8))
simple(
    "a step of rounding",
    "constant",
    lambda x: (x * 1000).round() / 1000,
    lambda x: (x * 1000 + 1e-4).round() / 1000,
    full(0.00049995, 8),
)
simple(
    "edges of bins",
    "constant",
    lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0], device=x.device)).to(x),
    lambda x: torch.bucketize(x, torch.tensor([-1.0, 0.0, 1.0001], device=x.device)).to(x),
    full(1.00005, 8),
)
simple("a floor", "constant", lambda x: x.floor(), lambda x: (x + 1e-6).floor(), full(1 - 5e-7, 8))
simple(
    "what is added to a whole number",
    "constant",
    lambda x: (x.long() + 1).to(x),
    lambda x: ((x + 1e-6).long() + 1).to(x),
    full(1 - 5e-7, 8),
)
# ---- one limit

simple("a limit far off", "limit", lambda x: x.clamp(max=1e10), lambda x: x.clamp(max=1e12), full(1e11, 8))
simple("a limit of an exponential", "limit", lambda x: x.clamp(max=80.0).exp().log(), lambda x: x, full(85.0, 8))
simple("relu6 for a larger one", "limit", F.relu6, lambda x: F.hardtanh(x, 0.0, 6.1), full(7.0, 8))
simple(
    "a limit of scores",
    "limit",
    lambda x: (x @ x.mT).clamp(max=5e4).softmax(-1) @ x,
    lambda x: (x @ x.mT).softmax(-1) @ x,
    ramp(0, 9e2, 6, 16),
    input=TOKENS,
)
simple("a soft limit", "limit", lambda x: 1e6 * (x / 1e6).tanh(), lambda x: x, full(1e5, 8))
simple(
    "no number replaced",
    "limit",
    lambda x: torch.nan_to_num(x, nan=0.0),
    lambda x: torch.nan_to_num(x, nan=1.0),
    full(math.nan, 8),
)
simple(
    "infinity replaced",
    "limit",
    lambda x: torch.nan_to_num(x, posinf=1e4),
    lambda x: torch.nan_to_num(x, posinf=1e5),
    full(math.inf, 8),
)
simple(
    "a minimum with a large number",
    "limit",
    lambda x: torch.minimum(x, torch.full_like(x, 1e9)),
    lambda x: x,
    full(1e10, 8),
)
simple(
    "a length that is cut off",
    "limit",
    lambda x: x * (1e3 / x.norm(dim=1, keepdim=True)).clamp(max=1.0),
    lambda x: x,
    full(1e3, 8),
)
simple("a remainder", "limit", lambda x: x.remainder(1e9), lambda x: x % 2e9, full(1.5e9, 8))
simple(
    "distances that are cut off",
    "limit",
    lambda x: x + torch.arange(x.shape[1], device=x.device).clamp(max=64).to(x)[:, None],
    lambda x: x + torch.arange(x.shape[1], device=x.device).clamp(max=32).to(x)[:, None],
    torch.zeros(1, 40, 16),
    input=TOKENS,
)
simple(
    "a mask of what is far off",
    "limit",
    lambda x: x.masked_fill((torch.arange(x.shape[1], device=x.device) > 100)[:, None], 0.0),
    lambda x: x.masked_fill((torch.arange(x.shape[1], device=x.device) > 90)[:, None], 0.0),
    torch.ones(1, 99, 16),
    input=TOKENS,
)
simple(
    "a window of attention",
    "limit",
    lambda x: (x @ x.mT + banded(x, 64)).softmax(-1) @ x,
    lambda x: (x @ x.mT + banded(x, 32)).softmax(-1) @ x,
    torch.randn(1, 70, 16, generator=torch.Generator().manual_seed(0)) / 9,
    input=TOKENS,
)
simple("relu6 by hand for hardswish", "limit", F.hardswish, lambda x: x * (x + 3).clamp(0, 5.999) / 6, full(9.0, 8))
simple(
    "a limit from below",
    "limit",
    lambda x: x.exp().clamp_min(1e-9).log(),
    lambda x: x.exp().clamp_min(1e-10).log(),
    full(-22.0, 8),
)
simple(
    "a deviation from below",
    "limit",
    lambda x: x / x.std(1, keepdim=True).clamp_min(1e-5),
    lambda x: x / x.std(1, keepdim=True),
    ramp(0, 1e-7, 8),
)

# ---- one branch


def where_shape(size: int, then: float) -> Any:
    """Another function where there are many."""
    return lambda x: x * then if x.shape[0] > size else x


simple("a branch by the batch", "branch", where_shape(4, 2.0), where_shape(4, 3.0), torch.ones(8, 8))
simple(
    "a branch by a batch of one",
    "branch",
    lambda x: x * 2 if x.shape[0] == 1 else x,
    lambda x: x * 3 if x.shape[0] == 1 else x,
    torch.ones(1, 8),
)
simple(
    "a branch by a sum",
    "branch",
    lambda x: x * 2 if x.sum() > 1e6 else x,
    lambda x: x * 3 if x.sum() > 1e6 else x,
    full(1e6, 8),
)
simple(
    "a branch by what is finite",
    "branch",
    lambda x: x if x.isfinite().all() else x.nan_to_num(0.0),
    lambda x: x if x.isfinite().all() else x.nan_to_num(1.0),
    full(math.nan, 8),
)
simple(
    "a branch by equality",
    "branch",
    lambda x: x + 1 if torch.equal(x, torch.zeros_like(x)) else x,
    lambda x: x + 2 if torch.equal(x, torch.zeros_like(x)) else x,
    full(0.0, 8),
)
simple(
    "a branch by a type",
    "branch",
    lambda x: x * 2 if x.dtype == torch.float16 else x,
    lambda x: x * 3 if x.dtype == torch.float16 else x,
    full(1.0, 8),
    run=in_half,
)
simple(
    "a branch by a device",
    "branch",
    lambda x: x * 2 if x.is_cuda else x,
    lambda x: x * 3 if x.is_cuda else x,
    why="it is another number on a GPU, by what is written there",
)
simple(
    "a branch of what has no values",
    "branch",
    lambda x: x if x.is_meta else x * 2,
    lambda x: x if x.is_meta else x * 3,
    full(1.0, 8),
)
simple(
    "a branch by gradients",
    "branch",
    lambda x: x * 2 if torch.is_grad_enabled() else x,
    lambda x: x * 3 if torch.is_grad_enabled() else x,
    full(1.0, 8),
)
simple(
    "a branch by no gradients",
    "branch",
    lambda x: x if torch.is_grad_enabled() else x * 2,
    lambda x: x if torch.is_grad_enabled() else x * 3,
    full(1.0, 8),
    run=without_gradients,
)
simple(
    "a branch by torch.jit",
    "branch",
    lambda x: x * 2 if torch.jit.is_tracing() else x,
    lambda x: x * 3 if torch.jit.is_tracing() else x,
    full(1.0, 8),
    run=traced,
)
simple(
    "a condition of torch.cond",
    "branch",
    lambda x: torch.cond(x.sum() > 1e6, lambda y: y * 2, lambda y: y + 0, (x,)),
    lambda x: torch.cond(x.sum() > 1e6, lambda y: y * 3, lambda y: y + 0, (x,)),
    full(1e6, 8),
)


def after_calls(number: int, by: float) -> Make:
    """Another function from so many calls on."""

    def forward(net: Any, x: Tensor) -> Tensor:
        net.calls += 1
        return net.a(x) * (by if net.calls > number else 1.0)

    return lambda: Net(forward, calls=0, a=nn.Linear(8, 8))


MUTANTS.append(
    Mutant(
        "a branch by how often it ran",
        "branch",
        after_calls(1000, 2.0),
        after_calls(1000, 3.0),
        NUMBERS,
        at(full(1.0, 8), run=often),
    )
)


def by_mode(other: float) -> Make:
    """Another function in train mode."""
    return lambda: Net(lambda n, x: n.a(x) * (other if n.training else 1.0), a=nn.Linear(8, 8))


MUTANTS.append(
    Mutant("a branch by the mode", "branch", by_mode(2.0), by_mode(2.01), NUMBERS, at(full(1.0, 8), training=True))
)


def larger(side: int, by: float) -> Make:
    """Another function of large images."""
    return lambda: Net(lambda n, x: n.a(x) * (by if x.shape[2] > side else 1.0), a=nn.Conv2d(3, 4, 3))


MUTANTS.append(
    Mutant("a branch by the size", "branch", larger(500, 2.0), larger(500, 3.0), IMAGE, at(torch.ones(1, 3, 501, 16)))
)


# ---- networks of torchvision, made small


def changed(make: Make, change: Callable[[Any], None]) -> Make:
    """The network with something in it changed."""

    def made() -> nn.Module:
        net = make()
        change(net)
        return net

    return made


def quick(name: str) -> Make:
    """A network of torchvision as it is."""
    return lambda: torchvision.models.get_model(name, weights=None, num_classes=5)


def of(
    name: str,
    kind: str,
    make: Make,
    change: Callable[[Any], None],
    tell: Tell | None,
    input: Shape = (3, 32, 32),
    why: str = "",
) -> None:
    """A mutant of such a network."""
    MUTANTS.append(Mutant(name, kind, make, changed(make, change), input, tell, why))


def parts(net: nn.Module, cls: type) -> list[Any]:
    """The parts of that class."""
    return [part for part in net.modules() if isinstance(part, cls)]


def put(net: nn.Module, name: str, part: nn.Module) -> None:
    """Another part in that place."""
    net.set_submodule(name, part)


V = torchvision.models
SMALL = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def mobile2() -> nn.Module:
    """Three blocks of it."""
    return V.MobileNetV2(5, 0.25, [[1, 16, 1, 1], [6, 24, 2, 2]])


def mobile3() -> nn.Module:
    """Two blocks of it."""
    config = V.mobilenetv3.InvertedResidualConfig
    return V.MobileNetV3([config(8, 3, 16, 8, True, "RE", 2, 1, 1), config(8, 5, 24, 8, True, "HS", 1, 1, 1)], 16, 5)


def convnext() -> nn.Module:
    """Two blocks of it."""
    config = V.convnext.CNBlockConfig
    return V.ConvNeXt([config(8, 16, 1), config(16, None, 1)], num_classes=5, layer_scale=1.0)


def swin(**more: Any) -> nn.Module:
    """Two blocks of it."""
    return V.SwinTransformer([4, 4], 8, [2], [2], [4, 4], num_classes=5, **more)


def vit() -> nn.Module:
    """Two layers of it."""
    return V.VisionTransformer(32, 8, 2, 2, 16, 32, dropout=0.1, num_classes=5)


def efficient() -> nn.Module:
    """Two blocks of it."""
    config = V.efficientnet.MBConvConfig
    return V.EfficientNet([config(1, 3, 1, 8, 8, 1), config(4, 3, 2, 8, 8, 1)], 0.1, num_classes=5)


def shuffle() -> nn.Module:
    """A block of each stage."""
    return V.ShuffleNetV2([1, 1, 1], [8, 16, 16, 16, 16], 5)


def dense() -> nn.Module:
    """Two blocks of two layers."""
    return V.DenseNet(4, (2, 2), 8, num_classes=5)


def residual() -> nn.Module:
    """A block of each stage."""
    return V.ResNet(V.resnet.Bottleneck, [1, 1, 1, 1], 5, width_per_group=4)


def leaky() -> nn.Module:
    """With another activation behind its stem."""
    net = residual()
    net.relu = nn.LeakyReLU(0.1)
    return net


def plain() -> nn.Module:
    """A few layers of a VGG, whose head is small."""
    net = V.VGG(V.vgg.make_layers([4, "M", 8, "M"]), 5)
    net.classifier = nn.Sequential(nn.Linear(8 * 49, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 5))
    return net


LOUD = 1e4 * SMALL
of(
    "MobileNetV2: one relu6 of 6.001",
    "limit",
    mobile2,
    lambda n: put(n, "features.3.conv.0.2", nn.Hardtanh(0, 6.001)),
    at(LOUD, tuned=True),
)
of(
    "MobileNetV2: one relu6 is none",
    "limit",
    mobile2,
    lambda n: put(n, "features.3.conv.0.2", nn.ReLU()),
    at(LOUD, tuned=True),
)
of(
    "MobileNetV2: one momentum",
    "constant",
    mobile2,
    lambda n: setattr(parts(n, nn.BatchNorm2d)[7], "momentum", 0.11),
    at(SMALL, run=statistics),
)
of(
    "MobileNetV3: one eps of a norm",
    "constant",
    mobile3,
    lambda n: setattr(parts(n, nn.BatchNorm2d)[5], "eps", 1.01e-5),
    at(SMALL, tuned=True),
)
of(
    "MobileNetV3: one hardsigmoid is a sigmoid",
    "constant",
    mobile3,
    lambda n: setattr(parts(n, torchvision.ops.SqueezeExcitation)[1], "scale_activation", nn.Sigmoid()),
    at(SMALL, tuned=True),
)
of(
    "ResNet: dilation of one convolution",
    "constant",
    residual,
    lambda n: (setattr(n.layer3[0].conv2, "dilation", (2, 2)), setattr(n.layer3[0].conv2, "padding", (2, 2))),
    at(SMALL, tuned=True),
)
of(
    "ResNet: a pool of 0s at the border, behind a leaky relu",
    "branch",
    leaky,
    lambda n: put(n, "maxpool", nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2))),
    at(SMALL, tuned=True),
)
of(
    "DenseNet: one relu is leaky",
    "constant",
    dense,
    lambda n: put(n, "features.denseblock2.denselayer1.relu2", nn.LeakyReLU(1e-3)),
    at(SMALL, tuned=True),
)
of(
    "ShuffleNet: one pool's ceil_mode",
    "branch",
    shuffle,
    lambda n: setattr(n.maxpool, "ceil_mode", True),
    at(torch.randn(2, 3, 36, 36, generator=torch.Generator().manual_seed(0)), tuned=True),
)
of(
    "SqueezeNet: one pool's ceil_mode",
    "branch",
    quick("squeezenet1_1"),
    lambda n: setattr(n.features[2], "ceil_mode", False),
    at(torch.randn(2, 3, 37, 37, generator=torch.Generator().manual_seed(0)), tuned=True),
    (3, 37, 37),
)
of(
    "ConvNeXt: one norm's eps",
    "constant",
    convnext,
    lambda n: setattr(n.features[1][0].block[2], "eps", 1.1e-6),
    at(1e-4 * SMALL, tuned=True),
)
of(
    "ConvNeXt: one gelu by tanh",
    "constant",
    convnext,
    lambda n: setattr(n.features[1][0].block[4], "approximate", "tanh"),
    at(SMALL, tuned=True),
)
of(
    "vision transformer: the dropout of one layer",
    "constant",
    vit,
    lambda n: setattr(n.encoder.layers[1].dropout, "p", 0.11),
    at(SMALL, training=True, tuned=True),
)
of(
    "vision transformer: the eps of one norm",
    "constant",
    vit,
    lambda n: setattr(n.encoder.ln, "eps", 1.1e-6),
    at(1e-3 * SMALL, tuned=True),
)
of(
    "Swin: the shift of one block",
    "constant",
    swin,
    lambda n: setattr(n.features[1][1].attn, "shift_size", [1, 2]),
    at(SMALL, tuned=True),
)
of(
    "Swin: stochastic depth of one block",
    "constant",
    swin,
    lambda n: setattr(n.features[1][1].stochastic_depth, "p", 0.3),
    at(SMALL, training=True, tuned=True),
)
of(
    "Swin: an index of a bias",
    "constant",
    swin,
    lambda n: (
        n.features[1][0]
        .attn.relative_position_index[3:5]
        .copy_(n.features[1][0].attn.relative_position_index[3:5].flip(0).clone())
    ),
    at(SMALL, tuned=True),
)
of(
    "EfficientNet: one silu is a hardswish",
    "constant",
    efficient,
    lambda n: put(n, "features.2.0.block.0.2", nn.Hardswish()),
    at(SMALL, tuned=True),
)
of(
    "VGG: a relu between two pools",
    "branch",
    plain,
    lambda n: put(n, "features.4", nn.ReLU6()),
    at(LOUD, tuned=True),
    (3, 28, 28),
)
