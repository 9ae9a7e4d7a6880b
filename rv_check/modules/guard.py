"""Code that is not ours: what it raises is told with the frames that its author can mend."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rv_check.errors import CannotRun, RvCheckError, SpecError
from rv_check.text import shown_path

T = TypeVar("T")
SHOWN_FRAMES = 10  # frames of the user's code, innermost last


def run_theirs(what: str, action: Callable[[], T]) -> T:
    """`action()`; an exception of code that is not ours becomes an RvCheckError that says what was tried, and where.

    Raises: RvCheckError; SpecError and CannotRun as they are.
    """
    try:
        return action()
    except (SpecError, CannotRun):
        raise
    except RvCheckError as error:
        raise error.said_of(what) from error
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)][-SHOWN_FRAMES:]
        told = [f"{shown_path(Path(f.filename))}:{f.lineno} in {f.name}: {f.line}" for f in frames]
        told += getattr(error, "__notes__", [])
        raise RvCheckError(f"{what}: {type(error).__name__}: {error}", details=told) from error


def _is_users(filename: str) -> bool:
    """Whether a file is neither ours nor installed: its frames are the ones its author can mend."""
    path = Path(filename)
    ours = path.is_relative_to(Path(__file__).parents[1]) or path.is_relative_to(Path(traceback.__file__).parent)
    return not (ours or filename.startswith("<") or {"site-packages", "dist-packages"} & set(path.parts))
