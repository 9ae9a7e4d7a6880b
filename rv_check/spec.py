"""A spec file as a definition: a family with its archs, or a block. Syntax only; what it means is `tree`'s.

Everything keeps its place. All errors of a file are collected before one is raised.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from rv_check.expr import WORDS, Argument, Call, Expr, Value, dotted_call, literal, parse, parse_call
from rv_check.ops import OPS
from rv_check.problems import Place, Problem, SpecError, nearest, quote
from rv_check.source import Fields, Items, Node, Text, kind, read

JOINS = ("sum", "concat", "product")
STEP_WORDS = (*JOINS, "shape", "repeat", "steps", "index", "if", "then", "else", "identity", "none")
METRICS = (
    "params", "mparams", "macs", "gmacs", "depth", "receptive_field",
    "top1", "top5", "top1_error", "top5_error",
)  # fmt: skip
VERDICTS = ("truncated", "wrong")
CONTRACT_KEYS = ("shape", "params", "macs", "receptive_field")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LETTER = re.compile(r"[A-Z]")


# The steps of a body. Each knows where it is written.


@dataclass(frozen=True)
class Name:
    """A step's name: text and `{expression}` parts, in turn."""

    parts: tuple[str | Expr, ...]
    text: str
    place: Place


@dataclass(frozen=True)
class CallStep:
    name: Name | None
    call: Call
    place: Place


@dataclass(frozen=True)
class GroupStep:
    name: Name
    steps: Steps
    place: Place


@dataclass(frozen=True)
class ShapeStep:
    terms: tuple[Expr | None, ...]  # None: any
    place: Place


@dataclass(frozen=True)
class JoinStep:
    kind: str
    branches: tuple[tuple[str, Steps], ...]
    place: Place


@dataclass(frozen=True)
class RepeatStep:
    times: Expr
    index: str | None
    index_is_used: bool  # in an expression other than a name: then no two rounds need be equal
    steps: Steps
    place: Place


@dataclass(frozen=True)
class IfStep:
    condition: Expr
    then: Steps
    otherwise: Steps
    place: Place


@dataclass(frozen=True)
class NoneStep:
    """A branch that is not there."""

    place: Place


Step = CallStep | GroupStep | ShapeStep | JoinStep | RepeatStep | IfStep | NoneStep
Steps = tuple[Step, ...]


@dataclass(frozen=True)
class Term:
    """One term of `in:` or `out:`: a letter to bind, an expression to hold, or None for any."""

    letter: str | None
    expr: Expr | None
    place: Place


@dataclass(frozen=True, eq=False)
class Block:
    """A block file: its arguments, its contract and its body."""

    name: str
    arguments: dict[str, Expr | None]  # the default, or None
    inputs: tuple[Term, ...]
    outputs: tuple[Term, ...]
    let: tuple[tuple[str, Expr], ...]
    body: Steps
    inline: bool
    source: str
    path: Path
    place: Place

    @property
    def argument_names(self) -> tuple[str, ...]:
        """In order, as a call by position fills them."""
        return tuple(self.arguments)

    @property
    def required(self) -> tuple[str, ...]:
        """The arguments without a default."""
        return tuple(name for name, default in self.arguments.items() if default is None)


@dataclass(frozen=True)
class Published:
    """A printed number: the text as printed, its source, and how it is to be held."""

    metric: str
    printed: str
    source: str
    within: Decimal | None  # percent
    verdict: str | None
    note: str
    place: Place


@dataclass(frozen=True)
class Field:
    """A receptive field as a contract states it, rows and columns: (size, stride, padding)."""

    rows: tuple[int, int, int]
    columns: tuple[int, int, int]


@dataclass(frozen=True)
class Contract:
    """What must hold of one named step, at the arch's declared input. None: nothing is said of it."""

    step: str
    shape: tuple[int | None, ...] | None
    params: int | None
    macs: int | None
    receptive_field: Field | None
    place: Place
    places: dict[str, Place] = field(compare=False)


@dataclass(frozen=True)
class Reference:
    """A builder of a registered provider, with arguments that may use the family's."""

    name: str
    arguments: tuple[Argument, ...]
    place: Place


@dataclass(frozen=True)
class InitRule:
    """How the parameters of one op start: `kaiming_normal(mode=fan_out, nonlinearity=relu)`. Words stay words."""

    op: str
    method: str
    arguments: dict[str, Value | str]
    place: Place


