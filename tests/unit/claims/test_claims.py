"""Claims: verdicts worked by hand, what a file may say, and what is said of a wrong one."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from rv_check.checks.printed import HOLDS, TRUNCATED, WRONG, parse_printed
from rv_check.claims import claim
from rv_check.claims.file import load_claims
from rv_check.cli.main import main
from rv_check.errors import CannotRun, SpecError
from rv_check.modules import reference
from tests import ROOT

SPECS = ROOT / "specs"
FACTS = SPECS / "claims"

# Printed, the exact value, and the verdict with the right value, worked by hand.
PRINTED = [
    ("138M", 138_357_544, HOLDS, "138M"),
    ("143M", 143_667_240, TRUNCATED, "144M"),
    ("144M", 143_667_240, HOLDS, "144M"),
    ("142M", 143_667_240, WRONG, "144M"),
    ("5.7", Fraction(56, 10), WRONG, "5.6"),
    ("5.6", Fraction(565, 100), HOLDS, "5.7"),  # a tie holds either way
    ("5.7", Fraction(565, 100), HOLDS, "5.7"),
    ("5.70", Fraction(57, 10), HOLDS, "5.70"),
    ("5.70", Fraction(5695, 1000), HOLDS, "5.70"),
    ("5.70", Fraction(5694, 1000), WRONG, "5.69"),
    ("1.8e9", 1_794_805_760, HOLDS, "1.8e9"),
    ("3.8e9", 3_857_973_248, TRUNCATED, "3.9e9"),
    ("19.6 billion", 19_632_062_464, HOLDS, "19.6 billion"),
    ("25_557_032", 25_557_032, HOLDS, "25,557,032"),
    ("25,557,033", 25_557_032, WRONG, "25,557,032"),
    ("120M", 123_642_856, WRONG, "124M"),  # every printed digit counts
    ("0", Fraction(1, 3), HOLDS, "0"),
    ("0.3", Fraction(1, 3), HOLDS, "0.3"),
    ("-0.3", Fraction(-39, 100), TRUNCATED, "-0.4"),
    ("2x", 2, HOLDS, "2x"),
]


@pytest.mark.parametrize(("printed", "value", "verdict", "right"), PRINTED)
def test_printed_numbers(printed: str, value: Fraction | int, verdict: str, right: str) -> None:
    """A number holds where it is the value rounded to the digits printed, and under truncation where it is cut off."""
    number = parse_printed(printed)
    assert number is not None
    exact = Fraction(value) / number.scale
    assert (number.verdict(exact), number.right(exact)) == (verdict, right)


@pytest.mark.parametrize("text", ["", "many", "5.", ".7", "1e999", "5 M M", "0x10", "1" * 40, "nan", "12%%", "5.7 T"])
def test_error_not_printed(text: str) -> None:
    """What is no printed number is none."""
    assert parse_printed(text) is None


@pytest.fixture
def judged(tmp_path: Path) -> Callable[[str], list[claim.Verdict]]:
    """The verdicts on statements, written as a file has them."""

    def judge(statements: str) -> list[claim.Verdict]:
        path = tmp_path / "said.yaml"
        path.write_text(f"claims: a page\nsource: nowhere\nstatements:\n{statements}")
        return claim.judge_all(load_claims(path))

    return judge


def one(expression: str, printed: str = "", more: str = "") -> str:
    """A statement."""
    lines = [
        f"  - is: {expression}",
        *([f"    printed: {printed}"] if printed else []),
        *([f"    {more}"] if more else []),
    ]
    return "\n".join(lines) + "\n"


# facts/README.md and the papers; the last is arithmetic: 3x3 of 64 channels at 56x56, 9*64*64*56*56 = 115,605,504.
FACT_VALUES = [
    ("resnet50.params", "25_557_032"),
    ("resnet50.mparams", "25.557032"),
    ("vgg19.macs", "19_632_062_464"),
    ("resnet50.gmacs", "4.089184256"),
    ("resnet152.depth", "152"),
    ("resnet50.skip_connections", "16"),
    ("resnet50.receptive_field", "427"),
    ("resnet50.receptive_field_stride", "32"),
    ("resnet50.receptive_field_padding", "213"),
    ("resnet50.layer3.receptive_field", "267"),
    ("resnet50.convs", "53"),
    ("vgg16.linears", "3"),
    ("vgg16.classifier.params", "123_642_856"),
    ("vgg16.classifier[0].weights", "102_760_448"),  # 25,088 x 4,096
    ("vgg16.classifier[0].in_features", "25_088"),
    ("vgg16.classifier[0].out_features", "4_096"),
    ("vgg16.classifier.weights", "123_633_664"),  # the above without biases: 4,096 + 4,096 + 1,000 less
    ("resnet50.fc.in_features", "2048"),
    ("resnet50.conv1.kernel", "7"),
    ("resnet50.conv1.in_channels", "3"),
    ("resnet50.conv1.out_channels", "64"),
    ("resnet50.conv1.rows", "112"),
    ("resnet50.layer1[0].conv2.macs", "115_605_504"),
    ("resnext50_32x4d.layer1[0].conv2.groups", "32"),
    ("resnet50(classes=10).params", "23_528_522"),
    ("resnet18(block=basic_a).macs", "1_794_805_760"),
    ("max(resnet50.depth, 2 * 3) - 1", "49"),
]


@pytest.mark.parametrize(("expression", "value"), FACT_VALUES, ids=[case[0] for case in FACT_VALUES])
def test_facts(expression: str, value: str, judged: Callable) -> None:
    """Every fact is what it is called, to the last digit; one more in the last place is wrong."""
    digits = value.replace("_", "")
    last = f"{int(digits) + 1}" if "." not in digits else f"{digits[:-1]}{(int(digits[-1]) + 1) % 10}"
    right, wrong = judged(one(expression, value) + one(f"{expression} + 0", last))
    assert (right.words, wrong.words) == (HOLDS, WRONG)


def test_every_fact_of_the_issue(judged: Callable) -> None:
    """The four examples, with their verdicts."""
    found = judged(
        one("vgg19.params / resnet50.params", "5.7")
        + one("vgg16.params", "138M")
        + one("resnet50.top1", "76.0%")
        + one("4096*4096*3", "120M")
    )
    words = [(verdict.words, verdict.right) for verdict in found]
    assert words == [(WRONG, "5.6"), (HOLDS, "138M"), (WRONG, "76.1%"), (WRONG, "50M")]


def test_percent(judged: Callable) -> None:
    """A share is a hundred times its value in percent; an accuracy is in percent already."""
    share, accuracy = judged(one("vgg16.classifier.params / vgg16.params", "89.4%") + one("resnet18.top1", "69.8%"))
    assert (share.words, accuracy.words) == (HOLDS, HOLDS)


def test_within(judged: Callable) -> None:
    """About is a percentage of what is printed: 123.6 is 3.04% above 120."""
    near, far = judged(
        one("vgg16.classifier.params", "120M", "within: 3.1%")
        + one("vgg16.classifier.params + 0", "120M", "within: 3%")
    )
    assert (near.words, far.words) == (HOLDS, WRONG)


def test_comparisons(judged: Callable) -> None:
    """A comparison holds or is wrong."""
    true, false = judged(
        one("resnet50.params < vgg19.params") + one("resnet50.params > vgg19.params", "", "verdict: wrong")
    )
    assert [(v.words, v.as_declared) for v in (true, false)] == [(HOLDS, True), (WRONG, True)]


DECLARED = [("138M", "holds"), ("137M", "wrong"), ("138.3M", "truncated")]


@pytest.mark.parametrize(("printed", "true"), DECLARED)
@pytest.mark.parametrize("declared", ["holds", "wrong", "truncated"])
def test_declared(printed: str, true: str, declared: str, judged: Callable) -> None:
    """A verdict that is not the true one is red, whichever it is: a claim declared wrong that holds among them."""
    (found,) = judged(one("vgg16.params", printed, f"verdict: {declared}"))
    assert found.as_declared == (declared == true)
    assert found.finding("said").status == ("passed" if declared == true else "failed")


def test_cannot_be_said(judged: Callable) -> None:
    """No spec, no accuracy, or a need of something else: declared so, and red where it can be said after all."""
    found = judged(
        one("googlenet.params", "7M", "verdict: cannot be said")
        + one("plain18.top1", "70.0", "verdict: cannot be said")
        + one("resnet50(classes=10).top1", "70.0", "verdict: cannot be said")
        + "  - says: it is nice\n    needs: an opinion\n    verdict: cannot be said\n"
        + one("vgg16.params", "138M", "verdict: cannot be said")
    )
    assert [v.as_declared for v in found] == [True, True, True, True, False]
    assert [v.reason for v in found][:4] == [
        "there is no spec of 'googlenet'",
        "the spec of plain18 quotes no top1",
        "nobody has published top1 of resnet50(classes=10)",
        "it needs an opinion",
    ]


def test_without_torchvision(
    monkeypatch: pytest.MonkeyPatch, judged: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An accuracy that cannot be looked up is skipped with its reason: neither held nor failed, unless required."""

    def missing(module: str, extra: str = "torch") -> None:
        raise CannotRun(f"{module} cannot be imported")

    monkeypatch.setattr(reference, "need", missing)
    (found,) = judged(one("resnet50.top1", "76.1%"))
    finding = found.finding("said")
    assert not found.as_declared
    assert (finding.status, finding.reason) == ("skipped", "torchvision.models cannot be imported")
    path = str(tmp_path / "said.yaml")
    assert main(["claims", path]) == 0
    assert "1 claims: 0 as declared, 0 not, 1 skipped" in capsys.readouterr().out
    assert main(["claims", path, "--require", "spec"]) == 1


