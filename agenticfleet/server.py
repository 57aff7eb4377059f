"""Serve with daphne, but make `send` wait while its reader is behind.

daphne itself buffers without bound. This module and `incoming` are the only ones that use internal
names of daphne, Twisted and autobahn. INTERNAL_NAMES lists them, and a test looks each of them up.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from struct import pack
from typing import Any

import autobahn.websocket.protocol
import uvloop
from twisted.internet import asyncioreactor

# When daphne.server is imported, it adopts the reactor that is installed. Without one it would
# install its own, on asyncio's slower loop.
loop = uvloop.new_event_loop()
asyncioreactor.install(loop)  # type: ignore[no-untyped-call]

import daphne.server  # noqa: E402
from daphne.ws_protocol import WebSocketProtocol  # noqa: E402

from .connections import Connections, max_connections  # noqa: E402
from .incoming import KERNEL_MARK, Channel, Connection, Request, Room  # noqa: E402

# What this module uses beyond the documented interfaces, and what for. Look here first if an
# upgrade of daphne, Twisted or autobahn fails; pyproject.toml keeps them below the next one.
INTERNAL_NAMES = {
    "daphne.server.Server.connections": "the applications that answer now",
    "daphne.server.Server.create_application": "extended: an application's end is looked at",
    "daphne.server.Server.http_factory": "makes the channel of each connection",
    "daphne.server.Server.handle_reply": "extended: `send` waits for room",
    "daphne.server.Server.listen_success": "extended: sets the classes of new connections",
    "daphne.server.Server.listening_addresses": "is empty if the server could not listen",
    "daphne.server.Server.protocol_disconnected": "extended: wakes waiting senders",
    "daphne.server.Server.ready_callable": "called once the server listens",
    "daphne.server.Server.ws_factory": "makes the protocol of each WebSocket",
    "daphne.ws_protocol.WebSocketProtocol.application_queue": "frames not handled yet",
    "daphne.ws_protocol.WebSocketProtocol.onMessage": "extended: limits that queue",
    "autobahn.websocket.protocol.pformat": "replaced: formats options at every connection",
    "autobahn.websocket.protocol.WebSocketProtocol.STATE_OPEN": "the state of an open WebSocket",
    "autobahn.websocket.protocol.WebSocketProtocol.sendCloseFrame": "closes with any code",
    "autobahn.websocket.protocol.WebSocketProtocol.state": "compared with STATE_OPEN",
    "twisted.internet.tcp.Port.transport": "the class of accepted connections",
}

# Bytes. A longer message is sent in several frames, because one frame may exceed the mark.
MAX_FRAME_PAYLOAD = 2**16 - 1
CLOSE_TIMEOUT = 5.0  # seconds to answer a close frame before the connection is cut
MAX_QUEUED_BYTES = 8 * 1024 * 1024  # of one client's frames that wait to be handled
FRAME_OVERHEAD = 1024  # bytes that a queued frame costs in addition to its payload
TRY_AGAIN_LATER = 1013

# Parts of a frame's head, as in RFC 6455, section 5.2.
CONTINUATION, TEXT, BINARY = 0, 1, 2  # opcodes
FIN = 0x80  # set in the first byte of a message's last frame
EXTENDED_LENGTH = 126  # in place of the length, which follows in two bytes

# autobahn formats 36 options at every connection, for a debug line that is switched off. Its
# pretty printer took 0.2 of a handshake's 0.5 ms.
autobahn.websocket.protocol.pformat = repr  # type: ignore[attr-defined, assignment]


class Server(daphne.server.Server):  # type: ignore[misc]
    """daphne, whose `send` returns once its reader has room or has disconnected."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._readers: dict[Any, Reader] = {}
        self._ports: list[Any] = []

    def serve_while(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Serve until `work` has ended, and raise what it raised.

        Return False, without having called `work`, if the server cannot listen.
        """
        tasks: list[asyncio.Task[None]] = []

        def start() -> None:
            tasks.append(loop.create_task(work()))
            tasks[0].add_done_callback(lambda _: self.stop())

        self.ready_callable = start
        self.run()
        if not self.listening_addresses:
            return False
        tasks[0].result()
        return True

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        self._ports.append(port)
        port.transport = Connection
        self.http_factory.protocol = Channel
        self.http_factory.connections = Connections(max_connections())
        self.ws_factory.protocol = Client
        self.ws_factory.setProtocolOptions(closeHandshakeTimeout=CLOSE_TIMEOUT)

    def stop_listening(self) -> None:
        """Accept no more connections. Other processes that listen on the same socket get them."""
        for port in self._ports:
            port.stopListening()

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        queue = super().create_application(protocol, scope)
        if queue is not None and isinstance(protocol, Request):
            application = self.connections[protocol]["application_instance"]
            application.add_done_callback(protocol.application_done)
        return queue

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        reader = self._readers.get(protocol)
        if message["type"] == "http.response.body":
            async with protocol.turn:
                for piece in pieces_of(message):
                    await protocol.wait_for_room()
                    await super().handle_reply(protocol, piece)
        elif reader is None:
            # A response's head, a handshake, or a client that has disconnected.
            await super().handle_reply(protocol, message)
            if message["type"] == "websocket.accept" and protocol.state == protocol.STATE_OPEN:
                self._readers[protocol] = Reader(protocol)
        elif message["type"] == "websocket.close":
            await reader.close(message.get("code") or 1000)
        elif (text := message.get("text")) is not None:
            await reader.send(text.encode(), TEXT)
        else:
            await reader.send(message["bytes"], BINARY)

    def protocol_disconnected(self, protocol: Any) -> None:
        super().protocol_disconnected(protocol)
        if reader := self._readers.pop(protocol, None):
            reader.room.stopProducing()


class Client(WebSocketProtocol):  # type: ignore[misc]
    """A WebSocket that drops frames while too many of them wait to be handled.

    Reading from the connection could stop instead, but then a cancel would wait behind nonsense.
    """

    _queued_bytes = 0  # since the queue was last empty

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.application_queue.empty():
            self._queued_bytes = 0
        self._queued_bytes += FRAME_OVERHEAD + len(payload)
        if self._queued_bytes <= MAX_QUEUED_BYTES:
            super().onMessage(payload, isBinary)


class Reader:
    """The far end of an accepted WebSocket."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        # The lock is fair: messages are sent in the order in which they were passed to `send`.
        self._turn = asyncio.Lock()
        self.room = Room(self._transport)
        # A transport has one producer, so replace daphne's HTTP channel, which made the handshake.
        self._transport.unregisterProducer()
        self._transport.registerProducer(self.room, True)

    async def send(self, payload: bytes, opcode: int) -> None:
        """Send a message after all earlier ones, when there is room.

        Drop it if the reader has disconnected.
        """
        async with self._turn:
            for start in range(0, len(payload), MAX_FRAME_PAYLOAD):
                if not self.room.is_free:
                    await self.wait_for_room()
                if not self.is_open:
                    return
                end = start + MAX_FRAME_PAYLOAD
                self._transport.write(
                    frame(
                        CONTINUATION if start else opcode,
                        payload[start:end],
                        is_last=end >= len(payload),
                    )
                )

    async def close(self, code: int) -> None:
        """Send a close frame after all earlier messages."""
        async with self._turn:
            if not self.room.is_free:
                await self.wait_for_room()
            # The public sendClose() rejects the codes 1011 and 1013.
            self._protocol.sendCloseFrame(code)

    @property
    def is_open(self) -> bool:
        return bool(self._protocol.state == self._protocol.STATE_OPEN)

    async def wait_for_room(self) -> None:
        """Wait until the reader has taken what is buffered, or has disconnected or been dropped."""
        if not await self.room.wait():
            self.drop()
            await self.room.wait_for_the_end()

    def drop(self) -> None:
        """Ask the reader to come back later, and cut its connection if it does not answer."""
        self._protocol.sendCloseFrame(TRY_AGAIN_LATER)
        # autobahn's own timeout is not enough: if the reader has sent a close frame before, the
        # closing handshake is over, but the last frames may never be taken.
        loop.call_later(CLOSE_TIMEOUT, self._transport.abortConnection)


def pieces_of(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a part of a response's body as parts that have room."""
    body: bytes = message.get("body", b"")
    start = 0
    while len(body) - start > KERNEL_MARK:
        end = start + KERNEL_MARK
        yield {**message, "body": body[start:end], "more_body": True}
        start = end
    yield {**message, "body": body[start:]} if start else message


def frame(opcode: int, payload: bytes, *, is_last: bool) -> bytes:
    """Return a frame of at most MAX_FRAME_PAYLOAD bytes of payload.

    A server doesn't mask its frames, so a frame costs no more than its head.
    """
    first, size = opcode | (FIN if is_last else 0), len(payload)
    if size < EXTENDED_LENGTH:
        return pack(">BB", first, size) + payload
    return pack(">BBH", first, EXTENDED_LENGTH, size) + payload
