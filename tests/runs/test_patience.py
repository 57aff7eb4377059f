"""Faults whose ends take seconds, on real fleets. All are played at once, and each test looks at one fact of what happened."""

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.chaos.checks import Evidence, Violation, kind_of, run_events, violations_of
from tests.chaos.journal import Journal
from tests.chaos.plans import Play, ReaderPlan, RunPlan
from tests.chaos.readers import Follower, Wire, is_terminal
from tests.chaos.rows import count_open, read_rows
from tests.chatting import Event, chat_request, kinds, text_of
from tests.proxy import Proxy
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet, running

TOLD_WITHIN = 15.0  # seconds from kill -9 of a worker to the terminal at each follower, with the default lease
TOLD_WITHIN_PRESSED = (
    18.0  # seconds, where processes waited for a processor; by construction it is 13.75
)
PATIENCE = 60.0
HOUR = 3600
JSON, HTML = "fleet.json.v1", "fleet.html.v1"


async def when(fact: Callable[[], Any], why: str, *, within: float = PATIENCE) -> Any:
    """The first true value of `fact`, which may take its time."""
    deadline = time.monotonic() + within
    while not (value := await asyncio.to_thread(fact)):
        assert time.monotonic() < deadline, why
        await asyncio.sleep(0.02)
    return value


@dataclass(frozen=True)
class Stage:
    """A fleet with a model of its own."""

    fleet: Fleet
    model: ScriptedModel
    state: Path  # its state folder, as we can reach it

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
        """Let this worker alone take new sockets: the kernel gives them to whom it likes, and that may be one for all."""
        [other] = set(self.workers()) - {worker}
        self._suspend(other)
        try:
            yield
        finally:
            other.resume()

    def _suspend(self, worker: psutil.Process) -> None:
        """Stop it at a moment when it does not hold the database."""
        while True:
            worker.suspend()
            lock = sqlite3.connect(self.database, timeout=1, isolation_level=None)
            with closing(lock), contextlib.suppress(sqlite3.OperationalError):
                lock.execute("BEGIN IMMEDIATE")
                return
            worker.resume()

    def rows(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self._reachable())) as connection:
            return connection.execute(sql).fetchall()

    def _reachable(self) -> Path:
        """The database, or a copy of it: SQLite does not find its way through a process into another file system."""
        if self.state == self.fleet.folder / "state":
            return self.database
        for name in ("fleet.sqlite3", "fleet.sqlite3-wal"):
            shutil.copy(self.state / name, self.fleet.folder / name)
        return self.fleet.folder / "fleet.sqlite3"


@asynccontextmanager
async def stage(
    folder: Path, *arguments: str, through: tuple[str, ...] = (), **environment: str
) -> AsyncIterator[Stage]:
    """Started and ended in a thread, so that others go on playing."""
    folder.mkdir()
    model = ScriptedModel()
    fleet = running(folder, model, *arguments, through=through, **environment)
    try:
        started = await asyncio.to_thread(fleet.__enter__)
        state = folder / "state"
        # Through the process, which may see another file system there.
        yield Stage(
            started, model, Path(f"/proc/{started.process.pid}/root{state}") if through else state
        )
    finally:
        await asyncio.to_thread(fleet.__exit__, None, None, None)
        model.stop()


