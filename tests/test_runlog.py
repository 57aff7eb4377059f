"""The log of a run in a real Redis: what is written together, written again, and read from any cursor."""

import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from chat.protocol import Ending, ResponseDelta, ending_events
from chat.runlog import LogStore, RunLog

TTL = 60


@pytest_asyncio.fixture
async def store(valkey_url: str) -> AsyncIterator[LogStore]:
    store = LogStore(valkey_url, ttl=TTL)
    yield store
    await store.aclose()


@pytest.fixture
def log() -> RunLog:
    return RunLog(uuid.uuid4(), on_change=lambda _: None)


def say(log: RunLog, *words: str) -> None:
    for word in words:
        log.append(ResponseDelta(delta=word))


async def words(store: LogStore, log: RunLog, after: int) -> list[str]:
    return [entry.event.delta for entry in (await store.read(log.run_id, after)).entries if isinstance(entry.event, ResponseDelta)]


@pytest.mark.parametrize("after", range(7))
async def test_a_reader_at_any_cursor_gets_what_comes_behind_it(store: LogStore, log: RunLog, after: int) -> None:
    for together in (["one", "two", "three"], ["four"], ["five", "six"]):
        say(log, *together)
        await store.write([log])
    assert await words(store, log, after) == ["one", "two", "three", "four", "five", "six"][after:]


@pytest.mark.parametrize("after", range(5))
async def test_what_is_written_again_is_read_once(store: LogStore, log: RunLog, after: int) -> None:
    say(log, "one", "two")
    unanswered = list(log.pending)
    await store.write([log])
    log.pending.extend(unanswered)
    await store.write([log])
    log.pending.extend(unanswered)
    say(log, "three", "four")
    await store.write([log])
    stored = await store.read(log.run_id, after)
    assert stored.connects(after) is (after < 4)
    assert await words(store, log, after) == ["one", "two", "three", "four"][after:]


@pytest.mark.parametrize("after", [0, 1, 2, 10**9])
async def test_the_ending_reaches_a_reader_at_any_cursor_and_nothing_comes_behind_it(store: LogStore, log: RunLog, after: int) -> None:
    say(log, "one", "two")
    late = RunLog(log.run_id, on_change=lambda _: None)
    say(late, "one", "two", "late")
    log.close(ending_events(Ending(status="completed"), "onetwo"))
    await store.write([log])
    await store.write([late])
    stored = await store.read(log.run_id, after)
    assert stored.ending == log.ending
    assert "late" not in await words(store, log, after)


async def test_a_log_has_an_end_of_life_from_its_first_write(store: LogStore, log: RunLog) -> None:
    say(log, "one")
    await store.write([log])
    say(log, "two")
    await store.write([log])
    assert 0 < await store._redis.client.ttl(f"fleet:log:{log.run_id}") <= TTL
