"""Modules by how they are made: scripted, wrapped, parametrised, hooked, compiled, lazy, quantised."""

from __future__ import annotations

import copy
import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.parametrize import register_parametrization
from torch.utils.checkpoint import checkpoint

from tests.zoo.rows import Make, Net, Rows, by_name, other_state
from tests.zoo.rows import parameters_by_position as parameters

ROWS = Rows("made")
IMAGE, NUMBERS = (3, 8, 8), (8,)
CONV = 27 * 4 * 64  # multiply-adds of the convolution of 3 to 4 channels
HEAD = 4 * 5


class Small(nn.Module):
    """A convolution, a norm, an activation, a head."""

    def __init__(self, slope: float = 0.1):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 5)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.norm(self.conv(x)), self.slope)
        return self.fc(y.mean((2, 3)))


def small_by_hand(net: Any, x: Tensor) -> Tensor:
    """The same in other words."""
    y = net.b(net.a(x))
    y = torch.maximum(y, 0.1 * y)
    return F.adaptive_avg_pool2d(y, 1).flatten(1) @ net.c.weight.mT + net.c.bias


def other_small() -> nn.Module:
    """The network of other names."""
    return Net(small_by_hand, a=nn.Conv2d(3, 4, 3, padding=1), b=nn.BatchNorm2d(4), c=nn.Linear(4, 5))


def frozen_by_hand(net: Any, x: Tensor) -> Tensor:
    """The same in eval mode for ever, as what is traced is."""
    y = F.batch_norm(net.a(x), net.b.running_mean, net.b.running_var, net.b.weight, net.b.bias)
    y = torch.maximum(y, 0.1 * y)
    return F.adaptive_avg_pool2d(y, 1).flatten(1) @ net.c.weight.mT + net.c.bias


def frozen_small() -> nn.Module:
    """The network of other names, in eval mode for ever."""
    return Net(frozen_by_hand, a=nn.Conv2d(3, 4, 3, padding=1), b=nn.BatchNorm2d(4), c=nn.Linear(4, 5))


def quietly(make: Make) -> Make:
    """Without what torch warns of."""

    def made() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()

    return made


def wrapped(name: str, wrap: Any, other: Make = other_small, **more: Any) -> None:
    """A row: the small network, wrapped; what it is in other words, bare; another slope, wrapped."""
    ROWS.add(
        name,
        quietly(lambda: wrap(Small())),
        other,
        quietly(lambda: wrap(Small(0.11))),
        IMAGE,
        CONV + HEAD,
        "everything",
        **more,
    )


