"""Serve with daphne, but make `send` to a WebSocket wait while its reader is behind.

daphne itself buffers without bound. This module and `incoming` are the only ones that use internal
names of daphne, Twisted and autobahn. INTERNAL_NAMES lists them, and a test looks each of them up.
"""

import asyncio
import fcntl
import logging
import socket
import sys
import termios
from collections.abc import Callable, Coroutine
from contextlib import suppress
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
from .incoming import Channel, Connection, unsent  # noqa: E402

logger = logging.getLogger(__name__)

# What this module uses beyond the documented interfaces, and what for. Look here first if an
# upgrade of daphne, Twisted or autobahn fails; pyproject.toml keeps them below the next one.
INTERNAL_NAMES = {
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
    "twisted.web.http.Request.channel": "of the request; None once it has ended",
    "twisted.internet.tcp.Port.transport": "the class of accepted connections",
    "twisted.internet.tcp.Server.bufferSize": "bytes above which a producer is paused",
}

# Bytes in this process's buffers above which senders wait; as many may wait in the kernel's.
HIGH_WATER_MARK = 64 * 1024
# Bytes. A longer message is sent in several frames, because one frame may exceed the mark.
MAX_FRAME_PAYLOAD = 2**16 - 1
CHECK_INTERVAL = 1.0  # seconds between checks of a reader that a sender waits for
MAX_IDLE_CHECKS = 10  # checks in a row that find no progress before the reader is dropped
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
    """daphne, whose `send` to a WebSocket returns once its reader has room or has disconnected."""

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

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        reader = self._readers.get(protocol)
        if reader is None:
            # HTTP, a handshake, or a client that has disconnected.
            await super().handle_reply(protocol, message)
            if message.get("more_body") and protocol.channel:
                await protocol.channel.wait_for_room()
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
            reader.stopProducing()


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
    """The far end of an accepted WebSocket.

    It is a Twisted push producer, because a transport tells its producer when its buffer is full.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        # The lock is fair: messages are sent in the order in which they were passed to `send`.
        self._turn = asyncio.Lock()
        self._has_room = asyncio.Event()
        self._has_room.set()
        # By default the kernel buffers megabytes for a reader that has stopped reading.
        self._transport.getHandle().setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, HIGH_WATER_MARK
        )
        self._transport.bufferSize = HIGH_WATER_MARK
        # A transport has one producer, so replace daphne's HTTP channel, which made the handshake.
        self._transport.unregisterProducer()
        self._transport.registerProducer(self, True)

    async def send(self, payload: bytes, opcode: int) -> None:
        """Send a message after all earlier ones, when there is room.

        Drop it if the reader has disconnected.
        """
        async with self._turn:
            for start in range(0, len(payload), MAX_FRAME_PAYLOAD):
                if not self._has_room.is_set():
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
            if not self._has_room.is_set():
                await self.wait_for_room()
            # The public sendClose() rejects the codes 1011 and 1013.
            self._protocol.sendCloseFrame(code)

    def pauseProducing(self) -> None:
        self._has_room.clear()

    def resumeProducing(self) -> None:
        self._has_room.set()

    def stopProducing(self) -> None:
        # Wake the waiting senders; they check `is_open`.
        self._has_room.set()

    @property
    def is_open(self) -> bool:
        return bool(self._protocol.state == self._protocol.STATE_OPEN)

    async def wait_for_room(self) -> None:
        """Wait until the reader has taken what is buffered, or has disconnected or been dropped."""
        left, idle_checks = sys.maxsize, 0
        # Count checks, not seconds: while this process's loop is blocked, no reader makes progress.
        while idle_checks < MAX_IDLE_CHECKS:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL):
                    await self._has_room.wait()
            # Check the event, not the timeout: both can happen in the same turn of the loop.
            if self._has_room.is_set():
                return
            before, left = left, self.untaken_bytes
            idle_checks = 0 if left < before else idle_checks + 1
        self.drop()
        await self._has_room.wait()

    @property
    def untaken_bytes(self) -> int:
        """Bytes that the reader has not taken yet: those in Twisted's buffer and, on Linux, those
        in the kernel's."""
        buffered = unsent(self._transport)
        if sys.platform != "linux":
            return buffered
        return buffered + int.from_bytes(
            fcntl.ioctl(self._transport.getHandle(), termios.TIOCOUTQ, bytes(4)), sys.byteorder
        )

    def drop(self) -> None:
        """Ask the reader to come back later, and cut its connection if it does not answer."""
        logger.info(
            "a reader has taken nothing for %.0f s and is dropped", MAX_IDLE_CHECKS * CHECK_INTERVAL
        )
        self._protocol.sendCloseFrame(TRY_AGAIN_LATER)
        # autobahn's own timeout is not enough: if the reader has sent a close frame before, the
        # closing handshake is over, but the last frames may never be taken.
        loop.call_later(CLOSE_TIMEOUT, self._transport.abortConnection)


def frame(opcode: int, payload: bytes, *, is_last: bool) -> bytes:
    """Return a frame of at most MAX_FRAME_PAYLOAD bytes of payload.

    A server doesn't mask its frames, so a frame costs no more than its head.
    """
    first, size = opcode | (FIN if is_last else 0), len(payload)
    if size < EXTENDED_LENGTH:
        return pack(">BB", first, size) + payload
    return pack(">BBH", first, EXTENDED_LENGTH, size) + payload