class Crowd:
    """Runs of which each worker answers as many; each has a JSON follower there and an html one elsewhere, who come back until the end."""

    def __init__(self, on: Stage, **script: Any) -> None:
        self.journal = Journal()
        self._stage = on
        self._play = Play("crowd", script, frozenset({"completed"}))
        self._wire = Wire(lambda: on.fleet.address)
        self._reading: list[asyncio.Task[None]] = []
        self._watching = asyncio.create_task(self.journal.watch_pressure())
        self.evidence: list[Evidence] = []

    async def begin(self, runs: int) -> None:
        """Start this many on each of two workers; until every follower has some of its answer."""
        first, second = self._stage.workers()
        with self._stage.only(first):
            here = self._ask(runs)
            await self._read(here, JSON)
        with self._stage.only(second):
            there = self._ask(runs)
            await self._read(there, JSON)
            await self._read(here, HTML)
        with self._stage.only(first):
            await self._read(there, HTML)

    def _ask(self, runs: int) -> list[Evidence]:
        readers = [ReaderPlan(name, 0, (), 0.2) for name in (JSON, HTML)]
        plans = [
            RunPlan(len(self.evidence) + n, uuid.uuid4(), self._play, readers) for n in range(runs)
        ]
        for plan in plans:
            self._stage.model.on(plan.question, **plan.play.script)
        asked = [Evidence(plan, [], time.monotonic()) for plan in plans]
        self.evidence += asked
        return asked

    async def _read(self, asked: list[Evidence], subprotocol: str) -> None:
        followers = [
            Follower(run.plan, reader, self._wire, self.journal, Random(0))
            for run in asked
            for reader in run.plan.readers
            if reader.subprotocol == subprotocol
        ]
        for run, follower in zip(asked, followers, strict=True):
            run.followers.append(follower)
        self._reading += [asyncio.create_task(follower.follow()) for follower in followers]
        await when(lambda: all(map(has_words, followers)), "an answer does not begin")
        with redis.Redis.from_url(self._stage.fleet.card["redis_url"]) as client:
            # Others join only what the log has.
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

    async def has_ended(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self._reading)
        await when(lambda: not count_open(self._stage.database), "a row is open")
        self._watching.cancel()
        for run in self.evidence:
            run.ended_at = time.monotonic()

    def told(self, *, since: float) -> list[float]:
        """For each follower, the seconds to its terminal."""
        return [
            socket.frames[-1]["at"] - since
            for f in self.followers
            for socket in f.sockets
            if socket.fate == "ended"
        ]

    def endings(self) -> list[str]:
        """Of each run, as its followers saw it."""
        terminals = [
            [frame for s in run.followers[0].sockets for frame in s.frames if is_terminal(frame)]
            for run in self.evidence
        ]
        return [kind_of(terminal) for [terminal] in terminals]

    def violations(self) -> list[Violation]:
        """What the rules of the storm say."""
        rows = read_rows(self._stage.database)
        for run in self.evidence:
            run.rows = rows.get(run.plan.message_id, [])
            run.calls = [
                call for call in self._stage.model.calls if call.question == run.plan.question
            ]
        return [
            violation for run in self.evidence for violation in violations_of(run, self.journal)
        ]


def has_words(follower: Follower) -> bool:
    return any(
        frame["type"] in ("response.delta", "response.snapshot")
        for socket in follower.sockets
        for frame in socket.frames
    )


# --- kill -9 under load -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Killed:
    """What followers saw of the death of one of two workers."""

    told: list[float]  # seconds
    was_pressed: bool
    endings: list[str]
    violations: list[Violation]


async def kill_a_worker(folder: Path) -> Killed:
    async with stage(folder, "--workers", "2", FLEET_HEARTBEAT="1") as on:
        # However long a busy machine takes to begin, none has ended before.
        crowd = Crowd(on, tokens=[f"word{n} " for n in range(250)], pace=0.05, hold_after=200)
        await crowd.begin(6)
        killed = time.monotonic()
        on.workers()[0].kill()
        on.model.release()
        await crowd.has_ended()
        was_pressed = crowd.journal.was_pressed(killed, time.monotonic())
        return Killed(crowd.told(since=killed), was_pressed, crowd.endings(), crowd.violations())


# --- A phone that sleeps ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slept:
    """What a phone got before it slept, and when it woke up."""

    before: list[Event]
    after: list[Event]


async def sleep_through_the_end(
    folder: Path, *, asleep: float = 0, **environment: str
) -> dict[str, Slept]:
    """Phones sleep from mid-answer on, their sockets pass nothing on and are not closed, until the server has forgotten the stream."""
    environment = {
        "FLEET_RUN_LOG_TTL": "10",
        "FLEET_LINGER": "1",
        "FLEET_HEARTBEAT": "1",
        **environment,
    }
    async with stage(folder, "--workers", "2", **environment) as on:
        on.model.default.tokens = [f"word{n} " for n in range(400)]
        on.model.default.hold_after = 200
        network = Proxy(on.fleet.port)
        try:
            phones = {
                name: Phone(f"ws://127.0.0.1:{network.port}/ws/chat/", name)
                for name in (JSON, HTML)
            }
            await asyncio.gather(*(phone.read_to("word199 ") for phone in phones.values()))
            fell_asleep = time.monotonic()
            network.set("hang")
            on.model.release()
            await when(lambda: not count_open(on.database), "a run does not end")
            with redis.Redis.from_url(on.fleet.card["redis_url"]) as client:
                await when(lambda: not list(client.scan_iter("fleet:log:*")), "its log does not go")
            await asyncio.sleep(asleep - (time.monotonic() - fell_asleep))
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

    async def read_to(self, words: str) -> None:
        self._socket = await self._join(after=0)
        while not text_of(self._events).endswith(words):
            self._events.append(json.loads(await self._socket.recv()))

    async def wake(self) -> Slept:
        assert self._socket
        self._socket.transport.abort()
        before, self._events = self._events, []
        async with asyncio.timeout(PATIENCE):
            async with await self._join(after=before[-1]["seq"]) as socket:
                while not (self._events and is_terminal(self._events[-1])):
                    self._events.append(json.loads(await socket.recv()))
        return Slept(before, self._events)

    async def _join(self, *, after: int) -> ClientConnection:
        socket = await connect(
            self._url, subprotocols=[self._subprotocol], max_size=None, ping_interval=None
        )
        await socket.send(json.dumps({**self._request, "after": after}))
        return socket


