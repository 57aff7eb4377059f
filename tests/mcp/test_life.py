"""The life of a connection to an MCP server: opened, lost, opened again, closed."""

import asyncio
import logging
import time
from pathlib import Path

import pytest

from tests.mcp.serving import called, checked, playing, served, until
from tooling.calls import Rejection
from tooling.mcp import server as server_module


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try lost servers again after a moment."""
    monkeypatch.setattr(server_module, "FIRST_DELAY", 0.02)


async def test_tools_of_a_program_can_be_called() -> None:
    async with served(playing("good")) as services:
        assert services.mcp
        assert list(services.mcp.tools) == ["shop__read", "shop__write", "shop__search"]
        result = await called(services, text="hello")
    assert result.ok
    assert result.untrusted
    assert "\nread: hello\n" in result.text


async def test_only_tools_that_read_are_called_unasked() -> None:
    async with served(playing("good", read=["re*"])) as services:
        assert services.mcp
        tools = services.mcp.tools
    assert not tools["shop__read"].acts
    assert tools["shop__read"].approver == ""
    assert tools["shop__write"].acts
    assert tools["shop__write"].approver == "owner"


async def test_lost_server_is_said_at_once_and_begun_again(
    at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with served(playing("dies in a call")) as services:
        assert services.mcp
        started = time.perf_counter()
        result = await called(services)
        assert time.perf_counter() - started < 0.3
        assert result.failure == "temporary"
        assert result.message == "shop was lost during the call."
        closed = checked(services)
        assert isinstance(closed, Rejection)
        assert closed.text.startswith("shop cannot be reached now.")
        server = services.mcp.servers["shop"]
        await until(lambda: not server.closed)
        assert not (await called(services)).ok
    states = [record.getMessage() for record in caplog.records if "server" in record.getMessage()]
    assert "MCP server shop cannot be reached: it ended (exit code 3). It is tried again." in states
    assert "Traceback" not in caplog.text


async def test_run_that_is_cancelled_cancels_its_call(tmp_path: Path) -> None:
    begun, cancelled = tmp_path / "called", tmp_path / "cancelled"
    env = {"CALLED": str(begun), "CANCELLED": str(cancelled)}
    table = playing("hangs in a call", env=env)
    async with served(table) as services:
        call = asyncio.create_task(called(services, text="hang"))
        await until(begun.exists)
        started = time.perf_counter()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert time.perf_counter() - started < 0.1
        await until(cancelled.exists)
        assert (await called(services, text="next")).ok
