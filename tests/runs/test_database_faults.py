"""The database fails while runs are live: answers are kept, and readers are told in time."""

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import (
    AbstractContextManager,
    asynccontextmanager,
    closing,
    suppress,
)
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection

from chat.conversations import Conversation, Message
from chat.database import THREADS, close_connections, in_database
from chat.models import Run, RunQuerySet
from tests.chatting import Chatting, chat_request, is_terminal, kinds, text_of
from tests.scripted_model import ScriptedModel
from tests.serving import START, STOP, until
from tests.timing import quickest

from .rows import orphan, until_closed, until_true
from .troubles import full_disk, locked_database, rejecting

pytestmark = pytest.mark.django_db(transaction=True)

FULL = "The answer is **42**."
FAR = 20  # seconds until a lease expires; with the default lease one of more than 30 is a suspect
LONG = "word " * 4000  # more than fits into the free space of the database's pages

type Trouble = Callable[[], AbstractContextManager[None]]


@asynccontextmanager
async def busy_database() -> AsyncIterator[None]:
    """Keep all database threads of this process busy."""
    gate = threading.Event()
    calls = [asyncio.create_task(in_database(gate.wait)) for _ in range(THREADS)]
    try:
        yield
    finally:
        gate.set()
        await asyncio.gather(*calls)


@pytest.fixture(params=[locked_database, full_disk])
def trouble(request: pytest.FixtureRequest) -> Trouble:
    return request.param


@pytest.mark.usefixtures("short_lock_timeout")
class TestDatabase:
    async def test_refused_question_stores_nothing_while_the_database_is_away(
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

    async def test_finished_answer_is_stored_once_the_database_recovers(
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

    async def test_reader_gets_an_error_in_time_if_the_ending_cannot_be_stored(
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

    async def test_reader_is_told_in_time_while_other_writes_wait(
        self, chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chat.runs.supervisor.ENDING_TIMEOUT", 0.3)
        monkeypatch.setattr("chat.runs.local.JOIN_TIMEOUT", 0.3)
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

    async def test_cancel_of_a_run_elsewhere_is_retried_until_the_database_takes_it(
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

    async def test_deltas_arrive_while_the_database_is_locked(
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


class TestRejectedValues:
    @pytest.mark.parametrize(
        ("rejected", "kept"),
        [
            (("chat_run", "CAST(NEW.steps AS text) != '[]'"), FULL),
            (("chat_message", "NEW.text != ''"), ""),
        ],
        ids=["steps", "text"],
    )
    async def test_rejected_ending_is_stored_as_an_error_without_the_rejected_part(
        self, chat: Chatting, caplog: pytest.LogCaptureFixture, rejected: tuple[str, str], kept: str
    ) -> None:
        with rejecting(*rejected):
            events = await chat.answer()
        assert "without details: not this" in caplog.text
        assert "marmalade" not in caplog.text
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

    async def test_rejected_text_holds_up_neither_its_lease_nor_other_texts(
        self, chat: Chatting, model: ScriptedModel, settings
    ) -> None:
        settings.FLEET_LEASE_TTL = 1
        model.on("taken", hold_after=1)
        model.on("not taken", tokens=["strange ", "words"], hold_after=1)
        with rejecting("chat_run", "NEW.text_so_far LIKE 'strange%'"):
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


@pytest.mark.usefixtures("short_lock_timeout")
def test_ask_reports_an_ending_that_cannot_be_stored_and_exits(
    model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        until(lambda: "could not be stored" in complained.getvalue(), STOP, "nothing is reported")
        assert asking.is_alive()  # It retries for ENDINGS_TIMEOUT.
        asking.join(STOP)
        assert not asking.is_alive()
    close_connections()


async def test_repeated_cancels_of_a_socket_ask_the_database_once(
    chat: Chatting, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[uuid.UUID] = []
    monkeypatch.setattr(RunQuerySet, "request_cancel", lambda _, run_id: asked.append(run_id))
    _, request = await orphan(expires_in=FAR, last_seq=1, text_so_far="Elsewhere")
    socket = await chat.ask(request)
    await socket.until("response.snapshot")
    async with busy_database():
        for _ in range(50):
            await socket.send({"type": "cancel"})
        await socket.send("nonsense")
        await socket.until("notice")
    await asyncio.to_thread(close_connections)  # waits until the queued calls are done
    assert len(asked) == 1
