"""The cache inspector: who may see and delete what, nothing unescaped, bounded work, and words when Redis is away."""

import hashlib
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from redis import Redis

from tooling import inspector as inspector_module
from tooling.entries import (
    CLOSED_INDEX,
    CLOSED_PREFIX,
    DAY_PREFIX,
    PREFIX,
    Failure,
    Wanted,
    about,
    packed,
)
from tooling.inspector import Inspector
from tooling.results import Output, Passage
from tooling.templatetags.tooling_cache import duration, grouped, percent, size

pytestmark = pytest.mark.django_db

LIST = "/admin/tooling/cachedresult/"
EVERYTHING = {"capital of peru", "elections", "third"}
NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture
def redis(valkey_url: str) -> Iterator[Redis]:
    client = Redis.from_url(valkey_url, protocol=2)
    empty(client)
    yield client
    empty(client)
    client.close()


def empty(redis: Redis) -> None:
    if keys := list(redis.scan_iter("fleet:cache:*", count=1000)):
        redis.unlink(*keys)


def signed_in(name: str, *permissions: str, superuser: bool = False, staff: bool = True) -> Client:
    user = User.objects.create_user(name, password="x", is_staff=staff, is_superuser=superuser)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client(enforce_csrf_checks=False)
    client.force_login(user)
    return client


@pytest.fixture
def admin() -> Client:
    return signed_in("ada", superuser=True)


def keep(
    redis: Redis,
    query: str = "capital of peru",
    *,
    tool: str = "web_search",
    topic: str = "general",
    age: float = 60,
    soft: float = 3600,
    text: str = "Lima",
    hits: int = 3,
) -> str:
    """Put an entry where the cache would, and return its key."""
    wanted = Wanted(tool, {"query": query, "topic": topic}, "general", query=query, topic=topic)
    output = Output(
        passages=(Passage(f"About {query}", "https://encyclopedia.example/", text, "2026-11-16"),),
        credits=1,
    )
    body = packed(output)
    assert body
    fetched = datetime.now(UTC).timestamp() - age
    fields = {
        "about": about(wanted, output, len(body)),
        "body": body,
        "fetched": fetched,
        "soft": fetched + soft,
        "credits": 1,
        "hits": hits,
    }
    redis.hset(wanted.key, mapping=fields)  # type: ignore[arg-type]
    redis.expire(wanted.key, 20_000)
    return wanted.key


def address(key: str) -> str:
    return f"{LIST}{key.removeprefix(PREFIX).replace(':', '/')}/"


# --- What is shown --------------------------------------------------------------------------------


def test_the_index_lists_it_beside_the_other_models(admin: Client) -> None:
    page = admin.get("/admin/").text
    assert "Cached results" in page
    assert LIST in page


def test_the_list_shows_query_topic_age_time_left_hits_and_size(
    admin: Client, redis: Redis
) -> None:
    keep(redis, "who is ada", topic="news", age=3700, soft=7200, hits=1234)
    page = admin.get(LIST).text
    for shown in (
        "who is ada",
        "web_search",
        "news",
        "1 h 1 min",
        "fresh",
        "5 h 33 min",
        "1,234",
        "B",
    ):
        assert shown in page


def test_totals_count_entries_memory_hits_calls_and_credits(admin: Client, redis: Redis) -> None:
    for number in range(3):
        keep(redis, f"q{number}")
    counters = {
        "hits": 30,
        "misses": 10,
        "upstream": 11,
        "credits_spent": 11,
        "credits_saved": 30.5,
        "unknown": 1,
    }
    redis.hset(f"{DAY_PREFIX}{datetime.now(UTC).date()}", mapping=counters)  # type: ignore[arg-type]
    page = re.sub(r"\s+", " ", admin.get(LIST).text)
    for shown in (
        "<dt>Kept</dt><dd>3</dd>",
        "<dd>75 %</dd>",
        "<dd>11 calls</dd>",
        "<dd>11 credits</dd>",
        "<dd>30.5 credits</dd>",
    ):
        assert shown in page
    assert re.search(r"<dt>Memory</dt><dd>\d", page)
    assert str(datetime.now(UTC).date() - timedelta(days=6)) in page


def test_an_empty_cache_says_so(admin: Client, redis: Redis) -> None:
    assert "Nothing is cached yet" in admin.get(LIST).text


