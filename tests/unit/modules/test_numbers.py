"""Comparing numbers: nothing that differs passes, and nothing of the user's is left changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rv_check.errors import RvCheckError
from rv_check.modules import generic_point as points
from rv_check.modules import trace as modules_trace
from rv_check.modules.build import build
from rv_check.modules.generic_point import generic_point
from rv_check.modules.torch_state import seeded, steady
from rv_check.modules.trace import TensorDifference, Trace, compare, differences, largest_value

NAN, INF = math.nan, math.inf
TOLERANCE = modules_trace.TOLERANCE[torch.float64]


def t(*values: float) -> Tensor:
    """A float64 tensor."""
    return torch.tensor(values, dtype=torch.float64)


# Comparing two tensors. The difference is relative to the largest expected value.

COMPARED: list[tuple[str, Tensor | None, Tensor | None, float]] = [
    ("equal", t(1, 2, 4), t(1, 2, 4), 0.0),
    ("a quarter", t(1, 2, 4), t(1, 2, 5), 0.25),  # 1/4
    ("in a small place", t(1, 2, -4), t(1.5, 2, -4), 0.125),  # 0.5/4
    ("the other sign", t(2), t(-2), 2.0),  # 4/2
    ("zeros", t(0, 0), t(0, 0), 0.0),
    ("negative zero", t(0.0), t(-0.0), 0.0),
    ("something for zero", t(0, 0), t(0, 1e-300), INF),
    ("zero for something", t(3, 0), t(0, 0), 1.0),  # 3/3
    ("empty", t(), t(), 0.0),
    ("a scalar", torch.tensor(4.0), torch.tensor(5.0), 0.25),
    ("counters", torch.tensor(4), torch.tensor(5), 0.25),
    ("equal counters", torch.tensor(4), torch.tensor(4), 0.0),
    ("float32", t(1, 2).float(), t(1, 3).float(), 0.5),
    ("half precision", t(1, 2).bfloat16(), t(1, 3).bfloat16(), 0.5),
    ("neither is there", None, None, 0.0),
]


@pytest.mark.parametrize(("expected", "found", "relative"), [c[1:] for c in COMPARED], ids=[c[0] for c in COMPARED])
def test_compare(expected: Tensor | None, found: Tensor | None, relative: float) -> None:
    """The largest difference over the largest expected value."""
    difference = compare("it", expected, found)
    assert difference.relative == relative
    assert difference.within(1e-9) == (relative == 0)


NEVER: list[tuple[str, Tensor | None, Tensor | None]] = [
    ("NaN found", t(1, 2), t(1, NAN)),
    ("NaN expected", t(1, NAN), t(1, 2)),
    ("NaN on both sides", t(1, NAN), t(1, NAN)),
    ("nothing but NaN", t(NAN), t(NAN)),
    ("NaN for zero", t(0), t(NAN)),
    ("infinite found", t(1, 2), t(1, INF)),
    ("infinite expected", t(1, INF), t(1, 2)),
    ("infinite on both sides", t(1, INF), t(1, INF)),
    ("infinite, and another difference", t(1, INF), t(2, INF)),
    ("infinite of the other sign", t(1, INF), t(1, -INF)),
    ("more elements", t(1, 2), t(1, 2, 2)),
    ("another shape of as many", t(1, 2), t(1, 2)[None]),
    ("one for many", t(1, 1), t(1)),
    ("empty of another shape", t(), t()[None]),
    ("another type", t(1, 2), t(1, 2).float()),
    ("nothing found", t(1), None),
    ("nothing expected", None, t(1)),
]


@pytest.mark.parametrize(("expected", "found"), [n[1:] for n in NEVER], ids=[n[0] for n in NEVER])
@pytest.mark.parametrize("floor", [0.0, 1e9])
def test_compare_never_passes(expected: Tensor | None, found: Tensor | None, floor: float) -> None:
    """What is not finite, of another shape or missing passes at no tolerance and no floor, and says what it is."""
    difference = compare("it", expected, found, floor=floor)
    assert not difference.within(1e300)
    assert difference.found
    assert difference.expected


def test_compare_names_the_place() -> None:
    """A difference tells both values where they differ most, or both shapes, or which side is missing."""
    expected = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    found = expected.clone()
    found[1, 0] = 3.5
    found[0, 2] = 2.25

    def detail(expected: Tensor | None, found: Tensor | None) -> tuple[str, str]:
        difference = compare("it", expected, found)
        return difference.found, difference.expected

    assert detail(expected, found) == ("3.5 at [1, 0]", "3")
    assert detail(expected, expected * NAN) == ("nan at [0, 0]", "0")
    assert detail(torch.tensor(3), torch.tensor(4)) == ("4 at []", "3")
    assert detail(expected, expected[0]) == ("shape [3]", "[2, 3]")
    assert detail(expected, expected.float()) == ("torch.float32", "torch.float64")
    assert detail(expected, None) == ("nothing", "a tensor")
    assert detail(None, expected) == ("a tensor", "nothing")


def test_a_floor_is_the_least_that_counts() -> None:
    """Noise on a tensor that is 0 by construction is held against the floor, and no larger value is changed by it."""
    assert compare("it", t(1e-17), t(-1e-17), floor=1e-3).relative == pytest.approx(2e-14)  # 2e-17/1e-3
    assert compare("it", t(1e-17), t(-1e-17)).relative == 2.0
    assert compare("it", t(0), t(1e-17), floor=1e-3).relative == pytest.approx(1e-14)
    assert compare("it", t(4), t(5), floor=1e-3).relative == 0.25
    assert compare("it", t(0), t(0), floor=0.0).relative == 0.0


@pytest.mark.parametrize(
    ("values", "largest"),
    [
        ([1.0, -3.0, 2.0], 3.0),
        ([-1.0, -0.5], 1.0),
        ([0.0, -0.0], 0.0),
        ([], 0.0),
        ([1.0, INF], INF),
        ([1.0, -INF], INF),
        ([3 + 4j, 1j], 5.0),
        ([-7, 3], 7.0),
        ([True, False], 1.0),
    ],
)
def test_the_largest_value(values: list[complex], largest: float) -> None:
    """Of any type, by its size; an infinite one is the largest."""
    assert largest_value(torch.tensor(values)) == largest


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("at", [0, 1, 500, 999])
def test_a_value_that_is_no_number_is_the_largest(at: int, dtype: torch.dtype) -> None:
    """Wherever it stands, also beside an infinite one."""
    tensor = torch.linspace(-1, 1, 1000, dtype=dtype)
    tensor[500] = INF
    tensor[at] = NAN
    assert math.isnan(largest_value(tensor))


def test_within_is_safe() -> None:
    """A difference of NaN is within no tolerance, and one at the tolerance is within it."""
    assert not TensorDifference("it", NAN).within(INF)
    assert TensorDifference("it", 1e-9).within(1e-9)
    assert not TensorDifference("it", 1.1e-9).within(1e-9)


def test_compare_leaves_its_tensors_alone() -> None:
    """Tensors that require a gradient are compared as they are, and stay so."""
    expected, found = t(1, 2).requires_grad_(), t(1, 3).requires_grad_()
    assert compare("it", expected, found).relative == 0.5
    assert expected.requires_grad
    assert found.grad is None
    assert torch.equal(found, t(1, 3))


# The generic point

NARROW = ["resnet152(width=4)", "resnet18(width=8)", "vgg11_bn(width=2)", "vgg19(width=2)"]


@pytest.mark.parametrize("name", NARROW)
def test_a_generic_point_hides_nothing(name: str) -> None:
    """No parameter or buffer has an entry at 0 or 1, variances are positive, counters stand at 3."""
    model = build(name)
    generic_point(model)
    for key, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            assert tensor.item() == 3, key
            continue
        assert not ((tensor == 0) | (tensor == 1)).any(), key
        assert tensor.isfinite().all(), key
        assert tensor.numel() == 1 or tensor.unique().numel() > 1, key
        if key.endswith("running_var"):
            assert (tensor > 0.1).all(), key


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", NARROW)
def test_a_generic_point_is_well_scaled(name: str, train: bool) -> None:
    """Outputs are finite and between 1e-3 and 1e6, and the gradients of all weights neither vanish nor explode."""
    model = build(name, dtype=torch.float64)
    generic_point(model)
    x = points.image((3, 64, 64), 2, torch.float64, "cpu")
    trace = modules_trace.run(model, x, train, [])
    assert trace.outputs[""].isfinite().all()
    assert 1e-3 < float(trace.outputs[""].abs().max()) < 1e6
    for key, gradient in trace.gradients.items():
        assert gradient is not None, key
        assert float(gradient.abs().max()) < 1e9, key
        # A bias in front of a norm has no effect in training.
        assert key.endswith("bias") or float(gradient.abs().max()) > 1e-9, key


def test_a_generic_point_is_the_same_each_time() -> None:
    """It depends on the seed and on nothing else: not on the model's start nor on torch's generator."""
    models = [build("resnet18(width=8)") for _ in range(3)]
    torch.manual_seed(1)
    generic_point(models[0])
    torch.manual_seed(2)
    state = torch.get_rng_state()
    generic_point(models[1])
    assert torch.equal(state, torch.get_rng_state())
    generic_point(models[2], seed=5)
    first, second, third = (model.state_dict() for model in models)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(not torch.equal(first[key], third[key]) for key in first if first[key].is_floating_point())


def test_a_generic_point_keeps_types() -> None:
    """Values are those of float32 in whatever type the model has, and parameters still want gradients."""
    small, large = build("resnet18(width=8)"), build("resnet18(width=8)", dtype=torch.float64)
    generic_point(small)
    generic_point(large)
    for name, parameter in large.named_parameters():
        assert parameter.dtype == torch.float64
        assert parameter.requires_grad
        assert torch.equal(parameter, small.get_parameter(name).double())


# What a difference in the code does to the numbers. `Net` is right; each other one makes one mistake.


class Net(nn.Module):
    """A residual block and a head, with everything that can go wrong in one."""

    eps, momentum, slope, detached, half = 1e-5, 0.1, 0.0, False, 1.0

    def __init__(self) -> None:
        """Two norms, one projection."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6, self.eps, self.momentum)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(6)
        self.down = nn.Conv2d(3, 6, 1, stride=2)
        self.drop = nn.Dropout(0.0)
        self.fc = nn.Linear(6, 5)

    def between(self, x: Tensor) -> Tensor:
        """The activation between the convolutions."""
        return functional.leaky_relu(x, self.slope)

    def skip(self, x: Tensor) -> Tensor:
        """The shortcut."""
        return self.down(x)

    def pool(self, x: Tensor) -> Tensor:
        """The map as features."""
        return x.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, H, W) to (N, 5)."""
        y = self.bn2(self.conv2(self.between(self.bn1(self.conv1(x)))))
        return self.fc(self.drop(self.pool(functional.relu(y + self.skip(x)))))


class OtherEps(Net):
    """A norm with another eps."""

    eps = 1e-3


class OtherMomentum(Net):
    """A norm with another momentum."""

    momentum = 0.01


class Leaky(Net):
    """A relu that leaks."""

    slope = 0.01


class NoRelu(Net):
    """No relu at all."""

    def between(self, x: Tensor) -> Tensor:
        return x


class Gelu(Net):
    """Another activation."""

    def between(self, x: Tensor) -> Tensor:
        return functional.gelu(x)


class MaxForMean(Net):
    """Another pool."""

    def pool(self, x: Tensor) -> Tensor:
        return x.amax((2, 3))


class SharedNorm(Net):
    """One norm in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.bn2 = self.bn1


