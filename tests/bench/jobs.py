"""How long the checks of all archs take one after another, and at once: whole commands, side by side in one run.

    python tests/bench/jobs.py [--jobs 2] [--before FOLDER] [--archs resnet18 ...] [--rounds 1] [-o FILE]

Runs `rv-check report --jobs 1` and `--jobs N` in turn, A B A B, and sees that both print the same. With `--before`,
another checkout of rv_check, `rv-check report` as it is there stands for `--jobs 1`. Prints the ratio of each round
and, for the machine, what it has. On a machine that others use as well it says nothing: the load is printed first, and
should be below 0.1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rv_check.cli import machine

ROOT = Path(__file__).parents[2]


def run(arguments: list[str], checkout: Path) -> tuple[float, str]:
    """Seconds of one command, as it is in a checkout, and what it printed."""
    command = [sys.executable, "-m", "rv_check", "report", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=checkout, env=environment)
    took = time.perf_counter() - start
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    return took, done.stdout


def main() -> None:
    """Rounds of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=machine.cores())
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="a checkout without --jobs, in place of --jobs 1")
    parser.add_argument("--archs", nargs="*", default=[], help="all unless given")
    parser.add_argument("--level", choices=["structure", "numbers"], default="numbers")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, help="a file for the times, as JSON")
    options = parser.parse_args()
    free = machine.free_bytes() / 1e9
    load = f"load {os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "load not known"
    print(f"{machine.cores()} cores, {free:.1f} GB free, {load}, Python {platform.python_version()}", flush=True)
    arguments = [*options.archs, "--level", options.level]
    one, many = ["--jobs", "1"], ["--jobs", str(options.jobs)]
    name = "--jobs 1" if options.before is None else f"report of {options.before}"
    times: list[tuple[float, float]] = []
    for turn in range(options.rounds):
        alone, text = run([*arguments, *([] if options.before else one)], (options.before or ROOT).resolve())
        beside, other = run([*arguments, *many], ROOT)
        times.append((alone, beside))
        same = "the same output" if text == other else "OTHER OUTPUT"
        words = f"{alone:.1f} s by {name}, {beside:.1f} s by --jobs {options.jobs}, ratio {beside / alone:.3f}"
        print(f"round {turn + 1}: {words}, {same}", flush=True)
    ratio = statistics.median(beside / alone for alone, beside in times)
    print(f"--jobs {options.jobs} / {name}: ratio {ratio:.3f}, {options.rounds} rounds")
    if options.output:
        found = {"jobs": options.jobs, "archs": options.archs, "level": options.level, "seconds": times, "ratio": ratio}
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
