"""What each level of evidence alone says of wrong networks, and of rewrites that change nothing.

`python -m tests.mutants.score --sample 0.01 --jobs 2 -o tests/mutants/rates.json` judges a sample of the mutants of
every operator, and everything that was written by hand; `--level structure` asks that level alone, in some minutes, and
keeps what the others said; `--table` prints the table of what was written, which stands in docs/discernment.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from functools import cache, cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from tabulate import tabulate
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rv_check import Arch, build, load
from rv_check.checks.check import run_check
from rv_check.checks.findings import Finding
from rv_check.checks.of_module import ModuleRun
from rv_check.checks.pair import Pair
from rv_check.checks.registry import CHECKS
from rv_check.checks.sizes import input_sizes
from rv_check.checks.structure import Structure, guess
from rv_check.errors import RvCheckError
from rv_check.modules import generic_point, trace
from rv_check.modules.copies import copy_of, unwrapped
from rv_check.modules.torch_state import seeded, steady
from tests.mutants import foreign, nets, operators, real_mistakes, rewrites
from tests.mutants.network import INPUT, Network, Step

RATES = Path(__file__).with_name("rates.json")
LEAST = 6  # mutants of an operator in a sample
LEAST_EQUAL = 2  # mutants of an operator that change nothing, in a sample
DEEP = ("resnet101", "resnet152", "resnext101", "wide_resnet101")  # drawn a quarter as often: slow, and like resnet50


# What is judged.


@dataclass(frozen=True)
class Item:
    """A network to judge. `group`: its row in the table; `wrong`: whether a check should complain of it."""

    group: str
    name: str
    arch: Arch
    build: Callable[[], nn.Module]
    steps: frozenset[str] = frozenset()
    wrong: bool = True
    network: Network | None = None

    @property
    def id(self) -> str:
        """Its group, its arch's short name, and its own."""
        return f"{self.group} {self.arch.name.partition('(')[0]} {self.name}"


EQUAL, REAL, FOREIGN, REWRITES, TOTAL = "equal", "real_mistakes", "foreign", "rewrites", "all"


def of_mutant(arch: Arch, mutant: operators.Mutant) -> Item:
    """A mutant of an operator."""
    wrong = not mutant.equivalent
    return Item(mutant.operator, mutant.place, arch, mutant.network.module, mutant.steps, wrong, mutant.network)


def of_case(group: str, case: nets.Case) -> Item:
    """A network that was written by hand.

    A report may name what its author says, what that reads, and all that reads the one or the other.
    """
    arch = loaded(case.arch)
    network = network_of(arch)
    read = {value for name in case.steps for value in network.step(name).inputs} if case.steps else set()
    steps = operators.near(network, case.steps) | read
    steps |= {step.name for step in network.steps if read & {*step.inputs}}
    return Item(group, case.name, arch, case.build, steps, not case.equal)


@cache
def loaded(arch: str) -> Arch:
    """One arch for each name."""
    return load(arch)


@cache
def network_of(arch: Arch) -> Network:
    """The steps of an arch."""
    return Network.of(arch)


def of_rewrite(rewrite: rewrites.Rewrite) -> Item:
    """A rewrite that changes nothing, at the declared input at least."""
    return Item(REWRITES, rewrite.name, loaded(rewrite.arch), rewrite.build, wrong=rewrite.only_at_declared_input)


def by_hand() -> list[Item]:
    """What was written by hand, but for what differs in how it starts only, and rewrites equal at one size only."""
    cases = [(REAL, case) for case in real_mistakes.CASES] + [(FOREIGN, case) for case in foreign.CASES]
    found = [of_case(group, case) for group, case in cases if case.kind != "init only"]
    return [*found, *(of_rewrite(one) for one in rewrites.REWRITES if not one.only_at_declared_input)]


