"""Level structure: is what a module does, operation by operation, what the expected network does?

The module is observed and matched at several input sizes, in eval and in train mode, and with a batch of one image. The
match at the network's own size gives the map of its parameters and buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Literal

from rv_check.archs.arch import Arch, small_inputs
from rv_check.checks.returned import Surprises, of_steps, step_it_ends_at, steps_in, surprises_of
from rv_check.checks.states import few
from rv_check.costs.operations import macs_of
from rv_check.errors import Place, RvCheckError, SpecError
from rv_check.graphs.builder import Form
from rv_check.graphs.differences import Difference, Slot, piece_of
from rv_check.graphs.explain import Mistake, explain
from rv_check.graphs.graph import Graph, Node, shape_after
from rv_check.graphs.match import Match, match
from rv_check.graphs.network import At, Network
from rv_check.graphs.of_arch import graph_of
from rv_check.graphs.outputs import Returned
from rv_check.modules.guard import run_theirs
from rv_check.ops.kinds import LEAVES
from rv_check.ops.op import Shape
from rv_check.text import first_line, shown_shape

if TYPE_CHECKING:
    from rv_check.modules.observe import Subject

Known = frozenset[tuple[str, str]]  # operations, each as `_named`
LARGER_BY_PX = 96  # three of the steps of a network of stride 32

StructureVerdict = Literal["same", "equivalent", "equivalent at this input only", "different"]


@dataclass(frozen=True)
class AtOwnSize:
    """How the structures compare in eval mode at the network's own input.

    `rules`: by which they are equal where they are written otherwise; `form`: in which they are the most alike;
    `steps`: of the expected network, the one that each output is the value after; `special_step`: the first step that
    is equal by a rule for this size; `differing`: the operations of the network alone, and those of the module alone.
    """

    form: Form
    mistakes: tuple[Mistake, ...]
    rules: tuple[str, ...]
    map: Mapping[str, Slot]
    operations: int
    steps: Mapping[str, str]
    special_step: str = ""
    differing: tuple[Known, Known] = (frozenset(), frozenset())


@dataclass(frozen=True)
class InTraining:
    """What train mode shows besides: further mistakes, and those of eval mode, by index, that it places better.

    `used`: the parameters and buffers that anything is computed from there; `compared`: what is compared of it is;
    `concerned`: the expected ones that the operations use which differ there.
    """

    mistakes: tuple[Mistake, ...]
    placed: Mapping[int, Mistake]
    map: Mapping[str, Slot]
    returned: Returned
    surprises: Surprises
    used: frozenset[str]
    compared: frozenset[str]
    concerned: frozenset[str]


@dataclass(frozen=True)
class AtOtherSize:
    """How the structures compare at another size: nothing `differs`, or what happens there, at which step if known."""

    size: Shape
    differs: str = ""
    step: str = ""
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class Branches:
    """How the structures compare on other images, where a module decides by values: nothing `differs`, or what does.

    `seen`: in how many ways the module ran; `map`: of all ways.
    """

    differs: str
    seen: int
    map: Mapping[str, Slot]


@dataclass(frozen=True)
class MeasuredEqual:
    """What numbers show to be equal, where no rule does: at which sizes, and by which map of parameters."""

    sizes: tuple[Shape, ...]
    map: Mapping[str, Slot]


@dataclass(frozen=True)
class Structure:
    """How a module's structure compares with the expected one.

    `taken`: in words, that the module takes other channels than expected, where it does; everything else is then
    compared at its own; `eval_only`: what one of the two raises in train mode, so that nothing is compared there.
    `returned`: which of the module's outputs is which of the expected ones; `surprises`: what it returns otherwise;
    `until`: the step of the expected network that it ends at, where that is not the last one; `one_image`: what goes
    wrong with a batch of one image; `why_real`: why it was run on real tensors; `never_ran`: places in the code of
    either that no input led to; `totals`: params and MACs, found and expected.
    """

    input: Shape
    expected: Graph
    found: Graph
    returned: Returned
    surprises: Surprises
    totals: Mapping[str, tuple[int, int]]
    why_real: str = ""
    until: str = ""
    own: AtOwnSize | None = None
    training: InTraining | None = None
    others: tuple[AtOtherSize, ...] = ()
    branches: Branches | None = None
    one_image: str = ""
    never_ran: tuple[Place, ...] = ()
    measured: MeasuredEqual | None = None
    taken: str = ""
    eval_only: str = ""

    @property
    def differences(self) -> tuple[Mistake, ...]:
        """Every mistake once, and what is written in a way that no rule knows, though numbers show it to be equal."""
        if self.own is None:
            return ()
        if self.training is None:
            return self.own.mistakes
        placed = self.training.placed
        return (*(placed.get(at, one) for at, one in enumerate(self.own.mistakes)), *self.training.mistakes)

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """Every mistake, once."""
        return () if self.measured else self.differences

    @cached_property
    def map(self) -> Mapping[str, Slot]:
        """Where the expected parameters and buffers are in the module."""
        if self.measured:
            return self.measured.map
        if self.own is None:
            return {}
        seen = {**(self.training.map if self.training else {}), **(self.branches.map if self.branches else {})}
        seen |= self.own.map
        taken = {piece.name for slot in seen.values() for piece in slot.pieces}
        # What neither uses here may be used for other values: by its name.
        idle = {name: shape for name, shape in self.expected.state.items() if name not in seen and name not in taken}
        return seen | {name: Slot(name) for name, shape in idle.items() if self.found.state.get(name) == shape}

    @property
    def not_learned(self) -> frozenset[str]:
        """The expected parameters that train mode has told to be none of the module, as those of a frozen norm."""
        told = self.training is not None and bool(self.mistakes)  # what numbers have shown to be equal is not told
        concerned = self.training.concerned & self.expected.parameters if self.training and told else frozenset()
        parameters = self.found.parameters
        return frozenset(name for name in concerned if name in self.map and self.map[name].name not in parameters)

    @property
    def constants(self) -> tuple[frozenset[str], frozenset[str]]:
        """What stays as it is built while numbers are compared, of the expected network and of the module.

        Where all is equal but for rounding, the module takes its constants from the network, too.
        """
        return self.expected.read_only, self.found.read_only if self.differences else frozenset()

    @property
    def casts_to_half(self) -> bool:
        """Whether either computes a part of it in half precision."""
        nodes = (node for graph in (self.expected, self.found) for node in graph.nodes)
        return any(node.kind == "cast" and str(node.attributes["dtype"]).endswith("float16") for node in nodes)

    @property
    def names(self) -> dict[str, str]:
        """The module's names of parameters and buffers by the expected ones; none where the structures differ."""
        return {} if self.differs(training=False) else {name: str(slot) for name, slot in self.map.items()}

    @property
    def rules(self) -> list[str]:
        """The rules by which they are equal where they are written otherwise."""
        own = self.own.rules if self.own else ()
        return list(dict.fromkeys((*own, *(words for other in self.others for words in other.rules))))

    @property
    def operations(self) -> int:
        """How many operations correspond."""
        return self.own.operations if self.own else 0

    @property
    def sizes(self) -> tuple[Shape, ...]:
        """The inputs at which they are the same."""
        if self.measured:
            return self.measured.sizes
        if self.own is None or self.differs(training=False):
            return ()
        return (self.input, *(other.size for other in self.others if not other.differs))

    @property
    def elsewhere(self) -> str:
        """What happens at a size where they are not the same."""
        of_size = next((other.differs for other in self.others if other.differs), "")
        return of_size or (self.branches.differs if self.branches else "")

    @property
    def elsewhere_step(self) -> str:
        """The step of the expected network at which that happens, where it is known."""
        steps = (other.step for other in self.others if other.differs)
        return (self.own.special_step if self.own else "") or next((step for step in steps if step), "")

    @property
    def uncounted(self) -> list[str]:
        """The kinds of operation of either that no rule counts, so that the total is at least what it says."""
        nodes = (node for graph in (self.expected, self.found) for node in graph.live)
        return list(dict.fromkeys(node.kind for node in nodes if node.kind not in LEAVES and macs_of(node) is None))

    @property
    def idle(self) -> list[str]:
        """The module's parameters that no output depends on, nor the expected one's that correspond to them."""
        return [name for name in self._idle if name in self.found.parameters]

    @property
    def idle_buffers(self) -> list[str]:
        """The module's buffers of no use, those apart that the expected network has, too."""
        known = self.found.moved | self.found.aliases.keys() | set(self.found.counters.values())
        known |= {piece.name for slot in self.map.values() for piece in slot.pieces}
        return [name for name in self._idle if name not in self.found.parameters and name not in known]

    @property
    def _idle(self) -> list[str]:
        used = self.found.used | (self.training.used if self.training else frozenset())
        used |= {piece.name for slot in (self.branches.map if self.branches else {}).values() for piece in slot.pieces}
        return [name for name in self.found.state if name not in used]

    @cached_property
    def of_extra(self) -> frozenset[str]:
        """The module's parameters and buffers that only tensors are computed from which it returns besides."""
        compared = self.returned.used(self.expected, self.found)
        used = self.found.used
        if self.training:
            compared, used = compared | self.training.compared, used | self.training.used
        extra = used - compared
        counters = {counter for name, counter in self.found.counters.items() if name in extra}
        return extra | counters

    @property
    def all_surprises(self) -> Surprises:
        """What the module returns otherwise than expected, in either mode."""
        return self.surprises + (self.training.surprises if self.training else Surprises())

    def outputs(self, *, training: bool) -> Mapping[str, str]:
        """Where the outputs stand that are compared: in what the module returns, by where they are expected."""
        return self.training.returned.pairs if training and self.training else self.returned.pairs

    def notes(self, name: str) -> tuple[str, ...]:
        """What is said beside the findings of the outputs and the end. `name`: what to call the expected network."""
        steps = self.own.steps if self.own else {}
        notes = [of_steps(steps, name)] if self.expected.steps and len(steps) > 1 else []
        if len(self.returned.found) == 1 == len(self.returned.expected) and not self.expected.steps:
            ((expected, found),) = self.returned.pairs.items()
            where = [f"at {place}" if place else "alone" for place in (found, expected)]
            notes += [f"its output stands {where[0]}, that of {name} {where[1]}"] if found != expected else []
        if self.until and self.mistakes:
            notes.append(f"it ends at {self.until}: check it with --until {self.until}, until={self.until!r}")
        asked = self.found.asked or self.expected.asked
        if self.mistakes and asked:
            places = few([place.short for place in asked])
            notes.append(f"numbers were not asked about what differs: what is run depends on values, at {places}")
        if self.expected.is_cut and self.idle:
            notes.append(f"nothing is computed from {few(self.idle)}")
        return tuple(notes)

    @property
    def last_step(self) -> str:
        """The step that the expected network ends at."""
        return next(reversed(self.expected.outputs.values())).name

    def differs(self, *, training: bool) -> bool:
        """Whether it is no use to compare numbers in that mode."""
        return bool(self.until) or any(training or not one.training for one in self.mistakes)

    @property
    def verdict(self) -> StructureVerdict:
        """The kind of difference that it is, for the whole."""
        return "different" if self.taken else self.verdict_behind

    @property
    def verdict_behind(self) -> StructureVerdict:
        """The same of all that is behind the channels of the input."""
        if self.mistakes or self.one_image or any(self.all_surprises) or self.until:
            return "different"
        if self.elsewhere:
            return "equivalent at this input only"
        return "equivalent" if self.rules or self.measured else "same"


