"""Streams of programs over HTTP, from a real fleet: slow readers, faults, the end of workers."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import psutil
import pytest

from tests.scripted_model import ScriptedModel
from tests.serving import STOP, Fleet, running, until

from .streams import COMPLETIONS, StreamReader, completion, streaming

FEW, SLOW = 20, 200  # readers at once; the few make what a worker makes once
MAX_MEMORY = 64 * 1024  # bytes that each of them may cost the worker
CHUNK = "0123456789abcdef" * 64
FLOOD = [CHUNK] * 300
PACE = 0.015  # seconds, so that all readers keep up until they have no room
DROPPED_AFTER = 25  # seconds, at most

# A rendering that fails at a word: a bug, as far as the fleet can know.
FAULT = """
import sys
class Fault:
    def find_spec(self, name, path=None, target=None):
        if name == "chat.doors.routes":
            sys.meta_path.remove(self)
            from chat.doors.openai.chunks import Chunks
            events = Chunks.events
            def failing(self, batch):
                if any("break" in str(getattr(each.event, "delta", "")) for each in batch):
                    raise ZeroDivisionError("a fault of this test")
                return events(self, batch)
            Chunks.events = failing
sys.meta_path.insert(0, Fault())
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Fleet]:
    environment = {"FLEET_LOG_LEVEL": "info", "FLEET_HEARTBEAT": "0.2"}
    folder = tmp_path_factory.mktemp("fleet")
    with running(folder, model_server, "--workers", "1", **environment) as fleet:
        yield fleet


def worker_of(fleet: Fleet) -> psutil.Process:
    [worker] = fleet.children("fleet-worker")
    return worker


def memory_after(fleet: Fleet, model: ScriptedModel, question: str, readers: int) -> int:
    """Let so many readers take nothing of a long answer, and one all.

    Return the memory of the worker when the answer has ended. Check that all others are cut, if
    there are more than a few.
    """
    model.on(question, tokens=["Begin. ", *FLOOD], hold_after=1, pace=PACE)
    key = {"Idempotency_Key": question}
    with ExitStack() as stack, streaming(fleet, question, **key) as live:
        live.until(b"Begin. ")
        slow = [
            stack.enter_context(streaming(fleet, question, buffer=4096, **key))
            for _ in range(readers)
        ]
        for reader in slow:
            reader.until(b"Begin. ")
        model.release()
        live.rest()
        assert live.text == "Begin. " + "".join(FLOOD)
        memory = int(worker_of(fleet).memory_info().rss)
        if readers > FEW:
            until(lambda: drops(fleet) == readers, DROPPED_AFTER, "not all are dropped")
            for reader in slow:
                reader.rest()
                # A clean end would pass for the end of the answer.
                assert not reader.is_whole
                assert reader.finish is None
    return memory


def drops(fleet: Fleet) -> int:
    return fleet.complained.count("a reader has taken nothing")


def test_slow_readers_cost_little_memory_and_are_cut(fleet: Fleet, model: ScriptedModel) -> None:
    before = memory_after(fleet, model, "Flood a few, please.", FEW)
    cost = memory_after(fleet, model, "Flood many, please.", SLOW) - before
    assert cost < SLOW * MAX_MEMORY, f"{cost / SLOW:.0f} bytes each"


def test_open_stream_keeps_no_file_of_its_body(fleet: Fleet, model: ScriptedModel) -> None:
    model.on("Long, please.", tokens=["One", " two"], hold_after=1)
    told = [("user", "x" * 150_000), ("assistant", "Go on."), ("user", "Long, please.")]
    messages = [{"role": role, "content": content} for role, content in told]
    with closing(StreamReader(fleet)) as reader:
        reader.send(completion("", messages=messages))
        reader.until(b"One")
        # Twisted keeps a body of this size in a file without a name.
        files = Path(f"/proc/{worker_of(fleet).pid}/fd").iterdir()
        assert not [file for file in files if str(file.readlink()).endswith("(deleted)")]
        model.release()
        reader.rest()
        assert reader.text == "One two"


