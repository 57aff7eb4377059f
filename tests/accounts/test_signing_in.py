"""Signing in: how often a password may be wrong, what is logged, and how passwords are kept."""

import re

import pytest
from django.contrib.auth.hashers import identify_hasher, make_password
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from agenticfleet.accounts import PASSWORD_HASHERS
from chat.accounts import passwords
from chat.accounts.trying import PASSWORDS, PASSWORDS_OF_ADDRESS

pytestmark = pytest.mark.django_db

RIGHT = {"username": "ann", "password": "a good password"}
WRONG = {"username": "ann", "password": "a bad password"}
ELSEWHERE = "203.0.113.7"


@pytest.fixture(autouse=True)
def ann(db: None) -> User:
    return User.objects.create_superuser(**RIGHT)


def sign_in(client: Client, fields: dict[str, str], address: str = "127.0.0.1") -> int:
    return client.post("/login/", fields, REMOTE_ADDR=address).status_code


def lock(client: Client) -> None:
    assert {sign_in(client, WRONG) for _ in range(PASSWORDS.count)} == {200}


def test_name_is_locked_where_its_password_was_wrong_too_often(client: Client) -> None:
    lock(client)
    response = client.post("/login/", RIGHT)
    assert response.status_code == 429
    assert 0 < int(response["Retry-After"]) <= 900
    assert re.search("tried too often. Try again in 15 min.", response.content.decode())
    assert "_auth_user_id" not in client.session


def test_locked_name_may_sign_in_elsewhere_and_others_may_sign_in_there(client: Client) -> None:
    User.objects.create_user("bob", password="bob's password")
    lock(client)
    assert sign_in(Client(), RIGHT, ELSEWHERE) == 302
    assert sign_in(Client(), {"username": "bob", "password": "bob's password"}) == 302
    # The same name in other letters is no other one.
    assert sign_in(client, {**WRONG, "username": "ANN"}) == 429


def test_address_is_locked_that_tries_many_names(client: Client) -> None:
    for number in range(PASSWORDS_OF_ADDRESS.count):
        assert sign_in(client, {**WRONG, "username": f"name{number}"}, ELSEWHERE) == 200
    assert sign_in(client, RIGHT, ELSEWHERE) == 429
    assert sign_in(client, RIGHT) == 302


def test_subscriber_of_many_addresses_counts_as_one(client: Client) -> None:
    for number in range(PASSWORDS.count):
        assert sign_in(client, WRONG, f"2001:db8::{number}") == 200
    assert sign_in(client, RIGHT, "2001:db8::ffff") == 429


def test_right_passwords_lock_nobody(client: Client) -> None:
    for _ in range(PASSWORDS.count - 1):
        sign_in(client, WRONG)
    for _ in range(PASSWORDS_OF_ADDRESS.count):
        assert sign_in(Client(), RIGHT) == 302
    assert sign_in(client, WRONG) == 200


def test_staff_sign_in_at_the_same_door(client: Client, ann: User) -> None:
    response = client.get("/admin/", follow=True)
    assert response.redirect_chain[-1] == ("/login/?next=/admin/", 302)
    lock(client)
    assert client.post("/admin/login/", RIGHT, follow=True).status_code == 200
    assert "_auth_user_id" not in client.session
    response = client.post("/login/?next=/admin/", RIGHT, REMOTE_ADDR=ELSEWHERE, follow=True)
    assert response.redirect_chain == [("/admin/", 302)]


def test_person_who_is_no_staff_is_told_so_by_the_admin(client: Client) -> None:
    client.force_login(User.objects.create_user("bob"))
    response = client.get("/admin/", follow=True)
    assert response.status_code == 403
    assert "Not permitted" in response.content.decode()


def test_person_who_is_signed_in_is_not_led_back_to_the_door(client: Client, ann: User) -> None:
    client.force_login(ann)
    assert client.get("/login/?next=/login/").headers["Location"] == "/"


def test_failure_is_logged_with_a_short_escaped_name_and_the_address(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    sign_in(client, {**WRONG, "username": "ann\x1b[31m\nfake line" + "x" * 90}, ELSEWHERE)
    [line] = [record.getMessage() for record in caplog.records if "sign-in" in record.message]
    assert line.startswith(r"sign-in failed: name='ann\x1b[31m")
    assert line.endswith(f"address={ELSEWHERE}")
    assert len(line) < 100
    assert "\n" not in line
    assert WRONG["password"] not in caplog.text


# --- How passwords are kept


@pytest.mark.parametrize("name", ["ann", "nobody"])
def test_unknown_name_costs_as_many_hashes_as_a_known_one(
    client: Client, settings: Settings, ann: User, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    settings.PASSWORD_HASHERS = PASSWORD_HASHERS
    ann.set_password(RIGHT["password"])
    ann.save()
    hashes = []
    submit = passwords._threads.submit
    monkeypatch.setattr(
        passwords._threads, "submit", lambda *work: hashes.append(work) or submit(*work)
    )
    sign_in(client, {**WRONG, "username": name})
    assert len(hashes) == 1


def test_password_of_an_older_version_is_hashed_anew_at_the_next_sign_in(
    client: Client, settings: Settings, ann: User
) -> None:
    settings.PASSWORD_HASHERS = PASSWORD_HASHERS
    User.objects.update(password=make_password(RIGHT["password"], hasher="pbkdf2_sha256"))
    assert sign_in(client, RIGHT) == 302
    ann.refresh_from_db()
    assert ann.password.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    assert not identify_hasher(ann.password).must_update(ann.password)
    # That is no new password, which would have signed ann out.
    assert client.get("/admin/").status_code == 200
