"""What happens to runs that lose their worker, and to workers that lose their runs."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from django.db import OperationalError
from django.utils import timezone

from chat.conversations import Conversation
from chat.database import close_connections, in_database
from chat.models import Run, RunQuerySet
from chat.runs.leases import CHECKS_BEFORE_CLAIM, Leases, reap
from chat.runs.store import LogStore
from chat.runs.takeover import LostRun
from chat.runs.worker import Worker
from tests.chatting import Chatting, kinds, text_of
from tests.scripted_model import ScriptedModel

from .rows import orphan, until_closed, until_true

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = timedelta(seconds=1)
FAR = 2.5  # seconds until a lease expires; one of more than three times LEASE is a suspect


@pytest.fixture(autouse=True)
def _timeouts(settings) -> None:
    settings.FLEET_LEASE_TTL = LEASE.total_seconds()
    # A model that holds an answer must not end it: only leases do here.
    settings.FLEET_DEADLINES = replace(settings.FLEET_DEADLINES, chunk=600, idle=600)


@pytest_asyncio.fixture
async def leases(transactional_db: None, settings) -> AsyncIterator[Leases]:
    """The leases of a worker without runs. It does a round only when the test says so."""
    store = LogStore(settings.REDIS_URL, ttl=60)

    async def claim(lost: LostRun) -> None:
        raise AssertionError(f"{lost} is not to be claimed")

    yield Leases(worker="worker.test", ttl=LEASE, live={}, claim=claim, store=store)
    await store.aclose()
    close_connections()


async def status_of(run: Run) -> str:
    return (await Run.objects.aget(pk=run.pk)).status


def reap_as_another_worker(run_id: str) -> None:
    """Do to a run what a reaper on another host does if it takes this worker for dead."""
    Run.objects.filter(pk=run_id).update(
        lease_expires_at=timezone.now() - timedelta(seconds=5), text_so_far="The "
    )
    assert Run.objects.reap(uuid.UUID(run_id))


class TestLostRun:
    async def test_follower_gets_the_stored_text_and_an_error(
        self, worker: Worker, chat: Chatting
    ) -> None:
        run, request = await orphan(text_so_far="half an ans", last_seq=40)
        events = await chat.answer({**request, "after": 55})
        assert kinds(events)[-2:] == ["response.snapshot", "error"]
        assert text_of(events) == "half an ans"
        assert events[-1]["error"]["code"] == "worker_lost"
        assert events[-1]["error"]["retryable"]
        row = await Run.objects.select_related("answer").aget(pk=run.pk)
        assert (row.status, row.error_code) == ("failed", "worker_lost")
        assert row.answer.text == "half an ans"
        await until_closed(request)

    async def test_lost_run_ends_as_cancelled_if_a_cancel_was_requested(
        self, worker: Worker, chat: Chatting
    ) -> None:
        _, request = await orphan(
            text_so_far="half", last_seq=9, cancel_requested_at=timezone.now()
        )
        assert kinds(await chat.answer(request))[-3:] == ["response.snapshot", "cancelled", "done"]

    async def test_follower_of_a_deleted_run_elsewhere_gets_an_ending(
        self, chat: Chatting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr("chat.runs.following.ROW_CHECK_INTERVAL", 0.1)
        run, request = await orphan(expires_in=FAR, text_so_far="half", last_seq=9)
        socket = await chat.ask(request)
        await socket.until("response.snapshot")
        await Conversation.objects.filter(pk=run.conversation_id).adelete()
        events = await socket.rest()
        assert kinds(events) == ["response.snapshot", "cancelled", "done"]
        assert [event["seq"] for event in events] == [9, 10, 11]
        assert "a reader failed" not in caplog.text

    async def test_ending_of_another_version_is_an_error_and_blocks_no_other_run(
        self, worker: Worker, chat: Chatting
    ) -> None:
        error = {"code": "a_code_of_tomorrow", "message": "x"}
        _, request = await orphan(
            status="failed",
            ending={"status": "failed", "error": error},
            ended_at=timezone.now() - timedelta(seconds=60),
            last_seq=9,
        )
        await until_closed(request)
        assert kinds(await chat.answer(request))[-1] == "error"
        _, lost = await orphan()
        await until_closed(lost)


class TestChecks:
    @pytest.mark.parametrize("expires_in", [-1, 60], ids=["expired", "too long"])
    async def test_run_is_ended_once_three_checks_found_the_same_lease(
        self, leases: Leases, expires_in: float
    ) -> None:
        run, _ = await orphan(expires_in=expires_in)
        for _ in range(CHECKS_BEFORE_CLAIM - 1):
            await leases.do_round()
        assert await status_of(run) == "running"
        await leases.do_round()
        assert await status_of(run) == "failed"

    async def test_ending_of_a_lost_run_is_in_its_log_at_once(self, leases: Leases) -> None:
        run, _ = await orphan()
        for _ in range(CHECKS_BEFORE_CLAIM):
            await leases.do_round()
        assert (await leases.store.read(run.pk, 0)).ending

    async def test_run_is_left_alone_while_its_lease_lasts(self, leases: Leases) -> None:
        run, _ = await orphan(expires_in=FAR)
        for _ in range(CHECKS_BEFORE_CLAIM + 1):
            await leases.do_round()
        assert await status_of(run) == "running"

    async def test_run_is_left_alone_while_its_lease_changes(self, leases: Leases) -> None:
        """Its worker's clock is behind: each lease that it writes has already expired."""
        run, _ = await orphan()
        for _ in range(2 * CHECKS_BEFORE_CLAIM):
            await leases.do_round()
            expired = timezone.now() - timedelta(seconds=1)
            await Run.objects.filter(pk=run.pk).aupdate(lease_expires_at=expired)
        assert await status_of(run) == "running"

    async def test_checks_begin_again_after_a_database_error(
        self, leases: Leases, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(_: RunQuerySet) -> RunQuerySet:
            raise OperationalError("the database is away")

        run, _ = await orphan()
        for _ in range(CHECKS_BEFORE_CLAIM - 1):
            await leases.do_round()
        with monkeypatch.context() as patched:
            patched.setattr(RunQuerySet, "expired", fails)
            await leases.do_round()
        for _ in range(CHECKS_BEFORE_CLAIM - 1):
            await leases.do_round()
        assert await status_of(run) == "running"
        await leases.do_round()
        assert await status_of(run) == "failed"

    @pytest.mark.parametrize("renewed_to", [-0.5, 60], ids=["expired again", "long"])
    async def test_reap_leaves_a_run_alone_if_its_lease_was_renewed_since_the_checks(
        self, leases: Leases, renewed_to: float
    ) -> None:
        run, _ = await orphan()
        renewed = timezone.now() + timedelta(seconds=renewed_to)
        await Run.objects.filter(pk=run.pk).aupdate(lease_expires_at=renewed)
        assert (
            await in_database(reap, LostRun(run.pk, run.worker, run.epoch, run.lease_expires_at))
            is None
        )
        row = await Run.objects.aget(pk=run.pk)
        assert (row.status, row.lease_expires_at) == ("running", renewed)

    async def test_row_refuses_to_be_reaped_while_its_lease_lasts(self, leases: Leases) -> None:
        run, _ = await orphan(expires_in=60)
        assert await in_database(Run.objects.reap, run.pk) is None
        assert await status_of(run) == "running"


class TestRenewal:
    async def test_renewal_extends_the_lease_and_stores_the_text(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        model.on("hold", hold_after=2)
        socket = await chat.ask("hold")
        first = await Run.objects.aget(pk=(await socket.until("connected"))["workflow_id"])
        renewed = first.lease_expires_at + timedelta(seconds=1)
        await until_true(
            Run.objects.filter(pk=first.pk, lease_expires_at__gt=renewed, text_so_far="The answer ")
        )
        model.release()
        assert (await socket.rest())[-1]["type"] == "done"

    async def test_run_that_another_worker_ended_stops_and_delivers_that_ending(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        model.on("hold", hold_after=2)
        socket = await chat.ask("hold")
        connected = await socket.until("response.delta")
        await in_database(reap_as_another_worker, connected["workflow_id"])
        events = await socket.rest()
        assert kinds(events)[-2:] == ["response.snapshot", "error"]
        assert events[-1]["error"]["code"] == "worker_lost"
        assert text_of(events) == "The "
        assert await asyncio.to_thread(model.calls[0].ended.wait, 20)

    async def test_renewal_finds_a_cancel_that_only_the_row_has(
        self, chat: Chatting, model: ScriptedModel
    ) -> None:
        model.on("hold", hold_after=1)
        socket = await chat.ask("hold")
        connected = await socket.until("connected")
        await in_database(Run.objects.request_cancel, uuid.UUID(connected["workflow_id"]))
        assert kinds(await socket.rest())[-2:] == ["cancelled", "done"]


async def test_failed_job_is_restarted(
    worker: Worker, chat: Chatting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: RunQuerySet) -> RunQuerySet:
        monkeypatch.undo()
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(RunQuerySet, "unclosed", fails)
    _, request = await orphan()
    await until_closed(request)
