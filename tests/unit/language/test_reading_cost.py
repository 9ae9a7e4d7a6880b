"""What reading costs grows no faster than the file. Counted are lines that run, and characters; never seconds."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rv_check.checks.deviations import load_deviations
from rv_check.claims.file import load_claims
from rv_check.claims.table import read_tables
from rv_check.errors import SpecError
from rv_check.language import library
from rv_check.language.yaml_nodes import Text, read
from rv_check.text import LONGEST_NAME, SEARCHED_NAMES, nearest
from tests.unit.work import lines_of


class Compared(str):
    """A text whose comparisons are lines of Python, so that they count."""

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text that is read counts its comparisons."""
    make = Text.__init__

    def init(text: Text, words: str, *others: Any, **named: Any) -> None:
        make(text, Compared(words), *others, **named)

    monkeypatch.setattr(Text, "__init__", init)


def work(folder: Path, contents: str, load: Callable[[Path], object] = library.load) -> int:
    """How many lines run to read `net.yaml`, and to write down what is wrong with it.

    Args: `contents` the text of the file, and those of others, each after a line `=== NAME`.
    """
    text, *others = contents.split("=== ")
    files = {"net.yaml": text} | {other.partition("\n")[0]: other.partition("\n")[2] for other in others}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode())

    def said() -> None:
        try:
            load(folder / "net.yaml")
        except SpecError as error:
            str(error)

    return lines_of(said)


def family(body: str, top: str = "", archs: str = "  net:\n    build: net\n", after: str = "") -> str:
    """A family around the lines of a body."""
    return f"family: net\n{top}input: 3 8 8\nbody:\n{textwrap.indent(body, '  ')}\narchs:\n{archs}{after}"


def lines(n: int, each: str) -> str:
    """These lines n times, with `#` for their number."""
    return "".join(each.replace("#", str(i)) + "\n" for i in range(n))


def lets(n: int) -> str:
    """`let:` with the names a0, a1, ..."""
    return "let:\n" + lines(n, "  a#: 1")


def blocks(n: int, body: str) -> str:
    """The files of blocks b0, b1, ... with this body, where `NEXT` is the one after it; of the last one is a relu."""
    files = [
        f"=== blocks/b{i}.yaml\nblock: b{i}\nin: C H W\nbody:\n{body.replace('NEXT', f'b{i + 1}')}\n" for i in range(n)
    ]
    return "".join(files) + f"=== blocks/b{n}.yaml\nblock: b{n}\nin: C H W\nbody:\n  - relu\n"


