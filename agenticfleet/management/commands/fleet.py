"""Start and supervise a fleet: Valkey and the model if none is configured, and the workers."""

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
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseProblem
from django.db import connection

from agenticfleet.embedded import (
    Child,
    Watcher,
    model_is_configured,
    services_in_use,
    start_model,
    start_valkey,
    wait_until_answering,
)
from agenticfleet.environment import without_secrets
from agenticfleet.errors import EmbeddedError
from agenticfleet.metricfiles import MetricFiles
from agenticfleet.running import RunningFleet, announced, only_fleet, was_killed
from routing.classifier import BrokenWeights
from routing.policy import classifier
from tooling.bounded import redis_problem

BACKLOG = 1024  # connections that wait for a worker
# Seconds
WORKER_START_TIMEOUT = 60.0
# Added to the shutdown grace. A worker needs up to 6.5 s to store its endings and to deliver them.
STOP_TIMEOUT = 10.0
# To wait for the port after the last fleet was killed, while its children are still ending.
PORT_TIMEOUT = 10.0
CHECK_INTERVAL = 0.5
# A child that has ended is started again after MIN_RESTART_DELAY, and after twice the last delay
# each time it ends within STABLE_AFTER.
MIN_RESTART_DELAY, MAX_RESTART_DELAY, STABLE_AFTER = 0.5, 10.0, 30.0
ADMIN_NAME = "admin"
MODEL_HINT = "set OPENAI_API_KEY, or OPENAI_BASE_URL and FLEET_MODEL, for a better one"


class StopRequested(Exception):
    """Raised when a signal asks to stop while the fleet starts."""


class Inbox:
    """A queue of signals. They are waited for, so none interrupts other code."""

    def __init__(self) -> None:
        self._arrived: queue.SimpleQueue[signal.Signals] = queue.SimpleQueue()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, lambda number, _frame: self._arrived.put(signal.Signals(number)))

    def wait_for_stop(self, timeout: float) -> bool:
        """Return True if a signal to stop arrives within `timeout` seconds.

        Return False early if a child ends.
        """
        with suppress(queue.Empty):
            return self._arrived.get(timeout=timeout) is not signal.SIGCHLD
        return False

    def pause(self, seconds: float) -> None:
        """Wait for `seconds`, or until a child ends. Raise StopRequested on a signal to stop."""
        if self.wait_for_stop(seconds):
            raise StopRequested


class Readiness:
    """A pipe into which each worker writes its process id once it serves."""

    def __init__(self) -> None:
        self._read_fd, self.write_fd = os.pipe()
        os.set_blocking(self._read_fd, False)
        self._ready: set[int] = set()

    def includes(self, worker: Child) -> bool:
        with suppress(BlockingIOError):
            self._ready |= {int(pid) for pid in os.read(self._read_fd, 4096).split()}
        return worker.pid in self._ready


@dataclass
class Lifeline:
    """Starts a child again after it has ended, with a growing delay if it keeps ending soon."""

    child: Child
    started_at: float
    delay: float = MIN_RESTART_DELAY
    restart_at: float | None = None
    on_exit: Callable[[], None] = lambda: None  # called once each time the child has ended

    def check(self, now: float, report: Callable[[str], None]) -> None:
        if self.child.is_running():
            return
        if self.restart_at is None:
            self.schedule_restart(now)
            self.on_exit()
            report(f"{self.child.name} ended, {self.child.exit_reason()}; it is started again.")
        elif now >= self.restart_at:
            self.child.start()
            self.started_at, self.restart_at = now, None

    def schedule_restart(self, now: float) -> None:
        if now - self.started_at > STABLE_AFTER:
            self.delay = MIN_RESTART_DELAY
        self.restart_at = now + self.delay
        self.delay = min(2 * self.delay, MAX_RESTART_DELAY)


