"""Tickets: how a page of another site opens one socket with the token of its own server.

The token never reaches a browser. Redis keeps of a ticket whose it is, and for which origin, until
a socket takes it, or until it is too old.

fleet:ticket:SHA256    the id of the token, then the origin
"""

import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

from django.conf import settings
from redis.exceptions import RedisError

from chat.protocol.errors import (
    OTHER_ORIGIN,
    STORAGE_UNAVAILABLE,
    UNKNOWN_TICKET,
    ProtocolError,
)
from tooling.bounded import BoundedRedis, RedisDown, blocking_client

from .origins import header

PREFIX = "ticket_"
LIFE = timedelta(seconds=60)
TAKEN = "fleet.ticket"  # of a socket's scope: whose ticket it has taken


class Ticket(NamedTuple):
    text: str
    expires_at: datetime


async def new_ticket(redis: BoundedRedis, token_id: str, origin: str) -> Ticket:
    """Return a ticket for one socket of a page of this origin. Raise ProtocolError."""
    text = f"{PREFIX}{secrets.token_urlsafe(32)}"
    expires_at = datetime.now(UTC) + LIFE
    try:
        await redis.ask(lambda: redis.client.set(key_of(text), f"{token_id} {origin}", ex=LIFE))
    except RedisDown as exc:
        raise ProtocolError(STORAGE_UNAVAILABLE) from exc
    return Ticket(text, expires_at)


def token_id_of(scope: dict[str, Any], text: str) -> str:
    """Return the id of the token for which a socket shows a ticket. Raise ProtocolError.

    Whatever the socket is, the ticket counts no longer. A socket is asked again from time to time,
    so its scope keeps what it has taken. Waits for Redis, so don't call this in the event loop.
    """
    if TAKEN in scope:
        return str(scope[TAKEN])
    client = blocking_client(settings.REDIS_URL)
    try:
        found = client.getdel(key_of(text))
    except (RedisError, OSError) as exc:
        raise ProtocolError(STORAGE_UNAVAILABLE) from exc
    finally:
        client.close()
    if not isinstance(found, bytes):
        raise ProtocolError(UNKNOWN_TICKET)
    token_id, _, origin = found.decode().partition(" ")
    if header(scope, b"origin") != origin:
        raise ProtocolError(OTHER_ORIGIN)
    scope[TAKEN] = token_id
    return token_id


def key_of(text: str) -> str:
    return f"fleet:ticket:{sha256(text.encode()).hexdigest()}"
