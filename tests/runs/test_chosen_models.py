"""The model that a request chooses: who answers with it, and what is refused."""

import asyncio
import uuid

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone
from pytest_django import Settings

from chat.conversations import Conversation, Message
from chat.database import in_database
from chat.llm.listing import Listing
from chat.models import Run
from chat.runs.continuing import taken_over
from chat.runs.worker import Worker
from tests.chatting import Chatting, chat_request, kinds
from tests.configs import Configure
from tests.scripted_model import ScriptedModel

from .pausing import Plan, paused

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _offered(settings: Settings) -> None:
    settings.FLEET_MODEL, settings.FLEET_LIGHT_MODEL = "strong", "weak"
    settings.FLEET_MODELS = {"weak": "", "strong": "", "chosen": "The chosen one"}


def asked(model: ScriptedModel) -> set[str]:
    """Return the models that the server was asked for."""
    return {call.body["model"] for call in model.calls}


@pytest.mark.parametrize("mode", ["light", "full"])
async def test_chosen_model_makes_all_calls_on_either_path(
    chat: Chatting, model: ScriptedModel, mode: str
) -> None:
    events = await chat.answer(chat_request(mode=mode, model="chosen"))
    assert events[-1]["data"]["status"] == "completed"
    assert asked(model) == {"chosen"}
    run = await Run.objects.aget()
    assert (run.model, run.model_asked) == ("chosen", "chosen")


@pytest.mark.parametrize(("mode", "answering"), [("light", "weak"), ("full", "strong")])
@pytest.mark.parametrize("fields", [{}, {"model": None}])
async def test_without_a_choice_each_path_has_its_own_model(
    chat: Chatting, model: ScriptedModel, fields: dict[str, None], mode: str, answering: str
) -> None:
    await chat.answer(chat_request(mode=mode, **fields))
    assert asked(model) == {answering}
    run = await Run.objects.aget()
    assert (run.model, run.model_asked) == (answering, "")


async def test_agents_own_model_counts_more_than_the_choice(
    chat: Chatting, model: ScriptedModel, configure: Configure
) -> None:
    configure("""
        [agents.assistant]
        model = "its own"
        [models."its own"]
        model = "own-id"
    """)
    await Worker.current().stop()  # the next one reads the file
    await chat.answer(chat_request(mode="light", model="chosen"))
    assert asked(model) == {"own-id"}


async def test_model_that_is_not_offered_is_refused_and_nothing_is_stored(
    chat: Chatting, model: ScriptedModel
) -> None:
    socket = await chat.ask(chat_request(model="<b>other"))
    [refusal] = await socket.rest()
    assert refusal["error"] == {
        "code": "bad_request",
        "message": 'The model "<b>other" isn\'t offered; null chooses by itself.'
        " Offered: weak, strong, chosen.",
        "retryable": False,
    }
    assert await socket.close_code() == 4400
    assert not await Conversation.objects.aexists()
    assert model.calls == []


async def test_refusal_names_only_the_first_of_many_models(
    chat: Chatting, settings: Settings
) -> None:
    settings.FLEET_MODELS = {f"m{n}": "" for n in range(1_200)}
    [refusal] = await chat.answer(chat_request(model="other"))
    assert refusal["error"]["message"].endswith("m18, m19 and 1,180 more.")


async def test_listed_models_are_offered_to_requests(
    chat: Chatting, model: ScriptedModel, worker: Worker, settings: Settings
) -> None:
    settings.FLEET_MODELS = {}
    model.replies["/v1/models"] = {"data": [{"id": "listed"}, {"id": "text-embedding-3-small"}]}
    await worker.models.own.catalog.refresh()
    await chat.answer(chat_request(model="listed"))
    assert asked(model) == {"listed"}
    for other in ("chosen", "text-embedding-3-small"):
        [refusal] = await chat.answer(chat_request(model=other))
        assert "Offered: weak, strong, listed." in refusal["error"]["message"]