class Fleet:
    """All processes of one fleet."""

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
        self._metrics = MetricFiles(Path(settings.FLEET_STATE_DIR) / "metrics")

    def run(self, workers: int) -> bool:
        """Serve until a signal asks to stop. Return False if a worker had to be killed.

        Raise EmbeddedError if the fleet cannot start.
        """
        try:
            self.start(workers)
            with announced(self.card()):
                self._say(self.ready_text())
                self.keep_alive()
            self._say(
                f"Stopping: running answers have {settings.FLEET_SHUTDOWN_GRACE:g} s to finish;"
                " a second signal ends them now."
            )
        except StopRequested:
            pass
        finally:
            clean = self.stop()
        return clean

    @property
    def services(self) -> list[Child]:
        return [child for child in (self._valkey, self._model) if child]

    def start(self, workers: int) -> None:
        # Start the slow services first and wait for them last.
        if not settings.REDIS_URL:
            self._valkey = start_valkey(self._watcher)
        if not model_is_configured():
            self._model = start_model(self._watcher)
        if settings.REDIS_URL and (problem := redis_problem(settings.REDIS_URL)):
            raise EmbeddedError(
                f"REDIS_URL: {without_secrets(settings.REDIS_URL)} does not answer: "
                f"{first_line(problem)}"
            )
        migrate()
        self._metrics.begin(workers)
        self._workers = [self.worker(number).start() for number in range(1, workers + 1)]
        if password := first_admin():
            self._say(
                f"The first start: sign in to /admin/ as {ADMIN_NAME} with the password {password}"
                " (shown only now)"
            )
        wait_until_answering([*self.services, *self._workers], pause=self._inbox.pause)

    def worker(self, number: int) -> Child:
        socket_fd, ready_fd = self._listener.fileno(), self._readiness.write_fd
        return Child(
            name=f"worker {number}",
            command=[
                *(sys.executable, settings.BASE_DIR / "manage.py", "fleet-worker"),
                *("--fd", str(socket_fd), "--ready-fd", str(ready_fd)),
            ],
            pass_fds=(socket_fd, ready_fd),
            environment={
                **services_in_use(self._valkey, self._model).environment(),
                "FLEET_WORKER_NUMBER": str(number),
                # Where prometheus-client keeps a worker's values.
                "PROMETHEUS_MULTIPROC_DIR": str(self._metrics.folder),
            },
            watcher=self._watcher,
            role="worker",
            answers=self._readiness.includes,
            start_timeout=WORKER_START_TIMEOUT,
            quiet=False,
        )

    def keep_alive(self) -> None:
        started = time.monotonic()
        lifelines = [
            *(Lifeline(service, started) for service in self.services),
            *(
                # Its gauges, such as its live runs, count no longer. Its counters do.
                Lifeline(worker, started, on_exit=partial(self._metrics.forget_gauges, number))
                for number, worker in enumerate(self._workers, start=1)
            ),
        ]
        while not self._inbox.wait_for_stop(CHECK_INTERVAL):
            for lifeline in lifelines:
                lifeline.check(time.monotonic(), self._warn)

    def stop(self) -> bool:
        """Stop the workers, then the services they need to store their endings.

        Return False if a worker had to be killed.
        """
        deadline = time.monotonic() + settings.FLEET_SHUTDOWN_GRACE + STOP_TIMEOUT
        self.signal_workers(signal.SIGTERM)
        while any(worker.is_running() for worker in self._workers) and time.monotonic() < deadline:
            if self._inbox.wait_for_stop(CHECK_INTERVAL):
                # Another signal than the first: the kernel merges two pending ones of a kind.
                self.signal_workers(signal.SIGINT)
        forced = [worker.name for worker in self._workers if not worker.wait_or_kill(0)]
        if forced:
            self._warn(f"{', '.join(forced)} did not end in time and had to be killed.")
        for service in reversed(self.services):
            service.stop()
        return not forced

    def signal_workers(self, number: signal.Signals) -> None:
        for worker in self._workers:
            worker.send(number)

    @property
    def address(self) -> str:
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}/"

    def card(self) -> RunningFleet:
        used = services_in_use(self._valkey, self._model)
        return RunningFleet(
            pid=os.getpid(),
            address=self.address,
            redis_url=used.redis_url,
            model_base_url=used.model_base_url,
            model=used.model,
            model_builtin=used.model_builtin,
        )

    def ready_text(self) -> str:
        redis = (
            f"an embedded Valkey, {without_secrets(self._valkey.url)}"
            if self._valkey
            else without_secrets(settings.REDIS_URL)
        )
        return "\n".join(
            [
                f"AgenticFleet is ready on {self.address}",
                f"  model       {self.model_text()}",
                f"  web search  {search_text()}",
                f"  database    {database_text()}",
                f"  Redis       {redis}",
            ]
        )

    def model_text(self) -> str:
        if self._model:
            return f"{settings.BUILTIN_MODEL}, built in: small and weak; {MODEL_HINT}"
        return f"{settings.FLEET_MODEL} at {without_secrets(settings.OPENAI_BASE_URL) or 'OpenAI'}"


