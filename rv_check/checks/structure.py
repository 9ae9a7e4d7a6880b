"""Level structure: is what a module does, operation by operation, what the expected network does?

The module is observed and matched at several input sizes, in eval and in train mode, and with a batch of one image. The
match at the network's own size gives the map of its parameters and buffers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Literal

from rv_check.archs.arch import Arch, small_inputs
from rv_check.costs.operations import macs_of
from rv_check.errors import RvCheckError
from rv_check.graphs.expected import BATCH, expected
from rv_check.graphs.explain import Told, tell
from rv_check.graphs.graph import Graph, Shape
from rv_check.graphs.match import Slot, match
from rv_check.modules.guard import guarded
from rv_check.text import first_line, shown_shape

if TYPE_CHECKING:
    from rv_check.modules.observe import Subject

MORE = 96  # pixels; three of the steps of a network of stride 32

Expected = Callable[[Shape, bool, int, bool], Graph]  # the graph at (input, training, batch, here)
Verdict = Literal["same", "equivalent", "equivalent at this input only", "different"]


@dataclass
class Structure:
    """How a module's structure compares. `told`: every mistake, once."""

    input: Shape
    sizes: list[Shape] = field(default_factory=list)  # at which it is the same
    rules: list[str] = field(default_factory=list)  # by which it is equal where it is not the same
    told: list[Told] = field(default_factory=list)
    map: dict[str, Slot] = field(default_factory=dict)
    where: str = ""  # the output, within what the module returns
    extra_outputs: list[str] = field(default_factory=list)
    elsewhere: str = ""  # what happens at a size where it is not the same
    until: str = ""  # the step whose output the module's is, where it is not the last one
    elsewhere_step: str = ""  # and at which step of the expected network, where that is known
    alone: str = ""  # what happens with a batch of one image
    real: str = ""  # why it was run on real tensors
    operations: int = 0
    measured: list[Told] = field(default_factory=list)  # differences that numbers show to be none
    wanted: Graph | None = None
    seen: Graph | None = None
    totals: dict[str, tuple[int, int]] = field(default_factory=dict)  # params and MACs, found and expected

    @property
    def last(self) -> str | None:
        """The step that the expected network ends at."""
        return self.wanted.outputs[""].name if self.wanted is not None else None

    def differs(self, training: bool) -> bool:
        """Whether it is no use to compare numbers in that mode."""
        return bool(self.until) or any(training or not one.training for one in self.told)

    @property
    def verdict(self) -> Verdict:
        """DESIGN's kinds of difference, for the whole."""
        if self.told or self.alone or self.extra_outputs or self.until:
            return "different"
        if self.elsewhere:
            return "equivalent at this input only"
        return "equivalent" if self.rules or self.measured else "same"


def compare(
    subject: Subject,
    x: Shape,
    others: list[Shape],
    graph_of: Expected,
    steps: bool = True,
    sides: tuple[str, str] = ("yours", "spec"),
) -> Structure:
    """Hold a module against the graphs expected of it.

    Args: `x` the input at which it must run; `others` sizes at which the expected network runs, too; `graph_of` gives
    what is expected; `steps` whether to look for the expected network's step that the module ends at, which is said,
    and to expect that nothing else is returned; `sides` what to call the module and the network that it should be.
    Raises: RvCheckError where the module does not run at `x`.
    """
    result = Structure(x)
    seen = guarded(f"the module does not run at {shown_shape(x)}", lambda: subject.observe(x, False))
    result.real = subject.why_real
    wanted = graph_of(x, False, BATCH, False)
    if not seen.outputs:
        raise RvCheckError("the module returns no tensor")
    result.where = _output(wanted, seen)
    result.wanted, result.seen = wanted, seen
    result.totals = {"params": (_params(seen), _params(wanted)), "macs": (_macs(seen), _macs(wanted))}
    if steps and wanted.outputs[""].key not in {node.key for node in seen.outputs.values()}:
        result.until = _ends_at(wanted, seen)
        if result.until:
            return result

    found = match(wanted, seen.only(result.where))
    best, rules = found, list(found.rules)
    if not found.same:
        looser = match(graph_of(x, False, BATCH, True), subject.observe(x, False, here=True).only(result.where))
        if looser.same or len(looser.differences) < len(found.differences):
            best, rules = looser, looser.rules
    result.operations = len(best.pairs)
    result.map, result.rules = best.map, rules
    result.elsewhere_step = next((e.name for e, o in best.pairs.items() if set(o.rules) - set(e.rules)), "")
    result.told = tell(best, sides)
    result.extra_outputs = _extra(wanted, seen, result.where)

    _in_training(subject, x, graph_of, result, best is not found, sides)
    if result.differs(training=False):
        return result
    result.sizes.append(x)
    for size in others:
        if size != x:
            _at(subject, size, graph_of, result)
    _alone(subject, x, graph_of, result)
    return result


