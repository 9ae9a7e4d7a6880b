"""Networks that make something."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.rows import Net, Rows, by_name
from tests.zoo.rows import parameters_by_position as parameters

ROWS = Rows("generative")
IMAGE = (3, 8, 8)


def dcgan(last: Any = nn.Tanh) -> nn.Module:
    """From 8 numbers to an image of 8x8."""
    return nn.Sequential(
        nn.Unflatten(1, (8, 1, 1)),
        nn.ConvTranspose2d(8, 6, 4, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(True),
        nn.ConvTranspose2d(6, 3, 4, 2, 1),
        last(),
    )


def dcgan_by_hand(net: Any, z: Tensor) -> Tensor:
    """The same: what makes a map of one place is a product."""
    y = (z @ net.first.flatten(1)).view(-1, 6, 4, 4)
    y = F.relu(net.norm(y))
    return torch.tanh(F.conv_transpose2d(y, net.second, net.bias, stride=2, padding=1))


ROWS.add(
    "generator of a GAN",
    dcgan,
    lambda: Net(
        dcgan_by_hand,
        first=nn.Parameter(torch.randn(8, 6, 4, 4)),
        norm=nn.BatchNorm2d(6),
        second=nn.Parameter(torch.randn(6, 3, 4, 4)),
        bias=nn.Parameter(torch.randn(3)),
    ),
    lambda: dcgan(nn.Sigmoid),
    (8,),
    8 * 6 * 16 + 6 * 16 * 3 * 16,
    give=by_name(("1.weight", "first"), ("2.", "norm."), ("4.weight", "second"), ("4.bias", "bias")),
)


def vae(net: Any, x: Tensor, half: float = 0.5) -> tuple[Tensor, Tensor, Tensor]:
    """An encoder, chance, a decoder."""
    mean, logarithm = net.encoder(x).chunk(2, 1)
    z = mean + (half * logarithm).exp() * torch.randn_like(mean)
    return net.decoder(z), mean, logarithm


def vae_otherwise(net: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same in other words."""
    mean, logarithm = net.sees(x).split(4, dim=-1)
    z = torch.addcmul(mean, torch.exp(logarithm / 2), torch.randn(mean.shape, device=x.device, dtype=x.dtype))
    return net.draws(z), mean, logarithm


ROWS.add(
    "variational autoencoder",
    lambda: Net(vae, encoder=nn.Linear(12, 8), decoder=nn.Linear(4, 12)),
    lambda: Net(vae_otherwise, sees=nn.Linear(12, 8), draws=nn.Linear(4, 12)),
    lambda: Net(lambda n, x: vae(n, x, 1.0), encoder=nn.Linear(12, 8), decoder=nn.Linear(4, 12)),
    (12,),
    12 * 8 + 4 * 12,
)
ROWS.add(
    "variational autoencoder, its image",
    lambda: Net(lambda n, x: vae(n, x)[0], encoder=nn.Linear(12, 8), decoder=nn.Linear(4, 12)),
    lambda: Net(lambda n, x: vae_otherwise(n, x)[0], sees=nn.Linear(12, 8), draws=nn.Linear(4, 12)),
    lambda: Net(lambda n, x: vae(n, x, 1.0)[0], encoder=nn.Linear(12, 8), decoder=nn.Linear(4, 12)),
    (12,),
    12 * 8 + 4 * 12,
)


def of_time(step: float, device: Any = None, least: float = 1e-4) -> Tensor:
    """Sines and cosines of a time."""
    rates = torch.exp(torch.arange(4, device=device) * (math.log(least) / 3))
    return torch.cat(((step * rates).sin(), (step * rates).cos()))[None]


def diffusion(net: Any, x: Tensor, least: float = 1e-4) -> Tensor:
    """A small UNet that knows the time."""
    time = net.time(of_time(10.0, x.device, least).to(x))[..., None, None]
    y = F.silu(net.norm(net.first(x)))
    z = F.silu(net.down(y) + time)
    z = net.up(F.interpolate(z, scale_factor=2.0))
    return net.last(torch.cat((y, z), 1))