DEEP: dict[str, Callable[[int], str]] = {
    "braces with keys": lambda n: "a: " + "{a: " * n,
    "brackets, one a line": lambda n: "a: " + "[\n " * n,
    "dashes": lambda n: "- " * n,
    "question marks": lambda n: "? " * n,
}
FLAT: dict[str, Callable[[int], str]] = {
    "lists of lists": lambda n: "a: [" + "[],[[]]," * n + "]",
    "a long text": lambda n: "a: " + "b " * n,
    "a text of many lines": lambda n: "a: " + "b\n  " * n,
    "blank lines": lambda n: "a: b" + "\n" * n + "  c",
    "a quote that is never closed": lambda n: "a: '" + "b\n" * n,
    "quoted texts": lambda n: "a: [" + "'b'," * n + "]",
    "escapes": lambda n: 'a: "' + "\\n\\x41" * n + '"',
    "a block of text": lambda n: "a: |\n" + "  b\n\n" * n + "]",
    "a folded text": lambda n: "a: >\n" + "  b\n   c\n" * n + "]",
    "tabs": lambda n: "a: b" + "\t" * n + "\n" + "\t" * n + "]",
    "comments": lambda n: "# a\n" * n + "]",
    "carriage returns": lambda n: "a: b\r\n" + "\r\n" * n + "- c\r\n" * n,
    "wide characters": lambda n: "a: " + "日\U0001f600" * n,
    # what a file may not have
    "documents": lambda n: "---\n" * n,
    "ends of documents": lambda n: "a: b\n" + "...\n" * n,
    "directives": lambda n: "%FOO bar\n" * n + "---\na: b\n",
    "tag directives": lambda n: lines(n, "%TAG !#! b") + "---\na: b\n",
    "anchors": lambda n: lines(n, "a#: &a# b"),
    "anchors in one line": lambda n: "a: {" + lines(n, "&a# k#: v,").replace("\n", " ") + "}",
    "aliases": lambda n: "a:\n" + "- *a\n" * n,
    "tags": lambda n: "a:\n" + "- !a b\n" * n,
    "a tag of escapes": lambda n: "a: !<" + "%41" * n + "> b",
    # keys
    "a long key": lambda n: "? " + "a" * n + "\n: b",
    "keys": lambda n: lines(n, "a#: b"),
    "equal keys": lambda n: "a: b\n" * n,
    "keys in braces": lambda n: "a: {" + lines(n, "k#: v,").replace("\n", " ") + "}",
    "keys without colons": lambda n: "a: b\n" + "c\n" * n,
    "unknown keys": lambda n: "family: net\n" + lines(n, "xyzzy#: 1"),
    "an error at the end": lambda n: lines(n, "a#: b") + "c: ]\n",
}
NAMES: dict[str, Callable[[int], str]] = {
    "lets": lambda n: family("- dropout(a)", lets(n) + "  a: 1\n" + lines(n, "  b#: a + a#")),
    "unknown names": lambda n: family(lines(n, "- a#x"), lets(n)),
    "repeats": lambda n: family(lines(n, "- repeat: 2\n  steps:\n    - dropout(a#)"), lets(n)),
    "indices": lambda n: family(lines(n, "- repeat: 2\n  index: i#\n  steps:\n    - dropout(i#)"), lets(n)),
    "archs that are timed": lambda n: family(
        "- relu",
        archs=lines(n, "  net#:\n    build: net"),
        after="bench:\n  - arch: " + lines(n, "net#").replace("\n", " ") + "\n",
    ),
    "batches": lambda n: family("- relu", after="bench:\n  - batch: " + lines(n, "1#").replace("\n", " ") + "\n"),
    "terms of a shape": lambda n: family("- shape: " + "1 " * n),
    "contracts": lambda n: family("- relu", after="    contract:\n" + lines(n, "      x#:\n        params: 0")),
    "blocks": lambda n: family(lines(n, "- b#")) + blocks(n, "  - relu"),
    "blocks within blocks": lambda n: family("- b0") + blocks(n, "  - NEXT"),
    "blocks with mistakes": lambda n: family("- b0") + blocks(n, "  - NEXT\n  - relu(1)"),
}


def grows(n: int, make: Callable[[int], str], folder: Path, load: Callable[[Path], object] = library.load) -> float:
    """How many times the work it is to read four times the text."""
    work(folder / "first", make(1), load)  # what is done once, by the first that is read
    return work(folder / "long", make(4 * n), load) / work(folder / "short", make(n), load)


