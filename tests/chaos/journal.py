"""What was done to the fleet and when, so that a check knows which moments were undisturbed."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

AFTERMATH = {
    "redis": 2.0,
    "database": 1.0,
    "worker": 6.0,
    "load": 0.5,
}  # seconds until the traces of a fault are gone
TICK, LATE = 0.02, 0.08  # seconds
LATENESS = ("load", "late")
PRESSURE = Path(
    "/proc/pressure/cpu"
)  # Linux counts here the microseconds in which somebody waited for a processor
MAX_PRESSURE = 0.5  # of a moment: more, and a process may be late without a fault of its own
MOMENT = 0.25  # seconds
HELD_UP = 1.0  # seconds for which we, and the model that we play, were late: no script is that far from the deadlines of the fleet


@dataclass(slots=True)
class Window:
    """One fault; times are of `time.monotonic`."""

    domain: str
    kind: str
    since: float
    until: float = inf


@dataclass(slots=True)
class Journal:
    """All faults so far."""

    windows: list[Window] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    pressed: list[tuple[float, float]] = field(
        default_factory=list
    )  # when processes waited for a processor
    born: float = field(default_factory=time.monotonic)

    def count(self, kind: str) -> None:
        """Note a fault that takes no time."""
        self.counts[kind] += 1

    @contextmanager
    def noting(self, domain: str, kind: str) -> Iterator[None]:
        """A fault lasts as long as the block."""
        self.count(f"{domain}: {kind}")
        window = Window(domain, kind, time.monotonic())
        self.windows.append(window)
        try:
            yield
        finally:
            window.until = time.monotonic()

    def was_quiet(self, since: float, until: float) -> bool:
        """Whether nothing that is noted here can have been felt in this time."""
        return not any(
            w.since <= until and w.until + AFTERMATH[w.domain] >= since for w in self.windows
        )

    def were_workers_frozen(self, since: float, until: float) -> bool:
        return any(
            w.kind == "freeze" and w.since <= until and w.until >= since for w in self.windows
        )

    def was_held_up(self, since: float, until: float) -> bool:
        """Whether this very process, with its model, was so late in this time that a clock of the fleet may have run out."""
        late = [
            min(w.until, until) - max(w.since, since)
            for w in self.windows
            if (w.domain, w.kind) == LATENESS
        ]
        return sum(seconds for seconds in late if seconds > 0) > HELD_UP

    def was_pressed(self, since: float, until: float) -> bool:
        """Whether processes waited for a processor in this time, as far as we can know."""
        return not PRESSURE.exists() or any(
            began <= until and ended >= since for began, ended in self.pressed
        )

    def around(self, since: float, until: float) -> list[str]:
        """The faults of this time, for people."""
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
        """Note when the processors were asked for more than they have, where the kernel tells."""
        while PRESSURE.exists():
            before, waited = time.monotonic(), _waited()
            await asyncio.sleep(MOMENT)
            if _waited() - waited > MAX_PRESSURE * ((now := time.monotonic()) - before):
                self.pressed.append((before, now))

    async def watch_load(self) -> None:
        """Note when this very process was too busy to take times."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK)
            if (now := time.monotonic()) - before > TICK + LATE:
                self.windows.append(Window(*LATENESS, before, now))


def _waited() -> float:
    """Seconds, ever more, in which at least one process waited for a processor."""
    return int(PRESSURE.read_text().partition("total=")[2].split()[0]) / 1e6
