"""Wrong networks that are on no list: what goes wrong in porting, refactoring, merging and trying out.

Those with one wrong expression, and those on norms, convolutions and pools of one's own, are in `expressions.py`.
"""

from __future__ import annotations

import copy
from functools import cache
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint

from tests.mutants import expressions
from tests.mutants.nets import (
    P18,
    R18,
    R34,
    R50,
    R101,
    V11,
    V11BN,
    V16,
    VGG,
    VGG11,
    W50,
    BasicBlock,
    Bottleneck,
    CaffeVGG16,
    Cases,
    ConvNorm,
    ListPlain18,
    PlainBlock,
    ResNet,
    ResNet18,
    ResNet34,
    ResNet50,
    ResNet101,
    he_init,
    sequential_resnet18,
    shortcut_last,
)

CASES = Cases(expressions.CASES)
AT_224 = "only at the declared input"
INIT = "init only"

# ---- blocks


@CASES.block(R18, "layer1.0.bn2", "E G")
class NormCopied(BasicBlock):
    """A line copied, one digit not changed."""

    def main(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return self.bn1(self.conv2(out))


@CASES.block(R18, "layer1.0.bn1 layer1.0.2")
class NormedTwice(BasicBlock):
    """Two branches merged."""

    def main(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(x))
        out = F.relu(self.bn1(out))
        return self.bn2(self.conv2(out))


@CASES.block(R18, "layer1.0.sum layer1.0.conv2 layer1.0.bn2")
class ShortcutTooLate(BasicBlock):
    """`identity` is taken after the first layer."""

    def forward(self, x: Tensor) -> Tensor:
        out = identity = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + (self.shortcut(x) if len(self.shortcut) else identity))


@CASES.block(R50, "layer1.0.downsample.1 layer1.0.sum")
class ProjectionWithRelu(Bottleneck):
    """A conv-norm-relu helper used for the projection too."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        if self.project is not None:
            self.project.append(nn.ReLU())


@CASES.block(P18, "layer1.0.conv1 layer1.0.bn1 layer1.0.2")
class NormAfterRelu(PlainBlock):
    """conv, relu, norm."""

    def main(self, x: Tensor) -> Tensor:
        return self.bn2(F.relu(self.conv2(self.bn1(F.relu(self.conv1(x))))))


@CASES.block(R18, "layer1.0.conv1 layer1.0.bn1", "K E")
class PreActivation(BasicBlock):
    """ResNet v2's block, with v1's tail."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        self.bn1 = nn.BatchNorm2d(cin)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        return out + self.shortcut(x)


@CASES.block(R50, "layer1.0.bn3 layer1.0.sum", "P")
class SqueezeExcite(Bottleneck):
    """A gate of its own for each channel."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        width = 4 * planes
        gate = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width // 16, 1), nn.ReLU(), nn.Conv2d(width // 16, width, 1)]
        self.gate = nn.Sequential(*gate, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        out = self.expand(F.relu(self.spatial(F.relu(self.reduce(x)))))
        return F.relu(out * self.gate(out) + (x if self.project is None else self.project(x)))


@CASES.block(R18, "layer1.0.bn2 layer1.0.sum")
class SpatialGate(BasicBlock):
    """Attention without a parameter."""

    def main(self, x: Tensor) -> Tensor:
        out = super().main(x)
        return out * torch.sigmoid(out.mean(1, keepdim=True))


@CASES.block(R18, "layer1.0.bn2 layer1.0.sum", "T")
class StochasticDepth(BasicBlock):
    """The main path is left out now and then."""

    def main(self, x: Tensor) -> Tensor:
        keep = torch.rand(len(x), 1, 1, 1).to(x) < 0.8
        return super().main(x) * (keep / 0.8 if self.training else 1)


@CASES.block(R18, "layer1.0.bn2 layer1.0.sum", "T")
class DropoutBeforeAdd(BasicBlock):
    """A tenth."""

    def main(self, x: Tensor) -> Tensor:
        return F.dropout(super().main(x), 0.1, self.training)


@CASES.block(R18, "layer1.0.bn2 layer1.0.sum")
class SurvivalInEval(BasicBlock):
    """Stochastic depth is off, the factor of its evaluation is not."""

    def main(self, x: Tensor) -> Tensor:
        return super().main(x) * (1 if self.training else 0.9)


@CASES.block(R18, "layer1.0.sum layer1.0.5")
class ShortcutOnlyInTraining(BasicBlock):
    """In evaluation there is no shortcut, as if it were folded into the kernel like RepVGG's, which it is not."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        return F.relu(self.main(x))


