"""`rv-check macs`: what it prints, and what it says to a wrong question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rv_check.cli.main import main
from rv_check.costs.conventions import conventions

NET = """
import torch
from torch import nn
from torch.nn import functional as F

class Net(nn.Module):
    def __init__(self, out=5):
        super().__init__()
        print("made")
        self.a, self.fc = nn.Conv2d(3, 4, 3, bias=False), nn.Linear(4, out)

    def forward(self, x):
        return self.fc(F.relu(self.a(x)).mean((2, 3)))

class Odd(nn.Module):
    def forward(self, x):
        return torch.fft.fft2(x).abs()

class Summing(Net):
    def forward(self, x):
        return self.a(x).cumsum(1)

class Narrow(Net):
    def forward(self, x):
        return super().forward(x[:, :2])
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of a user's."""
    (tmp_path / "counted.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    return "counted.py"


def out(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What a command prints."""
    assert main(["macs", *arguments]) == status
    found = capsys.readouterr()
    return found.out if status == 0 else found.err


def lines(text: str) -> dict[str, list[str]]:
    """The lines of a table by their first word."""
    return {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}


def test_by_stage(capsys: pytest.CaptureFixture[str]) -> None:
    """The stages of the paper, the total, and the backward pass."""
    found = lines(out(capsys, "resnet50"))
    assert found["layer4"][0] == "809,238,528"
    assert found["total"] == ["4,089,184,256", "8,060,354,560"]


def test_by_op_and_module(capsys: pytest.CaptureFixture[str]) -> None:
    """The rows go by kind of operation, and by module."""
    found = lines(out(capsys, "resnet50", "--by", "op"))
    assert (found["conv"][0], found["linear"][0]) == ("4,087,136,256", "2,048,000")
    assert lines(out(capsys, "resnet50", "--by", "module"))["layer1.0.conv2"][0] == "115,605,504"


def test_compare(capsys: pytest.CaptureFixture[str]) -> None:
    """Every counter, and why it prints what it prints."""
    text = out(capsys, "resnet50", "--compare")
    (line,) = [line for line in text.splitlines() if line.startswith("fvcore ")]
    assert line.endswith("MACs + 2 x batchnorm out (11,113,984) + adaptive_avgpool in (100,352)")
    assert "4,111,512,576" in line
    for name in conventions():
        assert f"\n{name} " in text


def test_compare_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Every shipped arch as every counter counts it, in one table."""
    header, _, *rows = out(capsys, "--compare").splitlines()
    assert header.split() == ["arch", *conventions()]
    (row,) = [row.split() for row in rows if row.startswith("resnet50 ")]
    assert row[header.split().index("thop")] == "4,133,742,592"
    assert len(rows) == 23
    assert json.loads(out(capsys, "--compare", "--json"))["totals"]["resnet50"]["thop"] == 4_133_742_592


def test_one_convention(capsys: pytest.CaptureFixture[str]) -> None:
    """One counter's total, by op."""
    found = lines(out(capsys, "resnet50", "--convention", "fvcore", "--by", "op"))
    assert (found["batchnorm"], found["total"]) == (["22,227,968"], ["4,111,512,576"])


def test_a_module(capsys: pytest.CaptureFixture[str], net: str) -> None:
    """Observed as it runs; what it prints is not ours to pass on."""
    found = lines(out(capsys, f"{net}:Net", "--input", "3 10 10", "--kwargs", '{"out": 7}'))
    assert found["total"][0] == f"{4 * 64 * 27 + 28:,}"
    assert "made" not in found


def test_memory_and_roofline(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes at a batch, and the least time on a device."""
    text = out(capsys, "resnet18", "--memory", "--batch", "2")
    assert "activations kept for backward                        44,398,080" in text
    text = out(capsys, "resnet18", "--roofline", "1e12", "1e11")
    assert "no less than" in text
    assert "bound by" in text


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """All of it."""
    found = json.loads(out(capsys, "resnet18", "--json"))
    assert found["schema"] == "rv-check/macs/1"
    assert (found["macs"], found["params"]) == (1_814_073_344, 11_689_512)
    assert sum(one["macs"] for one in found["operations"]) == found["macs"]
    totals = {one["name"]: one["total"] for one in found["conventions"]}
    assert totals["torch"] == 2 * found["macs"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet50", "--convention", "fvcor"], "unknown convention 'fvcor'"),
        ([], "takes an arch or a module"),
        (["resnet5"], "unknown arch 'resnet5'"),
        (["specs/resnet.yaml:resnet50"], "expected: specs/resnet.yaml::ARCH, with two colons"),
        (["--compare", "--input", "3 64 64"], "--compare alone for all archs"),
        (["resnet50", "--dtype", "int8"], "unknown type of numbers 'int8'"),
        (["resnet50", "--memory", "--optimiser", "lion"], "unknown optimiser 'lion'"),
        (["resnet50", "--roofline", "0", "1"], "two numbers above 0"),
        (["resnet50", "--kwargs", "{}"], "--kwargs is for a module"),
        (["counted.py:Odd"], "no rule counts the operation '_fft_c2c'"),
        (["counted.py:Narrow"], "the module does not run at 3 224 224: RuntimeError"),
        (["counted.py:Net", "--input", "3 2 2"], "the module does not run at 3 2 2"),
        (["resnet50", "--input", "3 0 0"], "input"),
    ],
)
def test_a_wrong_question(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], net: str) -> None:
    """Exit status 2, and what was wrong."""
    assert message in out(capsys, *arguments, status=2)


@pytest.mark.parametrize("arguments", [["--batch", "0"], ["--compare", "--memory"], ["--by", "layer"]])
def test_options_that_do_not_fit(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Such options end as everywhere: with what is wrong, and exit status 2."""
    with pytest.raises(SystemExit, match="2"):
        main(["macs", "resnet50", *arguments])
    assert "rv-check macs: error: argument " in capsys.readouterr().err


def test_json_asks_for_bytes_only_where_told(capsys: pytest.CaptureFixture[str], net: str) -> None:
    """Bytes are of a batch and a type, and are there where they are asked for."""
    assert "memory" not in json.loads(out(capsys, f"{net}:Summing", "--input", "3 8 8", "--json"))
    assert "memory" in json.loads(out(capsys, f"{net}:Summing", "--input", "3 8 8", "--memory", "--json"))
    one, two = (
        json.loads(out(capsys, "resnet18", "--memory", "--json", "--batch", batch))["memory"]["activations"]
        for batch in ("1", "2")
    )
    assert 2 * one - two == 8 * 4800  # the mean and deviation of 4,800 channels are those of a batch


def test_json_has_the_optimiser_and_its_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """Adam keeps two numbers of four bytes for each of 11,689,512 parameters; its name does not get lost in them."""
    found = json.loads(out(capsys, "resnet18", "--memory", "--json", "--optimiser", "adam"))["memory"]
    assert (found["optimiser_name"], found["optimiser"]) == ("adam", 8 * 11_689_512)
