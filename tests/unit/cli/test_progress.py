"""How far a long run is: a bar on a terminal that is gone at the end, lines elsewhere, and nothing of it on stdout."""

from __future__ import annotations

import builtins
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rv_check.cli.bar import Bar
from rv_check.cli.console import Console
from rv_check.cli.progress import Progress
from rv_check.cli.progress import progress as progress_of
from tests import ROOT

Captured = pytest.CaptureFixture[str]
PARTS = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|(\r\n|\r|\n)|([^\x1b\r\n]+)")


@dataclass
class Screen:
    """A terminal, as far as it is used: what stands on it, and what stood on it before that."""

    rows: int = 24
    columns: int = 80
    lines: list[str] = field(default_factory=lambda: [""])
    row: int = 0
    column: int = 0
    cursor: bool = True
    widest: int = 0  # the last column that was written to
    red: list[str] = field(default_factory=list)  # text that was written in red

    def write(self, text: str) -> None:
        """Obey what was written. Fails at what is not known here, and where the cursor leaves the screen."""
        colour = "39"
        at = 0
        for part in PARTS.finditer(text):
            assert part.start() == at, text[at : at + 20]
            at = part.end()
            number, command, end, words = part.groups()
            if command:
                if command == "m":
                    # `38;5;237` is a colour by its number, `1;31` bold and red, and an empty number is 0
                    colour = "38" if "38;" in number else number.split(";")[-1] or "0"
                self.obey(number, command)
            elif end:
                self.column = 0
                self.row += "\n" in end
                self.lines += [""] * (self.row + 1 - len(self.lines))
            else:
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + words + line[self.column + len(words) :]
                self.column += len(words)
                assert self.column <= self.columns, words
                self.widest = max(self.widest, self.column)
                self.red += [words] if colour == "31" else []

    def obey(self, number: str, command: str) -> None:
        """One control sequence."""
        if command == "A":
            self.row -= int(number or 1)
            assert self.row >= max(0, len(self.lines) - self.rows), "above the screen"
        elif command == "K":
            assert number in ("", "0", "2")
            self.lines[self.row] = "" if number == "2" else self.lines[self.row][: self.column]
        elif command in "hl" and number == "?25":
            self.cursor = command == "h"
        else:
            assert command == "m", command

    @property
    def text(self) -> str:
        """What stands there, without empty lines at the end."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip()


def test_the_screen_obeys() -> None:
    """What the tests below read from it is what a terminal shows."""
    screen = Screen()
    screen.write("one\r\ntwo\x1b[1A\rO\r\n\x1b[2K\x1b[31mthree\x1b[0m!\x1b[?25l")
    assert (screen.text, screen.red, screen.cursor) == ("One\nthree!", ["three"], False)
    with pytest.raises(AssertionError, match="above the screen"):
        screen.write("\x1b[5A")


@contextmanager
def on_a_terminal(
    command: list[str], rows: int = 24, columns: int = 80, stdout: Any = None, **more: str
) -> Iterator[tuple[subprocess.Popen[bytes], Any]]:
    """A process with a terminal of its own on stderr, and on stdout unless that is given; and what reads of it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **more}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "CI", "GITHUB_ACTIONS"):
        environment.pop(name, None)

    def read() -> str:
        """What was written since the last time; nothing once all ends are closed."""
        try:
            return os.read(ours, 1 << 16).decode()
        except OSError:
            return ""

    def heed() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background of a shell ignores it

    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=stdout or theirs, stderr=theirs, env=environment, preexec_fn=heed
    ) as process:
        os.close(theirs)
        try:
            yield process, read
        finally:
            process.kill()
            os.close(ours)


def all_of(read: Any) -> str:
    """What is written until the end."""
    parts = []
    while part := read():
        parts.append(part)
    return "".join(parts)


WORK = """
import sys, time
from rv_check.cli.console import Console

console = Console()
with console.progress(4.0, {above}) as progress:
    for part in ("a[1]", "b", "c", "d"):
        progress.at("net::" + part)
        time.sleep(0.3)
        progress.step()
        if part in "bc":
            console.say("found " + part)
        if part == "c":
            print("a module prints", file=sys.stderr)
            console.note("a note")
    {end}
console.write("the answer", None)
"""


def work(end: str = "pass", above: str = "None") -> list[str]:
    """A command that works for a second."""
    return [sys.executable, "-c", WORK.format(end=end, above=above)]


def test_a_bar_is_drawn_and_gone_at_the_end() -> None:
    """While it runs it shows the share, the time to go and what it is at; what is left are results and notes alone."""
    screen = Screen()
    with on_a_terminal(work()) as (process, read):
        seen = []
        while part := read():
            screen.write(part)
            seen.append(screen.text.splitlines()[-1] if screen.text else "")
        assert process.wait() == 0
    assert any(re.search(r"━ +0% some time to go +net::a\[1\]$", line) for line in seen)
    assert any(re.search(r"━ +50% \d s to go +net::c$", line) for line in seen)
    assert screen.text == "found b\nfound c\na module prints\na note\nthe answer"
    assert screen.cursor


