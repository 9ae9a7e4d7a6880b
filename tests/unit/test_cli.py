"""The command line: what it prints, its exit statuses, and that a wrong question is told and loses nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import World, broken_block

from rv_check import cli
from rv_check.cli import main

ROOT = Path(__file__).parents[2]
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
    lines = out.splitlines()
    assert lines[0] == "net::shapes passed: 16 layers fit at 3 32 32"
    assert lines[-1] == "net against torchvision.models.net: holds (22 passed)"
    assert len(lines) == 23


def test_check_up_to_a_level(capsys: Captured, net: str) -> None:
    """The cheaper level alone."""
    _, out, _ = ask(capsys, "check", net, "--level", "spec")
    assert out.splitlines()[-1] == "net against its own spec: holds (9 passed)"


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
    assert "net::eval failed: eval mode at 3 32 32, float64: output of layer1.bn1 differs by" in out


def test_check_json(capsys: Captured, world: World) -> None:
    """One object and nothing else; every key is there, whatever the outcome."""
    for change, passed in ((("depth: 4", "depth: 4"), True), (("depth: 4", "depth: 5"), False)):
        path = world.write(change)
        status, out, err = ask(capsys, "check", f"{path}::net", "--json")
        found = json.loads(out)
        assert (status, err) == (int(not passed), "")
        assert list(found) == ["schema", "subject", "against", "passed", "level", "findings"]
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
sys.path.insert(0, {tests!r})
from dataclasses import dataclass
from tiny import Net, broken_block
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

class Loud(Net):
    def forward(self, x):
        print("running")
        return super().forward(x)

class Exploding(Net):
    def features(self, x):
        raise ValueError("boom")

class Many(Net):
    def forward(self, x):
        return {{"logits": super().forward(x)}}

class Other(Net):
    def __init__(self):
        super().__init__()
        self.head = self.fc
        del self.fc

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
    path.write_text(MODULE.format(tests=str(ROOT / "tests" / "unit")))
    return path


@pytest.mark.parametrize("name", ["Net", "made", "make", "Loud"])
def test_a_module_that_holds(name: str, capsys: Captured, module: Path, net: str) -> None:
    """A class, a module and a factory; what they print is not on stdout."""
    status, out, err = ask(capsys, "check", f"{module}:{name}", "--as", net)
    assert status == 0, out + err
    assert out.splitlines()[-1] == f"{module}:{name} against net: holds (6 passed)"
    assert "loading" in err.splitlines()
    assert not {"loading", "making", "running"} & set(out.splitlines())


def test_a_module_of_a_package(capsys: Captured, module: Path, net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`package.module:Name` is looked up from the current folder."""
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    (module.parent / "package").mkdir()
    (module.parent / "package" / "__init__.py").write_text("")
    (module.parent / "package" / "nets.py").write_text("from mynet import Net\n")
    monkeypatch.chdir(module.parent)
    assert ask(capsys, "check", "package.nets:Net", "--as", net)[0] == 0


def test_a_module_that_does_not_hold(capsys: Captured, module: Path, net: str) -> None:
    """Status 1, and the first module that differs."""
    status, out, _ = ask(capsys, "check", f"{module}:Broken", "--as", net)
    assert status == 1
    assert "net::eval failed: eval mode at 3 32 32, float64: output of layer1.bn1 differs by" in out
    assert f"{module}:Broken against net: does not hold (1 passed, 5 failed)" in out


def test_a_module_that_is_not_decided(capsys: Captured, module: Path, net: str) -> None:
    """Other names are a skip: not shown, so not status 0; and a failure where the level is required."""
    status, out, _ = ask(capsys, "check", f"{module}:Other", "--as", net)
    assert status == 1
    assert "is not shown in full (4 skipped)" in out
    assert "matching them needs the structure level" in out
    status, out, _ = ask(capsys, "check", f"{module}:Other", "--as", net, "--require", "numbers")
    assert status == 1
    assert "does not hold (4 failed)" in out


def test_a_module_as_json(capsys: Captured, module: Path, net: str) -> None:
    """The object alone is on stdout, also where the module prints."""
    status, out, err = ask(capsys, "check", f"{module}:Loud", "--as", net, "--json")
    assert status == 0
    assert json.loads(out)["against"] == "net"
    assert "running" in err


