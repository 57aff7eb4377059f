"""Everybody who may come to an address, as browsers that have come there before."""

from dataclasses import dataclass
from typing import Literal, get_args

from django.contrib.auth.models import Permission, User
from django.test import Client

from chat.access.owners import Owner
from tests.pages.conversations import owner_of

Person = Literal[
    "program",  # keeps no cookie
    "bearer",  # a program that shows the owner's token to pages, where none counts
    "browser",  # has chats of its own
    "visitor",  # a browser, and what is asked for is its own
    "owner",  # signed in, and what is asked for is theirs
    "other",  # signed in, with chats of their own
    "staff",  # without any permission
    "keeper",  # staff with all permissions for the rows of runs, but not for their words
    "superuser",
]
PEOPLE: tuple[Person, ...] = get_args(Person)
ANONYMOUS: frozenset[Person] = frozenset({"program", "bearer", "browser", "visitor"})
OWNERS: frozenset[Person] = frozenset({"visitor", "owner"})
STAFF: frozenset[Person] = frozenset({"staff", "keeper", "superuser"})

KEPT_APPS = ("chat", "routing", "tooling")
ELSEWHERE = "203.0.113.9"  # /metrics shows more to this machine


@dataclass(frozen=True, slots=True)
class Visit:
    """A person with their browser; a program is no owner over HTTP."""

    person: Person
    client: Client
    owner: Owner | None


def visit_of(person: Person) -> Visit:
    """Return this person. Call it while nobody must sign in, so that browsers get their cookie."""
    client = Client(REMOTE_ADDR=ELSEWHERE)
    if person in ("program", "bearer"):
        return Visit(person, client, None)
    if person in ANONYMOUS:
        pk = owner_of(client).removeprefix("browser:")
        return Visit(person, client, Owner("browser", pk))
    user = User.objects.create_user(
        f"{person}zqname",
        f"{person}zqmail@mail.example",
        "a good password",
        is_staff=person in STAFF,
        is_superuser=person == "superuser",
    )
    if person == "keeper":
        kept = Permission.objects.filter(content_type__app_label__in=KEPT_APPS)
        user.user_permissions.set(kept.exclude(codename="read_content"))
    client.force_login(user)
    return Visit(person, client, Owner("user", str(user.pk)))
