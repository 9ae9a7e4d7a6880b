"""One cause is one finding, however often it was made; two causes are two; and what is said of them is true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rv_check.graphs.align import flow
from rv_check.graphs.explain import Mistake, explain
from rv_check.graphs.match import match
from rv_check.graphs.network import At
from rv_check.modules.observe import Subject

pytestmark = pytest.mark.filterwarnings("ignore")
Forward = Callable[[Any, Tensor], Tensor]


def main(s: Any, x: Tensor) -> Tensor:
    """The longer branch of a block."""
    return s.bn3(s.conv3(s.relu(s.bn2(s.conv2(s.relu(s.bn1(s.conv1(x))))))))


def skip(s: Any, x: Tensor) -> Tensor:
    """The shorter one."""
    return x if s.down is None else s.down(x)


def right(s: Any, x: Tensor) -> Tensor:
    """A block as it should be."""
    return s.relu(main(s, x) + skip(s, x))


class Block(nn.Module):
    """Three convolutions and a skip, with a gate that a forward may use."""

    def __init__(self, inputs: int, width: int, forward: Forward):
        super().__init__()
        for at, channels in enumerate((inputs, width, width), 1):
            setattr(self, f"conv{at}", nn.Conv2d(channels, width, 3, padding=1, bias=False))
            setattr(self, f"bn{at}", nn.BatchNorm2d(width))
        self.relu = nn.ReLU()
        self.squeeze, self.excite = nn.Linear(width, width // 4), nn.Linear(width // 4, width)
        projection = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.down = None if inputs == width else nn.Sequential(*projection)
        self.function = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


class Net(nn.Module):
    """Two stages of three blocks, the second twice as wide. `forwards`: of single blocks, by their place."""

    def __init__(self, forward: Forward = right, forwards: dict[int, Forward] | None = None):
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 16, 7, padding=3, bias=False), nn.MaxPool2d(3, 2, 1)
        widths = [(16, 16), (16, 16), (16, 16), (16, 32), (32, 32), (32, 32)]
        blocks = [Block(*both, (forwards or {}).get(at, forward)) for at, both in enumerate(widths)]
        self.layer1, self.layer2 = nn.Sequential(*blocks[:3]), nn.Sequential(*blocks[3:])

    def forward(self, x: Tensor) -> Tensor:
        return self.layer2(self.layer1(self.pool(self.stem(x))))


def changed(kind: type[nn.Module], change: Callable[[Any], nn.Module | None]) -> nn.Module:
    """The network with every module of a kind changed, or replaced by what the change returns."""
    net = Net()
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, kind):
                setattr(parent, name, change(child) or child)
    return net


def told(found: nn.Module, expected: nn.Module | None = None, *, training: bool = False) -> list[Mistake]:
    """The mistakes of a module, held against the network."""
    graphs = [Subject(one).observe(At((3, 16, 16), training=training)).only("") for one in (expected or Net(), found)]
    return explain(match(*graphs))


# Wrong wiring


def takes_the_first(s: Any, x: Tensor) -> Tensor:
    """The third convolution takes what the second should."""
    first = s.relu(s.bn1(s.conv1(x)))
    second = s.relu(s.bn2(s.conv2(first)))
    return s.relu(s.bn3(s.conv3(first if second.shape else second)) + skip(s, x))


def skips_from_the_first(s: Any, x: Tensor) -> Tensor:
    """The skip begins behind the first convolution."""
    first = s.relu(s.bn1(s.conv1(x)))
    y = s.bn3(s.conv3(s.relu(s.bn2(s.conv2(first)))))
    return s.relu(y + (first if s.down is None else s.down(x)))


def throws_the_projection_away(s: Any, x: Tensor) -> Tensor:
    """The skip begins behind the first convolution, and the projection is computed all the same."""
    first = s.relu(s.bn1(s.conv1(x)))
    y = s.bn3(s.conv3(s.relu(s.bn2(s.conv2(first)))))
    skip(s, x)
    return s.relu(y + first)


def adds_itself(s: Any, x: Tensor) -> Tensor:
    """The branch is added to itself."""
    y = main(s, x)
    return s.relu(y + (y if s.down is None else s.down(x)))


def relu_before_the_sum(s: Any, x: Tensor) -> Tensor:
    """The last activation comes before the addition."""
    return s.relu(main(s, x)) + skip(s, x)


def takes_the_input(s: Any, x: Tensor) -> Tensor:
    """The third convolution takes the block's input."""
    first = s.relu(s.bn1(s.conv1(x)))
    s.relu(s.bn2(s.conv2(first)))
    return s.relu(s.bn3(s.conv3(x)) + skip(s, x))


