"""Writes constraints.txt, the version of every package that the environments of tox.ini have installed, and build.txt.

`tox -e renew` runs it with its own Python, which has tox, after it has filled and tested the environment `latest`.
Left out are torch and torchvision, and what nothing but these needs: they come as the machine gives them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FREE = {"torch", "torchvision"}
SEEDS = {"pip", "setuptools", "wheel", "rv-check"}  # what each environment has from elsewhere
HEAD = """\
# The version of every package in the environments of tox.ini. Written by `tox -e renew`: change nothing by hand.
# Left out are torch and torchvision, and what nothing but these needs: they come as the machine gives them.
"""
BUILD_HEAD = """\
# What builds the packages that come as source, fvcore and iopath. Written by `tox -e renew`: change nothing by hand.
"""


def installed() -> tuple[dict[str, str], dict[str, list[str]]]:
    """The packages of this environment: the version of each, and the names of what each needs here.

    `cuda-toolkit[cublas]` is beside `cuda-toolkit` where somebody may need it with that extra.
    """
    versions: dict[str, str] = {}
    needs: dict[str, list[str]] = {}
    for package in distributions():
        name = canonicalize_name(package.metadata["Name"])
        versions[name] = package.version
        wanted = [Requirement(text) for text in package.requires or ()]
        for extra in ("", *(package.metadata.get_all("Provides-Extra") or ())):
            met = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": extra})]
            needs[_node(name, extra)] = [_node(one.name, extra) for one in met for extra in ("", *one.extras)]
    return versions, needs


def _node(name: str, extra: str) -> str:
    return canonicalize_name(name) + (f"[{canonicalize_name(extra)}]" if extra else "")


def held(needs: Mapping[str, list[str]]) -> set[str]:
    """The packages whose versions are to be held: all but the free ones, and what is needed through these alone."""

    def reached(names: set[str]) -> set[str]:
        """These packages and what they lead to, but for ways through a free one."""
        seen: set[str] = set()
        while names:
            name = names.pop()
            if name in needs and name not in seen and name.partition("[")[0] not in FREE:
                seen.add(name)
                names.update(needs[name])
        return {name.partition("[")[0] for name in seen}

    packages = {name for name in needs if "[" not in name}
    theirs = reached({name for free in FREE for name in needs.get(free, ())})
    return reached(packages - theirs - FREE) - SEEDS


def pins(versions: Mapping[str, str], needs: Mapping[str, list[str]]) -> dict[str, str]:
    """The versions to hold, without what a machine adds to them (`+cu130`)."""
    return {name: versions[name].partition("+")[0] for name in held(needs)}


def main() -> None:
    """Write the file; with the name of another, write into that what is installed here."""
    if sys.argv[1:]:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        Path(sys.argv[1]).write_text(json.dumps([python, *installed()]))
        return
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "latest.json"  # pip and tox print what they do
        subprocess.run(["tox", "exec", "-e", "latest", "--", "python", __file__, str(listing)], cwd=ROOT, check=True)
        python, versions, needs = json.loads(listing.read_text())
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    if python != oldest:
        sys.exit(f"the environment `latest` has Python {python}\n  expected: {oldest}, for all others to follow")
    versions_here, needs_here = installed()  # tox stands beside what it runs, and is held to the same versions
    every = {**pins(versions_here, needs_here), **pins(versions, needs)}
    (ROOT / "constraints.txt").write_text(HEAD + "".join(f"{name}=={every[name]}\n" for name in sorted(every)))
    (ROOT / ".ci" / "build.txt").write_text(f"{BUILD_HEAD}setuptools=={versions_here['setuptools']}\n")


if __name__ == "__main__":
    main()
