"""Wrong networks that people really wrote, one for each row of the project's list of reported mistakes that applies.

The rows on other families (pre-activation, SE, DenseNet, MobileNet, Inception, WRN for CIFAR, ViT) have none.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet as tv
from torchvision.ops.misc import FrozenBatchNorm2d

from tests.mutants.nets import (
    P18,
    R18,
    R34,
    R50,
    R50V1,
    R101,
    V11,
    V11BN,
    V16,
    VGG,
    VGG11,
    VGG11BN,
    VGG16,
    W50,
    X50,
    BasicBlock,
    Bottleneck,
    CaffeVGG16,
    Cases,
    ConvNorm,
    FunctionalResNet18,
    ListPlain18,
    NextBottleneck,
    OldBottleneck,
    ResNet,
    ResNet18,
    ResNet34,
    ResNet50,
    ResNet101,
    SlimTorchvision,
    sequential_resnet18,
    shortcut_last,
)

CASES = Cases()
ALL_NORMS = "bn1 layer1.0.bn1"
AT_224 = "only at the declared input"

# ---- stride, dilation, kernel, padding, pooling


@CASES(R50, "layer2.0.conv1 layer2.0.conv2", "F R E T", seen_in="pytorch/vision#191")
def paper_stride_for_v1_5() -> nn.Module:
    """The stride of a bottleneck on its first 1x1."""
    return ResNet50(OldBottleneck)


@CASES(R50V1, "layer2.0.conv1 layer2.0.conv2", "F R E T", seen_in="apache/mxnet#8740")
def v1_5_for_the_paper() -> nn.Module:
    """torchvision's, sold as the network of the paper."""
    return SlimTorchvision(tv.Bottleneck, (3, 4, 6, 3))


@CASES.block(R50, "layer2.0.conv2 layer2.0.conv3", "F T B", seen_in="adobe/antialiased-cnns#40")
class StrideOnLastConv(Bottleneck):
    """The 1x1 that expands skips every other place."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        self.spatial[0].stride, self.expand[0].stride = (1, 1), (stride, stride)


class SubsampledSkip(Bottleneck):
    """A block that may stride where its shortcut has no projection."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        self.stride = stride
        if cin == 4 * planes:
            self.project = None

    def forward(self, x: Tensor) -> Tensor:
        skip = self.project(x) if self.project is not None else F.max_pool2d(x, 1, self.stride)
        return F.relu(self.expand(F.relu(self.spatial(F.relu(self.reduce(x))))) + skip)


@CASES(R50, "layer1.2.conv2 layer1.2.sum layer2.0.conv2", "S-inside F R E", seen_in="tensorflow/tensorflow#9387")
class SlimStrides(ResNet50):
    """The last block of each of the first three stages strides, as in TF-slim."""

    block = SubsampledSkip

    def make_block(self, k: int, i: int, stride: int | None = None) -> nn.Module:
        return super().make_block(k, i, stride=2 if k < 3 and i == self.depths[k] - 1 else 1)


@CASES(R18, "layer2.0.conv1 layer2.0.downsample.0 layer2.1.conv1", "K S-inside F R E", seen_in="tensorflow/models#2130")
class StrideInLastBlock(ResNet18):
    """The last block of a stage strides, and has a projection for it."""

    def make_block(self, k: int, i: int, stride: int | None = None) -> nn.Module:
        return super().make_block(k, i, stride=self.strides[k] if i == self.depths[k] - 1 else 1)


@CASES(R18, "layer4.0.conv1 layer4.0.downsample.0", "S F R E", seen_in="jedol/SSD-Keras_Tensorflow#7")
class LastStageAtStride1(ResNet18):
    """14x14 to the end."""

    strides = (1, 2, 2, 1)


@CASES.patch(P18, "maxpool", "S F R", seen_in="aeon-toolkit/aeon#690")
def strides_are_kernel_sizes(net: ResNet) -> None:
    """The pooling goes by its own size."""
    net.maxpool = nn.MaxPool2d(kernel_size=3, padding=1)