def both_wrong(s: Any, x: Tensor) -> Tensor:
    """Two wrong lines."""
    first = s.relu(s.bn1(s.conv1(x)))
    s.relu(s.bn2(s.conv2(first)))
    y = s.bn3(s.conv3(first))
    return s.relu(y + (y if s.down is None else s.down(x)))


def gate(s: Any, x: Tensor) -> Tensor:
    """Gates over channels, one after the other."""
    y = x
    for _ in range(3):  # longer than what lies between the two ends of a move elsewhere
        weights = s.excite(s.squeeze(y.mean((2, 3))).relu()).sigmoid()
        y = (y * weights[:, :, None, None]).tanh()
    return y


def gated(s: Any, x: Tensor) -> Tensor:
    """The gates before the addition."""
    return s.relu(gate(s, main(s, x)) + skip(s, x))


def gated_late(s: Any, x: Tensor) -> Tensor:
    """The gates behind it."""
    return gate(s, s.relu(main(s, x) + skip(s, x)))


WIRED: list[tuple[Forward, str, int]] = [
    (
        takes_the_first,
        "conv takes layer1.0.relu (relu) after layer1.0.bn1 (batchnorm), expected layer1.0.relu (relu) after layer1.0",
        6,
    ),
    (skips_from_the_first, "sum takes layer1.0.bn3 (batchnorm) and layer1.0.relu (relu), expected", 5),
    (throws_the_projection_away, "sum takes layer1.0.bn3 (batchnorm) and layer1.0.relu (relu), expected", 6),
    (adds_itself, "sum takes layer1.0.bn3 (batchnorm) and layer1.0.bn3 (batchnorm), expected", 5),
    (relu_before_the_sum, "relu after layer1.0.bn3, expected after layer1.0 (sum), x6", 6),
]


@pytest.mark.parametrize(("forward", "words", "count"), WIRED, ids=[case[0].__name__ for case in WIRED])
def test_one_line_in_every_block(forward: Forward, words: str, count: int) -> None:
    """One line of code that is wrong in every block is one mistake, with how often and where."""
    (mistake,) = told(Net(forward))
    assert mistake.title.startswith(words)
    assert mistake.count == count
    assert any(line.startswith("at layer1.0") and "more" in line for line in mistake.lines)


@pytest.mark.parametrize(("one", "other"), [(gated, gated_late), (gated_late, gated)], ids=["late", "early"])
def test_a_gate_on_the_other_side_of_the_addition(one: Forward, other: Forward) -> None:
    """What is far from where it should be within every block has moved, once."""
    (mistake,) = told(Net(other), Net(one))
    assert (mistake.kind, mistake.count) == ("moved", 6)
    assert mistake.title.startswith("sum -> relu after ")


def test_two_wrong_lines_are_two() -> None:
    """Of one block, and of two blocks whose lines take different things."""
    assert [(one.kind, one.count) for one in told(Net(both_wrong))] == [("wiring", 6), ("wiring", 5)]
    mistakes = told(Net(right, {1: takes_the_input, 2: takes_the_first}))
    assert [(one.kind, one.count) for one in mistakes] == [("wiring", 1), ("wiring", 1)]
    mistakes = told(Net(right, {1: relu_before_the_sum, 4: takes_the_first}))
    assert [(one.kind, one.count) for one in mistakes] == [("moved", 1), ("wiring", 1)]


