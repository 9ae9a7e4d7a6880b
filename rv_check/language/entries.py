"""Reads `archs:`, the networks of a family: how each is built, its input, its reference, and what is said of it."""

from __future__ import annotations

from rv_check.errors import spec_error
from rv_check.language.contracts import read_contracts
from rv_check.language.definitions import ArchEntry, Reference
from rv_check.language.expressions import Call, dotted_call, parse_call
from rv_check.language.notations import can_be_name
from rv_check.language.published import read_published, read_weights
from rv_check.language.reading import SpecReader, text_of
from rv_check.language.vocabulary import MAX_NAME, PROVIDERS
from rv_check.language.yaml_nodes import Fields, Text, YamlNode, kind
from rv_check.text import listed, nearest, quote


def read_archs(reader: SpecReader, top: Fields, family: str) -> dict[str, ArchEntry]:
    """The entries of `archs:` by name. `family`: the name of this file's, "" where it is wrong. Raises: Enough."""
    found = {}
    for name, (key, node) in reader.mapping(top, "archs", "an entry for each arch, with build:").items():
        with reader.collect():
            entry = _arch(reader, family, key, node)
            if entry is not None:
                found[name] = entry
    return found


def _arch(reader: SpecReader, family: str, key: Text, node: YamlNode) -> ArchEntry | None:
    """One entry; None where its `build:` is missing or wrong, which has been reported."""
    if not can_be_name(key.text):
        expected = f"letters, digits and _, at most {MAX_NAME}"
        reader.add(f"{quote(key.text)} cannot be the name of an arch", key.place, expected)
    what = f"arch {quote(key.text)}"
    if not isinstance(node, Fields):
        raise spec_error(f"{what} is {kind(node)}", node.place, f"build: {family or 'FAMILY'}(...)")
    reader.keys(node, what, ("build",), ("input", "reference", "contract", "weights", "published", "source"))
    reference, build = None, None
    with reader.collect():
        if "build" in node:
            build = _build(node, family, what)
    size = reader.input(node)
    with reader.collect():
        reference = _reference(node)
    contract = read_contracts(reader, node)
    published = (*read_weights(reader, node), *read_published(reader, node))
    source = reader.prose(node, "source")
    if build is None:
        return None
    return ArchEntry(key.text, build, size, reference, contract, published, source, key.place)


def _build(arch: Fields, family: str, what: str) -> Call:
    expected = f"{family}(...), the family of this file"
    call = parse_call(text_of(arch.get("build"), "build", expected))
    if call.name != family and family:
        raise spec_error(f"{what} builds {quote(call.name)}", call.place, expected)
    return call


def _reference(arch: Fields) -> Reference | None:
    """A registered provider and one of its builders, with arguments by name."""
    if "reference" not in arch:
        return None
    expected = listed(f"{provider}.BUILDER" for provider in PROVIDERS)
    text = text_of(arch.get("reference"), "reference", expected)
    name = text.text.partition("(")[0]
    provider = name.rpartition(".")[0]
    if provider not in PROVIDERS:
        near = nearest(provider, PROVIDERS)
        raise spec_error(f"{quote(name)} has no registered provider", text.place, expected, near)
    name, arguments, _ = dotted_call(text, "a builder", expected)
    for argument in arguments:
        if argument.keyword is None:
            raise spec_error("an argument of a reference without a name", argument.place, f"NAME={argument.value.text}")
    return Reference(name, arguments, text.place)
