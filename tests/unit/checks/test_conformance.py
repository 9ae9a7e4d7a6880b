"""A user's module against a spec: the same network passes, another fails at a place, and nothing of it changes."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

import rv_check
from rv_check import RvCheckError, SpecError, assert_conforms, build, check, load
from rv_check.archs.arch import small_inputs
from rv_check.archs.load import all_archs
from rv_check.checks.findings import Finding, Report
from rv_check.checks.of_two import compare_modules
from rv_check.checks.sizes import input_sizes
from tests.unit.tiny import SPEC, Block, Net, World, broken, broken_block


def of(report: Report) -> dict[str, set[str]]:
    """What became of each check."""
    found: dict[str, set[str]] = {}
    for finding in report.findings:
        found.setdefault(finding.check, set()).add(finding.status)
    return found


def failures(report: Report) -> list[Finding]:
    """The findings that failed."""
    return [f for f in report.findings if f.status == "failed"]


def first_failure(report: Report) -> Finding:
    """The first of them."""
    return failures(report)[0]


PASSED = {name: {"passed"} for name in ("structure", "trainable", "state_dict", "logits", "eval", "train")}
NUMBERS = ("state_dict", "logits", "eval", "train")


def became(**others: str) -> dict[str, set[str]]:
    """What becomes of each check where all pass but these."""
    return PASSED | {name: {status} for name, status in others.items()}


BLOCKED = became(structure="failed", **dict.fromkeys(NUMBERS, "blocked"))


# What is the network passes.


def test_torchvisions_resnet18_is_resnet18() -> None:
    """Freshly built or not, it passes every check, and the report says against what and to which level."""
    report = check(torchvision.models.resnet18(), "resnet18")
    assert report.passed, str(report)
    assert (report.subject, report.against, report.level) == ("ResNet", "resnet18", "numbers")
    assert list(of(report)) == list(PASSED)
    assert [f.level for f in report.findings[:2]] == ["structure", "structure"]
    assert all(f.difference == 0 for f in report.findings if f.check in ("logits", "eval", "train"))
    assert report.map == {name: name for name in torchvision.models.resnet18().state_dict()}
    assert report.totals == {"params": (11_689_512, 11_689_512), "macs": (1_814_073_344, 1_814_073_344)}


def test_a_model_of_its_own_spec_passes(world: World) -> None:
    """What `build` makes is what the spec says, at overridden arguments too."""
    assert_conforms(build("resnet18(width=8)"), "resnet18(width=8)")
    assert_conforms(build(world.arch(call="net(classes=3)")), world.arch(call="net(classes=3)"))
    assert_conforms(Net(3), f"{world.folder}/tiny.yaml::net(classes=3)")


class Rearranged(Net):
    """The same network in other words: functional, in place, other parts, commuted, defined in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = self._modules.pop("fc")  # last, after what has no parameters
        self.avgpool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self._modules = dict(reversed(self._modules.items()))

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu_(), 3, 2, 1)
        one = self.layer1
        z = one.bn2(one.conv2(nn.functional.relu(one.bn1(one.conv1(y)), inplace=True)))
        return self.fc(nn.functional.dropout(self.avgpool(one.downsample(y).add_(z).relu_()), 0.5, self.training))


class Hidden(Net):
    """A module with what makes no difference: a buffer that is not saved, a module that is never called, a hook."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scratch", torch.zeros(3), persistent=False)
        self.unused = nn.ReLU()
        self.register_forward_hook(lambda module, args, output: output)


class Returning(Net):
    """A module which returns its output in something."""

    within: Callable[[Tensor], Any]

    def forward(self, x: Tensor) -> Any:
        return type(self).within(super().forward(x))


@dataclass
class Output:
    """An output as libraries return it."""

    logits: Tensor
    loss: Tensor | None = None


class Named(NamedTuple):
    """A tuple whose places have names."""

    logits: Tensor


def returning(within: Callable[[Tensor], Any]) -> type[Returning]:
    """The network whose output is within something."""
    return type("Returning", (Returning,), {"within": staticmethod(within)})


class Choosing(Net):
    """A module whose Python looks at the values of its input."""

    def forward(self, x: Tensor) -> Tensor:
        if x.abs().sum() < 0:
            raise ValueError("no image")
        return super().forward(x)


class Stubborn(Net):
    """A module which cannot be copied."""

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("one of a kind")


def patched(net: Net) -> Net:
    """A module whose forward is bound to it, so that a copy still runs the original's."""
    net.forward = net.forward  # type: ignore[method-assign]
    return net


SAME: list[tuple[str, Callable[[], nn.Module]]] = [
    ("as it is", Net),
    ("rearranged", Rearranged),
    ("in a dict", returning(lambda y: {"logits": y})),
    ("in a tuple", returning(lambda y: (y,))),
    ("in a tuple with names", returning(Named)),
    ("in a dataclass", returning(Output)),
    ("in a list with numbers", returning(lambda y: [3, y, "logits"])),
    ("looking at values", Choosing),
    ("that cannot be copied", Stubborn),
    ("with a patched method", lambda: patched(Net())),
    ("with a lazy layer", lambda: lazy(Net())),
    ("in DataParallel", lambda: nn.DataParallel(Net())),
    ("with what does not count", Hidden),
    ("in evaluation", lambda: Net().eval()),
    ("in float64", lambda: Net().double()),
    ("in half precision", lambda: Net().half()),
    ("in bfloat16", lambda: Net().bfloat16()),
    ("channels last", lambda: Net().to(memory_format=torch.channels_last)),
    ("with NaN weights", lambda: filled(Net(), float("nan"))),  # weights are the user's, the network is the same
    ("in one sequence", lambda: sequence(Net())),
]


def lazy(net: Net) -> Net:
    """A module with a layer that has not seen its input yet."""
    net.conv1 = nn.LazyConv2d(4, 3, padding=1, bias=False)
    return net


