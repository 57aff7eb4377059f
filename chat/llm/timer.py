"""A time limit for each of many reads, with one timer."""

import asyncio
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Self


class ReadTimer:
    """Limit each read of a response to `timeout` seconds.

    All reads share one timer, which is set again only when it runs out: a timer for each read
    would cost more than the read itself.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._began_at = inf  # Start of the current read. Between reads no time passes.
        self._has_expired = False

    def __enter__(self) -> Self:
        self._timer = self._loop.call_later(self._timeout, self.check)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    async def read(self, read: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return what `read` returns. Raise TimeoutError if that takes too long."""
        self._task, self._began_at = asyncio.current_task(), self._loop.time()
        try:
            return await read()
        except asyncio.CancelledError as exc:
            # `uncancel()` returns how many other cancels are pending. Ours alone becomes
            # TimeoutError; if the run is cancelled at the same moment, its cancel must win.
            if self._has_expired and self._task and not self._task.uncancel():
                raise TimeoutError from exc
            raise
        finally:
            self._began_at = inf

    def check(self) -> None:
        """Cancel a read that takes too long; otherwise set the timer for the rest of its time."""
        elapsed = max(0, self._loop.time() - self._began_at)
        if elapsed < self._timeout:
            self._timer = self._loop.call_later(self._timeout - elapsed, self.check)
        elif self._task:
            self._has_expired = True
            self._task.cancel()
