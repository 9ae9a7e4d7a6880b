"""Memory that is freed stays with the process while it is asked for, and goes back afterwards."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rv_check.modules import allocator
from rv_check.modules.allocator import resident_bytes
from tests import ROOT

FAULTS = """
import json, os, resource, sys
import torch
from rv_check.bench.devices import Cpu, settings
from rv_check.modules.allocator import freed_memory_kept, resident_bytes
from rv_check.modules.torch_state import steady

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.full((2**24,), 1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def settled():
    return [faults() for _ in range(30)][-1]  # the first find no hole that fits yet

try:
    torch.empty(int(sys.argv[1]), dtype=torch.uint8)
except RuntimeError:
    pass
outside = [min(faults(), faults())]
with settings(Cpu(1), "float32") as recorded:
    within = [settled()]
outside.append(min(faults(), faults()))
with steady():
    pass  # what it imports stays
before = resident_bytes(os.getpid())
with steady():
    within.append(settled())
    with freed_memory_kept() as kept:
        within.append(settled())
    within.append(settled())  # what ends within leaves it as it is
left = resident_bytes(os.getpid()) - before
outside.append(min(faults(), faults()))
print(json.dumps([outside, within, [recorded["freed_memory_kept"], kept], left]))
"""


@pytest.mark.parametrize(("bytes_before", "kept"), [(1, True), (2**60, False)], ids=["fresh", "memory ran out before"])
def test_freed_memory_is_kept(bytes_before: int, kept: bool) -> None:
    """64 MiB taken, written and given back again and again come from new pages, but for where they are kept.

    In a process of its own: where a tensor comes to lie depends on all that was taken before. Where an exabyte was
    asked for, nothing is kept any more, and that is recorded. With two threads, since glibc then has a second arena
    to turn to.
    """
    resource = pytest.importorskip("resource")
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the C library is not glibc, whose allocator can be told to keep memory")
    command = [sys.executable, "-c", FAULTS, str(bytes_before)]
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    outside, within, said, left = json.loads(done.stdout)
    pages = 2**26 // resource.getpagesize()
    if outside[0] < pages // 2:
        pytest.skip("huge pages here, whose faults are few")
    assert [faults < pages // 100 for faults in within] == [kept] * 4
    assert said == [kept, kept]
    assert left < 2**25  # the 64 MiB went back
    assert all(faults >= pages // 2 for faults in outside)


def test_what_a_process_holds() -> None:
    """Torch alone is more than 10 MB; of a process that is not there nothing is known."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("the system does not say in the way of Linux what a process holds")
    assert resident_bytes(os.getpid()) > 10_000_000
    assert resident_bytes(2**31 - 1) == 0


@pytest.mark.parametrize(("held", "trims"), [((0, 0), 1), ((2**30, 2**30 + 2**24), 0), ((2**30, 2**30 + 2**26), 1)])
def test_only_much_goes_back(held: tuple[int, int], trims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trim looks at each hole of the heap: it is done for 64 MiB, not for 16, and where nothing is known of them."""
    asked: list[int] = []
    told = iter(held)
    library = SimpleNamespace(mallopt=lambda parameter, value: 1, malloc_trim=asked.append)
    monkeypatch.setattr(allocator, "_glibc", lambda: library)
    monkeypatch.setattr(allocator, "_is_mapped", lambda libc, size: False)
    monkeypatch.setattr(allocator, "resident_bytes", lambda process: next(told))
    with allocator.freed_memory_kept() as kept:
        assert kept
    assert asked == [0] * trims


OTHER = """
#include <stddef.h>
void *__libc_malloc(size_t);
void *malloc(size_t size) { return __libc_malloc(size); }
"""
ASKED = """
from rv_check.modules.allocator import freed_memory_kept
with freed_memory_kept() as kept:
    print(kept)
"""


@pytest.mark.parametrize("is_other", [True, False])
def test_another_malloc_is_left_alone(is_other: bool, tmp_path: object) -> None:
    """As that of jemalloc, preloaded: what lies before its blocks is not read, and nothing is said to be kept."""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the C library is not glibc")
    source, library = f"{tmp_path}/other.c", f"{tmp_path}/other.so"
    with open(source, "w", encoding="utf-8") as file:
        file.write(OTHER)
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("no C compiler here, as cc")
    environment = {**os.environ, **({"LD_PRELOAD": library} if is_other else {})}
    done = subprocess.run(
        [sys.executable, "-c", ASKED], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{not is_other}\n"