@dataclass(frozen=True)
class _StructureComparison:
    """A module that is observed, the network that it should be, and the input at which it must run.

    `sides`: what to call the two; `returned`: which of its outputs is which of the network's at that input.
    """

    subject: Subject
    network: Network
    input: Shape
    sides: tuple[str, str]
    returned: Returned

    def observed(self, at: At, form: Form = Form.AT_ANY_SIZE) -> Graph:
        """What the module does there. Raises: RvCheckError where it does not run."""
        mode = " in train mode" if at.training else ""
        what = f"the module does not run{mode} at {self.subject.inputs(at)}"
        return run_theirs(what, lambda: self.subject.observe(at, form))

    def matched(self, expected: Graph, found: Graph) -> Match:
        """Hold the outputs against each other that are expected to be one, in eval mode."""
        sides = self.returned.at(expected, found).lined_up(expected, found)
        best = match(*sides)
        if any(one.kind == "unused" for one in best.differences):
            best = match(sides[0], replace(sides[1], elsewhere=self.used_in_training))
        return best

    @cached_property
    def used_in_training(self) -> frozenset[str]:
        """The parameters and buffers that the module uses in train mode: those of an auxiliary head, there alone."""
        return self.observed(At(self.input, training=True)).used

    def looser(self, at: At, form: Form = Form.OF_ONE) -> Match:
        """The two there by the rules that hold at this size, too. Raises: what the module raises."""
        return self.matched(self.network.graph(at, form), self.subject.observe(at, form))

    def returns_alike(self, expected: Graph, found: Graph) -> bool:
        """Whether nothing more, and nothing less, is returned besides than at the network's own input."""
        now, own = self.returned.at(expected, found), self.returned
        return len(now.lost) == len(own.lost) and len(now.extra) == len(own.extra)

    def at_own_size(self, expected: Graph, found: Graph) -> AtOwnSize:
        """Compare in eval mode, by looser rules only where these tell less: without them a pool is known as one."""
        form, best = Form.AT_ANY_SIZE, self.matched(expected, found)
        for other in (Form.AT_THIS_SIZE, Form.OF_ONE):
            looser = self.looser(At(self.input), other) if not best.same else best
            if (looser.same and not best.same) or len(looser.differences) < len(best.differences):
                form, best = other, looser
        return AtOwnSize(
            form,
            tuple(explain(best, self.sides, self.subject.makers)),
            tuple(best.rules),
            best.map,
            len(best.pairs),
            steps_in(best, self.returned),
            next((e.name for e, o in best.pairs.items() if set(o.rules) - set(e.rules)), ""),
            (
                frozenset(_named(node) for one in best.differences if one.is_alone for node in one.expected),
                frozenset(_named(node) for one in best.differences if one.is_alone for node in one.found),
            ),
        )

    def why_eval_only(self) -> str:
        """What one of the two raises in train mode; "" where both run there. Raises: SpecError."""
        at = At(self.input, training=True)
        for run in (self.network.graph, self.observed):
            try:
                run(at)
            except SpecError:
                raise
            except RvCheckError as error:
                return error.message + (f" ({error.details[-1]})" if error.details else "")
        return ""

    def in_training(self, own: AtOwnSize, known_surprises: Surprises) -> InTraining:
        """What shows in train mode only."""
        at = At(self.input, training=True)
        graph = self.observed(at, own.form)
        expected = self.network.graph(at, own.form)
        returned = self.returned.at(expected, graph)
        best = match(*returned.lined_up(expected, graph))
        known = {_mistake(one): index for index, one in enumerate(own.mistakes)}
        told = _told(own.mistakes)
        more: list[Mistake] = []
        placed: dict[int, Mistake] = {}
        apart = replace(best, differences=[_besides(one, *own.differing) for one in best.differences])
        for one in explain(apart, self.sides, self.subject.makers):
            index = known.get(_mistake(one))
            less = next((at for at, other in enumerate(own.mistakes) if _says_more(one, other)), None)
            if index is None and less is not None:
                placed[less] = one  # an argument besides that is of use in train mode only, as a momentum is
            elif index is None and told.isdisjoint(_told([one])):
                more.append(replace(one, title=f"{one.title} (in train mode)", training=True))
            elif index is not None and one.step != own.mistakes[index].step:
                placed[index] = one  # its neighbour is there in train mode only, as dropout is
        surprises = surprises_of(returned, expected, graph, steps_in(best, returned))
        surprises = surprises.besides(known_surprises, "(in train mode)")
        compared = returned.used(expected, graph)
        differing = (node for one in best.differences for node in one.expected)
        concerned = frozenset(state.name for node in differing for _, state in node.states)
        return InTraining(tuple(more), placed, best.map, returned, surprises, graph.used, compared, concerned)

    def at_other_size(self, size: Shape, *, first: bool) -> AtOtherSize:
        """Whether it is the same at another size. `first`: it was the same at those before."""
        at = At(size)
        try:
            graph = self.subject.observe(at)
        except Exception as error:  # whatever the module raises at a size that is not its own
            why = f"at {shown_shape(size)} it raises {type(error).__name__}: {first_line(error)}"
            return AtOtherSize(size, why, self._step_where_it_raises(at) if first else "")
        expected = self.network.graph(at)
        if not self.returns_alike(expected, graph):
            return AtOtherSize(size, f"at {shown_shape(size)}: it returns something else")
        best = self.matched(expected, graph)
        if not best.same:
            best = self.looser(at)
        if best.same:
            return AtOtherSize(size, rules=tuple(best.rules))
        mistake = explain(best)[0]
        return AtOtherSize(size, f"at {shown_shape(size)}: {mistake.title}", mistake.step)

    def _step_where_it_raises(self, at: At) -> str:
        """The first step at which it is another network where it has just raised; or the one at which it raises."""
        graph = self.subject.until_it_raised
        if graph is None:
            return ""
        return next((one.step for one in explain(self.matched(self.network.graph(at), graph)) if one.step), "")

    def at_other_sizes(self, sizes: Sequence[Shape]) -> tuple[AtOtherSize, ...]:
        """Each of the other sizes."""
        answers: list[AtOtherSize] = []
        for size in sizes:
            if size != self.input:
                first = not any(answer.differs for answer in answers)
                answers.append(self.at_other_size(size, first=first))
        return tuple(answers)

    def on_other_images(self, first: Graph) -> Branches | None:
        """What happens with images of other values, where either decides by these. `first`: what the first one gave."""
        at = At(self.input)
        if not first.asked and not self.network.graph(at).asked:
            return None
        from rv_check.modules.branches import VARIANTS

        differs, ways = "", {_way(first)}
        slots: dict[str, Slot] = {}
        for image, (words, _) in list(enumerate(VARIANTS))[1:]:
            other = replace(at, image=image)
            try:
                expected = self.network.graph(other)
            except Exception:  # what the expected network itself does not take is not asked of another
                continue
            try:
                found = self.subject.observe(other)
            except Exception as error:  # whatever the module raises
                differs = differs or f"for an image {words} it raises {type(error).__name__}: {first_line(error)}"
                continue
            if not self.returns_alike(expected, found):
                differs = differs or f"for an image {words} it returns something else"
                continue
            ways.add(_way(found))
            best = self.matched(expected, found)
            slots |= best.map
            if not best.same:
                differs = differs or f"for an image {words}: {explain(best)[0].title}"
        return Branches(differs, len(ways), slots)

    def of_one_image(self) -> str:
        """What goes wrong with a batch of one image, which `squeeze()` takes for none; "" where nothing does."""
        at = At(self.input, batch=1)
        try:
            expected = self.network.graph(at, Form.OF_ONE)
        except Exception:  # what the expected network itself does not take is not asked of another
            return ""
        try:
            graph = self.subject.observe(at, Form.OF_ONE)
        except Exception as error:  # whatever the module raises
            return f"with a batch of one image it raises {type(error).__name__}: {first_line(error)}"
        sides = self.returned.at(expected, graph).lined_up(expected, graph)
        for place, end in sides[0].outputs.items():
            shape, what = sides[1].outputs[place].shape, f"the output {place}".strip()
            if shape != end.shape:
                words = f"{what} is {shown_shape(shape)}, expected {shown_shape(end.shape)}"
                return f"with a batch of one image {words}"
        best = self.matched(expected, graph)
        return "" if best.same else f"with a batch of one image: {explain(best)[0].title}"


