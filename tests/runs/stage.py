"""Real fleets with a model of their own, and crowds of followers on them, for scenes of faults."""

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psutil
import redis

from chat.protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON
from tests.chaos.checks import Evidence, Violation, violations_of_question
from tests.chaos.journal import Journal
from tests.chaos.plans import Play, ReaderPlan, RunPlan
from tests.chaos.readers import Follower, Wire, is_terminal
from tests.chaos.rows import count_open, read_rows
from tests.chaos.streams import kind_of, run_events
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet, running

# Enters the file systems of a process that `unshare` has started.
ENTER = ("nsenter", "--preserve-credentials", "--user", "--mount", "--target")
QUERY = """
import json, sqlite3, sys
from contextlib import closing
path, sql = sys.argv[1:]
with closing(sqlite3.connect(path)) as connection:
    print(json.dumps(connection.execute(sql).fetchall()))
"""
TIMEOUT = 60.0  # seconds, which only a machine that is much too busy needs


async def when(fact: Callable[[], Any], why: str, *, within: float = TIMEOUT) -> Any:
    """Return the first true value of `fact`. It runs in a thread, because it may block."""
    deadline = time.monotonic() + within
    while not (value := await asyncio.to_thread(fact)):
        assert time.monotonic() < deadline, why
        await asyncio.sleep(0.02)
    return value


@dataclass(frozen=True)
class Stage:
    """A fleet with its own model."""

    fleet: Fleet
    model: ScriptedModel
    state: Path  # its state folder, as this process reaches it
    inside: tuple[str, ...] = ()  # runs a command with the file systems that the fleet sees

    @property
    def database(self) -> Path:
        return self.state / "fleet.sqlite3"

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.fleet.port}/ws/chat/"

    def workers(self) -> list[psutil.Process]:
        return self.fleet.children("fleet-worker")

    @contextmanager
    def only(self, worker: psutil.Process) -> Iterator[None]:
        """Let only this worker take new sockets. The kernel may give them all to one worker."""
        [other] = set(self.workers()) - {worker}
        self.suspend(other)
        try:
            yield
        finally:
            other.resume()

    def suspend(self, worker: psutil.Process) -> None:
        """Suspend a worker at a moment when it doesn't hold the database's lock."""
        while True:
            worker.suspend()
            lock = sqlite3.connect(self.database, timeout=1, isolation_level=None)
            with closing(lock), contextlib.suppress(sqlite3.OperationalError):
                lock.execute("BEGIN IMMEDIATE")
                return
            worker.resume()

    def rows(self, sql: str) -> list[Any]:
        if self.inside:
            return self.rows_inside(sql)
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(sql).fetchall()

    def rows_inside(self, sql: str) -> list[Any]:
        """Ask in a process that sees the fleet's file systems.

        SQLite can't open a database by a path through /proc, and its write-ahead log may vanish
        while it is copied.
        """
        asking = [sys.executable, "-c", QUERY, self.fleet.folder / "state/fleet.sqlite3", sql]
        asked = subprocess.run([*self.inside, *asking], stdout=subprocess.PIPE, check=True)
        return [tuple(row) for row in json.loads(asked.stdout)]


@asynccontextmanager
async def stage(
    folder: Path, *arguments: str, through: tuple[str, ...] = (), **environment: str
) -> AsyncIterator[Stage]:
    """Start a fleet, and stop it at the end, in a thread: other scenes play meanwhile."""
    folder.mkdir()
    model = ScriptedModel()
    fleet = running(folder, model, *arguments, through=through, **environment)
    try:
        started = await asyncio.to_thread(fleet.__enter__)
        state, pid = folder / "state", str(started.process.pid)
        if through:
            yield Stage(started, model, Path(f"/proc/{pid}/root{state}"), (*ENTER, pid))
        else:
            yield Stage(started, model, state)
    finally:
        await asyncio.to_thread(fleet.__exit__, None, None, None)
        model.stop()


