"""Every way in which a spec can be wrong has its message: place, line, caret, what to do. Whole texts are compared.

To add a case, write `bad_specs/NAME.yaml` (blocks go to `bad_specs/blocks/`) and, by hand, the text in `NAME.txt`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rv_check.archs.load import load, load_archs
from rv_check.errors import RvCheckError, SpecError
from rv_check.language import files as spec_files
from rv_check.language import library
from tests import ROOT

FOLDER = Path(__file__).parent / "bad_specs"
HELPERS = {Path("twice/cell.yaml")}  # a block beside its family, on purpose


def files(suffix: str) -> list[Path]:
    """The files of the folder that are no blocks."""
    found = (path.relative_to(FOLDER) for path in FOLDER.rglob(f"*{suffix}"))
    return sorted(path for path in found if "blocks" not in path.parts and path not in HELPERS)


def text_of(path: Path) -> str:
    """What is said of a bad spec."""
    with pytest.raises(SpecError) as error:
        load_archs(path)
    return str(error.value)


@pytest.mark.parametrize("path", files(".yaml"), ids=lambda path: str(path.with_suffix("")))
def test_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole text is the one that was written down."""
    monkeypatch.chdir(FOLDER)
    assert path.with_suffix(".txt").read_text(encoding="utf-8") == text_of(path) + "\n"


def test_errors_do_not_depend_on_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML's own parser, where it was built without libyaml, is answered in the same words."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    for known in (spec_files.parse_version, library._check_version):
        known.cache_clear()
    for path in files(".yaml"):
        assert path.with_suffix(".txt").read_text(encoding="utf-8") == text_of(path) + "\n"


def test_every_spec_has_its_text() -> None:
    """No bad spec without its text, no text without its spec, and no block that no case leads to."""
    assert [path.with_suffix("") for path in files(".yaml")] == [path.with_suffix("") for path in files(".txt")]
    texts = {path: path.read_text(encoding="utf-8") for path in FOLDER.rglob("*.*")}
    blocks = list(FOLDER.rglob("blocks/*.yaml"))
    assert blocks
    alone = [b for b in blocks if not any(b.stem in text for path, text in texts.items() if path != b)]
    assert not alone


