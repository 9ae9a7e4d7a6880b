"""Reads the steps of a body: calls, groups, joins, repeats, conditions and shapes."""

from __future__ import annotations

from rv_check.errors import spec_error
from rv_check.language.definitions import (
    CallStep,
    GroupStep,
    IfStep,
    JoinStep,
    Name,
    NoneStep,
    RepeatStep,
    ShapeStep,
    Step,
    Steps,
    per_round,
)
from rv_check.language.expressions import Call, Expr, parse, parse_call
from rv_check.language.notations import NAME, SHAPE_FORM, parse_shape, parse_step_name, shown_list
from rv_check.language.reading import SpecReader, text_of
from rv_check.language.vocabulary import JOINS, STEP_WORDS
from rv_check.language.yaml_nodes import Fields, Items, Text, YamlNode, kind
from rv_check.text import quote

STEPS_FORM = "a list of steps, one a line, each after a dash"


def read_body(reader: SpecReader, top: Fields) -> Steps:
    """The steps of `body:`; none where it is missing. Raises: Enough."""
    node = top.get("body")
    return () if node is None else _steps(reader, node, "body")


def _steps(reader: SpecReader, node: YamlNode, what: str) -> Steps:
    """A list of steps; what is wrong with one is reported, and the others read all the same."""
    if not isinstance(node, Items):
        reader.add(f"{what} is {shown_list(node)}", node.place, STEPS_FORM)
        return ()
    steps = []
    for item in node.items:
        with reader.collect():
            steps.append(_step(reader, item))
    return tuple(steps)


def _step(reader: SpecReader, node: YamlNode) -> Step:
    if isinstance(node, Text):
        if node.text in ("identity", "none"):
            raise spec_error(f"{node.text} is a whole branch, not a step", node.place, f"LABEL: {node.text}")
        if node.text in STEP_WORDS:
            raise spec_error(f"{quote(node.text)} stands alone", node.place, f"{node.text}: and what it takes")
        return CallStep(None, _call(node, "a step"), node.place)
    if isinstance(node, Items) or not node.entries:
        raise spec_error(f"a step is {kind(node)}", node.place, "a call, or a name with a call or a list of steps")
    if "repeat" in node:
        return _repeat(reader, node)
    if "if" in node:
        return _condition(reader, node, in_branch=False)
    first, (key, value) = next(iter(node.entries.items()))
    if len(node.entries) > 1:
        second = list(node.entries.values())[1][0]
        expected = "a dash before each step, and what is in a step indented below its name"
        raise spec_error(f"the step {quote(first)} has a second key {quote(second.text)}", second.place, expected)
    if first == "shape":
        line = text_of(value, "shape", SHAPE_FORM)
        return ShapeStep(parse_shape(line, "shape"), line.place)
    if first in JOINS:
        return _join(reader, first, key, value)
    name = _name(reader, key)
    if isinstance(value, Items):
        return GroupStep(name, _steps(reader, value, first), key.place)
    return CallStep(name, _call(value, f"step {quote(first)}"), key.place)


def _call(node: YamlNode, what: str) -> Call:
    """A call of an op or a block."""
    if not isinstance(node, Text) or not node.text.strip() or node.text.startswith("["):
        raise spec_error(f"{what} is {shown_list(node)}", node.place, "a call, or a list of steps, one a line")
    return parse_call(node)


def _name(reader: SpecReader, key: Text) -> Name:
    """A name; what is wrong with it is reported, and its step read all the same."""
    parts: tuple[str | Expr, ...] = ()
    with reader.collect():
        parts = parse_step_name(key)
    return Name(parts, key.text, key.place)


def _join(reader: SpecReader, kind_: str, key: Text, value: YamlNode) -> JoinStep:
    if not isinstance(value, Fields):
        expected = "labelled branches, as in main: and skip: (steps that stand elsewhere cannot be joined)"
        raise spec_error(f"{kind_} is {shown_list(value)}", value.place, expected)
    if len(value.entries) < 2:
        raise spec_error(f"{kind_} of {len(value.entries)} branch", key.place, "two branches or more")
    branches = []
    for label, (label_key, node) in value.entries.items():
        if not NAME.fullmatch(label) or label in STEP_WORDS:
            expected = "letters, digits and _, no word of the language"
            reader.add(f"{quote(label)} cannot label a branch", label_key.place, expected)
        with reader.collect():
            branches.append((label, _branch(reader, node, f"branch {quote(label)}", in_branch=True)))
    return JoinStep(kind_, tuple(branches), key.place)


def _branch(reader: SpecReader, node: YamlNode, what: str, in_branch: bool) -> Steps:
    """A branch or an arm: steps, `identity`, `none` (of a branch only), or one `if` whose arms are such."""
    if isinstance(node, Text) and node.text == "identity":
        return ()
    if isinstance(node, Text) and node.text == "none":
        if not in_branch:
            raise spec_error("none stands for a branch, and this is no branch", node.place, "identity")
        return (NoneStep(node.place),)
    if isinstance(node, Fields) and "if" in node:
        return (_condition(reader, node, in_branch),)
    if not isinstance(node, Items):
        none = ", none" if in_branch else ""
        raise spec_error(f"{what} is {shown_list(node)}", node.place, f"a list of steps, identity{none}, or if:")
    return _steps(reader, node, what)


def _condition(reader: SpecReader, node: Fields, in_branch: bool) -> IfStep:
    """`if:` with `then:` and `else:`; in a branch both are needed."""
    required = ("if", "then", "else") if in_branch else ("if", "then")
    reader.keys(node, "an if in a branch" if in_branch else "an if", required, () if in_branch else ("else",))
    arms: list[Steps] = []
    for key in ("then", "else"):
        arms.append(())
        arm = node.get(key)
        if arm is not None:
            with reader.collect():
                arms[-1] = _branch(reader, arm, key, in_branch)
    condition = parse(text_of(node.get("if"), "if", "a comparison, or an argument that is True or False"))
    return IfStep(condition, arms[0], arms[1], node.key("if").place)


def _repeat(reader: SpecReader, node: Fields) -> RepeatStep:
    """`repeat:` with `steps:`, and `index:` for a name that counts the rounds from 0."""
    reader.keys(node, "a repeat", ("repeat", "steps"), ("index",))
    index = None
    with reader.collect():
        if "index" in node:
            text = text_of(node.get("index"), "index", "a name")
            index = text.text if reader.declare(text.text, text.place, "an index") else None
    body = node.get("steps")
    steps = _steps(reader, body, "steps") if body is not None else ()
    used = False
    if index is not None:
        del reader.scope[index]
        used = any(name.id == index for expr in per_round(steps) for name in expr.names())
    times = parse(text_of(node.get("repeat"), "repeat", "a number of rounds"))
    return RepeatStep(times, index, used, steps, node.key("repeat").place)
