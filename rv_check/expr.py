"""The expressions of the spec language: parsed with Python's `ast`, walked by a whitelist, never run by Python.

Values are exact: integers, fractions (which become integers where they are whole), True and False, one-level lists,
and callables (an op, a block, or one of them with some arguments filled).
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from rv_check.problems import Place, Problem, SpecError, nearest, quote
from rv_check.source import Text

MAX_TEXT = 1_000  # characters of one expression
MAX_TERMS = 200  # nodes of one expression
MAX_NUMBER = 10**12  # largest numerator or denominator on the way

FUNCTIONS: dict[str, Callable[..., Any]] = {"ceil": math.ceil, "min": min, "max": max}
WORDS = ("True", "False", "and", "or", "not", *FUNCTIONS)

Number = int | Fraction
Value = Any  # int | Fraction | bool | tuple[Value, ...] | Partial


@dataclass(frozen=True)
class Partial:
    """An op or a block as a value, with the keyword arguments filled so far."""

    target: Any  # an op class or a spec.Block: whatever `Scope.callable` gave
    filled: tuple[tuple[str, Value], ...] = ()

    def __str__(self) -> str:
        name = self.target.name
        return f"{name}({', '.join(f'{k}={show(v)}' for k, v in self.filled)})" if self.filled else str(name)


def show(value: Value) -> str:
    """A value as the language writes it."""
    if isinstance(value, tuple):
        return "[" + ", ".join(map(show, value)) + "]"
    if isinstance(value, Fraction):
        as_decimal = repr(float(value))
        return as_decimal if Fraction(as_decimal) == value else f"{value.numerator}/{value.denominator}"
    return str(value)


def kind(value: Value) -> str:
    """What a value is, in the words of a message."""
    if isinstance(value, bool | int | Fraction):
        return show(value)
    return f"the list {show(value)}" if isinstance(value, tuple) else f"the block {value}"


def key(value: Value) -> Any:
    """A dictionary key that tells True from 1."""
    if isinstance(value, tuple):
        return tuple(map(key, value))
    if isinstance(value, Partial):
        return (id(value.target), tuple((k, key(v)) for k, v in value.filled))
    return (type(value), value)


class Scope:
    """The names an expression sees: values by name, and callables by the folder it is written in."""

    def __init__(self, values: Mapping[str, Value], find: Callable[[str], Any] = lambda name: None):
        """`find` gives the op or block of that name, or None."""
        self.values = dict(values)
        self.find = find

    def with_values(self, values: Mapping[str, Value]) -> Scope:
        """This scope with more names."""
        return Scope({**self.values, **values}, self.find)


@dataclass(frozen=True)
class Argument:
    """One argument of a call: its keyword (None when given by position) and its expression."""

    keyword: str | None
    value: Expr
    place: Place


@dataclass(frozen=True)
class Expr:
    """A parsed expression that knows its place."""

    node: ast.expr
    source: Text

    @property
    def text(self) -> str:
        """The expression as written."""
        return ast.get_source_segment(self.source.text, self.node) or self.source.text.strip()

    @property
    def place(self) -> Place:
        """Where the expression begins."""
        return self.place_of(self.node)

    def place_of(self, node: Any) -> Place:
        """Where a part of the expression begins."""
        offset = len(self.source.text.encode()[: node.col_offset].decode())
        return self.source.at(offset if node.lineno == 1 else 0)

    def problem(self, node: Any, message: str, expected: str | None = None, near: str | None = None) -> SpecError:
        """An error at a part of the expression."""
        return SpecError([Problem(message, self.place_of(node), expected, near)])

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
    """`name(arguments)`, or a bare `name`."""

    name: str
    arguments: tuple[Argument, ...]
    expr: Expr

    @property
    def place(self) -> Place:
        """Where the called name stands."""
        return self.expr.place

    @property
    def text(self) -> str:
        """The call in short, for the chain of an error."""
        return f"{self.name}(...)" if self.arguments else self.name


def parse(text: Text) -> Expr:
    """An expression of the language. Raises: SpecError."""
    if len(text.text) > MAX_TEXT:
        raise _error(f"an expression of {len(text.text):,} characters", text.place, f"at most {MAX_TEXT:,}")
    if not text.text.strip():
        raise _error("an expression is missing here", text.place)
    leading = len(text.text) - len(text.text.lstrip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Inside parentheses a line break is only a space, as in the folded text of YAML.
            node = ast.parse(text.text.lstrip().replace("\n", " "), mode="eval").body
    except SyntaxError as error:
        column = min(max((error.offset or 1) - 1, 0), len(text.text))
        raise _error(_syntax(text, error), text.at(leading + column), EXPRESSIONS) from None
    except (ValueError, MemoryError, RecursionError):
        raise _error(f"{quote(text.text)} is not an expression", text.place, EXPRESSIONS) from None
    if leading:
        text = Text(text.text.lstrip(), text.at(leading), text.exact)
    expr = Expr(node, text)
    terms = 0
    for part in ast.walk(node):
        if isinstance(part, ast.expr):
            terms += 1
            _allow(expr, part)
    if terms > MAX_TERMS:
        raise _error(f"an expression of {terms} terms", text.place, f"at most {MAX_TERMS}")
    return expr


EXPRESSIONS = "numbers, names, lists, + - * / //, comparisons, and or not, ceil min max"
EXPECTED_CALL = "an op or a block, as in relu or conv(64, kernel=3, bias=False)"


def parse_call(text: Text) -> Call:
    """A call of an op or block, as a step writes it. Raises: SpecError."""
    expr = parse(text)
    if isinstance(expr.node, ast.Name):
        return Call(expr.node.id, (), expr)
    if isinstance(expr.node, ast.Call):
        return _call(expr, expr.node)
    raise expr.problem(expr.node, f"{quote(expr.text)} is not a call", EXPECTED_CALL)


def dotted_call(text: Text) -> tuple[str, tuple[Argument, ...], Expr]:
    """A call of a dotted name, as `reference:` writes it: `torchvision.models.vgg16(num_classes=classes)`."""
    name, bracket, rest = text.text.partition("(")
    padded = Text("_" * len(name.rstrip()) + " " * (len(name) - len(name.rstrip())) + bracket + rest, text.place, text.exact)
    call = parse_call(padded)
    return name.strip(), call.arguments, call.expr


def literal(text: Text) -> Value:
    """A constant written without names. Raises: SpecError."""
    return parse(text).evaluate(Scope({}))


def _error(message: str, place: Place, expected: str | None = None) -> SpecError:
    return SpecError([Problem(message, place, expected)])


def _syntax(text: Text, error: SyntaxError) -> str:
    """The two mistakes in calls that Python words well; its other words differ from version to version."""
    if error.msg.startswith("keyword argument repeated: "):
        return f"argument {quote(error.msg.removeprefix('keyword argument repeated: '))} is given twice"
    if error.msg.startswith("positional argument follows keyword argument"):
        return "an argument by position stands after one by name"
    return f"{quote(text.text)} is not an expression"


def _call(expr: Expr, node: ast.Call) -> Call:
    assert isinstance(node.func, ast.Name)
    arguments = [Argument(None, Expr(a, expr.source), expr.place_of(a)) for a in node.args]
    for keyword in node.keywords:
        assert keyword.arg is not None
        arguments.append(Argument(keyword.arg, Expr(keyword.value, expr.source), expr.place_of(keyword)))
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


def _allow(expr: Expr, node: ast.expr) -> None:
    """The whitelist: what is not named here is not in the language."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool | int) or (isinstance(node.value, float) and math.isfinite(node.value)):
            return
    elif isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and not any(k.arg is None for k in node.keywords):
            return
    elif isinstance(node, ast.List):
        for item in node.elts:
            if isinstance(item, ast.List):
                raise expr.problem(item, "a list within a list", "a list of one level")
        return
    elif isinstance(node, ast.Name):
        return
    elif isinstance(node, ast.Subscript):
        if not isinstance(node.slice, ast.Slice | ast.Tuple):
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
    raise expr.problem(node, f"{quote(Expr(node, expr.source).text)} is not in the language", EXPRESSIONS)


