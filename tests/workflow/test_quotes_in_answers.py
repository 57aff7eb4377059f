"""Quotations in answers: checked when the answer is written, whoever wrote it, and told once."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pytest_django import Settings
from redis import Redis

from chat.models import Run
from chat.protocol.events import ResponseDelta
from chat.protocol.terms import MissedQuote, QuoteCheck
from chat.runs.worker import Worker
from chat.workflow.agents import EDITOR, PLANNER, RESEARCHER
from chat.workflow.memory import Memory
from tests.chatting import Chatting, Event, chat_request
from tests.scripted_model import Script, ScriptedModel
from tests.scripted_search import RESULT, ScriptedSearch
from tests.tooling.pages.conftest import inside, inside_site, names, public, public_site
from tests.tooling.pages.web import Names, Site, reader

from .playing import plan, wants
from .scripts import SCRIPTS, TEAM, play, says, text_of

__all__ = ["inside", "inside_site", "names", "public", "public_site"]
pytestmark = pytest.mark.django_db(transaction=True)
QUESTION = "What is the weather in Lima today?"
OTHER = {
    "title": "Weather",
    "url": "https://weather.example/lima",
    "content": "It rains in Lima. Take a coat with you.",
    "score": 0.8,
}
ANSWER = (
    "“The capital of Peru is Lima.” [1] “It rains in Lima” [2], or “it never rains in Lima” [2]."
    " “Take a coat with you” [1]. So it is [4]."
)
CHECKED = {
    "checked": 4,
    "found": 2,
    "missed": [
        {"text": "it never rains in Lima", "cites": [2]},
        {"text": "Take a coat with you", "cites": [1], "found_in": 2},
    ],
    "unknown": [4],
}


@pytest_asyncio.fixture
async def web(
    chat: Chatting, web: ScriptedSearch, settings: Settings
) -> AsyncIterator[ScriptedSearch]:
    """The search server that the worker asks, with two pages."""
    settings.TAVILY_BASE_URL, settings.TAVILY_API_KEY = web.url, "tvly-x"
    settings.FLEET_SEARCH = "on"
    await Worker.current().stop()  # the next one reads the settings
    with Redis.from_url(settings.REDIS_URL) as client:
        client.flushdb()
    web.default.results = [RESULT, OTHER]
    yield web


def quotes_of(events: list[Event]) -> Any:
    assert events[-1]["type"] == "done", events[-1]
    return events[-1]["data"].get("quotes")


async def test_quotations_are_compared_with_what_a_search_has_found(
    chat: Chatting, web: ScriptedSearch, model: ScriptedModel
) -> None:
    model.default = Script(tokens=[ANSWER])
    events = await chat.answer(QUESTION)
    assert quotes_of(events) == CHECKED
    assert len(model.calls) == 1
    run = await Run.objects.aget(pk=events[-1]["workflow_id"])
    assert run.ending
    assert run.ending["quotes"] == CHECKED


async def test_teams_answer_is_compared_with_what_all_its_agents_have_read(
    chat: Chatting, web: ScriptedSearch, model: ScriptedModel
) -> None:
    model.as_agent(PLANNER.instructions, plan("researcher"))
    model.as_agent(
        RESEARCHER.instructions, wants(("web_search", {"query": "lima"})), Script(tokens=["[1]"])
    )
    model.as_agent(EDITOR.instructions, Script(tokens=[ANSWER]))
    events = await chat.answer(chat_request("Compare them.", mode="full"))
    assert quotes_of(events) == CHECKED


async def test_answer_without_quotations_says_nothing_of_them(
    chat: Chatting, web: ScriptedSearch, model: ScriptedModel
) -> None:
    model.default = Script(tokens=["It rains [2], as “they” say."])
    assert quotes_of(await chat.answer(QUESTION)) is None


async def test_number_that_cites_nothing_is_told_without_any_source(
    chat: Chatting, model: ScriptedModel
) -> None:
    model.default = Script(tokens=["It is so [1]. The numbers in [1, 2, 3] are a list."])
    assert quotes_of(await chat.answer("Why is it so?")) == {"unknown": [1]}


async def test_words_of_the_person_are_no_quotation_of_a_source(
    chat: Chatting, web: ScriptedSearch, model: ScriptedModel
) -> None:
    model.default = Script(tokens=["“the weather in Lima today” is wet [2]."])
    assert quotes_of(await chat.answer(QUESTION)) is None


async def test_quotations_of_a_page_are_found_across_its_markup(
    chat: Chatting, public: Site, names: Names, settings: Settings, model: ScriptedModel
) -> None:
    with Redis.from_url(settings.REDIS_URL) as client:
        client.flushdb()
    Worker.current().tools.pages = reader(public, names)
    public.has(
        "/a",
        "<title>Lima</title><h1>Lima</h1><p>Lima is the <b>capital</b> of <a href='/p'>Peru</a>"
        " &ndash; and its&nbsp;<i>larg</i>est city.<sup>[3]</sup> It never rains.</p>",
    )
    url = f"http://site.example:{public.port}/a"
    model.default = Script(
        tokens=[
            f"“Lima is the capital of Peru - and its largest city. It never rains” [1], or"
            f" “its *largest* … never rains” ([there]({url})). “It rains every day” [1]"
        ]
    )
    checked = quotes_of(await chat.answer(f"Summarise {url}"))
    assert checked == {
        "checked": 3,
        "found": 2,
        "missed": [{"text": "It rains every day", "cites": [1]}],
    }


async def test_worker_that_goes_on_judges_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "“kafka 1 (example.org)” [1], “about rabbit” [3] and “more about kafka” [1]."
    team = {**TEAM, EDITOR.id: [says(*answer.partition("] "))]}
    monkeypatch.setitem(SCRIPTS, "quoting", ("full", team))
    whole = await play("quoting")
    expected = QuoteCheck(
        checked=3, found=2, missed=[MissedQuote("more about kafka", [1])], unknown=[]
    )
    assert whole.answer
    assert whole.answer.quotes == expected
    for place, stored in enumerate(whole.stored):
        had = whole.events[:place]
        told = [event for event in had if not isinstance(event, ResponseDelta)]
        again = await play("quoting", Memory(kept=stored, told=told, text=text_of(had)))
        assert again.answer
        assert again.answer.quotes == expected, place
