"""Every rule of the normal form: true on random numbers, and silent where it would be false."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from rv_check.graphs.builder import RULES, Builder, Form
from rv_check.graphs.graph import Graph, Node
from rv_check.graphs.network import At
from rv_check.modules.observe import Subject
from rv_check.ops.op import Shape

Function = Callable[[Any, Tensor], Tensor]
Parts = Callable[[], dict[str, Any]]
BATCH = 2
aten = torch.ops.aten


class Net(nn.Module):
    """A function of its parts, that is, layers and parameters, and of the input."""

    def __init__(self, function: Function, parts: dict[str, Any]):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def none() -> dict[str, Any]:
    """No layers and no parameters."""
    return {}


def parameter(*shape: int) -> nn.Parameter:
    """One with random values."""
    return nn.Parameter(torch.randn(shape))


def nets(parts: Parts, *functions: Function) -> list[Net]:
    """A network for each function, all with the same values."""
    torch.manual_seed(0)
    made = parts()
    for part in made.values():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
            part.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            for value in part.parameters():
                nn.init.normal_(value)
    return [Net(function, copy.deepcopy(made)) for function in functions]


def observed(net: nn.Module, x: Shape, training: bool = False, here: bool = False) -> Graph:
    """Its graph, run on meta."""
    subject = Subject(net)
    graph = subject.observe(At(x, training=training), Form.OF_ONE if here else Form.AT_ANY_SIZE)
    assert not subject.why_real
    return graph


def words(graph: Graph) -> set[str]:
    """The rules by which it got its form."""
    return set(graph.rules)


def computed(net: Net, x: Shape, training: bool, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """What it computes in float64 from random numbers, and the gradients of a random sum of that."""
    net = copy.deepcopy(net).double().train(training)
    generator = torch.Generator().manual_seed(seed)
    data = torch.randn((BATCH, *x), dtype=torch.float64, generator=generator).requires_grad_()
    torch.manual_seed(seed)  # one dropout mask for both
    y = net(data)
    (y * torch.randn(y.shape, dtype=torch.float64, generator=generator)).sum().backward()
    gradients = {name: p.grad for name, p in net.named_parameters() if p.grad is not None}
    return y.detach(), {"input": data.grad, **gradients}  # type: ignore[dict-item]


def differ(a: Net, b: Net, x: Shape, training: bool = False) -> bool:
    """Whether two networks compute different numbers from the same ones, or numbers of another shape."""
    y, z = computed(a, x, training, 1)[0], computed(b, x, training, 1)[0]
    return y.shape != z.shape or not torch.allclose(y, z, rtol=1e-4, atol=1e-4)


@dataclass
class Row:
    """A rule, and a function that it rewrites into another. `elsewhere`: an input at which the two are not equal.

    `built`: where no operator of torch has the rule's kind, what a spec's op becomes. `redundant`: without the rule
    another one gives the same, in words that a mere notation does not need.
    """

    rule: str
    x: Shape
    rewritten: Function
    plain: Function
    parts: Parts = none
    training: bool = False
    elsewhere: Shape | None = None
    built: Callable[[Builder, Node], Node] | None = None
    redundant: bool = False
    kind: str = field(init=False)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.kind, self.name = self.rule.split()

    @property
    def here(self) -> bool:
        """Whether the rule needs the sizes at hand."""
        return any(one.form is not Form.AT_ANY_SIZE for one in RULES[self.kind] if one.function.__name__ == self.name)


def mask(keep: float) -> Callable[[Tensor], Tensor]:
    """Ones with that chance, else zeros."""
    return lambda x: torch.empty_like(x).bernoulli_(keep)


def conv(*arguments: Any, **keywords: Any) -> Parts:
    """A convolution, and another thing or two."""
    others = {name: keywords.pop(name) for name in ("w", "b") if name in keywords}
    return lambda: {"conv": nn.Conv2d(*arguments, **keywords), **{name: parameter(*n) for name, n in others.items()}}


def linear(*arguments: Any, **keywords: Any) -> Parts:
    """A linear layer, and another thing or two."""
    others = {name: keywords.pop(name) for name in ("w", "b") if name in keywords}
    return lambda: {"fc": nn.Linear(*arguments, **keywords), **{name: parameter(*n) for name, n in others.items()}}


def norm(channels: int, cls: type[nn.Module] = nn.BatchNorm2d, **others: tuple[int, ...]) -> Parts:
    """A norm without affine part, and parameters."""
    return lambda: {
        "norm": cls(channels, affine=False),
        **{name: parameter(*shape) for name, shape in others.items()},
    }


def channels_last(s: Any, x: Tensor) -> Tensor:
    """A linear layer over the channels of each pixel."""
    return s.fc(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def as_conv(s: Any, x: Tensor) -> Tensor:
    """The same as a 1x1 convolution."""
    return functional.conv2d(x, s.fc.weight[:, :, None, None], s.fc.bias)


def flat_rows(s: Any, x: Tensor) -> Tensor:
    """A linear layer over the channels of all pixels, one after the other."""
    n, c, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n * h * w, c)
    return s.fc(rows).reshape(n, h, w, -1).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


def written(*writes: tuple[Any, Callable[[Tensor], Tensor]], read: Any = None, then: bool = False) -> Function:
    """2 x, of which parts are written anew, each a function of x; or a part of it, which is taken before.

    `then`: all of it becomes its exponential at the end.
    """

    def function(s: Any, x: Tensor) -> Tensor:
        y = 2 * x
        part = y if read is None else y[read]
        for at, value in writes:
            y[at] = value(x)
        if then:
            y.exp_()
        return part.sin()

    return function


def gated(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Function:
    """Of a gate and two values."""
    return lambda s, x: function(x.sigmoid(), x.tanh(), x.cos())


def between(z: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """From one value to another."""
    return x + z * (y - x)


class WrittenOut(nn.Module):
    """What a norm keeps, and what it computes of a map by that, written out. `more` is a mistake."""

    def __init__(self, affine: bool = True):
        super().__init__()
        self.w, self.b = (parameter(4), parameter(4)) if affine else (None, None)
        self.register_buffer("m", torch.randn(4))
        self.register_buffer("v", torch.rand(4) + 0.5)

    def by_torch(self, x: Tensor, eps: float = 1e-3) -> Tensor:
        """As torch has it."""
        return functional.batch_norm(x, self.m, self.v, self.w, self.b, False, eps=eps)

    def forward(
        self, x: Tensor, eps: float = 1e-3, outside: float = 0.0, sign: float = 1.0, weighted: bool = True
    ) -> Tensor:
        """As it is printed, but for a mistake."""
        m, v = self.m.view(1, -1, 1, 1), self.v.view(1, -1, 1, 1)
        root = (v + eps).rsqrt() if not outside else (v + eps).rsqrt() + outside
        if self.w is None:
            return x * root + (-m * root)
        w, b = self.w.view(1, -1, 1, 1), self.b.view(1, -1, 1, 1)
        return x * (w * root) + (b - sign * m * (w * root if weighted else root))


def by_division(s: Any, x: Tensor) -> Tensor:
    """The factor as a quotient, the sum the other way round."""
    factor = (s.n.w / (s.n.v + 1e-3).sqrt())[:, None, None]
    return (s.n.b[:, None, None] - s.n.m[:, None, None] * factor) + factor * x  # type: ignore[no-any-return]


def written_out(**more: Any) -> Function:
    """That of a network."""
    return lambda s, x: s.n(x, **more)


def norm_of_torch(s: Any, x: Tensor) -> Tensor:
    """The same by torch."""
    return s.n.by_torch(x)  # type: ignore[no-any-return]


ALL = slice(None)
F = functional
ROWS: list[Row] = [
    Row(
        "flatten flatten",
        (3, 4, 5),
        lambda s, x: nn.Flatten()(x),
        lambda s, x: x.reshape(x.shape[0], -1),
        built=lambda b, x: b.make("flatten", x, shape=(BATCH, 60)),
    ),
    Row("reshape reshape_to_the_same", (3, 4, 5), lambda s, x: x.view(x.shape).tanh(), lambda s, x: x.tanh()),
    Row("reshape reshape_of_reshape", (3, 4, 5), lambda s, x: x.flatten(1).view(-1, 3, 20), lambda s, x: x.flatten(2)),
    Row("permute permute_of_ones", (3, 1, 1), lambda s, x: x.permute(0, 2, 3, 1), lambda s, x: x.view(-1, 1, 1, 3)),
    Row("permute permute_of_ones", (3, 4, 1), lambda s, x: x.transpose(2, 3), lambda s, x: x.view(-1, 3, 1, 4)),
    Row(
        "permute permute_of_permute",
        (3, 4, 5),
        lambda s, x: x.permute(0, 2, 3, 1).permute(0, 2, 3, 1),
        lambda s, x: x.permute(0, 3, 1, 2),
    ),
    Row(
        "permute permute_of_permute",
        (3, 4, 5),
        lambda s, x: x.permute(0, 2, 3, 1).tanh().permute(0, 3, 1, 2).transpose(1, 3).transpose(1, 3),
        lambda s, x: x.permute(0, 2, 3, 1).tanh().permute(0, 3, 1, 2),
    ),
    Row("slice slice_of_all", (3, 4, 5), lambda s, x: x.narrow(1, 0, 3).tanh(), lambda s, x: x.tanh()),
    Row(
        "concat concat_of_concat",
        (3, 4, 5),
        lambda s, x: torch.cat([torch.cat([x, x.tanh()], 1), x.sin()], 1),
        lambda s, x: torch.cat([x, x.tanh(), x.sin()], 1),
    ),
    Row("concat concat_of_concat", (3, 4, 5), lambda s, x: torch.cat([x.tanh()], 1), lambda s, x: x.tanh()),
    *(
        Row(
            f"{kind} elementwise_before_reshape",
            (3, 4, 5),
            lambda s, x, f=function: f(x.flatten(1)),
            lambda s, x, f=function: f(x).flatten(1),
            training=True,
        )
        for kind, function in {
            "relu": torch.relu,
            "silu": functional.silu,
            "sigmoid": torch.sigmoid,
            "dropout": functional.dropout,
            "scale": lambda x: x * 3,
        }.items()
    ),
    *(
        Row(
            f"{kind} join_before_reshape",
            (3, 4, 5),
            lambda s, x, f=function: f(x.tanh().flatten(1), x.sin().flatten(1)),
            lambda s, x, f=function: f(x.tanh(), x.sin()).flatten(1),
        )
        for kind, function in {"sum": torch.add, "product": torch.mul}.items()
    ),
    Row(
        "sum join_before_reshape",
        (3, 4, 5),
        lambda s, x: x.tanh().flatten(1) + x.sin().flatten(1) + x.flatten(1),
        lambda s, x: (x + x.sin() + x.tanh()).flatten(1),
    ),
    Row(
        "adaptive_avgpool adaptive_to_one",
        (3, 4, 5),
        lambda s, x: aten._adaptive_avg_pool2d(x, [1, 1]),
        lambda s, x: x.mean((2, 3), keepdim=True),
    ),
    Row(
        "adaptive_avgpool adaptive_to_the_same",
        (3, 4, 4),
        lambda s, x: F.adaptive_avg_pool2d(x, 4).tanh(),
        lambda s, x: x.tanh(),
        elsewhere=(3, 6, 6),
    ),
    Row(
        "adaptive_avgpool adaptive_that_divides",
        (3, 8, 4),
        lambda s, x: F.adaptive_avg_pool2d(x, 2),
        lambda s, x: F.avg_pool2d(x, (4, 2)),
        elsewhere=(3, 10, 4),
    ),
    Row(
        "avgpool avgpool_of_everything",
        (3, 7, 5),
        lambda s, x: F.avg_pool2d(x, (7, 5), 1),
        lambda s, x: F.adaptive_avg_pool2d(x, 1),
        elsewhere=(3, 8, 6),
    ),
    Row(
        "avgpool padding_that_is_not_there",
        (3, 8, 8),
        lambda s, x: F.avg_pool2d(x, 3, 2, count_include_pad=False),
        lambda s, x: F.avg_pool2d(x, 3, 2, count_include_pad=True),
    ),
    Row(
        "avgpool padding_that_is_not_there",
        (3, 8, 8),
        lambda s, x: F.avg_pool2d(x, 3, 2, ceil_mode=True, count_include_pad=False),
        lambda s, x: F.avg_pool2d(x, 3, 2, ceil_mode=True, count_include_pad=True),
    ),
    Row(
        "avgpool pool_of_single_elements",
        (3, 4, 5),
        lambda s, x: F.avg_pool2d(x, 1, 1, ceil_mode=True).tanh(),
        lambda s, x: x.tanh(),
    ),
    Row(
        "maxpool pool_of_single_elements",
        (3, 4, 5),
        lambda s, x: F.max_pool2d(x, 1, 1, ceil_mode=True).tanh(),
        lambda s, x: x.tanh(),
    ),
    Row(
        "global_avgpool mean_of_one",
        (3, 1, 1),
        lambda s, x: F.adaptive_avg_pool2d(x, 1).tanh(),
        lambda s, x: x.tanh(),
        elsewhere=(3, 2, 1),
    ),
    Row(
        "concat concat_of_all_slices",
        (7, 4, 5),
        lambda s, x: torch.cat(x.split(3, 1), 1).tanh(),
        lambda s, x: x.tanh(),
    ),
    Row(
        "mean reduction_of_permute",
        (3, 4, 5),
        lambda s, x: x.permute(0, 2, 3, 1).mean((1, 2)),
        lambda s, x: x.mean((2, 3)),
    ),
    Row(
        "total reduction_of_permute",
        (3, 4, 5),
        lambda s, x: x.transpose(2, 3).sum(2),
        lambda s, x: x.sum(3),
    ),
    Row(
        "total reduction_of_permute",
        (3, 4, 5),
        lambda s, x: x.permute(0, 2, 3, 1).sum((1, 3)),
        lambda s, x: x.sum((1, 2)),
    ),
    Row("total total_of_total", (3, 4, 5), lambda s, x: x.sum(3).sum(1), lambda s, x: x.sum((1, 3))),
    Row("scale scale_of_scale", (3, 4, 5), lambda s, x: x * 3 / 2, lambda s, x: x * 1.5),
    Row(
        "batchnorm norm_before_reshape",
        (3, 4, 5),
        lambda s, x: F.batch_norm(x.flatten(2), s.norm.running_mean, s.norm.running_var, s.b),
        lambda s, x: F.batch_norm(x, s.norm.running_mean, s.norm.running_var, s.b).flatten(2),
        norm(3, b=(3,)),
    ),
    Row(
        "batchnorm norm_before_reshape",
        (3, 4, 5),
        lambda s, x: s.norm(x.reshape(-1, 3, 20, 1)).flatten(2) + s.b,
        lambda s, x: s.norm(x).flatten(2) + s.b,
        norm(3, b=(20,)),
        training=True,
    ),
    Row(
        "conv stride_before_pointwise",
        (3, 7, 8),
        lambda s, x: s.conv(x[:, :, ::2, ::3]),
        lambda s, x: F.conv2d(x, s.conv.weight, s.conv.bias, (2, 6)),
        conv(3, 4, 1, stride=(1, 2)),
    ),
    *(
        Row(
            "slice stride_after",
            (3, 9, 8),
            lambda s, x, f=function: f(s, x, 2)[:, :, ::2, ::3],
            lambda s, x, f=function: f(s, x, (4, 6)),
            conv(3, 4, 3, padding=1),
        )
        for function in (
            lambda s, x, n: F.conv2d(x, s.conv.weight, s.conv.bias, n, 1),
            lambda s, x, n: F.max_pool2d(x, 3, n, 1),
            lambda s, x, n: F.avg_pool2d(x, 3, n, 1),
        )
    ),
    Row(
        "maxpool strided_pool_of_single_elements",
        (3, 7, 8),
        lambda s, x: F.max_pool2d(x, 1, (2, 3)),
        lambda s, x: x[:, :, ::2, ::3],
    ),
    Row(
        "avgpool strided_pool_of_single_elements",
        (3, 7, 8),
        lambda s, x: F.avg_pool2d(x, 1, (2, 1)),
        lambda s, x: x[:, :, ::2],
    ),
    Row(
        "mean mean_over_the_map",
        (3, 4, 5),
        lambda s, x: x.mean((2, 3), keepdim=True),
        lambda s, x: aten._adaptive_avg_pool2d(x, [1, 1]),
        redundant=True,
    ),
    Row(
        "mean mean_that_drops_the_axes",
        (3, 4, 5),
        lambda s, x: x.mean((-1, -2)),
        lambda s, x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    ),
    Row(
        "mean mean_that_drops_the_axes",
        (3, 4, 5),
        lambda s, x: x.flatten(2).mean(2),
        lambda s, x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    ),
    Row(
        "mean mean_that_drops_the_axes",
        (3, 4, 5),
        lambda s, x: x.flatten(2).mean(-1, keepdim=True)[..., None],
        lambda s, x: F.adaptive_avg_pool2d(x, 1),
    ),
    Row("mean mean_of_mean", (3, 4, 5), lambda s, x: x.mean(3).mean(2), lambda s, x: x.mean((2, 3))),
    Row("mean mean_of_mean", (3, 4, 5), lambda s, x: x.mean(2).mean(1), lambda s, x: x.mean((1, 2))),
    Row(
        "mean mean_of_mean",
        (3, 4, 5),
        lambda s, x: x.mean(2, keepdim=True).mean(3, keepdim=True),
        lambda s, x: x.mean((2, 3), keepdim=True),
    ),
    Row("mean mean_of_mean", (3, 4, 5), lambda s, x: x.mean(3, keepdim=True).mean((1, 3)), lambda s, x: x.mean((1, 3))),
    Row("scale scaled_total", (3, 4, 5), lambda s, x: x.sum((2, 3)) / 20, lambda s, x: x.mean((2, 3))),
    Row("scale scaled_total", (3, 4, 5), lambda s, x: x.flatten(2).sum(2) * 0.05, lambda s, x: x.mean((2, 3))),
    Row(
        "scale scaled_total",
        (3, 4, 5),
        lambda s, x: x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3]),
        lambda s, x: F.adaptive_avg_pool2d(x, 1),
    ),
    *(
        Row(
            "relu relu_of_nonnegative",
            (3, 4, 4),
            lambda s, x, f=function: torch.relu(f(x)),
            lambda s, x, f=function: f(x),
            training=True,
        )
        for function in (
            torch.relu,
            torch.sigmoid,
            lambda x: F.max_pool2d(x.relu(), 3, 1, 1),
            lambda x: F.avg_pool2d(x.relu(), 2),
            lambda x: F.adaptive_avg_pool2d(x.relu(), 1),
            lambda x: x.relu() + x.sigmoid(),
            lambda x: x.relu() * x.sigmoid(),
            lambda x: torch.cat([x.relu(), x.sigmoid()], 1),
            lambda x: x.relu().flatten(1)[:, 2:9],
            lambda x: x.relu().permute(0, 2, 3, 1),
            lambda x: F.dropout(x.relu()),
            lambda x: x.relu() + torch.ones_like(x),
        )
    ),
    Row(
        "relu relu_before_maxpool",
        (3, 9, 9),
        lambda s, x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True).relu(),
        lambda s, x: F.max_pool2d(x.relu(), 3, 2, 1, ceil_mode=True),
    ),
    Row(
        "relu relu_before_maxpool",
        (3, 9, 9),
        lambda s, x: F.max_pool2d(x, 3, 2, 1, 2).relu(),
        lambda s, x: F.max_pool2d(x.relu(), 3, 2, 1, 2),
    ),
    Row(
        "relu relu_before_dropout",
        (3, 4, 4),
        lambda s, x: F.dropout(x, 0.3).relu(),
        lambda s, x: F.dropout(x.relu(), 0.3),
        training=True,
    ),
    Row(
        "relu relu_before_dropout",
        (3, 4, 4),
        lambda s, x: F.dropout2d(x, 0.3).relu(),
        lambda s, x: F.dropout2d(x.relu(), 0.3),
        training=True,
    ),
    Row("product silu", (3, 4, 4), lambda s, x: x * x.sigmoid(), lambda s, x: F.silu(x)),
    Row("product masked_relu", (3, 4, 4), lambda s, x: x * (x > 0), lambda s, x: x.relu()),
    Row("product masked_relu", (3, 4, 4), lambda s, x: (x > 0).to(x.dtype) * x, lambda s, x: x.relu()),
    Row("masked_fill filled_relu", (3, 4, 4), lambda s, x: x.masked_fill(x <= 0, 0), lambda s, x: x.relu()),
    Row("where chosen_relu", (3, 4, 4), lambda s, x: torch.where(x > 0, x, 0.0), lambda s, x: x.relu()),
    Row("where chosen_relu", (3, 4, 4), lambda s, x: torch.where(x <= 0, 0.0, x), lambda s, x: x.relu()),
    Row("product silu", (3, 4, 4), lambda s, x: torch.sigmoid(x).mul(x), lambda s, x: F.silu(x)),
    Row("sum norm_written_out", (4, 5, 5), written_out(), norm_of_torch, lambda: {"n": WrittenOut()}),
    Row("sum norm_written_out", (4, 5, 5), by_division, norm_of_torch, lambda: {"n": WrittenOut()}),
    Row("sum norm_written_out", (4, 5, 5), written_out(), norm_of_torch, lambda: {"n": WrittenOut(affine=False)}),
    Row("sum interpolation", (3, 4, 4), gated(lambda z, x, y: (1 - z) * x + z * y), gated(between)),
    Row("sum interpolation", (3, 4, 4), gated(lambda z, x, y: y * z + x * (1 - z)), gated(between)),
    Row("lerp interpolation_by_torch", (3, 4, 4), gated(lambda z, x, y: torch.lerp(x, y, z)), gated(between)),
    Row(
        "write parts_joined",
        (3, 4, 4),
        written(((ALL, slice(1, 2)), lambda x: x[:, :1].exp())),
        lambda s, x: torch.cat([(2 * x)[:, :1], x[:, :1].exp(), (2 * x)[:, 2:]], 1).sin(),
    ),
    Row(
        "write parts_joined",
        (2, 4, 4),
        written(((ALL, 1), lambda x: x[:, 0].exp()), ((ALL, 0), lambda x: x[:, 1])),
        lambda s, x: torch.stack([x[:, 1], x[:, 0].exp()], 1).sin(),
    ),
    Row(
        "view read_of_what_is_written",
        (3, 4, 4),
        written(((ALL, 0, slice(1, 3)), lambda x: x[:, 1, :2].exp()), read=(ALL, 0, slice(1, 3))),
        lambda s, x: x[:, 1, :2].exp().sin(),
    ),
    Row(
        "view read_of_what_is_written",
        (3, 4, 4),
        written(((ALL, 0, slice(1, 3)), lambda x: x[:, 1, :2].exp()), read=(ALL, slice(1, 3))),
        lambda s, x: (2 * x)[:, 1:].sin(),
    ),
    Row(
        "view view_of_a_box",
        (3, 4, 4),
        written(read=(ALL, slice(1, 3), slice(0, 3)), then=True),
        lambda s, x: (2 * x).exp()[:, 1:, :3].sin(),
    ),
    Row(
        "view view_of_a_box",
        (3, 4, 4),
        written(read=(ALL, 1, ALL, 2), then=True),
        lambda s, x: (2 * x).exp()[:, 1, :, 2].sin(),
    ),
    Row(
        "slice slice_of_concat",
        (3, 4, 4),
        lambda s, x: torch.cat([x, x.tanh(), x.exp()], 1)[:, 2:5],
        lambda s, x: torch.cat([x[:, 2:], x.tanh()[:, :2]], 1),
    ),
    Row("scale no_scale_and_no_shift", (3, 4, 4), lambda s, x: (x * 1.0).tanh(), lambda s, x: x.tanh()),
    Row("shift no_scale_and_no_shift", (3, 4, 4), lambda s, x: (x + 0).tanh(), lambda s, x: x.tanh()),
    Row(
        "dropout dropout_of_nothing",
        (3, 4, 4),
        lambda s, x: (x * mask(1.0)(x)).tanh(),
        lambda s, x: x.tanh(),
        training=True,
    ),
    Row(
        "scale scale_of_dropout",
        (3, 4, 4),
        lambda s, x: x * mask(0.8)(x) / 0.8,
        lambda s, x: x * (mask(0.8)(x) / 0.8),
        training=True,
    ),
    Row(
        "scale scale_of_dropout",
        (3, 4, 4),
        lambda s, x: x * mask(0.8)(x) * 3,
        lambda s, x: x * (mask(0.8)(x) * 3),
        training=True,
    ),
    Row(
        "dropout dropout_of_scale",
        (3, 4, 4),
        lambda s, x: x / 0.8 * mask(0.8)(x),
        lambda s, x: x * (mask(0.8)(x) / 0.8),
        training=True,
    ),
    Row(
        "dropout dropout_of_scale",
        (3, 4, 4),
        lambda s, x: x * -3 * mask(0.8)(x),
        lambda s, x: x * mask(0.8)(x) * -3,
        training=True,
    ),
    Row(
        "conv padding_before_conv",
        (3, 8, 8),
        lambda s, x: s.conv(F.pad(x, (2, 2, 1, 1))),
        lambda s, x: F.conv2d(x, s.conv.weight, s.conv.bias, 2, (1, 2), 2),
        conv(3, 4, 3, stride=2, dilation=2),
    ),
    Row(
        "conv padding_before_conv",
        (3, 8, 8),
        lambda s, x: s.conv(nn.ZeroPad2d(1)(x)),
        lambda s, x: F.conv2d(x, s.conv.weight, s.conv.bias, 1, 2),
        conv(3, 4, 3, padding=1),
    ),
    Row(
        "maxpool padding_before_maxpool",
        (3, 8, 8),
        lambda s, x: F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-float("inf")), 3, 2),
        lambda s, x: F.max_pool2d(x, 3, 2, 1),
    ),
    Row(
        "maxpool padding_before_maxpool",
        (3, 8, 8),
        lambda s, x: F.max_pool2d(F.pad(x.relu(), (1, 1, 1, 1)), 3, 2),
        lambda s, x: F.max_pool2d(x.relu(), 3, 2, 1),
    ),
    Row(
        "avgpool padding_before_avgpool",
        (3, 8, 8),
        lambda s, x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2),
        lambda s, x: F.avg_pool2d(x, 3, 2, 1),
    ),
    Row(
        "conv dilation_of_one",
        (3, 8, 8),
        lambda s, x: F.conv2d(x, s.conv.weight, s.conv.bias, dilation=(3, 2)),
        lambda s, x: F.conv2d(x, s.conv.weight, s.conv.bias, dilation=(1, 2)),
        conv(3, 4, (1, 3)),
    ),
    Row(
        "conv conv_of_everything",
        (3, 4, 5),
        lambda s, x: s.conv(x),
        lambda s, x: F.linear(x.flatten(1), s.conv.weight.flatten(1), s.conv.bias)[:, :, None, None],
        conv(3, 6, (4, 5), stride=2),
        elsewhere=(3, 5, 5),
    ),
    Row(
        "conv conv_of_everything",
        (3, 1, 1),
        lambda s, x: s.conv(x).flatten(1),
        lambda s, x: F.linear(x.flatten(1), s.conv.weight.flatten(1), s.conv.bias),
        conv(3, 6, 1),
        elsewhere=(3, 1, 2),
    ),
    Row("permute linear_over_channels", (3, 4, 5), channels_last, as_conv, linear(3, 6, bias=False)),
    Row("permute linear_over_channels", (3, 4, 5), flat_rows, as_conv, linear(3, 6)),
    Row(
        "reshape matrix_times_pixels",
        (3, 4, 5),
        lambda s, x: torch.bmm(s.fc.weight.expand(x.shape[0], -1, -1), x.flatten(2)).view(x.shape[0], -1, *x.shape[2:]),
        as_conv,
        linear(3, 6, bias=False),
    ),
    Row(
        "slice layer_in_parts",
        (5, 8),
        lambda s, x: s.fc(x).chunk(3, -1)[1],
        lambda s, x: F.linear(x, s.fc.weight[4:8], s.fc.bias[4:8]),
        linear(8, 12),
    ),
    Row(
        "slice layer_in_parts",
        (5, 8),
        lambda s, x: s.fc(x).reshape(BATCH, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)[1],
        lambda s, x: F.linear(x, s.fc.weight[8:16], s.fc.bias[8:16]).reshape(BATCH, 5, 2, 4).transpose(1, 2),
        linear(8, 24),
    ),
    Row(
        "slice layer_in_parts",
        (5, 8),
        lambda s, x: s.fc(x).reshape(BATCH, 5, 2, 3, 2)[..., 1, :],
        lambda s, x: F.linear(
            x, s.fc.weight.reshape(2, 3, 2, 8)[:, 1].reshape(4, 8), s.fc.bias.reshape(2, 3, 2)[:, 1].flatten()
        ).reshape(BATCH, 5, 2, 2),
        linear(8, 12),
    ),
    Row(
        "slice layer_in_parts",
        (3, 8, 8),
        lambda s, x: s.conv(x)[:, 1:3],
        lambda s, x: F.conv2d(x, s.conv.weight[1:3], s.conv.bias[1:3]),
        conv(3, 4, 3),
    ),
    Row(
        "slice layer_in_parts",
        (8,),
        lambda s, x: (s.fc(x) + F.linear(x, s.b)).split([3, 9], 1)[0],
        lambda s, x: F.linear(x, s.fc.weight[:3], s.fc.bias[:3]) + F.linear(x, s.b[:3]),
        linear(8, 12, b=(12, 8)),
    ),
    Row(
        "sum bias_added_apart",
        (3, 8, 8),
        lambda s, x: s.conv(x) + s.b,
        lambda s, x: F.conv2d(x, s.conv.weight, s.b.flatten()),
        conv(3, 4, 3, bias=False, b=(1, 4, 1, 1)),
    ),
    Row(
        "sum bias_added_apart",
        (3, 8, 8),
        lambda s, x: s.b.view(4, 1, 1) + s.conv(x),
        lambda s, x: F.conv2d(x, s.conv.weight, s.b),
        conv(3, 4, 3, bias=False, b=(4,)),
    ),
    Row(
        "sum bias_added_apart",
        (5,),
        lambda s, x: s.fc(x) + s.b,
        lambda s, x: F.linear(x, s.fc.weight, s.b),
        linear(5, 4, bias=False, b=(4,)),
    ),
    Row(
        "sum bias_added_apart",
        (5, 8),
        lambda s, x: s.fc(x) + s.b,
        lambda s, x: F.linear(x, s.fc.weight, s.b),
        linear(8, 4, bias=False, b=(4,)),
    ),
    Row(
        "sum bias_added_apart",
        (3, 8, 8),
        lambda s, x: s.norm(x) + s.b.view(-1, 1, 1),
        lambda s, x: F.batch_norm(x, s.norm.running_mean, s.norm.running_var, None, s.b),
        norm(3, b=(3,)),
    ),
    Row(
        "product scale_applied_apart",
        (3, 8, 8),
        lambda s, x: s.norm(x) * s.w.view(-1, 1, 1),
        lambda s, x: F.batch_norm(x, s.norm.running_mean, s.norm.running_var, s.w),
        norm(3, w=(3,)),
    ),
    Row(
        "product scale_applied_apart",
        (3,),
        lambda s, x: s.w * s.norm(x),
        lambda s, x: F.batch_norm(x, s.norm.running_mean, s.norm.running_var, s.w),
        norm(3, nn.BatchNorm1d, w=(3,)),
    ),
    Row(
        "drop_path drop_path",
        (3, 4, 5),
        lambda s, x: StochasticDepth(0.4, "row")(x),
        lambda s, x: x * (x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(0.6) / 0.6),
        training=True,
        built=lambda b, x: b.make("drop_path", x, shape=x.shape, p=0.4, of="images"),
    ),
    Row(
        "pad_channels channels_of_zeros",
        (3, 4, 5),
        lambda s, x: torch.cat([x.new_zeros(x.shape[0], 1, 4, 5), x, x.new_zeros(x.shape[0], 2, 4, 5)], 1),
        lambda s, x: F.pad(x, (0, 0, 0, 0, 1, 2)),
        built=lambda b, x: b.make("pad_channels", x, shape=(BATCH, 6, 4, 5), out=6, before=1),
    ),
    Row(
        "concat concat_of_zeros",
        (3, 4, 5),
        lambda s, x: torch.cat([torch.zeros_like(x), x, x * 0], 1),
        lambda s, x: F.pad(x, (0, 0, 0, 0, 3, 3)),
    ),
    Row(
        "concat concat_of_zeros",
        (4, 4, 5),
        lambda s, x: torch.cat([x[:, 2:], x[:, :2], x.new_zeros(x.shape[0], 1, 4, 5)], 1),
        lambda s, x: F.pad(torch.cat([x[:, 2:], x[:, :2]], 1), (0, 0, 0, 0, 0, 1)),
    ),
]


def row_ids(rows: list[Any]) -> Iterator[str]:
    """A rule's kind and name."""
    return (row.rule.replace(" ", "-").replace(",", "") for row in rows)