class Parallel(nn.Module):
    """As a wrapper that hands on."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)


def averaged(net: nn.Module) -> nn.Module:
    """With a count of how many it is the average of."""
    return torch.optim.swa_utils.AveragedModel(net)


def exported(net: nn.Module) -> nn.Module:
    """A graph of any batch."""
    data, free = torch.zeros(2, *IMAGE), torch.export.Dim.AUTO
    return torch.export.export(net.eval(), (data,), dynamic_shapes=({0: free, 2: free, 3: free},)).module()


def without_first(old: nn.Module, new: nn.Module) -> None:
    """Give all but the count, by position."""
    there = [t for _, t in [*new.named_parameters(), *new.named_buffers()]]
    here = [t for n, t in [*old.named_parameters(), *old.named_buffers()] if n != "n_averaged"]
    for one, other in zip(here, there, strict=True):
        other.copy_(one)


wrapped("scripted", torch.jit.script)
wrapped("traced", lambda net: torch.jit.trace(net.eval(), torch.zeros(2, *IMAGE)), frozen_small)
wrapped("nn.DataParallel", nn.DataParallel)
wrapped("a wrapper of somebody's own", Parallel)
wrapped("averaged weights", averaged, give=without_first)
wrapped("torch.compile", lambda net: torch.compile(net, backend="eager"))
wrapped("torch.fx", lambda net: torch.fx.symbolic_trace(net))
wrapped("torch.export", exported, frozen_small)
wrapped("in float64", lambda net: net.double(), lambda: other_small().double())
wrapped("in bfloat16", lambda net: net.bfloat16(), lambda: other_small().bfloat16())
wrapped("channels last", lambda net: net.to(memory_format=torch.channels_last))


def weight_normed(dim: int = 0) -> nn.Module:
    """The direction and the length of a weight apart."""
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(8, 6), dim=dim), nn.ReLU(), nn.Linear(6, 3))


def weight_normed_by_hand(net: Any, x: Tensor) -> Tensor:
    """The same as a function."""
    weight = net.length * net.direction / net.direction.norm(dim=1, keepdim=True)
    return net.last(F.linear(x, weight, net.bias).relu())


ROWS.add(
    "weight norm",
    weight_normed,
    lambda: Net(
        weight_normed_by_hand,
        bias=nn.Parameter(torch.randn(6)),
        length=nn.Parameter(torch.rand(6, 1)),
        direction=nn.Parameter(torch.randn(6, 8)),
        last=nn.Linear(6, 3),
    ),
    lambda: weight_normed(1),
    NUMBERS,
    8 * 6 + 6 * 3,
    like=other_state,
)


def spectral(eps: float = 1e-12, steps: int = 1) -> nn.Module:
    """A weight by its largest singular value."""
    layer = parametrizations.spectral_norm(nn.Linear(8, 6), n_power_iterations=steps, eps=eps)
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(6, 3))


ROWS.add(
    "spectral norm",
    spectral,
    lambda: nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(8, 6)), Net(lambda n, x: x.clamp(min=0)), nn.Linear(6, 3)
    ),
    lambda: spectral(steps=2),
    NUMBERS,
    8 * 6 + 6 * 3 + 8 * 6 + 6,  # sigma = u^T (W v) is computed of the vectors that are kept
)


def pruned(amount: int = 24) -> nn.Module:
    """Some weights are masked."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    prune.l1_unstructured(net[0], "weight", amount)
    return net


def pruned_by_hand(mask: Tensor) -> nn.Module:
    """The same with a mask of its own."""
    return Net(
        lambda n, x: n.b(F.linear(x, n.weight * n.kept, n.bias).relu()),
        bias=nn.Parameter(torch.randn(6)),
        weight=nn.Parameter(torch.randn(6, 8)),
        b=nn.Linear(6, 3),
        kept=mask,
    )


ROWS.add(
    "pruned",
    pruned,
    lambda: pruned_by_hand(pruned()[0].weight_mask.clone()),
    lambda: pruned(23),
    NUMBERS,
    8 * 6 + 6 * 3,
    give=parameters,
    like=parameters,
)


def orthogonal(map: str = "matrix_exp") -> nn.Module:
    """A weight that is orthogonal."""
    layer = parametrizations.orthogonal(nn.Linear(4, 4), orthogonal_map=map, use_trivialization=False)
    return nn.Sequential(nn.Linear(8, 4), layer)


ROWS.add(
    "orthogonal weight",
    orthogonal,
    lambda: Net(
        lambda n, x: F.linear(n.a(x), torch.matrix_exp(n.w.tril(-1) - n.w.tril(-1).mT), n.b),
        a=nn.Linear(8, 4),
        b=nn.Parameter(torch.randn(4)),
        w=nn.Parameter(torch.randn(4, 4)),
    ),
    lambda: orthogonal("cayley"),
    NUMBERS,
    None,
    give=by_name(("0.", "a."), ("1.bias", "b"), ("1.parametrizations.weight.original", "w")),
    like=parameters,
)


class Symmetric(nn.Module):
    """A weight and its transpose."""

    def __init__(self, part: float = 0.5):
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        return self.part * (x + x.mT)


def symmetric(part: float = 0.5) -> nn.Module:
    """A layer with such a weight."""
    net = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    register_parametrization(net[0], "weight", Symmetric(part))
    return net


