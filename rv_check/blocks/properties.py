"""What every residual block should do, each as a check on one case that can fail. Nothing here knows of a contract.

A property says nothing, returns words, or raises, as `blocks.trial` says.
"""

from __future__ import annotations

import copy
import io
import logging
import math
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rv_check.blocks.trial import Fails, Limit, NoSum, Split, Trial, Unfit, before, output, rank, shape
from rv_check.checks.findings import Level
from rv_check.costs.operations import operations
from rv_check.errors import CannotRun, RvCheckError
from rv_check.graphs.analyses import activations
from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Node, State, describe
from rv_check.graphs.network import At
from rv_check.modules import generic_point, trace
from rv_check.modules.observe import Subject
from rv_check.modules.torch_state import seeded
from rv_check.text import first_line, shown_shape

STACK = 16  # blocks in a stack, as many as ResNet-50 has
BOUNDS = (1e-2, 1e2)  # the least and most of the output's variance over the input's, of one block at its initialisation
STACKED = (1e-4, 1e4)  # the same of the variance, and of the norm of the gradient, through a stack
POINTS = range(1, 7)  # seeds: a relu that is dead at one of them has a gradient at another


def _hold(what: str, expected: Tensor | None, found: Tensor | None, tolerance: float, floor: float = 0.0) -> None:
    difference = trace.compare(what, expected, found, floor)
    if not difference.within(tolerance):
        by = f" by {difference.relative:.3g}" if math.isfinite(difference.relative) else ""
        raise Fails(f"{what} differs{by}", difference.found, difference.expected)


def illegal(trial: Trial) -> None:
    """An input of one channel more than it is made for raises, and so does a stride of 0."""
    channels, *sides = trial.x
    _raises(
        "an input of one channel more",
        trial.fresh,
        generic_point.image((channels + 1, *sides), 2, torch.float32, "cpu"),
    )
    if trial.still is not None:
        _raises("a stride of 0", trial.still, trial.image(dtype=torch.float32))


def _raises(what: str, make: Callable[[], nn.Module], x: Tensor) -> None:
    try:
        returned = output(make().eval(), x)
    except Exception:  # whatever: it is said, and not passed over
        return
    raise Fails(f"{what} is taken", f"gives {shown_shape(getattr(returned, 'shape', ()))}", "an error")


def cost(trial: Trial) -> str:
    """Parameters, multiply-adds and receptive field are within the budgets.

    Raises: Fails; CannotRun for an operation that no rule counts.
    """
    module = trial.fresh()
    params = sum(parameter.numel() for parameter in module.parameters())
    graph = Subject(module).observe(At(trial.x, batch=1), Form.AS_RUN)
    try:
        macs = sum(operation.macs for operation in operations(graph))
    except RvCheckError as error:
        raise CannotRun(error.message, details=error.details, expected=error.expected) from None
    words = f"{params:,} params, {macs:,} MACs at {shown_shape(trial.x)}"
    for limit in trial.case.limits:
        value = {"params": params, "macs": macs, "activations": activations(graph.nodes)}.get(limit.metric)
        value = _field(trial, limit) if value is None else value
        name = {"macs": "MACs", "receptive_field": "the receptive field"}.get(limit.metric, limit.metric)
        outside = (limit.least is not None and value < limit.least) or (limit.most is not None and value > limit.most)
        if outside:
            raise Fails(f"{name}: {value:,}, {limit.words}", f"{value:,}", f"{limit.words}{limit.value}")
    return words


def _field(trial: Trial, limit: Limit) -> int:
    """Pixels that a unit of the output sees, the longer side."""
    from rv_check.receptive_fields.formula import graph_field

    graph = trial.graph()
    try:
        field_ = graph_field(graph, next(iter(graph.outputs.values())))
    except RvCheckError as error:
        raise CannotRun(error.message, details=error.details, expected=error.expected) from None
    return int(max(field_.rows.size, field_.columns.size))


def _residual(trial: Trial) -> Split:
    try:
        return trial.split
    except Fails as error:
        raise NoSum from error


def shortcut(trial: Trial) -> None:
    """The identity where the shapes allow it, a projection only where they do not.

    Raises: Fails.
    """
    split = _residual(trial)
    allowed = trial.x == trial.case.out
    way = [describe(node) for node in split.graph.live if node in before(split.shortcut) and node.kind != "input"]
    words = ", ".join(way) or "the identity"
    if allowed and split.shortcut is not split.graph.input:
        raise Fails("the shortcut is no identity, where the shapes allow one", words, "the identity")
    if rank(split.shortcut)[0] > 1:
        raise Fails("there is no shortcut: every way has several convolutions", words, "a projection")
    if split.shortcut.nonnegative and split.shortcut is not split.graph.input:
        raise Fails("the shortcut ends in an activation", words, "a projection")


