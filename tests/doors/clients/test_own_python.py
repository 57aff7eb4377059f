"""The project's client for Python programs: in a folder of its own, and when things go wrong."""

import asyncio
import json
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve

from chat.doors.client import client as source
from chat.doors.client import protocol
from chat.doors.client.client import (
    Failed,
    Fleet,
    Lost,
    Refused,
    ask,
    encoded,
    event_of,
    question,
)
from chat.doors.client.protocol import Error, Notice, Reply, ResponseDelta
from chat.doors.contract.schemas import with_defaults
from chat.protocol.events import AnyEvent
from chat.protocol.requests import parse_command, parse_request
from chat.workflow.agents import ASSISTANT
from tests.doors.clients.running import in_python
from tests.proxy import Proxy
from tests.rendering.events import SAMPLES
from tests.scripted_model import Script, ScriptedModel
from tests.serving import Fleet as Serving
from tests.serving import running
from tests.workflow.playing import wants

FOLDER = Path(source.__file__).parent
ANSWER = "The answer is **42**."
PACKAGES = ("msgspec==0.22.0", "websockets==17.4")


def url_of(port: int) -> str:
    return f"ws://127.0.0.1:{port}/ws/chat/"


@pytest.fixture
def proxy(fleet: Serving) -> Iterator[Proxy]:
    proxy = Proxy(fleet.port)
    yield proxy
    proxy.stop()


def test_two_files_are_enough(tmp_path: Path, fleet: Serving, model: ScriptedModel) -> None:
    for name in ("client.py", "protocol.py"):
        shutil.copy(FOLDER / name, tmp_path)
    assert in_python("own_client.py", str(tmp_path), url_of(fleet.port), packages=PACKAGES) == {
        "modules": False,
        "answer": [ANSWER, "completed", "light"],
        "kinds": ["Connected", "Done"],
        "refused": "forbidden",
    }


# --- The copied protocol


@pytest.mark.parametrize("event", SAMPLES.values(), ids=lambda event: type(event).__name__)
def test_every_event_is_read_as_it_was_written(event: AnyEvent) -> None:
    read = event_of(msgspec.json.encode(event))
    assert type(read).__name__ == type(event).__name__
    assert holds(msgspec.to_builtins(read), msgspec.to_builtins(event))


def holds(whole: Any, part: Any) -> bool:
    """Return True if a value has all of another one, perhaps with fields that were left out."""
    if not isinstance(part, dict):
        return bool(whole == part)
    return all(name in whole and holds(whole[name], part[name]) for name in part)


def test_copied_structs_have_the_fields_and_defaults_of_the_protocol() -> None:
    _, copied = msgspec.json.schema_components(
        [protocol.StreamEvent, protocol.ChatRequest, protocol.ReplyRequest, protocol.Cancel],
        ref_template="#/$defs/{name}",
    )
    own = with_defaults()
    assert copied.keys() == own.keys() - {"StreamEvent", "Request"}
    for name, schema in copied.items():
        fields, own_fields = schema["properties"], own[name]["properties"]
        assert fields.keys() == own_fields.keys(), name
        assert set(schema["required"]) == set(own[name]["required"]), name
        for field, kind in own_fields.items():
            if "default" in kind and "$ref" not in kind:
                assert fields[field]["default"] == kind["default"], (name, field)


def test_requests_of_the_client_are_what_the_server_reads() -> None:
    asked = question("Hello?", mode="full", model="m", fresh=True, conversation_id=uuid.uuid4())
    read = parse_request(encoded(asked))
    assert {name: getattr(read, name) for name in asked.__struct_fields__} == {
        name: getattr(asked, name) for name in asked.__struct_fields__
    }
    replies = [
        Reply(ask_id=uuid.uuid4(), decision="edit", arguments={"a": 1}),
        Reply(ask_id=uuid.uuid4(), decision="approve", remember=True),
    ]
    replied = protocol.ReplyRequest(
        message_id=uuid.uuid4(), continues=uuid.uuid4(), replies=replies, after=7
    )
    assert msgspec.to_builtins(parse_request(encoded(replied))) == msgspec.to_builtins(replied)
    parse_command(encoded(protocol.Cancel()))


