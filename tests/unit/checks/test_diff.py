"""Two networks side by side: a refactoring that keeps the network passes, one that does not fails at the place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rv_check import Report, RvCheckError, load
from rv_check.checks.of_two import assert_same, compare_archs, compare_modules
from tests.unit.tiny import Net, World, broken, broken_block

IMAGE = (3, 32, 32)


class Old(nn.Module):
    """A module with operators that no spec knows: attention, layer norms, gelu."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 4, stride=4)
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 5)

    def attention(self, x: Tensor) -> Tensor:
        """Two heads."""
        q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, 2, 8).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v)
        return self.out(y.transpose(1, 2).reshape(x.shape))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        x = x + self.attention(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return self.head(x.mean(1))


class New(nn.Module):
    """The same with other names, defined in another order, with functional calls."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(16, 5)
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(2))
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)
        self.projections = nn.ModuleDict({"out": nn.Linear(16, 16), "in": nn.Linear(16, 48)})

    def activation(self, x: Tensor) -> Tensor:
        """Between the linear layers."""
        return functional.gelu(x)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """The attention itself."""
        return functional.scaled_dot_product_attention(q, k, v)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        q, k, v = self.projections["in"](self.norms[0](x)).reshape(*x.shape[:2], 3, 2, 8).permute(2, 0, 3, 1, 4)
        x = self.projections["out"](self.attend(q, k, v).transpose(1, 2).reshape(x.shape)) + x
        x = self.down(self.activation(self.up(self.norms[1](x)))) + x
        return self.classifier(x.mean(1))


class Functional(Net):
    """The small network with functional calls, defined in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.stage, self.head = self.layer1, self.fc
        del self.layer1, self.fc
        self._modules = dict(reversed(self._modules.items()))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x)), inplace=True), 3, 2, 1)
        return self.head(functional.dropout(self.stage(x).mean((2, 3)), 0.5, self.training))


SAME: list[tuple[str, Callable[[], nn.Module], Callable[[], nn.Module]]] = [
    ("itself", Net, Net),
    ("other names", Functional, Net),
    ("the other way round", Net, Functional),
    ("unknown operators", Old, Old),
    ("unknown operators, other names", New, Old),
]


@pytest.mark.parametrize(("new", "old"), [s[1:] for s in SAME], ids=[s[0] for s in SAME])
def test_a_refactoring_passes(new: Callable[[], nn.Module], old: Callable[[], nn.Module]) -> None:
    """With other names, another order and other calls; whatever the weights, no structure and no number differs."""
    report = compare_modules(new(), old(), IMAGE)
    assert report.passed, str(report)
    assert {f.check for f in report.findings} == {"structure", "trainable", "logits", "eval", "train"}
    assert_same(new(), old(), IMAGE)


def test_the_map_of_a_refactoring() -> None:
    """The old names lead to the new ones."""
    names = compare_modules(New(), Old(), IMAGE).map
    assert names["head.weight"] == "classifier.weight"
    assert (names["norm1.bias"], names["norm2.bias"]) == ("norms.0.bias", "norms.1.bias")
    assert (names["qkv.weight"], names["mlp.0.weight"]) == ("projections.in.weight", "up.weight")
    assert len(names) == len(dict(Old().named_parameters()))


class Tanh(New):
    """A module with the other gelu."""

    def activation(self, x: Tensor) -> Tensor:
        return functional.gelu(x, approximate="tanh")


class Silu(New):
    """A module with another activation."""

    def activation(self, x: Tensor) -> Tensor:
        return functional.silu(x)


class Causal(New):
    """A module which looks back only."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


class Swapped(New):
    """A module with keys for queries."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return super().attend(k, q, v)


class OtherEps(New):
    """A module with the eps of another library in its norms."""

    def __init__(self) -> None:
        super().__init__()
        for norm in self.norms:
            norm.eps = 1e-6


class OneNorm(New):
    """A module with one norm in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.norms[1] = self.norms[0]


class NoDropout(Functional):
    """A module which drops in evaluation, too."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        return self.head(functional.dropout(self.stage(x).mean((2, 3)), 0.5))


