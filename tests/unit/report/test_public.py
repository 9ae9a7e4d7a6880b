"""`rv_check.macs`, `memory` and `receptive_field`: what the commands print, as values."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

import rv_check
from rv_check import RvCheckError, load
from rv_check.cli.main import main
from tests import ROOT
from tests.unit.measured_memory import measured_for_backward
from tests.unit.own_operators import SPACE, Mixing, Plain

OWN = "tests.unit.own_operators:Plain"
IMAGE = (3, 8, 8)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints."""
    assert main(list(arguments)) in (0, 1)
    return capsys.readouterr().out.rstrip("\n")


def test_torchvisions_resnet50() -> None:
    """torchvision publishes 4.089 billion multiply-adds, and as many parameters, for its weights."""
    meta = torchvision.models.ResNet50_Weights.IMAGENET1K_V2.meta
    with torch.device("meta"):
        found = rv_check.macs(torchvision.models.resnet50())
    assert found.total == 4_089_184_256
    assert round(Decimal(found.total) / 10**9, 3) == Decimal(str(meta["_ops"]))
    assert found.params == meta["num_params"]
    assert found.backward == 2 * found.total - 118_013_952  # all but the gradient of the image, by the first layer
    assert found.by("stage")["fc"] == 2048 * 1000
    assert sum(found.by("module").values()) == sum(found.by("op").values()) == found.total
    assert found.is_whole
    assert found.at_least == found.total


def test_memory_is_what_autograd_keeps() -> None:
    """Of a module, measured; its parameters in bytes, as many again for momentum, and none for SGD."""
    net = Plain()
    found = rv_check.memory(net, IMAGE, batch=2)
    params = sum(parameter.numel() for parameter in net.parameters())
    assert (found.bytes.parameters, found.bytes.optimiser) == (4 * params, 4 * params)
    assert found.bytes.activations == measured_for_backward(Plain().train(), torch.zeros(2, *IMAGE))
    assert rv_check.memory(net, IMAGE, dtype="float16", optimiser="sgd").bytes.gradients == 2 * params
    assert rv_check.memory(net, IMAGE, optimiser="sgd").bytes.optimiser == 0


