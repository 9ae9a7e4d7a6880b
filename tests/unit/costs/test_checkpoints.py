"""What torch.utils.checkpoint runs again in the backward pass: bytes that are kept and multiply-adds, as torch says."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.utils.checkpoint as torch_checkpoint
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, checkpoint_sequential
from torch.utils.flop_counter import FlopCounterMode

from rv_check.costs.memory import kept_for_backward
from rv_check.costs.operations import operations
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Graph
from rv_check.graphs.network import At
from rv_check.modules.observe import Subject
from rv_check.ops.kinds import KINDS
from tests.unit.measured_memory import measured_for_backward

Forward = Callable[..., Tensor]


class Net(nn.Module):
    """Three parts, of which a function makes what it likes."""

    def __init__(self, forward: Forward, *parts: nn.Module):
        super().__init__()
        self.parts, self.function = nn.ModuleList(parts), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


def conv(channels: int = 4, out: int = 4) -> nn.Sequential:
    """A convolution, a norm and an activation, three times."""
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(),
        nn.Conv2d(out, out, 3, padding=1), nn.BatchNorm2d(out), nn.ReLU(inplace=True),
    )  # fmt: skip


def mlp(last: nn.Module | None = None) -> nn.Sequential:
    """Two linear layers; the last one keeps its input alone, so that it is not run again."""
    return nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6), *([last] if last else []))


class Residual(nn.Module):
    """A block of a transformer without attention."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(6), mlp()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.mlp(self.norm(x))
        return y


def each(x: Tensor, *parts: nn.Module, reentrant: bool) -> Tensor:
    """The first part as it is, the others run again."""
    x = parts[0](x)
    for part in parts[1:]:
        x = checkpoint(part, x, use_reentrant=reentrant)
    return x


def nested(x: Tensor, a: nn.Module, b: nn.Module, c: nn.Module, reentrant: bool) -> Tensor:
    """A part within a part: the inner one is run a third time."""

    def inner(x: Tensor) -> Tensor:
        return c(checkpoint(b, x, use_reentrant=reentrant))  # type: ignore[no-any-return]

    return checkpoint(inner, a(x), use_reentrant=reentrant)  # type: ignore[no-any-return]


def by_another_name(x: Tensor, a: nn.Module, b: nn.Module, reentrant: bool) -> Tensor:
    """As transformers keeps it, and by the module; with a second value that is no tensor."""
    again = partial(checkpoint, use_reentrant=reentrant)
    x = again(lambda x, times: b(x) * times, a(x), 2)
    return torch_checkpoint.checkpoint(b, x, use_reentrant=reentrant)  # type: ignore[no-any-return]


def sequential(x: Tensor, *parts: nn.Module, reentrant: bool) -> Tensor:
    """All but the last segment are run again."""
    return checkpoint_sequential(nn.Sequential(*parts[1:]), 2, parts[0](x), use_reentrant=reentrant)  # type: ignore[no-any-return]


def of_two(x: Tensor, a: nn.Module, b: nn.Module, reentrant: bool) -> Tensor:
    """Two inputs, one of them a view of what another operation has kept, and one that gets no gradient."""
    y = a(x).relu()
    z = checkpoint(lambda y, x: b(y.flatten(1) * 2) + x.sum(), y.unflatten(1, (2, 3)), x, use_reentrant=reentrant)
    return z + y  # type: ignore[no-any-return]


def no_gradient(x: Tensor, a: nn.Module, b: nn.Module, reentrant: bool) -> Tensor:
    """The image itself has no gradient, and so nothing of a reentrant part has one."""
    return b(checkpoint(a, x, use_reentrant=reentrant))  # type: ignore[no-any-return]


LINE, MAP = (6,), (4, 8, 8)
NETS: dict[str, tuple[Callable[..., Tensor], tuple[nn.Module, ...], tuple[int, ...]]] = {
    "convolutions": (each, (conv(), conv(), conv()), MAP),
    "an mlp": (each, (mlp(), mlp(), mlp()), LINE),
    "an mlp with a dropout": (each, (mlp(), mlp(nn.Dropout(0.3)), mlp(nn.ReLU())), LINE),
    "residual blocks": (each, (Residual(), Residual(), Residual()), LINE),
    "a part in a part": (nested, (mlp(), mlp(), mlp()), LINE),
    "a part in a part, of convolutions": (nested, (conv(), conv(), conv()), MAP),
    "by another name": (by_another_name, (mlp(), mlp()), LINE),
    "in segments": (sequential, (conv(), conv(), conv(), conv()), MAP),
    "two inputs": (of_two, (mlp(), mlp()), LINE),
    "an input without a gradient": (no_gradient, (mlp(), mlp()), LINE),
}
every = pytest.mark.parametrize("name", NETS)
both = pytest.mark.parametrize("reentrant", [False, True], ids=["stopping", "reentrant"])


def net(name: str, reentrant: bool) -> nn.Module:
    """A module in train mode."""
    function, parts, _ = NETS[name]
    return Net(partial(function, reentrant=reentrant), *parts).train()


def observed(module: nn.Module, size: tuple[int, ...], batch: int = 2) -> Graph:
    """What it does in train mode."""
    return Subject(module).observe(At(size, batch=batch, training=True), Form.AS_RUN)


@every
@both
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_bytes_that_are_kept(name: str, reentrant: bool) -> None:
    """What the part is given, and nothing of what is in it, to the byte."""
    size = NETS[name][2]
    graph = observed(net(name, reentrant), size)
    found = sum(bytes_ for _, bytes_ in kept_for_backward(graph))
    assert found == measured_for_backward(net(name, reentrant), torch.ones((2, *size)))
    plain = {node: None for node in graph.nodes if node.rerun is None}
    assert len(plain) < len(graph.nodes)


