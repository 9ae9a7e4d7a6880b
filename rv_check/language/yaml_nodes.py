"""Spec files as text: YAML read into nodes that know where they stand.

YAML is used for its block structure only. Scalars stay text, keys may not repeat, and what would make a file say more
than it shows (anchors, aliases, tags, merge keys, several documents) is an error.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rv_check.errors import Collector, Document, Enough, Place, Problem, SpecError, spec_error
from rv_check.text import quote

MAX_BYTES = 256 * 1024  # bytes of a file with its blocks; the shipped families take about 20 kB
MAX_NESTING = 40  # levels of lists and mappings
MAX_NODES = 25_000  # values of a file
LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what YAML 1.1 takes for one


@dataclass(frozen=True)
class Text:
    """A scalar. `exact` says that a character of `text` stands in the file as far from `place` as in `text`."""

    text: str
    place: Place
    exact: bool = True

    def at(self, offset: int) -> Place:
        """The place of the character at `offset`, or of the whole scalar where that cannot be told."""
        if not self.exact:
            return self.place
        return Place(self.place.document, self.place.line, self.place.column + offset)


@dataclass(frozen=True)
class Items:
    """A list of nodes."""

    items: tuple[YamlNode, ...]
    place: Place


@dataclass(frozen=True)
class Fields:
    """A mapping: key text to the key's and the value's node, in the order of the file."""

    entries: dict[str, tuple[Text, YamlNode]]
    place: Place

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def get(self, key: str) -> YamlNode | None:
        """The value of `key`, or None."""
        entry = self.entries.get(key)
        return entry[1] if entry else None

    def key(self, key: str) -> Text:
        """The node of the key itself, for its place."""
        return self.entries[key][0]


YamlNode = Text | Items | Fields


def kind(node: YamlNode) -> str:
    """What a node is, in the words of a message."""
    if isinstance(node, Text):
        return quote(node.text) if node.text else "nothing"
    if isinstance(node, Items):
        return "a list"
    return "a mapping" if node.entries else "an empty mapping"


def read(path: Path) -> Fields:
    """The mapping at the top of the YAML file `path`. Raises: SpecError, with every error."""
    top, problems = read_all(path)
    if problems:
        raise SpecError(problems)
    return top


def read_all(path: Path, expected: str = "keys with their values, one a line") -> tuple[Fields, list[Problem]]:
    """The mapping at the top of the YAML file `path`, and what is wrong with it that does not stop a reader.

    Args: `expected` what is said to be missing where there is no mapping.
    Raises: SpecError where there is nothing to go on with.
    """
    document, text = read_text(path)
    return read_part(document, text, "the file", expected)


def read_part(document: Document, text: str, what: str, expected: str) -> tuple[Fields, list[Problem]]:
    """The mapping in a text of a document, whose lines it has, and what is wrong with it.

    Args: `what` it is called, `expected` what is said to be missing where there is no mapping.
    Raises: SpecError where there is nothing to go on with.
    """
    reader = _NodeReader(document, text, _loader(text))
    try:
        node = reader.document_node()
    except yaml.YAMLError as error:
        raise SpecError([*reader.problems, _not_yaml(document, text, error)]) from None
    if node is None:
        raise SpecError([*reader.problems, Problem(f"{what} is empty", Place(document, 0, 0), expected)])
    if not isinstance(node, Fields):
        reader.problems.append(Problem(f"{what} is {kind(node)}", node.place, expected))
    if reader.is_broken or not isinstance(node, Fields):
        raise SpecError(reader.problems)
    return node, reader.problems


def read_text(path: Path) -> tuple[Document, str]:
    """A file's text. Only regular files are opened, so that a pipe or a device cannot hang the reader.

    Raises: SpecError where it cannot be read.
    """
    path = Path(os.path.abspath(path))

    def failed(message: str, expected: str | None = None) -> SpecError:
        return spec_error(message, Place(Document(path, ()), 0, 0), expected)

    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise failed("this is a directory", "a spec file")
        if not stat.S_ISREG(status.st_mode):
            raise failed("this is not a regular file", "a spec file")
        if status.st_size > MAX_BYTES:
            raise failed(f"the file has {status.st_size:,} bytes", f"at most {MAX_BYTES:,}")
        data = path.read_bytes()
    except FileNotFoundError:
        raise failed("there is no such file") from None
    except OSError as error:
        raise failed(f"the file cannot be read: {error.strerror}") from None
    except ValueError:
        raise failed("the file cannot be read: its path holds a NUL") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before, whole = (data[:end].decode("utf-8", "replace") for end in (error.start, None))
        place = _place_of_character(Document(path, tuple(LINE_BREAK.split(whole))), before)
        raise spec_error(f"byte 0x{data[error.start]:02x} is not UTF-8", place, "UTF-8 text") from None
    return Document(path, tuple(LINE_BREAK.split(text))), text


def _place_of_character(document: Document, before: str) -> Place:
    """The place of the character that has this text before it."""
    lines = LINE_BREAK.split(before)
    return Place(document, len(lines), len(lines[-1]) + 1)


# What people get wrong in YAML, in our words: a part of PyYAML's words, what to say, what to do, and whether the
# culprit stands where the parser began to read (a bracket, a quote) and not where it gave up.
YAML_WORDS = (
    ("mapping values are not allowed", "a second ': ' in one line", "one key a line, or quotes around the text", False),
    ("found character '\\t'", "a tab", "spaces", False),
    ("cannot start any token", "nothing begins with this character", "a letter, a digit, a bracket or a quote", False),
    ("alphabetic or numeric", "nothing begins with this character", "a letter, a digit, a bracket or a quote", True),
    ("expected the node content", "there is no value here", "a value", False),
    ("could not find expected ':'", "a key without its colon", "key: value", True),
    ("expected ',' or ']'", "'[' is never closed", "]", True),
    ("expected ',' or '}'", "'{' is never closed", "}", True),
    ("unexpected end of stream", "the quote is never closed", "a quote at the end of the text", True),
    ("found '<scalar>'", "text after the closing quote", "quotes around all of it", False),
    ("expected <block end>", "this does not align with what is before it", "equal indentation for equal things", False),
)


def _not_yaml(document: Document, text: str, error: yaml.YAMLError) -> Problem:
    """The error of PyYAML's own parser: its words do not depend on whether libyaml is there.

    It reads the text again within the bounds of the reader, and no further than to the first error. Raises: SpecError
    where it meets a bound first. libyaml has bounds of its own: from 0.2.6 on it gives up at 1,000 brackets within one
    another, which it meets before it hands on the first of them.
    """
    try:
        _NodeReader(document, text, yaml.SafeLoader).document_node()
    except yaml.YAMLError as plain:
        error = plain
    if isinstance(error, yaml.reader.ReaderError):
        place = _place_of_character(document, text[: error.position])
        return Problem(f"this is not YAML: the character U+{ord(text[error.position]):04X}", place, "printable text")
    assert isinstance(error, yaml.MarkedYAMLError)
    assert error.problem_mark is not None
    words = " ".join(str(error.problem).split())
    mark, expected = error.problem_mark, None
    for part, message, hint, at_begin in YAML_WORDS:
        if part in words:
            words, expected = message, hint
            mark = error.context_mark if at_begin and error.context_mark else mark
            break
    return Problem(f"this is not YAML: {words}", Place(document, mark.line + 1, mark.column + 1), expected)


def _loader(text: str) -> Any:
    """libyaml's parser where PyYAML was built with it, which is about ten times faster.

    It compares each `%TAG` with all that stand before it, so that a text with them is left to PyYAML's own.
    """
    return yaml.SafeLoader if "%TAG" in text else getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _events(text: str, loader: Any) -> Iterator[Any]:
    """The events of the parser. Raises: yaml.YAMLError, also for a number that is none to Python."""
    parser = loader(text)
    try:
        while parser.check_event():
            yield parser.get_event()
    except (ValueError, OverflowError):  # `\UFFFFFFFF`, `%YAML 1.` with 5,000 digits, the tag `!<%ED%A0%80>`
        mark = parser.get_mark() if isinstance(parser, yaml.SafeLoader) else None
        raise yaml.MarkedYAMLError(problem="there is no such character or number", problem_mark=mark) from None
    finally:
        parser.dispose()


class _NodeReader(Collector):
    """Turns the parser's events into nodes, collecting problems on the way."""

    def __init__(self, document: Document, text: str, loader: Any):
        super().__init__()
        self.document = document
        self.text = text
        self.line_starts = [0, *(match.end() for match in LINE_BREAK.finditer(text))]
        self.events = _events(text, loader)
        self.nodes = 0
        self.is_broken = False  # a value is not known: whoever went on would report what follows from that

    def place(self, mark: Any) -> Place:
        return Place(self.document, mark.line + 1, mark.column + 1)

    def document_node(self) -> YamlNode | None:
        """What the file holds, if it holds anything. Raises: yaml.YAMLError; SpecError at a bound."""
        node: YamlNode | None = None
        try:
            for event in self.events:
                if isinstance(event, yaml.DocumentStartEvent):
                    if node is not None:
                        self.add("a second document begins here", self.place(event.start_mark), "one document a file")
                        break
                    node = self.node(next(self.events), 0)
        except Enough:
            raise SpecError(self.problems) from None
        if isinstance(node, Text) and not node.text:
            return None
        return node

    def node(self, event: Any, depth: int) -> YamlNode:
        place = self.place(event.start_mark)
        self.nodes += 1
        if depth > MAX_NESTING:
            raise SpecError([*self.problems, Problem(f"nested deeper than {MAX_NESTING} levels", place)])
        if self.nodes > MAX_NODES:
            raise SpecError([*self.problems, Problem(f"the file has more than {MAX_NODES:,} values", place)])
        if isinstance(event, yaml.AliasEvent):
            self.add(f"alias {quote(f'*{event.anchor}')}: specs have no aliases", place, "the text itself, or a block")
            self.is_broken = True
            return Text("", place, exact=False)
        if event.anchor is not None:
            self.add(f"anchor {quote(f'&{event.anchor}')}: specs have no anchors", place, "no anchor")
        if event.tag is not None:
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            self.add(f"tag {quote(tag)}: specs have no tags", place, "plain text")
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, place)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(event, place, depth)
        return self.mapping(event, place, depth)

    def scalar(self, event: Any, place: Place) -> Text:
        one_line = event.start_mark.line == event.end_mark.line
        if event.style in (None, ""):
            return Text(event.value, place, exact=one_line)
        width = event.end_mark.column - event.start_mark.column
        if event.style in "'\"" and one_line and len(event.value) == width - 2:  # quotes, and no escapes between
            return Text(event.value, Place(place.document, place.line, place.column + 1))
        return Text(event.value, place, exact=False)

    def sequence(self, event: Any, place: Place, depth: int) -> YamlNode:
        items: list[YamlNode] = []
        end = event
        for end in self.events:
            if isinstance(end, yaml.SequenceEndEvent):
                break
            items.append(self.node(end, depth + 1))
        if event.flow_style:
            # `[64, 128]` is a list of the expression language: its text is what counts.
            return Text(self.slice(event.start_mark, end.end_mark), place, event.start_mark.line == end.end_mark.line)
        return Items(tuple(items), place)

    def mapping(self, event: Any, place: Place, depth: int) -> YamlNode:
        entries: dict[str, tuple[Text, YamlNode]] = {}
        for start in self.events:
            if isinstance(start, yaml.MappingEndEvent):
                break
            key = self.node(start, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if not isinstance(key, Text):
                self.add(f"a key is {kind(key)}", key.place, "text")
            elif key.text == "<<":
                self.add("merge key '<<': specs have no merge keys", key.place, "the keys themselves")
            elif key.text in entries:
                first = entries[key.text][0].place
                self.add(f"key {quote(key.text)} stands twice, first in line {first.line}", key.place)
            else:
                entries[key.text] = (key, value)
        if event.flow_style and entries:
            self.add("flow style '{...}'", place, "block style: one key a line")
        return Fields(entries, place)

    def slice(self, start: Any, end: Any) -> str:
        begin = self.line_starts[start.line] + start.column
        return self.text[begin : self.line_starts[end.line] + end.column]
