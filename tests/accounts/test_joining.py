"""Making an account, and a new password by e-mail."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client

from agenticfleet.accounts import mailers, sender
from chat.accounts import forms
from chat.accounts.trying import RESETS, SIGN_UPS
from chat.logs import without_key

from .people import PASSWORD, is_signed_in, signed_in

pytestmark = pytest.mark.django_db

NEW = "another good password"


def sign_up(client: Client, name: str = "ann", **fields: str) -> Any:
    given = {"username": name, "password1": PASSWORD, "password2": PASSWORD, "email": ""}
    return client.post("/signup/", {**given, **fields})


class TestSigningUp:
    @pytest.mark.parametrize("auth", ["anonymous", "required"])
    def test_only_the_operator_makes_accounts_unless_it_is_allowed(
        self, client: Client, settings, auth: str
    ) -> None:
        settings.FLEET_AUTH = auth
        assert client.get("/signup/").status_code == sign_up(client).status_code == 404
        assert "signup" not in client.get("/login/").content.decode()

    @pytest.fixture(autouse=True)
    def _open(self, request: pytest.FixtureRequest, settings) -> None:
        settings.FLEET_AUTH = "signup"

    def test_person_makes_an_account_and_is_signed_in(self, client: Client) -> None:
        assert client.get("/").url == "/login/?next=/"
        assert 'href="/signup/"' in client.get("/login/").content.decode()
        assert client.get("/signup/").status_code == 200
        assert sign_up(client, email="ann@chat.example").url == "/"
        assert is_signed_in(client)
        user = User.objects.get()
        assert (user.username, user.email) == ("ann", "ann@chat.example")
        assert not user.is_staff
        assert client.get("/signup/").url == "/"

    @pytest.mark.parametrize(
        ("field", "fault"),
        [
            ({"username": "ANN"}, "already exists"),
            ({"password1": "short", "password2": "short"}, "too short"),
            ({"password2": "another"}, "match"),
            ({"email": "nobody"}, "valid email"),
            ({"username": "a\0b"}, "Null characters"),
        ],
    )
    def test_faults_are_told_at_their_fields(
        self, client: Client, field: dict[str, str], fault: str
    ) -> None:
        User.objects.create_user("ann")
        response = sign_up(client, **{"name": "ann", **field})
        assert fault in response.content.decode()
        assert User.objects.count() == 1

    def test_address_may_try_only_so_often(self, client: Client) -> None:
        for _ in range(SIGN_UPS.count):
            assert sign_up(client, password2="another").status_code == 200
        response = sign_up(client)
        assert response.status_code == 429
        assert int(response["Retry-After"]) > 3000
        assert not User.objects.exists()
        # Nor does it tell any more who has an account.
        User.objects.create_user("bob")
        faults = [sign_up(client, name).context["form"].errors for name in ("bob", "eve")]
        assert faults[0] == faults[1]


def ask_for_a_link(client: Client, email: str = "ann@chat.example") -> Any:
    response = client.post("/password/reset/", {"email": email})
    forms.postman.submit(str).result()  # behind the e-mail
    return response


def link_in(message: mail.EmailMessage) -> str:
    found = re.search(r"http://testserver(/password/reset/\S+)", str(message.body))
    assert found
    return found[1]


class TestNewPassword:
    def test_link_sets_a_new_password_once(self, client: Client) -> None:
        elsewhere = signed_in()
        assert ask_for_a_link(client).url == "/password/reset/sent/"
        [message] = mail.outbox
        assert message.to == ["ann@chat.example"]
        link = link_in(message)
        form = client.get(link, follow=True)
        path = form.redirect_chain[-1][0]
        assert client.post(path, {"new_password1": NEW, "new_password2": NEW}).status_code == 302
        assert User.objects.get().check_password(NEW)
        assert not is_signed_in(elsewhere)
        assert "used up" in Client().get(link).content.decode()

    def test_answer_does_not_tell_which_addresses_are_known(self, client: Client) -> None:
        signed_in()
        known, unknown = ask_for_a_link(client), ask_for_a_link(client, "bob@chat.example")
        assert (known.status_code, known.url) == (unknown.status_code, unknown.url)
        assert len(mail.outbox) == 1

    def test_link_is_of_the_public_address(self, client: Client, settings) -> None:
        settings.FLEET_PUBLIC_URL = "https://chat.example"
        signed_in()
        ask_for_a_link(client)
        assert "https://chat.example/password/reset/" in mail.outbox[0].body

    def test_one_address_gets_only_so_many(self, client: Client) -> None:
        signed_in()
        for _ in range(RESETS.count):
            ask_for_a_link(client)
        assert ask_for_a_link(client, "ANN@chat.example").status_code == 429
        assert len(mail.outbox) == RESETS.count

    def test_page_claims_no_e_mail_where_none_is_sent(self, client: Client, settings) -> None:
        assert "sends no e-mail" in client.get("/password/reset/sent/").content.decode()
        assert "EMAIL_URL" not in client.get("/password/reset/sent/").content.decode()
        settings.FLEET_SENDS_MAIL = True
        assert "on its way" in client.get("/password/reset/sent/").content.decode()

    def test_operator_finds_the_link_in_the_log_where_no_e_mail_is_sent(
        self, client: Client, settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings.MAILERS = mailers("")
        signed_in()
        ask_for_a_link(client)
        assert "not sent to ann@chat.example: A new password for AgenticFleet" in caplog.text
        assert "http://testserver/password/reset/" in caplog.text

    def test_link_is_in_no_log_of_requests(self) -> None:
        assert without_key("/password/reset/MQ/c1-4f/") == "/password/reset/-/"
        assert without_key("/password/reset/sent/") == "/password/reset/sent/"


@pytest.mark.parametrize(
    ("url", "expected", "address"),
    [
        (
            "smtp://localhost",
            {"port": 25, "use_tls": False, "use_ssl": False},
            "agenticfleet@localhost",
        ),
        (
            "smtp+tls://ann%40chat.example:p%40ss@mail.example",
            {"port": 587, "use_tls": True, "username": "ann@chat.example", "password": "p@ss"},
            "ann@chat.example",
        ),
        (
            "smtps://u:p@mail.example:4650?from=Fleet%20%3Cfleet@chat.example%3E",
            {"port": 4650, "use_ssl": True, "host": "mail.example"},
            "Fleet <fleet@chat.example>",
        ),
    ],
)
def test_mail_server_is_a_url(url: str, expected: dict[str, Any], address: str) -> None:
    options = mailers(url)["default"]["OPTIONS"]
    assert expected.items() <= options.items()
    assert sender(url) == address
