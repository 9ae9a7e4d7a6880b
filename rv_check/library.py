"""Where specs are found, and whether the names in them mean anything.

A block is looked for in the folder of the file that names it, in that folder's `blocks/`, then among the shipped ones.
Nothing else is read, and only when its name is asked for.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rv_check.expr import FUNCTIONS, Call, Expr, check_keyword
from rv_check.ops import OPS, Op
from rv_check.problems import Place, Problem, SpecError, nearest, quote, shown_path
from rv_check.spec import (
    Block,
    CallStep,
    Family,
    GroupStep,
    IfStep,
    JoinStep,
    Name,
    RepeatStep,
    ShapeStep,
    Steps,
    load_file,
)

SUFFIXES = (".yaml", ".yml")
Target = type[Op] | Block


@functools.cache
def shipped_folder() -> Path:
    """The folder of the shipped specs: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "specs"
    return inside if inside.is_dir() else package.parent / "specs"


def family_files(folder: Path) -> list[Path]:
    """The spec files right in a folder, in order of name."""
    return sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file())


def block_files(folder: Path) -> list[Path]:
    """The block files that a family in `folder` finds beside it."""
    blocks = folder / "blocks"
    return sorted(p for p in blocks.iterdir() if p.suffix in SUFFIXES) if blocks.is_dir() else []


def load(path: Path) -> Family | Block:
    """The definition in a file, with every name in it known. Raises: SpecError with every error found."""
    path = Path(os.path.abspath(path))
    try:
        status = path.stat()
    except OSError:
        return load_file(path)  # which says what is wrong
    return _load(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=256)
def _load(path: Path, changed_ns: int, size: int) -> Family | Block:
    definition = load_file(path)
    problems = _Names(definition).problems()
    if problems:
        raise SpecError(problems)
    return definition


def find(name: str, folder: Path) -> Target | None:
    """The op or block of that name, seen from a file in `folder`. Raises: SpecError where the block's file is wrong."""
    if name in OPS:
        return OPS[name]
    if not name.isidentifier():
        return None
    path = _find_file(name, folder)
    if path is None:
        return None
    definition = load(path)
    if isinstance(definition, Family):
        place = Place(definition.place.document, definition.place.line, definition.place.column)
        raise SpecError([Problem(f"{quote(name)} is used as a block and is a family", place, "a block: file")])
    return definition


def _find_file(name: str, folder: Path) -> Path | None:
    levels = [[folder, folder / "blocks"], [shipped_folder(), shipped_folder() / "blocks"]]
    if folder in levels[1]:
        levels = levels[1:]
    for level in levels:
        found = [path for where in level for suffix in SUFFIXES if (path := where / (name + suffix)).is_file()]
        # A family of that name beside the file is no block: `vgg.yaml` may use a block `vgg` of its `blocks/`.
        blocks = [p for p in found if len(found) == 1 or not isinstance(load_file(p), Family)]
        if len(blocks) > 1:
            where = " and ".join(shown_path(p) for p in blocks)
            raise SpecError([Problem(f"block {quote(name)} is there twice: {where}", None, "one of them")])
        if blocks:
            real = blocks[0].resolve()
            if level is levels[0] and not any(real.parent == w.resolve() for w in level):
                problem = Problem(f"{shown_path(blocks[0])} is a link to a file outside its folder", None, "the file itself")
                raise SpecError([problem])
            return blocks[0]
    return None


def known_blocks(folder: Path) -> list[str]:
    """The names of the blocks that a file in `folder` can use, for suggestions."""
    names: set[str] = set()
    for where in (folder, folder / "blocks", shipped_folder() / "blocks"):
        if where.is_dir():
            names |= {p.stem for p in where.iterdir() if p.suffix in SUFFIXES}
    return sorted(names)


