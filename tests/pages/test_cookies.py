"""Cookies: several installations and other sites on one host cost a browser nothing."""

import hmac
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from chat.access import sessions
from chat.access.browsers import session_store
from chat.access.signins import Session
from chat.database import in_database
from chat.models import Run
from tests.chatting import Chatting, cookie_header

from .conversations import address, conversation_of, owner_of, page, run_of

pytestmark = pytest.mark.django_db

DJANGO_NAMES = {"sessionid", "csrftoken", "django_language", "messages"}
ORIGIN = "http://testserver"


def signed_in(name: str = "ann") -> Client:
    client = Client()
    client.force_login(User.objects.create_user(name, password="a good password"))
    return client


def client_of_the_version_before() -> Client:
    """Return a browser whose id is in a session under Django's own cookie name."""
    store = session_store(None)
    store["browser_id"] = "0123456789abcdef"
    store.save()
    client = Client()
    client.cookies["sessionid"] = store.session_key
    return client


def test_no_cookie_has_the_name_that_all_django_sites_share(client: Client) -> None:
    User.objects.create_user("ann", password="a good password")
    chat = conversation_of(client)
    run_of(chat, ending=None)
    client.get("/login/")
    client.post(address(chat, "delete"))  # is refused with a message
    client.post("/login/", {"username": "ann", "password": "a good password"})
    assert len(client.cookies) >= 3
    assert not DJANGO_NAMES & set(client.cookies)
    assert all(django_settings.FLEET_INSTALLATION in name for name in client.cookies)
    assert django_settings.FLEET_INSTALLATION in django_settings.LANGUAGE_COOKIE_NAME


def test_names_depend_on_the_key_that_all_workers_share() -> None:
    digest = hmac.new(django_settings.SECRET_KEY.encode(), b"installation", "sha256").hexdigest()
    assert digest.startswith(django_settings.FLEET_INSTALLATION)


def test_browser_is_told_apart_by_a_cookie_that_scripts_cannot_read(client: Client) -> None:
    response = client.get("/", secure=True)
    cookie = response.cookies[django_settings.FLEET_BROWSER_COOKIE]
    assert cookie["httponly"]
    assert cookie["secure"]
    assert cookie["samesite"] == "Lax"
    assert cookie["max-age"] > 360 * 86_400


@pytest.mark.parametrize("is_secure", [True, False])
def test_all_cookies_are_for_https_alone_where_people_use_it(is_secure: bool) -> None:
    User.objects.create_user("ann", password="a good password")
    client = Client()
    client.get("/", secure=is_secure)
    client.post("/login/", {"username": "ann", "password": "a good password"}, secure=is_secure)
    client.get("/login/", secure=is_secure)
    assert len(client.cookies) == 3
    assert {bool(cookie["secure"]) for cookie in client.cookies.values()} == {is_secure}


def test_cookie_of_a_browser_cannot_be_made_up(client: Client, stranger: Client) -> None:
    owner = conversation_of(client, "mine").owner
    stranger.cookies[django_settings.FLEET_BROWSER_COOKIE] = owner.removeprefix("browser:")
    assert "mine</span>" not in page(stranger, "/")
    assert owner_of(stranger) != owner


def test_anonymous_visit_stores_nothing(client: Client) -> None:
    client.get("/")
    assert not Session.objects.exists()


@pytest.mark.parametrize("fate", ["foreign key", "no cookie", "empty table", "signed out"])
def test_lost_session_costs_no_chats(client: Client, fate: str) -> None:
    chat = conversation_of(client, "of this browser")
    name = django_settings.SESSION_COOKIE_NAME
    if fate == "foreign key":
        client.cookies[name] = client.cookies["sessionid"] = "k" * 32
    elif fate == "no cookie":
        client.cookies.pop(name, None)
    elif fate == "empty table":
        Session.objects.all().delete()
    else:
        client.post("/logout/")
    for _ in range(2):
        assert "of this browser" in page(client, address(chat))


def test_browser_of_the_version_before_keeps_its_chats() -> None:
    client = client_of_the_version_before()
    chat = conversation_of(client)
    assert chat.owner == "browser:0123456789abcdef"
    assert client.get(address(chat)).status_code == 200
    # Its session is needed no longer, nor what another site puts into that cookie.
    Session.objects.all().delete()
    client.cookies["sessionid"] = "k" * 32
    assert client.get(address(chat)).status_code == 200


