"""Sockets with hostile handshakes and frames: a typed refusal, or an answer that ends."""

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.test import Client

from agenticfleet.asgi import application
from chat.database import in_database
from chat.protocol.errors import CLOSE_OF
from chat.protocol.terms import SUBPROTOCOL_HTML, SUBPROTOCOL_JSON
from chat.runs.worker import Worker
from tests.cases import one_in
from tests.chatting import PATH, TIMEOUT, Chatting, cookie_header, is_terminal, kinds
from tests.scripted_model import ScriptedModel

from .driving import Headers, operators_log
from .inputs import Choice

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.bulk]

PER_SEED = 150  # sockets
NAMES = ("cookie", "origin", "authorization", "accept-language", "traceparent", "x-forwarded-for")
OFFERS = (
    [],
    [SUBPROTOCOL_JSON],
    [SUBPROTOCOL_HTML],
    [SUBPROTOCOL_HTML, "fleet.token.x"],
    ["fleet.token.fleet_00000000_" + "a" * 51],
    ["", "x" * 900],
)

type Fields = dict[str, Callable[[], Any]]


def fields_of(choose: Choice, ids: list[str]) -> Fields:
    """Return how to make each field of a first frame as it should be."""
    known = lambda: choose.choice([*ids, str(uuid.UUID(int=choose.getrandbits(128), version=4))])  # noqa: E731
    reply = lambda: {"ask_id": known(), "decision": "edit", "arguments": {"query": "x"}}  # noqa: E731
    question: Fields = {
        "message": lambda: "What is the answer?",
        "message_id": known,
        "conversation_id": known,
        "mode": lambda: "light",
        "fresh": lambda: True,
        "reasoning_effort": lambda: None,
        "rerun_of": known,
        "branch_of": known,
        "model": lambda: None,
        "after": lambda: 0,
    }
    replies: Fields = {
        "type": lambda: "reply",
        "message_id": known,
        "continues": known,
        "replies": lambda: [reply()],
        "after": lambda: 1,
    }
    few: Fields = {name: question[name] for name in ("message", "message_id")}
    return choose.choice((question, replies, few, few, {"type": lambda: "cancel"}))


class Sockets:
    def __init__(self, choose: Choice, cookies: str, ids: list[str]) -> None:
        self.choose, self.cookies, self.ids = choose, cookies, ids

    def handshake(self) -> WebsocketCommunicator:
        choose = self.choose
        headers: dict[str, bytes] = {"host": b"testserver", "cookie": self.cookies.encode()}
        if choose.random() < 0.5:
            headers = {"host": b"testserver", "origin": b"http://testserver"}
            headers["cookie"] = self.cookies.encode()
        for name in choose.some(NAMES, 2) if choose.random() < 0.4 else ():
            headers[name] = choose.raw()
        query = choose.choice(("", "", "account=x", "&".join(["a=1"] * 1100), "language=%ff&x=%"))
        raw: Headers = [(name.encode(), value) for name, value in headers.items()]
        return WebsocketCommunicator(
            application, f"{PATH}?{query}", headers=raw, subprotocols=choose.choice(OFFERS)
        )

    def frame(self) -> dict[str, Any]:
        choose = self.choose
        if choose.random() < 0.05:
            return {"bytes": choose.randbytes(20)}
        text = choose.frame(fields_of(choose, self.ids))
        # A server takes only UTF-8.
        return {"text": text.encode(errors="replace").decode()}

    async def play(self) -> tuple[str, list[dict[str, Any]], int | None]:
        """Open a socket and send frames; return what was sent, the events, and the close code."""
        socket = self.handshake()
        sent = [self.frame(), *(self.frame() for _ in range(self.choose.randrange(3)))]
        accepted, _ = await socket.connect(timeout=TIMEOUT)
        assert accepted
        events: list[dict[str, Any]] = []
        for frame in sent:
            await socket.send_input({"type": "websocket.receive", **frame})
        code = None
        while not (events and is_terminal(events[-1])):
            message = await socket.receive_output(timeout=TIMEOUT)
            assert message["type"] == "websocket.send", message
            events.append(json.loads(message["text"]))
        if events[-1]["type"] == "error" and not events[-1]["workflow_id"]:
            code = (await socket.receive_output(timeout=TIMEOUT))["code"]
        await socket.disconnect(timeout=TIMEOUT)
        handshake = f"{socket.scope['headers']} {socket.scope['subprotocols']}"
        return f"{handshake} {str(sent)[:3000]}", events, code


def browser() -> str:
    client = Client()
    client.get("/")
    return cookie_header(client)


@pytest.mark.parametrize("seed", one_in(2, range(40)))
async def test_hostile_frames_get_typed_refusals_or_answers_that_end(
    chat: Chatting, worker: Worker, model: ScriptedModel, seed: int
) -> None:
    cookies = await in_database(browser)
    headers = {"cookie": cookies, "origin": "http://testserver"}
    first = await chat.answer(headers=headers)
    data = first[0]["data"]
    ids = [first[0]["workflow_id"], data["conversation_id"], data["message_id"]]
    sockets = Sockets(Choice(seed), cookies, ids)
    before = asyncio.all_tasks()
    with operators_log() as log:
        for _ in range(PER_SEED):
            sent, events, code = await sockets.play()
            if code is not None:
                error = events[-1]["error"]
                assert error["code"] in CLOSE_OF, sent
                assert len(error["message"]) > 10, sent
                assert 4400 <= code < 4500, (code, sent)
            assert "Traceback" not in log.getvalue(), f"{sent}\n{log.getvalue()}"
            assert " ERROR " not in log.getvalue(), f"{sent}\n{log.getvalue()}"
            log.seek(0)
            log.truncate()
    async with asyncio.timeout(TIMEOUT):
        while worker.runs.live:
            await asyncio.sleep(0.01)
    left = {task for task in asyncio.all_tasks() - before if "Reader." in str(task)}
    assert not {task for task in left if not task.done()}
    assert kinds(await chat.answer(headers=headers))[-1] == "done"
