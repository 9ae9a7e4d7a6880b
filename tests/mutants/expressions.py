"""Wrong networks that are on no list: one wrong expression in one place of a right network, or a part of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.mutants.nets import (
    R18,
    V11,
    VGG11,
    X50,
    BasicBlock,
    Cases,
    FunctionalResNet18,
    NextBottleneck,
    ResNet,
    ResNet18,
    ResNeXt50,
    SlimTorchvision,
)

CASES = Cases()
AT_224 = "only at the declared input"
INIT = "init only"
Binary = Callable[[Tensor, Tensor], Tensor]
Unary = Callable[[Tensor], Tensor]


class Through(torch.autograd.Function):
    """A relu that hands every gradient back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class Guided(torch.autograd.Function):
    """A relu for pictures of gradients: hands back positive ones only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.clamp(min=0) * (ctx.saved_tensors[0] > 0)


class Scaled(torch.autograd.Function):
    """Nothing forward, a tenth of the gradient backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad / 10


# ---- how main and shortcut meet


def with_join(join: Binary) -> nn.Module:
    """A ResNet-18 whose blocks meet so."""

    class Block(BasicBlock):
        """A block with another addition."""

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(join(self.main(x), self.shortcut(x)))

    return ResNet18(Block)


def add_in_place(main: Tensor, skip: Tensor) -> Tensor:
    """Adds to the shortcut, then once more."""
    skip = skip.clone()
    skip += main
    return main + skip


def add_data(main: Tensor, skip: Tensor) -> Tensor:
    """Adds behind autograd's back."""
    main = main.clone()
    main.data += skip.data
    return main


JOINS = {
    "product_not_sum": lambda main, skip: main * skip,
    "larger_of_both": torch.maximum,
    "mean_of_both": lambda main, skip: (main + skip) / 2,
    "residual_scaled_down": lambda main, skip: skip + 0.1 * main,
    "difference": lambda main, skip: main - skip,
    "shortcut_added_twice": lambda main, skip: main + skip + skip,
    "added_in_place_and_again": add_in_place,
    "added_in_half_precision": lambda main, skip: (main.half() + skip.half()).to(main.dtype),
    "mean_of_the_shortcut": lambda main, skip: main + skip.mean((2, 3), keepdim=True),
    "shortcut_of_the_neighbour_image": lambda main, skip: main + skip.roll(1, 0),
    "shortcut_with_columns_for_rows": lambda main, skip: main + skip.mT.reshape(skip.shape),
    "sum_clipped": lambda main, skip: (main + skip).clamp(max=3),
}
DETACHED = {
    "shortcut_detached": lambda main, skip: main + skip.detach(),
    "main_detached": lambda main, skip: main.detach() + skip,
    "added_data": add_data,
}
CASES.table(R18, "layer1.0.sum layer1.0.5", "E", with_join, JOINS)
CASES.table(R18, "layer1.0.sum layer4.1.sum", "G", with_join, DETACHED)

# ---- what stands for the relu of a block


def with_act(act: Unary) -> nn.Module:
    """A ResNet-18 with that for its relus inside blocks."""

    class Block(BasicBlock):
        """A block with another nonlinearity."""

        def act(self, x: Tensor) -> Tensor:
            return act(x)

    return ResNet18(Block)


ACTS = {
    "absolute_value": torch.abs,
    "leaky": lambda x: F.leaky_relu(x, 0.01),
    "relu6_of_mobile": F.relu6,
    "small_is_zero": lambda x: F.threshold(x, 0.01, 0),
    "hard_swish": F.hardswish,
    "smooth_relu": lambda x: F.softplus(x, beta=20),
    "maxout_of_neighbours": lambda x: torch.maximum(x, x.roll(1, 1)).clamp(min=0),
    "rounded_to_sixteenths": lambda x: x.relu() + ((x.relu() * 16).round() / 16 - x.relu()).detach(),
    "dim_images_are_dark": lambda x: F.relu(x) * (x.mean((1, 2, 3), keepdim=True) > 0),
}
CASES.table(R18, "layer1.0.2", "E", with_act, ACTS)
BACKWARD = {"straight_through": Through.apply, "guided": Guided.apply}
CASES.table(R18, "layer1.0.2 layer1.0.5 layer4.1.2 layer4.1.5", "G", with_act, BACKWARD)

