"""What goes into a module, as text: read, printed back, and at another size."""

from __future__ import annotations

import pytest

from rv_check.errors import SpecError
from rv_check.language.inputs import one_image, parse_inputs

READ: list[tuple[str, list[str], str]] = [
    ("1 28 28", ["0"], "0"),
    ("3 224 224, 3 64 64", ["0", "1"], "0"),
    ("ids: int64 128 < 30522, mask: bool 128", ["ids", "mask"], "ids"),
    ("{image: 3 224 224, mask: bool 7}", ["0.image", "0.mask"], "0.image"),
    ("[3 8 8, 3 9 9], flag: True", ["0.0", "0.1"], "0.0"),
    ("int64 < 1000, 3 32 32", ["0", "1"], "1"),  # a step in time, and an image
    ("x: (3 4, {a: 5}), t: unbatched int64 77 < 3", ["x.0", "x.1.a", "t"], "x.0"),
    ("2 16 32 32, None", ["0"], "0"),
    ("complex64 4 4", ["0"], "0"),
]


@pytest.mark.parametrize(("text", "names", "main"), READ, ids=[one[0] for one in READ])
def test_read_and_printed_back(text: str, names: list[str], main: str) -> None:
    """What is printed is what was written, and says the same again."""
    found = parse_inputs(text)
    assert str(found) == text
    assert parse_inputs(str(found)) == found
    assert list(found.tensors) == names
    assert found.main == main


def test_fractions_are_of_the_type_of_the_module() -> None:
    """One tensor of them is one image, however its type is called."""
    assert parse_inputs("float32 3 8 8") == one_image((3, 8, 8))
    assert parse_inputs("3 8 8").is_one_image
    assert not any(parse_inputs(text).is_one_image for text in ("x: 3 8 8", "[3 8 8]", "3 8 8, True", "bool 3"))


def test_arguments() -> None:
    """They stand where `forward` takes them."""
    found = parse_inputs("3 8 8, [2, {a: 5}], False, mask: bool 8")
    args, kwargs = found.arguments({name: name for name in found.tensors})
    assert args == ["0", ["1.0", {"a": "1.1.a"}], False]
    assert kwargs == {"mask": "mask"}


@pytest.mark.parametrize(
    ("text", "size", "expected"),
    [
        ("3 224 224", (3, 64, 64), "3 64 64"),
        ("1 224 224", (3, 64, 64), "1 64 64"),  # its own channels
        ("3 224 224, 3 64 64", (3, 96, 96), "3 96 96, 3 64 64"),
        ("3 224 224, bool 224 224", (3, 96, 96), "3 96 96, bool 96 96"),
        ("ids: int64 128 < 9, mask: bool 128", (64,), "ids: int64 64 < 9, mask: bool 64"),
        ("3 224 224", (5,), "3 224 224"),  # another kind of thing
    ],
)
def test_another_size(text: str, size: tuple[int, ...], expected: str) -> None:
    """What has the sides of the main tensor goes along with it."""
    assert str(parse_inputs(text).at(size)) == expected


WRONG: list[tuple[str, str]] = [
    ("", "input is ''"),
    ("big", "input is 'big'\n  big\n  ^\n  expected: the axes behind the batch, as in"),
    ("3 x 8", "input is '3 x 8'\n  3 x 8\n    ^"),
    ("1 2 3 4 5 6 7", "input is '1 2 3 4 5 6 7'"),
    ("3 0 8", "input is '3 0 8'"),
    ("3 8 8 < 5", "a bound is of whole numbers"),
    ("ids: int64 5 < 0", "below what? '0' is no number above 0"),
    ("ids: it64 4", "did you mean: int64"),
    ("[3 8", "'[' is not closed"),
    ("3 8]", "']' closes nothing"),
    ("a: 3, 4", "what has no name stands before what has one"),
    ("a: 3, a: 4", "'a' is there twice"),
    ("{3 8}", "a dict has a name before each value"),
    ("3 8,, 4", "input is '3 8,, 4'"),
    ("True", "it has no tensor"),
    ("1-a: 3", "'1-a' is no name of an argument"),
    ("[" * 9 + "3" + "]" * 9, "more than 8 brackets"),
    (", ".join(["3"] * 65), "more than 64 tensors"),
]


@pytest.mark.parametrize(("text", "words"), WRONG, ids=[one[0][:20] for one in WRONG])
def test_error_text(text: str, words: str) -> None:
    """It is said what is wrong, where, and what would be right."""
    with pytest.raises(SpecError) as raised:
        parse_inputs(text)
    assert words in str(raised.value)
    assert "expected: the axes behind the batch, as in" in str(raised.value)
