"""Multiply-adds by operation: by hand, by loops, by torch's and fvcore's counters; and what a rule makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from rv_check import build, load
from rv_check.archs.load import archs
from rv_check.checks.counters import fvcore_counts
from rv_check.costs.conventions import FILE, Convention, conventions
from rv_check.costs.operations import Operation, operations, operations_of
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.network import At
from rv_check.modules.observe import Subject

SMALL = [(arch.name, 64) for arch in archs()]


def seen(module: nn.Module, *x: int, training: bool = False) -> list[Operation]:
    """The operations of one image."""
    return operations(Subject(module).observe(At(x, batch=1, training=training), Form.AS_RUN))


def by_kind(done: list[Operation], kind: str) -> list[Operation]:
    """Those of a kind."""
    return [operation for operation in done if operation.kind == kind]


class Mixed(nn.Module):
    """Layers of torch's, a subclass of one, and functions."""

    class Conv(nn.Conv2d):
        """A convolution of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 8, 3, padding=1, groups=2)
        self.second = Mixed.Conv(8, 6, (1, 3), stride=2, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.kernel = nn.Parameter(torch.ones(5, 6, 1, 1))
        self.fc = nn.Linear(5, 7)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 4, 6, 6) -> (N, 7)."""
        x = F.relu(self.first(x))
        x = torch.conv2d(self.norm(self.second(x)), self.kernel)
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))  # type: ignore[no-any-return]


def test_by_hand() -> None:
    """Forward and both parts of backward; the first layer needs no gradient for its input."""
    found = [(o.kind, o.caller, o.macs, o.weight_gradient, o.input_gradient) for o in seen(Mixed(), 4, 6, 6) if o.macs]
    first = 8 * 6 * 6 * (2 * 9)  # 8 maps of 6x6; a filter sees 2 channels
    second = 6 * 3 * 2 * (8 * 3)  # rows (6-1)//2+1 = 3, columns (6-3)//2+1 = 2
    third, head = 5 * 3 * 2 * 6, 7 * 5
    assert found == [
        ("conv", "layer", first, first, 0),
        ("conv", "subclass", second, second, second),
        ("conv", "function", third, third, third),
        ("linear", "layer", head, head, head),
    ]


def test_quantities_by_hand() -> None:
    """What conventions count besides multiply-adds."""
    done = seen(Mixed(), 4, 6, 6)
    (norm,), (pool,), (relu,) = (by_kind(done, kind) for kind in ("batchnorm", "adaptive_avgpool", "relu"))
    assert norm.quantities == {"in": 36, "out": 36, "affine": 36, "params": 12}
    assert (pool.quantities["in"], pool.quantities["out"]) == (30, 5)
    assert (relu.caller, relu.quantities["out"]) == ("function", 288)
    assert [o.quantities.get("bias", 0) for o in done if o.macs] == [288, 0, 0, 7]
    (pool,) = by_kind(seen(nn.MaxPool2d((2, 3), stride=1), 4, 6, 6), "maxpool")
    assert pool.quantities["window"] == 4 * 5 * 4 * 6
    (pool,) = by_kind(seen(nn.AdaptiveAvgPool2d(3), 2, 4, 6), "adaptive_avgpool")
    assert pool.quantities["window"] == 2 * (2 + 2 + 2) * 6  # of four rows the first two, the middle two, the last two


def grad_macs(x: Tensor, weight: Tensor, stride: int, padding: int, groups: int) -> tuple[int, int, int]:
    """Multiply-adds of a convolution and its two gradients, counted one by one, those with padding too."""
    out, each, kernel, _ = weight.shape
    side = (x.shape[-1] + 2 * padding - kernel) // stride + 1
    forward = weights = inputs = 0
    for _o, _c, _i, _j, _r, _s in product(range(out), range(each), *[range(side)] * 2, *[range(kernel)] * 2):
        forward += 1  # y[o, i, j] += w[o, c, r, s] * x[group(o) + c, stride * i + r, stride * j + s]
        weights += 1  # dw[o, c, r, s] += dy[o, i, j] * x[...]
        inputs += 1  # dx[...] += dy[o, i, j] * w[o, c, r, s]
    return forward, weights, inputs


@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, 1, 1), (2, 0, 1), (2, 1, 2), (1, 0, 4)])
def test_convolution_counted_one_by_one(stride: int, padding: int, groups: int) -> None:
    """Grouped ones, too: each gradient takes as many multiply-adds as the forward pass."""
    layer = nn.Conv2d(4, 8, 3, stride, padding, groups=groups, bias=False)
    *_, found = by_kind(seen(nn.Sequential(nn.Conv2d(4, 4, 1), layer), 4, 7, 7), "conv")
    counted = grad_macs(torch.zeros(1, 4, 7, 7), layer.weight, stride, padding, groups)
    assert (found.macs, found.weight_gradient, found.input_gradient) == counted


def flops_of_training(module: nn.Module, x: Tensor) -> int:
    """Torch's own count of a step, two for a multiply-add."""
    with FlopCounterMode(display=False) as counter:
        module(x).sum().backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg11_bn", "plain18"])