def _evaluate(expr: Expr, node: ast.expr, scope: Scope) -> Value:
    match node:
        case ast.Constant():
            number = node.value
            value: Value = Fraction(repr(number)) if isinstance(number, float) else number
            return _bounded(expr, node, value)
        case ast.Name():
            return _name(expr, node, scope)
        case ast.List():
            return tuple(_evaluate(expr, item, scope) for item in node.elts)
        case ast.Subscript():
            return _index(expr, node, scope)
        case ast.BinOp():
            left, right = _number(expr, node.left, scope), _number(expr, node.right, scope)
            try:
                return _bounded(expr, node, _BINARY[type(node.op)](left, right))
            except ZeroDivisionError:
                raise expr.problem(node, f"division by zero in {Expr(node, expr.source).text}") from None
        case ast.UnaryOp():
            if isinstance(node.op, ast.Not):
                return not Expr(node.operand, expr.source).truth(scope)
            return -_number(expr, node.operand, scope)
        case ast.Compare():
            return _compare(expr, node, scope)
        case ast.BoolOp():
            wanted = isinstance(node.op, ast.Or)
            return wanted if any(Expr(v, expr.source).truth(scope) is wanted for v in node.values) else not wanted
        case ast.Call():
            return _function(expr, node, scope)
    raise AssertionError(f"the whitelist lets {type(node).__name__} through")


