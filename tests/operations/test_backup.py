"""A backup that is made while a fleet serves, and restored into an empty place for a new one.

The commands are those of agenticfleet/README.md. Some runs were live in the backup, and have ended
since: Redis, and readers, know more of them than the restored rows.
"""

import asyncio
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from websockets.sync.client import connect

from chat.workflow.agents import ASSISTANT
from tests.chaos.checks import Evidence, Violation, violations_of
from tests.chaos.driver import is_about
from tests.chaos.journal import Journal, Window
from tests.chaos.plans import Play, ReaderPlan, RunPlan
from tests.chaos.readers import Follower, Wire, request_of
from tests.chaos.rows import Database, count_open, open_database, read, read_rows
from tests.chatting import AS_SCRIPT, Event, chat_request, is_terminal, text_of
from tests.postgresql import found, postgresql
from tests.runs.pausing import Pause
from tests.scripted_model import Script, ScriptedModel
from tests.serving import MANAGE, Fleet, clean_environment, running, until

from .document import commands

KEY = "the-same-key-on-all-hosts-and-in-all-times-0123456789"
SETTINGS = {"FLEET_APPROVE": "calculator", "FLEET_LEASE_TTL": "1", "FLEET_IDLE_TIMEOUT": "600"}
ENOUGH = 60.0  # seconds until a reader must have its terminal
JSON, HTML = "fleet.json.v1", "fleet.html.v1"
ENDED_LATER = ("ended later", "aged")  # runs that were live in the backup alone
MAY_IT = "May it be calculated?"
MESSAGE_IDS = "SELECT message_id FROM chat_run WHERE status = 'completed'"
DAY_SUMS = "SELECT subject, tokens FROM chat_dayuse"
# Longer ago than MAX_UNCLAIMED.
AGE = "UPDATE chat_run SET lease_expires_at = '2026-01-01 00:00:00' WHERE message_id = '{}'"


@dataclass
class Site:
    """A folder with the state of a fleet, and what it needs elsewhere."""

    folder: Path
    redis_url: str
    database_url: str = ""  # SQLite, if it is empty

    is_empty: bool = False  # an operator makes its state folder, not the fleet

    def __post_init__(self) -> None:
        self.folder.mkdir()
        names = ("state", ".fleet") if self.is_empty else (".fleet", "state")
        (self.folder / names[0]).symlink_to(names[1])

    @property
    def settings(self) -> dict[str, str]:
        shared = {"REDIS_URL": self.redis_url}
        if self.database_url:
            shared |= {"DATABASE_URL": self.database_url, "DJANGO_SECRET_KEY": KEY}
        return shared

    @property
    def kind(self) -> str:
        return "PostgreSQL" if self.database_url else "SQLite"

    @property
    def database(self) -> Database:
        return self.database_url or self.folder / "state/fleet.sqlite3"

    def run(self, typed: str) -> None:
        """Run what an operator types, in the folder of the installation."""
        programs = [str(Path(sys.executable).parent), str(Path(found("pg_dump")).parent)]
        subprocess.run(
            ["bash", "-ec", typed.replace("uv run ", "")],
            cwd=self.folder,
            env={
                **clean_environment(),
                **self.settings,
                "PATH": os.pathsep.join([*programs, os.environ["PATH"]]),
            },
            check=True,
        )

    def manage(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, MANAGE, *arguments],
            env={
                **clean_environment(),
                **self.settings,
                "FLEET_STATE_DIR": str(self.folder / "state"),
                "PYTHON_DOTENV_DISABLED": "1",
            },
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def rows(self, sql: str) -> list[Any]:
        return read(self.database, sql)

    def change(self, sql: str) -> None:
        if isinstance(self.database, Path):
            with closing(sqlite3.connect(self.database)) as connection, connection:
                connection.execute(sql)
        else:
            open_database(self.database).execute(sql).connection.close()


class Writer:
    """A program that asks one question after the other while the backup is made."""

    def __init__(self, fleet: Fleet) -> None:
        self.answered: list[str] = []  # message ids
        self._fleet = fleet
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        while not self._stopping.is_set():
            request = chat_request("And now?")
            assert asked(self._fleet, request)[-1]["type"] == "done"
            self.answered.append(request["message_id"])

    @contextmanager
    def writing(self) -> Iterator[None]:
        self._thread.start()
        until(lambda: self.answered, ENOUGH, "nothing is answered")
        yield
        self._stopping.set()
        self._thread.join(ENOUGH)


