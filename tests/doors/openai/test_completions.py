"""Chat completions through the door: what is asked, stored, taken, ignored and refused."""

import asyncio
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from chat.access.tokens import Token
from chat.conversations import Conversation
from chat.database import in_database
from chat.doors import asking
from chat.doors.openai import completions
from chat.models import Run
from chat.runs.titles import INSTRUCTIONS as TITLE_INSTRUCTIONS
from chat.runs.worker import Worker
from chat.workflow.agents import ASSISTANT, EDITOR
from tests.doors.calling import Doors
from tests.scripted_model import Script, ScriptedModel

from .reading import chunks_in, deltas, finish_reasons

PATH = "/v1/chat/completions"
QUESTION = "What is the answer?"


def body(message: str = QUESTION, **fields: Any) -> dict[str, Any]:
    return {"model": "fleet", "messages": [{"role": "user", "content": message}], **fields}


async def token_of_ada(**options: Any) -> dict[str, str]:
    """Make a token of a person; return its header."""

    def make() -> str:
        user, _ = User.objects.get_or_create(username="ada")
        return Token.objects.make(user, "editor", **options).text

    return {"authorization": f"Bearer {await in_database(make)}"}


def asked_of(model: ScriptedModel) -> list[tuple[str, str]]:
    """Return the messages of the last call to the model."""
    return [(each["role"], each["content"]) for each in model.calls[-1].body["messages"]]


# --- Answers


async def test_answer_is_whole_or_streamed(doors: Doors) -> None:
    whole = await doors.post(PATH, body())
    assert (whole.status, whole.headers["content-type"]) == (200, "application/json")
    assert whole.json["choices"][0]["message"]["content"] == "The answer is **42**."
    assert whole.json["choices"][0]["finish_reason"] == "stop"
    assert whole.json["model"] == "fleet"
    streamed = await doors.post(PATH, body(stream=True))
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert deltas(chunks_in(streamed.text)) == "The answer is **42**."
    run = await Run.objects.aget(pk=streamed.headers["fleet-run"])
    assert (run.door, run.status) == ("openai", "completed")


async def test_program_tells_what_was_said_before(doors: Doors, model: ScriptedModel) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is Rust?"},
        {"role": "assistant", "content": "A language."},
        {"role": "user", "content": QUESTION},
    ]
    assert (await doors.post(PATH, {"model": "fleet-light", "messages": messages})).status == 200
    (_, instructions), *rest = asked_of(model)
    assert instructions.startswith(ASSISTANT.instructions)
    assert "Be brief." in instructions
    assert rest == [("user", "What is Rust?"), ("assistant", "A language."), ("user", QUESTION)]


async def test_runs_of_programs_are_in_no_list_unless_they_are_stored(doors: Doors) -> None:
    await doors.post(PATH, body())
    await doors.post(PATH, body(store=True, user="ada@example"))
    kept = [run async for run in Run.objects.order_by("created_at").select_related("conversation")]
    assert [run.conversation.is_kept for run in kept] == [False, True]
    assert [run.end_user for run in kept] == ["", "ada@example"]


async def test_stored_conversation_goes_on_with_the_last_message_alone(
    doors: Doors, model: ScriptedModel
) -> None:
    first = await doors.post(PATH, body("What is Rust?", store=True))
    conversation = first.json["fleet"]["conversation"]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Something that was never asked"},
        {"role": "assistant", "content": "Something that was never said"},
        {"role": "user", "content": QUESTION},
    ]
    again = await doors.post(
        PATH, body(messages=messages, metadata={"conversation_id": conversation})
    )
    assert again.json["fleet"]["conversation"] == conversation
    assert asked_of(model)[1:] == [
        ("user", "What is Rust?"),
        ("assistant", "The answer is **42**."),
        ("user", QUESTION),
    ]


