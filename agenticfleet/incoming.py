"""The connections of clients: HTTP whose requests must be small and must arrive in time, and whose
responses wait for their readers.

Twisted gives a client more time for each byte that it sends, and keeps bodies of any size. daphne
keeps what a reader doesn't take, and leaves a response open whose application has failed.
"""

import asyncio
import fcntl
import json
import logging
import socket
import sys
import termios
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from daphne.http_protocol import WebRequest
from twisted.internet import tcp
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import connectionDone
from twisted.web.http import RESPONSES, HTTPChannel
from twisted.web.http_headers import Headers

from .connections import Connections

logger = logging.getLogger(__name__)

# As in `server`: what is used beyond the documented interfaces, and what for.
INTERNAL_NAMES = {
    "daphne.http_protocol.WebRequest._response_started": "set back, to answer with an error",
    "daphne.http_protocol.WebRequest.process": "extended: gives the body to the application",
    "daphne.http_protocol.WebRequest.handle_reply": "answers with an error",
    "daphne.http_protocol.WebRequest.handle_exception": "replaced: cuts what has begun",
    "twisted.web.http.RESPONSES": "extended: the reason phrases of all statuses",
    "twisted.web.http.HTTPChannel._handlingRequest": "true from a whole request to its response",
    "twisted.web.http.HTTPChannel._savedTimeOut": "seconds of the timer after a response",
    "twisted.web.http.HTTPChannel.allHeadersReceived": "extended: bounds the body",
    "twisted.web.http.HTTPChannel.connectionMade": "extended: counts connections",
    "twisted.web.http.HTTPChannel.connectionLost": "extended: wakes waiting responses",
    "twisted.web.http.HTTPChannel.dataReceived": "extended: begins the time of a request",
    "twisted.web.http.HTTPChannel.lineLengthExceeded": "extended: answers",
    "twisted.web.http.HTTPChannel.length": "of the body; None if it isn't told",
    "twisted.web.http.HTTPChannel.pauseProducing": "extended: a response has to wait",
    "twisted.web.http.HTTPChannel.rawDataReceived": "extended: bounds a body without a length",
    "twisted.web.http.HTTPChannel.requestFactory": "makes the request of each head",
    "twisted.web.http.HTTPChannel.requestDone": "extended: begins the time until the next request",
    "twisted.web.http.HTTPChannel.resetTimeout": "replaced: no byte gives a client more time",
    "twisted.web.http.HTTPChannel.requests": "those that were begun and not answered",
    "twisted.web.http.HTTPChannel.resumeProducing": "extended: a response goes on",
    "twisted.web.http.HTTPChannel.timeoutConnection": "extended: answers",
    "twisted.web.http.HTTPChannel.writeSequence": "replaced: sends a piece at once",
    "twisted.web.http.Request._parsePOSTFormSubmission": "false: Django parses forms",
    "twisted.web.http.Request.channel": "of the request; None once it has ended",
    "twisted.web.http.Request.content": "the body, in memory or in an open file",
    "twisted.web.http.Request.finished": "true once the response is whole",
    "twisted.web.http.Request.responseHeaders": "emptied, to answer with an error",
    "twisted.web.http.Request.startedWriting": "true once the head is written",
    "twisted.internet.main.CONNECTION_LOST": "returned by doRead for a lost connection",
    "twisted.internet.tcp.Server._tempDataLen": "bytes written, but not in dataBuffer yet",
    "twisted.internet.tcp.Server.bufferSize": "bytes above which a producer is paused",
    "twisted.internet.tcp.Server.client": "address and port of the client",
    "twisted.internet.tcp.Server.connectionLost": "extended: counts connections",
    "twisted.internet.tcp.Server.connected": "false once the connection has ended",
    "twisted.internet.tcp.Server.dataBuffer": "bytes that the kernel has not accepted",
    "twisted.internet.tcp.Server.doRead": "extended: detects a reset behind data",
    "twisted.internet.tcp.Server.offset": "bytes of dataBuffer that are sent",
    "twisted.internet.tcp.Server.socket": "asked for a pending error",
    "twisted.internet.tcp.Server.write": "extended: sends at once",
    "twisted.internet.tcp.Server.writeSomeData": "passes bytes to the kernel",
}

