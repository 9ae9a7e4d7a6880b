"""A user's module by name: `path/to/file.py:Name` or `package.module:Name`; a module, a class, or a factory."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import tomllib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from rv_check.errors import Document, Place, Problem, RvCheckError, SpecError
from rv_check.foreign import guarded
from rv_check.reference import need
from rv_check.text import nearest, quote

if TYPE_CHECKING:
    from torch import nn

FORMS = "file.py:Name or package.module:Name"
PRETRAINED = Problem(
    "pretrained=True is deprecated in torchvision since 0.13: it means IMAGENET1K_V1 for ever",
    expected='weights="IMAGENET1K_V1", or weights="DEFAULT" for the best there are',
)


def is_module_name(name: str) -> bool:
    """Whether it is `file.py:Name` or `package.module:Name`, and not the name of an arch."""
    where, colon, _ = name.partition("(")[0].rpartition(":")
    return bool(colon) and not where.endswith(":")


class Candidate(NamedTuple):
    """A module that somebody named, and whether it was built just now."""

    module: nn.Module
    fresh: bool


class Entry(NamedTuple):
    """A line of `[tool.rv_check.candidates]`: a module, and the arch that it should be."""

    name: str
    module: str
    arch: str
    kwargs: dict[str, Any]
    until: str | None
    place: Place


KEYS = ("module", "as", "kwargs", "until")


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
    module, arch, kwargs, until = (
        fields.get("module", name),
        fields.get("as"),
        fields.get("kwargs", {}),
        fields.get("until"),
    )
    if not isinstance(arch, str):
        return Problem(f"candidate {quote(name)} does not say what it should be", place, 'as = "resnet50"')
    if not isinstance(module, str) or not is_module_name(module):
        return Problem(f"the module of candidate {quote(name)} is {quote(str(module))}", place, FORMS)
    if not isinstance(kwargs, dict) or not isinstance(until, str | None):
        return Problem(
            f"kwargs or until of candidate {quote(name)}", place, "a table of arguments, and the name of a step"
        )
    return Entry(name, module, arch, kwargs, until, place)


def load_module(name: str, arguments: Mapping[str, Any] | None = None) -> Candidate:
    """The module of that name; a class or a factory is called with these arguments by keyword.

    Raises: RvCheckError, which says what went wrong, with the user's own frames where it is their code.
    """
    arguments = arguments or {}
    value = named_value(name, "module")
    torch = need("torch")
    if isinstance(value, torch.nn.Module):
        if arguments:
            raise RvCheckError(f"{name} is a module, built already", expected="no arguments for it")
        return Candidate(value, False)
    if not callable(value):
        raise RvCheckError(f"{name} is a {type(value).__name__}", expected="a torch.nn.Module, or what makes one")
    _see_that_it_takes(name, value, arguments)
    made = guarded(f"{name}() cannot be built", lambda: _explained(lambda: value(**arguments)))
    if not isinstance(made, torch.nn.Module):
        raise RvCheckError(f"{name}() gives a {type(made).__name__}", expected="a torch.nn.Module")
    return Candidate(made, True)


def _explained(action: Callable[[], Any]) -> Any:
    """`action()`; where it fails after torchvision's warning of `pretrained=True`, that is in the error, too."""
    with warnings.catch_warnings(record=True) as heard:
        try:
            made = action()
        except Exception as error:
            if "'pretrained' is deprecated" in " ".join([str(error), *(str(one.message) for one in heard)]):
                error.add_note(str(PRETRAINED))
            raise
    for one in heard:
        warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    return made


def named_value(name: str, what: str) -> Any:
    """What stands in a file or module by that name, which should be a module or a class. Raises: RvCheckError."""
    where, _, attribute = name.rpartition(":")
    if not where or not attribute:
        raise RvCheckError(f"{quote(name)} is no {what}", expected=FORMS)
    need("torch")
    namespace = guarded(f"{where} cannot be imported", lambda: _explained(lambda: _import(where)))
    if not hasattr(namespace, attribute):
        near = nearest(attribute, [n for n in vars(namespace) if not n.startswith("_")])
        raise RvCheckError(f"{where} has no {quote(attribute)}", near=near)
    return getattr(namespace, attribute)


def _see_that_it_takes(name: str, factory: Any, arguments: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return  # a built-in that does not say; calling it will tell
    try:
        signature.bind(**arguments)
    except TypeError as error:
        how = f"with {', '.join(arguments)}" if arguments else "without arguments"
        message = f"{name}{signature} cannot be called {how}: {error}"
        hint = "--kwargs '{\"name\": value}', or a function without arguments that makes the module"
        raise RvCheckError(message, expected=hint) from None


def _import(where: str) -> ModuleType:
    """The file, with its folder first on the path as `python file.py` has it, or the module seen from here."""
    path = Path(where)
    if path.suffix != ".py":
        _first_on_path(Path.cwd())
        return importlib.import_module(where)
    if not path.is_file():
        raise RvCheckError("there is no such file")
    _first_on_path(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(f"rv_check_candidate_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that dataclasses and pickling in the file find their module
    spec.loader.exec_module(module)
    return module


def _first_on_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def parse_arguments(text: str | None) -> dict[str, Any]:
    """What --kwargs gives. Raises: RvCheckError."""
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise RvCheckError(f"--kwargs is no JSON: {error}", expected='as in {"num_classes": 10}') from None
    if not isinstance(value, dict):
        raise RvCheckError(f"--kwargs is a {type(value).__name__}", expected='an object, as in {"num_classes": 10}')
    return value