ROWS.add(
    "a parametrisation of somebody's own",
    symmetric,
    lambda: Net(
        lambda n, x: torch.tanh(F.linear(x, (n.w.T + n.w) / 2, n.b)),
        b=nn.Parameter(torch.randn(8)),
        w=nn.Parameter(torch.randn(8, 8)),
    ),
    lambda: symmetric(0.6),
    NUMBERS,
    8 * 8,
)


class Collects(Small):
    """Hooks collect what its parts give."""

    def __init__(self, slope: float = 0.1):
        super().__init__(slope)
        self.seen: dict[str, Tensor] = {}
        for name in ("conv", "norm"):
            getattr(self, name).register_forward_hook(self.keeping(name))

    def keeping(self, name: str) -> Any:
        """A hook that keeps."""

        def keep(part: nn.Module, args: Any, output: Tensor) -> None:
            self.seen[name] = output

        return keep


ROWS.add("hooks that collect", Collects, other_small, lambda: Collects(0.11), IMAGE, CONV + HEAD, "everything")


class Returns(Collects):
    """What hooks have collected is what it gives."""

    def forward(self, x: Tensor) -> Any:
        super().forward(x)
        return self.seen["norm"]


ROWS.add(
    "features by hooks",
    Returns,
    lambda: Net(
        lambda n, x: (y := n.b(n.a(x)), n.c(y.mean((2, 3))))[0],
        a=nn.Conv2d(3, 4, 3, padding=1),
        b=nn.BatchNorm2d(4),
        c=nn.Linear(4, 5),
    ),
    lambda: Net(
        lambda n, x: (y := n.b(n.a(x)), n.c(y.mean((2, 3))))[0],
        a=nn.Conv2d(3, 4, 3, padding=1),
        b=nn.BatchNorm2d(4, eps=1e-4),
        c=nn.Linear(4, 5),
    ),
    IMAGE,
    CONV + HEAD,
    "3",
)


def adapted(by: float = 2.0) -> nn.Module:
    """A hook adds a product of low rank to what a frozen layer gives."""
    net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    net.requires_grad_(False)
    net.down, net.up = nn.Linear(8, 2, bias=False), nn.Linear(2, 6, bias=False)
    del net._modules["down"], net._modules["up"]
    whole = Net(lambda n, x: n.net(x), net=net, down=nn.Linear(8, 2, bias=False), up=nn.Linear(2, 6, bias=False))
    whole.net[0].register_forward_hook(lambda part, args, output: output + by * whole.up(whole.down(args[0])))
    return whole


def adapted_by_weight(net: Any, x: Tensor) -> Tensor:
    """The same: the weight itself is moved."""
    y = F.linear(x, net.a.weight + 2 * net.u.weight @ net.d.weight, net.a.bias)
    return net.b(y.relu())


def adapted_otherwise() -> nn.Module:
    """The network."""
    net = Net(
        adapted_by_weight,
        a=nn.Linear(8, 6),
        b=nn.Linear(6, 3),
        d=nn.Linear(8, 2, bias=False),
        u=nn.Linear(2, 6, bias=False),
    )
    net.a.requires_grad_(False)
    net.b.requires_grad_(False)
    return net


ROWS.add("low rank by hooks", adapted, adapted_otherwise, lambda: adapted(2.1), NUMBERS, 8 * 6 + 6 * 3 + 8 * 2 + 2 * 6)


def called(net: Any, x: Tensor, by: float = 1.0) -> Tensor:
    """A layer with other weights than its own."""
    weights = {"weight": net.fc.weight * by + net.moved, "bias": net.fc.bias}
    return functional_call(net.fc, weights, (x,)).relu()


