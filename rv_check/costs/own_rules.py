"""What somebody says of operations that no rule here counts: what they multiply, or that they cost nothing.

A rule is an expression of the spec language. In it `x` is the shape of what comes in (`x2`, `x3` of further inputs)
and `y` that of what comes out, with every axis, the batch's first; the operator's parameters are their shapes, and its
whole numbers themselves, by the names that its schema has for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rv_check.errors import Document, Place, RvCheckError
from rv_check.graphs.graph import Graph, Node
from rv_check.language.expressions import Expr, Scope, parse
from rv_check.language.yaml_nodes import Text
from rv_check.ops.kinds import LEAVES
from rv_check.text import listed, nearest, quote


@dataclass(frozen=True)
class OwnRules:
    """By kind of operation: `rules` the multiply-adds of one, `ignored` what costs nothing but where a rule says so."""

    rules: Mapping[str, Expr] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()

    def ignores(self, kind: str) -> bool:
        """Whether operations of that kind multiply nothing, since that alone is said of them."""
        return kind in self.ignored and kind not in self.rules

    def macs(self, node: Node) -> int | None:
        """The multiply-adds of an operation; None where nothing is said of it. Raises: RvCheckError."""
        if node.kind not in self.rules:
            return 0 if self.ignores(node.kind) else None
        expr = self.rules[node.kind]
        try:
            macs = expr.integer(Scope(_names(node)))
            if macs < 0:
                raise expr.problem(expr.node, f"{expr.text} is {macs:,}", "a number of multiply-adds, 0 or more")
        except RvCheckError as error:
            where = f" at {node.place}" if node.place else ""
            raise error.said_of(f"the rule of {node.kind}{where}") from None
        return macs

    def see_that_they_occur(self, *graphs: Graph) -> None:
        """Raises: RvCheckError where one of them is of a kind that is not done there, or that is counted already."""
        nodes = (node for graph in graphs for node in (*graph.nodes, *graph.ran))
        done = {node.kind: node.row for node in nodes if node.kind not in LEAVES}
        without = [kind for kind, row in done.items() if row.multiplies == "unknown"]
        for kind in (*self.rules, *sorted(self.ignored)):
            if kind in without:
                continue
            found = f"{quote(kind)} has a rule here already" if kind in done else f"there is no operation {quote(kind)}"
            expected = listed(without, none="none, since every operation has a rule")
            raise RvCheckError(found, expected=expected, near=nearest(kind, without))


NONE = OwnRules()


def own_rules(rules: Mapping[str, str], ignore: Iterable[str] = ()) -> OwnRules:
    """The rules of somebody's own. Args: `rules` expressions by kind of operation; `ignore` kinds that cost nothing.

    Raises: RvCheckError for what is no expression.
    """
    if isinstance(ignore, str):
        raise RvCheckError(f"what is ignored is {quote(ignore)}", expected="a list of operations")
    return OwnRules({kind: _parsed(kind, text) for kind, text in rules.items()}, frozenset(ignore))


def _parsed(kind: str, text: Any) -> Expr:
    if not isinstance(text, str):
        raise RvCheckError(f"the rule of {kind} is a {type(text).__name__}", expected="a text, as 'y[1] * x[1]'")
    place = Place(Document(Path("rule"), (text,), is_file=False), 1, 1)
    try:
        return parse(Text(text, place))
    except RvCheckError as error:
        raise error.said_of(f"the rule of {kind}") from None


def _names(node: Node) -> dict[str, Any]:
    """What the names in a rule stand for."""
    own = {name: value for name, value in node.attributes.items() if _is_whole(value)}
    own |= {role: tensor.shape for role, tensor in node.tensors.items()}
    inputs = {f"x{at}" if at > 1 else "x": value.shape for at, value in enumerate(node.inputs, 1)}
    return {**inputs, "y": node.shape, **{name: value for name, value in own.items() if name not in (*inputs, "y")}}


def _is_whole(value: Any) -> bool:
    """Whether an argument is a whole number, or a list of them."""
    return isinstance(value, int) or (isinstance(value, tuple) and all(isinstance(one, int) for one in value))
