"""A model that fails or hangs ends its run with one error, in time."""

import asyncio
import time
from dataclasses import replace

import pytest
from django.contrib.auth.models import User
from django.test import Client

from chat.access.owners import TERMINAL, Owner, is_operator
from chat.database import in_database
from chat.llm.errors import ALL_THINKING, MORE_THINKING
from chat.models import Run
from tests.chatting import Chatting, chat_request, cookie_header, is_terminal, kinds, text_of
from tests.owners import SCRIPT
from tests.scripted_model import ScriptedModel
from tests.timing import quickest

pytestmark = pytest.mark.django_db(transaction=True)


async def error_of(chat: Chatting, question: str) -> dict:
    """Ask, check that the run and its row end as failed, and return the error."""
    # With mode "auto" the team would take over.
    events = await chat.answer(chat_request(question, mode="light"))
    assert sum(map(is_terminal, events)) == 1
    assert "response.completed" not in kinds(events)
    row = await Run.objects.select_related("answer").aget(pk=events[0]["workflow_id"])
    assert (row.status, row.error_code) == ("failed", events[-1]["error"]["code"])
    assert row.answer.text == text_of(events)
    return events[-1]["error"]


@pytest.mark.parametrize(
    ("script", "code", "part"),
    [
        ({"status": 401}, "model_error", "refused the key"),
        ({"status": 404}, "model_error", "nothing at the address"),
        (
            {"status": 404, "error": {"message": "model 'scripted' not found"}},
            "model_error",
            "does not know the model",
        ),
        (
            {"status": 429, "headers": {"Retry-After": "20"}},
            "rate_limited",
            "Try again in 20 s",
        ),
        (
            {"status": 429, "headers": {"Retry-After": "²"}},
            "rate_limited",
            "Try again in a moment",
        ),
        ({"status": 500}, "model_unavailable", 'The server says: "scripted"'),
        ({"status": 400}, "model_error", 'The server says: "scripted"'),
        (
            {"status": 400, "error": {"code": "context_length_exceeded", "message": "x"}},
            "context_too_long",
            "too long",
        ),
        ({"cut_after": 1}, "model_error", "cut off"),
        ({"tokens": ["a", "b"], "finish": False}, "model_error", "cut off"),
        ({"garbage_after": 1}, "model_error", "unreadable in mid-answer"),
        ({"tokens": []}, "model_error", "empty answer"),
    ],
)
async def test_model_error_ends_the_run_with_its_code_and_message(
    chat: Chatting, model: ScriptedModel, script: dict, code: str, part: str
) -> None:
    model.on("fail", **script)
    error = await error_of(chat, "fail")
    assert error["code"] == code
    assert part in error["message"]


async def test_address_of_an_unreachable_model_is_in_the_log_alone(
    chat: Chatting, settings, worker, caplog: pytest.LogCaptureFixture
) -> None:
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1"
    await worker.stop()
    error = await error_of(chat, "anyone?")
    assert error == {
        "code": "model_unavailable",
        "message": "The model server cannot be reached.",
        "retryable": True,
    }
    [line] = [
        record.message for record in caplog.records if record.name == "chat.llm.faults.verdicts"
    ]
    assert "127.0.0.1:9" in line
    assert "connection refused" in line


def session_of(*, is_staff: bool) -> dict[str, str]:
    """Return the headers of a person's browser."""
    client = Client()
    client.force_login(User.objects.create_user("ann", is_staff=is_staff))
    return {"cookie": cookie_header(client), "origin": "http://testserver"}


@pytest.mark.parametrize("reader", ["script", "user", "staff"])
async def test_advice_with_names_of_settings_is_for_staff_alone(
    chat: Chatting, model: ScriptedModel, reader: str
) -> None:
    model.on("mute", tokens=[], finish_reason="length", thinking_tokens=1000)
    headers = None
    if reader != "script":
        headers = await in_database(session_of, is_staff=reader == "staff")
    events = await chat.answer(chat_request("mute", mode="light"), headers=headers)
    message = events[-1]["error"]["message"]
    assert message == (f"{ALL_THINKING} {MORE_THINKING}" if reader == "staff" else ALL_THINKING)


def test_terminal_and_active_staff_are_operators() -> None:
    staff = User.objects.create_user("ann", is_staff=True)
    former = User.objects.create_user("bob", is_staff=True, is_active=False)
    user = User.objects.create_user("cay")
    owners = {
        TERMINAL: True,
        SCRIPT: False,
        Owner("browser", str(staff.pk)): False,
        Owner("user", str(staff.pk)): True,
        Owner("user", str(former.pk)): False,
        Owner("user", str(user.pk)): False,
    }
    assert {owner: is_operator(str(owner)) for owner in owners} == owners


async def test_temporary_error_before_the_first_chunk_is_retried(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("flaky", status=503, fail_times=1)
    assert kinds(await chat.answer("flaky"))[-1] == "done"
    assert len(model.calls) == 2


async def test_error_after_the_first_chunk_is_not_retried(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.on("cut", cut_after=2)
    await error_of(chat, "cut")
    assert len(model.calls) == 1


@pytest.mark.parametrize(
    ("deadline", "script", "code"),
    [
        ("first_chunk", {"hang_after": 0}, "first_chunk_timeout"),
        ("chunk", {"hang_after": 2}, "idle_timeout"),
        ("idle", {"hang_after": 2}, "idle_timeout"),
        ("runtime", {"tokens": ["x"] * 1000, "pace": 0.02}, "max_runtime"),
    ],
)
async def test_hanging_model_ends_the_run_at_the_deadline(
    chat: Chatting,
    model: ScriptedModel,
    worker,
    settings,
    deadline: str,
    script: dict,
    code: str,
) -> None:
    settings.FLEET_DEADLINES = replace(settings.FLEET_DEADLINES, **{deadline: 0.3})
    await worker.stop()
    model.on("hang", **script)

    async def time_to_the_end() -> float:
        started = time.monotonic()
        events = await chat.answer("hang")
        took = time.monotonic() - started
        assert took >= 0.3
        assert events[-1]["error"]["code"] == code
        assert events[-1]["error"]["retryable"]
        return took

    assert await quickest(time_to_the_end, enough=1) < 1
    for call in model.calls:
        assert await asyncio.to_thread(call.ended.wait, 5)
        assert call.hung_up
    assert model.calls
