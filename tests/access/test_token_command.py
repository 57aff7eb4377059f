"""`manage.py token`: it makes, lists and revokes tokens, and prints each once."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from chat.access.tokens import SCOPES, Service, Token

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _is_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database of tests is, and a migration would end their transaction."""
    monkeypatch.setattr("agenticfleet.management.commands.token.migrate", lambda say: None)


def token(*arguments: str) -> tuple[str, str]:
    """Return what the command prints on stdout and on stderr."""
    out, err = StringIO(), StringIO()
    call_command("token", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_token_is_printed_once_and_alone() -> None:
    out, err = token("create", "--service", "ci", "--name", "nightly")
    text = out.removesuffix("\n")
    row = Token.objects.accept(text, scope="write", address="")
    assert (row.name, str(row.owner)) == ("nightly", "service:ci")
    assert row.pk in err
    assert text not in err
    listed, _ = token("list")
    assert row.pk in listed
    assert text not in listed
    assert row.digest not in listed


def test_service_is_made_if_its_name_is_new() -> None:
    token("create", "--service", "ci")
    token("create", "--service", "ci")
    assert Service.objects.get().tokens.count() == 2


def test_token_of_a_user_is_theirs() -> None:
    ada = User.objects.create_user("ada")
    token("create", "--user", "ada")
    assert str(Token.objects.get().owner) == f"user:{ada.pk}"
    assert Token.objects.get().scopes == list(SCOPES)


@pytest.mark.parametrize(("given", "days"), [([], 90), (["--days", "7"], 7)])
def test_token_expires_after_the_days_that_are_given(given: list[str], days: int) -> None:
    token("create", "--service", "ci", *given)
    expires = Token.objects.get().expires_at
    assert expires
    assert round((expires - timezone.now()) / timedelta(days=1)) == days


def test_token_may_last_for_ever_and_allow_less() -> None:
    given = ["--scope", "read", "--scope", "ask", "--model", "small", "--days", "never"]
    given += ["--limit", "runs=2", "--limit", "money=0.5"]
    token("create", "--service", "ci", "--origin", "https://Shop.example", *given)
    row = Token.objects.get()
    assert row.expires_at is None
    assert (row.scopes, row.model_ids) == (["ask", "read"], ["small"])
    assert row.origins == ["https://shop.example"]
    assert row.limits == {"runs": 2, "money": 0.5}


@pytest.mark.parametrize(
    "arguments",
    [
        ["create"],
        ["create", "--user", "nobody"],
        ["create", "--service", "two words"],
        ["create", "--service", "x" * 61],
        ["create", "--service", "ci", "--user", "ada"],
        ["create", "--service", "ci", "--days", "0"],
        ["create", "--service", "ci", "--days", "soon"],
        ["create", "--service", "ci", "--scope", "admin"],
        ["create", "--service", "ci", "--origin", "shop.example"],
        ["create", "--service", "ci", "--origin", "https://shop.example/"],
        ["create", "--service", "ci", "--limit", "runs"],
        ["create", "--service", "ci", "--limit", "runs=-1"],
        ["create", "--service", "ci", "--limit", "runs=nan"],
        ["create", "--service", "ci", "--limit", "walks=1"],
        ["revoke", "0123abcd"],
    ],
)
def test_command_that_cannot_be_done_stores_nothing(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        token(*arguments)
    assert not Token.objects.exists()
    assert not Service.objects.exists()


def test_revoked_token_is_listed_no_more() -> None:
    token("create", "--service", "ci")
    row: Any = Token.objects.get()
    token("revoke", row.pk)
    row.refresh_from_db()
    assert row.revoked_at
    assert not Token.objects.usable().exists()
    assert row.pk not in token("list")[0]
