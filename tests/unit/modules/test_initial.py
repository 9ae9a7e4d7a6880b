"""Initial values by distribution: what torch draws is accepted, and what is drawn otherwise is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import init

from rv_check.errors import Document, Place, SpecError
from rv_check.language.definitions import InitRule
from rv_check.language.expressions import parse
from rv_check.language.sized import Sized, read_sized
from rv_check.language.yaml_nodes import Text
from rv_check.modules.initial import Start, fans_of, start_of, statistics
from tests.unit.seeds import seeds

Draw = Callable[[Tensor], Any]
SEEDS = 200
PLACE = Place(Document(Path("test"), ()), 1, 1)


def rule(method: str, **arguments: Any) -> InitRule:
    """A rule of `init:`."""
    return InitRule("conv", method, arguments, PLACE)


def sized(text: str) -> Sized:
    """A number that depends on the size of a weight."""
    found = read_sized(parse(Text(text, PLACE)))
    assert found is not None
    return found


def drawn(shape: tuple[int, ...], draw: Draw, seed: int) -> Tensor:
    """A tensor with fresh values."""
    torch.manual_seed(seed)
    values = torch.empty(shape)
    draw(values)
    return values


# What a rule makes of a layer: worked by hand. A uniform distribution on [-a, a] has the standard deviation a/sqrt(3).

WIDE = {"weight": (64, 32, 3, 3), "bias": (64,)}  # fan_in 32*9 = 288, fan_out 64*9 = 576
STARTS: list[tuple[str, str, dict[str, tuple[int, ...]], InitRule | None, Start]] = [
    ("conv", "weight", WIDE, None, Start(0, 1 / math.sqrt(3 * 288), True)),
    ("conv", "bias", WIDE, None, Start(0, 1 / math.sqrt(3 * 288), True)),
    ("conv, default", "weight", WIDE, rule("default"), Start(0, 1 / math.sqrt(3 * 288), True)),
    (
        "conv, fan_out",
        "weight",
        WIDE,
        rule("kaiming_normal", mode="fan_out", nonlinearity="relu"),
        Start(0, math.sqrt(2 / 576)),
    ),
    (
        "conv, fan_in",
        "weight",
        WIDE,
        rule("kaiming_normal", mode="fan_in", nonlinearity="relu"),
        Start(0, math.sqrt(2 / 288)),
    ),
    (
        "conv, linear",
        "weight",
        WIDE,
        rule("kaiming_normal", mode="fan_in", nonlinearity="linear"),
        Start(0, math.sqrt(1 / 288)),
    ),
    (
        "a bias that nothing is said of",
        "bias",
        WIDE,
        rule("kaiming_normal", mode="fan_in", nonlinearity="relu"),
        Start(0, 1 / math.sqrt(3 * 288), True),
    ),
    (
        "a bias that is given",
        "bias",
        WIDE,
        rule("kaiming_normal", mode="fan_in", nonlinearity="relu", bias=0.5),
        Start(0.5, 0),
    ),
    (
        "kaiming_uniform",
        "weight",
        WIDE,
        rule("kaiming_uniform", mode="fan_out", nonlinearity="relu"),
        Start(0, math.sqrt(2 / 576), True),
    ),
    ("uniform", "weight", WIDE, rule("uniform", bound=0.3), Start(0, 0.3 / math.sqrt(3), True)),
    ("default, with a bias", "bias", WIDE, rule("default", bias=0), Start(0, 0)),
    ("default, but for the bias", "weight", WIDE, rule("default", bias=0), Start(0, 1 / math.sqrt(3 * 288), True)),
    ("by the size", "weight", WIDE, rule("normal", mean=0, std=sized("sqrt(2/fan_out)")), Start(0, math.sqrt(2 / 576))),
    (
        "a bound by the size",
        "weight",
        {"weight": (10, 512)},
        rule("uniform", bound=sized("1/sqrt(fan_in)")),
        Start(0, 1 / math.sqrt(3 * 512), True),
    ),
    ("normal", "weight", {"weight": (10, 512)}, rule("normal", mean=1, std=0.01), Start(1, 0.01)),
    ("linear", "weight", {"weight": (10, 512), "bias": (10,)}, None, Start(0, 1 / math.sqrt(3 * 512), True)),
    ("depthwise", "weight", {"weight": (32, 1, 3, 3)}, None, Start(0, 1 / math.sqrt(3 * 9), True)),
    ("norm", "weight", {"weight": (64,), "bias": (64,)}, None, Start(1, 0)),
    ("norm's bias", "bias", {"weight": (64,), "bias": (64,)}, None, Start(0, 0)),
    ("norm of 0", "weight", {"weight": (64,), "bias": (64,)}, rule("constant", weight=0, bias=1), Start(0, 0)),
    ("norm's bias of 1", "bias", {"weight": (64,), "bias": (64,)}, rule("constant", weight=0, bias=1), Start(1, 0)),
    ("running mean", "running_mean", {"weight": (64,)}, None, Start(0, 0)),
    ("running variance", "running_var", {"weight": (64,)}, None, Start(1, 0)),
    ("running variance without a weight", "running_var", {}, None, Start(1, 0)),
    ("counter", "num_batches_tracked", {"weight": (64,)}, rule("constant", weight=3, bias=3), Start(0, 0)),
]


@pytest.mark.parametrize("case", STARTS, ids=[case[0] for case in STARTS])
def test_start_of(case: tuple[str, str, dict[str, tuple[int, ...]], InitRule | None, Start]) -> None:
    """A parameter starts as its rule says, by torch's formulas."""
    _, role, shapes, given, expected = case
    found = start_of(role, shapes, given)
    assert (found.mean, found.uniform) == (expected.mean, expected.uniform)
    assert found.std == pytest.approx(expected.std, rel=1e-12)


