"""Reads `init:`, how the parameters of a family's ops and steps start."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rv_check.errors import Place, Problem, SpecError, spec_error
from rv_check.language.definitions import InitRule
from rv_check.language.expressions import Expr, Scope, parse_call
from rv_check.language.reading import SpecReader, text_of
from rv_check.language.sized import Sized, read_sized
from rv_check.language.vocabulary import INIT_METHODS, INIT_OPS, INIT_WORDS
from rv_check.language.yaml_nodes import Fields, Text
from rv_check.ops.op import OPS
from rv_check.text import listed, nearest, quote
from rv_check.values import Value, show

NEEDS_FANS = ("kaiming_normal", "kaiming_uniform")
STEP_NAME = re.compile(r"[A-Za-z0-9_-]+")
INIT_OF_FORM = f"{', '.join(INIT_OPS)}, or the name of a step, as in classifier.1"


def read_init(reader: SpecReader, top: Fields) -> tuple[InitRule, ...]:
    """The rules of `init:`, one an op or a step; whether there is such a step, an arch can tell. Raises: Enough."""
    rules = []
    for of, (key, value) in reader.mapping(top, "init", "ops or steps, each with a method").items():
        with reader.collect():
            rules.append(_rule(of, key, text_of(value, f"init of {of}", listed(INIT_METHODS))))
    return tuple(rules)


def matrix_problem(method: str, arguments: Mapping[str, Value | Sized | str], op: str, place: Place) -> Problem | None:
    """What is wrong with a method of an op that has no matrix, where it, or one of its arguments, needs its sizes."""
    sized = next((value for value in arguments.values() if isinstance(value, Sized)), None)
    if OPS[op].kind.weighted or not (method in NEEDS_FANS or sized):
        return None
    what = method if method in NEEDS_FANS else str(sized)
    others = [name for name in INIT_METHODS if name not in NEEDS_FANS]
    return Problem(f"{what} needs a matrix, and {op} has none", place, f"{', '.join(others)}, with plain numbers")


def _rule(of: str, key: Text, text: Text) -> InitRule:
    if of in OPS and of not in INIT_OPS:
        raise spec_error(f"{quote(of)} has nothing to initialise", key.place, INIT_OF_FORM, nearest(of, INIT_OPS))
    if not all(map(STEP_NAME.fullmatch, of.split("."))):
        raise spec_error(f"{quote(of)} is no op, and names no step", key.place, INIT_OF_FORM, nearest(of, INIT_OPS))
    call = parse_call(text)
    if call.name not in INIT_METHODS:
        near = nearest(call.name, INIT_METHODS)
        raise spec_error(f"unknown initialisation {quote(call.name)}", call.place, ", ".join(INIT_METHODS), near)
    required, optional = INIT_METHODS[call.name]
    known = (*required, *optional)
    arguments: dict[str, Value | Sized | str] = {}
    for argument in call.arguments:
        name = argument.keyword
        if name is None:
            found = f"an argument of {call.name} without a name"
            raise spec_error(found, argument.place, listed((f"{n}=..." for n in known), none="no arguments"))
        if name not in known:
            found = f"{call.name} has no argument {quote(name)}"
            raise spec_error(found, argument.place, listed(known, none="no arguments"), nearest(name, known))
        arguments[name] = _value(name, argument.value)
    missing = [name for name in required if name not in arguments]
    if missing:
        found = f"{call.name} without its argument{'s' * (len(missing) > 1)} {listed(map(quote, missing))}"
        raise spec_error(found, call.place, ", ".join(known))
    problem = matrix_problem(call.name, arguments, of, call.place) if of in OPS else None
    if problem is not None:
        raise SpecError([problem])
    return InitRule(of, call.name, arguments, key.place)


def _value(name: str, expr: Expr) -> Value | Sized | str:
    """A word of INIT_WORDS, a number, or one by the size of the layer."""
    words = INIT_WORDS.get(name)
    if words is None:
        sized = read_sized(expr)
        if sized is not None:
            return sized
        value = expr.evaluate(Scope({}))
        is_size = name in ("std", "bound")
        if isinstance(value, bool | tuple) or (is_size and value < 0):
            expected = "a number of at least 0" if is_size else "a number"
            raise spec_error(f"{name} is {show(value)}", expr.place, expected)
        return value
    if expr.text not in words:
        raise spec_error(f"{name} is {expr.text}", expr.place, " or ".join(words), nearest(expr.text, words))
    return expr.text
