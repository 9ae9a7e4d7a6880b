"""One row a kind: each held to what torch does, all tables know the same kinds, and no table stands elsewhere."""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import rv_check
from rv_check.archs.arch import Arch
from rv_check.archs.load import load
from rv_check.blocks.totals import totals
from rv_check.costs.memory import kept_for_backward
from rv_check.costs.operations import macs_of, operations
from rv_check.errors import RvCheckError
from rv_check.graphs import norms, rules, written
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph, Node
from rv_check.graphs.match import match
from rv_check.graphs.network import At
from rv_check.graphs.of_arch import graph_of
from rv_check.modules import aten
from rv_check.modules.build import build
from rv_check.modules.observe import Subject
from rv_check.ops.kinds import KINDS, LEAVES, Kind, enter, kind_of
from rv_check.ops.op import OPS
from rv_check.receptive_fields.formula import graph_field
from tests.unit.measured_memory import measured_for_backward

PACKAGE = Path(rv_check.__file__).parent


class Sample(nn.Module):
    """What a function does to 2 maps of 4x6x6 that depend on a parameter, all elements positive."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        super().__init__()
        self.offset = nn.Parameter(torch.full((1, 4, 1, 1), 0.5))
        self.slopes = nn.Parameter(torch.ones(4))
        self.vectors = nn.Parameter(torch.ones(2, 3))
        self.function = copy.deepcopy(function)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.offset
        if self.function is F.prelu:
            return F.prelu(x, self.slopes)
        if self.function is F.embedding:
            return F.embedding(x.argmax(1), self.vectors)
        return self.function(x)


def with_a_part_written(x: Tensor) -> Tensor:
    """A value of which one part is written anew."""
    y = x.exp()
    y[:, :2] = x[:, :2].sin()
    return y


def written_at_places(x: Tensor) -> Tensor:
    """Likewise, at places that an index tells."""
    y = x.exp()
    y[:, torch.arange(2, device=x.device)] = x[:, :2].sin()
    return y


def in_groups(x: Tensor) -> Tensor:
    """40 rows with one matrix of 4x16, and 32 with another."""
    matrices = x.exp().reshape(-1)[:128].reshape(2, 4, 16)
    return F.grouped_mm(x.reshape(72, 4), matrices, offs=torch.tensor([40, 72], dtype=torch.int32))


class Bent(nn.Module):
    """A convolution of 4 channels to 6, whose windows of 3x3 are bent and weighted."""

    def __init__(self) -> None:
        super().__init__()
        self.offset, self.mask = nn.Conv2d(4, 18, 3, padding=1), nn.Conv2d(4, 9, 3, padding=1)
        self.layer = torchvision.ops.DeformConv2d(4, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x, self.offset(x), self.mask(x))
        return y


def by_row(x: Tensor) -> Tensor:
    """Each row of each image as a sequence of its own."""
    return x.permute(0, 2, 1, 3).flatten(0, 1)


class OfRows(nn.Module):
    """A layer on each row."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(by_row(x))
        return y


class ALayer(nn.Module):
    """A layer, on the values in another shape."""

    def __init__(self, layer: nn.Module, shape: tuple[int, ...] = (2, 4, 6, 6)):
        super().__init__()
        self.layer, self.shape = layer, shape

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x.reshape(self.shape))
        return y


