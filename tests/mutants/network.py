"""A network as a flat list of steps that can be changed at will, and the ordinary `nn.Module` that executes them.

It shares only the expanded tree with rv_check: building and shapes are its own, so that a mistake in
`rv_check.modules.build` cannot hide in what it is judged by. A value is called by the name of the step that gives it,
or `input`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property, reduce
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rv_check.archs.arch import Arch
from rv_check.archs.tree import Item, Join, Layer, Module, Repeat, Seq

Shape = tuple[int, ...]  # the shape of one image, without the batch axis
Arguments = tuple[tuple[str, Any], ...]
INPUT = "input"


class DoesNotFit(Exception):
    """A network that cannot run: a step does not take the shapes that it is given."""


@dataclass(frozen=True)
class Step:
    """One operation: it reads values and gives one, which has its name.

    `shares`: the step whose module it calls instead of an own one; `ties`: the step whose parameters its module has.
    `called`: False for what is only registered. `registered`: False for a module that is kept in a plain list.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    arguments: Arguments = ()
    block: str = ""
    stage: str = ""
    shares: str = ""
    ties: str = ""
    called: bool = True
    registered: bool = True

    def __getitem__(self, name: str) -> Any:
        """The value of an argument."""
        return dict(self.arguments)[name]

    def get(self, name: str, default: Any) -> Any:
        """The value of an argument, or the default where it is not given."""
        return dict(self.arguments).get(name, default)

    def changed(self, **arguments: Any) -> Step:
        """The same with other arguments."""
        return replace(self, arguments=tuple(sorted({**dict(self.arguments), **arguments}.items())))

    def into(self, kind: str, **arguments: Any) -> Step:
        """Another operation at its place."""
        return replace(self, kind=kind, arguments=tuple(sorted(arguments.items())))


@dataclass(frozen=True)
class Block:
    """The steps of one residual block, or of what stands in its place in a network without: a unit that is repeated.

    `main` and `skip` are the steps of the two branches; without a sum all are `main` up to the end.
    """

    name: str
    stage: str
    steps: tuple[Step, ...]
    reads: str  # the value that comes in
    gives: str  # the value that goes out
    sum: Step | None
    main: tuple[Step, ...]
    skip: tuple[Step, ...]


