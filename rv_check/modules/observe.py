"""A module as somebody gave it, to observe: on meta, on real tensors where meta does not do, and never harmed.

What Python decides by the values of tensors does not run on meta; such a module runs on real tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from rv_check.errors import Place, RvCheckError
from rv_check.graphs.builder import Builder, Form
from rv_check.graphs.explain import Maker
from rv_check.graphs.graph import Graph, Values
from rv_check.graphs.network import At
from rv_check.language.inputs import IMAGE, Inputs, one_image
from rv_check.modules.branches import VARIANTS, Reached, folders_of
from rv_check.modules.constants import constants_of
from rv_check.modules.copies import Borrowed, Held, can_be_lent, copy_of
from rv_check.modules.generic_point import make_alike
from rv_check.modules.inferred import Free, InferredInput, infer
from rv_check.modules.inputs import Batch, bounded, empty_batch, inputs_taken
from rv_check.modules.makers import makers_of
from rv_check.modules.record import NotACopy, dtype_of, materialise, record
from rv_check.ops.op import Shape
from rv_check.text import first_line


class Subject:
    """A module to observe: a copy of it on meta, and a real one where meta does not do.

    One that cannot be copied, or whose copy still runs the original's parameters, as a patched method may, is borrowed.
    Where two are compared that are run on real tensors, they are `alike`, so that what depends on values is the same.
    What goes in is said by `takes`. Where nobody says it, one image does, or what the module tells once it does not.
    """

    def __init__(self, module: nn.Module, *, alike: bool = False, takes: Inputs | None = None):
        self.module = module
        self.takes = bounded(takes, module) if takes is not None else None
        self.inferred: InferredInput | None = None  # what the module told of its input
        self.advice = ""  # what to write, where it tells nothing
        self._seen: dict[tuple[At, Form], Graph] = {}  # the last graph
        self.alike = alike  # whether parameters of one size have the same values on real tensors, as another module's
        self.why_real = ""  # what the module raised on meta
        self.is_borrowed = False
        self.until_it_raised: Graph | None = None  # what was seen, the last time that it raised, until then
        self._first: At | None = None  # where it was first asked for: its own parameters are made there if it is lazy
        self._copies: dict[str, nn.Module] = {}
        self._copied: list[tuple[Tensor, Tensor]] = []  # tensors that are neither parameters nor buffers, with copies
        self._moved: set[str] | None = None  # what a run writes, in either mode
        self._own = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
        # While it is lent it has other parameters, all of them trained.
        self.frozen = [name for name, parameter in module.named_parameters() if not parameter.requires_grad]

    @classmethod
    def asked(cls, module: nn.Module, input: Any = None) -> tuple[Subject, Shape]:
        """A module at what goes in, as `inputs_of` takes it, and the shape of its main tensor.

        Where nobody says it that is an image, or what the module tells. Raises: RvCheckError where it is no input.
        """
        takes = inputs_taken(module, input)
        subject = cls(module, takes=takes)
        size = IMAGE if takes is None else takes.shape
        return subject, subject.settle(size, "all" if takes is None else "nothing")

    def observe(self, at: At, form: Form = Form.AT_ANY_SIZE) -> Graph:
        """The graph of what the module does there.

        Raises: what the module raises, on real tensors too, with notes of what to write where it takes something else.
        """
        if (at, form) not in self._seen:
            self._seen.clear()
            try:
                self._seen[at, form] = self._observed(at, form)
            except Exception as error:  # whatever the module raises
                if self.advice and not hasattr(error, "__notes__"):
                    error.add_note(self.advice)
                raise
        return self._seen[at, form]

    def settle(self, size: Shape, free: Free = "all") -> Shape:
        """The shape to look at it with: of this size where it runs there, else that of what it takes, or tells.

        Where nothing is known it is this size, and it does not run there. Args: `free` what it may tell besides what
        was said: nothing, the channels of an image, what image it is, or all.
        """
        try:
            self.observe(At(size))
        except Exception:  # whatever the module raises: it may take something else
            if self.inferred is None and not self.is_borrowed:
                with suppress(NotACopy):
                    self.inferred, self.advice = infer(self.copy("meta"), self.inputs(At(size)), free)
                self.takes = self.inferred.inputs if self.inferred is not None else self.takes
            return self.takes.shape if self.takes is not None else size
        return self.inputs(At(size)).shape

    def inputs(self, at: At) -> Inputs:
        """What goes in there. A module of other channels than are asked for keeps its own."""
        return one_image(at.input) if self.takes is None else self.takes.at(at.input)

    def _observed(self, at: At, form: Form) -> Graph:
        """The graph, seen anew. Raises: as `observe`."""

        def on(device: str) -> Graph:
            return self._on(device, at, Builder(form))

        self.until_it_raised = None
        self._first = self._first or at
        if self.why_real:
            return on("cpu")
        try:
            return on("meta")
        except Exception as error:  # whatever the module raises: it may run on real tensors
            why = f"{type(error).__name__}: {first_line(error)}"
        graph = on("cpu")
        self.why_real = why
        return graph

    def makers(self, names: Sequence[str]) -> Mapping[str, Maker]:
        """The parts of the module that these parameters came with, and the lines that made them."""
        return makers_of(self.module, names)

    def never_ran(self, inputs: Sequence[Shape]) -> list[Place]:
        """The places in its code that are not run at any of these inputs, nor at the first in train mode or alone."""
        first, *others = inputs
        images = range(1, len(VARIANTS) if self.why_real else 1)
        looks = [At(first), At(first, training=True), At(first, batch=1), *map(At, others)]
        looks += [At(first, image=image) for image in images]
        reached = Reached(folders_of(self.module))
        for at in looks:
            with suppress(Exception), reached:  # whatever the module raises: it has been asked before
                self._observed(at, Form.AT_ANY_SIZE)
            if not any(reached.never_ran()):
                return []  # what is called runs as a whole, so that nothing else is called elsewhere
        return sorted(set(reached.never_ran()), key=lambda place: (str(place.document.path), place.line, place.column))

    def _on(self, device: str, at: At, builder: Builder) -> Graph:
        graph = self._recorded(device, at, builder)
        return replace(graph, constants=self._constants(device, at, graph.moved))

    def _recorded(self, device: str, at: At, builder: Builder) -> Graph:
        if not self.is_borrowed:
            try:
                module = self.copy(device)
                materialise(module, self._data_of(module, device))
                return self._of_the_copy(module, at, builder, device)
            except NotACopy as error:
                if not can_be_lent(self.module):
                    why = "it has a scripted part, whose tensors cannot be lent and given back"
                    raise RvCheckError(f"the module cannot be copied ({error}), and {why}") from error
                self.is_borrowed = True
        with Borrowed(self.module, device) as module:
            if self.alike and device != "meta":
                make_alike(module)
            return record(module, at, Builder(builder.form), frozenset(), device, self._raised, inputs=self.inputs(at))

    def _of_the_copy(self, module: nn.Module, at: At, builder: Builder, device: str) -> Graph:
        """What the copy does. Raises: as `record`; NotACopy where it writes into what the original holds."""
        originals = {id(copy): tensor for tensor, copy in self._copied}
        held = Held(self.module)
        try:
            return record(module, at, builder, self._own, device, self._raised, originals, self.inputs(at))
        finally:
            if held.has_changed:  # a hook may be a function that knows the original by another way than as its part
                held.put_back()
                raise NotACopy("a hook or function of the copy writes into the original")

    def _data_of(self, module: nn.Module, device: str) -> Batch:
        first = self._first
        assert first is not None
        return empty_batch(self.inputs(first), first.batch, dtype_of(module), device)

    def _constants(self, device: str, at: At, moved: Set[str]) -> Mapping[str, Values]:
        """The constants of the module. What it writes in train mode is none in eval mode either."""
        found = constants_of(self.module, moved)
        if found and self._moved is None:
            self._moved = set()
            if not at.training:
                with suppress(Exception):  # whatever the module raises in train mode, which was not asked
                    self._moved |= self._recorded(device, replace(at, training=True), Builder()).moved
        self._moved = (self._moved or set()) | moved
        return {name: values for name, values in found.items() if name not in self._moved}

    def _raised(self, seen: Graph) -> None:
        self.until_it_raised = seen

    def copy(self, device: str) -> nn.Module:
        """The copy on that device, made once. Raises: NotACopy."""
        if device not in self._copies:
            try:
                self._copies[device] = copy_of(self.module, device, self._copied)
            except Exception as error:  # whatever a part of the module raises when it is copied
                raise NotACopy(str(error)) from error
            if self.alike and device != "meta":
                make_alike(self._copies[device])
        return self._copies[device]
