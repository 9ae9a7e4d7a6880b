"""Devices: clocks, settings and their end, memory that runs out. What needs CUDA is in test_cuda.py."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rv_check.bench import devices
from rv_check.bench.devices import Cpu, DoesNotFit, EventClock, attempt, device_of, largest, no_memory, settings
from rv_check.errors import RvCheckError


class Event:
    """A CUDA event of a device whose time a test sets."""

    now = 0.0

    def record(self) -> None:
        self.at = Event.now

    def elapsed_time(self, end: Event) -> float:
        return end.at - self.at


def test_event_clock() -> None:
    """Milliseconds of events become seconds; the buffer is written outside of them, and one wait is enough for all."""
    waits: list[int] = []
    flush = torch.ones(4)
    clock = EventClock(Event, lambda: waits.append(1), flush)
    for took in (2.0, 3.0):
        clock.between()
        Event.now += 5  # the flush takes time, too
        clock.start()
        Event.now += took
        clock.stop()
    assert waits == []
    assert clock.read() == pytest.approx([0.002, 0.003])
    assert waits == [1]
    assert clock.read() == []
    assert torch.equal(flush, torch.zeros(4))


def test_a_warm_cache_is_left_alone() -> None:
    """Without a buffer nothing is done in between: the device is not waited for, and its time stands still."""
    waits: list[int] = []
    before = Event.now
    EventClock(Event, lambda: waits.append(1), None).between()
    assert (waits, Event.now) == ([], before)


def flags() -> list[Any]:
    """What of torch a case changes."""
    backends: Any = torch.backends
    parts = (
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.cudnn.rnn,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
    )
    cudnn = backends.cudnn
    own = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, torch.get_num_threads(), gc.isenabled())
    return [part.fp32_precision for part in parts] + list(own)


def test_settings_are_set_recorded_and_put_back() -> None:
    """They are put back after an error, too; float32 is exact, tf32 is not, and no time has garbage collected in it."""
    before = flags()
    with settings(Cpu(1), "tf32") as recorded:
        assert flags() == ["tf32", "tf32", "tf32", "ieee", "ieee", True, True, False, 1, False]
        assert recorded["cuda.matmul.fp32_precision"] == "tf32"
        assert recorded["threads"] == 1
        assert recorded["cudnn.benchmark"] is True
    assert flags() == before

    def fail() -> None:
        with settings(Cpu(1), "float32") as recorded:
            assert recorded["cudnn.conv.fp32_precision"] == "ieee"
            raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        fail()
    assert flags() == before


def test_a_device_by_its_name() -> None:
    """The CPU with its threads; what is no device is a bad question."""
    assert device_of("cpu", 3) == Cpu(3)
    assert device_of("cpu").describe()["threads"] == torch.get_num_threads()
    for name in ("tpu", "cuda:x", "cpu:0", "cudax"):
        with pytest.raises(RvCheckError, match=r"unknown device .*\n  expected: cpu, cuda, cuda:1"):
            device_of(name)


def test_no_cuda_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said with what is wrong: torch without it, or no device; and which numbers there are."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(RvCheckError, match="there is no CUDA here: torch is built without it"):
        device_of("cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(RvCheckError, match="there is no CUDA here: torch sees no CUDA device"):
        device_of("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(RvCheckError, match="there is no cuda:2\n  expected: up to cuda:1"):
        device_of("cuda:2")


def test_memory_that_runs_out_is_a_result() -> None:
    """Torch's own error, and those of libraries; the tensors of the attempt are gone when memory is given back."""
    for kind, words in (
        (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2 GiB"),
        (RuntimeError, "CUDA error: out of memory\nsearch for it"),
        (RuntimeError, "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
        (RuntimeError, "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        (MemoryError, ""),
    ):
        alive: list[object] = []
        refs: list[weakref.ref[Tensor]] = []

        def action(kind: type = kind, words: str = words, refs: list[weakref.ref[Tensor]] = refs) -> None:
            tensor = torch.zeros(1)
            refs.append(weakref.ref(tensor))
            raise kind(words)

        found = attempt(action, lambda alive=alive, refs=refs: alive.append(refs[0]()))
        assert isinstance(found, DoesNotFit)
        assert "memory" in found.reason or "ALLOC_FAILED" in found.reason
        assert alive == [None]
    assert attempt(lambda: 3, lambda: None) == 3


def test_another_error_is_no_lack_of_memory() -> None:
    """It is raised as it was."""
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        attempt(lambda: torch.zeros(2, 3) @ torch.zeros(2, 3), lambda: None)
    assert no_memory(RuntimeError("expected 4D input")) is None


def test_a_batch_that_no_cpu_holds() -> None:
    """The allocator of the CPU itself refuses an exabyte."""
    found = attempt(lambda: torch.empty(2**60, dtype=torch.uint8), lambda: None)
    assert isinstance(found, DoesNotFit)
    assert "memory" in found.reason


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 8, 63, 64, 65, 99, 100])
def test_the_largest_that_fits(limit: int) -> None:
    """Found in few attempts: doubling, then halving; not more than the most that is asked for."""
    tried: list[int] = []

    def fits(n: int) -> bool:
        tried.append(n)
        return n <= limit

    assert largest(fits, 100) == min(limit, 100)
    assert len(tried) == len(set(tried)) <= 14
    assert all(1 <= n <= 100 for n in tried)


class Nvml:
    """A management library with one device, which does not tell its power."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 0, 1, 0
    nvmlClocksThrottleReasonSwPowerCap, nvmlClocksThrottleReasonHwSlowdown, nvmlClocksThrottleReasonAll = 4, 8, 12

    class NVMLError(Exception):
        """Its own error."""

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != "GPU-1-2":
            raise self.NVMLError("not found")
        return uuid

    def nvmlDeviceGetClockInfo(self, handle: str, which: int) -> int:
        return (1980, 2619)[which]

    def nvmlDeviceGetPerformanceState(self, handle: str) -> int:
        return 0

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: str) -> int:
        return 4

    def nvmlDeviceGetTemperature(self, handle: str, which: int) -> int:
        return 41

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        raise self.NVMLError("Not Supported")


def test_the_state_that_nvml_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question by itself: one that is not answered is null, with the reason."""
    monkeypatch.setattr(devices, "_nvml", Nvml)
    assert devices.nvml_state("1-2") == {
        "sm_mhz": 1980,
        "memory_mhz": 2619,
        "power_state": 0,
        "throttle_reasons": ["SwPowerCap"],
        "celsius": 41,
        "watts": None,
        "unknown": {"watts": "Not Supported"},
    }
    assert devices.nvml_state("other") == {"unknown": {"nvml": "not found"}}


def test_without_nvml_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing, and what would bring it."""

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(devices, "import_module", missing)
    assert "rv-check[cuda]" in devices.nvml_state("1-2")["unknown"]["nvml"]


def test_cpu_state_and_memory() -> None:
    """Load and clock where the system tells them; bytes of tensors are not counted on the CPU."""
    cpu = Cpu(1)
    assert set(cpu.state()) == {"load_average", "mhz"}
    assert (cpu.allocated(), cpu.reserved()) == (None, None)
    ran: list[Tensor] = []
    assert cpu.peak(lambda: ran.append(torch.zeros(1))) is None
    assert len(ran) == 1


def test_the_wall_clock_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of torch.utils.benchmark; beside an accelerator one that does not wait for it."""
    from timeit import default_timer

    from torch.utils.benchmark import timer

    monkeypatch.setattr(torch, "accelerator", SimpleNamespace(is_available=lambda: False))
    assert devices.WallClock().clock is timer
    monkeypatch.setattr(torch, "accelerator", SimpleNamespace(is_available=lambda: True))
    assert devices.WallClock().clock is default_timer