@dataclass(frozen=True)
class Network:
    """The steps in the order of the flow. Every change gives a new network; none is made in place."""

    arch: str
    input: Shape
    steps: tuple[Step, ...]
    output: str

    @staticmethod
    def of(arch: Arch) -> Network:
        """The network that an arch describes; steps have the names of its listing."""
        steps: list[Step] = []
        output = _collect(arch.tree.root.seq, "", 0, {}, INPUT, steps)
        return Network(arch.name, arch.input, tuple(steps), output)

    @cached_property
    def index(self) -> Mapping[str, int]:
        """The position of every step by name."""
        return {step.name: at for at, step in enumerate(self.steps)}

    def step(self, name: str) -> Step:
        """The step of that name."""
        return self.steps[self.index[name]]

    def readers(self, name: str) -> list[Step]:
        """The steps that read a value."""
        return [step for step in self.steps if name in step.inputs]

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of every value. Raises: DoesNotFit."""
        found: dict[str, Shape] = {INPUT: self.input}
        for step in self.steps:
            read = tuple(found[name] for name in step.inputs)
            found[step.name] = _shape(step.kind, step.arguments, read) if step.called else read[0]
        return found

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks in the order of the flow."""
        names = dict.fromkeys(step.block for step in self.steps if step.block)
        return tuple(self._block(name) for name in names)

    def _block(self, name: str) -> Block:
        steps = tuple(step for step in self.steps if step.block == name)
        own = {step.name for step in steps}
        read = next(value for step in steps for value in step.inputs if value not in own)
        gives = next(s.name for s in reversed(steps) if s.name == self.output or self._is_read_outside(s.name, own))
        joins = [step for step in steps if len(step.inputs) > 1]
        if not joins:
            return Block(name, steps[0].stage, steps, read, gives, None, steps, ())
        main, skip = (self._before(value, own) for value in joins[0].inputs)
        return Block(name, steps[0].stage, steps, read, gives, joins[0], main, skip)

    def _is_read_outside(self, name: str, own: set[str]) -> bool:
        return any(step.name not in own for step in self.readers(name))

    def _before(self, value: str, own: set[str]) -> tuple[Step, ...]:
        """The steps among `own` that a value comes from."""
        needed = {value}
        for step in reversed(self.steps):
            if step.name in needed:
                needed.update(step.inputs)
        return tuple(step for step in self.steps if step.name in needed & own)

    # Changes.

    def put(self, *steps: Step) -> Network:
        """The network with these steps in place of those of the same names."""
        new = {step.name: step for step in steps}
        return self.with_steps(new.get(step.name, step) for step in self.steps)

    def retarget(self, name: str, slot: int, value: str) -> Network:
        """The network with one input of a step reading another value."""
        step = self.step(name)
        inputs = (*step.inputs[:slot], value, *step.inputs[slot + 1 :])
        return self.put(replace(step, inputs=inputs))

    def redirect(self, old: str, new: str, but: Iterable[str] = ()) -> Network:
        """The network with every reader of one value reading another instead, except the steps named in `but`."""
        kept = {*but}
        steps = (
            step
            if step.name in kept or old not in step.inputs
            else replace(step, inputs=tuple(new if value == old else value for value in step.inputs))
            for step in self.steps
        )
        return Network(self.arch, self.input, tuple(steps), new if self.output == old else self.output)

    def drop(self, *names: str) -> Network:
        """Without these steps; who read one reads what it read first."""
        net = self
        for name in names:
            net = net.redirect(name, net.step(name).inputs[0])
        return net.with_steps(step for step in net.steps if step.name not in names)

    def insert(self, *steps: Step, before: str = "") -> Network:
        """The network with these steps in front of a step, or at the end; nobody reads them yet."""
        at = self.index[before] if before else len(self.steps)
        return self.with_steps((*self.steps[:at], *steps, *self.steps[at:]))

    def after(self, step: Step) -> Network:
        """The network with this step right behind what it reads; every reader of that reads the step instead."""
        read = step.inputs[0]
        at = self.index[read] + 1 if read != INPUT else 0
        net = self.redirect(read, step.name)
        return net.with_steps((*net.steps[:at], step, *net.steps[at:]))

    def before(self, step: Step, reader: str, slot: int = 0) -> Network:
        """The network with this step right in front of one reader of what it reads."""
        return self.insert(step, before=reader).retarget(reader, slot, step.name)

    def with_steps(self, steps: Iterable[Step]) -> Network:
        """The network with these steps and the same output."""
        return Network(self.arch, self.input, tuple(steps), self.output)

    # The module.

    def module(self, renamed: bool = False) -> nn.Module:
        """An ordinary module, freshly initialised as torch does it.

        Args: `renamed` other names for everything; else the names are those of the steps.
        Raises: DoesNotFit.
        """
        shapes = self.shapes
        paths = _other_names(self.steps) if renamed else {step.name: step.name for step in self.steps}
        root = Part()
        made: dict[str, Any] = {}
        calls: dict[str, Any] = {}
        for step in self.steps:
            read = tuple(shapes[name] for name in step.inputs)
            call = made[step.shares] if step.shares else KINDS[step.kind](*read, **dict(step.arguments))
            made[step.name] = call
            for name in dict(call.named_parameters()) if step.ties else ():
                setattr(call, name, getattr(made[step.ties], name))
            calls[step.name] = paths[step.name] if isinstance(call, nn.Module) else call
            parent, _, own = paths[step.name].rpartition(".")
            if isinstance(call, nn.Parameter):
                root.part(parent).register_parameter(own, call)
            elif isinstance(call, nn.Module) and step.registered:
                root.part(parent).add_module(own, call)
            elif isinstance(call, nn.Module):
                calls[step.name] = len(root.loose)
                root.loose.append(call)
        flow = [step for step in self.steps if step.called]
        root.gives = self.output
        _arrange(root, flow, paths, calls, "", self.output)
        return root