@CASES.block(R18, "layer1.0.sum layer1.0.bn2", "P")
class LayerScale(BasicBlock):
    """ConvNeXt's."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        self.gamma = nn.Parameter(torch.full((planes, 1, 1), 1e-6))

    def main(self, x: Tensor) -> Tensor:
        return self.gamma * super().main(x)


@CASES.block(R18, "layer1.0.conv2")
class PaddedBelowRight(BasicBlock):
    """All of the padding on one side."""

    def main(self, x: Tensor) -> Tensor:
        out = F.pad(F.relu(self.bn1(self.conv1(x))), (0, 2, 0, 2))
        return self.bn2(F.conv2d(out, self.conv2.weight))


@CASES.block(R18, "layer2.0.downsample.0 layer2.0.sum")
class ProjectionOffByOne(BasicBlock):
    """The shortcut takes the odd places."""

    def forward(self, x: Tensor) -> Tensor:
        if not len(self.shortcut):
            return super().forward(x)
        conv, norm = self.shortcut
        return F.relu(self.main(x) + norm(F.conv2d(x.roll((-1, -1), (2, 3)), conv.weight, stride=2)))


@CASES.block(R50, "layer1.0.conv2", "P")
class Depthwise(Bottleneck):
    """The 3x3 looks at one channel."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        self.spatial = ConvNorm(planes, planes, 3, stride, groups=planes)


@CASES.block(R50, "layer1.0.conv1", "P")
class LargeKernelFirst(Bottleneck):
    """3x3, 1x1, 1x1."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        self.reduce, self.spatial = ConvNorm(cin, planes, 3), ConvNorm(planes, planes, 1, stride)


@CASES.block(W50, "layer1.0.conv1 layer1.0.conv3", "P")
class WideOutside(Bottleneck):
    """Widened at its ends, not inside."""

    expansion = 8

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, 2 * planes, stride)
        self.spatial = ConvNorm(planes * 2, planes * 2, 3, stride)


@CASES.block(R18, "layer1.0.2", "P")
class LearntSlope(BasicBlock):
    """PReLU."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        self.slope = nn.PReLU(planes)

    def act(self, x: Tensor) -> Tensor:
        return self.slope(x)


