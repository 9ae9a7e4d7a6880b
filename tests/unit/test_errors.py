"""Errors are data: what each part of a message looks like, and that nobody else lays one out or takes one apart."""

from __future__ import annotations

import ast
import copy
import pickle
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import rv_check
from rv_check.checks.findings import Finding, failures
from rv_check.checks.states import Mismatch
from rv_check.errors import (
    MAX_PROBLEMS,
    CannotRun,
    Document,
    Frame,
    Place,
    Problem,
    RvCheckError,
    SpecError,
    cannot_write,
    meant,
    unknown,
)

PACKAGE = Path(rv_check.__file__).parent
NOWHERE = Path("/nowhere")
SPEC = Document(NOWHERE / "net.yaml", ("family: net()", "body:", "  - conv(kernal=3)"))
TYPED = Document(Path("arch"), ("resnet50(clases=10)",), is_file=False)
OURS = {"RvCheckError", "SpecError", "CannotRun", "Mismatch", "OpError", "Fails", "NotKnown"}


# The layout


LAYOUTS: dict[str, tuple[Problem, str]] = {
    "a message": (Problem("no step"), "no step"),
    "expected": (Problem("no step", expected="a step"), "no step\n  expected: a step"),
    "near": (Problem("no step", near="stem"), "no step\n  did you mean: stem"),
    "expected and near": (
        Problem("no step", expected="stem, head", near="stem"),
        "no step\n  expected: stem, head    did you mean: stem",
    ),
    "a place in a file": (
        Problem("no argument 'kernal'", Place(SPEC, 3, 10)),
        "/nowhere/net.yaml:3:10: no argument 'kernal'\n    - conv(kernal=3)\n           ^",
    ),
    "a whole line": (Problem("no body", Place(SPEC, 2, 0)), "/nowhere/net.yaml:2: no body"),
    "a whole file": (Problem("no body", Place(SPEC, 0, 0)), "/nowhere/net.yaml: no body"),
    "a place in an argument": (
        Problem("no argument 'clases'", Place(TYPED, 1, 10)),
        "no argument 'clases'\n  resnet50(clases=10)\n           ^",
    ),
    "details": (
        Problem("no call fits", details=("tried: C", "tried: 2*C"), expected="--call"),
        "no call fits\n  tried: C\n  tried: 2*C\n  expected: --call",
    ),
    "a detail that is an error's text": (
        Problem("no call fits", details=("tried: C: no step\n  expected: a step",)),
        "no call fits\n  tried: C: no step\n  expected: a step",
    ),
    "a chain": (
        Problem("no step", chain=(Frame("net"), Frame("layer1: stage(64)", Place(SPEC, 2, 3)))),
        "no step\n  in net > layer1: stage(64) /nowhere/net.yaml:2",
    ),
    "a long chain": (
        Problem("no step", chain=tuple(Frame(str(link)) for link in range(12))),
        "no step\n  in 0 > 1 > 2 > ... > 5 > 6 > 7 > 8 > 9 > 10 > 11",
    ),
    "all of it": (
        Problem("no step", Place(SPEC, 1, 9), "a step", "stem", (Frame("net"),), ("tried: C",)),
        "/nowhere/net.yaml:1:9: no step\n  family: net()\n          ^\n  tried: C\n"
        "  expected: a step    did you mean: stem\n  in net",
    ),
    "what a terminal would obey": (
        Problem("no \x1b[31mstep\n", expected="\x07", near="\r", details=("\x1b[2J",)),
        "no \\x1b[31mstep\\n\n  \\x1b[2J\n  expected: \\x07    did you mean: \\r",
    ),
}


