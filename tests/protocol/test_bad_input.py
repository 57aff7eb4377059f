"""Invalid frames get an error event or a notice; they store nothing and raise nothing."""

import asyncio
import gc
import json
import logging
import uuid
from types import TracebackType
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.db import IntegrityError

from agenticfleet.asgi import application
from chat.consumers import ChatConsumer
from chat.conversations import Conversation, Message
from chat.models import Run, RunQuerySet
from chat.runs.worker import Worker
from tests.chatting import Chatting, chat_request, kinds
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.django_db(transaction=True)


def with_field(**fields: object) -> str:
    return json.dumps({**chat_request(), **fields})


def reply_with(*, reply: dict[str, object] | None = None, **fields: object) -> str:
    """Return a frame that replies to a paused run, with these fields."""
    one = {"ask_id": str(uuid.uuid4()), "decision": "approve", **(reply or {})}
    ids = {"message_id": str(uuid.uuid4()), "continues": str(uuid.uuid4())}
    return json.dumps({"type": "reply", **ids, "replies": [one], **fields})


ASK_ID = str(uuid.uuid4())

FIRST_FRAMES = {
    "not JSON": "hello",
    "empty": "",
    "half of JSON": '{"message": "x"',
    "a list": "[]",
    "null": "null",
    "no message_id": '{"message": "x"}',
    "no message": json.dumps({"message_id": str(uuid.uuid4())}),
    "an empty message": with_field(message=""),
    "a blank message": with_field(message=" \n\t "),
    "33,000 characters": with_field(message="x" * 33_000),
    "a NUL character": with_field(message="a\0b"),
    "half a surrogate pair": with_field(message="x").replace('"x"', '"\\ud800"'),
    "a wrong type": with_field(message=7),
    "a wrong mode": with_field(mode="heavy"),
    "a wrong id": with_field(message_id="7"),
    "a wrong flag": with_field(fresh="yes"),
    "a negative cursor": with_field(after=-1),
    "a fractional cursor": with_field(after=1.5),
    "a cursor that no run reaches": with_field(after=2**31),
    "an unknown field": with_field(temperature=1),
    "a cancel": '{"type": "cancel"}',
    "deep nesting": '{"message": ' + "[" * 50_000,
    "deep nesting in an unknown field": '{"zzz": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "over the size limit": with_field(message="x" * 600_000),
    "an unknown type": with_field(type="replies"),
    "a reply with a message": reply_with(message="x"),
    "a reply without a run": f'{{{{"type": "reply", "message_id": "{ASK_ID}", "replies": []}}}}',
    "no replies": reply_with(replies=[]),
    "two replies to one ask": reply_with(replies=[{"ask_id": ASK_ID, "decision": "approve"}] * 2),
    "an unknown decision": reply_with(reply={"decision": "maybe"}),
    "an unknown field of a reply": reply_with(reply={"tool": "web_search"}),
    "arguments that are a list": reply_with(reply={"decision": "edit", "arguments": ["x"]}),
    "a reply to no id": reply_with(reply={"ask_id": "7"}),
    "a flag that is a text": reply_with(reply={"remember": "yes"}),
    "a reply of 33,000 characters": reply_with(reply={"text": "x" * 33_000}),
    "a NUL character in a reply": reply_with(reply={"decision": "answer", "text": "a\0b"}),
    "a NUL character in an argument": reply_with(
        reply={"decision": "edit", "arguments": {"list": [{"name": "a\0b"}]}}
    ),
    "a NUL character in an argument's name": reply_with(
        reply={"decision": "edit", "arguments": {"a\0b": 1}}
    ),
    "half a surrogate pair in an argument": reply_with(
        reply={"decision": "edit", "arguments": {"city": "x"}}
    ).replace('"x"', '"\\ud800"'),
    "a number without bounds": reply_with(
        reply={"decision": "edit", "arguments": {"city": "x"}}
    ).replace('"x"', "1e999"),
    "a reply with a negative cursor": reply_with(after=-1),
}


