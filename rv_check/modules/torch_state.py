"""Torch's own settings and generators, set inside and as they were after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from rv_check.modules.allocator import freed_memory_kept


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's generators at `seed` inside, as they were after."""
    in_use = torch.cuda.device_count() if torch.cuda.is_initialized() else 0  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=range(in_use)):
        torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which would also seed a CUDA not yet in use
        if in_use:
            torch.cuda.manual_seed_all(seed)
        yield


@contextmanager
def exact_float32() -> Iterator[None]:
    """TF32 and bfloat16 off in float32 products and convolutions inside, as they were after."""
    backends: Any = torch.backends
    cudnn, mkldnn = backends.cudnn, backends.mkldnn
    settings = (backends.cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv, mkldnn.rnn)
    before = [part.fp32_precision for part in settings]
    for part in settings:
        part.fp32_precision = "ieee"
    try:
        yield
    finally:
        for part, precision in zip(settings, before, strict=True):
            part.fp32_precision = precision


@contextmanager
def steady() -> Iterator[None]:
    """Torch as it is out of the box inside, whatever the caller has set, and as it was after, its generators included.

    Gradients on, autocast off, exact float32, and float32 on the cpu unless said otherwise. Memory that is freed stays
    with the process meanwhile, so that no large tensor is made of new pages.
    """
    cast = [kind for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)]
    dtype = torch.get_default_dtype()
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    with (
        freed_memory_kept(),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.device("cpu"),
        exact_float32(),
        seeded(0),
    ):
        try:
            for kind in cast:
                torch.set_autocast_enabled(kind, False)
            torch.set_default_dtype(torch.float32)
            torch.use_deterministic_algorithms(False)
            yield
        finally:
            for kind in cast:
                torch.set_autocast_enabled(kind, True)
            torch.set_default_dtype(dtype)
            torch.use_deterministic_algorithms(strict, warn_only=warn_only)