BOXES = torch.tensor([[0.0, 0.0, 1.0, 1.0], [2.0, 2.0, 3.0, 3.0]])  # they do not overlap
SAMPLES: dict[str, Callable[[Tensor], Tensor]] = {  # a way to make torch do an operation of each kind
    "conv": ALayer(nn.Conv2d(4, 6, 3, padding=1)),
    "conv1d": OfRows(nn.Conv1d(4, 6, 3)),
    "conv3d": ALayer(nn.Conv3d(2, 6, 2), (2, 2, 2, 6, 6)),
    "conv_transpose": ALayer(nn.ConvTranspose2d(4, 6, 3, stride=2)),
    "conv1d_transpose": OfRows(nn.ConvTranspose1d(4, 6, 3)),
    "conv3d_transpose": ALayer(nn.ConvTranspose3d(2, 6, 2), (2, 2, 2, 6, 6)),
    "linear": ALayer(nn.Linear(36, 5), (8, 36)),
    "batchnorm": ALayer(nn.BatchNorm2d(4)),
    "groupnorm": ALayer(nn.GroupNorm(2, 4)),
    "native_layer_norm": lambda x: F.layer_norm(x, (6,)),
    "matmul": lambda x: x.flatten(0, 1) @ x.exp().flatten(0, 1),
    "embedding": F.embedding,
    "relu": F.relu,
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "tanh": torch.tanh,
    "hardswish": F.hardswish,
    "hardsigmoid": F.hardsigmoid,
    "relu6": F.relu6,
    "clamp": lambda x: x.clamp(-1, 1),
    "leaky_relu": F.leaky_relu,
    "elu": F.selu,
    "celu": F.celu,
    "mish": F.mish,
    "softplus": F.softplus,
    "_prelu_kernel": F.prelu,
    "log_sigmoid_forward": F.logsigmoid,
    "softshrink": F.softshrink,
    "hardshrink": F.hardshrink,
    "glu": lambda x: F.glu(x, 1),
    "threshold": lambda x: F.threshold(x, 0.1, 0.2),
    "_softmax": lambda x: x.softmax(1),
    "_safe_softmax": lambda x: torch._safe_softmax(x, 1),  # type: ignore[attr-defined]
    "_log_softmax": lambda x: x.log_softmax(1),
    "clone": lambda x: x.clone().sin(),
    "scale": torch.neg,
    "shift": lambda x: x + 1,
    "cast": lambda x: x.double(),
    "sign": torch.sign,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "trunc": torch.trunc,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "abs": torch.abs,
    "sin": torch.sin,
    "cos": torch.cos,
    "atan": torch.atan,
    "sinh": torch.sinh,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "log": torch.log,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "log10": torch.log10,
    "pow": torch.square,
    "nan_to_num": torch.nan_to_num,
    "eq": lambda x: torch.where(x == 0, x, x.exp()),
    "ne": lambda x: torch.where(x != 0, x, x.exp()),
    "lt": lambda x: torch.where(x < 0, x, x.exp()),
    "le": lambda x: torch.where(x <= 0, x, x.exp()),
    "gt": lambda x: torch.where(x > 0, x, x.exp()),
    "ge": lambda x: torch.where(x >= 0, x, x.exp()),
    "isnan": lambda x: torch.where(torch.isnan(x), x, x.exp()),
    "bitwise_not": lambda x: torch.where(~(x > 0), x, x.exp()),
    "where": lambda x: torch.where(x > 0, x, x * 2),
    "sum": lambda x: x + x.exp(),
    "product": lambda x: x * x.exp(),
    "div": lambda x: x / x.exp(),
    "lerp": lambda x: torch.lerp(x, x.exp(), x.sin()),
    "maximum": lambda x: torch.maximum(x, x.exp()),
    "minimum": lambda x: torch.minimum(x, x.exp()),
    "maxpool": lambda x: F.max_pool2d(x, 2),
    "avgpool": lambda x: F.avg_pool2d(x, 2),
    "adaptive_avgpool": lambda x: F.adaptive_avg_pool2d(x, 2),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x, 2),
    "mean": lambda x: x.mean(1),
    "total": lambda x: x.sum((2, 3)),
    "amax": lambda x: x.max(),
    "amin": lambda x: x.amin(1),
    "max": lambda x: x.max(1)[0],
    "min": lambda x: x.min(1)[0],
    "argmax": lambda x: torch.index_select(x, 1, x.argmax(1).flatten()),
    "var": lambda x: x.var(1),
    "var_mean": lambda x: torch.var_mean(x, 1)[0],
    "std": lambda x: x.std(1),
    "linalg_vector_norm": torch.norm,
    "cumsum": lambda x: x.cumsum(1),
    "reshape": lambda x: x.reshape(2, -1),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "expand": lambda x: x[:, :1].expand(-1, 3, -1, -1),
    "slice": lambda x: x[:, 1:3],
    "view": lambda x: x.view(torch.int32).sign(),
    "as_strided": lambda x: x.as_strided((2, 4, 3, 3), (144, 36, 6, 1)),
    "part": lambda x: torch.var_mean(x, 1)[1],
    "pad": lambda x: F.pad(x, (1, 1, 1, 1)),
    "concat": lambda x: torch.cat((x, x.exp()), 1),
    "write": with_a_part_written,
    "roll": lambda x: x.roll(1, 2),
    "flip": lambda x: x.flip(2),
    "arange": lambda x: x * torch.arange(6, device=x.device),
    "index": lambda x: x[:, torch.arange(2, device=x.device)],
    "index_select": lambda x: torch.index_select(x, 1, torch.arange(2, device=x.device)),
    "gather": lambda x: torch.gather(x, 1, x.argmax(1, keepdim=True)),
    "reflection_pad2d": lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
    "replication_pad2d": lambda x: F.pad(x, (1, 1, 1, 1), mode="replicate"),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "upsample_nearest2d": lambda x: F.interpolate(x, scale_factor=2),
    "upsample_bilinear2d": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "dropout": lambda x: F.dropout(x, 0.5, training=True),
    "masked_fill": lambda x: x.masked_fill(x > 1, 0.0),
    "tril": torch.tril,
    "triu": torch.triu,
    "argmin": lambda x: x.argmin(1) * x.sum(1),
    "sort": lambda x: x.sort(1).values,
    "topk": lambda x: x.topk(2, 1).values,
    "any": lambda x: (x > 1).any(1) * x.sum(1),
    "all": lambda x: (x > 1).all(1) * x.sum(1),
    "logical_not": lambda x: torch.logical_not(x) * x,
    "logical_and": lambda x: torch.logical_and(x, x > 1) * x,
    "logical_or": lambda x: torch.logical_or(x, x > 1) * x,
    "bitwise_and": lambda x: ((x > 1) & (x < 2)) * x,
    "bitwise_or": lambda x: ((x > 1) | (x < 2)) * x,
    "linspace": lambda x: x + torch.linspace(0, 1, 6, device=x.device),
    "tile": lambda x: x.repeat(1, 2, 1, 1),
    "scatter": lambda x: x.exp().scatter(1, x.argmax(1, keepdim=True), x[:, :1]),
    "scatter_add": lambda x: x.exp().scatter_add(1, x.argmax(1, keepdim=True), x[:, :1]),
    "index_add": lambda x: x.exp().index_add(1, torch.arange(2, device=x.device), x[:, :2]),
    "im2col": lambda x: F.unfold(x, 3),
    "col2im": lambda x: F.fold(x.reshape(2, 16, 9), 6, 2, stride=2),
    "grid_sampler_2d": lambda x: F.grid_sample(x, x.tanh().reshape(2, 12, 6, 2), align_corners=False),
    "upsample_bicubic2d": lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
    "upsample_linear1d": lambda x: F.interpolate(by_row(x), scale_factor=2, mode="linear"),
    "upsample_nearest1d": lambda x: F.interpolate(by_row(x), scale_factor=2),
    "upsample_nearest3d": lambda x: F.interpolate(x[:, None], scale_factor=2),
    "upsample_trilinear3d": lambda x: F.interpolate(x[:, None], scale_factor=2, mode="trilinear"),
    "max_pool3d_with_indices": lambda x: F.max_pool3d(x[:, None], 2),
    "avg_pool3d": lambda x: F.avg_pool3d(x[:, None], 2),
    "_adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(x[:, None], 2),
    "adaptive_max_pool3d": lambda x: F.adaptive_max_pool3d(x[:, None], 2),
    "reflection_pad1d": lambda x: F.pad(by_row(x), (1, 1), mode="reflect"),
    "reflection_pad3d": lambda x: F.pad(x[:, None], (1,) * 6, mode="reflect"),
    "replication_pad1d": lambda x: F.pad(by_row(x), (1, 1), mode="replicate"),
    "replication_pad3d": lambda x: F.pad(x[:, None], (1,) * 6, mode="replicate"),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x, 2),
    "remainder": lambda x: torch.remainder(x, 2),
    "fmod": lambda x: torch.fmod(x, 2),
    "tan": torch.tan,
    "atan2": lambda x: torch.atan2(x, x.exp()),
    "cumprod": lambda x: x.cumprod(1),
    "prod": lambda x: x.prod(1),
    "logsumexp": lambda x: x.logsumexp(1),
    "std_mean": lambda x: torch.std_mean(x, 1)[0],
    "_weight_norm_interface": lambda x: torch._weight_norm(x, x.exp().sum((1, 2, 3), keepdim=True), 0),
    "grouped_matmul": in_groups,
    "torchvision::deform_conv2d": Bent(),
    "eye": lambda x: x + torch.eye(6, device=x.device),
    "diagonal": lambda x: x.diagonal(0, 2, 3),
    "unfold": lambda x: x.unfold(2, 3, 2),
    "floor_divide": lambda x: torch.where(torch.floor_divide(x, 2) > 0, x, x.exp()),
    "bincount": lambda x: x[:, torch.bincount(torch.tensor([0, 1, 1])).to(x.device)],
    "histc": lambda x: x * torch.histc(torch.ones(6), 6, 0, 10).to(x.device),
    "nonzero": lambda x: x[:, torch.tensor([0, 1, 1, 0]).nonzero()[:, 0].to(x.device)],
    "_unique2": lambda x: x * torch.ones(6).unique().to(x.device),
    "index_put": written_at_places,
    "_upsample_bilinear2d_aa": lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear", antialias=True),
    "_upsample_bicubic2d_aa": lambda x: F.interpolate(x, scale_factor=2.0, mode="bicubic", antialias=True),
    "detach": lambda x: x * x.detach(),
    "torchvision::nms": lambda x: x[:, torchvision.ops.nms(BOXES, torch.ones(2), 0.5).to(x.device)],
    "torchvision::roi_align": lambda x: torchvision.ops.roi_align(x.exp(), x[:, 0, 0, :5], 2),
}
ON_CPU_ALONE = ("grouped_matmul",)  # torch refuses float32 on meta, where it takes a GPU to be asked
BY_HAND = {  # multiply-adds that torch's counter takes for none
    "grouped_matmul": 72 * 4 * 16,  # a row of 4 with 16 columns, whichever matrix is its own
    "torchvision::deform_conv2d": 2 * 36 * 9 * 4 * (6 + 18 + 9),  # 3x3 of 4 channels at 36 places: it, offsets, mask
}
ELSEWHERE = {  # kinds that are not made by running torch on meta by no rule: where they come from
    "global_avgpool": "the normal form of an adaptive pool to 1x1",
    "flatten": "an op of a spec, which torch does as a reshape",
    "drop_path": "an op of a spec, which torch does as a product with a mask",
    "pad_channels": "an op of a spec, which torch does as a pad",
    "_scaled_dot_product_flash_attention_for_cpu": "torch on a CPU, recorded on meta too: see test_attention",
}