def test_the_others_are_those_of_the_same_part() -> None:
    """Only the third convolutions of the other blocks are right, whatever else is on the line."""
    (mistake,) = told(Net(right, {1: takes_the_first}))
    assert "the other 5 are right" in mistake.lines
    two = Net(right, {1: takes_the_first})
    two.layer2[1].conv3.padding_mode = "reflect"  # type: ignore[union-attr]
    two.layer2[1].conv3.padding = (1, 1)  # type: ignore[union-attr]
    assert any("4 others are right" in one.lines for one in told(two))


def gated_by(s: Any, x: Tensor, *, by_skip: bool) -> Tensor:
    """What a block gives, times a squeeze and excitation of it; or of the skip, by mistake."""
    y, beside = main(s, x), skip(s, x)
    gate = s.excite(s.squeeze((beside if by_skip else y).mean((2, 3))).relu()).sigmoid()
    return s.relu(y * gate[:, :, None, None] + beside)


def gated_by_itself(s: Any, x: Tensor) -> Tensor:
    """As it should be."""
    return gated_by(s, x, by_skip=False)


def gated_by_the_skip(s: Any, x: Tensor) -> Tensor:
    """The wrong one is what comes in, and behind a projection what that gives."""
    return gated_by(s, x, by_skip=True)


def test_one_line_takes_what_differs_by_block() -> None:
    """A gate of the skip is one mistake, though the skip is a projection in one block of six."""
    (mistake,) = told(Net(gated_by_the_skip), Net(gated_by_itself))
    assert (mistake.kind, mistake.count) == ("wiring", 6)
    mistakes = told(Net(gated_by_itself, {1: gated_by_the_skip, 4: takes_the_first}), Net(gated_by_itself))
    assert len(mistakes) > 1


def test_branches_in_either_order_are_one_cause() -> None:
    """Two that stand side by side come in an order by chance, in some blocks another one than in others."""

    def both(s: Any, x: Tensor) -> Tensor:
        y = main(s, x)
        by = s.excite(s.squeeze(y.amin((2, 3)).neg()).relu()) + s.excite(s.squeeze(y.amax((2, 3)).neg()).relu())
        return s.relu(y * by.sigmoid()[:, :, None, None] + skip(s, x))

    order = [node.kind for node in flow(Subject(Net(both)).observe(At((3, 16, 16)))) if node.kind in ("amin", "amax")]
    assert len(set(zip(order[::2], order[1::2], strict=True))) == 2
    (mistake,) = told(Net(both))
    assert (mistake.kind, mistake.count) == ("extra", 6)


class Repeated(nn.Module):
    """Stages of one block each, which runs several times."""

    def __init__(self, *times: int, shared: bool = True):
        super().__init__()
        one = [Block(16, 16, right) for _ in times]
        blocks = (
            [block if shared else Block(16, 16, right) for _ in range(n)] for block, n in zip(one, times, strict=True)
        )
        self.stem = nn.Conv2d(3, 16, 3)
        self.stages = nn.ModuleList(nn.Sequential(*some) for some in blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return x


@pytest.mark.parametrize(
    ("times", "title"),
    [
        ((2,), "stages.0.0 and stages.0.1 share 15 parameters and buffers: "),
        ((5,), "stages.0.0, stages.0.1, stages.0.2 and 2 more share 15 parameters and buffers: "),
        ((2, 2, 2), "stages.0.0 and stages.0.1 share 15 parameters and buffers: "),
    ],
)
def test_blocks_that_are_one_in_every_stage(times: tuple[int, ...], title: str) -> None:
    """`[block] * n` in each of the stages is one cause, and as many are named as fit."""
    (mistake,) = told(Repeated(*times), Repeated(*times, shared=False))
    names = ", ".join(f"stages.0.0.{name}" for name in ("conv1.weight", "bn1.weight", "bn1.bias"))
    count = f", x{len(times)}" if len(times) > 1 else ""
    assert mistake.title == f"{title}{names} and 12 more{count}"
    assert mistake.count == len(times)


def test_what_is_besides_is_one_run() -> None:
    """A deep stem, whose norms and relus are like those of a plain one, is told in one."""

    def stem(*widths: int) -> nn.Module:
        layers: list[nn.Module] = []
        for before, width in zip((3, *widths), widths, strict=False):
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Conv2d(widths[-1], 4, 3))

    (mistake,) = told(stem(16, 16, 32), stem(16))
    assert mistake.kind == "extra"
    assert mistake.title == "extra conv -> batchnorm -> relu -> ... (6 operations)"


