"""The mutants themselves: they start from the arch itself, and each is really another network or really the same."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from functools import cache
from zlib import crc32

import pytest
import torch
from torch import Tensor, nn

from rv_check import Arch, build, load
from tests.mutants.network import Network
from tests.mutants.operators import OPERATORS, Mutant, mutants, narrow

ODD = (3, 159, 127)  # odd down to the last pool


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "vgg11_bn", "plain18"])
@pytest.mark.parametrize("renamed", [False, True])
def test_the_unmutated_network_is_the_arch(name: str, renamed: bool) -> None:
    """Same names, shapes and outputs as the model that rv_check builds; the order of parameters too, when renamed."""
    arch = narrow(name)
    network = Network.of(arch)
    assert [(step.name, network.shapes[step.name]) for step in network.steps] == [(r.name, r.y) for r in arch.rows()]
    model, other = build(arch).eval(), network.module(renamed).eval()
    assert list(model.state_dict()) == list(other.state_dict()) or renamed
    assert renamed == set(model.state_dict()).isdisjoint(other.state_dict())
    values = model.state_dict().values()
    other.load_state_dict(dict(zip(other.state_dict(), values, strict=True)))
    x = torch.randn(2, *ODD)
    assert torch.equal(other(x), model(x))


def test_every_operator_finds_a_place() -> None:
    """It finds one in a residual network, a deep one or one with dropout."""
    found = Counter(m.operator for name in ("resnet18", "resnet50", "vgg11_bn") for m in mutants(narrow(name)))
    assert found.keys() == OPERATORS.keys()


def test_what_does_not_fit_is_counted() -> None:
    """A mutant that cannot run is skipped, and the number of such is told."""
    skipped: Counter[str] = Counter()
    run = Counter(m.operator for m in mutants(narrow("resnet18"), skipped))
    assert skipped["width_changed"] > 0
    assert run["width_changed"] > 0


def test_a_place_is_the_step_and_its_neighbours() -> None:
    """What an honest report may name."""
    found = [m for m in mutants(narrow("resnet18")) if m.operator == "activation_removed"]
    assert [m.place for m in found][:2] == ["2: removed", "layer1.1.2: removed"]
    assert found[0].steps == {"bn1", "2", "maxpool"}


SMALL = load("resnet18(width=8, classes=10)", "3 64 64")
PARTS = 40
DECLARED = load("vgg11_bn(width=2, classes=10)")  # its pool to 7x7 makes the declared input special


@cache
def all_mutants(arch: Arch) -> tuple[Mutant, ...]:
    """Every mutant of an arch."""
    return tuple(mutants(arch))


def part_of(mutant: Mutant) -> int:
    """Its part: the default run makes one of them, the sweep the others."""
    return crc32(f"{mutant.operator} {mutant.place}".encode()) % PARTS


SOME = [
    pytest.param(arch, range(first, last), id=f"{name}-{what}", marks=marks)
    for arch, name in ((SMALL, "resnet18"), (DECLARED, "vgg11_bn"))
    for what, first, last, marks in (("some", 0, 1, ()), ("others", 1, PARTS, pytest.mark.sweep))
]


@pytest.mark.parametrize(("arch", "wanted"), SOME)
def test_every_mutant_is_another_network(arch: Arch, wanted: range) -> None:
    """At the declared input or, where it says so, at another one only."""
    network = Network.of(arch)
    same = []
    for mutant in all_mutants(arch):
        if part_of(mutant) not in wanted:
            continue
        if mutant.only_at_declared_input:
            assert difference(network, mutant.network, network.input) == "", mutant.place
            if not difference(network, mutant.network, ODD):
                same.append((mutant.operator, mutant.place))
        elif not mutant.equivalent and not difference(network, mutant.network, network.input):
            same.append((mutant.operator, mutant.place))
    assert same == []


@pytest.mark.parametrize(("arch", "wanted"), SOME)
def test_every_equivalent_mutant_is_the_same_network(arch: Arch, wanted: range) -> None:
    """It is the same in outputs, gradients and running statistics, in eval and in training, at an odd size."""
    network = Network.of(arch)
    for mutant in all_mutants(arch):
        if mutant.equivalent and part_of(mutant) in wanted:
            assert difference(network, mutant.network, ODD) == "", (mutant.operator, mutant.place)


def difference(network: Network, mutated: Network, size: tuple[int, ...]) -> str:
    """What differs first between two networks that have equal values in equal places, or nothing."""
    module = mutated.module()
    if original(network)[1] != parameters(module):
        return "parameters"
    fill(module)
    for training in (False, True):
        expected = of_original(network, size, training)
        try:
            found = observed(module, size, training)
        except RuntimeError as error:
            return f"raises {error}"
        noise = 1e-9 * max(float(value.abs().max()) for value in expected.values() if value.numel())
        for what, value in expected.items():
            if value.shape != found[what].shape or not torch.allclose(value, found[what], rtol=1e-7, atol=noise):
                return what
    return ""


def parameters(module: nn.Module) -> Counter[tuple[object, ...]]:
    """The parameters and buffers that torch knows of: name within the layer, shape, in how many places it stands."""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    places = Counter(id(value) for _, value in named)
    return Counter((name.rpartition(".")[2], tuple(value.shape), places[id(value)]) for name, value in named)


def fill(module: nn.Module) -> None:
    """Give every parameter and buffer generic values in float64 that depend on its name alone."""
    module.double()
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            random = torch.Generator().manual_seed(crc32(name.encode()))
            if value.dim() > 1:
                value.normal_(0, (4 / value[0].numel()) ** 0.5, generator=random)
            elif name.endswith(("weight", "running_var")):
                value.uniform_(0.5, 4, generator=random)
            else:
                value.normal_(generator=random)


@cache
def original(network: Network) -> tuple[nn.Module, Counter[tuple[object, ...]]]:
    """The filled module that mutants are compared with, and its parameters."""
    module = network.module()
    fill(module)
    return module, parameters(module)


@cache
def of_original(network: Network, size: tuple[int, ...], training: bool) -> dict[str, Tensor]:
    """What is observed of it."""
    return observed(deepcopy(original(network)[0]), size, training)


def observed(module: nn.Module, size: tuple[int, ...], training: bool) -> dict[str, Tensor]:
    """Outputs; in training also the gradients of all parameters and of the input, and the statistics after it."""
    x = torch.randn(2 if size == ODD else 1, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    module.train(training)
    if not training:
        with torch.no_grad():
            return {"output": module(x)}
    torch.manual_seed(2)
    x.requires_grad_()
    y = module(x * 1)  # an op in place cannot write into a leaf
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    found = {"train output": y.detach(), "input gradient": torch.zeros(0) if x.grad is None else x.grad}
    for name, value in module.named_parameters():
        found[f"gradient of {name}"] = torch.zeros(0) if value.grad is None else value.grad
    return found | {name: value.clone() for name, value in module.named_buffers()}
