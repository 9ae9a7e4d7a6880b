"""The parts of a module that torch's checkpoint runs again in the backward pass, as they are met when it runs."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from types import CodeType, FrameType
from typing import Any

import torch.utils.checkpoint
from torch import Tensor
from torch.utils._pytree import tree_leaves

from rv_check.graphs.builder import Form
from rv_check.graphs.graph import Node, Rerun

CHECKPOINT: CodeType = getattr(  # where torch's checkpoint has its arguments: a function of its own since torch 2.14
    torch.utils.checkpoint, "_checkpoint_impl", inspect.unwrap(torch.utils.checkpoint.checkpoint)
).__code__


class Reruns:
    """The calls of torch's checkpoint that are under way. `read` gives the value that a tensor holds.

    They are found among the calls up to `outermost`, since any module may have its own name for the function; only of
    what is recorded as it runs.
    """

    def __init__(self, read: Callable[[Tensor], Node], outermost: CodeType, form: Form):
        self.read, self.outermost, self.is_asked = read, outermost, form is Form.AS_RUN
        self.known: dict[FrameType, Rerun] = {}  # which keeps the calls, so that none is taken for another

    def innermost(self) -> Rerun | None:
        """The part that runs at present, None where nothing is run again."""
        if not self.is_asked:
            return None
        frames: list[FrameType] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not self.outermost:
            if frame.f_code is CHECKPOINT:
                frames.append(frame)
            frame = frame.f_back
        rerun = None
        for call in reversed(frames):
            if call not in self.known:
                self.known[call] = self.of_call(call.f_locals, rerun)
            rerun = self.known[call]
        return rerun

    def of_call(self, given: Mapping[str, Any], outer: Rerun | None) -> Rerun:
        """What a call with these arguments keeps and runs again."""
        leaves = tree_leaves((given["args"], given["kwargs"]))
        values = tuple(self.read(leaf) for leaf in leaves if isinstance(leaf, Tensor))
        if given["use_reentrant"]:
            return Rerun(values, outer, reentrant=True)
        everywhere = torch.utils.checkpoint._enable_checkpoint_early_stop
        stops = given.get("early_stop", True) if everywhere is None else everywhere
        selective = given["context_fn"] is not torch.utils.checkpoint.noop_context_fn
        return Rerun(values, outer, stops=stops, selective=selective)