def _bounded(expr: Expr, node: ast.expr, value: Value) -> Value:
    if isinstance(value, bool):
        return value
    if max(abs(value.numerator), value.denominator) > MAX_NUMBER:
        raise expr.problem(node, "the number is too large", f"at most {MAX_NUMBER:,}")
    return int(value) if value.denominator == 1 else value


def _name(expr: Expr, node: ast.Name, scope: Scope) -> Value:
    if node.id in scope.values:
        return scope.values[node.id]
    target = scope.find(node.id)
    if target is None:
        known = sorted(scope.values)
        expected = ", ".join(known) if known else "no names here"
        raise expr.problem(node, f"unknown name {quote(node.id)}", expected, nearest(node.id, known))
    return target if isinstance(target, Partial) else Partial(target)


def _number(expr: Expr, node: ast.expr, scope: Scope) -> Number:
    value = _evaluate(expr, node, scope)
    if isinstance(value, bool) or not isinstance(value, int | Fraction):
        raise expr.problem(node, f"{Expr(node, expr.source).text} is {kind(value)}", "a number")
    return value


def _index(expr: Expr, node: ast.Subscript, scope: Scope) -> Value:
    items = _evaluate(expr, node.value, scope)
    if not isinstance(items, tuple):
        raise expr.problem(node, f"{Expr(node.value, expr.source).text} is {kind(items)}", "a list")
    index = Expr(node.slice, expr.source).integer(scope)
    if not 0 <= index < len(items):
        text = Expr(node.value, expr.source).text
        what = f"{text} has {len(items)} entries, and none at index {index}"
        raise expr.problem(node.slice, what, f"0 to {len(items) - 1}" if items else None)
    return items[index]


def _compare(expr: Expr, node: ast.Compare, scope: Scope) -> bool:
    operands = [node.left, *node.comparators]
    for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
        read = _evaluate if isinstance(op, ast.Eq | ast.NotEq) else _number
        if not _COMPARE[type(op)](read(expr, left, scope), read(expr, right, scope)):
            return False
    return True


def _function(expr: Expr, node: ast.Call, scope: Scope) -> Value:
    assert isinstance(node.func, ast.Name)
    name = node.func.id
    if name in FUNCTIONS and name not in scope.values:
        enough = len(node.args) == 1 if name == "ceil" else len(node.args) >= 2
        if node.keywords or not enough:
            raise expr.problem(node, f"{name} takes {'one number' if name == 'ceil' else 'two numbers or more'}")
        return FUNCTIONS[name](*(_number(expr, argument, scope) for argument in node.args))
    base = _name(expr, node.func, scope)
    if not isinstance(base, Partial):
        raise expr.problem(node, f"{name} is {kind(base)}", "an op or a block before (")
    if node.args:
        raise expr.problem(node.args[0], f"{name} is filled by position", "keywords only, as in bottleneck(groups=32)")
    filled = dict(base.filled)
    for keyword in node.keywords:
        assert keyword.arg is not None
        check_keyword(base.target, keyword.arg, expr.place_of(keyword))
        if keyword.arg in filled:
            raise expr.problem(keyword, f"{base.target.name} has its argument {quote(keyword.arg)} filled twice")
        filled[keyword.arg] = _evaluate(expr, keyword.value, scope)
    return Partial(base.target, tuple(filled.items()))


def check_keyword(target: Any, keyword: str, place: Place) -> None:
    """Raise SpecError where the op or block has no such argument."""
    known: Iterable[str] = target.argument_names
    if keyword not in known:
        message = f"{target.name} has no argument {quote(keyword)}"
        expected = ", ".join(known) or "no arguments"
        raise SpecError([Problem(message, place, expected, nearest(keyword, known))])