# --- A clock that jumps -----------------------------------------------------------------------------------------------

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
    """What became of runs while clocks jumped."""

    endings: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    of_the_dead: list[str] = field(default_factory=list)
    told: list[float] = field(default_factory=list)


async def let_clocks_jump(folder: Path) -> Jumped:
    """The clock of all leases jumps an hour forward, an hour back, then for one worker alone, which then dies.

    Emulated: leases know no other clock than SQL's `now`, and that is shifted in the workers, for all of them at once as a
    host's clock is, or for one. (One alone cannot happen on one host: it stands for two hosts that disagree.) Python's own
    clock, which only labels things, is left as it is.
    """
    lease = 5.0  # it takes a third of that to end a run wrongly
    clocks = folder.with_name("clocks")
    clocks.mkdir()
    (clocks / "sitecustomize.py").write_text(SHIFTED_CLOCK)
    set_clock(clocks / "all", hours=0)
    environment = {
        "PYTHONPATH": str(clocks),
        "CLOCKS": str(clocks),
        "FLEET_LEASE_TTL": f"{lease:g}",
    }
    environment |= {"FLEET_HEARTBEAT": "1", "FLEET_CHUNK_TIMEOUT": "60"}
    jumped = Jumped()
    async with stage(folder, "--workers", "2", **environment) as on:

        async def live_on(hours: set[float]) -> None:
            """Until all leases follow clocks that are so far ahead, and for longer than it takes to end a run wrongly."""
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
        await crowd.has_ended()
        jumped.endings, jumped.violations = crowd.endings(), crowd.violations()

        on.model.reset()
        crowd = Crowd(on, tokens=["held ", "back"], hold_after=1)
        await crowd.begin(4)
        await live_on({0, 1})
        died = time.monotonic()
        ahead.kill()
        await when(lambda: set(hours_ahead(on)) == {0}, "a run of the dead is live")
        on.model.release()
        await crowd.has_ended()
        jumped.of_the_dead, jumped.told = crowd.endings(), crowd.told(since=died)
        jumped.violations += crowd.violations()
    return jumped


def set_clock(file: Path, *, hours: int) -> None:
    new = file.with_name("new")
    new.write_text(str(hours))
    # At once: nobody reads half of it.
    new.rename(file)


def hours_ahead(on: Stage) -> list[int]:
    """How far the leases of live runs are ahead of the true time."""
    leases = on.rows(
        "SELECT strftime('%s', lease_expires_at) - strftime('%s', 'now') FROM chat_run WHERE status = 'running'"
    )
    return [round(seconds / HOUR) for (seconds,) in leases]


# --- A full disk ------------------------------------------------------------------------------------------------------

OWN_DISK = (
    "unshare",
    "--mount",
    "--map-root-user",
    "sh",
    "-c",
    'mount -t tmpfs -o size=8m none "$FLEET_STATE_DIR" && exec "$@"',
    "sh",
)


def can_mount(folder: Path) -> bool:
    environment = {**os.environ, "FLEET_STATE_DIR": str(folder)}
    return subprocess.run([*OWN_DISK, "true"], env=environment, capture_output=True).returncode == 0


@dataclass(frozen=True)
class Filled:
    """What a fleet did while its disk was full, and afterwards."""

    refusal: list[Event]
    took: float  # seconds
    rows_of_the_refused: list[Any]
    complaint: str
    kept: list[Event]
    stored: list[Any]
    later: list[Event]