def test_receptive_fields() -> None:
    """By hand: 3x3, then 5 more pixels by a 3x3 at stride 2 behind a pool; of an arch as He et al.'s network has it."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, stride=2))
    found = rv_check.receptive_field(net, (3, 32, 32), depth=1)
    assert [(line.name, str(line.field)) for line in found.lines] == [("0", "3/1/0"), ("1", "4/2/0"), ("2", "8/4/0")]
    assert [line.name for line in rv_check.receptive_field(net, (3, 32, 32), step="1").lines] == ["1"]
    (line,) = rv_check.receptive_field("resnet50", step="layer4").lines
    assert str(line.field) == str(load("resnet50").receptive_field)


TEXTS: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "macs of an arch": (lambda: rv_check.macs("resnet18"), ["macs", "resnet18"]),
    "macs of a module": (lambda: rv_check.macs(Plain(), IMAGE, name=OWN), ["macs", OWN, "--input", "3 8 8"]),
    "at another input": (lambda: rv_check.macs("resnet18", (3, 64, 64)), ["macs", "resnet18", "--input", "3 64 64"]),
    "a part": (
        lambda: rv_check.macs(Mixing(), IMAGE, ignore=[f"{SPACE}::twice"], name="tests.unit.own_operators:Mixing"),
        ["macs", "tests.unit.own_operators:Mixing", "--input", "3 8 8", "--ignore", f"{SPACE}::twice"],
    ),
    "by rules": (
        lambda: rv_check.macs(Mixing(), IMAGE, rules={f"{SPACE}::mix": "7"}, name="tests.unit.own_operators:Mixing"),
        ["macs", "tests.unit.own_operators:Mixing", "--input", "3 8 8", "--rule", f"{SPACE}::mix = 7"],
    ),
    "memory": (
        lambda: rv_check.memory("resnet18", batch=4, dtype="bfloat16", optimiser="adam"),
        ["macs", "resnet18", "--memory", "--batch", "4", "--dtype", "bfloat16", "--optimiser", "adam"],
    ),
    "fields": (lambda: rv_check.receptive_field("resnet50"), ["receptive-field", "resnet50"]),
    "deep": (
        lambda: rv_check.receptive_field(Plain(), IMAGE, depth=1, name=OWN),
        ["receptive-field", OWN, "--input", "3 8 8", "--depth", "1"],
    ),
    "one": (
        lambda: rv_check.receptive_field(Plain(), IMAGE, step="conv", name=OWN),
        ["receptive-field", OWN, "--input", "3 8 8", "--step", "conv"],
    ),
}


@pytest.mark.parametrize(("ask", "command"), TEXTS.values(), ids=TEXTS)
def test_its_text_is_what_the_command_prints(
    ask: Callable[[], Any], command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """To the letter, once a module is called what it is called there."""
    assert str(ask()) == printed(capsys, *command)


ASK: tuple[Callable[..., Any], ...] = (rv_check.macs, rv_check.memory, rv_check.receptive_field)


@pytest.mark.parametrize("ask", ASK)
def test_a_subject_is_a_module_an_arch_or_a_name(ask: Callable[..., Any]) -> None:
    """An arch is the same by its name; a module is what torch wraps, called by its class, and is not touched."""
    assert str(ask(load("resnet18"))) == str(ask("resnet18"))
    net = Plain().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert str(ask(nn.DataParallel(net), list(IMAGE))) == str(ask(net, IMAGE))
    assert ask(net, IMAGE).name == "Plain"
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((Plain,), "the class Plain is no network(.|\n)*expected: a torch.nn.Module, an Arch, or the name of one"),
        ((5,), "a int is no network"),
        (("resnet5",), "unknown arch 'resnet5'"),
        ((Plain(), "3 x 8"), "input is '3 x 8'(.|\n)*the axes behind the batch, as in"),
        ((Plain(), {3, 8}), "input is {8, 3}(.|\n)*as \\(3, 224, 224\\)"),
        ((Plain(), (3, 0, 8)), "input is \\(3, 0, 8\\)"),
        ((Plain(), ()), "input is \\(\\)"),
        (("resnet18", (3, 64.0, 64)), "input is \\(3, 64.0, 64\\)"),
        ((Plain(), (3, 2, 2)), "does not run .* 3 2 2"),
    ],
)
def test_error_a_wrong_question(ask: Callable[..., Any], given: tuple[Any, ...], words: str) -> None:
    """It says what is wrong with it."""
    with pytest.raises(RvCheckError, match=words):
        ask(*given)


def test_other_wrong_questions() -> None:
    """As the commands say it."""
    with pytest.raises(RvCheckError, match="unknown type of numbers 'int8'"):
        rv_check.memory("resnet18", dtype="int8")
    with pytest.raises(RvCheckError, match="unknown optimiser 'lion'"):
        rv_check.memory("resnet18", optimiser="lion")
    with pytest.raises(RvCheckError, match="batch is 0"):
        rv_check.memory("resnet18", batch=0)
    with pytest.raises(RvCheckError, match=r"(?s)what is ignored is 'conv'.*expected: a list of operations"):
        rv_check.macs("resnet18", ignore="conv")
    not_a_text: Any = {f"{SPACE}::mix": 5}
    with pytest.raises(RvCheckError, match=r"the rule of .*::mix is a int"):
        rv_check.macs(Mixing(), IMAGE, rules=not_a_text)
    with pytest.raises(RvCheckError, match="there is no step 'conv9'"):
        rv_check.receptive_field(Plain(), IMAGE, step="conv9")


def test_an_arch_needs_no_torch() -> None:
    """Where it is not installed, an arch is counted all the same, and a module is what cannot be."""
    code = (
        "import sys; sys.modules['torch'] = None; import rv_check;"
        "print(rv_check.macs('resnet18').total, rv_check.memory('resnet18').bytes.parameters,"
        "rv_check.receptive_field('resnet18').lines[-1].field)\n"
        "try: rv_check.macs(object())\nexcept rv_check.RvCheckError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    numbers, words = done.stdout.splitlines()
    assert numbers == "1814073344 46758048 435/32/217"
    assert "torch cannot be imported" in words
