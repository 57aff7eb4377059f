"""SIGHUP with a changed fleet.toml; and a worker that dies while the file is wrong."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fleet.test_fleet import read_to, read_to_end
from tests.scripted_model import ScriptedModel
from tests.serving import MANAGE, START, STOP, Fleet, clean_environment, running, until

pytestmark = pytest.mark.processes

RELOAD = 2 * START
FIRST = '[agents.assistant]\ninstructions = "You are the first."\n'
SECOND = """
[agents.assistant]
instructions = "You are the second."

[agents.lawyer]
role = "reads contracts"
instructions = "You read contracts."
tools = ["stock"]
"""
TOOLS = '''
from tooling import tool

@tool(timeout=5)
async def stock(article: str) -> str:
    """How many of an article are in stock."""
    return "7"
'''


@dataclass
class Seen:
    """What was observed, in this order."""

    started_with: str
    first: str  # what the assistant was told
    streaming: dict[str, Any]  # the end of an answer that was being written at the reload
    said: str  # until an answer after the reload
    second: str
    offered: list[str]  # tools
    refusals: list[str]  # lines on stderr when fleet.toml is wrong, then fleet_tools.py
    after_refusals: bool  # the worker is the same
    restarted: str  # what the assistant is told after its worker was killed
    beside: subprocess.CompletedProcess[str]  # `ask`, with a wrong file
    rows: list[tuple[str, str]]  # the digests of the runs, with their texts


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("config")
    (folder / "fleet.toml").write_text(FIRST)
    model = ScriptedModel()
    model.on("Slowly, please.", hold_after=1)
    try:
        config = str(folder / "fleet.toml")
        with running(folder, model, FLEET_SHUTDOWN_GRACE="300", FLEET_CONFIG=config) as fleet:
            yield observe(fleet, model)
    finally:
        model.stop()


def observe(fleet: Fleet, model: ScriptedModel) -> Seen:
    toml, tools = fleet.folder / "fleet.toml", fleet.folder / "fleet_tools.py"
    [started_with] = [line for line in fleet.said.splitlines() if "fleet.toml" in line]
    first, _ = told(fleet, model)
    with fleet.ask("Slowly, please.") as client:
        read_to("response.delta", client)
        toml.write_text(SECOND)
        tools.write_text(TOOLS)
        until(lambda: fleet.said.count("has changed") == 2, RELOAD, "changes are not noticed")
        fleet.signal(signal.SIGHUP)
        until(lambda: "Reloaded." in fleet.said, RELOAD, "no reload")
        second, offered = told(fleet, model)
        until_reload = fleet.said
        model.release()
        streaming = read_to_end(client)[-1]
    until(lambda: len(fleet.children("fleet-worker")) == 1, STOP, "the old worker stays")
    before, refusals = fleet.children("fleet-worker"), []
    for path, good in ((toml, SECOND), (tools, TOOLS)):
        count = len(fleet.complained)
        path.write_text(good + "\nwrong")
        fleet.signal(signal.SIGHUP)
        until(lambda: "has stopped" in fleet.complained[count:], RELOAD, "no refusal")  # noqa: B023
        refusals += fleet.complained[count:].splitlines()
        if path is toml:
            path.write_text(good)
    toml.write_text("wrong")
    after_refusals = fleet.children("fleet-worker") == before
    [worker] = before
    worker.kill()
    until(lambda: is_replaced(fleet, worker), RELOAD, "no new worker")
    restarted, _ = told(fleet, model)
    beside = subprocess.run(
        [sys.executable, MANAGE, "ask", "Beside?"],
        env={
            **clean_environment(),
            "FLEET_STATE_DIR": str(fleet.folder / "state"),
            "FLEET_CONFIG": str(toml),
            "PYTHON_DOTENV_DISABLED": "1",
        },
        check=False,
        capture_output=True,
        text=True,
    )
    with closing(sqlite3.connect(fleet.folder / "state/fleet.sqlite3")) as database:
        rows = database.execute(
            "SELECT config, c.text FROM chat_run"
            " LEFT JOIN chat_configtext AS c ON c.digest = config ORDER BY created_at"
        ).fetchall()
    return Seen(
        *(started_with, first, streaming, until_reload, second, offered),
        *(refusals, after_refusals, restarted, beside, rows),
    )


def is_replaced(fleet: Fleet, worker: psutil.Process) -> bool:
    return any(child != worker for child in fleet.children("fleet-worker"))


def told(fleet: Fleet, model: ScriptedModel) -> tuple[str, list[str]]:
    """Ask, and return what the model was told that it is, with the tools that it was offered."""
    with fleet.ask("Who are you?") as client:
        end = read_to_end(client)[-1]
    assert end["type"] == "done", end
    body = model.calls[-1].body
    return json.dumps(body["messages"][0]), [
        offer["function"]["name"] for offer in body.get("tools", [])
    ]


def test_start_says_what_it_took(seen: Seen) -> None:
    assert seen.started_with.split() == [
        *("fleet.toml", f"{Path(seen.started_with.split()[1])}", "1", "agent")
    ]
    assert "You are the first." in seen.first


def test_change_is_said_once_until_the_reload_that_takes_it(seen: Seen) -> None:
    lines = [line for line in seen.said.splitlines() if "has changed" in line]
    assert [line.split("; ")[0] for line in lines] == [
        "fleet.toml has changed",
        "fleet_tools.py has changed",
    ]
    assert re.fullmatch(r".*; `kill -HUP \d+` puts it into force\.", lines[0])


def test_changed_files_take_effect_without_a_lost_answer(seen: Seen) -> None:
    assert "You are the second." in seen.second
    assert "stock" in seen.offered
    assert seen.streaming["data"]["status"] == "completed"
    [reloaded] = [line for line in seen.said.splitlines() if line.startswith("Reloaded.")]
    assert reloaded.endswith("fleet_tools.py: 2 agents, 1 added tool")


def test_wrong_file_stops_the_reload_with_one_line(seen: Seen) -> None:
    of_toml, of_tools = seen.refusals
    assert "The reload has stopped: Wrong setting: " in of_toml
    assert "fleet.toml, line 10: must be a table such as" in of_toml
    assert of_toml.endswith("The other workers go on.")
    assert "The reload has stopped: " in of_tools
    assert "wrong" in of_tools
    assert seen.after_refusals


def test_worker_that_dies_meanwhile_starts_again_with_what_was_right(seen: Seen) -> None:
    assert "You are the second." in seen.restarted


def test_asking_beside_the_fleet_does_without_the_file(seen: Seen) -> None:
    assert seen.beside.returncode == 0, seen.beside.stderr
    assert "42" in seen.beside.stdout


def test_runs_have_the_texts_that_were_in_force(seen: Seen) -> None:
    texts = [text for _, text in seen.rows]
    assert "You are the first." in texts[0]
    assert all("You are the second." in text for text in texts[2:])
    assert len({digest for digest, _ in seen.rows}) == 2