ROWS.add(
    "functional_call",
    lambda: Net(called, moved=nn.Parameter(torch.randn(6, 8)), fc=nn.Linear(8, 6)),
    lambda: Net(
        lambda n, x: F.relu(F.linear(x, n.more + n.a.weight, n.a.bias)),
        more=nn.Parameter(torch.randn(6, 8)),
        a=nn.Linear(8, 6),
    ),
    lambda: Net(lambda n, x: called(n, x, 1.01), moved=nn.Parameter(torch.randn(6, 8)), fc=nn.Linear(8, 6)),
    NUMBERS,
    8 * 6,
)


def mapped(net: Any, x: Tensor, by: float = 1.0) -> Tensor:
    """Three layers at once by vmap, their mean."""
    return vmap(lambda w, b: F.linear(x, by * w, b).tanh())(net.w, net.b).mean(0)


def several() -> dict[str, nn.Parameter]:
    """The weights of three layers."""
    return {"w": nn.Parameter(torch.randn(3, 6, 8)), "b": nn.Parameter(torch.randn(3, 6))}


ROWS.add(
    "vmap",
    lambda: Net(mapped, **several()),
    lambda: Net(lambda n, x: (torch.einsum("bi,koi->kbo", x, n.w) + n.b[:, None]).tanh().mean(0), **several()),
    lambda: Net(lambda n, x: mapped(n, x, 1.01), **several()),
    NUMBERS,
    3 * 8 * 6,
)


@torch.library.custom_op("rv_check_zoo::softened", mutates_args=())
def softened(x: Tensor, by: float) -> Tensor:
    """x / (by + |x|)."""
    return x / (by + x.abs())


@softened.register_fake
def _(x: Tensor, by: float) -> Tensor:
    return torch.empty_like(x)


softened.register_autograd(
    lambda ctx, gradient: (gradient * ctx.by / (ctx.by + ctx.saved_tensors[0].abs()) ** 2, None),
    setup_context=lambda ctx, inputs, output: (ctx.save_for_backward(inputs[0]), setattr(ctx, "by", inputs[1]))[0],
)

ROWS.add(
    "operator of somebody's own",
    lambda: Net(lambda n, x: n.b(torch.ops.rv_check_zoo.softened(n.a(x), 1.0)), a=nn.Linear(8, 6), b=nn.Linear(6, 3)),
    lambda: Net(lambda n, x: n.two(F.softsign(n.one(x))), one=nn.Linear(8, 6), two=nn.Linear(6, 3)),
    lambda: Net(lambda n, x: n.b(torch.ops.rv_check_zoo.softened(n.a(x), 1.5)), a=nn.Linear(8, 6), b=nn.Linear(6, 3)),
    NUMBERS,
    8 * 6 + 6 * 3,
)


class Straight(torch.autograd.Function):
    """Signs, whose gradient is that of what comes in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Clipped(Straight):
    """Another gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * (ctx.saved_tensors[0].abs() < 1)


ROWS.add(
    "gradient of somebody's own",
    lambda: Net(lambda n, x: n.b(Straight.apply(n.a(x))), a=nn.Linear(8, 6), b=nn.Linear(6, 3)),
    lambda: Net(
        lambda n, x: n.two((y := n.one(x)) + (y.sign() - y).detach()), one=nn.Linear(8, 6), two=nn.Linear(6, 3)
    ),
    lambda: Net(lambda n, x: n.b(Clipped.apply(n.a(x))), a=nn.Linear(8, 6), b=nn.Linear(6, 3)),
    NUMBERS,
    8 * 6 + 6 * 3,
)


def checkpointed(net: Any, x: Tensor, slope: float = 0.0, reentrant: bool = False) -> Tensor:
    """A part is run again for its gradient."""
    y = checkpoint(lambda y: F.leaky_relu(net.a(y), slope), x, use_reentrant=reentrant)
    return net.b(y)


ROWS.add(
    "checkpointed",
    lambda: Net(checkpointed, a=nn.Linear(8, 6), b=nn.Linear(6, 3)),
    lambda: Net(lambda n, x: n.two(n.one(x).relu()), one=nn.Linear(8, 6), two=nn.Linear(6, 3)),
    lambda: Net(lambda n, x: checkpointed(n, x, 0.01), a=nn.Linear(8, 6), b=nn.Linear(6, 3)),
    NUMBERS,
    8 * 6 + 6 * 3,
)


