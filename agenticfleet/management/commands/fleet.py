"""Serve the product: Valkey and the model where none is configured, and worker processes, all kept alive until a signal."""

import errno
import os
import queue
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseProblem
from django.db import connection

from agenticfleet.embedded import (
    Child,
    EmbeddedError,
    RunningFleet,
    Watcher,
    announced,
    model_is_configured,
    only_fleet,
    redis_problem,
    services_in_use,
    start_model,
    start_valkey,
    wait_until_answering,
    was_killed,
)
from routing.classifier import BrokenWeights
from routing.policy import classifier

BACKLOG = 1024  # connections that wait for a worker
WORKER_PATIENCE = 60.0  # seconds
ENDINGS_PATIENCE = (
    10.0  # on top of the shutdown grace; a worker needs up to 6.5 to write endings and deliver them
)
PREDECESSOR_PATIENCE = (
    10.0  # for the port, when the last fleet was killed and its children are going
)
LOOK_EVERY = 0.5
FIRST_DELAY, MAX_DELAY, LONG_LIFE = 0.5, 10.0, 30.0
ADMIN_NAME = "admin"
BETTER_MODEL = "set OPENAI_API_KEY, or OPENAI_BASE_URL and FLEET_MODEL, for a better one"


class StopAskedError(Exception):
    """A signal asked to stop."""


class Inbox:
    """Signals as things to wait for, so that none interrupts anything."""

    def __init__(self) -> None:
        self._arrived: queue.SimpleQueue[signal.Signals] = queue.SimpleQueue()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda number, _frame: self._arrived.put(signal.Signals(number)))

    def stop_asked(self, timeout: float) -> bool:
        """Whether a signal to stop came; returns early also when a child has ended."""
        with suppress(queue.Empty):
            return self._arrived.get(timeout=timeout) is not signal.SIGCHLD
        return False

    def pause(self, seconds: float) -> None:
        """Let time pass; StopAskedError as soon as a signal asks to stop."""
        if self.stop_asked(seconds):
            raise StopAskedError


class Readiness:
    """A pipe on which workers say that they serve."""

    def __init__(self) -> None:
        self._hear, self.tell = os.pipe()
        os.set_blocking(self._hear, False)
        self._ready: set[int] = set()

    def includes(self, worker: Child) -> bool:
        with suppress(BlockingIOError):
            self._ready |= {int(pid) for pid in os.read(self._hear, 4096).split()}
        return worker.pid in self._ready


@dataclass
class Lifeline:
    """Starts a child again when it has ended, ever later while it does not live long."""

    child: Child
    born: float
    delay: float = FIRST_DELAY
    due: float | None = None

    def tend(self, now: float, report: Callable[[str], None]) -> None:
        if self.child.is_running():
            return
        if self.due is None:
            self._plan(now)
            report(f"{self.child.name} ended, {self.child.last_words()}; it is started again.")
        elif now >= self.due:
            self.child.start()
            self.born, self.due = now, None

    def _plan(self, now: float) -> None:
        if now - self.born > LONG_LIFE:
            self.delay = FIRST_DELAY
        self.due = now + self.delay
        self.delay = min(2 * self.delay, MAX_DELAY)


class Fleet:
    """All processes of one fleet, from the start to the end of each."""

    def __init__(
        self,
        listener: socket.socket,
        watcher: Watcher,
        inbox: Inbox,
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._listener = listener
        self._watcher = watcher
        self._inbox = inbox
        self._say = say
        self._warn = warn
        self._readiness = Readiness()
        self._valkey: Child | None = None
        self._model: Child | None = None
        self._workers: list[Child] = []

    def run(self, workers: int) -> bool:
        """Serve until a signal asks to stop. EmbeddedError if it cannot start; else whether every worker ended by itself."""
        try:
            self._start(workers)
            with announced(self._card()):
                self._say(self._ready_text())
                self._keep_alive()
            self._say(
                f"Stopping: running answers have {settings.FLEET_SHUTDOWN_GRACE:g} s to finish; a second signal ends them now."
            )
        except StopAskedError:
            pass
        finally:
            clean = self._stop()
        return clean

    @property
    def _services(self) -> list[Child]:
        return [child for child in (self._valkey, self._model) if child]

    def _start(self, workers: int) -> None:
        # What takes long goes first and is waited for last.
        if not settings.REDIS_URL:
            self._valkey = start_valkey(self._watcher)
        if not model_is_configured():
            self._model = start_model(self._watcher)
        if settings.REDIS_URL and (problem := redis_problem(settings.REDIS_URL)):
            raise EmbeddedError(
                f"REDIS_URL: {without_secrets(settings.REDIS_URL)} does not answer: {first_line(problem)}"
            )
        migrate()
        self._workers = [self._worker(number).start() for number in range(1, workers + 1)]
        if password := first_admin():
            self._say(
                f"The first start: sign in to /admin/ as {ADMIN_NAME} with the password {password} (shown only now)"
            )
        wait_until_answering([*self._services, *self._workers], pause=self._inbox.pause)

    def _worker(self, number: int) -> Child:
        socket_fd, ready_fd = self._listener.fileno(), self._readiness.tell
        return Child(
            name=f"worker {number}",
            command=[
                *(sys.executable, settings.BASE_DIR / "manage.py", "fleet-worker"),
                *("--fd", str(socket_fd), "--ready-fd", str(ready_fd)),
            ],
            pass_fds=(socket_fd, ready_fd),
            environment=services_in_use(self._valkey, self._model).environment(),
            watcher=self._watcher,
            role="worker",
            answers=self._readiness.includes,
            patience=WORKER_PATIENCE,
            quiet=False,
        )

    def _keep_alive(self) -> None:
        started = time.monotonic()
        lifelines = [Lifeline(child, born=started) for child in (*self._services, *self._workers)]
        while not self._inbox.stop_asked(LOOK_EVERY):
            for lifeline in lifelines:
                lifeline.tend(time.monotonic(), self._warn)

    def _stop(self) -> bool:
        """End the workers, who write the endings of their runs, then what they need for it. Whether nobody had to be forced."""
        deadline = time.monotonic() + settings.FLEET_SHUTDOWN_GRACE + ENDINGS_PATIENCE
        self._signal_workers(signal.SIGTERM)
        while any(worker.is_running() for worker in self._workers) and time.monotonic() < deadline:
            if self._inbox.stop_asked(LOOK_EVERY):
                # Of another kind than the first: two of a kind at once would arrive as one.
                self._signal_workers(signal.SIGINT)
        forced = [worker.name for worker in self._workers if not worker.wait_for_end(0)]
        if forced:
            self._warn(f"{', '.join(forced)} did not end in time and had to be killed.")
        for service in reversed(self._services):
            service.stop()
        return not forced

    def _signal_workers(self, number: signal.Signals) -> None:
        for worker in self._workers:
            worker.send(number)

    @property
    def _address(self) -> str:
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}/"

    def _card(self) -> RunningFleet:
        used = services_in_use(self._valkey, self._model)
        return RunningFleet(
            pid=os.getpid(),
            address=self._address,
            redis_url=used.redis_url,
            model_base_url=used.model_base_url,
            model=used.model,
            model_builtin=used.model_builtin,
        )

    def _ready_text(self) -> str:
        redis = (
            f"our own Valkey, {without_secrets(self._valkey.url)}"
            if self._valkey
            else without_secrets(settings.REDIS_URL)
        )
        return "\n".join(
            [
                f"AgenticFleet is ready on {self._address}",
                f"  model       {self._model_text()}",
                f"  web search  {search_text()}",
                f"  database    {database_text()}",
                f"  Redis       {redis}",
            ]
        )

    def _model_text(self) -> str:
        if self._model:
            return f"{settings.BUILTIN_MODEL}, built in: small and weak; {BETTER_MODEL}"
        return f"{settings.FLEET_MODEL} at {without_secrets(settings.OPENAI_BASE_URL) or 'OpenAI'}"