@pytest.mark.parametrize("make", DEEP.values(), ids=DEEP)
@pytest.mark.parametrize("parser", ["libyaml", "no libyaml"])
def test_depth_takes_no_more_work_than_length(
    make: Callable[[int], str], parser: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four times the text takes four times the work at most, whichever parser reads it."""
    if parser == "no libyaml":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert grows(200, make, tmp_path) <= 4.1


@pytest.mark.parametrize("make", FLAT.values(), ids=FLAT)
def test_four_times_the_text_takes_four_times_the_work(
    make: Callable[[int], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the text. PyYAML's own parser reads it, of which every step is seen."""
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert grows(200, make, tmp_path) <= 4.1


@pytest.mark.parametrize("make", NAMES.values(), ids=NAMES)
@pytest.mark.usefixtures("compared")
def test_four_times_the_names_take_four_times_the_work(make: Callable[[int], str], tmp_path: Path) -> None:
    """However many names there are, and wherever they are looked for."""
    assert grows(100, make, tmp_path) <= 4.1  # so many problems are shown


@pytest.mark.usefixtures("compared")
def test_claims_and_deviations_take_no_more(tmp_path: Path) -> None:
    """The same for the other files that are written by hand."""

    def claims(n: int) -> str:
        return "claims: c\nsource: s\nstatements:\n" + lines(n, "  - is: resnet50.params\n    printed: 1\n    says: s#")

    def deviations(n: int) -> str:
        return "deviations:\n" + lines(n, "  - check: a#::b\n    reason: r")

    def page(n: int) -> str:
        comment = "<!-- rv-check claims\ncolumns:\n  a: depth\narchs:\n" + lines(n, "  x#: resnet18") + "-->\n"
        return comment + "| arch | a |\n| --- | --- |\n" + lines(n, "| x# | 18 |")

    assert grows(50, claims, tmp_path / "claims", load_claims) <= 4.1
    assert grows(50, page, tmp_path / "page", read_tables) <= 4.1
    assert grows(50, deviations, tmp_path / "deviations", load_deviations) <= 4.1


def test_the_count_sees_what_grows_faster(tmp_path: Path) -> None:
    """The twin: PyYAML's own parser on brackets without a bound, and a list that is searched for each of its texts."""

    def parsed(path: Path) -> None:
        list(yaml.parse(path.read_text(), Loader=yaml.SafeLoader))

    def searched(path: Path) -> None:
        words = [Compared(word) for word in path.read_text().split()]
        assert all(word in words for word in path.read_text().split())

    assert grows(100, lambda n: "[" * n + "]" * n, tmp_path / "parsed", parsed) > 8
    assert grows(50, FLAT["keys"], tmp_path / "searched", searched) > 8


LATE = {
    "no value": "a: ]",
    "a second colon": "a: b: c",
    "a tab": "a:\n\tb: c",
    "no such character": "a: @",
    "text after a quote": "a: 'b' c",
    "a key without its colon": "a: b\nc",
    "no alignment": "- a\nb: c",
    "no comma": "a: [b [c]]",
    "a header": "a: |9x",
    "an escape": 'a: "\\q"',
    "a character beyond Unicode": 'a: "\\U00110000"',
    "a tag": "a: !<b",
}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of characters that PyYAML's own parser steps over."""
    steps: list[int] = []
    forward = yaml.reader.Reader.forward

    def step(reader: Any, length: int = 1) -> None:
        steps.append(length)
        forward(reader, length)

    monkeypatch.setattr(yaml.reader.Reader, "forward", step)
    return steps


@pytest.mark.parametrize("text", LATE.values(), ids=LATE)
def test_the_second_reading_ends_at_the_first_error(text: str, tmp_path: Path, taken: list[int]) -> None:
    """PyYAML's own parser, which gives the words, looks at nothing that stands far behind the error."""
    (tmp_path / "net.yaml").write_text(f"{text}\n{lines(1_000, 'a#: b')}")
    with pytest.raises(SpecError, match="not YAML"):
        read(tmp_path / "net.yaml")
    assert 0 < sum(taken) < len(text) + 20


@pytest.mark.parametrize("text", ["a: ", "a:\n- b\n- ", "a: [b, "])
@pytest.mark.parametrize("bracket", ["[", "{"])
def test_the_second_reading_ends_at_the_bound(text: str, bracket: str, tmp_path: Path, taken: list[int]) -> None:
    """It looks 1,024 characters ahead of a bracket for the colon of a key, and 41 brackets are too many."""
    (tmp_path / "net.yaml").write_text(text + bracket * 10_000)
    with pytest.raises(SpecError, match="nested deeper than 40 levels"):
        read(tmp_path / "net.yaml")
    assert sum(taken) < len(text) + 1024 + 50


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml here")
def test_libyaml_is_spared_what_it_compares_with_all_before_it(tmp_path: Path, taken: list[int]) -> None:
    """Other texts are libyaml's, and PyYAML's own parser sees nothing of them; a text with %TAG it reads itself."""
    path = tmp_path / "net.yaml"
    path.write_text("%YAML 1.1\n---\na: b\n")
    assert list(read(path).entries) == ["a"]
    assert taken == []
    path.write_text("%TAG !a! b\n---\na: b\n")
    assert list(read(path).entries) == ["a"]
    assert taken


def test_a_name_is_compared_with_few() -> None:
    """Not with texts that are too long for a name, and with the first of many."""
    assert nearest("conv", ["cnov"]) == "cnov"
    longest = "a" * LONGEST_NAME
    assert nearest("b" + longest[1:], [longest]) == longest
    assert nearest("b" + longest, [longest]) is None
    assert nearest("b" + longest[1:], [longest + "a"]) is None
    known = [f"{i:06}" for i in range(10 * SEARCHED_NAMES)]
    assert nearest("cnov", [*known[: SEARCHED_NAMES - 1], "conv"]) == "conv"
    assert nearest("cnov", [*known, "conv"]) is None
    assert lines_of(lambda: nearest("000001", known)) == lines_of(lambda: nearest("000001", known[:SEARCHED_NAMES]))
