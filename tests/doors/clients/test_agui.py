"""HttpAgent of @ag-ui/client, as it comes from npm."""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chat.workflow.agents import ASSISTANT, PLANNER, WRITER
from tests.chatting import OWN_KEY
from tests.doors.agui_client import Client
from tests.doors.test_agui_rendering import QUESTIONS, body_behind, body_of, cuts, stories
from tests.scripted_model import Script, ScriptedModel
from tests.serving import NO_LIMITS, Fleet, running, until
from tests.workflow.playing import plan, wants

from .running import in_node

PACKAGES = ("@ag-ui/client@1.0.0",)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel) -> Iterator[Fleet]:
    """A fleet in which people approve each look at the clock."""
    folder = tmp_path_factory.mktemp("agui")
    with running(
        folder, model_server, "--workers", "1", **NO_LIMITS, FLEET_APPROVE="clock"
    ) as fleet:
        yield fleet


def played(fleet: Fleet, scene: str, *words: str) -> list[dict[str, Any]]:
    """Return what the client has after each run of a scene."""
    found = in_node("agui.mjs", fleet.address, scene, *words, OWN_KEY, packages=PACKAGES)
    assert found["warnings"] == []
    runs: list[dict[str, Any]] = found["runs"]
    return runs


def texts(run: dict[str, Any], role: str = "assistant") -> list[str]:
    said = [each.get("content") for each in run["messages"] if each["role"] == role]
    return [text for text in said if text]


def test_thinking_and_the_answer_are_messages(fleet: Fleet, model: ScriptedModel) -> None:
    model.on("Think", reasoning=["Let me ", "see."], tokens=["Forty", "-two"])
    [run] = played(fleet, "ask", "Think")
    assert (run["outcome"], texts(run), texts(run, "reasoning")) == (
        "success",
        ["Forty-two"],
        ["Let me see."],
    )


def test_thread_goes_on(fleet: Fleet, model: ScriptedModel) -> None:
    model.on("First", tokens=["One"])
    model.on("Second", tokens=["Two"])
    first, second = played(fleet, "ask", "First", "Second")
    assert (texts(first), texts(second)) == (["One"], ["One", "Two"])
    # What the client has told.
    assert "One" in json.dumps(model.calls[-1].body["messages"])


def test_tool_calls_have_results(fleet: Fleet, model: ScriptedModel) -> None:
    calls = wants(("calculator", {"expression": "6 * 7"}))
    model.as_agent(ASSISTANT.instructions, calls, Script(tokens=["42"]))
    [run] = played(fleet, "ask", "Count")
    [call] = [each for message in run["messages"] for each in message.get("toolCalls", ())]
    assert json.loads(call["function"]["arguments"]) == {"expression": "6 * 7"}
    [result] = [each for each in run["messages"] if each["role"] == "tool"]
    assert (result["toolCallId"], json.loads(result["content"])["ok"]) == (call["id"], True)
    assert texts(run) == ["42"]


def test_failed_run_is_a_run_error(fleet: Fleet, model: ScriptedModel) -> None:
    model.on("Fail", status=400)
    [run] = played(fleet, "ask", "Fail")
    assert (run["outcome"], run["types"][-1], run["failure"]) == ("model_error", "RUN_ERROR", None)


def test_refused_request_is_an_error_with_its_object(fleet: Fleet) -> None:
    [run] = played(fleet, "refused")
    assert run["failure"]["status"] == 400
    assert run["failure"]["error"]["param"] == "forwardedProps.fleet.mode"


def test_aborted_run_is_cancelled(fleet: Fleet, model: ScriptedModel) -> None:
    model.on("Stop", tokens=["One", " two"], hold_after=1)
    ids = [str(uuid.uuid4()), str(uuid.uuid4())]
    [run] = played(fleet, "abort", "Stop", *ids)
    # The client itself ends what it has left.
    assert (run["outcome"], run["failure"]) == ("abort", None)
    assert model.calls[-1].ended.wait(20)
    [run] = played(fleet, "join", "Stop", *ids)
    assert run["outcome"] == "cancelled"
    assert texts(run) == ["One"]