DELTA = {"type": "response.delta", "seq": 3, "delta": "a", "data": {}}


def test_what_a_later_version_adds_is_skipped() -> None:
    assert event_of(json.dumps({"type": "response.picture", "seq": 1, "data": {}})) is None
    later = {**DELTA, "more": {"a": 1}, "category": "later"}
    read = event_of(json.dumps(later))
    assert isinstance(read, ResponseDelta)
    assert (read.delta, read.category) == ("a", "later")
    with pytest.raises(msgspec.ValidationError):
        event_of(json.dumps({**DELTA, "delta": 1}))


# --- Beside a fleet


async def test_answer_with_its_figures(fleet: Serving, model: ScriptedModel) -> None:
    answer = await ask("What is the answer?", url_of(fleet.port), mode="light")
    assert (answer.text, answer.status, answer.asks) == (ANSWER, "completed", [])
    assert answer.usage.model_calls == 1
    assert answer.conversation_id
    assert uuid.UUID(answer.run_id)


async def test_cut_connection_is_opened_again_and_nothing_comes_twice(
    fleet: Serving, model: ScriptedModel, proxy: Proxy
) -> None:
    words = [f"word{number} " for number in range(40)]
    model.on("Many words", tokens=words, hold_after=20)
    seqs = []
    async with Fleet(url_of(proxy.port)).follow(question("Many words")) as run:
        async for event in run:
            if not isinstance(event, protocol.Heartbeat):
                seqs.append(event.seq)
            if run.answer.text.endswith("word9 "):
                proxy.cut()
            if run.answer.text.endswith("word19 "):
                proxy.cut()
                model.release()
    assert run.answer.text == "".join(words)
    assert (run.answer.status, seqs) == ("completed", sorted(set(seqs)))


async def test_server_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(Lost, match="can't be reached"):
        await ask("Hello?", url_of(9))


async def test_refusal_is_an_exception_with_its_code(fleet: Serving) -> None:
    with pytest.raises(Refused) as refused:
        await ask("Hello?", url_of(fleet.port), model="another")
    assert (refused.value.error.code, refused.value.error.retryable) == ("bad_request", False)
    with pytest.raises(Refused, match="the message is empty"):
        await ask(" ", url_of(fleet.port))


async def test_failed_run_is_an_exception_with_what_came_before(
    fleet: Serving, model: ScriptedModel
) -> None:
    model.on("Break off", tokens=["Half a ", "word"], cut_after=1)
    with pytest.raises(Failed) as failed:
        await ask("Break off", url_of(fleet.port), mode="light")
    assert failed.value.error.code == "model_error"
    assert (failed.value.answer.text, failed.value.answer.status) == ("Half a ", "failed")


async def test_cancel_ends_the_run(fleet: Serving, model: ScriptedModel) -> None:
    model.on("For ever", tokens=["word "], hang_after=1)
    asked = question("For ever")
    async with Fleet(url_of(fleet.port)).follow(asked) as run:
        async for event in run:
            if isinstance(event, ResponseDelta):
                await run.cancel()
    assert run.answer.status == "cancelled"


async def test_cancelled_task_cancels_its_run(fleet: Serving, model: ScriptedModel) -> None:
    model.on("For ever, too", tokens=["word "], hang_after=1)
    client = Fleet(url_of(fleet.port))
    asked = question("For ever, too")
    asking = asyncio.create_task(client._answer(asked))
    async with client.follow(asked) as run:
        async for event in run:
            if isinstance(event, ResponseDelta):
                asking.cancel()
    assert run.answer.status == "cancelled"
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_paused_answer_goes_on_after_replies(tmp_path: Path, model: ScriptedModel) -> None:
    calls = wants(("calculator", {"expression": "1 + 1"}))
    model.as_agent(ASSISTANT.instructions, calls, Script(tokens=["Two."]))
    key = "a key of this test's own making, of some length"
    with running(tmp_path, model, FLEET_APPROVE="calculator") as serving:
        client = Fleet(url_of(serving.port), token=key)
        paused = await client.ask("Count.")
        assert paused.status == "paused"
        [asked] = paused.asks
        assert (asked.tool, asked.arguments) == ("calculator", {"expression": "1 + 1"})
        replies = [Reply(ask_id=asked.ask_id, decision="approve")]
        answer = await client.reply(paused, replies)
        assert (answer.text, answer.status) == ("Two.", "completed")
        with pytest.raises(Refused) as refused:
            await client.reply(paused, replies)
        assert refused.value.error.code == "already_answered"


