"""Fleets as real processes, each with its own folder, for tests and benchmarks."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import psutil
from websockets.sync.client import ClientConnection, connect

from tests.scripted_model import ScriptedModel

MANAGE = Path(__file__).parent.parent / "manage.py"
OWN_SETTINGS = ("FLEET_", "OPENAI_", "TAVILY_", "REDIS_", "DATABASE_", "DJANGO_", "OTEL_")
# Tests ask more, and from one address, than people do. Those about limits set their own.
NO_LIMITS = {
    f"FLEET_LIMIT_{name}": "none"
    for name in ("RUNS", "QUESTIONS", "TOKENS", "SEARCHES", "SOCKETS", "HANDSHAKES")
}
SHARED_KEY = "for tests: the same on all hosts of a database"
START, STOP, GONE = 90, 30, 20  # seconds; only an overloaded machine needs so many


def until(fact: Callable[[], Any], timeout: float, why: str) -> Any:
    """Wait until `fact` returns a true value; return it."""
    deadline = time.monotonic() + timeout
    while not (value := fact()):
        assert time.monotonic() < deadline, why
        time.sleep(0.02)
    return value


@dataclass
class Fleet:
    """A `manage.py fleet` with its own state folder."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def said(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def complained(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def card(self) -> dict[str, Any]:
        return json.loads((self.folder / "state/fleet.json").read_text())

    @property
    def address(self) -> str:
        found = re.search(r"is ready on (\S+)", self.said)
        assert found
        return found[1]

    def wait_until_ready(self) -> None:
        until(
            lambda: "is ready on" in self.said or self.process.poll() is not None,
            START,
            "the fleet is not ready",
        )
        assert self.process.poll() is None, self.complained

    @property
    def port(self) -> int:
        port = urlsplit(self.address).port
        assert port
        return port

    def children(self, word: str = "") -> list[psutil.Process]:
        """Return its running children whose command line contains `word`."""
        found = {
            child: command_line(child)
            for child in psutil.Process(self.process.pid).children(recursive=True)
        }
        return [child for child, line in found.items() if line is not None and word in line]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it and all its children at once, like a power cut."""
        # Stop the parent first: running, it restarts dead children; once it is dead, its children
        # shut down in order.
        self.signal(signal.SIGSTOP)
        for process in self.children():
            process.kill()
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(STOP)

    def token(self, *arguments: str) -> str:
        """Return what `manage.py token` prints beside this fleet."""
        done = subprocess.run(
            [sys.executable, MANAGE, "token", *arguments],
            env={
                **clean_environment(),
                "FLEET_STATE_DIR": str(self.folder / "state"),
                "REDIS_URL": self.card["redis_url"],
                "PYTHON_DOTENV_DISABLED": "1",
            },
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    @contextmanager
    def ask(self, message: str, **headers: str) -> Iterator[ClientConnection]:
        """Yield a socket on which this question was sent."""
        address = self.address.replace("http", "ws") + "ws/chat/"
        with connect(address, additional_headers=headers) as client:
            client.send(json.dumps({"message": message, "message_id": str(uuid.uuid4())}))
            yield client


def command_line(process: psutil.Process) -> str | None:
    """Return the command line of a process, or None once the process has ended."""
    # It may end between any two of these calls.
    with suppress(psutil.NoSuchProcess):
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            return " ".join(process.cmdline())
    return None


def all_gone(processes: list[psutil.Process]) -> bool:
    return all(command_line(process) is None for process in processes)


@cache
def migrated_database() -> bytes:
    """Return an empty database with all its tables, so that not every fleet makes them anew."""
    with TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, MANAGE, "migrate", "--verbosity", "0"],
            env={**clean_environment(), "FLEET_STATE_DIR": folder, "PYTHON_DOTENV_DISABLED": "1"},
            check=True,
        )
        return (Path(folder) / "fleet.sqlite3").read_bytes()


# For processes that look for .env and fleet.toml, as those of tests don't.
LOOKS_FOR_FILES = {"PYTEST_VERSION": "", "PYTHON_DOTENV_DISABLED": ""}


def clean_environment() -> dict[str, str]:
    """Return this process's environment without settings of a fleet."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OWN_SETTINGS)}


def launch(folder: Path, *arguments: str, through: Sequence[str] = (), **environment: str) -> Fleet:
    """Start a fleet without waiting for it, optionally by a command such as `unshare`."""
    database = folder / "state/fleet.sqlite3"
    if not database.parent.exists():
        database.parent.mkdir()
        database.write_bytes(migrated_database())
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [*through, sys.executable, MANAGE, "fleet", "--port", "0", *arguments],
            env={
                **clean_environment(),
                "FLEET_STATE_DIR": str(folder / "state"),
                "FLEET_SHUTDOWN_GRACE": "5",
                "PYTHON_DOTENV_DISABLED": "1",
                **NO_LIMITS,
                **key_for(environment),
                **environment,
            },
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    return Fleet(process, folder)


def key_for(environment: dict[str, str]) -> dict[str, str]:
    """Return the secret key that fleets must have that share a database."""
    return {"DJANGO_SECRET_KEY": SHARED_KEY} if "DATABASE_URL" in environment else {}


def end(fleet: Fleet) -> None:
    """Kill the fleet if it still runs, and wait until its children have ended."""
    if fleet.process.poll() is None:
        children = fleet.children()
        fleet.process.kill()
        fleet.process.wait()
        until(lambda: all_gone(children), GONE, "children outlived the fleet")


@contextmanager
def running(
    folder: Path,
    model: ScriptedModel,
    *arguments: str,
    through: Sequence[str] = (),
    **environment: str,
) -> Iterator[Fleet]:
    """Yield a fleet that is ready and uses this model; end it after the block."""
    # Take the light path, make no titles and summaries, unless these are the test's subject.
    chosen = {
        "FLEET_LIGHT_THRESHOLD": "0",
        "FLEET_TITLES": "off",
        "FLEET_SUMMARIES": "off",
        "FLEET_READ_PAGES": "off",
        **environment,
    }
    fleet = launch(
        folder,
        *arguments,
        through=through,
        OPENAI_BASE_URL=model.url,
        FLEET_MODEL="scripted",
        **chosen,
    )
    try:
        fleet.wait_until_ready()
        yield fleet
    finally:
        end(fleet)
