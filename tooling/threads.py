"""The threads in which tools run that are plain functions, so that they never block the event loop.

They are daemon threads: one that hangs doesn't keep the process from ending. Python can't end it
otherwise.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from django.db import DatabaseError, connections

from .awaiting import Escaped

IDLE_SECONDS = 10.0  # after which a thread ends
MAX_AT_ONCE = 32  # calls of one tool in a process; others wait for their turn
MAX_STUCK = 8  # calls of one tool that are beyond its time limit; then it is closed

type Job = Callable[[], None]

_lock = threading.Lock()
_idle: list[SimpleQueue[Job]] = []


def begin(job: Job) -> None:
    """Do the job in a thread that is idle, or in a new one."""
    with _lock:
        jobs = _idle.pop() if _idle else None
    if jobs is None:
        jobs = SimpleQueue()
        threading.Thread(target=serve, args=(jobs,), name="tool", daemon=True).start()
    jobs.put(job)


def serve(jobs: SimpleQueue[Job]) -> None:
    """Do one job after another, until there is none for a while."""
    while True:
        try:
            job = jobs.get(timeout=IDLE_SECONDS)
        except Empty:
            with _lock:
                if jobs not in _idle:
                    continue  # `begin` has just chosen this thread
                _idle.remove(jobs)
            return
        job()
        del job  # with the result, which may be large
        with _lock:
            _idle.append(jobs)


@dataclass(slots=True, eq=False, repr=False)  # its result may have megabytes
class Work:
    """One call of a plain function."""

    call: Callable[[], Any]
    limit: float  # seconds
    context: Context = field(default_factory=copy_context)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    ended: "asyncio.Future[None]" = field(init=False)
    result: Any = None
    failure: BaseException | None = None
    is_left: bool = False  # nothing waits for it any more
    late_at: float = 0  # when it is beyond its time limit

    def __post_init__(self) -> None:
        self.ended = self.loop.create_future()
        self.late_at = time.monotonic() + self.limit

    def do(self) -> None:
        try:
            self.result = self.context.run(self.call)
        except BaseException as exc:  # noqa: BLE001 - raised again where the call is awaited
            self.failure = exc
        # The thread's own: kept open, they would pile up.
        for connection in connections.all(initialized_only=True):
            with suppress(DatabaseError):
                connection.close()
        with suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self.end)

    def end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class Lane:
    """The calls of one plain function in this process: at most so many at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work: set[Work] = set()
        self._waiting: deque[Work] = deque()

    @property
    def stuck(self) -> int:
        """How many calls go on beyond their time limit, with nothing that waits for them."""
        now = time.monotonic()
        with self._lock:
            return sum(work.is_left and now >= work.late_at for work in self._at_work)

    @property
    def left(self) -> int:
        """How many calls go on with nothing that waits for them."""
        with self._lock:
            return sum(work.is_left for work in self._at_work)

    async def run[T](self, call: Callable[[], T], *, limit: float) -> T:
        """Return or raise what the call does in a thread; Escaped for what isn't an Exception.

        If the caller is cancelled, as after `limit` seconds, the thread goes on.
        """
        work = Work(call, limit)
        with self._lock:
            has_room = len(self._at_work) < MAX_AT_ONCE
            (self._at_work.add if has_room else self._waiting.append)(work)
        if has_room:
            begin(lambda: self.do(work))
        try:
            await work.ended
        finally:
            self.leave(work)
        if isinstance(work.failure, Exception):
            raise work.failure
        if work.failure is not None:
            raise Escaped(work.failure) from work.failure
        result: T = work.result
        return result

    def leave(self, work: Work) -> None:
        with self._lock:
            work.is_left = True
            if work in self._waiting:
                self._waiting.remove(work)

    def do(self, first: Work) -> None:
        work: Work | None = first
        while work is not None:
            work.do()
            with self._lock:
                self._at_work.discard(work)
                work = self._waiting.popleft() if self._waiting else None
                if work is not None:
                    self._at_work.add(work)