@CASES.block(R18, "layer1.0.conv2 layer1.0.conv1", "P")
class OneKernelForBoth(BasicBlock):
    """Tied where the shapes allow."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        if cin == planes:
            self.conv2 = self.conv1


@CASES.block(R18, "layer2.0.downsample.1 layer2.0.bn2", "P")
class OneNormForBoth(BasicBlock):
    """The projection borrows the norm of the main path."""

    def make_shortcut(self, cin: int, cout: int, stride: int) -> nn.Module:
        shortcut = super().make_shortcut(cin, cout, stride)
        return nn.Sequential(shortcut[0], self.bn2) if len(shortcut) else shortcut


@CASES.block(R18, "layer1.0.bn1", "T B")
class InstanceNorms(BasicBlock):
    """They have the same parameters, the same buffers and the same eval mode."""

    @staticmethod
    def norm(channels: int) -> nn.Module:
        return nn.InstanceNorm2d(channels, affine=True, track_running_stats=True)


# ---- stems and stages


@CASES(R18, "maxpool", "E")
class AverageStem(ResNet18):
    """Smoother."""

    def stem(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)


@CASES(R18, "maxpool", "E")
class BlurredStem(ResNet18):
    """Antialiased: a max-pool of stride 1, and a blur that strides."""

    def stem(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 1, 1)
        line = torch.tensor([1.0, 2, 1]).to(x) / 4
        kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


@CASES(R18, "bn1 2 maxpool", "T B")
class PooledFirst(ResNet18):
    """It commutes with a norm in eval mode, where no weight is negative."""

    def stem(self, x: Tensor) -> Tensor:
        return F.relu(self.bn1(self.maxpool(self.conv1(x))))


@CASES(R18, "maxpool 2")
class PooledTwice(ResNet18):
    """Once in the stem, once on the way to the stages."""

    def body(self, x: Tensor) -> Tensor:
        return super().body(F.max_pool2d(x, 3, 1, 1))


@CASES(R18, "conv1", "P")
class CifarStem(ResNet18):
    """3x3, and no pooling."""

    def make_stem(self) -> None:
        self.conv1, self.bn1 = nn.Conv2d(3, self.width, 3, padding=1, bias=False), nn.BatchNorm2d(self.width)
        self.maxpool = nn.Identity()


@CASES(R50, "conv1", "P")
class DeepStem(ResNet50):
    """Three 3x3, as in ResNet-C."""

    def make_stem(self) -> None:
        parts = [ConvNorm(3, 4, 3, 2), nn.ReLU(), ConvNorm(4, 4, 3), nn.ReLU()]
        super().make_stem()
        self.conv1 = nn.Sequential(*parts, nn.Conv2d(4, self.width, 3, 1, 1, bias=False))


@CASES(R18, "conv1 bn1 2 maxpool", "G")
class FrozenStem(ResNet18):
    """Nothing goes back through it."""

    def stem(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().stem(x)


@CASES(R18, "maxpool layer1.0.conv1")
class Coordinates(ResNet18):
    """Each place is told where it is."""

    def stem(self, x: Tensor) -> Tensor:
        x = super().stem(x)
        return x + torch.linspace(-1, 1, x.shape[-1]).to(x)


@CASES(R18, "maxpool layer1.0.conv1")
class BordersCut(ResNet18):
    """The outermost places are zero."""

    def stem(self, x: Tensor) -> Tensor:
        return F.pad(super().stem(x)[..., 1:-1, 1:-1], (1, 1, 1, 1))


@CASES(R18, "maxpool conv1")
class StaleCache(ResNet18):
    """The stem runs once for each shape."""

    def __init__(self):
        super().__init__()
        self.seen: dict[torch.Size, Tensor] = {}

    def stem(self, x: Tensor) -> Tensor:
        if self.training:
            return super().stem(x)
        if x.shape not in self.seen:
            self.seen[x.shape] = super().stem(x)
        return self.seen[x.shape]


@CASES(R18, "layer4.0.conv1")
class Upsampled(ResNet18):
    """Nearest, so that the last stage has more to see."""

    def body(self, x: Tensor) -> Tensor:
        x = self.stages[2](self.stages[1](self.stages[0](x)))
        return self.stages[3](F.interpolate(x, scale_factor=2))


@CASES(R34, "layer3.5.sum layer3.5.5 layer3.5.conv1 layer4.0.conv1 layer4.0.downsample.0", "E G")
class NotAssigned(ResNet34):
    """What the last block of a stage gives is dropped."""

    def body(self, x: Tensor) -> Tensor:
        for k, stage in enumerate(self.stages):
            for i, block in enumerate(stage):
                if k == 2 and i == len(stage) - 1:
                    block(x)
                else:
                    x = block(x)
        return x


@CASES(R50, "layer1.2.conv1 layer1.1.8 layer1.2.8 layer2.0.conv1 layer2.0.downsample.0", "E G")
class LastBlocksCut(ResNet50):
    """range(n - 1)."""

    def body(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            for i in range(len(stage) - 1):
                x = stage[i](x)
        return x


@CASES(R101, "layer3.2.conv1")
class SortedByName(ResNet101):
    """The tenth block comes before the second."""

    def body(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            for _, block in sorted(stage.named_children()):
                x = block(x)
        return x


@CASES(R34, "layer1.0.conv1")
class Backwards(ResNet34):
    """The first stage from its end."""

    def body(self, x: Tensor) -> Tensor:
        for block in reversed(self.stages[0]):
            x = block(x)
        return self.stages[3](self.stages[2](self.stages[1](x)))


@CASES(R18, "layer2.0.conv1 layer1.1.5 layer2.0.downsample.0")
class StageTwice(ResNet18):
    """Two branches merged: the first stage runs again."""

    def body(self, x: Tensor) -> Tensor:
        return super().body(self.stages[0](x))


@CASES(R18, "layer1.0.conv1 layer2.0.conv1", "E G")
class StageForgotten(ResNet18):
    """The first stage has the shapes of its input, so that nobody notices."""

    def body(self, x: Tensor) -> Tensor:
        for stage in self.stages[1:]:
            x = stage(x)
        return x


@CASES(R18, "layer1.1.5 layer2.0.conv1 layer2.0.downsample.0")
class DataDecides(ResNet18):
    """What is dark is turned round."""

    def body(self, x: Tensor) -> Tensor:
        x = self.stages[0](x)
        x = torch.where(x.mean((1, 2, 3), keepdim=True) > x.mean(), x, x.flip(-1))
        return self.stages[3](self.stages[2](self.stages[1](x)))


@CASES(R18, "layer3.0.bn1", "B")
class Checkpointed(ResNet18):
    """The stage is computed again in backward, and its norms learn twice."""

    def body(self, x: Tensor) -> Tensor:
        for k, stage in enumerate(self.stages):
            x = checkpoint(stage, x, use_reentrant=False) if k == 2 else stage(x)
        return x


@CASES(R18, "bn1", "T B")
class HalvesApart(ResNet18):
    """Micro-batches, each with statistics of its own."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        return torch.cat([self.head(self.body(self.stem(half))) for half in x.chunk(2)])