@pytest.mark.parametrize(
    ("sides", "words"),
    [
        ((1, 1, 0, 0), "columns 1 1"),
        ((0, 0, 2, 1), "rows 2 1"),
        ((0, 0, 0, 0, 0, 8), "channels 0 8"),
        ((1, 0, 0, 1, 2, 3), "channels 2 3 rows 0 1 columns 1 0"),
    ],
)
def test_a_pad_says_which_axes(sides: tuple[int, ...], words: str) -> None:
    """By their names, before and behind."""

    def net(sides: tuple[int, ...]) -> nn.Module:
        class Pad(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return F.pad(x, sides).sum(1, keepdim=True)

        return nn.Sequential(nn.Conv2d(3, 16, 3), Pad())

    (mistake,) = told(net(sides), net((5, 5, 5, 5, 5, 5)))
    assert mistake.found.startswith(f"sides {words}")


# The same mistake at widths and kernels that differ


def depthwise(c: nn.Conv2d) -> nn.Module | None:
    """A convolution of every channel alone, in place of one that keeps the width."""
    wide = c.in_channels == c.out_channels and c.kernel_size == (3, 3)
    return nn.Conv2d(c.in_channels, c.out_channels, 3, padding=1, groups=c.in_channels, bias=False) if wide else None


class Padded(nn.Module):
    """A layer without padding of its own, behind a pad."""

    def __init__(self, layer: Any, sides: tuple[int, int, int, int], value: float = 0.0):
        super().__init__()
        self.layer, self.sides, self.value = layer, sides, value
        layer.padding = 0 if isinstance(layer, nn.MaxPool2d) else (0, 0)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(F.pad(x, self.sides, value=self.value))


def reflecting(c: nn.Conv2d) -> nn.Module:
    """The convolution with a border of mirrored pixels."""
    mode = "reflect" if c.kernel_size[0] > 1 else "zeros"
    return nn.Conv2d(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding, bias=False, padding_mode=mode)  # type: ignore[arg-type]


def biased(c: nn.Conv2d) -> nn.Module:
    """The convolution with a bias."""
    return nn.Conv2d(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding)  # type: ignore[arg-type]


EVERYWHERE: dict[str, tuple[Callable[[], nn.Module], str, int]] = {
    "depthwise": (lambda: changed(nn.Conv2d, depthwise), "conv with groups 16, expected groups 1, x17", 17),
    "bias": (lambda: changed(nn.Conv2d, biased), "conv with bias one, expected bias none, x20", 20),
    "groups of 4": (
        lambda: changed(nn.BatchNorm2d, lambda n: nn.GroupNorm(n.num_features // 4, n.num_features)),
        "groupnorm groups 4 eps 1e-05 instead of batchnorm eps 1e-05 statistics running, x19",
        19,
    ),
    "no norm": (lambda: changed(nn.BatchNorm2d, lambda n: nn.Identity()), "missing batchnorm, x19", 19),
    "relu6": (lambda: changed(nn.ReLU, lambda r: nn.ReLU6()), "relu6 instead of relu, x18", 18),
    "prelu": (lambda: changed(nn.ReLU, lambda r: nn.PReLU()), "prelu instead of relu, x18", 18),
    "reflecting": (
        lambda: changed(nn.Conv2d, reflecting),
        "conv with padding by reflection_pad2d, expected padding 3, x19",
        19,
    ),
    "pool with zeros": (
        lambda: changed(nn.MaxPool2d, lambda p: Padded(p, (1, 1, 1, 1))),
        "maxpool with padding 1, of zeros, expected padding 1",
        1,
    ),
    "SAME pool": (
        lambda: changed(nn.MaxPool2d, lambda p: Padded(p, (0, 1, 0, 1), float("-inf"))),
        "maxpool with padding SAME: 0 before and 1 behind, of -inf, expected padding 1",
        1,
    ),
    "another pad": (
        lambda: changed(nn.MaxPool2d, lambda p: Padded(p, (1, 0, 1, 0))),
        "maxpool with padding 1 before and 0 behind, of zeros, expected padding 1",
        1,
    ),
}


@pytest.mark.parametrize("name", EVERYWHERE)
def test_one_change_everywhere(name: str) -> None:
    """However wide the layers are, and from whatever line."""
    make, title, count = EVERYWHERE[name]
    (mistake,) = told(make())
    assert (mistake.title, mistake.count) == (title, count)


def test_the_other_widths_are_said() -> None:
    """With the values that they have there."""
    (mistake,) = told(changed(nn.Conv2d, depthwise))
    assert "elsewhere groups 32" in mistake.lines
    assert "the other 2 have it" not in mistake.lines
    (mistake,) = told(changed(nn.Conv2d, reflecting))
    assert "elsewhere padding by reflection_pad2d for padding 1" in mistake.lines


def test_other_numbers_are_another_mistake() -> None:
    """The kernel and eps are no matter of width."""

    def two(s: Net) -> Net:
        s.layer1[1].bn1.eps, s.layer2[1].bn1.eps = 1e-3, 1e-4
        return s

    assert [(one.found, one.count) for one in told(two(Net()))] == [("eps 0.001", 1), ("eps 0.0001", 1)]

    def dilated(s: Net) -> Net:
        for block, dilation in ((s.layer1[1], 2), (s.layer2[1], 4)):  # as many times as it is wide
            block.conv2.dilation = block.conv2.padding = (dilation, dilation)
        return s

    assert [one.found for one in told(dilated(Net()))] == ["padding 2, dilation 2", "padding 4, dilation 4"]


# Arguments


def test_arguments_count_one_by_one() -> None:
    """Two that are wrong in the same operations are one; where one is wrong in fewer, it is another."""

    def both(n: nn.BatchNorm2d) -> None:
        n.eps, n.momentum = 1e-3, 0.01

    (mistake,) = told(changed(nn.BatchNorm2d, both), training=True)
    assert mistake.found == "eps 0.001, momentum 0.01"
    assert mistake.count == 19

    net = changed(nn.BatchNorm2d, both)
    for name, part in net.named_modules():
        if name.endswith("bn2"):
            part.momentum = 0.1
    found = [(one.found, one.count) for one in told(net, training=True)]
    assert found == [("eps 0.001", 19), ("momentum 0.01", 13)]


# The words that people use


def folded() -> nn.Module:
    """The network with the norms of its blocks in the convolutions."""
    net = Net().eval()
    for block in (*net.layer1, *net.layer2):
        for at in (1, 2, 3):
            fused = fuse_conv_bn_eval(getattr(block, f"conv{at}"), getattr(block, f"bn{at}"))
            setattr(block, f"conv{at}", fused)
            setattr(block, f"bn{at}", nn.Identity())
    return net


def test_a_folded_norm() -> None:
    """A bias in place of a norm is one difference, either way round."""
    (mistake,) = told(folded())
    assert (mistake.title, mistake.count) == ("conv with bias instead of conv -> batchnorm, x18", 18)
    assert any("a folded norm" in line for line in mistake.lines)
    (mistake,) = told(Net(), folded())
    assert (mistake.title, mistake.count) == ("conv -> batchnorm instead of conv with bias, x18", 18)
    assert not any("a folded norm" in line for line in mistake.lines)


def test_a_frozen_norm() -> None:
    """One that does not leave eval mode: its momentum is no cause of its own."""

    class Frozen(nn.BatchNorm2d):
        def train(self, mode: bool = True) -> Frozen:
            return super().train(False)

    (mistake,) = told(changed(nn.BatchNorm2d, lambda n: Frozen(n.num_features).eval()), training=True)
    assert mistake.title == "frozen batchnorm with statistics running, expected statistics of the batch, x19"


def test_masked_weights() -> None:
    """Pruned by torch, or by hand."""

    def pruned(c: nn.Conv2d) -> None:
        prune.l1_unstructured(c, "weight", amount=0.5)  # type: ignore[no-untyped-call]

    (mistake,) = told(changed(nn.Conv2d, pruned))
    assert mistake.title.startswith("conv with weight masked: weight_orig times weight_mask, expected")
    assert mistake.count == 20
    assert any("pruned weights" in line for line in mistake.lines)

    class Masked(nn.Conv2d):
        def __init__(self, c: nn.Conv2d):
            super().__init__(c.in_channels, c.out_channels, c.kernel_size, c.stride, c.padding, bias=False)  # type: ignore[arg-type]
            self.register_buffer("mask", torch.ones_like(self.weight))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight * self.mask, None, self.stride, self.padding)

    (mistake,) = told(changed(nn.Conv2d, Masked))
    assert mistake.title.startswith("conv with weight masked: weight times mask, expected weight a parameter")
    assert mistake.count == 20


# Hints fit


HINTED: list[tuple[Callable[[], nn.Module], str, bool]] = [
    (lambda: changed(nn.BatchNorm2d, lambda n: setattr(n, "eps", 1e-3)), "Keras and TensorFlow have 1e-3", True),
    (lambda: changed(nn.BatchNorm2d, lambda n: setattr(n, "eps", 1e-6)), "Keras", False),
    (lambda: changed(nn.Conv2d, biased), "needs no bias", True),
    (lambda: changed(nn.BatchNorm2d, lambda n: nn.Identity()), "a projection or stem", False),
    (lambda: changed(nn.MaxPool2d, lambda p: Padded(p, (0, 1, 0, 1))), "SAME", True),
]


@pytest.mark.parametrize(("make", "words", "fits"), HINTED)
def test_a_hint_fits(make: Callable[[], nn.Module], words: str, fits: bool) -> None:
    """It says what the mistake usually is where it may be that, and nothing where it cannot."""
    (mistake,) = told(make())
    assert any(line.startswith("usually: ") and words in line for line in mistake.lines) == fits


def test_a_bias_that_is_not_there_has_no_hint_of_one_too_many() -> None:
    """The hint for a bias is for one that should not be there."""
    (mistake,) = told(Net(), changed(nn.Conv2d, biased))
    assert mistake.title == "conv with bias none, expected bias one, x20"
    assert not any("usually" in line for line in mistake.lines)


# Parameters that are never used


class Spare(Net):
    """The network with parts that nothing uses."""

    def __init__(self) -> None:
        super().__init__()
        self.aux = nn.Linear(4, 4)  # aux
        self.heads = nn.ModuleList(nn.Linear(2, 2) for _ in range(2))  # heads
        self.register_parameter("gamma", nn.Parameter(torch.ones(3)))  # gamma
        self.late: nn.Module | None = None
        self.make()

    def make(self) -> None:
        self.late = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())  # late


def test_unused_parameters_are_placed_where_they_are_made() -> None:
    """Each part that is of no use is one finding, at the line of the constructor that makes it."""
    subject = Subject(Spare())
    graphs = [one.observe(At((3, 16, 16))).only("") for one in (Subject(Net()), subject)]
    mistakes = explain(match(*graphs), makers=subject.makers)
    with open(__file__) as file:
        lines = file.read().splitlines()
    paths = [one.path for one in mistakes]
    assert sorted(paths) == ["aux", "gamma", "heads", "late"]
    for one in mistakes:
        assert one.call is not None
        assert lines[one.call.line - 1].endswith(f"# {one.path}")
        assert one.lines[0].startswith("yours  ")
        assert one.lines[0].endswith(f"test_causes.py:{one.call.line}  {one.path}")


def test_what_was_put_in_from_outside_has_no_line() -> None:
    """Then only its name is said, and no line that did not make it."""
    net = Net()
    net.extra = nn.Linear(3, 3)
    subject = Subject(net)
    graphs = [one.observe(At((3, 16, 16))).only("") for one in (Subject(Net()), subject)]
    (mistake,) = explain(match(*graphs), makers=subject.makers)
    assert (mistake.path, mistake.call) == ("extra", None)
    assert mistake.lines == ("yours  extra",)