def residual(trial: Trial) -> None:
    """The branch is added, once; with its last weights at zero, the block is its shortcut and its last activation.

    Raises: Fails.
    """
    split = trial.split
    for branch in split.branches:
        if branch.nonnegative:
            raise Fails(
                f"the branch ends in {branch.kind} before the sum: it can only add",
                describe(branch),
                "a branch of either sign",
            )
    module, names = _zeroed(trial, split)
    x = trial.image()
    expected = _replayed(trial, split, module, x)
    what = f"with {', '.join(names)} at zero, the output against the shortcut alone"
    _hold(what, expected, output(module, x), trial.tolerance)


def highway(trial: Trial) -> None:
    """With the branch scaled to zero, the gradient of the input is that through the shortcut."""
    split = _residual(trial)
    module, names = _zeroed(trial, split)
    runs: list[Callable[[Tensor], Tensor]] = [lambda x: _replayed(trial, split, module, x), module]
    gradients = []
    for run in runs:
        x = trial.image().requires_grad_()
        y = run(x)
        weights = generic_point.image(tuple(y.shape[1:]), y.shape[0], y.dtype, "cpu", generic_point.CHANCE)
        (y * weights).sum().backward()  # type: ignore[no-untyped-call]
        gradients.append(x.grad)
    what = f"with {', '.join(names)} at zero, the input's gradient against that of the shortcut"
    _hold(what, gradients[0], gradients[1], trial.tolerance)


def _zeroed(trial: Trial, split: Split) -> tuple[nn.Module, list[str]]:
    """The module with the last weights of its branch at zero, and their names. Raises: Unfit."""
    module = trial.point()
    named = dict(module.named_parameters())
    names: list[str] = []
    for branch in split.branches:
        last = _last_weighted(branch)
        if last is None or "weight" not in last.tensors:
            raise Unfit
        states = [tensor for role, tensor in last.tensors.items() if role in ("weight", "bias")]
        if not all(isinstance(state, State) and state.name in named for state in states):
            raise Unfit
        names += [state.name for state in states if isinstance(state, State)]
    with torch.no_grad():
        for name in names:
            named[name].zero_()
    return module, names


def _last_weighted(node: Node) -> Node | None:
    """The last operation with weights on the main way to a node; of a product, on that of the value that is gated."""
    while not node.tensors:
        live = [feed for feed in node.inputs if not feed.fixed]
        gated = [feed for feed in live if all(feed in before(other) for other in live)]
        if not gated and len(live) != 1:
            return None
        node = (gated or live)[0]
        if node.kind == "input":
            return None
    return node


def _replayed(trial: Trial, split: Split, module: nn.Module, x: Tensor) -> Tensor:
    """`after(shortcut(x))`. Raises: Unfit where an operation is not known."""
    state = dict(module.named_parameters()) | dict(module.named_buffers())
    done: dict[Node, Tensor] = {split.graph.input: x}
    for node in split.graph.live:
        if node in before(split.shortcut) and node not in done:
            done[node] = _play(node, [done[feed] for feed in node.inputs if not feed.fixed], state)
    y = done[split.shortcut]
    for node in split.after:
        y = _play(node, [y], state)
    return y


def _play(node: Node, inputs: list[Tensor], state: Mapping[str, Tensor]) -> Tensor:
    """The operation, done again. Raises: Unfit."""
    a = node.attributes
    tensors = {}
    for role, tensor in node.tensors.items():
        if not isinstance(tensor, State):
            raise Unfit
        tensors[role] = generic_point.there(state[tensor.name], tensor.steps)
    if node.row.family == "activation" and len(inputs) == 1 and not tensors:
        activation: Tensor = getattr(torch.ops.aten, node.kind)(inputs[0], **a)
        return activation
    if node.kind == "conv" and len(inputs) == 1:
        pads = a["padding"]
        if len(pads) != 2:
            raise Unfit
        bias = tensors.get("bias")
        return F.conv2d(inputs[0], tensors["weight"], bias, a["stride"], pads, a["dilation"], a["groups"])
    if node.kind == "batchnorm" and a.get("statistics") == "running":
        mean, var = tensors["running_mean"], tensors["running_var"]
        return F.batch_norm(inputs[0], mean, var, tensors.get("weight"), tensors.get("bias"), eps=a["eps"])
    if node.kind == "avgpool" and a.get("divisor") is None:
        return F.avg_pool2d(inputs[0], a["kernel"], a["stride"], a["padding"], a["ceil_mode"], a["count_include_pad"])
    raise Unfit