@CASES(R18, "conv1 fc")
class MirrorAveraged(ResNet18):
    """The mean of what it says of an image and of its mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return (super().forward(x) + super().forward(x.flip(3))) / 2


@CASES(R34, "layer1.1.conv1 layer2.0.conv1 layer1.0.bn1", "P")
class NormsCached(ResNet34):
    """A default argument that is made once: norms of one width are one norm."""

    def __init__(self):
        made: dict[int, nn.Module] = {}

        class Block(BasicBlock):
            """Asks there first."""

            def norm(self, channels: int, made: dict[int, nn.Module] = made) -> nn.Module:
                return made.setdefault(channels, nn.BatchNorm2d(channels))

        super().__init__(Block)


@CASES(P18, "layer1.0.conv2 layer1.0.conv1", "P")
def convs_cached() -> nn.Module:
    """A factory with a cache."""
    net = ListPlain18()
    conv = cache(lambda cin, cout, stride: nn.Conv2d(cin, cout, 3, stride, 1, bias=False))
    for unit in net.units[1:]:
        unit[0] = conv(unit[0].in_channels, unit[0].out_channels, unit[0].stride)
    return net.apply(he_init)


@CASES(R18, "layer1.0.conv1", "P")
class NamesCollide(ResNet18):
    """The blocks of a stage are registered under the names of the last one's."""

    def __init__(self):
        super().__init__()
        for stage in self.stages:
            for i, block in enumerate(stage):
                setattr(self, f"block{i}", block)
        del self.stages

    def body(self, x: Tensor) -> Tensor:
        return self.block1(self.block0(x.repeat(1, 4, 1, 1)))


@CASES(P18, "layer1.0.bn1")
class NormsOffByOne(ListPlain18):
    """Where the last layer's norm has the same width, it is used."""

    def step(self, i: int, x: Tensor) -> Tensor:
        conv, norm = self.units[i]
        before = self.units[max(i - 1, 0)][1]
        x = F.relu((before if before.num_features == norm.num_features else norm)(conv(x)))
        return F.max_pool2d(x, 3, 2, 1) if i == 0 else x


# ---- what is done to a network that was right


