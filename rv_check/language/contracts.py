"""Reads what is demanded: of the named steps of an arch (`contract:`), and of a block without a body (`budgets:` and
`properties:`)."""

from __future__ import annotations

import re
from decimal import Decimal

from rv_check.errors import spec_error
from rv_check.language.definitions import Allowed, StepContract
from rv_check.language.expressions import parse_call
from rv_check.language.notations import FIELD_FORM, SHAPE_FORM, parse_field, parse_shape, parse_whole, shown_list
from rv_check.language.reading import SpecReader, text_of
from rv_check.language.vocabulary import BUDGETS, CONTRACT_KEYS, PROPERTIES
from rv_check.language.yaml_nodes import Fields, Items, Text, YamlNode, kind
from rv_check.text import listed, nearest, quote

CONTRACT_FORM = f"64 56 56, or with a receptive field 64 56 56, 43/4/21, or {', '.join(f'{k}:' for k in CONTRACT_KEYS)}"
BUDGET_FORM = "at most, at least, exactly or within 5% of, and a number or a block"


def read_contracts(reader: SpecReader, arch: Fields) -> tuple[StepContract, ...]:
    """What `contract:` says of named steps. Raises: Enough."""
    found = []
    for step, (key, value) in reader.mapping(arch, "contract", "step names, each with what holds of it").items():
        with reader.collect():
            found.append(_contract(reader, step, key, value))
    return tuple(found)


def _contract(reader: SpecReader, step: str, key: Text, node: YamlNode) -> StepContract:
    what = f"the contract of {step}"
    if isinstance(node, Text) and node.text.strip():
        return _line(step, key, node)
    if not isinstance(node, Fields) or not node.entries:
        raise spec_error(f"{what} is {kind(node)}", node.place, CONTRACT_FORM)
    reader.keys(node, what, (), CONTRACT_KEYS)
    places = {name: value.place for name, (_, value) in node.entries.items()}
    shape: tuple[int | None, ...] | None = None
    numbers: dict[str, int] = {}
    receptive_field = None
    with reader.collect():
        if "shape" in node:
            shape = _shape(text_of(node.get("shape"), "shape", SHAPE_FORM))
    for name in ("params", "macs"):
        with reader.collect():
            if name in node:
                numbers[name] = parse_whole(text_of(node.get(name), name, "a whole number"))
    with reader.collect():
        if "receptive_field" in node:
            receptive_field = parse_field(text_of(node.get("receptive_field"), "receptive_field", FIELD_FORM))
    return StepContract(step, shape, numbers.get("params"), numbers.get("macs"), receptive_field, key.place, places)


def _line(step: str, key: Text, line: Text) -> StepContract:
    """What one line says: a shape, and a receptive field where a comma follows, `64 56 56, 43/4/21`."""
    shape, comma, rest = line.text.partition(",")
    places = {"shape": line.place}
    field = None
    if comma:
        begin = len(shape) + 1 + len(rest) - len(rest.lstrip())
        text = Text(rest.strip(), line.at(begin), line.exact)
        field, places["receptive_field"] = parse_field(text), text.place
    terms = _shape(Text(shape.rstrip(), line.place, line.exact))
    return StepContract(step, terms, None, None, field, key.place, places)


def _shape(line: Text) -> tuple[int | None, ...]:
    """The sizes of a shape, None for `_`."""
    return tuple(None if term is None else parse_whole(term.source) for term in parse_shape(line, "shape"))


def read_budgets(reader: SpecReader, top: Fields) -> tuple[Allowed, ...]:
    """What a block may cost, by metric. Raises: Enough."""
    if "budgets" in top and "body" in top:
        return ()  # said already
    found = []
    for metric, (key, node) in reader.mapping(top, "budgets", f"{', '.join(BUDGETS)}, each with a limit").items():
        with reader.collect():
            if metric not in BUDGETS:
                near = nearest(metric.replace("flop", "mac"), BUDGETS)
                raise spec_error(f"unknown budget {quote(metric)}", key.place, ", ".join(BUDGETS), near)
            found.append(_allowed(metric, text_of(node, f"the budget {metric}", BUDGET_FORM)))
    return tuple(found)


def _allowed(metric: str, line: Text) -> Allowed:
    # No space begins the last group: else each number of spaces before it would be tried.
    match = re.fullmatch(r"(at most|at least|exactly|within (\d{1,3}(?:\.\d{1,9})?)\s*% of) +([^ ].*)", line.text)
    if match is None:
        raise spec_error(f"the budget {metric} is {quote(line.text)}", line.place, BUDGET_FORM)
    limit = Text(match[3], line.at(match.start(3)), line.exact)
    number, block = None, None
    if match[3][0].isdigit():
        number = parse_whole(limit)
    else:
        block = parse_call(limit, "a block", "the name of a block, as in bottleneck or bottleneck(width=out/4)")
    percent = Decimal(match[2]) if match[2] else None
    relation = "within" if percent is not None else match[1]
    return Allowed(metric, relation, percent, number, block, line.text, limit.place)


def read_properties(reader: SpecReader, top: Fields) -> tuple[str, ...]:
    """The names of properties, one a line. Raises: Enough."""
    node = top.get("properties")
    if node is None or "body" in top:
        return ()
    if not isinstance(node, Items) or not node.items:
        expected = f"a list of names, one a line: {listed(PROPERTIES)}"
        reader.add(f"properties is {shown_list(node)}", node.place, expected)
        return ()
    found: list[str] = []
    for item in node.items:
        with reader.collect():
            text = text_of(item, "a property", listed(PROPERTIES))
            if text.text not in PROPERTIES:
                near = nearest(text.text, PROPERTIES)
                raise spec_error(f"unknown property {quote(text.text)}", text.place, listed(PROPERTIES), near)
            if text.text in found:
                raise spec_error(f"{quote(text.text)} stands here already", text.place, "each property once")
            found.append(text.text)
    return tuple(found)
