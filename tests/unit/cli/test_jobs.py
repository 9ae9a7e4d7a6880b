"""Several archs at once: what is printed is what one after another prints, and whatever ends a process is told."""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rv_check import Arch, load
from rv_check.checks.effort import peak_bytes, seconds
from rv_check.checks.findings import LEVELS, Finding, Report
from rv_check.checks.registry import checks_of
from rv_check.cli import jobs, machine
from rv_check.cli.commands.report import as_it_comes
from rv_check.cli.following import Following
from rv_check.cli.jobs import Plan, Question, Workers, check_at_once
from rv_check.cli.main import main
from rv_check.errors import RvCheckError
from rv_check.language.files import shipped_folder
from tests import ROOT
from tests.unit.cli.test_progress import Screen, on_a_terminal

Captured = pytest.CaptureFixture[str]
SMALL = ("resnet18(width=4)", "plain18(width=4)", "resnet18(width=8)")  # without a reference: a second each


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A ResNet-18 whose norms are not torchvision's, so that structure and numbers fail."""
    folder = tmp_path_factory.mktemp("wrong")
    for path in (shipped_folder() / "blocks").glob("*.yaml"):
        (folder / "blocks").mkdir(exist_ok=True)
        (folder / "blocks" / path.name).write_text(path.read_text())
    text = (shipped_folder() / "resnet.yaml").read_text()
    (folder / "resnet.yaml").write_text(text.replace("bn1: batchnorm\n", "bn1: batchnorm(eps=0.001)\n"))
    return f"{folder}/resnet.yaml::resnet18"


