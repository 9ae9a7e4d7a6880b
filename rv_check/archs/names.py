"""The names of steps: each is worked out where its step is expanded, and none may stand twice in a module."""

from __future__ import annotations

from collections.abc import Iterable

from rv_check.archs.trail import Trail
from rv_check.archs.tree import Item, Join, LateName, Layer, Module, Repeat, Seq, named, walk
from rv_check.errors import Place, Problem
from rv_check.language.definitions import Name
from rv_check.language.expressions import Expr, Scope
from rv_check.text import quote


def name_in(trail: Trail, name: Name | None, scope: Scope) -> str | LateName | None:
    """The name of a step as this scope tells it, late where it depends on the index of a repeat around it.

    Raises: Stop where an expression in it has no value, or none that a name can have.
    """
    if name is None or len(name.parts) == 1:  # a name begins with text, so one part is all text
        return name.text if name else None
    with trail.noting:
        for part in name.parts:
            if isinstance(part, Expr) and any(n.id not in scope.values for n in part.names()):
                return LateName(name, scope)
        return LateName(name, scope).text({})


def check_names(trail: Trail, seq: Seq) -> None:
    """Note the first name that stands twice in a module with these steps. Raises: Stop, as `name_in`."""
    if not seq.named:
        return
    known: dict[str, Place] = {}
    with trail.noting:
        for visit in named(walk(seq, rounds=_named_rounds)):
            if visit.item.name is None:
                continue
            name, place = visit.name, visit.item.place
            trail.spend(place)
            if name in known:
                first, expected = f", the first at {known[name].short}", "another name (weights cannot be shared)"
                if known[name] == place:  # one line, in a repeat or in an inline block that is used twice
                    first, expected = "", "no name, or one that differs each time, as in NAME{i+1}"
                trail.note([Problem(f"{quote(name)} names two steps of one module{first}", place, expected)])
                return
            known[name] = place


def _named_rounds(repeat: Repeat, position: int) -> Iterable[int]:
    """The rounds of a repeat in which something has a name of its own: all or none."""
    return range(repeat.times if repeat.seq.named else 0)


def is_named(item: Item) -> bool:
    """Whether something in an item has a name of its own in the module around it."""
    match item.node:
        case Layer() | Module():
            return item.name is not None
        case Join():
            return any(branch.named for _, branch in item.node.branches)
        case Repeat():
            return item.node.seq.named
        case Seq():
            return item.node.named
