"""The expressions of the language: exact values, and nothing but what is on the whitelist."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from rv_check.errors import Document, Place, Problem, SpecError
from rv_check.language.expressions import (
    MAX_NUMBER,
    MAX_TERMS,
    MAX_TEXT,
    WORDS,
    Expr,
    Scope,
    dotted_call,
    literal,
    parse,
    parse_call,
)
from rv_check.language.yaml_nodes import Text
from rv_check.ops.op import OPS
from rv_check.values import Partial, key, kind, show


def text(content: str) -> Text:
    """Text at line 1, column 1, of a file that is not there."""
    return Text(content, Place(Document(Path("test.yaml"), (content,)), 1, 1))


def value(content: str, **names: Any) -> Any:
    """What an expression gives where these names have these values, and ops are callables."""
    return parse(text(content)).evaluate(Scope(names, OPS.get))


def problem(content: str, **names: Any) -> Problem:
    """The one problem of an expression."""
    with pytest.raises(SpecError) as error:
        value(content, **names)
    (found,) = error.value.problems
    return found


VALUES: list[tuple[str, Any]] = [
    # integers
    ("7", 7),
    ("1_000", 1000),
    ("0x10", 16),
    ("-7", -7),
    ("--7", 7),
    ("2 + 3 * 4", 14),
    ("(2 + 3) * 4", 20),
    ("2 - 3 - 4", -5),  # from the left
    ("  7", 7),
    ("7  ", 7),
    ("1 +\n2", 3),  # folded text keeps its line breaks
    # division is exact; what is whole is an integer again
    ("6 / 3", 2),
    ("7 / 2", Fraction(7, 2)),
    ("1 / 3 * 3", 1),
    ("-7 / 2", Fraction(-7, 2)),
    ("7 / -2", Fraction(-7, 2)),
    ("1 / 3 + 1 / 6", Fraction(1, 2)),
    # floor division goes down
    ("7 // 2", 3),
    ("-7 // 2", -4),
    ("7 // -2", -4),
    ("-7 // -2", 3),
    ("7 / 2 // 1", 3),
    ("-7 / 2 // 1", -4),
    ("3 // 0.5", 6),
    # decimals are what they say, not the nearest float
    ("0.1", Fraction(1, 10)),
    ("0.1 + 0.2", Fraction(3, 10)),
    ("0.1 * 3", Fraction(3, 10)),
    ("1e-5", Fraction(1, 100_000)),
    ("1e-05", Fraction(1, 100_000)),
    ("2.5e3", 2500),
    ("2.0", 2),
    (".5", Fraction(1, 2)),
    ("-0.0", 0),
    ("1.1 - 1", Fraction(1, 10)),
    ("0.123456789012", Fraction(123_456_789_012, 10**12)),
    # functions
    ("ceil(7 / 2)", 4),
    ("ceil(-7 / 2)", -3),
    ("ceil(4)", 4),
    ("ceil(0.1)", 1),
    ("min(3, 1, 2)", 1),
    ("max(1 / 2, 1 / 3)", Fraction(1, 2)),
    ("max(1, 2.5)", Fraction(5, 2)),
    ("sum([1, 2, 0.5])", Fraction(7, 2)),
    ("sum([])", 0),
    ("sum([1, 2, 3][:2])", 3),
    # the nearest multiple, half upwards, at least one, and not less than 0.9 of the number
    ("divisible(32, 8)", 32),
    ("divisible(35, 8)", 32),  # floor((35 + 4) / 8) * 8 = 32, above 31.5
    ("divisible(36, 8)", 40),
    ("divisible(35.2, 8)", 32),  # 32 * 1.1: floor(39.2 / 8) * 8 = 32, above 31.68
    ("divisible(11, 8)", 16),  # floor(15 / 8) * 8 = 8, less than 9.9
    ("divisible(80 / 9, 8)", 8),  # 8 is 0.9 of 80 / 9 to the last digit, where a float might be less or more
    ("divisible(1, 8)", 8),
    ("divisible(24 * 0.75, 8)", 24),  # floor(22 / 8) * 8 = 16, less than 16.2
    ("divisible(7.5, 1)", 8),
    # comparisons chain, and are exact
    ("1 < 2 < 3", True),
    ("1 < 3 < 2", False),
    ("3 > 2 >= 2 != 1", True),
    ("1 == 1 == 1", True),
    ("2 == 2 == 1", False),
    ("0.1 + 0.2 == 0.3", True),
    ("1 / 3 == 0.3333333333", False),
    ("1 / 2 == 0.5", True),
    ("6 / 3 == 2", True),
    ("1 <= 1", True),
    # True and False are not numbers
    ("True", True),
    ("True == 1", False),
    ("False == 0", False),
    ("True != 1", True),
    ("True == True", True),
    ("[True] == [1]", False),
    # logic
    ("not False", True),
    ("not 1 == 2", True),
    ("True and False", False),
    ("True and True and True", True),
    ("False or True", True),
    ("False or False", False),
    ("True or False and False", True),  # `and` binds tighter
    # lists
    ("[]", ()),
    ("[1, 2]", (1, 2)),
    ("[1/2, True]", (Fraction(1, 2), True)),
    ("[3, 4, 6][2]", 6),
    ("[3, 4, 6][1 + 1]", 6),
    ("[3, 4, 6][:2]", (3, 4)),
    ("[3, 4, 6][1:]", (4, 6)),
    ("[3, 4, 6][1:2]", (4,)),
    ("[3, 4, 6][:0]", ()),
    ("[3, 4, 6][3:]", ()),
    ("[3, 4, 6][1:][0]", 4),
    ("[1, 2] == [1, 2]", True),
    ("[1, 2] == [2, 1]", False),
    ("[1] == 1", False),
]


@pytest.mark.parametrize(("content", "expected"), VALUES, ids=[v[0] for v in VALUES])
def test_value(content: str, expected: Any) -> None:
    """The value is exact and of the right kind: True is not 1, and 2.0 is the integer 2."""
    found = value(content)
    assert (type(expected), expected) == (type(found), found)


def test_names_are_looked_up() -> None:
    """A name stands for its value, a list among them, and an op for itself."""
    assert value("width * 2 // depths[1]", width=64, depths=(3, 4)) == 32
    assert value("norm and stride != 1", norm=True, stride=2) is True
    assert Partial(OPS["relu"]) == value("relu")
    assert value("relu", relu=3) == 3  # the scope first


def test_logic_stops_where_the_answer_is_known() -> None:
    """What stands right of a decided `and` or `or` is not evaluated, nor what follows a comparison that failed."""
    assert value("n > 0 and 8 // n == 4", n=0) is False
    assert value("n == 0 or 8 // n == 4", n=0) is True
    assert value("1 > 2 > 1 // n", n=0) is False
    assert problem("n == 0 and 8 // n == 4", n=0).message == "division by zero in 8 // n"


PARTIALS: list[tuple[str, str]] = [
    ("conv", "conv"),
    ("conv()", "conv"),
    ("conv(kernel=3)", "conv(kernel=3)"),
    ("conv(kernel=1 + 2, bias=False)", "conv(kernel=3, bias=False)"),
    ("conv(kernel=[1, 7])", "conv(kernel=[1, 7])"),
    ("given(bias=True)", "conv(kernel=3, bias=True)"),  # filled further
]


@pytest.mark.parametrize(("content", "expected"), PARTIALS, ids=[p[0] for p in PARTIALS])
def test_partial(content: str, expected: str) -> None:
    """An op with some keywords filled is a value, and can be filled further."""
    found = value(content, given=Partial(OPS["conv"], (("kernel", 3),)))
    assert isinstance(found, Partial)
    assert found.target is OPS["conv"]
    assert expected == str(found)


# What is wrong: the expression, the column that the message points at, and its words.

ERRORS: list[tuple[str, int, str]] = [
    ("1 + True", 5, "True is True"),
    ("True * 3", 1, "True is True"),
    ("-True", 2, "True is True"),
    ("True < 2", 1, "True is True"),
    ("ceil(True)", 6, "True is True"),
    ("min(1, False)", 8, "False is False"),
    ("not 1", 5, "1 is 1"),
    ("1 and True", 1, "1 is 1"),
    ("True and 0", 10, "0 is 0"),
    ("[1] + [2]", 1, "[1] is the list [1]"),
    ("[1] < [2]", 1, "[1] is the list [1]"),
    ("relu + 1", 1, "relu is the op relu"),
    ("1 / 0", 1, "division by zero in 1 / 0"),
    ("2 + 1 // (3 - 3)", 5, "division by zero in 1 // (3 - 3)"),
    ("[3, 4][2]", 8, "[3, 4] has 2 entries, and none at index 2"),
    ("[3, 4][-1]", 8, "[3, 4] has 2 entries, and none at index -1"),
    ("[][0]", 4, "[] has 0 entries, and none at index 0"),
    ("[3, 4][True]", 8, "True is True"),
    ("[3, 4][1 / 2]", 8, "1 / 2 is 0.5"),
    ("3[0]", 1, "3 is 3"),
    ("3[:1]", 1, "3 is 3"),
    ("[3, 4][:3]", 9, "[3, 4] has 2 entries, and no part from 0 to 3"),
    ("[3, 4][3:]", 8, "[3, 4] has 2 entries, and no part from 3 to 2"),
    ("[3, 4][2:1]", 10, "[3, 4] has 2 entries, and no part from 2 to 1"),
    ("[3, 4][-1:]", 8, "[3, 4] has 2 entries, and no part from -1 to 2"),
    ("[3, 4][:1 / 2]", 9, "1 / 2 is 0.5"),
    ("[1, [2]]", 5, "a list within a list"),
    ("wdith", 1, "unknown name 'wdith'"),
    ("2 * wdith", 5, "unknown name 'wdith'"),
    ("nothing(1)", 1, "unknown name 'nothing'"),
    ("width(3)", 1, "width is 64"),
    ("ceil", 1, "unknown name 'ceil'"),  # a function is no value
    ("ceil()", 1, "ceil takes one number"),
    ("ceil(1, 2)", 1, "ceil takes one number"),
    ("min(1)", 1, "min takes two numbers or more"),
    ("max()", 1, "max takes two numbers or more"),
    ("max(1, 2, key=3)", 1, "max takes two numbers or more"),
    ("ceil(n=3)", 1, "ceil takes one number"),
    ("sum(1, 2)", 1, "sum takes one list of numbers"),
    ("sum(3)", 5, "3 is 3"),
    ("sum([1, True])", 5, "[1, True] has the entry True"),
    ("sum([relu])", 5, "[relu] has the entry relu"),
    ("divisible(8)", 1, "divisible takes a number and a divisor"),
    ("divisible(8, 8, 8)", 1, "divisible takes a number and a divisor"),
    ("divisible(8, 0)", 14, "0 is 0"),
    ("divisible(8, 1 / 2)", 14, "1 / 2 is 0.5"),
    ("divisible(ones, 8)", 11, "ones is the list [1, 1]"),
    ("conv(3)", 6, "conv is filled by position"),
    ("conv(kernal=3)", 6, "conv has no argument 'kernal'"),
    ("given(kernel=1)", 7, "conv has its argument 'kernel' filled twice"),
    ("conv(kernel=1, kernel=2)", 16, "argument 'kernel' is given twice"),
    ("", 1, "an expression is missing here"),
    ("   ", 1, "an expression is missing here"),
    ("1 +", 4, "'1 +' is not an expression"),
    ("1 2", 3, "'1 2' is not an expression"),
    ("(1", 1, "'(1' is not an expression"),
    ("1)", 2, "'1)' is not an expression"),
    ("a = 1", 3, "'a = 1' is not an expression"),
    ("import os", 1, "'import' cannot stand here"),
    ("x\0y", 2, "'\\x00' is not in the language"),
    ("2 * größe", 7, "'ö' is not in the language"),  # nothing but ASCII: Python takes some letters for others
    ("2 \u00d7 3", 3, "'\u00d7' is not in the language"),
    ("[1, ones]", 5, "ones is the list [1, 1], within a list"),
]


@pytest.mark.parametrize(("content", "column", "message"), ERRORS, ids=[repr(e[0]) for e in ERRORS])
def test_error(content: str, column: int, message: str) -> None:
    """A wrong expression is refused in these words, at this column."""
    found = problem(content, width=64, ones=(1, 1), given=Partial(OPS["conv"], (("kernel", 3),)))
    assert found.place is not None
    assert (message, column) == (found.message, found.place.column)


def test_error_names_what_was_probably_meant() -> None:
    """An unknown name and an unknown keyword come with the nearest known one."""
    assert (problem("wdith", width=64, depth=3).near, problem("conv(kernal=3)").near) == ("width", "kernel")


FORBIDDEN = {
    "attribute": "a.b",
    "dunder": "a.__class__",
    "method": "a.bit_length()",
    "call of a call": "relu()()",
    "call of an index": "a[0](1)",
    "lambda": "lambda: 1",
    "list comprehension": "[i for i in a]",
    "set comprehension": "{i for i in a}",
    "dict comprehension": "{i: i for i in a}",
    "generator": "max(i for i in a)",
    "power": "2 ** 3",
    "modulo": "7 % 3",
    "matrix product": "a @ a",
    "shift left": "1 << 40",
    "shift right": "8 >> 1",
    "bitwise and": "3 & 1",
    "bitwise or": "3 | 1",
    "bitwise xor": "3 ^ 1",
    "invert": "~1",
    "unary plus": "+1",
    "string": "'a'",
    "joined strings": "'a' 'b'",
    "bytes": "b'a'",
    "f-string": "f'{a}'",
    "None": "None",
    "ellipsis": "...",
    "complex": "1j",
    "infinity": "1e999",
    "slice with a step": "a[0:1:1]",
    "slice of everything": "a[:]",
    "index by a tuple": "a[0, 1]",
    "tuple": "(1, 2)",
    "bare tuple": "1, 2",
    "empty tuple": "()",
    "dict": "{1: 2}",
    "set": "{1, 2}",
    "walrus": "(b := 1)",
    "starred in a list": "[*a]",
    "starred in a call": "max(*a)",
    "keywords unpacked": "conv(**a)",
    "await": "await a",
    "yield": "(yield)",
    "yield from": "(yield from a)",
    "conditional": "1 if a else 2",
    "in": "1 in a",
    "not in": "1 not in a",
    "is": "a is a",
    "is not": "a is not a",
}


@pytest.mark.parametrize("content", FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_error_forbidden(content: str) -> None:
    """What is not in the language is refused when it is read, before anything is evaluated."""
    with pytest.raises(SpecError) as error:
        parse(text(content))
    assert "is not in the language" in str(error.value)


@pytest.mark.parametrize("wrapped", ["1 + ({})", "[{}]", "max(1, {})", "conv(kernel={})", "a[{}]", "not ({})"])
@pytest.mark.parametrize("content", ["lambda: 1", "2 ** 3", "a.b", "(b := 1)"])
def test_error_forbidden_inside(wrapped: str, content: str) -> None:
    """The whitelist holds at every depth."""
    with pytest.raises(SpecError, match="is not in the language"):
        parse(text(wrapped.format(content)))


def test_every_kind_of_syntax_is_either_evaluated_or_refused() -> None:
    """No expression passes the whitelist and then finds no rule: every construct of Python's grammar is tried above."""
    import ast

    tried = {type(node) for c in [v[0] for v in VALUES] + list(FORBIDDEN.values()) for node in ast.walk(ast_of(c))}
    newer = {"TemplateStr", "Interpolation"}  # nodes of Python 3.14
    expressions = {c for c in ast.expr.__subclasses__() if c.__name__ not in newer}
    operators = {c for base in (ast.operator, ast.unaryop, ast.cmpop, ast.boolop) for c in base.__subclasses__()}
    assert set() == {c.__name__ for c in (expressions | operators) - tried - {ast.FormattedValue}}


