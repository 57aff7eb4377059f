"""A client of the WebSocket: ask a question, read its events, cancel it."""

import asyncio
import json
import uuid
from typing import Any

from channels.testing import WebsocketCommunicator
from django.test import Client

from tests.contract import check_event

Event = dict[str, Any]
PATH = "/ws/chat/"
# What a program makes itself and sends each time, so that all its sockets have one owner.
OWN_KEY = "a-key-that-these-tests-have-made-themselves"
AS_SCRIPT = {"authorization": f"Bearer {OWN_KEY}"}
TIMEOUT = 60  # seconds; only an overloaded machine needs so many


def chat_request(message: str = "What is the answer?", **fields: Any) -> dict[str, Any]:
    return {"message": message, "message_id": str(uuid.uuid4()), **fields}


def cookie_header(client: Client) -> str:
    """Return the cookies of a browser, as its sockets send them."""
    return "; ".join(f"{name}={cookie.value}" for name, cookie in client.cookies.items())


def kinds(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def shape(events: list[Event]) -> list[str]:
    """Return the types of events without heartbeats, with neighbours of one type as one."""
    found: list[str] = []
    for kind in kinds(events):
        if kind != "heartbeat" and (not found or found[-1] != kind):
            found.append(kind)
    return found


def text_of(events: list[Event]) -> str:
    """Return the answer as a client builds it: a snapshot replaces, a delta appends."""
    text = ""
    for event in events:
        if event["type"] == "response.snapshot":
            text = event["data"]["text"]
        elif event["type"] == "response.delta":
            text += event["delta"]
    return text


def is_terminal(event: Event) -> bool:
    return event["type"] in ("done", "error")


class Socket:
    """One open socket."""

    def __init__(self, communicator: WebsocketCommunicator) -> None:
        self.communicator = communicator
        self.events: list[Event] = []

    async def send(self, frame: Any) -> None:
        # send_to can't send an empty frame.
        await self.communicator.send_input(
            {
                "type": "websocket.receive",
                "text": frame if isinstance(frame, str) else json.dumps(frame),
            }
        )

    async def send_bytes(self, frame: bytes) -> None:
        await self.communicator.send_to(bytes_data=frame)

    async def event(self, *, timeout: float = TIMEOUT) -> Event:
        event: Event = json.loads(await self.communicator.receive_from(timeout=timeout))
        check_event(event)
        self.events.append(event)
        return event

    async def until(self, kind: str, *, timeout: float = TIMEOUT) -> Event:
        """Read up to the first event of this type."""
        async with asyncio.timeout(timeout):
            while True:
                event = await self.event(timeout=timeout)
                if event["type"] == kind:
                    return event
                assert not is_terminal(event), f"{event} came before {kind}"

    async def rest(self, *, timeout: float = TIMEOUT) -> list[Event]:
        """Read up to the terminal event; return all events of this socket."""
        async with asyncio.timeout(timeout):
            while not (self.events and is_terminal(self.events[-1])):
                await self.event(timeout=timeout)
        return self.events

    async def refusal(self) -> Event:
        """Return the error with which the server refuses, and the code with which it closes."""
        event = await self.event()
        assert event["type"] == "error", event
        return {**event["error"], "close": await self.close_code()}

    async def close_code(self) -> int:
        """Wait until the server closes the socket; return the code."""
        message = await self.communicator.receive_output(timeout=TIMEOUT)
        assert message["type"] == "websocket.close", message
        return int(message.get("code", 1000))

    async def close(self) -> None:
        await self.communicator.disconnect()


class Chatting:
    """A client that opens sockets on an ASGI application."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self.sockets: list[Socket] = []

    async def socket(
        self,
        *,
        subprotocol: str | None = None,
        headers: dict[str, str] | None = None,
        query: str = "",
        address: str = "",
    ) -> Socket:
        """Open a socket, as a client at this address if one is given."""
        raw = [
            (name.encode(), value.encode())
            for name, value in {"host": "testserver", **AS_SCRIPT, **(headers or {})}.items()
        ]
        communicator = WebsocketCommunicator(
            self._application,
            f"{PATH}?{query}",
            headers=raw,
            subprotocols=[subprotocol] if subprotocol else None,
        )
        if address:
            communicator.scope["client"] = [address, 40_000]
        accepted, chosen = await communicator.connect(timeout=TIMEOUT)
        assert accepted
        assert chosen == subprotocol
        socket = Socket(communicator)
        self.sockets.append(socket)
        return socket

    async def ask(
        self, request: dict[str, Any] | str = "What is the answer?", **options: Any
    ) -> Socket:
        """Send a request on a new socket; return the socket."""
        socket = await self.socket(**options)
        await socket.send(chat_request(request) if isinstance(request, str) else request)
        return socket

    async def answer(
        self, request: dict[str, Any] | str = "What is the answer?", **options: Any
    ) -> list[Event]:
        """Send a request; return its events up to the terminal one."""
        return await (await self.ask(request, **options)).rest()

    async def close(self) -> None:
        for socket in self.sockets:
            await socket.close()
