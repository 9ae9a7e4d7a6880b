"""Do two modules compute the same numbers? Runs both on the same data and measures the first place where they differ.

The comparison is made at a generic point: every parameter and buffer random and well scaled, none at 0 or 1. A fresh
batch norm (mean 0, variance 1, weight 1, bias 0) or a zero head would hide whole branches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Relative to the largest value of the tensor. Reordered float64 arithmetic differs by about 1e-13, the smallest real
# mistake seen by 1e-4; float32 noise stays below 1e-6 with TF32 off.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


@dataclass(frozen=True)
class Difference:
    """The largest difference of two tensors, relative to the largest expected value."""

    what: str
    relative: float  # nan or inf where a value is not finite or the shapes differ
    detail: str = ""

    def within(self, tolerance: float) -> bool:
        """NaN-safe: a comparison with NaN is no pass."""
        return self.relative <= tolerance


def compare(what: str, expected: Tensor | None, found: Tensor | None) -> Difference:
    """The difference of two tensors; a missing tensor on one side, other shapes or a non-finite value never pass."""
    if expected is None or found is None:
        if expected is None and found is None:
            return Difference(what, 0.0)
        missing = "expected" if expected is None else "found"
        return Difference(what, math.inf, f"{what}: the {missing} one is not there")
    if expected.shape != found.shape:
        return Difference(what, math.inf, f"{what}: shape {list(found.shape)}, expected {list(expected.shape)}")
    if expected.numel() == 0 or torch.equal(expected, found):
        finite = bool(torch.isfinite(expected).all()) if expected.is_floating_point() else True
        return Difference(what, 0.0 if finite else math.nan, "" if finite else f"{what}: not finite")
    expected, found = expected.detach().double(), found.detach().double()
    largest = float(expected.abs().max())
    difference = float((expected - found).abs().max())
    relative = difference / largest if largest else math.inf
    return Difference(what, relative, f"{what}: {_at(expected, found)}")


def _at(expected: Tensor, found: Tensor) -> str:
    index = int(torch.nan_to_num((expected - found).abs(), nan=math.inf).argmax())
    values = float(found.flatten()[index]), float(expected.flatten()[index])
    where = [int(i) for i in torch.unravel_index(torch.tensor(index), expected.shape)] if expected.dim() else []
    return f"{values[0]:.17g} at {where}, expected {values[1]:.17g}"


def generic_point(model: nn.Module, seed: int = 1) -> None:
    """Set every parameter and buffer to random, well-scaled values, none of them 0 or 1. Integers count to 3."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(tensor: Tensor, low: float, high: float) -> None:
        values = torch.empty(tensor.shape, dtype=torch.float32).uniform_(low, high, generator=generator)
        tensor.copy_(values)

    with torch.no_grad():
        for name, tensor in model.state_dict(keep_vars=True).items():
            last = name.rpartition(".")[2]
            if not tensor.is_floating_point():
                tensor.fill_(3)
            elif tensor.dim() > 1:
                bound = math.sqrt(6 / math.prod(tensor.shape[1:]))  # keeps the variance through a relu
                uniform(tensor, -bound, bound)
            elif last in ("bias", "running_mean"):
                uniform(tensor, -0.3, 0.3)
            else:  # scales and variances; below 1, so that sums of many branches stay in range
                uniform(tensor, 0.3, 0.9)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's generators at `seed` inside, as they were after."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@contextmanager
def exact_float32() -> Iterator[None]:
    """TF32 off inside, as it was after."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@dataclass
class Trace:
    """What one run of a module left: outputs by module name in the order of calls, gradients, and buffers."""

    output: Tensor
    modules: dict[str, Tensor]
    input_gradient: Tensor | None
    gradients: dict[str, Tensor | None]
    buffers: dict[str, Tensor]


def run(model: nn.Module, x: Tensor, train: bool, modules: set[str], seed: int = 2) -> Trace:
    """Run forward and backward once. `modules`: the names whose outputs are kept.

    The loss is the sum of the outputs with random weights, so that no gradient is zero by symmetry. Outputs are cloned
    in the hook: an in-place relu overwrites the norm's output behind it.
    """
    kept: dict[str, Tensor] = {}
    handles = []
    for name, module in model.named_modules():
        if name in modules:
            handles.append(module.register_forward_hook(_keep(kept, name)))
    x = x.clone().requires_grad_()
    model.train(train)
    model.zero_grad(set_to_none=True)
    try:
        with seeded(seed), exact_float32():
            output = model(x)
            weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
            (output * weights.to(output)).sum().backward()  # type: ignore[no-untyped-call]
    finally:
        for handle in handles:
            handle.remove()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    return Trace(output.detach(), kept, x.grad, gradients, dict(model.named_buffers()))


def _keep(kept: dict[str, Tensor], name: str):  # type: ignore[no-untyped-def]
    def hook(module: nn.Module, args: object, output: object) -> None:
        if isinstance(output, Tensor) and name not in kept:
            kept[name] = output.detach().clone()

    return hook


def differences(expected: Trace, found: Trace, train: bool) -> Iterator[Difference]:
    """Every tensor of two runs, in the order of the flow: modules, output, gradients, then buffers after a step."""
    for name, tensor in expected.modules.items():
        yield compare(f"output of {name}", tensor, found.modules.get(name))
    yield compare("output", expected.output, found.output)
    yield compare("gradient of the input", expected.input_gradient, found.input_gradient)
    for name in expected.gradients.keys() | found.gradients.keys():
        yield compare(f"gradient of {name}", expected.gradients.get(name), found.gradients.get(name))
    if train:
        for name in expected.buffers.keys() | found.buffers.keys():
            yield compare(f"{name} after a step", expected.buffers.get(name), found.buffers.get(name))


def shared_modules(a: nn.Module, b: nn.Module) -> set[str]:
    """The names of modules that both have, the root not counted."""
    return ({name for name, _ in a.named_modules()} & {name for name, _ in b.named_modules()}) - {""}


def image(shape: tuple[int, ...], batch: int, dtype: torch.dtype, device: torch.device, seed: int = 3) -> Tensor:
    """A batch of random images (batch, *shape), the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((batch, *shape), generator=generator, dtype=torch.float32).to(device, dtype)
