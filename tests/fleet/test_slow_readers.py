"""Readers that stop reading, or vanish, neither fill a real worker nor delay other readers."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from typing import Any

import psutil
import pytest
from websockets.frames import CloseCode

from agenticfleet.server import MAX_QUEUED_BYTES, Client
from tests.chatting import chat_request, is_terminal, kinds, text_of
from tests.scripted_model import ScriptedModel
from tests.serving import STOP, Fleet, running, until

from .readers import MB, LiveReader, SlowReader, reset

CHUNK = "0123456789abcdef" * 1024
FLOOD = [CHUNK] * (8 * MB // len(CHUNK))
LONG_FRAME = 500_000  # characters
MAX_INBOX_MEMORY = 30 * MB  # that unread frames of one reader may cost the worker
STUCK = 10  # readers of a flood that read nothing
# What a flood may cost the worker. Its text alone, in its several forms, takes two thirds of that.
MAX_MEMORY = 60 * MB
MAX_DELAY = 0.1  # seconds by which events may reach other readers later
TRIES = 3  # A worker that is held up fails each of them; a busy machine doesn't.
DROPPED_AFTER = 10, 20  # seconds without reading, at least and at most
CUT_AFTER = 4, 15  # seconds from then until the connection is cut, at least and at most
CLEANUP_TIMEOUT = 30  # seconds until the worker has released everything of vanished readers
SAMPLES = 5
MAX_STOP_TIME = 10  # seconds, with no grace for runs
VANISHING = 200  # readers
SPARE = 10  # descriptors that the worker opens for its database when many readers connect at once

TASK_COUNTER = """
import asyncio, os, pathlib, signal
def count(*_):
    from agenticfleet.server import loop
    pathlib.Path(os.environ["TASK_COUNT"]).write_text(str(len(asyncio.all_tasks(loop))))