VALUES: list[tuple[str, float]] = [  # of a weight with fan_in 288 and fan_out 576
    ("sqrt(2/fan_out)", math.sqrt(2.0 / 576)),
    ("1/sqrt(fan_in)", 1.0 / math.sqrt(288)),
    ("fan_in", 288),
    ("-fan_in + 2*fan_out - 0.5", 863.5),
    ("sqrt(2)", math.sqrt(2)),
    ("sqrt(6/(fan_in + fan_out))", math.sqrt(6 / 864)),
]


@pytest.mark.parametrize(("text", "expected"), VALUES, ids=[v[0] for v in VALUES])
def test_a_number_by_the_size_of_a_weight(text: str, expected: float) -> None:
    """It is what Python's floating point gives, bit for bit: constructors compute it so."""
    assert sized(text).at(fans_of(WIDE["weight"])) == expected


@pytest.mark.parametrize("text", ["sqrt(fan_in - fan_out)", "1/(fan_out - 2*fan_in)"])
def test_error_a_number_that_is_none(text: str) -> None:
    """A root of what is negative and a division by zero say of which layer."""
    with pytest.raises(SpecError) as error:
        sized(text).at(fans_of(WIDE["weight"]))
    (problem,) = error.value.problems
    assert problem.message == f"{text} has no value where a layer has fan_in 288 and fan_out 576"


def test_what_is_the_same_for_every_size_is_exact() -> None:
    """An expression without a root or a fan is one of the language."""
    assert read_sized(parse(Text("1/3", PLACE))) is None


# No false alarm: what torch itself draws, over many seeds.


def kaiming(mode: str, nonlinearity: str = "relu") -> Draw:
    """A start as torchvision gives convolutions."""
    return lambda w: init.kaiming_normal_(w, mode=mode, nonlinearity=nonlinearity)  # type: ignore[arg-type]


def default(w: Tensor) -> None:
    """A start as torch's layers have it."""
    init.kaiming_uniform_(w, a=math.sqrt(5))


