"""The connections of clients: HTTP whose requests must be small and must arrive in time.

Twisted gives a client more time for each byte that it sends, and keeps bodies of any size.
"""

import asyncio
import socket
import sys
from typing import Any

from twisted.internet import tcp
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import connectionDone
from twisted.web.http import HTTPChannel

from .connections import Connections

# As in `server`: what is used beyond the documented interfaces, and what for.
INTERNAL_NAMES = {
    "twisted.web.http.HTTPChannel._handlingRequest": "true from a whole request to its response",
    "twisted.web.http.HTTPChannel._savedTimeOut": "seconds of the timer after a response",
    "twisted.web.http.HTTPChannel.allHeadersReceived": "extended: bounds the body",
    "twisted.web.http.HTTPChannel.connectionMade": "extended: counts connections",
    "twisted.web.http.HTTPChannel.connectionLost": "extended: wakes a waiting response",
    "twisted.web.http.HTTPChannel.dataReceived": "extended: begins the time of a request",
    "twisted.web.http.HTTPChannel.lineLengthExceeded": "extended: answers",
    "twisted.web.http.HTTPChannel.length": "of the body; None if it isn't told",
    "twisted.web.http.HTTPChannel.pauseProducing": "extended: a response has to wait",
    "twisted.web.http.HTTPChannel.rawDataReceived": "extended: bounds a body without a length",
    "twisted.web.http.HTTPChannel.requestDone": "extended: begins the time until the next request",
    "twisted.web.http.HTTPChannel.resetTimeout": "replaced: no byte gives a client more time",
    "twisted.web.http.HTTPChannel.requests": "those that were begun and not answered",
    "twisted.web.http.HTTPChannel.resumeProducing": "extended: a response goes on",
    "twisted.web.http.HTTPChannel.timeoutConnection": "extended: answers",
    "twisted.web.http.Request._parsePOSTFormSubmission": "false: Django parses forms",
    "twisted.internet.main.CONNECTION_LOST": "returned by doRead for a lost connection",
    "twisted.internet.tcp.Server._tempDataLen": "bytes written, but not in dataBuffer yet",
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


class Channel(HTTPChannel):
    """HTTP on a connection, whose requests must be small and must arrive in time."""

    transport: Any
    _has_begun = False  # the next request
    _is_refused = False
    _body_size = 0  # bytes so far of a body that hasn't told its length
    _unsent = sys.maxsize  # bytes of responses, when a timeout last looked

    def connectionMade(self) -> None:
        super().connectionMade()  # type: ignore[no-untyped-call]
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.setTimeout(HEAD_TIMEOUT)  # type: ignore[no-untyped-call]
        if not self.transport.count_in(self.factory.connections):
            self.transport.write(response("503 Service Unavailable"))
            # At once, because it would take the place of another one.
            self.loseConnection()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Any = connectionDone) -> None:
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.has_room.set()

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
        self.has_room.clear()

    def resumeProducing(self) -> None:
        super().resumeProducing()  # type: ignore[no-untyped-call]
        self.has_room.set()

    async def wait_for_room(self) -> None:
        """Wait until the reader of a response has taken most of it. Cut one that takes nothing."""
        try:
            async with asyncio.timeout(IDLE_TIMEOUT):
                await self.has_room.wait()
        except TimeoutError:
            self.transport.abortConnection()


def response(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()


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
