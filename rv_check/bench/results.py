"""Results of `rv-check bench` as JSON: written whole or not at all, read back, merged, held against a baseline.

docs/schemas/bench-1.json says what each key is.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from rv_check.bench.samples import Comparison, unpaired
from rv_check.errors import RvCheckError
from rv_check.text import listed, quote, shown_path
from rv_check.writing import write_text

SCHEMA = "rv-check/bench/1"
DONE = ("measured", "does not fit")  # what a resumed run does not do again
STATUSES = (*DONE, "failed")
JsonKind = Any  # what a value is: a type; a tuple, one of these; a list, all of this; an object, with these at least
NUMBER = (None, float)
MACHINE: dict[str, JsonKind] = {"device": {"kind": str, "name": str}, "software": {}, "rooflines": {}}
ROOFLINE: JsonKind = {"flop_per_second": float, "byte_per_second": float}
KEYS: dict[str, JsonKind] = {
    **dict.fromkeys(("id", "subject", "machine", "status"), str),
    **dict.fromkeys(("reason", "device", "dtype", "format", "mode", "pass", "optimiser", "l2"), (None, str)),
    **dict.fromkeys(("batch", "world_size", "n", "median", "iqr", "min", "low", "high", "macs", "params"), NUMBER),
    **dict.fromkeys(("images_per_second", "flop_per_second", "byte_per_second", "seconds_per_gmac"), NUMBER),
    **dict.fromkeys(("share_of_rate", "share_of_roofline"), NUMBER),
    "input": (None, [int]),
    "samples": (None, [[float]]),
    "noisy": (None, bool),
    "warm_up": (None, {"count": int, "seconds": float, "settled": bool}),
    "uncounted": (None, str),
    "memory": (None, {"peak": float, "reserved": float}),
    "flags": (None, {}),
    "state": (None, {}),
    "stages": (None, [{"name": str, "median": float, "share": float}]),
    "compared": (None, {"with": str, "ratio": float, "low": NUMBER, "high": NUMBER, "p": float, "rounds": int}),
    "tolerance": float,
}
OF_MEASURED = ("median", "min", "n", "low", "high", "noisy", "warm_up", "images_per_second", "world_size")
OF_COUNTED = ("flop_per_second", "share_of_rate")
BenchResult = dict[str, Any]


@dataclass
class Results:
    """What a file holds."""

    machines: dict[str, dict[str, Any]]
    cases: list[BenchResult]

    def add(self, result: BenchResult) -> None:
        """Take a result in the place of an earlier one of the same case and machine."""
        self.cases = [one for one in self.cases if key_of(one) != key_of(result)]
        self.cases.append(result)

    def of(self, machine: str) -> dict[str, BenchResult]:
        """The results of a machine, by the ids of their cases."""
        return {one["id"]: one for one in self.cases if one["machine"] == machine}


def key_of(result: BenchResult) -> tuple[str, str]:
    """What a result is of: a machine and a case."""
    return result["machine"], result["id"]


def machine_key(device: Mapping[str, Any], software: Mapping[str, Any]) -> str:
    """`NVIDIA H100, torch 2.14.1, CUDA 13.0`: equal for what is equal as far as results go."""
    many = f" {device['threads']} threads" if "threads" in device else ""
    cuda = f", CUDA {software['cuda']}" if device["kind"] == "cuda" else ""
    return f"{device['name']}{many}, torch {software['torch']}{cuda}"


def empty(result: Mapping[str, Any]) -> BenchResult:
    """A result with every key, null where nothing is given."""
    assert set(result) <= set(KEYS), set(result) - set(KEYS)
    return {key: result.get(key) for key in KEYS}


# Files


def as_json(results: Results) -> dict[str, Any]:
    """Schema rv-check/bench/1."""
    return {"schema": SCHEMA, "machines": results.machines, "cases": results.cases}


def write(results: Results, path: Path) -> None:
    """Put the file of results in place. Raises: RvCheckError."""
    write_text(path, json.dumps(as_json(results), indent=1) + "\n")


def read(path: Path) -> Results:
    """The results of a file. Raises: RvCheckError for one that is not there or is none, or of another schema."""
    shown = shown_path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RvCheckError(f"{shown} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise RvCheckError(f"{shown} is no file of results: it is not text", expected=f"schema {SCHEMA}") from None
    try:
        top = json.loads(text)
    except ValueError as error:
        raise RvCheckError(f"{shown} is no file of results: {error}", expected=f"JSON, schema {SCHEMA}") from None
    schema = top.get("schema") if isinstance(top, dict) else None
    if schema != SCHEMA:
        found = f"its schema is {quote(str(schema))}" if schema else "it names no schema"
        raise RvCheckError(f"{shown} is no file of results: {found}", expected=f"schema {SCHEMA}")
    wrong = _wrong(top)
    if wrong:
        raise RvCheckError(f"{shown} is a broken file of results: {wrong}", expected=f"schema {SCHEMA}")
    return Results(top["machines"], top["cases"])


def _wrong(top: dict[str, Any]) -> str | None:
    """What of a file is not as its schema says."""
    machines, cases = top.get("machines"), top.get("cases")
    if not isinstance(machines, dict) or not isinstance(cases, list):
        return "machines or cases are missing"
    for name, machine in machines.items():
        if not _is(machine, MACHINE) or not all(_is(one, ROOFLINE) for one in machine["rooflines"].values()):
            return f"the machine {quote(name)} has no device, software or rooflines"
    for at, case in enumerate(cases):
        wrong = _wrong_case(case, machines)
        if wrong:
            return f"case {at} {wrong}"
    return None


def _wrong_case(case: Any, machines: Mapping[str, Any]) -> str | None:
    if not isinstance(case, dict):
        return f"is {quote(str(case))}"
    for key, kind in KEYS.items():
        if key not in case:
            return f"has no {key}"
        if not _is(case[key], kind):
            return f"has the {key} {quote(str(case[key]))}"
    if case["machine"] not in machines:
        return f"is of an unknown machine {quote(case['machine'])}"
    if case["status"] not in STATUSES:
        return f"has the status {quote(case['status'])}"
    if case["status"] != "measured":
        return None if case["reason"] is not None else f"has no reason why it is: {case['status']}"
    if not case["samples"] or not all(some and min(some) > 0 for some in case["samples"]):
        return "has no samples above 0 by round"
    if case["median"] == 0:
        return "has the median 0"
    needed = (*OF_MEASURED, *(OF_COUNTED if case["macs"] is not None else ()))
    missing = [key for key in needed if case[key] is None]
    return f"was measured, and has no {listed(missing)}" if missing else None


def _is(value: Any, kind: JsonKind) -> bool:
    """Whether a value of JSON is of a kind. A whole number is a float, too; true is no number."""
    if isinstance(kind, tuple):
        return any(_is(value, one) for one in kind)
    if isinstance(kind, list):
        return isinstance(value, list) and all(_is(one, kind[0]) for one in value)
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(key in value and _is(value[key], of) for key, of in kind.items())
    if kind is None or isinstance(value, bool):
        return value is None if kind is None else kind is bool
    if kind is float:
        return isinstance(value, int | float) and isfinite(value)
    return isinstance(value, kind)


def merge(paths: Sequence[Path]) -> Results:
    """The results of several files as one. Raises: RvCheckError where two measured one case on one machine."""
    merged = Results({}, [])
    found_in: dict[tuple[str, str], Path] = {}
    for path in paths:
        found = read(path)
        for name, machine in found.machines.items():
            known = merged.machines.setdefault(name, machine)
            if known["device"] != machine["device"]:
                raise RvCheckError(f"{shown_path(path)}: another device is called {quote(name)}, too")
            merged.machines[name] = {**known, "rooflines": {**machine["rooflines"], **known["rooflines"]}}
        for result in found.cases:
            earlier = found_in.get(key_of(result))
            if earlier is not None:
                where = f"{shown_path(earlier)} and {shown_path(path)}"
                raise RvCheckError(
                    f"{quote(result['id'], 200)} is in both {where}, of one machine",
                    expected="shards of one run, or results of several machines",
                )
            found_in[key_of(result)] = path
            merged.cases.append(result)
    return merged


# Baselines


@dataclass(frozen=True)
class BaselineVerdict:
    """A case held against its baseline. `comparison`: None where there is nothing to compare, for that reason."""

    id: str
    tolerance: float
    comparison: Comparison | None
    reason: str | None = None

    @property
    def regressed(self) -> bool:
        """Slower by more than the tolerance, and told different by the test; or it no longer fits."""
        if self.comparison is None:
            return self.reason == NO_LONGER
        return self.comparison.different and self.comparison.ratio > 1 + self.tolerance

    @property
    def words(self) -> str:
        """The verdict."""
        if self.comparison is None:
            return f"{'regression' if self.regressed else 'not compared'}: {self.reason}"
        if self.regressed:
            return "regression"
        if self.comparison.different:
            return "slower, within tolerance" if self.comparison.ratio > 1 else "faster"
        if self.comparison.low is None:
            return "too few rounds to tell"
        return "no difference told"


NO_LONGER = "it no longer fits"


def same_device(machine: Mapping[str, Any], baseline: Results, where: str) -> str:
    """The machine of a baseline that has the same device. Raises: RvCheckError where there is none, or several."""
    device = machine["device"]
    same = [name for name, one in baseline.machines.items() if one["device"] == device]
    if not same:
        found = "; ".join(_device_words(one["device"]) for one in baseline.machines.values())
        raise RvCheckError(
            f"{where} is of another device: {found or 'none'}",
            expected=f"{_device_words(device)}; times of two devices are not comparable",
        )
    if len(same) > 1:
        raise RvCheckError(f"{where} has {len(same)} machines of this device: {listed(same)}", expected="one")
    return same[0]


def against(now: Results, machine: str, baseline: Results, where: str) -> list[BaselineVerdict]:
    """Each case of a machine against the baseline's of the same device.

    Raises: RvCheckError where the baseline is of another device, or has none of these cases.
    """
    known = baseline.of(same_device(now.machines[machine], baseline, where))
    see_any(now.of(machine), known, where)
    return [_verdict(result, known.get(id_)) for id_, result in now.of(machine).items()]


def see_any(ids: Collection[str], known: Mapping[str, BenchResult], where: str) -> None:
    """Raises: RvCheckError where a baseline has none of these cases."""
    if ids and not any(id_ in known for id_ in ids):
        raise RvCheckError(f"{where} has none of these cases", expected=f"one of {listed(known, none='none')}")


def _verdict(now: BenchResult, before: BenchResult | None) -> BaselineVerdict:
    def none(reason: str) -> BaselineVerdict:
        return BaselineVerdict(now["id"], now["tolerance"], None, reason)

    if before is None:
        return none("the baseline does not have it")
    if before["status"] != "measured":
        return none(f"in the baseline: {before['status']}")
    if now["status"] == "does not fit":
        return none(NO_LONGER)
    if now["status"] != "measured":
        return none(f"now: {now['status']}")
    return BaselineVerdict(now["id"], now["tolerance"], unpaired(before["samples"], now["samples"]))


def _device_words(device: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in device.items() if key != "kind")
