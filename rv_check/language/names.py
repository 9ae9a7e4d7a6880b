"""Whether the names in a definition mean anything, and whether the arguments of every call fit."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from typing import Any

from rv_check.errors import Collector, Enough, Frame, Place, Problem, SpecError, spec_error
from rv_check.language.definitions import (
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
)
from rv_check.language.expressions import FUNCTIONS, Call, Expr, check_keyword, check_partial
from rv_check.language.files import Target, Use, block, find_file, known_blocks, parse, version
from rv_check.language.yaml_nodes import MAX_BYTES
from rv_check.ops.op import OPS
from rv_check.text import listed, nearest, quote


class Names(Collector):
    """Checks, without expanding anything, that every name in a definition is known and every call can be filled."""

    def __init__(self, definition: Family | Block, whole: bool):
        """Args: `definition` what is looked through; `whole` whether all of it could be read."""
        super().__init__()
        self.definition = definition
        self.whole = whole
        self.folder = definition.path.parent
        self.used: set[str] = set()
        self.targets: dict[str, Any] = {}  # what has been looked up
        self.uses: list[Use] = []
        self.used_bytes = 0

    @functools.cached_property
    def blocks(self) -> list[str]:
        """The names of blocks that may be suggested."""
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
        definition = self.definition
        for default in definition.arguments.values():
            if default is not None:
                self.expression(default, ())
        scope = dict.fromkeys(definition.arguments)  # it grows and shrinks on the way
        if isinstance(definition, Block):
            for term in definition.inputs:
                if term.expr is not None:
                    self.expression(term.expr, scope, hint="or one capital letter, which the input binds")
            scope |= dict.fromkeys(term.letter for term in definition.inputs if term.letter is not None)
        for name, expr in definition.let:
            self.expression(expr, scope)
            scope[name] = None
        if isinstance(definition, Block):
            for term in definition.outputs:
                if term.expr is not None:
                    self.expression(term.expr, scope)
            for budget in definition.budgets:
                if budget.block is not None:
                    self.compared(budget.block, scope)
        self.steps(definition.body, scope)
        if isinstance(definition, Family):
            for arch in definition.archs.values():
                self.arch(definition, arch)

    def compared(self, call: Call, scope: Collection[str]) -> None:
        """Look up a block that a budget is compared with; arguments that it is not given are passed on by name."""
        for argument in call.arguments:
            self.expression(argument.value, scope)
        with self.collect():
            target = self.target(call.name, call.place)
            if target is UNREADABLE:
                return
            if not isinstance(target, Block) or target.is_contract:
                what = "is a contract" if isinstance(target, Block) else "is no block"
                near = nearest(call.name, self.blocks) if target is None else None
                raise spec_error(f"{quote(call.name)} {what}", call.place, "a block with a body", near)
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
        """Report names that are never used: what one says makes no difference. Letters of `in:` say what an axis is."""
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
        """Look up the call of a step: an op, a block, or an argument, which may hold either."""
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
                raise spec_error(f"unknown op or block {quote(call.name)}", call.place, expected, near)
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
        """A name in an expression that is not in scope must be an op's or a block's. Raises: SpecError."""
        declared = self.definition.declared.get(name)
        if declared is not None:
            found = f"{quote(name)} is not known here: it is declared at {declared.short}"
            raise spec_error(found, place, listed(scope, none="no name here"))
        if self.target(name, place) is None:
            near = nearest(name, [*scope, *self.blocks])
            expected = ", ".join(filter(None, (listed(scope, none="" if hint else "no name here"), hint)))
            raise spec_error(f"unknown name {quote(name)}", place, expected, near)

    def partial(self, call: Call, scope: Collection[str]) -> None:
        """Look up a call within an expression, which passes an op or a block on, with some arguments filled."""
        if call.name in scope:
            return
        with self.collect():
            target = self.target(call.name, call.place)
            if target is None:
                near = nearest(call.name, [*FUNCTIONS, *self.blocks, *OPS, *scope])
                expected = f"a function ({listed(FUNCTIONS)}), an op or a block"
                raise spec_error(f"unknown function or block {quote(call.name)}", call.place, expected, near)
            if target is not UNREADABLE:
                check_partial(target, call, {})

    def target(self, name: str, place: Place) -> Any:
        """The op or block of that name, or None; UNREADABLE where its file is wrong, which is reported elsewhere."""
        if name not in self.targets:
            self.targets[name] = UNREADABLE  # said once, at the first use
            self.targets[name] = OPS.get(name) or self.block(name, place)
        return self.targets[name]

    def block(self, name: str, place: Place) -> Any:
        """What `target` gives, of a block that has not been looked up. Raises: SpecError, Enough."""
        path = find_file(name, self.folder, place)
        if path is None:
            return None
        use = Use(path, version(path)[1], Frame(name, place))
        self.uses.append(use)
        self.used_bytes += use.size
        if self.used_bytes > MAX_BYTES:
            raise Enough  # `load` says that there is too much
        parsed = parse(path)
        return UNREADABLE if parsed.problems else block(parsed, name, place)


UNREADABLE = object()


def check_call(target: Target | Family, call: Call, filled: Iterable[str]) -> None:
    """Whether the arguments of a call fit. `filled`: names that a partial has filled. Raises: SpecError where not."""
    taken = dict.fromkeys(filled, "where it is passed on")
    names = target.argument_names
    problems: list[Problem] = []
    for position, argument in enumerate(call.arguments):
        name = argument.keyword
        if name is None:
            if position >= len(names):
                found = f"{target.name} has no argument for {argument.value.text}"
                problems.append(Problem(found, argument.place, listed(names, none="no arguments")))
                break  # where there is one too many there are often two
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
