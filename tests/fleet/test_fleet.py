"""The fleet as real processes: how it starts and ends, and its errors if it can't start."""

import json
import os
import re
import signal
import socket
import sqlite3
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
from redis import Redis
from websockets.sync.client import ClientConnection

from agenticfleet import embedded
from agenticfleet.lifelines import Lifeline
from tests.scripted_model import ScriptedModel
from tests.serving import GONE, MANAGE, START, STOP, Fleet, all_gone, end, launch, running, until
from tooling import bounded, watcher

NO_MODEL = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "FLEET_MODEL": "none"}
STOPPING = {signal.SIGTERM, signal.SIGINT}


def read_to_end(client: ClientConnection) -> list[dict[str, Any]]:
    events = []
    while not events or events[-1]["type"] not in ("done", "error"):
        events.append(json.loads(client.recv(timeout=STOP)))
    return events


def read_to(kind: str, client: ClientConnection) -> None:
    while json.loads(client.recv(timeout=STOP))["type"] != kind:
        pass


def code_for_another_run(fleet: Fleet) -> str:
    """Return the error code of a new run, or an empty string if it completes."""
    with fleet.ask("Another?") as client:
        end = read_to_end(client)[-1]
    return end["error"]["code"] if end["type"] == "error" else ""


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel
) -> Iterator[Fleet]:
    """Start two workers for tests that leave them unchanged, or wait until they have recovered."""
    with running(tmp_path_factory.mktemp("fleet"), model_server, "--workers", "2") as fleet:
        yield fleet


def refused(folder: Path, *arguments: str, **environment: str) -> str:
    """Start a fleet that must fail; return the one line of its error."""
    fleet = launch(folder, *arguments, **environment)
    assert fleet.process.wait(START) == 1
    [line] = fleet.complained.strip().splitlines()
    return line


class TestRunning:
    def test_fleet_prints_its_address_model_database_and_redis(
        self, shared: Fleet, model_server: ScriptedModel
    ) -> None:
        assert f"is ready on {shared.address}" in shared.said
        assert f"model       scripted at {model_server.url}" in shared.said
        assert "database    SQLite, " in shared.said
        assert "Redis       an embedded Valkey, " in shared.said

    @pytest.mark.smoke
    def test_page_is_served(self, shared: Fleet) -> None:
        with urllib.request.urlopen(shared.address) as response:
            assert response.status == 200

    @pytest.mark.smoke
    def test_question_is_answered(self, shared: Fleet) -> None:
        with shared.ask("What is the answer?") as client:
            assert read_to_end(client)[-1]["data"]["status"] == "completed"

    def test_first_start_creates_an_admin_account_that_works(self, shared: Fleet) -> None:
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

    def test_password_of_valkey_is_in_no_command_line_and_no_output(self, shared: Fleet) -> None:
        password = re.search(r":([^:@]+)@", shared.card["redis_url"])
        assert password
        command_lines = [" ".join(child.cmdline()) for child in shared.children()]
        assert not any(
            password[1] in text for text in (*command_lines, shared.said, shared.complained)
        )

    def test_card_holds_address_and_pid(self, shared: Fleet) -> None:
        assert shared.card["address"] == shared.address
        assert shared.card["pid"] == shared.process.pid

    def test_card_is_readable_only_by_its_user(self, shared: Fleet) -> None:
        assert stat.S_IMODE((shared.folder / "state/fleet.json").stat().st_mode) == 0o600

    def test_valkey_neither_evicts_keys_nor_writes_files(self, shared: Fleet) -> None:
        with closing(Redis.from_url(shared.card["redis_url"])) as client:
            settings = client.config_get("maxmemory-policy", "save", "appendonly", "bind")
        assert settings == {
            "maxmemory-policy": "noeviction",
            "save": "",
            "appendonly": "no",
            "bind": "127.0.0.1",
        }

    def test_other_commands_use_the_services_of_a_running_fleet(
        self, shared: Fleet, settings: Any
    ) -> None:
        settings.FLEET_STATE_DIR = shared.folder / "state"
        settings.REDIS_URL = settings.OPENAI_BASE_URL = settings.OPENAI_API_KEY = ""
        settings.FLEET_MODEL = settings.FLEET_LIGHT_MODEL = ""
        with embedded.services() as services:
            assert (services.redis_url, services.model_base_url) == (
                shared.card["redis_url"],
                shared.card["model_base_url"],
            )

    def test_other_commands_start_their_own_services_without_a_fleet(
        self, tmp_path: Path, settings: Any
    ) -> None:
        settings.FLEET_STATE_DIR = tmp_path
        settings.REDIS_URL = ""
        with embedded.services() as services:
            assert bounded.redis_problem(services.redis_url) is None
            assert services.model_base_url == settings.OPENAI_BASE_URL
        assert bounded.redis_problem(services.redis_url) is not None

    def test_second_fleet_on_the_same_folder_is_refused(
        self, shared: Fleet, tmp_path: Path
    ) -> None:
        assert "Another fleet is running on" in refused(
            tmp_path, FLEET_STATE_DIR=str(shared.folder / "state")
        )

    def test_second_fleet_on_the_same_file_is_refused(self, shared: Fleet, tmp_path: Path) -> None:
        url = f"sqlite:///{shared.folder}/state/fleet.sqlite3"
        line = refused(tmp_path, DATABASE_URL=url)
        assert "another fleet is running on SQLite" in line
        assert "must all have the same REDIS_URL and DJANGO_SECRET_KEY" in line