@CASES(R50, "layer1.0.conv2", "P F R", seen_in="ry/tensorflow-resnet#37")
def three_1x1() -> nn.Module:
    """`ksize` is not switched to 3 in the middle."""

    class Block(Bottleneck):
        """A pointwise bottleneck."""

        def __init__(self, cin: int, planes: int, stride: int = 1):
            super().__init__(cin, planes, stride)
            self.spatial = ConvNorm(planes, planes, 1, stride)

    return ResNet50(Block)


@CASES.block(R18, "layer2.0.downsample.0", "P F E", seen_in="ethanhe42/resnet-cifar10-caffe#6")
class Projection2x2(BasicBlock):
    """The shortcut looks at the four places that it stands for."""

    def make_shortcut(self, cin: int, cout: int, stride: int) -> nn.Module:
        if stride == 1:
            return nn.Identity()
        return nn.Sequential(nn.Conv2d(cin, cout, stride, stride, bias=False), nn.BatchNorm2d(cout))


@CASES(R50, "layer4.0.conv2 layer4.0.downsample.0", "R E", seen_in="YudeWang/deeplabv3plus-pytorch#54")
class StrideGoneDilationForgotten(ResNet50):
    """The resolution is kept for segmentation, the field of view is not."""

    def make_stage(self, k: int) -> nn.Module:
        stage = super().make_stage(k)
        for conv in stage[0].modules() if k == 3 else ():
            if isinstance(conv, nn.Conv2d):
                conv.stride = (1, 1)
        return stage


@CASES.patch(R50, "layer4.0.conv2 layer4.1.conv2", "R E", seen_in="1991viet/Deeplab-pytorch#2")
def dilation_with_the_stride_kept(net: ResNet) -> None:
    """The reverse."""
    for block in net.stages[3]:
        block.spatial[0].dilation = block.spatial[0].padding = (2, 2)


@CASES.patch(
    W50,
    "layer4.0.conv2 layer4.0.sum",
    "S X",
    seen_in="yang-song/score_sde_pytorch#62",
    kind="raises",
    why="64x64 is lost",
)
def padding_is_not_dilation(net: ResNet) -> None:
    """The dilated map is smaller than the shortcut."""
    for conv in (module for module in net.stages[3].modules() if isinstance(module, nn.Conv2d)):
        conv.dilation = (2, 2) if conv.kernel_size == (3, 3) else (1, 1)


@CASES(R50, "maxpool", "S F E", seen_in="kazuto1011/deeplab-pytorch#80")
def ceil_mode() -> nn.Module:
    """57x57, as Caffe rounds."""
    net = SlimTorchvision(tv.Bottleneck, (3, 4, 6, 3))
    net.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)
    return net


@CASES(R18, "maxpool", "S E", seen_in="LBANN/lbann#282")
class PaddingForgotten(ResNet18):
    """55x55."""

    def stem(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.relu(self.bn1(self.conv1(x))), kernel_size=3, stride=2)


@CASES(R34, "avgpool 9 fc", "Z X", seen_in="pytorch/vision#633", kind=AT_224)
class AvgPool7(ResNet34):
    """The last pool is as torchvision had it at first."""

    def __init__(self):
        super().__init__()
        self.avgpool = nn.AvgPool2d(7, stride=1)

    def gather(self, x: Tensor) -> Tensor:
        x = self.avgpool(x)
        return x.view(x.size(0), -1)


@CASES(R18, "conv1", "E Z", seen_in="taehoonlee/tensornets#25")
class SamePadding(FunctionalResNet18):
    """TensorFlow's: what is left over goes to the right and below."""

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.params[name]
        pads = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // stride) - 1) * stride + weight.shape[-1] - size, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), weight, stride=stride)


@CASES.block(R18, "layer2.0.conv1", "E Z", seen_in="keras-team/keras#16363")
class SamePaddingInBlocks(BasicBlock):
    """The same, by hand and only where a block strides."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        if stride == 2:
            self.conv1.padding = (0, 0)
            self.conv1 = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), self.conv1)


@CASES.block(R50, "layer2.0.downsample.0", "E Z X", seen_in="FrancescoSaverioZuppichini/glasses#236")
class AveragedShortcut(Bottleneck):
    """ResNet-D's; odd maps do not fit."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        if stride == 2:
            self.project = nn.Sequential(nn.AvgPool2d(2, 2), ConvNorm(cin, 4 * planes, 1))