def observed(kind: str) -> Graph:
    """The graph of the sample of a kind, in train mode, by no rule."""
    return Subject(Sample(SAMPLES[kind])).observe(At((4, 6, 6), batch=2, training=True), Form.AS_RUN)


def test_every_row_has_a_sample() -> None:
    """Every row has one, so that all that follows is of every row."""
    assert set(KINDS) == {*SAMPLES, *ELSEWHERE}


@pytest.mark.parametrize("kind", SAMPLES)
def test_what_autograd_keeps(kind: str) -> None:
    """`keeps` is what torch keeps on meta and on the CPU, to the byte."""
    graph = observed(kind)
    assert kind in {node.kind for node in graph.nodes}
    formula = sum(bytes_ for _, bytes_ in kept_for_backward(graph))
    for device in ("cpu",) if kind in ON_CPU_ALONE else ("meta", "cpu"):
        module = Sample(SAMPLES[kind]).train().to(device)
        assert measured_for_backward(module, torch.ones((2, 4, 6, 6), device=device)) == formula, device


def test_what_autograd_keeps_of_attention() -> None:
    """A CPU has a kernel for attention, which keeps no matrix of all pairs."""

    class Attention(Sample):
        def forward(self, x: Tensor) -> Tensor:
            x = x + self.offset
            return F.scaled_dot_product_attention(x, x.exp(), x.sin())

    values = [Node("input", shape=(2, 4, 6, 6))] * 3
    kernel = "_scaled_dot_product_flash_attention_for_cpu"
    feeds = [Node("sum", (values[0],), (2, 4, 6, 6), tensors={"w": Node("state", shape=(4,), name="w")})]
    feeds += [Node(kind, (feeds[0],), (2, 4, 6, 6)) for kind in ("exp", "sin")]
    graph = Graph(values[0], {"": Node(kernel, tuple(feeds), (2, 4, 6, 6))}, {"w": (4,)}, frozenset({"w"}))
    found = measured_for_backward(Attention(torch.relu), torch.ones((2, 4, 6, 6)))
    assert sum(bytes_ for _, bytes_ in kept_for_backward(graph)) == found