def filled(net: Net, value: float) -> Net:
    """All parameters at one value."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(value)
    return net


def sequence(net: Net) -> nn.Module:
    """The same children, without a class."""
    names = ("conv1", "bn1", "relu", "maxpool", "layer1", "avgpool")
    parts = [(name, getattr(net, name)) for name in names]
    return nn.Sequential(OrderedDict([*parts, ("flatten", nn.Flatten()), ("drop", net.drop), ("fc", net.fc)]))


@pytest.mark.parametrize("make", [s[1] for s in SAME], ids=[s[0] for s in SAME])
def test_the_same_network_passes(make: Callable[[], nn.Module], world: World) -> None:
    """However it is written, typed, laid out, and whatever its output is in."""
    report = check(make(), world.arch())
    assert report.passed, str(report)
    assert of(report) == PASSED


def test_numbers_are_compared_at_even_and_odd_sizes(world: World) -> None:
    """Both are compared as between a spec and its reference, also where the network's own size is the small one."""
    compared = [
        f.message.partition(",")[0] for f in check(Net(), world.arch()).findings if f.check in ("eval", "train")
    ]
    assert compared == [f"{mode} mode at {x}" for mode in ("eval", "train") for x in ("3 32 32", "3 31 31", "3 25 25")]


def test_a_module_that_runs_on_real_tensors_only(world: World) -> None:
    """The report says that it was not observed on meta, and why."""
    structure = check(Choosing(), world.arch()).findings[0]
    assert "(on real tensors, since on meta it raises RuntimeError: " in structure.message
    assert "on real tensors" not in check(Net(), world.arch()).findings[0].message


FROZEN: list[tuple[str, Callable[[Net], Any], str, str]] = [
    ("all", lambda net: net.requires_grad_(False), "14 of 14", "conv1.weight, bn1.weight, bn1.bias, layer1.conv1.w"),
    ("a part", lambda net: net.layer1.bn1.requires_grad_(False), "2 of 14", "layer1.bn1.weight, layer1.bn1.bias"),
]


@pytest.mark.parametrize(("freeze", "count", "names"), [f[1:] for f in FROZEN], ids=[f[0] for f in FROZEN])
def test_what_is_frozen_is_the_same_network(freeze: Callable[[Net], Any], count: str, names: str, world: World) -> None:
    """It computes what it should, gradients too; that it does not train is the one failure, with the names."""
    net = Net()
    freeze(net)
    report = check(net, world.arch())
    assert of(report) == became(trainable="failed")
    (failure,) = failures(report)
    assert failure.message == f"{count} parameters are frozen"
    assert str(failure.found).startswith(f"requires_grad=False of {names}")
    assert failure.expected == "True of all"


class OtherNames(Net):
    """The same layers under other names, in other parts, defined in another order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.ModuleDict({"convolution": self.conv1, "norm": self.bn1})
        self.head = self.fc
        del self.fc, self.conv1, self.bn1
        self._modules = dict(reversed(self._modules.items()))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.stem.values():
            x = part(x)
        return self.head(self.drop(torch.flatten(self.avgpool(self.layer1(self.maxpool(self.relu(x)))), 1)))


def test_other_names_are_mapped(world: World) -> None:
    """Which parameter is which follows from what is computed with it; numbers are compared, and the map is told."""
    report = check(OtherNames(), world.arch())
    assert report.passed, str(report)
    stem = {"conv1": "stem.convolution", "bn1": "stem.norm", "fc": "head"}
    names = [name.partition(".") for name in Net().state_dict()]
    assert report.map == {f"{first}.{rest}": f"{stem.get(first, first)}.{rest}" for first, _, rest in names}
    assert {f.check: f.message for f in report.findings}["state_dict"] == "26 parameters and buffers, by other names"


def test_the_map_carries_the_weights_over(world: World) -> None:
    """Weights that go through the map give the outputs of the spec's model; swapped ones would not."""
    torch.manual_seed(0)
    ours, theirs = build(world.arch()).eval(), OtherNames().eval()
    mapped = check(theirs, world.arch()).map
    theirs.load_state_dict({mapped[name]: tensor for name, tensor in ours.state_dict().items()})
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours(x), theirs(x))


NORMED = """\
family: normed()
source: a test
input: 3 32 32

body:
  - conv: conv(16, kernel=3, bias=True)
  - norm: batchnorm
  - relu
  - last: conv(8, kernel=3, bias=True)
  - adaptive_avgpool(1)
  - flatten

archs:
  normed:
    build: normed()
"""


def test_a_gradient_of_zero_is_no_difference(world: World) -> None:
    """A bias in front of a norm has a gradient of rounding noise in training, which differs by the memory format."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.last = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = x.contiguous(memory_format=torch.channels_last)
            return self.last(self.norm(self.conv(x)).relu()).mean((2, 3))

    path = world.write(name="normed.yaml", text=NORMED)
    report = check(Normed().to(memory_format=torch.channels_last), f"{path}::normed")
    assert report.passed, str(report)
    assert any(f.difference for f in report.findings)  # not bit for bit: the order of additions does differ


# What is another network fails, at the place.


def narrow(block: type[nn.Module], **arguments: Any) -> nn.Module:
    """A torchvision ResNet of one block a stage."""
    return ResNet(block, [1, 1, 1, 1], **arguments)


def v1() -> nn.Module:
    """The original bottleneck, with its stride in the first 1x1."""
    net = narrow(Bottleneck)
    for layer in (net.layer2, net.layer3, net.layer4):
        layer[0].conv1.stride, layer[0].conv2.stride = (2, 2), (1, 1)
    return net


SMALL = "(depths=[1, 1, 1, 1])"


def test_v1_is_not_v1_5() -> None:
    """Both have the same names, shapes and parameters; the one mistake is told once, at the stride, with its hint."""
    assert_conforms(v1(), f"resnet50_v1{SMALL}")
    report = check(v1(), f"resnet50{SMALL}")
    assert of(report) == BLOCKED
    (failure,) = failures(report)
    assert (failure.kind, failure.count, failure.step) == ("moved", 3, "layer2.0.conv1")
    assert failure.message.startswith("stride 2 on layer2.0.conv1, expected on layer2.0.conv2, x3\n")
    assert "usually: ResNet v1 has the stride on the first 1x1 of a bottleneck, v1.5 on its 3x3" in failure.message
    assert failure.place is not None
    assert failure.place.short.endswith("specs/blocks/bottleneck.yaml:12")
    assert failure.call is not None
    assert failure.call.document.shown.endswith("torchvision/models/resnet.py")


class ShallowShortcut(Net):
    """A module whose block forgets its shortcut."""

    def features(self, x: Tensor) -> Tensor:
        y = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        one = self.layer1
        return torch.relu(one.bn2(one.conv2(torch.relu(one.bn1(one.conv1(y))))))


class SharedNorm(Net):
    """A module with one norm in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1.bn2 = self.layer1.bn1


