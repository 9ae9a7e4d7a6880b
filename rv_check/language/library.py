"""A definition by its file or its name, with every name in it known, and in the blocks that it leads to."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rv_check.errors import MAX_PROBLEMS, Document, Frame, Place, Problem, SpecError, in_order
from rv_check.language.definitions import Block, Family
from rv_check.language.files import ParsedFile, Target, block, find_file, parse_version, version
from rv_check.language.names import Names
from rv_check.language.yaml_nodes import MAX_BYTES
from rv_check.ops.op import OPS


def load(path: Path) -> Family | Block:
    """The definition in a file, with every name in it known, and in the blocks that it leads to.

    Raises: SpecError, with the errors of all these files.
    """
    path = Path(os.path.abspath(path))
    found = _check(path)
    used_by: dict[Path, tuple[Path, Frame] | None] = {path: None}  # each file by the first that uses it
    problems: list[Problem] = []
    size = found.size
    for file in (queue := [path]):  # the queue grows on the way
        checked = _check(file)
        if checked.problems:
            chain = _chain(file, used_by)
            problems += [replace(problem, chain=chain) for problem in checked.problems]
        for use in checked.uses:
            if use.path not in used_by:
                used_by[use.path] = (file, use.frame)
                queue.append(use.path)
                size += use.size
        if size > MAX_BYTES and not problems:
            place = Place(Document(path, ()), 0, 0)
            problems.append(Problem(f"with its blocks this makes {size:,} bytes", place, f"at most {MAX_BYTES:,}"))
        if size > MAX_BYTES or len(problems) >= MAX_PROBLEMS:
            break
    if problems:
        raise SpecError(problems)
    assert found.definition is not None
    return found.definition


def _chain(file: Path, used_by: Mapping[Path, tuple[Path, Frame] | None]) -> tuple[Frame, ...]:
    """How the first file leads to this one."""
    frames: list[Frame] = []
    while (use := used_by[file]) is not None:
        file, frame = use
        frames.append(frame)
    return tuple(reversed(frames))


def _check(path: Path) -> ParsedFile:
    """The file, parsed, with its names looked up."""
    return _check_version(path, *version(path))


@functools.lru_cache(maxsize=1024)
def _check_version(path: Path, changed_ns: int, size: int) -> ParsedFile:
    parsed = parse_version(path, changed_ns, size)
    if parsed.definition is None:
        return parsed
    names = Names(parsed.definition, whole=not parsed.problems)
    names.look()
    problems = in_order([*parsed.problems, *names.problems])
    return replace(parsed, problems=tuple(problems), uses=tuple(names.uses))


# Blocks by name


def find(name: str, folder: Path) -> Target | None:
    """The op or block of that name, seen from a file in `folder`. Raises: SpecError where the block's file is wrong."""
    if name in OPS:
        return OPS[name]
    path = find_file(name, folder, None)
    if path is None:
        return None
    checked = _check(path)
    if checked.problems:
        raise SpecError(checked.problems)
    return block(checked, name, None)