# ---- residual topology and activation order


@CASES.block(R18, "layer1.0.sum layer1.0.5", "E G", seen_in="delira-dev/delira#91")
class NoAddition(BasicBlock):
    """The shortcut is made and not used."""

    def forward(self, x: Tensor) -> Tensor:
        self.shortcut(x)
        return F.relu(self.main(x))


class DeadFirst(nn.Module):
    """A block that forgets what its first layer gave."""

    def __init__(self, planes: int):
        super().__init__()
        self.conv2d_a, self.conv2d_b = ConvNorm(planes, planes, 3), ConvNorm(planes, planes, 3)

    def forward(self, input_tensor: Tensor) -> Tensor:
        x = F.relu(self.conv2d_a(input_tensor))
        x = self.conv2d_b(input_tensor)
        return F.relu(x + input_tensor)


@CASES(
    R18,
    "layer1.0.conv1 layer1.0.2 layer1.0.conv2",
    "R E G",
    seen_in="shaohua0116/Multiview2Novelview#11",
    order=shortcut_last,
)
def second_conv_takes_the_input() -> nn.Module:
    """The identity blocks are wrong; those with a projection are right."""
    return sequential_resnet18(DeadFirst)


@CASES(R18, "layer1.0.5 layer1.1.conv1 layer1.1.sum layer1.0.conv1", "R E G", seen_in="XinArkh/VNect#13")
class OneBlockIgnored(ResNet18):
    """The second block takes what the first one took."""

    def body(self, x: Tensor) -> Tensor:
        res2a = self.stages[0][0](x)
        res2b = self.stages[0][1](x)
        assert res2a.shape == res2b.shape
        return self.stages[3](self.stages[2](self.stages[1](res2b)))


@CASES(V16, "features.12 features.13 features.14", "R E G", seen_in="machrisaa/tensorflow-vgg#3")
class Conv3TakesConv1(CaffeVGG16):
    """conv3_2 is computed and not used."""

    def third_stage(self, x: Tensor) -> Tensor:
        conv3_1 = F.relu(self.conv3_1(x))
        self.conv3_2(conv3_1)
        return F.relu(self.conv3_3(conv3_1))


@CASES.block(R18, "layer1.0.bn2 layer1.0.sum layer1.0.5", "E", seen_in="fastai/fastbook#1")
class ReluBeforeAdd(BasicBlock):
    """There is a relu before the addition, and none after."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.main(x)) + self.shortcut(x)


@CASES(R50, "layer1.0.9 layer1.1.conv1", "E", seen_in="ajbrock/BoilerPlate#2")
def no_relu_after_add() -> nn.Module:
    """torchvision's block without its last line."""

    class Block(tv.Bottleneck):
        """Linear at its end."""

        def forward(self, x: Tensor) -> Tensor:
            out = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
            return self.bn3(self.conv3(out)) + (x if self.downsample is None else self.downsample(x))

    return SlimTorchvision(Block, (3, 4, 6, 3))


@CASES.block(R18, "layer1.0.2 layer1.0.conv2", "E", seen_in="Cadene/pretrained-models.pytorch#79")
class ReluUnused(BasicBlock):
    """It is not in place, and nobody takes it."""

    def main(self, x: Tensor) -> Tensor:
        out = self.bn1(self.conv1(x))
        F.relu(out)
        return self.bn2(self.conv2(out))


@CASES(R18, "bn1 2 conv1", "P E", seen_in="tensorflow/models#4254")
class BareStem(ResNet18):
    """No norm and no relu after the 7x7."""

    def make_stem(self) -> None:
        self.conv1 = nn.Conv2d(3, self.width, 7, 2, 3, bias=False)
        self.maxpool = nn.MaxPool2d(3, 2, 1)

    def stem(self, x: Tensor) -> Tensor:
        return self.maxpool(self.conv1(x))


@CASES.patch(R50, "layer4.2.8 avgpool", "P E", seen_in="tensorflow/models#4198")
def tail_of_v2(net: ResNet) -> None:
    """A last norm and relu, which only pre-activation needs."""
    net.stages.append(nn.Sequential(nn.BatchNorm2d(256), nn.ReLU()))