def in_place(net: Any, x: Tensor, by: float = 2.0) -> Tensor:
    """Written into what is there."""
    y = net.a(x).clone()
    y[:, :3] *= by
    y[:, 3:].add_(y[:, :3])
    y.masked_fill_(y > 1, 1.0)
    return net.b(y)


def out_of_place(net: Any, x: Tensor) -> Tensor:
    """The same, nothing written."""
    first, second = net.one(x).split(3, 1)
    first = first + first
    return net.two(torch.cat((first, second + first), 1).clamp(max=1))


ROWS.add(
    "in place",
    lambda: Net(in_place, a=nn.Linear(8, 6), b=nn.Linear(6, 3)),
    lambda: Net(out_of_place, one=nn.Linear(8, 6), two=nn.Linear(6, 3)),
    lambda: Net(lambda n, x: in_place(n, x, 2.01), a=nn.Linear(8, 6), b=nn.Linear(6, 3)),
    NUMBERS,
    8 * 6 + 6 * 3,
)
ROWS.add(
    "lazy",
    lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5)),
    lambda: Net(
        lambda n, x: F.linear(n.b(n.a(x)).clamp_min(0).reshape(len(x), -1), n.c.weight, n.c.bias),
        a=nn.Conv2d(3, 4, 3),
        b=nn.BatchNorm2d(4),
        c=nn.Linear(144, 5),
    ),
    lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.LazyBatchNorm2d(), nn.ReLU6(), nn.Flatten(), nn.LazyLinear(5)),
    IMAGE,
    27 * 4 * 36 + 144 * 5,
    "everything",
)


def tied(times: int = 3) -> nn.Module:
    """One layer several times."""
    layer = nn.Linear(8, 8)
    return nn.Sequential(*(part for _ in range(times) for part in (layer, nn.Tanh())))


ROWS.add(
    "one layer three times",
    tied,
    lambda: Net(
        lambda n, x: F.linear(F.linear(n.a(x).tanh(), n.a.weight, n.a.bias).tanh(), n.a.weight, n.a.bias).tanh(),
        a=nn.Linear(8, 8),
    ),
    lambda: nn.Sequential(
        *(part for layer in [nn.Linear(8, 8), nn.Linear(8, 8)] for part in (layer, nn.Tanh())), *list(tied())[:2]
    ),
    NUMBERS,
    3 * 64,
    like=other_state,
)


def tied_to_its_transpose(net: Any, x: Tensor, sign: float = 1.0) -> Tensor:
    """An autoencoder with one weight."""
    return F.linear(net.a(x).relu(), sign * net.a.weight.T, net.bias)


ROWS.add(
    "a weight and its transpose",
    lambda: Net(tied_to_its_transpose, a=nn.Linear(8, 6), bias=nn.Parameter(torch.randn(8))),
    lambda: Net(
        lambda n, x: F.linear(x, n.w, n.b).clamp(min=0) @ n.w + n.c,
        c=nn.Parameter(torch.randn(8)),
        w=nn.Parameter(torch.randn(6, 8)),
        b=nn.Parameter(torch.randn(6)),
    ),
    lambda: Net(lambda n, x: tied_to_its_transpose(n, x, -1.0), a=nn.Linear(8, 6), bias=nn.Parameter(torch.randn(8))),
    NUMBERS,
    2 * 48,
)


def experts(net: Any, x: Tensor, best: bool = False) -> Tensor:
    """A gate weighs what four layers say; or the best one alone counts."""
    weight = net.gate(x).softmax(-1)
    if best:
        top = weight.topk(2).values[:, 1:]
        weight = torch.where(weight >= top, weight, 0.0)
    return torch.stack([layer(x) for layer in net.experts], 1).mul(weight[..., None]).sum(1)


