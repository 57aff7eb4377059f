"""Faults whose ends take seconds, played on real fleets. Each scene returns what happened."""

import asyncio
import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from chat.protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON
from tests.chaos.checks import Violation
from tests.chaos.readers import is_terminal
from tests.chaos.rows import count_open
from tests.chatting import Event, chat_request, text_of
from tests.proxy import Proxy

from .stage import TIMEOUT, Crowd, Stage, stage, when

HOUR = 3600


@dataclass(frozen=True)
class Killed:
    """What followers saw when one of two workers was killed."""

    seconds_to_resumed: list[float]
    was_pressed: bool
    endings: list[str]
    violations: list[Violation]


async def kill_a_worker(folder: Path) -> Killed:
    """Kill one of two workers with SIGKILL while both answer six runs."""
    async with stage(folder, "--workers", "2", FLEET_HEARTBEAT="1") as on:
        # The model holds all answers, so that none ends before the kill on a busy machine.
        crowd = Crowd(on, tokens=[f"word{n} " for n in range(250)], pace=0.05, hold_after=200)
        await crowd.begin(6)
        killed = time.monotonic()
        on.workers()[0].kill()
        on.model.release()
        await crowd.until_ended()
        was_pressed = crowd.journal.was_pressed(killed, time.monotonic())
        return Killed(
            crowd.seconds_to_resumed(since=killed),
            was_pressed,
            crowd.endings(),
            crowd.violations(),
        )


@dataclass(frozen=True)
class Slept:
    """What a phone got before it slept, and after it woke up."""

    before: list[Event]
    after: list[Event]


async def sleep_through_the_end(folder: Path) -> dict[str, Slept]:
    """Let phones sleep from the middle of an answer until Redis has dropped the run's log.

    Meanwhile their sockets are open but pass nothing on.
    """
    async with stage(folder, "--workers", "2", FLEET_HEARTBEAT="1") as on:
        on.model.default.tokens = [f"word{n} " for n in range(400)]
        on.model.default.hold_after = 200
        network = Proxy(on.fleet.port)
        try:
            phones = {
                name: Phone(f"ws://127.0.0.1:{network.port}/ws/chat/", name)
                for name in (SUBPROTOCOL_JSON, SUBPROTOCOL_HTML)
            }
            await asyncio.gather(*(phone.read_to("word199 ") for phone in phones.values()))
            network.set("hang")
            on.model.release()
            await when(lambda: not count_open(on.database), "a run does not end")
            with redis.Redis.from_url(on.fleet.card["redis_url"]) as client:
                # Logs expire after an hour.
                assert client.delete(*client.scan_iter("fleet:log:*")) == len(phones)
            network.cut()
            network.set("open")
            return {name: await phone.wake() for name, phone in phones.items()}
        finally:
            network.stop()


class Phone:
    """A reader that rejoins with its cursor, as the page does."""

    def __init__(self, url: str, subprotocol: str) -> None:
        self._url = url
        self._subprotocol = Subprotocol(subprotocol)
        self._request = chat_request(f"for {subprotocol}")
        self._events: list[Event] = []
        self._socket: ClientConnection | None = None

    async def read_to(self, text: str) -> None:
        self._socket = await self.join(after=0)
        while not text_of(self._events).endswith(text):
            self._events.append(json.loads(await self._socket.recv()))

    async def wake(self) -> Slept:
        assert self._socket
        self._socket.transport.abort()
        before, self._events = self._events, []
        async with asyncio.timeout(TIMEOUT):
            async with await self.join(after=before[-1]["seq"]) as socket:
                while not (self._events and is_terminal(self._events[-1])):
                    self._events.append(json.loads(await socket.recv()))
        return Slept(before, self._events)

    async def join(self, *, after: int) -> ClientConnection:
        socket = await connect(
            self._url, subprotocols=[self._subprotocol], max_size=None, ping_interval=None
        )
        await socket.send(json.dumps({**self._request, "after": after}))
        return socket


SHIFTED_CLOCK = """
import datetime, os, pathlib
from sqlite3 import dbapi2
folder, connect = pathlib.Path(os.environ["CLOCKS"]), dbapi2.connect
def now(pattern, when):
    assert (pattern, when) == ("%Y-%m-%d %H:%M:%f", "NOW")
    mine = folder / str(os.getpid())
    hours = float((mine if mine.exists() else folder / "all").read_text())
    shifted = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)
    return shifted.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
def connect_shifted(*args, **options):
    connection = connect(*args, **options)
    connection.create_function("STRFTIME", 2, now)
    return connection
dbapi2.connect = connect_shifted
"""


@dataclass
class Jumped:
    """How runs ended while clocks jumped."""

    endings: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    endings_after_death: list[str] = field(default_factory=list)
    seconds_to_resumed: list[float] = field(default_factory=list)