# ---- what is done to the image before the network sees it


def with_input(prepare: Unary) -> nn.Module:
    """A VGG with a hook in front."""
    net = VGG11()
    net.register_forward_pre_hook(lambda module, args: prepare(args[0]))
    return net


MEAN, STD = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
INPUTS = {
    "blue_green_red": lambda x: x.flip(1),
    "bytes_not_units": lambda x: x * 255,
    "normalised_inside": lambda x: (x - MEAN.to(x)) / STD.to(x),
    "columns_for_rows": lambda x: x.transpose(2, 3),
    "mirrored": lambda x: x.flip(-1),
    "grey": lambda x: x.mean(1, keepdim=True).expand_as(x),
    "clamped_to_units": lambda x: x.clamp(0, 1),
    "each_image_standardised": lambda x: (x - x.mean((1, 2, 3), True)) / x.std((1, 2, 3), keepdim=True),
    "channels_last_reshaped": lambda x: x.permute(0, 2, 3, 1).reshape(x.shape),
    "image_of_another": lambda x: x.flip(0),
}
CASES.table(V11, "features.0", "E", with_input, INPUTS)


@CASES(V11, "features.0 avgpool", "Z", kind=AT_224)
def cropped_to_224() -> nn.Module:
    """Its corner."""
    return with_input(lambda x: F.pad(x, (0, max(0, 224 - x.shape[3]), 0, max(0, 224 - x.shape[2])))[..., :224, :224])


@CASES(V11, "features.0 avgpool", "Z", kind=AT_224)
def resized_to_224() -> nn.Module:
    """The input is resized as the preprocessing should have done."""
    return with_input(lambda x: F.interpolate(x, size=(224, 224), mode="bilinear", align_corners=False))


# ---- between the last stage and what is returned


class Headed(ResNet18):
    """A ResNet-18 that is told its head."""

    def __init__(self, how: Callable[[ResNet, Tensor], Any]):
        super().__init__()
        self.how = how

    def head(self, x: Tensor) -> Any:
        return self.how(self, x)


def mean(x: Tensor) -> Tensor:
    """Global average pooling."""
    return x.mean((2, 3))


POOLS = {
    "corner_for_mean": lambda net, x: net.fc(x[:, :, 0, 0]),
    "sum_for_mean": lambda net, x: net.fc(x.sum((2, 3))),
    "max_for_mean": lambda net, x: net.fc(x.amax((2, 3))),
    "max_and_mean": lambda net, x: net.fc(x.amax((2, 3)) + mean(x)),
    "median_for_mean": lambda net, x: net.fc(x.flatten(2).median(-1).values),
    "generalised_mean": lambda net, x: net.fc(x.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)),
    "padding_counts": lambda net, x: net.fc(F.avg_pool2d(x, (x.shape[2] + 2, x.shape[3] + 2), 1, padding=1).flatten(1)),
    "reshape_for_permute": lambda net, x: net.fc(x.reshape(x.shape[0], -1, x.shape[1]).mean(1)),
    "batch_mixed": lambda net, x: net.fc(mean(x).reshape(x.shape[1], -1).t()),
    "centred_over_batch": lambda net, x: net.fc(mean(x) - mean(x).mean(0)),
    "last_row_and_column_lost": lambda net, x: net.fc(mean(x[..., : max(1, x.shape[2] - 1), : max(1, x.shape[3] - 1)])),
}
LOGITS = {
    "unit_features": lambda net, x: net.fc(F.normalize(mean(x))),
    "unit_weights": lambda net, x: F.linear(mean(x), F.normalize(net.fc.weight), net.fc.bias),
    "bias_forgotten": lambda net, x: mean(x) @ net.fc.weight.t() + 0 * net.fc.bias,
    "bias_twice": lambda net, x: net.fc(mean(x)) + net.fc.bias,
    "temperature": lambda net, x: net.fc(mean(x)) / 4,
    "log_probabilities": lambda net, x: F.log_softmax(net.fc(mean(x)), dim=1),
    "sigmoid_of_logits": lambda net, x: net.fc(mean(x)).sigmoid(),
    "logits_capped": lambda net, x: 5 * torch.tanh(net.fc(mean(x)) / 5),
    "classes_by_name": lambda net, x: net.fc(mean(x))[:, [1, 0, 4, 8, 5, 2, 9, 3, 7, 6]],
    "halves_of_classes_swapped": lambda net, x: torch.cat(net.fc(mean(x)).split(5, 1)[::-1], 1),
    "logits_and_features": lambda net, x: (net.fc(mean(x)), x),
    "features_returned": lambda net, x: mean(x),
    "list_of_rows": lambda net, x: list(net.fc(mean(x))),
}
IN_TRAINING = {
    "logits_scaled_in_training": lambda net, x: net.fc(mean(x)) * (2 if net.training else 1),
    "features_noisy_in_training": lambda net, x: net.fc(mean(x) + 0.01 * net.training * torch.randn_like(mean(x))),
    "dropout_in_the_head": lambda net, x: net.fc(F.dropout(mean(x), 0.2, net.training)),
    "auxiliary_output_in_training": lambda net, x: (net.fc(mean(x)), mean(x)) if net.training else net.fc(mean(x)),
    "drops_channels_in_training": lambda net, x: net.fc(mean(F.dropout2d(x, 0.1, net.training))),
}
GRADIENTS = {
    "linear_probe": lambda net, x: net.fc(mean(x).detach()),
    "through_numpy": lambda net, x: net.fc(torch.from_numpy(x.detach().cpu().numpy().mean((2, 3)))),
    "features_learn_slowly": lambda net, x: net.fc(Scaled.apply(mean(x))),
}
CASES.table(R18, "avgpool 9 fc", "E", Headed, POOLS)
CASES.table(R18, "avgpool 9 fc", "E", Headed, LOGITS)
CASES.table(R18, "avgpool 9 fc", "T", Headed, IN_TRAINING)
CASES.table(R18, "avgpool 9 fc layer4.1.5", "G", Headed, GRADIENTS)

