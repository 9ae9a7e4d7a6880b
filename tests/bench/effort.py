"""What the check of an arch takes, each in a process of its own: seconds by check, and the most memory.

    python tests/bench/effort.py [--archs resnet18 vgg16 ...] [-o FILE]

The constants of rv_check/checks/effort.py are from here. Prints beside each measured value what is estimated, and
judges nothing. Torch has one thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rv_check import load
from rv_check.checks.check import Check
from rv_check.checks.effort import peak_bytes, seconds
from rv_check.checks.judge import Judge
from rv_check.checks.registry import check_arch, checks_of


def measure(name: str) -> dict[str, Any]:
    """In this process: processor time of each check, and the most memory of all."""
    import resource  # there is none on Windows

    import torch
    import torchvision

    assert torchvision.__version__  # imported now, and in no check's time
    torch.set_num_threads(1)
    arch, begun = load(name), []

    def starting(subject: str, checks: Sequence[Check], index: int) -> None:
        begun.append((checks[index], time.process_time()))

    report = check_arch(arch, judge=Judge(starting=starting))
    ends = [*(start for _, start in begun[1:]), time.process_time()]
    took = {check.name: end - start for (check, start), end in zip(begun, ends, strict=True)}
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in kB on Linux
    return {"arch": name, "passed": report.passed, "seconds": took, "peak_bytes": peak}


def line(found: dict[str, Any]) -> str:
    """It in words, beside what is estimated."""
    arch = load(found["arch"])
    estimated = {check.name: seconds(check, arch.params) for check in checks_of(arch)}
    times = [f"{name} {s:.1f} s ({estimated[name]:.1f})" for name, s in found["seconds"].items() if s > 0.5]
    total = f"{sum(found['seconds'].values()):.0f} s ({sum(estimated.values()):.0f})"
    memory = f"{found['peak_bytes'] / 1e9:.2f} GB ({peak_bytes(arch, checks_of(arch)) / 1e9:.2f})"
    return f"{arch.name}: {memory}, {total}: {', '.join(times)}"


def main() -> None:
    """Every arch in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    some = ["resnet18", "resnet50", "resnet152", "resnext101_64x4d", "wide_resnet101_2", "resnet152_v1", "vgg16"]
    parser.add_argument("--archs", nargs="+", default=[*some, "vgg19_bn"])
    parser.add_argument("-o", "--output", type=Path, help="a file for what is measured, as JSON")
    parser.add_argument("--of", metavar="ARCH", help="measure one in this process, and print it as JSON")
    options = parser.parse_args()
    if options.of:
        print(json.dumps(measure(options.of)))
        return
    print("measured (estimated)", flush=True)
    found = []
    for name in options.archs:
        command = [sys.executable, "-W", "ignore", __file__, "--of", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found.append(json.loads(done.stdout))
        print(line(found[-1]), flush=True)
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
