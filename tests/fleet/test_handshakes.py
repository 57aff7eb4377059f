"""Handshakes of WebSockets that a proxy has made plain requests of."""

import logging

import httpx
import pytest

from agenticfleet import handshakes
from agenticfleet.asgi import application
from chat.logs import Once
from chat.protocol.errors import NEEDS_UPGRADE


@pytest.fixture(autouse=True)
def _untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "_logged", Once(20))


async def answer(method: str = "GET", query: str = "", **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(application, client=("10.0.0.1", 1234))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        return await client.request(method, f"/ws/chat/{query}", headers=named)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "OPTIONS"])
async def test_plain_request_for_the_socket_is_told_to_upgrade(method: str) -> None:
    response = await answer(method)
    assert response.status_code == 426
    assert response.headers["upgrade"] == "websocket"
    assert response.headers["cache-control"] == "no-store"
    if method != "HEAD":
        event = response.json()
        assert event["type"] == "error"
        assert event["error"]["code"] == NEEDS_UPGRADE.code
        assert "proxy" in event["error"]["message"]


async def test_operator_is_told_once_what_a_proxy_drops(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        await answer()  # by a person who looks at the address
        await answer(sec_websocket_key="eA==", connection="close", via="1.1 squid\x1b")
        await answer(query="?socket=unopened")
    [line] = lines(caplog)
    for told in ("10.0.0.1", "Upgrade", "proxy_set_header", "Connection: 'close'", "testserver"):
        assert told in line
    assert line.isprintable()


async def test_operator_is_told_once_that_a_proxy_holds_frames_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for query in ("?socket=unheard", "?socket=unheard", "?socket=nonsense", "?socket=%00"):
        await answer(query=query)
    [line] = lines(caplog)
    assert "proxy_buffering off" in line