def all_mutants(archs: Sequence[Arch] | None = None) -> list[Item]:
    """Every mutant of these archs, of all shipped ones unless told."""
    archs = operators.narrow_archs() if archs is None else archs
    return [of_mutant(arch, mutant) for arch in archs for mutant in operators.mutants(arch)]


def sample(items: Iterable[Item], share: float, least: int = LEAST, least_equal: int = LEAST_EQUAL) -> list[Item]:
    """A share of every group, the wrong and the equal ones apart, and no less than so many; always the same.

    Those of the deep archs come later.
    """
    strata: dict[tuple[str, bool], list[Item]] = {}
    for item in items:
        strata.setdefault((item.group, item.wrong), []).append(item)
    chosen = []
    for (_, wrong), stratum in strata.items():
        count = max(least if wrong else least_equal, math.ceil(share * len(stratum)))
        chosen += sorted(stratum, key=_rank)[:count]
    return chosen


def _rank(item: Item) -> int:
    return crc32(item.id.encode()) * (4 if item.arch.name.startswith(DEEP) else 1)


# The levels of evidence.


@dataclass(frozen=True)
class Verdict:
    """What a level says of a network: whether it complains; None where it cannot say.

    `count`: in how many differences or lines; `names`: whether the first names the place; `says`: what it says of the
    first; `died`: what it raised.
    """

    caught: bool | None
    count: int = 0
    names: bool = False
    says: str = ""
    died: str = ""


class Subject:
    """A network to judge, made once, and how its structure compares."""

    def __init__(self, item: Item):
        self.item, self.arch = item, item.arch
        self.module = unwrapped(item.build())

    @cached_property
    def run(self) -> ModuleRun:
        """The run of rv_check's checks."""
        return ModuleRun(self.module, self.arch)

    @cached_property
    def structure(self) -> Structure | None:
        """None where it does not run."""
        try:
            with steady():
                return self.run.asked_by("structure").structure
        except RvCheckError:
            return None


Level = Callable[[Subject], Verdict]


def params(subject: Subject) -> Verdict:
    """The number of parameters."""
    return Verdict(sum(p.numel() for p in subject.module.parameters()) != subject.arch.params)