def test_person_who_was_signed_in_under_the_version_before_still_is() -> None:
    client = signed_in()
    client.cookies["sessionid"] = client.cookies.pop(django_settings.SESSION_COOKIE_NAME).value
    store = session_store(client.cookies["sessionid"].value)
    del store[sessions.RENEWED_KEY]
    store.save()
    assert "Sign out" in page(client, "/")
    assert django_settings.SESSION_COOKIE_NAME in client.cookies
    client.post("/logout/")
    assert "Sign out" not in page(client, "/")


@pytest.mark.django_db(transaction=True)
async def test_socket_of_a_page_of_the_version_before_is_its_browsers(chat: Chatting) -> None:
    client = await in_database(client_of_the_version_before)
    events = await chat.answer(headers={"cookie": cookie_header(client), "origin": ORIGIN})
    run = await Run.objects.aget(pk=events[0]["workflow_id"])
    assert run.owner == "browser:0123456789abcdef"


@pytest.mark.django_db(transaction=True)
async def test_socket_of_a_person_of_the_version_before_is_theirs(chat: Chatting) -> None:
    client = await in_database(signed_in)
    name = django_settings.SESSION_COOKIE_NAME
    client.cookies["sessionid"] = client.cookies.pop(name).value
    events = await chat.answer(headers={"cookie": cookie_header(client), "origin": ORIGIN})
    run = await Run.objects.aget(pk=events[0]["workflow_id"])
    assert run.owner.startswith("user:")


@pytest.mark.django_db(transaction=True)
async def test_socket_with_an_unknown_session_is_its_browsers(chat: Chatting) -> None:
    client = Client()
    owner = await in_database(owner_of, client)
    client.cookies[django_settings.SESSION_COOKIE_NAME] = "k" * 32
    events = await chat.answer(headers={"cookie": cookie_header(client), "origin": ORIGIN})
    assert (await Run.objects.aget(pk=events[0]["workflow_id"])).owner == owner


# --- How long


def test_cookie_of_a_browser_is_renewed_once_a_day(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = django_settings.FLEET_BROWSER_COOKIE
    owner = owner_of(client)
    assert name not in client.get("/").cookies
    monkeypatch.setattr("chat.access.browsers.RENEWED_AFTER", -1)
    assert name in client.get("/").cookies
    assert owner_of(client) == owner


def test_session_is_extended_at_most_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    client = signed_in()
    soon = timezone.now() + timedelta(days=1)
    Session.objects.update(expire_date=soon)
    client.get("/")
    assert Session.objects.get().expire_date == soon
    monkeypatch.setattr(sessions, "RENEWED_AFTER", -1)
    response = client.get("/")
    assert Session.objects.get().expire_date > timezone.now() + timedelta(days=13)
    assert response.cookies[django_settings.SESSION_COOKIE_NAME]["max-age"] == 14 * 86_400


def test_session_gets_a_new_key_at_sign_in(client: Client) -> None:
    client.get("/login/")
    store = session_store(None)
    store["planted"] = True
    store.save()
    client.cookies[django_settings.SESSION_COOKIE_NAME] = store.session_key
    User.objects.create_user("ann", password="a good password")
    client.post("/login/", {"username": "ann", "password": "a good password"})
    assert client.cookies[django_settings.SESSION_COOKIE_NAME].value != store.session_key
    assert not Session.objects.filter(pk=store.session_key).exists()


def test_browser_gets_no_cookie_if_signing_in_is_required(
    client: Client, settings: Settings
) -> None:
    settings.FLEET_AUTH = "required"
    assert django_settings.FLEET_BROWSER_COOKIE not in client.get("/").cookies


# --- No cache


@pytest.mark.parametrize(
    "path", ["/", "/chats/", "/current/", "/login/", "/c/{}/", "/c/{}/totals/", "/answers/{}/text/"]
)
def test_no_cache_keeps_what_people_wrote(client: Client, path: str) -> None:
    chat = conversation_of(client)
    run = run_of(chat)
    response = client.get(path.format(run.pk if "answers" in path else chat.pk))
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]


@pytest.mark.parametrize(
    "path", ["/admin/chat/run/", "/admin/chat/run/{}/change/", "/admin/chat/run/export.csv"]
)
def test_no_cache_keeps_the_pages_of_the_admin(admin_client: Client, path: str) -> None:
    run = run_of(conversation_of(Client()))
    response = admin_client.get(path.format(run.pk))
    assert response.status_code == 200
    assert "no-store" in response.headers["Cache-Control"]