def test_escalated_answer_replaces_the_light_one(fleet: Fleet, model: ScriptedModel) -> None:
    model.as_agent(ASSISTANT.instructions, Script(tokens=["I don't", " know."]))
    model.as_agent(PLANNER.instructions, plan("researcher", "analyst"))
    model.as_agent(WRITER.instructions, Script(tokens=["Forty", "-two."]))
    [run] = played(fleet, "ask", "Escalate")
    assert run["outcome"] == "success"
    assert "MESSAGES_SNAPSHOT" in run["types"]
    assert len(texts(run)) == 1
    assert "know" not in texts(run)[0]


@pytest.mark.parametrize("count", [1, 5])
def test_stream_that_is_cut_goes_on(fleet: Fleet, model: ScriptedModel, count: int) -> None:
    model.on("Cut", reasoning=["Let me ", "see."], tokens=[f"{n} " for n in range(20)])
    [run] = played(fleet, "rejoin", "Cut", str(count))
    assert run["failure"] is None
    assert (run["outcome"], run["types"].count("RUN_STARTED")) == ("success", 1)
    assert texts(run) == ["".join(f"{n} " for n in range(20))]
    assert texts(run, "reasoning") == ["Let me see."]


def test_stream_outlives_its_worker(fleet: Fleet, model: ScriptedModel) -> None:
    words = [f"{n} " for n in range(20)]
    script = model.on("Survive", reasoning=["Let me see."], tokens=words, hold_after=5)
    with ThreadPoolExecutor(1) as pool:
        playing = pool.submit(played, fleet, "survive", "Survive")
        until(lambda: model.calls and model.calls[-1].sent == script.hold_after, 60, "no words")
        [worker] = fleet.children("fleet-worker")
        worker.kill()
        until(lambda: len(model.calls) == 2, 60, "the run does not go on")
        model.release()
        [run] = playing.result()
    assert (run["outcome"], run["failure"]) == ("success", None)
    assert run["types"].count("RUN_STARTED") == 1
    assert texts(run) == ["".join(words)]


APPROVED = {"approved": True}
REFUSED = {"approved": False, "reason": "Not now."}


@pytest.mark.parametrize("payload", [APPROVED, REFUSED])
def test_interrupt_is_resumed(fleet: Fleet, model: ScriptedModel, payload: Any) -> None:
    look = wants(("clock", {"place": "Tokyo"}))
    look.tokens = ["One moment. "]
    model.as_agent(ASSISTANT.instructions, look, Script(tokens=["It is late."]))
    first, second = played(fleet, "resume", "Look up", json.dumps(payload))
    assert first["outcome"] == "interrupt"
    [interrupt] = first["interrupts"]
    [call] = [each for message in first["messages"] for each in message.get("toolCalls", ())]
    assert interrupt["toolCallId"] == call["id"]
    assert (second["outcome"], second["interrupts"]) == ("success", [])
    assert "TOOL_CALL_START" not in second["types"]
    [result] = [each for each in second["messages"] if each["role"] == "tool"]
    assert json.loads(result["content"])["ok"] == payload["approved"]
    # In one message, although two runs have written it.
    assert texts(second) == ["One moment. \n\nIt is late."]


def test_cancelled_interrupt_ends_the_run(fleet: Fleet, model: ScriptedModel) -> None:
    look = wants(("clock", {"place": "Tokyo"}))
    model.as_agent(ASSISTANT.instructions, look, Script(tokens=["It is late."]))
    _, second = played(fleet, "resume", "Take back", "cancelled")
    assert (second["outcome"], second["interrupts"]) == ("cancelled", [])


def test_client_accepts_all_recorded_runs(fleet: Fleet, tmp_path: Path) -> None:
    """Each beginning of each story with each ending, and streams that were cut and went on."""
    bodies = {f"{name}, {what}": body_of(events) for name, what, events in stories()}
    for what, events, messages, at in cuts():
        arrived = "".join(f"id: {id_}\ndata: {data}\n\n" for id_, data in messages[: at + 1])
        bodies[what] = arrived + body_behind(messages[at][0], events)
    recorded = [{"name": each, "messages": QUESTIONS, "body": bodies[each]} for each in bodies]
    file = tmp_path / "recorded.json"
    file.write_text(json.dumps(recorded))
    runs = played(fleet, "recorded", str(file))
    assert {run["name"]: run["failure"] for run in runs if run["failure"]} == {}
    assert len(runs) == len(bodies)
    for run in runs:
        # The client of the other tests shows the same.
        client = Client(QUESTIONS).read(bodies[run["name"]])
        assert texts(run) == client.texts, run["name"]
        assert texts(run, "reasoning") == client.contents("reasoning"), run["name"]