def macs(subject: Subject) -> Verdict:
    """The multiply-adds of one image, as torch's FlopCounterMode counts them on meta."""
    module = copy_of(subject.module, "meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty((1, *subject.arch.input), device="meta"))
    return Verdict(counter.get_total_flops() != 2 * subject.arch.macs)


def receptive_field(subject: Subject) -> Verdict:
    """The receptive field at the last feature map, composed of kernels, strides and paddings."""
    network = subject.item.network
    return Verdict(None) if network is None else Verdict(field_of(network) != field_of(network_of(subject.arch)))


def exported(subject: Subject) -> Verdict:
    """A diff of what `torch.export` gives for it and for the model of the spec, in eval mode on meta."""
    expected, found = graph_of_arch(subject.arch), graph_of(subject.module, subject.arch.input)
    blocks = SequenceMatcher(None, expected[0], found[0], autojunk=False).get_opcodes()
    lines = sum(max(b - a, d - c) for kind, a, b, c, d in blocks if kind != "equal")
    return Verdict(expected != found, lines)


def structure(subject: Subject) -> Verdict:
    """Level structure of rv_check. A network that does not run is caught, its place is not named."""
    if subject.structure is None:
        return Verdict(True, says="it does not run")
    found = failed(subject.run, "structure")
    if not found:
        return Verdict(False)
    title = found[0].message.partition("\n")[0]
    step = INPUT if found[0].step == "" else found[0].step
    places = {step, found[0].module} if found[0].kind == "moved" else {step}  # it was moved from there, and to there
    return Verdict(True, len(found), bool(places & subject.item.steps), f"at {step}: {title}")


def failed(run: ModuleRun, name: str) -> list[Finding]:
    """What a check of rv_check complains of."""
    (check,) = [check for check in CHECKS if check.name == name]
    return [finding for finding in run_check(check, run) if finding.status == "failed"]


def measured(subject: Subject) -> Verdict:
    """Outputs, gradients and statistics in float64 at equal weights: in eval mode at two sizes, in train mode at one.

    The weights are carried over by equal names or, where the names differ, by the match or by shape and order.
    """
    found = subject.structure
    slots = guess(found) if found is not None else None
    if found is None or slots is None:
        return Verdict(True)  # it does not run, or has other parameters
    try:
        with steady():
            pair = subject.run.pair_by(found, slots).at_generic_point(torch.float64)
            sizes = input_sizes(subject.arch)[:2]
            runs = ((sizes[0], False), (sizes[-1], False), (sizes[0], True))
            return Verdict(any(differ(pair, x, train) for x, train in runs) or differ_again(pair, sizes[0]))
    except Exception as error:  # whatever the module raises
        return Verdict(True, died=type(error).__name__)


LEVELS: dict[str, Level] = {
    "params": params,
    "macs": macs,
    "receptive field": receptive_field,
    "torch.export": exported,
    "structure": structure,
    "numbers": measured,
}


def differ(pair: Pair, x: tuple[int, ...], train: bool) -> bool:
    """Whether any tensor of a pair differs."""
    data = generic_point.image(x, 2, torch.float64, "cpu")
    slots = pair.map or {}
    own, others = pair.places(training=train)
    expected = trace.limited(trace.run(pair.expected, data, train, (), own), slots)
    found = trace.renamed(trace.run(pair.found, data, train, (), others), slots, expected)
    tolerance = trace.TOLERANCE[torch.float64]
    return any(d.decides and not d.within(tolerance) for d in trace.differences(expected, found, train))


def differ_again(pair: Pair, x: tuple[int, ...]) -> bool:
    """Whether the outputs for another image differ, which a module that keeps what it saw shows."""
    data = generic_point.image(x, 2, torch.float64, "cpu", seed=4)
    with torch.no_grad():
        own, others = pair.places()
        expected = trace.forward(pair.expected.eval(), data, own)
        found = trace.forward(pair.found.eval(), data, others)
    outputs = trace.compare_outputs(expected, found)
    return not all(one.within(trace.TOLERANCE[torch.float64]) for one in outputs)


# The receptive field: size, stride and padding of both axes, which each step continues.

Field = tuple[tuple[int, int, int], ...]


def field_of(network: Network) -> Field:
    """The field of the last feature map that the output comes from."""
    fields: dict[str, tuple[Field, bool]] = {INPUT: (((1, 1, 0), (1, 1, 0)), False)}  # field and whether it collapsed
    for step in network.steps:
        read = [fields[name] for name in step.inputs]
        maps = [field for field, collapsed in read if not collapsed] or [field for field, _ in read]
        field, collapsed = _union(maps), all(collapsed for _, collapsed in read)
        collapsed = collapsed or step.kind.startswith("adaptive") or step.kind in ("flatten", "linear")
        fields[step.name] = (field if collapsed else _then(field, step)), collapsed
    return fields[network.output][0]


def _then(field: Field, step: Step) -> Field:
    stride = step.get("stride", 1)
    kernel, dilation, padding = step.get("kernel", 1), step.get("dilation", 1), step.get("padding", 0)
    windows = zip(*(value if isinstance(value, tuple) else (value, value)
                    for value in (kernel, dilation, padding, stride)), strict=True)  # fmt: skip
    return tuple(
        (size + jump * d * (k - 1), jump * s, before + jump * p)
        for (size, jump, before), (k, d, p, s) in zip(field, windows, strict=True)
    )


def _union(fields: list[Field]) -> Field:
    axes = []
    for parts in zip(*fields, strict=True):
        before = max(padding for _, _, padding in parts)
        axes.append((max(size - p for size, _, p in parts) + before, max(jump for _, jump, _ in parts), before))
    return tuple(axes)


# The script that people write instead.


@cache
def graph_of_arch(arch: Arch) -> tuple[list[str], list[list[int]]]:
    """The graph of the model that the spec builds."""
    return graph_of(build(arch), arch.input)


def graph_of(module: nn.Module, x: tuple[int, ...]) -> tuple[list[str], list[list[int]]]:
    """The operations that the output comes from, without names, and which operations each reads.

    In the order of a walk back from the output, so that it does not matter in which order branches are written; an
    operation in place is written as the ordinary one.
    """
    program = torch.export.export(copy_of(module, "meta").eval(), (torch.empty((2, *x), device="meta"),), strict=False)
    (end,) = [node for node in program.graph.nodes if node.op == "output"]
    order: dict[torch.fx.Node, int] = {}
    todo = [(end, iter(end.all_input_nodes))]
    while todo:
        node, following = todo[-1]
        inner = next((one for one in following if one not in order), None)
        if inner is None:
            order.setdefault(node, len(order))
            todo.pop()
        else:
            todo.append((inner, iter(inner.all_input_nodes)))
    lines = [_line(node) for node in order]
    unused = sorted(_shape(node) for node in program.graph.nodes if node.op == "placeholder" and node not in order)
    return lines + unused, [[order[one] for one in node.all_input_nodes] for node in order]


def _line(node: torch.fx.Node) -> str:
    words: tuple[Any, ...] = torch.fx.map_arg((node.args, node.kwargs), _shape)
    target = "" if node.op == "placeholder" else str(node.target).replace("_.", ".")
    return f"{target} {words} {_shape(node)}"


def _shape(node: torch.fx.Node) -> str:
    value = node.meta.get("val")
    return str([*value.shape]) if isinstance(value, Tensor) else "?"


# Rates.


@dataclass(frozen=True)
class Row:
    """One network and what every level says of it."""

    item: str
    group: str
    wrong: bool
    verdicts: dict[str, Verdict]


def judge(item: Item, levels: dict[str, Level] | None = None) -> Row:
    """Ask every level, each on its own. One that raises has died."""
    verdicts = {}
    with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"), seeded(0):
        warnings.simplefilter("ignore")
        subject = Subject(item)
        for name, level in (levels or LEVELS).items():
            try:
                verdicts[name] = level(subject)
            except Exception as error:  # whatever the module, or what counts it, raises
                verdicts[name] = Verdict(False, died=f"{type(error).__name__}: {error}".partition("\n")[0][:200])
    return Row(item.id, item.group if item.wrong or item.group == REWRITES else EQUAL, item.wrong, verdicts)


def rates(rows: Iterable[Row], of: dict[str, int] | None = None) -> dict[str, dict[str, Any]]:
    """How many of each group every level catches.

    Args: `of` how many there are of each group, where the rows are a sample; the total weighs the groups by it.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    found = {}
    for group, members in groups.items():
        counts: dict[str, Any] = {"of": (of or {}).get(group, len(members)), "judged": len(members)}
        for level in members[0].verdicts:
            verdicts = [row.verdicts[level] for row in members]
            counts[level] = None if all(v.caught is None for v in verdicts) else sum(bool(v.caught) for v in verdicts)
            if dead := sum(bool(v.died) and not v.caught for v in verdicts):
                counts[f"{level} died"] = dead
        verdicts = [row.verdicts["structure"] for row in members if "structure" in row.verdicts]
        counts["names the place"] = sum(bool(v.caught) and v.names for v in verdicts)
        counts["one difference"] = sum(bool(v.caught) and v.count == 1 for v in verdicts)
        lines = sorted(row.verdicts["torch.export"].count for row in members if "torch.export" in row.verdicts)
        counts["lines of diff, median"] = lines[len(lines) // 2] if lines else 0
        found[group] = counts
    return found


def exceptions(rows: Iterable[Row]) -> dict[str, list[str]]:
    """The networks of which level structure says something else than it should."""
    found: dict[str, list[str]] = {"not caught": [], "another place": [], "flagged": []}
    for row in rows:
        verdict = row.verdicts["structure"]
        if not row.wrong and verdict.caught:
            found["flagged"].append(f"{row.item} | {verdict.says}")
        elif row.wrong and not verdict.caught:
            found["not caught"].append(row.item)
        elif row.wrong and not verdict.names:
            found["another place"].append(f"{row.item} | {verdict.says}")
    return found


WORDS = {
    TOTAL: "all",
    REAL: "hand-written: real mistakes",
    FOREIGN: "hand-written: by authors who had not read the matcher",
    EQUAL: "mutants that change nothing (flagged)",
    REWRITES: "rewrites that change nothing (flagged)",
}
COLUMNS = {
    "params": "params",
    "macs": "MACs",
    "receptive field": "receptive field",
    "torch.export": "torch.export + difflib",
    "structure": "structure",
    "names the place": "names the place",
    "one difference": "one difference",
    "numbers": "numbers",
}


def table(found: dict[str, Any]) -> str:
    """The rates as a markdown table: how much of each row every level catches, in percent.

    The place and the number of differences are of what level structure catches. "+ died" is the share of which the
    level says nothing, since it raises.
    """
    rows = found["rows"]
    mutants = {group: counts for group, counts in rows.items() if group not in WORDS}
    total = {"of": sum(counts["of"] for counts in mutants.values())}
    total["judged"] = sum(counts["judged"] for counts in mutants.values())
    lines = [
        [group.replace("_", " "), _judged(counts), *(_cell(counts, column) for column in COLUMNS)]
        for group, counts in sorted(mutants.items())
    ]
    shares = [_weighted(mutants.values(), column) for column in COLUMNS]
    lines.append([f"**{WORDS[TOTAL]}**", _judged(total), *shares])
    for group in (REAL, FOREIGN, EQUAL, REWRITES):
        if group in rows:
            flagged = group in (EQUAL, REWRITES)
            cells = ["" if flagged and column in TOLD else _cell(rows[group], column) for column in COLUMNS]
            lines.append([WORDS[group], _judged(rows[group]), *cells])
    headers = ["mistake", "mutants", *COLUMNS.values()]
    return tabulate(lines, headers, tablefmt="pipe", disable_numparse=True, colalign=["left", *["right"] * 9])


TOLD = ("names the place", "one difference")  # columns for what level structure catches


def _judged(counts: dict[str, Any]) -> str:
    return f"{counts['judged']:,}" if counts["judged"] == counts["of"] else f"{counts['judged']:,} of {counts['of']:,}"


def _cell(counts: dict[str, Any], column: str) -> str:
    count, whole = counts[column], counts["structure" if column in TOLD else "judged"]
    if count is None or not whole:
        return ""
    dead = counts.get(f"{column} died", 0)
    return _percent(count / whole) + (f" + {_percent(dead / whole)} died" if dead else "")


def _weighted(groups: Iterable[dict[str, Any]], column: str) -> str:
    """The share of all mutants, each group weighing what it has, not what of it was judged."""
    groups = [*groups]
    part = sum(counts["of"] * (counts[column] or 0) / counts["judged"] for counts in groups)
    whole = sum(counts["of"] * (counts["structure"] / counts["judged"] if column in TOLD else 1) for counts in groups)
    return _percent(part / whole) if whole else ""


def _percent(share: float) -> str:
    """Never rounded to none or all."""
    shown = f"{100 * share:.0f}"
    return f"{100 * share:.1f}" if (shown == "100" and share < 1) or (shown == "0" and share > 0) else shown


# The command.


def renewed(before: dict[str, Any], now: dict[str, Any], levels: Collection[str]) -> dict[str, Any]:
    """What was written, with what these levels say now. Raises: SystemExit where it was of other networks."""

    def judged(found: dict[str, Any]) -> dict[str, tuple[int, int]]:
        return {group: (counts["of"], counts["judged"]) for group, counts in found["rows"].items()}

    if judged(before) != judged(now):
        raise SystemExit("other networks were judged than those of rates.json: ask all levels, without --level")
    of_structure = ("names the place", "one difference")
    keys = {key for name in levels for key in (name, f"{name} died")}
    keys |= {*of_structure} if "structure" in levels else set()
    keys |= {"lines of diff, median"} if "torch.export" in levels else set()
    rows = {
        group: {key: value for key, value in counts.items() if key not in keys}
        | {key: value for key, value in now["rows"][group].items() if key in keys}
        for group, counts in before["rows"].items()
    }
    told = now["structure says otherwise"] or before["structure says otherwise"]
    return {**before, "torch": now["torch"], "rows": rows, "structure says otherwise": told}


def judge_all(items: Sequence[Item], levels: dict[str, Level], jobs: int = 1) -> Iterator[Row]:
    """Ask these levels of them, in that many processes, in their order."""
    global _items, _levels
    _items, _levels = items, levels  # what is forked finds it there: items hold functions, which no pickle takes
    if jobs == 1:
        yield from map(_judge_at, range(len(items)))
        return
    with get_context("fork").Pool(jobs, _one_thread) as pool:
        yield from pool.imap(_judge_at, range(len(items)))


_items: Sequence[Item] = ()
_levels: dict[str, Level] = LEVELS


def _one_thread() -> None:
    torch.set_num_threads(1)


def _judge_at(at: int) -> Row:
    return judge(_items[at], _levels)


def read_rows(path: Path | None) -> dict[str, Row]:
    """The rows of an earlier run that was cut off, by item."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path and path.is_file() else ():
        fields = json.loads(line)
        verdicts = {level: Verdict(**verdict) for level, verdict in fields.pop("verdicts").items()}
        found[fields["item"]] = Row(**fields, verdicts=verdicts)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Judge, and write the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=float, default=0.01, help="share of the mutants of each operator")
    parser.add_argument("--all", action="store_true", help="every mutant")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--level", action="append", choices=LEVELS, help="ask this one, and keep what the others said; may be repeated"
    )
    parser.add_argument("--rows", type=Path, help="what every level says of each, as lines of JSON; goes on from there")
    parser.add_argument("-o", "--output", type=Path, default=RATES)
    parser.add_argument("--table", action="store_true", help="print the table of what is in rates.json; judge nothing")
    asked = parser.parse_args(argv)
    if asked.table:
        print(table(json.loads(RATES.read_text(encoding="utf-8"))))  # noqa: T201
        return 0
    torch.set_num_threads(1)
    mutants, hand = all_mutants(), by_hand()
    chosen = sample(mutants, 1 if asked.all else asked.sample)
    of: dict[str, int] = {}
    for item in [*mutants, *hand]:
        group = item.group if item.wrong or item.group == REWRITES else EQUAL
        of[group] = of.get(group, 0) + 1
    rows = read_rows(asked.rows)
    left = [item for item in (*chosen, *hand) if item.id not in rows]
    levels = {name: LEVELS[name] for name in asked.level or LEVELS}
    for number, row in enumerate(judge_all(left, levels, asked.jobs), 1):
        rows[row.item] = row
        print(f"{number}/{len(left)} {row.item}", file=sys.stderr, flush=True)  # noqa: T201
        if asked.rows:
            with asked.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
    judged = [rows[item.id] for item in (*chosen, *hand)]
    found = {
        "torch": torch.__version__,
        "sample": 1 if asked.all else asked.sample,
        "archs": len({item.arch.name for item in chosen}),
        "rows": rates(judged, of),
        "structure says otherwise": exceptions(judged) if "structure" in levels else {},
    }
    if asked.level:
        found = renewed(json.loads(RATES.read_text(encoding="utf-8")), found, levels)
    asked.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
