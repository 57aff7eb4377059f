"""Web search while the provider fails: retries, closed tools, and messages."""

import asyncio
from typing import Any

import pytest

from tests.scripted_search import ScriptedSearch
from tooling import searchclient, searching
from tooling.results import ToolFailure
from tooling.searchclient import SearchClient
from tooling.services import Services
from tooling.toolbox import Toolbox

from .caching import Clock
from .searching import called

KEYLESS_LIMIT = {
    "error": {"code": "keyless_rate_limited", "message": "slow down", "retry_after_seconds": 90}
}


@pytest.mark.parametrize(
    ("answer", "calls", "kind", "said", "closed"),
    [
        pytest.param({"status": 400}, 1, "permanent", "did not take this query", False, id="400"),
        pytest.param({"status": 401}, 1, "permanent", "refused the key", True, id="401"),
        pytest.param({"status": 403}, 1, "permanent", "limit of the search plan", True, id="403"),
        pytest.param({"status": 432}, 1, "permanent", "limit of the search plan", True, id="432"),
        pytest.param({"status": 433}, 1, "permanent", "limit of the search plan", True, id="433"),
        pytest.param({"status": 404}, 1, "permanent", "status 404", False, id="404"),
        pytest.param(
            {"status": 302, "headers": {"Location": "http://169.254.169.254/"}},
            1,
            "permanent",
            "status 302",
            False,
            id="302",
        ),
        pytest.param({"status": 429}, 2, "temporary", "busy", False, id="429"),
        pytest.param(
            {"status": 429, "headers": {"Retry-After": "1"}},
            2,
            "temporary",
            "busy",
            False,
            id="429-1s",
        ),
        pytest.param(
            {"status": 429, "headers": {"Retry-After": "60"}},
            1,
            "temporary",
            "busy",
            True,
            id="429-60s",
        ),
        pytest.param(
            {"status": 429, "headers": {"Retry-After": "soon"}},
            2,
            "temporary",
            "busy",
            False,
            id="429-nonsense",
        ),
        pytest.param(
            {"status": 429, "error": KEYLESS_LIMIT}, 1, "temporary", "busy", True, id="429-keyless"
        ),
        pytest.param({"status": 500}, 2, "temporary", "status 500", False, id="500"),
        pytest.param(
            {"status": 503, "body": b"<html>"}, 2, "temporary", "status 503", False, id="503-html"
        ),
        pytest.param({"cut": True}, 2, "temporary", "cannot be reached", False, id="cut"),
        pytest.param({"status": 204, "body": b""}, 1, "temporary", "unreadable", False, id="204"),
        pytest.param({"status": 206}, 1, "temporary", "unreadable", False, id="206"),
        pytest.param({"body": b"not json"}, 1, "temporary", "unreadable", False, id="not-json"),
        pytest.param({"body": b""}, 1, "temporary", "unreadable", False, id="empty"),
        pytest.param({"body": b"[]"}, 1, "temporary", "unreadable", False, id="list"),
        pytest.param(
            {"body": b'{"results": null}'}, 1, "temporary", "unreadable", False, id="no-list"
        ),
        pytest.param(
            {"body": b'{"results": ' + b"[" * 100_000},
            1,
            "temporary",
            "unreadable",
            False,
            id="deep",
        ),
        pytest.param(
            {"body": b'{"results": [{"a": "\xff\xfe"}]}'},
            1,
            "temporary",
            "unreadable",
            False,
            id="not-utf8",
        ),
        pytest.param(
            {"headers": {"Content-Encoding": "gzip"}},
            1,
            "temporary",
            "unreadable",
            False,
            id="packed",
        ),
        pytest.param(
            {"headers": {"Content-Type": "a/b; charset=klingon"}},
            1,
            "temporary",
            "unreadable",
            False,
            id="unknown-charset",
        ),
        pytest.param(
            {"body": b'{"results": ["' + b"x" * 10_000_000 + b'"]}'},
            1,
            "permanent",
            "more than 2 MB",
            False,
            id="10-MB",
        ),
    ],
)
async def test_each_failure_has_its_action(
    web: ScriptedSearch,
    search: Any,
    services: Services,
    slept: list[float],
    answer: dict[str, Any],
    calls: int,
    kind: str,
    said: str,
    closed: bool,
) -> None:
    web.on("q", **answer)
    result = await search()
    assert len(web.queries) == calls
    assert len(slept) == calls - 1
    assert result.failure == kind
    assert said in result.message
    assert result.message in result.text
    assert bool(services.why_closed("web_search")) is closed


