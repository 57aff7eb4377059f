"""The cache inspector: what it shows, what it deletes, and for whom."""

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import msgspec
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from redis import Redis

from tooling.entries import CLOSED_INDEX, CLOSED_PREFIX, DAY_PREFIX, PREFIX, Failure
from tooling.templatetags.tooling_cache import duration, grouped, percent, size

from .entries import LIST, address, keep, signed_in

pytestmark = pytest.mark.django_db

EVERYTHING = {"capital of peru", "elections", "third"}
NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>"

# --- What is shown --------------------------------------------------------------------------------


def test_admin_index_lists_the_inspector(admin: Client) -> None:
    page = admin.get("/admin/").text
    assert "Cached results" in page
    assert LIST in page


def test_list_shows_query_topic_age_time_left_hits_and_size(admin: Client, redis: Redis) -> None:
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


def test_list_reports_an_empty_cache(admin: Client, redis: Redis) -> None:
    assert "Nothing is cached yet" in admin.get(LIST).text


def test_entry_page_shows_key_parameters_and_value(admin: Client, redis: Redis) -> None:
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
def test_list_is_filtered_by_tool_and_text(
    admin: Client, redis: Redis, query: str, found: set[str]
) -> None:
    keep(redis, "capital of peru")
    keep(redis, "elections", topic="news")
    keep(redis, "third", tool="other_tool")
    response = admin.get(f"{LIST}?{query}")
    assert response.status_code == 200
    assert set(re.findall(r'field-query"><a [^>]*>([^<]+)<', response.text)) == found


def test_text_from_the_web_is_escaped_on_every_page(admin: Client, redis: Redis) -> None:
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


def test_pages_have_no_inline_script_or_style(admin: Client, redis: Redis) -> None:
    key = keep(redis)
    for where in (LIST, address(key), f"{address(key)}delete/", f"{LIST}delete/"):
        response = admin.get(where)
        assert "unsafe-inline" not in response["Content-Security-Policy"]
        content = response.text.split('<div id="content-main">')[1]
        assert not re.search(r"<script|<style|\sstyle=|\son\w+=", content.split("<footer")[0])


def test_list_leaves_out_broken_entries(admin: Client, redis: Redis) -> None:
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
def test_keys_of_other_data_are_not_found(admin: Client, redis: Redis, path: str) -> None:
    assert admin.get(LIST + path).status_code == 404


def test_expired_entry_redirects_to_the_list(admin: Client, redis: Redis) -> None:
    response = admin.get(f"{LIST}web_search/{'0' * 64}/", follow=True)
    assert "not kept any longer" in response.text


# --- Deleting -------------------------------------------------------------------------------------


def test_deletion_of_an_entry_is_confirmed_and_logged(admin: Client, redis: Redis) -> None:
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
def test_filtered_entries_or_a_whole_tool_can_be_deleted(
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


def test_closed_tool_is_shown_and_can_be_reopened(admin: Client, redis: Redis) -> None:
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


def test_tool_closed_by_an_unreadable_failure_is_shown(admin: Client, redis: Redis) -> None:
    redis.sadd(CLOSED_INDEX, f"{CLOSED_PREFIX}web_search:acc")
    redis.set(f"{CLOSED_PREFIX}web_search:acc", "nonsense", ex=60)
    assert "web_search is closed" in admin.get(LIST).text


def test_each_page_needs_its_permission(redis: Redis) -> None:
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


def test_words_need_the_permission_to_read_content(redis: Redis) -> None:
    key = keep(redis, "capital of peru", topic="newsy")
    keep(redis, "other")
    deleter = signed_in("deleter", "view_cachedresult", "delete_cachedresult")
    for where in (LIST, address(key), f"{address(key)}delete/"):
        page = deleter.get(where).text
        assert "peru" not in page
        assert "newsy" not in page
        assert "Lima" not in page
        assert "15 characters" in page
    searched = deleter.get(f"{LIST}?q=peru").text
    assert "needs the permission to read content" in searched
    assert searched.count("field-query") == 2, "the results would show which words there are"
    # Deleting what matches would show it, too.
    assert deleter.get(f"{LIST}delete/?q=peru").status_code == 403
    assert deleter.post(f"{LIST}delete/", {"q": "peru"}).status_code == 403
    assert redis.exists(key)
    assert "peru" not in deleter.post(f"{address(key)}delete/", follow=True).text
    assert LogEntry.objects.get().object_repr == key
    reader = signed_in("reader", "view_cachedresult", "read_content")
    assert "other" in reader.get(f"{LIST}?q=other").text


def test_pages_offer_no_deletion_without_the_permission(redis: Redis) -> None:
    key = keep(redis)
    viewer = signed_in("viewer", "view_cachedresult")
    assert "deletelink" not in viewer.get(address(key)).text
    assert "delete/?" not in viewer.get(LIST).text


def test_deletion_needs_a_post_with_a_csrf_token(redis: Redis) -> None:
    key = keep(redis)
    User.objects.create_superuser("eve", password="x")
    client = Client(enforce_csrf_checks=True)
    client.login(username="eve", password="x")
    for where in (f"{address(key)}delete/", f"{LIST}delete/", f"{LIST}reopen/"):
        assert client.post(where).status_code == 403
    assert client.get(f"{LIST}reopen/").status_code == 405
    assert redis.exists(key)


# --- Numbers --------------------------------------------------------------------------------------


def test_numbers_are_formatted() -> None:
    times = (0, 0.9, 59, 60, 61, 3700, 36_000, 90_000, 864_000)
    assert [duration(seconds) for seconds in times] == [
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