@pytest.mark.parametrize("kind", [kind for kind in SAMPLES if KINDS[kind].multiplies != "nothing"])
def test_what_it_multiplies(kind: str) -> None:
    """`multiplies` gives half of what torch's counter says, which counts two for a multiply-add."""
    found = sum(operation.macs for operation in operations(observed(kind)))
    assert found == BY_HAND[kind] if kind in BY_HAND else 2 * found == counted_by_torch(kind) > 0


def counted_by_torch(kind: str) -> int:
    """What torch's counter makes of the sample of a kind."""
    device = "cpu" if kind in ON_CPU_ALONE else "meta"
    module = Sample(SAMPLES[kind]).to(device)
    with FlopCounterMode(display=False) as counter:
        module(torch.ones((2, 4, 6, 6), device=device))
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", BY_HAND)
def test_what_torch_does_not_count(kind: str) -> None:
    """Where a number by hand stands for torch's, torch's counter has less: it knows nothing of the operator."""
    assert counted_by_torch(kind) < 2 * BY_HAND[kind]


def test_what_attention_multiplies() -> None:
    """6 queries of 4 numbers with 5 keys, then 5 values of 3 numbers, in 2 images of 1 head: 2*6*5*(4+3)."""
    shapes = ((2, 1, 6, 4), (2, 1, 5, 4), (2, 1, 5, 3))
    values = tuple(Node("input", shape=shape) for shape in shapes)
    node = Node("_scaled_dot_product_flash_attention_for_cpu", values, (2, 1, 6, 3))
    with FlopCounterMode(display=False) as counter:
        F.scaled_dot_product_attention(*(torch.ones(shape) for shape in shapes))
    assert macs_of(node) == 2 * 6 * 5 * (4 + 3) == counter.get_total_flops() / 2