async def fill_the_disk(folder: Path) -> Filled:
    """The state folder is a file system of its own, of 8 MB, which somebody fills while an answer is in the making."""
    async with stage(folder, through=OWN_DISK) as on:
        on.model.on("kept", tokens=["All ", "of ", "it."], hold_after=2)
        async with connect(on.url) as socket:
            await socket.send(json.dumps(chat_request("kept")))
            kept = await read_to("response.delta", socket)
            with no_space_left(on.state):
                began = time.monotonic()
                refusal = await ask(on, "refused")
                took = time.monotonic() - began
                on.model.release()
                await when(
                    lambda: "cannot store its ending" in on.fleet.complained, "nobody noticed"
                )
            kept += await read_to_end(socket)
        complaint = next(
            line for line in on.fleet.complained.splitlines() if "cannot store its ending" in line
        )
        refused = on.rows(
            "SELECT title FROM chat_conversation WHERE title = 'refused' UNION SELECT text FROM chat_message WHERE text = 'refused'"
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
    async with asyncio.timeout(PATIENCE):
        while not events or events[-1]["type"] != kind:
            events.append(json.loads(await socket.recv()))
    return events


async def read_to_end(socket: ClientConnection) -> list[Event]:
    events: list[Event] = []
    async with asyncio.timeout(PATIENCE):
        while not events or events[-1]["type"] not in ("done", "error"):
            events.append(json.loads(await socket.recv()))
    return events


# --- The tests --------------------------------------------------------------------------------------------------------

SCENES: dict[str, Callable[[Path], Coroutine[Any, Any, Any]]] = {
    "killed": kill_a_worker,
    "slept": sleep_through_the_end,
    "jumped": let_clocks_jump,
    "filled": fill_the_disk,
}


@pytest.fixture(scope="module")
def played(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, Any]:
    """What each scene found, or what it failed of; only those that the chosen tests ask about."""
    folder = tmp_path_factory.mktemp("scenes")
    wanted = {item.cls.SCENE for item in request.session.items if item.path == request.path}
    names = [name for name in SCENES if name in wanted and (name != "filled" or can_mount(folder))]

    async def play() -> list[Any]:
        return await asyncio.gather(
            *(SCENES[name](folder / name) for name in names), return_exceptions=True
        )

    return dict(zip(names, asyncio.run(play()), strict=True))


def found(played: dict[str, Any], name: str) -> Any:
    if name not in played:
        pytest.skip("no file system can be mounted here")
    if isinstance(played[name], BaseException):
        raise played[name]
    return played[name]


class TestKilledWorker:
    SCENE = "killed"

    @pytest.fixture
    def killed(self, played: dict[str, Any]) -> Killed:
        return found(played, self.SCENE)

    def test_every_follower_has_its_terminal_in_time_after_kill_9(self, killed: Killed) -> None:
        assert len(killed.told) == 2 * len(killed.endings)
        assert max(killed.told) < (TOLD_WITHIN_PRESSED if killed.was_pressed else TOLD_WITHIN)

    def test_runs_of_the_dead_are_lost_and_those_of_the_living_complete(
        self, killed: Killed
    ) -> None:
        assert set(killed.endings) == {"worker_lost", "completed"}

    def test_no_rule_is_broken(self, killed: Killed) -> None:
        assert killed.violations == []


class TestSleepingPhone:
    SCENE = "slept"

    @pytest.fixture(params=[JSON, HTML])
    def slept(self, played: dict[str, Any], request: pytest.FixtureRequest) -> Slept:
        return found(played, self.SCENE)[request.param]

    def test_it_gets_the_rest(self, slept: Slept) -> None:
        assert text_of([*slept.before, *slept.after]) == "".join(f"word{n} " for n in range(400))

    def test_it_gets_one_terminal(self, slept: Slept) -> None:
        assert [
            kind for kind in kinds([*slept.before, *slept.after]) if kind in ("done", "error")
        ] == ["done"]
        assert kinds(slept.after)[-2:] == ["response.completed", "done"]

    def test_its_cursor_never_goes_back(self, slept: Slept) -> None:
        seqs = [event["seq"] for event in [*slept.before, *slept.after]]
        assert seqs == sorted(seqs)


class TestClocks:
    SCENE = "jumped"

    @pytest.fixture
    def jumped(self, played: dict[str, Any]) -> Jumped:
        return found(played, self.SCENE)

    def test_no_run_of_a_living_worker_is_ended_by_a_jump(self, jumped: Jumped) -> None:
        assert set(jumped.endings) == {"completed"}

    def test_runs_of_a_worker_that_died_an_hour_ahead_end_in_time(self, jumped: Jumped) -> None:
        assert set(jumped.of_the_dead) == {"worker_lost", "completed"}
        assert max(jumped.told) < TOLD_WITHIN

    def test_no_rule_is_broken(self, jumped: Jumped) -> None:
        assert jumped.violations == []


class TestFullDisk:
    SCENE = "filled"

    @pytest.fixture
    def filled(self, played: dict[str, Any]) -> Filled:
        return found(played, self.SCENE)

    def test_a_question_is_refused_in_words(self, filled: Filled) -> None:
        [refusal] = filled.refusal
        assert (refusal["error"]["code"], refusal["error"]["retryable"]) == (
            "storage_unavailable",
            True,
        )
        assert filled.took < TOLD_WITHIN

    def test_it_leaves_no_half_run(self, filled: Filled) -> None:
        assert filled.rows_of_the_refused == []

    def test_a_finished_answer_is_stored_when_there_is_space_again(self, filled: Filled) -> None:
        assert "database or disk is full" in filled.complaint
        assert kinds(filled.kept)[-2:] == ["response.completed", "done"]
        assert filled.stored == [("completed", "All of it.")]

    def test_questions_are_answered_again(self, filled: Filled) -> None:
        assert filled.later[-1]["data"]["status"] == "completed"
