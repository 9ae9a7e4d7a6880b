"""A spec file as a definition: a family with its archs, or a block. Syntax only; what it means is `archs.expand`'s.

Everything keeps its place. All errors of a file are collected before one is raised.
"""

from __future__ import annotations

import ast
import re
from decimal import Decimal
from pathlib import Path

from rv_check.errors import Collector, Document, Enough, Place, Problem, SpecError, in_order
from rv_check.language.definitions import (
    Allowed,
    ArchEntry,
    BenchEntry,
    Block,
    CallStep,
    Contract,
    Family,
    Field,
    GroupStep,
    IfStep,
    InitRule,
    JoinStep,
    Name,
    NoneStep,
    Published,
    Reference,
    RepeatStep,
    ShapeStep,
    Step,
    Steps,
    Term,
    per_round,
)
from rv_check.language.expressions import WORDS, Call, Expr, Scope, dotted_call, literal, parse, parse_call
from rv_check.language.vocabulary import (
    BENCH_AXES,
    BUDGETS,
    CONTRACT_KEYS,
    CUDA_ONLY,
    INIT_METHODS,
    INIT_OPS,
    INIT_WORDS,
    JOINS,
    MAX_NAME,
    METRICS,
    OUT_OF_SCOPE,
    PROPERTIES,
    PROVIDERS,
    STEP_WORDS,
    VERDICTS,
    WHOLE_METRICS,
)
from rv_check.language.yaml_nodes import Fields, Items, Node, Text, kind, read_all
from rv_check.ops.op import OPS
from rv_check.text import listed, nearest, quote
from rv_check.values import Value, show

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LETTER = re.compile(r"[A-Z]")


def load_file(path: Path) -> tuple[Family | Block | None, list[Problem]]:
    """The definition in a spec file, and all that is wrong with how it is written.

    What is wrong is left out of the definition; where not even its arguments can be told, there is none.
    """
    try:
        top, problems = read_all(path, "family: or block:")
    except SpecError as error:
        return None, error.problems
    file = _File(top, path)
    definition = None
    try:
        with file.collect():
            definition = file.definition()
    except Enough:
        pass
    said = {problem.place for problem in problems}
    definition = definition if file.has_signature else None
    return definition, in_order([*problems, *(problem for problem in file.problems if problem.place not in said)])


