"""Networks of sounds and series, of points and graphs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.rows import Net, Rows, by_name
from tests.zoo.rows import parameters_by_position as parameters

ROWS = Rows("signals")
SOUND, POINTS = (2, 32), (6, 4)  # two channels of 32 samples; six points of four numbers


def strided(last: int = 4) -> nn.Module:
    """Convolutions along time."""
    return nn.Sequential(nn.Conv1d(2, 4, 5, 2, 2), nn.GELU(), nn.BatchNorm1d(4), nn.Conv1d(4, 4, 3, 1, 1, groups=last))


def strided_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same as images of one row."""
    y = F.conv2d(x[:, :, None], net.a[:, :, None], net.b, (1, 2), (0, 2))
    y = net.c(0.5 * y.squeeze(2) * (1 + torch.erf(y.squeeze(2) / math.sqrt(2))))
    return F.conv1d(F.pad(y, (1, 1)), net.d, net.e, groups=4)


ROWS.add(
    "sound",
    strided,
    lambda: Net(
        strided_otherwise,
        a=nn.Parameter(torch.randn(4, 2, 5)),
        b=nn.Parameter(torch.randn(4)),
        c=nn.BatchNorm1d(4),
        d=nn.Parameter(torch.randn(4, 1, 3)),
        e=nn.Parameter(torch.randn(4)),
    ),
    lambda: nn.Sequential(*strided(), nn.Tanh()),
    SOUND,
    10 * 4 * 16 + 3 * 4 * 16,
    give=by_name(("0.weight", "a"), ("0.bias", "b"), ("2.", "c."), ("3.weight", "d"), ("3.bias", "e")),
)


def causal(net: Any, x: Tensor, turned: bool = False) -> Tensor:
    """Gated dilated convolutions that see the past alone, with skips."""
    total = torch.zeros((), device=x.device, dtype=x.dtype)
    for at, (both, out) in enumerate(zip(net.both, net.outs, strict=True)):
        rate = 2**at
        a, b = F.conv1d(F.pad(x, (0, rate) if turned else (rate, 0)), both.weight, both.bias, dilation=rate).chunk(2, 1)
        y = out(a.tanh() * b.sigmoid())
        x, total = x + y, total + y
    return total


def causal_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same: a shifted copy for each tap."""
    found = []
    for at in range(3):
        rate = 2**at
        w, b = net.weights[at], net.biases[at]
        past = torch.cat((x.new_zeros(*x.shape[:2], rate), x[..., :-rate]), 2)
        y = w[..., 0] @ past + w[..., 1] @ x + b[:, None]
        y = net.outs[at](torch.tanh(y[:, :2]) * torch.sigmoid(y[:, 2:]))
        found.append(y)
        x = x + y
    return torch.stack(found).sum(0)


def causal_net(function: Any) -> nn.Module:
    """The network."""
    return Net(
        function,
        both=nn.ModuleList(nn.Conv1d(2, 4, 2) for _ in range(3)),
        outs=nn.ModuleList(nn.Conv1d(2, 2, 1) for _ in range(3)),
    )


ROWS.add(
    "dilated convolutions in time",
    lambda: causal_net(causal),
    lambda: Net(
        causal_otherwise,
        weights=nn.ParameterList(torch.randn(4, 2, 2) for _ in range(3)),
        biases=nn.ParameterList(torch.randn(4) for _ in range(3)),
        outs=nn.ModuleList(nn.Conv1d(2, 2, 1) for _ in range(3)),
    ),
    lambda: causal_net(lambda n, x: causal(n, x, turned=True)),
    SOUND,
    3 * (4 * 4 * 32 + 2 * 2 * 32),
    give=by_name(
        *((f"both.{at}.weight", f"weights.{at}") for at in range(3)),
        *((f"both.{at}.bias", f"biases.{at}") for at in range(3)),
    ),
)


def spectrum(net: Any, x: Tensor, power: float = 2.0) -> Tensor:
    """A convolution over the logarithm of a spectrogram."""
    y = torch.stft(x.flatten(0, 1), 8, 4, window=net.window, return_complex=True).abs() ** power
    return net.conv((y + 1e-6).log().unflatten(0, (-1, 2)))


def spectrum_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same by windows that are cut, and transformed one by one."""
    y = F.pad(x, (4, 4), mode="reflect").unfold(2, 8, 4) * torch.hann_window(8, device=x.device, dtype=x.dtype)
    y = torch.view_as_real(torch.fft.rfft(y)).square().sum(-1)
    return net.last(torch.log(1e-6 + y.mT))


