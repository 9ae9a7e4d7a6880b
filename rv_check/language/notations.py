"""What stands in one line of a spec: input sizes, shapes, receptive fields, percentages, whole numbers, names.

Each function takes the text of the line and gives what it says.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

from rv_check.errors import Document, Place, spec_error
from rv_check.language.definitions import Field
from rv_check.language.expressions import MAX_TERMS, Expr, literal, parse
from rv_check.language.vocabulary import MAX_NAME, STEP_WORDS
from rv_check.language.yaml_nodes import Text, YamlNode, kind
from rv_check.text import quote

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
LETTER = re.compile(r"[A-Z]")

SHAPE_FORM = "1 or 3 terms without spaces in them, as in 64 _ ceil(H/2)"
INPUT_FORM = "channels rows columns, as in 3 224 224"
MODULE_INPUT_FORM = "the axes behind the batch, as in 3 224 224 or 128 64"
MAX_AXES = 6  # of a module's input
FIELD_FORM = "size/stride/padding, as in 427/32/213, or rows and columns 3/1/1 5/1/2"
PERCENTAGE_FORM = "a percentage, as in 2%"
UNREADABLE = parse(Text("0", Place(Document(Path(), ("0",)), 1, 1)))  # stands where an expression could not be read


def words_of(line: Text) -> list[Text]:
    """The words of a line, each in its place."""
    return [Text(m.group(), line.at(m.start()), line.exact) for m in re.finditer(r"\S+", line.text)]


def can_be_name(text: str) -> bool:
    """Whether a text is made as a name of the language is."""
    return bool(NAME.fullmatch(text)) and len(text) <= MAX_NAME


def parse_input(text: Text, *, of_module: bool = False) -> tuple[int, ...]:
    """The input size that `3 224 224` states: channels, rows, columns; or features alone. Raises: SpecError.

    Args: `of_module` whether it is a module's, which may have any axes.
    """
    terms = text.text.split()
    fits = 1 <= len(terms) <= MAX_AXES if of_module else len(terms) in (1, 3)
    if not fits or not all(re.fullmatch(r"[1-9]\d{0,6}", t) for t in terms):
        raise spec_error(f"input is {quote(text.text)}", text.place, MODULE_INPUT_FORM if of_module else INPUT_FORM)
    return tuple(map(int, terms))


def parse_shape(line: Text, what: str) -> tuple[Expr | None, ...]:
    """The terms of a shape, as in `64 _ ceil(H/2)`, None for `_`.

    Raises: SpecError for the first that is none: with spaces in it, the others are only its rest.
    """
    if line.text.startswith("["):
        raise spec_error(f"{what} is {shown_list(line)}", line.place, SHAPE_FORM)
    words = words_of(line)
    some = words[:MAX_TERMS]  # what has more is wrong in any case
    terms = tuple(None if word.text == "_" else parse(word, f"a term of {what}", SHAPE_FORM) for word in some)
    if len(words) not in (1, 3):
        raise spec_error(f"{what} has {len(words)} terms", line.place, SHAPE_FORM)
    return terms


def parse_field(text: Text) -> Field:
    """The field that `267/16/133` states, or by rows and columns `3/1/1 5/1/2`. Raises: SpecError."""
    parts = text.text.split()
    if len(parts) not in (1, 2) or not all(re.fullmatch(r"\d{1,9}/\d{1,9}/-?\d{1,9}", p) for p in parts):
        raise spec_error(f"receptive_field is {quote(text.text)}", text.place, FIELD_FORM)
    axes = []
    for part in parts:
        size, stride, padding = map(int, part.split("/"))
        axes.append((size, stride, padding))
    return Field(axes[0], axes[-1])


def parse_percentage(text: Text, what: str) -> Decimal:
    """The 2 of `2%`. `what`: the key it stands at. Raises: SpecError."""
    match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)\s*%", text.text)
    if not match:
        raise spec_error(f"{what} is {quote(text.text)}", text.place, PERCENTAGE_FORM)
    return Decimal(match.group(1))


def parse_whole(text: Text) -> int:
    """An integer of at least 0, written without names. Raises: SpecError."""
    value = literal(text)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise spec_error(f"{quote(text.text)} is not a whole number", text.place, "an integer of at least 0")
    return value


def parse_step_name(key: Text) -> tuple[str | Expr, ...]:
    """The name `layer{i+1}` as texts and expressions in turn. Raises: SpecError.

    It begins with a letter or `_`: a digit would be the position of a step without a name.
    """
    if key.text in STEP_WORDS:
        raise spec_error(f"{quote(key.text)} is a word of the language, not a name", key.place, "another name")
    expected = f"letters, digits, _ - and {{expression}}, a letter or _ first, at most {MAX_NAME}"
    if not re.match("[A-Za-z_]", key.text) or len(key.text) > MAX_NAME:
        raise spec_error(f"{quote(key.text)} cannot be a name", key.place, expected)
    parts: list[str | Expr] = []
    for match in re.finditer(r"\{([^{}]*)\}|([A-Za-z0-9_-]+)|(.)", key.text, re.DOTALL):
        inner, plain, stray = match.groups()
        if stray is not None:
            raise spec_error(f"{quote(key.text)} cannot be a name", key.at(match.start()), expected)
        parts.append(plain or parse(Text(inner, key.at(match.start() + 1), key.exact)))
    return tuple(parts)


def shown_list(node: YamlNode) -> str:
    """What a node is, in the words of a message, that should have been a list of steps or of branches."""
    if not isinstance(node, Text) or not node.text.startswith("["):
        return kind(node)
    return "in flow style, [...]" if node.text.strip("[] ") else "an empty list"
