"""Where a request to a model server goes, and with which headers: real servers and proxies."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
import trustme
from yarl import URL

from chat.llm.connection import COMPLETIONS, Connection, may_get_key
from chat.llm.errors import ModelError
from chat.llm.faults.redaction import without_keys
from chat.llm.faults.verdicts import ServerError
from tooling.proxies import is_loopback, proxy_for

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
NO_MORE = "\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Seen:
    """What a server has seen."""

    requests: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)  # that a SOCKS proxy was asked for

    @property
    def first_line(self) -> str:
        return self.requests[0].partition("\r\n")[0]

    def header(self, name: str, request: int = 0) -> str | None:
        for line in self.requests[request].split("\r\n")[1:]:
            if line.lower().startswith(f"{name}:"):
                return line.partition(":")[2].strip()
        return None


@asynccontextmanager
async def serving(handler: Handler, **options: object) -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, **options)  # type: ignore[arg-type]
    async with server:
        yield server.sockets[0].getsockname()[1]


def http(seen: Seen, *responses: bytes) -> Handler:
    """Return a server that gives these responses in turn, one a connection; the last for ever."""
    left = list(responses)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.requests.append(head)
        if length := seen.header("content-length", -1):
            await reader.readexactly(int(length))
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()

    return handle


def socks5(seen: Seen) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x00")
        kind = (await reader.readexactly(4))[3]
        assert kind == 3, "the proxy resolves the name"
        [length] = await reader.readexactly(1)
        seen.hosts.append((await reader.readexactly(length)).decode())
        await reader.readexactly(2)
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        await http(seen, OK)(reader, writer)

    return handle


async def post(connection: Connection) -> bytes:
    try:
        reply = await connection.post(COMPLETIONS, {"model": "m"}, timeout=5)
        return reply.body
    finally:
        await connection.aclose()


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("", "/chat/completions"),
        ("/", "/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/a%20b/v1?api-version=2", "/a%20b/v1/chat/completions?api-version=2"),
    ],
)
async def test_path_and_query_of_the_base_url_are_kept(path: str, asked: str) -> None:
    seen = Seen()
    async with serving(http(seen, OK)) as port:
        await post(Connection(f"http://127.0.0.1:{port}{path}"))
    assert seen.first_line == f"POST {asked} HTTP/1.1"


@pytest.mark.parametrize(
    ("user", "key", "sent"),
    [
        ("", "", None),
        ("", "k1", "Bearer k1"),
        ("me:p%40ss@", "", "Basic bWU6cEBzcw=="),
        ("me:p%40ss@", "k1", "Basic bWU6cEBzcw=="),
        (":pass@", "k1", "Basic OnBhc3M="),
    ],
)
async def test_user_of_the_url_or_the_key_is_sent(user: str, key: str, sent: str | None) -> None:
    seen = Seen()
    async with serving(http(seen, OK)) as port:
        await post(Connection(f"http://{user}127.0.0.1:{port}/v1", api_key=key))
    assert seen.header("authorization") == sent


async def test_own_headers_are_sent_instead_of_others() -> None:
    seen = Seen()
    headers = {"X-Team": "fleet", "Authorization": "Token t"}
    async with serving(http(seen, OK)) as port:
        await post(Connection(f"http://127.0.0.1:{port}", api_key="k", headers=headers))
    assert seen.header("x-team") == "fleet"
    assert seen.header("authorization") == "Token t"


@pytest.mark.parametrize(
    "word", ["userkey1", "querykey", "tokenvalue", "Bearer tokenvalue", "k-key"]
)
def test_credentials_of_all_places_are_secrets(word: str) -> None:
    connection = Connection(
        "http://userkey1@h/v1?key=querykey&api-version=2024",
        api_key="k-key",
        headers={"Authorization": "Bearer tokenvalue"},
    )
    assert word in connection.secrets
    assert "2024" not in connection.secrets


async def test_no_error_and_no_log_has_the_passwords_of_server_and_proxy() -> None:
    proxies = {"http": "http://ann:proxy%2Fpass@127.0.0.1:9"}
    connection = Connection("http://me:user%2Fpass@model.test/v1", proxies=proxies)
    with pytest.raises(ServerError) as caught:
        await post(connection)
    told = f"{caught.value} {caught.value.advice} {connection.server} {connection.base_url}"
    logged = without_keys(repr(caught.value.__cause__), connection.secrets)
    basic = b64encode(b"me:user/pass").decode()
    for secret in ("proxy%2Fpass", "proxy/pass", "user%2Fpass", "user/pass", basic):
        assert secret in connection.secrets
        assert secret not in told + logged
    assert "127.0.0.1:9" in told


async def test_http_proxy_is_asked_for_a_server_elsewhere() -> None:
    seen = Seen()
    async with serving(http(seen, OK)) as port:
        proxies = {"http": f"http://me:secret@127.0.0.1:{port}"}
        connection = Connection("http://model.test/v1", proxies=proxies)
        assert await post(connection) == b"{}"
    assert seen.first_line == "POST http://model.test/v1/chat/completions HTTP/1.1"
    assert seen.header("proxy-authorization")


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_socks_proxy_is_asked_for_a_server_elsewhere(scheme: str) -> None:
    seen = Seen()
    async with serving(socks5(seen)) as port:
        proxies = {"all": f"{scheme}://127.0.0.1:{port}"}
        assert await post(Connection("http://model.test/v1", proxies=proxies)) == b"{}"
    assert seen.hosts == ["model.test"]


async def test_this_machine_is_never_asked_through_a_proxy() -> None:
    seen = Seen()
    proxies = {"http": "http://127.0.0.1:9", "all": "socks5://127.0.0.1:9"}
    async with serving(http(seen, OK)) as port:
        assert await post(Connection(f"http://127.0.0.1:{port}/v1", proxies=proxies)) == b"{}"


@pytest.mark.parametrize(
    ("url", "proxies", "proxy"),
    [
        ("http://model.test", {}, ""),
        ("http://model.test", {"http": "http://p:1"}, "http://p:1"),
        ("https://model.test", {"http": "http://p:1"}, ""),
        ("https://model.test", {"all": "p:1"}, "http://p:1"),
        ("http://model.test", {"http": "http://p:1", "no": "test"}, ""),
        ("http://model.test:81", {"http": "http://p:1", "no": "model.test:80"}, "http://p:1"),
        ("http://model.test", {"http": "http://p:1", "no": "*"}, ""),
        ("http://[::1]:1", {"http": "http://p:1"}, ""),
        ("http://10.1.2.3:81", {"http": "http://p:1", "no": "gpu.lan, 10.0.0.0/8"}, ""),
        ("http://11.1.2.3:81", {"http": "http://p:1", "no": "gpu.lan, 10.0.0.0/8"}, "http://p:1"),
        ("http://[fd00::1]:81", {"http": "http://p:1", "no": "[fd00:0::1]"}, ""),
        ("http://[fd00::1]:81", {"http": "http://p:1", "no": "fd00::/8"}, ""),
    ],
)
def test_proxy_is_that_of_the_scheme(url: str, proxies: dict[str, str], proxy: str) -> None:
    assert proxy_for(URL(url), proxies) == proxy


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("localhost", True),
        ("localhost.", True),
        ("a.localhost", True),
        ("0.0.0.0", True),
        ("::", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("127.0.0.1.example", False),
        ("localhost.example", False),
    ],
)
def test_loopback_hosts(host: str, is_here: bool) -> None:
    assert is_loopback(host) is is_here


@pytest.mark.parametrize("status", [307, 308])
async def test_redirected_request_is_sent_again(status: int) -> None:
    seen = Seen()
    moved = f"HTTP/1.1 {status} Moved\r\nLocation: /v2/there{NO_MORE}".encode()
    async with serving(http(seen, moved, OK)) as port:
        assert await post(Connection(f"http://127.0.0.1:{port}/v1", api_key="k")) == b"{}"
    assert seen.requests[1].startswith("POST /v2/there HTTP/1.1")
    assert seen.header("authorization", 1) == "Bearer k"


async def test_redirect_to_another_host_gets_no_key() -> None:
    seen = Seen()
    async with serving(http(seen, OK)) as there:
        location = f"http://localhost:{there}/v1/chat/completions"
        moved = f"HTTP/1.1 308 Moved\r\nLocation: {location}{NO_MORE}".encode()
        async with serving(http(Seen(), moved)) as here:
            headers = {"X-Team-Key": "secret"}
            await post(Connection(f"http://127.0.0.1:{here}/v1", api_key="k", headers=headers))
    assert seen.header("authorization") is None
    assert seen.header("x-team-key") is None


async def test_redirect_to_another_port_gets_no_key() -> None:
    seen = Seen()
    async with serving(http(seen, OK)) as there:
        location = f"http://127.0.0.1:{there}/v1/chat/completions"
        moved = f"HTTP/1.1 308 Moved\r\nLocation: {location}{NO_MORE}".encode()
        async with serving(http(Seen(), moved)) as here:
            await post(Connection(f"http://127.0.0.1:{here}/v1", api_key="k"))
    assert seen.header("authorization") is None


@pytest.mark.parametrize(
    ("url", "target", "may"),
    [
        ("http://h/a", "http://h/b", True),
        ("http://h/a", "https://h/a", True),
        ("http://h:81/a", "https://h:81/a", True),
        ("http://h:81/a", "https://h/a", False),
        ("https://h/a", "http://h/a", False),
        ("https://h:81/a", "http://h:81/a", False),
        ("https://h/a", "https://i/a", False),
    ],
)
def test_key_goes_only_where_it_is_as_safe(url: str, target: str, may: bool) -> None:
    assert may_get_key(URL(target), URL(url)) is may


@pytest.mark.parametrize("location", ["http://h:99999/", "http://[::1/", "mailto:a@b", "file:///"])
async def test_redirect_to_no_address_is_an_error(location: str) -> None:
    moved = f"HTTP/1.1 307 Moved\r\nLocation: {location}{NO_MORE}".encode()
    async with serving(http(Seen(), moved)) as port:
        with pytest.raises(ModelError, match="cannot be reached"):
            await post(Connection(f"http://127.0.0.1:{port}/v1"))


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:{}", "http://127.0.0.1:{}"])
async def test_proxy_that_fails_is_named(proxy: str, unused_tcp_port: int) -> None:
    url = proxy.format(unused_tcp_port)
    with pytest.raises(ModelError, match="cannot be reached") as caught:
        await post(Connection("http://model.test/v1", proxies={"all": url}))
    assert f"through the proxy {url}" in caught.value.advice


async def test_refusal_of_a_proxy_is_not_that_of_the_server() -> None:
    refusal = b"HTTP/1.1 407 Proxy Authentication Required" + NO_MORE.encode()
    async with serving(http(Seen(), refusal)) as port:
        proxies = {"http": f"http://127.0.0.1:{port}"}
        with pytest.raises(ModelError, match="cannot be reached") as caught:
            await post(Connection("http://model.test/v1", proxies=proxies))
    assert "the proxy answers 407" in caught.value.advice


async def test_server_that_redirects_to_a_page_shows_it() -> None:
    seen = Seen()
    moved = b"HTTP/1.1 302 Found\r\nLocation: /login" + NO_MORE.encode()
    async with serving(http(seen, moved, OK)) as port:
        await post(Connection(f"http://127.0.0.1:{port}/v1"))
    assert seen.requests[1].startswith("GET /login HTTP/1.1")


async def test_endless_redirects_end() -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /v1/again" + NO_MORE.encode()
    async with serving(http(Seen(), moved)) as port:
        with pytest.raises(ModelError):
            await post(Connection(f"http://127.0.0.1:{port}/v1"))


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_certificate_file_names_the_authority(
    is_trusted: bool, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if is_trusted:
        path = tmp_path_factory.mktemp("ca") / "ca.pem"
        authority.cert_pem.write_to_path(str(path))
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
    async with serving(http(Seen(), OK), ssl=context) as port:
        connection = Connection(f"https://127.0.0.1:{port}/v1")
        if is_trusted:
            assert await post(connection) == b"{}"
        else:
            with pytest.raises(ModelError) as caught:
                await post(connection)
            assert "SSL_CERT_FILE" in caught.value.advice


async def test_body_of_a_reply_is_bounded() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()

    async with serving(flood) as port:
        body = await post(Connection(f"http://127.0.0.1:{port}/v1"))
    assert set(json.loads(f'"{body.decode()}"')) == {"x"}
