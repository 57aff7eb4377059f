"""How much memory this machine has left, and how much processes use."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB", re.MULTILINE)
PROPORTIONAL = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
CGROUP = Path("/sys/fs/cgroup")  # a container sees its own limit here


def available_bytes() -> int:
    """Return how much memory may still be used, in bytes."""
    return min(of_machine(), of_container(CGROUP))


def of_machine(meminfo: Path = Path("/proc/meminfo")) -> int:
    with suppress(OSError):
        if found := AVAILABLE.search(meminfo.read_text()):
            return int(found[1]) * 1024
    # macOS tells no such figure. Half of all memory is rarely used at once.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def of_container(cgroup: Path) -> int:
    try:
        limit, used = ((cgroup / name).read_text() for name in ("memory.max", "memory.current"))
        return max(0, int(limit) - int(used))
    except (OSError, ValueError):  # no container, or "max"
        return 2**63


def used_by(processes: Iterable[int]) -> int | None:
    """Return the memory of these processes together, in bytes; None if the system doesn't tell.

    What several of them share counts once.
    """
    total = 0
    for pid in processes:
        try:
            found = PROPORTIONAL.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
        except OSError:
            return None
        total += int(found[1]) * 1024 if found else 0
    return total