def registered() -> set[tuple[str, str]]:
    """Every rule, once for each kind that it is for."""
    return {(kind, one.function.__name__) for kind, rules in RULES.items() for one in rules}


def test_every_rule_has_a_row() -> None:
    """No rule is without a proof on numbers, and no row is without a rule."""
    assert {(row.kind, row.name) for row in ROWS} == registered()


def both(row: Row) -> tuple[Graph, Graph]:
    """The graphs of a row's two functions."""
    rewritten, plain = nets(row.parts, row.rewritten, row.plain)
    second = observed(plain, row.x, row.training, row.here)
    if row.built is not None:
        x = Node("input", shape=(BATCH, *row.x), name="input")
        builder = Builder(Form.OF_ONE if row.here else Form.AT_ANY_SIZE)
        return builder.finish(Graph(x, {"": row.built(builder, x)})), second
    return observed(rewritten, row.x, row.training, row.here), second


@pytest.mark.parametrize("row", ROWS, ids=row_ids(ROWS))
def test_rule_applies(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the rule the two functions have one graph, without it they have not."""
    rewritten, plain = both(row)
    assert rewritten.outputs[""].key == plain.outputs[""].key
    assert rewritten.outputs[""].shape == plain.outputs[""].shape
    others = [one for one in RULES[row.kind] if one.function.__name__ != row.name]
    assert len(others) == len(RULES[row.kind]) - 1
    monkeypatch.setitem(RULES, row.kind, others)
    without, plain = both(row)
    assert (without.outputs[""].key == plain.outputs[""].key) == row.redundant
    assert not row.redundant or words(without) - words(rewritten)


TOLD = [row for row in ROWS if any(one.words and one.function.__name__ == row.name for one in RULES.get(row.kind, ()))]


@pytest.mark.parametrize("row", TOLD, ids=row_ids(TOLD))
def test_rule_is_told(row: Row) -> None:
    """A graph that has its form by a rule that is no mere notation says so: it is equivalent, not the same."""
    (told,) = {one.words for one in RULES[row.kind] if one.function.__name__ == row.name}
    rewritten, _ = both(row)
    assert told in words(rewritten)


@pytest.mark.parametrize("row", ROWS, ids=row_ids(ROWS))
def test_rule_is_true(row: Row) -> None:
    """The two functions compute the same numbers from any, and have the same gradients."""
    rewritten, plain = nets(row.parts, row.rewritten, row.plain)
    for seed in range(3):
        y, dy = computed(rewritten, row.x, row.training, seed)
        z, dz = computed(plain, row.x, row.training, seed)
        torch.testing.assert_close(y, z, rtol=1e-10, atol=1e-10)
        assert dy.keys() == dz.keys()
        for name, gradient in dy.items():
            torch.testing.assert_close(gradient, dz[name], rtol=1e-10, atol=1e-10)


SOMEWHERE = [row for row in ROWS if row.elsewhere is not None]


@pytest.mark.parametrize("row", SOMEWHERE, ids=row_ids(SOMEWHERE))
def test_rule_of_a_size(row: Row) -> None:
    """What is true at some sizes only is not applied unless asked for, nor at a size where it is false."""
    assert row.here
    assert row.elsewhere is not None
    rewritten, plain = nets(row.parts, row.rewritten, row.plain)
    assert observed(rewritten, row.x, row.training).outputs[""].key != observed(plain, row.x).outputs[""].key

    def key(net: Net) -> object:
        try:
            return observed(net, row.elsewhere or (), row.training, here=True).outputs[""].key
        except RuntimeError:
            return None  # it does not run there at all

    assert key(rewritten) != key(plain)
    if None not in (key(rewritten), key(plain)):
        assert differ(rewritten, plain, row.elsewhere, row.training)


def test_every_rule_of_a_size_is_false_at_another() -> None:
    """Each rule that is marked `here` has a row with a size at which it would be wrong."""
    marked = {
        (kind, one.function.__name__)
        for kind, rules in RULES.items()
        for one in rules
        if one.form is not Form.AT_ANY_SIZE
    }
    assert {(row.kind, row.name) for row in SOMEWHERE} == marked


# What a rule must not take for the same.


@dataclass
class Miss:
    """Two functions that are nearly, but not, what a rule is about."""

    name: str
    x: Shape
    one: Function
    other: Function
    parts: Parts = none
    training: bool = False

    @property
    def rule(self) -> str:
        """The rule, for the test's name."""
        return self.name


def relu_after(f: Callable[[Tensor], Tensor]) -> Function:
    """relu(f(x))."""
    return lambda s, x: torch.relu(f(x))


def alone(f: Callable[[Tensor], Tensor]) -> Function:
    """f(x)."""
    return lambda s, x: f(x)


NEGATIVE: dict[str, Callable[[Tensor], Tensor]] = {
    "the input": lambda x: x,
    "silu": functional.silu,
    "a scaled relu": lambda x: x.relu() * -1,
    "a shifted relu": lambda x: x.relu() - 0.1,
    "a difference": lambda x: x.relu() - x.sigmoid(),
    "a sum": lambda x: x.relu() + x,
    "a product": lambda x: x.sigmoid() * x.tanh(),
    "a concat": lambda x: torch.cat([x.relu(), x], 1),
    "a pool": lambda x: F.avg_pool2d(x, 2),
    "a padded relu": lambda x: F.pad(x.relu(), (1, 1, 1, 1), value=-1),
    "a relu with a constant below 0": lambda x: x.relu() + torch.full_like(x, -1),
    "a pool with a divisor below 0": lambda x: F.avg_pool2d(x.relu(), 2, divisor_override=-3),
}

MISSES: list[Miss] = [
    Miss(
        "parts put together in another order",
        (4, 4, 4),
        lambda s, x: torch.cat(x.chunk(2, 1)[::-1], 1),
        lambda s, x: x,
    ),
    Miss("parts of which one is lost", (4, 4, 4), lambda s, x: torch.cat(x.split(1, 1)[:3], 1), lambda s, x: x),
    Miss("parts without the first one", (4, 4, 4), lambda s, x: torch.cat(x.split(1, 1)[1:], 1), lambda s, x: x),
    Miss(
        "parts put together along another axis",
        (4, 4, 4),
        lambda s, x: torch.cat(x.chunk(2, 1), 2),
        lambda s, x: torch.cat(x.chunk(2, 2), 1),
    ),
    Miss(
        "parts of two values",
        (4, 4, 4),
        lambda s, x: torch.cat([x[:, :2], x.tanh()[:, 2:]], 1),
        lambda s, x: x,
    ),
    *(
        Miss(f"a norm written out, {name}", (4, 5, 5), written_out(**more), norm_of_torch, lambda: {"n": WrittenOut()})
        for name, more in {
            "another eps": {"eps": 1e-1},
            "its eps outside": {"eps": 0.0, "outside": 1e-3},
            "its mean added": {"sign": -1.0},
            "its mean twice": {"sign": 2.0},
            "its mean without a weight": {"weighted": False},
        }.items()
    ),
    Miss("another gate", (3, 4, 4), gated(lambda z, x, y: (1 - z) * x + z.cos() * y), gated(between)),
    Miss("a gate that is added", (3, 4, 4), gated(lambda z, x, y: (1 + z) * x + z * y), gated(between)),
    Miss("a gate taken from another number", (3, 4, 4), gated(lambda z, x, y: (2 - z) * x + z * y), gated(between)),
    Miss("a gate twice", (3, 4, 4), gated(lambda z, x, y: (1 - 2 * z) * x + z * y), gated(between)),
    Miss("the other way round", (3, 4, 4), gated(lambda z, x, y: torch.lerp(y, x, z)), gated(between)),
    Miss(
        "every second channel written",
        (4, 4, 4),
        written(((ALL, slice(0, 4, 2)), lambda x: x[:, :2].exp())),
        written(((ALL, slice(0, 2)), lambda x: x[:, :2].exp())),
    ),
    Miss(
        "a part read that was written in part",
        (4, 4, 4),
        written(((ALL, slice(1, 2)), lambda x: x[:, :1].exp()), read=(ALL, slice(0, 2))),
        lambda s, x: (2 * x)[:, :2].sin(),
    ),
    Miss(
        "a box read that was written in part",
        (4, 4, 4),
        written(((ALL, slice(1, 3), slice(1, 3)), lambda x: x[:, :2, :2].exp()), read=(ALL, slice(0, 2), slice(0, 2))),
        lambda s, x: (2 * x)[:, :2, :2].sin(),
    ),
    Miss(
        "two parts that meet, the other one last",
        (4, 4, 4),
        written(((ALL, slice(0, 2)), lambda x: x[:, :2].exp()), ((ALL, slice(1, 3)), lambda x: x[:, :2].cos())),
        written(((ALL, slice(1, 3)), lambda x: x[:, :2].cos()), ((ALL, slice(0, 2)), lambda x: x[:, :2].exp())),
    ),
    Miss(
        "a part of another axis that is as long",
        (4, 4, 4),
        written(((ALL, ALL, 1), lambda x: x[:, :, 0].exp())),
        written(((ALL, ALL, ALL, 1), lambda x: x[:, :, 0].exp())),
    ),
    Miss(
        "a view with its axes turned",
        (4, 4, 4),
        lambda s, x: (lambda y: (y.transpose(2, 3), y.exp_())[0].sin())(2 * x),
        lambda s, x: (2 * x).exp().sin(),
    ),
    Miss(
        "a part along another axis than that of joining",
        (4, 4, 4),
        lambda s, x: torch.cat([x, x.exp()], 1)[:, :, 1:3],
        lambda s, x: torch.cat([x[:, 1:3], x.exp()[:, 1:3]], 2).transpose(1, 2).reshape(-1, 8, 2, 4),
    ),
    Miss("a mean that moves what is left", (4, 4, 4), lambda s, x: x.transpose(1, 3).mean(2), lambda s, x: x.mean(2)),
    Miss("a total of totals of other axes", (4, 4, 4), lambda s, x: x.sum(1).sum(1), lambda s, x: x.sum((2, 3))),
    Miss(
        "a norm of other channels",
        (4, 4, 4),
        lambda s, x: s.norm(x.reshape(-1, 4, 4, 1)).reshape(x.shape) + s.b,
        lambda s, x: s.norm(x) + s.b,
        norm(4, b=(4,)),
        training=True,
    ),
    Miss(
        "a norm of what is moved",
        (4, 4, 4),
        lambda s, x: s.norm(x.transpose(1, 2)).transpose(1, 2) + s.b,
        lambda s, x: s.norm(x) + s.b,
        norm(4, b=(4,)),
    ),
    Miss(
        "every second pixel before a 3x3 convolution",
        (3, 9, 9),
        lambda s, x: s.conv(x[:, :, ::2, ::2]),
        lambda s, x: F.conv2d(x, s.conv.weight, s.conv.bias, 2, 1)[:, :, :5, :5],
        conv(3, 4, 3, padding=1),
    ),
    Miss(
        "every second pixel from the second on",
        (3, 8, 8),
        lambda s, x: s.conv(x[:, :, 1::2, 1::2]),
        lambda s, x: F.conv2d(x, s.conv.weight, s.conv.bias, 2),
        conv(3, 4, 1),
    ),
    Miss(
        "every second pixel of a part",
        (3, 8, 8),
        lambda s, x: s.conv(x[:, :, :6:2, :6:2]),
        lambda s, x: F.conv2d(x, s.conv.weight, s.conv.bias, 2),
        conv(3, 4, 1),
    ),
    Miss(
        "every second channel",
        (8, 8, 8),
        lambda s, x: F.max_pool2d(x, 2)[:, ::2],
        lambda s, x: F.max_pool2d(x, 2, 4),
    ),
    Miss(
        "every second pixel before padding",
        (3, 8, 8),
        lambda s, x: F.conv2d(x[:, :, ::2, ::2], s.conv.weight, None, 1, 1),
        lambda s, x: F.conv2d(x, s.conv.weight, None, 2, 1),
        conv(3, 4, 1),
    ),
    *(
        Miss(
            f"every second output of {name} that rounds up",
            (3, 3, 3),
            lambda s, x, f=pool: f(x, 2, 1, 0, ceil_mode=True)[:, :, ::2, ::2],
            lambda s, x, f=pool: f(x, 2, 2, 0, ceil_mode=True),
        )
        for name, pool in {"a max-pool": F.max_pool2d, "an average pool": F.avg_pool2d}.items()
    ),
    Miss(
        "a strided pool of single elements that rounds up",
        (3, 8, 8),
        lambda s, x: F.avg_pool2d(x, 1, 2, ceil_mode=True),
        lambda s, x: x[:, :, 1::2, 1::2],
    ),
    *(Miss(f"relu of {name}", (3, 8, 8), relu_after(f), alone(f)) for name, f in NEGATIVE.items()),
    Miss(
        "relu of a mask with a scale below 0",
        (3, 4, 4),
        lambda s, x: torch.relu(x.relu() * mask(0.5)(x) * -2),
        lambda s, x: x.relu() * mask(0.5)(x) * -2,
        training=True,
    ),
    Miss(
        "relu before a mask with a scale below 0",
        (3, 4, 4),
        lambda s, x: torch.relu(x * mask(0.5)(x) * -2),
        lambda s, x: torch.relu(x) * mask(0.5)(x) * -2,
        training=True,
    ),
    Miss("relu and avgpool", (3, 8, 8), lambda s, x: F.avg_pool2d(x, 2).relu(), lambda s, x: F.avg_pool2d(x.relu(), 2)),
    Miss(
        "silu and maxpool",
        (3, 8, 8),
        lambda s, x: F.silu(F.max_pool2d(x - 3, 2)),
        lambda s, x: F.max_pool2d(F.silu(x - 3), 2),
    ),
    Miss(
        "relu and a norm",
        (3, 4, 4),
        lambda s, x: s.norm(x).relu() + s.b,
        lambda s, x: s.norm(x.relu()) + s.b,
        norm(3, b=(4,)),
    ),
    Miss(
        "silu and dropout",
        (3, 4, 4),
        lambda s, x: F.silu(F.dropout(x)),
        lambda s, x: F.dropout(F.silu(x)),
        training=True,
    ),
    Miss("a mask from another number on", (3, 4, 4), lambda s, x: x * (x > 0.1), lambda s, x: x.relu()),
    Miss("a mask of another value", (3, 4, 4), lambda s, x: x * (x.flip(1) > 0), lambda s, x: x.relu()),
    Miss("a mask of what is below", (3, 4, 4), lambda s, x: x * (x < 0), lambda s, x: x.relu()),
    Miss("a mask in whole numbers of another", (3, 4, 4), lambda s, x: x * (-x > 0).long(), lambda s, x: x.relu()),
    Miss("another number elsewhere", (3, 4, 4), lambda s, x: torch.where(x > 0, x, 0.5), lambda s, x: x.relu()),
    Miss("the other one elsewhere", (3, 4, 4), lambda s, x: torch.where(x > 0, 0.0, x), lambda s, x: x.relu()),
    Miss("filled with another number", (3, 4, 4), lambda s, x: x.masked_fill(x <= 0, 0.5), lambda s, x: x.relu()),
    Miss("filled where it is above", (3, 4, 4), lambda s, x: x.masked_fill(x > 0, 0), lambda s, x: x.relu()),
    Miss("sigmoid of another value", (3, 4, 4), lambda s, x: x * torch.sigmoid(-x), lambda s, x: F.silu(x)),
    Miss("sigmoid of a relu", (3, 4, 4), lambda s, x: x * torch.sigmoid(x.relu()), lambda s, x: F.silu(x)),
    Miss("swish with a beta", (3, 4, 4), lambda s, x: x * torch.sigmoid(1.702 * x), lambda s, x: F.silu(x)),
    Miss("silu with three factors", (3, 4, 4), lambda s, x: x * (x * x.sigmoid()), lambda s, x: F.silu(x)),
    Miss("silu with two gates", (3, 4, 4), lambda s, x: x * x.sigmoid() * x.sigmoid(), lambda s, x: F.silu(x)),
    Miss("a gate of channels", (3, 4, 4), lambda s, x: x * x.mean((2, 3), True).sigmoid(), lambda s, x: F.silu(x)),
    Miss("x + sigmoid(x)", (3, 4, 4), lambda s, x: x + x.sigmoid(), lambda s, x: F.silu(x)),
    Miss(
        "a pool over a part of the map",
        (3, 8, 8),
        lambda s, x: F.avg_pool2d(x, 7),
        lambda s, x: F.adaptive_avg_pool2d(x, 1),
    ),
    Miss(
        "a pool over the map and its padding",
        (3, 7, 7),
        lambda s, x: F.avg_pool2d(x, 7, 7, 1),
        lambda s, x: F.adaptive_avg_pool2d(x, 1),
    ),
    Miss(
        "a pool over the map with another divisor",
        (3, 7, 7),
        lambda s, x: F.avg_pool2d(x, 7, divisor_override=48),
        lambda s, x: F.adaptive_avg_pool2d(x, 1),
    ),
    Miss(
        "a pool over the other axis",
        (3, 7, 1),
        lambda s, x: F.avg_pool2d(x, (7, 1)),
        lambda s, x: F.avg_pool2d(x, (1, 1)),
    ),
    Miss("a max for a mean", (3, 7, 7), lambda s, x: F.max_pool2d(x, 7), lambda s, x: F.avg_pool2d(x, 7)),
    Miss(
        "padding that counts",
        (3, 8, 8),
        lambda s, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
        lambda s, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=True),
    ),
    Miss("a pool that strides", (3, 8, 8), lambda s, x: F.max_pool2d(x, 1, 2), lambda s, x: x),
    Miss(
        "a pool of single elements with a divisor",
        (3, 8, 8),
        lambda s, x: F.avg_pool2d(x, 1, divisor_override=2),
        lambda s, x: x,
    ),
    Miss("a pool of single columns", (3, 8, 8), lambda s, x: F.max_pool2d(x, (1, 2), 1), lambda s, x: x),
    Miss(
        "an adaptive pool that does not divide",
        (3, 7, 7),
        lambda s, x: F.adaptive_avg_pool2d(x, 4),
        lambda s, x: F.avg_pool2d(x, 2, 2, ceil_mode=True),
    ),
    Miss(
        "an adaptive pool that divides columns only",
        (3, 7, 8),
        lambda s, x: F.adaptive_avg_pool2d(x, 4),
        lambda s, x: F.avg_pool2d(x, (1, 2), (2, 2)),
    ),
    Miss(
        "an adaptive pool that enlarges",
        (3, 2, 2),
        lambda s, x: F.adaptive_avg_pool2d(x, 4),
        lambda s, x: F.adaptive_avg_pool2d(x, 2),
    ),
    Miss(
        "an adaptive pool to one row",
        (3, 4, 4),
        lambda s, x: F.adaptive_avg_pool2d(x, (1, 2)),
        lambda s, x: F.adaptive_avg_pool2d(x, 1),
    ),
    Miss("a mean over channels", (4, 4, 4), lambda s, x: x.mean((1, 2)), lambda s, x: x.mean((2, 3))),
    Miss("a mean over rows", (4, 4, 4), lambda s, x: x.mean(2), lambda s, x: x.mean(3)),
    Miss(
        "a mean over pixels in the other order",
        (4, 2, 2),
        lambda s, x: x.flatten(2).mean(1),
        lambda s, x: x.flatten(2).mean(2),
    ),
    Miss(
        "a mean over what was the channels",
        (4, 4, 4),
        lambda s, x: x.permute(0, 2, 3, 1).mean((2, 3)),
        lambda s, x: x.mean((2, 3)),
    ),
    Miss(
        "a mean of groups of channels",
        (4, 2, 2),
        lambda s, x: x.reshape(-1, 2, 8).mean(2),
        lambda s, x: x.mean((2, 3)),
    ),
    Miss("a mean over the batch", (4, 2, 2), lambda s, x: x.mean((0, 2)), lambda s, x: x.mean((1, 2))),
    Miss(
        "a mean of a reshaped mean",
        (3, 8, 8),
        lambda s, x: x.mean(2).view(-1, 8, 1, 3).mean(3).flatten(1),
        lambda s, x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    ),
    Miss(
        "a mean of a mean and its reshape",
        (3, 8, 8),
        lambda s, x: x.mean(2).view(-1, 8, 1, 3).mean(3),
        lambda s, x: x.mean((2, 3)).view(-1, 3, 1),
    ),
    Miss("a mean of a max", (3, 4, 4), lambda s, x: x.amax(3).mean(2), lambda s, x: x.mean((2, 3))),
    Miss("a total over n + 1", (3, 4, 5), lambda s, x: x.sum((2, 3)) / 21, lambda s, x: x.mean((2, 3))),
    Miss("a total over rows only", (3, 4, 5), lambda s, x: x.sum((2, 3)) / 4, lambda s, x: x.mean((2, 3))),
    Miss("a total of other axes", (4, 4, 4), lambda s, x: x.sum((1, 2)) / 16, lambda s, x: x.mean((2, 3))),
    Miss("a scale of 2", (3, 4, 4), lambda s, x: x * 2, lambda s, x: x),
    Miss("a scale of -1", (3, 4, 4), lambda s, x: -x, lambda s, x: x),
    Miss("a scale of -1 and of -2", (3, 4, 4), lambda s, x: -x, lambda s, x: x * -2),
    Miss("a shift of -1 and of -2", (3, 4, 4), lambda s, x: x - 1, lambda s, x: x - 2),
    Miss("bounds of -1 and of -2", (3, 4, 4), lambda s, x: x.clamp(-1, 1), lambda s, x: x.clamp(-2, 1)),
    Miss("a shift of 1", (3, 4, 4), lambda s, x: x + 1, lambda s, x: x),
    Miss("a shift and a scale", (3, 4, 4), lambda s, x: x + 2, lambda s, x: x * 2),
    Miss("permutes that change the order", (4, 4, 4), lambda s, x: x.permute(0, 2, 3, 1), lambda s, x: x),
    Miss(
        "permutes that do not undo each other",
        (4, 4, 4),
        lambda s, x: x.permute(0, 2, 3, 1).permute(0, 2, 3, 1),
        lambda s, x: x,
    ),
    Miss("a transpose, flattened", (3, 4, 4), lambda s, x: x.transpose(2, 3).flatten(1), lambda s, x: x.flatten(1)),
    Miss(
        "a flatten of channels last",
        (3, 2, 2),
        lambda s, x: x.permute(0, 2, 3, 1).flatten(1),
        lambda s, x: x.flatten(1),
    ),
    Miss("a permute and a reshape", (3, 4, 5), lambda s, x: x.permute(0, 2, 3, 1), lambda s, x: x.view(-1, 4, 5, 3)),
    Miss("a reshape to a map on its side", (3, 4, 5), lambda s, x: x.view(-1, 3, 5, 4), lambda s, x: x.transpose(2, 3)),
    Miss("a slice of a part", (4, 4, 4), lambda s, x: x[:, :2], lambda s, x: x[:, 2:]),
    Miss("a slice of another axis", (4, 4, 4), lambda s, x: x[:, :2], lambda s, x: x[:, :, :2]),
    Miss("a slice with steps", (4, 4, 4), lambda s, x: x[:, :, ::2], lambda s, x: x[:, :, :2]),
    Miss("a flip", (4, 4, 4), lambda s, x: x.flip(1), lambda s, x: x),
    Miss(
        "a concat in another order",
        (3, 4, 4),
        lambda s, x: torch.cat([x.tanh(), x], 1),
        lambda s, x: torch.cat([x, x.tanh()], 1),
    ),
    Miss(
        "a concat along another axis",
        (3, 3, 3),
        lambda s, x: torch.cat([torch.cat([x, x.sin()], 2), torch.cat([x.cos(), x.tanh()], 2)], 1),
        lambda s, x: torch.cat([x, x.sin(), x.cos(), x.tanh()], 1),
    ),
    Miss(
        "a sum of reshapes of values of two shapes",
        (3, 4, 5),
        lambda s, x: x.tanh().flatten(1) + x.sin().transpose(1, 2).flatten(1),
        lambda s, x: (x.tanh() + x.sin()).flatten(1),
    ),
    Miss(
        "a sum of what is moved and what is not, flattened",
        (4, 4, 4),
        lambda s, x: x.tanh().flatten(1) + x.sin().transpose(2, 3).flatten(1),
        lambda s, x: (x.tanh() + x.sin()).flatten(1),
    ),
    *(
        Miss(
            f"{name} of each with each",
            (4, 4),
            lambda s, x, f=function: f(x.tanh().view(-1, 16, 1), x.sin().view(-1, 1, 16)),
            lambda s, x, f=function: f(x.tanh().view(-1, 1, 16), x.sin().view(-1, 16, 1)),
        )
        for name, function in {"a sum": torch.add, "a product": torch.mul}.items()
    ),
    Miss(
        "a sum or a product of reshapes",
        (3, 4, 5),
        lambda s, x: x.tanh().flatten(1) + x.sin().flatten(1),
        lambda s, x: x.tanh().flatten(1) * x.sin().flatten(1),
    ),
    Miss("softmax of a reshape", (3, 4, 4), lambda s, x: x.flatten(1).softmax(1), lambda s, x: x.softmax(1).flatten(1)),
    Miss(
        "dropout of channels",
        (3, 4, 4),
        lambda s, x: F.dropout2d(x),
        lambda s, x: F.dropout(x),
        training=True,
    ),
    Miss(
        "dropout of channels of what is reshaped",
        (4, 4, 4),
        lambda s, x: F.dropout2d(x.view(-1, 2, 4, 8)).flatten(1),
        lambda s, x: F.dropout2d(x).flatten(1),
        training=True,
    ),
    Miss("dropout that drops", (3, 4, 4), lambda s, x: F.dropout(x, 0.1), lambda s, x: x, training=True),
    Miss(
        "dropout that does not scale",
        (3, 4, 4),
        lambda s, x: x * mask(0.8)(x),
        lambda s, x: x * mask(0.8)(x) / 0.8,
        training=True,
    ),
    Miss(
        "dropout that scales by the rate it drops",
        (3, 4, 4),
        lambda s, x: x * mask(0.8)(x) / 0.2,
        lambda s, x: x * mask(0.8)(x) / 0.8,
        training=True,
    ),
    Miss(
        "dropout that scales twice",
        (3, 4, 4),
        lambda s, x: F.dropout(x, 0.2) / 0.8,
        lambda s, x: F.dropout(x, 0.2),
        training=True,
    ),
    Miss(
        "dropout that scales before and after it",
        (3, 4, 4),
        lambda s, x: x / 0.8 * mask(0.8)(x) / 0.8,
        lambda s, x: x * mask(0.8)(x) / 0.8,
        training=True,
    ),
    Miss(
        "a scale below 0 before a mask",
        (3, 4, 4),
        lambda s, x: x * -2 * mask(0.8)(x),
        lambda s, x: x * 2 * mask(0.8)(x),
        training=True,
    ),
    Miss(
        "a shift before a mask",
        (3, 4, 4),
        lambda s, x: (x + 2) * mask(0.8)(x),
        lambda s, x: x * mask(0.8)(x) + 2,
        training=True,
    ),
    *(
        Miss(
            f"{name} before a convolution",
            (3, 8, 8),
            lambda s, x, f=pad: F.conv2d(f(x), s.conv.weight),
            lambda s, x: F.conv2d(x, s.conv.weight, padding=1),
            conv(3, 4, 3, bias=False),
        )
        for name, pad in {
            "asymmetric zeros": lambda x: F.pad(x, (0, 2, 0, 2)),
            "zeros on two sides": lambda x: F.pad(x, (1, 1, 0, 0)),
            "ones": lambda x: F.pad(x, (1, 1, 1, 1), value=1.0),
            "a reflection": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
            "a replication": lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate"),
            "the other side": lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"),
        }.items()
    ),
    Miss(
        "a cut before a convolution",
        (3, 8, 8),
        lambda s, x: F.conv2d(F.pad(x, (-1, -1, -1, -1)), s.conv.weight, padding=1),
        lambda s, x: F.conv2d(x, s.conv.weight),
        conv(3, 4, 3, bias=False),
    ),
    Miss(
        "channels of zeros before a convolution",
        (3, 8, 8),
        lambda s, x: s.conv(F.pad(x, (0, 0, 0, 0, 0, 1))),
        lambda s, x: s.conv(F.pad(x, (0, 0, 0, 0, 1, 0))),
        conv(4, 4, 3),
    ),
    Miss(
        "zeros before a max-pool of what may be negative",
        (3, 8, 8),
        lambda s, x: F.max_pool2d(F.pad(x - 1, (1, 1, 1, 1)), 3, 2),
        lambda s, x: F.max_pool2d(x - 1, 3, 2, 1),
    ),
    Miss(
        "ones before a max-pool",
        (3, 8, 8),
        lambda s, x: F.max_pool2d(F.pad(x.relu(), (1, 1, 1, 1), value=1.0), 3, 2),
        lambda s, x: F.max_pool2d(x.relu(), 3, 2, 1),
    ),
    Miss(
        "asymmetric zeros before a max-pool",
        (3, 8, 8),
        lambda s, x: F.max_pool2d(F.pad(x.relu(), (0, 2, 0, 2)), 3, 2),
        lambda s, x: F.max_pool2d(x.relu(), 3, 2, 1),
    ),
    Miss(
        "padding before a max-pool that rounds up",
        (3, 4, 4),
        lambda s, x: F.max_pool2d(F.pad(x.relu(), (1, 1, 1, 1)), 2, 5, ceil_mode=True),
        lambda s, x: F.max_pool2d(x.relu(), 2, 5, 1, ceil_mode=True),
    ),
    Miss(
        "zeros before an average pool that does not count its own",
        (3, 8, 8),
        lambda s, x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2),
        lambda s, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    ),
    Miss(
        "zeros before an average pool that has some and does not count them",
        (3, 8, 8),
        lambda s, x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 5, 2, 1, count_include_pad=False),
        lambda s, x: F.avg_pool2d(x, 5, 2, 2, count_include_pad=False),
    ),
    Miss(
        "a convolution that does not cover the map",
        (3, 4, 5),
        lambda s, x: s.conv(x),
        lambda s, x: F.linear(x[..., :4].flatten(1), s.conv.weight.flatten(1), s.conv.bias)[:, :, None, None],
        conv(3, 6, 4),
    ),
    Miss(
        "a convolution over the map with groups",
        (4, 4, 4),
        lambda s, x: s.conv(x),
        lambda s, x: F.linear(x[:, :2].flatten(1), s.conv.weight.flatten(1), s.conv.bias)[:, :, None, None],
        conv(4, 6, 4, groups=2),
    ),
    Miss(
        "a convolution over the map and padding",
        (3, 4, 4),
        lambda s, x: s.conv(x)[:, :, :1, :1],
        lambda s, x: F.linear(x.flatten(1), s.conv.weight.flatten(1), s.conv.bias)[:, :, None, None],
        conv(3, 6, 4, padding=1),
    ),
    Miss(
        "a dilation of more than one element",
        (3, 9, 9),
        lambda s, x: F.conv2d(x, s.conv.weight, None, 1, 2, 2),
        lambda s, x: F.conv2d(x, s.conv.weight, None, 1, 1, 1),
        conv(3, 4, 3),
    ),
    Miss(
        "a linear layer over the columns",
        (4, 4, 4),
        lambda s, x: s.fc(x),
        as_conv,
        linear(4, 4),
    ),
    Miss(
        "a linear layer over the channels, not moved back",
        (4, 4, 4),
        lambda s, x: s.fc(x.permute(0, 2, 3, 1)),
        as_conv,
        linear(4, 4),
    ),
    Miss(
        "a linear layer over the channels, moved elsewhere",
        (4, 4, 4),
        lambda s, x: s.fc(x.permute(0, 2, 3, 1)).permute(0, 3, 2, 1),
        as_conv,
        linear(4, 4),
    ),
    Miss(
        "a linear layer over half of the channels",
        (4, 3, 3),
        lambda s, x: s.fc(x.permute(0, 2, 3, 1).reshape(-1, 2)).reshape(x.shape[0], 3, 3, 4).permute(0, 3, 1, 2),
        lambda s, x: F.conv2d(x[:, :2], s.fc.weight[:, :, None, None], s.fc.bias).repeat(1, 2, 1, 1),
        linear(2, 2),
    ),
    Miss(
        "a linear layer over pixels that were never moved",
        (4, 4, 4),
        lambda s, x: s.fc(x.reshape(-1, 4)).view(x.shape[0], 4, 4, 4).permute(0, 3, 1, 2),
        as_conv,
        linear(4, 4),
    ),
    Miss(
        "a matrix from the other side",
        (4, 4, 4),
        lambda s, x: torch.matmul(x.flatten(2).transpose(1, 2), s.fc.weight).view(x.shape[0], 4, 4, 4),
        as_conv,
        linear(4, 4, bias=False),
    ),
    Miss(
        "a bias of rows",
        (4, 4, 4),
        lambda s, x: s.conv(x) + s.b.view(1, 1, 4, 1),
        lambda s, x: s.conv(x) + s.b.view(1, 4, 1, 1),
        conv(4, 4, 1, bias=False, b=(4,)),
    ),
    Miss(
        "a bias of columns",
        (4, 4, 4),
        lambda s, x: s.conv(x) + s.b,
        lambda s, x: s.conv(x) + s.b.view(1, 4, 1, 1),
        conv(4, 4, 1, bias=False, b=(4,)),
    ),
    Miss(
        "a bias of tokens",
        (5, 8),
        lambda s, x: s.fc(x) + s.b[:, None],
        lambda s, x: s.fc(x) + s.b,
        linear(8, 5, bias=False, b=(5,)),
    ),
    Miss(
        "a bias of tokens, in inference mode",
        (5, 8),
        torch.inference_mode()(lambda s, x: s.fc(x) + s.b[:, None]),
        torch.inference_mode()(lambda s, x: F.linear(x, s.fc.weight, s.b)),
        linear(8, 5, bias=False, b=(5,)),
    ),
    Miss(
        "a second bias",
        (3, 8, 8),
        lambda s, x: s.conv(x) + s.b.view(-1, 1, 1),
        lambda s, x: F.conv2d(x, s.conv.weight, s.b),
        conv(3, 4, 3, bias=True, b=(4,)),
    ),
    Miss(
        "a bias before the convolution",
        (3, 8, 8),
        lambda s, x: s.conv(x + s.b.view(-1, 1, 1)),
        lambda s, x: s.conv(x) + s.b.view(-1, 1, 1),
        conv(3, 3, 3, bias=False, b=(3,)),
    ),
    Miss(
        "a scale after the bias",
        (3, 8, 8),
        lambda s, x: (s.norm(x) + s.b.view(-1, 1, 1)) * s.w.view(-1, 1, 1),
        lambda s, x: F.batch_norm(x, s.norm.running_mean, s.norm.running_var, s.w, s.b),
        norm(3, w=(3,), b=(3,)),
    ),
    Miss(
        "a scale of columns",
        (3, 3, 3),
        lambda s, x: s.norm(x) * s.w,
        lambda s, x: s.norm(x) * s.w.view(-1, 1, 1),
        norm(3, w=(3,)),
    ),
    Miss(
        "a scale of a convolution",
        (3, 8, 8),
        lambda s, x: s.conv(x) * s.w.view(-1, 1, 1),
        lambda s, x: s.conv(x) + s.w.view(-1, 1, 1),
        conv(3, 4, 3, bias=False, w=(4,)),
    ),
    Miss(
        "channels of zeros on the other side",
        (3, 4, 5),
        lambda s, x: torch.cat([x, torch.zeros_like(x)], 1),
        lambda s, x: F.pad(x, (0, 0, 0, 0, 3, 0)),
    ),
    Miss(
        "rows of zeros",
        (4, 4, 4),
        lambda s, x: torch.cat([x, torch.zeros_like(x)], 2).flatten(1),
        lambda s, x: F.pad(x, (0, 0, 0, 0, 0, 4)).flatten(1),
    ),
    Miss(
        "channels of ones",
        (3, 4, 5),
        lambda s, x: torch.cat([x, torch.ones_like(x)], 1),
        lambda s, x: F.pad(x, (0, 0, 0, 0, 0, 3)),
    ),
    Miss(
        "zeros between channels",
        (4, 4, 5),
        lambda s, x: torch.cat([x[:, :2], torch.zeros_like(x), x[:, 2:]], 1),
        lambda s, x: F.pad(x, (0, 0, 0, 0, 0, 4)),
    ),
    Miss(
        "other groups",
        (6, 4, 5),
        lambda s, x: F.group_norm(x, 3),
        lambda s, x: F.group_norm(x, 2),
    ),
    Miss(
        "another eps of a group norm",
        (6, 4, 5),
        lambda s, x: F.group_norm(x, 3),
        lambda s, x: F.group_norm(x, 3, eps=0.1),
    ),
    Miss(
        "a whole batch dropped at once",
        (3, 4, 5),
        lambda s, x: StochasticDepth(0.8, "row")(x),
        lambda s, x: StochasticDepth(0.8, "batch")(x),
        training=True,
    ),
]


