"""The admin's page of what models refuse: what it shows, what it forgets, and for whom."""

import time
from collections.abc import Iterator

import msgspec
import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client, override_settings
from redis import Redis

from chat.llm.refusals.changes import Change
from chat.llm.refusals.memory import Refusal
from chat.refusals import KEY, digest_of
from tests.tooling.inspector.entries import signed_in

pytestmark = pytest.mark.django_db

LIST = "/admin/chat/refusedpart/"
NASTY = "<script>alert(1)</script>"
NO_REDIS = "redis://127.0.0.1:1"


@pytest.fixture
def redis(valkey_url: str) -> Iterator[Redis]:
    client = Redis.from_url(valkey_url, protocol=2)
    client.delete(KEY)
    yield client
    client.delete(KEY)
    client.close()


@pytest.fixture
def admin() -> Client:
    return signed_in("ada", superuser=True)


def keep(redis: Redis, change: Change, *, model: str = "some", left: float = 3000) -> str:
    """Put a refusal where a worker would, and return the address of its button."""
    now = time.time()
    refusal = Refusal("models.example:8000", model, change, now - 600, now + left)
    redis.hset(KEY, digest_of(refusal), msgspec.json.encode(refusal))
    return f"{LIST}{digest_of(refusal)}/forget/"


def test_list_shows_server_model_and_change(admin: Client, redis: Redis) -> None:
    keep(redis, Change("tools"))
    keep(redis, Change("max_tokens", "max_completion_tokens"), model="other")
    page = admin.get(LIST).text
    for shown in (
        "models.example:8000",
        "some",
        "without tools",
        "other",
        "max_tokens → max_completion_tokens",
    ):
        assert shown in page
    assert LIST in admin.get("/admin/").text


def test_list_leaves_out_what_is_over_or_unreadable(admin: Client, redis: Redis) -> None:
    keep(redis, Change("tools"), left=-1)
    redis.hset(KEY, "x", b"\xff")
    page = admin.get(LIST)
    assert page.status_code == 200
    assert "No model has refused" in page.text


def test_forget_removes_one_refusal(admin: Client, redis: Redis) -> None:
    keep(redis, Change("stream_options"))
    page = admin.post(keep(redis, Change("tools")), follow=True).text
    assert "“without tools” was forgotten for some." in page
    assert redis.hlen(KEY) == 1
    assert "without stream_options" in page
    assert LogEntry.objects.get().object_repr == "some: without tools"


def test_forget_of_what_is_forgotten_says_so(admin: Client, redis: Redis) -> None:
    page = admin.post(f"{LIST}{'0' * 64}/forget/", follow=True).text
    assert "not remembered any longer" in page
    assert not LogEntry.objects.exists()


def test_each_page_needs_its_permission(redis: Redis) -> None:
    forget = keep(redis, Change("tools"))
    people = {
        "stranger": (Client(), 302, 302),
        "user": (
            signed_in("user", "view_refusedpart", "delete_refusedpart", staff=False),
            302,
            302,
        ),
        "staff": (signed_in("staff"), 403, 403),
        "viewer": (signed_in("viewer", "view_refusedpart"), 200, 403),
        "deleter": (signed_in("deleter", "view_refusedpart", "delete_refusedpart"), 200, 302),
    }
    for name, (client, may_read, may_forget) in people.items():
        assert client.get(LIST).status_code == may_read, name
        assert redis.hlen(KEY) == 1, name
        assert client.post(forget).status_code == may_forget, name
    assert not redis.exists(KEY)


def test_button_is_offered_only_with_the_permission(redis: Redis) -> None:
    keep(redis, Change("tools"))
    assert "Forget" not in signed_in("viewer", "view_refusedpart").get(LIST).text


def test_forget_needs_a_post_with_a_token(redis: Redis) -> None:
    forget = keep(redis, Change("tools"))
    admin = signed_in("ada", superuser=True)
    assert admin.get(forget).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = admin.cookies
    assert strict.post(forget).status_code == 403
    assert redis.exists(KEY)


def test_names_of_models_are_escaped(admin: Client, redis: Redis) -> None:
    forget = keep(redis, Change("tools"), model=NASTY)
    assert NASTY not in admin.get(LIST).text
    assert NASTY not in admin.post(forget, follow=True).text
    assert NASTY not in admin.get("/admin/").text


def test_page_has_no_inline_script_or_style(admin: Client, redis: Redis) -> None:
    keep(redis, Change("tools"))
    content = admin.get(LIST).text.split('<div id="content-main">')[1].split("<footer")[0]
    assert "<script" not in content
    assert "style=" not in content


def test_page_without_redis_says_so(admin: Client) -> None:
    with override_settings(REDIS_URL=NO_REDIS):
        for page in (admin.get(LIST), admin.post(f"{LIST}{'0' * 64}/forget/")):
            assert page.status_code == 503
            assert "Redis does not answer" in page.text