@dataclass(frozen=True)
class ArchEntry:
    """One arch of a family file."""

    name: str
    build: Call
    input: tuple[int, ...] | None
    reference: Reference | None
    contract: tuple[Contract, ...]
    published: tuple[Published, ...]
    source: str
    place: Place


@dataclass(frozen=True, eq=False)
class Family:
    """A family file: the paper's table. A body, and its archs."""

    name: str
    arguments: dict[str, Expr | None]
    input: tuple[int, ...]
    let: tuple[tuple[str, Expr], ...]
    body: Steps
    init: tuple[InitRule, ...]
    archs: dict[str, ArchEntry]
    source: str
    path: Path
    place: Place

    @property
    def argument_names(self) -> tuple[str, ...]:
        """In order."""
        return tuple(self.arguments)

    @property
    def required(self) -> tuple[str, ...]:
        """The arguments without a default."""
        return tuple(name for name, default in self.arguments.items() if default is None)


# How the parameters of an op may start, with the arguments that each method takes. Required ones first; what is left
# out keeps torch's own start. `mode` and `nonlinearity` have no default: torch's are not what the papers used.
INIT_METHODS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "default": ((), ()),
    "constant": (("weight", "bias"), ()),
    "normal": (("mean", "std"), ("bias",)),
    "kaiming_normal": (("mode", "nonlinearity"), ("bias",)),
}
INIT_WORDS = {"mode": ("fan_in", "fan_out"), "nonlinearity": ("linear", "relu", "leaky_relu", "tanh", "sigmoid")}


def load_file(path: Path) -> Family | Block:
    """The definition in a spec file. Raises: SpecError, with every error found."""
    return _File(read(path), path).definition()