class FrozenNorm(Net):
    """A norm that stays in evaluation."""

    def train(self, mode: bool = True) -> FrozenNorm:
        super().train(mode)
        self.bn1.eval()
        return self


class Detached(Net):
    """A shortcut that passes no gradient back."""

    def skip(self, x: Tensor) -> Tensor:
        return self.down(x.detach())


class ReflectPadding(Net):
    """Other values beyond the border."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1, bias=False, padding_mode="reflect")


class Dropping(Net):
    """Another dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)


class LateStride(Net):
    """The stride in the second convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(6, 6, 3, stride=2, padding=1, bias=False)


class FrozenParameter(Net):
    """A parameter that wants no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1.weight.requires_grad_(False)


class NoSkip(Net):
    """A shortcut that counts for nothing."""

    def skip(self, x: Tensor) -> Tensor:
        return 0 * self.down(x)


class Nan(Net):
    """Not a number."""

    def pool(self, x: Tensor) -> Tensor:
        return super().pool(x) * NAN


class Written(Net):
    """Right, in other words: in-place relus, commuted addends, a pool that is a module."""

    def between(self, x: Tensor) -> Tensor:
        return functional.relu(x, inplace=True)

    def pool(self, x: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(x, 1).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.between(self.bn1(self.conv1(x)))))
        y = self.skip(x).add_(y).relu_()
        return self.fc(self.drop(self.pool(y)))


