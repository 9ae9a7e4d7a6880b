"""Networks with operators of somebody's own, of which no rule here knows anything."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SPACE = "rv_check_test_own"


@torch.library.custom_op(f"{SPACE}::mix", mutates_args=())
def mix(x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
    """A 1x1 convolution, which keeps its input and its weight for the backward pass."""
    return F.conv2d(x, weight, groups=groups)


@mix.register_fake
def _(x: Tensor, weight: Tensor, groups: int = 1) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0], *x.shape[2:]))


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.groups = inputs[2]


def _back(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
    x, weight = ctx.saved_tensors
    with torch.enable_grad():
        y = F.conv2d(x.detach().requires_grad_(), weight.detach().requires_grad_(), groups=ctx.groups)
    return (*torch.autograd.grad(y, y.grad_fn.next_functions, gradient), None)  # type: ignore[union-attr]


mix.register_autograd(_back, setup_context=_keep)


@torch.library.custom_op(f"{SPACE}::twice", mutates_args=())
def twice(x: Tensor) -> Tensor:
    """2 * x, which keeps nothing."""
    return 2 * x


@twice.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


twice.register_autograd(lambda ctx, gradient: 2 * gradient)


class Mixing(nn.Module):
    """A convolution to 4 maps, a mix to 6, twice, and a linear layer to 2."""

    def __init__(self, groups: int = 1):
        super().__init__()
        self.groups = groups
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.kernel = nn.Parameter(torch.ones(6, 4 // groups, 1, 1))
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 8, 8) -> (N, 2)."""
        x = mix(self.conv(x), self.kernel, self.groups)
        return self.fc(twice(twice(x)).relu().mean((2, 3)))  # type: ignore[no-any-return]


class Plain(Mixing):
    """The same by operators of torch's."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 8, 8) -> (N, 2)."""
        x = F.conv2d(self.conv(x), self.kernel, groups=self.groups)
        return self.fc((2 * (2 * x)).relu().mean((2, 3)))  # type: ignore[no-any-return]


class Twice(nn.Module):
    """A convolution, and what keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 8, 8) -> (N, 4, 6, 6)."""
        return twice(self.conv(x)).sigmoid()


class Wide(nn.Module):
    """A view that is sixteen times as large as the memory below it, which a product keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale = nn.Conv2d(3, 4, 3), nn.Parameter(torch.ones(16, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 8, 8) -> (N, 16, 6, 6)."""
        return self.conv(x).mean(1, keepdim=True).expand(-1, 16, -1, -1) * self.scale