def experts_at_once(net: Any, x: Tensor) -> Tensor:
    """The same by one product."""
    said = torch.einsum("bi,koi->bko", x, torch.stack([one.weight for one in net.all]))
    said = said + torch.stack([one.bias for one in net.all])
    return torch.einsum("bk,bko->bo", F.softmax(net.router(x), 1), said)


def expert_net(function: Any, names: str = "gate experts") -> nn.Module:
    """The network."""
    made = (nn.Linear(8, 4), nn.ModuleList(nn.Linear(8, 3) for _ in range(4)))
    return Net(function, **dict(zip(names.split(), made, strict=True)))


ROWS.add(
    "mixture of experts",
    lambda: expert_net(experts),
    lambda: expert_net(experts_at_once, "router all"),
    lambda: expert_net(lambda n, x: experts(n, x, best=True)),
    NUMBERS,
    8 * 4 + 4 * 8 * 3,
)


def routed(net: Any, x: Tensor, number: int = 2) -> Tensor:
    """Each goes to its best two experts, and only these run."""
    weight, which = net.gate(x).softmax(-1).topk(number)
    out = x.new_zeros(len(x), 3)
    for at, expert in enumerate(net.experts):
        rows, places = (which == at).nonzero(as_tuple=True)
        out = out.index_add(0, rows, expert(x[rows]) * weight[rows, places, None])
    return out


def routed_by_where(net: Any, x: Tensor) -> Tensor:
    """The same, all of them run."""
    weight = F.softmax(net.router(x), -1)
    kept = torch.zeros_like(weight).scatter(1, weight.topk(2).indices, 1.0)
    return sum(((kept * weight)[:, at : at + 1] * one(x) for at, one in enumerate(net.all)), x.new_zeros(()))


ROWS.add(
    "experts that are chosen",
    lambda: expert_net(routed),
    lambda: expert_net(routed_by_where, "router all"),
    lambda: expert_net(lambda n, x: routed(n, x, 1)),
    NUMBERS,
    8 * 4 + 2 * 8 * 3,
)


def settles(net: Any, x: Tensor, at: float = -1.0) -> Tensor:
    """Goes on until it moves no more, which these numbers never do."""
    y = torch.zeros_like(x)
    for _ in range(5):
        new = (net.a(y) * 0.1 + x).tanh()
        if (new - y).abs().max() < at:
            break
        y = new
    return y


ROWS.add(
    "a loop that ends by value",
    lambda: Net(settles, a=nn.Linear(8, 8)),
    lambda: Net(lambda n, x: settles_otherwise(n, x), b=nn.Linear(8, 8)),
    lambda: Net(lambda n, x: settles(n, x, 9.0), a=nn.Linear(8, 8)),
    NUMBERS,
    5 * 64,
)


