"""The one clock of a run."""

import time
from datetime import UTC, datetime


class Clock:
    """Milliseconds since the run was started, a time.perf_counter(). All its figures use it."""

    def __init__(self, started: float) -> None:
        self._started = started

    @property
    def ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 2)

    def ms_at(self, moment: str) -> float:
        """Return the milliseconds of an event's timestamp; those of now if it is no time."""
        try:
            age = datetime.now(UTC) - datetime.fromisoformat(moment)
        except ValueError:
            return self.ms
        return round(max(0, self.ms - age.total_seconds() * 1000), 2)


class Stopwatch:
    """Milliseconds since `started_ms` of the run, which is now if it isn't given."""

    def __init__(self, clock: Clock, started_ms: float | None = None) -> None:
        self._clock = clock
        self.started_ms = clock.ms if started_ms is None else started_ms

    @property
    def ms(self) -> float:
        return round(self._clock.ms - self.started_ms, 2)
