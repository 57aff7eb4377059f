"""Streams through the proxy: sockets of somebody who has signed in, and what they must get."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from random import Random

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from chat.protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON
from tests.chaos.checks import Evidence, Violation, violations_of_question
from tests.chaos.journal import Journal
from tests.chaos.plans import Play, ReaderPlan, RunPlan
from tests.chaos.readers import OPEN_TIMEOUT, Follower, Wire
from tests.chaos.rows import read_rows

from .stage import Topology

NUMBERS = count()  # of runs, whose questions the model tells apart
STAYS = 0.2  # seconds for which readers listen after the terminal


class Door(Wire):
    """Opens sockets with the cookies of a browser: through the proxy, or at one host."""

    def __init__(self, place: Topology, browser: httpx.Client, host: str = "") -> None:
        super().__init__(lambda: place.url)
        site = place.url.rstrip("/")
        cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
        self._headers = {"Cookie": cookies, "Origin": site}
        if host:
            self._headers |= {"X-Forwarded-Proto": "https"}
        self._url = site.replace("https", "wss") + "/ws/chat/"
        # At a host itself, as the proxy asks it: by the name of the site.
        self._there = {"host": host, "port": place.port} if host else {"ssl": place.trust}
        self._url = self._url.replace("wss", "ws") if host else self._url

    async def open(self, subprotocol: str) -> ClientConnection:
        return await connect(
            self._url,
            subprotocols=[Subprotocol(subprotocol)],
            additional_headers=self._headers,
            max_size=None,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=1,
            ping_interval=None,
            proxy=None,
            **self._there,
        )


class Streams:
    """Runs with two readers each, which rejoin until they have a terminal."""

    def __init__(self, place: Topology, wire: Wire, tokens: Sequence[str], *, pace: float) -> None:
        self.place = place
        self.wire = wire
        self.play = Play("stream", {"tokens": list(tokens), "pace": pace}, frozenset({"completed"}))
        self.runs: list[Evidence] = []
        self.journal = Journal()
        self._reading: list[asyncio.Task[None]] = []

    def begin(self, *, elsewhere: Wire | None = None) -> Evidence:
        """Ask a question, and let its second reader join by another wire, if there is one."""
        plans = [
            ReaderPlan(name, joins_after, (), STAYS)
            for name, joins_after in ((SUBPROTOCOL_JSON, 0.0), (SUBPROTOCOL_HTML, 1.0))
        ]
        plan = RunPlan(next(NUMBERS), uuid.uuid4(), self.play, plans)
        self.place.model.on(plan.question, **self.play.script)
        wires = [self.wire, elsewhere or self.wire]
        followers = [
            Follower(plan, reader, wire, self.journal, Random(plan.number))
            for reader, wire in zip(plans, wires, strict=True)
        ]
        self._reading += [asyncio.create_task(follower.follow()) for follower in followers]
        evidence = Evidence(plan, followers, asyncio.get_running_loop().time())
        self.runs.append(evidence)
        return evidence

    async def keep(self, number: int, *, during: Awaitable[None]) -> None:
        """Keep so many runs live while something happens."""
        happening = asyncio.ensure_future(during)
        while not happening.done():
            live = [r for r in self.runs if not all(f.over.is_set() for f in r.followers)]
            for _ in range(number - len(live)):
                self.begin()
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.2)
        await happening

    async def end(self, timeout: float) -> list[Violation]:
        """Wait until all readers have a terminal; return the rules that were broken."""
        async with asyncio.timeout(timeout):
            await asyncio.gather(*self._reading)
        rows = await asyncio.to_thread(read_rows, self.place.stored)
        for run in self.runs:
            run.ended_at = asyncio.get_running_loop().time()
            run.rows = rows.get(run.plan.message_id, [])
            run.calls = [c for c in self.place.model.calls if c.question == run.plan.question]
        return [fault for run in self.runs for fault in violations_of_question([run], self.journal)]

    @property
    def sockets(self) -> int:
        return sum(len(follower.sockets) for run in self.runs for follower in run.followers)


async def until_true(fact: Callable[[], object], why: str, *, within: float = 30) -> None:
    """Wait until `fact`, which doesn't block, is true."""
    async with asyncio.timeout(within):
        while not fact():
            await asyncio.sleep(0.02)
