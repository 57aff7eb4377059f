"""Readers with different languages: each html stream has the language of its page."""

import asyncio

import pytest
from django.conf import settings

from chat.protocol.terms import SUBPROTOCOL_HTML
from tests.chatting import Chatting, Event, chat_request, text_of
from tests.scripted_model import ScriptedModel

pytestmark = pytest.mark.django_db(transaction=True)

LANGUAGES = {"de": "Antwort schreiben", "ar": "كتابة الإجابة", "en": "Writing the answer"}


def html_of(events: list[Event]) -> str:
    return "".join(event.get("html", "") for event in events)


async def test_streams_of_one_worker_have_the_languages_of_their_pages(
    chat: Chatting, model: ScriptedModel
) -> None:
    answers = await asyncio.gather(
        *(
            chat.answer(
                chat_request(mode="full"), subprotocol=SUBPROTOCOL_HTML, query=f"language={code}"
            )
            for code in LANGUAGES
        )
    )
    for code, events in zip(LANGUAGES, answers, strict=True):
        html = html_of(events)
        assert [each for each, words in LANGUAGES.items() if words in html] == [code]


async def test_text_that_is_rendered_in_a_thread_has_the_language_of_the_page(
    chat: Chatting, model: ScriptedModel
) -> None:
    # The beginning of code may take long.
    model.on("code", tokens=["Hi\n\n```py\nx\n```\n"])
    events = await chat.answer("code", subprotocol=SUBPROTOCOL_HTML, query="language=de")
    assert 'data-copy="code">Kopieren<' in html_of(events)


async def test_events_are_the_same_in_every_language(chat: Chatting, model: ScriptedModel) -> None:
    request = chat_request(mode="light")
    german = await chat.answer(request, subprotocol=SUBPROTOCOL_HTML, query="language=de")
    english = await chat.answer(request | {"after": 0})

    assert text_of(german) == text_of(english)
    assert german[-1]["data"] == english[-1]["data"]
    assert german[0]["log_line"] == english[0]["log_line"]


@pytest.mark.parametrize(
    ("query", "headers", "words"),
    [
        ("language=de", {"accept-language": "ar"}, "Verbunden"),
        ("", {"accept-language": "de-AT,en;q=0.5"}, "Verbunden"),
        ("", {"cookie": f"{settings.LANGUAGE_COOKIE_NAME}=ar", "accept-language": "de"}, "متصل"),
        ("language=../x", {"accept-language": "tlh"}, "Connected"),
    ],
)
async def test_stream_has_the_language_of_the_page_or_of_the_handshake(
    chat: Chatting, model: ScriptedModel, query: str, headers: dict[str, str], words: str
) -> None:
    socket = await chat.ask(subprotocol=SUBPROTOCOL_HTML, query=query, headers=headers)
    event = await socket.event()
    assert f"<span data-words>{words}</span>" in event["html"]
    await socket.rest()


async def test_refusal_is_english_on_the_wire_and_translated_on_the_page(chat: Chatting) -> None:
    request = chat_request() | {"conversation_id": "00000000-0000-4000-8000-000000000000"}
    (event,) = await chat.answer(request, subprotocol=SUBPROTOCOL_HTML, query="language=de")
    assert event["error"]["message"].startswith("This conversation does not exist")
    assert "Dieses Gespräch gibt es nicht" in event["html"]
