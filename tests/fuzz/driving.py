"""Requests to the ASGI application, as bytes, without a client that would tidy them."""

import asyncio
import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from agenticfleet.asgi import application
from chat.logs import Ids, LineFormatter, WithoutKeys, WithoutRefusedTracebacks

type Headers = list[tuple[bytes, bytes]]
TIMEOUT = 30  # seconds; only an overloaded machine needs so many


@dataclass(slots=True)
class Reply:
    status: int = 0
    headers: Headers = field(default_factory=list)
    body: bytes = b""


async def exchange(
    method: str, path: bytes, query: bytes, headers: Headers, body: Iterable[bytes] = ()
) -> Reply:
    """Send a request; return the reply."""
    reply, ended = Reply(), asyncio.Event()
    frames = [{"type": "http.request", "body": part, "more_body": True} for part in body]
    frames.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> dict[str, Any]:
        if frames:
            return frames.pop(0)
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            reply.status, reply.headers = message["status"], list(message.get("headers", ()))
        else:
            reply.body += message.get("body", b"")
            if not message.get("more_body"):
                ended.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        # As daphne does it: the address unquoted, and what isn't UTF-8 replaced.
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": ["127.0.0.1", 40000],
        "server": ["127.0.0.1", 80],
    }
    async with asyncio.timeout(TIMEOUT):
        await application(scope, receive, send)
    return reply


@contextmanager
def operators_log() -> Iterator[io.StringIO]:
    """Yield what an operator reads of warnings and errors."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setLevel(logging.WARNING)
    handler.setFormatter(LineFormatter())
    for each in (Ids(), WithoutKeys(), WithoutRefusedTracebacks()):
        handler.addFilter(each)
    # The scripted model server runs in this process, too.
    handler.addFilter(lambda record: not record.name.startswith("aiohttp"))
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)
