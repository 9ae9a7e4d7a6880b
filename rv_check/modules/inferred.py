"""What a module takes, where nobody says it: what its first layer tells, and at which of the usual sizes it runs.

Where that tells nothing, the error says what the arguments of `forward` are, and what to write.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from rv_check.language.inputs import InputGroup, Inputs, TensorInput
from rv_check.modules.inputs import empty_batch
from rv_check.ops.op import Shape

# Sides of images, lengths of sequences and of texts, and sides of volumes that are tried, the commonest first.
SIDES: dict[int, tuple[Shape, ...]] = {
    1: ((1024,), (256,), (128,), (16000,), (64,), (32,)),
    2: ((224, 224), (32, 32), (28, 28), (64, 64), (96, 96), (128, 128), (256, 256), (299, 299), (512, 512)),
    3: ((16, 112, 112), (32, 32, 32), (64, 64, 64)),
}
LENGTHS: tuple[Shape, ...] = ((128,), (64,), (32,), (16,), (512,), ())
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d, nn.GroupNorm)
Free = Literal["nothing", "channels", "image", "all"]
BATCH = 2
MASK = "bool 128"


@dataclass(frozen=True)
class InferredInput:
    """What a module takes, by what it tells. `why`: in words, after "since"."""

    inputs: Inputs
    why: str

    def __str__(self) -> str:
        return f"input {self.inputs}, since {self.why}"


def infer(module: nn.Module, tried: Inputs, free: Free = "all") -> tuple[InferredInput | None, str]:
    """What a module takes that did not run; None where it does not tell, and then what to write.

    Args: `module` a copy on meta; `tried` what went in; `free` what of that nobody said, so that it may be another:
    nothing, the channels of an image, what image it is, or all.
    """
    signature = _signature(module)
    try:
        if signature is not None:
            args, kwargs = tried.arguments(tried.tensors)
            signature.bind(*args, **kwargs)
    except TypeError:
        return None, _advice(module, signature)
    first = _first_layer(module, tried)
    told = _told(first.layer) if first is not None else None
    if free == "nothing" or not tried.is_one_image or first is None or told is None:
        return None, ""
    shapes = dict.fromkeys(_shapes(first.layer, tried.shape))
    for shape in shapes if free != "channels" else [tried.shape[1:]]:
        whole = (*shape, *told.shape) if isinstance(first.layer, SEQUENCES) else (*told.shape, *shape)
        inputs = Inputs(InputGroup("call", ("",), (replace(told, shape=whole),)))
        is_image = len(whole) == len(tried.shape) and isinstance(first.layer, (*CONVOLUTIONS, *NORMS))
        if free != "all" and not is_image:
            continue
        if _runs(module, inputs):
            why = [] if whole[0] == tried.shape[0] and is_image else [str(first)]
            why += [] if shape in (tried.shape[1:], ()) else ["of the usual sizes it runs at this one"]
            return InferredInput(inputs, ", and ".join(why)), ""
    return None, f"{first}: say what goes in, {HOW}" if free != "channels" else ""


@dataclass(frozen=True)
class _FirstLayer:
    """The layer that is called first, and its name."""

    name: str
    layer: nn.Module

    def __str__(self) -> str:
        where = f" ({self.name})" if self.name else ""
        return f"its first {_words(self.layer)}{where} {_takes(self.layer)}"


HOW = "by --input, by input= in Python, or by a function example_inputs() beside the module"
SEQUENCES = (nn.Linear, nn.RNNBase, nn.LayerNorm, nn.MultiheadAttention)  # features stand last of what these take
OVER_TIME = (nn.RNNBase, nn.MultiheadAttention)  # without a length it is one sequence without a batch


def _first_layer(module: nn.Module, tried: Inputs) -> _FirstLayer | None:
    """The layer that is called first, of those that tell what they take."""
    seen: list[_FirstLayer] = []

    def entering(name: str) -> Any:
        def enter(part: nn.Module, args: Any) -> None:
            seen.append(_FirstLayer(name, part))

        return enter

    with ExitStack() as stack:
        for name, part in module.named_modules():
            if _told(part) is not None and not isinstance(part, torch.jit.ScriptModule):
                stack.callback(part.register_forward_pre_hook(entering(name)).remove)
        _runs(module, tried)
    return seen[0] if seen else None


def _runs(module: nn.Module, inputs: Inputs) -> bool:
    """Whether a module on meta runs with that, in eval mode."""
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    training = module.training
    try:
        with torch.no_grad():
            empty_batch(inputs, BATCH, dtype, "meta").call(module.eval())
    except Exception:  # whatever the module raises: it does not run there
        return False
    finally:
        module.train(training)
    return True


def _told(layer: nn.Module) -> TensorInput | None:
    """What a layer tells of its input: its channels or features, or the places in its table."""
    if any(map(is_lazy, layer.parameters(recurse=False))):
        return None
    match layer:
        case nn.Embedding() | nn.EmbeddingBag():
            return TensorInput((), "int64", layer.num_embeddings)
        case nn.Linear():
            return TensorInput((layer.in_features,))
        case nn.RNNBase():
            return TensorInput((layer.input_size,))
        case nn.MultiheadAttention():
            return TensorInput((layer.embed_dim,))
        case nn.LayerNorm():
            return TensorInput(tuple(layer.normalized_shape))
        case nn.GroupNorm():
            return TensorInput((layer.num_channels,))
        case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d() | nn.InstanceNorm2d():
            return TensorInput((layer.num_features,))
    return TensorInput((layer.in_channels,)) if isinstance(layer, CONVOLUTIONS) else None


def _shapes(layer: nn.Module, tried: Shape) -> Iterator[Shape]:
    """What may stand beside the channels, features or places that a layer tells, the likeliest first."""
    if isinstance(layer, nn.Embedding | nn.EmbeddingBag):
        yield from ((tried,) if len(tried) == 1 else ())
        yield from LENGTHS
        return
    if isinstance(layer, SEQUENCES):
        yield from () if isinstance(layer, OVER_TIME) else ((),)
        yield from LENGTHS
        return
    axes = 1 if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d | nn.BatchNorm1d) else 2
    axes = 3 if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d | nn.BatchNorm3d) else axes
    if len(tried) == axes + 1:
        yield tried[1:]
    yield from SIDES[axes]
    yield ()


def _words(layer: nn.Module) -> str:
    """The kind of a layer, in a word."""
    if isinstance(layer, CONVOLUTIONS):
        return "convolution"
    words = {nn.Embedding: "embedding", nn.Linear: "linear layer", nn.RNNBase: "recurrent layer"}
    return next((word for kind, word in words.items() if isinstance(layer, kind)), type(layer).__name__)


def _takes(layer: nn.Module) -> str:
    told = _told(layer)
    assert told is not None
    if told.below is not None:
        return f"has {told.below:,} rows"
    number = told.shape[0]
    what = "channel" if isinstance(layer, (*CONVOLUTIONS, *NORMS)) else "feature"
    return f"takes {number:,} {what}{'s' if number > 1 else ''}"


# What to write


def _signature(module: nn.Module) -> inspect.Signature | None:
    try:
        return inspect.signature(module.forward)
    except (TypeError, ValueError):  # a scripted or built-in one does not say
        return None


def _advice(module: nn.Module, signature: inspect.Signature | None) -> str:
    """The arguments of `forward`, and what to write for those that must be there."""
    assert signature is not None
    tables = [part.num_embeddings for part in module.modules() if isinstance(part, nn.Embedding)]
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    must = [p for p in signature.parameters.values() if p.default is p.empty and p.kind not in kinds]
    example = ", ".join(f"{one.name}: {_example(one.name, module, tables)}" for one in must)
    plain = inspect.Signature([one.replace(annotation=one.empty) for one in signature.parameters.values()])
    return f"it is forward{plain}: say what goes in, as --input {example!r} if these are the shapes, or {HOW}"


def _example(name: str, module: nn.Module, tables: list[int]) -> str:
    """A likely input for an argument of that name."""
    if "mask" in name:
        return MASK
    if tables and any(word in name for word in ("id", "token", "index", "text", "src", "tgt", "seq")):
        return f"int64 128 < {min(tables)}"
    layers = [told for part in module.modules() if (told := _told(part)) is not None and not told.dtype]
    first = next((part for part in module.modules() if isinstance(part, CONVOLUTIONS)), None)
    if first is not None:
        axes = next(n for n in SIDES if f"{n}d" in type(first).__name__)
        return " ".join(map(str, (first.in_channels, *SIDES[axes][0])))
    return " ".join(map(str, layers[0].shape)) if layers else "3 224 224"
