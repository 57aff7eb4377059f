"""The faults of a storm with their times, so that a check knows which moments were undisturbed."""

import asyncio
import time
from collections import Counter
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

# Seconds after a fault in which it may still have effects.
AFTERMATH = {"redis": 2.0, "database": 1.0, "worker": 6.0, "load": 0.5}
STOPS = ("freeze", "hiccup")  # kinds of faults after which a worker continues
WORKER_FAULTS = ("killed", "terminated", *STOPS)
TICK, LATE = 0.02, 0.08  # seconds
LATENESS = ("load", "late")
# Linux counts here the microseconds in which at least one process waited for a CPU.
PRESSURE = Path("/proc/pressure/cpu")
MAX_PRESSURE = 0.5  # share of an interval; above it, a process may be late through no fault
PRESSURE_INTERVAL = 0.25  # seconds
# Seconds that this process, which is also the model server, may be late. Scripts keep at least this
# distance from the fleet's deadlines.
MAX_HELD_UP = 1.0


@dataclass(slots=True)
class Window:
    """One fault, with times of `time.monotonic`."""

    domain: str
    kind: str
    since: float
    until: float = inf


@dataclass(slots=True)
class Journal:
    """All faults so far."""

    windows: list[Window] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    # When processes waited for a CPU.
    pressed: list[tuple[float, float]] = field(default_factory=list)
    born: float = field(default_factory=time.monotonic)

    def count(self, kind: str) -> None:
        """Count a fault that takes no time."""
        self.counts[kind] += 1

    @contextmanager
    def noting(self, domain: str, kind: str) -> Iterator[None]:
        """Note a fault that lasts as long as the block."""
        self.count(f"{domain}: {kind}")
        window = Window(domain, kind, time.monotonic())
        self.windows.append(window)
        try:
            yield
        finally:
            window.until = time.monotonic()

    def was_quiet(
        self, since: float, until: float, domains: Container[str] = AFTERMATH.keys()
    ) -> bool:
        """Return True if no noted fault of these domains can have had an effect in this time."""
        return not any(
            w.domain in domains and w.since <= until and w.until + AFTERMATH[w.domain] >= since
            for w in self.windows
        )

    def happened(self, kinds: Container[str], since: float, until: float) -> bool:
        """Return True if a fault of these kinds overlaps this time, without its effects."""
        return any(w.kind in kinds and w.since <= until and w.until >= since for w in self.windows)

    def was_held_up(self, since: float, until: float) -> bool:
        """Return True if this process was so late that a timeout of the fleet may have expired."""
        late = [
            min(w.until, until) - max(w.since, since)
            for w in self.windows
            if (w.domain, w.kind) == LATENESS
        ]
        return sum(seconds for seconds in late if seconds > 0) > MAX_HELD_UP

    def was_pressed(self, since: float, until: float) -> bool:
        """Return True if processes waited for a CPU in this time, or if the kernel can't tell."""
        return not PRESSURE.exists() or any(
            began <= until and ended >= since for began, ended in self.pressed
        )

    def around(self, since: float, until: float) -> list[str]:
        """Return the faults of this time as text."""
        found = [
            w
            for w in self.windows
            if w.domain != "load" and w.since <= until and w.until + AFTERMATH[w.domain] >= since
        ]
        return [
            f"{w.since - self.born:.1f}–{w.until - self.born:.1f} s {w.domain} {w.kind}"
            for w in found
        ]

    async def watch_pressure(self) -> None:
        """Note when processes wait for a CPU, if the kernel reports it."""
        while PRESSURE.exists():
            before, waited = time.monotonic(), waited_seconds()
            await asyncio.sleep(PRESSURE_INTERVAL)
            if waited_seconds() - waited > MAX_PRESSURE * ((now := time.monotonic()) - before):
                self.pressed.append((before, now))

    async def watch_load(self) -> None:
        """Note when this process was too busy to measure times."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK)
            if (now := time.monotonic()) - before > TICK + LATE:
                self.windows.append(Window(*LATENESS, before, now))


def waited_seconds() -> float:
    """Return the seconds since boot in which at least one process waited for a CPU."""
    return int(PRESSURE.read_text().partition("total=")[2].split()[0]) / 1e6
