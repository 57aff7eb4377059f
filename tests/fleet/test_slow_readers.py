"""Readers that stop reading, or vanish, against a real worker: it neither fills up nor waits for them, and nobody else notices."""

import asyncio
import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from typing import Any

import psutil
import pytest
from websockets.client import ClientProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.sync.client import connect
from websockets.uri import parse_uri

from agenticfleet.server import MAX_QUEUED_BYTES, Client
from tests.chatting import Event, chat_request, is_terminal, kinds, text_of
from tests.scripted_model import ScriptedModel
from tests.serving import STOP, Fleet, running, until

MB = 2**20
CHUNK = "0123456789abcdef" * 1024
FLOOD = [CHUNK] * (8 * MB // len(CHUNK))
LONG_FRAME = 500_000  # characters
MAX_INBOX_MEMORY = 30 * MB  # that frames of a reader which takes nothing may cost the worker
STUCK = 10  # readers of a flood that take nothing
# That a flood may cost the worker; its text alone, in its several forms, is two thirds of that.
MAX_MEMORY = 60 * MB
MAX_DELAY = 0.1  # seconds by which others may get an event later
TRIES = 3  # a worker that is held up is so every time; a busy machine is not
# Seconds after which a reader that takes nothing is dropped: not before, and not much later.
DROPPED = (
    10,
    20,
)
CUT = 4, 15  # seconds after that when its connection is cut
GONE = 30  # seconds in which the worker has forgotten readers that went
SAMPLES = 5
MAX_STOP_TIME = 10  # seconds, with no grace for runs
VANISHING = 200  # readers
SPARE = 10  # descriptors that the worker opens for its database when many come at once

TASK_COUNTER = """
import asyncio, os, pathlib, signal
def tell(*_):
    from agenticfleet.server import loop
    pathlib.Path(os.environ["TASK_COUNT"]).write_text(str(len(asyncio.all_tasks(loop))))
signal.signal(signal.SIGUSR1, tell)
"""


def reset(client: socket.socket) -> None:
    """Close the socket so that the other side gets an error, right behind what was sent."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


class SlowReader:
    """A WebSocket that reads when the test says so, and whose kernel takes as little as it can for it."""

    def __init__(self, fleet: Fleet, request: Event) -> None:
        self.events: list[Event] = []
        self._message = b""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(STOP)
        self._socket.connect(("127.0.0.1", fleet.port))
        self.port: int = self._socket.getsockname()[1]
        self._protocol = ClientProtocol(
            parse_uri(f"ws://127.0.0.1:{fleet.port}/ws/chat/"), max_size=None
        )
        self._protocol.send_request(self._protocol.connect())
        self._flush()
        while self._protocol.state is State.CONNECTING:
            self.take(1024)
        self.send(request)

    def send(self, frame: Event) -> None:
        self._protocol.send_text(json.dumps(frame).encode())
        self._flush()

    def take(self, size: int) -> bool:
        """Read once; False at the end, also where the server cut the connection."""
        data = b""
        with suppress(ConnectionResetError):
            data = self._socket.recv(size)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for frame in self._protocol.events_received():
            if isinstance(frame, Frame) and frame.opcode in (Opcode.TEXT, Opcode.CONT):
                self._message += frame.data
                if frame.fin:
                    self.events.append(json.loads(self._message))
                    self._message = b""
        self._flush()
        return bool(data)

    def take_everything(self) -> int | None:
        """Read to the end of the connection; the code of the close frame, if there was one."""
        while self.take(MB):
            pass
        return self._protocol.close_rcvd.code if self._protocol.close_rcvd else None

    def hurry(self) -> None:
        """Read the rest of the answer as fast as anybody."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MB)
        while not (self.events and is_terminal(self.events[-1])):
            assert self.take(MB)

    def reset(self) -> None:
        """End the connection without a close frame."""
        reset(self._socket)

    def say_good_bye(self) -> None:
        """Send a close frame, and do not take the answer to it."""
        self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
        self._flush()

    def half_close(self) -> None:
        """Say that nothing more comes, without a close frame, and stay."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)


class Live:
    """A reader that keeps up, in a thread, and notes how late each piece of the answer is."""

    def __init__(self, fleet: Fleet, request: Event) -> None:
        self.events: list[Event] = []
        self.delays: list[float] = []
        self._has = 0  # characters of the answer
        self._address = f"ws://127.0.0.1:{fleet.port}/ws/chat/"
        self._request = request
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def wait_for(self, chunks: int) -> None:
        """Until it has this much of the answer."""
        until(lambda: self._has >= chunks * len(CHUNK), STOP, "the live reader gets nothing")

    def wait(self) -> list[Event]:
        """Its events to the ending."""
        self._thread.join(STOP)
        assert not self._thread.is_alive()
        assert is_terminal(self.events[-1])
        return self.events

    def _read(self) -> None:
        with connect(self._address, max_size=None) as client:
            client.send(json.dumps(self._request))
            while not self.events or not is_terminal(self.events[-1]):
                event = json.loads(client.recv(timeout=STOP))
                self.events.append(event)
                if event["type"] == "response.snapshot":
                    self._has = len(event["data"]["text"])
                elif event["type"] == "response.delta":
                    self._has += len(event["delta"])
                    made = datetime.fromisoformat(event["timestamp"])
                    self.delays.append((datetime.now(UTC) - made).total_seconds())


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Fleet]:
    """One worker, which says what it does, and on SIGUSR1 how many tasks it has."""
    folder = tmp_path_factory.mktemp("fleet")
    (folder / "sitecustomize.py").write_text(TASK_COUNTER)
    environment = {
        "PYTHONPATH": str(folder),
        "TASK_COUNT": str(folder / "tasks"),
        "FLEET_LOG_LEVEL": "info",
        "FLEET_HEARTBEAT": "0.2",
        "FLEET_MAX_RUNS_PER_OWNER": "20",
        "FLEET_SHUTDOWN_GRACE": "0",
    }
    with running(folder, model_server, "--workers", "1", **environment) as fleet:
        yield fleet


def worker_of(fleet: Fleet) -> psutil.Process:
    [worker] = fleet.children("fleet-worker")
    return worker


def drops(fleet: Fleet) -> list[float]:
    """When readers were dropped, as time.time() and as the worker says."""
    said = [line for line in fleet.complained.splitlines() if "a reader has taken nothing" in line]
    return [
        datetime.strptime(" ".join(line.split()[:2]), "%Y-%m-%d %H:%M:%S,%f").timestamp()
        for line in said
    ]


def tasks_of(fleet: Fleet) -> int:
    file = fleet.folder / "tasks"
    file.unlink(missing_ok=True)
    worker_of(fleet).send_signal(signal.SIGUSR1)
    return int(
        until(
            lambda: file.exists() and file.read_text(), STOP, "the worker does not tell its tasks"
        )
    )


def least_tasks_of(fleet: Fleet) -> int:
    """Without those that come and go by themselves."""
    return min(tasks_of(fleet) for _ in range(SAMPLES))


def connected(fleet: Fleet, readers: list[SlowReader]) -> list[SlowReader]:
    """Those of whose connections the worker still has its end."""
    ports = {found.raddr.port for found in worker_of(fleet).net_connections() if found.raddr}
    return [reader for reader in readers if reader.port in ports]


class Flood:
    """A long answer: a live reader has all of it, others take nothing, and one takes a little at a time.

    What becomes of them is noted when it happens: a test may come late to see it.
    """

    def __init__(self, fleet: Fleet, model: ScriptedModel, stack: ExitStack) -> None:
        model.on("Flood us, please.", tokens=FLOOD, first_after=1, hold_after=len(FLOOD))
        self.request = chat_request("Flood us, please.")
        self.told: int | None = None  # with which code one was dropped that reads again when it is
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
        self._trickle = threading.Thread(target=self._take_slowly)
        self._trickle.start()
        stack.callback(self._stop_trickle)
        self.live = Live(fleet, self.request)
        self.live.wait_for(len(FLOOD))
        self.cost = worker.memory_info().rss - before
        # Neither of these two changes anything.
        self.stuck[1].say_good_bye()
        self.stuck[2].send({"type": "nonsense"})
        model.release()
        self.live.wait()

    def hurry(self) -> None:
        """Let the slow reader take the rest at once."""
        self._stop_trickle()
        self.slow.hurry()

    def _stop_trickle(self) -> None:
        self._is_over.set()
        self._trickle.join()

    def _take_slowly(self) -> None:
        while not self._is_over.wait(0.5):
            self.slow.take(1024)
            if self.told is None and len(drops(self._fleet)) >= STUCK:
                self.told = self.stuck[0].take_everything() or 0
            left, others = connected(self._fleet, self.stuck), self.stuck[1:]
            if not self.first_cut_at and any(reader not in left for reader in others):
                self.first_cut_at = time.time()
            if not self.all_cut_at and not any(reader in left for reader in others):
                self.all_cut_at = time.time()


@pytest.fixture(scope="module")
def flood(fleet: Fleet, model_server: ScriptedModel) -> Iterator[Flood]:
    with ExitStack() as stack:
        yield Flood(fleet, model_server, stack)


def late_by(fleet: Fleet) -> float:
    """How late all but a few pieces come to readers, of this answer and of another, while some others of it take nothing."""
    request = chat_request("This one, please.")
    with ExitStack() as stack:
        for _ in range(STUCK):
            stack.enter_context(closing(SlowReader(fleet, request)))
        readers = [Live(fleet, request), Live(fleet, chat_request("Another one, please."))]
        for reader in readers:
            reader.wait()
        # A few our own machine may hold up.
        return max(sorted(reader.delays)[-len(reader.delays) // 20] for reader in readers)


class TestReadersThatStop:
    """In this order they share one flood, and wait only once for what takes its time."""

    def test_they_do_not_fill_the_worker(self, flood: Flood) -> None:
        assert flood.cost < MAX_MEMORY

    def test_the_others_get_everything(self, flood: Flood) -> None:
        assert text_of(flood.live.events) == "".join(FLOOD)

    def test_the_others_get_it_in_time(self, fleet: Fleet, model: ScriptedModel) -> None:
        pace: dict[str, Any] = {"first_after": 0.3, "pace": 0.02}
        model.on("This one, please.", tokens=[CHUNK] * 100, **pace)
        model.on("Another one, please.", tokens=["word "] * 100, **pace)
        assert any(late_by(fleet) < MAX_DELAY for _ in range(TRIES))

    def test_they_can_still_cancel(self, fleet: Fleet, model: ScriptedModel) -> None:
        model.on("Too much, please.", tokens=FLOOD, first_after=0.3, hang_after=100)
        request = chat_request("Too much, please.")
        with closing(SlowReader(fleet, request)) as stuck:
            live = Live(fleet, request)
            live.wait_for(100)
            stuck.send({"type": "cancel"})
            assert live.wait()[-1]["data"]["status"] == "cancelled"

    def test_they_are_dropped(self, fleet: Fleet, flood: Flood) -> None:
        earliest, latest = DROPPED
        until(lambda: len(drops(fleet)) >= STUCK, latest, "not all are dropped")
        first, *_, last = drops(fleet)[:STUCK]
        assert earliest < first - flood.began <= last - flood.began < latest

    def test_one_that_reads_again_is_told_to_come_back(self, flood: Flood) -> None:
        until(lambda: flood.told is not None, STOP, "it is told nothing")
        assert flood.told == CloseCode.TRY_AGAIN_LATER

    def test_it_comes_back_and_has_the_whole_answer(self, fleet: Fleet, flood: Flood) -> None:
        seen = flood.stuck[0].events
        rest = Live(fleet, {**flood.request, "after": seen[-1]["seq"]}).wait()
        assert text_of([*seen, *rest]) == "".join(FLOOD)

    def test_the_others_are_cut(self, fleet: Fleet, flood: Flood) -> None:
        earliest, latest = CUT
        until(lambda: flood.all_cut_at, latest, "connections are left")
        first, *_, last = drops(fleet)[:STUCK]
        assert flood.first_cut_at - first > earliest
        assert flood.all_cut_at - last < latest
        assert all(reader.take_everything() is None for reader in flood.stuck[1:])

    def test_one_that_reads_slowly_is_not_dropped(self, fleet: Fleet, flood: Flood) -> None:
        assert connected(fleet, [flood.slow])
        flood.hurry()
        assert text_of(flood.slow.events) == "".join(FLOOD)
        assert len(drops(fleet)) == STUCK

    def test_its_heartbeats_stand_where_they_were_sent(self, flood: Flood) -> None:
        assert "heartbeat" in kinds(flood.slow.events)
        seqs = [event["seq"] for event in flood.slow.events]
        assert seqs == sorted(seqs)

    def test_nothing_of_them_is_left(self, fleet: Fleet, flood: Flood) -> None:
        flood.slow.close()
        until(lambda: tasks_of(fleet) <= flood.tasks, GONE, "tasks are left")


def test_readers_that_vanish_leave_nothing_behind(fleet: Fleet, model: ScriptedModel) -> None:
    model.on("Wait, please.", tokens=FLOOD, hold_after=20)
    request = chat_request("Wait, please.")
    live = Live(fleet, request)
    live.wait_for(20)
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
            # The answer to this has to wait too.
            reader.send({"type": "nonsense"})
        for number, reader in enumerate(readers):
            reader.reset() if number % 2 else reader.half_close()
        until(lambda: worker.num_fds() <= sockets + SPARE, GONE, "sockets are left")
        until(lambda: tasks_of(fleet) <= tasks, GONE, "tasks are left")
    model.release()
    live.wait()


def test_requests_that_are_reset_leave_nothing_behind(fleet: Fleet) -> None:
    worker = worker_of(fleet)
    sockets = worker.num_fds()
    for _ in range(VANISHING):
        with socket.create_connection(("127.0.0.1", fleet.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n")
            reset(client)
    until(lambda: worker.num_fds() <= sockets + SPARE, GONE, "sockets are left")


def test_what_they_send_does_not_fill_the_worker(fleet: Fleet, model: ScriptedModel) -> None:
    model.on(
        "You speak, please.", tokens=FLOOD[: 2 * MB // len(CHUNK)], hold_after=2 * MB // len(CHUNK)
    )
    request = chat_request("You speak, please.")
    with closing(SlowReader(fleet, request)) as stuck:
        live = Live(fleet, request)
        live.wait_for(2 * MB // len(CHUNK))
        worker = worker_of(fleet)
        before = worker.memory_info().rss
        for _ in range(3 * MAX_INBOX_MEMORY // LONG_FRAME):
            stuck.send({"nonsense": "x" * LONG_FRAME})
        assert worker.memory_info().rss - before < MAX_INBOX_MEMORY
        model.release()
        live.wait()


def test_frames_that_come_faster_than_they_are_handled_are_dropped() -> None:
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


def test_they_do_not_hold_up_the_end(fleet: Fleet, model: ScriptedModel) -> None:
    """The last one, for it ends the fleet, and then reads all that its worker complained of."""
    model.on("For ever, please.", tokens=FLOOD, hang_after=100)
    request = chat_request("For ever, please.")
    with (
        closing(SlowReader(fleet, request)),
        socket.create_connection(("127.0.0.1", fleet.port)) as half_a_request,
    ):
        half_a_request.sendall(b"GET / HTTP/1.1\r\n")
        live = Live(fleet, request)
        live.wait_for(100)
        began = time.monotonic()
        assert fleet.stop() == 0
        assert time.monotonic() - began < MAX_STOP_TIME
        assert live.wait()[-1]["error"]["code"] == "shutting_down"
    said = (" INFO ", " WARNING ")
    assert [
        line for line in fleet.complained.splitlines() if not any(word in line for word in said)
    ] == []
