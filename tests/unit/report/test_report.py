"""What is shown of results: tables in every format, JSON whose keys are documented, sources, findings in words."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rv_check import Arch, Finding, Report, load
from rv_check.checks.findings import Level, Status
from rv_check.checks.registry import check_arch
from rv_check.errors import Document, Place
from rv_check.report import findings as report_findings
from rv_check.report import github
from rv_check.report.comparison import (
    CSV_HEADERS,
    HEADERS,
    SOURCE_HEADERS,
    ComparisonRow,
    comparison,
    comparison_json,
    sources,
    table_rows,
)
from rv_check.report.findings import check_json
from rv_check.report.layers import show_json, show_text
from rv_check.report.tables import FORMATS
from tests.unit.tiny import SPEC, World, broken


def finding(check: str, level: Level, status: Status, **more: Any) -> Finding:
    """A finding of resnet18."""
    return Finding("resnet18", check, level, status, f"{check} {status}", **more)


# Reports: what passed, and the level reached.

SPEC_PASSED, NUMBERS_PASSED = finding("params", "spec", "passed"), finding("eval", "numbers", "passed")
STRUCTURE_PASSED, STRUCTURE_FAILED = (finding("structure", "structure", status) for status in ("passed", "failed"))
SPEC_SKIPPED, NUMBERS_SKIPPED = finding("metadata", "spec", "skipped"), finding("eval", "numbers", "skipped")
SPEC_FAILED, NUMBERS_BLOCKED = finding("params", "spec", "failed"), finding("eval", "numbers", "blocked")
KNOWN = finding("train", "numbers", "skipped", deviation="on purpose")

REPORTS: list[tuple[str, list[Finding], str | None, bool, bool, str | None, str]] = [
    ("nothing", [], "it", False, False, None, "nothing shown"),
    ("all passed", [SPEC_PASSED, NUMBERS_PASSED], "it", True, False, "numbers", "numbers"),
    ("one level", [SPEC_PASSED], "it", True, False, "spec", "spec"),
    ("numbers alone", [NUMBERS_PASSED], "it", True, False, "numbers", "numbers"),
    ("structure", [SPEC_PASSED, STRUCTURE_PASSED], "it", True, False, "structure", "structure"),
    ("all levels", [SPEC_PASSED, STRUCTURE_PASSED, NUMBERS_PASSED], "it", True, False, "numbers", "numbers"),
    ("a graph", [SPEC_PASSED, STRUCTURE_FAILED, NUMBERS_PASSED], "it", False, True, "spec", "structure failed"),
    ("no reference", [SPEC_PASSED, NUMBERS_PASSED], None, True, False, "spec", "spec, counters"),
    ("a skip", [SPEC_PASSED, NUMBERS_PASSED, NUMBERS_SKIPPED], "it", False, False, "spec", "spec, 1 skipped"),
    ("a skip below", [SPEC_SKIPPED, NUMBERS_PASSED], "it", False, False, None, "part of spec, 1 skipped"),
    ("a failure", [SPEC_FAILED, NUMBERS_PASSED], "it", False, True, None, "params failed"),
    ("a block", [SPEC_PASSED, NUMBERS_BLOCKED], "it", False, True, "spec", "eval blocked"),
    ("a known one", [SPEC_PASSED, NUMBERS_PASSED, KNOWN], "it", False, False, "spec", "spec, 1 known to fail"),
    ("no reference, a skip", [SPEC_PASSED, NUMBERS_SKIPPED], None, False, False, "spec", "spec, 1 skipped"),
]


@pytest.mark.parametrize(
    ("findings", "against", "passed", "failed", "level", "parity"),
    [r[1:] for r in REPORTS],
    ids=[r[0] for r in REPORTS],
)
def test_level_reached(
    findings: list[Finding], against: str | None, passed: bool, failed: bool, level: str | None, parity: str
) -> None:
    """Only what passed counts; a level is reached where all of it passed, and every lower one; the cell says it."""
    made = Report("resnet18", against, tuple(findings))
    assert (made.passed, made.failed, made.level) == (passed, failed, level)
    assert ComparisonRow(load("resnet18"), made).parity == parity


def test_report_in_words() -> None:
    """The verdict with its counts, then everything that did not pass."""
    made = Report("Net", "resnet18", (SPEC_PASSED, SPEC_FAILED, NUMBERS_BLOCKED))
    assert str(made) == (
        "Net against resnet18: does not hold (1 passed, 1 failed, 1 blocked)\n"
        "  resnet18::params failed: params failed\n"
        "  resnet18::eval blocked: eval blocked"
    )
    assert str(Report("Net", None, ())) == "Net against its own spec: is not shown in full (no checks)"


def test_finding_in_words() -> None:
    """A failure shows its place, the line with a caret, what was found and expected; a pass is one line."""
    place = Place(Document(Path("net.yaml"), ("archs:", "  - depth: 50")), 2, 5)
    shown = place.document.shown
    details: dict[str, Any] = {"found": "49", "expected": "50", "source": "a paper", "place": place}
    failed = Finding("net", "depth", "spec", "failed", "depth 50 is wrong\nin words", **details)
    assert failed.lines() == [
        f"{shown}:2:5: net::depth failed: depth 50 is wrong",
        "      - depth: 50",
        "        ^",
        "    in words",
        "    found:    49",
        "    expected: 50",
        "    source:   a paper",
    ]
    assert failed.title == "depth 50 is wrong: found 49, expected 50"
    assert Finding("net", "depth", "spec", "passed", "depth 50 holds", **details).lines() == [
        "net::depth passed: depth 50 holds"
    ]
    skipped = Finding("net", "depth", "spec", "skipped", "could not run", reason="no torch", place=place)
    assert skipped.lines() == ["net::depth skipped: could not run", "    reason:   no torch"]


def test_what_a_terminal_might_obey_is_made_visible() -> None:
    """Whatever a message quotes, each line and the title can be printed."""
    loud = finding("eval", "numbers", "failed", found="\x1b[31m1", expected="\x07", source="\x9b", deviation=None)
    assert all(line.isprintable() for line in [*loud.lines(), loud.title])
    assert loud.title == "eval failed: found \\x1b[31m1, expected \\x07"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_difference_that_is_no_number_is_null(value: float) -> None:
    """JSON has no NaN: what is not finite is null, and a reader need not guess."""
    made = check_json(Report("net", "it", (finding("eval", "numbers", "failed", difference=value, tolerance=1e-9),)))
    assert made["findings"][0]["difference"] is None
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def test_json_of_a_check_and_a_map() -> None:
    """Every key is there, totals with both sides, the map by the expected names."""
    made = Report("Net", "net", (SPEC_PASSED,), {"fc.bias": "head.bias"}, ("inferred: net",), {"params": (3, 4)})
    object_ = check_json(made)
    assert tuple(object_) == CHECK_KEYS
    assert object_["totals"] == {"params": {"found": 3, "expected": 4}}
    assert (object_["map"], object_["notes"]) == ({"fc.bias": "head.bias"}, ["inferred: net"])
    assert tuple(report_findings.map_json(made)) == MAP_KEYS
    assert report_findings.map_text(made) == "fc.bias  head.bias"
    assert report_findings.map_text(Report("Net", "net")) == "there is no map, since the structure differs"


# The answer on a module.


def difference(**more: Any) -> Finding:
    """A difference in structure."""
    known: dict[str, Any] = {"kind": "arguments", "step": "layer1.bn1", "found": "eps 0.001", "expected": "eps 1e-05"}
    return Finding("net", "structure", "structure", "failed", "another eps\n  why", **(known | more))


STRUCTURE = Finding("net", "structure", "structure", "passed", "the same graph")
EVAL = Finding("net", "eval", "numbers", "passed", "equal", difference=0.0)
INIT = Finding("net", "init", "numbers", "failed", "starts otherwise")
EXCUSED = Finding("net", "eval", "numbers", "skipped", "eval", reason="on purpose", deviation="on purpose")
STOPPED = Finding("net", "eval", "numbers", "blocked", "blocked by the structure: see net::structure")
UNTIL = difference(kind="until", step="layer1")

HEADINGS: list[tuple[list[Finding], str]] = [
    ([STRUCTURE, EVAL], "Net is net"),
    ([difference()], "Net is not net: 1 difference"),
    ([difference(), difference(step="fc")], "Net is not net: 2 differences"),
    ([difference(kind="this input only")], "Net is net at this input only"),
    ([UNTIL, STOPPED], "Net is net up to layer1"),
    ([STRUCTURE, INIT], "Net is net, with another initialisation"),
    ([STRUCTURE, EXCUSED], "Net is net, known deviations apart"),
    ([STRUCTURE, NUMBERS_SKIPPED], "Net is not shown in full to be net"),
    ([], "Net is not shown in full to be net"),
]


@pytest.mark.parametrize(("findings", "words"), HEADINGS, ids=[row[1] for row in HEADINGS])
def test_heading(findings: list[Finding], words: str) -> None:
    """The answer in one line: only what passed in full is said to be the network."""
    assert report_findings.heading(Report("Net", "net", tuple(findings))) == words


def test_a_heading_counts_no_difference_where_there_is_none() -> None:
    """A known difference whose numbers are blocked is not `0 differences`."""
    excused = difference(deviation="on purpose")
    made = Report("Net", "net", (replace(excused, status="skipped"), STOPPED))
    assert "0 differences" not in report_findings.heading(made)


def test_module_text() -> None:
    """The answer, totals that cannot see it, a line a level, every difference with its step, and how to ask again."""
    totals = {"params": (1150, 1150), "macs": (168_016, 168_016)}
    text = report_findings.module_text(
        Report("Net", "net", (difference(), STOPPED), {}, (), totals), "rv-check check it"
    )
    assert [" ".join(line.split()) for line in text.splitlines() if line] == [
        "Net is not net: 1 difference",
        "params, MACs same 1,150 / 0.000 GMACs (these cannot see it)",
        "structure failed 1 difference",
        "numbers blocked by the structure: see net::structure",
        "another eps layer1.bn1",
        "why",
        "again: rv-check check it --only layer1.bn1",
    ]
    text = report_findings.module_text(Report("Net", "net", (STRUCTURE, EVAL)))
    assert "numbers    passed   eval: bit for bit" in text
    assert "again" not in text


def test_workflow_commands() -> None:
    """A failure is an error at the module's own line, else the spec's; what could end the command early is escaped."""
    mine, spec = Place(Document(Path("my, net.py"), ()), 7, 0), Place(Document(Path("net.yaml"), ()), 9, 3)
    found = (difference(call=mine, place=spec), difference(place=spec, found="1%\n2"), difference(found=None), EVAL)
    first, second, third = github.workflow_commands(Report("Net", "net: 5", found))
    assert re.match(
        r"::error file=\S*my%2C net\.py,line=7,title=Net is not net%3A 5::another eps: found eps 0\.001", first
    )
    assert ",line=9," in second
    assert "found 1%25" in second
    assert third == "::error title=Net is not net%3A 5::another eps"
    assert all("\n" not in line for line in (first, second, third))


# The listing.

SHOW_KEYS = (
    *("schema", "arch", "input", "params", "macs", "activations", "depth", "skip_connections", "receptive_field"),
    *("unchecked_shape_lines", "layers"),
)
LAYER_KEYS = ("name", "op", "in", "out", "params", "macs", "receptive_field")
FIELD_KEYS = ("size", "stride", "padding", "aligned", "global")
FINDING_KEYS = (
    *("id", "subject", "check", "level", "status", "message", "found", "expected", "reason", "source", "difference"),
    *("tolerance", "file", "line", "deviation", "kind", "count", "step", "module", "module_file", "module_line"),
)
CHECK_KEYS = ("schema", "subject", "against", "passed", "level", "findings", "map", "totals", "notes")
MAP_KEYS = ("schema", "subject", "against", "map")
ARCH_KEYS = (
    *("arch", "input", "params", "macs", "activations", "depth", "skip_connections", "receptive_field", "parity"),
    *("level", "published", "findings"),
)
PUBLISHED_KEYS = ("metric", "printed", "value", "verdict", "source", "note", "file", "line")


def test_show_json(world: World) -> None:
    """Totals and layers, worked by hand in tiny.py; a field behind the pool is global, the arch's own is not."""
    made = show_json(world.arch())
    assert tuple(made) == SHOW_KEYS
    layers = made.pop("layers")
    assert made == {
        "schema": "rv-check/show/1",
        "arch": "net",
        "input": [3, 32, 32],
        "params": 1150,
        "macs": 168_016,
        "activations": 4 * 32 * 32 + 3 * 8 * 8 * 8 + 10,
        "depth": 4,
        "skip_connections": 1,
        "receptive_field": {"size": 17, "stride": 4, "padding": 8, "aligned": True, "global": False},
        "unchecked_shape_lines": 0,
    }
    assert {tuple(layer) for layer in layers} == {LAYER_KEYS}
    assert {tuple(layer["receptive_field"]) for layer in layers} == {FIELD_KEYS}
    by_name = {layer["name"]: layer for layer in layers}
    assert by_name["conv1"] == {
        "name": "conv1",
        "op": "conv(out=4, kernel=3, bias=False, padding=1)",
        "in": [3, 32, 32],
        "out": [4, 32, 32],
        "params": 108,
        "macs": 108 * 32 * 32,
        "receptive_field": {"size": 3, "stride": 1, "padding": 1, "aligned": True, "global": False},
    }
    assert by_name["fc"]["receptive_field"]["global"] is True
    assert sum(layer["params"] for layer in layers) == 1150
    assert sum(layer["macs"] for layer in layers) == 168_016