def compare_archs(a: Arch, b: Arch) -> tuple[list[Told], dict[str, tuple[int, int]]]:
    """The differences of arch `b` from arch `a`, at the input of `a`, and their totals. Static: without torch."""
    b = b.at(a.input)
    told: list[Told] = []
    for training in (False, True):
        found = match(expected(a, training), expected(b, training))
        known = {(one.kind, one.step) for one in told}
        told += [one for one in tell(found, (b.name, a.name)) if (one.kind, one.step) not in known]
    totals = {"params": (b.params, a.params), "macs": (b.macs, a.macs)}
    return told, totals


def of_arch(arch: Arch, until: str | None = None) -> Expected:
    """What is expected of a module that should be an arch."""

    def graph_of(x: Shape, training: bool, batch: int, here: bool) -> Graph:
        return expected(arch.at(x), training, until, batch, here)

    return graph_of


def of_module(subject: Subject, where: str) -> Expected:
    """What is expected of a module that should be another module."""

    def graph_of(x: Shape, training: bool, batch: int, here: bool) -> Graph:
        return subject.observe(x, training, batch, here).only(where)

    return graph_of


def guess(structure: Structure) -> dict[str, Slot] | None:
    """Where every parameter and buffer probably is, the structure being no help; None where there are others.

    By equal names, else by the match, the shapes, the last part of the names, and the order in which they are used.
    """
    wanted, seen = structure.wanted, structure.seen
    if wanted is None or seen is None:
        return None

    def slot_of(name: str, other: str) -> Slot:
        shape = wanted.state[name]
        return Slot(other, () if seen.state[other] == shape else (("reshape", shape),))

    def fit(name: str, other: str) -> bool:
        return other in seen.state and prod(seen.state[other]) == prod(wanted.state[name])

    counters = set(wanted.counters.values())
    if seen.state.keys() <= wanted.state.keys() and all(fit(name, name) or name in counters for name in wanted.state):
        return {name: slot_of(name, name) for name in seen.state}
    slots = {}
    for name, slot in structure.map.items():
        if fit(name, slot.name):
            kept = not slot.steps or (slot.steps[-1][0] == "permute") or slot.steps[-1][1] == wanted.state[name]
            slots[name] = slot if kept else slot_of(name, slot.name)
    taken = {slot.name for slot in slots.values()} | set(seen.counters.values()) | set(seen.aliases)
    order = dict.fromkeys(state.name for node in seen.nodes for _, state in node.states)
    order |= dict.fromkeys(node.name for node in seen.nodes if node.kind == "state")
    left = [name for name in dict.fromkeys([*order, *seen.state]) if name in seen.state and name not in taken]
    for name in wanted.state:
        if name in slots or name in counters:
            continue
        fits = [other for other in left if fit(name, other)]
        alike = [other for other in fits if other.rpartition(".")[2] == name.rpartition(".")[2]]
        other = next(iter([*alike, *fits]), None)
        if other is None:
            return None
        left.remove(other)
        slots[name] = slot_of(name, other)
    for name, counter in wanted.counters.items():
        if name in slots and slots[name].name in seen.counters:
            slots.setdefault(counter, Slot(seen.counters[slots[name].name]))
    return None if any(name in seen.parameters for name in left) else slots


def _output(wanted: Graph, seen: Graph) -> str:
    """Where in what the module returns the expected output stands: by what it is, else by its shape."""
    end = wanted.outputs[""]
    same = [where for where, node in seen.outputs.items() if node.key == end.key]
    alike = [where for where, node in seen.outputs.items() if node.shape == end.shape]
    return next(iter([*same, *alike, *seen.outputs]), "")


def _ends_at(wanted: Graph, seen: Graph) -> str:
    """The outermost step of the expected network whose output is the last of the module, all of them being steps."""
    keys = {node.key for node in seen.outputs.values()}
    steps = [name for name, node in wanted.steps.items() if node.key in keys and node.kind != "input"]
    if not steps or keys - {wanted.steps[name].key for name in steps}:
        return ""
    last = wanted.steps[steps[-1]].key
    return min((name for name in steps if wanted.steps[name].key == last), key=lambda name: name.count("."))


def _extra(wanted: Graph, seen: Graph, where: str) -> list[str]:
    """Tensors that are returned besides. The feature maps of a network up to a step are no surprise."""
    own, known = seen.outputs[where], {node.key for node in wanted.steps.values()} if wanted.is_cut else set()
    extra = [(at, node) for at, node in seen.outputs.items() if node is not own and node.key not in known]
    return [f"{at} {shown_shape(node.shape[1:])}" for at, node in extra]


