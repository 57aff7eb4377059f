"""Readers of streams over HTTP of a real worker, down to the bytes of the connection."""

import json
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

from tests.serving import STOP, Fleet

COMPLETIONS = "/v1/chat/completions"
END = b"0\r\n\r\n"  # of a response in chunks


def completion(question: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": "fleet-light", "messages": messages, "stream": True, **fields}


class StreamReader:
    """One request whose response is read only when the test says so."""

    def __init__(self, fleet: Fleet, *, buffer: int = 0) -> None:
        self.data = b""
        self.was_reset = False
        self._socket = socket.socket()
        if buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self._socket.settimeout(STOP)
        self._socket.connect(("127.0.0.1", fleet.port))

    def send(self, body: dict[str, Any], path: str = COMPLETIONS, **headers: str) -> None:
        content = json.dumps(body).encode()
        fields = {
            "Host": "127.0.0.1",
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._socket.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content)

    def read(self, size: int = 65536) -> bool:
        """Read once. Return False at the end of the connection, even if it was reset."""
        found = b""
        try:
            found = self._socket.recv(size)
        except ConnectionResetError:
            self.was_reset = True
        except TimeoutError:
            raise AssertionError(f"nothing comes behind {self.data[-1000:]!r}") from None
        self.data += found
        return bool(found)

    def until(self, text: bytes) -> None:
        while text not in self.data:
            assert self.read(), self.data[-1000:]

    def rest(self) -> bytes:
        """Read to the end of the response, or of the connection."""
        while not self.is_whole and self.read():
            pass
        return self.data

    def head(self) -> tuple[int, dict[str, str]]:
        """Read the head of the response; return its status and fields."""
        self.until(b"\r\n\r\n")
        first, *lines = self.data.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        fields = (line.partition(": ") for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, _, value in fields}

    @property
    def is_whole(self) -> bool:
        """True if the response has come to a clean end."""
        return self.data.endswith(END)

    @property
    def body(self) -> str:
        """What has arrived of the body, without the sizes of its chunks."""
        rest, body = self.data.partition(b"\r\n\r\n")[2], b""
        while b"\r\n" in rest:
            size, _, rest = rest.partition(b"\r\n")
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return body.decode(errors="replace")

    @property
    def chunks(self) -> list[dict[str, Any]]:
        lines = (line for line in self.body.split("\n\n") if line.startswith("data: {"))
        found: list[dict[str, Any]] = []
        for line in lines:
            # The last one of a response that was cut may be a part.
            with suppress(ValueError):
                found.append(json.loads(line.removeprefix("data: ")))
        return found

    @property
    def text(self) -> str:
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk.get("choices", ())]
        return "".join(delta.get("content", "") for delta in deltas)

    @property
    def finish(self) -> str | None:
        """Why the answer has ended; None if no chunk says so."""
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", ())]
        return next((c["finish_reason"] for c in choices if c["finish_reason"]), None)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()


@contextmanager
def streaming(
    fleet: Fleet, question: str, *, buffer: int = 0, **headers: str
) -> Iterator[StreamReader]:
    """Yield the stream of a completion."""
    with closing(StreamReader(fleet, buffer=buffer)) as reader:
        reader.send(completion(question), **headers)
        yield reader