def asked(fleet: Fleet, request: Event, headers: dict[str, str] = AS_SCRIPT) -> list[Event]:
    """Send a request; return its events up to the terminal one."""
    events: list[Event] = []
    address = fleet.address.replace("http", "ws") + "ws/chat/"
    with connect(address, additional_headers=headers) as client:
        client.send(json.dumps(request))
        while not (events and is_terminal(events[-1])):
            events.append(json.loads(client.recv(timeout=ENOUGH)))
    return [event for event in events if event["type"] not in ("heartbeat", "notice")]


def browser(fleet: Fleet) -> httpx.Client:
    return httpx.Client(base_url=fleet.address, trust_env=False, timeout=ENOUGH)


def sign_in(client: httpx.Client, password: str) -> None:
    client.get("login/")
    form = {"username": "admin", "password": password}
    assert client.post("login/", data=form, headers=with_csrf(client)).status_code == 302


def with_csrf(client: httpx.Client) -> dict[str, str]:
    """Return the header with which a page may send a form."""
    name = next(name for name in client.cookies if name.startswith("fleet_csrf"))
    return {"X-CSRFToken": client.cookies[name], "Referer": str(client.base_url)}


def plan_of(number: int, name: str, before: list[str], after: list[str], ending: str) -> RunPlan:
    """Return a run whose model answers with other words after the backup is restored."""
    run = Play(name, {"tokens": after}, frozenset({ending}), doubtful={"tokens": before})
    readers = [ReaderPlan(kind, 0, (), 0.2) for kind in (JSON, HTML)]
    return RunPlan(number, uuid4(), run, readers)


@dataclass
class Person:
    """What somebody has who is signed in, with a chat and a link that shows it."""

    password: str
    cookies: httpx.Cookies
    chat: str
    share: str

    @classmethod
    def of(cls, fleet: Fleet) -> "Person":
        found = re.search(r"with the password (\S+)", fleet.said)
        assert found
        with browser(fleet) as client:
            sign_in(client, found[1])
            cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
            first = asked(fleet, chat_request("What is mine?"), {"Cookie": cookies})[0]
            chat = f"c/{first['data']['conversation_id']}/"
            shown = client.post(f"{chat}share/", headers=with_csrf(client)).text
            share = re.search(r"/(s/[\w-]+/)", shown)
            assert share, shown
            return cls(found[1], client.cookies, chat, share[1])

    def sees(self, fleet: Fleet) -> dict[str, str]:
        """Return what the pages show to the same browser, and the link to a stranger."""
        with browser(fleet) as stranger:
            shared = stranger.get(self.share).text
            sign_in(stranger, self.password)
        with browser(fleet) as client:
            client.cookies = self.cookies
            pages = {"chat": self.chat, "account": "account/"}
            return {"share": shared, **{name: client.get(p).text for name, p in pages.items()}}


@dataclass
class Scene:
    """What was there before the backup, and what a new fleet made of it."""

    emptied: bool  # Redis
    journal: Journal = field(default_factory=Journal)
    runs: dict[str, Evidence] = field(default_factory=dict)
    answered: set[str] = field(default_factory=set)  # message ids, before the backup was begun
    restored: set[str] = field(default_factory=set)  # message ids
    token_opens: bool = False
    beyond: dict[str, list[Event]] = field(default_factory=dict)  # answers to late cursors
    replied: list[Event] = field(default_factory=list)
    sees: dict[str, str] = field(default_factory=dict)
    day_sums: list[Any] = field(default_factory=list)
    complaints: str = ""