ROWS.add(
    "spectrogram",
    lambda: Net(spectrum, window=torch.hann_window(8), conv=nn.Conv2d(2, 4, 3)),
    lambda: Net(spectrum_otherwise, last=nn.Conv2d(2, 4, 3)),
    lambda: Net(lambda n, x: spectrum(n, x, 1.0), window=torch.hann_window(8), conv=nn.Conv2d(2, 4, 3)),
    SOUND,
    18 * 4 * 3 * 7,
    give=parameters,
    exact=False,
)


def bank(number: int = 4, size: int = 17) -> Tensor:
    """Triangles over the frequencies."""
    at, centres = torch.arange(size), torch.linspace(2, size - 3, number)
    return (1 - (at[None] - centres[:, None]).abs() / 4).clamp(min=0)


ROWS.add(
    "bank of filters",
    lambda: Net(
        lambda n, x: n.fc((torch.fft.rfft(x).abs().square() @ n.bank.T + 1e-3).log()), bank=bank(), fc=nn.Linear(4, 3)
    ),
    lambda: Net(
        lambda n, x: n.head(torch.log(F.linear(torch.fft.rfft(x).abs() ** 2, bank().to(x)) + 0.001)),
        head=nn.Linear(4, 3),
    ),
    lambda: Net(
        lambda n, x: n.fc((torch.fft.rfft(x).abs().square() @ n.bank.T + 1e-3).log()),
        bank=bank().flip(0),
        fc=nn.Linear(4, 3),
    ),
    SOUND,
    2 * 17 * 4 + 2 * 4 * 3,
    give=parameters,
    like=parameters,
)


def operator(net: Any, x: Tensor, modes: int = 5) -> Tensor:
    """Complex weights on a few frequencies, as a Fourier operator has them."""
    y = torch.fft.rfft(x)
    low = torch.einsum("bif,iof->bof", y[..., :modes], net.weight[..., :modes])
    return torch.fft.irfft(low, x.shape[-1]) + net.past(x)


