"""Networks that go along a sequence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.zoo.rows import Net, Rows, by_name

ROWS = Rows("recurrent")
STEPS = (3, 6)  # three steps of six numbers


def weights(gates: int, names: str = "") -> dict[str, nn.Parameter]:
    """The parameters of one layer of 6 -> 5, in the order and the shapes that torch has them."""
    shapes = ((gates * 5, 6), (gates * 5, 5), (gates * 5,), (gates * 5,))
    return {
        f"{name}{names}": nn.Parameter(torch.randn(shape) / 3)
        for name, shape in zip(("w", "u", "b", "c"), shapes, strict=True)
    }


def lstm(x: Tensor, w: Tensor, u: Tensor, b: Tensor, c: Tensor, of_cell: Any = torch.tanh) -> Tensor:
    """An LSTM step by step."""
    h = s = x.new_zeros(x.shape[0], 5)
    steps = []
    for at in range(x.shape[1]):
        i, f, g, o = (F.linear(x[:, at], w, b) + F.linear(h, u, c)).chunk(4, 1)
        s = f.sigmoid() * s + i.sigmoid() * of_cell(g)
        h = o.sigmoid() * s.tanh()
        steps.append(h)
    return torch.stack(steps, 1)


def gru(x: Tensor, w: Tensor, u: Tensor, b: Tensor, c: Tensor, reset_first: bool = False) -> Tensor:
    """A GRU step by step."""
    h = x.new_zeros(x.shape[0], 5)
    steps = []
    for at in range(x.shape[1]):
        r, z, n = F.linear(x[:, at], w, b).chunk(3, 1)
        hr, hz, hn = F.linear(h, u, c).chunk(3, 1)
        r, z = (r + hr).sigmoid(), (z + hz).sigmoid()
        n = (n + (F.linear(r * h, u[10:], c[10:]) if reset_first else r * hn)).tanh()
        h = (1 - z) * n + z * h
        steps.append(h)
    return torch.stack(steps, 1)


ROWS.add(
    "LSTM",
    lambda: Net(lambda n, x: n.net(x)[0], net=nn.LSTM(6, 5, batch_first=True)),
    lambda: Net(lambda n, x: lstm(x, n.w, n.u, n.b, n.c), **weights(4)),
    lambda: Net(lambda n, x: lstm(x, n.w, n.u, n.b, n.c, torch.sigmoid), **weights(4)),
    STEPS,
    3 * 4 * 5 * (6 + 5),
)
ROWS.add(
    "GRU",
    lambda: Net(lambda n, x: n.net(x)[0], net=nn.GRU(6, 5, batch_first=True)),
    lambda: Net(lambda n, x: gru(x, n.w, n.u, n.b, n.c), **weights(3)),
    lambda: Net(lambda n, x: gru(x, n.w, n.u, n.b, n.c, reset_first=True), **weights(3)),
    STEPS,
    3 * 3 * 5 * (6 + 5),
)
ROWS.add(
    "RNN with relu",
    lambda: Net(lambda n, x: n.net(x)[0], net=nn.RNN(6, 5, nonlinearity="relu", batch_first=True)),
    lambda: Net(lambda n, x: n.layer(x.transpose(0, 1))[0].transpose(0, 1), layer=nn.RNN(6, 5, nonlinearity="relu")),
    lambda: Net(lambda n, x: n.net(x)[0], net=nn.RNN(6, 5, nonlinearity="tanh", batch_first=True)),
    STEPS,
    3 * 5 * (6 + 5),
)


def both_ways(net: Any, x: Tensor, flip: bool = True) -> Tensor:
    """Two layers, one of them from the end."""
    there, back = net.there(x)[0], net.back(x.flip(1))[0]
    return torch.cat((there, back.flip(1) if flip else back), 2)


ROWS.add(
    "bidirectional LSTM",
    lambda: Net(lambda n, x: n.net(x)[0], net=nn.LSTM(6, 5, batch_first=True, bidirectional=True)),
    lambda: Net(both_ways, there=nn.LSTM(6, 5, batch_first=True), back=nn.LSTM(6, 5, batch_first=True)),
    lambda: Net(
        lambda n, x: both_ways(n, x, flip=False),
        there=nn.LSTM(6, 5, batch_first=True),
        back=nn.LSTM(6, 5, batch_first=True),
    ),
    STEPS,
    2 * 3 * 4 * 5 * (6 + 5),
)
ROWS.add(
    "GRU of two layers",
    lambda: Net(lambda n, x: n.net(x)[0][:, -1], net=nn.GRU(6, 5, 2, batch_first=True)),
    lambda: Net(lambda n, x: n.b(n.a(x)[0])[1][-1], a=nn.GRU(6, 5, batch_first=True), b=nn.GRU(5, 5, batch_first=True)),
    lambda: Net(lambda n, x: n.net(x)[1][0], net=nn.GRU(6, 5, 2, batch_first=True)),
    STEPS,
    3 * 3 * 5 * (6 + 5) + 3 * 3 * 5 * (5 + 5),
)


def by_cells(net: Any, x: Tensor, carry: bool = True) -> Tensor:
    """A cell from step to step."""
    h = s = x.new_zeros(x.shape[0], 5)
    for at in range(x.shape[1]):
        h, new = net.cell(x[:, at], (h, s))
        s = new if carry else s
    return h


ROWS.add(
    "LSTMCell in a loop",
    lambda: Net(by_cells, cell=nn.LSTMCell(6, 5)),
    lambda: Net(lambda n, x: n.net(x)[1][0][0], net=nn.LSTM(6, 5, batch_first=True)),
    lambda: Net(lambda n, x: by_cells(n, x, carry=False), cell=nn.LSTMCell(6, 5)),
    STEPS,
    3 * 4 * 5 * (6 + 5),
)


def with_gru_cell(net: Any, x: Tensor, turned: bool = False) -> Tensor:
    """A cell from step to step, from the end if turned."""
    h = None
    for step in reversed(x.unbind(1)) if turned else x.unbind(1):
        h = net.cell(step, h)
    return net.last(h)


ROWS.add(
    "GRUCell in a loop",
    lambda: Net(with_gru_cell, cell=nn.GRUCell(6, 5), last=nn.Linear(5, 2)),
    lambda: Net(lambda n, x: n.head(n.net(x)[0][:, -1]), net=nn.GRU(6, 5, batch_first=True), head=nn.Linear(5, 2)),
    lambda: Net(lambda n, x: with_gru_cell(n, x, turned=True), cell=nn.GRUCell(6, 5), last=nn.Linear(5, 2)),
    STEPS,
    3 * 3 * 5 * (6 + 5) + 5 * 2,
)


def minimal(net: Any, x: Tensor, start: float = 0.0) -> Tensor:
    """h = (1 - z) h + z v: a recurrence without a product of matrices in it."""
    z, v = net.gate(x).sigmoid(), net.value(x)
    h, steps = torch.full_like(v[:, 0], start), []
    for at in range(x.shape[1]):
        h = (1 - z[:, at]) * h + z[:, at] * v[:, at]
        steps.append(h)
    return torch.stack(steps, 1)


def minimal_by_lerp(net: Any, x: Tensor) -> Tensor:
    """The same in torch's word for it."""
    h, steps = x.new_zeros(x.shape[0], 5), []
    for z, v in zip(net.z(x).sigmoid().unbind(1), net.v(x).unbind(1), strict=True):
        h = torch.lerp(h, v, z)
        steps.append(h[:, None])
    return torch.cat(steps, 1)