# Gradients


def _backward(module: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    y = module(x)
    weights = generic_point.image(tuple(y.shape[1:]), y.shape[0], torch.float32, "cpu", generic_point.CHANCE).to(
        y.dtype
    )
    (y * weights).sum().backward()
    if x.grad is None:
        raise Fails("no gradient reaches the input", "none", "a gradient")
    return x.grad


def gradients(trial: Trial) -> None:
    """A gradient that is not zero reaches every parameter and the input.

    Raises: Fails.
    """
    zero: set[str] | None = None
    for seed in POINTS:
        module = trial.point(seed=seed)
        grad = _backward(module, trial.image(max(2, trial.case.batch), seed=seed))
        now = set() if bool(grad.any()) else {"the input"}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                raise Fails(f"{name} is frozen", "requires_grad=False", "True")
            if parameter.grad is None:
                raise Fails(f"no gradient reaches {name}", "none", "a gradient")
            if not bool(parameter.grad.any()):
                now.add(name)
        zero = now if zero is None else zero & now
        if not zero:
            return
    raise Fails(f"the gradient of {min(zero or ())} is zero, at {len(POINTS)} points", "0", "a gradient")


def finite(trial: Trial) -> None:
    """Outputs and gradients are finite in float32, in bfloat16 and under autocast.

    Raises: Fails.
    """
    for what, dtype, cast in (
        ("float32", torch.float32, False),
        ("bfloat16", torch.bfloat16, False),
        ("autocast", torch.float32, True),
    ):
        for training in (True, False):
            module = trial.fresh().to(dtype).train(training)
            with torch.autocast("cpu", torch.bfloat16, enabled=cast):
                try:
                    x = trial.image(max(2, trial.case.batch), dtype).requires_grad_()
                    y = module(x)
                    y.float().sum().backward()
                except Exception:
                    if what == "bfloat16":
                        continue  # `dtype` says so
                    raise
            tensors = [("the output", y), ("the gradient of the input", x.grad)]
            tensors += [(f"the gradient of {name}", p.grad) for name, p in module.named_parameters()]
            for name, tensor in tensors:
                if tensor is not None and not bool(torch.isfinite(tensor).all()):
                    mode = "train" if training else "eval"
                    raise Fails(f"{name} is not finite in {what}, {mode} mode", "inf or nan", "finite numbers")


def double_backward(trial: Trial) -> None:
    """A gradient of a gradient can be taken, and is finite.

    Raises: Fails.
    """
    module = trial.point()
    x = trial.image().requires_grad_()
    y = module(x)
    weights = generic_point.image(tuple(y.shape[1:]), y.shape[0], y.dtype, "cpu", generic_point.CHANCE)
    wanted = [x, *(p for p in module.parameters() if p.requires_grad)]
    first = torch.autograd.grad((y * weights).sum(), wanted, create_graph=True, allow_unused=True)
    total = sum((g.square().sum() for g in first if g is not None and g.requires_grad), torch.zeros(()))
    if not total.requires_grad:
        raise Fails("the gradient does not depend on the input and the weights", "a constant", "a function")
    x.grad = None
    # All of it: with inputs named, torch leaves out a function that has no second gradient.
    total.backward()  # type: ignore[no-untyped-call]
    for gradient in (x.grad, *(p.grad for p in module.parameters())):
        if gradient is not None and not bool(torch.isfinite(gradient).all()):
            raise Fails("a second gradient is not finite", "inf or nan", "finite numbers")


# Side effects


def keeps_input(trial: Trial) -> None:
    """Its input is as it was, in eval and in train mode.

    Raises: Fails.
    """
    for training in (False, True):
        module, x = trial.point().train(training), trial.image(max(2, trial.case.batch))
        before, version = x.clone(), x._version
        output(module, x)
        mode = "train" if training else "eval"
        if not torch.equal(before, x):
            raise Fails(f"it changes its input in place, in {mode} mode", "another input", "the input as it was")
        if x._version != version:
            raise Fails(f"it writes to its input, in {mode} mode", "written", "the input as it was")


def statistics(trial: Trial) -> None:
    """Eval mode changes no parameter and no buffer; train mode moves running statistics, once, and nothing else.

    Raises: Fails.
    """
    module, x = trial.point(), trial.image(max(2, trial.case.batch))
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    output(module, x)
    for name, tensor in module.state_dict().items():
        if not torch.equal(tensor, before[name]):
            raise Fails(f"{name} changes in eval mode", "another value", "the value as it was")
    output(module.train(), x)
    parameters = dict(module.named_parameters())
    for name, tensor in module.state_dict().items():
        changed = not torch.equal(tensor, before[name])
        last = name.rpartition(".")[2]
        if name in parameters and changed:
            raise Fails(f"{name} changes in a forward pass", "another value", "the value as it was")
        if last == "num_batches_tracked" and int(tensor) != int(before[name]) + 1:
            times = int(tensor) - int(before[name])
            raise Fails(f"{name} counts {times} batches in one step: the norm is used {times} times", str(times), "1")
        if last in ("running_mean", "running_var") and not changed:
            raise Fails(f"{name} stays as it is in train mode", "the value as it was", "a step")


def deterministic(trial: Trial) -> None:
    """In eval mode the same input gives the same output, whatever came in between."""
    module, x = trial.point(), trial.image()
    first = output(module, x).clone()
    second = output(module, x).clone()
    _hold("the output of the same input, asked twice", first, second, 0.0)
    output(module, trial.image(seed=generic_point.INPUT + 1))
    _hold("the output of the same input, after another one", first, output(module, x), 0.0)


# Batches and layouts


def batch_independence(trial: Trial) -> None:
    """In eval mode an image gives what it gives alone."""
    module, x = trial.point(), trial.image(max(2, trial.case.batch))
    together = output(module, x)
    for i in range(len(x)):
        _hold(f"image {i} of the batch against itself alone", output(module, x[i : i + 1]), together[i : i + 1],
              trial.tolerance)  # fmt: skip


def permutation(trial: Trial) -> None:
    """In eval mode the images of a batch stand in no order."""
    module, x = trial.point(), trial.image(max(3, trial.case.batch))
    order = torch.arange(len(x)).roll(1)
    _hold("the output of a batch in another order", output(module, x)[order], output(module, x[order]),
          trial.tolerance)  # fmt: skip


def channels_last(trial: Trial) -> None:
    """The layout of memory makes no difference."""
    module, x = trial.point(), trial.image()
    expected = output(module, x)
    found = output(module, x.to(memory_format=torch.channels_last))
    _hold("the output of a channels_last input", expected, found, trial.tolerance)
    found = output(module.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last))
    _hold("the output in channels_last, the weights too", expected, found, trial.tolerance)


