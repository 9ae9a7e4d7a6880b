"""The command line: what it prints, its exit statuses, and that a wrong question is told and loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from rv_check.archs.load import all_archs
from rv_check.cli import jobs
from rv_check.cli.bar import Bar
from rv_check.cli.main import main
from tests import ROOT
from tests.unit.tiny import World, broken_block

Captured = pytest.CaptureFixture[str]


def ask(capsys: Captured, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of one command."""
    try:
        status = main(arguments)
    except SystemExit as stopped:  # argparse
        status = int(stopped.code or 0)
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture(autouse=True)
def buffered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes write as they do for a user: what stands in the buffer at the end is written then."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)


@pytest.fixture
def net(world: World) -> str:
    """The small network's name."""
    return f"{world.write()}::net"


# What the commands print.


def test_list(capsys: Captured) -> None:
    """Families with their archs and blocks, each with its arguments."""
    status, out, err = ask(capsys, "list")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert "  resnet50" in lines
    assert "  vgg16_bn" in lines
    assert any(line.startswith("resnet(block, depths, classes, width)") for line in lines)
    assert any(line.startswith("  bottleneck(width, stride, groups, width_per_group)  He et al.") for line in lines)


def test_show(capsys: Captured, net: str) -> None:
    """A line a layer, then the totals."""
    status, out, err = ask(capsys, "show", net)
    assert (status, err) == (0, "")
    assert "layer1.downsample.0  conv(out=8, kernel=1, bias=False, stride=2)" in out
    assert "params            1,150" in out
    assert "receptive field   17/4/8" in out


def test_show_at_another_input(capsys: Captured, net: str) -> None:
    """The lines that hold at the declared input only are said not to be checked."""
    status, out, _ = ask(capsys, "show", net, "--input", "3 64 64", "--depth", "1")
    assert status == 0
    assert "basic(width=8, stride=2)" in out
    assert "layer1.conv1" not in out
    assert "1 shape: lines hold at input 3 32 32 and were not checked" in out


def test_check_a_spec(capsys: Captured, net: str) -> None:
    """A line for each finding, as it comes, then the verdict."""
    status, out, err = ask(capsys, "check", net)
    assert (status, err) == (0, "")
    *lines, verdict = out.splitlines()
    assert lines[0] == "net::shapes passed: 16 layers fit at 3 32 32"
    assert all(line.startswith("net::") and " passed: " in line for line in lines)
    checks = [line.partition("::")[2].partition(" ")[0] for line in lines]
    assert list(dict.fromkeys(checks))[-9:] == [
        *("structure", "trainable", "state_dict", "init", "logits", "eval", "train", "counters", "field")
    ]
    assert verdict == f"net against torchvision.models.net: holds ({len(lines)} passed)"


def test_check_up_to_a_level(capsys: Captured, net: str) -> None:
    """The level and the cheaper ones alone are checked."""
    _, out, _ = ask(capsys, "check", net, "--level", "spec")
    assert out.splitlines()[-1] == "net against its own spec: holds (9 passed)"
    _, out, _ = ask(capsys, "check", net, "--level", "structure")
    assert "net::structure passed: the same graph of 17 operations" in out
    assert "net::eval" not in out
    assert out.splitlines()[-1] == "net against torchvision.models.net: holds (11 passed)"


def test_a_spec_that_does_not_hold(capsys: Captured, world: World) -> None:
    """Status 1; the finding has its place, both values, and the source of the number."""
    path = world.write(("params: 1_150", "params: 1_151"))
    status, out, err = ask(capsys, "check", f"{path}::net", "--level", "spec")
    assert (status, err) == (1, "")
    expected = f"""\
{path}:33:17: net::params failed: params 1_151 is wrong
          - params: 1_151
                    ^
    found:    1,150
    expected: 1_151
    source:   worked by hand
"""
    assert expected in out
    assert out.splitlines()[-1] == "net against its own spec: does not hold (8 passed, 1 failed)"


def test_a_network_that_is_not_its_reference(capsys: Captured, world: World, net: str) -> None:
    """Status 1; the finding names the first module that differs, what was found and what was expected."""
    world.reference = broken_block(eps=1e-3)
    status, out, _ = ask(capsys, "check", net)
    assert status == 1
    assert "basic.yaml:10:11: net::structure failed: batchnorm with eps 0.001, expected eps 1e-05" in out
    assert "net::eval failed: eval mode at 3 32 32, float64: output of layer1.bn1 differs by" in out


def test_check_json(capsys: Captured, world: World) -> None:
    """One object and nothing else; every key is there, whatever the outcome."""
    for change, passed in ((("depth: 4", "depth: 4"), True), (("depth: 4", "depth: 5"), False)):
        path = world.write(change)
        status, out, err = ask(capsys, "check", f"{path}::net", "--json")
        found = json.loads(out)
        assert (status, err) == (int(not passed), "")
        assert list(found) == [
            *("schema", "subject", "against", "passed", "level", "findings", "map", "totals", "notes")
        ]
        assert found["schema"] == "rv-check/check/1"
        assert found["passed"] == passed
        assert found["level"] == ("numbers" if passed else None)
        assert len({tuple(finding) for finding in found["findings"]}) == 1
        depth = next(finding for finding in found["findings"] if finding["check"] == "depth")
        assert depth["file"] == str(path)
        assert depth["line"] == 37


# A module against a spec.

