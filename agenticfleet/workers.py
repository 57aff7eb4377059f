"""The worker processes of a fleet, as its parent process sees them."""

import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Thread

from django.conf import settings
from django.db import Error as DatabaseProblem
from django.db import connection

from chat.database import reason_of
from chat.models import Run
from chat.runs.naming import fleet_prefix, worker_prefix
from tooling.watching import Watcher

from .embedded import Child, wait_until_answering
from .errors import EmbeddedError
from .lifelines import Lifeline
from .metricfiles import MetricFiles

logger = logging.getLogger(__name__)

# Seconds
WORKER_START_TIMEOUT = 60.0
# Added to the shutdown grace. A worker needs up to 6.5 s to store its endings and to deliver them.
STOP_TIMEOUT = 10.0
MARK_TIMEOUT = 5.0  # to store which runs have lost their worker, before this process ends


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

    def forget(self, worker: Child) -> None:
        """Forget a worker that has ended: another process may get its id."""
        self.includes(worker)
        self._ready.discard(worker.pid)


@dataclass(kw_only=True, eq=False)
class WorkerProcess(Child):
    """A worker. Its metrics are in the files of its number."""

    number: int
    stop_by: float = float("inf")  # by the monotonic clock, when it is killed


class Workers:
    """The workers of a fleet. No two that live at the same time have the same number."""

    def __init__(
        self,
        listener: socket.socket,
        watcher: Watcher,
        warn: Callable[[str], None],
    ) -> None:
        # Of each worker, in addition to that of this process.
        self._environment: Mapping[str, str] = {}
        self._listener = listener
        self._watcher = watcher
        self._warn = warn
        self._fleet_id = secrets.token_hex(4)
        self._readiness = Readiness()
        self._metrics = MetricFiles(Path(settings.FLEET_STATE_DIR) / "metrics")
        self._serving: list[Lifeline[WorkerProcess]] = []
        self._others: list[WorkerProcess] = []  # that don't serve yet, or are leaving

    @property
    def processes(self) -> list[WorkerProcess]:
        return [*(lifeline.child for lifeline in self._serving), *self._others]

    # --- Starting

    def start(self, number: int, environment: Mapping[str, str], kept: str) -> list[WorkerProcess]:
        """Start so many workers, and return them. They don't serve yet.

        `kept` is where they find what the operator has written, also if one of them is
        started again: the files may be wrong by then.
        """
        self._environment = environment
        self._metrics.begin()
        for _ in range(number):
            self._serving.append(
                Lifeline(self.start_one(kept), time.monotonic(), on_exit=self.clean_up_after)
            )
        return self.processes

    def start_one(self, kept: str) -> WorkerProcess:
        """Start a worker with the lowest free number. Raise EmbeddedError if that is impossible."""
        used = {worker.number for worker in self.processes}
        number = next(number for number in count(1) if number not in used)
        self._metrics.add(number)
        socket_fd, ready_fd = self._listener.fileno(), self._readiness.write_fd
        return WorkerProcess(
            name=f"worker {number}",
            number=number,
            command=[
                *(sys.executable, settings.BASE_DIR / "manage.py", "fleet-worker"),
                *("--fd", str(socket_fd), "--ready-fd", str(ready_fd)),
            ],
            pass_fds=(socket_fd, ready_fd),
            environment={
                **self._environment,
                "FLEET_ID": self._fleet_id,
                "FLEET_KEPT_CONFIG": kept,
                "FLEET_WORKER_NUMBER": str(number),
                # Where prometheus-client keeps a worker's values.
                "PROMETHEUS_MULTIPROC_DIR": str(self._metrics.folder),
            },
            watcher=self._watcher,
            role="worker",
            answers=self._readiness.includes,
            start_timeout=WORKER_START_TIMEOUT,
            quiet=False,
        ).start()

    # --- While the fleet serves

    def check(self) -> None:
        """Start workers again that have ended. Kill those that should have left by now."""
        now = time.monotonic()
        for lifeline in self._serving:
            lifeline.check(now, self._warn)
        for worker in list(self._others):
            if worker.is_running() and now < worker.stop_by:
                continue
            if not worker.wait_or_kill(0):
                self._warn(f"{worker.name} did not leave in time and had to be killed.")
            self._others.remove(worker)
            self.clean_up_after(worker)

    def replace_all(self, pause: Callable[[float], None], kept: str) -> None:
        """Replace the workers one by one. A new one starts beside the old one, which then leaves.

        Raise EmbeddedError if a new one can't start; then the old one goes on. `pause` is called
        while one starts. It may raise, to give up. `kept` is as in `start`.
        """
        for lifeline in self._serving:
            new = self.start_one(kept)
            self._others.append(new)
            try:
                wait_until_answering([new], pause)
            except EmbeddedError:
                new.stop_by = time.monotonic()
                raise
            self._others.remove(new)
            old = lifeline.replace(new, time.monotonic())
            old.stop_by = time.monotonic() + settings.FLEET_SHUTDOWN_GRACE + STOP_TIMEOUT
            # It stops listening, too, so that the other workers get all new connections.
            old.send(signal.SIGHUP)
            self._others.append(old)

    def clean_up_after(self, worker: WorkerProcess) -> None:
        """Let a worker that has ended count no longer in gauges, and give its runs to others."""
        self._readiness.forget(worker)
        self._metrics.forget_gauges(worker.number)
        mark_died(worker_prefix(self._fleet_id, worker.pid))

    # --- Stopping

    def send(self, number: signal.Signals) -> None:
        for worker in self.processes:
            worker.send(number)

    def are_running(self) -> bool:
        return any(worker.is_running() for worker in self.processes)

    def kill(self) -> list[str]:
        """Kill the workers that still run, and return their names."""
        forced = [worker.name for worker in self.processes if not worker.wait_or_kill(0)]
        if any(worker.exit_code for worker in self.processes):
            # Let the next fleet go on with their runs. A worker that has ended in order has none.
            mark_died(fleet_prefix(self._fleet_id)).join(MARK_TIMEOUT)
        return forced


def mark_died(worker_prefix: str) -> Thread:
    """Let other workers take over the runs of processes that have ended. Return the working thread.

    The parent process goes on meanwhile: a database may be unavailable for long.
    """
    thread = Thread(target=store_died, args=(worker_prefix,), daemon=True)
    thread.start()
    return thread


def store_died(worker_prefix: str) -> None:
    try:
        if number := Run.objects.mark_died(worker_prefix):
            logger.info("%d runs of %s* can be taken over", number, worker_prefix)
    except DatabaseProblem as exc:
        logger.warning(
            "runs of %s* can be taken over when their leases expire: %s",
            *(worker_prefix, reason_of(exc)),
        )
    finally:
        # SQLite's lock, and PostgreSQL's slot, must not stay with a process that doesn't use them.
        connection.close()