def ast_of(content: str) -> Any:
    """Python's own reading of an expression."""
    import ast

    return ast.parse(content.strip().replace("\n", " "), mode="eval")


# Bounds


def test_numbers_are_bounded() -> None:
    """10^12 is a number, the next one is none, on the way as at the end, above and below the line."""
    assert value("1_000_000 * 1_000_000") == MAX_NUMBER == 10**12
    assert value("-1_000_000 * 1_000_000") == -MAX_NUMBER
    for content in (
        "1_000_000 * 1_000_000 + 1",
        "1_000_000 * 1_000_001 - 1_000_000",
        "-1_000_000 * 1_000_000 - 1",
        "1_000_000_000_001",
        "9" * 900,
        "1e13",
        "1e300",
        "1e-13",
        "1 / 1_000_000 / 1_000_001",
        "0.1000000000000000055",  # the nearest float is 0.1
        "1e-999999999",
    ):
        assert problem(content).message == "the number is too large", content


def test_a_tower_of_products_stops_early() -> None:
    """Numbers cannot be grown through names: the first product beyond the bound is the end."""
    n = 10**12
    assert problem(" * ".join(["n"] * 100), n=n).message == "the number is too large"


def test_texts_and_terms_are_bounded() -> None:
    """An expression is at most 1,000 characters and 200 terms."""
    assert value("1" + " " * (MAX_TEXT - 1)) == 1
    assert problem("1" + " " * MAX_TEXT).message == "an expression of 1,001 characters"
    fits = MAX_TERMS // 2  # n numbers and n - 1 sums are 2n - 1 terms
    assert value("+".join(["1"] * fits)) == fits
    assert problem("+".join(["1"] * (fits + 1))).message == f"an expression of {2 * fits + 1} terms"


