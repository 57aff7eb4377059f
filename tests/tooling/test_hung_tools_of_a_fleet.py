"""A tool that hangs in a real fleet: others answer meanwhile, and the fleet stops in time."""

import json
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.scripted_model import ScriptedModel
from tests.serving import running, until

TOOLS = '''
import threading, time
from pathlib import Path

from tooling import tool

@tool(timeout=600)
def hang(where: str) -> str:
    """Hang."""
    Path(where).write_text("begun")
    while True:
        time.sleep(60)

@tool
def stock(article: str) -> str:
    """Return the stock of an article."""
    return f"{article}: 7"
'''


@pytest.mark.processes
def test_a_hung_tool_stops_neither_other_answers_nor_the_end_of_its_worker(
    tmp_path: Path, model: ScriptedModel
) -> None:
    (tmp_path / "fleet.toml").write_text("")
    (tmp_path / "fleet_tools.py").write_text(TOOLS)
    begun = tmp_path / "begun"
    hangs = ("hang", json.dumps({"where": str(begun)}))
    model.on("hang, please", tokens=[], calls=[hangs])
    model.on("stock, please", tokens=[], calls=[("stock", '{"article": "A1"}')])
    config = str(tmp_path / "fleet.toml")
    with (
        running(tmp_path, model, FLEET_CONFIG=config, FLEET_SHUTDOWN_GRACE="1") as fleet,
        fleet.ask("hang, please"),
    ):
        until(begun.exists, 30, "the tool was not called")
        with fleet.ask("stock, please") as socket:
            events = [json.loads(frame) for frame in socket]
        assert events[-1]["type"] == "done", events[-1]
        [result] = [event for event in events if event["type"] == "tool.complete"]
        assert result["data"]["ok"]
        workers = fleet.children("fleet-worker")
        assert workers
        fleet.signal(signal.SIGTERM)
        began = time.monotonic()
        assert fleet.process.wait(20) == 0
        assert time.monotonic() - began < 15
        assert not [each for each in workers if psutil.pid_exists(each.pid)]
    assert "Traceback" not in fleet.complained