def test_show_json_of_unequal_axes(world: World) -> None:
    """Where rows and columns differ, size, stride and padding are pairs."""
    made = show_json(world.arch(("conv(width, kernel=3, padding=1,", "conv(width, kernel=[1, 5], padding=[0, 2],")))
    assert made["layers"][0]["receptive_field"]["size"] == (1, 5)
    assert json.loads(json.dumps(made))["layers"][0]["receptive_field"]["padding"] == [0, 2]


def test_show_text_says_what_is_special() -> None:
    """Totals with separators, and how many shape: lines were not checked at another input."""
    text = show_text(load("resnet18", "3 320 320"), fold_at=1)
    assert "params            11,689,512" in text
    assert "layer1   stage(block=basic, width=64, depth=2, stride=1)" in re.sub(r" {3,}", "   ", text)
    assert text.splitlines()[-1] == "5 shape: lines hold at input 3 224 224 and were not checked"


# The comparison table.


@pytest.fixture
def line(world: World) -> ComparisonRow:
    """The small network with its report."""
    return made_line(world.arch())


def made_line(arch: Arch, *levels: Level) -> ComparisonRow:
    """An arch with its report."""
    return ComparisonRow(arch, check_arch(arch, levels or ("spec",)))


ROW = ("net", "1,150", "168,016", "17/4/8", "4", "1", "12.50", "spec")


