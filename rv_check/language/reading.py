"""What every part of a spec file is read with: one collector of problems, and the names that are declared so far."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

from rv_check.errors import Collector, Place, spec_error
from rv_check.language.expressions import WORDS
from rv_check.language.notations import (
    INPUT_FORM,
    PERCENTAGE_FORM,
    can_be_name,
    parse_input,
    parse_percentage,
    words_of,
)
from rv_check.language.vocabulary import MAX_NAME, OUT_OF_SCOPE, STEP_WORDS
from rv_check.language.yaml_nodes import Fields, Text, YamlNode, kind
from rv_check.ops.op import OPS
from rv_check.text import listed, nearest, quote


def text_of(node: YamlNode | None, what: str, expected: str = "text") -> Text:
    """The scalar that a node must be. Raises: SpecError where it is none, or empty."""
    if isinstance(node, Text) and node.text.strip():
        return node
    assert node is not None, "whoever asks has seen that the key is there"
    raise spec_error(f"{what} is {kind(node)}", node.place, expected)


class SpecReader(Collector):
    """Reads one spec file, collecting problems. It is handed from part to part.

    `scope`: what each name is, where the reader stands. `declared`: where each name is first declared.
    """

    def __init__(self) -> None:
        super().__init__()
        self.scope: dict[str, str] = {}
        self.declared: dict[str, Place] = {}

    def keys(self, node: Fields, what: str, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
        """Report keys that are not known and those that are missing. Raises: Enough."""
        known = (*required, *optional)
        missing = [key for key in required if key not in node]
        for name, (key, _) in node.entries.items():
            if name not in known:
                near = nearest(name, known)
                why = f"{OUT_OF_SCOPE[name]} are not in the language" if name in OUT_OF_SCOPE else ""
                self.add(why or f"{what} has no key {quote(name)}", key.place, ", ".join(known), near)
                missing = [key for key in missing if key != near]  # one slip of the pen is one mistake
        if missing:
            keys = listed(f"{name}:" for name in missing)
            self.add(f"{what} without {keys}", node.place, keys)

    def prose(self, node: Fields, key: str) -> str:
        """The words for a reader that stand at a key; "" where it is missing or wrong. Raises: Enough."""
        words: list[str] = []
        with self.collect():
            if key in node:
                words = text_of(node.get(key), key).text.split()
        return " ".join(words)

    def mapping(self, node: Fields, key: str, expected: str) -> dict[str, tuple[Text, YamlNode]]:
        """The entries of the mapping at `key`, which may be missing. Raises: Enough."""
        value = node.get(key)
        if value is None:
            return {}
        if isinstance(value, Fields) and value.entries:
            return value.entries
        self.add(f"{key} is {kind(value)}", value.place, expected)
        return {}

    def input(self, node: Fields) -> tuple[int, ...] | None:
        """The size at `input:`, channels, rows and columns; None where it is missing or wrong. Raises: Enough."""
        size = None
        with self.collect():
            if "input" in node:
                size = parse_input(text_of(node.get("input"), "input", INPUT_FORM))
        return size

    def percentage(self, node: Fields, key: str) -> Decimal | None:
        """The percentage at a key; None where it is missing or wrong. Raises: Enough."""
        percent = None
        with self.collect():
            if key in node:
                percent = parse_percentage(text_of(node.get(key), key, PERCENTAGE_FORM), key)
        return percent

    def declare(self, name: str, place: Place, what: str) -> bool:
        """Take a name into the scope, if it can be one. It means one thing in a file. Raises: Enough."""
        if not can_be_name(name):
            self.add(f"{quote(name)} cannot be a name", place, f"letters, digits and _, at most {MAX_NAME}")
        elif name in OPS or name in WORDS or name in STEP_WORDS:
            self.add(f"{quote(name)} is a word of the language", place, "another name")
        elif name in self.scope:
            self.add(f"{quote(name)} is {self.scope[name]} already", place, "another name")
        else:
            self.scope[name] = what
            self.declared.setdefault(name, place)
            return True
        return False


def known_words(node: Fields, key: str, known: Collection[str]) -> tuple[str, ...]:
    """Some of the known words, each once, with spaces between them. Raises: SpecError."""
    found: dict[str, None] = {}
    for word in words_of(text_of(node.get(key), key, listed(known))):
        if word.text not in known:
            near = nearest(word.text, known)
            raise spec_error(f"unknown {key} {quote(word.text)}", word.place, listed(known), near)
        if word.text in found:
            raise spec_error(f"{quote(word.text)} stands here already", word.place, f"each {key} once")
        found[word.text] = None
    return tuple(found)