# What is wrong with a file: the statement, and the first words of what is said of it.
ERRORS = [
    (one("resnet50.parms", "1"), "resnet50 has no fact 'parms'", "did you mean: params"),
    (one("resnet51.params", "1"), "there is no spec of 'resnet51'", "did you mean: resnet"),
    (one("resnet50.layer9.params", "1"), "resnet50 has no part 'layer9'", "layer1, layer2"),
    (one("resnet50.layer1", "1"), "resnet50.layer1 is a part, not a number", ".params"),
    (one("resnet50.layer1.kernel", "1"), "resnet50.layer1 has no one 'kernel'", ""),
    (one("resnet50.layer1.in_features", "1"), "resnet50.layer1 has no one 'in_features'", ""),
    (one("resnet50(klasses=3).params", "1"), "resnet has no argument 'klasses'", "did you mean: classes"),
    (one("resnet50.params +", "1"), "'resnet50.params +' is not an expression", "facts"),
    (one("vgg16.features.0.params", "1"), "'vgg16.features.0.params' is not an expression", "classifier[0]"),
    (one("params", "1"), "unknown name 'params'", ""),
    (one("resnet50", "1"), "unknown name 'resnet50'", ""),
    (one("__import__('os').system", "1"), "'os'", "is not in the language"),
    (one("resnet50.params.__class__", "1"), "has no fact '__class__'", ""),
    (one("(1).params", "1"), "'1' is no part of a network", ""),
    (one("100*99999999999", "1"), "", "the number is too large"),
    (one("1 / (resnet50.depth - 50)", "1"), "division by zero", ""),
    (one("resnet50.params", ""), "nothing printed for 'resnet50.params'", "138M"),
    (one("resnet50.params", "lots"), "printed is 'lots'", "138M"),
    (one("resnet50.params < 3", "1"), "printed: beside what is no number", ""),
    (one("True", "1"), "True is True", "a number"),
    (one("resnet50.params", "1", "verdict: maybe"), "unknown verdict 'maybe'", "truncated"),
    (one("resnet50.params", "1", "within: a bit"), "within is 'a bit'", "2%"),
    (one("resnet50.params", "1", "sauce: none"), "a statement has no key 'sauce'", "did you mean: source"),
    (one("resnet50.params", "1") * 2, "'resnet50.params = 1' stands twice, first in line 4", ""),
    ("  - says: it is nice\n", "a statement without is:", "needs:"),
    ("  - resnet50.params\n", "a statement is 'resnet50.params'", "is: and printed:"),
]