def test_table_rows(line: ComparisonRow) -> None:
    """Exact integers with separators; accuracies as printed."""
    assert table_rows([line]) == [ROW]
    assert len(ROW) == len(HEADERS)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_has_every_number(form: str, line: ComparisonRow) -> None:
    """Whatever the format, all of it is there."""
    text = comparison([line], form)
    for number in ("1150", "168016", "12.50", "net", "spec"):
        assert number in (text if form == "json" else text.replace(",", ""))


def test_text(line: ComparisonRow) -> None:
    """A table and what its columns mean, no line wider than 120."""
    lines = comparison([line], "text").splitlines()
    assert lines[0].split("  ")[0] == "arch"
    assert lines[2].split() == list(ROW)
    assert "multiply-adds" in lines[4]
    assert all(len(text) <= 120 for text in lines)


def test_markdown(world: World) -> None:
    """A pipe table; a pipe within a cell does not end it."""
    line = made_line(world.arch(("source: made up", "source: a | b"), ("top1: 12.50", "top1: 12.5")))
    header, rule, row = comparison([line], "markdown").splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == list(HEADERS)
    assert set(rule) <= set("|:-")
    assert [cell.strip() for cell in row.strip("|").split("|")] == [*ROW[:6], "12.5", "spec"]
    assert "a \\| b" in sources([line], "markdown")


