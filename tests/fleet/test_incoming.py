"""What clients may send over HTTP, how long that may take, and how many may be connected."""

import json
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_network
from pathlib import Path

import httpx
import psutil
import pytest
from pytest_django import Settings

from agenticfleet.connections import Connections
from agenticfleet.incoming import MAX_BODY
from tests.serving import STOP, until

MEGABYTE = 1024 * 1024
FILES = 120  # that the small server may open
MAX_CONNECTIONS = FILES // 2


@dataclass
class Serving:
    process: subprocess.Popen[str]
    port: int
    log: Path

    @property
    def requests(self) -> list[str]:
        return self.log.read_text().splitlines()[1:]

    @property
    def memory(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=STOP)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        return httpx.post(f"{self.address}/hello", content=b"12345", timeout=STOP).text == "5"


@contextmanager
def serving(folder: Path, files: int = 4096) -> Iterator[Serving]:
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fleet.impatient_server"],
            stdout=out,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
        )
    try:
        first = until(lambda: log.read_text().splitlines(), STOP, "the server doesn't start")
        yield Serving(process, int(first[0]), log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


def received(client: socket.socket) -> bytes:
    """Return all that the server sends until it ends the connection."""
    data = b""
    with suppress(ConnectionResetError):
        while part := client.recv(65536):
            data += part
    return data


def drip(client: socket.socket, head: bytes) -> tuple[bytes, float]:
    """Send the head, then a byte now and then. Return the server's answer, and after which time."""
    started = time.monotonic()
    client.sendall(head)
    client.settimeout(0.1)
    answer = b""
    while not answer and time.monotonic() < started + STOP:
        try:
            answer = client.recv(1000)
        except TimeoutError:
            client.sendall(b"x")
    return answer, time.monotonic() - started


@pytest.mark.parametrize(
    ("head", "seconds"),
    [
        (b"G", 1),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX-Slow: ", 1),
        (b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 500\r\n\r\n", 2),
        (b"POST /slow HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n500\r\n", 2),
    ],
    ids=["line", "head", "body", "chunks"],
)
def test_slow_requests_are_cut_however_many_bytes_come(
    server: Serving, head: bytes, seconds: float
) -> None:
    with ExitStack() as stack, ThreadPoolExecutor(50) as threads:
        clients = [stack.enter_context(server.connect()) for _ in range(50)]
        drips = [threads.submit(drip, client, head) for client in clients]
        assert server.answers()
        ends = [each.result() for each in drips]
    assert all(answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n") for answer, _ in ends)
    assert all(seconds <= after < seconds + 3 for _, after in ends)
    assert not any("/slow" in line for line in server.requests)


def test_silent_connections_are_closed_without_a_word(server: Serving) -> None:
    with server.connect() as client:
        started = time.monotonic()
        assert received(client) == b""
        # The server has begun to count before this client could.
        assert 0.9 <= time.monotonic() - started < 4


def test_connection_is_used_again_until_it_is_idle_for_long(server: Serving) -> None:
    request = b"GET /again HTTP/1.1\r\nHost: h\r\n\r\n"
    with server.connect() as client:
        for _ in range(3):
            client.sendall(request)
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
            time.sleep(0.8)  # so that all together exceed each limit
        started = time.monotonic()
        assert received(client) == b""
        assert time.monotonic() - started < 4
    with server.connect() as client:
        client.sendall(request * 20)
        assert received(client).count(b"200 OK") == 20


def test_slow_second_request_is_cut_too(server: Serving) -> None:
    with server.connect() as client:
        client.sendall(b"GET /first HTTP/1.1\r\nHost: h\r\n\r\n")
        assert b"200 OK" in client.recv(1000)
        answer, after = drip(client, b"GET /second HTTP/1.1\r\n")
        assert b" 408 " in answer
        assert after < 4


@pytest.mark.parametrize("expects", [b"", b"Expect: 100-continue\r\n"])
def test_large_body_is_refused_before_it_is_read(server: Serving, expects: bytes) -> None:
    with server.connect() as client:
        head = b"POST /large HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n%b\r\n"
        client.sendall(head % (MAX_BODY + 1, expects))
        answer, _, body = received(client).partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413 Content Too Large\r\n")
        assert json.loads(body)["error"]["code"] == "too_large"
    assert server.answers()
    assert not any("/large" in line for line in server.requests)


@pytest.mark.parametrize(
    "head", [b"Content-Length: 209715200", b"Transfer-Encoding: chunked"], ids=["length", "chunked"]
)
def test_upload_of_200_megabytes_costs_no_memory_and_no_disk(server: Serving, head: bytes) -> None:
    before = server.memory
    chunk = b"x" * MEGABYTE
    if b"chunked" in head:
        chunk = b"%x\r\n%b\r\n" % (len(chunk), chunk)
    with server.connect() as client:
        client.sendall(b"POST /huge HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % head)
        for _ in range(200):
            client.sendall(chunk)
        # The client that looks only now still finds out why.
        assert received(client).startswith(b"HTTP/1.1 413 Content Too Large\r\n")
    assert server.memory - before < 8 * MEGABYTE
    assert server.answers()
    open_files = psutil.Process(server.process.pid).open_files()
    assert not any(Path(file.path).parent == Path("/tmp") for file in open_files)
    assert not any("/huge" in line for line in server.requests)


@pytest.mark.parametrize("is_chunked", [False, True])
def test_body_of_the_largest_size_arrives_whole(server: Serving, is_chunked: bool) -> None:
    size = MAX_BODY - 1000 if is_chunked else MAX_BODY
    body = b"a=1&" * (size // 4)
    response = httpx.post(
        f"{server.address}/form",
        content=iter([body]) if is_chunked else body,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
        timeout=STOP,
    )
    assert response.text == str(len(body))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (b"GET /" + b"x" * 200_000, b"431"),
        (b"GET / HTTP/1.1\r\nX-Long: " + b"x" * 20_000, b"431"),
        (b"GET / HTTP/1.1\r\n" + b"X-More: x\r\n" * 600, b"400"),
        (b"GET / HTTP/1.1\r\n" + b"X-More: %b\r\n" % (b"x" * 1000) * 20, b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1" + b"0" * 5000 + b"\r\n\r\n", b"400"),
    ],
)
def test_bad_and_long_heads_are_refused(server: Serving, head: bytes, status: bytes) -> None:
    before = len(server.requests)
    with server.connect() as client:
        with suppress(ConnectionError):
            client.sendall(head)
        assert received(client).startswith(b"HTTP/1.1 " + status)
    assert len(server.requests) == before
    assert server.answers()


# --- Responses


def test_response_that_nobody_reads_waits_and_is_cut(server: Serving) -> None:
    before, most = server.memory, 0

    def is_cut() -> bool:
        nonlocal most
        most = max(most, server.memory)
        connected = psutil.Process(server.process.pid).net_connections()
        return port not in {each.raddr.port for each in connected if each.raddr}

    with server.connect() as client:
        port = client.getsockname()[1]
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
        until(lambda: "sent 0" in server.requests, STOP, "nothing is sent")
        until(is_cut, STOP, "a reader that takes nothing stays")
    assert most - before < 24 * MEGABYTE


def test_response_that_is_read_arrives_whole(server: Serving) -> None:
    response = httpx.get(f"{server.address}/stream?300", timeout=STOP)
    assert len(response.content) == 300 * 65536 + 1


def test_response_in_one_piece_waits_for_its_reader_too(server: Serving) -> None:
    with server.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(b"GET /long?300 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        until(lambda: "GET /long 0" in server.requests, STOP, "nothing is sent")
        assert server.answers()
        assert "sent /long" not in server.requests
        body = received(client)
    # With the head, and the sizes of the chunks.
    assert 300 * 65536 < len(body) < 301 * 65536
    assert "sent /long" in server.requests


def test_slow_reader_of_a_response_gets_all_of_it(server: Serving) -> None:
    with server.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(b"GET /stream?30 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        size = 0
        # Longer than one that takes nothing may stay.
        for _ in range(20):
            time.sleep(0.1)
            size += len(client.recv(16384))
        assert size < 30 * 65536
        assert size + len(received(client)) > 30 * 65536


@pytest.mark.parametrize("path", ["/breaks", "/stops"])
def test_response_whose_application_fails_is_cut_at_once(server: Serving, path: str) -> None:
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(httpx.HTTPError) as caught:
            httpx.get(f"{server.address}{path}", timeout=STOP)
        assert not isinstance(caught.value, httpx.TimeoutException)
        assert time.monotonic() - started < 1


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_curl_sees_that_a_response_was_cut(server: Serving) -> None:
    ran = subprocess.run(["curl", "-sN", f"{server.address}/breaks"], timeout=STOP)
    assert ran.returncode in (18, 56)


@pytest.mark.parametrize("path", ["/fails", "/nothing", "/fails-before-a-byte"])
def test_failure_before_the_first_byte_is_a_status(server: Serving, path: str) -> None:
    started = time.monotonic()
    for _ in range(3):
        response = httpx.get(f"{server.address}{path}", timeout=STOP)
        assert (response.status_code, response.reason_phrase) == (500, "Internal Server Error")
    assert time.monotonic() - started < 1


def test_request_that_the_exiting_process_drops_may_be_sent_again(server: Serving) -> None:
    response = httpx.get(f"{server.address}/cancelled", timeout=STOP)
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert response.json()["error"]["code"] == "shutting_down"


def test_server_looks_after_connections_however_many_applications_fail(server: Serving) -> None:
    for path in ("/breaks", "/stops", "/fails", "/nothing"):
        with suppress(httpx.HTTPError):
            httpx.get(f"{server.address}{path}", timeout=STOP)
    # daphne forgets the applications that have ended once a second, in a job that must go on.
    until(
        lambda: httpx.get(f"{server.address}/connections", timeout=STOP).text == "1",
        STOP,
        "ended applications are kept",
    )
    assert server.answers()


@pytest.mark.parametrize("how", [socket.SHUT_WR, None], ids=["half", "whole"])
def test_reader_that_leaves_a_silent_response_is_noticed(server: Serving, how: int | None) -> None:
    before = server.requests.count("received http.disconnect")
    with server.connect() as client:
        client.sendall(b"GET /waits HTTP/1.1\r\nHost: h\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        if how is not None:
            client.shutdown(how)
            assert b"0\r\n\r\n" not in received(client)
    until(
        lambda: server.requests.count("received http.disconnect") == before + 1,
        1,
        "the reader's leaving isn't noticed",
    )


@pytest.mark.parametrize("status", [422, 429, 431, 451, 511])
def test_status_has_its_reason_phrase(server: Serving, status: int) -> None:
    response = httpx.get(f"{server.address}/status?{status}", timeout=STOP)
    assert response.reason_phrase == HTTPStatus(status).phrase


# --- Connections


def test_server_keeps_files_for_itself_and_recovers(tmp_path: Path) -> None:
    with serving(tmp_path, FILES) as server, ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(2 * FILES)]
        answers = [received(client) for client in clients]
        # The first ones were held until they had been silent for too long. Of the others, those
        # that come in one burst beyond all files are closed by Twisted, without an answer.
        assert set(answers[:MAX_CONNECTIONS]) == {b""}
        assert answers[MAX_CONNECTIONS].startswith(b"HTTP/1.1 503 ")
        until(server.answers, STOP, "the server doesn't recover")


def test_one_address_cannot_take_all_connections(settings: Settings) -> None:
    settings.FLEET_TRUSTED_PROXIES = []
    counts = Connections(4000)
    assert [counts.admit("203.0.113.7") for _ in range(600)].count(True) == 500
    assert counts.admit("203.0.113.8")
    # All addresses of an IPv6 network of 64 bits are one subscriber's.
    assert [counts.admit(f"2001:db8::{number:x}") for number in range(600)].count(True) == 500
    counts.release("203.0.113.7")
    assert counts.admit("203.0.113.7")
    assert not counts.admit("203.0.113.7")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.1", "::ffff:10.0.0.1"])
def test_addresses_of_many_people_are_bounded_together_alone(
    settings: Settings, address: str
) -> None:
    settings.FLEET_TRUSTED_PROXIES = [ip_network("10.0.0.1")]
    counts = Connections(300)
    assert [counts.admit(address) for _ in range(400)].count(True) == 300
    assert not counts.admit("203.0.113.7")
    for _ in range(300):
        counts.release(address)
    assert counts.admit("203.0.113.7")


def test_refused_connections_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    counts = Connections(1)
    for _ in range(5):
        counts.admit("203.0.113.7")
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("limits", "after", "is_told"),
    [("256:9000", 8192, False), ("256:1024", 1024, True), ("9000:9000", 9000, False)],
)
def test_limit_of_open_files_is_raised_as_far_as_it_goes(
    limits: str, after: int, is_told: bool
) -> None:
    code = (
        "import os, resource; from agenticfleet.connections import *; "
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'agenticfleet.settings'; "
        "print(raise_file_limit()); print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    ran = subprocess.check_output(
        ["prlimit", f"--nofile={limits}", sys.executable, "-c", code], text=True
    )
    *told, soft = ran.splitlines()
    assert int(soft) == after
    assert ("ulimit -n 8192" in " ".join(told)) == is_told
