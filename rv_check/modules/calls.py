"""What torch's functions are asked for, where operators alone do not tell: tables, kernels, recurrences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes

from rv_check.graphs.graph import Fused
from rv_check.modules.autograd import by_one_kernel

if TYPE_CHECKING:
    from rv_check.modules.record import Recorder

ATTENTION, MATH = F.scaled_dot_product_attention, SDPBackend.MATH.value


class TablesTold(TorchFunctionMode):
    """Tells a recorder the values of tensors that are made of Python's numbers, which on meta have none.

    Raises: NotImplementedError for what is not done on meta as it is on a CPU: autocast has no effect there.
    """

    def __init__(self, recorder: Recorder, device: str):
        super().__init__()
        self.recorder, self.device = recorder, device

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.device == "meta" and torch.is_autocast_enabled("cpu"):
            raise NotImplementedError("torch.autocast casts no tensors on meta")
        result = func(*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor, Tensor.new_tensor) and result.is_meta:
            data = args[1] if func is Tensor.new_tensor else args[0] if args else kwargs["data"]
            if not isinstance(data, Tensor):
                with _disable_current_modes():
                    self.recorder.made[id(result)] = torch.tensor(data, dtype=result.dtype, device="cpu")
                self.recorder.kept.append(result)
        return result


class CallsFollowed(TorchFunctionMode):
    """Tells a recorder which function of torch's is called from outside of torch, and how a CPU would do attention.

    On meta torch does it by products of matrices, whatever it would do on a device. Torch's own layers call it within a
    function of torch's, which is out of sight here: in `torch.nn.functional` another one has its place meanwhile.
    """

    def __init__(self, recorder: Recorder):
        super().__init__()
        self.recorder = recorder

    def __enter__(self) -> Any:
        F.scaled_dot_product_attention = self.attention
        return super().__enter__()  # type: ignore[no-untyped-call]

    def __exit__(self, *error: Any) -> None:
        F.scaled_dot_product_attention = ATTENTION
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """Attention, its operations marked where torch has one kernel for them on a CPU."""
        given: list[Any] = [query, key, value, attn_mask, dropout_p, is_causal]
        choose, attend = partial(torch._fused_sdp_choice, scale=scale), partial(ATTENTION, scale=scale)
        if not query.is_meta or choose(*map(self.on_cpu, given), enable_gqa=enable_gqa) == MATH:
            result: Tensor = attend(*given, enable_gqa=enable_gqa)
            return result
        recorder, is_converted = self.recorder, attn_mask is not None and attn_mask.dtype == torch.bool
        values = [one for one in given[:4] if isinstance(one, Tensor) and one.dtype != torch.bool]
        mask = attn_mask.numel() if attn_mask is not None and is_converted else 0
        inputs = tuple(map(recorder.read, values))
        with recorder.autograd.as_one(Fused("attention", inputs, mask=mask)) as fused:
            result = attend(*given, enable_gqa=enable_gqa)
        output = recorder.read(result)
        fused.outputs, fused.kept = (output,), (*inputs, output)
        with _disable_current_modes():  # as the kernel gives it: where its axes lie decides about later copies
            laid_out = torch.empty_like(query, requires_grad=result.requires_grad).clone()
        recorder.keep(laid_out, output)
        return laid_out

    def lstm(self, x: Tensor, hidden: Any, *args: Any, **kwargs: Any) -> Any:
        """An LSTM, its operations marked where torch has one kernel for them on a CPU; not that of packed sequences."""
        if not by_one_kernel(x, hidden):
            return self.recurrence(torch.lstm, x, hidden, *args, **kwargs)
        recorder = self.recorder
        inputs = tuple(map(recorder.read, (x, *hidden)))
        with recorder.autograd.as_one(Fused("mkldnn_rnn_layer", inputs)) as fused:
            results = torch.lstm(x, hidden, *args, **kwargs)
        fused.outputs = tuple(map(recorder.read, results))
        fused.kept = (*inputs, *fused.outputs)
        return results

    def recurrence(self, func: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """A recurrence as a CPU does it, which keeps other values than meta does: all steps of the input at once.

        Raises: NotImplementedError on meta, where it would not be that.
        """
        if x.is_meta and self.recorder.autograd.are_followed:
            raise NotImplementedError(f"torch.{func.__name__} does on meta what no CPU does")
        return func(x, *args, **kwargs)

    def on_cpu(self, given: Any) -> Any:
        """An argument, with an empty tensor on the CPU for one on meta: it takes no memory, as nobody writes to it."""
        if not isinstance(given, Tensor):
            return given
        empty = torch.empty_strided(given.shape, given.stride(), dtype=given.dtype)
        return empty.requires_grad_(self.recorder.autograd.is_learned(self.recorder.read(given)))

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is ATTENTION:
            func = self.attention
        if func is torch.lstm:
            return self.lstm(*args, **(kwargs or {}))
        if func in (torch.gru, torch.rnn_tanh, torch.rnn_relu):
            return self.recurrence(func, *args, **(kwargs or {}))
        outer, self.recorder.called = self.recorder.called, getattr(func, "__name__", "")
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.recorder.called = outer


def step_by_step(x: Tensor, *args: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One layer of an LSTM, one way, as torch does it where it has no kernel for all steps at once: on meta, say."""
    *weights, hidden, cell, is_reverse = args[:7]
    has_biases = args[11]
    if is_reverse:
        x = x.flip(0)
    state = hidden.reshape(1, *hidden.shape[-2:]), cell.reshape(1, *cell.shape[-2:])
    weights = weights if has_biases else weights[:2]
    with torch.backends.mkldnn.flags(enabled=False, deterministic=None, allow_tf32=None):
        y, hidden, cell = torch.lstm(x, state, weights, has_biases, 1, 0.0, False, False, False)
    return y.flip(0) if is_reverse else y, hidden[0], cell[0], x.new_empty(0)