async def test_conversation_of_somebody_else_is_not_found(doors: Doors) -> None:
    first = await doors.post(PATH, body(store=True))
    metadata = {"conversation_id": first.json["fleet"]["conversation"]}
    stranger = {"authorization": "Bearer a-key-of-somebody-else-with-40-characters"}
    for answer in (
        await doors.post(PATH, body(metadata=metadata), headers=stranger),
        await doors.post(PATH, body(metadata={"conversation_id": str(uuid.uuid4())})),
    ):
        assert (answer.status, answer.error["code"]) == (404, "not_found")


async def test_only_chats_that_are_listed_get_titles(
    doors: Doors, model: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_TITLES = True
    model.as_agent(TITLE_INSTRUCTIONS, Script(tokens=["A title"]))
    headers = await token_of_ada()
    await doors.post(PATH, body(), headers=headers)
    await doors.post(PATH, body(store=True), headers=headers)
    titled = Conversation.objects.filter(title="A title")
    async with asyncio.timeout(20):
        while not await titled.aexists():
            await asyncio.sleep(0.02)
    await Worker.current().drain(grace=0)
    assert [chat.is_kept async for chat in titled] == [True]


@pytest.mark.parametrize(
    ("fields", "mode", "calls"),
    [
        ({"model": "fleet-light"}, "light", 1),
        ({"model": "fleet-plain"}, "plain", 1),
        ({"model": "scripted"}, "auto", 1),
    ],
)
async def test_name_of_the_model_chooses_who_answers(
    doors: Doors, model: ScriptedModel, fields: dict[str, Any], mode: str, calls: int
) -> None:
    answer = await doors.post(PATH, body(**fields))
    assert answer.json["model"] == fields["model"]
    assert (await Run.objects.aget()).mode == mode
    assert len(model.calls) == calls


async def test_tasks_of_front_ends_do_not_wake_the_team(
    doors: Doors, model: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_LIGHT_MODE = False
    task = "### Task:\nGenerate a concise, 3-5 word title for the chat history."
    answer = await doors.post(PATH, body(task))
    assert (await Run.objects.aget()).mode == "light"
    assert len(model.calls) == 1
    assert answer.status == 200


async def test_plain_answer_has_no_steps(doors: Doors) -> None:
    answer = await doors.post(PATH, body("What is 6 * 7?", model="fleet-plain"))
    assert "reasoning_content" not in answer.json["choices"][0]["message"]
    answer = await doors.post(PATH, body("What is 6 * 7?"))
    assert "Calculator: 6 * 7" in answer.json["choices"][0]["message"]["reasoning_content"]
    answer = await doors.post(PATH, body("What is 6 * 7?", fleet={"steps": "off"}))
    assert "reasoning_content" not in answer.json["choices"][0]["message"]


# --- Parameters


async def test_parameters_that_change_nothing_are_named(doors: Doors) -> None:
    ignored = {"temperature": 0.3, "max_tokens": 10, "seed": 1, "tools": [{"type": "function"}]}
    taken = {
        "n": 1,
        "stop": [],
        "tool_choice": "auto",
        "response_format": {"type": "text"},
        "logprobs": False,
        "something_new": {"of": "tomorrow"},
        "reasoning_effort": "high",
        "fleet": {"fresh": True, "preference": "economy"},
    }
    answer = await doors.post(PATH, body(**ignored, **taken))
    assert answer.status == 200
    assert answer.headers["fleet-ignored"] == "temperature, seed, max_tokens, tools"
    run = await Run.objects.aget()
    assert (run.reasoning_effort, run.fresh) == ("maximal", True)
    assert run.preference == "economy"
    assert "fleet-ignored" not in (await doors.post(PATH, body())).headers


REFUSED = {
    "n": 2,
    "tool_choice": "required",
    "function_call": {"name": "f"},
    "response_format": {"type": "json_schema", "json_schema": {}},
    "audio": {"voice": "alloy"},
    "modalities": ["text", "audio"],
    "logprobs": True,
    "top_logprobs": 3,
    "stop": ["\n"],
}


@pytest.mark.parametrize(("param", "value"), REFUSED.items(), ids=REFUSED)
async def test_parameters_that_cannot_be_done_are_refused(
    doors: Doors, model: ScriptedModel, param: str, value: object
) -> None:
    answer = await doors.post(PATH, body(**{param: value}))
    assert answer.status == 400
    assert (answer.error["code"], answer.error["param"]) == ("unsupported_parameter", param)
    assert model.calls == []


BAD: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "unknown model": (body(model="gpt-9"), 404, "model_not_found", "model"),
    "no messages": ({"model": "fleet"}, 400, "bad_request", "messages"),
    "odd effort": (body(reasoning_effort="huge"), 400, "bad_request", "reasoning_effort"),
    "odd role": (
        {"model": "fleet", "messages": [{"role": "king", "content": "?"}]},
        400,
        "bad_request",
        "messages[0].role",
    ),
    "no id": (
        body(metadata={"conversation_id": 7}),
        400,
        "bad_request",
        "metadata.conversation_id",
    ),
    "odd wish": (
        body(metadata={"on_disconnect": "stay"}),
        400,
        "bad_request",
        "metadata.on_disconnect",
    ),
    "too long": (body("x" * 32_001), 400, "context_length_exceeded", "messages"),
}


@pytest.mark.parametrize(("sent", "status", "code", "param"), BAD.values(), ids=BAD)
async def test_bad_request_names_what_is_wrong(
    doors: Doors, sent: dict[str, Any], status: int, code: str, param: str
) -> None:
    answer = await doors.post(PATH, sent)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.error["param"] == param
    assert answer.error["message"]
    assert not await Run.objects.aexists()


@pytest.mark.parametrize("path", ["completions", "embeddings", "assistants", "audio/speech"])
async def test_other_paths_are_errors_that_clients_read(doors: Doors, path: str) -> None:
    answer = await doors.post(f"/v1/{path}", {})
    assert (answer.status, answer.error["type"]) == (404, "invalid_request_error")


# --- Models


async def test_models_are_those_that_a_program_may_name(doors: Doors, settings: Settings) -> None:
    settings.FLEET_MODELS = {"big": "Big", "small": ""}
    listed = await doors.get("/v1/models")
    fleet = ["fleet", "fleet-light", "fleet-full", "fleet-plain"]
    assert [each["id"] for each in listed.json["data"]] == [*fleet, "big", "small"]
    one = await doors.get("/v1/models/big")
    assert (one.json["id"], one.json["name"], one.json["object"]) == ("big", "Big", "model")
    missing = await doors.get("/v1/models/of/nobody")
    assert (missing.status, missing.error["code"]) == (404, "model_not_found")


async def test_token_lists_only_its_models(doors: Doors, settings: Settings) -> None:
    settings.FLEET_MODELS = {"big": "Big", "small": ""}
    headers = await token_of_ada(model_ids=["small"])
    listed = await doors.get("/v1/models", headers=headers)
    assert [each["id"] for each in listed.json["data"]][-1] == "small"
    assert (await doors.get("/v1/models/big", headers=headers)).status == 404
    assert (await doors.post(PATH, body(model="big"), headers=headers)).status == 404


async def test_stand_in_has_no_team(doors: Doors, settings: Settings) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = True
    ids = [each["id"] for each in (await doors.get("/v1/models")).json["data"]]
    assert "fleet-full" not in ids
    assert (await doors.post(PATH, body(model="fleet-full"))).error["code"] == "model_not_found"


# --- Failures, silence, and clients that leave


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("upstream", "status", "code", "retry"),
    [(400, 502, "model_error", "false"), (429, 429, "rate_limited", "true")],
)
async def test_run_that_fails_at_once_has_its_status(
    doors: Doors,
    model: ScriptedModel,
    stream: bool,
    upstream: int,
    status: int,
    code: str,
    retry: str,
) -> None:
    model.on(QUESTION, status=upstream)
    answer = await doors.post(PATH, body(stream=stream))
    assert (answer.status, answer.error["code"]) == (status, code)
    assert answer.headers["x-should-retry"] == retry
    assert answer.headers["fleet-run"]