@pytest.fixture
def no_warnings(caplog: pytest.LogCaptureFixture):
    """Fail if a warning was logged, except about slow answers, which depend on the machine."""
    yield
    assert [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name != "chat.sla"
    ] == []


@pytest.mark.parametrize("frame", FIRST_FRAMES.values(), ids=FIRST_FRAMES.keys())
async def test_bad_first_frame_is_refused_and_stores_nothing(
    chat: Chatting, no_warnings: None, frame: str
) -> None:
    socket = await chat.socket()
    await socket.send(frame)
    event = await socket.event()
    assert (event["type"], event["seq"], event["workflow_id"]) == ("error", 0, "")
    assert event["error"]["code"] == "bad_request"
    assert len(event["error"]["message"]) > 20
    assert await socket.close_code() == 4400
    assert await Message.objects.acount() == await Conversation.objects.acount() == 0
    assert kinds(await chat.answer())[-1] == "done"


async def test_binary_first_frame_is_refused(chat: Chatting, no_warnings: None) -> None:
    socket = await chat.socket()
    await socket.send_bytes(b"\x00\x01")
    assert (await socket.event())["error"]["code"] == "bad_request"
    assert await socket.close_code() == 4400


async def test_longest_message_is_accepted(chat: Chatting) -> None:
    assert kinds(await chat.answer("\U0001f600" * 32_000))[-1] == "done"


async def test_unknown_and_foreign_conversations_get_the_same_refusal(chat: Chatting) -> None:
    foreign = await Conversation.objects.acreate(owner="user:77", title="not yours")
    answers = []
    for conversation_id in (str(uuid.uuid4()), str(foreign.pk)):
        socket = await chat.ask(chat_request(conversation_id=conversation_id))
        event = await socket.event()
        assert await socket.close_code() == 4403
        answers.append(event["error"])
    assert answers[0] == answers[1]
    assert answers[0]["code"] == "forbidden"
    assert await Message.objects.acount() == 0


