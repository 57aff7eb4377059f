"""Single sign-on at a real fleet, with an OpenID Connect server on loopback."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest

from agenticfleet import accounts
from tests.scripted_model import ScriptedModel
from tests.serving import Fleet, running

from .oidc_server import CLIENT_ID, SECRET, OidcServer

START = "/sso/login/"
ANN = {"sub": "1", "preferred_username": "ann", "email": "ann@chat.example"}


@pytest.fixture(scope="module")
def server() -> Iterator[OidcServer]:
    server = OidcServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fleet(
    tmp_path_factory: pytest.TempPathFactory, model_server: ScriptedModel, server: OidcServer
) -> Iterator[Fleet]:
    settings = {
        "FLEET_AUTH": "required",
        "FLEET_OIDC_URL": server.url,
        "FLEET_OIDC_CLIENT_ID": CLIENT_ID,
        "FLEET_OIDC_CLIENT_SECRET": SECRET,
        "FLEET_OIDC_NAME": "Example Inc.",
    }
    folder = tmp_path_factory.mktemp("fleet")
    with running(folder, model_server, "--workers", "1", **settings) as fleet:
        yield fleet


@pytest.fixture
def browser(fleet: Fleet) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fleet.address, follow_redirects=True, trust_env=False) as client:
        yield client


def rows(fleet: Fleet, query: str, *parameters: Any) -> list[Any]:
    with closing(sqlite3.connect(fleet.folder / "state/fleet.sqlite3")) as database:
        found = database.execute(query, parameters).fetchall()
        database.commit()
        return found


def users(fleet: Fleet) -> list[tuple[str, str]]:
    query = "select username, password from auth_user where username != 'admin' order by id"
    return rows(fleet, query)


def forget(fleet: Fleet) -> None:
    for table in ("socialaccount_socialaccount", "account_emailaddress", "chat_session"):
        rows(fleet, f"delete from {table}")
    rows(fleet, "delete from auth_user where username != 'admin'")


@pytest.fixture(autouse=True)
def _afresh(fleet: Fleet, server: OidcServer) -> None:
    server.reset(**ANN)
    forget(fleet)


def test_first_sign_in_makes_an_account_and_the_next_finds_it(
    fleet: Fleet, browser: httpx.Client
) -> None:
    page = browser.get("/")
    assert "Sign in with Example Inc." in page.text
    assert 'href="/sso/login/?next=/"' in page.text
    page = browser.get(START, params={"next": "/account/"})
    assert page.url.path == "/account/"
    assert "ann" in page.text
    assert "change_password" not in page.text
    [(name, password)] = users(fleet)
    assert name == "ann"
    assert password.startswith("!")
    browser.cookies.clear()
    assert browser.get(START).url.path == "/"
    assert len(users(fleet)) == 1
    sessions = rows(fleet, "select count(*) from chat_session where user_id is not null")
    assert sessions == [(2,)]


def test_account_with_the_same_address_or_name_is_not_taken_over(
    fleet: Fleet, browser: httpx.Client
) -> None:
    rows(
        fleet,
        "insert into auth_user (username, password, email, is_superuser, is_staff, is_active,"
        " first_name, last_name, date_joined) values ('ann', 'x', 'ann@chat.example', 1, 1, 1, '',"
        " '', '2026-01-01')",
    )
    browser.get(START)
    [(first, _), (second, password)] = users(fleet)
    assert first == "ann"
    assert second != "ann"
    assert password.startswith("!")
    assert browser.get("/admin/").status_code == 403


@pytest.mark.parametrize(
    "fault",
    [
        {"error": "server_error"},
        {"token_status": 500},
        {"wrong_claims": {"aud": "another"}},
        {"wrong_claims": {"iss": "https://another.example"}},
        {"wrong_claims": {"exp": 1}},
    ],
)
def test_what_is_not_confirmed_signs_nobody_in(
    fleet: Fleet, server: OidcServer, browser: httpx.Client, fault: dict[str, Any]
) -> None:
    for name, value in fault.items():
        setattr(server, name, value)
    page = browser.get(START)
    assert page.status_code == 403
    assert "Not signed in" in page.text
    assert users(fleet) == []
    assert browser.get("/account/").url.path == "/login/"


def test_person_who_cancels_is_back_at_the_door(server: OidcServer, browser: httpx.Client) -> None:
    server.error = "access_denied"
    assert browser.get(START).url.path == "/login/"


def test_answer_that_nobody_asked_for_is_refused(fleet: Fleet, browser: httpx.Client) -> None:
    page = browser.get("/sso/callback/", params={"code": "x", "state": "y"})
    assert page.status_code == 403
    assert users(fleet) == []


def test_only_pages_of_this_server_lead_to_the_other_one(browser: httpx.Client) -> None:
    page = browser.get(START, headers={"Sec-Fetch-Site": "cross-site"})
    assert page.url.path == "/login/"


def test_signed_in_person_is_joined_with_no_other_person(
    fleet: Fleet, browser: httpx.Client, server: OidcServer
) -> None:
    browser.get(START)
    server.reset(sub="2", preferred_username="bob")
    browser.get(START, params={"process": "connect"})
    accounts = rows(fleet, "select user_id, uid from socialaccount_socialaccount order by uid")
    assert [uid for _, uid in accounts] == ["1", "2"]
    assert len({user_id for user_id, _ in accounts}) == 2


def test_inactive_account_is_refused_with_words(fleet: Fleet, browser: httpx.Client) -> None:
    browser.get(START)
    rows(fleet, "update auth_user set is_active = 0 where username = 'ann'")
    browser.cookies.clear()
    page = browser.get(START)
    assert page.status_code == 403
    assert "may not sign in here any more" in page.text


def test_account_is_deleted_by_its_name(fleet: Fleet, browser: httpx.Client) -> None:
    browser.get(START)
    page = browser.get("/account/delete/")
    token = page.text.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
    fields = {"csrfmiddlewaretoken": token, "name": "ann"}
    assert "The account is deleted" in browser.post("/account/delete/", data=fields).text
    assert users(fleet) == []
    assert rows(fleet, "select count(*) from socialaccount_socialaccount") == [(0,)]


def test_server_that_is_away_is_told(
    browser: httpx.Client, server: OidcServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OidcServer, "configuration", {})
    page = browser.get(START)
    assert page.status_code == 403
    assert "does not answer as it must" in page.text


@pytest.mark.parametrize(
    ("url", "client_id", "problem"),
    [
        ("http://login.example", "a", "must start with https://."),
        ("https://login.example", "", "FLEET_OIDC_CLIENT_ID"),
        ("", "a", "FLEET_OIDC_CLIENT_ID"),
        ("https://login.example", "a", ""),
        ("http://localhost:8080", "a", ""),
    ],
)
def test_problem_of_the_settings_is_one_line(url: str, client_id: str, problem: str) -> None:
    told = accounts.sso_problem(url, client_id, "secret")
    assert problem in told
    assert bool(told) == bool(problem)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "is_installed", lambda module: False)
    told = accounts.sso_problem("https://login.example", "a", "b")
    assert told == "needs django-allauth: uv sync --extra sso"