MODULE = """\
from __future__ import annotations
import sys
sys.path.insert(0, {root!r})
from dataclasses import dataclass
from tests.unit.tiny import Net, broken, broken_block
import beside

print("loading")
Broken = broken_block(eps=1e-3)
made = Net()
number = 3

def make():
    print("making")
    return Net()

def make_text():
    return "net"

def make_with(classes):
    return Net(classes)

def raising():
    return beside.fail()

def thin(width=4, *, classes=10, **more):
    return Net(classes)

class Head(Net):
    def __init__(self, classes=10, size=0):
        super().__init__(classes)

class Trunk(Net):
    def __init__(self):
        super().__init__()
        del self.fc

    def forward(self, x):
        return self.features(x)

def same():
    return Net()

def slow():
    return broken(momentum=0.01)()

def wrong():
    return Wrong()

class Wrong(Broken):
    def __init__(self):
        super().__init__(11)

class Training(Net):
    def forward(self, x):
        if self.training:
            raise KeyError("labels")
        return super().forward(x)

class Loud(Net):
    def forward(self, x):
        print("running")
        return super().forward(x)

class Exploding(Net):
    def features(self, x):
        raise ValueError("boom")

class Exploding2(Net):
    def features(self, x):
        y = super().features(x) * 2
        return y

class Many(Net):
    def forward(self, x):
        return {{"logits": super().forward(x)}}

class Other(Net):
    def __init__(self):
        super().__init__()
        self.head = self.fc
        del self.fc

    def forward(self, x):
        return self.head(self.drop(self.avgpool(self.features(x)).flatten(1)))

@dataclass
class Config:
    classes: int
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's file, with another file of theirs beside it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "beside", raising=False)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "beside.py").write_text("def fail():\n    raise KeyError('weights')\n")
    path = folder / "mynet.py"
    path.write_text(MODULE.format(root=str(ROOT)))
    return path


HELD = """\
{name} is net

  params, MACs  same     1,150 / 0.000 GMACs
  structure     passed   the same graph of 17 operations at 3 32 32, 3 31 31, 3 25 25, 3 128 128, in eval and train mode
  numbers       passed   {checks}: bit for bit
"""


@pytest.mark.parametrize("name", ["Net", "made", "make", "Loud", "Many", "Other"])
def test_a_module_that_holds(name: str, capsys: Captured, module: Path, net: str) -> None:
    """A class, a module and a factory; what they print is not on stdout; the answer comes first."""
    status, out, err = ask(capsys, "check", f"{module}:{name}", "--as", net)
    assert status == 0, out + err
    assert out == HELD.format(name=f"{module}:{name}", checks="logits, eval, train")
    assert "loading" in err.splitlines()


def test_check_is_what_a_module_alone_asks_for(capsys: Captured, module: Path, net: str) -> None:
    """`rv-check MODEL` is `rv-check check MODEL`, with the same options."""
    for name, status in (("Net", 0), ("Broken", 1)):
        asked = [ask(capsys, *command, f"{module}:{name}", "--as", net) for command in ([], ["check"])]
        assert asked[0] == asked[1]
        assert asked[0][0] == status


def test_a_module_is_identified(capsys: Captured, tmp_path: Path) -> None:
    """Without an arch the answer says which it is, with status 0; or which is nearest and how near, with status 1."""
    path = tmp_path / "mine.py"
    text = "from rv_check import build\ndef net(): return build({!r})\n"
    path.write_text(text.format("resnet18(width=8, classes=7)"))
    status, out, _ = ask(capsys, f"{path}:net")
    assert status == 0, out
    lines = out.splitlines()
    assert lines[0] == f"{path}:net is resnet18(classes=7, width=8)"
    assert "  inferred: resnet18(classes=7, width=8), classes, width as in the module" in lines
    path.write_text(text.format("resnet18(width=8, depths=[2, 2, 2, 1])"))
    status, out, _ = ask(capsys, f"{path}:net", "--level", "structure")
    assert status == 1
    assert out.startswith(f"{path}:net is not resnet18(width=8): ")
    nearest = f"none of {len(all_archs())} archs; the nearest is resnet18(width=8), width as in the module, at 89 %"
    assert f"  inferred: {nearest}" in out.splitlines()


@pytest.mark.parametrize("only", [(), ("--only", "layer1"), ("--map",)])
def test_what_is_near_to_none(only: tuple[str, ...], capsys: Captured, tmp_path: Path) -> None:
    """It is said to be none, in one line, with status 1: it is held against nothing."""
    path = tmp_path / "mine.py"
    path.write_text("from torch import nn\ndef net(): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))\n")
    status, out, _ = ask(capsys, f"{path}:net", *only)
    assert status == 1
    words = "30,730 parameters in 1 layer, looks like a perceptron"
    assert out.splitlines()[0] == f"{path}:net is none of the archs I know: {words}"
    status, out, _ = ask(capsys, f"{path}:net", "--json", *only)
    assert (status, json.loads(out)["against"]) == (1, None)


def test_what_it_is_instead(capsys: Captured, tmp_path: Path) -> None:
    """A module that is another arch than asked is told how to ask."""
    path = tmp_path / "mine.py"
    path.write_text("from rv_check import build\ndef net(): return build('resnet34(width=8)')\n")
    status, out, _ = ask(capsys, f"{path}:net", "--as", "resnet18(width=8)", "--level", "structure")
    assert status == 1
    assert "  this is resnet34(width=8): rv-check check ... --as 'resnet34(width=8)'" in out.splitlines()


def test_arguments_of_a_module(capsys: Captured, module: Path, net: str) -> None:
    """`--kwargs` is JSON, given to a class or a factory by name."""
    wide = net.replace("::net", "::net(classes=3)")
    assert ask(capsys, f"{module}:Head", "--as", wide)[0] == 1
    assert ask(capsys, f"{module}:Head", "--as", wide, "--kwargs", '{"classes": 3, "size": 2}')[0] == 0
    assert ask(capsys, f"{module}:thin", "--as", wide, "--kwargs", '{"classes": 3, "any": [1, null]}')[0] == 0
    assert ask(capsys, f"{module}:make_with", "--as", net, "--kwargs", '{"classes": 10}')[0] == 0


def test_until_a_step(capsys: Captured, module: Path, net: str) -> None:
    """A backbone is told where it ends, and is the arch up to there."""
    status, out, _ = ask(capsys, f"{module}:Trunk", "--as", net)
    assert status == 1
    assert out.startswith(f"{module}:Trunk is net up to layer1\n")
    assert "check it with --until layer1" in out
    status, out, _ = ask(capsys, f"{module}:Trunk", "--as", net, "--until", "layer1")
    assert status == 0, out
    assert "params, MACs  same     1,060 /" in out


def test_only_a_step(capsys: Captured, module: Path, net: str) -> None:
    """The differences at one step; the rest is not told. The command to ask so is in the answer."""
    status, out, _ = ask(capsys, f"{module}:Wrong", "--as", net)
    assert (status, out.splitlines()[0]) == (1, f"{module}:Wrong is not net: 2 differences")
    assert f"again: rv-check check {module}:Wrong --as {net} --only layer1.bn1" in out
    status, out, _ = ask(capsys, f"{module}:Wrong", "--as", net, "--only", "fc")
    assert (status, out.splitlines()[0]) == (1, f"{module}:Wrong is not net at fc: 1 difference")
    assert "linear with out 11, expected out 10" in out
    assert "eps" not in out
    status, out, _ = ask(capsys, f"{module}:Wrong", "--as", net, "--only", "maxpool")
    assert "no difference at maxpool; there are others elsewhere" in out


def test_map(capsys: Captured, module: Path, net: str, tmp_path: Path) -> None:
    """Parameters and buffers by the spec's names, printed or as JSON; none where the structure differs."""
    path = tmp_path / "map.json"
    status, out, _ = ask(capsys, f"{module}:Other", "--as", net, "--map", "--save-map", str(path))
    assert status == 0
    assert ["fc.weight", "head.weight"] in [line.split() for line in out.splitlines()]
    saved = json.loads(path.read_text())
    assert list(saved) == ["schema", "subject", "against", "map"]
    assert (saved["schema"], saved["subject"], saved["against"]) == ("rv-check/map/1", f"{module}:Other", "net")
    assert len(saved["map"]) == 26
    assert saved["map"]["fc.bias"] == "head.bias"
    path.unlink()
    status, out, err = ask(capsys, f"{module}:Broken", "--as", net, "--map", "--save-map", str(path))
    assert status == 1
    assert "there is no map, since the structure differs" in out
    assert "there is no map to save, since the structure differs" in err
    assert not path.exists()