def write(folder: Path, contents: dict[str, str | bytes]) -> None:
    """Write files, byte for byte."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def family(body: str, top: str = "", arch: str = "") -> str:
    """A family around the lines of a body."""
    return (
        f"family: net\n{top}input: 3 8 8\nbody:\n{textwrap.indent(body, '  ')}\narchs:\n  net:\n    build: net\n{arch}"
    )


def said(text: str) -> str:
    """A text as it stands indented in a table."""
    return textwrap.dedent(text).strip("\n")


# What no editor should be trusted to keep: bytes, line ends, characters that do not show.

BYTES: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (
        b"family: net\nsource: \xc3\xa4 caf\xe9 au lait\n",
        """
        net.yaml:2:14: byte 0xe9 is not UTF-8
          source: ä caf\ufffd au lait
                       ^
          expected: UTF-8 text
        """,
    ),
    "UTF-16": (
        "family: net\n".encode("utf-16-le"),
        """
        net.yaml:1:2: this is not YAML: the character U+0000
          f\\x00a\\x00m\\x00i\\x00l\\x00y\\x00:\\x00 \\x00n\\x00e\\x00t\\x00
           ^
          expected: printable text
        """,
    ),
    "a byte order mark takes no column": (
        b"\xef\xbb\xbffamly: net\n",
        """
        net.yaml:1:1: neither a family nor a block
          famly: net
          ^
          expected: family: or block:    did you mean: family
        """,
    ),
    "CRLF ends a line": (
        family("- rleu\n- conv(8, kernel=[3,\r\n  3], bias=x)").replace("\n", "\r\n").encode(),
        """
        net.yaml:4:5: unknown op or block 'rleu'
            - rleu
              ^
          expected: an op or a block    did you mean: relu

        net.yaml:5:5: unknown name 'x'
            - conv(8, kernel=[3,
              ^
          expected: no name here
        """,
    ),
    "a tab takes one column": (
        family("- rleu\t").replace("input: 3 8 8", "input:\t3\t8").encode(),
        """
        net.yaml:2:8: input is '3\\t8'
          input: 3 8
                 ^
          expected: channels rows columns, as in 3 224 224

        net.yaml:4:5: unknown op or block 'rleu'
            - rleu
              ^
          expected: an op or a block    did you mean: relu
        """,
    ),
    "a wide character takes two columns, an accent none": (
        family("- 日本: rleu\n- e\u0301: rleu").encode(),
        """
        net.yaml:4:5: '日本' cannot be a name
            - 日本: rleu
              ^
          expected: letters, digits, _ - and {expression}, a letter or _ first, at most 100

        net.yaml:4:9: unknown op or block 'rleu'
            - 日本: rleu
                    ^
          expected: an op or a block    did you mean: relu

        net.yaml:5:6: 'e\u0301' cannot be a name
            - e\u0301: rleu
               ^
          expected: letters, digits, _ - and {expression}, a letter or _ first, at most 100

        net.yaml:5:9: unknown op or block 'rleu'
            - e\u0301: rleu
                 ^
          expected: an op or a block    did you mean: relu
        """,
    ),
    "terminal escapes are shown, not obeyed": (
        family('- "\\e[2Jx": relu\n- sum:\n    "\\a": identity\n    b: identity').encode(),
        """
        net.yaml:4:5: '\\x1b[2Jx' cannot be a name
            - "\\e[2Jx": relu
              ^
          expected: letters, digits, _ - and {expression}, a letter or _ first, at most 100

        net.yaml:6:7: '\\x07' cannot label a branch
                "\\a": identity
                ^
          expected: letters, digits and _, no word of the language
        """,
    ),
    "what turns a line around is shown too": (
        family("- a\u202e: rleu # \u202e").encode(),
        """
        net.yaml:4:6: 'a\\u202e' cannot be a name
            - a\\u202e: rleu # \\u202e
               ^
          expected: letters, digits, _ - and {expression}, a letter or _ first, at most 100

        net.yaml:4:9: unknown op or block 'rleu'
            - a\\u202e: rleu # \\u202e
                       ^
          expected: an op or a block    did you mean: relu
        """,
    ),
    "an escape character is no YAML": (
        b"family: net\nsource: \x1b[31mred\n",
        """
        net.yaml:2:9: this is not YAML: the character U+001B
          source: \\x1b[31mred
                  ^
          expected: printable text
        """,
    ),
    "a long line is cut around the caret": (
        family(f"- concat: # {'.' * 200}\n    a: identity # {'.' * 200}\n    b: {'x' * 100}{'y' * 200}").encode(),
        f"""
        net.yaml:6:10: branch 'b' is '{"x" * 57}...'
                b: {"x" * 100}{"y" * 51}...
                   ^
          expected: a list of steps, identity, none, or if:
        """,
    ),
}


@pytest.mark.parametrize(("content", "expected"), BYTES.values(), ids=BYTES.keys())
def test_error_bytes(content: bytes, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places are right whatever the bytes, and nothing that a message shows is obeyed by a terminal."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"net.yaml": content})
    assert said(expected) == text_of(Path("net.yaml"))


def test_crlf_and_byte_order_mark_are_no_errors(tmp_path: Path) -> None:
    """A spec written on another system is the same spec."""
    plain = family("- conv(8, kernel=3, bias=False)\n- relu")
    write(tmp_path, {"a.yaml": plain, "b.yaml": b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode()})
    assert [arch.params for arch in load_archs(tmp_path / "a.yaml")] == [8 * 3 * 3 * 3]
    assert [arch.params for arch in load_archs(tmp_path / "b.yaml")] == [8 * 3 * 3 * 3]


def test_a_long_line_is_cut_on_both_sides(tmp_path: Path) -> None:
    """What is left out of a line is marked, and the caret stays under its character."""
    write(tmp_path, {"net.yaml": family(f"- sum: {'x' * 300}\n- conv({'1+' * 80}rleu, kernel=1, bias=False)")})
    _, line, caret, *_ = text_of(tmp_path / "net.yaml").split("\n\n")[1].split("\n")
    assert line.startswith("  ...+1+1")
    assert line[caret.index("^") :].startswith("rleu")


# Files that are none, and folders that lead elsewhere


def no_file(folder: Path) -> None:
    """Nothing is there."""


def a_folder(folder: Path) -> None:
    """A folder has the name of the spec."""
    (folder / "net.yaml").mkdir()


def a_pipe(folder: Path) -> None:
    """A pipe that nobody writes to would block whoever reads it."""
    os.mkfifo(folder / "net.yaml")


def a_device(folder: Path) -> None:
    """A device that never ends."""
    (folder / "net.yaml").symlink_to("/dev/zero")


def a_circle(folder: Path) -> None:
    """A link to itself."""
    (folder / "net.yaml").symlink_to(folder / "net.yaml")


def a_huge_file(folder: Path) -> None:
    """A file with a hole of a terabyte."""
    with (folder / "net.yaml").open("wb") as file:
        file.truncate(2**40)


def a_block_outside(folder: Path) -> None:
    """A block that is a link to a file elsewhere."""
    write(folder, {"secret/cell.yaml": CELL, "nets/net.yaml": family("- cell"), "nets/blocks/other.yaml": CELL})
    (folder / "nets/blocks/cell.yaml").symlink_to(folder / "secret/cell.yaml")


def a_folder_outside(folder: Path) -> None:
    """A folder of blocks that is a link to a folder elsewhere."""
    write(folder, {"secret/cell.yaml": CELL, "nets/net.yaml": family("- cell")})
    (folder / "nets/blocks").symlink_to(folder / "secret")


def a_pipe_for_a_block(folder: Path) -> None:
    """A pipe with the name of a block is no block."""
    write(folder, {"net.yaml": family("- rellu")})
    (folder / "blocks").mkdir()
    os.mkfifo(folder / "blocks/rellu.yaml")


def an_escape_in_a_path(folder: Path) -> None:
    """A folder whose name would clear the screen."""
    write(folder, {"nets\x1b[2J/net.yaml": "family: net(\n"})


CELL = "block: cell\nin: C H W\nbody:\n  - relu\n"
FILES = [
    (no_file, "net.yaml", "net.yaml: there is no such file"),
    (no_file, "net\0.yaml", "net\\x00.yaml: the file cannot be read: its path holds a NUL"),
    (no_file, "n" * 300, f"{'n' * 300}: the file cannot be read: File name too long"),
    (a_folder, "net.yaml", "net.yaml: this is a directory\n  expected: a spec file"),
    (a_pipe, "net.yaml", "net.yaml: this is not a regular file\n  expected: a spec file"),
    (a_device, "net.yaml", "net.yaml: this is not a regular file\n  expected: a spec file"),
    (a_circle, "net.yaml", "net.yaml: the file cannot be read: Too many levels of symbolic links"),
    (a_huge_file, "net.yaml", "net.yaml: the file has 1,099,511,627,776 bytes\n  expected: at most 262,144"),
    (
        a_block_outside,
        "nets/net.yaml",
        """
        nets/net.yaml:4:5: block 'cell' is a link out of its folder: nets/blocks/cell.yaml
            - cell
              ^
          expected: the file itself
        """,
    ),
    (
        a_folder_outside,
        "nets/net.yaml",
        """
        nets/net.yaml:4:5: block 'cell' is a link out of its folder: nets/blocks/cell.yaml
            - cell
              ^
          expected: the file itself
        """,
    ),
    (
        a_pipe_for_a_block,
        "net.yaml",
        """
        net.yaml:4:5: unknown op or block 'rellu'
            - rellu
              ^
          expected: an op or a block    did you mean: relu
        """,
    ),
    (
        an_escape_in_a_path,
        "nets\x1b[2J/net.yaml",
        """
        nets\\x1b[2J/net.yaml:1:1: a family without input:, body:, archs:
          family: net(
          ^
          expected: input:, body:, archs:

        nets\\x1b[2J/net.yaml:1:12: 'net(' is not a signature
          family: net(
                     ^
          expected: a partner for '('
        """,
    ),
]


@pytest.mark.parametrize(("prepare", "name", "expected"), FILES, ids=[f"{f.__name__} {n[:20]!r}" for f, n, _ in FILES])
def test_error_files(prepare, name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no regular file is not opened, and a spec leads nowhere but to its own folders."""
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    assert said(expected) == text_of(Path(name))


def test_a_link_within_the_folder_is_a_block(tmp_path: Path) -> None:
    """What leads out is refused; a link that stays inside is a file like any other, and so is a linked family."""
    write(tmp_path, {"nets/net.yaml": family("- cell"), "nets/blocks/cell_v1.txt": CELL})
    (tmp_path / "nets/blocks/cell.yaml").symlink_to("cell_v1.txt")
    (tmp_path / "link").symlink_to(tmp_path / "nets")
    assert [arch.name for arch in load_archs(tmp_path / "link/net.yaml")] == ["net"]


def test_error_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be read says so."""
    write(tmp_path, {"net.yaml": family("- relu")})
    monkeypatch.chdir(tmp_path)

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read everything
    assert text_of(Path("net.yaml")) == "net.yaml: the file cannot be read: Permission denied"


def test_a_hundred_problems_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with a thousand mistakes shows a hundred, and says that there may be more."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"net.yaml": family("\n".join(["- rleu"] * 1000))})
    parts = text_of(Path("net.yaml")).split("\n\n")
    assert len(parts) == 101
    assert parts[-1] == "These are the first 100 problems; there may be more."


def test_error_family_by_a_late_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A family is no block, even where its first word stands far down in its file."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"net.yaml": family("- deep"), "deep.yaml": "# a long preface\n" * 1000 + family("- relu")})
    expected = """
        net.yaml:4:5: 'deep' is a family: deep.yaml
            - deep
              ^
          expected: an op or a block
        """
    assert said(expected) == text_of(Path("net.yaml"))
    write(tmp_path, {"block.yaml": "block: block(x)\nin: C H W\nbody:\n  - x\n"})
    monkeypatch.setattr(spec_files, "shipped_folder", lambda: tmp_path)
    write(tmp_path, {"net.yaml": family("- block(x)").replace("family: net", "family: net(x=relu)")})
    with pytest.raises(SpecError) as error:
        load("net.yaml::net(x=deep)")
    assert str(error.value) == "'deep' is a family: deep.yaml\n  expected: an op or a block"


def test_error_name_too_long_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that no file can have is a name that is not known."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"net.yaml": family(f"- {'b' * 300}")})
    assert text_of(Path("net.yaml")).startswith(f"net.yaml:4:5: unknown op or block '{'b' * 57}...'\n")


# Hostile specs: a clear error, in little time and memory


HELD = """
import json, os, resource, sys
from pathlib import Path
from rv_check.archs.load import load_archs
from rv_check.errors import SpecError

def answer(folder, what, seconds):
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    try:
        exec(what)
        return "no error"
    except SpecError as error:
        return str(error)
    except BaseException as error:
        return repr(error)

for line in sys.stdin:
    child = os.fork()
    if not child:
        print(json.dumps(answer(*json.loads(line))), flush=True)
        os._exit(0)
    if status := os.waitpid(child, 0)[1]:
        print(json.dumps(f"ended by signal {status}"), flush=True)
"""
FOREVER = 30  # seconds of the processor; none takes more than about two


class Reader:
    """A process that reads each spec in a copy of itself, which may have 1 GiB of memory and may not take forever."""

    def __init__(self, process: subprocess.Popen[str]):
        self.process = process

    def ask(self, folder: Path, what: str = 'load_archs(Path("net.yaml"))', seconds: int = FOREVER) -> str:
        """What is said."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([str(folder), what, seconds]), file=self.process.stdin, flush=True)
        text: str = json.loads(self.process.stdout.readline())
        return text


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    """One for all hostile specs, since it takes longer to start than to read."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", HELD], env=environment, **pipes) as process:
        yield Reader(process)


def chain_of_blocks(n: int, body: str, last: str, arguments: str = "") -> dict[str, str]:
    """Blocks b0 to bn, each calling the next with this body, where `NEXT` is its name."""
    head = "block: b{i}{arguments}\nin: C H W\nbody:\n"
    blocks = {
        f"blocks/b{i}.yaml": head.format(i=i, arguments=arguments) + body.replace("NEXT", f"b{i + 1}") for i in range(n)
    }
    return {**blocks, f"blocks/b{n}.yaml": head.format(i=n, arguments=arguments) + last}


def groups(n: int, last: str, indent: int = 1) -> str:
    """Groups within groups."""
    lines = [f"{'  ' * (2 * i + indent)}- g{i}:" for i in range(n)]
    return "\n".join([*lines, "  " * (2 * n + indent) + last]) + "\n"


def lets(n: int, first: str, each: str) -> str:
    """`let:` with n names, each made of the one before, `LAST`."""
    lines = [f"  a0: {first}", *(f"  a{i}: {each.replace('LAST', f'a{i - 1}')}" for i in range(1, n + 1))]
    return "let:\n" + "\n".join(lines) + "\n"


def rounds(times: int, body: str, index: str = "") -> str:
    """A step that repeats this step."""
    return f"- repeat: {times}\n{index}  steps:\n" + textwrap.indent(body, "    ")


INDEX = "  index: i\n"
GROWS = "- concat:\n    a: identity\n    b:\n      - conv(1, kernel=1, bias=False)"
MANY_STEPS = "more than 30,000 steps and names, none like another"

HOSTILE: dict[str, tuple[dict[str, str], str]] = {
    # the text of a file
    "half a megabyte": ({"net.yaml": "family: net\n" + "#" * 2**19}, "net.yaml: the file has 524,300 bytes"),
    "brackets": ({"net.yaml": "body: " + "[" * 100_000}, "net.yaml:1:47: nested deeper than 40 levels"),
    "closed brackets": (
        {"net.yaml": "body: " + "[" * 60_000 + "]" * 60_000},
        "net.yaml:1:47: nested deeper than 40 levels",
    ),
    "braces": ({"net.yaml": "body: " + "{a: " * 50_000}, "net.yaml:1:164: nested deeper than 40 levels"),
    "dashes": ({"net.yaml": "body:\n  " + "- " * 60_000}, "net.yaml:2:83: nested deeper than 40 levels"),
    "complex keys": ({"net.yaml": "? " * 100_000}, "net.yaml:1:83: nested deeper than 40 levels"),
    # 7 values are before the first step, in line 4, so that step 24,994 is the first that is too much
    "values": ({"net.yaml": family("- relu\n" * 25_000)}, "net.yaml:24997:5: the file has more than 25,000 values"),
    "a billion laughs in aliases": (
        {"net.yaml": "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1},' * 9}]\n" for i in range(1, 30))},
        "net.yaml:1:5: anchor '&a0': specs have no anchors",
    ),
    "digits of a version": (
        {"net.yaml": f"%YAML 1.{'1' * 200_000}\n---\na: b\n"},
        "net.yaml:1:9: this is not YAML: there is no such character or number",
    ),
    "documents": ({"net.yaml": "---\n" * 60_000}, "net.yaml:2:1: a second document begins here"),
    "a quote": ({"net.yaml": "a: " + "'" * 200_001}, "net.yaml:1:4: this is not YAML: the quote is never closed"),
    "an error at the end": (
        {"net.yaml": "".join(f"a{i}: b\n" for i in range(12_000)) + "c: ]\n"},
        "net.yaml:12001:4: this is not YAML: there is no value here",
    ),
    "unknown names": (
        {"net.yaml": family("\n".join(f"- xyzzy{i}" for i in range(8_000)))},
        "net.yaml:4:5: unknown op or block 'xyzzy0'",
    ),
    "unknown keys": (
        {"net.yaml": "family: net\n" + "".join(f"xyzzy{i}: 1\n" for i in range(12_000))},
        "net.yaml:2:1: a family has no key 'xyzzy0'",
    ),
    "batches": (
        {
            "net.yaml": family(
                "- relu", arch=f"bench:\n  - arch: net\n    batch: {' '.join(map(str, range(1, 35_000)))} 1\n"
            )
        },
        # 11 characters before the first, 9 + 180 + 2,700 + 36,000 + 125,000 digits, 34,999 spaces
        "net.yaml:10:198900: batch is '1'",
    ),
    "spaces before a limit": (
        {
            "net.yaml": family("- cell"),
            "blocks/cell.yaml": f'block: cell\nin: C H W\nout: C H W\nbudgets:\n  macs: "at most{" " * 200_000}1\\n"\n',
        },
        "blocks/cell.yaml:5:9: the budget macs is 'at most                                                  ...'",
    ),
    # expressions
    "100,000 terms": (
        {"net.yaml": family(f"- dropout({'1+' * 100_000}1)")},
        "net.yaml:4:5: an expression of 200,010 characters",
    ),
    "parentheses": (
        {"net.yaml": family(f"- dropout({'(' * 450}1{')' * 450})")},
        f"net.yaml:4:212: 'dropout({'(' * 49}...' is not a call",
    ),
    "minus signs": ({"net.yaml": family(f"- dropout({'-' * 900}1)")}, "net.yaml:4:5: an expression of 903 terms"),
    "900 digits": ({"net.yaml": family(f"- dropout({'9' * 900})")}, "net.yaml:4:13: the number is too large"),
    "an exponent of a billion": (
        {"net.yaml": family("- batchnorm(eps=1e-999999999)")},
        "net.yaml:4:19: the number is too large",
    ),
    "products": (
        {"net.yaml": family("- dropout(a60)", lets(60, "10", "LAST * LAST"))},
        "net.yaml:7:7: the number is too large",
    ),
    "comparisons within comparisons": (
        {
            "net.yaml": family(
                f"- if: {'True==(' * 48}True{')==True' * 48}\n  then:\n    - conv(8, kernel=9, bias=False)"
            )
        },
        "net.yaml:6:24: conv: the kernel spans 9, larger than its input of 8",
    ),
    "lists within lists": (
        {"net.yaml": family("- dropout(a60)", lets(60, "[1, 1]", "[LAST, LAST]"))},
        "net.yaml:4:8: a0 is the list [1, 1], within a list",
    ),
    "partials within partials": (
        {
            "net.yaml": family("- a60", lets(60, "relu", "two(x=LAST, y=LAST)")),
            "blocks/two.yaml": "block: two(x, y)\nin: C H W\nbody:\n  - x\n  - y\n",
        },
        "net.yaml:10:7: a value made of 255 values",  # a7: each is 1 more than twice the one before, a0 is 1
    ),
    # repeats
    "repeats within repeats": (
        {"net.yaml": family(rounds(10**12, rounds(10**12, "- relu")))},
        "net.yaml:6:17: 1,000,000,000,000 rounds make 1,000,000,000,000 layers and blocks",
    ),
    "ten to the 24 identities": (
        {"net.yaml": family(rounds(10**12, rounds(10**12, "- sum:\n    a: identity\n    b: identity")))},
        "net.yaml:6:17: 1,000,000,000,000 rounds make 1,000,000,000,000 layers and blocks",
    ),
    "ten to the 12 empty groups": (
        {"net.yaml": family(rounds(10**12, "- g:\n    - shape: _ _ _"))},
        "net.yaml:4:13: 1,000,000,000,000 rounds make 1,000,000,000,000 layers and blocks",
    ),
    "rounds that all differ": (
        {"net.yaml": family(rounds(10**6, "- dropout(i / 1_000_000)", INDEX))},
        f"net.yaml:7:9: {MANY_STEPS}",
    ),
    "rounds of nothing that all differ": (
        {"net.yaml": family(rounds(10**12, "- if: i < 0\n  then:\n    - relu", INDEX))},
        f"net.yaml:7:9: {MANY_STEPS}",
    ),
    "a concat that grows for a million rounds": (
        {"net.yaml": family(rounds(10**6, GROWS))},
        f"net.yaml:9:15: {MANY_STEPS}",
    ),
    "a concat that doubles for a million rounds": (
        {"net.yaml": family(rounds(10**6, "- concat:\n    a: identity\n    b: identity"))},
        f"net.yaml:6:9: the shape after this is {3 * 2**49} 8 8",  # the first of 3 * 2^n above 10^15
    ),
    "a million names": (
        {"net.yaml": family(rounds(10**6, "- layer{i+1}: relu", INDEX))},
        f"net.yaml:7:9: {MANY_STEPS}",
    ),
    "a million names in a group": (
        {"net.yaml": family(rounds(10**6, "- g:\n    - layer{i+1}: relu", INDEX))},
        f"net.yaml:8:13: {MANY_STEPS}",
    ),
    "a million long names": (
        {"net.yaml": family(rounds(10**6, f"- {'l' * 60}{{{'i+' * 16}1}}: relu", INDEX))},
        f"net.yaml:7:9: {MANY_STEPS}",
    ),
    # blocks
    "a billion laughs in blocks": (
        {"net.yaml": family("- b0"), **chain_of_blocks(30, "  - NEXT\n  - NEXT\n", "  - relu\n")},
        "blocks/b11.yaml:4:5: 1,572,862 layers and blocks",  # 2^19 relus, 2^20 - 2 blocks
    ),
    "a billion blocks that all differ": (
        {
            "net.yaml": family("- b0(1)"),
            **chain_of_blocks(30, "  - NEXT(2*n)\n  - NEXT(2*n+1)\n", "  - dropout(1/n)\n", "(n)"),
        },
        f"blocks/b28.yaml:4:5: {MANY_STEPS}",
    ),
    "blocks within blocks": (
        {"net.yaml": family("- b0"), **chain_of_blocks(60, "  - NEXT\n", "  - relu\n")},
        "blocks/b49.yaml:4:5: too many blocks, groups and branches within one another",
    ),
    "blocks within blocks, the inner ones first": (
        {
            "net.yaml": family("\n".join(f"- b{i}" for i in range(60, -1, -1))),
            **chain_of_blocks(60, "  - NEXT\n", "  - relu\n"),
        },
        "blocks/b11.yaml:4:5: too many blocks, groups and branches within one another",
    ),
    "groups within blocks": (
        {"net.yaml": family("- b0"), **chain_of_blocks(40, groups(17, "- NEXT"), "  - relu\n")},
        "blocks/b2.yaml:17:57: too many blocks, groups and branches within one another",
    ),
    "thousands of blocks": (
        {
            "net.yaml": family("\n".join(f"- b{i}" for i in range(3000))),
            **chain_of_blocks(3000, "  - relu\n" * 60, "  - relu\n"),
        },
        "net.yaml: with its blocks this makes 291,256 bytes",  # 28,950 and the first 462 blocks of 566 to 568
    ),
    # archs
    "thousands of archs": (
        {
            "net.yaml": "family: net(n)\ninput: 3 8 8\nbody:\n"
            + textwrap.indent(rounds(29_000, "- dropout(i / 1_000_000 / n)", INDEX), "  ")
            + "\narchs:\n"
            + "".join(f"  net{i}:\n    build: net({i + 1})\n" for i in range(2000))
        },
        f"net.yaml:7:9: {MANY_STEPS}",
    ),
    "thousands of contracts on a million layers": (
        {
            "net.yaml": family(
                rounds(10**6, "- relu"),
                arch="    contract:\n" + "".join(f"      '{999 * i}':\n        params: 0\n" for i in range(1500)),
            )
        },
        "net.yaml:2015:8: net has no step '1000998'",  # 999 * 1002
    ),
    "a printed number of 200,000 digits": (
        {"net.yaml": family("- relu", arch=f"    published:\n      - params: {'9' * 200_000}\n        source: x\n")},
        f"net.yaml:9:17: params is '{'9' * 57}...'",
    ),
}


@pytest.mark.parametrize(("contents", "expected"), HOSTILE.values(), ids=HOSTILE.keys())
def test_error_hostile(contents: dict[str, str], expected: str, tmp_path: Path, reader: Reader) -> None:
    """A spec that would take forever or fill the memory ends in a clear error."""
    write(tmp_path, contents)
    assert expected == reader.ask(tmp_path).split("\n")[0]


def test_the_bounds_are_held(tmp_path: Path, reader: Reader) -> None:
    """The process that reads notices too much memory, and what is never done; then it reads the next."""
    assert reader.ask(tmp_path, "bytearray(2**30)") == "MemoryError()"
    assert reader.ask(tmp_path, "while True: pass", seconds=1) in ("ended by signal 9", "ended by signal 24")
    assert reader.ask(tmp_path, "pass") == "no error"


def test_a_million_layers_are_no_error(tmp_path: Path, reader: Reader) -> None:
    """The bound itself is within the bounds: a million layers load, and one more is refused."""
    write(tmp_path, {"net.yaml": family(rounds(10**6, "- relu")), "more.yaml": family(rounds(10**6 + 1, "- relu"))})
    assert reader.ask(tmp_path) == "no error"
    assert reader.ask(tmp_path, 'load_archs(Path("more.yaml"))').startswith("more.yaml:4:13: 1,000,001 rounds")


def test_nothing_is_executed_or_imported(tmp_path: Path, reader: Reader) -> None:
    """A spec that names modules, files and code is only text: nothing is imported, and nothing happens."""
    body = "- __import__('os').system('touch here')\n- os.system\n- !!python/object/apply:os.system ['touch here']"
    arch = "    reference: antigravity.models.resnet50\n"
    write(tmp_path, {"net.yaml": family(body, arch=arch), "antigravity.py": "raise SystemExit('imported')"})
    text = reader.ask(tmp_path)
    assert "'antigravity.models.resnet50' has no registered provider" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["antigravity.py", "net.yaml"]


# What somebody types: an arch with its arguments, and an input size


NETS = {
    "net.yaml": "family: net(width, norm=True)\ninput: 3 8 8\nbody:\n  - conv(width, kernel=1, bias=norm)\n"
    "archs:\n  net50:\n    build: net(8)\n  net101:\n    build: net(16, norm=False)\n",
    "block.yaml": "block: block\nin: C H W\nbody:\n  - relu\n",
}
TYPED: list[tuple[str, str | None, str]] = [
    ("net5O", None, "unknown arch 'net5O'\n  expected: net50, net101    did you mean: net50"),
    ("vgg16", None, "unknown arch 'vgg16'\n  expected: net50, net101"),
    ("net", None, "'net' is a family, and no arch\n  expected: net50, net101"),
    (
        "net50(wdith=10)",
        None,
        """
        net has no argument 'wdith'
          net50(wdith=10)
                ^
          expected: width, norm    did you mean: width
        """,
    ),
    (
        "net50(10)",
        None,
        """
        net50 is given 10 without a name
          net50(10)
                ^
          expected: width=10, norm=10
        """,
    ),
    (
        "net50(10, wdith=3, width=1/0, norm=nrom)",
        None,
        """
        net50 is given 10 without a name
          net50(10, wdith=3, width=1/0, norm=nrom)
                ^
          expected: width=10, norm=10

        net has no argument 'wdith'
          net50(10, wdith=3, width=1/0, norm=nrom)
                    ^
          expected: width, norm    did you mean: width

        division by zero in 1/0
          net50(10, wdith=3, width=1/0, norm=nrom)
                                   ^

        unknown name 'nrom'
          net50(10, wdith=3, width=1/0, norm=nrom)
                                             ^
          expected: no name here
        """,
    ),
    (
        "net50(width=8",
        None,
        """
        'net50(width=8' is not an arch
          net50(width=8
               ^
          expected: a partner for '('
        """,
    ),
    (
        "net50 101",
        None,
        """
        'net50 101' is not an arch
          net50 101
                ^
          expected: the name of an arch, as in resnet50 or resnet50(classes=10)
        """,
    ),
    ("", None, "an arch is missing here\n  expected: the name of an arch, as in resnet50 or resnet50(classes=10)"),
    ("net.yaml", None, "'net.yaml' is a file\n  expected: net.yaml::ARCH, one of net50, net101"),
    ("net.yaml::net5O", None, "net.yaml has no arch 'net5O'\n  expected: net50, net101    did you mean: net50"),
    (
        "net.yaml::",
        None,
        "an arch is missing here\n  expected: the name of an arch, as in resnet50 or resnet50(classes=10)",
    ),
    ("nothing.yaml::net50", None, "nothing.yaml: there is no such file"),
    (
        "block.yaml::net50",
        None,
        """
        block.yaml:1:1: this is a block, not a family
          block: block
          ^
          expected: a family: file with archs:
        """,
    ),
    (
        "net50(width=True)",
        None,
        """
        net.yaml:4:10: conv: out is True
            - conv(width, kernel=1, bias=norm)
                   ^
          expected: an integer of at least 1
          in net50
        """,
    ),
    (
        "net50",
        "3 8",
        """
        input is '3 8'
          3 8
          ^
          expected: channels rows columns, as in 3 224 224
        """,
    ),
    (
        "net50",
        "192",
        """
        net.yaml:4:5: conv needs an input C H W, found 192
            - conv(width, kernel=1, bias=norm)
              ^
          in net50
        """,
    ),
    (
        "net50",
        "3 \x1b[2J 8",
        """
        input is '3 \\x1b[2J 8'
          3 \\x1b[2J 8
          ^
          expected: channels rows columns, as in 3 224 224
        """,
    ),
]


@pytest.mark.parametrize(("name", "size", "expected"), TYPED, ids=[f"{n} {i or ''}" for n, i, _ in TYPED])
def test_error_typed(
    name: str, size: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with what somebody typed is said about that, with the caret under it."""
    write(tmp_path, NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(spec_files, "shipped_folder", lambda: tmp_path)
    with pytest.raises(RvCheckError) as error:
        _ = load(name, size).tree
    assert said(expected) == str(error.value)


def test_error_two_archs_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that two families declare is ambiguous; with its file it is not."""
    write(tmp_path, {"a.yaml": NETS["net.yaml"], "b.yaml": NETS["net.yaml"].replace("net50", "netb")})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(spec_files, "shipped_folder", lambda: tmp_path)
    with pytest.raises(RvCheckError) as error:
        load("net101")
    expected = "there are two archs 'net101': in a.yaml and b.yaml\n  expected: path/to/file.yaml::net101"
    assert expected == str(error.value)
    assert load("netb").name == "netb"
    assert load("a.yaml::net101").family.path.name == "a.yaml"