@pytest.mark.parametrize("content", ["(" * 400 + "1" + ")" * 400, "-" * 900 + "1", "[" * 300, "not " * 240 + "True"])
def test_deep_nesting_is_an_error(content: str) -> None:
    """Nesting that would exhaust Python's own parser or stack is an ordinary error."""
    assert problem(content).message


# Reading as an integer, as a truth, as a call


def test_an_integer_is_asked_for() -> None:
    """`integer` gives integers only; True, fractions and lists are no integers."""

    def integer(content: str) -> int:
        return parse(text(content)).integer(Scope({}))

    assert integer("8 / 4") == 2
    for content, message in [("7 / 2", "7 / 2 is 3.5"), ("True", "True is True"), ("[1]", "[1] is the list [1]")]:
        with pytest.raises(SpecError) as error:
            integer(content)
        assert message == error.value.problems[0].message


def test_a_truth_is_asked_for() -> None:
    """`truth` gives True or False; 1 and an empty list are neither."""

    def truth(content: str) -> bool:
        return parse(text(content)).truth(Scope({}))

    assert truth("1 < 2") is True
    for content in ("1", "0", "[]", "0.5"):
        with pytest.raises(SpecError) as error:
            truth(content)
        assert error.value.problems[0].expected == "True or False"


def test_a_call_is_read() -> None:
    """A call has a name and arguments, by position first, each an expression with its place."""
    call = parse_call(text("conv(2*width, kernel=[1, 7], bias=norm)"))
    assert (call.name, call.text) == ("conv", "conv(...)")
    assert [(a.keyword, a.value.text, a.place.column) for a in call.arguments] == [
        (None, "2*width", 6),
        ("kernel", "[1, 7]", 15),
        ("bias", "norm", 30),
    ]
    assert parse_call(text("relu")).arguments == parse_call(text("relu()")).arguments == ()