def traces(expected: nn.Module, found: nn.Module, train: bool) -> tuple[Trace, Trace]:
    """Both modules run at one generic point, on one batch."""
    expected, found = expected.double(), found.double()
    generic_point(expected)
    if isinstance(found, SharedNorm):
        expected.bn2.load_state_dict(expected.bn1.state_dict())  # so that sharing alone is the difference
    found.load_state_dict(expected.state_dict())
    x = points.image((3, 9, 9), 3, torch.float64, "cpu")
    modules = modules_trace.shared_modules(expected, found)
    return modules_trace.run(expected, x, train, modules), modules_trace.run(found, x, train, modules)


def noticed(expected: nn.Module, found: nn.Module, train: bool) -> list[str]:
    """What differs by more than the tolerance."""
    return [d.what for d in differences(*traces(expected, found, train), train) if not d.within(TOLERANCE)]


# In which modes the difference must be seen, and where it is seen first.
MISTAKES: list[tuple[type[Net], str, str | None, str | None]] = [
    (OtherEps, "another eps", "output of bn1", "output of bn1"),
    (Leaky, "a leaky relu", "output of conv2", "output of conv2"),
    (NoRelu, "a missing relu", "output of conv2", "output of conv2"),
    (Gelu, "gelu for relu", "output of conv2", "output of conv2"),
    (MaxForMean, "max for mean", "output of drop", "output of drop"),
    (ReflectPadding, "another padding", "output of conv2", "output of conv2"),
    (LateStride, "the stride elsewhere", "output of conv1", "output of conv1"),
    (NoSkip, "no shortcut", "output of drop", "output of drop"),
    (Nan, "not a number", "output of drop", "output of drop"),
    (Detached, "a detached shortcut", "gradient of the input", "gradient of the input"),
    (OtherMomentum, "another momentum", None, "bn1.running_mean after a step"),
    (Dropping, "another dropout", None, "output of drop"),
    (FrozenNorm, "a norm kept in evaluation", None, "output of bn1"),
]


