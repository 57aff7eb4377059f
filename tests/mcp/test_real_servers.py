"""Unmodified MCP servers from PyPI and npm, in a fleet of processes: by stdio and by HTTP."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection

from agenticfleet.embedded import free_port
from chat.workflow.agents import ASSISTANT
from tests.chatting import text_of
from tests.doors.clients.running import install, node_modules, tool, uv
from tests.scripted_model import Script, ScriptedModel
from tests.serving import running, until

TIME = "mcp-server-time==2026.10.19"
EVERYTHING = "@modelcontextprotocol/server-everything@2026.8.31"
FILES = "@modelcontextprotocol/server-filesystem@2026.8.31"
READY_TIMEOUT = 60  # seconds


def program(package: str) -> str:
    """Return the path of a package's program in Node's folder."""
    folder = node_modules((package,)) / "node_modules" / package.rpartition("@")[0]
    names = json.loads((folder / "package.json").read_text())["bin"]
    return str(folder / (names if isinstance(names, str) else next(iter(names.values()))))


@pytest.fixture
def everything() -> Iterator[str]:
    """Yield the address of npm's server-everything."""
    port = free_port()
    process = subprocess.Popen(
        [*tool("node"), program(EVERYTHING), "streamableHttp"],
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: is_open(port), READY_TIMEOUT, "the server does not listen")
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_real_servers_answer_in_runs_of_a_fleet(
    tmp_path: Path, model: ScriptedModel, everything: str
) -> None:
    time_server = [*uv(), "tool", "run", "--quiet", "--from", TIME, "mcp-server-time"]
    install(*time_server, "--help")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "note.txt").write_text("The harbour opens at noon.")
    files = [*tool("node"), program(FILES), str(tmp_path / "files")]
    config = tmp_path / "fleet.toml"
    config.write_text(
        f"[mcp.time]\ncommand = {json.dumps(time_server)}\nread = ['*']\n"
        f"[mcp.files]\ncommand = {json.dumps(files)}\nread = ['read_*', 'list_*']\n"
        f"[mcp.everything]\nurl = '{everything}'\nread = ['echo', 'get-sum']\n"
    )
    calls = {
        "time__convert_time": (
            {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"},
            "21:00",
        ),
        "files__read_text_file": (
            {"path": str(tmp_path / "files" / "note.txt")},
            "The harbour opens at noon.",
        ),
        "everything__get-sum": ({"a": 20, "b": 22}, "42"),
    }
    with running(tmp_path, model, "--workers", "1", FLEET_CONFIG=str(config)) as fleet:
        until(
            lambda: fleet.complained.count("is open after") == 3,
            READY_TIMEOUT,
            "the servers do not open",
        )
        programs = [child for child in fleet.children() if "watcher.py" not in child.cmdline()]
        for number, (name, (arguments, expected)) in enumerate(calls.items()):
            question = f"What does {name} say?"
            model.as_agent_on(
                ASSISTANT.instructions,
                question,
                Script(tokens=[], calls=[(name, json.dumps(arguments))]),
                Script(tokens=[f"It says {number}."]),
            )
            with fleet.ask(question) as client:
                events = [json.loads(frame) for frame in frames(client)]
            assert events[-1]["type"] == "done", events[-1]
            assert text_of(events) == f"It says {number}."
            assert expected in str(model.calls[-1].body["messages"][-1]["content"])
        assert fleet.stop() == 0
    assert "Traceback" not in fleet.complained
    until(lambda: not any(each.is_running() for each in programs), 10, "a program is left")


def frames(client: ClientConnection) -> Iterator[str]:
    """Yield the frames of a run up to its last one."""
    for frame in client:
        yield str(frame)
        if json.loads(frame)["type"] in ("done", "error"):
            return
