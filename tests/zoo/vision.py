"""Networks of images: classification, detection, segmentation, video."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.rows import Net, Rows, by_name
from tests.zoo.rows import parameters_by_position as parameters

ROWS = Rows("vision")
IMAGE = (3, 16, 16)


def conv(inner: int, out: int, kernel: int = 3, stride: int = 1, **more: Any) -> nn.Conv2d:
    """A convolution that keeps the size."""
    return nn.Conv2d(inner, out, kernel, stride, kernel // 2, **more)


def residual(net: Any, x: Tensor, after: bool = True) -> Tensor:
    """A block of a ResNet behind a stem, and a head."""
    x = net.bn1(net.conv1(x)).relu()
    y = net.bn2(net.conv2(x))
    return net.fc((y + x).relu().mean((2, 3)) if after else (y.relu() + x).mean((2, 3)))


def residual_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same in other words."""
    x = F.relu(net.b(net.a(x)))
    y = torch.clamp_min(torch.add(x, net.d(net.c(x))), 0)
    return net.e(torch.flatten(F.adaptive_avg_pool2d(y, 1), 1))


def residual_net(function: Any, names: str = "conv1 bn1 conv2 bn2 fc") -> nn.Module:
    """The network."""
    made = (conv(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), conv(8, 8, bias=False), nn.BatchNorm2d(8), nn.Linear(8, 5))
    return Net(function, **dict(zip(names.split(), made, strict=True)))


ROWS.add(
    "residual network",
    lambda: residual_net(residual),
    lambda: residual_net(residual_otherwise, "a b c d e"),
    lambda: residual_net(lambda n, x: residual(n, x, after=False)),
    IMAGE,
    27 * 8 * 64 + 72 * 8 * 64 + 40,
    "everything",
)


def separable(stride: int = 2, depth: int = 1) -> nn.Module:
    """A depthwise convolution between two of 1x1."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 1),
        nn.ReLU6(),
        nn.Conv2d(6, 6, 3, stride, 1, groups=6 // depth),
        nn.Hardswish(),
        nn.Conv2d(6, 8, 1),
    )


def separable_by_hand(net: Any, x: Tensor) -> Tensor:
    """The same: products for what is 1x1, clamps for relu6."""
    y = torch.einsum("nchw,oc->nohw", x, net.a.flatten(1)) + net.b[:, None, None]
    y = F.conv2d(y.clamp(0, 6), net.c, net.d, 2, 1, groups=6)
    y = y * (y + 3).clamp(0, 6) / 6
    return torch.einsum("nchw,oc->nohw", y, net.e.flatten(1)) + net.f[:, None, None]


ROWS.add(
    "depthwise convolution",
    separable,
    lambda: Net(
        separable_by_hand,
        **{
            name: nn.Parameter(torch.randn(shape))
            for name, shape in {
                "a": (6, 3, 1, 1),
                "b": (6,),
                "c": (6, 1, 3, 3),
                "d": (6,),
                "e": (8, 6, 1, 1),
                "f": (8,),
            }.items()
        },
    ),
    lambda: nn.Sequential(*separable(), nn.ReLU()),
    IMAGE,
    3 * 6 * 256 + 9 * 6 * 64 + 6 * 8 * 64,
    "3",
)


def gated(net: Any, x: Tensor, gate: Any = torch.sigmoid) -> Tensor:
    """Squeeze and excite."""
    y = net.conv(x)
    weight = gate(net.up(net.down(y.mean((2, 3))).relu()))
    return y * weight[..., None, None]


def gated_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same by convolutions of 1x1."""
    y = net.first(x)
    s = F.relu(F.conv2d(F.adaptive_avg_pool2d(y, 1), net.two.weight[..., None, None], net.two.bias))
    return torch.mul(torch.sigmoid(F.conv2d(s, net.three.weight[..., None, None], net.three.bias)), y)