def settings_text() -> str:
    """Return a line for each setting: name, value in effect (secrets hidden), and source."""
    rows = [(read.name, read.value or "-", read.source) for read in settings.SETTINGS_READ]
    names, values = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(
        f"{name:<{names}}  {value:<{values}}  {source}" for name, value, source in rows
    )


def search_text() -> str:
    match settings.FLEET_SEARCH:
        case "on":
            return f"on, by {without_secrets(settings.TAVILY_BASE_URL)}"
        case "keyless":
            return (
                "on without a key, within narrow limits, by"
                f" {without_secrets(settings.TAVILY_BASE_URL)}; queries leave this machine"
            )
        case _:
            return "off; set TAVILY_API_KEY, or FLEET_SEARCH=keyless to search without a key"


class Command(BaseCommand):
    help = (
        "Serve AgenticFleet. Starts the workers, and Valkey and the model if none is configured;"
        " Ctrl-C stops everything."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--host", default="127.0.0.1", help="host name or IPv4 address (%(default)s)"
        )
        parser.add_argument(
            "--port", type=int, default=8000, help="0 picks a free port (%(default)s)"
        )
        parser.add_argument(
            "--workers", type=int, default=1, help="processes that serve (%(default)s)"
        )
        parser.add_argument(
            "--print-settings",
            action="store_true",
            help="show every setting with its value and its source, and exit",
        )

    def handle(self, *args: Any, host: str, port: int, workers: int, **options: Any) -> None:
        if options["print_settings"]:
            self.say(settings_text())
            return
        if workers < 1:
            raise CommandError("--workers must be at least 1.")
        try:
            classifier()
        except BrokenWeights as exc:
            # Report it once, here. Each worker would end with a traceback.
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
        except StopRequested:
            return
        if not clean:
            sys.exit(1)

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def listen(host: str, port: int, *, pause: Callable[[float], None]) -> socket.socket:
    """Return the listening socket that the workers share, or raise EmbeddedError.

    Wait for a busy port only if the last fleet was killed, because its children may still hold it.
    """
    try:
        address = socket.gethostbyname(host), port
    except socket.gaierror as exc:
        raise EmbeddedError(f"--host {host}: {exc.strerror}.") from exc
    except UnicodeError as exc:
        raise EmbeddedError(f"--host {host}: this is not a valid host name.") from exc
    deadline = time.monotonic() + (PORT_TIMEOUT if was_killed() else 0)
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
        pause(CHECK_INTERVAL)


def migrate() -> None:
    """Apply the migrations. Raise EmbeddedError if the database cannot be used."""
    try:
        call_command("migrate", verbosity=0, interactive=False)
    except (DatabaseProblem, ImproperlyConfigured) as exc:
        raise EmbeddedError(
            f"DATABASE_URL: {database_text()} cannot be used: {first_line(str(exc))}"
        ) from exc


def first_admin() -> str | None:
    """Create the first administrator and return its password. Return None if there are users."""
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


def first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