class Part(nn.Module):
    """A module that calls children and functions in turn. Shapes: (N, *x) -> (N, *y)."""

    def __init__(self) -> None:
        super().__init__()
        self.plan: list[tuple[str, Any, tuple[str, ...]]] = []  # what it gives, what is called, what that reads
        self.reads = INPUT
        self.gives = ""
        self.loose: list[nn.Module] = []

    def part(self, path: str) -> Part:
        """The part of that dotted name, made where it is not there."""
        found = self
        for name in path.split(".") if path else ():
            if name not in found._modules:
                found.add_module(name, Part())
            found = getattr(found, name)
        return found

    def forward(self, x: Tensor) -> Tensor:
        values = {self.reads: x}
        for name, target, read in self.plan:
            if isinstance(target, str):
                target = self.get_submodule(target)
            elif isinstance(target, int):
                target = self.loose[target]
            values[name] = target(*[values[value] for value in read])
        return values[self.gives]


def _arrange(
    root: Part, flow: list[Step], paths: Mapping[str, str], calls: Mapping[str, Any], prefix: str, output: str
) -> None:
    """Give every part that is one stretch of the flow, with one value in and one out, a plan of its own."""

    def entries(part: Part, steps: list[Step], at: str, base: str) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
        for within, grouped in groupby(steps, lambda step: _component(paths[step.name], at)):
            group = list(grouped)
            if not within:
                for step in group:
                    call = calls[step.name]
                    yield step.name, call.removeprefix(base) if isinstance(call, str) else call, step.inputs
                continue
            inner = f"{at}{within}."
            ends = _ends(group, flow, paths, inner, output)
            if ends is None or any(isinstance(calls[step.name], int) for step in group):
                yield from entries(part, group, inner, base)
                continue
            child = root.part(inner[:-1])
            child.reads, child.gives = ends
            child.plan = list(entries(child, group, inner, inner))
            yield ends[1], inner[:-1].removeprefix(base), (ends[0],)

    root.plan = list(entries(root, flow, prefix, prefix))


def _component(path: str, at: str) -> str:
    """The name of the part right below `at` that a step lies in, or nothing where it lies in `at` itself."""
    return path.removeprefix(at).rpartition(".")[0].partition(".")[0]


def _ends(
    group: list[Step], flow: list[Step], paths: Mapping[str, str], inner: str, output: str
) -> tuple[str, str] | None:
    """The value that a part reads and the one that it gives, where that is all that binds it to the others."""
    own = {step.name for step in group}
    if any(paths[step.name].startswith(inner) and step.name not in own for step in flow):
        return None
    read = {value for step in group for value in step.inputs} - own
    given = {value for step in flow if step.name not in own for value in step.inputs} | {output}
    given &= own
    return (read.pop(), given.pop()) if len(read) == len(given) == 1 else None


def _other_names(steps: Iterable[Step]) -> dict[str, str]:
    """Names that say nothing of the spec's: parts and layers are counted within their part."""
    known: dict[str, str] = {"": ""}
    taken: dict[str, int] = {}
    for step in steps:
        parts = step.name.split(".")
        for depth in range(1, len(parts) + 1):
            old = ".".join(parts[:depth])
            if old not in known:
                parent = known[".".join(parts[: depth - 1])]
                word = f"{step.kind}_op" if depth == len(parts) else "piece"
                number = taken[f"{parent}/{word}"] = taken.get(f"{parent}/{word}", 0) + 1
                known[old] = f"{parent}.{word}{number}".removeprefix(".")
    return known


