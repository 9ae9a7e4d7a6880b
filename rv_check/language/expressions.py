"""The expressions of the spec language: parsed with Python's `ast`, walked by a whitelist, never run by Python.

Values are exact: integers, fractions (which become integers where they are whole), True and False, one-level lists,
and callables (an op, a block, or one of them with some arguments filled).
"""

from __future__ import annotations

import ast
import keyword
import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from rv_check.errors import Place, SpecError, spec_error
from rv_check.language.yaml_nodes import Text
from rv_check.text import listed, nearest, quote
from rv_check.values import Number, Partial, Value, key, kind, parts, show

MAX_TEXT = 1_000  # characters of one expression
MAX_TERMS = 200  # nodes of one expression, or terms of one shape
MAX_NUMBER = 10**12  # the largest numerator or denominator on the way
MAX_PARTS = 200  # values within a value: a partial may hold partials


def divisible(number: Number, divisor: int) -> int:
    """The multiple of `divisor` that is nearest to a number, half upwards, at least one, and not less than 0.9 of it.

    Source: `make_divisible` of TensorFlow's slim, which torchvision has as `_make_divisible`; exact here.
    """
    rounded = max(divisor, math.floor(number + Fraction(divisor, 2)) // divisor * divisor)
    return rounded + divisor if 10 * rounded < 9 * number else rounded


@dataclass(frozen=True)
class Function:
    """A function of the language: what it takes, in words and in numbers of arguments, and what it gives."""

    takes: str
    fewest: int
    most: int | None
    compute: Callable[..., Any]


FUNCTIONS = {
    "ceil": Function("one number", 1, 1, math.ceil),
    "min": Function("two numbers or more", 2, None, min),
    "max": Function("two numbers or more", 2, None, max),
    "sum": Function("one list of numbers", 1, 1, lambda *terms: sum(terms)),
    "divisible": Function("a number and a divisor", 2, 2, divisible),
}
WORDS = ("True", "False", "and", "or", "not", *FUNCTIONS)


class Scope:
    """The names an expression sees: values by name, and callables by the folder it is written in."""

    def __init__(
        self,
        values: Mapping[str, Value],
        find: Callable[[str], Any] = lambda name: None,
        quantity: Callable[[Expr, ast.Attribute], Value] | None = None,
    ):
        """`find` gives the op or block of that name, or None; `quantity` the value of a dotted name, if any."""
        self.values = dict(values)
        self.find = find
        self.quantity = quantity

    def with_values(self, values: Mapping[str, Value]) -> Scope:
        """This scope with more names."""
        return Scope({**self.values, **values}, self.find, self.quantity)


@dataclass(frozen=True)
class Argument:
    """One argument of a call: its keyword (None when given by position) and its expression."""

    keyword: str | None
    value: Expr
    place: Place


@dataclass(frozen=True)
class Expr:
    """A parsed expression that knows its place. Its source is one line of ASCII, so that a column is a character."""

    node: ast.expr
    source: Text

    @property
    def text(self) -> str:
        """The expression as written."""
        return self.text_of(self.node)

    def text_of(self, node: ast.expr) -> str:
        """A part of the expression as written."""
        return self.source.text[node.col_offset : node.end_col_offset]

    @property
    def place(self) -> Place:
        """Where the expression begins."""
        return self.place_of(self.node)

    def place_of(self, node: Any) -> Place:
        """Where a part of the expression begins."""
        return self.source.at(node.col_offset)

    def problem(self, node: Any, message: str, expected: str | None = None, near: str | None = None) -> SpecError:
        """An error at a part of the expression."""
        return spec_error(message, self.place_of(node), expected, near)

    def evaluate(self, scope: Scope) -> Value:
        """The exact value. Raises: SpecError."""
        return _evaluate(self, self.node, scope)

    def integer(self, scope: Scope) -> int:
        """The value, which must be an integer. Raises: SpecError."""
        value = self.evaluate(scope)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.problem(self.node, f"{self.text} is {kind(value)}", "an integer")
        return value

    def truth(self, scope: Scope) -> bool:
        """The value, which must be True or False. Raises: SpecError."""
        value = self.evaluate(scope)
        if not isinstance(value, bool):
            raise self.problem(self.node, f"{self.text} is {kind(value)}", "True or False")
        return value

    def names(self) -> Iterator[ast.Name]:
        """Every name in the expression that is not a function's."""
        for node in ast.walk(self.node):
            if isinstance(node, ast.Name) and node.id not in FUNCTIONS:
                yield node

    def calls(self) -> Iterator[Call]:
        """Every call of an op or block within the expression."""
        for node in ast.walk(self.node):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in FUNCTIONS:
                yield _call(self, node)


@dataclass(frozen=True)
class Call:
    """A call, `name(arguments)`, or a bare `name`."""

    name: str
    arguments: tuple[Argument, ...]
    expr: Expr

    @property
    def target(self) -> Expr:
        """The called name."""
        node = self.expr.node
        return Expr(node.func if isinstance(node, ast.Call) else node, self.expr.source)

    @property
    def place(self) -> Place:
        """Where the called name stands."""
        return self.expr.place

    @property
    def text(self) -> str:
        """The call in short, for the chain of an error."""
        return f"{self.name}(...)" if self.arguments else self.name


EXPRESSION_FORM = f"numbers, names, lists, + - * / //, comparisons, and or not, {' '.join(FUNCTIONS)}"
CALL_FORM = "a call of an op or a block, as in relu or conv(64, kernel=3, bias=False)"


def parse(text: Text, what: str = "an expression", expected: str = EXPRESSION_FORM, quantities: bool = False) -> Expr:
    """An expression of the language.

    Args: `what`, `expected` what it is and may be, for messages; `quantities` whether dotted names may be in it, which
    the scope's `quantity` knows.
    Raises: SpecError where it is none.
    """
    if len(text.text) > MAX_TEXT:
        raise spec_error(f"an expression of {len(text.text):,} characters", text.place, f"at most {MAX_TEXT:,}")
    line = re.sub(r"[\t\r\n]", " ", text.text)  # YAML folds a text over several lines; a list keeps its line breaks
    if not line.strip():
        raise spec_error(f"{what} is missing here", text.place, expected)
    text = Text(line.strip(), text.at(len(line) - len(line.lstrip())), text.exact)
    foreign = re.search(r"[^ -~]", text.text)  # Python would take some of them for their ASCII look-alikes
    if foreign:
        raise spec_error(f"{quote(foreign.group())} is not in the language", text.at(foreign.start()), expected)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            node = ast.parse(text.text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise _not_parsed(text, error, what, expected) from None
    expr = Expr(node, text)
    nodes = [part for part in ast.walk(node) if isinstance(part, ast.expr)]
    if len(nodes) > MAX_TERMS:
        raise spec_error(f"an expression of {len(nodes):,} terms", text.place, f"at most {MAX_TERMS}")
    for part in nodes:
        if not (quantities and isinstance(part, ast.Attribute)):
            _allow(expr, part, expected if part is node else EXPRESSION_FORM)
    return expr


def _not_parsed(text: Text, error: Exception, what: str, expected: str) -> SpecError:
    """What is wrong with the syntax, in our words: Python's differ from version to version, and speak of Python."""
    if str(error).startswith("positional argument follows keyword argument"):  # Python points at the closing bracket
        return spec_error("an argument by position stands after one by name", text.place, "those without '=' first")
    offset = (getattr(error, "offset", 1) or len(text.text) + 1) - 1  # without an offset, there should be more text
    stray = _stray_bracket(text.text)
    if stray is not None:
        offset, expected = stray, f"a partner for {quote(text.text[stray])}"
    elif empty := re.search(r"(\w+)\s*=\s*[,)]", text.text):
        return spec_error(
            f"argument {quote(empty[1])} has no value", text.at(empty.start()), f"{empty[1]}= and a value"
        )
    elif "forgot a comma" in str(error):
        expected = "a comma between two arguments"
    word = re.match(r"\w*", text.text[offset:])
    if word and keyword.iskeyword(word.group()):
        return spec_error(f"{quote(word.group())} cannot stand here", text.at(offset), expected)
    return spec_error(f"{quote(text.text)} is not {what}", text.at(offset), expected)


def _stray_bracket(text: str) -> int | None:
    """The first bracket that closes nothing, or the last that is never closed."""
    open_ = []
    for i, c in enumerate(text):
        if c in "([{":
            open_.append(i)
        elif c in ")]}" and (not open_ or "([{".index(text[open_.pop()]) != ")]}".index(c)):
            return i
    return open_[-1] if open_ else None


def parse_call(text: Text, what: str = "a call", expected: str = CALL_FORM) -> Call:
    """A call of an op or block, as a step writes it. Raises: SpecError."""
    expr = parse(text, what, expected)
    if isinstance(expr.node, ast.Name):
        return Call(expr.node.id, (), expr)
    if isinstance(expr.node, ast.Call):
        return _call(expr, expr.node)
    raise expr.problem(expr.node, f"{quote(expr.text)} is not {what}", expected)


def dotted_call(text: Text, what: str = "a call", expected: str = CALL_FORM) -> tuple[str, tuple[Argument, ...], Expr]:
    """A call of a dotted name, as `reference:` writes it: `torchvision.models.vgg16(num_classes=classes)`.

    Raises: SpecError where it is none.
    """
    name = text.text.partition("(")[0]
    builder = name.rpartition(".")[2]
    # Spaces stand for what is before the last dot, so that every place stays what it is.
    rest = text.text[len(name) - len(builder) :]
    call = parse_call(Text(rest.rjust(len(text.text)), text.place, text.exact), what, expected)
    return name.strip(), call.arguments, call.expr


def literal(text: Text) -> Value:
    """A constant written without names. Raises: SpecError."""
    return parse(text).evaluate(Scope({}))


def _call(expr: Expr, node: ast.Call) -> Call:
    assert isinstance(node.func, ast.Name)
    arguments = [Argument(None, Expr(a, expr.source), expr.place_of(a)) for a in node.args]
    for given in node.keywords:
        assert given.arg is not None
        arguments.append(Argument(given.arg, Expr(given.value, expr.source), expr.place_of(given)))
    return Call(node.func.id, tuple(arguments), Expr(node, expr.source))


_BINARY: dict[type, Callable[[Number, Number], Number]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: lambda a, b: Fraction(a) / Fraction(b),
    ast.FloorDiv: lambda a, b: a // b,
}
_COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: lambda a, b: bool(key(a) == key(b)),
    ast.NotEq: lambda a, b: bool(key(a) != key(b)),
    ast.Lt: lambda a, b: bool(a < b),
    ast.LtE: lambda a, b: bool(a <= b),
    ast.Gt: lambda a, b: bool(a > b),
    ast.GtE: lambda a, b: bool(a >= b),
}


def _allow(expr: Expr, node: ast.expr, expected: str) -> None:
    """Let a node of the whitelist through: what is not named here is not in the language."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool | int) or (isinstance(node.value, float) and math.isfinite(node.value)):
            return
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and not any(k.arg is None for k in node.keywords):
            return _given_once(expr, node.keywords)
    elif isinstance(node, ast.List):
        for item in node.elts:
            if isinstance(item, ast.List):
                raise expr.problem(item, "a list within a list", "a list of one level")
        return
    elif isinstance(node, ast.Name):
        return
    elif isinstance(node, ast.Slice):
        return  # the list that it is of knows whether it has a step
    elif isinstance(node, ast.Subscript):
        part = node.slice
        if not isinstance(part, ast.Slice) or (part.step is None and (part.lower or part.upper)):
            return
    elif isinstance(node, ast.BinOp):
        if type(node.op) in _BINARY:
            return
    elif isinstance(node, ast.UnaryOp):
        if isinstance(node.op, ast.USub | ast.Not):
            return
    elif isinstance(node, ast.Compare):
        if all(type(op) in _COMPARE for op in node.ops):
            return
    elif isinstance(node, ast.BoolOp):
        return
    raise expr.problem(node, f"{quote(expr.text_of(node))} is not in the language", expected)


def _given_once(expr: Expr, keywords: list[ast.keyword]) -> None:
    names = [given.arg for given in keywords]
    for i, given in enumerate(keywords):
        if given.arg in names[:i]:
            raise expr.problem(given, f"argument {quote(str(given.arg))} is given twice", "one of them")


def _evaluate(expr: Expr, node: ast.expr, scope: Scope) -> Value:
    if isinstance(node, ast.Name):  # names and constants first, since they are most of what there is
        return _name(expr, node, scope)
    if isinstance(node, ast.Constant):
        return _constant(expr, node)
    match node:
        case ast.List():
            return _small(expr, node, tuple(_item(expr, item, scope) for item in node.elts))
        case ast.Subscript():
            return _index(expr, node, scope)
        case ast.Attribute():
            assert scope.quantity is not None, "dotted names are parsed where a scope knows them"
            return _bounded(expr, node, scope.quantity(expr, node))
        case ast.BinOp():
            left, right = _number(expr, node.left, scope), _number(expr, node.right, scope)
            try:
                return _bounded(expr, node, _BINARY[type(node.op)](left, right))
            except ZeroDivisionError:
                raise expr.problem(node, f"division by zero in {expr.text_of(node)}") from None
        case ast.UnaryOp():
            if isinstance(node.op, ast.Not):
                return not Expr(node.operand, expr.source).truth(scope)
            return -_number(expr, node.operand, scope)
        case ast.Compare():
            return _compare(expr, node, scope)
        case ast.BoolOp():
            decisive = isinstance(node.op, ast.Or)  # one such value decides
            return decisive if any(Expr(v, expr.source).truth(scope) is decisive for v in node.values) else not decisive
        case ast.Call():
            return _function(expr, node, scope)
    raise AssertionError(f"the whitelist lets {type(node).__name__} through")


def _constant(expr: Expr, node: ast.Constant) -> Value:
    if not isinstance(node.value, float):
        return _bounded(expr, node, node.value)
    text = expr.text_of(node)
    if not re.fullmatch(r"[\d._]+([eE][+-]?\d{1,2})?", text):
        raise _too_large(expr, node)  # before its digits are written out
    return _bounded(expr, node, Fraction(Decimal(text)))  # as written: a float keeps 17 digits


def _item(expr: Expr, node: ast.expr, scope: Scope) -> Value:
    value = _evaluate(expr, node, scope)
    if isinstance(value, tuple):
        raise expr.problem(node, f"{expr.text_of(node)} is {kind(value)}, within a list", "a list of one level")
    return value


def _small(expr: Expr, node: ast.expr, value: Value) -> Value:
    """The value, if it is not made of too many: partials in partials in partials grow by powers."""
    if parts(value) > MAX_PARTS:
        raise expr.problem(node, f"a value made of {parts(value):,} values", f"at most {MAX_PARTS}")
    return value


def _bounded(expr: Expr, node: ast.expr, value: Value) -> Value:
    if isinstance(value, bool):
        return value
    if max(abs(value.numerator), value.denominator) > MAX_NUMBER:
        raise _too_large(expr, node)
    return int(value) if value.denominator == 1 else value


def _too_large(expr: Expr, node: ast.expr) -> SpecError:
    return expr.problem(node, "the number is too large", f"at most {MAX_NUMBER:,}, and 12 decimals")


def _name(expr: Expr, node: ast.Name, scope: Scope) -> Value:
    if node.id in scope.values:
        return scope.values[node.id]
    target = scope.find(node.id)
    if target is None:
        expected = listed(scope.values, none="no name here")
        raise expr.problem(node, f"unknown name {quote(node.id)}", expected, nearest(node.id, scope.values))
    return Partial(target)


def _number(expr: Expr, node: ast.expr, scope: Scope) -> Number:
    return _as_number(expr, node, _evaluate(expr, node, scope))


def _as_number(expr: Expr, node: ast.expr, value: Value) -> Number:
    if isinstance(value, bool) or not isinstance(value, int | Fraction):
        raise expr.problem(node, f"{expr.text_of(node)} is {kind(value)}", "a number")
    return value


def _numbers(expr: Expr, node: ast.expr, scope: Scope) -> list[Number]:
    """The entries of a list, which must be numbers. Raises: SpecError."""
    items = _evaluate(expr, node, scope)
    text = expr.text_of(node)
    if not isinstance(items, tuple):
        raise expr.problem(node, f"{text} is {kind(items)}", "a list of numbers")
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int | Fraction):
            raise expr.problem(node, f"{text} has the entry {show(item)}", "a list of numbers")
    return list(items)


def _index(expr: Expr, node: ast.Subscript, scope: Scope) -> Value:
    items = _evaluate(expr, node.value, scope)
    text = expr.text_of(node.value)
    if not isinstance(items, tuple):
        raise expr.problem(node, f"{text} is {kind(items)}", "a list")
    if isinstance(node.slice, ast.Slice):
        return _slice(expr, node.slice, text, items, scope)
    index = Expr(node.slice, expr.source).integer(scope)
    if not 0 <= index < len(items):
        found = f"{text} has {len(items)} entries, and none at index {index}"
        raise expr.problem(node.slice, found, f"0 to {len(items) - 1}" if items else "a list that is not empty")
    return items[index]


def _slice(expr: Expr, node: ast.Slice, text: str, items: tuple[Value, ...], scope: Scope) -> Value:
    """The entries from one place up to another: `depths[:2]` are the first two. `text`: the list as written."""
    ends = [0, len(items)]
    for at, end in enumerate((node.lower, node.upper)):
        if end is not None:
            ends[at] = Expr(end, expr.source).integer(scope)
    if not 0 <= ends[0] <= ends[1] <= len(items):
        found = f"{text} has {len(items)} entries, and no part from {ends[0]} to {ends[1]}"
        raise expr.problem(node.upper or node.lower, found, f"0 to {len(items)}, the first not above the second")
    return items[ends[0] : ends[1]]


def _compare(expr: Expr, node: ast.Compare, scope: Scope) -> bool:
    """The truth of `a < b <= c`: each operand is evaluated once, and the first that fails ends it."""
    left_node, left = node.left, _evaluate(expr, node.left, scope)
    for op, right_node in zip(node.ops, node.comparators, strict=True):
        right = _evaluate(expr, right_node, scope)
        if not isinstance(op, ast.Eq | ast.NotEq):
            _as_number(expr, left_node, left)
            _as_number(expr, right_node, right)
        if not _COMPARE[type(op)](left, right):
            return False
        left_node, left = right_node, right
    return True


def _function(expr: Expr, node: ast.Call, scope: Scope) -> Value:
    assert isinstance(node.func, ast.Name)
    name = node.func.id
    if name in FUNCTIONS:
        function = FUNCTIONS[name]
        if node.keywords or not function.fewest <= len(node.args) <= (function.most or len(node.args)):
            raise expr.problem(node, f"{name} takes {function.takes}")
        if name == "sum":
            numbers = _numbers(expr, node.args[0], scope)
        else:
            numbers = [_number(expr, argument, scope) for argument in node.args]
        if name == "divisible" and not (isinstance(numbers[1], int) and numbers[1] >= 1):
            found = f"{expr.text_of(node.args[1])} is {kind(numbers[1])}"
            raise expr.problem(node.args[1], found, "an integer of at least 1")
        return _bounded(expr, node, function.compute(*numbers))
    base = _name(expr, node.func, scope)
    if not isinstance(base, Partial):
        raise expr.problem(node, f"{name} is {kind(base)}", "an op or a block")
    call = _call(expr, node)
    check_partial(base.target, call, dict(base.filled))
    filled = [(argument.keyword or "", argument.value.evaluate(scope)) for argument in call.arguments]
    return _small(expr, node, Partial(base.target, (*base.filled, *filled)))


def check_partial(target: Any, call: Call, filled: Mapping[str, Value]) -> None:
    """Whether a call in argument position fits: keywords that `target` knows, each filled once. Raises: SpecError."""
    for argument in call.arguments:
        if argument.keyword is None:
            found = f"{target.name} is filled by position"
            raise spec_error(found, argument.place, f"NAME={argument.value.text}")
        check_keyword(target, argument.keyword, argument.place)
        if argument.keyword in filled:
            found = f"{target.name} has its argument {quote(argument.keyword)} filled twice"
            raise spec_error(found, argument.place, f"{Partial(target, tuple(filled.items()))} as it is")


def check_keyword(target: Any, keyword: str, place: Place) -> None:
    """Whether the op or block has such an argument. Raises: SpecError where it has none."""
    known: tuple[str, ...] = target.argument_names
    if keyword not in known:
        message = f"{target.name} has no argument {quote(keyword)}"
        raise spec_error(message, place, listed(known, none="no arguments"), nearest(keyword, known))
