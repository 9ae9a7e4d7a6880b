"""The command `rv-check accuracy`: top-1 and top-5 of weights on a folder of images, against what is published."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rv_check.archs.load import load
from rv_check.cli.commands.transfer import MAP
from rv_check.cli.common import positive
from rv_check.cli.progress import Progress
from rv_check.errors import RvCheckError
from rv_check.modules.named import is_module
from rv_check.optional import need, need_device
from rv_check.report import tables

SCHEMA = "rv-check/accuracy/1"
HELD, DID_NOT_HOLD = 0, 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("subject", metavar="ARCH", help="resnet50, or 'resnet50(classes=10)'")
    parser.add_argument("--weights", required=True, metavar="FILE|NAME", help="a checkpoint, or torchvision's name")
    parser.add_argument("--map", metavar="MODULE|FILE", help=MAP)
    parser.add_argument(
        "--data", required=True, metavar="FOLDER", help="CLASS/IMAGE, classes in the order of their names"
    )
    parser.add_argument("--batch", type=positive, default=64, metavar="N", help="images at a time, 64 unless given")
    parser.add_argument("--device", default="cpu", help="where it runs, as torch names it; cpu unless given")
    parser.add_argument("--state", metavar="FILE", help="keeps what was counted: a run that was stopped goes on")
    parser.add_argument("--json", action="store_true", help=f"one object, schema {SCHEMA}")


def run(options: argparse.Namespace) -> int:
    """Count, and compare. Exit status 1 where a published value lies outside of the interval."""
    if is_module(options.subject):
        raise RvCheckError(f"{options.subject} is a module", expected="an arch; check says whether a module is one")
    arch = load(options.subject)
    need("torch")
    need_device(options.device)
    from rv_check.weights import accuracy

    told: list[Progress] = []

    def seen(done: int, images: int) -> None:
        if not told:
            told.append(Progress(images))
            told[0].step(f"{done} of {images} images", done, took_time=False)
        else:
            told[0].step(f"{done} of {images} images", done - told[0].done)

    printed = accuracy.published(arch, options.weights)
    try:
        state = Path(options.state) if options.state else None
        counts = accuracy.measure(
            arch, options.weights, Path(options.data), options.batch, options.device, state, seen, options.map
        )
    finally:
        if told:
            told[0].close()
    found: dict[str, Any] = {"schema": SCHEMA, "subject": arch.name, "weights": options.weights}
    found |= {"data": options.data, "images": counts.images}
    rows, holds = [], True
    for name, hits in (("top1", counts.top1), ("top5", counts.top5)):
        share = accuracy.Share.of(hits, counts.images)
        entry = printed.get(name)
        held = share.holds(float(entry.printed)) if entry else None
        holds = holds and held is not False
        found[name] = {**vars(share), "hits": hits, "published": entry and entry.printed, "holds": held}
        verdict = "" if held is None else "holds" if held else "outside of the interval"
        interval = f"{share.low:.3f} to {share.high:.3f}"
        rows.append((name, f"{share.percent:.3f}", interval, entry.printed if entry else "", verdict))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print(f"{arch.name} with {options.weights} on {counts.images:,} images of {options.data}\n")
        print(tables.table(("", "%", "95 % interval", "published", ""), rows, "lrrrl"))
        source = next((entry.source for entry in printed.values()), "")
        print(f"\npublished: {source}" if source else "\nnothing is published of these weights on these classes")
    return HELD if holds else DID_NOT_HOLD