def test_a_known_deviation_of_a_module(capsys: Captured, module: Path, net: str, tmp_path: Path) -> None:
    """What is known to fail does not fail; what else fails does."""
    known = tmp_path / "known.yaml"
    known.write_text("deviations:\n  - check: net::[let]*\n    reason: our norms have another eps\n")
    status, out, _ = ask(capsys, "check", f"{module}:Broken", "--as", net, "--deviations", str(known))
    assert status == 0, out
    assert "known deviation: our norms have another eps" in out
    status, out, _ = ask(capsys, "check", f"{module}:Net", "--as", net, "--deviations", str(known))
    assert status == 1
    assert "does not occur any more: take it out" in out


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
    ("an unknown level", lambda m, n: ["check", n, "--level", "structure"], "invalid choice: 'structure'"),
    ("an unknown format", lambda m, n: ["report", "--format", "html"], "invalid choice: 'html'"),
    ("no such device", lambda m, n: ["check", n, "--device", "cuda:99"], "device 'cuda:99' cannot be used here"),
    ("no device at all", lambda m, n: ["report", n, "--device", "gpu"], "device 'gpu' cannot be used here"),
    ("a device without numbers", lambda m, n: ["check", n, "--device", "meta"], "device 'meta' cannot be used here"),
    ("sources as json", lambda m, n: ["report", "--sources", "--format", "json"], "--sources comes as text"),
    ("no deviations file", lambda m, n: ["check", n, "--deviations", "no.yaml"], "no.yaml: there is no such file"),
    ("one colon", lambda m, n: ["check", "a.yaml:net"], "expected: a.yaml::ARCH, with two colons"),
    ("a module as nothing", lambda m, n: ["check", f"{m}:Net"], "is a module: say which arch it should be"),
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
    ("a class that needs them", lambda m, n: ["check", f"{m}:Config", "--as", n], "expected: a function without argum"),
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
    assert frames == [
        f"  {module}:24 in raising: return beside.fail()",
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


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Exploding", "the module does not run: ValueError: boom"),
        ("Many", "the module does not run: it returns a dict, expected a tensor"),
    ],
)
def test_a_module_that_does_not_run(name: str, words: str, capsys: Captured, module: Path, net: str) -> None:
    """That is an answer, not a wrong question: status 1, with the user's lines."""
    status, out, _ = ask(capsys, "check", f"{module}:{name}", "--as", net)
    assert status == 1
    assert words in out
    assert ("mynet.py:33 in features: raise ValueError" in out) == (name == "Exploding")


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
    monkeypatch.setattr(cli, "check_arch", None)
    status, out, err = ask(capsys, "report", net, "-o", str(tmp_path / name))
    assert (status, out) == (2, "")
    assert words in err


def test_error_output_that_fails_late(
    capsys: Captured, net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file turns out not to take it, the report is on stdout and the work is not lost."""

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
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
    """Also on a terminal that knows only ASCII."""
    path = world.write(("source: a test", "source: Über die Netze"), name="é.yaml")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "rv_check", "check", f"{path}::net", "--level", "spec"]
    path.write_text(path.read_text().replace("depth: 4", "depth: 5"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "\\xe9.yaml" in done.stdout
    assert done.stderr == ""


def test_progress_on_a_terminal(capsys: Captured, net: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long work says on stderr what it is at, on one line that is gone at the end; a file or a pipe gets none of it."""
    assert ask(capsys, "check", net)[2] == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    clear = "\r\x1b[K"
    for command in ("check", "report"):
        _, out, err = ask(capsys, command, net)
        assert f"{clear}net::eval, 11 of 13" in err or f"{clear}net::eval, 10 of 12" in err
        assert err.endswith(clear)
        assert "\x1b" not in out


def test_a_complaint_takes_the_line_of_the_progress(
    capsys: Captured, module: Path, net: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was being done is wiped before what went wrong is said."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, _, err = ask(capsys, "check", f"{module}:raising", "--as", net)
    assert f"\x1b[Kimporting {module}:raising" in err
    assert "\r\x1b[Krv-check: " in err


def test_interrupt(tmp_path: Path) -> None:
    """Ctrl-C ends with one line and status 130."""
    slow = tmp_path / "slow.py"
    slow.write_text("import sys, time\nprint('ready', file=sys.stderr, flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "rv_check", "check", f"{slow}:Net", "--as", "resnet18"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        assert running.stderr.readline() == "ready\n"
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=30)
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
    return f"from rv_check.cli import main\nsys.exit(main({list(arguments)!r}))"


STATIC: list[tuple[str, str, str]] = [
    ("import", "import rv_check\nprint(rv_check.load('resnet50').params)", "25557032"),
    ("list", run_main("list"), "resnet50"),
    ("show", run_main("show", "resnet50"), "25,557,032"),
    ("show json", run_main("show", "resnet50", "--json"), '"macs": 4089184256'),
    ("report", run_main("report", "resnet18", "resnet50_v1", "--level", "spec"), "1 skipped"),
    ("check", run_main("check", "resnet18", "--level", "spec"), "torchvision.models cannot be imported"),
    ("check all", run_main("check", "resnet18"), "is not shown in full"),
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
    """Nor can a device be used: status 2, with what would help."""
    for arguments in (["check", "net.py:Net", "--as", "resnet18"], ["check", "resnet18", "--device", "cuda"]):
        done = without_torch(run_main(*arguments), tmp_path)
        assert done.returncode == 2
        assert "pip install 'rv-check[torch]' brings it" in done.stderr
        assert "Traceback" not in done.stderr


def test_the_blocker_blocks(tmp_path: Path) -> None:
    """The tests above can fail: what does import torch does not run there."""
    done = without_torch("import rv_check\nrv_check.build('resnet18')", tmp_path)
    assert done.returncode == 1
    assert "ImportError: no torch here" in done.stderr


def test_static_commands_do_not_import_torch(tmp_path: Path) -> None:
    """Where torch is installed they leave it alone, so that they stay quick; a check of numbers does import it."""
    code = "import sys\nfrom rv_check.cli import main\nmain({!r})\nprint('torch' in sys.modules)"
    for arguments, imported in ((["show", "resnet50"], "False"), (["list"], "False"), (["check", "plain18"], "True")):
        command = [sys.executable, "-c", code.format(arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == imported
