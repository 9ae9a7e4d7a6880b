"""What tox installs with: pip, where Python and the disk are fit for it, and what to do where it fails."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
GIGABYTE = 10**9
# What an environment takes that has torch with its libraries for CUDA: measured with `du` on Linux, rounded up.
NEEDED = 8 * GIGABYTE
OLDEST, TOO_NEW = (3, 11), (3, 14)

# What pip prints where the cause is outside, and what to do about it. The first that is found is told.
CAUSES = (
    (r"No space left on device", "the disk is full: free some {needed} GB, and run the same command again"),
    (
        r"NewConnectionError|ConnectTimeout|ReadTimeout|Failed to establish|name resolution|ProxyError|SSLError",
        "the package index was not reached: see that there is a network (behind a proxy set HTTPS_PROXY), "
        "and run the same command again; what is there already is kept",
    ),
    (
        r"No matching distribution found for (torch|torchvision)\b",
        "there is no torch for this machine and Python on the package index: take a Python of 3.11 to 3.13, 64 bit",
    ),
)


def unfit(version: tuple[int, int], free: int, packages: Sequence[str]) -> str:
    """Why it is not even tried, with what to do; nothing where it may succeed. `free`: bytes on the disk."""
    if not OLDEST <= version < TOO_NEW:
        found = ".".join(map(str, version))
        return f"this is Python {found}; make .venv anew with Python 3.11, 3.12 or 3.13, as python3.12 -m venv .venv"
    if any(re.match(r"torch\b", package) for package in packages) and free < NEEDED:
        found = f"{free / GIGABYTE:.1f} GB are free"
        return f"{found}, and torch with its libraries takes up to {NEEDED // GIGABYTE} GB: free some, and run it again"
    return ""


def cause(printed: str) -> str:
    """What to do after pip has failed, as far as what it printed tells."""
    for pattern, words in CAUSES:
        if re.search(pattern, printed):
            return words.format(needed=NEEDED // GIGABYTE)
    return "pip has failed, as told above"


def main(arguments: Sequence[str]) -> int:
    """Install, and give pip's exit status."""
    packages = [argument for argument in arguments if not argument.startswith("-")]
    problem = unfit(sys.version_info[:2], shutil.disk_usage(sys.prefix).free, packages)
    if problem:
        print(f"rv_check cannot be tested here: {problem}", file=sys.stderr)
        return 2
    command = [sys.executable, "-I", "-m", "pip", "install", *arguments]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(done.stdout, end="", flush=True)
    if done.returncode != 0:
        print(f"rv_check could not be installed: {cause(done.stdout)}", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
