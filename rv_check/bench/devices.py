"""Where it is timed: what the device is, torch's settings while it is used, its clock, its memory.

`Cpu` and `Cuda` answer the same questions, so that what measures need not know which it has.
"""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from rv_check.errors import CannotRun, RvCheckError
from rv_check.modules.allocator import freed_memory_kept
from rv_check.text import quote

T = TypeVar("T")
MS = 1e-3


class Stopwatch(Protocol):
    """Takes the time between `start` and `stop`, again and again; nothing waits for the device before `read`."""

    def between(self) -> None:
        """What belongs to no time: called before each start."""

    def start(self) -> None:
        """The work begins."""

    def stop(self) -> None:
        """The work has been asked for."""

    def read(self) -> list[float]:
        """Seconds of each time since the last reading."""


class Device(Protocol):
    """A place to compute at."""

    @property
    def name(self) -> str:
        """The device as torch names it."""

    def describe(self) -> dict[str, Any]:
        """What it is: equal for equal hardware and how much of it is used, whatever the software."""

    def state(self) -> dict[str, Any]:
        """What changes: clocks, temperature, load."""

    def stopwatch(self, warm_cache: bool = False) -> Stopwatch:
        """Its clock."""

    def allocated(self) -> int | None:
        """Bytes of tensors, or None where that is not counted."""

    def reserved(self) -> int | None:
        """Bytes that the allocator holds."""

    def peak(self, action: Callable[[], object]) -> int | None:
        """The most bytes of tensors at once while `action` runs."""

    def recover(self) -> None:
        """Give back what a failed attempt holds."""


# What a device is


def software() -> dict[str, Any]:
    """What computes: versions."""
    cudnn: Any = torch.backends.cudnn
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "cudnn": cudnn.version() if torch.cuda.is_available() else None,
        "driver": _driver() if torch.cuda.is_available() else None,
    }


def device_of(name: str, threads: int | None = None) -> Device:
    """The device of that name. Raises: CannotRun where it is not here, RvCheckError where it is none that is timed."""
    kind, _, index = name.partition(":")
    if kind == "cpu" and not index:
        return Cpu(threads or torch.get_num_threads())
    if kind != "cuda" or not (index.isdecimal() or name == "cuda"):
        raise RvCheckError(f"unknown device {quote(name)}", expected="cpu, cuda, cuda:1")
    if not torch.cuda.is_available():
        why = "torch is built without it" if torch.version.cuda is None else "torch sees no CUDA device"
        raise CannotRun(f"there is no CUDA here: {why}", expected="--device cpu, or a machine with a CUDA device")
    if int(index or 0) >= torch.cuda.device_count():
        raise CannotRun(f"there is no {name}", expected=f"up to cuda:{torch.cuda.device_count() - 1}")
    return Cuda(int(index or 0))


def best() -> str:
    """`cuda` where it is, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Cpu:
    """The processor, with so many threads."""

    threads: int
    name: str = "cpu"

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "cpu",
            "name": _processor(),
            "threads": self.threads,
            "cores": os.cpu_count(),
            "capability": torch.backends.cpu.get_cpu_capability(),
        }

    def state(self) -> dict[str, Any]:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        return {"load_average": load, "mhz": _number_in("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", 1e-3)}

    def stopwatch(self, warm_cache: bool = False) -> Stopwatch:
        return WallClock()

    def allocated(self) -> int | None:
        return None

    def reserved(self) -> int | None:
        return None

    def peak(self, action: Callable[[], object]) -> int | None:
        action()
        return None

    def recover(self) -> None:
        gc.collect()


@dataclass(frozen=True)
class Cuda:
    """A CUDA device."""

    index: int

    @property
    def name(self) -> str:
        return f"cuda:{self.index}"

    def describe(self) -> dict[str, Any]:
        found = torch.cuda.get_device_properties(self.index)
        return {
            "kind": "cuda",
            "name": found.name,
            "capability": f"{found.major}.{found.minor}",
            "multiprocessors": found.multi_processor_count,
            "memory": found.total_memory,
            "l2_cache": found.L2_cache_size,
        }

    def state(self) -> dict[str, Any]:
        return nvml_state(str(torch.cuda.get_device_properties(self.index).uuid))

    def stopwatch(self, warm_cache: bool = False) -> Stopwatch:
        size = torch.cuda.get_device_properties(self.index).L2_cache_size
        flush = None
        if not warm_cache:
            flush = torch.empty(max(size, 1), dtype=torch.int8, device=self.name)
        event: Any = torch.cuda.Event
        return EventClock(lambda: event(enable_timing=True), torch.cuda.synchronize, flush)

    def allocated(self) -> int | None:
        return torch.cuda.memory_allocated(self.index)

    def reserved(self) -> int | None:
        return torch.cuda.memory_reserved(self.index)

    def peak(self, action: Callable[[], object]) -> int | None:
        torch.cuda.synchronize(self.index)
        torch.cuda.reset_peak_memory_stats(self.index)
        action()
        torch.cuda.synchronize(self.index)
        return torch.cuda.max_memory_allocated(self.index)

    def recover(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()


def _processor() -> str:
    """The processor's own name."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()


