"""A WebSocket client that notes the time of every frame. To be fast, it parses no JSON."""

import asyncio
import base64
import os
import time
import uuid
from array import array
from collections.abc import Iterator
from typing import cast

import msgspec

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
QUESTION = "What is the capital of Peru?"


class BenchmarkError(Exception):
    """Raised when a measurement can't continue, with the reason."""


class Target(msgspec.Struct, frozen=True):
    """The address at which a server accepts questions."""

    port: int
    path: str = "/ws/chat/"
    subprotocol: str = ""


class Answer:
    """The stream of one question with the times of its frames, as `time.perf_counter` counts.

    `asked` is the time before the socket is opened.
    """

    def __init__(self) -> None:
        self.asked = time.perf_counter()
        self.first_event: float | None = None
        self.deltas = array("d")  # the times of frames with text
        self.ended: float | None = None
        self.over = asyncio.Event()
        self.problem = ""

    def take(self, payload: bytes, now: float) -> bool:
        """Note a frame; return True if it is the last one."""
        if self.first_event is None:
            self.first_event = now
        if payload.startswith(b'{"type":"response.delta"'):
            self.deltas.append(now)
        elif payload.startswith((b'{"type":"done"', b'{"type":"error"')):
            if payload.startswith(b'{"type":"error"'):
                self.fail(payload.decode())
            self.ended = now
            self.over.set()
            return True
        return False

    def fail(self, problem: str) -> None:
        """Note why the stream failed; ignore what happens after its end."""
        if not self.over.is_set():
            self.problem = problem
            self.over.set()


class Socket(asyncio.Protocol):
    """A WebSocket that sends one question, reads up to the terminal event, and closes."""

    def __init__(self, target: Target, answer: Answer) -> None:
        self._target = target
        self._answer = answer
        self._received = bytearray()
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        lines = [
            f"GET {self._target.path} HTTP/1.1",
            f"Host: 127.0.0.1:{self._target.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            "Sec-WebSocket-Version: 13",
            *(
                [f"Sec-WebSocket-Protocol: {self._target.subprotocol}"]
                if self._target.subprotocol
                else []
            ),
        ]
        self._transport.write("\r\n".join([*lines, "", ""]).encode())

    def connection_lost(self, exc: Exception | None) -> None:
        self._answer.fail(f"the server closed the connection: {exc}")

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        self._received += data
        if not self._is_open and not self._take_handshake():
            return
        for opcode, payload in self._frames():
            if opcode == PING:
                self._send(PONG, payload)
            elif opcode == CLOSE:
                self._answer.fail(f"the server closed the socket: {payload!r}")
            elif self._answer.take(payload, now):
                self._send(CLOSE, b"\x03\xe8")
                self._transport.close()
                return

    def _take_handshake(self) -> bool:
        head, is_whole, rest = self._received.partition(b"\r\n\r\n")
        if not is_whole:
            return False
        if not head.startswith(b"HTTP/1.1 101"):
            self._answer.fail(f"no WebSocket: {bytes(head.partition(b'\r')[0])!r}")
            self._transport.abort()
            return False
        self._is_open, self._received = True, rest
        self._send(TEXT, msgspec.json.encode({"message": QUESTION, "message_id": uuid.uuid4()}))
        return True

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield complete frames. The measured servers neither mask nor fragment them."""
        data, at = self._received, 0
        while len(data) - at >= 2:
            length, start = data[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(data[start : start + 2]), start + 2
            elif length == 127:
                length, start = int.from_bytes(data[start : start + 8]), start + 8
            if len(data) < start + length:
                break
            opcode, at = data[at] & 0xF, start + length
            yield opcode, bytes(data[start:at])
        del data[:at]

    def _send(self, opcode: int, payload: bytes) -> None:
        """Send a frame, masked as clients must. A mask of zeros leaves the payload unchanged."""
        assert len(payload) < 126
        self._transport.write(bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload)


async def ask(target: Target) -> Answer:
    """Send a question; return the answer, which is still arriving."""
    answer = Answer()
    await asyncio.get_running_loop().create_connection(
        lambda: Socket(target, answer), "127.0.0.1", target.port
    )
    return answer


async def finished(answer: Answer, *, timeout: float) -> Answer:
    """Wait until the answer has ended and return it.

    Raise BenchmarkError if it fails or doesn't end within `timeout` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            await answer.over.wait()
    except TimeoutError:
        raise BenchmarkError(f"an answer had not ended after {timeout:g} s") from None
    if answer.problem:
        raise BenchmarkError(f"an answer failed: {answer.problem}")
    return answer
