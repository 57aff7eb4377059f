"""WebSocket readers of a real worker: one that reads only on demand, and one that keeps up."""

import json
import socket
import struct
import threading
from contextlib import suppress
from datetime import UTC, datetime

from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.sync.client import connect
from websockets.uri import parse_uri

from tests.chatting import Event, is_terminal
from tests.serving import STOP, Fleet, until

MB = 2**20


def reset(client: socket.socket) -> None:
    """Close the socket so that the server gets a connection reset after the data sent so far."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


class SlowReader:
    """A WebSocket that reads only when the test calls `read`, with the smallest kernel buffer."""

    def __init__(self, fleet: Fleet, request: Event) -> None:
        self.events: list[Event] = []
        self._message = b""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(STOP)
        self._socket.connect(("127.0.0.1", fleet.port))
        self.port: int = self._socket.getsockname()[1]
        self._protocol = ClientProtocol(
            parse_uri(f"ws://127.0.0.1:{fleet.port}/ws/chat/"), max_size=None
        )
        self._protocol.send_request(self._protocol.connect())
        self._flush()
        while self._protocol.state is State.CONNECTING:
            self.read(1024)
        self.send(request)

    def send(self, frame: Event) -> None:
        self._protocol.send_text(json.dumps(frame).encode())
        self._flush()

    def read(self, size: int) -> bool:
        """Read once. Return False at the end of the connection, even if it was reset."""
        data = b""
        with suppress(ConnectionResetError):
            data = self._socket.recv(size)
        if data:
            self._protocol.receive_data(data)
        else:
            self._protocol.receive_eof()
        for frame in self._protocol.events_received():
            if isinstance(frame, Frame) and frame.opcode in (Opcode.TEXT, Opcode.CONT):
                self._message += frame.data
                if frame.fin:
                    self.events.append(json.loads(self._message))
                    self._message = b""
        self._flush()
        return bool(data)

    def read_to_the_end(self) -> int | None:
        """Read to the end of the connection; return the code of the close frame, or None."""
        while self.read(MB):
            pass
        return self._protocol.close_rcvd.code if self._protocol.close_rcvd else None

    def read_to_the_terminal(self) -> None:
        """Read the rest of the answer without any delay."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MB)
        while not (self.events and is_terminal(self.events[-1])):
            assert self.read(MB)

    def reset(self) -> None:
        """End the connection without a close frame."""
        reset(self._socket)

    def send_close(self) -> None:
        """Send a close frame, but don't read the server's answer to it."""
        self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
        self._flush()

    def half_close(self) -> None:
        """Close the sending half of the connection, without a close frame."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)


class LiveReader:
    """A reader that keeps up, in its own thread, and notes the delay of each delta."""

    def __init__(self, fleet: Fleet, request: Event) -> None:
        self.events: list[Event] = []
        self.delays: list[float] = []
        self._received = 0  # characters of the answer
        self._address = f"ws://127.0.0.1:{fleet.port}/ws/chat/"
        self._request = request
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def wait_for(self, characters: int) -> None:
        """Wait until so much of the answer has arrived."""
        until(lambda: self._received >= characters, STOP, "the live reader gets nothing")

    def wait(self) -> list[Event]:
        """Wait for the terminal event; return all events."""
        assert is_terminal(self.until_closed()[-1])
        return self.events

    def until_closed(self) -> list[Event]:
        """Wait for the terminal event or the end of the connection; return all events."""
        self._thread.join(STOP)
        assert not self._thread.is_alive()
        return self.events

    def _read(self) -> None:
        with suppress(ConnectionClosed), connect(self._address, max_size=None) as client:
            client.send(json.dumps(self._request))
            while not self.events or not is_terminal(self.events[-1]):
                event = json.loads(client.recv(timeout=STOP))
                self.events.append(event)
                if event["type"] == "response.snapshot":
                    self._received = len(event["data"]["text"])
                elif event["type"] == "response.delta":
                    self._received += len(event["delta"])
                    made_at = datetime.fromisoformat(event["timestamp"])
                    self.delays.append((datetime.now(UTC) - made_at).total_seconds())
