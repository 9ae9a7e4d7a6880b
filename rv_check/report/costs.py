"""What a network costs, as values that print as tables: multiply-adds and bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from rv_check.archs.arch import Arch
from rv_check.costs import memory as bytes_of
from rv_check.costs.counted import SHOWN, Counted, Uncounted, shown, with_numbers
from rv_check.costs.memory import Memory
from rv_check.costs.operations import Operation, counted
from rv_check.costs.own_rules import OwnRules, own_rules
from rv_check.errors import Place, RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph
from rv_check.graphs.network import At, Network
from rv_check.graphs.of_arch import ArchNetwork
from rv_check.language.inputs import IMAGE
from rv_check.ops.op import Shape
from rv_check.report.asked import arch_of, asked_module, module_of
from rv_check.report.tables import table
from rv_check.text import shown_shape

if TYPE_CHECKING:
    from torch import nn

Line = Literal["stage", "module", "op"]  # what a line of a table is: the outermost module, a module, or a kind


@dataclass(frozen=True)
class CostedNetwork:
    """A network whose costs are asked for, as it was named: at its input, with how many parameters it has."""

    name: str
    network: Network
    image: Shape
    params: int
    takes: str  # what goes in, in words
    inferred: str = ""  # what the module told of its input

    def graph(self, *, training: bool = False, batch: int = 1) -> Graph:
        """What it does, operation by operation. Raises: RvCheckError."""
        return self.network.graph(At(self.image, batch, training), Form.AS_RUN)

    def macs(self, graph: Graph, own: OwnRules) -> NetworkMacs:
        """Its multiply-adds, by its graph of one image; those of a training step by what it does in train mode.

        Raises: RvCheckError.
        """
        rules = {kind: expr.text for kind, expr in own.rules.items()}
        forward = counted(graph, own)
        try:
            training, why = counted(self.graph(training=True), own), ""
        except RvCheckError as error:  # it may be made for eval mode alone, or ask for targets
            training, why = forward, str(error.problems[0].message)
        return NetworkMacs(
            self.name, self.params, self.takes, forward, rules, training, why, graph.by_image, self.inferred
        )

    def memory(
        self, training: Graph, evaluation: Graph, own: OwnRules, batch: int, dtype: str, optimiser: str
    ) -> NetworkMemory:
        """Its bytes, by its graphs of a batch. Raises: RvCheckError for an unknown type or optimiser."""
        found = bytes_of.counted_memory(training, evaluation, dtype, optimiser, own.ignored)
        by_image = tuple(dict.fromkeys((*training.by_image, *evaluation.by_image)))
        return NetworkMemory(self.name, batch, self.takes, dtype, optimiser, found, by_image, self.inferred)


def network_of(subject: nn.Module | Arch | str, input: Any = None, name: str = "") -> CostedNetwork:
    """A module, an arch, or the arch of that name. Args: as for `macs`.

    Raises: RvCheckError where it is none of them, or the input is none.
    """
    arch = arch_of(subject, input)
    if arch is not None:
        image = f"image of {shown_shape(arch.input)}"
        return CostedNetwork(arch.name, ArchNetwork(arch), arch.input, arch.params, image)
    module = module_of(subject)
    from rv_check.modules.network import ModuleNetwork

    asked = asked_module(module, input)
    params = sum(parameter.numel() for parameter in module.parameters())
    name = name or type(module).__name__
    inputs = asked.subject.inputs(At(asked.size))
    what = "image" if inputs.is_one_image and len(inputs.shape) == len(IMAGE) else "input"
    return CostedNetwork(name, ModuleNetwork(asked.subject), asked.size, params, f"{what} of {inputs}", asked.inferred)


# Multiply-adds


@dataclass(frozen=True)
class NetworkMacs:
    """Multiply-adds of one image of a network. Its text is the table that `rv-check macs` prints.

    `params`: number of parameters; `takes`: what goes in, in words; `counted`: the operations; `rules`: own rules, by
    kind of operation; `training`: the operations in train mode, which the backward pass is that of; `not_trained`: why
    these are those of eval mode; `by_image`: the places where what is done, and so the count, depends on the values of
    the image; `inferred`: what the module told of its input, where nobody said it.
    """

    name: str
    params: int
    takes: str
    counted: Counted[tuple[Operation, ...]]
    rules: Mapping[str, str]
    training: Counted[tuple[Operation, ...]]
    not_trained: str = ""
    by_image: tuple[Place, ...] = ()
    inferred: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether every operation is counted."""
        return self.counted.is_whole

    @property
    def uncounted(self) -> tuple[Uncounted, ...]:
        """The operations that no rule counts."""
        return self.counted.uncounted

    @property
    def total(self) -> int:
        """Multiply-adds of the forward pass. Raises: RvCheckError where some operations are not counted."""
        return sum(one.macs for one in self.counted.whole)

    @property
    def backward(self) -> int:
        """Multiply-adds of the backward pass. Raises: RvCheckError where some operations are not counted."""
        return sum(one.backward for one in self.training.whole)

    @property
    def at_least(self) -> int:
        """Multiply-adds of the forward pass, without those of operations that are not counted."""
        return sum(one.macs for one in self.counted.at_least)

    def by(self, line: Line = "stage") -> dict[str, int]:
        """Multiply-adds of the forward pass by stage, module or kind of operation, in the order of the network.

        Raises: RvCheckError where some operations are not counted.
        """
        return {key: sum(one.macs for one in some) for key, some in grouped(self.counted.whole, line)}

    def table(self, line: Line = "stage") -> str:
        """Multiply-adds of both passes by stage, module or kind of operation, and what is not counted."""
        trained, total = self.training.at_least, self.at_least
        forward, back = (sum(getattr(one, which) for one in trained) for which in ("macs", "backward"))
        parts, trained_parts = dict(grouped(self.counted.at_least, line)), dict(grouped(trained, line))
        rows = []
        for key in (*parts, *(key for key in trained_parts if key not in parts)):
            macs = sum(one.macs for one in parts.get(key, ()))
            of_backward = sum(one.backward for one in trained_parts.get(key, ()))
            if macs or of_backward:
                rows.append((key, f"{macs:,}", f"{macs / total:.1%}" if total else "", f"{of_backward:,}"))
        rows.append(("total" if self.is_whole else "counted", f"{total:,}", "", f"{back:,}"))
        of = ("weight_gradient", "input_gradient", "again")
        weights, inputs, again = (sum(getattr(one, which) for one in trained) for which in of)
        least = least_of(self.training)
        reruns = f", {least}{again:,} for parts that are run again" if again else ""
        lines = [
            f"{self.name}: {least_of(self.counted)}{total:,} multiply-adds for one {self.takes}",
            "",
            table((line, "MACs", "share", "MACs of backward"), rows, "lrrr"),
            "",
            f"backward: {least}{weights:,} for the gradients of weights, "
            f"{least}{inputs:,} for those of inputs{reruns}; a training step: {least}{forward + back:,}",
        ]
        if self.not_trained:
            lines.append(f"that is of eval mode: {self.not_trained}")
        elif forward != total:
            lines.append(f"in train mode the forward pass takes {least}{forward:,}")
        return "\n".join([*lines, *self.notes(), *note_of_image(self.by_image)])

    def notes(self) -> list[str]:
        """Lines that say what was inferred, what an own rule counts, what is ignored, and what is not counted."""
        numbers = {kind: sum(one.kind == kind for one in self.counted.at_least) for kind in self.rules}
        own = [f"{kind} x {numbers[kind]}, by {rule}" for kind, rule in self.rules.items()]
        told = [*([self.inferred] if self.inferred else []), *([f"own rules: {'; '.join(own)}"] if own else [])]
        return [*(line for text in told for line in ("", text)), *notes_of(self.counted)]

    def __str__(self) -> str:
        return self.table()


