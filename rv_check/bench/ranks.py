"""The processes that share a training step: one, or those that torchrun started, joined by torch.distributed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from rv_check.problems import RvCheckError


@dataclass(frozen=True)
class Ranks:
    """This process among `size`; `local` counts those of this machine. The first one writes and speaks."""

    rank: int = 0
    size: int = 1
    local: int = 0
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether it is this one that tells what was measured."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> Any:
        """The module as all processes train it together."""
        if self.size == 1:
            return module
        ids = [torch.device(self.device).index] if self.device != "cpu" else None
        return nn.parallel.DistributedDataParallel(module, device_ids=ids)

    def agree(self, samples: list[float]) -> list[float]:
        """The samples of the slowest process, the same in all of them: a step has ended when all have."""
        if self.size == 1:
            return samples
        shared = torch.tensor(samples, dtype=torch.float64, device=self.device)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return [float(x) for x in shared]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()


class Together:
    """A workload that all processes begin at one time."""

    def __init__(self, inner: Any, ranks: Ranks):
        self.inner, self.ranks = inner, ranks

    def prepare(self) -> None:
        """Its own preparation, then the others."""
        self.inner.prepare()
        self.ranks.wait()

    def run(self) -> None:
        """The shared step."""
        self.inner.run()


@contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started, by nccl on CUDA (each its own device) and by gloo on the CPU.

    Raises: RvCheckError where torchrun did not start this process.
    """
    missing = [name for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK") if name not in os.environ]
    if missing:
        raise RvCheckError(
            f"--data-parallel needs torchrun: {', '.join(missing)} not set\n"
            "  expected: torchrun --nproc-per-node 2 -m rv_check bench ARCH --data-parallel"
        )
    local = int(os.environ["LOCAL_RANK"])
    place = f"cuda:{local}" if device.startswith("cuda") else "cpu"
    if place != "cpu":
        torch.cuda.set_device(place)
    distributed.init_process_group("gloo" if place == "cpu" else "nccl")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), local, place)
    finally:
        distributed.destroy_process_group()
