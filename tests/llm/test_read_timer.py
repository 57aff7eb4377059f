"""The timer limits single reads, and a cancel of the task always wins over it."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps

import pytest

from chat.llm.timer import ReadTimer

TIMEOUT = 0.1


class LeapingSelector(selectors.DefaultSelector):
    """Never sleep: the time that a loop would sleep passes at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += max(0, timeout or 0)
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
    """Measure time in timers only, so that a busy machine changes no result."""

    def __init__(self) -> None:
        self._clock = LeapingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def on_its_own_clock(test: Callable[[], Coroutine[object, object, None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(test())

    return run


def chunks(*pauses: float) -> Callable[[], Awaitable[bytes]]:
    """Return a read that takes these seconds in turn, and ends behind the last one."""
    left = list(pauses)

    async def read() -> bytes:
        if not left:
            return b""
        await asyncio.sleep(left.pop(0))
        return b"chunk"

    return read


@on_its_own_clock
async def test_short_reads_may_take_longer_together() -> None:
    with ReadTimer(TIMEOUT) as timer:
        body = chunks(*[TIMEOUT / 4] * 12)
        assert [await timer.read(body) for _ in range(13)] == [b"chunk"] * 12 + [b""]


@on_its_own_clock
async def test_time_between_reads_does_not_count() -> None:
    with ReadTimer(TIMEOUT) as timer:
        body = chunks(0, TIMEOUT / 2)
        assert await timer.read(body) == b"chunk"
        await asyncio.sleep(2 * TIMEOUT)
        assert await timer.read(body) == b"chunk"


@on_its_own_clock
async def test_long_read_raises_and_leaves_the_task_uncancelled() -> None:
    began = asyncio.get_running_loop().time()
    with ReadTimer(TIMEOUT) as timer:
        body = chunks(TIMEOUT / 2, 60)
        assert await timer.read(body) == b"chunk"
        with pytest.raises(TimeoutError):
            await timer.read(body)
    assert asyncio.get_running_loop().time() - began == pytest.approx(1.5 * TIMEOUT)
    task = asyncio.current_task()
    assert task
    assert not task.cancelling()


@pytest.mark.parametrize("is_timer_first", [True, False])
def test_cancel_at_the_moment_of_the_timeout_cancels_the_task(is_timer_first: bool) -> None:
    @on_its_own_clock
    async def read_and_cancel() -> None:
        timer = ReadTimer(TIMEOUT)  # Not entered, so only this test calls `check`.
        task = asyncio.create_task(timer.read(chunks(60)))
        await asyncio.sleep(2 * TIMEOUT)
        first, second = (timer.check, task.cancel) if is_timer_first else (task.cancel, timer.check)
        first()
        second()
        await asyncio.wait({task})
        assert task.cancelled()

    read_and_cancel()


@on_its_own_clock
async def test_timer_is_cancelled_at_the_end() -> None:
    with ReadTimer(TIMEOUT) as timer:
        await timer.read(chunks(0))
    assert timer._timer.cancelled()
