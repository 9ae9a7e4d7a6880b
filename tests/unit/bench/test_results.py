"""Files of results: written whole, read back, merged, refused, held against a baseline."""

from __future__ import annotations

import json
import os
import random
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rv_check.bench import results as bench_results
from rv_check.bench.results import KEYS, SCHEMA, Results, against, empty, machine_key, merge, read, write
from rv_check.bench.tables import columns, of_one_machine, of_verdicts, side_by_side
from rv_check.errors import RvCheckError

CPU = {"kind": "cpu", "name": "A processor", "threads": 2}
GPU = {"kind": "cuda", "name": "A card", "memory": 10}
SOFTWARE = {"torch": "2.14.1", "cuda": "13.0"}


def result(id_: str = "net inference", machine: str = "here", median: float = 0.01, **more: Any) -> dict[str, Any]:
    """A measured case with noise of 1 %."""
    chance = random.Random(f"{id_} {machine} {median}")
    samples = [[median * (1 + chance.gauss(0, 0.01)) for _ in range(5)] for _ in range(10)]
    return empty(
        {
            "id": id_,
            "subject": id_.partition(" ")[0],
            "machine": machine,
            "status": "measured",
            "samples": samples,
            **{"median": median, "iqr": median / 100, "min": median, "n": 50, "low": median, "high": median},
            **{"noisy": False, "warm_up": {"count": 6, "seconds": 1.0, "settled": True}, "world_size": 1},
            **{"images_per_second": 1 / median, "tolerance": 0.05},
            **more,
        }
    )


def results(*cases: dict[str, Any], device: dict[str, Any] = CPU, machine: str = "here") -> Results:
    """The results of one machine."""
    return Results({machine: {"device": device, "software": SOFTWARE, "rooflines": {}}}, list(cases))


def test_written_and_read(tmp_path: Path) -> None:
    """What is read is what was written, and nothing else is left in the folder."""
    path = tmp_path / "a.json"
    found = results(result())
    write(found, path)
    assert read(path) == found
    assert json.loads(path.read_text())["schema"] == SCHEMA == "rv-check/bench/1"
    assert os.listdir(tmp_path) == ["a.json"]


def test_every_key_is_there() -> None:
    """A result has the keys of the schema, which docs/schemas says what each is of."""
    assert set(result()) == set(KEYS)


def broken(**changes: Any) -> str:
    """A file with one thing wrong in its case."""
    top = bench_results.as_json(results(result()))
    for key, value in changes.items():
        if value is None:
            del top["cases"][0][key]
        else:
            top["cases"][0][key] = value
    return json.dumps(top)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no file of results: Expecting value"),
        ("[]", "is no file of results: it names no schema\n  expected: schema rv-check/bench/1"),
        ('{"schema": "rv-check/check/1"}', "its schema is 'rv-check/check/1'"),
        ('{"schema": "rv-check/bench/2"}', "its schema is 'rv-check/bench/2'"),
        ('{"schema": "rv-check/bench/1"}', "broken file of results: machines or cases are missing"),
        (broken(samples=None), "case 0 has no samples"),
        (broken(samples=[[]]), "case 0 has no samples above 0 by round"),
        (broken(samples=[[0.1, -1]]), "case 0 has no samples above 0 by round"),
        (broken(machine="there"), "case 0 is of an unknown machine 'there'"),
        (broken(status="done"), "case 0 has the status 'done'"),
        (broken(tolerance="5"), "case 0 has the tolerance '5'"),
        (broken(id=None), "case 0 has no id"),
        (broken(median="x"), "case 0 has the median 'x'"),
        (broken(noisy=1), "case 0 has the noisy '1'"),
        (broken(warm_up={"count": 1}), "case 0 has the warm_up"),
        (broken(compared={"ratio": 1.0}), "case 0 has the compared"),
        (broken(macs=1), "case 0 was measured, and has no flop_per_second, share_of_rate"),
        (broken(status="failed"), "case 0 has no reason why it is: failed"),
        (json.dumps(bench_results.as_json(results(result())) | {"cases": [3]}), "case 0 is '3'"),
    ],
)
def test_a_file_that_is_none(text: str, words: str, tmp_path: Path) -> None:
    """What is wrong, and what was expected."""
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(RvCheckError) as error:
        read(path)
    assert words in str(error.value)


@pytest.mark.parametrize("value", [None, "x", [], {}, 0, -1, True, [1], {"a": 1}, [[1]], float("nan")])
def test_whatever_a_key_holds_is_refused_or_shown(value: Any, tmp_path: Path) -> None:
    """One key after another, of a case with everything in it and of its machine: never a traceback."""
    more = {"macs": 5, "flop_per_second": 1.0, "share_of_rate": 0.1, "memory": {"peak": 1, "reserved": 2}}
    more |= {"compared": {"with": "a", "ratio": 1.0, "low": 1.0, "high": 1.0, "p": 1.0, "rounds": 8}}
    more |= {"stages": [{"name": "fc", "median": 1.0, "share": 1.0}], "seconds_per_gmac": 1.0, "pass": "inference"}
    refused = 0
    for where, key in (*product(["case"], KEYS), *product(["machine"], ["device", "software", "rooflines"])):
        top = json.loads(json.dumps(bench_results.as_json(results(result(**more)))))
        held = top["cases"][0] if where == "case" else top["machines"]["here"]
        held[key] = value
        (tmp_path / "a.json").write_text(json.dumps(top))
        try:
            found = read(tmp_path / "a.json")
        except RvCheckError:
            refused += 1
            continue
        assert of_one_machine(found, "here")
        assert side_by_side(found)
        columns(found)
        against(found, "here", found, "a.json")
    assert refused >= 15