class TwiceConv(Net):
    """A module with one convolution in two places; the other one is left over."""

    def features(self, x: Tensor) -> Tensor:
        one, y = self.layer1, self.maxpool(self.relu(self.bn1(self.conv1(x))))
        z = one.bn2(one.conv2(one.conv2(nn.functional.relu(one.bn1(one.conv1(y))))))
        return torch.relu(z + one.downsample(y))


class Listed(Net):
    """A module whose head is in a Python list, so that it is no part of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = [self._modules.pop("fc")]

    def forward(self, x: Tensor) -> Tensor:
        return self.heads[0](self.drop(torch.flatten(self.avgpool(self.features(x)), 1)))


class LateRelu(Net):
    """Without the relu after the addition."""

    def features(self, x: Tensor) -> Tensor:
        one, y = self.layer1, self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return one.bn2(one.conv2(torch.relu(one.bn1(one.conv1(y))))) + one.downsample(y)


class FrozenNorm(Net):
    """A module whose first norm keeps its statistics."""

    def train(self, mode: bool = True) -> FrozenNorm:
        super().train(mode)
        self.bn1.eval()
        return self


class OneImage(Net):
    """A module which forgets that a batch may be one image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


class OneSize(Net):
    """A module which takes images of one size."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).view(x.shape[0], 10) if x.shape[2] == 32 else self.fc(x)


class Masked(Net):
    """A module with a mask that is nowhere registered."""

    mask = (torch.linspace(0, 1, 8),)

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) * self.mask[0].to(x)[:, None, None]


class NanOutput(Net):
    """A module which divides by zero."""

    def features(self, x: Tensor) -> Tensor:
        return super().features(x) * torch.tensor(0.0) / torch.tensor(0.0)


class Pair(Net):
    """A module which returns two."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


class Raising(Net):
    """A module which raises in its forward."""

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class NoGrad(Net):
    """A module whose forward turns gradients off."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return super().forward(x)


class Normalising(Net):
    """A module which normalises its input in place."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.sub_(0.5))


class Overwriting(Net):
    """A module which uses the memory of its input for something else."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        x.add_(1)
        return y


class TrainOnly(Net):
    """A module which has lost its way to training."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise ValueError("no labels")
        return super().forward(x)


class NoTensor(Net):
    """A module which returns text."""

    def forward(self, x: Tensor) -> Any:
        return str(super().forward(x).shape)


class Straight(torch.autograd.Function):
    """A relu whose gradient passes everywhere."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.relu(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class StraightBlock(Block):
    """A module with a gradient of its own making."""

    def forward(self, x: Tensor) -> Tensor:
        y = Straight.apply(self.bn1(self.conv1(x)))
        return nn.functional.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Detached(Net):
    """A module whose layers before the last block learn nothing."""

    def features(self, x: Tensor) -> Tensor:
        return self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))).detach())


class TwoArguments(Net):
    """A module which takes more than an image."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x * mask)


class Endless(Net):
    """A module which never ends."""

    def features(self, x: Tensor) -> Tensor:
        return self.features(x)


class Squeezing(Net):
    """A module which adds an axis."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, None]


class Downcast(Net):
    """A module which computes in float32 whatever it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float()) if x.dtype == torch.float32 else super().forward(x).float()


# What it is, the kind of difference, the step, what the title says, and the line of the module.
IN_THE_BLOCK, IN_THE_STEM, IN_THE_HEAD = "leaky_relu(self.bn1", "self.layer1(self.maxpool(", "self.fc(self.drop("
OTHER: list[tuple[str, Callable[[], nn.Module], str, str, str, str]] = [
    ("another eps", broken_block(eps=1e-3), "arguments", "layer1.bn1", "eps 0.001, expected eps 1e-05", IN_THE_BLOCK),
    ("another activation", broken_block(slope=0.01), "arguments", "layer1.2", "leaky_relu", IN_THE_BLOCK),
    ("the stride", broken_block(stride=1), "moved", "layer1.conv1", "stride 2 on layer1.conv2", IN_THE_BLOCK),
    ("the padding", broken(padding=0), "arguments", "maxpool", "padding 0, expected padding 1", IN_THE_STEM),
    (
        "no shortcut",
        ShallowShortcut,
        "missing",
        "layer1.downsample.0",
        "missing conv -> batchnorm -> sum",
        "torch.relu(one.bn2",
    ),
    ("no relu", LateRelu, "missing", "layer1.6", "missing relu", IN_THE_HEAD),
    ("one norm twice", SharedNorm, "shared", "layer1.bn1", "layer1.bn1 and layer1.bn2 share", IN_THE_BLOCK),
    ("one convolution twice", TwiceConv, "extra", "layer1.bn2", "extra conv", "one.conv2(one.conv2"),
    ("a head in a list", Listed, "unregistered", "fc", "is no parameter of the module", "return self.heads[0]"),
    ("a mask", Masked, "extra", "avgpool", "product", "return super().features(x) * self.mask"),
    ("NaN", NanOutput, "extra", "avgpool", "extra scale -> div", "return super().features(x) * torch.tensor"),
    ("a normalised input", Normalising, "extra", "conv1", "extra shift", "return super().forward(x.sub_(0.5))"),
    ("one axis more", Squeezing, "extra", "fc", "extra reshape", "return super().forward(x)[:, None]"),
    ("a bias more", lambda: with_bias(Net()), "arguments", "conv1", "bias one, expected bias none", IN_THE_STEM),
    ("other classes", lambda: Net(11), "arguments", "fc", "linear with out 11, expected out 10", IN_THE_HEAD),
]


def with_bias(net: Net) -> Net:
    """A convolution that keeps its bias in front of the norm."""
    net.conv1.bias = nn.Parameter(torch.zeros(4))
    return net