def operator_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same, mode by mode, the rest of the frequencies written out as zeros."""
    y = torch.fft.rfft(x).permute(2, 0, 1)
    out = torch.zeros(17, x.shape[0], 2, dtype=y.dtype, device=x.device)
    out[:5] = y[:5] @ net.w.permute(2, 0, 1)
    return F.conv1d(x, net.rest.weight, net.rest.bias) + torch.fft.irfft(out.permute(1, 2, 0), n=32)


def complex_weight() -> nn.Parameter:
    """Two channels to two, at five frequencies."""
    return nn.Parameter(torch.randn(2, 2, 5, dtype=torch.complex64))


ROWS.add(
    "Fourier operator",
    lambda: Net(operator, weight=complex_weight(), past=nn.Conv1d(2, 2, 1)),
    lambda: Net(operator_otherwise, w=complex_weight(), rest=nn.Conv1d(2, 2, 1)),
    lambda: Net(lambda n, x: operator(n, x, 4), weight=complex_weight(), past=nn.Conv1d(2, 2, 1)),
    SOUND,
    2 * 2 * 5 + 2 * 2 * 32,
    exact=False,
)

SOURCE, TARGET = torch.tensor([0, 1, 2, 3, 4, 5, 0, 2]), torch.tensor([1, 2, 3, 4, 5, 0, 3, 5])
ADJACENCY = torch.zeros(6, 6).index_put((TARGET, SOURCE), torch.ones(8))


def passes(net: Any, x: Tensor, back: bool = False) -> Tensor:
    """Messages along edges, added where they meet."""
    source, target = (net.target, net.source) if back else (net.source, net.target)
    sent = net.message(x)[:, source]
    return (net.own(x) + torch.zeros_like(x).index_add(1, target, sent)).relu()


def passes_by_product(net: Any, x: Tensor) -> Tensor:
    """The same by a dense matrix."""
    return F.relu(net.self_(x) + net.edges @ net.sent(x))


ROWS.add(
    "messages along edges",
    lambda: Net(passes, message=nn.Linear(4, 4), own=nn.Linear(4, 4), source=SOURCE, target=TARGET),
    lambda: Net(passes_by_product, sent=nn.Linear(4, 4), self_=nn.Linear(4, 4), edges=ADJACENCY),
    lambda: Net(
        lambda n, x: passes(n, x, back=True), message=nn.Linear(4, 4), own=nn.Linear(4, 4), source=SOURCE, target=TARGET
    ),
    POINTS,
    2 * 6 * 16,
    give=parameters,
    like=parameters,
)


def attends(net: Any, x: Tensor, slope: float = 0.2) -> Tensor:
    """A softmax over the edges that meet, by scatters."""
    y = net.fc(x)
    score = F.leaky_relu(net.a(y)[:, net.source] + net.b(y)[:, net.target], slope).exp()
    total = torch.zeros(len(x), 6, 1, device=x.device, dtype=x.dtype)
    total = total.scatter_add(1, net.target[None, :, None].expand(len(x), -1, 1), score)
    sent = y[:, net.source] * (score / total[:, net.target])
    return torch.zeros_like(y).index_add_(1, net.target, sent)


def attends_by_mask(net: Any, x: Tensor) -> Tensor:
    """The same by a dense softmax."""
    y = net.one(x)
    score = F.leaky_relu(net.two(y).mT + net.three(y), 0.2).masked_fill(~net.edges, -math.inf)
    return score.softmax(-1) @ y


ROWS.add(
    "attention along edges",
    lambda: Net(attends, fc=nn.Linear(4, 4), a=nn.Linear(4, 1), b=nn.Linear(4, 1), source=SOURCE, target=TARGET),
    lambda: Net(attends_by_mask, one=nn.Linear(4, 4), two=nn.Linear(4, 1), three=nn.Linear(4, 1), edges=ADJACENCY > 0),
    lambda: Net(
        lambda n, x: attends(n, x, 0.1),
        fc=nn.Linear(4, 4),
        a=nn.Linear(4, 1),
        b=nn.Linear(4, 1),
        source=SOURCE,
        target=TARGET,
    ),
    POINTS,
    6 * 16 + 2 * 6 * 4,
    give=parameters,
    like=parameters,
)
ROWS.add(
    "set of points",
    lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), Net(lambda n, x: x.amax(1)), nn.Linear(8, 3)),
    lambda: Net(
        lambda n, x: n.c(F.adaptive_max_pool1d(n.b(n.a(x.mT).relu()), 1).squeeze(2)),
        a=nn.Conv1d(4, 8, 1),
        b=nn.Conv1d(8, 8, 1),
        c=nn.Linear(8, 3),
    ),
    lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), Net(lambda n, x: x.mean(1)), nn.Linear(8, 3)),
    POINTS,
    6 * 4 * 8 + 6 * 8 * 8 + 8 * 3,
)


def neighbours(net: Any, x: Tensor, number: int = 2) -> Tensor:
    """What the nearest points differ by, the largest of it."""
    far = (x[:, :, None] - x[:, None]).square().sum(-1)
    near = far.topk(number + 1, largest=False).indices[..., 1:]
    other = torch.gather(x[:, None].expand(-1, 6, -1, -1), 2, near[..., None].expand(-1, -1, -1, 4))
    return net.fc(torch.cat((x[:, :, None].expand_as(other), other - x[:, :, None]), -1)).amax(2)


def neighbours_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same by sorting and indexing."""
    own = (x * x).sum(-1)
    far = own[:, :, None] - 2 * x @ x.mT + own[:, None]
    near = far.argsort(-1)[..., 1:3]
    other = x[torch.arange(len(x), device=x.device)[:, None, None], near]
    own, moved = net.edge.weight.chunk(2, 1)
    return (x[:, :, None] @ own.T + (other - x[:, :, None]) @ moved.T + net.edge.bias).max(2).values


