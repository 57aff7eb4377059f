"""Rejoining a run, or joining it late, as a client of the socket sees it."""

import asyncio
from uuid import UUID

import pytest

from chat.models import RunQuerySet
from chat.runs.replay import WINDOW
from chat.runs.worker import Worker
from tests.chatting import Chatting, chat_request, kinds, text_of
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.django_db(transaction=True)


async def until_no_run_is_live(worker: Worker) -> None:
    async with asyncio.timeout(5):
        while worker.runs.live:
            await asyncio.sleep(0.01)


async def test_two_sockets_on_one_run_get_the_same_events(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("hold", hold_after=2)
    request = chat_request("hold")
    one = await chat.ask(request)
    await one.until("response.delta")
    two = await chat.ask(request)
    await two.until("response.delta")
    model.release()
    assert await one.rest() == await two.rest()
    assert len(model.calls) == 1


async def test_rejoin_continues_behind_its_cursor(chat: Chatting, model: ScriptedModel) -> None:
    model.on("hold", hold_after=2)
    request = chat_request("hold")
    one = await chat.ask(request)
    cursor = (await one.until("response.delta"))["seq"]
    await one.close()
    two = await chat.ask({**request, "after": cursor})
    model.release()
    events = await two.rest()
    assert [event["seq"] for event in events] == list(range(cursor + 1, cursor + len(events) + 1))
    assert text_of(one.events) + text_of(events) == "The answer is **42**."


async def test_run_continues_without_its_socket(chat: Chatting, model: ScriptedModel) -> None:
    model.on("hold", hold_after=1)
    request = chat_request("hold")
    socket = await chat.ask(request)
    await socket.until("response.delta")
    await socket.close()
    model.release()
    assert text_of(await chat.answer(request)) == "The answer is **42**."
    assert len(model.calls) == 1


async def test_ended_run_is_replayed_from_its_log(chat: Chatting, worker: Worker) -> None:
    request = chat_request()
    live = await chat.answer(request)
    await until_no_run_is_live(worker)
    assert await chat.answer(request) == live


async def test_ended_run_without_a_log_is_replayed_from_its_row(
    chat: Chatting, worker: Worker
) -> None:
    request = chat_request()
    live = await chat.answer(request)
    await until_no_run_is_live(worker)
    await worker.store._redis.client.flushall()
    again = await chat.answer(request)
    assert kinds(again) == ["response.snapshot", "response.completed", "done"]
    assert text_of(again) == "The answer is **42**."
    assert again[-1]["seq"] == live[-1]["seq"]


@pytest.mark.parametrize("still_live", [True, False])
async def test_cursor_beyond_the_end_gets_only_the_terminal(
    chat: Chatting, worker: Worker, still_live: bool
) -> None:
    request = chat_request()
    await chat.answer(request)
    if not still_live:
        await until_no_run_is_live(worker)
    assert kinds(await chat.answer({**request, "after": 5000})) == ["done"]


async def test_burst_beyond_the_window_loses_no_text(chat: Chatting, model: ScriptedModel) -> None:
    tokens = [f"{number} " for number in range(1000)]
    model.on("burst", tokens=tokens, at_once=True)
    assert text_of(await chat.answer("burst")) == "".join(tokens)


async def test_late_follower_gets_steps_and_a_snapshot(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("long", tokens=[f"{number} " for number in range(600)], hold_after=599)
    request = chat_request("long")
    one = await chat.ask(request)
    while len(one.events) < 6 + 599:
        await one.event()
    two = await chat.ask(request)
    snapshot = await two.until("response.snapshot")
    assert kinds(two.events)[:3] == ["connected", "phase.start", "routing.decided"]
    assert snapshot["data"]["text"] == "".join(f"{number} " for number in range(599))
    model.release()
    assert (
        text_of(await two.rest())
        == text_of(await one.rest())
        == "".join(f"{number} " for number in range(600))
    )


async def test_run_that_a_bug_abandons_goes_on_when_its_lease_expires(
    chat: Chatting,
    worker: Worker,
    settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> bool:
        raise RuntimeError("a bug")

    settings.FLEET_LEASE_TTL = 1
    await worker.stop()  # The next one reads the setting.
    request = chat_request()
    with monkeypatch.context() as patch:
        patch.setattr(RunQuerySet, "finish", fail)
        socket = await chat.ask(request)
        async with asyncio.timeout(10):
            while "a background task failed" not in caplog.text:
                await asyncio.sleep(0.02)
    events = await socket.rest()
    assert [event["data"]["epoch"] for event in events if event["type"] == "resumed"] == [1]
    assert kinds(events)[-2:] == ["response.completed", "done"]
    assert text_of(events) == "The answer is **42**."


async def test_reader_that_needs_every_event_reads_old_ones_in_the_log(
    chat: Chatting, model: ScriptedModel, worker: Worker
) -> None:
    words = [f"{number} " for number in range(2 * WINDOW)]
    model.on("long", tokens=words, hold_after=len(words) - 1)
    socket = await chat.ask(chat_request("long"))
    while socket.events == [] or text_of(socket.events) != "".join(words[:-1]):
        await socket.event()
    seqs = []
    batches = worker.runs.follow_every(UUID(socket.events[0]["workflow_id"]), 0)
    async for batch in batches:
        model.release()
        seqs += [entry.seq for entry in batch]
    assert seqs == list(range(1, len(seqs) + 1))
    live = await socket.rest()
    assert seqs[-1] == live[-1]["seq"]