@pytest.mark.parametrize("content", ["3", "[relu]", "relu + relu", "-relu", "not relu"])
def test_error_no_call(content: str) -> None:
    """What is neither a name nor a call is no step."""
    with pytest.raises(SpecError, match="is not a call"):
        parse_call(text(content))


def test_error_positions_after_keywords() -> None:
    """An argument by position after one by name is refused in plain words."""
    with pytest.raises(SpecError, match="an argument by position stands after one by name"):
        parse_call(text("conv(kernel=3, 8)"))


def test_a_reference_is_read() -> None:
    """The name of a reference has dots; its arguments are expressions."""
    name, arguments, _ = dotted_call(text("torchvision.models.vgg16(num_classes=classes)"))
    assert name == "torchvision.models.vgg16"
    assert [(a.keyword, a.value.text, a.place.column) for a in arguments] == [("num_classes", "classes", 26)]
    assert dotted_call(text("torchvision.models.vgg16"))[:2] == ("torchvision.models.vgg16", ())


def test_places_count_characters() -> None:
    """A column is that of a character; leading space counts, and a text folded by YAML knows its beginning only."""

    def column(content: str, exact: bool) -> int:
        place = Place(Document(Path("test.yaml"), (content,)), 3, 7)
        with pytest.raises(SpecError) as error:
            parse(Text(content, place, exact)).evaluate(Scope({"size": 1}))
        found = error.value.problems[0].place
        assert found is not None
        assert found.line == 3
        return found.column

    assert column("   size + nix", exact=True) == 17  # 7 + 10
    assert column("   size + nix", exact=False) == 7


