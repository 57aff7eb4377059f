"""After hundreds of runs with all kinds of endings, what they used is given back."""

import asyncio
import json
import random
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import redis
from websockets.asyncio.client import connect

from chat.worker import Worker
from tests.chatting import Chatting, chat_request, is_terminal
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet, running, until

AT_ONCE = 20
# Pools keep the connections that were wanted at once, by chance more in later runs; a leak at one kind of ending shows a hundred.
POOLED = AT_ONCE
ENDINGS = ["completes", "fails", "is cut", "is cancelled", "is left"]


@dataclass(frozen=True)
class Used:
    descriptors: int
    sockets: int
    redis_connections: int
    resident: int  # bytes


def used(worker: psutil.Process, client: redis.Redis) -> Used:
    return Used(worker.num_fds(), len(worker.net_connections()), len(client.client_list()), worker.memory_info().rss)


def play(model: ScriptedModel) -> None:
    model.on("fails", status=400)
    model.on("is cut", cut_after=2)
    model.on("is cancelled", tokens=["x"] * 1000, pace=0.01)
    model.on("is left", tokens=["x"] * 5, pace=0.01)


async def one_run(url: str, ending: str) -> None:
    async with connect(url) as socket:
        await socket.send(json.dumps(chat_request(ending)))
        async for frame in socket:
            event = json.loads(frame)
            if event["type"] == "response.delta" and ending == "is left":
                return
            if event["type"] == "response.delta" and ending == "is cancelled":
                await socket.send('{"type": "cancel"}')
            if is_terminal(event):
                return


async def many_runs(url: str, count: int, chance: random.Random) -> None:
    for _ in range(count // AT_ONCE):
        await asyncio.gather(*(one_run(url, chance.choice(ENDINGS)) for _ in range(AT_ONCE)))


def test_a_worker_gives_back_what_500_runs_used(tmp_path: Path, model: ScriptedModel, model_server: ScriptedModel) -> None:
    play(model)
    chance = random.Random(7)
    with running(tmp_path, model_server, FLEET_LOG_LEVEL="error", FLEET_LINGER="1") as fleet:
        (worker,) = fleet.children("fleet-worker")
        url = fleet.address.replace("http", "ws") + "ws/chat/"
        with redis.Redis.from_url(fleet.card["redis_url"]) as client:
            asyncio.run(many_runs(url, 500, chance))
            before = settled(fleet, worker, client)
            asyncio.run(many_runs(url, 500, chance))
            after = settled(fleet, worker, client)
            assert [key for key in client.scan_iter("fleet:*") if client.ttl(key) < 0] == []
    assert after.descriptors <= before.descriptors + POOLED
    assert after.sockets <= before.sockets + POOLED
    assert after.redis_connections <= before.redis_connections + POOLED
    assert after.resident <= before.resident * 1.1


def settled(fleet: Fleet, worker: psutil.Process, client: redis.Redis) -> Used:
    """What the worker uses once no reader is connected."""
    until(
        lambda: not any(c.laddr.port == fleet.port and c.status == "ESTABLISHED" for c in worker.net_connections()), 15, "sockets are open"
    )
    return used(worker, client)


@pytest.mark.django_db(transaction=True)
async def test_no_task_is_left_of_a_run(chat: Chatting, model: ScriptedModel) -> None:
    play(model)
    await chat.answer("completes")
    idle = await idle_tasks()
    for ending in ENDINGS * 4:
        socket = await chat.ask(ending)
        await socket.until("connected")
        if ending == "is cancelled":
            await socket.send({"type": "cancel"})
        if ending != "is left":
            await socket.rest()
        await socket.close()
    assert await idle_tasks() <= idle


async def idle_tasks() -> int:
    """The tasks of the loop once no run is live."""
    async with asyncio.timeout(10):
        while Worker.current().runs.live:
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)
    return len(asyncio.all_tasks())
