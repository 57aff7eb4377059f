"""The page of an account: what its owner sees, changes and ends there."""

from dataclasses import replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from chat.access.leaving import tag_of_session
from chat.access.limits import Limit
from chat.access.signins import Session
from chat.accounts.devices import browser_of
from chat.accounts.trying import PASSWORDS

from .people import PASSWORD, PHONE, is_signed_in, signed_in

pytestmark = pytest.mark.django_db

NEW = "another good password"


def changed(client: Client, what: str, **fields: str) -> int:
    return client.post(f"/account/{what}/", fields).status_code


def new_password(old: str = PASSWORD, new: str = NEW) -> dict[str, str]:
    return {"old_password": old, "new_password1": new, "new_password2": new}


def html_of(client: Client) -> str:
    return client.get("/account/").content.decode()


def test_page_shows_name_address_and_this_browser() -> None:
    html = html_of(signed_in(agent=PHONE))
    assert 'value="ann"' in html
    assert 'value="ann@chat.example"' in html
    assert html.count("Safari on iPhone") == 1
    assert "this one" in html


def test_strangers_are_asked_to_sign_in_and_browsers_have_chats_only(
    client: Client, settings
) -> None:
    html = html_of(client)
    assert "This browser" in html
    assert "change_password" not in html
    assert changed(client, "password", **new_password()) == 302
    settings.FLEET_AUTH = "required"
    assert client.get("/account/").url == "/login/?next=/account/"


def test_name_is_changed_unless_somebody_else_has_it() -> None:
    client = signed_in()
    User.objects.create_user("bob")
    mine = {"email": "ann@chat.example"}
    assert changed(client, "profile", username="Bob", **mine) == 422
    assert changed(client, "profile", username="anna", **mine) == 302
    assert set(User.objects.values_list("username", flat=True)) == {"anna", "bob"}
    assert "anna" in html_of(client)


def test_new_email_address_needs_the_password() -> None:
    client = signed_in()
    new = {"username": "ann", "email": "new@chat.example"}
    for password in ("", "wrong"):
        assert changed(client, "profile", password=password, **new) == 422
    assert User.objects.get().email == "ann@chat.example"
    assert changed(client, "profile", password=PASSWORD, **new) == 302
    assert User.objects.get().email == "new@chat.example"


def test_new_password_signs_out_everywhere_else() -> None:
    client, elsewhere, bob = signed_in(), signed_in(), signed_in("bob")
    assert changed(client, "password", **new_password()) == 302
    assert Session.objects.filter(user__username="ann").count() == 1
    assert is_signed_in(client)
    assert not is_signed_in(elsewhere)
    assert is_signed_in(bob)
    assert client.post("/login/", {"username": "ann", "password": NEW}).status_code == 302


@pytest.mark.parametrize("new", ["short", "1234567890123", "password1234", "ann@chat.example"])
def test_poor_password_is_refused_with_the_reason(new: str) -> None:
    client = signed_in()
    response = client.post("/account/password/", new_password(new=new))
    assert response.status_code == 422
    assert "password" in response.context["password"].errors["new_password2"][0]
    assert User.objects.get().check_password(PASSWORD)


def test_password_is_guessed_no_more_often_here_than_at_the_door() -> None:
    client = signed_in()
    for _ in range(PASSWORDS.count):
        assert changed(client, "password", **new_password("wrong")) == 422
    response = client.post("/account/password/", new_password())
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0
    assert User.objects.get().check_password(PASSWORD)


# --- Sign-ins


def test_person_ends_one_sign_in_or_all_others() -> None:
    client, phone, third, bob = signed_in(), signed_in(agent=PHONE), signed_in(), signed_in("bob")
    tag = tag_of_session(phone.session.session_key or "")
    assert "Sign out Safari on iPhone" in html_of(client)
    assert changed(bob, f"sessions/{tag}/end") == 302
    assert is_signed_in(phone)
    assert changed(client, f"sessions/{tag}/end") == 302
    assert not is_signed_in(phone)
    assert is_signed_in(third)
    assert changed(client, "sessions/end") == 302
    assert not is_signed_in(third)
    assert is_signed_in(client)
    assert is_signed_in(bob)


def test_page_shows_no_key_of_a_session_and_none_that_has_expired() -> None:
    client, phone = signed_in(), signed_in(agent=PHONE)
    html = html_of(client)
    for each in (client, phone):
        assert (each.session.session_key or "") not in html
    Session.objects.filter(pk=phone.session.session_key).update(
        expire_date=timezone.now() - timedelta(days=1)
    )
    assert "iPhone" not in html_of(client)


def test_person_who_is_made_inactive_is_signed_out_everywhere() -> None:
    client = signed_in()
    user = User.objects.get()
    user.is_active = False
    user.save()
    assert not Session.objects.exists()
    assert not is_signed_in(client)


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (PHONE, "Safari on iPhone"),
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox on Linux",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
            " Chrome/140.0 Safari/537.36 Edg/140.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("curl/8", "Unknown browser"),
        ("", "Unknown browser"),
    ],
)
def test_browser_is_named_by_what_it_says_of_itself(agent: str, words: str) -> None:
    assert browser_of(agent) == words


def test_page_shows_what_is_used_up(client: Client, settings) -> None:
    settings.FLEET_LIMITS = replace(settings.FLEET_LIMITS, questions=Limit(20, 40, 600))
    assert "0 of 20" in html_of(signed_in())
    of_browser = html_of(client)
    assert "0 of 20" in of_browser
    assert "Questions in the last minute, of your network address" in of_browser
    assert "0 of 40" in of_browser
    assert "of 600" not in of_browser
