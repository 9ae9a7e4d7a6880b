"""A module at another number of input channels: what reads its images takes as many, and all behind it is as it was."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from rv_check.graphs.graph import State
from rv_check.graphs.network import At
from rv_check.language.inputs import IMAGE, Inputs
from rv_check.modules.copies import copy_of
from rv_check.modules.inferred import InferredInput
from rv_check.modules.inputs import empty_batch
from rv_check.modules.observe import Subject
from rv_check.ops.op import Shape


def with_channels(subject: Subject, size: Shape, channels: int) -> nn.Module | None:
    """A copy of a module that takes as many channels, its kernels cut off or repeated; None where there is none.

    There is one where convolutions of all channels alone read what goes in, and the code takes it: not where it drops
    the one channel that there is. Args: `size` where the module runs.
    """
    graph = subject.observe(At(size))
    readers = [node for node in graph.nodes if graph.input in node.feeds]
    weights = [node.tensors.get("weight") for node in readers]
    if not readers or subject.is_borrowed or any(node.attributes.get("groups") != 1 for node in readers):
        return None
    copy = copy_of(subject.module, "cpu")
    for weight in weights:
        if not isinstance(weight, State) or weight.steps:
            return None
        path, _, name = weight.name.rpartition(".")
        layer = copy.get_submodule(path)
        own = getattr(layer, name)
        if not isinstance(own, nn.Parameter) or own.dim() < 3:
            return None
        with torch.no_grad():
            times = -(-channels // own.shape[1])
            kernels = own.repeat(1, times, *(1,) * (own.dim() - 2))[:, :channels].clone()
        setattr(layer, name, nn.Parameter(kernels, requires_grad=own.requires_grad))
        if isinstance(getattr(layer, "in_channels", None), int):
            layer.in_channels = channels  # type: ignore[assignment]
    try:
        Subject(copy).observe(At((channels, *size[1:])))
    except Exception:  # whatever the module raises: it takes its own number of channels alone
        return None
    return copy


class OneImage(nn.Module):
    """A module as one that takes an image; whatever else goes in is zeros."""

    def __init__(self, module: nn.Module, inputs: Inputs):
        super().__init__()
        self.module, self.inputs = module, inputs

    def forward(self, x: Tensor) -> object:
        """What the module returns for these images."""
        inputs = self.inputs.at(tuple(x.shape[1:]))
        batch = empty_batch(inputs, len(x), x.dtype, x.device)
        return replace(batch, tensors={**batch.tensors, inputs.main: x}).call(self.module)


def takes_one_image(module: nn.Module, takes: Inputs | None) -> tuple[nn.Module, Shape, InferredInput | None]:
    """A module as one that takes an image of three channels, as archs do, where it runs, and what told that.

    It is the module itself where it is one, or cannot be. Args: `takes` what goes in, where that is said.
    """
    if takes is not None and not takes.is_one_image:
        module = OneImage(module, takes)
    subject = Subject(module, takes=takes if takes is not None and takes.is_one_image else None)
    shape = subject.settle(IMAGE, "image")
    changed = None
    if len(shape) == len(IMAGE) and shape[0] != IMAGE[0]:
        changed = with_channels(subject, shape, IMAGE[0])
    taken = (module, shape) if changed is None else (changed, (IMAGE[0], *shape[1:]))
    return (*taken, subject.inferred)
