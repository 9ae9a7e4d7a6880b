"""The files that rv_check writes. Each is put in place whole: whoever reads it sees the old one or the new one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from rv_check.errors import cannot_write


def writable(name: str) -> Path:
    """Where a file is to go, looked at before the work that makes it. Raises: RvCheckError where it cannot go there."""
    path = Path(name)
    if path.is_dir():
        raise cannot_write(path, "it is a folder")
    if not path.parent.is_dir():
        raise cannot_write(path, f"there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise cannot_write(path, "no permission")
    return path


def write_text(path: Path, text: str) -> None:
    """Put a file of UTF-8 text in place. Raises: RvCheckError; then the old file is as it was."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Put a file in place. Raises: RvCheckError; then the old file is as it was."""
    try:
        put(path, content)
    except OSError as error:
        raise cannot_write(path, error) from None


def put(path: Path, content: bytes) -> None:
    """Put a file in place, through one beside it that nobody else has. A link stays, and what it leads to is written.

    What is no regular file, as /dev/stdout, is written to; so is a file whose folder takes no other one.
    Raises: OSError; then, as where it is interrupted, the old file is as it was, and nothing is left beside it.
    """
    # Such a thing keeps the name that it was given: where /dev/stdout is a pipe, what it leads to cannot be opened.
    is_special = path.exists() and not path.is_file()
    target = path if is_special else Path(os.path.realpath(path))
    if is_special or not os.access(target.parent, os.W_OK):
        target.write_bytes(content)
        return
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, beside)
        os.replace(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