def test_nothing_else_multiplies() -> None:
    """What is said to take no multiply-adds is nothing that torch's counter counts."""
    for kind in SAMPLES:
        if KINDS[kind].multiplies == "nothing":
            assert counted_by_torch(kind) == 0, kind


@pytest.mark.parametrize("kind", SAMPLES)
def test_what_a_unit_sees(kind: str) -> None:
    """A field is followed through every kind, or it is said that it cannot be."""
    graph = observed(kind)
    (node,) = graph.outputs.values()
    if any(one.row.sees == "not followed" and not one.fixed and one.inputs for one in graph.live):
        with pytest.raises(RvCheckError, match="cannot be followed"):
            graph_field(graph, node)
    else:
        assert all(axis.size >= 1 for axis in graph_field(graph, node).axes)


@pytest.mark.parametrize("kind", [kind for kind in SAMPLES if KINDS[kind].sees == "itself"])
def test_what_sees_itself_alone(kind: str) -> None:
    """The gradient of a place of the output is nowhere but at the place of the input; so it is in the graph."""
    torch.manual_seed(0)
    x = torch.rand((2, 4, 6, 6), dtype=torch.float64, requires_grad=True)
    y = Sample(SAMPLES[kind]).double()(x)
    (gradient,) = torch.autograd.grad(y[0, :, 2, 3].sum(), x)
    seen = {(i, j) for n, _, i, j in gradient.nonzero().tolist() if n == 0}
    assert seen <= {(2, 3)}
    assert int((gradient[1] != 0).sum()) == 0