def test_csv(world: World) -> None:
    """Plain numbers under stable names; a comma within a cell is quoted."""
    line = made_line(world.arch(("source: made up", "source: made, up"), call="net"))
    (row,) = csv.DictReader(io.StringIO(comparison([line], "csv")))
    assert tuple(row) == CSV_HEADERS
    assert row == {
        "arch": "net",
        "params": "1150",
        "macs": "168016",
        "receptive_field": "17/4/8",
        "depth": "4",
        "skip_connections": "1",
        "top1": "12.50",
        "top1_error": "",
        "parity": "spec",
    }
    rows = list(csv.DictReader(io.StringIO(sources([line], "csv"))))
    assert tuple(rows[0]) == SOURCE_HEADERS
    assert rows[-1]["source"] == "made, up"


def test_latex(line: ComparisonRow) -> None:
    """A booktabs table whose special characters are escaped."""
    text = comparison([made_line(load("resnext50_32x4d"))], "latex")
    assert text.startswith("\\begin{tabular}{lrrlrrll}")
    assert "resnext50\\_32x4d" in text
    assert "top-1 \\%" in text


def test_json(line: ComparisonRow) -> None:
    """One object; every arch, published number and finding has every key."""
    made = json.loads(comparison([line], "json"))
    assert made["schema"] == "rv-check/report/1"
    (arch,) = made["archs"]
    assert tuple(arch) == ARCH_KEYS
    assert {tuple(entry) for entry in arch["published"]} == {PUBLISHED_KEYS}
    assert {tuple(entry) for entry in arch["findings"]} == {FINDING_KEYS}
    assert arch["published"][0] == {
        "metric": "params",
        "printed": "1_150",
        "value": "1,150",
        "verdict": "holds",
        "source": "worked by hand",
        "note": None,
        "file": line.arch.entry.place.document.shown,
        "line": SPEC.splitlines().index("      - params: 1_150") + 1,
    }
    assert made == json.loads(json.dumps(comparison_json([line])))


