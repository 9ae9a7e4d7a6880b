"""Reads `bench:`, the cases of a family that are timed."""

from __future__ import annotations

import re
from collections.abc import Collection

from rv_check.errors import spec_error
from rv_check.language.definitions import BenchEntry
from rv_check.language.notations import shown_list, words_of
from rv_check.language.reading import SpecReader, known_words, text_of
from rv_check.language.vocabulary import BENCH_AXES, CUDA_ONLY
from rv_check.language.yaml_nodes import Fields, Items, YamlNode, kind
from rv_check.text import listed, quote

BATCH_FORM = "numbers of images, each once, as in 1 8 32"


def read_bench(reader: SpecReader, top: Fields) -> tuple[BenchEntry, ...]:
    """The cases of `bench:`, in the order of the file. Raises: Enough."""
    node = top.get("bench")
    if node is None:
        return ()
    if not isinstance(node, Items):
        reader.add(f"bench is {shown_list(node)}", node.place, "a list of cases, each with its arch:")
        return ()
    archs = top.get("archs")
    known = archs.entries if isinstance(archs, Fields) else {}
    found = []
    for item in node.items:
        with reader.collect():
            found.append(_entry(reader, item, known))
    return tuple(found)


def _entry(reader: SpecReader, node: YamlNode, archs: Collection[str]) -> BenchEntry:
    if not isinstance(node, Fields):
        raise spec_error(f"a case of bench is {kind(node)}", node.place, "arch: and the name of one")
    reader.keys(node, "a case of bench", ("arch",), (*BENCH_AXES, "batch", "input", "tolerance"))
    axes = {}
    for axis, words in BENCH_AXES.items():
        with reader.collect():
            if axis in node:
                axes[axis] = known_words(node, axis, words)
    for axis, word in CUDA_ONLY.items():
        if axes.get("device") == ("cpu",) and word in axes.get(axis, ()):
            others = listed(other for other in BENCH_AXES[axis] if other != word)
            reader.add(f"{word} is of CUDA devices only", node.key(axis).place, f"on the cpu {others}")
    names: tuple[str, ...] = ()
    batches: tuple[int, ...] = ()
    with reader.collect():
        if "arch" in node:
            names = known_words(node, "arch", archs)
    with reader.collect():
        if "batch" in node:
            batches = _batches(node)
    size = reader.input(node)
    tolerance = reader.percentage(node, "tolerance")
    return BenchEntry(names, axes, batches, size, tolerance, node.place)


def _batches(node: Fields) -> tuple[int, ...]:
    """The numbers of images of `batch:`, each once."""
    batches: dict[str, int] = {}
    for word in words_of(text_of(node.get("batch"), "batch", BATCH_FORM)):
        if not re.fullmatch(r"[1-9][0-9]{0,6}", word.text) or word.text in batches:
            raise spec_error(f"batch is {quote(word.text)}", word.place, BATCH_FORM)
        batches[word.text] = int(word.text)
    return tuple(batches.values())
