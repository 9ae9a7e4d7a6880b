"""Where specs are found, and whether the names in them mean anything.

A block is looked for in the folder of the file that names it, in that folder's `blocks/`, then among the shipped ones.
Nothing else is read, and only when its name is asked for.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rv_check.expr import FUNCTIONS, Call, Expr, check_keyword, check_partial
from rv_check.ops import OPS, Op
from rv_check.problems import (
    MAX_PROBLEMS,
    Collector,
    Document,
    Enough,
    Frame,
    Place,
    Problem,
    SpecError,
    in_order,
    listed,
    nearest,
    quote,
    shown_path,
)
from rv_check.source import MAX_BYTES
from rv_check.spec import (
    ArchEntry,
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
SUGGESTED = 50  # files of a folder that are looked at to suggest a name
SNIFFED_BYTES = 4096
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
    """The definition in a file, with every name in it known, and in the blocks that it leads to.

    Raises: SpecError, with the errors of all these files.
    """
    path = Path(os.path.abspath(path))
    found = _check(path)
    used_by: dict[Path, tuple[Path, Frame] | None] = {path: None}  # each by the first that uses it
    problems: list[Problem] = []
    size = found.size
    for file in (queue := [path]):  # which grows on the way
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


@dataclass(frozen=True)
class _Use:
    """A block's file, and where it is first used."""

    path: Path
    size: int  # bytes
    frame: Frame


@dataclass(frozen=True)
class _Checked:
    """A file by itself: its definition, what is wrong with it, and the blocks it uses."""

    path: Path
    size: int
    definition: Family | Block | None
    problems: tuple[Problem, ...]
    uses: tuple[_Use, ...] = ()


def _parse(path: Path) -> _Checked:
    """The file without a look at any other."""
    return _parse_version(path, *_version(path))


def _check(path: Path) -> _Checked:
    """The file with its names looked up."""
    return _check_version(path, *_version(path))


def _begins(path: Path) -> str:
    """`family` or `block`, as the file seems to begin, without reading all of it."""
    return _begins_version(path, *_version(path))


# A file is read again when it has changed.