class _File(Collector):
    """Parses one file, collecting problems."""

    def __init__(self, top: Fields, path: Path):
        super().__init__()
        self.top = top
        self.path = path
        self.has_signature = True  # without it no name can be told from an unknown one
        self.scope: dict[str, str] = {}  # what each name is, where the parser stands
        self.declared: dict[str, Place] = {}  # where each name is first declared

    def definition(self) -> Family | Block:
        if "family" in self.top and "block" in self.top:
            raise _error("a file is a family or a block, not both", self.top.key("block").place, "one of them")
        if "family" in self.top:
            return self.family()
        if "block" in self.top:
            return self.block()
        near = next(filter(None, (nearest(key, ("family", "block")) for key in self.top.entries)), None)
        raise _error("neither a family nor a block", self.top.place, "family: or block:", near)

    # The two kinds of file

    def family(self) -> Family:
        top = self.top
        self.keys(top, "a family", ("family", "input", "body", "archs"), ("source", "let", "init", "bench"))
        name, arguments = self.signature("family")
        size: tuple[int, ...] = ()
        with self.collect():
            size = self.input(top) or ()
        return Family(
            name=name,
            arguments=arguments,
            let=self.let(top),
            body=self.body(top),
            source=self.prose(top, "source"),
            path=self.path,
            place=top.key("family").place,
            declared=self.declared,
            input=size,
            init=self.init(top),
            archs=self.archs(top, name),
            bench=self.bench(top),
        )

    def block(self) -> Block:
        top = self.top
        if "body" not in top and ("budgets" in top or "properties" in top):
            self.keys(top, "a contract", ("block", "in", "out"), ("source", "let", "budgets", "properties"))
        else:
            self.keys(top, "a block", ("block", "in", "body"), ("source", "out", "let", "inline"))
        name, arguments = self.signature("block")
        place = top.key("block").place
        if name != self.path.stem and name:
            self.add(f"block {quote(name)} in a file named {quote(self.path.name)}", place, f"{name}.yaml")
        if name in OPS:
            self.add(f"{quote(name)} is an op", place, "another name")
        inputs = self.terms(top, "in")
        for term in inputs:
            if term.letter is not None and self.scope.get(term.letter) != "a letter of in:":
                self.declare(term.letter, term.place, "a letter of in:")
        return Block(
            name=name,
            arguments=arguments,
            inputs=inputs,
            outputs=self.terms(top, "out"),
            let=self.let(top),
            body=self.body(top),
            source=self.prose(top, "source"),
            path=self.path,
            place=place,
            declared=self.declared,
            inline=self.inline(top),
            budgets=self.budgets(top),
            properties=self.properties(top),
        )

    # Their parts

    def keys(self, node: Fields, what: str, required: tuple[str, ...], optional: tuple[str, ...]) -> None:
        """Report keys that are not known and those that are missing."""
        known = (*required, *optional)
        missing = [key for key in required if key not in node]
        for name, (key, _) in node.entries.items():
            if name not in known:
                near = nearest(name, known)
                why = f"{OUT_OF_SCOPE[name]} are not in the language" if name in OUT_OF_SCOPE else ""
                self.add(why or f"{what} has no key {quote(name)}", key.place, ", ".join(known), near)
                missing = [key for key in missing if key != near]  # one slip of the pen is one mistake
        if missing:
            keys = listed(f"{name}:" for name in missing)
            self.add(f"{what} without {keys}", node.place, keys)

    def text(self, node: Node | None, what: str, expected: str = "text") -> Text:
        if isinstance(node, Text) and node.text.strip():
            return node
        assert node is not None
        raise _error(f"{what} is {kind(node)}", node.place, expected)

    def prose(self, node: Fields, key: str) -> str:
        """Words for a reader; nothing where the key is missing."""
        words: list[str] = []
        with self.collect():
            if key in node:
                words = self.text(node.get(key), key).text.split()
        return " ".join(words)

    def declare(self, name: str, place: Place, what: str) -> bool:
        """Take a name into the scope, if it can be one. It means one thing in a file."""
        if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
            self.add(f"{quote(name)} cannot be a name", place, f"letters, digits and _, at most {MAX_NAME}")
        elif name in OPS or name in WORDS or name in STEP_WORDS:
            self.add(f"{quote(name)} is a word of the language", place, "another name")
        elif name in self.scope:
            self.add(f"{quote(name)} is {self.scope[name]} already", place, "another name")
        else:
            self.scope[name] = what
            self.declared.setdefault(name, place)
            return True
        return False

    def signature(self, key: str) -> tuple[str, dict[str, Expr | None]]:
        """`name(argument, argument=default)`."""
        arguments: dict[str, Expr | None] = {}
        name, before = "", len(self.problems)
        with self.collect():
            call = parse_call(self.text(self.top.get(key), key, SIGNATURE), "a signature", SIGNATURE)
            name = call.name
            for argument in call.arguments:
                default = argument.value
                if argument.keyword is None and not isinstance(default.node, ast.Name):
                    self.add(f"argument {default.text} is not a name", argument.place, "NAME, or NAME=default")
                    continue
                self.declare(argument.keyword or default.text, argument.place, "an argument")
                arguments[argument.keyword or default.text] = default if argument.keyword else None
        self.has_signature = len(self.problems) == before
        return name, arguments

    def input(self, node: Fields) -> tuple[int, ...] | None:
        """`input: 3 224 224`."""
        value = node.get("input")
        return None if value is None else parse_input(self.text(value, "input", INPUT))

    def let(self, top: Fields) -> tuple[tuple[str, Expr], ...]:
        found = []
        for name, (key, value) in self.mapping(top, "let", "names, each with an expression").items():
            expr = UNREADABLE  # what is wrong with it is said once: the name stays known
            is_free = self.declare(name, key.place, "a let")
            with self.collect():
                expr = parse(self.text(value, f"let {name}", "an expression"))
            if is_free:
                found.append((name, expr))
        return tuple(found)

    def mapping(self, node: Fields, key: str, expected: str) -> dict[str, tuple[Text, Node]]:
        """The entries of the mapping at `key`, which may be missing."""
        value = node.get(key)
        if value is None:
            return {}
        if isinstance(value, Fields) and value.entries:
            return value.entries
        self.add(f"{key} is {kind(value)}", value.place, expected)
        return {}

    def terms(self, top: Fields, key: str) -> tuple[Term, ...]:
        """The terms of `in:` or `out:`. A single capital letter in `in:` is bound by the block's input."""
        node = top.get(key)
        if node is None:
            return ()
        found: list[Term] = []
        with self.collect():
            line = self.text(node, key, SHAPE)
            words = _words(line)
            if key == "in":  # the letters first: what is wrong with another term is no reason not to know them
                found = [Term(word.text, None, word.place) for word in words if _LETTER.fullmatch(word.text)]
            terms = self.shape_terms(line, key)
            found = [
                Term(word.text, None, word.place)
                if key == "in" and _LETTER.fullmatch(word.text)
                else Term(None, term, word.place)
                for word, term in zip(words, terms, strict=True)
            ]
        return tuple(found)

    def shape_terms(self, line: Text, what: str) -> tuple[Expr | None, ...]:
        """The terms of a shape, None for `_`. Raises: SpecError for the first that is none: with spaces in it, the
        others are only its rest."""
        if line.text.startswith("["):
            raise _error(f"{what} is {_found(line)}", line.place, SHAPE)
        words = _words(line)
        terms = tuple(None if word.text == "_" else parse(word, f"a term of {what}", SHAPE) for word in words)
        if len(terms) not in (1, 3):
            raise _error(f"{what} has {len(terms)} terms", line.place, SHAPE)
        return terms

    def inline(self, top: Fields) -> bool:
        node = top.get("inline")
        if node is None:
            return False
        if not isinstance(node, Text) or node.text not in ("true", "false"):
            self.add(f"inline is {kind(node)}", node.place, "true or false")
            return False
        return node.text == "true"

    # Contracts without a body

    def budgets(self, top: Fields) -> tuple[Allowed, ...]:
        """What a block may cost, by metric."""
        if "budgets" in top and "body" in top:
            return ()  # said already
        found = []
        for metric, (key, node) in self.mapping(top, "budgets", f"{', '.join(BUDGETS)}, each with a limit").items():
            with self.collect():
                if metric not in BUDGETS:
                    near = nearest(metric.replace("flop", "mac"), BUDGETS)
                    raise _error(f"unknown budget {quote(metric)}", key.place, ", ".join(BUDGETS), near)
                found.append(self.allowed(metric, self.text(node, f"the budget {metric}", BUDGET)))
        return tuple(found)

    def allowed(self, metric: str, line: Text) -> Allowed:
        match = re.fullmatch(r"(at most|at least|exactly|within (\d{1,3}(?:\.\d{1,9})?)\s*% of) +(.+)", line.text)
        if match is None:
            raise _error(f"the budget {metric} is {quote(line.text)}", line.place, BUDGET)
        of = Text(match[3], line.at(match.start(3)), line.exact)
        number, block = None, None
        if match[3][0].isdigit():
            number = _whole(of)
        else:
            block = parse_call(of, "a block", "the name of a block, as in bottleneck or bottleneck(width=out/4)")
        percent = Decimal(match[2]) if match[2] else None
        relation = "within" if percent is not None else match[1]
        return Allowed(metric, relation, percent, number, block, line.text, of.place)

    def properties(self, top: Fields) -> tuple[str, ...]:
        """The names of properties, one a line."""
        node = top.get("properties")
        if node is None or "body" in top:
            return ()
        if not isinstance(node, Items) or not node.items:
            self.add(f"properties is {_found(node)}", node.place, f"a list of names, one a line: {listed(PROPERTIES)}")
            return ()
        found: list[str] = []
        for item in node.items:
            with self.collect():
                text = self.text(item, "a property", listed(PROPERTIES))
                if text.text not in PROPERTIES:
                    near = nearest(text.text, PROPERTIES)
                    raise _error(f"unknown property {quote(text.text)}", text.place, listed(PROPERTIES), near)
                if text.text in found:
                    raise _error(f"{quote(text.text)} stands here already", text.place, "each property once")
                found.append(text.text)
        return tuple(found)

    # Steps

    def body(self, top: Fields) -> Steps:
        node = top.get("body")
        return () if node is None else self.steps(node, "body")

    def steps(self, node: Node, what: str) -> Steps:
        """A list of steps."""
        if not isinstance(node, Items):
            self.add(f"{what} is {_found(node)}", node.place, STEPS)
            return ()
        steps = []
        for item in node.items:
            with self.collect():
                steps.append(self.step(item))
        return tuple(steps)

    def step(self, node: Node) -> Step:
        if isinstance(node, Text):
            if node.text in ("identity", "none"):
                raise _error(f"{node.text} is a whole branch, not a step", node.place, f"LABEL: {node.text}")
            if node.text in STEP_WORDS:
                raise _error(f"{quote(node.text)} stands alone", node.place, f"{node.text}: and what it takes")
            return CallStep(None, self.call(node, "a step"), node.place)
        if isinstance(node, Items) or not node.entries:
            raise _error(f"a step is {kind(node)}", node.place, "a call, or a name with a call or a list of steps")
        if "repeat" in node:
            return self.repeat(node)
        if "if" in node:
            return self.condition(node, in_branch=False)
        first, (key, value) = next(iter(node.entries.items()))
        if len(node.entries) > 1:
            second = list(node.entries.values())[1][0]
            expected = "a dash before each step, and what is in a step indented below its name"
            raise _error(f"the step {quote(first)} has a second key {quote(second.text)}", second.place, expected)
        if first == "shape":
            line = self.text(value, "shape", SHAPE)
            return ShapeStep(self.shape_terms(line, "shape"), line.place)
        if first in JOINS:
            return self.join(first, key, value)
        name = self.name(key)
        if isinstance(value, Items):
            return GroupStep(name, self.steps(value, first), key.place)
        return CallStep(name, self.call(value, f"step {quote(first)}"), key.place)

    def call(self, node: Node, what: str) -> Call:
        """A call of an op or a block."""
        if not isinstance(node, Text) or not node.text.strip() or node.text.startswith("["):
            raise _error(f"{what} is {_found(node)}", node.place, "a call, or a list of steps, one a line")
        return parse_call(node)

    def name(self, key: Text) -> Name:
        """A name; what is wrong with it is reported, and its step read all the same."""
        parts: tuple[str | Expr, ...] = ()
        with self.collect():
            parts = _name_parts(key)
        return Name(parts, key.text, key.place)

    def join(self, kind_: str, key: Text, value: Node) -> JoinStep:
        if not isinstance(value, Fields):
            expected = "labelled branches, as in main: and skip: (steps that stand elsewhere cannot be joined)"
            raise _error(f"{kind_} is {_found(value)}", value.place, expected)
        if len(value.entries) < 2:
            raise _error(f"{kind_} of {len(value.entries)} branch", key.place, "two branches or more")
        branches = []
        for label, (label_key, node) in value.entries.items():
            if not _NAME.fullmatch(label) or label in STEP_WORDS:
                expected = "letters, digits and _, no word of the language"
                self.add(f"{quote(label)} cannot label a branch", label_key.place, expected)
            with self.collect():
                branches.append((label, self.branch(node, f"branch {quote(label)}")))
        return JoinStep(kind_, tuple(branches), key.place)

    def branch(self, node: Node, what: str, in_branch: bool = True) -> Steps:
        """A list of steps, `identity`, `none` (of a branch only), or one `if` whose arms are such."""
        if isinstance(node, Text) and node.text == "identity":
            return ()
        if isinstance(node, Text) and node.text == "none":
            if not in_branch:
                raise _error("none stands for a branch, and this is no branch", node.place, "identity")
            return (NoneStep(node.place),)
        if isinstance(node, Fields) and "if" in node:
            return (self.condition(node, in_branch),)
        if not isinstance(node, Items):
            none = ", none" if in_branch else ""
            raise _error(f"{what} is {_found(node)}", node.place, f"a list of steps, identity{none}, or if:")
        return self.steps(node, what)

    def condition(self, node: Fields, in_branch: bool) -> IfStep:
        """`if:` with `then:` and `else:`; in a branch both are needed."""
        required = ("if", "then", "else") if in_branch else ("if", "then")
        self.keys(node, "an if in a branch" if in_branch else "an if", required, () if in_branch else ("else",))
        arms: list[Steps] = []
        for key in ("then", "else"):
            arms.append(())
            arm = node.get(key)
            if arm is not None:
                with self.collect():
                    arms[-1] = self.branch(arm, key, in_branch)
        condition = parse(self.text(node.get("if"), "if", "a comparison, or an argument that is True or False"))
        return IfStep(condition, arms[0], arms[1], node.key("if").place)

    def repeat(self, node: Fields) -> RepeatStep:
        """`repeat:` with `steps:`, and `index:` for a name that counts the rounds from 0."""
        self.keys(node, "a repeat", ("repeat", "steps"), ("index",))
        outside = dict(self.scope)
        index = None
        with self.collect():
            if "index" in node:
                text = self.text(node.get("index"), "index", "a name")
                index = text.text if self.declare(text.text, text.place, "an index") else None
        body = node.get("steps")
        steps = self.steps(body, "steps") if body is not None else ()
        self.scope = outside
        used = any(name.id == index for expr in per_round(steps) for name in expr.names())
        times = parse(self.text(node.get("repeat"), "repeat", "a number of rounds"))
        return RepeatStep(times, index, used, steps, node.key("repeat").place)

    # The initialisation

    def init(self, top: Fields) -> tuple[InitRule, ...]:
        rules = []
        for op, (key, value) in self.mapping(top, "init", "ops, each with a method").items():
            with self.collect():
                rules.append(self.init_rule(op, key, self.text(value, f"init of {op}", listed(INIT_METHODS))))
        return tuple(rules)

    def init_rule(self, op: str, key: Text, text: Text) -> InitRule:
        if op not in INIT_OPS:
            what = "has nothing to initialise" if op in OPS else "is no op"
            raise _error(f"{quote(op)} {what}", key.place, ", ".join(INIT_OPS), nearest(op, INIT_OPS))
        call = parse_call(text)
        if call.name not in INIT_METHODS:
            near = nearest(call.name, INIT_METHODS)
            raise _error(f"unknown initialisation {quote(call.name)}", call.place, ", ".join(INIT_METHODS), near)
        if call.name == "kaiming_normal" and not OPS[op].kind.weighted:
            raise _error(f"kaiming_normal needs a matrix, and {op} has none", call.place, "constant, normal or default")
        required, optional = INIT_METHODS[call.name]
        known = (*required, *optional)
        arguments: dict[str, Value | str] = {}
        for argument in call.arguments:
            name = argument.keyword
            if name is None:
                found = f"an argument of {call.name} without a name"
                raise _error(found, argument.place, listed((f"{n}=..." for n in known), none="no arguments"))
            if name not in known:
                found = f"{call.name} has no argument {quote(name)}"
                raise _error(found, argument.place, listed(known, none="no arguments"), nearest(name, known))
            arguments[name] = _init_value(name, argument.value)
        missing = [name for name in required if name not in arguments]
        if missing:
            found = f"{call.name} without its argument{'s' * (len(missing) > 1)} {listed(map(quote, missing))}"
            raise _error(found, call.place, ", ".join(known))
        return InitRule(op, call.name, arguments, key.place)

    # Archs

    def archs(self, top: Fields, family: str) -> dict[str, ArchEntry]:
        found = {}
        for name, (key, node) in self.mapping(top, "archs", "an entry for each arch, with build:").items():
            with self.collect():
                entry = self.arch(family, key, node)
                if entry is not None:
                    found[name] = entry
        return found

    def arch(self, family: str, key: Text, node: Node) -> ArchEntry | None:
        if not _NAME.fullmatch(key.text) or len(key.text) > MAX_NAME:
            expected = f"letters, digits and _, at most {MAX_NAME}"
            self.add(f"{quote(key.text)} cannot be the name of an arch", key.place, expected)
        what = f"arch {quote(key.text)}"
        if not isinstance(node, Fields):
            raise _error(f"{what} is {kind(node)}", node.place, f"build: {family or 'FAMILY'}(...)")
        self.keys(node, what, ("build",), ("input", "reference", "contract", "published", "source"))
        size, reference, build = None, None, None
        with self.collect():
            if "build" in node:
                build = self.build(node, family, what)
        with self.collect():
            size = self.input(node)
        with self.collect():
            reference = self.reference(node)
        contract = self.contracts(node)
        published = self.published(node)
        source = self.prose(node, "source")
        if build is None:
            return None  # said already
        return ArchEntry(key.text, build, size, reference, contract, published, source, key.place)

    def build(self, arch: Fields, family: str, what: str) -> Call:
        expected = f"{family}(...), the family of this file"
        call = parse_call(self.text(arch.get("build"), "build", expected))
        if call.name != family and family:
            raise _error(f"{what} builds {quote(call.name)}", call.place, expected)
        return call

    def reference(self, arch: Fields) -> Reference | None:
        """A registered provider and one of its builders, with arguments by name."""
        if "reference" not in arch:
            return None
        expected = listed(f"{provider}.BUILDER" for provider in PROVIDERS)
        text = self.text(arch.get("reference"), "reference", expected)
        name = text.text.partition("(")[0]
        provider = name.rpartition(".")[0]
        if provider not in PROVIDERS:
            near = nearest(provider, PROVIDERS)
            raise _error(f"{quote(name)} has no registered provider", text.place, expected, near)
        name, arguments, _ = dotted_call(text, "a builder", expected)
        for argument in arguments:
            if argument.keyword is None:
                raise _error("an argument of a reference without a name", argument.place, f"NAME={argument.value.text}")
        return Reference(name, arguments, text.place)

    def contracts(self, arch: Fields) -> tuple[Contract, ...]:
        found = []
        for step, (key, value) in self.mapping(arch, "contract", "step names, each with what holds of it").items():
            with self.collect():
                found.append(self.contract(step, key, value))
        return tuple(found)

    def contract(self, step: str, key: Text, node: Node) -> Contract:
        what = f"the contract of {step}"
        if not isinstance(node, Fields) or not node.entries:
            raise _error(f"{what} is {kind(node)}", node.place, ", ".join(f"{k}:" for k in CONTRACT_KEYS))
        self.keys(node, what, (), CONTRACT_KEYS)
        places = {name: value.place for name, (_, value) in node.entries.items()}
        shape: tuple[int | None, ...] | None = None
        numbers: dict[str, int] = {}
        receptive_field = None
        with self.collect():
            if "shape" in node:
                terms = self.shape_terms(self.text(node.get("shape"), "shape", SHAPE), "shape")
                shape = tuple(None if term is None else _whole(term.source) for term in terms)
        for name in ("params", "macs"):
            with self.collect():
                if name in node:
                    numbers[name] = _whole(self.text(node.get(name), name, "a whole number"))
        with self.collect():
            if "receptive_field" in node:
                receptive_field = parse_field(self.text(node.get("receptive_field"), "receptive_field", FIELD))
        return Contract(step, shape, numbers.get("params"), numbers.get("macs"), receptive_field, key.place, places)

    # What is timed

    def bench(self, top: Fields) -> tuple[BenchEntry, ...]:
        node = top.get("bench")
        if node is None:
            return ()
        if not isinstance(node, Items):
            self.add(f"bench is {_found(node)}", node.place, "a list of cases, each with its arch:")
            return ()
        archs = top.get("archs")
        known = tuple(archs.entries) if isinstance(archs, Fields) else ()
        found = []
        for item in node.items:
            with self.collect():
                found.append(self.bench_entry(item, known))
        return tuple(found)

    def bench_entry(self, node: Node, archs: tuple[str, ...]) -> BenchEntry:
        if not isinstance(node, Fields):
            raise _error(f"a case of bench is {kind(node)}", node.place, "arch: and the name of one")
        self.keys(node, "a case of bench", ("arch",), (*BENCH_AXES, "batch", "input", "tolerance"))
        axes = {}
        for axis, words in BENCH_AXES.items():
            with self.collect():
                if axis in node:
                    axes[axis] = self.words(node, axis, words)
        for axis, word in CUDA_ONLY.items():
            if axes.get("device") == ("cpu",) and word in axes.get(axis, ()):
                others = listed(other for other in BENCH_AXES[axis] if other != word)
                self.add(f"{word} is of CUDA devices only", node.key(axis).place, f"on the cpu {others}")
        names: tuple[str, ...] = ()
        batches: list[int] = []
        size, tolerance = None, None
        with self.collect():
            if "arch" in node:
                names = self.words(node, "arch", archs)
        with self.collect():
            if "batch" in node:
                for size_ in _words(self.text(node.get("batch"), "batch", BATCH)):
                    if not re.fullmatch(r"[1-9]\d{0,6}", size_.text) or int(size_.text) in batches:
                        raise _error(f"batch is {quote(size_.text)}", size_.place, BATCH)
                    batches.append(int(size_.text))
        with self.collect():
            size = self.input(node)
        with self.collect():
            tolerance = self.percentage(node, "tolerance")
        return BenchEntry(names, axes, tuple(batches), size, tolerance, node.place)

    def words(self, node: Fields, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
        """Some of the known words, each once, with spaces between them."""
        found: list[str] = []
        for word in _words(self.text(node.get(key), key, listed(known))):
            if word.text not in known:
                near = nearest(word.text, known)
                raise _error(f"unknown {key} {quote(word.text)}", word.place, listed(known), near)
            if word.text in found:
                raise _error(f"{quote(word.text)} stands here already", word.place, f"each {key} once")
            found.append(word.text)
        return tuple(found)

    # Published numbers

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
                number = self.published_number(item)
                found += [number] if number is not None else []
        return tuple(found)

    def published_number(self, node: Node) -> Published | None:
        if not isinstance(node, Fields):
            raise _error(f"a published number is {kind(node)}", node.place, "METRIC: number, and its source:")
        metric = self.metric(node)
        if "source" not in node:
            what = metric or "a published number"
            self.add(f"{what} without a source", node.place, "source: and where it is printed")
        source, note = self.prose(node, "source"), self.prose(node, "note")
        within, verdict = None, None
        with self.collect():
            within = self.percentage(node, "within")
        with self.collect():
            verdict = self.verdict(node)
        if metric is None:
            return None  # said already
        text = self.text(node.get(metric), metric, "a number, as printed")
        printed = text.text.strip()
        if metric == "receptive_field" and "/" in printed:
            parse_field(text)
        elif metric in WHOLE_METRICS and not re.fullmatch(r"\d[\d_,]{0,30}", printed):
            near = f"m{metric}" if metric == "params" else f"g{metric}" if metric == "macs" else None
            raise _error(f"{metric} is {quote(printed)}", text.place, "a whole number", near)
        elif not re.fullmatch(r"\d[\d_,]{0,30}(\.\d{1,30})?", printed):
            raise _error(f"{metric} is {quote(printed)}", text.place, "a decimal number, as printed")
        return Published(metric, printed, source, within, verdict, note, text.place)

    def metric(self, node: Fields) -> str | None:
        """The one metric of an entry; what is wrong with it is reported."""
        names = [name for name in node.entries if name not in ("source", "within", "verdict", "note")]
        unknown = [name for name in names if name not in METRICS]
        for name in unknown:
            near = nearest(name.replace("flop", "mac"), METRICS)  # many call MACs flops
            self.add(f"unknown metric {quote(name)}", node.key(name).place, ", ".join(METRICS), near)
        if not names:
            self.add("a published number without its metric", node.place, ", ".join(METRICS))
        elif len(names) > 1 and not unknown:
            self.add(f"two metrics in one entry: {listed(names)}", node.key(names[1]).place, "an entry for each")
        return names[0] if len(names) == 1 and not unknown else None

    def percentage(self, node: Fields, key: str) -> Decimal | None:
        if key not in node:
            return None
        text = self.text(node.get(key), key, "a percentage, as in 2%")
        match = re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)\s*%", text.text)
        if not match:
            raise _error(f"{key} is {quote(text.text)}", text.place, "a percentage, as in 2%")
        return Decimal(match.group(1))

    def verdict(self, node: Fields) -> str | None:
        if "verdict" not in node:
            return None
        text = self.text(node.get("verdict"), "verdict", " or ".join(VERDICTS))
        if text.text not in VERDICTS:
            near = nearest(text.text, VERDICTS)
            raise _error(f"unknown verdict {quote(text.text)}", text.place, " or ".join(VERDICTS), near)
        if "within" in node:
            raise _error("both verdict: and within:", node.key("verdict").place, "one of them")
        return text.text


