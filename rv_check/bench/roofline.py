"""What a device can do at best, measured: bytes/s of a large copy, FLOP/s of a large matrix product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from rv_check.bench.devices import Device
from rv_check.bench.timing import times
from rv_check.bench.workloads import HALF

RUNS = 5  # runs, of which the fastest counts, after one that does not
SIZES = {"cpu": (256 * 2**20, 2048), "cuda": (2**30, 8192)}  # bytes of the copied tensor, and rows of the matrices


@dataclass(frozen=True)
class Roofline:
    """FLOP/s (two for a multiply-add) and bytes/s (read and written)."""

    rate: float
    bandwidth: float


class Copy:
    """One tensor copied to another."""

    def __init__(self, size: int, device: str):
        self.x, self.y = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))

    def prepare(self) -> None:
        """Nothing."""

    def run(self) -> None:
        self.y.copy_(self.x)


class Product:
    """A product of two square matrices of noise."""

    def __init__(self, size: int, device: str, dtype: torch.dtype):
        self.a, self.b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        self.c = torch.empty_like(self.a)

    def prepare(self) -> None:
        """Nothing."""

    def run(self) -> None:
        torch.mm(self.a, self.b, out=self.c)


def measure(device: Device, dtype: str, sizes: tuple[int, int] | None = None) -> Roofline:
    """The roofline of a device for one type of numbers, as torch is set now; a fifth of a second to some seconds.

    That of autocast is the one of the type that it casts to.
    """
    kind = torch.device(device.name).type
    size, rows = sizes or SIZES[kind]
    number = torch.get_autocast_dtype(kind) if dtype == "autocast" else HALF.get(dtype, torch.float32)
    copied = min(_runs(Copy(size, device.name), device))
    multiplied = min(_runs(Product(rows, device.name, number), device))
    return Roofline(rate=2 * rows**3 / multiplied, bandwidth=2 * size / copied)


def _runs(workload: Any, device: Device) -> list[float]:
    return times(workload, device.stopwatch(warm_cache=True), RUNS + 1)[1:]