@pytest.mark.parametrize(("problem", "text"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layout(problem: Problem, text: str) -> None:
    """A problem is shown by its parts, in one order, each indented alike."""
    assert str(problem) == text


@pytest.mark.parametrize(("problem", "text"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_an_error_is_laid_out_as_its_problems_are(problem: Problem, text: str) -> None:
    """The text of an error is that of its problems, with a line between them."""
    assert str(SpecError([problem])) == text
    assert str(SpecError([problem, Problem("another")])) == f"{text}\n\nanother"


def test_an_error_of_one_problem() -> None:
    """An error is made of the parts of a problem, and has them as attributes."""
    place = Place(SPEC, 3, 10)
    error = RvCheckError("no call fits", details=["tried: C"], expected="--call", near="--coll", place=place)
    assert error.problems == [Problem("no call fits", place, "--call", "--coll", details=("tried: C",))]
    assert str(error) == str(error.problems[0])
    assert (error.message, error.details) == ("no call fits", ("tried: C",))
    assert (error.expected, error.near, error.place) == ("--call", "--coll", place)


def test_a_message_of_several_lines() -> None:
    """What torch says in several lines stays so: the further ones are details, without tabs and empty lines."""
    error = RvCheckError("net cannot be built: keys differ:\n\tmissing: a\n\n\tunknown: b\n", expected="its own")
    assert error.message == "net cannot be built: keys differ:"
    assert str(error) == (
        "net cannot be built: keys differ:\n    missing: a\n    unknown: b\n  expected: its own"
    )  # fmt: skip


def test_an_error_says_what_is_wrong() -> None:
    """There is no error without a problem."""
    with pytest.raises(AssertionError, match="an error says what is wrong"):
        SpecError([])


def test_a_problem_is_told_once() -> None:
    """The same problem by another chain is the same problem."""
    place = Place(SPEC, 1, 1)
    error = SpecError([Problem("no step", place, chain=(Frame(name),)) for name in ("a", "b")])
    assert [str(problem.chain[0]) for problem in error.problems] == ["a"]


def test_many_problems_are_cut() -> None:
    """A number of them is shown, and that there may be more is said."""
    shown = str(SpecError([Problem(str(number)) for number in range(MAX_PROBLEMS + 1)])).split("\n\n")
    assert shown[-2:] == ["99", "These are the first 100 problems; there may be more."]
    assert len(shown) == MAX_PROBLEMS + 1


ERRORS = {
    "one": RvCheckError("no step", details=["tried: C"], expected="a step", near="stem", place=Place(SPEC, 3, 10)),
    "cannot run": CannotRun("no torch", expected="pip install torch"),
    "many": SpecError([Problem("a", Place(SPEC, 1, 1)), Problem("b", chain=(Frame("net"),))]),
    "a class with arguments of its own": Mismatch("names", found="a", expected="b"),
}


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("again", [lambda e: pickle.loads(pickle.dumps(e)), copy.copy, copy.deepcopy])
def test_an_error_survives_the_way_to_another_process(
    error: RvCheckError, again: Callable[[RvCheckError], RvCheckError]
) -> None:
    """It arrives with its class, its text, its problems, its notes and all else that it has."""
    error = pickle.loads(pickle.dumps(error))  # the table's own stays as it is
    error.add_note("a note")
    found = again(error)
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)
    assert [p.chain for p in found.problems] == [p.chain for p in error.problems]


def test_an_error_shows_all_of_itself() -> None:
    """Where it is shown as a value, its class and its whole text are there."""
    assert repr(CannotRun("no torch", expected="it")) == r"CannotRun('no torch\n  expected: it')"
    assert repr(SpecError([Problem("a"), Problem("b")])) == r"SpecError('a\n\nb')"


# Helpers


UNKNOWN = {
    "near": (("arch", "resnet8", ["vgg16", "resnet18"]), "vgg16, resnet18    did you mean: resnet18"),
    "nothing near": (("arch", "x", ["vgg16"]), "vgg16"),
    "expected": (("arch", "vgg15", iter(["vgg16"]), "a file"), "a file    did you mean: vgg16"),
}


@pytest.mark.parametrize(("given", "words"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_unknown(given: tuple, words: str) -> None:
    """An unknown name is said with the known ones and the one that was probably meant."""
    assert str(unknown(*given)) == f"unknown arch '{given[1]}'\n  expected: {words}"


def test_cannot_write() -> None:
    """The system's reason, or ours, and what was done instead."""
    full = OSError(28, "No space left on device", "/x/a.json")
    path = Path("x/a.json")
    assert str(cannot_write(path, full)) == "x/a.json cannot be written: No space left on device"
    assert str(cannot_write(path, OSError("broken"))) == "x/a.json cannot be written: broken"
    words = "x/a.json cannot be written, so it is on stdout: no permission"
    assert str(cannot_write(path, "no permission", "it is on stdout")) == words


def test_meant() -> None:
    """The words for the name that was probably meant, where they stand within a sentence."""
    assert meant("resnet18") == "did you mean: resnet18"


def test_said_of() -> None:
    """Every problem of an error begins with what it is said of, and keeps its parts."""
    first, second = Problem("a", Place(SPEC, 1, 1), "b", "c", (Frame("d"),), ("e",)), Problem("f")
    error = SpecError([first, second]).said_of("net")
    assert [problem.message for problem in error.problems] == ["net: a", "net: f"]
    assert str(error.problems[0]) == str(first).replace(": a\n", ": net: a\n")
    assert error.problems[0].chain == first.chain
    assert str(RvCheckError("a", expected="b").said_of("net")) == "net: a\n  expected: b"


def test_told_at() -> None:
    """A problem in a file stays there; one in an argument keeps it as a detail; one without a place is put there."""
    line = Place(SPEC, 2, 0)
    there = Problem("a", Place(SPEC, 1, 1))
    assert there.told_at(line) == there
    typed = Problem("a", Place(TYPED, 1, 10), "b", details=("c",)).told_at(line)
    assert str(typed) == "/nowhere/net.yaml:2: a\n  resnet50(clases=10)\n           ^\n  c\n  expected: b"
    assert Problem("a").told_at(line).place == line
    assert Problem("a", Place(TYPED, 1, 10)).told_at(None).place is None


def test_failures() -> None:
    """A finding takes the parts of a problem: what was expected and the place are its own, the rest is its message."""
    like = Finding("net", "shapes", "spec", "passed", "", found="x", place=Place(SPEC, 2, 0))
    parts = Problem("a", Place(SPEC, 1, 9), "b", "c", (Frame("d"), Frame("e")), ("f",))
    first, second = failures(SpecError([parts, Problem("g")]), like)
    assert (first.status, first.place, first.expected, first.found) == ("failed", parts.place, "b", "x")
    assert first.message == "a\n  f\ndid you mean: c\nin d > e"
    assert (second.status, second.message, second.place, second.expected) == ("failed", "g", like.place, None)


# Nobody else


@cache
def laid_out(text: str) -> list[int]:
    """The lines at which a module lays out an error by hand: a string with our words, or an error of several lines."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = f"\n{node.value}"
            if "\n  expected" in words or "did you mean" in words:
                found.add(node.lineno)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in OURS:
            strings = (one for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str))
            found |= {one.lineno for one in strings if "\n" in one.value}
    return sorted(found)


@cache
def taken_apart(text: str) -> list[int]:
    """The lines at which a module reads in the text of an error of ours that it caught."""
    found = set()
    for handler in ast.walk(ast.parse(text)):
        if isinstance(handler, ast.ExceptHandler) and handler.name and handler.type is not None:
            caught = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
            if caught & OURS:
                for statement in handler.body:
                    found |= set(_readings(statement, handler.name))
    return sorted(found)


def _readings(tree: ast.AST, name: str) -> Iterator[int]:
    """Where the text of a caught error, or its message, is used as more than a text."""

    def is_text(node: ast.AST) -> bool:
        return ast.unparse(node) in (f"str({name})", f"f'{{{name}}}'", f"{name}.message")

    for node in ast.walk(tree):
        reads = isinstance(node, ast.Attribute | ast.Subscript) and is_text(node.value)
        asks = isinstance(node, ast.Compare) and any(map(is_text, [node.left, *node.comparators]))
        searches = isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re.")
        searches = searches and any(map(is_text, node.args))
        if reads or asks or searches or ast.unparse(node) == f"{name}.args":
            yield node.lineno


def modules(folder: Path) -> list[Path]:
    """The modules of a package, but for the one that lays out errors."""
    return [path for path in sorted(folder.rglob("*.py")) if path != folder / "errors.py"]


def by_hand(folder: Path) -> list[str]:
    """Where a package lays out errors elsewhere than in its module `errors`, or takes one apart."""
    found = []
    for path in modules(folder):
        text = path.read_text(encoding="utf-8")
        found += [f"{path.relative_to(folder)}:{line}" for line in sorted({*laid_out(text), *taken_apart(text)})]
    return found


def test_errors_are_laid_out_in_one_module() -> None:
    """No other module writes the words of the layout or takes an error's text apart, and that one has them once."""
    assert by_hand(PACKAGE) == []
    text = (PACKAGE / "errors.py").read_text(encoding="utf-8")
    assert text.count("did you mean") == 1
    assert text.count("expected: {") == 1
    assert taken_apart(text) == []


CAUGHT = "try:\n    f()\nexcept {}:\n    {}\n"
BY_HAND = {
    "expected": 'raise RvCheckError(f"no {x}\\n  expected: a step")',
    "expected, on a line of its own": 'lines = [\n    "no step", f"  expected: {x}"]',
    "near": 'hint = f"\\n  did you mean: {near}"',
    "a detail": 'raise CannotRun(f"no {x}\\n  tried: {y}")',
    "lines": CAUGHT.format("RvCheckError as error", "g(str(error).splitlines())"),
    "the first line": CAUGHT.format("RvCheckError as error", 'g(f"{error}".partition(x))'),
    "a letter": CAUGHT.format("SpecError as error", "g(str(error)[0])"),
    "the arguments": CAUGHT.format("CannotRun as error", "g(error.args[0])"),
    "a beginning": CAUGHT.format("(OSError, OpError) as error", 'g(error.message.startswith("conv"))'),
    "a word": CAUGHT.format("RvCheckError as error", 'g("CUDA" in str(error))'),
    "a pattern": CAUGHT.format("RvCheckError as error", 'g(re.search("CUDA", str(error)))'),
}


@pytest.mark.parametrize("line", BY_HAND.values(), ids=BY_HAND.keys())
def test_a_layout_by_hand_is_seen(line: str, tmp_path: Path) -> None:
    """The test above can fail: on a copy of the package with such a line."""
    copied = tmp_path / "rv_check"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    assert by_hand(copied) == []
    path = copied / "bench" / "tables.py"
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n\n{line}\n", encoding="utf-8")
    (found,) = by_hand(copied)
    assert found.startswith("bench/tables.py:")


ALLOWED = {
    "what somebody else raised": CAUGHT.format("OSError as error", "g(str(error).splitlines())"),
    "the text as it is": CAUGHT.format("RvCheckError as error", 'g(str(error), f"{what}: {error}")'),
    "the parts": CAUGHT.format("RvCheckError as error", "g(error.message, error.expected, error.problems[0])"),
    "the parts of an error that is made": 'raise RvCheckError(f"no {x}", details=[y], expected="a step", near=near)',
}


@pytest.mark.parametrize("line", ALLOWED.values(), ids=ALLOWED.keys())
def test_an_error_may_be_shown_and_made(line: str) -> None:
    """What is not by hand is not taken for it."""
    assert (laid_out(line), taken_apart(line)) == ([], [])
