"""Do two modules compute the same numbers? Runs both on the same data and measures the first place where they differ.

They are compared at a generic point, where nothing hides a branch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from rv_check.errors import RvCheckError
from rv_check.graphs.differences import Slot
from rv_check.modules.generic_point import CHANCE, put, there
from rv_check.modules.inputs import Batch, batch_of
from rv_check.modules.record import tensors_of
from rv_check.modules.torch_state import exact_float32, seeded

# Relative to the largest value of the tensor. Reordered float64 arithmetic differs by about 1e-13, the smallest real
# mistake seen by 1e-4; float32 noise stays below 1e-6 with TF32 off.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}

# A gradient that is 0 by construction, as of a bias in front of a batch norm in train mode, is noise on both sides. So
# gradients are held against no less than this part of the largest one.
SMALLEST_GRADIENT = 1e-3

Places = tuple[str, ...]  # where tensors stand in what a module returns: `.logits`, `[0]`, or "" for all of it
WHOLE: Places = ("",)


@dataclass(frozen=True)
class TensorDifference:
    """The largest difference of two tensors, relative to the largest expected value."""

    what: str
    relative: float  # nan or inf where a value is not finite, or the shapes or types differ
    found: str = ""
    expected: str = ""
    module: str = ""  # the module to blame, where one is known
    decides: bool = True  # False for the output of a part, which only says where a difference begins

    def within(self, tolerance: float) -> bool:
        """NaN-safe: a comparison with NaN is no pass."""
        return self.relative <= tolerance


def compare(what: str, expected: Tensor | None, found: Tensor | None, floor: float = 0.0) -> TensorDifference:
    """The difference of two tensors; a missing tensor, another shape or type, a non-finite value never pass.

    Args: `floor` the least value that the difference is relative to.
    """
    if expected is None or found is None:
        words = ["nothing" if tensor is None else "a tensor" for tensor in (found, expected)]
        return TensorDifference(what, 0.0 if words[0] == words[1] else math.inf, words[0], words[1])
    if expected.shape != found.shape:
        return TensorDifference(what, math.inf, f"shape {list(found.shape)}", str(list(expected.shape)))
    if expected.dtype != found.dtype:
        return TensorDifference(what, math.inf, str(found.dtype), str(expected.dtype))
    if torch.equal(expected, found) and math.isfinite(largest_value(expected)):
        return TensorDifference(what, 0.0)
    wide = torch.complex128 if expected.is_complex() else torch.float64
    expected, found = expected.detach().to(wide), found.detach().to(wide)
    difference = (expected - found).abs()
    largest, most = max(float(expected.abs().max()), floor), float(difference.max())
    relative = most / largest if largest else math.inf if most else 0.0
    index = int(torch.nan_to_num(difference, nan=math.inf).argmax())
    where = [int(i) for i in torch.unravel_index(torch.tensor(index), expected.shape)] if expected.dim() else []
    values = [f"{tensor.flatten()[index].item():.17g}" for tensor in (found, expected)]
    return TensorDifference(what, relative, f"{values[0]} at {where}", values[1])


def compare_outputs(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], words: str = ""
) -> Iterator[TensorDifference]:
    """Each output against its counterpart, which stands in the same order; called by the expected place if several."""
    for (place, tensor), other in zip(expected.items(), found.values(), strict=True):
        name = f"output {place}" if len(expected) > 1 else "output"
        yield compare(f"{name}{words}", tensor, other)


def largest_value(tensor: Tensor) -> float:
    """The largest absolute value; nan where one is, and 0 of an empty tensor.

    It reads the tensor once and makes no other one: of a VGG's gradients that is a third of the time of a comparison.
    """
    if not tensor.numel():
        return 0.0
    low, high = torch.aminmax(tensor.detach().abs() if tensor.is_complex() else tensor.detach())
    return max(-float(low), float(high))


@dataclass
class Trace:
    """What one run of a module left: outputs by their places, those of modules by their names in the order of calls,
    gradients, and buffers.

    `input_gradients`: those of the other tensors that went in, by what they are called; `backward`: whether there was a
    backward pass; without one there are no gradients to compare.
    """

    outputs: dict[str, Tensor]
    modules: dict[str, Tensor]
    input_gradient: Tensor | None
    gradients: dict[str, Tensor | None]
    buffers: dict[str, Tensor]
    backward: bool = True
    input_gradients: dict[str, Tensor | None] = field(default_factory=dict)


def run(
    model: nn.Module,
    x: Tensor | Batch,
    train: bool,
    modules: Collection[str],
    places: Places = WHOLE,
    seed: int = CHANCE,
    *,
    backward: bool = True,
) -> Trace:
    """Run forward once, and backward. `modules`: the names whose outputs are kept; `places`: as for `forward`.

    The loss is the sum of the outputs with random weights, so that no gradient is zero by symmetry. Outputs are cloned
    in the hook: an in-place relu overwrites the norm's output behind it. The buffers that the run moved go back.
    """
    kept: dict[str, Tensor] = {}
    named = [(name, module) for name, module in model.named_modules() if name in modules]
    handles = [module.register_forward_hook(_keep(kept, name)) for name, module in named]
    data = batch_of(x).clone().each_fraction(Tensor.requires_grad_)
    state = model.state_dict()
    before = {name: state[name].clone() for name, _ in model.named_buffers() if name in state}
    model.train(train)
    model.zero_grad(set_to_none=True)
    try:
        with seeded(seed), exact_float32():
            outputs = forward(model, data, places)
            if backward:
                _backward(list(outputs.values()), seed)
    finally:
        for handle in handles:
            handle.remove()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    state = model.state_dict()  # anew, since a module may put another tensor in a buffer's place
    buffers = {name: state[name].clone() for name in before}
    for name, buffer in before.items():
        state[name].copy_(buffer)
    others = {where: data.tensors[where].grad for where in data.inputs.others}
    outputs = {place: y.detach() for place, y in outputs.items()}
    return Trace(outputs, kept, data.main.grad, gradients, buffers, backward, others)


def _backward(outputs: Sequence[Tensor], seed: int) -> None:
    """The backward pass of the sum of the outputs, each with random weights of its own.

    Some may have no gradient, as an input that is returned; where none has, torch says so.
    """
    numbers = [torch.view_as_real(y.resolve_conj()) if y.is_complex() else y for y in outputs]
    numbers = [y for y in numbers if y.is_floating_point()]
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(y.shape, generator=generator, dtype=torch.float32) for y in numbers]
    terms = [(y * w.to(y)).sum().double() for y, w in zip(numbers, weights, strict=True)]
    if terms:
        torch.stack(terms).sum().backward()  # type: ignore[no-untyped-call]


def forward(model: nn.Module, x: Tensor | Batch, places: Places = WHOLE) -> dict[str, Tensor]:
    """The outputs for `x`, by their places in what the model returns: `.logits`, `[0]`, or "" for all of it.

    Raises: RvCheckError where there is no tensor, and where `x` is not what it was before.
    """
    data = batch_of(x)
    given = data.clone()
    returned = given.call(model)
    tensors = dict(tensors_of(returned))
    for place in places:
        if place not in tensors:
            raise RvCheckError(
                f"it returns a {type(returned).__name__}, expected a tensor{' at ' + place if place else ''}"
            )
    if not given.equals(data):
        raise RvCheckError("it changes its input in place, expected an input that stays as it is")
    return {place: tensors[place] for place in places}


def output(model: nn.Module, x: Tensor | Batch, places: Places = WHOLE, seed: int = CHANCE) -> dict[str, Tensor]:
    """The outputs in eval mode, without gradients, and with the same chance each time. Raises: as `forward`."""
    with torch.no_grad(), seeded(seed), exact_float32():
        return forward(model.eval(), x, places)


def outputs(model: nn.Module, x: Tensor | Batch, seed: int = CHANCE) -> dict[str, Tensor]:
    """All tensors of the output in eval mode, by where they stand, as `output`. Raises: RvCheckError for none."""
    with torch.no_grad(), seeded(seed), exact_float32():
        found = {where: tensor.clone() for where, tensor in tensors_of(batch_of(x).clone().call(model.eval()))}
    if not found:
        raise RvCheckError("it returns no tensor")
    return found


class _Precision(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the types of floating point that results have."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, list | tuple) else [result]:
            if isinstance(one, Tensor) and one.is_floating_point() and one.dim():
                self.types.add(one.dtype)
        return result


def types_within(model: nn.Module, x: Tensor | Batch) -> set[torch.dtype]:
    """The types of floating point that a module computes in, whatever type its input is of. Raises: as `forward`."""
    precision = _Precision()
    with precision:
        output(model, x, ())
    return precision.types


def renamed(trace: Trace, slots: Mapping[str, Slot], like: Trace) -> Trace:
    """What a run left, by the names and in the shapes of another; what has no such name is left out."""

    def by_name(tensors: Mapping[str, Tensor | None]) -> Iterator[tuple[str, Tensor | None]]:
        for name, slot in slots.items():
            if slot.name in tensors:
                tensor, other = tensors[slot.name], (like.gradients | like.buffers).get(name)
                given = [(piece, one) for piece in slot.pieces if (one := tensors.get(piece.name)) is not None]
                if given and other is not None and (slot.steps or slot.own):
                    tensor = torch.zeros_like(other)
                    for piece, one in given:
                        put(tensor, piece.own, there(one, piece.steps))
                yield name, tensor

    gradients = dict(by_name(trace.gradients))
    buffers = {name: tensor for name, tensor in by_name(trace.buffers) if tensor is not None}
    return replace(trace, gradients=gradients, buffers=buffers)


def limited(trace: Trace, names: Collection[str]) -> Trace:
    """What a run left, of these parameters and buffers: a count of batches may have no counterpart."""
    gradients = {name: tensor for name, tensor in trace.gradients.items() if name in names}
    return replace(trace, gradients=gradients, buffers={n: t for n, t in trace.buffers.items() if n in names})


def _keep(kept: dict[str, Tensor], name: str) -> Callable[[nn.Module, object, object], None]:
    def hook(module: nn.Module, args: object, output: object) -> None:
        if isinstance(output, Tensor) and name not in kept:
            kept[name] = output.detach().clone()

    return hook


def differences(expected: Trace, found: Trace, train: bool) -> Iterator[TensorDifference]:
    """Every tensor of two runs: outputs in the order of the flow, gradients in that of backward, buffers after a step.

    The outputs of parts say where a difference begins, and decide nothing: a network may be cut into other parts.
    """
    for name, tensor in expected.modules.items():
        if name in found.modules:
            at = compare(f"output of {name}", tensor, found.modules[name])
            yield replace(at, module=name, decides=False)
    yield from compare_outputs(expected.outputs, found.outputs)
    if expected.backward:
        yield from _gradients(expected, found)
    if train:
        for name in expected.buffers | found.buffers:
            one, other = expected.buffers.get(name), found.buffers.get(name)
            what = f"{name} after a step"
            as_it_was = one is not None and other is not None and torch.equal(one, other)  # a mask may be infinite
            at = TensorDifference(what, 0.0) if as_it_was else compare(what, one, other)
            yield replace(at, module=name.rpartition(".")[0])


def _gradients(expected: Trace, found: Trace) -> Iterator[TensorDifference]:
    known = [gradient for gradient in expected.gradients.values() if gradient is not None]
    floor = SMALLEST_GRADIENT * max(map(largest_value, known), default=0.0)
    for name in reversed(list(expected.gradients | found.gradients)):
        at = compare(f"gradient of {name}", expected.gradients.get(name), found.gradients.get(name), floor)
        yield replace(at, module=name.rpartition(".")[0])
    yield compare("gradient of the input", expected.input_gradient, found.input_gradient)
    for where, gradient in expected.input_gradients.items():
        yield compare(f"gradient of the input {where}", gradient, found.input_gradients.get(where))


def shared_modules(a: nn.Module, b: nn.Module) -> set[str]:
    """The names of modules that both have, the root not counted, nor what is scripted and takes no hooks."""
    names = [
        {name for name, part in module.named_modules() if not isinstance(part, torch.jit.ScriptModule)}
        for module in (a, b)
    ]
    return (names[0] & names[1]) - {""}