class _Names:
    """Checks, without expanding anything, that every name in a definition is known and every call can be filled."""

    def __init__(self, definition: Family | Block):
        self.definition = definition
        self.folder = definition.path.parent
        self.found: list[Problem] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        try:
            yield
        except SpecError as error:
            self.found += error.problems

    def problems(self) -> list[Problem]:
        d = self.definition
        for default in d.arguments.values():
            if default is not None:
                self.expression(default, ())
        scope = tuple(d.arguments)
        if isinstance(d, Block):
            for term in d.inputs:
                if term.expr is not None:
                    self.expression(term.expr, scope)
            scope += tuple(term.letter for term in d.inputs if term.letter is not None)
        for name, expr in d.let:
            self.expression(expr, scope)
            scope += (name,)
        if isinstance(d, Block):
            for term in d.outputs:
                if term.expr is not None:
                    self.expression(term.expr, scope)
        self.steps(d.body, scope)
        if isinstance(d, Family):
            for arch in d.archs.values():
                for argument in arch.build.arguments:
                    self.expression(argument.value, ())
                self.call_of(d, arch.build)
                if arch.reference:
                    for argument in arch.reference.arguments:
                        self.expression(argument.value, scope)
        return list(dict.fromkeys(self.found))

    def steps(self, steps: Steps, scope: tuple[str, ...]) -> None:
        for step in steps:
            match step:
                case CallStep():
                    self.name(step.name, scope)
                    self.call(step.call, scope)
                case GroupStep():
                    self.name(step.name, scope)
                    self.steps(step.steps, scope)
                case ShapeStep():
                    for term in step.terms:
                        if term is not None:
                            self.expression(term, scope)
                case JoinStep():
                    for _, branch in step.branches:
                        self.steps(branch, scope)
                case RepeatStep():
                    self.expression(step.times, scope)
                    self.steps(step.steps, (*scope, step.index) if step.index else scope)
                case IfStep():
                    self.expression(step.condition, scope)
                    self.steps(step.then, scope)
                    self.steps(step.otherwise, scope)

    def name(self, name: Name | None, scope: tuple[str, ...]) -> None:
        for part in name.parts if name else ():
            if isinstance(part, Expr):
                self.expression(part, scope)

    def call(self, call: Call, scope: tuple[str, ...]) -> None:
        for argument in call.arguments:
            self.expression(argument.value, scope)
        if call.name in scope:
            return  # an argument: what it holds is known at its use
        with self.collect():
            target = find(call.name, self.folder)
            if target is None:
                blocks = known_blocks(self.folder)
                near = nearest(call.name, [*OPS, *blocks, *scope])
                expected = f"an op ({', '.join(OPS)}) or a block ({', '.join(blocks)})"
                problem = Problem(f"unknown op or block {quote(call.name)}", call.place, expected, near)
                raise SpecError([problem])
            self.call_of(target, call)

    def call_of(self, target: Target | Family, call: Call) -> None:
        with self.collect():
            check_call(target, call, {})

    def expression(self, expr: Expr, scope: tuple[str, ...]) -> None:
        called = {call.name for call in expr.calls()}
        for call in expr.calls():
            if call.name in scope:
                continue
            with self.collect():
                target = find(call.name, self.folder)
                if target is None:
                    known = [*FUNCTIONS, *known_blocks(self.folder)]
                    expected = f"a function ({', '.join(FUNCTIONS)}) or a block"
                    near = nearest(call.name, known)
                    raise expr.problem(call.expr.node, f"unknown function or block {quote(call.name)}", expected, near)
                for argument in call.arguments:
                    if argument.keyword is not None:
                        check_keyword(target, argument.keyword, argument.place)
        for node in expr.names():
            if node.id in scope or node.id in called:
                continue
            with self.collect():
                if find(node.id, self.folder) is None:
                    expected = ", ".join(scope) or "no names here"
                    near = nearest(node.id, [*scope, *known_blocks(self.folder)])
                    raise expr.problem(node, f"unknown name {quote(node.id)}", expected, near)


def check_call(target: Target | Family, call: Call, filled: Iterable[str]) -> None:
    """Whether the arguments of a call fit, by name. `filled` are those that a partial has. Raises: SpecError."""
    taken = dict.fromkeys(filled, "already filled where it was passed on")
    names = target.argument_names
    problems: list[Problem] = []
    for position, argument in enumerate(call.arguments):
        name = argument.keyword
        if name is None:
            free = [n for n in names if n not in filled]
            if position >= len(free):
                expected = f"{', '.join(names)}" if names else "no arguments"
                message = f"{target.name} takes {len(free)} arguments, found one more: {argument.value.text}"
                problems.append(Problem(message, argument.place, expected))
                continue
            name = free[position]
        else:
            try:
                check_keyword(target, name, argument.place)
            except SpecError as error:
                problems += error.problems
                continue
        if name in taken:
            problems.append(Problem(f"argument {quote(name)} of {target.name} is {taken[name]}", argument.place))
        taken[name] = "filled twice"
    missing = [name for name in target.required if name not in taken]
    if missing and not problems:
        what = ", ".join(map(quote, missing))
        problems.append(Problem(f"{target.name} without its argument {what}", call.place, ", ".join(names)))
    if problems:
        raise SpecError(problems)