@pytest.mark.parametrize(
    ("net", "in_eval", "in_train"), [(m[0], m[2], m[3]) for m in MISTAKES], ids=[m[1] for m in MISTAKES]
)
def test_a_mistake_is_noticed(net: type[Net], in_eval: str | None, in_train: str | None) -> None:
    """Each mistake is seen where it is made; what only training shows is silent in evaluation."""
    for train, first in ((False, in_eval), (True, in_train)):
        found = noticed(Net(), net(), train)
        assert (found[0] if found else None) == first, f"train={train}"


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_a_shared_norm_is_noticed(train: bool) -> None:
    """One norm in two places, with weights that are equal anyway: its second gradient is missing in either mode."""
    found = noticed(Net(), SharedNorm(), train)
    assert "gradient of bn2.weight" in found
    assert ("bn1.running_mean after a step" in found) == train


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_a_frozen_parameter_is_noticed(train: bool) -> None:
    """A parameter that wants no gradient has none, where one is expected."""
    assert noticed(Net(), FrozenParameter(), train) == ["gradient of conv1.weight"]


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("net", [Net, Written])
def test_what_is_right_passes(net: type[Net], train: bool) -> None:
    """The same network, also in other words, differs nowhere, and everything was compared."""
    expected, found = traces(Net(), net(), train)
    compared = list(differences(expected, found, train))
    assert [d for d in compared if not d.within(TOLERANCE)] == []
    names = {d.what for d in compared}
    assert {"output of bn1", "output of fc", "output", "gradient of the input", "gradient of down.bias"} <= names
    # 7 modules, output, input, 3 weights of convolutions, a bias, 2 norms of 2, the head's 2; 2 norms of 3 buffers
    assert len(names) == len(compared) == 7 + 1 + 1 + 3 + 1 + 4 + 2 + (6 if train else 0)


