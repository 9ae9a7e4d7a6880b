"""Files are written whole or not at all, and by one function."""

from __future__ import annotations

import ast
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import rv_check
from rv_check.errors import RvCheckError
from rv_check.writing import put, writable, write_bytes, write_text

PACKAGE = Path(rv_check.__file__).parent


def test_written(tmp_path: Path) -> None:
    """A new file and an old one hold what was written, to the byte, and nothing else is in the folder."""
    path = tmp_path / "a.json"
    for text in ("one\r\n", "zwölf\n"):
        write_text(path, text)
        assert path.read_bytes() == text.encode()
    write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(tmp_path) == ["a.json"]


def test_permissions(tmp_path: Path) -> None:
    """A new file has those that any new file has, an old one keeps its own."""
    (tmp_path / "usual").touch()
    write_text(tmp_path / "new", "")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)
    (tmp_path / "new").chmod(0o640)
    write_text(tmp_path / "new", "again")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


@pytest.mark.parametrize("at", ["fsync", "replace"])
@pytest.mark.parametrize("before", ["old", None])
def test_an_interrupted_write_leaves_the_file_as_it_was(
    at: str, before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C at any moment: the old file is whole, or there is none, and no other one is left."""
    path = tmp_path / "a.json"
    if before is not None:
        path.write_text(before)

    def interrupted(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, at, interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(path, "new")
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == ({"a.json": before} if before else {})


def test_a_disk_that_is_full_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message, and nothing half-written."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RvCheckError, match=r"a\.json cannot be written: No space left on device"):
        write_text(tmp_path / "a.json", "new")
    assert os.listdir(tmp_path) == []


def test_a_link_stays_one(tmp_path: Path) -> None:
    """What it leads to is written."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "a.json")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "a.json").read_text() == "new"


def test_a_device_is_written_to(tmp_path: Path) -> None:
    """A pipe is not replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_text(pipe, "new")
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_that_takes_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in it can be written all the same."""
    path = tmp_path / "a.json"
    path.write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).is_file())
    monkeypatch.setattr(os, "replace", None)
    put(path, b"new")
    assert path.read_text() == "new"


def test_error_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, no folder, and no permission are said; else the path is given back, and nothing is made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").touch()
    for name, reason in ((".", "it is a folder"), ("nowhere/a", "there is no folder nowhere")):
        with pytest.raises(RvCheckError) as raised:
            writable(name)
        assert str(raised.value) == f"{name} cannot be written: {reason}"
    assert (writable("old"), writable("new")) == (Path("old"), Path("new"))
    assert os.listdir(tmp_path) == ["old"]
    for name, refused in (("old", "old"), ("new", ".")):
        monkeypatch.setattr(os, "access", lambda path, mode, refused=refused: str(path) != refused)
        with pytest.raises(RvCheckError, match=f"^{name} cannot be written: no permission$"):
            writable(name)


# Nobody else

WRITES = {"write_text", "write_bytes", "savefig", "replace", "rename", "dump", "save", "NamedTemporaryFile"}
TAKEN = {"replace", "save", "dump"}  # methods of other things, too: of os, torch and json and pickle they write files


def writes(text: str) -> list[int]:
    """The lines at which a module writes a file by itself: whatever it writes to is no buffer in memory."""
    tree = ast.parse(text)
    buffers = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.value) == "io.BytesIO()"
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        names = {argument.id for argument in node.args if isinstance(argument, ast.Name)}
        if isinstance(node.func, ast.Attribute):
            owner, name = ast.unparse(node.func.value), node.func.attr
            wrong = name in WRITES - TAKEN or (name in TAKEN and owner in ("os", "shutil", "torch", "json", "pickle"))
            wrong = wrong and not names & buffers
        else:
            name, wrong = ast.unparse(node.func), False
        modes = [ast.unparse(one) for one in (*node.args, *(keyword.value for keyword in node.keywords))]
        opens = name == "open" and any(mode in ("'w'", "'wb'", "'a'", "'ab'", "'x'", "'xb'") for mode in modes)
        if wrong or opens:
            found.append(node.lineno)
    return found


def by_themselves(folder: Path) -> list[str]:
    """Where a package writes files elsewhere than in its module `writing`."""
    paths = [path for path in sorted(folder.rglob("*.py")) if path != folder / "writing.py"]
    return [f"{path.relative_to(folder)}:{line}" for path in paths for line in writes(path.read_text("utf-8"))]


def test_files_are_written_by_one_module() -> None:
    """No other module opens a file to write in it; that one does."""
    assert by_themselves(PACKAGE) == []
    assert len(writes((PACKAGE / "writing.py").read_text("utf-8"))) == 3


BY_THEMSELVES = [
    'open(name, "w").write(text)',
    'path.open(mode="ab")',
    "path.write_text(text)",
    "Path(name).write_bytes(content)",
    "os.replace(beside, path)",
    "torch.save(state, path)",
    "json.dump(found, file)",
    "figure.savefig(path)",
]


@pytest.mark.parametrize("line", BY_THEMSELVES)
def test_a_file_written_elsewhere_is_seen(line: str, tmp_path: Path) -> None:
    """The test above can fail: on a copy of a module with such a line."""
    (tmp_path / "bench").mkdir()
    copied = Path(shutil.copy(PACKAGE / "bench" / "tables.py", tmp_path / "bench"))
    assert by_themselves(tmp_path) == []
    with copied.open("a", encoding="utf-8") as file:
        file.write(f"\n\n{line}\n")
    assert len(by_themselves(tmp_path)) == 1


@pytest.mark.parametrize("line", ['path.open("rb")', "text.replace(a, b)", "torch.load(path)", "json.dumps(found)"])
def test_other_calls_are_not_taken_for_it(line: str) -> None:
    """What reads, or changes a text."""
    assert writes(line) == []


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_pipe_is_written_to(name: str) -> None:
    """Also where the name leads to no file that could be opened, as that of a process's stdout does."""
    script = f"from pathlib import Path\nfrom rv_check.writing import write_text\nwrite_text(Path('/dev/{name}'), 'x')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, getattr(done, name)) == (0, "x")
