"""Limits of a test, and the three ways in which runs are counted."""

from dataclasses import replace
from typing import Any, Literal

import redis
from django.test import Client

from chat.access.claims import PREFIX, SINCE
from chat.access.limits import Limit
from tests.chatting import cookie_header

ADDRESS = "203.0.113.7"
# By Redis; by Redis and by the rows, because it may not know all; by the rows alone.
type Counting = Literal["redis", "emptied redis", "rows"]
COUNTINGS: tuple[Counting, ...] = ("redis", "emptied redis", "rows")


def limit(settings: Any, **limits: Limit | int) -> None:
    """Set these limits; the others are off."""
    settings.FLEET_LIMITS = replace(settings.FLEET_LIMITS, **limits)


def empty(url: str) -> None:
    """Let Redis forget all that it has counted."""
    with redis.Redis.from_url(url) as store:
        if keys := store.keys(f"{PREFIX}*"):
            store.delete(*keys)


def trust(url: str) -> None:
    """Let workers take it that Redis has counted for long."""
    with redis.Redis.from_url(url) as store:
        store.set(SINCE, 0)


def browser() -> dict[str, str]:
    """Return the headers of a browser that has loaded the page."""
    client = Client()
    client.get("/")
    return {"cookie": cookie_header(client), "origin": "http://testserver"}
