"""Models of fleet.toml: each at its server, with its key, its limits and what that refuses."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from agenticfleet.asgi import application
from agenticfleet.health import ServiceChecks
from chat.access.owners import TERMINAL, Asker
from chat.access.tokens import Token
from chat.database import in_database
from chat.llm.listing import ListedModel, Listing
from chat.llm.messages import ChatMessage
from chat.llm.models import Models
from chat.llm.offers import Offer, offers
from chat.models import Run
from chat.prices import ModelPrice, Prices
from chat.runs import continuing, titles
from chat.runs.asides import Asides
from chat.runs.continuing import taken_over
from chat.runs.refusals import RefusalSharing
from chat.runs.worker import Worker
from chat.telemetry.metrics import configured_models
from chat.workflow.agents import ASSISTANT, EDITOR, PLANNER, RESEARCHER, REVIEWER, WRITER
from chat.workflow.opinion import DEFINITION
from tests.chatting import Chatting, chat_request, kinds, text_of
from tests.configs import Configure
from tests.doors.calling import Doors
from tests.scripted_model import Script, ScriptedModel

from .conftest import KEY, TEAM, Begin

pytestmark = pytest.mark.django_db(transaction=True)

FAST = """
[models.fast]
model = "qwen3:8b"
base_url = "SECOND"
api_key = "$KEY"
headers = {X-Team = "$TEAM"}
"""
OTHER_MODEL = "cannot be asked now, so scripted is asked instead."


def models_asked(server: ScriptedModel) -> list[str]:
    return [call.body["model"] for call in server.calls]


def listing(*models: str) -> tuple[ListedModel, ...]:
    return tuple(ListedModel(id=model) for model in models)


def said(events: list[dict[str, Any]]) -> list[str]:
    return [event["message"] for event in events if event["type"] == "orchestrator.message"]


@pytest.fixture
def doors(worker: Worker, model: ScriptedModel) -> Doors:
    return Doors(application)


# --- Who is asked


async def test_each_server_is_asked_with_its_own_key_and_headers(
    chat: Chatting, model: ScriptedModel, second: ScriptedModel, settings: Settings, begin: Begin
) -> None:
    settings.OPENAI_API_KEY = "sk-of-the-fleet"
    await begin(FAST + '[agents.writer]\nmodel = "fast"')
    events = await chat.answer(chat_request(mode="full"))
    assert events[-1]["data"]["status"] == "completed"
    assert [call.instructions for call in second.calls] == [WRITER.instructions]
    assert models_asked(second) == ["qwen3:8b"]
    assert set(models_asked(model)) == {"scripted"}
    [writers] = second.calls
    assert (writers.headers["authorization"], writers.headers["x-team"]) == (f"Bearer {KEY}", TEAM)
    assert {call.headers["authorization"] for call in model.calls} == {"Bearer sk-of-the-fleet"}
    assert not any("x-team" in call.headers for call in model.calls)


async def test_model_is_chosen_and_recorded_by_its_name(
    chat: Chatting, model: ScriptedModel, second: ScriptedModel, begin: Begin
) -> None:
    await begin(FAST)
    events = await chat.answer(chat_request(model="fast", mode="light"))
    assert models_asked(second) == ["qwen3:8b"]
    assert model.calls == []
    run = await Run.objects.aget()
    assert (run.model, run.model_asked) == ("fast", "fast")
    [complete] = [event for event in events if event["type"] == "agent.complete"]
    assert [call["model"] for call in complete["data"]["calls"]] == ["fast"]
    assert events[-1]["data"]["models"] == ["fast"]
    assert "fast" in configured_models(), "it has a label of its own in the metrics"


async def test_settings_may_name_models_of_the_file(
    chat: Chatting, model: ScriptedModel, second: ScriptedModel, settings: Settings, begin: Begin
) -> None:
    settings.FLEET_MODEL, settings.FLEET_LIGHT_MODEL = "scripted", "fast"
    await begin(FAST)
    await chat.answer(chat_request(mode="light"))
    assert (models_asked(second), model.calls) == (["qwen3:8b"], [])


async def test_router_and_titles_may_have_models_of_the_file(
    chat: Chatting,
    model: ScriptedModel,
    second: ScriptedModel,
    settings: Settings,
    begin: Begin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("routing.policy.GREY_ZONE", (0, 1.01))
    settings.FLEET_ROUTER_MODEL = "fast"
    worker = await begin(FAST)
    second.as_agent(DEFINITION, Script(tokens=['{"path": "light"}']))
    await chat.answer("Is it grey?")
    assert [call.instructions for call in second.calls] == [DEFINITION]
    assert {call.instructions for call in model.calls} == {ASSISTANT.instructions}
    second.calls.clear()
    settings.FLEET_TITLES, settings.FLEET_LIGHT_MODEL = True, "fast"
    settings.FLEET_MODEL_IS_STAND_IN = True
    assert titles.are_on(), "its model isn't the stand-in"
    asked = [ChatMessage("user", "Title?")]
    reply = await Asides(worker.models).ask(
        asked, Asker(TERMINAL), max_tokens=30, max_thinking=300, within=10
    )
    assert reply == "The answer is **42**."
    assert models_asked(second) == ["qwen3:8b"]


async def test_only_the_servers_of_the_file_are_asked_if_the_settings_have_none(
    chat: Chatting, model: ScriptedModel, second: ScriptedModel, settings: Settings, begin: Begin
) -> None:
    settings.OPENAI_BASE_URL = settings.OPENAI_API_KEY = ""
    settings.FLEET_MODEL = settings.FLEET_LIGHT_MODEL = "fast"
    second.replies["/v1/models"] = {"data": [{"id": "qwen3:8b"}, {"id": "another"}]}
    worker = await begin(FAST)
    await worker.models.own.catalog.refresh()
    events = await chat.answer(chat_request(mode="full"))
    assert events[-1]["data"]["status"] == "completed"
    assert set(models_asked(second)) == {"qwen3:8b"}
    assert [client.connection.base_url for client in worker.models.clients.values()] == [second.url]
    assert offers() == [Offer("fast", "fast")], "what the server lists has no name here"


def test_tables_of_one_server_share_its_connections(
    configure: Configure, settings: Settings
) -> None:
    settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = "http://own:8000/v1", "k"
    configure(
        """
        [models.here]
        model = "a"
        [models.written-out]
        model = "b"
        base_url = "http://own:8000/v1/"
        api_key = "$OWN"
        [models.there]
        model = "a"
        base_url = "http://there:8000/v1"
        [models.also-there]
        model = "c"
        base_url = "http://there:8000/v1"
        [models.with-a-key]
        model = "c"
        base_url = "http://there:8000/v1"
        api_key = "$OTHER"
        """,
        OWN="k",
        OTHER="o",
    )
    models = Models()
    places = {name: models.client_of(name).connection.server for name in models._named}
    assert len(models.clients) == 3
    assert models.client_of("here") is models.client_of("written-out") is models.own
    assert models.client_of("there") is models.client_of("also-there")
    assert models.client_of("there") is not models.client_of("with-a-key")
    assert places["with-a-key"] == "there:8000"


# --- Limits


async def test_limits_of_a_table_count_more_than_settings_and_server(
    second: ScriptedModel, settings: Settings, worker: Worker, begin: Begin
) -> None:
    settings.FLEET_CONTEXT_TOKENS, settings.FLEET_THINKING_TOKENS = 9000, 100
    second.replies["/v1/models"] = {"data": [{"id": "q", "max_model_len": 16_384}]}
    at = 'model = "q"\nbase_url = "SECOND"\n'
    worker = await begin(
        f"[models.plain]\n{at}[models.deep]\n{at}context_tokens = 30_000\noutput_tokens = 8000\n"
        f"thinking_tokens = 2000\n[models.quick]\n{at}thinking_tokens = 0"
    )
    found = {name: worker.models.window(name) for name in ("plain", "deep", "quick")}
    limits = {
        name: (each.context_tokens, each.output_tokens, each.thinking_tokens)
        for name, each in found.items()
    }
    assert limits == {
        "plain": (9000, 4096, 100),
        "deep": (30_000, 8000, 2000),
        "quick": (9000, 4096, 0),
    }


@pytest.mark.parametrize(("mode", "most"), [("light", 8000 + 2000), ("full", 8000 + 2000)])
async def test_answer_may_be_as_long_as_the_table_says(
    chat: Chatting, second: ScriptedModel, begin: Begin, mode: str, most: int
) -> None:
    await begin(FAST + "output_tokens = 8000\nthinking_tokens = 2000")
    await chat.answer(chat_request(mode=mode, model="fast"))
    assert second.calls[-1].body["max_tokens"] == most


# --- What a server refuses


async def test_part_that_one_server_refuses_is_not_left_out_at_another(
    chat: Chatting, model: ScriptedModel, second: ScriptedModel, begin: Begin
) -> None:
    refuses = {"stream_options": "Unrecognized request argument supplied: stream_options"}
    second.default = Script(refuses=refuses)
    worker = await begin(FAST.replace("qwen3:8b", "scripted"))
    for name in ("fast", "scripted", "fast"):
        events = await chat.answer(chat_request(mode="light", model=name))
        assert events[-1]["data"]["status"] == "completed"
    assert ["stream_options" in call.body for call in second.calls] == [True, False, False]
    assert ["stream_options" in call.body for call in model.calls] == [True]
    await worker.sharing.share()
    # Another worker learns it for that server alone.
    other = Models()
    await RefusalSharing([each.refusals for each in other.clients.values()], worker.redis).share()
    assert [change.part for change in other.client_of("fast").refusals.remembered("scripted")] == [
        "stream_options"
    ]
    assert other.own.refusals.remembered("scripted") == []


async def test_no_key_is_shown_or_logged_whichever_server_repeats_it(
    chat: Chatting,
    model: ScriptedModel,
    second: ScriptedModel,
    settings: Settings,
    begin: Begin,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings.OPENAI_API_KEY = "sk-of-the-fleet"
    await begin(FAST)
    for server, name, secrets in (
        (model, "scripted", ["sk-of-the-fleet"]),
        (second, "fast", [KEY, TEAM]),
    ):
        words = f"No entry for {' and '.join(secrets)}."
        server.default = Script(status=401, error={"message": words})
        events = await chat.answer(chat_request(mode="light", model=name))
        assert "No entry for" in events[-1]["error"]["message"]
        assert "No entry for" in caplog.text
        for secret in secrets:
            assert secret not in json.dumps(events) + caplog.text
    assert KEY not in repr(settings.FLEET_FILE) + repr([*Worker.current().models.clients])


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "Set api_key of [models.fast] to a key of {server}."),
        (404, "Check the path in base_url of [models.fast]: that of most servers, here {server},"),
    ],
)
async def test_advice_to_operators_names_the_table_of_the_file(
    chat: Chatting,
    second: ScriptedModel,
    begin: Begin,
    caplog: pytest.LogCaptureFixture,
    status: int,
    advice: str,
) -> None:
    await begin(FAST)
    second.default = Script(status=status)
    await chat.answer(chat_request(mode="light", model="fast"))
    server = second.url.removeprefix("http://").removesuffix("/v1")
    assert f"advice={advice.format(server=server)}" in caplog.text


async def test_how_to_start_a_server_that_was_found_is_not_said_of_another(
    chat: Chatting, settings: Settings, begin: Begin
) -> None:
    settings.FLEET_MODEL_SERVER, settings.FLEET_IS_LOCAL = "Ollama", True
    await begin('[models.gone]\nmodel = "q"\nbase_url = "NOWHERE"')
    events = await chat.answer(chat_request(mode="light", model="gone"))
    assert "ollama" not in json.dumps(events).lower()


# --- A server that is down


async def test_agent_whose_server_is_down_has_the_model_of_its_path(
    chat: Chatting, model: ScriptedModel, begin: Begin
) -> None:
    await begin(
        '[models.gone]\nmodel = "q"\nbase_url = "NOWHERE"\n'
        '[agents.planner]\nmodel = "gone"\n[agents.writer]\nmodel = "gone"'
    )
    events = await chat.answer(chat_request(mode="full"))
    assert events[-1]["data"]["status"] == "completed"
    instructions = [call.instructions for call in model.calls]
    assert {PLANNER.instructions, WRITER.instructions} <= set(instructions)
    assert [words for words in said(events) if words.endswith(OTHER_MODEL)] == [
        f"gone, the model of the Planner, {OTHER_MODEL}",
        f"gone, the model of the Writer, {OTHER_MODEL}",
    ]
    ends = [event for event in events if event["type"] == "agent.complete"]
    asked = {end["agent_id"]: [call["model"] for call in end["data"]["calls"]] for end in ends}
    assert asked["planner"] == ["gone", "scripted"]
    assert asked["writer"] == ["scripted"], "its server is known to be down"


async def test_answer_of_an_editor_whose_server_is_down_is_recorded_with_its_model(
    chat: Chatting, begin: Begin
) -> None:
    await begin('[models.gone]\nmodel = "q"\nbase_url = "NOWHERE"\n[agents.editor]\nmodel = "gone"')
    events = await chat.answer(chat_request(mode="full"))
    assert text_of(events) == "The answer is **42**."
    assert (await Run.objects.aget()).model == "scripted"


@pytest.mark.parametrize(
    ("script", "falls_back"),
    [
        (Script(status=401), True),
        (Script(status=404, error={"message": "model 'qwen3:8b' not found"}), True),
        (Script(status=429, headers={"Retry-After": "60"}), True),
        (Script(tokens=["Half ", "an "], cut_after=2), False),
        (Script(error_after=0), True),
        (Script(error_after=2), False),
        (Script(tokens=[]), False),
        (Script(status=400, error={"code": "context_length_exceeded", "message": "long"}), False),
        (Script(status=400, error={"code": "content_filter", "message": "filtered"}), False),
    ],
)
async def test_another_model_is_asked_only_if_the_server_fails_before_a_word(
    chat: Chatting,
    model: ScriptedModel,
    second: ScriptedModel,
    begin: Begin,
    script: Script,
    falls_back: bool,
) -> None:
    second.default = script
    await begin(FAST + '[agents.assistant]\nmodel = "fast"')
    events = await chat.answer(chat_request(mode="light"))
    assert (kinds(events)[-1] == "done") == falls_back
    assert any(words.endswith(OTHER_MODEL) for words in said(events)) == falls_back
    assert models_asked(model) == (["scripted"] if falls_back else [])


async def test_model_that_was_chosen_has_no_other_in_its_place(
    chat: Chatting, model: ScriptedModel, begin: Begin
) -> None:
    await begin('[models.gone]\nmodel = "q"\nbase_url = "NOWHERE"')
    events = await chat.answer(chat_request(mode="light", model="gone"))
    assert events[-1]["error"]["code"] == "model_unavailable"
    assert model.calls == []


async def test_server_of_a_table_that_is_down_leaves_the_worker_ready(begin: Begin) -> None:
    await begin('[models.gone]\nmodel = "q"\nbase_url = "NOWHERE"')
    checks = ServiceChecks.current()
    state = await checks.state()
    assert (state["model"].state, state["model gone"].state) == ("up", "down")
    assert "model gone" not in checks.needed


async def test_worker_needs_the_servers_of_both_paths(begin: Begin, settings: Settings) -> None:
    settings.FLEET_LIGHT_MODEL = "gone"
    await begin('[models.gone]\nmodel = "q"\nbase_url = "NOWHERE"')
    assert ServiceChecks.current().needed == {"database", "model", "model gone"}


# --- A model that is gone


@pytest.mark.parametrize("has_own_server", [True, False])
async def test_worker_whose_file_lacks_the_model_goes_on_with_that_of_the_path(
    chat: Chatting,
    model: ScriptedModel,
    second: ScriptedModel,
    settings: Settings,
    begin: Begin,
    has_own_server: bool,
) -> None:
    model.replies["/v1/models"] = {"data": [{"id": "scripted"}, {"id": "other"}]}
    if not has_own_server:
        settings.OPENAI_BASE_URL = ""
        settings.FLEET_MODEL = settings.FLEET_LIGHT_MODEL = "base"
    base = '[models.base]\nmodel = "b"\nbase_url = "SECOND"\n'
    await begin(base + FAST)
    await chat.answer(chat_request(mode="light", model="fast"))
    worker = await begin(base)
    await worker.models.own.catalog.refresh()
    run = await Run.objects.select_related("conversation", "question", "continues").aget()
    question = (await in_database(taken_over, run)).question
    assert (question.model, question.lost_model) == ("", "fast")
    again = chat_request(mode="light", model="fast")
    [refusal] = await chat.answer(again)
    assert "isn't offered" in refusal["error"]["message"]


async def test_reader_is_told_that_the_chosen_model_is_gone(
    chat: Chatting, model: ScriptedModel, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(FAST)
    # As if the file had been changed while the run was on its way to a worker.
    monkeypatch.setattr(continuing, "may_be_known", lambda model: False)
    events = await chat.answer(chat_request(mode="light", model="fast"))
    assert "fast, the model that was chosen, is no longer there." in said(events)
    assert models_asked(model) == ["scripted"]
    assert (await Run.objects.aget()).model == "scripted"


# --- What people may choose


async def test_what_a_server_of_the_file_lists_is_offered_by_name_alone(
    model: ScriptedModel, second: ScriptedModel, worker: Worker, begin: Begin
) -> None:
    model.replies["/v1/models"] = {"data": [{"id": "listed"}]}
    second.replies["/v1/models"] = {"data": [{"id": "qwen3:8b"}, {"id": "another"}]}
    worker = await begin(FAST)
    for client in worker.models.clients.values():
        await client.catalog.refresh()
    assert [each.id for each in offers()] == ["scripted", "fast", "listed"]


def test_names_are_offered_behind_the_models_of_the_paths(
    configure: Configure, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(
        """
        [models.fast]
        model = "qwen3:8b"
        base_url = "http://there:8000/v1"
        [models.hidden]
        model = "listed-and-hidden"
        offered = false
        [models.big]
        model = "listed-big"
        """
    )
    monkeypatch.setattr(Listing, "latest", Listing("", listing("b", "listed-big", "qwen3:8b")))
    assert [each.id for each in offers()] == ["scripted", "fast", "big", "b", "qwen3:8b"]
    monkeypatch.setattr(Listing, "latest", Listing("", listing("listed-and-hidden")))
    assert [each.id for each in offers()] == ["scripted", "fast", "big"]
    settings.FLEET_LIGHT_MODEL = "hidden"
    assert [each.id for each in offers()] == ["scripted", "fast", "big"]
    settings.FLEET_MODELS = {"big": "The big one", "hidden": "", "scripted": ""}
    assert offers() == [Offer("big", "The big one"), Offer("scripted", "scripted")]


async def test_programs_name_models_of_the_file_within_their_token(
    doors: Doors, second: ScriptedModel, begin: Begin
) -> None:
    await begin(FAST + '[models.hidden]\nmodel = "h"\nbase_url = "SECOND"\noffered = false')
    listed = [each["id"] for each in (await doors.get("/v1/models")).json["data"]]
    assert listed[-2:] == ["scripted", "fast"]
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello?"}]}
    whole = await doors.post("/v1/chat/completions", {**body, "model": "fast"})
    assert whole.json["model"] == "fast"
    assert models_asked(second) == ["qwen3:8b"]
    refused = await doors.post("/v1/chat/completions", {**body, "model": "hidden"})
    assert refused.error["code"] == "model_not_found"
    run = await doors.post("/api/v1/runs", {"message": "Hello?", "model": "fast"})
    assert run.status < 300
    assert (await Run.objects.alatest("created_at")).model_asked == "fast"
    response = await doors.post("/v1/responses", {"input": "Hello?", "model": "fast"})
    assert response.json["model"] == "fast"
    assert models_asked(second) == ["qwen3:8b"] * 3


async def test_token_is_for_models_of_the_file_by_their_names(
    doors: Doors, second: ScriptedModel, begin: Begin
) -> None:
    await begin(FAST)

    def make() -> str:
        user = User.objects.create_user("ada")
        return Token.objects.make(user, "editor", model_ids=["fast"]).text

    headers = {"authorization": f"Bearer {await in_database(make)}"}
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello?"}]}
    refused = await doors.post(
        "/v1/chat/completions", {**body, "model": "scripted"}, headers=headers
    )
    assert refused.error["code"] == "model_not_found"
    await doors.post("/v1/chat/completions", {**body, "model": "fleet"}, headers=headers)
    assert models_asked(second) == ["qwen3:8b"]


# --- Prices, titles, the stand-in


def test_price_is_by_name_or_else_by_what_it_stands_for() -> None:
    prices = Prices({"q": ModelPrice(1, 2), "free": ModelPrice(0, 0)})
    named = prices.with_names({"fast": "q", "free": "q", "unknown": "x"})
    assert named.models["fast"] == ModelPrice(1, 2)
    assert named.models["free"] == ModelPrice(0, 0)
    assert "unknown" not in named.models


async def test_model_beside_the_stand_in_has_tools_and_a_team(
    chat: Chatting, model: ScriptedModel, second: ScriptedModel, settings: Settings, begin: Begin
) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = True
    settings.FLEET_CONTEXT_TOKENS, settings.FLEET_MAX_OUTPUT_TOKENS = 1200, 300
    worker = await begin(FAST)
    assert [each.id for each in offers()] == ["scripted", "fast"]
    assert worker.models.window("fast").output_tokens == 4096
    await chat.answer(chat_request("Was ist das?", mode="light", model="fast"))
    [call] = second.calls
    assert call.body["tools"]
    assert call.body["max_tokens"] == 4096
    events = await chat.answer(chat_request(mode="full", model="fast"))
    assert events[-1]["data"]["status"] == "completed"
    assert EDITOR.instructions in {call.instructions for call in second.calls}
    [refusal] = await chat.answer(chat_request(mode="full"))
    assert "needs a better model" in refusal["error"]["message"]
    await chat.answer(chat_request("Hello?", mode="light"))
    assert "tools" not in model.calls[-1].body
    assert not {RESEARCHER.instructions, REVIEWER.instructions} & {
        call.instructions for call in model.calls
    }


async def test_stand_in_never_takes_the_place_of_a_model(
    chat: Chatting, model: ScriptedModel, settings: Settings, begin: Begin
) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = True
    await begin(
        '[models.gone]\nmodel = "q"\nbase_url = "NOWHERE"\n[agents.assistant]\nmodel = "gone"'
    )
    events = await chat.answer("Hello?")
    assert events[-1]["error"]["code"] == "model_unavailable"
    assert model.calls == []