def test_an_entry_shows_its_key_parameters_and_value_pretty_printed(
    admin: Client, redis: Redis
) -> None:
    key = keep(redis, "capital of peru", text="word " * 2000)
    page = admin.get(address(key)).text
    assert key in page
    assert "&quot;topic&quot;: &quot;general&quot;" in page
    assert "\n  &quot;passages&quot;: [\n" in page
    assert "2026-11-16" in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=peru", {"capital of peru"}),
        ("q=PERU", {"capital of peru"}),
        ("q=news", {"elections"}),
        ("q=nothing", set()),
        ("q=%00", EVERYTHING),
        ("tool=web_search", {"capital of peru", "elections"}),
        ("tool=other_tool", {"third"}),
        ("tool=*", EVERYTHING),
        ("tool=web_search&q=third", set()),
        ("cursor=abc", EVERYTHING),
        ("cursor=%C2%B2", EVERYTHING),
        ("cursor=99999999999999999999", EVERYTHING),
    ],
)
def test_entries_are_found_by_tool_and_text(
    admin: Client, redis: Redis, query: str, found: set[str]
) -> None:
    keep(redis, "capital of peru")
    keep(redis, "elections", topic="news")
    keep(redis, "third", tool="other_tool")
    response = admin.get(f"{LIST}?{query}")
    assert response.status_code == 200
    assert set(re.findall(r'field-query"><a [^>]*>([^<]+)<', response.text)) == found


def test_words_from_outside_are_escaped_everywhere(admin: Client, redis: Redis) -> None:
    key = keep(redis, NASTY, topic=NASTY, text=NASTY)
    for where in (
        LIST,
        f"{LIST}?q={quote(NASTY)}&tool={quote(NASTY)}",
        address(key),
        f"{address(key)}delete/",
        f"{LIST}delete/?q={quote(NASTY)}",
    ):
        page = admin.get(where).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page
    after = admin.post(f"{address(key)}delete/", follow=True).text
    assert "<script>alert" not in after
    assert "<script>alert" not in admin.get("/admin/").text


def test_the_pages_need_no_inline_script_or_style(admin: Client, redis: Redis) -> None:
    key = keep(redis)
    for where in (LIST, address(key), f"{address(key)}delete/", f"{LIST}delete/"):
        response = admin.get(where)
        assert "unsafe-inline" not in response["Content-Security-Policy"]
        content = response.text.split('<div id="content-main">')[1]
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=", content.split("<footer")[0])


def test_broken_entries_do_not_break_the_page(admin: Client, redis: Redis) -> None:
    good, unreadable = keep(redis, "good"), keep(redis, "unreadable")
    redis.hset(unreadable, "body", b"\x00\xff")
    redis.hset(f"{PREFIX}web_search:{'0' * 64}", mapping={"about": "{", "fetched": "x"})
    redis.set(f"{PREFIX}web_search:{'1' * 64}", "of another type")
    redis.hset(
        f"{PREFIX}web_search:{'2' * 64}",
        mapping={"about": redis.hget(good, "about"), "fetched": "1e99", "soft": "nan"},
    )  # type: ignore[dict-item]
    for stray in (b"\xff:1", b"a b:" + b"0" * 64, b"web_search", b":"):
        redis.copy(good, PREFIX.encode() + stray)  # type: ignore[arg-type]
    page = admin.get(LIST).text
    assert "good" in page
    assert "<dd>5</dd>" in page, "keys that are no entries do not count"
    assert admin.get(f"{LIST}?q=good").status_code == 200
    assert "cannot be read" in admin.get(address(unreadable)).text


@pytest.mark.parametrize(
    "path",
    [
        "web_search/abc/",
        f"web_search/{'Z' * 64}/",
        f"../{'0' * 64}/",
        f"WEB/{'0' * 64}/",
        f"web_search/{'0' * 63}/",
    ],
)
def test_only_places_of_entries_can_be_looked_at(admin: Client, redis: Redis, path: str) -> None:
    assert admin.get(LIST + path).status_code == 404


def test_an_entry_that_is_gone_leads_back_to_the_list(admin: Client, redis: Redis) -> None:
    response = admin.get(f"{LIST}web_search/{'0' * 64}/", follow=True)
    assert "not kept any longer" in response.text


# --- Deleting -------------------------------------------------------------------------------------


def test_one_entry_is_deleted_after_a_confirmation_and_that_is_logged(
    admin: Client, redis: Redis
) -> None:
    key, other = keep(redis, "capital of peru"), keep(redis, "other")
    assert "I’m sure" in admin.get(f"{address(key)}delete/").text
    assert redis.exists(key)
    assert "was deleted" in admin.post(f"{address(key)}delete/", follow=True).text
    assert not redis.exists(key)
    assert redis.exists(other)
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.object_repr) == (key, "capital of peru")


@pytest.mark.parametrize(
    ("filters", "gone"),
    [
        ({"q": "peru"}, {"a peru", "b peru", "c peru"}),
        ({"tool": "web_search"}, {"a peru", "b peru", "lima"}),
        ({"tool": "other_tool", "q": "peru"}, {"c peru"}),
        ({}, {"a peru", "b peru", "lima", "c peru"}),
        ({"q": "nothing"}, set()),
    ],
)
def test_a_filter_or_a_whole_tool_is_deleted(
    admin: Client, redis: Redis, filters: dict[str, str], gone: set[str]
) -> None:
    keys = {query: keep(redis, query) for query in ("a peru", "b peru", "lima")} | {
        "c peru": keep(redis, "c peru", tool="other_tool")
    }
    redis.set("fleet:run:something-else", "x")
    asked = admin.get(f"{LIST}delete/", filters).text
    assert re.search(rf"Delete\s+{len(gone)}\s", asked)
    assert f"{len(gone)} deleted" in admin.post(f"{LIST}delete/", filters, follow=True).text
    assert {query for query, key in keys.items() if not redis.exists(key)} == gone
    assert redis.exists("fleet:run:something-else")


