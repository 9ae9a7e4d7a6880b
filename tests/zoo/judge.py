"""What rv-check says of each kind of module, held to what is known of it from outside."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy
import torch
from torch import nn

from rv_check import check
from rv_check.checks.findings import Report
from rv_check.checks.of_two import compare_modules
from rv_check.costs.memory import memory
from rv_check.costs.operations import operations
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.network import At
from rv_check.modules.network import ModuleNetwork
from rv_check.modules.observe import Subject
from rv_check.modules.record import data_at
from rv_check.receptive_fields.formula import graph_field
from rv_check.receptive_fields.measured import observed
from tests.unit.checks.test_nothing_harmed import equal, told
from tests.unit.measured_memory import measured_for_backward
from tests.zoo.mutants import Mutant
from tests.zoo.rows import Row, counted, data, extent_seen, in_mode, made, module_type

# Where something is: a line of a file, an address. It is another one on the next machine.
PLACE = re.compile(r",? (?:at|in|through) \S*\.py:\d+|\S*\.py:\d+(?::\d+)?| at 0x[0-9a-f]+")
WRONG = "WRONG: "


def refused(error: RvCheckError) -> str:
    """What an error says, in a line, without where it is."""
    words = PLACE.sub("", error.problems[0].message.splitlines()[0]).strip()
    expected = error.problems[0].expected
    return f"refused: {words}" + (f"; expected {PLACE.sub('', expected)}" if expected else "")


def reason(report: Report) -> str:
    """What a report holds against a module, in a line."""
    finding = next(one for one in report.findings if one.status != "passed")
    return f"{finding.check} {finding.status}: {PLACE.sub('', finding.title)}"


def same(new: nn.Module, old: nn.Module, row: Row) -> str:
    """Whether two that are one network pass."""
    try:
        report = compare_modules(new, old, row.input)
    except RvCheckError as error:
        return refused(error)
    return "yes" if report.passed else f"{WRONG}false alarm, {reason(report)}"


def itself(row: Row) -> str:
    """Built twice, and with itself."""
    net = row.old()
    return first_not_yes(same(row.old(), row.old(), row), same(net, net, row))


def refactored(row: Row) -> str:
    """In other words, whichever is named first."""
    return first_not_yes(same(row.refactored(), row.old(), row), same(row.old(), row.refactored(), row))


def changed(row: Row) -> str:
    """Whether the small change is found, whichever is named first."""
    found = []
    for new, old in ((row.changed, row.old), (row.old, row.changed)):
        try:
            found.append(f"{WRONG}false pass" if compare_modules(new(), old(), row.input).passed else "yes")
        except RvCheckError as error:
            found.append(refused(error))
    return first_not_yes(*found)


def first_not_yes(*cells: str) -> str:
    """What is wrong before what is refused."""
    return min(cells, key=lambda cell: (not cell.startswith(WRONG), cell == "yes"))


def macs(row: Row) -> str:
    """Multiply-adds of one input in eval mode."""
    expected = row.macs if row.macs is not None else counted(row.old(), row.input)
    try:
        graph = ModuleNetwork(Subject(row.old())).graph(At(row.input, batch=1), Form.AS_RUN)
        found = sum(one.macs for one in operations(graph))
    except RvCheckError as error:
        return refused(error)
    return "yes" if found == expected else f"{WRONG}{found:,}, expected {expected:,}"


def kept(row: Row) -> str:
    """Bytes that autograd keeps of a batch of 2 in train mode; of the image that was counted, where it is by values."""
    network = ModuleNetwork(Subject(row.old()))
    try:
        graphs = [network.graph(At(row.input, 2, training), Form.AS_RUN) for training in (True, False)]
        found = memory(*graphs, dtype=str(module_type(row.old())).removeprefix("torch.")).activations
    except RvCheckError as error:
        return refused(error)
    torch.manual_seed(0)
    module = in_mode(made(row.old, row.input), training=True)
    at = At(row.input, 2, training=True)
    image = data_at(at, None, module_type(module)).main if graphs[0].by_image else data(module, row.input)
    expected = measured_for_backward(module, image)
    return "yes" if found == expected else f"{WRONG}{found:,} bytes, expected {expected:,}"


def field(row: Row) -> str:
    """How many rows of an image a unit sees; of anything else how many places of the last axis, at this input."""
    try:
        graph = observed(Subject(row.old()), row.input)
        seen = graph_field(graph, next(iter(graph.outputs.values())))
    except RvCheckError as error:
        return refused(error)
    if row.field == "refused":
        places, expected = row.input[-1], extent_seen(row)
        found_places = places if seen.is_global else min(seen.columns.size, places)
        return "yes" if found_places == expected else f"{WRONG}{found_places} places, expected {expected}"
    found = "everything" if seen.is_global else str(seen.rows.size)
    return "yes" if found == row.field else f"{WRONG}{found}, expected {row.field}"


QUESTIONS: dict[str, Callable[[nn.Module, nn.Module, Row], object]] = {
    "compared": lambda net, other, row: compare_modules(net, other, row.input),
    "the other compared": lambda net, other, row: compare_modules(other, net, row.input),
    "compared at no input of its own": lambda net, other, row: compare_modules(net, net, (5, 2, 7, 1)),
    "checked": lambda net, other, row: check(net, "resnet18", level="structure"),
    "counted": lambda net, other, row: operations(
        ModuleNetwork(Subject(net)).graph(At(row.input, batch=1), Form.AS_RUN)
    ),
    "its memory": lambda net, other, row: memory(
        *(ModuleNetwork(Subject(net)).graph(At(row.input, 2, training), Form.AS_RUN) for training in (True, False))
    ),
    "its field": lambda net, other, row: [
        graph_field(graph, next(iter(graph.outputs.values()))) for graph in [observed(Subject(net), row.input)]
    ],
}


def untouched(row: Row) -> str:
    """Tensors, devices, flags, hooks, containers, versions, generators: as they were, whatever came of a question."""
    net, other = row.old(), row.changed()
    before = list(seen_of(net))
    for name, ask in QUESTIONS.items():
        with suppress(Exception):  # that a question ends badly is told elsewhere
            ask(net, other, row)
        after = list(seen_of(net))
        for one, now in zip(before, after, strict=False):
            if not equal(one, now):
                return f"{WRONG}{name}: {difference(one, now)}"
        if len(before) != len(after):
            return f"{WRONG}{name}: {len(after)} things, expected {len(before)}"
    return "yes"


def difference(one: tuple[Any, ...], now: tuple[Any, ...]) -> str:
    """What is no more as it was, of two things that were seen; of a dict its keys."""
    was, found = next((a, b) for a, b in zip(one, now, strict=True) if not equal(a, b))
    if isinstance(was, dict):
        return ", ".join(
            f"{key} has {found.get(key)}, had {was.get(key)}" for key in found if found[key] != was.get(key)
        )
    return f"{one[0]} is {str(found)[:60]}, was {str(was)[:60]}"


def seen_of(net: nn.Module) -> Iterator[tuple[Any, ...]]:
    """All that can be seen of a module, and of what is around it."""
    yield from told(net)
    for name, tensor in [*net.named_parameters(), *net.named_buffers()]:
        yield name, None if nn.parameter.is_lazy(tensor) or tensor.is_inference() else tensor._version
    yield "torch's generator", torch.get_rng_state()
    yield "Python's generator", random.getstate()
    yield "numpy's generator", str(numpy.random.get_state())
    yield "modes", torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()
    yield "determinism", torch.are_deterministic_algorithms_enabled(), torch.is_autocast_enabled("cpu")


COLUMNS: dict[str, Callable[[Row], str]] = {
    "same as itself": itself,
    "true refactor": refactored,
    "small change": changed,
    "macs": macs,
    "memory": kept,
    "field": field,
    "untouched": untouched,
}


def judged(row: Row) -> dict[str, str]:
    """The cells of a row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: judge_safely(column, row) for name, column in COLUMNS.items()}


def judge_safely(column: Callable[[Row], str], row: Row) -> str:
    """A cell; what raises another error than one of rv-check's own is wrong."""
    torch.manual_seed(0)
    try:
        return column(row)
    except Exception as error:
        return f"{WRONG}{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


# The words of a report that has passed, but says what it did not see.
UNSEEN = ("what it does for others was not seen", "what it does was not seen where nothing led to")


def outcome(mutant: Mutant) -> str:
    """What found a mutant, whichever of the two is named first; or that it is said to be unseen."""
    found = []
    for new, old in ((mutant.new, mutant.old), (mutant.old, mutant.new)):
        torch.manual_seed(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                report = compare_modules(new(), old(), mutant.input)
        except RvCheckError as error:
            found.append(refused(error))
            continue
        said = [words for one in report.findings for words in UNSEEN if words in one.message]
        if not report.passed:
            first = next(one for one in report.findings if one.status == "failed")
            found.append(f"caught by {first.check}{f', {first.kind}' if first.kind else ''}")
        else:
            found.append("said to be unseen" if said else f"{WRONG}passes")
    return min(found, key=lambda words: (not words.startswith(WRONG), words.startswith("caught")))
