"""Runs that wait for a person, and replies to them, over AG-UI."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from chat.asks import Ask
from chat.models import Run
from tests.runs.pausing import Asking, Plan

from .agui_client import Client
from .calling import Doors, Response
from .test_agui import answered, asked, user

STRANGER = {"authorization": "Bearer another-key-that-another-program-made-itself"}


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Let answers ask what this says."""
    monkeypatch.setattr("chat.runs.supervisor.Answer", Asking)
    Asking.plan = Plan()
    return Asking.plan


@pytest.fixture
async def waiting(doors: Doors, plan: Plan) -> Client:
    """A client whose run waits for a person."""
    return await answered(doors, asked(user("May I?"), run="r1"))


def resume(client: Client, payload: Any = None, **fields: Any) -> list[dict[str, Any]]:
    """Return the same reply to all interrupts."""
    entry = {"status": "resolved", "payload": payload} | fields
    return [{"interruptId": each["id"], **entry} for each in client.interrupts]


async def resumed(
    doors: Doors, client: Client, payload: Any = None, *, run: str = "r2", **fields: Any
) -> Client:
    entries = resume(client, payload, **fields)
    return await answered(doors, asked(*client.messages, run=run, resume=entries))


async def refused(doors: Doors, entries: Any, **fields: Any) -> Response:
    response = await doors.post("/agui", asked(user("May I?"), resume=entries, **fields))
    assert response.status >= 400, response.text
    return response


async def states() -> list[str]:
    return [ask.state async for ask in Ask.objects.order_by("name")]


async def test_pause_is_an_interrupt(waiting: Client) -> None:
    [interrupt] = waiting.interrupts
    assert interrupt["reason"] == "tool_call"
    assert waiting.pending == [interrupt["toolCallId"]]
    assert waiting.texts == ["So far. "]
    assert "city" in interrupt["responseSchema"]["properties"]["editedArgs"]["properties"]


async def test_approval_goes_on_with_what_was_begun(doors: Doors, waiting: Client) -> None:
    client = await resumed(doors, waiting, {"approved": True})
    assert client.outcome == {"type": "success"}
    # Added to the message that the paused run has begun, and in no new one.
    assert client.texts == ["So far. approve"]
    [result] = client.of_type("TOOL_CALL_RESULT")
    assert result["toolCallId"] == waiting.interrupts[0]["toolCallId"]
    assert "TOOL_CALL_START" not in client.types
    assert await states() == ["approved"]


@pytest.mark.parametrize(
    ("payload", "state"),
    [
        (True, "approved"),
        (False, "refused"),
        ({"approved": True, "remember": True}, "approved"),
        ({"approved": True, "editedArgs": {"city": "Bonn"}}, "edited"),
        ({"approved": False, "reason": "Too dear."}, "refused"),
        ({"approved": False, "editedArgs": {"city": "Bonn"}}, "refused"),
    ],
)
async def test_payload_decides(doors: Doors, waiting: Client, payload: Any, state: str) -> None:
    client = await resumed(doors, waiting, payload)
    assert client.ended == "RUN_FINISHED"
    ask = await Ask.objects.aget()
    assert ask.state == state
    assert ask.remember == (isinstance(payload, dict) and payload.get("remember", False))
    if state == "edited":
        assert ask.reply["arguments"] == {"city": "Bonn"}
    if isinstance(payload, dict) and "reason" in payload:
        assert ask.reply["text"] == "Too dear."


@pytest.mark.parametrize("payload", ["Rome", {"answer": "Rome"}])
async def test_question_is_answered(doors: Doors, plan: Plan, payload: Any) -> None:
    plan.asks = [{"kind": "question", "options": ["Rome", "Bonn"]}]
    client = await answered(doors, asked(user("May I?"), run="r1"))
    assert client.interrupts[0]["reason"] == "input_required"
    assert client.pending == []
    client = await resumed(doors, client, payload)
    assert client.outcome == {"type": "success"}
    assert (await Ask.objects.aget()).reply["text"] == "Rome"


@pytest.mark.parametrize(
    ("payload", "state", "arguments"),
    [({"city": "Bonn"}, "answered", {"city": "Bonn"}), (False, "refused", None)],
)
async def test_form_is_filled_in(
    doors: Doors, plan: Plan, payload: Any, state: str, arguments: Any
) -> None:
    plan.asks = [{"kind": "form", "tool": "shop__book"}]
    client = await answered(doors, asked(user("May I?"), run="r1"))
    [interrupt] = client.interrupts
    assert (interrupt["reason"], interrupt["message"]) == (
        "input_required",
        "shop asks: May this be booked?",
    )
    assert interrupt["responseSchema"]["properties"]["city"]
    assert client.pending == []
    response = await refused(doors, resume(client, {"town": "Bonn"}))
    assert (response.status, await states()) == (400, ["open"])
    client = await resumed(doors, client, payload)
    assert client.outcome == {"type": "success"}
    ask = await Ask.objects.aget()
    assert (ask.state, ask.reply.get("arguments")) == (state, arguments)


async def test_several_interrupts_are_replied_to_together(doors: Doors, plan: Plan) -> None:
    plan.asks = [{}, {"kind": "question"}]
    client = await answered(doors, asked(user("May I?"), run="r1"))
    first, second = client.interrupts
    partial = [{"interruptId": first["id"], "status": "resolved", "payload": True}]
    response = await refused(doors, partial)
    assert (response.status, await states()) == (400, ["open", "open"])
    both = [*partial, {"interruptId": second["id"], "status": "resolved", "payload": "Rome"}]
    client = await answered(doors, asked(user("May I?"), resume=both))
    assert client.outcome == {"type": "success"}


