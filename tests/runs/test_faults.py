"""Redis and the database go away in mid-run: readers are served all the same, or told in words."""

import asyncio
import sqlite3
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
    suppress,
)
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import redis
from django.core.management import call_command
from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from chat.database import THREADS, close_connections, in_database
from chat.models import Conversation, Message, Run, RunQuerySet
from chat.runs.worker import Worker
from tests.chatting import Chatting, chat_request, is_terminal, kinds, text_of
from tests.proxy import Proxy
from tests.scripted_model import ScriptedModel
from tests.serving import START, STOP, until
from tests.timing import quickest

from .test_leases import orphan

pytestmark = pytest.mark.django_db(transaction=True)

FULL = "The answer is **42**."
UNNOTICED = 0.25  # seconds; a call that waits for Redis waits for 0.3
FAR = 20  # seconds until a lease ends, with the usual time to live: one that ends later than three of those is not believed
LONG = "word " * 4000  # more than the database finds room for in pages it has

type Hold = Callable[[str], "Held"]
type Trouble = Callable[[], AbstractContextManager[None]]


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


class TestRedis:
    @pytest.mark.parametrize(("mode", "delay"), [("refuse", 0), ("hang", 0), ("open", 1.0)])
    async def test_a_reader_here_does_not_notice_that_redis_is_away(
        self, network: Proxy, chat: Chatting, model: ScriptedModel, mode, delay: float
    ) -> None:
        async def time_to_the_end() -> float:
            network.set("open")
            before = chat_request()
            await chat.answer(before)
            await until_closed(before)  # Redis is there, also after an earlier try
            model.reset()
            model.on("hold", hold_after=2)
            socket = await chat.ask("hold")
            await socket.until("response.delta")
            network.set(mode, delay=delay)
            notice = await socket.until("notice") if mode != "open" else None
            model.release()
            started = time.monotonic()
            events = await socket.rest()
            took = time.monotonic() - started
            assert text_of(events) == FULL
            assert events[-1]["type"] == "done"
            assert notice is None or notice["data"]["code"] == "redis_gone"
            return took

        assert await quickest(time_to_the_end, enough=UNNOTICED) < UNNOTICED
        network.set("open")

    async def test_a_run_starts_and_ends_while_redis_is_away(
        self, network: Proxy, chat: Chatting
    ) -> None:
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

    async def test_an_ended_run_is_read_from_the_row_while_redis_is_away(
        self, network: Proxy, chat: Chatting
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

    async def test_what_redis_missed_it_gets_when_it_is_back(
        self, network: Proxy, chat: Chatting
    ) -> None:
        network.set("refuse")
        request = chat_request()
        live = await chat.answer(request)
        network.set("open")
        await until_closed(request)
        assert await chat.answer(request) == [event for event in live if event["type"] != "notice"]

    async def test_of_ended_runs_few_are_kept_for_redis(
        self, network: Proxy, chat: Chatting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chat.runs.flushing.MAX_KEPT", 2)
        network.set("refuse")
        requests = [chat_request() for _ in range(5)]
        for request in requests:
            await chat.answer(request)
        async with asyncio.timeout(5):
            while len(Worker.current().flusher.changed) > 2:
                await asyncio.sleep(0.1)
        network.set("open")
        for request in requests:
            await until_closed(request)
            assert text_of(await chat.answer(request)) == FULL

    async def test_a_flushed_log_falls_back_to_the_row(
        self, network: Proxy, chat: Chatting, valkey_url: str
    ) -> None:
        request = chat_request()
        await chat.answer(request)
        await until_closed(request)
        with redis.Redis.from_url(valkey_url) as client:
            client.flushall()
        events = await chat.answer({**request, "after": 7})
        assert (kinds(events), text_of(events)) == (
            ["response.snapshot", "response.completed", "done"],
            FULL,
        )

    async def test_a_readonly_redis_does_not_stop_a_run(
        self, network: Proxy, chat: Chatting, valkey_url: str
    ) -> None:
        with redis.Redis.from_url(valkey_url) as client:
            client.replicaof("127.0.0.1", "9")
            try:
                events = await chat.answer()
            finally:
                client.replicaof("NO", "ONE")
        assert (text_of(events), events[-1]["type"]) == (FULL, "done")

    async def test_a_dead_workers_runs_end_in_one_round_although_redis_is_away(
        self, network: Proxy, chat: Chatting
    ) -> None:
        network.set("refuse")
        lost = [await in_database(lost_run, f"lost {number}") for number in range(60)]
        Worker.current()
        # One in each round would take 15 s.
        async with asyncio.timeout(10):
            while await Run.objects.filter(pk__in=lost, status="running").aexists():
                await asyncio.sleep(0.05)
        network.set("open")

    async def test_every_key_has_a_time_to_live(
        self, network: Proxy, chat: Chatting, valkey_url: str
    ) -> None:
        await chat.answer()
        await asyncio.sleep(0.1)
        with redis.Redis.from_url(valkey_url) as client:
            assert [key for key in client.scan_iter("fleet:*") if client.ttl(key) < 0] == []


def lost_run(text: str) -> uuid.UUID:
    """A run whose worker is gone."""
    conversation = Conversation.objects.create(owner="script:", title=text)
    run = Run.objects.create(
        conversation=conversation,
        question=conversation.messages.create(role="user", text=text),
        answer=conversation.messages.create(role="assistant"),
        owner="script:",
        message_id=uuid.uuid4(),
        mode="auto",
        worker="worker.dead",
        lease_expires_at=timezone.now() - timedelta(seconds=1),
    )
    return run.pk


@contextmanager
def locked_database() -> Iterator[None]:
    """Somebody else writes, and takes his time."""
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@asynccontextmanager
async def busy_database() -> AsyncIterator[None]:
    """All threads that call the database are at work for others."""
    gate = threading.Event()
    calls = [asyncio.create_task(in_database(gate.wait)) for _ in range(THREADS)]
    try:
        yield
    finally:
        gate.set()
        await asyncio.gather(*calls)


@contextmanager
def full_disk() -> Iterator[None]:
    """SQLite finds no more space than it has. Its connections take this as they take their other options, when they are opened."""
    options = connection.settings_dict["OPTIONS"]
    usual = options["init_command"]
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as other:
        # No page is left over from rows of other tests.
        other.execute("VACUUM")
        [pages] = other.execute("PRAGMA page_count").fetchone()
    options["init_command"] = f"{usual} PRAGMA max_page_count = {pages};"
    close_connections()
    try:
        yield
    finally:
        options["init_command"] = usual
        close_connections()


@pytest.fixture(params=[locked_database, full_disk])
def trouble(request: pytest.FixtureRequest) -> Trouble:
    return request.param


class TestDatabase:
    @pytest.fixture(autouse=True)
    def _short_patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.3)

    async def test_a_question_is_refused_in_words_and_leaves_no_half_run(
        self, chat: Chatting, trouble: Trouble
    ) -> None:
        async def time_to_refuse() -> float:
            with trouble():
                started = time.monotonic()
                events = await chat.answer(LONG)
                took = time.monotonic() - started
            assert (kinds(events), events[0]["error"]["code"]) == (["error"], "storage_unavailable")
            assert events[0]["error"]["retryable"]
            return took

        assert await quickest(time_to_refuse, enough=2) < 2
        assert [await rows.objects.acount() for rows in (Conversation, Message, Run)] == [0, 0, 0]
        assert (await chat.answer())[-1]["type"] == "done"

    async def test_a_finished_answer_is_not_lost_by_a_failed_write(
        self,
        chat: Chatting,
        model: ScriptedModel,
        trouble: Trouble,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        model.on("hold", tokens=["The ", LONG], hold_after=1)
        request = chat_request("hold")
        socket = await chat.ask(request)
        await socket.until("response.delta")
        with trouble():
            model.release()
            async with asyncio.timeout(10):
                while "cannot store its ending" not in caplog.text:
                    await asyncio.sleep(0.02)
        events = await socket.rest()
        assert kinds(events)[-2:] == ["response.completed", "done"]
        run = await Run.objects.select_related("answer").aget(message_id=request["message_id"])
        assert (run.status, run.answer.text) == ("completed", "The " + LONG)

    async def test_readers_are_told_when_the_ending_cannot_be_stored(
        self, chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chat.runs.supervisor.ENDING_TIMEOUT", 0.5)
        model.on("hold", hold_after=4)
        request = chat_request("hold")
        socket = await chat.ask(request)
        await socket.until("response.delta")
        with locked_database():
            model.release()
            events = await socket.rest()
            assert events[-1]["error"]["code"] == "storage_unavailable"
            assert await socket.close_code() == 1013
        await until_closed(request)
        again = await chat.answer(request)
        assert kinds(again)[-2:] == ["response.completed", "done"]
        assert text_of(again) == FULL

    async def test_nobody_waits_for_the_writes_of_all_others(
        self, chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chat.runs.supervisor.ENDING_TIMEOUT", 0.3)
        monkeypatch.setattr("chat.consumers.JOIN_TIMEOUT", 0.3)
        model.on("hold", hold_after=4)
        request = chat_request("hold")
        socket = await chat.ask(request)
        await socket.until("response.delta")
        async with busy_database():
            model.release()
            assert (await socket.rest())[-1]["error"]["code"] == "storage_unavailable"
            assert (await chat.answer())[-1]["error"]["code"] == "storage_unavailable"
        await until_closed(request)
        assert text_of(await chat.answer(request)) == FULL

    async def test_a_cancel_of_a_run_elsewhere_waits_for_the_database(
        self, chat: Chatting, caplog: pytest.LogCaptureFixture
    ) -> None:
        run, request = await orphan(expires_in=60, last_seq=1, text_so_far="Elsewhere")
        socket = await chat.ask(request)
        await socket.until("response.snapshot")
        with locked_database():
            await socket.send({"type": "cancel"})
            async with asyncio.timeout(5):
                while "cannot be cancelled yet" not in caplog.text:
                    await asyncio.sleep(0.02)
        await until_true(Run.objects.filter(pk=run.pk, cancel_requested_at__isnull=False))

    async def test_deltas_go_on_while_the_database_is_locked(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        model.on("paced", tokens=["x"] * 30, pace=0.02)

        async def longest_gap() -> float:
            socket = await chat.ask("paced")
            await socket.until("response.delta")
            with locked_database():
                gaps = []
                for _ in range(25):
                    before = time.monotonic()
                    await socket.until("response.delta")
                    gaps.append(time.monotonic() - before)
            assert is_terminal((await socket.rest())[-1])
            return max(gaps)

        assert await quickest(longest_gap, enough=0.2) < 0.2


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """The database does not take this, as PostgreSQL takes no NUL."""
    with closing(sqlite3.connect(connection.settings_dict["NAME"])) as other:
        other.execute(
            f"CREATE TRIGGER refusing BEFORE {what} BEGIN SELECT RAISE(ABORT, 'not this'); END"
        )
        try:
            yield
        finally:
            other.execute("DROP TRIGGER refusing")


class TestWhatCannotBeStored:
    @pytest.mark.parametrize(
        ("refused", "kept"),
        [("INSERT ON chat_phase", FULL), ("UPDATE ON chat_message WHEN NEW.text != ''", "")],
        ids=["times", "words"],
    )
    async def test_an_ending_that_is_not_taken_is_one_in_words(
        self, chat: Chatting, refused: str, kept: str
    ) -> None:
        with refusing(refused):
            events = await chat.answer()
        assert (events[-1]["error"]["code"], text_of(events)) == ("internal", FULL)
        run = await Run.objects.select_related("answer").aget(pk=events[-1]["workflow_id"])
        assert (run.status, run.error_code, run.last_seq, run.answer.text) == (
            "failed",
            "internal",
            events[-1]["seq"],
            kept,
        )
        assert (await chat.answer(chat_request(conversation_id=str(run.conversation_id))))[-1][
            "type"
        ] == "done"

    async def test_leases_and_other_texts_do_not_wait_for_one_that_is_not_taken(
        self, chat: Chatting, model: ScriptedModel, settings
    ) -> None:
        settings.FLEET_LEASE_TTL = 1
        model.on("taken", hold_after=1)
        model.on("not taken", tokens=["strange ", "words"], hold_after=1)
        with refusing("UPDATE ON chat_run WHEN NEW.text_so_far LIKE 'strange%'"):
            runs = {}
            for question in ("taken", "not taken"):
                socket = await chat.ask(question)
                runs[question] = await Run.objects.aget(
                    pk=(await socket.until("response.delta"))["workflow_id"]
                )
            for run in runs.values():
                await until_true(
                    Run.objects.filter(
                        pk=run.pk, lease_expires_at__gt=run.lease_expires_at + timedelta(seconds=1)
                    )
                )
            await until_true(Run.objects.filter(pk=runs["taken"].pk, text_so_far="The "))
        model.release()


async def until_true(rows: QuerySet[Run]) -> None:
    """Wait until there are such rows."""
    async with asyncio.timeout(20):
        while not await rows.aexists():
            await asyncio.sleep(0.05)


def test_the_terminal_says_what_cannot_be_stored_and_returns(
    transactional_db: None, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.3)
    monkeypatch.setattr("chat.runs.supervisor.ENDING_TIMEOUT", 0.3)
    monkeypatch.setattr("chat.runs.worker.ENDINGS_TIMEOUT", 2.0)
    model.on("hold", hold_after=1)
    said, complained = StringIO(), StringIO()

    def ask() -> None:
        with suppress(SystemExit), closing(connection):
            call_command("ask", "hold", "--json", stdout=said, stderr=complained)

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: "response.delta" in said.getvalue(), START, "no answer")
    with locked_database():
        model.release()
        until(lambda: "could not be stored" in complained.getvalue(), STOP, "nothing is said")
        assert asking.is_alive()  # and tries for a while longer
        asking.join(STOP)
        assert not asking.is_alive()
    close_connections()


async def test_cancels_without_end_are_one_at_a_time(
    chat: Chatting, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[uuid.UUID] = []
    monkeypatch.setattr(RunQuerySet, "request_cancel", lambda _, run_id: asked.append(run_id))
    _, request = await orphan(expires_in=FAR, last_seq=1, text_so_far="Elsewhere")
    socket = await chat.ask(request)
    await socket.until("response.snapshot")
    held = threading.Event()
    holding = asyncio.create_task(in_database(held.wait, STOP))
    for _ in range(50):
        await socket.send({"type": "cancel"})
    await socket.send("nonsense")
    await socket.until("notice")
    held.set()
    await holding
    await in_database(lambda: None)  # behind whatever was queued
    assert len(asked) == 1


class TestStopping:
    """A worker that is told to go while the database is at work for it."""

    async def test_a_run_that_is_being_started_may_finish(
        self, chat: Chatting, worker: Worker, hold: Hold
    ) -> None:
        start = hold("start")
        request = chat_request()
        socket = await chat.ask(request)
        await drain_during(start, worker, grace=5)
        assert (await Run.objects.aget(message_id=request["message_id"])).status == "completed"
        assert (await socket.rest())[-1]["type"] == "done"

    async def test_a_run_that_is_being_started_ends_in_words(
        self, chat: Chatting, worker: Worker, hold: Hold, model: ScriptedModel
    ) -> None:
        model.on("For ever?", hang_after=0)
        start = hold("start")
        request = chat_request("For ever?")
        socket = await chat.ask(request)
        await drain_during(start, worker, grace=0)
        assert (
            await Run.objects.aget(message_id=request["message_id"])
        ).error_code == "shutting_down"
        assert (await socket.rest())[-1]["error"]["code"] == "shutting_down"

    async def test_a_cancel_on_its_way_arrives(
        self, chat: Chatting, worker: Worker, hold: Hold, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "chat.runs.worker.DELIVERY_TIMEOUT", 0
        )  # for readers; this one has no ending to read
        cancel = hold("request_cancel")
        run, request = await orphan(expires_in=FAR, last_seq=1, text_so_far="Elsewhere")
        socket = await chat.ask(request)
        await socket.until("response.snapshot")
        await socket.send({"type": "cancel"})
        await drain_during(cancel, worker, grace=0)
        assert (await Run.objects.aget(pk=run.pk)).cancel_requested_at


@dataclass(frozen=True)
class Held:
    """A change of state of a run that is made once it may go on."""

    entered: threading.Event
    go: threading.Event


async def drain_during(change: Held, worker: Worker, *, grace: float) -> None:
    """Tell the worker to go while this change is under way, and see it wait until the change is made."""
    assert await asyncio.to_thread(change.entered.wait, STOP)
    draining = asyncio.create_task(worker.drain(grace=grace))
    done, _ = await asyncio.wait({draining}, timeout=0.2)
    assert not done
    change.go.set()
    await draining


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Holds up a change of state of a run, by its name."""

    def held(name: str) -> Held:
        change, at = getattr(RunQuerySet, name), Held(threading.Event(), threading.Event())

        def wait_and_change(*args: Any, **options: Any) -> Any:
            at.entered.set()
            assert at.go.wait(STOP)
            return change(*args, **options)

        monkeypatch.setattr(RunQuerySet, name, wait_and_change)
        return at

    return held


async def until_closed(request: dict) -> None:
    """Wait until the log of a run is complete, and the run is no longer live here."""
    async with asyncio.timeout(30):
        while True:
            run = await Run.objects.aget(message_id=request["message_id"])
            if run.closed_at and run.pk not in Worker.current().runs.live:
                return
            await asyncio.sleep(0.05)
