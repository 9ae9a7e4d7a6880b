"""Does a check notice when a shipped spec is changed? A sample of mutants here; all of them with `-m sweep`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from rv_check.checks.check import Check
from rv_check.checks.registry import checks_of
from tests.parity import mutate_specs
from tests.parity.mutate_specs import Mutant, Verdict, families_using, judge, mutants, report, specs, spread, sweep

PROSE = re.compile(r"^\s*(- )?(source|note):")
SAMPLE = 20


@pytest.fixture(scope="module")
def all_mutants() -> list[Mutant]:
    """Every mutant of every shipped spec."""
    return mutants()


def survivors(verdicts: list[Verdict]) -> list[str]:
    """What no check caught, as the script lists it."""
    return [f"{v.mutant} ({v.words})" for v in verdicts if v.outcome == "survived"]


def test_a_sample_of_mutants_is_caught(all_mutants: list[Mutant]) -> None:
    """Mutants of every kind of change, over all files, are caught, and by checks of every level."""
    verdicts = sweep(spread(all_mutants, SAMPLE))
    assert len(verdicts) == SAMPLE
    assert survivors(verdicts) == []
    by = {v.by.partition(":")[0] for v in verdicts if v.outcome == "caught"}
    assert by >= {"reading", "spec", "numbers"}


@pytest.mark.sweep
def test_every_mutant_is_caught(all_mutants: list[Mutant]) -> None:
    """All of them, as `python -m tests.parity.mutate_specs` does it."""
    assert survivors(sweep(all_mutants, jobs=2)) == []


def test_what_is_not_changed_is_equivalent(all_mutants: list[Mutant]) -> None:
    """No check fails on the specs as they are, so that what catches a mutant is the mutant."""
    same = replace(all_mutants[0], new=all_mutants[0].old)
    assert judge(same) == Verdict(same, "equivalent")


@pytest.mark.parametrize(
    ("file", "kind", "old", "new", "by"),
    [
        ("blocks/vgg_stage.yaml", "op", "relu", "silu", "numbers: logits"),
        ("blocks/plain.yaml", "op", "relu", "silu", "test_variants.py: variants"),
        ("blocks/basic.yaml", "operator", "ceil", "", "test_variants.py: shapes at an odd input"),
        ("resnet.yaml", "word", "default", "constant(weight=0, bias=0)", "numbers: init"),
    ],
)
def test_the_check_that_caught_it_is_named(
    all_mutants: list[Mutant], file: str, kind: str, old: str, new: str, by: str
) -> None:
    """What no number of a spec shows is seen where the networks run."""
    wanted = (file, kind, old, new)
    verdict = judge(next(m for m in all_mutants if (m.file, m.kind, m.old, m.new) == wanted))
    assert (verdict.outcome, verdict.by) == ("caught", by)


def test_a_survivor_is_reported_when_a_check_is_disabled(
    all_mutants: list[Mutant], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without the check `contract`, a changed contract survives: the script lists it and exits with 1."""
    mutant = next(m for m in all_mutants if m.owner == "plain34" and m.old == "635_830_272")
    assert judge(mutant).by == "spec: contract"

    def without_contract(*arguments: object) -> list[Check]:
        return [check for check in checks_of(*arguments) if check.name != "contract"]  # type: ignore[arg-type]

    monkeypatch.setattr(mutate_specs, "checks_of", without_contract)
    output = tmp_path / "sweep.md"
    asked = ["--only", str(mutant), "--jobs", "1", "--output", str(output)]
    assert mutate_specs.main(asked) == 1
    out = capsys.readouterr().out
    assert re.search(rf"survived in [\d.]+ s: {re.escape(str(mutant))}", out)
    assert output.read_text().split("## Survivors")[1].strip() == f"- `{mutant}` (changed: plain34)"
    monkeypatch.undo()
    assert mutate_specs.main(asked) == 0
    assert output.read_text().split("## Survivors")[1].strip() == "None."


def test_a_variant_survives_without_the_checks_that_run(all_mutants: list[Mutant]) -> None:
    """No parameter, shape, count or field shows a silu in place of a relu."""
    mutant = next(m for m in all_mutants if m.file == "blocks/plain.yaml" and m.new == "silu")
    assert judge(mutant, running=()).outcome == "survived"


def test_a_check_that_falls_over_has_caught_nothing(all_mutants: list[Mutant]) -> None:
    """An exception that is no SpecError is a bug, and is listed with the survivors."""

    def broken(_: object) -> None:
        raise ZeroDivisionError

    verdict = judge(all_mutants[0], static=[broken])
    assert verdict.outcome == "survived"
    assert "ZeroDivisionError" in verdict.words


def test_mutants_are_changes_where_they_say(all_mutants: list[Mutant]) -> None:
    """File, line, column and the old text are exact; no mutant stands twice, and none changes nothing."""
    texts = {m.file: (specs() / m.file).read_text(encoding="utf-8") for m in all_mutants}
    assert len({(m.file, m.start, m.old, m.new) for m in all_mutants}) == len(all_mutants)
    for m in all_mutants:
        text = texts[m.file]
        assert m.of(text) != text
        line = text.split("\n")[m.line - 1]
        assert line[m.column - 1 :].startswith(m.old.split("\n")[0])
        assert not PROSE.match(line) or not m.old, f"{m} changes prose"


def test_every_number_flag_and_argument_is_changed(all_mutants: list[Mutant]) -> None:
    """Found by reading the files line by line, which is not how the mutants are made."""
    wanted = {
        # Not in names, as conv1 and block{number}-0; features.4 is one.
        r"(?<![\w.])(?<!\}-)\d[\d_]*(\.\d+)?|(?<=\.)\d+(?=:)": {"number"},
        r"\b([Tt]rue|[Ff]alse)\b": {"flag"},
        r"\b\w+(?==[^=])": {"argument dropped"},
    }
    missing = []
    for path in filter(families_using, [*specs().glob("*.yaml"), *specs().glob("blocks/**/*.yaml")]):
        file = path.relative_to(specs()).as_posix()
        here = [m for m in all_mutants if m.file == file]
        offset = 0
        text, _, _ = path.read_text(encoding="utf-8").partition("\nbench:\n")  # the rest says what is timed
        for number, line in enumerate(text.split("\n"), 1):
            for pattern, kinds in {} if PROSE.match(line) else wanted.items():
                for found in re.finditer(pattern, line):
                    at = offset + found.start()
                    if not any(m.kind in kinds and m.start <= at < m.start + len(m.old) for m in here):
                        missing.append(f"{file}:{number}:{found.start() + 1} {found.group()} is not changed: {line}")
            offset += len(line) + 1
    assert missing == []


def test_the_report_counts_and_lists(all_mutants: list[Mutant]) -> None:
    """Counts by check and by kind, the equivalent ones, the survivors with what is known of them."""
    a, b, c = all_mutants[:3]
    text = report([Verdict(a, "caught", "reading"), Verdict(b, "equivalent"), Verdict(c, "survived", words="why")])
    assert "3 mutants: 1 caught, 1 equivalent, 1 survived." in text
    assert "| reading | 1 |" in text
    assert f"- `{b}`\n" in text
    assert f"- `{c}` (why)\n" in text