async def test_interrupt_is_answered_once(doors: Doors, waiting: Client) -> None:
    await resumed(doors, waiting, True)
    response = await refused(doors, resume(waiting, False), run="r3")
    assert (response.status, response.error["code"]) == (409, "already_answered")
    assert (await states(), await Run.objects.acount()) == (["approved"], 2)


async def test_same_reply_of_the_same_run_joins(doors: Doors, waiting: Client) -> None:
    await resumed(doors, waiting, True)
    again = await resumed(doors, waiting, True)
    assert again.texts == ["So far. approve"]
    assert await Run.objects.acount() == 2


async def test_same_reply_of_another_run_joins(doors: Doors, waiting: Client) -> None:
    """A client whose connection broke sends its replies again, as a new run of its own."""
    await resumed(doors, waiting, True)
    again = await resumed(doors, waiting, True, run="r3")
    assert again.texts == ["So far. approve"]
    assert (await states(), await Run.objects.acount()) == (["approved"], 2)


async def test_client_that_has_some_of_the_run_that_goes_on_gives_it_back(
    doors: Doors, waiting: Client
) -> None:
    first = await resumed(doors, waiting, True)
    had = [*first.messages, {"id": "own", "role": "tool", "content": "{}", "toolCallId": "c"}]
    entries = resume(waiting, True)
    for run in ("r2", "r3"):
        again = await answered(doors, asked(*had, run=run, resume=entries))
        assert again.types[1] == "MESSAGES_SNAPSHOT"
        assert again.texts == ["So far. approve"]
        shown = [each["id"] for each in again.messages if each["role"] != "activity"]
        assert sorted(shown) == sorted(each["id"] for each in had)


async def test_run_that_goes_on_can_be_rejoined(doors: Doors, waiting: Client) -> None:
    body = asked(*waiting.messages, run="r2", resume=resume(waiting, True))
    whole = (await doors.post("/agui", body)).text
    messages = whole.split("\n\n")
    for at in range(1, len(messages) - 2):
        client = Client(waiting.messages).read("\n\n".join(messages[:at]) + "\n\n")
        behind = {"last-event-id": client.last_id}
        client.read((await doors.post("/agui", body, headers=behind)).text)
        assert client.texts == ["So far. approve"], at
    assert await Run.objects.acount() == 2


async def test_cancelled_interrupt_takes_the_question_back(doors: Doors, waiting: Client) -> None:
    client = await resumed(doors, waiting, status="cancelled")
    assert client.outcome == {"type": "cancelled"}
    assert await states() == ["withdrawn"]
    [result] = client.of_type("TOOL_CALL_RESULT")
    assert json.loads(result["content"])["ok"] is False


async def test_new_question_in_place_of_a_reply_is_answered(doors: Doors, waiting: Client) -> None:
    entries = resume(waiting, status="cancelled")
    body = asked(*waiting.messages, user("plain", "m2"), run="r2", resume=entries)
    for _ in range(2):
        client = await answered(doors, body)
        assert client.texts[-1] == "Plain."
    assert await states() == ["withdrawn"]
    assert await Run.objects.acount() == 3


async def test_expired_interrupt_can_be_left_for_a_new_question(
    doors: Doors, waiting: Client
) -> None:
    await Ask.objects.aupdate(expires_at=timezone.now() - timedelta(seconds=1))
    response = await refused(doors, resume(waiting, True))
    assert (response.status, response.error["code"]) == (409, "expired")
    entries = resume(waiting, status="cancelled")
    body = asked(*waiting.messages, user("plain", "m2"), resume=entries)
    assert (await answered(doors, body)).texts[-1] == "Plain."


async def test_thread_takes_other_questions_meanwhile(doors: Doors, waiting: Client) -> None:
    client = await answered(doors, asked(*waiting.messages, user("plain", "m2"), run="r2"))
    assert client.texts[-1] == "Plain."
    assert await states() == ["open"]


@pytest.mark.parametrize(
    ("payload", "status"),
    [
        (None, 400),
        ("yes", 400),
        ({}, 400),
        ({"approved": "yes"}, 400),
        ({"approved": True, "edited_args": {"city": "Bonn"}}, 400),
        ({"approved": True, "editedArgs": {"town": "Bonn"}}, 400),
        ({"approved": False, "remember": True}, 400),
    ],
)
async def test_payload_that_does_not_fit_changes_nothing(
    doors: Doors, waiting: Client, payload: Any, status: int
) -> None:
    response = await refused(doors, resume(waiting, payload))
    assert response.status == status, response.error
    assert response.error["type"] == "invalid_request_error"
    assert (await states(), await Run.objects.acount()) == (["open"], 1)


async def test_interrupt_of_another_thread_is_unknown(doors: Doors, waiting: Client) -> None:
    await answered(doors, asked(user("plain"), thread="other"))
    response = await refused(doors, resume(waiting, True), thread="other")
    assert (response.status, response.error["code"]) == (404, "not_found")
    assert response.error["param"] == "resume[0].interruptId"
    assert await states() == ["open"]


async def test_interrupt_of_another_owner_is_unknown(doors: Doors, waiting: Client) -> None:
    body = asked(user("May I?"), resume=resume(waiting, True))
    foreign = await doors.post("/agui", body, headers=STRANGER)
    body["resume"][0]["interruptId"] = str(uuid.uuid4())
    unknown = await doors.post("/agui", body, headers=STRANGER)
    assert foreign.status == unknown.status == 404
    assert foreign.error["code"] == unknown.error["code"] == "not_found"
    assert await states() == ["open"]


async def test_interrupt_with_two_replies_is_refused(doors: Doors, waiting: Client) -> None:
    response = await refused(doors, [*resume(waiting, True), *resume(waiting, False)])
    assert (response.status, response.error["param"]) == (400, "resume")
    assert await states() == ["open"]
