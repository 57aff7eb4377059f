"""A model server for measurements: it streams a Markdown answer at an exact pace, at a low cost.

`PUT /pace` sets the pace of answers that begin later. `GET /sent` returns how many tokens have been
sent so far.
"""

import argparse
import asyncio
import http.client
import itertools
import json
import re
from typing import cast
from urllib.parse import urlsplit

import msgspec
import uvloop

# Prose, lists, code and a table, because live Markdown has to render all of them.
ANSWER = """\
## What a stream costs

A server that passes a model's words on does **very little** per word: it reads a chunk, finds the \
text in it, and writes
a small frame to a socket. What it does *besides* that is what you pay for. \
See [the notes](https://example.org/notes).

1. Reading: the chunk comes as one line of a response that stays open.
2. Deciding: most chunks carry text, a few carry `usage` or an end.
3. Writing: the frame is small, and the kernel takes it at once.

```python
async def relay(chunks, socket):
    async for chunk in chunks:
        await socket.send(chunk.text)
```

| part | share | remark |
|---|---|---|
| reading | a third | the parser of the client |
| writing | a third | the framing of the server |
| the rest | a third | the event loop itself |

> The cheapest frame is the one that is not sent; the second cheapest is the one \
that is sent without being looked at.

- A list of points has items that are short,
- others that take a whole sentence to say what they mean, with a word in **bold** somewhere,
- and a last one.

"""

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Pace(msgspec.Struct):
    """How an answer is sent; times are seconds."""

    tokens: int = 100
    gap: float = 0.02
    first_after: float = 0.0


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(choices: list[dict[str, object]], **fields: object) -> bytes:
    chunk = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "paced",
        "choices": choices,
        **fields,
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def choice(delta: dict[str, str], finish: str | None = None) -> list[dict[str, object]]:
    return [{"index": 0, "delta": delta, "finish_reason": finish}]


TOKENS = [
    http_chunk(event(choice({"content": token}))) for token in re.findall(r"\s*\S{1,6}", ANSWER)
]
USAGE = {"prompt_tokens": 20, "completion_tokens": 100, "total_tokens": 120}
END = (
    http_chunk(event(choice({}, "stop")) + event([], usage=USAGE) + b"data: [DONE]\n\n")
    + b"0\r\n\r\n"
)


class PacedModel:
    """The state that all connections share."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.sent = 0


class Connection(asyncio.Protocol):
    """One client's connection: requests one after another, no pipelining."""

    def __init__(self, model: PacedModel) -> None:
        self._model = model
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, is_whole, rest = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        body = rest[: int(length[1])] if length else b""
        if not is_whole or (length and len(body) < int(length[1])):
            return
        self._received = rest[len(body) :]
        self._handle(head.partition(b" HTTP/")[0], body)

    def _handle(self, target: bytes, body: bytes) -> None:
        match target:
            case b"POST /v1/chat/completions":
                self._begin(self._model.pace)
            case b"PUT /pace":
                self._model.pace = msgspec.json.decode(body, type=Pace)
                self._reply(200, b"")
            case b"GET /sent":
                self._reply(200, b"%d" % self._model.sent)
            case _:
                self._reply(404, b"")

    def _reply(self, status: int, body: bytes) -> None:
        self._transport.write(
            b"HTTP/1.1 %d .\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
        )

    def _begin(self, pace: Pace) -> None:
        loop = asyncio.get_running_loop()
        self._transport.write(HEAD)
        tokens = itertools.islice(itertools.cycle(TOKENS), pace.tokens)
        due = loop.time() + pace.first_after

        def send_next() -> None:
            nonlocal due
            token = next(tokens, None)
            if token is None:
                self._transport.write(END)
                return
            self._transport.write(token)
            self._model.sent += 1
            # Due times count from the first one, so that a late token doesn't delay later ones.
            due += pace.gap
            self._timer = loop.call_at(due, send_next)

        self._timer = loop.call_at(due, send_next)


class RemoteModel:
    """A client of a running paced model."""

    def __init__(self, url: str) -> None:
        self._place = urlsplit(url).netloc

    def set_pace(self, pace: Pace) -> None:
        self._call("PUT", "/pace", msgspec.json.encode(pace))

    def sent(self) -> int:
        """Return how many tokens it has sent since its start."""
        return int(self._call("GET", "/sent"))

    def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection(self._place, timeout=5)
        try:
            connection.request(method, path, body)
            return connection.getresponse().read()
        finally:
            connection.close()


async def serve(port: int) -> None:
    model = PacedModel()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(model), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))
