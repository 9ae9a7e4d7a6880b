"""Reads `published:`, the numbers that are printed of an arch, each with its source."""

from __future__ import annotations

import re

from rv_check.errors import spec_error
from rv_check.language.definitions import Published
from rv_check.language.notations import parse_field, parse_input
from rv_check.language.reading import SpecReader, text_of
from rv_check.language.vocabulary import METRICS, VERDICTS, WEIGHTS, WHOLE_METRICS
from rv_check.language.yaml_nodes import Fields, Items, Text, YamlNode, kind
from rv_check.text import listed, nearest, quote

NUMBERS_FORM = "those of a line of a table, as in mparams 5.3, gmacs 0.39"
ENTRY = re.compile(r"\w+\.\w+")
ENTRY_FORM = "as torchvision names it, as in AlexNet_Weights.IMAGENET1K_V1"
WEIGHTS_FORM = "its numbers on one line, as in params 61_100_840, gmacs 0.714, top1 56.522, top5 79.066"


def read_published(reader: SpecReader, arch: Fields) -> tuple[Published, ...]:
    """The numbers of `published:`, in the order of the file. Raises: Enough."""
    node = arch.get("published")
    if node is None:
        return ()
    if not isinstance(node, Items):
        reader.add(f"published is {kind(node)}", node.place, "a list of metrics, each with its source:")
        return ()
    found = []
    for item in node.items:
        with reader.collect():
            found += _numbers(reader, item)
    return tuple(found)


def read_weights(reader: SpecReader, arch: Fields) -> tuple[Published, ...]:
    """The numbers of `weights:`, which torchvision's metadata states of entries of weights. Raises: Enough."""
    found: list[Published] = []
    for name, (key, node) in reader.mapping(arch, "weights", f"entries of weights, each with {WEIGHTS_FORM}").items():
        with reader.collect():
            if not ENTRY.fullmatch(name):
                raise spec_error(f"{quote(name)} is no entry of weights", key.place, ENTRY_FORM)
            found += _of_weights(reader, name, text_of(node, f"what is stated of {name}", WEIGHTS_FORM))
    return tuple(found)


def _of_weights(reader: SpecReader, name: str, line: Text) -> list[Published]:
    """The numbers of a line, `params 61_100_840, gmacs 0.714, input 3 224 224`; what is wrong is reported."""
    stated = _stated(reader, line, (*WEIGHTS, "input"))
    size = parse_input(stated.pop("input")) if "input" in stated else None
    if not stated:
        raise spec_error(f"nothing is stated of {name}", line.place, WEIGHTS_FORM)
    return [
        Published(word, text.text, f"torchvision {name}.{WEIGHTS[word]}", None, None, "", text.place, size)
        for word, text in stated.items()
    ]


def _stated(reader: SpecReader, line: Text, known: tuple[str, ...]) -> dict[str, Text]:
    """The numbers of a line by their metrics, `mparams 5.3, gmacs 0.39`; what is wrong is reported."""
    stated: dict[str, Text] = {}
    for match in re.finditer(r"[^,]+|(?<=,)$|^(?=,)", line.text):
        begin = match.start() + len(match[0]) - len(match[0].lstrip())
        word, _, rest = match[0].strip().partition(" ")
        number = Text(rest.strip(), line.at(begin + len(word) + 1 + len(rest) - len(rest.lstrip())), line.exact)
        with reader.collect():
            if word not in known:
                near = nearest(word.replace("flop", "mac"), known)
                raise spec_error(f"unknown metric {quote(word)}", line.at(begin), ", ".join(known), near)
            if word in stated:
                raise spec_error(f"{word} stands here already", line.at(begin), "each metric once")
            stated[word] = number
            if word != "input":
                _printed(word, number)
    return stated


def _numbers(reader: SpecReader, node: YamlNode) -> list[Published]:
    """Those of one entry: of `numbers:`, a line of a table, or of a metric."""
    if not isinstance(node, Fields):
        raise spec_error(f"a published number is {kind(node)}", node.place, "METRIC: number, and its source:")
    if "numbers" not in node:
        number = _number(reader, node)
        return [] if number is None else [number]
    reader.keys(node, "an entry of several numbers", ("numbers", "source"), ("note", "input"))
    source, note, size = reader.prose(node, "source"), reader.prose(node, "note"), reader.input(node)
    stated = _stated(reader, text_of(node.get("numbers"), "numbers", NUMBERS_FORM), METRICS)
    return [Published(word, text.text, source, None, None, note, text.place, size) for word, text in stated.items()]


def _number(reader: SpecReader, node: Fields) -> Published | None:
    """The entry of one metric; None where its metric is wrong, which has been reported."""
    metric = _metric(reader, node)
    if "source" not in node:
        what = metric or "a published number"
        reader.add(f"{what} without a source", node.place, "source: and where it is printed")
    source, note = reader.prose(node, "source"), reader.prose(node, "note")
    within = reader.percentage(node, "within")
    verdict = None
    with reader.collect():
        verdict = _verdict(node)
    if metric is None:
        return None
    size = reader.input(node)
    text = text_of(node.get(metric), metric, "a number, as printed")
    printed = _printed(metric, text)
    return Published(metric, printed, source, within, verdict, note, text.place, size)


def _printed(metric: str, text: Text) -> str:
    """The number of a metric, as it is printed. Raises: SpecError where it is none."""
    printed = text.text.strip()
    if metric == "receptive_field" and "/" in printed:
        parse_field(text)
    elif metric in WHOLE_METRICS and not re.fullmatch(r"\d[\d_,]{0,30}", printed):
        near = f"m{metric}" if metric == "params" else f"g{metric}" if metric == "macs" else None
        raise spec_error(f"{metric} is {quote(printed)}", text.place, "a whole number", near)
    elif not re.fullmatch(r"\d[\d_,]{0,30}(\.\d{1,30})?", printed):
        raise spec_error(f"{metric} is {quote(printed)}", text.place, "a decimal number, as printed")
    return printed


def _metric(reader: SpecReader, node: Fields) -> str | None:
    """The one metric of an entry; what is wrong with it is reported."""
    names = [name for name in node.entries if name not in ("source", "within", "verdict", "note", "input")]
    unknown = [name for name in names if name not in METRICS]
    for name in unknown:
        near = nearest(name.replace("flop", "mac"), METRICS)  # many call MACs flops
        reader.add(f"unknown metric {quote(name)}", node.key(name).place, ", ".join(METRICS), near)
    if not names:
        reader.add("a published number without its metric", node.place, ", ".join(METRICS))
    elif len(names) > 1 and not unknown:
        reader.add(f"two metrics in one entry: {listed(names)}", node.key(names[1]).place, "an entry for each")
    return names[0] if len(names) == 1 and not unknown else None


def _verdict(node: Fields) -> str | None:
    if "verdict" not in node:
        return None
    text = text_of(node.get("verdict"), "verdict", " or ".join(VERDICTS))
    if text.text not in VERDICTS:
        near = nearest(text.text, VERDICTS)
        raise spec_error(f"unknown verdict {quote(text.text)}", text.place, " or ".join(VERDICTS), near)
    if "within" in node:
        raise spec_error("both verdict: and within:", node.key("verdict").place, "one of them")
    return text.text
