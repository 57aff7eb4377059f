"""Tools that an operator has written, as readers of an answer get them."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from django.test import AsyncClient
from pytest_django import Settings

from agenticfleet.asgi import application
from agenticfleet.printing import cited
from chat.conversations import Conversation
from chat.protocol.payloads import SourceData
from chat.runs.worker import Worker
from chat.workflow.agents import ASSISTANT
from tests.chatting import Chatting, Event, chat_request, cookie_header, text_of
from tests.configs import Configure
from tests.doors.calling import Doors
from tests.scripted_model import Script, ScriptedModel

pytestmark = pytest.mark.django_db(transaction=True)

HANDBOOK = '''
from tooling import Passage, tool

@tool
def handbook(words: str) -> list[Passage]:
    """Search the handbook."""
    return [
        Passage("Handbook, page 3", text="Closed on Mondays."),
        Passage("Price list", "https://shop.example/prices", "A1 costs 7."),
        Passage("Old script", "javascript:alert(1)", "Nothing."),
    ]
'''
STOCK = '''
import re
from tooling import tool

def article_in(question, follows):
    found = re.search(r"stock of (\\\\w+)", question) or re.search(r"stock of (\\\\w+)", follows)
    return {"article": found[1]} if found else None

@tool(phrases=r"\\\\bstock of\\\\b", from_question=article_in)
def stock(article: str) -> str:
    """Return the stock of an article."""
    return f"{article}: 7"

@tool
def price(article: str) -> str:
    """Return the price of an article."""
    return f"{article} costs 5"
'''.replace("\\\\", "\\")


def calls(name: str, **arguments: Any) -> Script:
    return Script(tokens=[], calls=[(name, json.dumps(arguments))])


def results(events: list[Event]) -> list[tuple[str, bool]]:
    return [
        (event["data"]["tool"], event["data"]["ok"])
        for event in events
        if event["type"] == "tool.complete"
    ]


# --- Sources without an address -------------------------------------------------------------------


@pytest.fixture
def found(configure: Configure, model: ScriptedModel) -> ScriptedModel:
    configure("", HANDBOOK)
    model.as_agent(
        ASSISTANT.instructions,
        calls("handbook", words="closed"),
        Script(tokens=["Closed on Mondays [1], A1 costs 7 [2]."]),
    )
    return model


async def test_a_model_reads_documents_with_numbers_and_without_addresses(
    chat: Chatting, found: ScriptedModel
) -> None:
    events = await chat.answer(chat_request("When is it closed?", mode="light"))
    assert found.calls[1].question == (
        "[1] Handbook, page 3\nClosed on Mondays.\n\n"
        "[2] Price list (shop.example)\nA1 costs 7.\n\n[3] Old script\nNothing."
    )
    [done] = [event for event in events if event["type"] == "tool.complete"]
    assert [(each["number"], each["title"], each["url"]) for each in done["data"]["sources"]] == [
        (1, "Handbook, page 3", ""),
        (2, "Price list", "https://shop.example/prices"),
        (3, "Old script", ""),
    ]


async def test_the_page_and_the_export_list_documents_and_link_only_addresses(
    chat: Chatting, found: ScriptedModel, settings: Settings
) -> None:
    client = AsyncClient()
    await client.get("/")
    headers = {"cookie": cookie_header(client), "authorization": "", "origin": "http://testserver"}
    request = chat_request("When is it closed?", mode="light")
    live = await chat.answer(request, subprotocol="fleet.html.v1", headers=headers)
    html = "".join(event["html"] for event in live if "html" in event)
    cited_on_page = re.search(r'class="citation" href="#([\w-]+-source-1)"[^>]*>\[1\]</a>', html)
    assert cited_on_page, "a citation leads to the document in the list of sources"
    assert f'<span id="{cited_on_page[1]}"' in html
    assert "Handbook, page 3</span>" in html
    assert 'href="https://shop.example/prices"' in html
    assert "javascript:" not in html
    conversation = (await Conversation.objects.aget()).pk
    page = (await client.get(f"/c/{conversation}/")).content.decode()
    assert "Handbook, page 3</span>" in page
    assert "Price list</a>" in page
    assert "javascript:" not in page
    export = await client.get(f"/c/{conversation}/export/?as=markdown")
    text = b"".join([part async for part in export.streaming_content]).decode()  # type: ignore[attr-defined]
    assert r"- \[1] Handbook, page 3" in text
    assert "[Price list](<https://shop.example/prices>)" in text


async def test_programs_get_citations_of_addresses_only(
    worker: Worker, found: ScriptedModel
) -> None:
    doors = Doors(application)
    asked = {"role": "user", "content": "When is it closed?"}
    body = {"model": "fleet-light", "messages": [asked]}
    message = (await doors.post("/v1/chat/completions", body)).json["choices"][0]["message"]
    assert message["content"] == "Closed on Mondays [1], A1 costs 7 [2]."
    [annotation] = message["annotations"]
    assert annotation["url_citation"]["url"] == "https://shop.example/prices"


def test_the_terminal_shows_a_document_without_an_address() -> None:
    assert cited(SourceData(1, "Handbook", "", "")) == "[1] Handbook"
    assert cited(SourceData(1, "Handbook", "", "", "2026-01-02")) == "[1] Handbook (2026-01-02)"
    page = SourceData(2, "Docs", "https://a.example/", "a.example", "2026-01-02")
    assert cited(page) == "[2] Docs (a.example, 2026-01-02) https://a.example/"


# --- The light path -------------------------------------------------------------------------------


async def test_a_light_answer_keeps_its_call_after_one_that_was_made_before_it(
    configure: Configure, chat: Chatting, model: ScriptedModel
) -> None:
    configure("", STOCK)
    model.as_agent(
        ASSISTANT.instructions, calls("price", article="A1"), Script(tokens=["7 for 5 each."])
    )
    question = "What is the stock of A1, and its price?"
    events = await chat.answer(chat_request(question, mode="light"))
    assert model.calls[0].question == f"{question}\n\nA1: 7"
    assert results(events) == [("stock", True), ("price", True)]
    assert text_of(events) == "7 for 5 each."


async def test_the_model_may_make_no_more_calls_than_without_one_before_it(
    configure: Configure, chat: Chatting, model: ScriptedModel
) -> None:
    configure("", STOCK)
    twice = [("price", '{"article": "A1"}'), ("price", '{"article": "A2"}')]
    model.as_agent(ASSISTANT.instructions, Script(tokens=[], calls=twice), Script(tokens=["Both."]))
    events = await chat.answer(chat_request("What is the stock of A1?", mode="light"))
    assert results(events) == [("stock", True), ("price", True)]
    [rejected] = [event for event in events if event["type"] == "tool.rejected"]
    assert rejected["data"]["reason"] == "cap_reached"


async def test_a_repeated_call_costs_the_model_nothing(
    configure: Configure, chat: Chatting, model: ScriptedModel
) -> None:
    configure("", STOCK)
    both = [("stock", '{"article": "A1"}'), ("price", '{"article": "A1"}')]
    model.as_agent(
        ASSISTANT.instructions, Script(tokens=[], calls=both), Script(tokens=["7 for 5."])
    )
    events = await chat.answer(chat_request("What is the stock of A1?", mode="light"))
    assert results(events) == [("stock", True), ("stock", True), ("price", True)]


async def test_without_calls_no_call_is_made_before_the_model_either(
    configure: Configure, chat: Chatting, model: ScriptedModel, settings: Settings
) -> None:
    configure("", STOCK)
    settings.FLEET_LIGHT_CAPS = replace(settings.FLEET_LIGHT_CAPS, tool_calls=0)
    events = await chat.answer(chat_request("What is the stock of A1?", mode="light"))
    assert results(events) == []
    [rejected] = [event for event in events if event["type"] == "tool.rejected"]
    assert rejected["data"]["reason"] == "cap_reached"


async def test_a_tool_that_is_not_for_the_light_path_is_not_offered_there(
    configure: Configure, chat: Chatting, model: ScriptedModel
) -> None:
    configure("", STOCK.replace("@tool\ndef price", "@tool(light=False)\ndef price"))
    await chat.answer(chat_request("Hello", mode="light"))
    offered = {each["function"]["name"] for each in model.calls[0].body["tools"]}
    assert "stock" in offered
    assert "price" not in offered


async def test_a_broken_from_question_costs_its_call_only(
    configure: Configure,
    chat: Chatting,
    model: ScriptedModel,
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure("", STOCK.replace("    found =", "    1 / 0\n    found ="))
    events = await chat.answer(chat_request("What is the stock of A1?", mode="light"))
    assert events[-1]["type"] == "done"
    assert any(
        "tool=stock: from_question raised ZeroDivisionError" in each for each in caplog.messages
    )


# --- Steps ----------------------------------------------------------------------------------------


async def test_a_failing_tool_is_named_to_readers_and_the_answer_goes_on(
    configure: Configure, chat: Chatting, model: ScriptedModel
) -> None:
    configure("", STOCK.replace('return f"{article}: 7"', "raise ConnectionRefusedError('secret')"))
    events = await chat.answer(chat_request("What is the stock of A1?", mode="light"))
    [done] = [event for event in events if event["type"] == "tool.complete"]
    assert done["data"]["message"] == "stock cannot reach the service that it needs."
    assert "secret" not in json.dumps(events)
    assert events[-1]["type"] == "done"