def runs(net: Net, x: Shape, training: bool) -> Any:
    """The key and the shape of its output, by all rules."""
    end = observed(net, x, training, here=True).outputs[""]
    return end.key, end.shape


@pytest.mark.parametrize("row", MISSES, ids=row_ids(MISSES))
def test_near_miss(row: Miss) -> None:
    """What computes other numbers has another key, by whatever rules there are."""
    one, other = nets(row.parts, row.one, row.other)
    if "inference" not in row.name:  # inference mode has no gradients
        assert differ(one, other, row.x, row.training)
    assert runs(one, row.x, row.training)[0] != runs(other, row.x, row.training)[0], "two functions have one key"


def test_masks_are_shared_or_not() -> None:
    """One mask for two values is not two masks."""

    def one(s: Any, x: Tensor) -> Tensor:
        shared = mask(0.5)(x)
        return x.tanh() * shared + x.sin() * shared

    def two(s: Any, x: Tensor) -> Tensor:
        return x.tanh() * mask(0.5)(x) + x.sin() * mask(0.5)(x)

    a, b = nets(none, one, two)
    assert differ(a, b, (3, 4, 4), True)
    assert runs(a, (3, 4, 4), True)[0] != runs(b, (3, 4, 4), True)[0]


# What is the same by a rule, and by others before or after it.

