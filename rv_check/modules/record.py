"""The op graph of a module that is ours to run, as it runs: every operator with its arguments, inputs and parameters.

A module is run once, on the meta device where nothing is computed, under a dispatch mode, which sees what torch is
asked to do below all Python: layers and functional calls, subclasses, wrappers and traced modules alike.
"""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import HigherOrderOperator
from torch.nn.parameter import is_lazy
from torch.utils._python_dispatch import TorchDispatchMode

from rv_check.errors import Place
from rv_check.graphs.builder import Builder, Form, Site
from rv_check.graphs.graph import Graph, Node, TensorShape
from rv_check.graphs.network import At
from rv_check.language.inputs import Inputs, one_image
from rv_check.modules import aten, meta
from rv_check.modules.autograd import Autograd, functions_told
from rv_check.modules.branches import VARIANTS
from rv_check.modules.calls import CallsFollowed, TablesTold, step_by_step
from rv_check.modules.constants import Constant
from rv_check.modules.inputs import Batch, batch_of, empty_batch, is_fraction, random_batch, uniform
from rv_check.modules.reruns import Reruns
from rv_check.modules.running import RunningPart, run_module
from rv_check.ops.kinds import kind_of

Geometry = tuple[tuple[int, ...], tuple[int, ...], int, torch.dtype]
OF_PYTHON = (torch.float64, torch.int64, torch.bool, torch.complex128)  # the types that torch gives Python's numbers
OVERWRITES = ("copy", "fill", "zero")  # they work in place, and what was there is not read
PARTS = ("split", "split_with_sizes", "unbind", "chunk", "unsafe_split", "unsafe_chunk", "tensor_split")


class NotACopy(Exception):
    """A module cannot be copied, or its copy uses what is the original's."""


def record(
    module: nn.Module,
    at: At,
    builder: Builder,
    foreign: Set[int] = frozenset(),
    default: str = "meta",
    raised: Callable[[Graph], None] = lambda seen: None,
    originals: Mapping[int, Tensor] | None = None,
    inputs: Inputs | None = None,
) -> Graph:
    """Run a module that is ours to run, and return the graph of what it did.

    Args: `default` the device of a module without tensors; `raised` is told what was seen until the module raised;
    `originals` the tensors, with values, that others in the module are copies of, by the copies' ids; `inputs` what
    goes in, one image unless given.

    Raises: what the module raises; NotACopy where it uses one of the tensors in `foreign`, by their ids.
    """
    module.train(at.training)
    tensors = [*module.parameters(), *module.buffers()]
    device = tensors[0].device if tensors else torch.device(default)
    dtype = dtype_of(module)
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        data = data_at(at, inputs, dtype, device)
        materialise(module, data)
        # What needs a gradient is known where autograd runs, as it does in training.
        stack.enter_context(torch.set_grad_enabled(builder.form is Form.AS_RUN and at.training))
        recorder = Recorder(module, data, builder, foreign, originals or {})
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(_without_compiling())
        stack.enter_context(recorder.where.following(module))
        stack.enter_context(TablesTold(recorder, device.type))
        if builder.form is Form.AS_RUN:
            stack.enter_context(CallsFollowed(recorder))
        if recorder.autograd.are_followed:
            stack.enter_context(functions_told(recorder))
        stack.enter_context(recorder)
        try:
            output = run_module(module, data)
        except Exception:
            raised(recorder.until_now())
            raise
    return recorder.graph(output)


def dtype_of(module: nn.Module) -> torch.dtype:
    """The type of numbers that a module computes in."""
    tensors = (*module.parameters(), *module.buffers())
    return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)


def materialise(module: nn.Module, data: Tensor | Batch) -> None:
    """Run a module once where it makes its parameters when it first runs."""
    if any(map(is_lazy, (*module.parameters(), *module.buffers()))):
        training = module.training
        with torch.no_grad():
            batch_of(data).call(module.eval())
        module.train(training)