def diffusion_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same, the time in a buffer, upsampling by repeating."""
    y = net.b(net.a(x))
    y = y * y.sigmoid()
    z = net.c(y) + net.t(net.embedded).view(1, -1, 1, 1)
    z = (z * z.sigmoid()).repeat_interleave(2, 2).repeat_interleave(2, 3)
    return F.conv2d(y, net.e.weight[:, :8], net.e.bias) + F.conv2d(net.d(z), net.e.weight[:, 8:])


def diffusing(function: Any, names: str = "first norm down time up last", **more: Any) -> nn.Module:
    """The network."""
    made = (
        nn.Conv2d(3, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.Linear(8, 8),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Conv2d(16, 3, 1),
    )
    return Net(function, **dict(zip(names.split(), made, strict=True)), **more)


ROWS.add(
    "UNet of a diffusion",
    lambda: diffusing(diffusion),
    lambda: diffusing(diffusion_otherwise, "a b c t d e", embedded=of_time(10.0)),
    lambda: diffusing(lambda n, x: diffusion(n, x, 1e-3)),
    IMAGE,
    9 * 3 * 8 * 64 + 9 * 8 * 8 * 16 + 8 * 8 + 9 * 8 * 8 * 64 + 16 * 3 * 64,
    "everything",
    give=parameters,
)


def before(kind: str) -> Tensor:
    """A kernel's places that have been drawn; "b" has the middle one, too."""
    mask = torch.zeros(1, 1, 3, 3)
    mask[..., 0, :] = mask[..., 1, 0] = 1
    mask[..., 1, 1] = float(kind == "b")
    return mask


def pixels(net: Any, x: Tensor) -> Tensor:
    """A PixelCNN of two masked layers."""
    y = F.conv2d(x, net.one * net.a, padding=1).relu()
    return F.conv2d(y, net.two * net.b, padding=1)


def pixels_by_where(net: Any, x: Tensor) -> Tensor:
    """The same, its masks applied otherwise."""
    y = torch.relu(F.conv2d(x, net.first.where(net.seen > 0, 0.0), padding=1))
    return F.conv2d(y, net.second.masked_fill(net.drawn < 1, 0.0), padding=1)


PIXELS = {"one": (4, 3, 3, 3), "two": (3, 4, 3, 3)}
ROWS.add(
    "masked convolutions",
    lambda: Net(pixels, **{n: nn.Parameter(torch.randn(s)) for n, s in PIXELS.items()}, a=before("a"), b=before("b")),
    lambda: Net(
        pixels_by_where,
        first=nn.Parameter(torch.randn(4, 3, 3, 3)),
        second=nn.Parameter(torch.randn(3, 4, 3, 3)),
        seen=before("a"),
        drawn=before("b"),
    ),
    lambda: Net(pixels, **{n: nn.Parameter(torch.randn(s)) for n, s in PIXELS.items()}, a=before("b"), b=before("b")),
    IMAGE,
    2 * 9 * 3 * 4 * 64,
    "5",  # by the windows; the masks hide the rows below
    like=parameters,
)


def quantised(net: Any, x: Tensor, nearest: bool = True) -> Tensor:
    """The nearest word of a book stands for what comes in; gradients go past it."""
    y = net.encoder(x)
    far = torch.cdist(y[:, None], net.book[None]).squeeze(1)
    place = far.argmin(1) if nearest else far.argmax(1)
    return net.decoder(y + (net.book[place] - y).detach())


def quantised_by_hand(net: Any, x: Tensor) -> Tensor:
    """The same: distances by squares."""
    y = net.sees(x)
    far = y.square().sum(1, keepdim=True) - 2 * y @ net.words.T + net.words.square().sum(1)
    word = F.embedding(far.min(1).indices, net.words)
    return net.draws(y + word.detach() - y.detach())


ROWS.add(
    "vector quantisation",
    lambda: Net(quantised, encoder=nn.Linear(12, 4), book=nn.Parameter(torch.randn(7, 4)), decoder=nn.Linear(4, 12)),
    lambda: Net(
        quantised_by_hand, sees=nn.Linear(12, 4), words=nn.Parameter(torch.randn(7, 4)), draws=nn.Linear(4, 12)
    ),
    lambda: Net(
        lambda n, x: quantised(n, x, nearest=False),
        encoder=nn.Linear(12, 4),
        book=nn.Parameter(torch.randn(7, 4)),
        decoder=nn.Linear(4, 12),
    ),
    (12,),
    None,
)