@pytest.mark.parametrize(
    ("answer", "hours"),
    [
        ({"status": 400}, 0),
        ({"status": 401}, 24),
        ({"status": 432}, 4),
        ({"status": 429, "headers": {"Retry-After": "60"}}, 60 / 3600),
        ({"status": 429, "headers": {"Retry-After": "86400"}}, 300 / 3600),
    ],
)
async def test_failure_closes_the_account_as_long_as_no_call_can_succeed(
    web: ScriptedSearch, services: Services, answer: dict[str, Any], hours: float
) -> None:
    web.on("q", **answer)
    assert services.search
    with pytest.raises(ToolFailure) as failed:
        await services.search.search({"query": "q", "search_depth": "basic"})
    assert failed.value.closed_for == hours * 3600


async def test_closed_tool_is_called_again_after_a_minute_without_a_cache(
    web: ScriptedSearch, services: Services
) -> None:
    web.on("q", status=401)
    clock = Clock()
    services.now = clock
    for seconds, calls in ((0, 1), (59, 1), (1, 2)):
        clock.pass_(seconds)
        toolbox = Toolbox(services, allowed=frozenset({"web_search"}), max_calls=5)
        if not toolbox.reason_off("web_search"):
            await called(toolbox)
        assert len(web.queries) == calls


async def test_search_succeeds_at_its_second_attempt(
    web: ScriptedSearch, search: Any, slept: list[float]
) -> None:
    web.on("q", status=502, fail_times=1)
    assert (await search()).ok
    assert searching.RETRY_AFTER <= slept[0] <= 2 * searching.RETRY_AFTER


async def test_retry_waits_as_long_as_the_rate_limit_says(
    web: ScriptedSearch, search: Any, slept: list[float]
) -> None:
    web.on("q", status=429, headers={"Retry-After": "1"}, fail_times=1)
    assert (await search()).ok
    assert 1 <= slept[0] <= 1 + searching.RETRY_AFTER


@pytest.mark.parametrize("answer", [{"hang": True}, {"trickle": 0.02}])
async def test_hanging_or_slow_server_fails_within_the_timeout(
    web: ScriptedSearch, search: Any, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    monkeypatch.setattr(searchclient, "ATTEMPT_TIMEOUT", 0.5)  # in which a busy machine has asked
    web.on("q", **answer)
    async with asyncio.timeout(10):
        result = await search()
    assert result.failure == "temporary"
    assert "in time" in result.message
    assert len(web.queries) == 2


async def test_unreachable_server_is_a_temporary_failure(slept: list[float]) -> None:
    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    services = Services(
        search=SearchClient(api_key="k", base_url="http://127.0.0.1:9", sleep=sleep)
    )
    result = await called(Toolbox(services, allowed=frozenset({"web_search"}), max_calls=5))
    assert result.failure == "temporary"
    assert "cannot be reached" in result.message
    await services.aclose()


async def test_refused_key_closes_the_tool_and_is_logged_once(
    web: ScriptedSearch, search: Any, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    web.default.status = 401
    for query in "abc":
        await search(query)
    assert len(web.queries) == 1
    assert [
        record.levelname for record in caplog.records if "TAVILY_API_KEY" in record.message
    ] == ["ERROR"]
    assert Toolbox(services, allowed=frozenset({"web_search"}), max_calls=5).offered() == []
    assert "refused the key" in Toolbox(
        services, allowed=frozenset({"web_search"}), max_calls=1
    ).reason_off("web_search")


async def test_failure_reveals_neither_the_key_nor_the_providers_text(
    web: ScriptedSearch, search: Any, caplog: pytest.LogCaptureFixture
) -> None:
    web.default.status, web.default.error = (
        401,
        {"detail": {"error": "key tvly-secret is bad <script>"}},
    )
    result = await search("a private question")
    assert "secret" not in result.text + result.message + caplog.text
    assert "private question" not in caplog.text


async def test_cancelled_search_disconnects(web: ScriptedSearch, search: Any) -> None:
    web.on("q", hang=True)
    task = asyncio.ensure_future(search())
    while not web.queries:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(5):
            await task
    assert await asyncio.to_thread(web.queries[0].ended.wait, 5)
    assert web.queries[0].hung_up