# Seconds
HEAD_TIMEOUT = 15.0  # from the first byte of a request, or from the connection, to its whole head
BODY_TIMEOUT = 60.0  # to the end of its body
IDLE_TIMEOUT = 60.0  # from a response to the next request
LINGER = 5.0  # in which what a refused client still sends is dropped, so that it can read why
MAX_BODY = 1024 * 1024  # bytes. The largest form has a question
RESTARTING = "shutting_down", "The server is restarting. Try again in a moment."
# By their status: the code for programs and the message for people.
REFUSALS = {
    "400 Bad Request": ("bad_request", "The request can't be read."),
    "408 Request Timeout": ("handshake_timeout", "The request has not arrived in time."),
    "413 Content Too Large": ("too_large", f"A body has at most {MAX_BODY:,} bytes."),
    "431 Request Header Fields Too Large": ("too_large", "The head of the request is too long."),
    "503 Service Unavailable": ("too_many_connections", "There are too many connections."),
}

# Bytes above which senders wait: in this process's buffer, of which Twisted may keep a copy, and in
# the kernel's.
HIGH_WATER_MARK = 4 * 1024
KERNEL_MARK = 64 * 1024
CHECK_INTERVAL = 1.0  # seconds between checks of a reader that a sender waits for
MAX_IDLE_CHECKS = 10  # checks in a row that find no progress before the reader is dropped
MAX_LOGGED_PATH = 200  # bytes

# Twisted says "Unknown Status" of those that are newer than it.
for _status in HTTPStatus:
    RESPONSES.setdefault(_status.value, _status.phrase.encode())