def non_contiguous(trial: Trial) -> None:
    """An input that is a view, its rows and columns swapped in memory or every second one, makes no difference."""
    module, x = trial.point(), trial.image()
    expected = output(module, x)
    swapped = x.transpose(2, 3).contiguous().transpose(2, 3)
    wide = torch.zeros((*x.shape[:3], 2 * x.shape[3]), dtype=x.dtype)
    wide[..., ::2] = x
    for what, view in (("a transposed", swapped), ("a strided", wide[..., ::2])):
        _hold(f"the output of {what} view", expected, output(module, view), trial.tolerance)


# Types and devices


def dtype(trial: Trial) -> None:
    """The output has the type of the input and the weights.

    Raises: Fails.
    """
    for one in (torch.float64, torch.bfloat16):
        returned = output(trial.point(one), trial.image(dtype=one))
        if returned.dtype != one:
            raise Fails(f"the output of {one} is {returned.dtype}", str(returned.dtype), str(one))


def device(trial: Trial) -> None:
    """It computes where its input and its weights are; asked on the meta device.

    Raises: Fails; CannotRun where it decides by the values of tensors.
    """
    module = trial.fresh().to("meta").eval()
    try:
        returned = output(module, trial.image().float().to("meta"))
    except (RuntimeError, NotImplementedError) as error:
        if "item()" in str(error) or "data-dependent" in str(error) or "is_nonzero" in str(error):
            raise CannotRun(f"it decides by the values of tensors: {error}") from None
        raise
    if returned.device.type != "meta":
        raise Fails(f"the output is on {returned.device}", str(returned.device), "the device of its input")


# What becomes of a module


def copies(trial: Trial) -> None:
    """A deep copy and an unpickled one compute the same, with weights of their own.

    Raises: Fails.
    """
    module, x = trial.point(), trial.image()
    expected = output(module, x)

    def unpickled() -> Any:
        file = io.BytesIO()
        pickle.dump(module, file)
        file.seek(0)
        return pickle.load(file)

    for what, make in (("a deep copy", lambda: copy.deepcopy(module)), ("an unpickled copy", unpickled)):
        try:
            other = make()
        except Exception as error:
            raise Fails(f"{what} cannot be made: {type(error).__name__}: {first_line(error)}") from error
        _hold(f"the output of {what}", expected, output(other, x), 0.0)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        _hold(f"the output after {what} was changed", expected, output(module, x), 0.0)