def test_a_value_of_many_parts_is_an_error() -> None:
    """Partials that hold partials grow by powers, and stop at 200 values."""
    conv = Partial(OPS["conv"])
    for _ in range(3):
        conv = Partial(OPS["conv"], (("out", conv), ("kernel", conv), ("bias", conv)))
    assert conv.filled  # 1 + 3 * (1 + 3 * (1 + 3 * 1)) = 40 values
    assert problem("conv(out=c, kernel=c, bias=c, stride=c, padding=c)", c=conv).message == "a value made of 201 values"


def test_names_and_calls_are_listed() -> None:
    """`names` gives every name but the functions', `calls` every call but theirs: what a file must know."""
    expr: Expr = parse(text("max(width, conv(kernel=k)) + ceil(depths[i])"))
    assert sorted(n.id for n in expr.names()) == ["conv", "depths", "i", "k", "width"]
    assert [c.name for c in expr.calls()] == ["conv"]


def test_a_literal_has_no_names() -> None:
    """A constant is read without any scope."""
    assert literal(text("2 * 0.05")) == Fraction(1, 10)
    with pytest.raises(SpecError, match="unknown name 'width'"):
        literal(text("width"))


def test_words_cannot_be_names() -> None:
    """The words of the language are those that Python or the functions take."""
    assert {"True", "False", "and", "or", "not", "ceil", "min", "max", "sum", "divisible"} == set(WORDS)


