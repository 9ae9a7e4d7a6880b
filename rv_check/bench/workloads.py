"""What is timed, made: a module at a point, its pass ready to be run again and again, and what one run of it costs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rv_check.bench.cases import BenchCase, Point
from rv_check.bench.timing import Workload
from rv_check.costs import operations as counts
from rv_check.costs import roofline
from rv_check.errors import RvCheckError
from rv_check.graphs.builder import Form
from rv_check.graphs.network import At, Network
from rv_check.graphs.of_arch import ArchNetwork
from rv_check.language.inputs import Inputs, one_image
from rv_check.modules.build import build
from rv_check.modules.copies import copy_of
from rv_check.modules.inputs import Batch, batch_of, random_batch
from rv_check.modules.named import load_module
from rv_check.modules.network import ModuleNetwork
from rv_check.modules.observe import Subject
from rv_check.modules.processes import ALONE, Ranks
from rv_check.modules.reference import build_reference
from rv_check.modules.torch_state import seeded

HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}
BYTES = {"float32": 4, "tf32": 4, "float16": 2, "bfloat16": 2, "autocast": 2}  # bytes of a number as computed
CAPTURE_WARM_UP = 3  # iterations on a side stream before a capture, as torch's notes on CUDA graphs have it
MOMENTUM = 0.9
OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "momentum": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=MOMENTUM),
    "adam": torch.optim.Adam,
}


# Modules


def module_of(case: BenchCase) -> nn.Module:
    """The case's module, freshly made or a copy, on the CPU in float32. Raises: RvCheckError, CannotRun."""
    subject = case.subject
    with seeded(0):
        if subject.arch is None:
            candidate = load_module(subject.name, subject.arguments)
            return candidate.module if candidate.fresh else copy_of(candidate.module)
        built: nn.Module = build_reference(subject.arch) if subject.by_reference else build(subject.arch)
        return built


def placed(module: nn.Module, point: Point) -> nn.Module:
    """The module on the point's device, with its types of numbers and memory format."""
    module = module.to(device=point.device, dtype=HALF.get(point.dtype))
    if point.format == "channels_last":
        module = module.to(memory_format=torch.channels_last)
    return module


def images(point: Point, takes: Inputs | None = None) -> Batch:
    """A batch of noise, (N, *input), as the point has it. Args: `takes` what goes in, one image unless given."""
    inputs = one_image(point.input) if takes is None else takes.at(point.input)
    batch = random_batch(inputs, point.batch, HALF.get(point.dtype, torch.float32), point.device, seed=0)
    return batch.each(_last) if point.format == "channels_last" else batch


def _last(x: Tensor) -> Tensor:
    """Images with their channels last in memory."""
    return x.to(memory_format=torch.channels_last) if x.dim() == 4 else x


# Passes


class Pass:
    """A pass of a module over a batch. The outputs of a run are kept until `prepare` lets them go, outside its time."""

    def __init__(
        self, model: Any, x: Tensor | Batch, autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    ):
        self.model, self.x, self.autocast = model, batch_of(x), autocast
        self.y: Tensor | None = None

    def prepare(self) -> None:
        self.y = None

    def run(self) -> None:
        raise NotImplementedError

    def move(self) -> None:
        """Give all tensors of the module another place in memory."""
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            tensor.data = tensor.data.clone()

    def forward(self) -> Tensor:
        """What the module gives. Raises: RvCheckError where that is no tensor."""
        with self.autocast():
            y = self.x.call(self.model)
        if not isinstance(y, Tensor):
            raise RvCheckError(f"the module gives a {type(y).__name__}", expected="one tensor, to be timed")
        return y


class Inference(Pass):
    """Forward in eval mode and inference mode."""

    def run(self) -> None:
        with torch.inference_mode():
            self.y = self.forward()


class Forward(Pass):
    """Forward in train mode, with what autograd keeps."""

    def run(self) -> None:
        self.y = self.forward()


class Backward(Pass):
    """The backward pass alone: gradients of all parameters, from a gradient of the output that is there already."""

    def __init__(
        self, model: Any, x: Tensor | Batch, autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    ):
        super().__init__(model, x, autocast)
        self.gradient: Tensor | None = None

    def prepare(self) -> None:
        self.y = None
        self.model.zero_grad(set_to_none=True)
        self.y = self.forward()
        if self.gradient is None:
            self.gradient = torch.ones_like(self.y)

    def run(self) -> None:
        assert self.y is not None
        torch.autograd.backward(self.y, self.gradient)


class TrainingStep(Pass):
    """A training step: forward, loss, backward, optimiser. The learning rate is 0, so that no run changes the next."""

    def __init__(
        self,
        model: Any,
        x: Tensor | Batch,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
        optimiser: str = "momentum",
        captured: bool = False,
    ):
        super().__init__(model, x, autocast)
        more = {"capturable": True} if captured and optimiser == "adam" else {}
        self.optimiser = OPTIMISERS[optimiser](model.parameters(), lr=0.0, **more)
        images = self.x.main
        self.target = torch.zeros(len(images), dtype=torch.long, device=images.device)

    def prepare(self) -> None:
        self.optimiser.zero_grad(set_to_none=True)

    def move(self) -> None:
        super().move()
        for state in self.optimiser.state.values():
            state.update({name: x.clone() for name, x in state.items() if isinstance(x, Tensor)})

    def run(self) -> None:
        y = self.forward()
        loss = nn.functional.cross_entropy(y, self.target) if y.dim() == 2 else y.float().square().mean()
        torch.autograd.backward(loss)
        self.optimiser.step()