# From the tree.


def _collect(seq: Seq, prefix: str, position: int, indices: Mapping[str, int], value: str, steps: list[Step]) -> str:
    """Add the steps of a sequence that reads `value`; gives the value that comes out."""
    for item in seq.items:
        node, start = item.node, len(steps)
        match node:
            case Layer():
                arguments = {f.name: getattr(node.op, f.name) for f in fields(node.op)}
                name = prefix + _own_name(item, position, indices)
                steps.append(Step(name, node.op.name, (value,), tuple(sorted(arguments.items()))))
                value = name
            case Module():
                name = prefix + _own_name(item, position, indices)
                value = _collect(node.seq, f"{name}.", 0, {}, value, steps)
                if node.label:
                    _mark(steps, start, "stage" if _has_block(node.seq) else "block", name)
            case Join():
                outputs, at = [], position
                for _, branch in node.branches:
                    outputs.append(_collect(branch, prefix, at, indices, value, steps))
                    at += branch.slots
                value = prefix + node.kind
                steps.append(Step(value, node.kind, tuple(outputs)))
            case Repeat():
                for turn in range(node.times):
                    first = len(steps)
                    within = {**indices, node.index: node.first + turn} if node.index else indices
                    value = _collect(node.seq, prefix, position + turn * node.seq.slots, within, value, steps)
                    _mark(steps, first, "block", steps[first].name)
            case Seq():
                value = _collect(node, prefix, position, indices, value, steps)
                if any(isinstance(inner.node, Repeat) for inner in node.items):
                    _mark(steps, start, "stage", steps[start].name)
        position += node.slots
    return value


def _own_name(item: Item, position: int, indices: Mapping[str, int]) -> str:
    if item.name is None:
        return str(position)
    return item.name if isinstance(item.name, str) else item.name.text(indices)


def _has_block(seq: Seq) -> bool:
    """Whether a block stands in a sequence, at any depth."""
    for item in seq.items:
        match item.node:
            case Module():
                if item.node.label or _has_block(item.node.seq):
                    return True
            case Repeat():
                if _has_block(item.node.seq):
                    return True
            case Seq():
                if _has_block(item.node):
                    return True
    return False


def _mark(steps: list[Step], start: int, what: str, name: str) -> None:
    """Say of the steps from `start` on that they are in that block or stage, where they are in none yet."""
    for at in range(start, len(steps)):
        steps[at] = replace(steps[at], **{what: getattr(steps[at], what) or name})


# What the steps are.


@cache
def _shape(kind: str, arguments: Arguments, read: tuple[Shape, ...]) -> Shape:
    """The shape of what a step gives. Raises: DoesNotFit."""
    if kind in JOINS and len({*read}) > 1:
        raise DoesNotFit(f"{kind} of {read}")
    try:
        with torch.device("meta"):
            call = KINDS[kind](*read, **dict(arguments))
            if isinstance(call, nn.Module):
                call.eval()
            y = call(*[torch.empty(2, *shape) for shape in read])
    except (RuntimeError, ValueError) as error:
        raise DoesNotFit(f"{kind} of {read}: {error}") from error
    if 0 in y.shape:
        raise DoesNotFit(f"{kind} of {read} gives nothing")
    return tuple(y.shape[1:])


def _conv(x: Shape, out: int, kernel: Any, **rest: Any) -> nn.Module:
    return nn.Conv2d(x[0], out, kernel, **rest)


def _linear(x: Shape, out: int, bias: bool) -> nn.Module:
    return nn.Linear(x[-1], out, bias)


class FrozenBatchNorm(nn.BatchNorm2d):
    """A batch norm that uses its running statistics in training, too."""

    def train(self, mode: bool = True) -> nn.Module:
        return super().train(False)