ROWS.add(
    "squeeze and excite",
    lambda: Net(gated, conv=conv(3, 8), down=nn.Linear(8, 2), up=nn.Linear(2, 8)),
    lambda: Net(gated_otherwise, first=conv(3, 8), two=nn.Linear(8, 2), three=nn.Linear(2, 8)),
    lambda: Net(lambda n, x: gated(n, x, F.hardsigmoid), conv=conv(3, 8), down=nn.Linear(8, 2), up=nn.Linear(2, 8)),
    IMAGE,
    27 * 8 * 256 + 2 * 16,
    "everything",
)


def shuffled(net: Any, x: Tensor, groups: int = 2) -> Tensor:
    """Channels change places between grouped convolutions."""
    y = net.a(x)
    n, c, h, w = y.shape
    y = y.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)
    return net.b(y)


ROWS.add(
    "shuffled channels",
    lambda: Net(shuffled, a=conv(3, 8), b=conv(8, 8, groups=2)),
    lambda: Net(lambda n, x: n.two(F.channel_shuffle(n.one(x), 2)), one=conv(3, 8), two=conv(8, 8, groups=2)),
    lambda: Net(lambda n, x: shuffled(n, x, 4), a=conv(3, 8), b=conv(8, 8, groups=2)),
    IMAGE,
    27 * 8 * 256 + 9 * 4 * 8 * 256,
    "5",
)


