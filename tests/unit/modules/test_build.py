"""The torch model of a tree: usable like any other module, and never overwriting what somebody still reads."""

from __future__ import annotations

import copy
import io
import math
import pickle
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from rv_check.archs.arch import Arch
from rv_check.archs.load import load
from rv_check.errors import RvCheckError
from rv_check.modules.build import SpecModule, build
from tests.unit.seeds import seeds

NARROW = ["resnet18(width=8)", "resnet50(width=4)", "resnext50_32x4d(width=32)", "vgg11(width=2)", "vgg11_bn(width=2)"]


class Folder:
    """A folder of specs made up by a test."""

    def __init__(self, path: Path):
        """`path` an empty folder."""
        self.path = path
        self.made = 0

    def net(self, size: str, body: str, init: str = "default") -> Arch:
        """The network of this input and these steps. `init` is how its norms start."""
        self.made += 1
        path = self.path / f"net{self.made}.yaml"
        steps = textwrap.indent(textwrap.dedent(body).strip("\n"), "  ")
        start = f"init:\n  batchnorm: {init}"
        path.write_text(f"family: net()\ninput: {size}\nbody:\n{steps}\n{start}\narchs:\n  net:\n    build: net()\n")
        return load(f"{path}::net")

    def block(self, signature: str, body: str) -> None:
        """A block that the networks of the folder can use."""
        steps = textwrap.indent(textwrap.dedent(body).strip("\n"), "  ")
        name = signature.partition("(")[0]
        (self.path / f"{name}.yaml").write_text(f"block: {signature}\nin: C H W\nbody:\n{steps}\n")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """An empty folder for specs."""
    return Folder(tmp_path)


def small(name: str) -> tuple[SpecModule, Tensor]:
    """A narrow model in eval mode, and two small images for it."""
    torch.manual_seed(0)
    return build(name).eval(), torch.randn(2, 3, 64, 64)


# An ordinary module


@pytest.mark.parametrize("name", NARROW)
def test_a_model_runs(name: str) -> None:
    """A batch of images gives a row of 1,000 finite scores for each, the same again, and one by one."""
    model, x = small(name)
    with torch.no_grad():
        y = model(x)
        assert y.shape == (2, 1000)
        assert y.isfinite().all()
        assert torch.equal(y, model(x))
        torch.testing.assert_close(torch.cat([model(x[:1]), model(x[1:])]), y)


def test_training_and_evaluation_differ() -> None:
    """In training dropout drops and running statistics move; in evaluation neither."""
    model, x = small("vgg11_bn(width=2)")
    before = copy.deepcopy(model.state_dict())
    assert not any(module.training for module in model.modules())
    model(x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.train()
    assert all(module.training for module in model.modules())
    assert not torch.equal(model(x), model(x))
    moved = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert moved == [name for name in before if name.endswith(("running_mean", "running_var", "num_batches_tracked"))]


@pytest.mark.parametrize("name", ["resnet18(width=8)", "vgg11_bn(width=2)"])
def test_every_parameter_learns(name: str) -> None:
    """A backward pass in training reaches every parameter."""
    model, x = small(name)
    model.train()(x).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_meta() -> None:
    """On the meta device nothing is allocated, and shapes come out all the same."""
    model = build("vgg16", "meta")
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}
    assert model(torch.empty(2, 3, 224, 224, device="meta")).shape == (2, 1000)


def test_the_device_is_the_default_one_unless_given() -> None:
    """Without `device` torch's default is used; the argument comes before it."""

    def devices(model: nn.Module) -> set[str]:
        return {tensor.device.type for tensor in model.state_dict().values()}

    assert devices(build("resnet18(width=8)")) == {"cpu"}
    assert devices(build("resnet18(width=8)", torch.device("meta"))) == {"meta"}
    with torch.device("meta"):
        assert devices(build("resnet18(width=8)")) == {"meta"}
        assert devices(build("resnet18(width=8)", device="cpu")) == {"cpu"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtype(dtype: torch.dtype) -> None:
    """`dtype` is that of everything but the counters; the values are those of the default type."""
    torch.manual_seed(0)
    expected = build("resnet18(width=8)").state_dict()
    torch.manual_seed(0)
    found = build("resnet18(width=8)", dtype=dtype).state_dict()
    for name, value in found.items():
        wanted = torch.int64 if name.endswith("num_batches_tracked") else dtype
        assert value.dtype == wanted, name
        assert torch.equal(value, expected[name].to(wanted)), name


def test_the_default_dtype_is_torchs() -> None:
    """Without `dtype` the parameters have torch's default type."""
    torch.set_default_dtype(torch.float64)
    try:
        assert build("resnet18(width=8)").conv1.weight.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", NARROW)
def test_a_copy_is_a_model_of_its_own(name: str) -> None:
    """A deep copy, a pickle and a saved file give the same scores, and share nothing with the model."""
    model, x = small(name)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(file, weights_only=False)]
    y = model(x)
    for other in copies:
        assert torch.equal(y, other(x))
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
    assert torch.equal(y, model(x))


