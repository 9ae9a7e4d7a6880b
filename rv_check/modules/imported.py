"""Somebody's file as a module: what importing it should not do, and what to do where it does, is told.

A file of a package imports its neighbours by names that the file alone does not know; a script reads a command line
that is not its own, or begins to train.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from rv_check.errors import RvCheckError
from rv_check.text import shown_path

GUARD = 'put what it does under `if __name__ == "__main__":`, or the class into a file of its own'


class StartsTraining(SystemExit):
    """A backward pass while a file is imported. `except Exception` of a training loop does not take it."""


def imported(where: str) -> ModuleType:
    """The file, with its folder first on the path as `python file.py` has it, or the module seen from here.

    Raises: what it raises, with a note of what to do about it; RvCheckError where there is no such file.
    """
    path = Path(where)
    with _as_a_script_alone(where), _noted(path):
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


@contextmanager
def _as_a_script_alone(where: str) -> Iterator[None]:
    """Within, the command line is that of `python file.py`, and nothing trains."""
    import torch

    def refused(*args: Any, **kwargs: Any) -> NoReturn:
        raise StartsTraining("it starts training when it is imported")

    arguments, backward, of_tensor = sys.argv, torch.autograd.backward, torch.Tensor.backward
    sys.argv = [where]
    torch.autograd.backward = torch.Tensor.backward = refused  # type: ignore[method-assign]
    try:
        yield
    finally:
        sys.argv = arguments
        torch.autograd.backward, torch.Tensor.backward = backward, of_tensor  # type: ignore[method-assign]


@contextmanager
def _noted(path: Path) -> Iterator[None]:
    """What is raised within gets a note of what to do about it."""
    try:
        yield
    except (Exception, SystemExit) as error:
        advice = _advice(path, error)
        if advice:
            error.add_note(advice)
        raise


def _advice(path: Path, error: BaseException) -> str:
    """What to do about it; "" where the error says it."""
    if isinstance(error, StartsTraining):
        return GUARD
    if isinstance(error, SystemExit):
        return f"it ends the program when it is imported, as a script does that reads its command line: {GUARD}"
    if isinstance(error, EOFError | FileNotFoundError | IsADirectoryError) and path.suffix == ".py":
        return f"if it reads that as a script does: {GUARD}"
    if path.suffix == ".py" and isinstance(error, ImportError):
        return _as_a_part(path.resolve(), error)
    return ""


def _as_a_part(path: Path, error: ImportError) -> str:
    """How to name a file that is a part of a package; "" where it is none."""
    missing = (error.name or "").partition(".")[0]
    named = [folder for folder in path.parents if folder.name == missing]
    if "relative import" in str(error):
        root = _root(path)
    elif isinstance(error, ModuleNotFoundError) and named:  # it imports the package that it is in by its name
        root = named[-1].parent
    elif isinstance(error, ModuleNotFoundError):  # or another one beside that
        above = (folder for folder in path.parents[1:-1] if missing and _is_there(folder, missing))
        found = next(above, None)
        if found is None:
            return ""
        root = found
    else:
        return ""
    name = ".".join(path.relative_to(root).with_suffix("").parts)
    return f"it is a part of a package: name it {name}:NAME, in the folder {shown_path(root)}"


def _is_there(folder: Path, name: str) -> bool:
    """Whether a package or file of that name stands in a folder."""
    return (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()


def _root(path: Path) -> Path:
    """The folder that the outermost package of a file is in: by `__init__.py`, and by the dots of its imports."""
    levels = [node.level for node in ast.walk(ast.parse(path.read_bytes())) if isinstance(node, ast.ImportFrom)]
    up = max([*levels, 1])
    while len(path.parents) > up + 1 and (path.parents[up] / "__init__.py").is_file():
        up += 1
    return path.parents[min(up, len(path.parents) - 1)]
