"""Hundreds of runs with all kinds of endings leave no connections, memory or tasks behind."""

import asyncio
import json
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from chat.protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON
from chat.runs.worker import Worker
from tests.chatting import AS_SCRIPT, Chatting, chat_request, is_terminal
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet, running, until
from tests.timing import TRIES

AT_ONCE = 20
EACH = 22  # times that a round plays each way
# Connections that a pool may gain from one round to the next. One leaking way leaves twice as many.
POOLED = EACH // 2
MAX_GROWTH = 1.1  # of memory, from one round to the next
SETTLE_TIMEOUT = 20  # seconds; idle connections to the model are closed after 15


@dataclass(frozen=True)
class Way:
    """A question that ends in a certain way, and what its reader does meanwhile."""

    question: str
    subprotocol: str = SUBPROTOCOL_JSON
    fields: dict[str, Any] = field(default_factory=dict)
    frame: str = ""  # sent in place of the request
    cancels_at: str = ""  # type of an event
    leaves_at: str = ""  # type of an event


TEAM = {"mode": "full"}
TOO_LARGE = "x" * 1_000_000
WAYS = [
    Way("completes"),
    Way("completes", SUBPROTOCOL_HTML),
    Way("completes", fields=TEAM),
    Way("What is 12 * 7?"),  # with a tool
    Way("fails"),
    Way("is cut"),
    Way("is long", cancels_at="response.delta"),
    Way("is long", SUBPROTOCOL_HTML, cancels_at="response.delta"),
    Way("is long", SUBPROTOCOL_HTML, fields=TEAM, cancels_at="agent.start"),
    Way("is left", leaves_at="response.delta"),
    Way("is left", SUBPROTOCOL_HTML, leaves_at="response.delta"),
    Way("is too large", frame=TOO_LARGE),
    Way("is too large", SUBPROTOCOL_HTML, frame=TOO_LARGE),
    Way("is in somebody else's conversation", fields={"conversation_id": str(uuid.uuid4())}),
]
ENDINGS = {
    "completed",
    "cancelled",
    "model_error",
    "left",
    "bad_request",
    "forbidden",
    "conversation_busy",
}


@dataclass(frozen=True)
class Used:
    descriptors: int
    sockets: int
    redis_connections: int
    database_connections: int
    resident: int  # bytes

    @classmethod
    def by(cls, worker: psutil.Process, client: redis.Redis) -> "Used":
        return cls(
            descriptors=worker.num_fds(),
            sockets=len(worker.net_connections()),
            redis_connections=len(client.client_list()),
            database_connections=sum(
                file.path.endswith("fleet.sqlite3") for file in worker.open_files()
            ),
            resident=worker.memory_info().rss,
        )

    def is_at_most(self, other: "Used", *, more: int) -> bool:
        return (
            self.descriptors <= other.descriptors + more
            and self.sockets <= other.sockets + more
            and self.redis_connections <= other.redis_connections + more
            and self.database_connections <= other.database_connections
            and self.resident <= other.resident * MAX_GROWTH
        )


def play(model: ScriptedModel) -> None:
    model.on("fails", status=400)
    model.on("is cut", cut_after=2)
    model.on("is long", tokens=["x"] * 1000, pace=0.01)
    model.on("is left", tokens=["x"] * 5, pace=0.01)
    model.on("keeps its conversation busy", tokens=["x"] * 1000, pace=1)


async def go(url: str, way: Way) -> str:
    """Ask this way, and return the run's status, the code of an error, or "left"."""
    async with connect(
        url, subprotocols=[Subprotocol(way.subprotocol)], additional_headers=AS_SCRIPT
    ) as socket:
        await socket.send(way.frame or json.dumps(chat_request(way.question, **way.fields)))
        return await ending(socket, way)