SHAPES = ((4, 1, 3, 3), (4, 3, 3, 3), (8, 6, 3, 3), (16, 16, 3, 3), (128, 64, 3, 3))  # 36 to 73728 values
FRESH: list[tuple[str, Draw, InitRule | None]] = [
    ("default", default, None),
    ("kaiming, fan_out", kaiming("fan_out"), rule("kaiming_normal", mode="fan_out", nonlinearity="relu")),
    ("kaiming, fan_in", kaiming("fan_in"), rule("kaiming_normal", mode="fan_in", nonlinearity="relu")),
    (
        "kaiming, linear",
        kaiming("fan_in", "linear"),
        rule("kaiming_normal", mode="fan_in", nonlinearity="linear"),
    ),
    ("normal", lambda w: init.normal_(w, 0, 0.01), rule("normal", mean=0, std=0.01)),
    ("normal around 1", lambda w: init.normal_(w, 1, 0.01), rule("normal", mean=1, std=0.01)),
    ("uniform", lambda w: init.uniform_(w, -0.1, 0.1), rule("uniform", bound=0.1)),
    (
        "kaiming_uniform",
        lambda w: init.kaiming_uniform_(w, mode="fan_out", nonlinearity="sigmoid"),
        rule("kaiming_uniform", mode="fan_out", nonlinearity="sigmoid"),
    ),
    ("zeros", init.zeros_, rule("constant", weight=0, bias=0)),
    ("ones", init.ones_, rule("constant", weight=1, bias=0)),
    ("a tenth", lambda w: init.constant_(w, 0.1), rule("constant", weight=0.1, bias=0)),
]


