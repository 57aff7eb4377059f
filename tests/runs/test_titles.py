"""Titles that the light model makes after the first answer."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from django.test import Client
from pytest_django import Settings

from chat.conversations import Conversation
from chat.database import in_database
from chat.runs.titles import INSTRUCTIONS, cleaned, messages_for
from chat.runs.worker import Worker
from chat.telemetry.periods import Period
from tests.chatting import Chatting, chat_request, cookie_header, kinds
from tests.scripted_model import Call, Script, ScriptedModel

from .rows import until_true

pytestmark = pytest.mark.django_db(transaction=True)

QUESTION = "Which queue suits 500 orders per second?"
TITLE = Script(tokens=["Kafka ", "or ", "RabbitMQ"])
FAMILY = "👨\u200d👩\u200d👧\u200d👦"


@pytest.fixture
def person(chat: Chatting, settings: Settings) -> dict[str, str]:
    """Return the headers of a browser, in a fleet that makes titles."""
    settings.FLEET_TITLES = True
    client = Client()
    client.get("/")
    return {"cookie": cookie_header(client)}


@pytest_asyncio.fixture
async def asked(chat: Chatting, model: ScriptedModel) -> Any:
    """Return a function that asks in a new chat; it returns the chat, once the answer has ended."""

    async def ask(person: dict[str, str], **fields: Any) -> Conversation:
        events = await chat.answer(chat_request(QUESTION, **fields), headers=person)
        return await Conversation.objects.aget(pk=events[0]["data"]["conversation_id"])

    return ask


def calls_for_titles(model: ScriptedModel) -> list[Call]:
    return [call for call in model.calls if call.instructions == INSTRUCTIONS]


async def test_first_answer_gives_the_chat_a_title_in_one_small_call(
    chat: Chatting, model: ScriptedModel, person: dict[str, str], asked: Any
) -> None:
    model.as_agent(INSTRUCTIONS, replace(TITLE, hold_after=0))
    conversation = await asked(person)
    assert conversation.title == QUESTION
    model.release()
    await until_true(Conversation.objects.filter(title="Kafka or RabbitMQ", titled_by="model"))
    again = chat_request("And 5?", conversation_id=str(conversation.pk))
    assert kinds(await chat.answer(again, headers=person))[-1] == "done"
    [call] = calls_for_titles(model)
    assert call.body["max_tokens"] == 30
    assert QUESTION in call.question
    # Its tokens count for its model: two answers and a title.
    await Worker.current().drain(grace=0)
    [figures] = [period.decoded async for period in Period.objects.filter(span="hour")]
    title = figures.models["scripted"]
    assert (title.calls, title.input_tokens) == (1, 7)


@pytest.mark.parametrize("why", ["off", "stand-in", "script", "failed answer", "failed call"])
async def test_chat_keeps_the_words_of_its_question(
    model: ScriptedModel, settings: Settings, person: dict[str, str], asked: Any, why: str
) -> None:
    match why:
        case "off":
            settings.FLEET_TITLES = False
        case "stand-in":
            settings.FLEET_MODEL_IS_STAND_IN = True
        case "script":
            person = {}
        case "failed answer":
            model.on(QUESTION, status=400)
        case "failed call":
            model.as_agent(INSTRUCTIONS, Script(status=503))
    conversation = await asked(person, mode="light")
    if why == "failed call":
        await until_true(Period.objects.all())
    await Worker.current().drain(grace=0)
    await conversation.arefresh_from_db()
    assert (conversation.title, conversation.titled_by) == (QUESTION, "question")
    assert len(calls_for_titles(model)) == (why == "failed call")  # one attempt


async def test_title_of_a_person_stays_whatever_the_model_says_later(
    model: ScriptedModel, person: dict[str, str], asked: Any
) -> None:
    model.as_agent(INSTRUCTIONS, Script(tokens=["Too ", "late"], hold_after=1))
    conversation = await asked(person)  # its ending doesn't wait for a title
    async with asyncio.timeout(30):
        while not calls_for_titles(model):
            await asyncio.sleep(0.01)
    await in_database(conversation.rename, "Mine")
    model.release()
    await until_true(Period.objects.all())
    await conversation.arefresh_from_db()
    assert (conversation.title, conversation.titled_by) == ("Mine", "person")


async def test_worker_that_stops_waits_for_no_title(
    model: ScriptedModel, person: dict[str, str], asked: Any
) -> None:
    model.as_agent(INSTRUCTIONS, Script(hang_after=1))
    await asked(person)
    async with asyncio.timeout(30):
        while not calls_for_titles(model):
            await asyncio.sleep(0.01)
    await Worker.current().drain(grace=60)
    [call] = calls_for_titles(model)
    assert await asyncio.to_thread(call.ended.wait, 5)
    assert call.hung_up


@pytest.mark.parametrize(
    ("reply", "title"),
    [
        ("Kafka or RabbitMQ", "Kafka or RabbitMQ"),
        (' "Kafka or RabbitMQ." \n\nBecause …', "Kafka or RabbitMQ"),
        ("**Title: Kafka or RabbitMQ**", "Kafka or RabbitMQ"),
        ("# Titel: Warteschlangen im Vergleich", "Warteschlangen im Vergleich"),
        ("「キューの比較」。", "キューの比較"),
        ("Was ist C#?", "Was ist C#?"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),  # pages escape it
        ("safe\u202egnp.exe\x00\x1b[2J", "safegnp.exe[2J"),
        ("\u200f" * 90 + "Rain", "Rain"),  # no title that can't be seen
        ("x" + FAMILY * 9, "x" + FAMILY * 8 + "…"),
        (FAMILY, ""),  # says nothing to who listens
        ("x" * 500, "x" * 59 + "…"),
        ("", ""),
        (" ...\n\n“”", ""),
    ],
)
def test_reply_of_the_model_becomes_one_short_line(reply: str, title: str) -> None:
    assert cleaned(reply) == title


def test_model_reads_only_the_beginnings_of_a_question_and_its_answer() -> None:
    messages = messages_for("語" * 40_000, "x" * 40_000)
    assert sum(message.tokens for message in messages) < 800
