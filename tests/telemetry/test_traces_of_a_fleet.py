"""Traces of a real fleet: it delivers the last ones when it stops, and waits for no receiver."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from chat.telemetry.otlp import CLOSE_TIMEOUT
from tests.scripted_model import ScriptedModel
from tests.serving import running, until

from .otlp_receiver import OtlpReceiver


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    server = OtlpReceiver()
    yield server
    server.stop()


def read_to_end(socket: ClientConnection) -> None:
    while '"type":"done"' not in str(socket.recv(timeout=30)):
        pass


def test_fleet_delivers_its_last_traces_when_it_stops(
    tmp_path: Path, model: ScriptedModel, receiver: OtlpReceiver
) -> None:
    with running(tmp_path, model, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url) as fleet:
        with fleet.ask("a question") as socket:
            read_to_end(socket)
        assert fleet.stop() == 0
    assert receiver.spans()[0].name == "invoke_workflow light"


def test_fleet_stops_in_time_if_the_receiver_hangs(
    tmp_path: Path, model: ScriptedModel, receiver: OtlpReceiver
) -> None:
    receiver.hangs = True
    with running(tmp_path, model, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url) as fleet:
        with fleet.ask("a question") as socket:
            read_to_end(socket)
        until(lambda: receiver.attempts, 20, "no trace is sent")
        began = time.monotonic()
        assert fleet.stop() == 0
        assert time.monotonic() - began < CLOSE_TIMEOUT + 4
        assert "traces dropped=5" in fleet.complained