class Room:
    """Tells senders when the reader of a connection has room for more.

    It is a Twisted push producer, because a transport tells its producer when its buffer is full.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._is_free = asyncio.Event()
        self._is_free.set()
        # By default the kernel buffers megabytes for a reader that has stopped reading.
        transport.getHandle().setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_MARK)
        transport.bufferSize = HIGH_WATER_MARK

    def pauseProducing(self) -> None:
        self._is_free.clear()

    def resumeProducing(self) -> None:
        self._is_free.set()

    def stopProducing(self) -> None:
        """Wake the waiting senders; they check whether the connection has ended."""
        self._is_free.set()

    @property
    def is_free(self) -> bool:
        return self._is_free.is_set()

    async def wait(self) -> bool:
        """Wait until the reader has taken what is buffered, or has disconnected.

        Return False if it takes nothing.
        """
        left, idle_checks = sys.maxsize, 0
        # Count checks, not seconds: while this process's loop is blocked, no reader makes progress.
        while idle_checks < MAX_IDLE_CHECKS:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_INTERVAL):
                    await self._is_free.wait()
            # Check the event, not the timeout: both can happen in the same turn of the loop.
            if self._is_free.is_set():
                return True
            before, left = left, self.untaken_bytes
            idle_checks = 0 if left < before else idle_checks + 1
        logger.info(
            "a reader has taken nothing for %.0f s and is dropped", MAX_IDLE_CHECKS * CHECK_INTERVAL
        )
        return False

    async def wait_for_the_end(self) -> None:
        """Wait until a reader that is dropped has disconnected, or has taken all after all."""
        await self._is_free.wait()

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


class Channel(HTTPChannel):
    """HTTP on a connection, whose requests must be small and must arrive in time."""

    transport: Any
    _has_begun = False  # the next request
    _is_refused = False
    _body_size = 0  # bytes so far of a body that hasn't told its length
    _unsent = sys.maxsize  # bytes of responses, when a timeout last looked

    def connectionMade(self) -> None:
        super().connectionMade()  # type: ignore[no-untyped-call]
        self.requestFactory = Request
        self.room = Room(self.transport)
        self.setTimeout(HEAD_TIMEOUT)  # type: ignore[no-untyped-call]
        if not self.transport.count_in(self.factory.connections):
            self.transport.write(response("503 Service Unavailable"))
            # At once, because it would take the place of another one.
            self.loseConnection()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any = connectionDone) -> None:
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.room.stopProducing()

    # --- Requests

    def resetTimeout(self) -> None:
        """Give a client no more time for each byte that it sends."""

    def dataReceived(self, data: bytes) -> None:
        if self._is_refused:
            return
        if not self._has_begun:
            self._has_begun = True
            self.setTimeout(HEAD_TIMEOUT)  # type: ignore[no-untyped-call]
        try:
            super().dataReceived(data)  # type: ignore[no-untyped-call]
        except ValueError:  # a Content-Length of thousands of digits
            self.refuse("400 Bad Request")

    def lineLengthExceeded(self, line: bytes) -> None:
        self.refuse("431 Request Header Fields Too Large")

    def allHeadersReceived(self) -> None:
        if (self.length or 0) > MAX_BODY:
            self.refuse("413 Content Too Large")
            return
        if self.length != 0:
            self._body_size = 0
            self.setTimeout(BODY_TIMEOUT)  # type: ignore[no-untyped-call]
            # Twisted would parse forms in the event loop, in addition to Django.
            self.requests[-1]._parsePOSTFormSubmission = False
        # daphne takes a client's word for where the site begins, and fails if it isn't ASCII.
        self.requests[-1].requestHeaders.removeHeader(b"Daphne-Root-Path")
        super().allHeadersReceived()  # type: ignore[no-untyped-call]

    def rawDataReceived(self, data: bytes) -> None:
        if self.length is None and not self._handlingRequest:
            self._body_size += len(data)
            if self._body_size > MAX_BODY:
                self.refuse("413 Content Too Large")
        if not self._is_refused:
            super().rawDataReceived(data)

    def timeoutConnection(self) -> None:
        before, self._unsent = self._unsent, unsent(self.transport)
        if self._is_refused:
            self.transport.abortConnection()
        elif self._has_begun:
            self.refuse("408 Request Timeout")
        elif 0 < self._unsent < before:  # The last response is long, or its reader slow.
            self.setTimeout(IDLE_TIMEOUT)  # type: ignore[no-untyped-call]
        else:
            super().timeoutConnection()  # type: ignore[no-untyped-call]

    def refuse(self, status: str) -> None:
        """Answer what can't be passed to the application, and end the connection."""
        self._is_refused = True
        self.transport.write(response(status))
        # Closed for both directions, a connection with unread bytes is reset, and the answer lost.
        self.transport.loseWriteConnection()
        self.setTimeout(LINGER)  # type: ignore[no-untyped-call]

    # --- Responses

    def requestDone(self, request: Any) -> None:
        self._has_begun = False
        self._savedTimeOut = IDLE_TIMEOUT
        super().requestDone(request)  # type: ignore[no-untyped-call]

    def pauseProducing(self) -> None:
        super().pauseProducing()  # type: ignore[no-untyped-call]
        self.room.pauseProducing()

    def resumeProducing(self) -> None:
        super().resumeProducing()  # type: ignore[no-untyped-call]
        self.room.resumeProducing()

    def writeSequence(self, iovec: Any) -> None:
        """Write a piece of a response as one, so that the connection sends it at once."""
        self.transport.write(b"".join(iovec))