def _without_compiling() -> AbstractContextManager[Any]:
    """Parts that are compiled run as they were written. Without them torch's compiler is not even imported."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def tensors_of(output: Any, where: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in what a module returns, each with where it stands: `.logits`, `[0]`, `['out']`."""
    if isinstance(output, Tensor):
        yield where, output
    elif isinstance(output, Mapping):
        for name, value in output.items():
            attribute = isinstance(name, str) and hasattr(output, name) and not hasattr(dict, name)
            yield from tensors_of(value, f"{where}.{name}" if attribute else f"{where}[{name!r}]")
    elif isinstance(output, list | tuple):
        names = getattr(output, "_fields", None)
        for index, value in enumerate(output):
            yield from tensors_of(value, f"{where}.{names[index]}" if names else f"{where}[{index}]")
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        for field in dataclasses.fields(output):
            yield from tensors_of(getattr(output, field.name), f"{where}.{field.name}")


def data_at(at: At, inputs: Inputs | None, dtype: torch.dtype, device: torch.device | str = "cpu") -> Batch:
    """What a module is given there: the same numbers each time, since what it does may depend on them."""
    inputs = inputs if inputs is not None else one_image(at.input)
    if torch.device(device).type == "meta":
        return empty_batch(inputs, at.batch, dtype, device)
    return random_batch(inputs, at.batch, dtype, device, draw=uniform).each_fraction(VARIANTS[at.image][1])


def _input_nodes(data: Batch) -> list[Node]:
    """The values that go in, the main one first; of the others it is known which argument they are."""
    main = data.inputs.main
    nodes = []
    for where in (main, *data.inputs.others):
        tensor = data.tensors[where]
        known = {} if is_fraction(tensor) else {"dtype": str(tensor.dtype)}
        known |= {} if where == main else {"of": where}
        nodes.append(Node("input", (), tuple(tensor.shape), known, name="input" if where == main else where))
    return nodes


class _Storage:
    """What stands in one storage: the value last written, and the views of it that were made since."""

    def __init__(self, whole: Geometry):
        self.whole = whole
        self.views: dict[Geometry, Node] = {}
        self.state = ""  # the parameter or buffer whose memory it is


