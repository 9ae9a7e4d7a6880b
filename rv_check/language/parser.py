"""A spec file as a definition: a family with its archs, or a block. Syntax only; what it means is `archs.expand`'s.

Everything keeps its place. All errors of a file are collected before one is raised.
"""

from __future__ import annotations

import ast
from pathlib import Path

from rv_check.errors import Enough, Problem, SpecError, in_order, spec_error
from rv_check.language.bench import read_bench
from rv_check.language.contracts import read_budgets, read_properties
from rv_check.language.definitions import Block, Family, Term
from rv_check.language.entries import read_archs
from rv_check.language.expressions import Expr, parse, parse_call
from rv_check.language.initialisation import read_init
from rv_check.language.notations import LETTER, SHAPE_FORM, UNREADABLE, parse_shape, words_of
from rv_check.language.reading import SpecReader, text_of
from rv_check.language.steps import read_body
from rv_check.language.yaml_nodes import Fields, Text, kind, read_all
from rv_check.ops.op import OPS
from rv_check.text import nearest, quote

SIGNATURE_FORM = "a name with its arguments, as in basic(width, stride=1)"


def load_file(path: Path) -> tuple[Family | Block | None, list[Problem]]:
    """The definition in a spec file, and all that is wrong with how it is written.

    What is wrong is left out of the definition; where not even its arguments can be told, there is none.
    """
    try:
        top, problems = read_all(path, "family: or block:")
    except SpecError as error:
        return None, error.problems
    parser = _Parser(top, path)
    definition = None
    try:
        with parser.collect():
            definition = parser.definition()
    except Enough:
        pass
    said = {problem.place for problem in problems}
    definition = definition if parser.has_signature else None
    return definition, in_order([*problems, *(problem for problem in parser.problems if problem.place not in said)])


class _Parser(SpecReader):
    """Reads a whole file: what families and blocks have in common, and which parts each of them has."""

    def __init__(self, top: Fields, path: Path):
        super().__init__()
        self.top = top
        self.path = path
        self.has_signature = True  # without it no name can be told from an unknown one

    def definition(self) -> Family | Block:
        if "family" in self.top and "block" in self.top:
            raise spec_error("a file is a family or a block, not both", self.top.key("block").place, "one of them")
        if "family" in self.top:
            return self.family()
        if "block" in self.top:
            return self.block()
        near = next(filter(None, (nearest(key, ("family", "block")) for key in self.top.entries)), None)
        raise spec_error("neither a family nor a block", self.top.place, "family: or block:", near)

    def family(self) -> Family:
        top = self.top
        self.keys(top, "a family", ("family", "input", "body", "archs"), ("source", "let", "init", "bench"))
        name, arguments = self.signature("family")
        size = self.input(top) or ()
        return Family(
            name=name,
            arguments=arguments,
            let=self.let(),
            body=read_body(self, top),
            source=self.prose(top, "source"),
            path=self.path,
            place=top.key("family").place,
            declared=self.declared,
            input=size,
            init=read_init(self, top),
            archs=read_archs(self, top, name),
            bench=read_bench(self, top),
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
        inputs = self.terms("in")
        for term in inputs:
            if term.letter is not None and self.scope.get(term.letter) != "a letter of in:":
                self.declare(term.letter, term.place, "a letter of in:")
        return Block(
            name=name,
            arguments=arguments,
            inputs=inputs,
            outputs=self.terms("out"),
            let=self.let(),
            body=read_body(self, top),
            source=self.prose(top, "source"),
            path=self.path,
            place=place,
            declared=self.declared,
            inline=self.inline(),
            budgets=read_budgets(self, top),
            properties=read_properties(self, top),
        )

    def signature(self, key: str) -> tuple[str, dict[str, Expr | None]]:
        """The name and the arguments of `name(argument, argument=default)`."""
        arguments: dict[str, Expr | None] = {}
        name, before = "", len(self.problems)
        with self.collect():
            call = parse_call(text_of(self.top.get(key), key, SIGNATURE_FORM), "a signature", SIGNATURE_FORM)
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

    def let(self) -> tuple[tuple[str, Expr], ...]:
        found = []
        for name, (key, value) in self.mapping(self.top, "let", "names, each with an expression").items():
            expr = UNREADABLE  # what is wrong with it is said once: the name stays known
            is_free = self.declare(name, key.place, "a let")
            with self.collect():
                expr = parse(text_of(value, f"let {name}", "an expression"))
            if is_free:
                found.append((name, expr))
        return tuple(found)

    def terms(self, key: str) -> tuple[Term, ...]:
        """The terms of `in:` or `out:`. A single capital letter in `in:` is bound by the block's input."""
        node = self.top.get(key)
        if node is None:
            return ()
        found: list[Term] = []
        with self.collect():
            line = text_of(node, key, SHAPE_FORM)
            words = words_of(line)
            if key == "in":  # the letters first: what is wrong with another term is no reason not to know them
                found = [Term(word.text, None, word.place) for word in words if LETTER.fullmatch(word.text)]
            terms = parse_shape(line, key)
            found = [
                Term(word.text, None, word.place)
                if key == "in" and LETTER.fullmatch(word.text)
                else Term(None, term, word.place)
                for word, term in zip(words, terms, strict=True)
            ]
        return tuple(found)

    def inline(self) -> bool:
        node = self.top.get("inline")
        if node is None:
            return False
        if not isinstance(node, Text) or node.text not in ("true", "false"):
            self.add(f"inline is {kind(node)}", node.place, "true or false")
            return False
        return node.text == "true"