def compare(
    subject: Subject,
    network: Network,
    x: Shape,
    others: Sequence[Shape],
    sides: tuple[str, str] = ("yours", "spec"),
) -> Structure:
    """Hold a module against the network that it should be.

    Args: `x` the input at which it must run; `others` sizes at which the network runs, too; `sides` what to call the
    module and the network.
    Raises: RvCheckError where the module does not run at `x`.
    """
    at = At(x)
    found = run_theirs(f"the module does not run at {shown_shape(x)}", lambda: subject.observe(at))
    expected = network.graph(at)
    if not found.outputs:
        raise RvCheckError("the module returns no tensor")
    found.must_see_input()
    totals = totals_of(found, expected)
    totals["macs"] = _macs_as_run(subject.observe, x, found), _macs_as_run(network.graph, x, expected)
    until = step_it_ends_at(expected, found) if network.has_steps else ""
    if until:
        network = network.cut(until)
        expected = network.graph(at)
    returned = Returned.of(expected, found)
    comparison = _StructureComparison(subject, network, x, sides, returned)
    own = comparison.at_own_size(expected, found)
    surprises = surprises_of(returned, expected, found, own.steps)
    eval_only = comparison.why_eval_only()
    training = None if eval_only else comparison.in_training(own, surprises)
    structure = Structure(
        x, expected, found, returned, surprises, totals, subject.why_real, until, own, training, eval_only=eval_only
    )
    if structure.differs(training=False):
        return structure
    answers = comparison.at_other_sizes(others)
    branches = comparison.on_other_images(found)
    return replace(structure, others=answers, branches=branches, one_image=comparison.of_one_image())