async def let_clocks_jump(folder: Path) -> Jumped:
    """Set the clock of all leases an hour forward and back, then of one worker, which then dies.

    Leases use no other clock than SQL's `now`, so only that is shifted in the workers: in all at
    once, as the clock of their host would be, or in one, as if it ran on another host. Python's
    clock is left unchanged.
    """
    lease = 5.0  # seconds; a wrong reaper would end a live run within a third of that
    clocks = folder.with_name("clocks")
    clocks.mkdir()
    (clocks / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    set_clock(clocks / "all", hours=0)
    environment = {
        "PYTHONPATH": str(clocks),
        "CLOCKS": str(clocks),
        "FLEET_LEASE_TTL": f"{lease:g}",
    }
    environment |= {"FLEET_HEARTBEAT": "1", "FLEET_IDLE_TIMEOUT": "120"}
    jumped = Jumped()
    async with stage(folder, "--workers", "2", **environment) as on:

        async def live_on(hours: set[float]) -> None:
            """Wait until all leases are so far ahead, then longer than a wrong reaper would."""
            await when(lambda: set(hours_ahead(on)) == hours, f"leases are not {hours} h ahead")
            await asyncio.sleep(0.6 * lease)

        crowd = Crowd(on, tokens=["held ", "back"], hold_after=1)
        await crowd.begin(4)
        for hours in (1, 0, -1):
            set_clock(clocks / "all", hours=hours)
            await live_on({hours})
        set_clock(clocks / "all", hours=0)
        ahead, _ = on.workers()
        set_clock(clocks / str(ahead.pid), hours=1)
        await live_on({0, 1})
        on.model.release()
        await crowd.until_ended()
        jumped.endings, jumped.violations = crowd.endings(), crowd.violations()

        on.model.reset()
        crowd = Crowd(on, tokens=["held ", "back"], hold_after=1)
        await crowd.begin(4)
        await live_on({0, 1})
        died = time.monotonic()
        ahead.kill()
        await when(lambda: set(hours_ahead(on)) == {0}, "a run of the dead worker is live")
        on.model.release()
        await crowd.until_ended()
        jumped.endings_after_death, jumped.seconds_to_resumed = (
            crowd.endings(),
            crowd.seconds_to_resumed(since=died),
        )
        jumped.violations += crowd.violations()
    return jumped


def set_clock(file: Path, *, hours: int) -> None:
    new = file.with_name("new")
    new.write_text(str(hours))
    # Renamed, so that no worker reads half of it.
    new.rename(file)


def hours_ahead(on: Stage) -> list[int]:
    """Return how many hours the leases of live runs are ahead of the true time."""
    leases = on.rows(
        "SELECT strftime('%s', lease_expires_at) - strftime('%s', 'now') FROM chat_run "
        "WHERE status = 'running'"
    )
    return [round(seconds / HOUR) for (seconds,) in leases]


OWN_DISK = (
    "unshare",
    "--mount",
    "--map-root-user",
    "sh",
    "-c",
    'mount -t tmpfs -o size=16m none "$FLEET_STATE_DIR" && exec "$@"',
    "sh",
)


def can_mount(folder: Path) -> bool:
    environment = {**os.environ, "FLEET_STATE_DIR": str(folder)}
    return subprocess.run([*OWN_DISK, "true"], env=environment, capture_output=True).returncode == 0


LONG = "it. " * 100_000


@dataclass(frozen=True)
class Filled:
    """What a fleet did while its disk was full and afterwards."""

    refusal: list[Event]
    took: float  # seconds
    rows_of_refused: list[Any]
    complaint: str
    kept: list[Event]
    stored: list[Any]
    later: list[Event]


async def fill_the_disk(folder: Path) -> Filled:
    """Fill the file system of the state folder, 8 MB, while the model writes an answer."""
    async with stage(folder, through=OWN_DISK) as on:
        # So long that it doesn't fit into space that the database has for new pages already.
        on.model.on("kept", tokens=["All ", "of ", LONG], hold_after=2)
        async with connect(on.url) as socket:
            await socket.send(json.dumps(chat_request("kept")))
            kept = await read_to("response.delta", socket)
            with no_space_left(on.state):
                began = time.monotonic()
                refusal = await ask(on, "refused")
                took = time.monotonic() - began
                on.model.release()
                await when(
                    lambda: "cannot store its ending" in on.fleet.complained, "no write failed"
                )
            kept += await read_to_end(socket)
        complaint = next(
            line for line in on.fleet.complained.splitlines() if "cannot store its ending" in line
        )
        refused = on.rows(
            "SELECT title FROM chat_conversation WHERE title = 'refused' "
            "UNION SELECT text FROM chat_message WHERE text = 'refused'"
        )
        stored = on.rows(
            "SELECT r.status, m.text FROM chat_run r JOIN chat_message m ON m.id = r.answer_id"
        )
        return Filled(refusal, took, refused, complaint, kept, stored, await ask(on, "later"))


@contextmanager
def no_space_left(folder: Path) -> Iterator[None]:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink()


async def ask(on: Stage, message: str) -> list[Event]:
    async with connect(on.url) as socket:
        await socket.send(json.dumps(chat_request(message)))
        return await read_to_end(socket)


async def read_to(kind: str, socket: ClientConnection) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(TIMEOUT):
        while not events or events[-1]["type"] != kind:
            events.append(json.loads(await socket.recv()))
    return events


async def read_to_end(socket: ClientConnection) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(TIMEOUT):
        while not events or events[-1]["type"] not in ("done", "error"):
            events.append(json.loads(await socket.recv()))
    return events