def test_all_is_known_of_every_row() -> None:
    """`macs`, `macs --memory` and `receptive-field` know the same kinds."""
    known = [{kind for kind, row in KINDS.items() if getattr(row, of) != "unknown"} for of in ROW]
    assert known == [set(KINDS)] * 3


ROW = ("sees", "keeps", "multiplies")


def test_of_an_unknown_kind_all_is_unknown() -> None:
    """An unknown kind is an error in each, never a zero."""
    row = kind_of("logcumsumexp")
    assert [getattr(row, of) for of in ROW] == ["unknown"] * 3
    graph = Subject(Sample(lambda x: x.logcumsumexp(1))).observe(At((4, 6, 6), batch=2, training=True), Form.AS_RUN)
    (node,) = graph.outputs.values()
    with pytest.raises(RvCheckError, match="no rule counts the operation 'logcumsumexp'"):
        operations(graph)
    with pytest.raises(RvCheckError, match="it is not known what 'logcumsumexp'"):
        list(kept_for_backward(graph))
    with pytest.raises(RvCheckError, match="cannot be followed through logcumsumexp"):
        graph_field(graph, node)


def test_a_row_is_entered_once() -> None:
    """Two ops of one name, or a row beside an op's own, are a mistake of ours."""
    with pytest.raises(ValueError, match="relu has a row already"):
        enter(Kind("relu", "itself", "output", "nothing"))


def test_an_op_is_the_kind_of_its_row() -> None:
    """What `@op` is given is what the tables know."""
    assert all(KINDS[name] is cls.kind for name, cls in OPS.items())


# Kinds that the code can make


def made_kinds(source: str) -> set[str]:
    """The kinds that stand as text in calls that make an operation, in the source of readers or of rules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            at = {"make": 0, "unknown": 1, "_reduction": 0, "_plainly": 0}.get(name)
            if at is not None and len(node.args) > at and isinstance(node.args[at], ast.Constant):
                found.add(node.args[at].value)  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("module", [aten, norms, rules, written], ids=["readers", "norms", "rules", "written"])
def test_what_readers_and_rules_make_has_a_row(module: object) -> None:
    """Every kind that a reader of torch's operators or a rule of the normal form can give is known."""
    source = Path(str(module.__file__)).read_text(encoding="utf-8")  # type: ignore[attr-defined]
    kinds = made_kinds(source) - set(LEAVES)
    assert kinds
    assert sorted(kinds - set(KINDS) - {"bernoulli", "_grouped_mm"}) == []  # the readers do not know these two
    assert "odd" in made_kinds(source + "\n\ndef f(b, x):\n    return b.make('odd', x)\n")


# Trees and graphs of every op