@CASES.block(
    R18,
    "layer1.0.conv2 layer1.0.2",
    "X",
    seen_in="osmr/imgclsmob#5",
    kind="raises",
    why="backward misses what was freed",
)
class FreedTooEarly(BasicBlock):
    """To save memory the activation is cleared once it is used; autograd needs it."""

    def main(self, x: Tensor) -> Tensor:
        h = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(h))
        h.zero_()
        return out


@CASES.block(R18, "layer1.0.sum", "P F E", seen_in="d2l-ai/d2l-en#1839")
class ProjectionEverywhere(BasicBlock):
    """A 1x1 and its norm in every shortcut."""

    def make_shortcut(self, cin: int, cout: int, stride: int) -> nn.Module:
        return ConvNorm(cin, cout, 1, stride)


@CASES.block(R18, "layer2.0.downsample.1 layer2.0.sum", "P E", seen_in="dalgu90/resnet-18-tensorflow#9")
class ProjectionWithoutNorm(BasicBlock):
    """The 1x1 alone."""

    def make_shortcut(self, cin: int, cout: int, stride: int) -> nn.Module:
        return nn.Identity() if cin == cout else nn.Conv2d(cin, cout, 1, stride, bias=False)


@CASES.block(X50, "layer1.0.downsample.0", "P", seen_in="Project-MONAI/MONAI#5465")
class ProjectionWithBias(NextBottleneck):
    """`bias=False` is missing in one place."""

    def __init__(self, cin: int, planes: int, stride: int = 1):
        super().__init__(cin, planes, stride)
        if self.project is not None:
            self.project[0] = nn.Conv2d(cin, planes * 4, kernel_size=1, stride=stride)


class PadShortcut(nn.Module):
    """Option A: subsampled, and zeros for the channels that are missing."""

    def __init__(self, cin: int, cout: int, stride: int):
        super().__init__()
        self.missing, self.stride = cout - cin, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))


@CASES.block(R18, "layer2.0.downsample.0 layer2.0.sum", "P F E", seen_in="kuangliu/pytorch-cifar#78")
class OptionA(BasicBlock):
    """The shortcut of the CIFAR networks."""

    def make_shortcut(self, cin: int, cout: int, stride: int) -> nn.Module:
        return PadShortcut(cin, cout, stride)


@CASES.block(R18, "layer2.0.downsample.0 layer2.0.sum", "P E", seen_in="google-research/uda#77")
class PooledShortcut(BasicBlock):
    """Average pooling and zeros."""

    def make_shortcut(self, cin: int, cout: int, stride: int) -> nn.Module:
        pool = nn.AvgPool2d(stride, stride, ceil_mode=True)
        return nn.Sequential(pool, PadShortcut(cin, cout, 1)) if stride > 1 else nn.Identity()


@CASES(R34, "layer1.0.conv1", "P F", seen_in="bearpaw/pytorch-classification#25")
def bottlenecks_for_basic() -> nn.Module:
    """The depths of ResNet-34, the blocks of ResNet-50."""
    return ResNet34(Bottleneck)


@CASES(R18, "conv1", "P F", seen_in="kuangliu/pytorch-cifar#136")
class OtherWidths(ResNet18):
    """16, 32, 64, 128."""

    width = 16


@CASES(R18, "layer2.0.conv1 layer2.0.downsample.0 layer1.1.5 layer1.1.sum", "E", seen_in="google-research/uda#77")
class LongSkip(ResNet18):
    """Another addition across the whole first stage."""

    def body(self, x: Tensor) -> Tensor:
        orig_x = x
        for stage in self.stages:
            x = stage(x)
            if x.shape == orig_x.shape:
                x = x + orig_x
        return x


# ---- depth, width, groups


@CASES(R18, "layer1.1.5 layer2.0.conv1", "P F R", seen_in="leimao/LibTorch-ResNet-CIFAR#5")
class FirstBlockNotCounted(ResNet18):
    """One block more in each stage."""

    def make_stage(self, k: int) -> nn.Module:
        stage = nn.Sequential(self.make_block(k, 0))
        for i in range(1, self.depths[k] + 1):
            stage.append(self.make_block(k, i))
        return stage