class _File:
    """Parses one file, collecting problems, so that a reader hears of all of them at once."""

    def __init__(self, top: Fields, path: Path):
        self.top = top
        self.path = path
        self.problems: list[Problem] = []

    def definition(self) -> Family | Block:
        result: Family | Block | None = None
        with self.collect():
            if "family" in self.top and "block" in self.top:
                self.add("a file is a family or a block, not both", self.top.key("block").place)
            elif "family" in self.top:
                result = self.family()
            elif "block" in self.top:
                result = self.block()
            else:
                found = ", ".join(map(quote, list(self.top.entries)[:5]))
                near = next(filter(None, (nearest(k, ("family", "block")) for k in self.top.entries)), None)
                self.add(f"neither a family nor a block, found {found}", self.top.place, "family: or block:", near)
        if self.problems:
            raise SpecError(sorted(self.problems, key=_position))
        assert result is not None
        return result

    def add(self, message: str, place: Place, expected: str | None = None, near: str | None = None) -> None:
        self.problems.append(Problem(message, place, expected, near))

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep a problem and go on after the block."""
        try:
            yield
        except SpecError as error:
            self.problems += error.problems

    # The two kinds of file

    def family(self) -> Family:
        top = self.top
        self.keys(top, "a family", ("family", "input", "body", "archs"), ("source", "let", "init"))
        name, arguments = self.signature("family")
        size: tuple[int, ...] = ()
        with self.collect():
            size = self.input(top)
        let = self.let(top)
        body = self.body(top)
        init = self.init(top)
        archs: dict[str, ArchEntry] = {}
        entries = top.get("archs")
        if isinstance(entries, Fields) and entries.entries:
            for arch, (key, node) in entries.entries.items():
                with self.collect():
                    archs[arch] = self.arch(name, key, node)
        elif entries is not None:
            self.add("a family without archs", top.key("archs").place, "archs: and an entry for each, with build:")
        source = self.prose(top, "source")
        self.letters(arguments, let, (), body)
        return Family(name, arguments, size, let, body, init, archs, source, self.path, top.key("family").place)

    def block(self) -> Block:
        top = self.top
        self.keys(top, "a block", ("block", "in", "body"), ("source", "out", "let", "inline"))
        name, arguments = self.signature("block")
        place = top.key("block").place
        if name and name != self.path.stem:
            self.add(f"block {quote(name)} in a file named {quote(self.path.name)}", place, f"{name}.yaml")
        if name in OPS:
            self.add(f"{quote(name)} is an op", place, "another name")
        inputs = self.terms(top, "in", bind=True)
        outputs = self.terms(top, "out", bind=False)
        let = self.let(top)
        inline = False
        node = top.get("inline")
        if node is not None:
            if isinstance(node, Text) and node.text in ("true", "false"):
                inline = node.text == "true"
            else:
                self.add(f"inline is {kind(node)}", node.place, "true or false")
        body = self.body(top)
        self.letters(arguments, let, inputs, body)
        return Block(name, arguments, inputs, outputs, let, body, inline, self.prose(top, "source"), self.path, place)

    # Their parts

    def keys(self, node: Fields, what: str, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
        """Report keys that are not known and those that are missing."""
        known = (*required, *optional)
        for name, (key, _) in node.entries.items():
            if name not in known:
                self.add(f"{what} has no key {quote(name)}", key.place, ", ".join(known), nearest(name, known))
        for name in required:
            if name not in node:
                self.add(f"{what} without {quote(name + ':')}", node.place, f"{name}:")

    def text(self, node: Node | None, what: str) -> Text:
        if isinstance(node, Text) and node.text.strip():
            return node
        assert node is not None
        raise SpecError([Problem(f"{what} is {kind(node)}", node.place, "text")])

    def prose(self, node: Fields, key: str) -> str:
        """Words for a reader; nothing where the key is missing."""
        value = node.get(key)
        if value is None:
            return ""
        with self.collect():
            return " ".join(self.text(value, key).text.split())
        return ""

    def signature(self, key: str) -> tuple[str, dict[str, Expr | None]]:
        """`name(argument, argument=default)`."""
        arguments: dict[str, Expr | None] = {}
        if key not in self.top:
            return "", arguments
        with self.collect():
            call = parse_call(self.text(self.top.get(key), key))
            for argument in call.arguments:
                name, default = argument.keyword, argument.value
                if name is None:
                    if not isinstance(default.node, ast.Name):
                        self.add(f"argument {default.text} is not a name", argument.place, "name, or name=default")
                        continue
                    name = default.node.id
                if name in arguments:
                    self.add(f"argument {quote(name)} is there twice", argument.place)
                elif name in OPS or name in WORDS or name in STEP_WORDS:
                    self.add(f"{quote(name)} is a word of the language", argument.place, "another name")
                arguments[name] = default if argument.keyword else None
            return call.name, arguments
        return "", arguments

    def input(self, node: Fields) -> tuple[int, ...]:
        """`input: 3 224 224`."""
        value = node.get("input")
        if value is None:
            return ()
        return parse_input(self.text(value, "input"))

    def let(self, top: Fields) -> tuple[tuple[str, Expr], ...]:
        node = top.get("let")
        if node is None:
            return ()
        if not isinstance(node, Fields):
            self.add(f"let is {kind(node)}", node.place, "names, each with an expression")
            return ()
        found = []
        for name, (key, value) in node.entries.items():
            with self.collect():
                if not _NAME.fullmatch(name) or name in OPS or name in WORDS or name in STEP_WORDS:
                    self.add(f"{quote(name)} cannot be a name", key.place, "letters, digits, _; no word of the language")
                found.append((name, parse(self.text(value, name))))
        return tuple(found)

    def terms(self, top: Fields, key: str, bind: bool) -> tuple[Term, ...]:
        """The terms of `in:` or `out:`. A single capital letter in `in:` is bound by the block's input."""
        found: list[Term] = []
        if key not in top:
            return ()
        with self.collect():
            line = self.text(top.get(key), key)
            for match in re.finditer(r"\S+", line.text):
                text, place = match.group(), line.at(match.start())
                if text == "_":
                    found.append(Term(None, None, place))
                elif bind and _LETTER.fullmatch(text):
                    found.append(Term(text, None, place))
                else:
                    with self.collect():
                        found.append(Term(None, parse(Text(text, place, line.exact)), place))
        return tuple(found)

    def letters(
        self,
        arguments: dict[str, Expr | None],
        let: tuple[tuple[str, Expr], ...],
        inputs: tuple[Term, ...],
        body: Steps,
    ) -> None:
        """A name means one thing in a file: report what shadows an earlier name."""
        seen = dict.fromkeys(arguments, "an argument")
        for term in inputs:
            if term.letter is not None:
                if seen.get(term.letter) == "an argument":
                    self.add(f"{quote(term.letter)} of in: shadows an argument", term.place, "another name")
                seen[term.letter] = "a letter of in:"
        for name, expr in let:
            if name in seen:
                self.add(f"let {quote(name)} shadows {seen[name]}", expr.place, "another name")
            seen[name] = "a let"
        for step in walk(body):
            if isinstance(step, RepeatStep) and step.index is not None and step.index in seen:
                self.add(f"index {quote(step.index)} shadows {seen[step.index]}", step.place, "another name")

    def body(self, top: Fields) -> Steps:
        node = top.get("body")
        if node is None:
            return ()
        return self.steps(node, "body", ())

    def steps(self, node: Node, what: str, indices: tuple[str, ...]) -> Steps:
        """A list of steps."""
        if not isinstance(node, Items):
            flow = isinstance(node, Text) and node.text.startswith("[")
            expected = "a list of steps, one a line, each after a dash"
            found = "flow style '[...]'" if flow else kind(node)
            self.add(f"{what} is {found}", node.place, expected)
            return ()
        if not node.items:
            self.add(f"{what} has no steps", node.place)
        steps = []
        for item in node.items:
            with self.collect():
                steps.append(self.step(item, indices))
        return tuple(steps)

    def step(self, node: Node, indices: tuple[str, ...]) -> Step:
        if isinstance(node, Text):
            if node.text in ("identity", "none"):
                problem = Problem(f"{node.text} is a whole branch, not a step", node.place, f"skip: {node.text}")
                raise SpecError([problem])
            return CallStep(None, parse_call(_not_flow(node)), node.place)
        if isinstance(node, Items) or not node.entries:
            raise SpecError([Problem(f"a step is {kind(node)}", node.place, "a call, or a name with a call or a list")])
        if "repeat" in node:
            return self.repeat(node, indices)
        if "if" in node:
            return self.branch_if(node, indices, in_branch=False)
        first, (key, value) = next(iter(node.entries.items()))
        if len(node.entries) > 1:
            extra = list(node.entries.values())[1][0]
            message = f"the step {quote(first)} has a second key {quote(extra.text)}"
            expected = "one key a step (a dash before each, or more indentation below it)"
            raise SpecError([Problem(message, extra.place, expected)])
        if first == "shape":
            return ShapeStep(self.shape_terms(self.text(value, "shape")), key.place)
        if first in JOINS:
            return self.join(first, key, value, indices)
        if first in STEP_WORDS:
            raise SpecError([Problem(f"{quote(first)} is a word of the language, not a name", key.place, "a name")])
        name = self.name(key)
        if isinstance(value, Items):
            return GroupStep(name, self.steps(value, first, indices), key.place)
        if isinstance(value, Fields):
            # `skip: {sum: ...}` is no step: what a name holds is a call or a list.
            raise SpecError([Problem(f"{first} is a mapping", value.place, "a call, or a list of steps")])
        return CallStep(name, parse_call(_not_flow(self.text(value, first))), key.place)

    def name(self, key: Text) -> Name:
        parts: list[str | Expr] = []
        for match in re.finditer(r"\{([^{}]*)\}|([^{}]+)|(.)", key.text, re.DOTALL):
            inner, plain, stray = match.groups()
            if stray is not None or (plain is not None and not re.fullmatch(r"[A-Za-z0-9_]+", plain)):
                place = key.at(match.start())
                expected = "letters, digits, _ and {expression}, not beginning with a digit"
                raise SpecError([Problem(f"{quote(key.text)} cannot be a name", place, expected)])
            if plain is not None:
                parts.append(plain)
            else:
                parts.append(parse(Text(inner, key.at(match.start() + 1), key.exact)))
        if isinstance(parts[0], str) and parts[0][0].isdigit():
            message = f"{quote(key.text)} cannot be a name: digits are the positions of steps without one"
            raise SpecError([Problem(message, key.place, "a name, or no name")])
        return Name(tuple(parts), key.text, key.place)

    def shape_terms(self, line: Text) -> tuple[Expr | None, ...]:
        terms: list[Expr | None] = []
        for match in re.finditer(r"\S+", line.text):
            text = Text(match.group(), line.at(match.start()), line.exact)
            terms.append(None if text.text == "_" else parse(text))
        return tuple(terms)

    def join(self, kind_: str, key: Text, value: Node, indices: tuple[str, ...]) -> JoinStep:
        if not isinstance(value, Fields):
            expected = "labelled branches, as in main: and skip:"
            raise SpecError([Problem(f"{kind_} is {kind(value)}", value.place, expected)])
        if len(value.entries) < 2:
            raise SpecError([Problem(f"{kind_} of {len(value.entries)} branch", key.place, "two branches or more")])
        branches = []
        for label, (label_key, node) in value.entries.items():
            with self.collect():
                if not _NAME.fullmatch(label) or label in STEP_WORDS:
                    self.add(f"{quote(label)} cannot label a branch", label_key.place, "a name")
                branches.append((label, self.branch(node, f"branch {label}", indices)))
        return JoinStep(kind_, tuple(branches), key.place)

    def branch(self, node: Node, what: str, indices: tuple[str, ...]) -> Steps:
        """A list of steps, `identity`, `none`, or one `if` whose arms are such."""
        if isinstance(node, Text) and node.text == "identity":
            return ()
        if isinstance(node, Text) and node.text == "none":
            return (NoneStep(node.place),)
        if isinstance(node, Fields) and "if" in node:
            return (self.branch_if(node, indices, in_branch=True),)
        if not isinstance(node, Items):
            expected = "a list of steps, identity, none, or if: with then: and else:"
            raise SpecError([Problem(f"{what} is {kind(node)}", node.place, expected)])
        return self.steps(node, what, indices)

    def branch_if(self, node: Fields, indices: tuple[str, ...], in_branch: bool) -> IfStep:
        place = node.key("if").place
        before = len(self.problems)
        required = ("if", "then", "else") if in_branch else ("if", "then")
        self.keys(node, "an if in a branch" if in_branch else "an if", required, () if in_branch else ("else",))
        if len(self.problems) > before:
            raise SpecError([])  # said already
        arms = []
        for key in ("then", "else"):
            arm = node.get(key)
            if arm is None:
                arms.append(())
            elif in_branch:
                arms.append(self.branch(arm, key, indices))
            elif isinstance(arm, Text) and arm.text == "none":
                raise SpecError([Problem("none is a branch, and this is no branch", arm.place, "identity, or steps")])
            else:
                arms.append(self.branch(arm, key, indices))
        return IfStep(parse(self.text(node.get("if"), "if")), arms[0], arms[1], place)

    def repeat(self, node: Fields, indices: tuple[str, ...]) -> RepeatStep:
        place = node.key("repeat").place
        before = len(self.problems)
        self.keys(node, "a repeat", ("repeat", "steps"), ("index",))
        if len(self.problems) > before:
            raise SpecError([])
        index = None
        node_index = node.get("index")
        if node_index is not None:
            text = self.text(node_index, "index")
            index = text.text
            if not _NAME.fullmatch(index) or index in OPS or index in WORDS or index in STEP_WORDS:
                self.add(f"{quote(index)} cannot be a name", text.place, "a name")
            if index in indices:
                self.add(f"index {quote(index)} shadows the index of an outer repeat", text.place, "another name")
        steps_node = node.get("steps")
        assert steps_node is not None
        steps = self.steps(steps_node, "steps", (*indices, index) if index else indices)
        used = index is not None and any(n.id == index for e in expressions(steps) for n in e.names())
        return RepeatStep(parse(self.text(node.get("repeat"), "repeat")), index, used, steps, place)

    def init(self, top: Fields) -> tuple[InitRule, ...]:
        node = top.get("init")
        if node is None:
            return ()
        if not isinstance(node, Fields):
            self.add(f"init is {kind(node)}", node.place, "ops, each with a method")
            return ()
        rules = []
        for op, (key, value) in node.entries.items():
            with self.collect():
                rules.append(self.init_rule(op, key, self.text(value, op)))
        return tuple(rules)

    def init_rule(self, op: str, key: Text, text: Text) -> InitRule:
        if op not in OPS:
            raise SpecError([Problem(f"unknown op {quote(op)}", key.place, ", ".join(OPS), nearest(op, OPS))])
        call = parse_call(text)
        if call.name not in INIT_METHODS:
            near = nearest(call.name, INIT_METHODS)
            raise SpecError(
                [Problem(f"unknown initialisation {quote(call.name)}", call.place, ", ".join(INIT_METHODS), near)]
            )
        required, optional = INIT_METHODS[call.name]
        arguments: dict[str, Value | str] = {}
        for argument in call.arguments:
            name = argument.keyword
            if name is None or name not in (*required, *optional):
                found = argument.value.text if name is None else quote(name)
                expected = ", ".join((*required, *optional)) or "no arguments"
                near = nearest(name, (*required, *optional)) if name else None
                raise SpecError([Problem(f"{call.name} has no argument {found}", argument.place, expected, near)])
            words = INIT_WORDS.get(name)
            if words is None:
                value = literal(Text(argument.value.text, argument.place))
                if isinstance(value, bool | tuple):
                    raise SpecError([Problem(f"{name} is {argument.value.text}", argument.place, "a number")])
                arguments[name] = value
            elif argument.value.text in words:
                arguments[name] = argument.value.text
            else:
                problem = Problem(f"{name} is {argument.value.text}", argument.place, " or ".join(words))
                raise SpecError([problem])
        for name in required:
            if name not in arguments:
                raise SpecError([Problem(f"{call.name} without its argument {quote(name)}", call.place)])
        return InitRule(op, call.name, arguments, key.place)

    def arch(self, family: str, key: Text, node: Node) -> ArchEntry:
        if not _NAME.fullmatch(key.text):
            self.add(f"{quote(key.text)} cannot be the name of an arch", key.place, "letters, digits, _")
        if not isinstance(node, Fields):
            raise SpecError([Problem(f"arch {key.text} is {kind(node)}", node.place, "build: and a call of the family")])
        before = len(self.problems)
        self.keys(node, f"arch {key.text}", ("build",), ("input", "reference", "contract", "published", "source"))
        contract = self.contracts(node)
        published = self.published(node)
        reference, size = None, None
        with self.collect():
            if "reference" in node:
                text = self.text(node.get("reference"), "reference")
                name, arguments, expr = dotted_call(text)
                reference = Reference(name, arguments, expr.place)
        with self.collect():
            if "input" in node:
                size = self.input(node)
        source = self.prose(node, "source")
        if "build" not in node:
            raise SpecError(self.problems[before:])
        call = parse_call(self.text(node.get("build"), "build"))
        if call.name != family and family:
            message = f"arch {key.text} builds {quote(call.name)}"
            raise SpecError([Problem(message, call.place, f"the family of this file, {family}(...)")])
        return ArchEntry(key.text, call, size, reference, contract, published, source, key.place)

    def contracts(self, arch: Fields) -> tuple[Contract, ...]:
        node = arch.get("contract")
        if node is None:
            return ()
        if not isinstance(node, Fields):
            self.add(f"contract is {kind(node)}", node.place, "step names, each with what holds of it")
            return ()
        found = []
        for step, (key, value) in node.entries.items():
            with self.collect():
                found.append(self.contract(step, key, value))
        return tuple(found)

    def contract(self, step: str, key: Text, node: Node) -> Contract:
        if not isinstance(node, Fields) or not node.entries:
            raise SpecError([Problem(f"contract of {step} is {kind(node)}", node.place, ", ".join(CONTRACT_KEYS))])
        self.keys(node, f"the contract of {step}", (), CONTRACT_KEYS)
        places = {name: value.place for name, (_, value) in node.entries.items()}
        shape: tuple[int | None, ...] | None = None
        numbers: dict[str, int] = {}
        receptive_field = None
        with self.collect():
            if "shape" in node:
                terms = self.shape_terms(self.text(node.get("shape"), "shape"))
                shape = tuple(None if term is None else _integer(term.source) for term in terms)
        for name in ("params", "macs"):
            with self.collect():
                if name in node:
                    numbers[name] = _integer(self.text(node.get(name), name))
        with self.collect():
            if "receptive_field" in node:
                receptive_field = parse_field(self.text(node.get("receptive_field"), "receptive_field"))
        return Contract(step, shape, numbers.get("params"), numbers.get("macs"), receptive_field, key.place, places)

    def published(self, arch: Fields) -> tuple[Published, ...]:
        node = arch.get("published")
        if node is None:
            return ()
        if not isinstance(node, Items):
            self.add(f"published is {kind(node)}", node.place, "a list of metrics, each with its source:")
            return ()
        found = []
        for item in node.items:
            with self.collect():
                found.append(self.published_number(item))
        return tuple(found)

    def published_number(self, node: Node) -> Published:
        if not isinstance(node, Fields):
            raise SpecError([Problem(f"a published number is {kind(node)}", node.place, "a metric and its source:")])
        extra = ("source", "within", "verdict", "note")
        metrics = [name for name in node.entries if name not in extra]
        known = [name for name in metrics if name in METRICS]
        for name in metrics:
            if name not in METRICS:
                near = nearest(name, METRICS)
                self.add(f"unknown metric {quote(name)}", node.key(name).place, ", ".join(METRICS), near)
        if len(known) > 1:
            self.add("two metrics in one entry", node.key(known[1]).place, "an entry for each")
        if "source" not in node:
            what = known[0] if known else "number"
            self.add(f"a published {what} without a source", node.place, "source: and where it is printed")
        if not metrics:
            self.add("a published entry without a metric", node.place, ", ".join(METRICS))
        if len(metrics) != 1 or not known:
            raise SpecError([])
        metric = known[0]
        value = self.text(node.get(metric), metric)
        printed = value.text.strip()
        if metric == "receptive_field" and "/" in printed:
            parse_field(value)
        elif not re.fullmatch(r"\d[\d_,]*(\.\d+)?", printed):
            raise SpecError([Problem(f"{metric} is {quote(printed)}", value.place, "a decimal number, as printed")])
        within, verdict = None, None
        if "within" in node:
            text = self.text(node.get("within"), "within")
            match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text.text)
            if not match:
                raise SpecError([Problem(f"within is {quote(text.text)}", text.place, "a percentage, as in 2%")])
            within = Decimal(match.group(1))
        if "verdict" in node:
            text = self.text(node.get("verdict"), "verdict")
            verdict = text.text
            if verdict not in VERDICTS:
                near = nearest(verdict, VERDICTS)
                raise SpecError([Problem(f"unknown verdict {quote(verdict)}", text.place, " or ".join(VERDICTS), near)])
            if within is not None:
                raise SpecError([Problem("both a verdict and within", text.place, "one of them")])
        return Published(
            metric, printed, self.prose(node, "source"), within, verdict, self.prose(node, "note"), value.place
        )


