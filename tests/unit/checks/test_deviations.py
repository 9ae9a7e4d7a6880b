"""Known deviations are a checked list: what is on it is expected to fail, and an entry that does not occur fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rv_check import SpecError
from rv_check.checks.deviations import Deviation, first_match, load_deviations, settle
from rv_check.checks.findings import Finding, Level, Report, Status
from rv_check.checks.judge import Judge
from rv_check.checks.registry import check_arch
from rv_check.errors import Document, Place
from tests.unit.tiny import World

PLACE = Place(Document(Path("known.yaml"), ("deviations:", "  - check: net::macs")), 2, 12)
KNOWN = Deviation("net::macs", "on purpose", "https://example.org/1", PLACE)


def write(folder: Path, text: str) -> Path:
    """A deviations file."""
    path = folder / "known.yaml"
    path.write_text(text)
    return path


def test_load(tmp_path: Path) -> None:
    """An entry has a pattern, a reason on one or more lines, and a link if there is one; each knows its line."""
    text = """\
# ours
deviations:
  - check: resnet50::macs
    reason: our stem
      has no padding
    link: https://example.org/issues/12
  - check: "*::train"
    reason: no dropout
"""
    first, second = load_deviations(write(tmp_path, text))
    assert (first.pattern, first.arch, first.place.line) == ("resnet50::macs", "resnet50", 3)
    assert first.why == "known deviation: our stem has no padding (https://example.org/issues/12)"
    assert (second.pattern, second.why, second.place.line) == ("*::train", "known deviation: no dropout", 7)


BAD: list[tuple[str, str, str]] = [
    ("no list", "deviations: none\n", "this is not a list of known deviations"),
    ("another key", "deviations: \nother: 1\n", "this is not a list of known deviations"),
    ("nothing", "", "the file is empty"),
    ("no mapping", "deviations:\n  - resnet50::macs\n", "a deviation is 'resnet50::macs'"),
    ("no reason", "deviations:\n  - check: a::b\n", "a deviation without a reason"),
    ("an empty reason", "deviations:\n  - check: a::b\n    reason:\n", "reason is nothing"),
    ("no check", "deviations:\n  - reason: because\n", "a deviation without a check"),
    ("no arch", "deviations:\n  - check: macs\n    reason: because\n", "check is 'macs'"),
    ("a typo", "deviations:\n  - check: a::b\n    raeson: because\n", "a deviation has no key 'raeson'"),
]


@pytest.mark.parametrize(("text", "words"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_error_in_the_file(text: str, words: str, tmp_path: Path) -> None:
    """What is no deviation is an error with its place: none can be given without a reason."""
    with pytest.raises(SpecError) as error:
        load_deviations(write(tmp_path, text))
    assert any(problem.message == words for problem in error.value.problems), str(error.value)
    assert "known.yaml" in str(error.value)


def test_errors_come_together(tmp_path: Path) -> None:
    """All errors of a file are told at once, with what would be right."""
    with pytest.raises(SpecError) as error:
        load_deviations(write(tmp_path, "deviations:\n  - chekc: a::b\n    reason: x\n  - check: b::c\n"))
    assert len(error.value.problems) == 3
    assert "did you mean: check" in str(error.value)


MATCHES: list[tuple[str, list[str], bool]] = [
    ("net::macs", ["net::macs"], True),
    ("net::macs", ["net::params"], False),
    ("net::macs", ["net_v1::macs"], False),
    ("*::macs", ["net::macs"], True),
    ("net*::macs", ["net_v1::macs"], True),
    ("net::*", ["net::macs"], True),
    ("resnet?[02]::macs", ["resnet50::macs"], True),
    ("specs/a.yaml::net::macs", ["net::macs", "specs/a.yaml::net::macs"], True),
    ("specs/a.yaml::net::macs", ["net::macs", "specs/b.yaml::net::macs"], False),
    ("NET::macs", ["net::macs"], False),
    ("net(depths=[1, 1])::macs", ["net(depths=[1, 1])::macs"], True),  # as it is, before it is a pattern
]


@pytest.mark.parametrize(("pattern", "ids", "matches"), MATCHES)
def test_matches(pattern: str, ids: list[str], matches: bool) -> None:
    """A pattern fits a whole id, with or without the file."""
    assert Deviation(pattern, "x", "", PLACE).matches(ids) == matches
    assert (first_match([Deviation(pattern, "x", "", PLACE)], ids) is not None) == matches


def finding(status: Status) -> Finding:
    """A finding of net::macs."""
    return Finding("net", "macs", "spec", status, "macs", reason="no torch" if status == "skipped" else None)


# What was found, what is required, and whether it is known to fail; and what is made of it.
SETTLED: list[tuple[list[Status], tuple[Level, ...], bool, list[Status]]] = [
    (["passed"], (), False, ["passed"]),
    (["failed"], (), False, ["failed"]),
    (["skipped"], (), False, ["skipped"]),
    (["blocked"], (), False, ["blocked"]),
    (["passed", "skipped"], ("spec",), False, ["passed", "failed"]),
    (["skipped"], ("numbers",), False, ["skipped"]),
    (["blocked"], ("spec",), False, ["blocked"]),
    (["passed", "failed"], (), True, ["passed", "skipped"]),
    (["passed", "failed"], ("spec",), True, ["passed", "skipped"]),  # a known failure is no skip that was forgotten
    (["blocked"], (), True, ["skipped"]),
    (["skipped"], (), True, ["skipped"]),  # not known whether it still occurs
    (["skipped"], ("spec",), True, ["failed"]),  # nor does the deviation excuse that it could not run
    (["passed", "passed"], (), True, ["passed", "passed", "failed"]),
]


@pytest.mark.parametrize(("found", "required", "known", "settled"), SETTLED)
def test_settle(found: list[Status], required: tuple[Level, ...], known: bool, settled: list[Status]) -> None:
    """A required skip fails, a known failure is skipped with its reason, and one that does not occur any more fails."""
    made = settle([finding(status) for status in found], required, KNOWN if known else None)
    assert [f.status for f in made] == settled
    for before, after in zip(found, made, strict=False):
        excused = known and before in ("failed", "blocked")
        assert after.deviation == ("on purpose" if excused else None)
        assert after.reason == (KNOWN.why if excused else "no torch" if before == "skipped" else None)


def test_what_no_longer_occurs_points_at_its_line() -> None:
    """The failure is the deviation's own: its file, its line, and what to do."""
    *_, gone = settle([finding("passed")], (), KNOWN)
    assert gone.message == "the known deviation 'net::macs' does not occur any more: take it out"
    assert gone.as_json()["line"] == 2
    assert gone.lines()[0].startswith(f"{PLACE}: net::macs failed: ")


