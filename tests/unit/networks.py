"""Small networks of sequences, volumes and videos, as their papers have them, for what has to know every kind."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm


class TCNBlock(nn.Module):
    """Two causal convolutions and a skip: Bai et al. 2018, arXiv:1803.01271, github.com/locuslab/TCN.

    `causal`: "chomp" pads both ends and cuts off the last, as there; "pad" pads the first end alone.
    """

    def __init__(self, channels: int, out: int, kernel: int, dilation: int, causal: str):
        super().__init__()
        self.reach, self.causal = dilation * (kernel - 1), causal
        padding = self.reach if causal == "chomp" else 0
        self.conv1 = weight_norm(nn.Conv1d(channels, out, kernel, padding=padding, dilation=dilation))
        self.conv2 = weight_norm(nn.Conv1d(out, out, kernel, padding=padding, dilation=dilation))
        self.dropout = nn.Dropout(0.2)
        self.downsample = nn.Conv1d(channels, out, 1) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, L) to (N, out, L)."""
        y = x
        for conv in (self.conv1, self.conv2):
            y = conv(y)[:, :, : -self.reach].contiguous() if self.causal == "chomp" else conv(F.pad(y, (self.reach, 0)))
            y = self.dropout(y.relu())
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class TCN(nn.Module):
    """A classifier of sequences: blocks of dilations 1, 2, 4, 8, and a linear layer of the last unit."""

    def __init__(self, channels: int = 1, width: int = 8, kernel: int = 3, levels: int = 4, causal: str = "chomp"):
        super().__init__()
        sizes = [channels, *[width] * levels]
        self.blocks = nn.Sequential(
            *(TCNBlock(sizes[at], sizes[at + 1], kernel, 2**at, causal) for at in range(levels))
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, L) to (N, 10)."""
        y: Tensor = self.head(self.blocks(x)[:, :, -1])
        return y


class VNetStage(nn.Module):
    """Convolutions of 5x5x5 and a skip around them: Milletari et al. 2016, arXiv:1606.04797."""

    def __init__(self, channels: int, width: int, layers: int):
        super().__init__()
        self.convs = nn.Sequential(
            *(nn.Conv3d(channels if at == 0 else width, width, 5, padding=2) for at in range(layers))
        )
        self.activation = nn.PReLU(width)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """(N, channels, D, H, W) to (N, width, D, H, W), the skip being what is added."""
        y: Tensor = self.activation(self.convs(x) + (x if skip is None else skip))
        return y


class VNet(nn.Module):
    """Five stages down, with convolutions of 2x2x2 and stride 2 between them, and four up: 1, 2, 3, 3, 3 layers."""

    def __init__(self, width: int = 2):
        super().__init__()
        widths = [width * 2**at for at in range(5)]
        self.left = nn.ModuleList(VNetStage(1 if at == 0 else w, w, (1, 2, 3, 3, 3)[at]) for at, w in enumerate(widths))
        self.down = nn.ModuleList(nn.Conv3d(w, 2 * w, 2, 2) for w in widths[:-1])
        self.up = nn.ModuleList(nn.ConvTranspose3d(2 * w, w, 2, 2) for w in reversed(widths[:-1]))
        self.right = nn.ModuleList(VNetStage(2 * w, w, (3, 3, 2, 1)[at]) for at, w in enumerate(reversed(widths[:-1])))
        self.last = nn.Conv3d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, D, H, W) to (N, 2, D, H, W), probabilities."""
        kept = []
        for at, stage in enumerate(self.left):
            x = stage(x if at == 0 else self.down[at - 1](x))
            kept.append(x)
        for up, stage, other in zip(self.up, self.right, reversed(kept[:-1]), strict=True):
            x = up(x)
            x = stage(torch.cat((x, other), 1), x)
        y: Tensor = self.last(x).softmax(1)
        return y


def conv2plus1d(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """Rows and columns, then frames: Tran et al. 2018, arXiv:1711.11248, of as many weights as a 3x3x3."""
    middle = (channels * out * 27) // (channels * 9 + 3 * out)
    return nn.Sequential(
        nn.Conv3d(channels, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(inplace=True),
        nn.Conv3d(middle, out, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
        nn.BatchNorm3d(out),
    )


class R2Plus1D(nn.Module):
    """A stem and one residual block of R(2+1)D, and a classifier."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 5, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
            nn.BatchNorm3d(5),
            nn.ReLU(inplace=True),
            nn.Conv3d(5, width, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )
        self.block = nn.Sequential(conv2plus1d(width, width), nn.ReLU(inplace=True), conv2plus1d(width, width))
        self.pool, self.head = nn.AdaptiveAvgPool3d(1), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, D, H, W) to (N, 10)."""
        x = self.stem(x)
        x = (self.block(x) + x).relu()
        y: Tensor = self.head(self.pool(x).flatten(1))
        return y


class ResNet1dBlock(nn.Module):
    """Two kernels of 3 and a skip, with a projection where the stride is not 1."""

    def __init__(self, channels: int, out: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm1d(out)
        self.conv2, self.bn2 = nn.Conv1d(out, out, 3, 1, 1, bias=False), nn.BatchNorm1d(out)
        self.skip = nn.Conv1d(channels, out, 1, stride, bias=False) if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, L) to (N, out, L / stride)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        return F.relu(y + self.skip(x), inplace=True)


class ResNet1d(nn.Module):
    """A ResNet of two blocks over sequences."""

    def __init__(self, channels: int = 2, width: int = 8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv1d(channels, width, 7, 2, 3), nn.BatchNorm1d(width), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool1d(3, 2, 1)
        self.layers = nn.Sequential(ResNet1dBlock(width, width, 1), ResNet1dBlock(width, 2 * width, 2))
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, L) to (N, 10)."""
        y: Tensor = self.head(F.adaptive_avg_pool1d(self.layers(self.pool(self.stem(x))), 1).flatten(1))
        return y