def export(trial: Trial) -> None:
    """`torch.export` gives a program of the same values."""
    module, x = trial.point(torch.float32), trial.image(dtype=torch.float32)
    with _old_settings():
        program = torch.export.export(module, (x,))
    _hold("the output of the exported program", output(module, x), output(program.module(), x),
          trace.TOLERANCE[torch.float32])  # fmt: skip


def compiled(trial: Trial) -> None:
    """`torch.compile` gives the same values, in one graph."""
    module, x = trial.point(torch.float32), trial.image(dtype=torch.float32)
    with _old_settings():
        found = output(torch.compile(module, fullgraph=True), x)
    _hold("the output of the compiled block", output(module, x), found, trace.TOLERANCE[torch.float32])


@contextmanager
def _old_settings() -> Iterator[None]:
    """What torch.export and torch.compile need, and no log of theirs.

    They read TF32's older switch, which raises where the newer ones are "ieee". It means nothing on a cpu.
    """
    quiet = logging.root.manager.disable
    logging.disable()
    cudnn: Any = torch.backends.cudnn
    before = [part.fp32_precision for part in (cudnn.conv, cudnn.rnn)]
    cudnn.conv.fp32_precision = cudnn.rnn.fp32_precision = "tf32"
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            yield
    finally:
        cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = before
        logging.disable(quiet)


def scale(trial: Trial) -> str:
    """At its initialisation it keeps the variance within bounds, alone and stacked, and so does the gradient.

    Raises: Fails.
    """
    module = trial.fresh().train()
    x = trial.image(16, torch.float32)
    alone = float(output(module, x).var() / x.var())
    words = f"variance out/in {alone:.3g}"
    if not BOUNDS[0] <= alone <= BOUNDS[1]:
        raise Fails(f"{words} at initialisation", f"{alone:.3g}", f"{BOUNDS[0]:g} to {BOUNDS[1]:g}")
    with seeded(0):
        stack = trial.stack()
    if not stack:
        return words
    x = x.clone().requires_grad_()
    y = nn.Sequential(*stack).train()(x)
    weights = generic_point.image(tuple(y.shape[1:]), y.shape[0], y.dtype, "cpu", generic_point.CHANCE)
    (y * weights).sum().backward()
    through = float(y.detach().var() / x.detach().var())
    gradient = float(x.grad.norm() / weights.norm()) if x.grad is not None else 0.0
    words += f"; {len(stack)} stacked: variance {through:.3g}, gradient norm in/out {gradient:.3g}"
    if not all(STACKED[0] <= value <= STACKED[1] for value in (through, gradient)):
        raise Fails(f"{words} at initialisation", f"{through:.3g}, {gradient:.3g}", f"{STACKED[0]:g} to {STACKED[1]:g}")
    return words


@dataclass(frozen=True)
class Property:
    """A property by name. `examples`: cases at most; None: as many as asked for. `residual`: it speaks of a sum."""

    name: str
    level: Level
    function: Callable[[Trial], str | None]
    examples: int | None = None
    residual: bool = False
    asked: bool = False  # only where it is asked for by name

    @property
    def words(self) -> str:
        """The first line of its docstring."""
        return (self.function.__doc__ or "").partition("\n")[0].rstrip(".")


PROPERTIES: tuple[Property, ...] = (
    Property("shape", "structure", shape),
    Property("illegal", "structure", illegal, 4),
    Property("cost", "structure", cost, 6),
    Property("residual", "numbers", residual, residual=True),
    Property("shortcut", "structure", shortcut, residual=True),
    Property("highway", "numbers", highway, residual=True),
    Property("gradients", "numbers", gradients),
    Property("finite", "numbers", finite, 6),
    Property("double_backward", "numbers", double_backward, 6),
    Property("input", "numbers", keeps_input),
    Property("statistics", "numbers", statistics),
    Property("deterministic", "numbers", deterministic),
    Property("batch_independence", "numbers", batch_independence),
    Property("permutation", "numbers", permutation),
    Property("channels_last", "numbers", channels_last),
    Property("non_contiguous", "numbers", non_contiguous),
    Property("dtype", "numbers", dtype, 4),
    Property("device", "structure", device, 4),
    Property("copies", "numbers", copies, 4),
    Property("export", "numbers", export, 2),
    Property("scale", "numbers", scale, 3),
    Property("compile", "numbers", compiled, 2, asked=True),
)


def by_name() -> dict[str, Property]:
    """The properties by name."""
    return {one.name: one for one in PROPERTIES}
