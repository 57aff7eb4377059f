"""Answers with the stand-in model: always light, by tools if they can, declined if it can't."""

from time import thread_time

import pytest
from pytest_django import Settings

from chat.llm.messages import estimated_tokens
from chat.protocol.requests import MAX_MESSAGE
from chat.workflow.sentences import NO_SEARCH, ONLY_ENGLISH, TOO_LONG
from chat.workflow.stand_in import EXAMPLES, reason_to_decline
from tests.chatting import Chatting, chat_request, kinds, shape, text_of
from tests.scripted_model import ScriptedModel

from .playing import messages_of, of_kind

pytestmark = pytest.mark.django_db(transaction=True)

GERMAN = "Was ist der Unterschied zwischen Wetter und Klima?"


@pytest.fixture(autouse=True)
def _stand_in(settings: Settings) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = True
    settings.FLEET_CONTEXT_TOKENS = 1200


# --- One agent ------------------------------------------------------------------------------------


async def test_automatic_mode_is_light_for_any_question(
    chat: Chatting, model: ScriptedModel
) -> None:
    events = await chat.answer("Plan a three-day visit to Lisbon and compare four hotels.")
    [route] = of_kind(events, "routing.decided")
    assert route["data"]["path"] == "light"
    assert route["data"]["reasons"] == ["the stand-in model has no team"]
    assert len(model.calls) == 1


async def test_full_team_is_refused(chat: Chatting, model: ScriptedModel) -> None:
    events = await chat.answer(chat_request(mode="full"))
    assert kinds(events) == ["error"]
    assert events[0]["error"]["code"] == "bad_request"
    assert "needs a better model" in events[0]["error"]["message"]
    assert not model.calls


async def test_stand_in_reads_short_examples_before_the_question(
    chat: Chatting, model: ScriptedModel, settings: Settings
) -> None:
    await chat.answer("Who wrote Dune?")
    settings.FLEET_MODEL_IS_STAND_IN = False
    await chat.answer("Who wrote Dune?")
    with_examples, without = (call.body["messages"] for call in model.calls)
    assert [message["content"] for message in with_examples[1:-1]] == [
        words for example in EXAMPLES for words in (example.question, example.answer)
    ]
    assert [with_examples[0], with_examples[-1]] == without
    assert sum(estimated_tokens(message["content"]) for message in with_examples) < 200


# --- What it is not asked -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "why", "sentence"),
    [
        (GERMAN, "language", ONLY_ENGLISH["de"]),
        ("Когда Финляндия присоединилась к ЕС?", "language", ONLY_ENGLISH["en"]),
        ("Translate 'good morning' to Swedish.", "translation", ONLY_ENGLISH["en"]),
        ("Summarize this: " + "the river rises in the hills. " * 150, "length", TOO_LONG["en"]),
        ("¿Qué dice este texto? " + "el río nace en las colinas. " * 150, "language", None),
    ],
)
async def test_question_beyond_the_stand_in_is_declined_at_once(
    chat: Chatting, model: ScriptedModel, question: str, why: str, sentence: str | None
) -> None:
    events = await chat.answer(question)
    assert text_of(events) == (sentence or ONLY_ENGLISH["es"])
    assert shape(events)[-2:] == ["response.completed", "done"]
    assert kinds(events).count("done") == 1
    assert events[-1]["data"]["status"] == "completed"
    assert events[-1]["data"]["declined"] == why
    assert not model.calls


@pytest.mark.parametrize("words", ["translate to ", "translation in in ", "1-", "so "])
def test_long_question_is_judged_in_little_time(words: str) -> None:
    text = (words * MAX_MESSAGE)[:MAX_MESSAGE]
    began = thread_time()
    assert reason_to_decline(text, max_tokens=1200) == "length"
    assert thread_time() - began < 0.1


async def test_declined_question_is_asked_when_it_is_asked_again(
    chat: Chatting, model: ScriptedModel
) -> None:
    declined = await chat.answer(GERMAN)
    events = await chat.answer(chat_request(GERMAN, rerun_of=declined[0]["workflow_id"]))
    assert len(model.calls) == 1
    assert "declined" not in events[-1]["data"]


async def test_declined_exchange_is_not_read_with_the_next_question(
    chat: Chatting, model: ScriptedModel
) -> None:
    declined = await chat.answer(GERMAN)
    conversation = declined[0]["data"]["conversation_id"]
    events = await chat.answer(chat_request("Who wrote Dune?", conversation_id=conversation))
    [call] = model.calls
    assert GERMAN not in str(call.body["messages"])
    assert events[-1]["data"]["unread_messages"] == 2


async def test_tool_answers_in_any_language(chat: Chatting, model: ScriptedModel) -> None:
    events = await chat.answer("Wie viel sind 25 Prozent von 80?")
    assert text_of(events) == "25% of 80 = 20"
    assert not model.calls


async def test_better_model_is_asked_anything(
    chat: Chatting, model: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = False
    await chat.answer(chat_request(GERMAN, mode="light"))
    assert len(model.calls) == 1


# --- Without a search -----------------------------------------------------------------------------


async def test_missing_search_is_told_beside_the_answer(
    chat: Chatting, model: ScriptedModel
) -> None:
    events = await chat.answer("What is the weather in Oslo today?")
    assert NO_SEARCH["en"] in messages_of(events)
    assert text_of(events) == "The answer is **42**."


async def test_missing_search_is_told_in_the_language_of_the_question(
    chat: Chatting, model: ScriptedModel, settings: Settings
) -> None:
    settings.FLEET_MODEL_IS_STAND_IN = False
    events = await chat.answer(chat_request("Wie wird das Wetter morgen in Oslo?", mode="light"))
    assert NO_SEARCH["de"] in messages_of(events)
    assert model.calls[0].question.endswith(f"?\n\n{NO_SEARCH['de']}")