class NoRelu(Functional):
    """A module which lost its first activation."""

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(self.bn1(self.conv1(x)), 3, 2, 1)
        return self.head(functional.dropout(self.stage(x).mean((2, 3)), 0.5, self.training))


# What it is, the new and the old one, the kind of difference, and words of its title.
MISTAKES: list[tuple[str, Callable[[], nn.Module], Callable[[], nn.Module], str, str]] = [
    ("another gelu", Tanh, Old, "arguments", "tanh"),
    ("silu for gelu", Silu, Old, "arguments", "silu instead of gelu"),
    ("a causal mask", Causal, Old, "extra", "tril"),
    ("keys for queries", Swapped, Old, "", ""),
    ("the eps of a layer norm", OtherEps, Old, "arguments", "1e-06"),
    ("one norm twice", OneNorm, Old, "shared", "share"),
    ("dropout in evaluation", NoDropout, Net, "extra", "dropout"),
    ("no relu", NoRelu, Net, "missing", "missing relu"),
    ("eps of a norm", broken_block(eps=1e-3), Net, "arguments", "eps 0.001, expected eps 1e-05"),
    ("momentum", broken(momentum=0.01), Net, "arguments", "momentum 0.01, expected momentum 0.1"),
    ("padding", broken(padding=0), Net, "arguments", "padding 0, expected padding 1"),
    ("the stride", broken_block(stride=1), Net, "moved", "stride 2 on layer1.conv2"),
    ("classes", lambda: Net(11), Net, "arguments", "out 11, expected out 10"),
]