def windows(net: Any, x: Tensor, shift: int = 2) -> Tensor:
    """Attention within windows of 4x4 that are shifted, without a mask."""
    y = net.patches(x).permute(0, 2, 3, 1)
    n, h, w, c = y.shape
    y = torch.roll(y, (-shift, -shift), (1, 2))
    y = y.view(n, h // 4, 4, w // 4, 4, c).transpose(2, 3).reshape(-1, 16, c)
    q, k, v = net.qkv(y).chunk(3, 2)
    y = (q @ k.mT * c**-0.5).softmax(-1) @ v
    y = y.view(n, h // 4, w // 4, 4, 4, c).transpose(2, 3).reshape(n, h, w, c)
    return torch.roll(y, (shift, shift), (1, 2))


def windows_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same, rolled by what is cut off and joined."""
    y = net.first(x)
    y = torch.cat((y[:, :, 2:], y[:, :, :2]), 2)
    y = torch.cat((y[..., 2:], y[..., :2]), 3)
    n, c, h, w = y.shape
    y = y.unflatten(3, (-1, 4)).unflatten(2, (-1, 4)).permute(0, 2, 4, 3, 5, 1).reshape(n, -1, 16, c)
    q, k, v = F.linear(y, net.two.weight, net.two.bias).split(c, -1)
    y = torch.softmax(q @ k.transpose(-1, -2) / c**0.5, -1) @ v
    y = y.view(n, h // 4, w // 4, 4, 4, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
    y = torch.cat((y[:, -2:], y[:, :-2]), 1)
    return torch.cat((y[:, :, -2:], y[:, :, :-2]), 2)


ROWS.add(
    "shifted windows",
    lambda: Net(windows, patches=nn.Conv2d(3, 4, 2, 2), qkv=nn.Linear(4, 12)),
    lambda: Net(windows_otherwise, first=nn.Conv2d(3, 4, 2, 2), two=nn.Linear(4, 12)),
    lambda: Net(lambda n, x: windows(n, x, 1), patches=nn.Conv2d(3, 4, 2, 2), qkv=nn.Linear(4, 12)),
    IMAGE,
    12 * 4 * 64 + 64 * 4 * 12 + 2 * 64 * 16 * 4,
)


def boxes(net: Any, x: Tensor, stride: float = 4.0) -> Tensor:
    """A head that says where, on a grid, and how large, as multiples of anchors."""
    y = net.head(net.body(x).relu())
    n, _, h, w = y.shape
    y = y.view(n, 2, 5, h, w).permute(0, 1, 3, 4, 2)
    rows, columns = torch.meshgrid(torch.arange(h, device=x.device), torch.arange(w, device=x.device), indexing="ij")
    centre = (y[..., :2].sigmoid() + torch.stack((columns, rows), -1)) * stride
    return torch.cat((centre, y[..., 2:4].exp() * net.anchors[:, None, None], y[..., 4:].sigmoid()), -1).flatten(1, 3)


def boxes_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same, its grid in a buffer, part by part."""
    y = net.out(F.relu(net.net(x))).unflatten(1, (2, 5))
    place, size, sure = y.split((2, 2, 1), 2)
    place = 4 * (place.sigmoid() + net.grid[:, : y.shape[3], : y.shape[4]])
    y = torch.cat((place, size.exp() * net.sizes[:, :, None, None], torch.sigmoid(sure)), 2)
    return y.permute(0, 1, 3, 4, 2).reshape(y.shape[0], -1, 5)


ANCHORS = torch.tensor([[4.0, 6.0], [9.0, 7.0]])
GRID = torch.stack(torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="xy"))
ROWS.add(
    "detection with anchors",
    lambda: Net(boxes, body=conv(3, 8, 3, 4), head=conv(8, 10, 1), anchors=ANCHORS),
    lambda: Net(boxes_otherwise, net=conv(3, 8, 3, 4), out=conv(8, 10, 1), sizes=ANCHORS, grid=GRID),
    lambda: Net(lambda n, x: boxes(n, x, 8.0), body=conv(3, 8, 3, 4), head=conv(8, 10, 1), anchors=ANCHORS),
    IMAGE,
    27 * 8 * 16 + 8 * 10 * 16,
    "3",
    give=parameters,
)


def pyramid(net: Any, x: Tensor, mode: str = "nearest") -> list[Tensor]:
    """What is coarse is added to what is fine, and both go out."""
    a = net.a(x).relu()
    b = net.b(a).relu()
    coarse = net.side_b(b)
    more: dict[str, Any] = {} if mode == "nearest" else {"align_corners": False}
    fine = net.side_a(a) + F.interpolate(coarse, size=a.shape[2:], mode=mode, **more)
    return [net.out(fine), coarse]


def pyramid_otherwise(net: Any, x: Tensor) -> list[Tensor]:
    """The same in other words."""
    a = F.relu(net.one(x))
    c = net.four(F.relu(net.two(a)))
    return [net.five(nn.Upsample(a.shape[2:])(c) + net.three(a)), c]


def pyramid_net(function: Any, names: str = "a b side_a side_b out") -> nn.Module:
    """The network."""
    made = (conv(3, 4, 3, 2), conv(4, 8, 3, 2), conv(4, 4, 1), conv(8, 4, 1), conv(4, 4))
    return Net(function, **dict(zip(names.split(), made, strict=True)))


PYRAMID = 27 * 4 * 64 + 36 * 8 * 16 + 16 * 64 + 32 * 16 + 36 * 4 * 64
ROWS.add(
    "feature pyramid",
    lambda: pyramid_net(pyramid),
    lambda: pyramid_net(pyramid_otherwise, "one two three four five"),
    lambda: pyramid_net(lambda n, x: pyramid(n, x, "bilinear")),
    IMAGE,
    PYRAMID,
    "11",
)
ROWS.add(
    "feature pyramid, its finest map",
    lambda: pyramid_net(lambda n, x: pyramid(n, x)[0]),
    lambda: pyramid_net(lambda n, x: pyramid_otherwise(n, x)[0], "one two three four five"),
    lambda: pyramid_net(lambda n, x: pyramid(n, x, "bilinear")[0]),
    IMAGE,
    PYRAMID,
    "11",
)


def detr(net: Any, x: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
    """Learned queries look at a map, and each says what and where: nothing to suppress afterwards."""
    seen = net.body(x).flatten(2).mT
    asked = net.queries.expand(x.shape[0], -1, -1)
    y = asked + F.scaled_dot_product_attention(net.q(asked), net.k(seen), net.v(seen))
    return {"logits": net.says(y), "boxes": (scale * net.where(y)).sigmoid()}


def detr_otherwise(net: Any, x: Tensor) -> dict[str, Tensor]:
    """The same in other words, its outputs in another order."""
    seen = net.b(x).flatten(2).transpose(1, 2)
    asked = net.a.repeat(len(x), 1, 1)
    y = torch.softmax(net.c(asked) @ net.d(seen).mT / 8**0.5, -1) @ net.e(seen) + asked
    return {"logits": net.f(y), "boxes": torch.sigmoid(net.g(y))}


def detr_net(function: Any, names: str = "queries body q k v says where") -> nn.Module:
    """The network."""
    made = (
        nn.Parameter(torch.randn(3, 8)),
        nn.Conv2d(3, 8, 4, 4),
        *(nn.Linear(8, 8) for _ in range(3)),
        nn.Linear(8, 5),
        nn.Linear(8, 4),
    )
    return Net(function, **dict(zip(names.split(), made, strict=True)))


DETR = 48 * 8 * 16 + 3 * 64 + 2 * 16 * 64 + 2 * 3 * 16 * 8 + 3 * 8 * 9
ROWS.add(
    "detection without suppression",
    lambda: detr_net(detr),
    lambda: detr_net(detr_otherwise, "a b c d e f g"),
    lambda: detr_net(lambda n, x: detr(n, x, 2.0)),
    IMAGE,
    DETR,
    "everything",
)
ROWS.add(
    "detection without suppression, its boxes",
    lambda: detr_net(lambda n, x: detr(n, x)["boxes"]),
    lambda: detr_net(lambda n, x: detr_otherwise(n, x)["boxes"], "a b c d e f g"),
    lambda: detr_net(lambda n, x: detr(n, x, 2.0)["boxes"]),
    IMAGE,
    DETR,
    "everything",
)


def suppresses(net: Any, x: Tensor, threshold: float = 0.5) -> Tensor:
    """Boxes of the first image that overlap a better one go: how many are left depends on the values."""
    y = net.head(x).flatten(2).mT[0]
    found = torch.cat((y[:, :2], y[:, :2] + y[:, 2:4].exp()), 1)
    return found[torchvision.ops.nms(found, y[:, 4], threshold)]


ROWS.add(
    "detection with suppression",
    lambda: Net(suppresses, head=nn.Conv2d(3, 5, 4, 4)),
    lambda: Net(suppresses_otherwise, one=nn.Conv2d(3, 5, 4, 4)),
    lambda: Net(lambda n, x: suppresses(n, x, 0.05), head=nn.Conv2d(3, 5, 4, 4)),
    IMAGE,
    48 * 5 * 16,
)


def suppresses_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same in other words."""
    place, size, sure = net.one(x)[0].flatten(1).T.split((2, 2, 1), 1)
    found = torch.cat((place, place + torch.exp(size)), -1)
    return found.index_select(0, torchvision.ops.nms(found, sure.squeeze(1), 0.5))


def segments(net: Any, x: Tensor, corners: bool = False) -> Tensor:
    """A UNet of two levels."""
    a = net.a(x).relu()
    b = net.b(F.max_pool2d(a, 2)).relu()
    return net.c(torch.cat((a, F.interpolate(b, scale_factor=2, mode="bilinear", align_corners=corners)), 1))


def segments_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same in other words."""
    a = F.relu(net.one(x))
    b = F.relu(net.two(nn.MaxPool2d(2)(a)))
    up = nn.UpsamplingBilinear2d(scale_factor=2)
    up.align_corners = False
    return net.three(torch.cat([a, up(b)], dim=-3))


def segmenting(function: Any, names: str = "a b c") -> nn.Module:
    """The network."""
    return Net(function, **dict(zip(names.split(), (conv(3, 4), conv(4, 4), conv(8, 2)), strict=True)))


ROWS.add(
    "segmentation with a skip",
    lambda: segmenting(segments),
    lambda: segmenting(segments_otherwise, "one two three"),
    lambda: segmenting(lambda n, x: segments(n, x, corners=True)),
    IMAGE,
    27 * 4 * 256 + 36 * 4 * 64 + 72 * 2 * 256,
    "12",
)


def atrous(net: Any, x: Tensor, rate: int = 3) -> Tensor:
    """Dilated convolutions side by side."""
    return torch.cat(
        (net.a(x), F.conv2d(x, net.b, padding=2, dilation=2), F.conv2d(x, net.c, padding=rate, dilation=rate)), 1
    )


def atrous_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same in other words."""
    y = x.new_zeros(x.shape[0], 6, *x.shape[2:])
    y[:, :2] = net.one(x)
    y[:, 2:4] = F.conv2d(F.pad(x, (2,) * 4), net.two, dilation=2)
    y[:, 4:] = F.conv2d(x, net.three, padding="same", dilation=3)
    return y


ATROUS = (2, 3, 3, 3)
ROWS.add(
    "dilated convolutions side by side",
    lambda: Net(atrous, a=conv(3, 2), b=nn.Parameter(torch.randn(ATROUS)), c=nn.Parameter(torch.randn(ATROUS))),
    lambda: Net(
        atrous_otherwise, one=conv(3, 2), two=nn.Parameter(torch.randn(ATROUS)), three=nn.Parameter(torch.randn(ATROUS))
    ),
    lambda: Net(
        lambda n, x: atrous(n, x, 4),
        a=conv(3, 2),
        b=nn.Parameter(torch.randn(ATROUS)),
        c=nn.Parameter(torch.randn(ATROUS)),
    ),
    IMAGE,
    3 * 27 * 2 * 256,
    "7",
    give=by_name(("a.", "one."), ("b", "two"), ("c", "three")),
)


def video(pool: Any = F.avg_pool3d) -> nn.Module:
    """Space, then time, of 4 frames of 8x8."""
    return Net(
        lambda n, x: pool(n.time(n.space(x).relu()), 2),
        space=nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1)),
        time=nn.Conv3d(4, 4, (3, 1, 1), padding=(1, 0, 0)),
    )


def video_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same: frames as a batch for what is space alone."""
    n, _, t, h, w = x.shape
    y = F.conv2d(x.transpose(1, 2).flatten(0, 1), net.a.squeeze(2), net.b, padding=1).relu()
    y = y.view(n, t, -1, h, w).transpose(1, 2)
    y = F.conv1d(y.permute(0, 3, 4, 1, 2).reshape(n * h * w, -1, t), net.c.flatten(2), net.d, padding=1)
    return nn.AvgPool3d(2)(y.reshape(n, h, w, -1, t).permute(0, 3, 4, 1, 2))


ROWS.add(
    "video",
    video,
    lambda: Net(
        video_otherwise,
        a=nn.Parameter(torch.randn(4, 3, 1, 3, 3)),
        b=nn.Parameter(torch.randn(4)),
        c=nn.Parameter(torch.randn(4, 4, 3, 1, 1)),
        d=nn.Parameter(torch.randn(4)),
    ),
    lambda: video(F.max_pool3d),
    (3, 4, 8, 8),
    27 * 4 * 256 + 12 * 4 * 256,
)


def warped(net: Any, x: Tensor, **more: Any) -> Tensor:
    """A spatial transformer: where to look is computed."""
    theta = net.where(x.mean((2, 3))).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return net.conv(F.grid_sample(x, grid, align_corners=False, **more))


def warped_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same, its grid made by hand."""
    theta = net.one(F.adaptive_avg_pool2d(x, 1).flatten(1)).unflatten(1, (2, 3))
    h, w = x.shape[2:]
    down, right = ((2 * torch.arange(n, device=x.device, dtype=x.dtype) + 1) / n - 1 for n in (h, w))
    at = torch.stack((right.expand(h, w), down[:, None].expand(h, w), torch.ones_like(right).expand(h, w)), -1)
    grid = (at.view(1, h * w, 3) @ theta.mT).view(-1, h, w, 2)
    return net.two(F.grid_sample(x, grid, align_corners=False))


ROWS.add(
    "spatial transformer",
    lambda: Net(warped, where=nn.Linear(3, 6), conv=conv(3, 4)),
    lambda: Net(warped_otherwise, one=nn.Linear(3, 6), two=conv(3, 4)),
    lambda: Net(lambda n, x: warped(n, x, padding_mode="border"), where=nn.Linear(3, 6), conv=conv(3, 4)),
    IMAGE,
    3 * 6 + 256 * 3 * 2 + 27 * 4 * 256,
)


def shuffled_up(net: Any, x: Tensor, by_hand: bool = False) -> Tensor:
    """Channels become pixels."""
    y = net.a(x)
    n, _, h, w = y.shape
    return y.view(n, 3, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, 3, 2 * h, 2 * w) if by_hand else net.up(y)


ROWS.add(
    "superresolution",
    lambda: Net(shuffled_up, a=conv(3, 12), up=nn.PixelShuffle(2)),
    lambda: Net(lambda n, x: shuffled_up(n, x, by_hand=True), a=conv(3, 12)),
    lambda: Net(lambda n, x: shuffled_up(n, x).transpose(2, 3), a=conv(3, 12), up=nn.PixelShuffle(2)),
    IMAGE,
    27 * 12 * 256,
    "3",
)


def unfolded(net: Any, x: Tensor, padding: int = 1) -> Tensor:
    """A convolution by its windows."""
    y = F.unfold(x, 3, padding=padding)
    return (net.weight.flatten(1) @ y).unflatten(2, (-1, x.shape[3])) + net.bias[:, None, None]


ROWS.add(
    "convolution by windows",
    lambda: Net(unfolded, weight=nn.Parameter(torch.randn(4, 3, 3, 3)), bias=nn.Parameter(torch.randn(4))),
    lambda: nn.Conv2d(3, 4, 3, padding=1),
    lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="replicate"),
    IMAGE,
    27 * 4 * 256,
    "3",
)


class Standardised(nn.Conv2d):
    """A convolution whose filters are standardised."""

    eps = 1e-5

    def forward(self, x: Tensor) -> Tensor:
        w = self.weight
        mean, var = w.mean((1, 2, 3), keepdim=True), w.var((1, 2, 3), keepdim=True, unbiased=False)
        return self._conv_forward(x, (w - mean) / (var + self.eps).sqrt(), self.bias)


class Looser(Standardised):
    """With another number in it."""

    eps = 1e-3


ROWS.add(
    "standardised weights",
    lambda: nn.Sequential(Standardised(3, 4, 3), nn.GroupNorm(2, 4)),
    lambda: Net(
        lambda n, x: n.norm(
            F.conv2d(x, F.batch_norm(n.w.flatten(1).T, None, None, training=True).T.view(n.w.shape), n.b)
        ),
        w=nn.Parameter(torch.randn(4, 3, 3, 3)),
        b=nn.Parameter(torch.randn(4)),
        norm=nn.GroupNorm(2, 4),
    ),
    lambda: nn.Sequential(Looser(3, 4, 3), nn.GroupNorm(2, 4)),
    IMAGE,
    27 * 4 * 196,
    "everything",
    give=by_name(("0.weight", "w"), ("0.bias", "b"), ("1.", "norm.")),
)
ROWS.add(
    "deformable convolution",
    lambda: Net(
        lambda n, x: torchvision.ops.deform_conv2d(x, n.offset(x), n.weight, padding=1),
        offset=conv(3, 18),
        weight=nn.Parameter(torch.randn(4, 3, 3, 3)),
    ),
    lambda: Net(
        lambda n, x: torchvision.ops.deform_conv2d(x, n.moves(x), n.kernel, padding=(1, 1)),
        moves=conv(3, 18),
        kernel=nn.Parameter(torch.randn(4, 3, 3, 3)),
    ),
    lambda: Net(
        lambda n, x: (
            torchvision.ops.deform_conv2d(x, n.offset(x), n.weight, padding=1, dilation=1)
            + F.conv2d(x, n.weight, padding=1)
        ),
        offset=conv(3, 18),
        weight=nn.Parameter(torch.randn(4, 3, 3, 3)),
    ),
    IMAGE,
    27 * 18 * 256 + 27 * 4 * 256,
    give=by_name(("offset", "moves"), ("weight", "kernel")),
)
ROWS.add(
    "every norm",
    lambda: nn.Sequential(conv(3, 4), nn.InstanceNorm2d(4, affine=True), nn.LocalResponseNorm(3), conv(4, 4)),
    lambda: nn.Sequential(conv(3, 4), nn.GroupNorm(4, 4), nn.LocalResponseNorm(3), conv(4, 4)),
    lambda: nn.Sequential(conv(3, 4), nn.InstanceNorm2d(4, affine=True), nn.LocalResponseNorm(3, beta=0.8), conv(4, 4)),
    IMAGE,
    27 * 4 * 256 + 36 * 4 * 256,
    "everything",
)
