"""Attention in its spellings, and transformers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.rows import Net, Rows
from tests.zoo.rows import parameters_by_position as parameters

ROWS = Rows("attention")
TOKENS = (6, 16)  # six tokens of sixteen numbers


def linears(names: str, width: int = 16, out: int = 16, bias: bool = True) -> dict[str, nn.Module]:
    """Layers of these names."""
    return {name: nn.Linear(width, out, bias) for name in names.split()}


def heads(x: Tensor, number: int = 2) -> Tensor:
    """(batch, tokens, width) as (batch, heads, tokens, width of a head)."""
    return x.unflatten(2, (number, -1)).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    """The reverse."""
    return x.transpose(1, 2).flatten(2)


def by_torch(net: Any, x: Tensor, **more: Any) -> Tensor:
    """In torch's word for it."""
    y = F.scaled_dot_product_attention(heads(net.q(x)), heads(net.k(x)), heads(net.v(x)), **more)
    return net.o(joined(y))


def by_hand(net: Any, x: Tensor, scale: float = 8**-0.5, mask: Any = None) -> Tensor:
    """As the paper writes it."""
    q, k, v = heads(net.q(x)), heads(net.k(x)), heads(net.v(x))
    weights = torch.einsum("bhid,bhjd->bhij", q, k) * scale
    weights = weights if mask is None else weights + mask
    return net.o(joined(torch.einsum("bhij,bhjd->bhid", weights.softmax(-1), v)))


NAMES, OTHERS = "q k v o", "query key value out"
FOUR = 4 * 6 * 16 * 16  # multiply-adds of the four layers
PRODUCTS = 2 * 6 * 6 * 16  # and of the two products, in all heads


def other_names(function: Any) -> Any:
    """A function of a network whose layers are called otherwise."""

    class Named:
        def __init__(self, net: Any):
            self.net = net

        def __getattr__(self, name: str) -> Any:
            return getattr(self.net, {"q": "query", "k": "key", "v": "value", "o": "out"}.get(name, name))

    return lambda net, x: function(Named(net), x)


ROWS.add(
    "attention by torch",
    lambda: Net(by_torch, **linears(NAMES)),
    lambda: Net(other_names(by_hand), **linears(OTHERS)),
    lambda: Net(lambda n, x: by_hand(n, x, 0.35), **linears(NAMES)),
    TOKENS,
    FOUR + PRODUCTS,
)
ROWS.add(
    "attention by hand",
    lambda: Net(by_hand, **linears(NAMES)),
    lambda: Net(
        other_names(lambda n, x: n.o(joined((heads(n.q(x) / 8**0.5) @ heads(n.k(x)).mT).softmax(3) @ heads(n.v(x))))),
        **linears(OTHERS),
    ),
    lambda: Net(
        lambda n, x: n.o(joined((heads(n.q(x)) @ heads(n.k(x)).mT / 8**0.5).softmax(2) @ heads(n.v(x)))),
        **linears(NAMES),
    ),
    TOKENS,
    FOUR + PRODUCTS,
)


def in_one(net: Any, x: Tensor) -> Tensor:
    """Queries, keys and values by one product."""
    q, k, v = map(heads, F.linear(x, net.qkv, net.bias).chunk(3, 2))
    return net.out(joined((q @ k.mT / math.sqrt(8)).softmax(-1) @ v))


def multihead(number: int = 2) -> nn.Module:
    """torch's layer."""
    return Net(
        lambda n, x: n.net(x, x, x, need_weights=False)[0], net=nn.MultiheadAttention(16, number, batch_first=True)
    )


ROWS.add(
    "nn.MultiheadAttention",
    multihead,
    lambda: Net(
        in_one, qkv=nn.Parameter(torch.randn(48, 16) / 4), bias=nn.Parameter(torch.randn(48)), out=nn.Linear(16, 16)
    ),
    lambda: multihead(4),
    TOKENS,
    FOUR + PRODUCTS,
)