EQUAL: list[Miss] = [
    Miss("a linear layer with a bias over the channels", (3, 4, 5), channels_last, as_conv, linear(3, 6)),
    Miss(
        "silu of a reshape by its definition",
        (3, 4, 5),
        lambda s, x: x.flatten(1) * x.flatten(1).sigmoid(),
        lambda s, x: F.silu(x.flatten(1)),
    ),
    Miss(
        "an average over the map in two steps, and a flatten",
        (3, 4, 5),
        lambda s, x: x.sum(3).sum(2) / 20,
        lambda s, x: F.adaptive_avg_pool2d(x, 1).flatten(1),
    ),
    Miss(
        "relu, dropout and a pool in another order",
        (3, 8, 8),
        lambda s, x: F.dropout(F.max_pool2d(x, 2).flatten(1)).relu(),
        lambda s, x: F.dropout(F.max_pool2d(x.relu(), 2)).flatten(1),
        training=True,
    ),
    Miss("two factors that are 1", (3, 4, 4), lambda s, x: (x * 2 * 0.5).tanh(), lambda s, x: x.tanh()),
]


@pytest.mark.parametrize("row", EQUAL, ids=row_ids(EQUAL))
def test_rules_together(row: Miss) -> None:
    """What computes the same numbers, by several rules, has one key."""
    one, other = nets(row.parts, row.one, row.other)
    assert not differ(one, other, row.x, row.training)
    assert runs(one, row.x, row.training) == runs(other, row.x, row.training)