@every
@both
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_multiply_adds_of_a_step(name: str, reentrant: bool) -> None:
    """Forward and backward are what torch counts when it runs them, the forward that is run again with them."""
    size = NETS[name][2]
    done = operations(observed(net(name, reentrant), size, batch=1))
    module = net(name, reentrant)
    with FlopCounterMode(display=False) as counter:
        module(torch.ones((1, *size))).sum().backward()
    assert sum(one.macs + one.backward for one in done) == counter.get_total_flops() / 2
    assert sum(one.again for one in done) > 0 or name == "an input without a gradient"


def test_by_hand() -> None:
    """Two linear layers of 6 -> 12 -> 6, run again: 72 multiply-adds, not 144, since the last keeps its input alone."""
    module = Net(partial(each, reentrant=False), nn.Linear(6, 6), mlp())
    done = {one.name: one for one in operations(observed(module, LINE, batch=1))}
    assert {name: one.again for name, one in done.items() if one.macs} == {
        "parts.0": 0,
        "parts.1.0": 72,
        "parts.1.2": 0,
    }
    assert [one.backward for name, one in done.items() if one.macs] == [36, 72 + 72 + 72, 72 + 72]
    # the image, and what the part is given: 6 numbers each
    assert sum(bytes_ for _, bytes_ in kept_for_backward(observed(module, LINE, batch=1))) == 4 * (6 + 6)
    to_its_end = Net(partial(each, reentrant=True), nn.Linear(6, 6), mlp())
    assert sum(one.again for one in operations(observed(to_its_end, LINE, batch=1))) == 72 + 72


def test_run_to_its_end_where_that_is_asked_for() -> None:
    """Without an early stop all of the part is run again."""

    def whole(x: Tensor, a: nn.Module, b: nn.Module) -> Tensor:
        with torch_checkpoint.set_checkpoint_early_stop(False):
            return checkpoint(b, a(x), use_reentrant=False)  # type: ignore[no-any-return]

    module = Net(whole, mlp(), mlp())
    done = operations(observed(module, LINE, batch=1))
    assert sum(one.again for one in done) == 2 * 72
    with FlopCounterMode(display=False) as counter:
        module(torch.ones(1, 6)).sum().backward()
    assert sum(one.macs + one.backward for one in done) == counter.get_total_flops() / 2


def test_what_a_function_holds_on_to_is_kept() -> None:
    """A value that the part uses without being given it is alive, though autograd knows nothing of it."""
    alive: list[weakref.ref[Tensor]] = []

    def held(x: Tensor, a: nn.Module, b: nn.Module) -> Tensor:
        y, z = a(x), (x + 1).neg()
        alive.append(weakref.ref(z))
        return checkpoint(lambda y: b(y + z), y, use_reentrant=False)  # type: ignore[no-any-return]

    module = Net(held, nn.Linear(6, 6), nn.Linear(6, 6))
    output = module(torch.ones(2, 6))
    gc.collect()
    assert alive[-1]() is not None
    del output
    found = sum(bytes_ for _, bytes_ in kept_for_backward(observed(module, LINE)))
    assert found == 3 * 4 * 2 * 6  # the image, y and z
    assert measured_for_backward(module, torch.ones(2, 6)) == 2 * 4 * 2 * 6


def test_in_eval_mode_nothing_is_lost() -> None:
    """Forward alone counts once, whatever would be run again."""
    plain = Net(lambda x, *parts: parts[2](parts[1](parts[0](x))), *NETS["an mlp"][1])
    for reentrant in (False, True):
        graph = Subject(net("an mlp", reentrant)).observe(At(LINE, batch=1), Form.AS_RUN)
        assert sum(one.macs for one in operations(graph)) == sum(
            one.macs for one in operations(observed(plain, LINE, batch=1))
        )


def test_error_a_policy_of_its_own() -> None:
    """What a context_fn keeps is not known, and neither bytes nor multiply-adds are told."""

    def selective(x: Tensor, a: nn.Module, b: nn.Module) -> Tensor:
        contexts = partial(torch_checkpoint.create_selective_checkpoint_contexts, [torch.ops.aten.addmm.default])
        return checkpoint(b, a(x), use_reentrant=False, context_fn=contexts)  # type: ignore[no-any-return]

    graph = observed(Net(selective, mlp(), mlp()), LINE)
    for ask in (lambda: list(kept_for_backward(graph)), lambda: operations(graph)):
        with pytest.raises(
            RvCheckError, match=r"what a checkpoint with a context_fn keeps, at parts\.1.*, is not known"
        ):
            ask()


def test_what_is_measured_can_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that knows of no part that is run again says more bytes and fewer multiply-adds; so does a wrong row."""
    size = NETS["an mlp"][2]
    graph = observed(net("an mlp", reentrant=False), size)
    known = sum(bytes_ for _, bytes_ in kept_for_backward(graph)), sum(one.backward for one in operations(graph))
    monkeypatch.setitem(KINDS, "gelu", replace(KINDS["gelu"], keeps="nothing"))
    assert sum(one.backward for one in operations(graph)) == known[1]  # the last layer keeps its input
    monkeypatch.undo()
    for node in graph.ran:
        node.rerun = None
    forgotten = sum(bytes_ for _, bytes_ in kept_for_backward(graph)), sum(one.backward for one in operations(graph))
    assert forgotten[0] > known[0]
    assert forgotten[1] < known[1]