def grouped(net: Any, x: Tensor, how: str = "repeat") -> Tensor:
    """Four heads of queries for two of keys."""
    q, k, v = heads(net.q(x), 4), heads(net.k(x), 2), heads(net.v(x), 2)
    if how == "torch":
        return net.o(joined(F.scaled_dot_product_attention(q, k, v, enable_gqa=True)))
    if how == "expand":
        k, v = (t[:, :, None].expand(-1, -1, 2, -1, -1).flatten(1, 2) for t in (k, v))
    elif how == "tile":
        k, v = (t.repeat(1, 2, 1, 1) for t in (k, v))
    else:
        k, v = (t.repeat_interleave(2, 1) for t in (k, v))
    return net.o(joined((q @ k.mT / 2).softmax(-1) @ v))


def grouped_net(how: str, names: str = NAMES) -> nn.Module:
    """The network."""
    q, k, v, o = names.split()
    layers = {q: nn.Linear(16, 16), k: nn.Linear(16, 8), v: nn.Linear(16, 8), o: nn.Linear(16, 16)}
    function: Any = lambda n, x: grouped(n, x, how)  # noqa: E731
    return Net(function if names == NAMES else other_names(function), **layers)


ROWS.add(
    "grouped queries",
    lambda: grouped_net("repeat"),
    lambda: grouped_net("expand", OTHERS),
    lambda: grouped_net("tile"),
    TOKENS,
    2 * 6 * 16 * 16 + 2 * 6 * 16 * 8 + PRODUCTS,
)
ROWS.add(
    "grouped queries by torch",
    lambda: grouped_net("torch"),
    lambda: grouped_net("repeat", OTHERS),
    lambda: grouped_net("tile", OTHERS),
    TOKENS,
    2 * 6 * 16 * 16 + 2 * 6 * 16 * 8 + PRODUCTS,
)


def causal(net: Any, x: Tensor) -> Tensor:
    """A mask in a buffer."""
    q, k, v = heads(net.q(x)), heads(net.k(x)), heads(net.v(x))
    weights = (q @ k.mT / 8**0.5).masked_fill(net.mask[: x.shape[1], : x.shape[1]] == 0, -math.inf)
    return net.o(joined(weights.softmax(-1) @ v))


def causal_made(net: Any, x: Tensor) -> Tensor:
    """A mask that is made as it is needed."""
    n = x.shape[1]
    later = torch.arange(n, device=x.device)[None] > torch.arange(n, device=x.device)[:, None]
    weights = (heads(net.query(x)) @ heads(net.key(x)).mT / 8**0.5).masked_fill(later, -math.inf)
    return net.out(joined(weights.softmax(-1) @ heads(net.value(x))))


def past(size: int = 8, diagonal: int = 0) -> Tensor:
    """Ones where it may look."""
    return torch.ones(size, size).tril(diagonal)


ROWS.add(
    "a causal mask in a buffer",
    lambda: Net(causal, mask=past(), **linears(NAMES)),
    lambda: Net(causal_made, **linears(OTHERS)),
    lambda: Net(causal, mask=past(diagonal=1), **linears(NAMES)),
    TOKENS,
    FOUR + PRODUCTS,
    give=parameters,
    like=parameters,
)
ROWS.add(
    "causal by torch",
    lambda: Net(lambda n, x: by_torch(n, x, is_causal=True), **linears(NAMES)),
    lambda: Net(causal, mask=past(), **linears(NAMES)),
    lambda: Net(lambda n, x: by_torch(n, x), **linears(NAMES)),
    TOKENS,
    FOUR + PRODUCTS,
    give=parameters,
)


def relative(net: Any, x: Tensor) -> Tensor:
    """A bias for each distance, looked up in a table."""
    bias = net.table[net.index].permute(2, 0, 1)
    return by_hand(net, x, mask=bias)


def relative_flat(net: Any, x: Tensor) -> Tensor:
    """The same, looked up flat."""
    bias = net.biases.index_select(0, net.places.flatten()).reshape(6, 6, 2)
    return by_hand(net, x, mask=bias.movedim(-1, 0))


