"""Single flight: callers that want the same work at the same time share one run of it."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass


@dataclass(slots=True)
class Flight[T]:
    task: "asyncio.Future[T]"
    passengers: int = 0


class Flights[T]:
    """Work in progress by key. A cancelled caller leaves it; it ends when the last one leaves."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight[T]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._flights

    async def join(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Return the result of the work in progress for this key; start `work` if there is none."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(asyncio.ensure_future(work()))
            flight.task.add_done_callback(lambda _: self.land(key, flight))
        flight.passengers += 1
        try:
            # Cancelling one caller must not cancel the work of the others.
            return await asyncio.shield(flight.task)
        finally:
            flight.passengers -= 1
            if not flight.passengers and not flight.task.done():
                # Forget it before it ends, so that no new caller joins it.
                self.forget(key, flight)
                flight.task.cancel()
                await asyncio.wait([flight.task])

    def land(self, key: Hashable, flight: Flight[T]) -> None:
        self.forget(key, flight)
        if not flight.task.cancelled():
            # Mark the exception as seen: if all callers left, asyncio would log it.
            flight.task.exception()

    def forget(self, key: Hashable, flight: Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