def couples(net: Any, x: Tensor, sign: float = 1.0) -> tuple[Tensor, Tensor]:
    """One half of a flow moves the other; with the logarithm of the volume."""
    a, b = x.chunk(2, 1)
    scale, shift = net.moves(a).chunk(2, 1)
    scale = scale.tanh()
    return torch.cat((a, b * scale.exp() + shift), 1), sign * scale.sum(1)


def couples_otherwise(net: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """The same in other words."""
    half = x[:, :4]
    moved = F.linear(half, net.weight, net.bias)
    scale = torch.tanh(moved[:, :4])
    return torch.cat([half, torch.addcmul(moved[:, 4:], x[:, 4:], scale.exp())], -1), scale.sum(-1)


ROWS.add(
    "coupling layer of a flow",
    lambda: Net(couples, moves=nn.Linear(4, 8)),
    lambda: Net(couples_otherwise, weight=nn.Parameter(torch.randn(8, 4)), bias=nn.Parameter(torch.randn(8))),
    lambda: Net(lambda n, x: couples(n, x, -1.0), moves=nn.Linear(4, 8)),
    (8,),
    4 * 8,
)


def continues(net: Any, x: Tensor, least: bool = False) -> Tensor:
    """Says three words, each the likeliest after the one before."""
    said, y = [], x
    for _ in range(3):
        scores = net.head(y.tanh())
        word = scores.argmin(1) if least else scores.argmax(1)
        y = net.words(word)
        said.append(scores)
    return torch.stack(said, 1)


def continues_by_one_hot(net: Any, x: Tensor) -> Tensor:
    """The same: a word is looked up by a product."""
    said = []
    for _ in range(3):
        scores = F.linear(torch.tanh(x), net.w, net.b)
        x = net.table[scores.max(-1).indices]
        said.append(scores.unsqueeze(1))
    return torch.cat(said, 1)


ROWS.add(
    "greedy generation",
    lambda: Net(continues, head=nn.Linear(8, 5), words=nn.Embedding(5, 8)),
    lambda: Net(
        continues_by_one_hot,
        w=nn.Parameter(torch.randn(5, 8)),
        b=nn.Parameter(torch.randn(5)),
        table=nn.Parameter(torch.randn(5, 8)),
    ),
    lambda: Net(lambda n, x: continues(n, x, least=True), head=nn.Linear(8, 5), words=nn.Embedding(5, 8)),
    (8,),
    3 * 8 * 5,
)


def modulated(net: Any, z: Tensor, eps: float = 1e-8) -> Tensor:
    """A convolution whose weights a style scales, for each image of the batch, as StyleGAN's."""
    n = z.shape[0]
    weight = net.weight * net.style(z)[:, None, :, None, None]
    weight = weight * (weight.square().sum((2, 3, 4), keepdim=True) + eps).rsqrt()
    x = net.constant.expand(n, -1, -1, -1).reshape(1, -1, 4, 4)
    return F.conv2d(x, weight.flatten(0, 1), padding=1, groups=n).view(n, -1, 4, 4)


def modulated_otherwise(net: Any, z: Tensor) -> Tensor:
    """The same: what comes in is scaled, not the weights."""
    style = net.style(z)
    size = (net.weight.square().sum((2, 3)) @ style.square().T + 1e-8).rsqrt().T
    x = net.constant * style[..., None, None]
    return F.conv2d(x, net.weight, padding=1) * size[..., None, None]


def styled(function: Any) -> nn.Module:
    """The network."""
    return Net(
        function,
        weight=nn.Parameter(torch.randn(5, 6, 3, 3)),
        style=nn.Linear(8, 6),
        constant=nn.Parameter(torch.randn(1, 6, 4, 4)),
    )


ROWS.add(
    "modulated convolution",
    lambda: styled(modulated),
    lambda: styled(modulated_otherwise),
    lambda: styled(lambda n, z: modulated(n, z, 1e-2)),
    (8,),
    8 * 6 + 9 * 6 * 5 * 16,
)