def test_a_state_dict_fits_the_next_model() -> None:
    """What one model saves, another loads strictly, without pickle."""
    model, x = small("resnet50(width=4)")
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = build("resnet50(width=4)").eval()
    assert not torch.equal(model(x), other(x))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(model(x), other(x))


@pytest.mark.parametrize("name", NARROW[:2] + NARROW[-1:])
def test_export(name: str) -> None:
    """torch.export takes the model whole, and what it gives computes the same."""
    model, x = small(name)
    exported = torch.export.export(model, (x,))
    torch.testing.assert_close(exported.module()(x), model(x))
    parameters = {spec.target for spec in exported.graph_signature.input_specs if spec.kind.name == "PARAMETER"}
    assert parameters == {parameter for parameter, _ in model.named_parameters()}


@pytest.mark.parametrize("name", [NARROW[0], NARROW[-1]])
def test_compile(name: str) -> None:
    """torch.compile traces the model without a graph break, in evaluation and in training."""
    model, x = small(name)
    torch.testing.assert_close(torch.compile(model, backend="eager", fullgraph=True)(x), model(x))
    model.train()
    other = copy.deepcopy(model)
    torch.manual_seed(0)
    expected = model(x)
    torch.manual_seed(0)
    torch.testing.assert_close(torch.compile(other, backend="eager", fullgraph=True)(x), expected)
    torch._dynamo.reset()


def test_printing(folder: Folder) -> None:
    """A printed model shows its blocks with their arguments, and how branches join."""
    arch = folder.net(
        "4 8 8",
        """
        - basic(8, stride=2)
        - tail:
            - flatten
            - out: linear(3, bias=True)
        """,
    )
    assert str(build(arch)) == textwrap.dedent("""\
        net(
          (0): basic(width=8, stride=2)(
            sum(conv1 -> bn1 -> 2 -> conv2 -> bn2, downsample)
            (conv1): Conv2d(4, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
            (bn1): {norm}
            (2): ReLU(inplace=True)
            (conv2): Conv2d(8, 8, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
            (bn2): {norm}
            (downsample): group(
              (0): Conv2d(4, 8, kernel_size=(1, 1), stride=(2, 2), bias=False)
              (1): {norm}
            )
            (6): ReLU(inplace=True)
          )
          (tail): group(
            (0): Flatten(start_dim=1, end_dim=-1)
            (out): Linear(in_features=128, out_features=3, bias=True)
          )
        )""").format(norm=nn.BatchNorm2d(8))


def test_a_repeat_is_built_as_its_rounds_written_out(folder: Folder) -> None:
    """A relu that begins a round may overwrite what the round before gave, as it may behind any convolution."""
    steps = "- relu\n- conv(4, kernel=1, bias=False)\n"
    repeated = build(folder.net("4 8 8", f"- repeat: 2\n  steps:\n{textwrap.indent(steps, '    ')}"))
    assert str(repeated) == str(build(folder.net("4 8 8", steps * 2)))
    assert [module.inplace for module in repeated.modules() if isinstance(module, nn.ReLU)] == [False, True]


@pytest.mark.parametrize("name", ["label", "plan", "type", "forward", "weight", "parameters"])
def test_a_step_may_have_the_name_of_something_else(folder: Folder, name: str) -> None:
    """Names that nn.Module or the model have for something else do not get in their way."""
    model = build(folder.net("4 8 8", f"- {name}: conv(4, kernel=1, bias=False)\n- relu")).train().eval()
    x = torch.randn(2, 4, 8, 8)
    assert list(model.state_dict()) == [f"{name}.weight"]
    expected = functional.conv2d(x, model.state_dict()[f"{name}.weight"]).relu()
    assert torch.equal(copy.deepcopy(model)(x), expected)


@pytest.mark.parametrize("name", ["label", "plan"])
def test_a_step_named_label_can_be_exported(folder: Folder, name: str) -> None:
    """Where nn.Module itself has no such attribute, the step is found by `model.NAME`."""
    model = build(folder.net("4 8 8", f"- {name}: conv(4, kernel=1, bias=False)")).eval()
    assert isinstance(model.get_submodule(name), nn.Conv2d)
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))