@CASES(R18, "layer4.1.5 avgpool", "P F R", seen_in="microsoft/CNTK#2873")
class ExtraBlock(ResNet18):
    """16.41 M parameters, at full width."""

    depths = (2, 2, 2, 3)


@CASES(R18, "layer1.1.5 layer2.0.conv1", "P F R", seen_in="pytorch/pytorch#33611")
def twice_the_blocks() -> nn.Module:
    """2n blocks in a group, not n."""
    return SlimTorchvision(layers=[2 * n for n in (2, 2, 2, 2)])


@CASES(R101, "layer2.3.conv1 layer3.0.conv1 layer2.2.8", "P F R", seen_in="flyyufelix/cnn_finetune#16")
class Conv3OfThree(ResNet101):
    """conv3_x as conv2_x."""

    depths = (3, 3, 23, 3)


@CASES(R34, "layer4.0.conv1 layer3.5.5 avgpool", "P S F R", seen_in="IBM/aihwkit#472")
class StageMissing(ResNet34):
    """Three stages."""

    depths = (3, 4, 6)


@CASES.block(X50, "layer1.0.conv2", "P F", seen_in="miraclewkf/ResNeXt-PyTorch#3")
class GroupsNotPassed(NextBottleneck):
    """The argument ends in the constructor."""

    def __init__(self, cin: int, planes: int, stride: int = 1, groups: int = 32):
        super().__init__(cin, planes, stride)
        inner = planes * self.base_width // 64 * groups
        self.spatial = ConvNorm(inner, inner, 3, stride)


@CASES.block(X50, "layer1.0.conv1", "P F", seen_in="titu1994/Keras-ResNeXt#6")
class WidthFormula(NextBottleneck):
    """Cardinality times base width, whatever the base is a width of."""

    base_width = 16


@CASES(R101, "layer3.5.8 layer3.6.conv1 layer4.0.conv1", "P F", seen_in="-")
def name_of_the_registry_lies() -> nn.Module:
    """A dict of configurations with a line copied."""
    registry: dict[str, dict[str, Any]] = {
        "resnet50": {"block": tv.Bottleneck, "layers": [3, 4, 6, 3]},
        "resnet101": {"block": tv.Bottleneck, "layers": [3, 4, 6, 3]},
    }
    return SlimTorchvision(**registry["resnet101"])


# ---- conv bias and normalisation


@CASES(R18, "conv1", "P", seen_in="keras-team/keras-cv#629")
def bias_before_norm() -> nn.Module:
    """Every convolution has one."""
    net = ResNet18()
    for conv in list(net.modules()):
        if isinstance(conv, nn.Conv2d):
            conv.bias = nn.Parameter(torch.zeros(conv.out_channels))
    return net


@CASES(V11BN, "features.1", "E", seen_in="itijyou/ademxapp#4")
class KerasEps(VGG11BN):
    """1e-3."""

    def layers(self) -> list[nn.Module]:
        made = super().layers()
        return [nn.BatchNorm2d(m.num_features, eps=1e-3) if isinstance(m, nn.BatchNorm2d) else m for m in made]


@CASES(R18, ALL_NORMS, "B", seen_in="Cadene/pretrained-models.pytorch#44")
def momentum_of_keras() -> nn.Module:
    """How much is kept, where torch asks how much is new."""
    return SlimTorchvision(norm_layer=lambda channels: nn.BatchNorm2d(channels, momentum=0.9))


@CASES.patch(R50, ALL_NORMS, "B", seen_in="kazuto1011/deeplab-pytorch#79")
def momentum_999(net: ResNet) -> None:
    """Meant 0.001."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.999


@CASES(R18, "bn1", "P E", seen_in="UpStride/classification-api#12")
class NormOfColumns(ResNet18):
    """axis=-1 on channels that come first."""

    def make_stem(self) -> None:
        super().make_stem()
        self.bn1 = nn.BatchNorm2d(112)

    def stem(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x).transpose(1, 3)).transpose(1, 3)
        return self.maxpool(F.relu(x))


@CASES(R18, "", "", seen_in="poppinace/indexnet_matting#35", equal=True, why="`.train()` thaws what was frozen")
def thaws() -> nn.Module:
    """The norms are frozen once, and the next `.train()` undoes it."""
    net = ResNet18()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return net


@CASES(R50, ALL_NORMS, "T G B", seen_in="-")
class FreezesByDefault(ResNet50):
    """A detector's backbone: its norms stay in eval mode."""

    def train(self, mode: bool = True) -> FreezesByDefault:
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