def test_differences_come_in_order() -> None:
    """Modules in the order of the flow, gradients in that of backward, then buffers: a report is the same each time."""
    expected, found = traces(Net(), Net(), True)
    names = [name for name, _ in Net().named_parameters()]
    assert [d.what for d in differences(expected, found, True)] == [
        *(f"output of {name}" for name in ("conv1", "bn1", "conv2", "bn2", "down", "drop", "fc")),
        "output",
        *(f"gradient of {name}" for name in reversed(names)),
        "gradient of the input",
        *(f"{name} after a step" for name, _ in Net().named_buffers()),
    ]
    for difference in differences(expected, found, True):
        words = difference.what.split()
        assert difference.decides == (words[:2] != ["output", "of"])
        name = words[0] if words[-1] == "step" else words[-1]
        assert difference.module == (name if words[:2] == ["output", "of"] else name.rpartition(".")[0])


def test_parts_that_only_one_has_are_no_difference() -> None:
    """A network may be cut into other parts: what only one side has decides nothing, nor does a part's output."""
    expected, found = traces(Net(), Net(), False)
    del found.modules["drop"]
    found.modules["bn1"] = found.modules["bn1"] + 1
    different = [d for d in differences(expected, found, False) if not d.within(TOLERANCE)]
    assert [(d.what, d.decides) for d in different] == [("output of bn1", False)]


# A run leaves everything else as it was.


class Failing(nn.Module):
    """Calls a part, then raises."""

    def __init__(self) -> None:
        """One part."""
        super().__init__()
        self.part = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Never returns."""
        self.part(x)
        raise ValueError("on purpose")


def hooks(model: nn.Module) -> int:
    """How many forward hooks hang on a model."""
    return sum(len(module._forward_hooks) for module in model.modules())


def test_hooks_are_removed() -> None:
    """After a run no hook is left, also when the model raised; hooks of the user stay."""
    model = Net()
    model.conv1.register_forward_hook(lambda *_: None)
    modules_trace.run(model, torch.randn(2, 3, 8, 8), False, ["conv1", "bn1"])
    assert hooks(model) == 1
    failing = Failing()
    with pytest.raises(ValueError, match="on purpose"):
        modules_trace.run(failing, torch.randn(2, 2), False, ["part"])
    assert hooks(failing) == 0


def test_the_generator_is_left_alone() -> None:
    """A run with dropout, and one that raises, draw from a generator of their own; the draws are the same each time."""
    model, failing, x = Dropping(), Failing(), torch.ones(2, 3, 8, 8)
    state = torch.get_rng_state()
    first = modules_trace.run(model, x, True, [])
    with pytest.raises(ValueError, match="on purpose"):
        modules_trace.run(failing, torch.ones(2, 2), True, [])
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert torch.equal(first.outputs[""], modules_trace.run(model, x, True, []).outputs[""])


class Settings(nn.Linear):
    """Keeps what torch is set to while it runs."""

    def forward(self, x: Tensor) -> Tensor:
        self.seen = settings()
        return super().forward(x)


def parts() -> list[Any]:
    """Where torch keeps how exact float32 is."""
    cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
    return [torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn]


def settings() -> dict[str, object]:
    """What of torch's settings changes numbers."""
    return {
        "precisions": [part.fp32_precision for part in parts()],
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device().type,
        "deterministic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
    }


STEADY = {
    "precisions": ["ieee"] * 6,
    "grad": (True, False),
    "autocast": (False, False),
    "dtype": torch.float32,
    "device": "cpu",
    "deterministic": (False, False),
}


def set_precision(part: Any, precision: str) -> None:
    """Set it by torch's newer settings."""
    part.fp32_precision = precision