@pytest.mark.parametrize(("make", "kind", "step", "title", "line"), [o[1:] for o in OTHER], ids=[o[0] for o in OTHER])
def test_another_network_fails(
    make: Callable[[], nn.Module], kind: str, step: str, title: str, line: str, world: World
) -> None:
    """The structure names the operation, in the spec and in the user's own code, and blocks what compares values."""
    report = check(make(), world.arch())
    assert of(report) == BLOCKED, str(report)
    assert not report.passed
    assert report.failed
    assert report.level is None
    assert report.map == {}
    failure = first_failure(report)
    assert (failure.kind, failure.step, failure.count) == (kind, step, 1)
    assert title in failure.title
    assert failure.call is not None
    text = Path(failure.call.document.path).read_text().splitlines()[failure.call.line - 1]
    assert line in text
    assert failure.as_json()["module_line"] == failure.call.line


IN_TRAINING: list[tuple[str, Callable[[], nn.Module], str, str, str]] = [
    ("momentum", broken(momentum=0.01), "arguments", "bn1", "batchnorm with momentum 0.01, expected momentum 0.1"),
    ("another dropout", broken(dropout=0.4), "arguments", "drop", "dropout with p 0.4, expected p 0.5"),
    ("no dropout", broken(dropout=0.0), "missing", "drop", "missing dropout"),
    ("a frozen norm", FrozenNorm, "arguments", "bn1", "statistics running"),
]


@pytest.mark.parametrize(
    ("make", "kind", "step", "title"), [i[1:] for i in IN_TRAINING], ids=[i[0] for i in IN_TRAINING]
)
def test_what_differs_in_training_only(
    make: Callable[[], nn.Module], kind: str, step: str, title: str, world: World
) -> None:
    """It blocks the numbers of train mode; those of eval mode are compared, and are the same."""
    report = check(make(), world.arch())
    assert of(report) == became(structure="failed", train="blocked")
    (failure,) = failures(report)
    assert (failure.kind, failure.step) == (kind, step)
    assert title in failure.title
    assert failure.message.splitlines()[0].endswith("(in train mode)")
    blocked = next(f for f in report.findings if f.status == "blocked")
    assert blocked.message == "blocked by the structure: see net::structure"
    assert report.map["fc.weight"] == "fc.weight"


def test_extra_outputs_fail(world: World) -> None:
    """A tensor besides the output is told, with its place and shape; the network is still compared."""
    report = check(Pair(), world.arch())
    assert of(report) == became(structure="failed")
    (failure,) = failures(report)
    assert (failure.kind, failure.found, failure.expected) == ("outputs", "[1] 3 32 32", "nothing else")


def test_one_image_is_a_batch(world: World) -> None:
    """What loses the axis of a batch of one is told; at larger batches it is the network."""
    report = check(OneImage(), world.arch())
    assert of(report) == became(structure="failed")
    (failure,) = failures(report)
    assert (failure.kind, failure.message) == ("batch", "with a batch of one image the output is 10, expected 1 10")


def test_a_network_at_one_size_only(world: World) -> None:
    """What is the network at its own input and not at another is told, and compared where it is."""
    report = check(OneSize(), world.arch())
    assert of(report) == became(structure="failed")
    (failure,) = failures(report)
    assert failure.kind == "this input only"
    assert failure.message.startswith("it is net at 3 32 32 only: at 3 31 31 it raises RuntimeError: ")
    assert {f.message.partition(",")[0] for f in report.findings if f.check == "eval"} == {"eval mode at 3 32 32"}


def without_pool() -> nn.Module:
    """vgg11 whose adaptive pool is gone: the same at 224, where its map is 7x7 anyway."""
    net = build(load("vgg11(width=2, classes=5)"))
    net.avgpool = nn.Identity()
    return net


def test_where_it_raises_at_another_size_it_had_differed_before() -> None:
    """The step that is missing is named, though another one raises."""
    report = check(without_pool(), "vgg11(width=2, classes=5)", level="structure")
    (failure,) = failures(report)
    assert (failure.kind, failure.step) == ("this input only", "avgpool")


@pytest.mark.parametrize("at", [2, 5, 10, 15, 20])
def test_a_window_that_shows_at_odd_maps_only(at: int) -> None:
    """`ceil_mode` of any of VGG's pools, early or late, is told: its map is odd at one of the sizes."""
    net = build(load("vgg11(width=2, classes=5)"))
    setattr(net.features, str(at), nn.MaxPool2d(2, ceil_mode=True))
    report = check(net, "vgg11(width=2, classes=5)", level="structure")
    (failure,) = failures(report)
    assert (failure.kind, failure.step) == ("arguments", f"features.{at}")


