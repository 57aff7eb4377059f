"""A model server that writes its HTTP by hand, so that a case decides over every byte."""

import asyncio
import json
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from typing import Any, Protocol

from .wire import LOGIN_PAGE, End, Heard, Repeat, Reply, document, page, text

HEARD_TIMEOUT = 2.0  # seconds; a reader that gets no text by then won't get it
SILENCE = 600  # seconds; no test lasts so long
HEARD_INTERVAL = 0.002  # seconds
LOGIN_PATH = "/login"
COMPRESSION = {"gzip": 31, "deflate": 15}  # the window bits of zlib


@dataclass(slots=True)
class Exchange:
    """One request of a case, and what came of it."""

    number: int  # from 0
    path: str
    headers: dict[str, str]  # names in lower case
    body: dict[str, Any]
    since_first: float  # seconds since the first request of this case
    status: int = 0
    refused: str = ""  # the beginning of an error


class Played(Protocol):
    """What the server needs of a case."""

    @property
    def question(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def is_paced(self) -> bool: ...

    def play(self, exchange: Exchange) -> Reply: ...


@dataclass(slots=True)
class Visit:
    """A case that is being played."""

    case: Played
    exchanges: list[Exchange] = field(default_factory=list)
    began_at: float = 0.0
    heard: str = ""  # the reader's text so far; the reader writes it
    is_late: bool = False  # the reader didn't get the words at once


class RawServer:
    """The server, in a thread with its own event loop. It knows a case by its question."""

    def __init__(self, cases: Iterable[Played], *, models: Sequence[str] = ("scripted",)) -> None:
        self.visits = {case.question: Visit(case) for case in cases}
        own = [visit.case.model for visit in self.visits.values() if visit.case.model]
        self._models = [*models, *own]
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="raw model server", daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The other end may leave at any moment.
        with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            while await self._serve_one(reader, writer):
                pass
        with suppress(ConnectionError):
            writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request. Return True if the connection can carry another one."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        _, path, _ = first.split(" ", 2)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines if line)
        }
        data = await read_body(reader, headers)
        body = json.loads(data or b"{}")
        if "messages" not in body:
            # What other servers tell of their models is asked for at other paths.
            return await Sending(writer).send(self._listing(path))
        visit = self._visit_of(body)
        visit.began_at = visit.began_at or time.monotonic()
        since = time.monotonic() - visit.began_at
        exchange = Exchange(len(visit.exchanges), path, headers, body, since)
        visit.exchanges.append(exchange)
        reply = visit.case.play(exchange)
        exchange.status = reply.status
        if reply.status >= HTTPStatus.BAD_REQUEST:
            exchange.refused = reply.data[:200].decode(errors="replace")
        return await Sending(writer, visit).send(reply)

    def _listing(self, path: str) -> Reply:
        if path == LOGIN_PATH:
            return page(LOGIN_PAGE)
        if path.rstrip("/") != "/v1/models":
            return text("404 page not found", 404)
        models = [{"id": name, "object": "model"} for name in self._models]
        return document({"object": "list", "data": models})

    def _visit_of(self, body: dict[str, Any]) -> Visit:
        asked = json.dumps(body["messages"], ensure_ascii=False)
        for question, visit in self.visits.items():
            if question in asked:
                return visit
        raise AssertionError(f"no case asks this: {asked[-300:]}")


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", ""):
        return await reader.readexactly(int(headers.get("content-length", 0)))
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readline()
    await reader.readline()
    return b"".join(parts)


class Sending:
    """The sending of one reply."""

    def __init__(self, writer: asyncio.StreamWriter, visit: Visit | None = None) -> None:
        self._writer = writer
        self._visit = visit

    async def send(self, reply: Reply) -> bool:
        """Send a reply. Return True if the connection can carry another one."""
        pieces = reply.pieces
        zipping = None
        if reply.compression:
            zipping = zlib.compressobj(wbits=COMPRESSION[reply.compression])
        if reply.framing != "raw":
            self._writer.write(head_of(reply))
        for piece in pieces:
            match piece:
                case bytes():
                    if zipping:
                        piece = zipping.compress(piece) + zipping.flush(zlib.Z_SYNC_FLUSH)
                    await self._write(piece, reply)
                case End.RESET:
                    reset(self._writer)
                    return False
                case End.CLOSED:
                    return False
                case End.SILENCE:
                    await asyncio.sleep(SILENCE)
                case Repeat():
                    for _ in count() if piece.times is None else range(piece.times):
                        await self._write(piece.data, reply)
                        await asyncio.sleep(piece.pause)
                case Heard():
                    await self._wait_until_heard(piece.text)
                case _:
                    await asyncio.sleep(piece)
        if zipping:
            await self._write(zipping.flush(), reply)
        if reply.framing == "chunked":
            self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()
        return reply.framing in ("chunked", "length")

    async def _write(self, data: bytes, reply: Reply) -> None:
        if reply.framing == "chunked":
            data = b"%x\r\n%b\r\n" % (len(data), data)
        self._writer.write(data)
        await self._writer.drain()
        # Let the other end read it, so that pieces arrive as pieces.
        await asyncio.sleep(0)

    async def _wait_until_heard(self, text: str) -> None:
        visit = self._visit
        assert visit
        if not visit.case.is_paced:
            return
        deadline = time.monotonic() + HEARD_TIMEOUT
        while not visit.is_late and visit.heard.rstrip() != text.rstrip():
            # Don't wait again: one late word shows that the reader doesn't get them at once.
            visit.is_late = time.monotonic() > deadline
            await asyncio.sleep(HEARD_INTERVAL)


def head_of(reply: Reply) -> bytes:
    headers = dict(reply.headers)
    if reply.compression:
        headers["Content-Encoding"] = reply.compression
    match reply.framing:
        case "chunked":
            headers["Transfer-Encoding"] = "chunked"
        case "length":
            headers.setdefault("Content-Length", str(len(reply.data)))
        case _:
            headers["Connection"] = "close"
    try:
        phrase = HTTPStatus(reply.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {reply.status} {phrase}", *(f"{n}: {v}" for n, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def reset(writer: asyncio.StreamWriter) -> None:
    """Close the connection so that the other end gets a reset."""
    plain: socket.socket = writer.get_extra_info("socket")
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
