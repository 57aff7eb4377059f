"""A client of AgenticFleet. It needs this file, protocol.py, and the packages msgspec, websockets.

    fleet = Fleet("ws://127.0.0.1:8000/ws/chat/", token="fleet_…")
    answer = await fleet.ask("What is 12 * 7?")
    print(answer.text)

or, to see the answer as it is made:

    async with fleet.follow(question("What is 12 * 7?")) as run:
        async for event in run:
            if isinstance(event, ResponseDelta):
                print(event.delta, end="")

A connection that breaks, or is silent for too long, is opened again, and goes on where it stopped.
"""

import asyncio
import random
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

if TYPE_CHECKING or __package__:
    from .protocol import (
        EVENT_TYPES,
        AskData,
        AskOpened,
        Cancel,
        ChatRequest,
        Connected,
        Done,
        Error,
        ErrorInfo,
        Reply,
        ReplyRequest,
        ResponseDelta,
        ResponseSnapshot,
        RoutingDecided,
        SourceData,
        StreamEvent,
        ToolComplete,
        Usage,
    )
else:  # These two files stand alone in a folder.
    from protocol import (
        EVENT_TYPES,
        AskData,
        AskOpened,
        Cancel,
        ChatRequest,
        Connected,
        Done,
        Error,
        ErrorInfo,
        Reply,
        ReplyRequest,
        ResponseDelta,
        ResponseSnapshot,
        RoutingDecided,
        SourceData,
        StreamEvent,
        ToolComplete,
        Usage,
    )

URL = "ws://127.0.0.1:8000/ws/chat/"
SUBPROTOCOL = Subprotocol("fleet.json.v1")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Seconds
SILENCE = 12.0  # after which a connection counts as broken: the server sends a frame each 5 s
PATIENCE = 60.0  # without a frame, until the answer is given up
OPEN_TIMEOUT = 10.0
CLOSE_TIMEOUT = 2.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 3.0  # between two attempts to connect

BROKEN = (ConnectionClosed, InvalidHandshake, OSError, TimeoutError)


class FleetError(Exception):
    """The root of what this client raises."""


class Refused(FleetError):
    """The server refuses the request. `error.code` says why, `error.retryable` whether for now."""

    def __init__(self, error: ErrorInfo) -> None:
        super().__init__(error.message)
        self.error = error


class Failed(FleetError):
    """The run has ended with an error. `answer` has what came before."""

    def __init__(self, error: ErrorInfo, answer: "Answer") -> None:
        super().__init__(error.message)
        self.error = error
        self.answer = answer


class Lost(FleetError):
    """The server can't be reached, or not any more."""


class Answer(msgspec.Struct, kw_only=True):
    """What came of a question. `status` is "paused" if `asks` wait for replies."""

    text: str = ""
    status: str = ""
    run_id: str = ""
    conversation_id: uuid.UUID | None = None
    path: str | None = None
    sources: list[SourceData] = []
    asks: list[AskData] = []
    usage: Usage = Usage()


def question(message: str, **fields: Any) -> ChatRequest:
    """Return the request that asks this. Fields are those of a ChatRequest."""
    return ChatRequest(message=message, message_id=uuid.uuid4(), **fields)


class Fleet:
    """A server, and who asks it."""

    def __init__(
        self,
        url: str = URL,
        *,
        token: str = "",
        headers: Mapping[str, str] | None = None,
        at: tuple[str, int] | None = None,
        silence: float = SILENCE,
        patience: float = PATIENCE,
    ) -> None:
        """`at` is the place to connect to, if the URL names the server otherwise."""
        self.url = url
        self.headers = {
            **({"Authorization": f"Bearer {token}"} if token else {}),
            **(headers or {}),
        }
        self.at = at
        self.silence = silence
        self.patience = patience

    async def ask(self, message: str, **fields: Any) -> Answer:
        """Return the answer to a question. Raise Refused, Failed or Lost.

        If this is cancelled, so is the run.
        """
        return await self._answer(question(message, **fields))

    async def reply(self, paused: Answer, replies: Sequence[Reply]) -> Answer:
        """Return the answer that goes on after these replies, one for each of its asks."""
        continues = uuid.UUID(paused.run_id)
        return await self._answer(
            ReplyRequest(message_id=uuid.uuid4(), continues=continues, replies=list(replies))
        )

    def follow(self, request: ChatRequest | ReplyRequest) -> "Following":
        """Return the events of the run that this request starts, or that it has started before."""
        return Following(self, request)

    async def _answer(self, request: ChatRequest | ReplyRequest) -> Answer:
        async with self.follow(request) as run:
            try:
                async for event in run:
                    if isinstance(event, Error):
                        raise Failed(event.error, run.answer)
            except asyncio.CancelledError:
                await run.cancel()
                raise
            return run.answer

    async def connect(self) -> ClientConnection:
        """Open a socket. Raise one of BROKEN."""
        place: dict[str, Any] = {}
        if self.at:
            place["host"], place["port"] = self.at
        name = place.get("host") or urlsplit(self.url).hostname
        return await connect(
            self.url,
            subprotocols=[SUBPROTOCOL],
            additional_headers=self.headers,
            proxy=None if name in LOOPBACK else True,
            compression=None,
            max_size=None,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=CLOSE_TIMEOUT,
            ping_interval=None,  # the server's frames tell whether it lives
            **place,
        )