def grouped(done: Sequence[Operation], line: Line) -> list[tuple[str, list[Operation]]]:
    """The operations by stage, by module, or by kind; in the order of the network."""
    groups: dict[str, list[Operation]] = {}
    for one in done:
        key = {"op": one.kind, "module": one.name, "stage": one.name.partition(".")[0]}[line]
        groups.setdefault(key or "(the module itself)", []).append(one)
    return list(groups.items())


def least_of(found: Counted[Any]) -> str:
    """What stands before a number of it."""
    return "" if found.is_whole else "at least "


def notes_of(found: Counted[Any]) -> list[str]:
    """Lines that say what is ignored and what is not counted, each with its place; nothing where all is counted."""
    lines = []
    if found.ignored:
        ignored = ", ".join(f"{kind} x {number}" for kind, number in found.ignored.items())
        lines += ["", f"ignored: {ignored}"]
    if found.uncounted:
        rows = [
            (one.kind, one.name, str(one.place or ""), ", ".join(map(shown, one.x)), shown(one.y), str(number))
            for one, number in with_numbers(found.uncounted)
        ]
        rest = table(("op", "module", "place", "in", "out", "times"), rows, "lllllr")
        lines += ["", "not counted:", "", *(line.rstrip() for line in rest.splitlines())]
    return lines