def allow_tf32(part: Any, allowed: bool) -> None:
    """Set it by torch's older settings."""
    part.allow_tf32 = allowed


CHANGES: dict[str, Callable[[], AbstractContextManager[Any] | None]] = {
    "products in TF32": lambda: allow_tf32(torch.backends.cuda.matmul, True),
    "convolutions not in TF32": lambda: allow_tf32(torch.backends.cudnn, False),
    "products in TF32, by the newer setting": lambda: set_precision(torch.backends.cuda.matmul, "tf32"),
    "products in bfloat16": lambda: set_precision(torch.backends.mkldnn.matmul, "bf16"),
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu"),
    "float64": lambda: torch.set_default_dtype(torch.float64),
    "the meta device": lambda: torch.device("meta"),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
}


@pytest.fixture
def restored() -> Iterator[None]:
    """Puts torch's settings back, whatever a test does to them."""
    before = settings()
    precisions, matmul = [part.fp32_precision for part in parts()], torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = True  # the older setting first: the newer ones do not put it back
    for part, precision in zip(parts(), precisions, strict=True):
        part.fp32_precision = precision
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)
    assert settings() == before
    assert torch.backends.cudnn.allow_tf32  # reading it raises where older and newer settings disagree


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_torch_is_steady_inside(change: Callable[[], AbstractContextManager[Any] | None]) -> None:
    """Whatever the user has set, a comparison runs as torch comes, in exact float32; after it all is as it was."""
    model, out_of_the_box = Settings(2, 2), settings()
    with change() or nullcontext():
        before = settings()
        assert before != out_of_the_box
        with steady():
            modules_trace.run(model, torch.ones(1, 2), False, [])
        assert model.seen == STEADY
        assert settings() == before
        with pytest.raises(ValueError, match="inside"):
            raise_inside(steady())
        assert settings() == before


@pytest.mark.usefixtures("restored")
def test_a_run_is_exact_by_itself() -> None:
    """A run outside of `steady` has exact float32 all the same, and leaves the settings alone, also after an error."""
    torch.backends.cuda.matmul.allow_tf32 = True
    before, model = settings(), Settings(2, 2)
    modules_trace.run(model, torch.ones(1, 2), False, [])
    assert model.seen["precisions"] == STEADY["precisions"]
    assert settings() == before
    with pytest.raises(ValueError, match="on purpose"):
        modules_trace.run(Failing(), torch.ones(2, 2), False, [])
    assert settings() == before


def raise_inside(context: AbstractContextManager[None]) -> None:
    """An error within a context."""
    with context:
        raise ValueError("inside")


def test_the_input_is_left_alone() -> None:
    """The user's batch gets no gradient and keeps its values, also with a model that overwrites it."""
    x = torch.randn(2, 3, 8, 8)
    before = x.clone()
    trace = modules_trace.run(nn.Sequential(nn.Identity(), nn.Conv2d(3, 2, 1), nn.ReLU(inplace=True)), x, False, [])
    assert torch.equal(before, x)
    assert not x.requires_grad
    assert x.grad is None
    assert trace.input_gradient is not None
    assert trace.input_gradient.shape == x.shape


def test_outputs_of_modules_are_what_they_gave() -> None:
    """What an in-place relu overwrites is kept as it was; a module that runs twice is kept the first time."""
    relu = nn.ReLU(inplace=True)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), relu, nn.Conv2d(4, 4, 1), relu)
    trace = modules_trace.run(model, torch.randn(2, 3, 8, 8), False, ["0", "1", "2"])
    assert (trace.modules["0"] < 0).any()
    assert torch.equal(trace.modules["0"].relu(), trace.modules["1"])
    assert list(trace.modules) == ["0", "1", "2"]
    assert not trace.modules["1"].requires_grad


def test_modules_that_give_no_tensor_are_passed_over() -> None:
    """What a module gives is kept where it is one tensor."""

    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair, self.fc = Pair(), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.pair(x)[1])

    trace = modules_trace.run(Both(), torch.ones(1, 2), False, ["pair", "fc"])
    assert list(trace.modules) == ["fc"]


