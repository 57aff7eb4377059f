"""curl at our own API: one line in a shell for each thing."""

import json
import shutil
import subprocess
from typing import Any

import pytest

from tests.chatting import AS_SCRIPT, kinds, text_of
from tests.programs import REQUIRED
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet

QUESTION = "What does curl do?"
TIMEOUT = 60  # seconds
KEY = AS_SCRIPT["authorization"]
pytestmark = pytest.mark.skipif(not shutil.which("curl") and not REQUIRED, reason="no curl")


def curl(fleet: Fleet, path: str, *words: str) -> subprocess.Popen[str]:
    command = ["curl", "-sN", "-H", f"Authorization: {KEY}", *words, fleet.address + path[1:]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def said(fleet: Fleet, path: str, *words: str) -> str:
    out, _ = curl(fleet, path, *words).communicate(timeout=TIMEOUT)
    return out


def asking(**fields: Any) -> list[str]:
    body = json.dumps({"message": QUESTION, **fields})
    return ["-H", "Content-Type: application/json", "-d", body]


def events_in(out: str) -> list[dict[str, Any]]:
    lines = out.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_curl_asks_and_waits_for_the_whole_answer(fleet: Fleet, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["Forty", "-two"])
    started = json.loads(said(fleet, "/api/v1/runs", *asking()))
    found = json.loads(said(fleet, f"{started['events']}?wait=done"))
    assert (found["status"], found["text"]) == ("completed", "Forty-two")


def test_curl_goes_on_where_its_connection_broke_off(fleet: Fleet, model: ScriptedModel) -> None:
    model.on(QUESTION, tokens=["One", " two", " three"], hold_after=2)
    first = curl(fleet, "/api/v1/runs", "-H", "Accept: text/event-stream", *asking())
    assert first.stdout
    out = ""
    while text_of(events_in(out)) != "One two":
        out += first.stdout.readline()
    first.terminate()
    first.communicate(timeout=TIMEOUT)
    seen = events_in(out)
    place = f"/api/v1/runs/{seen[0]['workflow_id']}/events"
    second = curl(fleet, place, "-H", f"Last-Event-ID: {seen[-1]['seq']}")
    model.release()
    rest, _ = second.communicate(timeout=TIMEOUT)
    assert second.returncode == 0
    events = [*seen, *events_in(rest)]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert text_of(events) == "One two three"
    assert kinds(events)[-1] == "done"
    last = ["-H", f"Last-Event-ID: {events[-1]['seq']}", "-w", "%{http_code}"]
    assert said(fleet, place, *last) == "204"


def test_curl_fails_with_a_reason(fleet: Fleet) -> None:
    client = curl(fleet, "/api/v1/conversations", "--fail-with-body")
    out, _ = client.communicate(timeout=TIMEOUT)
    assert client.returncode == 22
    assert json.loads(out)["error"]["code"] == "token_needed"
