"""Who has opened a listening socket of this machine, as Linux tells it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
LISTENING = "0A"
# Loopback and "any address", as the kernel writes them in IPv4, IPv6 and IPv4 mapped to IPv6.
HERE = frozenset(
    {
        "0100007F",
        "00000000",
        "0" * 32,
        "00000000000000000000000001000000",
        "0000000000000000FFFF00000100007F",
    }
)
FIRST_PERSON = 1000  # Users below are the system's: Ollama's installer makes one.


def is_trusted(port: int, tables: Sequence[Path] = TABLES) -> bool:
    """Return True if we, root or a user of the system listen on this port of this machine.

    Another person could have started a program there to read what we ask. Without these tables,
    as on macOS, all programs are trusted.
    """
    if not any(table.exists() for table in tables):
        return True
    owners = {owner for table in tables for owner in owners_in(table, port)}
    return bool(owners) and all(owner == os.getuid() or owner < FIRST_PERSON for owner in owners)


def owners_in(table: Path, port: int) -> Iterator[int]:
    """Yield the ids of the users who listen on the port."""
    try:
        rows = table.read_text().splitlines()[1:]
    except OSError:
        return
    for row in rows:
        # sl, local address, remote address, state, queues, timer, retransmits, uid, …
        columns = row.split()
        host, _, number = columns[1].partition(":")
        if columns[3] == LISTENING and host in HERE and int(number, 16) == port:
            yield int(columns[7])
