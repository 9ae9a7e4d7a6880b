"""What files of claims and the comments of tables have in common: keys with words, and names for networks.

archs:
  wide: ../mynets/wide.yaml::wide        # the path is seen from the file that names it
modules:
  mine: mynet.py:Net
  grey:
    module: mynet.py:Net(channels=1)
    input: 1 28 28
input: 3 224 224                         # of all networks here that have none of their own
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rv_check.errors import Collector, Problem, RvCheckError, SpecError
from rv_check.language.expressions import Call, parse_call
from rv_check.language.files import SUFFIXES
from rv_check.language.inputs import Inputs, parse_inputs
from rv_check.language.yaml_nodes import Fields, Text, YamlNode, kind
from rv_check.modules.named import FORMS, is_module, is_module_name
from rv_check.text import nearest, quote, shown_path

NETWORKS = {"archs": "arch", "modules": "module"}  # the keys that give networks names, and what each names
NAMED = {"arch": "an arch", "module": "a module"}
ARCH_FORM = "an arch, as resnet50(width=128) or nets.yaml::wide"
MODULE_FORM = f"{FORMS}, with arguments as mynet.py:Net(channels=1)"
_MODULE = re.compile(r"[^\s:]\S*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class NamedNetwork:
    """A network as claims name it: an arch, or a module, built with the arguments of `call`. `input`: its own."""

    name: str
    call: Call | None = None  # of a module, with its name alone
    input: Inputs | None = None

    @property
    def is_module(self) -> bool:
        """Whether it is one of torch, which runs; else it is an arch."""
        return self.call is not None

    @property
    def key(self) -> tuple[str, str, Inputs | None]:
        """What makes it the same network as another."""
        return self.name, self.call.expr.text if self.call else "", self.input

    def seen_from(self, folder: Path) -> str:
        """The name, with the file's path from here where it is one that is seen from a folder."""
        colon = ":" if self.is_module else "::"
        where, _, name = self.name.rpartition(colon)
        return f"{shown_path(folder / where)}{colon}{name}" if where.endswith((".py", *SUFFIXES)) else self.name


def network_named(text: Text, input: Inputs | None = None) -> NamedNetwork:
    """The network that a text names: a module, with its arguments if it has any, or else an arch.

    Raises: SpecError where a module's name or its arguments are not written as they should be.
    """
    name, _, _ = text.text.strip().partition("(")
    if not (is_module_name(name) and _MODULE.fullmatch(name)):
        return NamedNetwork(text.text.strip(), input=input)
    try:
        is_module(name)
    except RvCheckError as error:
        raise SpecError(problem.told_at(text.place) for problem in error.problems) from None
    where, _, called = name.rpartition(":")
    spaces = text.text.index(name) + len(where) + 1  # they stand for what is before, so that places stay what they are
    call = parse_call(Text(text.text[spaces:].rjust(len(text.text)), text.place, text.exact), "a module", MODULE_FORM)
    for argument in call.arguments:
        if argument.keyword is None:
            found = f"{called} is given {argument.value.text} without a name"
            raise SpecError([Problem(found, argument.place, f"NAME={argument.value.text}")])
    return NamedNetwork(name, call, input)


class ClaimsReader(Collector):
    """Reads keys and their values, collecting problems."""

    def keys(self, node: Fields, what: str, known: tuple[str, ...]) -> None:
        """See that a mapping has no other keys."""
        for name, (key, _) in node.entries.items():
            if name not in known:
                self.add(f"{what} has no key {quote(name)}", key.place, ", ".join(known), nearest(name, known))

    def words(self, node: Fields, key: str) -> str:
        """Text, on one line; nothing where the key is missing."""
        value = node.get(key)
        if value is None:
            return ""
        if not isinstance(value, Text) or not value.text.strip():
            self.add(f"{key} is {kind(value)}", value.place, "text")
            return ""
        return " ".join(value.text.split())

    def input(self, node: Fields) -> Inputs | None:
        """What `input:` states; None without it."""
        value = node.get("input")
        if value is None:
            return None
        text = value if isinstance(value, Text) else Text(kind(value), value.place, exact=False)
        found = None
        with self.collect():
            found = parse_inputs(text)
        return found

    def networks(self, top: Fields) -> Mapping[str, NamedNetwork]:
        """The networks by the names that `archs:` and `modules:` give them."""
        found: dict[str, NamedNetwork] = {}
        for key, what in NETWORKS.items():
            names = top.get(key)
            if isinstance(names, Fields):
                for name, (called, node) in names.entries.items():
                    if name in found:
                        self.add(f"{quote(name)} is an arch and a module", called.place, "two names")
                    with self.collect():
                        found[name] = self.network(node, what)
            elif names is not None:
                self.add(f"{key} is {kind(names)}", names.place, f"names, each with {NAMED[what]}")
        return found

    def network(self, node: YamlNode, what: str) -> NamedNetwork:
        """What stands at a name. Raises: SpecError where it is none of `what`."""
        expected = MODULE_FORM if what == "module" else ARCH_FORM
        input = None
        text: YamlNode | None = node
        if isinstance(node, Fields):
            self.keys(node, f"a named {what}", (what, "input"))
            input, text = self.input(node), node.get(what)
        if not isinstance(text, Text) or not text.text.strip():
            raise SpecError([Problem(f"{what} is {kind(text) if text else 'missing'}", (text or node).place, expected)])
        found = network_named(text, input)
        if found.is_module != (what == "module"):
            raise SpecError([Problem(f"{quote(text.text)} is no {what}", text.place, expected)])
        return found
