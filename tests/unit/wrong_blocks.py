"""Blocks for the tests: right ones as articles write them, and wrong ones, each wrong in one thing."""

# ruff: noqa: D101 (the name of a wrong block, and the words beside it, say what is wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def conv(inner: int, out: int, kernel: int = 3, stride: int = 1, **more: Any) -> nn.Conv2d:
    """A convolution without a bias, padded to keep its size."""
    return nn.Conv2d(inner, out, kernel, stride, kernel // 2, **{"bias": False, **more})


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """A 1x1 convolution and a norm."""
    return nn.Sequential(conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


class BasicBlock(nn.Module):
    """A block as articles write it: two 3x3 convolutions, and a shortcut that is a module in every case."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.conv_a = conv(in_channels, out_channels, 3, stride)
        self.norm_a = nn.BatchNorm2d(out_channels)
        self.conv_b = conv(out_channels, out_channels)
        self.norm_b = nn.BatchNorm2d(out_channels)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else projection(in_channels, out_channels, stride)

    def first(self, x: Tensor) -> Tensor:
        """The value up to the activation in the middle."""
        return torch.relu(self.norm_a(self.conv_a(x)))

    def branch(self, x: Tensor) -> Tensor:
        """What is added."""
        return self.norm_b(self.conv_b(self.first(x)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.branch(x) + self.shortcut(x))


class BottleneckBlock(nn.Module):
    """A bottleneck as articles write it: 1x1, 3x3, 1x1, the inner width a quarter of the output."""

    stride_at = 1

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        inner = out_channels // 4
        strides = [stride if at == self.stride_at else 1 for at in range(3)]
        self.block = nn.Sequential(
            *(conv(in_channels, inner, 1, strides[0]), nn.BatchNorm2d(inner), nn.ReLU(inplace=True)),
            *(conv(inner, inner, 3, strides[1]), nn.BatchNorm2d(inner), nn.ReLU(inplace=True)),
            *(conv(inner, out_channels, 1), nn.BatchNorm2d(out_channels)),
        )
        same = stride == 1 and in_channels == out_channels
        self.shortcut = nn.Identity() if same else projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.block(x) + self.shortcut(x))


class SqueezeExcitation(BasicBlock):
    """Right, and none of the shipped ones: its branch is gated (Hu et al. 2018)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        self.down = nn.Conv2d(out_channels, out_channels, 1)
        self.up = nn.Conv2d(out_channels, out_channels, 1)

    def branch(self, x: Tensor) -> Tensor:
        y = super().branch(x)
        return y * torch.sigmoid(self.up(torch.relu(self.down(y.mean((2, 3), keepdim=True)))))


class PreActivation(nn.Module):
    """Right, and none of the shipped ones: norm and activation come first (He et al. 2016)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.norm_a, self.conv_a = nn.BatchNorm2d(in_channels), conv(in_channels, out_channels, 3, stride)
        self.norm_b, self.conv_b = nn.BatchNorm2d(out_channels), conv(out_channels, out_channels)
        same = stride == 1 and in_channels == out_channels
        self.shortcut = None if same else conv(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_b(torch.relu(self.norm_b(self.conv_a(torch.relu(self.norm_a(x))))))
        return y + (x if self.shortcut is None else self.shortcut(x))


# Wrong ones, each by the property that is about it. The words are in its finding.

WRONG: list[tuple[type[nn.Module], str, str, str]] = []  # class, contract, property, words


def wrong(property_: str, words: str, contract: str = "basic") -> Any:
    """Keep a class as a wrong block."""

    def keep(cls: type[nn.Module]) -> type[nn.Module]:
        WRONG.append((cls, contract, property_, words))
        return cls

    return keep


@wrong("residual", "the branch ends in relu before the sum: it can only add")
class ReluBeforeTheSum(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.branch(x)) + self.shortcut(x)


@wrong("input", "it changes its input in place, in eval mode")
class InPlaceReluOnItsInput(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        return torch.relu(y + self.shortcut(F.relu(x, inplace=True)))


@wrong("input", "it changes its input in place, in eval mode")
class AddsIntoItsInput(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        identity = self.shortcut(x)
        identity += y
        return torch.relu(identity)


@wrong("shortcut", "the shortcut is no identity, where the shapes allow one")
class ProjectsAlways(BasicBlock):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        self.shortcut = projection(in_channels, out_channels, stride)


@wrong("shape", "it raises: RuntimeError: The size of tensor a")
class ProjectsNever(BasicBlock):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        self.shortcut = nn.Identity()


@wrong("shape", "it raises: RuntimeError: The size of tensor a")
class StrideOfTheShortcutAlone(BasicBlock):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        self.conv_a = conv(in_channels, out_channels)


@wrong("shape", "the output is")
class IgnoresTheStride(BasicBlock):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, 1)


@wrong("shape", "it raises: RuntimeError: The size of tensor a")
class PoolsDownOddSizes(BasicBlock):
    """A pool without padding drops the last odd row, the 1x1 of the shortcut does not."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        self.conv_a = conv(in_channels, out_channels)
        self.pool = nn.AvgPool2d(stride)

    def first(self, x: Tensor) -> Tensor:
        return self.pool(super().first(x))


@wrong("shape", "the output is", "bottleneck")
class ForgetsTheExpansion(nn.Module):
    expansion = 4

    def __init__(self, inplanes: int, planes: int, stride: int = 1):
        super().__init__()
        self.block = BottleneckBlock(inplanes, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


@wrong("shape", "it does not return a tensor")
class ReturnsATuple(BasicBlock):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), None


@wrong("structure", "missing batchnorm")
class LacksTheSecondNorm(BasicBlock):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        self.norm_b = nn.Identity()


@wrong("cost", "params: 308, as basic")
class HasABias(BasicBlock):
    """Four parameters more than 4*36 + 4*36 + 2*8 = 304."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        self.conv_a = conv(in_channels, out_channels, 3, stride, bias=True)


@wrong("cost", "MACs: ", "bottleneck")
class StrideInTheFirst1x1(BottleneckBlock):
    stride_at = 0


@wrong("residual", "nothing is added to its input")
class AddsNothing(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.branch(x))


@wrong("residual", "nothing is added to its input: its last operation of several values is concat")
class Concatenates(BasicBlock):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels // 2, stride)
        same = stride == 1 and in_channels == out_channels // 2
        self.shortcut = nn.Identity() if same else projection(in_channels, out_channels // 2, stride)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(torch.cat([self.branch(x), self.shortcut(x)], 1))


@wrong("residual", "the branch is added more than once")
class AddsTheBranchTwice(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        return torch.relu(y + self.shortcut(x) + y)


@wrong("residual", "the shortcut is added more than once")
class AddsTheShortcutTwice(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        identity = self.shortcut(x)
        return torch.relu(self.branch(x) + identity + identity)


@wrong("residual", "the sum is followed by batchnorm")
class NormAfterTheSum(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.norm_b(self.conv_b(self.first(x)) + self.shortcut(x)))


@wrong("residual", "at zero, the output against the shortcut alone differs")
class NormOfItsOwnBehindAnother(BasicBlock):
    """The last weights are not the last: what is added stays, with these at zero."""

    def branch(self, x: Tensor) -> Tensor:
        return super().branch(x) + 1


@wrong("gradients", "no gradient reaches conv_a.weight")
class DetachesTheBranch(BasicBlock):
    def branch(self, x: Tensor) -> Tensor:
        return super().branch(x).detach()


@wrong("highway", "at zero, the input's gradient against that of the shortcut differs")
class DetachesTheShortcut(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.branch(x) + self.shortcut(x.detach()))


@wrong("gradients", "conv_b.weight is frozen")
class Frozen(BasicBlock):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        self.conv_b.requires_grad_(False)


@wrong("gradients", "no gradient reaches spare.weight")
class HasALayerThatItNeverCalls(BasicBlock):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        self.spare = conv(in_channels, out_channels)


@wrong("statistics", "the norm is used 2 times")
class SharesANorm(BasicBlock):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        self.norm_b = self.norm_a


@wrong("statistics", "changes in eval mode")
class MovesStatisticsInEval(BasicBlock):
    def first(self, x: Tensor) -> Tensor:
        n = self.norm_a
        return torch.relu(F.batch_norm(self.conv_a(x), n.running_mean, n.running_var, n.weight, n.bias, True))


@wrong("statistics", "norm_a.running_mean stays as it is in train mode")
class NormStaysInEval(BasicBlock):
    def train(self, mode: bool = True) -> Any:
        super().train(mode)
        self.norm_a.training = False
        self.norm_a.num_batches_tracked = None
        return self


@wrong("deterministic", "the output of the same input, asked twice differs")
class DropsOutInEval(BasicBlock):
    def branch(self, x: Tensor) -> Tensor:
        return F.dropout(super().branch(x), 0.5)


@wrong("deterministic", "the output of the same input, after another one differs")
class KeepsStateBetweenCalls(BasicBlock):
    kept: Any = None

    def branch(self, x: Tensor) -> Tensor:
        y = super().branch(x)
        before, self.kept = self.kept, y.detach()
        if before is None or before.shape != y.shape or torch.equal(before, self.kept):
            return y
        return y + 0.1 * before


@wrong("batch_independence", "of the batch against itself alone differs")
class NormOfTheBatchInEval(BasicBlock):
    def branch(self, x: Tensor) -> Tensor:
        y = super().branch(x)
        return y - y.mean(0, keepdim=True)


@wrong("permutation", "the output of a batch in another order differs")
class TellsTheFirstImageApart(BasicBlock):
    def branch(self, x: Tensor) -> Tensor:
        y = super().branch(x)
        return y * torch.arange(1, len(y) + 1, device=y.device, dtype=y.dtype).reshape(-1, 1, 1, 1)


@wrong("channels_last", "the output of a channels_last input differs")
class ReadsMemoryInItsOwnOrder(BasicBlock):
    def branch(self, x: Tensor) -> Tensor:
        _, c, h, w = x.shape
        return super().branch(torch.as_strided(x, x.shape, (c * h * w, h * w, w, 1)))


@wrong("non_contiguous", "it raises: RuntimeError: view size is not compatible")
class ViewsItsInput(BasicBlock):
    def branch(self, x: Tensor) -> Tensor:
        return super().branch(x.view(-1).view(x.shape))


@wrong("dtype", "it raises: RuntimeError")
class ForcesFloat32(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


@wrong("dtype", "the output of torch.float64 is torch.float32")
class ReturnsFloat32(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).float()


@wrong("device", "it raises: ")
class NamesADevice(BasicBlock):
    def branch(self, x: Tensor) -> Tensor:
        y = super().branch(x)
        return y + torch.zeros(y.shape, device="cpu", dtype=y.dtype)


class Doubled(torch.autograd.Function):
    """A module whose gradient has no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return 2 * gradient


@wrong("double_backward", "once_differentiable")
class DifferentiableOnce(BasicBlock):
    def first(self, x: Tensor) -> Tensor:
        return Doubled.apply(super().first(x))


@wrong("finite", "the gradient of gain is not finite in float32")
class RootOfAGainOfZero(BasicBlock):
    """1/(2 sqrt(0)) is infinite, and training ends at its first step."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        self.gain = nn.Parameter(torch.zeros(1))

    def branch(self, x: Tensor) -> Tensor:
        return super().branch(x) * torch.sqrt(self.gain)


@wrong("copies", "an unpickled copy cannot be made")
class KeepsALambda(BasicBlock):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        self.act = lambda x: torch.relu(x)


@wrong("export", "it raises: ")
class DecidesByValues(BasicBlock):
    def branch(self, x: Tensor) -> Tensor:
        y = super().branch(x)
        return y if bool(y.sum() > 1e9) else 1.0 * y


@wrong("scale", "at initialisation")
class Explodes(BasicBlock):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, stride)
        nn.init.constant_(self.norm_b.weight, 100.0)


@wrong("illegal", "an input of one channel more is taken")
class CutsWhatIsTooMuch(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[:, : self.conv_a.in_channels])


@wrong("illegal", "a stride of 0 is taken")
class MendsTheStride(BasicBlock):
    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__(in_channels, out_channels, max(1, stride))
