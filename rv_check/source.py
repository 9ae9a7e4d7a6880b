"""Spec files as text: YAML read into nodes that know where they stand.

YAML is used for its block structure only. Scalars stay text, keys may not repeat, and what would make a file say more
than it shows (anchors, aliases, tags, merge keys, several documents) is an error.
"""

from __future__ import annotations

import functools
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rv_check.problems import Document, Place, Problem, SpecError, quote

MAX_BYTES = 512 * 1024  # the shipped families take about 20 kB
MAX_NESTING = 40
MAX_NODES = 50_000
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

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True)
class Fields:
    """A mapping: key text to the key's and the value's node, in the order of the file."""

    entries: dict[str, tuple[Text, Node]]
    place: Place

    def __contains__(self, key: str) -> bool:
        return key in self.entries

    def get(self, key: str) -> Node | None:
        """The value of `key`, or None."""
        entry = self.entries.get(key)
        return entry[1] if entry else None

    def key(self, key: str) -> Text:
        """The node of the key itself, for its place."""
        return self.entries[key][0]


Node = Text | Items | Fields


def kind(node: Node) -> str:
    """What a node is, in the words of a message."""
    if isinstance(node, Text):
        return quote(node.text) if node.text else "nothing"
    return "a list" if isinstance(node, Items) else "a mapping"


def read(path: Path) -> Fields:
    """The mapping at the top of the YAML file `path`.

    Raises: SpecError, with every error that can be told apart.
    """
    path = Path(os.path.abspath(path))
    document, text = _read_text(path)
    reader = _Reader(document, text)
    try:
        node = reader.document_node()
    except yaml.YAMLError as error:
        raise SpecError([*reader.problems, _not_yaml(document, text, error)]) from None
    if node is None:
        raise SpecError([Problem("the file is empty", Place(document, 0, 0), "a 'family:' or a 'block:'")])
    if not isinstance(node, Fields):
        reader.problem(f"a spec is a mapping, found {kind(node)}", node.place, "a 'family:' or a 'block:'")
    if reader.problems:
        raise SpecError(reader.problems)
    assert isinstance(node, Fields)
    return node


def _read_text(path: Path) -> tuple[Document, str]:
    """The file's text. Only regular files are opened, so that a pipe or a device cannot hang the reader."""
    nowhere = Document(path, ())

    def failed(message: str, expected: str | None = None) -> SpecError:
        return SpecError([Problem(message, Place(nowhere, 0, 0), expected)])

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
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        shown = Document(path, tuple(LINE_BREAK.split(data.decode("utf-8", "replace"))))
        problem = Problem(f"byte 0x{data[error.start]:02x} is not UTF-8", Place(shown, line, column), "UTF-8 text")
        raise SpecError([problem]) from None
    return Document(path, tuple(LINE_BREAK.split(text))), text


def _not_yaml(document: Document, text: str, error: yaml.YAMLError) -> Problem:
    """The error of PyYAML's own parser: its words do not depend on whether libyaml is there."""
    try:
        for _ in yaml.parse(text, Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError as plain:
        error = plain
    mark = getattr(error, "problem_mark", None)
    if mark is None:  # a character that YAML does not allow
        position = int(getattr(error, "position", 0))
        before = text[:position]
        place = Place(document, before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)
        return Problem("this is not YAML: a character that YAML does not allow", place)
    what = " ".join(str(getattr(error, "problem", error)).split())
    return Problem(f"this is not YAML: {what}", Place(document, mark.line + 1, mark.column + 1))


@functools.cache
def _loader() -> Any:
    """libyaml's parser where PyYAML was built with it, which is about ten times faster."""
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Reader:
    """Turns the parser's events into nodes, collecting problems on the way."""

    def __init__(self, document: Document, text: str):
        self.document = document
        self.text = text
        self.line_starts = [0, *(match.end() for match in LINE_BREAK.finditer(text))]
        self.events: Iterator[Any] = yaml.parse(text, Loader=_loader())
        self.problems: list[Problem] = []
        self.nodes = 0

    def problem(self, message: str, place: Place, expected: str | None = None) -> None:
        self.problems.append(Problem(message, place, expected))

    def place(self, mark: Any) -> Place:
        return Place(self.document, mark.line + 1, mark.column + 1)

    def document_node(self) -> Node | None:
        node: Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if node is not None:
                    self.problem("a second document begins here", self.place(event.start_mark), "one document a file")
                    return node
                node = self.node(next(self.events), 0)
        if isinstance(node, Text) and not node.text:
            return None
        return node

    def node(self, event: Any, depth: int) -> Node:
        place = self.place(event.start_mark)
        self.nodes += 1
        if depth > MAX_NESTING:
            raise SpecError([*self.problems, Problem(f"nested deeper than {MAX_NESTING} levels", place)])
        if self.nodes > MAX_NODES:
            raise SpecError([*self.problems, Problem(f"the file has more than {MAX_NODES:,} values", place)])
        if isinstance(event, yaml.AliasEvent):
            self.problem(f"alias '*{event.anchor}': specs have no aliases", place, "the text itself, or a block")
            return Text("", place, exact=False)
        if event.anchor is not None:
            self.problem(f"anchor '&{event.anchor}': specs have no anchors", place, "the text itself, or a block")
        if event.tag is not None:
            self.problem(f"tag {quote(str(event.tag))}: specs have no tags", place, "plain text")
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, place)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(event, place, depth)
        return self.mapping(event, place, depth)

    def scalar(self, event: Any, place: Place) -> Text:
        one_line = event.start_mark.line == event.end_mark.line
        if event.style in (None, ""):
            return Text(event.value, place, exact=one_line)
        if event.style in "'\"" and one_line and len(event.value) == event.end_mark.column - event.start_mark.column - 2:
            return Text(event.value, Place(place.document, place.line, place.column + 1))
        return Text(event.value, place, exact=False)

    def sequence(self, event: Any, place: Place, depth: int) -> Node:
        items: list[Node] = []
        end = event
        for end in self.events:
            if isinstance(end, yaml.SequenceEndEvent):
                break
            items.append(self.node(end, depth + 1))
        if event.flow_style:
            # `[64, 128]` is a list of the expression language: its text is what counts.
            return Text(self.slice(event.start_mark, end.end_mark), place, event.start_mark.line == end.end_mark.line)
        return Items(tuple(items), place)

    def mapping(self, event: Any, place: Place, depth: int) -> Node:
        if event.flow_style:
            self.problem("flow style '{...}': write one key a line", place, "block style")
        entries: dict[str, tuple[Text, Node]] = {}
        for start in self.events:
            if isinstance(start, yaml.MappingEndEvent):
                break
            key = self.node(start, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if not isinstance(key, Text):
                self.problem(f"a key is text, found {kind(key)}", key.place)
            elif key.text == "<<":
                self.problem("merge key '<<': specs have no merge keys", key.place, "the keys themselves")
            elif key.text in entries:
                first = entries[key.text][0].place
                self.problem(f"key {quote(key.text)} stands twice, first in line {first.line}", key.place)
            else:
                entries[key.text] = (key, value)
        return Fields(entries, place)

    def slice(self, start: Any, end: Any) -> str:
        begin = self.line_starts[start.line] + start.column
        return self.text[begin : self.line_starts[end.line] + end.column]