def search_text() -> str:
    match settings.FLEET_SEARCH:
        case "on":
            return f"on, by {without_secrets(settings.TAVILY_BASE_URL)}"
        case "keyless":
            return f"on without a key, within narrow limits, by {without_secrets(settings.TAVILY_BASE_URL)}; queries leave this machine"
        case _:
            return "off; set TAVILY_API_KEY, or FLEET_SEARCH=keyless to search without a key"


class Command(BaseCommand):
    help = "Serve AgenticFleet: starts Valkey and the model unless they are configured, and the workers; Ctrl-C stops all of it."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--host", default="127.0.0.1", help="a name or an IPv4 address (%(default)s)"
        )
        parser.add_argument(
            "--port", type=int, default=8000, help="0 picks a free one (%(default)s)"
        )
        parser.add_argument(
            "--workers", type=int, default=1, help="processes that serve (%(default)s)"
        )

    def handle(self, *args: Any, host: str, port: int, workers: int, **options: Any) -> None:
        if workers < 1:
            raise CommandError("--workers must be at least 1.")
        try:
            classifier()
        except BrokenWeights as exc:
            # Each worker reads them too, and would only end with a traceback.
            raise CommandError(str(exc)) from exc
        inbox = Inbox()
        try:
            with (
                only_fleet(),
                listen(host, port, pause=inbox.pause) as listener,
                Watcher() as watcher,
            ):
                clean = Fleet(listener, watcher, inbox, self.say, self.stderr.write).run(workers)
        except EmbeddedError as exc:
            raise CommandError(str(exc)) from exc
        except StopAskedError:
            return
        if not clean:
            sys.exit(1)

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def listen(host: str, port: int, *, pause: Callable[[float], None]) -> socket.socket:
    """The listening socket that the workers share. It waits only for a predecessor that was killed and is still going."""
    try:
        address = socket.gethostbyname(host), port
    except socket.gaierror as exc:
        raise EmbeddedError(f"--host {host}: {exc.strerror}.") from exc
    except UnicodeError as exc:
        raise EmbeddedError(f"--host {host}: this is no name of a host.") from exc
    deadline = time.monotonic() + (PREDECESSOR_PATIENCE if was_killed() else 0)
    while True:
        try:
            return socket.create_server(address, backlog=BACKLOG)
        except OverflowError as exc:
            raise EmbeddedError(f"--port {port}: a port is a number from 0 to 65535.") from exc
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or time.monotonic() >= deadline:
                raise EmbeddedError(
                    f"Cannot listen on {host}:{port}: {os.strerror(exc.errno or 0)}."
                ) from exc
        pause(LOOK_EVERY)


def migrate() -> None:
    """Bring the database up to date; EmbeddedError if there is none."""
    try:
        call_command("migrate", verbosity=0, interactive=False)
    except (DatabaseProblem, ImproperlyConfigured) as exc:
        raise EmbeddedError(
            f"DATABASE_URL: {database_text()} cannot be used: {first_line(str(exc))}"
        ) from exc


def first_admin() -> str | None:
    """The password of the administrator made just now, if there was nobody yet."""
    users = get_user_model().objects
    if users.exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser(ADMIN_NAME, password=password)
    return password


def database_text() -> str:
    used = connection.settings_dict
    place = "" if connection.vendor == "sqlite" else f" on {used['HOST'] or 'this machine'}"
    return f"{connection.display_name}, {used['NAME']}{place}"


def without_secrets(url: str) -> str:
    """The URL for people to read: no name, no password, no query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