@pytest.mark.parametrize(("statements", "message", "hint"), ERRORS)
def test_error(
    statements: str, message: str, hint: str, judged: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong file is said to be, with its line; the command exits with 2 and without a traceback."""
    with pytest.raises(SpecError) as caught:
        judged(statements)
    assert message in str(caught.value)
    assert hint in str(caught.value)
    assert f"{tmp_path}/said.yaml:" in str(caught.value)
    assert main(["claims", str(tmp_path / "said.yaml")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err


FILES = [
    ("claims: x\n", "without statements:"),
    ("claims: x\nstatements: none\n", "statements is 'none'"),
    ("claims: x\nstatements:\n  - is: 1\n    printed: 1\n", "a statement without a source"),
    ("claims: x\nstatments:\n  - is: 1\n", "did you mean: statements"),
    ("claims: x\narchs: y\nstatements:\n  - is: 1\n    printed: 1\n    source: x\n", "archs is 'y'"),
    ("", "the file is empty"),
]


@pytest.mark.parametrize(("text", "message"), FILES)
def test_error_file(text: str, message: str, tmp_path: Path) -> None:
    """What is no file of claims is refused."""
    (tmp_path / "said.yaml").write_text(text)
    with pytest.raises(SpecError) as caught:
        load_claims(tmp_path / "said.yaml")
    assert message in str(caught.value)


def test_all_errors_are_told(judged: Callable) -> None:
    """Not one after the other."""
    with pytest.raises(SpecError) as caught:
        judged(one("resnet50.parms", "1") + one("resnet50.mcs", "1"))
    assert len(caught.value.problems) == 2


def test_names_of_other_archs(tmp_path: Path) -> None:
    """An alias is a file's arch, seen from the claims' own folder, with arguments of its own and of its uses."""
    (tmp_path / "nets").mkdir()
    net = "family: tiny(classes=10)\ninput: 4\nbody:\n  - fc: linear(classes, bias=False)\n"
    net += "archs:\n  tiny10:\n    build: tiny()\n"
    (tmp_path / "nets/tiny.yaml").write_text(net)
    path = tmp_path / "said.yaml"
    path.write_text(
        "claims: x\nsource: y\narchs:\n  small: nets/tiny.yaml::tiny10\n  wide: resnet50(width=128)\nstatements:\n"
        + one("small.params", "40")
        + one("small(classes=3).params", "12")
        + one("wide.conv1.out_channels", "128")
    )
    assert [verdict.words for verdict in claim.judge_all(load_claims(path))] == [HOLDS] * 3


def test_the_shipped_claims(capsys: pytest.CaptureFixture[str]) -> None:
    """The command without a file looks at all that are shipped, and each has the verdict that it should get."""
    assert main(["claims", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "rv-check/claims/1"
    assert {Path(one["file"]).name for one in found["claims"]} == {path.name for path in FACTS.glob("*.yaml")}
    assert {one["status"] for one in found["claims"]} == {"passed"}
    assert {one["verdict"] for one in found["claims"]} == {"holds", "truncated", "wrong", "cannot be said"}


# facts/README.md, "A teaching article's claims, with verdicts": the verdict on each, as printed there.
ARTICLE = {
    "vgg16.params = 138M": "holds",
    "vgg19.params = 143M": "truncated",
    "4096*4096*3 = 120M": "wrong",
    "resnet18.params = 11M": "truncated",
    "resnet34.params = 21M": "truncated",
    "resnet50.params = 25M": "truncated",
    "resnet101.params = 44M": "truncated",
    "resnet152.params = 60M": "holds",
    "vgg16.top1 = 71.5%": "truncated",
    "vgg19.top1 = 72.4%": "holds",
    "resnet18.top1 = 69.8%": "holds",
    "resnet34.top1 = 73.3%": "holds",
    "resnet101.top1 = 77.4%": "holds",
    "resnet152.top1 = 78.3%": "holds",
    "resnet50.top1 = 76.0%": "wrong",
    "vgg19.params / resnet50.params = 5.7x": "wrong",
    "resnet50.fc.in_features = 2048": "holds",
}


def test_the_article() -> None:
    """Its verdicts are those that were found without rv_check."""
    verdicts = claim.judge_all(load_claims(FACTS / "article.yaml"))
    words = {verdict.claim.title: verdict.words for verdict in verdicts}
    assert {title: words[title] for title in ARTICLE} == {t: claim.DECLARED[v] for t, v in ARTICLE.items()}


def test_a_table(judged: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line a claim, what failed on stderr with its place, and status 1."""
    judged(one("vgg19.params", "143M"))
    path = str(tmp_path / "said.yaml")
    assert main(["claims", path]) == 1
    shown = capsys.readouterr()
    (line,) = [line for line in shown.out.splitlines() if line.startswith("vgg19.params")]
    expected = "vgg19.params 143M holds only under truncation, declared: holds 143,667,240 144M"
    assert line.split() == expected.split()
    assert f"{path}:4:9: said::vgg19.params = 143M failed: vgg19.params = 143M holds only under truncation" in shown.err
    assert main(["claims", path, "--format", "markdown"]) == 1
    assert "| vgg19.params | 143M" in " ".join(capsys.readouterr().out.split())