class Stage:
    """A fleet that is backed up in its work and dies later, and the one that is restored."""

    def __init__(self, old: Site, new: Site, model: ScriptedModel, *, empties: bool) -> None:
        self.old, self.new, self.model = old, new, model
        self.fleets: list[Fleet] = []
        self.wire = Wire(lambda: self.fleets[-1].address)
        self.scene = Scene(empties)
        self.following: set[asyncio.Task[None]] = set()

    def start(self, stack: ExitStack, site: Site) -> Fleet:
        through = running(site.folder, self.model, "--workers", "2", **SETTINGS, **site.settings)
        fleet = stack.enter_context(through)
        self.fleets.append(fleet)
        return fleet

    def ask(self, plan: RunPlan) -> None:
        followers = [self.follower(plan, reader) for reader in plan.readers]
        self.scene.runs[plan.play.name] = Evidence(plan, followers, asked_at=time.monotonic())

    def follower(self, plan: RunPlan, reader: ReaderPlan) -> Follower:
        follower = Follower(plan, reader, self.wire, self.scene.journal, Random(0))
        self.following.add(asyncio.create_task(follower.follow()))
        return follower

    async def until_read(self, name: str, cursor: int) -> None:
        async with asyncio.timeout(ENOUGH):
            while any(each.cursor < cursor for each in self.scene.runs[name].followers):
                await asyncio.sleep(0.02)

    async def play(self) -> Scene:
        scene, model = self.scene, self.model
        held, many = ["one ", "two ", "three"], [f"word{n} " for n in range(400)]
        plans = [
            plan_of(1, "ended later", held, ["other ", "words"], "completed"),
            plan_of(2, "cut", many, ["new ", "words"], "completed"),
            plan_of(3, "aged", held, ["never"], "worker_lost"),
        ]
        for plan, before in zip(plans, (held, many, held), strict=True):
            model.on(
                plan.question, tokens=before, pace=0.05, hold_after=2 if before is held else None
            )
        calls = [("calculator", '{"expression": "12 * 7"}')]
        answer = Script(tokens=["It is 84."])
        model.as_agent_on(ASSISTANT.instructions, MAY_IT, Script(tokens=[], calls=calls), answer)
        with ExitStack() as stack:
            fleet = await asyncio.to_thread(self.start, stack, self.old)
            person = await asyncio.to_thread(self.prepare, fleet)
            for plan in plans:
                self.ask(plan)
            for plan in plans:
                await self.until_read(plan.play.name, 3)
            pause = Pause(await asyncio.to_thread(asked, fleet, chat_request(MAY_IT)))
            await asyncio.to_thread(self.back_up, fleet)
            later = await self.live_on(fleet, pause)
            scene.journal.windows.append(Window("worker", "killed", time.monotonic()))
            await asyncio.to_thread(fleet.kill)
        for plan in plans:
            model.on(plan.question, **plan.play.script)
        with ExitStack() as stack:
            await asyncio.to_thread(self.restore)
            fleet = await asyncio.to_thread(self.start, stack, self.new)
            await self.look(fleet, person, pause, later)
            await asyncio.wait(self.following, timeout=ENOUGH)
            scene.complaints = fleet.complained
        for task in self.following:
            task.cancel()
        return scene

    def prepare(self, fleet: Fleet) -> Person:
        self.token = self.old.manage("token", "create", "--service", "backup")
        return Person.of(fleet)

    def back_up(self, fleet: Fleet) -> None:
        writer = Writer(fleet)
        with writer.writing():
            self.scene.answered = set(writer.answered)
            self.old.run(commands(f"Back up {self.old.kind}"))

    async def live_on(self, fleet: Fleet, pause: Pause) -> dict[str, tuple[Event, int]]:
        """Let things happen that the backup doesn't know. Return requests with their last seqs."""
        self.model.release()
        ended = self.scene.runs["ended later"]
        for follower in (f for name in ENDED_LATER for f in self.scene.runs[name].followers):
            await asyncio.wait_for(follower.over.wait(), ENOUGH)
        await self.until_read("cut", 40)
        later = {}
        for name, request in {
            "a new question": chat_request("Only later?"),
            "a reply": pause.frame("approve"),
        }.items():
            events = await asyncio.to_thread(asked, fleet, request)
            assert events[-1]["data"]["status"] == "completed", events[-1]
            later[name] = (request, events[-1]["seq"])
        question = json.loads(request_of(ended.plan, after=0))
        return later | {"an ended run": (question, ended.followers[0].cursor)}

    def restore(self) -> None:
        shutil.copytree(self.old.folder / "backup", self.new.folder / "backup")
        self.new.run(commands(f"Restore {self.new.kind}"))
        if self.scene.emptied:
            self.new.run(commands("Empty Redis"))
        self.scene.restored = {str(UUID(str(each))) for (each,) in self.new.rows(MESSAGE_IDS)}
        self.scene.day_sums = self.new.rows(DAY_SUMS)
        aged = self.scene.runs["aged"].plan.message_id
        self.new.change(AGE.format(aged.hex))

    async def look(
        self, fleet: Fleet, person: Person, pause: Pause, later: dict[str, tuple[Event, int]]
    ) -> None:
        scene = self.scene
        # Readers of both workers, of which one has the run and the other one Redis.
        for ended in (scene.runs[name] for name in ENDED_LATER):
            ended.followers = [self.follower(ended.plan, r) for r in ended.plan.readers * 4]
        scene.replied = await asyncio.to_thread(asked, fleet, pause.frame("approve"))
        for name, (request, seq) in later.items():
            scene.beyond[name] = await asyncio.to_thread(asked, fleet, {**request, "after": seq})
        scene.sees = await asyncio.to_thread(person.sees, fleet)
        token = {"Authorization": f"Bearer {self.token}"}
        events = await asyncio.to_thread(asked, fleet, chat_request("By a token?"), token)
        scene.token_opens = events[-1]["type"] == "done"
        await asyncio.wait(self.following, timeout=ENOUGH)
        until(lambda: not count_open(self.new.database), ENOUGH, "runs stay open")
        rows = read_rows(self.new.database)
        for run in scene.runs.values():
            run.rows, run.ended_at = rows[run.plan.message_id], time.monotonic()
            run.calls = [c for c in self.model.calls if is_about(c, run.plan.question)]


