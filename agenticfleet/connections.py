"""How many connections a process may hold open: all together, and those of one address.

A process that has no file left to open can reach neither its database nor a model.
"""

import logging
import resource
import time
from collections import Counter

from chat.access.addresses import counted

from .proxies import is_proxy, parsed

logger = logging.getLogger(__name__)

MAX_OPEN_FILES = 8192  # each open connection needs memory, too
RESERVED_FILES = 256  # of these, for the database, Redis, model servers and the process itself
FEW_CONNECTIONS = 2048
# A house full of people, each with a few tabs, comes from one address.
PART_OF_ONE_ADDRESS, LEAST_OF_ONE_ADDRESS = 1 / 8, 200
LOG_INTERVAL = 60.0  # seconds


def raise_file_limit() -> str:
    """Let this process and its children open more files. Return what to say if they stay few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft == resource.RLIM_INFINITY or soft >= possible:
        possible = soft
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    most = max_connections()
    if most >= FEW_CONNECTIONS:
        return ""
    return (
        f"Each worker can hold {most} connections, because a process here may open {possible}"
        f" files; `ulimit -n {MAX_OPEN_FILES}` before the start raises that."
    )


def max_connections() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MAX_OPEN_FILES if soft == resource.RLIM_INFINITY else min(soft, MAX_OPEN_FILES)
    return max(files - RESERVED_FILES, files // 2)


class Connections:
    """The open connections of this process, by their address."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.most_of_one = min(most, max(int(most * PART_OF_ONE_ADDRESS), LEAST_OF_ONE_ADDRESS))
        self._open: Counter[str] = Counter()
        self._total = 0
        self._said_at = -LOG_INTERVAL

    def admit(self, address: str) -> bool:
        """Count a connection that was opened. Return False, and don't count it, if it must go."""
        if self._total >= self.most:
            self.complain(f"all {self.most} that this process can hold are open")
        elif self._open[counted(address)] >= self.most_of_one and not is_shared(address):
            self.complain(f"{address} has {self.most_of_one} open")
        else:
            self._total += 1
            self._open[counted(address)] += 1
            return True
        return False

    def release(self, address: str) -> None:
        self._total -= 1
        self._open[counted(address)] -= 1
        if not self._open[counted(address)]:
            del self._open[counted(address)]

    def complain(self, why: str) -> None:
        now = time.monotonic()
        if now - self._said_at >= LOG_INTERVAL:
            self._said_at = now
            logger.warning("refused a connection: %s", why)


def is_shared(address: str) -> bool:
    """Return True if many people may come from this address: a proxy's, or this machine's."""
    found = parsed(address)
    return found is not None and (found.is_loopback or is_proxy(found))