def compare_archs(a: Arch, b: Arch) -> tuple[list[Mistake], dict[str, tuple[int, int]]]:
    """The differences of arch `b` from arch `a`, at the input of `a`, and their totals. Static: without torch."""
    b = b.at(a.input)
    mistakes: list[Mistake] = []
    for training in (False, True):
        best = match(graph_of(a, training=training), graph_of(b, training=training))
        known = _told(mistakes)
        mistakes += [one for one in explain(best, (b.name, a.name)) if known.isdisjoint(_told([one]))]
    totals = {"params": (b.params, a.params), "macs": (b.macs, a.macs)}
    return mistakes, totals


def guess(structure: Structure) -> dict[str, Slot] | None:
    """Where every parameter and buffer probably is, the structure being no help; None where there are others.

    By equal names, else by the match, the shapes, the last part of the names, and the order in which they are used.
    """
    expected, found = structure.expected, structure.found

    def slot_of(name: str, other: str) -> Slot:
        shape = expected.state[name]
        return Slot(other, () if found.state[other] == shape else (("reshape", shape),))

    def fit(name: str, other: str) -> bool:
        same = other in found.state and prod(found.state[other]) == prod(expected.state[name])
        constants = name in expected.read_only, other in found.read_only
        return same and (all(constants) or (name in expected.parameters) == (other in found.parameters))

    counters = set(expected.counters.values())
    by_name = all(fit(name, name) or name in counters for name in expected.state)
    if by_name and found.state.keys() <= expected.state.keys():
        return {name: slot_of(name, name) for name in found.state}
    slots = {}
    for name, slot in structure.map.items():
        if slot.others or piece_of("", slot.steps).steps:
            sizes = [prod(shape_after(found.state[one.name], one.steps)) for one in slot.pieces]
            own = [prod(shape_after(expected.state[name], one.own)) for one in slot.pieces]
            if sizes == own and sum(sizes) == prod(expected.state[name]):
                slots[name] = slot
        elif fit(name, slot.name):
            kept = not slot.steps or (slot.steps[-1][0] == "permute") or slot.steps[-1][1] == expected.state[name]
            slots[name] = slot if kept else slot_of(name, slot.name)
    unused = set(expected.state) - {state.name for node in expected.nodes for _, state in node.states}
    unused -= {node.name for node in expected.nodes if node.kind == "state"} | expected.parameters
    taken = {piece.name for slot in slots.values() for piece in slot.pieces}
    taken |= set(found.counters.values()) | set(found.aliases)
    order = dict.fromkeys(state.name for node in found.nodes for _, state in node.states)
    order |= dict.fromkeys(node.name for node in found.nodes if node.kind == "state")
    left = [name for name in dict.fromkeys([*order, *found.state]) if name in found.state and name not in taken]
    for name in expected.state:
        if name in slots or name in counters:
            continue
        fits = [other for other in left if fit(name, other)]
        alike = [other for other in fits if other.rpartition(".")[2] == name.rpartition(".")[2]]
        other = next(iter([*alike, *fits]), None)
        if other is None and (name in expected.read_only or name in unused):
            continue  # it may be a table that the other one makes in forward, or a counter
        if other is None:
            return None
        left.remove(other)
        slots[name] = slot_of(name, other)
    for name, counter in expected.counters.items():
        if name in slots and slots[name].name in found.counters:
            slots.setdefault(counter, Slot(found.counters[slots[name].name]))
    return None if any(name in found.parameters - structure.of_extra for name in left) else slots