def test_maps_are_odd_all_the_way_down() -> None:
    """At one of the small inputs where halves are rounded down, at another one where they are rounded up."""

    def halves(side: int, up: int) -> list[int]:
        return [side, *(side := (side + up) // 2 for _ in range(4))]

    even, down, up = (sizes[0][1] for sizes in small_inputs((3, 224, 224)))
    assert all(n % 2 == 0 for n in halves(even, 0))
    assert all(n % 2 for n in halves(down, 0))
    assert all(n % 2 for n in halves(up, 1))


def test_one_wrong_variable_is_one_difference() -> None:
    """Though in train mode a dropout stands between it and who takes it in eval mode."""

    class Left(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torchvision.models.vgg11(num_classes=5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.net.classifier[0](self.net.avgpool(self.net.features(x)).flatten(1))
            torch.relu(y)
            return self.net.classifier[2:](y)  # type: ignore[no-any-return]

    with torch.device("meta"):
        net = Left()
    report = check(net, "vgg11(classes=5)", level="structure")
    (failure,) = failures(report)
    assert (failure.kind, failure.step) == ("wiring", "classifier.2")


# What structure cannot see: how gradients flow, what happens to the input, in which type numbers are computed.
EVERYWHERE, AT_SOME = {"failed"}, {"passed", "failed"}  # each mode compares gradients at some sizes
BY_NUMBERS: list[tuple[str, Callable[[], nn.Module], dict[str, set[str]], str]] = [
    (
        "no gradients",
        NoGrad,
        {"eval": EVERYWHERE, "train": AT_SOME},
        "does not run: RuntimeError: element 0 of tensors",
    ),
    ("a detached layer", Detached, {"eval": AT_SOME, "train": AT_SOME}, "gradient of bn1.bias differs"),
    (
        "a gradient of its own",
        broken(block=StraightBlock),
        {"eval": AT_SOME, "train": AT_SOME},
        "layer1.bn1.bias differs",
    ),
    ("its input", Overwriting, dict.fromkeys(("logits", "eval", "train"), EVERYWHERE), "it changes its input in place"),
    ("another type", Downcast, {"eval": EVERYWHERE, "train": EVERYWHERE}, "output differs; "),
]


@pytest.mark.parametrize(("make", "checks", "words"), [n[1:] for n in BY_NUMBERS], ids=[n[0] for n in BY_NUMBERS])
def test_what_numbers_alone_see(
    make: Callable[[], nn.Module], checks: dict[str, set[str]], words: str, world: World
) -> None:
    """The same graph with another behaviour passes its structure and fails its numbers, so the level is structure."""
    report = check(make(), world.arch())
    assert of(report) == PASSED | checks
    assert report.level == "structure"
    assert all(words in f.message for f in failures(report)), str(report)


def wrong_at(side: int) -> nn.Module:
    """The network with a gradient of its own that is wrong at this size alone, as one may be made for even sizes."""

    class Sized(Net):
        def features(self, x: Tensor) -> Tensor:
            relu = Straight.apply if x.shape[-1] == side else torch.relu
            return self.layer1(self.maxpool(relu(self.bn1(self.conv1(x)))))

    return Sized()


@pytest.mark.parametrize(("side", "mode"), [(32, "eval"), (31, "train"), (25, "eval")])
def test_gradients_are_compared_at_every_size(side: int, mode: str, world: World) -> None:
    """At each of the sizes in one of the modes, so that one that is wrong at that size alone is found."""
    assert input_sizes(world.arch()) == [(3, 32, 32), (3, 31, 31), (3, 25, 25)]
    report = check(wrong_at(side), world.arch())
    assert of(report) == PASSED | {mode: AT_SOME}
    assert [f"{mode} mode at 3 {side} {side}" in f.message for f in failures(report)] == [True]


def test_at_the_only_size_gradients_are_compared_in_both_modes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that runs at one size alone."""
    monkeypatch.setattr("rv_check.checks.of_module.input_sizes", lambda arch: [arch.declared_input])
    report = check(Detached(), world.arch())
    assert of(report) == PASSED | {"eval": EVERYWHERE, "train": EVERYWHERE}


def test_a_level_leaves_the_numbers_out(world: World) -> None:
    """Up to level structure two checks are made, and what only numbers see passes them."""
    report = check(Detached(), world.arch(), level="structure")
    assert of(report) == {"structure": {"passed"}, "trainable": {"passed"}}
    assert (report.passed, report.level) == (True, "structure")


# What does not run at all is no answer.

RAISES: list[tuple[str, Callable[[], nn.Module], str]] = [
    ("an exception", Raising, "the module does not run at 3 32 32: RuntimeError: mat1 and mat2"),
    ("another argument", TwoArguments, "forward() missing 1 required positional argument: 'mask'"),
    ("no end", Endless, "the module does not run at 3 32 32: RecursionError: "),
    ("no tensor", NoTensor, "the module returns no tensor"),
    ("a part that is gone", lambda: without(Net()), "AttributeError: 'Net' object has no attribute 'fc'"),
]


def without(net: Net) -> Net:
    """Without its head."""
    del net.fc
    return net


@pytest.mark.parametrize(("make", "words"), [r[1:] for r in RAISES], ids=[r[0] for r in RAISES])
def test_error_a_module_that_does_not_run(make: Callable[[], nn.Module], words: str, world: World) -> None:
    """It is a question that cannot be asked: an error and no finding, against an arch and where one is looked for."""
    with pytest.raises(RvCheckError) as raised:
        check(make(), world.arch())
    assert words in str(raised.value)
    with pytest.raises(RvCheckError):
        assert_conforms(make(), world.arch())


def test_one_that_runs_in_eval_mode_only(world: World) -> None:
    """It is compared in eval mode, which is said; train mode is skipped with its reason, and that is no pass."""
    report = check(TrainOnly(), world.arch())
    words = "the module does not run in train mode at 3 32 32: ValueError: no labels"
    found = {finding.check: finding for finding in report.findings}
    assert not report.passed
    assert not report.failed
    assert f"in eval mode alone, since {words}" in found["structure"].message
    assert (found["eval"].status, found["train"].status) == ("passed", "skipped")
    assert words in str(found["train"].reason)
    with pytest.raises(AssertionError):
        assert_conforms(TrainOnly(), world.arch())


def test_error_shows_the_lines_of_the_module(world: World) -> None:
    """The message has the user's own frames and none of torch's."""
    with pytest.raises(RvCheckError) as raised:
        check(Raising(), world.arch())
    message = str(raised.value)
    assert "tests/unit/checks/test_conformance.py" in message
    assert "in forward: return self.fc(x)" in message
    assert "site-packages" not in message
    assert "rv_check/" not in message


def test_a_long_traceback_is_cut(world: World) -> None:
    """A thousand frames of a recursion are shown as the last ten."""
    with pytest.raises(RvCheckError) as raised:
        check(Endless(), world.arch())
    assert str(raised.value).count("in features: return self.features(x)") == 10


# What is no question.


def test_wrong_questions(world: World) -> None:
    """What is no module, no arch, no device, or a spec that does not stand, is an error and no finding."""
    arch = world.arch()
    with pytest.raises(RvCheckError, match=r"the class Net is not a module, expected an instance of torch\.nn\.Module"):
        check(Net, arch)  # type: ignore[arg-type]
    with pytest.raises(RvCheckError, match="a str is not a module"):
        check("net", arch)  # type: ignore[arg-type]
    with pytest.raises(RvCheckError, match=r"unknown arch 'resnet8'(.|\n)*did you mean: resnet18"):
        check(Net(), "resnet8")
    with pytest.raises(RvCheckError, match="device 'cuda:99' cannot be used here"):
        check(Net(), arch, device="cuda:99")
    with pytest.raises(SpecError, match="the shape here is 4 16 16"):
        check(Net(), world.arch(("_ 16 16", "_ 17 17")))


def test_what_a_module_keeps_beside_its_tensors_is_not_expected(world: World) -> None:
    """Extra state of any kind is a name more."""

    class Extra(Net):
        def get_extra_state(self) -> Any:
            return {"epoch": 3}

        def set_extra_state(self, state: Any) -> None:
            pass

    report = check(Extra(), world.arch())
    assert of(report) == became(state_dict="failed")
    assert first_failure(report).found == "_extra_state"


def test_a_module_without_values(world: World) -> None:
    """On meta its structure is all there is: numbers cannot be compared, and that is one failure."""
    report = check(Net().to("meta"), world.arch())
    assert of(report) == became(state_dict="failed", logits="blocked", eval="blocked", train="blocked")
    assert first_failure(report).message == "conv1.weight of the module has no values: it is on the meta device"
    assert report.level == "structure"


# Parts of an arch, and of a report.


class Trunk(Net):
    """Up to the last feature map."""

    def __init__(self) -> None:
        super().__init__()
        del self.fc, self.drop, self.avgpool

    def forward(self, x: Tensor) -> Any:
        return self.features(x)


class Maps(Trunk):
    """A module with every feature map, as for detection."""

    def forward(self, x: Tensor) -> Any:
        stem = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return {"c2": stem, "c3": self.layer1(stem)}


@pytest.mark.parametrize("make", [Trunk, Maps])
def test_until_a_step(make: Callable[[], nn.Module], world: World) -> None:
    """A backbone is the arch up to a step, with that many parameters; its other feature maps are no surprise."""
    report = check(make(), world.arch(), until="layer1")
    assert report.passed, str(report)
    assert report.totals["params"] == (1060, 1060)  # 1150 without the head's 8*10 + 10
    assert not {name for name in report.map if name.startswith("fc")}
    assert_conforms(make(), world.arch(), until="layer1")


def test_a_trunk_says_where_it_ends(world: World) -> None:
    """Without the step the one failure names it, and how to ask."""
    report = check(Trunk(), world.arch())
    assert of(report) == BLOCKED
    (failure,) = failures(report)
    assert (failure.kind, failure.step) == ("until", "layer1")
    assert failure.message == "it is net up to layer1: check it with --until layer1, until='layer1'"


def test_until_is_not_ahead_of_the_end(world: World) -> None:
    """The whole network is not the arch up to a step: what comes behind it is too much; nor is a shorter one."""
    report = check(Net(), world.arch(), until="layer1")
    assert first_failure(report).title.startswith("extra global_avgpool -> reshape -> linear")
    report = check(Trunk(), world.arch(), until="avgpool")
    assert report.failed
    with pytest.raises(RvCheckError, match=r"net has no step 'layer2'(.|\n)*did you mean: layer1"):
        check(Net(), world.arch(), until="layer2")


class TwoMistakes(broken_block(eps=1e-3)):  # type: ignore[misc]
    """One in the block and one in the head."""

    def __init__(self) -> None:
        super().__init__(11)


def test_only_a_step(world: World) -> None:
    """A report on one step has the differences at it and below it, and says that there are others elsewhere."""
    report = check(TwoMistakes(), world.arch())
    assert [f.step for f in failures(report)] == ["layer1.bn1", "fc"]
    assert [f.step for f in failures(report.only("layer1"))] == ["layer1.bn1"]
    assert [f.step for f in failures(report.only("layer1.bn1"))] == ["layer1.bn1"]
    assert [f.step for f in failures(report.only("fc"))] == ["fc"]
    elsewhere = report.only("layer")  # a name, not the beginning of one
    assert failures(elsewhere) == []
    assert elsewhere.findings[0].message == "no difference at layer; there are others elsewhere"
    assert not elsewhere.passed  # the numbers are blocked all the same
    assert "against net at layer1: does not hold (1 passed, 1 failed, 4 blocked)" in report.only("layer1").verdict


# What a module is, without an arch.


def test_identify() -> None:
    """Without an arch the known ones are tried, with the module's own class count and width; the report says which."""
    report = check(build("resnet18(width=8, classes=7)"))
    assert report.passed, str(report)
    assert report.against == "resnet18(classes=7, width=8)"
    assert report.notes == ("inferred: resnet18(classes=7, width=8), classes, width as in the module",)
    assert check(v1_of("resnet50(width=8)")).against == "resnet50_v1(width=8)"


def test_what_it_is_instead() -> None:
    """A module that is another arch than asked is told so, with the way to ask; one that is none is told nothing."""
    report = check(v1_of("resnet50(width=8)"), "resnet50(width=8)")
    assert report.failed
    assert report.notes == ("this is resnet50_v1(width=8): rv-check check ... --as 'resnet50_v1(width=8)'",)
    assert check(build("resnet18(width=8, depths=[1, 1, 1, 1])"), "resnet18(width=8)").notes == ()


def v1_of(call: str) -> nn.Module:
    """A bottleneck network, with its strides in the first 1x1 of a block."""
    net = build(call)
    for name, module in net.named_modules():
        if name.endswith(".conv2") and module.stride == (2, 2):
            module.stride = (1, 1)
            net.get_submodule(name.removesuffix("2") + "1").stride = (2, 2)
    return net


def test_what_is_near_to_one_of_the_known() -> None:
    """It is named, as such, with how near, and what differs from it."""
    net = build("resnet18(width=8)")
    setattr(net, "2", nn.GELU())  # the first activation
    report = check(net, level="structure")
    assert report.failed
    assert report.against == "resnet18(width=8)"
    count = len(all_archs())
    assert report.notes == (
        f"inferred: none of {count} archs; the nearest is resnet18(width=8), width as in the module, at 99 %",
    )


def test_what_is_none_of_the_known() -> None:
    """What is near to none is held against none: it is said what it is, and how far from the nearest."""
    report = check(Net())
    words = "1,150 parameters in 5 layers, looks like a residual network: 4 convolutions, 1 sum"
    told = f"none of the archs I know: {words}; nearest vgg13_bn at 12 %"
    assert [finding.message for finding in report.findings] == [told]
    assert (report.failed, report.against, report.unknown) == (True, None, told)
    assert str(report).splitlines() == [f"Net is {told}", "  --as ARCH holds it against one all the same"]


def test_error_what_does_not_run_is_not_identified() -> None:
    """It does not run at the input of the known archs."""
    with pytest.raises(RvCheckError, match=r"the module does not run at 3 224 224: RuntimeError: mat1"):
        check(Raising())


class Versioned(Net):
    """A module which asks in what version a state was written, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: dict[str, Any], *rest: Any) -> None:
        if metadata.get("version") != self._version:
            raise ValueError(f"a state of version {metadata.get('version')}")
        super()._load_from_state_dict(state, prefix, metadata, *rest)


def test_a_module_that_asks_for_the_version_of_a_state(world: World) -> None:
    """What is loaded into it comes as what it has written itself would."""
    assert_conforms(Versioned(), world.arch())
    with pytest.raises(ValueError, match="a state of version 1"):
        Versioned().load_state_dict(Net().state_dict())


# How a new module starts.


def fan_in(self: Net) -> None:
    """Kaiming's other mode."""
    for module in self.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")


def starting(set_: Callable[[Net], Any]) -> type[Net]:
    """The network with another start, behind the right one."""

    def start(self: Net) -> None:
        Net.start(self)
        set_(self)

    return broken(start=start)


STARTS: list[tuple[str, type[Net], str, str]] = [
    ("the mode", broken(start=fan_in), "weight of conv", "normal, mean 0, standard deviation"),
    ("torch's own", broken(start=lambda self: None), "weight of conv", "normal, mean 0, standard deviation"),
    ("a norm at 0", starting(lambda net: nn.init.zeros_(net.layer1.bn2.weight)), "weight of batchnorm", "constant 1"),
    ("a bias of a norm", starting(lambda net: nn.init.normal_(net.bn1.bias)), "bias of batchnorm", "constant 0"),
    ("the head", starting(lambda net: nn.init.normal_(net.fc.weight)), "weight of linear", "uniform, mean 0"),
    ("statistics", starting(lambda net: net.bn1.running_var.fill_(2)), "running_var of batchnorm", "constant 1"),
]


def test_how_a_new_module_starts(world: World) -> None:
    """What was just built starts by the distributions of the spec's `init:`; what was trained is not asked."""
    torch.manual_seed(0)
    report = check(Net(), world.arch(), fresh=True)
    assert report.passed, str(report)
    assert of(report) == became(init="passed")
    assert "init" not in of(check(Net(), world.arch()))


@pytest.mark.parametrize(("net", "words", "expected"), [s[1:] for s in STARTS], ids=[s[0] for s in STARTS])
def test_another_start_fails(net: type[Net], words: str, expected: str, world: World) -> None:
    """Each tensor is held against its rule; the failure says what it looks like, and points at the rule."""
    torch.manual_seed(0)
    report = check(net(), world.arch(), fresh=True)
    assert of(report) == became(init="failed")
    failure = first_failure(report)
    assert f"{words} starts otherwise" in failure.message
    assert expected in str(failure.expected)
    assert failure.place is not None
    assert failure.place.document.lines[failure.place.line - 1].strip().startswith(words.rpartition(" ")[2])


def test_a_step_that_starts_otherwise_than_its_op(tmp_path: Path) -> None:
    """A layer is held against the rule of its own step, where there is one, and the failure points at it."""
    path = tmp_path / "net.yaml"
    path.write_text(SPEC.replace("  linear: default\n", "  linear: default\n  fc: uniform(bound=3, bias=1)\n"))
    torch.manual_seed(0)
    failure = first_failure(check(Net(), f"{path}::net", fresh=True))
    assert "weight of linear starts otherwise" in failure.message
    assert failure.place is not None
    assert failure.place.document.lines[failure.place.line - 1] == "  fc: uniform(bound=3, bias=1)"

    def start(net: Net) -> None:
        nn.init.uniform_(net.fc.weight, -3, 3)
        nn.init.ones_(net.fc.bias)

    report = check(starting(start)(), f"{path}::net", fresh=True)
    assert report.passed, str(report)


# Nothing of the user's changes.


def snapshot(net: nn.Module) -> list[Any]:
    """Everything that a check might change in a module."""
    parts: list[Any] = []
    for name, module in net.named_modules():
        kept = {key: dict(hooks) for key, hooks in vars(module).items() if "_hooks" in key}
        parts.append((name, id(module), module.training, kept, sorted(vars(module)), list(module._modules)))
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        grad = None if tensor.grad is None else (id(tensor.grad), tensor.grad.tolist())
        known = (
            tensor.dtype,
            tensor.device,
            tensor.requires_grad,
            tensor._version,
            tensor.stride(),
            tensor._backward_hooks,
        )
        parts.append((name, id(tensor), tensor.tolist(), grad, *known))
    return parts


def surroundings() -> list[Any]:
    """Everything that a check might change in torch."""
    backends, matmul = torch.backends, torch.backends.cuda.matmul
    exact = (matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul, backends.mkldnn.conv)
    places = (torch, torch.Tensor, nn.Module, nn.Parameter, nn.functional, nn.init, copy, torch.nn.modules.module)
    return [
        torch.get_rng_state().tolist(),
        [backend.fp32_precision for backend in exact],
        (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()),
        (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")),
        (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        (torch.overrides._get_current_function_mode(), torch.utils._python_dispatch._get_current_dispatch_mode()),
        [copy.copy(hooks) for name, hooks in vars(torch.nn.modules.module).items() if name.startswith("_global_")],
        [{name: id(value) for name, value in vars(place).items() if callable(value)} for place in places],
        warnings.filters[:],
    ]


STATES: list[tuple[str, Callable[[], nn.Module]]] = [
    ("what passes", Net),
    ("what fails", broken_block(eps=1e-3)),
    ("what fails in training", broken(momentum=0.01)),
    ("what raises", Raising),
    ("what raises in training", TrainOnly),
    ("what has another state", lambda: Net(3)),
    ("what overwrites its input", Overwriting),
    ("what needs real tensors", Choosing),
    ("what cannot be copied", Stubborn),
    ("what cannot be copied and raises", broken(Stubborn, features=Raising.forward)),
    ("what has a patched method", lambda: patched(Net())),
    ("what has a patched method and is wrong", lambda: patched(broken(momentum=0.01)())),
    ("what needs real tensors and raises", broken(Choosing, features=Raising.forward)),
]

# Each is given the module, another one and the arch.
ASKED: list[tuple[str, Callable[[Net, Net, Any], Any]]] = [
    ("check", lambda net, other, arch: check(net, arch)),
    ("structure", lambda net, other, arch: check(net, arch, level="structure")),
    ("until", lambda net, other, arch: check(net, arch, until="layer1")),
    ("fresh", lambda net, other, arch: check(net, arch, fresh=True)),
    ("identify", lambda net, other, arch: check(net, level="structure")),
    ("as the new one", lambda net, other, arch: compare_modules(net, other, (3, 32, 32))),
    ("as the old one", lambda net, other, arch: compare_modules(other, net, (3, 32, 32))),
    ("with itself", lambda net, other, arch: compare_modules(net, net, (3, 32, 32))),
]


@pytest.mark.parametrize("ask", [a[1] for a in ASKED], ids=[a[0] for a in ASKED])
@pytest.mark.parametrize("make", [s[1] for s in STATES], ids=[s[0] for s in STATES])
def test_the_module_is_as_before(make: Callable[[], Net], ask: Callable[[Net, Net, Any], Any], world: World) -> None:
    """Flags, hooks, parameters, buffers, gradients, what is frozen, and all of torch: whatever the outcome."""
    net, other, arch = make(), Net(), world.arch()
    net.train()
    net.bn1.eval()
    net.fc.bias.requires_grad_(False)
    net.conv1.weight.grad = torch.ones_like(net.conv1.weight)
    net.conv1.register_forward_hook(lambda *_: None)
    net.register_buffer("scratch", torch.zeros(3), persistent=False)
    before, around = snapshot(net), surroundings()
    with suppress(RvCheckError):
        ask(net, other, arch)
    assert snapshot(net) == before
    assert surroundings() == around


def test_a_snapshot_sees_a_change() -> None:
    """The test above can fail: running a module in training changes what it compares."""
    net = Net()
    before = snapshot(net)
    net(torch.randn(2, 3, 32, 32))
    assert snapshot(net) != before
    same = copy.deepcopy(net)
    assert snapshot(same.eval()) != snapshot(net)


CHANGES: list[tuple[str, Callable[[Net], Any]]] = [
    ("a flag", lambda net: net.layer1.bn1.eval()),
    ("a hook", lambda net: net.fc.register_forward_pre_hook(lambda *_: None)),
    ("a hook of a tensor", lambda net: net.fc.weight.register_hook(lambda gradient: None)),
    ("a value", lambda net: net.bn1.running_mean.add_(1)),
    ("a gradient", lambda net: net.fc.weight.sum().backward()),
    ("a type", lambda net: net.layer1.double()),
    ("a layout", lambda net: net.to(memory_format=torch.channels_last)),
    ("what trains", lambda net: net.fc.requires_grad_(False)),
    ("a parameter", lambda net: setattr(net.fc, "bias", nn.Parameter(net.fc.bias.detach()))),
    ("an attribute", lambda net: setattr(net, "seen", 1)),
    ("a function", lambda net: setattr(net, "forward", net.features)),
]


@pytest.mark.parametrize("change", [c[1] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_a_snapshot_sees_each_change(change: Callable[[Net], Any]) -> None:
    """Whatever a check might leave behind in a module is in what is compared."""
    net = Net()
    before = snapshot(net)
    change(net)
    assert snapshot(net) != before


def test_surroundings_see_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run might leave behind in torch is seen."""
    before = surroundings()
    assert surroundings() == before
    with torch.no_grad():
        assert surroundings() != before
    with torch.device("meta"):
        assert surroundings() != before
    with monkeypatch.context() as patch:
        patch.setattr(nn.functional, "relu", torch.relu)
        assert surroundings() != before
    torch.rand(1)
    assert surroundings() != before


def test_a_copy_of_a_shared_module_stays_shared() -> None:
    """A module listed twice is one module, though its names are all there: the two places are named."""
    net = narrow(BasicBlock, width_per_group=64)
    net.layer1 = nn.Sequential(*[net.layer1[0]] * 2)
    net.layer2 = nn.Sequential(net.layer2[0], BasicBlock(128, 128))
    report = check(net, "resnet18(depths=[2, 2, 1, 1])")
    assert of(report) == BLOCKED
    (failure,) = failures(report)
    assert failure.kind == "shared"
    assert failure.message.startswith("layer1.0 and layer1.1 share 10 parameters and buffers: layer1.0.conv1.weight, ")


class WithFeatures(Net):
    """A feature map, and the output, which may be wrong."""

    factor = 1.0

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        return features, self.factor * self.fc(self.drop(self.avgpool(features).flatten(1)))


def test_a_wrong_head_is_no_trunk(world: World) -> None:
    """A network that returns a feature map beside a wrong output is not the network up to that feature map."""
    wrong = check(type("Wrong", (WithFeatures,), {"factor": 2.0})(), world.arch(), level="structure")
    kinds = [f.kind for f in wrong.findings if f.status == "failed"]
    assert kinds == ["extra"]
    assert any(note.startswith("its outputs, as steps of net: [0] is layer1") for note in wrong.notes)
    right = check(WithFeatures(), world.arch(), level="structure")
    assert [f.kind for f in right.findings if f.status == "failed"] == ["outputs"]


def test_public_names() -> None:
    """What the package promises is there, and nothing else is promised."""
    assert set(rv_check.__all__) == {
        "Arch",
        "FieldLine",
        "Finding",
        "Memory",
        "NetworkFields",
        "NetworkMacs",
        "NetworkMemory",
        "ReceptiveField",
        "Report",
        "RvCheckError",
        "SpecError",
        "Uncounted",
        "assert_conforms",
        "assert_same",
        "build",
        "check",
        "check_block",
        "check_transfer",
        "load",
        "macs",
        "memory",
        "receptive_field",
    }
    assert all(getattr(rv_check, name) for name in rv_check.__all__)
    with pytest.raises(AttributeError, match="module 'rv_check' has no attribute 'chekc'"):
        _ = rv_check.chekc


def test_another_network_of_other_channels(tmp_path: Path) -> None:
    """It does not run at the inputs of the shipped archs, so it is none of them; what differs is told all the same."""
    spec = tmp_path / "grey.yaml"
    spec.write_text(
        "family: grey(classes=3)\nsource: this test\ninput: 1 8 8\n\nbody:\n"
        "  - conv: conv(4, kernel=3, padding=1, bias=True)\n  - relu\n  - flatten\n"
        "  - fc: linear(classes, bias=True)\n\narchs:\n  grey3:\n    build: grey()\n"
    )
    layers = OrderedDict(conv=nn.Conv2d(1, 4, 3, padding=1), act=nn.SiLU(), flat=nn.Flatten(), fc=nn.Linear(256, 3))
    report = check(nn.Sequential(layers), f"{spec}::grey3")
    assert not report.passed
    assert "silu" in str(first_failure(report))
    assert report.notes == ()
