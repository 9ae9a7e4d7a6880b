"""A class with its contract and its call, and the cases that are drawn of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rv_check.blocks.call import MADE, How
from rv_check.blocks.contract import Contract, filled, input_of, probes
from rv_check.errors import RvCheckError
from rv_check.modules.guard import run_theirs
from rv_check.ops.op import Shape
from rv_check.text import shown_shape
from rv_check.values import Value, show

if TYPE_CHECKING:
    from torch import nn

    from rv_check.blocks.trial import BlockCase, Trial

SIDES = (6, 7, 8, 9, 12, 13)  # rows and columns, even and odd
BATCHES = (1, 2, 3)


class CheckedBlock:
    """A class with its contract and the way to call it."""

    def __init__(self, name: str, cls: Any, contract: Contract, how: How, input: Shape | None, unit: int):
        self.name, self.cls, self.contract, self.how, self.input, self.unit = name, cls, contract, how, input, unit
        self.seen: dict[str, Trial] = {}
        self._widths: dict[int, int] = {}

    def make(self, values: Mapping[str, Value], x: Shape) -> nn.Module:
        """The module of one case. Raises: RvCheckError."""
        import torch

        by_position, by_name = self.how.arguments(self.contract, values, x)
        shown = [repr(value) for value in by_position]
        shown += [
            f"{k}={v if isinstance(v, int | float | str | None) else type(v).__name__}" for k, v in by_name.items()
        ]
        made = run_theirs(f"{self.name}({', '.join(shown)}) cannot be made", lambda: self.cls(*by_position, **by_name))
        if not isinstance(made, torch.nn.Module):
            raise RvCheckError(f"{self.name} makes a {type(made).__name__}", expected="a torch.nn.Module")
        return made

    def trial(self, case: BlockCase) -> Trial:
        """A case with a way to make its module."""
        from rv_check.blocks.properties import STACK
        from rv_check.blocks.trial import Trial

        key = str(case)
        if key not in self.seen:
            stacks = tuple(case.out) == tuple(case.x)
            self.seen[key] = Trial(
                case,
                lambda: self.make(case.values, case.x),
                lambda: [self.make(case.values, case.x) for _ in range(STACK)] if stacks else [],
                (lambda: self.make({**case.values, "stride": 0}, case.x)) if self._strides_alone else None,
            )
        return self.seen[key]

    def case(self, values: Mapping[str, Value], x: Shape, batch: int = 2) -> BlockCase:
        """A case, with what the contract says of it. Raises: SpecError."""
        from rv_check.blocks.trial import BlockCase

        limits = self.contract.limits(values, x) if not self.contract.has_body or self.contract.block.outputs else ()
        return BlockCase(dict(values), x, batch, self.contract.out(values, x), limits)

    def probes(self) -> list[BlockCase]:
        """The cases that matter, at the input that was asked for."""
        if self.input is not None:
            strides = (1, 2) if self._free("stride") else (1,)
            return [self.case(filled(self.contract, self._width(s), s), self.input) for s in strides]
        return [
            self.case(values, x)
            for values, x in probes(self.contract, self.unit)
            if self.fits(values, x, self.contract.out(values, x))
        ]

    @property
    def _strides_alone(self) -> bool:
        """Whether the class is given the stride, and no projection that we make, which would refuse a stride of 0."""
        return "stride" in self.how.names and MADE not in self.how.names

    def _free(self, name: str) -> bool:
        """Whether an argument is to be drawn."""
        return name in self.contract.block.arguments and name not in self.contract.fixed and name in self.how.names

    def _width(self, stride: int) -> int:
        """The width at which the input that was asked for keeps its channels; at a stride, has twice as many."""
        assert self.input is not None
        if stride not in self._widths:
            fits = (
                width
                for width in range(1, self.input[0] * stride + 1)
                if self.contract.out(filled(self.contract, width, stride), self.input)[0] == self.input[0] * stride
            )
            self._widths[stride] = next(fits, self.input[0])
        return self._widths[stride]

    @property
    def drawn(self) -> str:
        """What cases are drawn of, in words."""
        words = [f"{name} {show(value)}" for name, value in self.contract.fixed.items()]
        required = [name for name in self.contract.block.required if name not in self.contract.fixed]
        if self.input is None:
            words += [f"{name} {self.unit} to {3 * self.unit}" for name in required if name != "stride"]
        words += ["stride 1 and 2"] if self._free("stride") else []
        words += ["groups 1 and 2"] if self._free("groups") else []
        if self.input is None:
            words += ["channels in as out, half and twice"] if "C" in self.how.names else []
            words.append(f"{SIDES[0]} to {SIDES[-1]} rows and columns")
        else:
            words.append(f"in {shown_shape(self.input)}")
        return ", ".join([*words, f"batch {BATCHES[0]} to {BATCHES[-1]}"])

    def fits(self, values: Mapping[str, Value], x: Shape, y: tuple[int | None, ...]) -> bool:
        """Whether the call can tell this case from others: one without C keeps the channels, one without a stride has
        none."""
        names = self.how.names
        same_channels = "C" in names or y[0] == x[0] or self.input is not None
        return same_channels and (
            "stride" in names or values.get("stride", 1) in (1, self.contract.fixed.get("stride"))
        )

    def strategy(self) -> Any:
        """Hypothesis' strategy of cases, small ones first."""
        from hypothesis import strategies as st

        contract, fixed = self.contract, self.contract.fixed

        @st.composite
        def cases(draw: Any) -> BlockCase:
            values = dict(fixed)
            stride = draw(st.sampled_from((1, 2))) if self._free("stride") else fixed.get("stride", 1)
            unit = self.unit if self.input is None else self._width(stride)
            for name in (n for n in contract.block.required if n not in values and n != "stride"):
                values[name] = draw(st.sampled_from((unit, 2 * unit, 3 * unit) if self.input is None else (unit,)))
            if "stride" in contract.block.arguments:
                values["stride"] = stride
            if self._free("groups"):
                values["groups"] = draw(st.sampled_from((1, 2)))
            if self.input is not None:
                return self.case(values, self.input, draw(st.sampled_from(BATCHES)))
            y = contract.out(values, input_of(contract, values, unit, (12, 12)))[0] or unit
            channels = draw(st.sampled_from((y, max(1, y // 2), 2 * y))) if "C" in self.how.names else y
            sides = draw(st.sampled_from(SIDES)), draw(st.sampled_from(SIDES))
            return self.case(values, input_of(contract, values, channels, sides), draw(st.sampled_from(BATCHES)))

        return cases()
