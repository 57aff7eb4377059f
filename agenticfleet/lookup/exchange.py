"""One small HTTP exchange with a program on this machine of which nothing is known yet.

The client of model servers isn't meant for that: it follows redirects, sends keys, and takes longer
to import than a whole look-up may take.
"""

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass

import msgspec

MAX_BODY_BYTES = 2 * 1024 * 1024
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})\r\n", re.IGNORECASE)
END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program on this machine may listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes


async def exchange(place: Place, path: str, content: object = None) -> Reply | None:
    """Return the reply to a GET, or to a POST of `content`; None if it is none, or too long.

    Raise ConnectionRefusedError if no program listens. The caller limits the time.
    """
    reader, writer = await asyncio.open_connection(place.host, place.port)
    try:
        body = b"" if content is None else msgspec.json.encode(content)
        # In HTTP/1.0 a body comes as it is, without chunks.
        lines = (
            f"{'GET' if content is None else 'POST'} {path} HTTP/1.0",
            f"Host: {place}",
            "Accept: application/json",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        )
        writer.write("\r\n".join(lines).encode() + END_OF_HEAD + body)
        return await reply_from(reader)
    except (OSError, EOFError, asyncio.LimitOverrunError):
        return None
    finally:
        with suppress(OSError):
            writer.close()


async def reply_from(reader: asyncio.StreamReader) -> Reply | None:
    head = await reader.readuntil(END_OF_HEAD)
    status, length = STATUS.match(head), LENGTH.search(head)
    if status is None:
        return None
    most = min(int(length[1]), MAX_BODY_BYTES + 1) if length else MAX_BODY_BYTES + 1
    body = bytearray()
    while len(body) < most and (part := await reader.read(most - len(body))):
        body += part
    return Reply(int(status[1]), bytes(body)) if len(body) <= MAX_BODY_BYTES else None