PASSES: dict[str, type[Pass]] = {"inference": Inference, "forward": Forward, "backward": Backward, "step": TrainingStep}


class Graphed:
    """A pass captured in a CUDA graph, so that a run is one launch. The images and results stay where they are.

    As torch's notes on whole-network capture have it: a few iterations on a side stream, gradients set to None, then
    the capture; each replay writes gradients in place of adding to them. Of a backward pass alone the forward pass is
    a graph of its own in the same pool, replayed before each run.
    """

    def __init__(self, inner: Pass):
        self.inner = inner
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(CAPTURE_WARM_UP):
                inner.prepare()
                inner.run()
        torch.cuda.current_stream().wait_stream(stream)
        self.before: torch.cuda.CUDAGraph | None = None
        self.graph = torch.cuda.CUDAGraph()
        pool = None
        if isinstance(inner, Backward):
            inner.y = None
            inner.model.zero_grad(set_to_none=True)
            self.before = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.before):
                inner.y = inner.forward()
            pool = self.before.pool()
        else:
            inner.prepare()
        with torch.cuda.graph(self.graph, pool=pool):
            inner.run()

    def prepare(self) -> None:
        if self.before is not None:
            self.before.replay()

    def run(self) -> None:
        self.graph.replay()


class Together:
    """A workload that all processes begin at one time."""

    def __init__(self, inner: Workload, ranks: Ranks):
        self.inner, self.ranks = inner, ranks

    def prepare(self) -> None:
        """Its own preparation, then the others."""
        self.inner.prepare()
        self.ranks.wait()

    def run(self) -> None:
        """The shared step."""
        self.inner.run()


@dataclass
class Made:
    """A workload with the module that it runs."""

    workload: Workload
    module: nn.Module
    x: Batch


def make(module: nn.Module, point: Point, ranks: Ranks = ALONE, takes: Inputs | None = None) -> Made:
    """The workload of a module at a point, which `ranks` share. Args: `takes` what goes in, one image unless given.

    Raises: RvCheckError where the module does not run there, with the lines of its own that say why; whatever says
    that memory ran out stays as it is.
    """
    module = placed(module, point)
    module.train(point.pass_ != "inference")
    if point.pass_ != "inference" and not any(parameter.requires_grad for parameter in module.parameters()):
        raise RvCheckError("no parameter of the module takes a gradient", expected="--pass inference")
    x = images(point, takes)
    called: Any = ranks.wrap(module)
    if point.mode == "compile":
        called = torch.compile(called)
    kind = torch.device(point.device).type
    autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
    if point.dtype == "autocast":
        autocast = lambda: torch.autocast(kind)  # noqa: E731
    if point.pass_ == "step":
        inner: Pass = TrainingStep(called, x, autocast, point.optimiser, captured=point.mode == "graph")
    else:
        inner = PASSES[point.pass_](called, x, autocast)
    workload = Graphed(inner) if point.mode == "graph" else inner
    return Made(Together(workload, ranks) if ranks.size > 1 else workload, module, x)


# What a run costs


@dataclass(frozen=True)
class PassCost:
    """What a run over the whole batch takes. `moved`: bytes of a forward pass, each operand once; None of others.

    `least`: seconds on a device of a given rate and bandwidth, None of passes with a backward one.
    """

    macs: int
    moved: int | None
    params: int
    operations: tuple[roofline.OperationCost, ...]

    def least(self, rate: float, bandwidth: float) -> float | None:
        """Seconds by the roofline, operation by operation."""
        if self.moved is None:
            return None
        return sum(operation.seconds(rate, bandwidth) for operation in self.operations)


def cost(case: BenchCase, module: nn.Module) -> PassCost:
    """What a run of the case takes, from the spec, or from the module as it runs on meta.

    Raises: RvCheckError for an operation that no rule counts.
    """
    point = case.point
    network, image = _network(case, module), case.point.input
    training = point.pass_ != "inference"
    done = counts.operations(network.graph(At(image, 1, training), Form.AS_RUN))
    forward, backward = sum(one.macs for one in done), sum(one.backward for one in done)
    macs = {"backward": backward, "step": forward + backward}.get(point.pass_, forward) * point.batch
    params = sum(parameter.numel() for parameter in module.parameters())
    if point.pass_ in ("backward", "step"):
        return PassCost(macs, None, params, ())
    graph = network.graph(At(image, point.batch, training), Form.AS_RUN)
    operations = tuple(roofline.costs(graph, BYTES[point.dtype]))
    return PassCost(macs, sum(one.moved for one in operations), params, operations)


def _network(case: BenchCase, module: nn.Module) -> Network:
    if case.subject.arch is not None:
        return ArchNetwork(case.subject.arch)
    observed = Subject(copy.deepcopy(module).cpu().float(), takes=case.subject.takes)
    return ModuleNetwork(observed, case.subject.name, does_not="cannot be observed at")