class TestNotStarting:
    def test_busy_port_is_named(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            assert f"Cannot listen on 127.0.0.1:{port}: Address already in use" in refused(
                tmp_path, "--port", str(port)
            )

    def test_wrong_setting_is_named(self, tmp_path: Path) -> None:
        assert "FLEET_HEARTBEAT must be a number" in refused(tmp_path, FLEET_HEARTBEAT="abc")

    def test_state_folder_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert "file/state, which cannot be made: Not a directory." in refused(
            tmp_path, FLEET_STATE_DIR=str(tmp_path / "file/state")
        )

    def test_unreachable_redis_is_named_without_its_password(self, tmp_path: Path) -> None:
        url = f"redis://:secret@127.0.0.1:{embedded.free_port()}/0"
        line = refused(tmp_path, REDIS_URL=url, **NO_MODEL)
        assert "REDIS_URL: redis://127.0.0.1" in line
        assert "secret" not in line

    def test_redis_with_invalid_options_is_named(self, tmp_path: Path) -> None:
        assert "REDIS_URL: redis://127.0.0.1" in refused(
            tmp_path, REDIS_URL="redis://127.0.0.1/?db=first", **NO_MODEL
        )

    def test_database_that_cannot_be_opened_is_named(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/nowhere/fleet.sqlite3"
        assert "DATABASE_URL: SQLite" in refused(tmp_path, DATABASE_URL=url, **NO_MODEL)

    def test_child_that_exits_while_starting_is_named_with_its_output(self) -> None:
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
    def test_unknown_host_is_named(self, tmp_path: Path, host: str) -> None:
        assert f"--host {host}: " in refused(tmp_path, "--host", host)


def runs_that_moved(folder: Path) -> list[Any]:
    """Return status, epoch and deaths of the runs that a second worker has claimed."""
    with closing(sqlite3.connect(folder / "state/fleet.sqlite3")) as database:
        return database.execute("SELECT status, epoch, deaths FROM chat_run WHERE epoch").fetchall()


@dataclass
class Lives:
    """What was observed of three fleets that ran on one folder, one after the other."""

    first: Fleet
    refused_with: str
    finished: dict[str, Any]  # the terminal event of the run that was live at the signal
    first_exit: int
    first_left: list[psutil.Process]
    first_card_is_left: bool
    second: Fleet
    moved: list[Any]  # status and epoch of the run that was live at the kill, in the third fleet
    second_children: list[psutil.Process]
    signalled_twice: dict[str, Any]
    third_exit: int


def pending(process: psutil.Process) -> set[signal.Signals]:
    """Return the signals that the kernel hasn't delivered yet."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [mask] = re.findall(r"ShdPnd:\s*(\w+)", status)
    return {number for number in STOPPING if int(mask, 16) >> (number - 1) & 1}


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lives]:
    """Stop the first fleet with a signal, kill the second, and signal the third twice.

    Starting a fleet is slow, so all tests of endings share these three.
    """
    folders = [tmp_path_factory.mktemp("lives")]
    for number in ("second", "third"):
        # The state folder is the same; each has its own output.
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
        # Log errors only: a busy machine causes warnings, such as a late Redis or a slow stop.
        first = start(FLEET_LOG_LEVEL="error", FLEET_SHUTDOWN_GRACE="60")
        children = first.children()
        with first.ask("Slowly, please.") as client:
            read_to("response.delta", client)
            first.signal(signal.SIGTERM)
            refused_with = until(lambda: code_for_another_run(first), STOP, "it accepts new runs")
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
            second.process.wait()

        third = start("--port", port, FLEET_SHUTDOWN_GRACE="60")
        with third.ask("For ever, please.") as client:
            read_to("response.delta", client)
            moved = until(lambda: runs_that_moved(folders[0]), STOP, "the run does not go on")
            # A busy worker may get both at once, in another order.
            [worker] = third.children("fleet-worker")
            worker.suspend()
            third.signal(signal.SIGTERM)
            third.signal(signal.SIGINT)
            until(lambda: pending(worker) >= STOPPING, STOP, "the worker isn't told")
            worker.resume()
            signalled_twice = read_to_end(client)[-1]
        third_exit = third.process.wait(STOP)
        yield Lives(
            *(first, refused_with, finished, first_exit, first_left, first_card_is_left),
            *(second, moved, second_children, signalled_twice, third_exit),
        )
    finally:
        for fleet in fleets:
            end(fleet)
        model.stop()


class TestEnding:
    def test_run_may_finish_after_the_first_signal(self, lives: Lives) -> None:
        assert lives.finished["data"]["status"] == "completed"

    def test_new_runs_are_refused_after_the_first_signal(self, lives: Lives) -> None:
        assert lives.refused_with == "shutting_down"

    def test_signal_ends_the_fleet_and_all_its_children(self, lives: Lives) -> None:
        assert (
            lives.first_exit,
            lives.first_left,
            lives.first_card_is_left,
            lives.first.complained,
        ) == (0, [], False, "")

    def test_stopped_fleet_can_start_again_on_its_folder(self, lives: Lives) -> None:
        assert "password" in lives.first.said
        assert "is ready on" in lives.second.said
        assert "password" not in lives.second.said

    def test_run_of_a_killed_fleet_goes_on_in_the_next(self, lives: Lives) -> None:
        # It was handed over: no death is counted.
        assert lives.moved == [("running", 1, 0)]

    def test_children_end_when_the_fleet_is_killed(self, lives: Lives) -> None:
        until(lambda: all_gone(lives.second_children), GONE, "children outlived the fleet")

    def test_killed_fleet_can_start_again_on_its_folder_and_port(self, lives: Lives) -> None:
        assert lives.third_exit == 0

    def test_second_signal_ends_runs_at_once_with_an_error(self, lives: Lives) -> None:
        assert lives.signalled_twice["error"]["code"] == "shutting_down"


class TestKeepingAlive:
    def test_killed_worker_is_restarted(self, shared: Fleet) -> None:
        before = shared.children("fleet-worker")
        before[0].kill()
        until(
            lambda: len(set(shared.children("fleet-worker")) | set(before)) == 3,
            START,
            "no new worker",
        )
        assert re.search(r"worker \d ended, SIGKILL; it is started again", shared.complained)

    def test_killed_valkey_is_restarted_at_its_address(self, shared: Fleet) -> None:
        shared.children("valkey-server")[0].kill()
        until(lambda: "Valkey ended, SIGKILL" in shared.complained, START, "no restart in the log")
        until(
            lambda: bounded.redis_problem(shared.card["redis_url"]) is None,
            START,
            "Valkey is not back",
        )

    def test_restart_delay_grows_while_a_child_keeps_exiting(self) -> None:
        child = FailingChild()
        assert [child.restart_delay(life=0.1) for _ in range(7)] == pytest.approx(
            [0.5, 1, 2, 4, 8, 10, 10]
        )
        assert child.restart_delay(life=31) == pytest.approx(0.5)


class FailingChild:
    """A child that exits when the test wants it, on the test's clock."""

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

    def restart_delay(self, *, life: float) -> float:
        """Let it run for `life` seconds; return the seconds until it is restarted."""
        self._now += life
        self.alive = False
        died = self._now
        while not self.alive:
            self._lifeline.check(self._now, lambda _: None)
            self._now += 0 if self.alive else 0.25
        return self._now - died


def test_watcher_signals_the_other_processes_if_one_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone, other = (subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(2))
    gone.kill()
    gone.wait()
    # It ended after the watcher had checked it.
    monkeypatch.setattr(watcher, "is_running", lambda pid: True)
    watcher.send([gone.pid, other.pid], signal.SIGKILL)
    assert other.wait(GONE) == -signal.SIGKILL


@pytest.mark.builtin_model
def test_built_in_model_answers_if_nothing_is_configured(tmp_path: Path) -> None:
    # A few tokens suffice here, and the model is slow on a busy machine.
    fleet = launch(tmp_path, FLEET_MAX_OUTPUT_TOKENS="16")
    try:
        fleet.wait_until_ready()
        with fleet.ask("What is the capital of France?") as client:
            events = read_to_end(client)
        assert "built in: small and mostly wrong" in fleet.said
        [server] = fleet.children("serve_model")
        assert server.environ()["OMP_WAIT_POLICY"] == "PASSIVE"
        assert events[-1]["data"]["status"] == "completed"
        assert events[-2]["message"]
    finally:
        end(fleet)


@pytest.mark.smoke
def test_client_in_the_documentation_works(shared: Fleet) -> None:
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
