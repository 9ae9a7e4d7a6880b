"""Where parameters are made: the line of the constructor that a part of a module comes from."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from rv_check.errors import Document, Place
from rv_check.graphs.explain import Maker


def makers_of(module: nn.Module, names: Sequence[str]) -> Mapping[str, Maker]:
    """The outermost part of a module that holds nothing but these parameters, for each of them, and what made it."""
    every = [name for name, _ in module.named_parameters(remove_duplicate=False)]
    return {name: _maker(module, _owner(name, set(names), every)) for name in names}


def _owner(name: str, idle: set[str], every: Sequence[str]) -> str:
    parts = name.split(".")
    for count in range(1, len(parts)):
        path = ".".join(parts[:count])
        if all(other in idle for other in every if other.startswith(f"{path}.")):
            return path
    return name


def _maker(module: nn.Module, path: str) -> Maker:
    """Who made a part: the line that assigns it, or else what it is in."""
    at = path
    while at:
        parent, _, attribute = at.rpartition(".")
        place = _assigned(type(module.get_submodule(parent)), attribute)
        if place is not None:
            return Maker(path, place)
        at = parent
    return Maker(path, None)


def _assigned(cls: type, attribute: str) -> Place | None:
    """The line of a class that is not torch's own at which an attribute of `self` gets its value."""
    for one in cls.__mro__:
        if one.__module__.partition(".")[0] in ("torch", "builtins"):
            continue
        try:
            lines, first = inspect.getsourcelines(one)
            tree = ast.parse(textwrap.dedent("".join(lines)))
            file = inspect.getfile(one)
        except (OSError, TypeError, SyntaxError):
            continue  # it was made without a file
        found = [node for node in ast.walk(tree) if isinstance(node, ast.stmt | ast.Call) and _gives(node, attribute)]
        if found:
            line = min(found, key=lambda node: (not _is_made(node), node.lineno)).lineno
            return Place(Document(Path(file), ()), first + line - 1, 0)
    return None


def _gives(node: ast.AST, attribute: str) -> bool:
    """Whether a statement or a call gives that attribute of `self` a value."""
    match node:
        case ast.Assign(targets=targets):
            return any(_is_own(one, attribute) for target in targets for one in ast.walk(target))
        case ast.AnnAssign(target=target):
            return _is_own(target, attribute)
        case ast.Call(func=ast.Attribute(attr=name), args=[ast.Constant(value=value), *_]):
            return value == attribute and name in ("add_module", "register_module", "register_parameter")
    return False


def _is_own(node: ast.AST, attribute: str) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == attribute and isinstance(node.value, ast.Name)


def _is_made(node: ast.AST) -> bool:
    """Whether what is assigned is made there, and is no mere None that another line replaces."""
    value = getattr(node, "value", None)
    return value is None or not isinstance(value, ast.Constant)