class Following:
    """The events of one run, up to `done` or `error`, over as many connections as it takes.

    Events of types that this version doesn't know are skipped.
    """

    def __init__(self, fleet: Fleet, request: ChatRequest | ReplyRequest) -> None:
        self.fleet = fleet
        self.request = request
        self.answer = Answer()
        self.frame = ""  # the last event as it was sent
        self.seq = request.after
        self.is_over = False
        self._socket: ClientConnection | None = None
        self._is_cancelled = False
        self._attempts = 0  # to connect, since the last frame
        self._last_sign_at: float | None = None  # that the server is there

    async def __aenter__(self) -> "Following":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> "Following":
        return self

    async def __anext__(self) -> StreamEvent:
        """Return the next event. Raise Refused or Lost."""
        while not self.is_over:
            try:
                frame = await self._next_frame()
            except BROKEN as exc:
                await self._pause(exc)
                continue
            event = event_of(frame)
            if event is None:
                continue
            if isinstance(event, Error) and event.data.status is None:
                await self._refused(event.error)
                continue
            self.frame = frame
            self._note(event)
            return event
        await self.close()
        raise StopAsyncIteration

    async def cancel(self) -> None:
        """Ask the server to end the run. Its last events still come: `cancelled` and `done`."""
        self._is_cancelled = True
        if self._socket:
            # On a broken connection: it is sent again on the next one.
            with suppress(ConnectionClosed):
                await self._socket.send(encoded(Cancel()))

    async def close(self) -> None:
        """Close the socket. The run goes on, and can be followed again by the same request."""
        if socket := self._socket:
            self._socket = None
            await socket.close()

    async def _next_frame(self) -> str:
        if self._socket is None:
            self._attempts += 1
            socket = await self.fleet.connect()
            self._last_sign_at = self._last_sign_at or time.monotonic()
            await socket.send(encoded(msgspec.structs.replace(self.request, after=self.seq)))
            if self._is_cancelled:
                await socket.send(encoded(Cancel()))
            self._socket = socket
        async with asyncio.timeout(self.fleet.silence):
            frame = await self._socket.recv(decode=True)
        self._attempts = 0
        self._last_sign_at = time.monotonic()
        return frame

    async def _pause(self, exc: Exception, seconds: float | None = None) -> None:
        """Leave a broken connection, and wait until the next attempt. Raise Lost if none is due."""
        await self.close()
        if self._last_sign_at is None:
            raise Lost(f"{self.fleet.url} can't be reached: {reason_of(exc)}") from exc
        if time.monotonic() - self._last_sign_at > self.fleet.patience:
            raise Lost(f"{self.fleet.url} can't be reached any more: {reason_of(exc)}") from exc
        longest = min(FIRST_PAUSE * 2**self._attempts, LONGEST_PAUSE)
        await asyncio.sleep(seconds or random.uniform(longest / 2, longest))  # noqa: S311

    async def _refused(self, error: ErrorInfo) -> None:
        """Raise Refused, unless the run is there and may be followed in a moment."""
        refusal = Refused(error)
        if not (error.retryable and self.answer.run_id):
            await self.close()
            raise refusal
        await self._pause(refusal, error.retry_after_s)

    def _note(self, event: StreamEvent) -> None:
        """Note what the event adds to the answer."""
        self.seq = max(self.seq, event.seq)
        answer = self.answer
        answer.run_id = event.workflow_id or answer.run_id
        match event:
            case Connected(data=data):
                answer.conversation_id = data.conversation_id
            case RoutingDecided(data=route):
                answer.path = route.path
            case ResponseDelta(delta=delta):
                answer.text += delta
            case ResponseSnapshot(data=snapshot):
                answer.text = snapshot.text
            case ToolComplete(data=result):
                known = {source.number for source in answer.sources}
                answer.sources += [each for each in result.sources if each.number not in known]
            case AskOpened(data=ask):
                answer.asks.append(ask)
            case Done(data=summary) | Error(data=summary):
                self.is_over = True
                answer.status = summary.status or ""
                answer.usage = summary.usage
                answer.path = summary.path


class _Head(msgspec.Struct):
    type: str


_EVENTS = msgspec.json.Decoder(StreamEvent)
_HEAD = msgspec.json.Decoder(_Head)
_TYPES = frozenset(kind.__struct_config__.tag for kind in EVENT_TYPES)
encoded_text = msgspec.json.Encoder().encode


def encoded(request: ChatRequest | ReplyRequest | Cancel) -> str:
    return encoded_text(request).decode()


def event_of(frame: str | bytes) -> StreamEvent | None:
    """Return a frame as an event; None if this version doesn't know its type."""
    try:
        event: StreamEvent = _EVENTS.decode(frame)
        return event
    except msgspec.ValidationError:
        if _HEAD.decode(frame).type in _TYPES:
            raise
        return None


def reason_of(exc: Exception) -> str:
    return str(exc) or type(exc).__name__


async def ask(message: str, url: str = URL, *, token: str = "", **fields: Any) -> Answer:
    """Return the answer to one question. Raise Refused, Failed or Lost."""
    return await Fleet(url, token=token).ask(message, **fields)


async def main(message: str, url: str = URL, token: str = "") -> int:
    """Print the answer to a question as it comes. Return the exit code."""
    fleet = Fleet(url, token=token)
    try:
        async with fleet.follow(question(message)) as run:
            async for event in run:
                match event:
                    case ResponseDelta(delta=delta):
                        print(delta, end="", flush=True)
                    case ResponseSnapshot():
                        print("\nThe answer starts again:")
                        print(run.answer.text, end="", flush=True)
                    case Error(error=error):
                        print(f"\n{error.message}", file=sys.stderr)
                        return 1
    except FleetError as exc:
        print(exc, file=sys.stderr)
        return 1
    print(f"\n({run.answer.status})")
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