@CASES.patch(R18, "layer3.1.5 layer4.0.conv1 layer3.1.sum layer4.0.downsample.0")
def hook_left_behind(net: ResNet) -> None:
    """A hook of an experiment with activations was left behind."""
    net.stages[2].register_forward_hook(lambda module, args, out: out * 1.01)


@CASES.patch(R50, "layer2.0.conv2", "E")
def wraps_around(net: ResNet) -> None:
    """One convolution pads with the other side."""
    net.stages[1][0].spatial[0] = nn.Conv2d(16, 16, 3, 2, 1, bias=False, padding_mode="circular").apply(he_init)


@CASES.patch(P18, "layer2.1.conv1")
def reflects(net: ResNet) -> None:
    """One convolution pads with its mirror image."""
    net.stages[1][1].conv1 = nn.Conv2d(16, 16, 3, padding=1, bias=False, padding_mode="reflect").apply(he_init)


@CASES.patch(R18, "layer1.0.conv1", "K")
def weight_normed(net: ResNet) -> None:
    """Length and direction."""
    parametrizations.weight_norm(net.stages[0][0].conv1)


@CASES.patch(R18, "layer1.0.conv1", "K E")
def spectrally_normed(net: ResNet) -> None:
    """The convolutions are normed as in a GAN."""
    parametrizations.spectral_norm(net.stages[0][0].conv1)


@CASES.patch(R18, "layer4.1.conv2", "K E C", why="with the mask on, deepcopy refuses it too")
def pruned(net: ResNet) -> None:
    """The smaller half of a kernel is gone, and a mask is there."""
    prune.l1_unstructured(net.stages[3][1].conv2, "weight", 0.5)


@CASES.patch(R50, "conv1 bn1", "P T")
def folded(net: ResNet) -> None:
    """The norms are in the convolutions, for inference."""
    for module in list(net.modules()):
        if isinstance(module, ConvNorm):
            module[0].bias = nn.Parameter(torch.zeros(module[0].out_channels))
            module[1] = nn.Identity()


@CASES.patch(R18, "maxpool layer1.0.conv1")
def divided_by_the_greatest(net: ResNet) -> None:
    """A forward patched on."""

    def body(self: ResNet, x: Tensor) -> Tensor:
        return ResNet.body(self, x / x.detach().abs().amax())

    net.body = MethodType(body, net)  # type: ignore[method-assign]


@CASES.patch(R18, "fc", "P O")
def background_class(net: ResNet) -> None:
    """TensorFlow's 1001."""
    net.fc = nn.Linear(64, 11)


@CASES.patch(R18, "conv1", "P")
def grey_input(net: ResNet) -> None:
    """One channel."""
    net.conv1 = nn.Conv2d(1, 8, 7, 2, 3, bias=False).apply(he_init)
    net.register_forward_pre_hook(lambda module, args: args[0].mean(1, keepdim=True))


@CASES.patch(R18, "fc", "P")
def two_heads(net: ResNet) -> None:
    """Half of the classes each, the second half first."""

    class Heads(nn.Module):
        """Two of them."""

        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(64, 5), nn.Linear(64, 5)

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([self.second(x), self.first(x)], 1)

    net.fc = Heads()


@CASES.patch(R18, "bn1", "P")
def statistics_are_parameters(net: ResNet) -> None:
    """They are in the optimiser's list."""
    for norm in [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]:
        mean, var = norm.running_mean, norm.running_var
        del norm.running_mean, norm.running_var
        norm.running_mean, norm.running_var = (nn.Parameter(t, requires_grad=False) for t in (mean, var))


# ---- VGG


@CASES(V16, "2 classifier.0")
class FlattenedAsNHWC(CaffeVGG16):
    """TensorFlow's order, torch's weights."""

    def flat(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


@CASES(V16, "2 avgpool classifier.0", "Z", kind=AT_224)
class ViewMixesTheBatch(CaffeVGG16):
    """view(-1, features) of whatever came out."""

    def convolve(self, x: Tensor) -> Tensor:
        for stage in range(1, 6):
            for i in range(1, 4):
                x = F.relu(getattr(self, f"conv{stage}_{i}")(x)) if hasattr(self, f"conv{stage}_{i}") else x
            x = self.pool(x)
        return x

    def flat(self, x: Tensor) -> Tensor:
        return x.reshape(-1, 32 * 7 * 7)


@CASES(V16, "classifier.2")
class DropoutAlways(CaffeVGG16):
    """`F.dropout` is on unless it is told."""

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x)


