"""A worker that is drained: it refuses new runs, hands over the others, and delivers endings."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from chat.models import Run, RunQuerySet
from chat.protocol.events import AgentComplete
from chat.protocol.terms import SUBPROTOCOL_HTML
from chat.runs.worker import Worker
from chat.starts import RELEASED
from tests.chatting import Chatting, chat_request, text_of
from tests.scripted_model import ScriptedModel
from tests.serving import STOP

from .rows import orphan

pytestmark = pytest.mark.django_db(transaction=True)

FAR = 20  # seconds until a lease expires

type Hold = Callable[[str], "Held"]


@dataclass(frozen=True)
class Held:
    """A change of a run's state that waits until the test lets it go on."""

    entered: threading.Event
    go: threading.Event


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Return a function that holds up a change of a run's state, by the method's name."""

    def held(name: str) -> Held:
        change, at = getattr(RunQuerySet, name), Held(threading.Event(), threading.Event())

        def wait_and_change(*args: Any, **options: Any) -> Any:
            at.entered.set()
            assert at.go.wait(STOP)
            return change(*args, **options)

        monkeypatch.setattr(RunQuerySet, name, wait_and_change)
        return at

    return held


async def drain_during(change: Held, worker: Worker, *, grace: float) -> None:
    """Drain the worker during this change, and check that it waits for the change."""
    assert await asyncio.to_thread(change.entered.wait, STOP)
    draining = asyncio.create_task(worker.drain(grace=grace))
    done, _ = await asyncio.wait({draining}, timeout=0.2)
    assert not done
    change.go.set()
    await draining


async def test_drain_refuses_new_runs(worker: Worker, chat: Chatting) -> None:
    await worker.drain(grace=0)
    refusal = (await chat.answer("new one"))[0]["error"]
    assert (refusal["code"], refusal["retryable"]) == ("shutting_down", True)


async def test_second_signal_ends_the_runs_that_are_left(
    worker: Worker, chat: Chatting, model: ScriptedModel
) -> None:
    model.on("hold", hold_after=1)
    request = chat_request("hold")
    socket = await chat.ask(request)
    await socket.until("response.delta")
    draining = asyncio.create_task(worker.drain(grace=STOP))
    await asyncio.sleep(0)
    worker.end_all_runs()
    events = await socket.rest()
    assert events[-1]["error"]["code"] == "shutting_down"
    assert text_of(events) == "The "
    await draining
    assert (await Run.objects.aget(message_id=request["message_id"])).error_code == "shutting_down"


async def test_answer_that_is_being_streamed_finishes_within_the_grace(
    worker: Worker, chat: Chatting, model: ScriptedModel
) -> None:
    model.on("hold", hold_after=1)
    socket = await chat.ask("hold")
    await socket.until("response.delta")
    draining = asyncio.create_task(worker.drain(grace=STOP))
    done, _ = await asyncio.wait({draining}, timeout=0.2)
    assert not done
    model.release()
    assert (await socket.rest())[-1]["type"] == "done"
    await draining


@pytest.mark.parametrize(
    ("tokens", "grace"), [(1, 0), (0, STOP)], ids=["streamed, after the grace", "not streamed"]
)
async def test_drain_hands_over_a_run_with_its_text(
    worker: Worker,
    chat: Chatting,
    model: ScriptedModel,
    tokens: int,
    grace: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("chat.runs.worker.DELIVERY_TIMEOUT", 0)
    model.on("hold", hold_after=tokens)
    request = chat_request("hold")
    socket = await chat.ask(request)
    await socket.until("response.delta" if tokens else "agent.start")
    async with asyncio.timeout(STOP / 2):
        await worker.drain(grace=grace)
    run = await Run.objects.aget(message_id=request["message_id"])
    assert (run.status, run.worker) == ("running", RELEASED)
    assert run.text_so_far == "The " * tokens
    assert run.worked_s > 0
    stored = await worker.store.read_all(run.pk)
    assert stored[-1].seq == run.last_seq
    # Steps that were cut here go on elsewhere, so their end is not told.
    assert not any(isinstance(entry.event, AgentComplete) for entry in stored)
    for call in model.calls:
        assert await asyncio.to_thread(call.ended.wait, STOP)


async def test_cancel_of_a_run_that_is_being_handed_over_is_not_lost(
    worker: Worker, chat: Chatting, model: ScriptedModel, hold: Hold
) -> None:
    model.on("hold", hold_after=0)
    request = chat_request("hold")
    socket = await chat.ask(request)
    await socket.until("agent.start")
    run = await Run.objects.aget(message_id=request["message_id"])
    release = hold("release")
    worker.runs.hand_over(all_runs=True)
    assert await worker.runs.cancel(run.pk) == worker.name
    release.go.set()
    await socket.until("done")
    await run.arefresh_from_db()
    assert run.status == "cancelled"


async def test_run_that_is_being_started_is_handed_over(
    chat: Chatting, worker: Worker, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.runs.worker.DELIVERY_TIMEOUT", 0)
    start = hold("start")
    request = chat_request()
    await chat.ask(request)
    await drain_during(start, worker, grace=5)
    run = await Run.objects.aget(message_id=request["message_id"])
    assert (run.status, run.worker) == ("running", RELEASED)


async def test_drain_waits_for_a_cancel_that_is_being_stored(
    chat: Chatting, worker: Worker, hold: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The reader of this run gets no ending here: don't let drain wait for it instead.
    monkeypatch.setattr("chat.runs.worker.DELIVERY_TIMEOUT", 0)
    cancel = hold("request_cancel")
    run, request = await orphan(expires_in=FAR, last_seq=1, text_so_far="Elsewhere")
    socket = await chat.ask(request)
    await socket.until("response.snapshot")
    await socket.send({"type": "cancel"})
    await drain_during(cancel, worker, grace=0)
    assert (await Run.objects.aget(pk=run.pk)).cancel_requested_at


async def test_drain_waits_until_a_slow_reader_has_its_ending(
    chat: Chatting, worker: Worker, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After a delta, an html reader gets its next frame only 0.5 s later.
    for name in ("FRAME_TIME", "MAX_PAUSE"):
        monkeypatch.setattr(f"chat.frames.{name}", 0.5)
    monkeypatch.setattr("chat.runs.worker.DELIVERY_TIMEOUT", STOP)
    model.on("hold", hold_after=1)
    socket = await chat.ask("hold", subprotocol=SUBPROTOCOL_HTML)
    await socket.until("response.delta")
    read = len(socket.events)
    worker.end_all_runs()
    await worker.drain(grace=0)
    sent = read + socket.communicator.output_queue.qsize()
    events = await socket.rest()
    assert events[-1]["error"]["code"] == "shutting_down"
    assert len(events) <= sent


async def test_drain_does_not_wait_forever_for_a_reader_of_a_run_elsewhere(
    chat: Chatting, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat.runs.worker.DELIVERY_TIMEOUT", 0.1)
    _, request = await orphan(expires_in=FAR, last_seq=1, text_so_far="Elsewhere")
    socket = await chat.ask(request)
    await socket.until("response.snapshot")
    async with asyncio.timeout(FAR / 2):
        await worker.drain(grace=0)
    assert worker.sockets
