"""Tokens: their form, and what the row of one allows."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from chat.access.tokens import SCOPES, NewToken, Service, Token, digest_of, id_in, new_token
from chat.protocol.errors import (
    EXPIRED_TOKEN,
    INACTIVE_TOKEN,
    REVOKED_TOKEN,
    UNKNOWN_TOKEN,
    ErrorInfo,
    ProtocolError,
)

HERE = "127.0.0.1"


def user() -> User:
    return User.objects.create_user("ada")


def made(**options: object) -> NewToken:
    return Token.objects.make(Service.objects.create(slug="ci"), "nightly", **options)  # type: ignore[arg-type]


def refusal_of(text: str, *, scope: str = "ask") -> ErrorInfo:
    with pytest.raises(ProtocolError) as refused:
        Token.objects.accept(text, scope=scope, address=HERE)  # type: ignore[arg-type]
    return refused.value.error


# --- The form


def test_token_has_its_id_a_secret_and_a_checksum() -> None:
    text = new_token("0123abcd")
    assert re.fullmatch(r"fleet_0123abcd_[A-Za-z0-9]{51}", text)
    assert len(text) == 66
    assert id_in(text) == "0123abcd"
    assert new_token("0123abcd") != text


def test_each_typing_error_is_found_without_a_query() -> None:
    text = new_token("0123abcd")
    for place in range(len(text)):
        wrong = "x" if text[place] != "x" else "y"
        assert id_in(f"{text[:place]}{wrong}{text[place + 1 :]}") is None
        assert id_in(text[:place] + text[place + 1 :]) is None
    for other in ("", "fleet_", text.upper(), f" {text}", f"{text}\n", text.replace("0", "\u0660")):
        assert id_in(other) is None


@pytest.mark.django_db
def test_misspelt_token_costs_no_query(django_assert_num_queries: object) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert refusal_of("fleet_0123abcd_short") == UNKNOWN_TOKEN
    assert len(queries) == 0


# --- The row


@pytest.mark.django_db
def test_row_keeps_a_digest_and_not_the_token() -> None:
    new = made()
    row = Token.objects.values().get()
    assert row["digest"] == digest_of(new.text)
    secret = new.text.removeprefix(new.row.beginning)
    assert not any(secret in str(value) for value in row.values())
    for shown in (str(new.row), repr(new.row), repr(new), new.row.beginning):
        assert secret not in shown
        assert row["digest"] not in shown


@pytest.mark.django_db
def test_token_counts_for_90_days_unless_another_term_is_chosen() -> None:
    days = timedelta(days=1)
    terms = [made().row.expires_at, Token.objects.make(user(), "x", term=3 * days).row.expires_at]
    lasts = [round((expires - timezone.now()) / days) for expires in terms if expires]
    assert lasts == [90, 3]
    assert Token.objects.make(User.objects.get(), "x", term=None).row.expires_at is None


@pytest.mark.django_db
def test_token_is_accepted_in_one_query_and_one_note_of_its_use() -> None:
    new = made()
    with CaptureQueriesContext(connection) as queries:
        assert Token.objects.accept(new.text, scope="ask", address=HERE) == new.row
    kinds = [query["sql"].partition(" ")[0] for query in queries]
    assert [kind for kind in kinds if kind in ("SELECT", "UPDATE", "INSERT")] == [
        "SELECT",
        "UPDATE",
    ]
    with CaptureQueriesContext(connection) as queries:
        Token.objects.accept(new.text, scope="read", address="10.0.0.1")
    assert len(queries) == 1
    new.row.refresh_from_db()
    assert new.row.used_at
    assert new.row.used_from == HERE


@pytest.mark.django_db
def test_use_is_noted_again_after_a_minute() -> None:
    new = made()
    Token.objects.update(used_at=timezone.now() - timedelta(seconds=61), used_from="10.0.0.1")
    Token.objects.accept(new.text, scope="ask", address=HERE)
    new.row.refresh_from_db()
    assert new.row.used_from == HERE


@pytest.mark.django_db
def test_owner_is_the_user_or_the_service() -> None:
    ada = user()
    assert str(Token.objects.make(ada, "x").row.owner) == f"user:{ada.pk}"
    assert str(made().row.owner) == "service:ci"


@pytest.mark.django_db
def test_other_token_with_the_same_id_is_not_known() -> None:
    assert refusal_of(new_token(made().row.pk)) == UNKNOWN_TOKEN


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"revoked_at": timezone.now()}, REVOKED_TOKEN),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, EXPIRED_TOKEN),
    ],
)
def test_holder_is_told_why_a_token_counts_no_more(
    fields: dict[str, object], refusal: ErrorInfo
) -> None:
    new = made()
    Token.objects.update(**fields)
    assert refusal_of(new.text) == refusal
    # Who has not the whole token learns nothing of it.
    assert refusal_of(new_token(new.row.pk)) == UNKNOWN_TOKEN
    assert not Token.objects.usable().exists()
    assert Token.objects.get().used_at is None


@pytest.mark.django_db
def test_token_of_an_inactive_account_is_refused_and_of_a_deleted_one_is_gone() -> None:
    ada = user()
    new = Token.objects.make(ada, "x")
    assert Token.objects.usable().exists()
    User.objects.update(is_active=False)
    assert refusal_of(new.text) == INACTIVE_TOKEN
    assert not Token.objects.usable().exists()
    ada.delete()
    assert refusal_of(new.text) == UNKNOWN_TOKEN


@pytest.mark.django_db
@pytest.mark.parametrize("scope", SCOPES)
def test_token_allows_its_scopes_alone(scope: str) -> None:
    new = made(scopes=[scope])
    for asked in SCOPES:
        if asked == scope:
            Token.objects.accept(new.text, scope=asked, address=HERE)
        else:
            assert (
                refusal_of(new.text, scope=asked).message == f'This token has no scope "{asked}".'
            )