# --- Against servers that misbehave

CONNECTED = {
    "type": "connected",
    "seq": 1,
    "workflow_id": "r",
    "data": {"conversation_id": str(uuid.uuid4()), "message_id": str(uuid.uuid4())},
}
DONE = {"type": "done", "seq": 4, "workflow_id": "r", "data": {"status": "completed"}}
SHUTTING_DOWN = {
    "type": "error",
    "seq": 3,
    "error": {"code": "shutting_down", "message": "Soon.", "retryable": True},
    "data": {},
}


class Played:
    """A server of which each connection plays its part: frames, then silence, or a close."""

    def __init__(self, *parts: list[dict[str, Any]], is_silent: bool = False) -> None:
        self.parts = iter(parts)
        self.is_silent = is_silent
        self.requests: list[dict[str, Any]] = []

    async def play(self, socket: ServerConnection) -> None:
        self.requests.append(json.loads(await socket.recv()))
        for frame in next(self.parts, []):
            await socket.send(json.dumps(frame))
        if self.is_silent:
            await socket.wait_closed()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        async with serve(self.play, "127.0.0.1", 0) as server:
            [listening] = server.sockets
            yield url_of(listening.getsockname()[1])


async def test_silent_connection_is_given_up_and_opened_again() -> None:
    played = Played([CONNECTED, DELTA], [DONE], is_silent=True)
    async with played.served() as url:
        run = Fleet(url, silence=0.2).follow(question("Hello?"))
        kinds = [type(event).__name__ async for event in run]
    assert kinds == ["Connected", "ResponseDelta", "Done"]
    assert [request.get("after", 0) for request in played.requests] == [0, 3]
    assert played.requests[0]["message_id"] == played.requests[1]["message_id"]


async def test_run_is_followed_again_after_a_refusal_for_a_moment() -> None:
    played = Played([CONNECTED, SHUTTING_DOWN], [DELTA, DONE])
    async with played.served() as url:
        assert (await ask("Hello?", url)).text == "a"


async def test_new_question_is_refused_at_once_by_a_server_that_stops() -> None:
    played = Played([SHUTTING_DOWN])
    async with played.served() as url:
        with pytest.raises(Refused) as refused:
            await ask("Hello?", url)
    assert refused.value.error.retryable


async def test_server_that_stays_away_is_given_up() -> None:
    played = Played([CONNECTED])
    async with played.served() as url:
        with pytest.raises(Lost, match="any more"):
            await Fleet(url, patience=0.3).ask("Hello?")
    assert len(played.requests) > 1


async def test_cancel_is_sent_again_if_its_connection_breaks() -> None:
    commands = []
    is_first = True

    async def play(socket: ServerConnection) -> None:
        nonlocal is_first
        await socket.recv()
        if is_first:
            is_first = False
            await socket.send(json.dumps(CONNECTED))
            await socket.close()
            return
        commands.append(json.loads(await socket.recv()))
        await socket.send(json.dumps(DONE))

    async with serve(play, "127.0.0.1", 0) as server:
        url = url_of(server.sockets[0].getsockname()[1])
        async with Fleet(url).follow(question("Hello?")) as run:
            async for event in run:
                if isinstance(event, protocol.Connected):
                    await run.cancel()
    assert commands == [{"type": "cancel"}]


def test_notices_are_events_of_the_connection() -> None:
    frame = json.dumps({"type": "notice", "message": "Restarting", "data": {"code": "x"}})
    assert isinstance(event_of(frame), Notice)
    assert isinstance(event_of(json.dumps(SHUTTING_DOWN)), Error)
