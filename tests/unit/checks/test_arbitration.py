"""What numbers may decide where no rule does: steps, limits, constants, and which of two alike parameters is which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from rv_check.checks.arbitration import _has_another_number
from rv_check.checks.findings import Report
from rv_check.checks.of_two import assert_same, compare_modules
from rv_check.errors import RvCheckError
from rv_check.graphs.explain import Mistake
from rv_check.language.inputs import one_image
from rv_check.modules.inputs import random_batch
from rv_check.modules.limits import Limits, near
from rv_check.modules.pairing import pair_by_gradients

Function = Callable[[Tensor], Tensor]


class Net(nn.Module):
    """A function of what one layer gives."""

    def __init__(self, function: Function):
        super().__init__()
        self.a, self.function = nn.Linear(8, 3), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.a(x))


def told(new: Function, old: Function) -> Report:
    """The report on two functions of one layer."""
    return compare_modules(Net(new), Net(old), (8,))


STEPS = {
    "another limit": (lambda y: y > 0.5, lambda y: y > 0.6),
    "a limit that is nearly the same": (lambda y: y > 0.5, lambda y: y > 0.5001),
    "a limit that is moved": (lambda y: (y - 0.3 > 0).to(y), lambda y: (y > 0.3001).to(y)),
    "a gate that is not quite a relu": (lambda y: y * (y > 0.001), torch.relu),
    "what is cut out": (lambda y: F.hardshrink(y, 0.5), lambda y: F.hardshrink(y, 0.5001)),
    "a threshold": (lambda y: F.threshold(y, 0.1, 0.0), lambda y: F.threshold(y, 0.1002, 0.0)),
    "another rounding": (torch.round, lambda y: (y + 0.4999).floor()),
    "the sign of another number": (torch.sign, lambda y: (y - 0.0003).sign()),
    "a floor a little further": (torch.floor, lambda y: (y + 1e-6).floor()),
    "a whole number a little further": (lambda y: y.long().to(y), lambda y: (y + 1e-6).long().to(y)),
    "an eps by hand": (
        lambda y: F.layer_norm(y, (3,), eps=1e-12),
        lambda y: (y - y.mean(-1, keepdim=True)) * (y.var(-1, keepdim=True, unbiased=False) + 1e-10).rsqrt(),
    ),
    "an eps of a length": (
        lambda y: F.normalize(y, dim=1, eps=1e-12),
        lambda y: y / (y.square().sum(1, keepdim=True).sqrt() + 1e-12),
    ),
    "a slope that is nearly 0": (lambda y: F.leaky_relu(y, 1e-10), torch.relu),
    "where a function becomes another": (lambda y: F.softplus(y, threshold=20), lambda y: F.softplus(y, threshold=12)),
    "a large number for a mask": (
        lambda y: y.masked_fill(torch.arange(3, device=y.device) > 1, -1e9).softmax(1),
        lambda y: y.masked_fill(torch.arange(3, device=y.device) > 1, -1e4).softmax(1),
    ),
}
WRITTEN_OTHERWISE = {
    "a gate that is a relu": (lambda y: y * (y > 0), torch.relu),
    "the other way round": (lambda y: y > 0.5, lambda y: torch.tensor(0.5) < y),
    "moved on both sides": (lambda y: y > 0.5, lambda y: y - 0.5 > 0),
    "larger on both sides": (lambda y: y > 0.5, lambda y: 2 * y > 1),
    "a leaky relu": (lambda y: torch.where(y > 0, y, 0.1 * y), lambda y: F.leaky_relu(y, 0.1)),
    "rounding": (torch.round, lambda y: (y + 0.5).floor()),
    "a mask of constants": (lambda y: y * torch.tensor([1, 0, 0]), lambda y: y.masked_fill(torch.arange(3) > 0, 0.0)),
    "a norm by hand": (
        lambda y: F.layer_norm(y, (3,), eps=1e-5),
        lambda y: (y - y.mean(-1, keepdim=True)) / (y.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt(),
    ),
    "a length by hand": (
        lambda y: F.normalize(y, dim=1, eps=1e-12),
        lambda y: y / y.square().sum(1, keepdim=True).sqrt().clamp(min=1e-12),
    ),
    "a sine": (lambda y: y.sin() * y.sin() + y.cos(), lambda y: 1 - y.cos() * y.cos() + y.cos()),
}


@pytest.mark.parametrize("turned", [False, True], ids=["", "the other way round"])
@pytest.mark.parametrize("pair", STEPS.values(), ids=STEPS)
def test_a_step_somewhere_else(pair: tuple[Function, Function], turned: bool) -> None:
    """That no number came between two limits is no proof: it is tried right beside each."""
    assert not told(*(pair[::-1] if turned else pair)).passed


@pytest.mark.parametrize("turned", [False, True], ids=["", "the other way round"])
@pytest.mark.parametrize("pair", WRITTEN_OTHERWISE.values(), ids=WRITTEN_OTHERWISE)
def test_the_same_step(pair: tuple[Function, Function], turned: bool) -> None:
    """A step that is written otherwise, and jumps at the same place or not at all, is no difference."""
    report = told(*(pair[::-1] if turned else pair))
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("found", "expected", "answer"),
    [
        ("eps 1e-12", "eps 1e-10", True),
        ("low -inf, high 6", "low -1.5, high 6", True),
        ("0.5 and x (linear)", "2 and x (linear)", True),
        ("experts.0 (linear)", "experts.1 (linear)", False),
        ("q1 (linear) and k (linear)", "q2 (linear) and k (linear)", False),
        ("to 2 8", "to 2 4 2", False),
    ],
)
def test_another_number(found: str, expected: str, answer: bool) -> None:
    """A number of an operation is one, and a number within a name is none: numbers may decide of the latter."""
    one = Mistake("wiring", "", 0, 1, "", None, "", None, found, expected, ())
    assert _has_another_number(one) is answer


def test_beside_a_step() -> None:
    """Two places, as near as asked, with the step between them; none where nothing passes it."""
    places = near(lambda share: torch.tensor([share - 0.3, 1.0]), 1e-6)
    assert places is not None
    assert places[0] <= 0.3 <= places[1] <= places[0] + 1e-6
    assert near(lambda share: torch.tensor([share + 1.0]), 1e-6) is None


def test_constants_have_no_limits() -> None:
    """A comparison of constants has the same answer always: it is no limit that a number might have gone past."""
    limits = Limits()
    for x in (torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])):
        with limits.begin():
            _ = torch.arange(2) > 5
            _ = x > 5
    assert [(at[0], count) for at, count in limits.never_reached.items()] == [("gt", 1)]
    assert not limits.all_varied


TABLES = {
    "torch.tensor": lambda y, at: torch.tensor([1.0, 2.0, at], device=y.device),
    "torch.as_tensor": lambda y, at: torch.as_tensor([1.0, 2.0, at], device=y.device),
    "new_tensor": lambda y, at: y.new_tensor([1.0, 2.0, at]),
    "a number": lambda y, at: torch.tensor(at, device=y.device),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_that_is_made_of_numbers(table: Callable[[Tensor, float], Tensor]) -> None:
    """On meta it has no values; they are known all the same, and compared."""
    report = told(lambda y: torch.bucketize(y, table(y, 3.5)[None].flatten()), lambda y: y.long())
    assert not report.passed
    report = told(lambda y: y * table(y, 3.0001), lambda y: y * table(y, 3.0))
    (finding,) = (f for f in report.findings if f.status == "failed" and f.check == "structure")
    assert "3.0001" in finding.message
    assert told(lambda y: y * table(y, 3.0), lambda y: y * table(y, 3.0)).passed


class Rare(nn.Module):
    """Branches that no input of a check leads to: by type, batch, size, and by how often it ran."""

    def __init__(self, by: float = 2.0):
        super().__init__()
        self.a, self.by, self.runs = nn.Conv2d(3, 4, 3), by, 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        if x.dim() != 4:
            raise ValueError("not images")
        y: Tensor = self.a(x)
        y = y * self.by if x.dtype == torch.float16 else y
        if x.shape[0] == 7:
            y = y * self.by
        if x.shape[2] > 5000:
            y = y * self.by
        return y + self.by if self.runs > 10_000 else y


def test_what_nothing_led_to_is_said() -> None:
    """With line and column, within a line, too; not what only raises an error."""
    report = compare_modules(Rare(3.0), Rare(), (3, 16, 16))
    (message,) = (finding.message for finding in report.findings if finding.check == "structure")
    first = Rare.forward.__code__.co_firstlineno
    places = [(5, 13), (7, 17), (9, 17), (10, 16)]
    told = ", ".join(f"tests/unit/checks/test_arbitration.py:{first + line}:{column}" for line, column in places)
    assert f"what it does was not seen where nothing led to: {told}" in message
    assert "nothing led to" not in str(compare_modules(Net(torch.relu), Net(torch.relu), (8,)).findings)


# Which is which


class Gated(nn.Module):
    """A recurrence with two layers that are alike."""

    def __init__(self, names: tuple[str, str] = ("gate", "value")):
        super().__init__()
        self.names = names
        for name in sorted(names):
            self.add_module(name, nn.Linear(6, 5))

    def forward(self, x: Tensor) -> Tensor:
        z, v = (self.get_submodule(name)(x) for name in self.names)
        z, h, out = z.sigmoid(), v.new_zeros(x.shape[0], 5), []
        for t in range(3):
            h = self.step(h, z[:, t], v[:, t])
            out.append(h)
        return torch.stack(out, 1)

    def step(self, h: Tensor, z: Tensor, v: Tensor) -> Tensor:
        """As it is printed."""
        return (1 - z) * h + z * v


class Interpolated(Gated):
    """The same in other terms."""

    def step(self, h: Tensor, z: Tensor, v: Tensor) -> Tensor:
        return h - z * h + z * v


class Reversed(Gated):
    """Value for state."""

    def step(self, h: Tensor, z: Tensor, v: Tensor) -> Tensor:
        return v - z * v + z * h


OTHER_NAMES = ("w", "v")


def test_alike_parameters_are_told_apart_by_their_gradients() -> None:
    """Names do not tell, and the structure pairs them the wrong way round."""
    for new, old in ((Interpolated(OTHER_NAMES), Gated()), (Gated(), Interpolated(OTHER_NAMES))):
        report = compare_modules(new, old, (3, 6))
        assert report.passed, str(report)
    assert compare_modules(Interpolated(OTHER_NAMES), Gated(), (3, 6)).map["gate.weight"] == "w.weight"
    assert not compare_modules(Reversed(OTHER_NAMES), Gated(), (3, 6)).passed


def test_what_is_called_the_same_is_the_same() -> None:
    """A state of one loads into the other, so that the gate may not be what the other calls its value."""
    assert compare_modules(Interpolated(), Gated(), (3, 6)).passed
    assert not compare_modules(Interpolated(("value", "gate")), Gated(), (3, 6)).passed


def test_pairing() -> None:
    """Each parameter is paired with the one that has its gradient; there is no pairing of different networks."""
    data = random_batch(one_image((3, 6)), 2, torch.float64, "cpu")
    slots = pair_by_gradients(Gated(), Interpolated(OTHER_NAMES), data, {})
    assert slots is not None
    assert {name: slot.name for name, slot in slots.items()} == {
        "gate.weight": "w.weight",
        "gate.bias": "w.bias",
        "value.weight": "v.weight",
        "value.bias": "v.bias",
    }
    assert pair_by_gradients(Gated(), Reversed(OTHER_NAMES), data, {}) is None


class Experts(nn.Module):
    """A weighted sum of experts, in a loop or stacked, in any order."""

    def __init__(self, order: tuple[int, ...], stacked: bool = False):
        super().__init__()
        self.order, self.stacked = order, stacked
        self.gate = nn.Linear(6, 3)
        self.experts = nn.ModuleList(nn.Linear(6, 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        gates = self.gate(x).softmax(-1)
        if self.stacked:
            every = torch.stack([expert(x).relu() for expert in self.experts], 1)
            return torch.einsum("ne,neo->no", gates, every)
        return sum(gates[:, at : at + 1] * self.experts[at](x).relu() for at in self.order)  # type: ignore[return-value]


def test_experts_in_any_order() -> None:
    """A sum does not care for the order of its terms, nor for whether they are stacked."""
    for other in (Experts((2, 0, 1)), Experts((0, 1, 2), stacked=True)):
        report = compare_modules(other, Experts((0, 1, 2)), (6,))
        assert report.passed, str(report)
    wrong = Experts((0, 1, 2))
    wrong.forward = (
        lambda x: sum(  # type: ignore[assignment, method-assign, return-value]
            wrong.gate(x).softmax(-1)[:, at : at + 1] * wrong.experts[(at + 1) % 3](x).relu() for at in range(3)
        )
    )
    assert not compare_modules(wrong, Experts((0, 1, 2)), (6,)).passed


class Masked(nn.Module):
    """A weight times a mask, both of one shape, the mask a buffer."""

    def __init__(self, names: tuple[str, str]):
        super().__init__()
        self.names = names
        self.register_buffer(names[1], torch.ones(8, 6).tril())
        self.register_parameter(names[0], nn.Parameter(torch.randn(8, 6)))

    def forward(self, x: Tensor) -> Tensor:
        weight, mask = (getattr(self, name) for name in self.names)
        return x @ (weight * mask).T


def test_a_parameter_is_no_mask() -> None:
    """Whatever they are called, and in whatever order they stand, a parameter is paired with a parameter."""
    report = compare_modules(Masked(("w", "a")), Masked(("kept", "z")), (6,))
    assert report.passed, str(report)
    assert report.map["kept"] == "w"


# As they are


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A network with the weights of a seed."""
    torch.manual_seed(seed)
    return make()


