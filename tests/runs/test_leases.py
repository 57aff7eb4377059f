"""What happens to runs whose worker is gone, and to workers whose runs are gone."""

import asyncio
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from chat.database import in_database
from chat.models import Conversation, Message, Run, RunQuerySet
from chat.runs.worker import Worker
from tests.chatting import Chatting, chat_request, kinds, text_of
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.django_db(transaction=True)

FAR = (
    2.5  # seconds until a lease ends: one that ends later than three times to live is not believed
)


@pytest.fixture(autouse=True)
def _short_leases(settings) -> None:
    settings.FLEET_LEASE_TTL = 1


async def orphan(*, expires_in: float = -1, **fields) -> tuple[Run, dict]:
    """A run of a worker that died, with its request."""
    conversation = await Conversation.objects.acreate(owner="script:", title="t")
    request = chat_request("orphan?")
    run = await Run.objects.acreate(
        conversation=conversation,
        question=await Message.objects.acreate(
            conversation=conversation, role="user", text="orphan?"
        ),
        answer=await Message.objects.acreate(conversation=conversation, role="assistant"),
        owner="script:",
        message_id=uuid.UUID(request["message_id"]),
        mode="auto",
        worker="worker.dead",
        lease_expires_at=timezone.now() + timedelta(seconds=expires_in),
        **fields,
    )
    return run, request


async def until_closed(run: Run) -> None:
    async with asyncio.timeout(20):
        while (await Run.objects.aget(pk=run.pk)).closed_at is None:
            await asyncio.sleep(0.05)


def reap_as_another_worker(run_id: str) -> None:
    """What a reaper on another host does to a run whose worker it takes for dead."""
    Run.objects.filter(pk=run_id).update(
        lease_expires_at=timezone.now() - timedelta(seconds=5), text_so_far="The "
    )
    assert Run.objects.reap(uuid.UUID(run_id))


async def test_a_lost_run_is_ended_with_what_was_stored(worker: Worker, chat: Chatting) -> None:
    run, request = await orphan(text_so_far="half an ans", last_seq=40)
    events = await chat.answer({**request, "after": 55})
    assert kinds(events)[-2:] == ["response.snapshot", "error"]
    assert text_of(events) == "half an ans"
    assert events[-1]["error"]["code"] == "worker_lost"
    assert events[-1]["error"]["retryable"]
    row = await Run.objects.select_related("answer").aget(pk=run.pk)
    assert (row.status, row.error_code, row.answer.text) == ("failed", "worker_lost", "half an ans")
    await until_closed(run)


async def test_a_lost_run_that_somebody_cancelled_ends_as_cancelled(
    worker: Worker, chat: Chatting
) -> None:
    _, request = await orphan(text_so_far="half", last_seq=9, cancel_requested_at=timezone.now())
    assert kinds(await chat.answer(request))[-3:] == ["response.snapshot", "cancelled", "done"]


async def test_a_run_that_is_deleted_has_an_end_for_its_followers_elsewhere(
    chat: Chatting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("chat.runs.following.ROW_CHECK_INTERVAL", 0.1)
    run, request = await orphan(expires_in=FAR, text_so_far="half", last_seq=9)
    socket = await chat.ask(request)
    await socket.until("response.snapshot")
    await Conversation.objects.filter(pk=run.conversation_id).adelete()
    events = await socket.rest()
    assert kinds(events) == ["response.snapshot", "cancelled", "done"]
    assert [event["seq"] for event in events] == [9, 10, 11]
    assert "a socket failed" not in caplog.text


async def test_an_ending_that_another_version_wrote_is_an_end_and_stands_in_nobodys_way(
    worker: Worker, chat: Chatting
) -> None:
    ending = {"status": "failed", "error": {"code": "a_code_of_tomorrow", "message": "x"}}
    ended = {
        "status": "failed",
        "ending": ending,
        "ended_at": timezone.now() - timedelta(seconds=60),
        "last_seq": 9,
    }
    run, request = await orphan(**ended)
    await until_closed(run)
    assert kinds(await chat.answer(request))[-1] == "error"
    lost, _ = await orphan()
    await until_closed(lost)


async def test_a_job_that_fails_begins_again(
    worker: Worker, chat: Chatting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: RunQuerySet) -> RunQuerySet:
        monkeypatch.undo()
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(RunQuerySet, "unclosed", fails)
    run, _ = await orphan()
    await until_closed(run)


async def test_a_lease_that_was_renewed_between_the_looks_is_left_alone(worker: Worker) -> None:
    await worker.stop()  # its own looks would come in between
    run, _ = await orphan()
    assert await Run.objects.expired().filter(pk=run.pk).aexists()
    await Run.objects.filter(pk=run.pk).aupdate(
        lease_expires_at=timezone.now() + timedelta(seconds=60)
    )
    assert await in_database(Run.objects.reap, run.pk) is None
    assert (await Run.objects.aget(pk=run.pk)).status == "running"


async def test_leases_of_live_runs_are_renewed_and_their_text_is_stored(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("hold", hold_after=2)
    socket = await chat.ask("hold")
    connected = await socket.until("connected")
    first = await Run.objects.aget(pk=connected["workflow_id"])
    async with asyncio.timeout(20):
        while True:
            row = await Run.objects.aget(pk=first.pk)
            if row.text_so_far and row.lease_expires_at > first.lease_expires_at + timedelta(
                seconds=1
            ):
                break
            await asyncio.sleep(0.05)
    assert row.text_so_far == "The answer "
    model.release()
    assert (await socket.rest())[-1]["type"] == "done"


async def test_a_run_that_somebody_else_ended_delivers_that_ending(
    chat: Chatting, model: ScriptedModel
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


async def test_a_cancel_that_only_the_row_knows_is_found(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("hold", hold_after=1)
    socket = await chat.ask("hold")
    connected = await socket.until("connected")
    await in_database(Run.objects.request_cancel, uuid.UUID(connected["workflow_id"]))
    assert kinds(await socket.rest())[-2:] == ["cancelled", "done"]


async def test_shutting_down_ends_runs_in_words_and_takes_no_new_ones(
    worker: Worker, chat: Chatting, model: ScriptedModel
) -> None:
    model.on("hold", hold_after=1)
    request = chat_request("hold")
    socket = await chat.ask(request)
    await socket.until("response.delta")
    draining = asyncio.create_task(worker.drain(grace=0.3))
    refused = await chat.answer("new one")
    assert (refused[0]["error"]["code"], refused[0]["error"]["retryable"]) == (
        "shutting_down",
        True,
    )
    events = await socket.rest()
    assert events[-1]["error"]["code"] == "shutting_down"
    assert text_of(events) == "The "
    await draining
    assert (await Run.objects.aget(message_id=request["message_id"])).error_code == "shutting_down"