def _version(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return 0, 0  # reading it says what is wrong
    return status.st_mtime_ns, status.st_size


@functools.lru_cache(maxsize=1024)
def _parse_version(path: Path, changed_ns: int, size: int) -> _Checked:
    definition, problems = load_file(path)
    return _Checked(path, size, definition, tuple(problems))


@functools.lru_cache(maxsize=1024)
def _check_version(path: Path, changed_ns: int, size: int) -> _Checked:
    parsed = _parse_version(path, changed_ns, size)
    if parsed.definition is None:
        return parsed
    names = _Names(parsed.definition, whole=not parsed.problems)
    names.look()
    problems = in_order([*parsed.problems, *names.problems])
    return replace(parsed, problems=tuple(problems), uses=tuple(names.uses))


@functools.lru_cache(maxsize=4096)
def _begins_version(path: Path, changed_ns: int, size: int) -> str:
    try:
        with path.open("rb") as file:
            match = re.search(rb"^(?:\xef\xbb\xbf)?(family|block):", file.read(SNIFFED_BYTES), re.MULTILINE)
    except OSError:
        return ""
    return match.group(1).decode() if match else ""


# Blocks by name


def find(name: str, folder: Path) -> Target | None:
    """The op or block of that name, seen from a file in `folder`. Raises: SpecError where the block's file is wrong."""
    if name in OPS:
        return OPS[name]
    path = _find_file(name, folder, None)
    if path is None:
        return None
    checked = _check(path)
    if checked.problems:
        raise SpecError(checked.problems)
    return _block(checked, name, None)


def _block(checked: _Checked, name: str, place: Place | None) -> Block:
    """The block in a file. `place`: where the name is used. Raises: SpecError where it is a family."""
    if not isinstance(checked.definition, Block):
        found = f"{quote(name)} is a family: {shown_path(checked.path)}"
        raise SpecError([Problem(found, place, "an op or a block")])
    return checked.definition


def _find_file(name: str, folder: Path, place: Place | None) -> Path | None:
    """The block file of that name; where there is none, a family's. `place`: where the name is used.

    Raises: SpecError where there are two, and where it is a link that leads out of the folder.
    """
    shipped = [shipped_folder(), shipped_folder() / "blocks"]
    levels = [shipped] if folder in shipped else [[folder, folder / "blocks"], shipped]
    families: list[Path] = []
    for level in levels:
        files = [path for where in level for suffix in SUFFIXES if os.path.isfile(path := where / (name + suffix))]
        families += [path for path in files if _begins(path) == "family"]
        blocks = [path for path in files if path not in families]
        if len(blocks) > 1:
            where = " and ".join(map(shown_path, blocks))
            raise SpecError([Problem(f"there are two blocks {quote(name)}: {where}", place, "one of them")])
        if blocks and level is not shipped and not blocks[0].resolve().is_relative_to(folder.resolve()):
            found = f"block {quote(name)} is a link out of its folder: {shown_path(blocks[0])}"
            raise SpecError([Problem(found, place, "the file itself")])
        if blocks:
            return blocks[0]
    return families[0] if families else None


def known_blocks(folder: Path) -> list[str]:
    """The names of the blocks that a file in `folder` can use, for suggestions."""
    files = itertools.chain.from_iterable(map(_files, (folder, folder / "blocks", shipped_folder() / "blocks")))
    return sorted({path.stem for path in files if _begins(path) == "block"})


def _files(folder: Path) -> Iterable[Path]:
    """The spec files of a folder, the first of many."""
    try:
        found = (folder / name for name in sorted(os.listdir(folder)))
    except OSError:
        return ()
    return itertools.islice((path for path in found if path.suffix in SUFFIXES and os.path.isfile(path)), SUGGESTED)


class _Names(Collector):
    """Checks, without expanding anything, that every name in a definition is known and every call can be filled."""

    def __init__(self, definition: Family | Block, whole: bool):
        """`whole`: nothing is missing from the definition, because it could not be read."""
        super().__init__()
        self.definition = definition
        self.whole = whole
        self.folder = definition.path.parent
        self.used: set[str] = set()
        self.targets: dict[str, Any] = {}  # what has been looked up
        self.uses: list[_Use] = []
        self.used_bytes = 0

    @functools.cached_property
    def blocks(self) -> list[str]:
        """Names to suggest."""
        return known_blocks(self.folder)

    def look(self) -> None:
        """Look up every name."""
        try:
            self.definition_names()
            if self.whole and not self.problems:  # a name that is not known may be meant for one that is not used
                self.unused()
        except Enough:
            pass

    def definition_names(self) -> None:
        d = self.definition
        for default in d.arguments.values():
            if default is not None:
                self.expression(default, ())
        scope = dict.fromkeys(d.arguments)  # grows and shrinks on the way
        if isinstance(d, Block):
            for term in d.inputs:
                if term.expr is not None:
                    self.expression(term.expr, scope, hint="or one capital letter, which the input binds")
            scope |= dict.fromkeys(term.letter for term in d.inputs if term.letter is not None)
        for name, expr in d.let:
            self.expression(expr, scope)
            scope[name] = None
        if isinstance(d, Block):
            for term in d.outputs:
                if term.expr is not None:
                    self.expression(term.expr, scope)
            for budget in d.budgets:
                if budget.block is not None:
                    self.compared(budget.block, scope)
        self.steps(d.body, scope)
        if isinstance(d, Family):
            for arch in d.archs.values():
                self.arch(d, arch)

    def compared(self, call: Call, scope: Collection[str]) -> None:
        """A block that a budget is compared with; arguments that it is not given are passed on by their names."""
        for argument in call.arguments:
            self.expression(argument.value, scope)
        with self.collect():
            target = self.target(call.name, call.place)
            if target is UNREADABLE:
                return
            if not isinstance(target, Block) or target.is_contract:
                what = "is a contract" if isinstance(target, Block) else "is no block"
                near = nearest(call.name, self.blocks) if target is None else None
                raise SpecError([Problem(f"{quote(call.name)} {what}", call.place, "a block with a body", near)])
            given = {argument.keyword for argument in call.arguments}
            given |= set(target.argument_names[: sum(argument.keyword is None for argument in call.arguments)])
            passed = [name for name in target.arguments if name in scope and name not in given]
            self.used.update(passed)
            check_call(target, call, passed)

    def arch(self, family: Family, arch: ArchEntry) -> None:
        for argument in arch.build.arguments:
            self.expression(argument.value, ())
        with self.collect():
            check_call(family, arch.build, ())
        before = set(self.used)
        for argument in arch.reference.arguments if arch.reference else ():
            self.expression(argument.value, family.arguments)
        self.used = before  # an argument that only the reference is told makes no difference to the spec

    def unused(self) -> None:
        """What is never used is a difference that nobody sees. Letters of `in:` say what an axis is."""
        letters = {t.letter for t in self.definition.inputs} if isinstance(self.definition, Block) else set()
        for name, place in self.definition.declared.items():
            if name not in self.used and name not in letters:
                self.add(f"{quote(name)} is never used", place, "a use, or no such name")

    def steps(self, steps: Steps, scope: dict[str, None]) -> None:
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
                    if step.index is not None:
                        scope[step.index] = None
                    self.steps(step.steps, scope)
                    if step.index is not None:
                        del scope[step.index]
                case IfStep():
                    self.expression(step.condition, scope)
                    self.steps(step.then, scope)
                    self.steps(step.otherwise, scope)

    def name(self, name: Name | None, scope: Collection[str]) -> None:
        for part in name.parts if name else ():
            if isinstance(part, Expr):
                self.expression(part, scope)

    def call(self, call: Call, scope: Collection[str]) -> None:
        """A step: an op, a block, or an argument, of which is known only at its use what it holds."""
        for argument in call.arguments:
            self.expression(argument.value, scope)
        if call.name in scope:
            self.used.add(call.name)
            return
        with self.collect():
            target = self.target(call.name, call.place)
            if target is None:
                near = nearest(call.name, [*OPS, *self.blocks, *scope])
                every = f"an op ({listed(OPS)}) or a block ({listed(self.blocks)})"
                expected = "an op or a block" if near else every
                raise SpecError([Problem(f"unknown op or block {quote(call.name)}", call.place, expected, near)])
            if target is not UNREADABLE:
                check_call(target, call, ())

    def expression(self, expr: Expr, scope: Collection[str], hint: str = "") -> None:
        calls = list(expr.calls())
        called = {call.name for call in calls}
        for call in calls:
            self.partial(call, scope)
        for node in expr.names():
            if node.id in scope:
                self.used.add(node.id)
            elif node.id not in called:
                with self.collect():
                    self.other_name(node.id, expr.place_of(node), scope, hint)

    def other_name(self, name: str, place: Place, scope: Collection[str], hint: str) -> None:
        """A name in an expression that is not in scope must be an op's or a block's."""
        declared = self.definition.declared.get(name)
        if declared is not None:
            found = f"{quote(name)} is not known here: it is declared at {declared.short}"
            raise SpecError([Problem(found, place, listed(scope, none="no name here"))])
        if self.target(name, place) is None:
            near = nearest(name, [*scope, *self.blocks])
            expected = ", ".join(filter(None, (listed(scope, none="" if hint else "no name here"), hint)))
            raise SpecError([Problem(f"unknown name {quote(name)}", place, expected, near)])

    def partial(self, call: Call, scope: Collection[str]) -> None:
        """A call within an expression passes an op or a block on, with some arguments filled."""
        if call.name in scope:
            return
        with self.collect():
            target = self.target(call.name, call.place)
            if target is None:
                near = nearest(call.name, [*FUNCTIONS, *self.blocks, *OPS, *scope])
                expected = f"a function ({listed(FUNCTIONS)}), an op or a block"
                raise SpecError([Problem(f"unknown function or block {quote(call.name)}", call.place, expected, near)])
            if target is not UNREADABLE:
                check_partial(target, call, {})

    def target(self, name: str, place: Place) -> Any:
        """The op or block of that name, or None; UNREADABLE where its file is wrong, which is reported elsewhere."""
        if name not in self.targets:
            self.targets[name] = UNREADABLE  # said once, at the first use
            self.targets[name] = OPS.get(name) or self.block(name, place)
        return self.targets[name]

    def block(self, name: str, place: Place) -> Any:
        path = _find_file(name, self.folder, place)
        if path is None:
            return None
        use = _Use(path, _version(path)[1], Frame(name, place))
        self.uses.append(use)
        self.used_bytes += use.size
        if self.used_bytes > MAX_BYTES:
            raise Enough  # `load` says so
        parsed = _parse(path)
        return UNREADABLE if parsed.problems else _block(parsed, name, place)


UNREADABLE = object()


def check_call(target: Target | Family, call: Call, filled: Iterable[str]) -> None:
    """Whether the arguments of a call fit, by name. `filled` are those that a partial has. Raises: SpecError."""
    taken = dict.fromkeys(filled, "where it is passed on")
    names = target.argument_names
    problems: list[Problem] = []
    for position, argument in enumerate(call.arguments):
        name = argument.keyword
        if name is None:
            if position >= len(names):
                found = f"{target.name} has no argument for {argument.value.text}"
                problems.append(Problem(found, argument.place, listed(names, none="no arguments")))
                break  # what is one too many are often two
            name = names[position]
        else:
            try:
                check_keyword(target, name, argument.place)
            except SpecError as error:
                problems += error.problems
                continue
        if name in taken:
            found = f"argument {quote(name)} of {target.name} is filled already, {taken[name]}"
            problems.append(Problem(found, argument.place, "one of them"))
        taken[name] = "by position"
    missing = [name for name in target.required if name not in taken]
    if missing and not problems:
        found = f"{target.name} without its argument{'s' * (len(missing) > 1)} {listed(map(quote, missing))}"
        problems.append(Problem(found, call.place, listed(names)))
    if problems:
        raise SpecError(problems)