def settles_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same with a while."""
    y, left = x.new_zeros(x.shape), 5
    while left:
        new = torch.tanh(F.linear(y, net.b.weight, net.b.bias) / 10 + x)
        if float((new - y).abs().max()) < -1:
            return y
        y, left = new, left - 1
    return y


def exits(net: Any, x: Tensor, sure: float = 2.0) -> Tensor:
    """A first head that is sure is the answer, which this one never is."""
    first = net.first(x)
    return first if first.softmax(1).max() > sure else net.last(net.deep(x).relu())


ROWS.add(
    "an early exit",
    lambda: Net(exits, first=nn.Linear(8, 3), deep=nn.Linear(8, 8), last=nn.Linear(8, 3)),
    lambda: Net(
        lambda n, x: y if bool((y := n.a(x)).softmax(-1).amax() > 2) else n.c(F.relu(n.b(x))),
        a=nn.Linear(8, 3),
        b=nn.Linear(8, 8),
        c=nn.Linear(8, 3),
    ),
    lambda: Net(lambda n, x: exits(n, x, 0.0), first=nn.Linear(8, 3), deep=nn.Linear(8, 8), last=nn.Linear(8, 3)),
    NUMBERS,
    8 * 3 + 8 * 8 + 8 * 3,
)


@dataclass
class Answer:
    """What some networks give."""

    logits: Tensor
    loss: Tensor | None = None


def gives(name: str, change: Any, otherwise: Any, other: Any) -> None:
    """A row: what the network gives is held by something."""
    ROWS.add(
        name,
        lambda: Net(lambda n, x: change(n.a(x)), a=nn.Linear(8, 3)),
        lambda: Net(
            lambda n, x: otherwise(F.linear(x, n.w, n.b)),
            w=nn.Parameter(torch.randn(3, 8)),
            b=nn.Parameter(torch.randn(3)),
        ),
        lambda: Net(lambda n, x: other(n.a(x)), a=nn.Linear(8, 3)),
        NUMBERS,
        24,
    )


gives("a dict", lambda y: {"out": y.relu()}, lambda y: {"out": y.clamp(min=0)}, lambda y: {"out": y.relu() * 1.01})
gives("a dataclass", lambda y: Answer(y.tanh()), lambda y: Answer(torch.tanh(y)), lambda y: Answer(y.tanh() * 1.01))
gives("a tuple", lambda y: (y.tanh(), y), lambda y: (torch.tanh(y), y), lambda y: (y.tanh(), y * 1.01))
gives("places", lambda y: y.argmax(1), lambda y: y.max(1).indices, lambda y: y.argmin(1))
gives("truth values", lambda y: y > 0.5, lambda y: y.gt(0.5), lambda y: y > 0.6)
gives(
    "complex numbers",
    lambda y: torch.complex(y, -y),
    lambda y: torch.complex(y, y).conj(),
    lambda y: torch.complex(y, y),
)
gives("one number", lambda y: y.square().mean(), lambda y: (y * y).mean(), lambda y: y.square().sum())
gives(
    "chance in eval mode",
    lambda y: F.dropout(y, 0.3, training=True),
    lambda y: F.dropout(input=y, p=0.3),
    lambda y: F.dropout(y, 0.4, training=True),
)
gives(
    "noise in eval mode",
    lambda y: y + 0.1 * torch.randn_like(y),
    lambda y: torch.randn(y.shape, device=y.device, dtype=y.dtype) / 10 + y,
    lambda y: y + 0.2 * torch.randn_like(y),
)
gives(
    "types that change",
    lambda y: y.double().softmax(-1).to(y.dtype),
    lambda y: y.to(torch.float64).softmax(1).type_as(y),
    lambda y: y.double().softmax(-1).square().to(y.dtype),
)
gives(
    "a constant of Python",
    lambda y: y * torch.tensor([0.5, 1.5, 2.5], device=y.device),
    lambda y: torch.stack((y[:, 0] / 2, y[:, 1] * 1.5, y[:, 2] * 2.5), 1),
    lambda y: y * torch.tensor([0.5, 1.5, 2.6], device=y.device),
)


def dynamic(slope: float = 0.0) -> nn.Module:
    """Whole numbers for weights, and for what comes in as it comes."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6), nn.LeakyReLU(slope), nn.Linear(6, 3))
    return torch.ao.quantization.quantize_dynamic(net, {nn.Linear})


ROWS.add(
    "dynamic quantisation",
    quietly(dynamic),
    quietly(lambda: nn.Sequential(*dynamic())),
    quietly(lambda: dynamic(0.1)),
    NUMBERS,
    8 * 6 + 6 * 3,
)


def fake(net: Any, x: Tensor, most: int = 127) -> Tensor:
    """Weights and values as if they were whole numbers."""
    weight = torch.fake_quantize_per_tensor_affine(net.a.weight, 0.02, 0, -128, most)
    return torch.fake_quantize_per_tensor_affine(F.linear(x, weight, net.a.bias), 0.05, 0, -128, 127)