ROWS.add(
    "nearest neighbours",
    lambda: Net(neighbours, fc=nn.Linear(8, 5)),
    lambda: Net(neighbours_otherwise, edge=nn.Linear(8, 5)),
    lambda: Net(lambda n, x: neighbours(n, x, 3), fc=nn.Linear(8, 5)),
    POINTS,
    6 * 2 * 8 * 5,
)


def mixes(net: Any, x: Tensor, keep: float = 1.0) -> Tensor:
    """Series: patches, a mixer over time, its trend apart."""
    trend = F.avg_pool1d(F.pad(x, (2, 2), mode="replicate"), 5, 1)
    return net.a(x - trend) + keep * net.b(trend)


def mixes_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same, the mean of windows by a running sum."""
    y = F.pad(torch.cat((x[..., :1], x[..., :1], x, x[..., -1:], x[..., -1:]), -1).cumsum(-1), (1, 0))
    trend = (y[..., 5:] - y[..., :-5]) / 5
    return net.season(x - trend) + net.trend(trend)


ROWS.add(
    "trend and season",
    lambda: Net(mixes, a=nn.Linear(32, 8), b=nn.Linear(32, 8)),
    lambda: Net(mixes_otherwise, season=nn.Linear(32, 8), trend=nn.Linear(32, 8)),
    lambda: Net(lambda n, x: mixes(n, x, 0.99), a=nn.Linear(32, 8), b=nn.Linear(32, 8)),
    SOUND,
    2 * 2 * 32 * 8,
)


def scans(net: Any, x: Tensor, skip: float = 1.0) -> Tensor:
    """A diagonal state space, step by step."""
    rate = (-F.softplus(net.rate)).exp()
    state, steps = torch.zeros(len(x), 4, device=x.device, dtype=x.dtype), []
    for step in net.inner(x).unbind(1):
        state = rate * state + step
        steps.append(state)
    return net.outer(torch.stack(steps, 1)) + skip * x


def scans_at_once(net: Any, x: Tensor) -> Tensor:
    """The same as a product with powers of the rate."""
    at = torch.arange(6, device=x.device)
    far = (at[:, None] - at[None]).to(x)
    power = torch.exp(-F.softplus(net.a)[:, None, None] * far).tril()
    return x + net.c(torch.einsum("dts,bsd->btd", power, net.b(x)))


ROWS.add(
    "state space",
    lambda: Net(scans, rate=nn.Parameter(torch.randn(4)), inner=nn.Linear(4, 4), outer=nn.Linear(4, 4)),
    lambda: Net(scans_at_once, a=nn.Parameter(torch.randn(4)), b=nn.Linear(4, 4), c=nn.Linear(4, 4)),
    lambda: Net(
        lambda n, x: scans(n, x, 0.9), rate=nn.Parameter(torch.randn(4)), inner=nn.Linear(4, 4), outer=nn.Linear(4, 4)
    ),
    POINTS,
    2 * 6 * 16,
)


def encoded(net: Any, x: Tensor, base: float = 2.0) -> Tensor:
    """A field: places as sines of growing rates, then layers."""
    rates = math.pi * base ** torch.arange(3, device=x.device)
    y = (x[..., None] * rates.to(x)).flatten(1)
    return net.b(net.a(torch.cat((y.sin(), y.cos()), 1)).relu()).sigmoid()


def encoded_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same, cosines as sines of what is a quarter further on."""
    y = x.unsqueeze(2).mul(net.rates).reshape(-1, 6)
    return torch.sigmoid(net.two(F.relu(net.one(torch.sin(torch.cat((y, y + math.pi / 2), 1))))))


ROWS.add(
    "field of places",
    lambda: Net(encoded, a=nn.Linear(12, 8), b=nn.Linear(8, 3)),
    lambda: Net(
        encoded_otherwise, one=nn.Linear(12, 8), two=nn.Linear(8, 3), rates=math.pi * torch.tensor([1.0, 2.0, 4.0])
    ),
    lambda: Net(lambda n, x: encoded(n, x, 2.1), a=nn.Linear(12, 8), b=nn.Linear(8, 3)),
    (2,),
    12 * 8 + 8 * 3,
    give=parameters,
)