SIGNATURE = "a name with its arguments, as in basic(width, stride=1)"
UNREADABLE = parse(Text("0", Place(Document(Path(), ("0",)), 1, 1)))
STEPS = "a list of steps, one a line, each after a dash"
SHAPE = "1 or 3 terms without spaces in them, as in 64 _ ceil(H/2)"
BUDGET = "at most, at least, exactly or within 5% of, and a number or a block"
BATCH = "numbers of images, each once, as in 1 8 32"
INPUT = "channels rows columns, as in 3 224 224"
FIELD = "size/stride/padding, as in 427/32/213, or rows and columns 3/1/1 5/1/2"


def parse_input(text: Text) -> tuple[int, ...]:
    """`3 224 224`: channels, rows, columns. Raises: SpecError."""
    terms = text.text.split()
    if not all(re.fullmatch(r"[1-9]\d{0,6}", t) for t in terms) or len(terms) not in (1, 3):
        raise _error(f"input is {quote(text.text)}", text.place, INPUT)
    return tuple(map(int, terms))


def parse_field(text: Text) -> Field:
    """`267/16/133`, or rows and columns `3/1/1 5/1/2`. Raises: SpecError."""
    parts = text.text.split()
    if len(parts) not in (1, 2) or not all(re.fullmatch(r"\d{1,9}/\d{1,9}/-?\d{1,9}", p) for p in parts):
        raise _error(f"receptive_field is {quote(text.text)}", text.place, FIELD)
    axes = []
    for part in parts:
        size, stride, padding = map(int, part.split("/"))
        axes.append((size, stride, padding))
    return Field(axes[0], axes[-1])