def test_a_module_of_a_package(capsys: Captured, module: Path, net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`package.module:Name` is looked up from the current folder."""
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    (module.parent / "package").mkdir()
    (module.parent / "package" / "__init__.py").write_text("")
    (module.parent / "package" / "nets.py").write_text("from mynet import Net\n")
    monkeypatch.chdir(module.parent)
    assert ask(capsys, "check", "package.nets:Net", "--as", net)[0] == 0


def test_a_module_that_does_not_hold(capsys: Captured, module: Path, net: str) -> None:
    """Status 1, with the step, both places and the hint; what could not be compared is one line."""
    status, out, _ = ask(capsys, "check", f"{module}:Broken", "--as", net)
    assert status == 1
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == f"{module}:Broken is not net: 1 difference"
    assert "structure failed 1 difference" in lines
    assert "numbers blocked by the structure: see net::structure" in lines
    assert "batchnorm with eps 0.001, expected eps 1e-05 layer1.bn1" in lines
    assert any(line.startswith("yours tests/unit/tiny.py:") for line in lines) or "tiny.py:" in out
    assert "usually: another library's default: Keras and TensorFlow have 1e-3" in lines


def test_a_module_that_is_wrong_in_training_only(capsys: Captured, module: Path, net: str) -> None:
    """The numbers of eval mode are compared; those of train mode are blocked."""
    status, out, _ = ask(capsys, f"{module}:slow", "--as", net, "--json")
    assert status == 1
    became = {finding["check"]: finding["status"] for finding in json.loads(out)["findings"]}
    assert became == {
        **dict.fromkeys(("trainable", "state_dict", "init", "logits", "eval"), "passed"),
        **{"structure": "failed", "train": "blocked"},
    }


def test_another_start_of_a_new_module(capsys: Captured, module: Path, net: str, tmp_path: Path) -> None:
    """What was built for the check is held against the spec's `init:`; a module that was there is not asked."""
    other = tmp_path / "other.yaml"
    other.write_text(
        Path(net.partition("::")[0]).read_text().replace("constant(weight=1, bias=0)", "constant(weight=0, bias=0)")
    )
    status, out, _ = ask(capsys, f"{module}:Net", "--as", f"{other}::net")
    assert status == 1
    assert out.splitlines()[0] == f"{module}:Net is net, with another initialisation"
    assert "init: weight of batchnorm starts otherwise, x4: first bn1" in out
    assert ask(capsys, f"{module}:made", "--as", f"{other}::net")[0] == 0


def test_a_module_as_json(capsys: Captured, module: Path, net: str) -> None:
    """The object alone is on stdout, also where the module prints."""
    status, out, err = ask(capsys, "check", f"{module}:Loud", "--as", net, "--json")
    assert status == 0
    assert json.loads(out)["against"] == "net"
    assert "running" in err


def test_a_known_deviation_of_a_module(capsys: Captured, module: Path, net: str, tmp_path: Path) -> None:
    """What is known to fail does not fail; what else fails does."""
    known = tmp_path / "known.yaml"
    entry = "  - check: net::{}\n    reason: our norms have another eps\n"
    known.write_text("deviations:\n" + "".join(map(entry.format, ("s*", "init", "logits", "eval", "train"))))
    status, out, _ = ask(capsys, "check", f"{module}:Broken", "--as", net, "--deviations", str(known))
    assert status == 0, out
    assert "known deviation: our norms have another eps" in out
    assert out.splitlines()[0] == f"{module}:Broken is net, known deviations apart"
    status, out, _ = ask(capsys, "check", f"{module}:Net", "--as", net, "--deviations", str(known))
    assert status == 1
    assert "does not occur any more: take it out" in out


# Two networks.


DIFFS: list[tuple[str, Callable[[Path, str], list[str]], int, list[str]]] = [
    ("an arch and itself", lambda m, n: [n, n], 0, ["net is net", "the same graph at 3 32 32, in eval and train mode"]),
    (
        "two archs",
        lambda m, n: ["resnet50", "resnet50_v1"],
        1,
        ["resnet50_v1 is not resnet50: 1 difference", "stride 2 on layer2.0.conv1, expected on layer2.0.conv2, x3"],
    ),
    ("other arguments", lambda m, n: [n, n + "(classes=3)"], 1, ["linear with out 3, expected out 10"]),
    ("an arch and a module", lambda m, n: [n, f"{m}:Net"], 0, ["mynet.py:Net is net"]),
    ("a module and an arch", lambda m, n: [f"{m}:Net", n], 0, ["mynet.py:Net is net"]),
    ("an arch and another", lambda m, n: [n, f"{m}:Broken"], 1, ["mynet.py:Broken is not net", "expected eps 1e-05"]),
    ("two modules", lambda m, n: [f"{m}:Net", f"{m}:Other", "--input", "3 32 32"], 0, ["Other is ", "mynet.py:Net"]),
    (
        "two that differ",
        lambda m, n: [f"{m}:Net", f"{m}:Broken", "--input", "3 32 32"],
        1,
        ["mynet.py:Broken is not ", "batchnorm with eps 0.001, expected eps 1e-05"],
    ),
    (
        "the other way round",
        lambda m, n: [f"{m}:Broken", f"{m}:Net", "--input", "3 32 32"],
        1,
        ["mynet.py:Net is not ", "batchnorm with eps 1e-05, expected eps 0.001"],
    ),
    ("at the usual input", lambda m, n: [f"{m}:Net", f"{m}:Net", "--level", "structure"], 0, ["at 3 224 224"]),
    ("arguments", lambda m, n: [n + "(classes=3)", f"{m}:Head", "--kwargs", '{"classes": 3}'], 0, ["Head is net"]),
]


@pytest.mark.parametrize(("pair", "status", "words"), [d[1:] for d in DIFFS], ids=[d[0] for d in DIFFS])
def test_diff(
    pair: Callable[[Path, str], list[str]], status: int, words: list[str], capsys: Captured, module: Path, net: str
) -> None:
    """Archs and modules, in any order: the first is expected, an arch before a module; status 0 or 1."""
    found, out, _ = ask(capsys, "diff", *pair(module, net))
    assert found == status, out
    assert all(one in out for one in words), out


def test_diff_as_json(capsys: Captured, module: Path, net: str) -> None:
    """The object of a check, whichever two are compared."""
    for pair in (["resnet50", "resnet50_v1"], [net, f"{module}:Broken"]):
        status, out, _ = ask(capsys, "diff", *pair, "--json")
        made = json.loads(out)
        assert (status, made["schema"], made["passed"]) == (1, "rv-check/check/1", False)
        assert made["findings"][0]["check"] == "structure"


# Annotations of a run in CI.


def annotations(text: str) -> list[str]:
    """The lines that GitHub Actions obeys."""
    return [line for line in text.splitlines() if line.startswith("::")]


def test_annotations(capsys: Captured, module: Path, net: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a run of GitHub Actions each difference is an error at the user's own line, else the spec's; nowhere else."""
    commands = (["check", f"{module}:Exploding2", "--as", net], ["diff", net, f"{module}:Exploding2"])
    for command in commands:
        assert annotations("".join(ask(capsys, *command)[1:])) == []
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    line = module.read_text().splitlines().index("        y = super().features(x) * 2") + 1
    for command in commands:
        _, out, err = ask(capsys, *command)
        (found,) = annotations(out)
        assert found.startswith(f"::error file={module},line={line},title=")
        assert found.partition("::error ")[2].partition("::")[2].startswith("extra scale")
        assert annotations(err) == []
    path = world.write(("depth: 4", "depth: 5"), name="wrong.yaml")
    at = path.read_text().splitlines().index("      - depth: 5") + 1
    for command in (["check", f"{path}::net"], ["report", f"{path}::net"]):
        _, out, err = ask(capsys, *command, "--level", "spec")
        (found,) = annotations(out)
        assert found.startswith(f"::error file={path},line={at},title=")
        assert "depth 5 is wrong: found 4, expected 5" in found


def test_annotations_leave_what_a_program_reads_alone(
    capsys: Captured, module: Path, net: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where stdout is JSON or a table for a program, they are on stderr; what holds has none."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    _, out, err = ask(capsys, "check", f"{module}:Broken", "--as", net, "--json")
    assert json.loads(out)["passed"] is False
    assert len(annotations(err)) == 1
    path = world.write(("depth: 4", "depth: 5"), name="wrong.yaml")
    _, out, err = ask(capsys, "report", f"{path}::net", "--level", "spec", "--format", "csv")
    assert annotations(out) == []
    assert len(annotations(err)) == 1
    assert annotations("".join(ask(capsys, "check", f"{module}:Net", "--as", net)[1:])) == []


# Wrong questions: status 2, the reason on stderr, nothing on stdout, no traceback.

WRONG: list[tuple[str, Callable[[Path, str], list[str]], str]] = [
    ("no command", lambda m, n: [], "the following arguments are required: COMMAND"),
    ("an unknown command", lambda m, n: ["chekc"], "invalid choice: 'chekc'"),
    ("an unknown arch", lambda m, n: ["show", "resnet5"], "did you mean: resnet"),
    ("an unknown arch of a file", lambda m, n: ["check", n + "t"], "has no arch 'nett'"),
    ("a file that is not there", lambda m, n: ["check", "no.yaml::net"], "no.yaml: there is no such file"),
    ("a folder", lambda m, n: ["check", f"{m.parent}::net"], "this is a directory"),
    ("a wrong argument", lambda m, n: ["show", "resnet50(clases=10)"], "did you mean: classes"),
    ("a wrong input", lambda m, n: ["show", "resnet50", "--input", "big"], "input is 'big'"),
    ("an input that is too small", lambda m, n: ["show", "vgg16", "--input", "3 8 8"], "larger than its input"),
    ("a wrong depth", lambda m, n: ["show", "resnet50", "--depth", "0"], "'0' is not a number of 1 or more"),
    ("an unknown level", lambda m, n: ["check", n, "--level", "parity"], "invalid choice: 'parity'"),
    ("an unknown format", lambda m, n: ["report", "--format", "html"], "invalid choice: 'html'"),
    ("no such device", lambda m, n: ["check", n, "--device", "cuda:99"], "device 'cuda:99' cannot be used here"),
    ("no device at all", lambda m, n: ["report", n, "--device", "gpu"], "device 'gpu' cannot be used here"),
    ("a device without numbers", lambda m, n: ["check", n, "--device", "meta"], "device 'meta' cannot be used here"),
    ("sources as json", lambda m, n: ["report", "--sources", "--format", "json"], "--sources comes as text"),
    ("no deviations file", lambda m, n: ["check", n, "--deviations", "no.yaml"], "no.yaml: there is no such file"),
    ("one colon", lambda m, n: ["check", "a.yaml:net"], "expected: a.yaml::ARCH, with two colons"),
    ("an arch as another", lambda m, n: ["check", "resnet18", "--as", "resnet18"], "'resnet18' is no module"),
    ("a module at level spec", lambda m, n: ["check", f"{m}:Net", "--as", n, "--level", "spec"], "says nothing of a"),
    ("a module as no arch", lambda m, n: ["check", f"{m}:Net", "--as", "resnet5"], "unknown arch 'resnet5'"),
    (
        "no such module file",
        lambda m, n: ["check", "no.py:Net", "--as", n],
        "no.py cannot be imported: there is no such",
    ),
    ("no such package", lambda m, n: ["check", "no.such:Net", "--as", n], "cannot be imported: ModuleNotFoundError"),
    ("no such name", lambda m, n: ["check", f"{m}:Nett", "--as", n], "has no 'Nett'\n  did you mean: Net"),
    ("a number", lambda m, n: ["check", f"{m}:number", "--as", n], "is a int\n  expected: a torch.nn.Module"),
    (
        "what makes no module",
        lambda m, n: ["check", f"{m}:make_text", "--as", n],
        "gives a str\n  expected: a torch.nn.",
    ),
    ("what needs arguments", lambda m, n: ["check", f"{m}:make_with", "--as", n], "missing a required argument: 'cla"),
    ("a class that needs them", lambda m, n: ["check", f"{m}:Config", "--as", n], "or a function without arguments"),
    ("a module of one colon", lambda m, n: ["a.yaml:net"], "expected: a.yaml::ARCH, with two colons"),
    ("kwargs that are no JSON", lambda m, n: [f"{m}:Head", "--as", n, "--kwargs", "{classes: 3}"], "is no JSON: "),
    ("kwargs that are a list", lambda m, n: [f"{m}:Head", "--as", n, "--kwargs", "[3]"], "--kwargs is a list"),
    ("other kwargs", lambda m, n: [f"{m}:Head", "--as", n, "--kwargs", '{"clases": 3}'], "unexpected keyword argument"),
    ("kwargs of a module", lambda m, n: [f"{m}:made", "--as", n, "--kwargs", '{"classes": 3}'], "built already"),
    ("kwargs that do not build", lambda m, n: [f"{m}:Head", "--as", n, "--kwargs", '{"classes": "ten"}'], "TypeError"),
    ("an unknown step", lambda m, n: [f"{m}:Net", "--as", n, "--until", "layer2"], "did you mean: layer1"),
    ("an unknown step to look at", lambda m, n: [f"{m}:Net", "--as", n, "--only", "layr1"], "layr1"),
    (
        "a map into no folder",
        lambda m, n: [f"{m}:Net", "--as", n, "--save-map", "no/map.json"],
        "there is no folder no",
    ),
    ("a map into a folder", lambda m, n: [f"{m}:Net", "--as", n, "--save-map", str(m.parent)], "it is a folder"),
    ("kwargs of an arch", lambda m, n: ["check", n, "--kwargs", "{}"], "--kwargs is for a module"),
    ("a part of an arch", lambda m, n: ["check", n, "--until", "layer1"], "--until is for a module"),
    ("a step of an arch", lambda m, n: ["check", n, "--only", "layer1"], "--only is for a module"),
    ("the map of an arch", lambda m, n: ["check", n, "--map"], "--map is for a module"),
    ("a saved map of an arch", lambda m, n: ["check", n, "--save-map", "map.json"], "--save-map is for a module"),
    (
        "a module among archs",
        lambda m, n: ["check", n, f"{m}:Net"],
        "which is checked alone\n  expected: archs, or one module",
    ),
    ("jobs of a module", lambda m, n: ["check", f"{m}:Net", "--jobs", "2"], "--jobs is for archs, and "),
    ("a diff of one", lambda m, n: ["diff", n], "the following arguments are required: B"),
    ("a diff with no arch", lambda m, n: ["diff", n, "resnet5"], "unknown arch 'resnet5'"),
    ("a diff with no module", lambda m, n: ["diff", n, f"{m}:Nett"], "has no 'Nett'"),
    ("a diff at level spec", lambda m, n: ["diff", n, n, "--level", "spec"], "--level spec compares nothing"),
    ("archs as they are", lambda m, n: ["diff", n, n, "--own-weights"], "--own-weights is for two modules"),
    (
        "a tolerance of nothing",
        lambda m, n: ["diff", f"{m}:Net", f"{m}:Net", "--within", "0.1"],
        "--within is for --own-weights",
    ),
    (
        "outputs up to a level",
        lambda m, n: ["diff", f"{m}:Net", f"{m}:Net", "--own-weights", "--level", "structure"],
        "--own-weights compares outputs alone",
    ),
    ("a diff of archs at an input", lambda m, n: ["diff", n, n, "--input", "3 9 9"], "--input is for two modules"),
    ("a diff at an empty input", lambda m, n: ["diff", f"{m}:Net", f"{m}:Net", "--input", ""], "input is ''"),
    ("MACs at an empty input", lambda m, n: ["macs", f"{m}:Net", "--input", ""], "input is ''"),
    (
        "too many axes",
        lambda m, n: ["macs", f"{m}:Net", "--input", "1 2 3 4 5 6 7"],
        "the axes behind the batch, as in",
    ),
    ("a field at an empty input", lambda m, n: ["receptive-field", f"{m}:Net", "--input", ""], "input is ''"),
    ("a diff at no input", lambda m, n: ["diff", f"{m}:Net", f"{m}:Net", "--input", "big"], "input is 'big'"),
    ("a diff of what does not run", lambda m, n: ["diff", f"{m}:Net", f"{m}:Exploding"], "ValueError: boom"),
    ("a diff with what does not run", lambda m, n: ["diff", f"{m}:Exploding", f"{m}:Net"], "ValueError: boom"),
    ("what does not run", lambda m, n: [f"{m}:Exploding", "--as", n], "does not run at 3 32 32: ValueError: boom"),
    ("what is not identified", lambda m, n: [f"{m}:Exploding"], "does not run at 3 224 224: ValueError: boom"),
    ("what cannot be built", lambda m, n: ["check", f"{m}:raising", "--as", n], "cannot be built: KeyError: 'weights'"),
]


@pytest.mark.parametrize(("question", "words"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_error_wrong_question(
    question: Callable[[Path, str], list[str]], words: str, capsys: Captured, module: Path, net: str
) -> None:
    """Each says what is wrong and what would be right."""
    status, out, err = ask(capsys, *question(module, net))
    assert (status, out) == (2, "")
    assert words in err
    assert "Traceback" not in err


def test_error_shows_the_lines_of_the_user(capsys: Captured, module: Path, net: str) -> None:
    """An exception of the user's code comes with their frames, the innermost last, and with nobody else's."""
    _, _, err = ask(capsys, "check", f"{module}:raising", "--as", net)
    frames = [line for line in err.splitlines() if " in " in line and ".py:" in line]
    line = module.read_text().splitlines().index("    return beside.fail()") + 1
    assert frames == [
        f"  {module}:{line} in raising: return beside.fail()",
        f"  {module.parent / 'beside.py'}:2 in fail: raise KeyError('weights')",
    ]


IMPORTS: list[tuple[str, str, str]] = [
    ("syntax", "def f(:\n", "cannot be imported: SyntaxError: "),
    ("another package", "import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package'"),
    ("a neighbour", "from . import other\n", "attempted relative import"),
    ("exit", "import sys\nsys.exit(0)\n", "cannot be imported: SystemExit: 0"),
    ("usage", "import argparse\nargparse.ArgumentParser().error('no data')\n", "cannot be imported: SystemExit: 2"),
]


@pytest.mark.parametrize(("text", "words"), [i[1:] for i in IMPORTS], ids=[i[0] for i in IMPORTS])
def test_error_a_module_that_cannot_be_imported(
    text: str, words: str, capsys: Captured, tmp_path: Path, net: str
) -> None:
    """Whatever it raises, exits with or lacks, it is the question that was wrong, with the line of the user's file."""
    path = tmp_path / "broken.py"
    path.write_text(text)
    status, out, err = ask(capsys, "check", f"{path}:Net", "--as", net)
    assert (status, out) == (2, "")
    assert words in err
    assert "broken.py" in err
    assert "importlib" not in err


def test_error_a_module_that_does_not_run(capsys: Captured, module: Path, net: str) -> None:
    """That is a wrong question, told with the user's lines and nobody else's."""
    status, out, err = ask(capsys, "check", f"{module}:Exploding", "--as", net)
    assert (status, out) == (2, "")
    frames = [line for line in err.splitlines() if ".py:" in line]
    assert frames[-1].endswith('in features: raise ValueError("boom")')
    assert str(module) in frames[-1]
    assert all("rv_check/" not in line and "site-packages" not in line for line in frames)


def test_error_every_problem_of_every_arch(capsys: Captured, world: World) -> None:
    """A bad spec is a wrong question: all of its errors, before any work, in text and in json."""
    path = world.write(("_ 16 16", "_ 17 17"))
    other = world.write(("kernel=3, padding=1, bias=False)", "kernel=99, bias=False)"), name="other.yaml")
    for arguments in (
        ["report", f"{path}::net", f"{other}::net", "--format", "json"],
        ["report", f"{path}::net", f"{other}::net"],
    ):
        status, out, err = ask(capsys, *arguments)
        assert (status, out) == (2, "")
        assert "the shape here is 4 16 16" in err
        assert "the kernel spans 99" in err
    assert ask(capsys, "check", f"{path}::net", "--json")[:2] == (2, "")
    assert ask(capsys, "check", f"{path}::net")[:2] == (2, "")


# Reports into files.


def test_output_to_a_file(capsys: Captured, net: str, tmp_path: Path) -> None:
    """`-o` writes what stdout would show, and replaces what was there."""
    path = tmp_path / "report.md"
    path.write_text("old\n" * 100)
    arguments = ("report", net, "--level", "spec", "--format", "markdown")
    assert ask(capsys, *arguments, "-o", str(path)) == (0, "", "")
    assert path.read_text() == ask(capsys, *arguments)[1]


def test_output_keeps_a_link_and_a_device(capsys: Captured, net: str, tmp_path: Path) -> None:
    """A link stays a link; what is no file is written to and not replaced."""
    real, link = tmp_path / "real.md", tmp_path / "link.md"
    real.write_text("old")
    link.symlink_to(real)
    arguments = ("report", net, "--level", "spec")
    assert ask(capsys, *arguments, "-o", str(link))[0] == 0
    assert link.is_symlink()
    assert "1,150" in real.read_text()
    assert ask(capsys, *arguments, "-o", "/dev/null")[0] == 0
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(("name", "words"), [("", "it is a folder"), ("no/such/file", "there is no folder")])
def test_error_output_that_cannot_be_written(
    name: str, words: str, capsys: Captured, net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said before any work."""
    monkeypatch.setattr(jobs, "check_arch", None)
    status, out, err = ask(capsys, "report", net, "-o", str(tmp_path / name))
    assert (status, out) == (2, "")
    assert words in err


def test_error_output_that_fails_late(
    capsys: Captured, net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file turns out not to take it, the report is on stdout and the work is not lost."""

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, out, err = ask(capsys, "report", net, "--level", "spec", "-o", str(tmp_path / "report"))
    assert status == 2
    assert "1,150" in out
    assert "so the report is on stdout: No space left on device" in err


# Findings of a report.


def test_sources_are_static(capsys: Captured, world: World, net: str) -> None:
    """The verdicts on printed numbers need no model, unless a level is asked for."""
    status, out, _ = ask(capsys, "report", net, "--sources")
    assert status == 0
    assert "worked by hand" in out
    assert world.asked == []
    ask(capsys, "report", net, "--sources", "--level", "numbers")
    assert world.asked == ["net"]


def test_what_a_terminal_might_obey_is_made_visible(capsys: Captured, world: World) -> None:
    """A control character in a spec is text, in findings and in tables."""
    path = world.write(("depth: 4\n        source: worked by hand", 'depth: 5\n        source: "\\e[31mred"'))
    for arguments in (["check", f"{path}::net"], ["report", f"{path}::net", "--sources"]):
        _, out, err = ask(capsys, *arguments, "--level", "spec")
        assert "\\x1b[31mred" in out
        assert "\x1b" not in out + err


def test_a_report_of_families(capsys: Captured) -> None:
    """All of each, in the order in which they are named, behind the archs that are; another name is no family."""
    assert main(["report", "plain34", "--family", "squeezenet1_1", "--family", "resnet_d", "--level", "spec"]) == 0
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:9]]
    assert rows == ["plain34", "squeezenet1_1", "resnet18d", "resnet34d", "resnet50c", "resnet50d", "resnet101d"]
    assert main(["report", "--family", "resnets"]) == 2
    assert "unknown family 'resnets'" in capsys.readouterr().err


def test_a_report_with_failures(capsys: Captured, world: World) -> None:
    """The table is complete, the failures are on stderr, and the status is 1."""
    path = world.write(("depth: 4", "depth: 5"))
    status, out, err = ask(capsys, "report", f"{path}::net", "--level", "spec")
    assert status == 1
    assert "depth failed" in out
    assert "net::depth failed: depth 5 is wrong" in err


# Processes: pipes, terminals, interrupts.


@pytest.mark.parametrize("arguments", ["show resnet152 --json", "list"], ids=["while it writes", "before it does"])
def test_a_reader_that_goes_away(arguments: str) -> None:
    """`rv-check show resnet152 | head -1` is no error, and says nothing; the status is a shell's for a broken pipe."""
    command = f"{sys.executable} -m rv_check {arguments} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("141\n", "")


def test_error_a_full_disk() -> None:
    """Where stdout takes nothing, the status says so."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "rv_check", "list"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "rv-check: [Errno 28] No space left on device\n"


def test_no_stdout_at_all() -> None:
    """With stdout closed there is nobody to tell; the answer is still the status."""
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m rv_check list >&-"], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_any_name_can_be_printed(world: World) -> None:
    """It can be printed also on a terminal that knows only ASCII."""
    path = world.write(("source: a test", "source: Über die Netze"), name="é.yaml")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "rv_check", "check", f"{path}::net", "--level", "spec"]
    path.write_text(path.read_text().replace("depth: 4", "depth: 5"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "\\xe9.yaml" in done.stdout
    assert done.stderr == ""


def test_progress_on_a_terminal(capsys: Captured, net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long work says on stderr what it is at, on lines that are gone at the end; a file or a pipe gets none of it."""
    assert ask(capsys, "check", net)[2] == ""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(Bar, "show", lambda bar: bar._live.refresh())  # the network may be checked before it is drawn
    for command in ("check", "report"):
        _, out, err = ask(capsys, command, net)
        assert "net::" in err
        assert err.endswith(ERASED)
        assert "\x1b" not in out


ERASED = "\x1b[1A\x1b[2K"  # a line up, which is emptied


def test_a_complaint_takes_the_line_of_the_progress(
    capsys: Captured, module: Path, net: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was being done is wiped before what went wrong is said."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, _, err = ask(capsys, "check", f"{module}:raising", "--as", net)
    assert "importing" in err
    assert f"{ERASED}rv-check: " in err


def test_interrupt(tmp_path: Path) -> None:
    """Ctrl-C ends with one line and status 130."""
    slow = tmp_path / "slow.py"
    slow.write_text("import sys, time\nprint('ready', file=sys.stderr, flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "rv_check", "check", f"{slow}:Net", "--as", "resnet18"]
    pipes: dict = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # A job in the background of a shell, and what it starts, ignores Ctrl-C.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, cwd=ROOT, preexec_fn=heed, **pipes) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == "ready\n"
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=120)
    assert running.returncode == 130
    assert (out, err) == ("", "rv-check: interrupted\n")


# Without torch: the static side works, and what needs torch says so.

BLOCKER = """\
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "fvcore", "numpy"):
            raise ImportError(f"no {name} here")

sys.meta_path.insert(0, Blocker())
"""


def without_torch(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A process in which torch, torchvision and fvcore cannot be imported."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", BLOCKER + code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def run_main(*arguments: str) -> str:
    """Code that runs a command."""
    return f"from rv_check.cli.main import main\nsys.exit(main({list(arguments)!r}))"


STATIC: list[tuple[str, str, str]] = [
    ("import", "import rv_check\nprint(rv_check.load('resnet50').params)", "25557032"),
    ("list", run_main("list"), "resnet50"),
    ("show", run_main("show", "resnet50"), "25,557,032"),
    ("show json", run_main("show", "resnet50", "--json"), '"macs": 4089184256'),
    ("report", run_main("report", "resnet18", "resnet50_v1", "--level", "spec"), "1 skipped"),
    ("check", run_main("check", "resnet18", "--level", "spec"), "torchvision.models cannot be imported"),
    ("check all", run_main("check", "resnet18"), "is not shown in full"),
    ("diff", run_main("diff", "resnet50", "resnet50"), "resnet50 is resnet50"),
    ("diff json", run_main("diff", "resnet18", "resnet18", "--json"), '"passed": true'),
    ("sources", run_main("report", "resnet18", "--sources"), "1_814_073_344"),
]


@pytest.mark.parametrize(("code", "words"), [s[1:] for s in STATIC], ids=[s[0] for s in STATIC])
def test_without_torch(code: str, words: str, tmp_path: Path) -> None:
    """The static side needs none of it; what is skipped for want of it is said, and is no failure."""
    done = without_torch(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
    assert done.stderr == ""


def test_without_torch_what_is_required_fails(tmp_path: Path) -> None:
    """`--require numbers` turns each of these skips into a failure, with the reason."""
    done = without_torch(run_main("check", "resnet18", "--require", "numbers"), tmp_path)
    assert done.returncode == 1
    assert "resnet18::counters failed: could not run, and numbers is required" in done.stdout
    assert "torch cannot be imported (no torch here); pip install 'rv-check[torch]' brings it" in done.stdout


def test_error_without_torch_a_module_cannot_be_checked(tmp_path: Path) -> None:
    """Without torch no module is checked and no device used: status 2, with what would help."""
    for arguments in (
        ["check", "net.py:Net", "--as", "resnet18"],
        ["net.py:Net"],
        ["diff", "resnet18", "net.py:Net"],
        ["diff", "net.py:Net", "net.py:Net"],
        ["check", "resnet18", "--device", "cuda"],
    ):
        done = without_torch(run_main(*arguments), tmp_path)
        assert done.returncode == 2, arguments
        assert "pip install 'rv-check[torch]' brings it" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_blocker_blocks(tmp_path: Path) -> None:
    """The tests above can fail: what does import torch does not run there."""
    done = without_torch("import rv_check\nrv_check.build('resnet18')", tmp_path)
    assert done.returncode == 1
    assert "ImportError: no torch here" in done.stderr


def test_static_commands_do_not_import_torch(tmp_path: Path) -> None:
    """Where torch is installed they leave it alone, so that they stay quick; a check of numbers does import it."""
    code = "import sys\nfrom rv_check.cli.main import main\nmain({!r})\nprint('torch' in sys.modules)"
    static = (
        ["show", "resnet50"],
        ["list"],
        ["diff", "resnet50", "resnet50_v1"],
        ["check", "plain34", "--level", "spec"],
    )
    for arguments, imported in (*((one, "False") for one in static), (["check", "plain18"], "True")):
        command = [sys.executable, "-c", code.format(arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == imported