@CASES(V16, "features.4")
class OverlappingPools(CaffeVGG16):
    """3x3, as in AlexNet."""

    def pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, 2, padding=1)


@CASES(V16, "features.4")
class AveragePools(CaffeVGG16):
    """Pools are of means, as in style transfer."""

    def pool(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2)


@CASES(V16, "features.15 features.16")
class TailOfStage3Linear(CaffeVGG16):
    """relu3_3 is missing, and the pool takes what it finds."""

    def third_stage(self, x: Tensor) -> Tensor:
        return self.conv3_3(F.relu(self.conv3_2(F.relu(self.conv3_1(x)))))


@CASES.patch(V11, "avgpool", "Z", kind=AT_224)
def nearest_for_average(net: VGG) -> None:
    """Both do nothing to 7x7."""
    net.avgpool = nn.Upsample(size=(7, 7))


@CASES.patch(V11, "features.20 avgpool", "S E")
def last_pool_sliced_off(net: VGG) -> None:
    """The last pool is cut off, for features before it."""
    net.features = net.features[:-1]


@CASES(V11, "features.18 features.20 avgpool", "P")
class ZipTruncates(VGG11):
    """Widths and depths of unequal length."""

    def layers(self) -> list[nn.Module]:
        made: list[nn.Module] = []
        cin = 3
        for cout, depth in zip((4, 8, 16, 32, 32), (1, 1, 2, 2), strict=False):
            for _ in range(depth):
                made += [nn.Conv2d(cin, cout, 3, padding=1), nn.ReLU()]
                cin = cout
            made.append(nn.MaxPool2d(2))
        return made


@CASES.patch(V11BN, "classifier.2", "T")
def alpha_dropout(net: VGG) -> None:
    """A dropout for networks that norm themselves."""
    net.classifier[2], net.classifier[5] = nn.AlphaDropout(0.5), nn.AlphaDropout(0.5)


@CASES.patch(V11BN, "2 classifier.0 classifier.2", "T")
def dropout_on_features(net: VGG) -> None:
    """One more, before the first linear layer."""
    net.classifier = nn.Sequential(nn.Dropout(), *net.classifier)


@CASES.patch(V11, "classifier.3")
def square_matrix_transposed(net: VGG) -> None:
    """Keras keeps it the other way round."""

    def forward(self: nn.Linear, x: Tensor) -> Tensor:
        return x @ self.weight + self.bias

    net.classifier[3].forward = MethodType(forward, net.classifier[3])  # type: ignore[method-assign]


@CASES.patch(V11, "features.1 features.2")
def local_response_norm(net: VGG) -> None:
    """Network A-LRN."""
    net.features[1] = nn.Sequential(nn.ReLU(), nn.LocalResponseNorm(5, k=2))


@CASES.patch(V11BN, "features.1 features.2 features.4")
def norm_after_relu(net: VGG) -> None:
    """All of them."""
    for i, layer in enumerate(list(net.features)):
        if isinstance(layer, nn.BatchNorm2d):
            net.features[i], net.features[i + 1] = nn.ReLU(), layer


@CASES.patch(V11, "classifier.4 classifier.5 classifier.6")
def linear_after_linear(net: VGG) -> None:
    """The last relu was dropped with the dropout."""
    net.classifier[4] = nn.Identity()


@CASES(V11, "features.20 avgpool classifier.0")
class FeaturesInBfloat16(VGG11):
    """Autocast was left on around the convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x)).bfloat16().to(x.dtype)
        return self.classifier(x.flatten(1))


# ---- only the start


@CASES(R34, "layer1.1.conv1 layer1.2.conv1", "I", kind=INIT, why="the copies have one another's values")
class BlocksCopied(ResNet34):
    """copy.deepcopy of the first one, after it was initialised."""

    def __init__(self):
        super().__init__()
        for stage in self.stages:
            for i in range(2, len(stage)):
                stage[i] = copy.deepcopy(stage[1])


@CASES.patch(R18, "fc", "I", kind=INIT)
def bias_of_a_rare_class(net: ResNet) -> None:
    """The focal loss's."""
    nn.init.constant_(net.fc.bias, -4.6)


