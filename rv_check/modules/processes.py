"""The processes that work together: one, or those that torchrun started, joined by torch.distributed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from rv_check.errors import RvCheckError


@dataclass(frozen=True)
class Ranks:
    """This process among `size`, and its device. The first one writes and speaks."""

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether it is this one that writes and tells."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> Any:
        """The module as all processes train it together."""
        return nn.parallel.DistributedDataParallel(module) if self.size > 1 else module

    def agree(self, samples: list[float]) -> list[float]:
        """The samples of the slowest process, the same in all of them: a step has ended when all have."""
        if self.size == 1:
            return samples
        shared = torch.tensor(samples, dtype=torch.float64, device=self.device)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return [float(x) for x in shared]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier()


ALONE = Ranks()


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The processes that torchrun has started, by nccl on CUDA, each on a device of its own, and by gloo elsewhere.

    Without torchrun it is this one alone. Raises: RvCheckError for fewer devices than processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks(device=device)
        return
    if device.startswith("cuda"):
        local = int(os.environ["LOCAL_RANK"])
        if local >= torch.cuda.device_count():
            raise RvCheckError(f"{torch.cuda.device_count()} GPUs for process {local}", expected="one for each")
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield Ranks(distributed.get_rank(), size, device)
    finally:
        distributed.destroy_process_group()