def asked(capsys: Captured, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of one command."""
    status = main(arguments)
    return status, *capsys.readouterr()


def test_the_output_is_that_of_one_after_another(wrong: str, capsys: Captured) -> None:
    """Byte for byte, whatever fails: findings in the order of the archs, and measured differences to the last digit.

    The processes that work at once have fewer threads.
    """
    for command, *form in (("check", "--json"), ("report", "--format", "csv", "--level", "structure")):
        arguments = (command, SMALL[0], wrong, SMALL[1], *form)
        alone = asked(capsys, *arguments, "--jobs", "1")
        assert asked(capsys, *arguments, "--jobs", "2")[:2] == alone[:2]  # stderr may say how far it is
        assert alone[0] == 1
        if command == "check":
            assert '"difference": 0.00' in alone[1]


def test_findings_come_in_order_and_verdicts_at_the_end(capsys: Captured) -> None:
    """The first arch is the last to be started, as it costs least, and is the first that is heard of."""
    names = ("resnet18(width=4)", "resnet34(width=4)")
    _, out, err = asked(capsys, "check", *names, "--level", "structure", "--jobs", "2")
    lines = out.splitlines()
    subjects = [line.partition("::")[0] for line in lines[:-2]]
    assert subjects == sorted(subjects)
    assert set(subjects) == set(names)
    assert lines[-2:] == [f"{name} against its own spec: holds (1 passed)" for name in names]
    assert err == ""


class Heard:
    """What was heard, as lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def starting(self, index: int, check: int) -> None:
        self.lines.append(f"{index} starts {check}")

    def seen(self, index: int, finding: Finding) -> None:
        self.lines.append(f"{index} found {finding.check}")

    def ended(self, index: int, report: Report) -> None:
        self.lines.append(f"{index} ended")


def archs_of(names: Sequence[str]) -> list[Arch]:
    """The archs, each with its tree."""
    return [load(name) for name in names]


def dies(connection: Any, question: Question) -> None:
    """A process that is killed at the second arch that it gets."""
    for turn in range(2):
        index, arch, _ = connection.recv()
        if turn:
            os.kill(os.getpid(), signal.SIGKILL)
        connection.send((index, "ended", Report(arch.name, None)))


def leaves(connection: Any, question: Question) -> None:
    """A process that ends in the middle of what it says."""
    connection.recv()
    os.write(connection.fileno(), b"\x00\x00\x10\x00half")
    os._exit(3)


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (dies, "plain18(width=4) was ended by SIGKILL, as a system ends what takes too much memory"),
        (leaves, "resnet18(width=4) was ended with status 3"),
    ],
)
def test_error_a_process_that_dies(
    work: Callable[[Any, Question], None], words: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """It is said of which arch, and what to do; nothing waits for it."""
    monkeypatch.setattr(jobs, "_work", work)
    monkeypatch.setattr(Workers, "__init__", one_worker)
    status, _, err = asked(capsys, "check", SMALL[0], SMALL[1], "--jobs", "2")
    assert status == 2
    told = "rv-check: the process that was checking "
    assert err == f"{told}{words}\n  expected: --jobs 1, which checks one arch at a time and takes the least memory\n"


def one_worker(self: Workers, question: Question, most: int) -> None:
    """As Workers begins, with one at most."""
    self.question, self.most, self.all = question, 1, []


class Bug(Exception):
    """It takes what a pickle does not give it."""

    def __init__(self, one: int, two: int):
        super().__init__(f"{one} and {two}")


def raises(connection: Any, question: Question) -> None:
    """A process in which the arch of width 4 is a bug, and any other is not."""

    def answer(self: Question, index: int, arch: Arch, hearing: Any) -> Report:
        if arch.name == "plain18(width=4)":
            raise Bug(1, 2)
        if arch.name == "resnet18(width=8)":
            raise RvCheckError("a wrong question", expected="another")
        found = Finding(arch.name, "shapes", "spec", "passed", "it fits")
        hearing.seen(index, found)
        hearing.ended(index, Report(arch.name, None, (found,)))
        return Report(arch.name, None, (found,))

    Question.answer = answer  # type: ignore[method-assign]
    WORK(connection, question)


WORK = jobs._work


def test_error_an_exception_in_a_process(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """It is raised here once the archs before are done, with the lines of code; later ones are not heard of."""
    monkeypatch.setattr(jobs, "_work", raises)
    with pytest.raises(RuntimeError) as error:
        main(["check", SMALL[0], SMALL[1], SMALL[2], "--jobs", "3"])
    assert capsys.readouterr().out == "resnet18(width=4)::shapes passed: it fits\n"
    assert str(error.value) == "Bug: 1 and 2"
    assert "raise Bug(1, 2)" in "".join(error.value.__notes__)
    status, out, err = asked(capsys, "check", SMALL[0], SMALL[2], SMALL[1], "--jobs", "3")
    assert (status, out) == (2, "resnet18(width=4)::shapes passed: it fits\n")
    assert err == "rv-check: a wrong question\n  expected: another\n"


def test_error_a_spec_that_is_wrong(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told before any process is started, with what is wrong in all of them."""
    monkeypatch.setattr(Workers, "_new", None)
    status, out, err = asked(capsys, "check", SMALL[0], "resnet18(width=0)", "vgg11(width=0)", "--jobs", "2")
    assert (status, out) == (2, "")
    assert err.count(": conv: out is 0") == 2


def children(process: int) -> list[int]:
    """The processes that a process has started and that are at work."""
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(word) for word in text.split()]


def is_deaf(process: int) -> bool:
    """Whether Ctrl-C is blocked or ignored there, and so prints nothing."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigBlk:", "SigIgn:"))]
    return any(mask >> (signal.SIGINT - 1) & 1 for mask in masks)


SLEEPS = """
import sys, time
from rv_check import load
from rv_check.cli.jobs import Question, check_at_once

class Sleeps(Question):
    def answer(self, index, arch, hearing):
        print("asleep", file=sys.stderr, flush=True)
        time.sleep(600)

if __name__ == "__main__":
    check_at_once([load("resnet18"), load("resnet34")], Sleeps(("structure",)), None, 2)
"""