def test_no_file_and_no_text(tmp_path: Path) -> None:
    """Neither is a traceback."""
    with pytest.raises(RvCheckError, match=r"a\.json cannot be read: No such file"):
        read(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RvCheckError, match="it is not text"):
        read(tmp_path / "a.json")


def test_shards_merge_into_one_machine_and_others_stand_beside(tmp_path: Path) -> None:
    """A column for each machine; what one has not measured is empty, what did not fit says so."""
    fits_not = result("net step", "card", status="does not fit", reason="CUDA out of memory", samples=None)
    parts = {
        "a": results(result("net inference")),
        "b": results(result("net step", median=0.05)),
        "c": results(result("net inference", "card", 0.002), fits_not, device=GPU, machine="card"),
    }
    for name, part in parts.items():
        write(part, tmp_path / name)
    merged = merge([tmp_path / name for name in parts])
    assert list(merged.machines) == ["here", "card"]
    assert len(merged.cases) == 4
    lines = side_by_side(merged).splitlines()
    assert lines[0].split() == ["case,", "in", "ms", "here", "card"]
    assert lines[2].split() == ["net", "inference", "10.00", "2.00"]
    assert lines[3].split() == ["net", "step", "50.00", "does", "not", "fit"]
    assert columns(merged)["ms: inference, card"] == {"net": "2.00"}
    assert "does not fit: CUDA out of memory" in of_one_machine(merged, "card")


def test_one_case_twice_is_refused(tmp_path: Path) -> None:
    """Two files that measured one case on one machine are no shards."""
    for name in "ab":
        write(results(result()), tmp_path / name)
    with pytest.raises(RvCheckError, match="is in both"):
        merge([tmp_path / "a", tmp_path / "b"])


def test_another_device_by_one_name_is_refused(tmp_path: Path) -> None:
    """A name of a machine means one device."""
    write(results(result()), tmp_path / "a")
    write(results(result("other step"), device=GPU), tmp_path / "b")
    with pytest.raises(RvCheckError, match="another device is called 'here'"):
        merge([tmp_path / "a", tmp_path / "b"])


def verdict_of(before: float, now: float, tolerance: float = 0.05) -> tuple[bool, str]:
    """The verdict of one case whose median changes."""
    (found,) = against(
        results(result(median=now, tolerance=tolerance)), "here", results(result(median=before)), "base.json"
    )
    return found.regressed, found.words


def test_a_regression_is_larger_than_the_tolerance_and_significant() -> None:
    """With noise of 1 %: 10 % slower is one, 3 % is told and within 5 %, and is one where 2 % are allowed."""
    assert verdict_of(0.01, 0.011) == (True, "regression")
    assert verdict_of(0.01, 0.0103) == (False, "slower, within tolerance")
    assert verdict_of(0.01, 0.0103, tolerance=0.02) == (True, "regression")
    assert verdict_of(0.01, 0.009) == (False, "faster")
    assert verdict_of(0.01, 0.010001) == (False, "no difference told")


def test_a_large_difference_that_is_not_significant_is_none() -> None:
    """Rounds that vary by half tell nothing of a tenth; nor do three rounds."""
    chance = random.Random(1)
    noise = [[[0.01 * by * chance.uniform(0.7, 1.4)] for _ in range(10)] for by in (1, 1.1)]
    before, now = (results(result(samples=rounds)) for rounds in noise)
    (found,) = against(now, "here", before, "base.json")
    assert found.comparison is not None
    assert (found.comparison.ratio > 1.05, found.regressed) == (True, False)
    few = results(result(samples=[[0.02]] * 3))
    (found,) = against(few, "here", results(result()), "base.json")
    assert (found.regressed, found.words) == (False, "too few rounds to tell")


def test_what_no_longer_fits_is_a_regression() -> None:
    """It ran before; what the baseline does not have is not compared."""
    now = results(result(status="does not fit", reason="no memory", samples=None), result("new step"))
    first, second = against(now, "here", results(result()), "base.json")
    assert (first.regressed, first.words) == (True, "regression: it no longer fits")
    assert (second.regressed, second.words) == (False, "not compared: the baseline does not have it")
    text = of_verdicts([first, second])
    assert "regression: it no longer fits" in text


def test_a_baseline_of_another_device_is_refused() -> None:
    """Both are named; other versions on the same device are compared, which is what a baseline is for."""
    now = results(result())
    other = results(result(), device={**CPU, "threads": 4})
    with pytest.raises(
        RvCheckError, match=r"base is of another device: name A processor, threads 4\n  expected: name A"
    ):
        against(now, "here", other, "base")
    newer = Results({"later": {"device": CPU, "software": {}, "rooflines": {}}}, [result(machine="later")])
    assert len(against(now, "here", newer, "base")) == 1
    two = Results({**now.machines, **newer.machines}, [])
    with pytest.raises(RvCheckError, match="base has 2 machines of this device"):
        against(now, "here", two, "base")


def test_a_baseline_without_these_cases_is_refused() -> None:
    """A baseline without them would hold of everything."""
    with pytest.raises(RvCheckError, match=r"base has none of these cases\n  expected: one of net inference"):
        against(results(result("new step")), "here", results(result()), "base")


def test_names_of_machines() -> None:
    """Hardware, threads where there are some, and versions; no name of a host."""
    assert machine_key(CPU, SOFTWARE) == "A processor 2 threads, torch 2.14.1"
    assert machine_key(GPU, SOFTWARE) == "A card, torch 2.14.1, CUDA 13.0"


def test_a_result_takes_the_place_of_an_earlier_one() -> None:
    """It takes the place of one of the same case and machine only."""
    found = results(result(status="failed", samples=None))
    found.add(result())
    found.add(result(machine="there"))
    assert [(one["machine"], one["status"]) for one in found.cases] == [("here", "measured"), ("there", "measured")]
