"""The cache inspector with very many entries, and without Redis."""

import hashlib
import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from redis import Redis

from tooling import inspector as inspector_module
from tooling.entries import PREFIX, Wanted, about, packed
from tooling.inspector import Inspector
from tooling.results import Output, Passage

from .entries import LIST

pytestmark = pytest.mark.django_db


def fill(redis: Redis, count: int) -> None:
    output = Output(passages=(Passage("t", "https://x.example/", "Lima " * 60),), credits=1)
    body = packed(output)
    assert body
    now = datetime.now(UTC).timestamp()
    pipe = redis.pipeline(transaction=False)
    for number in range(count):
        wanted = Wanted("web_search", {}, "general", query=f"question {number}", topic="general")
        key = f"{PREFIX}web_search:{hashlib.sha256(str(number).encode()).hexdigest()}"
        pipe.hset(
            key,
            mapping={
                "about": about(wanted, output, len(body)),
                "body": body,
                "fetched": now,
                "soft": now + 600,
                "credits": 1,
                "hits": 0,
            },
        )  # type: ignore[arg-type]
        if number % 5000 == 4999:
            pipe.execute()
    pipe.execute()


class Commands:
    """How often each command was sent."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._before = self._now()

    def _now(self) -> dict[str, int]:
        stats: dict[str, Any] = self._redis.info("commandstats")  # type: ignore[assignment]
        return {name.removeprefix("cmdstat_"): fields["calls"] for name, fields in stats.items()}

    def since(self) -> dict[str, int]:
        return {
            name: calls - self._before.get(name, 0)
            for name, calls in self._now().items()
            if calls > self._before.get(name, 0)
        }


@pytest.mark.parametrize("count", [3000])
def test_pages_of_a_large_cache_are_bounded_and_complete(
    admin: Client, redis: Redis, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    fill(redis, count)
    commands = Commands(redis)
    started = time.perf_counter()
    page = admin.get(LIST).text
    assert time.perf_counter() - started < 10
    sent = commands.since()
    assert "keys" not in sent
    assert sent["hmget"] <= inspector_module.PAGE_SIZE + 2 * inspector_module.BATCH
    assert f"<dd>{count:,}</dd>" in page
    seen: set[str] = set()
    address, pages = LIST, 0
    while address:
        page = admin.get(address).text
        seen |= set(re.findall(r">(question \d+)<", page))
        pages += 1
        following = re.search(r'href="(\?[^"]*cursor=\d+)" rel="next"', page)
        address = LIST + following[1].replace("&amp;", "&") if following else ""
        if pages == 12:
            # That will do for the pages; the rest in one go.
            monkeypatch.setattr(inspector_module, "PAGE_SIZE", count)
            monkeypatch.setattr(inspector_module, "MAX_EXAMINED", count * 2)
    assert len(seen) == count


def test_search_reports_that_it_read_only_a_part(
    admin: Client, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspector_module, "MAX_EXAMINED", 500)
    fill(redis, 2000)
    address, pages = f"{LIST}?q=question+1999", 0
    while True:
        page = admin.get(address).text
        pages += 1
        if "question 1999</a>" in page:
            break
        assert "matches so far" in page
        following = re.search(r'href="(\?[^"]*cursor=\d+)" rel="next">Look further', page)
        assert following
        address = LIST + following[1].replace("&amp;", "&")
    assert pages <= 5


def test_deletion_stops_after_its_time_limit_and_reports_the_rest(
    admin: Client, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspector_module, "MAX_DELETE_SECONDS", 0)
    fill(redis, 2500)
    assert (
        "there are more" in admin.post(f"{LIST}delete/", {"tool": "web_search"}, follow=True).text
    )
    assert 0 < Inspector(redis_url(redis)).totals().entries < 2500


def redis_url(redis: Redis) -> str:
    fields = redis.connection_pool.connection_kwargs
    return f"redis://:{fields['password']}@{fields['host']}:{fields['port']}/0"


@pytest.mark.parametrize(
    "path", ["", "delete/", f"web_search/{'0' * 64}/", f"web_search/{'0' * 64}/delete/"]
)
def test_every_page_reports_that_redis_is_away(admin: Client, settings: Any, path: str) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    for response in (
        admin.get(LIST + path),
        *([admin.post(LIST + path)] if "delete" in path else []),
    ):
        assert response.status_code == 503
        assert "Redis does not answer" in response.text
