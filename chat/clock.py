"""The one clock of a run."""

import time


class Clock:
    """Milliseconds since the run was started, a time.perf_counter(). All its figures use it."""

    def __init__(self, started: float) -> None:
        self._started = started

    @property
    def ms(self) -> float:
        return round((time.perf_counter() - self._started) * 1000, 2)


class Stopwatch:
    """Milliseconds since it was made, at `started_ms` of the run."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.started_ms = clock.ms

    @property
    def ms(self) -> float:
        return round(self._clock.ms - self.started_ms, 2)