def _number_in(path: str, unit: float) -> float | None:
    """The number in a file of the system's, where there is one."""
    try:
        return float(Path(path).read_text(encoding="ascii")) * unit
    except (OSError, ValueError):
        return None


def _nvml() -> Any:
    """NVIDIA's management library, ready. Raises: CannotRun, with what would bring it."""
    try:
        pynvml: Any = import_module("pynvml")
    except ImportError:
        raise CannotRun("pynvml is not installed; pip install 'rv-check[cuda]' brings it") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise CannotRun(f"NVML cannot be used: {error}") from None
    return pynvml


def _driver() -> str | None:
    try:
        return str(_nvml().nvmlSystemGetDriverVersion())
    except CannotRun:
        return None


def nvml_state(uuid: str) -> dict[str, Any]:
    """Clocks (MHz), power state, reasons of throttling, temperature (Celsius), power (W) of a device, by its UUID.

    What the device does not tell is null, with what NVML said under `unknown`; where there is no NVML, that is said.
    """
    try:
        nvml = _nvml()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except CannotRun as error:
        return {"unknown": {"nvml": str(error)}}
    except Exception as error:  # pynvml's own classes are made when it is imported
        return {"unknown": {"nvml": str(error)}}
    questions: dict[str, Callable[[], Any]] = {
        "sm_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        "memory_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
        "power_state": lambda: nvml.nvmlDeviceGetPerformanceState(handle),
        "throttle_reasons": lambda: throttle_reasons(nvml, nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
        "celsius": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        "watts": lambda: nvml.nvmlDeviceGetPowerUsage(handle) * MS,
    }
    found: dict[str, Any] = {}
    unknown: dict[str, str] = {}
    for what, ask in questions.items():
        try:
            found[what] = ask()
        except nvml.NVMLError as error:
            found[what], unknown[what] = None, str(error)
    return {**found, "unknown": unknown}


def throttle_reasons(nvml: Any, bits: int) -> list[str]:
    """The names of the reasons in a bit field, as `SwPowerCap`."""
    prefix = "nvmlClocksThrottleReason"
    reasons = {name.removeprefix(prefix): getattr(nvml, name) for name in dir(nvml) if name.startswith(prefix)}
    return sorted(name for name, bit in reasons.items() if isinstance(bit, int) and bit & bits and name != "All")


# Clocks


class WallClock:
    """The clock of torch.utils.benchmark, for work that is done when its call returns.

    Of a machine with an accelerator that clock waits for it at each reading, which is no part of work on the CPU: there
    it is the same clock without waiting.
    """

    def __init__(self) -> None:
        from timeit import default_timer

        from torch.utils.benchmark import timer

        accelerated = torch.accelerator.is_available()  # type: ignore[no-untyped-call, unused-ignore]
        self.clock: Callable[[], float] = default_timer if accelerated else timer
        self.times: list[float] = []
        self.began = 0.0

    def between(self) -> None:
        """Nothing: there is no cache that could be emptied from here."""

    def start(self) -> None:
        self.began = self.clock()

    def stop(self) -> None:
        self.times.append(self.clock() - self.began)

    def read(self) -> list[float]:
        found, self.times = self.times, []
        return found


class EventClock:
    """CUDA events around each iteration, on the current stream.

    `flush`: a buffer of the size of the L2 cache that is written before each start, so that no iteration finds there
    what the one before left; None for a warm cache.
    """

    def __init__(self, event: Callable[[], Any], synchronize: Callable[[], None], flush: torch.Tensor | None):
        self.event, self.synchronize, self.flush = event, synchronize, flush
        self.pairs: list[tuple[Any, Any]] = []

    def between(self) -> None:
        if self.flush is not None:
            self.flush.zero_()

    def start(self) -> None:
        self.pairs.append((self.event(), self.event()))
        self.pairs[-1][0].record()

    def stop(self) -> None:
        self.pairs[-1][1].record()

    def read(self) -> list[float]:
        self.synchronize()
        found = [MS * start.elapsed_time(end) for start, end in self.pairs]
        self.pairs = []
        return found


def synchronised_clock(device: str) -> Callable[[], float]:
    """Seconds of a clock that waits for the device before it is read, as pytest-benchmark wants one."""
    from time import perf_counter

    if device == "cpu":
        return perf_counter

    def clock() -> float:
        torch.cuda.synchronize(device)
        return perf_counter()

    return clock


# Settings


@contextmanager
def settings(device: Device, dtype: str) -> Iterator[dict[str, Any]]:
    """Torch as a case wants it inside, and as it was after; what is set, by its name in torch.

    float32 is exact unless `dtype` is tf32. cudnn measures its algorithms and takes the fastest.
    """
    backends: Any = torch.backends
    precision = "tf32" if dtype == "tf32" else "ieee"
    wanted: list[tuple[Any, str, str, Any]] = [
        (backends.cuda.matmul, "cuda.matmul", "fp32_precision", precision),
        (backends.cudnn.conv, "cudnn.conv", "fp32_precision", precision),
        (backends.cudnn.rnn, "cudnn.rnn", "fp32_precision", precision),
        (backends.mkldnn.matmul, "mkldnn.matmul", "fp32_precision", "ieee"),
        (backends.mkldnn.conv, "mkldnn.conv", "fp32_precision", "ieee"),
        (backends.cudnn, "cudnn", "enabled", True),
        (backends.cudnn, "cudnn", "benchmark", True),
        (backends.cudnn, "cudnn", "deterministic", False),
    ]
    before = [getattr(part, flag) for part, _, flag, _ in wanted]
    threads_before, collecting = torch.get_num_threads(), gc.isenabled()
    try:
        for part, _, flag, value in wanted:
            setattr(part, flag, value)
        if isinstance(device, Cpu):
            torch.set_num_threads(device.threads)
        gc.collect()
        gc.disable()  # as timeit does: a collection is no part of what is measured
        with torch.cuda.device(device.index) if isinstance(device, Cuda) else freed_memory_kept() as kept:
            yield {
                **{f"{where}.{flag}": getattr(part, flag) for part, where, flag, _ in wanted},
                "threads": torch.get_num_threads(),
                "freed_memory_kept": kept,
            }
    finally:
        for (part, _, flag, _), value in zip(wanted, before, strict=True):
            setattr(part, flag, value)
        torch.set_num_threads(threads_before)
        if collecting:
            gc.enable()


# Memory

WORDS_OF_NO_MEMORY = (
    *("out of memory", "can't allocate memory", "not enough memory", "DefaultCPUAllocator"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
)


@dataclass(frozen=True)
class DoesNotFit:
    """What came of an attempt that needed more memory than there is."""

    reason: str


def attempt(action: Callable[[], T], recover: Callable[[], None]) -> T | DoesNotFit:
    """`action()`, or that it does not fit; then its memory is given back, and work can go on."""
    try:
        return action()
    except (RuntimeError, MemoryError) as error:
        reason = no_memory(error)
        if reason is None:
            raise
    recover()  # not within the except: the frames of the traceback hold the tensors until its end
    return DoesNotFit(reason)


def no_memory(error: BaseException) -> str | None:
    """The sentence of an error that says that memory ran out, or None where it says something else."""
    sentences = [sentence for line in str(error).splitlines() for sentence in line.split(". ")]
    saying = [sentence for sentence in sentences if any(words in sentence for words in WORDS_OF_NO_MEMORY)]
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return next(iter([*saying, *sentences]), "out of memory")
    return next(iter(saying), None)


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number from 1 to `most` that fits, 0 where none does: doubled until one does not, then halved.

    What fits is taken to fit at every smaller number, too.
    """
    good, bad = 0, most + 1
    while bad - good > 1:
        # Doubling until the first that does not fit; then halving what is between.
        tried = min(max(1, 2 * good), bad - 1) if bad == most + 1 else (good + bad) // 2
        if fits(tried):
            good = tried
        else:
            bad = tried
    return good