class Crowd:
    """Runs in equal numbers on two workers, with two followers each.

    The JSON follower is on the run's worker, the html follower on the other one. Both rejoin until
    the run has ended.
    """

    def __init__(self, on: Stage, **script: Any) -> None:
        self.journal = Journal()
        self._stage = on
        self._play = Play("crowd", script, frozenset({"completed"}))
        self._wire = Wire(lambda: on.fleet.address)
        self._reading: list[asyncio.Task[None]] = []
        self._watching = asyncio.create_task(self.journal.watch_pressure())
        self.evidence: list[Evidence] = []

    async def begin(self, runs: int) -> None:
        """Start so many runs on each worker, and wait until every follower has some text."""
        first, second = self._stage.workers()
        with self._stage.only(first):
            here = self.ask(runs)
            await self.read(here, SUBPROTOCOL_JSON)
        with self._stage.only(second):
            there = self.ask(runs)
            await self.read(there, SUBPROTOCOL_JSON)
            await self.read(here, SUBPROTOCOL_HTML)
        with self._stage.only(first):
            await self.read(there, SUBPROTOCOL_HTML)

    def ask(self, runs: int) -> list[Evidence]:
        readers = [ReaderPlan(name, 0, (), 0.2) for name in (SUBPROTOCOL_JSON, SUBPROTOCOL_HTML)]
        plans = [
            RunPlan(len(self.evidence) + n, uuid.uuid4(), self._play, readers) for n in range(runs)
        ]
        for plan in plans:
            self._stage.model.on(plan.question, **plan.play.script)
        asked = [Evidence(plan, [], time.monotonic()) for plan in plans]
        self.evidence += asked
        return asked

    async def read(self, asked: list[Evidence], subprotocol: str) -> None:
        followers = [
            Follower(run.plan, reader, self._wire, self.journal, Random(0))
            for run in asked
            for reader in run.plan.readers
            if reader.subprotocol == subprotocol
        ]
        for run, follower in zip(asked, followers, strict=True):
            run.followers.append(follower)
        self._reading += [asyncio.create_task(follower.follow()) for follower in followers]
        await when(lambda: all(map(has_text, followers)), "an answer does not begin")
        with redis.Redis.from_url(self._stage.fleet.card["redis_url"]) as client:
            # Followers on the other worker read the log in Redis: wait until it has as much.
            logs = {
                f"fleet:log:{run_events(follower)[0]['workflow_id']}": follower.cursor
                for follower in followers
            }
            await when(
                lambda: all(client.xrange(log, min=f"{cursor}-0") for log, cursor in logs.items()),
                "a log does not grow",
            )

    @property
    def followers(self) -> list[Follower]:
        return [follower for run in self.evidence for follower in run.followers]

    async def until_ended(self) -> None:
        """Wait until all followers have their terminal and all rows are closed."""
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(*self._reading)
        await when(lambda: not count_open(self._stage.database), "a row is open")
        self._watching.cancel()
        for run in self.evidence:
            run.ended_at = time.monotonic()

    def seconds_to_resumed(self, *, since: float) -> list[float]:
        """Return the seconds to `resumed` for each follower that got it."""
        return [
            frame["at"] - since
            for f in self.followers
            for socket in f.sockets
            for frame in socket.frames
            if frame["type"] == "resumed"
        ]

    def endings(self) -> list[str]:
        """Return the ending of each run as its JSON follower saw it."""
        terminals = [
            [frame for s in run.followers[0].sockets for frame in s.frames if is_terminal(frame)]
            for run in self.evidence
        ]
        return [kind_of(terminal) for [terminal] in terminals]

    def violations(self) -> list[Violation]:
        """Return what breaks the rules of the storm in tests/chaos."""
        rows = read_rows(self._stage.database)
        for run in self.evidence:
            run.rows = rows.get(run.plan.message_id, [])
            run.calls = [
                call for call in self._stage.model.calls if call.question == run.plan.question
            ]
        return [
            violation
            for run in self.evidence
            for violation in violations_of_question([run], self.journal)
        ]


def has_text(follower: Follower) -> bool:
    return any(
        frame["type"] in ("response.delta", "response.snapshot")
        for socket in follower.sockets
        for frame in socket.frames
    )
