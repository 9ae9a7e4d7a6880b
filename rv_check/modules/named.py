"""A user's module by name: `path/to/file.py:Name` or `package.module:Name`; a module, a class, or a factory."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from rv_check.errors import Problem, RvCheckError
from rv_check.language.files import SUFFIXES
from rv_check.modules.guard import run_theirs
from rv_check.modules.imported import imported
from rv_check.optional import need
from rv_check.text import nearest, quote

if TYPE_CHECKING:
    from torch import nn

EXAMPLE = "example_inputs"  # the function of a file that says what goes into its modules
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
    """A module that somebody named, whether it was built just now, and the `example_inputs` that stand beside it."""

    module: nn.Module
    fresh: bool
    example: Callable[[], Any] | None = None

    def input(self, given: str | None) -> Any:
        """What goes in: as somebody typed it, or as the file says; None where neither does.

        Raises: RvCheckError where `example_inputs` fails.
        """
        if given is not None or self.example is None:
            return given
        return run_theirs(f"{EXAMPLE}() gives no input", self.example)


def load_module(name: str, arguments: Mapping[str, Any] | None = None) -> Candidate:
    """The module of that name; a class or a factory is called with these arguments by keyword.

    Raises: RvCheckError, which says what went wrong, with the user's own frames where it is their code.
    """
    arguments = arguments or {}
    namespace, value = _named(name, "module")
    example = getattr(namespace, EXAMPLE, None)
    torch = need("torch")
    if isinstance(value, torch.nn.Module):
        if arguments:
            raise RvCheckError(f"{name} is a module, built already", expected="no arguments for it")
        return Candidate(value, fresh=False, example=example)
    if not callable(value):
        raise RvCheckError(f"{name} is a {type(value).__name__}", expected="a torch.nn.Module, or what makes one")
    _see_that_it_takes(name, value, arguments)
    made = run_theirs(f"{name}() cannot be built", lambda: _explained(lambda: value(**arguments)))
    if not isinstance(made, torch.nn.Module):
        raise RvCheckError(f"{name}() gives a {type(made).__name__}", expected="a torch.nn.Module")
    return Candidate(made, fresh=True, example=example)


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
    return _named(name, what)[1]


def _named(name: str, what: str) -> tuple[ModuleType, Any]:
    """The file or module, and what stands in it by that name. Raises: RvCheckError."""
    where, _, attribute = name.rpartition(":")
    if not where or not attribute:
        raise RvCheckError(f"{quote(name)} is no {what}", expected=FORMS)
    need("torch")
    namespace = run_theirs(f"{where} cannot be imported", lambda: _explained(lambda: imported(where)))
    if not hasattr(namespace, attribute):
        near = nearest(attribute, [n for n in vars(namespace) if not n.startswith("_")])
        raise RvCheckError(f"{where} has no {quote(attribute)}", near=near)
    return namespace, getattr(namespace, attribute)


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