def note_of_image(places: Sequence[Place]) -> list[str]:
    """Lines that say that a count is that of one image, where it depends on the values in it; else none."""
    if not places:
        return []
    first, more = ", ".join(str(place) for place in places[:SHOWN]), ", ..." if len(places) > SHOWN else ""
    depend = "1 place depends" if len(places) == 1 else f"{len(places)} places depend"
    return ["", f"counted for one image; {depend} on its values: {first}{more}"]


def macs(
    subject: nn.Module | Arch | str,
    input: Any = None,
    *,
    ignore: Iterable[str] = (),
    rules: Mapping[str, str] | None = None,
    name: str = "",
) -> NetworkMacs:
    """Multiply-adds of one image of a network, by operation, forward and backward, as `rv-check macs` counts them.

    Args: `subject` a module, which is observed as it runs and is not touched, an Arch, or a name that `load` takes;
    `input` what goes in, as a shape without the batch axis, a text such as "ids: int64 128 < 30522", or tensors: unless
    given the arch's image, and of a module its `example_inputs`, else (3, 224, 224), else what it tells; `ignore` kinds
    of operation without a rule that cost nothing; `rules` multiply-adds of others, as {"mylib::op": "y[1] * y[2] * y[3]
    * weight[1]"}; `name` what a module is called, its class unless given.
    Returns: a NetworkMacs; its `total` is an error where an operation has no rule, and `at_least` the rest.
    Raises: RvCheckError where the module does not run there, its output does not depend on the input, a rule is none,
    or one of `ignore` and `rules` is of an operation that is not done or has a rule already; SpecError for a bad spec.
    """
    network, own = network_of(subject, input, name), own_rules(rules or {}, ignore)
    graph = network.graph()
    own.see_that_they_occur(graph)
    return network.macs(graph, own)


# Bytes


@dataclass(frozen=True)
class NetworkMemory:
    """Bytes of a network at a batch. Its text is the table that `rv-check macs --memory` prints.

    `takes`: what goes in for each of the batch, in words.
    `by_image`: the places where what is done, and so the count, depends on the values of the images.
    """

    name: str
    batch: int
    takes: str
    dtype: str
    optimiser: str
    counted: Counted[Memory]
    by_image: tuple[Place, ...] = ()
    inferred: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether it is known of every operation what it keeps."""
        return self.counted.is_whole

    @property
    def uncounted(self) -> tuple[Uncounted, ...]:
        """The operations of which it is not known what they keep."""
        return self.counted.uncounted

    @property
    def bytes(self) -> Memory:
        """The bytes. Raises: RvCheckError where it is not known of some operations what they keep."""
        return self.counted.whole

    @property
    def at_least(self) -> Memory:
        """The bytes, without what such operations keep and give."""
        return self.counted.at_least

    def __str__(self) -> str:
        found, least = self.at_least, least_of(self.counted)
        rows = [
            ("parameters", f"{found.parameters:,}"),
            ("gradients", f"{found.gradients:,}"),
            (f"optimiser ({self.optimiser})", f"{found.optimiser:,}"),
            ("activations kept for backward", f"{least}{found.activations:,}"),
            ("a training step, at least", f"{found.training:,}"),
            ("values at once in a forward pass without gradients", f"{least}{found.peak:,}"),
        ]
        text = table(("", "bytes"), rows, "lr")
        told = ["", self.inferred] if self.inferred else []
        notes = [*told, *notes_of(self.counted), *note_of_image(self.by_image)]
        return "\n".join([f"{self.name} in {self.dtype}, batch {self.batch}, an {self.takes}", "", text, *notes])


def memory(
    subject: nn.Module | Arch | str,
    input: Any = None,
    batch: int = 1,
    dtype: str = "float32",
    optimiser: str = "momentum",
    *,
    ignore: Iterable[str] = (),
    name: str = "",
) -> NetworkMemory:
    """Bytes of a network's parameters, gradients, optimiser and activations, as `rv-check macs --memory` has them.

    Args: `batch` images at a time; `dtype` float32, float64, bfloat16 or float16; `optimiser` sgd, momentum or adam;
    `ignore` kinds of operation without a rule that keep nothing for the backward pass; the others as for `macs`.
    Returns: a NetworkMemory; its `bytes` is an error where an operation has no rule, and `at_least` the rest.
    Raises: as `macs`, and RvCheckError for an unknown type or optimiser, or a batch of none.
    """
    if type(batch) is not int or batch < 1:
        raise RvCheckError(f"batch is {batch!r}", expected="a number of images, 1 or more")
    network, own = network_of(subject, input, name), own_rules({}, ignore)
    training, evaluation = network.graph(training=True, batch=batch), network.graph(batch=batch)
    own.see_that_they_occur(training, evaluation)
    return network.memory(training, evaluation, own, batch, dtype, optimiser)
