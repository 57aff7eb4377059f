"""The parent process of a fleet: it starts the services and the workers, and keeps them alive."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection

from chat.access.terminals import terminal_key
from chat.config.changes import Changes
from chat.config.keeping import keep_first
from chat.llm.servers import tables
from tooling.watching import Watcher

from .embedded import (
    Child,
    Started,
    start_missing,
    wait_until_answering,
)
from .errors import EmbeddedError
from .hosts import hosts_text, refuse_kept_key
from .inbox import Inbox, StopRequested
from .lifelines import Lifeline
from .modelserver import Inquiry, warm_up
from .overview import ready_text
from .redischeck import check_redis
from .running import RunningFleet, announced
from .startup import prepare_database, refuse_open_site
from .workers import STOP_TIMEOUT, Workers

CHECK_INTERVAL = 0.5  # seconds
WRONG = "Wrong setting: "  # how manage.py begins its last line


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
        self._started = Started()
        self._inquiry: Inquiry | None = None  # about model servers that aren't of this fleet
        self._lifelines: list[Lifeline[Child]] = []  # of the services
        self._workers = Workers(listener, watcher, warn)
        self._changes = Changes(settings.FLEET_FILE.places)

    def run(self, workers: int) -> bool:
        """Serve until a signal asks to stop. Return False if a worker had to be killed.

        Raise EmbeddedError if the fleet cannot start.
        """
        try:
            self.start(workers)
            with announced(self.card()):
                self._say(self.ready_text())
                warm_up(self._started.choice)
                self.keep_alive()
            self._say(
                f"Stopping: answers that stream have {settings.FLEET_SHUTDOWN_GRACE:g} s; the"
                " others go on at the next start. A second signal ends all now."
            )
        except StopRequested:
            pass
        finally:
            clean = self.stop()
        return clean

    def start(self, workers: int) -> None:
        host, _ = self._listener.getsockname()
        refuse_open_site(host)
        if told := hosts_text():
            self._warn(told)
        refuse_kept_key()
        # Start the slow services first and wait for them last.
        start_missing(self._watcher, self._started, is_local=self.is_local, own_port=self.own_port)
        serves = self._started.model is not None
        if not serves or tables():
            self._inquiry = Inquiry(self._started.in_use(), serves=serves)
        for warning in check_redis(settings.REDIS_URL) if settings.REDIS_URL else ():
            self._warn(warning)
        prepare_database(self._say, self._inbox.pause)
        started = self._workers.start(
            workers, self.environment(), str(keep_first(settings.FLEET_FILE.files, self.kept_in))
        )
        services = self._started.children
        # A model takes long to load. Pages are served meanwhile, and questions wait for it.
        loading = [service for service in services if service is self._started.model]
        awaited = [service for service in services if service not in loading]
        wait_until_answering([*awaited, *started], pause=self._inbox.pause, beside=loading)
        # This process hardly needs the database any more. Until now, the connection has shown other
        # hosts that start, too, which key this one has.
        connection.close()
        self._lifelines = [Lifeline(service, time.monotonic()) for service in services]

    def environment(self) -> dict[str, str]:
        """Return what the workers need to know of this fleet and the services it has started.

        They read the addresses of other services from their own settings, also after a reload.
        """
        reach = {"FLEET_IS_LOCAL": "on" if self.is_local else "off"}
        started = self._started
        used = started.in_use().environment()
        redis = {"REDIS_URL": used.pop("REDIS_URL")}
        serves = {"FLEET_SERVES_MODEL": "on" if started.model else "off"}
        redis_used = redis if started.valkey else {}
        return reach | serves | redis_used | (used if started.choice else {})

    # --- While it serves

    def keep_alive(self) -> None:
        """Keep all children alive until a signal asks to stop. Reload when one asks for that."""
        with suppress(StopRequested):
            while True:
                self.pause(CHECK_INTERVAL)
                if self._inbox.reload_requested:
                    self._inbox.reload_requested = False
                    # This takes them.
                    self._changes.found()
                    self.reload()
                self.say_changes()

    def say_changes(self) -> None:
        """Say which files of the operator wait for a reload, once per change."""
        for path in self._changes.found():
            self._say(f"{path.name} has changed; `kill -HUP {os.getpid()}` puts it into force.")

    def pause(self, seconds: float) -> None:
        """Wait for a signal, for at most `seconds`, and check all children.

        Raise StopRequested on a signal to stop.
        """
        self._inbox.pause(seconds)
        for lifeline in self._lifelines:
            lifeline.check(time.monotonic(), self._warn)
        self._workers.check()

    def reload(self) -> None:
        """Replace all workers by new ones, which read the code and the settings as they are now."""
        self._say("Reloading: the workers are replaced one by one.")
        try:
            kept, told = self.prepare_reload()
            self._workers.replace_all(self.pause, kept)
        except EmbeddedError as exc:
            self._warn(f"The reload has stopped: {exc} The other workers go on.")
        else:
            self._say(f"Reloaded. {told}")

    def prepare_reload(self) -> tuple[str, str]:
        """Check fleet.toml and apply new migrations, in a process with the new code.

        Return where it has kept what it has read, and a line that says what that is. Raise
        EmbeddedError if it fails.
        """
        child = Child(
            name="manage.py fleet-reload",
            command=[
                *(sys.executable, settings.BASE_DIR / "manage.py", "fleet-reload"),
                *("--keep-in", self.kept_in),
            ],
            watcher=self._watcher,
            answers=lambda child: child.exit_code == 0,
            start_timeout=float("inf"),
        ).start()
        try:
            while child.is_running():
                self.pause(CHECK_INTERVAL)
            lines = child.written_lines()
            if child.exit_code and lines and lines[-1].startswith(WRONG):
                raise EmbeddedError(lines[-1])
            if child.exit_code:
                raise EmbeddedError(f"{child.name} failed, {child.exit_reason()}")
            told, kept = lines[-2:]
            return kept, told
        finally:
            child.stop()

    # --- At its end

    def stop(self) -> bool:
        """Stop the workers, then the services they need to store their endings.

        Return False if a worker had to be killed.
        """
        deadline = time.monotonic() + settings.FLEET_SHUTDOWN_GRACE + STOP_TIMEOUT
        self._workers.send(signal.SIGTERM)
        while self._workers.are_running() and time.monotonic() < deadline:
            if self._inbox.wait_for_stop(CHECK_INTERVAL):
                # Another signal than the first: the kernel merges two pending ones of a kind.
                self._workers.send(signal.SIGINT)
        if forced := self._workers.kill():
            self._warn(f"{', '.join(forced)} did not end in time and had to be killed.")
        for service in reversed(self._started.children):
            service.stop()
        return not forced

    @property
    def kept_in(self) -> Path:
        """The folder of what the operator has written, as workers read it that start again."""
        return Path(settings.FLEET_STATE_DIR) / "config"

    # --- What others see of it

    @property
    def is_local(self) -> bool:
        """True if only this machine can reach the fleet."""
        host, _ = self._listener.getsockname()
        return ip_address(host).is_loopback and not settings.FLEET_DOOR

    @property
    def own_port(self) -> int:
        _, port = self._listener.getsockname()
        return int(port)

    @property
    def address(self) -> str:
        host, port = self._listener.getsockname()
        return f"http://{host}:{port}/"

    @property
    def host(self) -> str:
        """A name that the fleet answers to, as requests have it."""
        if settings.FLEET_PUBLIC_URL:
            return urlsplit(settings.FLEET_PUBLIC_URL).netloc
        name, _ = self._listener.getsockname()
        allowed = [each.lstrip(".") for each in settings.ALLOWED_HOSTS if each != "*"]
        return f"{name if name in allowed or not allowed else allowed[0]}:{self.own_port}"

    def ready_text(self) -> str:
        return ready_text(
            self.address,
            started=self._started,
            workers=[worker.pid for worker in self._workers.processes],
            told=self._inquiry.result() if self._inquiry else (),
        )

    def card(self) -> RunningFleet:
        used = self._started.in_use()
        return RunningFleet(
            pid=os.getpid(),
            address=self.address,
            redis_url=used.redis_url,
            model_base_url=used.model_base_url,
            model=used.model,
            model_is_stand_in=used.model_is_stand_in,
            model_server=used.model_server,
            host=self.host,
            terminal_key=terminal_key(),
        )