# ---- what is done to the weights before a convolution uses them


def with_weights(change: Unary) -> nn.Module:
    """A functional ResNet-18 whose kernels go through that."""

    class Net(FunctionalResNet18):
        """Convolutions with other weights."""

        def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
            weight = self.params[name]
            return F.conv2d(x, change(weight), stride=stride, padding=weight.shape[-1] // 2)

    return Net()


def quantise(w: Tensor) -> Tensor:
    """A value in 255 steps; straight through backward."""
    step = w.detach().abs().max() / 127
    return w + ((w.detach() / step).round() * step - w.detach())


WEIGHTS = {
    "kernels_flipped": lambda w: w.flip(2, 3),
    "kernels_transposed": lambda w: w.mT,
    "kernels_standardised": lambda w: (w - w.mean((1, 2, 3), True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5),
    "kernels_clipped": lambda w: w.clamp(-0.2, 0.2),
    "kernels_of_eight_bits": quantise,
    "kernels_in_bfloat16": lambda w: w.bfloat16().to(w.dtype),
    "kernels_thinned": lambda w: w * (w.abs() > w.detach().abs().median() / 2),
    "inputs_of_kernels_reversed": lambda w: w.flip(1),
}
CASES.table(R18, "conv1", "E", with_weights, WEIGHTS)
CASES.table(
    R18,
    "layer1.0.conv1",
    "E",
    with_weights,
    {"square_kernels_swapped": lambda w: w.transpose(0, 1) if w.shape[0] == w.shape[1] else w},
)
CASES.table(
    R18, "conv1 layer4.1.conv2", "G", with_weights, {"kernels_learn_slowly": lambda w: w / 10 + (w * 0.9).detach()}
)

# ---- batch norms of one's own


class OwnNorm(nn.Module):
    """A batch norm in plain tensor operations; `how` is what it gets wrong."""

    def __init__(self, channels: int, how: str):
        super().__init__()
        self.how = how
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        persistent = how != "statistics_are_not_saved"
        self.register_buffer("running_mean", torch.zeros(channels), persistent)
        self.register_buffer("running_var", torch.ones(channels), persistent)
        self.calls = 0

    def statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance, (1 or N, C, 1, 1)."""
        axes = (2, 3) if self.how == "statistics_of_each_image" and self.training else (0, 2, 3)
        batch = self.training or (self.how == "batch_decides_in_eval" and len(x) > 1)
        if not batch and self.how != "learns_in_eval":
            return self.running_mean[:, None, None], self.running_var[:, None, None]
        own = x.detach() if self.how == "statistics_detached" else x
        mean = own.mean(axes, keepdim=True)
        var = own.var(axes, keepdim=True, unbiased=self.how == "normalises_by_unbiased")
        self.update(x.detach())
        if not batch:
            return self.running_mean[:, None, None], self.running_var[:, None, None]
        return mean, var

    def update(self, x: Tensor) -> None:
        """The running statistics."""
        self.calls += 1
        if self.how == "statistics_never_learn":
            return
        momentum = 1 / (1 + self.calls) if self.how == "momentum_by_count" else 0.1
        var = x.var((0, 2, 3), unbiased=self.how != "running_var_biased")
        self.running_mean.lerp_(x.mean((0, 2, 3)), momentum)
        self.running_var.lerp_(var.sqrt() if self.how == "running_deviation" else var, momentum)

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.statistics(x)
        scale = 1 / (var.sqrt() + 1e-5) if self.how == "eps_outside_the_root" else (var + 1e-5).rsqrt()
        weight = 1 + self.weight if self.how == "weight_around_zero" else self.weight
        if self.how == "no_gradient_for_the_weight":
            weight = weight.detach() + 0 * self.weight
        if self.how == "bias_before_the_weight":
            return ((x - mean) * scale + self.bias[:, None, None]) * weight[:, None, None]
        return (x - mean) * scale * weight[:, None, None] + self.bias[:, None, None]


def with_norm(how: str) -> nn.Module:
    """torchvision's ResNet-18 on norms of one's own."""
    return SlimTorchvision(norm_layer=lambda channels: OwnNorm(channels, how))


NORMS = {
    "E": "eps_outside_the_root batch_decides_in_eval learns_in_eval weight_around_zero bias_before_the_weight",
    "T": "statistics_of_each_image normalises_by_unbiased",
    "G": "statistics_detached no_gradient_for_the_weight",
    "B": "statistics_never_learn momentum_by_count running_var_biased running_deviation",
    "K": "statistics_are_not_saved",
}
for letter, hows in NORMS.items():
    steps = "bn1 layer1.0.bn1" + " layer4.1.bn2" * (letter == "G")
    CASES.table(R18, steps, letter, with_norm, {how: how for how in hows.split()})


@CASES(R18, "", "", equal=True, why="the same formula, written out")
def own_norm_that_is_right() -> nn.Module:
    """The twin of the wrong ones."""
    return with_norm("nothing")


class StatisticsSwapped(FunctionalResNet18):
    """Names mixed up."""

    def norm(self, x: Tensor, name: str) -> Tensor:
        other = name.replace("conv2", "conv1") if "_conv2" in name else name.replace("_conv1", "_conv2")
        mean, var = getattr(self, f"{other}_mean"), getattr(self, f"{other}_var")
        gamma, beta = self.params[f"{name}_gamma"], self.params[f"{name}_beta"]
        return F.batch_norm(x, mean, var, gamma, beta, self.training)


class BatchStatisticsAlways(FunctionalResNet18):
    """`training=True`."""

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var = getattr(self, f"{name}_mean"), getattr(self, f"{name}_var")
        return F.batch_norm(x, mean, var, self.params[f"{name}_gamma"], self.params[f"{name}_beta"], training=True)


class AffineNotPassed(FunctionalResNet18):
    """gamma and beta are there, for nothing."""

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var = getattr(self, f"{name}_mean"), getattr(self, f"{name}_var")
        return F.batch_norm(x, mean, var, training=self.training)


class StatisticsOfACopy(FunctionalResNet18):
    """What is updated is thrown away."""

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var = getattr(self, f"{name}_mean").clone(), getattr(self, f"{name}_var").clone()
        return F.batch_norm(x, mean, var, self.params[f"{name}_gamma"], self.params[f"{name}_beta"], self.training)


class GammaForBeta(FunctionalResNet18):
    """Two arguments of the same shape."""

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var = getattr(self, f"{name}_mean"), getattr(self, f"{name}_var")
        return F.batch_norm(x, mean, var, self.params[f"{name}_beta"], self.params[f"{name}_gamma"], self.training)


class HalvesNormedApart(FunctionalResNet18):
    """Each half is normed apart, as on two devices."""

    def norm(self, x: Tensor, name: str) -> Tensor:
        norm = super().norm
        return torch.cat([norm(half, name) for half in x.chunk(2)]) if self.training else norm(x, name)


CASES(R18, "layer1.0.bn1", "E B")(StatisticsSwapped)
CASES(R18, "bn1", "E")(BatchStatisticsAlways)
CASES(R18, "bn1", "E G")(AffineNotPassed)
CASES(R18, "bn1", "B")(StatisticsOfACopy)
CASES(R18, "bn1", "E")(GammaForBeta)
CASES(R18, "bn1", "T B")(HalvesNormedApart)

# ---- convolutions and pools of one's own


class UnfoldedWrong(FunctionalResNet18):
    """im2col in Caffe's order, kernels in TensorFlow's."""

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.params[name]
        if weight.shape[-1] != 3:
            return super().conv(x, name, stride)
        columns = F.unfold(x, 3, padding=1, stride=stride)
        out = self.rows(weight) @ columns
        return out.view(x.shape[0], -1, (x.shape[2] - 1) // stride + 1, (x.shape[3] - 1) // stride + 1)

    def rows(self, weight: Tensor) -> Tensor:
        """A kernel in a row."""
        return weight.permute(0, 2, 3, 1).flatten(1)


class UnfoldedRight(UnfoldedWrong):
    """The twin."""

    def rows(self, weight: Tensor) -> Tensor:
        return weight.flatten(1)


class TransposedConvolution(FunctionalResNet18):
    """Where it keeps channels and size, its shapes are those of a convolution."""

    def conv(self, x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = self.params[name]
        if stride == 1 and weight.shape[0] == weight.shape[1]:
            return F.conv_transpose2d(x, weight, padding=1)
        return super().conv(x, name, stride)


CASES(R18, "layer1.0.conv1")(UnfoldedWrong)
CASES(R18, "", "", equal=True, why="a convolution is a product of matrices")(UnfoldedRight)
CASES(R18, "layer1.0.conv1")(TransposedConvolution)


class ByGroups(nn.Conv2d):
    """A grouped convolution, group by group."""

    def parts(self, x: Tensor) -> list[Tensor]:
        """What each group sees."""
        return list(x.chunk(self.groups, 1))

    def merge(self, parts: list[Tensor]) -> Tensor:
        """Back into one."""
        return torch.cat(parts, 1)

    def forward(self, x: Tensor) -> Tensor:
        pairs = zip(self.parts(x), self.weight.chunk(self.groups), strict=True)
        return self.merge([F.conv2d(part, weight, None, self.stride, 1) for part, weight in pairs])


class Interleaved(ByGroups):
    """Every 32nd channel, where neighbours belong together."""

    def parts(self, x: Tensor) -> list[Tensor]:
        return [x[:, i :: self.groups] for i in range(self.groups)]


class GroupsReversed(ByGroups):
    """Popped from a stack."""

    def merge(self, parts: list[Tensor]) -> Tensor:
        return torch.cat([parts.pop() for _ in range(len(parts))], 1)


class Shuffled(ByGroups):
    """ShuffleNet's."""

    def merge(self, parts: list[Tensor]) -> Tensor:
        return torch.stack(torch.cat(parts, 1).chunk(4, 1), 2).flatten(1, 2)


def with_groups(conv: type[ByGroups]) -> nn.Module:
    """A ResNeXt on that."""

    class Block(NextBottleneck):
        """Its grouped convolution is one's own."""

        def __init__(self, cin: int, planes: int, stride: int = 1):
            super().__init__(cin, planes, stride)
            old = self.spatial[0]
            self.spatial[0] = conv(old.in_channels, old.out_channels, 3, old.stride, 1, groups=32, bias=False)

    return ResNeXt50(Block)


CASES.table(X50, "layer2.0.conv2", "E", with_groups, {"groups_interleaved": Interleaved})
CASES.table(
    X50, "layer1.0.conv2 layer1.0.bn2", "E", with_groups, {"groups_reversed": GroupsReversed, "shuffled": Shuffled}
)


@CASES(X50, "", "", equal=True, why="group by group is what grouped means")
def group_by_group() -> nn.Module:
    """The twin."""
    return with_groups(ByGroups)