def distances(turned: bool = False) -> Tensor:
    """How far each of six is from each, from 0 on."""
    at = torch.arange(6)
    found = at[:, None] - at[None] + 5
    return found.T.contiguous() if turned else found


ROWS.add(
    "relative position bias",
    lambda: Net(relative, table=nn.Parameter(torch.randn(11, 2)), index=distances(), **linears(NAMES)),
    lambda: Net(relative_flat, biases=nn.Parameter(torch.randn(11, 2)), places=distances(), **linears(NAMES)),
    lambda: Net(relative, table=nn.Parameter(torch.randn(11, 2)), index=distances(turned=True), **linears(NAMES)),
    TOKENS,
    FOUR + PRODUCTS,
    like=parameters,
)


def angles(n: int, base: float = 10000.0, device: Any = None) -> Tensor:
    """Of each place, at four rates."""
    rates = base ** -(torch.arange(4, device=device) / 4)
    return torch.arange(n, device=device)[:, None] * rates


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Each half turned by the other."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def rotary(net: Any, x: Tensor) -> Tensor:
    """Queries and keys turned by tables in buffers."""
    q, k = (turned(heads(layer(x)), net.cos, net.sin) for layer in (net.q, net.k))
    return net.o(joined((q @ k.mT / 8**0.5).softmax(-1) @ heads(net.v(x))))


def rotary_made(net: Any, x: Tensor, base: float = 10000.0) -> Tensor:
    """The same with doubled tables that are made anew."""
    table = angles(x.shape[1], base, x.device).repeat(1, 2)

    def turn(y: Tensor) -> Tensor:
        a, b = y[..., :4], y[..., 4:]
        return y * table.cos().to(y) + torch.cat((-b, a), -1) * table.sin().to(y)

    q, k = turn(heads(net.query(x))), turn(heads(net.key(x)))
    return net.out(joined((q @ k.mT * 8**-0.5).softmax(-1) @ heads(net.value(x))))


ROWS.add(
    "rotary positions",
    lambda: Net(rotary, cos=angles(6).cos(), sin=angles(6).sin(), **linears(NAMES)),
    lambda: Net(rotary_made, **linears(OTHERS)),
    lambda: Net(rotary, cos=angles(6, 5000.0).cos(), sin=angles(6, 5000.0).sin(), **linears(NAMES)),
    TOKENS,
    FOUR + PRODUCTS,
    give=parameters,
    like=parameters,
)


def linear_bias(net: Any, x: Tensor, turned: bool = False) -> Tensor:
    """ALiBi: what is further off counts less, by a slope for each head."""
    at = torch.arange(x.shape[1], device=x.device)
    slopes = torch.tensor([0.25, 0.0625], device=x.device)
    far = (at[None] - at[:, None]).abs() if not turned else at[None] - at[:, None]
    return by_hand(net, x, mask=-slopes[:, None, None] * far)


def linear_bias_as_mask(net: Any, x: Tensor) -> Tensor:
    """The same, given to torch's attention."""
    q, k, v = heads(net.query(x)), heads(net.key(x)), heads(net.value(x))
    return net.out(joined(F.scaled_dot_product_attention(q, k, v, attn_mask=-net.bias)))


ROWS.add(
    "linear biases",
    lambda: Net(linear_bias, **linears(NAMES)),
    lambda: Net(
        linear_bias_as_mask,
        bias=torch.tensor([2.0**-2, 2.0**-4])[:, None, None] * (distances() - 5).abs(),
        **linears(OTHERS),
    ),
    lambda: Net(lambda n, x: linear_bias(n, x, turned=True), **linears(NAMES)),
    TOKENS,
    FOUR + PRODUCTS,
    give=parameters,
)