def judged(world: World, text: str, *changes: tuple[str, str], levels: tuple[Level, ...] = ("spec",)) -> Report:
    """The small network, changed, against its spec, with these deviations."""
    known = load_deviations(write(world.folder, text))
    return check_arch(world.arch(*changes), levels, judge=Judge(deviations=known))


ENTRY = "deviations:\n  - check: {}\n    reason: on purpose\n"


def test_a_known_failure_does_not_fail(world: World) -> None:
    """It is skipped, so that the report neither fails nor passes; other failures stay failures."""
    wrong_params, wrong_depth = ("params: 1_150", "params: 1_151"), ("depth: 4", "depth: 5")
    report = judged(world, ENTRY.format("net::params"), wrong_params)
    assert (report.failed, report.passed, report.level) == (False, False, None)
    (known,) = [f for f in report.findings if f.status != "passed"]
    assert known.as_json()["deviation"] == "on purpose"
    assert known.reason == "known deviation: on purpose"
    assert judged(world, ENTRY.format("net::params"), wrong_params, wrong_depth).failed


LOST: list[tuple[str, Callable[[World], str], bool]] = [
    ("another check", lambda world: "net::parms", True),
    ("a check of another arch", lambda world: "other::macs", False),
    ("no check of this arch", lambda world: "n*::metadata", True),
    ("another file", lambda world: "elsewhere.yaml::net::params", True),
    ("this file", lambda world: f"{world.folder}/tiny.yaml::net::params", False),
    ("a check of a level that is not run", lambda world: "net::train", False),
]


@pytest.mark.parametrize(("pattern", "lost"), [row[1:] for row in LOST], ids=[row[0] for row in LOST])
def test_what_matches_nothing_fails(pattern: Callable[[World], str], lost: bool, world: World) -> None:
    """An entry that speaks of the arch and of no check of it fails, at its line; others are not this arch's matter."""
    report = judged(world, ENTRY.format(pattern(world)), ("params: 1_150", "params: 1_151"))
    words = f"the known deviation '{pattern(world)}' matches no check"
    assert [f.message for f in report.findings if f.check == "deviations"] == ([words] if lost else [])
    assert all(f.status == "failed" for f in report.findings if f.check == "deviations")


def test_a_known_failure_of_the_models_excuses_what_it_blocks(world: World) -> None:
    """Where the whole arch is known to fail, nothing of it fails, and what passes says that it was not needed."""

    def failing(classes: int) -> None:
        raise ValueError

    world.reference = failing  # type: ignore[assignment]
    report = judged(world, ENTRY.format("net::[seil]*"), levels=("numbers",))
    assert {f.check: f.status for f in report.findings if f.check not in ("counters", "field")} == dict.fromkeys(
        ("state_dict", "init", "logits", "eval"), "skipped"
    ) | {"train": "blocked"}