@pytest.fixture(
    scope="module",
    params=[
        ("SQLite", True),
        # Redis must be emptied, and is not.
        pytest.param(("SQLite", False), marks=pytest.mark.long),
        pytest.param(("PostgreSQL", True), marks=pytest.mark.long),
    ],
    ids=lambda each: f"{each[0]}-{'emptied' if each[1] else 'later'}",
)
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, valkey_url: str
) -> Iterator[Scene]:
    database, empties = request.param
    folder, model = tmp_path_factory.mktemp("backup"), ScriptedModel()
    with ExitStack() as stack:
        stack.callback(model.stop)
        urls = ["", ""]
        if database == "PostgreSQL":
            server = stack.enter_context(postgresql(folder))
            server.sql("CREATE DATABASE first")
            server.sql("CREATE DATABASE second")
            urls = [server.url("first"), server.url("second")]
        old = Site(folder / "old", valkey_url, urls[0])
        new = Site(folder / "new", valkey_url, urls[1], is_empty=database == "SQLite")
        yield asyncio.run(Stage(old, new, model, empties=empties).play())


def test_runs_that_were_live_go_on_and_have_one_ending(scene: Scene) -> None:
    broken = [each for run in scene.runs.values() for each in violations_of(run, scene.journal)]
    if not scene.emptied:
        # Readers may get the ending of the log, which isn't that of the row.
        cut = scene.runs["cut"].plan.number
        broken = [each for each in broken if each.run == cut or is_about_the_stream(each)]
    assert not broken, scene.complaints


def is_about_the_stream(violation: Violation) -> bool:
    return violation.rule.partition(": ")[2] in ("seq", "identity", "terminal", "group", "epoch")


def test_everything_answered_before_the_backup_is_in_it(scene: Scene) -> None:
    assert scene.answered
    assert scene.answered <= scene.restored


def test_paused_run_can_be_replied_to(scene: Scene) -> None:
    assert scene.replied[-1]["data"]["status"] == "completed"
    assert text_of(scene.replied) == "It is 84."


@pytest.mark.parametrize("name", ["a new question", "a reply", "an ended run"])
def test_reader_with_a_cursor_of_later_gets_one_terminal(scene: Scene, name: str) -> None:
    events = scene.beyond[name]
    assert [event for event in events if is_terminal(event)] == events[-1:]


def test_session_account_share_token_and_day_sums_are_there(scene: Scene) -> None:
    assert "What is mine?" in scene.sees["chat"]
    assert "What is mine?" in scene.sees["share"]
    assert "admin" in scene.sees["account"]
    assert scene.token_opens
    assert any(tokens for _, tokens in scene.day_sums)