def test_backward_is_torchs_without_groups(name: str) -> None:
    """In networks without grouped convolutions torch's counter is right, and says the same of a training step."""
    arch = load(name).at((3, 64, 64))
    done = operations_of(arch)
    total = sum(o.macs + o.backward for o in done)
    model = build(arch, "meta").eval()
    assert flops_of_training(model, torch.empty((1, *arch.input), device="meta")) == 2 * total


def test_backward_of_grouped_convolutions() -> None:
    """Torch's counter counts the gradient of a grouped convolution as if it had no groups; about 2 is right."""
    arch = load("resnext50_32x4d")
    done = operations_of(arch)
    ratio = sum(o.backward for o in done) / arch.macs
    assert ratio == pytest.approx(2 - 118_013_952 / arch.macs, abs=1e-12)  # all but the gradient of the image
    model = build(arch, "meta").eval()
    by_torch = flops_of_training(model, torch.empty((1, *arch.input), device="meta")) / 2 / arch.macs - 1
    assert by_torch > 3.6  # the day that it is about 2, this test and the README have to say so


def test_frozen_weights_need_no_gradient_of_the_input_below() -> None:
    """What depends on no parameter gets no gradient; a product of two computed matrices gets two."""
    (only,) = by_kind(seen(nn.Conv2d(3, 4, 1), 3, 5, 5), "conv")
    assert (only.weight_gradient, only.input_gradient) == (300, 0)

    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(5, 5, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            return torch.bmm(y, y.transpose(1, 2))

    (product_,) = by_kind(seen(Product(), 3, 5), "matmul")
    assert (product_.macs, product_.input_gradient) == (3 * 3 * 5, 2 * 3 * 3 * 5)


@pytest.mark.parametrize(("name", "side"), SMALL)
def test_spec_and_built_model_agree(name: str, side: int) -> None:
    """The operations of the spec and those of the model that runs, kind by kind, in every quantity."""
    arch = load(name).at((3, side, side))
    model = build(arch, "meta")

    def totals(done: list[Operation]) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for operation in done:
            for quantity, amount in operation.quantities.items():
                if operation.kind not in ("flatten", "reshape"):
                    key = operation.kind, quantity
                    found[key] = found.get(key, 0) + amount
        return found

    spec, run = operations_of(arch), seen(model, *arch.input)
    assert totals(spec) == totals(run)
    assert sum(o.macs for o in spec) == arch.macs
    assert sum(o.backward for o in spec) == sum(o.backward for o in run)


@pytest.mark.parametrize("module", [nn.Sequential(Mixed()), Mixed()], ids=["wrapped", "plain"])
def test_a_users_module_as_torch_and_fvcore_count_it(module: nn.Module) -> None:
    """Functional calls and subclassed layers are counted, by us as by the two counters that see them."""
    done = seen(module, 4, 6, 6)
    with FlopCounterMode(display=False) as counter:
        module.eval()(torch.zeros(1, 4, 6, 6))
    assert conventions()["torch"].total(done) == counter.get_total_flops()
    assert conventions()["fvcore"].total(done) == sum(fvcore_counts(module, (4, 6, 6)).values())


class Unknown(nn.Module):
    """Does what no rule counts."""

    def forward(self, x: Tensor) -> Tensor:
        """A Fourier transform."""
        return torch.fft.fft2(x).abs()


def test_an_operator_without_a_rule_is_no_zero() -> None:
    """It is named, with the line that calls it."""
    with pytest.raises(RvCheckError, match=r"no rule counts the operation '_fft_c2c' .*test_operations\.py:\d+"):
        seen(Unknown(), 3, 8, 8)


def test_nothing_is_counted_twice_or_lost() -> None:
    """A layer that is used twice counts twice; a result that nobody uses was computed all the same."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            unused = self.conv(x)
            del unused
            return self.conv(self.conv(x))

    assert sum(o.macs for o in seen(Twice(), 3, 4, 4)) == 3 * 9 * 16


# Rules


def test_a_total_is_spelled_out() -> None:
    """Amounts times coefficients are the total, and equal amounts of a kind are one term."""
    done = operations_of(load("resnet50"))
    for rule in conventions().values():
        terms = rule.spelled(done)
        assert sum(by * amount for by, _, _, amount in terms) == rule.total(done)
    assert conventions()["fvcore"].spelled(done) == [
        (1, "multiply-adds", "macs", 4_089_184_256),
        (2, "batchnorm", "out", 11_113_984),
        (1, "adaptive_avgpool", "in", 100_352),
    ]


def quantities_of_rules() -> Iterator[str]:
    """Every name that the file of conventions uses for a quantity."""
    for rule in conventions().values():
        for part in (rule.counts, rule.layers, rule.subclasses, rule.functions):
            for quantities in part.values():
                yield from quantities


def test_rules_name_what_there_is() -> None:
    """A quantity that no operation has would count as nothing, silently."""
    assert set(quantities_of_rules()) <= {
        *("macs", "in", "out", "bias", "affine", "window", "params"),
    }
    assert Path(FILE).is_file()


def test_who_asks_decides() -> None:
    """A counter that hooks into layers sees no function."""
    rule = Convention("x", "1", "MACs", "here", {"conv": {"macs": 1}}, functions={"conv": {}}, subclasses={"conv": {}})
    done = seen(Mixed(), 4, 6, 6)
    assert rule.total(done) == by_kind(done, "conv")[0].macs