def heed() -> None:
    """Have a process hear of Ctrl-C, which a job in the background of a shell, and what it starts, ignores."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_ends_the_command_ends_all_processes(sent: signal.Signals, tmp_path: Path) -> None:
    """Whatever they do, and whoever may hear of it: nobody holds stderr open after it."""
    (tmp_path / "sleeps.py").write_text(SLEEPS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes: dict[str, Any] = {"stderr": subprocess.PIPE, "text": True, "env": environment, "preexec_fn": heed}
    with subprocess.Popen([sys.executable, str(tmp_path / "sleeps.py")], **pipes) as running:
        assert running.stderr is not None
        assert [running.stderr.readline() for _ in range(2)] == ["asleep\n"] * 2
        begun = children(running.pid)
        try:
            running.send_signal(sent)
            _, err = running.communicate(timeout=60)
        finally:
            for one in begun:
                with suppress(ProcessLookupError):
                    os.kill(one, signal.SIGKILL)
    assert running.returncode == -sent
    assert ("KeyboardInterrupt" in err) == (sent == signal.SIGINT)


def test_ctrl_c_is_told_in_one_line() -> None:
    """It comes to each process of a terminal's group, of which the first alone hears it."""
    level = ["--level", "structure", "--jobs", "2"]
    command = [sys.executable, "-m", "rv_check", "check", "resnet152", "resnet152(classes=10)", *level]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, preexec_fn=heed, start_new_session=True, **pipes) as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("resnet152::shapes passed: ")
        begun = children(running.pid)
        assert len(begun) >= 2
        assert all(is_deaf(one) for one in begun)
        os.killpg(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (130, "rv-check: interrupted\n")


# How many, and which first


def plan(names: Sequence[str], free: float, most: int, monkeypatch: pytest.MonkeyPatch, bounded: bool = True) -> Plan:
    """A plan on a machine with so many GB free and eight cores."""
    monkeypatch.setattr(machine, "free_bytes", lambda: int(free * 1e9))
    monkeypatch.setattr(machine, "cores", lambda: 8)
    return Plan(archs_of(names), LEVELS, most, bounded)


ARCHS = ("resnet18", "vgg16", "resnet50_v1", "vgg19")


def test_the_dearest_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """VGG-19 has the most parameters; an arch that is compared with nothing costs least."""
    found = plan(ARCHS, 100, 4, monkeypatch)
    assert [found.take(4, {}) for _ in range(5)] == [3, 1, 0, 2, None]
    assert [found.threads(index) for index in range(4)] == [2, 2, 2, 2]


def test_an_arch_waits_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two VGGs do not fit into 12 GB beside each other: a smaller one starts, and the second where there is room."""
    found = plan(ARCHS, 12, 4, monkeypatch)
    assert found.take(4, {}) == 3
    assert found.take(4, {3: 0}) == 0
    assert found.threads(1) == 8  # a VGG has none of its like beside it
    assert found.take(4, {3: 0, 0: 0}) == 2
    assert found.take(4, {3: 0, 0: 0}) is None
    held = {3: 5_700_000_000, None: 1_500_000_000}  # of 6.7 GB and 6.5: one has 1 GB to come, the other 5
    monkeypatch.setattr(machine, "free_bytes", lambda: 7_000_000_000)  # of which a fifth is for others
    assert found.take(4, held) is None
    monkeypatch.setattr(machine, "free_bytes", lambda: 8_000_000_000)
    assert found.take(4, held) == 1


def test_one_may_always_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little memory there is; and as many as were asked for, whatever there is."""
    found = plan(ARCHS, 0, 4, monkeypatch)
    assert (found.take(4, {}), found.take(4, {3: 0})) == (3, None)
    assert found.threads(3) == 8
    found = plan(ARCHS, 0, 4, monkeypatch, bounded=False)
    assert [found.take(4, dict.fromkeys(range(turn), 0)) for turn in range(4)] == [3, 1, 0, 2]


def test_the_memory_is_that_measured() -> None:
    """The estimate is what tests/bench/effort.py measured, or up to a fourth more."""
    measured = {
        "resnet18": 1.41e9,
        "resnet152": 3.32e9,
        "resnet152_v1": 1.43e9,
        "resnext101_64x4d": 4.20e9,
        "wide_resnet50_2": 3.43e9,
        "vgg11": 5.36e9,
        "vgg16": 5.65e9,
        "vgg19_bn": 5.85e9,
    }
    for name, most in measured.items():
        arch = load(name)
        assert most <= peak_bytes(arch, checks_of(arch)) <= 1.25 * most
    vgg16 = load("vgg16")
    assert peak_bytes(vgg16, checks_of(vgg16, ["spec", "structure"])) < 3e9


def test_checks_that_take_time_are_known() -> None:
    """Each of a level above spec has its seconds, of the spec none."""
    arch = load("resnet18")
    for check in checks_of(arch):
        assert (seconds(check, arch.params) > 0) == (check.level != "spec" and check.name not in QUICK)


QUICK = {"trainable"}


def test_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's, or what is left of the container's share of it; half of all where a system does not say."""
    monkeypatch.setattr(machine, "PROC", tmp_path)
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    half = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    assert machine.free_bytes() == half
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:  5000 kB\n")
    assert machine.free_bytes() == 5000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("3000000\n")
    assert machine.free_bytes() == 5000 * 1024
    (tmp_path / "memory.max").write_text("4000000\n")
    assert machine.free_bytes() == 1_000_000
    (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 500000\n")
    assert machine.free_bytes() == 1_500_000


def test_an_arch_can_be_sent() -> None:
    """As it was parsed, without its tree, which is as deep as the network."""
    arch = load("resnet50(depths=[300, 300, 300, 300])")
    assert arch.params > 100_000_000
    sent = pickle.loads(pickle.dumps(replace(arch)))
    assert (sent.name, sent.params) == (arch.name, arch.params)


def test_processes_are_not_started_for_what_is_static(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Nor for one arch, one at a time, or what runs on a GPU, unless it is asked for."""
    asked_for = []
    monkeypatch.setattr("rv_check.cli.common.check_at_once", lambda *arguments: asked_for.append(arguments[-1]))
    monkeypatch.setattr("rv_check.cli.common.need_device", lambda name: None)
    monkeypatch.setattr(jobs, "check_arch", lambda arch, *arguments: Report(arch.name, None))
    for more in (["--level", "spec"], ["--jobs", "1"], ["--device", "cuda"]):
        assert main(["check", SMALL[0], SMALL[1], *more]) == 0
    assert main(["check", SMALL[0], "--jobs", "2"]) == 0
    assert asked_for == []
    for more, jobs_asked in ([], None), (["--jobs", "2"], 2), (["--device", "cuda", "--jobs", "2"], 2):
        main(["check", SMALL[0], SMALL[1], *more])
        assert asked_for.pop() == jobs_asked


# What is heard, in order


def test_what_is_found_is_passed_on_in_the_order_of_the_archs() -> None:
    """What the second one finds is held until the first is done."""
    said: list[str] = []
    archs = archs_of(SMALL[:2])
    following = Following(archs, LEVELS, lambda finding: said.append(finding.message))
    one, two = (Finding(arch.name, "shapes", "spec", "passed", word) for arch, word in zip(archs, "ab", strict=True))
    following.starting(1, 0)
    following.seen(1, two)
    following.ended(1, Report(archs[1].name, None, (two,)))
    assert said == []
    following.starting(0, 0)
    following.seen(0, one)
    assert said == ["a"]
    following.ended(0, Report(archs[0].name, None, (one,)))
    assert said == ["a", "b"]
    assert [report.subject for report in following.reports] == list(SMALL[:2])


def test_the_table_is_filled_as_levels_are_reached() -> None:
    """The last column is empty, then the level that was reached, or at once what failed."""
    archs = archs_of(("resnet18", "vgg11"))
    following = Following(archs, LEVELS, lambda finding: None)
    lines = as_it_comes(following)
    checks = [check.name for check in checks_of(archs[0])]

    def parity() -> list[str]:
        return [line.split("V1")[1].strip() for line in lines(200, 50)[2:]]

    assert parity() == ["", ""]
    assert lines(200, 50)[2].split()[:4] == ["resnet18", "11,689,512", "1,814,073,344", "435/32/217"]
    findings = [Finding("resnet18", check.name, check.level, "passed", "fine") for check in checks_of(archs[0])]
    seen = []
    for at, finding in enumerate(findings):
        following.starting(0, at)
        seen.append(parity()[0])
        following.seen(0, finding)
    of_spec, of_structure = checks.index("structure"), checks.index("state_dict")
    assert seen == [""] * of_spec + ["spec"] * (of_structure - of_spec) + ["structure"] * (len(checks) - of_structure)
    following.ended(0, Report("resnet18", "torchvision.models.resnet18", tuple(findings)))
    assert parity() == ["numbers", ""]
    following.starting(1, 0)
    following.seen(1, Finding("vgg11", "params", "spec", "failed", "wrong"))
    assert parity() == ["numbers", "params failed"]
    widest = max(map(len, lines(200, 50)))
    assert max(map(len, lines(widest, 50))) == widest
    assert lines(widest - 1, 50)[0].split() == ["arch", "params", "MACs", "parity"]  # nothing is cut off


def test_a_table_fits_a_small_terminal() -> None:
    """Columns that say less go first; of the rows those stay that are worked on, and what is next to them."""
    archs = archs_of([f"resnet18(classes={n})" for n in range(10, 30)])
    following = Following(archs, LEVELS, lambda finding: None)
    lines = as_it_comes(following)
    assert lines(80, 30)[0].split() == ["arch", "params", "MACs", "parity"]
    assert len(lines(80, 30)) == 22
    for index in (3, 17):
        following.starting(index, 0)
    shown = [line.partition("classes=")[2][:2] for line in lines(80, 9)[2:]]
    assert shown == ["11", "12", "13", "14", "26", "27", "28"]
    assert lines(80, 1) == lines(80, 2)


def test_the_table_is_on_the_terminal_at_once(tmp_path: Path, capsys: Captured) -> None:
    """With a bar below it; at the end it is gone, and the table on stdout is what it is without a terminal."""
    arguments = ["report", *SMALL]
    assert main([*arguments, "--jobs", "1"]) == 0
    table = capsys.readouterr().out
    screen, first = Screen(columns=120), ""
    with (tmp_path / "out").open("wb") as out:
        command = [sys.executable, "-m", "rv_check", *arguments, "--jobs", "2"]
        with on_a_terminal(command, columns=120, stdout=out) as (process, read):
            while part := read():
                screen.write(part)
                first = first or (screen.text if "to go" in screen.text else "")
            assert process.wait() == 0
    head, _, *rows = first.splitlines()
    assert head.split()[:3] == ["arch", "params", "MACs"]
    assert [row.split()[0] for row in rows[:3]] == list(SMALL)
    assert rows[3] == ""
    assert re.search(r"━ +0% some time to go", rows[4])
    assert screen.text == ""
    assert (tmp_path / "out").read_text() == table


def test_all_is_heard_of_each() -> None:
    """The checks of an arch in their order, and its end last, whatever another one does meanwhile."""
    heard = Heard()
    archs = archs_of(SMALL[:2])
    check_at_once(archs, Question(("spec", "structure")), heard, 2)
    for index in range(2):
        own = [line[2:] for line in heard.lines if line.startswith(str(index))]
        assert own == ["starts 0", "found shapes", "ended"]
