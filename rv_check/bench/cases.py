"""What is timed: subjects side by side at points. A point is a device, dtype, format, mode, pass, batch and input.

Static: no torch.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rv_check.archs import load as archs
from rv_check.archs.arch import Arch
from rv_check.archs.load import archs_of, load, load_archs
from rv_check.errors import RvCheckError, unknown
from rv_check.language.definitions import BenchEntry, Family
from rv_check.language.files import SUFFIXES
from rv_check.language.inputs import IMAGE, Inputs, parse_inputs
from rv_check.language.vocabulary import BENCH_AXES, CUDA_ONLY
from rv_check.modules.named import is_module
from rv_check.ops.op import Shape
from rv_check.text import listed, quote, shown_path

DEFAULTS = {"dtype": "float32", "format": "contiguous", "mode": "eager", "pass": "inference"}
TOLERANCE = 0.05  # the share by which a case may be slower than its baseline, unless its spec says otherwise


@dataclass(frozen=True)
class BenchSubject:
    """What is timed. An arch is built from its spec, or by its reference; otherwise it is a module by that name.

    `takes`: what goes into a module, one image unless given.
    """

    name: str
    arch: Arch | None = field(default=None, compare=False)
    by_reference: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict, compare=False)  # the keywords of a class or factory
    takes: Inputs | None = None


@dataclass(frozen=True)
class Point:
    """How it is timed.

    `device`: as torch names it; `input`: C, H, W of an image; `optimiser`: of a training step; `processes`: that share
    it; `warm_cache`: the device's L2 cache is left as the sample before left it.
    """

    device: str
    dtype: str
    format: str
    mode: str
    pass_: str
    batch: int
    input: Shape
    optimiser: str = "momentum"
    warm_cache: bool = False
    processes: int = 1

    def __str__(self) -> str:
        size = "x".join(map(str, self.input))
        what = (self.pass_, self.optimiser) if self.pass_ == "step" else (self.pass_,)
        axes = (self.dtype, self.format, self.mode, f"batch {self.batch}", size, self.device.partition(":")[0])
        more = ("warm cache",) * self.warm_cache + (f"{self.processes} processes",) * (self.processes > 1)
        return " ".join((*what, *axes, *more))


@dataclass(frozen=True)
class BenchCase:
    """One subject at one point."""

    subject: BenchSubject
    point: Point

    @property
    def id(self) -> str:
        """What names it in results: the same case has the same one on every machine."""
        return f"{self.subject.name} {self.point}"


@dataclass(frozen=True)
class Group:
    """The subjects at one point, which are measured in turn; the first is what the others are compared with."""

    subjects: tuple[BenchSubject, ...]
    point: Point
    tolerance: float = TOLERANCE

    @property
    def cases(self) -> tuple[BenchCase, ...]:
        """One of each subject."""
        return tuple(BenchCase(subject, self.point) for subject in self.subjects)


@dataclass(frozen=True)
class Selection:
    """What the command line says of the axes; of the others a spec's `bench:` says it, or DEFAULTS."""

    device: str
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    batches: tuple[int, ...] = ()
    input: Inputs | None = None
    tolerance: float | None = None
    optimiser: str = "momentum"
    warm_cache: bool = False
    processes: int = 1

    @property
    def kind(self) -> str:
        """The kind of the device: `cuda` of `cuda:1`."""
        return self.device.partition(":")[0]


def parse_words(text: str, axis: str) -> tuple[str, ...]:
    """Some of an axis' words, as `float32,tf32`. Raises: RvCheckError."""
    known = BENCH_AXES[axis]
    words = tuple(dict.fromkeys(text.split(",")))
    for word in words:
        if word not in known:
            raise unknown(axis, word, known)
    return words


def parse_batches(text: str) -> tuple[int, ...]:
    """`1,8,32`. Raises: RvCheckError."""
    words = text.split(",")
    if not all(re.fullmatch(r"[1-9]\d{0,6}", word) for word in words):
        raise RvCheckError(f"--batch is {quote(text)}", expected="numbers of images, as in 1,8,32")
    return tuple(dict.fromkeys(map(int, words)))


def parse_shard(text: str) -> tuple[int, int]:
    """`2/8`: which of how many. Raises: RvCheckError."""
    match = re.fullmatch(r"([1-9]\d{0,4})/([1-9]\d{0,4})", text)
    if match is None or int(match[1]) > int(match[2]):
        raise RvCheckError(f"--shard is {quote(text)}", expected="which of how many, from 1/8 to 8/8")
    return int(match[1]), int(match[2])


def shard(groups: Sequence[Group], which: tuple[int, int]) -> list[Group]:
    """Every n-th group: all shards together are all groups, each once."""
    at, of = which
    return list(groups[at - 1 :: of])


