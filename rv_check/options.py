"""What the options of several commands have in common."""

from __future__ import annotations

import argparse

from rv_check.candidates import FORMS, is_module_name
from rv_check.errors import RvCheckError
from rv_check.library import SUFFIXES
from rv_check.text import quote


def positive(text: str) -> int:
    """A number of 1 or more, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)


def is_module(subject: str, kwargs: str | None = None) -> bool:
    """Whether ARCH|MODULE is a module. Raises: RvCheckError where it is neither, or has arguments and is an arch."""
    where = subject.rpartition(":")[0]
    if is_module_name(subject):
        if where.endswith(SUFFIXES):
            raise RvCheckError(f"{quote(subject)} is no arch", expected=f"{where}::ARCH, with two colons")
        return True
    if kwargs is not None:
        raise RvCheckError(f"--kwargs is for a module, and {subject} is none", expected=FORMS)
    return False
