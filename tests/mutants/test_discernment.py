"""Level structure tells wrong networks from right ones: a sample of them here, all of them with `-m sweep`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from rv_check import check
from rv_check.errors import RvCheckError
from rv_check.modules.torch_state import seeded
from tests.mutants import operators, rewrites, score
from tests.mutants.network import Network
from tests.mutants.score import EQUAL, LEVELS, RATES, REWRITES, Item, Row, Verdict

QUICK = ("resnet18", "plain18", "vgg11_bn")  # archs of the default run
DEEPER = ("resnet34", "resnet101", "resnet152", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet101_2")
DEEPER += ("resnet101_v1", "resnet152_v1", "plain34", "wide_resnet50_2")  # the blocks of another, more, or wider
SLOWER = ("resnet50", "resnext50_32x4d")  # archs of which the default run takes a few mutants

# Where rv_check says something else than that a network is wrong, and where: what it says, and why. Each is held to
# still occur.
CASES = {
    "Backwards": ("not caught", "equal but for the names of parameters, and the map says which is where"),
    "SortedByName": ("not caught", "equal but for the names of parameters, and the map says which is where"),
    "kernels_transposed": ("not caught", "equal but for the axes of kernels of names of their own, which is said"),
    "square_kernels_swapped": ("not caught", "equal but for the axes of kernels of names of their own, which is said"),
    "StatisticsSwapped": ("not caught", "names in a flat list of parameters say nothing to a tool"),
    "logits_and_features": ("another place", "it returns more than it should, which is no step's fault"),
    "auxiliary_output_in_training": ("another place", "it returns more than it should, which is no step's fault"),
    "groups_interleaved": ("another place", "slices in place of groups differ by no rule, everywhere"),
    "ZipTruncates": ("another place", "the last stage is missing: its first conv is named, its author names its end"),
    "folded": ("another place", "its author names the stem, which it leaves as it is"),
    "HalvesApart": ("another place", "the batch is split at the input, and its author names the norms that mind"),
    "NormCopied": ("another place", "one norm in two places: the first is named, its author names the second"),
    "NormsOffByOne": ("another place", "one norm in two places: the first is named, its author names the second"),
}
SLOW = ("SortedByName", "groups_interleaved")
FLAGGED = {
    "groups_of_modules": "another set of parameters",
    "linear_in_halves": "another set of parameters",
    "sample_by_sample": "it draws other dropout masks",
}
FLAGGED_KINDS = {"weights permuted": "the weights of another network: the arch computes it only after permuting them"}


def verdict(item: Item) -> str:
    """What rv_check says of it: caught, another place, not caught or flagged.

    Level structure decides, and `check` where that has nothing to say of what is wrong, or should have nothing to say.
    """
    with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"), seeded(0):
        warnings.simplefilter("ignore")
        subject = score.Subject(item)
        found = LEVELS["structure"](subject)
        if not item.wrong:
            return "flagged" if found.caught and not passes(item, subject) else "not flagged"
        if found.caught:
            return "caught" if found.names or subject.structure is None else "another place"
        return "not caught" if passes(item, subject) else "caught"


def passes(item: Item, subject: score.Subject) -> bool:
    """What `check` says."""
    try:
        return check(subject.module, item.arch).passed
    except RvCheckError:
        return False


def wrongly(items: Iterable[Item]) -> dict[str, str]:
    """Those of which rv_check says something else than it should."""
    found = {item.id: verdict(item) for item in items}
    return {name: words for name, words in found.items() if words not in ("caught", "not flagged")}


def of_archs(names: Iterable[str]) -> list[Item]:
    """Every mutant of the narrow copies of these archs."""
    return score.all_mutants([operators.narrow(name) for name in names])


def cases() -> list[Item]:
    """What was written by hand, wrong or equal."""
    return [item for item in score.by_hand() if item.group != REWRITES]


# Mutants.


def test_a_sample_of_mutants_is_caught_at_its_place() -> None:
    """One of every operator; those that change nothing are not flagged."""
    chosen = score.sample(of_archs(QUICK), 0, least=1, least_equal=1)
    chosen += score.sample(of_archs(SLOWER), 0, least=1, least_equal=0)[::27]
    assert {item.group for item in chosen} == operators.OPERATORS.keys()
    assert wrongly(chosen) == {}


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(8))
@pytest.mark.parametrize("arch", operators.mutated())
def test_every_mutant_is_caught_at_its_place(arch: str, part: int) -> None:
    """All of them, in parts that workers share; one in ten of a network that is another one, longer or wider."""
    items = of_archs([arch])
    assert wrongly((items if arch not in DEEPER else score.sample(items, 0.1, least=1))[part::8]) == {}


# Networks that were written by hand.


def test_a_sample_of_cases_is_caught_at_its_place() -> None:
    """One in thirty."""
    hold_cases(cases()[::30])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.sweep if name in SLOW else ()) for name in CASES]
)
def test_known_exceptions_still_occur(name: str) -> None:
    """Each case of the table does what the table says: one that no longer does has no place in it."""
    (item,) = [item for item in cases() if item.name == name]
    assert verdict(item) == CASES[name][0]


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(8))
def test_every_case_is_caught_at_its_place(part: int) -> None:
    """All of them."""
    hold_cases(cases()[part::8])


def hold_cases(items: Iterable[Item]) -> None:
    """The cases are as they should be, but for the known exceptions."""
    known = {item.id for item in cases() if item.name in CASES}
    assert {name: words for name, words in wrongly(items).items() if name not in known} == {}


# Rewrites that change nothing.


def reason_to_flag(rewrite: rewrites.Rewrite) -> str:
    """Why a rewrite is flagged though it changes nothing, or nothing."""
    if rewrite.only_at_declared_input:
        return "at other sizes it is another network"
    if rewrite.only_in_eval:
        return "in train mode it is another network"
    return FLAGGED.get(rewrite.name) or FLAGGED_KINDS.get(rewrite.kind, "")


def test_a_sample_of_rewrites_is_not_flagged() -> None:
    """One in sixty."""
    hold_rewrites(rewrites.REWRITES[::60])


@pytest.mark.parametrize("name", [*FLAGGED])
def test_known_flags_still_occur(name: str) -> None:
    """What is known still occurs, as with the cases."""
    (rewrite,) = [one for one in rewrites.REWRITES if one.name == name]
    assert complains(rewrite)


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(8))
def test_no_rewrite_is_flagged(part: int) -> None:
    """All of them; those with a reason are."""
    hold_rewrites(rewrites.REWRITES[part::8])


def hold_rewrites(chosen: Iterable[rewrites.Rewrite]) -> None:
    """Flagged are those that have a reason, and no others."""
    found = {one.name: complains(one) for one in chosen}
    assert found == {one.name: bool(reason_to_flag(one)) for one in rewrites.REWRITES if one.name in found}


def complains(rewrite: rewrites.Rewrite) -> bool:
    """Whether level structure does."""
    return score.judge(score.of_rewrite(rewrite), {"structure": LEVELS["structure"]}).verdicts["structure"].caught


# The scoring can fail.


@pytest.fixture(scope="module")
def some() -> list[Item]:
    """A few networks, wrong ones and right ones."""
    mutants = score.sample(of_archs(["vgg11"]), 0, least=1, least_equal=1)
    return [*mutants[:12], *(score.of_rewrite(one) for one in rewrites.REWRITES[:3])]


@pytest.mark.parametrize("caught", [False, True])
def test_a_checker_that_looks_at_nothing(caught: bool, some: list[Item]) -> None:
    """One that passes everything scores nothing, one that flags everything flags what changes nothing."""
    levels = {name: lambda subject: Verdict(caught) for name in LEVELS}
    rows = [score.judge(item, levels) for item in some]
    for group, counts in score.rates(rows).items():
        assert [counts[level] for level in LEVELS] == [caught * counts["judged"]] * len(LEVELS), group
    found = score.exceptions(rows)
    assert len(found["flagged"]) == caught * sum(not item.wrong for item in some) >= caught * 3
    assert len(found["not caught"]) == (not caught) * sum(item.wrong for item in some)
    assert len(found["another place"]) == caught * sum(item.wrong for item in some)


def test_one_level_is_renewed_alone(some: list[Item]) -> None:
    """What the others said is kept; of other networks nothing is."""
    levels = {"params": LEVELS["params"], "structure": LEVELS["structure"]}

    def found(levels: dict[str, score.Level], caught: bool) -> dict[str, Any]:
        def level(subject: score.Subject) -> Verdict:
            return Verdict(caught, 1, caught)

        rows = [score.judge(item, dict.fromkeys(levels, level)) for item in some]
        return {"torch": "2", "rows": score.rates(rows), "structure says otherwise": score.exceptions(rows)}

    before, now = found(levels, caught=True), found({"structure": levels["structure"]}, caught=False)
    renewed = score.renewed(before, now, ["structure"])
    for group, counts in renewed["rows"].items():
        assert counts["params"] == counts["judged"], group
        assert counts["structure"] == counts["names the place"] == counts["one difference"] == 0, group
    assert renewed["structure says otherwise"] == now["structure says otherwise"] != before["structure says otherwise"]
    some_others = {**now, "rows": {**now["rows"], "another": {"of": 1, "judged": 1}}}
    with pytest.raises(SystemExit, match="other networks were judged"):
        score.renewed(before, some_others, ["structure"])


def test_a_level_that_dies_has_caught_nothing(some: list[Item]) -> None:
    """It is counted apart."""

    def broken(subject: score.Subject) -> Verdict:
        raise ZeroDivisionError

    row = score.judge(some[0], {**LEVELS, "torch.export": broken})
    counts = score.rates([row])[row.group]
    assert (counts["torch.export"], counts["torch.export died"]) == (0, 1)
    assert "+ 100 died" in score.table({"rows": {row.group: counts}})


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn"])
def test_no_level_complains_of_the_arch_itself(name: str) -> None:
    """The arch itself passes, so that what catches a mutant is the mutant."""
    arch = operators.narrow(name)
    network = Network.of(arch)
    row = score.judge(Item("arch", "", arch, network.module, wrong=False, network=network))
    assert row.group == EQUAL
    assert {level for level, found in row.verdicts.items() if found.caught or found.died} == set()


def test_the_receptive_field_of_every_arch() -> None:
    """Composed of the steps, it is what the spec's own analysis finds."""
    for arch in operators.narrow_archs():
        field = arch.receptive_field
        assert score.field_of(Network.of(arch)) == (tuple(field.rows), tuple(field.columns)), arch.name