def select(
    names: Sequence[str],
    selection: Selection,
    arguments: Mapping[str, Any] | None = None,
    with_reference: bool = False,
) -> list[Group]:
    """The groups of these archs and modules side by side; the standard cases of all shipped specs where none is named.

    A name that is a spec file stands for the standard cases of that file, and stands alone.
    Raises: RvCheckError for what is unknown, or cannot be on that device.
    """
    _see_that_device_has(selection)
    if not names:
        return _standard(archs.families(), selection, with_reference)
    if len(names) == 1 and names[0].endswith(SUFFIXES) and "::" not in names[0]:
        return _standard([load_archs(Path(names[0]))[0].family], selection, with_reference)
    subjects = [subject for name in names for subject in _subjects(name, arguments or {}, with_reference)]
    takes = selection.input
    if takes is not None and not takes.is_one_image:
        arch = next((subject.name for subject in subjects if subject.arch is not None), None)
        if arch is not None:
            raise RvCheckError(
                f"{arch} is an arch, which takes one image", expected="--input 'C H W', or modules alone"
            )
        subjects = [replace(subject, takes=takes) for subject in subjects]
    return _unique(
        Group(tuple(at(subject, point) for subject in dict.fromkeys(subjects)), point, tolerance)
        for point, tolerance in _points(subjects[0].arch, selection)
    )


def _see_that_device_has(selection: Selection) -> None:
    for axis, word in CUDA_ONLY.items():
        if selection.kind != "cuda" and word in selection.axes.get(axis, ()):
            others = listed(other for other in BENCH_AXES[axis] if other != word)
            raise RvCheckError(f"{word} is of CUDA devices only", expected=f"on the {selection.kind} {others}")
    if selection.kind != "cuda" and selection.warm_cache:
        raise RvCheckError("--warm-cache is of CUDA devices only", expected="no such option; no cache is flushed")


def _standard(families: Iterable[Family], selection: Selection, with_reference: bool) -> list[Group]:
    groups = []
    for family in families:
        by_name = {arch.name: arch for arch in archs_of(family)}
        for entry in family.bench:
            for name in entry.archs:
                subjects = _of_arch(by_name[name], with_reference)
                points = _points_of(entry, by_name[name].input, selection)
                groups += [
                    Group(tuple(at(subject, point) for subject in subjects), point, tolerance)
                    for point, tolerance in points
                ]
    if not groups:
        where = listed(shown_path(family.path) for family in families)
        raise RvCheckError(
            f"no `bench:` section has a case for {selection.kind}: {where}", expected="the name of an arch"
        )
    return _unique(groups)


def _unique(groups: Iterable[Group]) -> list[Group]:
    """Each point of the same subjects once, by the first that says so."""
    found: dict[object, Group] = {}
    for group in groups:
        found.setdefault((group.subjects, group.point), group)
    return list(found.values())


def _subjects(name: str, arguments: Mapping[str, Any], with_reference: bool) -> tuple[BenchSubject, ...]:
    if is_module(name):
        return (BenchSubject(name, arguments=arguments),)
    return _of_arch(load(name), with_reference)


def _of_arch(arch: Arch, with_reference: bool) -> tuple[BenchSubject, ...]:
    _ = arch.tree  # what is wrong with it is said before anything is measured
    subject = BenchSubject(arch.name, arch)
    if not with_reference:
        return (subject,)
    if arch.entry.reference is None:
        raise RvCheckError(f"{arch.name} has no reference to be timed beside", expected="an arch with `reference:`")
    return subject, BenchSubject(f"{arch.name} by {arch.entry.reference.name}", arch, by_reference=True)


def _points(arch: Arch | None, selection: Selection) -> list[tuple[Point, float]]:
    """The points of an arch by its own spec, those of DEFAULTS where it says nothing of the device, or is a module."""
    entries = [entry for entry in arch.family.bench if arch.entry.name in entry.archs] if arch else []
    size = arch.input if arch else IMAGE
    found = [pair for entry in entries for pair in _points_of(entry, size, selection)]
    return found or list(_combinations({}, (), size, TOLERANCE, selection))


def _points_of(entry: BenchEntry, size: Shape, selection: Selection) -> list[tuple[Point, float]]:
    if selection.kind not in entry.axes.get("device", BENCH_AXES["device"]):
        return []
    tolerance = float(entry.tolerance) / 100 if entry.tolerance is not None else TOLERANCE
    return list(_combinations(entry.axes, entry.batches, entry.input or size, tolerance, selection))


def _combinations(
    axes: Mapping[str, tuple[str, ...]], batches: tuple[int, ...], size: Shape, tolerance: float, selection: Selection
) -> Iterable[tuple[Point, float]]:
    """Every combination; what the selection says counts before what the spec says."""
    words = [selection.axes.get(axis, axes.get(axis, (default,))) for axis, default in DEFAULTS.items()]
    tolerance = tolerance if selection.tolerance is None else selection.tolerance
    input = size if selection.input is None else selection.input.shape
    how = (selection.optimiser, selection.warm_cache, selection.processes)
    for dtype, format_, mode, pass_ in itertools.product(*words):
        if selection.kind == "cuda" or not (dtype == CUDA_ONLY["dtype"] or mode == CUDA_ONLY["mode"]):
            for batch in selection.batches or batches or (1,):
                yield Point(selection.device, dtype, format_, mode, pass_, batch, input, *how), tolerance


def at(subject: BenchSubject, point: Point) -> BenchSubject:
    """The subject with its arch at the input size of the point. Raises: SpecError where it does not fit."""
    if subject.arch is None or subject.arch.input == point.input:
        return subject
    arch = subject.arch.at(point.input)
    _ = arch.tree
    return replace(subject, arch=arch)


def parse_input(text: str | None) -> Inputs | None:
    """`3 320 320`, or whatever a module takes. Raises: SpecError."""
    return None if text is None else parse_inputs(text)
