"""Change the shipped specs, one thing at a time, and see which check notices.

    python -m tests.parity.mutate_specs [--family vgg] [--sample N] [--list] [--output FILE] [--jobs N]

A mutant is one change of one spec file: a number, a flag, a word, an argument, a step, a branch, a name, an operator,
a reference. Prose (`source:`, `note:`, comments) is not changed. Every mutant is written to a folder of its own and
judged there by the checks, cheapest first; the first that fails has caught it. What no check catches is a survivor, and
the exit status is 1 if there is one.

Only checks count whose expected side is not rv_check: what the file itself states in another line, printed figures that
are transcribed a second time, torchvision, torch's counter, fvcore. Snapshots of rv_check's own output do not.

A mutant is *equivalent* where every arch is provably the same network with the same claims: equal trees at two input
sizes (every op with its arguments, name, shapes and place in the structure), equal starting rules, reference, contract
and published numbers; and where the families and stages are still torchvision's at arguments that no arch has. A line
that states something (`shape:`, `in:`, `out:`) can only be equivalent by being left out or moved: if what it states is
changed, a check must notice.
"""

from __future__ import annotations

import argparse
import ast
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import pairwise
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import yaml

from rv_check.archs import load
from rv_check.archs.arch import Arch
from rv_check.archs.load import archs_of
from rv_check.archs.tree import Join, Layer, Module, Repeat, Seq, Visit, walk
from rv_check.checks.check import Check, run_check
from rv_check.checks.of_arch import ArchRun
from rv_check.checks.registry import checks_of
from rv_check.errors import SpecError
from rv_check.language import files as spec_files
from rv_check.language import library
from rv_check.language.definitions import Family
from rv_check.language.expressions import FUNCTIONS
from rv_check.language.sized import Sized
from rv_check.language.vocabulary import INIT_METHODS, INIT_WORDS, VERDICTS, WEIGHTS
from rv_check.ops.op import OPS

ODD = (3, 97, 65)
CHEAP = ("resnet18", "resnet50", "vgg11", "vgg11_bn")  # where models are run, besides the arch that is changed
OTHER_OPS = {
    "relu": ("silu", "sigmoid"),
    "silu": ("hardswish",),
    "relu6": ("relu",),
    "hardswish": ("silu",),
    "hardsigmoid": ("sigmoid",),
    "sigmoid": ("hardsigmoid",),
    "avgpool": ("maxpool",),
    "batchnorm": ("relu",),
    "maxpool": ("avgpool",),
    "adaptive_avgpool": ("maxpool",),
    "flatten": ("adaptive_avgpool(1)",),
    "dropout": ("maxpool",),
    "conv": ("linear",),
    "linear": ("conv",),
    "sum": ("product", "concat"),
    "product": ("sum",),
    "concat": ("sum",),
}
OTHER_SIGNS = {
    ast.Add: ("-",), ast.Sub: ("+",), ast.Mult: ("+", "//"), ast.Div: ("*", "//"), ast.FloorDiv: ("*", "/"),
    ast.Eq: ("!=",), ast.NotEq: ("==",), ast.Lt: ("<=",), ast.LtE: ("<",), ast.Gt: (">=",), ast.GtE: (">",),
    ast.And: ("or",), ast.Or: ("and",),
}  # fmt: skip
OTHER_METRICS = {
    "params": ("macs", "mparams"), "mparams": ("gmacs", "params"),
    "macs": ("params", "gmacs"), "mmacs": ("mparams", "gmacs"), "gmacs": ("mparams", "macs"),
    "mactivations": ("mparams", "gmacs"),
    "depth": ("receptive_field", "params"), "receptive_field": ("depth", "params"),
    "top1": ("top5", "top1_error"), "top5": ("top1", "top5_error"),
    "top1_error": ("top5_error", "top1"), "top5_error": ("top1_error", "top5"),
}  # fmt: skip


# Mutants


@dataclass(frozen=True)
class Mutant:
    """One change: the characters from `start` on that are `old` become `new`."""

    file: str  # relative to the folder of the specs
    line: int
    column: int
    old: str
    new: str
    kind: str
    start: int
    owner: str | None = None  # the arch that the line belongs to
    states: bool = False  # the line states something and makes nothing: it must be caught, whatever the trees are

    def __str__(self) -> str:
        old, new = (" | ".join(t.strip() for t in text.strip("\n").split("\n")) for text in (self.old, self.new))
        return f"{self.file}:{self.line}:{self.column} [{self.kind}] {old or 'nothing'} -> {new or 'nothing'}"

    def of(self, text: str) -> str:
        """The file's text with this change."""
        assert text[self.start : self.start + len(self.old)] == self.old
        return text[: self.start] + self.new + text[self.start + len(self.old) :]


def specs() -> Path:
    """The folder of the shipped specs."""
    return spec_files.shipped_folder()