def asks(net: Any, x: Tensor, by_hand: bool = False) -> Tensor:
    """Three learned queries, as a Perceiver has them."""
    queries = net.queries.expand(x.shape[0], -1, -1)
    if by_hand:
        return torch.baddbmm(
            torch.zeros((), device=x.device, dtype=x.dtype),
            torch.bmm(net.q(queries), net.k(x).transpose(1, 2)).div(4).softmax(2),
            net.v(x),
        )
    return F.scaled_dot_product_attention(net.q(queries), net.k(x), net.v(x))


def asking(function: Any) -> nn.Module:
    """The network."""
    return Net(function, queries=nn.Parameter(torch.randn(3, 16)), **linears("q k v"))


ROWS.add(
    "learned queries",
    lambda: asking(asks),
    lambda: asking(lambda n, x: asks(n, x, by_hand=True)),
    lambda: asking(lambda n, x: F.scaled_dot_product_attention(n.k(n.queries.expand(len(x), -1, -1)), n.k(x), n.v(x))),
    TOKENS,
    3 * 16 * 16 + 2 * 6 * 16 * 16 + 2 * 3 * 6 * 16,
)


def kernel(net: Any, x: Tensor, more: float = 1.0) -> Tensor:
    """Linear attention: keys meet values first."""
    q, k = F.elu(net.q(x)) + more, F.elu(net.k(x)) + more
    return (q @ (k.mT @ net.v(x))) / (q @ k.sum(1, keepdim=True).mT + 1e-6)


def kernel_by_sums(net: Any, x: Tensor) -> Tensor:
    """The same with Einstein's sums."""
    q, k = 1 + F.elu(net.query(x)), 1 + F.elu(net.key(x))
    above = torch.einsum("bnd,bde->bne", q, torch.einsum("bnd,bne->bde", k, net.value(x)))
    return above / (torch.einsum("bnd,bd->bn", q, k.sum(1)) + 1e-6)[..., None]


ROWS.add(
    "linear attention",
    lambda: Net(kernel, **linears("q k v")),
    lambda: Net(kernel_by_sums, **linears("query key value")),
    lambda: Net(lambda n, x: kernel(n, x, 1.01), **linears("q k v")),
    TOKENS,
    3 * 6 * 16 * 16 + 2 * 6 * 16 * 16 + 6 * 16,
)


def encoder(**more: Any) -> nn.Module:
    """torch's layer of a transformer."""
    return nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, **more)


def encoder_by_hand(net: Any, x: Tensor) -> Tensor:
    """What it does, with dropout where it has it."""
    x = net.norm1(x + net.dropout1(net.attention(x, x, x, need_weights=False)[0]))
    return net.norm2(x + net.dropout2(net.down(net.dropout(net.up(x).clamp(min=0)))))


ROWS.add(
    "layer of a transformer",
    encoder,
    lambda: Net(
        encoder_by_hand,
        attention=nn.MultiheadAttention(16, 2, 0.1, batch_first=True),
        up=nn.Linear(16, 32),
        dropout=nn.Dropout(0.1),
        down=nn.Linear(32, 16),
        norm1=nn.LayerNorm(16),
        norm2=nn.LayerNorm(16),
        dropout1=nn.Dropout(0.1),
        dropout2=nn.Dropout(0.1),
    ),
    lambda: encoder(norm_first=True),
    TOKENS,
    FOUR + PRODUCTS + 2 * 6 * 16 * 32,
)
ROWS.add(
    "encoder and decoder of a transformer",
    lambda: Net(lambda n, x: n.net(x, x[:, :3]), net=nn.Transformer(16, 2, 1, 1, 32, batch_first=True)),
    lambda: Net(
        lambda n, x: n.all.decoder(x.narrow(1, 0, 3), n.all.encoder(x)),
        all=nn.Transformer(16, 2, 1, 1, 32, batch_first=True),
    ),
    lambda: Net(lambda n, x: n.net(x, x[:, 3:]), net=nn.Transformer(16, 2, 1, 1, 32, batch_first=True)),
    TOKENS,
    FOUR
    + PRODUCTS
    + 2 * 6 * 16 * 32  # the encoder
    + 4 * 3 * 16 * 16
    + 2 * 3 * 3 * 16  # what has been said, to itself
    + 2 * 3 * 16 * 16
    + 2 * 6 * 16 * 16
    + 2 * 3 * 6 * 16  # to what the encoder gives
    + 2 * 3 * 16 * 32,
)


