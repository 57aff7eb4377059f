"""A page without sockets, as a client of the application: frames in a response that stays open."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from django.test import Client

from agenticfleet.asgi import application
from tests.chatting import PATH, Event, chat_request, cookie_header, is_terminal, kinds
from tests.doors.calling import Doors, Exchange

CANCEL = f"{PATH}cancel/"
ORIGIN = "http://testserver"


def frames_in(text: str) -> list[Event]:
    """Return the frames of an event stream as far as they are whole."""
    found = []
    for block in text.split("\n\n")[:-1]:
        [about, data] = block.split("\n")
        frame = json.loads(data.removeprefix("data: "))
        assert about == f"id: {frame['seq']}"
        found.append(frame)
    return found


class Reading:
    """A response that is read frame by frame."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    @property
    def events(self) -> list[Event]:
        return frames_in(self.exchange.response.text)

    async def until(self, kind: str) -> Event:
        while True:
            if found := [event for event in self.events if event["type"] == kind]:
                return found[0]
            assert await self.exchange.message(), f"no {kind} in {kinds(self.events)}"

    async def rest(self) -> list[Event]:
        """Read to the end of the response, which a terminal event has to be."""
        await self.exchange.rest()
        assert [is_terminal(event) for event in self.events].index(True) == len(self.events) - 1
        return self.events


class Page:
    """A page of a browser whose sockets can't be opened."""

    def __init__(self, client: Client) -> None:
        self.headers = {
            "cookie": cookie_header(client),
            "origin": ORIGIN,
            "authorization": "",
        }
        self._calls = Doors(application)

    @asynccontextmanager
    async def asks(
        self, request: Any = "What is the answer?", *, query: str = "", **headers: str
    ) -> AsyncIterator[Reading]:
        body = chat_request(request) if isinstance(request, str) else request
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        path = f"{PATH}?{query}"
        async with self._calls.stream(
            "POST", path, body, headers={**self.headers, **named}
        ) as exchange:
            yield Reading(exchange)

    async def answer(self, request: Any = "What is the answer?", **options: Any) -> list[Event]:
        async with self.asks(request, **options) as reading:
            return await reading.rest()

    async def refusal(self, request: Any = "What?", **options: Any) -> tuple[int, dict[str, Any]]:
        """Return the status and the error of a request that is refused."""
        async with self.asks(request, **options) as reading:
            [event] = await reading.rest()
            assert event["html"]
            return reading.exchange.response.status, event["error"]

    async def cancel(self, request: dict[str, Any], *, query: str = "", **headers: str) -> int:
        body = {"type": "cancel", "message_id": request["message_id"]}
        path = f"{CANCEL}?{query}"
        response = await self._calls.post(path, body, headers={**self.headers, **headers})
        return response.status