def _in_training(
    subject: Subject, x: Shape, graph_of: Expected, result: Structure, here: bool, sides: tuple[str, str]
) -> None:
    """What shows in train mode only is told besides."""
    seen = guarded(
        f"the module does not run in train mode at {shown_shape(x)}", lambda: subject.observe(x, True, here=here)
    )
    wanted = graph_of(x, True, BATCH, here)
    where = result.where if result.where in seen.outputs else _output(wanted, seen)
    found = match(wanted, seen.only(where))
    for name, slot in found.map.items():
        result.map.setdefault(name, slot)
    known = {_mistake(one): at for at, one in enumerate(result.told)}
    steps = {(one.kind, one.step) for one in result.told}
    for one in tell(found, sides):
        at = known.get(_mistake(one))
        if at is None and (one.kind, one.step) not in steps:
            result.told.append(replace(one, title=f"{one.title} (in train mode)", training=True))
        elif at is not None and one.step != result.told[at].step:
            result.told[at] = one  # its neighbour is there in train mode only, as dropout is
    for extra in _extra(wanted, seen, where):
        if extra not in result.extra_outputs:
            result.extra_outputs.append(f"{extra} (in train mode)")


def _mistake(one: Told) -> tuple[str, str, str]:
    """What makes it the same mistake in eval and in train mode, where other operations may stand beside it."""
    return (one.kind, one.found, one.expected) if one.kind == "wiring" else (one.kind, one.path, one.title)


def _at(subject: Subject, x: Shape, graph_of: Expected, result: Structure) -> None:
    """Whether it is the same at another size."""
    try:
        seen = subject.observe(x, False)
    except Exception as error:  # whatever the module raises at a size that is not its own
        why = f"at {shown_shape(x)} it raises {type(error).__name__}: {first_line(error)}"
        _until_it_raises(subject, x, graph_of, result)
        result.elsewhere = result.elsewhere or why
        return
    where = result.where if result.where in seen.outputs else ""
    if where in seen.outputs:
        found = match(graph_of(x, False, BATCH, False), seen.only(where))
        if not found.same:
            found = match(graph_of(x, False, BATCH, True), subject.observe(x, False, here=True).only(where))
        if found.same:
            result.sizes.append(x)
            result.rules += [words for words in found.rules if words not in result.rules]
            return
        first = tell(found)[0]
        title, result.elsewhere_step = first.title, result.elsewhere_step or first.step
    else:
        title = "it returns something else"
    result.elsewhere = result.elsewhere or f"at {shown_shape(x)}: {title}"


def _until_it_raises(subject: Subject, x: Shape, graph_of: Expected, result: Structure) -> None:
    """The first step at which it is another network where it has just raised; or the one at which it raises."""
    if subject.until_it_raised is not None and not result.elsewhere:
        told = tell(match(graph_of(x, False, BATCH, False), subject.until_it_raised))
        result.elsewhere_step = result.elsewhere_step or next((one.step for one in told if one.step), "")


def _alone(subject: Subject, x: Shape, graph_of: Expected, result: Structure) -> None:
    """Whether one image is a batch, too: `squeeze()` thinks otherwise."""
    try:
        wanted = graph_of(x, False, 1, True)
    except Exception:  # what the expected network itself does not take is not asked of another
        return
    try:
        seen = subject.observe(x, False, 1, here=True)
    except Exception as error:  # whatever the module raises
        result.alone = f"with a batch of one image it raises {type(error).__name__}: {first_line(error)}"
        return
    where = result.where if result.where in seen.outputs else next(iter(seen.outputs), "")
    shape, end = seen.outputs[where].shape, wanted.outputs[""].shape
    if shape != end:
        result.alone = f"with a batch of one image the output is {shown_shape(shape)}, expected {shown_shape(end)}"
        return
    found = match(wanted, seen.only(where))
    if not found.same:
        result.alone = f"with a batch of one image: {tell(found)[0].title}"


def larger(x: Shape) -> list[Shape]:
    """An input that is larger by a few strides: up to its own size, a head of convolutions is one of linear layers."""
    return [(x[0], *(side + MORE for side in x[1:]))] if len(x) == 3 else []


def sizes_of(subject: Subject, x: Shape) -> list[Shape]:
    """Small inputs, even and odd, at which a module runs; none where it runs at `x` alone."""
    found = [next((size for size in sizes if runs(subject, size)), x) for sizes in small_inputs(x)]
    return [size for size in dict.fromkeys(found) if size != x]


def runs(subject: Subject, x: Shape) -> bool:
    """Whether a module runs at an input."""
    try:
        subject.observe(x, False)
    except Exception:  # whatever the module raises: it does not run
        return False
    return True


def _params(graph: Graph) -> int:
    """Parameters, one that has two names counted once."""
    return sum(prod(graph.state[name]) for name in graph.parameters - graph.aliases.keys())


def _macs(graph: Graph) -> int:
    """Multiply-adds of one image, of what the output needs."""
    return sum(map(macs_of, graph.live)) // graph.input.shape[0]