async def test_conversation_deleted_meanwhile_is_forbidden_not_busy(
    chat: Chatting, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_at_commit(self: RunQuerySet, *args: object, **options: object) -> None:
        # SQLite has one writer, so there the conversation can't be deleted at this moment.
        raise IntegrityError("the conversation was deleted")

    monkeypatch.setattr(RunQuerySet, "_create", fail_at_commit)
    refusal = (await chat.answer(chat_request(conversation_id=str(uuid.uuid4()))))[0]
    assert refusal["error"]["code"] == "forbidden"


async def test_unknown_and_foreign_reruns_get_the_same_refusal(
    chat: Chatting, model: ScriptedModel
) -> None:
    mine = await chat.answer("What?")
    await Run.objects.filter(pk=mine[0]["workflow_id"]).aupdate(owner="user:77")
    for workflow_id in (str(uuid.uuid4()), mine[0]["workflow_id"]):
        refusal = (await chat.answer(chat_request("What?", rerun_of=workflow_id)))[0]
        assert refusal["error"]["code"] == "forbidden"
    assert len(model.calls) == 1


LATER_FRAMES = {
    "a second request": json.dumps(chat_request("another")),
    "not JSON": "hello",
    "empty": "",
    "an unknown command": '{"type": "pause"}',
    "a cancel with a field": '{"type": "cancel", "now": true}',
}


@pytest.mark.parametrize("frame", LATER_FRAMES.values(), ids=LATER_FRAMES.keys())
async def test_bad_frame_during_a_run_gets_one_notice_and_the_run_continues(
    chat: Chatting, model: ScriptedModel, no_warnings: None, frame: str
) -> None:
    model.on("hold", hold_after=1)
    socket = await chat.ask("hold")
    delta = await socket.until("response.delta")
    await socket.send(frame)
    notice = await socket.event()
    assert (notice["type"], notice["data"]["code"], notice["seq"]) == (
        "notice",
        "bad_request",
        delta["seq"],
    )
    model.release()
    events = await socket.rest()
    assert kinds(events).count("notice") == 1
    assert events[-1]["type"] == "done"
    assert await Run.objects.acount() == 1


async def test_each_bad_frame_of_a_burst_gets_a_notice_and_a_cancel_after_it_works(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("hold", hold_after=1)
    socket = await chat.ask("hold")
    await socket.until("response.delta")
    for frame in ("hello", "[]", '{"type": "pause"}'):
        await socket.send(frame)
    await socket.send({"type": "cancel"})
    events = await socket.rest()
    assert kinds(events).count("notice") == 3
    assert events[-1]["data"]["status"] == "cancelled"


async def test_binary_frame_during_a_run_gets_a_notice(
    chat: Chatting, model: ScriptedModel, no_warnings: None
) -> None:
    model.on("hold", hold_after=1)
    socket = await chat.ask("hold")
    await socket.until("response.delta")
    await socket.send_bytes(b"\x00")
    assert (await socket.event())["type"] == "notice"
    model.release()
    assert (await socket.rest())[-1]["type"] == "done"


async def test_frame_during_a_refusal_that_waits_for_its_reader_is_not_answered(
    worker: Worker,
) -> None:
    frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: list[str] = []
    turn, waits, room, closed = asyncio.Lock(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        async with turn:
            if message["type"] == "websocket.send":
                waits.set()
                await room.wait()
            sent.append(
                json.loads(message["text"])["type"] if "text" in message else message["type"]
            )
            if message["type"] == "websocket.close":
                closed.set()

    socket = asyncio.create_task(
        ChatConsumer.as_asgi()(
            {"type": "websocket", "subprotocols": [], "headers": [(b"host", b"testserver")]},
            frames.get,
            send,
        )
    )
    await frames.put({"type": "websocket.connect"})
    await frames.put({"type": "websocket.receive", "text": with_field(after=7)})
    async with asyncio.timeout(5):
        await waits.wait()
        await frames.put({"type": "websocket.receive", "text": "nonsense"})
        while not frames.empty():
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)  # A notice would have been sent by now.
        room.set()
        await closed.wait()
        await frames.put({"type": "websocket.disconnect"})
        await socket
    assert sent == ["websocket.accept", "error", "websocket.close"]


async def test_frames_after_the_terminal_are_ignored(chat: Chatting) -> None:
    socket = await chat.ask()
    await socket.rest()
    await socket.send("hello")
    await socket.send({"type": "cancel"})
    assert await socket.communicator.receive_nothing(timeout=0.2)


async def test_refusal_keeps_no_traceback_of_the_refused_frame(chat: Chatting) -> None:
    before = len(functions_in_tracebacks())
    for frame in (
        FIRST_FRAMES["over the size limit"],
        FIRST_FRAMES["not JSON"],
        with_field(conversation_id=str(uuid.uuid4())),
    ):
        socket = await chat.socket()
        await socket.send(frame)
        assert (await socket.event())["type"] == "error"
        await socket.close()
    async with asyncio.timeout(5):
        while len(functions_in_tracebacks()) > before:
            await asyncio.sleep(0.05)


def functions_in_tracebacks() -> list[str]:
    """Return the functions of chat/ whose locals are kept alive by a traceback."""
    gc.collect()
    codes = [
        found.tb_frame.f_code for found in gc.get_objects() if isinstance(found, TracebackType)
    ]
    return [code.co_qualname for code in codes if "/chat/" in code.co_filename]


async def test_unknown_path_is_refused_without_warnings(worker, no_warnings: None) -> None:
    communicator = WebsocketCommunicator(application, "/ws/nothing/")
    accepted, _ = await communicator.connect()
    assert accepted
    error = json.loads(await communicator.receive_from())["error"]
    assert (error["code"], error["message"]) == ("bad_request", "There is no socket at this path.")
    closed = await communicator.receive_output()
    assert closed["code"] == 4400