async def test_wait_that_the_model_server_asks_for_is_passed_on(
    doors: Doors, model: ScriptedModel
) -> None:
    model.on(QUESTION, status=429, headers={"retry-after": "7"})
    answer = await doors.post(PATH, body())
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")


async def test_failure_after_words_is_an_error_in_the_stream(
    doors: Doors, model: ScriptedModel
) -> None:
    model.on(QUESTION, tokens=["One", " two"], cut_after=1)
    chunks = chunks_in((await doors.post(PATH, body(stream=True))).text)
    assert deltas(chunks) == "One"
    assert finish_reasons(chunks) == []
    assert chunks[-1]["error"]["code"] in ("model_error", "model_unavailable")
    whole = await doors.post(PATH, body("again", messages=body()["messages"]))
    assert whole.status == 502
    assert whole.headers["x-should-retry"] == "false"


async def test_head_is_held_until_the_first_word_but_not_for_long(
    doors: Doors, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.on(QUESTION, tokens=["One"], hold_after=0)
    monkeypatch.setattr(completions, "HOLD", 0.3)
    async with doors.stream("POST", PATH, body(stream=True)) as exchange:
        with pytest.raises(TimeoutError):
            await exchange.message(timeout=0.1)
        await exchange.until('"role":"assistant"')
        assert exchange.response.status == 200
        model.release()
        assert deltas(chunks_in((await exchange.rest()).text)) == "One"


async def test_silence_has_pings_and_empty_deltas(
    doors: Doors, model: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_HEARTBEAT = 0.05
    model.on(QUESTION, tokens=["One", " two"], hold_after=1)
    async with doors.stream("POST", PATH, body(stream=True)) as exchange:
        text = await exchange.until('"delta":{}')
        assert ": ping\n: ping\n: ping\ndata:" in text
        model.release()
        assert deltas(chunks_in((await exchange.rest()).text)) == "One two"


@pytest.mark.parametrize("wish", ["cancel", "continue"])
@pytest.mark.parametrize("stream", [False, True])
async def test_client_that_leaves_ends_the_run_unless_it_says_otherwise(
    doors: Doors, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, wish: str, stream: bool
) -> None:
    monkeypatch.setattr(asking, "LEFT_AFTER", 0.2)
    model.on(QUESTION, tokens=["One", " two"], hold_after=1)
    exchange = doors.begin("POST", PATH, body(stream=stream, metadata={"on_disconnect": wish}))
    async with asyncio.timeout(20):
        while not model.calls or not Worker.current().sockets:
            await asyncio.sleep(0.02)
    await exchange.leave()
    if wish == "continue":
        await asyncio.sleep(0.4)
        model.release()
    async with asyncio.timeout(20):
        while (run := await Run.objects.aget()).status == "running":
            await asyncio.sleep(0.02)
    assert run.status == ("completed" if wish == "continue" else "cancelled")


async def test_light_answer_that_is_taken_back_goes_on_below_a_rule(
    doors: Doors, model: ScriptedModel
) -> None:
    model.as_agent(ASSISTANT.instructions, Script(tokens=["I don't know who that is."]))
    model.as_agent(EDITOR.instructions, Script(tokens=["It was Ada."]))
    streamed = chunks_in((await doors.post(PATH, body(stream=True))).text)
    assert deltas(streamed) == "I don't know who that is.\n\n---\n\nIt was Ada."
    assert streamed[-1]["fleet"]["escalated"]
    whole = await doors.post(PATH, body())
    assert whole.json["choices"][0]["message"]["content"] == "It was Ada."


async def test_text_with_line_separators_is_one_message(doors: Doors, model: ScriptedModel) -> None:
    odd = "a\u2028b\u2029c\u0085d\r\ne"
    model.on(QUESTION, tokens=[odd])
    text = (await doors.post(PATH, body(stream=True))).text
    # As clients split it that know more line ends than HTTP does.
    assert deltas(chunks_in(text)) == odd