# ---- VGG, heads, flatten


@CASES(V16, "features.27 features.28 features.30", "P F R", seen_in="huyng/tensorflow-vgg#4")
class VGG15(VGG16):
    """conv5_3 is missing."""

    plan = (4, 4, "M", 8, 8, "M", 16, 16, 16, "M", 32, 32, 32, "M", 32, 32, "M")


@CASES(V16, "features.8 features.9", "P F R", seen_in="wangyongjie-ntu/Learn-to-pay-attention#2")
class ThreeInBlock2(VGG16):
    """conv2_3."""

    plan = (4, 4, "M", 8, 8, 8, "M", 16, 16, 16, "M", 32, 32, 32, "M", 32, 32, 32, "M")


@CASES(V16, "features.22 features.23 features.24", "S R E", seen_in="NVlabs/MUNIT#94")
class NoPoolAfterConv4(CaffeVGG16):
    """The call is missing; the names are all there."""

    def convolve(self, x: Tensor) -> Tensor:
        for stage in range(1, 6):
            for i in (1, 2, 3):
                conv = getattr(self, f"conv{stage}_{i}", None)
                x = F.relu(conv(x)) if conv is not None else x
            x = self.pool(x) if stage != 4 else x
        return F.adaptive_avg_pool2d(x, 7)


@CASES(V16, "features.6 features.7", "E", seen_in="RenYurui/StructureFlow#34")
class WrongSlice(VGG16):
    """relu2_1 goes where relu2_2 ends."""

    def __init__(self):
        super().__init__()
        layers, self.features = self.features, nn.Sequential()
        layers[6].inplace = False  # it would spoil what relu2_2 keeps for backward
        for name, indices in {"relu1": range(5), "relu2": [5, 7, 8, 6], "rest": range(9, 31)}.items():
            self.features.add_module(name, nn.Sequential(*[layers[i] for i in indices]))


@CASES(V11, "avgpool classifier.0", "P", seen_in="huggingface/computer-vision-course#308")
class ClassifierFor14(VGG11):
    """Two 14s where two 7s belong."""

    places = 14


@CASES.patch(V11, "avgpool 2 classifier.0", "Z", seen_in="eladhoffer/convNet.pytorch#16", kind=AT_224)
def pool_of_one(net: VGG) -> None:
    """A window of one does nothing."""
    net.avgpool = nn.AvgPool2d(kernel_size=1, stride=1)


@CASES(
    V11,
    "avgpool 2 classifier.0 classifier.6",
    "K Z",
    seen_in="-",
    kind=AT_224,
    why="parameters of equal size; larger inputs give the mean of many windows",
)
class FullyConvolutional(VGG11):
    """The linear layers as convolutions."""

    def make_classifier(self) -> nn.Module:
        layers = [nn.Conv2d(32, 256, 7), nn.ReLU(), nn.Dropout(), nn.Conv2d(256, 256, 1), nn.ReLU(), nn.Dropout()]
        return nn.Sequential(*layers, nn.Conv2d(256, 10, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).mean((2, 3))


@CASES(V11BN, "classifier.2", "T", seen_in="Lasagne/Recipes#43")
class NoDropout(VGG11BN):
    """Two linear layers, each with a relu, and one more."""

    def make_classifier(self) -> nn.Module:
        layers = [nn.Linear(1568, 256), nn.ReLU(True), nn.Linear(256, 256), nn.ReLU(True), nn.Linear(256, 10)]
        return nn.Sequential(*layers)


@CASES(V16, "classifier.2", "T", seen_in="FluxML/Metalhead.jl#238")
class LessDropout(CaffeVGG16):
    """0.2."""

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, p=0.2, training=self.training)


@CASES(V11, "classifier.6", "E G", seen_in="Lightning-Universe/lightning-bolts#654")
def softmax_in_the_model() -> nn.Module:
    """Cross entropy takes it a second time."""
    return nn.Sequential(VGG11(), nn.Softmax(dim=1))


