"""A user's module by name: `path/to/file.py:Name` or `package.module:Name`; a module, a class, or a factory."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rv_check.problems import RvCheckError, nearest, quote

if TYPE_CHECKING:
    from torch import nn


def load_module(name: str) -> nn.Module:
    """The module of that name; a class or factory is called without arguments.

    Raises: RvCheckError, which says whether importing or building it went wrong, with the user's own frames.
    """
    from rv_check.reference import need

    torch: Any = need("torch")
    where, _, attribute = name.rpartition(":")
    if not where or not attribute:
        raise RvCheckError(f"{quote(name)} is not file.py:Name or package.module:Name")
    namespace = _import(where)
    if not hasattr(namespace, attribute):
        near = nearest(attribute, [n for n in vars(namespace) if not n.startswith("_")])
        hint = f"\n  did you mean: {near}" if near else ""
        raise RvCheckError(f"{where} has no {quote(attribute)}{hint}")
    value = getattr(namespace, attribute)
    if not isinstance(value, torch.nn.Module):
        if not callable(value):
            raise RvCheckError(f"{name} is a {type(value).__name__}, not a torch.nn.Module, a class or a factory")
        try:
            value = value()
        except Exception as error:
            raise RvCheckError(f"{name}() cannot be built: {_own_frames(error, where)}") from error
    if not isinstance(value, torch.nn.Module):
        raise RvCheckError(f"{name}() gives a {type(value).__name__}, not a torch.nn.Module")
    return value  # type: ignore[no-any-return]


def _import(where: str) -> Any:
    path = Path(where)
    try:
        if path.suffix == ".py":
            if not path.is_file():
                raise RvCheckError(f"there is no file {where}")
            spec = importlib.util.spec_from_file_location(f"rv_check_candidate_{path.stem}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[spec.name] = module  # so that dataclasses and pickling in the file find their module
            spec.loader.exec_module(module)
            return module
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(where)
    except RvCheckError:
        raise
    except Exception as error:
        raise RvCheckError(f"{where} cannot be imported: {_own_frames(error, where)}") from error


def _own_frames(error: BaseException, where: str) -> str:
    """The error, with the frames of the user's own files."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_own(f.filename)]
    lines = [f"{type(error).__name__}: {error}"]
    lines += [f"  {frame.filename}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames]
    return "\n".join(lines)


def _is_own(filename: str) -> bool:
    path = Path(filename)
    return not (
        path.is_relative_to(Path(__file__).parent)
        or "site-packages" in path.parts
        or filename.startswith("<")
        or path.is_relative_to(Path(importlib.__file__).parent.parent)
    )
