"""Runs over HTTP at a fleet of two workers: joined, followed and cancelled at the other one."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import psutil
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from tests.chatting import AS_SCRIPT, Event, chat_request, kinds, text_of
from tests.scripted_model import ScriptedModel
from tests.serving import NO_LIMITS, Fleet, running, until

QUESTION = "What do two workers do?"
SHOP = "https://shop.example"
TRIES = 200  # connections; the kernel chooses the worker of each
ACCEPTED = 10  # seconds


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with running(folder, model_server, "--workers", "2", **NO_LIMITS) as fleet:
        yield fleet


class Connections:
    """Connections to workers of a fleet, which know their worker."""

    def __init__(self, fleet: Fleet, stack: ExitStack) -> None:
        self._fleet = fleet
        self._stack = stack
        self.workers = fleet.children("fleet-worker")
        assert len(self.workers) == 2

    def to(self, worker: int) -> HTTPConnection:
        """Return a connection to this worker."""
        for _ in range(TRIES):
            connection = HTTPConnection("127.0.0.1", self._fleet.port, timeout=30)
            with ExitStack() as unused:
                unused.enter_context(closing(connection))
                connection.connect()
                port = connection.sock.getsockname()[1]
                found = until(lambda port=port: self._worker_of(port), ACCEPTED, "nobody accepts")
                if found == self.workers[worker]:
                    self._stack.push(unused.pop_all())
                    return connection
        raise AssertionError("the other worker gets all connections")

    def _worker_of(self, port: int) -> psutil.Process | None:
        for worker in self._fleet.children("fleet-worker"):
            with suppress(psutil.NoSuchProcess):
                if port in {each.raddr.port for each in worker.net_connections() if each.raddr}:
                    return worker
        return None

    def call(self, worker: int, method: str, path: str, body: Any = None) -> Any:
        response = self.begin(worker, method, path, body)
        return json.loads(response.read())

    def begin(
        self, worker: int, method: str, path: str, body: Any = None, **headers: str
    ) -> HTTPResponse:
        connection = self.to(worker)
        content = json.dumps(body) if body is not None else None
        fields = {**AS_SCRIPT, "content-type": "application/json", **headers}
        connection.request(method, path, content, fields)
        return self._stack.enter_context(closing(connection.getresponse()))


class Reader:
    """An event stream that is read message by message."""

    def __init__(self, response: HTTPResponse) -> None:
        self._response = response
        self.events: list[Event] = []
        self.last_id = ""

    def until(self, kind: str) -> list[Event]:
        """Read up to the first event of this type; return all so far."""
        for line in self._response:
            name, _, value = line.decode().rstrip("\n").partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "data":
                self.events.append(json.loads(value))
                if self.events[-1]["type"] == kind:
                    return self.events
        raise AssertionError(f"the stream ended before {kind}: {kinds(self.events)}")


def test_run_of_the_other_worker_is_followed_resumed_and_cancelled(
    fleet: Fleet, model: ScriptedModel
) -> None:
    model.on(QUESTION, tokens=["One", " two", " three"], hold_after=1)
    with ExitStack() as stack:
        workers = Connections(fleet, stack)
        started = workers.call(0, "POST", "/api/v1/runs", {"message": QUESTION})
        here = Reader(workers.begin(0, "GET", started["events"]))
        here.until("response.delta")
        connection = workers.begin(1, "GET", started["events"])
        there = Reader(connection)
        there.until("response.delta")
        connection.close()
        resumed = Reader(
            workers.begin(1, "GET", started["events"], **{"last-event-id": there.last_id})
        )
        cancelled = workers.call(1, "POST", f"/api/v1/runs/{started['run']}/cancel")
        assert cancelled["status"] == "running"
        assert kinds(here.until("done"))[-2:] == ["cancelled", "done"]
        events = [*there.events, *resumed.until("done")]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert text_of(events) == "One"
        again = workers.call(1, "GET", f"/api/v1/runs/{started['run']}")
        assert (again["status"], again["text"]) == ("cancelled", "One")


def test_ticket_of_one_worker_opens_one_socket_at_any(fleet: Fleet, model: ScriptedModel) -> None:
    with ExitStack() as stack:
        workers = Connections(fleet, stack)
        bearer = {"authorization": f"Bearer {fleet.token('create', '--service', 'shop')}"}
        made = workers.begin(0, "POST", "/api/v1/tickets", {"origin": SHOP}, **bearer)
        subprotocol = Subprotocol(json.loads(made.read())["subprotocol"])
        assert closing_of(fleet, subprotocol) is None
        assert [closing_of(fleet, subprotocol) for _ in range(4)] == [4401] * 4


def closing_of(fleet: Fleet, subprotocol: Subprotocol) -> int | None:
    """Ask on a socket of a page of the shop; return the code of a refusal, None if it is done."""
    address = fleet.address.replace("http", "ws") + "ws/chat/"
    offered = [Subprotocol("fleet.json.v1"), subprotocol]
    with connect(address, origin=Origin(SHOP), subprotocols=offered) as client:
        assert client.subprotocol == "fleet.json.v1"
        client.send(json.dumps(chat_request(QUESTION)))
        try:
            while json.loads(client.recv(timeout=30))["type"] != "done":
                pass
        except ConnectionClosed:
            return client.close_code
    return None


def test_reader_goes_on_where_a_killed_worker_broke_off(fleet: Fleet, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One", " two", " three"], hold_after=2)
    with ExitStack() as stack:
        workers = Connections(fleet, stack)
        started = workers.call(0, "POST", "/api/v1/runs", {"message": QUESTION})
        here = Reader(workers.begin(0, "GET", started["events"]))
        while text_of(here.events) != "One two":
            here.until("response.delta")
        workers.workers[0].kill()
        with pytest.raises((AssertionError, OSError)):
            here.until("done")  # cut, or ended without an ending: a reader comes back
        resumed = Reader(
            workers.begin(1, "GET", started["events"], **{"last-event-id": here.last_id})
        )
        model.release()
        events = [*here.events, *resumed.until("done")]
        assert events[-1]["data"]["status"] == "completed"
        assert text_of(events) == "One two three"
        done = workers.begin(1, "GET", started["events"], **{"last-event-id": resumed.last_id})
        assert done.status == 204