@pytest.mark.parametrize("name", ["training", "_modules", "_parameters"])
def test_error_a_name_that_torch_needs(folder: Folder, name: str) -> None:
    """A step named as something that every torch module keeps is refused in plain words."""
    arch = folder.net("4 8 8", f"- {name}: conv(4, kernel=1, bias=False)")
    with pytest.raises(RvCheckError, match=f"^net: a torch module cannot have a child named '{name}'$"):
        build(arch)


def test_error_too_large(folder: Folder) -> None:
    """What torch cannot hold is an error of the question, with torch's reason; its figures are there all the same."""
    n = 10**12
    arch = folder.net("4 8 8", f"- conv({n}, kernel={n}, padding={n}, bias=False)")
    assert arch.params == 4 * n**3
    with pytest.raises(RvCheckError, match=r"^net cannot be built: .+"):
        build(arch, "meta")


def test_error_no_such_device() -> None:
    """A device that torch does not know is an error of the question."""
    with pytest.raises(RvCheckError, match=r"^resnet18 cannot be built: .+nowhere"):
        build("resnet18", "nowhere")


STARTS = {
    "default": (1.0, 0.0),
    "constant(weight=0.5, bias=2)": (0.5, 2.0),
    "normal(mean=3, std=0)": (3.0, 0.0),
    "normal(mean=3, std=0, bias=1/4)": (3.0, 0.25),
    "uniform(bound=0)": (0.0, 0.0),
    "default(bias=3)": (1.0, 3.0),
}


@pytest.mark.parametrize(("init", "values"), STARTS.items(), ids=STARTS.keys())
def test_a_start_is_the_one_declared(folder: Folder, init: str, values: tuple[float, float]) -> None:
    """Weight and bias start as `init:` says; a bias that it leaves out starts as torch's."""
    norm = build(folder.net("4 8 8", "- norm: batchnorm", init=init)).norm
    assert norm.weight.tolist() == [values[0]] * 4
    assert norm.bias.tolist() == [values[1]] * 4


STARTED = """\
family: net
input: 4 8 8
init:
  conv: kaiming_uniform(mode=fan_out, nonlinearity=sigmoid, bias=0)
  linear: uniform(bound=1/sqrt(fan_out), bias=0)
  head.1: normal(mean=0, std=sqrt(2/fan_in), bias=1)
body:
  - conv: conv(6, kernel=3, bias=True)
  - flatten
  - head:
      - linear(5, bias=True)
      - linear(3, bias=True)
archs:
  net:
    build: net
"""


def test_each_layer_starts_by_its_own_rule(tmp_path: Path) -> None:
    """A step's rule goes before its op's, at its place in the order in which layers are made; to the bit."""
    path = tmp_path / "net.yaml"
    path.write_text(STARTED)
    torch.manual_seed(0)
    found = build(f"{path}::net").state_dict()
    torch.manual_seed(0)
    conv, first, second = nn.Conv2d(4, 6, 3), nn.Linear(6 * 6 * 6, 5), nn.Linear(5, 3)
    nn.init.kaiming_uniform_(conv.weight, mode="fan_out", nonlinearity="sigmoid")
    bound = 1.0 / math.sqrt(5)
    nn.init.uniform_(first.weight, -bound, bound)
    nn.init.normal_(second.weight, 0.0, math.sqrt(2.0 / 5))
    for layer, value in ((conv, 0.0), (first, 0.0), (second, 1.0)):
        assert layer.bias is not None
        nn.init.constant_(layer.bias, value)
    expected = {"conv": conv, "head.0": first, "head.1": second}
    assert [name for name in expected if not torch.equal(found[f"{name}.weight"], expected[name].weight)] == []
    assert [name for name in expected if not torch.equal(found[f"{name}.bias"], expected[name].bias)] == []


def test_error_a_start_without_a_value(tmp_path: Path) -> None:
    """A number that has no value for the size of a layer says where it stands, and of which size."""
    path = tmp_path / "net.yaml"
    path.write_text(STARTED.replace("sqrt(2/fan_in)", "sqrt(2/(fan_in - 5))"))
    with pytest.raises(RvCheckError, match=r"net.yaml:6:30: sqrt\(2/\(fan_in - 5\)\) has no value where"):
        build(f"{path}::net")


def test_error_no_such_arch() -> None:
    """A name that no spec has is refused with the nearest one."""
    with pytest.raises(RvCheckError, match="did you mean: resnet18"):
        build("resnet81")


# Beside torchvision

