"""The journal of live runs: written together, fenced, deleted with the ending, never in the way."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import pytest_asyncio
from django.db import DataError, OperationalError, connection
from django.test.utils import CaptureQueriesContext

from chat.database import close_connections, in_database
from chat.journal import StepResult
from chat.models import Run, RunQuerySet
from chat.runs.journal import JournalWriter, RunJournal
from chat.runs.worker import Worker
from chat.workflow.agents import ASSISTANT
from chat.workflow.memory import Moved
from tests.chatting import Chatting, chat_request
from tests.scripted_model import Script, ScriptedModel

from .rows import orphan, until_closed
from .troubles import full_disk, locked_database

pytestmark = pytest.mark.django_db(transaction=True)

FAR = 20  # seconds until a lease expires
MINE = "worker.mine"

type Trouble = Callable[[], AbstractContextManager[None]]


@pytest_asyncio.fixture
async def writer(transactional_db: None) -> AsyncIterator[JournalWriter]:
    """The writer of a worker. It writes only when the test says so."""
    yield JournalWriter(MINE)
    close_connections()


async def journal_of(writer: JournalWriter, **fields: Any) -> RunJournal:
    run, _ = await orphan(worker=MINE, expires_in=FAR, **fields)
    return RunJournal(run, writer, on_moved=lambda: None)


async def names() -> list[str]:
    return [name async for name in StepResult.objects.order_by("pk").values_list("name", flat=True)]


class TestWriting:
    async def test_results_of_all_runs_share_a_transaction(self, writer: JournalWriter) -> None:
        for n in range(3):
            journal = await journal_of(writer)
            journal.keep(f"research/researcher/{n}", "{}")
            journal.keep(f"research/researcher/{n}/tool-0", "{}")

        statements: list[str] = []
        real = RunQuerySet.keep

        def counted(*args: Any) -> Any:
            with CaptureQueriesContext(connection) as queries:
                held = real(*args)
            statements.extend(query["sql"].split()[0] for query in queries)
            return held

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RunQuerySet, "keep", counted)
            await writer.write()
        assert [word for word in statements if word in ("SELECT", "INSERT")] == ["SELECT", "INSERT"]
        assert len(await names()) == 6

    async def test_result_that_rides_waits_for_one_that_cost_something(
        self, writer: JournalWriter
    ) -> None:
        journal = await journal_of(writer)
        journal.keep("routing/route", "{}", rides=True)
        await writer.write()
        assert (await names(), journal.has_rows) == ([], False)
        journal.keep("analysis/planner/1", "{}")
        await writer.write()
        assert await names() == ["routing/route", "analysis/planner/1"]
        assert journal.has_rows

    async def test_flush_stores_results_that_ride(self, writer: JournalWriter) -> None:
        journal = await journal_of(writer)
        journal.keep("routing/route", "{}", rides=True)
        await journal.flush()
        assert await names() == ["routing/route"]

    async def test_result_that_is_kept_twice_is_stored_once(self, writer: JournalWriter) -> None:
        journal = await journal_of(writer)
        for value in ("1", "2"):
            journal.keep("analysis/planner/1", value)
            await writer.write()
        assert [row.value async for row in StepResult.objects.all()] == ["1"]

    async def test_run_that_stops_while_it_flushes_keeps_no_result_of_others_back(
        self, writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def hangs(*args: Any) -> None:
            await asyncio.Event().wait()

        stopped, other = await journal_of(writer), await journal_of(writer)
        other.keep("analysis/planner/1", "{}")
        stopped.keep("research/analyst/1/tool-0/begun-1", "true")
        with monkeypatch.context() as patch:
            patch.setattr("chat.runs.journal.in_database", hangs)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stopped.flush(), 0.01)
        stopped.close()
        await writer.write()
        assert await names() == ["analysis/planner/1"]

    async def test_closed_journal_keeps_nothing(self, writer: JournalWriter) -> None:
        journal = await journal_of(writer)
        journal.keep("analysis/planner/1", "{}")
        journal.close()
        journal.keep("analysis/planner/2", "{}")
        await writer.write()
        assert await names() == []

    async def test_result_that_the_database_rejects_is_left_out(
        self,
        writer: JournalWriter,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        keep = RunQuerySet.keep

        def reject(*args: Any) -> set[uuid.UUID]:
            if "broken" in [result.name for result in args[-1]]:
                raise DataError("no such character")
            return keep(*args)

        monkeypatch.setattr(RunQuerySet, "keep", reject)
        journal = await journal_of(writer)
        for name in ("analysis/planner/1", "broken", "analysis/planner/2"):
            journal.keep(name, "{}")
        await writer.write()
        assert await names() == ["analysis/planner/1", "analysis/planner/2"]
        assert "the database rejected a step's result" in caplog.text


class TestFence:
    @pytest.mark.parametrize(
        "change",
        [{"epoch": 1}, {"worker": "worker.other"}, {"status": "completed"}],
        ids=["claimed again here", "claimed elsewhere", "ended"],
    )
    async def test_result_of_a_run_that_moved_is_refused(
        self, writer: JournalWriter, change: dict[str, Any]
    ) -> None:
        moved: list[str] = []
        run, _ = await orphan(worker=MINE, expires_in=FAR)
        journal = RunJournal(run, writer, on_moved=lambda: moved.append("moved"))
        other = await journal_of(writer)
        other.keep("analysis/planner/1", "{}")
        journal.keep("analysis/planner/1", "{}")
        await Run.objects.filter(pk=run.pk).aupdate(**change)
        with pytest.raises(Moved):
            await journal.flush()
        assert moved == ["moved"]
        assert [row.run_id async for row in StepResult.objects.all()] == [other.run_id]

    async def test_result_of_a_deleted_run_is_refused(self, writer: JournalWriter) -> None:
        journal = await journal_of(writer)
        await Run.objects.filter(pk=journal.run_id).adelete()
        journal.keep("analysis/planner/1", "{}")
        with pytest.raises(Moved):
            await journal.flush()


@pytest.mark.usefixtures("short_lock_timeout")
class TestDatabaseFaults:
    @pytest.fixture(params=[locked_database, full_disk])
    def trouble(self, request: pytest.FixtureRequest) -> Trouble:
        return request.param

    async def test_journal_falls_behind_and_is_written_later(
        self, writer: JournalWriter, trouble: Trouble
    ) -> None:
        journal = await journal_of(writer)
        journal.keep("analysis/planner/1", "x" * 100_000)
        with trouble():
            with pytest.raises(OperationalError):
                await journal.flush()
            journal.keep("analysis/planner/2", "{}")
        await writer.write()
        assert await names() == ["analysis/planner/1", "analysis/planner/2"]

    async def test_waiting_results_of_a_run_are_limited(
        self, writer: JournalWriter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("chat.runs.journal.MAX_WAITING", 3)
        journal = await journal_of(writer)
        with locked_database():
            for number in range(5):
                journal.keep(f"research/researcher/{number}", "{}")
        # What was dropped must not be taken for stored: an act is made after that.
        with pytest.raises(OperationalError):
            await journal.flush()
        await journal.flush()
        assert len(await names()) == 3

    async def test_run_completes_while_the_journal_cannot_be_written(
        self, chat: Chatting, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> set[uuid.UUID]:
            raise OperationalError("the database is away")

        monkeypatch.setattr(RunQuerySet, "keep", fail)
        use_a_tool(model)
        request = chat_request(mode="light")
        assert (await chat.answer(request))[-1]["type"] == "done"
        await until_closed(request)
        assert await names() == []


def use_a_tool(model: ScriptedModel, *, hold: bool = False) -> None:
    model.as_agent(
        ASSISTANT.instructions,
        Script(tokens=[], calls=[("calculator", '{"expression": "6 * 7"}')]),
        Script(tokens=["42."], hold_after=0 if hold else None),
    )


class TestRuns:
    async def test_journal_is_deleted_with_the_ending(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        use_a_tool(model, hold=True)
        request = chat_request(mode="light")
        socket = await chat.ask(request)
        await socket.until("tool.complete")
        async with asyncio.timeout(10):
            while "answer/assistant/1" not in await names():
                await asyncio.sleep(0.02)
        model.release()
        await socket.rest()
        await until_closed(request)
        assert await names() == []

    async def test_reaper_deletes_the_journal(self, worker: Worker) -> None:
        run, request = await orphan(expires_in=FAR)
        await StepResult.objects.acreate(run=run, name="analysis/planner/1", value="{}")
        await Run.objects.filter(pk=run.pk).aupdate(worker="died")
        await in_database(
            lambda: Run.objects.filter(pk=run.pk).update(lease_expires_at=run.created_at)
        )
        await until_closed(request)
        assert await names() == []

    async def test_light_run_without_tools_writes_and_deletes_no_results(
        self, chat: Chatting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        statements: list[str] = []
        finish = RunQuerySet.finish

        def observed(*args: Any, **options: Any) -> bool:
            with CaptureQueriesContext(connection) as queries:
                is_mine = finish(*args, **options)
            statements.extend(query["sql"] for query in queries)
            return is_mine

        def fail(*_: object) -> set[uuid.UUID]:
            raise AssertionError("nothing is to be kept")

        monkeypatch.setattr(RunQuerySet, "finish", observed)
        monkeypatch.setattr(RunQuerySet, "keep", fail)
        request = chat_request(mode="light")
        assert (await chat.answer(request))[-1]["type"] == "done"
        await until_closed(request)
        assert statements
        assert not any("chat_stepresult" in sql for sql in statements)