SPEC = """\
family: net
input: 4 12 12
body:
{body}
archs:
  net:
    build: net
"""
PIECES: dict[str, str] = {  # each op of the language where 4 channels go in and 4 come out
    "conv": "conv(4, kernel=3, padding=1, bias={flag})",
    "conv_transpose": "conv_transpose(4, kernel=3, padding=1, bias={flag})",
    "batchnorm": "batchnorm",
    "groupnorm": "groupnorm(2)",
    "relu": "relu",
    "silu": "silu",
    "relu6": "relu6",
    "hardswish": "hardswish",
    "hardsigmoid": "hardsigmoid",
    "sigmoid": "sigmoid",
    "maxpool": "maxpool(3, stride=1, padding=1)",
    "avgpool": "avgpool(3, stride=1, padding=1)",
    "dropout": "dropout(0.1)",
    "drop_path": "drop_path(0.1)",
    "pad_channels": "pad_channels(4)",
}
GATE = "conv(4, kernel=1, bias=True)"
ENDS = ("adaptive_avgpool(1)", "flatten", "linear(3, bias=True)")  # steps that end a map


def by_chance(chance: random.Random) -> str:
    """A network of pieces, sums and gates: some branches are the identity, or a projection.

    A product is of a map with one of 1x1, since of two whole maps a graph cannot say which is the first.
    """
    lines: list[str] = []
    names = (f"step{at}" for at in range(1000))

    def chain(indent: str, length: int) -> Iterator[str]:
        for _ in range(length):
            piece = PIECES[chance.choice(list(PIECES))].format(flag=chance.choice(("True", "False")))
            yield f"{indent}- {next(names)}: {piece}"

    for _ in range(chance.randint(1, 4)):
        lines += chain("  ", chance.randint(0, 3))
        if chance.random() < 0.8:
            join = chance.choice(("sum", "sum", "sum", "product"))
            lines += [f"  - {join}:", "      main:", *chain("        ", chance.randint(1, 4))]
            other = list(chain("        ", chance.randint(0, 2)))
            if join == "product":
                other = [f"        - {next(names)}: adaptive_avgpool(1)", f"        - {next(names)}: {GATE}"]
            lines += ["      other:", *other] if other else ["      other: identity"]
    lines += [f"  - {next(names)}: {end}" for end in ENDS]
    return SPEC.format(body="\n".join(lines))


@pytest.mark.parametrize("tens", range(8))
def test_trees_and_graphs_agree(tens: int, tmp_path: Path) -> None:
    """Networks of every op have the same totals read off the tree and off the graph, which are written apart.

    So has the module that is built, observed as it runs; and its graph is that of the spec, to each argument.
    """
    met: set[str] = set()
    for seed in range(10 * tens, 10 * tens + 10):
        text = by_chance(random.Random(seed))
        path = tmp_path / f"net{seed}.yaml"
        path.write_text(text, encoding="utf-8")
        arch = load(f"{path}::net")
        expected = (arch.params, arch.macs, arch.activations, arch.depth, arch.skip_connections)
        subject, at = Subject(build(arch)), At(arch.input, batch=1, training=False)
        for graph in (graph_of(arch, batch=1, form=Form.AS_RUN), subject.observe(at, Form.AS_RUN)):
            found = totals(graph, [])
            met |= {node.kind for node in graph.nodes}
            numbers = (found.params, found.macs, found.activations, found.depth, found.skips)
            assert numbers == expected, f"seed {seed}\n{text}"
            last = next(node for node in reversed(graph.nodes) if node.kind == "adaptive_avgpool")
            assert str(graph_field(graph, last)) == str(arch.receptive_field), f"seed {seed}\n{text}"
        for training in (False, True):
            assert differences(arch, subject, training=training) == [], f"seed {seed}\n{text}"
    assert len(met) > 8


def differences(arch: Arch, subject: Subject, *, training: bool) -> list[str]:
    """Where a module's graph is not that of an arch."""
    observed = subject.observe(At(arch.input, training=training))
    return [str(one) for one in match(graph_of(arch, training=training), observed).differences]


