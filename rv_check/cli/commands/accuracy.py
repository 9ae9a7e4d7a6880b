"""The command `rv-check accuracy`: top-1 and top-5 of weights on a folder of images, against what is published."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rv_check.archs.load import load
from rv_check.cli import options as shared
from rv_check.cli.console import DID_NOT_HOLD, HELD, Answer, Console
from rv_check.errors import RvCheckError
from rv_check.modules.named import is_module
from rv_check.optional import need, need_device
from rv_check.report import tables

SCHEMA = "rv-check/accuracy/1"
RANKS = ("top1", "top5")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("subject", metavar="ARCH", help=shared.ARCH)
    shared.weights(parser, required=True)
    parser.add_argument(
        "--data", required=True, metavar="FOLDER", help="CLASS/IMAGE, classes in the order of their names"
    )
    shared.batch(parser, 64)
    shared.device(parser)
    parser.add_argument("--state", metavar="FILE", help="keeps what was counted: a run that was stopped goes on")
    shared.json_of(parser, SCHEMA)


def run(options: argparse.Namespace, console: Console) -> Answer:
    """Count, and compare. The status is 1 where a published value lies outside of the interval.

    Raises: RvCheckError.
    """
    if is_module(options.subject):
        raise RvCheckError(f"{options.subject} is a module", expected="an arch; check says whether a module is one")
    arch = load(options.subject)
    need("torch")
    need_device(options.device)
    from rv_check.weights import accuracy

    printed = accuracy.published(arch, options.weights)
    state = Path(options.state) if options.state else None
    with console.progress(1) as progress:

        def seen(done: int, images: int) -> None:
            is_first = not progress.done  # and may have been counted by an earlier run
            progress.step(done / images - progress.done, f"{done} of {images} images", not is_first)

        counts = accuracy.measure(
            arch, options.weights, Path(options.data), options.batch, options.device, state, seen, options.map
        )
    found: dict[str, Any] = {"schema": SCHEMA, "subject": arch.name, "weights": options.weights}
    found |= {"data": options.data, "images": counts.images}
    for name, hits in zip(RANKS, (counts.top1, counts.top5), strict=True):
        share = accuracy.Share.of(hits, counts.images)
        entry = printed.get(name)
        held = share.holds(float(entry.printed)) if entry else None
        found[name] = {**vars(share), "hits": hits, "published": entry and entry.printed, "holds": held}
    source = next((entry.source for entry in printed.values()), "")
    holds = all(found[name]["holds"] is not False for name in RANKS)
    return Answer(lambda: found, partial(text, found, source), HELD if holds else DID_NOT_HOLD)


def text(found: Mapping[str, Any], source: str) -> str:
    """A line for top-1 and one for top-5. Args: the object of --json, and the source of what is published."""
    rows = []
    for name in RANKS:
        one = found[name]
        verdict = "" if one["holds"] is None else "holds" if one["holds"] else "outside of the interval"
        interval = f"{one['low']:.3f} to {one['high']:.3f}"
        rows.append((name, f"{one['percent']:.3f}", interval, one["published"] or "", verdict))
    heading = f"{found['subject']} with {found['weights']} on {found['images']:,} images of {found['data']}"
    table = tables.table(("", "%", "95 % interval", "published", ""), rows, "lrrrl")
    below = f"published: {source}" if source else "nothing is published of these weights on these classes"
    return f"{heading}\n\n{table}\n\n{below}"