def test_a_closed_tool_is_shown_and_can_be_tried_again(admin: Client, redis: Redis) -> None:
    key = f"{CLOSED_PREFIX}web_search:abc"
    redis.set(
        key,
        msgspec.json.encode(
            Failure("The limit of the search plan is reached.", "", False, True, 1)
        ),
        ex=3600,
    )
    redis.sadd(CLOSED_INDEX, key)
    page = admin.get(LIST).text
    assert "web_search is closed" in page
    assert "The limit of the search plan is reached." in page
    assert admin.post(f"{LIST}reopen/", {"tool": "web_search"}, follow=True).status_code == 200
    assert not redis.exists(key)


# --- Who may --------------------------------------------------------------------------------------


def test_a_tool_that_is_closed_for_no_known_reason_is_shown_too(
    admin: Client, redis: Redis
) -> None:
    redis.sadd(CLOSED_INDEX, f"{CLOSED_PREFIX}web_search:acc")
    redis.set(f"{CLOSED_PREFIX}web_search:acc", "nonsense", ex=60)
    assert "web_search is closed" in admin.get(LIST).text


def test_who_may_do_what(redis: Redis) -> None:
    key = keep(redis)
    reading = [LIST, address(key)]
    asking = [f"{address(key)}delete/", f"{LIST}delete/"]
    people = {
        "stranger": (Client(), 302, 302),
        "user": (
            signed_in("user", "view_cachedresult", "delete_cachedresult", staff=False),
            302,
            302,
        ),
        "staff": (signed_in("staff"), 403, 403),
        "viewer": (signed_in("viewer", "view_cachedresult"), 200, 403),
        "deleter": (signed_in("deleter", "view_cachedresult", "delete_cachedresult"), 200, 200),
    }
    for name, (client, may_read, may_delete) in people.items():
        for where in reading:
            assert client.get(where).status_code == may_read, (name, where)
        for where in asking:
            assert client.get(where).status_code == may_delete, (name, where)
            if may_delete != 200:
                assert client.post(where).status_code == may_delete, (name, where)
        if may_delete != 200:
            assert client.post(f"{LIST}reopen/", {"tool": "web_search"}).status_code == may_delete
        assert redis.exists(key)


def test_who_may_not_delete_is_not_offered_to(redis: Redis) -> None:
    key = keep(redis)
    viewer = signed_in("viewer", "view_cachedresult")
    assert "deletelink" not in viewer.get(address(key)).text
    assert "delete/?" not in viewer.get(LIST).text


def test_deleting_needs_a_post_with_a_token(redis: Redis) -> None:
    key = keep(redis)
    User.objects.create_superuser("eve", password="x")
    client = Client(enforce_csrf_checks=True)
    client.login(username="eve", password="x")
    for where in (f"{address(key)}delete/", f"{LIST}delete/", f"{LIST}reopen/"):
        assert client.post(where).status_code == 403
    assert client.get(f"{LIST}reopen/").status_code == 405
    assert redis.exists(key)


# --- Much, and nothing ----------------------------------------------------------------------------


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
def test_pages_of_a_large_cache_are_bounded_and_lead_through_all_of_it(
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


def test_a_search_for_a_needle_looks_at_a_part_and_says_so(
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


def test_deleting_much_is_bounded_in_time_and_says_what_is_left(
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
def test_without_redis_every_page_says_so(admin: Client, settings: Any, path: str) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    for response in (
        admin.get(LIST + path),
        *([admin.post(LIST + path)] if "delete" in path else []),
    ):
        assert response.status_code == 503
        assert "Redis does not answer" in response.text


# --- Numbers in words -----------------------------------------------------------------------------


def test_numbers_are_worded() -> None:
    assert [duration(seconds) for seconds in (0, 0.9, 59, 60, 61, 3700, 36_000, 90_000, 864_000)] == [
        "0 s", "0 s", "59 s", "1 min", "1 min 1 s", "1 h 1 min", "10 h", "1 d 1 h", "10 d",
    ]  # fmt: skip
    assert [size(count) for count in (0, 1023, 1024, 1536, 200_000, 5 * 2**20, 2**31)] == [
        "0 B", "1,023 B", "1.0 KiB", "1.5 KiB", "195 KiB", "5.0 MiB", "2.0 GiB",
    ]  # fmt: skip
    assert [grouped(1234), grouped(0.5), percent(None), percent(0.256)] == [
        "1,234",
        "0.5",
        "–",
        "26 %",
    ]
