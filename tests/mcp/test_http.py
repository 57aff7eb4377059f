"""MCP servers over HTTP: both generations of the protocol, and servers that break."""

import asyncio
import json
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from agenticfleet.embedded import free_port
from tests.mcp.conftest import MAX_LAG
from tests.mcp.serving import PATIENCE, answering, called, lag_measured, served, until
from tests.mcp.test_hostile import UNREADABLE, closed_for, warnings
from tests.tls import TlsProxy
from tooling.mcp import http
from tooling.services import Services
from tooling.tables import McpTable

LOST = "shop was lost during the call."


@asynccontextmanager
async def served_over_http(part: str, **fields: Any) -> AsyncIterator[Services]:
    async with (
        answering(part) as url,
        served(McpTable(**{"url": url, "read": ["*"], **fields})) as services,
    ):
        yield services


async def test_tool_is_called_over_http() -> None:
    async with lag_measured() as lag, served_over_http("good") as services:
        result = await called(services, text="hello")
    assert result.ok
    assert "\nhello\n" in result.text
    assert lag.longest < MAX_LAG


async def test_headers_are_sent_with_each_call() -> None:
    async with served_over_http("headers", headers={"X-Of": "us"}) as services:
        sent = json.loads((await called(services)).text.split("\n")[1])
    assert sent["X-Of"] == "us"
    assert sent["mcp-session-id"] == "the-session"
    assert sent["mcp-protocol-version"] == "2025-06-18"


async def test_key_in_a_header_is_taken_out_of_errors() -> None:
    headers = {"Authorization": "Bearer s3cr3t-value"}
    async with served_over_http("tells the key", headers=headers) as services:
        result = await called(services)
    assert "bad key (hidden)" in result.text
    assert "s3cr3t-value" not in result.message


async def test_certificate_of_an_authority_in_the_settings_is_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    async with answering("good") as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        with TlsProxy(context, port) as proxy:
            table = McpTable(url=f"https://127.0.0.1:{proxy.port}/mcp", read=["*"])
            async with served(table) as services:
                assert services.mcp
                assert services.mcp.servers["shop"].closed
            assert "certificate verify failed" in warnings(caplog)[0]
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
            http.certificates.cache_clear()
            try:
                async with served(table) as services:
                    assert (await called(services, text="hello")).ok
            finally:
                http.certificates.cache_clear()


