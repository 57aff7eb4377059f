"""The fleet as real processes: how it starts, how it ends, and what it says when it cannot start."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from websockets.sync.client import ClientConnection

from agenticfleet import embedded, watcher
from agenticfleet.management.commands.fleet import Lifeline
from tests.scripted_model import ScriptedModel
from tests.serving import GONE, MANAGE, START, STOP, Fleet, all_gone, end, launch, running, until

NO_MODEL = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "FLEET_MODEL": "none"}


def read_to_end(client: ClientConnection) -> list[dict[str, Any]]:
    events = []
    while not events or events[-1]["type"] not in ("done", "error"):
        events.append(json.loads(client.recv(timeout=STOP)))
    return events


def read_to(kind: str, client: ClientConnection) -> None:
    while json.loads(client.recv(timeout=STOP))["type"] != kind:
        pass


def refusal_of_another(fleet: Fleet) -> str:
    """With which code it takes no new run, if it does not."""
    with fleet.ask("Another?") as client:
        end = read_to_end(client)[-1]
    return end["error"]["code"] if end["type"] == "error" else ""


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel
) -> Iterator[Fleet]:
    """A fleet of two workers for tests that leave it as it is, or wait until it is again."""
    with running(tmp_path_factory.mktemp("fleet"), model_server, "--workers", "2") as fleet:
        yield fleet


def refused(folder: Path, *arguments: str, **environment: str) -> str:
    """The line with which a fleet that cannot start says so."""
    fleet = launch(folder, *arguments, **environment)
    assert fleet.process.wait(START) == 1
    [line] = fleet.complained.strip().splitlines()
    return line


class TestRunning:
    def test_it_says_what_it_runs_on(self, shared: Fleet, model_server: ScriptedModel) -> None:
        assert f"is ready on {shared.address}" in shared.said
        assert f"model       scripted at {model_server.url}" in shared.said
        assert "database    SQLite, " in shared.said
        assert "Redis       an embedded Valkey, " in shared.said

    def test_the_page_answers(self, shared: Fleet) -> None:
        with urllib.request.urlopen(shared.address) as response:
            assert response.status == 200

    def test_a_question_is_answered(self, shared: Fleet) -> None:
        with shared.ask("What is the answer?") as client:
            assert read_to_end(client)[-1]["data"]["status"] == "completed"

    def test_the_first_start_makes_an_admin_who_can_sign_in(self, shared: Fleet) -> None:
        found = re.search(r"as (\S+) with the password (\S+)", shared.said)
        assert found
        code = (
            "import django; django.setup(); from django.contrib.auth import authenticate as a;"
            "import sys; sys.exit(not a(username=sys.argv[1], password=sys.argv[2]).is_superuser)"
        )
        environment = {
            **os.environ,
            "FLEET_STATE_DIR": str(shared.folder / "state"),
            "DJANGO_SETTINGS_MODULE": "agenticfleet.settings",
        }
        assert (
            subprocess.run(
                [sys.executable, "-c", code, *found.groups()], env=environment, cwd=MANAGE.parent
            ).returncode
            == 0
        )

    def test_no_command_line_and_no_line_it_prints_shows_the_password_of_valkey(
        self, shared: Fleet
    ) -> None:
        password = re.search(r":([^:@]+)@", shared.card["redis_url"])
        assert password
        command_lines = [" ".join(child.cmdline()) for child in shared.children()]
        assert not any(
            password[1] in text for text in (*command_lines, shared.said, shared.complained)
        )

    def test_its_card_tells_where_it_is(self, shared: Fleet) -> None:
        assert shared.card["address"] == shared.address
        assert shared.card["pid"] == shared.process.pid

    def test_only_its_user_can_read_its_card(self, shared: Fleet) -> None:
        assert stat.S_IMODE((shared.folder / "state/fleet.json").stat().st_mode) == 0o600

    def test_valkey_keeps_everything_and_stores_nothing(self, shared: Fleet) -> None:
        with closing(embedded.redis.Redis.from_url(shared.card["redis_url"])) as client:
            settings = client.config_get("maxmemory-policy", "save", "appendonly", "bind")
        assert settings == {
            "maxmemory-policy": "noeviction",
            "save": "",
            "appendonly": "no",
            "bind": "127.0.0.1",
        }

    def test_others_find_it(self, shared: Fleet, settings: Any) -> None:
        settings.FLEET_STATE_DIR = shared.folder / "state"
        settings.REDIS_URL = settings.OPENAI_BASE_URL = settings.OPENAI_API_KEY = ""
        with embedded.services() as services:
            assert (services.redis_url, services.model_base_url) == (
                shared.card["redis_url"],
                shared.card["model_base_url"],
            )

    def test_where_there_is_none_others_get_their_own_for_a_while(
        self, tmp_path: Path, settings: Any
    ) -> None:
        settings.FLEET_STATE_DIR = tmp_path
        settings.REDIS_URL = ""
        with embedded.services() as services:
            assert embedded.redis_problem(services.redis_url) is None
            assert services.model_base_url == settings.OPENAI_BASE_URL
        assert embedded.redis_problem(services.redis_url) is not None

    def test_a_second_one_on_the_same_folder_is_refused(
        self, shared: Fleet, tmp_path: Path
    ) -> None:
        assert "Another fleet is running on" in refused(
            tmp_path, FLEET_STATE_DIR=str(shared.folder / "state")
        )


class TestNotStarting:
    def test_a_busy_port_is_named(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in refused(
                tmp_path, "--port", str(port)
            )

    def test_a_wrong_setting_is_named(self, tmp_path: Path) -> None:
        assert "FLEET_HEARTBEAT must be a number" in refused(tmp_path, FLEET_HEARTBEAT="abc")

    def test_a_state_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert "file/state, which cannot be made: Not a directory." in refused(
            tmp_path, FLEET_STATE_DIR=str(tmp_path / "file/state")
        )

    def test_a_redis_that_does_not_answer_is_named_without_its_password(
        self, tmp_path: Path
    ) -> None:
        url = f"redis://:secret@127.0.0.1:{embedded.free_port()}/0"
        line = refused(tmp_path, REDIS_URL=url, **NO_MODEL)
        assert "REDIS_URL: redis://127.0.0.1" in line
        assert "secret" not in line

    def test_a_redis_whose_options_make_no_sense_is_named(self, tmp_path: Path) -> None:
        assert "REDIS_URL: redis://127.0.0.1" in refused(
            tmp_path, REDIS_URL="redis://127.0.0.1/?db=first", **NO_MODEL
        )

    def test_a_database_that_cannot_be_opened_is_named(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/nowhere/fleet.sqlite3"
        assert "DATABASE_URL: SQLite" in refused(tmp_path, DATABASE_URL=url, **NO_MODEL)

    def test_a_child_that_ends_while_it_starts_is_named_with_its_last_words(self) -> None:
        with embedded.Watcher() as watcher:
            child = embedded.Child(
                name="Valkey",
                command=["sh", "-c", "echo no luck; exit 3"],
                watcher=watcher,
                answers=lambda _: False,
                start_timeout=START,
            )
            with pytest.raises(
                embedded.EmbeddedError,
                match="Valkey ended while it was starting, exit code 3: no luck",
            ):
                embedded.wait_until_answering([child.start()])
            child.stop()

    @pytest.mark.parametrize("host", ["no.such.host.invalid", "a..b"])
    def test_an_unknown_host_is_named(self, tmp_path: Path, host: str) -> None:
        assert f"--host {host}: " in refused(tmp_path, "--host", host)


@dataclass
class Lives:
    """What was seen of a fleet that ended three times on one folder."""

    first: Fleet
    refused_meanwhile: str
    finished: dict[str, Any]  # the last event of the run that was live at the signal
    first_exit: int
    first_left: list[psutil.Process]
    first_card_is_left: bool
    second: Fleet
    killed: dict[str, Any]
    second_children: list[psutil.Process]
    hurried: dict[str, Any]
    third_exit: int


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    """It is asked to end and lets a run finish; is killed in mid-run; and is asked twice. Starts are what takes time here."""
    folders = [tmp_path_factory.mktemp("lives")]
    for number in ("second", "third"):
        # The same state, and what it says to itself.
        folders.append(folders[0] / number)
        folders[-1].mkdir()
    (folders[0] / "state").mkdir()
    model = ScriptedModel()
    model.on("Slowly, please.", hold_after=1)
    model.on("For ever, please.", hang_after=1)
    fleets: list[Fleet] = []

    def start(*arguments: str, **environment: str) -> Fleet:
        settings = {
            "OPENAI_BASE_URL": model.url,
            "FLEET_MODEL": "scripted",
            "FLEET_STATE_DIR": str(folders[0] / "state"),
        }
        fleets.append(launch(folders[len(fleets)], *arguments, **settings, **environment))
        fleets[-1].wait_until_ready()
        return fleets[-1]

    try:
        # Faults are told, and not what only a busy machine makes: a Redis that was late, a run that was slow to stop.
        first = start(FLEET_LOG_LEVEL="error", FLEET_SHUTDOWN_GRACE="60")
        children = first.children()
        with first.ask("Slowly, please.") as client:
            read_to("response.delta", client)
            first.signal(signal.SIGTERM)
            refused_meanwhile = until(lambda: refusal_of_another(first), STOP, "it takes new runs")
            model.release()
            finished = read_to_end(client)[-1]
        first_exit = first.process.wait(STOP)
        first_left = [child for child in children if not all_gone([child])]
        first_card_is_left = (folders[0] / "state/fleet.json").exists()

        second = start(FLEET_SHUTDOWN_GRACE="60")
        second_children = second.children()
        port = str(second.port)
        with second.ask("For ever, please.") as client:
            read_to("response.delta", client)
            second.signal(signal.SIGKILL)
            killed = read_to_end(client)[-1]
        second.process.wait()

        third = start("--port", port, FLEET_SHUTDOWN_GRACE="60")
        with third.ask("For ever, please.") as client:
            read_to("response.delta", client)
            third.signal(signal.SIGTERM)
            third.signal(signal.SIGINT)
            hurried = read_to_end(client)[-1]
        third_exit = third.process.wait(STOP)
        yield Lives(
            *(first, refused_meanwhile, finished, first_exit, first_left, first_card_is_left),
            *(second, killed, second_children, hurried, third_exit),
        )
    finally:
        for fleet in fleets:
            end(fleet)
        model.stop()


class TestEnding:
    def test_a_run_may_finish_before_it_ends(self, lives: Lives) -> None:
        assert lives.finished["data"]["status"] == "completed"

    def test_meanwhile_it_takes_no_new_runs(self, lives: Lives) -> None:
        assert lives.refused_meanwhile == "shutting_down"

    def test_a_signal_ends_it_with_all_its_children(self, lives: Lives) -> None:
        assert (
            lives.first_exit,
            lives.first_left,
            lives.first_card_is_left,
            lives.first.complained,
        ) == (0, [], False, "")

    def test_it_starts_again_on_the_folder_it_left(self, lives: Lives) -> None:
        assert "password" in lives.first.said
        assert "is ready on" in lives.second.said
        assert "password" not in lives.second.said

    def test_when_it_is_killed_readers_are_told(self, lives: Lives) -> None:
        assert lives.killed["error"]["code"] == "shutting_down"

    def test_when_it_is_killed_its_children_end(self, lives: Lives) -> None:
        until(lambda: all_gone(lives.second_children), GONE, "children outlived the fleet")

    def test_when_it_was_killed_it_starts_again_on_the_same_folder_and_port(
        self, lives: Lives
    ) -> None:
        assert lives.third_exit == 0

    def test_a_second_signal_ends_runs_at_once_and_in_words(self, lives: Lives) -> None:
        assert lives.hurried["error"]["code"] == "shutting_down"


class TestKeepingAlive:
    def test_a_killed_worker_is_started_again(self, shared: Fleet) -> None:
        before = shared.children("fleet-worker")
        before[0].kill()
        until(
            lambda: len(set(shared.children("fleet-worker")) | set(before)) == 3,
            START,
            "no new worker",
        )
        assert re.search(r"worker \d ended, SIGKILL; it is started again", shared.complained)

    def test_a_killed_valkey_is_started_again_at_its_place(self, shared: Fleet) -> None:
        shared.children("valkey-server")[0].kill()
        until(lambda: "Valkey ended, SIGKILL" in shared.complained, START, "nobody noticed")
        until(
            lambda: embedded.redis_problem(shared.card["redis_url"]) is None,
            START,
            "Valkey is not back",
        )

    def test_what_keeps_dying_is_started_ever_later(self) -> None:
        child = Mortal()
        assert [child.time_to_restart(life=0.1) for _ in range(7)] == pytest.approx(
            [0.5, 1, 2, 4, 8, 10, 10]
        )
        assert child.time_to_restart(life=31) == pytest.approx(0.5)


class Mortal:
    """A child that ends when the test says so, on the test's clock."""

    def __init__(self) -> None:
        self.alive = True
        self._now = 0.0
        self._lifeline = Lifeline(self, started_at=0.0)

    def is_running(self) -> bool:
        return self.alive

    def exit_reason(self) -> str:
        return "exit code 1"

    name = "mortal"

    def start(self) -> None:
        self.alive = True

    def time_to_restart(self, *, life: float) -> float:
        """Let it live that long; how long it then stays dead."""
        self._now += life
        self.alive = False
        died = self._now
        while not self.alive:
            self._lifeline.check(self._now, lambda _: None)
            self._now += 0 if self.alive else 0.25
        return self._now - died