def fake_by_hand(net: Any, x: Tensor) -> Tensor:
    """The same by rounding; gradients go past it where nothing is cut off."""

    def rounded(y: Tensor, step: float) -> Tensor:
        z = (y / step).clamp(-128, 127)
        return step * (z + (z.round() - z).detach())

    return rounded(F.linear(x, rounded(net.w, 0.02), net.b), 0.05)


ROWS.add(
    "fake quantisation",
    lambda: Net(fake, a=nn.Linear(8, 3)),
    lambda: Net(fake_by_hand, w=nn.Parameter(torch.randn(3, 8)), b=nn.Parameter(torch.randn(3))),
    lambda: Net(lambda n, x: fake(n, x, 7), a=nn.Linear(8, 3)),
    NUMBERS,
    24,
)


def in_autocast(net: Any, x: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """A product in half precision."""
    with torch.autocast("cpu", dtype):
        return net.a(x).float()


ROWS.add(
    "autocast",
    lambda: Net(in_autocast, a=nn.Linear(8, 3)),
    lambda: Net(
        lambda n, x: F.linear(x.bfloat16(), n.w.bfloat16(), n.b.bfloat16()).float(),
        w=nn.Parameter(torch.randn(3, 8)),
        b=nn.Parameter(torch.randn(3)),
    ),
    lambda: Net(lambda n, x: in_autocast(n, x, torch.float16), a=nn.Linear(8, 3)),
    NUMBERS,
    24,
    exact=False,
)


def counts(net: Any, x: Tensor, rate: float = 0.9) -> Tensor:
    """A buffer that moves in train mode."""
    y = net.a(x)
    if net.training:
        with torch.no_grad():
            net.mean.mul_(rate).add_((1 - rate) * y.mean(0))
    return y - net.mean


def counts_otherwise(net: Any, x: Tensor) -> Tensor:
    """The same, another tensor put in the buffer's place."""
    y = net.b(x)
    if net.training:
        net.average = torch.lerp(net.average, y.detach().mean(0), 0.1)
    return y - net.average


ROWS.add(
    "a buffer that moves",
    lambda: Net(counts, a=nn.Linear(8, 3), mean=torch.zeros(3)),
    lambda: Net(counts_otherwise, b=nn.Linear(8, 3), average=torch.zeros(3)),
    lambda: Net(lambda n, x: counts(n, x, 0.8), a=nn.Linear(8, 3), mean=torch.zeros(3)),
    NUMBERS,
    24,
)


class Bag(nn.Module):
    """Sparse features: the words that are there, their mean."""

    def __init__(self, mode: str = "mean"):
        super().__init__()
        self.bag, self.fc = nn.EmbeddingBag(10, 4, mode=mode), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.bag((3 * x.abs()).long().clamp(max=9)))


ROWS.add(
    "bag of words",
    Bag,
    lambda: Net(
        lambda n, x: n.b(F.embedding((3 * x.abs()).long().clamp(max=9), n.a).mean(1)),
        a=nn.Parameter(torch.randn(10, 4)),
        b=nn.Linear(4, 3),
    ),
    lambda: Bag("sum"),
    NUMBERS,
    12,
)
ROWS.add(
    "copies of a part",
    lambda: nn.Sequential(*(copy.deepcopy(nn.Sequential(nn.Linear(8, 8), nn.SiLU())) for _ in range(3))),
    lambda: Net(
        lambda n, x: [x := (y := F.linear(x, w, b)) * y.sigmoid() for w, b in zip(n.w, n.b, strict=True)][-1],
        w=nn.ParameterList(torch.randn(8, 8) for _ in range(3)),
        b=nn.ParameterList(torch.randn(8) for _ in range(3)),
    ),
    lambda: nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.SiLU() if at else nn.Mish()) for at in range(3))),
    NUMBERS,
    3 * 64,
    give=by_name(*itertools.chain(*(((f"{at}.0.weight", f"w.{at}"), (f"{at}.0.bias", f"b.{at}")) for at in range(3)))),
)