class Request(WebRequest):  # type: ignore[misc]
    """A request whose response waits for its reader, and is cut if its application fails."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The lock is fair: pieces are sent in the order in which they were passed to `send`.
        self.turn = asyncio.Lock()

    def process(self) -> None:
        """Answer a request that is whole.

        Its body would be kept until the response has ended, the application's copy aside.
        """
        super().process()
        if self.content is not None:
            self.content.close()

    async def wait_for_room(self) -> None:
        """Wait until the reader has taken most of the response. Cut one that takes nothing."""
        if not self.channel or self.channel.room.is_free:
            return
        transport = self.channel.transport
        if not await self.channel.room.wait():
            transport.abortConnection()

    def application_done(self, application: "asyncio.Task[None]") -> None:
        """Let no client wait for the rest of a response, or take its beginning for all of it."""
        if self.finished or self.channel is None:
            return
        if application.cancelled():
            # The process exits. Its run goes on elsewhere, and the same request once more joins it.
            self.fail(HTTPStatus.SERVICE_UNAVAILABLE, *RESTARTING, {b"retry-after": b"2"})
            return
        if not application.exception():
            logger.error("a response has no end: %s", ascii(self.path[:MAX_LOGGED_PATH]))
        self.handle_exception(None)

    def handle_exception(self, exception: BaseException | None) -> None:
        """Answer 500, or cut the connection if the response has begun.

        daphne's own answers again and fails with that, in the job that looks after all connections.
        """
        self.fail(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "Something went wrong here.", {})

    def fail(self, status: int, code: str, message: str, headers: Mapping[bytes, bytes]) -> None:
        """Answer with an error, or cut the connection if the response has begun."""
        if self.finished or self.channel is None:
            return
        if self.startedWriting:
            self.channel.transport.abortConnection()
            return
        self._response_started = False
        self.responseHeaders = Headers()
        fields = [(b"content-type", b"application/json"), *headers.items()]
        self.handle_reply({"type": "http.response.start", "status": status, "headers": fields})
        body = error_object(code, message, kind="api_error").encode()
        self.handle_reply({"type": "http.response.body", "body": body})


def response(status: str) -> bytes:
    """Return a refusal, with the error object of OpenAI's API, which clients of the doors read."""
    kind = "api_error" if status.startswith("5") else "invalid_request_error"
    body = error_object(*REFUSALS[status], kind=kind)
    head = (
        f"HTTP/1.1 {status}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*head, "", body)).encode()


def error_object(code: str, message: str, *, kind: str) -> str:
    error = {"message": message, "type": kind, "code": code, "param": None}
    return json.dumps({"error": error})


class Connection(tcp.Server):
    """A client's connection that sends at once and detects a reset that arrives behind data."""

    _counted_in: Connections | None = None

    def count_in(self, connections: Connections) -> bool:
        """Count this connection until it ends. Return False if there are too many."""
        if not connections.admit(str(self.client[0])):
            return False
        self._counted_in = connections
        return True

    def connectionLost(self, reason: Any) -> None:
        super().connectionLost(reason)
        counted_in, self._counted_in = self._counted_in, None
        if counted_in:
            counted_in.release(str(self.client[0]))

    def write(self, data: bytes) -> None:
        """Send what the kernel accepts, and leave the rest to Twisted.

        Twisted itself keeps all bytes, makes the loop watch the socket (two system calls a write)
        and sends a turn later. Not doing so saves 39 of the 147 µs that a delta costs.
        """
        # Bytes that Twisted already keeps must be sent first.
        if self.connected and not self.dataBuffer and not self._tempDataLen:
            sent = self.writeSomeData(data)
            # After an error leave everything to Twisted: its next attempt ends the connection.
            data = data if isinstance(sent, Exception) else data[sent:]
        super().write(data)  # type: ignore[no-untyped-call]

    def doRead(self) -> Any:
        lost = super().doRead()
        # uvloop reports an error once, by calling this method, and then stops watching the socket.
        # If that call finds data, Twisted would keep the connection forever.
        if (
            lost is None
            and self.connected
            and self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        ):
            return CONNECTION_LOST
        return lost


def unsent(transport: Any) -> int:
    """Return the number of bytes that the kernel has not accepted yet."""
    return int(len(transport.dataBuffer) - transport.offset + transport._tempDataLen)