def _named(node: Node) -> tuple[str, str]:
    """What an operation is known by in eval and in train mode."""
    return node.kind, node.name


def _besides(one: Difference, missing: Known, extra: Known) -> Difference:
    """What stands in place of something that is known to be missing is there besides, and the other way round."""
    expected = [node for node in one.expected if _named(node) not in missing]
    found = [node for node in one.found if _named(node) not in extra]
    if one.kind != "replaced" or bool(expected) == bool(found):
        return one
    return replace(one, kind="missing" if expected else "extra", expected=expected, found=found)


def _mistake(one: Mistake) -> tuple[str, str, str]:
    """What makes it the same mistake in eval and in train mode, where other operations may stand beside it."""
    return (one.kind, one.found, one.expected) if one.kind == "wiring" else (one.kind, one.path, one.title)


def _told(mistakes: Iterable[Mistake]) -> set[tuple[str, str, str]]:
    """What has been told of which step: of its arguments, each one apart."""
    return {
        (one.kind, one.step, part.partition(" ")[0] if one.kind == "arguments" else "")
        for one in mistakes
        for part in one.found.split(", ")
    }


def _says_more(one: Mistake, other: Mistake) -> bool:
    """Whether it is the same operation with more arguments that differ."""
    parts = [set(mistake.found.split(", ")) for mistake in (one, other)]
    return one.kind == other.kind == "arguments" and one.step == other.step and parts[0] > parts[1]