ARGUMENTS = {
    "conv": "conv(4, kernel=3, padding=1, bias=False, groups=2)",
    "conv_transpose": "conv_transpose(4, kernel=3, padding=1, bias=True, dilation=1, groups=2)",
    "groupnorm": "groupnorm(4)",
    "batchnorm": "batchnorm(eps=0.001)",
    "maxpool": "maxpool(5, stride=1, padding=2)",
    "avgpool": "avgpool(5, stride=1, padding=2)",
    "dropout": "dropout(0.2)",
    "drop_path": "drop_path(0.2)",
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_another_argument_is_another_graph(name: str, tmp_path: Path) -> None:
    """What is held of graphs above can fail: of each op that has arguments there, with another one."""
    archs = []
    for at, piece in enumerate((PIECES[name].format(flag="True"), ARGUMENTS[name])):
        path = tmp_path / f"net{at}.yaml"
        path.write_text(SPEC.format(body=f"  - step: {piece}"), encoding="utf-8")
        archs.append(load(f"{path}::net"))
    assert differences(archs[0], Subject(build(archs[0])), training=True) == []
    assert differences(archs[0], Subject(build(archs[1])), training=True) != []


def test_the_random_networks_have_every_op() -> None:
    """An op that has no piece is not tried, nor is one whose arguments might be others unseen."""
    assert {name for name in PIECES if fields(OPS[name])} == {*ARGUMENTS, "pad_channels"}  # 4 of 4 adds none
    assert set(OPS) == {*PIECES, *(end.partition("(")[0] for end in ENDS)}


SUM = """\
  - sum:
      main:
        - a: conv(4, kernel=1, bias=False)
        - b: {conv}
      other:
        - c: {other}
  - d: {other}"""


@pytest.mark.parametrize(
    ("kind", "change"), [("conv_transpose", {"weighted": False}), ("pad_channels", {"projects": False})]
)
def test_trees_and_graphs_disagree_where_a_row_is_wrong(
    kind: str, change: dict[str, bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison sees a row that one of them does not know of."""
    monkeypatch.setitem(KINDS, kind, replace(KINDS[kind], **change))  # type: ignore[arg-type]
    path = tmp_path / "net.yaml"
    path.write_text(SPEC.format(body=SUM.format(conv=PIECES["conv"], other=PIECES[kind]).format(flag="True")))
    arch = load(f"{path}::net")
    found = totals(graph_of(arch, batch=1, form=Form.AS_RUN), [])
    assert (found.activations, found.skips) != (arch.activations, arch.skip_connections)


# No table of kinds elsewhere


HOMES = {  # rows, readers, rules and hints; and torch's own operators as they run, which have no rows yet
    *("ops/kinds.py", "modules/aten.py", "graphs/rules.py", "graphs/explain.py", "modules/limits.py"),
}
WORDS_OF_THE_LANGUAGE = {"sum", "concat", "product"}


def tables(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The collections of two or more kinds that stand as text in a file, by line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        parts: list[ast.expr] = []
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            parts = node.elts
        elif isinstance(node, ast.Dict):
            parts = [key for key in node.keys if key is not None]
        words = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        kinds = [word for word in words if word in KINDS]
        if len(kinds) > 1 and not set(kinds) <= WORDS_OF_THE_LANGUAGE:
            yield node.lineno, kinds


def test_no_table_of_kinds_stands_elsewhere(tmp_path: Path) -> None:
    """What an operation is stands in its row, and in nothing that could be forgotten."""
    found = {
        f"{path.relative_to(PACKAGE)}:{line}": kinds
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).as_posix() not in HOMES
        for line, kinds in tables(path)
    }
    assert {place: kinds for place, kinds in found.items() if kinds not in OTHER_WORDS} == {}
    (tmp_path / "extra.py").write_text('KEEPS = ("conv", "relu")\n')
    assert list(tables(tmp_path / "extra.py")) == [(1, ["conv", "relu"])]


OTHER_WORDS = [
    ["linear", "relu", "leaky_relu", "tanh", "sigmoid"],  # nonlinearities of torch.nn.init
    ["batchnorm", "conv", "dropout", "flatten", "linear"],  # files of torch.nn.modules
    ["mean", "std"],  # arguments of torch.nn.init
    ["ceil", "min", "max", "sum"],  # functions of the language
]