@CASES.patch(R18, "layer1.0.conv1", "I", kind=INIT)
def stages_as_torch_starts_them(net: ResNet) -> None:
    """The loop over the modules ran before the stages were there."""
    for module in net.stages.modules():
        if isinstance(module, nn.Conv2d):
            module.reset_parameters()


@CASES.patch(R18, "fc", "I", kind=INIT)
def head_like_vgg(net: ResNet) -> None:
    """0.01."""
    nn.init.normal_(net.fc.weight, 0, 0.01)


@CASES.patch(R18, "bn1", "I", kind=INIT)
def norms_as_once(net: ResNet) -> None:
    """torch's own start until 1.2."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight)


@CASES.patch(V11, "features.0", "I", kind=INIT)
def truncated(net: VGG) -> None:
    """TensorFlow's: cut at two deviations, which makes it narrower."""
    for module in net.features:
        if isinstance(module, nn.Conv2d):
            std = (2 / (9 * module.out_channels)) ** 0.5
            nn.init.trunc_normal_(module.weight, 0, std, -2 * std, 2 * std)


# ---- the same network, written unlike the others


@CASES(R18, "", "", equal=True, why="maximum and relu commute")
class PooledBeforeRelu(ResNet18):
    """The smaller map is cheaper."""

    def stem(self, x: Tensor) -> Tensor:
        return F.relu(self.maxpool(self.bn1(self.conv1(x))))


@CASES(R18, "", "", equal=True, why="after a relu no zero is greater than the maximum")
class PaddedWithZeros(ResNet18):
    """The image is padded by hand."""

    def stem(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(F.relu(self.bn1(self.conv1(x))), (1, 1, 1, 1)), 3, 2)


@CASES.patch(R18, "", "", equal=True, why="the same number of places on each side")
def padding_same(net: ResNet) -> None:
    """Where nothing strides."""
    for block in net.stages[0]:
        block.conv1 = nn.Conv2d(8, 8, 3, padding="same", bias=False)
        he_init(block.conv1)


@CASES.block(R18, "", "", equal=True, why="where it is positive, and nothing elsewhere")
class ReluByHand(BasicBlock):
    """torch.where."""

    def act(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, torch.zeros_like(x))


@CASES.patch(V11, "", "", equal=True, why="dropout scales by what is not negative")
def dropout_before_relu(net: VGG) -> None:
    """Two lines swapped."""
    for i in (1, 4):
        net.classifier[i], net.classifier[i + 1] = net.classifier[i + 1], net.classifier[i]


@CASES(R18, "", "", equal=True, why="a relu changes nothing the second time", order=shortcut_last)
def relu_twice() -> nn.Module:
    """One at the end of the stem, one at the start of the stages."""
    net = sequential_resnet18()
    net[2] = nn.Sequential(net[2], nn.ReLU())
    return net


@CASES(R50, "", "", equal=True, why="one relu module for all of them is no state")
class SharedRelu(ResNet50):
    """A default argument that is a module."""

    def __init__(self, relu: nn.Module = nn.ReLU()):  # noqa: B008
        super().__init__()
        for module in self.modules():
            if isinstance(module, Bottleneck):
                module.relu = relu


@CASES(R18, "", "", equal=True, why="only the layout in memory")
class ChannelsLast(ResNet18):
    """It computes channels last, for speed."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous(memory_format=torch.channels_last))


@CASES.patch(V11BN, "", "", equal=True, why="maximum and relu commute")
def pools_before_relus(net: VGG) -> None:
    """Every one."""
    for i, layer in enumerate(list(net.features)):
        if isinstance(layer, nn.MaxPool2d):
            net.features[i - 1], net.features[i] = layer, nn.ReLU()