def test_the_total_weighs_every_mistake_by_its_mutants() -> None:
    """What is rare is judged more often than its share."""
    rows = [Row("a", "a", True, dict.fromkeys(LEVELS, Verdict(True, 1, True)))]
    rows += [Row("b", "b", True, dict.fromkeys(LEVELS, Verdict(False)))]
    line = score.table({"rows": score.rates(rows, {"a": 90, "b": 10})}).splitlines()[-1]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "**all**", "2 of 100", "90", "90", "90", "90", "90", "100", "100", "90"
    ]  # fmt: skip


def test_the_sample_is_always_the_same_and_no_operator_is_left_out() -> None:
    """Whatever the order of the mutants; a larger sample holds the smaller one."""
    mutants = of_archs(["vgg11_bn"])
    few, more = (score.sample(mutants, share, least=1) for share in (0.02, 0.05))
    assert {item.id for item in few} == {item.id for item in score.sample(mutants[::-1], 0.02, least=1)}
    assert {item.id for item in few} < {item.id for item in more}
    assert {item.group for item in few} == {item.group for item in mutants}


# What is told of it.


def test_no_name_stands_twice() -> None:
    """Rows are kept by it."""
    items = [*of_archs(["resnet18", "resnet50", "vgg11_bn"]), *score.by_hand()]
    assert len({item.id for item in items}) == len(items)


def test_the_rates_are_of_everything() -> None:
    """Every operator that makes a wrong network, all that was written by hand; an arch may be newer than they are."""
    found = json.loads(RATES.read_text(encoding="utf-8"))
    wrong = operators.OPERATORS.keys() - {"branches_swapped"}
    assert found["rows"].keys() == wrong | {score.REAL, score.FOREIGN, EQUAL, REWRITES}
    assert 23 <= found["archs"] <= len(operators.mutated())
    assert all(counts["judged"] >= min(score.LEAST, counts["of"]) for counts in found["rows"].values())