def mutants(family: str | None = None) -> list[Mutant]:
    """Every mutant of every shipped spec file, or of one family and the blocks it uses, in the order of the files."""
    folder = specs()
    files = [
        p
        for p in (*spec_files.family_files(folder), *spec_files.block_files(folder))
        if p.suffix in spec_files.SUFFIXES
    ]
    files = [p for p in files if families_using(p)]  # other blocks are for studies and variants: nothing here uses them
    blocks = tuple(p.stem for p in spec_files.block_files(folder) if families_using(p))
    found: list[Mutant] = []
    for path in files:
        if family is None or family in families_using(path):
            found += _File(path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8"), blocks).mutants()
    return list(dict.fromkeys(found))


@cache
def families_using(path: Path) -> set[str]:
    """The families that a spec file is a part of: itself, or those that name it, by way of other blocks included."""
    folder = specs()
    texts = {p.stem: p.read_text(encoding="utf-8") for p in spec_files.block_files(folder)}
    found = set()
    for family in spec_files.family_files(folder):
        reached, queue = {family.stem}, [family.read_text(encoding="utf-8")]
        while queue:
            words = set(re.findall(r"\w+", re.sub(r"(?m)(^|\s)(source|note|#).*$", "", queue.pop())))
            new = (words & texts.keys()) - reached
            reached |= new
            queue += [texts[name] for name in new]
        if path.stem in reached:
            found.add(family.stem)
    return found


class _File:
    """The mutants of one file. Nodes are PyYAML's, which know where they stand; the keys say what they are."""

    def __init__(self, name: str, text: str, blocks: tuple[str, ...]):
        self.name, self.text, self.blocks = name, text, blocks
        self.owner: str | None = None
        self.states = False
        self.found: list[Mutant] = []

    def mutants(self) -> list[Mutant]:
        top = _fields(yaml.compose(self.text, Loader=yaml.SafeLoader))
        self.scope = self.names(top)
        for key, (key_node, node) in top.items():
            match key:
                case "family" | "block":
                    self.signature(node)
                case "input":
                    self.numbers(node)
                case "let":
                    for _, value in _fields(node).values():
                        self.expression(value)
                case "in" | "out":
                    self.terms(node, key)
                case "inline":
                    self.replace(node, "false" if node.value == "true" else "true", "flag")
                case "body":
                    self.steps(node)
                case "init":
                    for rule_key, value in _fields(node).values():
                        self.init(rule_key, value)
                case "archs":
                    for self.owner, (_, entry) in _fields(node).items():
                        self.arch(entry)
                    self.owner = None
                case "source" | "bench":
                    pass  # prose, and what is timed: no network changes with it
                case _:
                    raise AssertionError(f"{self.name} has a key {key} that is not mutated: {key_node.start_mark}")
        if "block" in top and "inline" not in top:
            self.add(self.line_start(top["body"][0]), "", "inline: true\n", "flag")
        return self.found

    def names(self, top: dict[str, tuple[yaml.Node, yaml.Node]]) -> tuple[str, ...]:
        """The names that an expression of the file may use."""
        node = (top.get("family") or top["block"])[1]
        call = ast.parse(node.value, mode="eval").body
        found: list[str] = []
        if isinstance(call, ast.Call):
            found = [a.id for a in call.args if isinstance(a, ast.Name)] + [k.arg for k in call.keywords if k.arg]
        if "in" in top:
            found += re.findall(r"\b[A-Z]\b", top["in"][1].value)
        if "let" in top:
            found += _fields(top["let"][1])
        return tuple(found)

    # Making mutants

    def add(self, start: int, old: str, new: str, kind: str) -> None:
        """Keep a mutant, if it is a change."""
        if old == new:
            return
        assert self.text[start : start + len(old)] == old, (self.name, start, old)
        before = self.text[:start]
        line, column = before.count("\n") + 1, start - (before.rfind("\n") + 1) + 1
        self.found.append(Mutant(self.name, line, column, old, new, kind, start, self.owner, self.states))

    def replace(self, node: yaml.Node, new: str, kind: str) -> None:
        self.add(node.start_mark.index, self.source(node), new, kind)

    def source(self, node: yaml.Node) -> str:
        return self.text[node.start_mark.index : node.end_mark.index]

    def line_start(self, node: yaml.Node) -> int:
        return self.text.rfind("\n", 0, node.start_mark.index) + 1

    def end_of_lines(self, start: int, indent: int) -> int:
        """Where the lines end that begin at `start` and go on with more than `indent` spaces."""
        at = self.text.find("\n", start) + 1 or len(self.text)
        while at < len(self.text):
            line = self.text[at : self.text.find("\n", at) + 1 or len(self.text)]
            if line.strip() and len(line) - len(line.lstrip()) <= indent:
                break
            at += len(line)
        while self.text[:at].endswith("\n\n"):
            at -= 1
        return at

    # Numbers and words

    def number(self, start: int, old: str) -> None:
        """One more, one less, twice; of a decimal, the last digit one up and one down."""
        if "." in old:
            places = len(old.partition(".")[2])
            digits = int(old.replace(".", ""))
            new = [f"{(digits + step) / 10**places:.{places}f}" for step in (1, -1) if digits + step >= 0]
        else:
            value = int(old)
            new = [f"{n:_}" if "_" in old else str(n) for n in dict.fromkeys((value + 1, value - 1, 2 * value))]
        for text in new:
            self.add(start, old, text, "number")

    def numbers(self, node: yaml.Node) -> None:
        """Every number in a text that is no expression: `3 224 224`, `267/16/133`, `2%`, `features.4`."""
        for match in re.finditer(r"\d[\d_]*(?:\.\d+)?", self.source(node)):
            self.number(node.start_mark.index + match.start(), match.group())

    def rename(self, node: yaml.Node) -> None:
        """A name: its first number outside of expressions, or another letter at its end; and every expression in it."""
        text = self.source(node)
        plain = re.sub(r"\{[^}]*\}", lambda inner: " " * len(inner[0]), text)
        match = re.search(r"\d+", plain)
        if match:
            self.add(node.start_mark.index + match.start(), match.group(), str(int(match.group()) + 1), "name")
        else:
            self.replace(node, text + "x", "name")
        for inner in re.finditer(r"\{([^}]*)\}", text):
            self.parts(node.start_mark.index + inner.start(1), inner[1], self.scope)

    # Expressions and calls

    def expression(self, node: yaml.Node, scope: Iterable[str] | None = None) -> None:
        """Everything in an expression or a call."""
        self.parts(node.start_mark.index, self.source(node), tuple(scope if scope is not None else self.scope))

    def parts(self, base: int, text: str, scope: tuple[str, ...]) -> None:
        tree = ast.parse(text, mode="eval").body
        called = {id(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
        if isinstance(tree, ast.Name) and tree.id in OPS:
            self.called(base, tree)  # a bare step: `relu`
            return
        for node in ast.walk(tree):
            at = base + getattr(node, "col_offset", 0)
            match node:
                case ast.Constant(value=bool()):
                    self.add(at, str(node.value), str(not node.value), "flag")
                case ast.Constant():
                    self.number(at, text[node.col_offset : node.end_col_offset])
                case ast.Name() if id(node) not in called:
                    self.variable(at, node.id, scope)
                case ast.Call():
                    self.call(base, text, node)
                case ast.BinOp():
                    self.sign(base, text, node.left, node.right, node.op)
                case ast.Compare():
                    for left, op, right in zip(
                        [node.left, *node.comparators], node.ops, node.comparators, strict=False
                    ):
                        self.sign(base, text, left, right, op)
                case ast.BoolOp():
                    for left, right in pairwise(node.values):
                        self.sign(base, text, left, right, node.op)
                    self.drop(base, text, node.values, "operand dropped")
                case ast.List():
                    self.drop(base, text, node.elts, "entry dropped")

    def variable(self, at: int, name: str, scope: tuple[str, ...]) -> None:
        if name in self.blocks:
            for other in self.blocks:
                self.add(at, name, other, "block")
        elif name in scope:
            for other in scope:
                self.add(at, name, other, "name used")
        else:
            for other in OTHER_OPS.get(name, ()):
                self.add(at, name, other, "op")

    def sign(self, base: int, text: str, left: ast.expr, right: ast.expr, op: ast.AST) -> None:
        assert left.end_col_offset is not None
        between = text[left.end_col_offset : right.col_offset]
        old = between.strip(" ()")
        at = base + left.end_col_offset + between.index(old)
        for new in OTHER_SIGNS[type(op)]:
            self.add(at, old, new, "operator")

    def called(self, base: int, node: ast.expr) -> None:
        if isinstance(node, ast.Name):
            for other in OTHER_OPS.get(node.id, ()):
                self.add(base + node.col_offset, node.id, other, "op")
            if node.id in self.blocks:
                for other in self.blocks:
                    self.add(base + node.col_offset, node.id, other, "block")

    def call(self, base: int, text: str, node: ast.Call) -> None:
        assert isinstance(node.func, ast.Name)
        self.called(base, node.func)
        self.drop(base, text, [*node.args, *node.keywords], "argument dropped")
        if node.func.id in FUNCTIONS:
            for other in FUNCTIONS.keys() - {node.func.id}:
                self.add(base + node.col_offset, node.func.id, other, "operator")
            self.add(base + node.col_offset, node.func.id, "", "operator")
        given = {k.arg for k in node.keywords}
        op = OPS.get(node.func.id)
        for keyword in node.keywords if op else ():
            assert op
            assert keyword.arg
            others = [n for n in op.argument_names[len(node.args) :] if n not in given]
            for other in others:
                self.add(base + keyword.col_offset, keyword.arg, other, "keyword")

    def drop(self, base: int, text: str, parts: list[Any], kind: str) -> None:
        """Each of several parts with what separates it from its neighbour."""
        parts = sorted(parts, key=lambda p: p.col_offset)
        for i, part in enumerate(parts):
            if i + 1 < len(parts):
                start, end = part.col_offset, parts[i + 1].col_offset
            else:
                start, end = parts[i - 1].end_col_offset if i else part.col_offset, part.end_col_offset
            self.add(base + start, text[start:end], "", kind)

    def signature(self, node: yaml.Node) -> None:
        """`name(argument, argument=default)`: defaults changed, defaults dropped, arguments dropped."""
        base, text = node.start_mark.index, self.source(node)
        call = ast.parse(text, mode="eval").body
        if isinstance(call, ast.Name):
            return  # without arguments
        assert isinstance(call, ast.Call)
        for keyword in call.keywords:
            value, at = keyword.value, base + keyword.value.col_offset
            old = text[value.col_offset : value.end_col_offset]
            if isinstance(value, ast.Constant) and isinstance(value.value, bool):
                self.add(at, old, str(not value.value), "flag")
            else:
                self.parts(at, old, ())
            assert keyword.arg is not None
            start = keyword.col_offset + len(keyword.arg)
            self.add(base + start, text[start : value.end_col_offset], "", "default dropped")
        self.drop(base, text, [*call.args, *call.keywords], "argument dropped")

    def init(self, key: yaml.Node, node: yaml.Node) -> None:
        """`kaiming_normal(mode=fan_out, nonlinearity=relu)`."""
        base, text = node.start_mark.index, self.source(node)
        start = self.line_start(key)
        self.numbers(key)
        self.add(start, self.text[start : self.end_of_lines(start, 2)], "", "rule dropped")
        call = ast.parse(text, mode="eval").body
        method = text.partition("(")[0]
        for other in INIT_METHODS:
            self.add(base, text if other == "default" else method, other, "word")
        if not isinstance(call, ast.Call):
            self.replace(node, "constant(weight=0, bias=0)", "word")
            return
        self.drop(base, text, list(call.keywords), "argument dropped")
        for keyword in call.keywords:
            value, at = keyword.value, base + keyword.value.col_offset
            old = text[value.col_offset : value.end_col_offset]
            if keyword.arg in INIT_WORDS:
                for other in INIT_WORDS[keyword.arg]:
                    self.add(at, old, other, "word")
            elif isinstance(value, ast.Constant):
                self.number(at, old)
            else:
                for match in re.finditer(r"\d+|fan_\w+", old):
                    word, place = match.group(), at + match.start()
                    if word.isdigit():
                        self.number(place, word)
                    else:
                        self.add(place, word, "fan_in" if word == "fan_out" else "fan_out", "word")

    def terms(self, node: yaml.Node, key: str) -> None:
        """`in: C H W`, `out: width H//2 W//2`."""
        self.states = True
        base, text = node.start_mark.index, self.source(node)
        found = list(re.finditer(r"\S+", text))
        for i, match in enumerate(found):
            end = found[i + 1].start() if i + 1 < len(found) else match.end()
            self.add(base + match.start(), text[match.start() : end], "", "term dropped")
            if key == "in":
                for other in found:
                    self.add(base + match.start(), match.group(), other.group(), "name used")
            elif match.group() != "_":
                self.parts(base + match.start(), match.group(), self.scope)
        self.states = False

    # Steps

    def steps(self, node: yaml.Node) -> None:
        """A list of steps: each changed, each removed, each exchanged with the next."""
        assert isinstance(node, yaml.SequenceNode), self.source(node)
        spans = []
        for item in node.value:
            start = self.line_start(item)
            dash = self.text.index("-", start)
            spans.append((start, self.end_of_lines(start, dash - start)))
        for start, end in spans:
            self.add(start, self.text[start:end], "", "step removed")
        for (a, b), (c, d) in pairwise(spans):
            self.add(a, self.text[a:d], self.text[c:d] + self.text[b:c] + self.text[a:b], "steps exchanged")
        for item in node.value:
            self.step(item)

    def step(self, item: yaml.Node) -> None:
        if isinstance(item, yaml.ScalarNode):
            self.expression(item)
            return
        entries = _fields(item)
        if "repeat" in entries:
            self.expression(entries["repeat"][1])
            self.steps(entries["steps"][1])
        elif "if" in entries:
            self.condition(entries)
        else:
            (key, (key_node, value)) = next(iter(entries.items()))
            if key == "shape":
                self.states = True
                self.numbers(value)
                self.states = False
            elif key in ("sum", "concat", "product"):
                for other in OTHER_OPS[key]:
                    self.replace(key_node, other, "op")
                for label in _fields(value).values():
                    self.branch(*label)
            else:
                self.rename(key_node)
                if isinstance(value, yaml.ScalarNode):
                    self.expression(value)
                else:
                    self.steps(value)

    def branch(self, key: yaml.Node, value: yaml.Node) -> None:
        """`main:`, `skip:`, `then:`, `else:` with all that is below it."""
        start = self.line_start(key)
        end = self.end_of_lines(start, key.start_mark.column)
        after = key.end_mark.index + 1
        for other in ("identity", "none"):
            self.add(after, self.text[after:end], f" {other}\n", "branch")
        if isinstance(value, yaml.MappingNode):
            self.condition(_fields(value))
        elif isinstance(value, yaml.SequenceNode):
            self.steps(value)

    def condition(self, entries: dict[str, tuple[yaml.Node, yaml.Node]]) -> None:
        condition = entries["if"][1]
        self.expression(condition)
        self.replace(condition, f"not ({self.source(condition)})", "condition")
        for word in ("True", "False"):
            self.replace(condition, word, "condition")
        for arm in ("then", "else"):
            if arm in entries:
                self.branch(*entries[arm])

    # Archs

    def arch(self, node: yaml.Node) -> None:
        for key, (key_node, value) in _fields(node).items():
            match key:
                case "build":
                    self.expression(value, ())
                case "input":
                    self.numbers(value)
                case "reference":
                    self.reference(key_node, value)
                case "contract":
                    for step, contract in _fields(value).values():
                        if re.search(r"\d", step.value):
                            self.numbers(step)
                        else:
                            self.rename(step)
                        if isinstance(contract, yaml.ScalarNode):
                            self.numbers(contract)
                            continue
                        for _, stated in _fields(contract).values():
                            self.numbers(stated)
                case "weights":
                    for name, stated in _fields(value).values():
                        for match in re.finditer(r"\d+", self.source(name)):
                            self.number(name.start_mark.index + match.start(), match.group())
                        self.line(stated, {word: tuple(WEIGHTS) for word in WEIGHTS})
                case "published":
                    for entry in value.value:
                        self.published(entry)
                case "source":
                    pass  # prose
                case _:
                    raise AssertionError(f"{self.name}: an arch has a key {key} that is not mutated")

    def reference(self, key: yaml.Node, value: yaml.Node) -> None:
        """Another builder, another argument, none at all."""
        start = self.line_start(key)
        self.add(start, self.text[start : self.end_of_lines(start, 4)], "", "reference")
        text = self.source(value)
        name = re.match(r"[\w.]+", text)
        assert name
        builders = list(dict.fromkeys(re.findall(r"(?m)^ +reference: ([\w.]+)", self.text)))
        at = builders.index(name.group())
        for other in (builders[at - 1], builders[(at + 1) % len(builders)]):
            self.add(value.start_mark.index, name.group(), other, "reference")
        # A name with underscores for dots is as long, so that every place stays what it is.
        self.parts(value.start_mark.index, name.group().replace(".", "_") + text[name.end() :], self.scope)

    def line(self, node: yaml.Node, others: Mapping[str, Iterable[str]]) -> None:
        """`mparams 5.3, gmacs 0.39`: its numbers, and the words before them."""
        for match in re.finditer(r"([a-z]\w*)|\d[\d_]*(?:\.\d+)?", self.source(node)):
            at = node.start_mark.index + match.start()
            if match[1] is None:
                self.number(at, match.group())
            for other in others.get(match.group(), ()):
                self.add(at, match.group(), other, "word")

    def published(self, node: yaml.Node) -> None:
        for key, (key_node, value) in _fields(node).items():
            start = self.line_start(key_node)
            if key == "numbers":
                self.line(value, OTHER_METRICS)
            elif key == "input":
                self.numbers(value)
            elif key in OTHER_METRICS:
                self.numbers(value)
                for other in OTHER_METRICS[key]:
                    self.replace(key_node, other, "word")
                after = value.end_mark.index
                if not {"verdict", "within"} & _fields(node).keys():
                    for verdict in VERDICTS:
                        self.add(after, "", f"\n        verdict: {verdict}", "word")
            elif key in ("within", "verdict"):
                self.add(start, self.text[start : self.end_of_lines(start, 8)], "", "argument dropped")
                if key == "within":
                    self.numbers(value)
                else:
                    for other in VERDICTS:
                        self.replace(value, other, "word")
            else:
                assert key in ("source", "note"), key  # prose


def _fields(node: yaml.Node | None) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    assert isinstance(node, yaml.MappingNode), node
    return {key.value: (key, value) for key, value in node.value}


# Equivalence: what an arch is and claims, in a form that can be compared


def signature(arch: Arch) -> tuple[Any, ...]:
    """What an arch is and claims. Equal signatures: the same network, started alike, with the same claims.

    Raises: SpecError.
    """
    entry = arch.entry
    declared = _structure(arch.tree.root.seq)
    try:
        elsewhere: Any = _structure(Arch(arch.family, entry, arch.values, {}, ODD).tree.root.seq)
    except SpecError as error:
        elsewhere = error.problems[0].message
    starts = {rule.of: (rule.method, tuple(sorted(map(_start, rule.arguments.items())))) for rule in arch.family.init}
    if starts.get("batchnorm") == ("constant", (("bias", 0), ("weight", 1))):
        starts["batchnorm"] = ("default", ())  # torch's own start, in other words
    used = {type(layer.op).name for layer in _layers(arch.tree.root.seq)}
    used |= set(starts) - set(OPS)  # steps, which are there
    starts = {of: start for of, start in starts.items() if of in used and start != ("default", ())}  # as without a rule
    reference = entry.reference and (
        entry.reference.name,
        [(a.keyword, a.value.text) for a in entry.reference.arguments],
    )
    contract = [(c.step, c.shape, c.params, c.macs, c.receptive_field) for c in entry.contract]
    published = [(p.metric, p.printed, p.source, p.within, p.verdict, p.input) for p in entry.published]
    claims = (str(reference), str(contract), str(published), arch.declared_input)
    return (declared, elsewhere, tuple(sorted(starts.items())), claims)


def _layers(seq: Seq) -> Iterator[Layer]:
    """The layers of a sequence, those that are equal and stand together once."""
    for item in seq.items:
        match item.node:
            case Layer():
                yield item.node
            case Module() | Repeat():
                yield from _layers(item.node.seq)
            case Join():
                for _, branch in item.node.branches:
                    yield from _layers(branch)
            case Seq():
                yield from _layers(item.node)


def _start(argument: tuple[str, Any]) -> tuple[str, Any]:
    """An argument of a starting rule; of a nonlinearity the gain, which is all that torch takes from it, and of what
    depends on the size of a layer its value for a few sizes.
    """
    from torch.nn.init import calculate_gain

    name, value = argument
    if isinstance(value, Sized):
        return name, tuple(value.at({"fan_in": 1 + size, "fan_out": 1 + 3 * size}) for size in range(1, 9))
    return (name, calculate_gain(value, 0)) if name == "nonlinearity" else (name, value)


def _structure(seq: Seq) -> tuple[Any, ...]:
    """Layers with their arguments, names and shapes, in the order of the flow. What is transparent leaves no trace."""
    known: dict[int, tuple[Any, ...]] = {}

    def items(visits: Iterable[Visit]) -> Iterator[Any]:
        for visit in visits:
            node = visit.node
            match node:
                case Layer():
                    yield visit.name, type(node.op).__name__, node.op, node.x, node.y
                case Module():
                    if id(node.seq) not in known:
                        known[id(node.seq)] = tuple(items(walk(node.seq)))
                    yield visit.name, known[id(node.seq)]
                case Join():
                    branches = [tuple(items(branch)) for _, branch in visit.branches]
                    if len(branches) == 1:
                        yield from branches[0]
                    else:
                        yield node.kind, tuple(branches)

    return tuple(items(walk(seq)))


@cache
def originals() -> dict[str, tuple[Any, ...]]:
    """The signatures of the shipped archs."""
    return {arch.name: signature(arch) for arch in load.archs()}


# Judging


@dataclass
class Mutated:
    """A mutant on disk, as the checks see it."""

    mutant: Mutant
    folder: Path
    changed: list[str] = field(default_factory=list)  # archs whose signature is not that of the shipped one
    run: ArchRun | None = None  # that of one arch at a time: it holds models

    @cached_property
    def archs(self) -> dict[str, Arch]:
        """The archs of the families that the mutant touches, its owner first. Raises: SpecError."""
        families = families_using(specs() / self.mutant.file)
        definitions = [library.load(p) for p in spec_files.family_files(self.folder) if p.stem in families]
        found = {a.name: a for f in definitions if isinstance(f, Family) for a in archs_of(f)}
        return dict(sorted(found.items(), key=lambda pair: pair[0] != self.mutant.owner))

    def fails(self, arch: Arch, check: Check) -> str | None:
        """The first finding that says that something does not hold. A check that could not run has caught nothing."""
        if self.run is None or self.run.arch is not arch:
            self.run = ArchRun(arch)
        for finding in run_check(check, self.run):
            if finding.status in ("failed", "blocked"):
                return f"{finding.id}: {finding.message}"
        return None


Caught = tuple[str, str]  # what caught it, and its words
Stage = Callable[[Mutated], Caught | None]


def reading(m: Mutated) -> Caught | None:
    """The files can be read, every name is known, every call can be filled."""
    try:
        return None if m.archs else ("reading", "there are no archs")
    except SpecError as error:
        return "reading", error.problems[0].message


def spec_level(m: Mutated) -> Caught | None:
    """The checks of level spec, on every arch that the mutant may have changed."""
    for arch in m.archs.values():
        try:
            if signature(arch) == originals().get(arch.name):
                continue
            m.changed.append(arch.name)
        except SpecError as error:
            return "spec: shapes", error.problems[0].message
        for check in checks_of(arch, ("spec",)):
            words = m.fails(arch, check)
            if words:
                return f"spec: {check.name}", words
    return None


def figures(m: Mutated) -> Caught | None:
    """Published numbers against their second transcription, torch's count, and torchvision's metadata."""
    from tests.parity.test_printed_figures import differences, transcription

    archs = [m.archs.get(arch.name, arch) for arch in load.archs()] if m.changed else []
    found = differences(archs, transcription()) if archs else []
    return ("test_printed_figures.py", found[0]) if found else None


def oblong(m: Mutated) -> Caught | None:
    """`in:` and `out:` at an input whose sides are odd and differ."""
    from tests.parity.test_variants import shape_differences

    found = shape_differences(m.folder)
    return ("test_variants.py: shapes at an odd input", found[0]) if found else None


def other_arguments(m: Mutated) -> Caught | None:
    """Where no shipped arch has changed: `families`."""
    return families(m) if not m.changed else None


def families(m: Mutated) -> Caught | None:
    """The families and stages against torchvision's classes, at arguments that no shipped arch has, on meta."""
    from tests.parity.test_variants import family_differences

    found = family_differences(m.folder)
    return ("test_variants.py: other arguments", found[0]) if found else None


def numbers_level(*but: str) -> Stage:
    """The checks of level numbers but these, on the owner and on a few cheap archs."""

    def stage(m: Mutated) -> Caught | None:
        with_reference = [name for name in m.changed if m.archs[name].entry.reference is not None]
        names = [name for name in m.changed if name == m.mutant.owner or name in CHEAP]
        for arch in (m.archs[name] for name in names or with_reference[:1]):
            for check in checks_of(arch, ("numbers",)):
                words = m.fails(arch, check) if check.name not in but else None
                if words:
                    return f"numbers: {check.name}", words
        return None

    return stage


def claims(m: Mutated) -> Caught | None:
    """`references`, where the networks are what they were, and only what they are held against has changed."""
    is_same = all(signature(m.archs[name])[:-1] == originals()[name][:-1] for name in m.changed)
    return references(m) if is_same else None


def references(m: Mutated) -> Caught | None:
    """References with another argument than the declared one, and the names of modules, on meta."""
    from tests.parity.test_variants import reference_differences

    found = reference_differences(m.folder, m.changed)
    return ("test_variants.py: references", found[0]) if found else None


def variants(m: Mutated) -> Caught | None:
    """The archs that torchvision does not build, against its own classes with the documented difference."""
    from tests.parity.test_variants import variant_differences

    found = variant_differences(m.folder, m.changed)
    return ("test_variants.py: variants", found[0]) if found else None


STATIC: tuple[Stage, ...] = (reading, spec_level, figures, oblong, other_arguments)
RUNNING: tuple[Stage, ...] = (
    numbers_level("logits", "eval", "train", "counters"),
    claims,
    numbers_level("eval", "train", "counters"),
    references,
    families,
    variants,
    numbers_level(),
)


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: caught by a check, equivalent, or survived."""

    mutant: Mutant
    outcome: str
    by: str = ""
    words: str = ""
    seconds: float = field(default=0.0, compare=False)


def judge(mutant: Mutant, static: Iterable[Stage] = STATIC, running: Iterable[Stage] = RUNNING) -> Verdict:
    """Apply a mutant to a copy of the specs, and run the checks until one fails."""
    started = time.monotonic()
    verdict = _judge(mutant, static, running)
    return replace(verdict, words=verdict.words.partition("\n")[0], seconds=time.monotonic() - started)


def _judge(mutant: Mutant, static: Iterable[Stage], running: Iterable[Stage]) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="mutant-") as temporary:
        folder = Path(temporary) / "specs"  # the cache of definitions goes by path: every mutant has its own
        shutil.copytree(specs(), folder)
        path = folder / mutant.file
        path.write_text(mutant.of(path.read_text(encoding="utf-8")), encoding="utf-8")
        mutated = Mutated(mutant, folder)
        try:
            for stage in static:
                caught = stage(mutated)
                if caught:
                    return Verdict(mutant, "caught", *caught)
            if not mutated.changed:  # nothing that runs could tell the networks apart
                return Verdict(mutant, "survived" if mutant.states else "equivalent")
            for stage in running:
                caught = stage(mutated)
                if caught:
                    return Verdict(mutant, "caught", *caught)
        except Exception as error:  # no check has noticed: rv_check itself fell over
            return Verdict(mutant, "survived", words=f"a bug of rv_check or of a check: {error!r}")
        return Verdict(mutant, "survived", words=f"changed: {', '.join(mutated.changed)}")


def sweep(todo: list[Mutant], jobs: int = 1, seen: Callable[[Verdict], None] = lambda verdict: None) -> list[Verdict]:
    """Judge many mutants, in their order."""
    verdicts = []
    if jobs == 1:
        for mutant in todo:
            verdicts.append(judge(mutant))
            seen(verdicts[-1])
        return verdicts
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin) as pool:
        for verdict in pool.map(judge, todo, chunksize=4):
            verdicts.append(verdict)
            seen(verdict)
    return verdicts


def _begin() -> None:
    """One thread for each process, which does not outlive the one that started it, should that be killed."""
    import torch

    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=end_with, args=(parent.sentinel,), daemon=True).start()


def spread(all_mutants: list[Mutant], n: int) -> list[Mutant]:
    """`n` mutants, the same ones every time: of every kind in turn, evenly over the files."""
    kinds: dict[str, list[Mutant]] = {}
    for mutant in all_mutants:
        kinds.setdefault(mutant.kind, []).append(mutant)
    n = min(n, len(all_mutants))
    chosen: list[Mutant] = []
    share = dict.fromkeys(kinds, 0)
    while sum(share.values()) < n:
        for kind, of_kind in kinds.items():
            if sum(share.values()) < n and share[kind] < len(of_kind):
                share[kind] += 1
    for kind, of_kind in kinds.items():
        chosen += [of_kind[(2 * i + 1) * len(of_kind) // (2 * share[kind])] for i in range(share[kind])]
    return sorted(chosen, key=all_mutants.index)


# Reporting


def report(verdicts: list[Verdict], seconds: float | None = None) -> str:
    """The verdicts as markdown: counts by check and by kind, then the equivalent ones, then the survivors."""
    outcomes = Counter(v.outcome for v in verdicts)
    took = f" in {seconds / 60:.1f} minutes" if seconds is not None else ""
    lines = [
        "# Mutants of the shipped specs",
        "",
        f"{len(verdicts):,} mutants{took}: {outcomes['caught']:,} caught, {outcomes['equivalent']:,} equivalent, "
        f"{outcomes['survived']:,} survived.",
        "",
        "Prose (`source:`, `note:`, comments) is not mutated.",
        "",
        *_table("first caught by", Counter(v.by for v in verdicts if v.outcome == "caught")),
        "",
        "| kind of change | mutants | caught | equivalent | survived |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    kinds: dict[str, Counter[str]] = {}
    for v in verdicts:
        kinds.setdefault(v.mutant.kind, Counter())[v.outcome] += 1
    for kind, count in sorted(kinds.items(), key=lambda pair: -pair[1].total()):
        lines.append(
            f"| {kind} | {count.total():,} | {count['caught']:,} | {count['equivalent']:,} | {count['survived']:,} |"
        )
    for outcome, words in (("equivalent", "Equivalent: no change in any arch"), ("survived", "Survivors")):
        lines += ["", f"## {words}", ""]
        chosen = [v for v in verdicts if v.outcome == outcome]
        if chosen and outcome == "equivalent":
            lines += [
                "A check line left out or moved, torch's own default or start in other words, or equal arithmetic.",
                "",
            ]
        lines += [f"- `{v.mutant}`{f' ({v.words})' if v.words else ''}" for v in chosen] or ["None."]
    return "\n".join(lines) + "\n"


def _table(title: str, counts: Counter[str]) -> list[str]:
    rows = [f"| {name} | {number:,} |" for name, number in counts.most_common()]
    return [f"| {title} | mutants |", "| --- | ---: |", *rows]


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns: 0, or 1 where a mutant survived."""
    parser = argparse.ArgumentParser(description="Change the shipped specs, and see which check notices.")
    parser.add_argument("--family", help="only this family's file and its blocks")
    parser.add_argument("--sample", type=int, metavar="N", help="only N mutants, spread over kinds and files")
    parser.add_argument("--list", action="store_true", help="list the mutants, judge none")
    parser.add_argument("--only", metavar="TEXT", help="only mutants whose line in --list holds TEXT")
    parser.add_argument("--verbose", action="store_true", help="one line for each mutant")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report to FILE")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes (default: 2)")
    asked = parser.parse_args(arguments)
    todo = mutants(asked.family)
    if asked.only:
        todo = [m for m in todo if asked.only in str(m)]
    if asked.sample is not None:
        todo = spread(todo, asked.sample)
    if asked.list:
        print("\n".join(map(str, todo)))  # noqa: T201
        return 0
    started, done = time.monotonic(), Counter[str]()

    def seen(verdict: Verdict) -> None:
        done[verdict.outcome] += 1
        if asked.verbose or verdict.outcome == "survived":
            words = f"{verdict.outcome} in {verdict.seconds:.1f} s: {verdict.mutant} {verdict.by} {verdict.words}"
            print(words.strip(), flush=True)  # noqa: T201
        if done.total() % 250 == 0:
            print(f"{done.total():,} of {len(todo):,}", file=sys.stderr, flush=True)  # noqa: T201

    verdicts = sweep(todo, asked.jobs, seen)
    text = report(verdicts, time.monotonic() - started)
    if asked.output:
        asked.output.write_text(text, encoding="utf-8")
    print(text)  # noqa: T201
    return int(any(v.outcome == "survived" for v in verdicts))


if __name__ == "__main__":
    sys.exit(main())
