"""Two modules that should be one network, brought to the same weights before they are compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from rv_check.archs.arch import Arch
from rv_check.checks.states import load_state
from rv_check.language.inputs import Inputs, one_image
from rv_check.modules.guard import run_theirs
from rv_check.modules.reference import build_reference
from rv_check.ops.op import Shape
from rv_check.optional import need_device

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rv_check.checks.structure import Structure
    from rv_check.graphs.differences import Slot
    from rv_check.modules.inputs import Batch
    from rv_check.modules.trace import Places

T = TypeVar("T")


@dataclass(frozen=True)
class Pair:
    """Two modules that should be one network, and what was done to their weights.

    `map` says where the expected parameters and buffers are in the found module, None: by the same names; `outputs` and
    `outputs_in_training` where in what the found one returns each compared output stands, by where the expected one has
    it; `constants` the names of what stays as it is, of the expected module and of the found one; `takes` what goes in,
    one image unless given; `computes_in` the type in which they are compared where it is not a check's own.
    """

    expected: nn.Module
    found: nn.Module
    names: tuple[str, str] = ("the reference", "the model of the spec")
    map: Mapping[str, Slot] | None = None
    outputs: Mapping[str, str] = field(default_factory=lambda: {"": ""})
    outputs_in_training: Mapping[str, str] = field(default_factory=lambda: {"": ""})
    constants: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    takes: Inputs | None = None
    computes_in: str = "float64"
    _done: set[str] = field(default_factory=set)

    @classmethod
    def of_reference(cls, arch: Arch, device: str) -> Pair:
        """The reference and the model of the spec, each built from the same seed. Raises: RvCheckError, CannotRun."""
        from rv_check.modules.build import build
        from rv_check.modules.torch_state import seeded

        need_device(device)
        with seeded(0):
            expected = run_theirs("the reference does not build", lambda: build_reference(arch).to(device))
        with seeded(0):
            found = run_theirs("the model does not build from its spec", lambda: build(arch).to(device))
        return cls(expected, found)

    @classmethod
    def of_structure(
        cls,
        expected: nn.Module,
        found: nn.Module,
        names: tuple[str, str],
        structure: Structure,
        slots: Mapping[str, Slot],
        takes: Inputs | None,
    ) -> Pair:
        """The two whose structures were compared, with parameters and buffers that correspond as `slots` says."""
        outputs = structure.outputs(training=False), structure.outputs(training=True)
        # Autocast casts no float64, so that a network with half precision inside would be another one there.
        type_of = "float32" if structure.casts_to_half else "float64"
        return cls(expected, found, names, slots, *outputs, structure.constants, takes, type_of)

    def places(self, *, training: bool = False) -> tuple[Places, Places]:
        """Where the outputs stand that are compared, in what the expected module returns and in what the found one."""
        outputs = self.outputs_in_training if training else self.outputs
        return tuple(outputs), tuple(outputs.values())

    def batch(self, x: Shape, dtype: torch.dtype, device: str, *, images: int = 2, more: int = 0) -> Batch:
        """Random tensors that go into both. Args: `x` the shape of an image; `more` another one, by number."""
        from rv_check.modules.generic_point import INPUT
        from rv_check.modules.inputs import random_batch

        inputs = one_image(x) if self.takes is None else self.takes.at(x)
        return random_batch(inputs, images, dtype, device, INPUT + more)

    @property
    def is_fresh(self) -> bool:
        """Whether both are as they were built."""
        return not self._done

    @property
    def weights(self) -> dict[str, Slot]:
        """The map of what is no constant: a mask may have other values where it is used in another way."""
        kept = self.constants
        return {
            name: slot for name, slot in (self.map or {}).items() if name not in kept[0] and slot.name not in kept[1]
        }

    def at_generic_point(self, dtype: torch.dtype) -> Pair:
        """Both with the same random parameters and buffers, in `dtype`. Raises: RvCheckError."""
        run_theirs("the state does not load", lambda: self._to_generic_point(dtype))
        return self

    def enlarge(self, factor: float) -> None:
        """Multiply the parameters of both, but for what stays as it is."""
        import torch

        with torch.no_grad():
            for module, kept in zip((self.expected, self.found), self.constants, strict=True):
                for name, parameter in module.named_parameters():
                    if name not in kept:
                        parameter.mul_(factor)

    def each(self, what: str, action: Callable[[nn.Module, Places], T], *, training: bool = False) -> tuple[T, T]:
        """What running the one and the other gives, the outputs being at the places that `action` is told.

        Raises: RvCheckError, which says which does not run.
        """
        modules, places = (self.expected, self.found), self.places(training=training)

        def ran(side: int) -> T:
            return run_theirs(f"{what}: {self.names[side]} does not run", lambda: action(modules[side], places[side]))

        return ran(0), ran(1)

    def _to_generic_point(self, dtype: torch.dtype) -> None:
        import torch

        from rv_check.modules.generic_point import generic_point, to_type, transfer

        if self.is_fresh:
            for module in (self.expected, self.found):
                to_type(module, torch.float32)
            generic_point(self.expected, constants=self.constants[0])
            if self.map is None:
                load_state(self.found, self.expected.state_dict())
            else:
                both = {name for name, slot in self.map.items() if slot.name in self.constants[1]}
                transfer(self.expected, self.found, self.map, self.constants[0] & both)
            self._done.add("generic point")
        for module in (self.expected, self.found):
            to_type(module, dtype)