def parse_input(text: Text) -> tuple[int, ...]:
    """`3 224 224`: channels, rows, columns. Raises: SpecError."""
    terms = re.findall(r"\S+", text.text)
    if not all(re.fullmatch(r"[1-9]\d{0,6}", t) for t in terms) or len(terms) not in (1, 3):
        raise SpecError([Problem(f"input is {quote(text.text)}", text.place, "channels rows columns, as in 3 224 224")])
    return tuple(map(int, terms))


def parse_field(text: Text) -> Field:
    """`267/16/133`, or rows and columns `3/1/1 5/1/2`. Raises: SpecError."""
    parts = text.text.split()
    if len(parts) not in (1, 2) or not all(re.fullmatch(r"\d{1,9}/\d{1,9}/-?\d{1,9}", p) for p in parts):
        expected = "size/stride/padding, as in 427/32/213, or rows and columns 3/1/1 5/1/2"
        raise SpecError([Problem(f"receptive_field is {quote(text.text)}", text.place, expected)])
    axes = []
    for part in parts:
        size, stride, padding = map(int, part.split("/"))
        axes.append((size, stride, padding))
    return Field(axes[0], axes[-1])


def walk(steps: Steps) -> Iterator[Step]:
    """Every step, those within others included, in the order of the file."""
    for step in steps:
        yield step
        match step:
            case GroupStep() | RepeatStep():
                yield from walk(step.steps)
            case JoinStep():
                for _, branch in step.branches:
                    yield from walk(branch)
            case IfStep():
                yield from walk(step.then)
                yield from walk(step.otherwise)


def expressions(steps: Steps) -> Iterator[Expr]:
    """Every expression of these steps but those in names."""
    for step in walk(steps):
        match step:
            case CallStep():
                yield from (argument.value for argument in step.call.arguments)
            case ShapeStep():
                yield from (term for term in step.terms if term is not None)
            case RepeatStep():
                yield step.times
            case IfStep():
                yield step.condition


def _not_flow(text: Text) -> Text:
    if text.text.startswith("["):
        raise SpecError([Problem("flow style '[...]' around calls: write one step a line", text.place, "block style")])
    return text


def _integer(text: Text) -> int:
    value = literal(text)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SpecError([Problem(f"{quote(text.text)} is not a whole number", text.place, "an integer")])
    return value


def _position(problem: Problem) -> tuple[int, int]:
    return (problem.place.line, problem.place.column) if problem.place else (0, 0)


Finder = Callable[[str], Block | None]
