"""Memory that is freed stays with the process while it is asked for, and goes back afterwards."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from tests import ROOT

FAULTS = """
import json, resource, sys
from contextlib import nullcontext
import torch
from rv_check.bench.devices import Cpu, settings
from rv_check.modules.allocator import freed_memory_kept
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
    within.append(settled())
    with freed_memory_kept() as kept:
        within.append(settled())
    within.append(settled())  # what ends within leaves it as it is
outside.append(min(faults(), faults()))
print(json.dumps([outside, within, [recorded["freed_memory_kept"], kept]]))
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
    outside, within, said = json.loads(done.stdout)
    pages = 2**26 // resource.getpagesize()
    if outside[0] < pages // 2:
        pytest.skip("huge pages here, whose faults are few")
    assert [faults < pages // 100 for faults in within] == [kept] * 4
    assert said == [kept, kept]
    assert all(faults >= pages // 2 for faults in outside)


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
