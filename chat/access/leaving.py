"""Leaving: sockets end with what they were opened by, and an owner's chats go with the owner.

A socket has tags: its owner, and the session or token that named it. Ending one of these sends its
tag to all workers. Redis may lose that, so each socket also looks from time to time whether it may
still be there.
"""

import asyncio
import hashlib
import time
from functools import partial
from typing import Any, Protocol

from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.signals import user_logged_out
from django.db import Error as DatabaseProblem
from django.db import connection, transaction
from django.db.models.signals import post_delete, post_save, pre_delete
from django.dispatch import receiver
from django.http import HttpRequest

from chat.conversations import Conversation
from chat.database import in_database
from chat.instructions import Instructions
from chat.models import Run
from chat.protocol.errors import ProtocolError
from chat.runs.commands import Tagged, send_cancel, send_end_of_sockets
from chat.telemetry.rollup import count_all
from routing.models import RoutingDecision

from .owners import Asker, Owner
from .signins import Session

CHECK_INTERVAL = 30.0  # seconds between two looks of a socket
CHATS_AT_ONCE = 20  # that are deleted in one transaction
ENDINGS_TIMEOUT = 3.0  # seconds that a deletion waits for live runs to end
ENDINGS_POLL = 0.05  # seconds


# --- Sockets


def tag_of_session(session_key: str) -> str:
    """Return the tag of a session. The key itself is a password, so it goes nowhere."""
    return f"session:{hashlib.sha256(session_key.encode()).hexdigest()}"


def tags_of(asker: Asker, cookies: dict[str, str]) -> frozenset[str]:
    """Return the tags of a socket with this asker."""
    tags = {str(asker.owner)}
    if asker.token_id:
        tags.add(f"token:{asker.token_id}")
    elif asker.owner.kind == "user":
        tags.add(tag_of_session(cookies[settings.SESSION_COOKIE_NAME]))
    return frozenset(tags)


def end_sockets(of: str) -> None:
    """Once the transaction is committed, let no socket with this tag get another frame.

    Tags: `session:<sha256 of its key>`, `user:<id>`, `token:<id>`, `service:<slug>`. Not for the
    event loop.
    """
    transaction.on_commit(partial(async_to_sync(send_end_of_sockets), of))


class Socket(Tagged, Protocol):
    """A socket that knows who asks."""

    def identified(self) -> Asker:
        """Return who asks, and set the tags. Raise ProtocolError. Reads the database."""


async def end_when_due(socket: Socket) -> None:
    """End the socket once it couldn't be opened any more by whom it was."""
    while True:
        await asyncio.sleep(CHECK_INTERVAL)
        tags = socket.tags
        try:
            await in_database(socket.identified)
        except DatabaseProblem:
            continue
        except ProtocolError:
            return socket.end()
        # Without tags, its first frame was still being looked at.
        if tags and socket.tags != tags:
            return socket.end()


@receiver(user_logged_out)
def end_with_the_session(*, request: HttpRequest, **rest: Any) -> None:
    if request.session.session_key:
        end_sockets(tag_of_session(request.session.session_key))


def end_all_sessions(user_id: int) -> None:
    """Sign a user out everywhere."""
    Session.objects.filter(user=user_id).delete()
    end_sockets(str(Owner("user", str(user_id))))


@receiver(post_save, sender=settings.AUTH_USER_MODEL)
def end_with_activity(*, instance: AbstractBaseUser, created: bool, **rest: Any) -> None:
    """Sign a user out who was made inactive."""
    if not instance.is_active and not created:
        end_all_sessions(instance.pk)


# --- Chats


def delete_all_of(owner: Owner) -> None:
    """Cancel what this owner's runs do, and delete the owner's chats with all that is in them.

    A chat that begins meanwhile is deleted, too. Figures stay: they name nobody. It takes seconds
    for thousands of chats.
    """
    cancel_all_of(owner)
    chats = Conversation.objects.for_owner(owner).order_by("pk")
    while found := list(chats.values_list("pk", flat=True)[:CHATS_AT_ONCE]):
        with transaction.atomic():
            runs = Run.objects.filter(conversation__in=found)
            count_all(runs)
            RoutingDecision.objects.filter(pk__in=list(runs.values_list("pk", flat=True))).delete()
            Conversation.objects.filter(pk__in=found).delete()
    Instructions.objects.filter(owner=str(owner)).delete()


def cancel_all_of(owner: Owner) -> None:
    """Cancel the owner's live runs. Wait a moment for their endings, and so their figures."""
    live = Run.objects.live().filter(owner=str(owner))
    for run_id in live.values_list("pk", flat=True):
        if worker := Run.objects.request_cancel(run_id):
            transaction.on_commit(partial(async_to_sync(send_cancel), worker, run_id))
    if connection.in_atomic_block:
        return  # A worker sees none of this yet. It ends a run whose row is gone.
    deadline = time.monotonic() + ENDINGS_TIMEOUT
    while live.exists() and time.monotonic() < deadline:
        time.sleep(ENDINGS_POLL)


@receiver(pre_delete, sender=settings.AUTH_USER_MODEL)
def delete_with_the_user(*, instance: AbstractBaseUser, **rest: Any) -> None:
    delete_all_of(Owner("user", str(instance.pk)))


@receiver(post_delete, sender=settings.AUTH_USER_MODEL)
def end_with_the_user(*, instance: AbstractBaseUser, **rest: Any) -> None:
    end_sockets(str(Owner("user", str(instance.pk))))
