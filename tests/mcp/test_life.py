"""The life of a connection to an MCP server: opened, lost, opened again, closed."""

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from tests.mcp.serving import called, checked, children, playing, served, until
from tooling.calls import Rejection
from tooling.mcp.definitions import Definition
from tooling.registry import CallKey
from tooling.tables import ToolTable


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


async def test_tools_that_change_are_listed_again(tmp_path: Path) -> None:
    state = tmp_path / "state"
    async with served(playing("changes in a call", env={"STATE": str(state)})) as services:
        assert services.mcp
        assert services.mcp.tools["shop__read"].description == "Reads, 1."
        for _ in range(20):
            await called(services)
        await until(lambda: services.mcp.tools["shop__read"].description == "Reads, 2.")
    # At most one look in each interval.
    assert state.read_text() == "xx"


async def test_limits_of_the_file_apply() -> None:
    limits = {
        "shop__read": ToolTable(timeout=1, max_chars=100, approver="perm:chat.approve"),
        "shop__write": ToolTable(enabled=False),
    }
    async with served(playing("good"), limits=limits) as services:
        assert services.mcp
        assert list(services.mcp.tools) == ["shop__read", "shop__search"]
        tool = services.mcp.tools["shop__read"]
        result = await called(services, text="word " * 100)
    assert (tool.timeout, tool.max_chars, tool.approver) == (1, 100, "perm:chat.approve")
    assert len(result.text) < 300


async def test_only_named_tools_are_there() -> None:
    async with served(playing("good", tools=["read", "se*"])) as services:
        assert services.mcp
        assert list(services.mcp.tools) == ["shop__read", "shop__search"]


async def test_only_results_of_named_tools_that_read_are_kept() -> None:
    async with served(playing("good", read=["read", "search"], cache=["search", "write"])) as found:
        assert found.mcp
        kept = {name for name, tool in found.mcp.tools.items() if tool.cache}
    assert kept == {"shop__search"}


async def test_name_that_no_tool_has_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with served(playing("good", read=["raed"])):
        pass
    assert "MCP server shop has no tool of the names in mcp.shop.read: raed" in caplog.text


async def test_tool_that_others_name_and_the_server_lacks_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    wanted = ["shop__raed", "shop__*", "shop__se*", "shop__write", "other__read", "shopread"]
    limits = {"shop__wrte": ToolTable(timeout=1), "clock": ToolTable()}
    async with served(playing("good"), wanted=wanted, limits=limits):
        pass
    lines = [each.getMessage() for each in caplog.records if "has no tool" in each.getMessage()]
    why = "which an agent or a setting names; did you mean"
    assert lines == [
        f"MCP server shop has no tool shop__raed, {why} shop__read?",
        f"MCP server shop has no tool shop__wrte, {why} shop__write?",
    ]


async def test_what_a_server_says_at_its_start_is_logged_only_if_it_fails(
    impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(playing("complains at start")) as services:
        assert (await called(services)).ok
    assert "is open after" in caplog.text
    assert "a warning" not in caplog.text
    async with served(playing("complains and hangs")):
        pass
    said = [text for each in caplog.records if " says: " in (text := each.getMessage())]
    assert len(said) == 60
    assert said[-1] == "MCP server shop says: no login"


async def test_what_a_server_says_when_it_is_open_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served(playing("complains in a call")) as services:
        assert (await called(services)).ok
        await until(lambda: "MCP server shop says: a complaint" in caplog.text)


async def test_call_that_acts_has_its_key() -> None:
    async with served(playing("meta", read=[])) as services:
        assert services.mcp
        tool = services.mcp.tools["shop__write"]
        output = await tool.run({"services": 1, "self": 2}, services, CallKey("the-key"))
    said = json.loads(output.text)
    assert said.pop("_meta")["agenticfleet/key"] == "the-key"
    assert said == {"services": 1, "self": 2}


async def test_definitions_that_are_judged_are_closed(tmp_path: Path) -> None:
    async def judge(server: str, definitions: Sequence[Definition]) -> dict[str, str]:
        return {"shop__read": f"{server} has changed read."} if not accepted else {}

    accepted = False
    async with served(playing("good"), judge=judge) as services:
        assert services.mcp
        rejection = checked(services)
        assert isinstance(rejection, Rejection)
        assert rejection.text == "shop has changed read. Answer without shop__read."
        accepted = True
        await services.mcp.servers["shop"].judge_again()
        assert (await called(services)).ok


HOLD = """
import asyncio, sys, django
django.setup()
from tests.mcp.serving import playing
from tooling.mcp.servers import Servers
servers = Servers({"shop": playing("stubborn")})
async def hold():
    asyncio.get_running_loop().create_task(servers.keep())
    await servers.tried(20)
    print("open", flush=True)
    await asyncio.sleep(600)
asyncio.run(hold())
"""


@pytest.mark.processes
async def test_program_ends_with_its_worker_even_if_that_is_killed() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLD),
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "agenticfleet.settings"},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        assert await process.stdout.readline() == b"open\n"
        # Other tests have theirs at the same time.
        own = psutil.Process(process.pid).children(recursive=True)
        [player] = [each for each in children() if each in own]
    finally:
        process.kill()
        await process.wait()
    await until(lambda: not player.is_running() or player.status() == psutil.STATUS_ZOMBIE)
