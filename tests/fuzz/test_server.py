"""Bytes that are hardly HTTP, to a server process: no 500, no traceback, and it still answers."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from websockets.sync.client import connect

from tests.cases import one_in
from tests.chatting import PATH
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet, running

from .addresses import address_of, routes
from .inputs import DEEP, TEXTS, Choice
from .test_pages import NAMES, TYPES

REQUESTS = 200  # of a seed
TIMEOUT = 20  # seconds
SILENCE = 1.0  # seconds after which half a request is left alone
AT_ONCE = 8  # requests
MANY = b"&".join([b"a=1"] * 1100)
WHOLE = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /%zz%ff%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nDaphne-Root-Path: \xff\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nDaphne-Root-Path: /x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: a=\xff\r\nX-Request-Id: \xff\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\r\n\r\n\r\n",
    b"G\xff / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.\xff\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /?%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: a/b; charset=utf-8\r\n\r\n" % MANY,
    b"SSH-2.0-x\r\n",
    b"GET /ws/chat/ HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\r\n",
    b"GET /ws/chat/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 99\r\nSec-WebSocket-Key: x\r\n\r\n",
)


def exchange(fleet: Fleet, request: bytes, *, silence: float = SILENCE) -> bytes:
    """Send bytes; return what the server sends until it closes, or waits for more."""
    with socket.create_connection(("127.0.0.1", fleet.port), timeout=TIMEOUT) as client:
        reply = b""
        with suppress(TimeoutError, ConnectionError):
            client.sendall(request)
            client.settimeout(silence)
            while part := client.recv(65_536):
                reply += part
        return reply


def request_of(choose: Choice, all_routes: list[str]) -> bytes:
    path = address_of(choose.choice(all_routes), choose, ["1", "en"])
    query = quote(choose.text().encode("utf-8", "surrogatepass"), safe="%=&[]")
    head = f"{choose.choice(('GET', 'POST', 'HEAD', 'X'))} {path}?{query} HTTP/1.1\r\n".encode()
    head += b"Host: 127.0.0.1\r\nConnection: close\r\n"
    for name in choose.some(NAMES, 4):
        head += name.encode() + b": " + choose.raw() + b"\r\n"
    body = choose.raw()
    head += b"Content-Type: %s\r\nContent-Length: %d\r\n" % (choose.choice(TYPES), len(body))
    request = head + b"\r\n" + body
    if choose.random() < 0.3:
        request = choose.mangled(request.decode("latin-1")).encode("latin-1", "replace")
    return request


@pytest.mark.parametrize("seed", one_in(8, range(8)))
def test_server_answers_whatever_it_is_sent(
    tmp_path: Path, model: ScriptedModel, seed: int
) -> None:
    choose, all_routes = Choice(seed), routes()
    with running(tmp_path, model) as fleet:
        requests = [*WHOLE, *(request_of(choose, all_routes) for _ in range(REQUESTS))]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            replies = list(threads.map(partial(exchange, fleet), requests))
        for request, reply in zip(requests, replies, strict=True):
            assert not reply.startswith(b"HTTP/1.1 5"), (request, reply[:300])
        assert sum(reply.startswith(b"HTTP/1.1 ") for reply in replies) > REQUESTS / 2
        address = f"ws://127.0.0.1:{fleet.port}{PATH}"
        texts = (text.encode(errors="replace").decode() for text in TEXTS)
        for frame in (*texts, "[" * DEEP, b"\xff"):
            with connect(address, open_timeout=TIMEOUT) as client:
                client.send(frame)
                assert json.loads(client.recv(TIMEOUT))["error"]["code"] == "bad_request"
        last = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        assert exchange(fleet, last, silence=TIMEOUT).startswith(b"HTTP/1.1 200")
        with fleet.ask("What is the answer?") as client:
            assert json.loads(client.recv(TIMEOUT))["type"] == "connected"
        assert "Traceback" not in fleet.complained, fleet.complained[-3000:]
        assert " ERROR " not in fleet.complained, fleet.complained[-3000:]
