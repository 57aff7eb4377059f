"""End the processes of a parent that was killed.

A script of its own, run by its path: it must start at once and outlive any other process. Its input
is a line per process: `+worker 123` or `+service 123` for a start, `-123` for an end. The end of
the input is the end of the parent. Workers go first, because they need the services to hand over
their runs.
"""

import os
import signal
import sys
import time
from collections.abc import Collection, Iterable
from contextlib import suppress

# Seconds.
FINISH_TIMEOUT = 2.0  # for answers that stream
WORKERS_TIMEOUT = 2.0  # to hand over the others
SERVICES_TIMEOUT = 1.0
POLL_INTERVAL = 0.02


def main() -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    watched = read_watched(sys.stdin)
    workers = [pid for pid, role in watched.items() if role == "worker"]
    # The first signal lets answers that stream finish, the second hands them over, too: the next
    # fleet goes on with them.
    send(workers, signal.SIGTERM)
    wait_for(workers, FINISH_TIMEOUT)
    send(workers, signal.SIGTERM)
    wait_for(workers, WORKERS_TIMEOUT)
    send(watched.keys() - set(workers), signal.SIGTERM)
    wait_for(watched, SERVICES_TIMEOUT)
    send(watched, signal.SIGKILL)


def read_watched(lines: Iterable[str]) -> dict[int, str]:
    """The processes and their roles that are left when the input ends."""
    watched: dict[int, str] = {}
    for line in lines:
        if line.startswith("+"):
            role, pid = line[1:].split()
            watched[int(pid)] = role
        else:
            watched.pop(int(line[1:]), None)
    return watched


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal the groups that these processes lead, as far as they still run."""
    for pid in pids:
        # One may end, and be reaped, in between; the others wait for their signals.
        with suppress(ProcessLookupError):
            if is_running(pid):
                os.killpg(pid, number)


def wait_for(pids: Collection[int], patience: float) -> None:
    deadline = time.monotonic() + patience
    while any(map(is_running, pids)) and time.monotonic() < deadline:
        time.sleep(POLL_INTERVAL)


def is_running(pid: int) -> bool:
    """Return True if the process lives; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(") ")[2][:1] != "Z"
    except FileNotFoundError:
        return not os.path.isdir("/proc/self")  # without a /proc we trust the signal


if __name__ == "__main__":
    main()