@pytest.mark.parametrize(("draw", "given"), [case[1:] for case in FRESH], ids=[case[0] for case in FRESH])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_fresh_values_fit(shape: tuple[int, ...], draw: Draw, given: InitRule | None) -> None:
    """None of 200 fresh tensors is blamed."""
    start = start_of("weight", {"weight": shape}, given)
    assert all(start.fits(drawn(shape, draw, seed)) for seed in range(SEEDS if math.prod(shape) < 9999 else SEEDS // 8))


@pytest.mark.parametrize("features", [1, 2, 10, 29, 31, 499, 501, 1000])
def test_fresh_biases_fit(features: int) -> None:
    """A fresh bias is no finding, of a few values or of many."""
    start = start_of("bias", {"weight": (features, 64), "bias": (features,)}, None)
    draw: Draw = lambda b: init.uniform_(b, -1 / 8, 1 / 8)  # noqa: E731  # 1/sqrt(64)
    assert all(start.fits(drawn((features,), draw, seed)) for seed in range(SEEDS))


LAYERS: list[Callable[[], nn.Module]] = [
    lambda: nn.Conv2d(3, 64, 7),
    lambda: nn.Conv2d(32, 32, 3, groups=32),
    lambda: nn.Conv2d(64, 8, 1),
    lambda: nn.Linear(512, 10),
    lambda: nn.BatchNorm2d(16),
    lambda: nn.BatchNorm2d(16, affine=False),
]


@pytest.mark.parametrize("make", LAYERS)
def test_fresh_layers_fit(make: Callable[[], nn.Module]) -> None:
    """Layers as torch makes them start as an op does that no rule is given for."""
    for seed in range(SEEDS // 4):
        torch.manual_seed(seed)
        layer = make()
        shapes = {name: tuple(value.shape) for name, value in layer.state_dict().items()}
        for name, value in layer.state_dict().items():
            assert start_of(name, shapes, None).fits(value), (name, seed)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_does_not_matter(dtype: torch.dtype) -> None:
    """Values that were rounded to half precision, and constants that cannot be said exactly, fit."""
    start = start_of("weight", {"weight": (64, 32, 3, 3)}, None)
    assert start.fits(drawn((64, 32, 3, 3), default, 0).to(dtype))
    assert Start(0.1, 0).fits(torch.full((8,), 0.1, dtype=dtype))


# What is not what it should be. Each: a shape of enough values, drawn, and what it was drawn for.

RELU = rule("kaiming_normal", mode="fan_out", nonlinearity="relu")
IN = rule("kaiming_normal", mode="fan_in", nonlinearity="relu")
NAN, INF = math.nan, math.inf


def poisoned(value: float) -> Draw:
    """One value among good ones."""

    def draw(w: Tensor) -> None:
        kaiming("fan_out")(w)
        w.view(-1)[5] = value

    return draw


WRONG: list[tuple[str, tuple[int, ...], Draw, InitRule | None]] = [
    ("gain 1 for sqrt(2)", (16, 8, 3, 3), kaiming("fan_out", "linear"), RELU),
    (
        "gain sqrt(2) for 1",
        (16, 8, 3, 3),
        kaiming("fan_out"),
        rule("kaiming_normal", mode="fan_out", nonlinearity="linear"),
    ),
    ("fan_in for fan_out", (32, 16, 3, 3), kaiming("fan_in"), RELU),
    ("fan_out for fan_in", (32, 16, 3, 3), kaiming("fan_out"), IN),
    (
        "uniform for normal",
        (32, 16, 3, 3),
        lambda w: init.kaiming_uniform_(w, mode="fan_out", nonlinearity="relu"),
        RELU,
    ),
    ("normal for uniform", (32, 16, 3, 3), lambda w: init.normal_(w, 0, 1 / math.sqrt(3 * 144)), None),
    ("normal for uniform, few", (4, 4, 3, 3), lambda w: init.normal_(w, 0, 1 / math.sqrt(3 * 36)), None),
    ("torch's default for kaiming", (16, 8, 3, 3), default, RELU),
    ("kaiming for torch's default", (16, 8, 3, 3), kaiming("fan_out"), None),
    ("xavier for torch's default", (16, 8, 3, 3), init.xavier_uniform_, None),
    ("trunc_normal for torch's default", (16, 8, 3, 3), lambda w: init.trunc_normal_(w, std=0.02), None),
    ("orthogonal for kaiming", (64, 8, 3, 3), init.orthogonal_, RELU),
    ("another standard deviation", (100, 50), lambda w: init.normal_(w, 0, 0.02), rule("normal", mean=0, std=0.01)),
    ("another mean", (100, 50), lambda w: init.normal_(w, 0.002, 0.01), rule("normal", mean=0, std=0.01)),
    ("variance for deviation", (100, 50), lambda w: init.normal_(w, 0, 0.1), rule("normal", mean=0, std=0.01)),
    ("zeros for kaiming", (16, 8, 3, 3), init.zeros_, RELU),
    ("zeros for torch's default", (16, 8, 3, 3), init.zeros_, None),
    ("zeros for torch's default, few", (2, 5), init.zeros_, None),
    ("zeros for normal, few", (2, 5), init.zeros_, rule("normal", mean=0, std=0.01)),
    ("a constant for torch's default", (16, 8, 3, 3), lambda w: init.constant_(w, 0.01), None),
    ("ones for zeros", (8,), init.ones_, rule("constant", weight=0, bias=0)),
    ("zeros for ones", (8,), init.zeros_, None),
    ("another constant", (8,), lambda w: init.constant_(w, 0.99), None),
    ("a constant that is nearly it", (8,), lambda w: init.constant_(w, 1.001), None),
    ("random for a constant", (8,), lambda w: init.normal_(w, 1, 0.1), None),
    ("one of ones", (8,), lambda w: init.ones_(w)[3:4].zero_(), None),
    ("NaN for a constant", (8,), lambda w: init.constant_(w, NAN), None),
    ("infinite for a constant", (8,), lambda w: init.constant_(w, INF), None),
    ("NaN", (16, 8, 3, 3), lambda w: init.constant_(w, NAN), RELU),
    ("one NaN", (16, 8, 3, 3), poisoned(NAN), RELU),
    ("one infinite", (16, 8, 3, 3), poisoned(INF), RELU),
    ("one that is large", (16, 8, 3, 3), poisoned(10), RELU),
    ("one NaN among few", (2, 5), poisoned(NAN), RELU),
    ("doubled", (16, 8, 3, 3), lambda w: (default(w), w.mul_(2)), None),
    ("absolute values", (16, 8, 3, 3), lambda w: (kaiming("fan_out")(w), w.abs_()), RELU),
    ("half of it zeros", (16, 8, 3, 3), lambda w: (kaiming("fan_out")(w), w[8:].zero_()), RELU),
]


@pytest.mark.parametrize(("shape", "draw", "given"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_wrong_values_do_not_fit(shape: tuple[int, ...], draw: Draw, given: InitRule | None) -> None:
    """Whatever the seed, another distribution is told."""
    start = start_of("weight", {"weight": shape}, given)
    assert not any(start.fits(drawn(shape, draw, seed)) for seed in range(SEEDS // 10))


WORDS: list[tuple[str, Tensor, str]] = [
    ("zeros", torch.zeros(5), "constant 0"),
    ("ones", torch.ones(5, 5), "constant 1"),
    ("a number", torch.tensor(7), "constant 7"),
    ("one value", torch.tensor([0.25]), "constant 0.25"),
    ("normal", drawn((64, 64), lambda w: init.normal_(w, 0, 2), 0), "normal, mean -0.019, standard deviation 1.987"),
    ("uniform", drawn((64, 64), lambda w: init.uniform_(w, 0, 1), 0), "uniform, mean 0.5"),
    ("signs", torch.tensor([1.0, -1.0] * 50), "uniform, mean 0, standard deviation 1.005"),  # sqrt(100/99)
    ("one that is not like the others", torch.tensor([0.0] * 99 + [1.0]), "kurtosis 96"),
]


@pytest.mark.parametrize(("values", "words"), [case[1:] for case in WORDS], ids=[case[0] for case in WORDS])
def test_statistics(values: Tensor, words: str) -> None:
    """Values in the words of a start."""
    assert statistics(values).startswith(words)


def test_statistics_say_the_standard_deviation() -> None:
    """They say it with four digits, and the mean with two."""
    for std in (1e-3, 0.01, 1.0, 100.0):
        text = statistics(drawn((300, 300), lambda w, std=std: init.normal_(w, 0, std), 1))  # type: ignore[misc]
        shape, mean, deviation = text.split(", ")
        assert shape == "normal"
        assert abs(float(mean.removeprefix("mean "))) < std / 50
        assert float(deviation.removeprefix("standard deviation ")) == pytest.approx(std, rel=0.02)


def test_statistics_of_nan() -> None:
    """NaN is no distribution, and no error."""
    for values in (torch.full((50,), NAN), torch.tensor([0.0, NAN, 1.0]), torch.tensor([0.0, INF, 1.0])):
        assert "nan" in statistics(values)


def test_start_in_words() -> None:
    """A start says what it is."""
    assert str(Start(1, 0)) == "constant 1"
    assert str(Start(0, 0.01)) == "normal, mean 0, standard deviation 0.01"
    assert str(Start(0, 1 / 3, True)) == "uniform, mean 0, standard deviation 0.3333"


@seeds(10)
def test_statistics_agree_with_fits(seed: int) -> None:
    """What fits a start is told in the start's own words."""
    for draw, given in ((default, None), (kaiming("fan_in"), IN)):
        start = start_of("weight", {"weight": (64, 32, 3, 3)}, given)
        values = drawn((64, 32, 3, 3), draw, seed)
        assert start.fits(values)
        assert statistics(values).partition(",")[0] == str(start).partition(",")[0]