def test_stdout_is_clean_where_stderr_is_a_terminal(tmp_path: Path) -> None:
    """A file that takes the results has these and no more."""
    with (tmp_path / "out").open("wb") as out, on_a_terminal(work(), stdout=out) as (process, read):
        screen = Screen()
        screen.write(all_of(read))
        assert process.wait() == 0
    assert (tmp_path / "out").read_text() == "found b\nfound c\nthe answer\n"
    assert screen.text == "a module prints\na note"


@pytest.mark.parametrize("end", ["raise KeyboardInterrupt", "1 / 0"])
def test_what_ends_a_run_leaves_the_terminal_clean(end: str) -> None:
    """Neither Ctrl-C nor a bug leaves a bar, or a terminal without a cursor."""
    screen = Screen()
    with on_a_terminal(work(end=end)) as (process, read):
        screen.write(all_of(read))
        assert process.wait() != 0
    assert screen.text.splitlines()[4] == "Traceback (most recent call last):"
    assert "to go" not in screen.text
    assert screen.cursor


def test_the_bar_is_not_red_under_tox() -> None:
    """tox writes in red what a command says on stderr, from each line's begin: the bar says its own colour."""
    screen = Screen()
    with on_a_terminal(work(above="lambda columns, rows: ['row 1', 'row 2']")) as (_, read):
        parts = [part := read()]
        while part:
            screen.write(f"\x1b[31m{part}\x1b[39m")
            parts.append(part := read())
    assert "row 1" in "".join(parts)
    assert not [words for words in screen.red if re.search("row|to go|net::|━", words)]


def test_a_terminal_that_can_draw_nothing() -> None:
    """As that of an editor, which gets lines, of which a second has none."""
    with on_a_terminal(work(), TERM="dumb") as (_, read):
        assert all_of(read).replace("\r", "") == "found b\nfound c\na module prints\na note\nthe answer\n"


def test_without_rich_there_is_no_bar(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal is told once what would bring it; elsewhere nothing is said."""
    imported = builtins.__import__

    def no_rich(name: str, *arguments: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "rich":
            raise ImportError("no rich here")
        return imported(name, *arguments, **more)

    monkeypatch.setattr(builtins, "__import__", no_rich)
    monkeypatch.delitem(sys.modules, "rv_check.cli.bar")
    monkeypatch.setenv("TERM", "xterm")
    with Console().progress(2) as progress:
        progress.step(1, "one")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Console().progress(2) as progress:
        assert type(progress) is Progress
        progress.step(1, "one")
    words = "rv-check: no bar (no rich here); pip install 'rv-check[torch]' brings it\n"
    assert capsys.readouterr() == ("", words)


def test_time_to_go(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the pace so far, without what was there already; a line each half minute where there is no terminal."""
    times = iter([0.0, 0.0, 40.0, 60.0, 71.0])
    monkeypatch.setattr("rv_check.cli.progress.monotonic", lambda: next(times))
    progress = progress_of(10, lambda text: None)
    progress.step(2, "there", took_time=False)
    progress.step(4, "one")  # 40 s for 4; 4 are left
    progress.step(2, "two")
    progress.step(1, "three")  # 71 s for 7; 1 is left
    assert capsys.readouterr().err == "one; 60%, 40 s to go\nthree; 90%, 10 s to go\n"


def test_the_first_parts_say_nothing_of_the_pace() -> None:
    """Below a twentieth there is no time to go, however long it took."""
    progress = Progress(100)
    progress.step(4)
    assert progress.left(1e6) is None
    progress.step(1)
    assert progress.left(1e6) is not None


def test_the_time_to_go_goes_down_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """But not below nothing: a part that takes longer than the pace says has no time to go."""
    monkeypatch.setattr("rv_check.cli.progress.monotonic", iter([0.0, 30.0]).__next__)
    progress = Progress(2)
    assert progress.left(5.0) is None
    progress.step()
    assert [progress.left(now) for now in (30.0, 40.0, 70.0)] == [30.0, 20.0, 0.0]


def test_lines_above_a_bar_fit_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """They are told how many columns and rows there are; the bar has the last one but one."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "10")
    asked = []

    def above(columns: int, rows: int) -> list[str]:
        asked.append((columns, rows))
        return [f"{row} {'x' * 70}" for row in range(rows)]

    screen = Screen(10, 60)
    with Bar(1, above):
        time.sleep(0.3)
    screen.write(capsys.readouterr().err.replace("\n", "\r\n"))
    assert set(asked) == {(60, 7)}
    assert screen.text == ""


def test_a_bar_leaves_room_for_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The terminal writes `^C` behind it, and on the next line where there is no room: that line would stay."""
    monkeypatch.setenv("COLUMNS", "60")
    screen = Screen(columns=60)
    with Bar(1) as bar:
        bar.at("x" * 100)
        time.sleep(0.3)
    screen.write(capsys.readouterr().err.replace("\n", "\r\n"))
    assert 50 < screen.widest <= 57
