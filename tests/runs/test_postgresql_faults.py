"""A PostgreSQL server fails under a real fleet: nothing is lost, and readers are told in time."""

import asyncio
import http.client
import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from random import Random
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import ClientConnection

from chat.protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON
from tests.chaos.journal import Journal
from tests.chaos.plans import Play, ReaderPlan, RunPlan
from tests.chaos.readers import Follower, Wire, is_refusal
from tests.postgresql import PostgreSQL, postgresql
from tests.proxy import Proxy
from tests.scripted_model import Script, ScriptedModel
from tests.serving import Fleet, running

from .postgresql_faults import (
    CUT,
    Fault,
    Server,
    cut,
    failed_over,
    frozen,
    full,
    locked,
    read_only,
    restarted,
    swallowed,
)

RUNS = 12
SOCKETS = 36
LASTS = 8.0  # seconds of a fault
TOKENS = [*(f"word{number} " for number in range(39)), "end."]
PACE = 0.1  # seconds between them, so that answers end while the fault lasts
CHATS = "/chats/"
MAX_ANSWER = 6.0  # seconds until a page is answered
SPARE = 3.0  # for a busy machine
MAX_RECOVERY = 8.0  # seconds from the end of a fault until pages are as before


@pytest.fixture(scope="module")
def server(
    postgresql_server: PostgreSQL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Yield a server of these tests' own, because it fails over to another one."""
    with postgresql(tmp_path_factory.mktemp("faults")) as own:
        own.sql("CREATE DATABASE fleet")
        proxy = Proxy(own.port)
        yield (server := Server(own, proxy))
        proxy.stop()
        if server.postgresql is not own:
            server.postgresql.stop()


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, server: Server, model_server: ScriptedModel
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    settings = {"DATABASE_URL": server.url, "DJANGO_SECRET_KEY": uuid.uuid4().hex * 2}
    with running(folder, model_server, "--workers", "2", FLEET_HEARTBEAT="1", **settings) as fleet:
        yield fleet


@dataclass(frozen=True)
class Page:
    status: int
    seconds: float


@dataclass
class Seen:
    """What readers and visitors of pages saw of a fault."""

    followers: list[Follower]
    pages: list[Page] = field(default_factory=list)
    well_after: float = 0.0  # seconds from the end of the fault until pages are as before

    async def pages_for(self, fleet: Fleet, seconds: float) -> None:
        """Visit pages for so long, and until those that are loading have been answered."""
        ends = time.monotonic() + seconds

        async def visits(method: str) -> None:
            while time.monotonic() < ends:
                self.pages.append(await asyncio.to_thread(visited, fleet, method))
                await asyncio.sleep(0.2)

        await asyncio.gather(*(visits(method) for method in ("GET", "GET", "POST")))

    async def pages_until_well(self, fleet: Fleet) -> None:
        began = time.monotonic()
        in_a_row = 0
        while in_a_row < 5:
            self.pages.append(page := await asyncio.to_thread(visited, fleet, "POST"))
            in_a_row = in_a_row + 1 if page.status != 503 else 0
            if not in_a_row:
                self.well_after = time.monotonic() - began
            assert time.monotonic() - began < 60
            await asyncio.sleep(0.05)

    def __str__(self) -> str:
        refused = [page.seconds for page in self.pages if page.status == 503]
        refusals = sum(is_refusal(f) for e in self.followers for s in e.sockets for f in s.frames)
        return (
            f"{len(self.pages)} pages, {len(refused)} of them 503, the first"
            f" after {refused[0] if refused else 0:.2f} s,"
            f" the slowest page {max(page.seconds for page in self.pages):.2f} s;"
            f" well {self.well_after:.2f} s after the end; {refusals} sockets refused,"
            f" {sum(len(e.sockets) for e in self.followers)} opened"
        )


def visited(fleet: Fleet, method: str) -> Page:
    """Open the list of chats, or store instructions, as a browser whose session is unknown."""
    connection = http.client.HTTPConnection("127.0.0.1", fleet.port, timeout=60)
    began = time.monotonic()
    cookies = f"fleet_session_{installation_of(fleet.address)}=0123456789abcdefghijklmnopqrstuv"
    if method == "GET":
        connection.request("GET", CHATS, headers={"Cookie": cookies, "HX-Request": "true"})
    else:
        token = "a" * 32
        connection.request(
            "POST",
            "/instructions/",
            body=f"csrfmiddlewaretoken={token}&text=Be+brief",
            headers={
                "Cookie": f"{cookies}; fleet_csrf_{installation_of(fleet.address)}={token}",
                "Content-Type": "application/x-www-form-urlencoded",
                "Origin": fleet.address.rstrip("/"),
            },
        )
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return Page(answer.status, time.monotonic() - began)


@cache
def installation_of(address: str) -> str:
    """Return the part of a fleet's cookies that is its own."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)
    connection.request("GET", "/login/")
    found = re.search(r"fleet_csrf_(\w+)=", connection.getresponse().headers["Set-Cookie"])
    connection.close()
    assert found
    return found[1]


class TestFaults:
    """Answers go on while the database fails, and are stored when it is back."""

    @pytest.mark.parametrize("fault", [frozen, cut])
    async def test_nothing_is_lost(
        self, fleet: Fleet, server: Server, model: ScriptedModel, fault: Fault
    ) -> None:
        await play(fleet, server, model, fault)

    @pytest.mark.long
    @pytest.mark.parametrize("fault", [swallowed, restarted, read_only, locked, full])
    async def test_nothing_is_lost_by_other_faults(
        self, fleet: Fleet, server: Server, model: ScriptedModel, fault: Fault
    ) -> None:
        await play(fleet, server, model, fault)

    @pytest.mark.long
    async def test_nothing_is_lost_by_a_failover(
        self, fleet: Fleet, server: Server, model: ScriptedModel
    ) -> None:
        await play(fleet, server, model, failed_over)

    @pytest.mark.long
    @pytest.mark.parametrize("fault", [frozen, swallowed])
    async def test_nothing_is_lost_by_long_faults(
        self, fleet: Fleet, server: Server, model: ScriptedModel, fault: Fault
    ) -> None:
        await play(fleet, server, model, fault, lasts=30)


async def test_joins_and_questions_at_once_are_served_after_connections_were_cut(
    fleet: Fleet, server: Server, model: ScriptedModel
) -> None:
    wire = Wire(lambda: fleet.address)
    model.default = Script(tokens=TOKENS[:2], hold_after=1)
    known, new = ([request_for(number) for number in range(SOCKETS)] for _ in range(2))
    first = await asyncio.gather(*(opened(wire, request) for request in known))
    assert {kind for _, kind in first} == {"connected"}
    for connection, _ in first:
        connection.transport.abort()
    await asyncio.to_thread(server.rows, CUT)
    again = await asyncio.gather(*(opened(wire, request) for request in (*known, *new)))
    assert {kind for _, kind in again} == {"connected"}
    model.release()
    for connection, _ in again:
        connection.transport.abort()


def request_for(number: int) -> str:
    return json.dumps({"message": f"question {number}", "message_id": str(uuid.uuid4())})


async def opened(wire: Wire, request: str) -> tuple[ClientConnection, str]:
    """Send a request on a new socket; return the code of its refusal, or its first event."""
    connection = await wire.open(SUBPROTOCOL_JSON)
    await connection.send(request)
    while (frame := json.loads(await connection.recv()))["type"] == "heartbeat":
        pass
    return connection, frame["error"]["code"] if frame["type"] == "error" else frame["type"]


async def play(
    fleet: Fleet, server: Server, model: ScriptedModel, fault: Fault, lasts: float = LASTS
) -> None:
    """Let a fault begin while RUNS answers are written. Check what pages, readers and rows have."""
    run_plans = plans(model)
    wire = Wire(lambda: fleet.address)
    await asyncio.to_thread(server.rows, "DELETE FROM chat_tries")
    reader = ReaderPlan(SUBPROTOCOL_HTML, 0, (), 0)
    followers = [Follower(run, reader, wire, Journal(), Random(0)) for run in run_plans]
    reading = [asyncio.create_task(each.follow()) for each in followers]
    async with asyncio.timeout(30):
        while not all(each.is_joined for each in followers):
            await asyncio.sleep(0.05)
    seen = Seen(followers)
    trouble = fault(server)
    await asyncio.to_thread(trouble.__enter__)
    try:
        await seen.pages_for(fleet, lasts)
    finally:
        await asyncio.to_thread(trouble.__exit__, None, None, None)
    await seen.pages_until_well(fleet)
    async with asyncio.timeout(90):
        await asyncio.gather(*reading)
    print(f"{fault.__name__} for {lasts} s: {seen}")
    ids = ", ".join(f"'{run.message_id}'" for run in run_plans)
    rows = await asyncio.to_thread(
        server.rows,
        "SELECT r.status, m.text FROM chat_run r JOIN chat_message m ON m.id = r.answer_id"
        f" WHERE r.message_id IN ({ids})",
    )
    assert rows == [["completed", "".join(TOKENS)]] * RUNS
    assert [endings_of(each) for each in followers] == [["done"]] * RUNS
    assert {page.status for page in seen.pages} <= {200, 429, 503}
    assert max(page.seconds for page in seen.pages) < MAX_ANSWER + SPARE
    assert seen.well_after < MAX_RECOVERY + SPARE


def plans(model: ScriptedModel) -> list[RunPlan]:
    play = Play("faults", {"tokens": TOKENS, "pace": PACE}, frozenset({"completed"}))
    found = [RunPlan(number, uuid.uuid4(), play, []) for number in range(RUNS)]
    for run in found:
        model.on(run.question, **play.script)
    return found


def endings_of(follower: Follower) -> list[str]:
    frames = [frame for socket in follower.sockets for frame in socket.frames]
    return [
        frame["type"]
        for frame in frames
        if frame["type"] in ("done", "error") and not is_refusal(frame)
    ]
