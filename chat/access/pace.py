"""How often each process does something that is cheap, but asked for while people type."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from threading import Lock


class Pace:
    """Counts requests in windows of some seconds. Nothing is stored, and no other process asked."""

    def __init__(
        self, window: float, *, most: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`most`: requests in a window of all subjects together."""
        self.window = window
        self._most = most
        self._clock = clock
        self._lock = Lock()
        self._ends_at = 0.0
        self._counts: Counter[str] = Counter()
        self._count = 0

    def takes(self, subjects: Mapping[str, int]) -> bool:
        """Count a request for subjects, each with its bound. Return False if one is reached."""
        with self._lock:
            now = self._clock()
            if now >= self._ends_at:
                self._ends_at = now + self.window
                self._counts.clear()
                self._count = 0
            is_full = self._count >= self._most
            if is_full or any(self._counts[each] >= most for each, most in subjects.items()):
                return False
            self._count += 1
            self._counts.update(subjects.keys())
            return True