@pytest.mark.parametrize(("new", "old", "kind", "words"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_mistake_fails(new: Callable[[], nn.Module], old: Callable[[], nn.Module], kind: str, words: str) -> None:
    """A difference in structure is the mistake, with the module's own line; what it makes useless is blocked."""
    report = compare_modules(new(), old(), IMAGE)
    failed = [f for f in report.findings if f.status == "failed"]
    assert {f.check for f in failed} == {"structure"}
    mistake = next(f for f in failed if kind in str(f.kind) and words in f.title)
    assert mistake.call is not None
    assert mistake.call.document.shown.startswith("tests/unit/")
    assert next(f for f in report.findings if f.check == "train").status == "blocked"
    with pytest.raises(AssertionError, match="does not hold"):
        assert_same(new(), old(), IMAGE)


def test_what_numbers_alone_see() -> None:
    """A layer that no longer learns has the same graph, and other gradients."""

    class Detached(Net):
        def features(self, x: Tensor) -> Tensor:
            return super().features(x).detach()

    report = compare_modules(Detached(), Net(), IMAGE)
    passed = {f.check: {one.status for one in report.findings if one.check == f.check} for f in report.findings}
    assert passed["structure"] == passed["logits"] == {"passed"}
    assert passed["eval"] == passed["train"] == {"passed", "failed"}  # each compares gradients at some sizes


def test_what_was_frozen_may_stay_so() -> None:
    """A parameter that is frozen in the new one alone fails; one that is in the old one, too, is no difference."""

    def frozen(net: Net) -> Net:
        net.conv1.requires_grad_(False)
        return net

    assert compare_modules(frozen(Net()), frozen(Net()), IMAGE).passed
    report = compare_modules(frozen(Net()), Net(), IMAGE)
    assert [f.check for f in report.findings if f.status == "failed"] == ["trainable"]


def when(training: bool, batch: int) -> type[Net]:
    """Raises in that mode with that batch."""

    class Raising(Net):
        def forward(self, x: Tensor) -> Tensor:
            if self.training == training and (not batch or len(x) == batch):
                raise ValueError("here")
            return super().forward(x)

    return Raising


@pytest.mark.parametrize("side", [0, 1], ids=["the new one", "the old one"])
def test_error_one_that_does_not_run(side: int) -> None:
    """Either of them: a wrong question, with the user's lines."""
    pair: list[nn.Module] = [Net(), Net()]
    pair[side] = when(False, 0)()
    with pytest.raises(RvCheckError) as raised:
        compare_modules(pair[0], pair[1], IMAGE)
    assert "ValueError: here" in str(raised.value)
    assert "tests/unit/checks/test_diff.py" in str(raised.value)


@pytest.mark.parametrize("sides", [(0,), (1,), (0, 1)], ids=["the new one", "the old one", "both"])
def test_one_that_runs_in_eval_mode_only(sides: tuple[int, ...]) -> None:
    """The two are compared in eval mode, which is said with the user's line; what was not seen is no pass."""
    pair: list[nn.Module] = [Net(), Net()]
    for side in sides:
        pair[side] = when(True, 0)()
    report = compare_modules(pair[0], pair[1], IMAGE)
    found = {finding.check: finding for finding in report.findings}
    assert not report.passed
    assert not report.failed
    assert "in eval mode alone, since" in found["structure"].message
    assert "ValueError: here" in found["structure"].message
    assert "tests/unit/checks/test_diff.py" in found["structure"].message
    assert (found["eval"].status, found["train"].status) == ("passed", "skipped")


def test_a_batch_of_one_that_neither_takes() -> None:
    """What the old one does not do either is not expected of the new one."""
    fails = when(False, 1)
    assert not [f for f in compare_modules(fails(), fails(), IMAGE).findings if f.kind == "batch"]


def test_error_no_module() -> None:
    """The one or the other side is no module."""
    for pair in ((Net, Net()), (Net(), "net")):
        with pytest.raises(RvCheckError, match="is not a module"):
            compare_modules(*pair, IMAGE)  # type: ignore[arg-type]


# Two archs, without torch.


def titles(report: Report) -> list[str]:
    """The first line of each difference."""
    return [f.message.partition("\n")[0] for f in report.findings if f.status == "failed"]


CHANGES: list[tuple[str, tuple[str, str], list[str]]] = [
    ("nothing", ("source: a test", "source: another"), []),
    ("a name", ("- fc: linear", "- head: linear"), []),
    ("a rate", ("dropout(0.5)", "dropout(0.4)"), ["dropout with p 0.4, expected p 0.5"]),
    ("a pool", ("maxpool(3, stride=2, padding=1)", "maxpool(2, stride=2)"), ["maxpool with kernel 2, padding 0, "]),
    ("no norm", ("  - bn1: batchnorm\n", ""), ["missing batchnorm"]),
]


@pytest.mark.parametrize(("change", "words"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_archs(change: tuple[str, str], words: list[str], world: World) -> None:
    """Only what is computed counts: every difference once, at a line of both specs."""
    a = world.arch()
    path = world.write(change, name="other.yaml")
    report = compare_archs(a, load(f"{path}::net"))
    found = titles(report)
    assert len(found) == len(words)
    assert all(part in title for part, title in zip(words, found, strict=True)), found
    assert report.passed == (not words)
    assert report.totals["params"][1] == 1150


def test_archs_at_the_input_of_the_first(world: World) -> None:
    """The second is read at the first one's input; their totals are of that."""
    a = world.arch()
    b = load(f"{world.write(('input: 3 32 32', 'input: 3 64 64'), ('_ 16 16', '_ 32 32'), name='large.yaml')}::net")
    report = compare_archs(a, b)
    assert report.passed
    assert report.totals == {"params": (1150, 1150), "macs": (168_016, 168_016)}


def test_torch_is_as_before() -> None:
    """A comparison draws no numbers of the caller's, whatever the outcome."""
    pair: list[Any] = [Old(), New(), Swapped()]
    state = torch.get_rng_state()
    compare_modules(pair[1], pair[0], IMAGE)
    compare_modules(pair[2], pair[0], IMAGE)
    assert torch.equal(state, torch.get_rng_state())


class Halved(nn.Module):
    """A relu in words that no rule knows, of the pixels up to a row and column."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 8)."""
        y = self.conv(x[:, :, : self.side, : self.side])
        return ((y + y.abs()) / 2).mean((2, 3))


@pytest.mark.parametrize(("side", "same"), [(1000, True), (32, False)])
def test_numbers_decide_at_larger_inputs_too(side: int, same: bool) -> None:
    """What no rule knows and numbers show to be equal up to its own size alone is not the same network."""
    old = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    report = compare_modules(Halved(side), old, (3, 32, 32), level="structure")
    assert report.passed == same
    (finding,) = [f for f in report.findings if f.check == "structure"][:1]
    assert ("by no rule, but measured" in finding.message and "3 128 128" in finding.message) == same
