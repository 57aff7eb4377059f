"""Following a run for a call: head, pieces, beats, refusals, and clients that leave."""

import asyncio
import time
import uuid
from collections.abc import Sequence

import msgspec
import pytest
from pytest_django import Settings

from chat.doors.calls import Call, Reply, Route
from chat.doors.http import Doors as Application
from chat.doors.streams import MAX_PART, Stream, Whole, parts_of
from chat.entrance import Entrance
from chat.models import Run
from chat.protocol.errors import ErrorInfo
from chat.protocol.events import ResponseDelta
from chat.protocol.requests import ChatRequest
from chat.runs.local import joined
from chat.runs.replay import Entry, entry_of
from chat.runs.worker import Worker
from tests.scripted_model import ScriptedModel

from .calling import Doors


class Words:
    """The words of the answer, and what else a rendering is asked for."""

    def events(self, batch: Sequence[Entry]) -> bytes:
        return "".join(
            entry.event.delta for entry in batch if isinstance(entry.event, ResponseDelta)
        ).encode()

    def beat(self, silent_ms: int) -> bytes:
        return b"*"

    def notice(self, code: str, message: str) -> bytes:
        return f"({code})".encode()

    def refusal(self, error: ErrorInfo) -> bytes:
        return f"[{error.code}]".encode()


class ToldAtTheEnd(Words):
    """Somebody has news for the reader while it gets the ending."""

    def events(self, batch: Sequence[Entry]) -> bytes:
        if batch[-1].is_terminal:
            [socket] = Worker.current().sockets
            socket.tell("news", "Something happened.")
        return super().events(batch)


QUESTION = "What is the answer?"
left: list[Run] = []
calls: list[Call] = []


class Body(msgspec.Struct):
    text: str


async def run_of(call: Call) -> Run:
    request = ChatRequest(message=QUESTION, message_id=uuid.uuid4())
    runs = Worker.current().runs
    return await joined(
        runs.start_or_join(
            lambda: call.who, request, arrived=call.arrived, entrance=Entrance("events")
        )
    )


async def stream(call: Call) -> Stream:
    run = await run_of(call)
    return Stream(call, run, Words(), on_leave=lambda: left.append(run))


async def noted(call: Call) -> Stream:
    assert call.raw
    assert call.body.text
    calls.append(call)
    return await stream(call)


async def held(call: Call) -> Stream:
    return Stream(call, await run_of(call), Words(), hold=0.3)


async def told(call: Call) -> Stream:
    return Stream(call, await run_of(call), ToldAtTheEnd())


async def whole(call: Call) -> Reply:
    reading = Whole(call, await run_of(call))
    await reading.follow()
    return Reply([entry.event.log_line for entry in reading.events])


async def broken(call: Call) -> Reply:
    raise ZeroDivisionError


@pytest.fixture
def doors(worker: Worker, model: ScriptedModel) -> Doors:
    left.clear()
    calls.clear()
    functions = (stream, held, told, whole, broken)
    routes = [Route("GET", f"/{each.__name__}", each, "", "ask") for each in functions]
    return Doors(Application([*routes, Route("POST", "/noted", noted, "", "ask", body=Body)]))


async def test_pieces_arrive_as_the_model_sends_them(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One", " two"], hold_after=1)
    async with doors.stream("GET", "/stream") as exchange:
        assert await exchange.until("One") == "One"
        assert exchange.response.headers["content-type"].startswith("text/event-stream")
        model.release()
        assert (await exchange.rest()).text == "One two"
    assert left == []


async def test_open_stream_keeps_no_body(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One", " two"], hold_after=1)
    async with doors.stream("POST", "/noted", {"text": "A long history."}) as exchange:
        await exchange.until("One")
        assert [(call.raw, call.body) for call in calls] == [(b"", None)]
        model.release()
        assert (await exchange.rest()).text == "One two"


async def test_head_leaves_before_the_first_event_is_rendered(
    doors: Doors, model: ScriptedModel
) -> None:
    model.on(QUESTION, tokens=["One"], hold_after=0)
    async with doors.stream("GET", "/stream") as exchange:
        await exchange.message()
        message = await exchange.message()
        # The server sends a head together with the first piece.
        assert message
        assert (message["body"], message["more_body"]) == (b"", True)
        model.release()
        assert (await exchange.rest()).text == "One"


def test_long_replay_is_rendered_in_parts() -> None:
    words = [f"{number:0500} " for number in range(200)]
    entries = [
        entry_of(ResponseDelta(delta=word), seq=number, run_id=uuid.uuid4())
        for number, word in enumerate(words)
    ]
    parts = list(parts_of(entries))
    assert [entry for part in parts for entry in part] == entries
    sizes = [sum(len(entry.payload) for entry in part) for part in parts]
    assert MAX_PART / 2 < min(sizes[:-1]) <= max(sizes) <= MAX_PART


async def test_client_that_leaves_is_noted_once(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One", " two"], hold_after=1)
    async with doors.stream("GET", "/stream") as exchange:
        await exchange.until("One")
    assert len(left) == 1
    assert Worker.current().sockets == set()
    model.release()


async def test_failure_before_the_first_word_is_a_status(
    doors: Doors, model: ScriptedModel
) -> None:
    model.on(QUESTION, status=400)
    response = await doors.get("/held")
    assert (response.status, response.error["type"]) == (502, "api_error")


async def test_head_waits_no_longer_than_it_may(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One"], hold_after=0)
    async with doors.stream("GET", "/held") as exchange:
        started = time.monotonic()
        await exchange.message()
        assert exchange.response.status == 200
        assert time.monotonic() - started >= 0.3
        model.release()
        assert (await exchange.rest()).text == "One"


async def test_silence_has_beats(doors: Doors, model: ScriptedModel, settings: Settings) -> None:
    settings.FLEET_HEARTBEAT = 0.05
    model.on(QUESTION, tokens=["One"], hold_after=0)
    async with doors.stream("GET", "/stream") as exchange:
        await exchange.until("**")
        model.release()
        await exchange.rest()


async def test_no_notice_follows_the_ending(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One"])
    async with doors.stream("GET", "/told") as exchange:
        assert (await exchange.rest()).text == "One"


async def test_whole_run_is_read_before_it_is_answered(doors: Doors) -> None:
    response = await doors.get("/whole")
    assert "done" in response.json[-1]


async def test_bug_is_an_internal_error(doors: Doors) -> None:
    response = await doors.get("/broken")
    assert (response.status, response.error["code"]) == (500, "internal")


async def test_reader_whose_token_ends_gets_a_refusal(doors: Doors, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One", " two"], hold_after=1)
    async with doors.stream("GET", "/stream") as exchange:
        await exchange.until("One")
        [socket] = Worker.current().sockets
        socket.end()
        assert (await exchange.rest()).text == "One[forbidden]"
    model.release()
    await asyncio.sleep(0)