ARCHS = [
    *("vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
]


def from_torchvision(name: str, device: str) -> nn.Module:
    """torchvision's own model."""
    from torchvision.models import get_model

    with torch.device(device):
        return get_model(name, weights=None)


class Ops(TorchDispatchMode):
    """Records which aten ops run, in order."""

    def __init__(self) -> None:
        """Nothing recorded yet."""
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ARCHS)
def test_a_model_is_torchvisions(name: str) -> None:
    """The `state_dict` has torchvision's names, shapes and order, and the same ops run, in place where its are."""
    ours, theirs = build(name, "meta").eval(), from_torchvision(name, "meta").eval()
    expected = [(key, value.shape, value.dtype) for key, value in theirs.state_dict().items()]
    assert expected == [(key, value.shape, value.dtype) for key, value in ours.state_dict().items()]
    assert [n for n, _ in theirs.named_parameters()] == [n for n, _ in ours.named_parameters()]
    ran = []
    for model in (theirs, ours):
        with torch.no_grad(), Ops() as ops:
            model(torch.empty(1, 3, 224, 224, device="meta"))
        ran.append(ops.names)
    assert ran[0] == ran[1]
    assert "aten.relu_.default" in ran[1]
    assert ("aten.add_.Tensor" in ran[1]) == ("res" in name)


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "vgg11"])
def test_a_model_starts_as_torchvisions_does(name: str) -> None:
    """From one seed every parameter is torchvision's to the bit, and the generator is left as by its constructor."""
    torch.manual_seed(0)
    theirs = from_torchvision(name, "cpu").state_dict()
    state = torch.get_rng_state()
    torch.manual_seed(0)
    ours = build(name).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    assert [key for key in theirs if not torch.equal(theirs[key], ours[key])] == []


BUILD = "from rv_check.modules.build import build; build('resnet18', 'meta')"
REFER = (
    "from rv_check.modules.reference import build_reference; "
    "from rv_check.archs.load import load; build_reference(load('resnet18'))"
)


@pytest.mark.parametrize(("code", "printed"), [(BUILD, "False"), (REFER, "True")], ids=["build", "twin"])
def test_building_never_imports_torchvision(code: str, printed: str) -> None:
    """A model is built from its spec alone; the twin shows that an import would be seen."""
    code += "; import sys; print('torchvision' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == printed


# Nothing is overwritten that somebody still reads. Each network beside the same one written with functions that make a
# new tensor every time.


class Hand:
    """Parameters and buffers by name, and functions that read them."""

    def __init__(self, model: nn.Module):
        """Copies of everything in the model."""
        self.training = model.training
        self.parameters = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
        self.buffers = {n: b.clone() for n, b in model.named_buffers()}

    def conv(self, name: str, x: Tensor) -> Tensor:
        """3x3 with padding 1, or 1x1."""
        weight = self.parameters[f"{name}.weight"]
        return functional.conv2d(x, weight, self.parameters.get(f"{name}.bias"), padding=weight.shape[-1] // 2)

    def linear(self, name: str, x: Tensor) -> Tensor:
        """A linear layer on the last axis."""
        return functional.linear(x, self.parameters[f"{name}.weight"], self.parameters.get(f"{name}.bias"))

    def norm(self, name: str, x: Tensor) -> Tensor:
        """Statistics of the batch in training, the running ones else."""
        running = self.buffers[f"{name}.running_mean"], self.buffers[f"{name}.running_var"]
        scale = self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]
        return functional.batch_norm(x, *running, *scale, training=self.training)


Forward = Callable[[Hand, Tensor], Tensor]


def check(arch: Arch, forward: Forward) -> None:
    """Outputs, gradients and statistics of the model are those of `forward`, and its input is left alone."""
    torch.manual_seed(0)
    model = build(arch, dtype=torch.float64)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -1, 1)
    images = torch.randn(3, *arch.input, dtype=torch.float64)
    for training in (True, False):
        model.train(training).zero_grad()
        hand = Hand(model)
        x, by_hand = images.clone().requires_grad_(), images.clone().requires_grad_()
        given = x * 1  # no leaf, so that autograd lets an in-place op through
        y, expected = model(given), forward(hand, by_hand)
        weights = torch.randn_like(expected)
        (y * weights).sum().backward()
        (expected * weights).sum().backward()
        close(given, images)
        close(y, expected)
        close(x.grad, by_hand.grad)
        for name, parameter in model.named_parameters():
            close(parameter.grad, hand.parameters[name].grad)
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                close(buffer, hand.buffers[name])
        with torch.no_grad():
            hand = Hand(model)
            given = images.clone()
            close(model(given), forward(hand, images))
            assert torch.equal(given, images)