# Showing values, and telling them apart


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (3, "3"),
        (True, "True"),
        (Fraction(1, 10), "0.1"),
        (Fraction(1, 100_000), "1e-05"),
        (Fraction(1, 3), "1/3"),
        ((3, Fraction(1, 2)), "[3, 0.5]"),
        (Partial(OPS["conv"], (("kernel", (1, 7)),)), "conv(kernel=[1, 7])"),
    ],
)
def test_show(shown: Any, expected: str) -> None:
    """A value is shown as the language writes it, and reads back as itself."""
    assert expected == show(shown)
    assert key(shown) == key(value(expected))


def test_kind_says_what_a_value_is() -> None:
    """In messages, a list and an op are called what they are."""
    assert (kind(3), kind((3, 4)), kind(Partial(OPS["relu"]))) == ("3", "the list [3, 4]", "the op relu")


def test_a_key_tells_what_python_does_not() -> None:
    """As keys True and 1 differ, in lists and partials too; equal values are equal keys."""
    conv = OPS["conv"]
    assert key(True) != key(1)
    assert key((True,)) != key((1,))
    assert key(Partial(conv, (("bias", True),))) != key(Partial(conv, (("bias", 1),)))
    assert key(Partial(conv, (("kernel", (1, 7)),))) == key(Partial(conv, (("kernel", (1, 7)),)))
    assert key(Partial(conv)) != key(Partial(OPS["relu"]))
