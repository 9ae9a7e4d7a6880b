"""Results of `rv-check bench` as tables: of one machine, of several side by side, against a baseline, beside archs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rv_check.bench.results import BaselineVerdict, BenchResult, Results
from rv_check.bench.samples import Comparison
from rv_check.report.tables import table

LEGEND = (
    "median and IQR/median of all samples. share: of the device's measured FLOP/s, two FLOPs for a multiply-add.\n"
    "ratio: to the first subject of the same point, measured in turn, with a 99 % interval; = where the rank test\n"
    "tells no difference. noisy: IQR above 10 % of the median."
)
HEADERS = ("case", "ms", "IQR", "images/s", "GFLOP/s", "share", "ms/GMAC", "MiB", "ratio", "")


def milliseconds(seconds: float) -> str:
    """Three digits that count, at least."""
    ms = 1e3 * seconds
    return f"{ms:.4f}" if ms < 1 else f"{ms:.2f}" if ms < 100 else f"{ms:,.0f}"


def of_one_machine(results: Results, machine: str) -> str:
    """Everything that was measured there, a line a case."""
    cases = list(results.of(machine).values())
    text = table(HEADERS, [_row(case) for case in cases], "lrrrrrrrll")
    parts = [machine, "", text, *_stages(cases), "", LEGEND, _rooflines(results.machines[machine]["rooflines"])]
    return "\n".join(part for part in parts if part is not None)


def _row(case: BenchResult) -> tuple[str, ...]:
    if case["status"] != "measured":
        return (case["id"], *[""] * (len(HEADERS) - 2), f"{case['status']}: {case['reason'].partition(chr(10))[0]}")
    iqr = "" if case["iqr"] is None else f"{case['iqr'] / case['median']:.1%}"
    memory = f"{case['memory']['peak'] / 2**20:,.0f}" if case["memory"] else ""
    counted = (
        ("", "", "")
        if case["macs"] is None
        else (
            f"{case['flop_per_second'] / 1e9:,.1f}",
            f"{case['share_of_rate']:.0%}",
            "" if case["seconds_per_gmac"] is None else f"{1e3 * case['seconds_per_gmac']:.3g}",
        )
    )
    median = milliseconds(case["median"])
    return (case["id"], median, iqr, f"{case['images_per_second']:,.1f}", *counted, memory, _ratio(case), _notes(case))


def _ratio(case: BenchResult) -> str:
    one = case["compared"]
    return "" if one is None else ratio(Comparison(*(one[name] for name in ("ratio", "low", "high", "p", "rounds"))))


def ratio(found: Comparison) -> str:
    """A ratio with its interval; = where no difference is told."""
    interval = "too few rounds" if found.low is None else f"{found.low:.3f} to {found.high:.3f}"
    return f"{found.ratio:.3f} ({interval}){'' if found.different else ' ='}"


def _notes(case: BenchResult) -> str:
    notes = ["noisy"] if case["noisy"] else []
    notes += [] if case["warm_up"]["settled"] else ["never settled"]
    notes += [f"{case['world_size']} processes"] if case["world_size"] > 1 else []
    notes += ["MACs not counted"] if case["uncounted"] else []
    return ", ".join(notes)


def _stages(cases: Sequence[BenchResult]) -> list[str]:
    lines = []
    for case in cases:
        if case["stages"]:
            rows = [(one["name"], milliseconds(one["median"]), f"{one['share']:.1%}") for one in case["stages"]]
            lines += ["", f"forward of {case['id']}, by part", table(("part", "ms", "share"), rows, "lrr")]
    return lines


def _rooflines(rooflines: Mapping[str, Mapping[str, float]]) -> str | None:
    words = [
        f"{dtype} {one['flop_per_second'] / 1e9:,.0f} GFLOP/s and {one['byte_per_second'] / 1e9:,.1f} GB/s"
        for dtype, one in rooflines.items()
    ]
    return f"measured at best: {'; '.join(words)}" if words else None


def side_by_side(results: Results, form: str = "text") -> str:
    """The medians of several machines, a column each."""
    ids = list(dict.fromkeys(case["id"] for case in results.cases))
    by_machine = {name: results.of(name) for name in results.machines}
    rows = [(id_, *(_cell(found.get(id_)) for found in by_machine.values())) for id_ in ids]
    return table(("case, in ms", *by_machine), rows, "l" + "r" * len(by_machine), form)


def _cell(case: BenchResult | None) -> str:
    if case is None:
        return ""
    if case["status"] != "measured":
        return str(case["status"])
    return f"{milliseconds(case['median'])}{' noisy' if case['noisy'] else ''}"


def columns(results: Results) -> dict[str, dict[str, str]]:
    """Beside a table of archs: a column of each way of timing and machine, its cells by the names of archs."""
    found: dict[str, dict[str, str]] = {}
    for case in results.cases:
        how = case["id"].removeprefix(case["subject"]).strip()
        found.setdefault(f"ms: {how}, {case['machine']}", {})[case["subject"]] = _cell(case)
    return found


def of_verdicts(verdicts: Sequence[BaselineVerdict]) -> str:
    """Each case beside its baseline."""
    return table(
        ("case", "ratio to baseline", "tolerance", "p", "verdict"),
        [(one.id, *_against(one), one.words) for one in verdicts],
        "llrrl",
    )


def _against(verdict: BaselineVerdict) -> tuple[str, str, str]:
    found: Any = verdict.comparison
    tolerance = f"{verdict.tolerance:.0%}" if verdict.tolerance >= 0.01 else f"{verdict.tolerance:.1%}"
    if found is None:
        return "", tolerance, ""
    interval = "" if found.low is None else f" ({found.low:.3f} to {found.high:.3f})"
    return f"{found.ratio:.3f}{interval}", tolerance, f"{found.p:.2g}"