async def test_server_elsewhere_is_asked_through_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A server that answers any path also plays a proxy: it is asked for the whole address.
    async with answering("good") as url:
        monkeypatch.setenv("HTTP_PROXY", url.removesuffix("/mcp"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        table = McpTable(url="http://shop.invalid/mcp", read=["*"])
        async with served(table) as services:
            assert (await called(services, text="hello")).ok


async def test_key_of_a_header_is_taken_out_of_results_without_its_kind() -> None:
    headers = {"Authorization": "Bearer s3cr3t-value"}
    async with served_over_http("key alone", headers=headers) as services:
        assert "\nfor key (hidden)\n" in (await called(services)).text


async def test_server_of_this_machine_is_not_asked_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with served_over_http("good") as services:
        assert (await called(services)).ok


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("large body", UNREADABLE),
        ("large event", UNREADABLE),
        ("endless body", UNREADABLE),
        ("no json", UNREADABLE),
        ("compressed", LOST),
        ("ends in a call", LOST),
        ("hangs up in a call", LOST),
        ("status 500", "shop answered with status 500."),
        ("status 401", LOST),
        ("loses the session", LOST),
        ("another id", "shop__read took longer than 0.3 s."),
        ("hangs in a call", "shop__read took longer than 0.3 s."),
        ("endless events", "shop__read took longer than 0.3 s."),
        ("endless comments", "shop__read took longer than 0.3 s."),
        ("endless empty lines", "shop__read took longer than 0.3 s."),
        ("very many values", UNREADABLE),
        ("very many values in an event", LOST),
    ],
)
async def test_call_that_fails_over_http_says_why(part: str, message: str) -> None:
    before = time.process_time()
    timeout = 0.3 if message.endswith("than 0.3 s.") else PATIENCE
    async with lag_measured() as lag, served_over_http(part, timeout=timeout) as services:
        result = await called(services, text="hang")
    assert not result.ok
    assert result.message == message
    assert "secret words" not in result.text
    assert lag.longest < MAX_LAG
    assert time.process_time() - before < 1


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("status 401 always", "it refuses the key (status 401)"),
        ("status 403 always", "it does not allow this (status 403)"),
        ("status 404 always", "it answers 'status 404'"),
        ("status 503 always", "it answers 'status 503'"),
        ("a web page", "it answers 'Unexpected content type: text/html'"),
        ("hangs at start", "it does not answer within 1 s"),
    ],
)
async def test_server_that_does_not_open_over_http_is_closed_with_one_line(
    part: str, reason: str, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with served_over_http(part) as services:
        assert services.mcp
        assert services.mcp.servers["shop"].closed == "shop cannot be reached now."
    assert warnings(caplog) == closed_for(reason)


async def test_redirect_elsewhere_is_not_followed(
    impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with served_over_http("redirects"):
        pass
    assert "Redirect to http://127.0.0.1:1/elsewhere not followed" in warnings(caplog)[0]


async def test_lost_session_is_begun_again(at_once: None) -> None:
    async with served_over_http("loses the session") as services:
        assert services.mcp
        server = services.mcp.servers["shop"]
        assert not (await called(services)).ok
        await until(lambda: not server.closed)
        assert (await called(services, text="hello")).ok


async def test_server_that_comes_back_is_found(at_once: None) -> None:
    async with answering("good") as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
    async with served(McpTable(url=url, read=["*"])) as services:
        assert services.mcp
        server = services.mcp.servers["shop"]
        assert server.closed
        async with answering("good", port):
            await until(lambda: not server.closed)
            assert (await called(services, text="hello")).ok


async def test_streams_are_not_opened_again_as_fast_as_the_server_wishes() -> None:
    async with served_over_http("endless streams") as services:
        await asyncio.sleep(0.5)
        assert int((await called(services, text="count")).text.split("\n")[1]) <= 3


async def test_server_that_hangs_at_the_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "LEAVE_TIMEOUT", 0.2)
    async with answering("hangs at the end") as url:
        async with served(McpTable(url=url, read=["*"])) as services:
            assert (await called(services)).ok
            started = time.monotonic()
        assert time.monotonic() - started < 1


SDK_SERVER = """
import sys
from mcp.server.mcpserver import Context, MCPServer
server = MCPServer("weather")

@server.tool()
def today(city: str) -> str:
    "The weather of today."
    return f"sun in {city}"

@server.tool()
async def learn(ctx: Context) -> str:
    "Adds a tool."
    server.add_tool(lambda: "new", name="added", description="Is new.")
    await ctx.notify_tools_changed()
    return "learnt"

server.run(*sys.argv[1:], **({"port": PORT} if "PORT" in globals() else {}))
"""


@pytest.mark.processes
async def test_newer_protocol_is_spoken_over_stdio() -> None:
    command = [sys.executable, "-c", SDK_SERVER]
    async with served(McpTable(command=command, read=["*"])) as services:
        await expect_newer(services)


@pytest.mark.processes
async def test_newer_protocol_is_spoken_over_http() -> None:
    port = free_port()
    code = f"PORT = {port}\n{SDK_SERVER}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, "streamable-http"), stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stderr
        while b"Uvicorn running" not in await process.stderr.readline():
            pass
        table = McpTable(url=f"http://127.0.0.1:{port}/mcp", read=["*"])
        async with served(table) as services:
            await expect_newer(services)
    finally:
        process.kill()
        await process.communicate()


async def expect_newer(services: Services) -> None:
    assert services.mcp
    client = services.mcp.servers["shop"]._client
    assert client
    assert client.protocol_version == "2026-07-28"
    assert "\nsun in Rome\n" in (await called(services, "shop__today", city="Rome")).text
    assert "\nlearnt\n" in (await called(services, "shop__learn")).text
    tools = services.mcp
    await until(lambda: "shop__added" in tools.tools)
