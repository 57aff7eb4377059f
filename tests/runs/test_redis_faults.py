"""Redis fails while runs are live: readers get their answers anyway, and the logs follow later."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import redis

from chat.models import Run
from chat.protocol.events import ResponseDelta, ending_events
from chat.protocol.terms import CANCELLED
from chat.runs.flushing import LogFlusher
from chat.runs.log import RunLog
from chat.runs.store import LogStore
from chat.runs.worker import Worker
from tests.chatting import Chatting, chat_request, kinds, text_of
from tests.proxy import Proxy
from tests.scripted_model import ScriptedModel
from tests.timing import quickest

from .rows import orphan, until_closed

pytestmark = pytest.mark.django_db(transaction=True)

FULL = "The answer is **42**."
UNNOTICED = 0.25  # seconds; a call that waits for Redis waits for 0.3


@pytest_asyncio.fixture
async def network(
    transactional_db: None, impatience: None, valkey_url: str, settings
) -> AsyncIterator[Proxy]:
    """The way to Redis, for the worker that the test's first socket starts."""
    parts = urlsplit(valkey_url)
    assert parts.port
    proxy = Proxy(parts.port)
    settings.REDIS_URL = valkey_url.replace(f":{parts.port}", f":{proxy.port}")
    settings.FLEET_LEASE_TTL = 2
    yield proxy
    proxy.stop()


@pytest.mark.parametrize(("mode", "delay"), [("refuse", 0), ("hang", 0), ("open", 1.0)])
async def test_reader_of_a_run_here_waits_for_no_redis(
    network: Proxy, chat: Chatting, model: ScriptedModel, mode, delay: float
) -> None:
    async def time_to_the_end() -> float:
        network.set("open")
        before = chat_request()
        await chat.answer(before)
        await until_closed(before)  # Redis answers, also after an earlier try
        model.reset()
        model.on("hold", hold_after=2)
        socket = await chat.ask("hold")
        await socket.until("response.delta")
        network.set(mode, delay=delay)
        if mode != "open":
            await socket.until("notice")
        model.release()
        started = time.monotonic()
        events = await socket.rest()
        took = time.monotonic() - started
        assert text_of(events) == FULL
        assert events[-1]["type"] == "done"
        return took

    assert await quickest(time_to_the_end, enough=UNNOTICED) < UNNOTICED
    network.set("open")


async def test_reader_is_told_once_when_redis_fails_and_once_when_it_recovers(
    network: Proxy, chat: Chatting, model: ScriptedModel
) -> None:
    model.on("paced", tokens=["x"] * 1000, pace=0.02, hold_after=999)
    socket = await chat.ask("paced")
    await socket.until("response.delta")
    network.set("refuse")
    await socket.until("notice")
    for _ in range(20):
        # Each of these is a further change that Redis doesn't take.
        await socket.until("response.delta")
    network.set("open")
    await socket.until("notice")
    await socket.send({"type": "cancel"})
    notices = [event for event in await socket.rest() if event["type"] == "notice"]
    assert [notice["data"]["code"] for notice in notices] == ["redis_gone", "redis_back"]


async def test_run_starts_and_ends_while_redis_is_away(network: Proxy, chat: Chatting) -> None:
    network.set("refuse")

    async def time_to_answer() -> float:
        request = chat_request()
        started = time.monotonic()
        events = await chat.answer(request)
        took = time.monotonic() - started
        assert (text_of(events), events[-1]["type"]) == (FULL, "done")
        assert (await Run.objects.aget(message_id=request["message_id"])).status == "completed"
        return took

    assert await quickest(time_to_answer, enough=1) < 1
    network.set("open")


async def test_ended_run_is_read_from_its_row_while_redis_is_away(
    network: Proxy, chat: Chatting
) -> None:
    request = chat_request()
    await chat.answer(request)
    await until_closed(request)
    network.set("refuse")
    events = await chat.answer(request)
    assert [kind for kind in kinds(events) if kind != "notice"] == [
        "response.snapshot",
        "response.completed",
        "done",
    ]
    network.set("open")


async def test_log_is_complete_after_redis_recovers(network: Proxy, chat: Chatting) -> None:
    network.set("refuse")
    request = chat_request()
    live = await chat.answer(request)
    network.set("open")
    await until_closed(request)
    assert await chat.answer(request) == [event for event in live if event["type"] != "notice"]


async def test_few_logs_of_ended_runs_are_kept_while_redis_is_away(
    network: Proxy, settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.runs.flushing.MAX_KEPT", 2)
    network.set("refuse")
    store = LogStore(settings.REDIS_URL, ttl=60)
    flusher = LogFlusher(store, notify=lambda code, message: None)
    live, *ended = [RunLog(uuid.uuid4(), on_change=flusher.add) for _ in range(6)]
    for log in ended:
        log.close(ending_events(CANCELLED, ""))
    live.append(ResponseDelta(delta="The "))
    await flusher.flush()
    assert live in flusher.changed
    assert len(flusher.changed.intersection(ended)) == 2
    await store.aclose()


async def test_logs_that_were_not_kept_are_closed_from_their_rows(
    network: Proxy, chat: Chatting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.runs.flushing.MAX_KEPT", 0)
    network.set("refuse")
    requests = [chat_request() for _ in range(3)]
    for request in requests:
        await chat.answer(request)
    network.set("open")
    for request in requests:
        await until_closed(request)
        assert text_of(await chat.answer(request)) == FULL


async def test_follower_gets_the_row_if_the_log_was_flushed(
    network: Proxy, chat: Chatting, valkey_url: str
) -> None:
    request = chat_request()
    await chat.answer(request)
    await until_closed(request)
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
    events = await chat.answer({**request, "after": 7})
    assert kinds(events) == ["response.snapshot", "response.completed", "done"]
    assert text_of(events) == FULL


async def test_run_completes_although_redis_is_read_only(
    network: Proxy, chat: Chatting, valkey_url: str
) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        client.replicaof("127.0.0.1", "9")
        try:
            events = await chat.answer()
        finally:
            client.replicaof("NO", "ONE")
    assert (text_of(events), events[-1]["type"]) == (FULL, "done")


async def test_all_runs_of_a_dead_worker_end_in_one_round_while_redis_is_away(
    network: Proxy, chat: Chatting
) -> None:
    network.set("refuse")
    lost = [run.pk for run, _ in [await orphan() for _ in range(60)]]
    Worker.current()
    # One in each round would take 15 s.
    async with asyncio.timeout(10):
        while await Run.objects.filter(pk__in=lost, status="running").aexists():
            await asyncio.sleep(0.05)
    network.set("open")


async def test_every_key_has_a_time_to_live(
    network: Proxy, chat: Chatting, valkey_url: str
) -> None:
    await chat.answer()
    await asyncio.sleep(0.1)
    with redis.Redis.from_url(valkey_url) as client:
        assert [key for key in client.scan_iter("fleet:*") if client.ttl(key) < 0] == []