ROWS.add(
    "linear recurrence by hand",
    lambda: Net(minimal, gate=nn.Linear(6, 5), value=nn.Linear(6, 5)),
    lambda: Net(minimal_by_lerp, z=nn.Linear(6, 5), v=nn.Linear(6, 5)),
    lambda: Net(lambda n, x: minimal(n, x, start=0.01), gate=nn.Linear(6, 5), value=nn.Linear(6, 5)),
    STEPS,
    3 * 2 * 5 * 6,
)


def translates(net: Any, x: Tensor, forced: int = 0) -> Tensor:
    """An encoder's last state begins a decoder that reads what it has said."""
    _, h = net.encoder(x)
    h, said, steps = h[0], x[:, forced], []
    for _ in range(2):
        h = net.decoder(said, h)
        said = net.says(h)
        steps.append(said)
    return torch.stack(steps, 1)


TRANSLATES = {
    "encoder": lambda: nn.GRU(6, 5, batch_first=True),
    "decoder": lambda: nn.GRUCell(6, 5),
    "says": lambda: nn.Linear(5, 6),
}


def parts(**made: Any) -> dict[str, nn.Module]:
    """New ones."""
    return {name: make() for name, make in made.items()}


def translates_by_hand(net: Any, x: Tensor) -> Tensor:
    """The same with a state that is carried as a sequence of one."""
    h, said, steps = net.one(x)[0][:, -1], x[:, :1].squeeze(1), []
    for _ in range(2):
        h = net.two(said[None], h[None])[0][0]
        said = F.linear(h, net.three.weight, net.three.bias)
        steps.append(said[:, None])
    return torch.cat(steps, 1)


ROWS.add(
    "encoder and decoder",
    lambda: Net(translates, **parts(**TRANSLATES)),
    lambda: Net(translates_by_hand, one=nn.GRU(6, 5, batch_first=True), two=nn.GRU(6, 5), three=nn.Linear(5, 6)),
    lambda: Net(lambda n, x: translates(n, x, forced=-1), **parts(**TRANSLATES)),
    STEPS,
    3 * 3 * 5 * (6 + 5) + 2 * (3 * 5 * (6 + 5) + 5 * 6),
    give=by_name(
        *(
            (f"{one}.{what}", f"{other}.{what}_l0" if other == "two" else f"{other}.{what}")
            for one, other in (("encoder", "one"), ("decoder", "two"), ("says", "three"))
            for what in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight", "bias")
        )
    ),
)