def close(found: Tensor | None, expected: Tensor | None) -> None:
    """Equal up to the order of a few sums in float64."""
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


relu, silu, sigmoid = functional.relu, functional.silu, torch.sigmoid
CONV = "conv(4, kernel=3, padding=1, bias=True)"

OVERWRITING: dict[str, tuple[str, Forward]] = {
    "relu first": (
        f"""
        - relu
        - {CONV}
        """,
        lambda h, x: h.conv("1", relu(x)),
    ),
    "relu alone": ("- relu", lambda h, x: relu(x)),
    "silu first": ("- silu", lambda h, x: silu(x)),
    "relu first in a branch": (
        f"""
        - {CONV}
        - sum:
            main:
              - relu
              - {CONV}
            skip: identity
        """,
        lambda h, x: (lambda a: h.conv("2", relu(a)) + a)(h.conv("0", x)),
    ),
    "relu first in the second branch": (
        f"""
        - {CONV}
        - sum:
            skip: identity
            main:
              - relu
        """,
        lambda h, x: (lambda a: a + relu(a))(h.conv("0", x)),
    ),
    "relu first in both branches": (
        f"""
        - {CONV}
        - concat:
            one:
              - relu
            two:
              - silu
        """,
        lambda h, x: (lambda a: torch.cat([relu(a), silu(a)], 1))(h.conv("0", x)),
    ),
    "relu first in a block": (
        f"""
        - {CONV}
        - sum:
            main:
              - preact
            skip: identity
        """,
        lambda h, x: (lambda a: h.conv("1.1", relu(a)) + a)(h.conv("0", x)),
    ),
    "relu first in a group": (
        f"""
        - {CONV}
        - sum:
            main:
              - group:
                  - relu
            skip: identity
        """,
        lambda h, x: (lambda a: relu(a) + a)(h.conv("0", x)),
    ),
    "activations after a group and a block": (
        f"""
        - {CONV}
        - group:
            - sigmoid
        - relu
        - preact
        - silu
        - block: preact
        - silu
        """,
        lambda h, x: silu(h.conv("block.1", relu(silu(h.conv("3.1", relu(relu(sigmoid(h.conv("0", x))))))))),
    ),
    "a block that is the identity": (
        f"""
        - {CONV}
        - sum:
            main:
              - nothing
            skip:
              - {CONV}
        - relu
        """,
        lambda h, x: (lambda a: relu(a + h.conv("2", a)))(h.conv("0", x)),
    ),
    "a block that is the identity, then relu": (
        """
        - nothing
        - relu
        """,
        lambda h, x: relu(x),
    ),
    "relu after a max-pool": (
        f"""
        - {CONV}
        - relu
        - maxpool(3, stride=1, padding=1)
        - relu
        """,
        lambda h, x: relu(functional.max_pool2d(relu(h.conv("0", x)), 3, 1, 1)),
    ),
    "relu after other pools": (
        """
        - avgpool(1)
        - relu
        - adaptive_avgpool(6)
        - silu
        """,
        lambda h, x: silu(relu(x)),
    ),
    "relu after a product": (
        f"""
        - {CONV}
        - product:
            value:
              - {CONV}
            gate:
              - {CONV}
              - sigmoid
        - relu
        """,
        lambda h, x: (lambda a: relu(h.conv("1", a) * sigmoid(h.conv("2", a))))(h.conv("0", x)),
    ),
    "a product as the first addend": (
        f"""
        - sum:
            gated:
              - product:
                  value:
                    - {CONV}
                  gate: identity
            skip: identity
        - relu
        """,
        lambda h, x: relu(h.conv("0", x) * x + x),
    ),
    "addends of a product": (
        f"""
        - product:
            value:
              - {CONV}
            gate:
              - {CONV}
        - sum:
            a: identity
            b: identity
        """,
        lambda h, x: 2 * (h.conv("0", x) * h.conv("1", x)),
    ),
    "a tensor times itself": (
        f"""
        - {CONV}
        - product:
            a: identity
            b: identity
        - relu
        """,
        lambda h, x: relu(h.conv("0", x) ** 2),
    ),
    "a tensor and itself": (
        f"""
        - {CONV}
        - sum:
            a: identity
            b: identity
        - relu
        """,
        lambda h, x: relu(2 * h.conv("0", x)),
    ),
    "the input and itself": (
        """
        - sum:
            a: identity
            b: identity
        - relu
        """,
        lambda h, x: relu(2 * x),
    ),
    "the same relu in two branches": (
        f"""
        - {CONV}
        - relu
        - sum:
            a: identity
            b:
              - {CONV}
            c: identity
        - relu
        """,
        lambda h, x: (lambda a: relu(a + h.conv("2", a) + a))(relu(h.conv("0", x))),
    ),
    "one branch left, the identity": (
        """
        - sum:
            here: identity
            gone:
              if: False
              then: identity
              else: none
        - relu
        """,
        lambda h, x: relu(x),
    ),
    "one branch left, then relu": (
        f"""
        - {CONV}
        - sum:
            a:
              - sum:
                  here: identity
                  gone:
                    if: False
                    then: identity
                    else: none
              - relu
            b: identity
        """,
        lambda h, x: (lambda a: relu(a) + a)(h.conv("0", x)),
    ),
    "one branch left, as the first addend": (
        f"""
        - {CONV}
        - sum:
            a:
              - concat:
                  here: identity
                  gone:
                    if: False
                    then: identity
                    else: none
            b:
              - {CONV}
        - relu
        """,
        lambda h, x: (lambda a: relu(a + h.conv("1", a)))(h.conv("0", x)),
    ),
    "one branch left, a convolution": (
        f"""
        - product:
            here:
              - {CONV}
            gone:
              if: False
              then: identity
              else: none
        - relu
        """,
        lambda h, x: relu(h.conv("0", x)),
    ),
    "the identity as the first addend": (
        f"""
        - sum:
            skip: identity
            main:
              - {CONV}
        - relu
        """,
        lambda h, x: relu(x + h.conv("0", x)),
    ),
    "nested sums": (
        f"""
        - {CONV}
        - sum:
            a:
              - sum:
                  c:
                    - {CONV}
                  d: identity
            b: identity
        - relu
        """,
        lambda h, x: (lambda a: relu(h.conv("1", a) + a + a))(h.conv("0", x)),
    ),
    "nested sums, the identity first": (
        f"""
        - {CONV}
        - sum:
            a:
              - sum:
                  c: identity
                  d:
                    - {CONV}
            b:
              - {CONV}
              - sum:
                  e: identity
                  f:
                    - relu
        - relu
        """,
        lambda h, x: (lambda a: (lambda b: relu(a + h.conv("1", a) + b + relu(b)))(h.conv("2", a)))(h.conv("0", x)),
    ),
    "a sum within a sum of identities": (
        """
        - sum:
            a:
              - sum:
                  c: identity
                  d: identity
            b: identity
        - relu
        """,
        lambda h, x: relu(3 * x),
    ),
    "a concat, then relu": (
        f"""
        - {CONV}
        - concat:
            a: identity
            b:
              - {CONV}
        - relu
        """,
        lambda h, x: (lambda a: relu(torch.cat([a, h.conv("1", a)], 1)))(h.conv("0", x)),
    ),
    "a concat as the first addend": (
        """
        - sum:
            a:
              - concat:
                  c: identity
                  d: identity
            b:
              - concat:
                  c:
                    - relu
                  d: identity
        """,
        lambda h, x: torch.cat([x + relu(x), 2 * x], 1),
    ),
    "dropout gives its input itself": (
        f"""
        - sum:
            a:
              - dropout(0)
            b:
              - {CONV}
        - dropout(0)
        - relu
        """,
        lambda h, x: relu(x + h.conv("1", x)),
    ),
    "dropout, then relu": (
        f"""
        - {CONV}
        - sum:
            a:
              - dropout(0)
              - relu
            b: identity
        """,
        lambda h, x: (lambda a: relu(a) + a)(h.conv("0", x)),
    ),
    "flatten gives a view": (
        """
        - sum:
            a:
              - flatten
            b:
              - flatten
              - linear(144, bias=True)
        - relu
        """,
        lambda h, x: relu(x.flatten(1) + h.linear("2", x.flatten(1))),
    ),
    "an activation as the first addend": (
        f"""
        - sum:
            main:
              - {CONV}
              - sigmoid
            skip: identity
        - sum:
            main:
              - {CONV}
              - relu
            skip: identity
        - sum:
            main:
              - {CONV}
              - silu
            skip: identity
        """,
        lambda h, x: (lambda a: (lambda b: silu(h.conv("4", b)) + b)(relu(h.conv("2", a)) + a))(
            sigmoid(h.conv("0", x)) + x
        ),
    ),
    "activations after each other": (
        f"""
        - {CONV}
        - relu
        - silu
        - relu
        - {CONV}
        - silu
        - sigmoid
        - relu
        """,
        lambda h, x: relu(sigmoid(silu(h.conv("4", relu(silu(relu(h.conv("0", x)))))))),
    ),
    "a norm, then relu, then a norm": (
        f"""
        - {CONV}
        - batchnorm
        - relu
        - batchnorm
        - silu
        - sum:
            main:
              - batchnorm
            skip: identity
        - relu
        """,
        lambda h, x: (lambda a: relu(h.norm("5", a) + a))(silu(h.norm("3", relu(h.norm("1", h.conv("0", x)))))),
    ),
    "a norm of the input": (
        """
        - batchnorm
        - relu
        """,
        lambda h, x: relu(h.norm("0", x)),
    ),
    "linear layers on rows": (
        """
        - linear(6, bias=True)
        - relu
        - sum:
            main:
              - linear(6, bias=True)
            skip: identity
        - relu
        - linear(6, bias=False)
        - silu
        """,
        lambda h, x: (lambda a: silu(h.linear("4", relu(h.linear("2", a) + a))))(relu(h.linear("0", x))),
    ),
    "features": (
        """
        - flatten
        - linear(8, bias=True)
        - batchnorm
        - relu
        - sum:
            main:
              - relu
              - linear(8, bias=False)
            skip: identity
        - relu
        """,
        lambda h, x: (lambda a: relu(h.linear("5", relu(a)) + a))(relu(h.norm("2", h.linear("1", x.flatten(1))))),
    ),
    "a repeat that begins with relu": (
        f"""
        - {CONV}
        - repeat: 3
          steps:
            - relu
            - {CONV}
        """,
        lambda h, x: h.conv("6", relu(h.conv("4", relu(h.conv("2", relu(h.conv("0", x))))))),
    ),
    "a repeat of relus": (
        f"""
        - {CONV}
        - repeat: 3
          steps:
            - silu
        """,
        lambda h, x: silu(silu(silu(h.conv("0", x)))),
    ),
    "a repeat of the input": (
        """
        - repeat: 2
          steps:
            - relu
            - sum:
                a: identity
                b:
                  - relu
        """,
        lambda h, x: 4 * relu(x),
    ),
    "a repeat of residuals": (
        f"""
        - {CONV}
        - repeat: 2
          steps:
            - sum:
                main:
                  - relu
                  - {CONV}
                skip: identity
        """,
        lambda h, x: (lambda a: (lambda b: h.conv("4", relu(b)) + b)(h.conv("2", relu(a)) + a))(h.conv("0", x)),
    ),
    "a repeat as the first addend": (
        f"""
        - {CONV}
        - sum:
            main:
              - repeat: 2
                steps:
                  - relu
                  - {CONV}
            skip: identity
        - relu
        """,
        lambda h, x: (lambda a: relu(h.conv("4", relu(h.conv("2", relu(a)))) + a))(h.conv("0", x)),
    ),
    "a choice that is nothing": (
        f"""
        - {CONV}
        - sum:
            a:
              - if: True
                then: identity
            b: identity
        - if: False
          then:
            - {CONV}
        - relu
        """,
        lambda h, x: relu(2 * h.conv("0", x)),
    ),
    "a choice within a branch": (
        f"""
        - {CONV}
        - sum:
            a:
              - if: True
                then:
                  - relu
            b: identity
        """,
        lambda h, x: (lambda a: relu(a) + a)(h.conv("0", x)),
    ),
    "three addends": (
        f"""
        - {CONV}
        - sum:
            a:
              - {CONV}
            b: identity
            c:
              - relu
        - relu
        """,
        lambda h, x: (lambda a: relu(h.conv("1", a) + a + relu(a)))(h.conv("0", x)),
    ),
    "squeeze and excite": (
        f"""
        - {CONV}
        - product:
            value: identity
            gate:
              - adaptive_avgpool(1)
              - conv(4, kernel=1, bias=True)
              - relu
              - conv(4, kernel=1, bias=True)
              - sigmoid
        - relu
        """,
        lambda h, x: (lambda a: relu(a * sigmoid(h.conv("4", relu(h.conv("2", a.mean((2, 3), keepdim=True)))))))(
            h.conv("0", x)
        ),
    ),
}


