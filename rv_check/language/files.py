"""Where spec files are, and which file a name means.

A block is looked for in the folder of the file that names it, in that folder's `blocks/` and the folders in it, then
among the shipped ones. For a file in one of these, which holds the blocks of a lineage, that is all of `blocks/`.
Nothing else is read, and only when its name is asked for.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rv_check.errors import Frame, Place, Problem, spec_error
from rv_check.language.definitions import Block, Family
from rv_check.language.parser import load_file
from rv_check.ops.op import Op
from rv_check.text import quote, shown_path

SUFFIXES = (".yaml", ".yml")
BLOCKS = "blocks"  # the folder of a family's blocks, beside it, which may have folders for lineages
VARIANTS = "variants"  # the folder among the shipped specs whose archs have short names, too
SUGGESTED = 50  # files of a folder that are looked at to suggest a name
SNIFFED_BYTES = 4096
Target = type[Op] | Block


@functools.cache
def shipped_folder() -> Path:
    """The folder of the shipped specs: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "specs"
    return inside if inside.is_dir() else package.parent / "specs"


def family_files(folder: Path) -> list[Path]:
    """The spec files right in a folder, in order of name."""
    return sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file())


def block_files(folder: Path) -> list[Path]:
    """The block files that a family in `folder` finds beside it, those in folders of their own behind the others."""
    return [p for place in block_folders(folder) for p in family_files(place)]


def block_folders(folder: Path) -> list[Path]:
    """The folders of the blocks that a family in `folder` finds beside it: `blocks/`, then those in it."""
    return list(_block_folders(folder, version(folder / BLOCKS)[0]))


@functools.lru_cache(maxsize=256)
def _block_folders(folder: Path, changed_ns: int) -> tuple[Path, ...]:
    blocks = folder / BLOCKS
    if not blocks.is_dir():
        return ()
    return (blocks, *sorted(p for p in blocks.iterdir() if p.is_dir() and p.name.isidentifier() and p.name != BLOCKS))


@dataclass(frozen=True)
class Use:
    """A block's file, and where it is first used."""

    path: Path
    size: int  # bytes
    frame: Frame


@dataclass(frozen=True)
class ParsedFile:
    """A file by itself: its definition, what is wrong with it, and the blocks it uses."""

    path: Path
    size: int
    definition: Family | Block | None
    problems: tuple[Problem, ...]
    uses: tuple[Use, ...] = ()


def parse(path: Path) -> ParsedFile:
    """The file, parsed without a look at any other."""
    return parse_version(path, *version(path))


def _begins(path: Path) -> str:
    """The word `family` or `block` that a file seems to begin with, without reading all of it; "" for any other."""
    return _begins_version(path, *version(path))


# A file is read again when it has changed.


def version(path: Path) -> tuple[int, int]:
    """When a file was changed, and its size: what was parsed of it holds as long as these stay."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return 0, 0  # whoever reads it says what is wrong
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=1024)
def parse_version(path: Path, changed_ns: int, size: int) -> ParsedFile:
    """The file, parsed; where its age and size are as they were, as it was parsed before."""
    definition, problems = load_file(path)
    return ParsedFile(path, size, definition, tuple(problems))


@functools.lru_cache(maxsize=4096)
def _begins_version(path: Path, changed_ns: int, size: int) -> str:
    try:
        with path.open("rb") as file:
            match = re.search(rb"^(?:\xef\xbb\xbf)?(family|block):", file.read(SNIFFED_BYTES), re.MULTILINE)
    except OSError:
        return ""
    return match.group(1).decode() if match else ""


def block(checked: ParsedFile, name: str, place: Place | None) -> Block:
    """The block in a file. `place`: where the name is used. Raises: SpecError where it is a family."""
    if not isinstance(checked.definition, Block):
        found = f"{quote(name)} is a family: {shown_path(checked.path)}"
        raise spec_error(found, place, "an op or a block")
    return checked.definition


def find_file(name: str, folder: Path, place: Place | None) -> Path | None:
    """The block file of that name; where there is none, a family's. `place`: where the name is used.

    Raises: SpecError where there are two, and where it is a link that leads out of the folder.
    """
    shipped = [shipped_folder(), *block_folders(shipped_folder())]
    top = folder.parent.parent if folder.parent.name == BLOCKS else folder
    own = [*([folder] if top == folder else []), *block_folders(top)]
    levels = [shipped] if folder in shipped else [own, shipped]
    families: list[Path] = []
    for level in levels:
        candidates = [place / (name + suffix) for place in level for suffix in SUFFIXES]
        files = [path for path in candidates if os.path.isfile(path)]
        families += [path for path in files if _begins(path) == "family"]
        blocks = [path for path in files if path not in families]
        if len(blocks) > 1:
            paths = " and ".join(map(shown_path, blocks))
            raise spec_error(f"there are two blocks {quote(name)}: {paths}", place, "one of them")
        if blocks and level is not shipped and not blocks[0].resolve().is_relative_to(top.resolve()):
            found = f"block {quote(name)} is a link out of its folder: {shown_path(blocks[0])}"
            raise spec_error(found, place, "the file itself")
        if blocks:
            return blocks[0]
    return families[0] if families else None


def known_blocks(folder: Path) -> list[str]:
    """The names of the blocks that a file in `folder` can use, for suggestions."""
    folders = dict.fromkeys((folder, *block_folders(folder), *block_folders(shipped_folder())))
    files = itertools.chain.from_iterable(map(_files, folders))
    return sorted({path.stem for path in files if _begins(path) == "block"})


def _files(folder: Path) -> Iterable[Path]:
    """The spec files of a folder, the first of many."""
    try:
        found = (folder / name for name in sorted(os.listdir(folder)))
    except OSError:
        return ()
    return itertools.islice((path for path in found if path.suffix in SUFFIXES and os.path.isfile(path)), SUGGESTED)