def test_a_process_that_ends_in_between_does_not_keep_the_watcher_from_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone, other = (subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2))
    gone.kill()
    gone.wait()
    monkeypatch.setattr(watcher, "is_running", lambda pid: True)  # it was, when the watcher looked
    watcher.send([gone.pid, other.pid], signal.SIGKILL)
    assert other.wait(GONE) == -signal.SIGKILL


@pytest.mark.builtin_model
def test_with_nothing_configured_the_built_in_model_answers(tmp_path: Path) -> None:
    # On a busy machine its threads wait for each other: what one test needs of its words is little.
    fleet = launch(tmp_path, FLEET_MAX_OUTPUT_TOKENS="16")
    try:
        fleet.wait_until_ready()
        with fleet.ask("What is the capital of France?") as client:
            events = read_to_end(client)
        assert "built in: small and weak" in fleet.said
        assert events[-1]["data"]["status"] == "completed"
        assert events[-2]["message"]
    finally:
        end(fleet)


def test_the_client_in_the_documentation_works(shared: Fleet) -> None:
    wire = (MANAGE.parent / "chat/protocol/README.md").read_text()
    code = wire.split("```python")[1].split("```")[0]
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 15
    url = shared.address.replace("http", "ws") + "ws/chat/"
    ran = subprocess.run(
        [sys.executable, "-c", code, "What is the answer?", url],
        capture_output=True,
        text=True,
        timeout=STOP,
    )
    assert ran.stdout == "The answer is **42**.\n(completed)\n"
