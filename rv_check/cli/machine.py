"""What this machine has for work that is done at once: cores, and memory that is free."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
PROC = Path("/proc")
FREE_SHARE = 0.5  # of all memory, taken to be free where the system does not say how much is


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_bytes() -> int:
    """The memory that is free, of the machine and of the container; 0 where nothing is known of it."""
    meminfo = _numbers(PROC / "meminfo")
    free = [1024 * meminfo["MemAvailable:"]] if "MemAvailable:" in meminfo else []
    if not free and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        free = [int(FREE_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))]
    limit, used = (_number(CGROUP / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        free.append(limit - used + _numbers(CGROUP / "memory.stat").get("inactive_file", 0))
    return max(0, min(free, default=0))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or `max`
        return None


def _numbers(path: Path) -> dict[str, int]:
    """The lines `name number` of a file, none where it cannot be read."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {words[0]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdecimal()}
