"""Claims that are tables of a Markdown page: each number is held where it stands, by the comment above the table."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from rv_check.archs.load import archs
from rv_check.checks.printed import HOLDS, TRUNCATED, WRONG, parse_printed, parse_range
from rv_check.claims.claim import CANNOT_BE_SAID, Verdict, judge_all
from rv_check.claims.file import read_claims
from rv_check.claims.markdown import plain
from rv_check.cli.main import main
from rv_check.errors import SpecError
from tests import ROOT

# A network of one's own: 3x3x3x8 weights and 8 biases, a linear layer of 8*10 weights and 10 biases: 224 + 90.
# On 3x32x32: 3*3*3*8 products for each of 32x32 places, and 80: 221,184 + 80.
NET = """\
from torch import nn


class Net(nn.Module):
    def __init__(self, classes=10, channels=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        return self.fc(self.pool(self.conv(x)).flatten(1))
"""
SHORT = "<!-- rv-check claims: Params (M) = params in M; MACs = macs; depth -->"
TABLE = """\
| arch | Params (M) | MACs | depth |
| --- | ---: | ---: | ---: |
| resnet18 | 11.7 | 1.8 G | 18 |
| resnet50 | 25.6 | 4,089,184,256 | 50 |
"""


@pytest.fixture
def judged(tmp_path: Path) -> Callable[[str], list[Verdict]]:
    """The verdicts on the tables of a page, beside a network of one's own."""
    (tmp_path / "mynet.py").write_text(NET)

    def judge(page: str) -> list[Verdict]:
        path = tmp_path / "README.md"
        path.write_text(page, encoding="utf-8")
        return [verdict for claims in read_claims(path) for verdict in judge_all(claims)]

    return judge


def told(verdicts: list[Verdict]) -> list[tuple[str, str, str]]:
    """What is about what, the verdict, and what it should be where it is not."""
    return [(v.claim.title, v.words, v.right if v.words != HOLDS else "") for v in verdicts]


def keys(*lines: str) -> str:
    """A comment of several lines."""
    return "\n".join(["<!-- rv-check claims", *lines, "-->\n"])


def table(head: str, *rows: str) -> str:
    """A table, of cells with bars between."""
    return "\n".join([f"| {head} |", "|" + " --- |" * (head.count("|") + 1), *(f"| {row} |" for row in rows)]) + "\n"


# A cell, the quantity of its column in the row of resnet50, and the verdict with the right value. Its numbers are those
# of shared/facts: 25,557,032 parameters, 4,089,184,256 MACs, depth 50, field 427/32/213, top-1 76.13.
CELLS = [
    ("25.6M", "params", HOLDS, ""),
    ("25.5M", "params", TRUNCATED, "25.6M"),
    ("25.5M", "params, truncated", HOLDS, ""),
    ("25.6M", "params, truncated", WRONG, "25.5M"),
    ("25.5 M params", "params, truncated", HOLDS, ""),
    ("25.4M", "params", WRONG, "25.6M"),
    ("26", "params in M", HOLDS, ""),
    ("25.56", "params in M", HOLDS, ""),
    ("25,557,032", "params", HOLDS, ""),
    ("25,557,033", "params", WRONG, "25,557,032"),
    ("25557032", "params in M", WRONG, "26"),  # a number in M, since its column says so; the hint says what it is
    ("25 557 032", "params", "cannot be read", ""),
    ("25,6M", "params", "cannot be read", ""),  # no thousands: a decimal comma
    ("25.557.032", "params", "cannot be read", ""),
    ("~25.6M", "params", HOLDS, ""),
    ("**25.6M**", "params", HOLDS, ""),
    ("`25.6M`", "params", HOLDS, ""),
    ("[25.6M](https://example.org)", "params", HOLDS, ""),
    ("25.6M[^2]", "params", HOLDS, ""),
    ("25.6M<sup>1</sup>", "params", HOLDS, ""),
    ("25.6M\u2020", "params", HOLDS, ""),
    ("25.6&nbsp;M", "params", HOLDS, ""),
    ("25.6 million", "params", HOLDS, ""),
    ("4.1 G", "macs", HOLDS, ""),
    ("4.09 GMACs", "macs", HOLDS, ""),
    ("4.1 GMac", "macs", HOLDS, ""),
    ("4.09 GFLOPs", "macs", HOLDS, ""),  # the column says what is counted: a multiply-add as one
    ("8.2 GFLOPs", "2*macs", HOLDS, ""),
    ("8.2 GFLOPs", "macs", WRONG, "4.1 GFLOPs"),
    ("4089 MFLOPs", "macs", HOLDS, ""),
    ("4.1\u00d710^9", "macs", HOLDS, ""),
    ("4.1 x 10<sup>9</sup>", "macs", HOLDS, ""),
    ("4.1\u00d710\u2079", "macs", HOLDS, ""),
    ("4.1e9", "macs", HOLDS, ""),
    ("4.0", "macs in G", TRUNCATED, "4.1"),
    ("4.0", "gmacs, within 3%", HOLDS, ""),
    ("4.0", "gmacs, within 2%", WRONG, "4.1"),
    ("3.8-4.1 G", "macs", HOLDS, ""),
    ("3.8\u20134.1", "macs in G", HOLDS, ""),
    ("3.8 to 4.0 G", "macs", WRONG, "4.1 G"),
    ("900M - 4.1G", "macs", HOLDS, ""),
    ("76.13 %", "top1", HOLDS, ""),
    ("76.1", "top1", HOLDS, ""),
    ("76.1%", "top1 in %", HOLDS, ""),
    ("76.2", "top1", WRONG, "76.1"),
    ("8.0%", "fc.params / params", HOLDS, ""),  # 2,049,000 of 25,557,032 are 8.017 %
    ("8.0", "fc.params / params in %", HOLDS, ""),
    ("2.19x", "params / resnet18.params", HOLDS, ""),
    ("50", "depth", HOLDS, ""),
    ("fifty", "depth", "cannot be read", ""),
    ("50 \u00b1 1", "depth", "cannot be read", ""),
    ("<60", "depth", "cannot be read", ""),
    ("5 0", "depth", "cannot be read", ""),
]


@pytest.mark.parametrize(("cell", "quantity", "words", "right"), CELLS, ids=[f"{c[0]} {c[1]}" for c in CELLS])
def test_cells(cell: str, quantity: str, words: str, right: str, judged: Callable) -> None:
    """A cell holds where its value, rounded to the digits printed, is what it prints."""
    page = keys("columns:", f"  it: {quantity}") + table("arch | it", f"resnet50 | {cell}")
    if words == "cannot be read":
        with pytest.raises(SpecError, match=r"README.md:7:14: .* cannot be read"):
            judged(page)
        return
    (verdict,) = judged(page)
    assert (verdict.words, verdict.right if words != HOLDS else "") == (words, right)
    assert (verdict.claim.place.line, verdict.claim.place.column) == (7, 14)


@pytest.mark.parametrize("cell", ["", "-", "\u2013", "\u2014", "n/a", "**-**", "&mdash;"])
def test_absent(cell: str, judged: Callable) -> None:
    """What is absent is not claimed."""
    (verdict,) = judged(
        SHORT + "\n\n" + TABLE.replace("4,089,184,256", cell).replace("11.7 | 1.8 G | 18", "- | |") + "\n"
    )[1:]
    assert verdict.claim.title == "resnet50, depth = 50"


def test_a_short_comment(judged: Callable) -> None:
    """One line says what the columns are; a long comment that says the same has the same verdicts."""
    short = judged(f"# Nets\n\n{SHORT}\n\n{TABLE}\nMore.\n")
    assert told(short) == [
        ("resnet18, Params (M) = 11.7", HOLDS, ""),
        ("resnet18, MACs = 1.8 G", HOLDS, ""),
        ("resnet18, depth = 18", HOLDS, ""),
        ("resnet50, Params (M) = 25.6", HOLDS, ""),
        ("resnet50, MACs = 4,089,184,256", HOLDS, ""),
        ("resnet50, depth = 50", HOLDS, ""),
    ]
    long = judged(keys("columns:", "  Params (M): params in M", "  MACs: macs", "  depth: depth") + TABLE)
    assert told(long) == told(short)


def test_modules(judged: Callable) -> None:
    """A row is of any module, with its arguments and its input; the totals are those worked out above."""
    found = judged(
        keys(
            "columns:",
            "  params: params",
            "  MACs: macs",
            "  head: fc.params",
            "  depth: depth",
            "  field: receptive_field",
            "modules:",
            "  ours: mynet.py:Net",
            "  grey:",
            "    module: mynet.py:Net(channels=1, classes=2)",
            "    input: 1 28 28",
            "input: 3 32 32",
        )
        + table(
            "net | params | MACs | head | depth | field",
            "ours | 314 | 221,264 | 90 | 2 | 3/1/1",
            "grey | 98 | 56,464 | 18 | 2 | 3",  # 72 + 8 + 16 + 2; 72*28*28 + 16
            "mynet.py:Net(classes=1) | 233 | 221,193 | 9 | 2 | 3/1/2",
        )
    )
    wrong = [("mynet.py:Net(classes=1), field (receptive_field_padding) = 2", WRONG, "1")]
    # 221,184 + 8 = 221,192
    assert [one for one in told(found) if one[1] != HOLDS] == [
        ("mynet.py:Net(classes=1), MACs = 221,193", WRONG, "221,192"),
        *wrong,
    ]
    assert len(found) == 19


def test_sideways(judged: Callable) -> None:
    """Networks may stand side by side, as in the tables of papers."""
    page = keys("rows:", "  params: params in M", "  MACs (G): macs in G", "archs:", "  34 layers: resnet34")
    page += table("| resnet18 | 34 layers", "params | 11.7 | 21.7", "time | 3 | 5", "MACs (G) | 1.8 | 3.7")
    assert told(judged(page)) == [
        ("resnet18, params = 11.7", HOLDS, ""),
        ("resnet18, MACs (G) = 1.8", HOLDS, ""),
        ("34 layers, params = 21.7", TRUNCATED, "21.8"),
        ("34 layers, MACs (G) = 3.7", HOLDS, ""),
    ]


def test_names_elsewhere(judged: Callable) -> None:
    """The names of networks stand in another column where `names:` says so; rows may be left out."""
    page = keys(
        "columns:", "  Params: params", "names: Model", "archs:", "  ResNet-18: resnet18", "without: ViT-B, Swin-T"
    )
    page += table("# | Model | Params", "1 | ResNet-18 | 11.7M", "2 | ViT-B | 86M", "3 | Swin-T | 29M", "| **Ours** | ")
    assert told(judged(page)) == [("ResNet-18, Params = 11.7M", HOLDS, "")]


def test_several_numbers(judged: Callable) -> None:
    """A cell with several numbers has a quantity for each."""
    page = keys("columns:", "  Top-1 / Top-5: [top1, top5]", '  "#P / #M":', "    - params in M", "    - macs in G")
    page += table("arch | Top-1 / Top-5 | #P / #M", "resnet18 | 69.8/89.1 | 11.7 / 1.9", "resnet34 | 73.3/- | - ")
    assert told(judged(page)) == [
        ("resnet18, Top-1 / Top-5 (top1) = 69.8", HOLDS, ""),
        ("resnet18, Top-1 / Top-5 (top5) = 89.1", HOLDS, ""),
        ("resnet18, #P / #M (params) = 11.7", HOLDS, ""),
        ("resnet18, #P / #M (macs) = 1.9", WRONG, "1.8"),
        ("resnet34, Top-1 / Top-5 (top1) = 73.3", HOLDS, ""),
    ]


def test_other_inputs(judged: Callable) -> None:
    """`input:` is that of archs, too: at 320 pixels a side resnet18 takes 10 * 10 / 7 / 7 as much, but for its head."""
    page = keys("columns:", "  macs: macs", "input: 3 320 320") + table("arch | macs", "resnet18 | 3,701,171,200")
    macs = (1_814_073_344 - 512_000) * 100 // 49 + 512_000
    (verdict,) = judged(page)
    assert verdict.value == f"{macs:,}"


def test_what_nobody_says(judged: Callable, tmp_path: Path) -> None:
    """An accuracy that nobody has published is skipped, with its reason, and does not count as held."""
    page = keys("columns:", "  top-1: top1", "modules:", "  ours: mynet.py:Net")
    (verdict,) = judged(page + table("net | top-1", "ours | 70.1"))
    assert (verdict.words, verdict.reason) == (CANNOT_BE_SAID, f"nobody has published top1 of {tmp_path}/mynet.py:Net")
    assert verdict.finding("README").status == "skipped"
    assert main(["claims", str(tmp_path / "README.md"), "--require", "spec"]) == 1


HINTS = [
    ("8.18 G", "macs", "it holds where a multiply-add counts as two operations: 2*macs"),
    ("4.09 G", "2*macs", "it holds where a multiply-add counts as one operation: macs, not 2*macs"),
    ("25.6", "params", "it holds in M"),
    ("25,557,032", "params in M", "it holds as it is, without a unit"),
    ("8.0", "fc.params / params", "it holds in %"),
    ("25.1M", "params", ""),
    ("2.04 G", "macs", ""),  # half of them is what nobody counts
]


@pytest.mark.parametrize(("cell", "quantity", "hint"), HINTS)
def test_hints(cell: str, quantity: str, hint: str, judged: Callable) -> None:
    """What a wrong number is right of is said."""
    (verdict,) = judged(keys("columns:", f"  it: {quantity}") + table("arch | it", f"resnet50 | {cell}"))
    assert (verdict.words, verdict.hint) == (WRONG, hint)


# Pages that are wrong: what is said, where, and what to do.
PLAIN = "<!-- rv-check claims: depth -->\n"
ERRORS = [
    (PLAIN + "No table.\n", "1:1: no table stands below this comment, but 'No table.'", "a Markdown table"),
    (PLAIN, "1:1: no table stands below this comment", "a Markdown table"),
    (PLAIN + "\n| arch | depth |\n| resnet18 | 18 |\n", "3:3: this table has no line of dashes below its head", "---"),
    (PLAIN + "| arch | depth |\n| --- | --- |\n", "2:3: this table has no rows", "its rows"),
    (
        PLAIN + "| arch | depth |\n| --- |\n| resnet18 | 18 |\n",
        "3:3: this row has 1 cell, the head of its table 2",
        "-",
    ),
    (PLAIN + table("arch | depth", "resnet18 | 18 | 19"), "4:3: this row has 3 cells, the head of its table 2", "-"),
    (PLAIN + table("arch | depth", "resnet18"), "4:3: this row has 1 cell, the head of its table 2", "`-` for what"),
    (PLAIN + table("arch | depth", "resnet18 | 18") + "Text.\n", "5:1: this row has 1 cell", "a blank line below"),
    (PLAIN + table("arch | Depth", "resnet18 | 18"), "1:23: the table has no column 'depth'", "did you mean: Depth"),
    (PLAIN + table("arch | depth | depth", "resnet18 | 18 | 1"), "1:23: the table has 2 columns 'depth'", ""),
    (PLAIN + table("arch | depth", "resnet19 | 18"), "4:3: there is no spec of 'resnet19'", "did you mean: resnet18"),
    (PLAIN + table("arch | depth", " | 18"), "4:4: a row with numbers, and without a name", "names:"),
    (PLAIN + table("arch | depth", "resnet18 | -"), "1:1: no number of this table is checked", ""),
    (PLAIN + table("arch | depth", "resnet18 | 18*2"), "4:14: '18*2' of 'depth' cannot be read", "25.6M, 4.1 G"),
    (
        PLAIN + table("arch | depth", "resnet18 | 18/8"),
        "4:14: '18/8' of 'depth' cannot be read",
        "a list of quantities",
    ),
    (PLAIN + table("arch | depth", "resnet18(width=x) | 18"), "unknown name 'x'", ""),
    (PLAIN.replace("depth", "deepth"), "1:1: no table", ""),
    (PLAIN.replace("depth", "MACs = mcs") + TABLE, "1:30: unknown quantity 'mcs'", "did you mean: macs"),
    (PLAIN.replace("depth", "MACs = flops") + TABLE, "1:30: unknown quantity 'flops'", "2*macs where a multiply-add"),
    (PLAIN.replace("depth", "MACs = macs in T") + TABLE, "1:38: unknown unit 'T'", "k, K, M, G, B"),
    (PLAIN.replace("depth", "MACs = macs, within a bit") + TABLE, "within is 'a bit'", "2%"),
    (PLAIN.replace("depth", "MACs = macs, rounded") + TABLE, "is not in the language", "within 2%"),
    (PLAIN.replace("depth", "MACs = fc.macs in") + TABLE, "is not", "a quantity"),
    (PLAIN.replace("depth", "MACs = fd.macs") + TABLE, "1:30: resnet18 has no part 'fd'", "layer4, avgpool, 9, fc"),
    (PLAIN.replace("depth", "MACs = fc.kernel") + TABLE, "resnet18 has no one 'kernel'", ""),
    (PLAIN.replace("depth", "MACs = fc") + TABLE, "1:30: unknown quantity 'fc'", "params"),
    (PLAIN.replace("depth", "depth; depth") + TABLE, "1:30: 'depth' stands twice", ""),
    (PLAIN.replace("depth", "= macs") + TABLE, "1:23: '= macs' is no column", "COLUMN = quantity"),
    (PLAIN.replace("depth", "depth > 3") + TABLE, "the table has no column 'depth > 3'", ""),
    (PLAIN.replace("depth", "depth = depth > 3") + TABLE, "depth > 3 is True", "a number"),
    ("<!-- rv-check claims: depth\n" + TABLE, "1:23: there is more in the line", "one a line"),
    ("<!-- rv-check claims\ncolumns:\n" + TABLE, "1:1: the comment is never closed", "-->"),
    ("Look: <!-- rv-check claims: depth -->\n" + TABLE, "1:7: a comment of claims begins otherwise", "begins with"),
    ("<!-- rv_check claims: depth -->\n" + TABLE, "1:1: a comment of claims begins otherwise", "rv-check claims"),
    (keys() + TABLE, "1:1: the comment is empty", "columns:"),
    (keys("depth") + TABLE, "2:1: the comment is 'depth'", "columns:"),
    (
        keys("colums:", "  depth: depth") + TABLE,
        "2:1: a comment of claims has no key 'colums'",
        "did you mean: columns",
    ),
    (keys("columns:", "  depth: depth", "rows:", "  a: macs") + TABLE, "has either columns: or rows:", ""),
    (keys("columns: depth") + TABLE, "2:10: columns is 'depth'", "a quantity"),
    (keys("columns:", "  #P: params", "  depth: depth") + TABLE, "3:3: a line that begins with #", "quotes"),
    (keys("columns:", "  depth: depth", "names: model") + TABLE, "4:8: the table has no column 'model'", "'arch'"),
    (
        keys("columns:", "  depth: depth", "without: resnet19") + TABLE,
        "4:10: no row of the table is called",
        "resnet18",
    ),
    (
        keys("columns:", "  depth: depth", "archs:", "  ours: resnet34") + TABLE,
        "5:3: no row of the table is called",
        "",
    ),
    (
        keys("columns:", "  depth: depth", "modules:", "  resnet18: resnet18") + TABLE,
        "5:13: 'resnet18' is no module",
        "",
    ),
    (
        keys("columns:", "  depth: depth", "archs:", "  resnet18: a.py:B") + TABLE,
        "5:13: 'a.py:B' is no arch",
        "resnet50(",
    ),
    (keys("columns:", "  depth: depth", "input: 3 x 224") + TABLE, "4:10: input is '3 x 224'", "3 224 224"),
    (keys("rows:", "  depth: depth") + TABLE, "3:3: the table has no row 'depth'", "'resnet18'"),
    (keys("columns:", "  depth: [depth, macs]") + TABLE, "'18' of 'depth' has 1 of 2 numbers", "with / between"),
    (
        keys("columns:", "  depth: depth", "modules:", "  resnet18: mynt.py:Net") + TABLE,
        "9:3: ",
        "there is no such file",
    ),
    (keys("columns:", "  depth: depth", "modules:", "  resnet18: mynet.py:Nat") + TABLE, "has no 'Nat'", "mean: Net"),
    (keys("columns:", "  depth: depth", "modules:", "  resnet18: mynet.py:Net(3)") + TABLE, "without a name", "NAME=3"),
    (keys("columns:", "  depth: depth", "modules:", "  resnet18: mynet.py:Net(x=3)") + TABLE, "cannot be called", ""),
    (
        keys("columns:", "  depth: depth", "modules:", "  resnet18: mynet.py:Net", "input: 1 8 8") + TABLE,
        "does not run at 1 8 8",
        "mynet.py",
    ),
]


@pytest.mark.parametrize(("page", "message", "hint"), ERRORS, ids=[e[1][:60] for e in ERRORS])
def test_error(
    page: str, message: str, hint: str, judged: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page that is wrong is said to be, with its line and what to do; the command exits with 2."""
    with pytest.raises(SpecError) as caught:
        judged(page)
    assert f"{tmp_path}/README.md:" in str(caught.value)
    assert message in str(caught.value)
    assert hint in str(caught.value)
    assert main(["claims", str(tmp_path / "README.md")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err


def test_error_without_a_comment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page without a comment is no page of claims: that nothing is wrong with it would mean nothing."""
    (tmp_path / "README.md").write_text(f"```text\n{SHORT}\n```\n`{SHORT}`\n{TABLE}")
    assert main(["claims", str(tmp_path / "README.md")]) == 2
    assert "has a comment of claims" in capsys.readouterr().err


def test_all_errors_are_told(judged: Callable) -> None:
    """Those of all tables, in the order of the page."""
    with pytest.raises(SpecError) as caught:
        judged(PLAIN + "No table.\n\n" + PLAIN + table("arch | depth", "resnet18 | ?!", "resnet19 | 3"))
    assert [problem.place.line for problem in caught.value.problems if problem.place] == [1, 7, 8]


FENCES = ["```markdown\n{}```\n", "~~~\n{}~~~\n", "````\n```\n{}```\n````\n", "> ```\n{}> ```\n"]


@pytest.mark.parametrize("fence", FENCES)
def test_fences(fence: str, judged: Callable) -> None:
    """What is shown in a fence is not checked, and what follows it is."""
    page = (
        fence.format(SHORT + "\n" + TABLE) + f"\n{SHORT}\n<!-- made by\nhand -->\n\n{TABLE}<!-- end -->\nText | more\n"
    )
    assert len(judged(page)) == 6


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_forms_of_tables(newline: str, judged: Callable) -> None:
    """Without bars at the ends, indented, with alignment and escaped bars."""
    lines = [
        "<!-- rv-check claims: a|b = depth -->",
        "",
        "arch | a\\|b",
        ":--- | ---:",
        "resnet18 | 18",
        "resnet50 | 49",
        "",
    ]
    page = "".join(f"  {line}\n" for line in lines) + "Text | more\n"
    assert told(judged(page.replace("\n", newline))) == [
        ("resnet18, a|b = 18", HOLDS, ""),
        ("resnet50, a|b = 49", WRONG, "50"),
    ]


PLAINLY = [
    ("resnext50_32x4d", "resnext50_32x4d"),
    ("**[resnet50](docs/resnet_50.md)**", "resnet50"),
    ("[resnet50][1]", "resnet50"),
    ("`resnet50`", "resnet50"),
    ("resnet50 [^1]", "resnet50"),
    ("wide\\_resnet", "wide_resnet"),
    ("*a* and *b*", "*a* and *b*"),
    ("<b>x</b><br>", "x"),
    ("~~old~~", "old"),
    ("Params<br>(M)", "Params (M)"),
    ("a &lt; b", "a < b"),
]


@pytest.mark.parametrize(("cell", "text"), PLAINLY)
def test_plain(cell: str, text: str) -> None:
    """A cell is read as a reader of the page sees it."""
    assert plain(cell) == text


@pytest.mark.parametrize("mark", ["[", "<sup>", "![a](b", "*"])
def test_long_cells(mark: str) -> None:
    """What is too long for a number is left alone: its marks would be looked for from each of them on."""
    assert plain(mark * 20_000) == mark * 20_000


def test_ranges() -> None:
    """A range holds at both ends, rounded as they are; its lower end has the unit of the upper one."""
    found = parse_range("3.8-4.1 G")
    assert found is not None
    values = [Fraction(value, 10**9) for value in (3_749_999_999, 3_750_000_000, 4_150_000_000, 4_150_000_001)]
    assert [found.verdict(value) for value in values] == [WRONG, HOLDS, HOLDS, WRONG]
    assert parse_printed("3.8-4.1 G") is None
    assert parse_range("-3") is None


def test_the_command(judged: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong cell is shown with its line and the right value, and the status is 1; what holds is only counted."""
    judged(f"{SHORT}\n{TABLE}")
    path = str(tmp_path / "README.md")
    assert main(["claims", path]) == 0
    assert f"{path}:2: 6 numbers of 2 networks, all hold" in capsys.readouterr().out
    judged(f"{SHORT}\n{TABLE.replace('25.6', '25.1')}")
    assert main(["claims", path]) == 1
    shown = capsys.readouterr()
    assert f"{path}:2: 6 numbers of 2 networks, 5 hold" in shown.out
    assert "5 resnet50, Params (M) 25.1 wrong 25,557,032 25.6" in " ".join(shown.out.split())
    assert "6 claims: 5 as declared, 1 not, 0 skipped" in shown.out
    assert f"{path}:5:14: README::resnet50, Params (M) = 25.1 failed" in shown.err


def test_as_json(judged: Callable, tmp_path: Path, hold_schema: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    """A number of a table is an object like that of a statement, with the network of its row."""
    judged(f"{SHORT}\n{TABLE.replace('1.8 G', '3.6 G')}")
    assert main(["claims", str(tmp_path / "README.md"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    hold_schema(found)
    (wrong,) = [one for one in found["claims"] if one["status"] == "failed"]
    shown = [wrong[key] for key in ("line", "claim", "network", "printed", "verdict", "right", "hint")]
    hint = "it holds where a multiply-add counts as two operations: 2*macs"
    assert shown == [4, "resnet18, MACs = 3.6 G", "resnet18", "3.6 G", "wrong", "1.8 G", hint]


OURS = {
    "docs/networks.md": len(archs()) * (1 + 1 + 3 + 1 + 1),
    "docs/claims.md": 3 * (1 + 1 + 1 + 3),
}  # a field has three numbers


@pytest.mark.parametrize("page", OURS)
def test_our_own_tables(page: str, tmp_path: Path) -> None:
    """The tables of our pages are checked, each number of their columns; one that is changed is found, and it alone."""
    (claims,) = read_claims(ROOT / page)
    found = judge_all(claims)
    assert {verdict.words for verdict in found} == {HOLDS}
    assert len(found) == OURS[page]
    changed = tmp_path / "page.md"
    changed.write_text(
        (ROOT / page).read_text(encoding="utf-8").replace("| 899/32/449", "| 899/32/448", 1), encoding="utf-8"
    )
    (claims,) = read_claims(changed)
    assert [(v.claim.printed, v.right) for v in judge_all(claims) if v.words != HOLDS] == [("448", "449")]
