"""A cancel that reaches the run's worker from another one, faster than through the row."""

import asyncio
import uuid

import pytest
from channels.layers import get_channel_layer

from chat.runs.worker import Worker
from tests.chatting import Chatting, kinds
from tests.scripted_model import ScriptedModel

from .rows import orphan

pytestmark = pytest.mark.django_db(transaction=True)

FAR = 20  # seconds until a lease expires


async def test_cancel_of_a_run_elsewhere_is_sent_to_its_worker(chat: Chatting) -> None:
    # A name of its own: commands of other tests for worker.dead are still in Redis.
    run, request = await orphan(
        worker="worker.elsewhere", expires_in=FAR, last_seq=1, text_so_far="Elsewhere"
    )
    socket = await chat.ask(request)
    await socket.until("response.snapshot")
    await socket.send({"type": "cancel"})
    async with asyncio.timeout(20):
        command = await get_channel_layer().receive(run.worker)
    assert (command["type"], command["run_id"]) == ("cancel", str(run.pk))


async def test_command_cancels_a_run_although_its_row_has_no_cancel(
    chat: Chatting, worker: Worker, model: ScriptedModel
) -> None:
    model.on("hold", hold_after=1)
    socket = await chat.ask("hold")
    run_id = (await socket.until("response.delta"))["workflow_id"]
    await get_channel_layer().send(worker.name, {"type": "cancel", "run_id": run_id})
    assert kinds(await socket.rest())[-2:] == ["cancelled", "done"]
    assert await asyncio.to_thread(model.calls[0].ended.wait, 20)


async def test_command_for_a_run_that_is_not_live_is_ignored(
    chat: Chatting, worker: Worker, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    model.on("hold", hold_after=1)
    socket = await chat.ask("hold")
    live = (await socket.until("response.delta"))["workflow_id"]
    for run_id in (str(uuid.uuid4()), live):
        await get_channel_layer().send(worker.name, {"type": "cancel", "run_id": run_id})
    assert kinds(await socket.rest())[-2:] == ["cancelled", "done"]
    assert "is restarted" not in caplog.text