async def test_model_of_the_setting_that_is_not_listed_is_logged_and_offered(
    chat: Chatting, model: ScriptedModel, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    await worker.stop()  # the next one reads the setting
    model.replies["/v1/models"] = {"data": [{"id": "weak"}, {"id": "strong:latest"}]}
    for _ in range(2):
        await Worker.current().models.own.catalog.refresh()
    assert [message for message in caplog.messages if "is not among" in message] == [
        "model=chosen is not among the models that its server lists"
    ]
    await chat.answer(chat_request(model="chosen"))
    assert asked(model) == {"chosen"}


async def test_run_is_joined_even_if_its_model_is_not_offered_any_more(
    chat: Chatting, model: ScriptedModel, settings: Settings
) -> None:
    model.on("hold", hold_after=1)
    request = chat_request("hold", model="chosen")
    socket = await chat.ask(request)
    await socket.until("response.delta")
    settings.FLEET_MODELS = {"strong": ""}
    again = await chat.ask(request)
    await again.until("response.delta")
    model.release()
    assert (await again.rest())[-1]["data"]["status"] == "completed"
    assert asked(model) == {"chosen"}


async def test_question_is_asked_again_even_if_its_model_is_not_offered_any_more(
    chat: Chatting, model: ScriptedModel, settings: Settings
) -> None:
    request = chat_request(model="chosen", mode="light")
    first = await chat.answer(request)
    settings.FLEET_MODELS = {"strong": "", "weak": ""}
    again = {"rerun_of": first[0]["workflow_id"], "mode": "light"}
    events = await chat.answer(chat_request(model="chosen", **again))
    assert events[-1]["data"]["status"] == "completed"
    assert [call.body["model"] for call in model.calls] == ["chosen", "weak"]
    await chat.answer(chat_request(model="strong", **again))
    assert model.calls[-1].body["model"] == "strong"


async def test_run_that_goes_on_after_a_reply_keeps_what_was_chosen(
    chat: Chatting, plan: Plan, settings: Settings
) -> None:
    pause = await paused(chat, chat_request("May I?", model="chosen", preference="quality"))
    settings.FLEET_MODELS = {"strong": ""}
    events = await chat.answer(pause.frame())
    assert [question.model for question in plan.questions] == ["chosen", "chosen"]
    assert [question.preference for question in plan.questions] == ["quality", "quality"]
    run = await Run.objects.aget(pk=events[0]["workflow_id"])
    assert run.model_asked == "chosen"


async def test_worker_that_takes_a_run_over_keeps_its_model(
    chat: Chatting, settings: Settings
) -> None:
    await chat.answer(chat_request(model="chosen"))
    settings.FLEET_MODELS = {"strong": ""}
    run = await Run.objects.select_related("conversation", "question", "continues").aget()
    assert (await in_database(taken_over, run)).question.model == "chosen"


@pytest.mark.parametrize("model", ["", "  ", "x" * 201, "a\0b", 7, ["weak"]])
async def test_value_that_names_no_model_is_refused(chat: Chatting, model: object) -> None:
    [refusal] = await chat.answer(chat_request(model=model))
    assert refusal["error"]["code"] == "bad_request"
    assert "Invalid frame" in refusal["error"]["message"]


def test_worker_of_the_version_before_can_store_runs() -> None:
    before = MigrationLoader(connection).project_state([("chat", "0011_asks_listed")]).apps
    chat = Conversation.objects.create(owner="user:1", title="")
    question, answer = (
        Message.objects.create(conversation=chat, role=role) for role in Message.Role.values
    )
    before.get_model("chat", "Run").objects.create(
        conversation_id=chat.pk,
        question_id=question.pk,
        answer_id=answer.pk,
        owner=chat.owner,
        message_id=uuid.uuid4(),
        lease_expires_at=timezone.now(),
    )
    assert Run.objects.get().model_asked == ""


async def test_worker_that_just_started_waits_for_the_list_of_models(
    chat: Chatting, model: ScriptedModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.FLEET_MODELS = {}
    monkeypatch.setattr(Listing, "latest", Listing(""))
    catalog = Worker.current().models.own.catalog
    await catalog.first_look()
    catalog._has_looked.clear()
    asking = asyncio.create_task(chat.answer(chat_request(model="listed")))
    await asyncio.sleep(0.1)
    model.replies["/v1/models"] = {"data": [{"id": "listed"}]}
    await catalog.refresh()
    assert kinds(await asking)[-1] == "done"
    assert asked(model) == {"listed"}