signal.signal(signal.SIGUSR1, count)
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Fleet]:
    """Start a worker that logs at level info, and writes its number of tasks on SIGUSR1."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "sitecustomize.py").write_text(TASK_COUNTER)
    environment = {
        "PYTHONPATH": str(folder),
        "TASK_COUNT": str(folder / "tasks"),
        "FLEET_LOG_LEVEL": "info",
        "FLEET_HEARTBEAT": "0.2",
        "FLEET_SHUTDOWN_GRACE": "0",
    }
    with running(folder, model_server, "--workers", "1", **environment) as fleet:
        yield fleet


def worker_of(fleet: Fleet) -> psutil.Process:
    [worker] = fleet.children("fleet-worker")
    return worker


def drops(fleet: Fleet) -> list[float]:
    """Return when the worker dropped readers, from its log, as time.time() counts."""
    lines = [line for line in fleet.complained.splitlines() if "a reader has taken nothing" in line]
    return [
        datetime.strptime(" ".join(line.split()[:2]), "%Y-%m-%d %H:%M:%S,%f").timestamp()
        for line in lines
    ]


def tasks_of(fleet: Fleet) -> int:
    file = fleet.folder / "tasks"
    file.unlink(missing_ok=True)
    worker_of(fleet).send_signal(signal.SIGUSR1)
    return int(
        until(
            lambda: file.exists() and file.read_text(), STOP, "the worker doesn't count its tasks"
        )
    )


def least_tasks_of(fleet: Fleet) -> int:
    """Return the number of tasks without those that exist only for a moment."""
    return min(tasks_of(fleet) for _ in range(SAMPLES))


def connected(fleet: Fleet, readers: list[SlowReader]) -> list[SlowReader]:
    """Return those readers whose connection the worker still has open."""
    ports = {found.raddr.port for found in worker_of(fleet).net_connections() if found.raddr}
    return [reader for reader in readers if reader.port in ports]


class Flood:
    """A long answer with three kinds of readers: a live one, stuck ones, and a slow one.

    What happens to them is noted at once, because the test that needs it may run later.
    """

    def __init__(self, fleet: Fleet, model: ScriptedModel, stack: ExitStack) -> None:
        model.on("Flood us, please.", tokens=FLOOD, first_after=1, hold_after=len(FLOOD))
        self.request = chat_request("Flood us, please.")
        self.close_code: int | None = None  # of stuck[0], which reads again once it is dropped
        self.first_cut_at = self.all_cut_at = 0.0
        self._fleet = fleet
        worker = worker_of(fleet)
        self.tasks = least_tasks_of(fleet)
        before = worker.memory_info().rss
        self.stuck = [
            stack.enter_context(closing(SlowReader(fleet, self.request))) for _ in range(STUCK)
        ]
        self.began = time.time()
        self.slow = stack.enter_context(closing(SlowReader(fleet, self.request)))
        self._is_over = threading.Event()
        self._trickle = threading.Thread(target=self._read_slowly)
        self._trickle.start()
        stack.callback(self._stop_trickle)
        self.live = LiveReader(fleet, self.request)
        self.live.wait_for(len(FLOOD) * len(CHUNK))
        self.cost = worker.memory_info().rss - before
        # A stuck reader must be dropped in time even if it sends something.
        self.stuck[1].send_close()
        self.stuck[2].send({"type": "nonsense"})
        model.release()
        self.live.wait()

    def read_to_the_terminal(self) -> None:
        """Let the slow reader read the rest at once."""
        self._stop_trickle()
        self.slow.read_to_the_terminal()

    def _stop_trickle(self) -> None:
        self._is_over.set()
        self._trickle.join()

    def _read_slowly(self) -> None:
        while not self._is_over.wait(0.5):
            self.slow.read(1024)
            if self.close_code is None and len(drops(self._fleet)) >= STUCK:
                self.close_code = self.stuck[0].read_to_the_end() or 0
            left, others = connected(self._fleet, self.stuck), self.stuck[1:]
            if not self.first_cut_at and any(reader not in left for reader in others):
                self.first_cut_at = time.time()
            if not self.all_cut_at and not any(reader in left for reader in others):
                self.all_cut_at = time.time()


@pytest.fixture(scope="module")
def flood(fleet: Fleet, model_server: ScriptedModel) -> Iterator[Flood]:
    with ExitStack() as stack:
        yield Flood(fleet, model_server, stack)


def delay_of_live_readers(fleet: Fleet) -> float:
    """Return the 95th percentile of the delay of deltas while other readers are stuck.

    One live reader shares the run with the stuck ones; the other reads another run.
    """
    request = chat_request("This one, please.")
    with ExitStack() as stack:
        for _ in range(STUCK):
            stack.enter_context(closing(SlowReader(fleet, request)))
        readers = [
            LiveReader(fleet, request),
            LiveReader(fleet, chat_request("Another one, please.")),
        ]
        for reader in readers:
            reader.wait()
        return max(sorted(reader.delays)[-len(reader.delays) // 20] for reader in readers)


class TestStuckReaders:
    """These tests share one flood and run in this order, so that its waits happen only once."""

    def test_stuck_readers_cost_the_worker_little_memory(self, flood: Flood) -> None:
        assert flood.cost < MAX_MEMORY

    def test_live_reader_gets_the_whole_answer(self, flood: Flood) -> None:
        assert text_of(flood.live.events) == "".join(FLOOD)

    def test_live_readers_get_events_without_delay(
        self, fleet: Fleet, model: ScriptedModel
    ) -> None:
        pace: dict[str, Any] = {"first_after": 0.3, "pace": 0.02}
        model.on("This one, please.", tokens=[CHUNK] * 100, **pace)
        model.on("Another one, please.", tokens=["word "] * 100, **pace)
        assert any(delay_of_live_readers(fleet) < MAX_DELAY for _ in range(TRIES))

    def test_stuck_reader_can_cancel(self, fleet: Fleet, model: ScriptedModel) -> None:
        model.on("Too much, please.", tokens=FLOOD, first_after=0.3, hang_after=100)
        request = chat_request("Too much, please.")
        with closing(SlowReader(fleet, request)) as stuck:
            live = LiveReader(fleet, request)
            live.wait_for(100 * len(CHUNK))
            stuck.send({"type": "cancel"})
            assert live.wait()[-1]["data"]["status"] == "cancelled"

    def test_stuck_readers_are_dropped_in_time(self, fleet: Fleet, flood: Flood) -> None:
        earliest, latest = DROPPED_AFTER
        until(lambda: len(drops(fleet)) >= STUCK, latest, "not all are dropped")
        first, *_, last = drops(fleet)[:STUCK]
        assert earliest < first - flood.began <= last - flood.began < latest

    def test_dropped_reader_that_reads_again_gets_try_again_later(self, flood: Flood) -> None:
        until(lambda: flood.close_code is not None, STOP, "it isn't closed")
        assert flood.close_code == CloseCode.TRY_AGAIN_LATER

    def test_dropped_reader_can_rejoin_without_losing_text(
        self, fleet: Fleet, flood: Flood
    ) -> None:
        seen = flood.stuck[0].events
        rest = LiveReader(fleet, {**flood.request, "after": seen[-1]["seq"]}).wait()
        assert text_of([*seen, *rest]) == "".join(FLOOD)

    def test_dropped_readers_that_read_nothing_are_cut_off(
        self, fleet: Fleet, flood: Flood
    ) -> None:
        earliest, latest = CUT_AFTER
        until(lambda: flood.all_cut_at, latest, "connections are left")
        first, *_, last = drops(fleet)[:STUCK]
        assert flood.first_cut_at - first > earliest
        assert flood.all_cut_at - last < latest
        assert all(reader.read_to_the_end() is None for reader in flood.stuck[1:])

    def test_slow_reader_is_not_dropped(self, fleet: Fleet, flood: Flood) -> None:
        assert connected(fleet, [flood.slow])
        flood.read_to_the_terminal()
        assert text_of(flood.slow.events) == "".join(FLOOD)
        assert len(drops(fleet)) == STUCK

    def test_slow_reader_gets_heartbeats_in_their_places(self, flood: Flood) -> None:
        assert "heartbeat" in kinds(flood.slow.events)
        seqs = [event["seq"] for event in flood.slow.events]
        assert seqs == sorted(seqs)

    def test_no_tasks_are_left_after_the_flood(self, fleet: Fleet, flood: Flood) -> None:
        flood.slow.close()
        until(lambda: tasks_of(fleet) <= flood.tasks, CLEANUP_TIMEOUT, "tasks are left")


def test_vanished_readers_leave_no_sockets_and_no_tasks(fleet: Fleet, model: ScriptedModel) -> None:
    model.on("Wait, please.", tokens=FLOOD, hold_after=20)
    request = chat_request("Wait, please.")
    live = LiveReader(fleet, request)
    live.wait_for(20 * len(CHUNK))
    worker = worker_of(fleet)
    tasks = least_tasks_of(fleet)
    sockets = worker.num_fds()
    with ExitStack() as stack:
        readers = [
            stack.enter_context(closing(SlowReader(fleet, request))) for _ in range(VANISHING)
        ]
        assert worker.num_fds() >= sockets + VANISHING
        assert tasks_of(fleet) >= tasks + VANISHING
        for reader in readers:
            # The notice about this frame waits for the reader, like the answer.
            reader.send({"type": "nonsense"})
        for number, reader in enumerate(readers):
            reader.reset() if number % 2 else reader.half_close()
        until(lambda: worker.num_fds() <= sockets + SPARE, CLEANUP_TIMEOUT, "sockets are left")
        until(lambda: tasks_of(fleet) <= tasks, CLEANUP_TIMEOUT, "tasks are left")
    model.release()
    live.wait()


def test_requests_that_are_reset_leave_no_sockets(fleet: Fleet) -> None:
    worker = worker_of(fleet)
    sockets = worker.num_fds()
    for _ in range(VANISHING):
        with socket.create_connection(("127.0.0.1", fleet.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n")
            reset(client)
    until(lambda: worker.num_fds() <= sockets + SPARE, CLEANUP_TIMEOUT, "sockets are left")


def test_frames_of_a_stuck_reader_cost_the_worker_little_memory(
    fleet: Fleet, model: ScriptedModel
) -> None:
    tokens = FLOOD[: 2 * MB // len(CHUNK)]
    model.on("You speak, please.", tokens=tokens, hold_after=len(tokens))
    request = chat_request("You speak, please.")
    with closing(SlowReader(fleet, request)) as stuck:
        live = LiveReader(fleet, request)
        live.wait_for(len(tokens) * len(CHUNK))
        worker = worker_of(fleet)
        before = worker.memory_info().rss
        for _ in range(3 * MAX_INBOX_MEMORY // LONG_FRAME):
            stuck.send({"nonsense": "x" * LONG_FRAME})
        assert worker.memory_info().rss - before < MAX_INBOX_MEMORY
        model.release()
        live.wait()


def test_frames_beyond_the_limit_of_queued_bytes_are_dropped() -> None:
    client = Client()
    client.client_addr = None
    client.application_queue = asyncio.Queue()
    for _ in range(100):
        client.onMessage(b"x" * MB, False)
    kept = client.application_queue.qsize()
    assert 0 < kept <= MAX_QUEUED_BYTES / MB
    while not client.application_queue.empty():
        client.application_queue.get_nowait()
    client.onMessage(b"{}", False)
    assert client.application_queue.qsize() == 1


def test_stuck_readers_do_not_delay_the_shutdown(fleet: Fleet, model: ScriptedModel) -> None:
    """Keep this test last: it stops the shared fleet, and then checks the log of all tests."""
    model.on("For ever, please.", tokens=FLOOD, hang_after=100)
    request = chat_request("For ever, please.")
    with (
        closing(SlowReader(fleet, request)),
        socket.create_connection(("127.0.0.1", fleet.port)) as half_a_request,
    ):
        half_a_request.sendall(b"GET / HTTP/1.1\r\n")
        live = LiveReader(fleet, request)
        live.wait_for(100 * len(CHUNK))
        began = time.monotonic()
        assert fleet.stop() == 0
        assert time.monotonic() - began < MAX_STOP_TIME
        # The answer goes on at the next start.
        assert not is_terminal(live.until_closed()[-1])
    harmless = (" INFO ", " WARNING ")
    assert [
        line
        for line in fleet.complained.splitlines()
        if not any(level in line for level in harmless)
    ] == []