def test_answer_says_once_what_it_is_and_what_is_left(
    tmp_path: Path, fleet: Fleet, model: ScriptedModel
) -> None:
    with streaming(fleet, "Who are you?", X_Request_Id="seen-by-a-proxy") as reader:
        status, head = reader.head()
        reader.rest()
    assert (status, reader.finish) == (200, "stop")
    lines = reader.data.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    names = [line.partition(b":")[0] for line in lines[1:]]
    assert sorted(names) == sorted(set(names))
    assert head["x-request-id"] == "seen-by-a-proxy"
    assert head["x-accel-buffering"] == "no"
    run = head["fleet-run"]
    # One line for the stream, when it has ended, with its run.
    line = until(
        lambda: [
            line
            for line in fleet.complained.splitlines()
            if "POST /v1/chat/completions 200" in line and run in line
        ],
        STOP,
        "the log has no line of the stream",
    )
    assert len(line) == 1


def test_open_streams_are_counted(fleet: Fleet, model: ScriptedModel) -> None:
    model.on("Count me.", tokens=["One"], hold_after=1)

    def is_open(number: int) -> bool:
        metrics = httpx.get(f"{fleet.address}metrics").text
        return f'fleet_streams_open{{path="{COMPLETIONS}"}} {number}.0' in metrics

    with streaming(fleet, "Count me.") as reader:
        reader.until(b"One")
        until(lambda: is_open(1), STOP, "the stream isn't counted")
        model.release()
        reader.rest()
    until(lambda: is_open(0), STOP, "the stream is counted for ever")


def test_reader_that_leaves_ends_its_run(fleet: Fleet, model: ScriptedModel) -> None:
    model.on("Leave me.", tokens=["One", " two"], hold_after=1)
    with streaming(fleet, "Leave me.") as reader:
        reader.until(b"One")
    [call] = [call for call in model.calls if "Leave me." in str(call.body)]
    until(lambda: call.ended_at, STOP, "the model is read for nobody")
    model.release()


def test_fault_of_a_rendering_cuts_its_own_stream_alone(
    tmp_path: Path, model: ScriptedModel
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAULT)
    with running(
        tmp_path, model, "--workers", "1", PYTHONPATH=str(tmp_path), FLEET_HEARTBEAT="0.2"
    ) as fleet:
        model.on("Break, please.", tokens=["One ", "break ", "three"], hold_after=1)
        model.on("Go on, please.", tokens=["One ", "two ", "three"], hold_after=1)
        with (
            streaming(fleet, "Go on, please.") as other,
            streaming(fleet, "Break, please.") as broken,
        ):
            for reader in (other, broken):
                reader.until(b"One ")
            model.release()
            began = time.monotonic()
            broken.rest()
            assert time.monotonic() - began < 1
            assert not broken.is_whole
            assert (broken.finish, broken.text) == (None, "One ")
            other.rest()
            assert other.is_whole
            assert (other.finish, other.text) == ("stop", "One two three")
        with streaming(fleet, "Later, please.") as later:
            later.rest()
            assert (later.is_whole, later.finish) == (True, "stop")


def test_stream_gets_its_tail_while_the_fleet_stops(tmp_path: Path, model: ScriptedModel) -> None:
    model.on("Slowly, please.", tokens=["One ", "two ", "three"], hold_after=1)
    arguments = (tmp_path, model, "--workers", "1")
    with running(*arguments, FLEET_SHUTDOWN_GRACE="30") as fleet:
        with (
            streaming(fleet, "Slowly, please.") as reader,
            closing(StreamReader(fleet)) as next_one,
        ):
            reader.until(b"One ")
            fleet.signal(signal.SIGTERM)
            until(lambda: "Stopping: " in fleet.said, STOP, "the fleet doesn't stop")
            status, head = refused_by(next_one)
            assert status == 503
            assert int(head["retry-after"]) >= 1
            assert head["x-should-retry"] == "true"
            model.release()
            reader.rest()
            assert reader.is_whole
            assert (reader.finish, reader.text) == ("stop", "One two three")
        assert fleet.process.wait(STOP) == 0


def refused_by(reader: StreamReader) -> tuple[int, dict[str, str]]:
    """Ask again on the same connection until new questions are refused."""
    while True:
        reader.data = b""
        reader.send(completion("Another one, please.", stream=False))
        status, head = reader.head()
        if status != 200:
            return status, head
        reader.until(b"}")


def test_stream_of_a_killed_worker_has_no_clean_end(tmp_path: Path, model: ScriptedModel) -> None:
    model.on("Slowly, please.", tokens=["One ", "two ", "three"], hold_after=1)
    with running(tmp_path, model, "--workers", "1") as fleet:
        with streaming(fleet, "Slowly, please.") as reader:
            reader.until(b"One ")
            worker_of(fleet).kill()
            reader.rest()
            assert not reader.is_whole
            assert reader.finish is None
        model.release()