def tokens(x: Tensor) -> Tensor:
    """Whole numbers from 0 to 9, by the size of what comes in."""
    return (3 * x.abs()).long().clamp(max=9)


def speaks(net: Any, x: Tensor) -> Tensor:
    """A language model, which writes with the table that it reads with."""
    y = net.words(tokens(x)) + net.places(torch.arange(x.shape[1], device=x.device))
    return (y + by_torch(net, net.norm(y), is_causal=True)) @ net.words.weight.T


def speaking(function: Any, **more: Any) -> nn.Module:
    """The network."""
    return Net(
        function,
        words=nn.Embedding(10, 16),
        places=nn.Embedding(5, 16),
        norm=nn.LayerNorm(16),
        **linears(NAMES),
        **more,
    )


def speaks_by_head(net: Any, x: Tensor) -> Tensor:
    """The same with a head whose weight is the table."""
    y = F.embedding(tokens(x), net.head.weight) + net.places.weight[: x.shape[1]]
    return net.head(y + by_torch(net, net.norm(y), is_causal=True))


def with_head() -> nn.Module:
    """The network, its head first."""
    return Net(
        speaks_by_head,
        head=nn.Linear(16, 10, bias=False),
        places=nn.Embedding(5, 16),
        norm=nn.LayerNorm(16),
        **linears(NAMES),
    )


ROWS.add(
    "language model with a tied head",
    lambda: speaking(speaks),
    with_head,
    lambda: speaking(lambda n, x: F.linear(speaks_body(n, x), n.words.weight.roll(1, 0))),
    (5,),
    4 * 5 * 16 * 16 + 2 * 5 * 5 * 16 + 5 * 10 * 16,
)


def speaks_body(net: Any, x: Tensor) -> Tensor:
    """All but the head."""
    y = net.words(tokens(x)) + net.places(torch.arange(x.shape[1], device=x.device))
    return y + by_torch(net, net.norm(y), is_causal=True)


def sees(net: Any, x: Tensor, first: bool = True) -> Tensor:
    """A vision transformer of one layer."""
    y = net.patches(x).flatten(2).transpose(1, 2)
    y = torch.cat((net.token.expand(y.shape[0], -1, -1), y), 1) + net.places
    y = net.layer(y)
    return net.head(y[:, 0] if first else y[:, 1:].mean(1))


def sees_by_unfolding(net: Any, x: Tensor) -> Tensor:
    """The same: patches are cut out, and multiplied."""
    n, _, side, _ = x.shape
    y = x.reshape(n, 3, side // 4, 4, side // 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(n, -1, 48)
    y = torch.cat((net.token.repeat(n, 1, 1), F.linear(y, net.patches.weight.flatten(1), net.patches.bias)), 1)
    return net.head(net.layer(y + net.places).select(1, 0))


def seeing(function: Any) -> nn.Module:
    """The network, for images of 8x8."""
    return Net(
        function,
        patches=nn.Conv2d(3, 16, 4, 4),
        token=nn.Parameter(torch.randn(1, 1, 16)),
        places=nn.Parameter(torch.randn(1, 5, 16)),
        layer=encoder(norm_first=True),
        head=nn.Linear(16, 3),
    )


ROWS.add(
    "vision transformer",
    lambda: seeing(sees),
    lambda: seeing(sees_by_unfolding),
    lambda: seeing(lambda n, x: sees(n, x, first=False)),
    (3, 8, 8),
    4 * 48 * 16 + 4 * 5 * 16 * 16 + 2 * 5 * 5 * 16 + 2 * 5 * 16 * 32 + 16 * 3,
    "everything",
)
