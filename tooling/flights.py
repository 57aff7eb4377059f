"""Work that several callers want at once is done once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass


@dataclass(slots=True)
class Flight[T]:
    task: "asyncio.Future[T]"
    passengers: int = 0


class Flights[T]:
    """Calls in progress by key. A caller that is cancelled leaves the flight; the last one to leave ends it."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, Flight[T]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self._flights

    async def join(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The result of the work under way for this key, started if there is none."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = Flight(asyncio.ensure_future(work()))
            flight.task.add_done_callback(lambda _: self._landed(key, flight))
        flight.passengers += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.passengers -= 1
            if not flight.passengers and not flight.task.done():
                # Nobody may join what is about to end.
                self._forget(key, flight)
                flight.task.cancel()
                await asyncio.wait([flight.task])

    def _landed(self, key: Hashable, flight: Flight[T]) -> None:
        self._forget(key, flight)
        if not flight.task.cancelled():
            # Whoever still listens gets it too; asyncio need not complain if nobody does.
            flight.task.exception()

    def _forget(self, key: Hashable, flight: Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
