"""How long it takes to say which network a module is: of small and large ones, known and unknown, and of what steps.

    python tests/bench/naming.py [--rounds N] [--nets NAME ...] [-o FILE]

Seconds of processor time in this process, after one network was named, so that specs are read; a median of some rounds.
Beside it the work in counts, which do not depend on the machine: runs of the module, archs whose graphs were looked
at, and the landmarks that were compared in all. Detection networks decide by values, so they run on real tensors.
Torch has one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from rv_check import build
from rv_check.checks import identify as identifying
from rv_check.modules.observe import Subject

models = torchvision.models
NETS: dict[str, Callable[[], nn.Module]] = {
    "vgg11": models.vgg11,
    "resnet18": models.resnet18,
    "resnet50": models.resnet50,
    "resnet152": models.resnet152,
    "resnet1202": lambda: build("resnet1202"),
    "a small convnet": lambda: nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    ),
    "vit_b_16": models.vit_b_16,
    "densenet201": models.densenet201,
    "efficientnet_b7": models.efficientnet_b7,
    "ssd300_vgg16": lambda: models.detection.ssd300_vgg16(weights=None, weights_backbone=None),
    "maskrcnn_resnet50_fpn": lambda: models.detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None),
}
REAL = ("ssd300_vgg16", "maskrcnn_resnet50_fpn")


class Counted:
    """Counts what naming does, while it is entered."""

    def __init__(self) -> None:
        self.runs = self.looks = self.landmarks = 0
        self._observe, self._likeness = Subject.observe, identifying.likeness

    def __enter__(self) -> Counted:
        def observe(subject: Subject, *given: Any) -> Any:
            self.runs += 1
            return self._observe(subject, *given)

        def likeness(expected: Any, found: Any) -> float:
            self.looks += 1
            self.landmarks += len(expected.all) + len(found.all)
            return self._likeness(expected, found)

        Subject.observe, identifying.likeness = observe, likeness  # type: ignore[method-assign]
        return self

    def __exit__(self, *error: object) -> None:
        Subject.observe, identifying.likeness = self._observe, self._likeness  # type: ignore[method-assign]


def measure(name: str, rounds: int) -> dict[str, Any]:
    """One network: its name as found, the median of the seconds, and the counts."""
    with torch.device("cpu" if name in REAL else "meta"):
        module = NETS[name]().eval()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        with Counted() as counted:
            found = identifying.identify(module)
        times.append(time.process_time() - start)
    return {
        "network": name,
        "modules": sum(1 for _ in module.modules()),
        "said": found.arch.name if found.near else "none of the known",
        "likeness": found.likeness,
        "seconds": round(statistics.median(times), 2),
        "runs": counted.runs,
        "looks": counted.looks,
        "landmarks": counted.landmarks,
    }


def main() -> None:
    """Every network in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nets", nargs="+", choices=NETS, default=list(NETS), metavar="NAME")
    parser.add_argument("-o", "--output", type=Path, help="a file for what is measured, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with torch.device("meta"):
        identifying.identify(models.resnet34().eval())
    found = []
    for name in options.nets:
        found.append(measure(name, options.rounds))
        print(json.dumps(found[-1]), flush=True)
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
