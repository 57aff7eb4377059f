"""The log of a run, in memory and in a real Redis: written, written again, read at any cursor."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

import pytest
import pytest_asyncio

from chat.protocol.events import OrchestratorMessage, ResponseDelta, ResponseSnapshot, ending_events
from chat.protocol.payloads import SnapshotData
from chat.protocol.terms import Ending
from chat.runs.log import RunLog
from chat.runs.replay import WINDOW, Entry
from chat.runs.store import LogStore

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
    return [
        entry.event.delta
        for entry in (await store.read(log.run_id, after)).entries
        if isinstance(entry.event, ResponseDelta)
    ]


@pytest.mark.parametrize("after", range(7))
async def test_read_returns_the_events_behind_any_cursor(
    store: LogStore, log: RunLog, after: int
) -> None:
    for together in (["one", "two", "three"], ["four"], ["five", "six"]):
        say(log, *together)
        await store.write([log])
        assert not log.pending
    assert await words(store, log, after) == ["one", "two", "three", "four", "five", "six"][after:]


@pytest.mark.parametrize("after", range(5))
async def test_events_that_are_written_again_are_read_once(
    store: LogStore, log: RunLog, after: int
) -> None:
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
async def test_ending_is_read_at_any_cursor_and_refuses_later_events(
    store: LogStore, log: RunLog, after: int
) -> None:
    say(log, "one", "two")
    late = RunLog(log.run_id, on_change=lambda _: None)
    say(late, "one", "two", "late")
    log.close(ending_events(Ending(status="completed"), "onetwo"))
    await store.write([log])
    await store.write([late])
    stored = await store.read(log.run_id, after)
    assert stored.ending == log.ending
    assert "late" not in await words(store, log, after)


async def test_log_has_a_time_to_live_from_its_first_write(store: LogStore, log: RunLog) -> None:
    say(log, "one")
    await store.write([log])
    say(log, "two")
    await store.write([log])
    assert 0 < await store._redis.client.ttl(f"fleet:log:{log.run_id}") <= TTL


async def test_event_after_the_ending_is_dropped(log: RunLog) -> None:
    say(log, "one")
    log.close(ending_events(Ending(status="cancelled"), "one"))
    say(log, "late")
    batches = [batch async for batch in log.follow(0, compact=False)]
    assert read("", [entry for batch in batches for entry in batch]) == log.text == "one"
    assert [entry.seq for entry in log.pending] == [1]


async def behind(log: RunLog, after: int) -> list[Entry]:
    async with aclosing(log.follow(after, compact=False)) as batches:
        return await anext(batches)


def read(text: str, entries: Sequence[Entry]) -> str:
    """Return the answer of a client that had this text and got these events."""
    for entry in entries:
        match entry.event:
            case ResponseDelta(delta=delta):
                text += delta
            case ResponseSnapshot(data=SnapshotData(text=whole)):
                text = whole
    return text


@pytest.mark.parametrize("has_ended", [True, False])
@pytest.mark.parametrize("restarted", [True, False])
async def test_slow_follower_can_rejoin_after_any_event_without_losing_text(
    log: RunLog, has_ended: bool, restarted: bool
) -> None:
    say(log, "before ")
    log.append(OrchestratorMessage(message="a step"))
    say(log, *(f"{number} " for number in range(WINDOW)))
    log.append(OrchestratorMessage(message="right behind a word"))
    log.append(OrchestratorMessage(message="right behind a step"))
    if restarted:
        log.append(ResponseSnapshot(data=SnapshotData("")))
        log.append(OrchestratorMessage(message="right behind nothing"))
    say(log, *(f"{number} " for number in range(WINDOW)))
    if has_ended:
        log.append(OrchestratorMessage(message="the last"))
        log.close(ending_events(Ending(status="completed"), log.text))
    batch = await behind(log, 1)
    seqs = [entry.seq for entry in batch]
    assert seqs == sorted(set(seqs))
    for met in range(len(batch)):
        text, cursor = read("before ", batch[:met]), batch[met - 1].seq if met else 1
        assert read(text, await behind(log, cursor) if cursor < log.last_seq else []) == log.text
