"""Await what the author of a tool has written: it may block the event loop, or refuse to end."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from types import coroutine
from typing import Any

TOO_LONG = 0.25  # seconds in which nothing else in the event loop could go on
GRACE = 2.0  # seconds that a function has to end after it was cancelled

# Tasks that refuse to end. The event loop keeps no others alive.
_left: set["asyncio.Task[Any]"] = set()


class Escaped(Exception):
    """Raised in place of an exception that would end more than the call, such as SystemExit."""

    def __init__(self, exc: BaseException) -> None:
        super().__init__(f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__)


async def result_of(
    awaitable: Awaitable[Any], *, on_block: Callable[[float], None], on_refusal: Callable[[], None]
) -> Any:
    """Return or raise what the awaitable does, in a task of its own.

    `on_block` gets the seconds of the longest time for which it blocked the event loop.
    `on_refusal` is called if it doesn't end when it is cancelled; then it is left.
    """
    task = asyncio.ensure_future(contained(awaitable, on_block))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        if not await ended_within_grace(task):
            _left.add(task)
            task.add_done_callback(_left.discard)
            on_refusal()
        raise


async def ended_within_grace(task: "asyncio.Task[Any]") -> bool:
    await asyncio.wait([task], timeout=GRACE)
    if task.done() and not task.cancelled():
        task.exception()  # seen: asyncio would log it
    return task.done()


async def contained(awaitable: Awaitable[Any], on_block: Callable[[float], None]) -> Any:
    """Await it. A task must not raise SystemExit or KeyboardInterrupt, which end the event loop."""
    try:
        if isinstance(awaitable, Coroutine):
            return await timed(awaitable, on_block)
        return await awaitable
    except Exception:
        raise
    except GeneratorExit:
        raise
    except BaseException as exc:
        task = asyncio.current_task()
        if isinstance(exc, asyncio.CancelledError) and task and task.cancelling():
            raise
        raise Escaped(exc) from exc


@coroutine
def timed(
    function: Coroutine[Any, Any, Any], on_block: Callable[[float], None]
) -> Generator[Any, Any, Any]:
    """Await the coroutine, and time each of its steps."""
    longest = 0.0
    sent: Any = None
    thrown: BaseException | None = None
    try:
        while True:
            begun = time.perf_counter()
            try:
                waits_for = function.send(sent) if thrown is None else function.throw(thrown)
            except StopIteration as end:
                return end.value
            finally:
                longest = max(longest, time.perf_counter() - begun)
            sent = thrown = None
            try:
                sent = yield waits_for
            except GeneratorExit:
                function.close()
                raise
            except BaseException as exc:  # noqa: BLE001 - it is thrown into the coroutine
                thrown = exc
    finally:
        if longest >= TOO_LONG:
            with suppress(Exception):
                on_block(longest)