@pytest.mark.parametrize(("body", "forward"), OVERWRITING.values(), ids=OVERWRITING.keys())
def test_nothing_is_overwritten(folder: Folder, body: str, forward: Forward) -> None:
    """Outputs, gradients and statistics are those of functions that overwrite nothing; the input is left alone."""
    folder.block("preact()", f"- relu\n- {CONV}")
    folder.block("nothing()", f"- if: False\n  then:\n    - {CONV}")
    check(folder.net("4 6 6", body), forward)


def test_overwriting_would_be_noticed(folder: Folder) -> None:
    """The twin: one relu that overwrites a skip connection, and one that overwrites the input, are found."""
    arch = folder.net("4 6 6", OVERWRITING["relu first in a branch"][0])

    class Careless(Hand):
        def conv(self, name: str, x: Tensor) -> Tensor:
            return super().conv(name, x).relu_() if name == "0" else super().conv(name, x)

    def careless(hand: Hand, x: Tensor) -> Tensor:
        hand.__class__ = Careless
        return OVERWRITING["relu first in a branch"][1](hand, x)

    with pytest.raises(AssertionError, match="not close"):
        check(arch, careless)
    with pytest.raises(AssertionError, match="not close"):
        check(folder.net("4 6 6", "- relu"), lambda h, x: x)