def channels_in_words(found: Graph, expected: Shape) -> str:
    """That a module takes other channels than expected: `its first convolution takes 1 channel, expected 3`."""
    first = next((node for node in found.nodes if node.row.weighted), None)
    what = "its first convolution" if first is not None and first.kind == "conv" else "it"
    own = found.input.shape[1]
    return f"{what} takes {own} channel{'s' if own > 1 else ''}, expected {expected[0]}"


def larger(x: Shape) -> list[Shape]:
    """An input that is larger by a few strides: up to its own size, a head of convolutions is one of linear layers."""
    return [(x[0], *(side + LARGER_BY_PX for side in x[1:]))] if len(x) == 3 else []


def sizes_of(subject: Subject, x: Shape) -> list[Shape]:
    """Small inputs, even and odd, at which a module runs; none where it runs at `x` alone."""
    found = [next((size for size in sizes if runs(subject, size)), x) for sizes in small_inputs(x)]
    return [size for size in dict.fromkeys(found) if size != x]


def runs(subject: Subject, x: Shape, *, training: bool = False) -> bool:
    """Whether a module runs at an input."""
    try:
        subject.observe(At(x, training=training))
    except Exception:  # whatever the module raises: it does not run
        return False
    return True


def _way(graph: Graph) -> tuple[bytes, frozenset[str]]:
    """What tells the ways apart in which a module runs: what is computed, and from which parameters."""
    keys = b"".join(node.key for node in graph.outputs.values())
    return keys, frozenset(state.name for node in graph.live for _, state in node.states)


def _macs_as_run(observe: Callable[[At, Form], Graph], x: Shape, graph: Graph) -> int:
    """Multiply-adds of one image as they are run; those of the graph where it takes two."""
    try:
        run = observe(At(x, batch=1), Form.AS_RUN)
        return sum(macs_of(node) or 0 for node in run.ran or run.nodes)  # a graph that was cut has no other
    except Exception:  # whatever it raises with one image alone, which is a finding of its own
        return _macs(graph)


def totals_of(found: Graph, expected: Graph) -> dict[str, tuple[int, int]]:
    """Parameters and multiply-adds of two graphs."""
    return {"params": (found.params, expected.params), "macs": (_macs(found), _macs(expected))}


def _macs(graph: Graph) -> int:
    """Multiply-adds of one image, of what the output needs; what no rule counts is left out, and said."""
    return sum(macs_of(node) or 0 for node in graph.live) // graph.input.shape[0]
