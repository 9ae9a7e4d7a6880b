"""The tables `[tool.rv_check.candidates]` and `[tool.rv_check.blocks]` of a `pyproject.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rv_check.errors import Document, Place, Problem, SpecError
from rv_check.modules.named import FORMS, is_module_name
from rv_check.text import nearest, quote


class Entry(NamedTuple):
    """A line of `[tool.rv_check.candidates]`: a module, and the arch that it should be."""

    name: str
    module: str
    arch: str
    kwargs: dict[str, Any]
    until: str | None
    input: str | None
    place: Place


KEYS = ("module", "as", "kwargs", "until", "input")


def load_candidates(path: Path) -> list[Entry]:
    """The candidates of a `pyproject.toml`, none if it has no such table.

        [tool.rv_check.candidates]
        "mynet.py:ResNet50" = "resnet50"
        small = { module = "mypkg.nets:small", as = "resnet18(classes=10)", kwargs = { num_classes = 10 } }

    Raises: SpecError for whatever is wrong with one.
    """
    return _entries(path, "candidates", _entry)


class BlockEntry(NamedTuple):
    """A line of `[tool.rv_check.blocks]`: a class, and the contract that it is held to."""

    name: str
    cls: str
    contract: str
    call: str | None
    input: str | None
    kwargs: dict[str, Any]
    seed: int | None
    place: Place


BLOCK_KEYS = {"class": str, "as": str, "call": str, "in": str, "kwargs": dict, "seed": int}


def load_blocks(path: Path) -> list[BlockEntry]:
    """The blocks of a `pyproject.toml`, none if it has no such table.

        [tool.rv_check.blocks]
        "blocks.py:MyBlock" = "bottleneck"
        wide = { class = "blocks.py:MyBlock", as = "bottleneck(width_per_group=128)", in = "256 56 56" }

    Raises: SpecError for whatever is wrong with one.
    """
    return _entries(path, "blocks", _block_entry)


def _block_entry(name: str, fields: Any, place: Place) -> BlockEntry | Problem:
    fields = {"class": name, "as": fields} if isinstance(fields, str) else fields
    if not isinstance(fields, dict):
        return Problem(f"block {quote(name)} is a {type(fields).__name__}", place, 'a contract, or { as = "..." }')
    for key, value in fields.items():
        if key not in BLOCK_KEYS:
            near = nearest(key, BLOCK_KEYS)
            return Problem(f"block {quote(name)} has no key {quote(key)}", place, ", ".join(BLOCK_KEYS), near)
        if not isinstance(value, BLOCK_KEYS[key]) or isinstance(value, bool):
            expected = f"a {BLOCK_KEYS[key].__name__}"
            return Problem(f"{key} of block {quote(name)} is a {type(value).__name__}", place, expected)
    if "as" not in fields:
        return Problem(f"block {quote(name)} does not say what it should be", place, 'as = "bottleneck"')
    cls = fields.get("class", name)
    if not is_module_name(cls):
        return Problem(f"the class of block {quote(name)} is {quote(cls)}", place, FORMS)
    call, input, seed = fields.get("call"), fields.get("in"), fields.get("seed")
    return BlockEntry(name, cls, fields["as"], call, input, fields.get("kwargs", {}), seed, place)


E = TypeVar("E", Entry, BlockEntry)


def _entries(path: Path, table_name: str, read: Callable[[str, Any, Place], E | Problem]) -> list[E]:
    """The lines of a table below `[tool.rv_check]`. Raises: SpecError."""
    text = path.read_text(encoding="utf-8")
    document = Document(path, tuple(text.splitlines()))
    try:
        top: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError([Problem(f"this is no TOML: {error}", Place(document, 1, 0))]) from None
    table = top
    for key in ("tool", "rv_check", table_name):
        table = table.get(key, {})
        if not isinstance(table, dict):
            raise SpecError([Problem(f"{key} is no table", Place(document, 1, 0), f"[tool.rv_check.{table_name}]")])
    entries: list[E] = []
    problems: list[Problem] = []
    for name, value in table.items():
        entry = read(name, value, Place(document, _line_of(document, table_name, name), 0))
        if isinstance(entry, Problem):
            problems.append(entry)
        else:
            entries.append(entry)
    if problems:
        raise SpecError(problems)
    return entries


def _line_of(document: Document, table: str, name: str) -> int:
    """Where an entry of a table begins: its key below the header, or the header of its own table."""
    within = False
    for at, text in enumerate(document.lines, 1):
        header = text.strip().removesuffix("]").replace('"', "").replace("'", "")
        within = header.endswith(f"rv_check.{table}") if text.lstrip().startswith("[") else within
        if header.endswith(f"{table}.{name}") or (within and text.lstrip().lstrip("\"'").startswith(name)):
            return at
    return 1


def _entry(name: str, fields: Any, place: Place) -> Entry | Problem:
    fields = {"module": name, "as": fields} if isinstance(fields, str) else fields
    if not isinstance(fields, dict):
        return Problem(
            f"candidate {quote(name)} is a {type(fields).__name__}", place, 'the name of an arch, or { as = "..." }'
        )
    for key in fields:
        if key not in KEYS:
            return Problem(
                f"candidate {quote(name)} has no key {quote(key)}", place, ", ".join(KEYS), nearest(key, KEYS)
            )
    module, arch, kwargs = fields.get("module", name), fields.get("as"), fields.get("kwargs", {})
    until, input = fields.get("until"), fields.get("input")
    if not isinstance(arch, str):
        return Problem(f"candidate {quote(name)} does not say what it should be", place, 'as = "resnet50"')
    if not isinstance(module, str) or not is_module_name(module):
        return Problem(f"the module of candidate {quote(name)} is {quote(str(module))}", place, FORMS)
    if not isinstance(kwargs, dict) or not isinstance(until, str | None):
        return Problem(
            f"kwargs or until of candidate {quote(name)}", place, "a table of arguments, and the name of a step"
        )
    if not isinstance(input, str | None):
        return Problem(f"input of candidate {quote(name)}", place, 'a text, as in "1 28 28"')
    return Entry(name, module, arch, kwargs, until, input, place)