# By chance: functions put together from small ones. Equal keys mean equal numbers.

PIECES: list[Function] = [
    lambda s, x: x.relu(),
    lambda s, x: F.silu(x),
    lambda s, x: x * x.sigmoid(),
    lambda s, x: x * 2,
    lambda s, x: x / 4,
    lambda s, x: x[:, :, ::2],
    lambda s, x: torch.cat(x.chunk(2, 1), 1),
    lambda s, x: torch.cat(x.chunk(2, 1), 2),
    lambda s, x: x.sum(3, keepdim=True).sum(2, keepdim=True),
    lambda s, x: F.max_pool2d(x, 1, 2),
    lambda s, x: -x,
    lambda s, x: x + x.relu(),
    lambda s, x: F.pad(x, (1, 1, 1, 1)),
    lambda s, x: F.pad(x, (1, 1, 1, 1), value=-float("inf")) if x.shape[2] == 4 else x,
    lambda s, x: F.pad(x, (0, 1, 0, 1)),
    lambda s, x: F.max_pool2d(x, 2),
    lambda s, x: F.max_pool2d(x, 3, 2, 1),
    lambda s, x: F.max_pool2d(x, 3, 2, ceil_mode=True),
    lambda s, x: F.avg_pool2d(x, 2),
    lambda s, x: F.avg_pool2d(x, 3, 2, 1),
    lambda s, x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    lambda s, x: F.avg_pool2d(x, x.shape[2:]),
    lambda s, x: F.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False),
    lambda s, x: F.adaptive_avg_pool2d(x, 1),
    lambda s, x: F.adaptive_avg_pool2d(x, 2),
    lambda s, x: x.mean((2, 3), keepdim=True),
    lambda s, x: x.mean(2, keepdim=True).mean(3, keepdim=True),
    lambda s, x: x.sum((2, 3), keepdim=True) / 16,
    lambda s, x: x.mean(3, keepdim=True).transpose(1, 2),
    lambda s, x: x.transpose(2, 3),
    lambda s, x: x.permute(0, 2, 3, 1),
    lambda s, x: x.permute(0, 3, 1, 2),
    lambda s, x: x.reshape(x.shape[0], x.shape[2], x.shape[3], x.shape[1]),
    lambda s, x: torch.cat([x, x.relu()], 1)[:, : x.shape[1]],
    lambda s, x: torch.cat([x, x], 2),
    lambda s, x: F.conv2d(x, s.conv.weight) if x.shape[1] == 4 else x,
    lambda s, x: F.conv2d(x, s.conv.weight, s.b) if x.shape[1] == 4 else x,
    lambda s, x: F.conv2d(x, s.conv.weight) + s.b.view(4, 1, 1) if x.shape[1] == 4 else x,
    lambda s, x: F.conv2d(x, s.conv.weight) + s.b if x.shape[1:] == (4, 4, 4) else x,
    lambda s, x: F.conv2d(x, s.conv.weight, padding=1) if x.shape[1] == 4 else x,
    lambda s, x: F.linear(x, s.conv.weight[:, :, 0, 0], s.b) if x.shape[3] == 4 else x,
    lambda s, x: s.norm(x) if x.shape[1] == 4 else x,
    lambda s, x: s.norm(x) * s.b.view(4, 1, 1) if x.shape[1] == 4 else x,
]


