"""The deadline on a model's silence: it is about one read, and never takes a cancel for its own."""

import asyncio
import selectors
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import wraps

import pytest

from chat.llm.client import ReadTimer

LONGEST = 0.1


class Leaping(selectors.DefaultSelector):
    """Waits for nothing: the time that a loop would sleep has passed at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += max(0, timeout or 0)
        return super().select(0)


class LeapingLoop(asyncio.SelectorEventLoop):
    """Its clock knows nothing but its timers, so that no machine is too busy for them."""

    def __init__(self) -> None:
        self._clock = Leaping()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def on_its_own_clock(test: Callable[[], Coroutine[object, object, None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        with asyncio.Runner(loop_factory=LeapingLoop) as runner:
            runner.run(test())

    return run


async def chunks(*pauses: float) -> AsyncGenerator[bytes]:
    for pause in pauses:
        await asyncio.sleep(pause)
        yield b"chunk"


@on_its_own_clock
async def test_reads_that_are_short_may_take_long_together() -> None:
    with ReadTimer(LONGEST) as silence:
        body = chunks(*[LONGEST / 4] * 12)
        assert [await silence.read(body) for _ in range(13)] == [b"chunk"] * 12 + [None]


@on_its_own_clock
async def test_time_between_reads_does_not_count() -> None:
    with ReadTimer(LONGEST) as silence:
        body = chunks(0, LONGEST / 2)
        assert await silence.read(body) == b"chunk"
        await asyncio.sleep(2 * LONGEST)
        assert await silence.read(body) == b"chunk"


@on_its_own_clock
async def test_a_read_that_takes_too_long_is_ended_and_the_task_goes_on() -> None:
    began = asyncio.get_running_loop().time()
    with ReadTimer(LONGEST) as silence:
        body = chunks(LONGEST / 2, 60)
        assert await silence.read(body) == b"chunk"
        with pytest.raises(TimeoutError):
            await silence.read(body)
    assert asyncio.get_running_loop().time() - began == pytest.approx(1.5 * LONGEST)
    task = asyncio.current_task()
    assert task
    assert not task.cancelling()


@on_its_own_clock
async def test_a_cancel_in_the_same_moment_stays_one() -> None:
    async def read(silence: ReadTimer) -> None:
        await silence.read(chunks(60))

    with ReadTimer(LONGEST) as silence:
        task = asyncio.create_task(read(silence))
        asyncio.get_running_loop().call_later(LONGEST, task.cancel)
        await asyncio.wait({task})
        silence.check()
        assert task.cancelled()
    with ReadTimer(0) as silence:
        task = asyncio.create_task(read(silence))
        await asyncio.sleep(0)
        silence.check()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


@on_its_own_clock
async def test_nothing_is_left_behind() -> None:
    with ReadTimer(LONGEST) as silence:
        await silence.read(chunks(0))
    assert silence._timer.cancelled()
