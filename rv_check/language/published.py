"""Reads `published:`, the numbers that are printed of an arch, each with its source."""

from __future__ import annotations

import re

from rv_check.errors import spec_error
from rv_check.language.definitions import Published
from rv_check.language.notations import parse_field
from rv_check.language.reading import SpecReader, text_of
from rv_check.language.vocabulary import METRICS, VERDICTS, WHOLE_METRICS
from rv_check.language.yaml_nodes import Fields, Items, YamlNode, kind
from rv_check.text import listed, nearest, quote


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
            number = _number(reader, item)
            found += [number] if number is not None else []
    return tuple(found)


def _number(reader: SpecReader, node: YamlNode) -> Published | None:
    """One entry; None where its metric is wrong, which has been reported."""
    if not isinstance(node, Fields):
        raise spec_error(f"a published number is {kind(node)}", node.place, "METRIC: number, and its source:")
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
    text = text_of(node.get(metric), metric, "a number, as printed")
    printed = text.text.strip()
    if metric == "receptive_field" and "/" in printed:
        parse_field(text)
    elif metric in WHOLE_METRICS and not re.fullmatch(r"\d[\d_,]{0,30}", printed):
        near = f"m{metric}" if metric == "params" else f"g{metric}" if metric == "macs" else None
        raise spec_error(f"{metric} is {quote(printed)}", text.place, "a whole number", near)
    elif not re.fullmatch(r"\d[\d_,]{0,30}(\.\d{1,30})?", printed):
        raise spec_error(f"{metric} is {quote(printed)}", text.place, "a decimal number, as printed")
    return Published(metric, printed, source, within, verdict, note, text.place)


def _metric(reader: SpecReader, node: Fields) -> str | None:
    """The one metric of an entry; what is wrong with it is reported."""
    names = [name for name in node.entries if name not in ("source", "within", "verdict", "note")]
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