def test_error_no_tensor() -> None:
    """A model that gives several tensors, or a dictionary of them, is refused in plain words."""

    class Detector(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"out": x}

    with pytest.raises(RvCheckError, match="returns a dict, expected a tensor"):
        modules_trace.run(Detector(), torch.ones(1, 2), False, [])


def test_error_the_input_is_overwritten() -> None:
    """A model that overwrites its input is refused; the batch itself is safe."""
    x = -torch.ones(1, 2)
    with pytest.raises(RvCheckError, match="changes its input in place"):
        modules_trace.forward(nn.ReLU(inplace=True), x)
    assert torch.equal(x, -torch.ones(1, 2))
    assert torch.equal(modules_trace.forward(nn.ReLU(), x)[""], torch.zeros(1, 2))


def test_the_loss_has_no_symmetry() -> None:
    """A shift behind a softmax has a gradient; it would be 0 if the outputs were summed with equal weights."""

    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            return functional.softmax(x + self.shift, 1)

    gradient = modules_trace.run(Centred(), torch.randn(8, 4), False, []).gradients["shift"]
    assert gradient is not None
    assert float(gradient.abs().min()) > 1e-3


def test_a_second_run_begins_afresh() -> None:
    """Gradients of an earlier run are not added up."""
    model = Net()
    x = torch.randn(2, 3, 8, 8)
    first = modules_trace.run(model, x, False, []).gradients
    second = modules_trace.run(model, x, False, []).gradients
    assert all(compare(name, first[name], second[name]).within(0) for name in first)


@pytest.mark.parametrize("train", [False, True])
def test_the_mode_is_the_one_asked_for(train: bool) -> None:
    """A norm counts a batch in training only."""
    trace = modules_trace.run(Net().train(not train), torch.randn(2, 3, 8, 8), train, [])
    assert int(trace.buffers["bn1.num_batches_tracked"]) == int(train)


def test_images_are_the_same_everywhere() -> None:
    """A batch depends on its shape and seed; other types hold the float32 values; torch's generator is left alone."""
    state = torch.get_rng_state()
    single = points.image((3, 5, 7), 2, torch.float32, "cpu")
    assert single.shape == (2, 3, 5, 7)
    assert torch.equal(points.image((3, 5, 7), 2, torch.float64, torch.device("cpu")), single.double())
    assert not torch.equal(points.image((3, 5, 7), 2, torch.float32, "cpu", seed=4), single)
    assert torch.equal(state, torch.get_rng_state())


def test_shared_modules() -> None:
    """The names that both have, the root not among them."""
    assert modules_trace.shared_modules(nn.Sequential(nn.ReLU(), nn.ReLU()), nn.Sequential(nn.ReLU())) == {"0"}


def test_a_seed_holds_inside_only() -> None:
    """Inside, torch draws what the seed says; outside, what it would have drawn, also after an error."""
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(1)
    after = torch.rand(2)
    torch.manual_seed(1)
    with seeded(0):
        assert torch.equal(torch.rand(2), expected)
    assert torch.equal(torch.rand(2), after)


def test_a_seed_is_forgotten_after_an_error() -> None:
    """An error inside leaves the generator as it was outside."""
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="inside"):
        raise_inside(seeded(0))
    assert torch.equal(state, torch.get_rng_state())


def test_a_trace_keeps_its_buffers() -> None:
    """What a trace says of the statistics does not change when the model runs again."""
    model = Net()
    first = modules_trace.run(model, torch.randn(2, 3, 8, 8), True, [])
    before = first.buffers["bn1.running_mean"].clone()
    modules_trace.run(model, torch.randn(2, 3, 8, 8), True, [])
    assert torch.equal(first.buffers["bn1.running_mean"], before)


def test_a_missing_buffer_is_a_difference() -> None:
    """A norm without running statistics, where some are expected, is told like a missing gradient."""
    found = Net()
    found.bn1 = nn.BatchNorm2d(6, track_running_stats=False)
    x = torch.randn(2, 3, 8, 8)
    compared = differences(modules_trace.run(Net(), x, True, []), modules_trace.run(found, x, True, []), True)
    assert "bn1.running_mean after a step" in [d.what for d in compared if not d.within(TOLERANCE)]