def _error(message: str, place: Place, expected: str | None = None, near: str | None = None) -> SpecError:
    return SpecError([Problem(message, place, expected, near)])


def _words(line: Text) -> list[Text]:
    """The words of a line, each in its place."""
    return [Text(m.group(), line.at(m.start()), line.exact) for m in re.finditer(r"\S+", line.text)]


def _name_parts(key: Text) -> tuple[str | Expr, ...]:
    """`layer{i+1}`: text and expressions. A digit first would be the position of a step without a name."""
    if key.text in STEP_WORDS:
        raise _error(f"{quote(key.text)} is a word of the language, not a name", key.place, "another name")
    expected = f"letters, digits, _ and {{expression}}, a letter or _ first, at most {MAX_NAME}"
    if not re.match("[A-Za-z_]", key.text) or len(key.text) > MAX_NAME:
        raise _error(f"{quote(key.text)} cannot be a name", key.place, expected)
    parts: list[str | Expr] = []
    for match in re.finditer(r"\{([^{}]*)\}|([A-Za-z0-9_]+)|(.)", key.text, re.DOTALL):
        inner, plain, stray = match.groups()
        if stray is not None:
            raise _error(f"{quote(key.text)} cannot be a name", key.at(match.start()), expected)
        parts.append(plain or parse(Text(inner, key.at(match.start() + 1), key.exact)))
    return tuple(parts)


def _found(node: Node) -> str:
    """What a node is that should have been a list of steps or of branches."""
    if not isinstance(node, Text) or not node.text.startswith("["):
        return kind(node)
    return "in flow style, [...]" if node.text.strip("[] ") else "an empty list"


def _whole(text: Text) -> int:
    value = literal(text)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _error(f"{quote(text.text)} is not a whole number", text.place, "an integer of at least 0")
    return value


def _init_value(name: str, expr: Expr) -> Value | str:
    """A word of INIT_WORDS, or a number."""
    words = INIT_WORDS.get(name)
    if words is None:
        value = expr.evaluate(Scope({}))
        if isinstance(value, bool | tuple) or (name == "std" and value < 0):
            expected = "a number of at least 0" if name == "std" else "a number"
            raise _error(f"{name} is {show(value)}", expr.place, expected)
        return value
    if expr.text not in words:
        raise _error(f"{name} is {expr.text}", expr.place, " or ".join(words), nearest(expr.text, words))
    return expr.text