@CASES(R18, "avgpool 9 fc", "O", seen_in="facebookresearch/vissl#179")
class SqueezesTheBatch(ResNet18):
    """All axes of one, the batch's too."""

    def gather(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(x, (1, 1)).squeeze()


# ---- nn.Module mechanics, training, init


@CASES(R34, "layer1.1.conv1 layer1.2.conv1", "P", seen_in="deep-learning-with-pytorch/dlwpt-code#89")
class OneBlockRepeated(ResNet34):
    """`[block] * n`."""

    def make_stage(self, k: int) -> nn.Module:
        first, second = self.make_block(k, 0), self.make_block(k, 1)
        return nn.Sequential(first, *([second] * (self.depths[k] - 1)))


@CASES(P18, "conv1", "P K", seen_in="pytorch/pytorch#666")
class PythonList(ListPlain18):
    """The layers are in a list that torch does not see."""

    def __init__(self):
        super().__init__()
        units = list(self.units)
        del self.units
        self.units = units


@CASES(R18, ALL_NORMS, "E", seen_in="fxia22/pointnet.pytorch#19")
class NeverInEval(ResNet18):
    """Its norms always take the statistics of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        self.train()
        return super().forward(x)


@CASES(R18, "conv1 layer2.0.conv1", "I", seen_in="vballoli/nfnets-pytorch#30", kind="init only")
class FanIn(ResNet18):
    """kaiming_normal_ as it is called without arguments."""

    def __init__(self):
        super().__init__()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)


@CASES(R18, "conv1", "I", seen_in="ClementPinard/FlowNetPytorch#19", kind="init only", order=shortcut_last)
def kernel_axes_missing() -> nn.Module:
    """sqrt(2 / n) with the number of filters for n."""

    def start(module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            module.weight.data.normal_(0, (2.0 / module.out_channels) ** 0.5)

    return sequential_resnet18().apply(start)


@CASES(V11, "classifier.0", "I", seen_in="vballoli/nfnets-pytorch#30", kind="init only")
class LinearLikeConv(VGG11):
    """Xavier for the linear layers too."""

    def __init__(self):
        super().__init__()
        self.classifier.apply(lambda m: nn.init.xavier_uniform_(m.weight) if isinstance(m, nn.Linear) else None)


@CASES(R18, "", "C", seen_in="akamaster/pytorch_resnet_cifar10#11", equal=True, why="only pickle minds the lambda")
class LambdaInside(ResNet18):
    """The pooling is a lambda."""

    def __init__(self):
        super().__init__()
        self.pool = lambda x: x.mean(dim=(-2, -1))

    def gather(self, x: Tensor) -> Tensor:
        return self.pool(x)


# ---- options of torchvision that make another network


@CASES(R18, "layer1.0.bn2", "I", seen_in="torchvision zero_init_residual", kind="init only")
def zero_init_residual() -> nn.Module:
    """The last norm of each block starts at zero."""
    return SlimTorchvision(zero_init_residual=True)


@CASES(R50, "layer3.0.conv2 layer3.0.downsample.0", "S F R E", seen_in="torchvision replace_stride_with_dilation")
def replace_stride_with_dilation() -> nn.Module:
    """Stages 3 and 4 keep the resolution."""
    return SlimTorchvision(tv.Bottleneck, (3, 4, 6, 3), replace_stride_with_dilation=[False, True, True])


@CASES(R50, "bn1", "P T G B", seen_in="torchvision norm_layer=FrozenBatchNorm2d")
def frozen_batch_norm() -> nn.Module:
    """A norm of buffers without parameters, as in the detectors."""
    return SlimTorchvision(tv.Bottleneck, (3, 4, 6, 3), norm_layer=FrozenBatchNorm2d)


@CASES(R18, "bn1", "K E", seen_in="torchvision norm_layer=GroupNorm")
def group_norm() -> nn.Module:
    """Two groups."""
    return SlimTorchvision(norm_layer=lambda channels: nn.GroupNorm(2, channels))


@CASES(W50, "layer1.0.conv1", "P F", seen_in="torchvision width_per_group")
def width_per_group_forgotten() -> nn.Module:
    """A wide ResNet without the argument that widens it."""
    return SlimTorchvision(tv.Bottleneck, (3, 4, 6, 3))