def _batchnorm(x: Shape, eps: float = 1e-5, momentum: float | None = 0.1, frozen: bool = False, **rest: Any) -> Any:
    if frozen:
        return FrozenBatchNorm(x[0], eps, momentum, **rest).eval()
    return (nn.BatchNorm2d if len(x) == 3 else nn.BatchNorm1d)(x[0], eps, momentum, **rest)


def _maxpool(x: Shape, kernel: Any, stride: Any, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False) -> Any:
    return nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode)


def _avgpool(x: Shape, kernel: Any, stride: Any, padding: Any = 0, **rest: Any) -> nn.Module:
    return nn.AvgPool2d(kernel, stride, padding, **rest)


def _without_shape(cls: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    return lambda x, **arguments: cls(**arguments)


def _join(function: Callable[..., Tensor]) -> Callable[..., Any]:
    return lambda *read: function


def _sum(*values: Tensor) -> Tensor:
    return reduce(torch.add, values)


def _sum_in_place(first: Tensor, second: Tensor) -> Tensor:
    return first.add_(second)


def _product(*values: Tensor) -> Tensor:
    return reduce(torch.mul, values)


class Scale(nn.Module):
    """x times a constant."""

    def __init__(self, by: float):
        super().__init__()
        self.by = by

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _reversed_channels(x: Tensor) -> Tensor:
    return x.flip(1)


class PaddedIdentity(nn.Module):
    """The shortcut without parameters: every second pixel, new channels zero (He et al. 2015, option A)."""

    def __init__(self, x: Shape, out: int, stride: int):
        super().__init__()
        self.more, self.stride = out - x[0], stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))


class AlwaysDropout(nn.Module):
    """Dropout that forgot to ask whether it is training."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p)


class StochasticDepth(nn.Module):
    """Zeroes whole images with probability p in training (Huang et al. 2016)."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = x.new_empty(len(x), *[1] * (x.dim() - 1)).bernoulli_(1 - self.p)
        return x * kept / (1 - self.p)


KINDS: dict[str, Callable[..., Any]] = {
    "conv": _conv,
    "linear": _linear,
    "batchnorm": _batchnorm,
    "groupnorm": lambda x, groups: nn.GroupNorm(groups, x[0]),
    "instancenorm": lambda x: nn.InstanceNorm2d(x[0], affine=True),
    "relu": _without_shape(nn.ReLU),
    "relu6": _without_shape(nn.ReLU6),
    "silu": _without_shape(nn.SiLU),
    "gelu": _without_shape(nn.GELU),
    "leaky_relu": _without_shape(nn.LeakyReLU),
    "sigmoid": _without_shape(nn.Sigmoid),
    "softmax": lambda x: nn.Softmax(1),
    "log_softmax": lambda x: nn.LogSoftmax(1),
    "maxpool": _maxpool,
    "avgpool": _avgpool,
    "adaptive_avgpool": lambda x, out: nn.AdaptiveAvgPool2d(out),
    "adaptive_maxpool": lambda x, out: nn.AdaptiveMaxPool2d(out),
    "flatten": _without_shape(nn.Flatten),
    "dropout": _without_shape(nn.Dropout),
    "dropout1d": _without_shape(nn.Dropout1d),
    "dropout2d": _without_shape(nn.Dropout2d),
    "always_dropout": _without_shape(AlwaysDropout),
    "stochastic_depth": _without_shape(StochasticDepth),
    "sum": _join(_sum),
    "sum_in_place": _join(_sum_in_place),
    "product": _join(_product),
    "maximum": _join(torch.maximum),
    "detach": _join(torch.detach),
    "channels_last": _join(_channels_last),
    "reversed_channels": _join(_reversed_channels),
    "scale": _without_shape(Scale),
    "padded_identity": PaddedIdentity,
    "parameter": lambda x: nn.Parameter(torch.randn(x[0])),
}
JOINS = {"sum", "sum_in_place", "product", "maximum"}