# The same with random networks: made as a spec and as a function at once.

Made = tuple[list[str], Forward]


def random_flow(rng: random.Random, counter: Iterator[int], prefix: str, depth: int, least: int = 1) -> Made:
    """Some steps, and the function that they are."""
    lines: list[str] = []
    functions: list[Forward] = []
    for _ in range(rng.randint(least, 3)):
        step, function = random_step(rng, counter, prefix, depth)
        lines += step
        functions.append(function)

    def forward(hand: Hand, x: Tensor) -> Tensor:
        for function in functions:
            x = function(hand, x)
        return x

    return lines, forward


def random_step(rng: random.Random, counter: Iterator[int], prefix: str, depth: int) -> Made:
    """One step that keeps the shape."""
    name = f"n{next(counter)}"
    full = prefix + name
    simple: list[Made] = [
        ([f"- {name}: {CONV}"], lambda h, x: h.conv(full, x)),
        ([f"- {name}: linear(6, bias=True)"], lambda h, x: h.linear(full, x)),
        ([f"- {name}: batchnorm"], lambda h, x: h.norm(full, x)),
        (["- relu"], lambda h, x: relu(x)),
        (["- relu"], lambda h, x: relu(x)),
        (["- silu"], lambda h, x: silu(x)),
        (["- sigmoid"], lambda h, x: sigmoid(x)),
        (["- dropout(0)"], lambda h, x: x),
        (["- maxpool(3, stride=1, padding=1)"], lambda h, x: functional.max_pool2d(x, 3, 1, 1)),
        (["- avgpool(1)"], lambda h, x: x),
    ]
    if not depth or rng.random() < 0.6:
        return rng.choice(simple)
    kind = rng.choice(["sum", "sum", "sum", "product", "concat", "group", "if", "repeat"])
    if kind == "group":
        inner, function = random_flow(rng, counter, f"{full}.", depth - 1)
        return [f"- {name}:", *indent(inner, 4)], function
    if kind == "if":
        inner, function = random_flow(rng, counter, prefix, depth - 1)
        return ["- if: True", "  then:", *indent(inner, 4)], function
    if kind == "repeat":
        return ["- repeat: 3", "  steps:", "    - silu", "    - relu"], lambda h, x: relu(
            silu(relu(silu(relu(silu(x)))))
        )
    lines, functions = [f"- {kind}:"], []
    for label in "abc"[: rng.randint(2, 3)]:
        match rng.random():
            case r if r < 0.25:
                lines.append(f"    {label}: identity")
                functions.append(lambda h, x: x)
            case r if r < 0.4 and label != "a":
                lines += [f"    {label}:", "      if: False", "      then: identity", "      else: none"]
            case _:
                inner, function = random_flow(rng, counter, prefix, depth - 1)
                lines += [f"    {label}:", *indent(inner, 6)]
                functions.append(function)
    channels = 4 * len(functions)
    if kind == "concat":
        lines.append(f"- {name}: {CONV}")

    def forward(hand: Hand, x: Tensor) -> Tensor:
        first, *others = [function(hand, x) for function in functions]
        if kind == "concat":
            joined = torch.cat([first, *others], 1)
            assert joined.shape[1] == channels
            return hand.conv(full, joined)
        for other in others:
            first = first + other if kind == "sum" else first * other
        return first

    return lines, forward


def indent(lines: list[str], by: int) -> list[str]:
    """Lines further in."""
    return [" " * by + line for line in lines]


@seeds(60)
def test_nothing_is_overwritten_in_a_random_network(folder: Folder, seed: int) -> None:
    """Joins, groups, choices and activations at random: never a value or a gradient that functions would not give."""
    rng = random.Random(seed)
    lines, forward = random_flow(rng, iter(range(1000)), "", 3, least=2)
    check(folder.net("4 6 6", "\n".join(lines)), forward)
