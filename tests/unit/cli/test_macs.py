"""`rv-check macs`: what it prints, and what it says to a wrong question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rv_check.archs.load import archs
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
    assert len(rows) == len(archs())
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
        (["counted.py:Odd", "--roofline", "1", "1"], "no rule counts the operation '_fft_c2c'"),
        (["counted.py:Odd", "--ignore", "fft_c2c"], "did you mean: _fft_c2c"),
        (["counted.py:Odd", "--ignore", "abs"], "'abs' has a rule here already"),
        (["counted.py:Odd", "--memory", "--ignore", "fft"], "there is no operation 'fft'"),
        (["counted.py:Odd", "--rule", "_fft_c2c"], "expected: OP = EXPRESSION"),
        (["counted.py:Odd", "--rule", "= 1"], "expected: OP = EXPRESSION"),
        (["counted.py:Odd", "--rule", "_fft_c2c = 1", "--rule", "_fft_c2c = 2"], "given twice for '_fft_c2c'"),
        (
            ["counted.py:Odd", "--rule", "_fft_c2c = 1 +"],
            "rule of _fft_c2c: '1 +' is not an expression\n  1 +\n     ^",
        ),
        (["counted.py:Odd", "--rule", "_fft_c2c = y[4]"], "y has 4 entries, and none at index 4\n  y[4]\n    ^"),
        (["resnet50", "--ignore", "conv"], "'conv' has a rule here already"),
        (["--compare", "--ignore", "conv"], "--compare alone for all archs"),
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


# What is not counted

OWN = "tests.unit.own_operators:Mixing"
KINDS = ("rv_check_test_own::mix", "rv_check_test_own::twice")
LEAST = 4 * 36 * 27 + 12  # 4 maps of 6x6 by 3x3x3, and 6 to 2
RULES = ("--rule", f"{KINDS[0]} = y[1] * y[2] * y[3] * weight[1]", "--ignore", KINDS[1])


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int) -> str:
    """What a command prints of a network with operators of somebody's own."""
    assert main(["macs", OWN, "--input", "3 8 8", *arguments]) == status
    found = capsys.readouterr()
    assert found.err == ""
    return found.out


def test_a_part_of_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    """It says that it is the least, and lists what is not counted: its kind, line, shapes, and how often; status 1."""
    text = told(capsys, status=1)
    assert f"Mixing: at least {LEAST:,} multiply-adds for one image" in text
    assert "a training step: at least" in text
    assert "total" not in text
    rows = {tuple(line.split()) for line in text.partition("not counted:")[2].splitlines()}
    places = {row[1].rpartition(":")[0] for row in rows if row and row[0] in KINDS}
    assert places == {"tests/unit/own_operators.py"}
    assert {(row[0], *row[2:]) for row in rows if row and row[0] in KINDS} == {
        (KINDS[0], "1x4x6x6", "1x6x6x6", "1"),
        (KINDS[1], "1x6x6x6", "1x6x6x6", "2"),
    }


def test_a_part_is_whole_by_what_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """One of the two kinds alone is not enough; with both it is a total, and says by what; status 0."""
    assert f"at least {LEAST + 6 * 36 * 4:,}" in told(capsys, *RULES[:2], status=1)
    text = told(capsys, *RULES, status=0)
    assert lines(text)["total"][0] == f"{LEAST + 6 * 36 * 4:,}"
    assert "at least" not in text
    assert f"own rules: {KINDS[0]} x 1, by y[1] * y[2] * y[3] * weight[1]" in text
    assert f"ignored: {KINDS[1]} x 2" in text


@pytest.mark.parametrize("how", [["--compare"], ["--convention", "thop"]])
def test_counters_say_what_they_leave_out(how: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What no rule counts is in no counter's total either, nor is what a rule of one's own does."""
    text = told(capsys, *how, status=1)
    assert f"left out of what counters count: {', '.join(KINDS)}\n" in text
    assert "not counted:\n" in text
    text = told(capsys, *how, *RULES, status=0)
    assert f"left out of what counters count: {', '.join(KINDS)}\n" in text
    assert "not counted:\n" not in text
    assert "left out" not in out(capsys, "resnet18", *how)


def test_compare_holds_no_counter_to_what_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    """MACs of one's own rule are not among those of a counter."""
    text = told(capsys, "--compare", *RULES, status=0)
    assert "what they make of mean\n" in text
    (line,) = [one for one in text.splitlines() if one.startswith("thop ")]
    assert line.split()[2:] == [f"{LEAST:,}", f"{LEAST:,}", "of", "the", "MACs"]


def test_a_part_of_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes are the least, too, and whole where what is not known keeps nothing; a rule says nothing of them."""
    text = told(capsys, "--memory", status=1)
    assert lines(text)["activations"][3:5] == ["at", "least"]
    assert f"{KINDS[0]}  " in text.partition("not counted:")[2]
    assert f"{KINDS[0]}  " in told(capsys, "--memory", *RULES, status=1).partition("not counted:")[2]
    text = told(capsys, "--memory", "--ignore", KINDS[0], "--ignore", KINDS[1], status=0)
    assert "least" not in lines(text)["activations"]
    assert f"ignored: {KINDS[0]} x 1, {KINDS[1]} x 2" in text


def test_json_says_whether_it_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Of multiply-adds and of bytes each, with what is not counted, as the text has it."""
    found = json.loads(told(capsys, "--json", "--memory", "--rule", RULES[1], status=1))
    assert (found["whole"], found["macs"]) == (False, LEAST + 6 * 36 * 4)
    assert found["rules"] == {KINDS[0]: "y[1] * y[2] * y[3] * weight[1]"}
    (one,) = found["uncounted"]
    assert one.pop("place").startswith("tests/unit/own_operators.py:")
    assert one == {"op": KINDS[1], "name": "", "in": [[1, 6, 6, 6]], "out": [1, 6, 6, 6], "count": 2}
    assert KINDS[1] not in [operation["op"] for operation in found["operations"]]
    kept = found["memory"]
    assert (kept["whole"], kept["ignored"], [one["op"] for one in kept["uncounted"]]) == (False, {}, list(KINDS))
    found = json.loads(told(capsys, "--json", *RULES, status=0))
    assert (found["whole"], found["uncounted"], found["ignored"]) == (True, [], {KINDS[1]: 2})


def test_the_roofline_needs_all(capsys: pytest.CaptureFixture[str]) -> None:
    """The least time is of every operation, by the rules that are told."""
    assert main(["macs", OWN, "--input", "3 8 8", "--roofline", "1e12", "1e11"]) == 2
    assert f"no rule counts the operation '{KINDS[0]}'" in capsys.readouterr().err
    text = told(capsys, "--roofline", "1e12", "1e11", *RULES, status=0)
    (line,) = [line for line in text.splitlines() if KINDS[0] in line]
    assert "864" in line.split()