# Published numbers speak of the arch as declared, and each has its source.


def test_sources(world: World) -> None:
    """A row for each printed number: what is printed, what the spec gives, and the verdict."""
    arch = world.arch(
        ("depth: 4", "depth: 5"),
        ("macs: 168_016\n        source: worked", "macs: 168_000\n        within: 1%\n        source: worked"),
    )
    rows = list(csv.reader(io.StringIO(sources([made_line(arch)], "csv"))))
    assert rows[1:] == [
        ["net", "params", "1_150", "1,150", "holds", "worked by hand"],
        ["net", "macs", "168_000", "168,016", "is +0.01% off", "worked by hand"],
        ["net", "depth", "5", "4", "is wrong", "worked by hand"],
        ["net", "receptive_field", "17/4/8", "17/4/8", "holds", "worked by hand"],
        ["net", "top1", "12.50", "", "quoted", "made up"],
    ]


def test_every_number_of_the_shipped_table_has_a_source() -> None:
    """No published number of a shipped arch is without one, and each is in the listing of sources."""
    from rv_check.archs.load import archs

    lines = [ComparisonRow(arch, Report(arch.name, None, ())) for arch in archs()]
    rows = list(csv.DictReader(io.StringIO(sources(lines, "csv"))))
    assert len(rows) == sum(len(arch.entry.published) for arch in archs()) > 150
    assert all(row["source"] and row["verdict"] for row in rows)
    assert {row["arch"] for row in rows} == {arch.name for arch in archs()}


def test_another_arch_than_declared_quotes_nothing() -> None:
    """An accuracy or a count of the declared arch says nothing of one with other arguments."""
    line = made_line(load("vgg11(width=8)"))
    assert table_rows([line])[0][6] == ""
    assert sources([line], "csv").splitlines() == [",".join(SOURCE_HEADERS)]
    assert comparison_json([line])["archs"][0]["published"] == []


def test_quoted_accuracies() -> None:
    """The weights are named beside an accuracy of torchvision; without weights a paper's error stands there."""
    rows = table_rows(
        [made_line(load("resnet50")), made_line(load("resnet50_v1")), made_line(load("resnet18(classes=3)"))]
    )
    assert [row[6] for row in rows] == ["76.130 V1", "error 22.85, paper", ""]


def test_parity_of_a_network_that_is_not_its_reference(world: World) -> None:
    """The cell names the first check that failed."""
    world.reference = broken(momentum=0.5)
    assert made_line(world.arch(), "spec", "numbers").parity == "train failed"
