"""daphne with back-pressure: who sends to a WebSocket waits while its reader has much to take, and a reader that stops is dropped."""

import asyncio
import fcntl
import logging
import socket
import sys
import termios
from contextlib import suppress
from struct import pack
from typing import Any

import autobahn.websocket.protocol
import daphne.server
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import tcp
from twisted.internet.main import CONNECTION_LOST

logger = logging.getLogger(__name__)

# Bytes in our memory, and as many in the kernel's, above which senders wait for the reader.
FULL = 64 * 1024
# Bytes of a frame, the most that comes on top of that: a longer message goes out in several frames.
PIECE = 2**16 - 1
LOOK = 1.0  # seconds between looks at a reader for which somebody waits
PATIENCE = 10  # looks in a row at which it has taken nothing, then it is dropped
FAREWELL = 5.0  # seconds that a reader has to answer a close frame before its connection is cut
MOST_WAITING = 8 * 1024 * 1024  # bytes of a client's frames that wait to be handled
FRAME_COST = 1024  # bytes that a frame costs besides its text
TRY_AGAIN_LATER = 1013
TEXT, BINARY, CONTINUATION = 1, 2, 0  # opcodes
LONG = 126  # in place of a frame's size: it stands in the next two bytes
LAST = 0x80  # in a frame's first byte: its message ends there

# For a debug line that nobody reads autobahn formats its options at every connection: prettily, that is half of what a handshake costs.
autobahn.websocket.protocol.pformat = repr  # type: ignore[attr-defined, assignment]


class Server(daphne.server.Server):  # type: ignore[misc]
    """daphne, whose `send` to a WebSocket returns when the reader has room for more, or is gone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._readers: dict[Any, Reader] = {}

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        port.transport = Connection
        self.ws_factory.protocol = Client

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        reader = self._readers.get(protocol)
        if reader is None:
            # HTTP, where nothing is longer than a page; a handshake; or a client that has gone.
            await super().handle_reply(protocol, message)
            if message["type"] == "websocket.accept" and protocol.state == protocol.STATE_OPEN:
                self._readers[protocol] = Reader(protocol)
        elif message["type"] == "websocket.close":
            await reader.close(message.get("code") or 1000)
        else:
            text = message.get("text")
            await (
                reader.send(message["bytes"], BINARY)
                if text is None
                else reader.send(text.encode(), TEXT)
            )

    def protocol_disconnected(self, protocol: Any) -> None:
        super().protocol_disconnected(protocol)
        if reader := self._readers.pop(protocol, None):
            reader.stopProducing()


class Client(WebSocketProtocol):  # type: ignore[misc]
    """A WebSocket whose frames are dropped while too many wait to be handled: who asks and cancels never gets there."""

    _waiting = 0  # bytes, since the queue was last seen empty

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.application_queue.empty():
            self._waiting = 0
        self._waiting += FRAME_COST + len(payload)
        if self._waiting <= MOST_WAITING:
            super().onMessage(payload, isBinary)


class Connection(tcp.Server):
    """A client's connection that sends at once what the kernel takes, and notices a reset which comes right behind data."""

    def write(self, data: bytes) -> None:
        """Send, and keep only what the kernel does not take: Twisted keeps all, and has the loop watch the socket for each write."""
        if self.connected and not self.dataBuffer and not self._tempDataLen:
            sent = self.writeSomeData(data)
            # A connection that is lost is for the reactor to end, when it tries the same again.
            data = data if isinstance(sent, Exception) else data[sent:]
        super().write(data)  # type: ignore[no-untyped-call]

    def doRead(self) -> Any:
        # uvloop tells of an error once, by the call to read, and watches the socket no more; where that call found data, Twisted
        # would believe in the connection for ever.
        lost = super().doRead()
        if (
            lost is None
            and self.connected
            and self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        ):
            return CONNECTION_LOST
        return lost


class Reader:
    """The far end of an accepted WebSocket. It is a Twisted push producer, which is how the transport tells when it is full."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        # Is fair: senders get their turns in the order in which they came.
        self._turn = asyncio.Lock()
        self._has_room = asyncio.Event()
        self._has_room.set()
        protocol.closeHandshakeTimeout = FAREWELL
        # Else the kernel takes megabytes for a reader that is not there.
        self._transport.getHandle().setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, FULL)
        self._transport.bufferSize = FULL
        # In place of HTTPChannel: a transport has one producer.
        self._transport.unregisterProducer()
        self._transport.registerProducer(self, True)

    async def send(self, payload: bytes, opcode: int) -> None:
        """Send a message when there is room, after all earlier ones; one for a reader that has gone is dropped."""
        async with self._turn:
            for start in range(0, len(payload), PIECE):
                if not self._has_room.is_set():
                    await self._wait_for_room()
                if not self._is_open:
                    return
                end = start + PIECE
                self._transport.write(
                    frame(
                        CONTINUATION if start else opcode,
                        payload[start:end],
                        is_last=end >= len(payload),
                    )
                )

    async def close(self, code: int) -> None:
        """Say good-bye after all earlier messages."""
        async with self._turn:
            if not self._has_room.is_set():
                await self._wait_for_room()
            # Not sendClose(): it refuses the codes 1011 and 1013.
            self._protocol.sendCloseFrame(code)

    def pauseProducing(self) -> None:
        self._has_room.clear()

    def resumeProducing(self) -> None:
        self._has_room.set()

    def stopProducing(self) -> None:
        # Whoever waits goes on, and finds that nobody is there.
        self._has_room.set()

    @property
    def _is_open(self) -> bool:
        return bool(self._protocol.state == self._protocol.STATE_OPEN)

    async def _wait_for_room(self) -> None:
        """Until the reader has taken what is there, or has gone."""
        left, idle = sys.maxsize, 0
        # Looks are counted, not time: while our own loop is held up, no reader can take anything.
        while idle < PATIENCE:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._has_room.wait()
            # Asked here, since both can come in one turn of the loop.
            if self._has_room.is_set():
                return
            before, left = left, self._left
            idle = 0 if left < before else idle + 1
        self._drop()
        await self._has_room.wait()

    @property
    def _left(self) -> int:
        """Bytes that the reader has not taken yet, as far as we can see: in our memory, and in the kernel's where it tells."""
        ours: int = len(self._transport.dataBuffer) - self._transport.offset
        if sys.platform != "linux":
            return ours
        return ours + int.from_bytes(
            fcntl.ioctl(self._transport.getHandle(), termios.TIOCOUTQ, bytes(4)), sys.byteorder
        )

    def _drop(self) -> None:
        logger.info("a reader has taken nothing for %.0f s and is dropped", PATIENCE * LOOK)
        self._protocol.sendCloseFrame(TRY_AGAIN_LATER)
        # Also where the closing handshake is over, and its last frames are never taken.
        asyncio.get_running_loop().call_later(FAREWELL, self._transport.abortConnection)


def frame(opcode: int, payload: bytes, *, is_last: bool) -> bytes:
    """A frame of a WebSocket message with at most PIECE bytes. A server's are not masked, so they cost nothing more than their head."""
    first, size = opcode | (LAST if is_last else 0), len(payload)
    return (pack(">BB", first, size) if size < LONG else pack(">BBH", first, LONG, size)) + payload
