"""A small network for the tests: its spec, with every number worked by hand, and a reference written by hand.

`Broken` networks differ from the reference in one thing each.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rv_check import Arch, load
from rv_check.language.files import shipped_folder

# Width 4. conv1: 3*9*4 = 108 weights, at 32*32 places. layer1: 4*9*8 + 8*9*8 + 4*8 = 896 weights and 3 norms of 2*8,
# all at 8*8 places. fc: 8*10 weights and 10 biases. bn1: 2*4. Field: 3, then 3 + 2*1, then 5 + 2*2, then 9 + 2*4.
SPEC = """\
family: tiny(classes=10, width=4)
source: a test
input: 3 32 32

body:
  - conv1: conv(width, kernel=3, padding=1, bias=False)
  - bn1: batchnorm
  - relu
  - maxpool: maxpool(3, stride=2, padding=1)
  - shape: _ 16 16
  - layer1: basic(2*width, stride=2)
  - avgpool: adaptive_avgpool(1)
  - flatten
  - drop: dropout(0.5)
  - fc: linear(classes, bias=True)

init:
  conv: kaiming_normal(mode=fan_out, nonlinearity=relu)
  batchnorm: constant(weight=1, bias=0)
  linear: default

archs:
  net:
    build: tiny()
    reference: torchvision.models.net(classes=classes)
    contract:
      layer1:
        shape: 8 8 8
        params: 944
        macs: 57_344
        receptive_field: 17/4/8
    published:
      - params: 1_150
        source: worked by hand
      - macs: 168_016
        source: worked by hand
      - depth: 4
        source: worked by hand
      - receptive_field: 17/4/8
        source: worked by hand
      - top1: 12.50
        source: made up
"""


class Block(nn.Module):
    """Two 3x3 convolutions beside a projection."""

    eps, slope, stride = 1e-5, 0.0, 2

    def __init__(self, inner: int, out: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inner, out, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out, eps=self.eps)
        self.conv2 = nn.Conv2d(out, out, 3, 2 // self.stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample = nn.Sequential(nn.Conv2d(inner, out, 1, 2, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to half the size."""
        y = nn.functional.leaky_relu(self.bn1(self.conv1(x)), self.slope)
        return nn.functional.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Net(nn.Module):
    """What the spec says, as torchvision would write it."""

    block: type[Block] = Block
    momentum, padding, dropout = 0.1, 1, 0.5

    def __init__(self, classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4, momentum=self.momentum)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, self.padding)
        self.layer1 = self.block(4, 8)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(self.dropout)
        self.fc = nn.Linear(8, classes)
        self.start()

    def start(self) -> None:
        """The starting values of torchvision's ResNets."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """The last feature map."""
        return self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, classes)."""
        return self.fc(self.drop(torch.flatten(self.avgpool(self.features(x)), 1)))


def broken_block(**changes: Any) -> type[Net]:
    """The network with another block."""
    return type("Broken", (Net,), {"block": type("BrokenBlock", (Block,), changes)})


def broken(net: type[Net] = Net, **changes: Any) -> type[Net]:
    """The network with other attributes or methods."""
    return type("Broken", (net,), changes)


class World:
    """A folder with the spec, changed or not, and a provider that builds its reference."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.reference: Callable[..., nn.Module] = Net
        self.asked: list[str] = []

    def write(self, *changes: tuple[str, str], name: str = "tiny.yaml", text: str = SPEC) -> Path:
        """The spec with these changes, each of which must change something."""
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def write_block(self, *changes: tuple[str, str]) -> Path:
        """A block `basic` of its own, beside the spec."""
        return self.write(*changes, name="basic.yaml", text=(shipped_folder() / "blocks" / "basic.yaml").read_text())

    def arch(self, *changes: tuple[str, str], call: str = "net") -> Arch:
        """The arch of the spec with these changes."""
        return load(f"{self.write(*changes)}::{call}")

    def build(self, name: str, arguments: dict[str, Any]) -> nn.Module:
        """The reference, as a provider builds it."""
        self.asked.append(name)
        return self.reference(**arguments)
