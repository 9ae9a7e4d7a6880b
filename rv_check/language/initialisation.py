"""Reads `init:`, how the parameters of a family's ops start."""

from __future__ import annotations

from rv_check.errors import spec_error
from rv_check.language.definitions import InitRule
from rv_check.language.expressions import Expr, Scope, parse_call
from rv_check.language.reading import SpecReader, text_of
from rv_check.language.vocabulary import INIT_METHODS, INIT_OPS, INIT_WORDS
from rv_check.language.yaml_nodes import Fields, Text
from rv_check.ops.op import OPS
from rv_check.text import listed, nearest, quote
from rv_check.values import Value, show


def read_init(reader: SpecReader, top: Fields) -> tuple[InitRule, ...]:
    """The rules of `init:`, one an op. Raises: Enough."""
    rules = []
    for op, (key, value) in reader.mapping(top, "init", "ops, each with a method").items():
        with reader.collect():
            rules.append(_rule(op, key, text_of(value, f"init of {op}", listed(INIT_METHODS))))
    return tuple(rules)


def _rule(op: str, key: Text, text: Text) -> InitRule:
    if op not in INIT_OPS:
        what = "has nothing to initialise" if op in OPS else "is no op"
        raise spec_error(f"{quote(op)} {what}", key.place, ", ".join(INIT_OPS), nearest(op, INIT_OPS))
    call = parse_call(text)
    if call.name not in INIT_METHODS:
        near = nearest(call.name, INIT_METHODS)
        raise spec_error(f"unknown initialisation {quote(call.name)}", call.place, ", ".join(INIT_METHODS), near)
    if call.name == "kaiming_normal" and not OPS[op].kind.weighted:
        expected = "constant, normal or default"
        raise spec_error(f"kaiming_normal needs a matrix, and {op} has none", call.place, expected)
    required, optional = INIT_METHODS[call.name]
    known = (*required, *optional)
    arguments: dict[str, Value | str] = {}
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
    return InitRule(op, call.name, arguments, key.place)


def _value(name: str, expr: Expr) -> Value | str:
    """A word of INIT_WORDS, or a number."""
    words = INIT_WORDS.get(name)
    if words is None:
        value = expr.evaluate(Scope({}))
        if isinstance(value, bool | tuple) or (name == "std" and value < 0):
            expected = "a number of at least 0" if name == "std" else "a number"
            raise spec_error(f"{name} is {show(value)}", expr.place, expected)
        return value
    if expr.text not in words:
        raise spec_error(f"{name} is {expr.text}", expr.place, " or ".join(words), nearest(expr.text, words))
    return expr.text