def plain() -> nn.Module:
    """A convolution and a norm whose statistics have moved."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    norm: Any = net[1]
    with torch.no_grad():
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    return net.eval()


def folded() -> nn.Module:
    """The norm folded into the convolution."""
    net: Any = plain()
    return nn.Sequential(nn.utils.fusion.fuse_conv_bn_eval(net[0], net[1]), nn.ReLU())


def test_own_weights() -> None:
    """Another structure with weights that make up for it: outputs decide, within a tolerance, and the rest is told."""
    report = compare_modules(seeded(folded), seeded(plain), (3, 16, 16), own_weights=1e-5)
    assert report.passed, str(report)
    assert any("the structure differs" in note for note in report.notes)
    assert not compare_modules(seeded(folded), seeded(plain), (3, 16, 16)).passed
    assert not compare_modules(seeded(folded, 1), seeded(plain), (3, 16, 16), own_weights=1e-5).passed
    with pytest.raises(AssertionError, match="own_weights failed"):
        assert_same(seeded(plain, 1), seeded(plain), (3, 16, 16), own_weights=1e-5)
    moved = seeded(plain)
    with torch.no_grad():
        next(moved.parameters())[0, 0, 0, 0] += 1e-3
    assert not compare_modules(moved, seeded(plain), (3, 16, 16), own_weights=1e-5).passed
    assert compare_modules(moved, seeded(plain), (3, 16, 16), own_weights=1e-1).passed


def test_own_weights_compare_every_output() -> None:
    """Also of modules that return several tensors; one more or one less is a difference."""

    class Heads(nn.Module):
        def __init__(self, *names: str):
            super().__init__()
            self.names, self.a, self.b = names, nn.Linear(4, 3), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {name: getattr(self, name)(x) for name in self.names}

    def heads(*names: str) -> nn.Module:
        return seeded(lambda: Heads(*names))

    assert compare_modules(heads("b", "a"), heads("a", "b"), (4,), own_weights=1e-5).passed
    report = compare_modules(heads("a"), heads("a", "b"), (4,), own_weights=1e-5)
    assert any("output ['b'] differs" in finding.message for finding in report.findings)


@pytest.mark.filterwarnings("ignore")
def test_packed_weights_are_compared_as_they_are() -> None:
    """A quantised layer takes no other weights: structure, then the outputs with those that it has."""

    def quantised() -> nn.Module:
        layers = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
        net: nn.Module = torch.ao.quantization.quantize_dynamic(layers, {nn.Linear})  # type: ignore[attr-defined]
        return net

    report = compare_modules(seeded(quantised), seeded(quantised), (8,))
    assert report.passed, str(report)
    assert any("take no others" in note for note in report.notes)
    assert not compare_modules(seeded(quantised, 1), seeded(quantised), (8,)).passed


# What is not compared


class LeavesTorch(nn.Module):
    """What numpy computes."""

    def __init__(self, factor: float = 2.0):
        super().__init__()
        self.a, self.factor = nn.Linear(8, 8), factor

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.a(x).detach().numpy() * self.factor)


def test_an_output_that_does_not_see_the_input_is_refused() -> None:
    """It would be equal whatever is computed."""
    with pytest.raises(RvCheckError, match="the output does not depend on the input"):
        compare_modules(LeavesTorch(3.0), LeavesTorch(), (8,))
    with pytest.raises(RvCheckError, match="the output does not depend on the input"):
        compare_modules(LeavesTorch(), nn.Linear(8, 8), (8,))


class Unused(nn.Module):
    """A layer that is never called."""

    def __init__(self, name: str):
        super().__init__()
        self.a = nn.Linear(8, 8)
        self.add_module(name, nn.Linear(8, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x)


def test_what_is_used_on_neither_side_is_said() -> None:
    """By whatever names; what is unused on one side alone is a difference."""
    report = compare_modules(Unused("other"), Unused("spare"), (8,))
    assert report.passed, str(report)
    (structure,) = (finding for finding in report.findings if finding.check == "structure")
    assert "on neither side is anything computed from other.weight, other.bias" in structure.message
    assert not compare_modules(Unused("spare"), nn.Sequential(nn.Linear(8, 8)), (8,)).passed


def test_a_total_that_is_not_whole_says_so() -> None:
    """What no rule counts is named, where the MACs of two modules are shown."""

    def net() -> nn.Module:
        return Net(lambda y: torch.special.bessel_j0(y))

    report = compare_modules(net(), net(), (8,))
    assert report.notes == ("the MACs are at least these: no rule counts special_bessel_j0",)
    assert compare_modules(Net(torch.relu), Net(torch.relu), (8,)).notes == ()


# What people do to a network after building it


class Small(nn.Module):
    """Three convolutions, each with its norm."""

    def __init__(self, eps: float = 1e-5, momentum: float = 0.1):
        super().__init__()
        parts = [
            (nn.Conv2d(3 + at, 4 + at, 3, padding=1), nn.BatchNorm2d(4 + at, eps, momentum), nn.ReLU())
            for at in range(3)
        ]
        self.body = nn.Sequential(*(layer for part in parts for layer in part))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y


class WithLoss(nn.Module):
    """The weights of a loss, which no output depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.loss = Small(), nn.CrossEntropyLoss(weight=torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


def pruned() -> nn.Module:
    """Half of the weights of each convolution are masked."""
    net = Small()
    for part in net.modules():
        if isinstance(part, nn.Conv2d):
            prune.l1_unstructured(part, "weight", amount=0.5)  # type: ignore[no-untyped-call]
    return net


def test_a_buffer_that_nothing_uses_is_said() -> None:
    """It changes nothing. Where the other has it alone nothing is to be said of this one."""
    report = compare_modules(WithLoss(), Small(), (3, 16, 16))
    assert report.passed, str(report)
    (structure,) = (finding for finding in report.findings if finding.check == "structure")
    assert "nothing uses its buffer loss.weight" in structure.message
    report = compare_modules(Small(), WithLoss(), (3, 16, 16))
    assert report.passed, str(report)
    assert "nothing uses" not in str(report.findings)


def failures(new: nn.Module) -> list[tuple[str, int]]:
    """What differs from the small network, each with how often."""
    report = compare_modules(new, Small(), (3, 16, 16))
    return [(f.message.splitlines()[0], f.count) for f in report.findings if f.status == "failed"]


def test_pruned_weights_are_one_cause() -> None:
    """A mask on each weight, told once."""
    words = "conv with weight masked: weight_orig times weight_mask, expected weight a parameter, x3"
    assert failures(pruned()) == [(words, 3)]


def test_two_arguments_are_told_together() -> None:
    """Also where one of them is of use in train mode alone; by itself it is told of train mode."""
    both = "batchnorm with eps 0.001, momentum 0.01, expected eps 1e-05, momentum 0.1, x3"
    assert failures(Small(1e-3, 0.01)) == [(both, 3)]
    assert failures(Small(1e-3)) == [("batchnorm with eps 0.001, expected eps 1e-05, x3", 3)]
    assert failures(Small(momentum=0.01)) == [
        ("batchnorm with momentum 0.01, expected momentum 0.1, x3 (in train mode)", 3)
    ]


# What is too loud


@pytest.mark.parametrize(
    "new", [lambda y: y.exp() / y.exp().sum(1, keepdim=True), lambda y: (y - y.logsumexp(1, True)).exp()]
)
def test_an_exponential_that_overflows_is_tried_less_loudly(new: Function) -> None:
    """Of an image a hundred million times as large it is no number, in one of the two or in both."""
    for one, other in ((new, lambda y: y.softmax(1)), (lambda y: y.softmax(1), new)):
        assert told(one, other).passed
    assert not told(new, lambda y: (1.0001 * y).softmax(1)).passed
    assert not told(new, lambda y: y.clamp(max=50).softmax(1)).passed
    assert not told(lambda y: y.clamp(max=50).softmax(1), new).passed


def test_parameters_without_a_gradient_are_paired() -> None:
    """A bias that a softmax takes away has noise for a gradient, on either side."""

    class Scored(nn.Module):
        def __init__(self, names: tuple[str, str], by_hand: bool):
            super().__init__()
            self.names, self.by_hand = names, by_hand
            for name in sorted(names):
                self.add_module(name, nn.Linear(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            score, value = (self.get_submodule(name)(x).mT for name in self.names)
            if not self.by_hand:
                return (score.softmax(-1) * value).sum(-1)
            return torch.einsum("bci,bci->bc", score.exp(), value) / score.exp().sum(-1)

    for names in (("a", "b"), ("b", "a")):
        assert compare_modules(Scored(names, True), Scored(("p", "q"), False), (6, 4)).passed
    assert not compare_modules(Scored(("q", "p"), True), Scored(("p", "q"), False), (6, 4)).passed


# Parameters that are not trained


class LowRank(nn.Module):
    """What a hook adds, of a module that the hook knows by itself, so that no copy of it is made."""

    def __init__(self, frozen: bool = True):
        super().__init__()
        self.layer, self.down, self.up = nn.Linear(8, 6), nn.Linear(8, 2, bias=False), nn.Linear(2, 6, bias=False)
        self.layer.requires_grad_(not frozen)
        self.layer.register_forward_hook(lambda part, args, output: output + self.up(self.down(args[0])))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


def test_what_is_frozen_is_told_of_a_module_that_is_borrowed() -> None:
    """While it is compared all of its parameters are trained, which is not what it is held to."""
    assert compare_modules(LowRank(), LowRank(), (8,)).passed
    for new, old in ((LowRank(), LowRank(frozen=False)),):
        report = compare_modules(new, old, (8,))
        (finding,) = [one for one in report.findings if one.status == "failed"]
        assert (finding.check, finding.found) == ("trainable", "requires_grad=False of layer.weight, layer.bias")


def test_a_number_is_what_it_is_meant_to_be() -> None:
    """1 - 0.9 is 0.1, in arguments as in factors; 0.1001 is not."""
    assert told(lambda y: (1 - 0.9) * y.sin(), lambda y: 0.1 * y.sin()).passed
    assert not told(lambda y: 0.1001 * y.sin(), lambda y: 0.1 * y.sin()).passed

    def norm(momentum: float) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, momentum=momentum))

    assert compare_modules(norm(1 - 0.9), norm(0.1), (3, 8, 8)).passed
    assert not compare_modules(norm(0.11), norm(0.1), (3, 8, 8)).passed


# What depends on values


class Sized(nn.Module):
    """A pad to a size, which torch is asked about as of a tensor; the norm by one call, or written out."""

    def __init__(self, *, by_hand: bool, made: Callable[[Any, Tensor, Tensor], Tensor]):
        super().__init__()
        self.conv, self.norm, self.by_hand, self.made = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), by_hand, made
        self.register_buffer("side", torch.tensor(1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        y = F.pad(y, [0, int(self.made(self, x, y)), 0, 0])
        if not self.by_hand or self.training:
            return self.norm(y)
        n = self.norm
        scale, shift = n.weight / (n.running_var + n.eps).sqrt(), n.running_mean
        return (y - shift[:, None, None]) * scale[:, None, None] * 1.0 + n.bias[:, None, None].clone().neg().neg()


ASKED: dict[str, tuple[Callable[[Any, Tensor, Tensor], Tensor], bool]] = {
    "a size that is made a tensor": (lambda s, x, y: torch.tensor([x.shape[2] - y.shape[2]]), True),
    "a sum of such": (lambda s, x, y: torch.tensor(x.shape).sum() - torch.tensor(y.shape).sum() + 2, True),
    "an image": (lambda s, x, y: (x.mean() > 1e9) + 2, False),
    "a buffer, which a state changes": (lambda s, x, y: s.side * 2, False),
}


@pytest.mark.parametrize("words", ASKED)
def test_what_is_the_same_for_every_image_leads_nowhere_else(words: str) -> None:
    """Numbers are asked where only sizes decide. Where values do, they are not, and that is said with the place."""
    made, is_asked = ASKED[words]
    report = compare_modules(Sized(by_hand=True, made=made), Sized(by_hand=False, made=made), (3, 12, 12))
    assert report.passed == is_asked, str(report)
    notes = [note for note in report.notes if note.startswith("numbers were not asked about what differs")]
    assert len(notes) == (not is_asked)
    assert is_asked or "test_arbitration.py:" in notes[0]
