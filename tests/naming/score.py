"""Whether a network that was changed is still named after what it was made from: every shipped arch, every change.

`python -m tests.naming.score` asks of all of them anew, in about half an hour, and writes `cells.json`; `--table`
prints the table of what was written, which stands in docs/naming.md. `--only NAME ...` asks of some archs alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import torch
from tabulate import tabulate
from torch import nn

from rv_check import build
from rv_check.archs.arch import Arch
from rv_check.archs.load import all_archs
from rv_check.checks.identify import Identity, has_structure, identify
from rv_check.errors import RvCheckError
from rv_check.graphs.network import At
from rv_check.modules.observe import Subject
from rv_check.modules.reference import build_reference
from tests.naming.changes import EVERYWHERE, ONCE, Change, Unchanged

CELLS = Path(__file__).with_name("cells.json")
LARGE = 1000  # layers: of larger networks it is asked of fewer changes
RIGHT, NOTHING = "right", "nothing to change"
Cells = dict[str, dict[str, str]]


def changes_of(arch: Arch) -> tuple[Change, ...]:
    """What is changed of an arch: all that there is; of a very large one 15 things everywhere, and 10 in one place."""
    return (*EVERYWHERE[:15], *ONCE[:10]) if arch.depth > LARGE else (*EVERYWHERE, *ONCE)


def network(arch: Arch) -> nn.Module:
    """The network of an arch on meta in eval mode: that of its reference where it has one, else from its spec.

    No activation writes in place: where a norm before it is taken away, it would write into what a skip still reads.
    """
    of_its_own = arch.entry.reference is None or arch.family.name == "regnet"  # torchvision's does not build on meta
    with torch.device("meta"):
        net = (build(arch) if of_its_own else build_reference(arch)).eval()
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return net


def changed(arch: Arch, change: Change) -> nn.Module:
    """The network with a change. Raises: Unchanged."""
    with torch.device("meta"):
        return change.make(network(arch)).eval()


def judged(arch: Arch, change: Change) -> str:
    """What came of it: `right`, or the name that was given, with its likeness.

    A name is right that is the arch's; or that of an arch that the changed network is, or which the same change makes
    the same network: a plain VGG is a VGG with norms without its norms.
    """
    try:
        module = changed(arch, change)
    except Unchanged:
        return NOTHING
    named = identify(module)
    if named.near and (named.arch.entry.name == arch.entry.name or is_as_right(named, module, arch, change)):
        return RIGHT
    return f"{named.arch.name} at {named.likeness:.0%}"


def is_as_right(named: Identity, module: nn.Module, arch: Arch, change: Change) -> bool:
    """Whether another name than that of the arch says the same."""
    with suppress(RvCheckError):  # one of grey images does not run at the arch's own
        if has_structure(module, named.arch):
            return True
    declared = next(one for one in all_archs() if one.entry.name == named.arch.entry.name)
    if declared.declared_input != arch.declared_input:
        return False
    try:
        other = changed(declared, change)
        return outputs(other, declared) == outputs(module, arch)
    except (Unchanged, NotImplementedError):
        return False


def outputs(module: nn.Module, arch: Arch) -> list[bytes]:
    """Equal for networks that compute the same."""
    return [node.key for node in Subject(module).observe(At(arch.declared_input)).outputs.values()]


def written() -> Cells:
    """What came of each arch and change, as it was written."""
    found: Cells = json.loads(CELLS.read_text(encoding="utf-8"))
    return found


def table(cells: Cells) -> str:
    """A line for each change: of how many archs that have what it changes the name is right, and what else was said."""
    lines = []
    for title, changes in (("one change everywhere", EVERYWHERE), ("one change in one place", ONCE)):
        counts: Counter[str] = Counter()
        rows = []
        for change in changes:
            said = {arch: row[change.name] for arch, row in cells.items() if row.get(change.name, NOTHING) != NOTHING}
            right = sum(one == RIGHT for one in said.values())
            counts.update(right=right, all=len(said))
            wrong = [f"{arch}: {one}" for arch, one in said.items() if one != RIGHT]
            rows.append([change.name, f"{right} of {len(said)}", "; ".join(wrong)])
        lines += [[f"**{title}**", f"**{counts['right']:,} of {counts['all']:,}**", ""], *rows]
    return tabulate(lines, ["change", "named right", "the others are said to be"], tablefmt="pipe")


def told(text: str) -> None:
    """A line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def measure(only: Collection[str]) -> None:
    """Ask of all archs, or of some, and keep what is said."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    cells: Cells = written() if CELLS.exists() else {}
    known = all_archs()
    for arch in (one for one in known if not only or one.name in only):
        cells[arch.name] = {change.name: judged(arch, change) for change in changes_of(arch)}
        wrong = [f"{change}: {said}" for change, said in cells[arch.name].items() if said not in (RIGHT, NOTHING)]
        told(f"{arch.name}: {'; '.join(wrong) or 'all right'}")
        ordered = {one.name: cells[one.name] for one in known if one.name in cells}
        CELLS.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Ask, and write or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="print the table")
    parser.add_argument("--only", metavar="ARCH", nargs="+", default=(), help="ask of these archs alone")
    options = parser.parse_args()
    if options.table:
        told(table(written()))
    else:
        measure(options.only)


if __name__ == "__main__":
    main()