async def ending(socket: ClientConnection, way: Way) -> str:
    async for frame in socket:
        event = json.loads(frame)
        if event["type"] == way.leaves_at:
            return "left"
        if event["type"] == way.cancels_at:
            await socket.send('{"type": "cancel"}')
        if is_terminal(event):
            return str(
                event["error"]["code"] if event["type"] == "error" else event["data"]["status"]
            )
    return "closed"


@asynccontextmanager
async def busy_conversation(url: str) -> AsyncIterator[str]:
    """Yield the id of a conversation that has a live run while the block runs."""
    async with connect(url, additional_headers=AS_SCRIPT) as socket:
        await socket.send(json.dumps(chat_request("keeps its conversation busy")))
        yield json.loads(await socket.recv())["data"]["conversation_id"]
        await socket.send('{"type": "cancel"}')
        await ending(socket, Way("keeps its conversation busy"))


async def one_round(url: str, chance: random.Random) -> set[str]:
    """Play each way EACH times in random order, AT_ONCE at a time; return how they ended."""
    ended = set()
    async with busy_conversation(url) as conversation:
        ways = [*WAYS, Way("is refused", fields={"conversation_id": conversation})] * EACH
        chance.shuffle(ways)
        for at in range(0, len(ways), AT_ONCE):
            ended |= set(await asyncio.gather(*(go(url, way) for way in ways[at : at + AT_ONCE])))
    return ended


def test_worker_uses_no_more_after_each_round_of_hundreds_of_runs(
    tmp_path: Path, model: ScriptedModel, model_server: ScriptedModel
) -> None:
    """The first round fills pools and caches. A later one must not use more than the one before.

    A leak adds to each round. A pool only grows, to the most connections used at one moment, and
    that may be many if the machine stops for a second; so there are several rounds.
    """
    play(model)
    chance = random.Random(7)
    with running(tmp_path, model_server, FLEET_LOG_LEVEL="error") as fleet:
        (worker,) = fleet.children("fleet-worker")
        url = fleet.address.replace("http", "ws") + "ws/chat/"
        with redis.Redis.from_url(fleet.card["redis_url"]) as client:
            rounds: list[Used] = []

            def is_back() -> bool:
                return Used.by(worker, client).is_at_most(rounds[-2], more=POOLED)

            while len(rounds) < 2 + TRIES and not (len(rounds) > 2 and is_back()):
                assert asyncio.run(one_round(url, chance)) == ENDINGS
                until(
                    lambda: not are_readers_connected(fleet, worker),
                    SETTLE_TIMEOUT,
                    "sockets are open",
                )
                rounds.append(Used.by(worker, client))
            until(is_back, SETTLE_TIMEOUT, f"connections or memory are left: {rounds}")
            assert [key for key in client.scan_iter("fleet:*") if client.ttl(key) < 0] == []


def are_readers_connected(fleet: Fleet, worker: psutil.Process) -> bool:
    return any(
        c.laddr.port == fleet.port and c.status == "ESTABLISHED" for c in worker.net_connections()
    )


@pytest.mark.django_db(transaction=True)
async def test_run_leaves_no_task_behind(chat: Chatting, model: ScriptedModel) -> None:
    play(model)
    await chat.answer("completes")
    await until_no_run_is_live()
    idle = len(asyncio.all_tasks())
    for way in WAYS * 2:
        socket = await chat.ask(
            way.frame or chat_request(way.question, **way.fields), subprotocol=way.subprotocol
        )
        if moment := way.cancels_at or way.leaves_at:
            await socket.until(moment)
        if way.cancels_at:
            await socket.send({"type": "cancel"})
        if not way.leaves_at:
            await socket.rest()
        await socket.close()
    await until_no_run_is_live()
    async with asyncio.timeout(30):
        while len(asyncio.all_tasks()) > idle:
            await asyncio.sleep(0.02)


async def until_no_run_is_live() -> None:
    async with asyncio.timeout(30):
        while Worker.current().runs.live:
            await asyncio.sleep(0.02)
