"""What a call fills, and what the expressions of a definition see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rv_check.language.definitions import Block, Family
from rv_check.language.expressions import Argument, Call, Expr, Scope
from rv_check.language.library import find
from rv_check.language.names import check_call
from rv_check.values import Value


def bind(target: Any, filled: Mapping[str, Value], call: Call, scope: Scope) -> dict[str, Value]:
    """The values of a call's arguments by name. Raises: SpecError where they do not fit `target`, or have no value."""
    check_call(target, call, filled)
    given = {name: argument.value.evaluate(scope) for name, argument in arguments_of(target, call)}
    return {**filled, **given}


def arguments_of(target: Any, call: Call) -> Iterator[tuple[str, Argument]]:
    """The arguments of a call with the names they fill."""
    for position, argument in enumerate(call.arguments):
        yield argument.keyword if argument.keyword is not None else target.argument_names[position], argument


def with_defaults(target: Family | Block, values: Mapping[str, Value]) -> dict[str, Value]:
    """All arguments in the order of the definition, defaults filled in. Raises: SpecError where one has no value."""
    scope = definition_scope(target, {})
    full: dict[str, Value] = {}
    for name, default in target.arguments.items():
        if name in values:
            full[name] = values[name]
        elif default is not None:
            full[name] = default.evaluate(scope)
    return full


def definition_scope(
    target: Family | Block, values: Mapping[str, Value], look_up: Callable[[str, Path], Any] = find
) -> Scope:
    """The scope of a file: these values, and the ops and blocks that `look_up` finds from its folder."""
    folder = target.path.parent
    return Scope(values, lambda name: look_up(name, folder))


def with_let(scope: Scope, let: Iterable[tuple[str, Expr]]) -> Scope:
    """The scope with the names of a `let:`, each of which sees those before it. Raises: SpecError."""
    for name, expr in let:
        scope = scope.with_values({name: expr.evaluate(scope)})
    return scope
