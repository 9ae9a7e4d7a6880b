"""What becomes of memory that is freed on the CPU: it stays with the process where this is asked for."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # parameters of glibc's mallopt(3)
KEEPS = {M_TRIM_THRESHOLD: 2**31 - 1, M_MMAP_MAX: 0}
# Whoever calls mallopt ends glibc's own adjustment of the two thresholds. These are where it ends of itself, after the
# largest block that moves them: 4 MiB times the bytes of a `long`, and twice that.
USUAL = {M_MMAP_THRESHOLD: 32 * 2**20, M_TRIM_THRESHOLD: 64 * 2**20, M_MMAP_MAX: 65536}
WORTH_A_TRIM = 32 * 2**20  # bytes; a trim looks at each hole of the heap, of which there may be a hundred thousand
_holding: list[ctypes.CDLL] = []  # the C library while it keeps what is freed; its settings are those of the process


@contextmanager
def freed_memory_kept() -> Iterator[bool]:
    """What is freed stays with the process inside, as with CUDA's allocator; at the end it goes back, if it is much.

    Otherwise every large tensor is made of new pages, which the kernel clears in the time of whoever touches them: half
    of a backward pass of VGG-11. Whether one finds a hole in the heap instead depends on what the process did before,
    and of two equal networks one has been seen to, so that the other took 1.9 times as long. Where it is kept already
    nothing changes.

    Yields: whether it stays. It does not where malloc is not glibc's; nor where memory once ran out, since glibc then
    gives the thread another arena, which holds no large tensor.
    """
    if _holding:
        yield not _is_mapped(_holding[0], 2**26)
        return
    libc = _glibc()
    if libc is None:
        yield False
        return
    before = resident_bytes(os.getpid())
    taken = [libc.mallopt(parameter, value) for parameter, value in KEEPS.items()]
    _holding.append(libc)
    try:
        yield all(taken) and not _is_mapped(libc, 2**26)
    finally:
        _holding.clear()
        for parameter, value in USUAL.items():
            libc.mallopt(parameter, value)
        if not before or resident_bytes(os.getpid()) - before > WORTH_A_TRIM:
            libc.malloc_trim(0)


def resident_bytes(process: int) -> int:
    """The memory that a process holds; 0 where that is not known."""
    try:
        pages = Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is glibc and nothing stands before its malloc, as jemalloc does that is preloaded."""
    if platform.libc_ver()[0] != "glibc":
        return None
    libc, all_that_is_loaded = ctypes.CDLL("libc.so.6"), ctypes.CDLL(None)
    own, used = (ctypes.cast(library.malloc, ctypes.c_void_p).value for library in (libc, all_that_is_loaded))
    return libc if own == used else None


def _is_mapped(libc: ctypes.CDLL, size: int) -> bool:
    """Whether so many bytes have a mapping of their own, gone when they are freed, by glibc's own mark before them."""
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    block = libc.malloc(size)
    if not block:
        return True
    marked = ctypes.c_size_t.from_address(block - ctypes.sizeof(ctypes.c_size_t)).value & 2
    libc.free(block)
    return bool(marked)
