"""Web search with a SearXNG of the operator's own: requests, results and failures."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.scripted_searxng import RESULT, ScriptedSearxng
from tooling import searxng
from tooling.calls import ToolResult
from tooling.opening import open_services
from tooling.searxng import SearxngClient
from tooling.services import Services
from tooling.toolbox import Toolbox

from .caching import TTL, Clock
from .searching import NOW, called


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedSearxng]:
    server = ScriptedSearxng()
    yield server
    server.stop()


@pytest.fixture
def engine(server: ScriptedSearxng) -> ScriptedSearxng:
    server.reset()
    return server


@pytest_asyncio.fixture
async def services(engine: ScriptedSearxng) -> AsyncIterator[Services]:
    async def no_pause(seconds: float) -> None:
        pass

    client = SearxngClient(base_url=engine.url, proxies={}, sleep=no_pause)
    made = Services(search=client, now=lambda: NOW)
    yield made
    await made.aclose()


def box(services: Services, **options: Any) -> Toolbox:
    return Toolbox(services, allowed=frozenset({"web_search"}), max_calls=9, **options)


async def search(services: Services, query: str = "q", **arguments: Any) -> ToolResult:
    return await called(box(services), query, **arguments)


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({}, {"q": "q", "format": "json", "categories": "general"}),
        ({"topic": "news", "time_range": "week"}, {"categories": "news", "time_range": "week"}),
        ({"topic": "finance"}, {"categories": "general"}),
        ({"deep": True, "max_results": 9}, {"q": "q"}),
        ({"query": "who is me@mail.example"}, {"q": "who is"}),
        # Its commands for engines, languages and time limits are no part of a question.
        ({"query": "!!g :de <9 !important in css: why?"}, {"q": "g de 9 important in css: why?"}),
        ({"query": "!"}, {"q": "!"}),
    ],
)
async def test_request_follows_the_arguments(
    engine: ScriptedSearxng, services: Services, arguments: dict[str, Any], sent: dict[str, str]
) -> None:
    await search(services, **arguments)
    (asked,) = engine.queries
    assert sent.items() <= asked.items()
    assert ("time_range" in asked) is ("time_range" in sent)
    assert {"Cookie", "Authorization", "Referer"}.isdisjoint(engine.headers[0])


async def test_results_are_cited_like_those_of_any_provider(services: Services) -> None:
    result = await search(services)
    assert "[1] Peru - Encyclopedia (encyclopedia.example, 2026-11-16)" in result.text
    assert "The capital of Peru is Lima." in result.text
    assert "text from outside" in result.text
    assert result.credits == 0


async def test_broken_results_are_left_out_and_others_cut_to_what_was_asked(
    engine: ScriptedSearxng, services: Services
) -> None:
    engine.answer.results = [
        None,
        "text",
        {"title": "no address", "content": "x"},
        {**RESULT, "url": "javascript:alert(1)"},
        {**RESULT, "url": "https://a.example/", "content": "", "title": "A title alone"},
        {**RESULT, "url": "https://a.example/", "title": "The same again"},
        *({**RESULT, "url": f"https://b.example/{number}"} for number in range(30)),
    ]
    engine.answer.infoboxes = [
        {"infobox": "Lima", "id": "https://lexicon.example/Lima", "content": "A city."},
        {"infobox": "no address", "id": None, "content": None},
        7,
    ]
    result = await search(services, max_results=4)
    assert [source.url for source in result.sources] == [
        "https://lexicon.example/Lima",
        "https://a.example/",
        "https://b.example/0",
        "https://b.example/1",
    ]
    assert "A title alone" in result.text


async def test_nothing_found_is_no_failure(engine: ScriptedSearxng, services: Services) -> None:
    engine.answer.results = []
    result = await search(services)
    assert result.ok
    assert "Nothing was found." in result.text


async def test_engines_that_do_not_answer_are_a_failure_if_nothing_was_found(
    engine: ScriptedSearxng, services: Services
) -> None:
    engine.answer.unresponsive = [["google", "timeout"], ["brave", "too many requests"]]
    assert (await search(services)).ok
    engine.answer.results = []
    result = await search(services)
    assert (result.failure, result.message) == (
        "temporary",
        "None of the search engines answered.",
    )


async def test_json_that_is_off_is_said_with_what_turns_it_on(
    engine: ScriptedSearxng, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    engine.answer.formats = ("html",)
    toolbox = box(services)
    result = await called(toolbox, "q")
    assert result.message == "The search service does not answer programs."
    assert "add json to search.formats in its settings.yml" in caplog.text
    # Not asked again by every question.
    assert toolbox.offered() == []
    assert len(engine.queries) == 1


@pytest.mark.parametrize(
    ("answer", "message", "calls"),
    [
        ({"status": 429}, "The search service is busy.", 2),
        ({"status": 429, "headers": {"Retry-After": "60"}}, "The search service is busy.", 1),
        ({"status": 400}, "The search service did not take this query.", 1),
        ({"status": 404}, "The search service failed (status 404).", 1),
        ({"status": 500}, "The search service failed (status 500).", 2),
        ({"body": b"<html>"}, "The search service sent something unreadable.", 1),
        ({"body": b'{"results": 7}'}, "The search service sent something unreadable.", 1),
        ({"body": b"[" * 100_000}, "The search service sent something unreadable.", 1),
        ({"body": b" " * 3_000_000}, "The search service sent more than 2 MB.", 1),
        ({"hang": True}, "The search service did not answer in time.", 2),
    ],
)
async def test_failures_are_said_in_words(
    engine: ScriptedSearxng,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    answer: dict[str, Any],
    message: str,
    calls: int,
) -> None:
    if "hang" in answer:
        monkeypatch.setattr(searxng, "ATTEMPT_TIMEOUT", 0.3)
    for name, value in answer.items():
        setattr(engine.answer, name, value)
    assert (await search(services)).message == message
    assert len(engine.queries) == calls


async def test_second_attempt_may_succeed(engine: ScriptedSearxng, services: Services) -> None:
    engine.answer.status, engine.answer.fail_times = 502, 1
    assert (await search(services)).ok


async def test_server_that_is_down_is_said_to_be() -> None:
    services = Services(search=SearxngClient(base_url="http://127.0.0.1:1", proxies={}))
    assert (await search(services)).message == "The search service cannot be reached."
    await services.aclose()


async def test_results_are_kept_for_the_host_that_was_asked(
    engine: ScriptedSearxng, redis: Redis, valkey_url: str, clock: Clock
) -> None:
    # The address may have a path and a password; no proxy is on the way to this machine.
    url = engine.url.replace("http://", "http://ann:secret@") + "/searx/"
    services = open_services(
        redis_url=valkey_url,
        search="searxng",
        tavily_key="",
        tavily_url="",
        searxng_url=url,
        proxies={"http": "http://127.0.0.1:1"},
        ttl=TTL,
        now=clock,
    )
    assert services.search is not None
    assert services.search.account == engine.url.removeprefix("http://")
    assert not (await search(services, "Capital of Peru")).cached
    assert (await search(services, "capital of  peru?")).cached
    assert len(engine.queries) == 1
    assert engine.headers[0]["Authorization"].startswith("Basic ")
    keys = [await redis.hget(key, "about") async for key in redis.scan_iter("fleet:cache:v1:*")]
    assert keys
    assert b"secret" not in b"".join(keys)
    await services.aclose()