def test_equal_keys_are_equal_numbers() -> None:
    """Of 700 functions put together by chance, those with one key give the same numbers, at one size."""
    chance = random.Random(0)
    parts: Parts = lambda: {  # noqa: E731
        "conv": nn.Conv2d(4, 4, 1, bias=False),
        "norm": nn.BatchNorm2d(4, affine=False),
        "b": parameter(4),
    }
    seen: dict[int, list[tuple[Tensor, list[int]]]] = {}
    shared = 0
    (base,) = nets(parts, lambda s, x: x)
    base.double().eval()
    data = torch.randn((BATCH, 4, 4, 4), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for _ in range(700):
        chain = [chance.randrange(len(PIECES)) for _ in range(chance.randint(1, 4))]

        def function(s: Any, x: Tensor, chain: list[int] = chain) -> Tensor:
            for at in chain:
                x = PIECES[at](s, x)
            return x

        base.function = function
        try:
            with torch.no_grad():
                y = base(data)
        except RuntimeError:
            continue  # a pool that is larger than its input
        if not y.isfinite().all():
            continue
        key = observed(base, (4, 4, 4), here=True).outputs[""].key
        for z, other in seen.get(key, []):
            assert y.shape == z.shape, f"{chain} {other}"
            assert torch.allclose(y, z, rtol=1e-9, atol=1e-9), f"{chain} {other}"
            shared += 1
        seen.setdefault(key, []).append((y, chain))
    assert shared > 100
    assert len(seen) > 300


def test_normal_form_is_stable() -> None:
    """An operation in normal form, made again, is the same operation: the rules are at rest."""
    for row in ROWS:
        graph = both(row)[0]
        made: dict[Node, Node] = {}
        for node in graph.nodes:
            inputs = [made[feed] for feed in node.inputs]
            tensors = {role: made.get(t, t) if isinstance(t, Node) else t for role, t in node.tensors.items()}
            again = Builder(Form.OF_ONE if row.here else Form.AT_ANY_SIZE).make(
                node.kind, *inputs, shape=node.shape, tensors=tensors, like=node, **node.attributes
            )
            made[node] = again
        again = Builder().finish(Graph(made[graph.input], {"": made[graph.outputs[""]]})).outputs[""]
        assert again.key == graph.outputs[""].key, row.rule


def test_nonnegative_of_sums_of_sums() -> None:
    """A sum is looked at once, not twice for each sum after it: 60 of them are no 2^60 questions."""
    for kind, expected in (("relu", True), ("tanh", False)):
        x = Node(kind, (Node("input", shape=(2, 3)),), (2, 3))
        for _ in range(60):
            x = Node("sum", (x, Node("dropout", (x,), (2, 3), {"p": 0.5, "of": "elements"})), (2, 3))
        assert x.nonnegative == expected
        assert not x.fixed


def test_nonnegative_of_a_long_chain() -> None:
    """Two thousand sums in a row are no recursion."""
    x = Node("relu", (Node("input", shape=(2, 3)),), (2, 3))
    for _ in range(2000):
        x = Node("sum", (x, Node("sigmoid", (x,), (2, 3))), (2, 3))
    assert x.nonnegative