def _geometry(tensor: Tensor) -> Geometry:
    return tuple(tensor.shape), tuple(tensor.stride()), int(tensor.storage_offset()), tensor.dtype


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes every operator, in normal form. In-place operators and views are followed through the memory they share."""

    supports_higher_order_operators = True

    def __init__(
        self, module: nn.Module, data: Batch, builder: Builder, foreign: Set[int], originals: Mapping[int, Tensor]
    ):
        super().__init__()  # type: ignore[no-untyped-call]
        self.builder = builder
        self.others, self.originals = foreign, originals
        self.memory: dict[int, _Storage] = {}
        self.results: dict[Node, bool] = {}  # what operators gave, and whether that is a view of what is there
        self.used: set[Node] = set()  # which of it was used
        self.moved: set[str] = set()
        self.asked: dict[Place | None, None] = {}  # where Python asked for a value
        self.by_image: dict[Place | None, None] = {}  # where what is done depends on those of the input
        self.kept: list[Tensor] = []  # so that no address is used twice
        self.where = RunningPart()
        self.made: dict[int, Tensor] = {}  # the values of tensors that were made of Python's numbers, by their ids
        self.called = ""  # the function of torch's that was called, where that is asked for
        self.parameters: set[str] = set()
        self.frozen: set[str] = set()
        self.dtypes: dict[str, str] = {}
        self.state: dict[str, TensorShape] = {}
        self.aliases: dict[str, str] = {}
        self.names: dict[int, str] = {}
        self.reruns = Reruns(self.read, run_module.__code__, builder.form)
        self.register(module)
        self.autograd = Autograd(builder.form, self.parameters - self.frozen)
        self.inputs = _input_nodes(data)
        self.input = self.inputs[0]
        for tensor, node in zip((data.main, *data.others), self.inputs, strict=True):
            self.keep(tensor, node)

    # What a tensor holds

    def register(self, module: nn.Module) -> None:
        """Know parameters and buffers by their names."""
        saved = module.state_dict(keep_vars=True)
        named: list[tuple[str, Tensor, bool]] = [
            (name, p, True) for name, p in module.named_parameters(remove_duplicate=False)
        ]
        named += [(name, t, False) for name, t in module.named_buffers(remove_duplicate=False)]
        for name, tensor, is_parameter in named:
            if is_parameter or name in saved:
                self.state[name] = tuple(tensor.shape)
            if is_parameter:
                self.parameters.add(name)
                self.frozen.update(() if tensor.requires_grad else (name,))
            self.dtypes[name] = str(tensor.dtype)
            first = self.names.setdefault(id(tensor), name)
            self.kept.append(tensor)
            if first != name:
                self.aliases[name] = first
            elif tensor.untyped_storage()._cdata not in self.memory or _geometry(tensor) not in self.at(tensor).views:
                self.keep(tensor, Node("state", shape=tuple(tensor.shape), name=name))
                self.at(tensor).state = name

    def at(self, tensor: Tensor) -> _Storage:
        """The memory of a tensor."""
        return self.memory.setdefault(tensor.untyped_storage()._cdata, _Storage(_geometry(tensor)))

    def keep(self, tensor: Tensor, node: Node) -> None:
        """A tensor that an operator returned holds this value."""
        self.kept.append(tensor)
        storage = tensor.untyped_storage()
        if storage._cdata not in self.memory and storage.nbytes() != tensor.nbytes:
            node.stored = storage.nbytes() // tensor.itemsize
        self.at(tensor).views[_geometry(tensor)] = node
        node.dtype = node.dtype or str(tensor.dtype)

    def write(self, tensor: Tensor, node: Node) -> None:
        """An operator wrote this value into a tensor, and so into whatever shares its memory."""
        memory, geometry = self.at(tensor), _geometry(tensor)
        if memory.state:
            self.moved.add(memory.state)
            self.used.add(node)
        if self.builder.form is Form.AS_RUN:
            node = self.in_place(self.value(memory, geometry), node)
        if tensor.numel() != _numel(memory.whole):
            whole = self.value(memory, memory.whole)
            node = self.builder.make("write", whole, node, shape=whole.shape, of=memory.whole[:3], at=geometry[:3])
            node.dtype, geometry = whole.dtype, memory.whole
        memory.whole = geometry
        memory.views = {geometry: node}

    def in_place(self, before: Node, node: Node) -> Node:
        """A value that was written where another one was: it lies there, and what was there before it is gone."""
        if node.dtype:  # a tensor held it already: it was copied
            node = self.builder.make("write", before, node, shape=node.shape, at=())
        node.within, node.dtype = before, before.dtype
        return node

    def read(self, tensor: Tensor) -> Node:
        """The value that a tensor holds."""
        if tensor.untyped_storage()._cdata not in self.memory:
            self.keep(tensor, self.foreign(tensor))
        return self.value(self.at(tensor), _geometry(tensor))

    def value(self, memory: _Storage, geometry: Geometry) -> Node:
        """What is seen of a memory through a view."""
        if geometry not in memory.views:
            source = memory.whole if memory.whole in memory.views else next(iter(memory.views))
            node = memory.views[source]
            if geometry[3] == source[3] and _dense(geometry) and _dense(source) and _numel(geometry) == _numel(source):
                memory.views[geometry] = self.builder.reshape(node, geometry[0])
            else:
                of = source[:3] if geometry[3] == source[3] else str(geometry[3])  # read as other numbers
                memory.views[geometry] = self.builder.make("view", node, shape=geometry[0], of=of, at=geometry[:3])
            memory.views[geometry].dtype = str(geometry[3])
        return memory.views[geometry]

    def foreign(self, tensor: Tensor) -> Node:
        """A tensor that no operator made and that is not registered: a number, or somebody's constant or layer.

        Raises: NotACopy where it is one of those that are not ours.
        """
        if id(tensor) in self.others:
            raise NotACopy("the copy uses a parameter of the original")
        original = self.originals.get(id(tensor), self.made.get(id(tensor), tensor))
        is_kept = self.autograd.are_followed and not (tensor.dim() == 0 and tensor.dtype in OF_PYTHON)
        if tensor.numel() == 1 and not original.is_meta and not is_kept:
            return Node("constant", shape=tuple(tensor.shape), attributes={"value": original.item()})
        is_known = not original.is_meta and not isinstance(original, nn.Parameter)  # a layer that is not registered
        values = {"values": Constant(original.clone())} if is_known else {}
        return Node("unregistered", (), tuple(tensor.shape), values, name=self.where.name)

    # Operators

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if isinstance(func, HigherOrderOperator):
            with self:
                return called_in_turn(func, args)
        kwargs = kwargs or {}
        space, _, name = func._schema.name.partition("::")
        stem = name.rstrip("_") if not name.startswith("_") else name
        if space != "aten":
            stem = f"{space}::{name}"  # somebody else's, which may do another thing than torch's of that name
        if stem not in aten.READERS and func._can_decompose():
            with self, self.autograd.unseen():
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        if stem == "mkldnn_rnn_layer":
            with self, self.autograd.unseen():
                return step_by_step(*args, **kwargs)
        arguments: dict[str, Any] = {}
        written: list[Tensor] = []
        for at, schema in enumerate(func._schema.arguments):
            given = args[at] if at < len(args) else kwargs.get(schema.name, schema.default_value)
            if schema.alias_info is not None and schema.alias_info.is_write:
                written += [given] if isinstance(given, Tensor) else given or []
                if schema.is_out:
                    continue
            overwritten = schema.name == "self" and stem in OVERWRITES and written
            arguments[schema.name] = self.values(given, func.is_view) if not overwritten else None
        result = meta.run(func, args, kwargs)
        if stem in ("_to_copy", "to") and isinstance(result, Tensor) and result.dtype == args[0].dtype:
            arguments["dtype"] = None  # it may be named, and be the one that the tensor has
        if depends_on_values(func, stem, args) and any(sees(self.read(one), self.inputs) for one in tensors_in(args)):
            self.by_image[self.where.line()] = None
        self.note(stem, arguments, written, result)
        return result

    def values(self, given: Any, is_moved: bool = False) -> Any:
        """An argument, with values of the graph for tensors. Args: `is_moved` whether what reads it gives a view."""
        if isinstance(given, Tensor):
            node = self.read(given)
            self.used.add(node)
            return node if is_moved else self.autograd.of(given, node, self.builder)
        if isinstance(given, list | tuple) and any(isinstance(one, Tensor) for one in given):
            return [self.values(one, is_moved) for one in given]
        return given

    def note(self, name: str, arguments: dict[str, Any], written: list[Tensor], result: Any) -> None:
        """Make the operation and remember which tensors hold what it gave."""
        results = [one for one in (result if isinstance(result, list | tuple) else [result]) if isinstance(one, Tensor)]
        if not results and not written:  # it answers a question about a tensor
            nodes = [one for one in arguments.values() if isinstance(one, Node)]
            if name in ("_local_scalar_dense", "equal", "is_nonzero") and not all(map(_is_given, nodes)):
                self.asked[self.where.line()] = None
            return
        where = self.where
        site = Site(where.name, where.line(), where.caller, self.reruns.innermost(), self.autograd.fused)
        builder = self.builder = self.builder.at(site)
        if name == "mean" and self.called == "adaptive_avg_pool2d":  # as torch computes one to a size of 1
            name = self.called
        if name in PARTS:
            for tensor, node in zip(results, _parts(builder, name, arguments, results), strict=True):
                self.keep(tensor, node)
            return
        primary = results[0] if results else written[0]
        node = aten.read(builder, name, arguments, tuple(primary.shape))
        is_view = not written and primary.untyped_storage()._cdata in self.memory
        self.results[node] = self.results.get(node, True) and is_view
        if name in aten.NORMS:
            self.keep(results[0], node)  # what it writes into its running statistics is its own affair
        elif written:
            for tensor in written:
                self.write(tensor, node)
        else:
            self.keep(primary, node)
        for index, tensor in enumerate(results[1:], 1):
            if tensor.untyped_storage()._cdata not in self.memory:
                self.keep(tensor, builder.make("part", node, shape=tuple(tensor.shape), index=index))

    def until_now(self) -> Graph:
        """What was seen so far: the last result that depends on the input stands for the output."""
        last = next((node for node in reversed(self.results) if sees(node, self.inputs)), self.input)
        return self.graph_of({"": last})

    def graph(self, output: Any) -> Graph:
        """What was seen."""
        return self.graph_of({where: self.values(tensor) for where, tensor in tensors_of(output)})

    def graph_of(self, outputs: dict[str, Node]) -> Graph:
        """What was seen, to these ends."""
        counters = _counters(self.state)
        self.used.update(outputs.values())
        # A view of what is there is of no effect where nobody uses it.
        computed = (node for node, is_view in self.results.items() if not is_view and node.row.keeps != "view")
        idle = [node for node in computed if node not in self.used]
        unread = [node for node in idle if sees(node, self.inputs)]
        parameters, moved = frozenset(self.parameters), frozenset(self.moved)
        rules = frozenset(self.builder.work.used)
        graph = Graph(self.input, outputs, self.state, parameters, counters, rules, self.aliases, unread, moved=moved)
        asked, by_image = (tuple(filter(None, places)) for places in (self.asked, self.by_image))
        more = tuple(self.inputs[1:])
        frozen = frozenset(self.frozen)
        graph = replace(graph, asked=asked, by_image=by_image, frozen=frozen, dtypes=self.dtypes, more_inputs=more)
        return self.builder.finish(graph)


def _counters(state: Collection[str]) -> dict[str, str]:
    """The count of batches of each norm, by its running mean."""
    names = [name for name in state if name.rpartition(".")[2] == "running_mean"]
    beside = {name: f"{name.rpartition('.')[0]}.num_batches_tracked".lstrip(".") for name in names}
    return {name: counter for name, counter in beside.items() if counter in state}


def tensors_in(args: Sequence[Any]) -> Iterator[Tensor]:
    """The tensors among arguments, and in lists of these."""
    for one in args:
        if isinstance(one, Tensor):
            yield one
        elif isinstance(one, list | tuple):
            yield from (each for each in one if isinstance(each, Tensor))


def depends_on_values(func: Any, kind: str, args: Sequence[Any]) -> bool:
    """Whether values decide what an operator gives to Python, or the shape of what it gives."""
    if torch.Tag.data_dependent_output in func.tags:
        return True
    by_mask = kind != "index" or any(one.dtype in (torch.bool, torch.uint8) for one in tensors_in(args[1:]))
    return kind_of(kind).sized_by_values or (torch.Tag.dynamic_output_shape in func.tags and by_mask)


def called_in_turn(operator: HigherOrderOperator, args: Sequence[Any]) -> Any:
    """What `torch.cond` and `while_loop` give: the functions that they were given are called, as Python would.

    Raises: NotImplementedError for another operator of functions; what reading a condition raises, as on meta.
    """
    match str(operator):
        case "cond":
            condition, when_true, when_false, operands = args
            return (when_true if condition else when_false)(*operands)
        case "while_loop":
            condition, body, carried, more = args
            while condition(*carried, *more):
                carried = body(*carried, *more)
            return carried
        case name:
            raise NotImplementedError(f"torch.ops.higher_order.{name} is not followed into the functions that it calls")


def _parts(builder: Builder, name: str, a: dict[str, Any], results: list[Tensor]) -> Iterator[Node]:
    """The parts of a value along an axis, as slices."""
    x = a["self"]
    axis = a.get("dim", 0) % len(x.shape)
    start = 0
    for part in results:
        size = 1 if name == "unbind" else part.shape[axis]
        shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        node = builder.make("slice", x, shape=shape, axis=axis, start=start, stop=start + size, step=1)
        yield builder.reshape(node, tuple(part.shape))
        start += size


def _is_given(node: Node) -> bool:
    """Whether a value is the same for every image and all parameters, as a size that was made a tensor is."""
    return node.fixed and not any(one.kind == "state" or any(one.states) for one in _behind(node))


def sees(node: Node, leaves: Sequence[Node]) -> bool:
    """Whether a value depends on any of these."""
    return any(one in leaves for one in _behind(node))


def _behind(node: Node) -> Iterator[Node]:
    """A value, and all that it depends on."""
    seen, stack = set(), [node]
    while stack:
        top = stack.pop()
        if top not in seen:
            seen.add(top)
            yield top
            stack += top.feeds


def _numel(geometry: Geometry) -> int:
    count = 1
    for size in geometry[0]:
        count *= size
    return count


def _dense(geometry: Geometry) -> bool:
    """Whether elements lie one after the other, in order."""
    step = 1
    for size, stride in zip(reversed(geometry[0]), reversed(geometry[1]), strict=True):
        if size != 1 and stride != step:
            return False
        step *= size
    return True
